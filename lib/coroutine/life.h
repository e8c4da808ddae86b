#ifndef THI_LIFE_H
#define THI_LIFE_H

/*
 * A coroutine's beginning, as it usually is: on a stack of the stage's cache, and without a configuration. What
 * it calls is inlined, so that who makes one needs no frame.
 */
#include "coroutine/stack.h"

/* What a context begins with. */
void thi_coro_begin(thi_context_t *self);

/* One that has not begun, with a reference, on a stack that was taken. */
static inline void thi_coro_prepare(thi_stage_t *stage, thrum_coro_t *co, thrum_fn fn, void *arg)
{
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
    thi_fiber_make(&co->fiber, thi_stack_low(co), co, thi_coro_begin);
}

/* NULL: the cache is empty, and thi_coro_make is to be asked. */
static inline thrum_coro_t *thi_coro_make_quickly(thi_stage_t *stage, thrum_fn fn, void *arg)
{
    thrum_coro_t *co = thi_stack_take_kept(stage, THI_STACK_CLASS_DEFAULT - THI_STACK_CLASS_MIN);
    if (THI_LIKELY(co != NULL))
        thi_coro_prepare(stage, co, fn, arg);
    return co;
}

#endif /* THI_LIFE_H */
