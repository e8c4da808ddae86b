/*
 * What a forked child has of a loop: the coroutine that forked, and those that wait for it to yield. The
 * others are gone: whoever was to wake them is the parent's, and so are the descriptors of the loop.
 */
#include "coroutine/line.h"

static bool leads_to_current(const thi_stage_t *stage, const thrum_coro_t *co)
{
    const thrum_coro_t *at = stage->current;
    while (at != NULL && at != co)
        at = at->back;
    return at == co && (co == stage->current || co->state == THI_CORO_RESUMING ||
                        co->state == THI_CORO_SWITCHED); /* else what it waits for is gone */
}

static void lose(thrum_loop_t *loop, thi_stage_t *stage, thrum_coro_t *co)
{
    thi_coro_set_state(co, THI_CORO_DONE);
    co->status = EOWNERDEAD;
    co->result = NULL;
    co->timer = 0;
    co->cleanups = NULL; /* not to be run by the next life */
    co->strand.locals = NULL;
    thi_line_dismiss(loop, co);
    if (thi_load_relaxed(&co->refs) == 0 || thi_coro_drop(co))
        thi_coro_free(stage, co);
}

void thi_loop_forget_visitors(thrum_loop_t *loop)
{
    loop->port->visitors = 0;
    thi_tasks_forked(loop);
}

static void begin_anew(thrum_loop_t *loop)
{
    thi_port_t *port = loop->port;
    for (thrum_coro_t *co = port->inbox, *next = NULL; co != NULL; co = next) {
        next = co->next_post;
        if (co->fresh != 0 && co->port == port) {
            co->fresh = 0;
            thi_loop_admit(loop, co); /* to be lost like the others */
        }
    }
    loop->coming = 0;
    for (unsigned level = 0; level < THI_LEVELS; level++)
        loop->lines[level] = (thi_line_t){NULL, NULL};
    loop->waiting = 0;
    thi_deadlines_clear(&loop->deadlines); /* who lives on may have left one there */
    loop->near = (thi_near_t){0};
    if (loop->poller >= 0)
        thi_poller_close(loop->poller);
    if (loop->alarm >= 0)
        thi_signal_close(loop->alarm);
    if (port->signal >= 0)
        thi_signal_close(port->signal);
    loop->poller = -1;
    loop->alarm = -1;
    port->signal = -1;
    port->inbox = NULL;
    thi_loop_forget_visitors(loop);
    thi_streams_lose(loop);
    for (size_t fd = 0; fd < loop->armed_size; fd++)
        loop->armed[fd] = 0;
}

void thi_loop_forked(thrum_loop_t *loop)
{
    thi_stage_t *stage = thi_stage;
    loop->fork_mark = thi_fork_mark;
    begin_anew(loop);
    for (thrum_coro_t *co = loop->youngest, *older = NULL; co != NULL; co = older) {
        older = co->older;
        if (!leads_to_current(stage, co))
            lose(loop, stage, co);
    }
    for (thrum_coro_t *co = stage->current; co != NULL; co = co->back)
        if (co->state != THI_CORO_DONE)
            thi_store_relaxed(&co->fiber.strand->alive, 1u);
    thi_store_relaxed(&stage->self.fiber.strand->alive, 1u);
}

/* --- when the process has forked -------------------------------------------------------------------- */

static void after_fork_in_child(void)
{
    const thi_stage_t *stage = thi_stage;
    thi_stacks_after_fork();
    thi_ports_after_fork();
    if (stage != NULL && stage->loop != NULL)
        thi_loop_forked(stage->loop);
}

__attribute__((constructor)) static void at_load(void)
{
    thi_strand_at_load(); /* its handlers run before these in the child */
    thi_at_fork(NULL, NULL, after_fork_in_child);
}
