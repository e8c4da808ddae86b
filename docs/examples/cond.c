/*
 * Condition variables: a buffer with room for four. Producers wait until there is room, consumers
 * until there is something, and at the end they are told that nothing more comes.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/cond.h>
#include <thrum/diagnosis.h>

#define ROOM 4
#define ITEMS 1000 /* of each producer */

static struct {
    thrum_mutex_t lock;
    thrum_cond_t not_empty, not_full;
    int items[ROOM];
    int first, count;
    bool closed;
} buffer = {.lock = THRUM_MUTEX_INIT, .not_empty = THRUM_COND_INIT, .not_full = THRUM_COND_INIT};

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

static void put(int item)
{
    must(thrum_mutex_lock(&buffer.lock));
    while (buffer.count == ROOM)
        must(thrum_cond_wait(&buffer.not_full, &buffer.lock));
    buffer.items[(buffer.first + buffer.count++) % ROOM] = item;
    thrum_cond_signal(&buffer.not_empty);
    must(thrum_mutex_unlock(&buffer.lock));
}

/* False: closed, and nothing is left. */
static bool get(int *item)
{
    must(thrum_mutex_lock(&buffer.lock));
    while (buffer.count == 0 && !buffer.closed)
        must(thrum_cond_wait(&buffer.not_empty, &buffer.lock));
    const bool found = buffer.count != 0;
    if (found) {
        *item = buffer.items[buffer.first];
        buffer.first = (buffer.first + 1) % ROOM;
        buffer.count--;
        thrum_cond_signal(&buffer.not_full);
    }
    must(thrum_mutex_unlock(&buffer.lock));
    return found;
}

static void *producer(void *arg)
{
    (void)arg;
    for (int i = 1; i <= ITEMS; i++)
        put(i);
    return NULL;
}

static void *consumer(void *arg)
{
    int *sum = arg;
    int item = 0;
    while (get(&item))
        *sum += item;
    return NULL;
}

static bool is_empty(void *arg)
{
    (void)arg;
    return buffer.count == 0;
}

/* wait_for puts the loop and the deadline into the call. */
static void close_when_empty(void)
{
    must(thrum_mutex_lock(&buffer.lock));
    must(thrum_cond_wait_for(&buffer.not_full, &buffer.lock, is_empty, NULL, THRUM_FOREVER));
    buffer.closed = true;
    thrum_cond_broadcast(&buffer.not_empty);
    const int err =
        thrum_cond_wait_until(&buffer.not_full, &buffer.lock, thrum_after(THRUM_MS(10)));
    printf("waiting for more: %s\n", thrum_strerror(err));
    must(thrum_mutex_unlock(&buffer.lock));
}

int main(void)
{
    pthread_t producers[2], consumers[2];
    int sums[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        must(pthread_create(&producers[i], NULL, producer, NULL));
        must(pthread_create(&consumers[i], NULL, consumer, &sums[i]));
    }
    for (int i = 0; i < 2; i++)
        must(pthread_join(producers[i], NULL));
    close_when_empty();
    for (int i = 0; i < 2; i++)
        must(pthread_join(consumers[i], NULL));
    printf("sum of what was taken: %d\n", sums[0] + sums[1]);
    return 0;
}
