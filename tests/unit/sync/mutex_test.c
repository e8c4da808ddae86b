#include <thrum/mutex.h>
#include <thrum/rlock.h>

#include "support/puppet.h"
#include "sync/lock_conformance.h"
#include "sync/sync.h"

TestSuite(mutex, .timeout = 30);

static int init(void *m)
{
    return thrum_mutex_init(m);
}

static void destroy(void *m)
{
    thrum_mutex_destroy(m);
}

static int lock(void *m)
{
    return thrum_mutex_lock(m);
}

static int trylock(void *m)
{
    return thrum_mutex_trylock(m);
}

static int lock_until(void *m, thrum_time_t deadline)
{
    return thrum_mutex_lock_until(m, deadline);
}

static int unlock(void *m)
{
    return thrum_mutex_unlock(m);
}

static unsigned parked(const void *m)
{
    return thi_park_count(m);
}

static const struct lock_kind kind = {
    .size = sizeof(thrum_mutex_t),
    .init = init,
    .destroy = destroy,
    .lock = lock,
    .trylock = trylock,
    .lock_until = lock_until,
    .unlock = unlock,
    .parked = parked,
    .exclude = lock,
    .include = unlock,
};

LOCK_CONFORMANCE(mutex, &kind)

Test(mutex, is_small)
{
    cr_expect_leq(sizeof(thrum_mutex_t), (size_t)8);
}

Test(mutex, says_whether_it_is_locked)
{
    thrum_mutex_t m = THRUM_MUTEX_INIT;
    cr_expect_not(thrum_mutex_locked(NULL));
    cr_expect_not(thrum_mutex_locked(&m));
    EXPECT_CALL(0, thrum_mutex_lock(&m));
    cr_expect(thrum_mutex_locked(&m));
    EXPECT_CALL(EBUSY, thrum_mutex_trylock(&m));
    EXPECT_CALL(ETIMEDOUT, thrum_mutex_lock_until(&m, SOON));
    cr_expect(thrum_mutex_locked(&m));
    EXPECT_CALL(0, thrum_mutex_unlock(&m));
    cr_expect_not(thrum_mutex_locked(&m));
}

Test(mutex, any_strand_may_unlock_it)
{
    thrum_mutex_t m = THRUM_MUTEX_INIT;
    EXPECT_CALL(0, thrum_mutex_lock(&m));
    cr_expect_eq(elsewhere(unlock, &m), 0);
    cr_expect_not(thrum_mutex_locked(&m));
    cr_expect_eq(elsewhere(lock, &m), 0);
    EXPECT_CALL(0, thrum_mutex_unlock(&m));
}

Test(mutex, a_strand_that_locks_it_twice_waits_for_anothers_unlock)
{
    thrum_mutex_t m = THRUM_MUTEX_INIT;
    struct caller c;
    caller_start(&c, lock, &m);
    cr_expect_eq(caller_join(&c), 0);
    caller_start(&c, lock, &m);
    await_parked(&m, 1);
    EXPECT_CALL(0, thrum_mutex_unlock(&m));
    cr_expect_eq(caller_join(&c), 0);
    EXPECT_CALL(0, thrum_mutex_unlock(&m));
}

/* --- order ---------------------------------------------------------------------------------------- */

struct queue {
    thrum_mutex_t m;
    int order[8];
    int served;
};

struct place {
    struct queue *q;
    int number;
};

static int take_turn(void *arg)
{
    struct place *p = arg;
    const int err = thrum_mutex_lock(&p->q->m);
    p->q->order[p->q->served++] = p->number;
    return err != 0 ? err : thrum_mutex_unlock(&p->q->m);
}

