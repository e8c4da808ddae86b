/*
 * The internal lock, for critical sections of a few dozen instructions that never run user code.
 *
 *   state   FREE 0 | HELD 1 | CONTENDED 2
 *           CONTENDED: held, and somebody may sleep on the word. It may be set with nobody asleep (a
 *           needless wake); it is never HELD while somebody sleeps.
 *
 * After U. Drepper, "Futexes Are Tricky" (2011), mutex 3, with a bounded spin before sleeping.
 */
#include "os/os.h"

#define FREE 0u
#define HELD 1u
#define CONTENDED 2u

#ifdef THRUM_SIM
#define SPINS 1
#else
#define SPINS 100
#endif

#if defined(THRUM_CHECKED) && !defined(THRUM_SIM)
/* Bit r: this thread holds an internal lock of rank r. */
static _Thread_local uint32_t held_ranks THI_TLS_MODEL;

static void check_taken(thi_rank_t rank)
{
    /* Two buckets of the lot may be held at once; the lot orders those by address itself. */
    const uint32_t at_or_above = ~((UINT32_C(1) << rank) - 1u);
    const uint32_t same = rank == THI_RANK_LOT ? UINT32_C(1) << rank : 0;
    if ((held_ranks & at_or_above & ~same) != 0)
        thi_panic("internal lock of rank %d taken while holding ranks %#x", (int)rank,
                  (unsigned)held_ranks);
    held_ranks |= UINT32_C(1) << rank;
}

static void check_given(thi_rank_t rank)
{
    held_ranks &= ~(UINT32_C(1) << rank);
}
#else
static void check_taken(thi_rank_t rank)
{
    (void)rank;
}

static void check_given(thi_rank_t rank)
{
    (void)rank;
}
#endif

THI_COLD static void lock_slow(thi_lock_t *lock)
{
    /* Spinning helps only while the holder can be running. */
    const int spins = thi_multiprocessor() ? SPINS : 0;
    for (int i = 0; i < spins; i++) {
        uint32_t state = thi_load_relaxed(&lock->state);
        /* A1: acquire; pairs with R1. */
        if (state == FREE && thi_cas_acquire(&lock->state, &state, HELD))
            return;
        thi_cpu_pause();
    }
    /* A2: acquire; pairs with R1. Marks the word before it sleeps, and keeps the mark when it gets
     * the lock: it cannot know whether others sleep. */
    while (thi_swap_acquire(&lock->state, CONTENDED) != FREE)
        thi_futex_wait(&lock->state, CONTENDED, THRUM_FOREVER);
}

void thi_lock(thi_lock_t *lock, thi_rank_t rank)
{
    check_taken(rank);
    uint32_t state = FREE;
    /* A3: acquire; pairs with R1. */
    if (THI_UNLIKELY(!thi_cas_acquire(&lock->state, &state, HELD)))
        lock_slow(lock);
}

void thi_unlock(thi_lock_t *lock, thi_rank_t rank)
{
    check_given(rank);
    /* R1: release; pairs with A1, A2, A3. */
    if (THI_UNLIKELY(thi_swap_release(&lock->state, FREE) == CONTENDED))
        thi_futex_wake(&lock->state, 1);
}
