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
