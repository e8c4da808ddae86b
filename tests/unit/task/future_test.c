#include "task/work.h"

/* Promises, states, and waiting for one future. */
TestSuite(future, .timeout = 60);

static int token;

struct state {
    bool running;
    bool done;
    bool cancelled;
};

static void expect_state(const thrum_future_t *f, struct state s)
{
    cr_expect_eq(thrum_future_running(f), s.running);
    cr_expect_eq(thrum_future_done(f), s.done);
    cr_expect_eq(thrum_future_cancelled(f), s.cancelled);
}

static const struct state pending, running = {.running = true}, done = {.done = true},
                                   cancelled = {.done = true, .cancelled = true};

/* Nothing that may be asked of one that has ended changes it. */
static void expect_final(thrum_future_t *f, int status, void *value)
{
    const bool was_cancelled = status == ECANCELED && value == NULL;
    for (int i = 0; i < 2; i++) {
        void *got = &got;
        EXPECT_CALL(EINVAL, thrum_future_complete(f, &got));
        EXPECT_CALL(EINVAL, thrum_future_fail(f, EIO));
        EXPECT_CALL(was_cancelled ? ECANCELED : EINVAL, thrum_future_start(f));
        cr_expect_eq(thrum_future_cancel(f), was_cancelled);
        EXPECT_CALL(was_cancelled ? 0 : EINVAL, thrum_future_interrupt(f));
        EXPECT_CALL(0, thrum_future_wait(f));
        EXPECT_CALL(0, thrum_future_trywait(f));
        EXPECT_CALL(0, thrum_future_wait_until(f, PAST));
        EXPECT_CALL(status, thrum_future_result(f, &got));
        cr_expect_eq(got, value);
        EXPECT_CALL(status, thrum_future_result_until(f, NULL, PAST));
        expect_state(f, was_cancelled ? cancelled : done);
    }
}

/* --- promises --------------------------------------------------------------------------------------- */

Test(future, nothing_is_done_to_no_future)
{
    thrum_future_t *next = NULL;
    cr_expect_null(thrum_future_retain(NULL));
    thrum_future_release(NULL);
    EXPECT_CALL(EINVAL, thrum_future_create(NULL));
    EXPECT_CALL(EINVAL, thrum_future_start(NULL));
    EXPECT_CALL(EINVAL, thrum_future_complete(NULL, NULL));
    EXPECT_CALL(EINVAL, thrum_future_fail(NULL, EIO));
    EXPECT_CALL(EINVAL, thrum_future_interrupt(NULL));
    EXPECT_CALL(EINVAL, thrum_future_wait(NULL));
    EXPECT_CALL(EINVAL, thrum_future_trywait(NULL));
    EXPECT_CALL(EINVAL, thrum_future_wait_until(NULL, PAST));
    EXPECT_CALL(EINVAL, thrum_future_result(NULL, NULL));
    EXPECT_CALL(EINVAL, thrum_future_bytes(NULL, NULL, NULL));
    EXPECT_CALL(EINVAL, thrum_future_kill(NULL));
    EXPECT_CALL(EINVAL, thrum_future_cause(NULL, NULL, NULL));
    EXPECT_CALL(EINVAL, thrum_future_add_done_callback(NULL, NULL, NULL));
    EXPECT_CALL(EINVAL, thrum_future_then(NULL, NULL, NULL, NULL, &next));
    cr_expect_not(thrum_future_cancel(NULL));
    expect_state(NULL, pending);
}

Test(future, a_promise_is_kept_once)
{
    for (int started = 0; started < 2; started++) {
        thrum_future_t *f = promised();
        expect_state(f, pending);
        EXPECT_CALL(EAGAIN, thrum_future_trywait(f));
        EXPECT_CALL(ETIMEDOUT, thrum_future_wait_until(f, PAST));
        if (started != 0) {
            EXPECT_CALL(0, thrum_future_start(f));
            EXPECT_CALL(EINVAL, thrum_future_start(f));
            expect_state(f, running);
            cr_expect_not(thrum_future_cancel(f));
            EXPECT_CALL(ENOTSUP, thrum_future_interrupt(f));
        }
        EXPECT_CALL(0, thrum_future_complete(f, &token));
        expect_final(f, 0, &token);
        thrum_future_release(f);
    }
}

