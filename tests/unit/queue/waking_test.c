#include "queue/shapes.h"

/* Whoever waits when a queue is closed or aborted is woken, and does what the new state says. */
TestSuite(queue_waking, .timeout = 60);

enum { WAITERS = 6 };

struct waiters {
    thrum_queue_t *q;
    struct call calls[WAITERS];
};

static void start(struct waiters *w, thrum_queue_t *q, int (*const fns[])(void *), size_t n)
{
    w->q = q;
    for (unsigned i = 0; i < WAITERS; i++) {
        call_begin(&w->calls[i], q);
        call_asleep(&w->calls[i], fns[i % n]);
    }
}

static void expect_all(struct waiters *w, int err)
{
    for (unsigned i = 0; i < WAITERS; i++) {
        const int got = call_join_thread(&w->calls[i]);
        cr_expect_eq(got, err, "waiter %u: %d, expected %d", i, got, err);
        cr_expect_eq(w->calls[i].done, 0u);
    }
}

static void expect_all_stay(const struct waiters *w)
{
    for (unsigned i = 0; i < WAITERS; i++)
        cr_expect(caller_stays(&w->calls[i].caller), "waiter %u", i);
}

static int (*const putters[])(void *) = {call_put, call_put_until, call_put_many};
static int (*const getters[])(void *) = {call_get, call_get_until, call_get_many};
static int (*const joiners[])(void *) = {call_join, call_join_until};

typedef int (*end_fn)(thrum_queue_t *);

static void wake_putters(end_fn end, size_t left)
{
    for (EACH_BOUNDED_SHAPE(shape)) {
        struct waiters w;
        thrum_queue_t *q = queue_of_numbers(shape->order, shape->capacity);
        fill(q, 0, BOUND);
        start(&w, q, putters, 3);
        EXPECT_CALL(0, end(q));
        expect_all(&w, ESHUTDOWN);
        cr_expect_eq(thrum_queue_size(q), left);
        thrum_queue_destroy(q);
    }
}

Test(queue_waking, putters_are_woken_by_close)
{
    wake_putters(thrum_queue_close, BOUND);
}

Test(queue_waking, putters_are_woken_by_abort)
{
    wake_putters(thrum_queue_abort, 0);
}

static void wake_getters(end_fn end)
{
    for (EACH_SHAPE(shape)) {
        struct waiters w;
        start(&w, queue_of_numbers(shape->order, shape->capacity), getters, 3);
        EXPECT_CALL(0, end(w.q));
        expect_all(&w, ESHUTDOWN);
        for (unsigned i = 0; i < WAITERS; i++)
            cr_expect_eq(w.calls[i].items[0], UNTOUCHED);
        thrum_queue_destroy(w.q);
    }
}

Test(queue_waking, getters_are_woken_by_close)
{
    wake_getters(thrum_queue_close);
}

Test(queue_waking, getters_are_woken_by_abort)
{
    wake_getters(thrum_queue_abort);
}

Test(queue_waking, joiners_are_woken_by_abort)
{
    for (EACH_SHAPE(shape)) {
        struct waiters w;
        thrum_queue_t *q = queue_of_numbers(shape->order, shape->capacity);
        fill(q, 0, BOUND);
        start(&w, q, joiners, 2);
        EXPECT_CALL(0, thrum_queue_abort(q));
        expect_all(&w, 0);
        EXPECT_CALL(EINVAL, thrum_queue_task_done(q));
        thrum_queue_destroy(q);
    }
}

Test(queue_waking, joiners_wait_on_for_what_is_being_worked_on_when_it_is_aborted)
{
    for (EACH_SHAPE(shape)) {
        struct waiters w;
        uint32_t item = 0;
        thrum_queue_t *q = queue_of_numbers(shape->order, shape->capacity);
        fill(q, 0, BOUND);
        EXPECT_CALL(0, thrum_queue_get(q, &item));
        start(&w, q, joiners, 2);
        EXPECT_CALL(0, thrum_queue_abort(q));
        cr_expect_eq(thrum_queue_unfinished(q), 1u);
        expect_all_stay(&w);
        EXPECT_CALL(0, thrum_queue_task_done(q));
        expect_all(&w, 0);
        thrum_queue_destroy(q);
    }
}

Test(queue_waking, joiners_wait_on_when_it_is_closed)
{
    for (EACH_SHAPE(shape)) {
        struct waiters w;
        uint32_t item = 0;
        thrum_queue_t *q = queue_of_numbers(shape->order, shape->capacity);
        fill(q, 0, 1);
        start(&w, q, joiners, 2);
        EXPECT_CALL(0, thrum_queue_close(q));
        expect_all_stay(&w);
        EXPECT_CALL(0, thrum_queue_get(q, &item));
        EXPECT_CALL(ESHUTDOWN, thrum_queue_get(q, &item));
        expect_all_stay(&w);
        EXPECT_CALL(0, thrum_queue_task_done(q));
        expect_all(&w, 0);
        thrum_queue_destroy(q);
    }
}

/* All kinds at once, and more than once. */
Test(queue_waking, closing_and_aborting_again_changes_nothing)
{
    for (EACH_SHAPE(shape)) {
        uint32_t item = 0;
        thrum_queue_t *q = queue_of_numbers(shape->order, shape->capacity);
        fill(q, 7, 1);
        for (int i = 0; i < 3; i++)
            EXPECT_CALL(0, thrum_queue_close(q));
        EXPECT_CALL(ESHUTDOWN, thrum_queue_put(q, &item));
        EXPECT_CALL(0, thrum_queue_tryget(q, &item));
        cr_expect_eq(item, 7u);
        for (int i = 0; i < 3; i++)
            EXPECT_CALL(0, thrum_queue_abort(q));
        EXPECT_CALL(0, thrum_queue_close(q));
        cr_expect_eq(thrum_queue_unfinished(q), 1u, "it was got before");
        EXPECT_CALL(0, thrum_queue_task_done(q));
        EXPECT_CALL(0, thrum_queue_join(q));
        thrum_queue_destroy(q);
    }
}

/* What gets take out of a closed queue makes no room. */
Test(queue_waking, a_closed_queue_drains_and_takes_no_more)
{
    for (EACH_SHAPE(shape)) {
        uint32_t item = 0;
        thrum_queue_t *q = queue_of_numbers(shape->order, shape->capacity);
        fill(q, 0, BOUND);
        EXPECT_CALL(0, thrum_queue_close(q));
        for (unsigned i = 0; i < BOUND; i++) {
            EXPECT_CALL(ESHUTDOWN, thrum_queue_tryput(q, &item));
            EXPECT_CALL(0, thrum_queue_get(q, &item));
        }
        EXPECT_CALL(ESHUTDOWN, thrum_queue_tryput(q, &item));
        EXPECT_CALL(ESHUTDOWN, thrum_queue_tryget(q, &item));
        cr_expect(thrum_queue_empty(q));
        cr_expect_not(thrum_queue_full(q));
        thrum_queue_destroy(q);
    }
}
