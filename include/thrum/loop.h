#ifndef THRUM_LOOP_H
#define THRUM_LOOP_H

#include <thrum/base.h>
#include <thrum/coroutine.h>
#include <thrum/executor.h>
#include <thrum/time.h>

THRUM_BEGIN_DECLS

/**
 * @file
 * Loops: run coroutines on one thread, each until it waits.
 *
 *     static int serve(void *arg, void **result);
 *
 *     static int main_coroutine(void *arg, void **result)
 *     {
 *         for (int i = 0; i < 10000; i++)
 *             thrum_go(NULL, serve, &clients[i]);
 *         return 0;
 *     }
 *
 *     int err = thrum_run(main_coroutine, NULL, NULL);   // returns when all of them have ended
 *
 * Order    Round robin: who becomes ready goes to the end of the line. A coroutine runs until it waits,
 *          yields or ends; nobody takes the processor away from it. Timers, descriptors and wake-ups from
 *          other threads are looked at between rounds, at the latest after 64 coroutines of a long one.
 *          A spawned coroutine is put at the end of the line; the spawner runs on.
 * Threads  A loop belongs to the thread that runs it. Several threads may each run one, and their coroutines
 *          share every primitive with each other and with threads. From another thread: thrum_loop_go, stop,
 *          and the executor.
 * Idle     A loop with nothing to do sleeps in the kernel; it does not poll.
 * Fork     In the child the coroutine that forked goes on, alone: the others of its loop are gone, and their
 *          joins say EOWNERDEAD. Loops that were not running, and other threads' loops, are empty.
 */

/** A loop; made by thrum_loop_create. */
typedef struct thrum_loop thrum_loop_t;

/** How the next coroutine is chosen. */
typedef enum {
    THRUM_ROUND_ROBIN, /**< who became ready first */
    THRUM_FEEDBACK /**< who used little time goes before who used much; nobody waits for longer than
                            `boost` */
} thrum_loop_policy_t;

/** How a loop is to be. Start from THRUM_LOOP_CONFIG_INIT. */
typedef struct thrum_loop_config {
    thrum_loop_policy_t policy; /**< who runs next; THRUM_ROUND_ROBIN unless told otherwise */
    int64_t boost;      /**< THRUM_FEEDBACK: all start anew after that long (ns); 0: 100 ms */
    int64_t watchdog;   /**< a coroutine that has not let go for that long (ns) is named on standard
                             error, once each time; 0: nobody watches */
    size_t config_size; /**< set by THRUM_LOOP_CONFIG_INIT; 0: this first version */
} thrum_loop_config_t;

/** The defaults. */
#define THRUM_LOOP_CONFIG_INIT                                                                     \
    {                                                                                              \
        THRUM_ROUND_ROBIN, 0, 0, sizeof(thrum_loop_config_t)                                       \
    }

/** Runs `fn(arg, &result)` as a coroutine of a new loop on this thread, until it and all coroutines spawned
 *  on the loop have ended.
 *  @return what `fn` returned, with its result in `*result` (may be NULL); EINVAL (NULL `fn`); EBUSY (this
 *  thread runs a loop already); ENOMEM. */
THRUM_API int thrum_run(thrum_fn fn, void *arg, void **result);

/** Spawns a coroutine on the loop that the calling thread runs. `*co` (may be NULL: nobody will ask) gets a
 *  handle, to be released.
 *  @return 0, EINVAL (NULL `fn`, or this thread runs no loop), or ENOMEM. */
THRUM_API int thrum_go(thrum_coro_t **co, thrum_fn fn, void *arg);

/** The same with a configuration. @return as thrum_go and thrum_coro_create. */
THRUM_API int thrum_go_with(thrum_coro_t **co, thrum_fn fn, void *arg,
                            const thrum_coro_config_t *config);

/** Lets the other coroutines that are ready run first; in a plain thread, other threads. Not a
 *  cancellation point. */
THRUM_API void thrum_yield(void);

/** Makes a loop, to be run by thrum_loop_run. NULL: the defaults.
 *  @return 0, EINVAL (NULL, or a configuration that is none), or ENOMEM. */
THRUM_API int thrum_loop_create(thrum_loop_t **loop, const thrum_loop_config_t *config);

/** Spawns a coroutine on `loop`. Any thread. @return as thrum_go_with; ESHUTDOWN (it is being destroyed). */
THRUM_API int thrum_loop_go(thrum_loop_t *loop, thrum_coro_t **co, thrum_fn fn, void *arg,
                            const thrum_coro_config_t *config);

/** Runs the loop on the calling thread until no coroutine is left but daemons, which are cancelled and waited for
 *  (0), or until it is stopped (ECANCELED: the coroutines stay as they are, and a later run goes on with
 *  them). A loop is always run by the same thread, that of its first run.
 *  @return 0, ECANCELED, EINVAL (NULL, or it is another thread's), EBUSY (this thread runs a loop already),
 *  or ENOMEM. */
THRUM_API int thrum_loop_run(thrum_loop_t *loop);

/** Runs what is ready, waits for nothing, and returns: for a foreign event loop that has found the
 *  descriptor readable. @return 0 (no coroutine is left), EAGAIN (some are), or as thrum_loop_run. */
THRUM_API int thrum_loop_turn(thrum_loop_t *loop);

/** The descriptor of the loop: readable when thrum_loop_turn has something to do. Valid as long as the loop;
 *  not to be read. @return 0, EINVAL (NULL), EMFILE, ENFILE, ENOMEM, or ENOSYS (not on this system). */
THRUM_API int thrum_loop_fd(thrum_loop_t *loop, int *fd);

/** Has the run that is under way, or else the next one, return. Any thread. NULL: nothing. */
THRUM_API void thrum_loop_stop(thrum_loop_t *loop);

/** Cancels the coroutines that are left, and those that they have resumed, runs them to their ends, and frees
 *  the loop. On the thread that ran it (one that never ran: any), and not from a coroutine, of this loop or
 *  another: it could not run them, and what they hold would stay so. NULL: nothing. */
THRUM_API void thrum_loop_destroy(thrum_loop_t *loop);

/** The loop that the calling thread runs; NULL: none. */
THRUM_API thrum_loop_t *thrum_loop_current(void);

/** Whether the caller is a coroutine whose waits let a loop run on; false: they hold up the thread. A few
 *  loads; also from signal handlers. */
THRUM_API bool thrum_loop_inside(void);

/** The loop as an executor (executor.h): each task is a coroutine. Borrowed: it ends with the loop, and
 *  neither needs to be shut down nor destroyed. NULL: no memory. */
THRUM_API thrum_executor_t *thrum_loop_executor(thrum_loop_t *loop);

/** Runs `fn(arg, result)` on a thread of its own and waits for it: for calls that block the thread. The
 *  loop runs on. The wait does not end before `fn` does, also when it is cancelled. In a plain thread `fn` is
 *  called directly. At most 64 at a time run for one loop; others wait their turn.
 *  @return what `fn` returned; EINVAL (NULL `fn`); ECANCELED (before it began); ENOMEM. */
THRUM_API int thrum_blocking(thrum_fn fn, void *arg, void **result);

THRUM_END_DECLS
#endif /* THRUM_LOOP_H */
