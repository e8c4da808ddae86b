/*
 * Ten that sleep, in the time of one: on a loop a coroutine that waits lets the others run, and ten waits
 * of 300 ms on one thread take 300 ms. One after the other they would take three seconds.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/thrum.h>

#define SLEEPERS 10
#define NAP THRUM_MS(300)

static int asleep;
static int most_asleep;

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

/* No lock: they share a thread, and it goes elsewhere only in the sleep. */
static int sleeper(void *arg, void **result)
{
    int *number = arg;
    asleep++;
    most_asleep = asleep > most_asleep ? asleep : most_asleep;
    const int err = thrum_sleep(NAP);
    asleep--;
    *result = number;
    return err;
}

static int run_ten(void *arg, void **result)
{
    int *numbers = arg;
    thrum_coro_t *sleepers[SLEEPERS];
    int sum = 0;
    (void)result;
    for (int i = 0; i < SLEEPERS; i++) {
        numbers[i] = i;
        must(thrum_go(&sleepers[i], sleeper, &numbers[i]));
    }
    printf("spawned %d, of which %d have begun\n", SLEEPERS, asleep);
    must(thrum_coro_join_all(sleepers, SLEEPERS, thrum_after(THRUM_S(20))));
    for (int i = 0; i < SLEEPERS; i++) {
        void *number = NULL;
        must(thrum_coro_result(sleepers[i], &number));
        sum += *(int *)number;
        thrum_coro_release(sleepers[i]);
    }
    printf("asleep at a time: %d; the sum of their results: %d\n", most_asleep, sum);
    return 0;
}

int main(void)
{
    int numbers[SLEEPERS];
    const thrum_time_t start = thrum_now();
    must(thrum_run(run_ten, numbers, NULL)); /* a loop, until nothing is left to run */
    const thrum_time_t took = thrum_now() - start;
    if (took < NAP || took >= SLEEPERS * NAP / 2) {
        fprintf(stderr, "that took %lld ms\n", (long long)(took / THRUM_MS(1)));
        return EXIT_FAILURE;
    }
    printf("in the time of one\n");
    return 0;
}
