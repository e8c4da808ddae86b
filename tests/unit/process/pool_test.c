#include "process/pools.h"

/* What a process pool does while nothing dies. */
TestSuite(process_pool, .timeout = 60);

Test(process_pool, a_task_runs_in_another_process)
{
    void *value = NULL;
    thrum_executor_t *pool = pool_of(2);
    EXPECT_CALL(0, status_of(submitted(pool, twice, (void *)21), &value));
    cr_expect_eq(value, (void *)42);
    EXPECT_CALL(0, status_of(submitted(pool, my_pid, NULL), &value));
    cr_expect_neq((pid_t)(intptr_t)value, getpid());
    EXPECT_CALL(EDOM, status_of(submitted(pool, fails_with, (void *)EDOM), &value));
    thrum_executor_destroy(pool);
}

Test(process_pool, many_tasks_end_once_each)
{
    enum { N = 20000 };
    static thrum_future_t *f[N];
    thrum_executor_t *pool = pool_of(3);
    for (uintptr_t i = 0; i < N; i++)
        f[i] = submitted(pool, twice, (void *)i);
    for (uintptr_t i = 0; i < N; i++) {
        void *value = NULL;
        cr_assert_eq(status_of(f[i], &value), 0);
        cr_assert_eq(value, (void *)(2 * i));
    }
    const thrum_executor_stats_t stats = stats_of(pool);
    cr_expect_eq(stats.completed, (uint64_t)N);
    cr_expect_eq(stats.failed + stats.cancelled + stats.queued + stats.restarted, 0u);
    thrum_executor_destroy(pool);
}

Test(process_pool, tasks_nobody_asks_for_run)
{
    uint32_t *count = victim_memory(sizeof *count);
    thrum_executor_t *pool = pool_of(2);
    for (int i = 0; i < 1000; i++)
        EXPECT_CALL(0, thrum_executor_submit(pool, count_in, count, NULL));
    thrum_executor_destroy(pool);
    cr_expect_eq(*count, 1000u);
}

/* --- bytes -------------------------------------------------------------------------------------------- */

static void expect_echo(thrum_executor_t *pool, unsigned char *bytes, size_t size)
{
    thrum_future_t *f = NULL;
    const void *data = NULL;
    size_t got = 1;
    for (size_t i = 0; i < size; i++)
        bytes[i] = (unsigned char)(i * 7 + size);
    EXPECT_CALL(0, thrum_executor_submit_bytes(pool, echo, bytes, size, &f));
    EXPECT_CALL(0, thrum_future_bytes(f, &data, &got));
    cr_expect_eq(got, size);
    cr_expect((size == 0 && data == NULL) || memcmp(data, bytes, size) == 0, "%zu bytes", size);
    thrum_future_release(f);
}

Test(process_pool, bytes_of_any_size_travel_both_ways)
{
    static unsigned char bytes[3000000];
    static const size_t sizes[] = {0,   1,   87,   88,   89,   95,    96,      97,
                                   255, 256, 4096, 4097, 9999, 65536, 1000000, sizeof bytes};
    thrum_executor_t *pool = pool_of(2);
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            expect_echo(pool, bytes, sizes[i]);
    thrum_executor_destroy(pool);
}

static int grows(const void *in, size_t size, thrum_reply_t *reply)
{
    static unsigned char bytes[1 << 20];
    int err = 0;
    (void)in, (void)size;
    for (size_t n = 50; err == 0 && n <= sizeof bytes; n *= 3) {
        memset(bytes, (int)(n % 251), n);
        err = thrum_reply(reply, bytes, n);
    }
    return err;
}

Test(process_pool, a_later_reply_replaces_the_one_before)
{
    thrum_future_t *f[8];
    thrum_executor_t *pool = pool_of(1);
    for (int i = 0; i < 8; i++)
        cr_assert_eq(thrum_executor_submit_bytes(pool, grows, NULL, 0, &f[i]), 0);
    for (int i = 0; i < 8; i++) {
        const unsigned char *data = NULL;
        size_t size = 0;
        EXPECT_CALL(0, thrum_future_bytes(f[i], (const void **)&data, &size));
        cr_assert_eq(size, 984150u); /* 50 * 3^9 */
        cr_expect(data[0] == size % 251 && data[size - 1] == size % 251);
        thrum_future_release(f[i]);
    }
    thrum_executor_destroy(pool);
}

