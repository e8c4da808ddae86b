#ifndef THRUM_QUEUE_H
#define THRUM_QUEUE_H

#include <thrum/base.h>
#include <thrum/time.h>

THRUM_BEGIN_DECLS

/**
 * @file
 * Queues: FIFO, LIFO or by priority, bounded or not, with task_done and join, that can be closed.
 *
 *     THRUM_QUEUE_DEFINE(jobs, struct job *)
 *
 *     thrum_queue_t *q = NULL;
 *     int err = jobs_create(&q, THRUM_FIFO, 1024);
 *     ...
 *     err = jobs_put(q, job);              // any strand; waits while it is full
 *     ...
 *     while (jobs_get(q, &job) == 0) {     // until it is closed and drained
 *         work_on(job);
 *         thrum_queue_task_done(q);
 *     }
 *
 * Items are copied in and out; the queue never looks into them (but for `compare`). A bounded queue of
 * capacity N holds exactly N.
 *
 * States   Each call does what the row of the queue's state says. "Waits" is what the plain form does;
 *          the try-form says EAGAIN there, and the form with a deadline ETIMEDOUT once that has passed.
 *
 *          |               | open                      | closed, items left | closed, empty | aborted    |
 *          | ------------- | ------------------------- | ------------------ | ------------- | ---------- |
 *          | put           | 0; full: waits            | ESHUTDOWN          | ESHUTDOWN     | ESHUTDOWN  |
 *          | get           | 0; empty: waits           | 0                  | ESHUTDOWN     | ESHUTDOWN  |
 *          | task_done     | 0; nothing unfinished: EINVAL, in every state                              |||||
 *          | join          | 0 when nothing is unfinished, else waits, in every state                   |||||
 *          | close         | 0                         | 0                  | 0             | 0          |
 *          | abort         | 0                         | 0                  | 0             | 0          |
 *
 *          Whoever waits when the state changes is woken and does what the new row says. An abort drops
 *          what is in the queue and counts it as done, so a join then waits only for items that were
 *          got and are still being worked on.
 * Ordering A put is a release, and the get that takes its item an acquire. A task_done is a release,
 *          and a join that returns 0 acquires every task_done before it. Closing and aborting are releases,
 *          and an ESHUTDOWN acquires them.
 * Order    FIFO: linearizable, so what one strand puts leaves in the order in which it put it. LIFO: the
 *          newest first. PRIORITY: the first by `compare`; equals leave in order of arrival.
 * Fairness Waiters are woken in order of arrival, but a caller that comes late may take an item or a
 *          place before the woken one runs. For other threads a coroutine has arrived once those have run that
 *          were ready in its loop.
 * Progress FIFO: no lock while it is neither full nor empty (but for once in a segment of an unbounded
 *          one). A put or get that finds its neighbour of
 *          the ring interrupted in the middle of copying an item lets that one run on first. LIFO and
 *          PRIORITY: a mutex for the time of one operation.
 * Cost     FIFO: a put and a get are one compare-and-swap and one copy each. PRIORITY: the logarithm of
 *          the size to base 4. Nobody asked for a descriptor: it costs nothing.
 * Memory   Bounded: all at create; afterwards ENOMEM can only come from a thread that could not be
 *          registered, before anything was done. Unbounded: grows, and gives memory back when drained. An item
 *          of a FIFO takes its size and 8 bytes (4 for items up to 4 bytes), rounded up to a multiple of that;
 *          an unbounded one begins with room for 256.
 * Context  Any strand. The waits are cancellation points, but an item or a place that is there is taken
 *          even by a cancelled strand. Closing, aborting and task_done never wait for items or room. Not
 *          for signal handlers.
 * Lifetime destroy needs that no other call is under way, with two exceptions: who got the last item of a
 *          put, and who returned from a join, may destroy the queue even while the put, the task_done or the
 *          abort that let it go is still on its way out.
 * Fork     The child has a copy of the items and no waiters. If a strand of the parent was in the middle
 *          of a put or get, the child's calls that meet its place say EOWNERDEAD. The descriptor stays the
 *          parent's: a child that wants one asks for its own.
 */

/** A queue; made by thrum_queue_create. */
typedef struct thrum_queue thrum_queue_t;

/** Who leaves first. */
typedef enum {
    THRUM_FIFO,    /**< the oldest */
    THRUM_LIFO,    /**< the newest */
    THRUM_PRIORITY /**< who comes first by `compare` or rank; of equal ones, the oldest */
} thrum_order_t;

/** How a queue is to be. Start from THRUM_QUEUE_CONFIG_INIT. */
typedef struct thrum_queue_config {
    thrum_order_t order; /**< who leaves first; THRUM_FIFO unless told otherwise */
    size_t item_size;    /**< bytes, copied in and out; > 0 */
    size_t capacity;     /**< items; 0: unbounded */
    /** PRIORITY: < 0 when `a` leaves before `b`, 0 when they are equal. It is called with the queue's
     *  mutex held: it must not use the queue. */
    int (*compare)(const void *a, const void *b, void *ctx);
    void *compare_ctx;  /**< handed to compare */
    size_t config_size; /**< set by THRUM_QUEUE_CONFIG_INIT; 0: this first version */
} thrum_queue_config_t;

