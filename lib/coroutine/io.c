/*
 * Input and output: each call tries, and where the system says "not now" waits for the descriptor and
 * tries again. A socket is tried without waiting whatever its mode (MSG_DONTWAIT). Another descriptor that
 * blocks is asked first whether it is ready, and written to in pieces that then fit (PIPE_BUF).
 */
#include <thrum/io.h>

#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "coroutine/waitfd.h"

_Static_assert(_Generic((socklen_t)0, thrum_socklen_t : 1, default : 0),
               "socklen_t is another type");

#define PIECE ((size_t)4096) /* a pipe that can be written to has room for that much */
#define POLL_AT_MOST 1024u
#define VECTOR_AT_MOST 1024 /* what systems take */

/* One call of the system: how many bytes, or an error, negative. */
typedef struct op {
    ssize_t (*attempt)(const struct op *op);
    int fd;
    int flags;
    unsigned direction;
    void *buf;
    const void *data;
    size_t size;
    struct sockaddr *addr;
    socklen_t *addr_len;
    const struct sockaddr *to;
    socklen_t to_len;
    const struct iovec *iov;
    int count;
} op_t;

static int wait_for(int fd, unsigned direction, thrum_time_t deadline)
{
    const thi_fdwait_t wait = {fd, direction};
    return thi_waitfd(&wait, 1, deadline);
}

static ssize_t attempt(const op_t *op)
{
    const int saved = errno;
    const int cancel = thi_cancel_off();
    ssize_t n = 0;
    do
        n = op->attempt(op);
    while (n < 0 && errno == EINTR);
    thi_cancel_restore(cancel);
    return thi_outcome(n, saved);
}

static int perform(const op_t *op, size_t *n, thrum_time_t deadline)
{
    ssize_t done = attempt(op);
    while (THI_UNLIKELY(done == -EAGAIN && (op->flags & MSG_DONTWAIT) == 0)) {
        const int err = wait_for(op->fd, op->direction, deadline);
        if (err != 0)
            return err;
        done = attempt(op);
    }
    if (done < 0)
        return (int)-done;
    if (n != NULL)
        *n = (size_t)done;
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * What is no socket
 */

static bool is_ready(int fd, unsigned direction)
{
    thi_polled_t polled = {fd, direction, 0};
    return thi_poll(&polled, 1, 0) == 0 && polled.ready != 0;
}

static ssize_t not_now(void)
{
    errno = EAGAIN;
    return -1;
}

static ssize_t read_file(const op_t *op)
{
    if (!thi_fd_nonblocking(op->fd) && !is_ready(op->fd, THI_POLL_IN))
        return not_now();
    return op->iov != NULL ? thi_fd_readv(op->fd, op->iov, op->count)
                           : thi_fd_read(op->fd, op->buf, op->size);
}

static ssize_t write_piece(const op_t *op, const void *data, size_t size)
{
    const struct iovec piece = {(void *)(uintptr_t)data, size < PIECE ? size : PIECE};
    return thi_fd_write_quietly(op->fd, &piece, 1);
}

/* The first that is not empty. */
static ssize_t write_first(const op_t *op)
{
    int i = 0;
    while (i + 1 < op->count && op->iov[i].iov_len == 0)
        i++;
    return write_piece(op, op->iov[i].iov_base, op->iov[i].iov_len);
}

static ssize_t write_file(const op_t *op)
{
    const bool waits = !thi_fd_nonblocking(op->fd);
    if (waits && !is_ready(op->fd, THI_POLL_OUT))
        return not_now();
    const struct iovec all = {(void *)(uintptr_t)op->data, op->size};
    if (op->iov != NULL)
        return waits ? write_first(op) : thi_fd_write_quietly(op->fd, op->iov, op->count);
    return waits ? write_piece(op, op->data, op->size) : thi_fd_write_quietly(op->fd, &all, 1);
}

/* ------------------------------------------------------------------------------------------------
 * Reading and writing
 */

static ssize_t try_read(const op_t *op)
{
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)op->iov,
                             .msg_iovlen = (size_t)op->count};
    const ssize_t n = op->iov != NULL ? recvmsg(op->fd, &message, MSG_DONTWAIT)
                                      : recv(op->fd, op->buf, op->size, MSG_DONTWAIT);
    return n < 0 && errno == ENOTSOCK ? read_file(op) : n;
}

static ssize_t try_write(const op_t *op)
{
    const struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)op->iov,
                                   .msg_iovlen = (size_t)op->count};
    const int flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    const ssize_t n = op->iov != NULL ? sendmsg(op->fd, &message, flags)
                                      : send(op->fd, op->data, op->size, flags);
    return n < 0 && errno == ENOTSOCK ? write_file(op) : n;
}

int thrum_io_read(int fd, void *buf, size_t size, size_t *n, thrum_time_t deadline)
{
    if (buf == NULL && size != 0)
        return EINVAL;
    const op_t op = {
        .attempt = try_read, .fd = fd, .direction = THI_POLL_IN, .buf = buf, .size = size};
    return perform(&op, n, deadline);
}

