/*
 * poll, ppoll, select, pselect.
 */
#include <poll.h>
#include <stdlib.h>
#include <sys/select.h>

#include "patch/inside.h"

TestSuite(patch_ready, .timeout = 20);

static int ends[2];

static void make_pipe(void)
{
    cr_assert_eq(pipe(ends), 0);
}

static int write_byte(void *arg, void **result)
{
    (void)arg, (void)result;
    cr_expect_eq(write(ends[1], "x", 1), 1);
    return 0;
}

static int close_writer(void *arg, void **result)
{
    (void)arg, (void)result;
    cr_expect_eq(close(ends[1]), 0);
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * poll
 */

static int poll_byte(void *arg, void **result)
{
    struct pollfd fds[3] = {{ends[0], POLLIN, 0}, {-1, POLLIN, 7}, {ends[0], POLLPRI, 0}};
    (void)result;
    const int n =
        arg == NULL ? poll(fds, 3, -1) : ppoll(fds, 3, &(struct timespec){.tv_sec = 15}, NULL);
    cr_expect_eq(n, 1);
    cr_expect_eq(fds[0].revents, POLLIN);
    cr_expect_eq(fds[1].revents, 0);
    return 0;
}

Test(patch_ready, poll_waits_for_who_writes)
{
    make_pipe();
    together(poll_byte, write_byte, NULL);
    make_pipe();
    together(poll_byte, write_byte, ends);
}

static int poll_nothing(void *arg, void **result)
{
    struct pollfd fd = {ends[0], POLLIN, 7};
    const struct timespec time = {.tv_nsec = 20000000};
    (void)arg, (void)result;
    thrum_time_t start = thrum_now();
    cr_expect_eq(poll(&fd, 1, 20), 0);
    cr_expect_eq(fd.revents, 0);
    cr_expect_geq(thrum_now() - start, THRUM_MS(20));
    start = thrum_now();
    cr_expect_eq(ppoll(&fd, 1, &time, NULL), 0);
    cr_expect_geq(thrum_now() - start, THRUM_MS(20));
    cr_expect_eq(poll(NULL, 0, 1), 0);
    cr_expect_eq(poll(&fd, 1, 0), 0);
    return 0;
}

static int write_after_all(void *arg, void **result)
{
    (void)arg, (void)result;
    return 0;
}

Test(patch_ready, poll_ends_in_time)
{
    make_pipe();
    together(poll_nothing, write_after_all, NULL);
    (void)poll_nothing(NULL, NULL);
}

static int poll_odd_things(void *arg, void **result)
{
    struct pollfd closed = {9999, POLLIN, 0};
    const struct timespec no_time = {.tv_nsec = -1};
    (void)arg, (void)result;
    cr_expect_eq(poll(&closed, 1, -1), 1);
    cr_expect_eq(closed.revents, POLLNVAL);
    EXPECT_ERRNO(EINVAL, ppoll(&closed, 1, &no_time, NULL));
    return 0;
}

Test(patch_ready, poll_of_what_is_none)
{
    alone(poll_odd_things, NULL);
    (void)poll_odd_things(NULL, NULL);
}

static int poll_for_end(void *arg, void **result)
{
    struct pollfd fd = {ends[0], 0, 0};
    (void)arg, (void)result;
    cr_expect_eq(poll(&fd, 1, -1), 1);
    cr_expect_eq(fd.revents, POLLHUP);
    return 0;
}

Test(patch_ready, poll_for_no_event_tells_of_the_end)
{
    make_pipe();
    together(poll_for_end, close_writer, NULL);
}

static int poll_many(void *arg, void **result)
{
    enum { MANY = 1500 };
    struct pollfd *fds = calloc(MANY, sizeof *fds);
    (void)arg, (void)result;
    for (int i = 0; i < MANY; i++)
        fds[i] = (struct pollfd){ends[0], POLLIN, 0};
    const int ready =
        poll(fds, MANY, -1); /* the byte may come while the system goes through them */
    cr_expect(ready > 0 && ready <= MANY);
    free(fds);
    return 0;
}

Test(patch_ready, poll_of_very_many)
{
    make_pipe();
    together(poll_many, write_byte, NULL);
}

static int poll_cancelled(void *arg, void **result)
{
    struct pollfd fd = {ends[0], POLLIN, 0};
    (void)arg, (void)result;
    EXPECT_ERRNO(ECANCELED, poll(&fd, 1, -1));
    return 0;
}

Test(patch_ready, poll_is_cancelled)
{
    make_pipe();
    together(poll_cancelled, cancel_first, NULL);
}

static int poll_closed(void *arg, void **result)
{
    struct pollfd fd = {ends[0], POLLIN, 0};
    (void)arg, (void)result;
    cr_expect_eq(poll(&fd, 1, -1), 1);
    cr_expect_eq(fd.revents, POLLNVAL);
    return 0;
}

static int close_reader(void *arg, void **result)
{
    (void)arg, (void)result;
    cr_expect_eq(close(ends[0]), 0);
    return 0;
}

Test(patch_ready, poll_of_what_is_closed_meanwhile)
{
    make_pipe();
    together(poll_closed, close_reader, NULL);
}

/* ------------------------------------------------------------------------------------------------
 * select
 */

static int select_byte(void *arg, void **result)
{
    fd_set reads;
    fd_set writes;
    FD_ZERO(&reads);
    FD_ZERO(&writes);
    FD_SET(ends[0], &reads);
    (void)result;
    struct timeval time = {15, 0};
    const int n = arg == NULL ? select(ends[0] + 1, &reads, &writes, NULL, &time)
                              : pselect(ends[0] + 1, &reads, &writes, NULL, NULL, NULL);
    cr_expect_eq(n, 1);
    cr_expect(FD_ISSET(ends[0], &reads));
    cr_expect(arg != NULL || time.tv_sec < 15, "what is left is stored");
    FD_SET(ends[1], &writes);
    cr_expect_eq(select(ends[1] + 1, NULL, &writes, NULL, NULL), 1);
    cr_expect(FD_ISSET(ends[1], &writes));
    return 0;
}

Test(patch_ready, select_waits_for_who_writes)
{
    make_pipe();
    together(select_byte, write_byte, NULL);
    make_pipe();
    together(select_byte, write_byte, ends);
}

static int select_nothing(void *arg, void **result)
{
    fd_set reads;
    FD_ZERO(&reads);
    FD_SET(ends[0], &reads);
    (void)arg, (void)result;
    struct timeval time = {0, 20000};
    const struct timespec exact = {.tv_nsec = 20000000};
    thrum_time_t start = thrum_now();
    cr_expect_eq(select(ends[0] + 1, &reads, NULL, NULL, &time), 0);
    cr_expect_not(FD_ISSET(ends[0], &reads));
    cr_expect(time.tv_sec == 0 && time.tv_usec == 0);
    cr_expect_geq(thrum_now() - start, THRUM_MS(20));
    FD_SET(ends[0], &reads);
    start = thrum_now();
    cr_expect_eq(pselect(ends[0] + 1, &reads, NULL, NULL, &exact, NULL), 0);
    cr_expect_geq(thrum_now() - start, THRUM_MS(20));
    FD_SET(ends[0], &reads);
    cr_expect_eq(select(ends[0] + 1, &reads, NULL, NULL, &time), 0, "no time at all");
    time.tv_usec = 1000;
    cr_expect_eq(select(0, NULL, NULL, NULL, &time), 0);
    return 0;
}

Test(patch_ready, select_ends_in_time)
{
    make_pipe();
    alone(select_nothing, NULL);
    (void)select_nothing(NULL, NULL);
}

static int select_odd_things(void *arg, void **result)
{
    fd_set reads;
    const int none = dup(STDIN_FILENO);
    close(none);
    FD_ZERO(&reads);
    FD_SET(none, &reads);
    (void)arg, (void)result;
    EXPECT_ERRNO(EBADF, select(none + 1, &reads, NULL, NULL, NULL));
    cr_expect(FD_ISSET(none, &reads));
    EXPECT_ERRNO(EINVAL, select(-1, &reads, NULL, NULL, NULL));
    struct timeval time = {-1, 0};
    EXPECT_ERRNO(EINVAL, select(0, NULL, NULL, NULL, &time));
    return 0;
}

Test(patch_ready, select_of_what_is_none)
{
    alone(select_odd_things, NULL);
    (void)select_odd_things(NULL, NULL);
}

static int select_cancelled(void *arg, void **result)
{
    fd_set reads;
    FD_ZERO(&reads);
    FD_SET(ends[0], &reads);
    (void)arg, (void)result;
    EXPECT_ERRNO(ECANCELED, select(ends[0] + 1, &reads, NULL, NULL, NULL));
    return 0;
}

static int select_closed(void *arg, void **result)
{
    fd_set reads;
    FD_ZERO(&reads);
    FD_SET(ends[0], &reads);
    (void)arg, (void)result;
    EXPECT_ERRNO(EBADF, select(ends[0] + 1, &reads, NULL, NULL, NULL));
    return 0;
}

Test(patch_ready, select_ends_without_a_byte)
{
    make_pipe();
    together(select_cancelled, cancel_first, NULL);
    together(select_closed, close_reader, NULL);
}
