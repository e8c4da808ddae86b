/*
 * Names for what lies in an arena: a list, in the order in which they were given.
 *
 * Invariants
 *   I1  All of it is changed, and read, by the holder of the heap's guard.
 *   I2  An entry is complete before it is linked, and is linked by one store. Until then it hangs on
 *       `name_in_hand`; where its maker died, the next one gives it back, or leaves it in the list it is in.
 */
#include <string.h>

#include <thrum/shared.h>

#include "process/arena_heap.h"

typedef struct entry {
    uint64_t next;
    uint64_t what;
    char name[THRUM_SHARED_NAME_MAX + 1];
} entry_t;

static entry_t *entry_at(const thi_heap_t *heap, uint64_t offset)
{
    return thi_shared_at(heap, offset);
}

static uint64_t offset_of(const thi_heap_t *heap, const void *in_it)
{
    return (uint64_t)((const char *)in_it - (const char *)heap);
}

/* The slot that names the entry; or the last one, which names none. */
static uint64_t *slot_of(thi_heap_t *heap, const char *name)
{
    uint64_t *slot = &heap->names;
    while (*slot != 0 && strcmp(entry_at(heap, *slot)->name, name) != 0)
        slot = &entry_at(heap, *slot)->next;
    return slot;
}

/* I2. */
static void clear_hand(thi_heap_t *heap)
{
    const uint64_t in_hand = heap->name_in_hand;
    if (in_hand == 0)
        return;
    uint64_t one = heap->names;
    while (one != 0 && one != in_hand)
        one = entry_at(heap, one)->next;
    if (one == in_hand)
        thi_store_release(&heap->name_in_hand, UINT64_C(0));
    else
        thi_heap_free_from(heap, offset_of(heap, &heap->name_in_hand), 0);
}

static int add(const thrum_shared_t *arena, uint64_t *slot, const char *name, uint64_t what)
{
    thi_heap_t *heap = arena->heap;
    clear_hand(heap);
    const uint64_t made =
        thi_arena_alloc(arena, sizeof(entry_t), offset_of(heap, &heap->name_in_hand));
    if (made == 0)
        return ENOMEM;
    entry_t *entry = entry_at(heap, made);
    *entry = (entry_t){.what = what};
    memcpy(entry->name, name, strlen(name) + 1);
    thi_death_point("names: entry complete");
    thi_store_release(slot, made); /* R1: release; for who has the guard after a death */
    thi_death_point("names: entry linked");
    thi_store_release(&heap->name_in_hand, UINT64_C(0)); /* R1 */
    return 0;
}

static int set(const thrum_shared_t *arena, const char *name, uint64_t what)
{
    thi_heap_t *heap = arena->heap;
    uint64_t *slot = slot_of(heap, name);
    if (*slot == 0)
        return what != 0 ? add(arena, slot, name, what) : ENOENT;
    entry_t *entry = entry_at(heap, *slot);
    if (what != 0)
        thi_store_release(&entry->what, what); /* R1 */
    else
        thi_heap_free_from(heap, offset_of(heap, slot), entry->next);
    return 0;
}

bool thi_shared_is_name(const char *name)
{
    const size_t length = name != NULL ? strnlen(name, THRUM_SHARED_NAME_MAX + 1) : 0;
    return length != 0 && length <= THRUM_SHARED_NAME_MAX;
}

int thrum_shared_set_name(thrum_shared_t *arena, const char *name, void *memory)
{
    const uint64_t what = thrum_shared_offset(arena, memory);
    if (arena == NULL || !thi_shared_is_name(name) || (memory != NULL && what == 0))
        return EINVAL;
    thi_heap_lock(arena->heap);
    const int err = set(arena, name, what);
    thi_heap_unlock(arena->heap);
    return err;
}

int thrum_shared_find(thrum_shared_t *arena, const char *name, void **memory)
{
    if (arena == NULL || name == NULL || memory == NULL)
        return EINVAL;
    thi_heap_lock(arena->heap);
    const uint64_t slot = *slot_of(arena->heap, name);
    const uint64_t what = slot != 0 ? entry_at(arena->heap, slot)->what : 0;
    thi_heap_unlock(arena->heap);
    if (what == 0)
        return ENOENT;
    *memory = thi_shared_at(arena->heap, what);
    return 0;
}
