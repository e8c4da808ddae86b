/*
 * A task that waits for a task of its own pool. With one worker, or with all of them waiting, other pools hang: who
 * should run what is waited for is the one that waits. Here the waiting task runs it itself.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/thrum.h>

static thrum_executor_t *pool;

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

static int sum(void *arg, void **result) /* 1 + 2 + ... + n, each step a task of its own */
{
    const uintptr_t n = (uintptr_t)arg;
    thrum_future_t *rest = NULL;
    void *value = NULL;
    if (n > 0) {
        must(thrum_executor_submit(pool, sum, (void *)(n - 1), &rest));
        must(thrum_future_result(rest, &value));
        thrum_future_release(rest);
    }
    *result = (void *)(n + (uintptr_t)value);
    return 0;
}

int main(void)
{
    thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
    thrum_future_t *future = NULL;
    void *value = NULL;
    config.workers = 1;
    config.spare_workers = SIZE_MAX; /* none, so that nobody can stand in */
    must(thrum_thread_pool_create(&pool, &config));
    must(thrum_executor_submit(pool, sum, (void *)(uintptr_t)100, &future));
    must(thrum_future_result(future, &value));
    printf("one worker, a hundred tasks that wait for each other: %d\n", (int)(uintptr_t)value);
    thrum_future_release(future);
    thrum_executor_destroy(pool);
    return EXIT_SUCCESS;
}
