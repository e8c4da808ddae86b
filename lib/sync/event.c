/*
 * Event. One word:
 *
 *      31                  2     1      0
 *     +---------------------+--------+-----+
 *     |     generation      | PARKED | SET |
 *     +---------------------+--------+-----+
 *
 * PARKED may be set with nobody in the parking lot; it is never clear while somebody sleeps there.
 * The generation rises with every change from clear to set, so a waiter that has not queued yet knows
 * that it was let go even when the event has been cleared again.
 *
 * Invariants
 *   I1  A strand queues only after it set PARKED, under the bucket's lock, on a word that is not SET
 *       and of the generation that it came in.
 *   I2  A set's last touch of the word is the change that sets it; with PARKED, that is made under
 *       the bucket's lock. A strand that it lets go may free the event.
 *   I3  Set and clear are read-modify-writes even when they change nothing: of "store, set" in one
 *       strand and "clear, load" in another, either the load sees the store or the event stays set.
 */
#include <thrum/event.h>

#include "sync/sync.h"

#define SET 1u
#define PARKED 2u
#define GENERATION 4u

static const thi_site_t site = {"event", NULL};

struct waiting {
    thrum_event_t *e;
    uint32_t generation;
};

static uint32_t generation(uint32_t word)
{
    return word / GENERATION;
}

static bool let_go(const struct waiting *w, uint32_t word)
{
    const bool passed_by = generation(word) != w->generation && !THI_PLANT("event-no-generation");
    return (word & SET) != 0 || passed_by;
}

/* Under the bucket's lock. */
static bool must_wait(void *arg)
{
    const struct waiting *w = arg;
    uint32_t word = thi_load_relaxed(&w->e->thrum_word);
    do {
        if (let_go(w, word) && !THI_PLANT("event-no-recheck"))
            return false;
        /* W1: relaxed; the bucket's lock orders it before the set that looks for it. */
    } while (!thi_cas_relaxed(&w->e->thrum_word, &word, word | PARKED));
    return true;
}

static bool spin_for_it(const struct waiting *w)
{
    thi_spin_t spin = thi_spin_begin();
    bool free = false;
    do
        free = let_go(w, thi_load_acquire(&w->e->thrum_word)); /* A1: acquire; pairs with R1, R2 */
    while (!free && thi_spin_turn(&spin));
    thi_spin_end(&spin, free);
    return free;
}

THI_COLD static int wait_slow(thrum_event_t *e, uint32_t word, thrum_time_t deadline)
{
    if (thi_self() == NULL)
        return ENOMEM;
    struct waiting w = {e, generation(word)};
    if (spin_for_it(&w))
        return 0;
    thi_park_t park = {
        .site = &site, .key = e, .arg = &w, .validate = must_wait, .cancellable = true};
    const int err = thi_lot_park(&park, deadline);
    if (err != EAGAIN)
        return err; /* 0: a set found us in the queue */
    /* A1: acquire; pairs with R1, R2: it was set before we could queue. */
    (void)thi_load_acquire(&e->thrum_word);
    return 0;
}

uint32_t thi_event_generation(const thrum_event_t *e)
{
    /* Relaxed: a set that the caller knows of is seen, and one beside it may count as before or after. */
    return generation(thi_load_relaxed(&e->thrum_word));
}

bool thi_event_let_go(const thrum_event_t *e, uint32_t since)
{
    const struct waiting w = {NULL, since};
    return let_go(&w, thi_load_acquire(&e->thrum_word)); /* A1 */
}

bool thi_event_enter(thrum_event_t *e, uint32_t since, thi_wait_t *wait, thi_waiter_t *waiter,
                     uint32_t index)
{
    struct waiting w = {e, THI_PLANT("select-no-generation")
                               ? generation(thi_load_relaxed(&e->thrum_word))
                               : since};
    const thi_park_t park = {.site = &site, .key = e, .arg = &w, .validate = must_wait};
    return thi_lot_enter(wait, waiter, index, &park);
}

void thi_event_leave(thrum_event_t *e, thi_waiter_t *waiter)
{
    thi_lot_leave(waiter, &(thi_park_t){.site = &site, .key = e});
}

static uint32_t set_word(uint32_t word)
{
    return (word & SET) != 0 ? word : (word + GENERATION) | SET;
}

/* Under the bucket's lock. */
static bool set_parked(void *arg)
{
    thrum_event_t *e = arg;
    uint32_t word = thi_load_relaxed(&e->thrum_word);
    /* R2: release; pairs with A1, and, through the claims, with every queued waiter. */
    while (!thi_cas_acq_rel(&e->thrum_word, &word, set_word(word) & ~PARKED)) {
    }
    return true;
}

int thrum_event_init(thrum_event_t *e)
{
    if (e == NULL)
        return EINVAL;
    *e = (thrum_event_t)THRUM_EVENT_INIT;
    return 0;
}

void thrum_event_set(thrum_event_t *e)
{
    if (THI_UNLIKELY(e == NULL))
        return;
    if (THI_PLANT("event-set-then-look"))
        thi_fetch_or_relaxed(&e->thrum_word, SET);
    uint32_t word = thi_load_relaxed(&e->thrum_word);
    do {
        if (THI_UNLIKELY((word & PARKED) != 0)) {
            thi_lot_unpark(&(thi_unpark_t){
                .key = e, .site = &site, .n = THI_ALL, .before = set_parked, .arg = e});
            return;
        }
        /* R1: release; pairs with A1 (acquire as well: I3). */
    } while (!thi_cas_acq_rel(&e->thrum_word, &word, set_word(word)));
}

void thrum_event_clear(thrum_event_t *e)
{
    if (THI_LIKELY(e != NULL))
        thi_fetch_and_acq_rel(&e->thrum_word, ~SET); /* I3 */
}

bool thrum_event_is_set(const thrum_event_t *e)
{
    /* A1: acquire; pairs with R1, R2. */
    return e != NULL && (thi_load_acquire(&e->thrum_word) & SET) != 0;
}

int thrum_event_trywait(thrum_event_t *e)
{
    if (THI_UNLIKELY(e == NULL))
        return EINVAL;
    return thrum_event_is_set(e) ? 0 : EAGAIN;
}

int thrum_event_wait(thrum_event_t *e)
{
    return thrum_event_wait_until(e, THRUM_FOREVER);
}

int thrum_event_wait_until(thrum_event_t *e, thrum_time_t deadline)
{
    if (THI_UNLIKELY(e == NULL))
        return EINVAL;
    const uint32_t word = thi_load_acquire(&e->thrum_word); /* A1 */
    return THI_LIKELY((word & SET) != 0) ? 0 : wait_slow(e, word, deadline);
}
