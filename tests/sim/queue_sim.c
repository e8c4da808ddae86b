/*
 * Queues: nothing is lost, doubled or overtaken; nobody sleeps while there is something for him; join
 * returns when all is done and not before; and who is let go may end the queue.
 */
#include "queues.h"

#define QUEUE_NUMBERS 32

struct queue_world {
    thrum_queue_t *q;
    size_t item_size;
    bool fifo;
    unsigned puts[QUEUE_NUMBERS]; /* how often a number was put, got */
    unsigned gets[QUEUE_NUMBERS];
    unsigned put;
    unsigned got;
};

static struct queue_world queue_world(thrum_order_t order, size_t capacity, size_t item_size)
{
    return (struct queue_world){.q = queue_make(order, capacity, item_size),
                                .item_size = item_size,
                                .fifo = order == THRUM_FIFO};
}

/* Any order, any capacity, any size. */
static struct queue_world queue_any_world(void)
{
    static const size_t sizes[] = {4, 8, 3, 16, 24};
    const unsigned order = sim_random(5);
    return queue_world(order < 3    ? THRUM_FIFO
                       : order == 3 ? THRUM_LIFO
                                    : THRUM_PRIORITY,
                       sim_random(4), sizes[sim_random(5)]);
}

static void queue_was_put(struct queue_world *w, unsigned number)
{
    w->puts[number]++;
    w->put++;
}

static void queue_was_got(struct queue_world *w, const struct queue_item *item)
{
    const unsigned number = queue_number(item, w->item_size);
    sim_check(number < QUEUE_NUMBERS);
    sim_check(++w->gets[number] == 1);
    w->got++;
}

static bool queue_timed_put(struct queue_world *w, unsigned number, thrum_time_t deadline)
{
    const struct queue_item item = queue_item(number);
    const int err = thrum_queue_put_until(w->q, &item, deadline);
    if (err == 0)
        queue_was_put(w, number);
    else if (err != ESHUTDOWN)
        sim_gave_up(err, deadline);
    return err == 0;
}

static bool queue_timed_get(struct queue_world *w, thrum_time_t deadline)
{
    struct queue_item item;
    const int err = thrum_queue_get_until(w->q, &item, deadline);
    if (err == 0)
        queue_was_got(w, &item);
    else if (err != ESHUTDOWN)
        sim_gave_up(err, deadline);
    return err == 0;
}

/* Takes what is left, and ends the queue: each number that was put was got, once. */
static void queue_settle(struct queue_world *w)
{
    struct queue_item item;
    sim_check(thrum_queue_size(w->q) == w->put - w->got);
    while (thrum_queue_tryget(w->q, &item) == 0)
        queue_was_got(w, &item);
    for (unsigned i = 0; i < QUEUE_NUMBERS; i++)
        sim_check(w->puts[i] == w->gets[i]);
    sim_check(thi_park_count(w->q) == 0);
    thrum_queue_destroy(w->q);
}

/* --- puts and gets ---------------------------------------------------------------------------- */

struct queue_run {
    struct queue_world *w;
    unsigned first;
    unsigned n;
};

static void *queue_puts(void *arg)
{
    const struct queue_run *r = arg;
    for (unsigned i = 0; i < r->n; i++)
        sim_check(queue_timed_put(r->w, r->first + i, THRUM_FOREVER));
    return NULL;
}

/* Numbers of one putter (the same tens) come in order. */
static void *queue_gets(void *arg)
{
    const struct queue_run *r = arg;
    unsigned next[QUEUE_NUMBERS / 10 + 1] = {0};
    for (unsigned i = 0; i < r->n; i++) {
        struct queue_item item;
        sim_check(thrum_queue_get(r->w->q, &item) == 0);
        queue_was_got(r->w, &item);
        const unsigned number = queue_number(&item, r->w->item_size);
        sim_check(!r->w->fifo || number % 10 >= next[number / 10]);
        next[number / 10] = number % 10 + 1;
    }
    return NULL;
}

