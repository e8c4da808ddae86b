/*
 * The barrier of several processes.
 *
 *   round     the number of the round, shifted, and whether the barrier is broken: the word that all sleep on.
 *             Every change of it ends a round, and wakes in the same step.
 *   arrived   how many have, with the round in the upper half: of another round it means none
 *   history   of the last 64 rounds, one bit each: it was broken
 *   wanted    a word of `round` which is to be broken: by whoever holds the guard
 *
 * Invariants
 *   I1  round, arrived and history are changed by the holder of the guard; each change is one store, and all that
 *       has to happen for a round to end, but for its bit in history, happens in one step. So there is nothing
 *       to mend when a holder has died: what it was about has happened or has not.
 *   I2  The bit of a round is right from before that ends until 64 rounds later.
 *   I3  Whoever gives up does not wait for the guard. It leaves word in `wanted` and takes the guard if it can;
 *       and who has let go of the guard looks at `wanted` again, and takes it if it can.
 */
#include <thrum/shared_lock.h>

#include "process/process.h"

typedef struct barrier {
    thi_guard_t guard;
    uint32_t round;
    uint32_t parties;
    uint64_t arrived THRUM_ALIGNED(8);
    uint64_t history;
    uint32_t wanted; /* 0: none; else with BROKEN, so that it is not 0 */
    uint32_t reserved;
} barrier_t;

_Static_assert(sizeof(barrier_t) <= sizeof(thrum_shared_barrier_t), "it fits");

#define BROKEN 1u
#define ROUND 2u

static const thi_site_t site = {"shared barrier", NULL};

static barrier_t *barrier_of(const thrum_shared_barrier_t *b)
{
    return (barrier_t *)(uintptr_t)b;
}

static bool is_made(const thrum_shared_barrier_t *b)
{
    return b != NULL && barrier_of(b)->guard.made == THI_GUARD_MADE;
}

static unsigned count_in(const barrier_t *b, uint32_t round)
{
    const uint64_t arrived = thi_load_relaxed(&b->arrived);
    return (uint32_t)(arrived >> 32) == round ? (unsigned)arrived : 0;
}

static uint64_t bit_of(uint32_t round)
{
    return UINT64_C(1) << round / ROUND % 64;
}

static void end_round(barrier_t *b, bool broken, uint32_t step)
{
    const uint64_t bit = bit_of(b->round), before = b->history;
    thi_store_relaxed(&b->history, broken ? before | bit : before & ~bit); /* I2 */
    thi_death_point("barrier: history written");
    thi_far_add(&b->round, step); /* I1; a full fence */
    thi_death_point("barrier: round ended");
}

static void break_it(barrier_t *b)
{
    if ((b->round & BROKEN) == 0)
        end_round(b, true, ROUND + BROKEN);
}

/* I3. With the guard. */
static void do_what_is_wanted(barrier_t *b)
{
    uint32_t wanted = thi_load_acquire(&b->wanted);
    if (THI_LIKELY(wanted == 0))
        return;
    if (wanted == (b->round | BROKEN))
        break_it(b);
    thi_cas_relaxed(&b->wanted, &wanted, 0u); /* unless something newer is */
}

static int enter(barrier_t *b, thrum_time_t deadline)
{
    const int err = thi_shared_lock_plain(&b->guard, deadline, &site);
    if (err == 0)
        do_what_is_wanted(b);
    return err;
}

/* I3. */
static void look_after(barrier_t *b)
{
    thi_fence_full();
    while (THI_UNLIKELY(thi_load_relaxed(&b->wanted) != 0)) {
        const int err = thi_guard_trylock(&b->guard);
        if (err != 0 && err != EOWNERDEAD)
            return; /* the holder will */
        thi_guard_mend(&b->guard);
        do_what_is_wanted(b);
        thi_guard_unlock(&b->guard);
        thi_fence_full();
    }
}

static void leave(barrier_t *b)
{
    thi_guard_unlock(&b->guard);
    look_after(b);
}

static void want_broken(barrier_t *b, uint32_t round)
{
    uint32_t wanted = thi_load_relaxed(&b->wanted);
    while (thi_load_relaxed(&b->round) == round && wanted != (round | BROKEN))
        if (thi_cas_acq_rel(&b->wanted, &wanted, round | BROKEN))
            break;
    look_after(b);
}

/* Under the guard. ERANGE: the last has not arrived yet. */
static int arrive(barrier_t *b, uint32_t round, unsigned index)
{
    if ((round & BROKEN) != 0)
        return EPIPE;
    if (index + 1 == b->parties) {
        end_round(b, false, ROUND);
        return 0;
    }
    thi_store_relaxed(&b->arrived, (uint64_t)round << 32 | (index + 1));
    thi_death_point("barrier: arrived");
    return ERANGE;
}

/* A1: acquire; pairs with the full fence of end_round: all who arrived had the guard before that. */
static int sleep_in(barrier_t *b, uint32_t round, thrum_time_t deadline)
{
    int err = 0;
    while (thi_load_acquire(&b->round) == round && err == 0) {
        err = thi_shared_sleep(&b->round, round, deadline, true, &site);
        thi_death_point("barrier: woken");
    }
    if (thi_load_acquire(&b->round) == round)
        want_broken(b, round);
    if (thi_load_acquire(&b->round) == round)
        return err; /* it will be */
    if ((thi_load_relaxed(&b->history) & bit_of(round)) == 0)
        return 0;
    return err != 0 ? err : EPIPE;
}

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
        return err;
    const uint32_t round = b->round;
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
    if ((b->round & BROKEN) != 0)
        thi_far_add(&b->round, ROUND - BROKEN);
    else if (count_in(b, b->round) != 0)
        end_round(b, true, ROUND);
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
    break_it(b);
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
