#include "task/work.h"

/* What is done when a future ends: callbacks, and steps that follow. */
TestSuite(callback, .timeout = 60);

static int token;

/* --- order and number -------------------------------------------------------------------------------- */

struct record {
    uint32_t count;
    uint32_t order[64];
    thrum_future_t *future;
};

struct mark {
    struct record *record;
    uint32_t number;
};

static void note(thrum_future_t *f, void *arg)
{
    const struct mark *m = arg;
    struct record *r = m->record;
    if (!thrum_future_done(f) || f != r->future)
        abort();
    r->order[thi_fetch_add_acq_rel(&r->count, 1u)] = m->number;
}

static void add_marks(struct record *r, struct mark *marks, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++) {
        marks[i] = (struct mark){r, i};
        EXPECT_CALL(0, thrum_future_add_done_callback(r->future, note, &marks[i]));
    }
}

static void end_somehow(thrum_future_t *f, int how)
{
    if (how == 0)
        EXPECT_CALL(0, thrum_future_complete(f, NULL));
    else if (how == 1)
        EXPECT_CALL(0, thrum_future_fail(f, EIO));
    else
        cr_expect(thrum_future_cancel(f));
}

Test(callback, they_are_called_once_in_the_order_added)
{
    for (int how = 0; how < 3; how++) {
        struct mark marks[64];
        struct record r = {.future = promised()};
        add_marks(&r, marks, 0, 60);
        cr_expect_eq(r.count, 0u);
        end_somehow(r.future, how);
        cr_expect_eq(r.count, 60u, "by the one who ended it");
        add_marks(&r, marks, 60, 64);
        cr_expect_eq(r.count, 64u, "at once");
        for (uint32_t i = 0; i < 64; i++)
            cr_expect_eq(r.order[i], i);
        thrum_future_release(r.future);
    }
}

Test(callback, invalid_ones_are_refused)
{
    thrum_future_t *f = promised();
    EXPECT_CALL(EINVAL, thrum_future_add_done_callback(f, NULL, NULL));
    EXPECT_CALL(EINVAL, thrum_future_then(f, NULL, NULL, NULL, NULL));
    thrum_future_release(f);
}

/* A second end calls nobody. */
Test(callback, a_second_end_calls_nothing)
{
    struct mark mark;
    struct record r = {.future = promised()};
    add_marks(&r, &mark, 0, 1);
    EXPECT_CALL(0, thrum_future_fail(r.future, EIO));
    EXPECT_CALL(EINVAL, thrum_future_complete(r.future, NULL));
    cr_expect_not(thrum_future_cancel(r.future));
    cr_expect_eq(r.count, 1u);
    thrum_future_release(r.future);
}

static void never(thrum_future_t *f, void *arg)
{
    (void)f, (void)arg;
    abort();
}

Test(callback, those_of_a_promise_that_is_dropped_are_never_called)
{
    for (int i = 0; i < 100; i++) {
        thrum_future_t *f = promised();
        for (int n = 0; n < i % 5; n++)
            EXPECT_CALL(0, thrum_future_add_done_callback(f, never, NULL));
        thrum_future_release(f);
    }
}

Test(callback, of_a_task_are_called_by_its_worker)
{
    struct gate gate = GATE_INIT;
    struct mark marks[8];
    thrum_executor_t *pool = pool_of(1, THRUM_POLICY_STEALING);
    struct record r = {.future = submitted(pool, stop_at, &gate)};
    await_word(&gate.inside, 1);
    add_marks(&r, marks, 0, 8);
    open_and_destroy(pool, &gate);
    cr_expect_eq(r.count, 8u);
    expect_result(r.future, 0);
}

Test(callback, cancelling_the_only_task_calls_them_now)
{
    struct gate gate = GATE_INIT;
    struct mark marks[8];
    thrum_executor_t *pool = pool_of(1, THRUM_POLICY_STEALING);
    keep_busy(pool, &gate);
    struct record r = {.future = submitted(pool, fail_with, NULL)};
    add_marks(&r, marks, 0, 8);
    cr_expect(thrum_future_cancel(r.future));
    cr_expect_eq(r.count, 8u, "though the worker is busy");
    open_and_destroy(pool, &gate);
    cr_expect_eq(r.count, 8u);
    expect_result(r.future, ECANCELED);
}

/* --- what a callback may do --------------------------------------------------------------------------- */

struct deed {
    thrum_executor_t *pool;
    thrum_future_t *own;
    thrum_future_t *other;
    struct record record;
    struct mark mark;
    int errors[8];
    uint32_t finished;
};

