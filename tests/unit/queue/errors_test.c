#include "queue/shapes.h"

/* Whatever is refused changes nothing; and the typed front. */
TestSuite(queue_errors, .timeout = 30);

static const thrum_queue_config_t defaults = THRUM_QUEUE_CONFIG_INIT;

static void expect_refused(const thrum_queue_config_t *config, int err)
{
    thrum_queue_t *const before = (thrum_queue_t *)(uintptr_t)0x1234;
    thrum_queue_t *q = before;
    EXPECT_CALL(err, thrum_queue_create(&q, config));
    cr_expect_eq(q, before, "written on success only");
}

Test(queue_errors, without_a_config_it_is_an_unbounded_fifo_of_pointers)
{
    int things[3] = {0};
    thrum_queue_t *q = NULL;
    EXPECT_CALL(0, thrum_queue_create(&q, NULL));
    cr_expect_eq(thrum_queue_capacity(q), 0u);
    for (int i = 0; i < 3; i++) {
        int *thing = &things[i];
        EXPECT_CALL(0, thrum_queue_put(q, &thing));
    }
    for (int i = 0; i < 3; i++) {
        int *thing = NULL;
        EXPECT_CALL(0, thrum_queue_get(q, &thing));
        cr_expect_eq(thing, &things[i]);
    }
    thrum_queue_destroy(q);
}

Test(queue_errors, nowhere_to_put_the_queue)
{
    EXPECT_CALL(EINVAL, thrum_queue_create(NULL, NULL));
    EXPECT_CALL(EINVAL, thrum_queue_create(NULL, &defaults));
}

Test(queue_errors, destroying_nothing_does_nothing)
{
    errno = ERRNO_MARK;
    thrum_queue_destroy(NULL);
    cr_expect_eq(errno, ERRNO_MARK);
}

Test(queue_errors, items_without_a_size)
{
    thrum_queue_config_t config = defaults;
    config.item_size = 0;
    expect_refused(&config, EINVAL);
}

Test(queue_errors, an_order_that_does_not_exist)
{
    static const int orders[] = {THRUM_PRIORITY + 1, -1, 100, INT32_MAX};
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        thrum_queue_config_t config = defaults;
        memcpy(&config.order, &orders[i], sizeof config.order);
        config.compare = by_number;
        expect_refused(&config, EINVAL);
    }
}

Test(queue_errors, priority_needs_compare_and_the_others_do_not_mind_it)
{
    thrum_queue_t *q = NULL;
    thrum_queue_config_t config = defaults;
    config.order = THRUM_PRIORITY;
    expect_refused(&config, EINVAL);
    config.compare = by_number;
    for (int order = THRUM_FIFO; order <= THRUM_PRIORITY; order++) {
        config.order = (thrum_order_t)order;
        EXPECT_CALL(0, thrum_queue_create(&q, &config));
        thrum_queue_destroy(q);
    }
}

Test(queue_errors, a_config_of_another_version)
{
    static const size_t unknown[] = {1, sizeof defaults - 1, sizeof defaults + 1,
                                     sizeof defaults + 64, SIZE_MAX};
    thrum_queue_t *q = NULL;
    thrum_queue_config_t config = defaults;
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        config.config_size = unknown[i];
        expect_refused(&config, EINVAL);
    }
    config.config_size = 0; /* the first version did not tell */
    EXPECT_CALL(0, thrum_queue_create(&q, &config));
    thrum_queue_destroy(q);
}

/* However large: there is no memory for it, and nothing wraps round. */
Test(queue_errors, more_than_there_can_be)
{
    static const size_t huge[] = {SIZE_MAX - 1, SIZE_MAX / 2, SIZE_MAX / 2 + 1, SIZE_MAX / 4 + 2};
    for (int order = THRUM_FIFO; order <= THRUM_PRIORITY; order++) {
        for (size_t i = 0; i < sizeof huge / sizeof *huge; i++) {
            thrum_queue_config_t config = defaults;
            config.order = (thrum_order_t)order;
            config.compare = by_number;
            config.capacity = huge[i];
            expect_refused(&config, ENOMEM);
            config.capacity = 8;
            config.item_size = huge[i];
            expect_refused(&config, ENOMEM);
            config.capacity = huge[i];
            expect_refused(&config, ENOMEM);
        }
    }
}

