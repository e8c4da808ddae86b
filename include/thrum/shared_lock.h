#ifndef THRUM_SHARED_LOCK_H
#define THRUM_SHARED_LOCK_H

#include <limits.h>

#include <thrum/base.h>
#include <thrum/time.h>

THRUM_BEGIN_DECLS

/**
 * @file
 * Locks of several processes: mutex, recursive lock, semaphore, event, condition, barrier, in an arena
 * (thrum/shared.h) or in any other memory that is mapped shared.
 *
 *     thrum_shared_mutex_t *lock = NULL;
 *     if (thrum_shared_alloc(arena, sizeof *lock, (void **)&lock) == 0)
 *         thrum_shared_mutex_init(lock);
 *
 *     int err = thrum_shared_mutex_lock(lock);   // in any of the processes
 *     if (err == EOWNERDEAD)
 *         repair(account);                       // whoever held it died: it is ours all the same
 *     if (err == 0 || err == EOWNERDEAD) {
 *         account->balance += amount;
 *         thrum_shared_mutex_unlock(lock);
 *     }
 *
 * Init       One process makes it, before others use it: zeroed memory is no lock (EINVAL). It holds no
 *            resources; its memory may be freed once no process is in a call on it.
 * Deaths     Any participant may be killed at any instruction. A mutex or recursive lock that the dead one held
 *            goes to the next, who is told by EOWNERDEAD, once, that what it guards may be half done. Nothing else
 *            changes for the others, and no wake-up is lost with somebody who was woken and killed. Only
 *            the kernel's word counts: whoever is merely stopped keeps what it holds, and others wait for it,
 *            until their deadlines. (Who is stopped while it waits for a mutex may keep those waiting that
 *            came later and sleep, but none that comes when it is free.)
 * Ordering   As of the locks within a process.
 * Fairness   None. A wake is for all who sleep, and they look again: one that dies takes none with it.
 * Context    Any strand of any of the processes, which see each other in one process-id namespace. A coroutine
 *            that waits suspends itself; a helper thread sleeps for it. Locking is not a cancellation point, the
 *            waits of semaphores, events, conditions and barriers are. Unlocking, set, clear, signal, broadcast, the
 *            try-forms and what tells a state never wait; nor does a release of a semaphore without a `max`, of no
 *            more than 1,000 permits. Not for signal handlers.
 * Ownership  A mutex and a recursive lock are owned by a strand. A coroutine's are its thread's for the kernel:
 *            when the thread ends, its owner has died.
 * Fork       What a strand of the parent holds stays the parent's. The child is one more participant.
 */

/** Mutual exclusion. The sizes are ABI, the meaning of the members is not. */
typedef struct thrum_shared_mutex {
    THRUM_ALIGNED(8) uint64_t thrum_private[16];
} thrum_shared_mutex_t;

/** The same, for strands that lock it again while they hold it. */
typedef struct thrum_shared_rlock {
    THRUM_ALIGNED(8) uint64_t thrum_private[16];
} thrum_shared_rlock_t;

/** A counting semaphore. */
typedef struct thrum_shared_sem {
    THRUM_ALIGNED(8) uint64_t thrum_private[16];
} thrum_shared_sem_t;

/** A flag to wait for. */
typedef struct thrum_shared_event {
    THRUM_ALIGNED(8) uint64_t thrum_private[1];
} thrum_shared_event_t;

/** A condition. */
typedef struct thrum_shared_cond {
    THRUM_ALIGNED(8) uint64_t thrum_private[1];
} thrum_shared_cond_t;

/** A place where a number of strands meet. */
typedef struct thrum_shared_barrier {
    THRUM_ALIGNED(8) uint64_t thrum_private[18];
} thrum_shared_barrier_t;

/* --- mutex --------------------------------------------------------------------------------------- */

/** Makes `m` a free mutex. @return 0, EINVAL (NULL), ENOMEM, or ENOSYS (not on this system). */
THRUM_API int thrum_shared_mutex_init(thrum_shared_mutex_t *m);

/** Locks, waiting as long as it takes.
 *  @return 0; EOWNERDEAD: it is locked, and who held it before died; EDEADLK (the caller holds it; or it is a
 *          thread one of whose coroutines does, which cannot go on meanwhile); EINVAL (NULL, no mutex); ENOMEM
 *          (nothing changed). */
THRUM_API THRUM_NODISCARD int thrum_shared_mutex_lock(thrum_shared_mutex_t *m);

/** Locks if it is free. @return 0, EOWNERDEAD (it is locked), EBUSY, EINVAL, or ENOMEM. */
THRUM_API THRUM_NODISCARD int thrum_shared_mutex_trylock(thrum_shared_mutex_t *m);

/** Locks, waiting until `deadline`. One that is free is taken even if that has passed.
 *  @return 0, ETIMEDOUT, or as thrum_shared_mutex_lock. */
THRUM_API THRUM_NODISCARD int thrum_shared_mutex_lock_until(thrum_shared_mutex_t *m,
                                                            thrum_time_t deadline);

