#include "process/pools.h"

/* Waiting for tasks of a process pool in all the ways there are, and what stays as it is over many workers. */
TestSuite(process_pool_wait, .timeout = 120);

enum { N = 200 };

Test(process_pool_wait, futures_are_handed_out_as_they_end)
{
    thrum_future_t *f[N];
    thrum_as_completed_t *it = NULL;
    uintptr_t sum = 0;
    thrum_executor_t *pool = pool_of(2);
    for (uintptr_t i = 0; i < N; i++)
        f[i] = submitted(pool, twice, (void *)i);
    EXPECT_CALL(0, thrum_as_completed_create(&it, f, N));
    for (int i = 0; i < N; i++) {
        thrum_future_t *next = NULL;
        void *value = NULL;
        cr_assert_eq(thrum_as_completed_next(it, &next, THRUM_FOREVER), 0);
        EXPECT_CALL(0, status_of(next, &value));
        sum += (uintptr_t)value;
    }
    cr_expect_eq(sum, (uintptr_t)N * (N - 1));
    thrum_as_completed_destroy(it);
    for (int i = 0; i < N; i++)
        thrum_future_release(f[i]);
    thrum_executor_destroy(pool);
}

Test(process_pool_wait, the_first_of_several)
{
    struct gate *gate = victim_memory(sizeof *gate);
    thrum_executor_t *pool = pool_of(2);
    thrum_future_t *f[2] = {submitted(pool, hold_at, gate), NULL};
    await(&gate->inside, 1);
    for (int i = 0; i < 50; i++) {
        size_t ended = 0;
        f[1] = submitted(pool, twice, NULL);
        EXPECT_CALL(0, thrum_wait(f, 2, THRUM_FIRST_COMPLETED, THRUM_FOREVER, &ended));
        cr_expect_eq(ended, 1u);
        EXPECT_CALL(0, status_of(f[1], NULL));
    }
    f[1] = submitted(pool, twice, NULL);
    thrum_case_t cases[2] = {THRUM_CASE_FUTURE(f[0]), THRUM_CASE_FUTURE(f[1])};
    size_t chosen = 9;
    EXPECT_CALL(0, thrum_select(cases, 2, THRUM_FOREVER, &chosen));
    cr_expect_eq(chosen, 1u);
    thrum_future_release(f[1]);
    EXPECT_CALL(ETIMEDOUT, thrum_future_wait_until(f[0], thrum_after(THRUM_MS(5))));
    thi_store_release(&gate->open, 1u);
    EXPECT_CALL(0, status_of(f[0], NULL));
    thrum_executor_destroy(pool);
}

struct waiter {
    thrum_future_t *f;
    uint32_t begun;
    int result;
};

static int waits(void *arg, void **result)
{
    struct waiter *w = arg;
    (void)result;
    thi_store_release(&w->begun, 1u);
    w->result = thrum_future_wait(w->f);
    return 0;
}

Test(process_pool_wait, a_wait_can_be_cancelled_and_a_cancel_ends_it)
{
    struct gate *gate = victim_memory(sizeof *gate);
    thrum_executor_t *pool = pool_of(1);
    thrum_future_t *held = submitted(pool, hold_at, gate);
    await(&gate->inside, 1);
    struct waiter w[2] = {{held, 0, -1}, {submitted(pool, twice, NULL), 0, -1}};
    thrum_thread_t *thread[2] = {NULL, NULL};
    for (int i = 0; i < 2; i++) {
        EXPECT_CALL(0, thrum_thread_spawn(&thread[i], waits, &w[i], NULL));
        await(&w[i].begun, 1);
        await_parked(w[i].f, 1);
    }
    EXPECT_CALL(0, thrum_thread_cancel(thread[0]));
    cr_expect(thrum_future_cancel(w[1].f));
    for (int i = 0; i < 2; i++) {
        EXPECT_CALL(0, thrum_thread_join(thread[i], NULL));
        thrum_thread_release(thread[i]);
    }
    cr_expect_eq(w[0].result, ECANCELED);
    cr_expect_eq(w[1].result, 0, "it has ended: cancelled");
    thrum_future_release(w[1].f);
    thi_store_release(&gate->open, 1u);
    EXPECT_CALL(0, status_of(held, NULL));
    thrum_executor_destroy(pool);
}

/* A worker that is only stopped is not robbed of what it runs, and keeps nobody from running the rest. */
Test(process_pool_wait, a_stopped_worker_keeps_its_task_and_no_other)
{
    struct gate *gate = victim_memory(sizeof *gate);
    thrum_future_t *f[N];
    thrum_executor_t *pool = pool_of(2);
    for (int i = 0; i < 2000; i++) /* so that workers are given many ahead */
        EXPECT_CALL(0, thrum_executor_submit(pool, twice, NULL, NULL));
    thrum_future_t *held = submitted(pool, hold_at, gate);
    await(&gate->inside, 1);
    kill(gate->pid, SIGSTOP);
    for (uintptr_t i = 0; i < N; i++)
        f[i] = submitted(pool, twice, (void *)i);
    for (int i = 0; i < N; i++)
        EXPECT_CALL(0, status_of(f[i], NULL));
    thi_store_release(&gate->open, 1u);
    cr_expect(!thrum_future_done(held));
    kill(gate->pid, SIGCONT);
    EXPECT_CALL(0, status_of(held, NULL));
    thrum_executor_destroy(pool);
}

/* --- nothing grows ------------------------------------------------------------------------------------ */

static size_t resident_kib(void)
{
    unsigned long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    if (statm == NULL || fscanf(statm, "%*u %lu", &pages) != 1)
        abort();
    fclose(statm);
    return pages * (size_t)sysconf(_SC_PAGESIZE) / 1024;
}

static void ask_for_large(thrum_executor_t *pool, int tasks)
{
    static unsigned char bytes[200000];
    for (int i = 0; i < tasks; i++) {
        thrum_future_t *f = NULL;
        cr_assert_eq(thrum_executor_submit_bytes(pool, echo, bytes, sizeof bytes, &f), 0);
        cr_assert_eq(thrum_future_bytes(f, NULL, NULL), 0);
        thrum_future_release(f);
    }
}

Test(process_pool_wait, memory_does_not_grow_with_workers)
{
    thrum_process_pool_config_t config = config_of(2);
    config.max_tasks_per_worker = 3;
    thrum_executor_t *pool = pool_with(&config);
    ask_for_large(pool, 100);
    const size_t before = resident_kib();
    ask_for_large(pool, 1500);
    cr_expect_geq(stats_of(pool).restarted, 300u);
#if !defined(__SANITIZE_ADDRESS__) /* keeps what was freed */
    const size_t after = resident_kib();
    cr_expect_lt(after, before + 4096, "%zu to %zu KiB", before, after);
#else
    (void)before;
#endif
    thrum_executor_destroy(pool);
}
