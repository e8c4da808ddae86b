#include <sched.h>
#include <signal.h>
#include <string.h>

#include <criterion/criterion.h>

#include <thrum/thrum.h>

#include "support/child.h"
#include "support/expect.h"

TestSuite(timer, .timeout = 30);

#define LONG THRUM_S(100000)

static thrum_timer_t *made(thrum_timer_fn fn, void *arg)
{
    thrum_timer_t *t = NULL;
    EXPECT_CALL(0, thrum_timer_create(&t, fn, arg));
    cr_assert_not_null(t);
    return t;
}

/* Called off and over. */
static void given_up(thrum_timer_t *t)
{
    EXPECT_CALL(0, thrum_timer_cancel_wait(t, NULL));
    cr_expect_not(thrum_timer_scheduled(t));
    thrum_timer_release(t);
}

static void give(thrum_timer_t *t, void *arg)
{
    (void)t;
    if (thrum_sem_release(arg) != 0)
        abort();
}

/* A function that can be held. */
struct held {
    thrum_sem_t began;
    thrum_event_t go;
    uint32_t ended;
};

static void hold(thrum_timer_t *t, void *arg)
{
    struct held *h = arg;
    (void)t;
    if (thrum_sem_release(&h->began) != 0 || thrum_event_wait(&h->go) != 0)
        abort();
    thi_fetch_add_relaxed(&h->ended, 1u);
}

/* --- arguments -------------------------------------------------------------------------------------- */

Test(timer, takes_good_arguments_only)
{
    thrum_sem_t s = THRUM_SEM_INIT(0);
    thrum_timer_t *t = NULL;
    bool prevented = true;
    EXPECT_CALL(EINVAL, thrum_timer_create(NULL, give, &s));
    EXPECT_CALL(EINVAL, thrum_timer_create(&t, NULL, &s));
    cr_expect_null(t);
    t = made(give, &s);
    EXPECT_CALL(EINVAL, thrum_timer_start(NULL, 0));
    EXPECT_CALL(EINVAL, thrum_timer_start(t, -1));
    EXPECT_CALL(EINVAL, thrum_timer_start_periodic(NULL, 0, 1));
    EXPECT_CALL(EINVAL, thrum_timer_start_periodic(t, -1, 1));
    EXPECT_CALL(EINVAL, thrum_timer_start_periodic(t, 0, 0));
    EXPECT_CALL(EINVAL, thrum_timer_start_periodic(t, 0, -1));
    EXPECT_CALL(EINVAL, thrum_timer_reschedule(NULL, 0));
    EXPECT_CALL(EINVAL, thrum_timer_reschedule(t, -1));
    EXPECT_CALL(EINVAL, thrum_timer_cancel_wait(NULL, &prevented));
    EXPECT_CALL(EINVAL, thrum_timer_cancel_wait_until(NULL, &prevented, SOON));
    cr_expect(prevented);
    cr_expect_not(thrum_timer_cancel(NULL));
    cr_expect_not(thrum_timer_scheduled(NULL));
    cr_expect_eq(thrum_timer_runs(NULL), 0u);
    cr_expect_eq(thrum_timer_skipped(NULL), 0u);
    cr_expect_not(thrum_timer_scheduled(t));
    cr_expect_eq(thrum_timer_runs(t), 0u);
    thrum_timer_release(t);
    thrum_timer_release(NULL);
}

/* --- running ---------------------------------------------------------------------------------------- */

Test(timer, runs_once)
{
    thrum_sem_t s = THRUM_SEM_INIT(0);
    thrum_timer_t *t = made(give, &s);
    for (unsigned i = 1; i <= 3; i++) {
        EXPECT_CALL(0, thrum_timer_start(t, THRUM_US(100)));
        EXPECT_CALL(0, thrum_sem_acquire(&s));
        EXPECT_CALL(0, thrum_timer_cancel_wait(t, NULL));
        cr_expect_not(thrum_timer_scheduled(t));
        cr_expect_not(thrum_timer_cancel(t));
        cr_expect_eq(thrum_timer_runs(t), i);
    }
    EXPECT_CALL(EAGAIN, thrum_sem_tryacquire(&s));
    thrum_timer_release(t);
}