Test(queue_errors, null_is_refused)
{
    uint32_t item = 0;
    size_t done = 99;
    int fd = -2;
    EXPECT_CALL(EINVAL, thrum_queue_put(NULL, &item));
    EXPECT_CALL(EINVAL, thrum_queue_tryput(NULL, &item));
    EXPECT_CALL(EINVAL, thrum_queue_put_until(NULL, &item, THRUM_FOREVER));
    EXPECT_CALL(EINVAL, thrum_queue_put_many(NULL, &item, 1, &done, THRUM_FOREVER));
    EXPECT_CALL(EINVAL, thrum_queue_get(NULL, &item));
    EXPECT_CALL(EINVAL, thrum_queue_tryget(NULL, &item));
    EXPECT_CALL(EINVAL, thrum_queue_get_until(NULL, &item, THRUM_FOREVER));
    EXPECT_CALL(EINVAL, thrum_queue_get_many(NULL, &item, 1, &done, THRUM_FOREVER));
    EXPECT_CALL(EINVAL, thrum_queue_task_done(NULL));
    EXPECT_CALL(EINVAL, thrum_queue_join(NULL));
    EXPECT_CALL(EINVAL, thrum_queue_tryjoin(NULL));
    EXPECT_CALL(EINVAL, thrum_queue_join_until(NULL, THRUM_FOREVER));
    EXPECT_CALL(EINVAL, thrum_queue_close(NULL));
    EXPECT_CALL(EINVAL, thrum_queue_abort(NULL));
    EXPECT_CALL(EINVAL, thrum_queue_fd(NULL, &fd));
    cr_expect_eq(fd, -2);
}

Test(queue_errors, null_items_are_refused_in_every_state)
{
    for (EACH_SHAPE(shape)) {
        size_t done = 99;
        thrum_queue_t *q = queue_of_numbers(shape->order, shape->capacity);
        for (int state = 0; state < 3; state++) {
            EXPECT_CALL(EINVAL, thrum_queue_put(q, NULL));
            EXPECT_CALL(EINVAL, thrum_queue_tryput(q, NULL));
            EXPECT_CALL(EINVAL, thrum_queue_put_until(q, NULL, PAST));
            EXPECT_CALL(EINVAL, thrum_queue_put_many(q, NULL, 1, &done, PAST));
            EXPECT_CALL(EINVAL, thrum_queue_get(q, NULL));
            EXPECT_CALL(EINVAL, thrum_queue_tryget(q, NULL));
            EXPECT_CALL(EINVAL, thrum_queue_get_until(q, NULL, PAST));
            EXPECT_CALL(EINVAL, thrum_queue_get_many(q, NULL, 1, &done, PAST));
            EXPECT_CALL(EINVAL, thrum_queue_fd(q, NULL));
            cr_expect_eq(thrum_queue_size(q), state == 1 ? 1u : 0u);
            if (state == 0)
                fill(q, 0, 1);
            else
                EXPECT_CALL(0, thrum_queue_abort(q));
        }
        thrum_queue_destroy(q);
    }
}

/* --- the typed front ---------------------------------------------------------------------------------- */

struct parcel {
    double weight;
    char to[20];
    short rooms;
};

THRUM_QUEUE_DEFINE(parcels, struct parcel)
THRUM_QUEUE_DEFINE(words, const char *)

static int lightest_first(const void *a, const void *b, void *ctx)
{
    const struct parcel *x = a;
    const struct parcel *y = b;
    ++*(int *)ctx;
    return (x->weight > y->weight) - (x->weight < y->weight);
}

Test(queue_errors, the_typed_front_puts_and_gets)
{
    thrum_queue_t *q = NULL;
    const char *word = NULL;
    EXPECT_CALL(0, words_create(&q, THRUM_LIFO, 3));
    cr_expect_eq(thrum_queue_capacity(q), 3u);
    EXPECT_CALL(0, words_put(q, "one"));
    EXPECT_CALL(0, words_tryput(q, "two"));
    EXPECT_CALL(0, words_put_until(q, "three", PAST));
    EXPECT_CALL(EAGAIN, words_tryput(q, "four"));
    EXPECT_CALL(ETIMEDOUT, words_put_until(q, "four", PAST));
    EXPECT_CALL(0, words_get(q, &word));
    cr_expect_str_eq(word, "three");
    EXPECT_CALL(0, words_tryget(q, &word));
    cr_expect_str_eq(word, "two");
    EXPECT_CALL(0, words_get_until(q, &word, PAST));
    cr_expect_str_eq(word, "one");
    EXPECT_CALL(EAGAIN, words_tryget(q, &word));
    EXPECT_CALL(ETIMEDOUT, words_get_until(q, &word, PAST));
    thrum_queue_destroy(q);
}

Test(queue_errors, the_typed_front_of_structs_compares_and_takes_batches)
{
    const struct parcel in[] = {{3.5, "c", 3}, {1.5, "a", 1}, {2.5, "b", 2}};
    struct parcel out[3];
    size_t done = 0;
    int compared = 0;
    thrum_queue_t *q = NULL;
    EXPECT_CALL(EINVAL, parcels_create(&q, THRUM_PRIORITY, 0));
    EXPECT_CALL(0, parcels_create_with(&q, THRUM_PRIORITY, 0, lightest_first, &compared));
    EXPECT_CALL(0, parcels_put_many(q, in, 3, &done, THRUM_FOREVER));
    cr_expect_eq(done, 3u);
    EXPECT_CALL(0, parcels_get_many(q, out, 3, &done, THRUM_FOREVER));
    cr_expect_eq(done, 3u);
    cr_expect_gt(compared, 0);
    for (int i = 0; i < 3; i++) {
        cr_expect_eq(out[i].rooms, i + 1);
        cr_expect_eq(out[i].to[0], 'a' + i);
    }
    thrum_queue_destroy(q);
}