static void queue_traffic(struct queue_world *w, unsigned each)
{
    struct queue_run r[4] = {{w, 10, each}, {w, 20, each}, {w, 0, each}, {w, 0, each}};
    for (unsigned i = 0; i < 4; i++)
        sim_spawn(i < 2 ? queue_puts : queue_gets, &r[i]);
    sim_join_all();
    sim_check(w->put == 2 * each && w->got == 2 * each);
    queue_settle(w);
}

SIM_TEST(queue, traffic, .tasks = 5, .schedules = 20000)
{
    struct queue_world w = queue_any_world();
    queue_traffic(&w, 2);
}

SIM_TEST(queue, traffic_through_a_chain_of_rings, .tasks = 5, .schedules = 20000)
{
    struct queue_world w = queue_world(THRUM_FIFO, 0, 24);
    queue_traffic(&w, 5);
}

SIM_TEST(queue, a_put_is_not_lost, .tasks = 2, .dfs_bound = 3, .schedules = 10000)
{
    struct queue_world w = queue_world(THRUM_FIFO, sim_random(2), 4);
    struct queue_run r = {&w, 0, 1};
    sim_spawn(queue_gets, &r);
    queue_timed_put(&w, 1, THRUM_FOREVER);
    sim_join_all();
    queue_settle(&w);
}

SIM_TEST(queue, a_place_is_not_lost, .tasks = 2, .dfs_bound = 3, .schedules = 10000)
{
    struct queue_world w = queue_world(THRUM_FIFO, 1, 4);
    struct queue_run r = {&w, 10, 2};
    sim_spawn(queue_puts, &r);
    queue_timed_get(&w, THRUM_FOREVER);
    sim_join_all();
    queue_settle(&w);
}

/* As many as sleep are woken, over the end of a ring. */
SIM_TEST(queue, three_puts_wake_three, .tasks = 5, .schedules = 10000)
{
    struct queue_world w = queue_world(THRUM_FIFO, 0, 24);
    struct queue_run r[4] = {{&w, 0, 1}, {&w, 0, 1}, {&w, 0, 1}, {&w, 10, 3}};
    sim_task *getters[3];
    for (unsigned i = 0; i < 3; i++)
        getters[i] = sim_spawn(queue_gets, &r[i]);
    for (unsigned i = 0; i < 3; i++)
        sim_await_waiting(getters[i], w.q);
    sim_spawn(queue_puts, &r[3]);
    sim_join_all();
    queue_settle(&w);
}

static void *queue_puts_many(void *arg)
{
    const struct queue_run *r = arg;
    unsigned char items[4 * 8] = {0};
    size_t done = 0;
    for (unsigned i = 0; i < r->n; i++)
        memset(items + i * r->w->item_size, (int)(r->first + i), r->w->item_size);
    sim_check(thrum_queue_put_many(r->w->q, items, r->n, &done, THRUM_FOREVER) == 0);
    sim_check(done == r->n);
    for (unsigned i = 0; i < r->n; i++)
        queue_was_put(r->w, r->first + i);
    return NULL;
}

static void *queue_gets_many(void *arg)
{
    const struct queue_run *r = arg;
    struct queue_world *w = r->w;
    unsigned char items[4 * 8];
    size_t done = 0;
    for (unsigned left = r->n; left != 0; left -= (unsigned)done) {
        sim_check(thrum_queue_get_many(w->q, items, left, &done, THRUM_FOREVER) == 0);
        sim_check(done != 0 && done <= left);
        for (size_t i = 0; i < done; i++) {
            struct queue_item item;
            memcpy(item.bytes, items + i * w->item_size, w->item_size);
            queue_was_got(w, &item);
        }
    }
    return NULL;
}

