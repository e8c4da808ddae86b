/*
 * Barrier. One word that changes only under the bucket's lock of the barrier's address, with the
 * queue of those inside, so that everybody inside is in the queue and shares one outcome.
 *
 *      63          32     31     30          0
 *     +--------------+--------+---------------+
 *     |  generation  | BROKEN |    arrived    |
 *     +--------------+--------+---------------+
 *
 *   arrived   how many of the round's parties are inside; all of them while the action runs
 *   BROKEN    until reset; arrived is 0 then
 *   generation rises when a round ends: passed, broken or reset
 *
 * Invariants
 *   I1  A strand that has arrived and is not the last is queued in the same step. Whoever ends the
 *       round takes all of them and gives each the outcome; none reads the barrier again.
 *   I2  One that gave up breaks the round in the step in which it leaves the queue. If the round is
 *       ended first, the end finds it in the queue, unable to be claimed: then the round is broken.
 *   I3  While the action runs (arrived == parties) newcomers wait at the door, a key of its own.
 */
#include <thrum/barrier.h>

#include "sync/sync.h"

#define ARRIVED (BROKEN - 1u)
#define BROKEN (UINT64_C(1) << 31)
#define GENERATION (UINT64_C(1) << 32)

#define GIVEN_PASSED 1u
#define GIVEN_BROKEN 2u

static const thi_site_t site = {"barrier", NULL};
static const thi_site_t door_site = {"barrier (round in progress)", NULL};

static const void *door(const thrum_barrier_t *b)
{
    return &b->thrum_parties;
}

static unsigned arrived(uint64_t word)
{
    return (unsigned)(word & ARRIVED);
}

static uint64_t generation(uint64_t word)
{
    return word / GENERATION;
}

/* Under the bucket's lock. Relaxed everywhere: the lock orders it, and the claims what follows; only
 * the predicates read without the lock, and promise a moment's picture. */
static void set_word(thrum_barrier_t *b, uint64_t word)
{
    thi_store_relaxed(&b->thrum_word, word);
}

static uint64_t next_generation(uint64_t word)
{
    return (generation(word) + 1) * GENERATION;
}

/* ------------------------------------------------------------------------------------------------
 * Ending a round
 */

struct ending {
    thrum_barrier_t *b;
    uint64_t generation; /* the round, for one that passes */
    uint64_t mark;       /* BROKEN stays in the word, or nothing */
    bool broken;         /* how it is to end for those inside; out: how it did */
    bool ended;          /* out */
};

/* Under the bucket's lock: is the round that is to pass still going on? */
static bool still_on(void *arg)
{
    const struct ending *end = arg;
    const uint64_t word = end->b->thrum_word;
    return generation(word) == end->generation && (word & BROKEN) == 0;
}

/* Under the bucket's lock, with everybody inside claimed (I1, I2). */
static void settle_end(const thi_unparked_t *found, void *arg)
{
    struct ending *end = arg;
    if (found->gone != 0 && !end->broken && !THI_PLANT("barrier-forgets-who-left")) {
        end->broken = true; /* it was to pass */
        end->mark = BROKEN;
    }
    for (thi_waiter_t *waiter = found->first; waiter != NULL; waiter = waiter->next)
        waiter->given = end->broken ? GIVEN_BROKEN : GIVEN_PASSED;
    set_word(end->b, next_generation(end->b->thrum_word) | end->mark);
    end->ended = true;
}

static void open_door(const thrum_barrier_t *b)
{
    thi_lot_unpark(&(thi_unpark_t){.key = door(b), .site = &door_site, .n = THI_ALL});
}

