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

#define THI_STACK_DEFAULT ((size_t)64 * 1024)
#define THI_STACK_CLASS_MIN 14 /* 2 to the power of it: THRUM_CORO_STACK_MIN */
#define THI_STACK_CLASS_DEFAULT 16

/* The class of the smallest stack with that many bytes; 0: the default. */
unsigned thi_stack_class(size_t size);

/* From the stage's cache (which may be NULL), the depot, or new. NULL: no memory. What a coroutine
 * keeps from one life to the next is as it was, the rest undefined. */
thrum_coro_t *thi_stack_take(thi_stage_t *stage, unsigned class);

/* The coroutine does not run on it any more. */
void thi_stack_give(thi_stage_t *stage, thrum_coro_t *co);

/* The stage ends: what it keeps is for others. */
void thi_stack_give_all(thi_stage_t *stage);

/* Where the stack begins and how much there is of it. */
void *thi_stack_low(const thrum_coro_t *co);
size_t thi_stack_size(const thrum_coro_t *co);
size_t thi_stack_used(const thrum_coro_t *co);

/* Has overflows reported on the calling thread. Returns what unwatch takes. */
void *thi_stack_watch_overflow(void);
void thi_stack_unwatch_overflow(void *watch);

#endif /* THI_STACK_H */
