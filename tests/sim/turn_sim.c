/*
 * Whose turn it is: a waiter that was woken and found that somebody was faster goes back to the head, and stays
 * ahead of those who came later, however often it is passed.
 */
#include <thrum/queue.h>
#include <thrum/semaphore.h>

#include "queues.h"

struct turn_world {
    thrum_sem_t sem;
    thrum_queue_t *q;
    int turn; /* how many have been served */
};

struct turn_taker {
    struct turn_world *w;
    int served;
};

static void *turn_acquires(void *arg)
{
    struct turn_taker *t = arg;
    sim_check(thrum_sem_acquire(&t->w->sem) == 0);
    t->served = ++t->w->turn;
    return NULL;
}

/* Released, and taken by who released it: the first waiter is woken and passed; and again, if it is late. */
static bool turn_passes_permit(struct turn_world *w)
{
    sim_check(thrum_sem_release(&w->sem) == 0);
    return thrum_sem_tryacquire(&w->sem) == 0;
}

SIM_TEST(turn, at_a_semaphore, .tasks = 3, .schedules = 60000)
{
    struct turn_world w = {.sem = THRUM_SEM_INIT(0)};
    struct turn_taker t[2] = {{.w = &w}, {.w = &w}};
    sim_spawn(turn_acquires, &t[0]);
    sim_await_parked(&w.sem, 1);
    if (!turn_passes_permit(&w) || !turn_passes_permit(&w)) {
        sim_join_all(); /* it was not passed */
        return;
    }
    sim_spawn(turn_acquires, &t[1]);
    sim_await_parked(&w.sem, 2);
    sim_check(thrum_sem_release(&w.sem) == 0);
    while (w.turn == 0)
        sim_yield();
    sim_check(thrum_sem_release(&w.sem) == 0);
    sim_join_all();
    sim_check(t[0].served == 1 && t[1].served == 2);
}

static void *turn_gets(void *arg)
{
    struct turn_taker *t = arg;
    uint32_t item = 0;
    sim_check(thrum_queue_get(t->w->q, &item) == 0);
    t->served = (int)item;
    return NULL;
}

static bool turn_passes_item(const struct turn_world *w)
{
    uint32_t item = 9;
    sim_check(thrum_queue_put(w->q, &item) == 0);
    return thrum_queue_tryget(w->q, &item) == 0;
}

static void turn_at_queue(struct turn_world *w, struct turn_taker *t)
{
    sim_spawn(turn_gets, &t[0]);
    sim_await_parked(w->q, 1);
    if (!turn_passes_item(w) || !turn_passes_item(w))
        return;
    sim_spawn(turn_gets, &t[1]);
    sim_await_parked(w->q, 2);
    for (uint32_t item = 1; item <= 2; item++) {
        sim_check(thrum_queue_put(w->q, &item) == 0);
        while (item == 1 && !thrum_queue_empty(w->q))
            sim_yield();
    }
}

SIM_TEST(turn, at_a_queue, .tasks = 3, .schedules = 60000)
{
    static const thrum_order_t orders[] = {THRUM_FIFO, THRUM_LIFO, THRUM_PRIORITY};
    struct turn_world w = {.q = queue_make(orders[sim_random(3)], sim_random(3), 4)};
    struct turn_taker t[2] = {{.w = &w}, {.w = &w}};
    turn_at_queue(&w, t);
    sim_join_all();
    sim_check(t[0].served == 9 || (t[0].served == 1 && t[1].served == 2));
    thrum_queue_destroy(w.q);
}