/** Unlocks. @return 0, EPERM (the calling strand does not hold it; nothing changed), or EINVAL. */
THRUM_API int thrum_shared_mutex_unlock(thrum_shared_mutex_t *m);

/** Whether the calling strand holds it. */
THRUM_API bool thrum_shared_mutex_owned(const thrum_shared_mutex_t *m);

/* --- recursive lock ------------------------------------------------------------------------------ */

/** As of a mutex. */
THRUM_API int thrum_shared_rlock_init(thrum_shared_rlock_t *r);

/** Locks once more. @return 0; EOWNERDEAD (at the first level only); EOVERFLOW (depth UINT_MAX, nothing
 *  changed); or as thrum_shared_mutex_lock, without its EDEADLK for the caller's own. */
THRUM_API THRUM_NODISCARD int thrum_shared_rlock_lock(thrum_shared_rlock_t *r);

/** @return as thrum_shared_rlock_lock, or EBUSY. */
THRUM_API THRUM_NODISCARD int thrum_shared_rlock_trylock(thrum_shared_rlock_t *r);

/** @return as thrum_shared_rlock_lock, or ETIMEDOUT. */
THRUM_API THRUM_NODISCARD int thrum_shared_rlock_lock_until(thrum_shared_rlock_t *r,
                                                            thrum_time_t deadline);

/** Undoes one lock of the calling strand. @return 0, EPERM, or EINVAL. */
THRUM_API int thrum_shared_rlock_unlock(thrum_shared_rlock_t *r);

/** Whether the calling strand owns it. */
THRUM_API bool thrum_shared_rlock_owned(const thrum_shared_rlock_t *r);
/** How often the calling strand has locked it; 0 when it does not own it. */
THRUM_API unsigned thrum_shared_rlock_depth(const thrum_shared_rlock_t *r);

/* --- semaphore ----------------------------------------------------------------------------------- */

/** Most permits that it can hold. */
#define THRUM_SHARED_SEM_MAX (1u << 30)

/** Makes `s` a semaphore of `value` permits that never holds more than `max`; 0: THRUM_SHARED_SEM_MAX.
 *  @return 0, EINVAL (NULL, value above max, max above THRUM_SHARED_SEM_MAX), ENOMEM, or ENOSYS. */
THRUM_API int thrum_shared_sem_init(thrum_shared_sem_t *s, unsigned value, unsigned max);

/** Takes a permit, waiting until there is one. @return 0, ECANCELED, EINVAL (NULL, no semaphore), ENOMEM. */
THRUM_API int thrum_shared_sem_acquire(thrum_shared_sem_t *s);

/** Takes a permit if there is one. @return 0, EAGAIN, or EINVAL. */
THRUM_API THRUM_NODISCARD int thrum_shared_sem_tryacquire(thrum_shared_sem_t *s);

/** As acquire, until `deadline`; a permit that is there is taken even if that has passed, or the strand is
 *  cancelled. @return 0, ETIMEDOUT, or as acquire. */
THRUM_API THRUM_NODISCARD int thrum_shared_sem_acquire_until(thrum_shared_sem_t *s,
                                                             thrum_time_t deadline);

/** Adds a permit. Of a semaphore with a `max` it may wait for others who are just doing so.
 *  @return 0, EOVERFLOW (it holds its maximum; nothing changed), EINVAL, or ENOMEM. */
THRUM_API int thrum_shared_sem_release(thrum_shared_sem_t *s);

/** Adds `n` permits or none. More than 1,000 wait for others who are just adding as many; they may come one part after
 *  the other, and a caller that is killed meanwhile may have added some.
 *  @return as release; EINVAL when n is 0. */
THRUM_API int thrum_shared_sem_release_n(thrum_shared_sem_t *s, unsigned n);

/** The permits at this moment. */
THRUM_API unsigned thrum_shared_sem_value(const thrum_shared_sem_t *s);

/* --- event --------------------------------------------------------------------------------------- */

/** Makes `e` an event that is not set; all-zero memory is one, too. @return 0, or EINVAL (NULL). */
THRUM_API int thrum_shared_event_init(thrum_shared_event_t *e);

/** Sets the flag: all who wait go on, even if it is cleared at once. */
THRUM_API void thrum_shared_event_set(thrum_shared_event_t *e);
/** Clears the flag: later waits wait. */
THRUM_API void thrum_shared_event_clear(thrum_shared_event_t *e);

/** Whether it is set. */
THRUM_API bool thrum_shared_event_is_set(const thrum_shared_event_t *e);

/** Waits until it is set. @return 0, ECANCELED, EINVAL (NULL), or ENOMEM. */
THRUM_API int thrum_shared_event_wait(thrum_shared_event_t *e);

/** @return 0 (it is set), EAGAIN, or EINVAL. */
THRUM_API THRUM_NODISCARD int thrum_shared_event_trywait(thrum_shared_event_t *e);

/** @return 0, ETIMEDOUT, or as wait. */
THRUM_API THRUM_NODISCARD int thrum_shared_event_wait_until(thrum_shared_event_t *e,
                                                            thrum_time_t deadline);

/* --- condition ----------------------------------------------------------------------------------- */

