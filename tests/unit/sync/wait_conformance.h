#ifndef TESTS_WAIT_CONFORMANCE_H
#define TESTS_WAIT_CONFORMANCE_H

/*
 * What every wait promises: one body for the semaphore, the event, the wait group and the condition.
 * A test file names its object and says WAIT_CONFORMANCE(suite, &kind).
 */

#include <string.h>

#include <thrum/cancel.h>
#include <thrum/time.h>

#include "support/child.h"
#include "support/expect.h"
#include "support/graveyard.h"

#define WAIT_BYTES 64

/* How long a test goes on with its rounds: on a busy machine one can take as long as a hundred. */
#define ENOUGH THRUM_S(2)

struct wait_kind {
    size_t size;
    int (*init)(void *object); /* not ready */
    int (*wait)(void *object);
    int (*wait_until)(void *object, thrum_time_t deadline);
    int (*trywait)(void *object); /* NULL: there is none, and it is never ready beforehand */
    int (*let_go)(void *object);  /* lets a waiter go, or the next one that comes */
    bool lets_all_go;             /* it lets everyone go */
    int (*restart)(void *object); /* not ready again, when all have been let go */
    const void *(*key)(const void *object);
};

struct waited {
    const struct wait_kind *kind;
    THRUM_ALIGNED(8) unsigned char object[WAIT_BYTES];
    thrum_time_t deadline;
};

static void waited_begin(struct waited *w, const struct wait_kind *kind)
{
    *w = (struct waited){.kind = kind, .deadline = THRUM_FOREVER};
    cr_assert_leq(kind->size, (size_t)WAIT_BYTES);
    cr_assert_eq(kind->init(w->object), 0);
}

static void await_waiters(const struct waited *w, unsigned n)
{
    await_parked(w->kind->key(w->object), n);
}

static int wait_once(void *arg)
{
    struct waited *w = arg;
    return w->kind->wait(w->object);
}

static int wait_in_time(void *arg)
{
    struct waited *w = arg;
    return w->kind->wait_until(w->object, w->deadline);
}

static void wait_refuses_null(const struct wait_kind *kind)
{
    EXPECT_CALL(EINVAL, kind->init(NULL));
    EXPECT_CALL(EINVAL, kind->wait(NULL));
    EXPECT_CALL(EINVAL, kind->wait_until(NULL, THRUM_FOREVER));
    if (kind->trywait != NULL)
        EXPECT_CALL(EINVAL, kind->trywait(NULL));
}

static void wait_tries(const struct wait_kind *kind)
{
    struct waited w;
    waited_begin(&w, kind);
    EXPECT_CALL(ETIMEDOUT, kind->wait_until(w.object, PAST));
    EXPECT_CALL(ETIMEDOUT, kind->wait_until(w.object, INT64_MIN));
    if (kind->trywait == NULL)
        return;
    EXPECT_CALL(EAGAIN, kind->trywait(w.object));
    EXPECT_CALL(0, kind->let_go(w.object));
    EXPECT_CALL(0, kind->trywait(w.object));
    EXPECT_CALL(0, kind->restart(w.object));
    EXPECT_CALL(0, kind->let_go(w.object));
    EXPECT_CALL(0, kind->wait_until(w.object, PAST));
    EXPECT_CALL(0, kind->restart(w.object));
    EXPECT_CALL(EAGAIN, kind->trywait(w.object));
}

static void wait_times_out(const struct wait_kind *kind)
{
    struct waited w;
    waited_begin(&w, kind);
    for (int i = 0; i < 5; i++) {
        const thrum_time_t deadline = SOON;
        EXPECT_CALL(ETIMEDOUT, kind->wait_until(w.object, deadline));
        cr_expect_geq(thrum_now(), deadline, "not before its time");
        cr_expect_eq(thi_park_count(kind->key(w.object)), 0u);
    }
}

