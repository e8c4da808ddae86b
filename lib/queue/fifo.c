/*
 * FIFO: a bounded queue is one ring. An unbounded one is a chain of rings: puts go to the last; when
 * that is full it is sealed and a new one appended. Gets take from the first, until it is sealed and
 * drained. As long as the items fit into one ring, the chain is one ring and nothing is allocated.
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

#define FIRST_SLOTS 256u /* of an unbounded queue: no more than that, and nothing is allocated */
#define SEGMENT_MIN_SLOTS 512u /* the second ring */
#define SEGMENT_BYTES (512u * 1024u)
#ifdef THRUM_SIM
#undef FIRST_SLOTS
#undef SEGMENT_MIN_SLOTS
#undef SEGMENT_BYTES
#define FIRST_SLOTS 2u
#define SEGMENT_MIN_SLOTS 2u
#define SEGMENT_BYTES 64u
#endif

static bool is_bounded(const thrum_queue_t *q)
{
    return q->capacity != SIZE_MAX;
}

/* ------------------------------------------------------------------------------------------------
 * The chain
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
    thi_store_release(&fifo->last, ring); /* R1: release; pairs with A1 */
    thi_fetch_and_release(&ring->tail, ~(uint64_t)THI_SEALED);
    return 0;
}

THI_COLD static int grow(thrum_queue_t *q, thi_ring_t *full)
{
    int err = thi_mutex_acquire(&q->fifo.growth, THRUM_FOREVER);
    if (err != 0)
        return err;
    if (is_last_and_full(q, full))
        err = append(q, full);
    thi_mutex_release(&q->fifo.growth);
    return err;
}

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
static void drop_first(thi_fifo_t *fifo)
{
    thi_ring_t *drained = fifo->first;
    thi_ring_t *next = drained != NULL ? drained->next : NULL;
    if (next == NULL) /* never, in a chain that is whole (I2) */
        return;
    thi_store_release(&fifo->first, next); /* R2: release; pairs with A2 */
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

THI_COLD static int move_on(thrum_queue_t *q, const thi_ring_t *drained)
{
    const int err = thi_mutex_acquire(&q->fifo.growth, THRUM_FOREVER);
    if (err != 0)
        return err;
    if (q->fifo.first == drained && (is_drained(drained) || THI_PLANT("queue-old-ring"))) {
        drop_first(&q->fifo);
        tidy(q);
    }
    thi_mutex_release(&q->fifo.growth);
    return 0;
}

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
    if (why == EAGAIN && !is_bounded(q))
        return grow(q, ring);
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
        ring = thi_load_acquire(&q->fifo.last); /* A1: acquire; pairs with R1 */
        count = thi_ring_claim_put(ring, n < ring->capacity ? n : ring->capacity, item_size, &tail,
                                   why);
        if (THI_LIKELY(count != 0))
            break;
        *why = put_again(q, ring, tail, *why, &turns);
        if (*why != 0)
            return 0;
    }
    thi_waiter_t *sleepers = NULL;
    if (THI_UNLIKELY((tail & THI_WANTED) != 0) && !THI_PLANT("queue-late-look"))
        sleepers = thi_queue_take_getters(q, (unsigned)count);
    uint64_t at = tail;
    const unsigned char *item = items;
    for (size_t i = 0; i < count; i++, item += item_size) {
        const uint64_t next = thi_ring_next(ring, at);
        copy_item(thi_slot_data(thi_ring_slot(ring, at, item_size), item_size), item, item_size);
        thi_ring_publish(ring, at, item_size);
        at = next;
    }
    if (THI_PLANT("queue-late-look") && (thi_load_relaxed(&ring->tail) & THI_WANTED) != 0)
        sleepers = thi_queue_take_getters(q, (unsigned)count);
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
    return why == ENODATA ? move_on(q, ring) : why;
}

static inline size_t get_items(thrum_queue_t *q, void *items, size_t n, size_t item_size, int *why)
{
    unsigned turns = 0;
    uint64_t head = 0;
    thi_ring_t *ring = NULL;
    size_t count = 0;
    for (;;) {
        ring = thi_load_acquire(&q->fifo.first); /* A2: acquire; pairs with R2 */
        count = thi_ring_claim_get(ring, n < ring->capacity ? n : ring->capacity, item_size, &head,
                                   why);
        if (THI_LIKELY(count != 0))
            break;
        *why = get_again(q, ring, head, *why, &turns);
        if (*why != 0)
            return 0;
    }
    thi_waiter_t *sleepers = NULL;
    if (THI_UNLIKELY((head & (THI_WANTED | THI_WATCHED)) != 0))
        sleepers = thi_queue_take_putters(q, (unsigned)count);
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

#define FAST_PATHS(name, item_size)                                                                \
    static int put_##name(thrum_queue_t *q, const void *item)                                      \
    {                                                                                              \
        int why = 0;                                                                               \
        return THI_LIKELY(put_items(q, item, 1, (item_size), &why) != 0) ? 0 : why;                \
    }                                                                                              \
    static int get_##name(thrum_queue_t *q, void *item)                                            \
    {                                                                                              \
        int why = 0;                                                                               \
        return THI_LIKELY(get_items(q, item, 1, (item_size), &why) != 0) ? 0 : why;                \
    }

FAST_PATHS(4, 4)
FAST_PATHS(8, 8)
FAST_PATHS(16, 16)
FAST_PATHS(32, 32) /* the tasks of a thread pool */
FAST_PATHS(any, q->item_size)

static size_t put_many(thrum_queue_t *q, const void *items, size_t n, int *why)
{
    switch (q->item_size) {
    case 4:
        return put_items(q, items, n, 4, why);
    case 8:
        return put_items(q, items, n, 8, why);
    case 16:
        return put_items(q, items, n, 16, why);
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
    default:
        return get_items(q, items, n, q->item_size, why);
    }
}

/* ------------------------------------------------------------------------------------------------
 * Sleepers, closing
 */

static bool must_wait_to_put(void *arg)
{
    thrum_queue_t *q = arg;
    if (!is_bounded(q))
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
        drop_first(fifo);
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
    return is_bounded(q) ? q->capacity : FIRST_SLOTS;
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

static void unmap_all(const thi_fifo_t *fifo, thi_ring_t *ring)
{
    for (thi_ring_t *next = NULL; ring != NULL; ring = next) {
        next = ring->next;
        if (ring != &fifo->only)
            thi_pages_unmap(ring, THI_PAGE + ring->bytes);
    }
}

static void end(thrum_queue_t *q)
{
    thi_fifo_delist(q);
    unmap_all(&q->fifo, q->fifo.first);
    unmap_all(&q->fifo, q->fifo.retired);
    unmap_all(&q->fifo, q->fifo.spare);
    unmap_all(&q->fifo, q->fifo.empty);
}

const thi_order_t thi_fifo_order = {
    .put = put_many,
    .get = get_many,
    .must_wait_to_put = must_wait_to_put,
    .must_wait_to_get = must_wait_to_get,
    .no_putters = no_putters,
    .no_getters = no_getters,
    .close = close_fifo,
    .puts = puts_of,
    .size = size,
    .closed = closed,
    .watch = watch,
    .end = end,
};
