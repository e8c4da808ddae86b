#include "shared_queues.h"

TestSuite(shared_queue, .timeout = 60);

static thrum_shared_t *arena;
static size_t used;

static void set_up(void)
{
    arena = an_arena();
    used = thrum_shared_used(arena);
}

/* Nothing is left in the arena. */
static void tear_down(void)
{
    cr_expect_eq(thrum_shared_used(arena), used);
    cr_expect(thi_shared_sound(arena));
    thrum_shared_destroy(arena);
}

#define QUEUE_TEST(name) Test(shared_queue, name, .init = set_up, .fini = tear_down)

static void expect_next(thrum_shared_queue_t *q, uint32_t expected)
{
    uint32_t number = 0;
    EXPECT_CALL(0, get_number(q, &number, PAST));
    cr_expect_eq(number, expected, "got %u, expected %u", number, expected);
}

QUEUE_TEST(null_is_refused)
{
    thrum_shared_queue_t *q = a_queue(arena, THRUM_FIFO, 1), *none = NULL;
    char byte = 0;
    size_t size = 0;
    EXPECT_CALL(EINVAL, thrum_shared_queue_create(NULL, arena, NULL));
    EXPECT_CALL(EINVAL, thrum_shared_queue_create(&none, NULL, NULL));
    EXPECT_CALL(EINVAL, thrum_shared_queue_open(NULL, arena, thrum_shared_queue_offset(q)));
    EXPECT_CALL(EINVAL, thrum_shared_queue_open(&none, NULL, thrum_shared_queue_offset(q)));
    EXPECT_CALL(EINVAL, thrum_shared_queue_put(NULL, &byte, 1));
    EXPECT_CALL(EINVAL, thrum_shared_queue_put(q, NULL, 1));
    EXPECT_CALL(EINVAL, thrum_shared_queue_put(q, &byte, SIZE_MAX));
    EXPECT_CALL(EINVAL, thrum_shared_queue_tryput(q, NULL, 1));
    EXPECT_CALL(EINVAL, thrum_shared_queue_put_until(q, NULL, 1, PAST));
    EXPECT_CALL(EINVAL, thrum_shared_queue_put_ranked(NULL, &byte, 1, 0));
    EXPECT_CALL(EINVAL, thrum_shared_queue_get(NULL, &byte, 1, &size));
    EXPECT_CALL(EINVAL, thrum_shared_queue_get(q, NULL, 1, &size));
    EXPECT_CALL(EINVAL, thrum_shared_queue_tryget(q, NULL, 1, &size));
    EXPECT_CALL(EINVAL, thrum_shared_queue_get_until(q, NULL, 1, &size, PAST));
    EXPECT_CALL(EINVAL, thrum_shared_queue_task_done(NULL));
    EXPECT_CALL(EINVAL, thrum_shared_queue_join(NULL));
    EXPECT_CALL(EINVAL, thrum_shared_queue_tryjoin(NULL));
    EXPECT_CALL(EINVAL, thrum_shared_queue_join_until(NULL, PAST));
    EXPECT_CALL(EINVAL, thrum_shared_queue_close(NULL));
    EXPECT_CALL(EINVAL, thrum_shared_queue_abort(NULL));
    cr_expect_eq(thrum_shared_queue_size(NULL), 0);
    cr_expect_eq(thrum_shared_queue_capacity(NULL), 0);
    cr_expect_eq(thrum_shared_queue_unfinished(NULL), 0);
    cr_expect_eq(thrum_shared_queue_offset(NULL), 0);
    cr_expect_not(thrum_shared_queue_full(NULL));
    thrum_shared_queue_release(NULL);
    thrum_shared_queue_destroy(NULL);
    thrum_shared_queue_destroy(q);
}

QUEUE_TEST(a_config_that_makes_no_sense_is_refused)
{
    thrum_shared_queue_t *q = NULL;
    thrum_shared_queue_config_t config = THRUM_SHARED_QUEUE_CONFIG_INIT;
    config.capacity = 0;
    EXPECT_CALL(EINVAL, thrum_shared_queue_create(&q, arena, &config));
    config.capacity = 1;
    config.order = (thrum_order_t)3;
    EXPECT_CALL(EINVAL, thrum_shared_queue_create(&q, arena, &config));
    config.order = THRUM_FIFO;
    config.config_size++;
    EXPECT_CALL(EINVAL, thrum_shared_queue_create(&q, arena, &config));
    config.config_size--;
    config.capacity = SIZE_MAX;
    EXPECT_CALL(ENOMEM, thrum_shared_queue_create(&q, arena, &config));
    config.capacity = (size_t)1 << 30;
    EXPECT_CALL(ENOMEM, thrum_shared_queue_create(&q, arena, &config));
    config.capacity = 1;
    config.item_size = SIZE_MAX - 3;
    EXPECT_CALL(ENOMEM, thrum_shared_queue_create(&q, arena, &config));
    cr_expect_null(q);
}