Test(future, a_promise_is_broken_once)
{
    for (int started = 0; started < 2; started++) {
        thrum_future_t *f = promised();
        if (started != 0)
            EXPECT_CALL(0, thrum_future_start(f));
        EXPECT_CALL(EINVAL, thrum_future_fail(f, 0));
        EXPECT_CALL(EINVAL, thrum_future_fail(f, -1));
        expect_state(f, started != 0 ? running : pending);
        EXPECT_CALL(0, thrum_future_fail(f, EPROTO));
        expect_final(f, EPROTO, NULL);
        thrum_future_release(f);
    }
}

Test(future, a_promise_is_cancelled_before_it_starts)
{
    for (int how = 0; how < 2; how++) {
        thrum_future_t *f = promised();
        if (how == 0)
            cr_expect(thrum_future_cancel(f));
        else
            EXPECT_CALL(0, thrum_future_interrupt(f));
        expect_final(f, ECANCELED, NULL);
        thrum_future_release(f);
    }
}

Test(future, one_that_failed_with_the_error_of_cancellation_is_not_cancelled)
{
    thrum_future_t *f = promised();
    EXPECT_CALL(0, thrum_future_fail(f, ECANCELED));
    EXPECT_CALL(ECANCELED, thrum_future_result(f, NULL));
    expect_state(f, done);
    cr_expect_not(thrum_future_cancel(f));
    thrum_future_release(f);
}

Test(future, promises_are_dropped_in_any_state)
{
    for (int i = 0; i < 200; i++) {
        thrum_future_t *f = promised();
        cr_expect_eq(thrum_future_retain(f), f);
        if (i % 4 == 1)
            EXPECT_CALL(0, thrum_future_start(f));
        if (i % 4 == 2)
            EXPECT_CALL(0, thrum_future_complete(f, NULL));
        if (i % 4 == 3)
            cr_expect(thrum_future_cancel(f));
        thrum_future_release(f);
        thrum_future_release(f);
    }
}

/* --- tasks ------------------------------------------------------------------------------------------- */

Test(future, a_task_s_result_is_its_future_s)
{
    thrum_executor_t *pool = pool_of(2, THRUM_POLICY_STEALING);
    thrum_future_t *f = submitted(pool, hand_back, &token);
    EXPECT_CALL(0, thrum_future_wait(f));
    expect_final(f, 0, &token);
    EXPECT_CALL(ENOTSUP, thrum_future_bytes(f, NULL, NULL));
    EXPECT_CALL(ENOTSUP, thrum_future_kill(f));
    EXPECT_CALL(ENOTSUP, thrum_future_cause(f, NULL, NULL));
    thrum_future_release(f);

    f = submitted(pool, fail_with, ERROR(EPROTO));
    EXPECT_CALL(0, thrum_future_wait(f));
    expect_final(f, EPROTO, NULL);
    thrum_executor_destroy(pool);
    expect_final(f, EPROTO, NULL);
    thrum_future_release(f);
}

Test(future, a_task_is_nobody_else_s_to_end)
{
    struct gate gate = GATE_INIT;
    thrum_executor_t *pool = pool_of(1, THRUM_POLICY_STEALING);
    thrum_future_t *f = submitted(pool, stop_at, &gate);
    await_word(&gate.inside, 1);
    expect_state(f, running);
    EXPECT_CALL(EINVAL, thrum_future_start(f));
    EXPECT_CALL(EINVAL, thrum_future_complete(f, &token));
    EXPECT_CALL(EINVAL, thrum_future_fail(f, EIO));
    cr_expect_not(thrum_future_cancel(f));
    EXPECT_CALL(EAGAIN, thrum_future_trywait(f));
    EXPECT_CALL(ETIMEDOUT, thrum_future_result_until(f, NULL, SOON));
    thrum_event_set(&gate.opened);
    expect_result(f, 0);
    thrum_executor_destroy(pool);
}

