/*
 * The recursive lock: owned by a strand, as deep as it locked.
 */
#include <thrum/rlock.h>

#include "sim.h"

struct rlock_world {
    thrum_rlock_t r;
    int inside;
    unsigned entered;
    unsigned timeouts;
};

static void rlock_begin(struct rlock_world *w)
{
    *w = (struct rlock_world){.r = THRUM_RLOCK_INIT};
    sim_name(&w->r, sizeof w->r, "rlock");
}

static void rlock_visit(struct rlock_world *w)
{
    sim_check(w->inside++ == 0 && thrum_rlock_depth(&w->r) == 1);
    sim_check(thrum_rlock_lock(&w->r) == 0 && thrum_rlock_trylock(&w->r) == 0);
    sim_check(thrum_rlock_depth(&w->r) == 3);
    sim_point();
    sim_check(thrum_rlock_unlock(&w->r) == 0 && thrum_rlock_unlock(&w->r) == 0);
    sim_check(thrum_rlock_owned(&w->r) && --w->inside == 0);
    w->entered++;
    sim_check(thrum_rlock_unlock(&w->r) == 0);
}

static void *rlock_locker(void *arg)
{
    struct rlock_world *w = arg;
    sim_check(!thrum_rlock_owned(&w->r) && thrum_rlock_unlock(&w->r) == EPERM);
    sim_check(thrum_rlock_lock(&w->r) == 0);
    rlock_visit(w);
    sim_check(!thrum_rlock_owned(&w->r) && thrum_rlock_depth(&w->r) == 0);
    return NULL;
}

static void *rlock_timed(void *arg)
{
    struct rlock_world *w = arg;
    const thrum_time_t deadline = sim_soon();
    const int err = thrum_rlock_lock_until(&w->r, deadline);
    sim_check(err != ECANCELED);
    if (!sim_gave_up(err, deadline))
        rlock_visit(w);
    else
        w->timeouts++;
    return NULL;
}

static void *rlock_tries(void *arg)
{
    struct rlock_world *w = arg;
    const int err = thrum_rlock_trylock(&w->r);
    sim_check(err == 0 || err == EBUSY);
    if (err == 0)
        rlock_visit(w);
    else
        sim_check(!thrum_rlock_owned(&w->r));
    return NULL;
}

static void rlock_end(struct rlock_world *w)
{
    sim_join_all();
    sim_check(!thrum_rlock_locked(&w->r) && thrum_rlock_trylock(&w->r) == 0);
    sim_check(thrum_rlock_unlock(&w->r) == 0 && thrum_rlock_unlock(&w->r) == EPERM);
}

SIM_TEST(rlock, excludes, .tasks = 3, .dfs_bound = 2)
{
    struct rlock_world w;
    rlock_begin(&w);
    sim_spawn(rlock_locker, &w);
    sim_spawn(rlock_locker, &w);
    rlock_locker(&w);
    rlock_end(&w);
    sim_check(w.entered == 3);
}

SIM_TEST(rlock, tries_and_timeouts_among_lockers, .tasks = 5)
{
    struct rlock_world w;
    rlock_begin(&w);
    sim_spawn(rlock_timed, &w);
    sim_spawn(rlock_locker, &w);
    sim_spawn(rlock_tries, &w);
    sim_spawn(rlock_locker, &w);
    rlock_timed(&w);
    rlock_end(&w);
}

/* The last user of an object that the lock lies in frees it. */
struct rlock_object {
    thrum_rlock_t r;
    int users;
};

static void *rlock_user(void *arg)
{
    struct rlock_object *object = arg;
    sim_check(thrum_rlock_lock(&object->r) == 0 && thrum_rlock_lock(&object->r) == 0);
    const bool last = --object->users == 0;
    sim_check(thrum_rlock_unlock(&object->r) == 0 && thrum_rlock_unlock(&object->r) == 0);
    if (last)
        sim_poison(object, sizeof *object);
    return NULL;
}

SIM_TEST(rlock, the_last_user_frees_it, .tasks = 3)
{
    struct rlock_object object = {THRUM_RLOCK_INIT, 3};
    sim_name(&object, sizeof object, "object");
    sim_spawn(rlock_user, &object);
    sim_spawn(rlock_user, &object);
    rlock_user(&object);
    sim_join_all();
}

/* ------------------------------------------------------------------------------------------------
 * Checked builds: owners that wait for each other in a circle
 */

struct rlock_ring {
    thrum_rlock_t r[3];
    unsigned tasks;
    unsigned next;
    unsigned refused;
    unsigned entered;
};

/* Each takes one lock and then the next one's; who would close the circle is told so. */
static void *rlock_takes_two(void *arg)
{
    struct rlock_ring *ring = arg;
    const unsigned mine = ring->next++;
    thrum_rlock_t *first = &ring->r[mine];
    thrum_rlock_t *second = &ring->r[(mine + 1) % ring->tasks];
    sim_check(thrum_rlock_lock(first) == 0);
    const int err = thrum_rlock_lock(second);
    sim_check(err == 0 || err == EDEADLK);
    if (err == 0)
        sim_check(thrum_rlock_unlock(second) == 0);
    ring->refused += err != 0;
    ring->entered += err == 0;
    sim_check(thrum_rlock_unlock(first) == 0);
    return NULL;
}

static void rlock_circle(unsigned tasks)
{
    if (!sim_checked())
        return; /* it would deadlock */
    struct rlock_ring ring = {.tasks = tasks};
    sim_name(&ring, sizeof ring, "rlocks");
    for (unsigned i = 0; i < tasks; i++)
        sim_check(thrum_rlock_init(&ring.r[i]) == 0);
    for (unsigned i = 1; i < tasks; i++)
        sim_spawn(rlock_takes_two, &ring);
    rlock_takes_two(&ring);
    sim_join_all();
    sim_check(ring.refused <= 1 && ring.entered + ring.refused == tasks);
}

SIM_TEST(rlock, a_circle_of_two_is_refused, .tasks = 2, .dfs_bound = 3)
{
    rlock_circle(2);
}

SIM_TEST(rlock, a_circle_of_three_is_refused, .tasks = 3, .dfs_bound = 2)
{
    rlock_circle(3);
}
