/* The mutex and the recursive lock of several processes. */
#include <thrum/loop.h>
#include <thrum/shared.h>
#include <thrum/shared_lock.h>
#include <thrum/thread.h>

#include "process/process.h"
#include "support/expect.h"
#include "support/victim.h"

TestSuite(shared_lock, .timeout = 60);

struct scene {
    thrum_shared_mutex_t mutex;
    thrum_shared_rlock_t rlock;
    thrum_shared_event_t go;
    uint32_t at; /* where the other process is */
    uint32_t count;
};

static struct scene *make(void)
{
    struct scene *s = victim_memory(sizeof *s);
    cr_assert_eq(thrum_shared_mutex_init(&s->mutex), 0);
    cr_assert_eq(thrum_shared_rlock_init(&s->rlock), 0);
    return s;
}

Test(shared_lock, what_is_no_lock_is_refused)
{
    static thrum_shared_mutex_t zero;
    static thrum_shared_rlock_t rzero;
    EXPECT_CALL(EINVAL, thrum_shared_mutex_init(NULL));
    EXPECT_CALL(EINVAL, thrum_shared_mutex_lock(NULL));
    EXPECT_CALL(EINVAL, thrum_shared_mutex_lock(&zero));
    EXPECT_CALL(EINVAL, thrum_shared_mutex_trylock(&zero));
    EXPECT_CALL(EINVAL, thrum_shared_mutex_lock_until(&zero, PAST));
    EXPECT_CALL(EINVAL, thrum_shared_mutex_unlock(&zero));
    cr_expect(!thrum_shared_mutex_owned(NULL));
    EXPECT_CALL(EINVAL, thrum_shared_rlock_init(NULL));
    EXPECT_CALL(EINVAL, thrum_shared_rlock_lock(&rzero));
    EXPECT_CALL(EINVAL, thrum_shared_rlock_trylock(&rzero));
    EXPECT_CALL(EINVAL, thrum_shared_rlock_lock_until(NULL, PAST));
    EXPECT_CALL(EINVAL, thrum_shared_rlock_unlock(NULL));
    cr_expect(!thrum_shared_rlock_owned(&rzero));
    cr_expect_eq(thrum_shared_rlock_depth(NULL), 0);
}

Test(shared_lock, the_owner_alone_unlocks)
{
    struct scene *s = make();
    EXPECT_CALL(EPERM, thrum_shared_mutex_unlock(&s->mutex));
    EXPECT_CALL(0, thrum_shared_mutex_lock(&s->mutex));
    cr_expect(thrum_shared_mutex_owned(&s->mutex));
    EXPECT_CALL(EBUSY, thrum_shared_mutex_trylock(&s->mutex));
    EXPECT_CALL(EDEADLK, thrum_shared_mutex_lock(&s->mutex));
    EXPECT_CALL(EDEADLK, thrum_shared_mutex_lock_until(&s->mutex, SOON));
    EXPECT_CALL(0, thrum_shared_mutex_unlock(&s->mutex));
    EXPECT_CALL(EPERM, thrum_shared_mutex_unlock(&s->mutex));
    EXPECT_CALL(0, thrum_shared_mutex_trylock(&s->mutex));
    EXPECT_CALL(0, thrum_shared_mutex_unlock(&s->mutex));
    EXPECT_CALL(0, thrum_shared_mutex_lock_until(&s->mutex, PAST));
    EXPECT_CALL(0, thrum_shared_mutex_unlock(&s->mutex));
}

static int other_thread(void *arg)
{
    struct scene *s = arg;
    if (thrum_shared_mutex_unlock(&s->mutex) != EPERM ||
        thrum_shared_mutex_trylock(&s->mutex) != EBUSY ||
        thrum_shared_mutex_lock_until(&s->mutex, PAST) != ETIMEDOUT ||
        thrum_shared_mutex_lock_until(&s->mutex, SOON) != ETIMEDOUT)
        return 1;
    thi_store_release(&s->at, 1u);
    const int err = thrum_shared_mutex_lock(&s->mutex);
    return err != 0 ? err : thrum_shared_mutex_unlock(&s->mutex);
}

