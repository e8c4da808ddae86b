#ifndef THRUM_SHARED_QUEUE_H
#define THRUM_SHARED_QUEUE_H

#include <thrum/base.h>
#include <thrum/queue.h>
#include <thrum/shared.h>
#include <thrum/time.h>

THRUM_BEGIN_DECLS

/**
 * @file
 * Queues between processes: FIFO, LIFO or by rank, bounded, with task_done and join, that can be closed, and
 * that stay whole whoever is killed.
 *
 *     thrum_shared_queue_config_t config = THRUM_SHARED_QUEUE_CONFIG_INIT;
 *     config.item_size = sizeof(struct job);   // up to here an item travels in the queue itself
 *     config.capacity = 1024;
 *     int err = thrum_shared_queue_create(&q, arena, &config);
 *     ...                                      // fork: every child may use q
 *     err = thrum_shared_queue_put(q, &job, sizeof job);
 *     ...
 *     while (thrum_shared_queue_get(q, buf, sizeof buf, &size) == 0) {  // until it is closed and drained
 *         work_on(buf, size);
 *         thrum_shared_queue_task_done(q);
 *     }
 *
 * Items are byte strings of any size, copied in and out. Those of up to `item_size` bytes lie in the queue;
 * larger ones in blocks of the arena, until they are got. A queue of capacity N holds exactly N, large or small.
 * A put has copied the item when it returns: the process may end then, or be joined, whether it was got or not.
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
 * Deaths   A process may be killed at any instruction of any call. The queue then is as if the call had been
 *          made, or had not. An item whose put returned is got, once, unless the process that was killed had
 *          just taken it out; room, blocks and locks of the dead are given back, and nobody is ever told. What
 *          a dead process got and did not mark done stays unfinished. Who is only stopped is waited for:
 *          while it stands in the middle of a call, or at the door behind somebody who does, calls that need
 *          the same end of the queue wait for it, but no longer than their deadline; where that has passed, and
 *          in the try-forms, a tenth of a second, in which a process that runs is through. (A process that is
 *          stopped while it waits for items or room is in nobody's way.)
 * Ordering A put is a release, and the get that takes its item an acquire. A task_done is a release,
 *          and a join that returns 0 acquires every task_done before it.
 * Order    FIFO: linearizable. LIFO: the newest first. PRIORITY: the lowest rank first; equals leave in order
 *          of arrival.
 * Fairness None: who comes late may take an item or a place before who was woken for it.
 * Progress A lock for putters and one for getters (one for both unless FIFO), for the time of a copy. One
 *          producer and one consumer never meet on one.
 * Context  Any strand of any process that has the arena. A coroutine that waits for items or room parks itself
 *          only. The waits are cancellation points, but an item or a place that is there is taken even by a
 *          cancelled strand. Not for signal handlers.
 * Lifetime The handle belongs to a process and is copied by fork; what it stands for belongs to the arena. Other
 *          processes open a handle by the queue's offset. destroy needs that no other call is under way, in
 *          any process; the other handles then are only good to be released.
 * Fork     Parent and child share the queue.
 */

/** A process's handle of a queue; made by thrum_shared_queue_create or _open. */
typedef struct thrum_shared_queue thrum_shared_queue_t;

/** How a queue is to be. Start from THRUM_SHARED_QUEUE_CONFIG_INIT. */
typedef struct thrum_shared_queue_config {
    thrum_order_t order; /**< who leaves first */
    size_t item_size;    /**< bytes for which there is room in the queue itself */
    size_t capacity;     /**< items; > 0 */
    size_t config_size;  /**< set by THRUM_SHARED_QUEUE_CONFIG_INIT; 0: this first version */
} thrum_shared_queue_config_t;

/** The defaults: a FIFO of 1024 items, of which those up to 64 bytes lie in the queue. */
#define THRUM_SHARED_QUEUE_CONFIG_INIT                                                             \
    {                                                                                              \
        THRUM_FIFO, 64, 1024, sizeof(thrum_shared_queue_config_t)                                  \
    }

/** Makes a queue in the arena, and a handle of it; NULL for the defaults.
 *  @return 0, EINVAL (no `q`, no arena, no capacity, an order that does not exist, a config_size that is not
 *  known), or ENOMEM (the arena, or the process, has no room). */
THRUM_API int thrum_shared_queue_create(thrum_shared_queue_t **q, thrum_shared_t *arena,
                                        const thrum_shared_queue_config_t *config);

/** Makes a handle of the queue that lies at `offset` in the arena.
 *  @return 0, EINVAL (NULL, or no queue lies there), or ENOMEM. */
THRUM_API int thrum_shared_queue_open(thrum_shared_queue_t **q, thrum_shared_t *arena,
                                      uint64_t offset);

/** Where in its arena the queue lies: what other processes open it by. */
THRUM_API uint64_t thrum_shared_queue_offset(const thrum_shared_queue_t *q);

/** Gives the handle up; the queue stays. NULL: nothing. */
THRUM_API void thrum_shared_queue_release(thrum_shared_queue_t *q);

/** Gives the queue up, with what is in it, and the handle. NULL: nothing. */
THRUM_API void thrum_shared_queue_destroy(thrum_shared_queue_t *q);

/** Puts a copy of `size` bytes (0: an empty item; `data` may be NULL then), waiting while the queue is full.
 *  PRIORITY: with rank 0.
 *  @return 0, ESHUTDOWN (closed), ECANCELED, EINVAL (NULL), ENOMEM (no block for a large item, or this thread
 *  could not be registered). Whatever is not 0 has put nothing. */
