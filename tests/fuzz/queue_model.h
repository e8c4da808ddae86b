#ifndef TESTS_QUEUE_MODEL_H
#define TESTS_QUEUE_MODEL_H

/*
 * A queue as one would write it on paper: an array in the order of leaving. What a call on it returns is
 * what the header says, with EAGAIN for "waits".
 */

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include <thrum/queue.h>

#define MODEL_MAX 8192u

struct model_item {
    uint32_t stamp; /* of its arrival */
    uint8_t key;    /* PRIORITY: smaller ones first */
};

struct model {
    thrum_order_t order;
    size_t capacity; /* 0: unbounded */
    size_t count;
    size_t unfinished;
    bool closed;
    struct model_item items[MODEL_MAX]; /* the last one leaves first */
};

static inline void model_begin(struct model *m, thrum_order_t order, size_t capacity)
{
    m->order = order;
    m->capacity = capacity;
    m->count = m->unfinished = 0;
    m->closed = false;
}

static inline bool model_full(const struct model *m)
{
    return m->capacity != 0 && m->count == m->capacity;
}

/* How many leave after one that comes now. */
static inline size_t model_place(const struct model *m, uint8_t key)
{
    size_t place = m->count;
    if (m->order == THRUM_FIFO)
        return 0;
    while (m->order == THRUM_PRIORITY && place > 0 && m->items[place - 1].key <= key)
        place--;
    return place;
}

/* What a put would say. */
static inline int model_may_put(const struct model *m)
{
    return m->closed ? ESHUTDOWN : model_full(m) ? EAGAIN : 0;
}

static inline void model_put(struct model *m, struct model_item item)
{
    const size_t place = model_place(m, item.key);
    memmove(&m->items[place + 1], &m->items[place], (m->count - place) * sizeof item);
    m->items[place] = item;
    m->count++;
    m->unfinished++;
}

/* What a get would say. */
static inline int model_may_get(const struct model *m)
{
    return m->count != 0 ? 0 : m->closed ? ESHUTDOWN : EAGAIN;
}

static inline struct model_item model_get(struct model *m)
{
    return m->items[--m->count];
}

static inline int model_task_done(struct model *m)
{
    if (m->unfinished == 0)
        return EINVAL;
    m->unfinished--;
    return 0;
}

static inline int model_join(const struct model *m)
{
    return m->unfinished == 0 ? 0 : EAGAIN;
}

/* What is dropped counts as done, if it was not said to be before. */
static inline void model_abort(struct model *m)
{
    m->closed = true;
    m->unfinished -= m->count < m->unfinished ? m->count : m->unfinished;
    m->count = 0;
}

#endif /* TESTS_QUEUE_MODEL_H */
