#ifndef TESTS_COROUTINE_SOCKETS_H
#define TESTS_COROUTINE_SOCKETS_H

/*
 * Descriptors to talk through, and bodies that run as a coroutine and as plain code of a thread.
 */

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>

#include "coroutine/loops.h"
#include "coroutine/waitfd.h"

struct ends {
    int fd[2];
};

static inline struct ends stream_pair(void)
{
    struct ends e;
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, e.fd), 0);
    return e;
}

static inline struct ends datagram_pair(void)
{
    struct ends e;
    cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM, 0, e.fd), 0);
    return e;
}

/* fd[0] is read from. */
static inline struct ends pipe_pair(void)
{
    struct ends e;
    cr_assert_eq(pipe(e.fd), 0);
    return e;
}

static inline void close_ends(struct ends e)
{
    close(e.fd[0]);
    close(e.fd[1]);
}

/* A listening socket on the loopback, with its address. */
static inline int listener(struct sockaddr_in *addr)
{
    socklen_t size = sizeof *addr;
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    *addr = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0 || bind(fd, (struct sockaddr *)addr, sizeof *addr) != 0 || listen(fd, 1024) != 0 ||
        getsockname(fd, (struct sockaddr *)addr, &size) != 0)
        abort();
    return fd;
}

static inline bool is_nonblocking(int fd)
{
    return (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0;
}

struct body {
    void (*fn)(void);
};

static inline int body_in_loop(void *arg, void **result)
{
    const struct body *b = arg;
    (void)result;
    b->fn();
    return 0;
}

/* As plain code of a thread; as a coroutine of a loop; as one that is resumed by hand. */
static inline void in_every_strand(void (*fn)(void))
{
    struct body b = {fn};
    fn();
    cr_expect_eq(in_loop(body_in_loop, &b), 0);
    thrum_coro_t *co = made(body_in_loop, &b);
    EXPECT_CALL(ENODATA, thrum_coro_resume(co, NULL, NULL));
    thrum_coro_release(co);
}

/* One call, made by a coroutine or by a thread, whatever the test likes. */
struct io_call {
    int fd;
    int other; /* another descriptor, of who needs one */
    int err;
    size_t n;
    size_t size;
    char *data;
    thrum_time_t deadline;
};

static inline int read_call(void *arg)
{
    struct io_call *c = arg;
    char byte = 0;
    return thrum_io_read(c->fd, &byte, 1, &c->n, c->deadline);
}

static inline int write_call(void *arg) /* until there is no room, and longer */
{
    static const char much[65536];
    struct io_call *c = arg;
    int err = 0;
    while (err == 0)
        err = thrum_io_write(c->fd, much, sizeof much, &c->n, c->deadline);
    return err;
}

static inline int poll_call(void *arg)
{
    struct io_call *c = arg;
    struct pollfd fds[2] = {{.fd = -1, .events = POLLIN}, {.fd = c->fd, .events = POLLIN}};
    return thrum_io_poll(fds, 2, &c->n, c->deadline);
}

static inline int wait_call(void *arg)
{
    struct io_call *c = arg;
    return thrum_io_wait(c->fd, THRUM_IO_IN, c->deadline);
}

/* The same as a coroutine. */
struct io_coro {
    int (*call)(void *arg);
    struct io_call *args;
};

static inline int io_coro_main(void *arg, void **result)
{
    const struct io_coro *c = arg;
    (void)result;
    return c->call(c->args);
}

static inline unsigned waiting_on(int fd)
{
    return thi_waitfd_count(fd);
}

#endif /* TESTS_COROUTINE_SOCKETS_H */
