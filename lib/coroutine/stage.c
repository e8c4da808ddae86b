/*
 * A thread on which coroutines run.
 */
#include "coroutine/stack.h"

_Thread_local thi_stage_t *thi_stage THI_TLS_MODEL;

#ifdef THI_ASAN
_Thread_local thi_fiber_t *thi_fiber_left THI_TLS_MODEL;
#endif

static thi_ending_t ending;

static void thread_ends(void *arg)
{
    thi_stage_t *stage = arg;
    thi_coro_settle(stage);
    thi_stack_give_all(stage);
    thi_stack_unwatch_overflow(stage->signal_stack);
    thi_select_polls_end(stage);
    thi_stage = NULL;
    thi_free(stage, sizeof *stage);
}

thi_stage_t *thi_stage_make(void)
{
    thi_strand_t *strand = thi_self();
    thi_stage_t *stage = strand != NULL ? thi_alloc(sizeof *stage) : NULL;
    if (stage == NULL || thi_thread_on_end(&ending, thread_ends, stage) != 0) {
        thi_free(stage, sizeof *stage);
        return NULL;
    }
    thi_fiber_of_thread(&stage->self.fiber, strand);
    stage->self.stage = stage;
    thi_coro_set_state(&stage->self, THI_CORO_RUNNING);
    stage->self.refs = 1;
    stage->current = &stage->self;
    stage->error = &errno;
    stage->signal_stack = thi_stack_watch_overflow();
    thi_stage = stage;
    return stage;
}
