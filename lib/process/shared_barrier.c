/*
 * The barrier of several processes.
 *
 *   round     the word that all sleep on:
 *
 *              31             2     1        0
 *             +----------------+--------+--------+
 *             |  which round   | PASSED | BROKEN |
 *             +----------------+--------+--------+
 *
 *   PASSED    the last has arrived; the round is over, and yet to be counted. With BROKEN: it was too late
 *   arrived   how many have, with the round in the upper half: of another round it means none
 *   history   of the last 64 rounds, one bit each: it was broken
 *
 * Changes of the word; r alone is a round of which nothing has become yet
 *   r            -> r+1          by the holder of the guard: reset
 *   r            -> r P          by the holder of the guard: the last arrives
 *   r            -> r B          by a swap of whoever gives up; by the holder of the guard: abort
 *   r B          -> r B P        by the holder of the guard: the last arrives
 *   r P          -> r+1          by a swap of the holder of the guard
 *   r P          -> r+1 B        by a swap of whoever gives up at the door
 *   r B, r B P   -> r+1          by the holder of the guard: reset
 *
 * Invariants
 *   I1  What becomes of a round is told by the first change of the word. So whoever gives up does not wait for the
 *       guard, and who arrives last and who gives up agree.
 *   I2  arrived and history are the holder's of the guard. A change of the word by the holder wakes in the same
 *       step, unless nobody can be asleep: there is nothing to mend when a holder has died.
 *   I3  Who gives up wakes after its swap. Should it be killed between the two, whoever finds the word BROKEN
 *       wakes the others.
 *   I4  The bit of a round is right from before the word is of another until that is 64 rounds later, and from
 *       before it is PASSED unless it is BROKEN.
 */
#include <thrum/shared_lock.h>

#include "process/process.h"

typedef struct barrier {
    thi_guard_t guard;
    uint32_t round;
    uint32_t parties;
    uint64_t arrived THRUM_ALIGNED(8);
    uint64_t history;
} barrier_t;

_Static_assert(sizeof(barrier_t) <= sizeof(thrum_shared_barrier_t), "it fits");

#define BROKEN 1u
#define PASSED 2u
#define ROUND 4u

static const thi_site_t site = {"shared barrier", NULL};

static barrier_t *barrier_of(const thrum_shared_barrier_t *b)
{
    return (barrier_t *)(uintptr_t)b;
}

static bool is_made(const thrum_shared_barrier_t *b)
{
    return b != NULL && barrier_of(b)->guard.made == THI_GUARD_MADE;
}

static uint32_t round_of(uint32_t word)
{
    return word & ~(PASSED | BROKEN);
}

static unsigned count_in(const barrier_t *b, uint32_t word)
{
    const uint64_t arrived = thi_load_relaxed(&b->arrived);
    return (uint32_t)(arrived >> 32) == word ? (unsigned)arrived : 0;
}

static uint64_t bit_of(uint32_t word)
{
    return UINT64_C(1) << word / ROUND % 64;
}

/* ------------------------------------------------------------------------------------------------
 * With the guard
 */

static void count_passed(barrier_t *b)
{
    uint32_t word = thi_load_relaxed(&b->round);
    while ((word & (PASSED | BROKEN)) == PASSED)
        /* R1: release; pairs with A1. Nobody sleeps on a round that has passed. */
        if (thi_cas_release(&b->round, &word, word - PASSED + ROUND))
            return;
}

static int enter(barrier_t *b, thrum_time_t deadline)
{
    const int err = thi_shared_lock_plain(&b->guard, deadline, &site);
    if (err == 0)
        count_passed(b);
    return err;
}

static void leave(barrier_t *b)
{
    thi_guard_unlock(&b->guard);
}

/* I3. */
static int tell_broken(barrier_t *b)
{
    thi_far_wake(&b->round);
    return EPIPE;
}

static int pass(barrier_t *b, uint32_t round)
{
    thi_store_relaxed(&b->history, b->history & ~bit_of(round)); /* I4 */
    thi_death_point("barrier: history written");
    thi_far_or(&b->round, PASSED); /* I1; a full fence */
    thi_death_point("barrier: passed");
    const uint32_t word = thi_load_relaxed(&b->round);
    if (round_of(word) == round && (word & BROKEN) != 0)
        return EPIPE;
    count_passed(b);
    return 0;
}

/* ERANGE: the last has not arrived yet. */
static int arrive(barrier_t *b, uint32_t word, unsigned index)
{
    if ((word & BROKEN) != 0)
        return tell_broken(b);
    if (index + 1 == b->parties)
        return pass(b, word);
    thi_store_relaxed(&b->arrived, (uint64_t)word << 32 | (index + 1));
    thi_death_point("barrier: arrived");
    return ERANGE;
}

/* Whoever is inside finds it broken; the word may be so afterwards, by one who gives up meanwhile. */
static void begin_next(barrier_t *b)
{
    const uint32_t word = thi_load_relaxed(&b->round);
    thi_store_relaxed(&b->history, b->history | bit_of(word)); /* I4 */
    thi_death_point("barrier: about to begin anew");
    thi_far_add(&b->round, ROUND - (word & (PASSED | BROKEN))); /* a full fence */
    thi_death_point("barrier: begun anew");
}

