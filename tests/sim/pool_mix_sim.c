/*
 * Whatever comes, in a thread pool: tasks that submit, wait, spawn and cancel as the schedule says, in a
 * pool of any policy and any backlog, which is shut down somewhere in the middle.
 */
#include <thrum/thread_pool.h>

#include "sim.h"

#define PX_TASKS 7 /* at most so many */

struct px {
    thrum_executor_t *ex;
    unsigned made;
    unsigned accepted; /* with a future */
    unsigned ended;    /* of those */
};

static int px_task(void *arg, void **result);

static void px_ended(thrum_future_t *f, void *arg)
{
    struct px *p = arg;
    void *value = NULL;
    const int err = thrum_future_result(f, &value);
    sim_check(thrum_future_done(f) && (err == ECANCELED || (err == 0 && value == p)));
    p->ended++;
}

/* NULL: enough, or it was refused. */
static thrum_future_t *px_submit(struct px *p)
{
    thrum_future_t *f = NULL;
    if (p->made == PX_TASKS)
        return NULL;
    p->made++;
    const int err = thrum_executor_submit_cost(p->ex, px_task, p, sim_random(3), &f);
    sim_check(err == 0 || err == ESHUTDOWN || err == EAGAIN);
    if (err != 0)
        return NULL;
    p->accepted++;
    sim_check(thrum_future_add_done_callback(f, px_ended, p) == 0);
    return f;
}

static void px_wait(struct px *p, bool cancels)
{
    thrum_future_t *f = px_submit(p);
    if (f == NULL)
        return;
    const bool cancelled = cancels && thrum_future_cancel(f);
    const int err = thrum_future_result(f, NULL);
    sim_check(err == 0 || err == ECANCELED);
    sim_check(err == ECANCELED || !cancelled);
    thrum_future_release(f);
}

static void px_wait_for_either(struct px *p)
{
    thrum_future_t *fs[2] = {px_submit(p), px_submit(p)};
    size_t done = 0;
    if (fs[0] != NULL && fs[1] != NULL) {
        const int err = thrum_wait(fs, 2, THRUM_FIRST_COMPLETED, THRUM_FOREVER, &done);
        sim_check(sim_gave_up(err, THRUM_FOREVER) || done != 0); /* its group was cancelled */
    }
    thrum_future_release(fs[0]);
    thrum_future_release(fs[1]);
}

static void px_group(struct px *p)
{
    thrum_group_t g = THRUM_GROUP_INIT(p->ex);
    for (int i = 0; i < 2 && p->made < PX_TASKS; i++) {
        p->made++;
        const int err = thrum_group_spawn(&g, px_task, p);
        sim_check(err == 0 || err == ECANCELED || err == ESHUTDOWN || err == EAGAIN);
    }
    const int err = thrum_group_wait(&g);
    sim_check(err == 0 || err == ECANCELED);
    sim_poison(&g, sizeof g);
    sim_point();
    sim_unpoison(&g);
}

static int px_task(void *arg, void **result)
{
    struct px *p = arg;
    *result = p;
    switch (sim_random(6)) {
    case 0:
        px_wait(p, false);
        break;
    case 1:
        px_wait(p, true);
        break;
    case 2:
        px_group(p);
        break;
    case 3:
        px_wait_for_either(p);
        break;
    case 4:
        thrum_future_release(px_submit(p));
        break;
    default:
        break;
    }
    return 0;
}

static void px_begin(struct px *p, thrum_policy_t policy, size_t backlog)
{
    thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
    *p = (struct px){0};
    config.workers = 1 + sim_random(2);
    config.spare_workers = 5;
    config.policy = policy;
    config.backlog = backlog;
    config.full = backlog != 0 ? (thrum_full_t)sim_random(3) : THRUM_FULL_WAIT;
    sim_check(thrum_thread_pool_create(&p->ex, &config) == 0);
}

static void px_end(struct px *p)
{
    static const unsigned flags[] = {0, THRUM_WAIT, THRUM_CANCEL_PENDING,
                                     THRUM_WAIT | THRUM_CANCEL_PENDING};
    const unsigned how = sim_random(5);
    if (how < 4)
        sim_check(thrum_executor_shutdown(p->ex, flags[how]) == 0);
    if (how < 4 && (flags[how] & THRUM_WAIT) != 0)
        sim_check(p->ended == p->accepted);
    thrum_executor_destroy(p->ex);
    sim_join_all();
    sim_check(p->ended == p->accepted);
}

static void *px_submitter(void *arg)
{
    thrum_future_release(px_submit(arg));
    px_wait(arg, sim_random(2) == 0);
    return NULL;
}

static void px_run(thrum_policy_t policy, size_t backlog)
{
    struct px p;
    px_begin(&p, policy, backlog);
    sim_task *other = sim_spawn(px_submitter, &p);
    thrum_future_release(px_submit(&p));
    if (sim_random(2) == 0) {
        (void)thrum_executor_shutdown(p.ex, sim_random(2) == 0 ? THRUM_CANCEL_PENDING : 0);
    } else if (sim_random(2) == 0) {
        px_group(&p);
    }
    sim_join(other);
    px_end(&p);
}

SIM_TEST(pool_mix, stealing, .tasks = 12, .schedules = 20000)
{
    px_run(THRUM_POLICY_STEALING, 0);
}

SIM_TEST(pool_mix, stealing_with_a_backlog, .tasks = 12, .schedules = 15000)
{
    px_run(THRUM_POLICY_STEALING, 1 + sim_random(2));
}

SIM_TEST(pool_mix, fifo, .tasks = 12, .schedules = 15000)
{
    px_run(THRUM_POLICY_FIFO, sim_random(3));
}

SIM_TEST(pool_mix, lifo, .tasks = 12, .schedules = 10000)
{
    px_run(THRUM_POLICY_LIFO, sim_random(3));
}

SIM_TEST(pool_mix, priority, .tasks = 12, .schedules = 10000)
{
    px_run(THRUM_POLICY_PRIORITY, sim_random(3));
}
