#ifndef THI_STRAND_H
#define THI_STRAND_H

/*
 * The door of lib/strand: the waiting core. Everything that sleeps sleeps here.
 *
 *   strand     whatever can wait: a thread, a coroutine, a task of the simulation
 *   wait       one wait of one strand, on one object or several; exactly one waker wins it
 *   lot        the parking lot: waiters of small objects, queued by the object's address
 *   near       waits that a strand of the same thread is likely to end, before they come to the lot
 *
 * docs/architecture.md walks through it.
 */

#include <stdio.h>

#include <thrum/cancel.h>
#include <thrum/time.h>

#include "os/os.h"

/* ================================================================================================
 * Strands
 */

typedef struct thi_strand thi_strand_t;

/* A word of several processes that ends the sleeps of a strand, too, when another process wakes it. Set by the strand
 * itself, for one wait (hears_bells, and thi_far_near). Before each sleep it is told to listen (false: do not
 * sleep but look again), and after it that it no longer does; on the strand, under no lock. */
typedef struct thi_bell {
    uint32_t *word;
    uint32_t expected;
    bool (*listen)(struct thi_bell *bell);
    void (*hang_up)(struct thi_bell *bell);
} thi_bell_t;

/* What makes a strand a thread or a coroutine. */
typedef struct thi_strand_kind {
    const char *name;

    /* Suspends the calling strand until its permit is no longer THI_PARKED or the deadline has
     * passed; may return early for no reason. Returns 0 or ETIMEDOUT. */
    int (*block)(thi_strand_t *self, thrum_time_t deadline);

    /* Makes a strand whose permit went from THI_PARKED to THI_NOTIFIED return from block. Called
     * once per such change, from any thread, under no lock of the library. It may come late: the
     * strand may have noticed by itself and even have ended, so its record must stay valid memory
     * (records are pooled, never unmapped), and a wake it did not expect must do no harm. */
    void (*wake)(thi_strand_t *strand);

    /* Whether a strand that is woken runs without anybody's cooperation, and may be asked to pass a
     * wake-up on before it goes its way. */
    bool passes_on;

    /* Of kinds whose strands share a thread; NULL otherwise. For near waits (near.c), on that thread: whether
     * its thread goes on with another strand at once if the calling one, which is `self`, waits; suspends it
     * without regard to its permit, as block; and lets a strand go on that is suspended by that. The last two
     * may come to nothing: stay may return for no reason, and ready find it awake. */
    bool (*stays)(const thi_strand_t *self);
    int (*stay)(thi_strand_t *self, thrum_time_t deadline);
    void (*ready)(thi_strand_t *strand);

    /* One turn of a spinning wait; NULL when spinning cannot help this kind. */
    void (*relax)(thi_strand_t *self);

    /* Whether its sleep also ends when the strand's bell rings. */
    bool hears_bells;

    /* Copies the name that people know it by. Any thread; the strand may be running. */
    void (*describe)(const thi_strand_t *strand, char *name, size_t size);
} thi_strand_kind_t;

/* States of a permit. Who writes: the strand itself (or its thread, for one that is near) EMPTY and PARKED,
 * everybody NOTIFIED.
 *   EMPTY     no wake is pending and the strand does not sleep
 *   NOTIFIED  a wake came; the next park consumes it and does not sleep
 *   PARKED    the strand sleeps, or is about to */
#define THI_EMPTY 0u
#define THI_NOTIFIED 1u
#define THI_PARKED 2u

/* What kind of object is waited on; one constant per primitive. */
typedef struct thi_site {
    const char *what; /* "mutex" */

    /* The id of the strand that holds `object`, 0 when none or not known; NULL for objects that
     * nobody holds. Called while the object cannot go away. */
    uint32_t (*owner)(const void *object);
} thi_site_t;

struct thi_locals;
struct thi_held;

/* What a strand works in, and is cancelled with: a task, a group. Chained from the inside out. Written
 * by the strand that enters and leaves it, but for the mark that it is cancelled. */
typedef thrum_scope_t thi_scope_t;

