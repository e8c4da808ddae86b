/*
 * What handlers do with their connections.
 */
#include <limits.h>
#include <string.h>
#include <sys/uio.h>

#include <thrum/io.h>

#include "net/net.h"
#include "net/server.h"

#include "os/os.h"

#define PIECES_MAX 1024
#define MEGABYTE ((size_t)1 << 20)

/* ------------------------------------------------------------------------------------------------
 * Reading
 */

int thrum_conn_read(thrum_conn_t *c, void *buf, size_t size, size_t *n)
{
    if (c == NULL || (buf == NULL && size != 0) || n == NULL)
        return EINVAL;
    return thi_conn_take(c, buf, size, n, true);
}

int thrum_conn_read_full(thrum_conn_t *c, void *buf, size_t size, size_t *n)
{
    size_t all = 0;
    int err = c != NULL && (buf != NULL || size == 0) ? 0 : EINVAL;
    while (err == 0 && all < size) {
        size_t some = 0;
        err = thi_conn_take(c, (char *)buf + all, size - all, &some, true);
        if (err == 0 && some == 0)
            err = ENODATA;
        all += some;
    }
    if (n != NULL)
        *n = all;
    return err;
}

/* How much of what was read ahead belongs to the line; 0: its end has not come. */
static size_t find_line(const thrum_conn_t *c)
{
    const size_t ahead = c->until - c->from;
    if (ahead == 0)
        return 0;
    const unsigned char *start = c->ahead + c->from;
    const unsigned char *end = memchr(start, '\n', ahead);
    return end != NULL ? (size_t)(end - start) + 1 : 0;
}

