#ifndef TESTS_QUEUE_STRESS_H
#define TESTS_QUEUE_STRESS_H

/*
 * What the stress programs of queues share: traffic of producers and consumers through one queue that is
 * closed or aborted at some time, with everything counted; and other ways to wear a queue out.
 */
#include "stress/stress.h"

#define TINY_NS 60000u
#define PRODUCERS 8u
#define CONSUMERS 8u
#define NUMBERS (1u << 14) /* items of one producer in a round */
#define ITEM_MAX 40u
#define BATCH_MAX 5u

struct road {
    thrum_order_t order;
    size_t capacity;
    bool in_order; /* what one consumer gets of one producer comes in order */
    bool abort;    /* it ends so, and what is in it is lost */
};

struct traffic {
    const struct road *road;
    thrum_queue_t *q;
    size_t item_size;
    uint32_t put[PRODUCERS]; /* each written by its producer alone */
    uint64_t got;            /* relaxed, as all that follow */
    uint64_t done;
    uint8_t seen[PRODUCERS][NUMBERS];
};

/* By producer: then those of one are equals, and leave in order of arrival. */
static inline int by_producer(const void *a, const void *b, void *ctx)
{
    (void)ctx;
    return ((const unsigned char *)a)[3] - ((const unsigned char *)b)[3];
}

static inline thrum_queue_t *stress_queue(thrum_order_t order, size_t capacity, size_t item_size)
{
    thrum_queue_config_t config = THRUM_QUEUE_CONFIG_INIT;
    thrum_queue_t *q = NULL;
    config.order = order;
    config.capacity = capacity;
    config.item_size = item_size;
    config.compare = by_producer;
    if (thrum_queue_create(&q, &config) != 0)
        abort();
    return q;
}

/* --- items: number and producer in four bytes, and a pattern that follows from them ------------------- */

static inline void item_write(unsigned char *item, size_t size, uint32_t producer, uint32_t number)
{
    for (size_t i = 0; i < size; i++)
        item[i] = (unsigned char)(number * 31 + producer + i);
    item[0] = (unsigned char)number;
    item[1] = (unsigned char)(number >> 8);
    item[2] = (unsigned char)(number >> 16);
    item[3] = (unsigned char)producer;
}

static inline uint32_t item_number(const unsigned char *item)
{
    return item[0] | (uint32_t)item[1] << 8 | (uint32_t)item[2] << 16;
}

static inline bool item_is_whole(const unsigned char *item, size_t size)
{
    unsigned char expected[ITEM_MAX];
    item_write(expected, size, item[3], item_number(item));
    return memcmp(item, expected, size) == 0;
}

/* --- producers ------------------------------------------------------------------------------------------ */

static inline int put_batch(struct traffic *t, struct chance *chance, uint32_t me, uint32_t *next)
{
    unsigned char items[BATCH_MAX * ITEM_MAX];
    size_t n = 1 + chance_below(chance, BATCH_MAX);
    size_t put = 99;
    if (n > NUMBERS - *next)
        n = NUMBERS - *next;
    for (uint32_t i = 0; i < n; i++)
        item_write(items + i * t->item_size, t->item_size, me, *next + i);
    const thrum_time_t deadline =
        chance_one_in(chance, 2) ? THRUM_FOREVER : chance_deadline(chance, TINY_NS);
    const int err = thrum_queue_put_many(t->q, items, n, &put, deadline);
    CHECK(err == 0 ? put == n : put < n);
    *next += (uint32_t)put;
    return err;
}

static inline int put_somehow(struct traffic *t, struct chance *chance, uint32_t me, uint32_t *next)
{
    unsigned char item[ITEM_MAX];
    int err = 0;
    item_write(item, t->item_size, me, *next);
    switch (chance_below(chance, 4)) {
    case 0:
        err = thrum_queue_tryput(t->q, item);
        break;
    case 1:
        err = thrum_queue_put_until(t->q, item, chance_deadline(chance, TINY_NS));
        break;
    case 2:
        return put_batch(t, chance, me, next);
    default:
        err = thrum_queue_put(t->q, item);
    }
    *next += err == 0;
    return err;
}

static inline void producer(struct member *self)
{
    struct traffic *t = self->shared;
    uint32_t next = 0;
    int err = 0;
    while (err != ESHUTDOWN && next < NUMBERS) {
        err = put_somehow(t, &self->chance, self->index, &next);
        CHECK(err == 0 || err == EAGAIN || err == ETIMEDOUT || err == ESHUTDOWN);
        watchdog_progress();
        if (chance_one_in(&self->chance, 8))
            chance_dawdle(&self->chance);
    }
    t->put[self->index] = next;
}

/* --- consumers ------------------------------------------------------------------------------------------ */

static inline int get_somehow(struct traffic *t, struct chance *chance, unsigned char *items,
                              size_t *got)
{
    int err = 0;
    switch (chance_below(chance, 4)) {
    case 0:
        err = thrum_queue_tryget(t->q, items);
        break;
    case 1:
        err = thrum_queue_get_until(t->q, items, chance_deadline(chance, TINY_NS));
        break;
    case 2:
        err = thrum_queue_get_many(t->q, items, 1 + chance_below(chance, BATCH_MAX), got,
                                   chance_one_in(chance, 2) ? THRUM_FOREVER
                                                            : chance_deadline(chance, TINY_NS));
        CHECK(err == 0 ? *got >= 1 && *got <= BATCH_MAX : *got == 0);
        return err;
    default:
        err = thrum_queue_get(t->q, items);
    }
    *got = err == 0;
    return err;
}

