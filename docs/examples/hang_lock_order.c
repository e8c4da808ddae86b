/*
 * Two locks in opposite order. Each of two threads has one and waits for the other's: nobody moves, unless the waits
 * have deadlines. thrum_deadlock_report names the circle while it lasts. Here the threads give way once it has been
 * seen; what mends the program is one order, by address if there is no better one.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/thrum.h>

static thrum_mutex_t accounts[2];
static thrum_barrier_t both_hold_one;
static thrum_event_t seen = THRUM_EVENT_INIT;

struct transfer {
    thrum_mutex_t *from;
    thrum_mutex_t *to;
};

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

/* Locks as they come, and gives way when told. */
static int careless(void *arg, void **result)
{
    const struct transfer *t = arg;
    int err = ETIMEDOUT;
    (void)result;
    must(thrum_mutex_lock(t->from));
    must(thrum_barrier_wait(&both_hold_one, NULL));
    while (err == ETIMEDOUT && !thrum_event_is_set(&seen))
        err = thrum_mutex_lock_until(t->to, thrum_after(THRUM_MS(200)));
    if (err == 0)
        must(thrum_mutex_unlock(t->to));
    must(thrum_mutex_unlock(t->from));
    return 0;
}

/* Locks in the order of the addresses, whatever way the money goes. */
static int careful(void *arg, void **result)
{
    const struct transfer *t = arg;
    const bool in_order = (uintptr_t)t->from < (uintptr_t)t->to;
    thrum_mutex_t *first = in_order ? t->from : t->to;
    thrum_mutex_t *second = in_order ? t->to : t->from;
    (void)result;
    for (int i = 0; i < 1000; i++) {
        must(thrum_mutex_lock(first));
        must(thrum_mutex_lock(second));
        must(thrum_mutex_unlock(second));
        must(thrum_mutex_unlock(first));
    }
    return 0;
}

static void start(thrum_thread_t *threads[2], thrum_fn fn, struct transfer *transfers)
{
    for (int i = 0; i < 2; i++)
        must(thrum_thread_spawn(&threads[i], fn, &transfers[i], NULL));
}

static void join(thrum_thread_t *threads[2])
{
    for (int i = 0; i < 2; i++) {
        must(thrum_thread_join(threads[i], NULL));
        thrum_thread_release(threads[i]);
    }
}

int main(void)
{
    struct transfer transfers[2] = {{&accounts[0], &accounts[1]}, {&accounts[1], &accounts[0]}};
    thrum_thread_t *threads[2];
    must(thrum_barrier_init(&both_hold_one, 2, NULL, NULL));

    start(threads, careless, transfers);
    while (thrum_deadlock_report(NULL) == 0) /* a stream instead of NULL gets the names */
        must(thrum_sleep(THRUM_MS(1)));
    printf("in opposite orders: a circle\n");
    thrum_event_set(&seen);
    join(threads);

    start(threads, careful, transfers);
    join(threads);
    printf("in one order: none\n");
    return EXIT_SUCCESS;
}
