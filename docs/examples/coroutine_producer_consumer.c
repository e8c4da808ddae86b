/*
 * A producer and a consumer without a queue, a thread or a loop: the consumer is a coroutine that is sent
 * its items. Each yield hands back what it has made of them so far and returns the next one, so both sides
 * are written as loops that read from top to bottom. NULL is the end.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/coroutine.h>
#include <thrum/diagnosis.h>

struct mean {
    long sum;
    long count;
};

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

static int consume(void *arg, void **result)
{
    struct mean *mean = arg;
    const int *item = NULL;
    while ((item = thrum_coro_yield(mean)) != NULL) { /* gives the mean, gets an item */
        mean->sum += *item;
        mean->count++;
    }
    *result = mean;
    return 0;
}

static void produce(thrum_coro_t *consumer, int from, int to)
{
    for (int item = from; item <= to; item++) {
        void *so_far = NULL;
        must(thrum_coro_resume(consumer, &item, &so_far));
        const struct mean *mean = so_far;
        printf("sent %d: the mean is %.1f\n", item, (double)mean->sum / (double)mean->count);
    }
}

int main(void)
{
    struct mean mean = {0, 0};
    thrum_coro_t *consumer = NULL;
    void *result = NULL;
    must(thrum_coro_create(&consumer, consume, &mean, NULL));
    must(
        thrum_coro_resume(consumer, NULL, NULL)); /* up to its first yield: nobody gets this NULL */
    produce(consumer, 1, 5);

    const int err = thrum_coro_resume(consumer, NULL, NULL); /* the end */
    must(err == ENODATA ? 0 : EINVAL);
    must(thrum_coro_result(consumer, &result));
    printf("%ld items, the sum is %ld\n", ((struct mean *)result)->count,
           ((struct mean *)result)->sum);
    printf("once more: %s\n", thrum_strerror(thrum_coro_resume(consumer, NULL, NULL)));
    thrum_coro_release(consumer);
    return 0;
}