static inline void receive(struct traffic *t, const unsigned char *item, uint32_t *next)
{
    const uint32_t from = item[3];
    const uint32_t number = item_number(item);
    const bool known = from < PRODUCERS && number < NUMBERS;
    CHECK(item_is_whole(item, t->item_size));
    CHECK(known);
    if (!known)
        return;
    CHECK(__atomic_fetch_add(&t->seen[from][number], 1, __ATOMIC_RELAXED) == 0);
    CHECK(!t->road->in_order || number >= next[from]);
    next[from] = number + 1;
}

static inline void consumer(struct member *self)
{
    struct traffic *t = self->shared;
    unsigned char items[BATCH_MAX * ITEM_MAX];
    uint32_t next[PRODUCERS] = {0};
    uint64_t all = 0;
    int err = 0;
    while (err != ESHUTDOWN) {
        size_t got = 0;
        err = get_somehow(t, &self->chance, items, &got);
        CHECK(err == 0 || err == EAGAIN || err == ETIMEDOUT || err == ESHUTDOWN);
        for (size_t i = 0; i < got; i++)
            receive(t, items + i * t->item_size, next);
        if (chance_one_in(&self->chance, 8))
            chance_dawdle(&self->chance);
        for (size_t i = 0; i < got; i++)
            CHECK(thrum_queue_task_done(t->q) == 0);
        all += got;
        watchdog_progress();
    }
    __atomic_fetch_add(&t->got, all, __ATOMIC_RELAXED);
}

/* Joins now and then, and in the end for good. */
static inline void joiner(struct member *self)
{
    struct traffic *t = self->shared;
    int err = ETIMEDOUT;
    while (err != 0) {
        err = thrum_queue_join_until(t->q, chance_deadline(&self->chance, TINY_NS));
        CHECK(err == 0 || err == ETIMEDOUT);
        CHECK(thrum_queue_size(t->q) <= PRODUCERS * NUMBERS);
        if (err != 0 && chance_one_in(&self->chance, 8))
            err = thrum_queue_join(t->q);
        watchdog_progress();
    }
}

/* --- one round -------------------------------------------------------------------------------------------- */

static inline void traffic_judge(struct traffic *t)
{
    uint64_t put = 0;
    for (unsigned i = 0; i < PRODUCERS; i++) {
        put += t->put[i];
        for (uint32_t number = 0; !t->road->abort && number < NUMBERS; number++)
            CHECK(t->seen[i][number] == (number < t->put[i]));
    }
    CHECK(t->road->abort ? t->got <= put : t->got == put);
    CHECK(thrum_queue_empty(t->q));
    CHECK(thrum_queue_unfinished(t->q) == 0);
    CHECK(thrum_queue_task_done(t->q) == EINVAL);
    CHECK(thrum_queue_tryjoin(t->q) == 0);
    CHECK(thi_park_count(t->q) == 0);
}

static inline void traffic_round(struct traffic *t, const struct road *road, struct chance *chance)
{
    static const size_t sizes[] = {4, 5, 8, 16, 24, ITEM_MAX};
    struct member producers[PRODUCERS];
    struct member consumers[CONSUMERS];
    struct member joins;
    memset(t, 0, sizeof *t);
    t->road = road;
    t->item_size = sizes[chance_below(chance, 6)];
    t->q = stress_queue(road->order, road->capacity, t->item_size);
    team_start(consumers, CONSUMERS, consumer, t, THRUM_FOREVER);
    team_start(producers, PRODUCERS, producer, t, THRUM_FOREVER);
    member_start(&joins, joiner, t, 0, THRUM_FOREVER);
    const struct timespec nap = {0, chance_below(chance, 20000000)};
    nanosleep(&nap, NULL); /* how far they come is left to chance */
    CHECK((road->abort ? thrum_queue_abort : thrum_queue_close)(t->q) == 0);
    team_join(producers, PRODUCERS);
    team_join(consumers, CONSUMERS);
    member_join(&joins);
    traffic_judge(t);
    thrum_queue_destroy(t->q);
}

static inline void traffic_run(const struct road *road, thrum_time_t until)
{
    static struct traffic t;
    struct chance chance = chance_begin();
    do
        traffic_round(&t, road, &chance);
    while (thrum_now() < until);
}

/* --- jobs: what was done is seen by who joined ------------------------------------------------------------- */

#define JOBS 24u
#define WORKERS 4u

struct office {
    thrum_queue_t *q;
    uint64_t plain[JOBS]; /* each job is one worker's at a time, and after the join the boss's */
};

static inline void worker(struct member *self)
{
    struct office *o = self->shared;
    uint32_t job = 0;
    while (thrum_queue_get(o->q, &job) == 0) {
        o->plain[job % JOBS]++;
        if (chance_one_in(&self->chance, 8))
            chance_dawdle(&self->chance);
        CHECK(thrum_queue_task_done(o->q) == 0);
    }
}

static inline void office_run(const struct road *road, thrum_time_t until)
{
    struct office o = {.q = stress_queue(road->order, road->capacity, sizeof(uint32_t))};
    struct member workers[WORKERS];
    uint64_t rounds = 0;
    team_start(workers, WORKERS, worker, &o, until);
    do {
        for (uint32_t job = 0; job < JOBS; job++)
            CHECK(thrum_queue_put(o.q, &job) == 0);
        CHECK(thrum_queue_join(o.q) == 0);
        rounds++;
        for (uint32_t job = 0; job < JOBS; job++)
            CHECK(o.plain[job] == rounds);
        watchdog_progress();
    } while (thrum_now() < until);
    CHECK(thrum_queue_close(o.q) == 0);
    team_join(workers, WORKERS);
    CHECK(thrum_queue_task_done(o.q) == EINVAL);
    thrum_queue_destroy(o.q);
}

#endif /* TESTS_QUEUE_STRESS_H */
