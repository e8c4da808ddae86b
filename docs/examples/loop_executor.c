/*
 * A loop as an executor: what takes a thrum_executor_t need not know whether it is given a thread pool or a
 * loop. Tasks of a pool run side by side on its threads; those of a loop are coroutines of its one thread,
 * and while one of them waits the others run.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/thrum.h>

#define TASKS 10

static thrum_event_t done = THRUM_EVENT_INIT;

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

static int square(void *arg, void **result)
{
    const intptr_t n = (intptr_t)arg;
    const int err = thrum_sleep(THRUM_MS(5)); /* stands for asking somebody else */
    *result = (void *)(n * n);
    return err;
}

static long sum_of_squares(thrum_executor_t *ex)
{
    thrum_future_t *futures[TASKS];
    long sum = 0;
    for (intptr_t i = 0; i < TASKS; i++)
        must(thrum_executor_submit(ex, square, (void *)(i + 1), &futures[i]));
    for (int i = 0; i < TASKS; i++) {
        void *value = NULL;
        must(thrum_future_result(futures[i], &value));
        sum += (intptr_t)value;
        thrum_future_release(futures[i]);
    }
    return sum;
}

/* A loop runs until no coroutine is left: this one keeps it there for tasks to come. */
static int until_done(void *arg, void **result)
{
    (void)arg, (void)result;
    return thrum_event_wait(&done);
}

static int run_loop(void *arg, void **result) /* a thread */
{
    (void)result;
    const int err = thrum_loop_run(arg);
    thrum_loop_destroy(arg);
    return err;
}

/* Submits to its own loop: the wait for the results lets it run them. */
static int from_within(void *arg, void **result)
{
    thrum_executor_t *ex = thrum_loop_executor(thrum_loop_current());
    (void)arg;
    *result = (void *)(intptr_t)sum_of_squares(ex);
    return 0;
}

int main(void)
{
    thrum_executor_t *pool = NULL;
    must(thrum_thread_pool_create(&pool, NULL));
    printf("by a pool: %ld\n", sum_of_squares(pool));
    thrum_executor_destroy(pool);

    thrum_loop_t *loop = NULL;
    thrum_thread_t *thread = NULL;
    must(thrum_loop_create(&loop, NULL));
    must(thrum_loop_go(loop, NULL, until_done, NULL, NULL));
    must(thrum_thread_spawn(&thread, run_loop, loop, NULL));
    printf("by a loop of another thread: %ld\n", sum_of_squares(thrum_loop_executor(loop)));
    thrum_event_set(&done);
    must(thrum_thread_join(thread, NULL));
    thrum_thread_release(thread);

    void *sum = NULL;
    must(thrum_run(from_within, NULL, &sum));
    printf("by a coroutine's own loop: %ld\n", (long)(intptr_t)sum);
    return 0;
}
