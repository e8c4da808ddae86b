/*
 * pthread_mutex_lock, pthread_cond_wait, pthread_cond_timedwait, pthread_cond_clockwait.
 */
#include <pthread.h>
#include <time.h>

#include "patch/inside.h"

TestSuite(patch_lock, .timeout = 20);

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int count;
static int inside_now;

static int hold(void *arg, void **result)
{
    (void)arg, (void)result;
    for (int i = 0; i < 20; i++) {
        cr_expect_eq(pthread_mutex_lock(&mutex), 0);
        cr_expect_eq(inside_now++, 0);
        (void)thrum_sleep(i % 4 == 0 ? THRUM_MS(1) : 0);
        thrum_yield();
        inside_now--;
        count++;
        cr_expect_eq(pthread_mutex_unlock(&mutex), 0);
    }
    return 0;
}

Test(patch_lock, coroutines_of_one_thread_exclude_each_other)
{
    together(hold, hold, NULL);
    cr_expect_eq(count, 40);
    cr_expect_eq(pthread_mutex_trylock(&mutex), 0, "it is free in the end");
}

static void *hold_in_thread(void *arg)
{
    uint32_t *state = arg;
    (void)pthread_mutex_lock(&mutex);
    __atomic_store_n(state, 1u, __ATOMIC_RELEASE);
    while (__atomic_load_n(state, __ATOMIC_ACQUIRE) != 2)
        (void)thrum_sleep(THRUM_MS(1));
    (void)pthread_mutex_unlock(&mutex);
    return NULL;
}

static int lock_late(void *arg, void **result)
{
    (void)arg, (void)result;
    cr_expect_eq(pthread_mutex_lock(&mutex), 0);
    cr_expect_eq(pthread_mutex_unlock(&mutex), 0);
    return 0;
}

static int have_it_unlocked(void *arg, void **result)
{
    uint32_t *state = arg;
    (void)result;
    (void)thrum_sleep(THRUM_MS(20)); /* for the helper to be waiting, most of the time */
    __atomic_store_n(state, 2u, __ATOMIC_RELEASE);
    return 0;
}

Test(patch_lock, who_waits_for_a_thread_lets_others_run)
{
    uint32_t state = 0;
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, hold_in_thread, &state), 0);
    while (__atomic_load_n(&state, __ATOMIC_ACQUIRE) != 1)
        (void)thrum_sleep(THRUM_MS(1));
    together(lock_late, have_it_unlocked, &state);
    pthread_join(thread, NULL);
}

static int await_count(void *arg, void **result)
{
    (void)arg, (void)result;
    cr_expect_eq(pthread_mutex_lock(&mutex), 0);
    while (count == 0)
        cr_expect_eq(pthread_cond_wait(&cond, &mutex), 0);
    cr_expect_eq(pthread_mutex_unlock(&mutex), 0);
    return 0;
}

static int signal_count(void *arg, void **result)
{
    (void)arg, (void)result;
    cr_expect_eq(pthread_mutex_lock(&mutex), 0);
    count = 1;
    cr_expect_eq(pthread_cond_signal(&cond), 0);
    cr_expect_eq(pthread_mutex_unlock(&mutex), 0);
    return 0;
}

Test(patch_lock, who_waits_for_a_condition_lets_others_run)
{
    together(await_count, signal_count, NULL);
}

static struct timespec soon(clockid_t clock)
{
    struct timespec time;
    cr_expect_eq(clock_gettime(clock, &time), 0);
    time.tv_nsec += 20000000;
    if (time.tv_nsec >= 1000000000) {
        time.tv_nsec -= 1000000000;
        time.tv_sec++;
    }
    return time;
}

static int await_nothing(void *arg, void **result)
{
    (void)arg, (void)result;
    cr_expect_eq(pthread_mutex_lock(&mutex), 0);
    const thrum_time_t start = thrum_now();
    struct timespec time = soon(CLOCK_REALTIME);
    while (pthread_cond_timedwait(&cond, &mutex, &time) == 0) {
    }
    time = soon(CLOCK_MONOTONIC);
    int err = 0;
    while ((err = pthread_cond_clockwait(&cond, &mutex, CLOCK_MONOTONIC, &time)) == 0) {
    }
    cr_expect_eq(err, ETIMEDOUT);
    cr_expect_geq(thrum_now() - start, THRUM_MS(20));
    cr_expect_eq(pthread_mutex_trylock(&mutex), EBUSY, "it is locked again");
    cr_expect_eq(pthread_mutex_unlock(&mutex), 0);
    return 0;
}

Test(patch_lock, waits_for_conditions_end_in_time)
{
    alone(await_nothing, NULL);
    (void)await_nothing(NULL, NULL);
}

static int await_cancelled(void *arg, void **result)
{
    int err = 0;
    (void)arg, (void)result;
    cr_expect_eq(pthread_mutex_lock(&mutex), 0);
    while (err == 0)
        err = pthread_cond_wait(&cond, &mutex);
    cr_expect_eq(err, ECANCELED);
    cr_expect_eq(pthread_mutex_trylock(&mutex), EBUSY, "it is locked again");
    while (count == 0) /* as code does that does not look at the result */
        cr_expect_eq(pthread_cond_wait(&cond, &mutex), ECANCELED);
    cr_expect_eq(pthread_mutex_unlock(&mutex), 0);
    return 0;
}

static int cancel_and_signal(void *arg, void **result)
{
    (void)thrum_sleep(THRUM_MS(5));
    (void)cancel_first(arg, result);
    (void)thrum_sleep(THRUM_MS(10));
    return signal_count(arg, result);
}

Test(patch_lock, a_cancelled_wait_has_the_mutex_and_lets_others_have_it)
{
    together(await_cancelled, cancel_and_signal, NULL);
}

static int lock_cancelled(void *arg, void **result)
{
    (void)arg, (void)result;
    (void)thrum_sleep(THRUM_S(1000));
    cr_expect(thrum_cancelled());
    return lock_late(arg, result);
}

static int cancel_and_hold(void *arg, void **result)
{
    cr_expect_eq(pthread_mutex_lock(&mutex), 0);
    (void)cancel_first(arg, result);
    (void)thrum_sleep(THRUM_MS(20));
    cr_expect_eq(pthread_mutex_unlock(&mutex), 0);
    return 0;
}

Test(patch_lock, locking_is_not_cancelled)
{
    together(lock_cancelled, cancel_and_hold, NULL);
}

static int lock_recursively(void *arg, void **result)
{
    (void)result;
    for (int i = 0; i < 3; i++)
        cr_expect_eq(pthread_mutex_lock(arg), 0);
    for (int i = 0; i < 3; i++)
        cr_expect_eq(pthread_mutex_unlock(arg), 0);
    return 0;
}

static int lock_twice(void *arg, void **result)
{
    (void)result;
    cr_expect_eq(pthread_mutex_lock(arg), 0);
    cr_expect_eq(pthread_mutex_lock(arg), EDEADLK);
    cr_expect_eq(pthread_mutex_unlock(arg), 0);
    return 0;
}

Test(patch_lock, other_kinds_are_the_threads)
{
    pthread_mutexattr_t attr;
    pthread_mutex_t other;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&other, &attr);
    alone(lock_recursively, &other);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_init(&other, &attr);
    alone(lock_twice, &other);
}
