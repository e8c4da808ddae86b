#include <string.h>

#include <thrum/barrier.h>
#include <thrum/cancel.h>
#include <thrum/event.h>

#include "support/child.h"
#include "support/expect.h"
#include "support/graveyard.h"

TestSuite(barrier, .timeout = 30);

#define NOWHERE UINT_MAX

/* How long a test goes on with its rounds: on a busy machine one can take as long as a hundred. */
#define ENOUGH THRUM_S(4)

struct party {
    thrum_barrier_t *b;
    thrum_time_t deadline;
    unsigned index;
};

static int arrive(void *arg)
{
    struct party *p = arg;
    return p->deadline == THRUM_FOREVER ? thrum_barrier_wait(p->b, &p->index)
                                        : thrum_barrier_wait_until(p->b, &p->index, p->deadline);
}

static void start(struct caller *c, struct party *p, thrum_barrier_t *b, thrum_time_t deadline)
{
    *p = (struct party){b, deadline, NOWHERE};
    caller_start(c, arrive, p);
}

/* Starts n of them, and waits until they are inside. */
static void start_inside(struct caller *c, struct party *p, thrum_barrier_t *b, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        start(&c[i], &p[i], b, THRUM_FOREVER);
    await_parked(b, n);
}

static void expect_all(int err, struct caller *c, const struct party *p, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        const int got = caller_join(&c[i]);
        cr_expect(got == err, "%s", expect_name(got));
        cr_expect(err == 0 || p[i].index == NOWHERE, "written only on success");
    }
}

Test(barrier, bad_arguments_are_refused)
{
    thrum_barrier_t b;
    memset(&b, 0x5a, sizeof b);
    const thrum_barrier_t before = b;
    EXPECT_CALL(EINVAL, thrum_barrier_init(NULL, 1, NULL, NULL));
    EXPECT_CALL(EINVAL, thrum_barrier_init(&b, 0, NULL, NULL));
    EXPECT_CALL(EINVAL, thrum_barrier_init(&b, THRUM_BARRIER_MAX + 1, NULL, NULL));
    EXPECT_CALL(EINVAL, thrum_barrier_init(&b, UINT_MAX, NULL, NULL));
    cr_expect_eq(memcmp(&b, &before, sizeof b), 0, "nothing changed");
    EXPECT_CALL(EINVAL, thrum_barrier_wait(NULL, NULL));
    EXPECT_CALL(EINVAL, thrum_barrier_wait_until(NULL, NULL, PAST));
    EXPECT_CALL(EINVAL, thrum_barrier_reset(NULL));
    EXPECT_CALL(EINVAL, thrum_barrier_abort(NULL));
    cr_expect_eq(thrum_barrier_parties(NULL), 0u);
    cr_expect_eq(thrum_barrier_waiting(NULL), 0u);
    cr_expect_not(thrum_barrier_broken(NULL));
}

Test(barrier, says_who_is_there)
{
    thrum_barrier_t b;
    struct caller c[2];
    struct party p[2];
    EXPECT_CALL(0, thrum_barrier_init(&b, THRUM_BARRIER_MAX, NULL, NULL));
    cr_expect_eq(thrum_barrier_parties(&b), THRUM_BARRIER_MAX);
    EXPECT_CALL(0, thrum_barrier_init(&b, 3, NULL, NULL));
    cr_expect_eq(thrum_barrier_parties(&b), 3u);
    cr_expect_eq(thrum_barrier_waiting(&b), 0u);
    cr_expect_not(thrum_barrier_broken(&b));
    start_inside(c, p, &b, 2);
    cr_expect_eq(thrum_barrier_waiting(&b), 2u);
    EXPECT_CALL(0, thrum_barrier_wait(&b, NULL)); /* nobody asked which */
    expect_all(0, c, p, 2);
    cr_expect_eq(thrum_barrier_waiting(&b), 0u);
}

Test(barrier, alone_one_passes)
{
    thrum_barrier_t b;
    unsigned index = NOWHERE;
    EXPECT_CALL(0, thrum_barrier_init(&b, 1, NULL, NULL));
    for (int i = 0; i < 3; i++)
        EXPECT_CALL(0, thrum_barrier_wait(&b, &index));
    cr_expect_eq(index, 0u);
    EXPECT_CALL(0, thrum_barrier_wait_until(&b, NULL, PAST));
}

