#ifndef THI_QUEUE_CORE_H
#define THI_QUEUE_CORE_H

/*
 * What the files of lib/queue share: the queue, and what the three orders have to provide.
 *
 *   queue.c        the public calls: arguments, the three forms
 *   blocking.c     putters and getters that sleep, and who wakes them
 *   fifo.c ring.c  FIFO: one ring, or a chain of them
 *   chain.c        how that grows, and what becomes of rings that were drained
 *   inherited.c    FIFO in the child of a fork
 *   locked.c       LIFO and PRIORITY: a mutex around a store
 *   store.c heap.c what they keep their items in
 *   join.c         task_done and join
 *   descriptor.c   the descriptor for foreign event loops
 *   select.c       select
 */
#include <thrum/mutex.h>
#include <thrum/queue.h>

#include "queue/queue.h"
#include "queue/ring.h"
#include "sync/sync.h"

#define THI_PAGE 4096u

/* What an order is. The functions never sleep for items or room. */
typedef struct thi_order {
    /* Puts the first items of n that find room together. Returns how many; or 0 and why: EAGAIN (full),
     * ESHUTDOWN, ENOMEM, EOWNERDEAD. */
    size_t (*put)(thrum_queue_t *q, const void *items, size_t n, int *why);
    /* Likewise: EAGAIN (empty), ESHUTDOWN, EOWNERDEAD. */
    size_t (*get)(thrum_queue_t *q, void *items, size_t n, int *why);

    /* Under the bucket of the sleepers' queue: whether a put (get) would still have to wait. If so, it
     * is seen to that the next get (put) will look for sleepers. The descriptor asks the second under no
     * lock: nobody clears a mark while the queue is empty. */
    bool (*must_wait_to_put)(void *q);
    bool (*must_wait_to_get)(void *q);

    /* Whether a put (get) may wait near its thread: it would have to wait, nobody sleeps, and the next get (put)
     * will look for it. NULL: never. And the last: nobody was found. */
    bool (*near_to_put)(void *q);
    bool (*near_to_get)(void *q);
    void (*none_near)(thrum_queue_t *q, bool getters);

    /* Under the same bucket: nobody sleeps any more. */
    void (*no_putters)(thrum_queue_t *q);
    void (*no_getters)(thrum_queue_t *q);

    /* From now on puts (and gets, if `end`) say ESHUTDOWN. Stores how many items this call dropped.
     * 0, ENOMEM or EOWNERDEAD. */
    int (*close)(thrum_queue_t *q, bool end, uint64_t *dropped);

    /* How many items were ever put; only rises. How many there are. */
    uint64_t (*puts)(const thrum_queue_t *q);
    size_t (*size)(const thrum_queue_t *q);
    bool (*closed)(const thrum_queue_t *q);

    /* From now on gets tell the descriptor. 0, ENOMEM or EOWNERDEAD. */
    int (*watch)(thrum_queue_t *q);

    void (*end)(thrum_queue_t *q);
} thi_order_t;

/* FIFO. */
typedef struct thi_fifo {
    thi_ring_t *first;    /* where gets go: the oldest ring with items */
    thi_ring_t *last;     /* where puts go */
    thrum_mutex_t growth; /* held to change the chain */
    uint32_t watched;
    thi_ring_t *retired; /* drained, but perhaps somebody is still copying an item out */
    thi_ring_t *spare;   /* quiet, kept to be used again */
    thi_ring_t *empty;   /* quiet, their pages given back: all zero */
    struct {
        thrum_queue_t *next;
        thrum_queue_t **link;
    } hook;          /* inherited.c */
    thi_ring_t only; /* the ring of a bounded queue, the first one of another */
} thi_fifo_t;

/* An array of entries, an item each. LIFO: the newest last. PRIORITY: a heap. */
typedef struct thi_store {
    unsigned char *entries;
    size_t entry_size;
    size_t room; /* entries; one more lies behind them, for who works on the heap */
    uint64_t arrivals;
} thi_store_t;

/* LIFO and PRIORITY.
 *
 *   level   63              3  2     0
 *          +-----------------+---------+     changed by read-modify-writes only: the count and CLOSED
 *          |      count      |  marks  |     under the mutex, the marks of sleepers under their bucket
 *          +-----------------+---------+
 */
typedef struct thi_locked {
    thrum_mutex_t mutex;
    uint64_t level;
    uint64_t puts; /* under the mutex; read by anybody */
    uint32_t watched;
    thi_store_t store;
} thi_locked_t;

struct thrum_queue {
    /* Constant. */
    const thi_order_t *order;
    int (*put_one)(thrum_queue_t *q, const void *item);
    int (*get_one)(thrum_queue_t *q, void *item);
    size_t item_size;
    size_t capacity; /* SIZE_MAX: unbounded */
    int (*compare)(const void *a, const void *b, void *ctx);
    void *compare_ctx;
    uint32_t fork_mark; /* of the process that made it */
    void *memory;
    size_t memory_size;