SIM_TEST(queue, many_at_once, .tasks = 5, .schedules = 20000)
{
    static const thrum_order_t orders[] = {THRUM_FIFO, THRUM_FIFO, THRUM_LIFO, THRUM_PRIORITY};
    struct queue_world w = queue_world(orders[sim_random(4)], sim_random(4), 8);
    struct queue_run r[4] = {{&w, 10, 3}, {&w, 20, 2}, {&w, 0, 2}, {&w, 0, 3}};
    sim_spawn(queue_puts_many, &r[0]);
    sim_spawn(queue_puts, &r[1]);
    sim_spawn(queue_gets, &r[2]);
    sim_spawn(queue_gets_many, &r[3]);
    sim_join_all();
    queue_settle(&w);
}

/* --- giving up -------------------------------------------------------------------------------- */

struct queue_timed {
    struct queue_world *w;
    thrum_time_t deadline;
    unsigned number;
    bool done;
};

static void *queue_gets_timed(void *arg)
{
    struct queue_timed *t = arg;
    t->done = queue_timed_get(t->w, t->deadline);
    return NULL;
}

static void *queue_puts_timed(void *arg)
{
    struct queue_timed *t = arg;
    t->done = queue_timed_put(t->w, t->number, t->deadline);
    return NULL;
}

SIM_TEST(queue, who_gives_up_swallows_no_item, .tasks = 4, .schedules = 20000)
{
    struct queue_world w = queue_any_world();
    struct queue_timed victim = {&w, sim_soon(), 0, false};
    struct queue_timed patient = {&w, THRUM_FOREVER, 0, false};
    sim_task *first = sim_spawn(queue_gets_timed, &victim);
    sim_spawn(queue_gets_timed, &patient);
    if (sim_random(2) == 0)
        sim_spawn(sim_canceller, first);
    queue_timed_put(&w, 1, THRUM_FOREVER);
    sim_join(first);
    if (victim.done)
        queue_timed_put(&w, 2, THRUM_FOREVER);
    sim_join_all();
    sim_check(patient.done);
    queue_settle(&w);
}

SIM_TEST(queue, who_gives_up_swallows_no_place, .tasks = 4, .schedules = 20000)
{
    struct queue_world w = queue_world(sim_random(2) == 0 ? THRUM_FIFO : THRUM_LIFO, 1, 8);
    struct queue_timed victim = {&w, sim_soon(), 2, false};
    struct queue_timed patient = {&w, THRUM_FOREVER, 3, false};
    queue_timed_put(&w, 1, THRUM_FOREVER);
    sim_task *first = sim_spawn(queue_puts_timed, &victim);
    sim_spawn(queue_puts_timed, &patient);
    if (sim_random(2) == 0)
        sim_spawn(sim_canceller, first);
    queue_timed_get(&w, THRUM_FOREVER);
    sim_join(first);
    if (victim.done)
        queue_timed_get(&w, THRUM_FOREVER);
    sim_join_all();
    sim_check(patient.done);
    queue_settle(&w);
}

static void *queue_closes(void *arg)
{
    struct queue_world *w = arg;
    sim_check(thrum_queue_close(w->q) == 0);
    return NULL;
}

/* Whoever waits is let go, and what is in it is drained. */
SIM_TEST(queue, puts_and_gets_against_close, .tasks = 6, .schedules = 20000)
{
    struct queue_world w = queue_any_world();
    struct queue_timed t[4] = {{&w, THRUM_FOREVER, 1, false},
                               {&w, sim_soon(), 2, false},
                               {&w, THRUM_FOREVER, 0, false},
                               {&w, sim_soon(), 0, false}};
    for (unsigned i = 0; i < 4; i++)
        sim_spawn(i < 2 ? queue_puts_timed : queue_gets_timed, &t[i]);
    sim_spawn(queue_closes, &w);
    sim_join_all();
    struct queue_item item = queue_item(3);
    sim_check(thrum_queue_tryput(w.q, &item) == ESHUTDOWN);
    queue_settle(&w);
}

