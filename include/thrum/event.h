#ifndef THRUM_EVENT_H
#define THRUM_EVENT_H

#include <thrum/base.h>
#include <thrum/time.h>

THRUM_BEGIN_DECLS

/**
 * @file
 * Event: a flag that strands wait for. Set lets everyone pass until it is cleared.
 *
 *     static thrum_event_t green = THRUM_EVENT_INIT;
 *
 *     thrum_event_wait(&green);       // every car
 *     thrum_event_set(&green);        // the light
 *
 * Ordering   Set is a release; a wait that returns 0 and an is_set that returns true are acquires.
 * Fairness   Everyone who was waiting when it was set is let go, even if it is cleared at once.
 * Context    Any strand. The waits are cancellation points. Set and clear never wait.
 * Lifetime   Holds no resources. A strand that a set has let go may free the event at once.
 * Fork       The flag is copied; waiters of the parent do not exist in the child.
 */

/** An event. The size is ABI, the meaning of the member is not. */
typedef struct thrum_event {
    uint32_t thrum_word;
} thrum_event_t;

/** Static initialiser; all-zero memory is a valid event that is not set. */
#define THRUM_EVENT_INIT                                                                           \
    {                                                                                              \
        0                                                                                          \
    }

/** Makes `e` an event that is not set. @return 0, or EINVAL (NULL). */
THRUM_API int thrum_event_init(thrum_event_t *e);

/** Sets the flag and lets every waiter go. Setting it again changes nothing. */
THRUM_API void thrum_event_set(thrum_event_t *e);

/** Clears the flag; later waits wait. */
THRUM_API void thrum_event_clear(thrum_event_t *e);

/** Whether the flag is set at this moment. */
THRUM_API bool thrum_event_is_set(const thrum_event_t *e);

/** Waits until the flag is set. @return 0, ECANCELED, EINVAL (NULL), or ENOMEM. */
THRUM_API int thrum_event_wait(thrum_event_t *e);

/** @return 0 (it is set), EAGAIN (it is not), or EINVAL (NULL). Never waits. */
THRUM_API THRUM_NODISCARD int thrum_event_trywait(thrum_event_t *e);

/** Waits until the flag is set or `deadline` has passed.
 *  @return 0, ETIMEDOUT, or as thrum_event_wait. */
THRUM_API THRUM_NODISCARD int thrum_event_wait_until(thrum_event_t *e, thrum_time_t deadline);

THRUM_END_DECLS
#endif /* THRUM_EVENT_H */