Test(mutex, those_who_sleep_are_served_in_order_of_arrival)
{
    for (int round = 0; round < 20; round++) {
        struct queue q = {.m = THRUM_MUTEX_INIT};
        struct place p[6];
        struct caller c[6];
        EXPECT_CALL(0, thrum_mutex_lock(&q.m));
        for (int i = 0; i < 6; i++) {
            p[i] = (struct place){&q, i};
            caller_start(&c[i], take_turn, &p[i]);
            await_parked(&q.m, (unsigned)i + 1);
        }
        EXPECT_CALL(0, thrum_mutex_unlock(&q.m));
        for (int i = 0; i < 6; i++)
            cr_expect_eq(caller_join(&c[i]), 0);
        for (int i = 0; i < 6; i++)
            cr_expect_eq(q.order[i], i, "place %d went to %d", i, q.order[i]);
    }
}

/* --- being passed --------------------------------------------------------------------------------- */

struct queued {
    thrum_mutex_t m;
    thrum_time_t deadline;
    uint32_t got;
};

static int lock_and_say_so(void *arg)
{
    struct queued *q = arg;
    const int err = thrum_mutex_lock_until(&q->m, q->deadline);
    if (err != 0)
        return err;
    thi_store_release(&q->got, 1u);
    return thrum_mutex_unlock(&q->m);
}

static bool has_got(const struct queued *q)
{
    return thi_load_acquire(&q->got) != 0;
}

/* As long as the woken strand does not run, the mutex is anybody's. */
Test(mutex, a_woken_waiter_that_does_not_run_holds_nobody_up)
{
    struct queued q = {.m = THRUM_MUTEX_INIT, .deadline = THRUM_FOREVER};
    EXPECT_CALL(0, thrum_mutex_lock(&q.m));
    struct puppet *p = puppet_start(lock_and_say_so, &q);
    puppet_await_asleep(p);
    puppet_hold(p);
    for (int i = 0; i < 1000; i++) {
        EXPECT_CALL(0, thrum_mutex_unlock(&q.m));
        EXPECT_CALL(0, thrum_mutex_trylock(&q.m));
    }
    cr_expect_eq(puppet_wakes(p), 1u, "one wake-up is enough");
    EXPECT_CALL(0, thrum_mutex_unlock(&q.m));
    puppet_let_go(p);
    cr_expect_eq(puppet_join(p), 0);
    cr_expect_not(thrum_mutex_locked(&q.m));
}

/* Woken and passed again and again, it is handed the mutex in the end. */
Test(mutex, a_waiter_is_not_passed_for_ever)
{
    struct queued q = {.m = THRUM_MUTEX_INIT, .deadline = THRUM_FOREVER};
    EXPECT_CALL(0, thrum_mutex_lock(&q.m));
    struct puppet *p = puppet_start(lock_and_say_so, &q);
    int err = 0;
    unsigned passed = 0;
    for (; err == 0 && passed < 1000000; passed++) {
        puppet_await_asleep(p); /* it has looked, and found this strand inside */
        puppet_hold(p);
        cr_assert_eq(thrum_mutex_unlock(&q.m), 0);
        err = thrum_mutex_trylock(&q.m); /* barges in */
        puppet_let_go(p);
    }
    cr_expect_eq(err, EBUSY, "passed %u times", passed);
    cr_expect_eq(puppet_join(p), 0);
    cr_expect_not(thrum_mutex_locked(&q.m));
}

/* Woken, it is the one that others rely on; when it gives up instead, the next one is woken. */
Test(mutex, a_woken_waiter_that_gives_up_passes_the_turn_on)
{
    struct queued q = {.m = THRUM_MUTEX_INIT, .deadline = thrum_after(THRUM_S(1000))};
    struct queued *next = &q;
    EXPECT_CALL(0, thrum_mutex_lock(&q.m));
    struct puppet *first = puppet_start(lock_and_say_so, &q);
    puppet_await_asleep(first);
    struct puppet *second = puppet_start(lock_and_say_so, next);
    puppet_await_asleep(second);
    await_parked(&q.m, 2);

    puppet_hold(first);
    EXPECT_CALL(0, thrum_mutex_unlock(&q.m)); /* wakes the first */
    EXPECT_CALL(0, thrum_mutex_trylock(&q.m));
    puppet_expire(first);
    puppet_let_go(first);
    cr_expect_eq(puppet_join(first), ETIMEDOUT);
    cr_expect_not(has_got(&q));
    cr_expect_eq(puppet_wakes(second), 0u);
    EXPECT_CALL(0, thrum_mutex_unlock(&q.m)); /* must wake the second */
    cr_expect_eq(puppet_join(second), 0);
    cr_expect(has_got(&q));
    cr_expect_not(thrum_mutex_locked(&q.m));
}

