/*
 * The parking lot: queues of waiters, found by the address of what they wait on, so that an object
 * needs no more than a bit that says "look there". After WebKit's ParkingLot (Pizlo, 2015).
 *
 * A bucket holds the waiters of all keys that hash to it, in one doubly linked list in order of
 * arrival. The table starts in static memory and grows with the number of strands; a table that was
 * outgrown is kept, since somebody may still be about to lock one of its buckets.
 *
 * Invariants
 *   I1  A bucket may be used only under its lock and only while its table is the current one, which
 *       is checked after locking. Growing holds all locks of the old table.
 *   I2  A waiter is in the bucket of its key, and in none when `queued` is 0.
 *   I3  A waiter leaves its queue under the lock of its bucket: taken out by an unpark that found it
 *       (claimed or, when the strand had just given up, not) or by its own strand after it gave up.
 *       A strand returns only after that, so what is queued is valid memory.
 *   I4  Unparking allocates nothing and runs the settle callback exactly once, under the lock.
 *
 * Lock order: buckets only, two at a time in order of address.
 */
#include <string.h>

#include "strand/strand.h"

struct bucket {
    thi_lock_t lock;
    thi_waiter_t *head;
    thi_waiter_t *tail;
} THRUM_ALIGNED(THI_CACHE_LINE);

struct table {
    struct bucket *buckets;
    unsigned bits; /* 2^bits buckets */
    struct table *outgrown;
};

#ifdef THRUM_SIM
#define FIRST_BITS 1 /* collisions and growth in every run */
#else
#define FIRST_BITS 7
#endif

static struct bucket first_buckets[1u << FIRST_BITS];
static struct table first_table = {first_buckets, FIRST_BITS, NULL};
static struct table *current_table = &first_table;
static thi_lock_t growth_lock; /* held to replace the table, or to keep it from being replaced */

/* ------------------------------------------------------------------------------------------------
 * Buckets
 */

static struct bucket *bucket_in(const struct table *table, const void *key)
{
    const uint64_t hash = (uint64_t)(uintptr_t)key * UINT64_C(0x9E3779B97F4A7C15);
    return &table->buckets[hash >> (64 - table->bits)];
}

static void lock_bucket(struct bucket *bucket)
{
    thi_lock(&bucket->lock, THI_RANK_LOT);
}

static void unlock_bucket(struct bucket *bucket)
{
    thi_unlock(&bucket->lock, THI_RANK_LOT);
}

static struct bucket *lock_key(const void *key)
{
    for (;;) {
        /* A1: acquire; pairs with R1: the buckets of a table are whole when it can be seen. */
        struct table *table = thi_load_acquire(&current_table);
        struct bucket *bucket = bucket_in(table, key);
        lock_bucket(bucket);
        /* Relaxed: a change of tables holds this bucket's lock (I1). */
        if (THI_LIKELY(thi_load_relaxed(&current_table) == table) || THI_PLANT("lot-stale-table"))
            return bucket;
        unlock_bucket(bucket);
    }
}

static void unlock_pair(struct bucket *a, struct bucket *b)
{
    if (a != b)
        unlock_bucket(b);
    unlock_bucket(a);
}

static void lock_pair(const void *key_a, const void *key_b, struct bucket **a, struct bucket **b)
{
    for (;;) {
        struct table *table = thi_load_acquire(&current_table); /* A1 */
        *a = bucket_in(table, key_a);
        *b = bucket_in(table, key_b);
        lock_bucket(*a < *b ? *a : *b);
        if (*a != *b)
            lock_bucket(*a < *b ? *b : *a);
        if (THI_LIKELY(thi_load_relaxed(&current_table) == table))
            return;
        unlock_pair(*a, *b);
    }
}

static void append(struct bucket *bucket, thi_waiter_t *waiter)
{
    waiter->next = NULL;
    waiter->prev = bucket->tail;
    if (bucket->tail != NULL)
        bucket->tail->next = waiter;
    else
        bucket->head = waiter;
    bucket->tail = waiter;
    waiter->queued = 1;
}

static void prepend(struct bucket *bucket, thi_waiter_t *waiter)
{
    waiter->prev = NULL;
    waiter->next = bucket->head;
    if (bucket->head != NULL)
        bucket->head->prev = waiter;
    else
        bucket->tail = waiter;
    bucket->head = waiter;
    waiter->queued = 1;
}

static void take_out(struct bucket *bucket, thi_waiter_t *waiter)
{
    if (waiter->prev != NULL)
        waiter->prev->next = waiter->next;
    else
        bucket->head = waiter->next;
    if (waiter->next != NULL)
        waiter->next->prev = waiter->prev;
    else
        bucket->tail = waiter->prev;
    waiter->queued = 0;
}

/* ------------------------------------------------------------------------------------------------
 * Unparking
 */

