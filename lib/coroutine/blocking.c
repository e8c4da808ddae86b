/*
 * Calls that block their thread, on a thread of their own. A thread for each call: the calls may wait for
 * one another, so a fixed number of helpers could be stuck for ever; the number at a time is bounded only
 * to keep a mistake from filling the machine.
 */
#include <thrum/thread.h>

#include "coroutine/core.h"

struct call {
    thrum_fn fn;
    void *arg;
    void *result;
};

static int run(void *arg, void **result)
{
    struct call *call = arg;
    (void)result;
    return call->fn(call->arg, &call->result);
}

static int join(void *arg, void **result)
{
    (void)result;
    return thrum_thread_join(arg, NULL);
}

/* What it works on is the caller's: it is waited for whatever happens. */
static int run_on_thread(struct call *call)
{
    thrum_thread_config_t config = THRUM_THREAD_CONFIG_INIT;
    thrum_thread_t *thread = NULL;
    config.name = "thrum-blocking";
    int err = thrum_thread_spawn(&thread, run, call, &config);
    if (err != 0)
        return err;
    err = thrum_shield(join, thread, NULL);
    thrum_thread_release(thread);
    return err;
}

int thrum_blocking(thrum_fn fn, void *arg, void **result)
{
    struct call call = {fn, arg, NULL};
    const thi_stage_t *stage = thi_stage;
    int err = 0;
    if (fn == NULL)
        return EINVAL;
    if (stage == NULL || stage->loop == NULL || stage->current == &stage->self) {
        err = fn(arg, &call.result);
    } else {
        thrum_loop_t *loop = stage->loop;
        err = thrum_sem_acquire(&loop->helpers);
        if (err != 0)
            return err;
        err = thrum_cancelled() ? ECANCELED : run_on_thread(&call);
        (void)thrum_sem_release(&loop->helpers);
    }
    if (result != NULL)
        *result = call.result;
    return err;
}
