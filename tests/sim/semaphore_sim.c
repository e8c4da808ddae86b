/*
 * The semaphore: permits are neither lost nor made, whoever gives up, and it may be freed by whom
 * it lets go.
 */
#include <thrum/semaphore.h>

#include "sim.h"

struct sem_taker {
    thrum_sem_t *sem;
    thrum_time_t deadline;
    int err;
};

static void *sem_takes(void *arg)
{
    struct sem_taker *t = arg;
    t->err = thrum_sem_acquire_until(t->sem, t->deadline);
    sim_gave_up(t->err, t->deadline);
    return NULL;
}

static void *sem_posts(void *arg)
{
    sim_check(thrum_sem_release(arg) == 0);
    return NULL;
}

SIM_TEST(sem, a_post_is_not_lost, .tasks = 2, .dfs_bound = 5)
{
    thrum_sem_t sem = THRUM_SEM_INIT(0);
    struct sem_taker taker = {&sem, THRUM_FOREVER, -1};
    sim_name(&sem, sizeof sem, "sem");
    sim_spawn(sem_takes, &taker);
    sim_check(thrum_sem_release(&sem) == 0);
    sim_join_all();
    sim_check(taker.err == 0 && thrum_sem_value(&sem) == 0);
}

SIM_TEST(sem, timeout_never_swallows_a_permit, .tasks = 3, .dfs_bound = 3)
{
    thrum_sem_t sem = THRUM_SEM_INIT(0);
    struct sem_taker timed = {&sem, sim_soon(), -1};
    struct sem_taker patient = {&sem, THRUM_FOREVER, -1};
    sim_name(&sem, sizeof sem, "sem");
    sim_task *first = sim_spawn(sem_takes, &timed);
    sim_spawn(sem_takes, &patient);
    sim_check(thrum_sem_release(&sem) == 0);
    sim_join(first);
    if (timed.err == 0)
        sim_check(thrum_sem_release(&sem) == 0); /* patient is owed one more */
    sim_join_all();
    sim_check(timed.err == 0 || timed.err == ETIMEDOUT);
    sim_check(patient.err == 0 && thrum_sem_value(&sem) == 0);
}

/* Given back before the deadline, to nobody else: it is not left lying there. */
SIM_TEST(sem, a_permit_that_is_there_is_taken, .tasks = 2, .dfs_bound = 3)
{
    thrum_sem_t sem = THRUM_SEM_INIT(0);
    struct sem_taker timed = {&sem, sim_soon(), -1};
    sim_name(&sem, sizeof sem, "sem");
    sim_spawn(sem_takes, &timed);
    sim_check(thrum_sem_release(&sem) == 0);
    const bool in_time = sim_now() < timed.deadline;
    sim_join_all();
    sim_check(!in_time || timed.err == 0);
    sim_check(thrum_sem_value(&sem) == (timed.err == 0 ? 0 : 1));
}

SIM_TEST(sem, timeout_against_post_against_cancel, .tasks = 4, .schedules = 100000)
{
    thrum_sem_t sem = THRUM_SEM_INIT(0);
    struct sem_taker victim = {&sem, sim_soon(), -1};
    struct sem_taker patient = {&sem, THRUM_FOREVER, -1};
    sim_name(&sem, sizeof sem, "sem");
    sim_task *first = sim_spawn(sem_takes, &victim);
    sim_spawn(sem_takes, &patient);
    sim_spawn(sim_canceller, first);
    sim_check(thrum_sem_release(&sem) == 0);
    sim_join(first);
    if (victim.err == 0)
        sim_check(thrum_sem_release(&sem) == 0);
    sim_join_all();
    sim_check(victim.err == 0 || victim.err == ETIMEDOUT || victim.err == ECANCELED);
    sim_check(patient.err == 0 && sem.thrum_word == 0);
}

