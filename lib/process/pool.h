#ifndef THI_PROCESS_POOL_H
#define THI_PROCESS_POOL_H

/*
 * What the files of the process pool share.
 *
 *   pool.c           the executor: making, submitting, statistics, the end
 *   pool_job.c       one task, from submit to its end; what its future asks
 *   pool_dispatch.c  from the queue to the workers' desks, and back from there
 *   pool_collect.c   taking in answers, and who looks for them
 *   pool_hands.c     workers as the parent sees them: births, deaths
 *   pool_service.c   the two threads: one looks after the family, one calls callbacks
 *   pool_map.c       map
 *   pool_spawner.c, pool_worker.c   the other processes
 *   pool_desk.c, pool_blocks.c      what they and the parent have in common
 *
 * One lock guards the parent's side (`lock`). Under it nothing is allocated, nobody is woken but workers, and no
 * future ends: what has to be done for that is collected in a batch, and done after.
 */
#include <thrum/event.h>
#include <thrum/process_pool.h>
#include <thrum/semaphore.h>

#include "process/pool_blocks.h"
#include "process/pool_desk.h"

struct thi_ppool;
struct thi_hand;

/* --- tasks ----------------------------------------------------------------------------------------
 *   NEW -> QUEUED -> POSTED -> TAKEN      the states; from POSTED back to QUEUED when it is taken back, or its
 *             \________________/          worker has died without having begun it. TAKEN: somebody ends it
 */
#define THI_JOB_NEW 0u
#define THI_JOB_QUEUED 1u
#define THI_JOB_POSTED 2u
#define THI_JOB_TAKEN 3u

#define THI_DOOM_NONE 0u
#define THI_DOOM_KILLED 1u /* its worker is killed for it */
#define THI_DOOM_LATE 2u   /* the same, since its time was over */

typedef struct thi_job {
    thi_remote_t remote;
    struct thi_job *next;
    struct thi_job *prev;
    struct thi_ppool *pool;
    uintptr_t owner; /* as of a task */
    void *fn;
    void *arg;            /* CALL: the argument. CHUNK: the lane (pool_map.c) */
    size_t size;          /* BYTES_IN: of the input, behind the job or in `bulk` */
    thi_bulk_t *bulk;     /* large input, or the chunk; later the reply */
    unsigned char *reply; /* small reply */
    uint32_t refs;        /* the pool's, until it has ended, and its future's */
    uint32_t seq;
    size_t reply_size;
    uint16_t hand;
    uint16_t tries;
    uint8_t kind;  /* THI_REQUEST_... */
    uint8_t state; /* under the lock */
    uint8_t doom;
    uint8_t signal; /* what ended its worker */
    int16_t exit_code;
    bool died;     /* its worker has */
    bool replied;  /* `bulk`, if there is one, is the reply */
    bool has_tail; /* the input stands behind it */
    bool has_room; /* it has a place of the backlog */
} thi_job_t;

/* What is to be done for a job after the lock is given back. */
typedef struct thi_end {
    thi_job_t *job;
    int status;
    bool is_cancelled;
    uint64_t value;
    uint64_t size;
    thi_bulk_t *bulk; /* the reply, if it is large */
    unsigned char bytes[THI_ANSWER_BYTES];
} thi_end_t;

#define THI_BATCH 32u
#define THI_WAKES 16u

typedef struct thi_hand thi_hand_t;

/* What was collected under the lock. */
typedef struct thi_batch {
    size_t n;
    thi_end_t ends[THI_BATCH];
    size_t wakes;
    thi_hand_t *wake[THI_WAKES]; /* given something; later those that sleep */
    size_t rooms;                /* places of the backlog that have become free */
    bool more;                   /* there was more than fitted */
    thi_hand_t *wants;           /* one of those that want a block */
    uint32_t wants_generation;
    uint64_t wants_size;
    bool wants_response;
    thi_bulk_t *unused; /* blocks to be given back */
    bool kick;          /* the service thread has something to do */
    bool calls;         /* by whoever cancels, in the program's thread: he calls the callbacks */
} thi_batch_t;

/* --- workers ---------------------------------------------------------------------------------------
 *   NONE --asked--> ASKED --born--> BORN --ready--> READY        at any time: died -> NONE
 */
#define THI_HAND_NONE 0u
#define THI_HAND_ASKED 1u
#define THI_HAND_BORN 2u
#define THI_HAND_READY 3u
#define THI_OLD_GRANTS 24u /* a reply that grows by doubling has had so many blocks */

struct thi_hand {
    thi_desk_t *desk;
    uint32_t index;
    uint32_t generation;
    uint32_t state;
    int32_t pid;
    int pidfd;   /* -1: none */
    bool quits;  /* was told to */
    bool kills;  /* is to be killed */
    bool killed; /* the spawner was told */
    bool rotten; /* what it writes makes no sense */

