/*
 * LIFO and PRIORITY: a mutex around a store. The count, CLOSED and the marks of sleepers stand in one
 * word, `level` (core.h), so that a sleeper's last look and its mark are one step, as with a ring.
 *
 * Invariants
 *   I1  The count and CLOSED change only under the mutex; so what is read under it holds until it is
 *       unlocked, and puts and gets are in one order.
 *   I2  Everything a put or get has to do for others it does before it unlocks: after that the queue
 *       may be gone.
 */
#include "queue/core.h"

#define PUTTERS 1u /* putters sleep */
#define GETTERS 2u /* getters sleep, or the descriptor waits */
#define CLOSED 4u
#define ONE 8u

static size_t count_of(uint64_t level)
{
    return (size_t)(level / ONE);
}

/* ------------------------------------------------------------------------------------------------
 * The two orders
 */

static void push(thrum_queue_t *q, size_t count, const void *item)
{
    if (q->compare != NULL)
        thi_heap_push(q, count, item);
    else
        memcpy(q->locked.store.entries + count * q->item_size, item, q->item_size);
}

static void pop(thrum_queue_t *q, size_t count, void *item)
{
    if (q->compare != NULL)
        thi_heap_pop(q, count, item);
    else
        memcpy(item, q->locked.store.entries + (count - 1) * q->item_size, q->item_size);
}

/* ------------------------------------------------------------------------------------------------
 * Putting and getting
 */

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Under the mutex: how many of n find room; 0, and why. */
static size_t room_for(thrum_queue_t *q, uint64_t level, size_t n, int *why)
{
    const size_t room = least(q->capacity - count_of(level), n);
    if ((level & CLOSED) != 0)
        *why = ESHUTDOWN;
    else if (room == 0)
        *why = EAGAIN;
    else if (!thi_store_reserve(&q->locked.store, count_of(level), room))
        *why = ENOMEM;
    else
        return room;
    return 0;
}

static size_t put(thrum_queue_t *q, const void *items, size_t n, int *why)
{
    thi_locked_t *l = &q->locked;
    *why = thi_mutex_acquire(&l->mutex, THRUM_FOREVER);
    if (THI_UNLIKELY(*why != 0))
        return 0;
    const size_t before = count_of(thi_load_relaxed(&l->level));
    const size_t room = room_for(q, thi_load_relaxed(&l->level), n, why);
    for (size_t i = 0; i < room; i++)
        push(q, before + i, (const unsigned char *)items + i * q->item_size);
    thi_waiter_t *sleepers = NULL;
    if (room != 0) {
        thi_store_release(&l->puts, l->puts + room);
        /* Relaxed: the mutex orders it for other puts and gets, the bucket for sleepers. */
        if (THI_UNLIKELY((thi_fetch_add_relaxed(&l->level, room * ONE) & GETTERS) != 0))
            sleepers = thi_queue_take_getters(q, (unsigned)room, THI_WANTED);
    }
    thi_mutex_release(&l->mutex);
    if (THI_PLANT("queue-locked-late-look") && thi_load_relaxed(&l->level) == 0)
        *why = 0;
    thi_wait_finish_chain(sleepers);
    return room;
}

/* Under the mutex. */
static size_t there_of(uint64_t level, size_t n, int *why)
{
    const size_t there = least(count_of(level), n);
    if (there == 0)
        *why = (level & CLOSED) != 0 ? ESHUTDOWN : EAGAIN;
    return there;
}

static size_t get(thrum_queue_t *q, void *items, size_t n, int *why)
{
    thi_locked_t *l = &q->locked;
    *why = thi_mutex_acquire(&l->mutex, THRUM_FOREVER);
    if (THI_UNLIKELY(*why != 0))
        return 0;
    const size_t before = count_of(thi_load_relaxed(&l->level));
    const size_t there = there_of(thi_load_relaxed(&l->level), n, why);
    for (size_t i = 0; i < there; i++)
        pop(q, before - i, (unsigned char *)items + i * q->item_size);
    thi_waiter_t *sleepers = NULL;
    if (there != 0) {
        if (q->capacity == SIZE_MAX) /* a bounded one keeps what it has reserved */
            thi_store_shrink(&l->store, before - there);
        const uint64_t level = thi_fetch_sub_relaxed(&l->level, there * ONE);
        if (THI_UNLIKELY((level & PUTTERS) != 0 || l->watched != 0))
            sleepers = thi_queue_take_putters(q, (unsigned)there, THI_WANTED);
    }
    thi_mutex_release(&l->mutex);
    thi_wait_finish_chain(sleepers);
    return there;
}

