#ifndef THRUM_PROCESS_H
#define THRUM_PROCESS_H

#include <sys/types.h>

#include <thrum/base.h>
#include <thrum/time.h>

THRUM_BEGIN_DECLS

/**
 * @file
 * Processes: made, started, joined by any strand of the process that started them, ended, and
 * accounted for when that one ends. (Linux 5.4 or later; elsewhere a start says ENOSYS.)
 *
 *     static int crunch(void *arg, void **result)   // in the child; its result goes nowhere
 *     {
 *         return write_thumbnail(arg);              // 0, or an errno value: the exit code
 *     }
 *
 *     thrum_process_t *p = NULL;
 *     int exit_code = 0;
 *     int err = thrum_process_spawn(&p, crunch, path, NULL);
 *     ...
 *     err = thrum_process_join(p, &exit_code);      // -11: it died of a SIGSEGV
 *     thrum_process_release(p);
 *
 * Memory   A child has a copy of the parent's memory as it was at its start: what either writes
 *          afterwards the other does not see. Only memory that was mapped to be shared is.
 * Handles  A thrum_process_t is counted. Create, spawn, children and retain give the caller a
 *          reference, which it gives back with release; the last one frees the object. Releasing a
 *          running process is fine: it runs on. What current and parent return is borrowed, and valid
 *          for as long as the process runs.
 * End      A child ends when its function has returned: then it joins its threads and children as any
 *          process does at its end (see Exit), writes out its stdout and stderr, and leaves by _exit,
 *          with what the function returned as its exit code (255 for what is not in 0 to 255). Functions
 *          given to atexit are not run and other streams are not written out: they are copies of the
 *          parent's, which does that. A function may call exit instead; then they are.
 *          In the parent, whoever sees the end first (by join, alive, exit_code, children, count) has
 *          taken the status from the system; a start, too, takes some of those that have ended. So
 *          there are no zombies but of children that nobody has asked for yet.
 *          A program may ignore SIGCHLD, or wait for any child of the process: ends and exit codes are
 *          known all the same. (Before Linux 6.15 only the exit code that a function returned is known
 *          then; any other end is told as -SIGKILL.) The library never waits for children that are not
 *          its own and has no handler of SIGCHLD.
 * Exit     A normal end of the process (return from main, exit) first waits for its threads (thread.h),
 *          then for every started process that is not a daemon, then kills the daemons. A daemon is also
 *          killed (SIGKILL) when its parent ends in any other way, by _exit, a signal, SIGKILL, or
 *          executes another program; those that are not daemons live on then. A daemon that executes another
 *          program is tied to its parent all the same, by a descriptor that the program inherits, and must
 *          not close. What a daemon starts should be daemons: others live on when it is killed.
 *          From the moment that exit waits for processes only daemons can be started: ESHUTDOWN.
 * Start    writes out stdout and stderr. Then
 *          THRUM_START_FORK: a copy of the process, with the thread that called start as its only one;
 *          what it finds of thrum's objects is in the guide's chapter on fork.
 *          THRUM_START_SPAWN: a fresh execution of the program, with nothing of the parent's memory but the
 *          config's bytes, for programs that must not fork, or are large. The function has been given a
 *          name by thrum_process_register, and the program calls thrum_process_begin first in main.
 *          Descriptors above 2 are close-on-exec if the program has made them so.
 * Signals  A child has its starter's handlers (fork) and mask. What thrum blocks in the threads that it
 *          starts is let through in processes that they start.
 * Ordering Start is a release that the function acquires. The end is a release, and whoever has seen it (join,
 *          alive, exit_code ...) has acquired it: what the child wrote to memory that both share is there.
 * Context  Any strand. Joining waits: a coroutine lets its loop run on; it is a cancellation point. Nothing
 *          else waits for more than moments, but start for as long as the system takes to copy a process.
 *          Not for signal handlers.
 * Lifetime A joiner may release the last reference at once. Each running child takes a descriptor of the
 *          parent, a daemon two.
 * Fork     A child, however forked, has no children at first. The objects of the parent's children that it
 *          inherits say EPERM; they are not alive. Those not started, and those that had ended, are as
 *          before. It does not inherit their descriptors, unless it was made past fork's handlers.
 */

/** A process; made by thrum_process_create. */
typedef struct thrum_process thrum_process_t;

/** How a process is started; see Start. */
typedef enum thrum_start_method {
    THRUM_START_FORK = 0, /**< a copy of this process */
    THRUM_START_SPAWN = 1 /**< a fresh execution of the program */
} thrum_start_method_t;

/** How a process is to be. Start from THRUM_PROCESS_CONFIG_INIT. What it points to is copied. */
typedef struct thrum_process_config {
    const char *name;           /**< NULL: none of its own; see thrum_process_set_name */
    bool daemon;                /**< it is not waited for, and dies with its parent */
    thrum_start_method_t start; /**< THRUM_START_FORK unless told otherwise */
    const void *bytes;          /**< not NULL: the function's `arg` points to a copy of these */
    size_t size;                /**< how many; see thrum_process_size */
    size_t config_size;         /**< set by THRUM_PROCESS_CONFIG_INIT; 0: this first version */
} thrum_process_config_t;

/** The defaults: no name, no daemon, by fork, no bytes. */
#define THRUM_PROCESS_CONFIG_INIT                                                                  \
    {                                                                                              \
        NULL, false, THRUM_START_FORK, NULL, 0, sizeof(thrum_process_config_t)                     \
    }

/** Makes a process that will run `fn(arg, &result)`, and does not run yet. NULL: the defaults.
 *  @return 0, EINVAL (NULL; an unknown start method or config_size; both `arg` and bytes; with
 *  THRUM_START_SPAWN an `arg`, or a function that is not registered), or ENOMEM. */
