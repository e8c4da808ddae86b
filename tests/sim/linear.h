#ifndef SIM_LINEAR_H
#define SIM_LINEAR_H

/*
 * Is a history linearizable? J. Wing and C. Gong's search (1993) with memory of what was tried, for
 * queues: is there an order of the calls, which keeps to the order of those that did not overlap, in
 * which a plain list would have answered the same? The history is small, so the search is complete.
 */
#include <errno.h>
#include <string.h>

#include <thrum/queue.h>

#include "sim.h"

#define LINEAR_CALLS 12  /* of a history */
#define LINEAR_ITEMS 10  /* in the list at once; items are numbers from 1 to 15 */
#define LINEAR_SEEN 4096 /* states remembered; a power of two */

typedef enum linear_kind {
    LINEAR_PUT,
    LINEAR_GET,
    LINEAR_CLOSE,
    LINEAR_DROP, /* with a close before: an abort */
} linear_kind_t;

/* EAGAIN stands for ETIMEDOUT and ECANCELED as well: there was a moment at which it could not be done. */
struct linear_call {
    linear_kind_t kind;
    unsigned item;
    int err;
    unsigned begun; /* on a clock of the history, which ticks with each beginning and end */
    unsigned ended;
};

struct linear {
    thrum_order_t order;
    size_t capacity; /* 0: none */
    unsigned clock;
    unsigned n;
    struct linear_call calls[LINEAR_CALLS];
    uint64_t seen[LINEAR_SEEN]; /* 0: free */
};

struct linear_list {
    unsigned char items[LINEAR_ITEMS];
    unsigned n;
    bool closed;
};

static inline unsigned linear_begin(struct linear *l)
{
    return ++l->clock;
}

static inline void linear_end(struct linear *l, linear_kind_t kind, unsigned item, int err,
                              unsigned begun)
{
    sim_check(l->n < LINEAR_CALLS);
    if (err == ETIMEDOUT || err == ECANCELED)
        err = EAGAIN;
    l->calls[l->n++] = (struct linear_call){kind, item, err, begun, ++l->clock};
}

/* Where the next get takes. PRIORITY: the low two bits, the smaller first; equals in order of arrival. */
static inline unsigned linear_next(const struct linear *l, const struct linear_list *list)
{
    unsigned best = l->order == THRUM_LIFO ? list->n - 1 : 0;
    for (unsigned i = 1; l->order == THRUM_PRIORITY && i < list->n; i++)
        if (list->items[i] % 4 < list->items[best] % 4)
            best = i;
    return best;
}

static inline bool linear_put(const struct linear *l, const struct linear_call *call,
                              struct linear_list *list)
{
    const bool full = l->capacity != 0 && list->n == l->capacity;
    if (call->err != 0)
        return call->err == (list->closed ? ESHUTDOWN : full ? EAGAIN : 0);
    if (list->closed || full)
        return false;
    list->items[list->n++] = (unsigned char)call->item;
    return true;
}

static inline bool linear_get(const struct linear *l, const struct linear_call *call,
                              struct linear_list *list)
{
    if (list->n == 0 || call->err != 0)
        return list->n == 0 && call->err == (list->closed ? ESHUTDOWN : EAGAIN);
    const unsigned at = linear_next(l, list);
    if (list->items[at] != call->item)
        return false;
    memmove(&list->items[at], &list->items[at + 1], list->n - at - 1);
    list->n--;
    return true;
}

/* What the call does to the list; false: it could not have answered that. */
static inline bool linear_apply(const struct linear *l, const struct linear_call *call,
                                struct linear_list *list)
{
    switch (call->kind) {
    case LINEAR_PUT:
        return linear_put(l, call, list);
    case LINEAR_GET:
        return linear_get(l, call, list);
    case LINEAR_CLOSE:
        list->closed = true;
        return true;
    case LINEAR_DROP:
        list->n = 0;
        return list->closed;
    }
    return false;
}

/* Whether the state is new. The calls that are left, the list and whether it is closed fit into a word. */
static inline bool linear_is_new(struct linear *l, unsigned left, const struct linear_list *list)
{
    uint64_t state = (uint64_t)left << 2 | (uint64_t)list->closed << 1 | 1;
    for (unsigned i = 0; i < list->n; i++)
        state |= (uint64_t)list->items[i] << (14 + 4 * i);
    uint64_t at = state * UINT64_C(0x9E3779B97F4A7C15) >> 52;
    for (unsigned tries = 0; l->seen[at] != 0; tries++) {
        if (l->seen[at] == state)
            return false;
        sim_check(tries < LINEAR_SEEN);
        at = (at + 1) % LINEAR_SEEN;
    }
    l->seen[at] = state;
    return true;
}

/* When the first of those that are left ended: what began later comes later. */
static inline unsigned linear_horizon(const struct linear *l, unsigned left)
{
    unsigned first = UINT_MAX;
    for (unsigned i = 0; i < l->n; i++)
        if ((left >> i & 1) != 0 && l->calls[i].ended < first)
            first = l->calls[i].ended;
    return first;
}

static inline bool linear_search(struct linear *l, unsigned left, const struct linear_list *list)
{
    if (left == 0)
        return true;
    if (!linear_is_new(l, left, list))
        return false;
    const unsigned horizon = linear_horizon(l, left);
    for (unsigned i = 0; i < l->n; i++) {
        struct linear_list after = *list;
        if ((left >> i & 1) != 0 && l->calls[i].begun < horizon &&
            linear_apply(l, &l->calls[i], &after) && linear_search(l, left & ~(1u << i), &after))
            return true;
    }
    return false;
}

static inline bool linear_holds(struct linear *l)
{
    const struct linear_list empty = {{0}, 0, false};
    memset(l->seen, 0, sizeof l->seen);
    return linear_search(l, (1u << l->n) - 1, &empty);
}

#endif /* SIM_LINEAR_H */
