#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#include "task/work.h"

/* Thread pools: what they are made like, in which order they work, and how much they accept. */
TestSuite(pool, .timeout = 60);

#define CONFIG(...) (&(thrum_thread_pool_config_t){__VA_ARGS__})

/* --- making ------------------------------------------------------------------------------------------ */

Test(pool, invalid_configurations_are_refused)
{
    thrum_executor_t *pool = NULL;
    EXPECT_CALL(EINVAL, thrum_thread_pool_create(NULL, NULL));
    EXPECT_CALL(EINVAL, thrum_thread_pool_create(&pool, CONFIG(.config_size = 1)));
    EXPECT_CALL(EINVAL, thrum_thread_pool_create(&pool, CONFIG(.policy = (thrum_policy_t)4)));
    EXPECT_CALL(EINVAL, thrum_thread_pool_create(&pool, CONFIG(.full = (thrum_full_t)3)));
    EXPECT_CALL(EINVAL, thrum_thread_pool_create(&pool, CONFIG(.workers = SIZE_MAX)));
    cr_expect_null(pool);
    static const thrum_thread_pool_config_t first_version = {.workers = 1};
    EXPECT_CALL(0, thrum_thread_pool_create(&pool, &first_version));
    thrum_executor_destroy(pool);
}

Test(pool, invalid_calls_are_refused)
{
    thrum_future_t *f = NULL;
    thrum_executor_stats_t stats = {.workers = 7};
    thrum_executor_t *pool = pool_of(1, THRUM_POLICY_STEALING);
    EXPECT_CALL(EINVAL, thrum_executor_submit(NULL, hand_back, NULL, &f));
    EXPECT_CALL(EINVAL, thrum_executor_submit(pool, NULL, NULL, &f));
    EXPECT_CALL(EINVAL, thrum_executor_submit_until(pool, NULL, NULL, PAST, &f));
    EXPECT_CALL(EINVAL, thrum_executor_submit_cost(NULL, hand_back, NULL, 0, &f));
    EXPECT_CALL(EINVAL, thrum_executor_shutdown(NULL, 0));
    EXPECT_CALL(EINVAL, thrum_executor_shutdown(pool, 8));
    EXPECT_CALL(EINVAL, thrum_executor_shutdown_until(pool, 8, PAST));
    cr_expect_null(f);
    thrum_executor_stats(pool, NULL);
    thrum_executor_stats(NULL, &stats);
    cr_expect_eq(stats.workers, 0u);
    thrum_executor_destroy(NULL);
    expect_result(submitted(pool, hand_back, NULL), 0); /* it is not shut down */
    thrum_executor_destroy(pool);
}

struct look {
    char name[32];
    size_t index;
    int processors;
    size_t stack;
    bool signals;
};

static int look_round(void *arg, void **result)
{
    struct look *look = arg;
    cpu_set_t set;
    sigset_t mask;
    pthread_attr_t attr;
    *result = NULL;
    look->index = thrum_thread_pool_worker();
    if (pthread_getname_np(pthread_self(), look->name, sizeof look->name) != 0 ||
        pthread_getaffinity_np(pthread_self(), sizeof set, &set) != 0 ||
        pthread_sigmask(SIG_BLOCK, NULL, &mask) != 0 || pthread_getattr_np(pthread_self(), &attr))
        return EPROTO;
    look->processors = CPU_COUNT(&set);
    look->signals = sigismember(&mask, SIGINT) == 1 && sigismember(&mask, SIGTERM) == 1 &&
                    sigismember(&mask, SIGUSR1) == 1 && sigismember(&mask, SIGCHLD) == 1 &&
                    sigismember(&mask, SIGSEGV) == 0;
    (void)pthread_attr_getstacksize(&attr, &look->stack);
    return pthread_attr_destroy(&attr);
}

static void expect_look(const thrum_thread_pool_config_t *config, const char *name)
{
    struct look look = {.index = 99};
    thrum_executor_t *pool = pool_as(config);
    expect_result(submitted(pool, look_round, &look), 0);
    thrum_executor_destroy(pool);
    cr_expect_str_eq(look.name, name);
    cr_expect_eq(look.index, 0u);
    cr_expect(look.signals);
    cr_expect_geq(look.stack, config->stack_size);
    cr_expect(!config->pin || look.processors == 1);
}

Test(pool, workers_are_as_configured)
{
    expect_look(CONFIG(.workers = 1), "thrum-0");
    expect_look(CONFIG(.workers = 1, .name = "mill", .pin = true), "mill-0");
    expect_look(CONFIG(.workers = 1, .name = "", .stack_size = (size_t)16 << 20), "-0");
    cr_expect_eq(thrum_thread_pool_worker(), SIZE_MAX);
}

static int which_worker(void *arg, void **result)
{
    uint32_t *seen = arg;
    thi_fetch_add_acq_rel(&seen[thrum_thread_pool_worker()], 1u);
    *result = NULL;
    while (thi_load_acquire(&seen[0]) == 0 || thi_load_acquire(&seen[1]) == 0 ||
           thi_load_acquire(&seen[2]) == 0)
        sched_yield();
    return 0;
}

