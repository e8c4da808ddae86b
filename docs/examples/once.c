/*
 * Once: eight threads ask for the one and only dictionary at the same time. It is made by whoever
 * comes first, and the others wait until it is there.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/diagnosis.h>
#include <thrum/event.h>
#include <thrum/once.h>

#define THREADS 8

struct dictionary {
    int words;
};

static thrum_once_t once = THRUM_ONCE_INIT;
static struct dictionary *the_dictionary;
static int times_read;

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

/* Runs under no lock. What it writes is visible to everybody who gets 0 from thrum_once. */
static int read_dictionary(void *arg)
{
    (void)arg;
    struct dictionary *made = malloc(sizeof *made);
    if (made == NULL)
        return ENOMEM;
    made->words = 171476;
    times_read++;
    the_dictionary = made;
    return 0;
}

static struct dictionary *dictionary(void)
{
    must(thrum_once(&once, read_dictionary, NULL));
    return the_dictionary;
}

static thrum_event_t start = THRUM_EVENT_INIT;

static void *reader(void *arg)
{
    struct dictionary **mine = arg;
    must(thrum_event_wait(&start));
    *mine = dictionary();
    return NULL;
}

/* An initialisation that fails has not happened: the next caller tries again. */
static int third_time_lucky(void *arg)
{
    int *tries = arg;
    return ++*tries < 3 ? ENOENT : 0;
}

int main(void)
{
    pthread_t threads[THREADS];
    struct dictionary *mine[THREADS] = {NULL};
    for (int i = 0; i < THREADS; i++)
        must(pthread_create(&threads[i], NULL, reader, &mine[i]));
    thrum_event_set(&start);
    int same = 0;
    for (int i = 0; i < THREADS; i++) {
        must(pthread_join(threads[i], NULL));
        same += mine[i] == the_dictionary;
    }
    printf("read %d time, %d of %d have the same one: %d words\n", times_read, same, THREADS,
           dictionary()->words);
    free(the_dictionary);

    thrum_once_t stubborn = THRUM_ONCE_INIT;
    int tries = 0;
    while (!thrum_once_done(&stubborn)) {
        const int err = thrum_once(&stubborn, third_time_lucky, &tries);
        printf("try %d: %s\n", tries, thrum_strerror(err));
    }
    return 0;
}
