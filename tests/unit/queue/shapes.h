#ifndef TESTS_QUEUE_SHAPES_H
#define TESTS_QUEUE_SHAPES_H

/*
 * Queues of every order, bounded and not, of numbers mostly, and callers of each call that may wait.
 */

#include <string.h>

#include <thrum/cancel.h>
#include <thrum/queue.h>

#include "support/expect.h"

/* Smaller numbers leave first. */
static inline int by_number(const void *a, const void *b, void *ctx)
{
    uint32_t x = 0, y = 0;
    (void)ctx;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

static inline int by_first_byte(const void *a, const void *b, void *ctx)
{
    (void)ctx;
    return *(const unsigned char *)a - *(const unsigned char *)b;
}

static inline thrum_queue_t *queue_of(thrum_order_t order, size_t capacity, size_t item_size)
{
    thrum_queue_config_t config = THRUM_QUEUE_CONFIG_INIT;
    thrum_queue_t *q = NULL;
    config.order = order;
    config.capacity = capacity;
    config.item_size = item_size;
    if (order == THRUM_PRIORITY)
        config.compare = item_size < sizeof(uint32_t) ? by_first_byte : by_number;
    EXPECT_CALL(0, thrum_queue_create(&q, &config));
    cr_assert_not_null(q);
    return q;
}

static inline thrum_queue_t *queue_of_numbers(thrum_order_t order, size_t capacity)
{
    return queue_of(order, capacity, sizeof(uint32_t));
}

#define BOUND 2u

struct shape {
    const char *name;
    thrum_order_t order;
    size_t capacity;
};

static const struct shape shapes[] = {
    {"bounded FIFO", THRUM_FIFO, BOUND},         {"FIFO", THRUM_FIFO, 0},
    {"bounded LIFO", THRUM_LIFO, BOUND},         {"LIFO", THRUM_LIFO, 0},
    {"bounded PRIORITY", THRUM_PRIORITY, BOUND}, {"PRIORITY", THRUM_PRIORITY, 0},
};

#define SHAPES (sizeof shapes / sizeof *shapes)
#define EACH_SHAPE(s)                                                                              \
    const struct shape *s = shapes;                                                                \
    s != shapes + SHAPES;                                                                          \
    s++
#define EACH_BOUNDED_SHAPE(s)                                                                      \
    const struct shape *s = shapes;                                                                \
    s != shapes + SHAPES;                                                                          \
    s += 2

/* The numbers from `first` on. */
static inline void fill(thrum_queue_t *q, uint32_t first, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t number = first + i;
        EXPECT_CALL(0, thrum_queue_tryput(q, &number));
    }
}

/* --- calls, for callers --------------------------------------------------------------------------- */

#define FAR_AWAY thrum_after(THRUM_S(1000))
#define UNTOUCHED UINT32_C(0xDEADBEEF)
#define CALL_ITEMS 8u

struct call {
    thrum_queue_t *q;
    thrum_time_t deadline;
    size_t n; /* of a batch */
    size_t done;
    uint32_t items[CALL_ITEMS]; /* to be put, or that were got */
    uint32_t *next;             /* where calls that are through take a number */
    uint32_t place;             /* the number taken */
    struct caller caller;
};

/* In turn: who was through first has the lowest place, which is there before it is counted. Two at a time would have
 * the same. */
static inline int call_is_through(struct call *c, int err)
{
    if (c->next != NULL) {
        c->place = thi_load_relaxed(c->next);
        thi_fetch_add_acq_rel(c->next, 1u);
    }
    return err;
}

static inline int call_put(void *arg)
{
    struct call *c = arg;
    return call_is_through(c, thrum_queue_put(c->q, c->items));
}

static inline int call_put_until(void *arg)
{
    struct call *c = arg;
    return call_is_through(c, thrum_queue_put_until(c->q, c->items, c->deadline));
}

static inline int call_put_many(void *arg)
{
    struct call *c = arg;
    return call_is_through(c, thrum_queue_put_many(c->q, c->items, c->n, &c->done, c->deadline));
}

static inline int call_get(void *arg)
{
    struct call *c = arg;
    return call_is_through(c, thrum_queue_get(c->q, c->items));
}

static inline int call_get_until(void *arg)
{
    struct call *c = arg;
    return call_is_through(c, thrum_queue_get_until(c->q, c->items, c->deadline));
}

static inline int call_get_many(void *arg)
{
    struct call *c = arg;
    return call_is_through(c, thrum_queue_get_many(c->q, c->items, c->n, &c->done, c->deadline));
}

static inline int call_join(void *arg)
{
    struct call *c = arg;
    return call_is_through(c, thrum_queue_join(c->q));
}

static inline int call_join_until(void *arg)
{
    struct call *c = arg;
    return call_is_through(c, thrum_queue_join_until(c->q, c->deadline));
}

static inline void call_begin(struct call *c, thrum_queue_t *q)
{
    *c = (struct call){.q = q, .deadline = FAR_AWAY, .n = CALL_ITEMS};
    for (unsigned i = 0; i < CALL_ITEMS; i++)
        c->items[i] = UNTOUCHED;
}

/* Starts it, and does not go on before it sleeps. */
static inline void call_asleep(struct call *c, int (*fn)(void *))
{
    caller_start(&c->caller, fn, c);
    await_asleep(&c->caller);
}

static inline int call_join_thread(struct call *c)
{
    return caller_join(&c->caller);
}

#endif /* TESTS_QUEUE_SHAPES_H */
