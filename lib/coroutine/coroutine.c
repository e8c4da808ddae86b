/*
 * How coroutines give control to one another. The states are in core.h, the beginning and the end in life.c.
 *
 * Invariants
 *   I1  One coroutine of a thread is RUNNING, and it is stage->current.
 *   I2  `back` of one that was resumed is RESUMING until the other yields, ends or is waited for in the
 *       loop; `back` of one that was started by a switch is held by a reference.
 *   I3  Who gives control leaves behind what it gives, where the other wants to have it (`out`), and passes
 *       what the other's call is to return. So a resume, a yield and a switch have nothing to do once
 *       they have control again: the switch of contexts is a jump at their end, and the other's goes
 *       straight to who called it.
 */
#include "coroutine/core.h"

/* ------------------------------------------------------------------------------------------------
 * Passing control
 */

/* A worker's tasks may wait for others of the same pool, also in a coroutine that they resume by hand. */
static inline void lend_home(const thrum_coro_t *from, thrum_coro_t *to)
{
    const thi_strand_t *lender = from->fiber.strand;
    thi_strand_t *strand = &to->strand;
    if (THI_LIKELY(((uintptr_t)lender->home | (uintptr_t)strand->home) == 0))
        return;
    strand->home = lender->home;
    strand->post = lender->post;
    strand->on_sleep = lender->on_sleep;
}

/* ------------------------------------------------------------------------------------------------
 * Resume and yield
 */

static inline bool is_suspended(const thrum_coro_t *co)
{
    return co->state <= THI_CORO_SWITCHED;
}

/* It has been resumed, and has switched away: who resumed it waits for it. */
static inline bool is_awaited(const thrum_coro_t *co)
{
    return co->state == THI_CORO_SWITCHED && co->back != NULL &&
           co->back->state == THI_CORO_RESUMING && co->back->resumed == co;
}

/* It is not unwound, even if nobody else has a handle: it ends by itself, or is lost to all. */
static void let_go_of_back(thrum_coro_t *co)
{
    if (co->holds_back && thi_coro_drop(co->back) && thrum_coro_done(co->back))
        thi_coro_free(co->stage, co->back);
    co->holds_back = false;
    co->back = NULL;
}

/* Why it cannot be gone on with. */
THI_COLD static int refuses(const thi_stage_t *stage, const thrum_coro_t *co)
{
    if (co == NULL)
        return EINVAL;
    if (stage != NULL && co->stage == stage)
        return co->state == THI_CORO_DONE ? ENODATA : EINVAL;
    return thrum_coro_done(co) ? ENODATA : EINVAL;
}

/* A suspended one that goes back to nobody. `send`: what its call is to return. */
THI_FIBER_INLINE int resume(thi_stage_t *stage, thrum_coro_t *co, void *send, void **yielded)
{
    thrum_coro_t *self = stage->current;
    lend_home(self, co);
    co->back = self;
    self->resumed = co;
    self->out = yielded;
    thi_coro_set_state(self, THI_CORO_RESUMING);
    thi_coro_make_current(stage, co);
    return thi_fiber_switch_int(&self->fiber, &co->fiber, send);
}

THI_NOINLINE static int resume_from_switch(thi_stage_t *stage, thrum_coro_t *co, void *send,
                                           void **yielded)
{
    if (is_awaited(co))
        return refuses(stage, co);
    let_go_of_back(co);
    return resume(stage, co, thi_coro_hand_over(co, send), yielded);
}

int thrum_coro_resume(thrum_coro_t *co, void *send, void **yielded)
{
    thi_stage_t *stage = thi_stage;
    if (THI_UNLIKELY(co == NULL || co->stage != stage || !is_suspended(co) || co->loops))
        return refuses(stage, co);
    if (THI_UNLIKELY(co->state == THI_CORO_SWITCHED))
        return resume_from_switch(stage, co, send, yielded);
    return resume(stage, co, send, yielded);
}

void thi_coro_unwind(thi_stage_t *stage, thrum_coro_t *co)
{
    (void)stage;
    co->unwinding = true;
    thi_store_release(&co->strand.cancelled, 1u);
    while (co->state != THI_CORO_DONE && thrum_coro_resume(co, NULL, NULL) == 0) {
        /* it has given control to us by a switch, and is still to end */
    }
}

