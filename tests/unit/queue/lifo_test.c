#include "queue/order_conformance.h"

TestSuite(queue_lifo, .timeout = 60);

static uint32_t in_turn(uint32_t i, uint32_t n)
{
    (void)n;
    return i;
}

static uint32_t backwards(uint32_t i, uint32_t n)
{
    return n - 1 - i;
}

static const struct order_kind kind = {THRUM_LIFO, in_turn, backwards};

ORDER_CONFORMANCE(queue_lifo, &kind)

/* Up and down, never quite to the bottom. */
Test(queue_lifo, the_newest_leaves_first)
{
    enum { DEPTH = 50 };
    uint32_t height = 0;
    uint32_t number = 0;
    thrum_queue_t *q = queue_of_numbers(THRUM_LIFO, DEPTH);
    for (uint32_t step = 0; step < 20000; step++) {
        if (height < DEPTH && (step * 2654435761u >> 16) % 3 != 0) {
            fill(q, height++, 1);
        } else if (height > 0) {
            cr_assert_eq(thrum_queue_tryget(q, &number), 0);
            cr_assert_eq(number, --height);
        }
    }
    cr_expect_eq(thrum_queue_size(q), height);
    thrum_queue_destroy(q);
}

Test(queue_lifo, a_batch_goes_in_item_by_item_and_comes_out_newest_first)
{
    const uint32_t in[] = {1, 2, 3, 4, 5};
    uint32_t out[5] = {0};
    size_t done = 0;
    thrum_queue_t *q = queue_of_numbers(THRUM_LIFO, 8);
    EXPECT_CALL(0, thrum_queue_put_many(q, in, 5, &done, THRUM_FOREVER));
    EXPECT_CALL(0, thrum_queue_get_many(q, out, 5, &done, THRUM_FOREVER));
    cr_expect_eq(done, 5u);
    for (uint32_t i = 0; i < 5; i++)
        cr_expect_eq(out[i], 5 - i);
    thrum_queue_destroy(q);
}
