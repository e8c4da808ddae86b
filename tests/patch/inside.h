#ifndef TESTS_PATCH_INSIDE_H
#define TESTS_PATCH_INSIDE_H

/*
 * Coroutines for the tests of the patch. A call that held up the thread would keep the other coroutine from
 * doing what the first waits for: it shows as a hang, which the suite's time limit ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <criterion/criterion.h>
#include <thrum/thrum.h>

struct both {
    thrum_fn first;
    thrum_fn second;
    void *arg;
    thrum_coro_t *one; /* the first, to be cancelled by the second */
};

static struct both *both_now;

static inline int spawn_both(void *arg, void **result)
{
    struct both *both = arg;
    (void)result;
    both_now = both;
    cr_expect_eq(thrum_go(&both->one, both->first, both->arg), 0);
    if (both->second != NULL)
        cr_expect_eq(thrum_go(NULL, both->second, both->arg), 0);
    return 0;
}

/* Runs one, and then the other as soon as the first waits. */
static inline void together(thrum_fn first, thrum_fn second, void *arg)
{
    struct both both = {first, second, arg, NULL};
    cr_assert_eq(thrum_run(spawn_both, &both, NULL), 0);
    thrum_coro_release(both.one);
}

static inline void alone(thrum_fn fn, void *arg)
{
    together(fn, NULL, arg);
}

static inline int cancel_first(void *arg, void **result)
{
    (void)arg, (void)result;
    cr_expect_eq(thrum_coro_cancel(both_now->one), 0);
    return 0;
}

/* The call fails with that errno. */
#define EXPECT_ERRNO(expected, call)                                                               \
    do {                                                                                           \
        errno = 0;                                                                                 \
        const long expect_got = (long)(call);                                                      \
        const int expect_errno = errno;                                                            \
        cr_expect(expect_got == -1 && expect_errno == (expected), "%s: %ld, errno %s", #call,      \
                  expect_got, strerror(expect_errno));                                             \
    } while (0)

static inline bool is_nonblocking(int fd)
{
    return (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0;
}

static volatile sig_atomic_t signals_seen;

static inline void count_signal(int number)
{
    (void)number;
    signals_seen++;
}

static inline void count_signals(int number)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = count_signal;
    cr_assert_eq(sigaction(number, &action, NULL), 0);
}

static inline void set_timeout(int fd, int option, int ms)
{
    const struct timeval timeout = {ms / 1000, ms % 1000 * 1000};
    cr_assert_eq(setsockopt(fd, SOL_SOCKET, option, &timeout, sizeof timeout), 0);
}

#endif /* TESTS_PATCH_INSIDE_H */
