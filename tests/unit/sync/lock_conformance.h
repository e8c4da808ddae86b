#ifndef TESTS_LOCK_CONFORMANCE_H
#define TESTS_LOCK_CONFORMANCE_H

/*
 * What every lock promises: one body for the mutex, the recursive lock and both sides of the
 * read-write lock. A test file names its lock and says LOCK_CONFORMANCE(suite, &kind).
 */

#include <string.h>

#include <thrum/cancel.h>
#include <thrum/mutex.h>
#include <thrum/semaphore.h>

#include "support/child.h"
#include "support/expect.h"
#include "support/graveyard.h"

#define LOCK_BYTES 64

/* How long a test goes on with its rounds: on a busy machine one can take as long as a hundred. */
#define ENOUGH THRUM_S(2)

struct lock_kind {
    size_t size;
    int (*init)(void *lock);
    void (*destroy)(void *lock);
    int (*lock)(void *lock);
    int (*trylock)(void *lock);
    int (*lock_until)(void *lock, thrum_time_t deadline);
    int (*unlock)(void *lock);
    unsigned (*parked)(const void *lock); /* all who wait for it */

    /* What keeps `lock` waiting: lock and unlock again, or, for readers, a writer's. */
    int (*exclude)(void *lock);
    int (*include)(void *lock);
};

/* A lock with its kind, in memory of its own. */
struct locked {
    const struct lock_kind *kind;
    THRUM_ALIGNED(8) unsigned char lock[LOCK_BYTES];
    thrum_time_t deadline;
    uint64_t counter; /* protected by the lock */
    uint32_t visits;
    uint64_t rounds;
    uint32_t stop;
};

static void locked_begin(struct locked *l, const struct lock_kind *kind)
{
    *l = (struct locked){.kind = kind, .deadline = THRUM_FOREVER};
    cr_assert_leq(kind->size, (size_t)LOCK_BYTES);
    cr_assert_eq(kind->init(l->lock), 0);
}

static void await_lock_parked(const struct locked *l, unsigned n)
{
    while (l->kind->parked(l->lock) != n)
        sched_yield();
}

/* Locks, and lets it go again. */
static int lock_visit(void *arg)
{
    struct locked *l = arg;
    int err = l->kind->lock_until(l->lock, l->deadline);
    if (err != 0)
        return err;
    thi_fetch_add_relaxed(&l->visits, 1u);
    return l->kind->unlock(l->lock);
}

static int lock_visit_patiently(void *arg)
{
    struct locked *l = arg;
    const int err = l->kind->lock(l->lock);
    return err != 0 ? err : l->kind->unlock(l->lock);
}

static int lock_try(void *arg)
{
    struct locked *l = arg;
    return l->kind->trylock(l->lock);
}

static int lock_try_past(void *arg)
{
    struct locked *l = arg;
    return l->kind->lock_until(l->lock, PAST);
}

/* The same from another strand, for locks that know their owner. */
static int elsewhere(int (*fn)(void *arg), void *arg)
{
    struct caller c;
    caller_start(&c, fn, arg);
    return caller_join(&c);
}

static void lock_refuses_null(const struct lock_kind *kind)
{
    EXPECT_CALL(EINVAL, kind->init(NULL));
    EXPECT_CALL(EINVAL, kind->lock(NULL));
    EXPECT_CALL(EINVAL, kind->trylock(NULL));
    EXPECT_CALL(EINVAL, kind->lock_until(NULL, THRUM_FOREVER));
    EXPECT_CALL(EINVAL, kind->unlock(NULL));
    kind->destroy(NULL);
}

static void lock_unlocked_twice(const struct lock_kind *kind)
{
    struct locked l;
    unsigned char before[LOCK_BYTES];
    locked_begin(&l, kind);
    memcpy(before, l.lock, kind->size);
    EXPECT_CALL(EPERM, kind->unlock(l.lock));
    cr_expect_eq(memcmp(before, l.lock, kind->size), 0, "a refused unlock changes nothing");

    EXPECT_CALL(0, kind->lock(l.lock));
    EXPECT_CALL(0, kind->unlock(l.lock));
    EXPECT_CALL(EPERM, kind->unlock(l.lock));
    EXPECT_CALL(0, kind->trylock(l.lock));
    EXPECT_CALL(0, kind->unlock(l.lock));
    kind->destroy(l.lock);
}

