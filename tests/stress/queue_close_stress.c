/*
 * Closing and aborting against puts and gets that never wait: whoever is told ESHUTDOWN, on either side, sees
 * what was written before. ThreadSanitizer judges the order, the checks what it is good for.
 */
#include "stress/stress.h"

struct closing {
    thrum_queue_t *q;
    uint64_t data; /* written once, before the close */
    bool abort;
};

static void putter(struct member *self)
{
    const struct closing *c = self->shared;
    uint32_t item = 0;
    int err = 0;
    while ((err = thrum_queue_tryput(c->q, &item)) != ESHUTDOWN)
        CHECK(err == 0 || err == EAGAIN);
    CHECK(c->data == 42);
}

static void getter(struct member *self)
{
    const struct closing *c = self->shared;
    uint32_t item = 0;
    int err = 0;
    while ((err = thrum_queue_tryget(c->q, &item)) != ESHUTDOWN)
        CHECK(err == 0 || err == EAGAIN);
    CHECK(c->data == 42);
}

static void closer(struct member *self)
{
    struct closing *c = self->shared;
    chance_dawdle(&self->chance);
    c->data = 42;
    CHECK((c->abort ? thrum_queue_abort(c->q) : thrum_queue_close(c->q)) == 0);
}

static void close_once(thrum_order_t order, size_t capacity, bool abort)
{
    thrum_queue_config_t config = THRUM_QUEUE_CONFIG_INIT;
    struct closing c = {.abort = abort};
    struct member team[3];
    config.order = order;
    config.capacity = capacity;
    config.item_size = sizeof(uint32_t);
    CHECK(thrum_queue_create(&c.q, &config) == 0);
    member_start(&team[0], putter, &c, 0, 0);
    member_start(&team[1], getter, &c, 1, 0);
    member_start(&team[2], closer, &c, 2, 0);
    team_join(team, 3);
    thrum_queue_destroy(c.q);
    watchdog_progress();
}

static void close_again_and_again(thrum_order_t order, thrum_time_t until)
{
    do {
        for (unsigned i = 0; i < 4; i++)
            close_once(order, i < 2 ? 4 : 0, i % 2 != 0);
    } while (thrum_now() < until);
}

static void fifo(thrum_time_t until)
{
    close_again_and_again(THRUM_FIFO, until);
}

static void lifo(thrum_time_t until)
{
    close_again_and_again(THRUM_LIFO, until);
}

static const struct stress_case cases[] = {
    {"FIFO", fifo},
    {"LIFO", lifo},
};

STRESS_MAIN(cases)
