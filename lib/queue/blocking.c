/*
 * Putters that sleep because a queue is full and getters that sleep because it is empty; and waking
 * them. They queue in the parking lot under the queue's address, at sites of their own.
 *
 * The mark WANTED (of a ring's index, of a level) says that somebody may sleep. It is set by the sleeper,
 * by a compare-and-swap on a word that says "empty" (or "full"), under the bucket's lock. A put that
 * finds it takes one sleeper for each item, and clears it when nobody is left, between claiming its
 * place and publishing its item. In that time the queue cannot be empty, so nobody can fall asleep, and
 * it cannot be destroyed, since the item has not arrived.
 *
 * A sleeper that was woken looks again. It may find that somebody was faster; then it goes back to the
 * head of the queue, and no wake-up was lost: what it was woken for has been used.
 */
#include "queue/core.h"

#define GAP_MAX                                                                                    \
    64u /* turns between two looks: each look costs who works on the queue a cache miss */
#define GAP_FLOW 64u  /* turns in which some items gather */
#define GAP_FULL 256u /* turns in which some places of a large ring get free */
#define FLOW_TURNS 4u /* an item that came within so many turns was on its way */
#define FLOW_MIN 4u   /* fewer than that in GAP_FLOW turns are no flow */
#define FLOWS 1u
#define YIELDS_MAX 8u /* a few microseconds where nobody else wants the processor */
#define YIELDS_MIN 1u
#define FLOW_REST 64u /* for so many waits it is not tried again */

const thi_site_t thi_getters_site = {"queue get", NULL};
const thi_site_t thi_putters_site = {"queue put", NULL};

/* ------------------------------------------------------------------------------------------------
 * Waking
 */

/* Under the bucket's lock. */
static void settle_getters(const thi_unparked_t *found, void *arg)
{
    thrum_queue_t *q = arg;
    if (!found->more)
        q->order->no_getters(q);
}

static void settle_putters(const thi_unparked_t *found, void *arg)
{
    thrum_queue_t *q = arg;
    if (!found->more)
        q->order->no_putters(q);
}

static thi_unpark_t getters_order(thrum_queue_t *q, unsigned n)
{
    return (thi_unpark_t){
        .key = q, .site = &thi_getters_site, .n = n, .settle = settle_getters, .arg = q};
}

static thi_unpark_t putters_order(thrum_queue_t *q, unsigned n)
{
    return (thi_unpark_t){
        .key = q, .site = &thi_putters_site, .n = n, .settle = settle_putters, .arg = q};
}

static thi_waiter_t *take_sleepers(thrum_queue_t *q, bool getters, unsigned n, uint64_t marks)
{
    unsigned count = 0;
    thi_waiter_t *sleepers = NULL;
    if ((marks & THI_WANTED) != 0 && n != 0) {
        const thi_unpark_t order = getters ? getters_order(q, n) : putters_order(q, n);
        sleepers = thi_lot_take(&order, &count);
    }
    thi_queue_tell(q);
    return sleepers;
}

/* Those that wait near this thread come first: when they came nobody slept. Others' are not to be seen. */
static inline thi_waiter_t *take(thrum_queue_t *q, bool getters, unsigned n, uint64_t marks)
{
    unsigned count = 0;
    thi_waiter_t *first = NULL;
    if ((marks & THI_NEAR) != 0) {
        first = thi_near_take(q, getters ? &thi_getters_site : &thi_putters_site, n, &count);
        if (count == 0)
            q->order->none_near(q, getters);
    }
    if (THI_LIKELY((marks & (THI_WANTED | THI_WATCHED)) == 0))
        return first;
    thi_waiter_t **end = &first;
    while (*end != NULL)
        end = &(*end)->next;
    *end = take_sleepers(q, getters, n - count, marks);
    return first;
}

thi_waiter_t *thi_queue_take_getters(thrum_queue_t *q, unsigned n, uint64_t marks)
{
    return take(q, true, n, marks & ~(uint64_t)THI_WATCHED); /* of a tail: that bit is SEALED */
}

thi_waiter_t *thi_queue_take_putters(thrum_queue_t *q, unsigned n, uint64_t marks)
{
    return take(q, false, n, marks);
}

void thi_queue_wake_all(thrum_queue_t *q)
{
    unsigned count = 0;
    const thi_unpark_t getters = getters_order(q, THI_ALL);
    const thi_unpark_t putters = putters_order(q, THI_ALL);
    thi_waiter_t *near_getters = thi_near_take(q, &thi_getters_site, THI_ALL, &count);
    thi_waiter_t *near_putters = thi_near_take(q, &thi_putters_site, THI_ALL, &count);
    thi_waiter_t *sleeping_getters = thi_lot_take(&getters, &count);
    thi_waiter_t *sleeping_putters = thi_lot_take(&putters, &count);
    thi_queue_tell(q);
    thi_wait_finish_chain(near_getters);
    thi_wait_finish_chain(near_putters);
    thi_wait_finish_chain(sleeping_getters);
    thi_wait_finish_chain(sleeping_putters);
}

/* ------------------------------------------------------------------------------------------------
 * Waiting
 */

thi_park_t thi_queue_park_put(thrum_queue_t *q)
{
    return (thi_park_t){.site = &thi_putters_site,
                        .key = q,
                        .arg = q,
                        .validate = q->order->must_wait_to_put,
                        .cancellable = true};
}

