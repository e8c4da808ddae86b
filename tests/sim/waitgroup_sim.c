/*
 * The wait group: the last done lets everybody go who waited, and never touches it afterwards.
 */
#include <thrum/waitgroup.h>

#include "sim.h"

struct wg_waiter {
    thrum_waitgroup_t *wg;
    thrum_time_t deadline;
    int err;
};

static void *wg_waits(void *arg)
{
    struct wg_waiter *w = arg;
    w->err = thrum_waitgroup_wait_until(w->wg, w->deadline);
    sim_gave_up(w->err, w->deadline);
    return NULL;
}

static void *wg_done(void *arg)
{
    sim_check(thrum_waitgroup_done(arg) == 0);
    return NULL;
}

SIM_TEST(waitgroup, done_against_wait, .tasks = 2, .dfs_bound = 5)
{
    thrum_waitgroup_t wg = THRUM_WAITGROUP_INIT;
    struct wg_waiter w = {&wg, THRUM_FOREVER, -1};
    sim_name(&wg, sizeof wg, "waitgroup");
    sim_check(thrum_waitgroup_add(&wg, 1) == 0);
    sim_spawn(wg_waits, &w);
    wg_done(&wg);
    sim_join_all();
    sim_check(w.err == 0 && thrum_waitgroup_trywait(&wg) == 0);
}

SIM_TEST(waitgroup, the_last_of_three_lets_two_go, .tasks = 6)
{
    thrum_waitgroup_t wg = THRUM_WAITGROUP_INIT;
    struct wg_waiter w[2] = {{&wg, THRUM_FOREVER, -1}, {&wg, THRUM_FOREVER, -1}};
    sim_name(&wg, sizeof wg, "waitgroup");
    sim_check(thrum_waitgroup_add(&wg, 3) == 0);
    sim_spawn(wg_done, &wg);
    sim_spawn(wg_waits, &w[0]);
    sim_spawn(wg_done, &wg);
    sim_spawn(wg_waits, &w[1]);
    wg_done(&wg);
    sim_join_all();
    sim_check(w[0].err == 0 && w[1].err == 0);
    sim_check(thrum_waitgroup_done(&wg) == EINVAL);
}

/* The count rises again at once: who was waiting passes all the same. */
SIM_TEST(waitgroup, who_waited_passes_though_it_rises_again, .tasks = 4)
{
    thrum_waitgroup_t wg = THRUM_WAITGROUP_INIT;
    struct wg_waiter w[2] = {{&wg, THRUM_FOREVER, -1}, {&wg, THRUM_FOREVER, -1}};
    sim_name(&wg, sizeof wg, "waitgroup");
    sim_check(thrum_waitgroup_add(&wg, 1) == 0);
    sim_spawn(wg_waits, &w[0]);
    sim_spawn(wg_waits, &w[1]);
    sim_await_parked(&wg, 2);
    sim_check(thrum_waitgroup_done(&wg) == 0);
    sim_check(thrum_waitgroup_add(&wg, 1) == 0);
    sim_join_all();
    sim_check(w[0].err == 0 && w[1].err == 0);
    sim_check(thrum_waitgroup_trywait(&wg) == EAGAIN);
}

SIM_TEST(waitgroup, who_waits_passes_though_it_rises_again, .tasks = 2, .dfs_bound = 2)
{
    thrum_waitgroup_t wg = THRUM_WAITGROUP_INIT;
    struct wg_waiter w = {&wg, THRUM_FOREVER, -1};
    sim_name(&wg, sizeof wg, "waitgroup");
    sim_check(thrum_waitgroup_add(&wg, 1) == 0);
    sim_await_waiting(sim_spawn(wg_waits, &w), &wg);
    sim_check(thrum_waitgroup_done(&wg) == 0 && thrum_waitgroup_add(&wg, 1) == 0);
    sim_join_all();
    sim_check(w.err == 0);
}

static void *wg_two_rounds(void *arg)
{
    struct wg_waiter *w = arg;
    wg_waits(w);
    sim_check(w->err == 0 || w->err == ETIMEDOUT);
    return wg_waits(arg);
}

SIM_TEST(waitgroup, round_after_round, .tasks = 4)
{
    thrum_waitgroup_t wg = THRUM_WAITGROUP_INIT;
    struct wg_waiter patient = {&wg, THRUM_FOREVER, -1};
    struct wg_waiter timed = {&wg, sim_soon(), -1};
    sim_name(&wg, sizeof wg, "waitgroup");
    sim_spawn(wg_two_rounds, &patient);
    sim_spawn(wg_two_rounds, &timed);
    for (int i = 0; i < 3; i++) {
        sim_check(thrum_waitgroup_add(&wg, 2) == 0);
        wg_done(&wg);
        wg_done(&wg);
    }
    sim_join_all();
    sim_check(patient.err == 0 && (timed.err == 0 || timed.err == ETIMEDOUT));
}

SIM_TEST(waitgroup, timeout_against_done_against_cancel, .tasks = 4, .schedules = 100000)
{
    thrum_waitgroup_t wg = THRUM_WAITGROUP_INIT;
    struct wg_waiter victim = {&wg, sim_soon(), -1};
    struct wg_waiter patient = {&wg, THRUM_FOREVER, -1};
    sim_name(&wg, sizeof wg, "waitgroup");
    sim_check(thrum_waitgroup_add(&wg, 1) == 0);
    sim_task *first = sim_spawn(wg_waits, &victim);
    sim_spawn(wg_waits, &patient);
    sim_spawn(sim_canceller, first);
    wg_done(&wg);
    sim_join_all();
    sim_check(victim.err == 0 || victim.err == ETIMEDOUT || victim.err == ECANCELED);
    sim_check(patient.err == 0);
}

SIM_TEST(waitgroup, nobody_passes_before_zero, .tasks = 4)
{
    thrum_waitgroup_t wg = THRUM_WAITGROUP_INIT;
    struct wg_waiter timed = {&wg, sim_soon(), -1};
    struct wg_waiter victim = {&wg, THRUM_FOREVER, -1};
    sim_name(&wg, sizeof wg, "waitgroup");
    sim_check(thrum_waitgroup_add(&wg, 2) == 0);
    sim_spawn(wg_waits, &timed);
    sim_spawn(sim_canceller, sim_spawn(wg_waits, &victim));
    wg_done(&wg);
    sim_join_all();
    sim_check(timed.err == ETIMEDOUT && victim.err == ECANCELED);
    sim_check(thrum_waitgroup_add(&wg, -2) == EINVAL && thrum_waitgroup_done(&wg) == 0);
}

static void *wg_waits_and_frees(void *arg)
{
    sim_check(thrum_waitgroup_wait(arg) == 0);
    sim_poison(arg, sizeof(thrum_waitgroup_t));
    return NULL;
}

SIM_TEST(waitgroup, whom_it_lets_go_may_free_it, .tasks = 3, .dfs_bound = 3)
{
    thrum_waitgroup_t wg = THRUM_WAITGROUP_INIT;
    sim_name(&wg, sizeof wg, "waitgroup");
    sim_check(thrum_waitgroup_add(&wg, 2) == 0);
    sim_spawn(wg_waits_and_frees, &wg);
    sim_spawn(wg_done, &wg);
    wg_done(&wg);
    sim_join_all();
}
