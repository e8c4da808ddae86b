/*
 * No memory for threads and timers, or no thread for them: the calls say so, have changed nothing and
 * lost nothing, and work once there is room again.
 */
#include <criterion/criterion.h>

#include <thrum/thrum.h>

#include "support/counted.h"
#include "support/expect.h"

TestSuite(thread, .timeout = 30);

#define LONG_NAME "a name that is longer than the system keeps"

static void count_memory_here(void)
{
    count_memory();
    cr_assert_not_null(thi_self());
}

static void expect_nothing_lost(void)
{
    cr_expect_eq(thi_load_relaxed(&bytes_in_use), 0u);
    cr_expect_eq(thrum_thread_count(), 1u);
}

static int hand_back(void *arg, void **result)
{
    *result = arg;
    return 0;
}

static thrum_thread_config_t full_config(void)
{
    static const unsigned cpus[] = {0, 1, 2, 3};
    thrum_thread_config_t config = THRUM_THREAD_CONFIG_INIT;
    config.name = LONG_NAME;
    config.cpus = cpus;
    config.cpu_count = 4;
    return config;
}

Test(thread, is_not_made_without_memory, .init = count_memory_here)
{
    const thrum_thread_config_t config = full_config();
    thrum_thread_t *t = NULL;
    for (unsigned nth = 1; nth <= 3; nth++) {
        thi_fault_arm(THI_FAULT_ALLOC, nth);
        EXPECT_CALL(ENOMEM, thrum_thread_create(&t, hand_back, NULL, &config));
        thi_fault_arm(THI_FAULT_ALLOC, nth);
        EXPECT_CALL(ENOMEM, thrum_thread_spawn(&t, hand_back, NULL, &config));
        cr_expect_null(t);
        expect_nothing_lost();
    }
    thi_fault_arm(THI_FAULT_ALLOC, 4);
    EXPECT_CALL(0, thrum_thread_create(&t, hand_back, NULL, &config));
    thi_fault_arm(THI_FAULT_ALLOC, 0);
    thrum_thread_release(t);
    expect_nothing_lost();
}

Test(thread, keeps_its_name_when_there_is_no_memory_for_another, .init = count_memory_here)
{
    thrum_thread_t *t = NULL;
    EXPECT_CALL(0, thrum_thread_create(&t, hand_back, NULL, NULL));
    EXPECT_CALL(0, thrum_thread_set_name(t, LONG_NAME));
    thi_fault_arm(THI_FAULT_ALLOC, THI_FAULT_ALWAYS);
    EXPECT_CALL(ENOMEM, thrum_thread_set_name(t, LONG_NAME "!"));
    cr_expect_str_eq(thrum_thread_name(t), LONG_NAME);
    EXPECT_CALL(0, thrum_thread_set_name(t, "short"));
    cr_expect_str_eq(thrum_thread_name(t), "short");
    thi_fault_arm(THI_FAULT_ALLOC, 0);
    thrum_thread_release(t);
    expect_nothing_lost();
}

static void expect_start_fails(thrum_thread_t *t, thi_fault_t fault)
{
    thi_fault_arm(fault, 1);
    EXPECT_CALL(ENOMEM, thrum_thread_start(t));
    thi_fault_arm(fault, 0);
    cr_expect_not(thrum_thread_alive(t));
    cr_expect_eq(thrum_thread_ident(t), 0u);
    cr_expect_eq(thrum_thread_native_id(t), 0);
    cr_expect_eq(thrum_thread_count(), 1u);
    EXPECT_CALL(EINVAL, thrum_thread_join(t, NULL));
    EXPECT_CALL(0, thrum_thread_set_daemon(t, false));
}

Test(thread, is_started_again_when_that_failed, .init = count_memory_here)
{
    int token = 0;
    void *result = NULL;
    thrum_thread_t *t = NULL;
    EXPECT_CALL(0, thrum_thread_create(&t, hand_back, &token, NULL));
    expect_start_fails(t, THI_FAULT_AT_EXIT); /* the process could not be made to wait for it */
    expect_start_fails(t, THI_FAULT_THREAD);
    expect_start_fails(t, THI_FAULT_THREAD);
    EXPECT_CALL(0, thrum_thread_start(t));
    EXPECT_CALL(0, thrum_thread_join(t, &result));
    cr_expect_eq(result, &token);
    thrum_thread_release(t);
    expect_nothing_lost();
}

