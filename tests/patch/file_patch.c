/*
 * read, write, readv, writev and close of pipes, sockets, files and others.
 */
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

#include "patch/inside.h"

TestSuite(patch_file, .timeout = 20);

#define BIG ((size_t)1 << 20)

static int ends[2]; /* to read from, to write to */

static void make_pipe(void)
{
    cr_assert_eq(pipe(ends), 0);
}

static void make_sockets(void)
{
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
}

static int read_hello(void *arg, void **result)
{
    char buf[16] = "";
    (void)arg, (void)result;
    cr_expect_eq(read(ends[0], buf, sizeof buf), 5);
    cr_expect_str_eq(buf, "hello");
    return 0;
}

static int write_hello(void *arg, void **result)
{
    (void)arg, (void)result;
    cr_expect_eq(write(ends[1], "hello", 5), 5);
    return 0;
}

Test(patch_file, who_reads_a_pipe_lets_others_run)
{
    make_pipe();
    together(read_hello, write_hello, NULL);
}

Test(patch_file, who_reads_a_socket_lets_others_run)
{
    make_sockets();
    together(read_hello, write_hello, NULL);
    cr_expect_not(is_nonblocking(ends[0]));
}

static int readv_hello(void *arg, void **result)
{
    char he[2];
    char llo[8];
    const struct iovec iov[2] = {{he, sizeof he}, {llo, sizeof llo}};
    (void)arg, (void)result;
    cr_expect_eq(readv(ends[0], iov, 2), 5);
    cr_expect_eq(memcmp(he, "he", 2), 0);
    cr_expect_eq(memcmp(llo, "llo", 3), 0);
    return 0;
}

static int writev_hello(void *arg, void **result)
{
    const struct iovec iov[3] = {{"he", 2}, {NULL, 0}, {"llo", 3}};
    (void)arg, (void)result;
    cr_expect_eq(writev(ends[1], iov, 3), 5);
    return 0;
}

Test(patch_file, vectors_by_pipe)
{
    make_pipe();
    together(readv_hello, writev_hello, NULL);
}

Test(patch_file, vectors_by_socket)
{
    make_sockets();
    together(readv_hello, writev_hello, NULL);
}

static int write_big(void *arg, void **result)
{
    char *data = calloc(1, BIG);
    const struct iovec iov[3] = {{data, 1000}, {data + 1000, BIG - 1001}, {data + BIG - 1, 1}};
    (void)result;
    for (size_t i = 0; i < BIG; i++)
        data[i] = (char)(i * 7 + i / 255);
    const ssize_t n = arg != NULL ? writev(ends[1], iov, 3) : write(ends[1], data, BIG);
    cr_expect_eq(n, (ssize_t)BIG, "%zd were written", n);
    close(ends[1]);
    free(data);
    return 0;
}

static int read_big(void *arg, void **result)
{
    static char buf[BIG + 1];
    size_t all = 0;
    ssize_t n = 0;
    size_t wrong = 0;
    (void)arg, (void)result;
    while ((n = read(ends[0], buf + all, sizeof buf - all)) > 0)
        all += (size_t)n;
    for (size_t i = 0; i < all; i++)
        wrong += buf[i] != (char)(i * 7 + i / 255);
    cr_expect_eq(n, 0);
    cr_expect_eq(all, BIG);
    cr_expect_eq(wrong, 0);
    return 0;
}

Test(patch_file, a_write_to_a_full_pipe_writes_all)
{
    make_pipe();
    together(write_big, read_big, NULL);
}

Test(patch_file, a_write_to_a_full_socket_writes_all)
{
    make_sockets();
    together(write_big, read_big, NULL);
}

Test(patch_file, a_writev_to_a_full_pipe_writes_all)
{
    make_pipe();
    together(write_big, read_big, ends);
}

Test(patch_file, a_writev_to_a_full_socket_writes_all)
{
    make_sockets();
    together(write_big, read_big, ends);
}

static int read_nothing(void *arg, void **result)
{
    char c = 0;
    (void)arg, (void)result;
    EXPECT_ERRNO(EAGAIN, read(ends[0], &c, 1));
    return 0;
}

