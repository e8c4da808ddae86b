/*
 * Waiting for somebody who was interrupted in the middle; and FIFO queues that the child of a fork inherits,
 * where that may be somebody who is not there.
 *
 * Whoever was in the middle of a put or a get at the fork, having claimed a place and not filled or emptied
 * it, will never do it. Which places those are can be told only then: what is claimed later is claimed by
 * strands that live. So every FIFO is in a list, and in the child each of its rings remembers how far it was
 * claimed.
 *
 *     queues -> q -> q -> q       hook.next; hook.link points to the pointer that points here
 *
 * Invariants
 *   I1  The list changes under `lock`, each time by one store to a `next` or to `queues`: it is whole, from
 *       front to back, at any moment. `link` may be behind; the child puts it right.
 *   I2  A queue is in the list from when it is complete until before it ends.
 */
#include "queue/core.h"

/* ------------------------------------------------------------------------------------------------
 * The list
 */

static thi_lock_t lock;
static thrum_queue_t *queues;

void thi_fifo_enlist(thrum_queue_t *q)
{
    thi_fifo_t *fifo = &q->fifo;
    thi_lock(&lock, THI_RANK_QUEUES);
    fifo->hook.next = queues;
    fifo->hook.link = &queues;
    if (queues != NULL)
        queues->fifo.hook.link = &fifo->hook.next;
    /* Release: for the copy that a fork makes at any moment (I1). */
    thi_store_release(&queues, q);
    thi_unlock(&lock, THI_RANK_QUEUES);
}

void thi_fifo_delist(thrum_queue_t *q)
{
    thi_fifo_t *fifo = &q->fifo;
    thi_lock(&lock, THI_RANK_QUEUES);
    thi_store_release(fifo->hook.link, fifo->hook.next); /* as above */
    if (fifo->hook.next != NULL)
        fifo->hook.next->fifo.hook.link = fifo->hook.link;
    thi_unlock(&lock, THI_RANK_QUEUES);
}

/* ------------------------------------------------------------------------------------------------
 * Fork
 */

/* A ring that is not in the chain has no place that is claimed, or nobody comes to it before its indices are
 * higher. */
static void remember_claims(thi_fifo_t *fifo)
{
    for (thi_ring_t *ring = fifo->first; ring != NULL; ring = ring->next) {
        ring->lost_puts = ring->tail & ~THI_MARKS;
        ring->lost_gets = ring->head & ~THI_MARKS;
    }
}

void thi_fifo_after_fork(void)
{
    lock = (thi_lock_t){0}; /* nobody else is there to unlock it */
    for (thrum_queue_t **link = &queues; *link != NULL; link = &(*link)->fifo.hook.next) {
        (*link)->fifo.hook.link = link;
        remember_claims(&(*link)->fifo);
    }
}

__attribute__((constructor)) static void at_load(void)
{
    thi_strand_at_load();
    thi_at_fork(NULL, NULL, thi_fifo_after_fork);
}

/* ------------------------------------------------------------------------------------------------
 * Waiting
 */

static int let_finish(unsigned *turns)
{
    thi_cpu_yield((*turns)++);
    return 0;
}

/* Who came to a place at that index and saw it in the middle of something asks whether that goes back to before
 * the fork. Under growth no ring begins another life: if the index stands where it stood, what was seen was
 * seen in this one. */
static int is_lost(thrum_queue_t *q, const uint64_t *index, uint64_t seen)
{
    const int err = thi_mutex_acquire(&q->fifo.growth, THRUM_FOREVER);
    if (err != 0)
        return err;
    const bool stands = thi_ring_same(thi_load_relaxed(index), seen);
    thi_mutex_release(&q->fifo.growth);
    return stands ? EOWNERDEAD : 0;
}

int thi_fifo_let_put(thrum_queue_t *q, const thi_ring_t *ring, uint64_t head, unsigned *turns)
{
    if (thi_queue_is_inherited(q) && (head & ~THI_MARKS) < ring->lost_puts)
        return is_lost(q, &ring->head, head);
    return let_finish(turns);
}

/* The get is of the lap before. */
int thi_fifo_let_get(thrum_queue_t *q, const thi_ring_t *ring, uint64_t tail, unsigned *turns)
{
    if (thi_queue_is_inherited(q) &&
        (tail & ~THI_MARKS) < ring->lost_gets + (THI_ONE << ring->bits))
        return is_lost(q, &ring->tail, tail);
    return let_finish(turns);
}

/* Whoever changes the chain has growth; in the child of a fork that says whether he is there. */
int thi_fifo_let_change(thrum_queue_t *q, unsigned *turns)
{
    if (!thi_queue_is_inherited(q))
        return let_finish(turns);
    const int err = thi_mutex_acquire(&q->fifo.growth, THRUM_FOREVER);
    if (err == 0)
        thi_mutex_release(&q->fifo.growth);
    return err;
}
