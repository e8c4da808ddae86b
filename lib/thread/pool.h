#ifndef THI_POOL_H
#define THI_POOL_H

/*
 * What the files of the thread pool share.
 *
 *   pool.c     making, submitting, statistics, the end
 *   worker.c   a worker's life: finding tasks, sleeping
 *   standin.c  spare workers, for when all others wait
 *   deque.c    a worker's own tasks
 */
#include <thrum/event.h>
#include <thrum/thread_pool.h>

#include "queue/queue.h"
#include "thread/deque.h"

struct thi_pool;

typedef struct thi_worker {
    thi_deque_t deque;

    /* The worker's own; read by others for statistics. */
    THRUM_ALIGNED(2 * THI_CACHE_LINE) struct thi_pool *pool;
    thi_strand_t *strand; /* NULL before it runs and after */
    uint32_t index;
    bool spare;
    bool in_task;    /* a sleep is the task's, not its own */
    bool searches;   /* it has the pool's token for that */
    uint32_t sleeps; /* it tells that it sleeps, so many times one inside the other; counted once */
    uint32_t draw;
    uint64_t completed;
    uint64_t failed;
    uint64_t cancelled;
    uint32_t depth; /* tasks on its stack */

    thi_start_t start;
    bool started;
    uint32_t called; /* spare: it is to stand in */
} thi_worker_t;

typedef struct thi_pool {
    struct thrum_executor base;
    /* Constant. */
    thrum_thread_pool_config_t config;
    size_t workers;
    size_t slots;         /* workers and spare ones */
    thrum_queue_t *queue; /* what was submitted from outside, or, with a policy, everything */
    uint32_t fork_mark;
    char name[16];
    void *memory;
    size_t memory_size;

    uint32_t refs;    /* one for the holders, and one for each thread */
    uint32_t holders; /* the program, and steps that will be submitted (task/then.c) */
    uint32_t closing; /* no more submits */

    /* 1: a spare worker could not be started, and who submits next tries again. Written under crew_lock; here since
     * a submit looks here anyway. */
    uint32_t short_handed;
    uint32_t broken; /* an init has failed */

    /* Looks for what is queued, to end it (thi_pool_drain): how many have begun, and how many of them are through.
     * Who moves tasks about, so that a look may miss them, sees by these that there was one. */
    uint32_t drains_begun;
    uint32_t drains_ended;
    thrum_event_t gone; /* no worker is left */

    THRUM_ALIGNED(2 * THI_CACHE_LINE) uint32_t sleepers; /* workers that sleep or are about to */
    uint32_t
        searching; /* 1: somebody is awake and looks for tasks, so that nobody has to be woken */

    /* standin.c */
    THRUM_ALIGNED(2 * THI_CACHE_LINE) thi_lock_t crew_lock;
    size_t alive;       /* threads that run */
    size_t made;        /* workers[] that were ever started */
    size_t called;      /* spare workers that stand in */
    size_t blocked;     /* workers that sleep in a task */
    uint64_t completed; /* tasks that others than workers have run or ended */
    uint64_t failed;
    uint64_t cancelled;

    thi_worker_t *crew; /* slots of them */
} thi_pool_t;

#define THI_GIVEN_SEARCH 1u /* who is woken has the token of the searcher */

/* The pool's worker that the calling strand is; NULL: none of it. */
static inline thi_worker_t *thi_worker_of(const thi_pool_t *pool)
{
    const thi_strand_t *self = thi_current.strand;
    return self != NULL && self->home == pool ? self->post : NULL;
}

/* Counts what became of a task that the worker ran or dropped. */
void thi_worker_count(thi_worker_t *worker, thi_outcome_t outcome);

/* Runs a task in a call of the worker's. */
void thi_worker_run(thi_worker_t *worker, const thi_task_t *task);

/* After a push to a deque: somebody should look there. */
THI_COLD void thi_pool_wake_one(thi_pool_t *pool);
static inline void thi_pool_pushed(thi_pool_t *pool)
{
    thi_fence_light(); /* with the heavy one before a sleep: the sleeper sees the task, or we it */
    if (THI_UNLIKELY(thi_load_relaxed(&pool->sleepers) != 0))
        thi_pool_wake_one(pool);
}

/* Before tasks are taken out of where they are queued, to be put back, or elsewhere; and after that. */
static inline uint32_t thi_pool_moves(const thi_pool_t *pool)
{
    return thi_load_acquire(&pool->drains_ended); /* A1: acquire; pairs with R1 of pool.c */
}
void thi_pool_moved(thi_pool_t *pool, uint32_t drains);

/* Whether a task is queued anywhere. */
bool thi_pool_has_work(const thi_pool_t *pool);

/* Whether the pool is closed and nothing is queued. It is not over before its queue is closed: a submit
 * that has not seen the pool closing may still put. */
bool thi_pool_is_over(const thi_pool_t *pool);

/* Takes a task out of any deque or the queue, to be cancelled. */
bool thi_pool_take_any(thi_pool_t *pool, thi_task_t *task);

/* No more submits; idle workers go. */
void thi_pool_close(thi_pool_t *pool);

/* Ends what is queued: cancels it, or, when the pool is broken, fails it. */
void thi_pool_drain(thi_pool_t *pool);

/* No thread is left: ends what is queued, in the place of the given worker, and says that all are gone. */
void thi_pool_end(thi_worker_t *worker);

/* Starts a worker's thread. 0 or the system's error. */
int thi_worker_start(thi_worker_t *worker);

void thi_pool_unref(thi_pool_t *pool);

/* standin.c */
void thi_worker_sleeps(thi_strand_t *self, bool sleeps);
THI_COLD void thi_standin_retry(thi_pool_t *pool); /* by who submits */
bool thi_standin_is_left(thi_pool_t *pool);        /* one could be called */
bool thi_standin_wait(thi_worker_t *worker);       /* until it is called; false: the pool ends */
bool thi_standin_goes_on(
    thi_worker_t *worker); /* it is still needed; false: it is no longer called */
void thi_standins_dismiss(thi_pool_t *pool);

/* The worker's thread ends. True: it was the last one. The worker may be started again at once. */
bool thi_crew_leave(thi_worker_t *worker);

#endif /* THI_POOL_H */
