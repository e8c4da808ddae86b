/*
 * Select: of several tasks that select against each other, each does exactly one case; nothing is lost
 * to those that did not choose it; and nobody sleeps while one of his cases could be done.
 */
#include <thrum/select.h>

#include "queues.h"

struct select_world {
    thrum_queue_t *a;
    thrum_queue_t *b;
    thrum_sem_t sem;
    thrum_event_t event;
    unsigned put[2]; /* into a, b */
    unsigned got[2];
    unsigned taken; /* permits */
    unsigned sum;   /* of what was put, less what was got */
};

static struct select_world select_world(size_t capacity)
{
    static const thrum_order_t orders[] = {THRUM_FIFO, THRUM_FIFO, THRUM_LIFO, THRUM_PRIORITY};
    return (struct select_world){.a = queue_make(orders[sim_random(4)], capacity, 4),
                                 .b = queue_make(orders[sim_random(4)], capacity, 4),
                                 .sem = THRUM_SEM_INIT(0),
                                 .event = THRUM_EVENT_INIT};
}

static void select_put(struct select_world *w, unsigned which, uint32_t item)
{
    sim_check(thrum_queue_put(which == 0 ? w->a : w->b, &item) == 0);
    w->put[which]++;
    w->sum += item;
}

static void select_got(struct select_world *w, unsigned which, uint32_t item)
{
    w->got[which]++;
    w->sum -= item;
}

/* What is left in the queues is what was put and not got; nobody is left in any queue of waiters. */
static void select_settle(struct select_world *w)
{
    thrum_queue_t *queues[] = {w->a, w->b};
    uint32_t item = 0;
    for (unsigned i = 0; i < 2; i++) {
        sim_check(thi_park_count(queues[i]) == 0);
        while (thrum_queue_tryget(queues[i], &item) == 0)
            select_got(w, i, item);
        sim_check(w->put[i] == w->got[i]);
        thrum_queue_destroy(queues[i]);
    }
    sim_check(w->sum == 0 && w->sem.thrum_word < INT64_C(1) << 34);
    sim_check(thi_park_count(&w->sem) == 0 && thi_park_count(&w->event) == 0);
}

struct selector {
    struct select_world *w;
    thrum_time_t deadline;
    unsigned n; /* how often */
    int err;
    size_t chosen;
};

static void *select_gets(void *arg)
{
    struct selector *s = arg;
    for (unsigned i = 0; i < s->n; i++) {
        uint32_t items[2] = {0, 0};
        thrum_case_t cases[] = {THRUM_CASE_GET(s->w->a, &items[0]), THRUM_CASE_NONE,
                                THRUM_CASE_GET(s->w->b, &items[1])};
        s->chosen = 99;
        s->err = thrum_select(cases, 3, s->deadline, &s->chosen);
        if (sim_gave_up(s->err, s->deadline)) {
            sim_check(s->chosen == 99 && items[0] == 0 && items[1] == 0);
            continue;
        }
        const unsigned which = s->chosen == 2;
        sim_check(s->chosen != 1 && items[which] != 0 && items[1 - which] == 0);
        select_got(s->w, which, items[which]);
    }
    return NULL;
}

SIM_TEST(select, two_getters_of_two_queues, .tasks = 4, .schedules = 50000)
{
    struct select_world w = select_world(sim_random(3));
    struct selector s[2] = {{.w = &w, .deadline = THRUM_FOREVER, .n = 1},
                            {.w = &w, .deadline = THRUM_FOREVER, .n = 2}};
    for (unsigned i = 0; i < 2; i++)
        sim_spawn(select_gets, &s[i]);
    for (uint32_t i = 1; i <= 3; i++)
        select_put(&w, sim_random(2), i);
    sim_join_all();
    sim_check(w.got[0] + w.got[1] == 3);
    select_settle(&w);
}

static void *select_plain_get(void *arg)
{
    struct selector *s = arg;
    uint32_t item = 0;
    sim_check(thrum_queue_get(s->w->a, &item) == 0);
    select_got(s->w, 0, item);
    return NULL;
}

