/*
 * Receiving and sending, past whatever stands in front of the C library's functions, as in calls.c; what is not
 * known to the C library cannot be a cancellation point either.
 */
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "os/os.h"

#if defined(__linux__) && !defined(__SANITIZE_THREAD__) && !defined(THI_CLANG_TSAN)
#include <sys/syscall.h>
#endif

#if defined(__linux__) && defined(__LP64__) && defined(SYS_recvfrom) && defined(SYS_sendto) &&     \
    defined(SYS_sendmsg)
static ssize_t receive(int fd, void *buf, size_t size)
{
    return syscall(SYS_recvfrom, (long)fd, buf, size, (long)MSG_DONTWAIT, NULL, NULL);
}

static ssize_t transmit(int fd, const void *data, size_t size)
{
    return syscall(SYS_sendto, (long)fd, data, size, (long)(MSG_DONTWAIT | MSG_NOSIGNAL), NULL, 0L);
}

static ssize_t transmit_message(int fd, const struct msghdr *message)
{
    return syscall(SYS_sendmsg, (long)fd, message, (long)(MSG_DONTWAIT | MSG_NOSIGNAL));
}
#else
static ssize_t receive(int fd, void *buf, size_t size)
{
    const int cancel = thi_cancel_off();
    const ssize_t n = recv(fd, buf, size, MSG_DONTWAIT);
    thi_cancel_restore(cancel);
    return n;
}

static ssize_t transmit(int fd, const void *data, size_t size)
{
    const int cancel = thi_cancel_off();
    const ssize_t n = send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    thi_cancel_restore(cancel);
    return n;
}

static ssize_t transmit_message(int fd, const struct msghdr *message)
{
    const int cancel = thi_cancel_off();
    const ssize_t n = sendmsg(fd, message, MSG_DONTWAIT | MSG_NOSIGNAL);
    thi_cancel_restore(cancel);
    return n;
}
#endif

ssize_t thi_socket_recv(int fd, void *buf, size_t size)
{
    const int saved = errno;
    ssize_t n = 0;
    do
        n = receive(fd, buf, size);
    while (THI_UNLIKELY(n < 0 && errno == EINTR));
    return thi_outcome(n, saved);
}

ssize_t thi_socket_send(int fd, const void *data, size_t size)
{
    const int saved = errno;
    ssize_t n = 0;
    do
        n = transmit(fd, data, size);
    while (THI_UNLIKELY(n < 0 && errno == EINTR));
    return thi_outcome(n, saved);
}

ssize_t thi_socket_sendv(int fd, const struct iovec *iov, int count)
{
    const struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)iov,
                                   .msg_iovlen = (size_t)count};
    const int saved = errno;
    ssize_t n = 0;
    do
        n = transmit_message(fd, &message);
    while (THI_UNLIKELY(n < 0 && errno == EINTR));
    return thi_outcome(n, saved);
}

/* Others may be cut short by what comes with the bytes: descriptors, for one. */
bool thi_socket_measures(int fd)
{
#if defined(SO_PROTOCOL)
    const int saved = errno;
    int protocol = 0;
    socklen_t size = sizeof protocol;
    const int rc = getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size);
    errno = saved;
    return rc == 0 && protocol == IPPROTO_TCP;
#else
    (void)fd;
    return false;
#endif
}