/* --- join ------------------------------------------------------------------------------------- */

static void *queue_works(void *arg)
{
    const struct queue_run *r = arg;
    struct queue_world *w = r->w;
    for (unsigned i = 0; i < r->n; i++) {
        struct queue_item item;
        sim_check(thrum_queue_get(w->q, &item) == 0);
        queue_was_got(w, &item);
        sim_point();
        w->gets[0]++; /* what is done, as the test counts it */
        sim_check(thrum_queue_task_done(w->q) == 0);
    }
    return NULL;
}

static void *queue_joins(void *arg)
{
    struct queue_world *w = arg;
    sim_check(thrum_queue_join(w->q) == 0);
    sim_check(w->gets[0] == 3);
    return NULL;
}

SIM_TEST(queue, join_returns_when_all_is_done, .tasks = 5, .schedules = 20000)
{
    struct queue_world w = queue_any_world();
    struct queue_run r[3] = {{&w, 0, 1}, {&w, 0, 2}, {&w, 10, 3}};
    sim_task *putter = sim_spawn(queue_puts, &r[2]);
    sim_spawn(queue_works, &r[0]);
    sim_spawn(queue_works, &r[1]);
    sim_join(putter);
    sim_spawn(queue_joins, &w);
    queue_joins(&w);
    sim_join_all();
    sim_check(thrum_queue_unfinished(w.q) == 0 && thrum_queue_task_done(w.q) == EINVAL);
    sim_check((w.q->done & 1) == 0 || thi_park_count(w.q) == 0);
    w.gets[0] = 0;
    queue_settle(&w);
}

/* The moment that a joiner has waited for is not lost because somebody puts again. */
SIM_TEST(queue, join_does_not_miss_its_moment, .tasks = 2, .dfs_bound = 3, .schedules = 10000)
{
    struct queue_world w = queue_world(THRUM_FIFO, 0, 4);
    w.gets[0] = 3;
    queue_timed_put(&w, 1, THRUM_FOREVER);
    sim_task *joiner = sim_spawn(queue_joins, &w);
    sim_await_waiting(joiner, w.q);
    sim_check(thrum_queue_task_done(w.q) == 0);
    queue_timed_put(&w, 2, THRUM_FOREVER);
    sim_join_all();
    w.gets[0] = 0;
    queue_settle(&w);
}

static void *queue_aborts(void *arg)
{
    struct queue_world *w = arg;
    sim_check(thrum_queue_abort(w->q) == 0);
    return NULL;
}

static void *queue_works_until_shutdown(void *arg)
{
    struct queue_world *w = arg;
    struct queue_item item;
    int err = 0;
    while ((err = thrum_queue_get(w->q, &item)) == 0) {
        queue_was_got(w, &item);
        sim_check(thrum_queue_task_done(w->q) == 0);
    }
    sim_check(err == ESHUTDOWN);
    return NULL;
}

/* What was put is got or dropped, and then a join has nothing to wait for. */
SIM_TEST(queue, abort_lets_everybody_go, .tasks = 6, .schedules = 20000)
{
    struct queue_world w = queue_any_world();
    struct queue_timed t[2] = {{&w, THRUM_FOREVER, 1, false}, {&w, THRUM_FOREVER, 2, false}};
    const bool early = sim_random(4) == 0;
    queue_timed_put(&w, 3, THRUM_FOREVER);
    if (early)
        sim_check(thrum_queue_task_done(w.q) == 0);
    sim_task *workers[2] = {NULL, NULL};
    sim_spawn(queue_puts_timed, &t[0]);
    sim_spawn(queue_puts_timed, &t[1]);
    if (!early)
        workers[0] = sim_spawn(queue_works_until_shutdown, &w);
    workers[1] = sim_spawn(queue_aborts, &w);
    sim_check(thrum_queue_join(w.q) == 0);
    for (unsigned i = 0; i < 2; i++)
        if (workers[i] != NULL)
            sim_join(workers[i]);
    sim_check(thrum_queue_join(w.q) == 0);
    sim_join_all();
    sim_check(thrum_queue_unfinished(w.q) == 0 && thrum_queue_size(w.q) == 0);
    sim_check(thrum_queue_task_done(w.q) == EINVAL && w.got <= w.put);
    thrum_queue_destroy(w.q);
}

