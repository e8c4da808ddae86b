/*
 * Where an item lies.
 *
 *   FIFO      a ring: the count of tail, or head, modulo the number of slots, a power of two
 *   LIFO      a stack: the number of items is the index of the next
 *   PRIORITY  any slot; a heap of entries, four children a node, says which, and which are free. The heap may be
 *             in any state when its holder is killed; the slots are not. A slot is full when its arrival is one
 *             of tail's, but for the one that `taking` names when head has passed `taking_at`.
 */
#include "process/shared_queue.h"

#define CHILDREN 4u

/* The release stores are compiler's fences, too: what a killed process has stored, it has stored in this order. */

static thi_ranked_t *ranked_at(const thrum_shared_queue_t *q, uint64_t index)
{
    return (thi_ranked_t *)(void *)(q->slots + index * q->slot_size);
}

static thi_shared_slot_t *slot_at(const thrum_shared_queue_t *q, uint64_t index)
{
    const size_t before = q->order == THRUM_PRIORITY ? sizeof(thi_ranked_t) : 0;
    return (thi_shared_slot_t *)(void *)(q->slots + index * q->slot_size + before);
}

/* ------------------------------------------------------------------------------------------------
 * The heap
 */

static bool goes_first(const thi_rank_entry_t *a, const thi_rank_entry_t *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->arrival < b->arrival;
}

/* Raises the entry from the hole at i. */
static void rise(thi_rank_entry_t *heap, uint64_t i, thi_rank_entry_t entry)
{
    while (i != 0) {
        const uint64_t parent = (i - 1) / CHILDREN;
        if (!goes_first(&entry, &heap[parent]))
            break;
        heap[i] = heap[parent];
        i = parent;
    }
    heap[i] = entry;
}

/* Lets the entry sink into the hole at i of a heap of n. */
static void sink(thi_rank_entry_t *heap, uint64_t n, uint64_t i, thi_rank_entry_t entry)
{
    for (;;) {
        const uint64_t first = i * CHILDREN + 1;
        uint64_t best = first;
        if (first >= n)
            break;
        for (uint64_t c = first + 1; c < first + CHILDREN && c < n; c++) {
            if (goes_first(&heap[c], &heap[best]))
                best = c;
        }
        if (!goes_first(&heap[best], &entry))
            break;
        heap[i] = heap[best];
        i = best;
    }
    heap[i] = entry;
}

/* Whether the slot holds an item of the queue; if not, it is made to look so. */
static bool holds_item(thrum_shared_queue_t *q, uint64_t index)
{
    const thi_queue_memory_t *m = q->memory;
    thi_ranked_t *ranked = ranked_at(q, index);
    const bool taken =
        m->taking == index + 1 && thi_word_count(thi_load_relaxed(&m->head)) > m->taking_at;
    if (ranked->arrival != 0 && ranked->arrival <= thi_word_count(thi_load_relaxed(&m->tail)) &&
        !taken)
        return true;
    ranked->arrival = 0;
    return false;
}

void thi_order_repair(thrum_shared_queue_t *q)
{
    if (q->order != THRUM_PRIORITY)
        return;
    uint64_t items = 0;
    uint64_t free_ones = q->capacity;
    for (uint64_t i = 0; i < q->capacity; i++) {
        const thi_ranked_t *ranked = ranked_at(q, i);
        if (holds_item(q, i))
            q->entries[items++] = (thi_rank_entry_t){ranked->rank, ranked->arrival, i};
        else
            q->entries[--free_ones] = (thi_rank_entry_t){0, 0, i};
    }
    thi_store_release(&q->memory->taking, UINT64_C(0)); /* after the slot was marked to be empty */
    for (uint64_t i = items / CHILDREN + 1; i-- > 0;) {
        if (i < items)
            sink(q->entries, items, i, q->entries[i]);
    }
}

/* ------------------------------------------------------------------------------------------------
 * The three orders
 */

thi_shared_slot_t *thi_order_slot_to_put(thrum_shared_queue_t *q, uint64_t head, uint64_t tail,
                                         int64_t rank)
{
    if (THI_LIKELY(q->order == THRUM_FIFO))
        return slot_at(q, tail & q->mask);
    if (q->order == THRUM_LIFO)
        return slot_at(q, tail - head);
    const uint64_t index = q->entries[tail - head].index;
    *ranked_at(q, index) = (thi_ranked_t){rank, tail + 1}; /* nothing, until tail says so */
    return slot_at(q, index);
}

/* The item was published: tail is one more by now. */
void thi_order_put(thrum_shared_queue_t *q, uint64_t head, uint64_t tail)
{
    if (q->order != THRUM_PRIORITY)
        return;
    const uint64_t index = q->entries[tail - head].index;
    rise(q->entries, tail - head, (thi_rank_entry_t){ranked_at(q, index)->rank, tail + 1, index});
}

thi_shared_slot_t *thi_order_slot_to_get(thrum_shared_queue_t *q, uint64_t head, uint64_t tail)
{
    if (THI_LIKELY(q->order == THRUM_FIFO))
        return slot_at(q, head & q->mask);
    return slot_at(q, q->order == THRUM_LIFO ? tail - head - 1 : q->entries[0].index);
}

/* The item is about to be taken, by head. */
void thi_order_take(thrum_shared_queue_t *q, uint64_t head)
{
    if (q->order != THRUM_PRIORITY)
        return;
    /* Never a slot with a position that was passed long ago. */
    thi_store_release(&q->memory->taking_at, head);
    thi_store_release(&q->memory->taking, q->entries[0].index + 1);
}

/* It was: head is one more by now. */
void thi_order_took(thrum_shared_queue_t *q, uint64_t head, uint64_t tail)
{
    if (q->order != THRUM_PRIORITY)
        return;
    const uint64_t last = tail - head - 1;
    const uint64_t index = q->entries[0].index;
    thi_store_release(&ranked_at(q, index)->arrival, UINT64_C(0));
    thi_store_release(&q->memory->taking, UINT64_C(0));
    sink(q->entries, last, 0, q->entries[last]);
    q->entries[last] = (thi_rank_entry_t){0, 0, index};
}
