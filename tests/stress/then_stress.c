/*
 * Steps: a task of the pool waits for a step that has just been submitted to it, and runs it itself. What
 * the step stands on was written by who ended the first future, whom the task has never met.
 */
#include "stress/stress.h"

struct pair {
    thrum_executor_t *pool;
    thrum_future_t *first;
    thrum_future_t *next;
    uint32_t inside;
    uint32_t ended; /* relaxed: it tells when to look, and nothing more */
};

static int step(thrum_future_t *done, void *arg, void **result)
{
    const struct pair *p = arg;
    *result = NULL;
    return done == p->first && thrum_future_done(done) ? 0 : EPROTO;
}

static int wait_for_step(void *arg, void **result)
{
    struct pair *p = arg;
    *result = NULL;
    __atomic_store_n(&p->inside, 1u, __ATOMIC_RELEASE);
    while (__atomic_load_n(&p->ended, __ATOMIC_RELAXED) == 0)
        sched_yield();
    return thrum_future_result(p->next, NULL);
}

static void run_once(thrum_executor_t *pool)
{
    struct pair p = {.pool = pool};
    thrum_future_t *waiter = NULL;
    CHECK(thrum_future_create(&p.first) == 0);
    CHECK(thrum_future_then(p.first, pool, step, &p, &p.next) == 0);
    CHECK(thrum_executor_submit(pool, wait_for_step, &p, &waiter) == 0);
    while (__atomic_load_n(&p.inside, __ATOMIC_ACQUIRE) == 0)
        sched_yield();
    CHECK(thrum_future_complete(p.first, NULL) == 0);
    __atomic_store_n(&p.ended, 1u, __ATOMIC_RELAXED);
    CHECK(thrum_future_result(waiter, NULL) == 0);
    thrum_future_release(waiter);
    thrum_future_release(p.next);
    thrum_future_release(p.first);
}

static void run_steps(thrum_time_t until)
{
    thrum_executor_t *pool = NULL;
    thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
    config.workers = 1;
    CHECK(thrum_thread_pool_create(&pool, &config) == 0);
    while (thrum_now() < until) {
        run_once(pool);
        watchdog_progress();
    }
    thrum_executor_destroy(pool);
}

static const struct stress_case cases[] = {
    {"steps that their waiter runs", run_steps},
};

STRESS_MAIN(cases)
