#ifndef THRUM_BASE_H
#define THRUM_BASE_H

/**
 * @file
 * What every thrum header stands on: declaration macros and the one function type that runs
 * everywhere. Includes nothing but C headers; include it through any other thrum header.
 *
 * Errors   A function that can fail returns 0 or a positive errno value; errno itself is left as it
 *          was. The codes mean the same in every header:
 *            EINVAL     bad argument (a NULL where a pointer is due included)
 *            ENOMEM     no memory; for a wait: this thread could not be registered, nothing changed
 *            EBUSY      a try-form found the lock taken, or a setting came too late
 *            EAGAIN     a try-form found what it asks for not ready; a backlog is full; the system has no
 *                       more processes, or threads for a pool
 *            ETIMEDOUT  the deadline passed
 *            ECANCELED  this wait, task or future was cancelled (see cancel.h)
 *            EPIPE      broken: a barrier or a pool that lost its integrity; of a stream: nobody reads it
 *            ESHUTDOWN  closed: the queue or executor takes no more, the closed queue is empty
 *            ENODATA    exhausted: an iterator has handed out everything, a generator has returned, a
 *                       stream has ended
 *            ENOTSUP    not on this kind of object
 *            ENOSYS     not on this system
 *            ECHILD     the worker process died while it ran the task
 *            EPERM      not yours to release
 *            EDEADLK    this wait could never end
 *            EOVERFLOW  a counter would pass its limit
 *            EMSGSIZE   what is there is larger than the buffer, and stays there; over a limit
 *            EBADMSG    what came is not what it should be
 *            EOWNERDEAD the holder did not survive fork(), or its process was killed
 *            ENOENT     nothing has that name, key or place; EEXIST: something has it
 *            EMFILE     the process's, ENFILE: the system's limit of descriptors
 *          Calls of the system's (io.h, server.h, subprocess.h) hand its errors through.
 * Threads  Every function may be called from any thread unless its header says otherwise, but none
 *          from a signal handler. None is a pthread cancellation point.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define THRUM_BEGIN_DECLS extern "C" {
#define THRUM_END_DECLS }
#else
/** Ahead of declarations that C and C++ have in common. */
#define THRUM_BEGIN_DECLS
/** Behind them. */
#define THRUM_END_DECLS
#endif

/** What the library exports. */
#define THRUM_API __attribute__((visibility("default")))
/** Whoever ignores the result has a bug, and is warned. */
#define THRUM_NODISCARD __attribute__((warn_unused_result))
/** What need not be used: functions that a macro defines. */
#define THRUM_UNUSED __attribute__((unused))
/** Aligned to `n` bytes. */
#define THRUM_ALIGNED(n) __attribute__((aligned(n)))

THRUM_BEGIN_DECLS

/** Runs everywhere: thread, task, coroutine. Returns 0 or the errno value it failed with; what it
 *  stores in `*result` is handed to whoever asks for the result. */
typedef int (*thrum_fn)(void *arg, void **result);

/** An instant: nanoseconds of CLOCK_MONOTONIC. A step of the wall clock changes nothing. */
typedef int64_t thrum_time_t;

THRUM_END_DECLS
#endif /* THRUM_BASE_H */
