#include <sys/prctl.h>

#include "process/pools.h"
#include "support/left_behind.h"

/* Tasks of a process pool that are cancelled, killed, or late; workers that are replaced. */
TestSuite(process_pool_kill, .timeout = 120);

static int sleeps_for_ever(void *arg, void **result)
{
    return hold_at(arg, result); /* the gate stays shut */
}

Test(process_pool_kill, a_running_task_can_be_killed)
{
    struct gate *gate = victim_memory(sizeof *gate);
    int signal = 0;
    thrum_executor_t *pool = pool_of(2);
    thrum_future_t *f = submitted(pool, sleeps_for_ever, gate);
    await(&gate->inside, 1);
    cr_expect(thrum_future_running(f));
    cr_expect(!thrum_future_cancel(f));
    EXPECT_CALL(ENOTSUP, thrum_future_interrupt(f));
    EXPECT_CALL(0, thrum_future_kill(f));
    EXPECT_CALL(ECHILD, thrum_future_result(f, NULL));
    EXPECT_CALL(0, thrum_future_cause(f, &signal, NULL));
    cr_expect_eq(signal, SIGKILL);
    EXPECT_CALL(EINVAL, thrum_future_kill(f));
    cr_expect(!is_there(gate->pid));
    thrum_future_release(f);
    EXPECT_CALL(0, status_of(submitted(pool, twice, NULL), NULL));
    thrum_executor_destroy(pool);
}

Test(process_pool_kill, what_has_not_begun_is_cancelled_at_once)
{
    enum { N = 300 };
    struct gate *gate = victim_memory(sizeof *gate);
    uint32_t *count = victim_memory(sizeof *count);
    static thrum_future_t *f[N];
    thrum_executor_t *pool = pool_of(1);
    thrum_future_t *held = submitted(pool, hold_at, gate);
    await(&gate->inside, 1);
    for (int i = 0; i < N; i++)
        f[i] = submitted(pool, count_in, count);
    for (int i = 0; i < N; i++) {
        if (i % 3 == 0)
            cr_expect(thrum_future_cancel(f[i]));
        else if (i % 3 == 1)
            EXPECT_CALL(0, thrum_future_kill(f[i]));
        else
            EXPECT_CALL(0, thrum_future_interrupt(f[i]));
        cr_expect(thrum_future_cancelled(f[i]));
        EXPECT_CALL(ECANCELED, status_of(f[i], NULL));
    }
    thi_store_release(&gate->open, 1u);
    EXPECT_CALL(0, status_of(held, NULL));
    cr_expect_eq(stats_of(pool).cancelled, (uint64_t)N);
    thrum_executor_destroy(pool);
    cr_expect_eq(*count, 0u);
}

Test(process_pool_kill, cancel_against_completion)
{
    enum { ROUNDS = 20000 };
    uint32_t *count = victim_memory(sizeof *count);
    uint32_t ran = 0;
    thrum_executor_t *pool = pool_of(2);
    for (int i = 0; i < ROUNDS; i++) {
        thrum_future_t *f = submitted(pool, count_in, count);
        for (int pauses = i % 97 * 8; pauses != 0; pauses--)
            thi_cpu_pause();
        const bool cancelled = thrum_future_cancel(f);
        const int status = status_of(f, NULL);
        cr_assert_eq(status, cancelled ? ECANCELED : 0);
        ran += !cancelled;
    }
    thrum_executor_destroy(pool);
    cr_expect_eq(*count, ran, "what was cancelled has not run, all else once");
}

/* --- time limits -------------------------------------------------------------------------------------- */

Test(process_pool_kill, a_task_that_takes_too_long_is_ended)
{
    struct gate *gate = victim_memory(sizeof *gate);
    thrum_process_pool_config_t config = config_of(2);
    config.task_timeout = THRUM_MS(100);
    thrum_executor_t *pool = pool_with(&config);
    thrum_future_t *f = submitted(pool, sleeps_for_ever, gate);
    EXPECT_CALL(ETIMEDOUT, thrum_future_result(f, NULL));
    cr_expect(!is_there(gate->pid));
    EXPECT_CALL(0, thrum_future_cause(f, NULL, NULL));
    thrum_future_release(f);
    EXPECT_CALL(0, status_of(submitted(pool, twice, NULL), NULL));
    thrum_executor_destroy(pool);
}

