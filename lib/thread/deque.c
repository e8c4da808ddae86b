/*
 * Deques: what is not on the fast path.
 */
#include "thread/deque.h"

#ifdef THRUM_SIM
#define FIRST_SLOTS 2
#else
#define FIRST_SLOTS 256
#endif

static thi_task_array_t *make_array(int64_t slots, thi_task_array_t *smaller)
{
    const size_t size = sizeof(thi_task_array_t) + (size_t)slots * sizeof(thi_task_slot_t);
    thi_task_array_t *array = thi_alloc(size);
    if (array == NULL)
        return NULL;
    array->smaller = smaller;
    array->mask = slots - 1;
    return array;
}

int thi_deque_begin(thi_deque_t *deque)
{
    deque->array = make_array(FIRST_SLOTS, NULL);
    return deque->array != NULL ? 0 : ENOMEM;
}

void thi_deque_end(thi_deque_t *deque)
{
    thi_task_array_t *array = deque->array;
    while (array != NULL) {
        thi_task_array_t *smaller = array->smaller;
        thi_free(array, sizeof *array + (size_t)(array->mask + 1) * sizeof(thi_task_slot_t));
        array = smaller;
    }
}

bool thi_deque_grow(thi_deque_t *deque)
{
    const thi_task_array_t *old = deque->array;
    thi_task_array_t *array = make_array((old->mask + 1) * 2, deque->array);
    if (array == NULL)
        return false;
    const int64_t bottom = thi_load_relaxed(&deque->bottom);
    for (int64_t i = thi_load_acquire(&deque->top); i < bottom; i++) {
        thi_task_t task;
        thi_slot_read(&old->slots[i & old->mask], &task);
        thi_slot_write(&array->slots[i & array->mask], &task);
    }
    thi_store_release(&deque->array, array); /* R2: release; pairs with A3 */
    if (THI_PLANT("deque-frees-smaller")) {
        thi_free(array->smaller, sizeof *old + (size_t)(old->mask + 1) * sizeof(thi_task_slot_t));
        array->smaller = NULL;
    }
    return true;
}

/* ------------------------------------------------------------------------------------------------
 * From under others
 */

static thi_task_slot_t *slot_at(const thi_deque_t *deque, int64_t i)
{
    return &deque->array->slots[i & deque->array->mask];
}

static bool is_of(const thi_deque_t *deque, int64_t i, uintptr_t owner)
{
    return thi_load_relaxed(&slot_at(deque, i)->owner) == owner;
}

static bool find_newest(const thi_deque_t *deque, uintptr_t owner, int64_t *place)
{
    const int64_t top = thi_load_relaxed(&deque->top);
    int64_t i = thi_load_relaxed(&deque->bottom);
    while (--i >= top && !is_of(deque, i, owner)) {
    }
    *place = i;
    return i >= top;
}

static void exchange(thi_deque_t *deque, int64_t i, int64_t j)
{
    thi_task_t a, b;
    thi_slot_read(slot_at(deque, i), &a);
    thi_slot_read(slot_at(deque, j), &b);
    thi_slot_write(slot_at(deque, i), &b);
    thi_slot_write(slot_at(deque, j), &a);
}

/* Brings those of that owner to the end of what is the caller's alone (I4). */
static void sort_out(thi_deque_t *deque, int64_t from, int64_t to, uintptr_t owner)
{
    int64_t last = to - 1;
    while (from < last) {
        if (is_of(deque, last, owner))
            last--;
        else if (!is_of(deque, from, owner))
            from++;
        else
            exchange(deque, from++, last--);
    }
}

/* As many others as lie on top change places with older ones of that owner, if there are. So looking for
 * the next does not cost more and more. */
bool thi_deque_pop_under(thi_deque_t *deque, uintptr_t owner, thi_task_t *task)
{
    int64_t place = 0;
    if (!find_newest(deque, owner, &place))
        return false;
    const int64_t bottom = thi_load_relaxed(&deque->bottom);
    const int64_t from = place - (bottom - place);
    if (!THI_PLANT("deque-sorts-unclaimed"))
        thi_store_relaxed(&deque->bottom, from);
    thi_fence_light(); /* F1: with F2; I4 */
    const int64_t top = thi_load_relaxed(&deque->top);
    if (place > top) {
        sort_out(deque, from > top ? from : top + 1, bottom, owner);
        thi_store_release(&deque->bottom, bottom); /* R1: release; pairs with A2 */
        return thi_deque_pop_of(deque, owner, task);
    }
    /* It is the oldest, which thieves are after, too; or one of them has it. */
    thi_store_relaxed(&deque->bottom, place + 1);
    const bool won = thi_deque_pop(deque, task);
    thi_store_release(&deque->bottom, bottom); /* R1 */
    return won;
}

/* ------------------------------------------------------------------------------------------------
 * Stealing
 */

bool thi_deque_steal(thi_deque_t *deque, thi_task_t *task)
{
    if (thi_deque_is_empty(deque))
        return false;
    int64_t top = thi_load_acquire(&deque->top);
    thi_fence_heavy(); /* F2: with F1 */
    /* A2: acquire; pairs with R1: the task at top is whole. */
    if (top >= thi_load_acquire(&deque->bottom))
        return false;
    const thi_task_array_t *array =
        thi_load_acquire(&deque->array); /* A3: acquire; pairs with R2 */
    thi_slot_read(&array->slots[top & array->mask], task);
    /* C1: acquire and release; pairs with A1. */
    return thi_cas_acq_rel(&deque->top, &top, top + 1);
}