Test(barrier, places_are_those_of_arrival)
{
    enum { PARTIES = 5 };
    thrum_barrier_t b;
    struct caller c[PARTIES];
    struct party p[PARTIES];
    EXPECT_CALL(0, thrum_barrier_init(&b, PARTIES, NULL, NULL));
    for (unsigned i = 0; i < PARTIES; i++) {
        start(&c[i], &p[i], &b, THRUM_FOREVER);
        if (i + 1 < PARTIES)
            await_parked(&b, i + 1);
    }
    expect_all(0, c, p, PARTIES);
    for (unsigned i = 0; i < PARTIES; i++)
        cr_expect_eq(p[i].index, i);
}

/* --- rounds --------------------------------------------------------------------------------------- */

enum { PARTIES = 4, ROUNDS = 5000 }; /* at most */
#define ALL_PLACES ((1u << PARTIES) - 1u)

/* Plain memory, but for the places: the barrier and its action order it. */
struct rounds {
    thrum_barrier_t b;
    uint32_t phase;
    uint32_t last; /* the phase that ends it */
    thrum_time_t end;
    uint32_t places[2]; /* taken in this round and in the one before */
    uint32_t seen[PARTIES];
    uint32_t who;
};

static int begin_next_round(void *arg)
{
    struct rounds *r = arg;
    for (int i = 0; i < PARTIES; i++) {
        if (r->seen[i] != r->phase)
            return EPROTO; /* it is not everybody */
    }
    if (r->phase > 0 && r->places[(r->phase - 1) % 2] != ALL_PLACES)
        return EPROTO; /* a place went twice, or somebody is still coming out */
    r->places[(r->phase + 1) % 2] = 0;
    r->phase++;
    if (r->phase == ROUNDS || thrum_now() >= r->end)
        r->last = r->phase;
    return 0;
}

static int go_round_and_round(void *arg)
{
    struct rounds *r = arg;
    const uint32_t me = thi_fetch_add_relaxed(&r->who, 1u);
    for (uint32_t i = 0; i == 0 || r->last != i; i++) {
        unsigned index = NOWHERE;
        r->seen[me] = i;
        if (thrum_barrier_wait(&r->b, &index) != 0)
            return EPIPE;
        if (r->phase != i + 1 || index >= PARTIES)
            return EPROTO;
        if ((thi_fetch_or_relaxed(&r->places[i % 2], 1u << index) & 1u << index) != 0)
            return EPROTO;
    }
    return 0;
}

Test(barrier, it_is_used_back_to_back_and_places_are_a_permutation)
{
    struct rounds r = {.end = thrum_after(ENOUGH)};
    struct caller c[PARTIES];
    EXPECT_CALL(0, thrum_barrier_init(&r.b, PARTIES, begin_next_round, &r));
    for (int i = 0; i < PARTIES; i++)
        caller_start(&c[i], go_round_and_round, &r);
    for (int i = 0; i < PARTIES; i++)
        cr_expect_eq(caller_join(&c[i]), 0);
    cr_expect_eq(r.phase, r.last);
    cr_expect_not(thrum_barrier_broken(&r.b));
}

/* More strands than parties: who comes while a round is ending belongs to the next. */
static int pass_often(void *arg)
{
    const thrum_time_t end = thrum_after(ENOUGH);
    for (int i = 0; i < 3000 && thrum_now() < end; i++) {
        if (thrum_barrier_wait(arg, NULL) != 0)
            return EPIPE;
    }
    return 0;
}

static int linger(void *arg)
{
    (void)arg;
    for (int i = 0; i < 10; i++)
        sched_yield();
    return 0;
}

Test(barrier, more_strands_than_parties_take_turns)
{
    thrum_barrier_t b;
    struct caller c[6];
    EXPECT_CALL(0, thrum_barrier_init(&b, 3, linger, NULL));
    for (int i = 0; i < 6; i++)
        caller_start(&c[i], pass_often, &b);
    /* In the end there may be one or two with nobody to meet. */
    unsigned done = 0;
    while (done < 6) {
        done = 0;
        for (int i = 0; i < 6; i++)
            done += caller_done(&c[i]);
        if (done < 6 && 6 - done < 3 && thrum_barrier_waiting(&b) == 6 - done)
            thrum_barrier_abort(&b);
        sched_yield();
    }
    for (int i = 0; i < 6; i++) {
        const int err = caller_join(&c[i]);
        cr_expect(err == 0 || err == EPIPE, "%s", expect_name(err));
    }
}

/* --- the action ----------------------------------------------------------------------------------- */