Test(shared_lock, another_thread_waits)
{
    struct scene *s = make();
    struct caller c;
    cr_assert_eq(thrum_shared_mutex_lock(&s->mutex), 0);
    caller_start(&c, other_thread, s);
    await_word(&s->at, 1);
    cr_expect(caller_stays(&c));
    EXPECT_CALL(0, thrum_shared_mutex_unlock(&s->mutex));
    cr_expect_eq(caller_join(&c), 0);
}

Test(shared_lock, another_process_waits)
{
    struct scene *s = make();
    cr_assert_eq(thrum_shared_mutex_lock(&s->mutex), 0);
    const pid_t pid = victim_start(other_thread, s);
    await_word(&s->at, 1);
    EXPECT_CALL(0, thrum_shared_mutex_unlock(&s->mutex));
    cr_expect_eq(victim_end(pid), 0);
    EXPECT_CALL(0, thrum_shared_mutex_lock(&s->mutex));
}

static int child_is_no_owner(void *arg)
{
    struct scene *s = arg;
    return thrum_shared_mutex_owned(&s->mutex) || thrum_shared_mutex_unlock(&s->mutex) != EPERM ||
           thrum_shared_mutex_trylock(&s->mutex) != EBUSY;
}

Test(shared_lock, what_the_parent_holds_stays_the_parents)
{
    struct scene *s = make();
    cr_assert_eq(thrum_shared_mutex_lock(&s->mutex), 0);
    cr_expect_eq(victim_end(victim_start(child_is_no_owner, s)), 0);
    EXPECT_CALL(0, thrum_shared_mutex_unlock(&s->mutex));
}

static int hold_and_die(void *arg)
{
    struct scene *s = arg;
    if (thrum_shared_mutex_lock(&s->mutex) != 0 || thrum_shared_rlock_lock(&s->rlock) != 0 ||
        thrum_shared_rlock_lock(&s->rlock) != 0)
        return 1;
    thi_store_release(&s->at, 1u);
    for (;;)
        pause();
}

Test(shared_lock, the_death_of_a_holder_is_told_to_the_next_alone)
{
    struct scene *s = make();
    const pid_t pid = victim_start(hold_and_die, s);
    await_word(&s->at, 1);
    EXPECT_CALL(EBUSY, thrum_shared_mutex_trylock(&s->mutex));
    victim_kill(pid);
    EXPECT_CALL(EOWNERDEAD, thrum_shared_mutex_lock(&s->mutex));
    cr_expect(thrum_shared_mutex_owned(&s->mutex));
    EXPECT_CALL(EDEADLK, thrum_shared_mutex_lock(&s->mutex));
    EXPECT_CALL(0, thrum_shared_mutex_unlock(&s->mutex));
    EXPECT_CALL(0, thrum_shared_mutex_lock(&s->mutex));
    EXPECT_CALL(0, thrum_shared_mutex_unlock(&s->mutex));
    EXPECT_CALL(EOWNERDEAD, thrum_shared_rlock_trylock(&s->rlock));
    cr_expect_eq(thrum_shared_rlock_depth(&s->rlock), 1);
    EXPECT_CALL(0, thrum_shared_rlock_lock(&s->rlock));
    EXPECT_CALL(0, thrum_shared_rlock_unlock(&s->rlock));
    EXPECT_CALL(0, thrum_shared_rlock_unlock(&s->rlock));
    EXPECT_CALL(0, thrum_shared_rlock_trylock(&s->rlock));
}

static int lock_it(void *arg)
{
    struct scene *s = arg;
    return thrum_shared_mutex_lock(&s->mutex);
}