Test(timer, that_is_scheduled_is_busy)
{
    thrum_sem_t s = THRUM_SEM_INIT(0);
    thrum_timer_t *t = made(give, &s);
    EXPECT_CALL(0, thrum_timer_start(t, LONG));
    cr_expect(thrum_timer_scheduled(t));
    EXPECT_CALL(EBUSY, thrum_timer_start(t, 0));
    EXPECT_CALL(EBUSY, thrum_timer_start_periodic(t, 0, 1));
    given_up(t);
    EXPECT_CALL(EAGAIN, thrum_sem_tryacquire(&s));
}

struct look {
    thrum_timer_t *timer;
    bool cancelled;
    bool same_thread;
    bool known;
    sigset_t mask;
    pthread_t starter;
    thrum_sem_t done;
};

static void look_around(thrum_timer_t *t, void *arg)
{
    struct look *l = arg;
    l->timer = t;
    l->same_thread = pthread_equal(pthread_self(), l->starter) != 0;
    pthread_sigmask(SIG_BLOCK, NULL, &l->mask);
    l->known = thrum_thread_current() != NULL;
    if (thrum_thread_cancel(thrum_thread_current()) != 0) /* it goes on serving */
        abort();
    l->cancelled = thrum_cancelled() || thrum_sleep(1) != 0;
    give(t, &l->done);
}

Test(timer, function_runs_in_the_service)
{
    struct look l = {.starter = pthread_self(), .done = THRUM_SEM_INIT(0)};
    thrum_timer_t *t = made(look_around, &l);
    for (int i = 0; i < 3; i++) {
        EXPECT_CALL(0, thrum_timer_start(t, 0));
        EXPECT_CALL(0, thrum_sem_acquire(&l.done));
        EXPECT_CALL(0, thrum_timer_cancel_wait(t, NULL));
        cr_expect_eq(l.timer, t);
        cr_expect_not(l.same_thread);
        cr_expect(l.known);
        cr_expect_not(l.cancelled, "cancellation is held back");
        cr_expect(sigismember(&l.mask, SIGTERM));
        cr_expect_not(sigismember(&l.mask, SIGSEGV));
    }
    thrum_timer_release(t);
}

struct clocked {
    thrum_time_t due; /* of the first run, at the earliest */
    int64_t period;
    unsigned wanted;
    unsigned early;
    thrum_sem_t done;
};

static void look_at_clock(thrum_timer_t *t, void *arg)
{
    struct clocked *c = arg;
    const uint64_t turn = thrum_timer_runs(t) + thrum_timer_skipped(t) - 1;
    c->early += thrum_now() < c->due + (int64_t)turn * c->period;
    if (--c->wanted != 0)
        return;
    if (c->period != 0 && !thrum_timer_cancel(t))
        abort();
    give(t, &c->done);
}

Test(timer, is_never_early)
{
    for (int i = 0; i < 20; i++) {
        const int64_t delay = THRUM_US(50) * i;
        struct clocked c = {.due = thrum_after(delay), .wanted = 1, .done = THRUM_SEM_INIT(0)};
        thrum_timer_t *t = made(look_at_clock, &c);
        EXPECT_CALL(0, thrum_timer_start(t, delay));
        EXPECT_CALL(0, thrum_sem_acquire(&c.done));
        cr_expect_eq(c.early, 0u);
        given_up(t);
    }
}

