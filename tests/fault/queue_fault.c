/*
 * No memory, no pages, no descriptors: whatever a queue cannot have, it says so, and loses nothing.
 */
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include <thrum/select.h>

#include "support/expect.h"

TestSuite(queue, .timeout = 60);

static const thrum_order_t orders[] = {THRUM_FIFO, THRUM_LIFO, THRUM_PRIORITY};

static int by_number(const void *a, const void *b, void *ctx)
{
    uint32_t x = 0, y = 0;
    (void)ctx;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

static int create(thrum_queue_t **q, thrum_order_t order, size_t capacity)
{
    thrum_queue_config_t config = THRUM_QUEUE_CONFIG_INIT;
    config.order = order;
    config.item_size = sizeof(uint32_t);
    config.capacity = capacity;
    config.compare = by_number;
    return thrum_queue_create(q, &config);
}

static thrum_queue_t *queue_of(thrum_order_t order, size_t capacity)
{
    thrum_queue_t *q = NULL;
    EXPECT_CALL(0, create(&q, order, capacity));
    cr_assert_not_null(q);
    return q;
}

static void arm(unsigned nth)
{
    thi_fault_arm(THI_FAULT_ALLOC, nth);
    thi_fault_arm(THI_FAULT_PAGES, nth);
}

/* What is in it comes out as its order says: `n` items that were put as 0, 1, 2... */
static void expect_items(thrum_queue_t *q, thrum_order_t order, uint32_t n)
{
    cr_assert_eq(thrum_queue_size(q), n);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t item = UINT32_MAX;
        cr_assert_eq(thrum_queue_tryget(q, &item), 0);
        cr_assert_eq(item, order == THRUM_LIFO ? n - 1 - i : i);
    }
    cr_expect(thrum_queue_empty(q));
}

/* --- create ------------------------------------------------------------------------------------------ */

static void create_with_fault(thi_fault_t kind, thrum_order_t order, size_t capacity)
{
    thrum_queue_t *const before = (thrum_queue_t *)(uintptr_t)0x1234;
    thrum_queue_t *q = before;
    unsigned nth = 1;
    for (; nth < 100; nth++) {
        thi_fault_arm(kind, nth);
        errno = ERRNO_MARK;
        const int err = create(&q, order, capacity);
        thi_fault_arm(kind, 0);
        cr_assert_eq(errno, ERRNO_MARK);
        if (err == 0)
            break;
        cr_assert_eq(err, ENOMEM);
        cr_assert_eq(q, before, "written on success only");
    }
    cr_assert_lt(nth, 100u);
    cr_expect(kind != THI_FAULT_ALLOC || nth > 1, "a queue is memory");
    thrum_queue_destroy(q);
}

Test(queue, create)
{
    static const size_t capacities[] = {0, 1, 7, 1000, 100000};
    for (size_t i = 0; i < 3 * sizeof capacities / sizeof *capacities; i++) {
        create_with_fault(THI_FAULT_ALLOC, orders[i % 3], capacities[i / 3]);
        create_with_fault(THI_FAULT_PAGES, orders[i % 3], capacities[i / 3]);
    }
}

/* --- growing ------------------------------------------------------------------------------------------ */

static int put_somehow(thrum_queue_t *q, uint32_t item)
{
    size_t done = 99;
    switch (item % 4) {
    case 0:
        return thrum_queue_tryput(q, &item);
    case 1:
        return thrum_queue_put_until(q, &item, PAST);
    case 2: {
        const int err = thrum_queue_put_many(q, &item, 1, &done, PAST);
        cr_assert_eq(done, err == 0 ? 1u : 0u);
        return err;
    }
    default:
        return thrum_queue_put(q, &item);
    }
}

