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
    thi_cancel_restore(cancel);
    return thi_outcome(n, saved);
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
