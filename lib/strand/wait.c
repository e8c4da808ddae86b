/*
 * Waits and their claims; the states are in strand.h.
 *
 * Invariants
 *   I1  claim leaves OPEN once, by one compare-and-swap: one winner.
 *   I2  A waker reads all that it needs of a wait before it stores DONE (R2). From then on it has
 *       only the strand's record, which stays valid memory.
 *   I3  Once claimed by a waker the strand no longer looks at its deadline or cancellation: the
 *       wake-up is its own now.
 */
#include "strand/strand.h"

#define PASS_ON_MIN 2u /* how many must be left for halving them to be worth it */

bool thi_wait_claim(thi_waiter_t *waiter)
{
    uint32_t claim = THI_WAIT_OPEN;
    if (THI_PLANT("wait-claimed-twice") && thi_load_relaxed(&waiter->wait->claim) == THI_WAIT_OPEN)
        return thi_store_relaxed(&waiter->wait->claim, waiter->index + 1), true;
    /* C1: relaxed; the winner's data goes to the strand with R2, and what the strand wrote before it
     * queued came to the winner through the lock of the queue. */
    return thi_cas_relaxed(&waiter->wait->claim, &claim, waiter->index + 1);
}

void thi_wait_finish(thi_waiter_t *waiter)
{
    thi_wait_t *wait = waiter->wait;
    if (THI_UNLIKELY(waiter->near != THI_NEAR_NOT)) {
        thi_near_finish(waiter);
        return;
    }
    thi_strand_t *strand = wait->strand;
    /* R2: release; pairs with A2. The waiter and its wait are gone after it (I2). */
    thi_store_release(&wait->claim, (waiter->index + 1) | THI_WAIT_DONE);
    if (THI_PLANT("wait-used-after-done"))
        thi_store_relaxed(&wait->strand, NULL);
    thi_strand_unpark(strand);
}

/* Cuts a chain after n of its waiters. Returns the rest. */
static thi_waiter_t *cut(thi_waiter_t *chain, size_t n)
{
    while (--n != 0)
        chain = chain->next;
    thi_waiter_t *rest = chain->next;
    chain->next = NULL;
    return rest;
}

static size_t length(const thi_waiter_t *chain)
{
    size_t n = 0;
    for (; chain != NULL; chain = chain->next)
        n++;
    return n;
}

/* A wake-up costs its waker microseconds, most of them to reach another processor. So the waker of
 * many hands half of those that are left to each one that it wakes: the last is reached after a
 * logarithm of their number, and the waker is done as soon. */
void thi_wait_finish_chain(thi_waiter_t *first)
{
    if (first == NULL)
        return;
    if (THI_LIKELY(first->next == NULL)) {
        thi_wait_finish(first);
        return;
    }
    size_t left = length(first);
    while (first != NULL) {
        thi_waiter_t *next = first->next;
        left--;
        if (left >= PASS_ON_MIN && first->wait->strand->kind->passes_on) {
            first->wait->pass_on = cut(next, left - left / 2);
            left -= left / 2;
        }
        thi_wait_finish(first);
        first = next;
    }
}

bool thi_wait_give_up(thi_wait_t *wait)
{
    uint32_t claim = THI_WAIT_OPEN;
    /* G1: relaxed; giving up publishes nothing. It fails on a wait that a waker has claimed. */
    return thi_cas_relaxed(&wait->claim, &claim, THI_WAIT_GAVE_UP | THI_WAIT_DONE);
}

/* What is done for the bell may itself wait, as any strand: without it. */
THI_NOINLINE static int sleep_with_bell(thi_strand_t *self, thrum_time_t deadline)
{
    thi_bell_t *bell = self->bell;
    self->bell = NULL;
    const bool listens = bell->listen(bell);
    self->bell = bell;
    if (!listens)
        return 0;
    self->far_word = bell->word;
    self->far_expected = bell->expected;
    const int err = thi_strand_park(self, deadline);
    self->far_word = NULL;
    self->bell = NULL;
    bell->hang_up(bell);
    self->bell = bell;
    return err;
}

static int sleep_once(thi_wait_t *wait, uint32_t claim, thrum_time_t deadline, bool cancellable)
{
    if (claim != THI_WAIT_OPEN) /* I3; its DONE and its unpark are on their way */
        return thi_strand_park(wait->strand, THRUM_FOREVER);
    if (cancellable && thi_strand_cancelled(wait->strand))
        return ECANCELED;
    if (THI_UNLIKELY(wait->strand->bell != NULL))
        return sleep_with_bell(wait->strand, deadline);
    return thi_strand_park(wait->strand, deadline);
}

static int sleep_until_done(thi_wait_t *wait, thrum_time_t deadline, bool cancellable,
                            const thi_site_t *site, const void *object)
{
    int err = 0;
    /* A2: as below. First, since on_sleep may have waited, too, and consumed the permit of this wait. */
    uint32_t claim = thi_load_acquire(&wait->claim);
    const thrum_time_t start = thi_strand_waits(wait->strand, site, object);
    while ((claim & THI_WAIT_DONE) == 0) {
        err = sleep_once(wait, claim, deadline, cancellable);
        if (err != 0 && thi_wait_give_up(wait))
            break;
        err = 0;
        claim = thi_load_acquire(&wait->claim); /* A2 */
    }
    thi_strand_waited(wait->strand);
    if (wait->strand->kind->relax != NULL)
        thi_spin_slept(wait->strand, thi_clock_coarse() - start);
    return err;
}

int thi_wait_sleep(thi_wait_t *wait, thrum_time_t deadline, bool cancellable,
                   const thi_site_t *site, const void *object)
{
    int err = 0;
    /* A2: acquire; pairs with R2: the waker's writes, and the end of its use of the wait. */
    if ((thi_load_acquire(&wait->claim) & THI_WAIT_DONE) == 0) {
        thi_strand_t *self = wait->strand;
        if (THI_UNLIKELY(self->on_sleep != NULL))
            self->on_sleep(self, true);
        err = sleep_until_done(wait, deadline, cancellable, site, object);
        if (THI_UNLIKELY(self->on_sleep != NULL))
            self->on_sleep(self, false);
    }
    if (err == 0 && !THI_PLANT("wait-keeps-it"))
        thi_wait_finish_chain(wait->pass_on);
    return err;
}
