/*
 * The child of a fork: the strand that forked goes on with what it had locked, beside strands of the child; and
 * what a strand held that is not there any more says so, and is waited for by nobody.
 *
 * The simulation does not fork. What a fork changes is the mark of the process; whoever is to be gone has ended.
 */
#include <thrum/mutex.h>
#include <thrum/once.h>
#include <thrum/rlock.h>
#include <thrum/rwlock.h>

#include "sim.h"
#include "sync/sync.h"

struct fork_world {
    thrum_mutex_t m;
    thrum_rlock_t r;
    thrum_rwlock_t l;
    thrum_once_t o;
    uint32_t mark; /* the process's before the fork */
    uint32_t process;
};

static void fork_begin(struct fork_world *w)
{
    w->mark = thi_fork_mark;
    w->process = thi_process;
    sim_name(w, sizeof *w, "world");
}

static void fork_now(void)
{
    thi_fork_mark = thi_fork_mark % 15u + 1u;
    thi_process = thi_fork_mark << THI_PROCESS_MARK_SHIFT | THI_PROCESS_CHILD | THI_PROCESS_MANY;
    thi_current.guess = 0;
}

static void fork_end(const struct fork_world *w)
{
    sim_join_all();
    thi_fork_mark = w->mark;
    thi_process = w->process;
}

static void *fork_locks_mutex(void *arg)
{
    struct fork_world *w = arg;
    const thrum_time_t deadline = sim_random(3) == 0 ? sim_soon() : THRUM_FOREVER;
    const int err = thrum_mutex_lock_until(&w->m, deadline);
    if (!sim_gave_up(err, deadline))
        sim_check(thrum_mutex_unlock(&w->m) == 0);
    return NULL;
}

SIM_TEST(fork, who_forked_unlocks_a_mutex, .tasks = 3, .dfs_bound = 2, .schedules = 30000)
{
    struct fork_world w = {.m = THRUM_MUTEX_INIT};
    fork_begin(&w);
    sim_check(thrum_mutex_lock(&w.m) == 0);
    fork_now();
    sim_spawn(fork_locks_mutex, &w);
    sim_spawn(fork_locks_mutex, &w);
    sim_check(thrum_mutex_unlock(&w.m) == 0);
    sim_check(thrum_mutex_lock(&w.m) == 0 && thrum_mutex_unlock(&w.m) == 0);
    fork_end(&w);
}

static void *fork_locks_rlock(void *arg)
{
    struct fork_world *w = arg;
    sim_check(thrum_rlock_lock(&w->r) == 0 && thrum_rlock_unlock(&w->r) == 0);
    return NULL;
}

SIM_TEST(fork, who_forked_unlocks_a_recursive_lock, .tasks = 2, .schedules = 20000)
{
    struct fork_world w = {.r = THRUM_RLOCK_INIT};
    fork_begin(&w);
    sim_check(thrum_rlock_lock(&w.r) == 0 && thrum_rlock_lock(&w.r) == 0);
    fork_now();
    sim_spawn(fork_locks_rlock, &w);
    sim_check(thrum_rlock_unlock(&w.r) == 0 && thrum_rlock_unlock(&w.r) == 0);
    fork_end(&w);
}

static void *fork_reads(void *arg)
{
    struct fork_world *w = arg;
    sim_check(thrum_rwlock_rdlock(&w->l) == 0 && thrum_rwlock_rdunlock(&w->l) == 0);
    return NULL;
}

static void *fork_writes(void *arg)
{
    struct fork_world *w = arg;
    sim_check(thrum_rwlock_wrlock(&w->l) == 0 && thrum_rwlock_wrunlock(&w->l) == 0);
    return NULL;
}

SIM_TEST(fork, who_forked_ends_writing, .tasks = 3, .dfs_bound = 2, .schedules = 30000)
{
    struct fork_world w = {.l = THRUM_RWLOCK_INIT};
    fork_begin(&w);
    sim_check(thrum_rwlock_wrlock(&w.l) == 0);
    fork_now();
    sim_spawn(fork_reads, &w);
    sim_spawn(fork_writes, &w);
    if (sim_random(2) == 0) {
        sim_check(thrum_rwlock_downgrade(&w.l) == 0);
        sim_check(thrum_rwlock_rdunlock(&w.l) == 0);
    } else {
        sim_check(thrum_rwlock_wrunlock(&w.l) == 0);
    }
    fork_end(&w);
}

static int fork_init_again(void *arg)
{
    (void)arg;
    return 0;
}

static void *fork_calls_once(void *arg)
{
    struct fork_world *w = arg;
    sim_check(thrum_once(&w->o, fork_init_again, NULL) == 0);
    return NULL;
}

static int fork_init_that_forks(void *arg)
{
    fork_now();
    sim_spawn(fork_calls_once, arg);
    sim_spawn(fork_calls_once, arg);
    return sim_random(2) == 0 ? EBUSY : 0;
}

SIM_TEST(fork, an_init_that_forked_ends, .tasks = 3, .dfs_bound = 2, .schedules = 30000)
{
    struct fork_world w = {.o = THRUM_ONCE_INIT};
    fork_begin(&w);
    const int err = thrum_once(&w.o, fork_init_that_forks, &w);
    sim_check(err == 0 || err == EBUSY);
    fork_end(&w);
    sim_check(thrum_once_done(&w.o));
}

static void *fork_takes_all(void *arg)
{
    struct fork_world *w = arg;
    sim_check(thrum_mutex_lock(&w->m) == 0 && thrum_rwlock_wrlock(&w->l) == 0);
    return NULL;
}

SIM_TEST(fork, what_the_others_held_is_lost, .tasks = 2, .schedules = 5000)
{
    struct fork_world w = {.m = THRUM_MUTEX_INIT, .l = THRUM_RWLOCK_INIT};
    fork_begin(&w);
    sim_join(sim_spawn(fork_takes_all, &w));
    fork_now();
    sim_check(thrum_mutex_lock(&w.m) == EOWNERDEAD && thrum_rwlock_wrlock(&w.l) == EOWNERDEAD);
    sim_check(thrum_rwlock_rdlock(&w.l) == EOWNERDEAD);
    fork_end(&w);
}
