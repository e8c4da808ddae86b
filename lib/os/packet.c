/*
 * Packets: messages that the system carries whole or not at all, with descriptors, between two ends of a socket
 * of that kind; and files that exist in memory only and cannot change any more, for what is too large for one.
 */
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "os/memory_file.h"

#if defined(__linux__)
#define FLAGS (MSG_DONTWAIT | MSG_NOSIGNAL)
#define LEAST_ROOM ((size_t)1024)

int thi_packet_pair(int fd[2])
{
    if (thi_fault(THI_FAULT_SOCKETPAIR))
        return EMFILE;
    const int saved = errno;
    const int err = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd) != 0 ? errno : 0;
    errno = saved;
    return err;
}

static int option(int fd, int name)
{
    int value = 0;
    socklen_t size = sizeof value;
    return getsockopt(fd, SOL_SOCKET, name, &value, &size) == 0 ? value : -1;
}

int thi_packet_room(int fd, size_t *room)
{
    const int saved = errno;
    const int type = option(fd, SO_TYPE);
    const int err = type >= 0 ? 0 : errno;
    const int buffer = option(fd, SO_SNDBUF);
    const bool suits = type == SOCK_SEQPACKET && option(fd, SO_DOMAIN) == AF_UNIX;
    errno = saved;
    if (err == EBADF)
        return EBADF;
    if (!suits)
        return EINVAL;
    *room = buffer > 0 && (size_t)buffer / 2 > LEAST_ROOM ? (size_t)buffer / 2 : LEAST_ROOM;
    return 0;
}

/* What carries descriptors. */
typedef union control {
    char bytes[CMSG_SPACE(sizeof(int) * THI_PACKET_FDS)];
    struct cmsghdr aligned;
} control_t;

static void put_fds(struct msghdr *message, control_t *control, const int *fds, size_t n)
{
    memset(control, 0, sizeof *control);
    message->msg_control = control->bytes;
    message->msg_controllen = (socklen_t)CMSG_SPACE(sizeof(int) * n);
    struct cmsghdr *head = CMSG_FIRSTHDR(message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = (socklen_t)CMSG_LEN(sizeof(int) * n);
    memcpy(CMSG_DATA(head), fds, sizeof(int) * n);
}

/* An error that an end has from its peer's closing while there was something to be read is told once, to
 * whoever comes next; what is there can be read all the same. */
static ssize_t retried(int fd, struct msghdr *message, int flags,
                       ssize_t (*call)(int, struct msghdr *, int))
{
    ssize_t n = 0;
    do
        n = call(fd, message, flags);
    while (n < 0 && (errno == EINTR || errno == ECONNRESET));
    return n;
}

static ssize_t send_it(int fd, struct msghdr *message, int flags)
{
    return sendmsg(fd, message, flags);
}

static ssize_t receive_it(int fd, struct msghdr *message, int flags)
{
    return recvmsg(fd, message, flags);
}

int thi_packet_send(int fd, const struct iovec *iov, int count, const int *fds, size_t n)
{
    control_t control;
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)iov,
                             .msg_iovlen = (size_t)count};
    const int saved = errno;
    const int cancel = thi_cancel_off();
    if (n != 0)
        put_fds(&message, &control, fds, n);
    const int err = retried(fd, &message, FLAGS, send_it) < 0 ? errno : 0;
    thi_cancel_restore(cancel);
    errno = saved;
    return err == ENOTCONN ? EPIPE : err;
}

int thi_packet_look(int fd, void *head, size_t size, size_t *length)
{
    struct iovec iov = {head, size};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    const int saved = errno;
    const int cancel = thi_cancel_off();
    const ssize_t n = retried(fd, &message, FLAGS | MSG_PEEK | MSG_TRUNC, receive_it);
    const int err = n < 0 ? errno : 0;
    if (n >= 0)
        *length = (size_t)n;
    thi_cancel_restore(cancel);
    errno = saved;
    return err;
}

/* A packet may have no bytes at all. */
bool thi_packet_over(int fd)
{
    struct pollfd polled = {.fd = fd, .events = POLLRDHUP};
    const int saved = errno;
    const int cancel = thi_cancel_off();
    while (poll(&polled, 1, 0) < 0 && errno == EINTR)
        continue;
    thi_cancel_restore(cancel);
    errno = saved;
    return (polled.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) != 0;
}

/* The first `most` of those that lie at `data`; the others are closed. */
static size_t take_some(const char *data, size_t count, int *fds, size_t most)
{
    for (size_t i = 0; i < count; i++) {
        int fd = -1;
        memcpy(&fd, data + i * sizeof fd, sizeof fd);
        if (i < most)
            fds[i] = fd;
        else
            thi_fd_close(fd);
    }
    return count < most ? count : most;
}

