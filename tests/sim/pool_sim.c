/*
 * The thread pool: no submit is slept through, whatever was accepted is ended once, a spare worker
 * stands in when all others wait, and the end comes whatever the workers are at.
 */
#include <thrum/event.h>
#include <thrum/thread_pool.h>

#include "sim.h"

#define PL_NO_SPARES SIZE_MAX

struct pl {
    thrum_executor_t *ex;
    thrum_event_t ev[2];
    unsigned ran;
    unsigned depth;
    unsigned ended; /* callbacks */
    unsigned cancelled;
    unsigned failed;
    unsigned accepted;
    unsigned inits;
    unsigned finis;
    unsigned bad_inits; /* so many of the first fail */
};

static int pl_init(void *ctx)
{
    struct pl *p = ctx;
    const unsigned n = p->inits++;
    sim_point();
    return n < p->bad_inits ? 1 : 0;
}

static void pl_fini(void *ctx)
{
    sim_point();
    ((struct pl *)ctx)->finis++;
}

static void pl_begin(struct pl *p, size_t workers, size_t spares)
{
    *p = (struct pl){.bad_inits = p->bad_inits};
    thrum_event_init(&p->ev[0]);
    thrum_event_init(&p->ev[1]);
    thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
    config.workers = workers;
    config.spare_workers = spares;
    config.init = pl_init;
    config.fini = pl_fini;
    config.ctx = p;
    sim_check(thrum_thread_pool_create(&p->ex, &config) == 0);
}

static void pl_end(struct pl *p)
{
    thrum_executor_destroy(p->ex);
    sim_join_all();
    sim_check(p->finis == p->inits - (p->inits < p->bad_inits ? p->inits : p->bad_inits));
}

/* --- tasks ------------------------------------------------------------------------------------ */

static int pl_runs(void *arg, void **result)
{
    struct pl *p = arg;
    p->ran++;
    *result = p;
    return 0;
}

static int pl_sets(void *arg, void **result)
{
    (void)result;
    thrum_event_set(&((struct pl *)arg)->ev[0]);
    return 0;
}

static int pl_sets_second(void *arg, void **result)
{
    (void)result;
    thrum_event_set(&((struct pl *)arg)->ev[1]);
    return 0;
}

static int pl_waits(void *arg, void **result)
{
    struct pl *p = arg;
    sim_check(thrum_event_wait(&p->ev[0]) == 0);
    p->ran++;
    *result = p;
    return 0;
}

static void pl_submit(struct pl *p, thrum_fn fn)
{
    sim_check(thrum_executor_submit(p->ex, fn, p, NULL) == 0);
}

/* Whatever becomes of it, once. */
static void pl_ended(thrum_future_t *f, void *arg)
{
    struct pl *p = arg;
    sim_check(thrum_future_done(f));
    p->ended++;
    void *value = NULL;
    const int err = thrum_future_result(f, &value);
    p->cancelled += err == ECANCELED;
    p->failed += err == EPIPE;
    sim_check(err == ECANCELED || err == EPIPE || (err == 0 && value == p));
}

/* True: it was accepted. */
static bool pl_try(struct pl *p, thrum_fn fn)
{
    thrum_future_t *f = NULL;
    const int err = thrum_executor_submit(p->ex, fn, p, &f);
    sim_check(err == 0 || err == ESHUTDOWN || err == EPIPE);
    if (err != 0)
        return false;
    p->accepted++;
    sim_check(thrum_future_add_done_callback(f, pl_ended, p) == 0);
    thrum_future_release(f);
    return true;
}

static void pl_check_accepted(const struct pl *p)
{
    sim_check(p->ended == p->accepted);
    sim_check(p->ran == p->accepted - p->cancelled - p->failed);
}

/* ------------------------------------------------------------------------------------------------
 * Wake-ups
 */

static void pl_submit_and_wait(struct pl *p)
{
    thrum_future_t *f = NULL;
    void *value = NULL;
    sim_check(thrum_executor_submit(p->ex, pl_runs, p, &f) == 0);
    sim_check(thrum_future_result(f, &value) == 0 && value == p);
    thrum_future_release(f);
}

SIM_TEST(pool, a_submit_wakes_the_worker, .tasks = 2, .schedules = 15000, .dfs_bound = 2,
         .dfs_schedules = 6000)
{
    struct pl p = {0};
    pl_begin(&p, 1, PL_NO_SPARES);
    pl_submit_and_wait(&p);
    pl_submit_and_wait(&p);
    pl_end(&p);
    sim_check(p.ran == 2);
}

