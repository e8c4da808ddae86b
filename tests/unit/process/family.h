#ifndef TESTS_FAMILY_H
#define TESTS_FAMILY_H

/*
 * What the tests of processes share: children that tell something through a pipe, wait until they are told to
 * end, and end by themselves if nobody does.
 */

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include <thrum/thrum.h>

#include "support/expect.h"
#include "support/left_behind.h"

#define CHILD_SECONDS 30 /* much longer than it may take on a busy machine */

/* Ends when `go` is closed by all who have its writing end. */
struct family {
    int go[2];
    int told[2];
};

static inline void family_open(struct family *family)
{
    cr_assert_eq(pipe(family->go), 0);
    cr_assert_eq(pipe(family->told), 0);
}

static inline void family_close(struct family *family)
{
    close(family->go[0]);
    close(family->go[1]);
    close(family->told[0]);
    close(family->told[1]);
}

static inline void family_let_go(struct family *family)
{
    close(family->go[1]);
    family->go[1] = -1;
}

static inline void family_tell(const struct family *family, int what)
{
    if (write(family->told[1], &what, sizeof what) != sizeof what)
        abort();
}

static inline int family_hear(const struct family *family)
{
    int what = -1;
    ssize_t n = 0;
    do
        n = read(family->told[0], &what, sizeof what);
    while (n < 0 && errno == EINTR);
    return n == sizeof what ? what : -1;
}

/* Returns once all who could tell something are gone, or have closed it. */
static inline bool family_is_gone(struct family *family)
{
    close(family->told[1]);
    while (family_hear(family) != -1)
        continue;
    return true;
}

/* In a child: until it is let go. */
static inline void family_await(const struct family *family)
{
    char byte = 0;
    alarm(CHILD_SECONDS);
    close(family->go[1]);
    while (read(family->go[0], &byte, 1) < 0)
        continue;
}

/* A child: tells its number, and returns when it is let go. */
static inline int family_child(void *arg, void **result)
{
    const struct family *family = arg;
    (void)result;
    family_tell(family, (int)getpid());
    family_await(family);
    return 0;
}

static inline int family_return(void *arg, void **result)
{
    (void)result;
    return arg != NULL ? *(int *)arg : 0;
}

/* Neither a running child nor a zombie. */
static inline bool has_no_child(void)
{
    return waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD;
}

#endif /* TESTS_FAMILY_H */
