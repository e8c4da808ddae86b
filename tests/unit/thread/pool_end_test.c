#include "task/work.h"

/* The end of a thread pool: shutdown, destroy, exit, fork. */
TestSuite(pool_end, .timeout = 60);

enum { QUEUED = 50 };

static const unsigned all_flags[] = {0, THRUM_WAIT, THRUM_CANCEL_PENDING,
                                     THRUM_WAIT | THRUM_CANCEL_PENDING};

static void count_end(thrum_future_t *f, void *arg)
{
    void *unwanted = NULL;
    if (!thrum_future_done(f) || add_one(arg, &unwanted) != 0)
        abort();
}

struct busy {
    thrum_executor_t *pool;
    struct gate gate;
    thrum_future_t *f[QUEUED];
    uint32_t ran;
    uint32_t called;
};

/* A worker that is held, and tasks behind it. */
static void busy_begin(struct busy *b, thrum_policy_t policy)
{
    *b = (struct busy){.pool = pool_of(1, policy), .gate = GATE_INIT};
    keep_busy(b->pool, &b->gate);
    for (int i = 0; i < QUEUED; i++) {
        b->f[i] = submitted(b->pool, add_one, &b->ran);
        EXPECT_CALL(0, thrum_future_add_done_callback(b->f[i], count_end, &b->called));
    }
}

static void busy_end(struct busy *b, int status)
{
    open_and_destroy(b->pool, &b->gate);
    for (int i = 0; i < QUEUED; i++)
        expect_result(b->f[i], status);
    cr_expect_eq(b->called, (uint32_t)QUEUED);
    cr_expect_eq(b->ran, status == 0 ? (uint32_t)QUEUED : 0u);
}

/* --- flags ---------------------------------------------------------------------------------------------- */

static void shut_down_busy(thrum_policy_t policy, unsigned flags)
{
    struct busy b;
    thrum_future_t *f = NULL;
    const bool cancels = (flags & THRUM_CANCEL_PENDING) != 0;
    const bool waits = (flags & THRUM_WAIT) != 0;
    busy_begin(&b, policy);
    for (int i = 0; i < 2; i++) /* again: the same */
        EXPECT_CALL(waits ? ETIMEDOUT : 0, thrum_executor_shutdown_until(b.pool, flags, SOON));
    cr_expect_eq(b.called, cancels ? (uint32_t)QUEUED : 0u, "cancelled now");
    EXPECT_CALL(ESHUTDOWN, thrum_executor_submit(b.pool, add_one, &b.ran, &f));
    EXPECT_CALL(ESHUTDOWN, thrum_executor_submit_until(b.pool, add_one, &b.ran, SOON, &f));
    cr_expect_null(f);
    thrum_event_set(&b.gate.opened);
    EXPECT_CALL(0, thrum_executor_shutdown(b.pool, THRUM_WAIT));
    EXPECT_CALL(0, thrum_executor_shutdown_until(b.pool, THRUM_WAIT, PAST));
    EXPECT_CALL(0, thrum_executor_shutdown(b.pool, 0));
    EXPECT_CALL(ESHUTDOWN, thrum_executor_submit(b.pool, add_one, &b.ran, &f));
    busy_end(&b, cancels ? ECANCELED : 0);
}

Test(pool_end, a_shutdown_does_what_its_flags_say)
{
    for (EACH_POLICY(policy))
        for (int i = 0; i < 4; i++)
            shut_down_busy(policy, all_flags[i]);
}

Test(pool_end, flags_add_up)
{
    struct busy b;
    busy_begin(&b, THRUM_POLICY_STEALING);
    EXPECT_CALL(0, thrum_executor_shutdown(b.pool, 0));
    cr_expect_eq(b.called, 0u);
    EXPECT_CALL(0, thrum_executor_shutdown(b.pool, THRUM_CANCEL_PENDING));
    cr_expect_eq(b.called, (uint32_t)QUEUED);
    busy_end(&b, ECANCELED);
}

Test(pool_end, destroy_waits_for_what_was_accepted)
{
    for (EACH_POLICY(policy)) {
        struct busy b;
        busy_begin(&b, policy);
        busy_end(&b, 0);
    }
}