Test(timer, with_a_period_runs_until_its_function_calls_it_off)
{
    struct clocked c = {.due = thrum_after(THRUM_MS(1)),
                        .period = THRUM_US(200),
                        .wanted = 50,
                        .done = THRUM_SEM_INIT(0)};
    thrum_timer_t *t = made(look_at_clock, &c);
    EXPECT_CALL(0, thrum_timer_start_periodic(t, THRUM_MS(1), c.period));
    EXPECT_CALL(0, thrum_sem_acquire(&c.done));
    EXPECT_CALL(0, thrum_timer_cancel_wait(t, NULL));
    cr_expect_eq(thrum_timer_runs(t), 50u);
    cr_expect_eq(c.early, 0u, "the k-th run is not before its time, counted from the first");
    cr_expect_not(thrum_timer_scheduled(t));
    thrum_timer_release(t);
}

/* How long a run takes moves none of the later ones: each is due after the end of the one before, but by
 * the clock of the first. */
struct drift {
    thrum_time_t due; /* of the first run, at the latest; set before that */
    thrum_time_t ended;
    int64_t period;
    unsigned drifted;
    thrum_sem_t done;
};

static void take_half_a_period(thrum_timer_t *t, void *arg)
{
    struct drift *d = arg;
    const uint64_t turn = thrum_timer_runs(t) + thrum_timer_skipped(t) - 1;
    d->drifted += d->due + (int64_t)turn * d->period <= d->ended;
    if (thrum_sleep(d->period / 2) != 0)
        abort();
    d->ended = thrum_now();
    if (thrum_timer_runs(t) == 20 && thrum_timer_cancel(t))
        give(t, &d->done);
}

Test(timer, does_not_drift)
{
    struct held h = {THRUM_SEM_INIT(0), THRUM_EVENT_INIT, 0};
    struct drift d = {.period = THRUM_MS(1), .done = THRUM_SEM_INIT(0)};
    thrum_timer_t *t = made(take_half_a_period, &d);
    thrum_timer_t *first = made(hold, &h);
    EXPECT_CALL(0, thrum_timer_start(first, 0));
    EXPECT_CALL(0, thrum_sem_acquire(&h.began)); /* nothing else runs meanwhile */
    EXPECT_CALL(0, thrum_timer_start_periodic(t, 0, d.period));
    d.due = thrum_now();
    thrum_event_set(&h.go);
    EXPECT_CALL(0, thrum_sem_acquire(&d.done));
    cr_expect_eq(d.drifted, 0u);
    given_up(t);
    given_up(first);
}

static void take_five_periods(thrum_timer_t *t, void *arg)
{
    struct clocked *c = arg;
    const bool first = thrum_timer_runs(t) == 1;
    if (first && thrum_sleep_until(thrum_after(5 * c->period)) != 0)
        abort();
    look_at_clock(t, arg);
}

Test(timer, skips_and_counts_what_it_has_missed)
{
    struct clocked c = {
        .due = thrum_now(), .period = THRUM_MS(2), .wanted = 2, .done = THRUM_SEM_INIT(0)};
    thrum_timer_t *t = made(take_five_periods, &c);
    EXPECT_CALL(0, thrum_timer_start_periodic(t, 0, c.period));
    EXPECT_CALL(0, thrum_sem_acquire(&c.done));
    EXPECT_CALL(0, thrum_timer_cancel_wait(t, NULL));
    cr_expect_eq(thrum_timer_runs(t), 2u);
    cr_expect_geq(thrum_timer_skipped(t), 5u);
    cr_expect_eq(c.early, 0u);
    thrum_timer_release(t);
}

enum { MANY = 300 };

struct order {
    thrum_sem_t *done;
    unsigned *next;
    unsigned place; /* in which it ran */
};

static void take_place(thrum_timer_t *t, void *arg)
{
    struct order *o = arg;
    o->place = (*o->next)++; /* functions run one at a time */
    give(t, o->done);
}

