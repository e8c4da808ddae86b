/*
 * The system's side of a connection. In a loop it is a stream (coroutine/stream.h): told to the poller once, and asked
 * only when there may be something. Elsewhere, and for who is no coroutine of that loop, thrum_io_ calls do the same.
 */
#include <thrum/cancel.h>
#include <thrum/io.h>

#include "net/server.h"

#include "os/os.h"

void thi_wire_open(thrum_conn_t *c)
{
    thrum_loop_t *loop = thrum_loop_inside() ? thrum_loop_current() : NULL;
    thi_fd_set_nonblocking(c->fd, true);
    if (loop != NULL)
        (void)thi_stream_open(&c->stream, loop, c->fd); /* or, without memory, by thrum_io_ calls */
}

void thi_wire_close(thrum_conn_t *c)
{
    if (c->stream.loop != NULL)
        thi_stream_close(&c->stream);
    else
        (void)thrum_io_close(c->fd);
}

/* Its own coroutine, or another of that loop. */
static inline bool is_here(const thrum_conn_t *c)
{
    return THI_LIKELY(c->stream.loop != NULL && thi_current.strand == c->strand) ||
           thi_stream_is_here(&c->stream);
}

bool thi_wire_is_past(const thrum_conn_t *c, thrum_time_t deadline)
{
    return (is_here(c) ? thi_stream_clock(&c->stream) : thi_clock_coarse()) >= deadline;
}

/* Those calls would not tell who never has to wait. */
static bool is_cancelled(const thrum_conn_t *c)
{
    return thi_load_acquire(&c->scope.thrum_cancelled) != 0 || thrum_cancelled();
}

int thi_wire_read(thrum_conn_t *c, void *buf, size_t size, size_t *n, thrum_time_t deadline)
{
    if (THI_LIKELY(is_here(c)))
        return thi_stream_recv(&c->stream, buf, size, n, deadline);
    return is_cancelled(c) ? ECANCELED : thrum_io_read(c->fd, buf, size, n, deadline);
}

int thi_wire_write(thrum_conn_t *c, const struct iovec *pieces, int count, size_t *n,
                   thrum_time_t deadline)
{
    if (THI_LIKELY(is_here(c)))
        return count == 1
                   ? thi_stream_send(&c->stream, pieces->iov_base, pieces->iov_len, n, deadline)
                   : thi_stream_sendv(&c->stream, pieces, count, n, deadline);
    if (is_cancelled(c))
        return ECANCELED;
    return count == 1 ? thrum_io_write(c->fd, pieces->iov_base, pieces->iov_len, n, deadline)
                      : thrum_io_writev(c->fd, pieces, count, n, deadline);
}

int thi_wire_try(thrum_conn_t *c, const struct iovec *pieces, int count, size_t *n)
{
    return THI_LIKELY(is_here(c)) ? thi_stream_trysendv(&c->stream, pieces, count, n) : EAGAIN;
}

int thi_wire_step(thrum_conn_t *c)
{
    if (is_here(c))
        return thi_stream_step(&c->stream);
    return is_cancelled(c) ? ECANCELED : 0;
}

int thi_wire_await_room(thrum_conn_t *c, thrum_time_t deadline)
{
    return is_here(c) ? thi_stream_wait(&c->stream, THI_POLL_OUT, deadline)
                      : thrum_io_wait(c->fd, THRUM_IO_OUT, deadline);
}
