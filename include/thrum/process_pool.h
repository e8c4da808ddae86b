#ifndef THRUM_PROCESS_POOL_H
#define THRUM_PROCESS_POOL_H

#include <thrum/executor.h>

THRUM_BEGIN_DECLS

/**
 * @file
 * The process pool: an executor whose workers are processes. A task may crash, leak, hang or be killed, and takes
 * nobody with it but its worker, which is replaced.
 *
 *     static int parse(const void *in, size_t size, thrum_reply_t *reply);   // a function of the program
 *
 *     thrum_process_pool_config_t config = THRUM_PROCESS_POOL_CONFIG_INIT;
 *     config.workers = 4;
 *     config.task_timeout = THRUM_S(10);
 *     thrum_executor_t *pool = NULL;
 *     int err = thrum_process_pool_create(&pool, &config);
 *
 *     thrum_future_t *f = NULL;
 *     err = thrum_executor_submit_bytes(pool, parse, text, length, &f);
 *     const void *data = NULL;
 *     size_t size = 0;
 *     err = thrum_future_bytes(f, &data, &size);      // ECHILD: the worker died of it
 *
 * Tasks    Plain C functions of the program, as it was when the pool was made: of objects that were loaded then, and
 *          have not been unloaded since (else EINVAL). Workers see the program's memory as of that moment, each a
 *          copy; what tasks change stays theirs. Bytes (submit_bytes) travel both ways, at any size. The argument
 *          and the result of submit and map are values: numbers, or addresses of what both sides have (static
 *          data as of then, shared memory made before). An `arg` that points to what was made later means nothing there.
 * Ordering A submit is a release, the start of its task an acquire, in memory that both processes share; so is the end
 *          of a task for whoever finds its future done. Their own memory is each one's: no ordering shows it.
 * Fairness Tasks begin in the order of their submits, but for a few that are given to a worker ahead and that another
 *          one takes back when it has nothing to do. What a dead worker had not begun goes first. Tasks have no
 *          priorities, and no task is kept from beginning by those that come after it.
 * Promise  What was accepted is ended exactly once, whatever is killed: worker, spawner, or a task's helpers. A task
 *          is never run again once it has begun, unless on_crash says so; what a dead worker had not begun goes to
 *          another one.
 * Death    A task during which its worker died fails with ECHILD; thrum_future_cause tells the signal or exit
 *          code. Its future ends, and its callbacks run, when the worker, and every process that it left behind,
 *          is gone. A task may leave with exit: it counts as a death.
 * Kill     thrum_future_kill ends a running task: its worker and the processes that came from it, whatever they ignore,
 *          whatever session they are in. It fails with ECHILD. One that has not begun is cancelled instead. The same is
 *          done when a task_timeout has passed; then it fails with ETIMEDOUT.
 * Cancel   thrum_future_cancel of a task that no worker has begun is immediate. thrum_future_interrupt of a running
 *          one: ENOTSUP.
 * Callback Of a task that ended in a worker: called by a thread of the pool, one after the other. They may use
 *          the pool, and wait.
 * Limits   thrum_future_then to a process pool, and thrum_parallel_for on one, are ENOTSUP: what they run is the
 *          parent's. Groups work; their tasks cannot spawn into them.
 * Orphans  None: workers and what they started die with the parent, and with the spawner, also by SIGKILL. The one
 *          exception: what a task has put into a session of its own survives when the spawner itself is killed.
 *          What a task leaves running ends with its worker.
 * Context  Waits work in threads and coroutines. In a worker process the pool is a copy: EPIPE.
 * Lifetime A future outlives the pool, with its reply; a destroy waits for all tasks. No handle of the pool may be used
 *          after its destroy. A shutdown with THRUM_KILL_RUNNING also kills workers that are in init or fini at that
 *          moment, or in init when there is nothing left to do; a second one, what has come into fini since.
 * Children The spawner is a child of the program, workers are not (unless the program gathers orphans, and the
 *          spawner was killed). A host that waits for any child (wait(NULL)) sees the spawner end, and may take its
 *          end from the system: the pool does not mind.
 * Signals  Workers have the signal mask of the thread that made the pool, sessions of their own (no signals
 *          from the terminal), and the program's handlers, except that SIGCHLD is reset to its default.
 * Streams  Standard output and error are flushed before the pool's processes are forked and when a worker ends.
 * Memory   Some 70 KiB of shared memory for a worker, and what large arguments and replies take; without a name.
 *          Replies beyond 96 bytes live in it as long as their futures.
 * Trust    What a worker says is believed within bounds only; one that says what cannot be is killed. But a task that
 *          writes over the pool's shared memory may spoil arguments and replies of others: the pool holds against
 *          accidents, not against malice.
 * Fork     The program is forked once when the pool is made, and again only if the spawner was killed; workers
 *          come from the spawner, which has one thread. In a child that the program forks: submits say EPIPE, a
 *          shutdown cancels what is queued.
 * Exit     A pool does not keep the process from ending, and ends with it.
 */

