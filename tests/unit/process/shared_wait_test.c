/* Semaphore, event, condition and barrier of several processes. */
#include <thrum/cancel.h>
#include <thrum/loop.h>
#include <thrum/shared_lock.h>

#include "process/process.h"
#include "support/expect.h"
#include "support/victim.h"

TestSuite(shared_wait, .timeout = 60);

struct scene {
    thrum_shared_mutex_t mutex;
    thrum_shared_rlock_t rlock;
    thrum_shared_sem_t sem;
    thrum_shared_sem_t bounded;
    thrum_shared_event_t event;
    thrum_shared_cond_t cond;
    thrum_shared_barrier_t barrier;
    uint32_t ready;
    uint32_t passed;
};

static struct scene *make(void)
{
    struct scene *s = victim_memory(sizeof *s);
    cr_assert_eq(thrum_shared_mutex_init(&s->mutex), 0);
    cr_assert_eq(thrum_shared_sem_init(&s->sem, 0, 0), 0);
    cr_assert_eq(thrum_shared_sem_init(&s->bounded, 0, 2), 0);
    cr_assert_eq(thrum_shared_event_init(&s->event), 0);
    cr_assert_eq(thrum_shared_cond_init(&s->cond), 0);
    cr_assert_eq(thrum_shared_barrier_init(&s->barrier, 3), 0);
    return s;
}

Test(shared_wait, what_is_none_is_refused)
{
    struct scene *s = make();
    static thrum_shared_sem_t sem;
    static thrum_shared_barrier_t barrier;
    EXPECT_CALL(EINVAL, thrum_shared_sem_init(NULL, 0, 0));
    EXPECT_CALL(EINVAL, thrum_shared_sem_init(&s->sem, 2, 1));
    EXPECT_CALL(EINVAL, thrum_shared_sem_init(&s->sem, 0, THRUM_SHARED_SEM_MAX + 1));
    EXPECT_CALL(EINVAL, thrum_shared_sem_init(&s->sem, THRUM_SHARED_SEM_MAX + 1, 0));
    EXPECT_CALL(EINVAL, thrum_shared_sem_acquire(&sem));
    EXPECT_CALL(EINVAL, thrum_shared_sem_tryacquire(NULL));
    EXPECT_CALL(EINVAL, thrum_shared_sem_acquire_until(&sem, PAST));
    EXPECT_CALL(EINVAL, thrum_shared_sem_release(&sem));
    EXPECT_CALL(EINVAL, thrum_shared_sem_release_n(&s->sem, 0));
    cr_expect_eq(thrum_shared_sem_value(NULL), 0);
    EXPECT_CALL(EINVAL, thrum_shared_event_init(NULL));
    EXPECT_CALL(EINVAL, thrum_shared_event_wait(NULL));
    EXPECT_CALL(EINVAL, thrum_shared_event_trywait(NULL));
    EXPECT_CALL(EINVAL, thrum_shared_event_wait_until(NULL, PAST));
    thrum_shared_event_set(NULL);
    thrum_shared_event_clear(NULL);
    cr_expect(!thrum_shared_event_is_set(NULL));
    EXPECT_CALL(EINVAL, thrum_shared_cond_init(NULL));
    EXPECT_CALL(EINVAL, thrum_shared_cond_wait(NULL, &s->mutex));
    EXPECT_CALL(EINVAL, thrum_shared_cond_wait_until(&s->cond, NULL, PAST));
    EXPECT_CALL(EINVAL, thrum_shared_cond_wait_for(&s->cond, &s->mutex, NULL, NULL, PAST));
    EXPECT_CALL(EPERM, thrum_shared_cond_wait(&s->cond, &s->mutex));
    thrum_shared_cond_signal(NULL);
    thrum_shared_cond_broadcast(NULL);
    EXPECT_CALL(EINVAL, thrum_shared_barrier_init(NULL, 1));
    EXPECT_CALL(EINVAL, thrum_shared_barrier_init(&s->barrier, 0));
    EXPECT_CALL(EINVAL, thrum_shared_barrier_init(&s->barrier, THRUM_SHARED_BARRIER_MAX + 1));
    EXPECT_CALL(EINVAL, thrum_shared_barrier_wait(&barrier, NULL));
    EXPECT_CALL(EINVAL, thrum_shared_barrier_wait_until(NULL, NULL, PAST));
    EXPECT_CALL(EINVAL, thrum_shared_barrier_reset(NULL));
    EXPECT_CALL(EINVAL, thrum_shared_barrier_abort(&barrier));
    cr_expect_eq(thrum_shared_barrier_parties(NULL), 0);
    cr_expect_eq(thrum_shared_barrier_waiting(NULL), 0);
    cr_expect(!thrum_shared_barrier_broken(NULL));
}

