/*
 * Put and get: one try under the lock, and the three forms around it.
 */
#include "process/shared_queue.h"

/* How long a try waits for others' copies: a running process is through by then, on a busy machine as well. */
#define GRACE THRUM_MS(100)

/* A deadline for the door only: of who does not wait. */
#define NO_WAIT INT64_MIN

static const thi_site_t door_site = {"shared queue", NULL};
static const thi_site_t put_site = {"shared queue put", NULL};
static const thi_site_t get_site = {"shared queue get", NULL};

/* ------------------------------------------------------------------------------------------------
 * The door
 */

/* The holder of the guard was killed, somewhere: finds out where, and takes back or completes what it did. May
 * be killed itself, and done again. */
THI_COLD static void repair(thrum_shared_queue_t *q, thi_guard_t *guard)
{
    thi_queue_memory_t *m = q->memory;
    if (guard == q->put_guard && m->putting.block != 0) {
        if (thi_word_count(thi_load_relaxed(&m->tail)) > m->putting.position)
            m->putting.block = 0; /* the queue's by now */
        else
            thi_shared_free_from(q->arena, &m->putting.block, 0);
    }
    thi_death_point("shared queue: repair 1");
    if (guard == q->get_guard && m->getting.block != 0) {
        if (thi_word_count(thi_load_relaxed(&m->head)) > m->getting.position)
            thi_shared_free_from(q->arena, &m->getting.block, 0);
        else
            m->getting.block = 0; /* the queue's still */
    }
    thi_death_point("shared queue: repair 2");
    thi_order_repair(q);
    thi_guard_mend(guard);
}

THI_COLD static int lock_contended(thi_guard_t *guard, thrum_time_t deadline)
{
    if (deadline != THRUM_FOREVER) {
        const thrum_time_t grace = thrum_after(GRACE);
        deadline = deadline == NO_WAIT || deadline < grace - GRACE ? grace : deadline;
    }
    return thi_shared_lock(guard, deadline, &door_site);
}

static int lock(thrum_shared_queue_t *q, thi_guard_t *guard, thrum_time_t deadline)
{
    int err = thi_guard_trylock(guard);
    /* EDEADLK: another coroutine of this thread has it. */
    if (THI_UNLIKELY(err == EBUSY || err == EDEADLK))
        err = lock_contended(guard, deadline);
    if (THI_LIKELY(err == 0))
        return 0;
    if (err != EOWNERDEAD)
        return err;
    repair(q, guard);
    return 0;
}

static bool closing_is_left(const thrum_shared_queue_t *q)
{
    const uint32_t closing = thi_load_relaxed(&q->memory->closing);
    return THI_UNLIKELY(closing != 0) && (closing & THI_CLOSING_DONE) == 0;
}

int thi_queue_enter_both(thrum_shared_queue_t *q, thrum_time_t deadline)
{
    int err = lock(q, q->get_guard, deadline);
    if (err == 0 && q->put_guard != q->get_guard) {
        err = lock(q, q->put_guard, deadline);
        if (err != 0)
            (void)thi_guard_unlock(q->get_guard);
    }
    if (err == 0 && closing_is_left(q))
        thi_queue_finish_closing(q);
    return err;
}

void thi_queue_leave_both(thrum_shared_queue_t *q)
{
    if (q->put_guard != q->get_guard)
        (void)thi_guard_unlock(q->put_guard);
    (void)thi_guard_unlock(q->get_guard);
}

/* Takes a guard of a queue that nobody is in the middle of closing. */
static int enter(thrum_shared_queue_t *q, thi_guard_t *guard, thrum_time_t deadline)
{
    for (;;) {
        int err = lock(q, guard, deadline);
        if (err != 0)
            return err;
        if (THI_LIKELY(!closing_is_left(q)))
            return 0;
        (void)thi_guard_unlock(guard);
        err = thi_queue_enter_both(q, deadline);
        if (err != 0)
            return err;
        thi_queue_leave_both(q);
    }
}