static void do_all(thrum_future_t *f, void *arg)
{
    struct deed *d = arg;
    void *value = NULL;
    size_t n = 0;
    int *errors = d->errors;
    d->record.future = f;
    d->mark = (struct mark){&d->record, 7};
    *errors++ = thrum_future_add_done_callback(f, note, &d->mark);
    *errors++ = thrum_future_cancel(d->other) ? 0 : EPROTO;
    *errors++ = thrum_future_result(f, &value);
    *errors++ = thrum_wait(&f, 1, THRUM_ALL_COMPLETED, THRUM_FOREVER, &n);
    *errors++ = thrum_executor_submit(d->pool, hand_back, &token, &d->other);
    *errors++ = thrum_future_result(d->other, &value);
    thrum_future_release(d->other);
    *errors = value == &token ? 0 : EPROTO;
    thrum_future_release(d->own); /* the last one */
    thi_store_release(&d->finished, 1u);
}

/* In this thread, or in the pool's only worker. */
static void let_it(thrum_executor_t *pool, bool by_worker)
{
    struct gate gate = GATE_INIT;
    struct deed d = {.pool = pool, .other = promised(), .errors = {1, 1, 1, 1, 1, 1, 1, 0}};
    thrum_future_t *const other = d.other;
    d.own = by_worker ? submitted(pool, stop_at, &gate) : promised();
    EXPECT_CALL(0, thrum_future_add_done_callback(d.own, do_all, &d));
    if (by_worker) {
        thrum_event_set(&gate.opened);
        await_word(&d.finished, 1);
    } else {
        EXPECT_CALL(0, thrum_future_complete(d.own, NULL));
    }
    thrum_executor_destroy(pool);
    for (int i = 0; i < 8; i++)
        cr_expect_eq(d.errors[i], 0, "%d", i);
    cr_expect_eq(d.record.count, 1u);
    thrum_future_release(other);
}

Test(callback, it_may_do_what_it_likes)
{
    for (EACH_POLICY(policy))
        for (int i = 0; i < 10; i++)
            let_it(pool_of(1, policy), i % 2 != 0);
}

static int end_it_there(void *arg, void **result)
{
    *result = NULL;
    return thrum_future_complete(arg, NULL);
}

Test(callback, it_may_do_so_in_a_task)
{
    for (EACH_POLICY(policy)) {
        thrum_executor_t *pool = pool_of(1, policy);
        struct deed d = {.pool = pool, .other = promised(), .errors = {1, 1, 1, 1, 1, 1, 1, 0}};
        thrum_future_t *const other = d.other;
        d.own = promised();
        EXPECT_CALL(0, thrum_future_add_done_callback(d.own, do_all, &d));
        expect_result(submitted(pool, end_it_there, d.own), 0);
        for (int i = 0; i < 8; i++)
            cr_expect_eq(d.errors[i], 0, "%d", i);
        thrum_future_release(other);
        thrum_executor_destroy(pool);
    }
}

/* Each ends the next: as deep as there are futures. */
static void end_next(thrum_future_t *f, void *arg)
{
    (void)f;
    if (arg != NULL && thrum_future_complete(arg, NULL) != 0)
        abort();
}

Test(callback, one_may_end_other_futures)
{
    enum { CHAIN = 1000 };
    thrum_future_t *f[CHAIN];
    for (int i = 0; i < CHAIN; i++)
        f[i] = promised();
    for (int i = 0; i < CHAIN; i++)
        EXPECT_CALL(
            0, thrum_future_add_done_callback(f[i], end_next, i + 1 < CHAIN ? f[i + 1] : NULL));
    EXPECT_CALL(0, thrum_future_complete(f[0], NULL));
    for (int i = 0; i < CHAIN; i++)
        expect_result(f[i], 0);
}

/* --- then ----------------------------------------------------------------------------------------------- */

/* Its own status is what the future before ended with, plus 1000; NULL arg: the value goes on. */
static int follow(thrum_future_t *before, void *arg, void **result)
{
    const int err = thrum_future_result(before, result);
    if (arg != NULL)
        thi_fetch_add_acq_rel((uint32_t *)arg, 1u);
    return err == 0 ? 0 : err + 1000;
}

static thrum_future_t *then(thrum_future_t *f, thrum_executor_t *ex, uint32_t *calls)
{
    thrum_future_t *next = NULL;
    EXPECT_CALL(0, thrum_future_then(f, ex, follow, calls, &next));
    cr_assert_not_null(next);
    return next;
}

