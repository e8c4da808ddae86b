/*
 * Groups whose tasks lie under others in the deque of the only worker: its wait finds them, and what lay on
 * top is run afterwards, or stolen meanwhile.
 */
#include <thrum/group.h>
#include <thrum/thread_pool.h>

#include "sim.h"

#define GU_TASKS 3u

struct gu {
    thrum_executor_t *ex;
    unsigned ran; /* of the group */
    unsigned others;
    unsigned others_submitted;
};

static int gu_runs(void *arg, void **result)
{
    (void)result;
    sim_point();
    ((struct gu *)arg)->ran++;
    return 0;
}

static int gu_other(void *arg, void **result)
{
    (void)result;
    ((struct gu *)arg)->others++;
    return 0;
}

static void gu_put_on_top(struct gu *u)
{
    thrum_future_t *f = NULL;
    sim_check(thrum_executor_submit(u->ex, gu_other, u, &f) == 0);
    if (sim_random(2) != 0 || !thrum_future_cancel(f))
        u->others_submitted++;
    thrum_future_release(f);
}

static int gu_makes(void *arg, void **result)
{
    struct gu *u = arg;
    thrum_group_t g;
    (void)result;
    sim_check(thrum_group_init(&g, u->ex) == 0);
    for (unsigned i = 0; i < GU_TASKS; i++) {
        sim_check(thrum_group_spawn(&g, gu_runs, u) == 0);
        if (i + 1 == GU_TASKS || sim_random(2) == 0)
            gu_put_on_top(u);
    }
    sim_check(thrum_group_wait(&g) == 0);
    sim_check(u->ran == GU_TASKS);
    return 0;
}

static void gu_run(size_t workers)
{
    struct gu u = {0};
    thrum_future_t *f = NULL;
    thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
    config.workers = workers;
    config.spare_workers = SIZE_MAX;
    sim_check(thrum_thread_pool_create(&u.ex, &config) == 0);
    sim_check(thrum_executor_submit(u.ex, gu_makes, &u, &f) == 0);
    sim_check(thrum_future_result(f, NULL) == 0);
    thrum_future_release(f);
    thrum_executor_destroy(u.ex);
    sim_join_all();
    sim_check(u.others == u.others_submitted);
}

SIM_TEST(group_under, the_only_worker_finds_them, .tasks = 2, .schedules = 10000)
{
    gu_run(1);
}

SIM_TEST(group_under, others_steal_from_it, .tasks = 3, .schedules = 20000)
{
    gu_run(2);
}
