/*
 * Barrier: all come out together or not at all, and it can be broken and mended at any moment.
 */
#include "stress/stress.h"

#define TINY_NS 100000u

/* ------------------------------------------------------------------------------------------------
 * Phases, back to back
 */

struct march {
    thrum_barrier_t barrier;
    unsigned parties;
    thrum_time_t until;
    uint64_t step;              /* plain, as all that follows: written by the action */
    bool over;                  /* ... too */
    uint64_t places[TEAM_MAX];  /* how far each has come */
    uint64_t indices[TEAM_MAX]; /* how often each was given, by who was given it */
};

static int step_done(void *arg)
{
    struct march *m = arg;
    for (unsigned i = 0; i < m->parties; i++) {
        CHECK(m->places[i] == m->step + 1);
        CHECK(m->indices[i] == m->step);
    }
    m->step++;
    m->over = thrum_now() >= m->until;
    watchdog_progress();
    return 0;
}

/* Until a strand arrives again the action does not run, so what that wrote can be read. */
static void marcher(struct member *self)
{
    struct march *m = self->shared;
    bool over = false;
    for (uint64_t step = 1; !over; step++) {
        unsigned index = TEAM_MAX;
        chance_dawdle(&self->chance);
        m->places[self->index] = step;
        CHECK(thrum_barrier_wait(&m->barrier, &index) == 0);
        CHECK(m->step == step && index < m->parties);
        m->indices[index % TEAM_MAX]++;
        over = m->over;
    }
}

static void run_march(unsigned parties, thrum_time_t until)
{
    struct march m = {.parties = parties, .until = until};
    CHECK(thrum_barrier_init(&m.barrier, parties, step_done, &m) == 0);
    team_run(parties, marcher, &m, until);
    CHECK(thrum_barrier_waiting(&m.barrier) == 0 && !thrum_barrier_broken(&m.barrier));
}

static void march_2(thrum_time_t until)
{
    run_march(2, until);
}

static void march_4(thrum_time_t until)
{
    run_march(4, until);
}

static void march_16(thrum_time_t until)
{
    run_march(16, until);
}

/* ------------------------------------------------------------------------------------------------
 * Rounds that deadlines, failing actions or an abort may break. All meet after each: either everyone
 * passed, or nobody did.
 */

#define PARTIES 5u

struct trial {
    thrum_barrier_t barrier;
    thrum_barrier_t before; /* never broken */
    thrum_barrier_t after;  /* judges, and mends the first */
    int results[PARTIES];   /* plain, as all that follows */
    bool aborted;
    bool failed;
    bool over;
    thrum_time_t until;
    struct chance chance; /* of the actions */
};

static int maybe_fail(void *arg)
{
    struct trial *t = arg;
    t->failed = chance_one_in(&t->chance, 8);
    return t->failed ? EIO : 0;
}

static unsigned count_results(const struct trial *t, int result)
{
    unsigned count = 0;
    for (unsigned i = 0; i < PARTIES; i++)
        count += t->results[i] == result;
    return count;
}

static int judge(void *arg)
{
    struct trial *t = arg;
    const unsigned passed = count_results(t, 0);
    const unsigned late = count_results(t, ETIMEDOUT);
    CHECK(passed == 0 || passed == PARTIES);
    CHECK(passed + late + count_results(t, EPIPE) == PARTIES);
    CHECK(passed != 0 || late != 0 || t->aborted || t->failed);
    CHECK(passed == 0 || !t->failed);
    CHECK(thrum_barrier_broken(&t->barrier) == (passed == 0));
    if (thrum_barrier_broken(&t->barrier))
        CHECK(thrum_barrier_wait(&t->barrier, NULL) == EPIPE);
    CHECK(thrum_barrier_reset(&t->barrier) == 0);
    CHECK(!thrum_barrier_broken(&t->barrier) && thrum_barrier_waiting(&t->barrier) == 0);
    t->aborted = false;
    t->failed = false;
    t->over = thrum_now() >= t->until;
    watchdog_progress();
    return 0;
}

static void aspirant(struct member *self)
{
    struct trial *t = self->shared;
    bool over = false;
    while (!over) {
        const bool hurried = chance_one_in(&self->chance, 3);
        CHECK(thrum_barrier_wait(&t->before, NULL) == 0);
        chance_dawdle(&self->chance);
        /* By one that has not arrived yet, so that the round cannot pass before it. */
        if (self->index == 0 && chance_one_in(&self->chance, 16)) {
            t->aborted = true;
            CHECK(thrum_barrier_abort(&t->barrier) == 0);
        }
        const thrum_time_t deadline =
            hurried ? chance_deadline(&self->chance, TINY_NS) : THRUM_FOREVER;
        t->results[self->index] = thrum_barrier_wait_until(&t->barrier, NULL, deadline);
        CHECK(thrum_barrier_wait(&t->after, NULL) == 0);
        over = t->over;
    }
}

