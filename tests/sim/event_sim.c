/*
 * The event: nobody who waits when it is set stays behind.
 */
#include <thrum/event.h>

#include "sim.h"

struct event_waiter {
    thrum_event_t *e;
    thrum_time_t deadline;
    int err;
};

static bool event_is_over; /* set, or about to be */

static void event_begin(thrum_event_t *e)
{
    sim_name(e, sizeof *e, "event");
    event_is_over = false;
}

static void event_set(thrum_event_t *e)
{
    event_is_over = true;
    thrum_event_set(e);
}

static void *event_waits(void *arg)
{
    struct event_waiter *w = arg;
    w->err = thrum_event_wait_until(w->e, w->deadline);
    sim_check(sim_gave_up(w->err, w->deadline) || event_is_over);
    return NULL;
}

SIM_TEST(event, set_against_wait, .tasks = 2, .dfs_bound = 5)
{
    thrum_event_t e = THRUM_EVENT_INIT;
    struct event_waiter w = {&e, THRUM_FOREVER, -1};
    event_begin(&e);
    sim_spawn(event_waits, &w);
    event_set(&e);
    sim_join_all();
    sim_check(w.err == 0 && thrum_event_is_set(&e));
}

SIM_TEST(event, set_lets_all_go, .tasks = 5)
{
    thrum_event_t e = THRUM_EVENT_INIT;
    struct event_waiter w[4] = {{&e, THRUM_FOREVER, -1},
                                {&e, sim_soon(), -1},
                                {&e, THRUM_FOREVER, -1},
                                {&e, THRUM_FOREVER, -1}};
    event_begin(&e);
    for (int i = 0; i < 4; i++)
        sim_spawn(event_waits, &w[i]);
    event_set(&e);
    sim_join_all();
    sim_check(w[0].err == 0 && w[2].err == 0);
    sim_check(w[1].err == 0 || w[1].err == ETIMEDOUT);
}

/* Of many, those that are woken first wake others. */
SIM_TEST(event, many_are_let_go, .tasks = 10, .schedules = 20000)
{
    thrum_event_t e = THRUM_EVENT_INIT;
    struct event_waiter w[8];
    sim_task *victim = NULL;
    event_begin(&e);
    for (int i = 0; i < 8; i++) {
        w[i] = (struct event_waiter){&e, i == 2 ? sim_now() + sim_random(60) : THRUM_FOREVER, -1};
        victim = sim_spawn(event_waits, &w[i]);
    }
    if (sim_random(2) == 0)
        sim_await_parked(&e, 7);
    sim_spawn(sim_canceller, victim);
    event_set(&e);
    sim_join_all();
    for (int i = 0; i < 7; i++)
        sim_check(w[i].err == 0 || (i == 2 && w[i].err == ETIMEDOUT));
    sim_check(w[7].err == 0 || w[7].err == ECANCELED);
}

/* Cleared at once: who was waiting passes all the same. */
SIM_TEST(event, who_waited_passes_though_it_is_cleared, .tasks = 3)
{
    thrum_event_t e = THRUM_EVENT_INIT;
    struct event_waiter w[2] = {{&e, THRUM_FOREVER, -1}, {&e, THRUM_FOREVER, -1}};
    event_begin(&e);
    sim_spawn(event_waits, &w[0]);
    sim_spawn(event_waits, &w[1]);
    sim_await_parked(&e, 2);
    event_set(&e);
    thrum_event_clear(&e);
    sim_join_all();
    sim_check(w[0].err == 0 && w[1].err == 0 && !thrum_event_is_set(&e));
}

/* Nor must it be queued: it may be about to. */
SIM_TEST(event, who_waits_passes_though_it_is_cleared, .tasks = 2, .dfs_bound = 2)
{
    thrum_event_t e = THRUM_EVENT_INIT;
    struct event_waiter w = {&e, THRUM_FOREVER, -1};
    event_begin(&e);
    sim_await_waiting(sim_spawn(event_waits, &w), &e);
    event_set(&e);
    thrum_event_clear(&e);
    sim_join_all();
    sim_check(w.err == 0);
}

/* Work is announced by a store and a set, looked for by a clear and a load: never missed by
 * both. */
struct event_work {
    thrum_event_t e;
    uint32_t announced;
};

static void *event_works(void *arg)
{
    struct event_work *w = arg;
    uint32_t done = 0;
    while (done < 3) {
        sim_check(thrum_event_wait(&w->e) == 0);
        thrum_event_clear(&w->e);
        done = thi_load_relaxed(&w->announced);
    }
    return NULL;
}

SIM_TEST(event, clear_and_look_misses_nothing, .tasks = 2, .dfs_bound = 3)
{
    struct event_work w = {THRUM_EVENT_INIT, 0};
    sim_name(&w.e, sizeof w.e, "event");
    sim_spawn(event_works, &w);
    for (uint32_t i = 1; i <= 3; i++) {
        thi_store_relaxed(&w.announced, i);
        thrum_event_set(&w.e);
    }
    sim_join_all();
}

SIM_TEST(event, timeout_against_set_against_cancel, .tasks = 4, .schedules = 100000)
{
    thrum_event_t e = THRUM_EVENT_INIT;
    struct event_waiter victim = {&e, sim_soon(), -1};
    struct event_waiter patient = {&e, THRUM_FOREVER, -1};
    event_begin(&e);
    sim_task *first = sim_spawn(event_waits, &victim);
    sim_spawn(event_waits, &patient);
    sim_spawn(sim_canceller, first);
    event_set(&e);
    sim_join_all();
    sim_check(victim.err == 0 || victim.err == ETIMEDOUT || victim.err == ECANCELED);
    sim_check(patient.err == 0);
}

SIM_TEST(event, nobody_passes_unless_it_is_set, .tasks = 4)
{
    thrum_event_t e = THRUM_EVENT_INIT;
    struct event_waiter timed = {&e, sim_soon(), -1};
    struct event_waiter victim = {&e, THRUM_FOREVER, -1};
    event_begin(&e);
    sim_spawn(event_waits, &timed);
    sim_spawn(sim_canceller, sim_spawn(event_waits, &victim));
    thrum_event_clear(&e);
    sim_join_all();
    sim_check(timed.err == ETIMEDOUT && victim.err == ECANCELED);
}

static void *event_waits_and_frees(void *arg)
{
    sim_check(thrum_event_wait(arg) == 0);
    sim_poison(arg, sizeof(thrum_event_t));
    return NULL;
}

SIM_TEST(event, whom_it_lets_go_may_free_it, .tasks = 2, .dfs_bound = 5)
{
    thrum_event_t e = THRUM_EVENT_INIT;
    event_begin(&e);
    sim_spawn(event_waits_and_frees, &e);
    event_set(&e);
    sim_join_all();
}
