#include <thrum/cond.h>

#include "support/puppet.h"
#include "sync/wait_conformance.h"

TestSuite(cond_signal, .timeout = 30);
TestSuite(cond_broadcast, .timeout = 30);
TestSuite(cond_rlock, .timeout = 30);
TestSuite(cond, .timeout = 30);

/* A condition with a lock, as one object to wait on. */
struct room {
    thrum_cond_t c;
    thrum_mutex_t m;
    thrum_rlock_t r;
};

static int init(void *arg)
{
    struct room *room = arg;
    if (room == NULL)
        return thrum_cond_init(NULL);
    thrum_mutex_init(&room->m);
    thrum_rlock_init(&room->r);
    return thrum_cond_init(&room->c);
}

/* Waits between a lock and an unlock; the mutex must be held whatever the wait returned. */
static int wait_until(void *arg, thrum_time_t deadline)
{
    struct room *room = arg;
    if (room == NULL)
        return thrum_cond_wait_until(NULL, NULL, deadline);
    int err = thrum_mutex_lock(&room->m);
    if (err != 0)
        return err;
    err = deadline == THRUM_FOREVER ? thrum_cond_wait(&room->c, &room->m)
                                    : thrum_cond_wait_until(&room->c, &room->m, deadline);
    return thrum_mutex_unlock(&room->m) != 0 ? EPROTO : err;
}

static int wait_for_signal(void *arg)
{
    return arg != NULL ? wait_until(arg, THRUM_FOREVER) : thrum_cond_wait(NULL, NULL);
}

static int wait_rlock_until(void *arg, thrum_time_t deadline)
{
    struct room *room = arg;
    if (room == NULL)
        return thrum_cond_wait_rlock_until(NULL, NULL, deadline);
    for (int i = 0; i < 3; i++) {
        if (thrum_rlock_lock(&room->r) != 0)
            return EPROTO;
    }
    const int err = deadline == THRUM_FOREVER
                        ? thrum_cond_wait_rlock(&room->c, &room->r)
                        : thrum_cond_wait_rlock_until(&room->c, &room->r, deadline);
    if (thrum_rlock_depth(&room->r) != 3)
        return EPROTO;
    for (int i = 0; i < 3; i++) {
        if (thrum_rlock_unlock(&room->r) != 0)
            return EPROTO;
    }
    return err;
}

static int wait_rlock(void *arg)
{
    return arg != NULL ? wait_rlock_until(arg, THRUM_FOREVER) : thrum_cond_wait_rlock(NULL, NULL);
}

static int signal_one(void *arg)
{
    struct room *room = arg;
    thrum_cond_signal(&room->c);
    return 0;
}

static int broadcast(void *arg)
{
    struct room *room = arg;
    thrum_cond_broadcast(&room->c);
    return 0;
}

static int restart(void *arg)
{
    (void)arg;
    return 0;
}

static const void *key(const void *arg)
{
    const struct room *room = arg;
    return &room->c;
}

static const struct wait_kind signal_kind = {
    .size = sizeof(struct room),
    .init = init,
    .wait = wait_for_signal,
    .wait_until = wait_until,
    .let_go = signal_one,
    .restart = restart,
    .key = key,
};

static const struct wait_kind broadcast_kind = {
    .size = sizeof(struct room),
    .init = init,
    .wait = wait_for_signal,
    .wait_until = wait_until,
    .let_go = broadcast,
    .lets_all_go = true,
    .restart = restart,
    .key = key,
};

static const struct wait_kind rlock_kind = {
    .size = sizeof(struct room),
    .init = init,
    .wait = wait_rlock,
    .wait_until = wait_rlock_until,
    .let_go = signal_one,
    .restart = restart,
    .key = key,
};

WAIT_CONFORMANCE(cond_signal, &signal_kind)
WAIT_CONFORMANCE(cond_broadcast, &broadcast_kind)
WAIT_CONFORMANCE(cond_rlock, &rlock_kind)

/* --- misuse --------------------------------------------------------------------------------------- */

static bool yes(void *arg)
{
    (void)arg;
    return true;
}

static bool no(void *arg)
{
    (void)arg;
    return false;
}

