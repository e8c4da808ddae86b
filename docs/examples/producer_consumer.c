/*
 * Producers and consumers: two that make numbers, two that add them up, and a queue with room for 16
 * between them. Who is too fast waits. The end is told by closing the queue: consumers drain it and are
 * then told ESHUTDOWN, so nobody has to put a last item for each of them.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/diagnosis.h>
#include <thrum/queue.h>

#define ITEMS 10000 /* of each producer */

/* numbers_create, numbers_put, numbers_get, ...: a queue of int, without casts. */
THRUM_QUEUE_DEFINE(numbers, int)

struct consumer {
    thrum_queue_t *from;
    long sum;
    int end; /* why it ended */
};

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
        must(numbers_put(arg, i)); /* waits while the queue is full */
    return NULL;
}

static void *consume(void *arg)
{
    struct consumer *c = arg;
    int number = 0;
    while ((c->end = numbers_get(c->from, &number)) == 0)
        c->sum += number;
    return NULL;
}

int main(void)
{
    thrum_queue_t *q = NULL;
    must(numbers_create(&q, THRUM_FIFO, 16));

    pthread_t producers[2], consumers[2];
    struct consumer state[2] = {{q, 0, 0}, {q, 0, 0}};
    for (int i = 0; i < 2; i++) {
        must(pthread_create(&consumers[i], NULL, consume, &state[i]));
        must(pthread_create(&producers[i], NULL, produce, q));
    }
    for (int i = 0; i < 2; i++)
        must(pthread_join(producers[i], NULL));

    must(thrum_queue_close(q)); /* no more puts; what is there is still got */
    printf("put into a closed queue: %s\n", thrum_strerror(numbers_put(q, 0)));
    for (int i = 0; i < 2; i++) {
        must(pthread_join(consumers[i], NULL));
        printf("a consumer ended: %s\n", thrum_strerror(state[i].end));
    }
    printf("sum of what was got: %ld\n", state[0].sum + state[1].sum);
    thrum_queue_destroy(q);
    return 0;
}
