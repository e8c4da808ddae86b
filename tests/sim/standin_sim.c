/*
 * The thread of a spare worker cannot be started, once, while somebody submits what everybody waits for.
 */
#include <thrum/event.h>
#include <thrum/thread_pool.h>

#include "sim.h"

struct si {
    thrum_executor_t *ex;
    thrum_event_t ev;
    unsigned ran;
};

static int si_waits(void *arg, void **result)
{
    struct si *s = arg;
    (void)result;
    thi_fault_arm(THI_FAULT_THREAD, 1);
    sim_check(thrum_event_wait(&s->ev) == 0);
    s->ran++;
    return 0;
}

static int si_sets(void *arg, void **result)
{
    struct si *s = arg;
    (void)result;
    s->ran++;
    thrum_event_set(&s->ev);
    return 0;
}

static int si_runs(void *arg, void **result)
{
    (void)result;
    ((struct si *)arg)->ran++;
    return 0;
}

static void *si_submits(void *arg)
{
    struct si *s = arg;
    sim_check(thrum_executor_submit(s->ex, si_sets, s, NULL) == 0);
    return NULL;
}

static void si_run(bool together)
{
    struct si s = {0};
    thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
    config.workers = 1;
    config.spare_workers = 1;
    thrum_event_init(&s.ev);
    sim_check(thrum_thread_pool_create(&s.ex, &config) == 0);
    sim_check(thrum_executor_submit(s.ex, si_waits, &s, NULL) == 0);
    if (together)
        sim_join(sim_spawn(si_submits, &s));
    else
        si_submits(&s);
    sim_check(thrum_executor_submit(s.ex, si_runs, &s, NULL) == 0); /* makes good what failed */
    thrum_executor_destroy(s.ex);
    sim_join_all();
    thi_fault_arm(THI_FAULT_THREAD, 0);
    sim_check(s.ran == 3);
}

SIM_TEST(standin, a_failure_against_a_submit, .tasks = 6, .schedules = 20000)
{
    si_run(false);
}

SIM_TEST(standin, a_failure_against_a_submit_and_the_end, .tasks = 7, .schedules = 20000)
{
    si_run(true);
}
