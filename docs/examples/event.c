/*
 * Event: cars wait at a traffic light. Green lets all of them go; red holds those who come later.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/diagnosis.h>
#include <thrum/event.h>
#include <thrum/mutex.h>

#define CARS 5

static thrum_event_t green = THRUM_EVENT_INIT;
static thrum_mutex_t lock = THRUM_MUTEX_INIT;
static int passed;

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

static void report(const char *colour)
{
    must(thrum_mutex_lock(&lock));
    printf("%s: %d cars have passed\n", colour, passed);
    must(thrum_mutex_unlock(&lock));
}

static void *car(void *arg)
{
    (void)arg;
    must(thrum_event_wait(&green));
    must(thrum_mutex_lock(&lock));
    passed++;
    must(thrum_mutex_unlock(&lock));
    return NULL;
}

int main(void)
{
    pthread_t cars[CARS];
    for (int i = 0; i < CARS; i++)
        must(pthread_create(&cars[i], NULL, car, NULL));
    must(thrum_sleep(THRUM_MS(20))); /* time to arrive; those who are late find it green */
    report("red");

    thrum_event_set(&green);
    for (int i = 0; i < CARS; i++)
        must(pthread_join(cars[i], NULL));
    report("green");

    thrum_event_clear(&green);
    printf("red again: %s\n", thrum_event_is_set(&green) ? "go" : "stop");
    const int err = thrum_event_wait_until(&green, thrum_after(THRUM_MS(20)));
    printf("the last car turns round: %s\n", thrum_strerror(err));
    return 0;
}
