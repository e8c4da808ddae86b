/*
 * A loop in parallel: pieces of a range are taken by whoever is free, the calling strand included. So it
 * gets done at the caller's pace at least, however busy the executor is.
 */
#include "task/future.h"

#define HELPERS_MAX 64u
#define PIECES_PER_STRAND 4u

struct loop {
    int (*fn)(size_t begin, size_t end, void *arg);
    void *arg;
    size_t begin;
    size_t n;
    size_t grain;
    THRUM_ALIGNED(THI_CACHE_LINE) size_t next;
    uint32_t error;
};

static void work(struct loop *loop)
{
    while (thi_load_relaxed(&loop->error) == 0) {
        const size_t from = thi_fetch_add_relaxed(&loop->next, loop->grain);
        if (from >= loop->n)
            return;
        const size_t to = loop->n - from < loop->grain ? loop->n : from + loop->grain;
        const int err = loop->fn(loop->begin + from, loop->begin + to, loop->arg);
        uint32_t none = 0;
        if (err != 0)
            (void)thi_cas_relaxed(&loop->error, &none, (uint32_t)err);
    }
}

static int helper(void *arg, void **result)
{
    (void)result;
    work(arg);
    return 0;
}

/* Those that have not started are not needed any more; the others have to be through with the loop. */
static void dismiss(thrum_future_t **helpers, size_t count)
{
    thi_strand_t *self = thi_self();
    if (self != NULL)
        self->shields++;
    for (size_t i = 0; i < count; i++) {
        if (!thrum_future_cancel(helpers[i]))
            while (thrum_future_wait(helpers[i]) != 0) {
            }
        thrum_future_release(helpers[i]);
    }
    if (self != NULL)
        self->shields--;
}

static size_t helpers_for(const thrum_executor_t *ex, size_t pieces)
{
    const thi_strand_t *self = thi_self();
    size_t count = ex->kind->width(ex);
    if (self != NULL && self->home == ex)
        count--;
    if (count > pieces - 1)
        count = pieces - 1;
    return count < HELPERS_MAX ? count : HELPERS_MAX;
}

static size_t grain_for(const thrum_executor_t *ex, size_t n)
{
    const size_t pieces = ex->kind->width(ex) * PIECES_PER_STRAND;
    return (n + pieces - 1) / pieces;
}

int thrum_parallel_for(thrum_executor_t *ex, size_t begin, size_t end, size_t grain,
                       int (*fn)(size_t begin, size_t end, void *arg), void *arg)
{
    if (ex == NULL || fn == NULL || begin > end || end - begin > SIZE_MAX / 4 ||
        grain > SIZE_MAX / 4)
        return EINVAL;
    const size_t n = end - begin;
    if (n == 0)
        return 0;
    if (ex->kind->foreign)
        return ENOTSUP;
    struct loop loop = {.fn = fn, .arg = arg, .begin = begin, .n = n};
    loop.grain = grain == 0 ? grain_for(ex, n) : grain < n ? grain : n;
    thrum_future_t *helpers[HELPERS_MAX];
    size_t count = 0;
    const size_t wanted = helpers_for(ex, (n + loop.grain - 1) / loop.grain);
    while (count < wanted &&
           thrum_executor_submit_until(ex, helper, &loop, 0, &helpers[count]) == 0)
        count++;
    work(&loop);
    dismiss(helpers, count);
    if (loop.error == 0 && loop.next < n)
        return ECANCELED;
    return (int)loop.error;
}