Test(shared_lock, a_waiter_is_told_of_the_death)
{
    struct scene *s = make();
    struct caller c;
    const pid_t pid = victim_start(hold_and_die, s);
    await_word(&s->at, 1);
    caller_start(&c, lock_it, s);
    cr_expect(caller_stays(&c));
    victim_kill(pid);
    cr_expect_eq(caller_join(&c), EOWNERDEAD);
    /* That thread has ended with the lock: the same once more. */
    EXPECT_CALL(EOWNERDEAD, thrum_shared_mutex_lock(&s->mutex));
    EXPECT_CALL(0, thrum_shared_mutex_unlock(&s->mutex));
}

static int hold_and_stop(void *arg)
{
    struct scene *s = arg;
    if (thrum_shared_mutex_lock(&s->mutex) != 0)
        return 1;
    raise(SIGSTOP);
    s->count++;
    return thrum_shared_mutex_unlock(&s->mutex);
}

Test(shared_lock, who_is_stopped_is_not_robbed)
{
    struct scene *s = make();
    const pid_t pid = victim_start(hold_and_stop, s);
    victim_await_stop(pid);
    EXPECT_CALL(EBUSY, thrum_shared_mutex_trylock(&s->mutex));
    EXPECT_CALL(ETIMEDOUT, thrum_shared_mutex_lock_until(&s->mutex, thrum_after(THRUM_MS(20))));
    EXPECT_CALL(EBUSY, thrum_shared_mutex_trylock(&s->mutex));
    cr_expect_eq(s->count, 0);
    kill(pid, SIGCONT);
    EXPECT_CALL(0, thrum_shared_mutex_lock(&s->mutex));
    cr_expect_eq(s->count, 1);
    EXPECT_CALL(0, thrum_shared_mutex_unlock(&s->mutex));
    cr_expect_eq(victim_end(pid), 0);
}

/* Who stands in line is stopped: the others wait behind it, until their deadlines; and go on with it. */
static int stop_in_line(void *arg)
{
    struct scene *s = arg;
    thi_store_release(&s->at, 1u);
    const int err = thrum_shared_mutex_lock(&s->mutex);
    return err != 0 ? err : thrum_shared_mutex_unlock(&s->mutex);
}

Test(shared_lock, who_is_stopped_while_it_waits_keeps_nobody_from_a_deadline)
{
    struct scene *s = make();
    struct caller c;
    cr_assert_eq(thrum_shared_mutex_lock(&s->mutex), 0);
    const pid_t pid = victim_start(stop_in_line, s);
    await_word(&s->at, 1);
    thi_nap(20000); /* for coverage: it sleeps by then */
    kill(pid, SIGSTOP);
    victim_await_stop(pid);
    thi_store_release(&s->at, 0u);
    caller_start(&c, other_thread, s); /* two waits with deadlines, and one without */
    await_word(&s->at, 1);
    EXPECT_CALL(0, thrum_shared_mutex_unlock(&s->mutex));
    kill(pid, SIGCONT);
    cr_expect_eq(victim_end(pid), 0);
    cr_expect_eq(caller_join(&c), 0);
}

Test(shared_lock, a_recursive_lock_counts)
{
    struct scene *s = make();
    EXPECT_CALL(EPERM, thrum_shared_rlock_unlock(&s->rlock));
    EXPECT_CALL(0, thrum_shared_rlock_lock(&s->rlock));
    EXPECT_CALL(0, thrum_shared_rlock_trylock(&s->rlock));
    EXPECT_CALL(0, thrum_shared_rlock_lock_until(&s->rlock, PAST));
    cr_expect_eq(thrum_shared_rlock_depth(&s->rlock), 3);
    for (int i = 0; i < 3; i++)
        EXPECT_CALL(0, thrum_shared_rlock_unlock(&s->rlock));
    cr_expect_eq(thrum_shared_rlock_depth(&s->rlock), 0);
    EXPECT_CALL(EPERM, thrum_shared_rlock_unlock(&s->rlock));
}

static int rlock_is_anothers(void *arg)
{
    struct scene *s = arg;
    return thrum_shared_rlock_trylock(&s->rlock) != EBUSY ||
           thrum_shared_rlock_lock_until(&s->rlock, SOON) != ETIMEDOUT ||
           thrum_shared_rlock_owned(&s->rlock) || thrum_shared_rlock_depth(&s->rlock) != 0 ||
           thrum_shared_rlock_unlock(&s->rlock) != EPERM;
}