static int third_hangs(void *arg, void **result)
{
    (void)result;
    if (arg == (void *)3)
        for (;;)
            pause();
    return 0;
}

Test(process_pool_kill, of_a_map_only_the_late_call_is_ended)
{
    void *args[10];
    int status[10];
    thrum_process_pool_config_t config = config_of(1);
    config.task_timeout = THRUM_MS(300);
    thrum_executor_t *pool = pool_with(&config);
    for (uintptr_t i = 0; i < 10; i++)
        args[i] = (void *)i;
    EXPECT_CALL(ETIMEDOUT,
                thrum_executor_map(pool, third_hangs, args, NULL, status, 10, 10, THRUM_FOREVER));
    for (int i = 0; i < 10; i++)
        cr_expect_eq(status[i], i == 3 ? ETIMEDOUT : 0, "call %d", i);
    thrum_executor_destroy(pool);
}

struct tree {
    int32_t pid[4];
    uint32_t taken;
    uint32_t count;
};

static void grandchild(struct tree *tree, bool own_session)
{
    const pid_t pid = fork();
    if (pid != 0)
        return;
    signal(SIGTERM, SIG_IGN);
    if (own_session)
        setsid();
    const pid_t deeper = fork(); /* an orphan's child, once its parent has left */
    if (deeper != 0 && own_session)
        _exit(0);
    tree->pid[thi_fetch_add_relaxed(&tree->taken, 1u) % 4] = (int32_t)getpid();
    thi_fetch_add_acq_rel(&tree->count, 1u); /* who counts it finds the number */
    for (;;)
        pause();
}

static int plants_a_tree(void *arg, void **result)
{
    (void)result;
    grandchild(arg, false);
    grandchild(arg, true);
    for (;;)
        pause();
    return 0;
}

static void expect_tree_gone(struct tree *tree)
{
    for (uint32_t i = 0; i < tree->count; i++)
        cr_expect(!is_there(tree->pid[i]), "process %u of the task is left", i);
}

Test(process_pool_kill, the_processes_that_a_task_started_end_with_it)
{
    struct tree *tree = victim_memory(sizeof *tree);
    thrum_executor_t *pool = pool_of(2);
    thrum_future_t *f = submitted(pool, plants_a_tree, tree);
    await(&tree->count, 3);
    EXPECT_CALL(0, thrum_future_kill(f));
    EXPECT_CALL(ECHILD, status_of(f, NULL));
    expect_tree_gone(tree);
    thrum_executor_destroy(pool);
}

static int leaves_one_behind(void *arg, void **result)
{
    (void)result;
    grandchild(arg, true);
    await(&((struct tree *)arg)->count, 1);
    return 0;
}

Test(process_pool_kill, what_a_task_leaves_behind_ends_with_its_worker)
{
    struct tree *tree = victim_memory(sizeof *tree);
    thrum_executor_t *pool = pool_of(1);
    EXPECT_CALL(0, status_of(submitted(pool, leaves_one_behind, tree), NULL));
    cr_expect(is_there(tree->pid[0]));
    thrum_executor_destroy(pool);
    await_gone(tree->pid[0]);
}

/* --- workers that are replaced ---------------------------------------------------------------------- */

Test(process_pool_kill, a_worker_for_each_task)
{
    enum { N = 1000 };
    static thrum_future_t *f[N];
    int before = 0;
    intptr_t last = 0;
    thrum_process_pool_config_t config = config_of(2);
    config.max_tasks_per_worker = 1;
    thrum_executor_t *pool = pool_with(&config);
    for (int i = 0; i < N; i++)
        f[i] = submitted(pool, my_pid, NULL);
    for (int i = 0; i < N; i++) {
        void *pid = NULL;
        EXPECT_CALL(0, status_of(f[i], &pid));
        cr_expect_neq((intptr_t)pid, last);
        last = (intptr_t)pid;
        before = i == 100 ? count_descriptors() : before;
    }
    cr_expect_leq(count_descriptors(), before + 2);
    cr_expect_geq(stats_of(pool).restarted, (uint64_t)N - 3);
    thrum_executor_destroy(pool);
}