QUEUE_TEST(each_order_lets_the_right_one_go_first)
{
    static const uint32_t out[ORDERS][4] = {{3, 1, 4, 2}, {2, 4, 1, 3}, {1, 2, 3, 4}};
    static const uint32_t in[4] = {3, 1, 4, 2};
    for (size_t o = 0; o < ORDERS; o++) {
        thrum_shared_queue_t *q = a_queue(arena, every_order[o], 4);
        for (size_t i = 0; i < 4; i++)
            EXPECT_CALL(0, put_number(q, in[i], i % 2 == 0 ? 8 : LARGE_SIZE, PAST));
        for (size_t i = 0; i < 4; i++)
            expect_next(q, out[o][i]);
        thrum_shared_queue_destroy(q);
    }
}

QUEUE_TEST(equal_ranks_leave_in_order_of_arrival)
{
    thrum_shared_queue_t *q = a_queue(arena, THRUM_PRIORITY, 300);
    unsigned char bytes[8];
    for (uint32_t i = 0; i < 300; i++) {
        fill_item(bytes, i, sizeof bytes);
        EXPECT_CALL(0, thrum_shared_queue_put_ranked(q, bytes, sizeof bytes,
                                                     i % 3 == 0 ? INT64_MIN : i % 3));
    }
    for (uint32_t third = 0; third < 3; third++)
        for (uint32_t i = third; i < 300; i += 3)
            expect_next(q, i);
    thrum_shared_queue_destroy(q);
}

QUEUE_TEST(a_put_without_a_rank_has_rank_zero)
{
    thrum_shared_queue_t *q = a_queue(arena, THRUM_PRIORITY, 3);
    EXPECT_CALL(0, thrum_shared_queue_put_ranked(q, "c", 1, 1));
    EXPECT_CALL(0, thrum_shared_queue_put(q, "b", 1));
    EXPECT_CALL(0, thrum_shared_queue_tryput_ranked(q, "a", 1, -1));
    for (char expected = 'a'; expected <= 'c'; expected++) {
        char got = 0;
        EXPECT_CALL(0, thrum_shared_queue_tryget(q, &got, 1, NULL));
        cr_expect_eq(got, expected);
    }
    thrum_shared_queue_destroy(q);
}

QUEUE_TEST(ranks_are_for_priority_queues)
{
    for (size_t o = 0; o < 2; o++) {
        thrum_shared_queue_t *q = a_queue(arena, every_order[o], 3);
        EXPECT_CALL(ENOTSUP, thrum_shared_queue_put_ranked(q, "c", 1, 1));
        EXPECT_CALL(ENOTSUP, thrum_shared_queue_tryput_ranked(q, "c", 1, 1));
        EXPECT_CALL(ENOTSUP, thrum_shared_queue_put_ranked_until(q, "c", 1, 1, PAST));
        cr_expect(thrum_shared_queue_empty(q));
        thrum_shared_queue_destroy(q);
    }
}

QUEUE_TEST(it_holds_exactly_its_capacity)
{
    for (size_t o = 0; o < ORDERS; o++) {
        for (size_t capacity = 1; capacity <= 9; capacity++) {
            thrum_shared_queue_t *q = a_queue(arena, every_order[o], capacity);
            cr_expect_eq(thrum_shared_queue_capacity(q), capacity);
            for (int lap = 0; lap < 3; lap++) {
                cr_expect(thrum_shared_queue_empty(q));
                for (uint32_t i = 0; i < capacity; i++) {
                    cr_expect_not(thrum_shared_queue_full(q));
                    EXPECT_CALL(0, put_number(q, i, 8 + i, PAST));
                }
                cr_expect(thrum_shared_queue_full(q));
                cr_expect_eq(thrum_shared_queue_size(q), capacity);
                EXPECT_CALL(EAGAIN, thrum_shared_queue_tryput(q, "x", 1));
                EXPECT_CALL(ETIMEDOUT, thrum_shared_queue_put_until(q, "x", 1, PAST));
                EXPECT_CALL(ETIMEDOUT, thrum_shared_queue_put_until(q, "x", 1, INT64_MIN));
                EXPECT_CALL(ETIMEDOUT, thrum_shared_queue_put_until(q, "x", 1, SOON));
                for (uint32_t i = 0; i < capacity; i++)
                    expect_next(q, o == 1 ? (uint32_t)capacity - 1 - i : i);
                EXPECT_CALL(EAGAIN, thrum_shared_queue_tryget(q, NULL, 0, NULL));
            }
            thrum_shared_queue_destroy(q);
        }
    }
}

