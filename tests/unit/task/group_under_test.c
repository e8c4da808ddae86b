#include "task/work.h"

/* A group's tasks may lie under others in the worker's hands. With nobody to stand in, the wait finds them. */
TestSuite(group_under, .timeout = 60);

static thrum_executor_t *alone(thrum_policy_t policy)
{
    thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
    config.workers = 1;
    config.policy = policy;
    config.spare_workers = SIZE_MAX;
    return pool_as(&config);
}

struct node {
    thrum_executor_t *pool;
    void (*on_top)(struct node *n);
    thrum_group_t *outer;
    uint32_t depth;
    uint32_t *others; /* that ran */
};

static int descend(void *arg, void **result)
{
    struct node *n = arg;
    struct node below = *n;
    thrum_group_t g = THRUM_GROUP_INIT(n->pool);
    (void)result;
    if (n->depth == 0)
        return 0;
    below.depth--;
    below.outer = &g;
    if (thrum_group_spawn(&g, descend, &below) != 0)
        return EPROTO;
    n->on_top(n);
    return thrum_group_wait(&g);
}

static void plain(struct node *n)
{
    if (thrum_executor_submit(n->pool, add_one, n->others, NULL) != 0)
        abort();
}

static void cancelled(struct node *n)
{
    thrum_future_t *f = NULL;
    if (thrum_executor_submit(n->pool, add_one, n->others, &f) != 0 || !thrum_future_cancel(f))
        abort();
    thrum_future_release(f);
}

static void run_by_its_waiter(struct node *n)
{
    thrum_future_t *f = NULL;
    if (thrum_executor_submit(n->pool, add_one, n->others, &f) != 0 || thrum_future_wait(f) != 0)
        abort();
    thrum_future_release(f);
}

static void of_the_outer_group(struct node *n)
{
    if (n->outer != NULL && thrum_group_spawn(n->outer, add_one, n->others) != 0)
        abort();
}

static uint32_t run(void (*on_top)(struct node *n), thrum_policy_t policy, uint32_t depth)
{
    uint32_t others = 0;
    struct node top = {alone(policy), on_top, NULL, depth, &others};
    thrum_future_t *f = submitted(top.pool, descend, &top);
    expect_result(f, 0);
    thrum_executor_destroy(top.pool);
    return others;
}

Test(group_under, tasks_without_a_group)
{
    for (EACH_POLICY(policy))
        cr_expect_eq(run(plain, policy, 300), 300u);
}

Test(group_under, futures_that_have_ended)
{
    for (EACH_POLICY(policy)) {
        cr_expect_eq(run(cancelled, policy, 300), 0u);
        cr_expect_eq(run(run_by_its_waiter, policy, 300), 300u);
    }
}

Test(group_under, tasks_of_another_group)
{
    for (EACH_POLICY(policy))
        cr_expect_eq(run(of_the_outer_group, policy, 300), 299u);
}

/* --- many of both: the search may not cost their product --------------------------------------------- */

#define MANY 30000u

struct crowd {
    thrum_executor_t *pool;
    uint32_t ran;
    uint32_t others;
};

static int add_and_submit(void *arg, void **result)
{
    struct crowd *c = arg;
    add_one(&c->ran, result);
    return thrum_executor_submit(c->pool, add_one, &c->others, NULL);
}

static int crowd_task(void *arg, void **result)
{
    struct crowd *c = arg;
    thrum_group_t g = THRUM_GROUP_INIT(c->pool);
    int err = 0;
    (void)result;
    for (uint32_t i = 0; err == 0 && i < MANY; i++)
        err = thrum_group_spawn(&g, add_and_submit, c);
    for (uint32_t i = 0; err == 0 && i < MANY; i++)
        err = thrum_executor_submit(c->pool, add_one, &c->others, NULL);
    const int waited = thrum_group_wait(&g);
    return err != 0 ? err : waited;
}

Test(group_under, many_under_many, .timeout = 20)
{
    struct crowd c = {alone(THRUM_POLICY_STEALING), 0, 0};
    expect_result(submitted(c.pool, crowd_task, &c), 0);
    cr_expect_eq(c.ran, MANY);
    thrum_executor_destroy(c.pool);
    cr_expect_eq(c.others, 2 * MANY);
}
