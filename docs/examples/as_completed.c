/*
 * As completed: futures are handed out as they end, not as they were submitted. Here each task waits for
 * its gate, and the gates are opened in an order of our own, so it can be seen. Then the three ways to wait
 * for several at once.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/thrum.h>

#define RUNNERS 4

static thrum_event_t gates[RUNNERS]; /* all-zero memory is an event */

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

static int run(void *arg, void **result)
{
    const intptr_t number = (intptr_t)arg;
    *result = arg;
    must(thrum_event_wait(&gates[number]));
    return number == 1 ? EFAULT : 0; /* number 1 falls */
}

static void start_all(thrum_executor_t *pool, thrum_future_t **fs)
{
    for (intptr_t i = 0; i < RUNNERS; i++) {
        thrum_event_clear(&gates[i]);
        must(thrum_executor_submit(pool, run, (void *)i, &fs[i]));
    }
}

static void print_in_order(thrum_future_t **fs)
{
    static const int order[RUNNERS] = {2, 1, 3, 0};
    thrum_as_completed_t *it = NULL;
    thrum_future_t *f = NULL;
    must(thrum_as_completed_create(&it, fs, RUNNERS));
    printf("so far: %s\n", thrum_strerror(thrum_as_completed_next(it, &f, thrum_now())));
    for (int i = 0; i < RUNNERS; i++) {
        void *number = NULL;
        thrum_event_set(&gates[order[i]]);
        must(thrum_as_completed_next(it, &f, THRUM_FOREVER));
        const int err = thrum_future_result(f, &number);
        printf("%d. ended: %s", i + 1, thrum_strerror(err));
        if (err == 0)
            printf(", number %d", (int)(intptr_t)number);
        printf("\n");
        thrum_future_release(f); /* the iterator's reference was handed to us */
    }
    printf("then: %s\n", thrum_strerror(thrum_as_completed_next(it, &f, THRUM_FOREVER)));
    thrum_as_completed_destroy(it);
}

static void wait_three_ways(thrum_future_t **fs)
{
    size_t done = 0;
    thrum_event_set(&gates[0]);
    must(thrum_wait(fs, RUNNERS, THRUM_FIRST_COMPLETED, THRUM_FOREVER, &done));
    printf("first completed: %zu done\n", done);
    thrum_event_set(&gates[1]);
    must(thrum_wait(fs, RUNNERS, THRUM_FIRST_ERROR, THRUM_FOREVER, &done));
    printf("first error: %zu done\n", done);
    thrum_event_set(&gates[2]);
    const int err = thrum_wait(fs, 3, THRUM_ALL_COMPLETED, THRUM_FOREVER, &done);
    printf("three of them: %s, %zu done\n", thrum_strerror(err), done);
    thrum_event_set(&gates[3]);
}

int main(void)
{
    thrum_future_t *fs[RUNNERS];
    thrum_executor_t *pool = NULL;
    thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
    config.workers = RUNNERS + 1; /* one that nobody keeps waiting */
    must(thrum_thread_pool_create(&pool, &config));
    for (int round = 0; round < 2; round++) {
        start_all(pool, fs);
        if (round == 0)
            print_in_order(fs);
        else
            wait_three_ways(fs);
        for (int i = 0; i < RUNNERS; i++)
            thrum_future_release(fs[i]);
    }
    thrum_executor_destroy(pool);
    return 0;
}
