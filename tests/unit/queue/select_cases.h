#ifndef TESTS_SELECT_CASES_H
#define TESTS_SELECT_CASES_H

/*
 * One of everything that can be selected, and a select in a thread of its own.
 */

#include <thrum/select.h>

#include "queue/shapes.h"

enum { CASE_GET, CASE_PUT, CASE_EVENT, CASE_SEM, CASES };

/* Nothing in it is ready before it is made so. */
struct world {
    thrum_queue_t *source; /* empty */
    thrum_queue_t *sink;   /* full */
    thrum_event_t event;
    thrum_sem_t sem;
    uint32_t got;
    uint32_t given;
    thrum_case_t cases[CASES];
};

static inline void world_begin(struct world *w, thrum_order_t order)
{
    *w = (struct world){.got = UNTOUCHED, .given = 42};
    w->source = queue_of_numbers(order, BOUND);
    w->sink = queue_of_numbers(order, BOUND);
    fill(w->sink, 0, BOUND);
    w->cases[CASE_GET] = (thrum_case_t)THRUM_CASE_GET(w->source, &w->got);
    w->cases[CASE_PUT] = (thrum_case_t)THRUM_CASE_PUT(w->sink, &w->given);
    w->cases[CASE_EVENT] = (thrum_case_t)THRUM_CASE_EVENT(&w->event);
    w->cases[CASE_SEM] = (thrum_case_t)THRUM_CASE_SEM(&w->sem);
}

static inline void world_make_ready(struct world *w, size_t which)
{
    uint32_t item = 0;
    switch (which) {
    case CASE_GET:
        fill(w->source, 7, 1);
        break;
    case CASE_PUT:
        EXPECT_CALL(0, thrum_queue_tryget(w->sink, &item));
        break;
    case CASE_EVENT:
        thrum_event_set(&w->event);
        break;
    default:
        EXPECT_CALL(0, thrum_sem_release(&w->sem));
    }
}

/* The chosen one was done, and the others are as they were: nothing ready, nobody queued. */
static inline void world_expect_done(struct world *w, size_t which)
{
    cr_expect_eq(w->got, which == CASE_GET ? 7 : UNTOUCHED);
    w->got = UNTOUCHED;
    cr_expect_eq(thrum_queue_size(w->source), 0u);
    cr_expect_eq(thrum_queue_size(w->sink), (size_t)BOUND);
    cr_expect_eq(thrum_event_is_set(&w->event), which == CASE_EVENT, "it stays set");
    thrum_event_clear(&w->event);
    cr_expect_eq(thrum_sem_value(&w->sem), 0u);
    cr_expect_eq(thi_park_count(&w->event), 0u);
    cr_expect_eq(thi_park_count(&w->sem), 0u);
}

/* Every object still works for others: it holds no memory of those who selected. */
static inline void world_end(struct world *w)
{
    uint32_t item = 0;
    EXPECT_CALL(EAGAIN, thrum_queue_tryget(w->source, &item));
    EXPECT_CALL(EAGAIN, thrum_queue_tryput(w->sink, &item));
    for (size_t which = 0; which < CASES; which++)
        world_make_ready(w, which);
    EXPECT_CALL(0, thrum_queue_tryget(w->source, &item));
    EXPECT_CALL(0, thrum_queue_tryput(w->sink, &item));
    EXPECT_CALL(0, thrum_event_trywait(&w->event));
    EXPECT_CALL(0, thrum_sem_tryacquire(&w->sem));
    thrum_queue_destroy(w->source);
    thrum_queue_destroy(w->sink);
}

static inline void for_each_order(void (*fn)(struct world *w))
{
    for (int order = THRUM_FIFO; order <= THRUM_PRIORITY; order++) {
        struct world w;
        world_begin(&w, (thrum_order_t)order);
        fn(&w);
        world_end(&w);
    }
}

#define NOTHING_CHOSEN SIZE_MAX

struct selector {
    thrum_case_t *cases;
    size_t n;
    thrum_time_t deadline;
    size_t chosen;
    struct caller caller;
};

static inline int select_main(void *arg)
{
    struct selector *s = arg;
    return thrum_select(s->cases, s->n, s->deadline, &s->chosen);
}

static inline void selector_asleep(struct selector *s, thrum_case_t *cases, size_t n)
{
    *s = (struct selector){cases, n, THRUM_FOREVER, NOTHING_CHOSEN, {.result = -1}};
    caller_start(&s->caller, select_main, s);
    await_asleep(&s->caller);
}

static inline int selector_join(struct selector *s)
{
    return caller_join(&s->caller);
}

#endif /* TESTS_SELECT_CASES_H */
