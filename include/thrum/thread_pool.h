#ifndef THRUM_THREAD_POOL_H
#define THRUM_THREAD_POOL_H

#include <thrum/executor.h>
#include <thrum/group.h>

THRUM_BEGIN_DECLS

/**
 * @file
 * The thread pool: an executor whose workers are threads.
 *
 *     thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
 *     config.workers = 4;
 *     config.backlog = 1000;
 *     thrum_executor_t *pool = NULL;
 *     int err = thrum_thread_pool_create(&pool, &config);
 *
 * Waiting  A task may wait for tasks of its own pool, at any depth, with one worker: a task that nobody has
 *          started is run by who waits for it (with a deadline, only when no spare worker is left). When every
 *          worker waits for something of the library (a future, a queue, a lock, ...; not for time to pass), a
 *          spare worker stands in, up to `spare_workers` of them; one that cannot be started (no memory, no
 *          more threads) is tried again with the next submit. A task that waits in the system instead keeps
 *          its worker.
 * Groups   What tasks of the pool spawn into a group goes before anything that was submitted, whatever the
 *          policy, and does not count for the backlog.
 * Idle     A worker without work looks for some for a few dozen microseconds, then sleeps; an idle pool uses
 *          no processor time.
 * Signals  Workers block all asynchronous signals.
 * Fork     The child has no workers: submits say EPIPE, a shutdown cancels what is queued.
 * Exit     A pool does not keep the process from ending; what is queued then is not run. Destroy it first. exit
 *          in a task waits for the threads that are no daemons (thrum/thread.h), as everywhere: none of them
 *          may be waiting for that task.
 */

/** Which task a worker takes next. */
typedef enum {
    THRUM_POLICY_STEALING, /**< own tasks newest first, others' oldest first; the fastest */
    THRUM_POLICY_FIFO,     /**< strictly in order of submission */
    THRUM_POLICY_LIFO,     /**< the newest first */
    THRUM_POLICY_PRIORITY /**< the lowest cost first (thrum_executor_submit_cost): with the expected time
                                as the cost, shortest job first */
} thrum_policy_t;

/** What a submit does when the backlog is full. */
typedef enum {
    THRUM_FULL_WAIT, /**< wait (in a task of the pool: run it in the caller, so that the pool cannot stall) */
    THRUM_FULL_FAIL, /**< EAGAIN */
    THRUM_FULL_RUN /**< run it in the caller; not in the caller's scope: of cancellations only that of the
                           thread itself concerns it */
} thrum_full_t;

/** How a pool is to be. Start from THRUM_THREAD_POOL_CONFIG_INIT. */
typedef struct thrum_thread_pool_config {
    size_t config_size; /**< set by THRUM_THREAD_POOL_CONFIG_INIT; 0: this first version */

    /** 0: the processors that this process may use, container limits counted. At most 65,536. */
    size_t workers;

    thrum_policy_t policy; /**< who runs next; THRUM_POLICY_STEALING unless told otherwise */
    size_t
        backlog; /**< most tasks queued; 0: unbounded. One that was cancelled keeps its place until a
                             worker comes upon it */
    thrum_full_t full; /**< what to do when there are so many */

    /** The first that each worker does, spare ones too; not 0 breaks the pool: submits say EPIPE, and what is
     *  queued fails with it. May be NULL. */
    int (*init)(void *ctx);

    /** The last that each worker does whose init returned 0. May be NULL. */
    void (*fini)(void *ctx);
    void *ctx; /**< handed to both */

    /** Workers are called name-0, name-1, ..., of which the system shows 15 bytes. NULL: "thrum". */
    const char *name;

    size_t stack_size; /**< of a worker; 0: the system's default */
    bool pin;          /**< each worker stays on one processor */
    size_t
        spare_workers; /**< most workers beyond `workers`, 65,536 at most; 0: 64; SIZE_MAX: none */
} thrum_thread_pool_config_t;

/** The defaults. */
#define THRUM_THREAD_POOL_CONFIG_INIT                                                              \
    {                                                                                              \
        sizeof(thrum_thread_pool_config_t), 0, THRUM_POLICY_STEALING, 0, THRUM_FULL_WAIT, NULL,    \
            NULL, NULL, NULL, 0, false, 0                                                          \
    }

/** Makes a pool and starts its workers; NULL for the defaults.
 *  @return 0, EINVAL (NULL, a value that does not exist, a config_size that is not known), ENOMEM, or EAGAIN (no
 *  more threads; nothing is left behind). */
THRUM_API int thrum_thread_pool_create(thrum_executor_t **pool,
                                       const thrum_thread_pool_config_t *config);

/** The number of the pool's worker that the calling task runs on, 0 to workers - 1 (spare ones above), or
 *  SIZE_MAX: not on a worker. */
THRUM_API size_t thrum_thread_pool_worker(void);

THRUM_END_DECLS
#endif /* THRUM_THREAD_POOL_H */
