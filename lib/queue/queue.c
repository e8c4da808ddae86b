/*
 * The public calls of queues: arguments, the three forms, batches, closing. What they stand on is listed
 * in core.h.
 */
#include "queue/core.h"

/* ------------------------------------------------------------------------------------------------
 * Making
 */

static bool is_valid(const thrum_queue_config_t *config)
{
    if (config->item_size == 0)
        return false;
    if (!THI_IS_CONFIG(config))
        return false;
    switch (config->order) {
    case THRUM_FIFO:
    case THRUM_LIFO:
        return true;
    case THRUM_PRIORITY:
        return config->compare != NULL;
    default:
        return false;
    }
}

/* The queue and, behind it, `slots` zeroed slots. */
static thrum_queue_t *allocate(size_t slots, size_t item_size)
{
    const size_t slot = thi_slot_size(item_size);
    const size_t fixed = sizeof(thrum_queue_t) + THI_APART;
    if (slot < item_size || (slots != 0 && slot > (PTRDIFF_MAX - fixed) / slots))
        return NULL;
    const size_t size = fixed + slots * slot;
    unsigned char *memory = thi_alloc(size);
    if (memory == NULL)
        return NULL;
    const size_t past = (uintptr_t)memory % THI_APART;
    thrum_queue_t *q = (thrum_queue_t *)(void *)(memory + (past == 0 ? 0 : THI_APART - past));
    q->memory = memory;
    q->memory_size = size;
    return q;
}

static thrum_queue_t *build(const thrum_queue_config_t *config)
{
    const bool fifo = config->order == THRUM_FIFO;
    const thrum_queue_t wanted = {.order = fifo ? &thi_fifo_order : &thi_locked_order,
                                  .item_size = config->item_size,
                                  .capacity = config->capacity != 0 ? config->capacity : SIZE_MAX,
                                  .compare =
                                      config->order == THRUM_PRIORITY ? config->compare : NULL,
                                  .compare_ctx = config->compare_ctx,
                                  .fork_mark = thi_fork_mark,
                                  .fd = -1};
    const size_t slots = fifo ? thi_fifo_first_slots(&wanted) : 0;
    thrum_queue_t *q = allocate(slots, config->item_size);
    if (q == NULL)
        return NULL;
    void *memory = q->memory;
    const size_t memory_size = q->memory_size;
    *q = wanted;
    q->memory = memory;
    q->memory_size = memory_size;
    if (fifo) {
        thi_fifo_begin(q, (unsigned char *)(q + 1), slots);
    } else if (thi_locked_begin(q) != 0) {
        thi_free(memory, memory_size);
        return NULL;
    }
    if (fifo)
        thi_fifo_enlist(q);
    return q;
}

int thrum_queue_create(thrum_queue_t **q, const thrum_queue_config_t *config)
{
    static const thrum_queue_config_t defaults = THRUM_QUEUE_CONFIG_INIT;
    if (config == NULL)
        config = &defaults;
    if (q == NULL || !is_valid(config))
        return EINVAL;
    thrum_queue_t *built = config->capacity != SIZE_MAX ? build(config) : NULL;
    if (built == NULL)
        return ENOMEM;
    *q = built;
    return 0;
}

void thrum_queue_destroy(thrum_queue_t *q)
{
    if (q == NULL)
        return;
    q->order->end(q);
    thi_queue_close_fd(q);
    thi_free(q->memory, q->memory_size);
}

/* ------------------------------------------------------------------------------------------------
 * One item
 */

THI_NOINLINE static int put_slow(thrum_queue_t *q, const void *item, thrum_time_t deadline)
{
    int why = 0;
    return thi_queue_wait_put(q, item, 1, deadline, &why) != 0 ? 0 : why;
}

THI_NOINLINE static int get_slow(thrum_queue_t *q, void *item, thrum_time_t deadline)
{
    int why = 0;
    return thi_queue_wait_get(q, item, 1, deadline, &why) != 0 ? 0 : why;
}

