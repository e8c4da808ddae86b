/*
 * FIFO: a bounded queue is one ring. An unbounded one is a chain of rings (chain.c): puts go to the last, gets
 * take from the first. The labels of what first and last are read and written by stand there.
 */
#include "queue/core.h"

#ifdef THRUM_SIM
#define FIRST_SLOTS 2u
#else
#define FIRST_SLOTS 256u /* of an unbounded queue: no more than that, and nothing is allocated */
#endif

/* ------------------------------------------------------------------------------------------------
 * Putting and getting. Inlined once for each size of item that has a fast path.
 */

static inline void copy_item(void *to, const void *from, size_t item_size)
{
    memcpy(to, from, item_size);
}

/* What a put could not do at once. 0: try again. */
THI_COLD static int put_again(thrum_queue_t *q, thi_ring_t *ring, uint64_t tail, int why,
                              unsigned *turns)
{
    if (why == THI_STALLED)
        return thi_fifo_let_get(q, ring, tail, turns);
    if (why == EAGAIN && !thi_fifo_is_bounded(q))
        return thi_chain_grow(q, ring);
    if (why == ESHUTDOWN && (tail & THI_CLOSED) == 0) /* sealed: last moves on */
        return thi_fifo_let_change(q, turns);
    return why;
}

static inline size_t put_items(thrum_queue_t *q, const void *items, size_t n, size_t item_size,
                               int *why)
{
    unsigned turns = 0;
    uint64_t tail = 0;
    thi_ring_t *ring = NULL;
    size_t count = 0;
    for (;;) {
        ring = thi_load_acquire(&q->fifo.last); /* A1: acquire; pairs with R1 of chain.c */
        count = thi_ring_claim_put(ring, n < ring->capacity ? n : ring->capacity, item_size, &tail,
                                   why);
        if (THI_LIKELY(count != 0))
            break;
        *why = put_again(q, ring, tail, *why, &turns);
        if (*why != 0)
            return 0;
    }
    thi_waiter_t *sleepers = NULL;
    if (THI_UNLIKELY((tail & (THI_WANTED | THI_NEAR)) != 0) && !THI_PLANT("queue-late-look"))
        sleepers = thi_queue_take_getters(q, (unsigned)count, tail);
    uint64_t at = tail;
    const unsigned char *item = items;
    for (size_t i = 0; i < count; i++, item += item_size) {
        const uint64_t next = thi_ring_next(ring, at);
        copy_item(thi_slot_data(thi_ring_slot(ring, at, item_size), item_size), item, item_size);
        thi_ring_publish(ring, at, item_size);
        at = next;
    }
    if (THI_PLANT("queue-late-look") && (thi_load_relaxed(&ring->tail) & THI_WANTED) != 0)
        sleepers = thi_queue_take_getters(q, (unsigned)count, THI_WANTED);
    if (THI_UNLIKELY(sleepers != NULL))
        thi_wait_finish_chain(sleepers);
    return count;
}

THI_COLD static int get_again(thrum_queue_t *q, thi_ring_t *ring, uint64_t head, int why,
                              unsigned *turns)
{
    if (why == THI_STALLED && (head & THI_BEHIND) != 0)
        return thi_fifo_let_change(q, turns);
    if (why == THI_STALLED)
        return thi_fifo_let_put(q, ring, head, turns);
    return why == ENODATA ? thi_chain_move_on(q, ring) : why;
}

static inline size_t get_items(thrum_queue_t *q, void *items, size_t n, size_t item_size, int *why)
{
    unsigned turns = 0;
    uint64_t head = 0;
    thi_ring_t *ring = NULL;
    size_t count = 0;
    for (;;) {
        ring = thi_load_acquire(&q->fifo.first); /* A2: acquire; pairs with R2 of chain.c */
        count = thi_ring_claim_get(ring, n < ring->capacity ? n : ring->capacity, item_size, &head,
                                   why);
        if (THI_LIKELY(count != 0))
            break;
        *why = get_again(q, ring, head, *why, &turns);
        if (*why != 0)
            return 0;
    }
    thi_waiter_t *sleepers = NULL;
    if (THI_UNLIKELY((head & (THI_WANTED | THI_WATCHED | THI_NEAR)) != 0))
        sleepers = thi_queue_take_putters(q, (unsigned)count, head);
    uint64_t at = head;
    unsigned char *item = items;
    for (size_t i = 0; i < count; i++, item += item_size) {
        const uint64_t next = thi_ring_next(ring, at);
        copy_item(item, thi_slot_data(thi_ring_slot(ring, at, item_size), item_size), item_size);
        thi_ring_release(ring, at, item_size);
        at = next;
    }
    if (THI_UNLIKELY(sleepers != NULL))
        thi_wait_finish_chain(sleepers);
    return count;
}

