#ifndef THI_MANAGER_H
#define THI_MANAGER_H

/*
 * What the map and the list share: a lock, and how a change is made in one step.
 *
 * Invariants
 *   I1  What is in the map or list is what is reached from its root. One store of one word changes it: `*where`
 *       becomes `value`. Everything else that a change needs is done before, out of reach, or after.
 *   I2  `fresh` is a block that the change brings, and nobody's unless the change is made; `stale` is one that it
 *       takes out, and nobody's once it is made. Whether it was made is seen by the word itself: it was never
 *       `value` before.
 *   I3  Counts are derived; whoever finds that a holder has died counts anew.
 */
#include <string.h>

#include <thrum/manager.h>
#include <thrum/shared_lock.h>

#include "process/process.h"

typedef struct thi_change {
    uint64_t fresh;
    uint64_t stale;
    uint64_t where; /* an offset; 0: there is no change under way, and stale means nothing */
    uint64_t value;
    uint64_t deep; /* stale has blocks of its own */
} thi_change_t;

typedef struct thi_managed {
    uint64_t kind;
    uint64_t root; /* an offset */
    thrum_shared_rlock_t lock;
    thi_change_t change;
} thi_managed_t;

/* A handle begins with it. */
typedef struct thi_manager {
    thi_managed_t *memory;
    thrum_shared_t *arena;

    /* Gives the blocks back that are in a stale one; may have been begun before. */
    void (*empty)(const struct thi_manager *manager, uint64_t block);
    /* The holder of the lock has died: counts anew. May be NULL. */
    void (*mend)(struct thi_manager *manager);
} thi_manager_t;

/* A string of bytes. */
typedef struct thi_bytes {
    const void *data;
    size_t size;
} thi_bytes_t;

/* Where bytes are to go. */
typedef struct thi_room {
    void *buf;
    size_t capacity;
    size_t *size;
} thi_room_t;

static inline bool thi_bytes_ok(thi_bytes_t bytes)
{
    return bytes.data != NULL || bytes.size == 0;
}

/* 0, EMSGSIZE. */
int thi_copy_out(const void *data, uint64_t size, thi_room_t room);

/* Adds to an int64_t, aligned, in one store. 0, EOVERFLOW. */
int thi_add_to(void *value, int64_t delta, int64_t *sum);

static inline bool thi_room_ok(thi_room_t room)
{
    return room.buf != NULL || room.capacity == 0;
}

/* memory: of `size` bytes, which begin with a thi_managed_t. 0, EINVAL, ENOMEM. */
int thi_manager_create(thi_manager_t *manager, thrum_shared_t *arena, size_t size, uint64_t kind);
int thi_manager_open(thi_manager_t *manager, thrum_shared_t *arena, uint64_t offset, size_t size,
                     uint64_t kind);
void thi_manager_destroy(thi_manager_t *manager);

/* The lock; what a dead holder left is mended. 0, EBUSY, ETIMEDOUT, EDEADLK, ENOMEM. */
int thi_manager_lock(thi_manager_t *manager);
int thi_manager_trylock(thi_manager_t *manager);
int thi_manager_lock_until(thi_manager_t *manager, thrum_time_t deadline);
int thi_manager_unlock(thi_manager_t *manager);

static inline void *thi_manager_at(const thi_manager_t *manager, uint64_t offset)
{
    return thi_shared_at(manager->arena->heap, offset);
}

/* The lock is held: a block for the next change. 0, ENOMEM. */
int thi_change_begin(thi_manager_t *manager, size_t size, void **block);

/* Makes the change. stale: 0: none; where `deep`, its blocks go first. */
void thi_change_make(thi_manager_t *manager, uint64_t *where, uint64_t value, uint64_t stale,
                     bool deep);

#endif /* THI_MANAGER_H */