Test(pool, workers_are_numbered_and_run_at_the_same_time)
{
    uint32_t seen[3] = {0};
    thrum_executor_t *pool = pool_of(3, THRUM_POLICY_STEALING);
    for (int i = 0; i < 3; i++)
        EXPECT_CALL(0, thrum_executor_submit(pool, which_worker, seen, NULL));
    thrum_executor_destroy(pool);
}

Test(pool, there_are_as_many_workers_as_processors)
{
    thrum_executor_stats_t stats;
    thrum_executor_t *pool = pool_as(NULL);
    thrum_executor_stats(pool, &stats);
    cr_expect_eq(stats.workers, thi_processors());
    thrum_executor_destroy(pool);
}

/* --- init and fini ----------------------------------------------------------------------------------- */

struct counts {
    uint32_t inits;
    uint32_t finis;
    uint32_t fail; /* the init with that number fails; 0: none */
    struct gate gate;
};

static int count_init(void *ctx)
{
    struct counts *c = ctx;
    void *unwanted = NULL;
    (void)hold_at(&c->gate, &unwanted);
    return thi_fetch_add_acq_rel(&c->inits, 1u) + 1 == c->fail ? EPERM : 0;
}

static void count_fini(void *ctx)
{
    thi_fetch_add_acq_rel(&((struct counts *)ctx)->finis, 1u);
}

Test(pool, each_worker_is_initialised_and_finished_once)
{
    for (size_t workers = 1; workers <= 4; workers++) {
        struct gate gate = GATE_INIT;
        struct counts c = {.gate = GATE_INIT};
        thrum_event_set(&c.gate.opened);
        thrum_executor_t *pool =
            pool_as(CONFIG(.workers = workers, .init = count_init, .fini = count_fini, .ctx = &c));
        for (size_t i = 0; i < 4; i++) /* spare workers too */
            EXPECT_CALL(0, thrum_executor_submit(pool, stop_at, &gate, NULL));
        await_word(&gate.inside, 4);
        open_and_destroy(pool, &gate);
        cr_expect_eq(c.inits, c.finis);
        cr_expect_geq(c.inits, workers);
    }
}

static thrum_executor_t *breaking(struct counts *c, size_t workers, thrum_policy_t policy)
{
    return pool_as(CONFIG(.workers = workers, .policy = policy, .init = count_init,
                          .fini = count_fini, .ctx = c));
}

Test(pool, a_failing_init_fails_what_is_pending)
{
    enum { TASKS = 50 };
    for (EACH_POLICY(policy)) {
        thrum_future_t *f[TASKS];
        thrum_executor_stats_t stats;
        struct caller waiter;
        struct counts c = {.fail = 1, .gate = GATE_INIT};
        uint32_t ran = 0;
        thrum_executor_t *pool = breaking(&c, 1, policy);
        thrum_group_t g = THRUM_GROUP_INIT(pool);
        for (int i = 0; i < TASKS; i++)
            f[i] = submitted(pool, add_one, &ran);
        EXPECT_CALL(0, thrum_group_spawn(&g, add_one, &ran));
        caller_start(&waiter, wait_for_future, f[7]);
        thrum_event_set(&c.gate.opened);
        cr_expect_eq(caller_join(&waiter), 0);
        for (int i = 0; i < TASKS; i++)
            expect_result(f[i], EPIPE);
        EXPECT_CALL(EPIPE, thrum_group_wait(&g));
        EXPECT_CALL(EPIPE, thrum_executor_submit(pool, add_one, &ran, &f[0]));
        EXPECT_CALL(EPIPE,
                    thrum_executor_map(pool, add_one, NULL, NULL, NULL, 3, 0, THRUM_FOREVER));
        EXPECT_CALL(0, thrum_executor_shutdown(pool, THRUM_WAIT));
        EXPECT_CALL(EPIPE, thrum_executor_submit(pool, add_one, &ran, &f[0]));
        thrum_executor_stats(pool, &stats);
        cr_expect_eq(stats.failed, TASKS + 1u);
        thrum_executor_destroy(pool);
        cr_expect_eq(ran, 0u);
        cr_expect_eq(c.finis, 0u);
    }
}

Test(pool, one_failing_init_of_many_breaks_it)
{
    for (uint32_t nth = 1; nth <= 3; nth++) {
        struct counts c = {.fail = nth, .gate = GATE_INIT};
        uint32_t ran = 0;
        thrum_event_set(&c.gate.opened);
        thrum_executor_t *pool = breaking(&c, 3, THRUM_POLICY_STEALING);
        thrum_future_t *f = NULL;
        int err = 0;
        while ((err = thrum_executor_submit(pool, add_one, &ran, &f)) == 0) {
            EXPECT_CALL(0, thrum_future_wait(f)); /* run by the others, or EPIPE */
            thrum_future_release(f);
        }
        cr_expect_eq(err, EPIPE);
        thrum_executor_destroy(pool);
        cr_expect_eq(c.finis + 1, c.inits);
    }
}

