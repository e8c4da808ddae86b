/*
 * A LIFO queue as a pool: who needs a buffer gets the one that was given back last, which is most likely
 * still in the processor's cache, and waits if all of them are in use. A buffer that is not needed for
 * long sinks to the bottom.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/diagnosis.h>
#include <thrum/queue.h>

#define BUFFERS 3
#define USERS 8

struct buffer {
    char name;
    int used; /* belongs to whoever has got the buffer: no lock */
    char bytes[4096];
};

THRUM_QUEUE_DEFINE(pool, struct buffer *)

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

static void *user(void *arg)
{
    struct buffer *b = NULL;
    for (int i = 0; i < 100; i++) {
        must(pool_get(
            arg, &b)); /* an item is got by one only, and what was written before its put seen */
        b->used++;
        must(pool_put(arg, b));
    }
    return NULL;
}

int main(void)
{
    static struct buffer buffers[BUFFERS] = {{.name = 'a'}, {.name = 'b'}, {.name = 'c'}};
    struct buffer *b = NULL;
    thrum_queue_t *pool = NULL;
    must(pool_create(&pool, THRUM_LIFO, BUFFERS));
    for (int i = 0; i < BUFFERS; i++)
        must(pool_put(pool, &buffers[i]));

    must(pool_get(pool, &b));
    printf("the newest: %c\n", b->name);
    must(pool_put(pool, b));
    must(pool_get(pool, &b));
    printf("given back and got again: %c\n", b->name);
    must(pool_put(pool, b));

    pthread_t users[USERS];
    for (int i = 0; i < USERS; i++)
        must(pthread_create(&users[i], NULL, user, pool));
    for (int i = 0; i < USERS; i++)
        must(pthread_join(users[i], NULL));
    printf("used %d times, %zu are back\n", buffers[0].used + buffers[1].used + buffers[2].used,
           thrum_queue_size(pool));

    for (int i = 0; i < BUFFERS; i++)
        must(pool_get(pool, &b));
    const int err = pool_get_until(pool, &b, thrum_after(THRUM_MS(10)));
    printf("a fourth: %s\n", thrum_strerror(err));
    thrum_queue_destroy(pool);
    return 0;
}
