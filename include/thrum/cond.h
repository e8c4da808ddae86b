#ifndef THRUM_COND_H
#define THRUM_COND_H

#include <thrum/mutex.h>
#include <thrum/rlock.h>

THRUM_BEGIN_DECLS

/**
 * @file
 * Condition variable: wait, giving up a lock, until somebody signals.
 *
 *     thrum_mutex_lock(&m);
 *     while (!ready)
 *         thrum_cond_wait(&c, &m);
 *     thrum_mutex_unlock(&m);
 *
 * Wake-ups   Never spurious: a wait returns 0 only because of a signal that was meant for it, and a
 *            signal is never swallowed by a wait that returns ETIMEDOUT or ECANCELED. (Loop all the
 *            same: another strand may take the lock first and change what was signalled.)
 * Ordering   That of the lock. Signalling needs no lock; a signal orders nothing by itself.
 * Fairness   Signals go to waiters in order of arrival. Signalled under the lock, a sleeper is
 *            moved to the lock's queue instead of being woken only to wait again.
 * Context    Any strand. The wait is a cancellation point, re-taking the lock is not: whatever a
 *            wait returns, the lock is held afterwards if it was held before. Those who wait at the
 *            same time should do so with the same lock.
 * Lifetime   Holds no resources. It may be freed as soon as no strand is waiting: after a broadcast
 *            that every waiter has returned from, or was signalled by, even while it still re-locks.
 * Fork       Waiters of the parent do not exist in the child; the child may go on using it.
 */

/** A condition variable. The size is ABI, the meaning of the members is not. */
typedef struct thrum_cond {
    uint32_t thrum_waiters;
    thrum_mutex_t *thrum_mutex;
} thrum_cond_t;

/** Static initialiser; all-zero memory is a valid condition. */
#define THRUM_COND_INIT                                                                            \
    {                                                                                              \
        0, NULL                                                                                    \
    }

/** Makes `c` a condition nobody waits on. @return 0, or EINVAL (NULL). */
THRUM_API int thrum_cond_init(thrum_cond_t *c);

/** Unlocks `m`, waits for a signal and locks `m` again; a signal that comes after the unlock cannot
 *  be missed.
 *  @return 0, ECANCELED (with `m` locked), EPERM (`m` is not locked), EINVAL (NULL), or ENOMEM. */
THRUM_API int thrum_cond_wait(thrum_cond_t *c, thrum_mutex_t *m);

/** As thrum_cond_wait, until `deadline`. `m` is re-taken however long that takes.
 *  @return 0, ETIMEDOUT (with `m` locked), or as thrum_cond_wait. */
THRUM_API THRUM_NODISCARD int thrum_cond_wait_until(thrum_cond_t *c, thrum_mutex_t *m,
                                                    thrum_time_t deadline);

/** As thrum_cond_wait with a recursive lock: gives up every level and takes all of them back.
 *  @return as thrum_cond_wait; EPERM when the calling strand does not own `r`. */
THRUM_API int thrum_cond_wait_rlock(thrum_cond_t *c, thrum_rlock_t *r);

/** As thrum_cond_wait_rlock, until `deadline`. */
THRUM_API THRUM_NODISCARD int thrum_cond_wait_rlock_until(thrum_cond_t *c, thrum_rlock_t *r,
                                                          thrum_time_t deadline);

/** Waits until `ready(arg)` is true; `ready` is called with `m` locked, and first of all, so that a
 *  condition which already holds costs no wait and is found even when the deadline has passed.
 *  @return 0 (`ready(arg)` was true just now, `m` is locked), ETIMEDOUT, or as thrum_cond_wait. */
THRUM_API THRUM_NODISCARD int thrum_cond_wait_for(thrum_cond_t *c, thrum_mutex_t *m,
                                                  bool (*ready)(void *), void *arg,
                                                  thrum_time_t deadline);

/** Wakes the strand that has waited longest, if any. */
THRUM_API void thrum_cond_signal(thrum_cond_t *c);

/** Wakes up to `n` strands, longest waiting first. */
THRUM_API void thrum_cond_signal_n(thrum_cond_t *c, unsigned n);

/** Wakes every strand that waits. */
THRUM_API void thrum_cond_broadcast(thrum_cond_t *c);

THRUM_END_DECLS
#endif /* THRUM_COND_H */
