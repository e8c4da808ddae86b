#include "task/work.h"

/* Waits with a deadline in tasks of the pool that has to do what they wait for. */
TestSuite(deadline, .timeout = 60);

static thrum_executor_t *with_spares(size_t spares)
{
    thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
    config.workers = 1;
    config.spare_workers = spares;
    return pool_as(&config);
}

struct scene {
    thrum_executor_t *pool;
    thrum_event_t stop; /* what the awaited task waits for, and the waiting one sets afterwards */
    thrum_time_t deadline;
    thrum_wait_mode_t mode;
    size_t n_done;
};

static int wait_for_stop(void *arg, void **result)
{
    (void)result;
    return thrum_event_wait(&((struct scene *)arg)->stop);
}

static int released_after(struct scene *s, thrum_future_t *f, int err)
{
    thrum_event_set(&s->stop);
    const int ended = thrum_future_result(f, NULL);
    thrum_future_release(f);
    return ended != 0 ? EPROTO : err;
}

static int wait_until(void *arg, void **result)
{
    struct scene *s = arg;
    thrum_future_t *f = NULL;
    (void)result;
    if (thrum_executor_submit(s->pool, wait_for_stop, s, &f) != 0)
        return EPROTO;
    return released_after(s, f, thrum_future_wait_until(f, s->deadline));
}

static int wait_for_first(void *arg, void **result)
{
    struct scene *s = arg;
    thrum_future_t *fs[2];
    (void)result;
    if (thrum_future_create(&fs[1]) != 0 ||
        thrum_executor_submit(s->pool, wait_for_stop, s, &fs[0]) != 0)
        return EPROTO;
    const int err = thrum_wait(fs, 2, s->mode, s->deadline, &s->n_done);
    thrum_future_release(fs[1]);
    return released_after(s, fs[0], err);
}

static void expect_timeout(thrum_fn fn, size_t spares, thrum_time_t deadline,
                           thrum_wait_mode_t mode)
{
    struct scene s = {.pool = with_spares(spares), .deadline = deadline, .mode = mode};
    expect_result(submitted(s.pool, fn, &s), ETIMEDOUT);
    cr_expect_eq(s.n_done, 0u);
    thrum_executor_destroy(s.pool);
}

Test(deadline, one_that_has_passed_runs_nothing)
{
    for (int none = 0; none < 2; none++) {
        const size_t spares = none != 0 ? SIZE_MAX : 4;
        expect_timeout(wait_until, spares, PAST, THRUM_ALL_COMPLETED);
        expect_timeout(wait_for_first, spares, PAST, THRUM_ALL_COMPLETED);
        expect_timeout(wait_for_first, spares, PAST, THRUM_FIRST_COMPLETED);
        expect_timeout(wait_for_first, spares, PAST, THRUM_FIRST_ERROR);
    }
}

Test(deadline, one_that_comes_ends_the_wait_while_another_stands_in)
{
    expect_timeout(wait_until, 4, SOON, THRUM_ALL_COMPLETED);
    expect_timeout(wait_for_first, 4, SOON, THRUM_ALL_COMPLETED);
    expect_timeout(wait_for_first, 4, SOON, THRUM_FIRST_COMPLETED);
    expect_timeout(wait_for_first, 4, SOON, THRUM_FIRST_ERROR);
}

/* --- the first of several, without a deadline ---------------------------------------------------------- */

static int complete(void *f, void **result)
{
    (void)result;
    return thrum_future_complete(f, NULL);
}

static int first_is_another_s(void *arg, void **result)
{
    struct scene *s = arg;
    thrum_future_t *fs[2];
    (void)result;
    if (thrum_future_create(&fs[1]) != 0 ||
        thrum_executor_submit(s->pool, complete, fs[1], NULL) != 0 ||
        thrum_executor_submit(s->pool, wait_for_stop, s, &fs[0]) != 0)
        return EPROTO;
    const int err = thrum_wait(fs, 2, THRUM_FIRST_COMPLETED, THRUM_FOREVER, &s->n_done);
    const bool it_was = thrum_future_done(fs[1]) && !thrum_future_done(fs[0]);
    thrum_future_release(fs[1]);
    return released_after(s, fs[0], it_was ? err : EPROTO);
}

Test(deadline, the_first_of_several_is_seen_while_another_s_task_sleeps)
{
    for (int i = 0; i < 20; i++) {
        struct scene s = {.pool = with_spares(4)};
        expect_result(submitted(s.pool, first_is_another_s, &s), 0);
        cr_expect_eq(s.n_done, 1u);
        thrum_executor_destroy(s.pool);
    }
}

/* --- with nobody left to stand in, and time --------------------------------------------------------------- */

static int run_in_time(void *arg, void **result)
{
    struct scene *s = arg;
    thrum_future_t *fs[2];
    thrum_group_t g = THRUM_GROUP_INIT(s->pool);
    uint32_t ran = 0;
    (void)result;
    for (int i = 0; i < 2; i++)
        if (thrum_executor_submit(s->pool, add_one, &ran, &fs[i]) != 0)
            return EPROTO;
    int err = thrum_future_wait_until(fs[0], s->deadline);
    if (err == 0)
        err = thrum_wait(&fs[1], 1, THRUM_FIRST_COMPLETED, s->deadline, NULL);
    thrum_future_release(fs[0]);
    thrum_future_release(fs[1]);
    if (err != 0 || thrum_group_spawn(&g, add_one, &ran) != 0)
        return EPROTO;
    err = thrum_group_wait_until(&g, s->deadline);
    return err == 0 && ran != 3 ? EPROTO : err;
}

Test(deadline, what_nobody_else_can_run_is_run_in_time)
{
    struct scene s = {.pool = with_spares(SIZE_MAX), .deadline = thrum_after(THRUM_S(50))};
    expect_result(submitted(s.pool, run_in_time, &s), 0);
    thrum_executor_destroy(s.pool);
}

/* --- groups --------------------------------------------------------------------------------------------------- */

static int group_until(void *arg, void **result)
{
    struct scene *s = arg;
    thrum_group_t g = THRUM_GROUP_INIT(s->pool);
    (void)result;
    if (thrum_group_spawn(&g, stop_for_ever, NULL) != 0)
        return EPROTO;
    return thrum_group_wait_until(&g, s->deadline);
}

Test(deadline, a_group_s_ends_it)
{
    expect_timeout(group_until, SIZE_MAX, PAST, THRUM_ALL_COMPLETED);
    expect_timeout(group_until, 4, PAST, THRUM_ALL_COMPLETED);
    expect_timeout(group_until, 4, SOON, THRUM_ALL_COMPLETED);
}
