/*
 * What coroutines of a loop do to one another: spawn, sleep, get ready, and pass control down the line.
 *
 *   line    the coroutines that are READY, in order; with THRUM_FEEDBACK several lines, the first first
 *   turns   how many may still run one after the other before control goes to the loop itself (turn.c), which
 *           looks at deadlines, descriptors and the port
 *
 * A coroutine that leaves gives control to the next one directly: the loop itself is only asked when the
 * line is empty or the turns are used up.
 */
#include "coroutine/life.h"
#include "coroutine/line.h"

/* ------------------------------------------------------------------------------------------------
 * The line
 */

void thi_loop_ready(thrum_loop_t *loop, thrum_coro_t *co)
{
    if (THI_LIKELY(co->state ==
                   THI_CORO_BLOCKED)) /* else it has noticed already, or this was late */
        thi_line_enqueue(loop, co);
}

/* Of the lines of a loop with THRUM_FEEDBACK that are not the first. */
THI_NOINLINE static thrum_coro_t *take_lower(thrum_loop_t *loop)
{
    thrum_coro_t *co = NULL;
    for (unsigned level = 1; co == NULL && level < THI_LEVELS; level++)
        co = thi_line_take_first(&loop->lines[level]);
    return co;
}

thrum_coro_t *thi_loop_next(thrum_loop_t *loop)
{
    if (loop->waiting == 0)
        return NULL;
    loop->waiting--;
    thrum_coro_t *co = thi_line_take_first(&loop->lines[0]);
    return THI_LIKELY(co != NULL) ? co : take_lower(loop);
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

void thi_loop_gives(thrum_loop_t *loop, const thrum_coro_t *next)
{
    thi_store_relaxed(&loop->switches, loop->switches + 1);
    thi_store_relaxed(&loop->running, next != NULL ? next->strand.id : 0u);
}

/* ------------------------------------------------------------------------------------------------
 * Passing control
 */

static inline void hand_errno(thi_stage_t *stage, thrum_coro_t *from, const thrum_coro_t *to)
{
    int *error = stage->error;
    from->error = *error;
    *error = to->error;
}

/* To the next of the line, from the current coroutine, which is BLOCKED or READY. Nothing is left to do when it
 * is its turn again (coroutine.c, I3). */
THI_FIBER_INLINE void pass_to(thi_stage_t *stage, thrum_coro_t *co, thrum_coro_t *next)
{
    hand_errno(stage, co, next);
    thi_coro_make_current(stage, next);
    (void)thi_fiber_switch(&co->fiber, &next->fiber, NULL);
}

/* The current coroutine, which is BLOCKED or READY, lets others run; returns when it is its turn again. `alike`:
 * by a wait, as most of those who are ready have done. (Yields are made at many places of a program, and right
 * behind each is a return to there.) */
static void let_others_run(thi_stage_t *stage, thrum_coro_t *co, bool alike)
{
    thrum_loop_t *loop = stage->loop;
    thrum_coro_t *next = NULL;
    if (THI_UNLIKELY(loop->config.policy == THRUM_FEEDBACK))
        account(loop, co);
    if (THI_LIKELY(loop->turns != 0)) {
        loop->turns--;
        next = thi_loop_next(loop);
    }
    if (THI_UNLIKELY(loop->accounts))
        thi_loop_gives(loop, next);
    if (next == co) {
        thi_coro_set_state(co, THI_CORO_RUNNING);
        return;
    }
    if (THI_UNLIKELY(next == NULL)) {
        co->error = *stage->error;
        thi_coro_pass(stage, &stage->self);
    } else if (alike) {
        hand_errno(stage, co, next);
        thi_coro_pass_alike(stage, next);
    } else {
        pass_to(stage, co, next);
    }
}

/* One that is resumed by hand may have used up time in a loop that counts it; here is one line only. */
static inline void forget_used(const thrum_loop_t *loop, thrum_coro_t *co)
{
    if (THI_UNLIKELY(co->level != 0) && loop->config.policy != THRUM_FEEDBACK) {
        co->level = 0;
        co->used = 0;
    }
}

/* There is no memory to sleep in: it looks again and again. */
THI_NOINLINE static int sleep_not(thi_stage_t *stage, thrum_coro_t *co, thrum_time_t deadline)
{
    thi_line_enqueue(stage->loop, co);
    let_others_run(stage, co, true);
    return thi_clock() >= deadline ? ETIMEDOUT : 0;
}

/* False: no memory. */
static bool add_deadline(thrum_loop_t *loop, thrum_coro_t *co, thrum_time_t deadline)
{
    if (!thi_deadlines_reserve(&loop->deadlines, loop->deadlines.count + 1))
        return false;
    co->deadline = deadline;
    thi_deadlines_add(&loop->deadlines, co);
    return true;
}

int thi_loop_block(thi_stage_t *stage, thrum_coro_t *co, thrum_time_t deadline)
{
    thrum_loop_t *loop = stage->loop;
    forget_used(loop, co);
    if (THI_UNLIKELY(co->timer != 0)) /* a lazy wait has left it */
        thi_deadlines_remove(&co->loop->deadlines, co);
    if (deadline != THRUM_FOREVER && !add_deadline(loop, co, deadline))
        return sleep_not(stage, co, deadline);
    thi_coro_set_state(co, THI_CORO_BLOCKED);
    co->timed_out = false;
    let_others_run(stage, co, true);
    if (co->timer != 0)
        thi_deadlines_remove(&stage->loop->deadlines, co);
    return co->timed_out ? ETIMEDOUT : 0;
}

/* What stands there, and is not too late, is good enough. */
static bool has_deadline(thrum_loop_t *loop, thrum_coro_t *co, thrum_time_t deadline)
{
    co->deadline = deadline;
    if (co->timer != 0) {
        if (thi_deadlines_time(&loop->deadlines, co) <= deadline)
            return true;
        thi_deadlines_remove(&loop->deadlines, co);
    }
    return deadline == THRUM_FOREVER || add_deadline(loop, co, deadline);
}

int thi_loop_block_lazily(thi_stage_t *stage, thrum_coro_t *co, thrum_time_t deadline)
{
    thrum_loop_t *loop = stage->loop;
    if (THI_UNLIKELY(co->loop !=
                     loop)) /* nobody would take it out when it ends, or sleeps elsewhere */
        return thi_loop_block(stage, co, deadline);
    forget_used(loop, co);
    if (!has_deadline(loop, co, deadline))
        return sleep_not(stage, co, deadline);
    thi_coro_set_state(co, THI_CORO_BLOCKED);
    co->timed_out = false;
    let_others_run(stage, co, true);
    return co->timed_out ? ETIMEDOUT : 0;
}

/* In a loop, and not simply to the next of the line. */
THI_NOINLINE static void yield_otherwise(thi_stage_t *stage)
{
    thrum_loop_t *loop = stage->loop;
    thrum_coro_t *self = stage->current;
    if (self != &stage->self &&
        (loop->waiting != 0 || loop->turns == 0 || thi_port_has_post(loop->port))) {
        forget_used(loop, self);
        thi_line_enqueue(loop, self);
        let_others_run(stage, self, false);
    } else if (loop->turns != 0) {
        loop->turns--;
    }
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
    thi_line_t *line = &loop->lines[0];
    thrum_coro_t *next = line->first;
    if (THI_UNLIKELY(next == NULL || loop->turns == 0 || loop->accounts || self == &stage->self)) {
        yield_otherwise(stage);
        return;
    }
    loop->turns--;
    thi_coro_set_state(self, THI_CORO_READY);
    self->next = NULL;
    if (next->next != NULL) {
        line->last->next = self;
        line->first = next->next;
    } else { /* the usual two: what was just written need not be read again */
        line->first = self;
    }
    line->last = self;
    pass_to(stage, self, next);
}

/* ------------------------------------------------------------------------------------------------
 * Spawning
 */

void thi_loop_admit(thrum_loop_t *loop, thrum_coro_t *co)
{
    thi_line_admit(loop, co);
}

/* To the loop's thread. A waker that is late by the record's last life may have it in hand: then it is that
 * one's to leave it where it belongs, and the loop, which counts it, does not end before. It may have begun and
 * ended when this looks at it next; the visit keeps the loop. False: the loop is gone. */
static bool send(thrum_loop_t *loop, thrum_coro_t *co)
{
    thi_port_t *port = loop->port;
    const bool open = thi_port_visit(port) && thi_port_announce(port, &loop->coming);
    if (open) {
        thi_store_relaxed(&co->stage, NULL);
        /* R1: release; pairs with A1 of admits: all of it is there. */
        thi_store_release(&co->fresh, 1u);
        thi_coro_post(co, port);
    }
    thi_port_visited(port);
    return open;
}

static inline void belong(thrum_loop_t *loop, thrum_coro_t *made, thrum_coro_t **co)
{
    made->loop = loop;
    made->loops = true;
    thi_store_release(&made->port, loop->port); /* R2: release; pairs with A3 of admits */
    made->refs = co != NULL ? 2 : 1;
}

int thi_loop_spawn(thrum_loop_t *loop, thi_stage_t *stage, thrum_coro_t **co, thrum_fn fn,
                   void *arg, const thrum_coro_config_t *config)
{
    if (fn == NULL || (config != NULL && thi_coro_check_config(config) != 0))
        return EINVAL;
    thrum_coro_t *made = thi_coro_make(stage, fn, arg, config);
    if (made == NULL)
        return ENOMEM;
    belong(loop, made, co);
    if (stage != NULL && stage->loop == loop) {
        thi_line_admit(loop, made);
    } else if (!send(loop, made)) {
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
    thi_stage_t *stage = thi_stage;
    if (THI_UNLIKELY(stage == NULL || stage->loop == NULL || fn == NULL))
        return EINVAL;
    thrum_coro_t *made = thi_coro_make_quickly(stage, fn, arg);
    if (THI_UNLIKELY(made == NULL))
        return thrum_go_with(co, fn, arg, NULL);
    belong(stage->loop, made, co);
    thi_line_admit(stage->loop, made);
    if (co != NULL)
        *co = made;
    return 0;
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
