#ifndef THI_LINE_H
#define THI_LINE_H

/*
 * The coroutines of a loop: those that have not ended, in a list, and those of them that are READY, in the line
 * of their level. On the loop's thread.
 */
#include "coroutine/core.h"

static inline void thi_line_append(thi_line_t *line, thrum_coro_t *co)
{
    co->next = NULL;
    if (line->first == NULL)
        line->first = co;
    else
        line->last->next = co;
    line->last = co;
}

static inline thrum_coro_t *thi_line_take_first(thi_line_t *line)
{
    thrum_coro_t *co = line->first;
    if (co != NULL)
        line->first = co->next;
    return co;
}

static inline void thi_line_enqueue(thrum_loop_t *loop, thrum_coro_t *co)
{
    thi_coro_set_state(co, THI_CORO_READY);
    thi_line_append(&loop->lines[co->level], co);
    loop->waiting++;
}

/* A new one. */
static inline void thi_line_admit(thrum_loop_t *loop, thrum_coro_t *co)
{
    thrum_coro_t *older = loop->youngest;
    thi_store_relaxed(&co->stage, loop->stage);
    co->error = 0;
    loop->alive++;
    loop->daemons += co->daemon;
    co->older = older;
    co->younger = NULL;
    if (older != NULL)
        older->younger = co;
    loop->youngest = co;
    thi_line_enqueue(loop, co);
}

/* One that has ended: it is none of the loop's any more, and joiners are told. The loop's reference is still
 * there. */
static inline void thi_line_dismiss(thrum_loop_t *loop, thrum_coro_t *co)
{
    loop->alive--;
    loop->daemons -= co->daemon;
    if (THI_UNLIKELY(co->timer != 0)) /* a lazy wait has left it */
        thi_deadlines_remove(&loop->deadlines, co);
    if (co->older != NULL)
        co->older->younger = co->younger;
    if (co->younger != NULL)
        co->younger->older = co->older;
    else
        loop->youngest = co->older;
    /* A1: acquire; pairs with R3 of core.h: whoever gave a handle back sleeps in no join. */
    if (THI_LIKELY(thi_load_acquire(&co->refs) == 1 && thi_load_relaxed(&co->ended) == 0))
        thi_store_release(&co->ended, THI_ENDED); /* R1: release; pairs with A1 of handle.c */
    else
        thi_coro_tell_joiners(co);
}

/* Whom one that ends gives control to; NULL: the loop itself. */
static inline thrum_coro_t *thi_line_next_at_end(thrum_loop_t *loop)
{
    if (THI_UNLIKELY(loop->turns == 0 || loop->accounts))
        return NULL;
    thrum_coro_t *co = thi_line_take_first(&loop->lines[0]);
    if (co != NULL) {
        loop->turns--;
        loop->waiting--;
    }
    return co;
}

#endif /* THI_LINE_H */