/* --- semaphore --------------------------------------------------------------------------------- */

Test(shared_wait, permits_are_counted)
{
    struct scene *s = make();
    EXPECT_CALL(EAGAIN, thrum_shared_sem_tryacquire(&s->sem));
    EXPECT_CALL(ETIMEDOUT, thrum_shared_sem_acquire_until(&s->sem, PAST));
    EXPECT_CALL(ETIMEDOUT, thrum_shared_sem_acquire_until(&s->sem, SOON));
    EXPECT_CALL(0,
                thrum_shared_sem_release_n(&s->sem, 3)); /* though it looks as if somebody slept */
    cr_expect_eq(thrum_shared_sem_value(&s->sem), 3);
    EXPECT_CALL(0, thrum_shared_sem_release(&s->sem));
    EXPECT_CALL(0, thrum_shared_sem_acquire(&s->sem));
    EXPECT_CALL(0, thrum_shared_sem_acquire_until(&s->sem, PAST));
    EXPECT_CALL(0, thrum_shared_sem_tryacquire(&s->sem));
    cr_expect_eq(thrum_shared_sem_value(&s->sem), 1);
    EXPECT_CALL(EOVERFLOW, thrum_shared_sem_release_n(&s->sem, THRUM_SHARED_SEM_MAX));
    cr_expect_eq(thrum_shared_sem_value(&s->sem), 1);
    EXPECT_CALL(0, thrum_shared_sem_release_n(&s->sem, THRUM_SHARED_SEM_MAX - 1));
    EXPECT_CALL(EOVERFLOW, thrum_shared_sem_release(&s->sem));
    cr_expect_eq(thrum_shared_sem_value(&s->sem), THRUM_SHARED_SEM_MAX);
}

Test(shared_wait, a_great_number_is_added_whole_where_somebody_slept)
{
    struct scene *s = make();
    EXPECT_CALL(ETIMEDOUT, thrum_shared_sem_acquire_until(&s->sem, SOON));
    EXPECT_CALL(0, thrum_shared_sem_release_n(&s->sem, 123456789));
    cr_expect_eq(thrum_shared_sem_value(&s->sem), 123456789);
}

struct release {
    thrum_shared_sem_t sem;
    unsigned n;
    uint32_t ready;
};

static int release_and_stop(void *arg)
{
    struct release *r = arg;
    thi_stop_arm("far: between two steps of an addition");
    return thrum_shared_sem_release_n(&r->sem, r->n);
}

static int release_beside(void *arg)
{
    struct release *r = arg;
    thi_store_release(&r->ready, 1u);
    return thrum_shared_sem_release_n(&r->sem, r->n);
}

/* Which takes more than one step where somebody slept. */
Test(shared_wait, two_great_numbers_are_not_more_than_there_is_room_for)
{
    struct release *r = victim_memory(sizeof *r);
    r->n = THRUM_SHARED_SEM_MAX / 4 * 3 - 1;
    cr_assert_eq(thrum_shared_sem_init(&r->sem, 0, 0), 0);
    EXPECT_CALL(ETIMEDOUT, thrum_shared_sem_acquire_until(&r->sem, SOON));
    const pid_t a = victim_start(release_and_stop, r);
    victim_await_stop(a);
    EXPECT_CALL(0, thrum_shared_sem_release(&r->sem));
    const pid_t b = victim_start(release_beside, r);
    await_word(&r->ready, 1);
    thi_nap(20000); /* so that it has come to where it has to wait, mostly */
    kill(a, SIGCONT);
    cr_expect_eq(victim_end(a), 0);
    cr_expect_eq(victim_end(b), EOVERFLOW);
    cr_expect_eq(thrum_shared_sem_value(&r->sem), r->n + 1);
}