Test(pool_end, a_group_hears_of_it)
{
    struct gate gate = GATE_INIT;
    uint32_t ran = 0;
    thrum_executor_t *pool = pool_of(1, THRUM_POLICY_STEALING);
    thrum_group_t g = THRUM_GROUP_INIT(pool);
    keep_busy(pool, &gate);
    for (int i = 0; i < QUEUED; i++)
        EXPECT_CALL(0, thrum_group_spawn(&g, add_one, &ran));
    EXPECT_CALL(0, thrum_executor_shutdown(pool, THRUM_CANCEL_PENDING));
    EXPECT_CALL(ECANCELED, thrum_group_wait(&g));
    cr_expect_eq(ran, 0u);
    open_and_destroy(pool, &gate);
}

static int shut_down_and_wait(void *pool)
{
    return thrum_executor_shutdown(pool, THRUM_WAIT);
}

Test(pool_end, a_waiting_shutdown_is_cancelled)
{
    struct busy b;
    struct caller c;
    busy_begin(&b, THRUM_POLICY_STEALING);
    caller_start(&c, shut_down_and_wait, b.pool);
    await_asleep(&c);
    caller_cancel(&c);
    cr_expect_eq(caller_join(&c), ECANCELED);
    busy_end(&b, 0);
}

Test(pool_end, two_threads_shut_it_down)
{
    for (int i = 0; i < 200; i++) {
        struct caller c[2];
        uint32_t ran = 0;
        thrum_executor_t *pool = pool_of(2, THRUM_POLICY_STEALING);
        for (int n = 0; n < 100; n++)
            EXPECT_CALL(0, thrum_executor_submit(pool, add_one, &ran, NULL));
        caller_start(&c[0], shut_down_and_wait, pool);
        caller_start(&c[1], shut_down_and_wait, pool);
        cr_expect_eq(caller_join(&c[0]), 0);
        cr_expect_eq(ran, 100u);
        cr_expect_eq(caller_join(&c[1]), 0);
        thrum_executor_destroy(pool);
    }
}

/* --- from within --------------------------------------------------------------------------------------- */

static int shut_down_own(void *pool, void **result)
{
    (void)result;
    if (thrum_executor_shutdown(pool, THRUM_WAIT | THRUM_CANCEL_PENDING) != EDEADLK ||
        thrum_executor_shutdown_until(pool, THRUM_WAIT, PAST) != EDEADLK ||
        thrum_executor_submit(pool, hand_back, NULL, NULL) != ESHUTDOWN)
        return EPROTO;
    return thrum_executor_shutdown(pool, 0);
}

Test(pool_end, a_task_may_shut_its_pool_down)
{
    for (EACH_POLICY(policy)) {
        thrum_executor_t *pool = pool_of(1, policy);
        expect_result(submitted(pool, shut_down_own, pool), 0);
        EXPECT_CALL(0, thrum_executor_shutdown(pool, THRUM_WAIT));
        thrum_executor_destroy(pool);
    }
}

struct suicide {
    thrum_executor_t *pool;
    uint32_t *ran;
    thrum_future_t *last;
};

static int destroy_own(void *arg, void **result)
{
    struct suicide *s = arg;
    int err = 0;
    (void)result;
    for (int i = 0; i < 10; i++)
        err |= thrum_executor_submit(s->pool, add_one, s->ran, i < 9 ? NULL : &s->last);
    thrum_executor_destroy(s->pool);
    return err;
}

Test(pool_end, a_task_may_destroy_its_pool)
{
    for (int i = 0; i < 400; i++) {
        uint32_t ran = 0;
        struct suicide s = {pool_of(1 + (size_t)i % 3, (thrum_policy_t)(i % 4)), &ran, NULL};
        expect_result(submitted(s.pool, destroy_own, &s), 0);
        expect_result(s.last, 0);
        await_word(&ran, 10);
    }
}

/* Work that comes, and tasks that fall asleep, when workers are already on their way out. */
struct late {
    thrum_executor_t *pool;
    struct gate gate;
    thrum_event_t served;
    uint32_t closed;
    uint32_t leaving;
    uint32_t may_leave;
};

