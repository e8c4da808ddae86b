#ifndef THI_DEQUE_H
#define THI_DEQUE_H

/*
 * A worker's own tasks: the owner pushes and pops at the bottom, newest first; thieves take from the top,
 * oldest first. After D. Chase and Y. Lev (2005), with the memory orders of N. M. Le et al. (2013), but
 * for two things: tasks lie in it by value, and the owner's fence is light, since the thief's is heavy
 * (os.h), so that only stealing costs.
 *
 * Invariants
 *   I1  top only rises. Who raises it from t has the task at t: thieves by compare-and-swap, and so does
 *       the owner for the last task.
 *   I2  The owner writes a slot only where top has passed; so a thief whose compare-and-swap succeeds has
 *       read the task as it was pushed. What it read otherwise it throws away; the words are atomic, so
 *       reading them is no race.
 *   I3  A smaller array is kept until the deque ends: thieves may be reading it.
 *   I4  When the owner has lowered bottom, fenced (F1) and then looked at top, what lies between that top and
 *       the old bottom, the task at top left out, is its alone until it raises bottom again: it may write
 *       there, too. A thief of any of it would have to read top after that look, and so sees bottom lowered.
 */
#include "task/task.h"

typedef struct thi_task_slot {
    uintptr_t fn;
    uintptr_t arg;
    uintptr_t owner;
    uint64_t cost;
} thi_task_slot_t;

typedef struct thi_task_array {
    struct thi_task_array *smaller;
    int64_t mask;
    thi_task_slot_t slots[];
} thi_task_array_t;

typedef struct thi_deque {
    THRUM_ALIGNED(2 * THI_CACHE_LINE) int64_t bottom; /* the owner's */
    thi_task_array_t *array;
    THRUM_ALIGNED(2 * THI_CACHE_LINE) int64_t top; /* everybody's */
} thi_deque_t;

int thi_deque_begin(thi_deque_t *deque); /* 0 or ENOMEM */
void thi_deque_end(thi_deque_t *deque);

/* Owner: makes room; false: no memory. */
THI_COLD bool thi_deque_grow(thi_deque_t *deque);

static inline void thi_slot_write(thi_task_slot_t *slot, const thi_task_t *task)
{
    thi_store_relaxed(&slot->fn, (uintptr_t)task->fn);
    thi_store_relaxed(&slot->arg, (uintptr_t)task->arg);
    thi_store_relaxed(&slot->owner, task->owner);
    thi_store_relaxed(&slot->cost, (uint64_t)task->cost);
}

static inline void thi_slot_read(const thi_task_slot_t *slot, thi_task_t *task)
{
    task->fn = (thrum_fn)thi_load_relaxed(&slot->fn);
    task->arg = (void *)thi_load_relaxed(&slot->arg);
    task->owner = thi_load_relaxed(&slot->owner);
    task->cost = (int64_t)thi_load_relaxed(&slot->cost);
}

/* Anybody: at this moment, give or take. */
static inline bool thi_deque_is_empty(const thi_deque_t *deque)
{
    return thi_load_relaxed(&deque->bottom) <= thi_load_relaxed(&deque->top);
}

static inline size_t thi_deque_size(const thi_deque_t *deque)
{
    const int64_t size = thi_load_relaxed(&deque->bottom) - thi_load_relaxed(&deque->top);
    return size > 0 ? (size_t)size : 0;
}

/* Owner. False: no memory. */
static inline bool thi_deque_push(thi_deque_t *deque, const thi_task_t *task)
{
    const int64_t bottom = thi_load_relaxed(&deque->bottom);
    const int64_t top = thi_load_acquire(&deque->top); /* A1: acquire; pairs with C1: I2 */
    if (THI_UNLIKELY(bottom - top > deque->array->mask) && !thi_deque_grow(deque))
        return false;
    if (THI_PLANT("deque-publish-then-write"))
        thi_store_release(&deque->bottom, bottom + 1);
    thi_slot_write(&deque->array->slots[bottom & deque->array->mask], task);
    thi_store_release(&deque->bottom, bottom + 1); /* R1: release; pairs with A2 */
    return true;
}

/* Owner: whether it can have the task at the place that bottom has just been lowered to. */
static inline bool thi_deque_win(thi_deque_t *deque, int64_t bottom)
{
    thi_fence_light(); /* F1: with F2. The thief sees bottom lowered, or we see top raised */
    int64_t top = thi_load_relaxed(&deque->top);
    if (THI_LIKELY(top < bottom) || THI_PLANT("deque-last-unclaimed"))
        return true;
    const bool won = top == bottom && thi_cas_acq_rel(&deque->top, &top, top + 1); /* C1 */
    thi_store_relaxed(&deque->bottom, bottom + 1);
    return won;
}

/* Owner: the newest task. */
static inline bool thi_deque_pop(thi_deque_t *deque, thi_task_t *task)
{
    const int64_t bottom = thi_load_relaxed(&deque->bottom) - 1;
    if (thi_load_relaxed(&deque->top) > bottom)
        return false;
    thi_store_relaxed(&deque->bottom, bottom);
    if (!thi_deque_win(deque, bottom))
        return false;
    thi_slot_read(&deque->array->slots[bottom & deque->array->mask], task);
    return true;
}

/* Owner: the newest task, if it is that owner's. */
static inline bool thi_deque_pop_of(thi_deque_t *deque, uintptr_t owner, thi_task_t *task)
{
    const int64_t bottom = thi_load_relaxed(&deque->bottom) - 1;
    if (thi_load_relaxed(&deque->top) > bottom)
        return false;
    if (thi_load_relaxed(&deque->array->slots[bottom & deque->array->mask].owner) != owner)
        return false;
    return thi_deque_pop(deque, task);
}

/* Owner: the newest task of that owner, from under those of others. For a moment thieves find nothing. */
THI_COLD bool thi_deque_pop_under(thi_deque_t *deque, uintptr_t owner, thi_task_t *task);

/* Anybody: the oldest task. False: there is none, or another was faster. */
bool thi_deque_steal(thi_deque_t *deque, thi_task_t *task);

#endif /* THI_DEQUE_H */