Test(shared_wait, a_bounded_one_is_bounded)
{
    struct scene *s = make();
    EXPECT_CALL(ETIMEDOUT, thrum_shared_sem_acquire_until(&s->bounded, SOON));
    EXPECT_CALL(EOVERFLOW, thrum_shared_sem_release_n(&s->bounded, 3));
    EXPECT_CALL(0, thrum_shared_sem_release_n(&s->bounded, 2));
    EXPECT_CALL(EOVERFLOW, thrum_shared_sem_release(&s->bounded));
    EXPECT_CALL(0, thrum_shared_sem_acquire(&s->bounded));
    EXPECT_CALL(0, thrum_shared_sem_release(&s->bounded));
    cr_expect_eq(thrum_shared_sem_value(&s->bounded), 2);
}

static int acquire(void *arg)
{
    struct scene *s = arg;
    thi_fetch_add_relaxed(&s->ready, 1u);
    const int err = thrum_shared_sem_acquire(&s->sem);
    if (err == 0)
        thi_fetch_add_acq_rel(&s->passed, 1u);
    return err;
}

static int acquire_bounded(void *arg)
{
    struct scene *s = arg;
    thi_fetch_add_relaxed(&s->ready, 1u);
    return thrum_shared_sem_acquire(&s->bounded);
}

Test(shared_wait, a_permit_lets_one_process_go)
{
    struct scene *s = make();
    const pid_t a = victim_start(acquire, s), b = victim_start(acquire, s);
    await_word(&s->ready, 2);
    EXPECT_CALL(0, thrum_shared_sem_release(&s->sem));
    await_word(&s->passed, 1);
    cr_expect_eq(thrum_shared_sem_value(&s->sem), 0);
    EXPECT_CALL(0, thrum_shared_sem_release(&s->sem));
    cr_expect_eq(victim_end(a), 0);
    cr_expect_eq(victim_end(b), 0);
    const pid_t c = victim_start(acquire_bounded, s);
    EXPECT_CALL(0, thrum_shared_sem_release(&s->bounded));
    cr_expect_eq(victim_end(c), 0);
}

/* Sleeps for certain. */
static void await_sleeper(const struct caller *c)
{
    const thi_strand_t *strand = caller_strand(c);
    while (thi_load_relaxed(&strand->site) == NULL)
        sched_yield();
}

static void cancel_one(int (*fn)(void *), struct scene *s)
{
    struct caller c;
    caller_start(&c, fn, s);
    await_sleeper(&c);
    caller_cancel(&c);
    cr_expect_eq(caller_join(&c), ECANCELED);
}

static int wait_event(void *arg)
{
    struct scene *s = arg;
    thi_fetch_add_relaxed(&s->ready, 1u);
    const int err = thrum_shared_event_wait(&s->event);
    if (err == 0)
        thi_fetch_add_acq_rel(&s->passed, 1u);
    return err;
}

static int wait_cond(void *arg)
{
    struct scene *s = arg;
    if (thrum_shared_mutex_lock(&s->mutex) != 0)
        return 1;
    const int err = thrum_shared_cond_wait(&s->cond, &s->mutex);
    return thrum_shared_mutex_unlock(&s->mutex) == 0 ? err : 1;
}

static int meet(void *arg)
{
    struct scene *s = arg;
    thi_fetch_add_relaxed(&s->ready, 1u);
    const int err = thrum_shared_barrier_wait(&s->barrier, NULL);
    if (err == 0)
        thi_fetch_add_acq_rel(&s->passed, 1u);
    return err;
}

Test(shared_wait, waits_are_cancelled)
{
    struct scene *s = make();
    cancel_one(acquire, s);
    cancel_one(wait_event, s);
    cancel_one(wait_cond, s);
    cancel_one(meet, s);
    cr_expect(thrum_shared_barrier_broken(&s->barrier));
}

/* --- event ------------------------------------------------------------------------------------- */