#define HANDOFF_BIT 4u

static int find_holder_lost(void *arg)
{
    return thrum_mutex_lock(arg) == EOWNERDEAD ? 0 : 1;
}

/* Handed over to one that has not run yet: it is the holder. */
Test(mutex, what_was_handed_over_is_the_new_holders_before_it_runs)
{
    struct queued q = {.m = THRUM_MUTEX_INIT, .deadline = thrum_after(THRUM_S(1000))};
    EXPECT_CALL(0, thrum_mutex_lock(&q.m));
    struct puppet *p = puppet_start(lock_and_say_so, &q);
    puppet_await_asleep(p);
    q.m.thrum_state |= HANDOFF_BIT; /* as one leaves it that was passed for too long */
    puppet_hold(p);
    EXPECT_CALL(0, thrum_mutex_unlock(&q.m));
    cr_expect(thrum_mutex_locked(&q.m));
    cr_expect_eq(thi_mutex_site.owner(&q.m), p->strand.id);
    EXPECT_CALL(EBUSY, thrum_mutex_trylock(&q.m));
    puppet_expire(p);
    cr_expect_eq(child_run(find_holder_lost, &q.m), 0);
    puppet_let_go(p);
    cr_expect_eq(puppet_join(p), 0);
    cr_expect_not(thrum_mutex_locked(&q.m));
}

/* --- fork ----------------------------------------------------------------------------------------- */

static int contend_in_child(void *arg)
{
    struct locked *l = arg;
    struct caller c[4];
    l->rounds = 20000;
    l->counter = 0;
    for (int i = 0; i < 4; i++)
        caller_start(&c[i], lock_count, l);
    for (int i = 0; i < 4; i++) {
        if (caller_join(&c[i]) != 0)
            return 1;
    }
    return l->counter == 4 * l->rounds ? 0 : 2;
}

static int release_and_contend_in_child(void *arg)
{
    struct locked *l = arg;
    if (thrum_mutex_unlock((thrum_mutex_t *)(void *)l->lock) != 0)
        return 3;
    if (thrum_mutex_trylock((thrum_mutex_t *)(void *)l->lock) != 0)
        return 4;
    if (thrum_mutex_unlock((thrum_mutex_t *)(void *)l->lock) != 0)
        return 5;
    return contend_in_child(arg);
}

/* A fork may find a waiter looking, watching, asking, asleep, or woken and on its way. */
Test(mutex, a_child_is_not_held_up_by_waiters_of_the_parent)
{
    if (!CHILD_MAY_START_THREADS)
        cr_skip_test("the sanitizer cannot do that");
    const thrum_time_t end = thrum_after(THRUM_S(5)); /* a busy machine does not get through */
    for (int round = 0; round < 40 && thrum_now() < end; round++) {
        struct locked l;
        struct caller c[2];
        locked_begin(&l, &kind);
        thrum_mutex_t *m = (thrum_mutex_t *)(void *)l.lock;
        EXPECT_CALL(0, thrum_mutex_lock(m));
        caller_start(&c[0], lock_visit, &l);
        caller_start(&c[1], lock_visit, &l);
        const thrum_time_t then = thrum_after(THRUM_US(3 * round));
        caller_strand(&c[0]);
        while (thrum_now() < then)
            thi_cpu_pause();
        cr_assert_eq(child_run(release_and_contend_in_child, &l), 0, "round %d", round);
        EXPECT_CALL(0, thrum_mutex_unlock(m));
        cr_expect_eq(caller_join(&c[0]), 0);
        cr_expect_eq(caller_join(&c[1]), 0);
    }
}

