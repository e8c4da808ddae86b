/*
 * Whatever comes: tasks that each do a few things chosen by the schedule. What the other tests
 * arrange with care, these find by chance, and what nobody thought of as well.
 */
#include <thrum/barrier.h>
#include <thrum/cond.h>
#include <thrum/event.h>
#include <thrum/rwlock.h>
#include <thrum/semaphore.h>
#include <thrum/waitgroup.h>

#include "sim.h"

#define MIX_STEPS 3

static thrum_time_t mix_deadline(void)
{
    switch (sim_random(4)) {
    case 0:
        return sim_now(); /* passed */
    case 1:
        return sim_now() + sim_random(60);
    default:
        return sim_soon();
    }
}

static bool mix_gave_up(int err)
{
    sim_check(err == ETIMEDOUT || err == ECANCELED);
    return true;
}

/* ------------------------------------------------------------------------------------------------
 * A mutex and a condition
 */

struct mix_cond {
    thrum_mutex_t m;
    thrum_cond_t c;
    int inside;
    unsigned waiting; /* without a deadline */
    unsigned woken;
    unsigned signals; /* at most so many may be woken */
    bool over;
};

static void mix_enter(struct mix_cond *w)
{
    sim_check(w->inside++ == 0);
    if (sim_random(2) == 0)
        sim_point();
}

static void mix_unlock(struct mix_cond *w)
{
    sim_check(--w->inside == 0);
    sim_check(thrum_mutex_unlock(&w->m) == 0);
}

static bool mix_lock(struct mix_cond *w)
{
    const unsigned how = sim_random(4);
    int err = 0;
    if (how == 0)
        err = thrum_mutex_trylock(&w->m);
    else if (how == 1)
        err = thrum_mutex_lock_until(&w->m, mix_deadline());
    else
        err = thrum_mutex_lock(&w->m);
    sim_check(err == 0 || (how == 0 && err == EBUSY) || (how == 1 && err == ETIMEDOUT));
    if (err == 0)
        mix_enter(w);
    return err == 0;
}

static void mix_wait(struct mix_cond *w, bool patient)
{
    sim_check(--w->inside == 0);
    w->waiting += patient;
    const int err = patient ? thrum_cond_wait(&w->c, &w->m)
                            : thrum_cond_wait_until(&w->c, &w->m, mix_deadline());
    w->waiting -= patient;
    sim_check(w->inside++ == 0);
    if (err == 0)
        sim_check(++w->woken <= w->signals);
    else
        mix_gave_up(err);
}

static void mix_signal(struct mix_cond *w)
{
    const unsigned n = sim_random(4);
    w->signals += n < 3 ? n : 5;
    if (n == 1)
        thrum_cond_signal(&w->c);
    else if (n < 3)
        thrum_cond_signal_n(&w->c, n);
    else
        thrum_cond_broadcast(&w->c);
}

static void *mix_cond_task(void *arg)
{
    struct mix_cond *w = arg;
    for (int i = 0; i < MIX_STEPS; i++) {
        if (sim_random(4) == 0)
            mix_signal(w);
        if (!mix_lock(w))
            continue;
        const unsigned what = sim_random(4);
        if (what < 2 && !w->over)
            mix_wait(w, what == 0);
        else if (what == 2)
            mix_signal(w);
        mix_unlock(w);
    }
    return NULL;
}

/* When nobody is left who would signal, those that wait for ever are let go. */
static void mix_release_all(struct mix_cond *w, sim_task *const *tasks, unsigned n)
{
    w->over = true;
    for (unsigned ended = 0; ended < n;) {
        ended = 0;
        for (unsigned i = 0; i < n; i++)
            ended += sim_ended(tasks[i]);
        w->signals += 5;
        thrum_cond_broadcast(&w->c);
        sim_yield();
    }
}

SIM_TEST(mix, mutex_and_condition, .tasks = 6, .schedules = 100000)
{
    struct mix_cond w = {.m = THRUM_MUTEX_INIT, .c = THRUM_COND_INIT};
    sim_name(&w.m, sizeof w.m, "mutex");
    sim_name(&w.c, sizeof w.c, "cond");
    sim_task *tasks[4];
    for (int i = 0; i < 4; i++)
        tasks[i] = sim_spawn(mix_cond_task, &w);
    if (sim_random(2) == 0)
        sim_spawn(sim_canceller, tasks[0]);
    mix_release_all(&w, tasks, 4);
    sim_join_all();
    sim_check(w.waiting == 0 && w.c.thrum_waiters == 0);
    sim_check(thrum_mutex_trylock(&w.m) == 0 && thrum_mutex_unlock(&w.m) == 0);
    sim_check(w.m.thrum_state == 0);
}