static void wait_is_let_go(const struct wait_kind *kind)
{
    const thrum_time_t end = thrum_after(ENOUGH);
    for (int round = 0; round < 200 && thrum_now() < end; round++) {
        struct waited w;
        struct caller c;
        waited_begin(&w, kind);
        caller_start(&c, round % 2 == 0 ? wait_once : wait_in_time, &w);
        await_waiters(&w, 1);
        if (round % 4 < 2)
            await_asleep(&c);
        EXPECT_CALL(0, kind->let_go(w.object));
        cr_expect_eq(caller_join(&c), 0);
    }
}

/* --- cancellation -------------------------------------------------------------------------------- */

/* Waits on several things; each time it is cancelled at once. */
static int wait_on_and_on(void *arg)
{
    struct waited *w = arg;
    for (int i = 0; i < 100; i++) {
        if (w->kind->wait(w->object) != ECANCELED || !thrum_cancelled())
            return EPROTO;
    }
    for (int i = 0; i < 100; i++) {
        if (w->kind->wait_until(w->object, thrum_after(THRUM_S(100))) != ECANCELED)
            return EPROTO;
    }
    if (thrum_sleep(THRUM_S(100)) != ECANCELED)
        return EPROTO;
    return 0;
}

static void wait_is_cancelled(const struct wait_kind *kind)
{
    struct waited w;
    struct caller c;
    waited_begin(&w, kind);
    caller_start(&c, wait_on_and_on, &w);
    await_waiters(&w, 1);
    await_asleep(&c);
    caller_cancel(&c);
    cr_expect_eq(caller_join(&c), 0);
    cr_expect_eq(thi_park_count(kind->key(w.object)), 0u);
    cr_expect_not(thrum_cancelled(), "nobody asked this one");
}

/* What is ready is had even by a cancelled strand. */
static int take_when_cancelled(void *arg)
{
    struct waited *w = arg;
    thi_strand_cancel(thi_self());
    if (w->kind->wait(w->object) != ECANCELED)
        return EPROTO;
    if (w->kind->trywait(w->object) != EAGAIN || w->kind->let_go(w->object) != 0)
        return EPROTO;
    if (w->kind->wait(w->object) != 0 || w->kind->restart(w->object) != 0)
        return EPROTO;
    return w->kind->wait(w->object) == ECANCELED ? 0 : EPROTO;
}

static void wait_takes_what_is_ready(const struct wait_kind *kind)
{
    struct waited w;
    struct caller c;
    if (kind->trywait == NULL)
        return;
    waited_begin(&w, kind);
    caller_start(&c, take_when_cancelled, &w);
    cr_expect_eq(caller_join(&c), 0);
}

static int shielded(void *arg, void **result)
{
    struct waited *w = arg;
    *result = w;
    if (thrum_cancelled())
        return EPROTO;
    return w->kind->wait(w->object);
}

static int nested(void *arg, void **result)
{
    const int err = thrum_shield(shielded, arg, result);
    if (err != 0)
        return err;
    return thrum_cancelled() ? EPROTO : 0; /* the outer shield still holds */
}

static int wait_shielded(void *arg)
{
    struct waited *w = arg;
    void *result = NULL;
    if (thrum_shield(nested, w, &result) != 0 || result != w)
        return EPROTO;
    return thrum_cancelled() ? w->kind->wait(w->object) : EPROTO;
}

static void wait_can_be_shielded(const struct wait_kind *kind)
{
    struct waited w;
    struct caller c;
    waited_begin(&w, kind);
    caller_start(&c, wait_shielded, &w);
    await_waiters(&w, 1);
    caller_cancel(&c);
    cr_expect(caller_stays(&c), "shielded");
    EXPECT_CALL(0, kind->let_go(w.object));
    /* Some stay ready when they have let one go; then the next wait needs no cancelling. */
    const int err = caller_join(&c);
    cr_expect(err == ECANCELED || err == 0, "%s", expect_name(err));
}

/* The second waits, too; it may have had to wait for a lock before. */
static void await_second(const struct waited *w, const struct caller *first)
{
    bool there = false;
    while (!there) {
        sched_yield();
        const unsigned others = caller_done(first) ? 0 : 1; /* before the look at the queue */
        there = thi_park_count(w->kind->key(w->object)) == others + 1;
    }
}

