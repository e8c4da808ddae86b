#ifndef THRUM_SELECT_H
#define THRUM_SELECT_H

#include <thrum/event.h>
#include <thrum/queue.h>
#include <thrum/semaphore.h>

THRUM_BEGIN_DECLS

/**
 * @file
 * Select: waits for one of several things, and does exactly that one.
 *
 *     struct job *job;
 *     thrum_case_t cases[] = {
 *         THRUM_CASE_GET(jobs, &job),      // 0: an item was taken out into job
 *         THRUM_CASE_EVENT(&stop),         // 1: the event is set
 *     };
 *     size_t chosen;
 *     int err = thrum_select(cases, 2, thrum_after(THRUM_S(1)), &chosen);
 *
 * What a case does when it is chosen: a get takes an item, a put puts one, a semaphore gives a permit,
 * an event is found set (it stays set), a future (future.h) has ended, a descriptor (io.h) is ready. The
 * others are left as if they had never been asked; no item, permit or wake-up meant for another is lost to
 * them.
 *
 * Errors   A closed queue is ready: the case is chosen, and select returns the queue's ESHUTDOWN.
 * Fairness Of several that are ready each is as likely to be chosen. One that becomes ready while select
 *          waits is chosen as the call on that object alone would be.
 * Ordering As the chosen call's.
 * Context  Any strand; a cancellation point, but what is ready is done even by a cancelled strand. Any
 *          number of strands may select on the same objects, on either side. The same object may stand
 *          in several cases. Cases may be on the stack; they are not kept.
 */

/** What a case is for; set by the THRUM_CASE_... initialisers. */
typedef enum {
    THRUM_CASE_KIND_NONE,   /**< never ready: a place left empty */
    THRUM_CASE_KIND_GET,    /**< an item of a queue */
    THRUM_CASE_KIND_PUT,    /**< a place in a queue */
    THRUM_CASE_KIND_EVENT,  /**< an event that is set */
    THRUM_CASE_KIND_SEM,    /**< a permit of a semaphore */
    THRUM_CASE_KIND_FUTURE, /**< future.h */
    THRUM_CASE_KIND_READ,   /**< io.h */
    THRUM_CASE_KIND_WRITE   /**< io.h */
} thrum_case_kind_t;

/** One thing to wait for. Make it by an initialiser below. */
typedef struct thrum_case {
    thrum_case_kind_t kind; /**< what is waited for */
    void *object;           /**< the queue, event, semaphore, future or descriptor */
    void *item;             /**< a get: where the item goes */
    const void *put_item;   /**< a put: the item */
} thrum_case_t;

/** Never chosen. */
#define THRUM_CASE_NONE                                                                            \
    {                                                                                              \
        THRUM_CASE_KIND_NONE, NULL, NULL, NULL                                                     \
    }

/** Takes an item out of the queue into `*where`. */
#define THRUM_CASE_GET(queue, where)                                                               \
    {                                                                                              \
        THRUM_CASE_KIND_GET, (queue), (where), NULL                                                \
    }

/** Puts `*what` into the queue. */
#define THRUM_CASE_PUT(queue, what)                                                                \
    {                                                                                              \
        THRUM_CASE_KIND_PUT, (queue), NULL, (what)                                                 \
    }

/** Waits for the event to be set. */
#define THRUM_CASE_EVENT(event)                                                                    \
    {                                                                                              \
        THRUM_CASE_KIND_EVENT, (event), NULL, NULL                                                 \
    }

/** Takes a permit of the semaphore. */
#define THRUM_CASE_SEM(sem)                                                                        \
    {                                                                                              \
        THRUM_CASE_KIND_SEM, (sem), NULL, NULL                                                     \
    }

/** Most cases of one select. */
#define THRUM_SELECT_MAX 256

/** Waits until one of `n` cases can be done, or until `deadline`, and does it. `*chosen` gets its place;
 *  it is left alone when nothing was done. A deadline in the past only looks.
 *  @return 0; ESHUTDOWN or EOWNERDEAD (the chosen queue's); ETIMEDOUT; ECANCELED; EINVAL (no cases, or only
 *  empty places; more than THRUM_SELECT_MAX; a case that is none; nothing was done); EBADF (a case's descriptor is
 *  none; nothing was done); ENOMEM (also of a put that was chosen: nothing was put). */
THRUM_API int thrum_select(thrum_case_t *cases, size_t n, thrum_time_t deadline, size_t *chosen);

/** Does one case that can be done now, or none. @return as thrum_select; EAGAIN instead of ETIMEDOUT. */
THRUM_API THRUM_NODISCARD int thrum_tryselect(thrum_case_t *cases, size_t n, size_t *chosen);

THRUM_END_DECLS
#endif /* THRUM_SELECT_H */
