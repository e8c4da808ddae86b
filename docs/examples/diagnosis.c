/*
 * Who waits on what, and who waits for whom in a circle.
 *
 * A worker waits for an event, and the program shows that it does. Then two threads take two locks in
 * opposite order and meet in the middle; the program shows the deadlock. They lock with a deadline, so
 * that they get out of it again.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/thrum.h>

static thrum_event_t start = THRUM_EVENT_INIT;
static thrum_mutex_t accounts = THRUM_MUTEX_INIT;
static thrum_mutex_t journal = THRUM_MUTEX_INIT;
static thrum_barrier_t both_hold_one;

static void *worker(void *arg)
{
    thrum_event_wait(&start);
    return arg;
}

struct transfer {
    thrum_mutex_t *first;
    thrum_mutex_t *second;
    thrum_time_t deadline;
    int result;
};

static void *transfer(void *arg)
{
    struct transfer *t = arg;
    thrum_mutex_lock(t->first);
    thrum_barrier_wait(&both_hold_one, NULL);
    t->result = thrum_mutex_lock_until(t->second, t->deadline);
    if (t->result == 0)
        thrum_mutex_unlock(t->second);
    thrum_mutex_unlock(t->first);
    return NULL;
}

static pthread_t run(void *(*fn)(void *), void *arg)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, fn, arg) != 0)
        abort();
    return thread;
}

static void show_a_wait(void)
{
    pthread_t thread = run(worker, NULL);
    thrum_sleep(THRUM_MS(20)); /* it should be waiting by now */
    thrum_dump_waiters(stdout);
    thrum_event_set(&start);
    pthread_join(thread, NULL);
}

static void show_a_deadlock(void)
{
    const thrum_time_t deadline = thrum_after(THRUM_S(1));
    struct transfer there = {&accounts, &journal, deadline, 0};
    struct transfer back = {&journal, &accounts, deadline, 0};
    if (thrum_barrier_init(&both_hold_one, 2, NULL, NULL) != 0)
        abort();
    pthread_t threads[] = {run(transfer, &there), run(transfer, &back)};

    while (thrum_deadlock_report(NULL) == 0 && thrum_now() < deadline)
        thrum_sleep(THRUM_MS(1));
    thrum_deadlock_report(stdout);

    for (size_t i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    printf("there: %s\nback: %s\n", thrum_strerror(there.result), thrum_strerror(back.result));
}

int main(void)
{
    printf("thrum %s\n", thrum_version());
    show_a_wait();
    show_a_deadlock();
    return 0;
}