QUEUE_TEST(items_have_any_size)
{
    static unsigned char in[(size_t)3 << 20], out[(size_t)3 << 20];
    static const size_t sizes[] = {
        0, 1, 7, 8, 9, 23, 24, 25, 31, 32, 33, 64, 4096, 65536, 1u << 20, sizeof in - 1, sizeof in};
    for (size_t i = 0; i < sizeof in; i++)
        in[i] = (unsigned char)(i * 7 + i / 251);
    for (size_t o = 0; o < ORDERS; o++) {
        thrum_shared_queue_t *q = a_queue(arena, every_order[o], 2);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            size_t size = SIZE_MAX;
            EXPECT_CALL(0, thrum_shared_queue_put(q, sizes[i] == 0 ? NULL : in, sizes[i]));
            memset(out, 0, sizes[i]);
            EXPECT_CALL(0, thrum_shared_queue_get(q, sizes[i] == 0 ? NULL : out, sizes[i], &size));
            cr_expect_eq(size, sizes[i]);
            cr_expect_eq(memcmp(in, out, sizes[i]), 0);
        }
        thrum_shared_queue_destroy(q);
    }
}

QUEUE_TEST(an_item_that_does_not_fit_stays_and_says_how_large_it_is)
{
    unsigned char buf[LARGE_SIZE];
    for (size_t o = 0; o < ORDERS; o++) {
        thrum_shared_queue_t *q = a_queue(arena, every_order[o], 2);
        for (size_t s = 20; s <= LARGE_SIZE; s += LARGE_SIZE - 20) {
            size_t size = 0;
            EXPECT_CALL(0, put_number(q, 1, s, PAST));
            EXPECT_CALL(EMSGSIZE, thrum_shared_queue_get(q, buf, s - 1, &size));
            cr_expect_eq(size, s);
            EXPECT_CALL(EMSGSIZE, thrum_shared_queue_tryget(q, NULL, 0, NULL));
            EXPECT_CALL(EMSGSIZE, thrum_shared_queue_get_until(q, buf, 0, NULL, PAST));
            cr_expect_eq(thrum_shared_queue_size(q), 1);
            expect_next(q, 1);
        }
        thrum_shared_queue_destroy(q);
    }
}

QUEUE_TEST(a_large_item_for_which_there_is_no_memory_is_not_put)
{
    static unsigned char bytes[(size_t)40 << 20];
    for (size_t o = 0; o < ORDERS; o++) {
        thrum_shared_queue_t *q = a_queue(arena, every_order[o], 4);
        EXPECT_CALL(0, thrum_shared_queue_put(q, bytes, sizeof bytes));
        EXPECT_CALL(ENOMEM, thrum_shared_queue_put(q, bytes, sizeof bytes));
        EXPECT_CALL(ENOMEM, thrum_shared_queue_tryput(q, bytes, sizeof bytes));
        cr_expect_eq(thrum_shared_queue_size(q), 1);
        EXPECT_CALL(0, thrum_shared_queue_put(q, "x", 1));
        EXPECT_CALL(0, thrum_shared_queue_abort(q));
        thrum_shared_queue_destroy(q);
    }
}

QUEUE_TEST(a_priority_queue_forgets_a_put_that_found_no_memory)
{
    static unsigned char bytes[(size_t)40 << 20];
    thrum_shared_queue_t *q = a_queue(arena, THRUM_PRIORITY, 4);
    EXPECT_CALL(0, thrum_shared_queue_put_ranked(q, bytes, sizeof bytes, 9));
    EXPECT_CALL(0, put_number(q, 1, 8, PAST));
    EXPECT_CALL(ENOMEM, thrum_shared_queue_put_ranked(q, bytes, sizeof bytes, 0));
    expect_next(q, 1);
    EXPECT_CALL(0, put_number(q, 2, 8, PAST));
    thi_order_repair(q);
    cr_expect_eq(thrum_shared_queue_size(q), 2);
    expect_next(q, 2);
    thrum_shared_queue_destroy(q);
}

