/*
 * The calls that are the same for all executors.
 */
#include <string.h>

#include "task/future.h"

static int submit(thrum_executor_t *ex, thrum_fn fn, void *arg, int64_t cost, thrum_time_t deadline,
                  thrum_future_t **f)
{
    if (THI_UNLIKELY(ex == NULL || fn == NULL))
        return EINVAL;
    thi_task_t task = {fn, arg, 0, cost};
    if (f == NULL)
        return ex->kind->submit(ex, &task, deadline);
    thrum_future_t *future = thi_future_of_task(ex, fn, arg);
    if (THI_UNLIKELY(future == NULL))
        return ENOMEM;
    task.owner = (uintptr_t)future;
    const int err = ex->kind->submit(ex, &task, deadline);
    if (THI_LIKELY(err == 0))
        *f = future;
    else
        thi_future_discard(future);
    return err;
}

int thrum_executor_submit(thrum_executor_t *ex, thrum_fn fn, void *arg, thrum_future_t **f)
{
    return submit(ex, fn, arg, 0, THI_AS_MADE, f);
}

int thrum_executor_submit_until(thrum_executor_t *ex, thrum_fn fn, void *arg, thrum_time_t deadline,
                                thrum_future_t **f)
{
    return submit(ex, fn, arg, 0, deadline > THI_AS_MADE ? deadline : THI_AS_MADE + 1, f);
}

int thrum_executor_submit_cost(thrum_executor_t *ex, thrum_fn fn, void *arg, int64_t cost,
                               thrum_future_t **f)
{
    return submit(ex, fn, arg, cost, THI_AS_MADE, f);
}

bool thi_help_in_time(const thi_strand_t *self, thrum_time_t deadline)
{
    const thrum_executor_t *ex = self->home;
    return ex != NULL && deadline > thi_clock() && !ex->kind->covered((thrum_executor_t *)ex);
}

/* ------------------------------------------------------------------------------------------------
 * Bytes
 */

/* Never called: a byte task has a function of another type. It says that the future is a task's. */
static int is_bytes(void *arg, void **result)
{
    (void)arg, (void)result;
    return ENOTSUP;
}

static unsigned char *grow(struct thrum_reply_place *place, size_t size, size_t *room)
{
    (void)place;
    unsigned char *made = thi_alloc(size);
    if (made != NULL)
        *room = size;
    return made;
}

static void drop(struct thrum_reply_place *place)
{
    thi_free(place->reply, place->room);
}

void thi_bytes_free(struct thi_bytes *bytes)
{
    if (bytes->place.reply != NULL)
        drop(&bytes->place);
    thi_free(bytes, sizeof *bytes + bytes->size);
}

static thrum_future_t *future_of_bytes(thrum_executor_t *ex, thrum_bytes_fn fn, const void *in,
                                       size_t size)
{
    if (size > PTRDIFF_MAX - sizeof(struct thi_bytes))
        return NULL;
    thrum_future_t *future = thi_future_of_task(ex, is_bytes, NULL);
    struct thi_bytes *bytes = future != NULL ? thi_alloc(sizeof *bytes + size) : NULL;
    if (bytes == NULL) {
        if (future != NULL)
            thi_future_discard(future);
        return NULL;
    }
    bytes->fn = fn;
    bytes->size = size;
    bytes->place.grow = grow;
    bytes->place.drop = drop;
    if (size != 0)
        memcpy(bytes->in, in, size);
    future->bytes = bytes;
    return future;
}

int thrum_executor_submit_bytes(thrum_executor_t *ex, thrum_bytes_fn fn, const void *in,
                                size_t size, thrum_future_t **f)
{
    if (ex == NULL || fn == NULL || (in == NULL && size != 0))
        return EINVAL;
    if (ex->kind->submit_bytes != NULL)
        return ex->kind->submit_bytes(ex, fn, in, size, f);
    thrum_future_t *future = future_of_bytes(ex, fn, in, size);
    if (future == NULL)
        return ENOMEM;
    const thi_task_t task = {is_bytes, NULL, (uintptr_t)future, 0};
    const int err = ex->kind->submit(ex, &task, THI_AS_MADE);
    if (err != 0) {
        thrum_future_release(future);
        thrum_future_release(future);
    } else if (f != NULL) {
        *f = future;
    } else {
        thrum_future_release(future);
    }
    return err;
}

int thrum_future_bytes(thrum_future_t *f, const void **data, size_t *size)
{
    const int err = thrum_future_wait(f);
    if (err != 0)
        return err;
    const void *reply = NULL;
    size_t reply_size = 0;
    if (f->remote != NULL && f->remote->kind->bytes(f->remote, &reply, &reply_size) != 0)
        return ENOTSUP;
    if (f->remote == NULL && f->bytes == NULL)
        return ENOTSUP;
    if (f->remote == NULL) {
        reply = f->bytes->place.reply;
        reply_size = f->bytes->place.size;
    }
    if (data != NULL)
        *data = reply_size != 0 ? reply : NULL;
    if (size != NULL)
        *size = reply_size;
    return thi_future_status(f);
}

/* ------------------------------------------------------------------------------------------------
 * The end
 */

int thrum_executor_shutdown_until(thrum_executor_t *ex, unsigned flags, thrum_time_t deadline)
{
    if (ex == NULL || (flags & ~(THRUM_WAIT | THRUM_CANCEL_PENDING | THRUM_KILL_RUNNING)) != 0)
        return EINVAL;
    if ((flags & THRUM_KILL_RUNNING & ~ex->kind->flags) != 0)
        return ENOTSUP;
    return ex->kind->shutdown(ex, flags, deadline);
}

int thrum_executor_shutdown(thrum_executor_t *ex, unsigned flags)
{
    return thrum_executor_shutdown_until(ex, flags, THRUM_FOREVER);
}

void thi_executor_finish(thrum_executor_t *ex, thrum_event_t *gone)
{
    thi_strand_t *self = thi_self();
    if (self != NULL)
        self->shields++;
    int err = ex->kind->shutdown(ex, THRUM_WAIT, THRUM_FOREVER);
    /* A thread that cannot be registered cannot sleep; it waits all the same. */
    for (unsigned turns = 0; err == ENOMEM; turns++) {
        thi_cpu_yield(turns);
        err = thrum_event_wait(gone);
    }
    if (self != NULL)
        self->shields--;
}

void thrum_executor_destroy(thrum_executor_t *ex)
{
    if (ex != NULL)
        ex->kind->destroy(ex);
}

void thrum_executor_stats(thrum_executor_t *ex, thrum_executor_stats_t *stats)
{
    if (stats == NULL)
        return;
    *stats = (thrum_executor_stats_t){0};
    if (ex != NULL)
        ex->kind->stats(ex, stats);
}
