/*
 * The heap of an arena: blocks of whole cache lines, free ones in bins by size, as good a fit as the bins tell
 * apart (two-level segregated fit).
 *
 *   truth    `end`, and `size` of each head: the chain of blocks. Every change of it is one store.
 *   journal  `block` and `slot`
 *   notes    everything else (bins, `filled`, `before`, `last`, `used`): made anew from the truth when a holder
 *            of the guard has died
 *
 * Invariants
 *   I1  All of it is changed by the holder of the guard only.
 *   I2  At every instruction the heads form a chain from the first block to `end`. What lies inside of a block
 *       does not matter: so a part to be split off is written first, and becomes one when its block gets shorter;
 *       and a block that is swallowed vanishes by its neighbour's getting longer.
 *   I3  A block that changes hands is in the journal from before the first store of that until after the last.
 *       It is to be free unless its slot names it, and a slot is written while its block is allocated.
 */
#include <stdio.h>
#include <string.h>

#include "process/arena_heap.h"

#define USED UINT64_C(1)
#define SPLIT_LOG 3u /* a bin of a power of two is split in eight */
#define SPLITS (UINT64_C(1) << SPLIT_LOG)

_Static_assert(sizeof(thi_heap_t) <= 4096, "it is the first page");
_Static_assert((THI_HEAP_FIRST + sizeof(thi_piece_t)) % THI_HEAP_UNIT == 0, "blocks are aligned");

static thi_piece_t *piece_at(const thi_heap_t *heap, uint64_t head)
{
    return thi_shared_at(heap, head);
}

static thi_links_t *links_of(const thi_heap_t *heap, uint64_t head)
{
    return thi_shared_at(heap, head + THI_HEAP_HEAD);
}

static uint64_t size_of(const thi_piece_t *piece)
{
    return piece->size & ~USED;
}

static bool is_used(const thi_piece_t *piece)
{
    return (piece->size & USED) != 0;
}

/* The stores of the truth, in the order of the program: whoever comes after a death sees them so. */
static void set_size(thi_piece_t *piece, uint64_t size)
{
    thi_store_release(&piece->size,
                      size); /* R1: for the one who repairs, who has the guard after us */
}

/* ------------------------------------------------------------------------------------------------
 * Bins
 */

static unsigned bin_of(uint64_t size)
{
    const uint64_t units = size / THI_HEAP_UNIT;
    if (units < SPLITS)
        return (unsigned)units;
    const unsigned log = 63u - (unsigned)__builtin_clzll(units);
    const unsigned bin = (unsigned)((log - SPLIT_LOG + 1) * SPLITS) +
                         (unsigned)(units >> (log - SPLIT_LOG) & (SPLITS - 1));
    return bin < THI_HEAP_BINS ? bin : THI_HEAP_BINS - 1;
}

/* The first bin all of whose blocks are large enough. */
static unsigned bin_above(uint64_t size)
{
    const unsigned bin = bin_of(size);
    return size / THI_HEAP_UNIT < SPLITS || bin_of(size - THI_HEAP_UNIT) != bin ? bin : bin + 1;
}

static void put_in_bin(thi_heap_t *heap, uint64_t head)
{
    const unsigned bin = bin_of(piece_at(heap, head)->size);
    thi_links_t *links = links_of(heap, head);
    *links = (thi_links_t){heap->bins[bin], 0};
    if (links->next != 0)
        links_of(heap, links->next)->prev = head;
    heap->bins[bin] = head;
    heap->filled[bin / 64] |= UINT64_C(1) << bin % 64;
}

static void take_from_bin(thi_heap_t *heap, uint64_t head)
{
    const unsigned bin = bin_of(piece_at(heap, head)->size);
    const thi_links_t links = *links_of(heap, head);
    if (links.next != 0)
        links_of(heap, links.next)->prev = links.prev;
    if (links.prev != 0)
        links_of(heap, links.prev)->next = links.next;
    else
        heap->bins[bin] = links.next;
    if (heap->bins[bin] == 0)
        heap->filled[bin / 64] &= ~(UINT64_C(1) << bin % 64);
}

/* The first of the first bin from that on which is not empty; 0: they all are. */
static uint64_t first_from(const thi_heap_t *heap, unsigned bin)
{
    for (unsigned word = bin / 64; word < THI_HEAP_WORDS; word++) {
        uint64_t filled = heap->filled[word];
        if (word == bin / 64)
            filled &= ~UINT64_C(0) << bin % 64;
        if (filled != 0)
            return heap->bins[word * 64 + (unsigned)__builtin_ctzll(filled)];
    }
    return 0;
}

static uint64_t find(const thi_heap_t *heap, uint64_t size)
{
    const unsigned above = bin_above(size);
    const uint64_t head = above < THI_HEAP_BINS ? first_from(heap, above) : 0;
    if (head != 0)
        return head;
    /* Nothing that is sure to fit; in the bin below there may be something all the same. */
    uint64_t one = heap->bins[bin_of(size)];
    while (one != 0 && piece_at(heap, one)->size < size)
        one = links_of(heap, one)->next;
    return one;
}

