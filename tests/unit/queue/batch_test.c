#include "queue/shapes.h"

TestSuite(queue_batch, .timeout = 60);

enum { BATCH = 5 };

static const uint32_t batch[BATCH] = {1, 2, 3, 4, 5};

static thrum_queue_t *fifo(size_t capacity)
{
    return queue_of_numbers(THRUM_FIFO, capacity);
}

static void expect_next(thrum_queue_t *q, uint32_t first, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t number = 0;
        EXPECT_CALL(0, thrum_queue_tryget(q, &number));
        cr_expect_eq(number, first + i);
    }
}

/* --- put_many --------------------------------------------------------------------------------------- */

Test(queue_batch, all_are_put_where_there_is_room)
{
    for (EACH_SHAPE(shape)) {
        size_t done = 99;
        thrum_queue_t *q = queue_of_numbers(shape->order, shape->capacity);
        EXPECT_CALL(0, thrum_queue_put_many(q, batch, BOUND, &done, PAST));
        cr_expect_eq(done, (size_t)BOUND);
        cr_expect_eq(thrum_queue_size(q), (size_t)BOUND);
        cr_expect_eq(thrum_queue_unfinished(q), (size_t)BOUND);
        thrum_queue_destroy(q);
    }
}

Test(queue_batch, none_is_nothing_in_every_state)
{
    for (EACH_SHAPE(shape)) {
        size_t done = 99;
        uint32_t none = UNTOUCHED;
        thrum_queue_t *q = queue_of_numbers(shape->order, shape->capacity);
        for (int state = 0; state < 4; state++) {
            EXPECT_CALL(0, thrum_queue_put_many(q, batch, 0, &done, THRUM_FOREVER));
            cr_expect_eq(done, 0u);
            done = 99;
            EXPECT_CALL(0, thrum_queue_get_many(q, &none, 0, &done, THRUM_FOREVER));
            cr_expect_eq(done, 0u);
            cr_expect_eq(none, UNTOUCHED);
            if (state == 0) /* empty, full, closed, aborted */
                fill(q, 0, BOUND);
            else
                EXPECT_CALL(0, state == 1 ? thrum_queue_close(q) : thrum_queue_abort(q));
        }
        thrum_queue_destroy(q);
    }
}

Test(queue_batch, those_that_find_room_before_the_deadline_are_put)
{
    for (EACH_BOUNDED_SHAPE(shape)) {
        size_t done = 99;
        thrum_queue_t *q = queue_of_numbers(shape->order, 3);
        EXPECT_CALL(ETIMEDOUT, thrum_queue_put_many(q, batch, BATCH, &done, PAST));
        cr_expect_eq(done, 3u);
        EXPECT_CALL(ETIMEDOUT, thrum_queue_put_many(q, batch, BATCH, &done, SOON));
        cr_expect_eq(done, 0u);
        cr_expect_eq(thrum_queue_size(q), 3u);
        cr_expect_eq(thrum_queue_unfinished(q), 3u);
        for (uint32_t i = 0; i < 3; i++) {
            uint32_t number = 0;
            EXPECT_CALL(0, thrum_queue_tryget(q, &number));
            cr_expect_eq(number, shape->order == THRUM_LIFO ? 3 - i : 1 + i, "always the first");
        }
        thrum_queue_destroy(q);
    }
}

Test(queue_batch, more_than_the_capacity_go_in_as_there_is_room)
{
    for (EACH_BOUNDED_SHAPE(shape)) {
        struct call c;
        uint32_t sum = 0;
        thrum_queue_t *q = queue_of_numbers(shape->order, shape->capacity);
        call_begin(&c, q);
        for (uint32_t i = 0; i < CALL_ITEMS; i++)
            c.items[i] = i + 1;
        call_asleep(&c, call_put_many);
        cr_expect_eq(thrum_queue_size(q), (size_t)BOUND);
        for (uint32_t i = 0; i < CALL_ITEMS; i++) {
            uint32_t number = 0;
            EXPECT_CALL(0, thrum_queue_get(q, &number));
            sum += number;
        }
        cr_expect_eq(call_join_thread(&c), 0);
        cr_expect_eq(c.done, (size_t)CALL_ITEMS);
        cr_expect_eq(sum, CALL_ITEMS * (CALL_ITEMS + 1) / 2, "each once");
        cr_expect(thrum_queue_empty(q));
        thrum_queue_destroy(q);
    }
}

