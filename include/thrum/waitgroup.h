#ifndef THRUM_WAITGROUP_H
#define THRUM_WAITGROUP_H

#include <thrum/base.h>
#include <thrum/time.h>

THRUM_BEGIN_DECLS

/**
 * @file
 * Wait group: a count of things under way, and a wait until it is zero.
 *
 *     thrum_waitgroup_t wg = THRUM_WAITGROUP_INIT;
 *
 *     thrum_waitgroup_add(&wg, n);            // before the n jobs are started
 *     ...                                     // each job ends with thrum_waitgroup_done(&wg)
 *     thrum_waitgroup_wait(&wg);
 *
 * Ordering   What was written before a done is visible after the wait that it let go.
 * Fairness   Everyone who was waiting when the count reached zero is let go, even if it rises again.
 * Context    Any strand. The waits are cancellation points. add and done never wait.
 * Lifetime   Holds no resources. A strand that a done has let go may free the group at once.
 * Fork       The count is copied; waiters of the parent do not exist in the child.
 */

/** A wait group. The size is ABI, the meaning of the member is not. */
typedef struct thrum_waitgroup {
    THRUM_ALIGNED(8) uint64_t thrum_word;
} thrum_waitgroup_t;

/** Static initialiser; all-zero memory is a valid group with a count of zero. */
#define THRUM_WAITGROUP_INIT                                                                       \
    {                                                                                              \
        0                                                                                          \
    }

/** Makes `w` a group with a count of zero. @return 0, or EINVAL (NULL). */
THRUM_API int thrum_waitgroup_init(thrum_waitgroup_t *w);

/** Adds `n`, which may be negative, to the count; at zero the waiters are let go.
 *  @return 0, EINVAL (NULL, or below zero; nothing changed), or EOVERFLOW (past INT_MAX). */
THRUM_API int thrum_waitgroup_add(thrum_waitgroup_t *w, int n);

/** Takes 1 from the count. @return as thrum_waitgroup_add(w, -1). */
THRUM_API int thrum_waitgroup_done(thrum_waitgroup_t *w);

/** Waits until the count is zero. @return 0, ECANCELED, EINVAL (NULL), or ENOMEM. */
THRUM_API int thrum_waitgroup_wait(thrum_waitgroup_t *w);

/** @return 0 (the count is zero), EAGAIN (it is not), or EINVAL (NULL). Never waits. */
THRUM_API THRUM_NODISCARD int thrum_waitgroup_trywait(thrum_waitgroup_t *w);

/** Waits until the count is zero or `deadline` has passed.
 *  @return 0, ETIMEDOUT, or as thrum_waitgroup_wait. */
THRUM_API THRUM_NODISCARD int thrum_waitgroup_wait_until(thrum_waitgroup_t *w,
                                                         thrum_time_t deadline);

THRUM_END_DECLS
#endif /* THRUM_WAITGROUP_H */
