#ifndef TESTS_EXPECT_H
#define TESTS_EXPECT_H

/*
 * Criterion, and one more expectation: of a call that may not touch errno.
 */

#include <errno.h>

#include <criterion/criterion.h>

#include "support/caller.h"

/* The call returns `expected` and leaves errno alone. */
#define EXPECT_CALL(expected, call)                                                                \
    do {                                                                                           \
        errno = ERRNO_MARK;                                                                        \
        const int expect_got = (call);                                                             \
        const int expect_errno = errno;                                                            \
        cr_expect(expect_got == (expected), "%s: %s (%d), expected %s", #call,                     \
                  expect_name(expect_got), expect_got, expect_name(expected));                     \
        cr_expect(expect_errno == ERRNO_MARK, "%s changed errno to %d", #call, expect_errno);      \
    } while (0)

static inline const char *expect_name(int err)
{
    switch (err) {
    case 0:
        return "0";
    case EAGAIN:
        return "EAGAIN";
    case EBUSY:
        return "EBUSY";
    case ECANCELED:
        return "ECANCELED";
    case EDEADLK:
        return "EDEADLK";
    case EINVAL:
        return "EINVAL";
    case ENOMEM:
        return "ENOMEM";
    case EOVERFLOW:
        return "EOVERFLOW";
    case EOWNERDEAD:
        return "EOWNERDEAD";
    case EPERM:
        return "EPERM";
    case EPIPE:
        return "EPIPE";
    case ETIMEDOUT:
        return "ETIMEDOUT";
    default:
        return "another";
    }
}

/* A deadline that has passed, and one that passes soon. */
#define PAST ((thrum_time_t)1)
#define SOON thrum_after(THRUM_MS(2))

#endif /* TESTS_EXPECT_H */