Test(patch_file, what_the_program_made_nonblocking_does_not_wait)
{
    cr_assert_eq(pipe2(ends, O_NONBLOCK), 0);
    alone(read_nothing, NULL);
    make_sockets();
    cr_assert_eq(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    alone(read_nothing, NULL);
    cr_expect(is_nonblocking(ends[0]));
}

static int count_turns(void *arg, void **result)
{
    int *turns = arg;
    (void)result;
    for (int i = 0; i < 3; i++) {
        ++*turns;
        thrum_yield();
    }
    return 0;
}

Test(patch_file, a_sockets_timeout_ends_the_wait_while_others_run)
{
    int turns = 0;
    make_sockets();
    set_timeout(ends[0], SO_RCVTIMEO, 20);
    const thrum_time_t start = thrum_now();
    together(read_nothing, count_turns, &turns);
    cr_expect_geq(thrum_now() - start, THRUM_MS(20));
    cr_expect_eq(turns, 3);
    EXPECT_ERRNO(EAGAIN, read(ends[0], &turns, 1)); /* as outside */
}

static int fill_until_timeout(void *arg, void **result)
{
    char *data = calloc(1, BIG);
    (void)arg, (void)result;
    const ssize_t n = write(ends[1], data, BIG);
    cr_expect(n > 0 && n < (ssize_t)BIG, "%zd were written", n);
    EXPECT_ERRNO(EAGAIN, write(ends[1], data, BIG));
    free(data);
    return 0;
}

Test(patch_file, a_timed_write_says_how_much_was_written)
{
    make_sockets();
    set_timeout(ends[1], SO_SNDTIMEO, 10);
    alone(fill_until_timeout, NULL);
}

static int read_cancelled(void *arg, void **result)
{
    char c = 0;
    (void)arg, (void)result;
    EXPECT_ERRNO(ECANCELED, read(ends[0], &c, 1));
    EXPECT_ERRNO(ECANCELED, read(ends[0], &c, 1));
    return 0;
}

Test(patch_file, who_is_cancelled_is_told)
{
    make_pipe();
    together(read_cancelled, cancel_first, NULL);
    make_sockets();
    together(read_cancelled, cancel_first, NULL);
}

static int read_closed(void *arg, void **result)
{
    char c = 0;
    (void)arg, (void)result;
    EXPECT_ERRNO(EBADF, read(ends[0], &c, 1));
    return 0;
}

static int close_it(void *arg, void **result)
{
    (void)arg, (void)result;
    cr_expect_eq(close(ends[0]), 0);
    EXPECT_ERRNO(EBADF, close(ends[0]));
    return 0;
}

Test(patch_file, a_close_wakes_who_reads)
{
    make_pipe();
    together(read_closed, close_it, NULL);
    make_sockets();
    together(read_closed, close_it, NULL);
}

static int write_broken(void *arg, void **result)
{
    (void)arg, (void)result;
    signals_seen = 0;
    EXPECT_ERRNO(EPIPE, write(ends[1], "x", 1));
    cr_expect_eq(signals_seen, 1);
    return 0;
}

Test(patch_file, who_writes_to_nobody_gets_a_signal_and_an_error)
{
    count_signals(SIGPIPE);
    make_pipe();
    close(ends[0]);
    alone(write_broken, NULL);
    (void)write_broken(NULL, NULL); /* as outside */
    make_sockets();
    close(ends[0]);
    alone(write_broken, NULL);
    (void)write_broken(NULL, NULL);
}

static volatile int negative = -1; /* the compiler is not to see it */
static volatile int too_many = 5000;

static int bad_descriptors(void *arg, void **result)
{
    char c = 0;
    const struct iovec iov = {&c, 1};
    (void)arg, (void)result;
    EXPECT_ERRNO(EBADF, read(-1, &c, 1));
    EXPECT_ERRNO(EBADF, write(-1, &c, 1));
    EXPECT_ERRNO(EBADF, readv(-1, &iov, 1));
    EXPECT_ERRNO(EBADF, close(-1));
    EXPECT_ERRNO(EINVAL, readv(ends[0], &iov, negative));
    EXPECT_ERRNO(EINVAL, writev(ends[1], &iov, too_many));
    cr_expect_eq(read(ends[0], NULL, 0), 0);
    cr_expect_eq(write(ends[1], "", 0), 0);
    return 0;
}

Test(patch_file, errors_are_the_systems)
{
    make_pipe();
    alone(bad_descriptors, NULL);
    (void)bad_descriptors(NULL, NULL);
    make_sockets();
    alone(bad_descriptors, NULL);
}

static int use_file(void *arg, void **result)
{
    char *data = calloc(1, BIG);
    FILE *file = tmpfile();
    (void)arg, (void)result;
    const int fd = fileno(file);
    cr_expect_eq(write(fd, data, BIG), (ssize_t)BIG);
    cr_expect_eq(lseek(fd, 0, SEEK_SET), 0);
    cr_expect_eq(read(fd, data, BIG), (ssize_t)BIG);
    cr_expect_eq(read(fd, data, BIG), 0);
    fclose(file);
    free(data);
    return 0;
}

Test(patch_file, regular_files)
{
    alone(use_file, NULL);
}

static int read_event(void *arg, void **result)
{
    uint64_t count = 0;
    (void)result;
    cr_expect_eq(read(*(int *)arg, &count, sizeof count), (ssize_t)sizeof count);
    cr_expect_eq(count, 7);
    return 0;
}

static int write_event(void *arg, void **result)
{
    const uint64_t count = 7;
    (void)result;
    cr_expect_eq(write(*(int *)arg, &count, sizeof count), (ssize_t)sizeof count);
    return 0;
}

Test(patch_file, other_descriptors)
{
    int fd = eventfd(0, 0);
    together(read_event, write_event, &fd);
}

static int read_by_library(void *arg, void **result)
{
    char buf[16];
    size_t n = 0;
    (void)arg, (void)result;
    cr_expect_eq(thrum_io_read(ends[0], buf, sizeof buf, &n, THRUM_FOREVER), 0);
    cr_expect_eq(n, 5);
    cr_expect_eq(thrum_io_close(ends[0]), 0);
    return 0;
}

Test(patch_file, the_librarys_own_calls_do_not_come_back)
{
    make_pipe();
    together(read_by_library, write_hello, NULL);
    make_sockets();
    together(read_by_library, write_hello, NULL);
}