/* Until there is no memory; how many went in. */
static uint32_t put_all_that_go(thrum_queue_t *q, uint32_t first, uint32_t end)
{
    for (uint32_t i = first; i < end; i++) {
        errno = ERRNO_MARK;
        const int err = put_somehow(q, i);
        cr_assert_eq(errno, ERRNO_MARK);
        if (err == 0)
            continue;
        cr_assert_eq(err, ENOMEM);
        return i;
    }
    return end;
}

static void grow_without_memory(thrum_order_t order)
{
    enum { ITEMS = 20000 };
    thrum_queue_t *q = queue_of(order, 0);
    arm(THI_FAULT_ALWAYS);
    const uint32_t before = put_all_that_go(q, 0, ITEMS);
    cr_assert_lt(before, (uint32_t)ITEMS);
    for (int i = 0; i < 10; i++)
        cr_expect_eq(put_all_that_go(q, before, ITEMS), before, "no memory still");
    cr_expect_eq(thrum_queue_size(q), before);
    cr_expect_eq(thrum_queue_unfinished(q), before);
    expect_items(q, order, before); /* getting asks for none */
    cr_expect_eq(put_all_that_go(q, 0, 1), before == 0 ? 0u : 1u,
                 "there is room for what was there");
    arm(0);
    cr_expect_eq(put_all_that_go(q, before == 0 ? 0 : 1, ITEMS), (uint32_t)ITEMS);
    expect_items(q, order, ITEMS);
    thrum_queue_destroy(q);
}

Test(queue, growing_stops_without_memory_and_goes_on_with_it)
{
    for (int i = 0; i < 3; i++)
        grow_without_memory(orders[i]);
}

/* Any one of all allocations fails; and once more, with what an earlier tide left behind. */
static void grow_with_one_fault(thrum_order_t order, unsigned nth)
{
    enum { ITEMS = 20000 };
    thrum_queue_t *q = queue_of(order, 0);
    for (int tide = 0; tide < 2; tide++) {
        arm(nth);
        uint32_t put = put_all_that_go(q, 0, ITEMS);
        for (int refused = 0; put != ITEMS && refused < 2; refused++)
            put = put_all_that_go(q, put, ITEMS);
        cr_assert_eq(put, (uint32_t)ITEMS, "one fault refuses one put");
        expect_items(q, order, ITEMS); /* shrinks, if it can */
        arm(0);
    }
    cr_expect_eq(thrum_queue_unfinished(q), 2u * ITEMS);
    thrum_queue_destroy(q);
}

Test(queue, each_allocation_of_growth_may_fail)
{
    for (int i = 0; i < 3; i++) {
        for (unsigned nth = 1; nth < 20; nth++)
            grow_with_one_fault(orders[i], nth);
    }
}

static void put_batches(thrum_order_t order)
{
    enum { ITEMS = 5000 };
    static uint32_t items[ITEMS];
    size_t done = 99;
    thrum_queue_t *q = queue_of(order, 0);
    for (uint32_t i = 0; i < ITEMS; i++)
        items[i] = i;
    arm(THI_FAULT_ALWAYS);
    EXPECT_CALL(ENOMEM, thrum_queue_put_many(q, items, ITEMS, &done, THRUM_FOREVER));
    cr_assert_lt(done, (size_t)ITEMS);
    cr_expect_eq(thrum_queue_size(q), done, "always the first");
    arm(0);
    EXPECT_CALL(0, thrum_queue_put_many(q, items + done, ITEMS - done, NULL, THRUM_FOREVER));
    expect_items(q, order, ITEMS);
    thrum_queue_destroy(q);
}

Test(queue, a_batch_says_how_many_found_memory)
{
    for (int i = 0; i < 3; i++)
        put_batches(orders[i]);
}

