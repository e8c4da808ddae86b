#ifndef TESTS_SHARED_QUEUES_H
#define TESTS_SHARED_QUEUES_H

/*
 * Queues between processes for the tests: a number first in each item, which is as large as is asked for.
 */

#include <string.h>

#include <thrum/shared_queue.h>

#include "process/shared_queue.h"
#include "support/expect.h"
#include "support/victim.h"

#define INLINE_SIZE 24u
#define LARGE_SIZE 5000u

static const thrum_order_t every_order[] = {THRUM_FIFO, THRUM_LIFO, THRUM_PRIORITY};
#define ORDERS 3u

static inline thrum_shared_t *an_arena(void)
{
    thrum_shared_t *arena = NULL;
    thrum_shared_config_t config = THRUM_SHARED_CONFIG_INIT;
    config.max_size = (size_t)64 << 20;
    if (thrum_shared_create(&arena, &config) != 0)
        abort();
    return arena;
}

static inline thrum_shared_queue_t *a_queue(thrum_shared_t *arena, thrum_order_t order,
                                            size_t capacity)
{
    thrum_shared_queue_t *q = NULL;
    thrum_shared_queue_config_t config = THRUM_SHARED_QUEUE_CONFIG_INIT;
    config.order = order;
    config.capacity = capacity;
    config.item_size = INLINE_SIZE;
    if (thrum_shared_queue_create(&q, arena, &config) != 0)
        abort();
    return q;
}

/* An item of that size which says `number`, and whose bytes follow from it. */
static inline void fill_item(unsigned char *bytes, uint32_t number, size_t size)
{
    memcpy(bytes, &number, sizeof number);
    for (size_t i = sizeof number; i < size; i++)
        bytes[i] = (unsigned char)(number + i);
}

/* Its number, or UINT32_MAX: it is none. */
static inline uint32_t number_of(const unsigned char *bytes, size_t size)
{
    uint32_t number = 0;
    if (size < sizeof number)
        return UINT32_MAX;
    memcpy(&number, bytes, sizeof number);
    for (size_t i = sizeof number; i < size; i++) {
        if (bytes[i] != (unsigned char)(number + i))
            return UINT32_MAX;
    }
    return number;
}

static inline int put_number(thrum_shared_queue_t *q, uint32_t number, size_t size,
                             thrum_time_t deadline)
{
    unsigned char bytes[LARGE_SIZE];
    fill_item(bytes, number, size);
    return q->order == THRUM_PRIORITY
               ? thrum_shared_queue_put_ranked_until(q, bytes, size, number, deadline)
               : thrum_shared_queue_put_until(q, bytes, size, deadline);
}

static inline int get_number(thrum_shared_queue_t *q, uint32_t *number, thrum_time_t deadline)
{
    unsigned char bytes[LARGE_SIZE];
    size_t size = 0;
    const int err = thrum_shared_queue_get_until(q, bytes, sizeof bytes, &size, deadline);
    if (err == 0)
        *number = number_of(bytes, size);
    return err;
}

/* Somebody sleeps on the word, or is about to and has looked for the last time. */
static inline void await_sleepers(const uint64_t *word)
{
    while ((thi_load_acquire(word) & THI_SLEEPERS) == 0)
        sched_yield();
}

#endif /* TESTS_SHARED_QUEUES_H */