struct thi_strand {
    const thi_strand_kind_t *kind;
    uint32_t permit;
    uint32_t id; /* slot and generation; never 0, unique among living strands */

    /* Cancellation. `cancelled` is written by anybody, once; `shields` by the strand alone. */
    uint32_t cancelled;
    uint32_t shields;
    const thi_scope_t *scope; /* NULL: none. Written by the strand, read by who cancels a scope */

    /* The executor that it is a worker of, and that one's record of it; NULL: none. The strand's own. */
    const void *home;
    void *post;

    /* Told when the strand is about to sleep and when it no longer does (thread pools have somebody
     * stand in). NULL: nobody cares. Set by the strand itself. */
    void (*on_sleep)(struct thi_strand *self, bool sleeps);

    /* Spinning (spin.c). Written by the strand alone, but for the last. */
    uint32_t spin_budget;
    uint32_t spin_skip;
    uint32_t spin_interval;
    uint32_t slept_ns;       /* how long its last sleep took, to within some milliseconds */
    uint32_t waker_cpu;      /* processor of who woke it last, + 1; written by the waker */
    uint32_t watch_skip;     /* mutex.c */
    uint32_t watch_interval; /* mutex.c */
    uint32_t wanted_again;   /* mutex.c */
    thrum_time_t wanted_at;  /* mutex.c */
    uint32_t flow;           /* queue/blocking.c */
    uint64_t flow_gets;      /* queue/blocking.c */
    uint32_t yields;         /* queue/blocking.c */
    void *later;             /* task/future.c: callbacks that it is about to call; NULL: none */

    /* Written by the strand around a sleep (or by who moves it to another queue), read by the
     * diagnosis at any time. `site` is NULL while it does not wait. */
    const thi_site_t *site;
    const void *object;
    thrum_time_t since;
    uint32_t waits; /* how many it has begun: tells one wait from the next */

    /* Threads: what to poll while asleep. Written by the strand; `poll_signal` is a descriptor + 1 that ends
     * the poll, read by wakers; 0: the thread sleeps on its permit. It stays open with the record. */
    struct thi_poll_set *polls;
    int poll_signal;
    int poll_kept;
    uint32_t poll_mark;

    thi_bell_t *bell; /* NULL: none */
    /* Threads: a word of several processes that ends its sleep, too, when it is not this; NULL: none. The
     * strand's own. */
    uint32_t *far_word;
    uint32_t far_expected;

    struct thi_locals *locals; /* locals.c */
    struct thi_held *held;     /* checked builds: the locks it holds and wants (check.h) */
    uint32_t alive;            /* between renew and retire */
};

/* The strand that is running, cached in thread-local storage. A kind that switches strands on one
 * thread calls thi_strand_set_current at every switch. */
typedef struct thi_current {
    thi_strand_t *strand;  /* NULL: this thread has no record yet */
    uint32_t id;           /* strand->id, or 0 */
    uint32_t guess;        /* sync.h: what a mutex's word is likely to be when it is free */
    struct thi_near *near; /* the thread's; NULL: its strands do not wait near */
} thi_current_t;

extern _Thread_local thi_current_t thi_current THI_TLS_MODEL;

void thi_strand_set_current(thi_strand_t *strand);

/* Registers the calling thread; NULL when there is no memory. */
THI_COLD thi_strand_t *thi_strand_attach_thread(void);

/* The calling strand; NULL only when it is a thread that could not be registered. */
static inline thi_strand_t *thi_self(void)
{
    thi_strand_t *self = thi_current.strand;
    return THI_LIKELY(self != NULL) ? self : thi_strand_attach_thread();
}

/* The calling strand's id; 0 only when it is a thread that could not be registered. */
static inline uint32_t thi_self_id(void)
{
    const uint32_t id = thi_current.id;
    if (THI_LIKELY(id != 0))
        return id;
    const thi_strand_t *self = thi_strand_attach_thread();
    return self != NULL ? self->id : 0;
}

/* --- records ------------------------------------------------------------------------------------
 * A record gets a slot of the registry once, for good; its memory must stay valid for ever. Each
 * life of a record (a thread, a coroutine) is begun by renew and ended by retire. */
