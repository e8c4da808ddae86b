#ifndef TESTS_CALLER_H
#define TESTS_CALLER_H

/*
 * Threads that make one call and remember what became of it, and ways to wait for a state. A test
 * judges what a caller recorded after it has joined it.
 */

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "strand/strand.h"

/* What errno is before every call under test, and must be after it. */
#define ERRNO_MARK 1234

struct caller {
    pthread_t thread;
    int (*fn)(void *arg);
    void *arg;
    thi_strand_t *strand; /* known before fn is called */
    int result;
    int errno_after;
    uint32_t done;
};

static void *caller_main(void *arg)
{
    struct caller *c = arg;
    thi_store_release(&c->strand, thi_self());
    errno = ERRNO_MARK;
    c->result = c->fn(c->arg);
    c->errno_after = errno;
    thi_store_release(&c->done, 1u);
    return NULL;
}

/* The same tests with coroutines for strands: each call is made by a coroutine, in a loop of the
 * thread's. */
#ifdef CALLERS_ARE_COROUTINES
#include <thrum/loop.h>

static int caller_in_loop(void *arg, void **result)
{
    (void)result;
    caller_main(arg);
    return 0;
}

static void *caller_loop(void *arg)
{
    if (thrum_run(caller_in_loop, arg, NULL) != 0)
        abort();
    return NULL;
}
#define CALLER_STARTS caller_loop
#define CALLER_RECORDS 40u /* of strands, that a thread may keep */
#define CALLER_ROUNDS(n) ((n) / 5)
#else
#define CALLER_STARTS caller_main
#define CALLER_RECORDS 8u
#define CALLER_ROUNDS(n) (n)
#endif

static inline void caller_start(struct caller *c, int (*fn)(void *arg), void *arg)
{
    *c = (struct caller){.fn = fn, .arg = arg, .result = -1};
    if (pthread_create(&c->thread, NULL, CALLER_STARTS, c) != 0)
        abort();
}

/* What the call returned. */
static inline int caller_join(struct caller *c)
{
    if (pthread_join(c->thread, NULL) != 0 || c->errno_after != ERRNO_MARK)
        abort();
    return c->result;
}

static inline bool caller_done(const struct caller *c)
{
    return thi_load_acquire(&c->done) != 0;
}

static inline thi_strand_t *caller_strand(const struct caller *c)
{
    thi_strand_t *strand = NULL;
    while ((strand = thi_load_acquire(&c->strand)) == NULL)
        sched_yield();
    return strand;
}

static inline void caller_cancel(const struct caller *c)
{
    thi_strand_cancel(caller_strand(c));
}

static inline void await_parked(const void *key, unsigned n)
{
    while (thi_park_count(key) != n)
        sched_yield();
}

static inline void await_word(const uint32_t *word, uint32_t value)
{
    while (thi_load_acquire(word) != value)
        sched_yield();
}

/* Not only queued: it has stopped looking, too. */
static inline void await_asleep(const struct caller *c)
{
    const thi_strand_t *strand = caller_strand(c);
    while (thi_load_relaxed(&strand->permit) != THI_PARKED)
        sched_yield();
}

/* Not returned, and not because it has had no time to. */
static inline bool caller_stays(const struct caller *c)
{
    for (int i = 0; i < 100; i++)
        sched_yield();
    return !caller_done(c);
}

#endif /* TESTS_CALLER_H */
