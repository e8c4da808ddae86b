#ifndef THI_TASK_H
#define THI_TASK_H

/*
 * The door of lib/task: futures, what an executor is, groups. It knows no pool: an executor is a table of
 * functions.
 */
#include <thrum/executor.h>
#include <thrum/future.h>
#include <thrum/group.h>

#include "strand/strand.h"

/* ================================================================================================
 * Tasks
 *
 * A task is passed by value: what to call, and whose it is. Nothing is allocated for one that nobody
 * asks for.
 */
typedef struct thi_task {
    thrum_fn fn;
    void *arg;
    uintptr_t owner; /* THI_OWNER_...: 0, a future or a group */
    int64_t cost;
} thi_task_t;

#define THI_OWNER_GROUP 1u /* the lowest bit; else it is a future */

static inline thrum_future_t *thi_task_future(const thi_task_t *task)
{
    return (task->owner & THI_OWNER_GROUP) != 0 ? NULL : (thrum_future_t *)task->owner;
}

static inline thrum_group_t *thi_task_group(const thi_task_t *task)
{
    return (task->owner & THI_OWNER_GROUP) == 0 ? NULL
                                                : (thrum_group_t *)(task->owner - THI_OWNER_GROUP);
}

/* What became of a task. */
typedef enum { THI_COMPLETED, THI_FAILED, THI_CANCELLED, THI_TAKEN } thi_outcome_t;

/* Runs a task on the calling strand and ends whatever it belongs to. THI_CANCELLED: it had been cancelled
 * before. THI_TAKEN: somebody else runs or ran it, who has counted it. */
thi_outcome_t thi_task_run(const thi_task_t *task, thi_strand_t *self);

/* What a strand is in the midst of when it runs a task that is none of its own: its shields, and the scope that it
 * is cancelled with, are not for that task. */
typedef struct thi_midst {
    const thi_scope_t *scope;
    uint32_t shields;
} thi_midst_t;

thi_midst_t thi_midst_leave(thi_strand_t *self);
void thi_midst_return(thi_strand_t *self, thi_midst_t midst);

/* Ends it without running it: with ECANCELED it is cancelled, with another error it has failed. Returns
 * THI_CANCELLED, THI_FAILED or THI_TAKEN. */
thi_outcome_t thi_task_end(const thi_task_t *task, int error);

/* Where the reply of a byte task lies. `grow` gives memory for a larger one (NULL: there is none); `drop` takes
 * back what it gave before. */
struct thrum_reply_place {
    unsigned char *reply;
    size_t size;
    size_t room;
    unsigned char *(*grow)(struct thrum_reply_place *place, size_t size, size_t *room);
    void (*drop)(struct thrum_reply_place *place);
};

/* A task of the group has ended somewhere else, with that status. The group may be gone afterwards. */
void thi_group_end(thrum_group_t *g, int error);

/* ================================================================================================
 * Executors
 */
#define THI_AS_MADE INT64_MIN /* instead of a deadline: when full, as the executor was made to do */

/* The arguments of thrum_executor_map, checked. */
typedef struct thi_map {
    thrum_fn fn;
    void **args;
    void **results;
    int *status;
    size_t n;
    size_t chunk; /* 0: to be chosen */
} thi_map_t;

