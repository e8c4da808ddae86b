/*
 * The chain of rings of an unbounded FIFO queue: puts go to the last; when that is full it is sealed and a new
 * one appended. Gets take from the first, until it is sealed and drained. As long as the items fit into one
 * ring, the chain is one ring and nothing is allocated.
 *
 *     first -> [drained, sealed] -> [sealed] -> [open] <- last
 *
 * Invariants
 *   I1  The chain changes under `growth` only. first and last only move on.
 *   I2  A ring is sealed when it has a next one, and only then; both are done under `growth`. It was full
 *       in its present life before.
 *   I3  Ring headers stay until the queue ends, since somebody may have read `first` or `last` long
 *       ago. Such a one finds nothing to get (drained for good) and no place to put (sealed), or a ring
 *       in a later life, whose indices are higher than any that it has seen (ring.h, I1). That it is
 *       the ring that it was before, says nothing: under `growth` one looks again.
 *   I4  The slots of a drained ring are given back only when all of them are free, that is when the
 *       last getter has copied its item out.
 */
#include "queue/core.h"

#ifdef THRUM_SIM
#define SEGMENT_MIN_SLOTS 2u
#define SEGMENT_BYTES 64u
#else
#define SEGMENT_MIN_SLOTS 512u /* the second ring */
#define SEGMENT_BYTES (512u * 1024u)
#endif

/* ------------------------------------------------------------------------------------------------
 * Growing
 */

static size_t segment_slots(const thrum_queue_t *q, size_t before)
{
    const size_t largest = SEGMENT_BYTES / thi_slot_size(q->item_size);
    size_t slots = SEGMENT_MIN_SLOTS;
    while (slots <= before && slots * 2 <= largest)
        slots *= 2;
    return slots;
}

/* A new ring with a header before its slots, on pages of its own. */
static thi_ring_t *map_segment(const thrum_queue_t *q, size_t slots)
{
    const size_t bytes = slots * thi_slot_size(q->item_size);
    unsigned char *pages = thi_pages_map(THI_PAGE + bytes);
    if (pages == NULL)
        return NULL;
    thi_ring_t *ring = (thi_ring_t *)(void *)pages;
    thi_ring_begin(ring, pages + THI_PAGE, slots);
    ring->bytes = bytes;
    return ring;
}

/* Under growth: a ring to go on with, NULL when there is no memory. */
static thi_ring_t *fresh_segment(thrum_queue_t *q)
{
    thi_fifo_t *fifo = &q->fifo;
    thi_ring_t **from = fifo->spare != NULL ? &fifo->spare : &fifo->empty;
    thi_ring_t *ring = *from;
    if (ring == NULL)
        return map_segment(q, segment_slots(q, fifo->last->capacity));
    *from = ring->next;
    thi_ring_renew(ring, from == &fifo->empty);
    return ring;
}

/* Under growth: no more puts into the ring. False: it is closed. */
static bool seal(thi_ring_t *ring, uint64_t *tail)
{
    *tail = thi_load_relaxed(&ring->tail);
    do {
        if ((*tail & THI_CLOSED) != 0)
            return false;
    } while (!thi_cas_relaxed(&ring->tail, tail, *tail | THI_SEALED));
    return true;
}

/* Under growth: gives the ring its place in the count of items, and the marks that are to go on. It is
 * sealed until it is the last one: an item that somebody who knew the ring from an earlier life put into
 * it before would not be counted. */
static void prepare_after(thrum_queue_t *q, thi_ring_t *ring, uint64_t puts, bool wanted)
{
    const uint64_t index = thi_load_relaxed(&ring->tail) & ~THI_MARKS;
    const bool watched = q->fifo.watched != 0;
    const uint64_t behind = THI_PLANT("queue-not-behind") ? 0 : THI_BEHIND;
    if (THI_PLANT("queue-mark-left-behind"))
        wanted = false;
    thi_store_relaxed(&ring->before, puts - thi_ring_count(ring, index));
    /* R3: release; pairs with A3: who sees an index of this life sees where its count begins. */
    thi_store_release(&ring->head, index | behind | (watched ? THI_WATCHED : 0));
    thi_store_release(&ring->tail, index | THI_SEALED | (wanted || watched ? THI_WANTED : 0));
}

/* Under growth: the ring is the last one and, now, full. */
static bool is_last_and_full(const thrum_queue_t *q, const thi_ring_t *ring)
{
    uint64_t head = 0;
    return q->fifo.last == ring && thi_ring_is_full(ring, thi_load_relaxed(&ring->tail), &head);
}