Test(timer, those_due_first_run_first)
{
    static struct order orders[MANY];
    thrum_timer_t *t[MANY];
    struct held h = {THRUM_SEM_INIT(0), THRUM_EVENT_INIT, 0};
    thrum_sem_t done = THRUM_SEM_INIT(0);
    unsigned next = 0;
    thrum_timer_t *first = made(hold, &h);
    EXPECT_CALL(0, thrum_timer_start(first, 0));
    EXPECT_CALL(0, thrum_sem_acquire(&h.began)); /* nothing else runs meanwhile */
    for (int i = 0; i < MANY; i++) {
        orders[i] = (struct order){&done, &next, 0};
        t[i] = made(take_place, &orders[i]);
        EXPECT_CALL(0, thrum_timer_start(t[i], THRUM_MS(1) * ((i * 7919) % MANY) / 8));
    }
    /* Some of them otherwise. */
    EXPECT_CALL(0, thrum_timer_reschedule(t[0], THRUM_S(1)));
    for (int i = 1; i < MANY; i += 3)
        cr_expect(thrum_timer_cancel(t[i]));
    thrum_event_set(&h.go);
    for (int i = 0; i < MANY; i++)
        if (i % 3 != 1)
            EXPECT_CALL(0, thrum_sem_acquire(&done));
    cr_expect_eq(orders[0].place, next - 1);
    for (int i = 1; i < MANY; i++) {
        cr_expect_eq(thrum_timer_runs(t[i]), i % 3 != 1);
        for (int j = 1; j < i; j++) {
            if (i % 3 == 1 || j % 3 == 1 || (i * 7919) % MANY == (j * 7919) % MANY)
                continue;
            /* At least 125 us apart, and started within moments: but a start may be interrupted. */
            const int apart = (i * 7919) % MANY - (j * 7919) % MANY;
            if (apart > MANY / 2)
                cr_expect_gt(orders[i].place, orders[j].place);
        }
    }
    given_up(first);
    for (int i = 0; i < MANY; i++)
        given_up(t[i]);
}

/* --- calling off ------------------------------------------------------------------------------------ */

Test(timer, that_is_called_off_does_not_run)
{
    thrum_sem_t s = THRUM_SEM_INIT(0);
    bool prevented = false;
    thrum_timer_t *t = made(give, &s);
    EXPECT_CALL(0, thrum_timer_start(t, LONG));
    cr_expect(thrum_timer_cancel(t));
    cr_expect_not(thrum_timer_cancel(t));
    EXPECT_CALL(0, thrum_timer_start_periodic(t, LONG, 1));
    EXPECT_CALL(0, thrum_timer_cancel_wait(t, &prevented));
    cr_expect(prevented);
    EXPECT_CALL(0, thrum_timer_cancel_wait_until(t, &prevented, PAST));
    cr_expect_not(prevented);
    cr_expect_eq(thrum_timer_runs(t), 0u);
    thrum_timer_release(t);
}

struct canceller {
    thrum_timer_t *timer;
    bool prevented;
    thrum_time_t deadline;
};

static int cancel_and_wait(void *arg)
{
    struct canceller *c = arg;
    return thrum_timer_cancel_wait_until(c->timer, &c->prevented, c->deadline);
}

static void expect_wait_for_running(bool periodic)
{
    struct held h = {THRUM_SEM_INIT(0), THRUM_EVENT_INIT, 0};
    thrum_timer_t *t = made(hold, &h);
    struct canceller c = {t, !periodic, THRUM_FOREVER};
    struct caller caller;
    bool prevented = periodic;
    EXPECT_CALL(0, periodic ? thrum_timer_start_periodic(t, 0, 1) : thrum_timer_start(t, 0));
    EXPECT_CALL(0, thrum_sem_acquire(&h.began));
    cr_expect_eq(thrum_timer_scheduled(t), periodic);

    caller_start(&caller, cancel_and_wait, &c);
    await_asleep(&caller);
    cr_expect_not(thrum_timer_scheduled(t));
    cr_expect_not(thrum_timer_cancel(t));
    EXPECT_CALL(ETIMEDOUT, thrum_timer_cancel_wait_until(t, &prevented, PAST));
    EXPECT_CALL(ETIMEDOUT, thrum_timer_cancel_wait_until(t, &prevented, SOON));
    cr_expect_not(prevented, "the other one has");
    cr_expect_eq(h.ended, 0u);
    thrum_event_set(&h.go);
    cr_expect_eq(caller_join(&caller), 0);
    cr_expect_eq(c.prevented, periodic);
    cr_expect_eq(h.ended, 1u);
    given_up(t);
}