Test(thread, is_not_spawned_without_a_thread, .init = count_memory_here)
{
    thrum_thread_t *t = NULL;
    const thrum_thread_config_t config = full_config();
    for (int i = 0; i < 10; i++) {
        thi_fault_arm(THI_FAULT_THREAD, 1);
        EXPECT_CALL(ENOMEM, thrum_thread_spawn(&t, hand_back, NULL, i % 2 == 0 ? &config : NULL));
        cr_expect_null(t);
        thi_fault_arm(THI_FAULT_THREAD, 1);
        EXPECT_CALL(ENOMEM, thrum_thread_spawn(NULL, hand_back, NULL, NULL));
    }
    expect_nothing_lost();
}

/* It runs; what it cannot do without being registered says ENOMEM. */
struct unregistered {
    thrum_sem_t s;
    int waited;
    bool cancelled;
};

static int wait_unregistered(void *arg, void **result)
{
    struct unregistered *u = arg;
    u->waited = thrum_sem_acquire_until(&u->s, SOON);
    u->cancelled = thrum_thread_cancel(thrum_thread_current()) != 0 || thrum_cancelled();
    *result = u;
    return EPROTO;
}

Test(thread, runs_also_when_it_cannot_be_registered, .init = count_memory_here)
{
    for (int i = 0; i < 50; i++) {
        struct unregistered u = {THRUM_SEM_INIT(0), -1, true};
        thrum_thread_t *t = NULL;
        void *result = NULL;
        EXPECT_CALL(0, thrum_thread_spawn(&t, hand_back, NULL, NULL)); /* the handlers are there */
        EXPECT_CALL(0, thrum_thread_join(t, NULL));
        thrum_thread_release(t);
        thi_fault_arm(THI_FAULT_AT_EXIT, THI_FAULT_ALWAYS);
        EXPECT_CALL(0, thrum_thread_spawn(&t, wait_unregistered, &u, NULL));
        EXPECT_CALL(EPROTO, thrum_thread_join(t, &result));
        thi_fault_arm(THI_FAULT_AT_EXIT, 0);
        cr_expect_eq(result, &u);
        cr_expect_eq(u.waited, ENOMEM);
        cr_expect_not(u.cancelled);
        cr_expect_not(thrum_thread_alive(t));
        thrum_thread_release(t);
    }
    expect_nothing_lost();
}

static void *ask_in_vain(void *arg)
{
    thi_fault_arm(THI_FAULT_AT_EXIT, 1); /* it cannot be registered */
    bool vain = thrum_thread_current() == NULL;
    thi_fault_arm(THI_FAULT_ALLOC, 1);
    vain = vain && thrum_thread_current() == NULL;
    thi_fault_arm(THI_FAULT_AT_EXIT, 1); /* its end would not be known */
    vain = vain && thrum_thread_current() == NULL;
    thi_fault_arm(THI_FAULT_AT_EXIT, 0);
    return vain && thrum_thread_current() != NULL ? arg : NULL;
}

Test(thread, current_of_a_stranger_needs_memory, .init = count_memory_here)
{
    int token = 0;
    cr_assert_not_null(thrum_thread_current());
    for (int i = 0; i < 10; i++) {
        pthread_t thread;
        void *result = NULL;
        cr_assert_eq(pthread_create(&thread, NULL, ask_in_vain, &token), 0);
        cr_assert_eq(pthread_join(thread, &result), 0);
        cr_expect_eq(result, &token);
    }
    expect_nothing_lost();
}

Test(thread, main_is_known_without_memory, .init = count_memory_here)
{
    thi_fault_arm(THI_FAULT_ALLOC, THI_FAULT_ALWAYS);
    thi_fault_arm(THI_FAULT_AT_EXIT, THI_FAULT_ALWAYS);
    thrum_thread_t *self = thrum_thread_current();
    cr_assert_not_null(self);
    cr_expect_eq(thrum_thread_ident(self), 1u);
    EXPECT_CALL(EDEADLK, thrum_thread_join(self, NULL));
    EXPECT_CALL(0, thrum_thread_cancel(self));
    cr_expect_not(thrum_cancelled(), "its end would not be known");
}

/* --- timers ------------------------------------------------------------------------------------------- */

static void give(thrum_timer_t *t, void *arg)
{
    (void)t;
    if (thrum_sem_release(arg) != 0)
        abort();
}

