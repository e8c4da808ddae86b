#ifndef THRUM_THREAD_H
#define THRUM_THREAD_H

#include <sys/types.h>

#include <thrum/base.h>
#include <thrum/time.h>

THRUM_BEGIN_DECLS

/**
 * @file
 * Threads: made, started, joined by anybody as often as they like, and waited for when the process
 * ends.
 *
 *     static int count(void *arg, void **result)    // returns its status
 *     {
 *         *result = count_lines(arg);
 *         return 0;
 *     }
 *
 *     thrum_thread_t *t = NULL;
 *     int err = thrum_thread_spawn(&t, count, path, NULL);
 *     ...
 *     err = thrum_thread_join(t, &lines);           // what count returned
 *     thrum_thread_release(t);
 *
 * Handles  A thrum_thread_t is counted. Create, spawn, list and retain give the caller a reference,
 *          which it gives back with release; the last one frees the object. A started thread has one of
 *          its own until it ends, so releasing a running thread is fine: it runs on. What current
 *          returns is borrowed: it is valid until that thread ends, and must not be released; who wants
 *          it longer calls retain. An object that stays valid says what it said last.
 * Exit     A normal end of the process (return from main, exit) first waits for every started thread
 *          that is not a daemon, and for those that they start meanwhile; where exit was called from
 *          one of them, for the others. Daemons are ended with the process, wherever they are, and so
 *          are threads that thrum did not start; from the beginning of the wait on nobody but those
 *          waited for can start a thread that is not a daemon: ESHUTDOWN. Functions given to atexit
 *          before the first thread was started run after the wait, those given later before it. _exit,
 *          quick_exit and abort wait for nobody.
 * End      A thread ends when its function has returned and the destructors of its strand locals, and of
 *          its thread-specific data, have run; then it is no longer alive. A join returns when the
 *          system's thread is gone as well, as pthread_join does (of a daemon: when it has called the
 *          program for the last time). A function that leaves by pthread_exit has the status ECANCELED.
 * Signals  A started thread blocks every asynchronous signal. Not SIGSEGV, SIGBUS, SIGFPE, SIGILL,
 *          SIGTRAP, SIGSYS, SIGABRT and SIGPIPE, which a thread brings on itself. It may change its mask.
 * Ordering Start is a release that the function acquires. A thread's end is a release, and a join that
 *          saw it, an alive that returned false after a start, an acquire.
 * Context  Any strand. Joining waits, and is a cancellation point. A start with processors waits until
 *          the thread runs there; nothing else waits for more than moments.
 * Lifetime A joiner may release the last reference at once.
 * Fork     The child has the thread that forked, which is then the main thread, and no other: the
 *          others' joins say EOWNERDEAD at once, they are not alive and not listed, and exit does not
 *          wait for them. Those that had ended keep their status.
 */

/** A thread; made by thrum_thread_create. */
typedef struct thrum_thread thrum_thread_t;

/** How a thread is to be. Start from THRUM_THREAD_CONFIG_INIT. What it points to is copied. */
typedef struct thrum_thread_config {
    const char *name;  /**< NULL: none of its own; see thrum_thread_set_name */
    bool daemon;       /**< the process does not wait for it */
    size_t stack_size; /**< bytes, rounded up to what the system needs; 0: the system's default */
    const unsigned *cpus; /**< the numbers of the processors it may run on */
    size_t cpu_count;     /**< how many numbers; 0: wherever its starter may run */
    size_t config_size;   /**< set by THRUM_THREAD_CONFIG_INIT; 0: this first version */
} thrum_thread_config_t;

/** The defaults: no name, no daemon, the system's stack, every processor. */
#define THRUM_THREAD_CONFIG_INIT                                                                   \
    {                                                                                              \
        NULL, false, 0, NULL, 0, sizeof(thrum_thread_config_t)                                     \
    }

/** Makes a thread that will run `fn(arg, &result)`, and does not run yet. NULL: the defaults.
 *  @return 0, EINVAL (NULL, a processor number above 8191, a config_size that is not known), or
 *  ENOMEM. */
THRUM_API int thrum_thread_create(thrum_thread_t **t, thrum_fn fn, void *arg,
                                  const thrum_thread_config_t *config);

