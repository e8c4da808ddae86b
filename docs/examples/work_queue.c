/*
 * A work queue: four workers and a queue with room for eight jobs. The main thread puts jobs faster than
 * they are done, so it is held back by the bound; then it waits until all of them are done. "Done" is what
 * the workers say by task_done, not that the queue is empty: the last jobs have left it long before.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/diagnosis.h>
#include <thrum/queue.h>
#include <thrum/time.h>

#define WORKERS 4
#define JOBS 100

struct job {
    int number;
    int *square; /* where the answer goes */
};

THRUM_QUEUE_DEFINE(jobs, struct job)

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

static void *worker(void *arg)
{
    thrum_queue_t *q = arg;
    struct job job;
    while (jobs_get(q, &job) == 0) {
        must(thrum_sleep(THRUM_US(100))); /* hard work */
        *job.square = job.number * job.number;
        must(thrum_queue_task_done(q)); /* after the answer was written: the joiner will read it */
    }
    return NULL;
}

int main(void)
{
    thrum_queue_t *q = NULL;
    pthread_t workers[WORKERS];
    must(jobs_create(&q, THRUM_FIFO, 8));
    for (int i = 0; i < WORKERS; i++)
        must(pthread_create(&workers[i], NULL, worker, q));

    static int squares[JOBS];
    for (int round = 1; round <= 2; round++) {
        for (int i = 0; i < JOBS; i++)
            must(jobs_put(q, (struct job){i * round, &squares[i]}));
        must(thrum_queue_join(q));
        long sum = 0;
        for (int i = 0; i < JOBS; i++)
            sum += squares[i];
        printf("round %d: %zu unfinished, sum of squares %ld\n", round, thrum_queue_unfinished(q),
               sum);
    }
    printf("done once too often: %s\n", thrum_strerror(thrum_queue_task_done(q)));

    must(thrum_queue_close(q)); /* sends the workers home */
    for (int i = 0; i < WORKERS; i++)
        must(pthread_join(workers[i], NULL));
    thrum_queue_destroy(q);
    return 0;
}
