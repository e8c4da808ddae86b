#ifndef TESTS_STRESS_H
#define TESTS_STRESS_H

/*
 * What the stress programs share. A program is a list of cases; each runs for its share of the
 * seconds, and has passed when none of its CHECKs failed. A lost wake-up shows as a case that does
 * not end: the watchdog tells.
 */

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <thrum/thrum.h>

#include "strand/strand.h"
#include "support/watchdog.h"

#define STRESS_REPORTS_MAX 10u

static uint32_t stress_failures;

/* Any thread. */
#define CHECK(what) ((what) ? (void)0 : stress_fail(__FILE__, __LINE__, #what))

static inline void stress_fail(const char *file, int line, const char *what)
{
    if (__atomic_fetch_add(&stress_failures, 1u, __ATOMIC_RELAXED) < STRESS_REPORTS_MAX)
        fprintf(stderr, "%s:%d: not true: %s\n", file, line, what);
}

/* ------------------------------------------------------------------------------------------------
 * Chance: xorshift, one sequence for each thread
 */

struct chance {
    uint64_t state;
};

static inline uint64_t chance_next(struct chance *c)
{
    c->state ^= c->state << 13;
    c->state ^= c->state >> 7;
    c->state ^= c->state << 17;
    return c->state;
}

/* 0 to n - 1. */
static inline unsigned chance_below(struct chance *c, unsigned n)
{
    return (unsigned)(chance_next(c) >> 32) % n;
}

static inline bool chance_one_in(struct chance *c, unsigned n)
{
    return chance_below(c, n) == 0;
}

static inline struct chance chance_begin(void)
{
    static uint64_t seeds;
    const uint64_t seed = __atomic_add_fetch(&seeds, 1u, __ATOMIC_RELAXED);
    struct chance c = {seed * UINT64_C(0x9E3779B97F4A7C15) ^ (uint64_t)thrum_now()};
    c.state |= 1u;
    chance_next(&c);
    return c;
}

/* Now, in the past, or up to `nanoseconds` from now. */
static inline thrum_time_t chance_deadline(struct chance *c, unsigned nanoseconds)
{
    return chance_one_in(c, 8) ? 1 : thrum_after(chance_below(c, nanoseconds));
}

/* A little while: nothing, a few turns, or a turn for the other threads. */
static inline void chance_dawdle(struct chance *c)
{
    if (chance_one_in(c, 16))
        sched_yield();
    for (unsigned i = chance_below(c, 32); i != 0; i--)
        thi_cpu_pause();
}

/* ------------------------------------------------------------------------------------------------
 * Threads
 */

struct member {
    void *shared;
    unsigned index;
    thrum_time_t until;
    struct chance chance;
    thi_strand_t *strand;
    void (*fn)(struct member *self);
    pthread_t thread;
};

static void *member_main(void *arg)
{
    struct member *m = arg;
    m->chance = chance_begin();
    thi_store_release(&m->strand, thi_self());
    m->fn(m);
    watchdog_progress();
    return NULL;
}

static inline void member_start(struct member *m, void (*fn)(struct member *), void *shared,
                                unsigned index, thrum_time_t until)
{
    *m = (struct member){.shared = shared, .index = index, .until = until, .fn = fn};
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0 ||
        pthread_attr_setstacksize(&attributes, 256u * 1024u) != 0 ||
        pthread_create(&m->thread, &attributes, member_main, m) != 0)
        abort();
    pthread_attr_destroy(&attributes);
}

static inline void member_join(struct member *m)
{
    if (pthread_join(m->thread, NULL) != 0)
        abort();
}

/* One that does not end before it is cancelled: its record could be another's by then. */
static inline void member_cancel(struct member *m)
{
    thi_strand_t *strand = NULL;
    while ((strand = thi_load_acquire(&m->strand)) == NULL)
        sched_yield();
    thi_strand_cancel(strand);
}

/* Something was done; is there time to do more? */
static inline bool member_goes_on(struct member *m)
{
    watchdog_progress();
    return thrum_now() < m->until;
}

static inline void team_start(struct member *team, unsigned n, void (*fn)(struct member *),
                              void *shared, thrum_time_t until)
{
    for (unsigned i = 0; i < n; i++)
        member_start(&team[i], fn, shared, i, until);
}

static inline void team_join(struct member *team, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        member_join(&team[i]);
}

#define TEAM_MAX 16u

/* n threads run fn until it returns in all of them. */
static inline void team_run(unsigned n, void (*fn)(struct member *), void *shared,
                            thrum_time_t until)
{
    struct member team[TEAM_MAX];
    team_start(team, n, fn, shared, until);
    team_join(team, n);
}

/* ------------------------------------------------------------------------------------------------
 * Programs
 */

struct stress_case {
    const char *name;
    void (*run)(thrum_time_t until);
};

static inline int stress_main(int argc, char **argv, const struct stress_case *cases, unsigned n)
{
    const double seconds = argc > 1 ? atof(argv[1]) : 2;
    unsigned failed = 0;
    watchdog_start();
    for (unsigned i = 0; i < n; i++) {
        __atomic_store_n(&stress_failures, 0u, __ATOMIC_RELAXED);
        cases[i].run(thrum_after((int64_t)(seconds * 1e9) / n));
        const uint32_t failures = __atomic_load_n(&stress_failures, __ATOMIC_RELAXED);
        if (failures != 0)
            fprintf(stderr, "FAILED: %s: %u checks\n", cases[i].name, failures);
        failed += failures != 0;
    }
    printf("%u passed, %u failed\n", n - failed, failed);
    return failed != 0;
}

#define STRESS_MAIN(cases)                                                                         \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        return stress_main(argc, argv, (cases), (unsigned)(sizeof(cases) / sizeof *(cases)));      \
    }

#endif /* TESTS_STRESS_H */
