/*
 * Coroutines as strands: how one sleeps, and how it is woken.
 *
 * Where a thread runs a loop, its coroutines sleep in the loop: all of them, also those that are resumed
 * by hand. Elsewhere the thread sleeps. A waker tells by `port` which it is.
 *
 * Invariants
 *   I1  `port` changes only between two sleeps, and after it has changed the permit is looked at again.
 *       So a waker that has read the old one has left a permit that is seen.
 */
#include <stdio.h>

#include "coroutine/core.h"

/* True: it need not sleep any more. */
static bool move(thrum_coro_t *co, thi_port_t *port)
{
    if (THI_LIKELY(co->port == port))
        return false;
    thi_store_release(&co->port, port); /* R1: release; pairs with A1 */
    thi_fence_full();                   /* I1; against the one in wake */
    return thi_load_relaxed(&co->strand.permit) != THI_PARKED && !THI_PLANT("coro-no-look");
}

static int block(thi_strand_t *self, thrum_time_t deadline)
{
    thi_stage_t *stage = thi_stage;
    thrum_coro_t *co = thi_coro_of(self);
    thrum_loop_t *loop = stage->loop;
    if (move(co, loop != NULL ? loop->port : NULL))
        return 0;
    return loop != NULL ? thi_loop_block(stage, co, deadline) : thi_thread_block(self, deadline);
}

int thi_coro_park_lazily(thi_stage_t *stage, thrum_coro_t *co, thrum_time_t deadline)
{
    int err = 0;
    if (thi_strand_will_park(&co->strand) && !move(co, stage->loop->port))
        err = thi_loop_block_lazily(stage, co, deadline);
    return thi_strand_parked(&co->strand, err);
}

/* Whether another coroutine of the loop runs next: then a wait may be near. */
static bool stays(const thi_strand_t *self)
{
    const thrum_loop_t *loop = thi_stage->loop;
    return loop != NULL && loop->waiting != 0 && loop->turns != 0 &&
           thi_coro_of(self)->port == loop->port;
}

static int stay(thi_strand_t *self, thrum_time_t deadline)
{
    return thi_loop_block(thi_stage, thi_coro_of(self), deadline);
}

static void ready(thi_strand_t *strand)
{
    thi_loop_ready(thi_stage->loop, thi_coro_of(strand));
}

/* NULL: it is in the caller's hand, for that port; or whose it is in somebody else's, who has seen this. */
static thi_port_t *take_in_hand(thrum_coro_t *co, thi_port_t *port)
{
    thi_port_t *at = NULL;
    /* R2: release; pairs with A2, here and wherever it becomes NULL. */
    while (!thi_cas_acq_rel(&co->posted, &at, at != NULL ? at : port)) {
    }
    return at;
}

/* Until it has been left where the loop that it sleeps in will find it. Whoever has it in hand does that for
 * all others; they may know of a later sleep. That may be in a loop of another port, or of the same one, used
 * again. */
void thi_coro_post(thrum_coro_t *co, thi_port_t *port)
{
    thi_port_t *at = NULL;
    while ((at = take_in_hand(co, port)) == NULL && !thi_port_post(port, co)) {
        /* A2: acquire; pairs with R2 of who has left it to this one, and knows the sleep. */
        thi_swap_acq_rel(&co->posted, NULL);
        thi_fence_full();
        thi_port_t *now = thi_load_acquire(&co->port);
        if (now == port && (!thi_port_is_open(port) || THI_PLANT("coro-port-again")))
            return; /* a loop that is gone: this was late */
        if (THI_PLANT("coro-stays-late"))
            return;
        if (now == NULL) {
            thi_thread_rouse(&co->strand);
            return;
        }
        port = now;
    }
    if (THI_UNLIKELY(at != NULL && at != port) && !THI_PLANT("coro-left-elsewhere"))
        thi_port_forward(at); /* I3 of port.c: whose loop may not look for long */
}

void thi_coro_wake(thi_strand_t *strand)
{
    thrum_coro_t *co = thi_coro_of(strand);
    const thi_stage_t *stage = thi_stage;
    thrum_loop_t *loop = stage != NULL ? stage->loop : NULL;
    /* A3: acquire; pairs with R2 of core.h: the stage is that of who waits, or of a later life. */
    const bool waits = thi_load_acquire(&co->state) == THI_CORO_BLOCKED;
    if (THI_LIKELY(loop != NULL && thi_load_relaxed(&co->stage) == stage &&
                   thi_load_relaxed(&co->port) == loop->port)) {
        if (waits) /* it is this thread's: nothing changes meanwhile */
            thi_loop_ready(loop, co);
        return;
    }
    thi_fence_full();                               /* I1 */
    thi_port_t *port = thi_load_acquire(&co->port); /* A1: acquire; pairs with R1 */
    if (port == NULL)
        thi_thread_rouse(strand);
    else
        thi_coro_post(co, port);
}

static void describe(const thi_strand_t *strand, char *name, size_t size)
{
    const thrum_coro_t *co = thi_coro_of(strand);
    char own[THI_CORO_NAME]; /* it may be changed by another life meanwhile */
    for (size_t i = 0; i < sizeof own; i++)
        own[i] = thi_load_relaxed(&co->name[i]);
    own[sizeof own - 1] = '\0';
    snprintf(name, size, "coroutine %u \"%s\"", THI_SLOT(thi_load_relaxed(&strand->id)), own);
}

const thi_strand_kind_t thi_coro_kind = {
    .name = "coroutine",
    .block = block,
    .wake = thi_coro_wake,
    .passes_on = false,
    .stays = stays,
    .stay = stay,
    .ready = ready,
    .relax = NULL,
    .describe = describe,
};