Test(queue, a_bounded_one_has_it_all_from_the_beginning)
{
    for (int i = 0; i < 3; i++) {
        thrum_queue_t *q = queue_of(orders[i], 1000);
        cr_assert_not_null(thi_self());
        arm(THI_FAULT_ALWAYS);
        for (int round = 0; round < 5; round++) {
            cr_assert_eq(put_all_that_go(q, 0, 1000), 1000u);
            EXPECT_CALL(ETIMEDOUT, thrum_queue_put_until(q, &round, SOON));
            expect_items(q, orders[i], 1000);
        }
        EXPECT_CALL(ETIMEDOUT, thrum_queue_join_until(q, SOON));
        EXPECT_CALL(0, thrum_queue_task_done(q));
        EXPECT_CALL(0, thrum_queue_abort(q));
        arm(0);
        thrum_queue_destroy(q);
    }
}

Test(queue, ending_asks_for_none)
{
    for (int i = 0; i < 6; i++) {
        uint32_t item = 0;
        thrum_queue_t *q = queue_of(orders[i % 3], 0);
        cr_expect_eq(put_all_that_go(q, 0, 5000), 5000u);
        arm(THI_FAULT_ALWAYS);
        EXPECT_CALL(0, thrum_queue_get(q, &item));
        EXPECT_CALL(0, thrum_queue_task_done(q));
        EXPECT_CALL(0, thrum_queue_close(q));
        for (int left = 4999; i < 3 && left != 0; left--)
            cr_assert_eq(thrum_queue_get(q, &item), 0);
        EXPECT_CALL(0, thrum_queue_abort(q));
        EXPECT_CALL(ESHUTDOWN, thrum_queue_get(q, &item));
        cr_expect_eq(thrum_queue_unfinished(q), i < 3 ? 4999u : 0u);
        thrum_queue_destroy(q);
        arm(0);
    }
}

/* --- waiting ------------------------------------------------------------------------------------------- */

/* What a thread that cannot be registered finds. */
struct stranger {
    thrum_queue_t *empty;
    thrum_queue_t *full;
    int wrong; /* line */
};

#define FAR_AWAY thrum_after(THRUM_S(1000))

#define FIND(err, call)                                                                            \
    do {                                                                                           \
        errno = ERRNO_MARK;                                                                        \
        if (((call) != (err) || errno != ERRNO_MARK) && s->wrong == 0)                             \
            s->wrong = __LINE__;                                                                   \
    } while (0)

static void *find(void *arg)
{
    struct stranger *s = arg;
    uint32_t item = 7;
    size_t n = 0;
    thrum_case_t cases[] = {THRUM_CASE_GET(s->empty, &item), THRUM_CASE_PUT(s->full, &item)};
    FIND(ENOMEM, thrum_queue_get(s->empty, &item));
    FIND(ENOMEM, thrum_queue_get_until(s->empty, &item, FAR_AWAY));
    FIND(ENOMEM, thrum_queue_get_many(s->empty, &item, 1, &n, FAR_AWAY));
    FIND(ENOMEM, thrum_queue_put(s->full, &item));
    FIND(ENOMEM, thrum_queue_put_until(s->full, &item, FAR_AWAY));
    FIND(ENOMEM, thrum_queue_put_many(s->full, &item, 1, &n, FAR_AWAY));
    FIND(ENOMEM, thrum_queue_join(s->full));
    FIND(ENOMEM, thrum_queue_join_until(s->full, FAR_AWAY));
    FIND(ENOMEM, thrum_select(cases, 2, THRUM_FOREVER, &n));
    FIND(EAGAIN, thrum_tryselect(cases, 2, &n));
    FIND(EAGAIN, thrum_queue_tryget(s->empty, &item));
    FIND(EAGAIN, thrum_queue_tryput(s->full, &item));
    FIND(EAGAIN, thrum_queue_tryjoin(s->full));
    FIND(0, thrum_queue_join(s->empty));
    FIND(7, (int)item);
    FIND(0, thrum_queue_get(s->full, &item)); /* what needs no waiting is had */
    FIND(0, (int)item);
    FIND(0, thrum_queue_put(s->full, &item));
    FIND(0, thrum_queue_task_done(s->full));
    return NULL;
}

