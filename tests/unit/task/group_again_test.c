#include "task/work.h"

/* A group that is used again belongs to whoever uses it then. */
TestSuite(group_again, .timeout = 60);

struct again {
    thrum_group_t g;
    uint32_t ran;
    struct gate gate;
};

static int use_group(void *arg, void **result)
{
    struct again *a = arg;
    (void)result;
    const int err = thrum_group_spawn(&a->g, add_one, &a->ran);
    const int waited = thrum_group_wait(&a->g);
    return err != 0 ? err : waited;
}

static void await_idle(thrum_executor_t *pool)
{
    thrum_executor_stats_t s = {0};
    do
        thrum_executor_stats(pool, &s);
    while (s.running != 0);
    expect_result(submitted(pool, hand_back, NULL), 0);
}

/* The block of the first task's future becomes that of the second, which is cancelled; the third is neither. */
Test(group_again, by_a_later_task_while_the_first_one_s_memory_is_another_s)
{
    struct again a = {.gate = GATE_INIT};
    thrum_executor_t *pool = pool_of(1, THRUM_POLICY_STEALING);
    cr_assert_eq(thrum_group_init(&a.g, pool), 0);
    for (uint32_t round = 1; round <= 3; round++) {
        expect_result(submitted(pool, use_group, &a), 0);
        cr_expect_eq(a.ran, round);
        await_idle(pool);
        thrum_future_t *f[4];
        for (int i = 0; i < 4; i++) {
            uint32_t inside = 0;
            f[i] = submitted(pool, stop_for_ever, &inside);
            await_word(&inside, 1);
            EXPECT_CALL(0, thrum_future_interrupt(f[i]));
            EXPECT_CALL(ECANCELED, thrum_future_result(f[i], NULL));
        }
        expect_result(submitted(pool, use_group, &a), 0);
        a.ran = round;
        for (int i = 0; i < 4; i++)
            thrum_future_release(f[i]);
    }
    thrum_executor_destroy(pool);
}

static int use_after_cancel(void *arg, void **result)
{
    struct again *a = arg;
    if (thrum_group_wait(&a->g) != 0) /* makes it, in this task */
        return EPROTO;
    if (stop_at(&a->gate, result) != ECANCELED)
        return EPROTO;
    return use_group(a, result);
}

Test(group_again, only_a_task_that_is_cancelled_itself_cannot)
{
    struct again a = {.gate = GATE_INIT};
    thrum_executor_t *pool = pool_of(1, THRUM_POLICY_STEALING);
    cr_assert_eq(thrum_group_init(&a.g, pool), 0);
    thrum_future_t *f = submitted(pool, use_after_cancel, &a);
    await_word(&a.gate.inside, 1);
    EXPECT_CALL(0, thrum_future_interrupt(f));
    expect_result(f, ECANCELED);
    cr_expect_eq(a.ran, 0u);
    expect_result(submitted(pool, use_group, &a), 0);
    cr_expect_eq(a.ran, 1u);
    thrum_executor_destroy(pool);
}

static int use_it(void *a)
{
    return use_group(a, NULL);
}

Test(group_again, by_another_thread)
{
    struct again a = {.gate = GATE_INIT};
    struct caller c;
    thrum_executor_t *pool = pool_of(2, THRUM_POLICY_STEALING);
    cr_assert_eq(thrum_group_init(&a.g, pool), 0);
    for (uint32_t round = 1; round <= 20; round++) {
        EXPECT_CALL(0, use_it(&a));
        caller_start(&c, use_it, &a);
        cr_expect_eq(caller_join(&c), 0);
        cr_expect_eq(a.ran, 2 * round);
    }
    thrum_executor_destroy(pool);
}
