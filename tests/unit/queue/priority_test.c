#include "queue/order_conformance.h"

TestSuite(queue_priority, .timeout = 60);

static uint32_t scrambled(uint32_t i, uint32_t n)
{
    return (uint32_t)((uint64_t)i * 7919 % n); /* n is no multiple of this prime */
}

static uint32_t sorted(uint32_t i, uint32_t n)
{
    (void)n;
    return i;
}

static uint32_t backwards(uint32_t i, uint32_t n)
{
    return n - 1 - i;
}

static const struct order_kind kind = {THRUM_PRIORITY, scrambled, sorted};

ORDER_CONFORMANCE(queue_priority, &kind)

Test(queue_priority, what_comes_in_order_and_in_reverse_leaves_in_order)
{
    const struct order_kind rising = {THRUM_PRIORITY, sorted, sorted};
    const struct order_kind falling = {THRUM_PRIORITY, backwards, sorted};
    order_holds_exactly_its_capacity(&rising);
    order_holds_exactly_its_capacity(&falling);
}

/* --- ties ------------------------------------------------------------------------------------------- */

struct job {
    uint32_t priority;
    uint32_t arrival;
};

/* Says how far apart they are: only the sign counts. */
static int by_priority(const void *a, const void *b, void *ctx)
{
    const struct job *x = a;
    const struct job *y = b;
    const int factor = *(const int *)ctx;
    return ((int)x->priority - (int)y->priority) * factor;
}

static thrum_queue_t *queue_of_jobs(size_t capacity, int *factor)
{
    thrum_queue_config_t config = THRUM_QUEUE_CONFIG_INIT;
    thrum_queue_t *q = NULL;
    config.order = THRUM_PRIORITY;
    config.item_size = sizeof(struct job);
    config.capacity = capacity;
    config.compare = by_priority;
    config.compare_ctx = factor;
    EXPECT_CALL(0, thrum_queue_create(&q, &config));
    return q;
}

/* Later arrivals of the same priority leave later; `factor` < 0: the highest priority first. */
static void drain_in_order(thrum_queue_t *q, uint32_t n, int factor)
{
    struct job last = {0, 0};
    for (uint32_t i = 0; i < n; i++) {
        struct job j = {0, 0};
        cr_assert_eq(thrum_queue_tryget(q, &j), 0);
        const int64_t step = (int64_t)j.priority - (int64_t)last.priority;
        cr_assert(i == 0 || step * factor > 0 || (step == 0 && j.arrival > last.arrival),
                  "%u: %u of %u after %u of %u", i, j.arrival, j.priority, last.arrival,
                  last.priority);
        last = j;
    }
}

static void ties(uint32_t n, uint32_t priorities, int factor, size_t capacity)
{
    thrum_queue_t *q = queue_of_jobs(capacity, &factor);
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < n; i++) {
            const struct job j = {(i * 2654435761u >> 8) % priorities, i};
            cr_assert_eq(thrum_queue_tryput(q, &j), 0);
        }
        drain_in_order(q, n, factor);
        cr_expect(thrum_queue_empty(q));
    }
    thrum_queue_destroy(q);
}

Test(queue_priority, equals_leave_in_order_of_arrival)
{
    for (uint32_t n = 1; n < 40; n++) {
        ties(n, 1, 1, n);
        ties(n, 3, 1, 0);
    }
    ties(5000, 1, 1, 5000);
    ties(5000, 2, 1000, 0);
    ties(5000, 10, -1, 5000);
    ties(5000, 4000, -3, 0);
}

/* Equals that come while others leave. */
Test(queue_priority, a_stream_of_equals_is_a_fifo)
{
    int factor = 1;
    struct job got = {0, 0};
    thrum_queue_t *q = queue_of_jobs(37, &factor);
    for (uint32_t i = 0; i < 20; i++)
        EXPECT_CALL(0, thrum_queue_put(q, &(struct job){5, i}));
    for (uint32_t i = 20; i < 20000; i++) {
        cr_assert_eq(thrum_queue_tryput(q, &(struct job){5, i}), 0);
        cr_assert_eq(thrum_queue_tryget(q, &got), 0);
        cr_assert_eq(got.arrival, i - 20);
        if (i % 7 == 0) { /* one that is more urgent passes them all */
            cr_assert_eq(thrum_queue_tryput(q, &(struct job){1, i}), 0);
            cr_assert_eq(thrum_queue_tryget(q, &got), 0);
            cr_assert_eq(got.priority, 1u);
        }
    }
    thrum_queue_destroy(q);
}

/* --- what compare sees ------------------------------------------------------------------------------- */

struct witness {
    size_t alignment;
    unsigned calls;
    unsigned misaligned;
};

static int look_at(const void *a, const void *b, void *ctx)
{
    struct witness *w = ctx;
    w->calls++;
    w->misaligned += (uintptr_t)a % w->alignment != 0;
    w->misaligned += (uintptr_t)b % w->alignment != 0;
    return by_number(a, b, NULL);
}

static size_t natural_alignment(size_t size)
{
    const size_t alignment = size & -size;
    return alignment < _Alignof(max_align_t) ? alignment : _Alignof(max_align_t);
}

static void compare_items_of(size_t size)
{
    _Alignas(max_align_t) unsigned char item[64] = {0};
    struct witness w = {.alignment = natural_alignment(size)};
    thrum_queue_config_t config = THRUM_QUEUE_CONFIG_INIT;
    thrum_queue_t *q = NULL;
    config.order = THRUM_PRIORITY;
    config.item_size = size;
    config.compare = look_at;
    config.compare_ctx = &w;
    EXPECT_CALL(0, thrum_queue_create(&q, &config));
    for (uint32_t i = 0; i < 100; i++) {
        const uint32_t number = scrambled(i, 100);
        memcpy(item, &number, sizeof number);
        cr_assert_eq(thrum_queue_tryput(q, item), 0);
    }
    for (uint32_t i = 0; i < 100; i++)
        cr_assert_eq(thrum_queue_tryget(q, item), 0);
    cr_expect_gt(w.calls, 99u);
    cr_expect_eq(w.misaligned, 0u, "%zu bytes: %u of %u", size, w.misaligned, w.calls);
    thrum_queue_destroy(q);
}

/* It may look at them as what they are. */
Test(queue_priority, compare_sees_items_aligned_as_their_size_asks)
{
    static const size_t sizes[] = {4, 8, 12, 16, 24, 32, 48, 64};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        compare_items_of(sizes[i]);
}
