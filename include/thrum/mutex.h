#ifndef THRUM_MUTEX_H
#define THRUM_MUTEX_H

#include <thrum/base.h>
#include <thrum/time.h>

THRUM_BEGIN_DECLS

/**
 * @file
 * Mutual exclusion: one strand at a time.
 *
 *     static thrum_mutex_t lock = THRUM_MUTEX_INIT;
 *
 *     thrum_mutex_lock(&lock);
 *     balance += amount;
 *     thrum_mutex_unlock(&lock);
 *
 * Ordering   A successful lock is an acquire, an unlock is a release: what was written under the
 *            mutex is visible to every later holder. EBUSY and ETIMEDOUT order nothing.
 * Fairness   Barging: a strand that is running may take a free mutex ahead of those that wait.
 *            Waiters are served in order of arrival, and the one at the head, once awake, is handed
 *            the mutex after at most THRUM_MUTEX_BARGE_NS of being passed.
 * Ownership  Any strand may unlock it, as with a Python Lock. Locking it twice from one strand
 *            waits for somebody else's unlock; use rlock.h for recursion.
 * Context    Any strand; also from destructors of thread-specific data. A coroutine that waits
 *            suspends itself, not its thread. Locking is not a cancellation point.
 * Lifetime   Holds no resources. A strand that has locked the mutex and knows that nobody else will
 *            use it may unlock and free it at once, even while the unlock that let it in has not
 *            returned yet.
 * Fork       The child may use a mutex that was free, or that the forking strand held. One that
 *            another strand of the parent held says EOWNERDEAD; thrum_mutex_init makes it anew.
 */

/** A mutex. The size is ABI, the meaning of the members is not. */
typedef struct thrum_mutex {
    uint32_t thrum_state;
    uint32_t thrum_owner;
} thrum_mutex_t;

/** Static initialiser; all-zero memory is a valid free mutex. */
#define THRUM_MUTEX_INIT                                                                           \
    {                                                                                              \
        0, 0                                                                                       \
    }

/** The longest that later arrivals may pass a waiter that is awake and at the head. */
#define THRUM_MUTEX_BARGE_NS THRUM_US(100)

/** Makes `m` a free mutex. @return 0, or EINVAL (NULL). */
THRUM_API int thrum_mutex_init(thrum_mutex_t *m);

/** Ends the life of a free mutex. Checked builds report one that is locked or waited for.
 *  NULL does nothing. */
THRUM_API void thrum_mutex_destroy(thrum_mutex_t *m);

/** Locks, waiting as long as it takes.
 *  @return 0, EINVAL (NULL), ENOMEM (this thread's first wait, nothing changed), or EOWNERDEAD. */
THRUM_API int thrum_mutex_lock(thrum_mutex_t *m);

/** Locks if it is free now and not promised to a waiter (see Fairness). Never waits, never fails spuriously.
 *  @return 0, EBUSY, or EINVAL (NULL). */
THRUM_API THRUM_NODISCARD int thrum_mutex_trylock(thrum_mutex_t *m);

/** Locks, waiting until `deadline`. A mutex that a trylock would get is taken even if the deadline has passed.
 *  @return 0, ETIMEDOUT, or as thrum_mutex_lock. */
THRUM_API THRUM_NODISCARD int thrum_mutex_lock_until(thrum_mutex_t *m, thrum_time_t deadline);

/** Unlocks; wakes a waiter when none is awake already. Never waits.
 *  @return 0, EPERM (it was not locked; nothing changed), or EINVAL (NULL). */
THRUM_API int thrum_mutex_unlock(thrum_mutex_t *m);

/** Whether it cannot be had at this moment: some strand holds it, or it is promised to one that waits, which will
 *  have it next. When this is false, a trylock at the same moment succeeds. */
THRUM_API bool thrum_mutex_locked(const thrum_mutex_t *m);

THRUM_END_DECLS
#endif /* THRUM_MUTEX_H */
