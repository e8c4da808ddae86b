#include <string.h>

#include <thrum/time.h>

#include "support/expect.h"

TestSuite(futex, .timeout = 30);

Test(futex, a_word_that_differs_is_not_slept_on)
{
    uint32_t word = 1;
    EXPECT_CALL(0, thi_futex_wait(&word, 0, THRUM_FOREVER));
    EXPECT_CALL(0, thi_futex_wait(&word, 2, PAST));
}

Test(futex, a_deadline_is_absolute_and_monotonic)
{
    uint32_t word = 0;
    EXPECT_CALL(ETIMEDOUT, thi_futex_wait(&word, 0, PAST));
    EXPECT_CALL(ETIMEDOUT, thi_futex_wait(&word, 0, 0));
    EXPECT_CALL(ETIMEDOUT, thi_futex_wait(&word, 0, INT64_MIN));
    for (int i = 0; i < 5; i++) {
        const thrum_time_t deadline = SOON;
        int err = 0;
        while (err == 0)
            err = thi_futex_wait(&word, 0, deadline);
        cr_expect_eq(err, ETIMEDOUT);
        cr_expect_geq(thrum_now(), deadline);
    }
}

struct sleeper {
    uint32_t word;
    uint32_t about_to;
};

static int sleep_on_word(void *arg)
{
    struct sleeper *s = arg;
    thi_store_release(&s->about_to, 1u);
    while (thi_load_acquire(&s->word) == 0) {
        if (thi_futex_wait(&s->word, 0, THRUM_FOREVER) != 0)
            return EPROTO;
    }
    return 0;
}

/* Checking the word and going to sleep are one step: a lost wake-up would be a hang. */
Test(futex, a_wake_is_not_lost)
{
    const thrum_time_t end = thrum_after(THRUM_S(5)); /* a busy machine does not get through */
    for (int i = 0; i < 2000 && thrum_now() < end; i++) {
        struct sleeper s = {0, 0};
        struct caller c;
        caller_start(&c, sleep_on_word, &s);
        await_word(&s.about_to, 1);
        for (int pause = 0; pause < i % 500; pause++)
            thi_cpu_pause();
        thi_store_release(&s.word, 1u);
        errno = ERRNO_MARK;
        thi_futex_wake(&s.word, 1);
        cr_assert_eq(errno, ERRNO_MARK);
        cr_assert_eq(caller_join(&c), 0);
    }
}

Test(futex, all_sleepers_can_be_woken)
{
    enum { SLEEPERS = 8 };
    struct sleeper s = {0, 0};
    struct caller c[SLEEPERS];
    for (int i = 0; i < SLEEPERS; i++)
        caller_start(&c[i], sleep_on_word, &s);
    for (int i = 0; i < SLEEPERS; i++)
        caller_strand(&c[i]);
    thi_store_release(&s.word, 1u);
    thi_futex_wake(&s.word, UINT_MAX);
    for (int i = 0; i < SLEEPERS; i++)
        cr_expect_eq(caller_join(&c[i]), 0);
}

Test(futex, waking_nobody_does_nothing)
{
    uint32_t word = 0;
    errno = ERRNO_MARK;
    thi_futex_wake(&word, 1);
    thi_futex_wake(&word, UINT_MAX);
    cr_expect_eq(errno, ERRNO_MARK);
}
