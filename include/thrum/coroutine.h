#ifndef THRUM_COROUTINE_H
#define THRUM_COROUTINE_H

#include <thrum/base.h>
#include <thrum/time.h>

THRUM_BEGIN_DECLS

/**
 * @file
 * Coroutines: functions with a stack of their own that hand control to one another. As generators
 * (resume and yield), as greenlets (switch), and, on a loop (loop.h), as what threads are otherwise used
 * for.
 *
 *     static int count(void *arg, void **result)      // a generator
 *     {
 *         for (int i = 0; i < *(int *)arg; i++)
 *             thrum_coro_yield(&i);
 *         return 0;
 *     }
 *
 *     thrum_coro_t *co = NULL;
 *     void *value = NULL;
 *     int err = thrum_coro_create(&co, count, &limit, NULL);
 *     while (err == 0 && (err = thrum_coro_resume(co, NULL, &value)) == 0)
 *         printf("%d\n", *(int *)value);
 *     // err == ENODATA: it has returned
 *     thrum_coro_release(co);
 *
 * Thread   A coroutine stays on the thread that created it, so thread-locals and errno are that
 *          thread's. Another thread may cancel it, join it, ask whether it is done, and release it once
 *          it is.
 * Waits    A coroutine is a strand: every wait of the library works in it. On a loop the wait parks the
 *          coroutine and the loop runs others; without one the thread sleeps.
 * Stack    64 KiB unless configured, of which the pages that were touched take memory; below it lies a
 *          guard. Running into the guard ends the process with a message that names the coroutine.
 *          Released stacks are kept for the next coroutine.
 * Cancel   See cancel.h: once cancelled, each of its waits that would block returns ECANCELED.
 * Unwind   A suspended coroutine that is released is cancelled and resumed, so that it can end: the yield
 *          (or switch) that it was in returns NULL, and thrum_cancelled() is true. One that yields or
 *          switches again instead ends there: its deferred functions run, and its stack is dropped.
 * Lifetime A handle is one reference.
 * Fork     The child may go on with the coroutines of the thread that forked.
 */

/** A coroutine; made by thrum_coro_create or thrum_go. */
typedef struct thrum_coro thrum_coro_t;

/** How a coroutine is to be. Start from THRUM_CORO_CONFIG_INIT. */
typedef struct thrum_coro_config {
    size_t stack_size;  /**< bytes, rounded up to a power of two; 0: 64 KiB */
    const char *name;   /**< for reports, cut off after 23 bytes; NULL: "" */
    bool daemon;        /**< on a loop: the loop does not run on for it, but cancels it */
    size_t config_size; /**< set by THRUM_CORO_CONFIG_INIT; 0: this first version */
} thrum_coro_config_t;

/** The defaults. */
#define THRUM_CORO_CONFIG_INIT                                                                     \
    {                                                                                              \
        0, NULL, false, sizeof(thrum_coro_config_t)                                                \
    }

/** The smallest stack, in bytes. */
#define THRUM_CORO_STACK_MIN ((size_t)16 * 1024)
/** The largest stack, in bytes. */
#define THRUM_CORO_STACK_MAX ((size_t)256 * 1024 * 1024)

/** Makes a coroutine that will run `fn(arg, &result)` when it is first resumed or switched to.
 *  @return 0, EINVAL (NULL, a stack above THRUM_CORO_STACK_MAX, a config_size that is not known), or
 *  ENOMEM. */
THRUM_API int thrum_coro_create(thrum_coro_t **co, thrum_fn fn, void *arg,
                                const thrum_coro_config_t *config);

/** Runs it until it yields or returns. `send` is what the yield that it is in returns (the first time:
 *  nobody gets it). `*yielded` (may be NULL) gets what it yields.
 *  @return 0; ENODATA (it has returned, now or before: see thrum_coro_result); EINVAL (NULL; it runs, it is
 *  the caller, it has resumed somebody itself, it waits, it is a loop's, or another thread's; nothing
 *  happened); ENOMEM (this thread could not be registered). */
