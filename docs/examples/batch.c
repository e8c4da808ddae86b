/*
 * Batches: many items put and got by one call. What finds room together stays together, and what a
 * deadline cut short says how far it came.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/diagnosis.h>
#include <thrum/queue.h>
#include <thrum/time.h>

#define LINES 1000

THRUM_QUEUE_DEFINE(lines, int)

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

/* Writes whatever there is, up to 64 lines, with one call. */
static void *writer(void *arg)
{
    int some[64];
    size_t n = 0;
    long written = 0;
    int last = 0;
    int in_order = 1;
    while (lines_get_many(arg, some, 64, &n, THRUM_FOREVER) == 0) /* n is at least 1 */
        for (size_t i = 0; i < n; i++) {
            in_order &= some[i] == last + 1;
            last = some[i];
            written++;
        }
    printf("%ld lines, in order: %s\n", written, in_order ? "yes" : "no");
    return NULL;
}

int main(void)
{
    static int numbers[LINES];
    for (int i = 0; i < LINES; i++)
        numbers[i] = i + 1;
    size_t done = 0;
    thrum_queue_t *q = NULL;
    must(lines_create(&q, THRUM_FIFO, 100));

    /* More than there is room for, and nobody takes any: the first ones are in. */
    int err = lines_put_many(q, numbers, LINES, &done, thrum_after(THRUM_MS(10)));
    printf("%zu of %d put: %s\n", done, LINES, thrum_strerror(err));

    /* The rest goes in as there is room. */
    pthread_t thread;
    must(pthread_create(&thread, NULL, writer, q));
    err = lines_put_many(q, numbers + done, LINES - done, &done, THRUM_FOREVER);
    printf("%zu more put: %s\n", done, thrum_strerror(err));
    must(thrum_queue_close(q));
    must(pthread_join(thread, NULL));
    thrum_queue_destroy(q);
    return 0;
}
