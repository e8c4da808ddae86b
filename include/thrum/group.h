#ifndef THRUM_GROUP_H
#define THRUM_GROUP_H

#include <thrum/cancel.h>
#include <thrum/executor.h>

THRUM_BEGIN_DECLS

/**
 * @file
 * Groups: tasks that live and end together (structured concurrency), and loops in parallel.
 *
 *     thrum_group_t g = THRUM_GROUP_INIT(pool);
 *     thrum_group_spawn(&g, left, &tree->left);
 *     thrum_group_spawn(&g, right, &tree->right);
 *     int err = thrum_group_wait(&g);          // both have ended; the first error
 *
 * Nothing outlives the group: a wait returns only when every task has ended. The first task that
 * fails cancels the others: those that have not started never run, in those that run thrum_cancelled() is
 * true and every wait returns ECANCELED. Cleanup is shielded with thrum_shield.
 *
 * Context  The strand that first spawns into a group, or waits for it, has made it. Spawning: that strand, and
 *          the group's tasks. Waiting: that strand. In a task of the pool a wait runs the group's own tasks, and
 *          nothing else, on its stack. With a deadline it does so only before it has passed, and when the pool
 *          has no spare worker left that could run them; while one runs there, nobody looks at the deadline.
 * Ordering A spawn is a release and the task's start an acquire; the end of a task a release and the wait
 *          that returns an acquire.
 * Lifetime The strand that made it may free it when a wait has returned and no spawn followed. It can then
 *          also be used again, by any strand, which makes it anew; but for one that was cancelled or in which a
 *          task failed.
 * Fork     What the parent's workers had taken never ends in the child: do not wait there.
 */

/** A group. The size is ABI, the meaning of the members is not. */
typedef struct thrum_group {
    thrum_executor_t *thrum_executor;
    void *thrum_maker;
    int64_t thrum_open;
    THRUM_ALIGNED(8) int64_t thrum_open_elsewhere;
    thrum_scope_t thrum_scope;
    uint32_t thrum_error;
} thrum_group_t;

/** Static initialiser: a group whose tasks run on `executor`. */
#define THRUM_GROUP_INIT(executor)                                                                 \
    {                                                                                              \
        (executor), NULL, 0, 0, {0, NULL}, 0                                                       \
    }

/** Makes `g` a group whose tasks run on `executor`. @return 0, or EINVAL (NULL). */
THRUM_API int thrum_group_init(thrum_group_t *g, thrum_executor_t *executor);

/** Has fn(arg, ...) run in the group; its result is dropped, its error is the group's.
 *  @return 0, ECANCELED (the group is cancelled: it will not run), EINVAL (NULL), or as
 *  thrum_executor_submit. */
THRUM_API int thrum_group_spawn(thrum_group_t *g, thrum_fn fn, void *arg);

/** Waits until every task has ended. When the caller is cancelled, so is the group.
 *  @return 0, the error of the task that failed first, or ECANCELED (the group was cancelled before any
 *  task failed), or EINVAL (NULL, or not the strand that made it). */
THRUM_API int thrum_group_wait(thrum_group_t *g);

/** The same, but at `deadline` cancels what has not ended, and waits for that: ETIMEDOUT. */
THRUM_API int thrum_group_wait_until(thrum_group_t *g, thrum_time_t deadline);

/** Cancels the group: tasks that have not started never run, the others are asked to stop. Any strand. */
THRUM_API void thrum_group_cancel(thrum_group_t *g);

/** Whether it was cancelled, a task has failed, or the maker is cancelled. For the strand that made it, and the
 *  group's tasks. */
THRUM_API bool thrum_group_cancelled(const thrum_group_t *g);

/** Calls fn for [begin, end) in pieces of `grain` (0: chosen), on the executor's workers and on the calling
 *  strand, and waits. After an error no further piece begins. No cancellation point; an executor that takes
 *  nothing leaves all of it to the caller. @return 0, the first error, ENOTSUP (a process pool), or EINVAL (NULL,
 *  begin above end). */
THRUM_API int thrum_parallel_for(thrum_executor_t *ex, size_t begin, size_t end, size_t grain,
                                 int (*fn)(size_t begin, size_t end, void *arg), void *arg);

THRUM_END_DECLS
#endif /* THRUM_GROUP_H */
