#ifndef TESTS_ORDER_CONFORMANCE_H
#define TESTS_ORDER_CONFORMANCE_H

/*
 * What queues of every order promise of what they hold: one body for FIFO, LIFO and PRIORITY. A test
 * file says in which order numbers go in and come out, and ORDER_CONFORMANCE(suite, &kind).
 */

#include <stdlib.h>

#include "queue/shapes.h"

struct order_kind {
    thrum_order_t order;
    uint32_t (*in)(uint32_t i, uint32_t n);  /* the number that is put as the i-th of n */
    uint32_t (*out)(uint32_t i, uint32_t n); /* the number that is got as the i-th of n */
};

static const uint32_t order_capacities[] = {1, 2, 3, 7, 8, 1000};
#define ORDER_CAPACITIES (sizeof order_capacities / sizeof *order_capacities)

static void order_put(const struct order_kind *kind, thrum_queue_t *q, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t number = kind->in(i, n);
        cr_assert_eq(thrum_queue_tryput(q, &number), 0, "item %u of %u", i, n);
        cr_assert_eq(thrum_queue_size(q), i + 1);
    }
}

static void order_get(const struct order_kind *kind, thrum_queue_t *q, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t number = UNTOUCHED;
        cr_assert_eq(thrum_queue_tryget(q, &number), 0, "item %u of %u", i, n);
        cr_assert_eq(number, kind->out(i, n), "item %u of %u: %u", i, n, number);
        cr_assert_eq(thrum_queue_size(q), n - i - 1);
    }
}

static void expect_empty(thrum_queue_t *q)
{
    uint32_t number = UNTOUCHED;
    EXPECT_CALL(EAGAIN, thrum_queue_tryget(q, &number));
    cr_expect_eq(number, UNTOUCHED);
    cr_expect(thrum_queue_empty(q));
    cr_expect_not(thrum_queue_full(q));
}

static void expect_full(thrum_queue_t *q)
{
    const uint32_t number = UNTOUCHED;
    for (int i = 0; i < 3; i++)
        EXPECT_CALL(EAGAIN, thrum_queue_tryput(q, &number));
    cr_expect(thrum_queue_full(q));
    cr_expect_not(thrum_queue_empty(q));
}

/* Filled and emptied, again and again. */
static void order_holds_exactly_its_capacity(const struct order_kind *kind)
{
    for (size_t i = 0; i < ORDER_CAPACITIES; i++) {
        const uint32_t capacity = order_capacities[i];
        thrum_queue_t *q = queue_of_numbers(kind->order, capacity);
        cr_expect_eq(thrum_queue_capacity(q), capacity);
        for (int round = 0; round < 20; round++) {
            expect_empty(q);
            order_put(kind, q, capacity);
            expect_full(q);
            order_get(kind, q, capacity);
        }
        expect_empty(q);
        thrum_queue_destroy(q);
    }
}

/* Bursts that begin at every place of whatever is inside, many times round. */
static void order_goes_round(const struct order_kind *kind)
{
    for (size_t i = 0; i < ORDER_CAPACITIES; i++) {
        const uint32_t capacity = order_capacities[i];
        const uint32_t step = capacity > 10 ? 333 : 1;
        thrum_queue_t *q = queue_of_numbers(kind->order, capacity);
        for (uint32_t burst = 1; burst <= capacity; burst += step) {
            for (uint32_t total = 0; total < 20 * capacity; total += burst) {
                order_put(kind, q, burst);
                order_get(kind, q, burst);
            }
        }
        expect_empty(q);
        thrum_queue_destroy(q);
    }
}

static void order_grows(const struct order_kind *kind)
{
    static const uint32_t counts[] = {100000, 1, 100, 100000, 5, 100000};
    thrum_queue_t *q = queue_of_numbers(kind->order, 0);
    cr_expect_eq(thrum_queue_capacity(q), 0u);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        order_put(kind, q, counts[i]);
        cr_expect_not(thrum_queue_full(q));
        order_get(kind, q, counts[i]);
        expect_empty(q);
    }
    cr_expect_eq(thrum_queue_unfinished(q), 300106u);
    thrum_queue_destroy(q);
}

/* What is in it when it is given up goes with it; the sanitizers look for what does not. */
static void order_goes_with_its_items(const struct order_kind *kind)
{
    for (uint32_t n = 1; n <= 100000; n *= 10) {
        thrum_queue_t *q = queue_of_numbers(kind->order, 0);
        order_put(kind, q, n);
        thrum_queue_destroy(q);
        q = queue_of_numbers(kind->order, 0);
        order_put(kind, q, n);
        EXPECT_CALL(0, thrum_queue_abort(q));
        cr_expect_eq(thrum_queue_size(q), 0u);
        cr_expect_eq(thrum_queue_unfinished(q), 0u);
        thrum_queue_destroy(q);
    }
}

/* --- bytes ---------------------------------------------------------------------------------------- */

#define GUARD 64u
#define GUARD_BYTE 0xA5

/* The first byte is `number`, for PRIORITY; the rest depends on that and on the place. */
static void paint(unsigned char *item, size_t size, unsigned number)
{
    for (size_t i = 0; i < size; i++)
        item[i] = (unsigned char)(number + i * 37 + i / 251);
}

static void put_painted(thrum_queue_t *q, size_t size, size_t offset, unsigned number)
{
    unsigned char *memory = malloc(offset + size); /* reading past its end is found */
    cr_assert_not_null(memory);
    paint(memory + offset, size, number);
    cr_assert_eq(thrum_queue_tryput(q, memory + offset), 0);
    memset(memory, 0, offset + size);
    free(memory);
}