/* Gives up while it is being let go: either may be, but what it did not take is the other's. */
static void wait_swallows_nothing(const struct wait_kind *kind, bool by_cancel)
{
    const thrum_time_t end = thrum_after(ENOUGH);
    for (int round = 0; round < 300 && thrum_now() < end; round++) {
        struct waited w;
        struct caller hasty, patient;
        waited_begin(&w, kind);
        w.deadline = by_cancel ? THRUM_FOREVER : thrum_after(THRUM_US(100 + round));
        caller_start(&hasty, wait_in_time, &w);
        while (thi_park_count(kind->key(w.object)) == 0 && !caller_done(&hasty))
            sched_yield();
        caller_start(&patient, wait_once, &w);
        await_second(&w, &hasty);
        await_asleep(&patient);
        if (by_cancel)
            caller_cancel(&hasty);
        while (!by_cancel && thrum_now() < w.deadline)
            thi_cpu_pause();
        EXPECT_CALL(0, kind->let_go(w.object));
        const int err = caller_join(&hasty);
        cr_expect(err == 0 || err == (by_cancel ? ECANCELED : ETIMEDOUT), "%s", expect_name(err));
        if (err == 0 && !kind->lets_all_go)
            EXPECT_CALL(0, kind->let_go(w.object));
        cr_expect_eq(caller_join(&patient), 0);
    }
}

struct cancel_victim {
    struct waited *w;
    int result;
    int cancelled;
};

static void *cancel_victim_main(void *arg)
{
    struct cancel_victim *v = arg;
    pthread_cancel(pthread_self());
    v->result = v->w->kind->wait(v->w->object);
    v->cancelled = 1;
    pthread_testcancel();
    v->cancelled = 2;
    return NULL;
}

static void wait_is_no_pthread_cancellation_point(const struct wait_kind *kind)
{
    struct waited w;
    struct cancel_victim v = {&w, -1, 0};
    pthread_t thread;
    waited_begin(&w, kind);
    cr_assert_eq(pthread_create(&thread, NULL, cancel_victim_main, &v), 0);
    await_waiters(&w, 1);
    EXPECT_CALL(0, kind->let_go(w.object));
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_expect_eq(v.result, 0);
    cr_expect_eq(v.cancelled, 1);
}

/* --- destroy after wake -------------------------------------------------------------------------- */

#define OVER 2u

struct farewell {
    const struct wait_kind *kind;
    struct graveyard graves;
    void *object;
    uint32_t ready; /* or OVER */
    int rounds;
};

static int wait_again_and_again(struct farewell *f)
{
    const thrum_time_t end = thrum_after(ENOUGH);
    for (int i = 0; i < f->rounds && thrum_now() < end; i++) {
        void *object = graveyard_rise(&f->graves, f->kind->size);
        int err = f->kind->init(object);
        f->object = object;
        thi_store_release(&f->ready, 1u);
        if (err == 0)
            err = f->kind->wait(object);
        if (err != 0)
            return err;
        graveyard_bury(object);
        await_word(&f->ready, 0);
    }
    return 0;
}

static int wait_and_bury(void *arg)
{
    struct farewell *f = arg;
    const int err = wait_again_and_again(f);
    thi_store_release(&f->ready, OVER);
    return err;
}

static bool next_is_ready(const struct farewell *f, const struct caller *c)
{
    uint32_t ready = 0;
    while ((ready = thi_load_acquire(&f->ready)) == 0 && !caller_done(c))
        sched_yield();
    return ready == 1;
}

static void wait_may_be_the_end(const struct wait_kind *kind)
{
    struct farewell f = {.kind = kind, .rounds = CALLER_ROUNDS(20000)};
    struct caller c;
    graveyard_open(&f.graves);
    caller_start(&c, wait_and_bury, &f);
    for (int i = 0; next_is_ready(&f, &c); i++) {
        /* While it looks, makes ready to sleep, or sleeps. */
        if (kind->trywait == NULL || i % 16 == 0)
            await_parked(kind->key(f.object), 1);
        else
            for (int pause = 0; pause < i % 256; pause++)
                thi_cpu_pause();
        if (kind->let_go(f.object) != 0)
            break;
        thi_store_release(&f.ready, 0u);
    }
    cr_expect_eq(caller_join(&c), 0);
    graveyard_close(&f.graves);
}