static void end_in_the_middle(int (*end)(thrum_queue_t *), const struct shape *shape)
{
    struct call c;
    uint32_t number = 0;
    thrum_queue_t *q = queue_of_numbers(shape->order, shape->capacity);
    call_begin(&c, q);
    call_asleep(&c, call_put_many);
    EXPECT_CALL(0, thrum_queue_get(q, &number));
    while (thrum_queue_size(q) != BOUND)
        sched_yield();
    await_asleep(&c.caller);
    EXPECT_CALL(0, end(q));
    cr_expect_eq(call_join_thread(&c), ESHUTDOWN);
    cr_expect_eq(c.done, (size_t)BOUND + 1);
    thrum_queue_destroy(q);
}

Test(queue_batch, a_queue_that_ends_in_the_middle_keeps_what_was_put)
{
    for (EACH_BOUNDED_SHAPE(shape)) {
        end_in_the_middle(thrum_queue_close, shape);
        end_in_the_middle(thrum_queue_abort, shape);
    }
}

Test(queue_batch, a_put_that_is_cancelled_in_the_middle_says_how_many)
{
    for (EACH_BOUNDED_SHAPE(shape)) {
        struct call c;
        thrum_queue_t *q = queue_of_numbers(shape->order, shape->capacity);
        call_begin(&c, q);
        call_asleep(&c, call_put_many);
        caller_cancel(&c.caller);
        cr_expect_eq(call_join_thread(&c), ECANCELED);
        cr_expect_eq(c.done, (size_t)BOUND);
        cr_expect_eq(thrum_queue_size(q), (size_t)BOUND);
        thrum_queue_destroy(q);
    }
}

/* --- get_many --------------------------------------------------------------------------------------- */

Test(queue_batch, what_is_there_is_got)
{
    uint32_t out[BATCH + 1] = {0};
    size_t done = 99;
    thrum_queue_t *q = fifo(8);
    out[BATCH] = UNTOUCHED;
    EXPECT_CALL(ETIMEDOUT, thrum_queue_get_many(q, out, BATCH, &done, PAST));
    cr_expect_eq(done, 0u);
    EXPECT_CALL(ETIMEDOUT, thrum_queue_get_many(q, out, BATCH, &done, SOON));
    fill(q, 1, 3);
    EXPECT_CALL(0, thrum_queue_get_many(q, out, BATCH, &done, THRUM_FOREVER));
    cr_expect_eq(done, 3u);
    fill(q, 4, 7);
    EXPECT_CALL(0, thrum_queue_get_many(q, out, BATCH, &done, PAST));
    cr_expect_eq(done, (size_t)BATCH);
    for (uint32_t i = 0; i < BATCH; i++)
        cr_expect_eq(out[i], 4 + i);
    cr_expect_eq(out[BATCH], UNTOUCHED);
    expect_next(q, 4 + BATCH, 2);
    thrum_queue_destroy(q);
}

Test(queue_batch, a_waiting_get_takes_the_first_item_that_comes)
{
    for (EACH_SHAPE(shape)) {
        struct call c;
        thrum_queue_t *q = queue_of_numbers(shape->order, shape->capacity);
        call_begin(&c, q);
        call_asleep(&c, call_get_many);
        fill(q, 7, 1);
        cr_expect_eq(call_join_thread(&c), 0);
        cr_expect_eq(c.done, 1u);
        cr_expect_eq(c.items[0], 7u);
        cr_expect_eq(c.items[1], UNTOUCHED);
        thrum_queue_destroy(q);
    }
}

Test(queue_batch, a_closed_queue_is_drained)
{
    uint32_t out[BATCH] = {0};
    size_t done = 99;
    thrum_queue_t *q = fifo(8);
    EXPECT_CALL(0, thrum_queue_put_many(q, batch, BATCH, &done, PAST));
    EXPECT_CALL(0, thrum_queue_close(q));
    EXPECT_CALL(0, thrum_queue_get_many(q, out, 3, &done, THRUM_FOREVER));
    cr_expect_eq(done, 3u);
    EXPECT_CALL(0, thrum_queue_get_many(q, out, 3, &done, THRUM_FOREVER));
    cr_expect_eq(done, 2u);
    EXPECT_CALL(ESHUTDOWN, thrum_queue_get_many(q, out, 3, &done, THRUM_FOREVER));
    cr_expect_eq(done, 0u);
    EXPECT_CALL(ESHUTDOWN, thrum_queue_put_many(q, batch, 3, &done, THRUM_FOREVER));
    cr_expect_eq(done, 0u);
    thrum_queue_destroy(q);
}