/* Under growth: the ring is full, so another one follows. 0, ENOMEM, or ESHUTDOWN. */
static int append(thrum_queue_t *q, thi_ring_t *full)
{
    thi_fifo_t *fifo = &q->fifo;
    uint64_t tail = 0;
    thi_ring_t *ring = fresh_segment(q);
    if (ring == NULL)
        return ENOMEM;
    if (!seal(full, &tail)) {
        ring->next = fifo->spare;
        fifo->spare = ring;
        return ESHUTDOWN;
    }
    prepare_after(q, ring, full->before + thi_ring_count(full, tail), (tail & THI_WANTED) != 0);
    full->next = ring;
    thi_store_release(&fifo->last, ring); /* R1: release; pairs with A1 of fifo.c */
    thi_fetch_and_release(&ring->tail, ~(uint64_t)THI_SEALED);
    return 0;
}

int thi_chain_grow(thrum_queue_t *q, thi_ring_t *full)
{
    int err = thi_mutex_acquire(&q->fifo.growth, THRUM_FOREVER);
    if (err != 0)
        return err;
    if (is_last_and_full(q, full))
        err = append(q, full);
    thi_mutex_release(&q->fifo.growth);
    return err;
}

/* ------------------------------------------------------------------------------------------------
 * Moving on
 */

/* Under growth: where a quiet ring is kept. One is enough for the next growth; of the others the pages go,
 * if the system takes them. What it leaves can be used again as it is. */
static thi_ring_t **shelf_for(thi_fifo_t *fifo, thi_ring_t *ring)
{
    const bool spare = fifo->spare == NULL || !thi_pages_forget(ring->slots, ring->bytes);
    return spare ? &fifo->spare : &fifo->empty;
}

/* Under growth: puts away what was given back by its last getter. */
static void tidy(thrum_queue_t *q)
{
    thi_fifo_t *fifo = &q->fifo;
    for (thi_ring_t **link = &fifo->retired; *link != NULL;) {
        thi_ring_t *ring = *link;
        if (!thi_ring_is_quiet(ring, q->item_size)) {
            link = &ring->next;
            continue;
        }
        *link = ring->next;
        thi_ring_t **to = shelf_for(fifo, ring);
        ring->next = *to;
        *to = ring;
    }
}

/* Under growth: the first ring has nothing more to get; the next one becomes the first. */
void thi_chain_drop_first(thi_fifo_t *fifo)
{
    thi_ring_t *drained = fifo->first;
    thi_ring_t *next = drained != NULL ? drained->next : NULL;
    if (next == NULL) /* never, in a chain that is whole (I2) */
        return;
    thi_store_release(&fifo->first, next); /* R2: release; pairs with A2 of fifo.c */
    /* Only now: what is got from it is counted by who looks at the first ring. */
    thi_fetch_and_relaxed(&next->head, ~(uint64_t)THI_BEHIND);
    if (drained != &fifo->only) {
        drained->next = fifo->retired;
        fifo->retired = drained;
    }
}

/* Under growth. That a ring was seen drained says nothing: it may be in another life by now. */
static bool is_drained(const thi_ring_t *ring)
{
    const uint64_t tail = thi_load_relaxed(&ring->tail);
    return (tail & THI_SEALED) != 0 && thi_ring_same(thi_load_relaxed(&ring->head), tail);
}

int thi_chain_move_on(thrum_queue_t *q, const thi_ring_t *drained)
{
    const int err = thi_mutex_acquire(&q->fifo.growth, THRUM_FOREVER);
    if (err != 0)
        return err;
    if (q->fifo.first == drained && (is_drained(drained) || THI_PLANT("queue-old-ring"))) {
        thi_chain_drop_first(&q->fifo);
        tidy(q);
    }
    thi_mutex_release(&q->fifo.growth);
    return 0;
}

static void unmap_all(const thi_fifo_t *fifo, thi_ring_t *ring)
{
    for (thi_ring_t *next = NULL; ring != NULL; ring = next) {
        next = ring->next;
        if (ring != &fifo->only)
            thi_pages_unmap(ring, THI_PAGE + ring->bytes);
    }
}

void thi_chain_end(const thi_fifo_t *fifo)
{
    unmap_all(fifo, fifo->first);
    unmap_all(fifo, fifo->retired);
    unmap_all(fifo, fifo->spare);
    unmap_all(fifo, fifo->empty);
}