/* Under the bucket's lock. A waiter that was moved here is claimed already. */
static bool claim(thi_waiter_t *waiter)
{
    return waiter->claimed != 0 || thi_wait_claim(waiter);
}

static bool waits_at(const thi_waiter_t *waiter, const void *key, const thi_site_t *site)
{
    return waiter->key == key && waiter->site == site;
}

/* Under the bucket's lock: takes up to n waiters out of the queue and claims them. */
static void collect(struct bucket *bucket, const void *key, const thi_site_t *site, unsigned n,
                    thi_unparked_t *found)
{
    thi_waiter_t **end = &found->first;
    for (thi_waiter_t *waiter = bucket->head, *next = NULL; waiter != NULL; waiter = next) {
        next = waiter->next;
        if (!waits_at(waiter, key, site))
            continue;
        if (found->count == n) {
            found->more = true;
            return;
        }
        take_out(bucket, waiter);
        if (!claim(waiter)) {
            found->gone++;
            continue;
        }
        waiter->next = NULL;
        *end = waiter;
        end = &waiter->next;
        found->count++;
    }
}

static void unpark_locked(struct bucket *bucket, const thi_unpark_t *order, thi_unparked_t *found)
{
    if (order->before != NULL && !order->before(order->arg))
        return;
    collect(bucket, order->key, order->site, order->n, found);
    if (order->settle != NULL)
        order->settle(found, order->arg);
}

thi_waiter_t *thi_lot_take(const thi_unpark_t *order, unsigned *count)
{
    thi_unparked_t found = {NULL, 0, 0, false};
    struct bucket *bucket = lock_key(order->key);
    unpark_locked(bucket, order, &found);
    unlock_bucket(bucket);
    *count = found.count;
    return found.first;
}

unsigned thi_lot_unpark(const thi_unpark_t *order)
{
    unsigned count = 0;
    thi_wait_finish_chain(thi_lot_take(order, &count));
    return count;
}

/* A strand that is awake is better woken than moved: it is spinning, and notices at once. */
static bool sleeps(const thi_waiter_t *waiter)
{
    return thi_load_relaxed(&waiter->wait->strand->permit) == THI_PARKED;
}

/* A moved waiter is claimed and stays so; whoever wakes it finds that out by `claimed`. */
static void move_to(struct bucket *bucket, thi_waiter_t *waiter, const thi_move_t *order)
{
    waiter->key = order->to;
    waiter->site = order->to_site;
    waiter->claimed = !THI_PLANT("lot-moved-unclaimed");
    append(bucket, waiter);
    /* The strand sleeps until somebody finishes its wait, so the record is ours to correct. */
    thi_strand_t *strand = waiter->wait->strand;
    thi_store_relaxed(&strand->object, order->to);
    thi_store_relaxed(&strand->site, order->to_site);
}

/* Under both locks: moves whom it can, and leaves in the chain whom to wake. */
static void move_sleepers(struct bucket *to, thi_unparked_t *found, const thi_move_t *order)
{
    thi_waiter_t **link = &found->first;
    while (*link != NULL) {
        thi_waiter_t *waiter = *link;
        if (waiter->data == order->to && sleeps(waiter) && order->hold(order->arg)) {
            *link = waiter->next;
            move_to(to, waiter, order);
        } else {
            link = &waiter->next;
        }
    }
}

unsigned thi_lot_move(const thi_move_t *order)
{
    struct bucket *from = NULL;
    struct bucket *to = NULL;
    thi_unparked_t found = {NULL, 0, 0, false};
    lock_pair(order->from, order->to, &from, &to);
    collect(from, order->from, order->from_site, order->n, &found);
    move_sleepers(to, &found, order);
    order->settle(&found, order->arg);
    unlock_pair(from, to);
    const unsigned count = found.count;
    thi_wait_finish_chain(found.first);
    return count;
}

/* ------------------------------------------------------------------------------------------------
 * Parking
 */

/* The key does not change any more: only claimed waiters are moved. */
void thi_lot_leave(thi_waiter_t *waiter, const thi_park_t *park)
{
    thi_unparked_t found = {NULL, 0, 0, false};
    struct bucket *bucket = lock_key(waiter->key);
    if (waiter->queued != 0) {
        take_out(bucket, waiter);
        if (park->give_up != NULL)
            unpark_locked(bucket, park->give_up, &found);
    }
    unlock_bucket(bucket);
    thi_wait_finish_chain(found.first);
}

static void look_before_sleeping(const thi_wait_t *wait)
{
    thi_spin_t spin = thi_spin_begin();
    bool done = false;
    do
        done = (thi_load_relaxed(&wait->claim) & THI_WAIT_DONE) != 0;
    while (!done && thi_spin_turn(&spin));
    thi_spin_end(&spin, done);
}

