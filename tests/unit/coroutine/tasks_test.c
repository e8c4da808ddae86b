#include "coroutine/loops.h"

TestSuite(loop_tasks, .timeout = 30);

/* --- the loop as an executor ------------------------------------------------------------------------- */

static int square(void *arg, void **result)
{
    int *n = arg;
    const int err = thrum_sleep(THRUM_US(100));
    *n *= *n;
    *result = n;
    return err;
}

static int fail(void *arg, void **result)
{
    (void)arg, (void)result;
    return EDOM;
}

static int submit_some(void *arg, void **result)
{
    thrum_executor_t *ex = thrum_loop_executor(thrum_loop_current());
    thrum_future_t *fs[10];
    int n[10];
    (void)arg, (void)result;
    cr_expect_eq(thrum_loop_executor(thrum_loop_current()), ex);
    for (int i = 0; i < 10; i++) {
        n[i] = i;
        cr_expect_eq(thrum_executor_submit(ex, square, &n[i], &fs[i]), 0);
    }
    for (int i = 0; i < 10; i++) {
        void *value = NULL;
        cr_expect_eq(thrum_future_result(fs[i], &value), 0);
        cr_expect_eq(value, &n[i]);
        cr_expect_eq(n[i], i * i);
        thrum_future_release(fs[i]);
    }
    cr_expect_eq(thrum_executor_submit(ex, fail, NULL, &fs[0]), 0);
    cr_expect_eq(thrum_future_result(fs[0], NULL), EDOM);
    thrum_future_release(fs[0]);
    thrum_executor_stats_t stats;
    thrum_executor_stats(ex, &stats);
    cr_expect_eq(stats.workers, 1u);
    cr_expect_eq(stats.completed, 10u);
    cr_expect_eq(stats.failed, 1u);
    cr_expect_eq(stats.queued, 0u);
    return 0;
}

Test(loop_tasks, tasks_are_coroutines)
{
    cr_expect_eq(in_loop(submit_some, NULL), 0);
}

static int map_squares(void *arg, void **result)
{
    enum { MANY = 100 };
    thrum_executor_t *ex = thrum_loop_executor(thrum_loop_current());
    int n[MANY];
    void *args[MANY];
    void *results[MANY];
    int status[MANY];
    (void)arg, (void)result;
    for (int i = 0; i < MANY; i++) {
        n[i] = i;
        args[i] = &n[i];
        status[i] = -1;
    }
    cr_expect_eq(thrum_executor_map(ex, square, args, results, status, MANY, 7, THRUM_FOREVER), 0);
    for (int i = 0; i < MANY; i++) {
        cr_expect_eq(status[i], 0);
        cr_expect_eq(n[i], i * i);
    }
    return 0;
}

Test(loop_tasks, a_map_is_waited_for_by_a_coroutine)
{
    cr_expect_eq(in_loop(map_squares, NULL), 0);
}

struct remote {
    thrum_loop_t *loop;
    thrum_executor_t *ex;
    int wrong;
};

static int submit_from_thread(void *arg)
{
    struct remote *r = arg;
    for (int i = 0; i < 300; i++) {
        thrum_future_t *f = NULL;
        int n = i;
        if (thrum_executor_submit(r->ex, square, &n, &f) != 0)
            return EPROTO;
        r->wrong += thrum_future_result(f, NULL) != 0 || n != i * i;
        thrum_future_release(f);
    }
    int status = thrum_executor_shutdown(r->ex, THRUM_WAIT);
    if (status == 0 && thrum_executor_submit(r->ex, square, NULL, NULL) != ESHUTDOWN)
        status = EPROTO;
    thrum_loop_stop(r->loop);
    return status;
}

Test(loop_tasks, threads_submit_to_a_loop)
{
    struct remote r = {NULL, NULL, 0};
    struct caller c;
    EXPECT_CALL(0, thrum_loop_create(&r.loop, NULL));
    r.ex = thrum_loop_executor(r.loop);
    cr_assert_not_null(r.ex);
    EXPECT_CALL(0, thrum_loop_go(r.loop, NULL, wait_for_ever, NULL, NULL));
    caller_start(&c, submit_from_thread, &r);
    EXPECT_CALL(ECANCELED, thrum_loop_run(r.loop));
    cr_expect_eq(caller_join(&c), 0);
    cr_expect_eq(r.wrong, 0);
    thrum_loop_destroy(r.loop);
}