Test(future, a_pending_task_is_cancelled_and_never_runs)
{
    struct gate gate = GATE_INIT;
    uint32_t ran = 0;
    thrum_executor_t *pool = pool_of(1, THRUM_POLICY_STEALING);
    keep_busy(pool, &gate);
    for (int how = 0; how < 2; how++) {
        thrum_future_t *f = submitted(pool, add_one, &ran);
        EXPECT_CALL(EINVAL, thrum_future_complete(f, NULL));
        EXPECT_CALL(EINVAL, thrum_future_fail(f, EIO));
        EXPECT_CALL(EINVAL, thrum_future_start(f));
        expect_state(f, pending);
        if (how == 0)
            cr_expect(thrum_future_cancel(f));
        else
            EXPECT_CALL(0, thrum_future_interrupt(f));
        expect_state(f, cancelled);
        expect_result(f, ECANCELED);
    }
    open_and_destroy(pool, &gate);
    cr_expect_eq(ran, 0u);
}

/* --- asking a task to stop --------------------------------------------------------------------------- */

static int stop_twice(void *arg, void **result)
{
    thrum_sem_t never = THRUM_SEM_INIT(0);
    int err = stop_for_ever(arg, result);
    if (!thrum_cancelled() || err != ECANCELED)
        return EPROTO;
    err = thrum_sem_acquire(&never); /* it stays */
    return err == ECANCELED ? EINTR : EPROTO;
}

static int is_asked(void *arg, void **result)
{
    (void)arg, (void)result;
    return thrum_cancelled() ? EPROTO : 0;
}

static int note_asked(void *arg, void **result)
{
    const uint32_t answer = thrum_cancelled() ? 2u : 1u;
    *result = NULL;
    thi_store_release((uint32_t *)arg, answer);
    return 0;
}

Test(future, a_running_task_can_be_interrupted)
{
    thrum_executor_t *pool = pool_of(1, THRUM_POLICY_STEALING);
    for (int i = 0; i < 100; i++) {
        uint32_t inside = 0, answer = 0;
        thrum_future_t *f = submitted(pool, stop_twice, &inside);
        if (i % 2 == 0)
            await_word(&inside, 1);
        while (!thrum_future_running(f))
            sched_yield();
        EXPECT_CALL(0, thrum_future_interrupt(f));
        EXPECT_CALL(EINTR, thrum_future_result(f, NULL));
        EXPECT_CALL(EINVAL, thrum_future_interrupt(f));
        /* The next ones are not meant. */
        EXPECT_CALL(0, thrum_executor_submit(pool, note_asked, &answer, NULL));
        await_reaches(&answer, 1);
        cr_expect_eq(answer, 1u);
        thrum_future_release(f);
        expect_result(submitted(pool, is_asked, NULL), 0);
    }
    thrum_executor_destroy(pool);
}

/* --- waiting ----------------------------------------------------------------------------------------- */

Test(future, all_who_wait_are_woken)
{
    enum { WAITERS = 20 };
    for (int end = 0; end < 3; end++) {
        struct caller c[WAITERS];
        thrum_future_t *f = promised();
        for (int i = 0; i < WAITERS; i++)
            caller_start(&c[i], wait_for_future, f);
        await_parked(f, WAITERS);
        if (end == 0)
            EXPECT_CALL(0, thrum_future_complete(f, NULL));
        else if (end == 1)
            EXPECT_CALL(0, thrum_future_fail(f, EIO));
        else
            cr_expect(thrum_future_cancel(f));
        for (int i = 0; i < WAITERS; i++)
            cr_expect_eq(caller_join(&c[i]), 0);
        thrum_future_release(f);
    }
}

Test(future, starting_wakes_nobody)
{
    struct caller c;
    thrum_future_t *f = promised();
    caller_start(&c, wait_for_future, f);
    await_asleep(&c);
    EXPECT_CALL(0, thrum_future_start(f));
    cr_expect(caller_stays(&c));
    thi_strand_unpark(caller_strand(&c));
    cr_expect(caller_stays(&c));
    EXPECT_CALL(0, thrum_future_complete(f, NULL));
    cr_expect_eq(caller_join(&c), 0);
    thrum_future_release(f);
}

Test(future, a_cancelled_wait_leaves_the_future_alone)
{
    struct caller c;
    thrum_future_t *f = promised();
    caller_start(&c, wait_for_future, f);
    await_asleep(&c);
    caller_cancel(&c);
    cr_expect_eq(caller_join(&c), ECANCELED);
    expect_state(f, pending);
    EXPECT_CALL(0, thrum_future_complete(f, &token));
    expect_final(f, 0, &token);
    thrum_future_release(f);
}

