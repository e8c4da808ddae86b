/*
 * The barrier: rounds back to back never mix, a broken round is broken for everybody in it, and who
 * comes out first may free it.
 */
#include <thrum/barrier.h>

#include "sim.h"

#define BARRIER_ROUNDS 3

struct barrier_world {
    thrum_barrier_t b;
    unsigned arrived[BARRIER_ROUNDS];
    unsigned indices[BARRIER_ROUNDS]; /* bits */
    unsigned actions;
    unsigned acting;
    unsigned entered;
    bool fails;
};

static int barrier_action(void *arg)
{
    struct barrier_world *w = arg;
    sim_check(w->arrived[w->actions] == 3);
    w->actions++;
    sim_point();
    return w->fails ? EBUSY : 0;
}

static void *barrier_runs(void *arg)
{
    struct barrier_world *w = arg;
    for (unsigned round = 0; round < BARRIER_ROUNDS; round++) {
        unsigned index = 99;
        w->arrived[round]++;
        sim_check(thrum_barrier_wait(&w->b, &index) == 0);
        sim_check(w->arrived[round] == 3);
        sim_check(w->b.thrum_action == NULL || w->actions > round);
        sim_check(index < 3 && (w->indices[round] & 1u << index) == 0);
        w->indices[round] |= 1u << index;
    }
    return NULL;
}

static void barrier_rounds(int (*action)(void *))
{
    struct barrier_world w = {0};
    sim_name(&w.b, sizeof w.b, "barrier");
    sim_check(thrum_barrier_init(&w.b, 3, action, &w) == 0);
    sim_spawn(barrier_runs, &w);
    sim_spawn(barrier_runs, &w);
    barrier_runs(&w);
    sim_join_all();
    sim_check(w.actions == (action != NULL ? BARRIER_ROUNDS : 0));
    sim_check(thrum_barrier_waiting(&w.b) == 0 && !thrum_barrier_broken(&w.b));
}

SIM_TEST(barrier, rounds_back_to_back, .tasks = 3, .dfs_bound = 2)
{
    barrier_rounds(NULL);
}

SIM_TEST(barrier, an_action_between_the_rounds, .tasks = 3)
{
    barrier_rounds(barrier_action);
}

/* More strands than parties: a round that is in its action is over for newcomers. */
static int barrier_acts_alone(void *arg)
{
    struct barrier_world *w = arg;
    sim_check(w->acting++ == 0);
    sim_point();
    sim_check(--w->acting == 0);
    w->actions++;
    return 0;
}

static void *barrier_passes(void *arg)
{
    struct barrier_world *w = arg;
    sim_check(thrum_barrier_wait(&w->b, NULL) == 0);
    w->entered++;
    sim_check(w->actions * 2 >= w->entered);
    return NULL;
}

SIM_TEST(barrier, newcomers_wait_for_the_action_to_end, .tasks = 6)
{
    struct barrier_world w = {0};
    sim_name(&w.b, sizeof w.b, "barrier");
    sim_check(thrum_barrier_init(&w.b, 2, barrier_acts_alone, &w) == 0);
    for (int i = 0; i < 5; i++)
        sim_spawn(barrier_passes, &w);
    barrier_passes(&w);
    sim_join_all();
    sim_check(w.actions == 3 && thrum_barrier_waiting(&w.b) == 0);
}

/* --- breaking --------------------------------------------------------------------------------- */

struct barrier_visitor {
    struct barrier_world *world;
    thrum_time_t deadline;
    int err;
};

static void *barrier_visits(void *arg)
{
    struct barrier_visitor *v = arg;
    v->world->arrived[0]++;
    v->err = thrum_barrier_wait_until(&v->world->b, NULL, v->deadline);
    if (v->err != EPIPE)
        sim_gave_up(v->err, v->deadline);
    return NULL;
}

static unsigned barrier_count(const struct barrier_visitor *v, int err)
{
    unsigned n = 0;
    for (int i = 0; i < 3; i++)
        n += v[i].err == err;
    return n;
}

/* All pass, or none does; and the barrier knows which it was. */
static void barrier_judge(const struct barrier_visitor *v)
{
    const thrum_barrier_t *b = &v[0].world->b;
    sim_check(thrum_barrier_waiting(b) == 0);
    if (barrier_count(v, 0) == 3) {
        sim_check(!thrum_barrier_broken(b));
        return;
    }
    sim_check(barrier_count(v, 0) == 0);
    sim_check(barrier_count(v, EPIPE) + barrier_count(v, ETIMEDOUT) + barrier_count(v, ECANCELED) ==
              3);
    sim_check(thrum_barrier_broken(b));
}

SIM_TEST(barrier, a_timeout_breaks_it_for_all, .tasks = 3, .schedules = 100000)
{
    struct barrier_world w = {0};
    struct barrier_visitor v[3] = {
        {&w, sim_soon(), -1}, {&w, THRUM_FOREVER, -1}, {&w, THRUM_FOREVER, -1}};
    sim_name(&w.b, sizeof w.b, "barrier");
    sim_check(thrum_barrier_init(&w.b, 3, NULL, NULL) == 0);
    sim_spawn(barrier_visits, &v[0]);
    sim_spawn(barrier_visits, &v[1]);
    barrier_visits(&v[2]);
    sim_join_all();
    barrier_judge(v);
    sim_check(barrier_count(v, ETIMEDOUT) == (v[0].err == 0 ? 0 : 1));
}

