#include <thrum/semaphore.h>

#include "sync/wait_conformance.h"

TestSuite(semaphore, .timeout = 30);

static int init(void *s)
{
    return thrum_sem_init(s, 0);
}

static int acquire(void *s)
{
    return thrum_sem_acquire(s);
}

static int acquire_until(void *s, thrum_time_t deadline)
{
    return thrum_sem_acquire_until(s, deadline);
}

static int tryacquire(void *s)
{
    return thrum_sem_tryacquire(s);
}

static int release(void *s)
{
    return thrum_sem_release(s);
}

/* Who was let go took the permit. */
static int restart(void *s)
{
    return thrum_sem_value(s) == 0 ? 0 : EPROTO;
}

static const void *key(const void *s)
{
    return s;
}

static const struct wait_kind kind = {
    .size = sizeof(thrum_sem_t),
    .init = init,
    .wait = acquire,
    .wait_until = acquire_until,
    .trywait = tryacquire,
    .let_go = release,
    .restart = restart,
    .key = key,
};

WAIT_CONFORMANCE(semaphore, &kind)

Test(semaphore, null_is_refused_by_the_rest)
{
    EXPECT_CALL(EINVAL, thrum_sem_init(NULL, 1));
    EXPECT_CALL(EINVAL, thrum_sem_init_bounded(NULL, 1, 1));
    EXPECT_CALL(EINVAL, thrum_sem_release(NULL));
    EXPECT_CALL(EINVAL, thrum_sem_release_n(NULL, 1));
    cr_expect_eq(thrum_sem_value(NULL), 0u);
}

Test(semaphore, counts_permits)
{
    thrum_sem_t s = THRUM_SEM_INIT(2);
    cr_expect_eq(thrum_sem_value(&s), 2u);
    EXPECT_CALL(0, thrum_sem_acquire(&s));
    EXPECT_CALL(0, thrum_sem_tryacquire(&s));
    EXPECT_CALL(EAGAIN, thrum_sem_tryacquire(&s));
    cr_expect_eq(thrum_sem_value(&s), 0u);
    EXPECT_CALL(0, thrum_sem_release_n(&s, 5));
    cr_expect_eq(thrum_sem_value(&s), 5u);
    EXPECT_CALL(EINVAL, thrum_sem_release_n(&s, 0));
    cr_expect_eq(thrum_sem_value(&s), 5u);
    EXPECT_CALL(0, thrum_sem_init(&s, 7));
    cr_expect_eq(thrum_sem_value(&s), 7u);
}

Test(semaphore, zero_memory_has_no_permits)
{
    thrum_sem_t s;
    memset(&s, 0, sizeof s);
    EXPECT_CALL(EAGAIN, thrum_sem_tryacquire(&s));
    EXPECT_CALL(0, thrum_sem_release(&s));
    EXPECT_CALL(0, thrum_sem_acquire(&s));
}

Test(semaphore, a_release_at_the_limit_changes_nothing)
{
    thrum_sem_t s = THRUM_SEM_INIT(THRUM_SEM_MAX);
    cr_expect_eq(thrum_sem_value(&s), THRUM_SEM_MAX);
    EXPECT_CALL(EOVERFLOW, thrum_sem_release(&s));
    EXPECT_CALL(EOVERFLOW, thrum_sem_release_n(&s, 1));
    EXPECT_CALL(EOVERFLOW, thrum_sem_release_n(&s, UINT_MAX));
    cr_expect_eq(thrum_sem_value(&s), THRUM_SEM_MAX);
    EXPECT_CALL(0, thrum_sem_acquire(&s));
    EXPECT_CALL(EOVERFLOW, thrum_sem_release_n(&s, 2));
    cr_expect_eq(thrum_sem_value(&s), THRUM_SEM_MAX - 1);
    EXPECT_CALL(0, thrum_sem_release(&s));
    cr_expect_eq(thrum_sem_value(&s), THRUM_SEM_MAX);
}

Test(semaphore, as_many_as_there_can_be_are_released_at_once)
{
    thrum_sem_t s = THRUM_SEM_INIT(0);
    EXPECT_CALL(0, thrum_sem_release_n(&s, UINT_MAX));
    cr_expect_eq(thrum_sem_value(&s), UINT_MAX);
    EXPECT_CALL(0, thrum_sem_init(&s, 1));
    EXPECT_CALL(EOVERFLOW, thrum_sem_release_n(&s, UINT_MAX));
    cr_expect_eq(thrum_sem_value(&s), 1u);
}

Test(semaphore, a_bounded_one_never_holds_more)
{
    thrum_sem_t s;
    EXPECT_CALL(EINVAL, thrum_sem_init_bounded(&s, 0, 0));
    EXPECT_CALL(EINVAL, thrum_sem_init_bounded(&s, 4, 3));
    EXPECT_CALL(0, thrum_sem_init_bounded(&s, 1, 3));
    EXPECT_CALL(EOVERFLOW, thrum_sem_release_n(&s, 3));
    EXPECT_CALL(EOVERFLOW, thrum_sem_release_n(&s, UINT_MAX));
    cr_expect_eq(thrum_sem_value(&s), 1u, "all or none");
    EXPECT_CALL(0, thrum_sem_release_n(&s, 2));
    EXPECT_CALL(EOVERFLOW, thrum_sem_release(&s));
    cr_expect_eq(thrum_sem_value(&s), 3u);
    EXPECT_CALL(0, thrum_sem_acquire(&s));
    EXPECT_CALL(0, thrum_sem_release(&s));
    EXPECT_CALL(EOVERFLOW, thrum_sem_release(&s));

    EXPECT_CALL(0, thrum_sem_init_bounded(&s, THRUM_SEM_MAX, THRUM_SEM_MAX));
    EXPECT_CALL(EOVERFLOW, thrum_sem_release(&s));
    cr_expect_eq(thrum_sem_value(&s), THRUM_SEM_MAX);
}