int thi_strand_register(thi_strand_t *strand, const thi_strand_kind_t *kind); /* 0, ENOMEM */
static inline void thi_strand_renew(thi_strand_t *strand);
static inline void thi_strand_retire(thi_strand_t *strand);

/* Calls fn for every strand alive, under no lock. A record may end meanwhile: read it as such. */
void thi_strand_each(void (*fn)(thi_strand_t *strand, void *arg), void *arg);

/* An id's slot is below thi_strand_slots(), which only grows. */
#define THI_SLOT_BITS 24
#define THI_SLOT(id) ((id) & ((UINT32_C(1) << THI_SLOT_BITS) - 1u))
#define THI_GENERATIONS 255u
uint32_t thi_strand_slots(void);

static inline void thi_strand_renew(thi_strand_t *strand)
{
    const uint32_t id = thi_load_relaxed(&strand->id);
    const uint32_t before = id >> THI_SLOT_BITS;
    const uint32_t generation = before < THI_GENERATIONS ? before + 1 : 1;
    thi_store_relaxed(&strand->id, generation << THI_SLOT_BITS | THI_SLOT(id));
    thi_store_relaxed(&strand->cancelled, 0u);
    strand->shields = 0;
    thi_store_relaxed(&strand->scope, NULL);
    strand->home = NULL;
    strand->post = NULL;
    strand->on_sleep = NULL;
    thi_store_relaxed(&strand->alive, 1u);
}

static inline void thi_strand_retire(thi_strand_t *strand)
{
    thi_store_relaxed(&strand->site, NULL);
    thi_store_relaxed(&strand->alive, 0u);
}

/* Copies the name of the strand with that id, or "a strand that has ended". */
void thi_strand_describe(uint32_t id, char *name, size_t size);

/* A number from 1 to 15 that differs between a process and those that it forked from. What a strand
 * holds bears the mark of its process, set in the very step that takes it: a fork can come between
 * taking a lock and signing it. */
extern uint32_t thi_fork_mark;

/* What a lock's fast path has to know of the process, in one load: the mark, shifted; whether the process was
 * seen to have more than one thread (that bit is set by whoever sees it, and stays); and whether it is the
 * child of a fork, where a lock may bear another mark. */
extern uint32_t thi_process;
#define THI_PROCESS_MARK_SHIFT 16
#define THI_PROCESS_MARK (UINT32_C(0xff) << THI_PROCESS_MARK_SHIFT)
#define THI_PROCESS_CHILD (UINT32_C(1) << 30)
#define THI_PROCESS_MANY (UINT32_C(1) << 31)

/* True only while no other thread can exist, so that locked instructions may be left out. */
static inline bool thi_alone(uint32_t process)
{
    if (THI_LIKELY((process & THI_PROCESS_MANY) != 0))
        return false;
    if (thi_single_threaded())
        return true;
    thi_fetch_or_relaxed(&thi_process, THI_PROCESS_MANY);
    return false;
}

/* Whether who holds something with that mark and signature did not survive a fork into this process.
 * Of the process before only the strand that forked lives on, and that was not about to sign. When it lets go
 * it first makes the mark its process's and then takes its signature away; so the signature is read first. */
bool thi_holder_is_lost(uint32_t mark, uint32_t owner);

/* How many forks lie between the first process that used the library and this one. */
uint32_t thi_fork_depth(void);

/* --- sleeping -----------------------------------------------------------------------------------
 * park suspends the calling strand until it is unparked or the deadline has passed; a permit that
 * came before is consumed at once. It may return 0 for no reason, so callers loop. unpark never
 * waits and never gets lost; it is a release that the park it ends acquires. */
int thi_strand_park(thi_strand_t *self, thrum_time_t deadline);
void thi_strand_unpark(thi_strand_t *strand);

/* The two ends of a park whose middle is not the kind's block: the permit becomes PARKED, unless (false) a wake
 * has come; and is consumed: 0, or what the block returned when no wake has come. */
bool thi_strand_will_park(thi_strand_t *strand);
int thi_strand_parked(thi_strand_t *self, int err);