THRUM_API int thrum_coro_resume(thrum_coro_t *co, void *send, void **yielded);

/** Suspends the calling coroutine and gives `value` to whoever resumed it. One that a loop runs lets
 *  others run, as thrum_yield. Outside of coroutines: NULL at once.
 *  @return what the next resume sends; NULL when it is being unwound. */
THRUM_API void *thrum_coro_yield(void *value);

/** Suspends the caller and runs `co`: starts it, or ends the switch that it is in, which gets `send`. The
 *  caller goes on when somebody switches to it, and `*received` (may be NULL) gets what that one sent; or
 *  when a coroutine that it had started by a switch has returned, with what that left as its result.
 *  A switch to the caller itself returns at once. A coroutine of a loop that nobody switches to any more keeps its
 *  loop from ending; one made by hand whose handles are all released is unwound, unless it has started another by
 *  a switch that has not ended: then it is left.
 *  @return 0; ENODATA (it has returned); EINVAL (as resume; also: it was resumed, not switched to);
 *  ENOMEM. */
THRUM_API int thrum_coro_switch(thrum_coro_t *co, void *send, void **received);

/** The calling coroutine. In plain code of a thread: a handle of the thread itself, to be switched to by its
 *  coroutines. Borrowed: valid until that one ends. NULL: no memory. */
THRUM_API thrum_coro_t *thrum_coro_current(void);

/** Asks it to stop; see cancel.h. Any thread. @return 0, or EINVAL (NULL). */
THRUM_API int thrum_coro_cancel(thrum_coro_t *co);

/** Whether its function has returned. True is an acquire of all that it did. */
THRUM_API bool thrum_coro_done(const thrum_coro_t *co);

/** What its function returned, with its result in `*result` (may be NULL).
 *  @return that; ECANCELED also when it was unwound; EBUSY (not done); EINVAL (NULL). */
THRUM_API int thrum_coro_result(const thrum_coro_t *co, void **result);

/** Its name; "" when it has none. Valid as long as the handle. */
THRUM_API const char *thrum_coro_name(const thrum_coro_t *co);

/** How many bytes of its stack were ever in use, by itself and by those that had the stack before. */
THRUM_API size_t thrum_coro_stack_used(const thrum_coro_t *co);

/** Has `cleanup(arg)` called when the calling coroutine ends, however it ends; the last one first.
 *  Cleanups run with cancellation held back. @return 0, EINVAL (NULL, or not in a coroutine), or ENOMEM. */
THRUM_API int thrum_defer(void (*cleanup)(void *), void *arg);

/** Gives the handle back. A suspended coroutine that nobody else has a handle of is unwound first; one
 *  that a loop runs goes on. NULL: nothing. */
THRUM_API void thrum_coro_release(thrum_coro_t *co);

/** Waits until a coroutine of a loop has ended. Any strand, also of other threads; any number of them.
 *  @return what its function returned, with its result in `*result` (may be NULL); or, and then `*result`
 *  is left alone: EINVAL (NULL; a coroutine of no loop that is not done), EDEADLK (itself), ECANCELED,
 *  ENOMEM. */
THRUM_API int thrum_coro_join(thrum_coro_t *co, void **result);

/** As thrum_coro_join, or EAGAIN: it has not ended. */
THRUM_API THRUM_NODISCARD int thrum_coro_tryjoin(thrum_coro_t *co, void **result);

/** As thrum_coro_join, or ETIMEDOUT. */
THRUM_API THRUM_NODISCARD int thrum_coro_join_until(thrum_coro_t *co, void **result,
                                                    thrum_time_t deadline);

/** Joins all of them. @return 0 when all returned 0; else the status of the first in order that did not;
 *  ETIMEDOUT, ECANCELED, EINVAL, EDEADLK or ENOMEM: not all were waited for. */
THRUM_API int thrum_coro_join_all(thrum_coro_t *const *cos, size_t n, thrum_time_t deadline);

THRUM_END_DECLS
#endif /* THRUM_COROUTINE_H */