Test(shared_wait, an_event_is_set_and_cleared)
{
    struct scene *s = make();
    EXPECT_CALL(EAGAIN, thrum_shared_event_trywait(&s->event));
    EXPECT_CALL(ETIMEDOUT, thrum_shared_event_wait_until(&s->event, PAST));
    EXPECT_CALL(ETIMEDOUT, thrum_shared_event_wait_until(&s->event, SOON));
    thrum_shared_event_set(&s->event);
    thrum_shared_event_set(&s->event);
    cr_expect(thrum_shared_event_is_set(&s->event));
    EXPECT_CALL(0, thrum_shared_event_wait(&s->event));
    EXPECT_CALL(0, thrum_shared_event_trywait(&s->event));
    EXPECT_CALL(0, thrum_shared_event_wait_until(&s->event, PAST));
    thrum_shared_event_clear(&s->event);
    thrum_shared_event_clear(&s->event);
    cr_expect(!thrum_shared_event_is_set(&s->event));
    EXPECT_CALL(ETIMEDOUT, thrum_shared_event_wait_until(&s->event, PAST));
}

Test(shared_wait, an_event_that_is_cleared_at_once_lets_all_go)
{
    struct scene *s = make();
    struct caller c;
    pid_t pids[3];
    caller_start(&c, wait_event, s);
    await_sleeper(&c);
    thrum_shared_event_set(&s->event);
    thrum_shared_event_clear(&s->event);
    cr_expect_eq(caller_join(&c), 0);
    for (int i = 0; i < 3; i++)
        pids[i] = victim_start(wait_event, s);
    await_word(&s->ready, 4);
    thrum_shared_event_set(&s->event);
    for (int i = 0; i < 3; i++)
        cr_expect_eq(victim_end(pids[i]), 0);
}

/* --- condition --------------------------------------------------------------------------------- */

static bool is_passed(void *arg)
{
    return ((struct scene *)arg)->passed != 0;
}

static int wait_for(void *arg)
{
    struct scene *s = arg;
    if (thrum_shared_mutex_lock(&s->mutex) != 0)
        return 1;
    thi_fetch_add_relaxed(&s->ready, 1u);
    const int err = thrum_shared_cond_wait_for(&s->cond, &s->mutex, is_passed, s, THRUM_FOREVER);
    return thrum_shared_mutex_unlock(&s->mutex) == 0 ? err : 1;
}

Test(shared_wait, a_condition_is_waited_for)
{
    struct scene *s = make();
    pid_t pids[2];
    cr_assert_eq(thrum_shared_mutex_lock(&s->mutex), 0);
    EXPECT_CALL(ETIMEDOUT, thrum_shared_cond_wait_until(&s->cond, &s->mutex, PAST));
    EXPECT_CALL(ETIMEDOUT, thrum_shared_cond_wait_until(&s->cond, &s->mutex, SOON));
    EXPECT_CALL(ETIMEDOUT, thrum_shared_cond_wait_for(&s->cond, &s->mutex, is_passed, s, SOON));
    cr_expect(thrum_shared_mutex_owned(&s->mutex));
    EXPECT_CALL(0, thrum_shared_mutex_unlock(&s->mutex));
    EXPECT_CALL(EPERM, thrum_shared_cond_wait_for(&s->cond, &s->mutex, is_passed, s, SOON));
    for (int i = 0; i < 2; i++)
        pids[i] = victim_start(wait_for, s);
    await_word(&s->ready, 2);
    cr_assert_eq(thrum_shared_mutex_lock(&s->mutex), 0);
    s->passed = 1;
    cr_assert_eq(thrum_shared_mutex_unlock(&s->mutex), 0);
    thrum_shared_cond_signal(&s->cond);
    thrum_shared_cond_broadcast(&s->cond);
    for (int i = 0; i < 2; i++)
        cr_expect_eq(victim_end(pids[i]), 0);
}

static int signal_rlock(void *arg)
{
    struct scene *s = arg;
    if (thrum_shared_rlock_lock(&s->rlock) != 0) /* which it can: all levels are given up */
        return 1;
    s->passed = 1;
    thrum_shared_cond_signal(&s->cond);
    return thrum_shared_rlock_unlock(&s->rlock);
}

