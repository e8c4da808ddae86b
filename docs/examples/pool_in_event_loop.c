/*
 * A pool beside an event loop: the loop must not block, so it submits what takes long to a pool, and the
 * answers come back through a queue whose descriptor the loop polls like any other. This loop is poll(2);
 * libuv, libev or GLib take the descriptor as well (see the guide, pools.md).
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <thrum/thrum.h>

#define REQUESTS 20

struct request {
    int number;
    int primes; /* the answer: how many there are below number */
};

THRUM_QUEUE_DEFINE(answers, struct request *)

static thrum_executor_t *pool;
static thrum_queue_t *answered;

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

static int count_primes(void *arg, void **result)
{
    struct request *r = arg;
    for (int n = 2; n < r->number; n++) {
        int divisor = 2;
        while (divisor * divisor <= n && n % divisor != 0)
            divisor++;
        r->primes += divisor * divisor > n;
    }
    *result = r;
    return 0;
}

/* In the worker that has done it: tells the loop. There is room for every request. */
static void done(thrum_future_t *f, void *arg)
{
    void *request = NULL;
    (void)arg;
    must(thrum_future_result(f, &request));
    must(answers_tryput(answered, request));
}

/* In the loop: a line from a client. */
static void on_request(int fd, struct request *r)
{
    thrum_future_t *f = NULL;
    must(read(fd, &r->number, sizeof r->number) == sizeof r->number ? 0 : EIO);
    must(thrum_executor_submit(pool, count_primes, r, &f));
    must(thrum_future_add_done_callback(f, done, NULL));
    thrum_future_release(f);
}

/* In the loop: takes all that is there, and does not wait. */
static int on_answers(struct request *requests)
{
    struct request *r = NULL;
    int count = 0;
    int err = 0;
    while ((err = answers_tryget(answered, &r)) == 0)
        count += r >= requests;
    must(err == EAGAIN ? 0 : err);
    return count;
}

int main(void)
{
    struct request requests[REQUESTS] = {{0, 0}};
    int client[2];
    int fd = -1;
    int received = 0;
    int sent_back = 0;
    must(thrum_thread_pool_create(&pool, NULL));
    must(answers_create(&answered, THRUM_FIFO, REQUESTS));
    must(thrum_queue_fd(answered, &fd)); /* readable while there are answers */
    must(pipe(client) == 0 ? 0 : errno);
    for (int n = 0; n < REQUESTS; n++)
        must(write(client[1], &(int){n * 100}, sizeof n) == sizeof n ? 0 : errno);

    struct pollfd polled[] = {{.fd = client[0], .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    while (sent_back < REQUESTS) {
        must(poll(polled, 2, -1) > 0 ? 0 : errno);
        if (polled[0].revents != 0)
            on_request(client[0], &requests[received++]);
        if (polled[1].revents != 0)
            sent_back += on_answers(requests);
    }
    thrum_executor_destroy(pool);
    printf("received %d, sent back %d\n", received, sent_back);
    printf("primes below %d: %d\n", requests[REQUESTS - 1].number, requests[REQUESTS - 1].primes);
    close(client[0]);
    close(client[1]);
    thrum_queue_destroy(answered);
    return 0;
}
