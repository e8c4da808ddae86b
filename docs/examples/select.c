/*
 * Select: one thread that waits for whatever comes first: a job, a permit to send, the word to stop, or
 * a tenth of a second without any of them. Just the one that is chosen happens.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/diagnosis.h>
#include <thrum/select.h>

THRUM_QUEUE_DEFINE(jobs, int)

static thrum_queue_t *jobs;
static thrum_sem_t may_send = THRUM_SEM_INIT(0);
static thrum_event_t stop = THRUM_EVENT_INIT;
static thrum_sem_t seen = THRUM_SEM_INIT(0); /* so that one comes after the other */

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

/* What happens elsewhere. */
static void *world(void *arg)
{
    must(jobs_put(jobs, 42));
    must(thrum_sem_acquire(&seen));
    must(thrum_sem_release(&may_send));
    must(thrum_sem_acquire(&seen));
    must(thrum_queue_close(jobs));
    must(thrum_sem_acquire(&seen));
    thrum_event_set(&stop);
    return arg;
}

int main(void)
{
    enum { A_JOB, SEND, STOP, CASES };
    int job = 0;
    must(jobs_create(&jobs, THRUM_FIFO, 8));
    thrum_case_t cases[CASES] = {
        [A_JOB] = THRUM_CASE_GET(jobs, &job),
        [SEND] = THRUM_CASE_SEM(&may_send),
        [STOP] = THRUM_CASE_EVENT(&stop),
    };
    size_t chosen = CASES;

    printf("nothing yet: %s\n", thrum_strerror(thrum_tryselect(cases, CASES, &chosen)));
    int err = thrum_select(cases, CASES, thrum_after(THRUM_MS(100)), &chosen);
    printf("a tenth of a second: %s\n", thrum_strerror(err));

    pthread_t thread;
    must(pthread_create(&thread, NULL, world, NULL));
    while (chosen != STOP) {
        err = thrum_select(cases, CASES, THRUM_FOREVER, &chosen);
        if (err == ESHUTDOWN) { /* of the chosen queue: a closed one is ready for ever */
            printf("no more jobs: %s\n", thrum_strerror(err));
            cases[chosen] = (thrum_case_t)THRUM_CASE_NONE; /* so look at it no more */
        } else {
            must(err);
            if (chosen == A_JOB)
                printf("job %d\n", job);
            else
                puts(chosen == SEND ? "sent" : "stopped");
        }
        must(thrum_sem_release(&seen));
    }
    must(pthread_join(thread, NULL));
    thrum_queue_destroy(jobs);
    return 0;
}