Test(shared_wait, a_condition_gives_up_all_levels_of_a_recursive_lock)
{
    struct scene *s = make();
    cr_assert_eq(thrum_shared_rlock_init(&s->rlock), 0);
    EXPECT_CALL(EPERM, thrum_shared_cond_wait_rlock(&s->cond, &s->rlock));
    EXPECT_CALL(EINVAL, thrum_shared_cond_wait_rlock(NULL, &s->rlock));
    EXPECT_CALL(EINVAL, thrum_shared_cond_wait_rlock_until(&s->cond, NULL, PAST));
    for (int i = 0; i < 3; i++)
        cr_assert_eq(thrum_shared_rlock_lock(&s->rlock), 0);
    EXPECT_CALL(ETIMEDOUT, thrum_shared_cond_wait_rlock_until(&s->cond, &s->rlock, SOON));
    cr_expect_eq(thrum_shared_rlock_depth(&s->rlock), 3);
    const pid_t pid = victim_start(signal_rlock, s);
    while (s->passed == 0)
        EXPECT_CALL(0, thrum_shared_cond_wait_rlock(&s->cond, &s->rlock));
    cr_expect_eq(thrum_shared_rlock_depth(&s->rlock), 3);
    cr_expect_eq(victim_end(pid), 0);
}

/* --- barrier ----------------------------------------------------------------------------------- */

Test(shared_wait, parties_meet)
{
    struct scene *s = make();
    unsigned index = 99;
    cr_expect_eq(thrum_shared_barrier_parties(&s->barrier), 3);
    for (unsigned round = 1; round <= 5; round++) {
        const pid_t a = victim_start(meet, s), b = victim_start(meet, s);
        EXPECT_CALL(0, thrum_shared_barrier_wait(&s->barrier, &index));
        cr_expect_lt(index, 3);
        cr_expect_eq(victim_end(a), 0);
        cr_expect_eq(victim_end(b), 0);
        cr_expect_eq(thrum_shared_barrier_waiting(&s->barrier), 0);
    }
}

Test(shared_wait, a_deadline_breaks_a_barrier_and_reset_mends_it)
{
    struct scene *s = make();
    const pid_t a = victim_start(meet, s);
    while (thrum_shared_barrier_waiting(&s->barrier) != 1)
        sched_yield();
    EXPECT_CALL(ETIMEDOUT, thrum_shared_barrier_wait_until(&s->barrier, NULL, SOON));
    cr_expect_eq(victim_end(a), EPIPE);
    cr_expect(thrum_shared_barrier_broken(&s->barrier));
    EXPECT_CALL(EPIPE, thrum_shared_barrier_wait(&s->barrier, NULL));
    EXPECT_CALL(0, thrum_shared_barrier_reset(&s->barrier));
    cr_expect(!thrum_shared_barrier_broken(&s->barrier));
    const pid_t b = victim_start(meet, s);
    while (thrum_shared_barrier_waiting(&s->barrier) != 1)
        sched_yield();
    EXPECT_CALL(0, thrum_shared_barrier_reset(&s->barrier));
    cr_expect_eq(victim_end(b), EPIPE);
    cr_expect(!thrum_shared_barrier_broken(&s->barrier));
    EXPECT_CALL(0, thrum_shared_barrier_abort(&s->barrier));
    EXPECT_CALL(0, thrum_shared_barrier_abort(&s->barrier));
    EXPECT_CALL(EPIPE, thrum_shared_barrier_wait_until(&s->barrier, NULL, PAST));
    EXPECT_CALL(0, thrum_shared_barrier_reset(&s->barrier));
    EXPECT_CALL(0, thrum_shared_barrier_reset(&s->barrier));
    for (unsigned round = 0; round < 70; round++) { /* as often as history has bits, and more */
        const pid_t c = victim_start(meet, s);
        while (thrum_shared_barrier_waiting(&s->barrier) != 1)
            sched_yield();
        EXPECT_CALL(0, thrum_shared_barrier_reset(&s->barrier));
        cr_expect_eq(victim_end(c), EPIPE);
    }
}

/* --- coroutines -------------------------------------------------------------------------------- */

struct coroutines {
    struct scene *scene;
    int (*fn)(void *arg);
};

static int one(void *arg, void **result)
{
    struct coroutines *c = arg;
    (void)result;
    return c->fn(c->scene);
}

#define MANY 8