struct deed {
    thrum_barrier_t b;
    thrum_event_t go;
    uint32_t began;
    uint64_t done; /* plain */
    int result;
};

static int act_when_told(void *arg)
{
    struct deed *d = arg;
    thi_store_release(&d->began, 1u);
    thrum_event_wait(&d->go);
    d->done++;
    return d->result;
}

static void begin_deed(struct deed *d, unsigned parties, int result)
{
    *d = (struct deed){.result = result};
    cr_assert_eq(thrum_barrier_init(&d->b, parties, act_when_told, d), 0);
}

Test(barrier, nobody_is_let_go_before_the_action_is_done)
{
    struct deed d;
    struct caller c[3];
    struct party p[3];
    begin_deed(&d, 3, 0);
    for (int i = 0; i < 3; i++)
        start(&c[i], &p[i], &d.b, THRUM_FOREVER);
    await_word(&d.began, 1);
    cr_expect_eq(thrum_barrier_waiting(&d.b), 3u);
    for (int i = 0; i < 3; i++)
        cr_expect(caller_stays(&c[i]));
    thrum_event_set(&d.go);
    expect_all(0, c, p, 3);
    cr_expect_eq(d.done, 1u);
}

Test(barrier, who_comes_during_the_action_belongs_to_the_next_round)
{
    struct deed d;
    struct caller c[4];
    struct party p[4];
    begin_deed(&d, 2, 0);
    start_inside(c, p, &d.b, 1);
    start(&c[1], &p[1], &d.b, THRUM_FOREVER);
    await_word(&d.began, 1);
    start(&c[2], &p[2], &d.b, THRUM_FOREVER);
    await_asleep(&c[2]);
    cr_expect_eq(thrum_barrier_waiting(&d.b), 2u);
    thrum_event_set(&d.go);
    expect_all(0, c, p, 2);
    await_parked(&d.b, 1);
    cr_expect_eq(thrum_barrier_waiting(&d.b), 1u);
    start(&c[3], &p[3], &d.b, THRUM_FOREVER);
    expect_all(0, &c[2], &p[2], 2);
    cr_expect_eq(p[2].index, 0u);
    cr_expect_eq(p[3].index, 1u);
}

Test(barrier, giving_up_before_the_round_can_be_entered_breaks_nothing)
{
    struct deed d;
    struct caller c[4];
    struct party p[4];
    begin_deed(&d, 2, 0);
    start_inside(c, p, &d.b, 1);
    start(&c[1], &p[1], &d.b, THRUM_FOREVER);
    await_word(&d.began, 1);
    start(&c[2], &p[2], &d.b, SOON);
    cr_expect_eq(caller_join(&c[2]), ETIMEDOUT);
    start(&c[3], &p[3], &d.b, THRUM_FOREVER);
    await_asleep(&c[3]);
    caller_cancel(&c[3]);
    cr_expect_eq(caller_join(&c[3]), ECANCELED);
    thrum_event_set(&d.go);
    expect_all(0, c, p, 2);
    cr_expect_not(thrum_barrier_broken(&d.b));
}

Test(barrier, a_failing_action_breaks_it)
{
    struct deed d;
    struct caller c[3];
    struct party p[3];
    begin_deed(&d, 3, EIO);
    thrum_event_set(&d.go);
    for (int i = 0; i < 3; i++)
        start(&c[i], &p[i], &d.b, THRUM_FOREVER);
    expect_all(EPIPE, c, p, 3);
    cr_expect(thrum_barrier_broken(&d.b));
    EXPECT_CALL(EPIPE, thrum_barrier_wait(&d.b, NULL));
}

/* --- breaking ------------------------------------------------------------------------------------- */

static void expect_broken_and_mend(thrum_barrier_t *b)
{
    struct caller c[2];
    struct party p[2];
    cr_expect(thrum_barrier_broken(b));
    cr_expect_eq(thrum_barrier_waiting(b), 0u);
    EXPECT_CALL(EPIPE, thrum_barrier_wait(b, NULL));
    EXPECT_CALL(EPIPE, thrum_barrier_wait_until(b, NULL, PAST));
    EXPECT_CALL(0, thrum_barrier_reset(b));
    cr_expect_not(thrum_barrier_broken(b));
    start_inside(c, p, b, 2);
    EXPECT_CALL(0, thrum_barrier_wait(b, NULL));
    expect_all(0, c, p, 2);
}