/* ------------------------------------------------------------------------------------------------
 * Semaphore: what is taken was released
 */

struct mix_sem {
    thrum_sem_t s;
    unsigned held;
    unsigned released;
    unsigned taken;
};

static int mix_acquire(struct mix_sem *w)
{
    switch (sim_random(3)) {
    case 0:
        return thrum_sem_tryacquire(&w->s);
    case 1:
        return thrum_sem_acquire_until(&w->s, mix_deadline());
    default:
        return thrum_sem_acquire(&w->s);
    }
}

/* Gives back what it takes, so that nobody waits for ever. */
static void *mix_sem_task(void *arg)
{
    struct mix_sem *w = arg;
    for (int i = 0; i < MIX_STEPS; i++) {
        const int err = mix_acquire(w);
        if (err != 0) {
            sim_check(err == EAGAIN || mix_gave_up(err));
            continue;
        }
        sim_check(++w->held <= 2);
        sim_point();
        w->held--;
        sim_check(thrum_sem_release(&w->s) == 0);
    }
    return NULL;
}

SIM_TEST(mix, semaphore, .tasks = 6, .schedules = 100000)
{
    struct mix_sem w = {.s = THRUM_SEM_INIT(0)};
    const unsigned permits = 1 + sim_random(2);
    if (sim_random(2) == 0)
        sim_check(thrum_sem_init_bounded(&w.s, 0, permits) == 0);
    sim_name(&w.s, sizeof w.s, "sem");
    sim_task *victim = sim_spawn(mix_sem_task, &w);
    for (int i = 0; i < 3; i++)
        sim_spawn(mix_sem_task, &w);
    if (sim_random(2) == 0)
        sim_spawn(sim_canceller, victim);
    sim_check(thrum_sem_release_n(&w.s, permits) == 0);
    sim_join_all();
    sim_check(thrum_sem_value(&w.s) == permits && w.s.thrum_word < INT64_C(1) << 34);
}

/* ------------------------------------------------------------------------------------------------
 * Read-write lock
 */

struct mix_rw {
    thrum_rwlock_t l;
    int readers;
    int writers;
};

static void mix_read(struct mix_rw *w)
{
    w->readers++;
    sim_check(w->writers == 0);
    sim_point();
    sim_check(w->writers == 0);
    w->readers--;
    sim_check(thrum_rwlock_rdunlock(&w->l) == 0);
}

static void mix_write(struct mix_rw *w)
{
    sim_check(w->writers++ == 0 && w->readers == 0);
    sim_point();
    sim_check(--w->writers == 0 && w->readers == 0);
    if (sim_random(3) == 0) {
        sim_check(thrum_rwlock_downgrade(&w->l) == 0);
        mix_read(w);
    } else {
        sim_check(thrum_rwlock_wrunlock(&w->l) == 0);
    }
}

static int mix_rdlock(struct mix_rw *w)
{
    switch (sim_random(4)) {
    case 0:
        return thrum_rwlock_tryrdlock(&w->l);
    case 1:
        return thrum_rwlock_rdlock_until(&w->l, mix_deadline());
    default:
        return thrum_rwlock_rdlock(&w->l);
    }
}

static int mix_wrlock(struct mix_rw *w)
{
    switch (sim_random(4)) {
    case 0:
        return thrum_rwlock_trywrlock(&w->l);
    case 1:
        return thrum_rwlock_wrlock_until(&w->l, mix_deadline());
    default:
        return thrum_rwlock_wrlock(&w->l);
    }
}

static void *mix_rw_task(void *arg)
{
    struct mix_rw *w = arg;
    for (int i = 0; i < MIX_STEPS; i++) {
        const bool writes = sim_random(2) == 0;
        const int err = writes ? mix_wrlock(w) : mix_rdlock(w);
        if (err != 0)
            sim_check(err == EBUSY || err == ETIMEDOUT);
        else if (writes)
            mix_write(w);
        else
            mix_read(w);
    }
    return NULL;
}

SIM_TEST(mix, rwlock, .tasks = 5, .schedules = 100000)
{
    struct mix_rw w = {.l = THRUM_RWLOCK_INIT};
    sim_name(&w.l, sizeof w.l, "rwlock");
    for (int i = 0; i < 4; i++)
        sim_spawn(mix_rw_task, &w);
    mix_rw_task(&w);
    sim_join_all();
    sim_check(thrum_rwlock_trywrlock(&w.l) == 0 && thrum_rwlock_wrunlock(&w.l) == 0);
    sim_check((w.l.thrum_word & ((UINT64_C(1) << 48) - 1)) == 0);
    sim_check(w.l.thrum_writers.thrum_state == 0);
}