/* Tells the diagnosis what the calling strand is about to wait for. Returns the time, to within some
 * milliseconds. */
thrum_time_t thi_strand_waits(thi_strand_t *self, const thi_site_t *site, const void *object);

/* The same for who knows the time; and that the strand waits no more. Relaxed: the diagnosis takes what it
 * sees for a picture of a moment. */
static inline void thi_strand_waits_since(thi_strand_t *self, const thi_site_t *site,
                                          const void *object, thrum_time_t since)
{
    thi_store_relaxed(&self->object, object);
    thi_store_relaxed(&self->since, since);
    thi_store_relaxed(&self->waits, self->waits + 1);
    thi_store_relaxed(&self->site, site);
}

static inline void thi_strand_waited(thi_strand_t *self)
{
    thi_store_relaxed(&self->site, NULL);
}

/* --- sleeping as a thread -------------------------------------------------------------------------
 * What the thread kind's block and wake are; also for strands of other kinds that sleep with their
 * thread. A strand that waits for descriptors says so before it sleeps (0, or an error of the system), and
 * takes it back afterwards. `ready` is told, on the sleeping thread, that a descriptor is ready. */
typedef struct thi_poll_set {
    thi_polled_t *polled;
    size_t n;
    void (*ready)(struct thi_poll_set *set);
} thi_poll_set_t;

int thi_thread_block(thi_strand_t *self, thrum_time_t deadline); /* on `far_word`, too */
void thi_thread_rouse(thi_strand_t *strand);
int thi_thread_may_poll(thi_strand_t *self); /* what can fail of it */
int thi_thread_polls(thi_strand_t *self, thi_poll_set_t *set);
void thi_thread_polled(thi_strand_t *self);

/* --- cancellation ------------------------------------------------------------------------------- */
void thi_strand_cancel(thi_strand_t *strand);
bool thi_strand_cancelled(const thi_strand_t *self);

/* The calling strand works in another scope from now on. Returns the one before. */
const thi_scope_t *thi_scope_enter(thi_strand_t *self, const thi_scope_t *scope);

/* Cancels a scope for strands that are in it. They have to be woken, or are seen to be elsewhere, after
 * this: whoever enters the scope later, or is about to sleep in it, sees it cancelled. */
void thi_scope_cancel(thi_scope_t *scope);
bool thi_scope_cancelled(const thi_scope_t *scope);

/* Registers the strands' fork handlers, when the library is loaded. A later layer that registers handlers then
 * calls this first, so that its own run after these in the child. */
void thi_strand_at_load(void);

/* Holds the library together across fork (called by the thread kind). */
void thi_registry_before_fork(void);
void thi_registry_after_fork(bool child);
void thi_locals_before_fork(void);
void thi_locals_after_fork(void);

/* --- locals: run the destructors of a strand that ends ------------------------------------------ */
void thi_locals_end(thi_strand_t *self);

/* ================================================================================================
 * Spinning: a bounded, adaptive look before sleeping
 *
 *     thi_spin_t spin = thi_spin_begin();
 *     while (!(got = take(object)) && thi_spin_turn(&spin)) {}
 *     thi_spin_end(&spin, got);
 *
 * Each strand learns whether spinning pays; where the other side shares its processor, or takes
 * long, it soon does not spin at all.
 */
typedef struct thi_spin {
    thi_strand_t *self;
    uint32_t budget; /* turns granted */
    uint32_t left;
} thi_spin_t;

thi_spin_t thi_spin_begin(void);
bool thi_spin_turn(thi_spin_t *spin);
void thi_spin_end(const thi_spin_t *spin, bool success);

/* The strand has slept for that long. For kinds that spin. */
void thi_spin_slept(thi_strand_t *self, thrum_time_t nanoseconds);