    uint32_t tail;    /* requests posted */
    uint32_t shown;   /* of them published */
    uint32_t oldest;  /* all requests below are done with */
    uint32_t answers; /* seen */
    uint32_t notes;   /* seen */
    uint32_t active;  /* jobs there */
    uint32_t window;
    uint32_t life;     /* requests given in this life and not taken back */
    uint64_t done;     /* answers in this life */
    thrum_time_t mark; /* since when `active` has not been 0, or of the last answer */
    thi_job_t *jobs[THI_DESK_SLOTS];

    thi_bulk_t *grant;
    thi_bulk_t *old_grants[THI_OLD_GRANTS];
    uint32_t old_count;
    size_t usual; /* of large replies */

    thrum_time_t ready_at;
    uint32_t falls; /* deaths in a row without an answer */
    thrum_time_t spawn_at;
};

typedef struct thi_ppool {
    struct thrum_executor base;
    /* Constant. */
    thrum_process_pool_config_t config;
    size_t workers;
    uint32_t fork_mark;
    char name[16];
    thi_hall_t *hall;
    size_t hall_size; /* with the desks */
    thi_hand_t *hands;
    thi_code_t *code;
    size_t code_count;
    int signal; /* wakes the service thread; written by workers, and by us */
    thi_blocks_t blocks;
    thrum_sem_t room; /* of the backlog */

    uint32_t refs; /* the program's, each thread's, each job's */
    uint32_t closing;
    uint32_t broken;
    thrum_event_t gone;

    thi_lock_t lock;
    thi_job_t *first; /* the queue */
    thi_job_t *last;
    size_t queued;
    size_t posted;
    uint32_t leads; /* a looker is the one that listens */
    size_t ending;  /* jobs that are taken and have not ended */
    size_t cursor;  /* the worker that gets the next */
    size_t ready;   /* workers that are */
    size_t spare;   /* workers that are ready, and have nothing */
    bool full;      /* no worker can be given more, until something changes */
    bool cancels;   /* what has not begun will not: a shutdown has said so */
    bool kills;     /* a shutdown has: what is in init when there is nothing to do is killed, too */
    bool idle_timer; /* nobody looks at time limits */
    uint64_t completed;
    uint64_t failed;
    uint64_t cancelled;
    uint64_t restarted;
    uint32_t init_deaths; /* in a row */
    uint32_t asked;       /* workers that are */

    /* The service thread's. */
    thi_found_t family;
    bool has_family;
    bool told_to_quit;
    thrum_time_t found_at;
    uint32_t spawner_deaths;
    thi_start_t service;

    /* The calling thread's. */
    thi_start_t caller;
    thi_lock_t later_lock;
    struct thi_callback *later;
    struct thi_callback *later_last;
    uint32_t later_word; /* changes with each that comes, and with the end */
    uint32_t later_end;
    uint32_t threads;
} thi_ppool_t;

/* Saturates; `duration` is not below 0. */
static inline thrum_time_t thi_time_plus(thrum_time_t time, int64_t duration)
{
    return duration < THRUM_FOREVER - time ? time + duration : THRUM_FOREVER;
}

static inline thi_ppool_t *thi_ppool_of(thrum_executor_t *ex)
{
    return (thi_ppool_t *)(void *)ex;
}
static inline bool thi_ppool_is_forked(const thi_ppool_t *pool)
{
    return pool->fork_mark != thi_fork_mark;
}
static inline void thi_ppool_lock(thi_ppool_t *pool)
{
    thi_lock(&pool->lock, THI_RANK_OFFICE);
}
static inline void thi_ppool_unlock(thi_ppool_t *pool)
{
    thi_unlock(&pool->lock, THI_RANK_OFFICE);
}
void thi_ppool_unref(thi_ppool_t *pool);
void thi_ppool_kick(thi_ppool_t *pool); /* the service thread looks again */

/* pool_job.c */
extern const thi_remote_kind_t thi_job_remote;
thi_job_t *thi_job_make(thi_ppool_t *pool, uint32_t kind, size_t tail);
void thi_job_unref(thi_job_t *job);
/* The pool's references go. CALLS: callbacks of what was cancelled are called, after all else. */
void thi_jobs_end(thi_ppool_t *pool, thi_end_t *ends, size_t n, bool calls);
void thi_ppool_end_some(thi_ppool_t *pool, size_t n); /* so many less of `ending` */
void thi_ppool_later(thi_ppool_t *pool, struct thi_callback *list);
/* Under the lock: has the worker killed for what it runs, if it still does: the request with that number, or, with
 * LATE and KILLED, whichever it is. True: it is condemned. */
bool thi_hand_condemn(thi_hand_t *hand, uint32_t seq, uint8_t doom);