thi_park_t thi_queue_park_get(thrum_queue_t *q)
{
    return (thi_park_t){.site = &thi_getters_site,
                        .key = q,
                        .arg = q,
                        .validate = q->order->must_wait_to_get,
                        .cancellable = true};
}

/* A put or a get that is tried until it can be done. */
struct attempt {
    thrum_queue_t *q;
    const void *in; /* NULL: a get */
    void *out;
    size_t n;
};

static size_t try_it(const struct attempt *a, int *why)
{
    const thi_order_t *order = a->q->order;
    if (THI_LIKELY(a->n == 1)) {
        *why = a->in != NULL ? a->q->put_one(a->q, a->in) : a->q->get_one(a->q, a->out);
        return *why == 0;
    }
    return a->in != NULL ? order->put(a->q, a->in, a->n, why) : order->get(a->q, a->out, a->n, why);
}

static bool let_pass(thi_spin_t *spin, unsigned turns)
{
    while (turns-- != 0)
        if (!thi_spin_turn(spin))
            return false;
    return true;
}

/* Where items flow, who waits should not take each one as it comes: the two sides would fight over one
 * cache line. It lets a few gather first. Where one side answers the other it should look often.
 *
 *   - A putter that finds the queue full lets it flow: it has a backlog, nobody waits for its item.
 *   - A getter lets it flow if its last waits were very short, so that items come in a stream; and stops
 *     doing so, for a number of waits, when one such pause brought it next to nothing. */
static unsigned first_gap(const struct attempt *a, thi_strand_t *self, uint64_t gets)
{
    if (a->in != NULL)
        return a->q->capacity / 4 < GAP_FULL ? (unsigned)a->q->capacity / 4 + 1 : GAP_FULL;
    if (self->flow != FLOWS)
        return 1;
    if (gets - self->flow_gets < FLOW_MIN)
        self->flow = FLOW_REST;
    return self->flow == FLOWS ? GAP_FLOW : 1;
}

static void learn(const struct attempt *a, thi_strand_t *self, uint64_t gets, unsigned turns)
{
    if (a->in != NULL)
        return;
    self->flow_gets = gets;
    if (self->flow > FLOWS)
        self->flow--;
    else if (turns <= FLOW_TURNS)
        self->flow = FLOWS;
}

static size_t spin_for_it(const struct attempt *a, int *why)
{
    thi_spin_t spin = thi_spin_begin();
    if (spin.left == 0)
        return 0;
    const uint64_t gets = a->in == NULL ? a->q->order->puts(a->q) : 0;
    unsigned gap = first_gap(a, spin.self, gets);
    unsigned turns = 0;
    size_t done = 0;
    bool more = true;
    do {
        more = let_pass(&spin, gap);
        done = try_it(a, why);
        turns += gap;
        gap = gap < GAP_MAX ? gap * 2 : GAP_MAX;
    } while (more && done == 0 && *why == EAGAIN);
    thi_spin_end(&spin, done != 0);
    if (done != 0)
        learn(a, spin.self, gets, turns);
    return done;
}

/* Who works on the other side may wait for this very processor. To let it run costs less than to be woken
 * by it, as long as it has something to do; so a few turns before sleeping, fewer when they were in vain. */
static size_t yield_for_it(const struct attempt *a, thi_strand_t *self, int *why)
{
    const uint32_t turns = self->yields != 0 ? self->yields : YIELDS_MAX;
    size_t done = 0;
    for (uint32_t i = 0; i < turns && done == 0 && *why == EAGAIN; i++) {
        thi_thread_yield();
        done = try_it(a, why);
    }
    if (done != 0)
        self->yields = turns < YIELDS_MAX / 4 ? turns * 4 : YIELDS_MAX;
    else if (turns > YIELDS_MIN)
        self->yields = turns / 2;
    return done;
}

static size_t wait_for_it(const struct attempt *a, thi_park_t *park, thrum_time_t deadline,
                          int *why)
{
    thi_strand_t *self = thi_self();
    if (self == NULL) {
        *why = ENOMEM;
        return 0;
    }
    size_t done = 0;
    *why = EAGAIN; /* as the caller has just found */
    if (self->kind->relax != NULL)
        done = spin_for_it(a, why);
    if (done == 0 && self->kind->relax != NULL && *why == EAGAIN)
        done = yield_for_it(a, self, why);
    while (done == 0 && *why == EAGAIN) {
        const int err = thi_lot_park(park, deadline);
        if (err != 0 && err != EAGAIN) {
            *why = err;
            return 0;
        }
        park->first |= err == 0; /* woken once, and perhaps passed, however often */
        done = try_it(a, why);
    }
    return done;
}

size_t thi_queue_wait_put(thrum_queue_t *q, const void *items, size_t n, thrum_time_t deadline,
                          int *why)
{
    const struct attempt a = {.q = q, .in = items, .n = n};
    thi_park_t park = thi_queue_park_put(q);
    park.near = q->order->near_to_put;
    return wait_for_it(&a, &park, deadline, why);
}

size_t thi_queue_wait_get(thrum_queue_t *q, void *items, size_t n, thrum_time_t deadline, int *why)
{
    const struct attempt a = {.q = q, .out = items, .n = n};
    thi_park_t park = thi_queue_park_get(q);
    park.near = q->order->near_to_get;
    return wait_for_it(&a, &park, deadline, why);
}