Test(queue, a_thread_that_can_not_be_registered_waits_for_nothing)
{
    for (int i = 0; i < 3; i++) {
        struct stranger s = {queue_of(orders[i], 1), queue_of(orders[i], 1), 0};
        pthread_t thread;
        cr_expect_eq(put_all_that_go(s.full, 0, 1), 1u);
        cr_assert_not_null(thi_self());
        thi_fault_arm(THI_FAULT_AT_EXIT, THI_FAULT_ALWAYS);
        cr_assert_eq(pthread_create(&thread, NULL, find, &s), 0);
        cr_assert_eq(pthread_join(thread, NULL), 0);
        thi_fault_arm(THI_FAULT_AT_EXIT, 0);
        cr_expect_eq(s.wrong, 0, "line %d", s.wrong);
        cr_expect_eq(thi_park_count(s.empty) + thi_park_count(s.full), 0u);
        cr_expect(thrum_queue_empty(s.empty));
        expect_items(s.full, orders[i], 1);
        thrum_queue_destroy(s.empty);
        thrum_queue_destroy(s.full);
    }
}

Test(queue, select_among_many_without_memory_does_nothing)
{
    static thrum_case_t cases[THRUM_SELECT_MAX];
    static thrum_sem_t sem = THRUM_SEM_INIT(1);
    for (size_t n = 1; n <= THRUM_SELECT_MAX; n++) {
        size_t chosen = SIZE_MAX;
        cases[n - 1] = (thrum_case_t)THRUM_CASE_SEM(&sem);
        arm(THI_FAULT_ALWAYS);
        errno = ERRNO_MARK;
        const int err = thrum_select(cases, n, THRUM_FOREVER, &chosen);
        arm(0);
        cr_assert_eq(errno, ERRNO_MARK);
        cr_assert(err == 0 || err == ENOMEM);
        cr_assert_eq(err == 0, chosen < n);
        cr_assert_eq(thrum_sem_value(&sem), err == 0 ? 0u : 1u);
        if (err == 0)
            EXPECT_CALL(0, thrum_sem_release(&sem));
    }
}

/* --- the descriptor ------------------------------------------------------------------------------------- */

static void descriptors(rlim_t most)
{
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = most;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

Test(queue, without_a_descriptor_it_goes_on)
{
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    for (int i = 0; i < 3; i++) {
        int fd = -2;
        thrum_queue_t *q = queue_of(orders[i], 0);
        cr_expect_eq(put_all_that_go(q, 0, 10), 10u);
        descriptors(0);
        for (int j = 0; j < 3; j++)
            EXPECT_CALL(EMFILE, thrum_queue_fd(q, &fd));
        cr_expect_eq(fd, -2);
        expect_items(q, orders[i], 10);
        descriptors(limit.rlim_cur);
        EXPECT_CALL(0, thrum_queue_fd(q, &fd));
        cr_expect_geq(fd, 0);
        cr_expect_eq(put_all_that_go(q, 0, 10), 10u);
        expect_items(q, orders[i], 10);
        thrum_queue_destroy(q);
    }
}

Test(queue, a_descriptor_asks_for_no_memory_later)
{
    for (int i = 0; i < 3; i++) {
        int fd = -1;
        thrum_queue_t *q = queue_of(orders[i], 100);
        for (int err = ENOMEM, nth = 1; err != 0; nth++) {
            arm((unsigned)nth);
            err = thrum_queue_fd(q, &fd);
            cr_assert(err == 0 || err == ENOMEM);
        }
        arm(THI_FAULT_ALWAYS);
        for (int round = 0; round < 3; round++) {
            cr_expect_eq(put_all_that_go(q, 0, 100), 100u);
            expect_items(q, orders[i], 100);
        }
        arm(0);
        thrum_queue_destroy(q);
    }
}
