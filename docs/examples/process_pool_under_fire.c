/*
 * A pool whose workers are shot at while it works. A thread kills one of them every five milliseconds, whatever it is
 * doing. Every task ends exactly once all the same: with its result, or with ECHILD when the shot hit its worker
 * while it ran, and then it is submitted again.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <thrum/thrum.h>

#define TASKS 3000
#define WORKERS 3

/* Made before the pool: its processes see it, too. */
static int *pids;
static thrum_event_t done = THRUM_EVENT_INIT;

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

/* The first that a worker does. */
static int sign_in(void *ctx)
{
    int *mine = &((int *)ctx)[thrum_process_pool_worker()];
    __atomic_store_n(mine, (int)getpid(), __ATOMIC_RELEASE);
    return 0;
}

static int square(void *arg, void **result)
{
    const uintptr_t n = (uintptr_t)arg;
    volatile uintptr_t sum = 0;
    for (uintptr_t i = 0; i < 20 * n; i++) /* some work */
        sum += i;
    (void)sum;
    *result = (void *)(n * n);
    return 0;
}

static int shoot(void *arg, void **result)
{
    int n = 0;
    (void)arg, (void)result;
    while (thrum_event_wait_until(&done, thrum_after(THRUM_MS(5))) == ETIMEDOUT) {
        const int pid = __atomic_exchange_n(&pids[n++ % WORKERS], 0, __ATOMIC_ACQ_REL);
        if (pid != 0) /* it has not been shot before: the number is still its own */
            kill(pid, SIGKILL);
    }
    return 0;
}

int main(void)
{
    static thrum_future_t *futures[TASKS];
    size_t right = 0;
    size_t again = 0;
    pids = mmap(NULL, sizeof *pids * WORKERS, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                -1, 0);
    if (pids == MAP_FAILED)
        return EXIT_FAILURE;

    thrum_process_pool_config_t config = THRUM_PROCESS_POOL_CONFIG_INIT;
    thrum_executor_t *pool = NULL;
    config.workers = WORKERS;
    config.init = sign_in;
    config.ctx = pids;
    must(thrum_process_pool_create(&pool, &config));
    thrum_thread_t *killer = NULL;
    must(thrum_thread_spawn(&killer, shoot, NULL, NULL));

    for (uintptr_t i = 0; i < TASKS; i++)
        must(thrum_executor_submit(pool, square, (void *)i, &futures[i]));
    for (uintptr_t i = 0; i < TASKS; i++) {
        void *value = NULL;
        int err = 0;
        while ((err = thrum_future_result(futures[i], &value)) == ECHILD) {
            thrum_future_release(futures[i]); /* or let the pool do that: THRUM_CRASH_RETRY */
            must(thrum_executor_submit(pool, square, (void *)i, &futures[i]));
            again++;
        }
        must(err);
        right += (uintptr_t)value == i * i;
        thrum_future_release(futures[i]);
    }
    thrum_event_set(&done);
    must(thrum_thread_join(killer, NULL));
    thrum_thread_release(killer);

    fprintf(stderr, "%zu tasks were hit\n", again); /* another number each time */
    printf("%zu of %d right\n", right, TASKS);
    thrum_executor_destroy(pool);
    return 0;
}
