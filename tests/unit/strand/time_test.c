#include <time.h>

#include <thrum/cancel.h>
#include <thrum/time.h>

#include "support/expect.h"

TestSuite(time, .timeout = 30);

static thrum_time_t system_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (thrum_time_t)now.tv_sec * THRUM_S(1) + now.tv_nsec;
}

Test(time, durations_are_nanoseconds)
{
    cr_expect_eq(THRUM_US(3), INT64_C(3000));
    cr_expect_eq(THRUM_MS(3), INT64_C(3000000));
    cr_expect_eq(THRUM_S(3), INT64_C(3000000000));
    cr_expect_eq(THRUM_S(-1), INT64_C(-1000000000));
    cr_expect_eq(THRUM_FOREVER, INT64_MAX);
}

Test(time, now_is_the_monotonic_clock)
{
    errno = ERRNO_MARK;
    const thrum_time_t before = system_clock();
    const thrum_time_t now = thrum_now();
    const thrum_time_t after = system_clock();
    cr_expect_leq(before, now);
    cr_expect_leq(now, after);
    cr_expect_leq(now, thrum_now());
    cr_expect_eq(errno, ERRNO_MARK);
}

Test(time, after_adds_and_saturates)
{
    const thrum_time_t before = thrum_now();
    const thrum_time_t then = thrum_after(THRUM_S(5));
    cr_expect_geq(then, before + THRUM_S(5));
    cr_expect_leq(then, thrum_now() + THRUM_S(5));
    cr_expect_eq(thrum_after(THRUM_FOREVER), THRUM_FOREVER);
    cr_expect_eq(thrum_after(THRUM_FOREVER - 1), THRUM_FOREVER);
    cr_expect_eq(thrum_after(THRUM_FOREVER - before), THRUM_FOREVER);
    cr_expect_lt(thrum_after(THRUM_FOREVER / 2), THRUM_FOREVER);
}

Test(time, a_negative_duration_is_an_instant_in_the_past)
{
    cr_expect_lt(thrum_after(-1), thrum_now());
    cr_expect_lt(thrum_after(-THRUM_S(1)), thrum_now() - THRUM_MS(999));
    cr_expect_lt(thrum_after(INT64_MIN), thrum_now());
    cr_expect_lt(thrum_after(-INT64_MAX), thrum_now());
}

Test(time, sleeping_takes_at_least_as_long)
{
    for (int i = 0; i < 5; i++) {
        const thrum_time_t until = thrum_after(THRUM_MS(2));
        EXPECT_CALL(0, thrum_sleep(THRUM_MS(2)));
        cr_expect_geq(thrum_now(), until);
        const thrum_time_t deadline = SOON;
        EXPECT_CALL(0, thrum_sleep_until(deadline));
        cr_expect_geq(thrum_now(), deadline);
    }
}

Test(time, a_negative_sleep_is_refused)
{
    EXPECT_CALL(EINVAL, thrum_sleep(-1));
    EXPECT_CALL(EINVAL, thrum_sleep(INT64_MIN));
}

Test(time, what_is_over_returns_at_once)
{
    EXPECT_CALL(0, thrum_sleep(0));
    EXPECT_CALL(0, thrum_sleep_until(PAST));
    EXPECT_CALL(0, thrum_sleep_until(0));
    EXPECT_CALL(0, thrum_sleep_until(INT64_MIN));
    EXPECT_CALL(0, thrum_sleep_until(thrum_now()));
}

static int sleep_long(void *arg)
{
    (void)arg;
    return thrum_sleep(THRUM_S(1000));
}

static int sleep_forever(void *arg)
{
    (void)arg;
    return thrum_sleep_until(THRUM_FOREVER);
}

static int sleep_longest(void *arg)
{
    (void)arg;
    return thrum_sleep(INT64_MAX);
}

static int sleep_again(void *arg)
{
    (void)arg;
    thi_strand_cancel(thi_self());
    for (int i = 0; i < 100; i++) {
        if (thrum_sleep(THRUM_S(1000)) != ECANCELED)
            return EPROTO;
    }
    return thrum_sleep(0) == 0 && thrum_sleep_until(PAST) == 0 ? 0 : EPROTO;
}

static void expect_cancelled(int (*fn)(void *))
{
    struct caller c;
    caller_start(&c, fn, NULL);
    await_asleep(&c);
    caller_cancel(&c);
    cr_expect_eq(caller_join(&c), ECANCELED);
}

Test(time, sleeping_is_cancelled)
{
    expect_cancelled(sleep_long);
    expect_cancelled(sleep_forever);
    expect_cancelled(sleep_longest);
}

Test(time, a_cancelled_strand_does_not_sleep)
{
    struct caller c;
    caller_start(&c, sleep_again, NULL);
    cr_expect_eq(caller_join(&c), 0);
}

static int sleep_until_told(void *arg)
{
    const thrum_time_t *deadline = arg;
    const int err = thrum_sleep_until(*deadline);
    return thrum_now() < *deadline && err == 0 ? EPROTO : err;
}

/* Wake-ups that were meant for something else do not end it. */
Test(time, stray_wakeups_do_not_end_a_sleep)
{
    thrum_time_t deadline = thrum_after(THRUM_MS(20));
    struct caller c;
    caller_start(&c, sleep_until_told, &deadline);
    while (!caller_done(&c)) {
        thi_strand_unpark(caller_strand(&c));
        sched_yield();
    }
    cr_expect_eq(caller_join(&c), 0);
}

Test(time, the_coarse_clock_is_never_ahead)
{
    for (int i = 0; i < 1000; i++) {
        const thrum_time_t before = thi_clock();
        const thrum_time_t coarse = thi_clock_coarse();
        const thrum_time_t now = thi_clock();
        cr_assert_leq(coarse, now);
        cr_assert_lt(before - coarse, THRUM_S(1));
    }
}