/* ------------------------------------------------------------------------------------------------
 * Without
 */

/* EAGAIN: nothing has become of the round yet. */
static int outcome(barrier_t *b, uint32_t round)
{
    /* A1: acquire; pairs with R1 and the full fences of whoever had the guard: so did all who arrived. */
    const uint32_t word = thi_load_acquire(&b->round);
    if (word == round)
        return EAGAIN;
    if (round_of(word) == round)
        return (word & BROKEN) != 0 ? tell_broken(b) : 0;
    return (thi_load_relaxed(&b->history) & bit_of(round)) != 0 ? EPIPE : 0; /* I4 */
}

static bool swap_and_wake(barrier_t *b, uint32_t *word, uint32_t broken)
{
    if (!thi_cas_acq_rel(&b->round, word, broken))
        return false;
    thi_death_point("barrier: broken, and nobody told");
    thi_far_wake(&b->round);
    return true;
}

/* `err` is why it is given up. */
static int give_up(barrier_t *b, uint32_t round, int err)
{
    uint32_t word = round;
    return swap_and_wake(b, &word, round | BROKEN) ? err : outcome(b, round);
}

/* By one who has not arrived, in whatever round that is. */
static int give_up_at_the_door(barrier_t *b)
{
    uint32_t word = thi_load_acquire(&b->round);
    while ((word & BROKEN) == 0) {
        const uint32_t next = (word & PASSED) != 0 ? word - PASSED + ROUND : word; /* I4 */
        if (swap_and_wake(b, &word, next | BROKEN))
            return ETIMEDOUT;
    }
    return tell_broken(b);
}

static int sleep_in(barrier_t *b, uint32_t round, thrum_time_t deadline)
{
    int became = outcome(b, round), err = 0;
    while (became == EAGAIN && err == 0) {
        thi_death_point("barrier: about to sleep");
        err = thi_shared_sleep(&b->round, round, deadline, true, &site);
        thi_death_point("barrier: woken");
        became = outcome(b, round);
    }
    if (became == EAGAIN)
        became = give_up(b, round, err);
    return became == EPIPE && err != 0 ? err : became;
}

/* ------------------------------------------------------------------------------------------------ */

int thrum_shared_barrier_init(thrum_shared_barrier_t *b, unsigned parties)
{
    if (b == NULL || parties == 0 || parties > THRUM_SHARED_BARRIER_MAX)
        return EINVAL;
    *barrier_of(b) = (barrier_t){.parties = parties};
    return thi_guard_init(&barrier_of(b)->guard);
}

int thrum_shared_barrier_wait(thrum_shared_barrier_t *b, unsigned *index)
{
    return thrum_shared_barrier_wait_until(b, index, THRUM_FOREVER);
}

int thrum_shared_barrier_wait_until(thrum_shared_barrier_t *barrier, unsigned *index,
                                    thrum_time_t deadline)
{
    if (!is_made(barrier))
        return EINVAL;
    if (thi_self() == NULL)
        return ENOMEM;
    barrier_t *b = barrier_of(barrier);
    int err = enter(b, deadline);
    if (err != 0)
        return err == ETIMEDOUT ? give_up_at_the_door(b) : err;
    const uint32_t round = thi_load_relaxed(&b->round);
    const unsigned place = count_in(b, round);
    err = arrive(b, round, place);
    leave(b);
    if (err == ERANGE)
        err = sleep_in(b, round, deadline);
    if (err == 0 && index != NULL)
        *index = place;
    return err;
}

int thrum_shared_barrier_reset(thrum_shared_barrier_t *barrier)
{
    if (!is_made(barrier))
        return EINVAL;
    barrier_t *b = barrier_of(barrier);
    const int err = enter(b, THRUM_FOREVER);
    if (err != 0)
        return err;
    if (count_in(b, thi_load_relaxed(&b->round)) != 0)
        begin_next(b);
    while ((thi_load_relaxed(&b->round) & BROKEN) != 0)
        begin_next(b);
    leave(b);
    return 0;
}

int thrum_shared_barrier_abort(thrum_shared_barrier_t *barrier)
{
    if (!is_made(barrier))
        return EINVAL;
    barrier_t *b = barrier_of(barrier);
    const int err = enter(b, THRUM_FOREVER);
    if (err != 0)
        return err;
    thi_far_or(&b->round, BROKEN); /* I1: a full fence */
    leave(b);
    return 0;
}

unsigned thrum_shared_barrier_parties(const thrum_shared_barrier_t *b)
{
    return b != NULL ? barrier_of(b)->parties : 0;
}

unsigned thrum_shared_barrier_waiting(const thrum_shared_barrier_t *b)
{
    return b != NULL ? count_in(barrier_of(b), thi_load_relaxed(&barrier_of(b)->round)) : 0;
}

bool thrum_shared_barrier_broken(const thrum_shared_barrier_t *b)
{
    return b != NULL && (thi_load_relaxed(&barrier_of(b)->round) & BROKEN) != 0;
}