Test(barrier, a_timeout_breaks_it)
{
    thrum_barrier_t b;
    struct caller c[1];
    struct party p[1];
    EXPECT_CALL(0, thrum_barrier_init(&b, 3, NULL, NULL));
    start_inside(c, p, &b, 1);
    EXPECT_CALL(ETIMEDOUT, thrum_barrier_wait_until(&b, NULL, SOON));
    expect_all(EPIPE, c, p, 1);
    expect_broken_and_mend(&b);
}

Test(barrier, a_past_deadline_breaks_it_unless_it_was_the_last_to_arrive)
{
    thrum_barrier_t b;
    struct caller c[2];
    struct party p[2];
    unsigned index = NOWHERE;
    EXPECT_CALL(0, thrum_barrier_init(&b, 3, NULL, NULL));
    start_inside(c, p, &b, 2);
    EXPECT_CALL(0, thrum_barrier_wait_until(&b, &index, PAST));
    cr_expect_eq(index, 2u);
    expect_all(0, c, p, 2);
    start_inside(c, p, &b, 1);
    EXPECT_CALL(ETIMEDOUT, thrum_barrier_wait_until(&b, NULL, PAST));
    expect_all(EPIPE, c, p, 1);
    expect_broken_and_mend(&b);
}

Test(barrier, a_cancelled_wait_breaks_it)
{
    thrum_barrier_t b;
    struct caller c[2];
    struct party p[2];
    EXPECT_CALL(0, thrum_barrier_init(&b, 3, NULL, NULL));
    start_inside(c, p, &b, 2);
    caller_cancel(&c[0]);
    cr_expect_eq(caller_join(&c[0]), ECANCELED);
    expect_all(EPIPE, &c[1], &p[1], 1);
    expect_broken_and_mend(&b);
}

static int arrive_cancelled(void *arg)
{
    thi_strand_cancel(thi_self());
    return arrive(arg);
}

Test(barrier, the_last_to_arrive_needs_no_waiting)
{
    thrum_barrier_t b;
    struct caller c[3];
    struct party p[3];
    EXPECT_CALL(0, thrum_barrier_init(&b, 3, NULL, NULL));
    start_inside(c, p, &b, 2);
    p[2] = (struct party){&b, THRUM_FOREVER, NOWHERE};
    caller_start(&c[2], arrive_cancelled, &p[2]);
    expect_all(0, c, p, 3);
    p[2].index = NOWHERE;
    caller_start(&c[2], arrive_cancelled, &p[2]);
    cr_expect_eq(caller_join(&c[2]), ECANCELED);
    expect_broken_and_mend(&b);
}

Test(barrier, abort_breaks_it)
{
    thrum_barrier_t b;
    struct caller c[2];
    struct party p[2];
    EXPECT_CALL(0, thrum_barrier_init(&b, 3, NULL, NULL));
    start_inside(c, p, &b, 2);
    EXPECT_CALL(0, thrum_barrier_abort(&b));
    expect_all(EPIPE, c, p, 2);
    EXPECT_CALL(0, thrum_barrier_abort(&b));
    expect_broken_and_mend(&b);
    EXPECT_CALL(0, thrum_barrier_abort(&b)); /* with nobody inside */
    expect_broken_and_mend(&b);
}

Test(barrier, reset_sends_those_inside_away_and_does_not_break_it)
{
    thrum_barrier_t b;
    struct caller c[2];
    struct party p[2];
    EXPECT_CALL(0, thrum_barrier_init(&b, 3, NULL, NULL));
    EXPECT_CALL(0, thrum_barrier_reset(&b));
    for (int i = 0; i < 3; i++) {
        start_inside(c, p, &b, 2);
        EXPECT_CALL(0, thrum_barrier_reset(&b));
        cr_expect_not(thrum_barrier_broken(&b));
        cr_expect_eq(thrum_barrier_waiting(&b), 0u);
        expect_all(EPIPE, c, p, 2);
    }
    start_inside(c, p, &b, 2);
    EXPECT_CALL(0, thrum_barrier_wait(&b, NULL));
    expect_all(0, c, p, 2);
}

/* While the action runs the round has not passed yet, so it can still be broken. */
static void break_during_the_action(int (*breaker)(struct deed *, struct caller *), int of_breaker,
                                    bool broken)
{
    struct deed d;
    struct caller c[3];
    struct party p[3];
    begin_deed(&d, 3, 0);
    start_inside(c, p, &d.b, 2);
    start(&c[2], &p[2], &d.b, THRUM_FOREVER);
    await_word(&d.began, 1);
    cr_expect_eq(breaker(&d, c), 0);
    const int err = caller_join(&c[0]);
    cr_expect(err == of_breaker, "%s", expect_name(err));
    expect_all(EPIPE, &c[1], &p[1], 1);
    cr_expect_eq(thrum_barrier_broken(&d.b), broken);
    cr_expect(caller_stays(&c[2]), "the action is still running");
    thrum_event_set(&d.go);
    expect_all(EPIPE, &c[2], &p[2], 1);
    cr_expect_eq(thrum_barrier_broken(&d.b), broken, "the end of the round that was is no news");
}

