/*
 * Deques: one owner, thieves; every task is had once, whoever is faster, however the array grows.
 */
#include <string.h>

#include "thread/deque.h"

#include "sim.h"

#define DEQUE_TASKS 7

struct dq {
    thi_deque_t deque;
    unsigned had[DEQUE_TASKS]; /* times */
    uintptr_t owners[DEQUE_TASKS];
    unsigned pushed;
    unsigned newest_stolen; /* + 1 */
    bool over;
    bool mixed; /* not in the order pushed any more */
};

static void dq_begin(struct dq *d)
{
    memset(d, 0, sizeof *d);
    sim_check(thi_deque_begin(&d->deque) == 0);
    sim_name(&d->deque.bottom, sizeof d->deque.bottom, "bottom");
    sim_name(&d->deque.top, sizeof d->deque.top, "top");
}

static int dq_fn(void *arg, void **result)
{
    (void)arg, (void)result;
    return 0;
}

static void dq_push_of(struct dq *d, uintptr_t owner)
{
    const unsigned n = d->pushed++;
    const thi_task_t task = {dq_fn, &d->had[n], owner, (int64_t)n + 100};
    d->owners[n] = owner;
    sim_check(thi_deque_push(&d->deque, &task));
}

static void dq_push(struct dq *d)
{
    dq_push_of(d, d->pushed + 1);
}

/* A whole task, and nobody else's. Returns its number. */
static unsigned dq_had(struct dq *d, const thi_task_t *task)
{
    const size_t n = (size_t)((unsigned *)task->arg - d->had);
    sim_check(task->fn == dq_fn && n < d->pushed);
    sim_check(task->owner == d->owners[n] && task->cost == (int64_t)n + 100);
    sim_check(d->had[n]++ == 0);
    return (unsigned)n;
}

static bool dq_pop(struct dq *d)
{
    thi_task_t task;
    if (!thi_deque_pop(&d->deque, &task))
        return false;
    const unsigned n = dq_had(d, &task);
    for (unsigned later = n + 1; later < d->pushed && !d->mixed; later++)
        sim_check(d->had[later] == 1); /* it was the newest */
    return true;
}

static bool dq_steal(struct dq *d)
{
    thi_task_t task;
    if (!thi_deque_steal(&d->deque, &task))
        return false;
    dq_had(d, &task);
    return true;
}

static void *dq_thief(void *arg)
{
    for (int i = 0; i < 2; i++)
        dq_steal(arg);
    return NULL;
}

/* Steals in order. */
static void *dq_lone_thief(void *arg)
{
    struct dq *d = arg;
    thi_task_t task;
    while (!d->over || !thi_deque_is_empty(&d->deque)) {
        if (!thi_deque_steal(&d->deque, &task)) {
            sim_yield();
            continue;
        }
        const unsigned n = dq_had(d, &task);
        sim_check(n + 1 > d->newest_stolen);
        d->newest_stolen = n + 1;
    }
    return NULL;
}

static void dq_end(struct dq *d)
{
    while (dq_pop(d)) {
    }
    sim_join_all();
    sim_check(thi_deque_is_empty(&d->deque) && thi_deque_size(&d->deque) == 0);
    for (unsigned i = 0; i < d->pushed; i++)
        sim_check(d->had[i] == 1);
    thi_deque_end(&d->deque);
}

SIM_TEST(deque, the_last_task_is_had_once, .tasks = 3, .dfs_bound = 4)
{
    struct dq d;
    dq_begin(&d);
    dq_push(&d);
    sim_spawn(dq_thief, &d);
    sim_spawn(dq_thief, &d);
    dq_end(&d);
}

SIM_TEST(deque, owner_against_two_thieves, .tasks = 3, .dfs_bound = 3)
{
    struct dq d;
    dq_begin(&d);
    sim_spawn(dq_thief, &d);
    sim_spawn(dq_thief, &d);
    dq_push(&d);
    dq_push(&d);
    dq_pop(&d);
    dq_push(&d);
    dq_pop(&d);
    dq_end(&d);
}

