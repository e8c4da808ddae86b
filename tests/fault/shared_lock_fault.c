/*
 * Users of the locks of several processes are killed at every point where it would matter, while others wait:
 * those go on, and nothing is lost.
 */
#include <criterion/criterion.h>

#include <thrum/shared_lock.h>
#include <thrum/time.h>

#include "fault/shared_scene.h"
#include "process/process.h"
#include "support/caller.h"

TestSuite(shared_lock_fault, .timeout = 240);

/* Until somebody waits in the calling process, or it is clear that nobody will. */
static void await_sleep(const struct caller *c)
{
    const thi_strand_t *strand = caller_strand(c);
    while (thi_load_relaxed(&strand->site) == NULL && !caller_done(c))
        sched_yield();
}

/* --- mutex, recursive lock ---------------------------------------------------------------------- */

static int lock_once(void *arg)
{
    struct scene *s = arg;
    thi_fetch_add_relaxed(&s->ready, 1u);
    if (!is_held(thrum_shared_mutex_lock(&s->mutex)))
        return 1;
    if (thrum_shared_mutex_unlock(&s->mutex) != 0)
        return 2;
    if (!is_held(thrum_shared_rlock_lock(&s->rlock)))
        return 3;
    return thrum_shared_rlock_unlock(&s->rlock) == 0 ? 0 : 4;
}

/* Held, waited for in line by another thread and by those processes, and passed on. */
static int lock_and_pass_on(void *arg)
{
    struct scene *s = arg;
    struct caller c;
    if (!is_held(thrum_shared_mutex_lock(&s->mutex)))
        return 1;
    caller_start(&c, lock_once, s);
    await_sleep(&c);
    if (thrum_shared_mutex_unlock(&s->mutex) != 0 || caller_join(&c) != 0)
        return 2;
    if (!is_held(thrum_shared_rlock_lock(&s->rlock)) || thrum_shared_rlock_lock(&s->rlock) != 0 ||
        thrum_shared_rlock_unlock(&s->rlock) != 0 || thrum_shared_rlock_unlock(&s->rlock) != 0)
        return 3;
    return 0;
}

static int locks_survive(void *arg)
{
    struct scene *s = arg;
    const int waiters = end_waiters(s);
    if (waiters != 0)
        return waiters;
    if (!is_held(thrum_shared_mutex_lock(&s->mutex)) || thrum_shared_mutex_unlock(&s->mutex) != 0)
        return 10;
    if (!is_held(thrum_shared_rlock_lock(&s->rlock)) || thrum_shared_rlock_unlock(&s->rlock) != 0)
        return 11;
    /* It has been told once. */
    return thrum_shared_mutex_lock(&s->mutex) == 0 && thrum_shared_mutex_unlock(&s->mutex) == 0 &&
                   thrum_shared_rlock_lock(&s->rlock) == 0 &&
                   thrum_shared_rlock_unlock(&s->rlock) == 0
               ? 0
               : 12;
}

Test(shared_lock_fault, a_lock_goes_on_from_any_death)
{
    struct scene *s = make(lock_once);
    const struct walk w = {begin, lock_and_pass_on, locks_survive, s};
    cr_expect_gt(walk(&w), 15);
}

/* The first dies with the lock, the second, who is told, at each point of hearing that. */
static int hold_and_die(void *arg)
{
    struct scene *s = arg;
    (void)!thrum_shared_mutex_lock(&s->mutex);
    (void)!thrum_shared_rlock_lock(&s->rlock);
    kill(getpid(), SIGKILL);
    return 0;
}

static int begin_dead(void *arg)
{
    victim_end(victim_start(hold_and_die, arg));
    return 0;
}

static int hear_of_it(void *arg)
{
    struct scene *s = arg;
    return is_held(thrum_shared_mutex_lock(&s->mutex)) &&
                   is_held(thrum_shared_rlock_lock(&s->rlock)) &&
                   thrum_shared_rlock_unlock(&s->rlock) == 0 &&
                   thrum_shared_mutex_unlock(&s->mutex) == 0
               ? 0
               : 1;
}

static int is_heard_again(void *arg)
{
    struct scene *s = arg;
    if (!is_held(thrum_shared_mutex_lock(&s->mutex)) || thrum_shared_mutex_unlock(&s->mutex) != 0)
        return 1;
    if (!is_held(thrum_shared_rlock_lock(&s->rlock)) || thrum_shared_rlock_unlock(&s->rlock) != 0)
        return 2;
    return thrum_shared_mutex_lock(&s->mutex) == 0 && thrum_shared_mutex_unlock(&s->mutex) == 0 ? 0
                                                                                                : 3;
}

Test(shared_lock_fault, who_is_told_of_a_death_may_die_of_it)
{
    struct scene *s = make(NULL);
    const struct walk w = {begin_dead, hear_of_it, is_heard_again, s};
    cr_expect_gt(walk(&w), 8);
}

/* Until it said what it was told, the next is told the same. */
Test(shared_lock_fault, a_death_is_never_forgotten)
{
    struct scene *s = make(NULL);
    for (unsigned n = 1; n <= 5; n++) { /* points up to when the lock returns */
        struct walk_step step = {&(struct walk){.fn = hear_of_it, .arg = s}, n, NULL};
        begin_dead(s);
        cr_assert_eq(victim_end(victim_start(walk_step, &step)), 128 + SIGKILL);
        cr_expect_eq(thrum_shared_mutex_lock(&s->mutex), EOWNERDEAD, "point %u", n);
        cr_expect_eq(thrum_shared_mutex_unlock(&s->mutex), 0);
        cr_expect(is_held(thrum_shared_rlock_lock(&s->rlock)));
        cr_expect_eq(thrum_shared_rlock_unlock(&s->rlock), 0);
    }
}

