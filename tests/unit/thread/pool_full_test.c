#include "task/work.h"

/* A pool whose backlog is full. */
TestSuite(pool_full, .timeout = 60);

#define BACKLOG 10u

static thrum_executor_t *bounded(thrum_policy_t policy, thrum_full_t full)
{
    thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
    config.workers = 1;
    config.policy = policy;
    config.backlog = BACKLOG;
    config.full = full;
    return pool_as(&config);
}

static void fill(thrum_executor_t *pool, struct gate *gate, uint32_t *ran)
{
    keep_busy(pool, gate);
    for (uint32_t i = 0; i < BACKLOG; i++)
        EXPECT_CALL(0, thrum_executor_submit(pool, add_one, ran, NULL));
}

/* Nobody waits, and whatever the pool is made to do. */
Test(pool_full, a_deadline_is_kept)
{
    for (int i = 0; i < 12; i++) {
        struct gate gate = GATE_INIT;
        uint32_t ran = 0;
        thrum_future_t *f = NULL;
        thrum_executor_t *pool = bounded((thrum_policy_t)(i % 4), (thrum_full_t)(i / 4));
        fill(pool, &gate, &ran);
        EXPECT_CALL(ETIMEDOUT, thrum_executor_submit_until(pool, add_one, &ran, PAST, &f));
        EXPECT_CALL(ETIMEDOUT, thrum_executor_submit_until(pool, add_one, &ran, SOON, &f));
        EXPECT_CALL(ETIMEDOUT, thrum_executor_submit_until(pool, add_one, &ran, INT64_MIN, &f));
        cr_expect_null(f);
        thrum_event_set(&gate.opened);
        EXPECT_CALL(0, thrum_executor_submit_until(pool, add_one, &ran, THRUM_FOREVER, &f));
        expect_result(f, 0);
        thrum_executor_destroy(pool);
        cr_expect_eq(ran, BACKLOG + 1);
    }
}

static int no_bytes(const void *in, size_t size, thrum_reply_t *reply)
{
    (void)in, (void)size, (void)reply;
    return EPROTO;
}

Test(pool_full, it_fails)
{
    for (EACH_POLICY(policy)) {
        struct gate gate = GATE_INIT;
        uint32_t ran = 0;
        thrum_future_t *f = NULL;
        thrum_executor_t *pool = bounded(policy, THRUM_FULL_FAIL);
        thrum_group_t g = THRUM_GROUP_INIT(pool);
        fill(pool, &gate, &ran);
        for (int i = 0; i < 3; i++)
            EXPECT_CALL(EAGAIN, thrum_executor_submit(pool, add_one, &ran, &f));
        EXPECT_CALL(EAGAIN, thrum_executor_submit_cost(pool, add_one, &ran, -1, NULL));
        EXPECT_CALL(EAGAIN, thrum_executor_submit_bytes(pool, no_bytes, NULL, 0, &f));
        EXPECT_CALL(EAGAIN, thrum_group_spawn(&g, add_one, &ran));
        EXPECT_CALL(0, thrum_group_wait(&g));
        cr_expect_null(f);
        open_and_destroy(pool, &gate);
        cr_expect_eq(ran, BACKLOG);
    }
}

/* Those under way do not count, those that a worker has picked up do. */
Test(pool_full, it_holds_what_it_says_and_no_more)
{
    for (EACH_POLICY(policy)) {
        struct gate first = GATE_INIT, second = GATE_INIT;
        uint32_t accepted = 0;
        thrum_executor_t *pool = bounded(policy, THRUM_FULL_FAIL);
        keep_busy(pool, &first);
        while (thrum_executor_submit(pool, hold_at, &second, NULL) == 0)
            accepted++;
        cr_expect_eq(accepted, BACKLOG);
        thrum_event_set(&first.opened);
        await_word(&second.inside, 1);
        while (thrum_executor_submit(pool, hold_at, &second, NULL) == 0)
            accepted++;
        cr_expect_eq(accepted, BACKLOG + 1, "policy %d", (int)policy);
        open_and_destroy(pool, &second);
        cr_expect_eq(second.inside, accepted);
    }
}

static pthread_t ran_by;

static int note_thread(void *arg, void **result)
{
    ran_by = pthread_self();
    *result = arg;
    return arg != NULL ? EIO : 0;
}

