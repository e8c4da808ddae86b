#ifndef THRUM_FUTURE_H
#define THRUM_FUTURE_H

#include <thrum/base.h>
#include <thrum/select.h>
#include <thrum/time.h>

THRUM_BEGIN_DECLS

/**
 * @file
 * Futures: the result of something that runs elsewhere, or later.
 *
 *     thrum_future_t *f = NULL;
 *     int err = thrum_executor_submit(pool, work, arg, &f);
 *     ...
 *     void *value = NULL;
 *     err = thrum_future_result(f, &value);   // waits; work's own status
 *     thrum_future_release(f);
 *
 * States   pending -> running -> done, or pending -> cancelled; done and cancelled are final ("ended"). A
 *          value or an error is set once.
 * Ordering Whatever ends a future is a release; every call that finds it ended is an acquire.
 * Callback Each is called exactly once, with the future already ended: by the strand that ended it, in the
 *          order added; or, when it had ended, at once by the adding one (beside earlier ones that may still
 *          run). No lock of the library is held: a callback may use the future and any other, add callbacks,
 *          cancel, submit, wait, and drop the last reference. The future stays valid until it has returned.
 *          Callbacks of a promise that everybody has dropped unkept are not called.
 *          Of a task that ran in another process they are called by a thread of its pool, one after the other.
 * Waiting  A task that waits (wait, result, bytes, thrum_wait for all) for a future of its own pool that nobody
 *          has started runs that very task itself, on its own stack; it never runs another one. With a
 *          deadline, or in a thrum_wait for the first of several, it does so only if the deadline has not
 *          passed and the pool has no spare worker left to run it; then nobody looks at the deadline, or at
 *          the others, until that task returns. A circle of tasks that wait for each other is found (EDEADLK)
 *          on one stack only.
 * Lifetime Reference counted: who gets a future from a call owns a reference. The result of a task whose
 *          futures have all been released is dropped; the task runs all the same.
 * Context  Any strand. The waits are cancellation points, but an ended future is never ECANCELED for it.
 * Fork     The child's copies of what was running in the parent never end; what was pending can be cancelled,
 *          or ends with the child's copy of its executor.
 */

/** A future; reference counted. */
typedef struct thrum_future thrum_future_t;

struct thrum_executor;

/** One more reference. @return f. NULL: NULL. */
THRUM_API thrum_future_t *thrum_future_retain(thrum_future_t *f);

/** Gives a reference up; the last one frees the future. NULL: nothing. */
THRUM_API void thrum_future_release(thrum_future_t *f);

/* --- promises of the program's own -------------------------------------------------------------- */

/** Makes a pending future that the program itself ends. @return 0, EINVAL (NULL), or ENOMEM. */
THRUM_API int thrum_future_create(thrum_future_t **f);

/** Pending to running; from now on it cannot be cancelled.
 *  @return 0, ECANCELED (it was cancelled), or EINVAL (NULL, running or done). */
THRUM_API int thrum_future_start(thrum_future_t *f);

/** Ends it with a value, from pending or running. Wakes who waits, and calls the callbacks.
 *  @return 0, or EINVAL (NULL, or ended already: nothing happened). */
THRUM_API int thrum_future_complete(thrum_future_t *f, void *value);

/** Ends it with an error. @return 0, or EINVAL (as complete, or `error` is not above 0). */
THRUM_API int thrum_future_fail(thrum_future_t *f, int error);

/* --- state -------------------------------------------------------------------------------------- */

/** Cancels it if nobody has started it; its callbacks run before this returns.
 *  @return true when it is cancelled, now or before: it will never run. */
THRUM_API bool thrum_future_cancel(thrum_future_t *f);

/** Asks a running task on a thread or coroutine to stop: thrum_cancelled() turns true in it and its
 *  waits return ECANCELED, until it ends. A pending one is cancelled.
 *  Tasks of groups that it has spawned are asked when it waits for them.
 *  @return 0 (asked, or cancelled now or before), EINVAL (NULL, or done), or ENOTSUP (a promise that is
 *  running, or a task that runs in another process). */
THRUM_API int thrum_future_interrupt(thrum_future_t *f);

/** Whether it was cancelled: it has not run, and will not. */
THRUM_API bool thrum_future_cancelled(const thrum_future_t *f);
/** Whether it is running at this moment. */
THRUM_API bool thrum_future_running(const thrum_future_t *f);

/** Ended: done or cancelled. */
THRUM_API bool thrum_future_done(const thrum_future_t *f);

/* --- waiting ------------------------------------------------------------------------------------- */

/** Waits until it has ended. @return 0, ECANCELED (this wait), EINVAL (NULL), ENOMEM, or EDEADLK (the
 *  calling task waits for itself). */
THRUM_API int thrum_future_wait(thrum_future_t *f);