/* --- semaphore ---------------------------------------------------------------------------------- */

/* A thread of the victim waits, too, and may be the one that is woken. */
static int release_two(void *arg)
{
    struct scene *s = arg;
    struct caller c;
    caller_start(&c, acquire, s);
    await_sleep(&c);
    if (thrum_shared_sem_release(&s->sem) != 0 || thrum_shared_sem_release_n(&s->sem, 2) != 0)
        return 1;
    return caller_join(&c);
}

/* Nobody sleeps while there are permits; and those who wait can be given some. */
static int permits_survive(void *arg)
{
    struct scene *s = arg;
    while (thrum_shared_sem_value(&s->sem) != 0 && thi_load_acquire(&s->passed) < WAITERS)
        sched_yield();
    for (int i = 0; i < WAITERS; i++) {
        const int err = thrum_shared_sem_release(&s->sem);
        if (err != 0 && err != EOVERFLOW)
            return 20;
    }
    return end_waiters(s) != 0 || thrum_shared_sem_value(&s->sem) > 3 ? 21 : 0;
}

Test(shared_lock_fault, a_semaphore_loses_no_wake_up_with_anybody)
{
    struct scene *s = make(acquire);
    const struct walk w = {begin, release_two, permits_survive, s};
    cr_expect_gt(walk(&w), 3);
    s->bound = 3;
    cr_expect_gt(walk(&w), 5);
}

/* --- event -------------------------------------------------------------------------------------- */

static int set_event(void *arg)
{
    struct scene *s = arg;
    struct caller c;
    caller_start(&c, wait_event, s);
    await_sleep(&c);
    thrum_shared_event_set(&s->event);
    return caller_join(&c);
}

Test(shared_lock_fault, an_event_that_is_set_lets_everybody_go)
{
    struct scene *s = make(wait_event);
    const struct walk w = {begin, set_event, event_survives, s};
    cr_expect_gt(walk(&w), 2);
}

/* --- condition ---------------------------------------------------------------------------------- */

static int change(void *arg)
{
    struct scene *s = arg;
    struct caller c;
    caller_start(&c, wait_changed, s);
    await_sleep(&c);
    if (!is_held(thrum_shared_mutex_lock(&s->mutex)))
        return 1;
    s->changed = 1;
    if (thrum_shared_mutex_unlock(&s->mutex) != 0)
        return 2;
    thrum_shared_cond_signal(&s->cond);
    return caller_join(&c);
}

Test(shared_lock_fault, a_condition_wakes_whoever_lives)
{
    struct scene *s = make(wait_changed);
    const struct walk w = {begin, change, condition_survives, s};
    cr_expect_gt(walk(&w), 10);
}

/* --- barrier ------------------------------------------------------------------------------------ */

/* The victim was there, or it was not, and then somebody else comes in its place. */
static int meeting_survives(void *arg)
{
    struct scene *s = arg;
    while (thrum_shared_barrier_waiting(&s->barrier) != WAITERS &&
           thi_load_acquire(&s->passed) < WAITERS)
        sched_yield();
    if (thi_load_acquire(&s->passed) < WAITERS &&
        thrum_shared_barrier_waiting(&s->barrier) == WAITERS &&
        thrum_shared_barrier_wait(&s->barrier, NULL) != 0)
        return 40;
    return end_waiters(s);
}

Test(shared_lock_fault, a_party_that_dies_has_arrived_or_has_not)
{
    struct scene *s = make(meet);
    const struct walk w = {begin, meet, meeting_survives, s};
    cr_expect_gt(walk(&w), 3);
}

static int give_up(void *arg)
{
    struct scene *s = arg;
    return thrum_shared_barrier_wait_until(&s->barrier, NULL, 1) == ETIMEDOUT ? 0 : 1;
}

static int meet_or_break(void *arg)
{
    struct scene *s = arg;
    thi_fetch_add_relaxed(&s->ready, 1u);
    const int err = thrum_shared_barrier_wait(&s->barrier, NULL);
    return err == 0 || err == EPIPE ? 0 : err;
}

static int breaking_survives(void *arg)
{
    struct scene *s = arg;
    if (thrum_shared_barrier_abort(&s->barrier) != 0 || !thrum_shared_barrier_broken(&s->barrier) ||
        end_waiters(s) != 0)
        return 50;
    return thrum_shared_barrier_reset(&s->barrier) == 0 && !thrum_shared_barrier_broken(&s->barrier)
               ? 0
               : 51;
}

Test(shared_lock_fault, a_barrier_breaks_or_does_not)
{
    struct scene *s = make(meet_or_break);
    s->missing = 1;
    const struct walk w = {.fn = give_up, .begin = begin, .survives = breaking_survives, .arg = s};
    cr_expect_gt(walk(&w), 3);
}

static int reset(void *arg)
{
    struct scene *s = arg;
    return thrum_shared_barrier_reset(&s->barrier);
}

/* Whoever is still inside is let go by the next. */
static int resetting_survives(void *arg)
{
    struct scene *s = arg;
    if (thrum_shared_barrier_reset(&s->barrier) != 0 || end_waiters(s) != 0)
        return 60;
    return thrum_shared_barrier_broken(&s->barrier) ||
                   thrum_shared_barrier_waiting(&s->barrier) != 0
               ? 61
               : 0;
}

Test(shared_lock_fault, a_barrier_is_reset_or_is_not)
{
    struct scene *s = make(meet_or_break);
    const struct walk w = {begin_inside, reset, resetting_survives, s};
    cr_expect_gt(walk(&w), 3);
}