static void expect_step(thrum_executor_t *ex, int how, bool late)
{
    uint32_t calls = 0;
    thrum_future_t *f = promised();
    if (late)
        end_somehow(f, how);
    thrum_future_t *next = then(f, ex, &calls);
    EXPECT_CALL(0, thrum_future_then(f, ex, follow, &calls, NULL));
    if (!late) {
        cr_expect_eq(thi_load_acquire(&calls), 0u);
        end_somehow(f, how);
    }
    thrum_future_release(f);
    expect_result(next, how == 0 ? 0 : how == 1 ? EIO + 1000 : ECANCELED + 1000);
    await_word(&calls, 2);
}

Test(callback, a_step_follows_however_it_ended)
{
    for (EACH_POLICY(policy)) {
        thrum_executor_t *pool = pool_of(1, policy);
        for (int i = 0; i < 12; i++)
            expect_step(i % 2 == 0 ? pool : NULL, i % 3, i < 6);
        thrum_executor_destroy(pool);
    }
}

Test(callback, values_go_along_a_chain)
{
    thrum_executor_t *pool = pool_of(2, THRUM_POLICY_STEALING);
    thrum_future_t *f = submitted(pool, hand_back, &token);
    for (int i = 0; i < 1000; i++) {
        thrum_future_t *next = then(f, i % 3 == 0 ? NULL : pool, NULL);
        thrum_future_release(f);
        f = next;
    }
    void *value = NULL;
    EXPECT_CALL(0, thrum_future_result(f, &value));
    cr_expect_eq(value, &token);
    thrum_future_release(f);
    thrum_executor_destroy(pool);
}

Test(callback, a_step_that_is_refused_fails)
{
    uint32_t calls = 0;
    struct mark mark;
    thrum_executor_t *pool = pool_of(1, THRUM_POLICY_STEALING);
    EXPECT_CALL(0, thrum_executor_shutdown(pool, THRUM_WAIT));
    thrum_future_t *f = promised();
    thrum_future_t *next = then(f, pool, &calls);
    struct record r = {.future = next};
    add_marks(&r, &mark, 0, 1);
    EXPECT_CALL(0, thrum_future_complete(f, NULL));
    cr_expect_eq(r.count, 1u);
    expect_result(next, ESHUTDOWN);
    expect_result(then(f, pool, &calls), ESHUTDOWN);
    cr_expect_eq(calls, 0u);
    thrum_future_release(f);
    thrum_executor_destroy(pool);
}

Test(callback, a_step_is_cancelled_before_its_time)
{
    uint32_t calls = 0;
    thrum_executor_t *pool = pool_of(1, THRUM_POLICY_STEALING);
    for (int i = 0; i < 8; i++) {
        thrum_future_t *f = promised();
        thrum_future_t *next = then(f, i % 2 == 0 ? pool : NULL, &calls);
        cr_expect(thrum_future_cancel(next));
        if (i < 4)
            EXPECT_CALL(0, thrum_future_complete(f, NULL));
        thrum_future_release(f); /* or it never comes */
        expect_result(next, ECANCELED);
    }
    thrum_executor_destroy(pool);
    cr_expect_eq(calls, 0u);
}

Test(callback, a_step_is_cancelled_while_it_is_queued)
{
    uint32_t calls = 0;
    struct gate gate = GATE_INIT;
    thrum_executor_t *pool = pool_of(1, THRUM_POLICY_STEALING);
    keep_busy(pool, &gate);
    thrum_future_t *f = promised();
    thrum_future_t *next = then(f, pool, &calls);
    EXPECT_CALL(0, thrum_future_complete(f, NULL));
    thrum_future_release(f);
    cr_expect(thrum_future_cancel(next));
    cr_expect(thrum_future_cancel(next));
    expect_result(next, ECANCELED);
    open_and_destroy(pool, &gate);
    cr_expect_eq(calls, 0u);
}

Test(callback, a_step_after_a_promise_that_is_dropped_is_cancelled)
{
    uint32_t calls = 0;
    struct mark mark;
    thrum_future_t *f = promised();
    struct record r = {.future = then(f, NULL, &calls)};
    thrum_future_t *last = then(r.future, NULL, &calls);
    add_marks(&r, &mark, 0, 1);
    thrum_future_release(f);
    cr_expect_eq(r.count, 1u);
    expect_result(r.future, ECANCELED);
    expect_result(last, ECANCELED + 1000);
    cr_expect_eq(calls, 1u);
}