static int by_abort(struct deed *d, struct caller *c)
{
    (void)c;
    return thrum_barrier_abort(&d->b);
}

static int by_reset(struct deed *d, struct caller *c)
{
    (void)c;
    return thrum_barrier_reset(&d->b);
}

static int by_cancel(struct deed *d, struct caller *c)
{
    (void)d;
    caller_cancel(&c[0]);
    return 0;
}

Test(barrier, abort_during_the_action)
{
    break_during_the_action(by_abort, EPIPE, true);
}

Test(barrier, reset_during_the_action)
{
    break_during_the_action(by_reset, EPIPE, false);
}

Test(barrier, cancellation_during_the_action)
{
    break_during_the_action(by_cancel, ECANCELED, true);
}

/* One gives up while another resets: whichever comes first, after the reset it is mended. The bucket
 * of the barrier is held meanwhile, so that both stand at it. */
struct stand_still {
    thrum_barrier_t *b;
    uint32_t holds;
    uint32_t let_go;
};

static bool hold_bucket(void *arg)
{
    struct stand_still *s = arg;
    thi_store_release(&s->holds, 1u);
    while (thi_load_acquire(&s->let_go) == 0)
        sched_yield();
    return false;
}

static int stand_still(void *arg)
{
    static const thi_site_t nowhere = {"nowhere", NULL};
    struct stand_still *s = arg;
    thi_park_t park = {.site = &nowhere, .key = s->b, .arg = s, .validate = hold_bucket};
    return thi_lot_park(&park, THRUM_FOREVER) == EAGAIN ? 0 : EPROTO;
}

static int reset(void *arg)
{
    return thrum_barrier_reset(arg);
}

Test(barrier, a_reset_mends_it_also_while_somebody_gives_up)
{
    for (int round = 0; round < 60; round++) {
        thrum_barrier_t b;
        struct stand_still s = {&b, 0, 0};
        struct party p;
        struct caller waiter, resetter, holder;
        EXPECT_CALL(0, thrum_barrier_init(&b, 2, NULL, NULL));
        start(&waiter, &p, &b, THRUM_FOREVER);
        await_parked(&b, 1);
        await_asleep(&waiter);
        caller_start(&holder, stand_still, &s);
        await_word(&s.holds, 1);
        if (round % 2 == 0)
            caller_cancel(&waiter); /* gives up, and cannot leave the queue yet */
        caller_start(&resetter, reset, &b);
        caller_strand(&resetter);
        if (round % 2 != 0)
            caller_cancel(&waiter);
        for (int i = 0; i < round % 16; i++)
            sched_yield();
        thi_store_release(&s.let_go, 1u);
        cr_expect_eq(caller_join(&holder), 0);
        cr_expect_eq(caller_join(&resetter), 0);
        const int err = caller_join(&waiter);
        cr_expect(err == ECANCELED || err == EPIPE, "%s", expect_name(err));
        cr_expect_not(thrum_barrier_broken(&b));
    }
}

/* --- the rest ------------------------------------------------------------------------------------- */

static int wait_in_shield(void *arg, void **result)
{
    (void)result;
    return thrum_barrier_wait(arg, NULL);
}

static int wait_shielded(void *arg)
{
    return thrum_shield(wait_in_shield, arg, NULL);
}

Test(barrier, a_shield_holds_cancellation_back)
{
    thrum_barrier_t b;
    struct caller c;
    EXPECT_CALL(0, thrum_barrier_init(&b, 2, NULL, NULL));
    caller_start(&c, wait_shielded, &b);
    await_parked(&b, 1);
    caller_cancel(&c);
    cr_expect(caller_stays(&c));
    EXPECT_CALL(0, thrum_barrier_wait(&b, NULL));
    cr_expect_eq(caller_join(&c), 0);
}

struct last_round {
    struct graveyard graves;
    void *b;
    uint32_t gate; /* 1: the next round, 2: there is none */
    uint32_t out;  /* how many have come out of the round */
};