/* ------------------------------------------------------------------------------------------------
 * Put
 */

struct item {
    const void *data;
    size_t size;
    int64_t rank;
};

/* Under the guard: what tail's count is, if there is room. */
static int room(thrum_shared_queue_t *q, uint64_t *tail)
{
    thi_queue_memory_t *m = q->memory;
    if (THI_UNLIKELY(thi_load_relaxed(&m->closing) != 0))
        return ESHUTDOWN;
    *tail = thi_word_count(thi_load_relaxed(&m->tail));
    /* A1: acquire; pairs with R1 of a get (shared_word.c): who emptied the slot is done with it. */
    if (q->order != THRUM_FIFO || *tail - m->heads_seen >= q->capacity)
        m->heads_seen = thi_word_count(thi_load_acquire(&m->head));
    return *tail - m->heads_seen < q->capacity ? 0 : EAGAIN;
}

/* The item's bytes go to a block of their own, which is `putting`'s. */
THI_COLD static int fill_block(thrum_shared_queue_t *q, uint64_t tail, const struct item *item)
{
    thi_passing_t *putting = &q->memory->putting;
    thi_store_release(&putting->position, tail);
    const int err = thi_shared_alloc_into(q->arena, item->size, &putting->block);
    if (err == 0) {
        thi_death_point("shared queue: fill block 1");
        memcpy(thi_shared_at(q->arena->heap, putting->block), item->data, item->size);
    }
    return err;
}

static int put_inside(thrum_shared_queue_t *q, const struct item *item)
{
    thi_queue_memory_t *m = q->memory;
    const bool large = item->size > q->item_size;
    uint64_t tail = 0;
    int err = room(q, &tail);
    if (THI_LIKELY(err == 0) && THI_UNLIKELY(large))
        err = fill_block(q, tail, item);
    if (err != 0)
        return err;
    const uint64_t head = m->heads_seen;
    thi_shared_slot_t *slot = thi_order_slot_to_put(q, head, tail, item->rank);
    thi_death_point("shared queue: put inside 1");
    slot->size = large ? item->size | THI_IN_BLOCK : item->size;
    if (THI_UNLIKELY(large))
        memcpy(slot->bytes, &m->putting.block, sizeof m->putting.block);
    else if (THI_LIKELY(item->size != 0))
        memcpy(slot->bytes, item->data, item->size);
    thi_death_point("shared queue: put inside 2");
    thi_word_add(&m->tail, THI_COUNT);
    thi_death_point("shared queue: put inside 3");
    if (THI_UNLIKELY(large))
        thi_store_release(&m->putting.block, UINT64_C(0));
    thi_death_point("shared queue: put inside 4");
    thi_order_put(q, head, tail);
    return 0;
}

static int try_put(thrum_shared_queue_t *q, const struct item *item, thrum_time_t deadline)
{
    int err = enter(q, q->put_guard, deadline);
    if (THI_UNLIKELY(err != 0))
        return err;
    thi_death_point("shared queue: try put 1");
    err = put_inside(q, item);
    thi_death_point("shared queue: try put 2");
    (void)thi_guard_unlock(q->put_guard);
    thi_death_point("shared queue: try put 3");
    return err;
}

static int wait_for_room(thrum_shared_queue_t *q, thrum_time_t deadline)
{
    thi_queue_memory_t *m = q->memory;
    const uint64_t head = thi_load_acquire(&m->head);
    const uint64_t tail = thi_load_acquire(&m->tail);
    if ((head & THI_CLOSED) != 0 ||
        thi_word_count(tail) - thi_word_count(head) < (uint64_t)q->capacity)
        return 0;
    return thi_word_sleep(&m->head, head, &put_site, deadline);
}

