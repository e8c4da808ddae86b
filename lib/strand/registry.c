/*
 * The registry of strand records: gives each an id, finds the record of an id, lists those alive.
 *
 *   id   31       24 23                    0
 *       +-----------+-----------------------+
 *       | generation|         slot          |
 *       +-----------+-----------------------+
 *
 * A record keeps its slot for good; each life gets a new generation (1 to 255, around), so an id
 * left behind in a lock is not mistaken for a later strand in the same slot until 255 lives on.
 *
 * Invariants
 *   I1  slots[i] is written once, before `used` passes i, and never changes. Reading needs no lock.
 *   I2  Records are never unmapped: a late reader finds a record, perhaps of a later life.
 */
#include "strand/strand.h"

#define CHUNK_BITS 10
#define CHUNK (UINT32_C(1) << CHUNK_BITS)
#define CHUNKS (UINT32_C(1) << (THI_SLOT_BITS - CHUNK_BITS))

static thi_lock_t lock;
static thi_strand_t *first_chunk[CHUNK]; /* a small program maps nothing */
static thi_strand_t **chunks[CHUNKS] = {first_chunk};
static uint32_t used;
static uint32_t fork_depth;
uint32_t thi_fork_mark = 1;
uint32_t thi_process = UINT32_C(1) << THI_PROCESS_MARK_SHIFT;

static thi_strand_t *record_in(uint32_t slot)
{
    return chunks[slot >> CHUNK_BITS][slot & (CHUNK - 1)];
}

uint32_t thi_strand_slots(void)
{
    return thi_load_acquire(&used); /* A1: acquire; pairs with R1 */
}

/* Under the lock. */
static int append(thi_strand_t *strand)
{
    const uint32_t slot = used;
    const uint32_t chunk = slot >> CHUNK_BITS;
    if (chunk == CHUNKS)
        return ENOMEM;
    if (chunks[chunk] == NULL)
        chunks[chunk] = thi_pages_map(CHUNK * sizeof *chunks[chunk]);
    if (chunks[chunk] == NULL)
        return ENOMEM;
    chunks[chunk][slot & (CHUNK - 1)] = strand;
    strand->id = slot;                  /* generation 0: not alive yet */
    thi_store_release(&used, slot + 1); /* R1: release; pairs with A1 */
    return 0;
}

int thi_strand_register(thi_strand_t *strand, const thi_strand_kind_t *kind)
{
    strand->kind = kind;
    thi_lock(&lock, THI_RANK_REGISTRY);
    const int err = append(strand);
    thi_unlock(&lock, THI_RANK_REGISTRY);
    if (err == 0)
        thi_lot_reserve(thi_strand_slots());
    return err;
}

void thi_strand_each(void (*fn)(thi_strand_t *strand, void *arg), void *arg)
{
    const uint32_t slots = thi_strand_slots();
    for (uint32_t slot = 0; slot < slots; slot++) {
        thi_strand_t *strand = record_in(slot);
        if (thi_load_relaxed(&strand->alive) != 0)
            fn(strand, arg);
    }
}

static bool lives(uint32_t id)
{
    if (id == 0 || THI_SLOT(id) >= thi_strand_slots())
        return false;
    const thi_strand_t *strand = record_in(THI_SLOT(id));
    return thi_load_relaxed(&strand->id) == id && thi_load_relaxed(&strand->alive) != 0;
}

void thi_strand_describe(uint32_t id, char *name, size_t size)
{
    if (!lives(id)) {
        snprintf(name, size, "a strand that has ended");
        return;
    }
    const thi_strand_t *strand = record_in(THI_SLOT(id));
    strand->kind->describe(strand, name, size);
}

bool thi_holder_is_lost(uint32_t mark, uint32_t owner)
{
    return THI_UNLIKELY(mark != thi_fork_mark) && !lives(owner);
}

uint32_t thi_fork_depth(void)
{
    return thi_load_relaxed(&fork_depth);
}

void thi_registry_before_fork(void)
{
    thi_lock(&lock, THI_RANK_REGISTRY);
}

/* In the child every strand but the one that forked is gone. */
static void lose(thi_strand_t *strand, void *arg)
{
    if (strand != arg)
        thi_strand_retire(strand);
}

void thi_registry_after_fork(bool child)
{
    thi_unlock(&lock, THI_RANK_REGISTRY);
    if (!child)
        return;
    fork_depth++;
    thi_fork_mark = thi_fork_mark % 15u + 1u;
    /* One thread again. */
    thi_process = thi_fork_mark << THI_PROCESS_MARK_SHIFT | THI_PROCESS_CHILD;
    thi_strand_each(lose, thi_current.strand);
}
