#ifndef THRUM_RWLOCK_H
#define THRUM_RWLOCK_H

#include <thrum/mutex.h>

THRUM_BEGIN_DECLS

/**
 * @file
 * Read-write lock: many readers or one writer.
 *
 *     static thrum_rwlock_t table_lock = THRUM_RWLOCK_INIT;
 *
 *     thrum_rwlock_rdlock(&table_lock);
 *     value = lookup(key);
 *     thrum_rwlock_rdunlock(&table_lock);
 *
 * Ordering   Every lock is an acquire and every unlock a release: a reader sees what the writers
 *            before it wrote, a writer comes after the readers before it.
 * Fairness   Phase-fair (after Brandenburg and Anderson, 2010): readers that find a writer inside or
 *            waiting for readers to leave wait for that one writer only, and are all let in when it
 *            unlocks; a writer waits for the readers that were inside before it and for none that
 *            came later. Neither side can starve the other. Among themselves writers may barge for at
 *            most THRUM_MUTEX_BARGE_NS past the one at the head.
 * Recursion  None. A strand that read-locks twice can deadlock with a writer that came in between.
 * Context    Any strand. Locking is not a cancellation point. Any strand may unlock.
 * Lifetime   Holds no resources; may be freed by whoever holds it last and knows it, as a mutex.
 * Fork       The child may use one that was free, or that the forking strand held while nobody
 *            waited. A writer of the parent that is gone in the child: EOWNERDEAD. Readers cannot be
 *            told from one another, so those of the parent keep the child's writers waiting:
 *            thrum_rwlock_init makes the lock anew.
 */

/** A read-write lock. The size is ABI, the meaning of the members is not. */
typedef struct thrum_rwlock {
    THRUM_ALIGNED(8) uint64_t thrum_word;
    thrum_mutex_t thrum_writers;
    uint32_t thrum_owner;
    uint32_t thrum_closer;
} thrum_rwlock_t;

/** Static initialiser; all-zero memory is a valid free lock. */
#define THRUM_RWLOCK_INIT                                                                          \
    {                                                                                              \
        0, THRUM_MUTEX_INIT, 0, 0                                                                  \
    }

/** Most readers that can be inside, and most that can wait. */
#define THRUM_RWLOCK_READERS_MAX 2000000u

/** Makes `l` a free lock. @return 0, or EINVAL (NULL). */
THRUM_API int thrum_rwlock_init(thrum_rwlock_t *l);

/** Ends the life of a free lock. Checked builds report one that is in use. NULL does nothing. */
THRUM_API void thrum_rwlock_destroy(thrum_rwlock_t *l);

/** Locks for reading.
 *  @return 0, EINVAL (NULL), ENOMEM (this thread's first wait), EOVERFLOW (too
 *          many readers), or EOWNERDEAD. */
THRUM_API int thrum_rwlock_rdlock(thrum_rwlock_t *l);

/** Locks for reading if no writer is inside or about to be. Never waits.
 *  @return 0, EBUSY, EOVERFLOW, or EINVAL (NULL). */
THRUM_API THRUM_NODISCARD int thrum_rwlock_tryrdlock(thrum_rwlock_t *l);

/** Locks for reading, waiting until `deadline`. @return 0, ETIMEDOUT, or as without. */
THRUM_API THRUM_NODISCARD int thrum_rwlock_rdlock_until(thrum_rwlock_t *l, thrum_time_t deadline);

/** Ends one read lock. @return 0, EPERM (nobody reads; nothing changed), or EINVAL (NULL). */
THRUM_API int thrum_rwlock_rdunlock(thrum_rwlock_t *l);

/** Locks for writing.
 *  @return 0, EINVAL (NULL), ENOMEM (this thread's first wait), or EOWNERDEAD. */
THRUM_API int thrum_rwlock_wrlock(thrum_rwlock_t *l);

/** Locks for writing if nobody is inside and no writer has waited for longer than others may pass
 *  it. Never waits.
 *  @return 0, EBUSY, or EINVAL (NULL). */
THRUM_API THRUM_NODISCARD int thrum_rwlock_trywrlock(thrum_rwlock_t *l);

/** Locks for writing, waiting until `deadline`. @return 0, ETIMEDOUT, or as without. */
THRUM_API THRUM_NODISCARD int thrum_rwlock_wrlock_until(thrum_rwlock_t *l, thrum_time_t deadline);

/** Ends the write lock. @return 0, EPERM (no writer is inside; nothing changed), or EINVAL. */
THRUM_API int thrum_rwlock_wrunlock(thrum_rwlock_t *l);

/** Turns the caller's write lock into a read lock with no moment in between; readers that wait are
 *  let in. @return 0, EPERM (no writer is inside; nothing changed), or EINVAL (NULL). */
THRUM_API int thrum_rwlock_downgrade(thrum_rwlock_t *l);

THRUM_END_DECLS
#endif /* THRUM_RWLOCK_H */
