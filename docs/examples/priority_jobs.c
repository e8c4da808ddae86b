/*
 * A priority queue: the most urgent job leaves first, and jobs that are equally urgent leave in the order
 * in which they came.
 */
#include <stdio.h>
#include <stdlib.h>

#include <thrum/diagnosis.h>
#include <thrum/queue.h>

struct job {
    int urgency;
    const char *what;
};

THRUM_QUEUE_DEFINE(jobs, struct job)

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

/* Below 0: a leaves before b. It runs inside put and get, so it must be quick and not use the queue. Do
 * not subtract, since that can overflow. */
static int by_urgency(const void *a, const void *b, void *ctx)
{
    const struct job *first = a;
    const struct job *second = b;
    (void)ctx;
    return (first->urgency < second->urgency) - (first->urgency > second->urgency);
}

static void do_next(thrum_queue_t *q)
{
    struct job job;
    must(jobs_get(q, &job));
    printf("%d %s\n", job.urgency, job.what);
    must(thrum_queue_task_done(q));
}

int main(void)
{
    static const struct job morning[] = {
        {1, "water the plants"}, {5, "answer the phone"}, {1, "tidy up"},
        {3, "read the post"},    {5, "open the door"},
    };
    thrum_queue_t *q = NULL;
    must(jobs_create_with(&q, THRUM_PRIORITY, 0, by_urgency, NULL)); /* 0: unbounded */
    for (size_t i = 0; i < sizeof morning / sizeof *morning; i++)
        must(jobs_put(q, morning[i]));

    do_next(q);
    do_next(q);
    must(jobs_put(q, (struct job){9, "put out the fire"})); /* comes last, leaves first */
    while (!thrum_queue_empty(q)) /* nobody else gets from it, so what it says stays true */
        do_next(q);

    struct job job;
    printf("nothing left: %s\n", thrum_strerror(jobs_tryget(q, &job)));
    thrum_queue_destroy(q);
    return 0;
}
