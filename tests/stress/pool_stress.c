/*
 * Thread pools: whoever submits, from where, with what backlog, and whenever it is shut down: what was
 * accepted ends once, its callbacks are called once, and nobody waits for ever.
 */
#include "stress/stress.h"

#define SUBMITTERS 8u
#define ROOM 64u /* what may be under way for each submitter */

static void count(uint32_t *counter, uint32_t n)
{
    __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

static uint32_t counted(const uint32_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/* ------------------------------------------------------------------------------------------------
 * A mill: one pool, all kinds of tasks, and at some time its end
 */

struct mill {
    thrum_executor_t *pool;
    thrum_queue_t *queue; /* what tasks put, tasks get */
    uint32_t accepted;    /* bare tasks, with those in groups */
    uint32_t ran;
    uint32_t futures;
    uint32_t called;
    uint32_t ended; /* futures: how they ended */
};

struct job {
    struct mill *mill;
    unsigned depth;
    uint32_t runs;
    uint64_t in; /* plain: a submit orders it before the task, and the end before the wait */
    uint64_t out;
};

static int bare(void *arg, void **result)
{
    struct mill *m = arg;
    *result = NULL;
    count(&m->ran, 1);
    return 0;
}

static int work(void *arg, void **result)
{
    struct job *j = arg;
    count(&j->runs, 1);
    j->out = j->in + 1;
    *result = j;
    return 0;
}

static void called(thrum_future_t *f, void *arg)
{
    struct mill *m = arg;
    CHECK(thrum_future_done(f));
    count(&m->called, 1);
    if (thrum_executor_submit(m->pool, bare, m, NULL) == 0)
        count(&m->accepted, 1);
}

static bool is_refusal(int err)
{
    return err == ESHUTDOWN || err == EAGAIN || err == ETIMEDOUT;
}

static int result_of(void *f, void **result)
{
    return thrum_future_result(f, result);
}

/* Two tasks of a task. They use its stack: it waits for them, also when it is asked to stop. */
static int divide(void *arg, void **result)
{
    struct job *j = arg;
    struct job halves[2] = {{j->mill, j->depth - 1, 0, 1, 0}, {j->mill, j->depth - 1, 0, 2, 0}};
    thrum_future_t *f[2] = {NULL, NULL};
    (void)work(arg, result);
    if (j->depth == 0)
        return 0;
    for (unsigned i = 0; i < 2; i++) {
        const int err = thrum_executor_submit(j->mill->pool, divide, &halves[i], &f[i]);
        CHECK(err == 0 || is_refusal(err));
    }
    for (unsigned i = 0; i < 2; i++) {
        if (f[i] == NULL)
            continue;
        const int err = thrum_shield(result_of, f[i], NULL);
        CHECK(err == ECANCELED || halves[i].out == halves[i].in + 1);
        CHECK(halves[i].runs == !thrum_future_cancelled(f[i]));
        thrum_future_release(f[i]);
    }
    return 0;
}

static int group_task(void *arg, void **result)
{
    struct job *j = arg;
    (void)work(arg, result);
    return j->in == 13 ? EIO : 0;
}

static int run_group(void *arg, void **result)
{
    enum { TASKS = 16 };
    struct job *j = arg;
    struct job jobs[TASKS];
    thrum_group_t g = THRUM_GROUP_INIT(j->mill->pool);
    uint32_t ran = 0, spawned = 0;
    (void)work(arg, result);
    for (unsigned i = 0; i < TASKS; i++) {
        jobs[i] = (struct job){j->mill, 0, 0, (j->in & 1) * i, 0};
        const int err = thrum_group_spawn(&g, group_task, &jobs[i]);
        CHECK(err == 0 || err == ECANCELED || is_refusal(err));
        spawned += err == 0;
        if ((j->in & 6) == 6 && i == 9)
            thrum_group_cancel(&g);
    }
    const int err = thrum_group_wait(&g);
    CHECK(err == 0 || err == EIO || err == ECANCELED);
    for (unsigned i = 0; i < TASKS; i++) {
        CHECK(jobs[i].runs <= 1);
        ran += jobs[i].runs;
    }
    CHECK(ran <= spawned && (err != 0 || ran == spawned));
    return 0;
}

static int put_some(void *arg, void **result)
{
    struct job *j = arg;
    int err = 0;
    for (uint32_t i = 0; err == 0 && i < 4; i++)
        err = thrum_queue_put(j->mill->queue, &i);
    CHECK(err == 0);
    return work(arg, result);
}

static int get_some(void *arg, void **result)
{
    struct job *j = arg;
    uint32_t item = 0;
    int err = 0;
    for (uint32_t i = 0; err == 0 && i < 4; i++)
        err = thrum_queue_get_until(j->mill->queue, &item, thrum_after(THRUM_MS(1)));
    CHECK(err == 0 || err == ETIMEDOUT || err == ECANCELED);
    return work(arg, result);
}

static int map_some(void *arg, void **result)
{
    struct job *j = arg;
    struct job jobs[20];
    void *args[20];
    for (unsigned i = 0; i < 20; i++) {
        jobs[i] = (struct job){j->mill, 0, 0, i, 0};
        args[i] = &jobs[i];
    }
    const int err =
        thrum_executor_map(j->mill->pool, work, args, NULL, NULL, 20, j->in % 4, THRUM_FOREVER);
    CHECK(err == 0 || err == ECANCELED || is_refusal(err));
    for (unsigned i = 0; i < 20; i++)
        CHECK(jobs[i].runs <= 1 && (err != 0 || jobs[i].runs == 1));
    return work(arg, result);
}

static const thrum_fn kinds[] = {work, divide, run_group, get_some, map_some, work, work, divide};

/* False: it was not accepted. */
static bool submit_job(struct job *j, struct mill *m, struct chance *c, thrum_future_t **f)
{
    *j = (struct job){m, chance_below(c, 5), 0, chance_next(c) & 0xffff, 0};
    const thrum_fn fn = kinds[chance_below(c, sizeof kinds / sizeof *kinds)];
    int err = 0;
    if (chance_one_in(c, 4))
        err = thrum_executor_submit_until(m->pool, fn, j, chance_deadline(c, 50000), f);
    else
        err = thrum_executor_submit_cost(m->pool, fn, j, chance_below(c, 9), f);
    CHECK(err == 0 || is_refusal(err));
    if (err != 0)
        return false;
    count(&m->futures, 1);
    if (chance_one_in(c, 2))
        CHECK(thrum_future_add_done_callback(*f, called, m) == 0);
    else
        count(&m->called, 1);
    return true;
}

static void finish_job(const struct job *j, thrum_future_t *f, struct chance *c)
{
    void *value = NULL;
    if (chance_one_in(c, 8))
        (void)thrum_future_cancel(f);
    if (chance_one_in(c, 8))
        (void)thrum_future_interrupt(f);
    const int err = thrum_future_result(f, &value);
    CHECK(err == 0 || err == ECANCELED);
    CHECK(j->runs == !thrum_future_cancelled(f));
    CHECK(err != 0 || (value == j && j->out == j->in + 1));
    count(&j->mill->ended, 1);
    thrum_future_release(f);
}

static void submitter(struct member *self)
{
    struct mill *m = self->shared;
    struct job jobs[ROOM];
    while (member_goes_on(self)) {
        thrum_future_t *f[ROOM];
        bool accepted[ROOM];
        const unsigned n = 1 + chance_below(&self->chance, ROOM);
        for (unsigned i = 0; i < n; i++) {
            accepted[i] = submit_job(&jobs[i], m, &self->chance, &f[i]);
            if (chance_one_in(&self->chance, 2) &&
                thrum_executor_submit(m->pool, bare, m, NULL) == 0)
                count(&m->accepted, 1);
        }
        for (unsigned i = 0; i < n; i++)
            if (accepted[i])
                finish_job(&jobs[i], f[i], &self->chance);
    }
}

static void mill_begin(struct mill *m, struct chance *c)
{
    thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
    const thrum_queue_config_t queue = {THRUM_FIFO, sizeof(uint32_t), 3, NULL, NULL, 0};
    config.workers = 1 + chance_below(c, 3);
    config.policy = (thrum_policy_t)chance_below(c, 4);
    config.backlog = chance_one_in(c, 2) ? 0 : 1 + chance_below(c, 20);
    config.full = (thrum_full_t)chance_below(c, 3);
    *m = (struct mill){.pool = NULL};
    CHECK(thrum_thread_pool_create(&m->pool, &config) == 0);
    CHECK(thrum_queue_create(&m->queue, &queue) == 0);
}

/* Some way to end it; whether what was bare may have been dropped. */
static bool mill_end(const struct mill *m, struct chance *c)
{
    const bool cancels = chance_one_in(c, 2);
    const unsigned flags = cancels ? THRUM_CANCEL_PENDING : 0;
    if (chance_one_in(c, 2))
        CHECK(thrum_executor_shutdown(m->pool, flags) == 0);
    else
        CHECK(thrum_executor_shutdown_until(m->pool, flags | THRUM_WAIT,
                                            chance_deadline(c, 90000)) != EDEADLK);
    return cancels;
}

static void judge(const struct mill *m, bool cancels)
{
    thrum_executor_stats_t s;
    CHECK(thrum_executor_shutdown(m->pool, THRUM_WAIT) == 0);
    thrum_executor_stats(m->pool, &s);
    CHECK(s.workers == 0 && s.queued == 0 && s.running == 0);
    CHECK(counted(&m->ended) == counted(&m->futures));
    CHECK(counted(&m->called) == counted(&m->futures));
    CHECK(counted(&m->ran) == counted(&m->accepted) ||
          (cancels && counted(&m->ran) < counted(&m->accepted)));
}

static void run_mill(thrum_time_t until)
{
    struct chance c = chance_begin();
    while (thrum_now() < until) {
        struct mill m;
        struct member team[SUBMITTERS];
        mill_begin(&m, &c);
        const thrum_time_t end = thrum_after(chance_below(&c, 30000000));
        team_start(team, SUBMITTERS, submitter, &m, end);
        bool cancels = false;
        if (chance_one_in(&c, 2)) { /* in the middle; or when all have been told the results */
            while (thrum_now() < end - THRUM_MS(5))
                sched_yield();
            cancels = mill_end(&m, &c);
        }
        team_join(team, SUBMITTERS);
        judge(&m, cancels);
        thrum_executor_destroy(m.pool);
        thrum_queue_destroy(m.queue);
        watchdog_progress();
    }
}

/* ------------------------------------------------------------------------------------------------
 * Pools that hardly live: submits against the end
 */

static void racer(struct member *self)
{
    struct mill *m = self->shared;
    for (;;) {
        thrum_future_t *f = NULL;
        struct job j = {m, 0, 0, 1, 0};
        const int err = thrum_executor_submit(m->pool, work, &j, &f);
        CHECK(err == 0 || err == ESHUTDOWN);
        if (err != 0)
            return;
        const int status = thrum_future_result(f, NULL);
        CHECK(status == 0 || status == ECANCELED);
        CHECK(j.runs == (status == 0));
        thrum_future_release(f);
    }
}

static void run_races(thrum_time_t until)
{
    struct chance c = chance_begin();
    while (thrum_now() < until) {
        struct mill m;
        struct member racers[3];
        mill_begin(&m, &c);
        thrum_executor_destroy(m.pool);
        thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
        config.workers = 1 + chance_below(&c, 2);
        config.policy = (thrum_policy_t)chance_below(&c, 4);
        CHECK(thrum_thread_pool_create(&m.pool, &config) == 0);
        team_start(racers, 3, racer, &m, until);
        for (unsigned i = chance_below(&c, 100); i != 0; i--)
            chance_dawdle(&c);
        (void)mill_end(&m, &c);
        team_join(racers, 3);
        thrum_executor_destroy(m.pool);
        thrum_queue_destroy(m.queue);
        watchdog_progress();
    }
}

/* ------------------------------------------------------------------------------------------------
 * Waiters and workers of a pool that is too small: somebody stands in, and goes again
 */

static void run_standins(thrum_time_t until)
{
    struct chance c = chance_begin();
    while (thrum_now() < until) {
        enum { PAIRS = 8 };
        struct mill m;
        struct job jobs[2 * PAIRS];
        thrum_future_t *f[2 * PAIRS];
        mill_begin(&m, &c);
        thrum_executor_destroy(m.pool);
        thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
        config.workers = 1 + chance_below(&c, 2);
        CHECK(thrum_thread_pool_create(&m.pool, &config) == 0);
        for (unsigned round = 0; round < 10; round++) {
            for (unsigned i = 0; i < 2 * PAIRS; i++) {
                jobs[i] = (struct job){&m, 0, 0, i, 0};
                CHECK(thrum_executor_submit(m.pool, i % 2 == 0 ? put_some : get_some, &jobs[i],
                                            &f[i]) == 0);
            }
            uint32_t item = 0;
            for (unsigned i = 1; i < 2 * PAIRS; i += 2)
                CHECK(thrum_future_result(f[i], NULL) == 0);
            for (unsigned i = 0; i < 2 * PAIRS; i++) {
                while (thrum_future_wait_until(f[i], thrum_after(THRUM_US(50))) != 0)
                    if (thrum_queue_tryget(m.queue, &item) == 0)
                        watchdog_progress();
                CHECK(jobs[i].runs == 1);
                thrum_future_release(f[i]);
            }
            watchdog_progress();
        }
        thrum_executor_destroy(m.pool);
        thrum_queue_destroy(m.queue);
    }
}

static const struct stress_case cases[] = {
    {"a mill", run_mill},
    {"submits against the end", run_races},
    {"stand-ins", run_standins},
};

STRESS_MAIN(cases)
