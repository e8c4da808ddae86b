#include "task/work.h"

/* Waiting for several futures, and taking them as they end. */
TestSuite(wait, .timeout = 60);

static const thrum_wait_mode_t modes[] = {THRUM_FIRST_COMPLETED, THRUM_FIRST_ERROR,
                                          THRUM_ALL_COMPLETED};

#define MANY 20u /* more than fit on a stack, and than the library keeps there */

struct crowd {
    thrum_future_t *fs[MANY];
    size_t n;
    thrum_wait_mode_t mode;
    thrum_time_t deadline;
    size_t done;
};

static void crowd_begin(struct crowd *c, size_t n, thrum_wait_mode_t mode)
{
    *c = (struct crowd){.n = n, .mode = mode, .deadline = THRUM_FOREVER, .done = 99};
    for (size_t i = 0; i < n; i++)
        c->fs[i] = promised();
}

static void crowd_end(struct crowd *c)
{
    for (size_t i = 0; i < c->n; i++)
        thrum_future_release(c->fs[i]);
}

static int crowd_wait(void *arg)
{
    struct crowd *c = arg;
    return thrum_wait(c->fs, c->n, c->mode, c->deadline, &c->done);
}

static void expect_wait(struct crowd *c, int err, size_t n_done)
{
    c->done = 99;
    EXPECT_CALL(err, thrum_wait(c->fs, c->n, c->mode, PAST, &c->done));
    cr_expect_eq(c->done, n_done);
    EXPECT_CALL(err, thrum_wait(c->fs, c->n, c->mode, PAST, NULL));
}

/* --- when it is satisfied -------------------------------------------------------------------------- */

Test(wait, invalid_ones_are_refused)
{
    size_t done = 99;
    thrum_future_t *fs[] = {promised(), NULL};
    for (int i = 0; i < 3; i++) {
        EXPECT_CALL(EINVAL, thrum_wait(NULL, 1, modes[i], PAST, &done));
        EXPECT_CALL(EINVAL, thrum_wait(fs, 2, modes[i], PAST, &done));
        EXPECT_CALL(0, thrum_wait(NULL, 0, modes[i], PAST, &done));
        cr_expect_eq(done, 0u, "nothing to wait for");
    }
    EXPECT_CALL(EINVAL, thrum_wait(fs, 1, (thrum_wait_mode_t)3, PAST, &done));
    thrum_future_release(fs[0]);
}

Test(wait, each_mode_is_satisfied_in_its_way)
{
    for (int i = 0; i < 3; i++) {
        struct crowd c;
        crowd_begin(&c, 3, modes[i]);
        expect_wait(&c, ETIMEDOUT, 0);
        EXPECT_CALL(0, thrum_future_complete(c.fs[1], NULL));
        expect_wait(&c, modes[i] == THRUM_FIRST_COMPLETED ? 0 : ETIMEDOUT, 1);
        EXPECT_CALL(0, thrum_future_fail(c.fs[0], EIO));
        expect_wait(&c, modes[i] == THRUM_ALL_COMPLETED ? ETIMEDOUT : 0, 2);
        EXPECT_CALL(0, thrum_future_complete(c.fs[2], NULL));
        expect_wait(&c, 0, 3);
        crowd_end(&c);
    }
}

Test(wait, a_cancelled_one_is_an_error_too)
{
    struct crowd c;
    crowd_begin(&c, 2, THRUM_FIRST_ERROR);
    cr_expect(thrum_future_cancel(c.fs[1]));
    expect_wait(&c, 0, 1);
    crowd_end(&c);
}

Test(wait, without_an_error_the_first_error_is_the_end_of_all)
{
    struct crowd c;
    crowd_begin(&c, 2, THRUM_FIRST_ERROR);
    EXPECT_CALL(0, thrum_future_complete(c.fs[1], NULL));
    expect_wait(&c, ETIMEDOUT, 1);
    EXPECT_CALL(0, thrum_future_complete(c.fs[0], NULL));
    expect_wait(&c, 0, 2);
    crowd_end(&c);
}

/* --- asleep ------------------------------------------------------------------------------------------- */

static void wake_by_each(size_t n, thrum_wait_mode_t mode)
{
    for (size_t which = 0; which < n; which++) {
        struct caller caller;
        struct crowd c;
        crowd_begin(&c, n, mode);
        caller_start(&caller, crowd_wait, &c);
        await_asleep(&caller);
        for (size_t i = 0; mode == THRUM_ALL_COMPLETED && i < n; i++)
            if (i != which)
                EXPECT_CALL(0, thrum_future_complete(c.fs[i], NULL));
        cr_expect(caller_stays(&caller));
        EXPECT_CALL(0, thrum_future_fail(c.fs[which], EIO));
        cr_expect_eq(caller_join(&caller), 0);
        cr_expect_eq(c.done, mode == THRUM_ALL_COMPLETED ? n : 1);
        for (size_t i = 0; i < n; i++)
            cr_expect_eq(thi_park_count(c.fs[i]), 0u, "nobody is left behind");
        crowd_end(&c);
    }
}

