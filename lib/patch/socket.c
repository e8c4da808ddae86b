/*
 * recv, send and their kin: tried without waiting, and again when the socket is ready.
 */
#include "patch/patch.h"

/* Those that never wait, or whose waiting no poll can tell of. */
#define RECV_REAL (MSG_DONTWAIT | MSG_ERRQUEUE | MSG_OOB)
#define SEND_REAL (MSG_DONTWAIT | MSG_OOB)

struct transfer {
    int fd;
    int flags;
    void *buf;
    const void *data;
    size_t size;
    struct sockaddr *addr;
    socklen_t *addr_len;
    const struct sockaddr *to;
    socklen_t to_len;
    struct msghdr *message;
    const struct msghdr *sent;
};

static thi_call_t call_of(struct transfer *transfer, thi_attempt_fn attempt, unsigned events)
{
    return (thi_call_t){attempt, transfer, transfer->fd, events, THI_DEADLINE_OPTION};
}

static bool is_stream(int fd)
{
    int type = 0;
    socklen_t size = sizeof type;
    const int saved = errno;
    const int rc = getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size);
    errno = saved;
    return rc == 0 && type == SOCK_STREAM;
}

/* ------------------------------------------------------------------------------------------------
 * Receiving
 */

static ssize_t try_recv(void *arg)
{
    const struct transfer *t = arg;
    return thi_real()->recvfrom(t->fd, t->buf, t->size, t->flags | MSG_DONTWAIT, t->addr,
                                t->addr_len);
}

static ssize_t try_recvmsg(void *arg)
{
    const struct transfer *t = arg;
    return thi_real()->recvmsg(t->fd, t->message, t->flags | MSG_DONTWAIT);
}

static ssize_t block_in_recv(void *arg)
{
    const struct transfer *t = arg;
    return thi_real()->recvfrom(t->fd, t->buf, t->size, t->flags, t->addr, t->addr_len);
}

static ssize_t block_in_recvmsg(void *arg)
{
    const struct transfer *t = arg;
    return thi_real()->recvmsg(t->fd, t->message, t->flags);
}

/* MSG_WAITALL: what was got before the end, an error or the deadline counts. */
static ssize_t recv_all(struct transfer *t)
{
    const bool stream = is_stream(t->fd);
    thi_call_t call = call_of(t, try_recv, THRUM_IO_IN);
    ssize_t got = 0;
    ssize_t n = 0;
    do {
        n = thi_patch_perform(&call);
        if (n <= 0)
            return got != 0 ? got : n;
        got += n;
        t->buf = (char *)t->buf + n;
        t->size -= (size_t)n;
    } while (stream && t->size != 0);
    return got;
}

ssize_t thi_patch_recv(int fd, void *buf, size_t size, int flags, struct sockaddr *addr,
                       socklen_t *addr_len)
{
    struct transfer t = {
        .fd = fd, .flags = flags, .buf = buf, .size = size, .addr = addr, .addr_len = addr_len};
    if (THI_UNLIKELY((flags & MSG_WAITALL) != 0))
        return (flags & MSG_PEEK) != 0 ? thi_patch_elsewhere(block_in_recv, &t) : recv_all(&t);
    thi_call_t call = call_of(&t, try_recv, THRUM_IO_IN);
    return thi_patch_perform(&call);
}

ssize_t thi_patch_recvmsg(int fd, struct msghdr *message, int flags)
{
    struct transfer t = {.fd = fd, .flags = flags, .message = message};
    if (THI_UNLIKELY((flags & MSG_WAITALL) != 0))
        return thi_patch_elsewhere(block_in_recvmsg, &t);
    thi_call_t call = call_of(&t, try_recvmsg, THRUM_IO_IN);
    return thi_patch_perform(&call);
}

ssize_t recv(int fd, void *buf, size_t size, int flags)
{
    if ((flags & RECV_REAL) != 0 || !thi_patch_waits(fd))
        return thi_real()->recv(fd, buf, size, flags);
    return thi_patch_recv(fd, buf, size, flags, NULL, NULL);
}

ssize_t recvfrom(int fd, void *restrict buf, size_t size, int flags, struct sockaddr *restrict addr,
                 socklen_t *restrict addr_len)
{
    if ((flags & RECV_REAL) != 0 || !thi_patch_waits(fd))
        return thi_real()->recvfrom(fd, buf, size, flags, addr, addr_len);
    return thi_patch_recv(fd, buf, size, flags, addr, addr_len);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    if ((flags & RECV_REAL) != 0 || !thi_patch_waits(fd))
        return thi_real()->recvmsg(fd, message, flags);
    return thi_patch_recvmsg(fd, message, flags);
}

ssize_t __recv_chk(int fd, void *buf, size_t size, size_t room, int flags)
{
    return size > room ? thi_real()->__recv_chk(fd, buf, size, room, flags)
                       : recv(fd, buf, size, flags);
}