/* ------------------------------------------------------------------------------------------------
 * Changes of the chain
 */

/* The block behind, if there is one, or else the heap, knows how long this one is. */
static void tell_next(thi_heap_t *heap, uint64_t head)
{
    const uint64_t size = size_of(piece_at(heap, head));
    if (head + size == heap->end)
        heap->last = size;
    else
        piece_at(heap, head + size)->before = size;
}

/* The free block gets shorter, and what is cut off a free one of its own. It is in no bin. */
static void split(thi_heap_t *heap, uint64_t head, uint64_t size)
{
    thi_piece_t *piece = piece_at(heap, head);
    const uint64_t rest = piece->size - size;
    if (rest < THI_HEAP_UNIT)
        return;
    thi_piece_t *second = piece_at(heap, head + size);
    second->before = size;
    set_size(second, rest);
    thi_death_point("heap: second half written");
    set_size(piece, size); /* I2 */
    thi_death_point("heap: split");
    tell_next(heap, head + size);
    put_in_bin(heap, head + size);
}

/* Makes the block, which is used, a free one, together with free neighbours. */
static void release(thi_heap_t *heap, uint64_t head)
{
    thi_piece_t *piece = piece_at(heap, head);
    uint64_t size = size_of(piece);
    heap->used -= size;
    const uint64_t after = head + size;
    if (after != heap->end && !is_used(piece_at(heap, after))) {
        take_from_bin(heap, after);
        size += piece_at(heap, after)->size;
    }
    if (piece->before != 0 && !is_used(piece_at(heap, head - piece->before))) {
        head -= piece->before;
        take_from_bin(heap, head);
        size += piece_at(heap, head)->size;
    }
    thi_death_point("heap: about to be free");
    set_size(piece_at(heap, head), size); /* I2: in one store free, and with its neighbours one */
    thi_death_point("heap: free");
    tell_next(heap, head);
    put_in_bin(heap, head);
}

/* ------------------------------------------------------------------------------------------------
 * After a death
 */

static bool plausible(const thi_heap_t *heap, uint64_t head)
{
    const uint64_t size = size_of(piece_at(heap, head));
    return size != 0 && size % THI_HEAP_UNIT == 0 && size <= heap->end - head;
}

/* I2. A head that somebody has written over, in a way that shows, is the last one: the rest is used. */
static void note_anew(thi_heap_t *heap)
{
    memset(heap->filled, 0, sizeof heap->filled);
    memset(heap->bins, 0, sizeof heap->bins);
    heap->used = 0;
    uint64_t before = 0;
    for (uint64_t head = THI_HEAP_FIRST; head != heap->end;) {
        thi_piece_t *piece = piece_at(heap, head);
        if (!plausible(heap, head))
            set_size(piece, (heap->end - head) | USED);
        const uint64_t next = head + size_of(piece);
        piece->before = before;
        if (is_used(piece)) {
            heap->used += size_of(piece);
        } else if (next != heap->end && !is_used(piece_at(heap, next)) && plausible(heap, next)) {
            set_size(piece, piece->size + piece_at(heap, next)->size);
            continue; /* look at it again */
        } else {
            put_in_bin(heap, head);
        }
        before = size_of(piece);
        head = next;
        thi_death_point("heap: one noted anew");
    }
    heap->last = before;
}

bool thi_heap_is_block(const thi_heap_t *heap, uint64_t memory)
{
    if (memory < THI_HEAP_FIRST + THI_HEAP_HEAD || memory >= heap->end ||
        memory % THI_HEAP_UNIT != 0)
        return false;
    const uint64_t head = memory - THI_HEAP_HEAD;
    const thi_piece_t *piece = piece_at(heap, head);
    if (!is_used(piece) || !plausible(heap, head))
        return false;
    const uint64_t next = head + size_of(piece);
    return (next == heap->end ? heap->last : piece_at(heap, next)->before) == size_of(piece);
}

/* Whether the chain comes by there. */
static bool is_in_chain(const thi_heap_t *heap, uint64_t wanted)
{
    uint64_t head = THI_HEAP_FIRST;
    while (head < wanted && head != heap->end)
        head += size_of(piece_at(heap, head));
    return head == wanted && head != heap->end;
}

/* I3. */
static void finish_journal(thi_heap_t *heap)
{
    const uint64_t block = heap->block;
    if (block == 0)
        return;
    const uint64_t *slot = heap->slot != 0 ? thi_shared_at(heap, heap->slot) : NULL;
    if (is_in_chain(heap, block - THI_HEAP_HEAD) && is_used(thi_piece_of(heap, block)) &&
        (slot == NULL || thi_load_relaxed(slot) != block))
        release(heap, block - THI_HEAP_HEAD);
    thi_death_point("heap: journal finished");
    heap->block = 0;
}

void thi_heap_lock(thi_heap_t *heap)
{
    if (THI_LIKELY(thi_guard_lock(&heap->guard, THRUM_FOREVER) != EOWNERDEAD))
        return;
    note_anew(heap);
    finish_journal(heap);
    thi_death_point("heap: mended");
    thi_guard_mend(&heap->guard);
}

