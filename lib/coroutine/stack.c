/*
 * Stacks: cut from slabs, guarded, and kept for the next coroutine.
 *
 *   slab    a mapping of slots of one size, aligned to that size, cut from the front as they are wanted
 *   slot    guard, stack, record (stack.h). The record stands a few lines below the end, a different number
 *           in neighbours: equal places of slots that are a power of two apart would share a few lines of
 *           the cache
 *   stage   keeps up to THI_STACKS_KEPT free slots of each size, with their memory
 *   depot   has the rest, their memory given back but for the page of the record
 *
 * Invariants
 *   I1  Slabs are never unmapped: a late waker finds a record.
 *   I2  A slot is in one place: a coroutine's, a stage's cache, or the depot (under its lock).
 */
#include "coroutine/stack.h"

#include <stdio.h>
#include <string.h>

#define SLAB_BYTES ((size_t)16 * 1024 * 1024)
#define BATCH THI_RANGES_MAX
#define COLORS 16u

struct slab {
    struct slab *before;
    unsigned char *base;
    size_t slots;
    size_t cut;     /* slots that were handed out */
    size_t guarded; /* slots whose guard is there: at least those that were cut, or it failed */
    unsigned class;
};

static thi_lock_t lock;
static struct slab *slabs; /* all of them; read by a fault's report under no lock */
static struct slab *open_slab[THI_STACK_CLASSES];
static thrum_coro_t *depot[THI_STACK_CLASSES];

static size_t slot_size(unsigned class)
{
    return (size_t)1 << (class + THI_STACK_CLASS_MIN);
}

unsigned thi_stack_class(size_t size)
{
    unsigned class = 0;
    const size_t least = thi_page_size() * 4;
    size = size + thi_page_size() + sizeof(thrum_coro_t) + (size_t)COLORS * THI_CACHE_LINE;
    size = size < least ? least : size;
    while (class + 1 < THI_STACK_CLASSES && slot_size(class) < size)
        class ++;
    return class;
}

static unsigned char *slot_of(const thrum_coro_t *co)
{
    return (unsigned char *)((uintptr_t)co & ~(uintptr_t)(slot_size(co->class) - 1));
}

void *thi_stack_low(const thrum_coro_t *co)
{
    return slot_of(co) + thi_page_size();
}

/* Up to the record. */
static size_t stack_size(const thrum_coro_t *co)
{
    return (size_t)((const unsigned char *)co - slot_of(co)) - thi_page_size();
}

static size_t used_of(const thrum_coro_t *co)
{
    const size_t size = stack_size(co);
    return size - thi_pages_untouched(thi_stack_low(co), size);
}

size_t thrum_coro_stack_used(const thrum_coro_t *co)
{
    return co != NULL && co->registered ? used_of(co) : 0;
}

/* ------------------------------------------------------------------------------------------------
 * New ones
 */

/* Under the lock. */
static struct slab *make_slab(unsigned class)
{
    const size_t size = slot_size(class);
    const size_t slots = size < SLAB_BYTES ? SLAB_BYTES / size : 1;
    struct slab *slab = thi_alloc(sizeof *slab);
    unsigned char *pages = slab != NULL ? thi_stacks_map((slots + 1) * size) : NULL;
    if (pages == NULL) {
        thi_free(slab, sizeof *slab);
        return NULL;
    }
    unsigned char *base = (unsigned char *)(((uintptr_t)pages + size - 1) & ~(uintptr_t)(size - 1));
    *slab = (struct slab){slabs, base, slots, 0, 0, class};
    thi_store_release(&slabs, slab); /* R1: release; pairs with A1 */
    return slab;
}

/* Under the lock. Some ahead: the more the more there are. False: the next one has none. */
static bool guard_some(struct slab *slab)
{
    thi_range_t ranges[THI_RANGES_MAX];
    const size_t size = slot_size(slab->class);
    size_t n = slab->cut + 1 < BATCH ? slab->cut + 1 : BATCH;
    if (slab->cut < slab->guarded)
        return true;
    n = n < slab->slots - slab->cut ? n : slab->slots - slab->cut;
    for (size_t i = 0; i < n; i++)
        ranges[i] = (thi_range_t){slab->base + (slab->cut + i) * size, thi_page_size()};
    if (!thi_pages_guard_all(ranges, n))
        return false;
    slab->guarded = slab->cut + n;
    return true;
}

/* Under the lock: the next slot of a slab, with its place there, and whether it is guarded. */
static unsigned char *cut_slot(unsigned class, size_t *place, bool *guarded)
{
    struct slab *slab = open_slab[class];
    if (slab == NULL || slab->cut == slab->slots)
        slab = open_slab[class] = make_slab(class);
    if (slab == NULL)
        return NULL;
    *place = slab->cut;
    *guarded = guard_some(slab);
    return slab->base + slab->cut++ * slot_size(class);
}

static void put_into_depot(thrum_coro_t *co)
{
    thi_lock(&lock, THI_RANK_STACKS);
    co->next = depot[co->class];
    depot[co->class] = co;
    thi_unlock(&lock, THI_RANK_STACKS);
}

static thrum_coro_t *record_in(unsigned char *slot, unsigned class, size_t place)
{
    const size_t lines = (sizeof(thrum_coro_t) + THI_CACHE_LINE - 1) / THI_CACHE_LINE;
    const size_t below = (lines + place % COLORS) * THI_CACHE_LINE;
    return (thrum_coro_t *)(void *)(slot + slot_size(class) - below);
}