int thrum_io_write(int fd, const void *buf, size_t size, size_t *n, thrum_time_t deadline)
{
    if (buf == NULL && size != 0)
        return EINVAL;
    const op_t op = {
        .attempt = try_write, .fd = fd, .direction = THI_POLL_OUT, .data = buf, .size = size};
    return perform(&op, n, deadline);
}

int thrum_io_readv(int fd, const struct iovec *iov, int count, size_t *n, thrum_time_t deadline)
{
    if (iov == NULL || count <= 0 || count > VECTOR_AT_MOST)
        return EINVAL;
    const op_t op = {
        .attempt = try_read, .fd = fd, .direction = THI_POLL_IN, .iov = iov, .count = count};
    return perform(&op, n, deadline);
}

int thrum_io_writev(int fd, const struct iovec *iov, int count, size_t *n, thrum_time_t deadline)
{
    if (iov == NULL || count <= 0 || count > VECTOR_AT_MOST)
        return EINVAL;
    const op_t op = {
        .attempt = try_write, .fd = fd, .direction = THI_POLL_OUT, .iov = iov, .count = count};
    return perform(&op, n, deadline);
}

int thrum_io_read_full(int fd, void *buf, size_t size, size_t *n, thrum_time_t deadline)
{
    size_t all = 0;
    int err = 0;
    while (err == 0 && all < size) {
        size_t some = 0;
        err = thrum_io_read(fd, (char *)buf + all, size - all, &some, deadline);
        if (err == 0 && some == 0)
            err = ENODATA;
        all += some;
    }
    if (n != NULL)
        *n = all;
    return err;
}

int thrum_io_write_full(int fd, const void *buf, size_t size, size_t *n, thrum_time_t deadline)
{
    size_t all = 0;
    int err = 0;
    while (err == 0 && all < size) {
        size_t some = 0;
        err = thrum_io_write(fd, (const char *)buf + all, size - all, &some, deadline);
        all += some;
    }
    if (n != NULL)
        *n = all;
    return err;
}

/* ------------------------------------------------------------------------------------------------
 * Sockets
 */

static ssize_t try_recv(const op_t *op)
{
    return recvfrom(op->fd, op->buf, op->size, op->flags | MSG_DONTWAIT, op->addr, op->addr_len);
}

static ssize_t try_send(const op_t *op)
{
    return sendto(op->fd, op->data, op->size, op->flags | MSG_DONTWAIT | MSG_NOSIGNAL, op->to,
                  op->to_len);
}

int thrum_io_recvfrom(int fd, void *buf, size_t size, int flags, struct sockaddr *addr,
                      socklen_t *addr_len, size_t *n, thrum_time_t deadline)
{
    if ((buf == NULL && size != 0) || (addr != NULL && addr_len == NULL))
        return EINVAL;
    const op_t op = {.attempt = try_recv,
                     .fd = fd,
                     .flags = flags,
                     .direction = THI_POLL_IN,
                     .buf = buf,
                     .size = size,
                     .addr = addr,
                     .addr_len = addr_len};
    return perform(&op, n, deadline);
}

int thrum_io_sendto(int fd, const void *buf, size_t size, int flags, const struct sockaddr *addr,
                    socklen_t addr_len, size_t *n, thrum_time_t deadline)
{
    if (buf == NULL && size != 0)
        return EINVAL;
    const op_t op = {.attempt = try_send,
                     .fd = fd,
                     .flags = flags,
                     .direction = THI_POLL_OUT,
                     .data = buf,
                     .size = size,
                     .to = addr,
                     .to_len = addr_len};
    return perform(&op, n, deadline);
}

int thrum_io_recv(int fd, void *buf, size_t size, int flags, size_t *n, thrum_time_t deadline)
{
    return thrum_io_recvfrom(fd, buf, size, flags, NULL, NULL, n, deadline);
}

int thrum_io_send(int fd, const void *buf, size_t size, int flags, size_t *n, thrum_time_t deadline)
{
    return thrum_io_sendto(fd, buf, size, flags, NULL, 0, n, deadline);
}

/* For good: between a look and an accept another acceptor, perhaps in another process, may be faster, and
 * there is no accept that does not wait but by the mode. */
static void make_listener_nonblocking(int fd)
{
    int listens = 0;
    socklen_t size = sizeof listens;
    if (!thi_fd_nonblocking(fd) &&
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens != 0)
        thi_fd_set_nonblocking(fd, true);
}

/* A connection that was reset meanwhile says so as an error of accept, and others that belong to it. */
static ssize_t try_accept(const op_t *op)
{
    int fd = 0;
    make_listener_nonblocking(op->fd);
    do {
        unsigned length = op->addr_len != NULL ? *op->addr_len : 0;
        fd = thi_fd_accept(op->fd, op->addr, op->addr_len != NULL ? &length : NULL);
        if (fd >= 0 && op->addr_len != NULL)
            *op->addr_len = (socklen_t)length;
    } while (fd == -ECONNABORTED || fd == -EPROTO);
    if (fd < 0)
        errno = -fd;
    return fd < 0 ? -1 : fd;
}