Test(timer, is_waited_for_when_it_runs)
{
    expect_wait_for_running(false);
    expect_wait_for_running(true);
}

Test(timer, waiting_for_its_run_can_be_cancelled)
{
    struct held h = {THRUM_SEM_INIT(0), THRUM_EVENT_INIT, 0};
    thrum_timer_t *t = made(hold, &h);
    struct canceller c = {t, false, THRUM_FOREVER};
    struct caller caller;
    EXPECT_CALL(0, thrum_timer_start_periodic(t, 0, 1));
    EXPECT_CALL(0, thrum_sem_acquire(&h.began));
    caller_start(&caller, cancel_and_wait, &c);
    await_asleep(&caller);
    caller_cancel(&caller);
    cr_expect_eq(caller_join(&caller), ECANCELED);
    cr_expect(c.prevented);
    thrum_event_set(&h.go);
    given_up(t);
}

struct inside {
    thrum_timer_t *other;
    int own;
    int others;
    bool prevented;
    thrum_sem_t done;
};

static void cancel_from_inside(thrum_timer_t *t, void *arg)
{
    struct inside *in = arg;
    in->own = thrum_timer_cancel_wait(t, &in->prevented);
    in->others = thrum_timer_cancel_wait(in->other, NULL);
    give(t, &in->done);
}

Test(timer, function_does_not_wait_for_itself)
{
    thrum_sem_t never = THRUM_SEM_INIT(0);
    struct inside in = {made(give, &never), -1, -1, false, THRUM_SEM_INIT(0)};
    thrum_timer_t *t = made(cancel_from_inside, &in);
    EXPECT_CALL(0, thrum_timer_start(in.other, LONG));
    EXPECT_CALL(0, thrum_timer_start_periodic(t, 0, 1));
    EXPECT_CALL(0, thrum_sem_acquire(&in.done));
    EXPECT_CALL(0, thrum_timer_cancel_wait(t, NULL));
    cr_expect_eq(in.own, EDEADLK);
    cr_expect(in.prevented);
    cr_expect_eq(in.others, 0);
    cr_expect_not(thrum_timer_scheduled(in.other));
    cr_expect_eq(thrum_timer_runs(t), 1u);
    given_up(t);
    given_up(in.other);
}

static void start_again(thrum_timer_t *t, void *arg)
{
    if (thrum_timer_start(t, 0) != 0)
        abort();
    give(t, arg);
}

Test(timer, that_starts_itself_again_can_be_called_off)
{
    for (int i = 0; i < 100; i++) {
        thrum_sem_t s = THRUM_SEM_INIT(0);
        thrum_timer_t *t = made(start_again, &s);
        EXPECT_CALL(0, thrum_timer_start(t, 0));
        EXPECT_CALL(0, thrum_sem_acquire(&s));
        EXPECT_CALL(0, thrum_sem_acquire(&s));
        given_up(t); /* and then it is unused: s is on the stack */
    }
}

/* --- rescheduling ----------------------------------------------------------------------------------- */

Test(timer, is_rescheduled)
{
    thrum_sem_t s = THRUM_SEM_INIT(0);
    thrum_timer_t *t = made(give, &s);
    EXPECT_CALL(0, thrum_timer_reschedule(t, 0));
    EXPECT_CALL(0, thrum_sem_acquire(&s));

    EXPECT_CALL(0, thrum_timer_reschedule(t, LONG));
    EXPECT_CALL(0, thrum_timer_reschedule(t, 2 * LONG));
    EXPECT_CALL(0, thrum_timer_reschedule(t, 0));
    EXPECT_CALL(0, thrum_sem_acquire(&s));
    EXPECT_CALL(0, thrum_timer_cancel_wait(t, NULL));
    cr_expect_eq(thrum_timer_runs(t), 2u, "it was one run all the time");

    EXPECT_CALL(0, thrum_timer_start_periodic(t, LONG, THRUM_US(10)));
    EXPECT_CALL(0, thrum_timer_reschedule(t, 0));
    for (int i = 0; i < 10; i++)
        EXPECT_CALL(0, thrum_sem_acquire(&s));
    EXPECT_CALL(0, thrum_timer_cancel_wait(t, NULL));
    EXPECT_CALL(0, thrum_timer_start(t, LONG));
    EXPECT_CALL(0, thrum_timer_reschedule(t, INT64_MAX));
    cr_expect(thrum_timer_scheduled(t));
    given_up(t);
}

