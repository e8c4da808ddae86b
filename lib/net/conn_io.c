/*
 * Reads and writes of a connection, and the limits on them. A request begins with the first byte that is handed to the
 * handler after a write; until that has come, the wait is idle.
 *
 * Where a read may hold up its thread, an idle one does so in the system, for as long as the socket says
 * (SO_RCVTIMEO): one call instead of two. Every other wait is one of thrum_io's, with a deadline. Deadlines are taken
 * from a coarse clock: some milliseconds do not matter to them.
 */
#include <string.h>
#include <sys/uio.h>

#include <thrum/cancel.h>
#include <thrum/io.h>

#include "net/net.h"
#include "net/server.h"

#include "os/os.h"

static thrum_time_t in(const thrum_conn_t *c, int64_t limit)
{
    return limit < 0 ? THRUM_FOREVER : thi_limit_after(thi_wire_clock(c), limit);
}

static thrum_time_t sooner(thrum_time_t a, thrum_time_t b)
{
    return a < b ? a : b;
}

static bool is_cancelled(const thrum_conn_t *c)
{
    return thi_load_acquire(&c->scope.thrum_cancelled) != 0;
}

int thi_conn_cut(const thrum_conn_t *c)
{
    return is_cancelled(c) && c->server->engine->blocks ? ECANCELED : 0;
}

static void add(uint64_t *counter, size_t n)
{
    thi_store_relaxed(counter, thi_load_relaxed(counter) + n); /* one writer */
}

/* ------------------------------------------------------------------------------------------------
 * From the stream
 */

void thi_conn_io_begin(thrum_conn_t *c)
{
    if (c->datagram != NULL)
        return;
    if (c->server->engine->blocks)
        thi_fd_set_limits(c->fd, c->idle_timeout < 0 ? 0 : c->idle_timeout,
                          c->write_timeout < 0 ? 0 : c->write_timeout);
    else
        thi_wire_open(c);
}

/* EAGAIN: it did not wait. */
static int receive_blocking(thrum_conn_t *c, void *buf, size_t size, size_t *n)
{
    if (is_cancelled(c) || thrum_cancelled())
        return ECANCELED;
    const ssize_t got = thi_fd_receive(c->fd, buf, size);
    if (is_cancelled(c))
        return ECANCELED;
    if (got == -EAGAIN)
        return thi_load_relaxed(&c->own_limit) != 0 ? EAGAIN : ETIMEDOUT;
    if (got < 0)
        return (int)-got;
    *n = (size_t)got;
    return 0;
}

/* Between requests. What comes is a request's beginning. */
static int receive_idle(thrum_conn_t *c, void *buf, size_t size, size_t *n)
{
    int err = 0;
    thi_store_relaxed(&c->slot->state, THI_SLOT_IDLE);
    thi_fence_full(); /* I2 of serve.c */
    *n = 0;
    if (thi_load_relaxed(c->server->stopping) == 0) {
        const thrum_time_t until = in(c, c->idle_timeout);
        err = EAGAIN;
        if (c->server->engine->blocks && thi_load_relaxed(&c->own_limit) == 0 && until <= c->total)
            err = receive_blocking(c, buf, size, n);
        if (err == EAGAIN)
            err = thi_wire_read(c, buf, size, n, sooner(until, c->total));
    }
    thi_store_relaxed(&c->slot->state, THI_SLOT_BUSY);
    return err;
}