/* Not by CMSG_NXTHDR, which not every C library has free of warnings. */
static size_t take_fds(const struct msghdr *message, int *fds, size_t most)
{
    const char *at = message->msg_control;
    size_t left = message->msg_controllen;
    size_t n = 0;
    struct cmsghdr head;
    while (left >= sizeof head) {
        memcpy(&head, at, sizeof head);
        const size_t length = head.cmsg_len;
        if (length < CMSG_LEN(0) || length > left)
            break;
        if (head.cmsg_level == SOL_SOCKET && head.cmsg_type == SCM_RIGHTS)
            n += take_some(at + CMSG_LEN(0), (length - CMSG_LEN(0)) / sizeof(int), fds + n,
                           most - n);
        const size_t step = CMSG_SPACE(length - CMSG_LEN(0));
        if (step >= left)
            break;
        at += step;
        left -= step;
    }
    return n;
}

int thi_packet_fds(int fd, int *fds, size_t n, size_t *got)
{
    control_t control;
    char byte = 0;
    struct iovec iov = {&byte, sizeof byte};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = (socklen_t)CMSG_LEN(sizeof(int) * n)};
    const int saved = errno;
    const int cancel = thi_cancel_off();
    int err = 0;
    if (thi_fault(THI_FAULT_RECEIVE)) {
        err = EMFILE;
    } else if (retried(fd, &message, FLAGS | MSG_PEEK | MSG_CMSG_CLOEXEC, receive_it) < 0) {
        err = errno;
    } else {
        *got = take_fds(&message, fds, n);
        if (*got < n && (message.msg_flags & MSG_CTRUNC) != 0) {
            for (size_t i = 0; i < *got; i++)
                thi_fd_close(fds[i]);
            err = EMFILE;
        }
    }
    thi_cancel_restore(cancel);
    errno = saved;
    return err;
}

int thi_packet_take(int fd, const struct iovec *iov, int count, size_t *length)
{
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)iov,
                             .msg_iovlen = (size_t)count};
    const int saved = errno;
    const int cancel = thi_cancel_off();
    const ssize_t n = retried(fd, &message, FLAGS | MSG_TRUNC, receive_it);
    const int err = n < 0 ? errno : 0;
    if (n >= 0)
        *length = (size_t)n;
    thi_cancel_restore(cancel);
    errno = saved;
    return err;
}

void thi_packet_shut(int fd)
{
    const int saved = errno;
    shutdown(fd, SHUT_RDWR);
    errno = saved;
}

/* ------------------------------------------------------------------------------------------------
 * Files in memory
 */

static int fill(int fd, const void *data, size_t size)
{
    const struct iovec part = {(void *)(uintptr_t)data, size};
    const int err = thi_memory_fill(fd, &part, 1);
    if (err != 0)
        thi_fd_close(fd);
    return err;
}

int thi_bytes_file(const void *data, size_t size, int *fd)
{
    if (thi_fault(THI_FAULT_MEMFD))
        return ENOMEM;
    const int saved = errno;
    const int cancel = thi_cancel_off();
    int made = -1;
    int err = thi_memory_file("thrum", &made);
    if (err == 0)
        err = fill(made, data, size);
    if (err == 0)
        *fd = made;
    thi_cancel_restore(cancel);
    errno = saved;
    return err;
}

bool thi_bytes_are(int fd, uint64_t size)
{
    const int saved = errno;
    uint64_t has = 0;
    const bool are = thi_memory_is_filled(fd, &has) && has == size;
    errno = saved;
    return are;
}

int thi_bytes_read(int fd, void *data, size_t size)
{
    const int saved = errno;
    const int cancel = thi_cancel_off();
    const int err = thi_bytes_are(fd, size) ? thi_memory_read(fd, data, size, 0) : EBADMSG;
    thi_cancel_restore(cancel);
    errno = saved;
    return err;
}
#else
int thi_packet_pair(int fd[2])
{
    (void)fd;
    return ENOSYS;
}

int thi_packet_room(int fd, size_t *room)
{
    (void)fd, (void)room;
    return EINVAL;
}

int thi_packet_send(int fd, const struct iovec *iov, int count, const int *fds, size_t n)
{
    (void)fd, (void)iov, (void)count, (void)fds, (void)n;
    return ENOSYS;
}

int thi_packet_look(int fd, void *head, size_t size, size_t *length)
{
    (void)fd, (void)head, (void)size, (void)length;
    return ENOSYS;
}

bool thi_packet_over(int fd)
{
    (void)fd;
    return true;
}

int thi_packet_fds(int fd, int *fds, size_t n, size_t *got)
{
    (void)fd, (void)fds, (void)n, (void)got;
    return ENOSYS;
}

int thi_packet_take(int fd, const struct iovec *iov, int count, size_t *length)
{
    (void)fd, (void)iov, (void)count, (void)length;
    return ENOSYS;
}

void thi_packet_shut(int fd)
{
    (void)fd;
}

int thi_bytes_file(const void *data, size_t size, int *fd)
{
    (void)data, (void)size, (void)fd;
    return ENOSYS;
}

bool thi_bytes_are(int fd, uint64_t size)
{
    (void)fd, (void)size;
    return false;
}

int thi_bytes_read(int fd, void *data, size_t size)
{
    (void)fd, (void)data, (void)size;
    return ENOSYS;
}
#endif