int thrum_conn_read_line(thrum_conn_t *c, char *line, size_t size, size_t *n)
{
    if (c == NULL || line == NULL || size < 2 || n == NULL)
        return EINVAL;
    *n = 0;
    size_t length = 0;
    const size_t longest = size - 1 < THI_AHEAD ? size - 1 : THI_AHEAD;
    const size_t used = thi_conn_used(c);
    const size_t left = c->max_request > used ? c->max_request - used : 0;
    while ((length = find_line(c)) == 0) {
        const size_t ahead = c->until - c->from;
        if (ahead >= longest || ahead > left)
            return EMSGSIZE;
        const int err = thi_conn_fill(c);
        if (err != 0)
            return err;
        if (c->until - c->from == ahead) { /* the end */
            length = ahead;
            break;
        }
    }
    if (length > longest || length > left)
        return EMSGSIZE;
    memcpy(line, c->ahead + c->from, length);
    line[length] = '\0';
    if (length != 0)
        thi_conn_took(c, length);
    *n = length;
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * Writing
 */

int thrum_conn_write(thrum_conn_t *c, const void *data, size_t size)
{
    if (c == NULL || (data == NULL && size != 0))
        return EINVAL;
    const struct iovec all = {(void *)(uintptr_t)data, size};
    return thi_conn_put(c, &all, 1);
}

int thrum_conn_writev(thrum_conn_t *c, const struct iovec *pieces, int count)
{
    if (c == NULL || pieces == NULL || count <= 0 || count > PIECES_MAX)
        return EINVAL;
    size_t size = 0;
    for (int i = 0; i < count; i++) {
        if (pieces[i].iov_len > SSIZE_MAX - size)
            return EINVAL;
        size += pieces[i].iov_len;
    }
    return thi_conn_put(c, pieces, count);
}

static int send_some(thrum_conn_t *c, int file, int64_t *offset, size_t size)
{
    const thrum_time_t deadline = thi_conn_write_deadline(c);
    thi_conn_wait_outside(c);
    while (size != 0) {
        const ssize_t n = thi_fd_sendfile(c->fd, file, offset, size);
        if (n == 0)
            return ENODATA;
        if (n < 0 && n != -EAGAIN)
            return thi_conn_write_error(c, (int)-n);
        if (n < 0) {
            const int err = thi_wire_await_room(c, deadline);
            if (err != 0)
                return err;
            continue;
        }
        size -= (size_t)n;
        thi_conn_wrote(c, (size_t)n);
    }
    return 0;
}

int thrum_conn_sendfile(thrum_conn_t *c, int file, int64_t offset, size_t size)
{
    int err = c != NULL && offset >= 0 ? 0 : EINVAL;
    if (err == 0)
        err = thi_conn_cut(c);
    if (err == 0 && c->datagram != NULL)
        err = ENOTSUP;
    while (err == 0 && size != 0) {
        const size_t some = size < MEGABYTE ? size : MEGABYTE;
        err = send_some(c, file, &offset, some);
        size -= some;
    }
    return err;
}

/* ------------------------------------------------------------------------------------------------
 * Frames
 */

int thrum_conn_receive(thrum_conn_t *c, thrum_frame_t *frame)
{
    if (c == NULL || frame == NULL)
        return EINVAL;
    int err = c->frames != NULL ? 0 : thrum_frames_create(&c->frames, &c->server->config.frames);
    if (err == 0 && !thrum_frames_midway(c->frames))
        thrum_conn_next(c);
    while (err == 0) {
        size_t used = 0;
        const size_t ahead = c->until - c->from;
        if (ahead != 0) {
            err = thrum_frames_feed(c->frames, c->ahead + c->from, ahead, &used, frame);
            thi_conn_took(c, used);
            if (err != EAGAIN)
                return err;
        }
        err = thi_conn_fill(c);
        if (err == 0 && c->until == c->from)
            return thrum_frames_midway(c->frames) ? EBADMSG : ENODATA;
    }
    return err;
}

static int put_frame(void *arg, const struct iovec *pieces, int count, size_t *n)
{
    *n = 0;
    for (int i = 0; i < count; i++)
        *n += pieces[i].iov_len;
    return thi_conn_put(arg, pieces, count);
}

int thrum_conn_sendv(thrum_conn_t *c, const thrum_pair_t *pairs, size_t n_pairs,
                     const struct iovec *pieces, size_t n_pieces)
{
    const thi_sink_t sink = {put_frame, c};
    if (c == NULL)
        return EINVAL;
    return thi_frame_put(&sink, &c->server->config.frames, pairs, n_pairs, pieces, n_pieces);
}

int thrum_conn_send(thrum_conn_t *c, const void *body, size_t size)
{
    const struct iovec piece = {(void *)(uintptr_t)body, size};
    if (body == NULL && size != 0)
        return EINVAL;
    return thrum_conn_sendv(c, NULL, 0, &piece, 1);
}

/* ------------------------------------------------------------------------------------------------
 * Asking
 */

int thrum_conn_set_limit(thrum_conn_t *c, thrum_conn_limit_t what, int64_t limit)
{
    if (c == NULL || limit < THRUM_NO_LIMIT || limit == 0)
        return EINVAL;
    switch (what) {
    case THRUM_LIMIT_REQUEST:
        c->max_request = limit < 0 ? SIZE_MAX : (size_t)limit;
        return 0;
    case THRUM_LIMIT_IDLE:
        c->idle_timeout = limit;
        thi_store_relaxed(&c->own_limit, 1u);
        return 0;
    case THRUM_LIMIT_READ:
        c->read_timeout = limit;
        return 0;
    case THRUM_LIMIT_WRITE:
        c->write_timeout = limit;
        return 0;
    case THRUM_LIMIT_TOTAL:
        c->total = thi_limit_after(c->began, limit);
        return 0;
    }
    return EINVAL;
}

bool thrum_conn_stopping(const thrum_conn_t *c)
{
    return c != NULL && thi_load_acquire(c->server->stopping) != 0;
}

int thrum_conn_fd(const thrum_conn_t *c)
{
    return c != NULL ? c->fd : -1;
}

size_t thrum_conn_peer(const thrum_conn_t *c, char *text, size_t size)
{
    thi_address_t address = {.length = sizeof address.name};
    const int saved = errno;
    if (c == NULL) {
        if (size != 0)
            text[0] = '\0';
        return 0;
    }
    if (c->datagram != NULL) {
        address.name = c->datagram->from;
        address.length = c->datagram->from_len;
        if (address.length == 0)
            address.name.ss_family = c->server->name.name.ss_family;
    } else if (getpeername(c->fd, (struct sockaddr *)&address.name, &address.length) != 0) {
        address.name.ss_family = AF_UNSPEC;
    }
    errno = saved;
    return thi_address_text(&address, text, size);
}

thrum_server_t *thrum_conn_server(const thrum_conn_t *c)
{
    return c != NULL ? c->server : NULL;
}

void thrum_conn_set_data(thrum_conn_t *c, void *data)
{
    if (c != NULL)
        c->data = data;
}

void *thrum_conn_data(const thrum_conn_t *c)
{
    return c != NULL ? c->data : NULL;
}