static int put_until(thrum_shared_queue_t *q, const struct item *item, thrum_time_t deadline)
{
    if (THI_UNLIKELY(q == NULL || (item->data == NULL && item->size != 0) ||
                     item->size >= THI_IN_BLOCK))
        return EINVAL;
    int err = try_put(q, item, deadline);
    while (THI_UNLIKELY(err == EAGAIN)) {
        if (deadline == NO_WAIT)
            break;
        const int waited = wait_for_room(q, deadline);
        err = try_put(q, item, deadline);
        if (err == EAGAIN && waited != 0)
            err = waited;
    }
    return THI_UNLIKELY(err == ETIMEDOUT) && deadline == NO_WAIT ? EAGAIN : err;
}

/* The same; a deadline before the beginning of time is only a deadline. */
static thrum_time_t a_deadline(thrum_time_t deadline)
{
    return deadline < 0 ? 0 : deadline;
}

int thrum_shared_queue_put(thrum_shared_queue_t *q, const void *data, size_t size)
{
    return put_until(q, &(struct item){data, size, 0}, THRUM_FOREVER);
}

int thrum_shared_queue_tryput(thrum_shared_queue_t *q, const void *data, size_t size)
{
    return put_until(q, &(struct item){data, size, 0}, NO_WAIT);
}

int thrum_shared_queue_put_until(thrum_shared_queue_t *q, const void *data, size_t size,
                                 thrum_time_t deadline)
{
    return put_until(q, &(struct item){data, size, 0}, a_deadline(deadline));
}

static int put_ranked(thrum_shared_queue_t *q, const struct item *item, thrum_time_t deadline)
{
    return q != NULL && q->order != THRUM_PRIORITY ? ENOTSUP : put_until(q, item, deadline);
}

int thrum_shared_queue_put_ranked(thrum_shared_queue_t *q, const void *data, size_t size,
                                  int64_t rank)
{
    return put_ranked(q, &(struct item){data, size, rank}, THRUM_FOREVER);
}

int thrum_shared_queue_tryput_ranked(thrum_shared_queue_t *q, const void *data, size_t size,
                                     int64_t rank)
{
    return put_ranked(q, &(struct item){data, size, rank}, NO_WAIT);
}

int thrum_shared_queue_put_ranked_until(thrum_shared_queue_t *q, const void *data, size_t size,
                                        int64_t rank, thrum_time_t deadline)
{
    return put_ranked(q, &(struct item){data, size, rank}, a_deadline(deadline));
}

/* ------------------------------------------------------------------------------------------------
 * Get
 */

struct place {
    void *buf;
    size_t capacity;
    size_t *size;
};

/* Under the guard: which item is next, if there is one. */
static int next(thrum_shared_queue_t *q, uint64_t *head, uint64_t *tail)
{
    thi_queue_memory_t *m = q->memory;
    const uint32_t closing = thi_load_relaxed(&m->closing);
    if (THI_UNLIKELY((closing & THI_ABORTING) != 0))
        return ESHUTDOWN;
    *head = thi_word_count(thi_load_relaxed(&m->head));
    /* A2: acquire; pairs with R1 of a put (shared_word.c). */
    if (q->order != THRUM_FIFO || *head == m->tails_seen)
        m->tails_seen = thi_word_count(thi_load_acquire(&m->tail));
    *tail = m->tails_seen;
    if (THI_LIKELY(*head != *tail))
        return 0;
    return closing != 0 ? ESHUTDOWN : EAGAIN;
}

void thi_queue_advance(thrum_shared_queue_t *q, const thi_shared_slot_t *slot, uint64_t head,
                       uint64_t tail)
{
    thi_queue_memory_t *m = q->memory;
    const bool large = (slot->size & THI_IN_BLOCK) != 0;
    if (THI_UNLIKELY(large)) {
        uint64_t block = 0;
        memcpy(&block, slot->bytes, sizeof block);
        thi_store_release(&m->getting.position, head);
        thi_store_release(&m->getting.block, block);
    }
    thi_death_point("shared queue: advance 1");
    thi_order_take(q, head);
    thi_death_point("shared queue: advance 2");
    thi_word_add(&m->head, THI_COUNT);
    thi_death_point("shared queue: advance 3");
    thi_order_took(q, head, tail);
    thi_death_point("shared queue: advance 4");
    if (THI_UNLIKELY(large))
        thi_shared_free_from(q->arena, &m->getting.block, 0);
}

