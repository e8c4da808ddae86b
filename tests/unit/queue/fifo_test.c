#include "queue/order_conformance.h"

TestSuite(queue_fifo, .timeout = 60);

static uint32_t in_turn(uint32_t i, uint32_t n)
{
    (void)n;
    return i;
}

static const struct order_kind kind = {THRUM_FIFO, in_turn, in_turn};

ORDER_CONFORMANCE(queue_fifo, &kind)

/* Never empty, never full: a stream through every place. */
static void stream_through(uint32_t capacity, uint32_t resident)
{
    thrum_queue_t *q = queue_of_numbers(THRUM_FIFO, capacity);
    uint32_t number = 0;
    fill(q, 0, resident);
    for (uint32_t i = resident; i < resident + 20 * (capacity + 1); i++) {
        cr_assert_eq(thrum_queue_tryput(q, &i), 0);
        cr_assert_eq(thrum_queue_tryget(q, &number), 0);
        cr_assert_eq(number, i - resident);
        cr_assert_eq(thrum_queue_size(q), resident);
    }
    thrum_queue_destroy(q);
}

Test(queue_fifo, a_stream_leaves_in_its_order)
{
    for (uint32_t capacity = 1; capacity <= 9; capacity++) {
        for (uint32_t resident = 0; resident < capacity; resident++)
            stream_through(capacity, resident);
    }
    stream_through(1000, 0);
    stream_through(1000, 999);
    stream_through(0, 0);
    stream_through(0, 1);
    stream_through(0, 50000);
}

/* Grows while it is drained. */
Test(queue_fifo, two_in_one_out)
{
    enum { ITEMS = 100000 };
    thrum_queue_t *q = queue_of_numbers(THRUM_FIFO, 0);
    uint32_t number = 0;
    for (uint32_t i = 0; i < ITEMS; i++) {
        fill(q, 2 * i, 2);
        cr_assert_eq(thrum_queue_tryget(q, &number), 0);
        cr_assert_eq(number, i);
    }
    for (uint32_t i = ITEMS; i < 2 * ITEMS; i++) {
        cr_assert_eq(thrum_queue_tryget(q, &number), 0);
        cr_assert_eq(number, i);
    }
    expect_empty(q);
    thrum_queue_destroy(q);
}

/* --- per producer ------------------------------------------------------------------------------------ */

enum { PRODUCERS = 3, CONSUMERS = 2, ITEMS_EACH = 20000 };

struct letter {
    uint32_t from;
    uint32_t number;
};

struct post {
    thrum_queue_t *q;
    uint32_t next_producer;
};

static int send_in_order(void *arg)
{
    struct post *p = arg;
    struct letter l = {thi_fetch_add_relaxed(&p->next_producer, 1u), 0};
    int err = 0;
    for (; l.number < ITEMS_EACH && err == 0; l.number++)
        err = thrum_queue_put(p->q, &l);
    return err;
}

/* What one strand gets of another's items, it gets in the order in which they were put. */
static int receive_in_order(void *arg)
{
    struct post *p = arg;
    uint32_t next[PRODUCERS] = {0};
    struct letter l;
    int err = 0;
    while ((err = thrum_queue_get(p->q, &l)) == 0) {
        if (l.from >= PRODUCERS || l.number < next[l.from])
            return EPROTO;
        next[l.from] = l.number + 1;
    }
    return err;
}

static void post_run(size_t capacity)
{
    struct post p = {queue_of(THRUM_FIFO, capacity, sizeof(struct letter)), 0};
    struct caller producers[PRODUCERS];
    struct caller consumers[CONSUMERS];
    for (int i = 0; i < CONSUMERS; i++)
        caller_start(&consumers[i], receive_in_order, &p);
    for (int i = 0; i < PRODUCERS; i++)
        caller_start(&producers[i], send_in_order, &p);
    for (int i = 0; i < PRODUCERS; i++)
        cr_expect_eq(caller_join(&producers[i]), 0);
    EXPECT_CALL(0, thrum_queue_close(p.q));
    for (int i = 0; i < CONSUMERS; i++)
        cr_expect_eq(caller_join(&consumers[i]), ESHUTDOWN);
    thrum_queue_destroy(p.q);
}

Test(queue_fifo, each_strands_items_leave_in_the_order_it_put_them)
{
    static const size_t capacities[] = {1, 2, 3, 7, 64, 0};
    for (size_t i = 0; i < sizeof capacities / sizeof *capacities; i++)
        post_run(capacities[i]);
}
