/*
 * The mutex: exclusion, no lost wake-up, timeouts, the watcher and the hand-over, and freeing it as
 * soon as it is had.
 */
#include <thrum/mutex.h>

#include "sim.h"

struct mutex_world {
    thrum_mutex_t m;
    int inside;
    int entered;
    int timeouts;
};

static void mutex_visit(struct mutex_world *w)
{
    sim_check(w->inside == 0);
    w->inside++;
    sim_point();
    w->inside--;
    w->entered++;
}

static void *mutex_locker(void *arg)
{
    struct mutex_world *w = arg;
    sim_check(thrum_mutex_lock(&w->m) == 0);
    mutex_visit(w);
    sim_check(thrum_mutex_unlock(&w->m) == 0);
    return NULL;
}

static void *mutex_locker_twice(void *arg)
{
    mutex_locker(arg);
    return mutex_locker(arg);
}

static void *mutex_timed(void *arg)
{
    struct mutex_world *w = arg;
    const thrum_time_t deadline = sim_soon();
    const int err = thrum_mutex_lock_until(&w->m, deadline);
    sim_check(err != ECANCELED);
    if (sim_gave_up(err, deadline)) {
        w->timeouts++;
        return NULL;
    }
    mutex_visit(w);
    sim_check(thrum_mutex_unlock(&w->m) == 0);
    return NULL;
}

static void *mutex_trier(void *arg)
{
    struct mutex_world *w = arg;
    if (thrum_mutex_trylock(&w->m) != 0)
        return NULL;
    mutex_visit(w);
    sim_check(thrum_mutex_unlock(&w->m) == 0);
    return NULL;
}

static void mutex_begin(struct mutex_world *w)
{
    *w = (struct mutex_world){.m = THRUM_MUTEX_INIT};
    sim_name(&w->m, sizeof w->m, "mutex");
}

/* Whatever happened, it is free and has no waiter's mark that an unlock would stumble over. */
static void mutex_end(struct mutex_world *w)
{
    sim_join_all();
    sim_check(!thrum_mutex_locked(&w->m));
    sim_check(thrum_mutex_trylock(&w->m) == 0);
    sim_check(thrum_mutex_unlock(&w->m) == 0);
    sim_check(thrum_mutex_unlock(&w->m) == EPERM);
    sim_check(w->m.thrum_state == 0);
}

SIM_TEST(mutex, excludes, .tasks = 4, .dfs_bound = 2)
{
    struct mutex_world w;
    mutex_begin(&w);
    sim_spawn(mutex_locker_twice, &w);
    sim_spawn(mutex_locker_twice, &w);
    mutex_locker(&w);
    mutex_end(&w);
    sim_check(w.entered == 5);
}

SIM_TEST(mutex, unlock_against_park, .tasks = 2, .dfs_bound = 4)
{
    struct mutex_world w;
    mutex_begin(&w);
    sim_check(thrum_mutex_lock(&w.m) == 0);
    sim_spawn(mutex_locker, &w);
    sim_check(thrum_mutex_unlock(&w.m) == 0);
    mutex_end(&w);
    sim_check(w.entered == 1);
}

SIM_TEST(mutex, a_timeout_takes_nothing_away, .tasks = 4)
{
    struct mutex_world w;
    mutex_begin(&w);
    sim_check(thrum_mutex_lock(&w.m) == 0);
    sim_spawn(mutex_timed, &w);
    sim_spawn(mutex_locker, &w);
    sim_spawn(mutex_timed, &w);
    mutex_visit(&w);
    sim_check(thrum_mutex_unlock(&w.m) == 0);
    mutex_end(&w);
    sim_check(w.entered + w.timeouts == 4);
}

SIM_TEST(mutex, timeout_against_unlock, .tasks = 2, .dfs_bound = 4)
{
    struct mutex_world w;
    mutex_begin(&w);
    sim_check(thrum_mutex_lock(&w.m) == 0);
    sim_spawn(mutex_timed, &w);
    sim_check(thrum_mutex_unlock(&w.m) == 0);
    mutex_end(&w);
    sim_check(w.entered + w.timeouts == 1);
}

