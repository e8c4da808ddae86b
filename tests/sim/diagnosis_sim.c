/*
 * The diagnosis looks on while strands come, wait and go: it disturbs nobody, and what it reports has
 * been so.
 */
#include <stdio.h>

#include <thrum/cond.h>
#include <thrum/diagnosis.h>
#include <thrum/rlock.h>
#include <thrum/rwlock.h>

#include "sim.h"

struct diagnosis_pair {
    thrum_rlock_t locks[2];
    unsigned holding[2]; /* bits: which locks the two strands hold or wait for */
    unsigned next;
    bool circle; /* there has been one */
};

/* One takes them in this order, the other in that, with deadlines, so that a circle opens again. */
static void *diagnosis_takes_both(void *arg)
{
    struct diagnosis_pair *pair = arg;
    const unsigned mine = pair->next++;
    thrum_rlock_t *first = &pair->locks[mine];
    thrum_rlock_t *second = &pair->locks[1 - mine];
    const thrum_time_t deadline = sim_soon();
    sim_check(thrum_rlock_lock(first) == 0);
    pair->holding[mine] = 1;
    pair->circle |= pair->holding[1 - mine] != 0;
    const int err = thrum_rlock_lock_until(second, deadline);
    sim_check(err == EDEADLK || err == ETIMEDOUT || err == 0);
    if (err == 0)
        sim_check(thrum_rlock_unlock(second) == 0);
    pair->holding[mine] = 0;
    sim_check(thrum_rlock_unlock(first) == 0);
    return NULL;
}

static FILE *diagnosis_sink(void)
{
    static FILE *sink;
    if (sink == NULL)
        sink = fopen("/dev/null", "w");
    return sink;
}

SIM_TEST(diagnosis, a_circle_is_reported_while_it_is_there, .tasks = 3, .schedules = 20000)
{
    struct diagnosis_pair pair = {{THRUM_RLOCK_INIT, THRUM_RLOCK_INIT}, {0, 0}, 0, false};
    sim_name(&pair, sizeof pair, "rlocks");
    sim_task *tasks[2] = {sim_spawn(diagnosis_takes_both, &pair),
                          sim_spawn(diagnosis_takes_both, &pair)};
    while (!sim_ended(tasks[0]) || !sim_ended(tasks[1])) {
        const size_t circles = thrum_deadlock_report(diagnosis_sink());
        sim_check(circles == 0 || (circles == 1 && pair.circle));
        sim_yield();
    }
    sim_join_all();
    sim_check(thrum_deadlock_report(NULL) == 0);
    /* Checked builds remember the order of locks until they are destroyed; the next schedule may not
     * find it. */
    thrum_rlock_destroy(&pair.locks[0]);
    thrum_rlock_destroy(&pair.locks[1]);
}

struct diagnosis_world {
    thrum_mutex_t m;
    thrum_cond_t c;
    thrum_rwlock_t l;
};

static void *diagnosis_waits_a_lot(void *arg)
{
    struct diagnosis_world *w = arg;
    sim_check(thrum_mutex_lock(&w->m) == 0);
    sim_gave_up(thrum_cond_wait_until(&w->c, &w->m, sim_soon()), 0);
    thrum_cond_signal(&w->c);
    sim_check(thrum_mutex_unlock(&w->m) == 0);
    sim_check(thrum_rwlock_wrlock(&w->l) == 0);
    sim_point();
    sim_check(thrum_rwlock_downgrade(&w->l) == 0);
    sim_point();
    sim_check(thrum_rwlock_rdunlock(&w->l) == 0);
    return NULL;
}

SIM_TEST(diagnosis, a_picture_disturbs_nobody, .tasks = 5, .schedules = 20000)
{
    struct diagnosis_world w = {THRUM_MUTEX_INIT, THRUM_COND_INIT, THRUM_RWLOCK_INIT};
    sim_name(&w, sizeof w, "locks");
    sim_task *tasks[4];
    for (int i = 0; i < 4; i++)
        tasks[i] = sim_spawn(diagnosis_waits_a_lot, &w);
    for (int i = 0; i < 3; i++) {
        thrum_dump_waiters(diagnosis_sink());
        sim_check(thrum_deadlock_report(diagnosis_sink()) == 0);
        sim_join(tasks[i]);
    }
    sim_join_all();
    thrum_mutex_destroy(&w.m);
    thrum_rwlock_destroy(&w.l);
}
