/*
 * Wait group: what was done is visible to who waited for it; used again and again.
 */
#include "stress/stress.h"

#define TINY_NS 60000u

/* ------------------------------------------------------------------------------------------------
 * Jobs: given out, done by others, waited for, round after round on one group
 */

#define WORKERS 4u
#define JOBS 16u

struct office {
    thrum_waitgroup_t group;
    thrum_sem_t posted;
    uint32_t next;       /* job to be taken; relaxed */
    uint64_t done[JOBS]; /* plain: how often */
    bool over;
};

static void worker(struct member *self)
{
    struct office *o = self->shared;
    for (;;) {
        CHECK(thrum_sem_acquire(&o->posted) == 0);
        if (o->over)
            break;
        const uint32_t job = __atomic_fetch_add(&o->next, 1u, __ATOMIC_RELAXED);
        o->done[job % JOBS]++;
        chance_dawdle(&self->chance);
        CHECK(thrum_waitgroup_done(&o->group) == 0);
    }
}

static int wait_somehow(thrum_waitgroup_t *group, struct chance *chance)
{
    int err = ETIMEDOUT;
    while (err == ETIMEDOUT && chance_one_in(chance, 2))
        err = thrum_waitgroup_wait_until(group, chance_deadline(chance, TINY_NS));
    return err == ETIMEDOUT ? thrum_waitgroup_wait(group) : err;
}

static void boss(struct member *self)
{
    struct office *o = self->shared;
    uint64_t rounds = 0;
    while (member_goes_on(self)) {
        CHECK(thrum_waitgroup_add(&o->group, (int)JOBS) == 0);
        if (chance_one_in(&self->chance, 2))
            CHECK(thrum_sem_release_n(&o->posted, JOBS) == 0);
        else
            for (unsigned i = 0; i < JOBS; i++)
                CHECK(thrum_sem_release(&o->posted) == 0);
        CHECK(wait_somehow(&o->group, &self->chance) == 0);
        rounds++;
        for (unsigned i = 0; i < JOBS; i++)
            CHECK(o->done[i] == rounds);
    }
    o->over = true;
    CHECK(thrum_sem_release_n(&o->posted, WORKERS) == 0);
}

static void boss_or_worker(struct member *self)
{
    if (self->index == 0)
        boss(self);
    else
        worker(self);
}

static void jobs(thrum_time_t until)
{
    struct office o = {.over = false};
    team_run(WORKERS + 1, boss_or_worker, &o, until);
    CHECK(thrum_waitgroup_trywait(&o.group) == 0);
    CHECK(thrum_waitgroup_done(&o.group) == EINVAL);
}

/* ------------------------------------------------------------------------------------------------
 * A storm: the count rises and falls to zero all the time; whoever waits comes through
 */

struct storm {
    thrum_waitgroup_t group;
    uint64_t data; /* written once, before the first done */
    uint64_t let_go;
    uint32_t over;
};

static void adder(struct member *self)
{
    struct storm *s = self->shared;
    while (member_goes_on(self)) {
        const int n = (int)chance_below(&self->chance, 3) + 1;
        CHECK(thrum_waitgroup_add(&s->group, n) == 0);
        chance_dawdle(&self->chance);
        if (chance_one_in(&self->chance, 2)) {
            CHECK(thrum_waitgroup_add(&s->group, -n) == 0);
        } else {
            for (int i = 0; i < n; i++)
                CHECK(thrum_waitgroup_done(&s->group) == 0);
        }
    }
}

static int look_somehow(thrum_waitgroup_t *group, struct chance *chance)
{
    switch (chance_below(chance, 4)) {
    case 0:
        return thrum_waitgroup_trywait(group);
    case 1:
        return thrum_waitgroup_wait_until(group, chance_deadline(chance, TINY_NS));
    default:
        return thrum_waitgroup_wait(group);
    }
}

static void waiter(struct member *self)
{
    struct storm *s = self->shared;
    while (thi_load_relaxed(&s->over) == 0) {
        const int err = look_somehow(&s->group, &self->chance);
        CHECK(err == 0 || err == EAGAIN || err == ETIMEDOUT);
        if (err == 0) {
            CHECK(s->data == 42); /* the last done is a release */
            __atomic_fetch_add(&s->let_go, 1u, __ATOMIC_RELAXED);
        }
        watchdog_progress();
    }
}

static void run_storm(unsigned adders, unsigned waiters, thrum_time_t until)
{
    struct storm s = {.let_go = 0};
    struct member team[TEAM_MAX];
    CHECK(thrum_waitgroup_add(&s.group, 1) == 0);
    team_start(team, waiters, waiter, &s, until);
    s.data = 42;
    CHECK(thrum_waitgroup_done(&s.group) == 0);
    team_run(adders, adder, &s, until);
    CHECK(thrum_waitgroup_trywait(&s.group) == 0);
    thi_store_relaxed(&s.over, 1u);
    team_join(team, waiters);
}

static void storm_1_2(thrum_time_t until)
{
    run_storm(1, 2, until);
}

static void storm_2_4(thrum_time_t until)
{
    run_storm(2, 4, until);
}

static void storm_4_12(thrum_time_t until)
{
    run_storm(4, 12, until);
}

/* ------------------------------------------------------------------------------------------------
 * Cancelled while the count falls to zero
 */

static void doomed(struct member *self)
{
    struct storm *s = self->shared;
    int err = 0;
    while (err != ECANCELED) {
        err = look_somehow(&s->group, &self->chance);
        CHECK(err == 0 || err == EAGAIN || err == ETIMEDOUT || err == ECANCELED);
        CHECK(err != ECANCELED || thrum_cancelled());
        watchdog_progress();
    }
}

static void cancelled_round(struct chance *chance)
{
    struct storm s = {.let_go = 0};
    struct member team[4];
    CHECK(thrum_waitgroup_add(&s.group, 1) == 0);
    team_start(team, 4, doomed, &s, THRUM_FOREVER);
    for (unsigned i = 0; i < 4; i++) {
        chance_dawdle(chance);
        CHECK(thrum_waitgroup_done(&s.group) == 0);
        chance_dawdle(chance);
        CHECK(thrum_waitgroup_add(&s.group, 1) == 0);
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
    {"jobs", jobs},
    {"1 adds, 2 wait", storm_1_2},
    {"2 add, 4 wait", storm_2_4},
    {"4 add, 12 wait", storm_4_12},
    {"cancelled", cancelled},
};

STRESS_MAIN(cases)