SIM_TEST(sem, takers_and_posters, .tasks = 6)
{
    thrum_sem_t sem = THRUM_SEM_INIT(1);
    struct sem_taker t[3] = {
        {&sem, THRUM_FOREVER, -1}, {&sem, THRUM_FOREVER, -1}, {&sem, THRUM_FOREVER, -1}};
    for (int i = 0; i < 3; i++)
        sim_spawn(sem_takes, &t[i]);
    sim_spawn(sem_posts, &sem);
    sim_spawn(sem_posts, &sem);
    sim_join_all();
    sim_check(sem.thrum_word == 0);
}

SIM_TEST(sem, three_at_once_let_three_go, .tasks = 5)
{
    thrum_sem_t sem = THRUM_SEM_INIT(0);
    struct sem_taker t[4] = {{&sem, THRUM_FOREVER, -1},
                             {&sem, THRUM_FOREVER, -1},
                             {&sem, THRUM_FOREVER, -1},
                             {&sem, sim_soon(), -1}};
    for (int i = 0; i < 3; i++)
        sim_spawn(sem_takes, &t[i]);
    sim_task *timed = sim_spawn(sem_takes, &t[3]);
    sim_check(thrum_sem_release_n(&sem, 3) == 0);
    sim_join(timed);
    if (t[3].err == 0)
        sim_check(thrum_sem_release(&sem) == 0);
    sim_join_all();
    sim_check(t[0].err + t[1].err + t[2].err == 0 && sem.thrum_word == 0);
}

static void *sem_overflows(void *arg)
{
    const int err = thrum_sem_release(arg);
    sim_check(err == 0 || err == EOVERFLOW);
    return err == 0 ? arg : NULL;
}

SIM_TEST(sem, a_bound_is_never_passed, .tasks = 4)
{
    thrum_sem_t sem;
    sim_check(thrum_sem_init_bounded(&sem, 0, 2) == 0);
    struct sem_taker taker = {&sem, THRUM_FOREVER, -1};
    sim_task *posters[2] = {sim_spawn(sem_overflows, &sem), sim_spawn(sem_overflows, &sem)};
    sim_spawn(sem_takes, &taker);
    unsigned posted = sem_overflows(&sem) != NULL;
    sim_check(thrum_sem_value(&sem) <= 2);
    for (int i = 0; i < 2; i++)
        posted += sim_join(posters[i]) != NULL;
    sim_join_all();
    sim_check(posted >= 2 && taker.err == 0 && thrum_sem_value(&sem) == posted - 1);
}

/* --- freeing ---------------------------------------------------------------------------------- */

static void *sem_takes_and_frees(void *arg)
{
    sim_check(thrum_sem_acquire(arg) == 0);
    sim_poison(arg, sizeof(thrum_sem_t));
    return NULL;
}

SIM_TEST(sem, whom_it_lets_go_may_free_it, .tasks = 2, .dfs_bound = 5)
{
    thrum_sem_t sem = THRUM_SEM_INIT(0);
    sim_name(&sem, sizeof sem, "sem");
    sim_spawn(sem_takes_and_frees, &sem);
    sim_check(thrum_sem_release(&sem) == 0);
    sim_join_all();
}

/* Freed, and another semaphore made in its place: a wake that is late for the first one may
 * reach the waiter of the second, and must do no harm. */
static void *sem_takes_and_makes_another(void *arg)
{
    thrum_sem_t *sem = arg;
    sim_check(thrum_sem_acquire(sem) == 0);
    sim_check(thrum_sem_init(sem, 0) == 0);
    sim_task *poster = sim_spawn(sem_posts, sem);
    sim_check(thrum_sem_acquire(sem) == 0);
    sim_check(thrum_sem_value(sem) == 0);
    sim_join(poster);
    return NULL;
}

SIM_TEST(sem, another_at_the_same_address, .tasks = 3)
{
    thrum_sem_t sem = THRUM_SEM_INIT(0);
    sim_name(&sem, sizeof sem, "sem");
    sim_spawn(sem_takes_and_makes_another, &sem);
    sim_check(thrum_sem_release(&sem) == 0);
    sim_join_all();
    sim_check(sem.thrum_word == 0);
}