static void lock_is_valid_when_zero(const struct lock_kind *kind)
{
    struct locked l = {.kind = kind};
    EXPECT_CALL(0, kind->trylock(l.lock));
    EXPECT_CALL(0, kind->unlock(l.lock));
}

static void lock_tries(const struct lock_kind *kind)
{
    struct locked l;
    locked_begin(&l, kind);
    EXPECT_CALL(0, kind->trylock(l.lock));
    EXPECT_CALL(0, kind->unlock(l.lock));
    EXPECT_CALL(0, kind->lock_until(l.lock, PAST));
    EXPECT_CALL(0, kind->unlock(l.lock));
    EXPECT_CALL(0, kind->lock_until(l.lock, INT64_MIN));
    EXPECT_CALL(0, kind->unlock(l.lock));

    EXPECT_CALL(0, kind->exclude(l.lock));
    cr_expect_eq(elsewhere(lock_try, &l), EBUSY);
    cr_expect_eq(elsewhere(lock_try_past, &l), ETIMEDOUT);
    EXPECT_CALL(0, kind->include(l.lock));
    EXPECT_CALL(0, kind->trylock(l.lock));
    EXPECT_CALL(0, kind->unlock(l.lock));
}

static void lock_times_out(const struct lock_kind *kind)
{
    struct locked l;
    locked_begin(&l, kind);
    EXPECT_CALL(0, kind->exclude(l.lock));
    for (int i = 0; i < 5; i++) {
        l.deadline = SOON;
        cr_expect_eq(elsewhere(lock_visit, &l), ETIMEDOUT);
        cr_expect_geq(thrum_now(), l.deadline, "not before its time");
        cr_expect_eq(kind->parked(l.lock), 0u);
    }
    EXPECT_CALL(0, kind->include(l.lock));
    EXPECT_CALL(0, kind->trylock(l.lock));
    EXPECT_CALL(0, kind->unlock(l.lock));
    EXPECT_CALL(EPERM, kind->unlock(l.lock));
    kind->destroy(l.lock);
}

static void lock_lets_waiters_in(const struct lock_kind *kind)
{
    enum { WAITERS = 4 };
    struct locked l;
    struct caller c[WAITERS];
    locked_begin(&l, kind);
    EXPECT_CALL(0, kind->exclude(l.lock));
    for (unsigned i = 0; i < WAITERS; i++) {
        caller_start(&c[i], lock_visit, &l);
        await_lock_parked(&l, i + 1);
    }
    cr_expect(caller_stays(&c[0]));
    EXPECT_CALL(0, kind->include(l.lock));
    for (int i = 0; i < WAITERS; i++)
        cr_expect_eq(caller_join(&c[i]), 0);
    cr_expect_eq(l.visits, (uint32_t)WAITERS);
    EXPECT_CALL(EPERM, kind->unlock(l.lock));
}

/* One that gives up, at whatever moment, leaves the others' turn alone. */
static void lock_forgets_those_who_give_up(const struct lock_kind *kind)
{
    struct locked l;
    locked_begin(&l, kind);
    const thrum_time_t end = thrum_after(ENOUGH);
    for (int round = 0; round < 100 && thrum_now() < end; round++) {
        struct locked *patient = &l;
        struct caller c[2];
        EXPECT_CALL(0, kind->exclude(l.lock));
        l.deadline = thrum_after(THRUM_US(5 * round));
        caller_start(&c[0], lock_visit, &l);
        caller_start(&c[1], lock_visit_patiently, patient);
        while (thrum_now() < l.deadline)
            sched_yield();
        EXPECT_CALL(0, kind->include(l.lock));
        const int err = caller_join(&c[0]);
        cr_expect(err == 0 || err == ETIMEDOUT, "%s", expect_name(err));
        cr_expect_eq(caller_join(&c[1]), 0);
        EXPECT_CALL(EPERM, kind->unlock(l.lock));
    }
}

static int lock_count(void *arg)
{
    struct locked *l = arg;
    for (uint64_t i = 0; i < l->rounds; i++) {
        if (l->kind->exclude(l->lock) != 0)
            return EINVAL;
        l->counter++;
        if (l->kind->include(l->lock) != 0)
            return EPERM;
    }
    return 0;
}

