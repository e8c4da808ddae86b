/*
 * A foreign event loop, libuv's, as the consumer of a queue.
 */
#ifdef TESTS_LIBUV
#include <uv.h>
#endif

#include "queue/shapes.h"

TestSuite(queue_uv, .timeout = 60);

#ifdef TESTS_LIBUV

enum { PRODUCERS = 4, ITEMS = 100000 };

struct consumer {
    thrum_queue_t *q;
    uv_loop_t loop;
    uv_poll_t poll;
    uint8_t got[ITEMS];
    uint32_t count;
    uint32_t next_producer;
    uint32_t producing;
    int error;
};

static void get_all(uv_poll_t *handle, int status, int events)
{
    struct consumer *c = handle->data;
    uint32_t item = 0;
    int err = status != 0 || (events & UV_READABLE) == 0 ? EPROTO : 0;
    while (err == 0) {
        err = thrum_queue_tryget(c->q, &item);
        if (err == 0 && item < ITEMS)
            c->got[item]++;
        c->count += err == 0;
    }
    if (err == EAGAIN)
        return;
    c->error = err;
    uv_poll_stop(handle);
}

/* The last one closes it. */
static int produce(void *arg)
{
    struct consumer *c = arg;
    const uint32_t me = thi_fetch_add_relaxed(&c->next_producer, 1u);
    int err = 0;
    for (uint32_t i = me; i < ITEMS && err == 0; i += PRODUCERS) {
        err = thrum_queue_put(c->q, &i);
        if (i % 128 == me)
            sched_yield();
    }
    if (thi_fetch_sub_acq_rel(&c->producing, 1u) == 1)
        thrum_queue_close(c->q);
    return err;
}

static void consumer_begin(struct consumer *c, thrum_order_t order, size_t capacity)
{
    int fd = -1;
    memset(c, 0, sizeof *c);
    c->q = queue_of_numbers(order, capacity);
    c->producing = PRODUCERS;
    EXPECT_CALL(0, thrum_queue_fd(c->q, &fd));
    cr_assert_eq(uv_loop_init(&c->loop), 0);
    cr_assert_eq(uv_poll_init(&c->loop, &c->poll, fd), 0);
    c->poll.data = c;
    cr_assert_eq(uv_poll_start(&c->poll, UV_READABLE, get_all), 0);
}

static void consumer_end(struct consumer *c)
{
    uv_close((uv_handle_t *)&c->poll, NULL);
    uv_run(&c->loop, UV_RUN_DEFAULT);
    cr_expect_eq(uv_loop_close(&c->loop), 0);
    thrum_queue_destroy(c->q);
}

static void consume_all(thrum_order_t order, size_t capacity)
{
    static struct consumer c;
    struct caller producers[PRODUCERS];
    unsigned wrong = 0;
    consumer_begin(&c, order, capacity);
    for (int i = 0; i < PRODUCERS; i++)
        caller_start(&producers[i], produce, &c);
    uv_run(&c.loop, UV_RUN_DEFAULT); /* a lost edge is a hang */
    for (int i = 0; i < PRODUCERS; i++)
        cr_expect_eq(caller_join(&producers[i]), 0);
    for (int i = 0; i < ITEMS; i++)
        wrong += c.got[i] != 1;
    cr_expect_eq(c.error, ESHUTDOWN);
    cr_expect_eq(c.count, (uint32_t)ITEMS);
    cr_expect_eq(wrong, 0u);
    consumer_end(&c);
}

Test(queue_uv, a_loop_gets_everything_from_a_small_fifo)
{
    consume_all(THRUM_FIFO, 1);
}

Test(queue_uv, a_loop_gets_everything_from_a_fifo)
{
    consume_all(THRUM_FIFO, 64);
}

Test(queue_uv, a_loop_gets_everything_from_an_unbounded_fifo)
{
    consume_all(THRUM_FIFO, 0);
}

Test(queue_uv, a_loop_gets_everything_from_a_lifo)
{
    consume_all(THRUM_LIFO, 16);
}

Test(queue_uv, a_loop_gets_everything_from_a_priority_queue)
{
    consume_all(THRUM_PRIORITY, 16);
}

#else

Test(queue_uv, a_loop_gets_everything)
{
    cr_skip_test("built without libuv");
}

#endif
