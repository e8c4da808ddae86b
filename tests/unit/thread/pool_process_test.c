#include "support/child.h"
#include "support/left_behind.h"
#include "task/work.h"

/* Pools when the process ends, and when it forks. */
TestSuite(pool_process, .timeout = 60);

enum { FINE = 7 };

/* --- exit: an exit handler older than the library's ends a child, without the test framework's --------- */

static bool is_child;

static void end_here(void)
{
    if (is_child)
        _exit(FINE);
}

static void before_anything(void)
{
    cr_assert_eq(atexit(end_here), 0);
}

static int exit_with_busy_pool(void *arg)
{
    struct gate gate = GATE_INIT;
    uint32_t ran = 0;
    is_child = true;
    thrum_executor_t *pool = pool_of(2, *(thrum_policy_t *)arg);
    if (thrum_executor_submit(pool, hold_at, &gate, NULL) != 0 ||
        thrum_executor_submit(pool, stop_at, &gate, NULL) != 0)
        return 1;
    await_word(&gate.inside, 2);
    for (int i = 0; i < 100; i++)
        if (thrum_executor_submit(pool, add_one, &ran, NULL) != 0)
            return 2;
    exit(1); /* nobody is waited for */
}

Test(pool_process, a_busy_pool_does_not_keep_the_process, .init = before_anything)
{
    for (EACH_POLICY(policy))
        cr_expect_eq(child_run(exit_with_busy_pool, &policy), FINE);
}

static int exit_in_task(void *arg, void **result)
{
    (void)arg, (void)result;
    exit(1);
}

static int let_task_exit(void *arg)
{
    (void)arg;
    is_child = true;
    thrum_executor_t *pool = pool_of(2, THRUM_POLICY_STEALING);
    thrum_future_t *f = submitted(pool, exit_in_task, NULL);
    return thrum_future_wait(f);
}

Test(pool_process, a_task_may_end_the_process, .init = before_anything)
{
    cr_expect_eq(child_run(let_task_exit, NULL), FINE);
}

/* --- fork ------------------------------------------------------------------------------------------------- */

struct forked {
    thrum_executor_t *pool;
    thrum_future_t *running;
    thrum_future_t *queued;
    thrum_future_t *done;
    thi_strand_t *maker;
    uint32_t ran;
};

/* The workers of a pool end a moment after it. A child may allocate, so nobody may be on his way in or out
 * of the system when it is forked (see child.h). */
static void await_threads(int n)
{
    while (count_threads() != n)
        sched_yield();
}

static int use_a_new_one(void)
{
    thrum_executor_t *pool = NULL;
    thrum_future_t *f = NULL;
    if (!CHILD_MAY_START_THREADS)
        return 0;
    if (thrum_thread_pool_create(&pool, NULL) != 0 ||
        thrum_executor_submit(pool, hand_back, NULL, &f) != 0 || thrum_future_result(f, NULL) != 0)
        return 20;
    thrum_future_release(f);
    thrum_executor_destroy(pool);
    return 0;
}

static int use_copy(void *arg)
{
    struct forked *w = arg;
    thrum_future_t *f = NULL;
    thrum_group_t g = THRUM_GROUP_INIT(w->pool);
    thrum_executor_stats_t stats;
    if (thrum_executor_submit(w->pool, add_one, &w->ran, &f) != EPIPE || f != NULL ||
        thrum_executor_submit_until(w->pool, add_one, &w->ran, THRUM_FOREVER, &f) != EPIPE)
        return 1;
    if (thrum_group_spawn(&g, add_one, &w->ran) != EPIPE || thrum_group_wait(&g) != 0)
        return 2;
    if (thrum_future_wait_until(w->queued, SOON) != ETIMEDOUT ||
        thrum_future_wait_until(w->running, SOON) != ETIMEDOUT ||
        thrum_future_result(w->done, NULL) != 0)
        return 3;
    thrum_executor_stats(w->pool, &stats);
    if (thrum_executor_shutdown(w->pool, THRUM_WAIT) != 0 || w->ran != 0)
        return 4;
    if (thrum_future_result_until(w->queued, NULL, PAST) != ECANCELED ||
        thrum_future_trywait(w->running) != EAGAIN)
        return 5;
    if (thrum_executor_submit(w->pool, add_one, &w->ran, &f) != EPIPE)
        return 6;
    thrum_executor_destroy(w->pool);
    return use_a_new_one();
}