Test(cond, null_is_refused)
{
    struct room room = {.c = THRUM_COND_INIT};
    EXPECT_CALL(0, thrum_mutex_lock(&room.m));
    EXPECT_CALL(0, thrum_rlock_lock(&room.r));
    EXPECT_CALL(EINVAL, thrum_cond_wait(NULL, &room.m));
    EXPECT_CALL(EINVAL, thrum_cond_wait(&room.c, NULL));
    EXPECT_CALL(EINVAL, thrum_cond_wait_until(NULL, &room.m, PAST));
    EXPECT_CALL(EINVAL, thrum_cond_wait_until(&room.c, NULL, PAST));
    EXPECT_CALL(EINVAL, thrum_cond_wait_rlock(NULL, &room.r));
    EXPECT_CALL(EINVAL, thrum_cond_wait_rlock(&room.c, NULL));
    EXPECT_CALL(EINVAL, thrum_cond_wait_rlock_until(NULL, &room.r, PAST));
    EXPECT_CALL(EINVAL, thrum_cond_wait_rlock_until(&room.c, NULL, PAST));
    EXPECT_CALL(EINVAL, thrum_cond_wait_for(NULL, &room.m, yes, NULL, PAST));
    EXPECT_CALL(EINVAL, thrum_cond_wait_for(&room.c, NULL, yes, NULL, PAST));
    EXPECT_CALL(EINVAL, thrum_cond_wait_for(&room.c, &room.m, NULL, NULL, PAST));
    cr_expect(thrum_mutex_locked(&room.m));
    cr_expect_eq(thrum_rlock_depth(&room.r), 1u);
    errno = ERRNO_MARK;
    thrum_cond_signal(NULL);
    thrum_cond_signal_n(NULL, 3);
    thrum_cond_broadcast(NULL);
    cr_expect_eq(errno, ERRNO_MARK);
}

static int wait_without_owning(void *arg)
{
    struct room *room = arg;
    return thrum_cond_wait_rlock(&room->c, &room->r);
}

static int time_out_without_owning(void *arg)
{
    struct room *room = arg;
    return thrum_cond_wait_rlock_until(&room->c, &room->r, PAST);
}

static int run_elsewhere(int (*fn)(void *), void *arg)
{
    struct caller c;
    caller_start(&c, fn, arg);
    return caller_join(&c);
}

Test(cond, a_lock_that_is_not_held_is_refused)
{
    struct room room = {.c = THRUM_COND_INIT};
    EXPECT_CALL(EPERM, thrum_cond_wait(&room.c, &room.m));
    EXPECT_CALL(EPERM, thrum_cond_wait_until(&room.c, &room.m, PAST));
    EXPECT_CALL(EPERM, thrum_cond_wait_for(&room.c, &room.m, yes, NULL, PAST));
    EXPECT_CALL(EPERM, thrum_cond_wait_rlock(&room.c, &room.r));
    EXPECT_CALL(EPERM, thrum_cond_wait_rlock_until(&room.c, &room.r, PAST));
    cr_expect_not(thrum_mutex_locked(&room.m));
    cr_expect_not(thrum_rlock_locked(&room.r));
    EXPECT_CALL(0, thrum_rlock_lock(&room.r));
    cr_expect_eq(run_elsewhere(wait_without_owning, &room), EPERM);
    cr_expect_eq(run_elsewhere(time_out_without_owning, &room), EPERM);
    cr_expect_eq(thrum_rlock_depth(&room.r), 1u);
    cr_expect_eq(thi_park_count(&room.c), 0u);
}

Test(cond, the_lock_is_held_after_a_timeout)
{
    struct room room = {.c = THRUM_COND_INIT};
    EXPECT_CALL(0, thrum_mutex_lock(&room.m));
    EXPECT_CALL(ETIMEDOUT, thrum_cond_wait_until(&room.c, &room.m, SOON));
    cr_expect(thrum_mutex_locked(&room.m));
    EXPECT_CALL(ETIMEDOUT, thrum_cond_wait_until(&room.c, &room.m, PAST));
    cr_expect(thrum_mutex_locked(&room.m));
    EXPECT_CALL(0, thrum_mutex_unlock(&room.m));
}

/* --- who is woken --------------------------------------------------------------------------------- */

struct crowd {
    struct room room;
    uint32_t woken;
    uint32_t stop;
};

/* Counts how often it is woken: no predicate, so that every wake-up is counted for what it is. */
static int count_wakeups(void *arg)
{
    struct crowd *crowd = arg;
    if (thrum_mutex_lock(&crowd->room.m) != 0)
        return EPROTO;
    while (crowd->stop == 0) {
        if (thrum_cond_wait(&crowd->room.c, &crowd->room.m) != 0)
            return EPROTO;
        crowd->woken++;
    }
    return thrum_mutex_unlock(&crowd->room.m);
}