/* The second is not stuck behind the first. */
SIM_TEST(pool, submits_wake_two_workers, .tasks = 3, .schedules = 15000)
{
    struct pl p = {0};
    pl_begin(&p, 2, PL_NO_SPARES);
    pl_submit(&p, pl_waits);
    pl_submit(&p, pl_sets);
    sim_check(thrum_event_wait(&p.ev[0]) == 0);
    pl_end(&p);
    sim_check(p.ran == 1);
}

static int pl_pushes_and_waits(void *arg, void **result)
{
    struct pl *p = arg;
    (void)result;
    pl_submit(p, pl_sets);
    sim_check(thrum_event_wait(&p->ev[0]) == 0);
    p->ran++;
    return 0;
}

/* What a task has pushed another worker takes while it waits. */
SIM_TEST(pool, a_push_wakes_the_other_worker, .tasks = 3, .schedules = 15000)
{
    struct pl p = {0};
    pl_begin(&p, 2, PL_NO_SPARES);
    pl_submit(&p, pl_pushes_and_waits);
    sim_check(thrum_event_wait(&p.ev[0]) == 0);
    pl_end(&p);
    sim_check(p.ran == 1);
}

static int pl_pushes_pops_pushes(void *arg, void **result)
{
    struct pl *p = arg;
    (void)result;
    pl_submit(p, pl_waits); /* for another */
    thrum_group_t g = THRUM_GROUP_INIT(p->ex);
    sim_check(thrum_group_spawn(&g, pl_runs, p) == 0); /* for whoever is faster */
    sim_check(thrum_group_wait(&g) == 0);
    pl_submit(p, pl_sets); /* for the third */
    sim_check(thrum_event_wait(&p->ev[0]) == 0);
    p->ran++;
    return 0;
}

SIM_TEST(pool, one_wakes_the_next, .tasks = 4, .schedules = 15000)
{
    struct pl p = {0};
    pl_begin(&p, 3, PL_NO_SPARES);
    pl_submit(&p, pl_pushes_pops_pushes);
    sim_check(thrum_event_wait(&p.ev[0]) == 0);
    pl_end(&p);
    sim_check(p.ran == 3);
}

/* A worker takes several at once; the others can have them. */
SIM_TEST(pool, what_was_taken_along_is_shared, .tasks = 3, .schedules = 15000)
{
    struct pl p = {0};
    pl_begin(&p, 2, PL_NO_SPARES);
    pl_submit(&p, pl_waits);
    pl_submit(&p, pl_sets);
    for (int i = 0; i < 7; i++)
        pl_submit(&p, pl_runs);
    sim_check(thrum_event_wait(&p.ev[0]) == 0);
    pl_end(&p);
    sim_check(p.ran == 8);
}

/* ------------------------------------------------------------------------------------------------
 * The end
 */

static void *pl_submitter(void *arg)
{
    for (int i = 0; i < 2 && pl_try(arg, pl_runs); i++) {
    }
    return NULL;
}

SIM_TEST(pool, shutdown_against_submit, .tasks = 3, .schedules = 15000, .dfs_bound = 2,
         .dfs_schedules = 6000)
{
    struct pl p = {0};
    pl_begin(&p, 1, PL_NO_SPARES);
    sim_task *submitter = sim_spawn(pl_submitter, &p);
    sim_check(thrum_executor_shutdown(p.ex, THRUM_WAIT) == 0);
    sim_join(submitter);
    pl_check_accepted(&p);
    sim_check(p.cancelled == 0);
    sim_check(thrum_executor_submit(p.ex, pl_runs, &p, NULL) == ESHUTDOWN);
    pl_end(&p);
}

SIM_TEST(pool, cancel_against_submit, .tasks = 4, .schedules = 15000)
{
    struct pl p = {0};
    pl_begin(&p, 2, PL_NO_SPARES);
    sim_task *submitter = sim_spawn(pl_submitter, &p);
    pl_try(&p, pl_runs);
    pl_try(&p, pl_runs);
    sim_check(thrum_executor_shutdown(p.ex, THRUM_CANCEL_PENDING) == 0);
    sim_join(submitter);
    pl_end(&p);
    pl_check_accepted(&p);
}

static void *pl_shuts_down(void *arg)
{
    struct pl *p = arg;
    const int err = thrum_executor_shutdown_until(p->ex, THRUM_WAIT, sim_soon());
    sim_check(err == 0 || err == ETIMEDOUT);
    return NULL;
}

