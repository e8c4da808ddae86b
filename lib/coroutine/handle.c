/*
 * What the holder of a handle may ask, on any thread.
 *
 *   ended   ENDED     status and result are there; it has left its stack for good, or its loop has a reference
 *           JOINERS   somebody may sleep in a join. It may be set for nobody
 *
 * Invariants
 *   I1  What a joiner may free is not touched after ENDED was set, but by who holds a reference: a loop does
 *       until its coroutine has left its stack.
 */
#include "coroutine/core.h"

const thi_site_t thi_coro_site = {"end of coroutine", NULL};

/* ------------------------------------------------------------------------------------------------
 * References
 */

thrum_coro_t *thi_coro_retain(thrum_coro_t *co)
{
    thi_fetch_add_relaxed(&co->refs, 1u); /* relaxed: the caller has one */
    return co;
}

/* Nobody has a handle, but it is suspended: it is to end. */
static void unwind(thi_stage_t *stage, thrum_coro_t *co)
{
    thi_store_relaxed(&co->refs, 1u);
    thi_coro_unwind(stage, co);
    if (thi_coro_drop(co) && co->state == THI_CORO_DONE)
        thi_coro_free(stage, co);
}

THI_NOINLINE static void release_suspended(thi_stage_t *stage, thrum_coro_t *co)
{
    if (co->state == THI_CORO_NEW)
        thi_coro_free(stage, co);
    else if (co->stage == stage &&
             (co->state == THI_CORO_YIELDED || co->state == THI_CORO_SWITCHED))
        unwind(stage, co);
}

void thrum_coro_release(thrum_coro_t *co)
{
    if (co == NULL || !thi_coro_drop(co))
        return;
    if (THI_LIKELY(thrum_coro_done(co)))
        thi_coro_free(thi_stage, co);
    else
        release_suspended(thi_stage, co);
}

/* ------------------------------------------------------------------------------------------------
 * The end
 */

void thi_coro_tell_joiners(thrum_coro_t *co)
{
    /* R1: release; pairs with A1. I1. */
    if ((thi_swap_acq_rel(&co->ended, THI_ENDED) & THI_JOINERS) != 0)
        thi_lot_unpark(&(thi_unpark_t){.key = &co->ended, .site = &thi_coro_site, .n = THI_ALL});
}

bool thrum_coro_done(const thrum_coro_t *co)
{
    /* A1: acquire; pairs with R1, R1 of line.h, and the switch that leaves a stack. */
    return co != NULL && (thi_load_acquire(&co->ended) & THI_ENDED) != 0;
}

int thrum_coro_result(const thrum_coro_t *co, void **result)
{
    if (co == NULL)
        return EINVAL;
    if (!thrum_coro_done(co))
        return EBUSY;
    if (result != NULL)
        *result = co->result;
    return co->status;
}

int thrum_coro_cancel(thrum_coro_t *co)
{
    if (co == NULL)
        return EINVAL;
    if (!thrum_coro_done(co))
        thi_strand_cancel(co->fiber.strand);
    return 0;
}

const char *thrum_coro_name(const thrum_coro_t *co)
{
    return co != NULL ? co->name : "";
}

/* ------------------------------------------------------------------------------------------------
 * Join
 */

/* Under the bucket's lock. */
static bool must_wait(void *arg)
{
    thrum_coro_t *co = arg;
    /* W1: relaxed; the end's swap sees the mark, or this one sees the end. */
    return (thi_fetch_or_relaxed(&co->ended, THI_JOINERS) & THI_ENDED) == 0;
}

static int may_join(const thrum_coro_t *co)
{
    if (co == NULL || !co->loops)
        return EINVAL;
    return thi_current.strand == &co->strand ? EDEADLK : 0;
}

static int wait_for_end(thrum_coro_t *co, thrum_time_t deadline)
{
    const int err = may_join(co);
    if (err != 0)
        return err;
    thi_park_t park = {.site = &thi_coro_site,
                       .key = &co->ended,
                       .arg = co,
                       .validate = must_wait,
                       .cancellable = true};
    while (!thrum_coro_done(co)) {
        const int stopped = thi_lot_park(&park, deadline);
        if (stopped != 0 && stopped != EAGAIN)
            return stopped;
    }
    return 0;
}

int thrum_coro_join_until(thrum_coro_t *co, void **result, thrum_time_t deadline)
{
    const int err = thrum_coro_done(co) ? 0 : wait_for_end(co, deadline);
    return err != 0 ? err : thrum_coro_result(co, result);
}

int thrum_coro_join(thrum_coro_t *co, void **result)
{
    return thrum_coro_join_until(co, result, THRUM_FOREVER);
}

int thrum_coro_tryjoin(thrum_coro_t *co, void **result)
{
    if (thrum_coro_done(co))
        return thrum_coro_result(co, result);
    const int err = may_join(co);
    return err != 0 ? err : EAGAIN;
}

int thrum_coro_join_all(thrum_coro_t *const *cos, size_t n, thrum_time_t deadline)
{
    int first = 0;
    if (cos == NULL && n != 0)
        return EINVAL;
    for (size_t i = 0; i < n; i++) {
        const int err = thrum_coro_done(cos[i]) ? 0 : wait_for_end(cos[i], deadline);
        if (err != 0)
            return err;
        const int status = thrum_coro_result(cos[i], NULL);
        first = first != 0 ? first : status;
    }
    return first;
}
