#ifndef TESTS_TOOLS_CHECK_H
#define TESTS_TOOLS_CHECK_H

/*
 * For programs that are built and run by tools, without anything of ours but the library.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <thrum/thrum.h>

#define CHECK(what) ((what) ? (void)0 : check_failed(#what, __FILE__, __LINE__))

static inline void check_failed(const char *what, const char *file, int line)
{
    fprintf(stderr, "%s:%d: not so: %s\n", file, line, what);
    abort();
}

#endif /* TESTS_TOOLS_CHECK_H */