/* --- ending it -------------------------------------------------------------------------------- */

static void *queue_gets_and_ends(void *arg)
{
    struct queue_world *w = arg;
    sim_check(queue_timed_get(w, THRUM_FOREVER));
    thrum_queue_destroy(w->q);
    return NULL;
}

SIM_TEST(queue, who_got_an_item_may_end_it, .tasks = 2, .dfs_bound = 3, .schedules = 20000)
{
    struct queue_world w = queue_any_world();
    if (sim_random(4) == 0) {
        int fd = -1;
        sim_check(thrum_queue_fd(w.q, &fd) == 0);
    }
    sim_spawn(queue_gets_and_ends, &w);
    const struct queue_item item = queue_item(1);
    sim_check(thrum_queue_put(w.q, &item) == 0);
    sim_join_all();
    sim_check(w.got == 1);
}

static void *queue_joins_and_ends(void *arg)
{
    struct queue_world *w = arg;
    sim_check(thrum_queue_join(w->q) == 0);
    thrum_queue_destroy(w->q);
    return NULL;
}

SIM_TEST(queue, who_has_joined_may_end_it, .tasks = 2, .dfs_bound = 4, .schedules = 20000)
{
    struct queue_world w = queue_any_world();
    queue_timed_put(&w, 1, THRUM_FOREVER);
    queue_timed_get(&w, THRUM_FOREVER);
    sim_spawn(queue_joins_and_ends, &w);
    sim_check(thrum_queue_task_done(w.q) == 0);
    sim_join_all();
}

/* --- rings and their lives -------------------------------------------------------------------- */

static void *queue_tries(void *arg)
{
    const struct queue_run *r = arg;
    for (unsigned i = 0; i < r->n; i++) {
        struct queue_item item;
        const int err = thrum_queue_tryget(r->w->q, &item);
        sim_check(err == 0 || err == EAGAIN || err == ESHUTDOWN);
        if (err == 0)
            queue_was_got(r->w, &item);
        item = queue_item(r->first + i);
        if (r->first != 0 && thrum_queue_put(r->w->q, &item) == 0)
            queue_was_put(r->w, r->first + i);
    }
    return NULL;
}

/* Rings of two. One getter is caught between finding a ring drained and saying so, while the ring goes
 * through the chain and comes back. */
SIM_TEST(queue, a_ring_comes_back, .tasks = 3, .schedules = 40000, .pct_depth = 3)
{
    struct queue_world w = queue_world(THRUM_FIFO, 0, 24);
    struct queue_run r[2] = {{&w, 0, 2}, {&w, 25, 1}};
    for (unsigned i = 1; i <= 5; i++)
        queue_timed_put(&w, i, THRUM_FOREVER);
    for (unsigned i = 1; i <= 3 + sim_random(2); i++)
        queue_timed_get(&w, THRUM_FOREVER);
    sim_spawn(queue_tries, &r[0]);
    sim_spawn(queue_tries, &r[1]);
    for (unsigned i = 6; i <= 12; i++) {
        struct queue_item item;
        queue_timed_put(&w, i, THRUM_FOREVER);
        sim_check(thrum_queue_size(w.q) <= 10);
        if (i % 4 != 0 && thrum_queue_tryget(w.q, &item) == 0)
            queue_was_got(&w, &item);
    }
    sim_join_all();
    queue_settle(&w);
}

