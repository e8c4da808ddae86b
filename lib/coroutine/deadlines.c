/*
 * The deadlines of a loop's sleepers: a heap with four children to a node, which is half as deep as one
 * with two, and looks at the children of a node in one or two lines of the cache.
 */
#include <string.h>

#include "coroutine/core.h"

#define CHILDREN 4u
#define FIRST_ROOM 64u

struct thi_deadline {
    thrum_time_t time;
    thrum_coro_t *co;
};

bool thi_deadlines_reserve(thi_deadlines_t *heap, uint32_t count)
{
    if (THI_LIKELY(count <= heap->room))
        return true;
    uint32_t room = heap->room != 0 ? heap->room : FIRST_ROOM;
    while (room < count)
        room *= 2;
    struct thi_deadline *entries = thi_alloc(room * sizeof *entries);
    if (entries == NULL)
        return false;
    if (heap->count != 0)
        memcpy(entries, heap->entries, heap->count * sizeof *entries);
    thi_deadlines_end(heap);
    heap->entries = entries;
    heap->room = room;
    return true;
}

void thi_deadlines_clear(thi_deadlines_t *heap)
{
    for (uint32_t i = 0; i < heap->count; i++)
        heap->entries[i].co->timer = 0;
    heap->count = 0;
}

void thi_deadlines_end(thi_deadlines_t *heap)
{
    thi_free(heap->entries, heap->room * sizeof *heap->entries);
    heap->entries = NULL;
    heap->room = 0;
}

static void place(thi_deadlines_t *heap, uint32_t at, struct thi_deadline entry)
{
    heap->entries[at] = entry;
    entry.co->timer = at + 1;
}

static void rise(thi_deadlines_t *heap, uint32_t at, struct thi_deadline entry)
{
    while (at != 0) {
        const uint32_t parent = (at - 1) / CHILDREN;
        if (heap->entries[parent].time <= entry.time)
            break;
        place(heap, at, heap->entries[parent]);
        at = parent;
    }
    place(heap, at, entry);
}

/* The soonest child of a node; count: it has none. */
static uint32_t soonest_child(const thi_deadlines_t *heap, uint32_t at)
{
    const uint32_t first = at * CHILDREN + 1;
    const uint32_t end = first + CHILDREN < heap->count ? first + CHILDREN : heap->count;
    uint32_t soonest = first < end ? first : heap->count;
    for (uint32_t child = first + 1; child < end; child++) {
        if (heap->entries[child].time < heap->entries[soonest].time)
            soonest = child;
    }
    return soonest;
}

static void sink(thi_deadlines_t *heap, uint32_t at, struct thi_deadline entry)
{
    for (;;) {
        const uint32_t child = soonest_child(heap, at);
        if (child == heap->count || heap->entries[child].time >= entry.time)
            break;
        place(heap, at, heap->entries[child]);
        at = child;
    }
    place(heap, at, entry);
}

void thi_deadlines_add(thi_deadlines_t *heap, thrum_coro_t *co)
{
    rise(heap, heap->count++, (struct thi_deadline){co->deadline, co});
}

void thi_deadlines_remove(thi_deadlines_t *heap, thrum_coro_t *co)
{
    const uint32_t at = co->timer - 1;
    const struct thi_deadline last = heap->entries[--heap->count];
    co->timer = 0;
    if (at == heap->count)
        return;
    if (at != 0 && heap->entries[(at - 1) / CHILDREN].time > last.time)
        rise(heap, at, last);
    else
        sink(heap, at, last);
}

thrum_coro_t *thi_deadlines_first(const thi_deadlines_t *heap)
{
    return heap->count != 0 ? heap->entries[0].co : NULL;
}

thrum_time_t thi_deadlines_soonest(const thi_deadlines_t *heap)
{
    return heap->count != 0 ? heap->entries[0].time : THRUM_FOREVER;
}

thrum_time_t thi_deadlines_time(const thi_deadlines_t *heap, const thrum_coro_t *co)
{
    return heap->entries[co->timer - 1].time;
}