Test(wait, whichever_ends_wakes_it)
{
    for (int i = 0; i < 3; i++) {
        wake_by_each(1, modes[i]);
        wake_by_each(3, modes[i]);
        wake_by_each(MANY, modes[i]);
    }
}

Test(wait, what_does_not_satisfy_it_does_not_end_it)
{
    struct caller caller;
    struct crowd c;
    crowd_begin(&c, MANY, THRUM_FIRST_ERROR);
    caller_start(&caller, crowd_wait, &c);
    for (size_t i = 0; i + 1 < MANY; i++) {
        await_asleep(&caller);
        EXPECT_CALL(0, thrum_future_complete(c.fs[i], NULL));
        thi_strand_unpark(caller_strand(&caller));
        cr_expect(!caller_done(&caller));
    }
    EXPECT_CALL(0, thrum_future_complete(c.fs[MANY - 1], NULL));
    cr_expect_eq(caller_join(&caller), 0);
    cr_expect_eq(c.done, MANY);
    crowd_end(&c);
}

Test(wait, cancelling_ends_it)
{
    for (int i = 0; i < 3; i++) {
        struct caller caller;
        struct crowd c;
        crowd_begin(&c, 3, modes[i]);
        if (modes[i] != THRUM_FIRST_COMPLETED)
            EXPECT_CALL(0, thrum_future_complete(c.fs[0], NULL));
        caller_start(&caller, crowd_wait, &c);
        await_asleep(&caller);
        caller_cancel(&caller);
        cr_expect_eq(caller_join(&caller), ECANCELED);
        cr_expect_eq(c.done, modes[i] != THRUM_FIRST_COMPLETED ? 1u : 0u);
        crowd_end(&c);
    }
}

Test(wait, a_deadline_ends_it)
{
    for (int i = 0; i < 3; i++) {
        struct crowd c;
        crowd_begin(&c, MANY, modes[i]);
        c.deadline = SOON;
        cr_expect_eq(crowd_wait(&c), ETIMEDOUT);
        cr_expect_eq(c.done, 0u);
        crowd_end(&c);
    }
}

Test(wait, one_may_stand_there_twice)
{
    for (int i = 0; i < 3; i++) {
        struct caller caller;
        struct crowd c;
        crowd_begin(&c, 10, modes[i]);
        for (size_t n = 1; n < 10; n++) {
            thrum_future_release(c.fs[n]);
            c.fs[n] = thrum_future_retain(c.fs[0]);
        }
        expect_wait(&c, ETIMEDOUT, 0);
        caller_start(&caller, crowd_wait, &c);
        await_asleep(&caller);
        EXPECT_CALL(0, thrum_future_complete(c.fs[0], NULL));
        cr_expect_eq(caller_join(&caller), 0);
        cr_expect_eq(c.done, 10u);
        crowd_end(&c);
    }
}

/* --- in a task of the pool that has to do them --------------------------------------------------------- */

struct inside {
    thrum_executor_t *pool;
    thrum_wait_mode_t mode;
    size_t done;
};

static int wait_inside(void *arg, void **result)
{
    struct inside *in = arg;
    thrum_future_t *fs[MANY];
    (void)result;
    for (size_t i = 0; i < MANY; i++)
        if (thrum_executor_submit(in->pool, fail_with, ERROR(i == 2 ? EIO : 0), &fs[i]) != 0)
            abort();
    const int err = thrum_wait(fs, MANY, in->mode, THRUM_FOREVER, &in->done);
    for (size_t i = 0; i < MANY; i++)
        thrum_future_release(fs[i]);
    return err;
}

Test(wait, a_task_may_wait_for_tasks_of_its_own_pool)
{
    for (EACH_POLICY(policy)) {
        for (int i = 0; i < 3; i++) {
            thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
            config.workers = 1;
            config.policy = policy;
            config.spare_workers = SIZE_MAX; /* none: it has to do them itself */
            struct inside in = {pool_as(&config), modes[i], 0};
            expect_result(submitted(in.pool, wait_inside, &in), 0);
            cr_expect_geq(in.done, i == 0 ? 1u : i == 1 ? 3u : MANY);
            thrum_executor_destroy(in.pool);
        }
    }
}

/* --- as completed --------------------------------------------------------------------------------------- */

static thrum_as_completed_t *iterator(thrum_future_t **fs, size_t n)
{
    thrum_as_completed_t *it = NULL;
    EXPECT_CALL(0, thrum_as_completed_create(&it, fs, n));
    cr_assert_not_null(it);
    return it;
}

Test(wait, as_completed_refuses_what_is_invalid)
{
    thrum_future_t *fs[] = {promised(), NULL}, *f = NULL;
    thrum_as_completed_t *it = NULL;
    EXPECT_CALL(EINVAL, thrum_as_completed_create(NULL, fs, 1));
    EXPECT_CALL(EINVAL, thrum_as_completed_create(&it, NULL, 1));
    EXPECT_CALL(EINVAL, thrum_as_completed_create(&it, fs, 2));
    cr_expect_null(it);
    EXPECT_CALL(EINVAL, thrum_as_completed_next(NULL, &f, PAST));
    it = iterator(NULL, 0);
    EXPECT_CALL(EINVAL, thrum_as_completed_next(it, NULL, PAST));
    EXPECT_CALL(ENODATA, thrum_as_completed_next(it, &f, PAST));
    thrum_as_completed_destroy(it);
    thrum_as_completed_destroy(NULL);
    thrum_future_release(fs[0]);
}