QUEUE_TEST(task_done_and_join_count_exactly)
{
    for (size_t o = 0; o < ORDERS; o++) {
        thrum_shared_queue_t *q = a_queue(arena, every_order[o], 8);
        EXPECT_CALL(0, thrum_shared_queue_join(q));
        EXPECT_CALL(EINVAL, thrum_shared_queue_task_done(q));
        for (int lap = 0; lap < 300; lap++) { /* more moments than the word can tell apart */
            EXPECT_CALL(0, put_number(q, 1, 8, PAST));
            EXPECT_CALL(0, put_number(q, 2, LARGE_SIZE, PAST));
            uint32_t number = 0;
            EXPECT_CALL(0, get_number(q, &number, PAST));
            cr_assert_eq(thrum_shared_queue_unfinished(q), 2);
            EXPECT_CALL(0, thrum_shared_queue_task_done(q));
            EXPECT_CALL(EAGAIN, thrum_shared_queue_tryjoin(q));
            EXPECT_CALL(ETIMEDOUT, thrum_shared_queue_join_until(q, PAST));
            EXPECT_CALL(0, thrum_shared_queue_task_done(q)); /* before it was got */
            EXPECT_CALL(0, thrum_shared_queue_tryjoin(q));
            EXPECT_CALL(0, thrum_shared_queue_join_until(q, PAST));
            EXPECT_CALL(EINVAL, thrum_shared_queue_task_done(q));
            EXPECT_CALL(0, get_number(q, &number, PAST));
        }
        thrum_shared_queue_destroy(q);
    }
}

QUEUE_TEST(an_abort_counts_what_it_drops_as_done)
{
    for (size_t o = 0; o < ORDERS; o++) {
        thrum_shared_queue_t *q = a_queue(arena, every_order[o], 8);
        uint32_t number = 0;
        for (uint32_t i = 0; i < 5; i++)
            EXPECT_CALL(0, put_number(q, i, i % 2 == 0 ? 8 : LARGE_SIZE, PAST));
        EXPECT_CALL(0, get_number(q, &number, PAST));
        EXPECT_CALL(0, get_number(q, &number, PAST));
        EXPECT_CALL(0, thrum_shared_queue_close(q));
        EXPECT_CALL(0, thrum_shared_queue_abort(q));
        cr_expect_eq(thrum_shared_queue_size(q), 0);
        cr_expect_eq(thrum_shared_queue_unfinished(q), 2);
        EXPECT_CALL(EAGAIN, thrum_shared_queue_tryjoin(q));
        EXPECT_CALL(0, thrum_shared_queue_task_done(q));
        EXPECT_CALL(0, thrum_shared_queue_task_done(q));
        EXPECT_CALL(EINVAL, thrum_shared_queue_task_done(q));
        EXPECT_CALL(0, thrum_shared_queue_join(q));
        EXPECT_CALL(0, thrum_shared_queue_abort(q));
        EXPECT_CALL(0, thrum_shared_queue_close(q));
        EXPECT_CALL(ESHUTDOWN, get_number(q, &number, THRUM_FOREVER));
        thrum_shared_queue_destroy(q);
    }
}

QUEUE_TEST(an_abort_does_not_count_twice_what_was_marked_before)
{
    thrum_shared_queue_t *q = a_queue(arena, THRUM_FIFO, 4);
    EXPECT_CALL(0, put_number(q, 1, 8, PAST));
    EXPECT_CALL(0, put_number(q, 2, 8, PAST));
    EXPECT_CALL(0, thrum_shared_queue_task_done(q));
    EXPECT_CALL(0, thrum_shared_queue_abort(q));
    cr_expect_eq(thrum_shared_queue_unfinished(q), 0);
    EXPECT_CALL(EINVAL, thrum_shared_queue_task_done(q));
    EXPECT_CALL(0, thrum_shared_queue_join(q));
    thrum_shared_queue_destroy(q);
}

QUEUE_TEST(a_closed_queue_is_drained_first)
{
    for (size_t o = 0; o < ORDERS; o++) {
        thrum_shared_queue_t *q = a_queue(arena, every_order[o], 4);
        uint32_t number = 0;
        EXPECT_CALL(0, put_number(q, 1, 8, PAST));
        EXPECT_CALL(0, put_number(q, 1, LARGE_SIZE, PAST));
        EXPECT_CALL(0, thrum_shared_queue_close(q));
        EXPECT_CALL(ESHUTDOWN, put_number(q, 2, 8, THRUM_FOREVER));
        EXPECT_CALL(ESHUTDOWN, thrum_shared_queue_tryput(q, "x", 1));
        expect_next(q, 1);
        expect_next(q, 1);
        EXPECT_CALL(ESHUTDOWN, get_number(q, &number, THRUM_FOREVER));
        EXPECT_CALL(ESHUTDOWN, thrum_shared_queue_tryget(q, NULL, 0, NULL));
        thrum_shared_queue_destroy(q);
    }
}