SIM_TEST(barrier, two_timeouts_and_a_cancel, .tasks = 4, .schedules = 100000)
{
    struct barrier_world w = {0};
    struct barrier_visitor v[3] = {
        {&w, sim_soon(), -1}, {&w, sim_soon(), -1}, {&w, THRUM_FOREVER, -1}};
    sim_name(&w.b, sizeof w.b, "barrier");
    sim_check(thrum_barrier_init(&w.b, 3, NULL, NULL) == 0);
    sim_task *victim = sim_spawn(barrier_visits, &v[0]);
    sim_spawn(barrier_visits, &v[1]);
    sim_spawn(sim_canceller, victim);
    barrier_visits(&v[2]);
    sim_join_all();
    barrier_judge(v);
}

SIM_TEST(barrier, an_action_that_fails_breaks_it, .tasks = 3, .schedules = 30000)
{
    struct barrier_world w = {.fails = true};
    struct barrier_visitor v[3] = {
        {&w, THRUM_FOREVER, -1}, {&w, THRUM_FOREVER, -1}, {&w, THRUM_FOREVER, -1}};
    sim_check(thrum_barrier_init(&w.b, 3, barrier_action, &w) == 0);
    sim_spawn(barrier_visits, &v[0]);
    sim_spawn(barrier_visits, &v[1]);
    barrier_visits(&v[2]);
    sim_join_all();
    barrier_judge(v);
    sim_check(barrier_count(v, EPIPE) == 3);
}

/* The action of a round that somebody abandons meanwhile. */
SIM_TEST(barrier, a_timeout_while_the_action_runs, .tasks = 4, .schedules = 100000)
{
    struct barrier_world w = {0};
    struct barrier_visitor v[3] = {
        {&w, sim_soon(), -1}, {&w, sim_soon(), -1}, {&w, THRUM_FOREVER, -1}};
    sim_name(&w.b, sizeof w.b, "barrier");
    sim_check(thrum_barrier_init(&w.b, 3, barrier_action, &w) == 0);
    sim_task *victim = sim_spawn(barrier_visits, &v[0]);
    sim_spawn(barrier_visits, &v[1]);
    sim_spawn(sim_canceller, victim);
    barrier_visits(&v[2]);
    sim_join_all();
    barrier_judge(v);
}

static void *barrier_aborts(void *arg)
{
    sim_check(thrum_barrier_abort(&((struct barrier_world *)arg)->b) == 0);
    return NULL;
}

static void *barrier_resets(void *arg)
{
    sim_check(thrum_barrier_reset(&((struct barrier_world *)arg)->b) == 0);
    return NULL;
}

SIM_TEST(barrier, abort_against_the_last_to_arrive, .tasks = 4)
{
    struct barrier_world w = {0};
    struct barrier_visitor v[3] = {
        {&w, THRUM_FOREVER, -1}, {&w, THRUM_FOREVER, -1}, {&w, THRUM_FOREVER, -1}};
    sim_name(&w.b, sizeof w.b, "barrier");
    sim_check(thrum_barrier_init(&w.b, 3, sim_random(2) ? barrier_action : NULL, &w) == 0);
    sim_spawn(barrier_visits, &v[0]);
    sim_spawn(barrier_aborts, &w);
    sim_spawn(barrier_visits, &v[1]);
    barrier_visits(&v[2]);
    sim_join_all();
    sim_check(barrier_count(v, 0) == 3 || barrier_count(v, EPIPE) == 3);
    sim_check(thrum_barrier_broken(&w.b));
}

/* Who is thrown out by the reset comes again, so that in the end all three pass. */
static void *barrier_insists(void *arg)
{
    struct barrier_visitor *v = arg;
    do
        v->err = thrum_barrier_wait(&v->world->b, NULL);
    while (v->err == EPIPE);
    return NULL;
}

SIM_TEST(barrier, reset_against_the_last_to_arrive, .tasks = 4)
{
    struct barrier_world w = {0};
    struct barrier_visitor v[2] = {{&w, 0, -1}, {&w, 0, -1}};
    sim_name(&w.b, sizeof w.b, "barrier");
    sim_check(thrum_barrier_init(&w.b, 2, NULL, NULL) == 0);
    sim_spawn(barrier_insists, &v[0]);
    sim_spawn(barrier_insists, &v[1]);
    barrier_resets(&w);
    sim_join_all();
    sim_check(v[0].err == 0 && v[1].err == 0);
}

/* --- freeing ---------------------------------------------------------------------------------- */

static void *barrier_passes_and_frees(void *arg)
{
    struct barrier_world *w = arg;
    sim_check(thrum_barrier_wait(&w->b, NULL) == 0);
    if (w->entered++ == 0)
        sim_poison(&w->b, sizeof w->b);
    return NULL;
}

SIM_TEST(barrier, the_first_to_come_out_may_free_it, .tasks = 3, .dfs_bound = 2)
{
    struct barrier_world w = {0};
    sim_name(&w.b, sizeof w.b, "barrier");
    sim_check(thrum_barrier_init(&w.b, 3, NULL, NULL) == 0);
    sim_spawn(barrier_passes_and_frees, &w);
    sim_spawn(barrier_passes_and_frees, &w);
    barrier_passes_and_frees(&w);
    sim_join_all();
}
