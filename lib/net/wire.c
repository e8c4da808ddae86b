/*
 * The system's side of a connection. In a loop it is a stream (coroutine/stream.h): told to the poller once, and asked
 * only when there may be something. Elsewhere, and for who is no coroutine of that loop, thrum_io_ calls do the same.
 */
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

thrum_time_t thi_wire_clock(const thrum_conn_t *c)
{
    return thi_stream_is_here(&c->stream) ? thi_stream_clock(&c->stream) : thi_clock_coarse();
}

int thi_wire_read(thrum_conn_t *c, void *buf, size_t size, size_t *n, thrum_time_t deadline)
{
    return THI_LIKELY(thi_stream_is_here(&c->stream))
               ? thi_stream_recv(&c->stream, buf, size, n, deadline)
               : thrum_io_read(c->fd, buf, size, n, deadline);
}

int thi_wire_write(thrum_conn_t *c, const struct iovec *pieces, int count, size_t *n,
                   thrum_time_t deadline)
{
    if (THI_LIKELY(thi_stream_is_here(&c->stream)))
        return count == 1
                   ? thi_stream_send(&c->stream, pieces->iov_base, pieces->iov_len, n, deadline)
                   : thi_stream_sendv(&c->stream, pieces, count, n, deadline);
    return count == 1 ? thrum_io_write(c->fd, pieces->iov_base, pieces->iov_len, n, deadline)
                      : thrum_io_writev(c->fd, pieces, count, n, deadline);
}

int thi_wire_await_room(thrum_conn_t *c, thrum_time_t deadline)
{
    return thi_stream_is_here(&c->stream) ? thi_stream_wait(&c->stream, THI_POLL_OUT, deadline)
                                          : thrum_io_wait(c->fd, THRUM_IO_OUT, deadline);
}
