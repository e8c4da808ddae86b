/*
 * Near waits: of a strand whose thread goes on at once with another strand of its own (a coroutine, while others
 * of its loop are ready). Whoever ends such a wait is likely to be one of those. So the waiter is first put into
 * a list of the thread's, by plain stores; what runs on the thread finds it there, and makes it ready. When the
 * thread has no strand to go on with, or has gone on for long enough, it moves those that are left to the parking
 * lot, as if they came to wait only then: before that nobody else could have made them run.
 *
 *   near   NOT     an ordinary waiter, in the lot or out of it
 *          WAITS   in a list of its thread
 *          TAKEN   by a strand of its thread, which is going to make it ready
 *          LOOKS   when it was to be moved, the object said that it need not wait
 *
 * Invariants
 *   I1  A list, and `near` of those in it, belong to the thread: no order is needed.
 *   I2  Others do not know of who is near. So only waits that the state of their object ends can be near, of
 *       objects that outlive them: what was missed is seen by the `validate` of the move.
 *   I3  No list holds anybody when the loop sleeps, or its thread goes away from its strands (thi_near_end).
 *   I4  A near strand's permit is EMPTY, or NOTIFIED by others, who then do not wake it: the move looks at it.
 */
#include "strand/strand.h"

struct near_wait {
    thi_waiter_t waiter;
    thi_wait_t wait;
    thi_park_t *park;
};

static thi_near_chain_t *chain_of(thi_near_t *near, const void *key)
{
    const uint64_t hash = (uint64_t)(uintptr_t)key * UINT64_C(0x9E3779B97F4A7C15);
    return &near->chains[hash >> (64 - THI_NEAR_BITS)];
}

static void put_in(thi_near_t *near, thi_waiter_t *waiter, bool first)
{
    thi_near_chain_t *chain = chain_of(near, waiter->key);
    waiter->prev = first ? NULL : chain->tail;
    waiter->next = first ? chain->head : NULL;
    *(waiter->prev != NULL ? &waiter->prev->next : &chain->head) = waiter;
    *(waiter->next != NULL ? &waiter->next->prev : &chain->tail) = waiter;
    near->count++;
}

static inline void take_out(thi_near_t *near, thi_near_chain_t *chain, thi_waiter_t *waiter)
{
    *(waiter->prev != NULL ? &waiter->prev->next : &chain->head) = waiter->next;
    *(waiter->next != NULL ? &waiter->next->prev : &chain->tail) = waiter->prev;
    near->count--;
}

/* ------------------------------------------------------------------------------------------------
 * Waking
 */

static bool waits_at(const thi_waiter_t *waiter, const void *key, const thi_site_t *site)
{
    return waiter->key == key && waiter->site == site;
}

static inline thi_waiter_t *take(thi_near_t *near, thi_near_chain_t *chain, thi_waiter_t *waiter)
{
    take_out(near, chain, waiter);
    waiter->near = THI_NEAR_TAKEN;
    waiter->next = NULL;
    return waiter;
}

THI_NOINLINE static thi_waiter_t *take_some(thi_near_t *near, const void *key,
                                            const thi_site_t *site, unsigned n, unsigned *count)
{
    thi_waiter_t *first = NULL;
    thi_waiter_t **end = &first;
    thi_near_chain_t *chain = chain_of(near, key);
    for (thi_waiter_t *waiter = chain->head, *next = NULL; waiter != NULL && *count < n;
         waiter = next) {
        next = waiter->next;
        if (!waits_at(waiter, key, site))
            continue;
        *end = take(near, chain, waiter);
        end = &waiter->next;
        ++*count;
    }
    return first;
}

thi_waiter_t *thi_near_take(const void *key, const thi_site_t *site, unsigned n, unsigned *count)
{
    thi_near_t *near = thi_current.near;
    *count = 0;
    if (near == NULL || near->count == 0)
        return NULL;
    thi_near_chain_t *chain = chain_of(near, key);
    thi_waiter_t *waiter = chain->head;
    if (THI_UNLIKELY(n != 1 || waiter == NULL || !waits_at(waiter, key, site)))
        return take_some(near, key, site, n, count);
    *count = 1;
    return take(near, chain, waiter);
}

void thi_near_finish(const thi_waiter_t *waiter)
{
    thi_strand_t *strand = waiter->wait->strand;
    strand->kind->ready(strand);
}

unsigned thi_near_count(const void *key)
{
    thi_near_t *near = thi_current.near;
    unsigned count = 0;
    if (near == NULL)
        return 0;
    for (const thi_waiter_t *waiter = chain_of(near, key)->head; waiter != NULL;
         waiter = waiter->next)
        count += waiter->key == key;
    return count;
}