/** What becomes of a task during which its worker died by itself. */
typedef enum {
    THRUM_CRASH_FAIL,  /**< it fails with ECHILD */
    THRUM_CRASH_RETRY, /**< it is run again, `retries` times; then ECHILD */
    THRUM_CRASH_BREAK /**< it fails with ECHILD, and the pool is broken: EPIPE for what has not begun, and for
                          every later submit */
} thrum_crash_t;

/** How a pool is to be. Start from THRUM_PROCESS_POOL_CONFIG_INIT. */
typedef struct thrum_process_pool_config {
    size_t config_size; /**< set by THRUM_PROCESS_POOL_CONFIG_INIT; 0: this first version */

    /** 0: the processors that this process may use, container limits counted. At most 1000. */
    size_t workers;

    /** The first that each worker does; not 0 breaks the pool (EPIPE), and so does a worker that dies in it eight
     *  times in a row. May be NULL. */
    int (*init)(void *ctx);

    /** The last that each worker does that is not killed. May be NULL. */
    void (*fini)(void *ctx);
    void *ctx; /**< handed to both */

    size_t max_tasks_per_worker; /**< then it is replaced; 0: no limit. A chunk of a map is one */
    int64_t task_timeout;        /**< nanoseconds; 0: none. Of a map: for each call */
    size_t memory_limit; /**< bytes of data that a worker may allocate beyond what it was born with
                            (RLIMIT_DATA): then malloc fails in it; 0: no limit */

    thrum_crash_t on_crash; /**< THRUM_CRASH_FAIL unless told otherwise */
    unsigned retries;       /**< THRUM_CRASH_RETRY */

    size_t backlog;   /**< most tasks that wait for a worker; 0: unbounded */
    bool full_fails;  /**< when there are so many: EAGAIN instead of waiting */
    const char *name; /**< workers are called name-0, ...; NULL: "thrum" */

    /** How long an idle worker looks for the next task before it sleeps, in nanoseconds. 0: it finds out what pays;
     *  below 0: not at all. */
    int64_t spin;
} thrum_process_pool_config_t;

/** The defaults. */
#define THRUM_PROCESS_POOL_CONFIG_INIT                                                             \
    {                                                                                              \
        sizeof(thrum_process_pool_config_t), 0, NULL, NULL, NULL, 0, 0, 0, THRUM_CRASH_FAIL, 0, 0, \
            false, NULL, 0                                                                         \
    }

/** Makes a pool; NULL for the defaults. Its workers start while it is used already.
 *  @return 0; EINVAL (NULL, a value that does not exist, a config_size that is not known); ENOMEM; EAGAIN (no more
 *  processes or threads); EMFILE, ENFILE (descriptors); ENOSYS (the system has no pidfds). Nothing is left behind then. */
THRUM_API int thrum_process_pool_create(thrum_executor_t **pool,
                                        const thrum_process_pool_config_t *config);

/** The number of the pool's worker that the calling process is, 0 to workers - 1, or SIZE_MAX: it is none. */
THRUM_API size_t thrum_process_pool_worker(void);

THRUM_END_DECLS
#endif /* THRUM_PROCESS_POOL_H */
