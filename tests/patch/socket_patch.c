/*
 * recv, send, accept, connect and their kin.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/un.h>

#include "patch/inside.h"

TestSuite(patch_socket, .timeout = 20);

#define BIG ((size_t)1 << 20)

static int ends[2];

static void make_stream(void)
{
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
}

static int send_hello(void *arg, void **result)
{
    (void)arg, (void)result;
    cr_expect_eq(send(ends[1], "hello", 5, 0), 5);
    return 0;
}

static int recv_hello(void *arg, void **result)
{
    char buf[16] = "";
    (void)arg, (void)result;
    EXPECT_ERRNO(EAGAIN, recv(ends[0], buf, sizeof buf, MSG_DONTWAIT));
    cr_expect_eq(recv(ends[0], buf, sizeof buf, MSG_PEEK), 5);
    cr_expect_eq(recv(ends[0], buf, sizeof buf, 0), 5);
    cr_expect_str_eq(buf, "hello");
    return 0;
}

Test(patch_socket, recv_waits_for_send)
{
    make_stream();
    together(recv_hello, send_hello, NULL);
}

static int send_in_pieces(void *arg, void **result)
{
    (void)arg, (void)result;
    for (int i = 0; i < 5; i++) {
        cr_expect_eq(send(ends[1], &"hello"[i], 1, 0), 1);
        thrum_yield();
        (void)thrum_sleep(THRUM_MS(1));
    }
    return 0;
}

static int recv_all(void *arg, void **result)
{
    char buf[6] = "";
    (void)arg, (void)result;
    cr_expect_eq(recv(ends[0], buf, 5, MSG_WAITALL), 5);
    cr_expect_str_eq(buf, "hello");
    return 0;
}

static int peek_all(void *arg, void **result)
{
    char buf[6] = "";
    (void)arg, (void)result;
    cr_expect_geq(recv(ends[0], buf, 5, MSG_WAITALL | MSG_PEEK), 1); /* not all systems wait */
    cr_expect_eq(recv(ends[0], buf, 5, MSG_WAITALL), 5);
    cr_expect_str_eq(buf, "hello");
    return 0;
}

Test(patch_socket, waiting_for_all_of_it)
{
    make_stream();
    together(recv_all, send_in_pieces, NULL);
    together(peek_all, send_in_pieces, NULL);
}

static int recv_some_of_all(void *arg, void **result)
{
    char buf[6] = "";
    (void)arg, (void)result;
    cr_expect_eq(recv(ends[0], buf, 5, MSG_WAITALL), 2);
    EXPECT_ERRNO(EAGAIN, recv(ends[0], buf, 5, MSG_WAITALL));
    return 0;
}

Test(patch_socket, a_timeout_leaves_what_has_come)
{
    make_stream();
    set_timeout(ends[0], SO_RCVTIMEO, 10);
    cr_expect_eq(send(ends[1], "he", 2, 0), 2);
    alone(recv_some_of_all, NULL);
}

/* ------------------------------------------------------------------------------------------------
 * Messages
 */

static int send_messages(void *arg, void **result)
{
    static char data[BIG];
    struct iovec iov[3] = {{"he", 2}, {"llo", 3}, {data, sizeof data}};
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = 3};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    (void)arg, (void)result;
    memset(&control, 0, sizeof control);
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.header), &ends[1], sizeof(int));
    cr_expect_eq(sendmsg(ends[1], &message, 0), (ssize_t)(5 + BIG));
    return 0;
}

static int recv_messages(void *arg, void **result)
{
    static char data[BIG];
    struct iovec iov[1] = {{data, 5}};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message = {
        .msg_iov = iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    (void)arg, (void)result;
    cr_expect_eq(recvmsg(ends[0], &message, 0), 5);
    cr_expect_eq(memcmp(data, "hello", 5), 0);
    cr_expect(message.msg_controllen >= CMSG_LEN(sizeof(int)));
    cr_expect_eq(recv(ends[0], data, sizeof data, MSG_WAITALL), (ssize_t)BIG);
    return 0;
}

Test(patch_socket, messages_with_descriptors_are_sent_whole)
{
    make_stream();
    together(recv_messages, send_messages, NULL);
    together(send_messages, recv_messages, NULL);
}

static struct sockaddr_in loopback(int fd)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof at;
    if (fd >= 0)
        cr_expect_eq(getsockname(fd, (struct sockaddr *)&at, &size), 0);
    return at;
}

