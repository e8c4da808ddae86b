#ifndef THI_PROCESS_H
#define THI_PROCESS_H

/*
 * The door of lib/process, and what its files share: memory of several processes. Other layers use it as
 * programs do, by the headers in include/thrum.
 */

#include <thrum/process.h>
#include <thrum/shared.h>
#include <thrum/shared_lock.h>

#include "strand/strand.h"
#include "thread/thread.h"

/* ================================================================================================
 * The arena, for what lives in it
 *
 * Offsets as thrum_shared_offset's. A slot is a word in the arena that says where a block is, 0: nowhere.
 * After a death in the middle either the slot names the block and the block is allocated, or the block is
 * free and the slot does not name it. So a structure whose blocks all hang on slots loses none.
 */

/* Not zeroed. *slot, which has to be 0, names the block. 0, ENOMEM. */
int thi_shared_alloc_into(thrum_shared_t *arena, size_t size, uint64_t *slot);

/* *slot becomes `next`, and the block that it named is free. Of a slot that names none nothing changes. */
void thi_shared_free_from(thrum_shared_t *arena, uint64_t *slot, uint64_t next);

/* Whether an arena, or something in it, may be called so. */
bool thi_shared_is_name(const char *name);

static inline void *thi_shared_at(const void *base, uint64_t offset)
{
    return (char *)(uintptr_t)base + offset;
}

/* Tests: the heap, and how many bytes a block of it has room for. */
void *thi_shared_base(const thrum_shared_t *arena);
size_t thi_shared_room(const thrum_shared_t *arena, uint64_t block);

/* Tests: whether the whole of the bookkeeping is as it should be, and what is free adds up. Blocks until the
 * guard is free. Says on standard error what is wrong. */
bool thi_shared_sound(thrum_shared_t *arena);

/* ================================================================================================
 * Waiting in shared memory: a thread sleeps as a thread, a coroutine lets its thread go on (shared_sleep.c)
 */

/* As thi_guard_lock, and EDEADLK only where the calling strand itself would wait for its own thread. */
int thi_shared_lock(thi_guard_t *guard, thrum_time_t deadline, const thi_site_t *site);

/* For what is mended by being one store at a time: the death of a holder is no news. 0, or ETIMEDOUT. */
int thi_shared_lock_plain(thi_guard_t *guard, thrum_time_t deadline, const thi_site_t *site);

/* Sleeps while *word == expected, until a wake of the word (thi_far_*), or for no reason: 0. ETIMEDOUT,
 * ECANCELED (the strand is cancelled, and `cancellable`), ENOMEM. Nothing is consumed: wakes are for all. */
int thi_shared_sleep(uint32_t *word, uint32_t expected, thrum_time_t deadline, bool cancellable,
                     const thi_site_t *site);

/* Tests: how many of the helpers, which sleep for coroutines, have nothing to do; and how many there are. */
size_t thi_shared_helpers(size_t *all);

/* A number that no other process has had, as good as certainly, and above it the mark of the process that it
 * is for: who was forked from that takes another. */
extern uint64_t thi_shared_process;
THI_COLD uint64_t thi_shared_process_begins(void);

/* Who is calling, unlike all others of all processes. 0: it could not be registered. */
static inline uint64_t thi_shared_self(void)
{
    const uint32_t id = thi_self_id();
    uint64_t process = thi_load_relaxed(&thi_shared_process);
    if (THI_UNLIKELY(process >> 32 != thi_fork_mark))
        process = thi_shared_process_begins();
    return THI_LIKELY(id != 0) ? process << 32 | id : 0;
}

/* For a condition: gives up the mutex or recursive lock that the caller holds (EPERM: it does not), and takes
 * it back to the same depth. */
int thi_shared_give_all(void *lock, uint32_t *depth);
int thi_shared_take_back(void *lock, uint32_t depth);

/* ================================================================================================
 * The handle (arena.c) and the memory that all have in common (arena_heap.c)
 */
struct thi_heap;

struct thrum_shared {
    struct thi_heap *heap; /* where the segment is mapped */
    size_t max;
    int fd;
};

#endif /* THI_PROCESS_H */