/* pool_dispatch.c; all under the lock */
void thi_queue_put_last(thi_ppool_t *pool, thi_job_t *job);
void thi_queue_put_first(thi_ppool_t *pool, thi_job_t *job);
void thi_queue_take_out(thi_ppool_t *pool, thi_job_t *job);
void thi_ppool_dispatch(thi_ppool_t *pool, thi_batch_t *batch);
bool thi_hand_revoke(thi_ppool_t *pool, thi_job_t *job); /* a posted one; it is nobody's then */
void thi_hand_retire(thi_ppool_t *pool, thi_hand_t *hand, uint32_t seq);
void thi_ppool_clear(thi_ppool_t *pool, thi_batch_t *batch, int error, bool posted_too);
void thi_ppool_stop_chunks(thi_ppool_t *pool); /* no further call of a map begins in one */
static inline thi_end_t *thi_batch_add(thi_batch_t *batch, thi_job_t *job, int status)
{
    thi_end_t *end = &batch->ends[batch->n++];
    job->state = THI_JOB_TAKEN;
    job->pool->ending++;
    end->job = job;
    end->status = status;
    end->is_cancelled = false;
    end->value = 0;
    end->size = 0;
    end->bulk = NULL;
    return end;
}
static inline bool thi_batch_full(const thi_batch_t *batch)
{
    return batch->n == THI_BATCH;
}

/* pool_collect.c */
void thi_batch_done(thi_ppool_t *pool, thi_batch_t *batch); /* under no lock */
static inline void thi_batch_begin(thi_batch_t *batch)
{
    batch->n = 0;
    batch->wakes = 0;
    batch->rooms = 0;
    batch->more = false;
    batch->wants = NULL;
    batch->unused = NULL;
    batch->kick = false;
    batch->calls = false;
}
static inline void thi_batch_drop(thi_batch_t *batch, thi_bulk_t *bulk)
{
    bulk->next = batch->unused;
    batch->unused = bulk;
}
/* It may be ready before its birth was heard of. */
void thi_hand_look_at_phase(thi_ppool_t *pool, thi_hand_t *hand, thi_batch_t *batch);
void thi_hand_collect(thi_ppool_t *pool, thi_hand_t *hand, thi_batch_t *batch); /* under the lock */
size_t thi_ppool_drain(thi_ppool_t *pool); /* how many answers there were */
bool thi_ppool_has_news(const thi_ppool_t *pool);
void thi_ppool_attend(thi_ppool_t *pool);
void thi_ppool_look(thi_ppool_t *pool);
bool thi_ppool_lead(thi_ppool_t *pool, thi_bell_t *bell);
bool thi_ppool_listen(thi_ppool_t *pool, thi_bell_t *bell);
void thi_ppool_hang_up(thi_ppool_t *pool);
void thi_ppool_leave(thi_ppool_t *pool, bool leads);

/* pool_hands.c; by the service thread */
int thi_ppool_found(thi_ppool_t *pool);
void thi_hands_dismiss(thi_ppool_t *pool); /* there are no workers yet */
thrum_time_t thi_hands_tend(thi_ppool_t *pool);
void thi_hands_hear(thi_ppool_t *pool);
thrum_time_t thi_hands_check_time(thi_ppool_t *pool);
bool thi_ppool_is_over(thi_ppool_t *pool);
void thi_hand_quit(thi_ppool_t *pool, thi_hand_t *hand); /* under the lock */

/* pool_service.c */
int thi_service_start(thi_ppool_t *pool);
int thi_caller_start(thi_ppool_t *pool);
void thi_caller_stop(thi_ppool_t *pool);

/* pool.c */
bool thi_ppool_knows(const thi_ppool_t *pool, uintptr_t fn);
int thi_ppool_why_not(const thi_ppool_t *pool); /* 0, or what keeps a submit from being accepted */
void thi_ppool_enqueue(thi_ppool_t *pool, thi_job_t *job, thi_batch_t *batch); /* under the lock */

/* pool_map.c */
int thi_ppool_map(thrum_executor_t *ex, const thi_map_t *map, thrum_time_t deadline);
void thi_lane_end(thi_end_t *end);

/* What is said between the parent and the spawner. */
#define THI_SAY_SPAWN 1u
#define THI_SAY_KILL 2u
#define THI_SAY_QUIT 3u
#define THI_SAY_BORN 4u   /* with its descriptor */
#define THI_SAY_FAILED 5u /* it could not be forked */
#define THI_SAY_DIED 6u

/* pool_spawner.c, pool_worker.c */
size_t thi_ppool_spawner_size(const thi_ppool_t *pool);
_Noreturn void thi_ppool_spawn(thi_ppool_t *pool, thi_found_t *found, void *memory); /* zeroed */
_Noreturn void thi_ppool_work(thi_ppool_t *pool, uint32_t index);

#endif /* THI_PROCESS_POOL_H */