static size_t put_many(thrum_queue_t *q, const void *items, size_t n, int *why)
{
    switch (q->item_size) {
    case 4:
        return put_items(q, items, n, 4, why);
    case 8:
        return put_items(q, items, n, 8, why);
    case 16:
        return put_items(q, items, n, 16, why);
    case 32:
        return put_items(q, items, n, 32, why);
    default:
        return put_items(q, items, n, q->item_size, why);
    }
}

static size_t get_many(thrum_queue_t *q, void *items, size_t n, int *why)
{
    switch (q->item_size) {
    case 4:
        return get_items(q, items, n, 4, why);
    case 8:
        return get_items(q, items, n, 8, why);
    case 16:
        return get_items(q, items, n, 16, why);
    case 32:
        return get_items(q, items, n, 32, why);
    default:
        return get_items(q, items, n, q->item_size, why);
    }
}

THI_NOINLINE static int put_one_again(thrum_queue_t *q, const void *item)
{
    int why = 0;
    return put_many(q, item, 1, &why) != 0 ? 0 : why;
}

THI_NOINLINE static int get_one_again(thrum_queue_t *q, void *item)
{
    int why = 0;
    return get_many(q, item, 1, &why) != 0 ? 0 : why;
}

/* One item, where nothing stands in the way; else as many. */
THI_INLINE int put_item(thrum_queue_t *q, const void *item, size_t item_size)
{
    uint64_t tail = 0;
    uint32_t *slot = NULL;
    uint32_t turn = 0;
    thi_ring_t *ring = thi_load_acquire(&q->fifo.last); /* A1 */
    if (THI_UNLIKELY(!thi_ring_claim_one_put(ring, item_size, &tail, &slot, &turn)))
        return put_one_again(q, item);
    thi_waiter_t *sleepers = NULL;
    if (THI_UNLIKELY((tail & (THI_WANTED | THI_NEAR)) != 0) && !THI_PLANT("queue-late-look"))
        sleepers = thi_queue_take_getters(q, 1, tail);
    copy_item(thi_slot_data(slot, item_size), item, item_size);
    thi_store_release(slot, turn); /* R1 of ring.h */
    if (THI_PLANT("queue-late-look") && (thi_load_relaxed(&ring->tail) & THI_WANTED) != 0)
        sleepers = thi_queue_take_getters(q, 1, THI_WANTED);
    if (THI_UNLIKELY(sleepers != NULL))
        thi_wait_finish_chain(sleepers);
    return 0;
}

THI_INLINE int get_item(thrum_queue_t *q, void *item, size_t item_size)
{
    uint64_t head = 0;
    uint32_t *slot = NULL;
    uint32_t turn = 0;
    thi_ring_t *ring = thi_load_acquire(&q->fifo.first); /* A2 */
    if (THI_UNLIKELY(!thi_ring_claim_one_get(ring, item_size, &head, &slot, &turn)))
        return thi_ring_says_empty(ring, head) ? EAGAIN : get_one_again(q, item);
    thi_waiter_t *sleepers = NULL;
    if (THI_UNLIKELY((head & (THI_WANTED | THI_WATCHED | THI_NEAR)) != 0))
        sleepers = thi_queue_take_putters(q, 1, head);
    copy_item(item, thi_slot_data(slot, item_size), item_size);
    thi_store_release(slot, turn); /* R2 of ring.h */
    if (THI_UNLIKELY(sleepers != NULL))
        thi_wait_finish_chain(sleepers);
    return 0;
}

#define FAST_PATHS(name, item_size)                                                                \
    static int put_##name(thrum_queue_t *q, const void *item)                                      \
    {                                                                                              \
        return put_item(q, item, (item_size));                                                     \
    }                                                                                              \
    static int get_##name(thrum_queue_t *q, void *item)                                            \
    {                                                                                              \
        return get_item(q, item, (item_size));                                                     \
    }

FAST_PATHS(4, 4)
FAST_PATHS(8, 8)
FAST_PATHS(16, 16)
FAST_PATHS(32, 32) /* the tasks of a thread pool */
FAST_PATHS(any, q->item_size)

/* ------------------------------------------------------------------------------------------------
 * Sleepers, closing
 */

