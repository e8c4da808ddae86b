#include "task/work.h"

/* Loops in parallel. */
TestSuite(parallel, .timeout = 60);

#define N 10000u

struct loop {
    thrum_executor_t *pool;
    uint32_t hits[N];
    size_t grain;
    size_t too_large; /* pieces above the grain */
    uint32_t fail_at;
    uint32_t pieces;
    int err;
};

static int hit(size_t begin, size_t end, void *arg)
{
    struct loop *l = arg;
    thi_fetch_add_relaxed(&l->pieces, 1u);
    if (end <= begin || end > N || (l->grain != 0 && end - begin > l->grain))
        thi_fetch_add_relaxed(&l->too_large, (size_t)1);
    for (size_t i = begin; i < end; i++) {
        if (l->fail_at != 0 && i == l->fail_at)
            return EIO;
        thi_fetch_add_relaxed(&l->hits[i], 1u);
    }
    return 0;
}

static bool hit_once(const struct loop *l, size_t begin, size_t end)
{
    for (size_t i = 0; i < N; i++)
        if (l->hits[i] != (i >= begin && i < end))
            return false;
    return l->too_large == 0;
}

static struct loop loop;

static void expect_loop(thrum_executor_t *pool, size_t begin, size_t end, size_t grain)
{
    memset(&loop, 0, sizeof loop);
    loop.grain = grain;
    EXPECT_CALL(0, thrum_parallel_for(pool, begin, end, grain, hit, &loop));
    cr_expect(hit_once(&loop, begin, end), "%zu to %zu by %zu", begin, end, grain);
}

Test(parallel, each_index_is_hit_once)
{
    static const size_t grains[] = {0, 1, 7, 1000, N, N + 1, SIZE_MAX / 4};
    for (EACH_POLICY(policy)) {
        thrum_executor_t *pool = pool_of(1 + (size_t)policy % 3, policy);
        for (size_t i = 0; i < sizeof grains / sizeof *grains; i++) {
            expect_loop(pool, 0, N, grains[i]);
            expect_loop(pool, 17, 18, grains[i]);
            expect_loop(pool, 3, N - 3, grains[i]);
            expect_loop(pool, N, N, grains[i]);
        }
        thrum_executor_destroy(pool);
    }
}

Test(parallel, invalid_ranges_are_refused)
{
    thrum_executor_t *pool = pool_of(1, THRUM_POLICY_STEALING);
    EXPECT_CALL(EINVAL, thrum_parallel_for(NULL, 0, 1, 0, hit, &loop));
    EXPECT_CALL(EINVAL, thrum_parallel_for(pool, 0, 1, 0, NULL, &loop));
    EXPECT_CALL(EINVAL, thrum_parallel_for(pool, 2, 1, 0, hit, &loop));
    EXPECT_CALL(0, thrum_parallel_for(pool, SIZE_MAX, SIZE_MAX, 0, hit, &loop));
    cr_expect_eq(loop.pieces, 0u);
    thrum_executor_destroy(pool);
}

Test(parallel, an_error_ends_it)
{
    thrum_executor_t *pool = pool_of(2, THRUM_POLICY_STEALING);
    for (uint32_t at = 1; at < 50; at++) {
        memset(&loop, 0, sizeof loop);
        loop.fail_at = at;
        EXPECT_CALL(EIO, thrum_parallel_for(pool, 0, N, 1, hit, &loop));
        cr_expect_eq(loop.hits[at], 0u);
        for (size_t i = 0; i < at; i++)
            cr_assert_eq(loop.hits[i], 1u, "those before it had begun");
    }
    thrum_executor_destroy(pool);
}

Test(parallel, an_error_keeps_later_pieces_from_beginning)
{
    struct gate gate = GATE_INIT;
    thrum_executor_t *pool = pool_of(1, THRUM_POLICY_STEALING);
    keep_busy(pool, &gate);
    memset(&loop, 0, sizeof loop);
    loop.fail_at = 3;
    EXPECT_CALL(EIO, thrum_parallel_for(pool, 0, N, 1, hit, &loop));
    cr_expect_eq(loop.pieces, 4u, "the caller was alone");
    open_and_destroy(pool, &gate);
}

Test(parallel, a_busy_pool_does_not_hold_it_up)
{
    struct gate gate = GATE_INIT;
    thrum_executor_t *pool = pool_of(2, THRUM_POLICY_FIFO);
    EXPECT_CALL(0, thrum_executor_submit(pool, hold_at, &gate, NULL));
    EXPECT_CALL(0, thrum_executor_submit(pool, hold_at, &gate, NULL));
    await_word(&gate.inside, 2);
    for (int i = 0; i < 20; i++)
        expect_loop(pool, 0, N, (size_t)i);
    open_and_destroy(pool, &gate);
}

Test(parallel, neither_does_one_that_is_full_or_shut_down)
{
    struct gate gate = GATE_INIT;
    thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
    config.workers = 2;
    config.backlog = 1;
    config.full = THRUM_FULL_FAIL;
    thrum_executor_t *pool = pool_as(&config);
    for (uint32_t i = 1; i <= 2; i++) {
        EXPECT_CALL(0, thrum_executor_submit_until(pool, hold_at, &gate, THRUM_FOREVER, NULL));
        await_word(&gate.inside, i);
    }
    EXPECT_CALL(0, thrum_executor_submit(pool, hand_back, NULL, NULL));
    EXPECT_CALL(EAGAIN, thrum_executor_submit(pool, hand_back, NULL, NULL));
    expect_loop(pool, 0, N, 0);
    thrum_event_set(&gate.opened);
    EXPECT_CALL(0, thrum_executor_shutdown(pool, THRUM_WAIT));
    expect_loop(pool, 0, N, 0);
    thrum_executor_destroy(pool);
}

/* --- in tasks ------------------------------------------------------------------------------------------ */

static int loop_task(void *arg, void **result)
{
    struct loop *l = arg;
    (void)result;
    return thrum_parallel_for(l->pool, 0, N, l->grain, hit, l);
}

Test(parallel, a_task_may_loop_on_its_own_pool)
{
    enum { LOOPS = 8 };
    static struct loop loops[LOOPS];
    for (size_t workers = 1; workers <= 3; workers++) {
        thrum_future_t *f[LOOPS];
        thrum_executor_t *pool = pool_of(workers, THRUM_POLICY_STEALING);
        for (int i = 0; i < LOOPS; i++) {
            memset(&loops[i], 0, sizeof loops[i]);
            loops[i].pool = pool;
            loops[i].grain = (size_t)i * 5;
            f[i] = submitted(pool, loop_task, &loops[i]);
        }
        for (int i = 0; i < LOOPS; i++) {
            expect_result(f[i], 0);
            cr_expect(hit_once(&loops[i], 0, N));
        }
        thrum_executor_destroy(pool);
    }
}

static int loop_inside(size_t begin, size_t end, void *arg)
{
    int err = 0;
    for (size_t i = begin; err == 0 && i < end; i++)
        err = thrum_parallel_for(((struct loop *)arg)->pool, 0, 100, 3, hit, arg);
    return err;
}

Test(parallel, loops_nest)
{
    for (size_t workers = 1; workers <= 3; workers++) {
        memset(&loop, 0, sizeof loop);
        loop.pool = pool_of(workers, THRUM_POLICY_STEALING);
        EXPECT_CALL(0, thrum_parallel_for(loop.pool, 0, 50, 1, loop_inside, &loop));
        for (size_t i = 0; i < 100; i++)
            cr_assert_eq(loop.hits[i], 50u);
        thrum_executor_destroy(loop.pool);
    }
}
