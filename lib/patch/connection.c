/*
 * accept and connect. Neither can be told not to wait in one call, so the socket is made non-blocking around it:
 * for an instant, and, where another coroutine could see it, under a lock.
 */
#include <fcntl.h>

#include "patch/patch.h"

#define LISTENERS 64u

/* A listener is non-blocking for us, not for the program, only while its lock is held. (All zero: free.) */
static pthread_mutex_t listeners[LISTENERS];

static void set_nonblocking(int fd, bool nonblocking)
{
    const int saved = errno;
    const int flags = fcntl(fd, F_GETFL);
    if (flags >= 0)
        fcntl(fd, F_SETFL, nonblocking ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
    errno = saved;
}

/* ------------------------------------------------------------------------------------------------
 * accept
 */

struct acceptance {
    int fd;
    int flags;
    struct sockaddr *addr;
    socklen_t *addr_len;
};

static pthread_mutex_t *lock_listener(int fd)
{
    pthread_mutex_t *lock = &listeners[(unsigned)fd % LISTENERS];
    (void)thi_real()->pthread_mutex_lock(lock);
    return lock;
}

static bool has_connection(int fd)
{
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    return thi_real()->poll(&polled, 1, 0) != 0;
}

static ssize_t try_accept(void *arg)
{
    const struct acceptance *a = arg;
    if (!has_connection(a->fd)) {
        errno = EAGAIN;
        return -1;
    }
    pthread_mutex_t *lock = lock_listener(a->fd);
    set_nonblocking(a->fd, true);
    const int fd = thi_real()->accept4(a->fd, a->addr, a->addr_len, a->flags);
    set_nonblocking(a->fd, false);
    (void)pthread_mutex_unlock(lock);
    return fd;
}

static bool accept_waits(int fd)
{
    if (fd < 0 || !thrum_loop_inside())
        return false;
    pthread_mutex_t *lock = lock_listener(fd);
    const bool waits = thi_patch_waits(fd);
    (void)pthread_mutex_unlock(lock);
    return waits;
}

static int accept_inside(int fd, struct sockaddr *addr, socklen_t *addr_len, int flags)
{
    struct acceptance acceptance = {fd, flags, addr, addr_len};
    thi_call_t call = {try_accept, &acceptance, fd, THRUM_IO_IN, THI_DEADLINE_OPTION};
    return (int)thi_patch_perform(&call);
}

int accept4(int fd, struct sockaddr *restrict addr, socklen_t *restrict addr_len, int flags)
{
    return accept_waits(fd) ? accept_inside(fd, addr, addr_len, flags)
                            : thi_real()->accept4(fd, addr, addr_len, flags);
}

int accept(int fd, struct sockaddr *restrict addr, socklen_t *restrict addr_len)
{
    return accept_waits(fd) ? accept_inside(fd, addr, addr_len, 0)
                            : thi_real()->accept(fd, addr, addr_len);
}

/* ------------------------------------------------------------------------------------------------
 * connect
 */

static int begin(int fd, const struct sockaddr *addr, socklen_t addr_len)
{
    set_nonblocking(fd, true);
    const int err = thi_real()->connect(fd, addr, addr_len) == 0 ? 0 : errno;
    set_nonblocking(fd, false);
    return err;
}

/* A Unix socket whose peer's backlog is full says so, and nothing tells when it no longer is. */
static int begin_when_there_is_room(int fd, const struct sockaddr *addr, socklen_t addr_len,
                                    thrum_time_t *deadline)
{
    int err = begin(fd, addr, addr_len);
    if (err == EAGAIN || err == EINPROGRESS || err == EALREADY)
        *deadline = thi_patch_socket_deadline(fd, THRUM_IO_OUT);
    while (err == EAGAIN) {
        const int paused = thi_patch_pause(*deadline);
        if (paused != 0)
            return thi_patch_errno(paused);
        err = begin(fd, addr, addr_len);
    }
    return err;
}

/* The second call gives the outcome of the first, and lets the socket know that it was told. */
static int end(int fd, const struct sockaddr *addr, socklen_t addr_len, thrum_time_t deadline)
{
    int err = EALREADY;
    while (err == EALREADY || err == EINPROGRESS) {
        const int waited = thrum_io_wait(fd, THRUM_IO_OUT, deadline);
        if (waited != 0)
            return waited == ETIMEDOUT ? EINPROGRESS : thi_patch_errno(waited);
        err = begin(fd, addr, addr_len);
    }
    return err == EISCONN ? 0 : err;
}

int connect(int fd, const struct sockaddr *addr, socklen_t addr_len)
{
    thrum_time_t deadline = THRUM_FOREVER;
    if (!thi_patch_waits(fd))
        return thi_real()->connect(fd, addr, addr_len);
    int err = begin_when_there_is_room(fd, addr, addr_len, &deadline);
    if (err == EINPROGRESS || err == EALREADY)
        err = end(fd, addr, addr_len, deadline);
    if (err == 0)
        return 0;
    errno = err;
    return -1;
}
