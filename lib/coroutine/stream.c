/*
 * Streams: descriptors that nobody but the library closes, watched by the loop's poller for good.
 *
 *   ready     a direction is in it     a call may succeed, and is made without a wait
 *             it is not                the poller will tell when one may
 *
 * Invariants
 *   I1  The poller tells of what comes after its last report, or after the system has said that there is nothing (or
 *       no more, where a short read says so). `ready` loses a direction only when the system has said that, and no
 *       report is looked at between: the loop looks while no coroutine runs. So nothing that comes is missed.
 *   I2  An end of the stream, errors and urgent bytes are reported once, and hide behind a short read. After one of
 *       them (ODD) only the system's EAGAIN counts.
 *   I3  A report of a descriptor that had the number before bears another tag. The loop looks at all that the poller
 *       has told before it runs anybody who might close a stream.
 *   I4  Who waits is known to the stream until it goes on. Whoever closes the stream before says so in its
 *       record, which is all that it looks at then.
 */
#include "coroutine/stream.h"

#include <string.h>
#include <sys/uio.h>

#include <thrum/io.h>

#include "coroutine/waitfd.h"

#define IN_A_ROW 64u /* then others run */
#define FIRST_SIZE 64u

typedef struct thi_stream_wait {
    thrum_coro_t *co;
    int err;     /* OPEN until it is over */
    bool closed; /* the stream may be gone */
} wait_t;

#define OPEN (-1)
#define OVERDUE (-1)

static inline wait_t **place_of(thi_stream_t *stream, unsigned direction)
{
    return &stream->waits[direction == THI_POLL_OUT];
}

/* It will run soon, but not before others that are ready: what it needs first. */
static inline void prepare(const thrum_coro_t *co)
{
    const char *frame = (const char *)co->fiber.context.sp;
    __builtin_prefetch(&co->strand, 1);
    for (unsigned i = 0; i < 3; i++)
        __builtin_prefetch(frame + (size_t)i * THI_CACHE_LINE);
}

/* False: nobody waits, or it has been told already. */
static inline bool end_wait(thrum_loop_t *loop, wait_t *wait, int err)
{
    if (wait == NULL || wait->err != OPEN)
        return false;
    wait->err = err;
    prepare(wait->co);
    thi_loop_ready(loop, wait->co);
    return true;
}

static void end_wait_for_good(thrum_loop_t *loop, wait_t **place)
{
    wait_t *wait = *place;
    if (wait == NULL)
        return;
    *place = NULL;
    wait->closed = true;
    if (!end_wait(loop, wait, ECANCELED))
        wait->err = ECANCELED;
}

bool thi_stream_is_here(const thi_stream_t *stream)
{
    const thi_stage_t *stage = thi_stage;
    return THI_LIKELY(stage != NULL && stage->loop != NULL) && stage->loop == stream->loop &&
           stage->current != &stage->self;
}

thrum_time_t thi_stream_clock(const thi_stream_t *stream)
{
    return stream->loop != NULL ? stream->loop->looked : 0;
}

/* ------------------------------------------------------------------------------------------------
 * Opening and closing
 */

static bool reserve(thrum_loop_t *loop, int fd)
{
    const size_t needed = (size_t)fd + 1;
    if (THI_LIKELY(needed <= loop->streams_size))
        return true;
    size_t size = loop->streams_size != 0 ? loop->streams_size : FIRST_SIZE;
    while (size < needed)
        size *= 2;
    thi_stream_t **streams = thi_alloc(size * sizeof *streams);
    if (streams == NULL)
        return false;
    if (loop->streams_size != 0)
        memcpy(streams, loop->streams, loop->streams_size * sizeof *streams);
    thi_free(loop->streams, loop->streams_size * sizeof *streams);
    loop->streams = streams;
    loop->streams_size = size;
    return true;
}

static uint32_t next_tag(thrum_loop_t *loop)
{
    if (++loop->stream_tag == 0)
        loop->stream_tag = 1;
    return loop->stream_tag;
}

int thi_stream_open(thi_stream_t *stream, thrum_loop_t *loop, int fd)
{
    *stream = (thi_stream_t){.loop = NULL};
    if (!thi_waitfd_is_number(fd))
        return EBADF;
    int err = thi_loop_need_poller(loop);
    if (err == 0 && !reserve(loop, fd))
        err = ENOMEM;
    const uint32_t tag = next_tag(loop);
    const uint8_t armed = (size_t)fd < loop->armed_size ? loop->armed[fd] : 0; /* by waitfd.c */
    if (err == 0)
        err = thi_poller_watch(loop->poller, fd, THI_POLL_IN | armed, tag);
    if (err != 0)
        return err;
    if (armed != 0)
        loop->armed[fd] = 0;
    *stream = (thi_stream_t){.loop = loop,
                             .fd = fd,
                             .tag = tag,
                             .ready = THI_POLL_OUT, /* what there is to read the poller will tell */
                             .watched = (uint8_t)(THI_POLL_IN | armed),
                             .shared = armed,
                             .measures = thi_socket_measures(fd)};
    loop->streams[fd] = stream;
    return 0;
}