int thrum_queue_tryput(thrum_queue_t *q, const void *item)
{
    return THI_LIKELY(q != NULL && item != NULL) ? q->put_one(q, item) : EINVAL;
}

int thrum_queue_put_until(thrum_queue_t *q, const void *item, thrum_time_t deadline)
{
    if (THI_UNLIKELY(q == NULL || item == NULL))
        return EINVAL;
    const int err = q->put_one(q, item);
    return THI_LIKELY(err != EAGAIN) ? err : put_slow(q, item, deadline);
}

int thrum_queue_put(thrum_queue_t *q, const void *item)
{
    return thrum_queue_put_until(q, item, THRUM_FOREVER);
}

int thrum_queue_tryget(thrum_queue_t *q, void *item)
{
    return THI_LIKELY(q != NULL && item != NULL) ? q->get_one(q, item) : EINVAL;
}

int thrum_queue_get_until(thrum_queue_t *q, void *item, thrum_time_t deadline)
{
    if (THI_UNLIKELY(q == NULL || item == NULL))
        return EINVAL;
    const int err = q->get_one(q, item);
    return THI_LIKELY(err != EAGAIN) ? err : get_slow(q, item, deadline);
}

int thrum_queue_get(thrum_queue_t *q, void *item)
{
    return thrum_queue_get_until(q, item, THRUM_FOREVER);
}

/* ------------------------------------------------------------------------------------------------
 * Many
 */

int thrum_queue_put_many(thrum_queue_t *q, const void *items, size_t n, size_t *done,
                         thrum_time_t deadline)
{
    size_t put = 0;
    int why = q != NULL && (items != NULL || n == 0) ? 0 : EINVAL;
    while (why == 0 && put < n) {
        const void *rest = (const unsigned char *)items + put * q->item_size;
        size_t now = q->order->put(q, rest, n - put, &why);
        if (now == 0 && why == EAGAIN)
            now = thi_queue_wait_put(q, rest, n - put, deadline, &why);
        if (now != 0)
            why = 0;
        put += now;
    }
    if (done != NULL)
        *done = put;
    return why;
}

int thrum_queue_get_many(thrum_queue_t *q, void *items, size_t n, size_t *done,
                         thrum_time_t deadline)
{
    size_t got = 0;
    int why = q != NULL && (items != NULL || n == 0) ? 0 : EINVAL;
    if (why == 0 && n != 0) {
        got = q->order->get(q, items, n, &why);
        if (got == 0 && why == EAGAIN)
            got = thi_queue_wait_get(q, items, n, deadline, &why);
    }
    if (done != NULL)
        *done = got;
    return got != 0 ? 0 : why;
}

size_t thi_queue_get_now(thrum_queue_t *q, void *items, size_t n)
{
    int why = 0;
    return q->order->get(q, items, n, &why);
}

/* ------------------------------------------------------------------------------------------------
 * Closing
 */

int thrum_queue_close(thrum_queue_t *q)
{
    uint64_t dropped = 0;
    if (q == NULL)
        return EINVAL;
    const int err = q->order->close(q, false, &dropped);
    if (err == 0)
        thi_queue_wake_all(q);
    return err;
}

int thrum_queue_abort(thrum_queue_t *q)
{
    uint64_t dropped = 0;
    if (q == NULL)
        return EINVAL;
    const int err = q->order->close(q, true, &dropped);
    if (err != 0)
        return err;
    thi_queue_wake_all(q);
    thi_queue_drop(q, dropped);
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * Looking
 */

size_t thrum_queue_size(const thrum_queue_t *q)
{
    return q != NULL ? q->order->size(q) : 0;
}

size_t thrum_queue_capacity(const thrum_queue_t *q)
{
    return q != NULL && q->capacity != SIZE_MAX ? q->capacity : 0;
}

bool thrum_queue_empty(const thrum_queue_t *q)
{
    return thrum_queue_size(q) == 0;
}

bool thi_queue_is_closed(const thrum_queue_t *q)
{
    return q->order->closed(q);
}

bool thrum_queue_full(const thrum_queue_t *q)
{
    return q != NULL && q->order->size(q) >= q->capacity;
}
