/*
 * Bounded FIFO: eight producers and eight consumers lose nothing, get nothing twice, and keep each
 * producer's order, whoever times out and whenever the queue ends; a queue may be destroyed by who got
 * its last item; and who is cancelled takes nothing along.
 */
#include "stress/queue_stress.h"

static void through(size_t capacity, bool abort, thrum_time_t until)
{
    const struct road road = {THRUM_FIFO, capacity, true, abort};
    traffic_run(&road, until);
}

static void through_1(thrum_time_t until)
{
    through(1, false, until);
}

static void through_2(thrum_time_t until)
{
    through(2, false, until);
}

static void through_3(thrum_time_t until)
{
    through(3, false, until);
}

static void through_7(thrum_time_t until)
{
    through(7, false, until);
}

static void through_64(thrum_time_t until)
{
    through(64, false, until);
}

static void aborted(thrum_time_t until)
{
    through(7, true, until);
}

static void jobs(thrum_time_t until)
{
    const struct road road = {THRUM_FIFO, 7, true, false};
    office_run(&road, until);
}

/* ------------------------------------------------------------------------------------------------
 * Destroyed at once: by who got the last item, or joined after the last task_done. One makes queues, the
 * other puts into them and may be still on its way out.
 */

struct handover {
    thrum_queue_t *q; /* NULL: there is none */
    bool over;
};

static thrum_queue_t *await_queue(struct handover *h)
{
    thrum_queue_t *q = NULL;
    while ((q = __atomic_load_n(&h->q, __ATOMIC_ACQUIRE)) == NULL &&
           !__atomic_load_n(&h->over, __ATOMIC_ACQUIRE))
        sched_yield();
    return q;
}

static void owner(struct member *self)
{
    struct handover *h = self->shared;
    const uint32_t item = 5;
    while (member_goes_on(self)) {
        uint32_t got = 0;
        const bool join = chance_one_in(&self->chance, 2);
        thrum_queue_t *q = stress_queue(THRUM_FIFO, 2, sizeof item);
        int fd = -1;
        if (chance_one_in(&self->chance, 4))
            CHECK(thrum_queue_fd(q, &fd) == 0);
        if (join)
            CHECK(thrum_queue_put(q, &item) == 0);
        __atomic_store_n(&h->q, q, __ATOMIC_RELEASE);
        if (chance_one_in(&self->chance, 2))
            chance_dawdle(&self->chance);
        CHECK((join ? thrum_queue_join(q) : thrum_queue_get(q, &got)) == 0);
        CHECK(got == (join ? 0 : item));
        thrum_queue_destroy(q);
        while (__atomic_load_n(&h->q, __ATOMIC_ACQUIRE) != NULL)
            sched_yield();
    }
    __atomic_store_n(&h->over, true, __ATOMIC_RELEASE);
}

/* Puts an item into an empty queue, or marks the one in it done. */
static void visitor(struct member *self)
{
    struct handover *h = self->shared;
    const uint32_t item = 5;
    thrum_queue_t *q = NULL;
    while ((q = await_queue(h)) != NULL) {
        if (chance_one_in(&self->chance, 2))
            chance_dawdle(&self->chance);
        if (thrum_queue_unfinished(q) == 0)
            CHECK(thrum_queue_put(q, &item) == 0);
        else
            CHECK(thrum_queue_task_done(q) == 0);
        __atomic_store_n(&h->q, NULL, __ATOMIC_RELEASE);
    }
}

static void owner_or_visitor(struct member *self)
{
    if (self->index == 0)
        owner(self);
    else
        visitor(self);
}

static void destroyed(thrum_time_t until)
{
    struct handover h = {NULL, false};
    team_run(2, owner_or_visitor, &h, until);
}

/* ------------------------------------------------------------------------------------------------
 * A patient one beside some who will be cancelled, and just enough items (or places): a wake-up that
 * went away with one who was cancelled would leave the patient one waiting for ever.
 */

#define DOOMED 3u
#define SHARE 100u
#define PLACES 2u

struct crossing {
    thrum_queue_t *q;
    bool putters;   /* they all put, and places are given; else they get, and items are */
    uint32_t taken; /* by the doomed; relaxed */
    uint32_t through;
};

static int take(const struct crossing *c)
{
    uint32_t item = 1;
    return c->putters ? thrum_queue_put(c->q, &item) : thrum_queue_get(c->q, &item);
}

static void give(const struct crossing *c)
{
    uint32_t item = 1;
    CHECK((c->putters ? thrum_queue_get(c->q, &item) : thrum_queue_put(c->q, &item)) == 0);
}

static void doomed(struct member *self)
{
    struct crossing *c = self->shared;
    int err = 0;
    while ((err = take(c)) == 0)
        __atomic_fetch_add(&c->taken, 1u, __ATOMIC_RELAXED);
    CHECK(err == ECANCELED);
}

static void patient(struct member *self)
{
    struct crossing *c = self->shared;
    for (unsigned i = 0; i < SHARE; i++) {
        CHECK(take(c) == 0);
        watchdog_progress();
    }
    __atomic_store_n(&c->through, 1u, __ATOMIC_RELEASE);
}

/* What the doomed take is given once more. Returns how many were given. */
static uint32_t give_enough(struct crossing *c, struct member *victims, struct chance *chance)
{
    uint32_t given = 0;
    unsigned cancelled = 0;
    while (__atomic_load_n(&c->through, __ATOMIC_ACQUIRE) == 0) {
        if (given < SHARE + __atomic_load_n(&c->taken, __ATOMIC_RELAXED)) {
            give(c);
            given++;
            chance_dawdle(chance);
        } else {
            sched_yield();
        }
        if (cancelled < DOOMED - 1 && chance_one_in(chance, 32))
            member_cancel(&victims[cancelled++]);
    }
    while (cancelled < DOOMED)
        member_cancel(&victims[cancelled++]);
    return given;
}

static void crossing_round(bool putters, struct chance *chance)
{
    struct crossing c = {.q = stress_queue(THRUM_FIFO, PLACES, sizeof(uint32_t)),
                         .putters = putters};
    struct member victims[DOOMED];
    struct member survivor;
    const uint32_t item = 1;
    for (unsigned i = 0; putters && i < PLACES; i++)
        CHECK(thrum_queue_tryput(c.q, &item) == 0);
    team_start(victims, DOOMED, doomed, &c, THRUM_FOREVER);
    member_start(&survivor, patient, &c, 0, THRUM_FOREVER);
    const uint32_t given = give_enough(&c, victims, chance);
    member_join(&survivor);
    team_join(victims, DOOMED);
    const uint32_t left = given - SHARE - c.taken;
    CHECK(thrum_queue_size(c.q) == (putters ? PLACES - left : left));
    CHECK(thi_park_count(c.q) == 0);
    thrum_queue_destroy(c.q);
}

static void cancelled(thrum_time_t until)
{
    struct chance chance = chance_begin();
    do
        crossing_round(chance_one_in(&chance, 2), &chance);
    while (thrum_now() < until);
}

static const struct stress_case cases[] = {
    {"through 1 place", through_1},
    {"through 2 places", through_2},
    {"through 3 places", through_3},
    {"through 7 places", through_7},
    {"through 64 places", through_64},
    {"aborted", aborted},
    {"jobs", jobs},
    {"destroyed at once", destroyed},
    {"cancelled", cancelled},
};

STRESS_MAIN(cases)