static int interrupted(void *arg, void **result)
{
    thrum_executor_t *ex = thrum_loop_executor(thrum_loop_current());
    thrum_future_t *f[2] = {NULL, NULL};
    (void)arg, (void)result;
    cr_expect_eq(thrum_executor_submit(ex, wait_for_ever, NULL, &f[0]), 0);
    cr_expect_eq(thrum_executor_submit(ex, do_nothing, NULL, &f[1]), 0);
    cr_expect(thrum_future_cancel(f[1]), "it has not begun");
    thrum_yield();
    cr_expect(thrum_future_running(f[0]));
    cr_expect_not(thrum_future_cancel(f[0]));
    thrum_future_interrupt(f[0]);
    cr_expect_eq(thrum_future_result(f[0], NULL), ECANCELED);
    cr_expect_eq(thrum_future_result(f[1], NULL), ECANCELED);
    thrum_future_release(f[0]);
    thrum_future_release(f[1]);
    return 0;
}

Test(loop_tasks, a_running_task_is_interrupted)
{
    cr_expect_eq(in_loop(interrupted, NULL), 0);
}

static int shut_down_inside(void *arg, void **result)
{
    thrum_executor_t *ex = thrum_loop_executor(thrum_loop_current());
    thrum_future_t *f[2] = {NULL, NULL};
    int n = 3;
    (void)arg, (void)result;
    cr_expect_eq(thrum_executor_submit(ex, square, &n, &f[0]), 0);
    thrum_yield();
    cr_expect_eq(thrum_executor_submit(ex, do_nothing, NULL, &f[1]), 0);
    cr_expect_eq(thrum_executor_shutdown(ex, THRUM_WAIT | THRUM_CANCEL_PENDING), 0);
    cr_expect_eq(n, 9, "what has begun is waited for");
    cr_expect_eq(thrum_future_result(f[1], NULL), ECANCELED);
    cr_expect_eq(thrum_executor_submit(ex, do_nothing, NULL, NULL), ESHUTDOWN);
    cr_expect_eq(thrum_executor_shutdown(ex, 0), 0);
    thrum_executor_destroy(ex);
    thrum_future_release(f[0]);
    thrum_future_release(f[1]);
    return thrum_go(NULL, do_nothing, NULL); /* the loop itself goes on */
}

Test(loop_tasks, an_executor_is_shut_down_and_its_loop_is_not)
{
    cr_expect_eq(in_loop(shut_down_inside, NULL), 0);
}

Test(loop_tasks, tasks_of_a_destroyed_loop_are_cancelled)
{
    thrum_loop_t *loop = NULL;
    thrum_future_t *f = NULL;
    EXPECT_CALL(0, thrum_loop_create(&loop, NULL));
    EXPECT_CALL(0, thrum_executor_submit(thrum_loop_executor(loop), do_nothing, NULL, &f));
    thrum_loop_destroy(loop);
    EXPECT_CALL(ECANCELED, thrum_future_result(f, NULL));
    thrum_future_release(f);
}

static int group_in_loop(void *arg, void **result)
{
    thrum_executor_t *ex = thrum_loop_executor(thrum_loop_current());
    thrum_group_t group = THRUM_GROUP_INIT(ex);
    (void)arg, (void)result;
    cr_expect_eq(thrum_group_spawn(&group, wait_for_ever, NULL), 0);
    cr_expect_eq(thrum_group_spawn(&group, fail, NULL), 0);
    cr_expect_eq(thrum_group_wait(&group), EDOM, "and the rest was cancelled");
    return 0;
}

Test(loop_tasks, a_group_ends_together)
{
    cr_expect_eq(in_loop(group_in_loop, NULL), 0);
}

/* --- blocking calls ---------------------------------------------------------------------------------- */

