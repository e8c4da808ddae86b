/*
 * The condition variable: a signal reaches exactly one who waits, whoever else gives up meanwhile,
 * and those it moves to the mutex's queue come out of that.
 */
#include <thrum/cond.h>

#include "sim.h"

struct cond_world {
    thrum_cond_t c;
    thrum_mutex_t m;
    int inside;
    unsigned items;
    unsigned signals;
    unsigned woken;
};

struct cond_waiter {
    struct cond_world *world;
    thrum_time_t deadline;
    int err;
};

static void cond_begin(struct cond_world *w)
{
    *w = (struct cond_world){.c = THRUM_COND_INIT, .m = THRUM_MUTEX_INIT};
    sim_name(&w->c, sizeof w->c, "cond");
    sim_name(&w->m, sizeof w->m, "mutex");
}

static void cond_end(struct cond_world *w)
{
    sim_join_all();
    sim_check(w->c.thrum_waiters == 0);
    sim_check(w->woken <= w->signals);
    sim_check(thrum_mutex_trylock(&w->m) == 0 && thrum_mutex_unlock(&w->m) == 0);
    sim_check(w->m.thrum_state == 0);
}

static void cond_enter(struct cond_world *w)
{
    sim_check(w->inside++ == 0);
}

static void cond_exit(struct cond_world *w)
{
    sim_check(--w->inside == 0);
}

static void cond_lock(struct cond_world *w)
{
    sim_check(thrum_mutex_lock(&w->m) == 0);
    cond_enter(w);
}

static void cond_unlock(struct cond_world *w)
{
    cond_exit(w);
    sim_check(thrum_mutex_unlock(&w->m) == 0);
}

/* Never spurious: every 0 is somebody's signal. */
static int cond_wait(struct cond_world *w, thrum_time_t deadline)
{
    cond_exit(w);
    const int err = thrum_cond_wait_until(&w->c, &w->m, deadline);
    cond_enter(w);
    if (!sim_gave_up(err, deadline))
        sim_check(++w->woken <= w->signals);
    return err;
}

static void cond_signal(struct cond_world *w)
{
    w->signals++;
    thrum_cond_signal(&w->c);
}

static void *cond_waits(void *arg)
{
    struct cond_waiter *v = arg;
    cond_lock(v->world);
    v->err = cond_wait(v->world, v->deadline);
    sim_point();
    cond_unlock(v->world);
    return NULL;
}

/* ------------------------------------------------------------------------------------------------
 * Producers and consumers
 */

static void *cond_consumes(void *arg)
{
    struct cond_world *w = arg;
    cond_lock(w);
    while (w->items == 0)
        cond_wait(w, THRUM_FOREVER);
    w->items--;
    cond_unlock(w);
    return NULL;
}

static void *cond_produces(void *arg)
{
    struct cond_world *w = arg;
    cond_lock(w);
    w->items++;
    cond_signal(w);
    cond_unlock(w);
    return NULL;
}

static void *cond_produces_and_signals_outside(void *arg)
{
    struct cond_world *w = arg;
    cond_lock(w);
    w->items++;
    cond_unlock(w);
    cond_signal(w);
    return NULL;
}

SIM_TEST(cond, signal_against_wait, .tasks = 2, .dfs_bound = 4)
{
    struct cond_world w;
    cond_begin(&w);
    sim_spawn(cond_consumes, &w);
    cond_produces(&w);
    cond_end(&w);
}

SIM_TEST(cond, signal_outside_against_wait, .tasks = 2, .dfs_bound = 4)
{
    struct cond_world w;
    cond_begin(&w);
    sim_spawn(cond_consumes, &w);
    cond_produces_and_signals_outside(&w);
    cond_end(&w);
}

SIM_TEST(cond, producers_and_consumers, .tasks = 6)
{
    struct cond_world w;
    cond_begin(&w);
    sim_spawn(cond_consumes, &w);
    sim_spawn(cond_produces, &w);
    sim_spawn(cond_consumes, &w);
    sim_spawn(cond_consumes, &w);
    sim_spawn(cond_produces_and_signals_outside, &w);
    cond_produces(&w);
    cond_end(&w);
    sim_check(w.items == 0);
}

/* ------------------------------------------------------------------------------------------------
 * Giving up
 */

/* Of two that wait, one is signalled. When the timed one did not take the signal, the other did: it
 * waits already when the signal comes. */
SIM_TEST(cond, who_gives_up_swallows_no_signal, .tasks = 4, .schedules = 100000)
{
    struct cond_world w;
    cond_begin(&w);
    struct cond_waiter victim = {&w, sim_now() + 20 + sim_random(40), -1};
    struct cond_waiter patient = {&w, THRUM_FOREVER, -1};
    const bool cancelled = sim_random(2) == 0;
    sim_spawn(cond_waits, &patient);
    sim_await_parked(&w.c, 1);
    sim_task *first = sim_spawn(cond_waits, &victim);
    while (victim.err == -1 && thi_park_count(&w.c) < 2)
        sim_yield();
    if (cancelled)
        sim_spawn(sim_canceller, first);
    const bool locked = sim_random(2) == 0;
    if (locked)
        cond_lock(&w);
    cond_signal(&w);
    if (locked)
        cond_unlock(&w);
    sim_join(first);
    if (victim.err == 0)
        cond_signal(&w);
    cond_end(&w);
    sim_check(patient.err == 0);
}