static void stop_crowd(struct crowd *crowd, struct caller *c, int n)
{
    cr_assert_eq(thrum_mutex_lock(&crowd->room.m), 0);
    crowd->stop = 1;
    thrum_cond_broadcast(&crowd->room.c);
    cr_assert_eq(thrum_mutex_unlock(&crowd->room.m), 0);
    for (int i = 0; i < n; i++)
        cr_expect_eq(caller_join(&c[i]), 0);
}

Test(cond, a_signal_wakes_one_and_no_wakeup_comes_without)
{
    enum { WAITERS = 5 };
    struct crowd crowd = {.woken = 0};
    struct caller c[WAITERS];
    uint32_t signals = 0;
    for (int i = 0; i < WAITERS; i++)
        caller_start(&c[i], count_wakeups, &crowd);
    await_parked(&crowd.room.c, WAITERS);
    const thrum_time_t end = thrum_after(ENOUGH);
    for (int round = 0; round < 500 && thrum_now() < end; round++) {
        const unsigned n = (unsigned)round % (WAITERS + 1); /* never more than wait */
        const bool locked = round % 2 == 0;
        errno = ERRNO_MARK;
        if (locked)
            cr_assert_eq(thrum_mutex_lock(&crowd.room.m), 0);
        if (n == 1)
            thrum_cond_signal(&crowd.room.c);
        else
            thrum_cond_signal_n(&crowd.room.c, n);
        if (locked)
            cr_assert_eq(thrum_mutex_unlock(&crowd.room.m), 0);
        cr_expect_eq(errno, ERRNO_MARK);
        signals += n;
        await_parked(&crowd.room.c, WAITERS); /* all are back */
        await_parked(&crowd.room.m, 0);
        cr_assert_eq(thi_load_relaxed(&crowd.woken), signals, "%u wake-ups, %u signals",
                     crowd.woken, signals);
    }
    stop_crowd(&crowd, c, WAITERS);
}

Test(cond, a_broadcast_wakes_each_who_waits_once)
{
    enum { WAITERS = 5 };
    struct crowd crowd = {.woken = 0};
    struct caller c[WAITERS];
    for (int i = 0; i < WAITERS; i++)
        caller_start(&c[i], count_wakeups, &crowd);
    await_parked(&crowd.room.c, WAITERS);
    const thrum_time_t end = thrum_after(ENOUGH);
    for (uint32_t round = 1; round <= 500 && thrum_now() < end; round++) {
        if (round % 2 == 0)
            cr_assert_eq(thrum_mutex_lock(&crowd.room.m), 0);
        thrum_cond_broadcast(&crowd.room.c);
        if (round % 2 == 0)
            cr_assert_eq(thrum_mutex_unlock(&crowd.room.m), 0);
        await_parked(&crowd.room.c, WAITERS);
        await_parked(&crowd.room.m, 0);
        cr_assert_eq(thi_load_relaxed(&crowd.woken), round * WAITERS);
    }
    stop_crowd(&crowd, c, WAITERS);
}

Test(cond, signal_n_of_more_than_wait_wakes_those_who_do)
{
    enum { WAITERS = 4 };
    struct crowd crowd = {.woken = 0};
    struct caller c[WAITERS];
    for (int i = 0; i < WAITERS; i++)
        caller_start(&c[i], count_wakeups, &crowd);
    await_parked(&crowd.room.c, WAITERS);
    thrum_cond_signal_n(&crowd.room.c, 0);
    cr_assert_eq(thrum_mutex_lock(&crowd.room.m), 0);
    cr_expect_eq(crowd.woken, 0u);
    thrum_cond_signal_n(&crowd.room.c, WAITERS + 7);
    cr_assert_eq(thrum_mutex_unlock(&crowd.room.m), 0);
    await_parked(&crowd.room.c, WAITERS);
    await_parked(&crowd.room.m, 0);
    cr_expect_eq(thi_load_relaxed(&crowd.woken), (uint32_t)WAITERS);
    stop_crowd(&crowd, c, WAITERS);
}

struct place {
    struct room *room;
    uint32_t *next;
    uint32_t number; /* the order in which it came back */
};

static int wait_in_line(void *arg)
{
    struct place *p = arg;
    if (thrum_mutex_lock(&p->room->m) != 0)
        return EPROTO;
    const int err = thrum_cond_wait(&p->room->c, &p->room->m);
    p->number = (*p->next)++;
    return thrum_mutex_unlock(&p->room->m) != 0 ? EPROTO : err;
}