static void put_off(thrum_timer_t *t, void *arg)
{
    const bool again = thrum_timer_runs(t) < 3;
    if (thrum_timer_reschedule(t, again ? 0 : LONG) != 0)
        abort();
    give(t, arg);
}

Test(timer, reschedules_itself)
{
    thrum_sem_t s = THRUM_SEM_INIT(0);
    thrum_timer_t *t = made(put_off, &s);
    EXPECT_CALL(0, thrum_timer_start_periodic(t, 0, THRUM_US(1)));
    for (int i = 0; i < 3; i++)
        EXPECT_CALL(0, thrum_sem_acquire(&s));
    cr_expect(thrum_timer_scheduled(t));
    EXPECT_CALL(0, thrum_timer_cancel_wait(t, NULL));
    cr_expect_eq(thrum_timer_runs(t), 3u);
    thrum_timer_release(t);
}

/* --- lives ------------------------------------------------------------------------------------------ */

static void release_itself(thrum_timer_t *t, void *arg)
{
    thrum_timer_release(t);
    give(t, arg);
}

static void end_itself(thrum_timer_t *t, void *arg)
{
    if (thrum_timer_runs(t) == 3 && !thrum_timer_cancel(t))
        abort();
    give(t, arg);
}

Test(timer, that_is_released_runs_all_the_same)
{
    static thrum_sem_t s = THRUM_SEM_INIT(0);
    for (int i = 0; i < 100; i++) {
        thrum_timer_t *t = made(give, &s);
        EXPECT_CALL(0, thrum_timer_start(t, 0));
        thrum_timer_release(t);
        EXPECT_CALL(0, thrum_sem_acquire(&s));

        t = made(release_itself, &s);
        EXPECT_CALL(0, thrum_timer_start(t, 0));
        EXPECT_CALL(0, thrum_sem_acquire(&s));

        t = made(end_itself, &s);
        EXPECT_CALL(0, thrum_timer_start_periodic(t, 0, 1));
        thrum_timer_release(t);
        for (int j = 0; j < 3; j++)
            EXPECT_CALL(0, thrum_sem_acquire(&s));
    }
}

static thi_strand_t *service;

static void tell_strand(thrum_timer_t *t, void *arg)
{
    service = thi_self();
    give(t, arg);
}

/* No tick: while nothing is due the service does not wake up. */
Test(timer, service_sleeps_while_nothing_is_due)
{
    thrum_sem_t s = THRUM_SEM_INIT(0);
    const struct timespec nap = {0, 50000000};
    thrum_timer_t *t = made(tell_strand, &s);
    thrum_timer_t *later = made(give, &s);
    EXPECT_CALL(0, thrum_timer_start(later, LONG));
    EXPECT_CALL(0, thrum_timer_start(t, 0));
    EXPECT_CALL(0, thrum_sem_acquire(&s));
    EXPECT_CALL(0, thrum_timer_cancel_wait(t, NULL));
    while (thi_load_relaxed(&service->permit) != THI_PARKED)
        sched_yield();
    const uint32_t waits = thi_load_relaxed(&service->waits);
    nanosleep(&nap, NULL);
    cr_expect_eq(thi_load_relaxed(&service->waits), waits);
    given_up(t);
    given_up(later);
}

/* --- fork ------------------------------------------------------------------------------------------- */