typedef struct thi_executor_kind {
    /* Takes the task over, or runs it in the caller: 0. ESHUTDOWN, EPIPE, EAGAIN, ETIMEDOUT, ECANCELED,
     * ENOMEM: nothing happened. */
    int (*submit)(thrum_executor_t *ex, const thi_task_t *task, thrum_time_t deadline);

    /* Takes a task of a group from a strand that made the group or runs in it. As submit. */
    int (*spawn)(thrum_executor_t *ex, const thi_task_t *task);

    /* Runs on the calling strand a task of the group, if the strand itself keeps one for the executor. Has to
     * find it whatever else it keeps: nobody else may be there to run it. False: it keeps none, or is none of
     * the executor's workers. */
    bool (*help)(thrum_executor_t *ex, const thrum_group_t *group);

    /* Whether a worker that sleeps in a task leaves somebody behind who can run what it waits for, for certain:
     * then it need not do that itself. Called by a worker of the executor. */
    bool (*covered)(thrum_executor_t *ex);

    /* A worker that waited for a task has run it. */
    void (*count)(thrum_executor_t *ex, thi_outcome_t outcome);

    /* Wakes workers that sleep in a task: a scope has been cancelled. */
    void (*rouse)(thrum_executor_t *ex);

    /* Its memory stays, also after destroy, until this is given back. A submit then says ESHUTDOWN. */
    void (*retain)(thrum_executor_t *ex);
    void (*release)(thrum_executor_t *ex);

    /* Its tasks run in other processes: none may be a function of the library's own, with this one's memory. */
    bool foreign;

    unsigned flags; /* of a shutdown, beyond those that all executors know */

    /* NULL: by tasks that share the work out among themselves. */
    int (*map)(thrum_executor_t *ex, const thi_map_t *map, thrum_time_t deadline);

    size_t (*width)(const thrum_executor_t *ex); /* how many tasks can run at a time */
    int (*shutdown)(thrum_executor_t *ex, unsigned flags, thrum_time_t deadline);
    void (*destroy)(thrum_executor_t *ex);
    void (*stats)(thrum_executor_t *ex, thrum_executor_stats_t *stats);

    /* NULL: byte tasks are run like others, in this process. */
    int (*submit_bytes)(thrum_executor_t *ex, thrum_bytes_fn fn, const void *in, size_t size,
                        thrum_future_t **f);
} thi_executor_kind_t;

/* The head of every executor. Its workers have it as their strand's `home`. */
struct thrum_executor {
    const thi_executor_kind_t *kind;
};

/* For a destroy: shuts it down and waits for `gone`, which a shutdown waits for, whatever keeps the caller from it. */
void thi_executor_finish(thrum_executor_t *ex, thrum_event_t *gone);

/* ================================================================================================
 * Futures
 */

/* A pending future of a task, with two references: the executor's and the caller's. NULL: no memory. */
thrum_future_t *thi_future_of_task(thrum_executor_t *ex, thrum_fn fn, void *arg);

/* Whether a worker whose wait has that deadline may run what it waits for on its own stack: while it does, nobody
 * looks at the deadline, and what it runs may itself wait for something that the worker was to do next. So with a
 * deadline only where nobody else can. */
bool thi_help_in_time(const thi_strand_t *self, thrum_time_t deadline);

/* What a future is of that runs in another process. Its executor alone starts, ends and cancels it; `remote` is
 * released with the future. Each but release is called with a reference to the future. */
typedef struct thi_remote {
    const struct thi_remote_kind *kind;
} thi_remote_t;

struct thi_remote_bell;
typedef struct thi_remote_kind {
    bool (*cancel)(thi_remote_t *remote); /* true: it is cancelled, now or before */
    bool (*running)(thi_remote_t *remote);
    int (*kill)(thi_remote_t *remote);
    int (*cause)(thi_remote_t *remote, int *signal, int *exit_code);
    int (*bytes)(thi_remote_t *remote, const void **data, size_t *size); /* it has ended */

    /* A strand waits for it, from attend to leave, and looks for what has come meanwhile. `bell`, with one_more
     * of its own, says what may wake it; false: it need not listen. */
    void (*attend)(thi_remote_t *remote);
    void (*look)(thi_remote_t *remote);
    bool (*bell)(thi_remote_t *remote, struct thi_remote_bell *bell);
    void (*leave)(thi_remote_t *remote, struct thi_remote_bell *bell);
    void (*release)(thi_remote_t *remote);
} thi_remote_kind_t;

struct thi_remote_bell {
    thi_bell_t bell;
    thi_remote_t *remote;
};

void thi_future_set_remote(thrum_future_t *f, thi_remote_t *remote);

/* Ends it; who waits is woken. The callbacks are the caller's to call, with the future retained until then, if
 * there are any. */
struct thi_callback *thi_future_finish_apart(thrum_future_t *f, int error, void *value);
void thi_callbacks_call(struct thi_callback *list);
void thi_callbacks_append(struct thi_callback **first, struct thi_callback **last,
                          struct thi_callback *more);

/* Pending to cancelled, and calls the callbacks. */
bool thi_future_cancel(thrum_future_t *f);
struct thi_callback *thi_future_cancel_apart(thrum_future_t *f); /* leaves them to the caller */

/* Was never handed out. */
void thi_future_discard(thrum_future_t *f);

/* ================================================================================================
 * Memory of one size, from a cache of the thread's
 */
#define THI_BLOCK 112u
void *thi_block_take(void); /* not zeroed; NULL: no memory */
void thi_block_give(void *memory);

#endif /* THI_TASK_H */