/* ================================================================================================
 * Waits
 *
 * A wait is claimed once: by a waker of one of its objects, or by the strand itself when it gives
 * up. Whoever claims it decides how it ends, so a timed-out wait never eats a wake-up, and of many
 * wakers of a select exactly one wins.
 *
 *   claim   OPEN 0          nobody has claimed it
 *           index + 1       claimed by a waker of the waiter with that index, who still needs it
 *           ... | DONE      released: the waker has touched it for the last time
 *           GAVE_UP | DONE  claimed by the strand itself
 *
 * A wait and its waiters live on the waiting strand's stack. A waker may touch them from its claim
 * until it stores DONE, never after; the strand may leave only when it has read DONE.
 */
typedef struct thi_wait {
    thi_strand_t *strand;
    uint32_t claim;
    struct thi_waiter *pass_on; /* claimed waiters that this strand is to release when it wakes */
} thi_wait_t;

#define THI_WAIT_OPEN 0u
#define THI_WAIT_DONE (UINT32_C(1) << 31)
#define THI_WAIT_GAVE_UP (THI_WAIT_DONE - 1u)

/* One place of a wait in one queue. The fields below `key` are written under the queue's lock. */
typedef struct thi_waiter {
    struct thi_waiter *next;
    struct thi_waiter *prev;
    thi_wait_t *wait;
    const thi_site_t *site;
    const void *key;  /* what it waits on; changes when it is moved to another object's queue */
    const void *data; /* for who moves or wakes it; meaning is the object's */
    uint32_t index;   /* which of the wait's waiters this is */
    uint32_t queued;  /* it is in a queue */
    uint32_t claimed; /* its wait was claimed for it while it stayed queued (moved waiters) */
    uint32_t given;   /* what its waker hands over; meaning is the object's */
    uint32_t near;    /* near.c */
} thi_waiter_t;

static inline void thi_wait_init(thi_wait_t *wait, thi_strand_t *self)
{
    wait->strand = self;
    wait->claim = THI_WAIT_OPEN;
    wait->pass_on = NULL;
}

/* Waker: claims the waiter's wait. False: somebody else has, leave it alone. */
bool thi_wait_claim(thi_waiter_t *waiter);

/* Waker, after a claim, under no lock: lets the strand go. The last touch of the wait. */
void thi_wait_finish(thi_waiter_t *waiter);

/* The same for a chain of claimed waiters linked by next. Of a long chain, strands that are woken
 * early release others in turn. */
void thi_wait_finish_chain(thi_waiter_t *first);

/* Waiting strand: sleeps until the wait is released, or gives it up. Returns 0 (a waker won),
 * ETIMEDOUT, or, when `cancellable`, ECANCELED. */
int thi_wait_sleep(thi_wait_t *wait, thrum_time_t deadline, bool cancellable,
                   const thi_site_t *site, const void *object);

/* Waiting strand, instead of sleeping: false when a waker has claimed the wait, which then has to be
 * slept through. */
bool thi_wait_give_up(thi_wait_t *wait);

/* After a sleep that returned 0: which waiter won. */
static inline uint32_t thi_wait_winner(const thi_wait_t *wait)
{
    return (thi_load_relaxed(&wait->claim) & ~THI_WAIT_DONE) - 1;
}

/* ================================================================================================
 * The parking lot
 *
 * Callbacks run under a bucket's lock: they may read and write the words of the object they are for
 * and nothing else; they may not call the lot, take locks or run user code.
 */
typedef struct thi_park {
    const thi_site_t *site;
    const void *key; /* the object's address; never dereferenced by the lot */
    const void *data;
    void *arg; /* for the callbacks */

    /* Under the bucket's lock, before the caller is queued: false refuses to sleep. No unpark of the
     * key can come between a true and the queueing. */
    bool (*validate)(void *arg);

    /* Whether the wait may be near: then the object bears a mark that makes who runs on this thread, and ends
     * the wait, call thi_near_take, and nobody waits whose turn it would be before. Under no lock; others may
     * take the mark away, which costs time and nothing else. NULL: never near. Such a park has no `queued`
     * and no `give_up`. */
    bool (*near)(void *arg);

    /* After the caller was queued, under no lock, before it sleeps (a condition unlocks its mutex).
     * May be NULL. */
    void (*queued)(void *arg);

    /* When the caller gives up and no unpark found it: done under the bucket's lock in the step in
     * which it leaves the queue. May be NULL. */
    const struct thi_unpark *give_up;

    bool cancellable;
    bool first;     /* goes to the head of the queue: it has waited its turn already */
    bool spin;      /* look at the wait for a while before sleeping */
    uint32_t given; /* out: what the waker handed over */
} thi_park_t;

