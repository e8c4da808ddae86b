#ifndef TASK_WORK_H
#define TASK_WORK_H

/*
 * Pools of every kind, and tasks for them.
 */

#include <stdint.h>
#include <string.h>

#include <thrum/thrum.h>

#include "support/expect.h"

#define EACH_POLICY(policy)                                                                        \
    thrum_policy_t policy = THRUM_POLICY_STEALING;                                                 \
    policy <= THRUM_POLICY_PRIORITY;                                                               \
    policy = (thrum_policy_t)(policy + 1)

static inline thrum_executor_t *pool_as(const thrum_thread_pool_config_t *config)
{
    thrum_executor_t *pool = NULL;
    EXPECT_CALL(0, thrum_thread_pool_create(&pool, config));
    cr_assert_not_null(pool);
    return pool;
}

static inline thrum_executor_t *pool_of(size_t workers, thrum_policy_t policy)
{
    thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
    config.workers = workers;
    config.policy = policy;
    return pool_as(&config);
}

static inline thrum_future_t *submitted(thrum_executor_t *pool, thrum_fn fn, void *arg)
{
    thrum_future_t *f = NULL;
    EXPECT_CALL(0, thrum_executor_submit(pool, fn, arg, &f));
    cr_assert_not_null(f);
    return f;
}

static inline thrum_future_t *promised(void)
{
    thrum_future_t *f = NULL;
    EXPECT_CALL(0, thrum_future_create(&f));
    cr_assert_not_null(f);
    return f;
}

/* It has ended, or does, with that status; and goes. */
static inline void expect_result(thrum_future_t *f, int status)
{
    EXPECT_CALL(status, thrum_future_result(f, NULL));
    thrum_future_release(f);
}

/* --- tasks ---------------------------------------------------------------------------------------- */

static inline int hand_back(void *arg, void **result)
{
    *result = arg;
    return 0;
}

static inline int fail_with(void *arg, void **result)
{
    *result = arg; /* dropped */
    return (int)(intptr_t)arg;
}

#define ERROR(err) ((void *)(intptr_t)(err))

/* Adds one to a uint32_t. */
static inline int add_one(void *arg, void **result)
{
    (void)result;
    thi_fetch_add_acq_rel((uint32_t *)arg, 1u);
    return 0;
}

/* A place where tasks stop until it is opened. */
struct gate {
    thrum_event_t opened;
    uint32_t inside; /* that have come so far */
};

#define GATE_INIT                                                                                  \
    {                                                                                              \
        THRUM_EVENT_INIT, 0                                                                        \
    }

/* Waits as the library does: a spare worker may stand in. */
static inline int stop_at(void *arg, void **result)
{
    struct gate *g = arg;
    (void)result;
    thi_fetch_add_acq_rel(&g->inside, 1u);
    return thrum_event_wait(&g->opened);
}

/* Keeps the worker. */
static inline int hold_at(void *arg, void **result)
{
    struct gate *g = arg;
    (void)result;
    thi_fetch_add_acq_rel(&g->inside, 1u);
    while (!thrum_event_is_set(&g->opened))
        sched_yield();
    return 0;
}

static inline int open_gate(void *arg, void **result)
{
    struct gate *g = arg;
    (void)result;
    thrum_event_set(&g->opened);
    return 0;
}

/* The pool's only worker is busy, until the gate is opened. */
static inline void keep_busy(thrum_executor_t *pool, struct gate *g)
{
    EXPECT_CALL(0, thrum_executor_submit(pool, hold_at, g, NULL));
    await_word(&g->inside, 1);
}

static inline void open_and_destroy(thrum_executor_t *pool, struct gate *g)
{
    thrum_event_set(&g->opened);
    thrum_executor_destroy(pool);
}

static inline void await_reaches(const uint32_t *word, uint32_t value)
{
    while (thi_load_acquire(word) < value)
        sched_yield();
}

/* --- callers -------------------------------------------------------------------------------------- */

static inline int wait_for_future(void *f)
{
    return thrum_future_wait(f);
}

/* Stops until it is asked to stop: ECANCELED. */
static inline int stop_for_ever(void *arg, void **result)
{
    (void)result;
    thrum_event_t never = THRUM_EVENT_INIT;
    if (arg != NULL)
        thi_fetch_add_acq_rel((uint32_t *)arg, 1u);
    return thrum_event_wait(&never);
}

#endif /* TASK_WORK_H */
