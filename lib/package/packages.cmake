# Debian packages, by `cpack` in the build's folder: the library (libthrum0), what building against it needs
# (libthrum-dev), and what there is to read (libthrum-doc). They are installed to /usr; the preset `debian` has the
# library where Debian has its own.

set(THRUM_PACKAGER "Unknown <root@localhost>" CACHE STRING "The maintainer whom Debian packages name")
mark_as_advanced(THRUM_PACKAGER)

set(thrum_docdir ${CMAKE_INSTALL_DATADIR}/doc)
foreach(package libthrum0:library libthrum-dev:development libthrum-doc:documentation)
    string(REGEX MATCH "^(.*):(.*)$" package ${package})
    set(component ${CMAKE_MATCH_2})
    set(name ${CMAKE_MATCH_1})
    install(FILES lib/package/copyright DESTINATION ${thrum_docdir}/${name}
        COMPONENT ${component} EXCLUDE_FROM_ALL)
    install(FILES CHANGELOG.md DESTINATION ${thrum_docdir}/${name} RENAME changelog
        COMPONENT ${component} EXCLUDE_FROM_ALL)
    string(TOUPPER ${component} component)
    set(CPACK_DEBIAN_${component}_PACKAGE_NAME ${name})
endforeach()

# By the path that the library has once the package is installed. Not beside it: ldconfig would look into it.
install(FILES lib/package/thrum-gdb.py
    DESTINATION ${CMAKE_INSTALL_DATADIR}/gdb/auto-load/usr/${CMAKE_INSTALL_LIBDIR}
    RENAME $<TARGET_FILE_NAME:thrum>-gdb.py COMPONENT development EXCLUDE_FROM_ALL)

# As they lie in the sources, so that their links hold.
install(FILES README.md DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT documentation EXCLUDE_FROM_ALL)
install(FILES docs/architecture.md DESTINATION ${CMAKE_INSTALL_DOCDIR}/docs
    COMPONENT documentation EXCLUDE_FROM_ALL)
install(DIRECTORY docs/guide docs/examples DESTINATION ${CMAKE_INSTALL_DOCDIR}/docs
    COMPONENT documentation EXCLUDE_FROM_ALL FILES_MATCHING PATTERN *.md PATTERN *.c PATTERN *.expected)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME thrum)
set(CPACK_PACKAGE_VENDOR thrum)
set(CPACK_PACKAGE_CONTACT "${THRUM_PACKAGER}")
set(CPACK_COMPONENTS_ALL library development documentation)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_PRE_BUILD_SCRIPTS ${PROJECT_SOURCE_DIR}/lib/package/compress.cmake)

set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_ENABLE_COMPONENT_DEPENDS OFF)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)

set(CPACK_DEBIAN_LIBRARY_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_LIBRARY_PACKAGE_SHLIBDEPS ON)
# What packages of programs depend on: before 1.0 a new minor version may change the ABI. (CPack would write these
# itself, but looks into every file of every package for that.)
math(EXPR next "${PROJECT_VERSION_MINOR} + 1")
set(depends "libthrum0 (>= ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}), libthrum0 (<< ${PROJECT_VERSION_MAJOR}.${next}~)")
file(WRITE ${PROJECT_BINARY_DIR}/debian/shlibs "libthrum 0 ${depends}\nlibthrum-patch 0 ${depends}\n")
set(CPACK_DEBIAN_LIBRARY_PACKAGE_CONTROL_EXTRA ${PROJECT_BINARY_DIR}/debian/shlibs)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${PROJECT_BINARY_DIR}) # the patch needs the library
set(CPACK_DEBIAN_LIBRARY_DESCRIPTION "The shared library: what programs that are linked with it need.")

set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS
    "libthrum0 (= ${PROJECT_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE}), libc6-dev")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SUGGESTS "libthrum-doc, libjemalloc-dev")
set(CPACK_DEBIAN_DEVELOPMENT_DESCRIPTION "Headers and static library, and what pkg-config, CMake and gdb are to know of it.")

set(CPACK_DEBIAN_DOCUMENTATION_PACKAGE_SECTION doc)
set(CPACK_DEBIAN_DOCUMENTATION_PACKAGE_ARCHITECTURE all)
set(CPACK_DEBIAN_DOCUMENTATION_PACKAGE_SUGGESTS "libthrum-dev")
set(CPACK_DEBIAN_DOCUMENTATION_DESCRIPTION "Reference (HTML), man pages (such as thrum_mutex.h and thrum_mutex_lock), guide and examples.")

include(CPack)
