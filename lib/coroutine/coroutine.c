/*
 * How coroutines give control to one another, begin and end. The states are in core.h.
 *
 * Invariants
 *   I1  One coroutine of a thread is RUNNING, and it is stage->current.
 *   I2  `back` of one that was resumed is RESUMING until the other yields, ends or is waited for in the
 *       loop; `back` of one that was started by a switch is held by a reference.
 *   I3  Where nobody but the holders of its handle keeps a coroutine's stack from being given to others, it is
 *       said to have ended only when it has left that: by the switch itself. Of a loop it is said before, for
 *       the loop's own reference stays until whoever comes next to settle what is left to do (`ending`).
 *   I4  Who gives control leaves behind what it gives, where the other wants to have it (`out`), and passes
 *       what the other's call is to return. So a resume, a yield and a switch have nothing to do once
 *       they have control again: the switch of contexts is a jump at their end, and the other's goes
 *       straight to who called it.
 */
#include <string.h>

#include "coroutine/stack.h"

/* ------------------------------------------------------------------------------------------------
 * Passing control
 */

/* To one that is in a switch or a resume, whose call is to return 0. I4. */
static inline void *hand_over(const thrum_coro_t *to, void *value)
{
    if (to->out != NULL)
        *to->out = value;
    return NULL;
}

/* To one that is suspended. Returns what its call is to return. I4. */
static inline void *deliver(const thrum_coro_t *to, void *value)
{
    if (to->state == THI_CORO_SWITCHED || to->state == THI_CORO_RESUMING)
        return hand_over(to, value);
    return value; /* of a yield; or it has not begun, and nobody gets it */
}

void thi_coro_settle_one(thi_stage_t *stage)
{
    thrum_coro_t *co = stage->ending;
    stage->ending = NULL;
    /* What nobody has a handle of any more; or the loop's reference. */
    if (!co->loops || thi_load_relaxed(&co->refs) == 0 || thi_coro_drop(co))
        thi_coro_free(stage, co);
}

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
 * The beginning and the end
 */

static void begin(void *value)
{
    (void)value;
    thrum_coro_t *co = thi_coro_of(thi_current.strand);
    void *result = NULL;
    thi_fiber_arrived(&co->fiber);
    const int status = co->fn(co->arg, &result);
    thi_coro_end(co, status, result);
}

/* Whether control can be given back: one that waits in a resume waits for whom it has resumed. */
static inline bool takes_control(const thrum_coro_t *back, const thrum_coro_t *co)
{
    return back->state == THI_CORO_SWITCHED ||
           (back->state == THI_CORO_RESUMING && back->resumed == co);
}

/* Whom the end gives control to. If that goes over the head of another, that one has nobody to give control
 * back to any more. */
static thrum_coro_t *heir(thi_stage_t *stage, thrum_coro_t *co)
{
    thrum_coro_t *child = co;
    while (child->back != NULL && !takes_control(child->back, child))
        child = child->back;
    thrum_coro_t *back = child->back;
    if (child != co && !child->holds_back)
        child->back = NULL;
    return back != NULL ? back : &stage->self;
}

/* What the call of the heir is to return; whoever had resumed `co` learns that it has ended. */
static void *last_word(const thrum_coro_t *to, const thrum_coro_t *co, void *result)
{
    if (to->state == THI_CORO_RESUMING && to->resumed == co)
        return (void *)(intptr_t)ENODATA;
    return deliver(to, result);
}

THI_NOINLINE static void run_down(thrum_coro_t *co)
{
    do {
        thi_coro_run_cleanups(co);
        if (co->strand.locals != NULL)
            thi_locals_end(&co->strand);
    } while (co->cleanups != NULL); /* deferred by a destructor */
}

/* Whom the end of a loop's coroutine gives control to, and what that one's call is to return. */
static inline thrum_coro_t *next_in_loop(thi_stage_t *stage, const thrum_coro_t *co, void **value)
{
    thrum_coro_t *to = co->loop == stage->loop ? thi_loop_next_at_end(stage->loop) : NULL;
    if (THI_LIKELY(to != NULL)) {
        *stage->error = to->error;
        return to;
    }
    *value = last_word(&stage->self, co, co->result);
    return &stage->self;
}

/* The same of another one. */
static inline thrum_coro_t *next_by_hand(thi_stage_t *stage, thrum_coro_t *co, void **value)
{
    thrum_coro_t *to = co->back;
    if (THI_LIKELY(to != NULL && to->state == THI_CORO_RESUMING && to->resumed == co)) {
        *value = (void *)(intptr_t)ENODATA;
    } else {
        to = heir(stage, co);
        *value = last_word(to, co, co->result);
    }
    if (!co->holds_back)
        co->back = NULL; /* it may be gone before this one is */
    return to;
}

