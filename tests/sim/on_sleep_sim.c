/*
 * Who is told of a strand's sleep may itself wait in it: for memory, for a new thread. The wake-up of the
 * wait that it is told of comes meanwhile.
 */
#include <thrum/event.h>

#include "sim.h"

struct os_pair {
    thrum_event_t outer;
    thrum_event_t inner;
    unsigned told; /* of sleeps, and not yet of their end */
    thrum_time_t deadline;
};

static struct os_pair *os_here;

static void os_waits_inside(thi_strand_t *self, bool sleeps)
{
    (void)self;
    os_here->told += sleeps ? 1u : -1u;
    if (sleeps && os_here->told == 1)
        sim_check(thrum_event_wait(&os_here->inner) == 0);
}

static void *os_waiter(void *arg)
{
    struct os_pair *p = arg;
    thi_self()->on_sleep = os_waits_inside;
    const int err = thrum_event_wait_until(&p->outer, p->deadline);
    thi_self()->on_sleep = NULL;
    sim_check(err == 0 || sim_gave_up(err, p->deadline));
    sim_check(p->told == 0);
    return NULL;
}

static void *os_sets_inner(void *arg)
{
    thrum_event_set(&((struct os_pair *)arg)->inner);
    return NULL;
}

static void os_run(thrum_time_t deadline)
{
    struct os_pair p = {.deadline = deadline};
    os_here = &p;
    thrum_event_init(&p.outer);
    thrum_event_init(&p.inner);
    sim_spawn(os_waiter, &p);
    sim_spawn(os_sets_inner, &p);
    thrum_event_set(&p.outer);
    sim_join_all();
}

SIM_TEST(on_sleep, a_wait_inside_does_not_eat_the_wake_up, .tasks = 3, .dfs_bound = 3)
{
    os_run(THRUM_FOREVER);
}

SIM_TEST(on_sleep, nor_does_a_deadline, .tasks = 3)
{
    os_run(sim_soon());
}
