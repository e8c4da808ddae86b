/*
 * A red light: two roads cross, each with a light that is an event. Cars wait until theirs is green. The
 * light does not change before the cars that it let go have left the crossing, so that no two cars of
 * different roads are ever on it.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/diagnosis.h>
#include <thrum/event.h>
#include <thrum/mutex.h>
#include <thrum/waitgroup.h>

#define CARS 4 /* on each road */

static struct road {
    const char *name;
    thrum_event_t green;
    thrum_waitgroup_t coming; /* cars that have not left the crossing yet */
    int on_crossing, passed;
} roads[2] = {{.name = "north"}, {.name = "east"}};

static thrum_mutex_t lock = THRUM_MUTEX_INIT;
static bool crash;

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

static void cross(struct road *road, int step)
{
    must(thrum_mutex_lock(&lock));
    road->on_crossing += step;
    road->passed += step < 0;
    crash |= roads[0].on_crossing != 0 && roads[1].on_crossing != 0;
    must(thrum_mutex_unlock(&lock));
}

static void *car(void *arg)
{
    struct road *road = arg;
    must(thrum_event_wait(
        &road->green)); /* all that wait go on, and all that come while it is green */
    cross(road, +1);
    must(thrum_sleep(THRUM_MS(1)));
    cross(road, -1);
    must(thrum_waitgroup_done(&road->coming));
    return NULL;
}

int main(void)
{
    pthread_t cars[2][CARS];
    for (int r = 0; r < 2; r++) {
        must(thrum_waitgroup_add(&roads[r].coming, CARS));
        for (int i = 0; i < CARS; i++)
            must(pthread_create(&cars[r][i], NULL, car, &roads[r]));
    }
    printf("both red: %d cars have passed\n", roads[0].passed + roads[1].passed);

    for (int r = 0; r < 2; r++) {
        thrum_event_set(&roads[r].green);
        must(thrum_waitgroup_wait(&roads[r].coming));
        thrum_event_clear(&roads[r].green);
        printf("%s was green: %d cars have passed\n", roads[r].name, roads[r].passed);
    }
    for (int r = 0; r < 2; r++)
        for (int i = 0; i < CARS; i++)
            must(pthread_join(cars[r][i], NULL));
    printf("crash: %s\n", crash ? "yes" : "no");

    /* One who has no time looks without waiting, or waits only so long. */
    printf("may I go: %s\n", thrum_strerror(thrum_event_trywait(&roads[0].green)));
    const int err = thrum_event_wait_until(&roads[0].green, thrum_after(THRUM_MS(10)));
    printf("turning round: %s\n", thrum_strerror(err));
    return 0;
}
