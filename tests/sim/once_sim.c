/*
 * Once: one success, nobody passes before it is complete, a failure leaves the turn to the next.
 */
#include <thrum/once.h>

#include "sim.h"

struct once_world {
    thrum_once_t once;
    unsigned failures; /* how many attempts are to fail */
    unsigned attempts;
    unsigned running;
    bool complete;
};

struct once_caller {
    struct once_world *world;
    int err;
};

static int once_init(void *arg)
{
    struct once_world *w = arg;
    sim_check(w->running++ == 0);
    sim_check(thrum_once(&w->once, once_init, w) == EDEADLK);
    const bool fails = w->attempts++ < w->failures;
    sim_point();
    w->running--;
    w->complete = !fails;
    return fails ? EBUSY : 0;
}

static void *once_calls(void *arg)
{
    struct once_caller *c = arg;
    c->err = thrum_once(&c->world->once, once_init, c->world);
    if (c->err == ECANCELED)
        sim_gave_up(c->err, THRUM_FOREVER);
    if (c->err == 0)
        sim_check(c->world->complete && thrum_once_done(&c->world->once));
    return NULL;
}

SIM_TEST(once, one_success, .tasks = 4, .dfs_bound = 2)
{
    struct once_world w = {.once = THRUM_ONCE_INIT};
    struct once_caller c[3] = {{&w, -1}, {&w, -1}, {&w, -1}};
    sim_name(&w, sizeof w, "once");
    sim_spawn(once_calls, &c[0]);
    sim_spawn(once_calls, &c[1]);
    once_calls(&c[2]);
    sim_join_all();
    sim_check(w.attempts == 1 && c[0].err + c[1].err + c[2].err == 0);
}

SIM_TEST(once, the_next_tries_after_a_failure, .tasks = 4)
{
    struct once_world w = {.once = THRUM_ONCE_INIT, .failures = 2};
    struct once_caller c[4] = {{&w, -1}, {&w, -1}, {&w, -1}, {&w, -1}};
    sim_name(&w, sizeof w, "once");
    for (int i = 0; i < 3; i++)
        sim_spawn(once_calls, &c[i]);
    once_calls(&c[3]);
    sim_join_all();
    unsigned failed = 0;
    for (int i = 0; i < 4; i++)
        failed += c[i].err == EBUSY;
    sim_check(failed == 2 && w.attempts == 3 && w.complete);
}

SIM_TEST(once, cancel_against_the_end_of_init, .tasks = 4, .schedules = 100000)
{
    struct once_world w = {.once = THRUM_ONCE_INIT};
    struct once_caller c[3] = {{&w, -1}, {&w, -1}, {&w, -1}};
    sim_name(&w, sizeof w, "once");
    sim_spawn(once_calls, &c[0]);
    sim_task *victim = sim_spawn(once_calls, &c[1]);
    sim_spawn(sim_canceller, victim);
    once_calls(&c[2]);
    sim_join_all();
    sim_check(w.attempts == 1 && c[0].err == 0 && c[2].err == 0);
    sim_check(c[1].err == 0 || c[1].err == ECANCELED);
}