SIM_TEST(pool, two_shut_it_down, .tasks = 4, .schedules = 15000)
{
    struct pl p = {0};
    pl_begin(&p, 2, PL_NO_SPARES);
    pl_try(&p, pl_runs);
    sim_task *other = sim_spawn(pl_shuts_down, &p);
    sim_check(thrum_executor_shutdown(p.ex, THRUM_WAIT) == 0);
    pl_check_accepted(&p);
    sim_join(other);
    pl_end(&p);
}

static int pl_destroys(void *arg, void **result)
{
    struct pl *p = arg;
    (void)result;
    sim_check(thrum_executor_shutdown(p->ex, THRUM_WAIT) == EDEADLK);
    thrum_executor_destroy(p->ex);
    p->ran++;
    return 0;
}

SIM_TEST(pool, destroyed_by_its_own_task, .tasks = 3, .schedules = 15000)
{
    struct pl p = {0};
    pl_begin(&p, 2, PL_NO_SPARES);
    pl_try(&p, pl_runs);
    pl_submit(&p, pl_destroys);
    sim_join_all();
    sim_check(p.ended == 1 && p.ran == 2 && p.finis == 2);
}

static int pl_spawns_and_waits(void *arg, void **result)
{
    struct pl *p = arg;
    (void)result;
    thrum_group_t g = THRUM_GROUP_INIT(p->ex);
    sim_check(thrum_group_spawn(&g, pl_sets, p) == 0);
    sim_check(thrum_event_wait(&p->ev[0]) == 0);
    sim_check(thrum_group_wait(&g) == 0);
    p->ran++;
    return 0;
}

/* What a task spawns while the pool is shut down is run, though it waits for that in a way of its own
 * and the other workers are about to leave. */
SIM_TEST(pool, shutdown_against_spawn, .tasks = 7, .schedules = 15000)
{
    struct pl p = {0};
    pl_begin(&p, 2, 2);
    pl_submit(&p, pl_spawns_and_waits);
    pl_end(&p);
    sim_check(p.ran == 1);
}

SIM_TEST(pool, a_failing_init_breaks_it, .tasks = 3, .schedules = 15000)
{
    struct pl p = {.bad_inits = 1};
    pl_begin(&p, 2, PL_NO_SPARES);
    pl_try(&p, pl_runs);
    pl_try(&p, pl_runs);
    sim_check(thrum_executor_shutdown(p.ex, THRUM_WAIT) == 0);
    pl_check_accepted(&p);
    sim_check(thrum_executor_submit(p.ex, pl_runs, &p, NULL) == EPIPE);
    pl_end(&p);
}

/* ------------------------------------------------------------------------------------------------
 * Waiting tasks
 */

static int pl_recurses(void *arg, void **result)
{
    struct pl *p = arg;
    thrum_future_t *f = NULL;
    if (p->depth++ == 2)
        return 0;
    sim_check(thrum_executor_submit(p->ex, pl_recurses, p, &f) == 0);
    sim_check(thrum_future_result(f, result) == 0);
    thrum_future_release(f);
    return 0;
}

SIM_TEST(pool, a_task_waits_for_another, .tasks = 2, .schedules = 15000)
{
    struct pl p = {0};
    thrum_future_t *f = NULL;
    pl_begin(&p, 1, PL_NO_SPARES);
    sim_check(thrum_executor_submit(p.ex, pl_recurses, &p, &f) == 0);
    sim_check(thrum_future_result(f, NULL) == 0 && p.depth == 3);
    thrum_future_release(f);
    pl_end(&p);
}

SIM_TEST(pool, two_tasks_wait_for_others, .tasks = 4, .schedules = 15000)
{
    struct pl p = {0};
    pl_begin(&p, 2, PL_NO_SPARES);
    sim_task *helper = sim_spawn(pl_submitter, &p);
    thrum_future_t *f = NULL;
    sim_check(thrum_executor_submit(p.ex, pl_recurses, &p, &f) == 0);
    sim_check(thrum_future_result(f, NULL) == 0);
    thrum_future_release(f);
    sim_join(helper);
    pl_end(&p);
}

