#ifndef TESTS_SHARED_QUEUE_SCENE_H
#define TESTS_SHARED_QUEUE_SCENE_H

/*
 * A queue, somebody who is killed in the middle of an operation, perhaps somebody else who sleeps beside him, and
 * what has to be true afterwards.
 */
#include "shared_queues.h"

enum op { PUT_SMALL, PUT_LARGE, GET, TASK_DONE, JOIN, CLOSE, ABORT, OPS };
enum peer { NOBODY, GETTER, PUTTER, JOINER };

#define CAPACITY 3u
#define NEW 5u    /* the number of what is put */
#define HELPER 6u /* and of what is put by the survivor */

struct scene {
    thrum_order_t order;
    enum op op;
    enum peer peer;
    uint32_t items; /* at first: 1, 2, 3, of which 2 is large */
    bool large;     /* all of them are */

    thrum_shared_t *arena;
    thrum_shared_queue_t *q;
    size_t used;
    pid_t peer_pid;
};

static inline size_t size_of(const struct scene *s, uint32_t number)
{
    return s->large || number == 2 ? LARGE_SIZE : 8;
}

/* What takes many instructions is done before: the bytes of the item that is put. */
static unsigned char scene_bytes[LARGE_SIZE];

static inline int operate(void *arg)
{
    const struct scene *s = arg;
    const size_t size = s->op == PUT_LARGE ? LARGE_SIZE : 8;
    size_t got = 0;
    switch (s->op) {
    case PUT_SMALL:
    case PUT_LARGE:
        return s->order == THRUM_PRIORITY
                   ? thrum_shared_queue_put_ranked(s->q, scene_bytes, size, NEW)
                   : thrum_shared_queue_put(s->q, scene_bytes, size);
    case GET:
        return thrum_shared_queue_get(s->q, scene_bytes, LARGE_SIZE, &got);
    case TASK_DONE:
        return thrum_shared_queue_task_done(s->q);
    case JOIN:
        return thrum_shared_queue_join_until(s->q, PAST) == ETIMEDOUT ? 0 : 1;
    case CLOSE:
        return thrum_shared_queue_close(s->q);
    default:
        return thrum_shared_queue_abort(s->q);
    }
}

/* Ends with the number that it got, or with 100 and more for an error. */
static inline int peer_main(void *arg)
{
    const struct scene *s = arg;
    uint32_t number = 0;
    int err = 0;
    if (s->peer == GETTER)
        err = get_number(s->q, &number, THRUM_FOREVER);
    else if (s->peer == PUTTER)
        err = put_number(s->q, HELPER, 8, THRUM_FOREVER);
    else
        err = thrum_shared_queue_join(s->q);
    return err == 0 ? (int)number : err == ESHUTDOWN ? 100 : 101;
}

static inline const uint64_t *word_of(const struct scene *s)
{
    const thi_queue_memory_t *m = s->q->memory;
    return s->peer == GETTER ? &m->tail : s->peer == PUTTER ? &m->head : &m->done;
}

static inline int begin(void *arg)
{
    struct scene *s = arg;
    s->used = thrum_shared_used(s->arena);
    s->q = a_queue(s->arena, s->order, CAPACITY);
    fill_item(scene_bytes, NEW, s->op == PUT_LARGE ? LARGE_SIZE : 8);
    for (uint32_t i = 1; i <= s->items; i++) {
        const uint32_t number = s->order == THRUM_LIFO ? s->items + 1 - i : i;
        if (put_number(s->q, number, size_of(s, number), PAST) != 0)
            return 1;
    }
    if (s->peer != NOBODY) {
        s->peer_pid = victim_start(peer_main, s);
        await_sleepers(word_of(s));
    }
    return 0;
}

/* --- what came of it ------------------------------------------------------------------------------ */

static inline bool is_closed(const struct scene *s)
{
    return (thi_load_acquire(&s->q->memory->tail) & THI_CLOSED) != 0;
}

