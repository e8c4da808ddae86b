/*
 * What coroutines of a loop do to one another: spawn, sleep, get ready, and pass control down the line.
 *
 *   line    the coroutines that are READY, in order; with THRUM_FEEDBACK several lines, the first first
 *   turns   how many may still run one after the other before control goes to the loop itself (turn.c), which
 *           looks at deadlines, descriptors and the port
 *
 * A coroutine that leaves gives control to the next one directly: the loop itself is only asked when the
 * line is empty or the turns are used up, and by those that have ended.
 */
#include "coroutine/stack.h"

/* ------------------------------------------------------------------------------------------------
 * The line
 */

static inline void append(thi_line_t *line, thrum_coro_t *co)
{
    co->next = NULL;
    if (line->first == NULL)
        line->first = co;
    else
        line->last->next = co;
    line->last = co;
}

static inline thrum_coro_t *take_first(thi_line_t *line)
{
    thrum_coro_t *co = line->first;
    if (co != NULL)
        line->first = co->next;
    return co;
}

static inline void enqueue(thrum_loop_t *loop, thrum_coro_t *co)
{
    thi_coro_set_state(co, THI_CORO_READY);
    append(&loop->lines[co->level], co);
    loop->waiting++;
}

void thi_loop_ready(thrum_loop_t *loop, thrum_coro_t *co)
{
    if (THI_LIKELY(co->state ==
                   THI_CORO_BLOCKED)) /* else it has noticed already, or this was late */
        enqueue(loop, co);
}

thrum_coro_t *thi_loop_next(thrum_loop_t *loop)
{
    thrum_coro_t *co = take_first(&loop->lines[0]);
    for (unsigned level = 1; co == NULL && level < THI_LEVELS; level++)
        co = take_first(&loop->lines[level]);
    loop->waiting -= co != NULL;
    return co;
}

/* THRUM_FEEDBACK: whoever has used up what its level grants goes down one. */
static void account(thrum_loop_t *loop, thrum_coro_t *co)
{
    const thrum_time_t now = thi_clock();
    co->used += now - loop->since;
    loop->since = now;
    if (co->used < THRUM_US(100) << (2 * co->level) || co->level + 1 == THI_LEVELS)
        return;
    co->level++;
    co->used = 0;
}

/* ------------------------------------------------------------------------------------------------
 * Passing control
 */

/* The current coroutine, which is BLOCKED or READY, lets others run; returns when it is its turn again. Nothing
 * is left to do then (coroutine.c, I4). `alike`: by a wait, as most of those who are ready have done. (Yields are
 * made at many places of a program, and right behind each is a return to there.) */
THI_INLINE void let_others_run(thi_stage_t *stage, thrum_coro_t *co, bool alike)
{
    thrum_loop_t *loop = stage->loop;
    thrum_coro_t *next = NULL;
    if (THI_UNLIKELY(loop->config.policy == THRUM_FEEDBACK))
        account(loop, co);
    thi_store_relaxed(&loop->switches, loop->switches + 1);
    if (THI_LIKELY(loop->turns != 0)) {
        loop->turns--;
        next = thi_loop_next(loop);
    }
    thi_store_relaxed(&loop->running, next != NULL ? next->strand.id : 0u);
    if (next == co) {
        thi_coro_set_state(co, THI_CORO_RUNNING);
        return;
    }
    int *error = &errno;
    co->error = *error;
    if (THI_LIKELY(next != NULL))
        *error = next->error;
    else
        next = &stage->self;
    if (alike)
        thi_coro_pass_alike(stage, next);
    else
        thi_coro_pass(stage, next);
}

int thi_loop_block(thi_stage_t *stage, thrum_coro_t *co, thrum_time_t deadline)
{
    thrum_loop_t *loop = stage->loop;
    if (deadline != THRUM_FOREVER) {
        if (!thi_deadlines_reserve(&loop->deadlines, loop->deadlines.count + 1)) {
            enqueue(loop, co); /* no memory to sleep in: it looks again and again */
            let_others_run(stage, co, true);
            return thi_clock() >= deadline ? ETIMEDOUT : 0;
        }
        co->deadline = deadline;
        thi_deadlines_add(&loop->deadlines, co);
    }
    thi_coro_set_state(co, THI_CORO_BLOCKED);
    co->timed_out = false;
    let_others_run(stage, co, true);
    if (co->timer != 0)
        thi_deadlines_remove(&stage->loop->deadlines, co);
    return co->timed_out ? ETIMEDOUT : 0;
}