static int end_round(thrum_barrier_t *b, uint64_t mark)
{
    if (b == NULL)
        return EINVAL;
    struct ending end = {.b = b, .mark = mark, .broken = true};
    thi_lot_unpark(
        &(thi_unpark_t){.key = b, .site = &site, .n = THI_ALL, .settle = settle_end, .arg = &end});
    open_door(b);
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * Waiting
 */

struct visit {
    thrum_barrier_t *b;
    uint64_t generation;
    unsigned index;
    bool broken; /* cannot enter */
    bool full;   /* cannot enter yet */
};

/* Under the bucket's lock: a round begun by strands that a fork left behind cannot end. */
static uint64_t heal_fork(thrum_barrier_t *b, uint64_t word)
{
    if (arrived(word) == 0) {
        b->thrum_fork = thi_fork_depth();
        return word;
    }
    return b->thrum_fork == thi_fork_depth() ? word : next_generation(word) | BROKEN;
}

/* Under the bucket's lock: arrives, if it can. True: waits for the others. */
static bool arrive(void *arg)
{
    struct visit *v = arg;
    thrum_barrier_t *b = v->b;
    const uint64_t word = heal_fork(b, b->thrum_word);
    v->index = arrived(word);
    v->broken = (word & BROKEN) != 0;
    v->full = v->index == b->thrum_parties && !THI_PLANT("barrier-no-door");
    v->generation = generation(word);
    set_word(b, v->broken || v->full ? word : word + 1);
    return !v->broken && !v->full && v->index + 1 < b->thrum_parties;
}

/* The last to arrive runs the action and lets everybody go. */
static int pass(const struct visit *v)
{
    thrum_barrier_t *b = v->b;
    const bool failed = b->thrum_action != NULL && b->thrum_action(b->thrum_arg) != 0;
    struct ending end = {
        .b = b, .generation = v->generation, .mark = failed ? BROKEN : 0, .broken = failed};
    thi_lot_unpark(&(thi_unpark_t){.key = b,
                                   .site = &site,
                                   .n = THI_ALL,
                                   .before = still_on,
                                   .settle = settle_end,
                                   .arg = &end});
    open_door(b);
    return end.ended && !end.broken ? 0 : EPIPE;
}

static bool still_full(void *arg)
{
    const thrum_barrier_t *b = arg;
    return arrived(thi_load_relaxed(&b->thrum_word)) == b->thrum_parties;
}

static int wait_at_door(thrum_barrier_t *b, thrum_time_t deadline)
{
    thi_park_t park = {
        .site = &door_site, .key = door(b), .arg = b, .validate = still_full, .cancellable = true};
    const int err = thi_lot_park(&park, deadline);
    return err == EAGAIN ? 0 : err;
}

/* Arrives and waits. Returns 0, an error, or EAGAIN when it could not enter or need not wait. */
static int visit(struct visit *v, thrum_time_t deadline)
{
    struct ending end = {.b = v->b, .mark = BROKEN, .broken = true};
    const thi_unpark_t give_up = {
        .key = v->b, .site = &site, .n = THI_ALL, .settle = settle_end, .arg = &end};
    thi_park_t park = {.site = &site,
                       .key = v->b,
                       .arg = v,
                       .validate = arrive,
                       .give_up = &give_up,
                       .cancellable = true,
                       .spin = true};
    const int err = thi_lot_park(&park, deadline);
    if (end.ended)
        open_door(v->b);
    if (err != 0)
        return err;
    return park.given == GIVEN_PASSED ? 0 : EPIPE;
}

int thrum_barrier_wait_until(thrum_barrier_t *b, unsigned *index, thrum_time_t deadline)
{
    if (b == NULL)
        return EINVAL;
    struct visit v = {.b = b};
    int err = visit(&v, deadline);
    while (err == EAGAIN) {
        if (v.broken)
            return EPIPE;
        err = v.full ? wait_at_door(b, deadline) : pass(&v);
        if (v.full && err == 0)
            err = visit(&v, deadline);
    }
    if (err == 0 && index != NULL)
        *index = v.index;
    return err;
}

int thrum_barrier_wait(thrum_barrier_t *b, unsigned *index)
{
    return thrum_barrier_wait_until(b, index, THRUM_FOREVER);
}

/* ------------------------------------------------------------------------------------------------
 * The rest of the public face
 */

int thrum_barrier_init(thrum_barrier_t *b, unsigned parties, int (*action)(void *), void *arg)
{
    if (b == NULL || parties == 0 || parties > THRUM_BARRIER_MAX)
        return EINVAL;
    *b = (thrum_barrier_t){0, parties, 0, action, arg};
    return 0;
}

int thrum_barrier_reset(thrum_barrier_t *b)
{
    return end_round(b, 0);
}

int thrum_barrier_abort(thrum_barrier_t *b)
{
    return end_round(b, BROKEN);
}

unsigned thrum_barrier_parties(const thrum_barrier_t *b)
{
    return b != NULL ? b->thrum_parties : 0;
}

unsigned thrum_barrier_waiting(const thrum_barrier_t *b)
{
    return b != NULL ? arrived(thi_load_relaxed(&b->thrum_word)) : 0;
}

bool thrum_barrier_broken(const thrum_barrier_t *b)
{
    return b != NULL && (thi_load_relaxed(&b->thrum_word) & BROKEN) != 0;
}