/* --- order -------------------------------------------------------------------------------------------- */

#define TASKS 200

struct order {
    uint32_t count;
    int ran[TASKS];
};

struct place {
    struct order *order;
    int number;
};

static int note_order(void *arg, void **result)
{
    const struct place *p = arg;
    *result = NULL;
    p->order->ran[thi_fetch_add_relaxed(&p->order->count, 1u)] = p->number;
    return 0;
}

static int cost_of(int number)
{
    return number * 37 % 10 - 5;
}

static void run_in_order(thrum_policy_t policy, struct order *order)
{
    struct gate gate = GATE_INIT;
    static struct place places[TASKS];
    thrum_executor_t *pool = pool_of(1, policy);
    *order = (struct order){0};
    keep_busy(pool, &gate);
    for (int i = 0; i < TASKS; i++) {
        places[i] = (struct place){order, i};
        EXPECT_CALL(0, thrum_executor_submit_cost(pool, note_order, &places[i], cost_of(i), NULL));
    }
    open_and_destroy(pool, &gate);
    cr_assert_eq(order->count, (uint32_t)TASKS);
}

Test(pool, one_worker_runs_tasks_in_the_policy_s_order)
{
    struct order order;
    run_in_order(THRUM_POLICY_FIFO, &order);
    for (int i = 0; i < TASKS; i++)
        cr_assert_eq(order.ran[i], i);
    run_in_order(THRUM_POLICY_LIFO, &order);
    for (int i = 0; i < TASKS; i++)
        cr_assert_eq(order.ran[i], TASKS - 1 - i);
    run_in_order(THRUM_POLICY_PRIORITY, &order);
    for (int i = 1; i < TASKS; i++) {
        const int a = order.ran[i - 1], b = order.ran[i];
        cr_assert(cost_of(a) < cost_of(b) || (cost_of(a) == cost_of(b) && a < b));
    }
}

/* Submitted by tasks: the newest first. */
struct family {
    thrum_executor_t *pool;
    struct order order;
    struct place places[3];
};

static int have_children(void *arg, void **result)
{
    struct family *f = arg;
    int err = 0;
    *result = NULL;
    for (int i = 0; i < 3; i++) {
        f->places[i] = (struct place){&f->order, i};
        err |= thrum_executor_submit(f->pool, note_order, &f->places[i], NULL);
    }
    return err;
}

Test(pool, tasks_of_a_task_run_in_the_policy_s_order)
{
    for (EACH_POLICY(policy)) {
        const bool newest = policy == THRUM_POLICY_STEALING || policy == THRUM_POLICY_LIFO;
        struct family f = {.pool = pool_of(1, policy)};
        expect_result(submitted(f.pool, have_children, &f), 0);
        thrum_executor_destroy(f.pool);
        for (int i = 0; i < 3; i++)
            cr_expect_eq(f.order.ran[i], newest ? 2 - i : i, "policy %d", (int)policy);
    }
}

/* --- statistics --------------------------------------------------------------------------------------- */

Test(pool, statistics_add_up)
{
    for (EACH_POLICY(policy)) {
        struct gate gate = GATE_INIT;
        thrum_executor_stats_t s;
        thrum_executor_t *pool = pool_of(1, policy);
        keep_busy(pool, &gate);
        thrum_future_t *f = submitted(pool, hand_back, NULL);
        for (int i = 0; i < 5; i++)
            EXPECT_CALL(0, thrum_executor_submit(pool, fail_with, ERROR(i % 2 * EIO), NULL));
        thrum_executor_stats(pool, &s);
        cr_expect(s.workers == 1 && s.idle == 0 && s.running == 1 && s.queued == 6);
        cr_expect(s.completed == 0 && s.failed == 0 && s.cancelled == 0 && s.restarted == 0);
        cr_expect(thrum_future_cancel(f));
        thrum_future_release(f);
        thrum_event_set(&gate.opened);
        EXPECT_CALL(0, thrum_executor_shutdown(pool, THRUM_WAIT));
        thrum_executor_stats(pool, &s);
        cr_expect(s.workers == 0 && s.idle == 0 && s.running == 0 && s.queued == 0);
        cr_expect(s.completed == 4 && s.failed == 2 && s.cancelled == 1 && s.restarted == 0);
        thrum_executor_destroy(pool);
    }
}

Test(pool, one_that_is_full_holds_up_no_other)
{
    struct gate gate = GATE_INIT;
    thrum_executor_t *busy = pool_of(1, THRUM_POLICY_FIFO);
    thrum_executor_t *other = pool_of(1, THRUM_POLICY_FIFO);
    keep_busy(busy, &gate);
    thrum_future_t *behind = submitted(busy, hand_back, NULL);
    expect_result(submitted(other, hand_back, NULL), 0);
    thrum_executor_destroy(other);
    cr_expect(!thrum_future_done(behind));
    thrum_event_set(&gate.opened);
    expect_result(behind, 0);
    thrum_executor_destroy(busy);
}
