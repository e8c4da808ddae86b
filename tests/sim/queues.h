#ifndef SIM_QUEUES_H
#define SIM_QUEUES_H

/*
 * Queues of the simulation's tests, with items of any size that hold a small number.
 */
#include <string.h>

#include <thrum/queue.h>

#include "queue/core.h"
#include "sim.h"

#define QUEUE_ITEM_MAX 24

static inline int queue_compare(const void *a, const void *b, void *ctx)
{
    (void)ctx;
    const int x = *(const unsigned char *)a % 4; /* equals, so that their order shows */
    const int y = *(const unsigned char *)b % 4;
    return x - y;
}

static inline thrum_queue_t *queue_make(thrum_order_t order, size_t capacity, size_t item_size)
{
    const thrum_queue_config_t config = {order,         item_size, capacity,
                                         queue_compare, NULL,      sizeof(thrum_queue_config_t)};
    thrum_queue_t *q = NULL;
    sim_check(thrum_queue_create(&q, &config) == 0);
    sim_name(q, sizeof *q, "queue");
    return q;
}

/* Items say their number in each byte, so that one that is torn shows. */
struct queue_item {
    unsigned char bytes[QUEUE_ITEM_MAX];
};

static inline struct queue_item queue_item(unsigned number)
{
    struct queue_item item;
    memset(item.bytes, (int)number, sizeof item.bytes);
    return item;
}

static inline unsigned queue_number(const struct queue_item *item, size_t size)
{
    for (size_t i = 1; i < size; i++)
        sim_check(item->bytes[i] == item->bytes[0]);
    return item->bytes[0];
}

#endif /* SIM_QUEUES_H */
