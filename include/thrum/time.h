#ifndef THRUM_TIME_H
#define THRUM_TIME_H

#include <thrum/base.h>

THRUM_BEGIN_DECLS

/**
 * @file
 * Instants, durations and sleeping. A deadline is an absolute instant of CLOCK_MONOTONIC, so a wait
 * that is interrupted and taken up again does not grow longer:
 *
 *     thrum_time_t deadline = thrum_after(THRUM_MS(250));
 *     int err = thrum_sem_acquire_until(&slots, deadline);
 *
 * Deadlines  An instant in the past is legal everywhere: the call does what its try-form does, but
 *            says ETIMEDOUT where that says EBUSY or EAGAIN. THRUM_FOREVER never passes.
 * Context    Any strand. A sleeping strand is woken by its deadline or by its cancellation only.
 */

/** No deadline. */
#define THRUM_FOREVER INT64_MAX

/** A duration: `n` microseconds, in nanoseconds. */
#define THRUM_US(n) (INT64_C(1000) * (int64_t)(n))
/** A duration: `n` milliseconds, in nanoseconds. */
#define THRUM_MS(n) (INT64_C(1000000) * (int64_t)(n))
/** A duration: `n` seconds, in nanoseconds. */
#define THRUM_S(n) (INT64_C(1000000000) * (int64_t)(n))

/** The present instant. About 20 ns: a clock read, no system call. */
THRUM_API thrum_time_t thrum_now(void);

/** The instant `nanoseconds` from now; saturates at THRUM_FOREVER. A negative duration gives an
 *  instant in the past. */
THRUM_API thrum_time_t thrum_after(int64_t nanoseconds);

/** Suspends the calling strand for at least `nanoseconds`. 0 returns at once.
 *  @return 0, EINVAL (a negative duration), ECANCELED, or ENOMEM. */
THRUM_API int thrum_sleep(int64_t nanoseconds);

/** Suspends the calling strand until `deadline`; one in the past returns at once.
 *  @return 0, ECANCELED, or ENOMEM. */
THRUM_API int thrum_sleep_until(thrum_time_t deadline);

THRUM_END_DECLS
#endif /* THRUM_TIME_H */
