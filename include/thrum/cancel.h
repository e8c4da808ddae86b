#ifndef THRUM_CANCEL_H
#define THRUM_CANCEL_H

#include <thrum/base.h>

THRUM_BEGIN_DECLS

/**
 * @file
 * Cancellation: a strand is asked to stop, and is told so by its waits.
 *
 *     while (!thrum_cancelled()) {
 *         int err = thrum_sem_acquire(&work);
 *         if (err == ECANCELED)
 *             break;
 *         do_some();
 *     }
 *
 * Level      Cancellation stays: from the moment a strand is asked, every wait that would block
 *            returns ECANCELED at once, and one that is under way is ended, until the strand (or the
 *            task of a pool that was asked) ends.
 *            What can be had without waiting is still had.
 * Exempt     Locking a mutex, rlock or rwlock, and re-taking a lock after a condition: an unlock
 *            must always be possible.
 * Context    Any strand. Nothing is ever killed: a strand that does not wait is not disturbed.
 */

/** What tasks and groups are cancelled with; part of thrum_group_t. The meaning of the members is the
 *  library's. */
typedef struct thrum_scope {
    uint32_t thrum_cancelled;
    const struct thrum_scope *thrum_outer;
} thrum_scope_t;

/** Whether the calling strand has been asked to stop and is not shielded. */
THRUM_API bool thrum_cancelled(void);

/** Runs `fn(arg, result)` with cancellation held back: its waits go on as if the strand had not
 *  been asked. Nests. For cleaning up.
 *  @return what `fn` returns, EINVAL (NULL `fn`), or ENOMEM. */
THRUM_API int thrum_shield(thrum_fn fn, void *arg, void **result);

THRUM_END_DECLS
#endif /* THRUM_CANCEL_H */
