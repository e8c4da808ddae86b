/*
 * The heap of a PRIORITY queue: four children a node, since the four share a cache line or two and the
 * tree is half as deep as a binary one (D. Johnson, 1975). An entry is the item and the number of its
 * arrival, which decides between equals, so they leave in order of arrival.
 *
 * To take the first out, the hole that it leaves sinks to the bottom along the better children, and the
 * last entry rises from there (Wegener's bottom-up heapsort): it nearly always belongs near the bottom,
 * so that this spares a comparison on each level.
 */
#include "queue/core.h"

#define CHILDREN 4u

/* An item lies as aligned as its size says that it may want to, up to 16. */
size_t thi_heap_entry_size(size_t item_size)
{
    const size_t align = item_size % 16 == 0 ? 16 : sizeof(uint64_t);
    return (item_size + sizeof(uint64_t) + align - 1) / align * align;
}

static unsigned char *entry_at(const thi_store_t *store, size_t i)
{
    return store->entries + i * store->entry_size;
}

static uint64_t arrival(const thrum_queue_t *q, const unsigned char *entry)
{
    uint64_t number = 0;
    memcpy(&number, entry + q->locked.store.entry_size - sizeof number, sizeof number);
    return number;
}

static bool goes_first(const thrum_queue_t *q, const unsigned char *a, const unsigned char *b)
{
    const int order = q->compare(a, b, q->compare_ctx);
    return order != 0 ? order < 0 : arrival(q, a) < arrival(q, b);
}

static inline void copy_entry(unsigned char *to, const unsigned char *from, size_t size)
{
    if (THI_LIKELY(size == 16)) /* items up to a pointer: two moves instead of a call */
        memcpy(to, from, 16);
    else
        memcpy(to, from, size);
}

/* Raises what is to go to the hole at i; `entry` lies outside of the heap. */
static void rise(const thrum_queue_t *q, size_t i, const unsigned char *entry)
{
    const thi_store_t *store = &q->locked.store;
    while (i != 0) {
        const size_t parent = (i - 1) / CHILDREN;
        if (!goes_first(q, entry, entry_at(store, parent)))
            break;
        copy_entry(entry_at(store, i), entry_at(store, parent), store->entry_size);
        i = parent;
    }
    copy_entry(entry_at(store, i), entry, store->entry_size);
}

/* The child of i that goes first; there is one. */
static size_t best_child(const thrum_queue_t *q, size_t i, size_t count)
{
    const thi_store_t *store = &q->locked.store;
    const size_t first = i * CHILDREN + 1;
    const size_t end = first + CHILDREN < count ? first + CHILDREN : count;
    size_t best = first;
    for (size_t child = first + 1; child < end; child++)
        if (goes_first(q, entry_at(store, child), entry_at(store, best)))
            best = child;
    return best;
}

void thi_heap_push(thrum_queue_t *q, size_t count, const void *item)
{
    thi_store_t *store = &q->locked.store;
    unsigned char *entry = entry_at(store, store->room);
    memcpy(entry, item, q->item_size);
    memcpy(entry + store->entry_size - sizeof store->arrivals, &store->arrivals,
           sizeof store->arrivals);
    store->arrivals++;
    rise(q, count, entry);
}

void thi_heap_pop(thrum_queue_t *q, size_t count, void *item)
{
    thi_store_t *store = &q->locked.store;
    const size_t last = count - 1;
    memcpy(item, entry_at(store, 0), q->item_size);
    unsigned char *moved = entry_at(store, store->room);
    copy_entry(moved, entry_at(store, last), store->entry_size);
    size_t hole = 0;
    while (hole * CHILDREN + 1 < last) {
        const size_t child = best_child(q, hole, last);
        copy_entry(entry_at(store, hole), entry_at(store, child), store->entry_size);
        hole = child;
    }
    if (last != 0)
        rise(q, hole, moved);
}
