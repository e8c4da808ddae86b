/*
 * Select and an event that is set for a moment only: who waited when it was set is let go, also while it was
 * awake for another of its cases.
 */
#include <thrum/select.h>

#include "queues.h"

struct pulse_world {
    thrum_queue_t *q;
    thrum_event_t event;
    uint32_t item;
    size_t chosen;
    int err;
};

static void *pulse_select(void *arg)
{
    struct pulse_world *w = arg;
    thrum_case_t cases[] = {THRUM_CASE_GET(w->q, &w->item), THRUM_CASE_EVENT(&w->event)};
    w->err = thrum_select(cases, 2, THRUM_FOREVER, &w->chosen);
    return NULL;
}

/* The item goes back to who put it; so the select was woken for nothing, and is on its way to look, or to sleep
 * again, when the event is set. */
SIM_TEST(select_pulse, it_finds_who_was_woken_in_vain, .tasks = 2, .dfs_bound = 3,
         .schedules = 30000)
{
    static const thrum_order_t orders[] = {THRUM_FIFO, THRUM_LIFO, THRUM_PRIORITY};
    struct pulse_world w = {.q = queue_make(orders[sim_random(3)], sim_random(3), 4),
                            .event = THRUM_EVENT_INIT,
                            .chosen = 99};
    uint32_t item = 7;
    uint32_t back = 0;
    sim_spawn(pulse_select, &w);
    sim_await_parked(&w.event, 1);
    sim_check(thrum_queue_put(w.q, &item) == 0);
    const bool stolen = thrum_queue_tryget(w.q, &back) == 0;
    thrum_event_set(&w.event);
    thrum_event_clear(&w.event);
    sim_join_all();
    sim_check(w.err == 0 && w.chosen == (stolen ? 1u : 0u) && w.item == (stolen ? 0u : 7u));
    sim_check(thi_park_count(w.q) == 0 && thi_park_count(&w.event) == 0);
    thrum_queue_destroy(w.q);
}

/* What was over before the select began does not count. */
SIM_TEST(select_pulse, an_earlier_one_does_not_count, .tasks = 2, .schedules = 5000)
{
    struct pulse_world w = {
        .q = queue_make(THRUM_FIFO, 1, 4), .event = THRUM_EVENT_INIT, .chosen = 99};
    uint32_t item = 7;
    thrum_event_set(&w.event);
    thrum_event_clear(&w.event);
    sim_spawn(pulse_select, &w);
    sim_await_parked(&w.event, 1);
    sim_check(thrum_queue_put(w.q, &item) == 0);
    sim_join_all();
    sim_check(w.err == 0 && w.chosen == 0 && w.item == 7);
    thrum_queue_destroy(w.q);
}
