#include "coroutine/sockets.h"

TestSuite(io, .timeout = 30);

/* --- reading and writing ------------------------------------------------------------------------------ */

static void to_and_fro(struct ends e)
{
    char buf[16] = {0};
    size_t n = 99;
    EXPECT_CALL(ETIMEDOUT, thrum_io_read(e.fd[0], buf, sizeof buf, &n, PAST));
    EXPECT_CALL(ETIMEDOUT, thrum_io_read(e.fd[0], buf, sizeof buf, &n, SOON));
    cr_expect_eq(n, 99u, "nothing was read");
    EXPECT_CALL(0, thrum_io_write(e.fd[1], "hello", 5, &n, PAST));
    cr_expect_eq(n, 5u);
    EXPECT_CALL(0, thrum_io_read(e.fd[0], buf, 3, &n, PAST));
    cr_expect_eq(n, 3u);
    EXPECT_CALL(0, thrum_io_read(e.fd[0], buf + 3, 13, NULL, THRUM_FOREVER));
    cr_expect_str_eq(buf, "hello");
    EXPECT_CALL(ETIMEDOUT, thrum_io_read_full(e.fd[0], buf, 4, &n, PAST));
    cr_expect_eq(n, 0u);
    EXPECT_CALL(0, thrum_io_write_full(e.fd[1], "abc", 3, &n, PAST));
    cr_expect_eq(n, 3u);
    EXPECT_CALL(ETIMEDOUT, thrum_io_read_full(e.fd[0], buf, 4, &n, SOON));
    cr_expect_eq(n, 3u);
    cr_expect_eq(memcmp(buf, "abc", 3), 0);

    struct iovec out[3] = {{"", 0}, {"12", 2}, {"345", 3}};
    struct iovec in[2] = {{buf, 1}, {buf + 8, 8}};
    memset(buf, 0, sizeof buf);
    size_t sent = 0;
    while (sent < 5) { /* it may take a part only */
        EXPECT_CALL(
            0, thrum_io_writev(e.fd[1], sent == 0 ? out : out + 2, sent == 0 ? 3 : 1, &n, PAST));
        sent += n;
    }
    EXPECT_CALL(0, thrum_io_readv(e.fd[0], in, 2, &n, PAST));
    cr_expect_eq(n, 5u);
    cr_expect_eq(buf[0], '1');
    cr_expect_str_eq(buf + 8, "2345");
    EXPECT_CALL(ETIMEDOUT, thrum_io_readv(e.fd[0], in, 2, &n, SOON));

    close(e.fd[1]);
    EXPECT_CALL(0, thrum_io_read(e.fd[0], buf, sizeof buf, &n, THRUM_FOREVER));
    cr_expect_eq(n, 0u, "the end");
    EXPECT_CALL(ENODATA, thrum_io_read_full(e.fd[0], buf, sizeof buf, &n, THRUM_FOREVER));
    cr_expect_eq(n, 0u);
    close(e.fd[0]);
}

static void talk_through_everything(void)
{
    for (int nonblocking = 0; nonblocking < 2; nonblocking++) {
        struct ends pairs[2] = {stream_pair(), pipe_pair()};
        for (int i = 0; i < 2; i++) {
            for (int end = 0; end < 2 && nonblocking; end++)
                fcntl(pairs[i].fd[end], F_SETFL, O_NONBLOCK);
            to_and_fro(pairs[i]);
        }
    }
}

Test(io, bytes_go_to_and_fro)
{
    in_every_strand(talk_through_everything);
}