int thrum_io_accept(int fd, struct sockaddr *addr, socklen_t *addr_len, int *accepted,
                    thrum_time_t deadline)
{
    if (accepted == NULL || (addr != NULL && addr_len == NULL))
        return EINVAL;
    const op_t op = {.attempt = try_accept,
                     .fd = fd,
                     .direction = THI_POLL_IN,
                     .addr = addr,
                     .addr_len = addr != NULL ? addr_len : NULL};
    size_t number = 0;
    const int err = perform(&op, &number, deadline);
    if (err == 0)
        *accepted = (int)number;
    return err;
}

static int begin_connect(int fd, const struct sockaddr *addr, socklen_t addr_len)
{
    const int saved = errno;
    const int cancel = thi_cancel_off();
    const bool nonblocking = thi_fd_nonblocking(fd);
    if (!nonblocking)
        thi_fd_set_nonblocking(fd, true);
    const int err = connect(fd, addr, addr_len) == 0 ? 0 : errno;
    if (!nonblocking)
        thi_fd_set_nonblocking(fd, false);
    thi_cancel_restore(cancel);
    errno = saved;
    return err;
}

static int end_connect(int fd)
{
    const int saved = errno;
    int err = 0;
    socklen_t size = sizeof err;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &size) != 0)
        err = errno;
    errno = saved;
    return err;
}

int thrum_io_connect(int fd, const struct sockaddr *addr, socklen_t addr_len, thrum_time_t deadline)
{
    if (addr == NULL)
        return EINVAL;
    const int err = begin_connect(fd, addr, addr_len);
    if (err == EAGAIN) /* a Unix socket whose peer's backlog is full */
        return ECONNREFUSED;
    if (err != EINPROGRESS && err != EINTR)
        return err;
    const int waited = thrum_io_wait(fd, THRUM_IO_OUT, deadline);
    return waited != 0 ? waited : end_connect(fd);
}

/* ------------------------------------------------------------------------------------------------
 * Waiting only, and closing
 */

int thrum_io_wait(int fd, unsigned events, thrum_time_t deadline)
{
    if (events == 0 || (events & ~(THRUM_IO_IN | THRUM_IO_OUT)) != 0)
        return EINVAL;
    for (;;) {
        thi_polled_t polled = {fd, events, 0};
        if (fd < 0)
            return EBADF;
        if (thi_poll(&polled, 1, 0) == 0 && polled.ready != 0)
            return (polled.ready & THI_POLL_BAD) != 0 ? EBADF : 0;
        const int err = wait_for(fd, events, deadline);
        if (err != 0)
            return err;
    }
}

static int look(struct pollfd *fds, size_t n)
{
    const int saved = errno;
    const int cancel = thi_cancel_off();
    const int ready = poll(fds, (nfds_t)n, 0);
    thi_cancel_restore(cancel);
    errno = saved;
    return ready > 0 ? ready : 0;
}

static int wait_for_some(const struct pollfd *fds, size_t n, thrum_time_t deadline)
{
    thi_fdwait_t waits[POLL_AT_MOST];
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        const bool in = (fds[i].events & (POLLIN | POLLPRI | POLLRDNORM | POLLRDBAND)) != 0;
        const bool out = (fds[i].events & (POLLOUT | POLLWRNORM | POLLWRBAND)) != 0;
        if (fds[i].fd >= 0 && (in || out))
            waits[count++] =
                (thi_fdwait_t){fds[i].fd, (in ? THI_POLL_IN : 0) | (out ? THI_POLL_OUT : 0)};
    }
    if (count != 0)
        return thi_waitfd(waits, count, deadline);
    const int err = thrum_sleep_until(deadline);
    return err != 0 ? err : ETIMEDOUT;
}

int thrum_io_poll(struct pollfd *fds, size_t n, size_t *ready, thrum_time_t deadline)
{
    if ((fds == NULL && n != 0) || n > POLL_AT_MOST)
        return EINVAL;
    for (;;) {
        const int found = look(fds, n);
        if (found != 0) {
            if (ready != NULL)
                *ready = (size_t)found;
            return 0;
        }
        const int err = wait_for_some(fds, n, deadline);
        if (err != 0 && err != EBADF) /* which a look will find */
            return err;
    }
}

int thrum_io_close(int fd)
{
    if (fd < 0)
        return EBADF;
    const int saved = errno;
    const int cancel = thi_cancel_off();
    thi_waitfd_closed(fd);
    const int err = thi_fd_close(fd) != 0 && errno != EINTR ? errno : 0;
    thi_waitfd_look_again(fd); /* who came to wait in between */
    thi_cancel_restore(cancel);
    errno = saved;
    return err;
}
