/*
 * A pool in a libuv program: what takes long is submitted to the pool, and the answers come back through
 * a queue whose descriptor the loop polls. Built where pkg-config finds libuv.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

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

/* In the loop: a request comes in every turn, until all have. */
static void on_request(uv_idle_t *client)
{
    struct request *r = client->data;
    thrum_future_t *f = NULL;
    must(thrum_executor_submit(pool, count_primes, r, &f));
    must(thrum_future_add_done_callback(f, done, NULL));
    thrum_future_release(f);
    client->data = r + 1;
    if (r->number == (REQUESTS - 1) * 100)
        uv_close((uv_handle_t *)client, NULL);
}

/* In the loop: takes all that is there, and does not wait. */
static void on_answers(uv_poll_t *handle, int status, int events)
{
    int *sent_back = handle->data;
    struct request *r = NULL;
    int err = 0;
    (void)status, (void)events;
    while ((err = answers_tryget(answered, &r)) == 0)
        ++*sent_back;
    must(err == EAGAIN ? 0 : err);
    if (*sent_back == REQUESTS)
        uv_close((uv_handle_t *)handle, NULL); /* the loop has nothing left to wait for */
}

int main(void)
{
    struct request requests[REQUESTS] = {{0, 0}};
    int sent_back = 0;
    int fd = -1;
    uv_loop_t loop;
    uv_idle_t client = {.data = requests};
    uv_poll_t handle = {.data = &sent_back};
    for (int i = 0; i < REQUESTS; i++)
        requests[i].number = i * 100;

    must(thrum_thread_pool_create(&pool, NULL));
    must(answers_create(&answered, THRUM_FIFO, REQUESTS));
    must(thrum_queue_fd(answered, &fd)); /* readable while there are answers */
    must(-uv_loop_init(&loop));
    must(-uv_idle_init(&loop, &client));
    must(-uv_idle_start(&client, on_request));
    must(-uv_poll_init(&loop, &handle, fd));
    must(-uv_poll_start(&handle, UV_READABLE, on_answers));
    must(uv_run(&loop, UV_RUN_DEFAULT));
    must(-uv_loop_close(&loop));

    thrum_executor_destroy(pool);
    printf("sent back %d\n", sent_back);
    printf("primes below %d: %d\n", requests[REQUESTS - 1].number, requests[REQUESTS - 1].primes);
    thrum_queue_destroy(answered);
    return 0;
}