Test(process_pool, replies_outlive_the_pool)
{
    static unsigned char bytes[100000];
    thrum_future_t *f = NULL;
    const void *data = NULL;
    size_t size = 0;
    memset(bytes, 5, sizeof bytes);
    thrum_executor_t *pool = pool_of(1);
    EXPECT_CALL(0, thrum_executor_submit_bytes(pool, echo, bytes, sizeof bytes, &f));
    thrum_executor_destroy(pool);
    EXPECT_CALL(0, thrum_future_bytes(f, &data, &size));
    cr_expect(size == sizeof bytes && memcmp(data, bytes, size) == 0);
    thrum_future_release(f);
}

/* --- map ---------------------------------------------------------------------------------------------- */

static int odd_fails(void *arg, void **result)
{
    *result = (void *)((uintptr_t)arg + 1);
    return (uintptr_t)arg % 2 != 0 ? EDOM : 0;
}

Test(process_pool, map_calls_each_once_in_any_chunk)
{
    enum { N = 5000 };
    static void *args[N];
    static void *results[N];
    static int status[N];
    thrum_executor_t *pool = pool_of(2);
    for (uintptr_t i = 0; i < N; i++)
        args[i] = (void *)i;
    static const size_t chunks[] = {0, 1, 7, 100, N, 10 * N};
    for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
        memset(results, 0, sizeof results);
        EXPECT_CALL(
            0, thrum_executor_map(pool, twice, args, results, NULL, N, chunks[c], THRUM_FOREVER));
        for (uintptr_t i = 0; i < N; i++)
            cr_assert_eq(results[i], (void *)(2 * i));
        EXPECT_CALL(EDOM, thrum_executor_map(pool, odd_fails, args, NULL, status, N, chunks[c],
                                             THRUM_FOREVER));
        for (int i = 0; i < N; i++)
            cr_assert_eq(status[i], i % 2 != 0 ? EDOM : 0);
    }
    EXPECT_CALL(0, thrum_executor_map(pool, twice, args, NULL, NULL, 0, 0, THRUM_FOREVER));
    EXPECT_CALL(ETIMEDOUT, thrum_executor_map(pool, twice, args, NULL, NULL, N, 0, 1));
    thrum_executor_destroy(pool);
}

static int naps(void *arg, void **result)
{
    (void)arg, (void)result;
    usleep(2000);
    return 0;
}

Test(process_pool, a_map_ends_at_its_deadline)
{
    enum { N = 4000 };
    static int status[N];
    int cancelled = 0;
    thrum_executor_t *pool = pool_of(2);
    EXPECT_CALL(ETIMEDOUT, thrum_executor_map(pool, naps, NULL, NULL, status, N, 100,
                                              thrum_after(THRUM_MS(50))));
    for (int i = 0; i < N; i++)
        cancelled += status[i] == ECANCELED;
    cr_expect_gt(cancelled, 0);
    EXPECT_CALL(0, status_of(submitted(pool, twice, NULL), NULL));
    thrum_executor_destroy(pool);
}

/* --- callbacks, groups, coroutines ---------------------------------------------------------------- */

static void call_count(thrum_future_t *f, void *arg)
{
    if (!thrum_future_done(f))
        abort();
    thi_fetch_add_acq_rel((uint32_t *)arg, 1u);
}

Test(process_pool, callbacks_are_called_once_in_this_process)
{
    uint32_t called = 0;
    thrum_executor_t *pool = pool_of(2);
    for (int i = 0; i < 500; i++) {
        thrum_future_t *f = submitted(pool, i % 3 == 0 ? fails_with : twice, (void *)EDOM);
        EXPECT_CALL(0, thrum_future_add_done_callback(f, call_count, &called));
        thrum_future_release(f);
    }
    thrum_executor_destroy(pool);
    cr_expect_eq(called, 500u);
}

static void waits_for_another(thrum_future_t *f, void *arg)
{
    void **both = arg;
    void *value = NULL;
    (void)f;
    if (status_of(submitted(both[0], twice, (void *)4), &value) != 0 || value != (void *)8)
        abort();
    thrum_event_set(both[1]);
}

Test(process_pool, a_callback_may_submit_and_wait)
{
    thrum_event_t called = THRUM_EVENT_INIT;
    thrum_executor_t *pool = pool_of(1);
    void *both[2] = {pool, &called};
    thrum_future_t *f = submitted(pool, twice, NULL);
    EXPECT_CALL(0, thrum_future_add_done_callback(f, waits_for_another, both));
    EXPECT_CALL(0, status_of(f, NULL));
    EXPECT_CALL(0, thrum_event_wait(&called));
    thrum_executor_destroy(pool);
}

