#ifndef THRUM_ONCE_H
#define THRUM_ONCE_H

#include <thrum/base.h>

THRUM_BEGIN_DECLS

/**
 * @file
 * Once: an initialisation that succeeds exactly once, however many strands ask for it.
 *
 *     static thrum_once_t once = THRUM_ONCE_INIT;
 *
 *     int err = thrum_once(&once, open_log, "app.log");
 *
 * Ordering   What `init` wrote is visible to every caller that gets 0.
 * Context    Any strand. Waiting for another strand's `init` is a cancellation point. `init` runs
 *            under no lock; calling thrum_once on the same object from it is EDEADLK.
 * Lifetime   Holds no resources.
 * Fork       An `init` that another strand was running does not go on in the child: EOWNERDEAD.
 */

/** A once. The size is ABI, the meaning of the members is not. */
typedef struct thrum_once_state {
    uint32_t thrum_state;
    uint32_t thrum_owner;
} thrum_once_t;

/** Static initialiser; all-zero memory is valid. */
#define THRUM_ONCE_INIT                                                                            \
    {                                                                                              \
        0, 0                                                                                       \
    }

/** Calls `init(arg)` unless that has succeeded before; waits while another strand does. When it
 *  fails, its error is returned to the caller that ran it and the next caller tries again.
 *  @return 0, the error of `init`, EDEADLK, ECANCELED, EOWNERDEAD, EINVAL (NULL), or ENOMEM. */
THRUM_API int thrum_once(thrum_once_t *o, int (*init)(void *), void *arg);

/** Whether `init` has succeeded. */
THRUM_API bool thrum_once_done(const thrum_once_t *o);

THRUM_END_DECLS
#endif /* THRUM_ONCE_H */