struct family {
    thrum_timer_t *waiting;
    thrum_timer_t *periodic;
    thrum_timer_t *running;
    thrum_timer_t *beside;
    thrum_sem_t given;
    struct held held;
};

static int use_in_child(void *arg)
{
    struct family *f = arg;
    bool prevented = true;
    if (thrum_timer_scheduled(f->waiting) || thrum_timer_scheduled(f->periodic))
        return 1;
    if (thrum_timer_cancel(f->waiting) || thrum_timer_cancel_wait(f->running, &prevented) != 0)
        return 2;
    if (prevented)
        return 3;
    thrum_timer_release(f->running);
    if (!CHILD_MAY_START_THREADS)
        return 0;
    if (thrum_timer_start(f->waiting, 0) != 0 || thrum_sem_acquire(&f->given) != 0)
        return 4;
    if (thrum_timer_start_periodic(f->periodic, 0, 1) != 0)
        return 5;
    for (int i = 0; i < 10; i++) {
        if (thrum_sem_acquire(&f->given) != 0)
            return 6;
    }
    if (thrum_timer_cancel_wait(f->periodic, &prevented) != 0 || !prevented)
        return 7;
    thrum_timer_release(f->periodic);
    thrum_timer_release(f->waiting);
    return 0;
}

static void begin_family(struct family *f)
{
    *f = (struct family){.given = THRUM_SEM_INIT(0),
                         .held = {THRUM_SEM_INIT(0), THRUM_EVENT_INIT, 0}};
    f->waiting = made(give, &f->given);
    f->periodic = made(give, &f->given);
    f->running = made(hold, &f->held);
    f->beside = made(give, &f->given);
    EXPECT_CALL(0, thrum_timer_start(f->waiting, LONG));
    EXPECT_CALL(0, thrum_timer_start_periodic(f->periodic, LONG, 1));
    EXPECT_CALL(0, thrum_timer_start(f->beside, LONG));
    thrum_timer_release(f->beside); /* nobody has a handle */
}

Test(timer, of_a_parent_is_not_scheduled_in_the_child)
{
    struct family f;
    begin_family(&f);
    EXPECT_CALL(0, thrum_timer_start_periodic(f.running, 0, 1));
    EXPECT_CALL(0, thrum_sem_acquire(&f.held.began));
    cr_expect_eq(child_run(use_in_child, &f), 0);
    thrum_event_set(&f.held.go);
    cr_expect(thrum_timer_scheduled(f.waiting));
    given_up(f.waiting);
    given_up(f.periodic);
    given_up(f.running);
}

static int status;

static void fork_inside(thrum_timer_t *t, void *arg)
{
    struct family *f = arg;
    const pid_t pid = fork();
    if (pid == 0) { /* the service is all there is; a thread is to tell when it serves again */
        alarm(CHILD_SECONDS);
        if (thrum_timer_scheduled(f->waiting) || thrum_timer_scheduled(t))
            _exit(1);
        if (thrum_timer_start_periodic(f->periodic, 0, 1) != 0)
            _exit(2);
        return;
    }
    if (waitpid(pid, &status, 0) != pid)
        abort();
    give(t, &f->given);
}

static void end_child(thrum_timer_t *t, void *arg)
{
    (void)arg;
    if (thrum_timer_runs(t) == 5)
        _exit(42);
}

Test(timer, function_that_forks_goes_on_in_the_child)
{
    struct family f;
    begin_family(&f);
    given_up(f.periodic);
    f.periodic = made(end_child, NULL);
    thrum_timer_t *t = made(fork_inside, &f);
    EXPECT_CALL(0, thrum_timer_start_periodic(t, 0, LONG));
    EXPECT_CALL(0, thrum_sem_acquire(&f.given));
    cr_expect(WIFEXITED(status));
    cr_expect_eq(WEXITSTATUS(status), 42);
    given_up(t);
    given_up(f.periodic);
    given_up(f.waiting);
    thrum_timer_release(f.running);
}
