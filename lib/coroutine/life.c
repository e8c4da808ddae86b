/*
 * How coroutines begin and end.
 *
 * Invariants
 *   I1  Where nobody but the holders of its handle keeps a coroutine's stack from being given to others, it is
 *       said to have ended only when it has left that: by the switch itself. Of a loop it is said before, for
 *       the loop's own reference stays until whoever comes next to settle what is left to do (`ending`).
 *
 * What usually happens at an end is written without a call in its middle, for a frame would be set up in vain.
 */
#include "coroutine/life.h"

#include <string.h>

#include "coroutine/line.h"

/* ------------------------------------------------------------------------------------------------
 * The end
 */

/* It goes back to somebody, or never began. */
THI_NOINLINE static void let_go_of_all(thi_stage_t *stage, thrum_coro_t *co)
{
    if (co->holds_back && thi_coro_drop(co->back) && thrum_coro_done(co->back))
        thi_coro_free(stage, co->back);
    if (co->state != THI_CORO_DONE)
        thi_strand_retire(&co->strand);
    thi_stack_give(stage, co);
}

static inline void give_back(thi_stage_t *stage, thrum_coro_t *co)
{
    /* relaxed, lest it is read with its neighbours, which waits for all that was written last */
    if (THI_UNLIKELY(thi_load_relaxed(&co->state) != THI_CORO_DONE || co->holds_back))
        let_go_of_all(stage, co);
    else
        thi_stack_give(stage, co);
}

void thi_coro_free(thi_stage_t *stage, thrum_coro_t *co)
{
    give_back(stage, co);
}

void thi_coro_settle_one(thi_stage_t *stage)
{
    thrum_coro_t *co = stage->ending;
    stage->ending = NULL;
    /* What nobody has a handle of any more; or the loop's reference. */
    if (!co->loops || thi_load_relaxed(&co->refs) == 0 || thi_coro_drop(co))
        give_back(stage, co);
}

/* Whom the end gives control to. If that goes over the head of another, that one has nobody to give control
 * back to any more. */
static thrum_coro_t *heir(thi_stage_t *stage, thrum_coro_t *co)
{
    thrum_coro_t *child = co;
    while (child->back != NULL && !thi_coro_takes_control(child->back, child))
        child = child->back;
    thrum_coro_t *back = child->back;
    if (child != co && !child->holds_back)
        child->back = NULL;
    return back != NULL ? back : &stage->self;
}

/* What the call of the heir is to return; whoever had resumed `co` learns that it has ended. */
static void *last_word(const thrum_coro_t *to, const thrum_coro_t *co)
{
    if (to->state == THI_CORO_RESUMING && to->resumed == co)
        return (void *)(intptr_t)ENODATA;
    return thi_coro_deliver(to, co->result);
}

THI_FIBER_INLINE void note_end(thrum_coro_t *co, int status, void *result)
{
    co->status = status;
    co->result = result;
    thi_strand_retire(&co->strand);
    thi_coro_set_state(co, THI_CORO_DONE);
}

/* By hand, and not simply to who has resumed it. */
THI_NOINLINE static void leave_otherwise(thi_stage_t *stage, thrum_coro_t *co)
{
    uint32_t *left = &co->ended;
    thrum_coro_t *to = heir(stage, co);
    if (!co->holds_back)
        co->back = NULL; /* it may be gone before this one is */
    if (thi_load_relaxed(&co->refs) == 0) {
        thi_coro_settle(stage);
        stage->ending = co;
        left = &stage->left;
    }
    void *value = last_word(to, co);
    thi_coro_make_current(stage, to);
    thi_fiber_leave(&co->fiber, &to->fiber, value, left); /* release; pairs with A1 of handle.c */
}

THI_FIBER_INLINE void end_by_hand(thrum_coro_t *co, int status, void *result)
{
    thi_stage_t *stage = thi_stage;
    thrum_coro_t *to = co->back;
    note_end(co, status, result);
    if (THI_UNLIKELY(to == NULL || to->state != THI_CORO_RESUMING || to->resumed != co ||
                     thi_load_relaxed(&co->refs) == 0)) {
        leave_otherwise(stage, co);
        return;
    }
    co->back = NULL;
    thi_coro_make_current(stage, to);
    thi_fiber_leave(&co->fiber, &to->fiber, (void *)(intptr_t)ENODATA, &co->ended); /* likewise */
}

THI_NOINLINE static void end_in_loop(thrum_coro_t *co, int status, void *result)
{
    thi_stage_t *stage = thi_stage;
    thrum_loop_t *loop = co->loop;
    void *value = NULL;
    note_end(co, status, result);
    thi_line_dismiss(loop, co);
    thi_coro_settle(stage);
    stage->ending = co;
    thrum_coro_t *to = loop == stage->loop ? thi_line_next_at_end(loop) : NULL;
    if (THI_LIKELY(to != NULL)) {
        *stage->error = to->error;
    } else {
        to = &stage->self;
        value = last_word(to, co);
    }
    thi_coro_make_current(stage, to);
    thi_fiber_leave(&co->fiber, &to->fiber, value, &stage->left);
}

_Noreturn void thi_coro_end(thrum_coro_t *co, int status, void *result)
{
    while (co->cleanups != NULL || co->strand.locals != NULL) { /* destructors may defer others */
        thi_coro_run_cleanups(co);
        if (co->strand.locals != NULL)
            thi_locals_end(&co->strand);
    }
    if (co->loops)
        end_in_loop(co, status, result);
    else
        end_by_hand(co, status, result);
    __builtin_unreachable();
}

/* ------------------------------------------------------------------------------------------------
 * The beginning
 */

void thi_coro_begin(thi_context_t *self)
{
    thrum_coro_t *co = THI_CONTAINER_OF(self, thrum_coro_t, fiber.context);
    void *result = NULL;
    thi_fiber_arrived(&co->fiber);
    const int status = co->fn(co->arg, &result);
    if (THI_UNLIKELY(co->cleanups != NULL || co->strand.locals != NULL))
        thi_coro_end(co, status, result);
    if (co->loops)
        end_in_loop(co, status, result);
    else
        end_by_hand(co, status, result);
}

int thi_coro_check_config(const thrum_coro_config_t *config)
{
    if (!THI_IS_CONFIG(config))
        return EINVAL;
    return config->stack_size <= THRUM_CORO_STACK_MAX ? 0 : EINVAL;
}

static void configure(thrum_coro_t *co, const thrum_coro_config_t *config)
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
    if (config != NULL && config->stack_size != 0)
        class = thi_stack_class(config->stack_size);
    thrum_coro_t *co = thi_stack_take(stage, class);
    if (co == NULL)
        return NULL;
    thi_coro_prepare(stage, co, fn, arg);
    if (config != NULL)
        configure(co, config);
    return co;
}

THI_NOINLINE static int create(thrum_coro_t **co, thrum_fn fn, void *arg,
                               const thrum_coro_config_t *config)
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

int thrum_coro_create(thrum_coro_t **co, thrum_fn fn, void *arg, const thrum_coro_config_t *config)
{
    thi_stage_t *stage = thi_stage;
    if (THI_UNLIKELY(stage == NULL || co == NULL || fn == NULL || config != NULL))
        return create(co, fn, arg, config);
    thrum_coro_t *made = thi_coro_make_quickly(stage, fn, arg);
    if (THI_UNLIKELY(made == NULL))
        return create(co, fn, arg, config);
    *co = made;
    return 0;
}