void thrum_yield(void)
{
    thi_stage_t *stage = thi_stage;
    if (THI_UNLIKELY(stage == NULL || stage->loop == NULL)) {
        thi_thread_yield();
        return;
    }
    thrum_loop_t *loop = stage->loop;
    thrum_coro_t *self = stage->current;
    if (THI_LIKELY(self != &stage->self &&
                   (loop->waiting != 0 || loop->turns == 0 || thi_port_has_post(loop->port)))) {
        enqueue(loop, self);
        let_others_run(stage, self, false);
    } else if (loop->turns != 0) {
        loop->turns--;
    }
}

/* ------------------------------------------------------------------------------------------------
 * Spawning
 */

/* On the loop's thread. */
void thi_loop_admit(thrum_loop_t *loop, thrum_coro_t *co)
{
    thi_store_relaxed(&co->stage, loop->stage);
    co->error = 0;
    loop->alive++;
    loop->daemons += co->daemon;
    co->older = loop->youngest;
    co->younger = NULL;
    if (co->older != NULL)
        co->older->younger = co;
    loop->youngest = co;
    thi_coro_set_state(co, THI_CORO_BLOCKED);
    thi_loop_ready(loop, co);
}

void thi_loop_dismiss(thrum_loop_t *loop, thrum_coro_t *co)
{
    loop->alive--;
    loop->daemons -= co->daemon;
    if (co->older != NULL)
        co->older->younger = co->younger;
    if (co->younger != NULL)
        co->younger->older = co->older;
    else
        loop->youngest = co->older;
}

/* To the loop's thread. A waker that is late by the record's last life may have it in hand: then it is that
 * one's to leave it where it belongs, and the loop, which counts it, does not end before. False: the loop is
 * gone. */
static bool send(thrum_loop_t *loop, thrum_coro_t *co)
{
    thi_store_relaxed(&co->stage, NULL);
    thi_fetch_add_acq_rel(&loop->coming, 1u);
    /* R1: release; pairs with A1 of admits: all of it is there. */
    thi_store_release(&co->fresh, 1u);
    if (thi_swap_acq_rel(&co->posted, 1u) != 0 || thi_port_post(loop->port, co))
        return true;
    thi_store_release(&co->posted, 0u);
    thi_fetch_sub_acq_rel(&loop->coming, 1u);
    return false;
}

int thi_loop_spawn(thrum_loop_t *loop, thi_stage_t *stage, thrum_coro_t **co, thrum_fn fn,
                   void *arg, const thrum_coro_config_t *config)
{
    if (fn == NULL || thi_coro_check_config(config) != 0)
        return EINVAL;
    thrum_coro_t *made = thi_coro_make(stage, fn, arg, config);
    if (made == NULL)
        return ENOMEM;
    made->loop = loop;
    made->loops = true;
    thi_store_release(&made->port, loop->port); /* R2: release; pairs with A3 of admits */
    made->refs = co != NULL ? 2 : 1;
    if (stage != NULL && stage->loop == loop) {
        thi_loop_admit(loop, made);
    } else if (!send(loop, made)) {
        thi_store_relaxed(&made->fresh, 0u);
        thi_coro_free(stage, made);
        return ESHUTDOWN;
    }
    if (co != NULL)
        *co = made;
    return 0;
}

int thrum_go_with(thrum_coro_t **co, thrum_fn fn, void *arg, const thrum_coro_config_t *config)
{
    thi_stage_t *stage = thi_stage;
    if (stage == NULL || stage->loop == NULL)
        return EINVAL;
    return thi_loop_spawn(stage->loop, stage, co, fn, arg, config);
}

int thrum_go(thrum_coro_t **co, thrum_fn fn, void *arg)
{
    return thrum_go_with(co, fn, arg, NULL);
}

int thrum_loop_go(thrum_loop_t *loop, thrum_coro_t **co, thrum_fn fn, void *arg,
                  const thrum_coro_config_t *config)
{
    return loop != NULL ? thi_loop_spawn(loop, thi_stage, co, fn, arg, config) : EINVAL;
}

thrum_loop_t *thrum_loop_current(void)
{
    const thi_stage_t *stage = thi_stage;
    return stage != NULL ? stage->loop : NULL;
}

bool thrum_loop_inside(void)
{
    const thi_stage_t *stage = thi_stage;
    return stage != NULL && stage->loop != NULL && stage->current != &stage->self;
}
