/*
 * A wait for oneself. A thread that joins itself, a task that waits until its own pool has ended, a timer's function
 * that waits until it does not run: each would wait for ever, and each is told so.
 */
#include <stdio.h>
#include <stdlib.h>

#include <thrum/thrum.h>

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

static int join_itself(void *arg, void **result)
{
    (void)arg, (void)result;
    return thrum_thread_join(thrum_thread_current(), NULL);
}

static int shut_own_pool(void *arg, void **result)
{
    (void)result;
    return thrum_executor_shutdown(arg, THRUM_WAIT);
}

struct alarm {
    thrum_event_t rang;
    int err;
};

static void cancel_itself(thrum_timer_t *t, void *arg)
{
    struct alarm *alarm = arg;
    alarm->err = thrum_timer_cancel_wait(t, NULL);
    thrum_event_set(&alarm->rang);
}

int main(void)
{
    thrum_thread_t *thread = NULL;
    must(thrum_thread_spawn(&thread, join_itself, NULL, NULL));
    printf("join of itself: %s\n", thrum_strerror(thrum_thread_join(thread, NULL)));
    thrum_thread_release(thread);

    thrum_executor_t *pool = NULL;
    thrum_future_t *future = NULL;
    must(thrum_thread_pool_create(&pool, NULL));
    must(thrum_executor_submit(pool, shut_own_pool, pool, &future));
    printf("the end of its own pool: %s\n", thrum_strerror(thrum_future_result(future, NULL)));
    thrum_future_release(future);
    thrum_executor_destroy(pool);

    struct alarm alarm = {THRUM_EVENT_INIT, 0};
    thrum_timer_t *timer = NULL;
    must(thrum_timer_create(&timer, cancel_itself, &alarm));
    must(thrum_timer_start(timer, 0));
    must(thrum_event_wait(&alarm.rang));
    must(thrum_timer_cancel_wait(timer, NULL)); /* from elsewhere it is fine */
    printf("the end of its own function: %s\n", thrum_strerror(alarm.err));
    thrum_timer_release(timer);
    return EXIT_SUCCESS;
}