static bool must_wait_to_put(void *arg)
{
    thrum_queue_t *q = arg;
    if (!thi_fifo_is_bounded(q))
        return false;
    thi_ring_t *ring = &q->fifo.only;
    const uint64_t tail = thi_load_relaxed(&ring->tail);
    uint64_t head = 0;
    do {
        if ((tail & THI_CLOSED) != 0 || !thi_ring_is_full(ring, tail, &head))
            return false;
        /* W1: relaxed; a get that the look missed makes this fail, a later one sees the mark. */
    } while (!thi_cas_relaxed(&ring->head, &head, head | THI_WANTED));
    return true;
}

static bool must_wait_to_get(void *arg)
{
    thrum_queue_t *q = arg;
    thi_ring_t *ring = thi_load_acquire(&q->fifo.first); /* A2 */
    const uint64_t head = thi_load_relaxed(&ring->head);
    uint64_t tail = 0;
    if ((head & (THI_ENDED | THI_BEHIND)) != 0)
        return false;
    if (THI_PLANT("queue-no-recheck"))
        return thi_fetch_or_relaxed(&ring->tail, (uint64_t)THI_WANTED), true;
    do {
        if (!thi_ring_is_empty(ring, head, &tail) || (tail & (THI_CLOSED | THI_SEALED)) != 0)
            return false;
        /* W2: relaxed; as W1. */
    } while (!thi_cas_relaxed(&ring->tail, &tail, tail | THI_WANTED));
    /* The ring can have been retired and come back as another than the first since it was looked up. */
    return thi_load_acquire(&q->fifo.first) == ring &&
           (thi_load_relaxed(&ring->head) & (THI_ENDED | THI_BEHIND)) == 0;
}

/* Relaxed: what it finds out is found out again before anybody sleeps. */
static bool near_to_put(void *arg)
{
    thrum_queue_t *q = arg;
    thi_ring_t *ring = &q->fifo.only;
    const uint64_t tail = thi_load_relaxed(&ring->tail);
    uint64_t head = 0;
    do {
        if (!thi_fifo_is_bounded(q) || (tail & THI_CLOSED) != 0 ||
            !thi_ring_is_full(ring, tail, &head) || (head & THI_WANTED) != 0)
            return false;
    } while ((head & THI_NEAR) == 0 && !thi_cas_relaxed(&ring->head, &head, head | THI_NEAR));
    return true;
}

static bool near_to_get(void *arg)
{
    const thrum_queue_t *q = arg;
    thi_ring_t *ring = thi_load_acquire(&q->fifo.first); /* A2 */
    const uint64_t head = thi_load_relaxed(&ring->head);
    uint64_t tail = 0;
    do {
        if ((head & (THI_ENDED | THI_BEHIND)) != 0 || !thi_ring_is_empty(ring, head, &tail) ||
            (tail & (THI_CLOSED | THI_SEALED | THI_WANTED)) != 0)
            return false;
    } while ((tail & THI_NEAR) == 0 && !thi_cas_relaxed(&ring->tail, &tail, tail | THI_NEAR));
    return true;
}

static void none_near(thrum_queue_t *q, bool getters)
{
    thi_ring_t *ring = thi_load_acquire(&q->fifo.last); /* A1; of a bounded queue the only one */
    thi_fetch_and_relaxed(getters ? &ring->tail : &ring->head, ~(uint64_t)THI_NEAR);
}

static void no_putters(thrum_queue_t *q)
{
    thi_fetch_and_relaxed(&q->fifo.only.head, ~(uint64_t)THI_WANTED);
}

/* The mark of a watched queue is the descriptor's, which sets it again when it needs it. */
static void no_getters(thrum_queue_t *q)
{
    thi_ring_t *ring = thi_load_acquire(&q->fifo.last); /* A1 */
    thi_fetch_and_relaxed(&ring->tail, ~(uint64_t)THI_WANTED);
}

/* The items before an index of the ring that `chain` points to. The ring can be retired and begin
 * another life meanwhile: then the number that it starts from has changed. */
static uint64_t count_before(thi_ring_t *const *chain, size_t index)
{
    for (;;) {
        const thi_ring_t *ring = thi_load_acquire(chain); /* A1, A2 */
        const uint64_t before = thi_load_acquire(&ring->before);
        const uint64_t *word = (const uint64_t *)(const void *)((const char *)ring + index);
        const uint64_t count = before + thi_ring_count(ring, thi_load_acquire(word)); /* A3 */
        if (thi_load_acquire(&ring->before) == before && thi_load_relaxed(chain) == ring)
            return count;
    }
}

