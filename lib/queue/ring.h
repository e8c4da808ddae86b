#ifndef THI_RING_H
#define THI_RING_H

/*
 * A ring of slots, used by many putters and many getters at once. After D. Vyukov's bounded MPMC queue
 * (2010) and crossbeam's stamps with laps; what is added are the marks.
 *
 *   index   63        5+bits  5+bits-1       5   4   0         head: where the next get takes
 *          +----------------+-----------------+-------+         tail: where the next put goes
 *          |      lap       |    position     | marks |
 *          +----------------+-----------------+-------+
 *
 *   slot    turn, item      turn, less first_turn, which changes with the ring's lives:
 *                           2 * lap      free for the put of that lap
 *                           2 * lap + 1  holds the item of that lap
 *                           anything else: who put or got in the lap before is not through yet
 *
 * The marks stand in the words that every put and get has to change anyway. So to see them costs
 * nothing, and no put can come between the closing of a ring and its last item, nor between a getter's
 * look at an empty ring and its falling asleep:
 *
 *   tail   WANTED  getters sleep, or somebody watches for items. May be set for nobody; never clear
 *                  while somebody sleeps.
 *          CLOSED  no more puts.
 *          SEALED  no more puts here: they go to the next ring.
 *          NEAR    getters may wait near a thread: to be looked for before those that sleep. May be set for
 *                  nobody, and clear while some do, whom it costs time.
 *   head   WANTED  putters sleep; as above. NEAR likewise.
 *          ENDED   no more gets.
 *          WATCHED somebody wants to hear when the ring is emptied.
 *          BEHIND  gets take from another ring before they come to this one.
 *
 * Invariants
 *   I1  An index is changed by read-modify-writes only, and rises. So one that a compare-and-swap finds
 *       unchanged was unchanged all the time, and with it the marks.
 *   I2  Who moved an index past a position owns that slot until it stores the turn (R1, R2), and that
 *       store is its last touch of the ring: what it has to do for sleepers it prepares before.
 *   I3  head <= tail <= head + capacity, each read in the right order: see is_empty and is_full.
 */
#include <string.h>

#include "strand/strand.h"

#define THI_WANTED 1u
#define THI_CLOSED 2u
#define THI_SEALED 4u
#define THI_ENDED 2u
#define THI_WATCHED 4u
#define THI_BEHIND 8u
#define THI_NEAR 16u

#define THI_MARK_BITS 5
#define THI_ONE (UINT64_C(1) << THI_MARK_BITS)
#define THI_MARKS (THI_ONE - 1)

/* Says that it is not full, but that its last place is not free yet: look again. */
#define THI_STALLED (-1)

/* The lines of two indices, and a neighbour that the processor fetches along. */
#define THI_APART (2 * THI_CACHE_LINE)

typedef struct thi_ring {
    THRUM_ALIGNED(THI_APART) uint64_t tail;
    THRUM_ALIGNED(THI_APART) uint64_t head;
    /* Constant while the ring is in use. */
    THRUM_ALIGNED(THI_APART) unsigned char *slots;
    uint64_t positions; /* mask of the position in an index */
    uint64_t limit;     /* the position after the last, as it stands in an index */
    uint64_t skip;      /* from there to the next lap */
    unsigned bits;
    uint32_t first_turn; /* of its present life: see thi_ring_turn */
    size_t capacity;
    uint64_t before;       /* plus count(index): how many items went before, through all rings */
    struct thi_ring *next; /* set once the ring is sealed */
    size_t bytes;          /* of its slots, when they are pages of their own */
    /* In the child of a fork: the indices then. Places before them were claimed by strands of the parent. */
    uint64_t lost_puts;
    uint64_t lost_gets;
} thi_ring_t;

/* Where the item lies in its slot, and how far slots lie apart: aligned for loads and stores of whole
 * items of 4, 8 and 16 bytes. */
static inline size_t thi_slot_item(size_t item_size)
{
    return item_size <= sizeof(uint32_t) ? sizeof(uint32_t) : sizeof(uint64_t);
}

static inline size_t thi_slot_size(size_t item_size)
{
    const size_t align = thi_slot_item(item_size);
    return (align + item_size + align - 1) / align * align;
}

static inline uint64_t thi_ring_position(const thi_ring_t *ring, uint64_t index)
{
    return (index & ring->positions) >> THI_MARK_BITS;
}

static inline uint64_t thi_ring_lap(const thi_ring_t *ring, uint64_t index)
{
    return index >> (THI_MARK_BITS + ring->bits);
}

/* How many items went before the one at that index. */
static inline uint64_t thi_ring_count(const thi_ring_t *ring, uint64_t index)
{
    return thi_ring_lap(ring, index) * ring->capacity + thi_ring_position(ring, index);
}

/* The index of the next item; the marks stay. */
THI_INLINE uint64_t thi_ring_next(const thi_ring_t *ring, uint64_t index)
{
    const uint64_t next = index + THI_ONE;
    /* A capacity that is a power of two carries into the lap by itself: its limit lies outside. */
    return (next & ring->positions) == ring->limit ? next + ring->skip : next;
}