static bool all_are(const unsigned char *from, size_t n, unsigned char byte)
{
    for (size_t i = 0; i < n; i++) {
        if (from[i] != byte)
            return false;
    }
    return true;
}

static void get_painted(thrum_queue_t *q, size_t size, size_t offset, unsigned number)
{
    unsigned char expected[4096];
    unsigned char memory[GUARD + 4096 + 8 + GUARD];
    unsigned char *item = memory + GUARD + offset;
    memset(memory, GUARD_BYTE, sizeof memory);
    paint(expected, size, number);
    cr_assert_eq(thrum_queue_tryget(q, item), 0);
    cr_assert_eq(memcmp(item, expected, size), 0, "%zu bytes, item %u", size, number);
    cr_assert(all_are(memory, GUARD + offset, GUARD_BYTE), "%zu bytes: in front", size);
    cr_assert(all_are(item + size, GUARD, GUARD_BYTE), "%zu bytes: behind", size);
}

static void order_keeps_bytes_in(const struct order_kind *kind, size_t size, uint32_t capacity)
{
    enum { ITEMS = 5 };
    thrum_queue_t *q = queue_of(kind->order, capacity, size);
    for (unsigned round = 0; round < 12; round++) {
        const size_t offset = round % 3; /* an item need not be aligned */
        for (uint32_t i = 0; i < ITEMS; i++)
            put_painted(q, size, offset, 1 + kind->in(i, ITEMS));
        for (uint32_t i = 0; i < ITEMS; i++)
            get_painted(q, size, offset, 1 + kind->out(i, ITEMS));
    }
    thrum_queue_destroy(q);
}

static void order_keeps_bytes(const struct order_kind *kind)
{
    static const size_t sizes[] = {1, 2, 3, 4, 5, 8, 12, 16, 17, 24, 64, 4096};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        order_keeps_bytes_in(kind, sizes[i], 5);
        order_keeps_bytes_in(kind, sizes[i], 7);
        order_keeps_bytes_in(kind, sizes[i], 0);
    }
}

/* --- many strands ----------------------------------------------------------------------------------- */

enum { CROWD = 3, CROWD_ITEMS = 20000 };

struct crowd {
    thrum_queue_t *q;
    uint32_t next_producer;
    uint8_t got[CROWD][CROWD_ITEMS]; /* how often; counted atomically */
};

static int crowd_produce(void *arg)
{
    struct crowd *c = arg;
    const uint32_t me = thi_fetch_add_relaxed(&c->next_producer, 1u);
    int err = 0;
    for (uint32_t i = 0; i < CROWD_ITEMS && err == 0; i++) {
        const uint32_t number = i * CROWD + me;
        err = thrum_queue_put(c->q, &number);
    }
    return err;
}

static int crowd_consume(void *arg)
{
    struct crowd *c = arg;
    uint32_t number = 0;
    int err = 0;
    while ((err = thrum_queue_get(c->q, &number)) == 0)
        __atomic_fetch_add(&c->got[number % CROWD][number / CROWD], 1, __ATOMIC_RELAXED);
    return err;
}

static void crowd_run(const struct order_kind *kind, size_t capacity)
{
    static struct crowd c;
    struct caller producers[CROWD];
    struct caller consumers[CROWD];
    unsigned wrong = 0;
    memset(&c, 0, sizeof c);
    c.q = queue_of_numbers(kind->order, capacity);
    for (int i = 0; i < CROWD; i++) {
        caller_start(&producers[i], crowd_produce, &c);
        caller_start(&consumers[i], crowd_consume, &c);
    }
    for (int i = 0; i < CROWD; i++)
        cr_expect_eq(caller_join(&producers[i]), 0);
    EXPECT_CALL(0, thrum_queue_close(c.q));
    for (int i = 0; i < CROWD; i++)
        cr_expect_eq(caller_join(&consumers[i]), ESHUTDOWN);
    for (int i = 0; i < CROWD * CROWD_ITEMS; i++)
        wrong += c.got[i % CROWD][i / CROWD] != 1;
    cr_expect_eq(wrong, 0u, "%u items were lost or got twice", wrong);
    thrum_queue_destroy(c.q);
}

static void order_loses_nothing(const struct order_kind *kind)
{
    crowd_run(kind, 1);
    crowd_run(kind, 3);
    crowd_run(kind, 64);
    crowd_run(kind, 0);
}

#define ORDER_CONFORMANCE(suite, kind)                                                             \
    Test(suite, it_holds_exactly_its_capacity)                                                     \
    {                                                                                              \
        order_holds_exactly_its_capacity(kind);                                                    \
    }                                                                                              \
    Test(suite, it_goes_round)                                                                     \
    {                                                                                              \
        order_goes_round(kind);                                                                    \
    }                                                                                              \
    Test(suite, an_unbounded_one_grows_and_drains_and_grows_again)                                 \
    {                                                                                              \
        order_grows(kind);                                                                         \
    }                                                                                              \
    Test(suite, its_items_go_with_it)                                                              \
    {                                                                                              \
        order_goes_with_its_items(kind);                                                           \
    }                                                                                              \
    Test(suite, every_byte_arrives_and_no_other_is_touched)                                        \
    {                                                                                              \
        order_keeps_bytes(kind);                                                                   \
    }                                                                                              \
    Test(suite, many_strands_lose_nothing_and_get_nothing_twice)                                   \
    {                                                                                              \
        order_loses_nothing(kind);                                                                 \
    }

#endif /* TESTS_ORDER_CONFORMANCE_H */