/* One worker: what its task waits for, a spare one does; again and again. */
static int pl_waits_twice(void *arg, void **result)
{
    struct pl *p = arg;
    (void)result;
    pl_submit(p, pl_sets);
    sim_check(thrum_event_wait(&p->ev[0]) == 0);
    pl_submit(p, pl_sets_second);
    sim_check(thrum_event_wait(&p->ev[1]) == 0);
    p->ran++;
    return 0;
}

SIM_TEST(pool, a_spare_worker_stands_in, .tasks = 5, .schedules = 15000)
{
    struct pl p = {0};
    thrum_future_t *f = NULL;
    pl_begin(&p, 1, 1);
    sim_check(thrum_executor_submit(p.ex, pl_waits_twice, &p, &f) == 0);
    sim_check(thrum_future_result(f, NULL) == 0 && p.ran == 1);
    thrum_future_release(f);
    pl_submit_and_wait(&p);
    pl_end(&p);
}

/* Nothing is queued; who stands in finds nothing to do, and the end comes while it does. */
SIM_TEST(pool, shutdown_while_one_stands_in, .tasks = 4, .schedules = 15000)
{
    struct pl p = {0};
    pl_begin(&p, 1, 1);
    pl_try(&p, pl_waits);
    sim_check(thrum_executor_shutdown(p.ex, 0) == 0);
    thrum_event_set(&p.ev[0]);
    pl_end(&p);
    pl_check_accepted(&p);
}

static int pl_waits_for_both(void *arg, void **result)
{
    struct pl *p = arg;
    (void)result;
    sim_check(thrum_event_wait(&p->ev[0]) == 0);
    sim_check(thrum_event_wait(&p->ev[1]) == 0);
    p->ran++;
    return 0;
}

/* Who stood in goes when it is no longer needed; the submit that woke it is for another. */
SIM_TEST(pool, who_stood_in_passes_the_submit_on, .tasks = 5, .schedules = 15000)
{
    struct pl p = {0};
    pl_begin(&p, 2, 1);
    pl_submit(&p, pl_waits_for_both);
    pl_submit(&p, pl_waits);
    thrum_event_set(&p.ev[0]);
    pl_submit(&p, pl_sets_second);
    sim_check(thrum_event_wait(&p.ev[1]) == 0);
    pl_end(&p);
    sim_check(p.ran == 2);
}

/* No thread for a spare one: what a task has spawned it runs itself in the end, and the pool ends though
 * others leave while that is found out. */
static int pl_waits_in_vain(void *arg, void **result)
{
    struct pl *p = arg;
    thrum_group_t g = THRUM_GROUP_INIT(p->ex);
    (void)result;
    sim_check(thrum_group_spawn(&g, pl_runs, p) == 0);
    const int err = thrum_event_wait_until(&p->ev[0], sim_soon());
    sim_check(err == ETIMEDOUT);
    sim_check(thrum_group_wait(&g) == 0);
    return 0;
}

SIM_TEST(pool, no_thread_for_a_spare_one, .tasks = 3, .schedules = 15000)
{
    struct pl p = {0};
    pl_begin(&p, 2, 2);
    thi_fault_arm(THI_FAULT_THREAD, THI_FAULT_ALWAYS);
    pl_submit(&p, pl_waits_in_vain);
    pl_end(&p);
    thi_fault_arm(THI_FAULT_THREAD, 0);
    sim_check(p.ran == 1);
}

/* The spare one cannot begin: what it was called for fails, and nobody hangs. */
static int pl_needs_a_spare(void *arg, void **result)
{
    struct pl *p = arg;
    (void)result;
    thrum_future_t *f = NULL;
    p->bad_inits = UINT32_MAX;
    sim_check(thrum_executor_submit(p->ex, pl_sets, p, &f) == 0);
    sim_check(thrum_future_add_done_callback(f, pl_ended, p) == 0);
    thrum_future_release(f);
    while (p->ended == 0)
        sim_check(thrum_event_wait_until(&p->ev[1], sim_soon()) == ETIMEDOUT);
    return 0;
}

SIM_TEST(pool, a_spare_one_fails_to_begin, .tasks = 8, .schedules = 15000)
{
    struct pl p = {0};
    pl_begin(&p, 1, 1);
    thrum_future_t *f = NULL;
    sim_check(thrum_executor_submit(p.ex, pl_needs_a_spare, &p, &f) == 0);
    sim_check(thrum_future_result(f, NULL) == 0);
    thrum_future_release(f);
    thrum_executor_destroy(p.ex);
    sim_join_all();
    sim_check(p.ended == 1 && p.failed == 1 && p.finis == 1);
}