/* What it was woken for is what it does, or it would have to wake another. */
SIM_TEST(select, a_wake_up_is_used, .tasks = 3, .dfs_bound = 2, .schedules = 30000)
{
    struct select_world w = select_world(0);
    struct selector s[2] = {{.w = &w, .deadline = THRUM_FOREVER, .n = 1}, {.w = &w}};
    sim_task *selector = sim_spawn(select_gets, &s[0]);
    sim_spawn(select_plain_get, &s[1]);
    select_put(&w, 0, 1);
    select_put(&w, 1, 2);
    sim_join(selector);
    if (s[0].chosen == 0)
        select_put(&w, 0, 3); /* the other one is owed an item */
    sim_join_all();
    select_settle(&w);
}

SIM_TEST(select, who_gives_up_swallows_nothing, .tasks = 4, .schedules = 50000)
{
    struct select_world w = select_world(0);
    struct selector s[2] = {{.w = &w, .deadline = sim_soon(), .n = 1}, {.w = &w}};
    sim_task *victim = sim_spawn(select_gets, &s[0]);
    sim_spawn(select_plain_get, &s[1]);
    if (sim_random(2) == 0)
        sim_spawn(sim_canceller, victim);
    select_put(&w, 0, 1);
    sim_join(victim);
    if (s[0].err == 0)
        select_put(&w, 0, 2);
    sim_join_all();
    select_settle(&w);
}

/* --- both sides ------------------------------------------------------------------------------- */

struct select_side {
    struct select_world *w;
    unsigned in; /* gets from this one, and puts into the other */
    uint32_t first;
    thrum_time_t deadline;
};

static void *select_gets_or_puts(void *arg)
{
    const struct select_side *s = arg;
    struct select_world *w = s->w;
    thrum_queue_t *queues[] = {w->a, w->b};
    for (uint32_t i = 0; i < 3; i++) {
        const uint32_t out = s->first + i;
        uint32_t in = 0;
        size_t chosen = 99;
        thrum_case_t cases[] = {THRUM_CASE_GET(queues[s->in], &in),
                                THRUM_CASE_PUT(queues[1 - s->in], &out)};
        const int err = thrum_select(cases, 2, s->deadline, &chosen);
        if (err == ESHUTDOWN) {
            sim_check(chosen < 2 && in == 0);
            break;
        }
        if (sim_gave_up(err, s->deadline))
            continue;
        if (chosen == 0) {
            select_got(w, s->in, in);
        } else {
            sim_check(chosen == 1 && in == 0);
            w->put[1 - s->in]++;
            w->sum += out;
        }
    }
    return NULL;
}

SIM_TEST(select, both_sides_of_two_queues, .tasks = 5, .schedules = 50000)
{
    struct select_world w = select_world(1);
    struct select_side s[3] = {{&w, 0, 10, THRUM_FOREVER},
                               {&w, 1, 20, THRUM_FOREVER},
                               {&w, sim_random(2), 30, sim_soon()}};
    sim_task *tasks[3];
    for (unsigned i = 0; i < 3; i++)
        tasks[i] = sim_spawn(select_gets_or_puts, &s[i]);
    if (sim_random(2) == 0)
        sim_join(tasks[2]);
    /* Whoever stays alone may wait for ever: for an item of one, and for a place of the other. */
    sim_check(thrum_queue_close(w.a) == 0 && thrum_queue_close(w.b) == 0);
    sim_join_all();
    select_settle(&w);
}

/* A queue of one place, and nobody but selects: what one puts the other gets, to the last. */
SIM_TEST(select, selects_feed_each_other, .tasks = 3, .schedules = 50000)
{
    struct select_world w = select_world(1);
    struct selector getter = {.w = &w, .deadline = THRUM_FOREVER, .n = 4};
    sim_spawn(select_gets, &getter);
    for (uint32_t i = 1; i <= 4; i++) {
        size_t chosen = 99;
        thrum_case_t cases[] = {THRUM_CASE_PUT(w.a, &i), THRUM_CASE_PUT(w.b, &i),
                                THRUM_CASE_PUT(w.a, &i)};
        sim_check(thrum_select(cases, 3, THRUM_FOREVER, &chosen) == 0 && chosen < 3);
        w.put[chosen == 1]++;
        w.sum += i;
    }
    sim_join_all();
    select_settle(&w);
}

