/*
 * Back-pressure: a pool with room for two tasks that wait their turn, and what a third submit does: wait,
 * fail, or run the task in the caller.
 */
#include <stdio.h>
#include <stdlib.h>

#include <thrum/thrum.h>

#define ROOM 2

static thrum_event_t busy = THRUM_EVENT_INIT; /* the only worker has its task */
static thrum_event_t gate = THRUM_EVENT_INIT; /* that task may end */

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
    thrum_event_set(&busy);
    return thrum_event_wait(&gate);
}

static int where(void *arg, void **result)
{
    (void)arg;
    static char in_worker[] = "in a worker";
    static char in_caller[] = "in the caller";
    *result = thrum_thread_pool_worker() != SIZE_MAX ? in_worker : in_caller;
    return 0;
}

/* A pool of one worker, which is busy, with its backlog full. */
static thrum_executor_t *make_full_pool(thrum_full_t full)
{
    thrum_executor_t *pool = NULL;
    thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
    config.workers = 1;
    config.backlog = ROOM;
    config.full = full;
    config.spare_workers = SIZE_MAX; /* else one would stand in while `hold` waits */
    must(thrum_thread_pool_create(&pool, &config));
    thrum_event_clear(&gate);
    thrum_event_clear(&busy);
    must(thrum_executor_submit(pool, hold, NULL, NULL));
    must(thrum_event_wait(&busy));
    for (int i = 0; i < ROOM; i++)
        must(thrum_executor_submit(pool, where, NULL, NULL));
    return pool;
}

static void open_gate(void *pool)
{
    thrum_event_set(&gate);
    thrum_executor_destroy(pool); /* runs what was accepted */
}

static void print_where(thrum_future_t *f)
{
    void *place = NULL;
    must(thrum_future_result(f, &place));
    printf("it ran %s\n", (const char *)place);
    thrum_future_release(f);
}

static void open_later(thrum_timer_t *t, void *arg)
{
    (void)t, (void)arg;
    thrum_event_set(&gate);
}

int main(void)
{
    thrum_future_t *f = NULL;
    thrum_timer_t *timer = NULL;

    thrum_executor_t *pool = make_full_pool(THRUM_FULL_FAIL);
    printf("fail: %s\n", thrum_strerror(thrum_executor_submit(pool, where, NULL, &f)));
    /* With a deadline a submit waits, whatever the pool was made to do. */
    const int err = thrum_executor_submit_until(pool, where, NULL, thrum_after(THRUM_MS(5)), &f);
    printf("with a deadline: %s\n", thrum_strerror(err));
    open_gate(pool);

    pool = make_full_pool(THRUM_FULL_RUN);
    must(thrum_executor_submit(pool, where, NULL, &f));
    printf("run: ");
    print_where(f);
    open_gate(pool);

    pool = make_full_pool(THRUM_FULL_WAIT);
    must(thrum_timer_create(&timer, open_later, NULL));
    must(thrum_timer_start(timer, THRUM_MS(5)));
    must(thrum_executor_submit(pool, where, NULL, &f)); /* returns when there is room */
    printf("wait: ");
    print_where(f);
    thrum_timer_release(timer);
    open_gate(pool);
    return 0;
}