static int wait_when_cancelled(void *arg)
{
    thi_strand_cancel(thi_self());
    return thrum_future_wait(arg);
}

Test(future, an_ended_one_is_had_by_a_cancelled_strand)
{
    struct caller c;
    thrum_future_t *f = promised();
    caller_start(&c, wait_when_cancelled, f);
    cr_expect_eq(caller_join(&c), ECANCELED);
    EXPECT_CALL(0, thrum_future_complete(f, NULL));
    caller_start(&c, wait_when_cancelled, f);
    cr_expect_eq(caller_join(&c), 0);
    thrum_future_release(f);
}

struct self_waiter {
    thrum_future_t *self;
    thrum_event_t known;
    int errors[4];
};

static int wait_for_oneself(void *arg, void **result)
{
    struct self_waiter *w = arg;
    size_t n = 0;
    (void)result;
    (void)thrum_event_wait(&w->known);
    w->errors[0] = thrum_future_wait(w->self);
    w->errors[1] = thrum_future_result_until(w->self, NULL, THRUM_FOREVER);
    w->errors[2] = thrum_wait(&w->self, 1, THRUM_ALL_COMPLETED, THRUM_FOREVER, &n);
    w->errors[3] = thrum_wait(&w->self, 1, THRUM_FIRST_COMPLETED, THRUM_FOREVER, &n);
    return thrum_future_trywait(w->self);
}

Test(future, a_task_cannot_wait_for_itself)
{
    struct self_waiter w = {NULL, THRUM_EVENT_INIT, {0}};
    thrum_executor_t *pool = pool_of(1, THRUM_POLICY_STEALING);
    w.self = submitted(pool, wait_for_oneself, &w);
    thrum_event_set(&w.known);
    EXPECT_CALL(EAGAIN, thrum_future_result(w.self, NULL));
    for (int i = 0; i < 4; i++)
        cr_expect_eq(w.errors[i], EDEADLK, "%d", i);
    thrum_future_release(w.self);
    thrum_executor_destroy(pool);
}

/* --- select ------------------------------------------------------------------------------------------ */

static int select_either(void *arg)
{
    thrum_future_t **fs = arg;
    thrum_case_t cases[] = {THRUM_CASE_FUTURE(fs[0]), THRUM_CASE_FUTURE(fs[1])};
    size_t chosen = 99;
    const int err = thrum_select(cases, 2, THRUM_FOREVER, &chosen);
    return err == 0 ? 1000 + (int)chosen : err;
}

Test(future, select_waits_for_one_to_end)
{
    for (int which = 0; which < 2; which++) {
        struct caller c;
        thrum_future_t *fs[] = {promised(), promised()};
        caller_start(&c, select_either, fs);
        await_asleep(&c);
        cr_expect(caller_stays(&c));
        if (which == 0)
            EXPECT_CALL(0, thrum_future_fail(fs[0], EIO));
        else
            cr_expect(thrum_future_cancel(fs[1]));
        cr_expect_eq(caller_join(&c), 1000 + which);
        cr_expect_eq(select_either(fs), 1000 + which, "it stays so");
        thrum_future_release(fs[0]);
        thrum_future_release(fs[1]);
    }
}

Test(future, select_leaves_futures_alone)
{
    thrum_future_t *f = promised();
    thrum_case_t cases[] = {THRUM_CASE_FUTURE(f), THRUM_CASE_FUTURE(NULL)};
    size_t chosen = 99;
    EXPECT_CALL(EAGAIN, thrum_tryselect(cases, 1, &chosen));
    EXPECT_CALL(ETIMEDOUT, thrum_select(cases, 1, SOON, &chosen));
    EXPECT_CALL(EINVAL, thrum_select(cases, 2, SOON, &chosen));
    cr_expect_eq(chosen, 99u);
    EXPECT_CALL(0, thrum_future_complete(f, NULL));
    EXPECT_CALL(0, thrum_tryselect(cases, 1, &chosen));
    cr_expect_eq(chosen, 0u);
    thrum_future_release(f);
}