Test(cond, signals_go_to_waiters_in_order_of_arrival)
{
    enum { WAITERS = 6 };
    struct room room = {.c = THRUM_COND_INIT};
    struct place p[WAITERS];
    struct caller c[WAITERS];
    uint32_t next = 0;
    for (unsigned i = 0; i < WAITERS; i++) {
        p[i] = (struct place){&room, &next, 0};
        caller_start(&c[i], wait_in_line, &p[i]);
        await_parked(&room.c, i + 1);
    }
    for (unsigned i = 0; i < WAITERS; i++) {
        thrum_cond_signal(&room.c);
        cr_expect_eq(caller_join(&c[i]), 0);
        cr_expect_eq(p[i].number, i);
    }
}

/* Signalled under the lock, sleepers are moved to the lock's queue, in their order. */
Test(cond, a_broadcast_under_the_lock_moves_sleepers_to_the_locks_queue)
{
    enum { WAITERS = 5 };
    struct room room = {.c = THRUM_COND_INIT};
    struct place p[WAITERS];
    struct caller c[WAITERS];
    uint32_t next = 0;
    for (unsigned i = 0; i < WAITERS; i++) {
        p[i] = (struct place){&room, &next, 0};
        caller_start(&c[i], wait_in_line, &p[i]);
        await_parked(&room.c, i + 1);
        await_asleep(&c[i]);
    }
    EXPECT_CALL(0, thrum_mutex_lock(&room.m));
    thrum_cond_broadcast(&room.c);
    cr_expect_eq(thi_park_count(&room.c), 0u);
    cr_expect_eq(thi_park_count(&room.m), (unsigned)WAITERS);
    for (int i = 0; i < WAITERS; i++)
        cr_expect_not(caller_done(&c[i]));
    EXPECT_CALL(0, thrum_mutex_unlock(&room.m));
    for (unsigned i = 0; i < WAITERS; i++) {
        cr_expect_eq(caller_join(&c[i]), 0);
        cr_expect_eq(p[i].number, i);
    }
    EXPECT_CALL(0, thrum_mutex_trylock(&room.m));
    EXPECT_CALL(0, thrum_mutex_unlock(&room.m));
}

struct timed {
    struct room *room;
    thrum_time_t deadline;
};

static int wait_in_time_once(void *arg)
{
    struct timed *t = arg;
    return wait_until(t->room, t->deadline);
}

/* Its signal has come: neither its deadline nor a cancellation counts any more. */
Test(cond, a_signalled_strand_waits_for_the_lock_as_long_as_it_takes)
{
    struct room room = {.c = THRUM_COND_INIT};
    struct timed t = {&room, thrum_after(THRUM_S(1000))};
    struct puppet *p = puppet_start(wait_in_time_once, &t);
    puppet_await_asleep(p);
    EXPECT_CALL(0, thrum_mutex_lock(&room.m));
    thrum_cond_signal(&room.c);
    cr_expect_eq(thi_park_count(&room.m), 1u, "moved");
    puppet_expire(p);
    thi_strand_cancel(&p->strand);
    cr_expect(caller_stays(&p->caller), "the lock is held");
    EXPECT_CALL(0, thrum_mutex_unlock(&room.m));
    cr_expect_eq(puppet_join(p), 0);
    EXPECT_CALL(0, thrum_mutex_trylock(&room.m));
}

/* It has given up, and waits for the lock: a signal that comes now is for another. */
Test(cond, who_gave_up_takes_no_signal_while_it_waits_for_the_lock)
{
    struct room room = {.c = THRUM_COND_INIT};
    struct timed t = {&room, thrum_after(THRUM_S(1000))};
    struct puppet *late = puppet_start(wait_in_time_once, &t);
    puppet_await_asleep(late);
    struct puppet *other = puppet_start(wait_for_signal, &room);
    puppet_await_asleep(other);
    EXPECT_CALL(0, thrum_mutex_lock(&room.m));
    puppet_expire(late);
    await_parked(&room.m, 1);
    cr_expect_eq(thi_park_count(&room.c), 1u);
    thrum_cond_signal(&room.c);
    cr_expect_eq(thi_park_count(&room.c), 0u);
    EXPECT_CALL(0, thrum_mutex_unlock(&room.m));
    cr_expect_eq(puppet_join(late), ETIMEDOUT);
    cr_expect_eq(puppet_join(other), 0);
}

Test(cond, a_wait_with_another_lock_is_woken_too)
{
    struct room room = {.c = THRUM_COND_INIT};
    struct caller c[2];
    caller_start(&c[0], wait_for_signal, &room);
    await_parked(&room.c, 1);
    caller_start(&c[1], wait_rlock, &room); /* the same condition */
    await_parked(&room.c, 2);
    EXPECT_CALL(0, thrum_mutex_lock(&room.m));
    thrum_cond_broadcast(&room.c);
    cr_expect_eq(caller_join(&c[1]), 0, "the recursive lock is free");
    EXPECT_CALL(0, thrum_mutex_unlock(&room.m));
    cr_expect_eq(caller_join(&c[0]), 0);
}

