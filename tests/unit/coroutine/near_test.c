#include <pthread.h>
#include <criterion/criterion.h>

#include <thrum/thrum.h>

#include "support/expect.h"

/* Who waits while others of its loop are ready, and what others do meanwhile. */
TestSuite(near, .timeout = 30);

static thrum_queue_t *q;
static int served[2];
static int count;

static void make_queue(void)
{
    const thrum_queue_config_t config = {.item_size = sizeof(int)};
    cr_assert_eq(thrum_queue_create(&q, &config), 0);
}

static int get_one(void *arg, void **result)
{
    int item = 0;
    (void)result;
    const int err = thrum_queue_get(q, &item);
    served[count++] = (int)(intptr_t)arg;
    return err;
}

static void *put_one(void *unused)
{
    const int item = 1;
    return thrum_queue_put(q, &item) == 0 ? unused : &served;
}

/* The loop's thread waits for another, and none of its coroutines runs meanwhile. */
static int have_another_put(void *arg, void **result)
{
    pthread_t thread;
    void *failed = &thread;
    (void)arg, (void)result;
    cr_assert_eq(pthread_create(&thread, NULL, put_one, NULL), 0);
    cr_assert_eq(pthread_join(thread, &failed), 0);
    cr_expect_null(failed);
    return 0;
}

static int two_getters(void *arg, void **result)
{
    (void)arg, (void)result;
    for (intptr_t i = 1; i <= 2; i++)
        EXPECT_CALL(0, thrum_go(NULL, get_one, (void *)i));
    EXPECT_CALL(0, thrum_go(NULL, have_another_put, NULL));
    while (count == 0)
        thrum_yield();
    (void)put_one(NULL);
    return 0;
}

Test(near, who_came_first_is_served_first, .init = make_queue)
{
    EXPECT_CALL(0, thrum_run(two_getters, NULL, NULL));
    cr_expect_eq(count, 2);
    cr_expect(served[0] == 1 && served[1] == 2, "%d, %d", served[0], served[1]);
    thrum_queue_destroy(q);
}

/* --- one that used up time elsewhere ------------------------------------------------------------------ */

static thrum_coro_t *guest;
static thrum_sem_t go_on;
static bool guest_ran;

static int visit_twice(void *arg, void **result)
{
    (void)arg, (void)result;
    const thrum_time_t until = thrum_after(THRUM_MS(5));
    while (thrum_now() < until) {
    }
    thrum_yield(); /* goes down */
    thrum_coro_yield(NULL);
    EXPECT_CALL(0, thrum_sem_acquire(&go_on)); /* in the other loop */
    guest_ran = true;
    return 0;
}

static int host(void *arg, void **result)
{
    (void)arg, (void)result;
    const int err = thrum_coro_resume(guest, NULL, NULL);
    return err == ENODATA ? 0 : err;
}

static intptr_t turns_left;

static int keep_busy(void *arg, void **result)
{
    (void)result;
    for (intptr_t left = (intptr_t)arg; left != 0 && !guest_ran; left--) {
        if (left == 9500)
            EXPECT_CALL(0, thrum_sem_release(&go_on));
        turns_left = left;
        thrum_yield();
    }
    return 0;
}

static void run_host(thrum_loop_policy_t policy, intptr_t turns)
{
    thrum_loop_config_t config = THRUM_LOOP_CONFIG_INIT;
    thrum_loop_t *loop = NULL;
    config.policy = policy;
    EXPECT_CALL(0, thrum_loop_create(&loop, &config));
    for (int i = 0; i < 2; i++)
        EXPECT_CALL(0, thrum_loop_go(loop, NULL, keep_busy, (void *)turns, NULL));
    EXPECT_CALL(0, thrum_loop_go(loop, NULL, host, NULL, NULL));
    EXPECT_CALL(0, thrum_loop_run(loop));
    thrum_loop_destroy(loop);
}

Test(near, who_was_lowered_elsewhere_has_its_turn_where_all_are_equal)
{
    EXPECT_CALL(0, thrum_coro_create(&guest, visit_twice, NULL, NULL));
    run_host(THRUM_FEEDBACK, 10);
    cr_expect(!guest_ran);
    run_host(THRUM_ROUND_ROBIN, 10000);
    cr_expect(guest_ran);
    cr_expect_gt(turns_left, 9000, "it ran when the others had ended");
    thrum_coro_release(guest);
}