static uint32_t gate;
static uint32_t inside;
static uint32_t most;

static int block_on_gate(void *arg, void **result)
{
    *result = arg;
    const uint32_t now = thi_fetch_add_relaxed(&inside, 1u) + 1;
    uint32_t seen = thi_load_relaxed(&most);
    while (now > seen && !thi_cas_relaxed(&most, &seen, now)) {
    }
    await_word(&gate, 1);
    thi_fetch_sub_relaxed(&inside, 1u);
    return EDOM;
}

static int call_blocking(void *arg, void **result)
{
    return thrum_blocking(block_on_gate, arg, result);
}

static int block_and_go_on(void *arg, void **result)
{
    void *got = NULL;
    thrum_coro_t *co = spawned(call_blocking, arg);
    (void)result;
    yield_until(&inside, 1); /* this one runs meanwhile */
    cr_expect_eq(thrum_coro_cancel(co), 0);
    for (int i = 0; i < 100; i++)
        thrum_yield();
    cr_expect_not(thrum_coro_done(co), "what it works on is still in use");
    thi_store_release(&gate, 1u);
    cr_expect_eq(thrum_coro_join(co, &got), EDOM);
    cr_expect_eq(got, arg);
    thrum_coro_release(co);
    return 0;
}

Test(loop_tasks, a_blocking_call_lets_the_loop_run_and_is_waited_for)
{
    int value = 0;
    cr_expect_eq(in_loop(block_and_go_on, &value), 0);
}

static int cancelled_before(void *arg, void **result)
{
    (void)arg, (void)result;
    thrum_coro_cancel(thrum_coro_current());
    EXPECT_CALL(ECANCELED, thrum_blocking(block_on_gate, NULL, NULL));
    EXPECT_CALL(EINVAL, thrum_blocking(NULL, NULL, NULL));
    return 0;
}

Test(loop_tasks, a_blocking_call_of_a_cancelled_one_does_not_begin)
{
    cr_expect_eq(in_loop(cancelled_before, NULL), 0);
    cr_expect_eq(inside, 0u);
}

static int call_many(void *arg, void **result)
{
    enum { MANY = 80 };
    thrum_coro_t *cos[MANY];
    (void)arg, (void)result;
    for (int i = 0; i < MANY; i++)
        cos[i] = spawned(call_blocking, NULL);
    yield_until(&inside, 64);
    for (int i = 0; i < 100; i++)
        thrum_yield();
    thi_store_release(&gate, 1u);
    cr_expect_eq(thrum_coro_join_all(cos, MANY, THRUM_FOREVER), EDOM);
    for (int i = 0; i < MANY; i++)
        thrum_coro_release(cos[i]);
    return 0;
}

Test(loop_tasks, so_many_blocking_calls_run_at_a_time)
{
    cr_expect_eq(in_loop(call_many, NULL), 0);
    cr_expect_eq(most, 64u);
}

Test(loop_tasks, in_a_thread_a_blocking_call_is_a_call)
{
    int value = 0;
    void *got = NULL;
    gate = 1;
    EXPECT_CALL(EDOM, thrum_blocking(block_on_gate, &value, &got));
    cr_expect_eq(got, &value);
    EXPECT_CALL(EDOM, thrum_blocking(block_on_gate, &value, NULL));
    EXPECT_CALL(EINVAL, thrum_blocking(NULL, NULL, NULL));
}

static int without_threads(void *arg, void **result)
{
    (void)arg, (void)result;
    gate = 1;
    thi_fault_arm(THI_FAULT_THREAD, THI_FAULT_ALWAYS);
    EXPECT_CALL(ENOMEM, thrum_blocking(block_on_gate, NULL, NULL));
    thi_fault_arm(THI_FAULT_THREAD, 0);
    for (int i = 0; i < 100; i++) /* none was used up */
        cr_expect_eq(thrum_blocking(block_on_gate, NULL, NULL), EDOM);
    return 0;
}

Test(loop_tasks, without_threads_there_is_no_blocking_call)
{
    cr_expect_eq(in_loop(without_threads, NULL), 0);
}
