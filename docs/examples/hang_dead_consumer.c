/*
 * A queue whose consumer ends early. Its producer waits for room, and whoever joins the queue waits for items that
 * nobody will ever work on. So who consumes says that it ends, however it ends: it marks what it has got as done, and
 * aborts the queue. Then the put says ESHUTDOWN, and the join returns.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/thrum.h>

THRUM_QUEUE_DEFINE(jobs, int)

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

static int work_on(int job)
{
    return job < 3 ? 0 : EINVAL; /* the third is more than it can do */
}

static int consume(void *arg, void **result)
{
    thrum_queue_t *q = arg;
    int job = 0;
    int err = 0;
    (void)result;
    while (err == 0 && jobs_get(q, &job) == 0) {
        err = work_on(job);
        must(thrum_queue_task_done(q)); /* done, be it well or not */
    }
    must(thrum_queue_abort(q)); /* without this line the producer waits for room for ever */
    return err;
}

int main(void)
{
    thrum_queue_t *q = NULL;
    thrum_thread_t *consumer = NULL;
    int err = 0;
    must(jobs_create(&q, THRUM_FIFO, 2));

    /* Nobody consumes yet. A deadline tells, and so do the figures. */
    must(jobs_put(q, 0));
    printf("join, without a consumer: %s, %zu unfinished\n",
           thrum_strerror(thrum_queue_join_until(q, thrum_after(THRUM_MS(20)))),
           thrum_queue_unfinished(q));

    must(thrum_thread_spawn(&consumer, consume, q, NULL));
    for (int job = 1; err == 0; job++)
        err = jobs_put(q, job);
    printf("put, after the consumer's end: %s\n", thrum_strerror(err));
    printf("join: %s\n", thrum_strerror(thrum_queue_join(q)));
    printf("the consumer: %s\n", thrum_strerror(thrum_thread_join(consumer, NULL)));
    thrum_thread_release(consumer);
    thrum_queue_destroy(q);
    return EXIT_SUCCESS;
}
