#include <thrum/cancel.h>
#include <thrum/semaphore.h>
#include <thrum/time.h>

#include "support/expect.h"

TestSuite(cancel, .timeout = 30);

static int answer(void *arg, void **result)
{
    *result = arg;
    return 7;
}

Test(cancel, shield_runs_the_function_and_hands_its_result_on)
{
    int x = 0;
    void *result = NULL;
    EXPECT_CALL(7, thrum_shield(answer, &x, &result));
    cr_expect_eq(result, &x);
    EXPECT_CALL(7, thrum_shield(answer, &x, NULL)); /* nobody wants it */
    EXPECT_CALL(EINVAL, thrum_shield(NULL, &x, &result));
}

Test(cancel, who_was_not_asked_is_not_cancelled)
{
    cr_expect_not(thrum_cancelled());
    cr_assert_not_null(thi_self());
    cr_expect_not(thrum_cancelled());
}

static int see_shielded(void *arg, void **result)
{
    (void)result;
    uint32_t *depth = arg;
    if (thrum_cancelled() || thrum_sleep(THRUM_US(10)) != 0)
        return EPROTO;
    if (*depth > 0) {
        --*depth;
        const int err = thrum_shield(see_shielded, depth, NULL);
        if (err != 0)
            return err;
    }
    return thrum_cancelled() ? EPROTO : 0;
}

static int be_cancelled(void *arg)
{
    uint32_t depth = 5;
    (void)arg;
    if (thrum_cancelled())
        return EPROTO;
    thi_strand_cancel(thi_self());
    thi_strand_cancel(thi_self()); /* once is enough, twice no harm */
    if (!thrum_cancelled() || thrum_sleep(THRUM_S(1000)) != ECANCELED)
        return EPROTO;
    if (thrum_shield(see_shielded, &depth, NULL) != 0 || depth != 0)
        return EPROTO;
    return thrum_cancelled() && thrum_sleep(THRUM_S(1000)) == ECANCELED ? 0 : EPROTO;
}

Test(cancel, it_stays_and_shields_nest)
{
    struct caller c;
    caller_start(&c, be_cancelled, NULL);
    cr_expect_eq(caller_join(&c), 0);
}

static int look(void *arg)
{
    (void)arg;
    return thrum_cancelled() ? EPROTO : thrum_sleep(THRUM_US(10));
}

/* Records of strands are used again. */
Test(cancel, it_ends_with_the_strand)
{
    for (int i = 0; i < 100; i++) {
        struct caller c;
        caller_start(&c, be_cancelled, NULL);
        cr_assert_eq(caller_join(&c), 0);
        caller_start(&c, look, NULL);
        cr_assert_eq(caller_join(&c), 0);
    }
}

/* What the one who asks wrote before is visible to the one who was asked. */
struct reason {
    thrum_sem_t never;
    int why; /* plain */
};

static int learn_why(void *arg)
{
    struct reason *r = arg;
    return thrum_sem_acquire(&r->never) == ECANCELED ? r->why : EPROTO;
}

Test(cancel, who_asks_may_say_why)
{
    for (int i = 1; i <= 200; i++) {
        struct reason r = {.never = THRUM_SEM_INIT(0)};
        struct caller c;
        caller_start(&c, learn_why, &r);
        caller_strand(&c);
        if (i % 2 == 0)
            await_parked(&r.never, 1);
        r.why = i;
        caller_cancel(&c);
        cr_assert_eq(caller_join(&c), i);
    }
}