/** The defaults: an unbounded FIFO of pointers. */
#define THRUM_QUEUE_CONFIG_INIT                                                                    \
    {                                                                                              \
        THRUM_FIFO, sizeof(void *), 0, NULL, NULL, sizeof(thrum_queue_config_t)                    \
    }

/** Makes a queue; NULL for the defaults.
 *  @return 0, EINVAL (no `q`, no item size, an order that does not exist, PRIORITY without compare, a
 *  config_size that is not known), or ENOMEM. */
THRUM_API int thrum_queue_create(thrum_queue_t **q, const thrum_queue_config_t *config);

/** Gives the queue up, with what is in it. NULL: nothing. */
THRUM_API void thrum_queue_destroy(thrum_queue_t *q);

/** Puts a copy of an item, waiting while the queue is full.
 *  @return 0, ESHUTDOWN (closed), ECANCELED, EINVAL (NULL), ENOMEM, or EOWNERDEAD. Whatever is not 0
 *  has put nothing. */
THRUM_API int thrum_queue_put(thrum_queue_t *q, const void *item);

/** @return 0, EAGAIN (full), ESHUTDOWN, EINVAL (NULL), ENOMEM, or EOWNERDEAD. Never waits for room. */
THRUM_API THRUM_NODISCARD int thrum_queue_tryput(thrum_queue_t *q, const void *item);

/** As thrum_queue_put, or ETIMEDOUT. A place that is there is taken even if the deadline has passed. */
THRUM_API THRUM_NODISCARD int thrum_queue_put_until(thrum_queue_t *q, const void *item,
                                                    thrum_time_t deadline);

/** Takes an item out into `*item`, waiting while the queue is empty.
 *  @return 0, ESHUTDOWN (closed and drained, or aborted), ECANCELED, EINVAL (NULL), ENOMEM, or
 *  EOWNERDEAD. */
THRUM_API THRUM_NODISCARD int thrum_queue_get(thrum_queue_t *q, void *item);

/** @return 0, EAGAIN (empty), ESHUTDOWN, EINVAL (NULL), ENOMEM, or EOWNERDEAD. Never waits for an item. */
THRUM_API THRUM_NODISCARD int thrum_queue_tryget(thrum_queue_t *q, void *item);

/** As thrum_queue_get, or ETIMEDOUT. An item that is there is taken even if the deadline has passed. */
THRUM_API THRUM_NODISCARD int thrum_queue_get_until(thrum_queue_t *q, void *item,
                                                    thrum_time_t deadline);

/** Puts `n` items from an array, waiting for room as often as it takes, and stores in `*done` how many
 *  were put, always the first ones. Those that are put by one reservation stay together: nobody's items
 *  come in between. A reservation takes all the places that are free in a row. n 0 does nothing.
 *  @return 0 (all), or, with `*done` < n, the errors of thrum_queue_put_until. */
THRUM_API int thrum_queue_put_many(thrum_queue_t *q, const void *items, size_t n, size_t *done,
                                   thrum_time_t deadline);

/** Takes up to `n` items into an array: waits until there is one, takes what is there, and stores in
 *  `*done` how many. n 0 does nothing.
 *  @return 0 (`*done` > 0), or, with `*done` 0, the errors of thrum_queue_get_until. */
THRUM_API THRUM_NODISCARD int thrum_queue_get_many(thrum_queue_t *q, void *items, size_t n,
                                                   size_t *done, thrum_time_t deadline);

/** Says that the work on an item that was got is done.
 *  @return 0, or EINVAL: NULL, or called more often than items were put; nothing changed. */
THRUM_API int thrum_queue_task_done(thrum_queue_t *q);

/** Waits until every item that was put has been marked done: until a moment at which nothing was
 *  unfinished (a put that runs beside the last task_done may count as later).
 *  @return 0, ECANCELED, EINVAL (NULL), or ENOMEM. */
THRUM_API int thrum_queue_join(thrum_queue_t *q);

/** @return 0, EAGAIN (something is unfinished), or EINVAL (NULL). Never waits. */
THRUM_API THRUM_NODISCARD int thrum_queue_tryjoin(thrum_queue_t *q);

/** As thrum_queue_join, or ETIMEDOUT. */
THRUM_API THRUM_NODISCARD int thrum_queue_join_until(thrum_queue_t *q, thrum_time_t deadline);

/** No more puts; gets drain what is there.
 *  @return 0 (also when it was closed), EINVAL (NULL), ENOMEM, or EOWNERDEAD. */
THRUM_API int thrum_queue_close(thrum_queue_t *q);

