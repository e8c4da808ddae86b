/*
 * Queues are linearizable: three tasks, three calls each, and perhaps a close or an abort; and for each
 * schedule a complete search for an order of the calls that explains the answers.
 */
#include "linear.h"
#include "queues.h"

#define LINEAR_TASKS 3
#define LINEAR_CALLS_EACH 3

/* Does the checker bite? An answer too many, too early, too late, out of order. */
struct linear_case {
    thrum_order_t order;
    size_t capacity;
    bool holds;
    unsigned n;
    struct linear_call calls[4];
};

static const struct linear_case linear_cases[] = {
    {THRUM_FIFO, 0, true, 2, {{LINEAR_PUT, 1, 0, 1, 2}, {LINEAR_GET, 1, 0, 3, 4}}},
    {THRUM_FIFO, 0, false, 2, {{LINEAR_PUT, 1, 0, 3, 4}, {LINEAR_GET, 1, 0, 1, 2}}},
    {THRUM_FIFO, 0, true, 2, {{LINEAR_PUT, 1, 0, 1, 4}, {LINEAR_GET, 1, 0, 2, 3}}},
    {THRUM_FIFO, 0, false, 2, {{LINEAR_PUT, 1, 0, 1, 2}, {LINEAR_GET, 0, EAGAIN, 3, 4}}},
    {THRUM_FIFO, 0, true, 2, {{LINEAR_PUT, 1, 0, 1, 3}, {LINEAR_GET, 0, EAGAIN, 2, 4}}},
    {THRUM_FIFO,
     0,
     false,
     3,
     {{LINEAR_PUT, 1, 0, 1, 2}, {LINEAR_GET, 1, 0, 3, 5}, {LINEAR_GET, 1, 0, 4, 6}}},
    {THRUM_FIFO,
     0,
     false,
     3,
     {{LINEAR_PUT, 1, 0, 1, 2}, {LINEAR_PUT, 2, 0, 3, 4}, {LINEAR_GET, 2, 0, 5, 6}}},
    {THRUM_LIFO,
     0,
     true,
     3,
     {{LINEAR_PUT, 1, 0, 1, 2}, {LINEAR_PUT, 2, 0, 3, 4}, {LINEAR_GET, 2, 0, 5, 6}}},
    {THRUM_PRIORITY,
     0,
     false,
     3,
     {{LINEAR_PUT, 5, 0, 1, 2}, {LINEAR_PUT, 1, 0, 3, 4}, {LINEAR_GET, 1, 0, 5, 6}}},
    {THRUM_FIFO, 1, false, 2, {{LINEAR_PUT, 1, 0, 1, 2}, {LINEAR_PUT, 2, 0, 3, 4}}},
    {THRUM_FIFO, 1, true, 2, {{LINEAR_PUT, 1, 0, 1, 2}, {LINEAR_PUT, 2, EAGAIN, 3, 4}}},
    {THRUM_FIFO, 2, false, 2, {{LINEAR_PUT, 1, 0, 1, 2}, {LINEAR_PUT, 2, EAGAIN, 3, 4}}},
    {THRUM_FIFO, 0, false, 2, {{LINEAR_CLOSE, 0, 0, 1, 2}, {LINEAR_PUT, 1, 0, 3, 4}}},
};

SIM_TEST(linear, the_checker_bites, .tasks = 1, .schedules = 1)
{
    static struct linear l;
    for (size_t i = 0; i < sizeof linear_cases / sizeof linear_cases[0]; i++) {
        const struct linear_case *c = &linear_cases[i];
        l = (struct linear){.order = c->order, .capacity = c->capacity, .n = c->n};
        memcpy(l.calls, c->calls, sizeof c->calls);
        sim_check(linear_holds(&l) == c->holds);
    }
}

/* --- queues ----------------------------------------------------------------------------------- */

struct linear_world {
    thrum_queue_t *q;
    size_t item_size;
    bool waits; /* some calls do */
    bool ended;
    struct linear *l;
};

struct linear_task {
    struct linear_world *w;
    unsigned first; /* its items */
};

static int linear_do_put(const struct linear_world *w, const struct queue_item *item)
{
    switch (w->waits ? sim_random(4) : 0) {
    case 1:
        return thrum_queue_put(w->q, item);
    case 2:
        return thrum_queue_put_until(w->q, item, sim_now() + sim_random(40));
    default:
        return thrum_queue_tryput(w->q, item);
    }
}

