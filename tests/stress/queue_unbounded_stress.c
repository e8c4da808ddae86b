/*
 * Unbounded FIFO: traffic as through a bounded one, and tides: it grows and drains, again and again, with
 * getters in the middle of what is given back.
 */
#include "stress/queue_stress.h"

static void traffic(thrum_time_t until)
{
    const struct road road = {THRUM_FIFO, 0, true, false};
    traffic_run(&road, until);
}

static void aborted(thrum_time_t until)
{
    const struct road road = {THRUM_FIFO, 0, true, true};
    traffic_run(&road, until);
}

static void jobs(thrum_time_t until)
{
    const struct road road = {THRUM_FIFO, 0, true, false};
    office_run(&road, until);
}

/* ------------------------------------------------------------------------------------------------
 * Tides
 */

#define SEAS 4u
#define TIDE_MAX 3000u

struct shore {
    thrum_queue_t *q;
    uint64_t in; /* sums; relaxed */
    uint64_t out;
    uint32_t left; /* producers still at it */
};

static void flood(struct member *self)
{
    struct shore *s = self->shared;
    uint64_t sum = 0;
    while (member_goes_on(self)) {
        const uint32_t tide = chance_below(&self->chance, TIDE_MAX);
        for (uint32_t i = 0; i < tide; i++) {
            CHECK(thrum_queue_put(s->q, &i) == 0);
            sum += i;
        }
        while (thrum_queue_size(s->q) > TIDE_MAX / 8 && thrum_now() < self->until)
            sched_yield();
    }
    __atomic_fetch_add(&s->in, sum, __ATOMIC_RELAXED);
    if (__atomic_sub_fetch(&s->left, 1u, __ATOMIC_ACQ_REL) == 0)
        CHECK(thrum_queue_close(s->q) == 0);
}

static void ebb(struct member *self)
{
    struct shore *s = self->shared;
    uint32_t items[BATCH_MAX];
    uint64_t sum = 0;
    size_t got = 0;
    while (thrum_queue_get_many(s->q, items, 1 + chance_below(&self->chance, BATCH_MAX), &got,
                                THRUM_FOREVER) == 0) {
        for (size_t i = 0; i < got; i++)
            sum += items[i];
        watchdog_progress();
    }
    __atomic_fetch_add(&s->out, sum, __ATOMIC_RELAXED);
}

static void flood_or_ebb(struct member *self)
{
    if (self->index % 2 == 0)
        flood(self);
    else
        ebb(self);
}

static void tides(thrum_time_t until)
{
    struct shore s = {.q = stress_queue(THRUM_FIFO, 0, sizeof(uint32_t)), .left = SEAS / 2};
    team_run(SEAS, flood_or_ebb, &s, until);
    CHECK(s.in == s.out);
    CHECK(thrum_queue_empty(s.q));
    thrum_queue_destroy(s.q);
}

static const struct stress_case cases[] = {
    {"traffic", traffic},
    {"aborted", aborted},
    {"jobs", jobs},
    {"tides", tides},
};

STRESS_MAIN(cases)