/* A slot that could not be guarded or registered is tried again by whoever takes it next. */
static thrum_coro_t *complete(thrum_coro_t *co, bool guarded)
{
    if (co->registered)
        return co;
    if ((!guarded && !thi_pages_guard(slot_of(co), thi_page_size())) ||
        thi_strand_register(&co->strand, &thi_coro_kind) != 0) {
        put_into_depot(co);
        return NULL;
    }
    thi_fiber_new_stack(thi_stack_low(co), stack_size(co));
    co->registered = true;
    return co;
}

/* From the depot, with some more for the stage; or a new one. */
thrum_coro_t *thi_stack_take_slow(thi_stage_t *stage, unsigned class)
{
    size_t place = 0;
    unsigned char *slot = NULL;
    bool guarded = false;
    thi_lock(&lock, THI_RANK_STACKS);
    thrum_coro_t *co = depot[class];
    if (co != NULL)
        depot[class] = co->next;
    else
        slot = cut_slot(class, &place, &guarded);
    while (stage != NULL && depot[class] != NULL && depot[class]->registered &&
           stage->stacks_kept[class] < BATCH) {
        thrum_coro_t *more = depot[class];
        depot[class] = more->next;
        more->next = stage->stacks[class];
        stage->stacks[class] = more;
        stage->stacks_kept[class]++;
    }
    thi_unlock(&lock, THI_RANK_STACKS);
    if (slot != NULL) {
        co = record_in(slot, class, place);
        co->class = (uint8_t) class;
    }
    return co != NULL ? complete(co, guarded) : NULL;
}

/* ------------------------------------------------------------------------------------------------
 * Giving them back
 */

/* All but the page that the record is on, and what the coroutine has lately used beside it. */
static thi_range_t rest_of(const thrum_coro_t *co)
{
    unsigned char *low = thi_stack_low(co);
    unsigned char *page = (unsigned char *)((uintptr_t)co & ~(uintptr_t)(thi_page_size() - 1));
    return (thi_range_t){low, page > low ? (size_t)(page - low) : 0};
}

/* Some that the stage has kept, the newest first. */
static void give_some(thi_stage_t *stage, unsigned class)
{
    thi_range_t rests[BATCH];
    size_t n = 0;
    thrum_coro_t *first = stage->stacks[class];
    thrum_coro_t *last = NULL;
    for (thrum_coro_t *co = first; co != NULL && n < BATCH; co = co->next) {
        rests[n++] = rest_of(co);
        last = co;
    }
    stage->stacks[class] = last->next;
    stage->stacks_kept[class] -= (uint32_t)n;
    thi_pages_forget_all(rests, n);
    thi_lock(&lock, THI_RANK_STACKS);
    last->next = depot[class];
    depot[class] = first;
    thi_unlock(&lock, THI_RANK_STACKS);
}

void thi_stack_give_slow(thi_stage_t *stage, thrum_coro_t *co)
{
    const unsigned class = co->class;
    if (stage == NULL) {
        const thi_range_t rest = rest_of(co);
        thi_pages_forget_all(&rest, 1);
        put_into_depot(co);
        return;
    }
    give_some(stage, class);
    co->next = stage->stacks[class];
    stage->stacks[class] = co;
    stage->stacks_kept[class]++;
}

void thi_stack_give_all(thi_stage_t *stage)
{
    for (unsigned class = 0; class < THI_STACK_CLASSES; class ++) {
        while (stage->stacks[class] != NULL)
            give_some(stage, class);
    }
}

void thi_stacks_after_fork(void)
{
    lock = (thi_lock_t){0};
    for (const struct slab *slab = slabs; slab != NULL; slab = slab->before) {
        for (size_t place = 0; place < slab->cut; place++) {
            thrum_coro_t *co =
                record_in(slab->base + place * slot_size(slab->class), slab->class, place);
            if (co->posted != NULL)
                co->posted = NULL;
        }
    }
}

/* ------------------------------------------------------------------------------------------------
 * Overflow
 */

/* Whose guard the address is in. In a signal handler. */
static const thrum_coro_t *owner_of_guard(const unsigned char *address)
{
    /* A1: acquire; pairs with R1. */
    for (const struct slab *slab = thi_load_acquire(&slabs); slab != NULL; slab = slab->before) {
        const size_t size = slot_size(slab->class);
        if (address < slab->base || address >= slab->base + slab->slots * size)
            continue;
        const size_t place = (size_t)(address - slab->base) / size;
        if ((size_t)(address - slab->base) % size >= thi_page_size())
            return NULL;
        return record_in(slab->base + place * size, slab->class, place);
    }
    return NULL;
}

static bool explain(const void *address, char *text, size_t size)
{
    const thrum_coro_t *co = owner_of_guard(address);
    if (co == NULL)
        return false;
    snprintf(text, size, "thrum: stack overflow in coroutine %u \"%s\" (%zu bytes)\n",
             THI_SLOT(co->strand.id), co->name, stack_size(co));
    return true;
}

void *thi_stack_watch_overflow(void)
{
    return thi_crash_watch(explain);
}

void thi_stack_unwatch_overflow(void *watch)
{
    thi_crash_unwatch(watch);
}
