#include <sched.h>

#include <criterion/criterion.h>

#include <thrum/thrum.h>

#include "support/counted.h"
#include "support/expect.h"
#include "support/left_behind.h"

#define LONG_NAME "a name that is longer than the system keeps"

static int hand_back(void *arg, void **result)
{
    *result = arg;
    return 0;
}

Test(many, threads_leave_nothing_behind, .timeout = 60)
{
    thrum_thread_config_t config = THRUM_THREAD_CONFIG_INIT;
    config.name = LONG_NAME;
    count_memory();
    const int threads_before = count_threads();
    for (int i = 0; i < 10000; i++) {
        thrum_thread_t *t = NULL;
        cr_assert_eq(thrum_thread_create(&t, hand_back, NULL, &config), 0);
        cr_assert_eq(thrum_thread_start(t), 0);
        cr_assert_eq(thrum_thread_join(t, NULL), 0);
        thrum_thread_release(t);
    }
    cr_expect_eq(thi_load_relaxed(&bytes_in_use), 0u);
    while (count_threads() != threads_before)
        sched_yield();
    cr_expect_leq(thi_strand_slots(), 8u);
}
