#include <signal.h>
#include <string.h>

#include <thrum/semaphore.h>
#include <thrum/time.h>

#include "support/expect.h"
#include "support/puppet.h"

/* Park and unpark, and waits with their claims: what every primitive is made of. */
TestSuite(park, .timeout = 30);

/* How long a test goes on with its rounds: on a busy machine one can take as long as a hundred. */
#define ENOUGH THRUM_S(4)

static const thi_site_t site = {"test", NULL};

Test(park, a_permit_that_came_first_is_not_lost)
{
    thi_strand_t *self = thi_self();
    cr_assert_not_null(self);
    thi_strand_unpark(self);
    thi_strand_unpark(self); /* there is one permit, not two */
    EXPECT_CALL(0, thi_strand_park(self, THRUM_FOREVER));
    EXPECT_CALL(ETIMEDOUT, thi_strand_park(self, PAST));
    EXPECT_CALL(ETIMEDOUT, thi_strand_park(self, INT64_MIN));
    const thrum_time_t deadline = SOON;
    int err = 0;
    while (err == 0)
        err = thi_strand_park(self, deadline); /* it may come back for no reason */
    cr_expect_eq(err, ETIMEDOUT);
    cr_expect_geq(thrum_now(), deadline);
}

struct pair {
    thi_strand_t *strand;
    uint32_t count;
    uint32_t rounds;
};

static int count_permits(void *arg)
{
    struct pair *p = arg;
    thi_strand_t *self = thi_self();
    thi_store_release(&p->strand, self);
    for (uint32_t i = 0; i < p->rounds; i++) {
        while (thi_load_acquire(&p->count) <= i) {
            if (thi_strand_park(self, THRUM_FOREVER) != 0)
                return EPROTO;
        }
    }
    return 0;
}

/* One unpark after each change: a wake-up that got lost would be a hang. */
Test(park, an_unpark_is_never_lost)
{
    struct pair p = {.rounds = 100000};
    struct caller c;
    caller_start(&c, count_permits, &p);
    while (thi_load_acquire(&p.strand) == NULL)
        sched_yield();
    for (uint32_t i = 1; i <= p.rounds; i++) {
        thi_store_release(&p.count, i);
        thi_strand_unpark(p.strand);
    }
    cr_expect_eq(caller_join(&c), 0);
}

static int park_once(void *arg)
{
    (void)arg;
    thi_strand_t *self = thi_self();
    while (thi_load_acquire(&self->cancelled) == 0)
        thi_strand_park(self, THRUM_FOREVER);
    return 0;
}

static void nothing(int signal)
{
    (void)signal;
}

/* Signals interrupt the system call, not the wait; errno stays what it was. */
Test(park, signals_do_no_harm)
{
    struct caller c;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = nothing;
    cr_assert_eq(sigaction(SIGUSR1, &action, NULL), 0);
    caller_start(&c, park_once, NULL);
    for (int i = 0; i < 50; i++) {
        await_asleep(&c);
        pthread_kill(c.thread, SIGUSR1);
        sched_yield();
    }
    thi_strand_cancel(caller_strand(&c));
    cr_expect_eq(caller_join(&c), 0);
}

/* --- waits with several waiters ------------------------------------------------------------------ */

enum { WAKERS = 4 };

struct multi {
    thi_wait_t wait;
    thi_waiter_t waiters[WAKERS];
    uint32_t gate;
    uint32_t winners;
    uint32_t winner;
};

struct waker {
    struct multi *m;
    uint32_t index;
};

static int try_to_win(void *arg)
{
    struct waker *w = arg;
    struct multi *m = w->m;
    await_word(&m->gate, 1);
    if (!thi_wait_claim(&m->waiters[w->index]))
        return 0;
    thi_fetch_add_relaxed(&m->winners, 1u);
    thi_store_relaxed(&m->winner, w->index);
    m->waiters[w->index].given = w->index + 100; /* plain: handed over with the wake-up */
    thi_wait_finish(&m->waiters[w->index]);
    return 0;
}

static void begin_multi(struct multi *m)
{
    memset(m, 0, sizeof *m);
    thi_wait_init(&m->wait, thi_self());
    for (uint32_t i = 0; i < WAKERS; i++) {
        m->waiters[i].wait = &m->wait;
        m->waiters[i].index = i;
    }
}

