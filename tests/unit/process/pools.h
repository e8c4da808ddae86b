#ifndef TESTS_POOLS_H
#define TESTS_POOLS_H

/*
 * Process pools for tests, and tasks that tell in shared memory what they do.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <thrum/thrum.h>

#include "support/expect.h"
#include "support/victim.h"

static inline thrum_process_pool_config_t config_of(size_t workers)
{
    thrum_process_pool_config_t config = THRUM_PROCESS_POOL_CONFIG_INIT;
    config.workers = workers;
    return config;
}

static inline thrum_executor_t *pool_with(const thrum_process_pool_config_t *config)
{
    thrum_executor_t *pool = NULL;
    if (thrum_process_pool_create(&pool, config) != 0)
        abort();
    return pool;
}

static inline thrum_executor_t *pool_of(size_t workers)
{
    const thrum_process_pool_config_t config = config_of(workers);
    return pool_with(&config);
}

static inline thrum_future_t *submitted(thrum_executor_t *pool, thrum_fn fn, void *arg)
{
    thrum_future_t *f = NULL;
    if (thrum_executor_submit(pool, fn, arg, &f) != 0)
        abort();
    return f;
}

/* Gives the future up, too. */
static inline int status_of(thrum_future_t *f, void **value)
{
    const int status = thrum_future_result(f, value);
    thrum_future_release(f);
    return status;
}

static inline thrum_executor_stats_t stats_of(thrum_executor_t *pool)
{
    thrum_executor_stats_t stats;
    thrum_executor_stats(pool, &stats);
    return stats;
}

/* --- tasks ----------------------------------------------------------------------------------------- */

static inline int twice(void *arg, void **result)
{
    *result = (void *)((uintptr_t)arg * 2);
    return 0;
}

static inline int fails_with(void *arg, void **result)
{
    (void)result;
    return (int)(intptr_t)arg;
}

static inline int my_pid(void *arg, void **result)
{
    (void)arg;
    *result = (void *)(intptr_t)getpid();
    return 0;
}

static inline int my_parent(void *arg, void **result)
{
    (void)arg;
    *result = (void *)(intptr_t)getppid();
    return 0;
}

static inline int crashes(void *arg, void **result)
{
    (void)result;
    raise((int)(intptr_t)arg);
    return 0;
}

static inline int leaves(void *arg, void **result)
{
    (void)result;
    _exit((int)(intptr_t)arg);
}

static inline int count_in(void *arg, void **result)
{
    (void)result;
    thi_fetch_add_acq_rel((uint32_t *)arg, 1u);
    return 0;
}

/* In shared memory. */
struct gate {
    uint32_t inside;
    uint32_t open;
    int32_t pid;
};

static inline void await(uint32_t *word, uint32_t least)
{
    while (thi_load_acquire(word) < least)
        usleep(200);
}

static inline int hold_at(void *arg, void **result)
{
    struct gate *gate = arg;
    (void)result;
    thi_store_release(&gate->pid, (int32_t)getpid());
    thi_fetch_add_acq_rel(&gate->inside, 1u);
    await(&gate->open, 1);
    return 0;
}

static inline int echo(const void *in, size_t size, thrum_reply_t *reply)
{
    return thrum_reply(reply, in, size);
}

/* Whether the process is there, be it as a zombie. */
static inline bool is_there(int32_t pid)
{
    return kill(pid, 0) == 0;
}

static inline void await_gone(int32_t pid)
{
    while (is_there(pid))
        usleep(500);
}

#endif /* TESTS_POOLS_H */