static const void *bytes_of(const thrum_shared_queue_t *q, const thi_shared_slot_t *slot)
{
    uint64_t block = 0;
    if (THI_LIKELY((slot->size & THI_IN_BLOCK) == 0))
        return slot->bytes;
    memcpy(&block, slot->bytes, sizeof block);
    return thi_shared_at(q->arena->heap, block);
}

static int get_inside(thrum_shared_queue_t *q, const struct place *place)
{
    uint64_t head = 0;
    uint64_t tail = 0;
    const int err = next(q, &head, &tail);
    if (err != 0)
        return err;
    const thi_shared_slot_t *slot = thi_order_slot_to_get(q, head, tail);
    const uint64_t size = slot->size & ~THI_IN_BLOCK;
    if (place->size != NULL)
        *place->size = size;
    if (THI_UNLIKELY(size > place->capacity))
        return EMSGSIZE;
    thi_death_point("shared queue: get inside 1");
    if (THI_LIKELY(size != 0))
        memcpy(place->buf, bytes_of(q, slot), size);
    thi_queue_advance(q, slot, head, tail);
    return 0;
}

static int try_get(thrum_shared_queue_t *q, const struct place *place, thrum_time_t deadline)
{
    int err = enter(q, q->get_guard, deadline);
    if (THI_UNLIKELY(err != 0))
        return err;
    thi_death_point("shared queue: try get 1");
    err = get_inside(q, place);
    thi_death_point("shared queue: try get 2");
    (void)thi_guard_unlock(q->get_guard);
    thi_death_point("shared queue: try get 3");
    return err;
}

static int wait_for_item(thrum_shared_queue_t *q, thrum_time_t deadline)
{
    thi_queue_memory_t *m = q->memory;
    const uint64_t tail = thi_load_acquire(&m->tail);
    const uint64_t head = thi_load_acquire(&m->head);
    if ((tail & THI_CLOSED) != 0 || thi_word_count(tail) != thi_word_count(head))
        return 0;
    return thi_word_sleep(&m->tail, tail, &get_site, deadline);
}

static int get_until(thrum_shared_queue_t *q, const struct place *place, thrum_time_t deadline)
{
    if (THI_UNLIKELY(q == NULL || (place->buf == NULL && place->capacity != 0)))
        return EINVAL;
    int err = try_get(q, place, deadline);
    while (THI_UNLIKELY(err == EAGAIN)) {
        if (deadline == NO_WAIT)
            break;
        const int waited = wait_for_item(q, deadline);
        err = try_get(q, place, deadline);
        if (err == EAGAIN && waited != 0)
            err = waited;
    }
    return THI_UNLIKELY(err == ETIMEDOUT) && deadline == NO_WAIT ? EAGAIN : err;
}

int thrum_shared_queue_get(thrum_shared_queue_t *q, void *buf, size_t capacity, size_t *size)
{
    return get_until(q, &(struct place){buf, capacity, size}, THRUM_FOREVER);
}

int thrum_shared_queue_tryget(thrum_shared_queue_t *q, void *buf, size_t capacity, size_t *size)
{
    return get_until(q, &(struct place){buf, capacity, size}, NO_WAIT);
}

int thrum_shared_queue_get_until(thrum_shared_queue_t *q, void *buf, size_t capacity, size_t *size,
                                 thrum_time_t deadline)
{
    return get_until(q, &(struct place){buf, capacity, size}, a_deadline(deadline));
}