static int put_large_and_end(void *arg)
{
    return put_number(arg, 7, LARGE_SIZE, THRUM_FOREVER);
}

QUEUE_TEST(who_put_a_large_item_can_be_joined_before_it_is_got)
{
    thrum_shared_queue_t *q = a_queue(arena, THRUM_FIFO, 4);
    cr_expect_eq(victim_end(victim_start(put_large_and_end, q)), 0);
    expect_next(q, 7);
    thrum_shared_queue_destroy(q);
}

struct opened {
    int fd;
    uint64_t offset;
};

/* As an unrelated program does it, at another address. */
static int open_and_answer(void *arg)
{
    const struct opened *opened = arg;
    thrum_shared_t *own = NULL;
    thrum_shared_queue_t *q = NULL;
    uint32_t number = 0;
    if (thrum_shared_open_fd(&own, opened->fd) != 0 ||
        thi_shared_base(own) == thi_shared_base(arena) ||
        thrum_shared_queue_open(&q, own, opened->offset) != 0)
        return 1;
    if (get_number(q, &number, THRUM_FOREVER) != 0 || number != 1)
        return 2;
    if (put_number(q, 2, 8, PAST) != 0 || put_number(q, 3, LARGE_SIZE, PAST) != 0 ||
        thrum_shared_queue_task_done(q) != 0)
        return 3;
    thrum_shared_queue_release(q);
    thrum_shared_destroy(own);
    return 0;
}

QUEUE_TEST(others_open_it_by_its_offset)
{
    for (size_t o = 0; o < ORDERS; o++) {
        thrum_shared_queue_t *q = a_queue(arena, every_order[o], 4), *none = NULL;
        struct opened opened = {thrum_shared_fd(arena), thrum_shared_queue_offset(q)};
        EXPECT_CALL(0, put_number(q, 1, LARGE_SIZE, PAST));
        cr_expect_eq(victim_end(victim_start(open_and_answer, &opened)), 0);
        expect_next(q, every_order[o] == THRUM_LIFO ? 3 : 2);
        expect_next(q, every_order[o] == THRUM_LIFO ? 2 : 3);
        EXPECT_CALL(EINVAL, thrum_shared_queue_open(&none, arena, 0));
        EXPECT_CALL(EINVAL, thrum_shared_queue_open(&none, arena, opened.offset + 64));
        EXPECT_CALL(EINVAL, thrum_shared_queue_open(&none, arena, opened.offset + 1));
        EXPECT_CALL(EINVAL, thrum_shared_queue_open(&none, arena, UINT64_MAX - 127));
        thrum_shared_queue_destroy(q);
        EXPECT_CALL(EINVAL, thrum_shared_queue_open(&none, arena, opened.offset));
    }
}

/* A word's lower half is full now and then: what is added then does not fit. */
QUEUE_TEST(counts_go_on_beyond_what_the_system_adds_in_one_step)
{
    for (size_t o = 0; o < ORDERS; o++) {
        thrum_shared_queue_t *q = a_queue(arena, every_order[o], 4);
        const uint64_t before = (UINT64_C(1) << 29) - 2;
        q->memory->tail = q->memory->head = before * THI_COUNT;
        q->memory->heads_seen = q->memory->tails_seen = before;
        q->memory->done = (before << 10);
        for (uint32_t i = 0; i < 6; i++) {
            q->memory->tail |= THI_SLEEPERS;
            EXPECT_CALL(0, put_number(q, i, 8, PAST));
            q->memory->head |= THI_SLEEPERS;
            expect_next(q, i);
            q->memory->done |= THI_SLEEPERS;
            EXPECT_CALL(0, thrum_shared_queue_task_done(q));
            cr_expect_eq(q->memory->done & THI_SLEEPERS, 0);
            EXPECT_CALL(EINVAL, thrum_shared_queue_task_done(q));
        }
        cr_expect_eq(thi_word_count(q->memory->tail), before + 6);
        cr_expect_eq(thi_word_count(q->memory->head), before + 6);
        cr_expect_eq(q->memory->done >> 10, before + 6);
        thrum_shared_queue_destroy(q);
    }
}
