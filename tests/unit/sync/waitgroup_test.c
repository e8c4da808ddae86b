#include <thrum/waitgroup.h>

#include "sync/wait_conformance.h"

TestSuite(waitgroup, .timeout = 30);

static int init(void *w)
{
    const int err = thrum_waitgroup_init(w);
    return err != 0 ? err : thrum_waitgroup_add(w, 1);
}

static int wait_for(void *w)
{
    return thrum_waitgroup_wait(w);
}

static int wait_until(void *w, thrum_time_t deadline)
{
    return thrum_waitgroup_wait_until(w, deadline);
}

static int trywait(void *w)
{
    return thrum_waitgroup_trywait(w);
}

static int done(void *w)
{
    return thrum_waitgroup_done(w);
}

static int restart(void *w)
{
    return thrum_waitgroup_add(w, 1);
}

static const void *key(const void *w)
{
    return w;
}

static const struct wait_kind kind = {
    .size = sizeof(thrum_waitgroup_t),
    .init = init,
    .wait = wait_for,
    .wait_until = wait_until,
    .trywait = trywait,
    .let_go = done,
    .lets_all_go = true,
    .restart = restart,
    .key = key,
};

WAIT_CONFORMANCE(waitgroup, &kind)

Test(waitgroup, null_is_refused_by_add_and_done)
{
    EXPECT_CALL(EINVAL, thrum_waitgroup_add(NULL, 1));
    EXPECT_CALL(EINVAL, thrum_waitgroup_done(NULL));
}

Test(waitgroup, counts_up_and_down)
{
    thrum_waitgroup_t w = THRUM_WAITGROUP_INIT;
    EXPECT_CALL(0, thrum_waitgroup_trywait(&w));
    EXPECT_CALL(0, thrum_waitgroup_wait(&w));
    EXPECT_CALL(0, thrum_waitgroup_add(&w, 3));
    EXPECT_CALL(0, thrum_waitgroup_add(&w, 0));
    EXPECT_CALL(0, thrum_waitgroup_done(&w));
    EXPECT_CALL(EAGAIN, thrum_waitgroup_trywait(&w));
    EXPECT_CALL(ETIMEDOUT, thrum_waitgroup_wait_until(&w, SOON));
    EXPECT_CALL(0, thrum_waitgroup_add(&w, -2));
    EXPECT_CALL(0, thrum_waitgroup_trywait(&w));
    EXPECT_CALL(0, thrum_waitgroup_add(&w, 0));
    EXPECT_CALL(0, thrum_waitgroup_wait_until(&w, PAST));
}

Test(waitgroup, below_zero_is_refused)
{
    thrum_waitgroup_t w = THRUM_WAITGROUP_INIT;
    EXPECT_CALL(EINVAL, thrum_waitgroup_done(&w));
    EXPECT_CALL(EINVAL, thrum_waitgroup_add(&w, -1));
    EXPECT_CALL(EINVAL, thrum_waitgroup_add(&w, INT_MIN));
    EXPECT_CALL(0, thrum_waitgroup_add(&w, 2));
    EXPECT_CALL(EINVAL, thrum_waitgroup_add(&w, -3));
    EXPECT_CALL(EINVAL, thrum_waitgroup_add(&w, INT_MIN));
    EXPECT_CALL(0, thrum_waitgroup_add(&w, -2)); /* nothing changed */
    EXPECT_CALL(0, thrum_waitgroup_trywait(&w));
}

Test(waitgroup, below_zero_is_refused_while_somebody_waits)
{
    thrum_waitgroup_t w = THRUM_WAITGROUP_INIT;
    struct caller c;
    EXPECT_CALL(0, thrum_waitgroup_add(&w, 1));
    caller_start(&c, wait_for, &w);
    await_parked(&w, 1);
    EXPECT_CALL(EINVAL, thrum_waitgroup_add(&w, -2));
    EXPECT_CALL(EOVERFLOW, thrum_waitgroup_add(&w, INT_MAX));
    EXPECT_CALL(0, thrum_waitgroup_add(&w, 0));
    cr_expect(caller_stays(&c));
    EXPECT_CALL(0, thrum_waitgroup_done(&w));
    cr_expect_eq(caller_join(&c), 0);
}

Test(waitgroup, beyond_the_limit_is_refused)
{
    thrum_waitgroup_t w = THRUM_WAITGROUP_INIT;
    EXPECT_CALL(0, thrum_waitgroup_add(&w, INT_MAX));
    EXPECT_CALL(EOVERFLOW, thrum_waitgroup_add(&w, 1));
    EXPECT_CALL(EOVERFLOW, thrum_waitgroup_add(&w, INT_MAX));
    EXPECT_CALL(0, thrum_waitgroup_done(&w));
    EXPECT_CALL(0, thrum_waitgroup_add(&w, 1));
    EXPECT_CALL(EOVERFLOW, thrum_waitgroup_add(&w, 1));
    EXPECT_CALL(0, thrum_waitgroup_add(&w, -INT_MAX));
    EXPECT_CALL(0, thrum_waitgroup_trywait(&w));
}

Test(waitgroup, the_count_may_rise_again_at_once)
{
    enum { WAITERS = 6 };
    const thrum_time_t end = thrum_after(ENOUGH);
    for (int round = 0; round < 100 && thrum_now() < end; round++) {
        thrum_waitgroup_t w = THRUM_WAITGROUP_INIT;
        struct caller c[WAITERS];
        EXPECT_CALL(0, thrum_waitgroup_add(&w, 2));
        for (int i = 0; i < WAITERS; i++)
            caller_start(&c[i], wait_for, &w);
        await_parked(&w, WAITERS);
        EXPECT_CALL(0, thrum_waitgroup_done(&w));
        cr_expect_eq(thi_park_count(&w), (unsigned)WAITERS);
        EXPECT_CALL(0, thrum_waitgroup_done(&w));
        EXPECT_CALL(0, thrum_waitgroup_add(&w, 1));
        for (int i = 0; i < WAITERS; i++)
            cr_expect_eq(caller_join(&c[i]), 0);
        EXPECT_CALL(EAGAIN, thrum_waitgroup_trywait(&w));
    }
}

struct work {
    thrum_waitgroup_t *w;
    uint64_t *result; /* plain: the group orders it */
};

static int work_once(void *arg)
{
    struct work *job = arg;
    *job->result += 1;
    return thrum_waitgroup_done(job->w);
}

Test(waitgroup, what_was_done_is_visible_to_who_waited)
{
    enum { JOBS = 8 };
    thrum_waitgroup_t w = THRUM_WAITGROUP_INIT;
    uint64_t results[JOBS] = {0};
    for (uint64_t round = 1; round <= 50; round++) {
        struct work jobs[JOBS];
        struct caller c[JOBS];
        EXPECT_CALL(0, thrum_waitgroup_add(&w, JOBS));
        for (int i = 0; i < JOBS; i++) {
            jobs[i] = (struct work){&w, &results[i]};
            caller_start(&c[i], work_once, &jobs[i]);
        }
        EXPECT_CALL(0, thrum_waitgroup_wait(&w));
        for (int i = 0; i < JOBS; i++)
            cr_expect_eq(results[i], round);
        for (int i = 0; i < JOBS; i++)
            cr_expect_eq(caller_join(&c[i]), 0);
    }
}
