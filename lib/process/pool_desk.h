#ifndef THI_POOL_DESK_H
#define THI_POOL_DESK_H

/*
 * What the parent and one worker process have in common: the worker's desk, in shared memory, with a ring of
 * requests one way and a ring of answers the other. Each has one producer and one consumer, and is published by one
 * store of its counter, so a death at any instruction leaves it whole.
 *
 * A request's claim says whose it is:
 *
 *   READY --worker--> BEGUN --worker--> ENDED     it has run; its answer follows
 *         --parent--> REVOKED                     taken back: cancelled, or another worker's
 *                     BEGUN --parent--> CONDEMNED its worker is to be killed, and does nothing more
 *
 * Each of these is a compare-and-swap, so a task runs or is taken back, and one that is killed had not ended.
 * Of a chunk of calls the claim carries the number of the call, where that can be killed by itself.
 *
 * Nothing that the worker writes is believed beyond what it may be: a task may have written anywhere.
 */
#include "task/task.h"

#ifdef THRUM_SIM
#error "no processes in the simulation"
#endif

#define THI_DESK_SLOTS 256u /* of each ring; no more requests than that are open */
#define THI_REQUEST_BYTES 88u
#define THI_ANSWER_BYTES 96u

#define THI_CLAIM_READY 0u
#define THI_CLAIM_BEGUN 1u
#define THI_CLAIM_ENDED 2u
#define THI_CLAIM_REVOKED 3u
#define THI_CLAIM_CONDEMNED 4u
#define THI_CLAIM_STATE 7u /* mask; above it the number of the call */
#define THI_CLAIM_CALL 8u  /* one call */

#define THI_REQUEST_CALL 0u
#define THI_REQUEST_BYTES_IN 1u
#define THI_REQUEST_CHUNK 2u

typedef struct thi_request {
    uint32_t claim;
    uint32_t kind;
    uint64_t fn;
    uint64_t arg;  /* CALL: the argument. BYTES_IN: where they are; 0: here. CHUNK: the chunk */
    uint64_t size; /* BYTES_IN */
    unsigned char bytes[THI_REQUEST_BYTES];
} THRUM_ALIGNED(8) thi_request_t;

typedef struct thi_answer {
    uint32_t seq; /* of the request */
    int32_t status;
    uint64_t value; /* CALL; BYTES_IN: where the reply is, 0: here */
    uint64_t size;  /* BYTES_IN: of the reply */
    uint64_t unused;
    unsigned char bytes[THI_ANSWER_BYTES];
} THRUM_ALIGNED(8) thi_answer_t;

/* Calls of a map, in a block. */
typedef struct thi_chunk {
    uint32_t n;
    uint32_t from;  /* the first that is to be called */
    uint32_t begun; /* the worker's: calls that have begun */
    uint32_t ended; /* the worker's: calls that have ended, with their results */
    uint32_t stop;  /* the parent's: no further call begins */
    uint32_t pad[3];
    uint64_t args_and_results[]; /* n, each replaced by its result; then n statuses */
} thi_chunk_t;

static inline int32_t *thi_chunk_statuses(thi_chunk_t *chunk, uint32_t n)
{
    return (int32_t *)(void *)(chunk->args_and_results + n);
}

/* What a worker is at. Notes tell of: a phase that has begun; a block that is wanted; requests that were taken back, and
 * that it has passed without an answer to come. */
#define THI_PHASE_NEW 0u
#define THI_PHASE_INIT 1u   /* in the program's init */
#define THI_PHASE_READY 2u  /* takes requests */
#define THI_PHASE_FAILED 3u /* its init has failed */
#define THI_PHASE_FINI 4u

typedef struct thi_desk {
    /* The parent's. */
    THRUM_ALIGNED(2 * THI_CACHE_LINE) uint32_t posted; /* requests, counted */
    uint32_t quit;                                     /* leave, once all are answered */
    uint32_t responses;                                /* to `wanted`, counted */
    uint32_t waker_cpu;
    uint64_t
        grant; /* a block for a large reply, with its class in the low bits; 0: there is no memory */

    /* The worker's. `news`: answers, counted, below; what else there is to see, counted, above. */
    THRUM_ALIGNED(2 * THI_CACHE_LINE) uint64_t news;
    uint32_t asleep; /* 1: it sleeps, or is about to. The parent makes it 0, and wakes it */
    uint32_t phase;
    uint32_t taken;  /* requests that it has done with */
    uint64_t wanted; /* it waits for a grant of so many bytes, until there is one more response */
    thrum_time_t begun_at; /* of the call under way, where there is a time limit; 0: none is */

    THRUM_ALIGNED(2 * THI_CACHE_LINE) thi_request_t requests[THI_DESK_SLOTS];
    thi_answer_t answers[THI_DESK_SLOTS];
} thi_desk_t;

#define THI_NEWS_NOTE (UINT64_C(1) << 32)

/*
 * What the parent and all workers have in common: who is to be told of answers.
 *
 *   listening   63..2  strands that look at the desks again and again, or have promised to (lookers)
 *               ARMED  the service thread sleeps in a poll: whoever clears this makes its signal readable
 *               LEADER a looker sleeps on `bell`: whoever clears this rings it
 *
 * A worker that dies between clearing and ringing is seen by the service thread, which then looks at everything, and
 * rings the bell itself.
 */
typedef struct thi_hall {
    THRUM_ALIGNED(2 * THI_CACHE_LINE) uint64_t listening;
    THRUM_ALIGNED(2 * THI_CACHE_LINE) uint32_t bell;
    uint32_t ringer_cpu; /* processor of who rang it last, + 1 */
} THRUM_ALIGNED(2 * THI_CACHE_LINE) thi_hall_t;

#define THI_LEADER UINT64_C(1)
#define THI_ARMED UINT64_C(2)
#define THI_LOOKER UINT64_C(4)

/* The worker, after it has published something. */
void thi_hall_tell(thi_hall_t *hall, int signal);

/* Wakes the leader, if there is one. */
void thi_hall_ring(thi_hall_t *hall);

/* The parent, after it has posted: whether the worker has to be woken; and doing that. */
bool thi_desk_must_wake(thi_desk_t *desk);
void thi_desk_wake(thi_desk_t *desk);

/* The worker: sleeps until there is a request past `taken`, or it is to quit. */
void thi_desk_sleep(thi_desk_t *desk, uint32_t taken);

static inline bool thi_claim(uint32_t *claim, uint32_t from, uint32_t to)
{
    return thi_cas_acq_rel(claim, &from, to);
}

#endif /* THI_POOL_DESK_H */