ssize_t __recvfrom_chk(int fd, void *restrict buf, size_t size, size_t room, int flags,
                       struct sockaddr *restrict addr, socklen_t *restrict addr_len)
{
    return size > room ? thi_real()->__recvfrom_chk(fd, buf, size, room, flags, addr, addr_len)
                       : recvfrom(fd, buf, size, flags, addr, addr_len);
}

/* ------------------------------------------------------------------------------------------------
 * Sending
 */

static ssize_t try_send(void *arg)
{
    const struct transfer *t = arg;
    return thi_real()->sendto(t->fd, t->data, t->size, t->flags | MSG_DONTWAIT, t->to, t->to_len);
}

static ssize_t try_sendmsg(void *arg)
{
    const struct transfer *t = arg;
    return thi_real()->sendmsg(t->fd, t->sent, t->flags | MSG_DONTWAIT);
}

static ssize_t block_in_send(void *arg)
{
    const struct transfer *t = arg;
    return thi_real()->sendto(t->fd, t->data, t->size, t->flags, t->to, t->to_len);
}

static ssize_t block_in_sendmsg(void *arg)
{
    const struct transfer *t = arg;
    return thi_real()->sendmsg(t->fd, t->sent, t->flags);
}

/* Sends until nothing is left, as a blocking send does; `sent` bytes have gone before. An error after that is
 * the next call's, and so is its SIGPIPE. */
static ssize_t send_rest(struct transfer *t, thi_call_t *call, ssize_t sent)
{
    for (;;) {
        if (sent != 0)
            t->flags |= MSG_NOSIGNAL;
        const ssize_t n = thi_patch_perform(call);
        if (n < 0)
            return sent != 0 ? sent : -1;
        sent += n;
        if ((size_t)n >= t->size || n == 0)
            return sent;
        t->data = (const char *)t->data + n;
        t->size -= (size_t)n;
    }
}

ssize_t thi_patch_send(int fd, const void *buf, size_t size, int flags, const struct sockaddr *addr,
                       socklen_t addr_len)
{
    struct transfer t = {
        .fd = fd, .flags = flags, .data = buf, .size = size, .to = addr, .to_len = addr_len};
    if (THI_UNLIKELY((flags & MSG_FASTOPEN) != 0))
        return thi_patch_elsewhere(block_in_send, &t);
    thi_call_t call = call_of(&t, try_send, THRUM_IO_OUT);
    return send_rest(&t, &call, 0);
}

/* What a first sendmsg has left over, without what went with it: one element after the other. */
static ssize_t send_elements(struct transfer *t, thi_call_t *call, ssize_t sent)
{
    size_t skip = (size_t)sent;
    call->attempt = try_send;
    for (size_t i = 0; i < t->sent->msg_iovlen; i++) {
        const struct iovec *element = &t->sent->msg_iov[i];
        if (element->iov_len <= skip) {
            skip -= element->iov_len;
            continue;
        }
        t->data = (const char *)element->iov_base + skip;
        t->size = element->iov_len - skip;
        skip = 0;
        const size_t wanted = t->size;
        const ssize_t before = sent;
        sent = send_rest(t, call, sent);
        if ((size_t)(sent - before) < wanted)
            break;
    }
    return sent;
}

ssize_t thi_patch_sendmsg(int fd, const struct msghdr *message, int flags)
{
    struct transfer t = {.fd = fd, .flags = flags, .sent = message};
    if (THI_UNLIKELY((flags & MSG_FASTOPEN) != 0))
        return thi_patch_elsewhere(block_in_sendmsg, &t);
    thi_call_t call = call_of(&t, try_sendmsg, THRUM_IO_OUT);
    const ssize_t n = thi_patch_perform(&call);
    return n > 0 && is_stream(fd) ? send_elements(&t, &call, n) : n;
}

ssize_t send(int fd, const void *buf, size_t size, int flags)
{
    if ((flags & SEND_REAL) != 0 || !thi_patch_waits(fd))
        return thi_real()->send(fd, buf, size, flags);
    return thi_patch_send(fd, buf, size, flags, NULL, 0);
}

ssize_t sendto(int fd, const void *buf, size_t size, int flags, const struct sockaddr *addr,
               socklen_t addr_len)
{
    if ((flags & SEND_REAL) != 0 || !thi_patch_waits(fd))
        return thi_real()->sendto(fd, buf, size, flags, addr, addr_len);
    return thi_patch_send(fd, buf, size, flags, addr, addr_len);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    if ((flags & SEND_REAL) != 0 || !thi_patch_waits(fd))
        return thi_real()->sendmsg(fd, message, flags);
    return thi_patch_sendmsg(fd, message, flags);
}