Test(park, of_many_wakers_one_wins)
{
    const thrum_time_t end = thrum_after(ENOUGH);
    for (int round = 0; round < 500 && thrum_now() < end; round++) {
        struct multi m;
        struct waker w[WAKERS];
        struct caller c[WAKERS];
        begin_multi(&m);
        for (uint32_t i = 0; i < WAKERS; i++) {
            w[i] = (struct waker){&m, i};
            caller_start(&c[i], try_to_win, &w[i]);
        }
        thi_store_release(&m.gate, 1u);
        EXPECT_CALL(0, thi_wait_sleep(&m.wait, THRUM_FOREVER, true, &site, &m));
        const uint32_t index = (m.wait.claim & ~THI_WAIT_DONE) - 1;
        cr_expect_lt(index, (uint32_t)WAKERS);
        cr_expect_eq(m.waiters[index].given, index + 100);
        for (int i = 0; i < WAKERS; i++)
            cr_expect_eq(caller_join(&c[i]), 0);
        cr_expect_eq(m.winners, 1u);
        cr_expect_eq(m.winner, index);
    }
}

Test(park, one_that_gave_up_can_not_be_won)
{
    struct multi m;
    begin_multi(&m);
    EXPECT_CALL(ETIMEDOUT, thi_wait_sleep(&m.wait, PAST, true, &site, &m));
    cr_expect_not(thi_wait_claim(&m.waiters[0]));
    begin_multi(&m);
    EXPECT_CALL(ETIMEDOUT, thi_wait_sleep(&m.wait, SOON, true, &site, &m));
    for (int i = 0; i < WAKERS; i++)
        cr_expect_not(thi_wait_claim(&m.waiters[i]));
}

/* The deadline passes while it is being claimed: one of the two, and they agree on which. */
Test(park, giving_up_and_waking_agree)
{
    const thrum_time_t end = thrum_after(ENOUGH);
    unsigned woken = 0;
    for (int round = 0; round < 1000 && (woken == 0 || thrum_now() < end); round++) {
        struct multi m;
        struct waker w = {&m, 0};
        struct caller c;
        begin_multi(&m);
        caller_start(&c, try_to_win, &w);
        caller_strand(&c);
        /* Mostly just as it is claimed; now and then it can hardly come first. */
        const int64_t time = round % 100 == 99 ? THRUM_S(10) : THRUM_US(round % 30);
        const thrum_time_t deadline = thrum_after(time);
        thi_store_release(&m.gate, 1u);
        const int err = thi_wait_sleep(&m.wait, deadline, true, &site, &m);
        cr_expect_eq(caller_join(&c), 0);
        cr_expect(err == (m.winners == 1 ? 0 : ETIMEDOUT));
        woken += err == 0;
    }
    cr_expect_gt(woken, 0u);
}

/* Once it is claimed, neither deadline nor cancellation ends it: the wake-up is on its way. */
struct claimed {
    struct multi m;
    uint32_t ready;
};

static int wait_claimed(void *arg)
{
    struct claimed *claimed = arg;
    begin_multi(&claimed->m);
    if (!thi_wait_claim(&claimed->m.waiters[0]))
        return EPROTO;
    thi_store_release(&claimed->ready, 1u);
    return thi_wait_sleep(&claimed->m.wait, PAST, true, &site, claimed);
}

Test(park, what_is_claimed_waits_for_its_waker)
{
    struct claimed claimed = {.ready = 0};
    struct caller c;
    caller_start(&c, wait_claimed, &claimed);
    await_word(&claimed.ready, 1);
    caller_cancel(&c);
    cr_expect(caller_stays(&c));
    thi_wait_finish(&claimed.m.waiters[0]);
    cr_expect_eq(caller_join(&c), 0);
}

Test(park, a_wait_that_is_not_cancellable_is_not)
{
    struct multi m;
    struct waker w = {&m, 0};
    struct caller c;
    begin_multi(&m);
    thi_strand_cancel(thi_self());
    cr_expect_eq(thi_wait_sleep(&m.wait, THRUM_FOREVER, true, &site, &m), ECANCELED);
    begin_multi(&m);
    caller_start(&c, try_to_win, &w);
    thi_store_release(&m.gate, 1u);
    cr_expect_eq(thi_wait_sleep(&m.wait, THRUM_FOREVER, false, &site, &m), 0);
    cr_expect_eq(caller_join(&c), 0);
}