static void broken(thrum_time_t until)
{
    struct trial t = {.until = until, .chance = chance_begin()};
    CHECK(thrum_barrier_init(&t.barrier, PARTIES, maybe_fail, &t) == 0);
    CHECK(thrum_barrier_init(&t.before, PARTIES, NULL, NULL) == 0);
    CHECK(thrum_barrier_init(&t.after, PARTIES, judge, &t) == 0);
    team_run(PARTIES, aspirant, &t, until);
}

/* ------------------------------------------------------------------------------------------------
 * Nobody waits for anybody: more strands than parties, breaking and mending as they like. The strands
 * that passed did so in whole parties.
 */

#define FREE_PARTIES 3u

struct fair {
    thrum_barrier_t barrier;
    uint64_t passed; /* relaxed, as the other */
    uint64_t actions;
};

static int count_action(void *arg)
{
    struct fair *f = arg;
    __atomic_fetch_add(&f->actions, 1u, __ATOMIC_RELAXED);
    return 0;
}

static void stroller(struct member *self)
{
    struct fair *f = self->shared;
    while (member_goes_on(self)) {
        unsigned index = FREE_PARTIES;
        const thrum_time_t deadline = chance_deadline(&self->chance, TINY_NS);
        const int err = thrum_barrier_wait_until(&f->barrier, &index, deadline);
        CHECK(err == 0 || err == ETIMEDOUT || err == EPIPE);
        CHECK(err == 0 ? index < FREE_PARTIES : index == FREE_PARTIES);
        if (err == 0)
            __atomic_fetch_add(&f->passed, 1u, __ATOMIC_RELAXED);
        else if (chance_one_in(&self->chance, 2))
            CHECK(thrum_barrier_reset(&f->barrier) == 0);
        else if (chance_one_in(&self->chance, 8))
            CHECK(thrum_barrier_abort(&f->barrier) == 0);
    }
}

static void run_fair(unsigned n, thrum_time_t until)
{
    struct fair f = {.passed = 0};
    CHECK(thrum_barrier_init(&f.barrier, FREE_PARTIES, count_action, &f) == 0);
    team_run(n, stroller, &f, until);
    CHECK(f.passed % FREE_PARTIES == 0 && f.passed / FREE_PARTIES <= f.actions);
    CHECK(thrum_barrier_waiting(&f.barrier) == 0);
}

static void free_3(thrum_time_t until)
{
    run_fair(3, until);
}

static void free_10(thrum_time_t until)
{
    run_fair(10, until);
}

/* ------------------------------------------------------------------------------------------------
 * Cancelled: it breaks the round of the others, or comes after it
 */

#define DOOMED 3u

static void doomed(struct member *self)
{
    struct fair *f = self->shared;
    while (!thrum_cancelled()) {
        const int err = thrum_barrier_wait(&f->barrier, NULL);
        CHECK(err == 0 || err == EPIPE || err == ECANCELED);
        CHECK(err != ECANCELED || thrum_cancelled());
        if (err == 0)
            __atomic_fetch_add(&f->passed, 1u, __ATOMIC_RELAXED);
        if (err == EPIPE)
            CHECK(thrum_barrier_reset(&f->barrier) == 0);
        watchdog_progress();
    }
}

static void cancelled_round(struct chance *chance)
{
    struct fair f = {.passed = 0};
    struct member team[DOOMED];
    CHECK(thrum_barrier_init(&f.barrier, FREE_PARTIES, count_action, &f) == 0);
    team_start(team, DOOMED, doomed, &f, THRUM_FOREVER);
    for (unsigned i = 0; i < DOOMED; i++) {
        for (unsigned j = 0; j < 20; j++)
            chance_dawdle(chance);
        member_cancel(&team[i]);
    }
    team_join(team, DOOMED);
    CHECK(f.passed % FREE_PARTIES == 0 && f.passed / FREE_PARTIES <= f.actions);
    CHECK(thrum_barrier_waiting(&f.barrier) == 0);
}

static void cancelled(thrum_time_t until)
{
    struct chance chance = chance_begin();
    do
        cancelled_round(&chance);
    while (thrum_now() < until);
}

static const struct stress_case cases[] = {
    {"2 parties, phases", march_2},
    {"4 parties, phases", march_4},
    {"16 parties, phases", march_16},
    {"broken by deadlines, actions and aborts", broken},
    {"3 strands that break and mend", free_3},
    {"10 strands that break and mend", free_10},
    {"cancelled", cancelled},
};

STRESS_MAIN(cases)
