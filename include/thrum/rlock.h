#ifndef THRUM_RLOCK_H
#define THRUM_RLOCK_H

#include <thrum/mutex.h>

THRUM_BEGIN_DECLS

/**
 * @file
 * Recursive lock: the strand that holds it may lock it again; it is free when it has been unlocked
 * as often.
 *
 *     static thrum_rlock_t tree_lock = THRUM_RLOCK_INIT;
 *
 *     void visit(struct node *n)
 *     {
 *         thrum_rlock_lock(&tree_lock);
 *         for (struct node *c = n->first; c != NULL; c = c->next)
 *             visit(c);
 *         thrum_rlock_unlock(&tree_lock);
 *     }
 *
 * Ordering   As a mutex, at the outermost lock and unlock.
 * Fairness   As a mutex.
 * Ownership  A strand: one thread, or one coroutine (not its thread).
 * Context    Any strand. Locking is not a cancellation point.
 * Lifetime   As a mutex.
 * Fork       As a mutex; the forking strand still owns it in the child, at the same depth.
 */

/** A recursive lock. The size is ABI, the meaning of the members is not. */
typedef struct thrum_rlock {
    thrum_mutex_t thrum_mutex;
    uint32_t thrum_depth;
} thrum_rlock_t;

/** Static initialiser; all-zero memory is a valid free lock. */
#define THRUM_RLOCK_INIT                                                                           \
    {                                                                                              \
        THRUM_MUTEX_INIT, 0                                                                        \
    }

/** Makes `r` a free lock. @return 0, or EINVAL (NULL). */
THRUM_API int thrum_rlock_init(thrum_rlock_t *r);

/** Ends the life of a free lock. Checked builds report one that is in use. NULL does nothing. */
THRUM_API void thrum_rlock_destroy(thrum_rlock_t *r);

/** Locks once more, waiting while another strand owns it.
 *  @return 0, EOVERFLOW (depth UINT_MAX, nothing changed), EINVAL (NULL), ENOMEM (this thread could
 *          not be registered), EOWNERDEAD, or EDEADLK (checked builds: owners wait for each other in
 *          a circle, and this wait would have closed it). */
THRUM_API int thrum_rlock_lock(thrum_rlock_t *r);

/** Locks once more if no other strand owns it. Never waits.
 *  @return 0, EBUSY, EOVERFLOW, EINVAL, or ENOMEM. */
THRUM_API THRUM_NODISCARD int thrum_rlock_trylock(thrum_rlock_t *r);

/** Locks once more, waiting until `deadline`. @return 0, ETIMEDOUT, or as thrum_rlock_lock. */
THRUM_API THRUM_NODISCARD int thrum_rlock_lock_until(thrum_rlock_t *r, thrum_time_t deadline);

/** Undoes one lock of the calling strand.
 *  @return 0, EPERM (the caller does not own it; nothing changed), or EINVAL (NULL). */
THRUM_API int thrum_rlock_unlock(thrum_rlock_t *r);

/** Whether some strand owns it at this moment, or it is promised to one that waits (see thrum_mutex_locked). */
THRUM_API bool thrum_rlock_locked(const thrum_rlock_t *r);

/** Whether the calling strand owns it. */
THRUM_API bool thrum_rlock_owned(const thrum_rlock_t *r);

/** How often the calling strand has locked it; 0 when it does not own it. */
THRUM_API unsigned thrum_rlock_depth(const thrum_rlock_t *r);

THRUM_END_DECLS
#endif /* THRUM_RLOCK_H */