THRUM_API int thrum_process_create(thrum_process_t **p, thrum_fn fn, void *arg,
                                   const thrum_process_config_t *config);

/** Starts it. A start that failed may be tried again.
 *  @return 0, EINVAL (NULL, started already, or THRUM_START_SPAWN in a program that has not called
 *  thrum_process_begin), ENOMEM, EAGAIN (the system's limit of processes), EMFILE or ENFILE (of
 *  descriptors), ESHUTDOWN (the process ends; see Exit), ENOTSUP (a fresh execution of a program with
 *  privileges that its user has not), or ENOSYS (the system cannot). */
THRUM_API int thrum_process_start(thrum_process_t *p);

/** Makes and starts one; `p` may be NULL when nobody will ask. @return as those two; then there is no
 *  process. */
THRUM_API int thrum_process_spawn(thrum_process_t **p, thrum_fn fn, void *arg,
                                  const thrum_process_config_t *config);

/** Waits for its end, and stores its exit code, or the signal that ended it, negative, in `*exit_code`
 *  (which may be NULL). Any number of strands may, any number of times.
 *  @return 0; or, and then `*exit_code` is left alone: EINVAL (NULL, or not started), EDEADLK (this
 *  process itself), EPERM (started by another process, which this one was forked from), ECANCELED, ENOMEM,
 *  EMFILE or ENFILE (no descriptor for a coroutine's wait, or for the parent). Of the parent no exit code
 *  is known, and 0 is stored. */
THRUM_API int thrum_process_join(thrum_process_t *p, int *exit_code);

/** As thrum_process_join, or EAGAIN: it has not ended. Never waits. */
THRUM_API THRUM_NODISCARD int thrum_process_tryjoin(thrum_process_t *p, int *exit_code);

/** As thrum_process_join, or ETIMEDOUT. */
THRUM_API THRUM_NODISCARD int thrum_process_join_until(thrum_process_t *p, int *exit_code,
                                                       thrum_time_t deadline);

/** Whether it was started and has not ended. */
THRUM_API bool thrum_process_alive(thrum_process_t *p);

/** Its exit code, or the signal that ended it, negative. @return 0, EBUSY (it has not ended), EINVAL
 *  (NULL, or not started), EPERM (as thrum_process_join), or ENOTSUP (the parent). */
THRUM_API int thrum_process_exit_code(thrum_process_t *p, int *exit_code);

/** Asks it to end: SIGTERM. @return as thrum_process_signal. */
THRUM_API int thrum_process_terminate(thrum_process_t *p);

/** Ends it: SIGKILL. @return as thrum_process_signal. */
THRUM_API int thrum_process_kill(thrum_process_t *p);

/** Sends a signal, to that process and never to a later one of its number. One that has ended gets none,
 *  which is no error. @return 0, EINVAL (NULL, not started, no such signal), EPERM (as
 *  thrum_process_join; or it runs with privileges that this process has not), or ENOTSUP (the parent, or
 *  this process itself). */
THRUM_API int thrum_process_signal(thrum_process_t *p, int signal);

/** Its number; 0 before its start. Another process may get it once this one has ended. */
THRUM_API pid_t thrum_process_pid(const thrum_process_t *p);

/** Its name, "" when it was given none; of a process that thrum did not start, "main". Valid until the name is
 *  set again or the object is freed. */
THRUM_API const char *thrum_process_name(const thrum_process_t *p);

/** Names it. In the child ps, top and the like show the first 15 bytes of the name that it had at its
 *  start. A child does not learn of a later one. @return 0, EINVAL (NULL), or ENOMEM. */
THRUM_API int thrum_process_set_name(thrum_process_t *p, const char *name);

/** Whether it is not waited for, and dies with its parent. */
THRUM_API bool thrum_process_daemon(const thrum_process_t *p);

/** Says so. @return 0, EINVAL (NULL), or EBUSY (started). */
THRUM_API int thrum_process_set_daemon(thrum_process_t *p, bool daemon);

/** How many bytes the config had that it was made with: in the child, of what `arg` points to. */
THRUM_API size_t thrum_process_size(const thrum_process_t *p);

/** The calling process, however it was started; borrowed. */
THRUM_API thrum_process_t *thrum_process_current(void);

/** The process that started the calling one; borrowed. It can be asked for its pid and name and
 *  whether it is alive, and joined. @return NULL when thrum did not start the calling process. */
THRUM_API thrum_process_t *thrum_process_parent(void);

/** How many processes this one has started that have not ended. */
THRUM_API size_t thrum_process_count(void);

/** Stores them, in the order of their starts, at most `n`, each with a reference that the caller has to
 *  release. @return how many were stored. */
THRUM_API size_t thrum_process_children(thrum_process_t **out, size_t n);

/** Another reference. @return `p` */
THRUM_API thrum_process_t *thrum_process_retain(thrum_process_t *p);

/** Gives a reference back. NULL: nothing. */
THRUM_API void thrum_process_release(thrum_process_t *p);

/** Gives a function a name, by which a fresh execution of the program finds it: to be called before
 *  thrum_process_begin, the same in each execution. `name` is kept, not copied.
 *  @return 0 (also: again), EINVAL (NULL, empty, or another function has that name, or this one
 *  another), or ENOMEM. */
THRUM_API int thrum_process_register(const char *name, thrum_fn fn);

/** First in main, with its arguments: in an execution by THRUM_START_SPAWN it runs the function and does
 *  not return; in any other it does nothing. A function that is not registered there is told on standard
 *  error and leaves with 127. In a program with privileges that its user has not it does nothing either. */
THRUM_API void thrum_process_begin(int argc, char **argv);

THRUM_END_DECLS
#endif /* THRUM_PROCESS_H */