bool thi_lot_enter(thi_wait_t *wait, thi_waiter_t *waiter, uint32_t index, const thi_park_t *park)
{
    *waiter = (thi_waiter_t){
        .wait = wait, .site = park->site, .key = park->key, .data = park->data, .index = index};
    struct bucket *bucket = lock_key(park->key);
    if (!park->validate(park->arg)) {
        unlock_bucket(bucket);
        return false;
    }
    if (THI_PLANT("lot-check-then-queue")) {
        unlock_bucket(bucket);
        bucket = lock_key(park->key);
    }
    if (park->first)
        prepend(bucket, waiter);
    else
        append(bucket, waiter);
    unlock_bucket(bucket);
    return true;
}

int thi_lot_park(thi_park_t *park, thrum_time_t deadline)
{
    thi_strand_t *self = thi_self();
    if (self == NULL)
        return ENOMEM;
    if (park->near != NULL && thi_near_may(self, park))
        return thi_near_park(self, park, deadline);
    thi_wait_t wait;
    thi_waiter_t waiter;
    thi_wait_init(&wait, self);
    if (!thi_lot_enter(&wait, &waiter, 0, park))
        return EAGAIN;
    if (park->queued != NULL)
        park->queued(park->arg);
    if (park->spin)
        look_before_sleeping(&wait);
    const int err = thi_wait_sleep(&wait, deadline, park->cancellable, park->site, park->key);
    if (err != 0)
        thi_lot_leave(&waiter, park);
    park->given = waiter.given;
    return err;
}

/* ------------------------------------------------------------------------------------------------
 * Looking on
 */

unsigned thi_park_count(const void *key)
{
    unsigned count = thi_near_count(key);
    struct bucket *bucket = lock_key(key);
    for (const thi_waiter_t *waiter = bucket->head; waiter != NULL; waiter = waiter->next)
        count += waiter->key == key;
    unlock_bucket(bucket);
    return count;
}

/* Not while the table grows: a waiter would be in neither or in both. */
void thi_lot_each(void (*fn)(const thi_waiter_t *waiter, void *arg), void *arg)
{
    thi_lock(&growth_lock, THI_RANK_GROWTH);
    for (size_t i = 0; i < (size_t)1 << current_table->bits; i++) {
        struct bucket *bucket = &current_table->buckets[i];
        lock_bucket(bucket);
        for (const thi_waiter_t *waiter = bucket->head; waiter != NULL; waiter = waiter->next)
            fn(waiter, arg);
        unlock_bucket(bucket);
    }
    thi_unlock(&growth_lock, THI_RANK_GROWTH);
}

/* ------------------------------------------------------------------------------------------------
 * Growing, and fork
 */

static struct table *make_table(unsigned bits, struct table *outgrown)
{
    const size_t buckets = sizeof(struct bucket) << bits;
    struct bucket *memory = thi_pages_map(buckets + sizeof(struct table));
    if (memory == NULL)
        return NULL;
    struct table *table = (struct table *)(void *)(memory + ((size_t)1 << bits));
    *table = (struct table){memory, bits, outgrown};
    return table;
}

static void rehash(struct table *from, struct table *to)
{
    for (size_t i = 0; i < (size_t)1 << from->bits; i++) {
        thi_waiter_t *next = NULL;
        for (thi_waiter_t *waiter = from->buckets[i].head; waiter != NULL; waiter = next) {
            next = waiter->next;
            append(bucket_in(to, waiter->key), waiter);
        }
        from->buckets[i].head = NULL;
        from->buckets[i].tail = NULL;
    }
}

static void grow(unsigned bits)
{
    struct table *old = current_table;
    struct table *table = make_table(bits, old);
    if (table == NULL)
        return; /* longer queues, nothing worse; the next strand tries again */
    for (size_t i = 0; i < (size_t)1 << old->bits; i++)
        lock_bucket(&old->buckets[i]);
    rehash(old, table);
    thi_store_release(&current_table, table); /* R1: release; pairs with A1 */
    for (size_t i = 0; i < (size_t)1 << old->bits; i++)
        unlock_bucket(&old->buckets[i]);
}

void thi_lot_reserve(size_t strands)
{
    if (strands <= (size_t)1 << thi_load_acquire(&current_table)->bits)
        return;
    thi_lock(&growth_lock, THI_RANK_GROWTH);
    const unsigned bits = current_table->bits;
    if (strands > (size_t)1 << bits)
        grow(bits + 2);
    thi_unlock(&growth_lock, THI_RANK_GROWTH);
}

void thi_lot_after_fork(void)
{
    growth_lock = (thi_lock_t){0};
    struct table *table = current_table;
    memset(table->buckets, 0, sizeof(struct bucket) << table->bits);
}
