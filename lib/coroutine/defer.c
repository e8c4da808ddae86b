/*
 * What a coroutine has deferred: called when it ends, the last first.
 */
#include "coroutine/core.h"

#define CLEANUPS 6

/* Of the size of a block (task.h). */
struct thi_cleanups {
    struct thi_cleanups *before;
    size_t count;
    struct cleanup {
        void (*fn)(void *arg);
        void *arg;
    } cleanups[CLEANUPS];
};

_Static_assert(sizeof(struct thi_cleanups) <= THI_BLOCK, "a block is too small");

int thrum_defer(void (*cleanup)(void *), void *arg)
{
    thi_stage_t *stage = thi_stage;
    thrum_coro_t *co = stage != NULL ? stage->current : NULL;
    if (cleanup == NULL || co == NULL || co == &stage->self)
        return EINVAL;
    struct thi_cleanups *some = co->cleanups;
    if (some == NULL || some->count == CLEANUPS) {
        some = thi_block_take();
        if (some == NULL)
            return ENOMEM;
        some->before = co->cleanups;
        some->count = 0;
        co->cleanups = some;
    }
    some->cleanups[some->count++] = (struct cleanup){cleanup, arg};
    return 0;
}

/* A cleanup may defer others. */
void thi_coro_run_cleanups(thrum_coro_t *co)
{
    if (THI_LIKELY(co->cleanups == NULL))
        return;
    co->strand.shields++;
    while (co->cleanups != NULL) {
        struct thi_cleanups *some = co->cleanups;
        if (some->count != 0) {
            const struct cleanup next = some->cleanups[--some->count];
            next.fn(next.arg);
        } else {
            co->cleanups = some->before;
            thi_block_give(some);
        }
    }
    co->strand.shields--;
}
