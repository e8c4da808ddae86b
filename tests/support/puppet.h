#ifndef TESTS_PUPPET_H
#define TESTS_PUPPET_H

/*
 * A strand of a kind of its own, run by a thread: whether it comes back from a sleep, and whether the
 * deadline of that has passed, is up to the test. So "woken, but it has not run yet" is a state that
 * a test can hold for as long as it likes.
 */

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "support/caller.h"

struct puppet {
    thi_strand_t strand; /* of the library for good: a puppet is never freed */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool held;    /* it does not come back from its sleep */
    bool expired; /* its deadline, if it has one, has passed */
    bool asleep;
    unsigned wakes;
    int (*fn)(void *arg);
    void *arg;
    struct caller caller;
};

static inline struct puppet *puppet_of(thi_strand_t *strand)
{
    return THI_CONTAINER_OF(strand, struct puppet, strand);
}

static inline int puppet_block(thi_strand_t *self, thrum_time_t deadline)
{
    struct puppet *p = puppet_of(self);
    pthread_mutex_lock(&p->mutex);
    p->asleep = true;
    while (p->held || (thi_load_relaxed(&self->permit) == THI_PARKED &&
                       !(p->expired && deadline != THRUM_FOREVER)))
        pthread_cond_wait(&p->changed, &p->mutex);
    p->asleep = false;
    pthread_mutex_unlock(&p->mutex);
    return thi_load_relaxed(&self->permit) == THI_PARKED ? ETIMEDOUT : 0;
}

static inline void puppet_wake(thi_strand_t *strand)
{
    struct puppet *p = puppet_of(strand);
    pthread_mutex_lock(&p->mutex);
    p->wakes++;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->mutex);
}

static inline void puppet_describe(const thi_strand_t *strand, char *name, size_t size)
{
    (void)strand;
    snprintf(name, size, "puppet");
}

static const thi_strand_kind_t puppet_kind = {
    .name = "puppet",
    .block = puppet_block,
    .wake = puppet_wake,
    .describe = puppet_describe,
};

static int puppet_main(void *arg)
{
    struct puppet *p = arg;
    const int err = p->fn(p->arg);
    thi_strand_retire(&p->strand);
    thi_strand_set_current(NULL);
    return err;
}

static void *puppet_thread(void *arg)
{
    struct puppet *p = arg;
    thi_strand_renew(&p->strand);
    thi_strand_set_current(&p->strand);
    return caller_main(&p->caller);
}

static inline struct puppet *puppet_start(int (*fn)(void *arg), void *arg)
{
    struct puppet *p = calloc(1, sizeof *p);
    if (p == NULL || thi_strand_register(&p->strand, &puppet_kind) != 0)
        abort();
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->changed, NULL);
    p->fn = fn;
    p->arg = arg;
    p->caller = (struct caller){.fn = puppet_main, .arg = p, .result = -1};
    if (pthread_create(&p->caller.thread, NULL, puppet_thread, p) != 0)
        abort();
    return p;
}

static inline void puppet_set(struct puppet *p, bool *what, bool value)
{
    pthread_mutex_lock(&p->mutex);
    *what = value;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->mutex);
}

/* It does not come back from a sleep before it is let go. */
static inline void puppet_hold(struct puppet *p)
{
    puppet_set(p, &p->held, true);
}

static inline void puppet_let_go(struct puppet *p)
{
    puppet_set(p, &p->held, false);
}

/* Its deadline has passed, whatever it was. */
static inline void puppet_expire(struct puppet *p)
{
    puppet_set(p, &p->expired, true);
}

static inline unsigned puppet_wakes(struct puppet *p)
{
    pthread_mutex_lock(&p->mutex);
    const unsigned wakes = p->wakes;
    pthread_mutex_unlock(&p->mutex);
    return wakes;
}

static inline void puppet_await_asleep(struct puppet *p)
{
    bool asleep = false;
    while (!asleep) {
        sched_yield();
        pthread_mutex_lock(&p->mutex);
        asleep = p->asleep && thi_load_relaxed(&p->strand.permit) == THI_PARKED;
        pthread_mutex_unlock(&p->mutex);
    }
}

static inline int puppet_join(struct puppet *p)
{
    return caller_join(&p->caller);
}

#endif /* TESTS_PUPPET_H */
