#ifndef THRUM_SEMAPHORE_H
#define THRUM_SEMAPHORE_H

#include <limits.h>

#include <thrum/base.h>
#include <thrum/time.h>

THRUM_BEGIN_DECLS

/**
 * @file
 * Counting semaphore: a count of permits that never goes below zero, and, when bounded, never
 * above its maximum.
 *
 *     static thrum_sem_t slots = THRUM_SEM_INIT(4);
 *
 *     int err = thrum_sem_acquire_until(&slots, thrum_after(THRUM_MS(250)));
 *     if (err == 0) {
 *         use_slot();
 *         thrum_sem_release(&slots);
 *     }
 *
 * Ordering   A release is a release and an acquire that returns 0 an acquire, on one word: what was
 *            written before a release is visible to every acquire that takes a permit afterwards.
 * Fairness   Waiters are woken in order of arrival, but a caller that arrives late may take the
 *            permit before the woken one runs. For other threads a coroutine has arrived once those
 *            have run that were ready in its loop.
 * Context    Any strand. The waits are cancellation points, but a permit that is there is taken
 *            even by a cancelled strand. Releasing never waits. Not for signal handlers.
 * Lifetime   Holds no resources. A strand whose acquire returned 0 may free the semaphore at once,
 *            even while the release that let it go has not returned yet.
 * Fork       The count is copied; waiters of the parent do not exist in the child.
 */

/** A semaphore. The size is ABI, the meaning of the members is not. */
typedef struct thrum_sem {
    THRUM_ALIGNED(8) int64_t thrum_word;
    uint32_t thrum_max;
    uint32_t thrum_reserved;
} thrum_sem_t;

/** Most permits that a semaphore can hold. */
#define THRUM_SEM_MAX UINT_MAX

/** Static initialiser of an unbounded semaphore; all-zero memory is one with no permits. */
#define THRUM_SEM_INIT(value)                                                                      \
    {                                                                                              \
        (int64_t)(value), 0, 0                                                                     \
    }

/** Makes `s` a semaphore with `value` permits. @return 0, or EINVAL (NULL). */
THRUM_API int thrum_sem_init(thrum_sem_t *s, unsigned value);

/** Makes `s` a semaphore with `value` permits that never holds more than `max`.
 *  @return 0, or EINVAL (NULL, max 0, or value above max). */
THRUM_API int thrum_sem_init_bounded(thrum_sem_t *s, unsigned value, unsigned max);

/** Takes a permit, waiting until there is one. @return 0, ECANCELED, EINVAL (NULL), or ENOMEM. */
THRUM_API int thrum_sem_acquire(thrum_sem_t *s);

/** Takes a permit if there is one now. Never waits, never fails spuriously.
 *  @return 0, EAGAIN, or EINVAL (NULL). */
THRUM_API THRUM_NODISCARD int thrum_sem_tryacquire(thrum_sem_t *s);

/** Takes a permit, waiting until `deadline`. A permit that is there is taken even if the deadline
 *  has passed; ETIMEDOUT took nothing and consumed no wake-up meant for another.
 *  @return 0, ETIMEDOUT, or as thrum_sem_acquire. */
THRUM_API THRUM_NODISCARD int thrum_sem_acquire_until(thrum_sem_t *s, thrum_time_t deadline);

/** Adds a permit and wakes a waiter, if any.
 *  @return 0, EOVERFLOW (it holds its maximum; nothing released), or EINVAL (NULL). */
THRUM_API int thrum_sem_release(thrum_sem_t *s);

/** Adds `n` permits at once, or none. @return 0, EOVERFLOW, or EINVAL (NULL, n 0). */
THRUM_API int thrum_sem_release_n(thrum_sem_t *s, unsigned n);

/** The permits at this moment. */
THRUM_API unsigned thrum_sem_value(const thrum_sem_t *s);

THRUM_END_DECLS
#endif /* THRUM_SEMAPHORE_H */
