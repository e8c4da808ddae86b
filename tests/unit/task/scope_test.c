#include "task/work.h"

/* Who is asked to stop, and who is not: shields, groups in groups, tasks on one another's stacks. */
TestSuite(scope, .timeout = 60);

struct world {
    thrum_executor_t *pool;
    thrum_future_t *inner;
    struct gate gate;
    thrum_event_t other;
    uint32_t all; /* tasks of the inner group have been spawned */
    uint32_t ran;
    int errors[6];
};

static struct world world_of(size_t workers)
{
    struct world w = {.pool = pool_of(workers, THRUM_POLICY_STEALING),
                      .gate = GATE_INIT,
                      .other = THRUM_EVENT_INIT};
    return w;
}

static void await_asked(void)
{
    while (!thrum_cancelled())
        sched_yield();
}

/* Runs fn as a task, asks it to stop once it is inside, and lets it end. */
static void interrupted(struct world *w, thrum_fn fn, int status)
{
    thrum_future_t *f = submitted(w->pool, fn, w);
    await_reaches(&w->gate.inside, 1);
    EXPECT_CALL(0, thrum_future_interrupt(f));
    expect_result(f, status);
}

/* --- cancelled tasks begin nothing ------------------------------------------------------------------- */

static int wait_for_fresh_ones(void *arg, void **result)
{
    struct world *w = arg;
    thrum_future_t *f[2];
    size_t n = 0;
    (void)result;
    for (int i = 0; i < 2; i++)
        if (thrum_executor_submit(w->pool, add_one, &w->ran, &f[i]) != 0)
            abort();
    thi_fetch_add_acq_rel(&w->gate.inside, 1u);
    await_asked();
    w->errors[0] = thrum_future_wait(f[0]);
    w->errors[1] = thrum_wait(f, 2, THRUM_FIRST_COMPLETED, THRUM_FOREVER, &n);
    w->errors[2] = thrum_wait(f, 2, THRUM_FIRST_ERROR, THRUM_FOREVER, &n);
    w->errors[3] = thrum_wait(f, 2, THRUM_ALL_COMPLETED, THRUM_FOREVER, &n);
    w->errors[4] = thrum_executor_map(w->pool, add_one, NULL, NULL, NULL, 3, 1, THRUM_FOREVER);
    for (int i = 0; i < 2; i++) {
        (void)thrum_future_cancel(f[i]);
        thrum_future_release(f[i]);
    }
    return 0;
}

Test(scope, a_cancelled_task_runs_no_other_while_it_waits)
{
    thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
    config.workers = 1;
    config.spare_workers = SIZE_MAX; /* none: one that stood in would run them */
    struct world w = {.pool = pool_as(&config), .gate = GATE_INIT, .other = THRUM_EVENT_INIT};
    interrupted(&w, wait_for_fresh_ones, 0);
    thrum_executor_destroy(w.pool);
    for (int i = 0; i < 5; i++)
        cr_expect_eq(w.errors[i], ECANCELED, "%d", i);
    cr_expect_eq(w.ran, 0u);
}

/* --- shields ------------------------------------------------------------------------------------------ */

static int clean_up(void *arg, void **result)
{
    struct world *w = arg;
    thrum_future_t *f = NULL;
    (void)result;
    w->errors[0] = thrum_cancelled() ? EPROTO : 0;
    w->errors[1] = thrum_event_wait_until(&w->other, SOON) == ETIMEDOUT ? 0 : EPROTO;
    w->errors[2] = thrum_executor_submit(w->pool, add_one, &w->ran, &f);
    w->errors[3] = thrum_future_wait(f);
    thrum_future_release(f);
    thrum_group_t g = THRUM_GROUP_INIT(w->pool);
    for (int i = 0; i < 10; i++)
        w->errors[4] |= thrum_group_spawn(&g, add_one, &w->ran);
    w->errors[5] = thrum_group_wait(&g);
    return 7;
}

