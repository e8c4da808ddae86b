/*
 * Blocks of one size for futures and the like. Each thread keeps a few; what one thread takes and
 * another gives back goes round through a depot, a batch at a time, so that neither touches a shared line
 * for every block. After J. Bonwick's magazines (2001).
 *
 *     thread: list of up to 2 * BATCH  <-- batch -->  depot: stack of batches, under a lock
 *
 * A batch is a list; its first block carries the link to the next batch. What the depot holds beyond
 * DEPOT_MAX batches goes back to the allocator.
 */
#include "task/task.h"

#define BATCH 32u
#define DEPOT_MAX 16384u /* 58 MB: what a program once had in use it may need again */

struct block {
    struct block *next;
    struct block *next_batch;
};

struct cache {
    struct block *list;
    unsigned count;
    bool watched; /* it is emptied when the thread ends */
};

static _Thread_local struct cache cache THI_TLS_MODEL;

static thi_lock_t lock;
static struct block *depot;
static unsigned depot_count;

static struct block *from_depot(void)
{
    thi_lock(&lock, THI_RANK_BLOCKS);
    struct block *batch = depot;
    if (batch != NULL) {
        depot = batch->next_batch;
        depot_count--;
    }
    thi_unlock(&lock, THI_RANK_BLOCKS);
    return batch;
}

static bool to_depot(struct block *batch)
{
    thi_lock(&lock, THI_RANK_BLOCKS);
    const bool room = depot_count < DEPOT_MAX;
    if (room) {
        batch->next_batch = depot;
        depot = batch;
        depot_count++;
    }
    thi_unlock(&lock, THI_RANK_BLOCKS);
    return room;
}

static void free_list(struct block *list)
{
    for (struct block *next = NULL; list != NULL; list = next) {
        next = list->next;
        thi_free(list, THI_BLOCK);
    }
}

static void thread_ends(void *arg)
{
    struct cache *mine = arg;
    free_list(mine->list);
    *mine = (struct cache){0};
}

/* Nobody else is there to unlock it. Every step under the lock leaves the stack whole. */
static void after_fork_in_child(void)
{
    lock = (thi_lock_t){0};
}

__attribute__((constructor)) static void at_load(void)
{
    thi_strand_at_load();
    thi_at_fork(NULL, NULL, after_fork_in_child);
}

/* Without it the thread keeps none: what it gives goes to the allocator. */
static bool is_watched(struct cache *mine)
{
    static thi_ending_t ending;
    if (THI_LIKELY(mine->watched))
        return true;
    mine->watched = thi_thread_on_end(&ending, thread_ends, mine) == 0;
    return mine->watched;
}

THI_NOINLINE static void *take_slow(struct cache *mine)
{
    struct block *batch = is_watched(mine) ? from_depot() : NULL;
    if (batch == NULL)
        return thi_alloc(THI_BLOCK);
    mine->list = batch->next;
    mine->count = BATCH - 1;
    return batch;
}

void *thi_block_take(void)
{
    struct cache *mine = &cache;
    struct block *block = mine->list;
    if (THI_UNLIKELY(block == NULL))
        return take_slow(mine);
    mine->list = block->next;
    mine->count--;
    return block;
}

/* Cuts a batch off the list, which has more than that. */
static struct block *cut_batch(struct cache *mine)
{
    struct block *batch = mine->list;
    struct block *last = batch;
    for (unsigned i = 1; i < BATCH; i++)
        last = last->next;
    mine->list = last->next;
    mine->count -= BATCH;
    last->next = NULL;
    return batch;
}

THI_NOINLINE static void give_slow(struct cache *mine, struct block *block)
{
    if (!is_watched(mine)) {
        thi_free(block, THI_BLOCK);
        return;
    }
    if (mine->count >= 2 * BATCH) {
        struct block *batch = cut_batch(mine);
        if (!to_depot(batch))
            free_list(batch);
    }
    block->next = mine->list;
    mine->list = block;
    mine->count++;
}

void thi_block_give(void *memory)
{
    struct cache *mine = &cache;
    struct block *block = memory;
    if (THI_UNLIKELY(!mine->watched || mine->count >= 2 * BATCH)) {
        give_slow(mine, block);
        return;
    }
    block->next = mine->list;
    mine->list = block;
    mine->count++;
}
