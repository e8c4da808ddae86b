#include <thrum/rlock.h>

#include "sync/lock_conformance.h"

TestSuite(rlock, .timeout = 30);

static int init(void *r)
{
    return thrum_rlock_init(r);
}

static void destroy(void *r)
{
    thrum_rlock_destroy(r);
}

static int lock(void *r)
{
    return thrum_rlock_lock(r);
}

static int trylock(void *r)
{
    return thrum_rlock_trylock(r);
}

static int lock_until(void *r, thrum_time_t deadline)
{
    return thrum_rlock_lock_until(r, deadline);
}

static int unlock(void *r)
{
    return thrum_rlock_unlock(r);
}

static unsigned parked(const void *r)
{
    return thi_park_count(&((const thrum_rlock_t *)r)->thrum_mutex);
}

static const struct lock_kind kind = {
    .size = sizeof(thrum_rlock_t),
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

LOCK_CONFORMANCE(rlock, &kind)

Test(rlock, counts_how_often_it_is_locked)
{
    thrum_rlock_t r = THRUM_RLOCK_INIT;
    cr_expect_not(thrum_rlock_owned(&r));
    cr_expect_not(thrum_rlock_locked(&r));
    cr_expect_eq(thrum_rlock_depth(&r), 0u);

    EXPECT_CALL(0, thrum_rlock_lock(&r));
    EXPECT_CALL(0, thrum_rlock_trylock(&r));
    EXPECT_CALL(0, thrum_rlock_lock_until(&r, PAST));
    EXPECT_CALL(0, thrum_rlock_lock(&r));
    cr_expect_eq(thrum_rlock_depth(&r), 4u);
    cr_expect(thrum_rlock_owned(&r));

    for (unsigned left = 4; left-- > 0;) {
        cr_expect(thrum_rlock_locked(&r));
        EXPECT_CALL(0, thrum_rlock_unlock(&r));
        cr_expect_eq(thrum_rlock_depth(&r), left);
    }
    cr_expect_not(thrum_rlock_owned(&r));
    cr_expect_not(thrum_rlock_locked(&r));
    EXPECT_CALL(EPERM, thrum_rlock_unlock(&r));
}

Test(rlock, null_is_nobodys)
{
    cr_expect_not(thrum_rlock_locked(NULL));
    cr_expect_not(thrum_rlock_owned(NULL));
    cr_expect_eq(thrum_rlock_depth(NULL), 0u);
}

static int look_on(void *arg)
{
    const thrum_rlock_t *r = arg;
    if (thrum_rlock_owned(r) || thrum_rlock_depth(r) != 0 || !thrum_rlock_locked(r))
        return EPROTO;
    return 0;
}

Test(rlock, another_strand_can_not_unlock_it)
{
    thrum_rlock_t r = THRUM_RLOCK_INIT;
    EXPECT_CALL(0, thrum_rlock_lock(&r));
    EXPECT_CALL(0, thrum_rlock_lock(&r));
    cr_expect_eq(elsewhere(unlock, &r), EPERM);
    cr_expect_eq(elsewhere(trylock, &r), EBUSY);
    cr_expect_eq(elsewhere(look_on, &r), 0);
    cr_expect_eq(thrum_rlock_depth(&r), 2u, "nothing changed");
    EXPECT_CALL(0, thrum_rlock_unlock(&r));
    cr_expect_eq(elsewhere(trylock, &r), EBUSY, "one level is left");
    EXPECT_CALL(0, thrum_rlock_unlock(&r));
}

Test(rlock, a_depth_beyond_the_limit_is_refused)
{
    thrum_rlock_t r = THRUM_RLOCK_INIT;
    EXPECT_CALL(0, thrum_rlock_lock(&r));
    r.thrum_depth = UINT_MAX - 1;
    EXPECT_CALL(0, thrum_rlock_lock(&r));
    cr_expect_eq(thrum_rlock_depth(&r), UINT_MAX);
    EXPECT_CALL(EOVERFLOW, thrum_rlock_lock(&r));
    EXPECT_CALL(EOVERFLOW, thrum_rlock_trylock(&r));
    EXPECT_CALL(EOVERFLOW, thrum_rlock_lock_until(&r, THRUM_FOREVER));
    EXPECT_CALL(EOVERFLOW, thrum_rlock_lock_until(&r, PAST));
    cr_expect_eq(thrum_rlock_depth(&r), UINT_MAX, "nothing changed");
    EXPECT_CALL(0, thrum_rlock_unlock(&r));
    EXPECT_CALL(0, thrum_rlock_lock(&r));
    r.thrum_depth = 1;
    EXPECT_CALL(0, thrum_rlock_unlock(&r));
}

struct deep {
    thrum_rlock_t r;
    uint64_t counter;
};

static int count_deep(void *arg)
{
    struct deep *d = arg;
    for (int i = 0; i < 10000; i++) {
        for (unsigned depth = 1; depth <= 3; depth++) {
            if (thrum_rlock_lock(&d->r) != 0 || thrum_rlock_depth(&d->r) != depth)
                return EPROTO;
        }
        d->counter++;
        for (int depth = 3; depth > 0; depth--) {
            if (!thrum_rlock_owned(&d->r) || thrum_rlock_unlock(&d->r) != 0)
                return EPERM;
        }
        if (thrum_rlock_owned(&d->r))
            return EPROTO;
    }
    return 0;
}

Test(rlock, only_the_last_unlock_lets_others_in)
{
    struct deep d = {.r = THRUM_RLOCK_INIT};
    struct caller c[4];
    for (int i = 0; i < 4; i++)
        caller_start(&c[i], count_deep, &d);
    for (int i = 0; i < 4; i++)
        cr_expect_eq(caller_join(&c[i]), 0);
    cr_expect_eq(d.counter, 40000u);
    EXPECT_CALL(EPERM, thrum_rlock_unlock(&d.r));
}

static int continue_in_child(void *arg)
{
    thrum_rlock_t *r = arg;
    if (!thrum_rlock_owned(r) || thrum_rlock_depth(r) != 2)
        return 1;
    if (elsewhere(trylock, r) != EBUSY || elsewhere(unlock, r) != EPERM)
        return 2;
    if (thrum_rlock_lock(r) != 0 || thrum_rlock_depth(r) != 3)
        return 3;
    for (int i = 0; i < 3; i++) {
        if (thrum_rlock_unlock(r) != 0)
            return 4;
    }
    return thrum_rlock_owned(r) || elsewhere(trylock, r) != 0 ? 5 : 0;
}

Test(rlock, the_forker_owns_it_in_the_child_at_the_same_depth)
{
    thrum_rlock_t r = THRUM_RLOCK_INIT;
    EXPECT_CALL(0, thrum_rlock_lock(&r));
    EXPECT_CALL(0, thrum_rlock_lock(&r));
    cr_expect_eq(child_run(continue_in_child, &r), 0);
    cr_expect_eq(thrum_rlock_depth(&r), 2u);
    EXPECT_CALL(0, thrum_rlock_unlock(&r));
    EXPECT_CALL(0, thrum_rlock_unlock(&r));
}

static int fork_again(void *arg)
{
    return child_run(continue_in_child, arg);
}

Test(rlock, the_forker_owns_it_in_the_childs_child_too)
{
    thrum_rlock_t r = THRUM_RLOCK_INIT;
    EXPECT_CALL(0, thrum_rlock_lock(&r));
    EXPECT_CALL(0, thrum_rlock_lock(&r));
    cr_expect_eq(child_run(fork_again, &r), 0);
}

/* A strand that ended is not mistaken for the one that has its record now. */
Test(rlock, a_new_thread_is_not_the_owner)
{
    thrum_rlock_t r = THRUM_RLOCK_INIT;
    cr_expect_eq(elsewhere(lock, &r), 0); /* and ends, which is a mistake of the program */
    for (int i = 0; i < 10; i++) {
        cr_expect_eq(elsewhere(look_on, &r), 0);
        cr_expect_eq(elsewhere(unlock, &r), EPERM);
    }
}