static inline uint64_t thi_ring_after(const thi_ring_t *ring, uint64_t index, size_t n)
{
    uint64_t position = thi_ring_position(ring, index) + n; /* n <= capacity */
    uint64_t lap = thi_ring_lap(ring, index);
    if (position >= ring->capacity) {
        position -= ring->capacity;
        lap++;
    }
    return (lap << ring->bits | position) << THI_MARK_BITS | (index & THI_MARKS);
}

static inline bool thi_ring_same(uint64_t a, uint64_t b)
{
    return ((a ^ b) & ~THI_MARKS) == 0;
}

/* Read by who knows the ring from an earlier life, as well; what it makes of it is void, since the
 * indices have moved. So that needs no order; nor is it a point of the simulation. */
static inline uint32_t thi_ring_first_turn(const thi_ring_t *ring)
{
    return __atomic_load_n(&ring->first_turn, __ATOMIC_RELAXED);
}

/* The turn at which the slot of that index is free for its put; one more, and it holds the item. */
static inline uint32_t thi_ring_turn(const thi_ring_t *ring, uint64_t index)
{
    return (uint32_t)(thi_ring_lap(ring, index) << 1) - thi_ring_first_turn(ring);
}

THI_INLINE uint32_t *thi_ring_slot(const thi_ring_t *ring, uint64_t index, size_t item_size)
{
    return (uint32_t *)(void *)(ring->slots +
                                thi_ring_position(ring, index) * thi_slot_size(item_size));
}

THI_INLINE void *thi_slot_data(uint32_t *slot, size_t item_size)
{
    return (unsigned char *)slot + thi_slot_item(item_size);
}

/* Whether the ring was empty at the moment of the look, given what head was before it. The tail was at
 * `head` then, and head can be no further. */
static inline bool thi_ring_is_empty(const thi_ring_t *ring, uint64_t head, uint64_t *tail)
{
    *tail = thi_load_acquire(&ring->tail);
    return thi_ring_same(*tail, head);
}

/* Whether the ring was full at the moment of the look, given what tail was before it. */
static inline bool thi_ring_is_full(const thi_ring_t *ring, uint64_t tail, uint64_t *head)
{
    *head = thi_load_acquire(&ring->head);
    return thi_ring_same(*head + (THI_ONE << ring->bits), tail);
}

/* --- putting ------------------------------------------------------------------------------------
 * claim_put: moves the tail by up to n places that are free. Returns how many, and the tail before with
 * its marks; or 0, and why: EAGAIN (full), ESHUTDOWN (closed or sealed: see the marks) or THI_STALLED.
 * The caller copies the items in, prepares wake-ups when the tail was WANTED, and publishes. */
static inline size_t thi_ring_free(const thi_ring_t *ring, uint64_t tail, size_t n,
                                   size_t item_size)
{
    size_t free = 0;
    /* A1: acquire; pairs with R2: the item that was there has been copied out. */
    while (free < n &&
           thi_load_acquire(thi_ring_slot(ring, tail, item_size)) == thi_ring_turn(ring, tail)) {
        tail = thi_ring_next(ring, tail);
        free++;
    }
    return free;
}

static inline size_t thi_ring_claim_put(thi_ring_t *ring, size_t n, size_t item_size, uint64_t *at,
                                        int *why)
{
    uint64_t tail = thi_load_relaxed(&ring->tail);
    for (;;) {
        *at = tail;
        if (THI_UNLIKELY((tail & (THI_CLOSED | THI_SEALED)) != 0)) {
            /* A3: acquire; pairs with R4 of fifo.c: who is told knows what was done before the close. */
            (void)thi_load_acquire(&ring->tail);
            *why = ESHUTDOWN;
            return 0;
        }
        const size_t free = thi_ring_free(ring, tail, n, item_size);
        if (THI_UNLIKELY(free == 0)) {
            uint64_t head = 0;
            const bool full = thi_ring_is_full(ring, tail, &head);
            const uint64_t now = thi_load_relaxed(&ring->tail);
            if (now != tail) { /* somebody was faster */
                tail = now;
                continue;
            }
            *why = full ? EAGAIN : THI_STALLED;
            return 0;
        }
        /* C1: relaxed; what has to be ordered is ordered by the turns. */
        const uint64_t after =
            free == 1 ? thi_ring_next(ring, tail) : thi_ring_after(ring, tail, free);
        if (THI_LIKELY(thi_cas_relaxed(&ring->tail, &tail, after)))
            return free;
    }
}

/* The same for one place, and when nothing stands in the way (false: claim_put knows what): its slot, and the
 * turn to publish there. */