/* --- fork ----------------------------------------------------------------------------------------- */

static int wait_in_child(void *arg)
{
    struct waited *w = arg;
    const struct wait_kind *kind = w->kind;
    struct caller c;
    if (kind->wait_until(w->object, SOON) != ETIMEDOUT)
        return 1;
    for (int i = 0; i < 20; i++) {
        caller_start(&c, wait_once, w);
        await_waiters(w, 1);
        if (kind->let_go(w->object) != 0 || caller_join(&c) != 0)
            return 2;
        if (kind->restart(w->object) != 0)
            return 3;
    }
    return thi_park_count(kind->key(w->object)) == 0 ? 0 : 4;
}

static void wait_works_in_a_child(const struct wait_kind *kind)
{
    enum { WAITERS = 3 };
    struct waited w;
    struct caller c[WAITERS];
    waited_begin(&w, kind);
    for (int i = 0; i < WAITERS; i++)
        caller_start(&c[i], wait_once, &w);
    await_waiters(&w, WAITERS);
    for (int i = 0; i < WAITERS; i++)
        await_asleep(&c[i]); /* one that is only queued can still hold a lock that is then lost */
    cr_expect_eq(child_run(wait_in_child, &w), 0);
    while (thi_park_count(kind->key(w.object)) != 0)
        EXPECT_CALL(0, kind->let_go(w.object));
    for (int i = 0; i < WAITERS; i++)
        cr_expect_eq(caller_join(&c[i]), 0);
}

#define WAIT_CONFORMANCE(suite, kind)                                                              \
    Test(suite, null_is_refused)                                                                   \
    {                                                                                              \
        wait_refuses_null(kind);                                                                   \
    }                                                                                              \
    Test(suite, a_past_deadline_is_a_try)                                                          \
    {                                                                                              \
        wait_tries(kind);                                                                          \
    }                                                                                              \
    Test(suite, a_deadline_ends_the_wait)                                                          \
    {                                                                                              \
        wait_times_out(kind);                                                                      \
    }                                                                                              \
    Test(suite, a_waiter_is_let_go)                                                                \
    {                                                                                              \
        wait_is_let_go(kind);                                                                      \
    }                                                                                              \
    Test(suite, a_cancelled_strand_does_not_wait_any_more)                                         \
    {                                                                                              \
        wait_is_cancelled(kind);                                                                   \
    }                                                                                              \
    Test(suite, a_cancelled_strand_has_what_needs_no_waiting)                                      \
    {                                                                                              \
        wait_takes_what_is_ready(kind);                                                            \
    }                                                                                              \
    Test(suite, a_shield_holds_cancellation_back)                                                  \
    {                                                                                              \
        wait_can_be_shielded(kind);                                                                \
    }                                                                                              \
    Test(suite, a_cancelled_wait_swallows_nothing)                                                 \
    {                                                                                              \
        wait_swallows_nothing(kind, true);                                                         \
    }                                                                                              \
    Test(suite, a_wait_that_times_out_swallows_nothing)                                            \
    {                                                                                              \
        wait_swallows_nothing(kind, false);                                                        \
    }                                                                                              \
    Test(suite, waiting_is_no_pthread_cancellation_point)                                          \
    {                                                                                              \
        wait_is_no_pthread_cancellation_point(kind);                                               \
    }                                                                                              \
    Test(suite, it_may_be_freed_by_whom_it_let_go)                                                 \
    {                                                                                              \
        wait_may_be_the_end(kind);                                                                 \
    }                                                                                              \
    Test(suite, a_child_can_use_it_though_strands_of_the_parent_wait)                              \
    {                                                                                              \
        wait_works_in_a_child(kind);                                                               \
    }

#endif /* TESTS_WAIT_CONFORMANCE_H */