/* --- wait_for ------------------------------------------------------------------------------------- */

struct condition {
    struct room room;
    uint32_t value;
    uint32_t asked;
    bool locked; /* whenever it was asked */
};

static bool is_three(void *arg)
{
    struct condition *cond = arg;
    cond->asked++;
    cond->locked = cond->locked && thrum_mutex_locked(&cond->room.m);
    return cond->value == 3;
}

static int wait_for_three(void *arg)
{
    struct condition *cond = arg;
    if (thrum_mutex_lock(&cond->room.m) != 0)
        return EPROTO;
    const int err =
        thrum_cond_wait_for(&cond->room.c, &cond->room.m, is_three, cond, THRUM_FOREVER);
    if (err == 0 && cond->value != 3)
        return EPROTO;
    return thrum_mutex_unlock(&cond->room.m) != 0 ? EPROTO : err;
}

Test(cond, wait_for_waits_until_it_is_so)
{
    struct condition cond = {.locked = true};
    struct caller c;
    caller_start(&c, wait_for_three, &cond);
    for (uint32_t value = 1; value <= 3; value++) {
        await_parked(&cond.room.c, 1);
        EXPECT_CALL(0, thrum_mutex_lock(&cond.room.m));
        cr_expect_eq(cond.asked, value);
        cond.value = value;
        thrum_cond_signal(&cond.room.c);
        EXPECT_CALL(0, thrum_mutex_unlock(&cond.room.m));
    }
    cr_expect_eq(caller_join(&c), 0);
    cr_expect(cond.locked);
    cr_expect_eq(cond.asked, 4u);
}

Test(cond, wait_for_looks_first)
{
    struct condition cond = {.value = 3, .locked = true};
    EXPECT_CALL(0, thrum_mutex_lock(&cond.room.m));
    EXPECT_CALL(0, thrum_cond_wait_for(&cond.room.c, &cond.room.m, is_three, &cond, PAST));
    cr_expect_eq(cond.asked, 1u);
    EXPECT_CALL(ETIMEDOUT, thrum_cond_wait_for(&cond.room.c, &cond.room.m, no, NULL, PAST));
    EXPECT_CALL(ETIMEDOUT, thrum_cond_wait_for(&cond.room.c, &cond.room.m, no, NULL, SOON));
    cr_expect(thrum_mutex_locked(&cond.room.m));
    EXPECT_CALL(0, thrum_mutex_unlock(&cond.room.m));
}

Test(cond, wait_for_is_cancelled)
{
    struct condition cond = {.locked = true};
    struct caller c;
    caller_start(&c, wait_for_three, &cond);
    await_parked(&cond.room.c, 1);
    caller_cancel(&c);
    cr_expect_eq(caller_join(&c), ECANCELED);
    EXPECT_CALL(0, thrum_mutex_trylock(&cond.room.m));
}

/* --- lifetime ------------------------------------------------------------------------------------- */

struct lounge {
    struct room *room;
    uint32_t *left;
};

static int wait_and_leave(void *arg)
{
    struct lounge *l = arg;
    const int err = wait_for_signal(l->room);
    if (thi_fetch_sub_acq_rel(l->left, 1u) == 1)
        graveyard_bury(l->room);
    return err;
}

/* A broadcast without the lock: the last of those who return may free the condition. */
Test(cond, it_may_be_freed_by_the_last_that_a_broadcast_woke)
{
    enum { WAITERS = 3 };
    struct graveyard graves;
    const thrum_time_t end = thrum_after(ENOUGH);
    graveyard_open(&graves);
    for (int round = 0; round < 1000 && thrum_now() < end; round++) {
        struct room *room = graveyard_rise(&graves, sizeof *room);
        uint32_t left = WAITERS;
        struct lounge l = {room, &left};
        struct caller c[WAITERS];
        for (int i = 0; i < WAITERS; i++)
            caller_start(&c[i], wait_and_leave, &l);
        await_parked(&room->c, WAITERS);
        if (round % 2 == 0)
            thrum_cond_broadcast(&room->c);
        else
            thrum_cond_signal_n(&room->c, WAITERS + 1);
        for (int i = 0; i < WAITERS; i++)
            cr_expect_eq(caller_join(&c[i]), 0);
    }
    graveyard_close(&graves);
}
