/*
 * Sockets, as servers use them.
 */
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "os/os.h"

#define NS_PER_S 1000000000
#define NS_PER_US 1000

static void set_limit(int fd, int option, int64_t limit)
{
    struct timeval time = {.tv_sec = (time_t)(limit / NS_PER_S),
                           .tv_usec = (suseconds_t)(limit % NS_PER_S / NS_PER_US)};
    if (limit != 0 && time.tv_sec == 0 && time.tv_usec == 0)
        time.tv_usec = 1; /* 0 would be no limit */
    (void)setsockopt(fd, SOL_SOCKET, option, &time, sizeof time);
}

void thi_fd_set_limits(int fd, int64_t receive, int64_t send)
{
    const int saved = errno;
    set_limit(fd, SO_RCVTIMEO, receive);
    set_limit(fd, SO_SNDTIMEO, send);
    errno = saved;
}

ssize_t thi_fd_receive(int fd, void *buf, size_t size)
{
    const int saved = errno;
    const int cancel = thi_cancel_off();
    ssize_t n = 0;
    do
        n = recv(fd, buf, size, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        n = -(ssize_t)(errno == EWOULDBLOCK ? EAGAIN : errno);
    thi_cancel_restore(cancel);
    errno = saved;
    return n;
}

void thi_fd_share_address(int fd)
{
#if defined(SO_REUSEPORT)
    const int saved = errno;
    const int yes = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes);
    errno = saved;
#else
    (void)fd;
#endif
}

int thi_fd_duplicate(int fd, int *copy)
{
    const int saved = errno;
    *copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    const int err = *copy < 0 ? errno : 0;
    errno = saved;
    return err;
}

#if defined(__linux__)
#include <sys/sendfile.h>

struct sending {
    int socket;
    int file;
    off_t from;
    size_t size;
};

static ssize_t send_part(void *arg)
{
    struct sending *s = arg;
    ssize_t n = 0;
    do
        n = sendfile(s->socket, s->file, &s->from, s->size);
    while (n < 0 && errno == EINTR);
    return n;
}

ssize_t thi_fd_sendfile(int socket, int file, int64_t *offset, size_t size)
{
    const int saved = errno;
    const int cancel = thi_cancel_off();
    struct sending s = {socket, file, (off_t)*offset, size};
    ssize_t n = thi_quietly(send_part, &s);
    if (n < 0)
        n = -(ssize_t)errno;
    *offset = s.from;
    thi_cancel_restore(cancel);
    errno = saved;
    return n;
}
#else
ssize_t thi_fd_sendfile(int socket, int file, int64_t *offset, size_t size)
{
    char data[16384];
    const ssize_t n = pread(file, data, size < sizeof data ? size : sizeof data, (off_t)*offset);
    if (n <= 0)
        return n < 0 ? -(ssize_t)errno : 0;
    const ssize_t sent = send(socket, data, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0)
        return -(ssize_t)(errno == EWOULDBLOCK ? EAGAIN : errno);
    *offset += sent;
    return sent;
}
#endif
