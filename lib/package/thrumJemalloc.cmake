# thrum::jemalloc: what a program links beside thrum::thrum or thrum::static to bring jemalloc into
# the process. The library finds it there through weak symbols; it never needs it itself. Where
# jemalloc is not installed there is no such target.

# One word, so that nothing comes between its parts. A library that nobody refers to would be left
# out by linkers that drop what is not needed, and from an archive by all of them.
set(THRUM_JEMALLOC_LINK "-Wl,-u,mallocx,--push-state,--no-as-needed,-ljemalloc,--pop-state")

if(NOT TARGET thrum::jemalloc)
    find_package(PkgConfig QUIET)
    if(PkgConfig_FOUND)
        pkg_check_modules(THRUM_JEMALLOC_PC QUIET jemalloc)
    endif()
    find_library(THRUM_JEMALLOC_LIBRARY jemalloc HINTS ${THRUM_JEMALLOC_PC_LIBRARY_DIRS})
    mark_as_advanced(THRUM_JEMALLOC_LIBRARY)
    if(THRUM_JEMALLOC_LIBRARY)
        get_filename_component(_thrum_jemalloc_dir "${THRUM_JEMALLOC_LIBRARY}" DIRECTORY)
        add_library(thrum::jemalloc INTERFACE IMPORTED GLOBAL)
        set_target_properties(thrum::jemalloc PROPERTIES
            INTERFACE_LINK_DIRECTORIES "${_thrum_jemalloc_dir}"
            # Its archive needs the mathematics, and does not say so.
            INTERFACE_LINK_LIBRARIES "${THRUM_JEMALLOC_LINK};m")
        unset(_thrum_jemalloc_dir)
    endif()
endif()