Test(pool_full, it_runs_in_the_caller)
{
    for (EACH_POLICY(policy)) {
        struct gate gate = GATE_INIT;
        uint32_t ran = 0;
        thrum_executor_stats_t stats;
        thrum_executor_t *pool = bounded(policy, THRUM_FULL_RUN);
        thrum_group_t g = THRUM_GROUP_INIT(pool);
        fill(pool, &gate, &ran);
        thrum_future_t *f = submitted(pool, note_thread, &ran);
        cr_expect(thrum_future_done(f) && pthread_equal(ran_by, pthread_self()));
        expect_result(f, EIO);
        ran_by = 0;
        EXPECT_CALL(0, thrum_group_spawn(&g, note_thread, NULL));
        cr_expect(pthread_equal(ran_by, pthread_self()));
        EXPECT_CALL(0, thrum_group_wait(&g));
        thrum_event_set(&gate.opened);
        EXPECT_CALL(0, thrum_executor_shutdown(pool, THRUM_WAIT));
        thrum_executor_stats(pool, &stats);
        cr_expect(stats.completed == BACKLOG + 2 && stats.failed == 1);
        thrum_executor_destroy(pool);
    }
}

/* --- waiting for room --------------------------------------------------------------------------------- */

struct submitter {
    thrum_executor_t *pool;
    uint32_t *ran;
    thrum_future_t *f;
};

static int submit_one(void *arg)
{
    struct submitter *s = arg;
    return thrum_executor_submit(s->pool, add_one, s->ran, &s->f);
}

static void with_waiting(thrum_policy_t policy, int end)
{
    struct gate gate = GATE_INIT;
    struct caller c;
    uint32_t ran = 0;
    struct submitter s = {bounded(policy, THRUM_FULL_WAIT), &ran, NULL};
    fill(s.pool, &gate, &ran);
    caller_start(&c, submit_one, &s);
    await_asleep(&c);
    if (end == 1)
        caller_cancel(&c);
    if (end == 2)
        EXPECT_CALL(0, thrum_executor_shutdown(s.pool, 0));
    cr_expect(end != 0 || caller_stays(&c));
    if (end == 0)
        thrum_event_set(&gate.opened);
    cr_expect_eq(caller_join(&c), end == 0 ? 0 : end == 1 ? ECANCELED : ESHUTDOWN);
    cr_expect((s.f != NULL) == (end == 0));
    open_and_destroy(s.pool, &gate);
    cr_expect_eq(ran, end == 0 ? BACKLOG + 1 : BACKLOG);
    thrum_future_release(s.f);
}

Test(pool_full, it_waits_for_room)
{
    for (EACH_POLICY(policy))
        for (int end = 0; end < 3; end++)
            with_waiting(policy, end);
}

/* In a task of its own it cannot wait: it runs them. */
static int submit_many(void *arg, void **result)
{
    const struct submitter *s = arg;
    int err = 0;
    *result = NULL;
    for (uint32_t i = 0; i < BACKLOG * 3; i++)
        err |= thrum_executor_submit(s->pool, add_one, s->ran, NULL);
    return thi_load_acquire(s->ran) == BACKLOG * 2 ? err : EPROTO;
}

Test(pool_full, a_task_runs_what_it_has_no_room_for)
{
    for (EACH_POLICY(policy)) {
        uint32_t ran = 0;
        struct submitter s = {bounded(policy, THRUM_FULL_WAIT), &ran, NULL};
        expect_result(submitted(s.pool, submit_many, &s), 0);
        thrum_executor_destroy(s.pool);
        cr_expect_eq(ran, BACKLOG * 3);
    }
}

/* It may wait if it says for how long: a spare worker makes room. */
static int submit_until(void *arg, void **result)
{
    const struct submitter *s = arg;
    int err = 0;
    *result = NULL;
    for (uint32_t i = 0; i < BACKLOG * 3; i++)
        err |= thrum_executor_submit_until(s->pool, add_one, s->ran, THRUM_FOREVER, NULL);
    return err;
}

Test(pool_full, a_task_may_wait_for_room)
{
    for (EACH_POLICY(policy)) {
        uint32_t ran = 0;
        struct submitter s = {bounded(policy, THRUM_FULL_FAIL), &ran, NULL};
        expect_result(submitted(s.pool, submit_until, &s), 0);
        thrum_executor_destroy(s.pool);
        cr_expect_eq(ran, BACKLOG * 3);
    }
}