static int bound(int type)
{
    const struct sockaddr_in at = loopback(-1);
    const int fd = socket(AF_INET, type, 0);
    cr_assert_eq(bind(fd, (const struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

static int recv_datagram(void *arg, void **result)
{
    char buf[16];
    struct sockaddr_in from;
    socklen_t size = sizeof from;
    (void)arg, (void)result;
    cr_expect_eq(recvfrom(ends[0], buf, sizeof buf, 0, (struct sockaddr *)&from, &size), 5);
    cr_expect_eq(from.sin_port, loopback(ends[1]).sin_port);
    cr_expect_eq(recvfrom(ends[0], buf, sizeof buf, MSG_WAITALL, NULL, NULL), 0, "an empty one");
    return 0;
}

static int send_datagram(void *arg, void **result)
{
    const struct sockaddr_in to = loopback(ends[0]);
    (void)arg, (void)result;
    cr_expect_eq(sendto(ends[1], "hello", 5, 0, (const struct sockaddr *)&to, sizeof to), 5);
    cr_expect_eq(sendto(ends[1], "", 0, 0, (const struct sockaddr *)&to, sizeof to), 0);
    return 0;
}

Test(patch_socket, datagrams)
{
    ends[0] = bound(SOCK_DGRAM);
    ends[1] = bound(SOCK_DGRAM);
    together(recv_datagram, send_datagram, NULL);
}

static int send_broken(void *arg, void **result)
{
    (void)arg, (void)result;
    signals_seen = 0;
    EXPECT_ERRNO(EPIPE, send(ends[1], "x", 1, MSG_NOSIGNAL));
    cr_expect_eq(signals_seen, 0);
    EXPECT_ERRNO(EPIPE, send(ends[1], "x", 1, 0));
    cr_expect_eq(signals_seen, 1);
    EXPECT_ERRNO(ENOTSOCK, send(STDIN_FILENO, "x", 1, 0));
    return 0;
}

Test(patch_socket, sending_to_nobody)
{
    count_signals(SIGPIPE);
    make_stream();
    close(ends[0]);
    int pipes[2];
    cr_assert_eq(pipe(pipes), 0);
    dup2(pipes[0], STDIN_FILENO);
    alone(send_broken, NULL);
    (void)send_broken(NULL, NULL); /* as outside */
}

/* ------------------------------------------------------------------------------------------------
 * Connections
 */

static int accept_two(void *arg, void **result)
{
    struct sockaddr_in from;
    socklen_t size = sizeof from;
    (void)arg, (void)result;
    const int first = accept(ends[0], (struct sockaddr *)&from, &size);
    cr_expect_geq(first, 0);
    cr_expect_eq(size, sizeof from);
    cr_expect_eq(fcntl(first, F_GETFD), 0);
    cr_expect_not(is_nonblocking(first));
    const int second = accept4(ends[0], NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    cr_expect_eq(fcntl(second, F_GETFD), FD_CLOEXEC);
    cr_expect(is_nonblocking(second));
    cr_expect_not(is_nonblocking(ends[0]));
    cr_expect_eq(send(first, "hello", 5, 0), 5);
    close(first);
    close(second);
    return 0;
}

static int connect_two(void *arg, void **result)
{
    char buf[16];
    const struct sockaddr_in to = loopback(ends[0]);
    const int first = socket(AF_INET, SOCK_STREAM, 0);
    const int second = socket(AF_INET, SOCK_STREAM, 0);
    (void)arg, (void)result;
    cr_expect_eq(connect(first, (const struct sockaddr *)&to, sizeof to), 0);
    cr_expect_not(is_nonblocking(first));
    (void)thrum_sleep(THRUM_MS(1));
    cr_expect_eq(connect(second, (const struct sockaddr *)&to, sizeof to), 0);
    cr_expect_eq(recv(first, buf, sizeof buf, 0), 5);
    EXPECT_ERRNO(EISCONN, connect(first, (const struct sockaddr *)&to, sizeof to));
    close(first);
    close(second);
    return 0;
}

Test(patch_socket, accept_waits_for_connect)
{
    ends[0] = bound(SOCK_STREAM);
    cr_assert_eq(listen(ends[0], 5), 0);
    together(accept_two, connect_two, NULL);
}

static int accept_nobody(void *arg, void **result)
{
    (void)arg, (void)result;
    EXPECT_ERRNO(EAGAIN, accept(ends[0], NULL, NULL));
    return 0;
}

static int accept_cancelled(void *arg, void **result)
{
    (void)arg, (void)result;
    EXPECT_ERRNO(ECANCELED, accept(ends[0], NULL, NULL));
    return 0;
}

Test(patch_socket, accept_ends_without_a_connection)
{
    ends[0] = bound(SOCK_STREAM);
    cr_assert_eq(listen(ends[0], 5), 0);
    together(accept_cancelled, cancel_first, NULL);
    set_timeout(ends[0], SO_RCVTIMEO, 10);
    alone(accept_nobody, NULL);
    set_timeout(ends[0], SO_RCVTIMEO, 0);
    cr_assert_eq(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    alone(accept_nobody, NULL);
    cr_expect(is_nonblocking(ends[0]));
}

static int connect_refused(void *arg, void **result)
{
    const struct sockaddr_in *to = arg;
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    (void)result;
    EXPECT_ERRNO(ECONNREFUSED, connect(fd, (const struct sockaddr *)to, sizeof *to));
    cr_expect_not(is_nonblocking(fd));
    close(fd);
    EXPECT_ERRNO(EBADF, connect(fd, (const struct sockaddr *)to, sizeof *to));
    EXPECT_ERRNO(EBADF, accept(fd, NULL, NULL));
    return 0;
}

Test(patch_socket, who_is_refused_is_told)
{
    const int fd = bound(SOCK_STREAM); /* does not listen */
    struct sockaddr_in to = loopback(fd);
    alone(connect_refused, &to);
    (void)connect_refused(&to, NULL);
}

/* Abstract, so that nothing has to be removed. */
static struct sockaddr_un unix_address(void)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path + 1, sizeof at.sun_path - 1, "thrum-patch-%d", (int)getpid());
    return at;
}

static bool full;

static int connect_until_full(void *arg, void **result)
{
    const struct sockaddr_un to = unix_address();
    int *connected = arg;
    int err = 0;
    (void)result;
    while (err == 0 && *connected < 100) {
        const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        set_timeout(fd, SO_SNDTIMEO, 10);
        err = connect(fd, (const struct sockaddr *)&to, sizeof to) == 0 ? 0 : errno;
        *connected += err == 0;
    }
    cr_expect_eq(err, EAGAIN, "%s", strerror(err));
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0); /* waits for who accepts */
    full = true;
    cr_expect_eq(connect(fd, (const struct sockaddr *)&to, sizeof to), 0);
    return 0;
}

static int accept_later(void *arg, void **result)
{
    (void)arg, (void)result;
    while (!full)
        (void)thrum_sleep(THRUM_MS(1));
    cr_expect_geq(accept(ends[0], NULL, NULL), 0);
    return 0;
}

Test(patch_socket, a_full_backlog_is_waited_for)
{
    const struct sockaddr_un at = unix_address();
    int connected = 0;
    ends[0] = socket(AF_UNIX, SOCK_STREAM, 0);
    cr_assert_eq(bind(ends[0], (const struct sockaddr *)&at, sizeof at), 0);
    cr_assert_eq(listen(ends[0], 1), 0);
    together(connect_until_full, accept_later, &connected);
}