/* Returns 0 (woken by an unpark meant for this wait), EAGAIN (validate refused), ETIMEDOUT or
 * ECANCELED (gave up; no unpark was consumed), or ENOMEM (not registered; nothing was called). */
int thi_lot_park(thi_park_t *park, thrum_time_t deadline);

/* The same in steps, for a wait on several keys: queues a waiter unless validate refuses (false).
 * thi_wait_sleep waits; and then every waiter but the one that won leaves. `queued`, `spin` and
 * `cancellable` are not looked at. */
bool thi_lot_enter(thi_wait_t *wait, thi_waiter_t *waiter, uint32_t index, const thi_park_t *park);

/* After the wait was claimed: takes the waiter out of its queue, unless an unpark has, and does what
 * `give_up` says in the same step. */
void thi_lot_leave(thi_waiter_t *waiter, const thi_park_t *park);

/* What an unpark found, for its settle callback. */
typedef struct thi_unparked {
    thi_waiter_t *first; /* the waiters to be woken, linked by next, not released yet; NULL: none */
    unsigned count;      /* how many will be woken */
    unsigned gone;       /* how many had given up, and were taken out of the queue instead */
    bool more;           /* others stay queued on the key (or may: it errs towards true) */
} thi_unparked_t;

typedef void (*thi_settle_fn)(const thi_unparked_t *found, void *arg);

#define THI_ALL UINT_MAX

/* Wakes up to `n` waiters of `key` that wait at `site`, in order of arrival.
 *
 * An unpark that is made after the change that lets a strand free the object uses the address of
 * what may be another object by then. Only objects of the same kind see such a stray wake, and only
 * kinds that allow it (semaphore, rwlock, the door of a barrier): their waiters look again. */
typedef struct thi_unpark {
    const void *key;
    const thi_site_t *site;
    unsigned n;                /* THI_ALL: everybody */
    bool (*before)(void *arg); /* under the lock, first: false calls it off. May be NULL */
    thi_settle_fn settle; /* under the lock, last: after it the object may be gone. May be NULL */
    void *arg;
} thi_unpark_t;

/* Returns how many were woken. Never allocates. */
unsigned thi_lot_unpark(const thi_unpark_t *order);

/* The first half of it: takes the waiters out and claims them. The caller has to wake them, soon, with
 * thi_wait_finish_chain. */
thi_waiter_t *thi_lot_take(const thi_unpark_t *order, unsigned *count);

/* Takes up to `n` waiters of `from` in one step, and wakes each, or, when it sleeps, its data is `to`,
 * and `hold(arg)` says under both buckets' locks that it would only have to wait there, moves it to
 * the end of that queue. A moved waiter is claimed: it can no longer give up. Returns how many there
 * were; in `settle`, found->first links only those that are woken. */
typedef struct thi_move {
    const void *from;
    const thi_site_t *from_site;
    unsigned n;
    const void *to;
    const thi_site_t *to_site;
    bool (*hold)(void *arg);
    thi_settle_fn settle; /* for `from`, last */
    void *arg;
} thi_move_t;
unsigned thi_lot_move(const thi_move_t *order);

/* How many waiters are queued on `key`, near the calling thread or in the lot; tests wait for a state with it. */
unsigned thi_park_count(const void *key);

/* Calls fn for every queued waiter, under its bucket's lock. */
void thi_lot_each(void (*fn)(const thi_waiter_t *waiter, void *arg), void *arg);

/* Makes room for that many strands; called when strands are registered. Failing is harmless. */
void thi_lot_reserve(size_t strands);

/* In the child of fork: nobody waits any more. */
void thi_lot_after_fork(void);

#include "strand/checked.h"
#include "strand/near.h"

#endif /* THI_STRAND_H */
