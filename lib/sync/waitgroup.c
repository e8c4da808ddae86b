/*
 * Wait group. One word:
 *
 *      63            33     32     31          0
 *     +----------------+--------+---------------+
 *     |   generation   | PARKED |     count     |
 *     +----------------+--------+---------------+
 *
 * PARKED may be set with nobody in the parking lot; it is never clear while somebody sleeps there.
 * The generation rises each time the count falls to zero, so a waiter that has not queued yet knows
 * that it was let go even when the count has risen again.
 *
 * Invariants
 *   I1  A strand queues only after it set PARKED, under the bucket's lock, on a word with a count and
 *       of the generation that it came in.
 *   I2  The last touch of the word by the add that brings the count to zero is that change; with
 *       PARKED, it is made under the bucket's lock. A strand that it lets go may free the group.
 */
#include <thrum/waitgroup.h>

#include "sync/sync.h"

#define PARKED (UINT64_C(1) << 32)
#define GENERATION (UINT64_C(1) << 33)

static const thi_site_t site = {"waitgroup", NULL};

struct waiting {
    thrum_waitgroup_t *w;
    uint64_t generation;
};

static int64_t count(uint64_t word)
{
    return (int64_t)(uint32_t)word;
}

static bool let_go(const struct waiting *wait, uint64_t word)
{
    return count(word) == 0 || word / GENERATION != wait->generation;
}

/* Under the bucket's lock. */
static bool must_wait(void *arg)
{
    const struct waiting *wait = arg;
    uint64_t word = thi_load_relaxed(&wait->w->thrum_word);
    do {
        if (let_go(wait, word) && !THI_PLANT("waitgroup-no-recheck"))
            return false;
        /* W1: relaxed; the bucket's lock orders it before the add that looks for it. */
    } while (!thi_cas_relaxed(&wait->w->thrum_word, &word, word | PARKED));
    return true;
}

static bool spin_for_it(const struct waiting *wait)
{
    thi_spin_t spin = thi_spin_begin();
    bool free = false;
    do
        free = let_go(wait, thi_load_acquire(&wait->w->thrum_word)); /* A1: pairs with R1, R2 */
    while (!free && thi_spin_turn(&spin));
    thi_spin_end(&spin, free);
    return free;
}

THI_COLD static int wait_slow(thrum_waitgroup_t *w, uint64_t word, thrum_time_t deadline)
{
    if (thi_self() == NULL)
        return ENOMEM;
    struct waiting wait = {w, word / GENERATION};
    if (spin_for_it(&wait))
        return 0;
    thi_park_t park = {
        .site = &site, .key = w, .arg = &wait, .validate = must_wait, .cancellable = true};
    const int err = thi_lot_park(&park, deadline);
    if (err != EAGAIN)
        return err;                         /* 0: an add found us in the queue */
    (void)thi_load_acquire(&w->thrum_word); /* A1: it reached zero before we could queue */
    return 0;
}

/* The word after adding n, or the error. */
static int sum(uint64_t word, int n, uint64_t *next)
{
    const int64_t total = count(word) + n;
    if (total < 0)
        return EINVAL;
    if (total > INT_MAX)
        return EOVERFLOW;
    *next = (word & ~(uint64_t)UINT32_MAX) | (uint64_t)total;
    if (total == 0 && count(word) != 0)
        *next += GENERATION;
    return 0;
}

struct adding {
    thrum_waitgroup_t *w;
    int n;
    int err;
};

/* Adds, unless that ends the waiting of somebody in the parking lot; then false. */
static bool add_alone(struct adding *adding)
{
    uint64_t word = thi_load_relaxed(&adding->w->thrum_word);
    uint64_t next = 0;
    do {
        adding->err = sum(word, adding->n, &next);
        if (adding->err != 0)
            return true;
        if (count(next) == 0 && (word & PARKED) != 0 && !THI_PLANT("waitgroup-no-wake"))
            return false;
        /* R1: release; pairs with A1. Acquire: the last done comes after the others. */
    } while (!thi_cas_acq_rel(&adding->w->thrum_word, &word, next));
    return true;
}

/* Under the bucket's lock: adds, and says whether that lets the waiters go. */
static bool add_parked(void *arg)
{
    struct adding *adding = arg;
    uint64_t word = thi_load_relaxed(&adding->w->thrum_word);
    uint64_t next = 0;
    do {
        adding->err = sum(word, adding->n, &next);
        if (adding->err != 0)
            return false;
        if (count(next) == 0)
            next &= ~PARKED;
        /* R2: release; pairs with A1, and, through the claims, with every queued waiter. */
    } while (!thi_cas_acq_rel(&adding->w->thrum_word, &word, next));
    return count(next) == 0;
}

int thrum_waitgroup_init(thrum_waitgroup_t *w)
{
    if (w == NULL)
        return EINVAL;
    *w = (thrum_waitgroup_t)THRUM_WAITGROUP_INIT;
    return 0;
}

int thrum_waitgroup_add(thrum_waitgroup_t *w, int n)
{
    if (THI_UNLIKELY(w == NULL))
        return EINVAL;
    struct adding adding = {w, n, 0};
    if (THI_UNLIKELY(!add_alone(&adding)))
        thi_lot_unpark(&(thi_unpark_t){
            .key = w, .site = &site, .n = THI_ALL, .before = add_parked, .arg = &adding});
    return adding.err;
}

int thrum_waitgroup_done(thrum_waitgroup_t *w)
{
    return thrum_waitgroup_add(w, -1);
}

int thrum_waitgroup_trywait(thrum_waitgroup_t *w)
{
    if (THI_UNLIKELY(w == NULL))
        return EINVAL;
    return count(thi_load_acquire(&w->thrum_word)) == 0 ? 0 : EAGAIN; /* A1 */
}

int thrum_waitgroup_wait(thrum_waitgroup_t *w)
{
    return thrum_waitgroup_wait_until(w, THRUM_FOREVER);
}

int thrum_waitgroup_wait_until(thrum_waitgroup_t *w, thrum_time_t deadline)
{
    if (THI_UNLIKELY(w == NULL))
        return EINVAL;
    const uint64_t word = thi_load_acquire(&w->thrum_word); /* A1 */
    return THI_LIKELY(count(word) == 0) ? 0 : wait_slow(w, word, deadline);
}