/* ------------------------------------------------------------------------------------------------
 * Waiting
 */

/* Most strands are in no scope and not cancelled. */
static bool is_cancelled(const thi_strand_t *self, const thi_park_t *park)
{
    return park->cancellable && (self->scope != NULL || thi_load_relaxed(&self->cancelled) != 0) &&
           thi_strand_cancelled(self);
}

bool thi_near_may(const thi_strand_t *self, const thi_park_t *park)
{
    const thi_near_t *near = thi_current.near;
    return near != NULL && near->count < THI_NEAR_MAX && self->kind->stays != NULL &&
           self->kind->stays(self) && self->on_sleep == NULL &&
           thi_load_relaxed(&self->permit) == THI_EMPTY && !is_cancelled(self, park) &&
           park->near(park->arg);
}

/* It was moved to the lot, and its permit PARKED or found NOTIFIED. */
static int go_on_in_lot(struct near_wait *w, int err, thrum_time_t deadline)
{
    thi_park_t *park = w->park;
    err = thi_strand_parked(w->wait.strand, err);
    if (err == 0 || !thi_wait_give_up(&w->wait))
        err = thi_wait_sleep(&w->wait, deadline, park->cancellable, park->site, park->key);
    if (err != 0)
        thi_lot_leave(&w->waiter, park);
    return err;
}

int thi_near_park(thi_strand_t *self, thi_park_t *park, thrum_time_t deadline)
{
    thi_near_t *near = thi_current.near;
    struct near_wait w; /* what others look at is written by the move */
    w.park = park;
    w.waiter.wait = &w.wait;
    w.waiter.site = park->site;
    w.waiter.key = park->key;
    w.waiter.near = THI_NEAR_WAITS;
    w.waiter.given = 0;
    thi_wait_init(&w.wait, self);
    put_in(near, &w.waiter, park->first);
    if (near->now == 0)
        near->now = thi_clock_coarse();
    thi_strand_waits_since(self, park->site, park->key, near->now);
    int err = 0;
    do
        err = self->kind->stay(self, deadline);
    while (err == 0 && w.waiter.near == THI_NEAR_WAITS); /* for no reason */
    thi_strand_waited(self);
    switch (w.waiter.near) {
    case THI_NEAR_WAITS:
        take_out(near, chain_of(near, park->key), &w.waiter);
        break;
    case THI_NEAR_TAKEN:
        if (!THI_PLANT("near-eats-it"))
            err = 0;
        break;
    case THI_NEAR_LOOKS:
        err = EAGAIN;
        break;
    default:
        err = go_on_in_lot(&w, err, deadline);
        break;
    }
    park->given = w.waiter.given;
    return err;
}

/* ------------------------------------------------------------------------------------------------
 * Moving to the lot
 */

/* To the head of its queue: whoever of this thread is there came later, since nobody was there when it came near.
 * (Of two threads' the one that is moved last comes first.) Who has to look again stands before `looks`. */
static thi_waiter_t *move(thi_waiter_t *waiter, thi_waiter_t *looks)
{
    struct near_wait *w = THI_CONTAINER_OF(waiter, struct near_wait, waiter);
    thi_strand_t *strand = w->wait.strand;
    w->park->first = true;
    /* From here on others may find it; it is an ordinary waiter (thi_lot_enter writes it anew). */
    if (!thi_lot_enter(&w->wait, waiter, 0, w->park)) {
        waiter->near = THI_NEAR_LOOKS;
        waiter->next = looks;
        return waiter;
    }
    if (!thi_strand_will_park(strand) && !THI_PLANT("near-no-look"))
        strand->kind->ready(strand);
    return looks;
}

static void finish_looks(thi_waiter_t *looks)
{
    for (thi_waiter_t *next = NULL; looks != NULL; looks = next) {
        next = looks->next;
        thi_near_finish(looks);
    }
}

void thi_near_end(thi_near_t *near)
{
    near->now = 0;
    if (THI_PLANT("near-for-ever"))
        return;
    for (unsigned i = 0; near->count != 0 && i < THI_NEAR_CHAINS; i++) {
        thi_near_chain_t *chain = &near->chains[i];
        thi_waiter_t *waiter = NULL;
        thi_waiter_t *looks = NULL;
        while ((waiter = chain->tail) != NULL) {
            take_out(near, chain, waiter);
            looks = move(waiter, looks);
        }
        finish_looks(looks); /* the oldest first */
    }
}
