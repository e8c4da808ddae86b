/*
 * Once: one initialisation at a time, one success, and whoever gets 0 sees what it wrote.
 */
#include "stress/stress.h"

#define ONCES 64u
#define ROW_THREADS 6u

struct thing {
    thrum_once_t once;
    unsigned running; /* plain, as value */
    unsigned value;
    uint64_t attempts; /* plain: of who runs the initialisation */
    uint64_t failures; /* that callers were told of; relaxed */
};

struct attempt {
    struct thing *thing;
    struct chance *chance;
};

static int set_up(void *arg)
{
    const struct attempt *a = arg;
    struct thing *t = a->thing;
    CHECK(t->running++ == 0);
    CHECK(t->value == 0);
    t->attempts++;
    if (chance_one_in(a->chance, 8))
        CHECK(thrum_once(&t->once, set_up, arg) == EDEADLK);
    chance_dawdle(a->chance);
    t->running--;
    if (!chance_one_in(a->chance, 3))
        return ENOSPC;
    t->value = 42;
    return 0;
}

/* Tries until it is done. */
static void insist(struct thing *t, struct chance *chance)
{
    struct attempt a = {t, chance};
    int err = 0;
    while ((err = thrum_once(&t->once, set_up, &a)) != 0) {
        CHECK(err == ENOSPC); /* its own attempt's failure, never another's */
        __atomic_fetch_add(&t->failures, 1u, __ATOMIC_RELAXED);
    }
    CHECK(t->value == 42 && thrum_once_done(&t->once));
}

static void sweep(struct member *self)
{
    struct thing *things = self->shared;
    for (unsigned i = 0; i < ONCES; i++) {
        insist(&things[i], &self->chance);
        watchdog_progress();
    }
}

static void check_things(const struct thing *things)
{
    for (unsigned i = 0; i < ONCES; i++)
        CHECK(things[i].attempts == things[i].failures + 1 && things[i].running == 0);
}

static void row(thrum_time_t until)
{
    do {
        struct thing things[ONCES];
        memset(things, 0, sizeof things);
        team_run(ROW_THREADS, sweep, things, until);
        check_things(things);
    } while (thrum_now() < until);
}

/* ------------------------------------------------------------------------------------------------
 * Callers that are cancelled: waiting for another's attempt ends, running one's own does not
 */

#define DOOMED 4u

static int set_up_in_vain(void *arg)
{
    struct attempt *a = arg;
    CHECK(a->thing->running++ == 0);
    chance_dawdle(a->chance);
    a->thing->running--;
    return ENOSPC;
}

static void doomed(struct member *self)
{
    struct attempt a = {self->shared, &self->chance};
    while (!thrum_cancelled()) {
        const int err = thrum_once(&a.thing->once, set_up_in_vain, &a);
        CHECK(err == ENOSPC || err == ECANCELED);
        CHECK(err != ECANCELED || thrum_cancelled());
        watchdog_progress();
    }
}

static void cancelled_round(struct chance *chance)
{
    struct thing t = {.value = 0};
    struct member team[DOOMED];
    team_start(team, DOOMED, doomed, &t, THRUM_FOREVER);
    for (unsigned i = 0; i < DOOMED; i++) {
        for (unsigned j = 0; j < 20; j++)
            chance_dawdle(chance);
        member_cancel(&team[i]);
    }
    team_join(team, DOOMED);
    insist(&t, chance); /* nobody left it as if it were running */
}

static void cancelled(thrum_time_t until)
{
    struct chance chance = chance_begin();
    do
        cancelled_round(&chance);
    while (thrum_now() < until);
}

static const struct stress_case cases[] = {
    {"a row of them", row},
    {"cancelled", cancelled},
};

STRESS_MAIN(cases)