static int be_cleaned_up(void *arg, void **result)
{
    struct world *w = arg;
    if (stop_at(&w->gate, result) != ECANCELED)
        return EPROTO;
    if (thrum_shield(clean_up, w, NULL) != 7)
        return EPROTO;
    return thrum_event_wait(&w->other); /* asked to stop again */
}

static void expect_clean(const struct world *w)
{
    for (int i = 0; i < 6; i++)
        cr_expect_eq(w->errors[i], 0, "%d", i);
    cr_expect_eq(w->ran, 11u);
}

Test(scope, cleaning_up_is_shielded)
{
    for (size_t workers = 1; workers <= 2; workers++) {
        struct world w = world_of(workers);
        interrupted(&w, be_cleaned_up, ECANCELED);
        expect_clean(&w);
        thrum_executor_destroy(w.pool);
    }
}

Test(scope, cleaning_up_is_shielded_in_a_group)
{
    for (size_t workers = 1; workers <= 2; workers++) {
        struct world w = world_of(workers);
        thrum_group_t g = THRUM_GROUP_INIT(w.pool);
        EXPECT_CALL(0, thrum_group_spawn(&g, be_cleaned_up, &w));
        await_word(&w.gate.inside, 1);
        thrum_group_cancel(&g);
        EXPECT_CALL(ECANCELED, thrum_group_wait(&g));
        expect_clean(&w);
        thrum_executor_destroy(w.pool);
    }
}

/* A shield is for its own task, and not for those that it runs while it waits. */
static int look_whether_asked(void *arg, void **result)
{
    struct world *w = arg;
    (void)result;
    thi_fetch_add_acq_rel(&w->gate.inside, 1u);
    return thrum_event_wait(&w->other);
}

static int wait_shielded(void *arg, void **result)
{
    return thrum_future_result(((struct world *)arg)->inner, result);
}

static int run_it_shielded(void *arg, void **result)
{
    struct world *w = arg;
    (void)result;
    w->errors[0] = thrum_executor_submit(w->pool, look_whether_asked, w, &w->inner);
    return thrum_shield(wait_shielded, w, NULL);
}

Test(scope, a_shield_does_not_cover_the_task_that_is_run_under_it)
{
    struct world w = world_of(1);
    thrum_future_t *f = submitted(w.pool, run_it_shielded, &w);
    await_word(&w.gate.inside, 1); /* on the waiting one's stack */
    EXPECT_CALL(0, thrum_future_interrupt(w.inner));
    expect_result(f, ECANCELED);
    thrum_future_release(w.inner);
    thrum_executor_destroy(w.pool);
}

/* --- groups in groups ---------------------------------------------------------------------------------- */

static int count_stop(void *arg, void **result)
{
    struct world *w = arg;
    await_word(&w->all, 1); /* or its group, cancelled too early, would refuse the others */
    const int err = stop_for_ever(&w->gate.inside, result);
    if (err == ECANCELED && thrum_cancelled())
        thi_fetch_add_relaxed(&w->ran, 1u);
    return err;
}

static int inner_group(void *arg, void **result)
{
    struct world *w = arg;
    (void)result;
    thrum_group_t g = THRUM_GROUP_INIT(w->pool);
    for (int i = 0; i < 3; i++)
        if (thrum_group_spawn(&g, count_stop, w) != 0)
            return EPROTO;
    thi_store_release(&w->all, 1u);
    return thrum_group_wait(&g) == ECANCELED && thrum_group_cancelled(&g) ? EINTR : EPROTO;
}

Test(scope, cancelling_a_group_reaches_the_groups_inside)
{
    for (size_t workers = 1; workers <= 3; workers++) {
        struct world w = world_of(workers);
        thrum_group_t g = THRUM_GROUP_INIT(w.pool);
        EXPECT_CALL(0, thrum_group_spawn(&g, inner_group, &w));
        await_reaches(&w.gate.inside, 1);
        thrum_group_cancel(&g);
        EXPECT_CALL(ECANCELED, thrum_group_wait(&g));
        cr_expect_eq(w.ran, w.gate.inside);
        thrum_executor_destroy(w.pool);
    }
}