Test(shared_lock, a_recursive_lock_is_its_owners)
{
    struct scene *s = make();
    struct caller c;
    cr_assert_eq(thrum_shared_rlock_lock(&s->rlock), 0);
    caller_start(&c, rlock_is_anothers, s);
    cr_expect_eq(caller_join(&c), 0);
    cr_expect_eq(victim_end(victim_start(rlock_is_anothers, s)), 0);
}

/* ------------------------------------------------------------------------------------------------
 * Coroutines: of one thread, and yet each its own owner; only who waits is parked
 */

static int first_coroutine(void *arg, void **result)
{
    struct scene *s = arg;
    (void)result;
    if (thrum_shared_mutex_lock(&s->mutex) != 0)
        return 1;
    while (thi_load_relaxed(&s->at) != 1)
        thrum_yield();
    for (int i = 0; i < 100; i++) /* the second is not let in meanwhile */
        thrum_yield();
    if (s->count != 0)
        return 2;
    return thrum_shared_mutex_unlock(&s->mutex);
}

static int second_coroutine(void *arg, void **result)
{
    struct scene *s = arg;
    (void)result;
    if (thrum_shared_mutex_trylock(&s->mutex) != EBUSY ||
        thrum_shared_mutex_unlock(&s->mutex) != EPERM ||
        thrum_shared_mutex_lock_until(&s->mutex, SOON) != ETIMEDOUT)
        return 3;
    thi_store_relaxed(&s->at, 1u);
    if (thrum_shared_mutex_lock(&s->mutex) != 0)
        return 4;
    s->count++;
    return thrum_shared_mutex_unlock(&s->mutex);
}

static int two_coroutines(void *arg, void **result)
{
    thrum_coro_t *first = NULL, *second = NULL;
    (void)result;
    if (thrum_go(&first, first_coroutine, arg) != 0 ||
        thrum_go(&second, second_coroutine, arg) != 0)
        return 5;
    int err = thrum_coro_join(first, NULL);
    if (err == 0)
        err = thrum_coro_join(second, NULL);
    thrum_coro_release(first);
    thrum_coro_release(second);
    return err;
}

Test(shared_lock, coroutines_park_themselves_only)
{
    struct scene *s = make();
    cr_expect_eq(thrum_run(two_coroutines, s, NULL), 0);
    cr_expect_eq(s->count, 1);
}

static int lock_in_loop(void *arg, void **result)
{
    struct scene *s = arg;
    (void)result;
    return thrum_shared_mutex_lock(&s->mutex);
}

Test(shared_lock, a_coroutine_is_told_of_a_death)
{
    struct scene *s = make();
    const pid_t pid = victim_start(hold_and_die, s);
    await_word(&s->at, 1);
    victim_kill(pid);
    cr_expect_eq(thrum_run(lock_in_loop, s, NULL), EOWNERDEAD);
}

static int kill_it_soon(void *arg, void **result)
{
    (void)result;
    thrum_yield();
    victim_kill(*(pid_t *)arg);
    return 0;
}

struct pair {
    struct scene *scene;
    pid_t pid;
};

static int wait_while_it_dies(void *arg, void **result)
{
    struct pair *p = arg;
    (void)result;
    if (thrum_go(NULL, kill_it_soon, &p->pid) != 0)
        return 1;
    const int err = thrum_shared_mutex_lock(&p->scene->mutex);
    return err == EOWNERDEAD ? thrum_shared_mutex_unlock(&p->scene->mutex) : 1;
}

Test(shared_lock, a_coroutine_that_waits_is_told_of_a_death)
{
    struct pair p = {make(), 0};
    p.pid = victim_start(hold_and_die, p.scene);
    await_word(&p.scene->at, 1);
    cr_expect_eq(thrum_run(wait_while_it_dies, &p, NULL), 0);
    EXPECT_CALL(0, thrum_shared_mutex_lock(&p.scene->mutex));
}
