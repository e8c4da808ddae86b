#ifndef TESTS_WATCHDOG_H
#define TESTS_WATCHDOG_H

/*
 * A thread that looks on. Whoever gets something done calls watchdog_progress(); when nobody has for
 * WATCHDOG_SECONDS, the watchdog writes who waits on what and aborts. So a lost wake-up is a report
 * and a core, not a test that was ended from outside.
 */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <thrum/diagnosis.h>

#define WATCHDOG_SECONDS 20
#define WATCHDOG_LOOKS_PER_SECOND 5
#define WATCHDOG_PLACES 64

/* Counters of progress, many of them, so that counting does not make threads meet. Relaxed
 * everywhere, for the same reason: it must not order what is under test. */
struct watchdog_place {
    uint64_t count THRUM_ALIGNED(64);
};
static struct watchdog_place watchdog_places[WATCHDOG_PLACES];
static unsigned watchdog_next_place;
static _Thread_local struct watchdog_place *watchdog_mine;

static inline void watchdog_progress(void)
{
    if (watchdog_mine == NULL) {
        const unsigned place = __atomic_fetch_add(&watchdog_next_place, 1u, __ATOMIC_RELAXED);
        watchdog_mine = &watchdog_places[place % WATCHDOG_PLACES];
    }
    __atomic_fetch_add(&watchdog_mine->count, 1u, __ATOMIC_RELAXED);
}

static inline uint64_t watchdog_sum(void)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < WATCHDOG_PLACES; i++)
        sum += __atomic_load_n(&watchdog_places[i].count, __ATOMIC_RELAXED);
    return sum;
}

static void *watchdog_main(void *arg)
{
    (void)arg;
    const struct timespec nap = {0, 1000000000 / WATCHDOG_LOOKS_PER_SECOND};
    uint64_t before = watchdog_sum();
    for (unsigned still = 0; still < WATCHDOG_SECONDS * WATCHDOG_LOOKS_PER_SECOND; still++) {
        nanosleep(&nap, NULL);
        const uint64_t now = watchdog_sum();
        if (now != before)
            still = 0;
        before = now;
    }
    fprintf(stderr, "watchdog: nothing has moved for %d seconds\n", WATCHDOG_SECONDS);
    thrum_dump_waiters(stderr);
    fflush(stderr);
    abort();
}

/* From now on, for as long as the program runs. */
static inline void watchdog_start(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, watchdog_main, NULL) != 0 || pthread_detach(thread) != 0)
        abort();
}

#endif /* TESTS_WATCHDOG_H */