Test(scope, interrupting_a_task_reaches_its_group)
{
    for (size_t workers = 1; workers <= 3; workers++) {
        struct world w = world_of(workers);
        interrupted(&w, inner_group, EINTR);
        cr_expect_eq(w.ran, w.gate.inside);
        thrum_executor_destroy(w.pool);
    }
}

static int inner_fails(void *arg, void **result)
{
    struct world *w = arg;
    (void)result;
    thrum_group_t g = THRUM_GROUP_INIT(w->pool);
    if (thrum_group_spawn(&g, fail_with, ERROR(EIO)) != 0 || thrum_group_wait(&g) != EIO)
        return EPROTO;
    return thrum_cancelled() ? EPROTO : 0;
}

Test(scope, an_inner_group_s_error_is_its_own)
{
    struct world w = world_of(1);
    thrum_group_t g = THRUM_GROUP_INIT(w.pool);
    EXPECT_CALL(0, thrum_group_spawn(&g, inner_fails, &w));
    EXPECT_CALL(0, thrum_group_wait(&g));
    cr_expect_not(thrum_group_cancelled(&g));
    thrum_executor_destroy(w.pool);
}

/* A task that another one runs on its stack is not cancelled with that one. */
static int is_not_asked(void *arg, void **result)
{
    struct world *w = arg;
    (void)result;
    thi_fetch_add_acq_rel(&w->gate.inside, 1u);
    (void)thrum_event_wait(&w->other);
    return thrum_cancelled() ? EPROTO : 0;
}

static int run_another(void *arg, void **result)
{
    struct world *w = arg;
    thrum_future_t *f = NULL;
    w->errors[0] = thrum_executor_submit(w->pool, is_not_asked, w, &f);
    w->errors[1] = thrum_future_result(f, result);
    thrum_future_release(f);
    return thrum_cancelled() ? EINTR : EPROTO;
}

Test(scope, interrupting_a_task_spares_the_one_it_runs)
{
    struct world w = world_of(1);
    thrum_future_t *f = submitted(w.pool, run_another, &w);
    await_word(&w.gate.inside, 1);
    EXPECT_CALL(0, thrum_future_interrupt(f));
    thrum_event_set(&w.other);
    expect_result(f, EINTR);
    cr_expect_eq(w.errors[1], 0);
    thrum_executor_destroy(w.pool);
}

Test(scope, a_group_says_that_it_was_cancelled_first)
{
    for (int i = 0; i < 2; i++) {
        struct gate gate = GATE_INIT;
        struct world w = world_of(1);
        thrum_group_t g = THRUM_GROUP_INIT(w.pool);
        keep_busy(w.pool, &gate);
        EXPECT_CALL(0, thrum_group_spawn(&g, i == 0 ? fail_with : hand_back, ERROR(EIO)));
        thrum_group_cancel(&g);
        thrum_event_set(&gate.opened);
        EXPECT_CALL(ECANCELED, thrum_group_wait(&g));
        thrum_executor_destroy(w.pool);
    }
}

/* Its task is under way when the group is cancelled, and fails with something else. */
static int fail_when_asked(void *arg, void **result)
{
    struct world *w = arg;
    (void)result;
    thi_fetch_add_acq_rel(&w->gate.inside, 1u);
    await_asked();
    return EIO;
}

Test(scope, an_error_after_a_cancellation_is_not_the_group_s)
{
    struct world w = world_of(1);
    thrum_group_t g = THRUM_GROUP_INIT(w.pool);
    EXPECT_CALL(0, thrum_group_spawn(&g, fail_when_asked, &w));
    await_word(&w.gate.inside, 1);
    thrum_group_cancel(&g);
    EXPECT_CALL(ECANCELED, thrum_group_wait(&g));
    thrum_executor_destroy(w.pool);
}
