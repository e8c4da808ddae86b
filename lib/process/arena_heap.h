#ifndef THI_ARENA_HEAP_H
#define THI_ARENA_HEAP_H

/*
 * The heap in a segment: blocks one after the other, from THI_HEAP_FIRST to `end`.
 */

#include <string.h>

#include "process/process.h"

#define THI_HEAP_BINS 320u
#define THI_HEAP_WORDS (THI_HEAP_BINS / 64u)
#define THI_HEAP_UNIT 64u
#define THI_HEAP_VERSION 1u

/* The head of a block; its memory follows, THI_HEAP_UNIT-aligned. */
typedef struct thi_piece {
    uint64_t size;   /* of all of it, in bytes; USED in bit 0 */
    uint64_t before; /* the size of the one in front of it; 0: it is the first */
} thi_piece_t;

/* Where the memory of a free one would be. */
typedef struct thi_links {
    uint64_t next, prev; /* of the bin; 0: none */
} thi_links_t;

#define THI_ARENA_MAGIC UINT64_C(0x3a6d757268740a01) /* written last: until then it is no arena */
#define THI_ARENA_CLAIMING 0u
#define THI_ARENA_READY 1u
#define THI_ARENA_WITHDRAWN 2u

typedef struct thi_heap {
    uint64_t magic;
    uint32_t version;
    uint32_t reserved;
    uint64_t max;  /* of the segment */
    uint64_t end;  /* of the last block, and of the memory that is known to be there */
    uint64_t last; /* the size of the last block */
    uint64_t used; /* bytes */

    /* What the holder of the guard is about: `block` is to be free unless *slot names it. 0: nothing. */
    uint64_t block;
    uint64_t slot;

    /* Who makes one with a name holds `claim` from before anybody can find it until it is READY or WITHDRAWN,
     * and is told from others by when, and by which thread (arena_by_name.c). */
    uint32_t state;
    uint32_t claimant;
    int64_t claimed_at;
    thi_guard_t claim;

    uint64_t names; /* slot of the first, and of one that is being made (arena_names.c) */
    uint64_t name_in_hand;
    char name[64];

    thi_guard_t guard THRUM_ALIGNED(64);
    uint64_t filled[THI_HEAP_WORDS]; /* which bins are not empty */
    uint64_t bins[THI_HEAP_BINS];    /* the first of each */
} thi_heap_t;

/* The first block's head. */
#define THI_HEAP_HEAD ((uint64_t)sizeof(thi_piece_t))
#define THI_HEAP_FIRST ((uint64_t)(4096u + THI_HEAP_UNIT - sizeof(thi_piece_t)))

/* The first page has to be there. `end` is at least two pages, a multiple of the page, and there. */
int thi_heap_begin(thi_heap_t *heap, uint64_t max, uint64_t end);

/* Under the guard, which these take: a dead holder's work is finished or undone first. */
void thi_heap_lock(thi_heap_t *heap);
void thi_heap_unlock(thi_heap_t *heap);

/* 0 when there is nothing that fits; the memory's offset. `slot`: that of the word that names it, or 0. */
uint64_t thi_heap_alloc(thi_heap_t *heap, uint64_t size, uint64_t slot);
void thi_heap_free(thi_heap_t *heap, uint64_t memory);
void thi_heap_free_from(thi_heap_t *heap, uint64_t slot, uint64_t next);
bool thi_heap_is_block(const thi_heap_t *heap, uint64_t memory);

/* Memory up to `end` is there now. */
void thi_heap_extend(thi_heap_t *heap, uint64_t end);

/* The size of the last block if that is free, or 0. */
uint64_t thi_heap_tail(const thi_heap_t *heap);

bool thi_heap_sound(const thi_heap_t *heap);

/* As thi_heap_alloc, of any number of bytes; the heap grows for it (arena.c). */
uint64_t thi_arena_alloc(const thrum_shared_t *arena, size_t size, uint64_t slot);

/* The first page of the arena that `fd` is a descriptor of, or NULL. */
thi_heap_t *thi_arena_look(int fd, size_t page, int *err);

/* What the system calls the segment of an arena with that name. */
#define THI_ARENA_LINK "thrum-shared:"

/* Behind THI_ARENA_LINK; `link` has room for it, and zeros. */
static inline void thi_arena_link_to(char *link, const char *name)
{
    memcpy(link + sizeof THI_ARENA_LINK - 1, name, strnlen(name, THRUM_SHARED_NAME_MAX));
}

/* A named arena that nobody can find yet, and then: it is READY, or EEXIST; EAGAIN: it has been withdrawn for
 * one that was there before, and has gone meanwhile. */
int thi_arena_claim(thrum_shared_t *arena);

static inline thi_piece_t *thi_piece_of(const thi_heap_t *heap, uint64_t memory)
{
    return thi_shared_at(heap, memory - THI_HEAP_HEAD);
}

#endif /* THI_ARENA_HEAP_H */
