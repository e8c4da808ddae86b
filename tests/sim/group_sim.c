/*
 * Groups: nothing outlives them. Their maker, in the pool or outside, runs and sleeps while others steal;
 * a failing task cancels the rest; and the group is gone as soon as the wait returns.
 */
#include <thrum/event.h>
#include <thrum/group.h>
#include <thrum/thread_pool.h>

#include "sim.h"

struct gr {
    thrum_executor_t *ex;
    thrum_event_t ev;
    thrum_group_t *g; /* while it lives */
    unsigned begun;
    unsigned ended;
    unsigned cancelled;
    int status; /* of the wait */
};

static void gr_begin(struct gr *r, size_t workers, size_t spares)
{
    *r = (struct gr){.status = -1};
    thrum_event_init(&r->ev);
    thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
    config.workers = workers;
    config.spare_workers = spares;
    sim_check(thrum_thread_pool_create(&r->ex, &config) == 0);
}

static void gr_end(const struct gr *r)
{
    thrum_executor_destroy(r->ex);
    sim_join_all();
    sim_check(r->begun == r->ended && r->g == NULL);
}

/* --- tasks of the group -------------------------------------------------------------------------- */

static int gr_runs(void *arg, void **result)
{
    struct gr *r = arg;
    (void)result;
    r->begun++;
    sim_check(r->g != NULL);
    sim_point();
    sim_check(r->g != NULL);
    r->ended++;
    return 0;
}

static int gr_fails(void *arg, void **result)
{
    (void)gr_runs(arg, result);
    return EIO;
}

/* Until somebody cancels the group. */
static int gr_waits(void *arg, void **result)
{
    struct gr *r = arg;
    (void)result;
    r->begun++;
    sim_check(thrum_event_wait(&r->ev) == ECANCELED);
    sim_check(thrum_cancelled() && r->g != NULL);
    r->cancelled++;
    r->ended++;
    return 0;
}

static int gr_spawns(void *arg, void **result)
{
    struct gr *r = arg;
    r->begun++;
    (void)result;
    const int err = thrum_group_spawn(r->g, gr_runs, r);
    sim_check(err == 0 || err == ECANCELED);
    r->ended++;
    return 0;
}

/* --- makers -------------------------------------------------------------------------------------- */

static void gr_open(struct gr *r, thrum_group_t *g)
{
    sim_check(thrum_group_init(g, r->ex) == 0);
    r->g = g;
}

/* The group is gone with the wait; what touches it later is found. */
static void gr_close(struct gr *r, thrum_group_t *g, thrum_time_t deadline)
{
    r->status = thrum_group_wait_until(g, deadline);
    sim_check(r->begun == r->ended);
    r->g = NULL;
    sim_poison(g, sizeof *g);
    sim_point();
    sim_point();
    sim_point();
    sim_unpoison(g);
}

static void gr_spawn(struct gr *r, thrum_group_t *g, thrum_fn fn)
{
    const int err = thrum_group_spawn(g, fn, r);
    sim_check(err == 0 || err == ECANCELED);
}

static int gr_makes(void *arg, void **result)
{
    struct gr *r = arg;
    thrum_group_t g;
    (void)result;
    gr_open(r, &g);
    gr_spawn(r, &g, gr_runs);
    gr_spawn(r, &g, gr_spawns);
    gr_spawn(r, &g, gr_runs);
    gr_close(r, &g, THRUM_FOREVER);
    sim_check(r->status == 0 && r->ended == 4);
    return 0;
}

static void gr_in_the_pool(struct gr *r, thrum_fn fn)
{
    thrum_future_t *f = NULL;
    sim_check(thrum_executor_submit(r->ex, fn, r, &f) == 0);
    sim_check(thrum_future_result(f, NULL) == 0);
    thrum_future_release(f);
}

SIM_TEST(group, spawned_and_stolen, .tasks = 3, .schedules = 20000)
{
    struct gr r;
    gr_begin(&r, 2, SIZE_MAX);
    gr_in_the_pool(&r, gr_makes);
    gr_end(&r);
}

SIM_TEST(group, one_worker_does_it_all, .tasks = 2, .schedules = 5000)
{
    struct gr r;
    gr_begin(&r, 1, SIZE_MAX);
    gr_in_the_pool(&r, gr_makes);
    gr_end(&r);
}

/* The maker is none of the pool's, and sleeps. */
SIM_TEST(group, the_maker_waits_outside, .tasks = 3, .schedules = 20000)
{
    struct gr r;
    gr_begin(&r, 2, SIZE_MAX);
    (void)gr_makes(&r, NULL);
    gr_end(&r);
}

/* One after the other at the same place: who wakes the first one's maker late finds the second. */
static int gr_makes_two(void *arg, void **result)
{
    struct gr *r = arg;
    thrum_group_t g;
    (void)result;
    for (unsigned i = 1; i <= 2; i++) {
        gr_open(r, &g);
        gr_spawn(r, &g, gr_runs);
        gr_spawn(r, &g, gr_runs);
        sim_check(thrum_group_wait(&g) == 0 && r->ended == 2 * i);
        r->g = NULL;
    }
    return 0;
}