static int take_out(thi_stream_t *stream)
{
    thrum_loop_t *loop = stream->loop;
    const int fd = stream->tag != 0 ? stream->fd : -1;
    stream->loop = NULL;
    stream->tag = 0;
    if (loop == NULL)
        return fd;
    loop->streams[fd] = NULL;
    for (size_t i = 0; i < 2; i++)
        end_wait_for_good(loop, &stream->waits[i]);
    return fd;
}

void thi_stream_close(thi_stream_t *stream)
{
    const int fd = take_out(stream);
    if (fd >= 0)
        (void)thrum_io_close(fd); /* others, also of other threads, may wait for the number */
}

int thi_stream_release(thi_stream_t *stream)
{
    const thrum_loop_t *loop = stream->loop;
    const bool shared = stream->shared != 0;
    const int fd = take_out(stream);
    if (loop != NULL && loop->fork_mark == thi_fork_mark)
        thi_poller_forget(loop->poller, fd);
    if (loop != NULL && shared)
        thi_waitfd_closed(fd);
    return fd;
}

void thi_streams_lose(thrum_loop_t *loop)
{
    for (size_t fd = 0; fd < loop->streams_size; fd++) {
        thi_stream_t *stream = loop->streams[fd];
        if (stream != NULL) {
            stream->loop = NULL;
            stream->waits[0] = stream->waits[1] = NULL;
        }
        loop->streams[fd] = NULL;
    }
}

/* ------------------------------------------------------------------------------------------------
 * What the poller tells
 */

void thi_stream_ready(thrum_loop_t *loop, const thi_polled_t *polled)
{
    thi_stream_t *stream =
        (size_t)polled->fd < loop->streams_size ? loop->streams[polled->fd] : NULL;
    if (THI_UNLIKELY(stream == NULL || stream->tag != polled->events)) /* I3 */
        return;
    const unsigned ready = polled->ready;
    stream->ready |= (uint8_t)ready;
    if (THI_UNLIKELY((ready & THI_POLL_ODD) != 0))
        stream->measures = false; /* I2 */
    if ((ready & THI_POLL_IN) != 0)
        (void)end_wait(loop, stream->waits[0], 0);
    if ((ready & THI_POLL_OUT) != 0)
        (void)end_wait(loop, stream->waits[1], 0);
    if (THI_UNLIKELY((stream->shared & ready) != 0)) {
        thi_waitfd_unpark(polled->fd, stream->shared & ready);
        stream->shared &= (uint8_t)~ready;
    }
}

/* The poller tells of what is ready at this moment, as those who wait by thrum_io_ calls rely on. */
static int watch(thi_stream_t *stream, unsigned directions)
{
    const unsigned all = stream->watched | directions;
    const int err = thi_poller_watch(stream->loop->poller, stream->fd, all, stream->tag);
    if (err == 0)
        stream->watched = (uint8_t)all;
    return err;
}

int thi_stream_share(thi_stream_t *stream, unsigned directions)
{
    stream->shared |= (uint8_t)directions;
    return watch(stream, directions);
}

/* ------------------------------------------------------------------------------------------------
 * Waiting
 */

static inline bool is_cancelled(const thi_strand_t *self)
{
    return (self->scope != NULL || thi_load_relaxed(&self->cancelled) != 0) &&
           thi_strand_cancelled(self);
}

static int sleep_in(thi_stage_t *stage, wait_t *wait, thrum_time_t deadline)
{
    int err = 0;
    while (err == 0 && wait->err == OPEN)
        err = is_cancelled(&wait->co->strand) ? ECANCELED
                                              : thi_coro_park_lazily(stage, wait->co, deadline);
    return err;
}

static int no_use(const thi_stream_t *stream)
{
    return stream->tag != 0 ? EOWNERDEAD : EBADF;
}

/* 0, or an error. OVERDUE: the deadline has passed, and nothing was told; the stream is still there. */
static int wait_for(thi_stream_t *stream, unsigned direction, thrum_time_t deadline)
{
    thi_stage_t *stage = thi_stage;
    const thrum_loop_t *loop = stream->loop;
    if (THI_UNLIKELY(loop == NULL))
        return no_use(stream);
    if (THI_UNLIKELY(stage == NULL || stage->loop != loop || stage->current == &stage->self))
        return EINVAL;
    wait_t **place = place_of(stream, direction);
    if (THI_UNLIKELY(*place != NULL))
        return EBUSY;
    if (THI_UNLIKELY((stream->watched & direction) == 0)) {
        const int err = watch(stream, direction);
        if (err != 0)
            return err;
    }
    wait_t wait = {stage->current, OPEN, false};
    thi_strand_t *self = &wait.co->strand;
    *place = &wait;
    stream->in_a_row = 0;
    thi_strand_waits_since(self, thi_waitfd_site(direction), thi_waitfd_object(stream->fd),
                           loop->looked);
    const int err = sleep_in(stage, &wait, deadline);
    thi_strand_waited(self);
    if (THI_LIKELY(!wait.closed))
        *place = NULL;
    if (THI_LIKELY(wait.err != OPEN))
        return wait.err;
    return err == ETIMEDOUT ? OVERDUE : err;
}

