/*
 * Event: whoever waits when it is set is let go, however soon it is cleared again.
 */
#include "stress/stress.h"

#define TINY_NS 60000u

/* ------------------------------------------------------------------------------------------------
 * Storms of set and clear
 */

struct storm {
    thrum_event_t event;
    uint64_t data; /* written once, before the first set */
    uint64_t let_go;
    uint32_t over;
};

static void setter(struct member *self)
{
    struct storm *s = self->shared;
    while (member_goes_on(self)) {
        thrum_event_set(&s->event);
        chance_dawdle(&self->chance);
        if (!chance_one_in(&self->chance, 4))
            thrum_event_clear(&s->event);
        chance_dawdle(&self->chance);
    }
}

static int wait_somehow(thrum_event_t *event, struct chance *chance)
{
    switch (chance_below(chance, 4)) {
    case 0:
        return thrum_event_trywait(event);
    case 1:
        return thrum_event_wait_until(event, chance_deadline(chance, TINY_NS));
    default:
        return thrum_event_wait(event);
    }
}

static void was_let_go(struct storm *s)
{
    CHECK(s->data == 42); /* the set is a release */
    __atomic_fetch_add(&s->let_go, 1u, __ATOMIC_RELAXED);
}

static void waiter(struct member *self)
{
    struct storm *s = self->shared;
    while (thi_load_relaxed(&s->over) == 0) {
        const int err = wait_somehow(&s->event, &self->chance);
        CHECK(err == 0 || err == EAGAIN || err == ETIMEDOUT);
        if (err == 0)
            was_let_go(s);
        watchdog_progress();
    }
    CHECK(thrum_event_wait(&s->event) == 0); /* in the end it stays set */
    was_let_go(s);
}

static void run_storm(unsigned setters, unsigned waiters, thrum_time_t until)
{
    struct storm s = {.event = THRUM_EVENT_INIT};
    struct member team[TEAM_MAX];
    team_start(team, waiters, waiter, &s, until);
    s.data = 42;
    team_run(setters, setter, &s, until);
    thi_store_relaxed(&s.over, 1u);
    thrum_event_set(&s.event);
    team_join(team, waiters);
    CHECK(thrum_event_is_set(&s.event) && s.let_go != 0);
}

static void storm_1_2(thrum_time_t until)
{
    run_storm(1, 2, until);
}

static void storm_2_4(thrum_time_t until)
{
    run_storm(2, 4, until);
}

static void storm_3_14(thrum_time_t until)
{
    run_storm(3, 14, until);
}

/* ------------------------------------------------------------------------------------------------
 * Set and cleared at once, once everybody is known to wait: one set for all of them, and no other
 */

#define CROWD 7u

struct pulse {
    thrum_event_t event;
    thrum_barrier_t passed; /* all who waited, and who pulses, once it is cleared */
    bool over;              /* before the last pulse */
};

static void pulsed(struct member *self)
{
    struct pulse *p = self->shared;
    bool over = false;
    while (!over) {
        CHECK(thrum_event_wait(&p->event) == 0);
        over = p->over;
        CHECK(thrum_barrier_wait(&p->passed, NULL) == 0);
    }
}

/* How many strands wait for an event, as the library itself reports it. */
static unsigned waiting_for_event(void)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL)
        abort();
    thrum_dump_waiters(out);
    fclose(out);
    unsigned count = 0;
    for (const char *at = text; (at = strstr(at, " event ")) != NULL; at++)
        count++;
    free(text);
    return count;
}

static void one_pulse(struct pulse *p, bool last)
{
    while (waiting_for_event() != CROWD)
        sched_yield();
    p->over = last;
    thrum_event_set(&p->event);
    thrum_event_clear(&p->event);
    CHECK(thrum_barrier_wait(&p->passed, NULL) == 0);
    watchdog_progress();
}

static void pulses(thrum_time_t until)
{
    struct pulse p = {.over = false};
    struct member team[CROWD];
    CHECK(thrum_barrier_init(&p.passed, CROWD + 1, NULL, NULL) == 0);
    team_start(team, CROWD, pulsed, &p, until);
    do
        one_pulse(&p, false);
    while (thrum_now() < until);
    one_pulse(&p, true);
    team_join(team, CROWD);
}

/* ------------------------------------------------------------------------------------------------
 * A doorbell: "write, set" on one side and "wait, clear, read" on the other. No writing is missed.
 */

#define VISITORS 3u

struct door {
    thrum_event_t bell;
    uint32_t left[VISITORS]; /* relaxed: what each has written last */
    uint32_t answered[VISITORS];
};

/* Does not go on before it was answered: a bell that is missed ends everything. */
static void visitor(struct member *self)
{
    struct door *d = self->shared;
    for (uint32_t i = 1;; i++) {
        const uint32_t note = member_goes_on(self) ? i : UINT32_MAX;
        thi_store_relaxed(&d->left[self->index], note);
        thrum_event_set(&d->bell);
        while (thi_load_relaxed(&d->answered[self->index]) != note)
            sched_yield();
        if (note == UINT32_MAX)
            break;
    }
}

static unsigned answer_all(struct door *d)
{
    unsigned gone = 0;
    for (unsigned i = 0; i < VISITORS; i++) {
        const uint32_t note = thi_load_relaxed(&d->left[i]);
        gone += note == UINT32_MAX;
        thi_store_relaxed(&d->answered[i], note);
    }
    return gone;
}

static void doorbell(thrum_time_t until)
{
    struct door d = {.bell = THRUM_EVENT_INIT};
    struct member team[VISITORS];
    team_start(team, VISITORS, visitor, &d, until);
    unsigned gone = 0;
    while (gone != VISITORS) {
        CHECK(thrum_event_wait(&d.bell) == 0);
        thrum_event_clear(&d.bell);
        gone = answer_all(&d);
        watchdog_progress();
    }
    team_join(team, VISITORS);
}

/* ------------------------------------------------------------------------------------------------
 * Cancelled while it is set and cleared
 */

static void doomed(struct member *self)
{
    struct storm *s = self->shared;
    int err = 0;
    while (err != ECANCELED) {
        err = wait_somehow(&s->event, &self->chance);
        CHECK(err == 0 || err == EAGAIN || err == ETIMEDOUT || err == ECANCELED);
        CHECK(err != ECANCELED || thrum_cancelled());
        watchdog_progress();
    }
}

static void cancelled_round(struct chance *chance)
{
    struct storm s = {.event = THRUM_EVENT_INIT};
    struct member team[4];
    team_start(team, 4, doomed, &s, THRUM_FOREVER);
    for (unsigned i = 0; i < 4; i++) {
        thrum_event_set(&s.event);
        chance_dawdle(chance);
        thrum_event_clear(&s.event);
        chance_dawdle(chance);
        member_cancel(&team[i]);
    }
    team_join(team, 4);
}

static void cancelled(thrum_time_t until)
{
    struct chance chance = chance_begin();
    do
        cancelled_round(&chance);
    while (thrum_now() < until);
}

static const struct stress_case cases[] = {
    {"1 sets, 2 wait", storm_1_2},  {"2 set, 4 wait", storm_2_4},
    {"3 set, 14 wait", storm_3_14}, {"all who wait are let go", pulses},
    {"a doorbell", doorbell},       {"cancelled", cancelled},
};

STRESS_MAIN(cases)