static int pass_and_bury(struct last_round *l)
{
    void *b = l->b;
    const int err = thrum_barrier_wait(b, NULL);
    if (thi_fetch_add_acq_rel(&l->out, 1u) == 0)
        graveyard_bury(b); /* the first one out */
    return err;
}

static int meet_again_and_again(void *arg)
{
    struct last_round *l = arg;
    for (;;) {
        uint32_t gate = 0;
        while ((gate = thi_load_acquire(&l->gate)) == 0)
            sched_yield();
        if (gate == 2)
            return 0;
        if (pass_and_bury(l) != 0)
            return EPIPE;
        while (thi_load_acquire(&l->out) != 2)
            sched_yield();
        thi_store_release(&l->gate, 0u);
    }
}

Test(barrier, the_first_one_out_may_free_it)
{
    const thrum_time_t end = thrum_after(ENOUGH);
    struct last_round l = {.gate = 0};
    struct caller c;
    graveyard_open(&l.graves);
    caller_start(&c, meet_again_and_again, &l);
    for (int i = 0; i < 20000 && thrum_now() < end; i++) {
        l.b = graveyard_rise(&l.graves, sizeof(thrum_barrier_t));
        l.out = 0;
        cr_assert_eq(thrum_barrier_init(l.b, 2, NULL, NULL), 0);
        thi_store_release(&l.gate, 1u);
        for (int pause = 0; pause < i % 256; pause++)
            thi_cpu_pause();
        if (i % 16 == 0)
            await_parked(l.b, 1);
        cr_assert_eq(pass_and_bury(&l), 0);
        await_word(&l.gate, 0);
    }
    thi_store_release(&l.gate, 2u);
    cr_expect_eq(caller_join(&c), 0);
    graveyard_close(&l.graves);
}

struct victim {
    thrum_barrier_t *b;
    int result;
    int cancelled;
};

static void *victim_main(void *arg)
{
    struct victim *v = arg;
    pthread_cancel(pthread_self());
    v->result = thrum_barrier_wait(v->b, NULL);
    v->cancelled = 1;
    pthread_testcancel();
    v->cancelled = 2;
    return NULL;
}

Test(barrier, waiting_is_no_pthread_cancellation_point)
{
    thrum_barrier_t b;
    struct victim v = {&b, -1, 0};
    pthread_t thread;
    EXPECT_CALL(0, thrum_barrier_init(&b, 2, NULL, NULL));
    cr_assert_eq(pthread_create(&thread, NULL, victim_main, &v), 0);
    await_parked(&b, 1);
    EXPECT_CALL(0, thrum_barrier_wait(&b, NULL));
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_expect_eq(v.result, 0);
    cr_expect_eq(v.cancelled, 1);
}

/* --- fork ----------------------------------------------------------------------------------------- */

static int use_in_child(void *arg)
{
    thrum_barrier_t *b = arg;
    struct caller c[2];
    struct party p[2];
    start_inside(c, p, b, 2);
    if (thrum_barrier_wait(b, NULL) != 0)
        return 1;
    for (int i = 0; i < 2; i++) {
        if (caller_join(&c[i]) != 0)
            return 2;
    }
    return 0;
}

static int find_broken_in_child(void *arg)
{
    thrum_barrier_t *b = arg;
    if (thrum_barrier_wait(b, NULL) != EPIPE)
        return 3;
    if (!thrum_barrier_broken(b) || thrum_barrier_waiting(b) != 0)
        return 4;
    if (thrum_barrier_wait_until(b, NULL, PAST) != EPIPE)
        return 5;
    if (thrum_barrier_reset(b) != 0)
        return 6;
    return use_in_child(b);
}

Test(barrier, a_round_that_the_parent_began_is_broken_in_the_child)
{
    thrum_barrier_t b;
    struct caller c[2];
    struct party p[2];
    EXPECT_CALL(0, thrum_barrier_init(&b, 3, NULL, NULL));
    cr_expect_eq(child_run(use_in_child, &b), 0, "nobody was inside");
    start_inside(c, p, &b, 1);
    cr_expect_eq(child_run(find_broken_in_child, &b), 0);
    start(&c[1], &p[1], &b, THRUM_FOREVER);
    await_parked(&b, 2);
    cr_expect_eq(child_run(find_broken_in_child, &b), 0);
    EXPECT_CALL(0, thrum_barrier_wait(&b, NULL));
    expect_all(0, c, p, 2);
    cr_expect_eq(child_run(use_in_child, &b), 0, "nobody was inside");
}
