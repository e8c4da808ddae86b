/*
 * Select: whoever selects against whom, on whatever side, nothing is lost, nothing is done twice, and
 * who is not chosen leaves no trace.
 */
#include "stress/stress.h"

#define TINY_NS 60000u

static int by_number(const void *a, const void *b, void *ctx)
{
    uint32_t x = 0, y = 0;
    (void)ctx;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

static thrum_queue_t *make_queue(thrum_order_t order, size_t capacity)
{
    thrum_queue_config_t config = THRUM_QUEUE_CONFIG_INIT;
    thrum_queue_t *q = NULL;
    config.order = order;
    config.capacity = capacity;
    config.item_size = sizeof(uint32_t);
    config.compare = by_number;
    if (thrum_queue_create(&q, &config) != 0)
        abort();
    return q;
}

static void count(uint64_t *counter, uint64_t n)
{
    __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

static int select_somehow(thrum_case_t *cases, size_t n, size_t *chosen, struct chance *chance)
{
    *chosen = SIZE_MAX;
    int err = 0;
    switch (chance_below(chance, 4)) {
    case 0:
        err = thrum_tryselect(cases, n, chosen);
        break;
    case 1:
        err = thrum_select(cases, n, chance_deadline(chance, TINY_NS), chosen);
        break;
    default:
        err = thrum_select(cases, n, THRUM_FOREVER, chosen);
    }
    CHECK((err == EAGAIN || err == ETIMEDOUT || err == ECANCELED) == (*chosen == SIZE_MAX));
    CHECK(*chosen == SIZE_MAX || *chosen < n);
    return err;
}

/* ------------------------------------------------------------------------------------------------
 * A market: sellers select among queues to put into, buyers among queues to get from, and beside them
 * some who put and get without selecting. It closes at some time.
 */

#define QUEUES 3u
#define TRADERS 8u

struct market {
    thrum_queue_t *q[QUEUES];
    thrum_event_t closing;
    uint64_t put; /* sums of what was put and got; relaxed */
    uint64_t got;
    uint64_t bell; /* how often the event was chosen */
};

static void seller(struct member *self)
{
    struct market *m = self->shared;
    uint32_t item[QUEUES];
    bool open = true;
    while (open) {
        size_t chosen = 0;
        thrum_case_t cases[QUEUES + 1] = {THRUM_CASE_EVENT(&m->closing)};
        for (unsigned i = 0; i < QUEUES; i++) {
            item[i] = chance_below(&self->chance, 1000000);
            cases[i + 1] = (thrum_case_t)THRUM_CASE_PUT(m->q[i], &item[i]);
        }
        const int err = select_somehow(cases, QUEUES + 1, &chosen, &self->chance);
        CHECK(err == 0 || err == EAGAIN || err == ETIMEDOUT);
        if (err == 0 && chosen != 0)
            count(&m->put, item[chosen - 1]);
        open = err != 0 || chosen != 0;
        watchdog_progress();
    }
    count(&m->bell, 1);
}

/* Until every queue is closed and drained: those are left out. */
static void buyer(struct member *self)
{
    struct market *m = self->shared;
    const thrum_case_t none = THRUM_CASE_NONE;
    uint32_t item[QUEUES];
    thrum_case_t cases[QUEUES];
    for (unsigned i = 0; i < QUEUES; i++)
        cases[i] = (thrum_case_t)THRUM_CASE_GET(m->q[i], &item[i]);
    for (unsigned closed = 0; closed < QUEUES;) {
        size_t chosen = 0;
        const int err = select_somehow(cases, QUEUES, &chosen, &self->chance);
        CHECK(err == 0 || err == EAGAIN || err == ETIMEDOUT || err == ESHUTDOWN);
        if (err == 0)
            count(&m->got, item[chosen]);
        if (err == ESHUTDOWN) {
            cases[chosen] = none;
            closed++;
        }
        watchdog_progress();
    }
}

/* Puts into one queue, or gets from it, as anybody may. */
static void plain_trader(struct member *self)
{
    struct market *m = self->shared;
    thrum_queue_t *q = m->q[self->index % QUEUES];
    int err = 0;
    while (err != ESHUTDOWN) {
        uint32_t item = 77;
        const bool into = chance_one_in(&self->chance, 2);
        const thrum_time_t deadline = chance_deadline(&self->chance, TINY_NS);
        err = into ? thrum_queue_put_until(q, &item, deadline)
                   : thrum_queue_get_until(q, &item, deadline);
        CHECK(err == 0 || err == ETIMEDOUT || err == ESHUTDOWN);
        if (err == 0)
            count(into ? &m->put : &m->got, item);
        watchdog_progress();
    }
}

static void market_round(struct chance *chance)
{
    struct market m = {.q = {make_queue(THRUM_FIFO, 1 + chance_below(chance, 3)),
                             make_queue(THRUM_LIFO, 2),
                             make_queue(THRUM_PRIORITY, 1 + chance_below(chance, 8))}};
    struct member sellers[TRADERS / 2];
    struct member buyers[TRADERS / 2];
    struct member plain[2];
    team_start(sellers, TRADERS / 2, seller, &m, THRUM_FOREVER);
    team_start(buyers, TRADERS / 2, buyer, &m, THRUM_FOREVER);
    team_start(plain, 2, plain_trader, &m, THRUM_FOREVER);
    const struct timespec nap = {0, chance_below(chance, 10000000)};
    nanosleep(&nap, NULL); /* how far they come is left to chance */
    thrum_event_set(&m.closing);
    team_join(sellers, TRADERS / 2);
    for (unsigned i = 0; i < QUEUES; i++)
        CHECK(thrum_queue_close(m.q[i]) == 0);
    team_join(plain, 2);
    team_join(buyers, TRADERS / 2);
    CHECK(m.put == m.got && m.bell == TRADERS / 2);
    CHECK(thi_park_count(&m.closing) == 0);
    for (unsigned i = 0; i < QUEUES; i++) {
        CHECK(thrum_queue_empty(m.q[i]) && thi_park_count(m.q[i]) == 0);
        thrum_queue_destroy(m.q[i]);
    }
}

static void market(thrum_time_t until)
{
    struct chance chance = chance_begin();
    do
        market_round(&chance);
    while (thrum_now() < until);
}

/* ------------------------------------------------------------------------------------------------
 * A ring of neighbours: each selects to get from the left and to put to the right at once, so that every
 * queue has selecting strands on both sides. What goes round stays the same.
 */

#define NEIGHBOURS 6u
#define TOKENS 4u

struct circle {
    thrum_queue_t *q[NEIGHBOURS];
    uint64_t held; /* in hands when they stopped */
};

static void neighbour(struct member *self)
{
    struct circle *c = self->shared;
    thrum_queue_t *left = c->q[self->index];
    thrum_queue_t *right = c->q[(self->index + 1) % NEIGHBOURS];
    uint32_t hand = 0;
    uint32_t got = 0;
    while (member_goes_on(self)) {
        size_t chosen = 0;
        thrum_case_t cases[] = {THRUM_CASE_NONE, THRUM_CASE_NONE, THRUM_CASE_GET(left, &got)};
        if (hand != 0) /* twice the same, and a get of what comes meanwhile */
            cases[0] = cases[1] = (thrum_case_t)THRUM_CASE_PUT(right, &hand);
        const int err = thrum_select(cases, 3, thrum_after(TINY_NS), &chosen);
        CHECK(err == 0 || err == ETIMEDOUT);
        if (err == 0 && chosen == 2)
            hand += got;
        else if (err == 0)
            hand = 0;
    }
    count(&c->held, hand);
}

static void circle(thrum_time_t until)
{
    struct circle c = {.held = 0};
    uint64_t left = 0;
    for (unsigned i = 0; i < NEIGHBOURS; i++)
        c.q[i] = make_queue(i % 2 == 0 ? THRUM_FIFO : THRUM_LIFO, i % 3 == 0 ? 1 : 2);
    for (uint32_t token = 1; token <= TOKENS; token++)
        CHECK(thrum_queue_tryput(c.q[token], &token) == 0);
    team_run(NEIGHBOURS, neighbour, &c, until);
    for (unsigned i = 0; i < NEIGHBOURS; i++) {
        uint32_t token = 0;
        while (thrum_queue_tryget(c.q[i], &token) == 0)
            left += token;
        thrum_queue_destroy(c.q[i]);
    }
    CHECK(left + c.held == TOKENS * (TOKENS + 1) / 2);
}

/* ------------------------------------------------------------------------------------------------
 * Permits: of two semaphores, among those who select, those who acquire, and those who are cancelled.
 */

#define DOOMED 3u
#define PATIENT 2u
#define SHARE 60u

struct permits {
    thrum_sem_t sem[2];
    uint64_t taken;
    uint32_t through;
};

static void patient(struct member *self)
{
    struct permits *p = self->shared;
    thrum_case_t cases[] = {THRUM_CASE_SEM(&p->sem[0]), THRUM_CASE_SEM(&p->sem[1])};
    for (unsigned i = 0; i < SHARE; i++) {
        size_t chosen = 0;
        CHECK(thrum_select(cases, 2, THRUM_FOREVER, &chosen) == 0);
        watchdog_progress();
    }
    __atomic_fetch_add(&p->through, 1u, __ATOMIC_RELEASE);
}

static void doomed(struct member *self)
{
    struct permits *p = self->shared;
    thrum_case_t cases[] = {THRUM_CASE_SEM(&p->sem[0]), THRUM_CASE_SEM(&p->sem[1])};
    int err = 0;
    while (err != ECANCELED) {
        size_t chosen = 0;
        err = self->index == 0 ? thrum_sem_acquire(&p->sem[1])
                               : select_somehow(cases, 2, &chosen, &self->chance);
        CHECK(err == 0 || err == EAGAIN || err == ETIMEDOUT || err == ECANCELED);
        if (err == 0)
            count(&p->taken, 1);
        watchdog_progress();
    }
}

static void permits_round(struct chance *chance)
{
    struct permits p = {.taken = 0};
    struct member patients[PATIENT];
    struct member victims[DOOMED];
    uint64_t given = 0;
    unsigned cancelled = 0;
    team_start(patients, PATIENT, patient, &p, THRUM_FOREVER);
    team_start(victims, DOOMED, doomed, &p, THRUM_FOREVER);
    while (__atomic_load_n(&p.through, __ATOMIC_ACQUIRE) != PATIENT) {
        if (given < PATIENT * SHARE + __atomic_load_n(&p.taken, __ATOMIC_RELAXED)) {
            CHECK(thrum_sem_release(&p.sem[chance_below(chance, 2)]) == 0);
            given++;
        }
        chance_dawdle(chance);
        if (cancelled < DOOMED && chance_one_in(chance, 64))
            member_cancel(&victims[cancelled++]);
    }
    while (cancelled < DOOMED)
        member_cancel(&victims[cancelled++]);
    team_join(patients, PATIENT);
    team_join(victims, DOOMED);
    const uint64_t left = thrum_sem_value(&p.sem[0]) + thrum_sem_value(&p.sem[1]);
    CHECK(given == PATIENT * SHARE + p.taken + left);
    CHECK(thi_park_count(&p.sem[0]) + thi_park_count(&p.sem[1]) == 0);
}

static void permits(thrum_time_t until)
{
    struct chance chance = chance_begin();
    do
        permits_round(&chance);
    while (thrum_now() < until);
}

static const struct stress_case cases[] = {
    {"a market", market},
    {"a circle", circle},
    {"permits", permits},
};

STRESS_MAIN(cases)