_Noreturn void thi_coro_end(thrum_coro_t *co, int status, void *result)
{
    thi_stage_t *stage = thi_stage;
    uint32_t *left = &co->ended;
    void *value = NULL;
    if (THI_UNLIKELY(co->cleanups != NULL || co->strand.locals != NULL))
        run_down(co);
    co->status = status;
    co->result = result;
    thi_strand_retire(&co->strand);
    thi_coro_set_state(co, THI_CORO_DONE);
    thrum_coro_t *to = NULL;
    if (co->loops) {
        thi_coro_publish_end(co);
        to = next_in_loop(stage, co, &value);
    } else {
        to = next_by_hand(stage, co, &value);
    }
    if (co->loops || thi_load_relaxed(&co->refs) == 0) {
        thi_coro_settle(stage);
        stage->ending = co;
        left = &stage->left;
    }
    thi_coro_make_current(stage, to);
    thi_fiber_leave(&co->fiber, &to->fiber, value, left); /* R1 of handle.c */
}

int thi_coro_check_config(const thrum_coro_config_t *config)
{
    if (config->config_size != 0 && config->config_size != sizeof *config)
        return EINVAL;
    return config->stack_size <= THRUM_CORO_STACK_MAX ? 0 : EINVAL;
}

THI_NOINLINE static void configure(thrum_coro_t *co, const thrum_coro_config_t *config)
{
    co->daemon = config->daemon;
    if (config->name == NULL)
        return;
    size_t length = strlen(config->name);
    length = length < THI_CORO_NAME ? length : THI_CORO_NAME - 1;
    memcpy(co->name, config->name, length);
    co->name[length] = '\0';
}

thrum_coro_t *thi_coro_make(thi_stage_t *stage, thrum_fn fn, void *arg,
                            const thrum_coro_config_t *config)
{
    unsigned class = THI_STACK_CLASS_DEFAULT - THI_STACK_CLASS_MIN;
    if (THI_UNLIKELY(config != NULL && config->stack_size != 0))
        class = thi_stack_class(config->stack_size);
    thrum_coro_t *co = thi_stack_take(stage, class);
    if (THI_UNLIKELY(co == NULL))
        return NULL;
    thi_strand_renew(&co->strand);
    co->fiber.strand = &co->strand;
    /* relaxed: who is late may read it, and finds another's */
    thi_store_relaxed(&co->stage, stage);
    co->back = NULL;
    co->loop = NULL;
    co->fn = fn;
    co->arg = arg;
    co->task_of = NULL;
    co->refs = 1;
    thi_store_relaxed(&co->ended, 0u);
    thi_coro_set_state(co, THI_CORO_NEW);
    co->loops = false;
    co->unwinding = false;
    co->holds_back = false;
    co->used = 0;
    co->level = 0;
    co->daemon = false;
    co->name[0] = '\0';
    if (THI_UNLIKELY(config != NULL))
        configure(co, config);
    thi_fiber_make(&co->fiber, thi_stack_low(co), co, begin);
    return co;
}

/* It goes back to somebody, or never began. */
THI_NOINLINE static void let_go_of_all(thi_stage_t *stage, thrum_coro_t *co)
{
    if (co->holds_back && thi_coro_drop(co->back) && thrum_coro_done(co->back))
        thi_coro_free(stage, co->back);
    if (co->state != THI_CORO_DONE)
        thi_strand_retire(&co->strand);
}

void thi_coro_free(thi_stage_t *stage, thrum_coro_t *co)
{
    /* relaxed, lest it is read with its neighbours, which waits for all that was written last */
    if (THI_LIKELY(thi_load_relaxed(&co->state) == THI_CORO_DONE && !co->holds_back)) {
        thi_stack_give(stage, co);
        return;
    }
    let_go_of_all(stage, co);
    thi_stack_give(stage, co);
}

int thrum_coro_create(thrum_coro_t **co, thrum_fn fn, void *arg, const thrum_coro_config_t *config)
{
    if (co == NULL || fn == NULL || (config != NULL && thi_coro_check_config(config) != 0))
        return EINVAL;
    thi_stage_t *stage = thi_stage_here();
    thrum_coro_t *made = stage != NULL ? thi_coro_make(stage, fn, arg, config) : NULL;
    if (made == NULL)
        return ENOMEM;
    *co = made;
    return 0;
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
    return resume(stage, co, hand_over(co, send), yielded);
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
    if (!takes_control(back, self)) { /* who started it has gone elsewhere since */
        thrum_yield();
        return NULL;
    }
    let_go_of_back(self);
    thi_coro_set_state(self, THI_CORO_YIELDED);
    value = deliver(back, value);
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
    value = hand_over(back, value);
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
    send = deliver(co, send);
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
    send = hand_over(co, send);
    thi_coro_make_current(stage, co);
    return thi_fiber_switch_int(&self->fiber, &co->fiber, send);
}

thrum_coro_t *thrum_coro_current(void)
{
    thi_stage_t *stage = thi_stage_here();
    return stage != NULL ? stage->current : NULL;
}