SIM_TEST(group, another_at_the_same_address, .tasks = 3, .schedules = 20000)
{
    struct gr r;
    gr_begin(&r, 2, SIZE_MAX);
    if (sim_random(2) == 0)
        gr_in_the_pool(&r, gr_makes_two);
    else
        (void)gr_makes_two(&r, NULL);
    gr_end(&r);
}

/* What a task of the group waits for, another one of it does. */
static int gr_sets(void *arg, void **result)
{
    struct gr *r = arg;
    (void)result;
    r->begun++;
    thrum_event_set(&r->ev);
    r->ended++;
    return 0;
}

static int gr_awaits(void *arg, void **result)
{
    struct gr *r = arg;
    (void)result;
    r->begun++;
    sim_check(thrum_event_wait(&r->ev) == 0);
    r->ended++;
    return 0;
}

static int gr_makes_waiters(void *arg, void **result)
{
    struct gr *r = arg;
    thrum_group_t g;
    (void)result;
    gr_open(r, &g);
    gr_spawn(r, &g, gr_sets);
    gr_spawn(r, &g, gr_awaits); /* the first to be run */
    gr_close(r, &g, THRUM_FOREVER);
    sim_check(r->status == 0 && r->ended == 2);
    return 0;
}

SIM_TEST(group, tasks_wait_for_each_other, .tasks = 5, .schedules = 20000)
{
    struct gr r;
    gr_begin(&r, 1 + sim_random(2), 2);
    gr_in_the_pool(&r, gr_makes_waiters);
    gr_end(&r);
}

/* ------------------------------------------------------------------------------------------------
 * Errors and cancellation
 */

static int gr_makes_a_failing_one(void *arg, void **result)
{
    struct gr *r = arg;
    thrum_group_t g;
    (void)result;
    gr_open(r, &g);
    gr_spawn(r, &g, gr_waits);
    gr_spawn(r, &g, gr_fails);
    gr_spawn(r, &g, gr_runs);
    gr_close(r, &g, THRUM_FOREVER);
    sim_check(r->status == EIO);
    return 0;
}

SIM_TEST(group, an_error_cancels_the_rest, .tasks = 5, .schedules = 20000)
{
    struct gr r;
    gr_begin(&r, 2, 1);
    if (sim_random(2) == 0)
        gr_in_the_pool(&r, gr_makes_a_failing_one);
    else
        (void)gr_makes_a_failing_one(&r, NULL);
    gr_end(&r);
}

/* Not in the pool: what the maker runs itself outlasts its deadline. */
static int gr_makes_a_waiting_one(void *arg, void **result)
{
    struct gr *r = arg;
    thrum_group_t g;
    (void)result;
    gr_open(r, &g);
    gr_spawn(r, &g, gr_waits);
    gr_spawn(r, &g, gr_waits);
    gr_close(r, &g, sim_soon());
    sim_check(r->status == ETIMEDOUT);
    return 0;
}

SIM_TEST(group, a_deadline_cancels_it, .tasks = 5, .schedules = 20000)
{
    struct gr r;
    gr_begin(&r, 2, 1);
    (void)gr_makes_a_waiting_one(&r, NULL);
    gr_end(&r);
}

static void *gr_maker(void *arg)
{
    struct gr *r = arg;
    thrum_group_t g;
    gr_open(r, &g);
    gr_spawn(r, &g, gr_waits);
    gr_spawn(r, &g, gr_runs);
    gr_close(r, &g, THRUM_FOREVER);
    sim_check(r->status == ECANCELED);
    return NULL;
}

SIM_TEST(group, a_cancelled_maker_cancels_it, .tasks = 4, .schedules = 20000)
{
    struct gr r;
    gr_begin(&r, 2, SIZE_MAX);
    sim_task *maker = sim_spawn(gr_maker, &r);
    (void)sim_canceller(maker);
    sim_join(maker);
    gr_end(&r);
}

/* The pool is shut down and what has not started is cancelled: the group fails, and ends. */
static void *gr_cancels_pending(void *arg)
{
    struct gr *r = arg;
    sim_check(thrum_executor_shutdown(r->ex, THRUM_CANCEL_PENDING) == 0);
    return NULL;
}

static int gr_makes_whatever_comes(void *arg, void **result)
{
    struct gr *r = arg;
    thrum_group_t g;
    (void)result;
    gr_open(r, &g);
    for (int i = 0; i < 3; i++) {
        const int err = thrum_group_spawn(&g, gr_runs, r);
        sim_check(err == 0 || err == ECANCELED || err == ESHUTDOWN);
    }
    gr_close(r, &g, THRUM_FOREVER);
    sim_check(r->status == 0 || r->status == ECANCELED);
    return 0;
}

SIM_TEST(group, shutdown_cancels_what_is_pending, .tasks = 4, .schedules = 20000)
{
    struct gr r;
    gr_begin(&r, 2, SIZE_MAX);
    if (sim_random(2) == 0) {
        sim_check(thrum_executor_submit(r.ex, gr_makes_whatever_comes, &r, NULL) == 0);
        (void)gr_cancels_pending(&r);
    } else {
        sim_task *other = sim_spawn(gr_cancels_pending, &r);
        (void)gr_makes_whatever_comes(&r, NULL);
        sim_join(other);
    }
    gr_end(&r);
}