SIM_TEST(mutex, locking_is_not_cancellable, .tasks = 4)
{
    struct mutex_world w;
    mutex_begin(&w);
    sim_check(thrum_mutex_lock(&w.m) == 0);
    sim_task *victim = sim_spawn(mutex_locker, &w);
    sim_spawn(sim_canceller, victim);
    sim_spawn(mutex_timed, &w);
    sim_check(thrum_mutex_unlock(&w.m) == 0);
    mutex_end(&w);
    sim_check(w.entered + w.timeouts == 2);
}

SIM_TEST(mutex, tries_and_timeouts_among_lockers, .tasks = 5)
{
    struct mutex_world w;
    mutex_begin(&w);
    sim_spawn(mutex_locker, &w);
    sim_spawn(mutex_trier, &w);
    sim_spawn(mutex_timed, &w);
    sim_spawn(mutex_locker, &w);
    mutex_timed(&w);
    mutex_end(&w);
}

/* Whenever the others run, it has the mutex, or waits for it. */
static void *mutex_hog(void *arg)
{
    struct mutex_world *w = arg;
    sim_check(thrum_mutex_lock(&w->m) == 0);
    while (w->entered == 0) {
        sim_yield();
        sim_cling(true);
        sim_check(thrum_mutex_unlock(&w->m) == 0);
        sim_check(thrum_mutex_lock(&w->m) == 0);
        sim_cling(false);
    }
    sim_check(thrum_mutex_unlock(&w->m) == 0);
    return NULL;
}

/* The waiter gets in although the hog comes first again and again. */
SIM_TEST(mutex, a_hog_lets_the_waiter_in, .tasks = 3)
{
    struct mutex_world w;
    mutex_begin(&w);
    sim_spawn(mutex_hog, &w);
    sim_spawn(mutex_locker, &w);
    mutex_end(&w);
}

/* The last user of an object locks the mutex that lies in it, and frees it. */
struct mutex_object {
    thrum_mutex_t m;
    int users;
};

static void *mutex_user(void *arg)
{
    struct mutex_object *object = arg;
    sim_check(thrum_mutex_lock(&object->m) == 0);
    const bool last = --object->users == 0;
    sim_check(thrum_mutex_unlock(&object->m) == 0);
    if (last)
        sim_poison(object, sizeof *object);
    return NULL;
}

SIM_TEST(mutex, the_last_user_frees_it, .tasks = 4)
{
    struct mutex_object object = {THRUM_MUTEX_INIT, 4};
    sim_name(&object, sizeof object, "object");
    sim_spawn(mutex_user, &object);
    sim_spawn(mutex_user, &object);
    sim_spawn(mutex_user, &object);
    mutex_user(&object);
    sim_join_all();
}

SIM_TEST(mutex, two_users_and_free, .tasks = 2, .dfs_bound = 4)
{
    struct mutex_object object = {THRUM_MUTEX_INIT, 2};
    sim_name(&object, sizeof object, "object");
    sim_spawn(mutex_user, &object);
    mutex_user(&object);
    sim_join_all();
}

/* Two mutexes that may share a bucket: an unlock of one may not wake the other's waiter instead. */
static void *mutex_both(void *arg)
{
    struct mutex_world *w = arg;
    for (int i = 0; i < 2; i++)
        mutex_locker(&w[i]);
    return NULL;
}

SIM_TEST(mutex, two_mutexes_in_one_bucket, .tasks = 4)
{
    struct mutex_world w[2];
    mutex_begin(&w[0]);
    mutex_begin(&w[1]);
    sim_spawn(mutex_both, w);
    sim_spawn(mutex_both, w);
    sim_spawn(mutex_locker_twice, &w[1]);
    mutex_both(w);
    sim_join_all();
    mutex_end(&w[0]);
    mutex_end(&w[1]);
    sim_check(w[0].entered == 3 && w[1].entered == 5);
}