/* Two slots, then four, then eight: whoever has looked up the smaller array may still read it. */
SIM_TEST(deque, growing_loses_nothing, .tasks = 3, .dfs_bound = 3)
{
    struct dq d;
    dq_begin(&d);
    dq_push(&d);
    sim_spawn(dq_thief, &d);
    sim_spawn(dq_thief, &d);
    for (int i = 1; i < DEQUE_TASKS; i++)
        dq_push(&d);
    dq_end(&d);
}

/* A slot is written again when the task in it was had: round and round the smallest array. */
SIM_TEST(deque, round_and_round, .tasks = 3, .dfs_bound = 2)
{
    struct dq d;
    dq_begin(&d);
    sim_spawn(dq_thief, &d);
    sim_spawn(dq_thief, &d);
    for (int i = 0; i < DEQUE_TASKS; i++) {
        dq_push(&d);
        if (sim_random(2) == 0)
            dq_pop(&d);
    }
    dq_end(&d);
}

SIM_TEST(deque, thieves_take_the_oldest, .tasks = 2)
{
    struct dq d;
    dq_begin(&d);
    sim_spawn(dq_lone_thief, &d);
    for (int i = 0; i < DEQUE_TASKS; i++)
        dq_push(&d);
    d.over = true;
    dq_end(&d);
}

/* What belongs to another stays where it is. */
SIM_TEST(deque, only_the_owners_own, .tasks = 2, .dfs_bound = 3)
{
    struct dq d;
    dq_begin(&d);
    thi_task_t task;
    dq_push(&d);
    dq_push(&d);
    sim_spawn(dq_thief, &d);
    sim_check(!thi_deque_pop_of(&d.deque, 1, &task)); /* beneath the other, or stolen */
    if (thi_deque_pop_of(&d.deque, 2, &task))
        sim_check(dq_had(&d, &task) == 1);
    if (thi_deque_pop_of(&d.deque, 1, &task))
        sim_check(dq_had(&d, &task) == 0);
    dq_end(&d);
}

/* Until none is left, wherever they lie among those of others. */
static void dq_take_all_of(struct dq *d, uintptr_t owner)
{
    thi_task_t task;
    d->mixed = true;
    while (thi_deque_pop_of(&d->deque, owner, &task) ||
           thi_deque_pop_under(&d->deque, owner, &task))
        sim_check(d->owners[dq_had(d, &task)] == owner);
    const thi_task_array_t *array = d->deque.array;
    for (int64_t i = d->deque.top; i < d->deque.bottom; i++)
        sim_check(array->slots[i & array->mask].owner != owner);
}

SIM_TEST(deque, from_under_others, .tasks = 3, .dfs_bound = 3)
{
    struct dq d;
    dq_begin(&d);
    const unsigned tasks = 1 + sim_random(DEQUE_TASKS - 1);
    for (unsigned i = 0; i < tasks; i++)
        dq_push_of(&d, 1 + sim_random(2));
    sim_spawn(dq_thief, &d);
    if (sim_random(2) == 0)
        sim_spawn(dq_thief, &d);
    dq_take_all_of(&d, 1);
    dq_push_of(&d, 2);
    while (dq_steal(&d)) {
    }
    dq_end(&d);
}

SIM_TEST(deque, from_under_one, .tasks = 3, .dfs_bound = 4)
{
    struct dq d;
    dq_begin(&d);
    dq_push_of(&d, 1);
    dq_push_of(&d, 1);
    dq_push_of(&d, 2);
    sim_spawn(dq_thief, &d);
    sim_spawn(dq_thief, &d);
    dq_take_all_of(&d, 1);
    dq_end(&d);
}

/* No memory to grow: the push says so, and what is there stays. */
SIM_TEST(deque, no_memory_to_grow, .tasks = 2, .dfs_bound = 2)
{
    struct dq d;
    dq_begin(&d);
    dq_push(&d);
    dq_push(&d);
    sim_spawn(dq_thief, &d);
    thi_fault_arm(THI_FAULT_ALLOC, 1);
    const thi_task_t task = {dq_fn, &d.had[2], 3, 102};
    d.pushed = 3;
    d.owners[2] = 3;
    const bool pushed = thi_deque_push(&d.deque, &task);
    thi_fault_arm(THI_FAULT_ALLOC, 0);
    if (!pushed) {
        d.pushed = 2;
        sim_check(d.had[2] == 0);
    }
    dq_end(&d);
}