static int linear_do_get(const struct linear_world *w, struct queue_item *item)
{
    switch (w->waits ? sim_random(4) : 0) {
    case 1:
        return thrum_queue_get(w->q, item);
    case 2:
        return thrum_queue_get_until(w->q, item, sim_now() + sim_random(40));
    default:
        return thrum_queue_tryget(w->q, item);
    }
}

static void *linear_calls(void *arg)
{
    const struct linear_task *t = arg;
    struct linear_world *w = t->w;
    for (unsigned i = 0; i < LINEAR_CALLS_EACH; i++) {
        const bool puts = sim_random(2) == 0;
        struct queue_item item = queue_item(puts ? t->first + i : 0);
        const unsigned begun = linear_begin(w->l);
        const int err = puts ? linear_do_put(w, &item) : linear_do_get(w, &item);
        const unsigned number = err == 0 ? queue_number(&item, w->item_size) : 0;
        linear_end(w->l, puts ? LINEAR_PUT : LINEAR_GET, number, err, begun);
    }
    return NULL;
}

/* Lets those go that would wait for ever. An abort is a close and a drop, one after the other. */
static void *linear_ends(void *arg)
{
    struct linear_world *w = arg;
    const bool drops = sim_random(2) == 0;
    const unsigned begun = linear_begin(w->l);
    sim_check((drops ? thrum_queue_abort(w->q) : thrum_queue_close(w->q)) == 0);
    linear_end(w->l, LINEAR_CLOSE, 0, 0, begun);
    if (drops)
        linear_end(w->l, LINEAR_DROP, 0, 0, begun);
    return NULL;
}

static void linear_run(thrum_order_t order, size_t capacity, bool waits)
{
    static const size_t sizes[] = {4, 8, 3, 24};
    static struct linear l;
    struct linear_world w = {.item_size = sizes[sim_random(4)], .waits = waits, .l = &l};
    l = (struct linear){.order = order, .capacity = capacity};
    w.q = queue_make(order, capacity, w.item_size);
    struct linear_task tasks[LINEAR_TASKS];
    for (unsigned i = 0; i < LINEAR_TASKS; i++) {
        tasks[i] = (struct linear_task){&w, 1 + i * LINEAR_CALLS_EACH};
        sim_spawn(linear_calls, &tasks[i]);
    }
    if (waits)
        linear_ends(&w);
    sim_join_all();
    sim_check(linear_holds(&l));
    thrum_queue_destroy(w.q);
}

SIM_TEST(linear, bounded_fifo, .tasks = 4, .schedules = 50000)
{
    linear_run(THRUM_FIFO, 1 + sim_random(3), false);
}

SIM_TEST(linear, bounded_fifo_that_is_closed, .tasks = 4, .schedules = 50000)
{
    linear_run(THRUM_FIFO, 1 + sim_random(3), true);
}

SIM_TEST(linear, unbounded_fifo, .tasks = 4, .schedules = 50000)
{
    linear_run(THRUM_FIFO, 0, false);
}

SIM_TEST(linear, unbounded_fifo_that_is_closed, .tasks = 4, .schedules = 50000)
{
    linear_run(THRUM_FIFO, 0, true);
}

SIM_TEST(linear, lifo, .tasks = 4, .schedules = 25000)
{
    linear_run(THRUM_LIFO, sim_random(4), sim_random(2) == 0);
}

SIM_TEST(linear, priority, .tasks = 4, .schedules = 25000)
{
    linear_run(THRUM_PRIORITY, sim_random(4), sim_random(2) == 0);
}

/* A chain that has been gone through once, so that its rings are in another life. */
SIM_TEST(linear, unbounded_fifo_of_used_rings, .tasks = 4, .schedules = 50000)
{
    static struct linear l;
    struct linear_world w = {.item_size = 24, .l = &l};
    w.q = queue_make(THRUM_FIFO, 0, 24);
    struct queue_item item = queue_item(1);
    const unsigned before = 5 + sim_random(4);
    for (unsigned i = 0; i < before; i++)
        sim_check(thrum_queue_put(w.q, &item) == 0);
    for (unsigned i = 0; i < before; i++)
        sim_check(thrum_queue_get(w.q, &item) == 0);
    l = (struct linear){.order = THRUM_FIFO};
    struct linear_task tasks[LINEAR_TASKS];
    for (unsigned i = 0; i < LINEAR_TASKS; i++) {
        tasks[i] = (struct linear_task){&w, 1 + i * LINEAR_CALLS_EACH};
        sim_spawn(linear_calls, &tasks[i]);
    }
    sim_join_all();
    sim_check(linear_holds(&l));
    thrum_queue_destroy(w.q);
}