    /* join.c: on a line of their own, which no put or get touches. */
    THRUM_ALIGNED(THI_APART) uint64_t done;
    uint64_t puts_seen;

    /* descriptor.c */
    THRUM_ALIGNED(THI_APART) thrum_mutex_t fd_mutex; /* held to open it */
    uint32_t telling;
    uint32_t fd_mark; /* of the process that opened it */
    int fd;           /* -1: nobody asked */
    bool readable;

    union {
        thi_fifo_t fifo;
        thi_locked_t locked;
    };
};

extern const thi_order_t thi_fifo_order;
extern const thi_order_t
    thi_locked_order; /* PRIORITY where the queue has a comparison, else LIFO */

/* Complete a queue whose constants are set; 0 or ENOMEM. `slots` is zeroed memory for a ring. */
void thi_fifo_begin(thrum_queue_t *q, unsigned char *slots, size_t slots_count);
int thi_locked_begin(thrum_queue_t *q);

/* From its completion to its end a FIFO is known, so that the child of a fork knows which of its places were
 * claimed before. */
void thi_fifo_enlist(thrum_queue_t *q);
void thi_fifo_delist(thrum_queue_t *q);
void thi_fifo_after_fork(void); /* in the child */

/* Of an unbounded one: the ring is full, so another one follows; it is drained, so the next is the first.
 * Either may have been done already. 0, ENOMEM, ESHUTDOWN or EOWNERDEAD. */
THI_COLD int thi_chain_grow(thrum_queue_t *q, thi_ring_t *full);
THI_COLD int thi_chain_move_on(thrum_queue_t *q, const thi_ring_t *drained);
void thi_chain_drop_first(thi_fifo_t *fifo); /* under growth: nothing more can be got from it */
void thi_chain_end(const thi_fifo_t *fifo);

static inline bool thi_fifo_is_bounded(const thrum_queue_t *q)
{
    return q->capacity != SIZE_MAX;
}

/* Somebody was interrupted between two instructions: a turn of waiting for him who has put into the place that a
 * get comes to, got from the one that a put comes to, or changes the chain. 0, or EOWNERDEAD: he was lost in a
 * fork. (Or ENOMEM.) */
int thi_fifo_let_put(thrum_queue_t *q, const thi_ring_t *ring, uint64_t head, unsigned *turns);
int thi_fifo_let_get(thrum_queue_t *q, const thi_ring_t *ring, uint64_t tail, unsigned *turns);
int thi_fifo_let_change(thrum_queue_t *q, unsigned *turns);

/* Whether this process has it from its parent. */
static inline bool thi_queue_is_inherited(const thrum_queue_t *q)
{
    return q->fork_mark != thi_fork_mark;
}

/* How many slots the first ring of a queue has. */
size_t thi_fifo_first_slots(const thrum_queue_t *q);

/* --- stores: under the mutex -------------------------------------------------------------------- */

/* Makes room for n more; false: no memory, nothing changed. */
bool thi_store_reserve(thi_store_t *store, size_t count, size_t n);
void thi_store_shrink(thi_store_t *store, size_t count);
void thi_store_end(thi_store_t *store);

void thi_heap_push(thrum_queue_t *q, size_t count, const void *item);
void thi_heap_pop(thrum_queue_t *q, size_t count, void *item);
size_t thi_heap_entry_size(size_t item_size);

/* --- sleepers ------------------------------------------------------------------------------------ */
extern const thi_site_t thi_getters_site;
extern const thi_site_t thi_putters_site;

/* Who has put (got) n items and saw `marks` (WANTED, NEAR, WATCHED of ring.h) takes up to n waiters, and tells
 * the descriptor, before it lets go of the queue; and then wakes them with thi_wait_finish_chain. */
THI_NOINLINE thi_waiter_t *thi_queue_take_getters(thrum_queue_t *q, unsigned n, uint64_t marks);
THI_NOINLINE thi_waiter_t *thi_queue_take_putters(thrum_queue_t *q, unsigned n, uint64_t marks);

/* Like put and get of the order, but wait instead of EAGAIN. */
size_t thi_queue_wait_put(thrum_queue_t *q, const void *items, size_t n, thrum_time_t deadline,
                          int *why);
size_t thi_queue_wait_get(thrum_queue_t *q, void *items, size_t n, thrum_time_t deadline, int *why);

/* What a sleeper's queue is asked, and an order to wake everybody. */
thi_park_t thi_queue_park_put(thrum_queue_t *q);
void thi_queue_wake_all(thrum_queue_t *q);

/* --- join ------------------------------------------------------------------------------------------ */

/* Marks up to n items done: those that an abort has dropped. */
void thi_queue_drop(thrum_queue_t *q, uint64_t n);

/* --- descriptor ------------------------------------------------------------------------------------ */

/* Makes the descriptor say what the queue is. */
void thi_queue_tell(thrum_queue_t *q);
void thi_queue_close_fd(thrum_queue_t *q);

#endif /* THI_QUEUE_CORE_H */