static uint64_t puts_of(const thrum_queue_t *q)
{
    return count_before(&q->fifo.last, offsetof(thi_ring_t, tail));
}

/* What was got is counted first: it cannot be more than what was put later. */
static size_t size(const thrum_queue_t *q)
{
    const uint64_t gets = count_before(&q->fifo.first, offsetof(thi_ring_t, head));
    const uint64_t there = puts_of(q) - gets;
    return there < q->capacity ? (size_t)there : q->capacity;
}

static bool closed(const thrum_queue_t *q)
{
    const thi_ring_t *ring = thi_load_acquire(&q->fifo.last); /* A1 */
    return (thi_load_acquire(&ring->tail) & THI_CLOSED) != 0;
}

/* Under growth: no get comes after the mark, so what lay between head and tail was dropped. */
static uint64_t end_ring(thi_ring_t *ring)
{
    uint64_t head = thi_load_relaxed(&ring->head);
    uint64_t tail = 0;
    do {
        tail = thi_load_relaxed(&ring->tail);
        /* R5: release; pairs with A4 of ring.h: a get that is told ESHUTDOWN comes after the abort. */
    } while (
        !thi_cas_release(&ring->head, &head, (tail & ~THI_MARKS) | (head & THI_MARKS) | THI_ENDED));
    return thi_ring_count(ring, tail) - thi_ring_count(ring, head);
}

static uint64_t end_gets(thi_fifo_t *fifo)
{
    uint64_t dropped = 0;
    for (thi_ring_t *ring = fifo->first; ring != NULL; ring = ring->next)
        dropped += end_ring(ring);
    while (fifo->first != fifo->last)
        thi_chain_drop_first(fifo);
    return dropped;
}

static int close_fifo(thrum_queue_t *q, bool end, uint64_t *dropped)
{
    const int err = thi_mutex_acquire(&q->fifo.growth, THRUM_FOREVER);
    if (err != 0)
        return err;
    /* R4: release; pairs with A3 of ring.h, and with the acquire of is_empty: who is told ESHUTDOWN knows what
     * was done before the close. (Acquire as well: who drops the items comes after their puts.) */
    thi_fetch_or_acq_rel(&q->fifo.last->tail, (uint64_t)THI_CLOSED);
    *dropped = end ? end_gets(&q->fifo) : 0;
    thi_mutex_release(&q->fifo.growth);
    return 0;
}

static int watch(thrum_queue_t *q)
{
    const int err = thi_mutex_acquire(&q->fifo.growth, THRUM_FOREVER);
    if (err != 0)
        return err;
    q->fifo.watched = 1;
    for (thi_ring_t *ring = q->fifo.first; ring != NULL; ring = ring->next)
        thi_fetch_or_relaxed(&ring->head, (uint64_t)THI_WATCHED);
    thi_mutex_release(&q->fifo.growth);
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * Beginning and end
 */

size_t thi_fifo_first_slots(const thrum_queue_t *q)
{
    return thi_fifo_is_bounded(q) ? q->capacity : FIRST_SLOTS;
}

void thi_fifo_begin(thrum_queue_t *q, unsigned char *slots, size_t slots_count)
{
    thi_fifo_t *fifo = &q->fifo;
    thi_ring_begin(&fifo->only, slots, slots_count);
    fifo->first = &fifo->only;
    fifo->last = &fifo->only;
    switch (q->item_size) {
    case 4:
        q->put_one = put_4;
        q->get_one = get_4;
        break;
    case 8:
        q->put_one = put_8;
        q->get_one = get_8;
        break;
    case 16:
        q->put_one = put_16;
        q->get_one = get_16;
        break;
    case 32:
        q->put_one = put_32;
        q->get_one = get_32;
        break;
    default:
        q->put_one = put_any;
        q->get_one = get_any;
        break;
    }
}

static void end(thrum_queue_t *q)
{
    thi_fifo_delist(q);
    thi_chain_end(&q->fifo);
}

const thi_order_t thi_fifo_order = {
    .put = put_many,
    .get = get_many,
    .must_wait_to_put = must_wait_to_put,
    .must_wait_to_get = must_wait_to_get,
    .near_to_put = near_to_put,
    .near_to_get = near_to_get,
    .none_near = none_near,
    .no_putters = no_putters,
    .no_getters = no_getters,
    .close = close_fifo,
    .puts = puts_of,
    .size = size,
    .closed = closed,
    .watch = watch,
    .end = end,
};