Test(semaphore, a_bounded_one_lets_waiters_go)
{
    thrum_sem_t s;
    struct caller c[2];
    EXPECT_CALL(0, thrum_sem_init_bounded(&s, 0, 1));
    for (unsigned i = 0; i < 2; i++) {
        caller_start(&c[i], acquire, &s);
        await_parked(&s, i + 1);
    }
    EXPECT_CALL(0, thrum_sem_release(&s));
    cr_expect_eq(caller_join(&c[0]), 0);
    EXPECT_CALL(0, thrum_sem_release(&s));
    cr_expect_eq(caller_join(&c[1]), 0);
}

/* --- waking --------------------------------------------------------------------------------------- */

struct arrival {
    thrum_sem_t *s;
    uint32_t *next;
    uint32_t place;
};

static int acquire_in_turn(void *arg)
{
    struct arrival *a = arg;
    const int err = thrum_sem_acquire(a->s);
    a->place = thi_fetch_add_relaxed(a->next, 1u);
    return err;
}

Test(semaphore, waiters_are_let_go_in_order_of_arrival)
{
    enum { WAITERS = 6 };
    thrum_sem_t s = THRUM_SEM_INIT(0);
    uint32_t next = 0;
    struct arrival a[WAITERS];
    struct caller c[WAITERS];
    for (unsigned i = 0; i < WAITERS; i++) {
        a[i] = (struct arrival){&s, &next, 0};
        caller_start(&c[i], acquire_in_turn, &a[i]);
        await_parked(&s, i + 1);
    }
    for (unsigned i = 0; i < WAITERS; i++) {
        EXPECT_CALL(0, thrum_sem_release(&s));
        cr_expect_eq(caller_join(&c[i]), 0);
        cr_expect_eq(a[i].place, i);
    }
}

Test(semaphore, release_n_lets_that_many_go)
{
    enum { WAITERS = 6 };
    thrum_sem_t s = THRUM_SEM_INIT(0);
    uint32_t next = 0;
    struct arrival a[WAITERS];
    struct caller c[WAITERS];
    for (unsigned i = 0; i < WAITERS; i++) {
        a[i] = (struct arrival){&s, &next, 0};
        caller_start(&c[i], acquire_in_turn, &a[i]);
        await_parked(&s, i + 1);
    }
    EXPECT_CALL(0, thrum_sem_release_n(&s, 4));
    await_word(&next, 4);
    await_parked(&s, 2);
    cr_expect_eq(thrum_sem_value(&s), 0u);
    EXPECT_CALL(0, thrum_sem_release_n(&s, 3));
    for (unsigned i = 0; i < WAITERS; i++)
        cr_expect_eq(caller_join(&c[i]), 0);
    cr_expect_eq(thrum_sem_value(&s), 1u, "one more than was waited for");
}

/* --- at the limit -------------------------------------------------------------------------------- */

struct limit {
    thrum_sem_t s;
    uint32_t stop;
    uint32_t refused;
};

static int refuse_on_and_on(void *arg)
{
    struct limit *l = arg;
    while (thi_load_relaxed(&l->stop) == 0) {
        if (thrum_sem_release_n(&l->s, UINT_MAX) != EOVERFLOW)
            return EPROTO;
        thi_store_relaxed(&l->refused, l->refused + 1);
    }
    return 0;
}

/* Who saw it could take permits that there never were. */
Test(semaphore, a_refused_release_is_never_seen)
{
    struct limit l = {.s = THRUM_SEM_INIT(1)};
    struct caller c;
    unsigned seen = 0;
    caller_start(&c, refuse_on_and_on, &l);
    while (thi_load_relaxed(&l.refused) < 500000)
        seen += thrum_sem_value(&l.s) != 1;
    thi_store_relaxed(&l.stop, 1u);
    cr_expect_eq(caller_join(&c), 0);
    cr_expect_eq(seen, 0u, "%u times", seen);
    cr_expect_eq(thrum_sem_value(&l.s), 1u);
}

struct shared_permits {
    thrum_sem_t s;
    uint32_t in_hand;
    uint32_t most;
};

static int take_and_return(void *arg)
{
    struct shared_permits *p = arg;
    for (int i = 0; i < 20000; i++) {
        if (thrum_sem_acquire(&p->s) != 0)
            return EPROTO;
        const uint32_t now = thi_fetch_add_relaxed(&p->in_hand, 1u) + 1;
        if (now > thi_load_relaxed(&p->most))
            thi_store_relaxed(&p->most, now);
        thi_fetch_sub_relaxed(&p->in_hand, 1u);
        if (thrum_sem_release(&p->s) != 0)
            return EOVERFLOW; /* what was taken has room */
    }
    return 0;
}

static void conserve(struct shared_permits *p, unsigned permits)
{
    struct caller c[6];
    for (int i = 0; i < 6; i++)
        caller_start(&c[i], take_and_return, p);
    for (int i = 0; i < 6; i++)
        cr_expect_eq(caller_join(&c[i]), 0);
    cr_expect_leq(p->most, permits);
    cr_expect_eq(thrum_sem_value(&p->s), permits);
}

Test(semaphore, permits_neither_appear_nor_vanish)
{
    struct shared_permits p = {.s = THRUM_SEM_INIT(2)};
    conserve(&p, 2);
}

Test(semaphore, a_bounded_ones_permits_neither_appear_nor_vanish)
{
    struct shared_permits p = {.in_hand = 0};
    EXPECT_CALL(0, thrum_sem_init_bounded(&p.s, 2, 2));
    conserve(&p, 2);
}