/* A sleeper that was moved to the mutex's queue can no longer time out. */
SIM_TEST(cond, moved_against_timeout, .tasks = 3, .dfs_bound = 2, .schedules = 100000)
{
    struct cond_world w;
    cond_begin(&w);
    struct cond_waiter victim = {&w, sim_now() + 20, -1};
    sim_spawn(cond_waits, &victim);
    while (thi_park_count(&w.c) == 0 && victim.err == -1)
        sim_yield();
    cond_lock(&w);
    const bool there = w.c.thrum_waiters != 0;
    cond_signal(&w);
    sim_check(w.c.thrum_waiters == 0);
    sim_point();
    cond_unlock(&w);
    cond_end(&w);
    sim_check(victim.err == 0 || victim.err == ETIMEDOUT);
    sim_check(there || victim.err == ETIMEDOUT);
}

SIM_TEST(cond, signals_against_timeouts, .tasks = 6)
{
    struct cond_world w;
    cond_begin(&w);
    struct cond_waiter v[4] = {{&w, sim_now() + sim_random(40), -1},
                               {&w, sim_now() + sim_random(40), -1},
                               {&w, sim_now() + sim_random(40), -1},
                               {&w, sim_now() + sim_random(40), -1}};
    sim_task *victim = sim_spawn(cond_waits, &v[0]);
    for (int i = 1; i < 4; i++)
        sim_spawn(cond_waits, &v[i]);
    sim_spawn(sim_canceller, victim);
    cond_signal(&w);
    cond_lock(&w);
    cond_signal(&w);
    cond_unlock(&w);
    cond_end(&w);
}

static bool cond_has_items(void *arg)
{
    return ((struct cond_world *)arg)->items != 0;
}

static void *cond_waits_for_items(void *arg)
{
    struct cond_waiter *v = arg;
    struct cond_world *w = v->world;
    sim_check(thrum_mutex_lock(&w->m) == 0);
    v->err = thrum_cond_wait_for(&w->c, &w->m, cond_has_items, w, v->deadline);
    sim_check(v->err != 0 || w->items-- != 0);
    sim_check(thrum_mutex_unlock(&w->m) == 0);
    return NULL;
}

SIM_TEST(cond, waiting_for_something_true, .tasks = 4)
{
    struct cond_world w;
    cond_begin(&w);
    struct cond_waiter v[2] = {{&w, THRUM_FOREVER, -1}, {&w, sim_soon(), -1}};
    sim_spawn(cond_waits_for_items, &v[0]);
    sim_task *timed = sim_spawn(cond_waits_for_items, &v[1]);
    cond_produces(&w);
    sim_join(timed);
    if (v[1].err == 0)
        cond_produces(&w);
    else if (w.items != 0) /* the timed one may have been woken for it, too late */
        thrum_cond_signal(&w.c);
    cond_end(&w);
    sim_check(v[0].err == 0 && (v[1].err == 0 || v[1].err == ETIMEDOUT));
}

/* ------------------------------------------------------------------------------------------------
 * Broadcast
 */

static void cond_wait_in_three(struct cond_world *w, struct cond_waiter *v)
{
    for (int i = 0; i < 3; i++) {
        v[i] = (struct cond_waiter){w, THRUM_FOREVER, -1};
        sim_spawn(cond_waits, &v[i]);
    }
    sim_await_parked(&w->c, 3);
}

SIM_TEST(cond, broadcast_wakes_all, .tasks = 4)
{
    struct cond_world w;
    struct cond_waiter v[3];
    cond_begin(&w);
    cond_wait_in_three(&w, v);
    const bool locked = sim_random(2) == 0;
    if (locked)
        cond_lock(&w);
    w.signals = 3;
    thrum_cond_broadcast(&w.c);
    if (locked)
        cond_unlock(&w);
    cond_end(&w);
    sim_check(v[0].err + v[1].err + v[2].err == 0);
}

SIM_TEST(cond, it_may_be_freed_after_a_broadcast, .tasks = 4)
{
    struct cond_world w;
    struct cond_waiter v[3];
    cond_begin(&w);
    cond_wait_in_three(&w, v);
    cond_lock(&w);
    w.signals = 3;
    thrum_cond_broadcast(&w.c);
    sim_poison(&w.c, sizeof w.c); /* while they still lock the mutex again */
    cond_unlock(&w);
    sim_join_all();
    sim_check(v[0].err + v[1].err + v[2].err == 0);
}

static void *cond_waits_and_frees(void *arg)
{
    struct cond_waiter *v = arg;
    cond_waits(v);
    sim_check(v->err == 0);
    sim_poison(&v->world->c, sizeof v->world->c);
    return NULL;
}