void thi_heap_unlock(thi_heap_t *heap)
{
    thi_guard_unlock(&heap->guard);
}

/* ------------------------------------------------------------------------------------------------
 * Allocating
 */

static void begin_journal(thi_heap_t *heap, uint64_t block, uint64_t slot)
{
    heap->slot = slot;
    thi_store_release(&heap->block, block); /* R1, as set_size: after `slot` */
    thi_death_point("heap: journal begun");
}

static void end_journal(thi_heap_t *heap)
{
    thi_store_release(&heap->block, UINT64_C(0)); /* R1: after all that it was about */
    thi_death_point("heap: journal ended");
}

uint64_t thi_heap_alloc(thi_heap_t *heap, uint64_t size, uint64_t slot)
{
    const uint64_t head = find(heap, size);
    if (head == 0)
        return 0;
    const uint64_t memory = head + THI_HEAP_HEAD;
    begin_journal(heap, memory, slot);
    take_from_bin(heap, head);
    split(heap, head, size);
    thi_piece_t *piece = piece_at(heap, head);
    set_size(piece, piece->size | USED);
    heap->used += size_of(piece);
    thi_death_point("heap: allocated");
    if (slot != 0)
        thi_store_release((uint64_t *)thi_shared_at(heap, slot), memory);
    thi_death_point("heap: slot written");
    end_journal(heap);
    return memory;
}

void thi_heap_free(thi_heap_t *heap, uint64_t memory)
{
    begin_journal(heap, memory, 0);
    release(heap, memory - THI_HEAP_HEAD);
    end_journal(heap);
}

void thi_heap_free_from(thi_heap_t *heap, uint64_t slot, uint64_t next)
{
    uint64_t *word = thi_shared_at(heap, slot);
    const uint64_t memory = *word;
    if (memory == 0)
        return;
    begin_journal(heap, memory, slot);
    thi_store_release(word, next);
    thi_death_point("heap: slot emptied");
    release(heap, memory - THI_HEAP_HEAD);
    end_journal(heap);
}

/* The last whole unit before that. */
static uint64_t whole_units(uint64_t end)
{
    return end - (end - THI_HEAP_FIRST) % THI_HEAP_UNIT;
}

uint64_t thi_heap_tail(const thi_heap_t *heap)
{
    return is_used(piece_at(heap, heap->end - heap->last)) ? 0 : heap->last;
}

void thi_heap_extend(thi_heap_t *heap, uint64_t end)
{
    const uint64_t head = heap->end, size = whole_units(end) - head;
    thi_piece_t *piece = piece_at(heap, head);
    piece->before = heap->last;
    set_size(piece, size | USED);
    begin_journal(heap, head + THI_HEAP_HEAD, 0);
    thi_store_release(&heap->end, head + size); /* R1: I2, the chain gets longer */
    thi_death_point("heap: extended");
    heap->last = size;
    heap->used += size;
    release(heap, head);
    end_journal(heap);
}

int thi_heap_begin(thi_heap_t *heap, uint64_t max, uint64_t end)
{
    const int err = thi_guard_init(&heap->guard);
    if (err != 0)
        return err;
    heap->version = THI_HEAP_VERSION;
    heap->max = max;
    heap->end = whole_units(end);
    piece_at(heap, THI_HEAP_FIRST)->size = heap->end - THI_HEAP_FIRST;
    note_anew(heap);
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * Tests
 */

static bool wrong(const char *what, uint64_t where)
{
    fprintf(stderr, "heap: %s at %#llx\n", what, (unsigned long long)where);
    return false;
}

bool thi_heap_sound(const thi_heap_t *heap)
{
    uint64_t before = 0, used = 0, unused = 0, binned = 0;
    bool free_before = false;
    for (uint64_t head = THI_HEAP_FIRST; head != heap->end;) {
        const thi_piece_t *piece = piece_at(heap, head);
        if (!plausible(heap, head) || piece->before != before)
            return wrong("a head", head);
        if (free_before && !is_used(piece))
            return wrong("free beside free", head);
        free_before = !is_used(piece);
        *(free_before ? &unused : &used) += size_of(piece);
        before = size_of(piece);
        head += before;
    }
    for (unsigned bin = 0; bin < THI_HEAP_BINS; bin++) {
        uint64_t prev = 0;
        if ((heap->bins[bin] != 0) != ((heap->filled[bin / 64] >> bin % 64 & 1u) != 0))
            return wrong("a bin's mark", bin);
        for (uint64_t head = heap->bins[bin]; head != 0; head = links_of(heap, head)->next) {
            if (is_used(piece_at(heap, head)) || bin_of(piece_at(heap, head)->size) != bin ||
                links_of(heap, head)->prev != prev)
                return wrong("a link", head);
            binned += piece_at(heap, head)->size;
            prev = head;
        }
    }
    return (used == heap->used && unused == binned && heap->last == before && heap->block == 0) ||
           wrong("a sum", heap->end);
}
