/*
 * sleep, usleep, nanosleep, clock_nanosleep; getaddrinfo.
 */
#include <netdb.h>
#include <sys/time.h>
#include <time.h>

#include "patch/inside.h"

TestSuite(patch_sleep, .timeout = 20);

/* A coroutine that sleeps, and one that then has its turn. */
struct turns {
    int (*sleep)(void);
    int woken;
    int others;
};

static int sleep_first(void *arg, void **result)
{
    struct turns *turns = arg;
    (void)result;
    const thrum_time_t start = thrum_now();
    cr_expect_eq(turns->sleep(), 0);
    cr_expect_geq(thrum_now() - start, THRUM_MS(20));
    turns->woken++;
    return 0;
}

static int run_meanwhile(void *arg, void **result)
{
    struct turns *turns = arg;
    (void)result;
    cr_expect_eq(turns->woken, 0, "the sleeper held up the thread");
    turns->others++;
    return 0;
}

static void sleeps_alone(int (*fn)(void))
{
    struct turns turns = {fn, 0, 0};
    together(sleep_first, run_meanwhile, &turns);
    cr_expect_eq(turns.woken, 1);
    cr_expect_eq(turns.others, 1);
    (void)sleep_first(&turns, NULL); /* outside */
}

static int by_sleep(void)
{
    return (int)sleep(1);
}

static int by_usleep(void)
{
    return usleep(20000);
}

static int by_nanosleep(void)
{
    return nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
}

static int by_clock(void)
{
    return clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){.tv_nsec = 20000000}, NULL);
}

static int by_instant_of(clockid_t clock)
{
    struct timespec time;
    cr_expect_eq(clock_gettime(clock, &time), 0);
    time.tv_nsec += 20000000;
    if (time.tv_nsec >= 1000000000) {
        time.tv_nsec -= 1000000000;
        time.tv_sec++;
    }
    return clock_nanosleep(clock, TIMER_ABSTIME, &time, NULL);
}

static int by_instant(void)
{
    return by_instant_of(CLOCK_MONOTONIC);
}

static int by_time_of_day(void)
{
    return by_instant_of(CLOCK_REALTIME);
}

Test(patch_sleep, who_sleeps_lets_others_run)
{
    sleeps_alone(by_sleep);
    sleeps_alone(by_usleep);
    sleeps_alone(by_nanosleep);
    sleeps_alone(by_clock);
    sleeps_alone(by_instant);
    sleeps_alone(by_time_of_day);
}

static int for_no_time(void *arg, void **result)
{
    const struct timespec none = {0, 0};
    const struct timespec bad = {0, 1000000000};
    (void)arg, (void)result;
    cr_expect_eq(sleep(0), 0);
    cr_expect_eq(usleep(0), 0);
    cr_expect_eq(nanosleep(&none, NULL), 0);
    cr_expect_eq(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &none, NULL), 0);
    EXPECT_ERRNO(EINVAL, nanosleep(&bad, NULL));
    cr_expect_eq(clock_nanosleep(CLOCK_MONOTONIC, 0, &bad, NULL), EINVAL);
    return 0;
}

Test(patch_sleep, times_that_are_none)
{
    alone(for_no_time, NULL);
    (void)for_no_time(NULL, NULL);
}

static int sleep_cancelled(void *arg, void **result)
{
    struct timespec left = {0, 0};
    const struct timespec long_time = {1000, 0};
    (void)arg, (void)result;
    EXPECT_ERRNO(ECANCELED, nanosleep(&long_time, &left));
    cr_expect(left.tv_sec >= 900 && left.tv_sec <= 1000);
    EXPECT_ERRNO(ECANCELED, usleep(1000000));
    errno = 0;
    const unsigned seconds = sleep(1000);
    cr_expect(seconds >= 900 && seconds <= 1000 && errno == ECANCELED);
    cr_expect_eq(clock_nanosleep(CLOCK_MONOTONIC, 0, &long_time, &left), ECANCELED);
    return 0;
}

Test(patch_sleep, who_is_cancelled_is_told_what_is_left)
{
    together(sleep_cancelled, cancel_first, NULL);
}

static int sleep_through_signals(void *arg, void **result)
{
    const struct itimerval every = {{0, 2000}, {0, 2000}};
    (void)arg, (void)result;
    count_signals(SIGALRM);
    cr_expect_eq(setitimer(ITIMER_REAL, &every, NULL), 0);
    const thrum_time_t start = thrum_now();
    while (signals_seen == 0)
        cr_expect_eq(usleep(20000), 0);
    cr_expect_geq(thrum_now() - start, THRUM_MS(20));
    return 0;
}

Test(patch_sleep, signals_do_not_end_it)
{
    alone(sleep_through_signals, NULL);
}

/* ------------------------------------------------------------------------------------------------
 * getaddrinfo
 */

static int ask(void *arg, void **result)
{
    const struct addrinfo numeric = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    (void)arg, (void)result;
    cr_expect_eq(getaddrinfo("127.0.0.1", "80", NULL, &found), 0);
    cr_expect_eq(found->ai_family, AF_INET);
    freeaddrinfo(found);
    cr_expect_eq(getaddrinfo("localhost", NULL, NULL, &found), 0);
    freeaddrinfo(found);
    cr_expect_eq(getaddrinfo("localhost", NULL, &numeric, &found), EAI_NONAME);
    cr_expect_eq(getaddrinfo("localhost", "no-such-service", NULL, &found), EAI_SERVICE);
    cr_expect_eq(getaddrinfo(NULL, NULL, NULL, &found), EAI_NONAME);
    return 0;
}

Test(patch_sleep, names_are_asked_for)
{
    alone(ask, NULL);
    (void)ask(NULL, NULL);
}

static int ask_cancelled(void *arg, void **result)
{
    struct addrinfo *found = NULL;
    (void)arg, (void)result;
    (void)thrum_sleep(THRUM_S(1000));
    errno = 0;
    cr_expect_eq(getaddrinfo("localhost", NULL, NULL, &found), EAI_SYSTEM);
    cr_expect_eq(errno, ECANCELED);
    return 0;
}

Test(patch_sleep, who_is_cancelled_does_not_ask)
{
    together(ask_cancelled, cancel_first, NULL);
}
