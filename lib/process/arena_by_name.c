/*
 * One arena of a name at a time, with nothing in any file system that could be left behind: who has it open has a
 * descriptor, and the system tells what descriptors there are.
 *
 *   state   CLAIMING    its maker looks whether there is another; it holds `claim`
 *           READY       it is the one of that name
 *           WITHDRAWN   there was another; it is about to vanish
 *
 * Two that are made at the same time see each other, or one sees the other READY: both are to be found before they
 * look. The younger one withdraws, and the older one waits to hear which it was. It hears by getting the `claim`:
 * which goes from a maker who died, too.
 */
#include <string.h>

#include "process/arena_heap.h"

typedef struct search {
    const thi_heap_t *mine;
    size_t page;
    thi_heap_t *other; /* the first page of it; NULL: `err` kept it from being looked at */
    int err;
} search_t;

static bool is_same(const thi_heap_t *a, const thi_heap_t *b)
{
    return a->claimed_at == b->claimed_at && a->claimant == b->claimant;
}

static bool is_younger(const thi_heap_t *a, const thi_heap_t *b)
{
    return a->claimed_at > b->claimed_at ||
           (a->claimed_at == b->claimed_at && a->claimant > b->claimant);
}

/* Another of that name, which is not withdrawn. */
static bool is_another(int fd, void *arg)
{
    search_t *search = arg;
    thi_heap_t *heap = thi_arena_look(fd, search->page, &search->err);
    if (heap == NULL)
        return search->err != EINVAL; /* which is to say that it is no arena */
    if (!is_same(heap, search->mine) && strcmp(heap->name, search->mine->name) == 0 &&
        thi_load_acquire(&heap->state) != THI_ARENA_WITHDRAWN) {
        search->other = heap;
        return true;
    }
    thi_pages_unmap(heap, search->page);
    return false;
}

static void decide(thi_heap_t *heap, uint32_t state)
{
    thi_death_point("named: about to decide");
    thi_store_release(&heap->state, state); /* R1: release; pairs with A1 */
    thi_death_point("named: decided");
    thi_guard_unlock(&heap->claim);
}

/* What became of it, when that is known. */
static uint32_t outcome(thi_heap_t *other)
{
    const int err = thi_guard_lock(&other->claim, THRUM_FOREVER);
    thi_death_point("named: got another's claim");
    const uint32_t state = thi_load_acquire(&other->state); /* A1 */
    if (err == EOWNERDEAD && state == THI_ARENA_CLAIMING)
        thi_store_release(&other->state, THI_ARENA_WITHDRAWN);
    if (err == EOWNERDEAD)
        thi_guard_mend(&other->claim);
    if (err == 0 || err == EOWNERDEAD)
        thi_guard_unlock(&other->claim);
    return state;
}

/* EBUSY: this one is gone from the way; 0: there is no such other. */
static int contend(thi_heap_t *mine, thi_heap_t *other)
{
    uint32_t state = thi_load_acquire(&other->state); /* A1 */
    const bool yields = state == THI_ARENA_READY || is_younger(mine, other);
    if (yields)
        decide(mine, THI_ARENA_WITHDRAWN);
    if (state == THI_ARENA_CLAIMING)
        state = outcome(other);
    if (state == THI_ARENA_READY) {
        if (!yields)
            decide(mine, THI_ARENA_WITHDRAWN);
        return EEXIST;
    }
    return yields ? EAGAIN : EBUSY;
}

/* One look: 0: there is no other; EBUSY: look again; otherwise this one is withdrawn. */
static int look_around(thi_heap_t *mine, const char *link)
{
    search_t search = {mine, thi_page_size(), NULL, 0};
    int fd = -1;
    int err = thi_segment_find(link, is_another, &search, &fd);
    if (err == ENOENT)
        return 0;
    if (err == 0) {
        err = search.other != NULL ? contend(mine, search.other) : search.err;
        thi_fd_close(fd);
    }
    if (search.other != NULL)
        thi_pages_unmap(search.other, search.page);
    else
        decide(mine, THI_ARENA_WITHDRAWN);
    return err;
}

int thi_arena_claim(thrum_shared_t *arena)
{
    char link[sizeof THI_ARENA_LINK + THRUM_SHARED_NAME_MAX] = THI_ARENA_LINK;
    thi_heap_t *heap = arena->heap;
    int err = thi_guard_init(&heap->claim);
    if (err == 0)
        err = thi_guard_lock(&heap->claim, THRUM_FOREVER);
    if (err != 0)
        return err;
    thi_arena_link_to(link, heap->name);
    heap->claimant = (uint32_t)thi_thread_native_id();
    heap->claimed_at = thi_clock();
    thi_store_seq_cst(&heap->magic,
                      THI_ARENA_MAGIC); /* to be found, before it looks; R2 of arena.c */
    thi_death_point("named: to be found");
    do
        err = look_around(heap, link);
    while (err == EBUSY);
    if (err == 0)
        decide(heap, THI_ARENA_READY);
    return err;
}
