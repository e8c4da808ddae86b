# Called by cpack between installing and packing: man pages and changelogs of Debian packages are compressed.
file(GLOB_RECURSE files ${CPACK_TEMPORARY_INSTALL_DIRECTORY}/*.3 ${CPACK_TEMPORARY_INSTALL_DIRECTORY}/changelog)
if(files)
    execute_process(COMMAND gzip -9nf ${files} COMMAND_ERROR_IS_FATAL ANY)
endif()
