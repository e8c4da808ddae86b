/*
 * The blocks. A block belongs to its class for good: what was large once may be large again. Memory of those that
 * are not in use is kept up to KEEP, and given back to the system beyond.
 */
#include "process/pool_blocks.h"

#define SPACE_MOST (UINT64_C(1) << 36)
#define SPACE_LEAST (UINT64_C(1) << 26)
#define KEEP (UINT64_C(64) << 20)

static unsigned class_of(size_t size)
{
    unsigned class = 0;
    while (class < THI_BLOCK_CLASSES && ((size_t)THI_BLOCK_SMALLEST << class) < size)
        class ++;
    return class;
}

int thi_blocks_begin(thi_blocks_t *blocks)
{
    for (uint64_t space = SPACE_MOST; space >= SPACE_LEAST; space /= 2) {
        if (space > SIZE_MAX / 2)
            continue;
        blocks->base = thi_shared_map((size_t)space);
        blocks->size = (size_t)space;
        if (blocks->base != NULL)
            return 0;
    }
    return ENOMEM;
}

void thi_blocks_end(thi_blocks_t *blocks)
{
    if (blocks->base == NULL)
        return;
    thi_shared_unmap(blocks->base, blocks->size);
    for (unsigned i = 0; i < THI_BLOCK_CLASSES; i++)
        for (thi_bulk_t *next = NULL, *bulk = blocks->unused[i]; bulk != NULL; bulk = next) {
            next = bulk->next;
            thi_free(bulk, sizeof *bulk);
        }
}

static thi_bulk_t *take_unused(thi_blocks_t *blocks, unsigned class)
{
    thi_bulk_t *bulk = blocks->unused[class];
    if (bulk != NULL) {
        blocks->unused[class] = bulk->next;
        blocks->kept -= bulk->claimed;
    }
    return bulk;
}

/* From the space that was never used. Large ones begin a page. */
static unsigned char *carve(thi_blocks_t *blocks, size_t size)
{
    const size_t page = thi_page_size();
    size_t at = blocks->used;
    if (size >= page)
        at = (at + page - 1) / page * page;
    if (at > blocks->size || blocks->size - at < size)
        return NULL;
    blocks->used = at + size;
    return blocks->base + at;
}

static thi_bulk_t *make(thi_blocks_t *blocks, size_t size)
{
    thi_bulk_t *bulk = thi_alloc(sizeof *bulk);
    if (bulk == NULL)
        return NULL;
    thi_lock(&blocks->lock, THI_RANK_OFFICE);
    bulk->at = carve(blocks, size);
    thi_unlock(&blocks->lock, THI_RANK_OFFICE);
    bulk->size = size;
    if (bulk->at != NULL)
        return bulk;
    thi_free(bulk, sizeof *bulk);
    return NULL;
}

/* So that nobody is killed for touching memory that is not there. */
static bool claim(thi_bulk_t *bulk, size_t size)
{
    const size_t page = thi_page_size();
    if (bulk->claimed >= size)
        return true;
    unsigned char *begin = bulk->at - (uintptr_t)bulk->at % page;
    const size_t length = (size_t)(bulk->at - begin) + size;
    if (!thi_shared_claim(begin, (length + page - 1) / page * page))
        return false;
    bulk->claimed = size;
    return true;
}

thi_bulk_t *thi_blocks_take(thi_blocks_t *blocks, size_t size)
{
    const unsigned class = class_of(size);
    if (class >= THI_BLOCK_CLASSES)
        return NULL;
    thi_lock(&blocks->lock, THI_RANK_OFFICE);
    thi_bulk_t *bulk = take_unused(blocks, class);
    thi_unlock(&blocks->lock, THI_RANK_OFFICE);
    if (bulk == NULL)
        bulk = make(blocks, (size_t)THI_BLOCK_SMALLEST << class);
    if (bulk == NULL || claim(bulk, size))
        return bulk;
    thi_blocks_give(blocks, bulk);
    return NULL;
}

void thi_blocks_give(thi_blocks_t *blocks, thi_bulk_t *bulk)
{
    if (bulk == NULL)
        return;
    const unsigned class = class_of(bulk->size);
    thi_lock(&blocks->lock, THI_RANK_OFFICE);
    const bool keep = bulk->claimed < thi_page_size() || blocks->kept + bulk->claimed <= KEEP;
    thi_unlock(&blocks->lock, THI_RANK_OFFICE);
    if (!keep) {
        thi_shared_forget(bulk->at, bulk->size);
        bulk->claimed = 0;
    }
    thi_lock(&blocks->lock, THI_RANK_OFFICE);
    blocks->kept += bulk->claimed;
    bulk->next = blocks->unused[class];
    blocks->unused[class] = bulk;
    thi_unlock(&blocks->lock, THI_RANK_OFFICE);
}