/* What the word can say at the moment of a fork, put there by hand: everything but LOCKED is about
 * strands that do not exist in the child. */
static int lock_stale_word(void *arg)
{
    thrum_mutex_t *m = arg;
    if (thrum_mutex_trylock(m) != 0)
        return 1;
    if (thrum_mutex_unlock(m) != 0)
        return 2;
    if (thrum_mutex_lock_until(m, thrum_after(THRUM_S(5))) != 0)
        return 3;
    if (thrum_mutex_unlock(m) != 0)
        return 4;
    return thrum_mutex_unlock(m) == EPERM ? 0 : 5;
}

Test(mutex, a_child_takes_what_was_promised_to_a_watcher_of_the_parent)
{
    const uint32_t parked_bit = 2;
    const uint32_t handoff_bit = 4;
    const uint32_t watched_here = 1u << 8; /* by a strand of the first process */
    const uint32_t words[] = {watched_here, watched_here | parked_bit, watched_here | handoff_bit,
                              watched_here | parked_bit | handoff_bit, parked_bit};
    cr_assert_not_null(thi_self()); /* the library is in use before the fork */
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        thrum_mutex_t m = {words[i], 0};
        cr_expect_eq(child_run(lock_stale_word, &m), 0, "state %#x", (unsigned)words[i]);
    }
}

/* --- destructors of thread-specific data --------------------------------------------------------- */

static pthread_key_t keys[3];
static thrum_mutex_t shared = THRUM_MUTEX_INIT;
static uint32_t destroyed;
static uint32_t failed;

/* Uses the lock, contended, and asks for another round while there are any. */
static void use_in_destructor(void *value)
{
    const uintptr_t rounds = (uintptr_t)value;
    if (thrum_mutex_lock(&shared) != 0)
        thi_fetch_add_relaxed(&failed, 1u);
    sched_yield();
    if (thrum_mutex_unlock(&shared) != 0)
        thi_fetch_add_relaxed(&failed, 1u);
    thi_fetch_add_relaxed(&destroyed, 1u);
    for (size_t i = 0; i < 3 && rounds > 1; i++) {
        if (pthread_getspecific(keys[i]) == NULL) {
            pthread_setspecific(keys[i], (void *)(rounds - 1));
            return;
        }
    }
}

static int end_with_destructors(void *arg)
{
    for (size_t i = 0; i < 3; i++)
        pthread_setspecific(keys[i], arg);
    return 0;
}

Test(mutex, destructors_of_thread_specific_data_may_lock)
{
    enum { ROUNDS = 3, THREADS = 8 };
    const thrum_time_t end = thrum_after(THRUM_S(5)); /* a busy machine does not get through */
    uint32_t times = 0;
    for (size_t i = 0; i < 3; i++)
        cr_assert_eq(pthread_key_create(&keys[i], use_in_destructor), 0);
    for (; times < 50 && thrum_now() < end; times++) {
        struct caller c[THREADS];
        for (int i = 0; i < THREADS; i++)
            caller_start(&c[i], end_with_destructors, (void *)(uintptr_t)ROUNDS);
        for (int i = 0; i < THREADS; i++)
            cr_expect_eq(caller_join(&c[i]), 0);
    }
    cr_expect_eq(failed, 0u);
    cr_expect_geq(destroyed, times * THREADS * 3u);
    EXPECT_CALL(EPERM, thrum_mutex_unlock(&shared));
    cr_expect_leq(thi_strand_slots(), THREADS * CALLER_RECORDS,
                  "%u records for %d threads at a time", (unsigned)thi_strand_slots(), THREADS);
}