Test(wait, as_completed_hands_them_out_as_they_end)
{
    static const size_t order[] = {3, 0, 4, 1, 2};
    thrum_future_t *f = NULL;
    struct crowd c;
    crowd_begin(&c, 5, THRUM_ALL_COMPLETED);
    EXPECT_CALL(0, thrum_future_complete(c.fs[3], NULL));
    thrum_as_completed_t *it = iterator(c.fs, 5);
    for (size_t i = 0; i < 5; i++) {
        if (i != 0) {
            EXPECT_CALL(ETIMEDOUT, thrum_as_completed_next(it, &f, SOON));
            EXPECT_CALL(0, thrum_future_fail(c.fs[order[i]], EIO));
        }
        EXPECT_CALL(0, thrum_as_completed_next(it, &f, THRUM_FOREVER));
        cr_expect_eq(f, c.fs[order[i]]);
        thrum_future_release(f);
    }
    EXPECT_CALL(ENODATA, thrum_as_completed_next(it, &f, THRUM_FOREVER));
    thrum_as_completed_destroy(it);
    crowd_end(&c);
}

static int next_one(void *it)
{
    thrum_future_t *f = NULL;
    const int err = thrum_as_completed_next(it, &f, THRUM_FOREVER);
    if (err == 0)
        thrum_future_release(f);
    return err;
}

Test(wait, as_completed_waits_and_is_cancelled)
{
    struct caller caller;
    thrum_future_t *f = promised();
    thrum_future_t *twice[] = {f, f};
    thrum_as_completed_t *it = iterator(twice, 2);
    caller_start(&caller, next_one, it);
    await_asleep(&caller);
    caller_cancel(&caller);
    cr_expect_eq(caller_join(&caller), ECANCELED);
    caller_start(&caller, next_one, it);
    await_asleep(&caller);
    EXPECT_CALL(0, thrum_future_complete(f, NULL));
    cr_expect_eq(caller_join(&caller), 0);
    EXPECT_CALL(0, next_one(it));
    EXPECT_CALL(ENODATA, next_one(it));
    thrum_as_completed_destroy(it);
    thrum_future_release(f);
}

Test(wait, as_completed_holds_what_it_has_not_handed_out)
{
    thrum_future_t *fs[] = {promised(), promised()}, *f = NULL;
    thrum_as_completed_t *it = iterator(fs, 2);
    EXPECT_CALL(0, thrum_future_fail(fs[1], EIO));
    thrum_future_release(fs[1]); /* the iterator has one more */
    EXPECT_CALL(0, thrum_as_completed_next(it, &f, PAST));
    expect_result(f, EIO);
    thrum_as_completed_destroy(it);
    EXPECT_CALL(0, thrum_future_complete(fs[0], NULL));
    thrum_future_release(fs[0]);
}

/* A leak here is the sanitizer's to tell. */
Test(wait, as_completed_is_given_up_at_any_time)
{
    for (unsigned i = 0; i < 27; i++) {
        struct crowd c;
        crowd_begin(&c, 5, THRUM_ALL_COMPLETED);
        for (size_t n = 0; n < i % 3; n++)
            EXPECT_CALL(0, thrum_future_complete(c.fs[n], NULL));
        thrum_as_completed_t *it = iterator(c.fs, 5);
        if (i % 3 != 0 && i / 3 % 3 == 0)
            EXPECT_CALL(0, next_one(it));
        if (i / 9 == 0)
            cr_expect(thrum_future_cancel(c.fs[4]));
        thrum_as_completed_destroy(it);
        if (i / 9 == 1)
            EXPECT_CALL(0, thrum_future_complete(c.fs[4], NULL));
        crowd_end(&c); /* the others never end */
    }
}

Test(wait, as_completed_with_ten_thousand)
{
    enum { N = 10000 };
    static thrum_future_t *fs[N];
    static uint32_t counts[N];
    thrum_executor_t *pool = pool_of(2, THRUM_POLICY_STEALING);
    for (size_t i = 0; i < N; i++)
        fs[i] = submitted(pool, hand_back, &counts[i]);
    thrum_as_completed_t *it = iterator(fs, N);
    for (size_t i = 0; i < N; i++)
        thrum_future_release(fs[i]);
    for (size_t i = 0; i < N; i++) {
        thrum_future_t *f = NULL;
        void *count = NULL;
        EXPECT_CALL(0, thrum_as_completed_next(it, &f, THRUM_FOREVER));
        EXPECT_CALL(0, thrum_future_result_until(f, &count, PAST));
        (*(uint32_t *)count)++;
        thrum_future_release(f);
    }
    EXPECT_CALL(ENODATA, next_one(it));
    for (size_t i = 0; i < N; i++)
        cr_assert_eq(counts[i], 1u);
    thrum_as_completed_destroy(it);
    thrum_executor_destroy(pool);
}
