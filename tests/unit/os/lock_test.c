#include <string.h>

#include "support/expect.h"

TestSuite(lock, .timeout = 30);

struct guarded {
    thi_lock_t lock;
    uint64_t counter;
    bool yields;
};

static int count(void *arg)
{
    struct guarded *g = arg;
    for (int i = 0; i < 30000; i++) {
        thi_lock(&g->lock, THI_RANK_CHECK);
        g->counter++;
        if (g->yields && i % 1000 == 0)
            sched_yield();
        thi_unlock(&g->lock, THI_RANK_CHECK);
    }
    return 0;
}

static void exclude(bool yields)
{
    enum { THREADS = 6 };
    struct guarded g = {.yields = yields};
    struct caller c[THREADS];
    for (int i = 0; i < THREADS; i++)
        caller_start(&c[i], count, &g);
    for (int i = 0; i < THREADS; i++)
        cr_expect_eq(caller_join(&c[i]), 0);
    cr_expect_eq(g.counter, (uint64_t)THREADS * 30000);
    cr_expect_eq(g.lock.state, 0u, "free is all-zero");
}

Test(lock, one_at_a_time)
{
    exclude(false);
}

Test(lock, one_at_a_time_when_holders_are_interrupted)
{
    exclude(true);
}

Test(lock, leaves_errno_alone)
{
    thi_lock_t lock = {0};
    errno = ERRNO_MARK;
    for (int i = 0; i < 10; i++) {
        thi_lock(&lock, THI_RANK_CHECK);
        thi_unlock(&lock, THI_RANK_CHECK);
    }
    cr_expect_eq(errno, ERRNO_MARK);
}

/* --- once ----------------------------------------------------------------------------------------- */

static uint32_t begun;
static uint64_t made; /* plain */
static thi_once_t once;

static void make(void)
{
    thi_fetch_add_relaxed(&begun, 1u);
    for (int i = 0; i < 100; i++)
        sched_yield();
    made = 42;
}

static int ask(void *arg)
{
    (void)arg;
    thi_once(&once, make);
    return made == 42 ? 0 : EPROTO;
}

Test(lock, once_runs_once_and_everybody_waits_for_it)
{
    enum { THREADS = 8 };
    struct caller c[THREADS];
    for (int i = 0; i < THREADS; i++)
        caller_start(&c[i], ask, NULL);
    for (int i = 0; i < THREADS; i++)
        cr_expect_eq(caller_join(&c[i]), 0);
    cr_expect_eq(begun, 1u);
}
