/*
 * A queue and somebody else's event loop, here poll(2): the queue's descriptor is readable while there
 * are items, so the loop can wait for the queue and for a pipe at once.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <thrum/diagnosis.h>
#include <thrum/queue.h>

#define ITEMS 1000

THRUM_QUEUE_DEFINE(numbers, int)

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

static void *produce(void *arg)
{
    for (int i = 1; i <= ITEMS; i++)
        must(numbers_put(arg, i));
    must(thrum_queue_close(arg));
    return NULL;
}

/* Takes all that is there, and does not wait. False: closed and drained. */
static bool drain(thrum_queue_t *q, long *sum)
{
    int number = 0;
    int err = 0;
    while ((err = numbers_tryget(q, &number)) == 0)
        *sum += number;
    if (err != EAGAIN && err != ESHUTDOWN)
        must(err);
    return err == EAGAIN;
}

int main(void)
{
    thrum_queue_t *q = NULL;
    int fd = -1;
    int ends[2] = {-1, -1};
    long sum = 0;
    must(numbers_create(&q, THRUM_FIFO, 64));
    must(thrum_queue_fd(q, &fd)); /* poll it; never read, write or close it */
    must(pipe(ends) == 0 ? 0 : errno);

    struct pollfd polled[] = {{.fd = fd, .events = POLLIN}, {.fd = ends[0], .events = POLLIN}};
    printf("empty: %d ready\n", poll(polled, 2, 0));
    must(numbers_put(q, 0));
    printf("an item: %d ready\n", poll(polled, 2, 0));
    drain(q, &sum);
    printf("drained: %d ready\n", poll(polled, 2, 0));
    must(write(ends[1], "x", 1) == 1 ? 0 : errno);
    printf("the pipe: %d ready\n", poll(polled, 2, 0));

    pthread_t producer;
    bool open = true;
    must(pthread_create(&producer, NULL, produce, q));
    while (open) {
        must(poll(polled, 1, -1) >= 0 ? 0 : errno);
        open = drain(q, &sum);
    }
    printf("sum of what was got: %ld\n", sum);
    printf("closed: %d ready\n", poll(polled, 1, 0));
    must(pthread_join(producer, NULL));
    close(ends[0]);
    close(ends[1]);
    thrum_queue_destroy(q); /* and its descriptor */
    return 0;
}
