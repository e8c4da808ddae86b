/*
 * A shutdown that cancels what is pending, while a worker has some of it in its hands.
 */
#include <thrum/thread_pool.h>

#include "sim.h"

#define PC_TASKS 6u

struct pc {
    thrum_executor_t *ex;
    bool over;      /* the shutdown has returned */
    unsigned after; /* so many began after that */
    unsigned ran;
    unsigned cancelled;
};

static int pc_task(void *arg, void **result)
{
    struct pc *p = arg;
    (void)result;
    p->after += p->over;
    p->ran++;
    sim_point();
    return 0;
}

static void pc_ended(thrum_future_t *f, void *arg)
{
    ((struct pc *)arg)->cancelled += thrum_future_cancelled(f);
}

static void pc_submit(struct pc *p)
{
    thrum_future_t *f = NULL;
    sim_check(thrum_executor_submit(p->ex, pc_task, p, &f) == 0);
    sim_check(thrum_future_add_done_callback(f, pc_ended, p) == 0);
    thrum_future_release(f);
}

/* One that the worker is about to call may still begin; no other. */
SIM_TEST(pool_cancel, what_a_worker_has_taken_along, .tasks = 2, .schedules = 20000)
{
    struct pc p = {0};
    thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
    config.workers = 1;
    config.spare_workers = SIZE_MAX;
    sim_check(thrum_thread_pool_create(&p.ex, &config) == 0);
    for (unsigned i = 0; i < PC_TASKS; i++)
        pc_submit(&p);
    sim_check(thrum_executor_shutdown(p.ex, THRUM_CANCEL_PENDING) == 0);
    p.over = true;
    thrum_executor_destroy(p.ex);
    sim_join_all();
    sim_check(p.after <= 1);
    sim_check(p.ran + p.cancelled == PC_TASKS);
}
