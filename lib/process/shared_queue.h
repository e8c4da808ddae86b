#ifndef THI_SHARED_QUEUE_H
#define THI_SHARED_QUEUE_H

/*
 * What the files of the queue between processes share.
 *
 *   shared_queue.c         put and get: one try under the lock, and the three forms around it
 *   shared_queue_order.c   where an item lies: FIFO, LIFO, PRIORITY; what a death leaves of that
 *   shared_queue_close.c   close, abort, task_done, join
 *   shared_queue_handle.c  handles, creation, destruction
 *   shared_word.c          the words that putters, getters and joiners sleep on
 *
 *   tail   63       3       2        1         0        what was ever put; getters sleep on it
 *   head  +-----------+---------+--------+----------+   what was ever got; putters sleep on it
 *         |   count   | ABORTED | CLOSED | SLEEPERS |
 *         +-----------+---------+--------+----------+
 *   done   63      10    9   3      2                   what was marked done; joiners sleep on it
 *         +----------+-------+---------+ as above
 *         | done     |moments| ABORTED |                moments: how often nothing was unfinished, by 128
 *         +----------+-------+---------+
 *
 * Invariants
 *   I1  An item is in the queue from the step that adds to `tail` to the step that adds to `head`, whatever the
 *       order. So one store publishes a put or a get; what is written before it, for the item or about the slot,
 *       counts for nothing if the writer is killed.
 *   I2  tail changes under `put_guard`, head under `get_guard`, which for LIFO and PRIORITY are the same.
 *       `closing` changes under both, taken in the order get_guard, put_guard; the arena's guard and
 *       `done_guard` are taken last.
 *   I3  `closing` says what somebody has begun to do to the queue. Who finds it begun and not done, with a
 *       guard in his hand, knows that the one who began is dead, and does it himself. The marks in the words
 *       come in the order head, done, tail, so that what is seen to be closed has woken everybody.
 *   I4  A block belongs to the queue while a slot that is in it (I1) names it, else to the guard's block: put's
 *       until the item is put, get's from the moment that it is got. What the guard's block is when its holder
 *       has died is told by the position beside it.
 */
#include <string.h>

#include <thrum/shared_queue.h>

#include "process/process.h"
#include "process/shared_word.h"

#define THI_LINES 128u /* what prefetchers take together */

/* A block that is on its way into the queue or out of it, and the count of tail or head before that. */
typedef struct thi_passing {
    uint64_t block;
    uint64_t position;
} thi_passing_t;

typedef struct thi_shared_slot {
    uint64_t size; /* and THI_IN_BLOCK: the bytes are the offset of a block */
    unsigned char bytes[];
} thi_shared_slot_t;
#define THI_IN_BLOCK (UINT64_C(1) << 63)

/* PRIORITY: in front of the slot. `arrival` is the count of tail that published it; more than tail's count, or
 * 0: there is nothing in the slot. */
typedef struct thi_ranked {
    int64_t rank;
    uint64_t arrival;
} thi_ranked_t;

/* PRIORITY: the heap's entries, first those of items, then those of free slots. */
typedef struct thi_rank_entry {
    int64_t rank;
    uint64_t arrival;
    uint64_t index;
} thi_rank_entry_t;

/* Stages of `closing`. */
#define THI_CLOSING 1u
#define THI_ABORTING 2u
#define THI_CLOSING_DONE 4u

typedef struct thi_queue_memory {
    uint64_t kind; /* THI_QUEUE_KIND: a queue lies here */
    uint64_t block;
    uint32_t order;
    uint32_t closing;
    uint64_t item_size;
    uint64_t capacity;
    uint64_t slot_count;
    uint64_t slot_size;
    uint64_t slots;   /* from here */
    uint64_t entries; /* from here; PRIORITY */
    uint64_t aborted; /* the count of head when it was aborted */

    /* putters */
    thi_guard_t put_guard THRUM_ALIGNED(THI_LINES);
    uint64_t heads_seen; /* head's count is at least that */
    thi_passing_t putting;
    uint64_t tail THRUM_ALIGNED(THI_LINES);

    /* getters */
    thi_guard_t get_guard THRUM_ALIGNED(THI_LINES);
    uint64_t tails_seen;
    thi_passing_t getting;
    uint64_t taking; /* PRIORITY: the slot that is being emptied, + 1, and the position */
    uint64_t taking_at;
    uint64_t head THRUM_ALIGNED(THI_LINES);

    thi_guard_t done_guard THRUM_ALIGNED(THI_LINES);
    uint64_t done;
} thi_queue_memory_t;
#define THI_QUEUE_KIND UINT64_C(0x6575657551756874)

struct thrum_shared_queue {
    thi_queue_memory_t *memory;
    thrum_shared_t *arena;
    thi_guard_t *get_guard;
    thi_guard_t *put_guard;
    unsigned char *slots;
    thi_rank_entry_t *entries;
    uint64_t slot_size;
    uint64_t mask; /* FIFO */
    uint64_t capacity;
    uint64_t item_size;
    thrum_order_t order;
};

/* --- shared_queue.c ------------------------------------------------------------------------------- */

/* Takes both guards, repairs what dead holders have left, and finishes what a dead one began to close. 0,
 * ETIMEDOUT. */
int thi_queue_enter_both(thrum_shared_queue_t *q, thrum_time_t deadline);
void thi_queue_leave_both(thrum_shared_queue_t *q);

/* Takes the item out that is next, in `slot`, and gives its block back, if it has one. */
void thi_queue_advance(thrum_shared_queue_t *q, const thi_shared_slot_t *slot, uint64_t head,
                       uint64_t tail);

/* --- shared_queue_order.c: under the order's guard ---------------------------------------------- */
thi_shared_slot_t *thi_order_slot_to_put(thrum_shared_queue_t *q, uint64_t head, uint64_t tail,
                                         int64_t rank);
void thi_order_put(thrum_shared_queue_t *q, uint64_t head, uint64_t tail);
thi_shared_slot_t *thi_order_slot_to_get(thrum_shared_queue_t *q, uint64_t head, uint64_t tail);
void thi_order_take(thrum_shared_queue_t *q, uint64_t head);
void thi_order_took(thrum_shared_queue_t *q, uint64_t head, uint64_t tail);

/* PRIORITY, the holder of the guard has died (or the queue is new): makes the heap anew from the slots. */
void thi_order_repair(thrum_shared_queue_t *q);

/* --- shared_queue_close.c ----------------------------------------------------------------------- */

/* Both guards are held, `closing` says what is to be done. */
void thi_queue_finish_closing(thrum_shared_queue_t *q);

#endif /* THI_SHARED_QUEUE_H */