static int put_one(thrum_queue_t *q, const void *item)
{
    int why = 0;
    return put(q, item, 1, &why) != 0 ? 0 : why;
}

static int get_one(thrum_queue_t *q, void *item)
{
    int why = 0;
    return get(q, item, 1, &why) != 0 ? 0 : why;
}

/* ------------------------------------------------------------------------------------------------
 * Sleepers, closing. Relaxed throughout: a compare-and-swap on the word that was seen.
 */

static bool must_wait_to_put(void *arg)
{
    thrum_queue_t *q = arg;
    uint64_t level = thi_load_relaxed(&q->locked.level);
    do {
        if ((level & CLOSED) != 0 || count_of(level) < q->capacity)
            return false;
    } while (!thi_cas_relaxed(&q->locked.level, &level, level | PUTTERS));
    return true;
}

static bool must_wait_to_get(void *arg)
{
    thrum_queue_t *q = arg;
    uint64_t level = thi_load_relaxed(&q->locked.level);
    do {
        if ((level & CLOSED) != 0 || count_of(level) != 0)
            return false;
    } while (!thi_cas_relaxed(&q->locked.level, &level, level | GETTERS));
    return true;
}

static void no_putters(thrum_queue_t *q)
{
    thi_fetch_and_relaxed(&q->locked.level, ~(uint64_t)PUTTERS);
}

static void no_getters(thrum_queue_t *q)
{
    thi_fetch_and_relaxed(&q->locked.level, ~(uint64_t)GETTERS);
}

static int close_locked(thrum_queue_t *q, bool end, uint64_t *dropped)
{
    thi_locked_t *l = &q->locked;
    const int err = thi_mutex_acquire(&l->mutex, THRUM_FOREVER);
    if (err != 0)
        return err;
    const uint64_t level = thi_fetch_or_relaxed(&l->level, (uint64_t)CLOSED);
    *dropped = end ? count_of(level) : 0;
    thi_fetch_sub_relaxed(&l->level, *dropped * ONE);
    thi_mutex_release(&l->mutex);
    return 0;
}

static uint64_t puts_of(const thrum_queue_t *q)
{
    return thi_load_acquire(&q->locked.puts);
}

static size_t size(const thrum_queue_t *q)
{
    return count_of(thi_load_acquire(&q->locked.level));
}

static bool closed(const thrum_queue_t *q)
{
    return (thi_load_acquire(&q->locked.level) & CLOSED) != 0;
}

static int watch(thrum_queue_t *q)
{
    const int err = thi_mutex_acquire(&q->locked.mutex, THRUM_FOREVER);
    if (err != 0)
        return err;
    q->locked.watched = 1;
    thi_mutex_release(&q->locked.mutex);
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * Beginning and end
 */

int thi_locked_begin(thrum_queue_t *q)
{
    thi_store_t *store = &q->locked.store;
    q->put_one = put_one;
    q->get_one = get_one;
    store->entry_size = q->compare != NULL ? thi_heap_entry_size(q->item_size) : q->item_size;
    return q->capacity == SIZE_MAX || thi_store_reserve(store, 0, q->capacity) ? 0 : ENOMEM;
}

static void end(thrum_queue_t *q)
{
    thi_store_end(&q->locked.store);
}

const thi_order_t thi_locked_order = {
    .put = put,
    .get = get,
    .must_wait_to_put = must_wait_to_put,
    .must_wait_to_get = must_wait_to_get,
    .no_putters = no_putters,
    .no_getters = no_getters,
    .close = close_locked,
    .puts = puts_of,
    .size = size,
    .closed = closed,
    .watch = watch,
    .end = end,
};