/* ------------------------------------------------------------------------------------------------
 * Event and wait group
 */

struct mix_signals {
    thrum_event_t e;
    thrum_waitgroup_t wg;
};

static void mix_signals_wait(struct mix_signals *w)
{
    const unsigned what = sim_random(3);
    int err = 0;
    if (what == 0)
        err = thrum_event_wait_until(&w->e, mix_deadline());
    else if (what == 1)
        err = thrum_waitgroup_wait_until(&w->wg, mix_deadline());
    else
        err = thrum_event_trywait(&w->e);
    sim_check(err == 0 || (what == 2 && err == EAGAIN) || mix_gave_up(err));
}

static void *mix_signals_task(void *arg)
{
    struct mix_signals *w = arg;
    sim_check(thrum_waitgroup_add(&w->wg, 1) == 0);
    for (int i = 0; i < MIX_STEPS; i++) {
        const unsigned what = sim_random(4);
        if (what == 0)
            thrum_event_set(&w->e);
        else if (what == 1)
            thrum_event_clear(&w->e);
        else
            mix_signals_wait(w);
    }
    sim_check(thrum_waitgroup_done(&w->wg) == 0);
    return NULL;
}

static void *mix_waits_for_both(void *arg)
{
    struct mix_signals *w = arg;
    sim_check(thrum_waitgroup_wait(&w->wg) == 0);
    sim_check(thrum_event_wait(&w->e) == 0);
    return NULL;
}

SIM_TEST(mix, event_and_waitgroup, .tasks = 6)
{
    struct mix_signals w = {THRUM_EVENT_INIT, THRUM_WAITGROUP_INIT};
    sim_name(&w.e, sizeof w.e, "event");
    sim_name(&w.wg, sizeof w.wg, "waitgroup");
    sim_task *tasks[3];
    for (int i = 0; i < 3; i++)
        tasks[i] = sim_spawn(mix_signals_task, &w);
    sim_spawn(mix_waits_for_both, &w);
    sim_spawn(sim_canceller, tasks[0]);
    for (int i = 0; i < 3; i++)
        sim_join(tasks[i]);
    thrum_event_set(&w.e);
    sim_join_all();
    sim_check(thrum_waitgroup_trywait(&w.wg) == 0);
}

/* ------------------------------------------------------------------------------------------------
 * Barrier: of any round, all pass or none does
 */

struct mix_barrier {
    thrum_barrier_t b;
    unsigned passed;
    unsigned actions;
    bool over;
};

static int mix_action(void *arg)
{
    struct mix_barrier *w = arg;
    sim_point();
    const bool fails = sim_random(8) == 0;
    w->actions += !fails;
    return fails ? EIO : 0;
}

static void *mix_barrier_task(void *arg)
{
    struct mix_barrier *w = arg;
    for (int i = 0; i < MIX_STEPS && !w->over; i++) {
        const unsigned what = sim_random(8);
        int err = 0;
        if (what == 0)
            err = thrum_barrier_abort(&w->b);
        else if (what == 1)
            err = thrum_barrier_reset(&w->b);
        else if (what == 2)
            err = thrum_barrier_wait_until(&w->b, NULL, mix_deadline());
        else
            err = thrum_barrier_wait(&w->b, NULL);
        sim_check(err == 0 || err == EPIPE || mix_gave_up(err));
        w->passed += what >= 2 && err == 0;
    }
    return NULL;
}

SIM_TEST(mix, barrier, .tasks = 6, .schedules = 100000)
{
    struct mix_barrier w = {0};
    sim_check(thrum_barrier_init(&w.b, 2, mix_action, &w) == 0);
    sim_name(&w.b, sizeof w.b, "barrier");
    sim_task *tasks[4];
    for (int i = 0; i < 4; i++)
        tasks[i] = sim_spawn(mix_barrier_task, &w);
    sim_spawn(sim_canceller, tasks[3]);
    for (unsigned ended = 0; ended < 4;) {
        ended = 0;
        for (int i = 0; i < 4; i++)
            ended += sim_ended(tasks[i]);
        sim_yield();
        w.over = true;
        if (sim_random(4) == 0)
            sim_check(thrum_barrier_abort(&w.b) == 0); /* nobody may come to fill the round */
    }
    sim_join_all();
    /* An abort or a reset may come between an action and the end of its round, no more. */
    sim_check(w.passed % 2 == 0 && w.passed <= 2 * w.actions);
    sim_check(thrum_barrier_waiting(&w.b) == 0);
}