Test(process_pool, a_group_waits_for_its_tasks)
{
    uint32_t *count = victim_memory(sizeof *count);
    thrum_executor_t *pool = pool_of(2);
    thrum_group_t group;
    EXPECT_CALL(0, thrum_group_init(&group, pool));
    for (int i = 0; i < 100; i++)
        EXPECT_CALL(0, thrum_group_spawn(&group, count_in, count));
    EXPECT_CALL(0, thrum_group_wait(&group));
    cr_expect_eq(*count, 100u);
    EXPECT_CALL(0, thrum_group_spawn(&group, fails_with, (void *)EDOM));
    EXPECT_CALL(EDOM, thrum_group_wait(&group));
    thrum_executor_destroy(pool);
}

struct many {
    thrum_executor_t *pool;
    uint32_t right;
};

static int asks_in_a_loop(void *arg, void **result)
{
    struct many *m = arg;
    (void)result;
    for (uintptr_t i = 0; i < 50; i++) {
        void *value = NULL;
        if (status_of(submitted(m->pool, twice, (void *)i), &value) == 0 &&
            value == (void *)(2 * i))
            m->right++;
    }
    return 0;
}

static int starts_many(void *arg, void **result)
{
    (void)result;
    for (int i = 0; i < 20; i++)
        if (thrum_go(NULL, asks_in_a_loop, arg) != 0)
            return ENOMEM;
    return 0;
}

Test(process_pool, coroutines_wait_for_tasks)
{
    struct many m = {pool_of(2), 0};
    EXPECT_CALL(0, thrum_run(starts_many, &m, NULL));
    cr_expect_eq(m.right, 1000u);
    thrum_executor_destroy(m.pool);
}

static void *asks(void *arg)
{
    (void)asks_in_a_loop(arg, NULL);
    return NULL;
}

Test(process_pool, many_threads_wait_at_once)
{
    struct many m[6];
    pthread_t thread[6];
    thrum_executor_t *pool = pool_of(2);
    for (int i = 0; i < 6; i++) {
        m[i] = (struct many){pool, 0};
        cr_assert_eq(pthread_create(&thread[i], NULL, asks, &m[i]), 0);
    }
    for (int i = 0; i < 6; i++) {
        cr_assert_eq(pthread_join(thread[i], NULL), 0);
        cr_expect_eq(m[i].right, 50u);
    }
    thrum_executor_destroy(pool);
}

/* --- workers ------------------------------------------------------------------------------------------ */

static int set_up(void *ctx)
{
    thi_fetch_add_acq_rel((uint32_t *)ctx, 1u);
    return 0;
}

static void tear_down(void *ctx)
{
    thi_fetch_add_acq_rel((uint32_t *)ctx + 1, 1u);
}

static int my_number(void *arg, void **result)
{
    (void)arg;
    *result = (void *)thrum_process_pool_worker();
    return 0;
}

Test(process_pool, each_worker_begins_with_init_and_ends_with_fini)
{
    uint32_t *counts = victim_memory(2 * sizeof *counts);
    void *number = NULL;
    thrum_process_pool_config_t config = config_of(3);
    config.init = set_up;
    config.fini = tear_down;
    config.ctx = counts;
    thrum_executor_t *pool = pool_with(&config);
    await(&counts[0], 3);
    EXPECT_CALL(0, status_of(submitted(pool, my_number, NULL), &number));
    cr_expect_lt((size_t)number, 3u);
    cr_expect_eq(thrum_process_pool_worker(), SIZE_MAX);
    thrum_executor_destroy(pool);
    cr_expect_eq(counts[1], counts[0]);
}

Test(process_pool, a_task_stuck_behind_a_long_one_goes_to_who_is_free)
{
    struct gate *gate = victim_memory(sizeof *gate);
    thrum_future_t *f[40];
    thrum_executor_t *pool = pool_of(2);
    for (int i = 0; i < 2000; i++) /* so that workers are given many ahead */
        EXPECT_CALL(0, thrum_executor_submit(pool, twice, NULL, NULL));
    thrum_future_t *held = submitted(pool, hold_at, gate);
    for (int i = 0; i < 40; i++)
        f[i] = submitted(pool, twice, NULL);
    for (int i = 0; i < 40; i++)
        EXPECT_CALL(0, status_of(f[i], NULL));
    cr_expect(!thrum_future_done(held));
    thi_store_release(&gate->open, 1u);
    EXPECT_CALL(0, status_of(held, NULL));
    thrum_executor_destroy(pool);
}

#if !defined(__SANITIZE_ADDRESS__) /* its allocator maps what it needs */
static int allocates(void *arg, void **result)
{
    volatile char *memory = malloc((size_t)arg);
    *result = (void *)(uintptr_t)(memory != NULL);
    if (memory != NULL)
        memory[0] = 1;
    return 0;
}