static int receive(thrum_conn_t *c, void *buf, size_t size, size_t *n)
{
    if (c->ended) {
        *n = 0;
        return 0;
    }
    const bool in_request = thi_load_relaxed(&c->in_request) != 0;
    const thrum_time_t until = in_request ? sooner(c->request, c->total) : c->total;
    if (thi_wire_clock(c) >= until)
        return ETIMEDOUT; /* also of a peer that never lets a read wait */
    const int err =
        in_request ? thi_wire_read(c, buf, size, n, until) : receive_idle(c, buf, size, n);
    if (err != 0)
        return err;
    if (*n == 0 && thi_conn_cut(c) != 0)
        return ECANCELED; /* no end of the peer's */
    add(&c->slot->received, *n);
    c->ended = *n == 0;
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * To the handler
 */

static void begin_request(thrum_conn_t *c)
{
    if (thi_load_relaxed(&c->in_request) != 0)
        return;
    thi_store_relaxed(&c->in_request, 1u);
    c->request_size = 0;
    c->request = in(c, c->read_timeout);
    add(&c->slot->requests, 1);
}

static int take_datagram(thrum_conn_t *c, void *buf, size_t size, size_t *n)
{
    const size_t left = c->datagram->size - c->datagram->read;
    *n = size < left ? size : left;
    memcpy(buf, c->datagram->data + c->datagram->read, *n);
    c->datagram->read += *n;
    add(&c->slot->received, *n);
    return 0;
}

static int take(thrum_conn_t *c, void *buf, size_t size, size_t *n)
{
    const size_t ahead = c->until - c->from;
    if (ahead == 0)
        return c->datagram != NULL ? take_datagram(c, buf, size, n) : receive(c, buf, size, n);
    *n = size < ahead ? size : ahead;
    memcpy(buf, c->ahead + c->from, *n);
    c->from += *n;
    return 0;
}

/* The limit is reached: what comes now is over it, but for the end. */
static int take_over_limit(thrum_conn_t *c, size_t *n)
{
    char more = 0;
    const int err = take(c, &more, 1, n);
    if (err != 0 || *n == 0)
        return err;
    *n = 0;
    return EMSGSIZE;
}

size_t thi_conn_used(const thrum_conn_t *c)
{
    return thi_load_relaxed(&c->in_request) != 0 ? c->request_size : 0;
}

int thi_conn_take(thrum_conn_t *c, void *buf, size_t size, size_t *n, bool limited)
{
    const size_t used = thi_conn_used(c);
    const size_t left = limited && c->max_request > used ? c->max_request - used : 0;
    *n = 0;
    if (size == 0)
        return 0;
    if (limited && left == 0)
        return take_over_limit(c, n);
    const int err = take(c, buf, limited && size > left ? left : size, n);
    if (err == 0 && *n != 0) {
        begin_request(c);
        c->request_size += *n;
    }
    return err;
}

int thi_conn_fill(thrum_conn_t *c)
{
    if (c->ahead == NULL && (c->ahead = thi_alloc(THI_AHEAD)) == NULL)
        return ENOMEM;
    const size_t kept = c->until - c->from;
    if (c->from != 0 && kept != 0)
        memmove(c->ahead, c->ahead + c->from, kept);
    c->from = 0;
    c->until = kept;
    if (kept != 0)
        begin_request(c); /* it has, with what is here */
    size_t n = 0;
    const int err = c->datagram != NULL ? take_datagram(c, c->ahead + kept, THI_AHEAD - kept, &n)
                                        : receive(c, c->ahead + kept, THI_AHEAD - kept, &n);
    c->until += n;
    if (err == 0 && n != 0)
        begin_request(c);
    return err;
}

void thi_conn_hold(thrum_conn_t *c, int64_t more)
{
    begin_request(c);
    c->request = c->read_timeout < 0 ? THRUM_FOREVER : in(c, thi_longer(c->read_timeout, more));
}

void thi_conn_took(thrum_conn_t *c, size_t n)
{
    c->from += n;
    begin_request(c);
    c->request_size += n;
}

void thrum_conn_next(thrum_conn_t *c)
{
    if (c != NULL)
        thi_store_relaxed(&c->in_request, 0u);
}

/* ------------------------------------------------------------------------------------------------
 * Writing
 */

thrum_time_t thi_conn_write_deadline(const thrum_conn_t *c)
{
    return sooner(in(c, c->write_timeout), c->total);
}

void thi_conn_wrote(thrum_conn_t *c, size_t size)
{
    add(&c->slot->sent, size);
    thi_store_relaxed(&c->in_request, 0u);
}

static int put_datagram(thrum_conn_t *c, const struct iovec *pieces, int count)
{
    size_t size = 0;
    for (int i = 0; i < count; i++)
        size += pieces[i].iov_len;
    char *all = thi_alloc(size != 0 ? size : 1);
    size_t at = 0;
    if (all == NULL)
        return ENOMEM;
    for (int i = 0; i < count; i++) {
        if (pieces[i].iov_len != 0)
            memcpy(all + at, pieces[i].iov_base, pieces[i].iov_len);
        at += pieces[i].iov_len;
    }
    const int err =
        thrum_io_sendto(c->fd, all, size, 0,
                        c->datagram->from_len != 0 ? (struct sockaddr *)&c->datagram->from : NULL,
                        c->datagram->from_len, NULL, thi_conn_write_deadline(c));
    thi_free(all, size != 0 ? size : 1);
    if (err == 0)
        add(&c->slot->sent, size);
    return err;
}

struct to_conn {
    thrum_conn_t *c;
    thrum_time_t deadline;
};

static int write_some(void *arg, const struct iovec *pieces, int count, size_t *n)
{
    const struct to_conn *to = arg;
    const int err = thi_wire_write(to->c, pieces, count, n, to->deadline);
    add(&to->c->slot->sent, *n);
    return err;
}

static int put_stream(thrum_conn_t *c, const struct iovec *pieces, int count)
{
    struct to_conn to = {c, thi_conn_write_deadline(c)};
    const thi_sink_t sink = {write_some, &to};
    return thi_sink_write(&sink, pieces, (size_t)count);
}

int thi_conn_write_error(const thrum_conn_t *c, int err)
{
    return err == EPIPE && is_cancelled(c) ? ECANCELED : err;
}

void thi_conn_wait_outside(thrum_conn_t *c)
{
    if (!c->server->engine->blocks || thi_load_relaxed(&c->own_limit) != 0)
        return;
    thi_store_relaxed(&c->own_limit, 1u);
    thi_fd_set_nonblocking(c->fd, true);
}

int thi_conn_put(thrum_conn_t *c, const struct iovec *pieces, int count)
{
    if (thi_conn_cut(c) != 0)
        return ECANCELED;
    const int err =
        c->datagram != NULL ? put_datagram(c, pieces, count) : put_stream(c, pieces, count);
    if (err == 0)
        thi_store_relaxed(&c->in_request, 0u);
    return thi_conn_write_error(c, err);
}