/** Makes `c` a condition nobody waits on; all-zero memory is one, too. @return 0, or EINVAL (NULL). */
THRUM_API int thrum_shared_cond_init(thrum_shared_cond_t *c);

/** Unlocks `m`, waits until it is signalled, and locks `m` again. It may return 0 when the signal was for
 *  another: loop. `m` is locked afterwards, unless the error is EPERM or EINVAL, or ENOMEM of a coroutine.
 *  @return 0; EOWNERDEAD (who held `m` meanwhile died, as of lock); ECANCELED; EPERM (`m` is not the caller's,
 *          nothing changed); EINVAL; ENOMEM (the caller could not wait; a coroutine, for which no thread
 *          could be started to sleep, may not even have been able to lock `m` again, where another of its thread
 *          has locked that: thrum_shared_mutex_owned tells). */
THRUM_API THRUM_NODISCARD int thrum_shared_cond_wait(thrum_shared_cond_t *c,
                                                     thrum_shared_mutex_t *m);

/** As wait, until `deadline`. @return 0, ETIMEDOUT (with `m` locked), or as wait. */
THRUM_API THRUM_NODISCARD int thrum_shared_cond_wait_until(thrum_shared_cond_t *c,
                                                           thrum_shared_mutex_t *m,
                                                           thrum_time_t deadline);

/** The same with a recursive lock: gives up every level and takes all of them back. @return as wait. */
THRUM_API THRUM_NODISCARD int thrum_shared_cond_wait_rlock(thrum_shared_cond_t *c,
                                                           thrum_shared_rlock_t *r);
/** The same, or ETIMEDOUT. */
THRUM_API THRUM_NODISCARD int thrum_shared_cond_wait_rlock_until(thrum_shared_cond_t *c,
                                                                 thrum_shared_rlock_t *r,
                                                                 thrum_time_t deadline);

/** Waits until `ready(arg)`, which is called with `m` locked, and first of all. EOWNERDEAD comes before
 *  that: the caller repairs and waits again.
 *  @return 0 (`ready(arg)` was true just now), ETIMEDOUT, or as wait. */
THRUM_API THRUM_NODISCARD int thrum_shared_cond_wait_for(thrum_shared_cond_t *c,
                                                         thrum_shared_mutex_t *m,
                                                         bool (*ready)(void *), void *arg,
                                                         thrum_time_t deadline);

/** Something has changed. At least one of those who wait looks again (here: all of them, since whoever was
 *  woken alone could die before it looks). */
THRUM_API void thrum_shared_cond_signal(thrum_shared_cond_t *c);

/** Something has changed for all who wait. */
THRUM_API void thrum_shared_cond_broadcast(thrum_shared_cond_t *c);

/* --- barrier ------------------------------------------------------------------------------------- */

/** Most parties. */
#define THRUM_SHARED_BARRIER_MAX ((unsigned)INT_MAX)

/** Makes `b` a barrier for `parties` strands. @return 0, EINVAL (NULL, no parties, too many), ENOMEM, or ENOSYS. */
THRUM_API int thrum_shared_barrier_init(thrum_shared_barrier_t *b, unsigned parties);

/** Waits until all parties have arrived. `*index`, unless NULL, gets the caller's place, 0 for the first. A
 *  party that was killed while it waited has arrived; one that was killed before has not, and the others wait
 *  for it: use deadlines. What became of a round is known for as long as 64 more: a caller that is stopped in its
 *  wait while that many pass without it, or are reset, may be told what became of a later one.
 *  @return 0, EPIPE (broken, or reset meanwhile), ECANCELED (and the barrier is broken), EINVAL, ENOMEM. */
THRUM_API int thrum_shared_barrier_wait(thrum_shared_barrier_t *b, unsigned *index);

/** As wait; a deadline that passes before the last has arrived breaks the barrier, also when the caller itself could
 *  not, because another is stopped in its way: everyone inside, and every later wait, gets EPIPE.
 *  @return as wait, or ETIMEDOUT. */
THRUM_API THRUM_NODISCARD int thrum_shared_barrier_wait_until(thrum_shared_barrier_t *barrier,
                                                              unsigned *index,
                                                              thrum_time_t deadline);

/** Empties the barrier and mends it: strands inside get EPIPE. Waits for one that is just arriving, as abort does.
 *  @return 0, EINVAL, or ENOMEM. */
THRUM_API int thrum_shared_barrier_reset(thrum_shared_barrier_t *b);

/** Breaks the barrier. @return 0, EINVAL, or ENOMEM. */
THRUM_API int thrum_shared_barrier_abort(thrum_shared_barrier_t *b);

/** How many pass it together. */
THRUM_API unsigned thrum_shared_barrier_parties(const thrum_shared_barrier_t *b);
/** How many are inside at this moment. */
THRUM_API unsigned thrum_shared_barrier_waiting(const thrum_shared_barrier_t *b);
/** Whether it is broken. */
THRUM_API bool thrum_shared_barrier_broken(const thrum_shared_barrier_t *b);

THRUM_END_DECLS
#endif /* THRUM_SHARED_LOCK_H */