static void leave_slowly(void *ctx)
{
    struct late *l = ctx;
    thi_fetch_add_acq_rel(&l->leaving, 1u);
    while (thi_load_acquire(&l->may_leave) == 0)
        sched_yield();
}

static int serve(void *arg, void **result)
{
    (void)result;
    thrum_event_set(arg);
    return 0;
}

static int need_service(void *arg, void **result)
{
    struct late *l = arg;
    thrum_group_t g = THRUM_GROUP_INIT(l->pool);
    (void)hold_at(&l->gate, result);
    int err = thrum_group_spawn(&g, serve, &l->served);
    thi_store_release(&l->may_leave, 1u);
    err |= thrum_event_wait(&l->served); /* not for the group, which would run it */
    return err | thrum_group_wait(&g);
}

Test(pool_end, who_leaves_leaves_nobody_waiting)
{
    for (int i = 0; i < 200; i++) {
        struct late l = {.gate = GATE_INIT, .served = THRUM_EVENT_INIT};
        thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
        config.workers = 2;
        config.fini = leave_slowly;
        config.ctx = &l;
        l.pool = pool_as(&config);
        thrum_future_t *f = submitted(l.pool, need_service, &l);
        await_word(&l.gate.inside, 1);
        EXPECT_CALL(0, thrum_executor_shutdown(l.pool, 0));
        await_word(&l.leaving, 1);
        thrum_event_set(&l.gate.opened);
        expect_result(f, 0);
        thrum_executor_destroy(l.pool);
    }
}

Test(pool_end, spare_workers_go_with_the_others)
{
    for (int i = 0; i < 200; i++) {
        struct gate gate = GATE_INIT;
        thrum_executor_t *pool = pool_of(1 + (size_t)i % 2, THRUM_POLICY_STEALING);
        for (uint32_t n = 0; n < 3; n++)
            EXPECT_CALL(0, thrum_executor_submit(pool, stop_at, &gate, NULL));
        await_word(&gate.inside, 3);
        EXPECT_CALL(ETIMEDOUT, thrum_executor_shutdown_until(pool, THRUM_WAIT, PAST));
        open_and_destroy(pool, &gate);
    }
}

/* --- many ------------------------------------------------------------------------------------------------ */

Test(pool_end, a_hundred_threads_wait_for_futures_of_a_pool_that_goes)
{
    enum { WAITERS = 100 };
    for (int cancels = 0; cancels < 2; cancels++) {
        static struct caller c[WAITERS];
        struct busy b;
        busy_begin(&b, THRUM_POLICY_STEALING);
        for (int i = 0; i < WAITERS; i++)
            caller_start(&c[i], wait_for_future, b.f[i % QUEUED]);
        for (int i = 0; i < QUEUED; i++)
            await_parked(b.f[i], WAITERS / QUEUED);
        if (cancels != 0)
            EXPECT_CALL(0, thrum_executor_shutdown(b.pool, THRUM_CANCEL_PENDING));
        thrum_event_set(&b.gate.opened);
        thrum_executor_destroy(b.pool);
        for (int i = 0; i < WAITERS; i++)
            cr_expect_eq(caller_join(&c[i]), 0);
        for (int i = 0; i < QUEUED; i++)
            expect_result(b.f[i], cancels != 0 ? ECANCELED : 0);
    }
}

static void come_and_go(size_t workers, uint32_t tasks, int times)
{
    for (int i = 0; i < times; i++) {
        uint32_t ran = 0;
        thrum_executor_t *pool = pool_of(workers, (thrum_policy_t)(i % 4));
        for (uint32_t n = 0; n < tasks; n++)
            cr_assert_eq(thrum_executor_submit(pool, add_one, &ran, NULL), 0);
        thrum_executor_destroy(pool);
        cr_assert_eq(ran, tasks);
    }
}

Test(pool_end, pools_come_and_go)
{
    come_and_go(1, 0, 3000);
    come_and_go(2, 0, 1000);
    come_and_go(1, 1, 3000);
    come_and_go(2, 1, 1000);
    come_and_go(1, 1000, 500);
    come_and_go(4, 1000, 200);
}