/** Closes, and drops what is there, counted as done. @return as thrum_queue_close. */
THRUM_API int thrum_queue_abort(thrum_queue_t *q);

/** Items in the queue at this moment. */
THRUM_API size_t thrum_queue_size(const thrum_queue_t *q);

/** How many it can hold; 0: unbounded. */
THRUM_API size_t thrum_queue_capacity(const thrum_queue_t *q);

/** Items put and not marked done, at this moment. */
THRUM_API size_t thrum_queue_unfinished(const thrum_queue_t *q);

/** Whether it has no items at this moment. */
THRUM_API bool thrum_queue_empty(const thrum_queue_t *q);
/** Whether it has no room at this moment. (An unbounded one always has.) */
THRUM_API bool thrum_queue_full(const thrum_queue_t *q);

/** Stores a descriptor that is readable while the queue has items or is closed, to be polled by a
 *  foreign event loop, which then calls tryget until EAGAIN or ESHUTDOWN. Poll it; do not read, write
 *  or close it: it belongs to the queue and ends with it. From the first call on, gets and puts that
 *  find the queue empty or leave it so make a system call.
 *  @return 0, EINVAL (NULL), ENOMEM, EOWNERDEAD, EMFILE, ENFILE, or ENOSYS (not on this system). */
THRUM_API int thrum_queue_fd(thrum_queue_t *q, int *fd);

/** Defines inline functions for a queue of one type, with no casts: name_create(&q, order, capacity),
 *  name_put(q, value), name_get(q, &value) and their try- and until-forms, name_put_many and
 *  name_get_many; name_create_with(&q, order, capacity, compare, ctx) for PRIORITY. The queue is an
 *  ordinary one: every other call works on it. */
/* NOLINTBEGIN(bugprone-macro-parentheses): a type cannot have them */
#define THRUM_QUEUE_DEFINE(name, type)                                                             \
    THRUM_UNUSED static inline int name##_create_with(                                             \
        thrum_queue_t **q, thrum_order_t order, size_t capacity,                                   \
        int (*compare)(const void *a, const void *b, void *ctx), void *compare_ctx)                \
    {                                                                                              \
        const thrum_queue_config_t config = {order,   sizeof(type), capacity,                      \
                                             compare, compare_ctx,  sizeof(thrum_queue_config_t)}; \
        return thrum_queue_create(q, &config);                                                     \
    }                                                                                              \
    THRUM_UNUSED static inline int name##_create(thrum_queue_t **q, thrum_order_t order,           \
                                                 size_t capacity)                                  \
    {                                                                                              \
        return name##_create_with(q, order, capacity, NULL, NULL);                                 \
    }                                                                                              \
    THRUM_UNUSED static inline int name##_put(thrum_queue_t *q, type value)                        \
    {                                                                                              \
        return thrum_queue_put(q, &value);                                                         \
    }                                                                                              \
    THRUM_UNUSED static inline THRUM_NODISCARD int name##_tryput(thrum_queue_t *q, type value)     \
    {                                                                                              \
        return thrum_queue_tryput(q, &value);                                                      \
    }                                                                                              \
    THRUM_UNUSED static inline THRUM_NODISCARD int name##_put_until(thrum_queue_t *q, type value,  \
                                                                    thrum_time_t deadline)         \
    {                                                                                              \
        return thrum_queue_put_until(q, &value, deadline);                                         \
    }                                                                                              \
    THRUM_UNUSED static inline THRUM_NODISCARD int name##_get(thrum_queue_t *q, type *value)       \
    {                                                                                              \
        return thrum_queue_get(q, value);                                                          \
    }                                                                                              \
    THRUM_UNUSED static inline THRUM_NODISCARD int name##_tryget(thrum_queue_t *q, type *value)    \
    {                                                                                              \
        return thrum_queue_tryget(q, value);                                                       \
    }                                                                                              \
    THRUM_UNUSED static inline THRUM_NODISCARD int name##_get_until(thrum_queue_t *q, type *value, \
                                                                    thrum_time_t deadline)         \
    {                                                                                              \
        return thrum_queue_get_until(q, value, deadline);                                          \
    }                                                                                              \
    THRUM_UNUSED static inline int name##_put_many(thrum_queue_t *q, type const *values, size_t n, \
                                                   size_t *done, thrum_time_t deadline)            \
    {                                                                                              \
        return thrum_queue_put_many(q, values, n, done, deadline);                                 \
    }                                                                                              \
    THRUM_UNUSED static inline THRUM_NODISCARD int name##_get_many(                                \
        thrum_queue_t *q, type *values, size_t n, size_t *done, thrum_time_t deadline)             \
    {                                                                                              \
        return thrum_queue_get_many(q, values, n, done, deadline);                                 \
    }
/* NOLINTEND(bugprone-macro-parentheses) */

THRUM_END_DECLS
#endif /* THRUM_QUEUE_H */