/** Starts it. A start that failed may be tried again.
 *  @return 0, EINVAL (NULL, started already, or none of its processors may be used), ENOMEM (also: the
 *  system allows no further thread), or ESHUTDOWN (the process ends; see Exit). */
THRUM_API int thrum_thread_start(thrum_thread_t *t);

/** Makes and starts one; `t` may be NULL when nobody will ask. @return as those two; then there is no
 *  thread. */
THRUM_API int thrum_thread_spawn(thrum_thread_t **t, thrum_fn fn, void *arg,
                                 const thrum_thread_config_t *config);

/** Waits for the thread's end. Any number of strands may, any number of times.
 *  @return what the thread's function returned, with what it stored as its result in `*result` (which
 *  may be NULL); or, and then `*result` is left alone: EINVAL (NULL, or not started), EDEADLK (itself;
 *  also: it waits in exit for the caller), ENOTSUP (thrum did not start it), EOWNERDEAD (it did not
 *  survive a fork), ECANCELED, or ENOMEM. Where a function returns such codes itself,
 *  thrum_thread_alive tells which. */
THRUM_API int thrum_thread_join(thrum_thread_t *t, void **result);

/** As thrum_thread_join, or EAGAIN: it has not ended. Never waits for the function. */
THRUM_API THRUM_NODISCARD int thrum_thread_tryjoin(thrum_thread_t *t, void **result);

/** As thrum_thread_join, or ETIMEDOUT. The end of a thread that is over but not quite gone from the
 *  system is waited for all the same: microseconds. */
THRUM_API THRUM_NODISCARD int thrum_thread_join_until(thrum_thread_t *t, void **result,
                                                      thrum_time_t deadline);

/** Asks the thread to stop: see cancel.h. Before its start: its first wait that would block returns
 *  ECANCELED. Once its function has returned it changes nothing. Never waits.
 *  @return 0, or EINVAL (NULL). */
THRUM_API int thrum_thread_cancel(thrum_thread_t *t);

/** Whether the process is not to wait for it. @return 0, EINVAL (NULL), or EBUSY (started). */
THRUM_API int thrum_thread_set_daemon(thrum_thread_t *t, bool daemon);

/** True also for threads that thrum did not start, but for the main thread. */
THRUM_API bool thrum_thread_daemon(const thrum_thread_t *t);

/** Names it, before its start or while it runs. The name is kept whole; top -H, gdb and the like show
 *  its first 15 bytes. @return 0, EINVAL (NULL), or ENOMEM. */
THRUM_API int thrum_thread_set_name(thrum_thread_t *t, const char *name);

/** Its name, "" when it was given none; a thread that thrum did not start has the one that the system
 *  knows. Valid until the name is set again or the object is freed. */
THRUM_API const char *thrum_thread_name(const thrum_thread_t *t);

/** Whether it was started and has not ended. */
THRUM_API bool thrum_thread_alive(const thrum_thread_t *t);

/** A number that no other thread of this process has or had or will have; 0 before its start. The main
 *  thread's is 1. */
THRUM_API uint64_t thrum_thread_ident(const thrum_thread_t *t);

/** The system's number, as in top -H; 0 before its start. Another thread may get it once this one has
 *  ended. */
THRUM_API pid_t thrum_thread_native_id(thrum_thread_t *t);

/** The calling thread, however it was started; borrowed. A coroutine's is the thread that it runs on.
 *  @return NULL only when thrum did not start it and there is no memory, or when it is over, in the
 *  last round of the destructors of its thread-specific data. */
THRUM_API thrum_thread_t *thrum_thread_current(void);

/** How many threads are known and alive: the main thread, those that thrum started, and those others
 *  that have asked for their thrum_thread_current. */
THRUM_API size_t thrum_thread_count(void);

/** Stores them, in the order in which they became known, at most `n`, each with a reference that the
 *  caller has to release. @return how many were stored. */
THRUM_API size_t thrum_thread_list(thrum_thread_t **out, size_t n);

/** Another reference. @return `t` */
THRUM_API thrum_thread_t *thrum_thread_retain(thrum_thread_t *t);

/** Gives a reference back. NULL: nothing. */
THRUM_API void thrum_thread_release(thrum_thread_t *t);

THRUM_END_DECLS
#endif /* THRUM_THREAD_H */