/* Who does not simply go back to who has resumed it. */
THI_NOINLINE static void *yield_otherwise(thi_stage_t *stage, void *value)
{
    thrum_coro_t *self = stage != NULL ? stage->current : NULL;
    if (self == NULL || self->back == NULL) {
        thrum_yield();
        return NULL;
    }
    if (self->unwinding)
        thi_coro_end(self, ECANCELED, NULL);
    thrum_coro_t *back = self->back;
    if (!thi_coro_takes_control(back, self)) { /* who started it has gone elsewhere since */
        thrum_yield();
        return NULL;
    }
    let_go_of_back(self);
    thi_coro_set_state(self, THI_CORO_YIELDED);
    value = thi_coro_deliver(back, value);
    thi_coro_make_current(stage, back);
    return thi_fiber_switch(&self->fiber, &back->fiber, value);
}

void *thrum_coro_yield(void *value)
{
    thi_stage_t *stage = thi_stage;
    if (THI_UNLIKELY(stage == NULL))
        return yield_otherwise(stage, value);
    thrum_coro_t *self = stage->current;
    thrum_coro_t *back = self->back;
    if (THI_UNLIKELY(back == NULL || back->state != THI_CORO_RESUMING || back->resumed != self ||
                     self->unwinding))
        return yield_otherwise(stage, value);
    self->back = NULL;
    thi_coro_set_state(self, THI_CORO_YIELDED);
    value = thi_coro_hand_over(back, value);
    thi_coro_make_current(stage, back);
    return thi_fiber_switch(&self->fiber, &back->fiber, value);
}

/* ------------------------------------------------------------------------------------------------
 * Switch
 */

/* Its end gives control to the caller, unless somebody resumes it meanwhile. */
static void start_by_switch(thrum_coro_t *self, thrum_coro_t *co)
{
    co->back = self;
    co->holds_back = self != &self->stage->self; /* the thread outlives it */
    if (co->holds_back)
        thi_coro_retain(self);
}

/* To whom it is not simply the end of its switch. */
THI_NOINLINE static int switch_otherwise(thrum_coro_t *co, void *send, void **received)
{
    thi_stage_t *stage = thi_stage_here();
    if (co == NULL || stage == NULL)
        return co == NULL ? EINVAL : ENOMEM;
    thrum_coro_t *self = stage->current;
    if (co == self) {
        if (received != NULL)
            *received = send;
        return 0;
    }
    if (self->unwinding) /* also to whom it cannot switch: who unwinds it waits for it */
        thi_coro_end(self, ECANCELED, NULL);
    if (co->stage != stage || !is_suspended(co) || (co->loops && co->state != THI_CORO_SWITCHED))
        return refuses(stage, co);
    lend_home(self, co);
    if (co->back == NULL && co != &stage->self && !co->loops)
        start_by_switch(self, co);
    self->out = received;
    thi_coro_set_state(self, THI_CORO_SWITCHED);
    send = thi_coro_deliver(co, send);
    thi_coro_make_current(stage, co);
    return thi_fiber_switch_int(&self->fiber, &co->fiber, send);
}

int thrum_coro_switch(thrum_coro_t *co, void *send, void **received)
{
    thi_stage_t *stage = thi_stage;
    if (THI_UNLIKELY(co == NULL || co->stage != stage || co->state != THI_CORO_SWITCHED))
        return switch_otherwise(co, send, received);
    thrum_coro_t *self = stage->current;
    const bool starts = co->back == NULL && co != &stage->self && !co->loops;
    if (THI_UNLIKELY(self->unwinding || starts))
        return switch_otherwise(co, send, received);
    lend_home(self, co);
    self->out = received;
    thi_coro_set_state(self, THI_CORO_SWITCHED);
    send = thi_coro_hand_over(co, send);
    thi_coro_make_current(stage, co);
    return thi_fiber_switch_int(&self->fiber, &co->fiber, send);
}

thrum_coro_t *thrum_coro_current(void)
{
    thi_stage_t *stage = thi_stage_here();
    return stage != NULL ? stage->current : NULL;
}