int thi_stream_wait(thi_stream_t *stream, unsigned direction, thrum_time_t deadline)
{
    stream->ready &= (uint8_t)~direction;
    const int err = wait_for(stream, direction, deadline);
    return err == OVERDUE ? ETIMEDOUT : err;
}

bool thi_stream_wake(thi_stream_t *stream)
{
    return stream->loop != NULL && end_wait(stream->loop, stream->waits[0], ECANCELED);
}

/* ------------------------------------------------------------------------------------------------
 * Reading and writing
 */

/* The same for who has not waited for long, and ought to hear of it somewhere. */
THI_NOINLINE static int look_up(thi_stream_t *stream)
{
    const thi_strand_t *self = thi_current.strand;
    if (self == NULL || !is_cancelled(self))
        return 0;
    stream->in_a_row = 0;
    return ECANCELED;
}

/* Before a call: 0 when it may succeed; OVERDUE: it is the last (the poller may have had too much to tell). */
static inline int get_ready(thi_stream_t *stream, unsigned direction, thrum_time_t deadline)
{
    if ((stream->ready & direction) == 0)
        return wait_for(stream, direction, deadline);
    if (THI_UNLIKELY(stream->loop == NULL))
        return no_use(stream);
    return THI_UNLIKELY(++stream->in_a_row >= IN_A_ROW) ? look_up(stream) : 0;
}

/* After one: whether it is to be made again. */
static inline bool is_to_wait(thi_stream_t *stream, unsigned direction, ssize_t n, int err)
{
    if (THI_LIKELY(n != -EAGAIN))
        return false;
    stream->ready &= (uint8_t)~direction;
    return err == 0;
}

/* What it has come to. Whoever never waits has the loop look around, for others. */
static inline int conclude(thi_stream_t *stream, ssize_t n, int err, size_t *count)
{
    if (THI_UNLIKELY(n < 0))
        return n == -EAGAIN && err == OVERDUE ? ETIMEDOUT : (int)-n;
    *count = (size_t)n;
    if (THI_UNLIKELY(stream->in_a_row >= IN_A_ROW)) {
        stream->in_a_row = 0;
        stream->loop->turns = 0;
        thrum_yield();
    }
    return 0;
}

int thi_stream_step(thi_stream_t *stream)
{
    size_t n = 0;
    const int err = ++stream->in_a_row >= IN_A_ROW ? look_up(stream) : 0;
    return err != 0 ? err : conclude(stream, 0, 0, &n);
}

int thi_stream_recv(thi_stream_t *stream, void *buf, size_t size, size_t *n, thrum_time_t deadline)
{
    ssize_t got = 0;
    int err = 0;
    do {
        err = get_ready(stream, THI_POLL_IN, deadline);
        if (err > 0)
            return err;
        got = thi_socket_recv(stream->fd, buf, size);
    } while (is_to_wait(stream, THI_POLL_IN, got, err));
    if (got > 0 && (size_t)got < size && stream->measures)
        stream->ready &= (uint8_t)~THI_POLL_IN;
    return conclude(stream, got, err, n);
}

int thi_stream_trysendv(thi_stream_t *stream, const struct iovec *iov, int count, size_t *n)
{
    if (THI_UNLIKELY((stream->ready & THI_POLL_OUT) == 0))
        return EAGAIN;
    const int err = get_ready(stream, THI_POLL_OUT, 0);
    if (THI_UNLIKELY(err != 0))
        return err;
    const ssize_t sent = count == 1 ? thi_socket_send(stream->fd, iov->iov_base, iov->iov_len)
                                    : thi_socket_sendv(stream->fd, iov, count);
    (void)is_to_wait(stream, THI_POLL_OUT, sent, 0);
    return conclude(stream, sent, 0, n);
}

int thi_stream_send(thi_stream_t *stream, const void *data, size_t size, size_t *n,
                    thrum_time_t deadline)
{
    ssize_t sent = 0;
    int err = 0;
    do {
        err = get_ready(stream, THI_POLL_OUT, deadline);
        if (err > 0)
            return err;
        sent = thi_socket_send(stream->fd, data, size);
    } while (is_to_wait(stream, THI_POLL_OUT, sent, err));
    return conclude(stream, sent, err, n);
}

int thi_stream_sendv(thi_stream_t *stream, const struct iovec *iov, int count, size_t *n,
                     thrum_time_t deadline)
{
    ssize_t sent = 0;
    int err = 0;
    do {
        err = get_ready(stream, THI_POLL_OUT, deadline);
        if (err > 0)
            return err;
        sent = thi_socket_sendv(stream->fd, iov, count);
    } while (is_to_wait(stream, THI_POLL_OUT, sent, err));
    return conclude(stream, sent, err, n);
}
