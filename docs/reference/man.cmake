# cmake -DFROM=<Doxygen's folder of man pages> -DTO=<folder> -P man.cmake
# Man pages stand beside those of everybody else: only names that are thrum's may remain. So a header's page is
# thrum_mutex.h(3), as the pages of POSIX's headers are named, and those of members of structs are left out. The
# page of any other name refers to that of its header.
cmake_minimum_required(VERSION 3.25)

file(REMOVE_RECURSE ${TO})
file(MAKE_DIRECTORY ${TO})
file(GLOB pages RELATIVE ${FROM}/man3 ${FROM}/man3/*.3)
foreach(page IN LISTS pages)
    if(page MATCHES "\\.h\\.3$" AND NOT page MATCHES "^thrum_")
        set(name thrum_${page})
    elseif(page MATCHES "^(thrum|THRUM)_.*\\.3$")
        set(name ${page})
    else()
        continue()
    endif()
    file(READ ${FROM}/man3/${page} text)
    if(text MATCHES "^\\.so man3/[a-z_]+_t\\.3")
        continue()
    endif()
    string(REGEX REPLACE "^\\.so man3/(thrum_)?([a-z_]+\\.h\\.3)" ".so man3/thrum_\\2" text "${text}")
    string(REGEX REPLACE "^\\.TH \"(thrum/)?([a-z_]+\\.h)\" 3 \"[^\"]*\"" ".TH \"thrum_\\2\" 3 \"\"" text "${text}")
    string(REGEX REPLACE "^(\\.TH \"[^\"]*\" 3) \"[^\"]*\"" "\\1 \"\"" text "${text}")
    file(WRITE ${TO}/${name} "${text}")
endforeach()