/* Whether the operation was done before its caller died. */
static inline bool took_place(const struct scene *s)
{
    const thi_queue_memory_t *m = s->q->memory;
    switch (s->op) {
    case PUT_SMALL:
    case PUT_LARGE:
        return thi_word_count(thi_load_acquire(&m->tail)) > s->items;
    case GET:
        return thi_word_count(thi_load_acquire(&m->head)) > 0;
    case TASK_DONE:
        return thi_load_acquire(&m->done) >> 10 != 0;
    default:
        return is_closed(s);
    }
}

/* The peer is awake, or is woken by the operation done again. */
static inline int end_peer(struct scene *s, bool took)
{
    if (s->peer == NOBODY)
        return 0;
    const bool again = !took;
    if (again && s->op == PUT_SMALL && put_number(s->q, NEW, 8, THRUM_FOREVER) != 0)
        return 20;
    if (again && s->op != PUT_SMALL && operate(s) != 0)
        return 21;
    const int end = victim_end(s->peer_pid);
    const bool shut = s->op == CLOSE || s->op == ABORT;
    if (s->peer == JOINER)
        return end == 0 ? 0 : 22;
    if (shut)
        return end == 100 ? 0 : 23;
    return end == (s->peer == GETTER ? (int)NEW : 0) ? 0 : 24;
}

/* Every item that has to be there leaves, once, in the right order. */
static inline int drain(const struct scene *s, bool took)
{
    const bool put = s->op == PUT_SMALL || s->op == PUT_LARGE;
    uint32_t expected[CAPACITY + 2], n = 0, number = 0;
    if (put && took && s->order == THRUM_LIFO && s->peer != GETTER)
        expected[n++] = NEW;
    for (uint32_t i = 1; i <= s->items; i++) {
        if (!(s->op == GET && i == 1 && (took || s->peer != NOBODY)) && s->op != ABORT)
            expected[n++] = i;
    }
    if (put && took && s->order != THRUM_LIFO && s->peer != GETTER)
        expected[n++] = NEW;
    if (s->op == GET && s->peer == PUTTER) {
        if (s->order == THRUM_LIFO) {
            memmove(expected + 1, expected, n * sizeof *expected);
            expected[0] = HELPER;
        } else
            expected[n] = HELPER;
        n++;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (get_number(s->q, &number, PAST) != 0 || number != expected[i])
            return 30 + (int)i;
    }
    const int end = get_number(s->q, &number, PAST);
    return end == ETIMEDOUT || end == ESHUTDOWN ? 0 : 39;
}

static inline int usable(const struct scene *s)
{
    uint32_t number = 0;
    const bool shut = (s->op == CLOSE || s->op == ABORT) && s->peer != NOBODY;
    if (shut || is_closed(s))
        return put_number(s->q, 1, 8, PAST) == ESHUTDOWN ? 0 : 41;
    for (uint32_t i = 0; i < 2 * CAPACITY; i++) {
        if (put_number(s->q, i, i % 2 == 0 ? 8 : LARGE_SIZE, PAST) != 0 ||
            get_number(s->q, &number, PAST) != 0 || number != i)
            return 42;
    }
    while (thrum_shared_queue_task_done(s->q) == 0) {
    }
    return thrum_shared_queue_unfinished(s->q) == 0 && thrum_shared_queue_join(s->q) == 0 ? 0 : 43;
}

static inline int check(struct scene *s)
{
    const bool took = took_place(s);
    int err = end_peer(s, took);
    if (err == 0 && s->op == ABORT && !took && s->peer == NOBODY)
        err = thrum_shared_queue_abort(s->q);
    if (err == 0)
        err = drain(s, took);
    if (err == 0)
        err = usable(s);
    return err;
}

static inline int survives(void *arg)
{
    struct scene *s = arg;
    int err = check(s);
    thrum_shared_queue_destroy(s->q);
    if (err == 0 && thrum_shared_used(s->arena) != s->used)
        err = 50; /* a block of the dead one's was not given back */
    if (err == 0 && !thi_shared_sound(s->arena))
        err = 51;
    return err;
}

#endif /* TESTS_SHARED_QUEUE_SCENE_H */
