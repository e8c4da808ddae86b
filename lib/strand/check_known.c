/*
 * What the checked build knows of locks: its memory, and the locks by address. See check.h.
 *
 * All under the check lock. The memory comes from the system's pages, in records of one size, and is
 * used again but never given back.
 */
#include "strand/check.h"

#ifdef THRUM_CHECKED

#include <string.h>

/* ------------------------------------------------------------------------------------------------
 * Memory
 */

union record {
    thi_held_t held;
    thi_hold_t hold;
    thi_known_t known;
    thi_edge_t edge;
    union record *next_free;
};

#define SLAB_BYTES (64u * 1024u)

static union record *unused; /* never used before: [unused, unused_end) */
static union record *unused_end;
static union record *pool; /* given back */
static bool stopped;       /* nothing is found any more, and nothing made */

bool thi_known_stopped(void)
{
    return stopped;
}

/* NULL: no memory. */
static union record *carve(void)
{
    if (unused == unused_end) {
        union record *slab = thi_pages_map(SLAB_BYTES);
        if (slab == NULL)
            return NULL;
        unused = slab;
        unused_end = slab + SLAB_BYTES / sizeof *slab;
    }
    return unused++;
}

void *thi_known_alloc(void)
{
    if (stopped)
        return NULL;
    union record *record = pool;
    if (record != NULL) {
        pool = record->next_free;
        memset(record, 0, sizeof *record);
        return record;
    }
    record = carve();
    stopped = record == NULL;
    return record;
}

void thi_known_free(void *memory)
{
    union record *record = memory;
    record->next_free = pool;
    pool = record;
}

/* ------------------------------------------------------------------------------------------------
 * Locks by address
 */

#define TABLE_BITS 14

static thi_link_t *table[1u << TABLE_BITS];

static thi_known_t *known_of_table(thi_link_t *link)
{
    return THI_CONTAINER_OF(link, thi_known_t, of_table);
}

static thi_link_t **list_of(const void *lock)
{
    const uint64_t hash = (uint64_t)(uintptr_t)lock * UINT64_C(0x9E3779B97F4A7C15);
    return &table[hash >> (64 - TABLE_BITS)];
}

thi_known_t *thi_known_find(const void *lock)
{
    thi_link_t *link = stopped ? NULL : *list_of(lock);
    for (; link != NULL; link = link->next) {
        if (known_of_table(link)->lock == lock)
            return known_of_table(link);
    }
    return NULL;
}

void thi_known_each(void (*fn)(thi_known_t *known, void *arg), void *arg)
{
    for (size_t i = 0; !stopped && i < sizeof table / sizeof table[0]; i++) {
        thi_link_t *next = NULL;
        for (thi_link_t *link = table[i]; link != NULL; link = next) {
            next = link->next;
            fn(known_of_table(link), arg);
        }
    }
}

void thi_known_tidy(thi_known_t *known)
{
    if (known->holds != NULL || known->later != NULL || known->earlier != NULL)
        return;
    thi_link_out(&known->of_table);
    thi_known_free(known);
}

void thi_known_drop_hold(thi_hold_t *hold)
{
    thi_link_out(&hold->of_strand);
    thi_link_out(&hold->of_lock);
    thi_known_free(hold);
}

void thi_known_drop_stale(thi_known_t *known, bool shared)
{
    thi_link_t *next = NULL;
    for (thi_link_t *link = known->holds; link != NULL; link = next) {
        next = link->next;
        if (!shared || !thi_hold_of_lock(link)->shared)
            thi_known_drop_hold(thi_hold_of_lock(link));
    }
}

void thi_known_forget(thi_known_t *known)
{
    thi_known_drop_stale(known, false);
    thi_order_forget(known);
    thi_known_tidy(known);
}

thi_known_t *thi_known_make(const void *lock, const thi_site_t *site)
{
    thi_known_t *known = thi_known_find(lock);
    if (known != NULL && known->site->owner != site->owner) { /* the memory was used again */
        thi_known_forget(known);
        known = NULL;
    }
    if (known == NULL && (known = thi_known_alloc()) != NULL) {
        known->lock = lock;
        known->site = site;
        thi_link_in(list_of(lock), &known->of_table);
    }
    return known;
}

#else
typedef int thi_no_known; /* a translation unit may not be empty */
#endif
