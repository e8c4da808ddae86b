#include "task/work.h"

/* However many tasks a pool has run, it takes no more memory than for a few. */
TestSuite(pool_memory, .timeout = 120);

enum { FEW = 2000, SLACK = 256 * 1024 };

#define MANY ((size_t)10 * 1000 * 1000)
#define SUBMITTED ((size_t)50 * 1000)

static size_t in_use;
static size_t most;

static void *allocate(size_t size, size_t alignment, void *ctx)
{
    (void)alignment, (void)ctx;
    const size_t now = thi_fetch_add_relaxed(&in_use, size) + size;
    size_t before = thi_load_relaxed(&most);
    while (before < now && !thi_cas_relaxed(&most, &before, now)) {
    }
    return malloc(size);
}

static void release(void *memory, size_t size, size_t alignment, void *ctx)
{
    (void)alignment, (void)ctx;
    thi_fetch_sub_relaxed(&in_use, size);
    free(memory);
}

static void watch_memory(void)
{
    const thrum_allocator_t watched = {
        .size = sizeof watched, .allocate = allocate, .release = release};
    cr_assert_eq(thrum_set_allocator(&watched), 0);
}

static int do_little(void *arg, void **result)
{
    (void)arg, (void)result;
    return 0;
}

Test(pool_memory, a_map_of_ten_million_calls, .init = watch_memory)
{
    thrum_executor_t *pool = pool_of(2, THRUM_POLICY_STEALING);
    EXPECT_CALL(0, thrum_executor_map(pool, do_little, NULL, NULL, NULL, FEW, 0, THRUM_FOREVER));
    const size_t of_few = thi_load_relaxed(&most);
    EXPECT_CALL(0, thrum_executor_map(pool, do_little, NULL, NULL, NULL, MANY, 0, THRUM_FOREVER));
    cr_expect_leq(thi_load_relaxed(&most), of_few + SLACK);
    thrum_executor_destroy(pool);
}

static void submit_and_forget(thrum_executor_t *pool, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        thrum_future_t *f = NULL;
        cr_assert_eq(thrum_executor_submit(pool, do_little, NULL, i % 2 == 0 ? &f : NULL), 0);
        thrum_future_release(f);
    }
}

Test(pool_memory, tasks_beyond_a_backlog, .init = watch_memory)
{
    for (EACH_POLICY(policy)) {
        thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
        config.workers = 2;
        config.policy = policy;
        config.backlog = 100;
        thrum_executor_t *pool = pool_as(&config);
        submit_and_forget(pool, FEW);
        const size_t of_few = thi_load_relaxed(&most);
        submit_and_forget(pool, SUBMITTED);
        cr_expect_leq(thi_load_relaxed(&most), of_few + SLACK, "policy %d", (int)policy);
        thrum_executor_destroy(pool);
    }
}