/* A get of many makes room for many. */
Test(queue_batch, a_batch_that_leaves_lets_that_many_putters_go)
{
    enum { PUTTERS = 4 };
    struct call c[PUTTERS];
    uint32_t out[PUTTERS];
    size_t done = 0;
    thrum_queue_t *q = fifo(PUTTERS);
    fill(q, 0, PUTTERS);
    for (unsigned i = 0; i < PUTTERS; i++) {
        call_begin(&c[i], q);
        call_asleep(&c[i], call_put);
    }
    EXPECT_CALL(0, thrum_queue_get_many(q, out, PUTTERS, &done, THRUM_FOREVER));
    cr_expect_eq(done, (size_t)PUTTERS);
    for (unsigned i = 0; i < PUTTERS; i++)
        cr_expect_eq(call_join_thread(&c[i]), 0);
    cr_expect(thrum_queue_full(q));
    thrum_queue_destroy(q);
}

Test(queue_batch, a_batch_that_comes_lets_that_many_getters_go)
{
    for (EACH_SHAPE(shape)) {
        enum { GETTERS = 4 };
        struct call c[GETTERS];
        size_t done = 0;
        thrum_queue_t *q =
            queue_of_numbers(shape->order, shape->capacity == 0 ? 0 : (size_t)GETTERS);
        for (unsigned i = 0; i < GETTERS; i++) {
            call_begin(&c[i], q);
            call_asleep(&c[i], call_get);
        }
        EXPECT_CALL(0, thrum_queue_put_many(q, batch, GETTERS, &done, THRUM_FOREVER));
        for (unsigned i = 0; i < GETTERS; i++)
            cr_expect_eq(call_join_thread(&c[i]), 0);
        cr_expect(thrum_queue_empty(q));
        thrum_queue_destroy(q);
    }
}

Test(queue_batch, nobody_needs_to_ask_how_many)
{
    uint32_t out[BATCH] = {0};
    thrum_queue_t *q = fifo(8);
    EXPECT_CALL(0, thrum_queue_put_many(q, batch, BATCH, NULL, THRUM_FOREVER));
    EXPECT_CALL(0, thrum_queue_get_many(q, out, BATCH, NULL, THRUM_FOREVER));
    cr_expect_eq(memcmp(out, batch, sizeof out), 0);
    thrum_queue_destroy(q);
}

/* --- contiguity -------------------------------------------------------------------------------------- */

enum { AUTHORS = 3, PAGES = 16, BOOKS = 1500 };

struct library {
    thrum_queue_t *q;
    uint32_t next_author;
};

/* There is always room for a whole book, in a row: the queue has places for all. */
static int write_books(void *arg)
{
    struct library *l = arg;
    const uint32_t me = thi_fetch_add_relaxed(&l->next_author, 1u);
    for (uint32_t book = 0; book < BOOKS; book++) {
        uint32_t pages[PAGES];
        size_t done = 0;
        for (uint32_t page = 0; page < PAGES; page++)
            pages[page] = (book * AUTHORS + me) * PAGES + page;
        if (thrum_queue_put_many(l->q, pages, PAGES, &done, THRUM_FOREVER) != 0 || done != PAGES)
            return EPROTO;
    }
    return 0;
}

Test(queue_batch, items_that_find_room_together_stay_together)
{
    struct library l = {fifo((size_t)AUTHORS * BOOKS * PAGES), 0};
    struct caller authors[AUTHORS];
    unsigned torn = 0;
    for (unsigned i = 0; i < AUTHORS; i++)
        caller_start(&authors[i], write_books, &l);
    for (uint32_t book = 0; book < AUTHORS * BOOKS; book++) {
        uint32_t first = 0;
        EXPECT_CALL(0, thrum_queue_get(l.q, &first));
        torn += first % PAGES != 0;
        for (uint32_t page = 1; page < PAGES; page++) {
            uint32_t number = 0;
            cr_assert_eq(thrum_queue_get(l.q, &number), 0);
            torn += number != first + page;
        }
    }
    for (unsigned i = 0; i < AUTHORS; i++)
        cr_expect_eq(caller_join(&authors[i]), 0);
    cr_expect_eq(torn, 0u, "%u pages are not where they belong", torn);
    thrum_queue_destroy(l.q);
}