Test(pool_process, a_child_has_no_workers)
{
    const int before = count_threads();
    for (EACH_POLICY(policy)) {
        struct gate gate = GATE_INIT;
        struct forked w = {.pool = pool_of(1, policy)};
        w.done = submitted(w.pool, hand_back, NULL);
        EXPECT_CALL(0, thrum_future_wait(w.done));
        w.running = submitted(w.pool, hold_at, &gate);
        await_word(&gate.inside, 1);
        w.queued = submitted(w.pool, add_one, &w.ran);
        await_threads(before + 1);
        cr_expect_eq(child_run(use_copy, &w), 0);
        thrum_event_set(&gate.opened); /* the parent's goes on */
        expect_result(w.running, 0);
        expect_result(w.queued, 0);
        expect_result(w.done, 0);
        cr_expect_eq(w.ran, 1u);
        thrum_executor_destroy(w.pool);
    }
}

/* In a task: what is left of the pool in the child is the task. */
static int wait_in_child(void *arg)
{
    struct forked *w = arg;
    thrum_event_t never = THRUM_EVENT_INIT;
    thrum_future_t *f = NULL;
    if (thrum_executor_submit(w->pool, add_one, &w->ran, &f) != EPIPE)
        return 1;
    if (thrum_event_wait_until(&never, SOON) != ETIMEDOUT)
        return 2;
    return thrum_executor_submit(w->pool, add_one, &w->ran, NULL) == EPIPE ? 0 : 3;
}

static int fork_in_task(void *arg, void **result)
{
    const struct forked *w = arg;
    (void)result;
    while (thi_load_relaxed(&w->maker->permit) != THI_PARKED)
        sched_yield();
    return child_run(wait_in_child, arg);
}

Test(pool_process, a_task_may_fork)
{
    const int before = count_threads();
    for (EACH_POLICY(policy)) {
        struct gate gate = GATE_INIT;
        struct forked w = {.pool = pool_of(2, policy), .maker = thi_self()};
        for (uint32_t i = 1; i <= 2; i++) {
            EXPECT_CALL(0, thrum_executor_submit(w.pool, hold_at, &gate, NULL));
            await_word(&gate.inside, i);
        }
        await_threads(before + 2);
        thrum_event_set(&gate.opened);
        for (int i = 0; i < 5; i++)
            expect_result(submitted(w.pool, fork_in_task, &w), 0);
        thrum_executor_destroy(w.pool);
    }
}

/* At any moment of a pool that works. */
static int pass_through(void *arg)
{
    thrum_executor_t *pool = arg;
    if (thrum_executor_submit(pool, hand_back, NULL, NULL) != EPIPE)
        return 1;
    thrum_executor_destroy(pool);
    return 0;
}

static int submit_for_long(void *pool)
{
    int err = 0;
    for (int i = 0; err == 0 && i < 20000; i++) {
        thrum_future_t *f = NULL;
        err = thrum_executor_submit(pool, hand_back, NULL, i % 8 == 0 ? &f : NULL);
        if (f != NULL)
            err |= thrum_future_wait(f);
        thrum_future_release(f);
    }
    return err;
}

Test(pool_process, forks_come_at_any_moment)
{
    if (!CHILD_MAY_START_THREADS) /* nor may it allocate, for the same reason */
        return;
    for (EACH_POLICY(policy)) {
        struct caller c;
        thrum_executor_t *pool = pool_of(2, policy);
        caller_start(&c, submit_for_long, pool);
        for (int i = 0; i < 25; i++)
            cr_expect_eq(child_run(pass_through, pool), 0, "policy %d", (int)policy);
        cr_expect_eq(caller_join(&c), 0);
        thrum_executor_destroy(pool);
    }
}
