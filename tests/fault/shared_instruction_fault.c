/*
 * Users of memory and locks of several processes are killed at any single instruction, in the library's own code
 * and in that of the C library, while others wait.
 */
#include <criterion/criterion.h>

#include <thrum/shared.h>
#include <thrum/shared_lock.h>
#include <thrum/time.h>

#include "fault/shared_scene.h"
#include "process/process.h"

TestSuite(shared_instruction, .timeout = 240);

static void judge(const struct walk *w)
{
    const unsigned stride = walk_stride(23, 499);
    const int n = walk_instructions(w, stride);
    if (n == -2)
        cr_skip_test("nobody may be traced here");
    cr_expect_gt(n, 10);
}

/* --- mutex ------------------------------------------------------------------------------------- */

static int lock_once(void *arg)
{
    struct scene *s = arg;
    thi_fetch_add_relaxed(&s->ready, 1u);
    return is_held(thrum_shared_mutex_lock(&s->mutex)) ? thrum_shared_mutex_unlock(&s->mutex) : 1;
}

static int lock_survives(void *arg)
{
    struct scene *s = arg;
    if (end_waiters(s) != 0)
        return 1;
    if (!is_held(thrum_shared_mutex_lock(&s->mutex)) || thrum_shared_mutex_unlock(&s->mutex) != 0)
        return 2;
    return thrum_shared_mutex_lock(&s->mutex) != 0 || thrum_shared_mutex_unlock(&s->mutex) != 0;
}

Test(shared_instruction, mutex)
{
    const struct walk w = {begin, lock_once, lock_survives, make(lock_once)};
    judge(&w);
}

static int die_with_it(void *arg)
{
    struct scene *s = arg;
    (void)!thrum_shared_mutex_lock(&s->mutex);
    kill(getpid(), SIGKILL);
    return 0;
}

static int begin_dead(void *arg)
{
    victim_end(victim_start(die_with_it, arg));
    return begin(arg);
}

Test(shared_instruction, mutex_of_one_who_died)
{
    const struct walk w = {begin_dead, lock_once, lock_survives, make(lock_once)};
    judge(&w);
}

/* Held by one who lives, so that the victim has to wait, in line. */
static int hold_for_a_while(void *arg)
{
    struct scene *s = arg;
    const int err = thrum_shared_mutex_lock(&s->mutex);
    thi_fetch_add_relaxed(&s->ready, 1u);
    thi_nap(300);
    return is_held(err) ? thrum_shared_mutex_unlock(&s->mutex) : 1;
}

static int wait_until_now(void *arg)
{
    struct scene *s = arg;
    const int err = thrum_shared_mutex_lock_until(&s->mutex, 1);
    return err == ETIMEDOUT ? 0 : is_held(err) ? thrum_shared_mutex_unlock(&s->mutex) : 1;
}

Test(shared_instruction, mutex_that_is_waited_for)
{
    const struct walk w = {begin, wait_until_now, lock_survives, make(hold_for_a_while)};
    judge(&w);
}

/* --- semaphore --------------------------------------------------------------------------------- */

static int release(void *arg)
{
    return thrum_shared_sem_release(&((struct scene *)arg)->sem);
}

static int permits_survive(void *arg)
{
    struct scene *s = arg;
    while (thrum_shared_sem_value(&s->sem) != 0 && thi_load_acquire(&s->passed) < WAITERS)
        sched_yield();
    for (int i = 0; i < WAITERS; i++)
        if (thrum_shared_sem_release(&s->sem) != 0)
            return 20;
    return end_waiters(s) != 0 || thrum_shared_sem_value(&s->sem) > 1 ? 21 : 0;
}

Test(shared_instruction, semaphore)
{
    const struct walk w = {begin, release, permits_survive, make(acquire)};
    judge(&w);
}

Test(shared_instruction, semaphore_with_a_bound)
{
    struct scene *s = make(acquire);
    const struct walk w = {begin, release, permits_survive, s};
    s->bound = 5;
    judge(&w);
}

/* --- event, condition -------------------------------------------------------------------------- */

static int set_event(void *arg)
{
    thrum_shared_event_set(&((struct scene *)arg)->event);
    return 0;
}

Test(shared_instruction, event)
{
    const struct walk w = {begin, set_event, event_survives, make(wait_event)};
    judge(&w);
}

static int change(void *arg)
{
    struct scene *s = arg;
    if (!is_held(thrum_shared_mutex_lock(&s->mutex)))
        return 1;
    s->changed = 1;
    thrum_shared_cond_signal(&s->cond); /* with the mutex: it is not changed and yet to be told */
    return thrum_shared_mutex_unlock(&s->mutex);
}

Test(shared_instruction, condition)
{
    const struct walk w = {begin, change, condition_survives, make(wait_changed)};
    judge(&w);
}

/* --- barrier ----------------------------------------------------------------------------------- */

static int meeting_survives(void *arg)
{
    struct scene *s = arg;
    if (thrum_shared_barrier_waiting(&s->barrier) == WAITERS &&
        thrum_shared_barrier_wait(&s->barrier, NULL) != 0)
        return 40;
    return end_waiters(s);
}

Test(shared_instruction, barrier)
{
    const struct walk w = {begin_inside, meet, meeting_survives, make(meet)};
    judge(&w);
}

/* --- arena ------------------------------------------------------------------------------------- */

static int allocate_and_free(void *arg)
{
    struct scene *s = arg;
    if (thi_shared_alloc_into(s->arena, 100, &s->slots[0]) != 0 ||
        thi_shared_alloc_into(s->arena, 200, &s->slots[1]) != 0)
        return 1;
    thi_shared_free_from(s->arena, &s->slots[0], 0);
    thi_shared_free_from(s->arena, &s->slots[1], 0);
    return 0;
}

static int arena_survives(void *arg)
{
    struct scene *s = arg;
    for (unsigned i = 0; i < 2; i++)
        if (s->slots[i] != 0)
            thi_shared_free_from(s->arena, &s->slots[i], 0);
    return !thi_shared_sound(s->arena) || thrum_shared_used(s->arena) != s->used;
}

Test(shared_instruction, arena)
{
    struct scene *s = make(NULL);
    const struct walk w = {NULL, allocate_and_free, arena_survives, s};
    cr_assert_eq(thrum_shared_create(&s->arena, NULL), 0);
    cr_assert_eq(thrum_shared_alloc(s->arena, 64, (void **)&s->slots), 0);
    s->used = thrum_shared_used(s->arena);
    judge(&w);
    thrum_shared_destroy(s->arena);
}