/* However much goes through it, a queue that never holds more than two items needs few rings. */
SIM_TEST(queue, rings_are_used_again, .tasks = 3, .schedules = 5000)
{
    struct queue_world w = queue_world(THRUM_FIFO, 0, 24);
    struct queue_run r = {&w, 0, 5};
    sim_spawn(queue_tries, &r);
    for (unsigned i = 1; i <= 20; i++) {
        queue_timed_put(&w, i, THRUM_FOREVER);
        struct queue_item item;
        if (i % 2 == 0)
            while (thrum_queue_tryget(w.q, &item) == 0)
                queue_was_got(&w, &item);
    }
    sim_join_all();
    unsigned rings = 0;
    for (unsigned i = 0; i < 4; i++) {
        const thi_ring_t *lists[] = {w.q->fifo.first, w.q->fifo.retired, w.q->fifo.spare,
                                     w.q->fifo.empty};
        for (const thi_ring_t *ring = lists[i]; ring != NULL; ring = ring->next)
            rings++;
    }
    sim_check(rings <= 5);
    queue_settle(&w);
}

/* --- the descriptor --------------------------------------------------------------------------- */

struct queue_watch {
    struct queue_world *w;
    int fd;
};

static void *queue_opens(void *arg)
{
    struct queue_watch *watch = arg;
    sim_check(thrum_queue_fd(watch->w->q, &watch->fd) == 0);
    return NULL;
}

SIM_TEST(queue, the_descriptor_says_what_is_there, .tasks = 5, .schedules = 30000)
{
    struct queue_world w = queue_any_world();
    struct queue_watch watch = {&w, -1};
    struct queue_timed t[2] = {{&w, sim_soon(), 30, false}, {&w, sim_soon(), 0, false}};
    struct queue_run r = {&w, 0, 3};
    if (sim_random(4) != 0)
        queue_opens(&watch);
    else
        sim_spawn(queue_opens, &watch);
    sim_spawn(queue_puts_timed, &t[0]);
    sim_spawn(queue_tries, &r);
    if (sim_random(2) == 0)
        sim_spawn(queue_gets_timed, &t[1]);
    for (unsigned i = 1; i <= 2; i++)
        queue_timed_put(&w, i, sim_soon());
    if (sim_random(4) == 0)
        queue_closes(&w);
    sim_join_all();
    const bool ready = thrum_queue_size(w.q) != 0 || w.q->order->closed(w.q);
    sim_check(sim_signal(watch.fd) == ready);
    queue_settle(&w);
}

/* While the last ring is new and empty, whoever asks must not wait for what may never come. */
SIM_TEST(queue, the_descriptor_at_the_end_of_a_ring, .tasks = 3, .schedules = 20000)
{
    struct queue_world w = queue_world(THRUM_FIFO, 0, 24);
    struct queue_watch watch = {&w, -1};
    struct queue_run r[2] = {{&w, 0, 4}, {&w, 10, 5}};
    queue_opens(&watch);
    sim_spawn(queue_tries, &r[0]);
    sim_spawn(queue_puts, &r[1]);
    sim_join_all();
    sim_check(sim_signal(watch.fd) == (thrum_queue_size(w.q) != 0));
    queue_settle(&w);
}

/* What a bounded queue has reserved it keeps. */
SIM_TEST(queue, a_bounded_one_needs_no_more_memory, .tasks = 1, .schedules = 10)
{
    thrum_queue_t *q = queue_make(sim_random(2) == 0 ? THRUM_LIFO : THRUM_PRIORITY, 64, 4);
    uint32_t item = 0;
    for (unsigned i = 0; i < 64; i++)
        sim_check(thrum_queue_tryput(q, &item) == 0);
    while (thrum_queue_tryget(q, &item) == 0) {
    }
    thi_fault_arm(THI_FAULT_ALLOC, 1);
    for (unsigned i = 0; i < 64; i++)
        sim_check(thrum_queue_tryput(q, &item) == 0);
    thi_fault_arm(THI_FAULT_ALLOC, 0);
    thrum_queue_destroy(q);
}
