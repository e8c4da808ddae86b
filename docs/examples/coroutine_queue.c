/*
 * A bounded queue between coroutines and a thread: three coroutines put jobs, a thread takes them and puts
 * answers, a fourth coroutine adds those up. The calls are the same on both sides. A coroutine that waits
 * for room or for an answer is parked, and its loop runs the others; the thread sleeps.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/thrum.h>

#define PRODUCERS 3
#define JOBS 1000 /* of each */

THRUM_QUEUE_DEFINE(numbers, int)

static thrum_queue_t *jobs;
static thrum_queue_t *answers;

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

static int work(void *arg, void **result) /* the thread */
{
    int number = 0;
    int err = 0;
    (void)arg, (void)result;
    while ((err = numbers_get(jobs, &number)) == 0)
        must(numbers_put(answers, 2 * number));
    must(thrum_queue_close(answers));
    return err == ESHUTDOWN ? 0 : err; /* closed and drained */
}

static int produce(void *arg, void **result) /* a coroutine */
{
    (void)arg, (void)result;
    for (int i = 1; i <= JOBS; i++)
        must(numbers_put(jobs, i)); /* room for 8: it waits, again and again */
    return 0;
}

static int collect(void *arg, void **result) /* a coroutine */
{
    long *sum = arg;
    int number = 0;
    int err = 0;
    (void)result;
    while ((err = numbers_get(answers, &number)) == 0)
        *sum += number;
    return err == ESHUTDOWN ? 0 : err;
}

static int start(void *arg, void **result) /* the first coroutine of the loop */
{
    thrum_coro_t *producers[PRODUCERS];
    (void)result;
    must(thrum_go(NULL, collect, arg)); /* the loop runs until that one has ended, too */
    for (int i = 0; i < PRODUCERS; i++)
        must(thrum_go(&producers[i], produce, NULL));
    must(thrum_coro_join_all(producers, PRODUCERS, THRUM_FOREVER));
    for (int i = 0; i < PRODUCERS; i++)
        thrum_coro_release(producers[i]);
    return thrum_queue_close(jobs);
}

int main(void)
{
    thrum_thread_t *worker = NULL;
    long sum = 0;
    must(numbers_create(&jobs, THRUM_FIFO, 8));
    must(numbers_create(&answers, THRUM_FIFO, 8));
    must(thrum_thread_spawn(&worker, work, NULL, NULL));
    must(thrum_run(start, &sum, NULL));
    must(thrum_thread_join(worker, NULL));
    printf("the sum of %d answers: %ld\n", PRODUCERS * JOBS, sum);
    thrum_thread_release(worker);
    thrum_queue_destroy(jobs);
    thrum_queue_destroy(answers);
    return sum == (long)PRODUCERS * JOBS * (JOBS + 1) ? 0 : EXIT_FAILURE;
}
