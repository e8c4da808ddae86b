/*
 * Park and unpark, and the beginning and end of strands.
 */
#include <thrum/cancel.h>
#include <thrum/local.h>
#include <thrum/time.h>

#include "sim.h"

/* --- permits ---------------------------------------------------------------------------------- */

struct strand_flag {
    uint32_t flag;
    uint32_t turn;
    sim_task *partner;
};

static void *strand_waiter(void *arg)
{
    struct strand_flag *w = arg;
    thi_strand_t *self = thi_self();
    while (thi_load_acquire(&w->flag) == 0)
        sim_check(thi_strand_park(self, THRUM_FOREVER) == 0);
    return NULL;
}

SIM_TEST(strand, a_permit_is_never_lost, .tasks = 2, .dfs_bound = 5)
{
    struct strand_flag w = {0};
    sim_task *task = sim_spawn(strand_waiter, &w);
    thi_strand_t *strand = sim_strand(task);
    thi_store_release(&w.flag, 1u);
    thi_strand_unpark(strand);
    sim_join_all();
}

/* Gives up now and then, and goes on waiting: what it did not take in time, it finds. */
static void *strand_impatient(void *arg)
{
    struct strand_flag *w = arg;
    thi_strand_t *self = thi_self();
    for (int i = 0; i < 3 && thi_load_acquire(&w->flag) == 0; i++)
        thi_strand_park(self, sim_soon());
    return strand_waiter(arg);
}

SIM_TEST(strand, a_timeout_leaves_the_permit, .tasks = 2, .dfs_bound = 3)
{
    struct strand_flag w = {0};
    thi_strand_t *strand = sim_strand(sim_spawn(strand_impatient, &w));
    thi_store_release(&w.flag, 1u);
    thi_strand_unpark(strand);
    sim_join_all();
}

/* Two strands take turns; each turn is one unpark. */
static void take_turns(struct strand_flag *w, uint32_t mine, thi_strand_t *other)
{
    for (int round = 0; round < 3; round++) {
        while (thi_load_acquire(&w->turn) != mine)
            thi_strand_park(thi_self(), THRUM_FOREVER);
        thi_store_release(&w->turn, 1 - mine);
        thi_strand_unpark(other);
    }
}

static void *strand_second(void *arg)
{
    struct strand_flag *w = arg;
    thi_strand_t *partner = sim_strand(w->partner);
    take_turns(w, 1, partner);
    return NULL;
}

SIM_TEST(strand, turns, .tasks = 2, .dfs_bound = 2)
{
    struct strand_flag w = {.partner = sim_self()};
    sim_task *second = sim_spawn(strand_second, &w);
    take_turns(&w, 0, sim_strand(second));
    sim_join_all();
}

/* --- sleeping, cancellation ------------------------------------------------------------------- */

struct strand_sleeper {
    thrum_time_t deadline;
    int err;
};

static void *strand_sleeps(void *arg)
{
    struct strand_sleeper *s = arg;
    s->err = thrum_sleep_until(s->deadline);
    if (s->err == 0)
        sim_check(sim_now() >= s->deadline);
    else
        sim_check(s->err == ECANCELED && thrum_cancelled());
    /* It stays cancelled. */
    if (thrum_cancelled())
        sim_check(thrum_sleep_until(THRUM_FOREVER) == ECANCELED);
    return NULL;
}

SIM_TEST(strand, sleep_against_cancel, .tasks = 3, .dfs_bound = 3)
{
    struct strand_sleeper s = {.deadline = sim_soon(), .err = -1};
    sim_spawn(sim_canceller, sim_spawn(strand_sleeps, &s));
    sim_join_all();
    sim_check(s.err == 0 || s.err == ECANCELED);
}

static void *strand_sleeps_for_ever(void *arg)
{
    struct strand_sleeper *s = arg;
    s->err = thrum_sleep_until(THRUM_FOREVER);
    return NULL;
}

SIM_TEST(strand, a_cancel_ends_every_sleep, .tasks = 3, .dfs_bound = 4)
{
    struct strand_sleeper s = {.err = -1};
    sim_spawn(sim_canceller, sim_spawn(strand_sleeps_for_ever, &s));
    sim_join_all();
    sim_check(s.err == ECANCELED);
}

static int strand_shielded(void *arg, void **result)
{
    struct strand_sleeper *s = arg;
    sim_check(!thrum_cancelled());
    s->err = thrum_sleep_until(s->deadline);
    sim_check(!thrum_cancelled());
    *result = arg;
    return EBUSY;
}

static void *strand_under_shield(void *arg)
{
    void *result = NULL;
    sim_check(thrum_shield(strand_shielded, arg, &result) == EBUSY && result == arg);
    sim_check(thrum_sleep_until(THRUM_FOREVER) == ECANCELED);
    return NULL;
}

SIM_TEST(strand, a_shield_holds_cancellation_back, .tasks = 3)
{
    struct strand_sleeper s = {.deadline = sim_now() + 5, .err = -1};
    sim_spawn(sim_canceller, sim_spawn(strand_under_shield, &s));
    sim_join_all();
    sim_check(s.err == 0 && sim_now() >= s.deadline);
}

/* --- beginning and end ------------------------------------------------------------------------ */

static void *strand_passes_by(void *arg)
{
    (void)arg;
    sim_check(thi_self() == thi_self());
    sim_check(thi_self_id() != 0 && thi_self_id() == thi_self()->id);
    sim_check(thrum_sleep(1 + sim_random(3)) == 0);
    return NULL;
}

SIM_TEST(strand, threads_come_and_go, .tasks = 5, .kind = SIM_THREAD, .lazy = true)
{
    for (int i = 0; i < 3; i++)
        sim_spawn(strand_passes_by, NULL);
    strand_passes_by(NULL);
    sim_spawn(strand_passes_by, NULL);
    sim_join_all();
}

static unsigned strand_destroyed;

static void strand_count_destroyed(void *value)
{
    (void)value;
    strand_destroyed++;
}

static void *strand_has_a_local(void *arg)
{
    int mine = 0;
    thrum_local_t *local = arg;
    sim_check(thrum_local_get(local) == NULL);
    sim_check(thrum_local_set(local, &mine) == 0);
    sim_point();
    sim_check(thrum_local_get(local) == &mine);
    return NULL;
}

SIM_TEST(strand, locals_are_each_strands_own, .tasks = 4, .schedules = 20000)
{
    thrum_local_t local = THRUM_LOCAL_INIT(strand_count_destroyed);
    strand_destroyed = 0;
    for (int i = 0; i < 3; i++)
        sim_spawn(strand_has_a_local, &local);
    sim_join_all();
    sim_check(strand_destroyed == 3);
    sim_check(thrum_local_get(&local) == NULL);
    thrum_local_destroy(&local);
}