THRUM_API int thrum_shared_queue_put(thrum_shared_queue_t *q, const void *data, size_t size);

/** @return 0, EAGAIN (full; or somebody who is stopped stands in the way), ESHUTDOWN, EINVAL, ENOMEM. Never
 *  waits for room, and for others' copies a tenth of a second at most. */
THRUM_API THRUM_NODISCARD int thrum_shared_queue_tryput(thrum_shared_queue_t *q, const void *data,
                                                        size_t size);

/** As thrum_shared_queue_put, or ETIMEDOUT. A place that is there is taken even if the deadline has passed: then
 *  it waits for others' copies, a tenth of a second at most. */
THRUM_API THRUM_NODISCARD int thrum_shared_queue_put_until(thrum_shared_queue_t *q,
                                                           const void *data, size_t size,
                                                           thrum_time_t deadline);

/** The same with a rank, the lowest of which leaves first. @return as those, or ENOTSUP unless PRIORITY. */
THRUM_API int thrum_shared_queue_put_ranked(thrum_shared_queue_t *q, const void *data, size_t size,
                                            int64_t rank);
/** As thrum_shared_queue_tryput, with a rank; or ENOTSUP unless PRIORITY. */
THRUM_API THRUM_NODISCARD int thrum_shared_queue_tryput_ranked(thrum_shared_queue_t *q,
                                                               const void *data, size_t size,
                                                               int64_t rank);
/** As thrum_shared_queue_put_until, with a rank; or ENOTSUP unless PRIORITY. */
THRUM_API THRUM_NODISCARD int thrum_shared_queue_put_ranked_until(thrum_shared_queue_t *q,
                                                                  const void *data, size_t size,
                                                                  int64_t rank,
                                                                  thrum_time_t deadline);

/** Takes an item out into `buf`, which has room for `capacity` bytes, waiting while the queue is empty, and
 *  stores its size in `*size` (may be NULL).
 *  @return 0, ESHUTDOWN (closed and drained, or aborted), ECANCELED, EMSGSIZE (the item is larger than
 *  `capacity`: it stays where it was, and `*size` says how large it is), EINVAL (NULL; `buf` may be NULL when
 *  `capacity` is 0), or ENOMEM. */
THRUM_API THRUM_NODISCARD int thrum_shared_queue_get(thrum_shared_queue_t *q, void *buf,
                                                     size_t capacity, size_t *size);

/** @return 0, EAGAIN (empty; or somebody who is stopped stands in the way), ESHUTDOWN, EMSGSIZE, EINVAL,
 *  ENOMEM. Never waits for an item, and for others' copies a tenth of a second at most. */
THRUM_API THRUM_NODISCARD int thrum_shared_queue_tryget(thrum_shared_queue_t *q, void *buf,
                                                        size_t capacity, size_t *size);

/** As thrum_shared_queue_get, or ETIMEDOUT. An item that is there is taken even if the deadline has passed: then
 *  it waits for others' copies, a tenth of a second at most. */
THRUM_API THRUM_NODISCARD int thrum_shared_queue_get_until(thrum_shared_queue_t *q, void *buf,
                                                           size_t capacity, size_t *size,
                                                           thrum_time_t deadline);

/** Says that the work on an item that was got is done.
 *  @return 0, or EINVAL: NULL, or called more often than items were put; nothing changed. */
THRUM_API int thrum_shared_queue_task_done(thrum_shared_queue_t *q);

/** Waits until every item that was put has been marked done: until a moment at which nothing was
 *  unfinished (a put that runs beside the last task_done may count as later).
 *  @return 0, ECANCELED, EINVAL (NULL), or ENOMEM. */
THRUM_API int thrum_shared_queue_join(thrum_shared_queue_t *q);

/** @return 0, EAGAIN (something is unfinished), or EINVAL (NULL). Never waits. */
THRUM_API THRUM_NODISCARD int thrum_shared_queue_tryjoin(thrum_shared_queue_t *q);

/** As thrum_shared_queue_join, or ETIMEDOUT. */
THRUM_API THRUM_NODISCARD int thrum_shared_queue_join_until(thrum_shared_queue_t *q,
                                                            thrum_time_t deadline);

/** No more puts; gets drain what is there. Waits for puts and gets that are under way.
 *  @return 0 (also when it was closed), EINVAL (NULL), or ENOMEM. */
THRUM_API int thrum_shared_queue_close(thrum_shared_queue_t *q);

/** Closes, and drops what is there, counted as done. @return as thrum_shared_queue_close. */
THRUM_API int thrum_shared_queue_abort(thrum_shared_queue_t *q);

/** Items in the queue at this moment. */
THRUM_API size_t thrum_shared_queue_size(const thrum_shared_queue_t *q);
/** How many it can hold. */
THRUM_API size_t thrum_shared_queue_capacity(const thrum_shared_queue_t *q);
/** Items put and not marked done, at this moment. */
THRUM_API size_t thrum_shared_queue_unfinished(const thrum_shared_queue_t *q);

/** Whether it has no items at this moment. */
THRUM_API bool thrum_shared_queue_empty(const thrum_shared_queue_t *q);
/** Whether it has no room at this moment. */
THRUM_API bool thrum_shared_queue_full(const thrum_shared_queue_t *q);

THRUM_END_DECLS
#endif /* THRUM_SHARED_QUEUE_H */
