#ifndef THI_STACK_H
#define THI_STACK_H

/*
 * Stacks, each with the record of its coroutine at the upper end, so that a coroutine that has hardly
 * begun takes one page in all:
 *
 *     low                                                            high
 *     | guard |  stack, growing down  <--  |  record  | 0 to 15 lines |
 *
 * The record is registered as a strand once and stays valid memory for good.
 */
#include "coroutine/core.h"

#define THI_STACK_CLASS_MIN 14 /* 2 to the power of it: THRUM_CORO_STACK_MIN */
#define THI_STACK_CLASS_DEFAULT 16

/* The class of the smallest stack with that many bytes. */
unsigned thi_stack_class(size_t size);

#define THI_STACKS_KEPT 1024u /* by a stage, of each class */

/* From the depot, or new. The stage may be NULL. */
thrum_coro_t *thi_stack_take_slow(thi_stage_t *stage, unsigned class);
void thi_stack_give_slow(thi_stage_t *stage, thrum_coro_t *co);

/* NULL: the stage keeps none. */
static inline thrum_coro_t *thi_stack_take_kept(thi_stage_t *stage, unsigned class)
{
    thrum_coro_t *co = stage->stacks[class];
    if (THI_LIKELY(co != NULL)) {
        stage->stacks[class] = co->next;
        stage->stacks_kept[class]--;
    }
    return co;
}

/* From the stage's cache (which may be NULL), the depot, or new. NULL: no memory. What a coroutine
 * keeps from one life to the next is as it was, the rest undefined. */
static inline thrum_coro_t *thi_stack_take(thi_stage_t *stage, unsigned class)
{
    thrum_coro_t *co = stage != NULL ? thi_stack_take_kept(stage, class) : NULL;
    return THI_LIKELY(co != NULL) ? co : thi_stack_take_slow(stage, class);
}

/* The coroutine does not run on it any more. */
static inline void thi_stack_give(thi_stage_t *stage, thrum_coro_t *co)
{
    const unsigned class = co->class;
    if (THI_UNLIKELY(stage == NULL || stage->stacks_kept[class] >= THI_STACKS_KEPT)) {
        thi_stack_give_slow(stage, co);
        return;
    }
    co->next = stage->stacks[class];
    stage->stacks[class] = co;
    stage->stacks_kept[class]++;
}

/* The stage ends: what it keeps is for others. */
void thi_stack_give_all(thi_stage_t *stage);

/* Where the stack begins. (pure: not computed for nobody) */
__attribute__((pure)) void *thi_stack_low(const thrum_coro_t *co);

/* Has overflows reported on the calling thread. Returns what unwatch takes. */
void *thi_stack_watch_overflow(void);
void thi_stack_unwatch_overflow(void *watch);

#endif /* THI_STACK_H */