static void misuse(void)
{
    char c = 0;
    int fd = -1;
    struct iovec iov = {&c, 1};
    struct sockaddr_in addr;
    EXPECT_CALL(EBADF, thrum_io_read(-1, &c, 1, NULL, THRUM_FOREVER));
    EXPECT_CALL(EBADF, thrum_io_read(999, &c, 1, NULL, THRUM_FOREVER));
    EXPECT_CALL(EBADF, thrum_io_write(-1, &c, 1, NULL, THRUM_FOREVER));
    EXPECT_CALL(EBADF, thrum_io_recv(999, &c, 1, 0, NULL, THRUM_FOREVER));
    EXPECT_CALL(EBADF, thrum_io_accept(999, NULL, NULL, &fd, THRUM_FOREVER));
    EXPECT_CALL(EBADF, thrum_io_wait(-1, THRUM_IO_IN, THRUM_FOREVER));
    EXPECT_CALL(EBADF, thrum_io_wait(999, THRUM_IO_IN, THRUM_FOREVER));
    EXPECT_CALL(EBADF, thrum_io_close(-1));
    EXPECT_CALL(EBADF, thrum_io_close(999));
    EXPECT_CALL(EINVAL, thrum_io_read(0, NULL, 1, NULL, PAST));
    EXPECT_CALL(EINVAL, thrum_io_write(1, NULL, 1, NULL, PAST));
    EXPECT_CALL(EINVAL, thrum_io_readv(0, NULL, 1, NULL, PAST));
    EXPECT_CALL(EINVAL, thrum_io_readv(0, &iov, 0, NULL, PAST));
    EXPECT_CALL(EINVAL, thrum_io_writev(1, &iov, 1025, NULL, PAST));
    EXPECT_CALL(EINVAL, thrum_io_recv(0, NULL, 1, 0, NULL, PAST));
    EXPECT_CALL(EINVAL, thrum_io_recvfrom(0, &c, 1, 0, (struct sockaddr *)&addr, NULL, NULL, PAST));
    EXPECT_CALL(EINVAL, thrum_io_accept(0, NULL, NULL, NULL, PAST));
    EXPECT_CALL(EINVAL, thrum_io_connect(0, NULL, 0, PAST));
    EXPECT_CALL(EINVAL, thrum_io_wait(0, 0, PAST));
    EXPECT_CALL(EINVAL, thrum_io_wait(0, 8, PAST));
    EXPECT_CALL(EINVAL, thrum_io_poll(NULL, 1, NULL, PAST));
    struct ends e = pipe_pair();
    EXPECT_CALL(ENOTSOCK, thrum_io_recv(e.fd[0], &c, 1, 0, NULL, PAST));
    EXPECT_CALL(ENOTSOCK, thrum_io_send(e.fd[1], &c, 1, 0, NULL, PAST));
    close_ends(e);
}

Test(io, misuse_is_refused)
{
    in_every_strand(misuse);
}

static void write_to_nobody(void)
{
    size_t n = 0;
    struct ends e = stream_pair();
    close(e.fd[0]);
    EXPECT_CALL(EPIPE, thrum_io_write(e.fd[1], "x", 1, &n, THRUM_FOREVER));
    EXPECT_CALL(EPIPE, thrum_io_write_full(e.fd[1], "x", 1, &n, THRUM_FOREVER));
    cr_expect_eq(n, 0u);
    EXPECT_CALL(EPIPE, thrum_io_send(e.fd[1], "x", 1, 0, &n, THRUM_FOREVER));
    close(e.fd[1]);
}

Test(io, a_write_to_nobody_is_an_error_and_no_signal)
{
    in_every_strand(write_to_nobody);
}

