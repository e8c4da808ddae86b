#ifndef THI_POOL_BLOCKS_H
#define THI_POOL_BLOCKS_H

/*
 * Blocks of memory that all processes of a pool see at the same address, for what is too large for the rings. Only
 * the parent hands them out and takes them back, and all it knows of them is in its own memory: whatever a worker does,
 * or is killed at, none is lost.
 */
#include "task/task.h"

#define THI_BLOCK_CLASSES 40u /* of 256 bytes, 512, ... */
#define THI_BLOCK_SMALLEST 256u

/* A block in one word: its address, of which the low bits are free, and its class. */
static inline uint64_t thi_block_pack(const unsigned char *at, size_t size)
{
    uint64_t class = 0;
    while (((size_t)THI_BLOCK_SMALLEST << class) < size)
        class ++;
    return (uint64_t)(uintptr_t)at | class;
}
static inline unsigned char *thi_block_at(uint64_t packed)
{
    return (unsigned char *)(uintptr_t)(packed & ~(uint64_t)(THI_BLOCK_SMALLEST - 1));
}
static inline size_t thi_block_size(uint64_t packed)
{
    return (size_t)THI_BLOCK_SMALLEST << (packed & (THI_BLOCK_SMALLEST - 1));
}

typedef struct thi_bulk {
    unsigned char *at;
    size_t size;    /* of its class */
    size_t claimed; /* so many bytes from the start are known to have memory */
    struct thi_bulk *next;
} thi_bulk_t;

typedef struct thi_blocks {
    thi_lock_t lock;
    unsigned char *base;
    size_t size; /* of address space */
    size_t used; /* of it, from the base on */
    size_t kept; /* bytes with memory in `unused` */
    thi_bulk_t *unused[THI_BLOCK_CLASSES];
} thi_blocks_t;

int thi_blocks_begin(thi_blocks_t *blocks); /* 0, ENOMEM */
void thi_blocks_end(thi_blocks_t *blocks);

/* NULL: no memory. */
thi_bulk_t *thi_blocks_take(thi_blocks_t *blocks, size_t size);
void thi_blocks_give(thi_blocks_t *blocks, thi_bulk_t *bulk); /* NULL: nothing */

#endif /* THI_POOL_BLOCKS_H */