/* --- semaphores and events -------------------------------------------------------------------- */

/* A permit, an item or the event: returns which. */
static void *select_any(void *arg)
{
    struct selector *s = arg;
    struct select_world *w = s->w;
    uint32_t item = 0;
    thrum_case_t cases[] = {THRUM_CASE_SEM(&w->sem), THRUM_CASE_GET(w->a, &item),
                            THRUM_CASE_EVENT(&w->event), THRUM_CASE_SEM(&w->sem)};
    s->chosen = 99;
    s->err = thrum_select(cases, 4, s->deadline, &s->chosen);
    if (sim_gave_up(s->err, s->deadline))
        return NULL;
    sim_check(s->chosen < 4 && (item != 0) == (s->chosen == 1));
    if (s->chosen == 1)
        select_got(w, 0, item);
    w->taken += s->chosen == 0 || s->chosen == 3;
    return NULL;
}

static void *select_takes_permit(void *arg)
{
    struct selector *s = arg;
    sim_check(thrum_sem_acquire(&s->w->sem) == 0);
    s->w->taken++;
    return NULL;
}

SIM_TEST(select, permits_and_items, .tasks = 5, .schedules = 50000)
{
    struct select_world w = select_world(0);
    struct selector s[3] = {
        {.w = &w, .deadline = THRUM_FOREVER}, {.w = &w, .deadline = sim_soon()}, {.w = &w}};
    unsigned permits = 2;
    sim_spawn(select_any, &s[0]);
    sim_task *timed = sim_spawn(select_any, &s[1]);
    sim_spawn(select_takes_permit, &s[2]);
    if (sim_random(2) == 0)
        select_put(&w, 0, 1);
    sim_check(thrum_sem_release(&w.sem) == 0 && thrum_sem_release(&w.sem) == 0);
    sim_join(timed);
    for (; s[1].err == 0 && permits < 3; permits++)
        sim_check(thrum_sem_release(&w.sem) == 0);
    sim_join_all();
    sim_check(s[0].err == 0 && w.taken + (unsigned)thrum_sem_value(&w.sem) == permits);
    select_settle(&w);
}

/* Set and cleared at once: who waited passes, and a select that waited did its case. */
SIM_TEST(select, an_event_that_is_set_and_cleared, .tasks = 3, .schedules = 30000)
{
    struct select_world w = select_world(0);
    struct selector s[2] = {{.w = &w, .deadline = THRUM_FOREVER},
                            {.w = &w, .deadline = THRUM_FOREVER}};
    for (unsigned i = 0; i < 2; i++)
        sim_spawn(select_any, &s[i]);
    sim_await_parked(&w.event, 2);
    thrum_event_set(&w.event);
    thrum_event_clear(&w.event);
    sim_join_all();
    for (unsigned i = 0; i < 2; i++)
        sim_check(s[i].err == 0 && s[i].chosen == 2);
    select_settle(&w);
}

/* A closed queue is a case that can be done; the others stay as they are. */
SIM_TEST(select, closing_wakes_it, .tasks = 4, .schedules = 30000)
{
    struct select_world w = select_world(1);
    struct select_side s[2] = {{&w, 0, 10, THRUM_FOREVER}, {&w, 0, 20, THRUM_FOREVER}};
    select_put(&w, 1, 1);
    sim_spawn(select_gets_or_puts, &s[0]);
    sim_spawn(select_gets_or_puts, &s[1]);
    sim_check(thrum_queue_close(sim_random(2) == 0 ? w.a : w.b) == 0);
    sim_join_all();
    select_settle(&w);
}
