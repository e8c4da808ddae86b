/*
 * Wait group: a request is answered when the last of its jobs is done. Who does them, and what those
 * threads do afterwards, is nobody's business here.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/diagnosis.h>
#include <thrum/waitgroup.h>

#define JOBS 4
#define NUMBERS 1000

struct request {
    thrum_waitgroup_t jobs;
    struct job {
        struct request *of;
        int first, end;
        long sum;
    } job[JOBS];
};

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

static void *run(void *arg)
{
    struct job *job = arg;
    for (int i = job->first; i < job->end; i++)
        job->sum += i;
    must(thrum_waitgroup_done(&job->of->jobs)); /* from here on the request may be gone */
    return NULL;
}

static long sum_of_numbers(void)
{
    struct request request = {.jobs = THRUM_WAITGROUP_INIT};
    must(thrum_waitgroup_add(&request.jobs, JOBS)); /* before the first of them can be done */
    for (int i = 0; i < JOBS; i++) {
        const int first = i * (NUMBERS / JOBS);
        pthread_t thread;
        request.job[i] = (struct job){&request, first, first + NUMBERS / JOBS, 0};
        must(pthread_create(&thread, NULL, run, &request.job[i]));
        must(pthread_detach(thread));
    }
    must(thrum_waitgroup_wait(&request.jobs));
    long sum = 0;
    for (int i = 0; i < JOBS; i++)
        sum += request.job[i].sum;
    return sum;
}

int main(void)
{
    printf("sum: %ld\n", sum_of_numbers());

    thrum_waitgroup_t wg = THRUM_WAITGROUP_INIT;
    printf("done without an add: %s\n", thrum_strerror(thrum_waitgroup_done(&wg)));
    must(thrum_waitgroup_add(&wg, 1));
    printf("try: %s\n", thrum_strerror(thrum_waitgroup_trywait(&wg)));
    const int err = thrum_waitgroup_wait_until(&wg, thrum_after(THRUM_MS(10)));
    printf("with a deadline: %s\n", thrum_strerror(err));
    must(thrum_waitgroup_add(&wg, -1));
    must(thrum_waitgroup_wait(&wg));
    return 0;
}
