/*
 * Park and unpark: the one pair of calls in which every wait of the library ends.
 *
 *   permit   EMPTY --park--> PARKED --unpark--> NOTIFIED --(park returns)--> EMPTY
 *            EMPTY --unpark--> NOTIFIED --park (at once)--> EMPTY
 *
 * Invariants
 *   I1  Only the strand itself, or its thread for it, writes EMPTY and PARKED; everybody else writes only
 *       NOTIFIED. So a permit is never lost: it stands until the strand consumes it.
 *   I2  Whoever turns PARKED into NOTIFIED, and nobody else, calls the kind's wake, once.
 */
#include <thrum/cancel.h>

#include "strand/strand.h"

_Thread_local thi_current_t thi_current THI_TLS_MODEL;

void thi_strand_set_current(thi_strand_t *strand)
{
    thi_current.strand = strand;
    thi_current.id = strand != NULL ? strand->id : 0;
}

bool thi_strand_will_park(thi_strand_t *strand)
{
    uint32_t permit = THI_EMPTY;
    /* W1: relaxed; it publishes nothing, and a wake that comes after it is acquired by A1. */
    return thi_cas_relaxed(&strand->permit, &permit, THI_PARKED);
}

int thi_strand_parked(thi_strand_t *self, int err)
{
    /* A1: acquire; pairs with R1 of every unpark whose permit this consumes. A swap, since a store
     * could erase an unpark that came after the permit was seen, without acquiring it. */
    return thi_swap_acquire(&self->permit, THI_EMPTY) == THI_NOTIFIED ? 0 : err;
}

int thi_strand_park(thi_strand_t *self, thrum_time_t deadline)
{
    const int err = thi_strand_will_park(self) ? self->kind->block(self, deadline) : 0;
    return thi_strand_parked(self, err);
}

void thi_strand_unpark(thi_strand_t *strand)
{
    if (THI_PLANT("unpark-too-early") && thi_load_relaxed(&strand->permit) != THI_PARKED)
        return;
    /* R1: release; pairs with A1. */
    if (thi_swap_release(&strand->permit, THI_NOTIFIED) == THI_PARKED) {
        if (strand->kind->relax != NULL) /* a hint for spin.c */
            thi_store_relaxed(&strand->waker_cpu, thi_cpu_current() + 1);
        strand->kind->wake(strand);
    }
}

thrum_time_t thi_strand_waits(thi_strand_t *self, const thi_site_t *site, const void *object)
{
    const thrum_time_t now = thi_clock_coarse();
    thi_strand_waits_since(self, site, object, now);
    return now;
}

/* ------------------------------------------------------------------------------------------------
 * Cancellation
 */

void thi_strand_cancel(thi_strand_t *strand)
{
    /* R2: release; pairs with A2. Before the unpark, so that the park which this ends sees it. */
    thi_store_release(&strand->cancelled, 1u);
    thi_strand_unpark(strand);
}

bool thi_scope_cancelled(const thi_scope_t *scope)
{
    for (; scope != NULL; scope = scope->thrum_outer)
        if (thi_load_acquire(&scope->thrum_cancelled) != 0) /* A3: acquire; pairs with R3 */
            return true;
    return false;
}

/* The store of the scope and the look at it before a sleep, against the store of `cancelled` and the look
 * at who is in the scope: one of the two sees the other. */
const thi_scope_t *thi_scope_enter(thi_strand_t *self, const thi_scope_t *scope)
{
    const thi_scope_t *before = self->scope;
    thi_store_relaxed(&self->scope, scope);
    thi_fence_light();
    return before;
}

void thi_scope_cancel(thi_scope_t *scope)
{
    thi_store_release(&scope->thrum_cancelled, 1u); /* R3: release; pairs with A3 */
    thi_fence_heavy();
}

bool thi_strand_cancelled(const thi_strand_t *self)
{
    if (self->shields != 0)
        return false;
    /* A2: acquire; pairs with R2: who asked a strand to stop may have said why. */
    return thi_load_acquire(&self->cancelled) != 0 || thi_scope_cancelled(self->scope);
}

bool thrum_cancelled(void)
{
    /* A thread that never waited has no record and cannot have been asked. */
    const thi_strand_t *self = thi_current.strand;
    return self != NULL && thi_strand_cancelled(self);
}

int thrum_shield(thrum_fn fn, void *arg, void **result)
{
    if (fn == NULL)
        return EINVAL;
    thi_strand_t *self = thi_self();
    if (self == NULL)
        return ENOMEM;
    void *unwanted = NULL;
    self->shields++;
    const int err = fn(arg, result != NULL ? result : &unwanted);
    self->shields--;
    return err;
}