static void lock_excludes(const struct lock_kind *kind)
{
    enum { THREADS = 4 };
    struct locked l;
    struct caller c[THREADS];
    locked_begin(&l, kind);
    l.rounds = 30000;
    for (int i = 0; i < THREADS; i++)
        caller_start(&c[i], lock_count, &l);
    for (int i = 0; i < THREADS; i++)
        cr_expect_eq(caller_join(&c[i]), 0);
    cr_expect_eq(l.counter, THREADS * l.rounds);
    EXPECT_CALL(EPERM, kind->unlock(l.lock));
}

static int lock_then_wait(void *arg)
{
    struct locked *l = arg;
    thrum_sem_t never = THRUM_SEM_INIT(0);
    int err = lock_visit(l);
    if (err != 0)
        return err;
    if (!thrum_cancelled() || thrum_sem_acquire(&never) != ECANCELED)
        return EPROTO;
    err = lock_visit(l); /* without waiting, too */
    return err != 0 ? err : thrum_sem_acquire(&never);
}

static void lock_ignores_cancellation(const struct lock_kind *kind)
{
    struct locked l;
    struct caller c;
    locked_begin(&l, kind);
    EXPECT_CALL(0, kind->exclude(l.lock));
    caller_start(&c, lock_then_wait, &l);
    await_lock_parked(&l, 1);
    caller_cancel(&c);
    cr_expect(caller_stays(&c), "locking is not a cancellation point");
    cr_expect_eq(kind->parked(l.lock), 1u);
    EXPECT_CALL(0, kind->include(l.lock));
    cr_expect_eq(caller_join(&c), ECANCELED, "but waiting is, afterwards");
}

struct pthread_victim {
    struct locked *l;
    int locked;
    int unlocked;
    int cancelled; /* it came to the cancellation point that it should be ended at */
};

static void *pthread_victim_main(void *arg)
{
    struct pthread_victim *v = arg;
    pthread_cancel(pthread_self());
    v->locked = v->l->kind->lock(v->l->lock);
    v->unlocked = v->l->kind->unlock(v->l->lock);
    v->cancelled = 1;
    pthread_testcancel();
    v->cancelled = 2;
    return NULL;
}

static void lock_is_no_pthread_cancellation_point(const struct lock_kind *kind)
{
    struct locked l;
    struct pthread_victim v = {&l, -1, -1, 0};
    pthread_t thread;
    void *result = NULL;
    locked_begin(&l, kind);
    EXPECT_CALL(0, kind->exclude(l.lock));
    cr_assert_eq(pthread_create(&thread, NULL, pthread_victim_main, &v), 0);
    await_lock_parked(&l, 1);
    EXPECT_CALL(0, kind->include(l.lock));
    cr_assert_eq(pthread_join(thread, &result), 0);
    cr_expect_eq(result, PTHREAD_CANCELED);
    cr_expect_eq(v.locked, 0);
    cr_expect_eq(v.unlocked, 0);
    cr_expect_eq(v.cancelled, 1);
    EXPECT_CALL(0, kind->trylock(l.lock));
}

/* Locks and unlocks until it is told to stop. */
static int lock_hog(void *arg)
{
    struct locked *l = arg;
    uint64_t n = 0;
    while (thi_load_relaxed(&l->stop) == 0) {
        if (l->kind->exclude(l->lock) != 0)
            return EINVAL;
        thi_store_relaxed(&l->rounds, ++n);
        if (l->kind->include(l->lock) != 0)
            return EPERM;
    }
    return 0;
}

/* A hog makes up to a hundred million rounds a second; a waiter is owed the lock after 100 us of
 * being passed. It needs a processor to notice, and may be without one for any time; but not always. */
#define HOG_ROUNDS_MAX UINT64_C(50000000)
#define HOG_TRIES 100
#define HOGGED_MAX (HOG_TRIES / 4)

