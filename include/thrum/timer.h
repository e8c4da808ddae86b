#ifndef THRUM_TIMER_H
#define THRUM_TIMER_H

#include <thrum/base.h>
#include <thrum/time.h>

THRUM_BEGIN_DECLS

/**
 * @file
 * Timers: a function that runs once after a delay, or again and again.
 *
 *     static void beat(thrum_timer_t *t, void *arg);
 *
 *     thrum_timer_t *t = NULL;
 *     int err = thrum_timer_create(&t, beat, &heart);
 *     if (err == 0)
 *         err = thrum_timer_start_periodic(t, 0, THRUM_MS(100));
 *     ...
 *     thrum_timer_cancel_wait(t, NULL);    // beat does not run, and will not
 *     thrum_timer_release(t);
 *
 * Service  One thread of the library runs the functions of all timers, in the order in which they are
 *          due, one at a time. So a function should be short: hand long work to somebody else. The
 *          thread is started with the first timer, uses no processor time while nothing is due, and
 *          does not keep the process alive. Functions run with cancellation held back, in a thread
 *          that blocks asynchronous signals.
 * Time     Of the monotonic clock; never early. A period is kept from the first run on, however late a
 *          run begins: the times do not drift. Runs whose time passes while the function still runs, or
 *          the machine is too slow, are skipped and counted.
 * Ordering A start is a release that the function acquires. A function's end is a release, and a
 *          cancel_wait that returns 0 an acquire.
 * Context  Any strand, the functions included; only cancel_wait waits.
 * Lifetime The handle is one reference. A timer that is scheduled when it is released lives on until it
 *          is over: a single run has been, or the function has cancelled it. A function may release
 *          its own timer.
 * Fork     The child's copies of the parent's timers are not scheduled and not running; they may be
 *          started anew. In a child that a function has forked, that function goes on.
 */

/** A timer; made by thrum_timer_create. */
typedef struct thrum_timer thrum_timer_t;

/** What a timer runs: itself, and what it was made with. */
typedef void (*thrum_timer_fn)(thrum_timer_t *t, void *arg);

/** Makes a timer that is not scheduled. @return 0, EINVAL (NULL), or ENOMEM. */
THRUM_API int thrum_timer_create(thrum_timer_t **t, thrum_timer_fn fn, void *arg);

/** Schedules one run, `delay` nanoseconds from now.
 *  @return 0, EINVAL (NULL, or a negative delay), EBUSY (it is scheduled), or ENOMEM (the service could
 *  not be started; nothing changed). */
THRUM_API int thrum_timer_start(thrum_timer_t *t, int64_t delay);

/** Schedules runs `delay`, delay + period, delay + 2 periods... from now.
 *  @return as thrum_timer_start; EINVAL also when the period is not positive. */
THRUM_API int thrum_timer_start_periodic(thrum_timer_t *t, int64_t delay, int64_t period);

/** Schedules the next run for `delay` nanoseconds from now, whether or not the timer is scheduled; it
 *  keeps the period that it was last started with. From its own function: the run after this one.
 *  @return 0, EINVAL (NULL, or a negative delay), or ENOMEM. */
THRUM_API int thrum_timer_reschedule(thrum_timer_t *t, int64_t delay);

/** Calls off the runs to come. One that has begun goes on: the function may still be running when this
 *  returns. @return whether there was a run to be called off. */
THRUM_API bool thrum_timer_cancel(thrum_timer_t *t);

/** The same, and waits until the function does not run: it may be freed what that uses. Runs that the
 *  function schedules meanwhile are called off, too. `prevented` (may be NULL) is told, always, whether
 *  there was a run to be called off.
 *  @return 0, EDEADLK (called by the timer's own function; the runs to come are called off), EINVAL
 *  (NULL), ECANCELED, or ENOMEM. */
THRUM_API int thrum_timer_cancel_wait(thrum_timer_t *t, bool *prevented);

/** As thrum_timer_cancel_wait, or ETIMEDOUT: it is called off, but the function still runs. */
THRUM_API THRUM_NODISCARD int thrum_timer_cancel_wait_until(thrum_timer_t *t, bool *prevented,
                                                            thrum_time_t deadline);

/** Whether there is a run to come. */
THRUM_API bool thrum_timer_scheduled(const thrum_timer_t *t);

/** How many runs have begun since it was made. */
THRUM_API uint64_t thrum_timer_runs(const thrum_timer_t *t);
/** How many runs were skipped since it was made; see Time. */
THRUM_API uint64_t thrum_timer_skipped(const thrum_timer_t *t);

/** Gives the handle back; see Lifetime. NULL: nothing. */
THRUM_API void thrum_timer_release(thrum_timer_t *t);

THRUM_END_DECLS
#endif /* THRUM_TIMER_H */