Test(thread, timers_are_not_made_without_memory, .init = count_memory_here)
{
    enum { TIMERS = 40 };
    thrum_timer_t *t[TIMERS];
    for (int i = 0; i < TIMERS; i++) {
        t[i] = NULL;
        thi_fault_arm(THI_FAULT_ALLOC, 1);
        EXPECT_CALL(ENOMEM, thrum_timer_create(&t[i], give, NULL));
        if (i == 0 || i == 16 || i == 32) { /* the heap has to grow */
            thi_fault_arm(THI_FAULT_ALLOC, 2);
            EXPECT_CALL(ENOMEM, thrum_timer_create(&t[i], give, NULL));
        }
        thi_fault_arm(THI_FAULT_ALLOC, 0);
        cr_expect_null(t[i]);
        const size_t before = thi_load_relaxed(&bytes_in_use);
        EXPECT_CALL(0, thrum_timer_create(&t[i], give, NULL));
        cr_expect_gt(thi_load_relaxed(&bytes_in_use), before);
    }
    for (int i = 0; i < TIMERS; i++)
        thrum_timer_release(t[i]);
    const size_t heap = thi_load_relaxed(&bytes_in_use);
    EXPECT_CALL(0, thrum_timer_create(&t[0], give, NULL));
    thrum_timer_release(t[0]);
    cr_expect_eq(thi_load_relaxed(&bytes_in_use), heap);
    cr_expect_eq(heap, 64 * sizeof(void *), "the heap's places are kept, and nothing else");
}

Test(thread, timers_start_once_there_is_a_thread, .init = count_memory_here)
{
    thrum_sem_t s = THRUM_SEM_INIT(0);
    thrum_timer_t *t = NULL;
    EXPECT_CALL(0, thrum_timer_create(&t, give, &s));
    for (int i = 0; i < 3; i++) {
        thi_fault_arm(THI_FAULT_THREAD, 1);
        EXPECT_CALL(ENOMEM, thrum_timer_start(t, 0));
        thi_fault_arm(THI_FAULT_THREAD, 1);
        EXPECT_CALL(ENOMEM, thrum_timer_start_periodic(t, 0, 1));
        thi_fault_arm(THI_FAULT_THREAD, 1);
        EXPECT_CALL(ENOMEM, thrum_timer_reschedule(t, 0));
        thi_fault_arm(THI_FAULT_AT_EXIT, 1); /* the service could not be registered */
        EXPECT_CALL(ENOMEM, thrum_timer_start(t, 0));
        cr_expect_not(thrum_timer_scheduled(t));
    }
    thi_fault_arm(THI_FAULT_AT_EXIT, 0);
    EXPECT_CALL(0, thrum_timer_start(t, 0));
    EXPECT_CALL(0, thrum_sem_acquire(&s));
    thi_fault_arm(THI_FAULT_ALLOC, THI_FAULT_ALWAYS); /* starting needs no memory */
    thi_fault_arm(THI_FAULT_THREAD, THI_FAULT_ALWAYS);
    EXPECT_CALL(0, thrum_timer_start_periodic(t, 0, THRUM_US(10)));
    for (int i = 0; i < 5; i++)
        EXPECT_CALL(0, thrum_sem_acquire(&s));
    EXPECT_CALL(0, thrum_timer_cancel_wait(t, NULL));
    thi_fault_arm(THI_FAULT_ALLOC, 0);
    thi_fault_arm(THI_FAULT_THREAD, 0);
    thrum_timer_release(t);
}

static void give_and_release(thrum_timer_t *t, void *arg)
{
    thrum_timer_release(t);
    give(t, arg);
}

Test(thread, timers_leave_nothing_behind, .init = count_memory_here)
{
    static thrum_sem_t s = THRUM_SEM_INIT(0);
    for (int i = 0; i < 100; i++) {
        thrum_timer_t *t = NULL;
        EXPECT_CALL(0, thrum_timer_create(&t, i % 2 == 0 ? give : give_and_release, &s));
        EXPECT_CALL(0, thrum_timer_start(t, 0));
        if (i % 2 == 0)
            thrum_timer_release(t);
        EXPECT_CALL(0, thrum_sem_acquire(&s));
    }
    while (thi_load_relaxed(&bytes_in_use) != 16 * sizeof(void *)) /* the heap */
        sched_yield();
}