static void flags_and_addresses(void)
{
    char buf[8] = {0};
    size_t n = 0;
    struct ends e = datagram_pair();
    EXPECT_CALL(EAGAIN, thrum_io_recv(e.fd[0], buf, 8, MSG_DONTWAIT, &n, THRUM_FOREVER));
    EXPECT_CALL(ETIMEDOUT, thrum_io_recv(e.fd[0], buf, 8, 0, &n, SOON));
    EXPECT_CALL(0, thrum_io_send(e.fd[1], "one", 3, 0, &n, PAST));
    EXPECT_CALL(0, thrum_io_send(e.fd[1], "two", 3, 0, &n, PAST));
    EXPECT_CALL(0, thrum_io_recv(e.fd[0], buf, 8, MSG_PEEK, &n, PAST));
    cr_expect_str_eq(buf, "one");
    EXPECT_CALL(0, thrum_io_recvfrom(e.fd[0], buf, 8, 0, NULL, NULL, &n, PAST));
    EXPECT_CALL(0, thrum_io_recv(e.fd[0], buf, 2, MSG_TRUNC, &n, PAST));
    cr_expect_eq(n, 3u);
    close_ends(e);

    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in from;
    socklen_t size = sizeof addr;
    const int to = socket(AF_INET, SOCK_DGRAM, 0);
    const int sender = socket(AF_INET, SOCK_DGRAM, 0);
    cr_assert_eq(bind(to, (struct sockaddr *)&addr, sizeof addr), 0);
    cr_assert_eq(getsockname(to, (struct sockaddr *)&addr, &size), 0);
    EXPECT_CALL(0, thrum_io_sendto(sender, "three", 5, 0, (struct sockaddr *)&addr, size, &n,
                                   THRUM_FOREVER));
    size = sizeof from;
    EXPECT_CALL(
        0, thrum_io_recvfrom(to, buf, 8, 0, (struct sockaddr *)&from, &size, &n, THRUM_FOREVER));
    cr_expect_eq(n, 5u);
    cr_expect_eq(size, sizeof from);
    cr_expect_eq(from.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    close(to);
    close(sender);
}

Test(io, flags_and_addresses_are_the_systems)
{
    in_every_strand(flags_and_addresses);
}

static void regular_file(void)
{
    char name[] = "/tmp/thrum_io_XXXXXX";
    char buf[8] = {0};
    size_t n = 0;
    const int fd = mkstemp(name);
    cr_assert_geq(fd, 0);
    unlink(name);
    EXPECT_CALL(0, thrum_io_write_full(fd, "file", 4, &n, THRUM_FOREVER));
    cr_assert_eq(lseek(fd, 0, SEEK_SET), 0);
    EXPECT_CALL(0, thrum_io_wait(fd, THRUM_IO_IN | THRUM_IO_OUT, THRUM_FOREVER));
    EXPECT_CALL(ENODATA, thrum_io_read_full(fd, buf, 8, &n, THRUM_FOREVER));
    cr_expect_eq(n, 4u);
    cr_expect_str_eq(buf, "file");
    EXPECT_CALL(0, thrum_io_close(fd));
}

Test(io, regular_files_are_always_ready)
{
    in_every_strand(regular_file);
}

/* --- poll and wait ------------------------------------------------------------------------------------ */

static void poll_several(void)
{
    struct ends e[3] = {stream_pair(), pipe_pair(), stream_pair()};
    struct pollfd fds[5];
    size_t ready = 99;
    for (int i = 0; i < 3; i++)
        fds[i] = (struct pollfd){.fd = e[i].fd[0], .events = POLLIN};
    fds[3] = (struct pollfd){.fd = -1, .events = POLLIN};
    fds[4] = (struct pollfd){.fd = e[2].fd[0], .events = POLLIN | POLLPRI};
    EXPECT_CALL(ETIMEDOUT, thrum_io_poll(fds, 5, &ready, PAST));
    EXPECT_CALL(ETIMEDOUT, thrum_io_poll(fds, 5, &ready, SOON));
    EXPECT_CALL(ETIMEDOUT, thrum_io_poll(NULL, 0, &ready, SOON));
    EXPECT_CALL(ETIMEDOUT, thrum_io_poll(&fds[3], 1, &ready, SOON));
    cr_expect_eq(ready, 99u);
    cr_assert_eq(write(e[1].fd[1], "x", 1), 1);
    EXPECT_CALL(0, thrum_io_poll(fds, 5, &ready, THRUM_FOREVER));
    cr_expect_eq(ready, 1u);
    cr_expect_eq(fds[0].revents, 0);
    cr_expect_eq(fds[1].revents, POLLIN);
    close(e[2].fd[1]);
    EXPECT_CALL(0, thrum_io_poll(fds, 5, &ready, PAST));
    cr_expect_eq(ready, 3u);
    cr_expect((fds[2].revents & POLLHUP) != 0);
    fds[0].events = POLLOUT;
    EXPECT_CALL(0, thrum_io_poll(fds, 1, NULL, THRUM_FOREVER));
    fds[0].fd = 999;
    EXPECT_CALL(0, thrum_io_poll(fds, 1, &ready, THRUM_FOREVER));
    cr_expect_eq(fds[0].revents, POLLNVAL);

    EXPECT_CALL(ETIMEDOUT, thrum_io_wait(e[0].fd[0], THRUM_IO_IN, SOON));
    EXPECT_CALL(0, thrum_io_wait(e[0].fd[0], THRUM_IO_IN | THRUM_IO_OUT, THRUM_FOREVER));
    EXPECT_CALL(0, thrum_io_wait(e[0].fd[0], THRUM_IO_OUT, PAST));
    EXPECT_CALL(0, thrum_io_wait(e[2].fd[0], THRUM_IO_IN, THRUM_FOREVER));
    close_ends(e[0]);
    close_ends(e[1]);
    close(e[2].fd[0]);
}

Test(io, poll_and_wait_find_what_is_ready)
{
    in_every_strand(poll_several);
}

static int poll_many_in_a_small_stack(void *arg, void **result)
{
    struct ends e = stream_pair();
    struct pollfd *fds = arg;
    size_t ready = 0;
    (void)result;
    for (int i = 0; i < 1024; i++)
        fds[i] = (struct pollfd){.fd = e.fd[0], .events = POLLIN};
    EXPECT_CALL(ETIMEDOUT, thrum_io_poll(fds, 1024, &ready, SOON));
    EXPECT_CALL(EINVAL, thrum_io_poll(fds, 1025, &ready, SOON));
    cr_assert_eq(write(e.fd[1], "x", 1), 1);
    EXPECT_CALL(0, thrum_io_poll(fds, 1024, &ready, THRUM_FOREVER));
    cr_expect_eq(ready, 1024u);
    close_ends(e);
    return 0;
}

Test(io, a_thousand_may_be_polled)
{
    static struct pollfd fds[1025];
    cr_expect_eq(in_loop(poll_many_in_a_small_stack, fds), 0);
    cr_expect_eq(poll_many_in_a_small_stack(fds, NULL), 0);
}

/* --- waiting for one another -------------------------------------------------------------------------- */

enum { MUCH = 300000 };
static char sent_bytes[MUCH];
static char got_bytes[MUCH];

static int send_much(void *arg)
{
    struct io_call *c = arg;
    c->err = thrum_io_write_full(c->fd, sent_bytes, MUCH, &c->n, THRUM_FOREVER);
    return c->err;
}

static int get_much(void *arg)
{
    struct io_call *c = arg;
    c->err = thrum_io_read_full(c->fd, got_bytes, MUCH, &c->n, THRUM_FOREVER);
    return c->err;
}

static void pass_much(struct ends e, bool threads)
{
    struct io_call calls[2] = {{.fd = e.fd[0]}, {.fd = e.fd[1]}};
    struct io_coro coros[2] = {{get_much, &calls[0]}, {send_much, &calls[1]}};
    for (int i = 0; i < MUCH; i++)
        sent_bytes[i] = (char)(i * 7 + i / 256);
    memset(got_bytes, 0, MUCH);
    if (threads) {
        struct caller c[2];
        for (int i = 0; i < 2; i++)
            caller_start(&c[i], coros[i].call, &calls[i]);
        for (int i = 0; i < 2; i++)
            cr_expect_eq(caller_join(&c[i]), 0);
    } else {
        thrum_loop_t *loop = NULL;
        EXPECT_CALL(0, thrum_loop_create(&loop, NULL));
        for (int i = 0; i < 2; i++)
            EXPECT_CALL(0, thrum_loop_go(loop, NULL, io_coro_main, &coros[i], NULL));
        EXPECT_CALL(0, thrum_loop_run(loop));
        thrum_loop_destroy(loop);
    }
    for (int i = 0; i < 2; i++) {
        cr_expect_eq(calls[i].err, 0);
        cr_expect_eq(calls[i].n, (size_t)MUCH);
    }
    cr_expect_eq(memcmp(sent_bytes, got_bytes, MUCH), 0);
    close_ends(e);
}

Test(io, much_goes_through_little_room)
{
    for (int threads = 0; threads < 2; threads++) {
        pass_much(stream_pair(), threads != 0);
        pass_much(pipe_pair(), threads != 0); /* in blocking mode */
    }
}

/* Both directions of one descriptor at once, in one loop. */
static int reader_of_both(void *arg, void **result)
{
    const struct ends *e = arg;
    struct io_call c = {.fd = e->fd[0]};
    (void)result;
    return get_much(&c);
}

static int writer_of_both(void *arg, void **result)
{
    const struct ends *e = arg;
    struct io_call c = {.fd = e->fd[0]};
    (void)result;
    return send_much(&c);
}

static int peer_of_both(void *arg, void **result)
{
    const struct ends *e = arg;
    static char buf[4096];
    size_t all = 0;
    (void)result;
    while (all < MUCH) {
        size_t n = 0;
        int err = thrum_io_read(e->fd[1], buf, sizeof buf, &n, THRUM_FOREVER);
        if (err == 0)
            err = thrum_io_write_full(e->fd[1], buf, n, NULL, THRUM_FOREVER);
        if (err != 0)
            return err;
        all += n;
    }
    return 0;
}

static int read_and_write_at_once(void *arg, void **result)
{
    thrum_coro_t *cos[3] = {spawned(reader_of_both, arg), spawned(writer_of_both, arg),
                            spawned(peer_of_both, arg)};
    (void)result;
    const int err = thrum_coro_join_all(cos, 3, THRUM_FOREVER);
    for (int i = 0; i < 3; i++)
        thrum_coro_release(cos[i]);
    return err;
}

Test(io, one_reads_while_another_writes)
{
    struct ends e = stream_pair();
    for (int i = 0; i < MUCH; i++)
        sent_bytes[i] = (char)(i * 11);
    cr_expect_eq(in_loop(read_and_write_at_once, &e), 0);
    cr_expect_eq(memcmp(sent_bytes, got_bytes, MUCH), 0);
    close_ends(e);
}

/* --- connections -------------------------------------------------------------------------------------- */

static int accept_one(void *arg)
{
    struct io_call *c = arg;
    struct sockaddr_in addr;
    socklen_t size = sizeof addr;
    int fd = -1;
    int err = thrum_io_accept(c->fd, (struct sockaddr *)&addr, &size, &fd, THRUM_FOREVER);
    if (err != 0)
        return err;
    if (size != sizeof addr || (fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0 || is_nonblocking(fd))
        return EPROTO;
    err = thrum_io_write_full(fd, "hi", 2, NULL, THRUM_FOREVER);
    close(fd);
    return err;
}

static void connect_once(void)
{
    struct sockaddr_in addr;
    struct io_call c = {.fd = listener(&addr)};
    struct caller acceptor;
    char buf[4] = {0};
    size_t n = 0;
    int none = -1;
    EXPECT_CALL(ETIMEDOUT, thrum_io_accept(c.fd, NULL, NULL, &none, PAST));
    EXPECT_CALL(ETIMEDOUT, thrum_io_accept(c.fd, NULL, NULL, &none, SOON));
    caller_start(&acceptor, accept_one, &c);
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    EXPECT_CALL(0, thrum_io_connect(fd, (struct sockaddr *)&addr, sizeof addr, THRUM_FOREVER));
    EXPECT_CALL(ENODATA, thrum_io_read_full(fd, buf, 4, &n, THRUM_FOREVER));
    cr_expect_str_eq(buf, "hi");
    cr_expect_eq(caller_join(&acceptor), 0);
    cr_expect_not(is_nonblocking(fd), "nobody's mode is changed");
    cr_expect(is_nonblocking(c.fd), "a listener does not wait from its first accept on");
    close(fd);
    close(c.fd);
    const int late = socket(AF_INET, SOCK_STREAM, 0);
    EXPECT_CALL(ECONNREFUSED,
                thrum_io_connect(late, (struct sockaddr *)&addr, sizeof addr, THRUM_FOREVER));
    close(late);
}

Test(io, connections_are_made_and_taken)
{
    in_every_strand(connect_once);
}

/* --- many --------------------------------------------------------------------------------------------- */

enum { CONNECTIONS = 1000 };

struct server {
    int fd;
    struct sockaddr_in addr;
    uint32_t served;
};

static int serve(void *arg, void **result)
{
    const int fd = (int)(intptr_t)arg;
    char buf[64];
    size_t n = 0;
    int err = 0;
    (void)result;
    while ((err = thrum_io_read(fd, buf, sizeof buf, &n, THRUM_FOREVER)) == 0 && n != 0)
        err = thrum_io_write_full(fd, buf, n, NULL, THRUM_FOREVER);
    thrum_io_close(fd);
    return err;
}

static int accept_all(void *arg, void **result)
{
    struct server *s = arg;
    (void)result;
    for (int i = 0; i < CONNECTIONS; i++) {
        int fd = -1;
        int err = thrum_io_accept(s->fd, NULL, NULL, &fd, THRUM_FOREVER);
        if (err == 0)
            err = thrum_go(NULL, serve, (void *)(intptr_t)fd);
        if (err != 0)
            return err;
    }
    return 0;
}

static int be_client(void *arg, void **result)
{
    struct server *s = arg;
    char buf[8] = {0};
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    (void)result;
    int err = thrum_io_connect(fd, (struct sockaddr *)&s->addr, sizeof s->addr, THRUM_FOREVER);
    for (int i = 0; i < 3 && err == 0; i++) {
        err = thrum_io_write_full(fd, "echo", 4, NULL, THRUM_FOREVER);
        if (err == 0)
            err = thrum_io_read_full(fd, buf, 4, NULL, THRUM_FOREVER);
        if (err == 0 && memcmp(buf, "echo", 4) != 0)
            err = EPROTO;
    }
    s->served += err == 0;
    thrum_io_close(fd);
    return err;
}

static int serve_and_connect(void *arg, void **result)
{
    (void)result;
    int err = thrum_go(NULL, accept_all, arg);
    for (int i = 0; i < CONNECTIONS && err == 0; i++)
        err = thrum_go(NULL, be_client, arg);
    return err;
}

Test(io, a_thousand_connections)
{
    struct server s = {.served = 0};
    s.fd = listener(&s.addr);
    cr_expect_eq(in_loop(serve_and_connect, &s), 0);
    cr_expect_eq(s.served, (uint32_t)CONNECTIONS);
    close(s.fd);
}
