#ifndef THRUM_EXECUTOR_H
#define THRUM_EXECUTOR_H

#include <thrum/base.h>
#include <thrum/future.h>
#include <thrum/time.h>

THRUM_BEGIN_DECLS

/**
 * @file
 * Executors: one handle for whatever runs tasks (a thread pool, a process pool, a loop), with the same
 * futures.
 *
 *     thrum_executor_t *pool = NULL;
 *     int err = thrum_thread_pool_create(&pool, NULL);
 *
 *     thrum_future_t *f = NULL;
 *     err = thrum_executor_submit(pool, work, arg, &f);   // f may be NULL: nobody will ask
 *     ...
 *     thrum_executor_destroy(pool);                       // waits for what was accepted
 *
 * Promise  What was accepted is ended exactly once: it runs; or, by a shutdown or a cancel, it is cancelled;
 *          or, where the executor breaks, it fails with EPIPE. Its callbacks run exactly once.
 * Ordering A submit is a release, the start of the task an acquire.
 * Context  Any strand, tasks of the executor included. A submit waits only where the executor's backlog is
 *          full and it was made to wait.
 * Lifetime destroy needs that no other call on the executor is under way. Waits for its futures may be, and so
 *          may futures with steps for it (thrum_future_then) end, then or later.
 */

/** An executor. */
typedef struct thrum_executor thrum_executor_t;

/** Where a byte task leaves its reply. */
typedef struct thrum_reply_place thrum_reply_t;

/** Bytes in, bytes out: runs unchanged on every executor. Returns 0 or the errno value it failed with. */
typedef int (*thrum_bytes_fn)(const void *in, size_t size, thrum_reply_t *reply);

/** Sets the reply of a byte task, a copy of `data`; a later call replaces it.
 *  @return 0, EINVAL (NULL), or ENOMEM. */
THRUM_API int thrum_reply(thrum_reply_t *reply, const void *data, size_t size);

/** Submits a task. When the backlog is full it does what the executor was made to do.
 *  @return 0; ESHUTDOWN; EPIPE (the executor is broken); EAGAIN (full); ECANCELED (while it waited);
 *  EINVAL (NULL); ENOMEM. Whatever is not 0 has submitted nothing and set no future. */
THRUM_API int thrum_executor_submit(thrum_executor_t *ex, thrum_fn fn, void *arg,
                                    thrum_future_t **f);

/** The same, waiting for room until `deadline`, whatever the executor was made to do, in its own tasks too:
 *  ETIMEDOUT. */
THRUM_API int thrum_executor_submit_until(thrum_executor_t *ex, thrum_fn fn, void *arg,
                                          thrum_time_t deadline, thrum_future_t **f);

/** The same with a cost: where the executor's policy is priority, the lowest cost runs first (equals in
 *  order of arrival); elsewhere it does not matter. */
THRUM_API int thrum_executor_submit_cost(thrum_executor_t *ex, thrum_fn fn, void *arg, int64_t cost,
                                         thrum_future_t **f);

/** Submits a byte task: `in` is copied now, the reply comes with the future (thrum_future_bytes). */
THRUM_API int thrum_executor_submit_bytes(thrum_executor_t *ex, thrum_bytes_fn fn, const void *in,
                                          size_t size, thrum_future_t **f);

/** Calls fn(args[i], &results[i]) for all i below n on the executor, and waits. At most a window of them
 *  is submitted at a time, in chunks of `chunk` calls (0: chosen by n), so memory does not grow with n.
 *  `args`, `results` and `status` may be NULL. After the deadline, and after a cancellation of the
 *  caller, no further call begins; those under way end before this returns, and the status of those that
 *  did not run is ECANCELED.
 *  @return 0 (every call returned 0), the status of the first in order that failed, ETIMEDOUT, ECANCELED,
 *  or as thrum_executor_submit_until. */
THRUM_API int thrum_executor_map(thrum_executor_t *ex, thrum_fn fn, void **args, void **results,
                                 int *status, size_t n, size_t chunk, thrum_time_t deadline);

/** Flags of a shutdown. */
#define THRUM_WAIT 1u           /**< wait until all tasks have ended and the workers are gone */
#define THRUM_CANCEL_PENDING 2u /**< cancel what has not started */
#define THRUM_KILL_RUNNING 4u   /**< process pools: end what runs, too; elsewhere ENOTSUP */

/** No more submits, also by its tasks; those may still spawn into groups. What was accepted still runs, unless
 *  it is to be cancelled. Again: the flags add up.
 *  @return 0; EDEADLK (THRUM_WAIT in a task of the executor: shut down, but nobody waited); ECANCELED (the
 *  wait was); ENOTSUP (THRUM_KILL_RUNNING of tasks that cannot be killed); EINVAL (NULL, or flags that do not exist). */
THRUM_API int thrum_executor_shutdown(thrum_executor_t *ex, unsigned flags);

/** The same; waits until `deadline` only: ETIMEDOUT. */
THRUM_API int thrum_executor_shutdown_until(thrum_executor_t *ex, unsigned flags,
                                            thrum_time_t deadline);

/** Shuts it down, waits for all that was accepted, and frees it. In a task of its own it does not wait:
 *  the last worker frees it. NULL: nothing. */
THRUM_API void thrum_executor_destroy(thrum_executor_t *ex);

/** What an executor is doing, at about this moment. */
typedef struct thrum_executor_figures {
    size_t workers; /**< alive, those that stand in for waiting ones included */
    size_t idle;    /**< of them with nothing to do */
    size_t
        queued; /**< tasks accepted and not started; cancelled ones too, until a worker comes upon them */
    size_t running;     /**< tasks under way */
    uint64_t completed; /**< returned 0 */
    uint64_t failed;    /**< returned an error */
    uint64_t cancelled; /**< never ran; counted when it leaves `queued` */
    uint64_t restarted; /**< workers that were replaced */
} thrum_executor_stats_t;

/** Stores what the executor has done so far; all 0 where it is NULL. */
THRUM_API void thrum_executor_stats(thrum_executor_t *ex, thrum_executor_stats_t *stats);

THRUM_END_DECLS
#endif /* THRUM_EXECUTOR_H */