/* All of them wait at the same time, on one thread. */
static int many(void *arg, void **result)
{
    struct coroutines *c = arg;
    thrum_coro_t *all[MANY];
    int err = 0;
    (void)result;
    for (int i = 0; i < MANY; i++)
        if (thrum_go(&all[i], one, arg) != 0)
            return 1;
    while (thi_load_relaxed(&c->scene->ready) != MANY)
        thrum_yield();
    for (int i = 0; i < MANY && c->fn == acquire; i++)
        thrum_shared_sem_release(&c->scene->sem);
    if (c->fn == wait_event)
        thrum_shared_event_set(&c->scene->event);
    for (int i = 0; i < MANY; i++) {
        const int ended = thrum_coro_join(all[i], NULL);
        err = ended != 0 ? ended : err;
        thrum_coro_release(all[i]);
    }
    return err;
}

Test(shared_wait, coroutines_park_themselves_only)
{
    struct coroutines c = {make(), acquire};
    cr_expect_eq(thrum_run(many, &c, NULL), 0);
    c = (struct coroutines){make(), wait_event};
    cr_expect_eq(thrum_run(many, &c, NULL), 0);
    c = (struct coroutines){make(), meet};
    cr_assert_eq(thrum_shared_barrier_init(&c.scene->barrier, MANY), 0);
    cr_expect_eq(thrum_run(many, &c, NULL), 0);
    c = (struct coroutines){make(), meet}; /* three of eight go, and three, and two are left */
    cr_assert_eq(thrum_shared_barrier_init(&c.scene->barrier, MANY / 2), 0);
    cr_expect_eq(thrum_run(many, &c, NULL), 0);
}

static int cancel_others(void *arg, void **result)
{
    thrum_coro_t *co = NULL;
    (void)result;
    for (int i = 0; i < 20; i++) {
        if (thrum_go(&co, one, arg) != 0)
            return 1;
        for (int j = 0; j < i; j++)
            thrum_yield();
        thrum_coro_cancel(co);
        const int err = thrum_coro_join(co, NULL);
        thrum_coro_release(co);
        if (err != ECANCELED)
            return 2;
    }
    return 0;
}

Test(shared_wait, waits_of_coroutines_are_cancelled)
{
    struct coroutines c = {make(), acquire};
    cr_expect_eq(thrum_run(cancel_others, &c, NULL), 0);
    c.fn = wait_event;
    cr_expect_eq(thrum_run(cancel_others, &c, NULL), 0);
    c.fn = wait_cond;
    cr_expect_eq(thrum_run(cancel_others, &c, NULL), 0);
    EXPECT_CALL(0, thrum_shared_mutex_lock(&c.scene->mutex));
}

/* As soon as it sleeps, so that its helper has not even seen what for; or a little later, when it is about to sleep. */
static int cancel_sleepers(void *arg, void **result)
{
    struct coroutines *c = arg;
    thrum_coro_t *co = NULL;
    (void)result;
    for (int i = 0; i < 300; i++) {
        if (thrum_go(&co, one, arg) != 0)
            return 1;
        while (thi_load_relaxed(&c->scene->ready) != (uint32_t)i + 1)
            thrum_yield();
        for (int j = 0; j < i; j++)
            thrum_yield();
        thrum_coro_cancel(co);
        const int err = thrum_coro_join(co, NULL);
        thrum_coro_release(co);
        if (err != ECANCELED)
            return 2;
    }
    return 0;
}

Test(shared_wait, nobody_goes_on_sleeping_for_a_coroutine_that_was_cancelled)
{
    struct coroutines c = {make(), acquire};
    size_t all = 0;
    cr_expect_eq(thrum_run(cancel_sleepers, &c, NULL), 0);
    while (thi_shared_helpers(&all) != all)
        sched_yield();
    cr_expect_gt(all, 0);
}

static int cancel_at_once(void *arg, void **result)
{
    thrum_coro_t *co = NULL;
    (void)result;
    if (thrum_go(&co, one, arg) != 0)
        return 1;
    thrum_coro_cancel(co);
    const int err = thrum_coro_join(co, NULL);
    thrum_coro_release(co);
    return err == ECANCELED ? 0 : 2;
}

Test(shared_wait, nobody_is_asked_to_sleep_for_a_coroutine_that_is_cancelled)
{
    struct coroutines c = {make(), acquire};
    size_t all = 0;
    cr_expect_eq(thrum_run(cancel_at_once, &c, NULL), 0);
    (void)thi_shared_helpers(&all);
    cr_expect_eq(all, 0);
}