static void lock_is_not_hogged(const struct lock_kind *kind)
{
    struct locked l;
    struct caller hog;
    locked_begin(&l, kind);
    unsigned hogged = 0;
    caller_start(&hog, lock_hog, &l);
    for (int i = 0; i < HOG_TRIES && hogged <= HOGGED_MAX; i++) {
        const uint64_t before = thi_load_relaxed(&l.rounds);
        EXPECT_CALL(0, kind->lock(l.lock));
        const uint64_t passed = thi_load_relaxed(&l.rounds) - before;
        EXPECT_CALL(0, kind->unlock(l.lock));
        hogged += passed >= HOG_ROUNDS_MAX;
    }
    cr_expect_leq(hogged, HOGGED_MAX);
    thi_store_relaxed(&l.stop, 1u);
    cr_expect_eq(caller_join(&hog), 0);
}

/* One hands the lock over by unlocking it, the other frees it as soon as it has it. */
struct handover {
    const struct lock_kind *kind;
    struct graveyard *graves;
    void *lock;
    uint32_t turn; /* 1: the taker's, 2: there are no more */
};

static int handover_taker(void *arg)
{
    struct handover *h = arg;
    for (;;) {
        uint32_t turn = 0;
        while ((turn = thi_load_acquire(&h->turn)) == 0)
            sched_yield();
        if (turn == 2)
            return 0;
        void *lock = h->lock;
        int err = h->kind->exclude(lock);
        if (err == 0)
            err = h->kind->include(lock);
        if (err != 0)
            return err;
        h->kind->destroy(lock);
        graveyard_bury(lock);
        thi_store_release(&h->turn, 0u);
    }
}

static void lock_may_be_freed_once_had(const struct lock_kind *kind)
{
    struct graveyard graves;
    struct handover h = {.kind = kind, .graves = &graves};
    struct caller taker;
    const thrum_time_t end = thrum_after(ENOUGH);
    graveyard_open(&graves);
    caller_start(&taker, handover_taker, &h);
    for (int i = 0; i < CALLER_ROUNDS(20000) && thrum_now() < end && !caller_done(&taker); i++) {
        h.lock = graveyard_rise(&graves, kind->size);
        if (kind->exclude(h.lock) != 0)
            break;
        thi_store_release(&h.turn, 1u);
        /* Unlocked while the other is on its way, looks, watches or sleeps. */
        for (int pause = 0; pause < i % 256; pause++)
            thi_cpu_pause();
        if (i % 64 == 0)
            await_parked(h.lock, 1);
        if (kind->include(h.lock) != 0)
            break;
        while (thi_load_acquire(&h.turn) != 0 && !caller_done(&taker))
            sched_yield();
    }
    thi_store_release(&h.turn, 2u);
    cr_expect_eq(caller_join(&taker), 0);
    graveyard_close(&graves);
}

/* --- after fork ---------------------------------------------------------------------------------- */

static int child_uses_afresh(void *arg)
{
    struct locked l = {.kind = arg, .deadline = THRUM_FOREVER, .rounds = 2000};
    struct caller c[2];
    for (int i = 0; i < 2; i++)
        caller_start(&c[i], lock_count, &l);
    for (int i = 0; i < 2; i++) {
        if (caller_join(&c[i]) != 0)
            return 1;
    }
    return l.counter == 2 * l.rounds ? 0 : 2;
}

static void lock_works_afresh_in_a_child(const struct lock_kind *kind)
{
    struct locked l;
    locked_begin(&l, kind);
    l.rounds = 100;
    struct caller c;
    caller_start(&c, lock_count, &l); /* the parent has threads, and records of them */
    caller_join(&c);
    cr_expect_eq(child_run(child_uses_afresh, (void *)(uintptr_t)kind), 0);
}

static int child_releases(void *arg)
{
    struct locked *l = arg;
    const struct lock_kind *kind = l->kind;
    if (kind->include(l->lock) != 0)
        return 1;
    struct caller c[3];
    l->rounds = 3000;
    l->counter = 0;
    for (int i = 0; i < 3; i++)
        caller_start(&c[i], lock_count, l);
    for (int i = 0; i < 3; i++) {
        if (caller_join(&c[i]) != 0)
            return 2;
    }
    return l->counter == 3 * l->rounds ? 0 : 3;
}

static void lock_of_the_forker_is_released_in_the_child(const struct lock_kind *kind)
{
    struct locked l;
    locked_begin(&l, kind);
    EXPECT_CALL(0, kind->exclude(l.lock));
    cr_expect_eq(child_run(child_releases, &l), 0);
    EXPECT_CALL(0, kind->include(l.lock));
}