/* --- another kind of strand ---------------------------------------------------------------------- */

static int take_one(void *arg)
{
    return thrum_sem_acquire(arg);
}

static int take_one_in_time(void *arg)
{
    return thrum_sem_acquire_until(arg, thrum_after(THRUM_S(1000)));
}

Test(park, a_kind_of_strand_is_its_block_and_its_wake)
{
    thrum_sem_t s = THRUM_SEM_INIT(0);
    struct puppet *p = puppet_start(take_one, &s);
    puppet_await_asleep(p);
    cr_expect_eq(thi_park_count(&s), 1u);
    EXPECT_CALL(0, thrum_sem_release(&s));
    cr_expect_eq(puppet_join(p), 0);
    cr_expect_eq(puppet_wakes(p), 1u);

    p = puppet_start(take_one_in_time, &s);
    puppet_await_asleep(p);
    puppet_expire(p);
    cr_expect_eq(puppet_join(p), ETIMEDOUT);
    cr_expect_eq(puppet_wakes(p), 0u);

    p = puppet_start(take_one, &s);
    puppet_await_asleep(p);
    thi_strand_cancel(&p->strand);
    cr_expect_eq(puppet_join(p), ECANCELED);
    cr_expect_eq(thrum_sem_value(&s), 0u);
}

/* Woken, and then its deadline passes and it is cancelled before it has run: it was woken. */
Test(park, a_wakeup_counts_from_the_moment_it_is_given)
{
    thrum_sem_t s = THRUM_SEM_INIT(0);
    struct puppet *p = puppet_start(take_one_in_time, &s);
    puppet_await_asleep(p);
    puppet_hold(p);
    EXPECT_CALL(0, thrum_sem_release(&s));
    puppet_expire(p);
    thi_strand_cancel(&p->strand);
    cr_expect_eq(thi_park_count(&s), 0u);
    puppet_let_go(p);
    cr_expect_eq(puppet_join(p), 0);
    cr_expect_eq(thrum_sem_value(&s), 0u);
}

/* Gave up, and then a permit comes before it has left: it takes it, or leaves it to others. */
Test(park, what_comes_while_a_strand_gives_up_is_not_lost)
{
    const thrum_time_t end = thrum_after(ENOUGH);
    for (int round = 0; round < 200 && thrum_now() < end; round++) {
        thrum_sem_t s = THRUM_SEM_INIT(0);
        struct puppet *p = puppet_start(take_one_in_time, &s);
        puppet_await_asleep(p);
        puppet_expire(p);
        for (int i = 0; i < round % 8; i++)
            sched_yield();
        EXPECT_CALL(0, thrum_sem_release(&s));
        const int err = puppet_join(p);
        cr_expect(err == 0 || err == ETIMEDOUT);
        cr_expect_eq(thrum_sem_value(&s), err == 0 ? 0u : 1u);
        cr_expect_eq(s.thrum_word >> 34, 0, "nobody is counted as waiting");
    }
}

/* A strand may come back from its sleep for no reason. */
static int come_back_for_nothing(thi_strand_t *self, thrum_time_t deadline)
{
    (void)self;
    (void)deadline;
    sched_yield();
    return 0;
}

static const thi_strand_kind_t restless_kind = {
    .name = "restless",
    .block = come_back_for_nothing,
    .wake = puppet_wake,
    .describe = puppet_describe,
};

static int be_restless(void *arg)
{
    struct puppet *p = arg;
    thi_strand_t *record = thi_self();
    p->strand.kind = &restless_kind;
    thi_strand_set_current(&p->strand);
    const int err = thrum_sem_acquire(p->arg);
    thi_strand_set_current(record);
    return err;
}

Test(park, a_sleep_that_ends_for_no_reason_is_taken_up_again)
{
    static struct puppet p;
    thrum_sem_t s = THRUM_SEM_INIT(0);
    struct caller c;
    cr_assert_eq(thi_strand_register(&p.strand, &restless_kind), 0);
    thi_strand_renew(&p.strand);
    pthread_mutex_init(&p.mutex, NULL);
    pthread_cond_init(&p.changed, NULL);
    p.arg = &s;
    caller_start(&c, be_restless, &p);
    await_parked(&s, 1);
    cr_expect(caller_stays(&c));
    EXPECT_CALL(0, thrum_sem_release(&s));
    cr_expect_eq(caller_join(&c), 0);
}
