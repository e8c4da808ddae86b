/*
 * The other side of a transfer.
 */
#include <sys/uio.h>

#include <thrum/cancel.h>
#include <thrum/io.h>
#include <thrum/loop.h>

#include "net/server.h"
#include "net/transfer.h"

#include "os/os.h"

int thi_peer_read_full(thi_peer_t *peer, void *buf, size_t size)
{
    for (size_t at = 0; at < size;) {
        size_t n = 0;
        const int err = peer->read(peer, (char *)buf + at, size - at, &n);
        if (err != 0)
            return err;
        if (n == 0)
            return peer->begun ? EBADMSG : ENODATA;
        peer->begun = true;
        at += n;
    }
    return 0;
}

int thi_peer_check(const thi_peer_t *peer)
{
    if (thrum_loop_inside())
        thrum_yield(); /* a fast peer never lets it wait */
    if (thrum_cancelled())
        return ECANCELED;
    return peer->deadline != THRUM_FOREVER && thrum_now() >= peer->deadline ? ETIMEDOUT : 0;
}

static void begin(thi_peer_t *peer, const thrum_transfer_config_t *config)
{
    peer->deadline = config->deadline != 0 ? config->deadline : THRUM_FOREVER;
    peer->patience = config->idle_timeout;
}

/* ------------------------------------------------------------------------------------------------
 * A descriptor
 */

static thrum_time_t patience(const thi_peer_t *peer)
{
    const thrum_time_t end = peer->patience < 0
                                 ? THRUM_FOREVER
                                 : thrum_after(thi_longer(peer->patience, peer->allowance));
    return end < peer->deadline ? end : peer->deadline;
}

static int read_fd(thi_peer_t *peer, void *buf, size_t size, size_t *n)
{
    return thrum_io_read(peer->fd, buf, size, n, patience(peer));
}

static int write_fd(thi_peer_t *peer, const struct iovec *pieces, int count, size_t *n)
{
    return thrum_io_writev(peer->fd, pieces, count, n, patience(peer));
}

static int write_rest(thi_peer_t *peer, const char *data, size_t size)
{
    int err = 0;
    while (err == 0 && size != 0) {
        size_t n = 0;
        err = thrum_io_write(peer->fd, data, size, &n, patience(peer));
        data += n;
        size -= n;
    }
    return err;
}

static int send_fd(thi_peer_t *peer, int file, int64_t offset, const void *data, size_t size)
{
    const int64_t begin = offset;
    while (!peer->blocks && (size_t)(offset - begin) < size) {
        const ssize_t n = thi_fd_sendfile(peer->fd, file, &offset, size - (size_t)(offset - begin));
        if (n == -EAGAIN) {
            const int err = thrum_io_wait(peer->fd, THRUM_IO_OUT, patience(peer));
            if (err != 0)
                return err;
        } else if (n == -EINVAL || n == -ENOSYS) {
            peer->blocks = true;
        } else if (n <= 0) {
            return n == 0 ? ENODATA : (int)-n;
        }
    }
    const size_t gone = (size_t)(offset - begin);
    return write_rest(peer, (const char *)data + gone, size - gone);
}

void thi_peer_of_fd(thi_peer_t *peer, int fd, const thrum_transfer_config_t *config)
{
    *peer = (thi_peer_t){.read = read_fd, .write = write_fd, .send = send_fd, .fd = fd};
    peer->blocks = !thi_fd_nonblocking(fd);
    begin(peer, config);
}

/* ------------------------------------------------------------------------------------------------
 * A connection
 */

static int read_conn(thi_peer_t *peer, void *buf, size_t size, size_t *n)
{
    if (peer->begun)
        thi_conn_hold(peer->c, peer->allowance);
    return thi_conn_take(peer->c, buf, size, n, false);
}

static int write_conn(thi_peer_t *peer, const struct iovec *pieces, int count, size_t *n)
{
    *n = 0;
    for (int i = 0; i < count; i++)
        *n += pieces[i].iov_len;
    return thi_conn_put(peer->c, pieces, count);
}

static int send_conn(thi_peer_t *peer, int file, int64_t offset, const void *data, size_t size)
{
    (void)data;
    return thrum_conn_sendfile(peer->c, file, offset, size);
}

void thi_peer_of_conn(thi_peer_t *peer, thrum_conn_t *c, const thrum_transfer_config_t *config)
{
    *peer = (thi_peer_t){.read = read_conn, .write = write_conn, .send = send_conn, .c = c};
    begin(peer, config);
}
