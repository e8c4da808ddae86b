/*
 * The descriptor: readable while the queue has items or is closed.
 *
 * It is a getter that never sleeps: while the queue is empty it keeps the mark WANTED set, so the put
 * that ends the emptiness comes here; and while it is watched, every get comes here, to see whether it
 * was the last. Every change between empty and not empty is followed by a call of whoever made it.
 *
 *   telling   OPEN  there is a descriptor
 *             TOLD  somebody has changed the queue since the last look began
 *             BUSY  somebody looks, and will look again if TOLD
 *
 * Nobody waits here for anybody: a put comes with a place that it has claimed and not filled, and who
 * meets that place does not sleep, but looks until it is filled.
 *
 * Invariants
 *   I1  Every call changes the word, and so does the opening. So either the one that opened it sees in its
 *       first look what the call was for, or the call sees OPEN.
 *   I2  A look and the change of the descriptor are made by who set BUSY: they are one step.
 *   I3  The child of a fork shares the descriptor with its parent, and leaves it alone: it gets another. Nor
 *       does it close it: the child may have done so itself, and the number be another's.
 */
#include "queue/core.h"

#define OPEN 1u
#define TOLD 2u
#define BUSY 4u

/* After so many turns in the child of a fork the put is taken for lost. Then the descriptor says too much, and
 * who looks finds the queue empty: for a moment, or until a put. */
#define TURNS_MAX 2000u

/* The queue looked empty, so its next put has to tell; unless it no longer is. Or its last ring is new
 * and the put that it was made for on the way. */
static bool is_ready(thrum_queue_t *q)
{
    for (unsigned turns = 0; turns < TURNS_MAX || !thi_queue_is_inherited(q); turns++) {
        if (q->order->size(q) != 0 || q->order->closed(q))
            return true;
        if (THI_PLANT("queue-fd-no-mark") || q->order->must_wait_to_get(q))
            return false;
        thi_cpu_yield(turns);
    }
    return true;
}

/* By who is BUSY. */
static void update(thrum_queue_t *q)
{
    const bool ready = is_ready(q);
    if (ready != q->readable)
        thi_signal_set(q->fd, ready);
    q->readable = ready;
}

static bool is_ours(const thrum_queue_t *q)
{
    return thi_load_acquire(&q->fd_mark) == thi_fork_mark;
}

void thi_queue_tell(thrum_queue_t *q)
{
    /* T1: acquire and release; pairs with itself and T2 to T4 (I1, I2). */
    uint32_t word = thi_fetch_or_acq_rel(&q->telling, TOLD) | TOLD;
    while (THI_UNLIKELY(word == (OPEN | TOLD)) && is_ours(q)) {
        if (!thi_cas_acq_rel(&q->telling, &word, OPEN | BUSY)) /* T2 */
            continue;
        update(q);
        word = thi_fetch_and_acq_rel(&q->telling, ~BUSY) & ~BUSY; /* T2 */
    }
}

/* Under fd_mutex. */
static int open_fd(thrum_queue_t *q)
{
    int fd = -1;
    int err = thi_signal_open(&fd);
    if (err != 0)
        return err;
    err = q->order->watch(q);
    if (err != 0) {
        thi_signal_close(fd);
        return err;
    }
    /* T4: what was OPEN, and perhaps BUSY, was the parent's. Before the mark: who finds that should find no
     * OPEN before T3, or there would be two who look. */
    (void)thi_swap_acq_rel(&q->telling, 0u);
    q->fd = fd;
    q->readable = false;
    thi_store_release(&q->fd_mark, thi_fork_mark);
    (void)thi_swap_acq_rel(&q->telling, OPEN); /* T3 */
    return 0;
}

int thrum_queue_fd(thrum_queue_t *q, int *fd)
{
    if (q == NULL || fd == NULL)
        return EINVAL;
    int err = thi_mutex_acquire(&q->fd_mutex, THRUM_FOREVER);
    if (err != 0)
        return err;
    if (q->fd < 0 || !is_ours(q))
        err = open_fd(q);
    thi_mutex_release(&q->fd_mutex);
    if (err != 0)
        return err;
    thi_queue_tell(q); /* what was put before, and before its put could tell */
    *fd = q->fd;
    return 0;
}

void thi_queue_close_fd(thrum_queue_t *q)
{
    if (q->fd >= 0 && is_ours(q))
        thi_signal_close(q->fd);
}