static int child_finds_lost(void *arg)
{
    struct locked *l = arg;
    if (l->kind->lock(l->lock) != EOWNERDEAD)
        return 1;
    if (l->kind->lock_until(l->lock, thrum_after(THRUM_S(5))) != EOWNERDEAD)
        return 2;
    if (l->kind->trylock(l->lock) != EBUSY)
        return 3;
    if (l->kind->init(l->lock) != 0 || l->kind->lock(l->lock) != 0)
        return 4;
    return l->kind->unlock(l->lock) == 0 ? 0 : 5;
}

struct keeper {
    struct locked *l;
    uint32_t has_it;
    uint32_t let_go;
};

static int keep_lock(void *arg)
{
    struct keeper *k = arg;
    const int err = k->l->kind->exclude(k->l->lock);
    thi_store_release(&k->has_it, 1u);
    await_word(&k->let_go, 1);
    return err != 0 ? err : k->l->kind->include(k->l->lock);
}

static void lock_of_another_is_lost_in_the_child(const struct lock_kind *kind)
{
    struct locked l;
    struct keeper k = {&l, 0, 0};
    struct caller c;
    locked_begin(&l, kind);
    caller_start(&c, keep_lock, &k);
    await_word(&k.has_it, 1);
    cr_expect_eq(child_run(child_finds_lost, &l), 0);
    thi_store_release(&k.let_go, 1u);
    cr_expect_eq(caller_join(&c), 0);
}

#define LOCK_CONFORMANCE(suite, kind)                                                              \
    Test(suite, null_is_refused)                                                                   \
    {                                                                                              \
        lock_refuses_null(kind);                                                                   \
    }                                                                                              \
    Test(suite, unlocking_what_is_free_is_refused)                                                 \
    {                                                                                              \
        lock_unlocked_twice(kind);                                                                 \
    }                                                                                              \
    Test(suite, zero_memory_is_a_free_lock)                                                        \
    {                                                                                              \
        lock_is_valid_when_zero(kind);                                                             \
    }                                                                                              \
    Test(suite, a_past_deadline_is_a_try)                                                          \
    {                                                                                              \
        lock_tries(kind);                                                                          \
    }                                                                                              \
    Test(suite, a_deadline_ends_the_wait_and_nothing_else)                                         \
    {                                                                                              \
        lock_times_out(kind);                                                                      \
    }                                                                                              \
    Test(suite, waiters_get_in)                                                                    \
    {                                                                                              \
        lock_lets_waiters_in(kind);                                                                \
    }                                                                                              \
    Test(suite, who_gives_up_takes_no_turn)                                                        \
    {                                                                                              \
        lock_forgets_those_who_give_up(kind);                                                      \
    }                                                                                              \
    Test(suite, one_at_a_time)                                                                     \
    {                                                                                              \
        lock_excludes(kind);                                                                       \
    }                                                                                              \
    Test(suite, locking_is_not_cancelled)                                                          \
    {                                                                                              \
        lock_ignores_cancellation(kind);                                                           \
    }                                                                                              \
    Test(suite, locking_is_no_pthread_cancellation_point)                                          \
    {                                                                                              \
        lock_is_no_pthread_cancellation_point(kind);                                               \
    }                                                                                              \
    Test(suite, a_hog_does_not_keep_others_out)                                                    \
    {                                                                                              \
        lock_is_not_hogged(kind);                                                                  \
    }                                                                                              \
    Test(suite, it_may_be_freed_by_the_next_holder)                                                \
    {                                                                                              \
        lock_may_be_freed_once_had(kind);                                                          \
    }                                                                                              \
    Test(suite, a_child_can_use_it_afresh)                                                         \
    {                                                                                              \
        lock_works_afresh_in_a_child(kind);                                                        \
    }                                                                                              \
    Test(suite, a_child_can_release_what_its_forker_held)                                          \
    {                                                                                              \
        lock_of_the_forker_is_released_in_the_child(kind);                                         \
    }                                                                                              \
    Test(suite, a_child_hears_that_the_holder_is_lost)                                             \
    {                                                                                              \
        lock_of_another_is_lost_in_the_child(kind);                                                \
    }

#endif /* TESTS_LOCK_CONFORMANCE_H */