/** @return 0, EAGAIN, or EINVAL (NULL). Never waits. */
THRUM_API THRUM_NODISCARD int thrum_future_trywait(thrum_future_t *f);

/** As thrum_future_wait, or ETIMEDOUT. */
THRUM_API THRUM_NODISCARD int thrum_future_wait_until(thrum_future_t *f, thrum_time_t deadline);

/** Waits, and stores the value (NULL unless it was done with one).
 *  @return the task's own status, ECANCELED (cancelled, or this wait was: see thrum_future_cancelled), or
 *  as thrum_future_wait. */
THRUM_API int thrum_future_result(thrum_future_t *f, void **value);

/** As thrum_future_result, or ETIMEDOUT. */
THRUM_API int thrum_future_result_until(thrum_future_t *f, void **value, thrum_time_t deadline);

/** Waits, and stores where the reply of a byte task lies (NULL and 0 when it made none). It lives as
 *  long as the future. @return as thrum_future_result; ENOTSUP: not a byte task. */
THRUM_API int thrum_future_bytes(thrum_future_t *f, const void **data, size_t *size);

/** Ends a running process task for real, with all that it has started; it fails with ECHILD. One that has not begun is
 *  cancelled. @return 0, EINVAL (NULL, or it has ended), or ENOTSUP (tasks of other executors). */
THRUM_API int thrum_future_kill(thrum_future_t *f);

/** After ECHILD, or the ETIMEDOUT of a time limit: what ended the worker, a signal (and exit code 0) or an exit code
 *  (and signal 0). @return 0, EINVAL (NULL), or ENOTSUP (no worker process died of it). */
THRUM_API int thrum_future_cause(thrum_future_t *f, int *signal, int *exit_code);

/* --- reacting ------------------------------------------------------------------------------------ */

/** Has `cb(f, arg)` called once `f` has ended; at once when it has. @return 0, EINVAL (NULL), ENOMEM. */
THRUM_API int thrum_future_add_done_callback(thrum_future_t *f,
                                             void (*cb)(thrum_future_t *f, void *arg), void *arg);

/** Once `f` has ended, however it ended, submits `fn(f, arg, &result)` to `executor` (NULL: calls it in
 *  the strand that ended `f`); `*next` is its future. Where the executor refuses it, `*next` fails with
 *  that error; so ESHUTDOWN when it was shut down, or destroyed, by then. A chain of steps may be of any
 *  length: each is called when the one before has returned, before other callbacks of that one's future.
 *  `next` may be NULL. @return 0, EINVAL (no f or fn), ENOTSUP (a process pool), or ENOMEM. */
THRUM_API int thrum_future_then(thrum_future_t *f, struct thrum_executor *executor,
                                int (*fn)(thrum_future_t *done, void *arg, void **result),
                                void *arg, thrum_future_t **next);

/** When thrum_wait is satisfied. */
typedef enum {
    THRUM_FIRST_COMPLETED, /**< one has ended */
    THRUM_FIRST_ERROR,     /**< one was cancelled or has failed, or all have ended */
    THRUM_ALL_COMPLETED    /**< all have ended */
} thrum_wait_mode_t;

/** Waits for several futures; one may stand there twice. `*n_done` gets how many have ended, also with an
 *  error. n 0 is satisfied. @return 0, ETIMEDOUT, ECANCELED, EINVAL (NULL, or a mode that is none), ENOMEM,
 *  or EDEADLK (only the end of the calling task itself could satisfy it). */
THRUM_API int thrum_wait(thrum_future_t **fs, size_t n, thrum_wait_mode_t mode,
                         thrum_time_t deadline, size_t *n_done);

/** Hands futures out as they end. Holds references to those only that it has not handed out. */
typedef struct thrum_as_completed thrum_as_completed_t;

/** Begins to look at `n` futures (retained; one that stands there twice comes twice).
 *  @return 0, EINVAL (NULL), or ENOMEM. */
THRUM_API int thrum_as_completed_create(thrum_as_completed_t **it, thrum_future_t **fs, size_t n);

/** The next one that has ended; the caller gets the iterator's reference.
 *  @return 0, ENODATA (all were handed out), ETIMEDOUT, ECANCELED, EINVAL (NULL), or ENOMEM. */
THRUM_API int thrum_as_completed_next(thrum_as_completed_t *it, thrum_future_t **f,
                                      thrum_time_t deadline);

/** Ends it at any time. NULL: nothing. */
THRUM_API void thrum_as_completed_destroy(thrum_as_completed_t *it);

/** A case of thrum_select: the future has ended. */
#define THRUM_CASE_FUTURE(future)                                                                  \
    {                                                                                              \
        THRUM_CASE_KIND_FUTURE, (future), NULL, NULL                                               \
    }

THRUM_END_DECLS
#endif /* THRUM_FUTURE_H */