THI_INLINE bool thi_ring_claim_one_put(thi_ring_t *ring, size_t item_size, uint64_t *at,
                                       uint32_t **slot, uint32_t *turn)
{
    uint64_t tail = thi_load_relaxed(&ring->tail);
    *slot = thi_ring_slot(ring, tail, item_size);
    *turn = thi_ring_turn(ring, tail) + 1;
    *at = tail;
    return THI_LIKELY((tail & (THI_CLOSED | THI_SEALED)) == 0 &&
                      thi_load_acquire(*slot) + 1 == *turn &&                          /* A1 */
                      thi_cas_relaxed(&ring->tail, &tail, thi_ring_next(ring, tail))); /* C1 */
}

static inline void thi_ring_publish(thi_ring_t *ring, uint64_t at, size_t item_size)
{
    /* R1: release; pairs with A2. The last touch (I2). */
    thi_store_release(thi_ring_slot(ring, at, item_size), thi_ring_turn(ring, at) + 1);
}

/* --- getting, likewise -------------------------------------------------------------------------- */
static inline size_t thi_ring_there(const thi_ring_t *ring, uint64_t head, size_t n,
                                    size_t item_size)
{
    size_t there = 0;
    /* A2: acquire; pairs with R1: the item is whole. */
    while (there < n && thi_load_acquire(thi_ring_slot(ring, head, item_size)) ==
                            thi_ring_turn(ring, head) + 1) {
        head = thi_ring_next(ring, head);
        there++;
    }
    return there;
}

/* 0, and why: EAGAIN (empty), ESHUTDOWN (empty and closed, or ended), THI_STALLED (or behind), or
 * ENODATA (empty and sealed: on to the next ring). */
static inline size_t thi_ring_claim_get(thi_ring_t *ring, size_t n, size_t item_size, uint64_t *at,
                                        int *why)
{
    uint64_t head = thi_load_relaxed(&ring->head);
    for (;;) {
        *at = head;
        if (THI_UNLIKELY((head & (THI_ENDED | THI_BEHIND)) != 0)) {
            (void)thi_load_acquire(
                &ring->head); /* A4: acquire; pairs with R5 of fifo.c, likewise */
            *why = (head & THI_ENDED) != 0 ? ESHUTDOWN : THI_STALLED;
            return 0;
        }
        const size_t there = thi_ring_there(ring, head, n, item_size);
        if (THI_UNLIKELY(there == 0)) {
            uint64_t tail = 0;
            const bool empty = thi_ring_is_empty(ring, head, &tail);
            const uint64_t now = thi_load_relaxed(&ring->head);
            if (now != head) {
                head = now;
                continue;
            }
            *why = !empty                     ? THI_STALLED
                   : (tail & THI_CLOSED) != 0 ? ESHUTDOWN
                   : (tail & THI_SEALED) != 0 ? ENODATA
                                              : EAGAIN;
            return 0;
        }
        const uint64_t after =
            there == 1 ? thi_ring_next(ring, head) : thi_ring_after(ring, head, there);
        /* C2: relaxed; as C1. */
        if (THI_LIKELY(thi_cas_relaxed(&ring->head, &head, after)))
            return there;
    }
}

/* As claim_one_put: the turn to release the slot with. */
THI_INLINE bool thi_ring_claim_one_get(thi_ring_t *ring, size_t item_size, uint64_t *at,
                                       uint32_t **slot, uint32_t *turn)
{
    uint64_t head = thi_load_relaxed(&ring->head);
    *slot = thi_ring_slot(ring, head, item_size);
    *turn = thi_ring_turn(ring, head) + 2;
    *at = head;
    return THI_LIKELY((head & (THI_ENDED | THI_BEHIND)) == 0 &&
                      thi_load_acquire(*slot) + 1 == *turn &&                          /* A2 */
                      thi_cas_relaxed(&ring->head, &head, thi_ring_next(ring, head))); /* C2 */
}

/* Whether the ring was empty, and open, when its head was `head`: as claim_get finds it. */
static inline bool thi_ring_says_empty(const thi_ring_t *ring, uint64_t head)
{
    uint64_t tail = 0;
    return (head & (THI_ENDED | THI_BEHIND)) == 0 && thi_ring_is_empty(ring, head, &tail) &&
           (tail & (THI_CLOSED | THI_SEALED)) == 0 && thi_load_relaxed(&ring->head) == head;
}

static inline void thi_ring_release(thi_ring_t *ring, uint64_t at, size_t item_size)
{
    /* R2: release; pairs with A1. The last touch (I2). */
    thi_store_release(thi_ring_slot(ring, at, item_size), thi_ring_turn(ring, at) + 2);
}

/* --- making ------------------------------------------------------------------------------------- */

/* Makes a new ring over zeroed slots. */
void thi_ring_begin(thi_ring_t *ring, unsigned char *slots, size_t capacity);

/* Whether every slot is free: nobody is in the middle of a put or get. Only of a ring that nobody
 * can enter any more. */
bool thi_ring_is_quiet(const thi_ring_t *ring, size_t item_size);

/* Begins another life of a quiet ring, whose slots are as they were or all zero again. The indices are
 * higher than any before. It is sealed and behind until its user says otherwise. */
void thi_ring_renew(thi_ring_t *ring, bool zeroed);

#endif /* THI_RING_H */
