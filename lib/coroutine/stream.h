#ifndef THI_STREAM_H
#define THI_STREAM_H

/*
 * Streams: sockets that the library itself has opened and will close, such as the connections of its servers. What
 * is known of such a descriptor stays true from call to call: nobody else closes it, so its number cannot become
 * another descriptor unseen. It is told to the loop's poller once, and who reads or writes asks the system only
 * when there may be something.
 *
 *     err = thi_stream_open(&c->stream, loop, fd);
 *     while (err == 0 && (err = thi_stream_recv(&c->stream, buf, size, &n, deadline)) == 0 && n != 0)
 *         err = thi_stream_send(&c->stream, buf, n, &sent, deadline);
 *     thi_stream_close(&c->stream);
 *
 * All of it on the loop's thread; coroutines wait, one reader and one writer at a time. For a number that is a stream
 * thrum_io_ calls may still wait, also on other threads.
 *
 * What a call returns: 0; ETIMEDOUT; ECANCELED (the strand is cancelled; it was closed meanwhile, or woken); EINVAL:
 * it would wait, but is no coroutine of that loop; EBUSY: it would, but another does; EBADF: it is not open;
 * EOWNERDEAD: it is the parent's, and this is a forked child; errors of the system. What is there is taken whatever
 * the deadline says; by who is cancelled, if the poller has told of it. Who never has to wait has the loop look
 * around now and then all the same, and hears then of a cancellation.
 *
 * Deadlines are meant to be renewed with every call, and hardly ever to pass (thi_loop_block_lazily).
 */
#include <thrum/loop.h>

#include "base/base.h"

struct iovec;
struct thi_stream_wait;

/* Embedded by its owner; it stays where it is while it is open. */
typedef struct thi_stream {
    thrum_loop_t *loop;               /* NULL: it is not open, or of no use in this process */
    struct thi_stream_wait *waits[2]; /* who waits to read, to write; NULL: nobody */
    int fd;
    uint32_t
        tag; /* 0: it is not open. What the poller says of others that had the number bears another */
    uint8_t ready;    /* directions in which a call may succeed: it may say too much */
    uint8_t watched;  /* directions that the poller tells of */
    uint8_t shared;   /* directions that others wait for by thrum_io_ calls; it may say too much */
    bool measures;    /* that a read came back short says that there was no more */
    uint8_t in_a_row; /* calls that succeeded without a wait between */
} thi_stream_t;

/* The loop is the calling thread's. 0, or ENOMEM or another error of the system: then the descriptor is still open,
 * and the stream not. */
int thi_stream_open(thi_stream_t *stream, thrum_loop_t *loop, int fd);

/* Closes the descriptor, too; who waits is told: ECANCELED, and does not look at the stream again. Nothing happens to
 * one that is not open (nor to one of zeros). */
void thi_stream_close(thi_stream_t *stream);

/* The same, but the descriptor stays open, and is returned. -1: it is not open. */
int thi_stream_release(thi_stream_t *stream);

/* At most `size` bytes; 0 in `n`: the peer sends no more. */
int thi_stream_recv(thi_stream_t *stream, void *buf, size_t size, size_t *n, thrum_time_t deadline);

/* At least one byte, if there is one. */
int thi_stream_send(thi_stream_t *stream, const void *data, size_t size, size_t *n,
                    thrum_time_t deadline);
int thi_stream_sendv(thi_stream_t *stream, const struct iovec *iov, int count, size_t *n,
                     thrum_time_t deadline);

/* The same without a wait. EAGAIN: not now. */
int thi_stream_trysendv(thi_stream_t *stream, const struct iovec *iov, int count, size_t *n);

/* Whether the caller is a coroutine that may use it: of its loop. False of one that is not open, too. */
bool thi_stream_is_here(const thi_stream_t *stream);

/* The loop's last look at the clock, some milliseconds ago or as long as its line has been running: good for telling
 * that a deadline has passed, and not for making one. 0: it is not open. */
thrum_time_t thi_stream_clock(const thi_stream_t *stream);

/* For who calls the system itself (sendfile(2)), and was just told EAGAIN, no other coroutine having run since: waits
 * until it is worth another try. THI_POLL_IN or THI_POLL_OUT. */
int thi_stream_wait(thi_stream_t *stream, unsigned direction, thrum_time_t deadline);

/* For who calls the system itself, before each call: as a call that need not wait. 0, ECANCELED. */
int thi_stream_step(thi_stream_t *stream);

/* Whoever waits to read is told ECANCELED, for a graceful stop; it may go on reading. False: nobody does. */
bool thi_stream_wake(thi_stream_t *stream);

/* For waitfd.c: thrum_io_ calls of this loop wait for it. */
int thi_stream_share(thi_stream_t *stream, unsigned directions);

#endif /* THI_STREAM_H */
