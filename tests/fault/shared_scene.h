#ifndef TESTS_SHARED_SCENE_H
#define TESTS_SHARED_SCENE_H

/*
 * Locks of several processes, some who wait for one of them, and a victim that is killed meanwhile (victim.h).
 */

#include <criterion/criterion.h>

#include <thrum/shared.h>
#include <thrum/shared_lock.h>

#include "support/caller.h"
#include "support/victim.h"

#define WAITERS 2

struct scene {
    thrum_shared_mutex_t mutex;
    thrum_shared_rlock_t rlock;
    thrum_shared_sem_t sem;
    thrum_shared_event_t event;
    thrum_shared_cond_t cond;
    thrum_shared_barrier_t barrier;
    uint32_t ready;
    uint32_t passed;
    uint32_t changed;
    unsigned bound;
    unsigned missing; /* parties that do not come */
    int (*waiter)(void *arg);
    pid_t pids[WAITERS];
    thrum_shared_t *arena;
    uint64_t *slots;
    size_t used;
};

static inline struct scene *make(int (*waiter)(void *arg))
{
    struct scene *s = victim_memory(sizeof *s);
    (void)thi_self(); /* children have a record, and need not make one step by step */
    s->waiter = waiter;
    cr_assert_eq(thrum_shared_mutex_init(&s->mutex), 0);
    cr_assert_eq(thrum_shared_rlock_init(&s->rlock), 0);
    return s;
}

static inline bool is_held(int err)
{
    return err == 0 || err == EOWNERDEAD;
}

/* They are gone, and were content. A hang is ended by their alarm. */
static inline int end_waiters(struct scene *s)
{
    int err = 0;
    for (int i = 0; i < WAITERS; i++)
        err |= victim_end(s->pids[i]);
    return err;
}

static inline int begin(void *arg)
{
    struct scene *s = arg;
    s->ready = s->passed = s->changed = 0;
    if (thrum_shared_sem_init(&s->sem, 0, s->bound) != 0 ||
        thrum_shared_event_init(&s->event) != 0 || thrum_shared_cond_init(&s->cond) != 0 ||
        thrum_shared_barrier_init(&s->barrier, WAITERS + 1 + s->missing) != 0)
        return 1;
    for (int i = 0; i < WAITERS; i++)
        s->pids[i] = victim_start(s->waiter, s);
    await_word(&s->ready, WAITERS);
    return 0;
}

static inline int acquire(void *arg)
{
    struct scene *s = arg;
    thi_fetch_add_relaxed(&s->ready, 1u);
    const int err = thrum_shared_sem_acquire(&s->sem);
    thi_fetch_add_acq_rel(&s->passed, 1u);
    return err;
}

static inline int wait_event(void *arg)
{
    struct scene *s = arg;
    thi_fetch_add_relaxed(&s->ready, 1u);
    return thrum_shared_event_wait(&s->event);
}

static inline int event_survives(void *arg)
{
    struct scene *s = arg;
    if (!thrum_shared_event_is_set(&s->event))
        thrum_shared_event_set(&s->event);
    return end_waiters(s);
}

static inline int wait_changed(void *arg)
{
    struct scene *s = arg;
    int err = thrum_shared_mutex_lock(&s->mutex);
    thi_fetch_add_relaxed(&s->ready, 1u);
    while (is_held(err) && s->changed == 0)
        err = thrum_shared_cond_wait(&s->cond, &s->mutex);
    return is_held(err) ? thrum_shared_mutex_unlock(&s->mutex) : err;
}

static inline int condition_survives(void *arg)
{
    struct scene *s = arg;
    if (!is_held(thrum_shared_mutex_lock(&s->mutex)))
        return 30;
    s->changed = 1;
    if (thrum_shared_mutex_unlock(&s->mutex) != 0)
        return 31;
    thrum_shared_cond_signal(&s->cond);
    return end_waiters(s);
}

static inline int meet(void *arg)
{
    struct scene *s = arg;
    thi_fetch_add_relaxed(&s->ready, 1u);
    const int err = thrum_shared_barrier_wait(&s->barrier, NULL);
    thi_fetch_add_acq_rel(&s->passed, 1u);
    return err;
}

static inline int begin_inside(void *arg)
{
    struct scene *s = arg;
    const int err = begin(arg);
    while (err == 0 && thrum_shared_barrier_waiting(&s->barrier) != WAITERS)
        sched_yield();
    return err;
}

#endif /* TESTS_SHARED_SCENE_H */