SIM_TEST(cond, whom_it_wakes_may_free_it, .tasks = 2, .dfs_bound = 3)
{
    struct cond_world w;
    cond_begin(&w);
    struct cond_waiter v = {&w, THRUM_FOREVER, -1};
    sim_spawn(cond_waits_and_frees, &v);
    sim_await_parked(&w.c, 1);
    cond_signal(&w);
    sim_join_all();
}

SIM_TEST(cond, whom_a_broadcast_wakes_may_free_it, .tasks = 3, .dfs_bound = 3)
{
    struct cond_world w;
    cond_begin(&w);
    struct cond_waiter v = {&w, THRUM_FOREVER, -1};
    struct cond_waiter timed = {&w, sim_soon(), -1};
    sim_task *other = sim_spawn(cond_waits, &timed);
    sim_spawn(cond_waits_and_frees, &v);
    while (timed.err == -1)
        sim_yield();
    sim_join(other);
    sim_await_parked(&w.c, 1);
    w.signals = 1;
    thrum_cond_broadcast(&w.c);
    sim_join_all();
}

/* Whoever is woken waits again at once: the broadcast wakes those who waited before it, and
 * ends. */
static void *cond_waits_again_and_again(void *arg)
{
    struct cond_world *w = arg;
    sim_check(thrum_mutex_lock(&w->m) == 0);
    while (w->items == 0)
        sim_check(thrum_cond_wait(&w->c, &w->m) == 0);
    sim_check(thrum_mutex_unlock(&w->m) == 0);
    return NULL;
}

static void *cond_broadcasts(void *arg)
{
    struct cond_world *w = arg;
    sim_await_parked(&w->c, 2);
    thrum_cond_broadcast(&w->c);
    sim_check(thrum_mutex_lock(&w->m) == 0);
    w->items = 1;
    sim_check(thrum_mutex_unlock(&w->m) == 0);
    thrum_cond_broadcast(&w->c);
    return NULL;
}

SIM_TEST(cond, a_broadcast_ends, .tasks = 4)
{
    struct cond_world w;
    cond_begin(&w);
    sim_spawn(cond_waits_again_and_again, &w);
    sim_spawn(cond_waits_again_and_again, &w);
    sim_spawn(cond_broadcasts, &w);
    cond_end(&w);
}

/* ------------------------------------------------------------------------------------------------
 * Two mutexes, and a recursive lock
 */

static void *cond_waits_with_another(void *arg)
{
    struct cond_world *w = arg;
    thrum_mutex_t mine = THRUM_MUTEX_INIT;
    sim_check(thrum_mutex_lock(&mine) == 0);
    sim_check(thrum_cond_wait(&w->c, &mine) == 0);
    sim_check(++w->woken <= w->signals);
    sim_check(thrum_mutex_unlock(&mine) == 0);
    return NULL;
}

SIM_TEST(cond, waiters_with_different_mutexes, .tasks = 4)
{
    struct cond_world w;
    cond_begin(&w);
    struct cond_waiter v = {&w, THRUM_FOREVER, -1};
    sim_spawn(cond_waits_with_another, &w);
    sim_spawn(cond_waits, &v);
    sim_spawn(cond_waits_with_another, &w);
    sim_await_parked(&w.c, 3);
    cond_lock(&w);
    for (int i = 0; i < 3; i++)
        cond_signal(&w);
    cond_unlock(&w);
    cond_end(&w);
    sim_check(w.woken == 3);
}

struct cond_recursive {
    thrum_cond_t c;
    thrum_rlock_t r;
    unsigned items;
};

static void *cond_consumes_recursively(void *arg)
{
    struct cond_recursive *w = arg;
    sim_check(thrum_rlock_lock(&w->r) == 0 && thrum_rlock_lock(&w->r) == 0);
    while (w->items == 0)
        sim_check(thrum_cond_wait_rlock(&w->c, &w->r) == 0);
    w->items--;
    sim_check(thrum_rlock_depth(&w->r) == 2);
    sim_check(thrum_rlock_unlock(&w->r) == 0 && thrum_rlock_unlock(&w->r) == 0);
    sim_check(thrum_rlock_unlock(&w->r) == EPERM);
    return NULL;
}

SIM_TEST(cond, a_recursive_lock_comes_back_as_deep_as_it_was, .tasks = 3)
{
    struct cond_recursive w = {THRUM_COND_INIT, THRUM_RLOCK_INIT, 0};
    sim_name(&w, sizeof w, "cond, rlock");
    sim_spawn(cond_consumes_recursively, &w);
    sim_spawn(cond_consumes_recursively, &w);
    for (int i = 0; i < 2; i++) {
        sim_check(thrum_rlock_lock(&w.r) == 0);
        w.items++;
        thrum_cond_signal(&w.c);
        sim_check(thrum_rlock_unlock(&w.r) == 0);
    }
    sim_join_all();
    sim_check(w.items == 0 && !thrum_rlock_locked(&w.r));
}
