/*
 * Shortest job first: a pool whose policy is priority, with the expected time of a job as its cost. The
 * same jobs in order of arrival show what it is good for: the mean time until a job is done. (Times are
 * added up on paper here, so nobody has to wait for them.)
 */
#include <stdio.h>
#include <stdlib.h>

#include <thrum/thrum.h>

struct job {
    const char *name;
    int minutes;
};

static struct job jobs[] = {{"report", 60}, {"letter", 5},  {"backup", 90},
                            {"stamp", 1},   {"invoice", 5}, {"print", 15}};
#define JOBS (sizeof jobs / sizeof jobs[0])

static thrum_event_t gate = THRUM_EVENT_INIT;

/* Written by the only worker; read when the pool is gone. */
static int clock_minutes;
static int sum_of_ends;

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

static int hold(void *arg, void **result)
{
    (void)arg, (void)result;
    return thrum_event_wait(&gate);
}

static int work(void *arg, void **result)
{
    const struct job *job = arg;
    (void)result;
    clock_minutes += job->minutes;
    sum_of_ends += clock_minutes;
    printf("  %3d %s\n", clock_minutes, job->name);
    return 0;
}

static void run_all(const char *title, thrum_policy_t policy)
{
    thrum_executor_t *pool = NULL;
    thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
    config.workers = 1;
    config.policy = policy;
    config.spare_workers = SIZE_MAX; /* one at a time, also while `hold` waits */
    must(thrum_thread_pool_create(&pool, &config));

    clock_minutes = 0;
    sum_of_ends = 0;
    thrum_event_clear(&gate);
    printf("%s\n", title);
    /* Nothing is done until all are there. The cost of this one lets nothing pass it. */
    must(thrum_executor_submit_cost(pool, hold, NULL, INT64_MIN, NULL));
    for (size_t i = 0; i < JOBS; i++)
        must(thrum_executor_submit_cost(pool, work, &jobs[i], jobs[i].minutes, NULL));
    thrum_event_set(&gate);
    thrum_executor_destroy(pool);
    printf("  done after %.1f minutes on average\n", (double)sum_of_ends / JOBS);
}

int main(void)
{
    run_all("in order of arrival", THRUM_POLICY_FIFO);
    run_all("shortest first", THRUM_POLICY_PRIORITY);
    return 0;
}
