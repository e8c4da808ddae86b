/*
 * Barrier: three workers smooth a row of numbers, each its own part, step by step. Nobody begins a
 * step before everybody has finished the one before.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <thrum/barrier.h>
#include <thrum/diagnosis.h>

#define WORKERS 3
#define EACH 2
#define CELLS (WORKERS * EACH)
#define STEPS 3

static thrum_barrier_t step;
static int now[CELLS + 2] = {[1] = 640}; /* with a border of zeros */
static int next[CELLS + 2];

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

/* Runs once in each step, in the worker that came last, before any of them goes on. */
static int turn_the_page(void *arg)
{
    int *steps = arg;
    memcpy(now, next, sizeof now);
    printf("step %d:", ++*steps);
    for (int i = 1; i <= CELLS; i++)
        printf(" %d", now[i]);
    printf("\n");
    return 0;
}

static void *worker(void *arg)
{
    const int first = *(const int *)arg;
    for (int i = 0; i < STEPS; i++) {
        for (int cell = first; cell < first + EACH; cell++)
            next[cell] = (now[cell - 1] + 2 * now[cell] + now[cell + 1]) / 4;
        must(thrum_barrier_wait(&step, NULL));
    }
    return NULL;
}

/* Who waits when a barrier is broken hears of it; so does everybody later, until it is reset. */
static void *waits_in_vain(void *arg)
{
    (void)arg;
    printf("one who waits: %s\n", thrum_strerror(thrum_barrier_wait(&step, NULL)));
    return NULL;
}

int main(void)
{
    pthread_t threads[WORKERS];
    int first[WORKERS] = {1, 1 + EACH, 1 + 2 * EACH};
    int steps = 0;
    must(thrum_barrier_init(&step, WORKERS, turn_the_page, &steps));
    for (int i = 0; i < WORKERS; i++)
        must(pthread_create(&threads[i], NULL, worker, &first[i]));
    for (int i = 0; i < WORKERS; i++)
        must(pthread_join(threads[i], NULL));

    must(pthread_create(&threads[0], NULL, waits_in_vain, NULL));
    while (thrum_barrier_waiting(&step) == 0)
        must(thrum_sleep(THRUM_MS(1)));
    must(thrum_barrier_abort(&step));
    must(pthread_join(threads[0], NULL));
    printf("one who comes later: %s\n", thrum_strerror(thrum_barrier_wait(&step, NULL)));
    must(thrum_barrier_reset(&step));
    printf("after a reset: %s\n", thrum_barrier_broken(&step) ? "broken" : "whole");
    return 0;
}