Test(process_pool, memory_can_be_limited)
{
    void *value = NULL;
    thrum_process_pool_config_t config = config_of(1);
    config.memory_limit = 64 << 20;
    thrum_executor_t *pool = pool_with(&config);
    EXPECT_CALL(0, status_of(submitted(pool, allocates, (void *)(1 << 20)), &value));
    cr_expect_eq(value, (void *)1);
    EXPECT_CALL(0, status_of(submitted(pool, allocates, (void *)(256 << 20)), &value));
    cr_expect_eq(value, NULL);
    thrum_executor_destroy(pool);
}
#endif

/* --- errors ------------------------------------------------------------------------------------------- */

static void expect_refused(thrum_process_pool_config_t config)
{
    thrum_executor_t *pool = NULL;
    EXPECT_CALL(EINVAL, thrum_process_pool_create(&pool, &config));
    cr_expect_null(pool);
}

Test(process_pool, a_wrong_config_is_refused)
{
    thrum_process_pool_config_t config = config_of(1);
    EXPECT_CALL(EINVAL, thrum_process_pool_create(NULL, &config));
    config.config_size = 1;
    expect_refused(config);
    config = config_of(1001);
    expect_refused(config);
    config = config_of(1);
    config.task_timeout = -1;
    expect_refused(config);
    config = config_of(1);
    config.on_crash = (thrum_crash_t)9;
    expect_refused(config);
    config = config_of(1);
    config.retries = 70000;
    expect_refused(config);
    config = config_of(1);
    config.backlog = SIZE_MAX;
    expect_refused(config);
}

static int then_fn(thrum_future_t *done, void *arg, void **result)
{
    (void)done, (void)arg, (void)result;
    return 0;
}

static int range_fn(size_t begin, size_t end, void *arg)
{
    (void)begin, (void)end, (void)arg;
    return 0;
}

Test(process_pool, what_cannot_be_is_refused)
{
    thrum_future_t *f = NULL;
    thrum_executor_t *pool = pool_of(1);
    static char not_code[16];
    thrum_fn nowhere = NULL;
    void *address = not_code;
    memcpy(&nowhere, &address, sizeof nowhere);
    EXPECT_CALL(EINVAL, thrum_executor_submit(pool, nowhere, NULL, &f));
    EXPECT_CALL(EINVAL, thrum_executor_submit(pool, NULL, NULL, &f));
    EXPECT_CALL(EINVAL, thrum_executor_submit_bytes(pool, echo, NULL, 1, &f));
    EXPECT_CALL(EINVAL, thrum_executor_map(pool, nowhere, NULL, NULL, NULL, 1, 0, THRUM_FOREVER));
    EXPECT_CALL(ENOTSUP, thrum_parallel_for(pool, 0, 10, 0, range_fn, NULL));
    f = submitted(pool, twice, NULL);
    EXPECT_CALL(ENOTSUP, thrum_future_then(f, pool, then_fn, NULL, NULL));
    EXPECT_CALL(0, thrum_future_wait(f));
    EXPECT_CALL(ENOTSUP, thrum_future_bytes(f, NULL, NULL));
    EXPECT_CALL(ENOTSUP, thrum_future_cause(f, NULL, NULL));
    EXPECT_CALL(EINVAL, thrum_future_kill(f));
    EXPECT_CALL(EINVAL, thrum_future_interrupt(f));
    thrum_future_release(f);
    thrum_executor_destroy(pool);
}

/* --- the backlog -------------------------------------------------------------------------------------- */

Test(process_pool, a_full_backlog_refuses_or_waits)
{
    struct gate *gate = victim_memory(sizeof *gate);
    thrum_process_pool_config_t config = config_of(1);
    config.backlog = 3;
    config.full_fails = true;
    thrum_executor_t *pool = pool_with(&config);
    thrum_future_t *held = submitted(pool, hold_at, gate);
    await(&gate->inside, 1);
    thrum_future_t *f = NULL;
    int err = 0;
    int accepted = 0;
    while ((err = thrum_executor_submit(pool, twice, NULL, NULL)) == 0)
        accepted++;
    cr_expect_eq(err, EAGAIN);
    cr_expect_geq(accepted, 3);
    EXPECT_CALL(ETIMEDOUT, thrum_executor_submit_until(pool, twice, NULL, thrum_after(1000), &f));
    thi_store_release(&gate->open, 1u);
    EXPECT_CALL(0, status_of(held, NULL));
    EXPECT_CALL(0, thrum_executor_submit_until(pool, twice, NULL, THRUM_FOREVER, &f));
    EXPECT_CALL(0, status_of(f, NULL));
    thrum_executor_destroy(pool);
}
