/*
 * Running a task, whoever it belongs to.
 */
#include <string.h>

#include "task/future.h"
#include "task/group.h"

int thrum_reply(thrum_reply_t *reply, const void *data, size_t size)
{
    if (reply == NULL || (data == NULL && size != 0))
        return EINVAL;
    size_t room = reply->room;
    unsigned char *into = reply->reply;
    if (size > room)
        into = reply->grow(reply, size, &room);
    if (size > room || (into == NULL && size != 0))
        return ENOMEM;
    if (size != 0)
        memmove(into, data, size); /* it may be a part of the reply before */
    if (into != reply->reply) {
        if (reply->reply != NULL)
            reply->drop(reply);
        reply->reply = into;
        reply->room = room;
    }
    reply->size = size;
    return 0;
}

thi_midst_t thi_midst_leave(thi_strand_t *self)
{
    const thi_midst_t midst = {thi_scope_enter(self, NULL), self->shields};
    self->shields = 0;
    return midst;
}

void thi_midst_return(thi_strand_t *self, thi_midst_t midst)
{
    thi_scope_enter(self, midst.scope);
    self->shields = midst.shields;
}

static int call(thrum_future_t *f, void **value)
{
    if (THI_LIKELY(f->bytes == NULL))
        return f->fn(f->arg, value);
    return f->bytes->fn(f->bytes->in, f->bytes->size, &f->bytes->place);
}

thi_outcome_t thi_future_run(thrum_future_t *f, thi_strand_t *self)
{
    void *value = NULL;
    thi_store_release(&f->runner, self); /* R1: release; pairs with A1 of future.c */
    const thi_scope_t *before = thi_scope_enter(self, &f->scope);
    const int err = call(f, &value);
    thi_scope_enter(self, before);
    thi_future_finish(f, err, value);
    return err == 0 ? THI_COMPLETED : THI_FAILED;
}

/* Not only when the future is freed: what is dropped may keep others, and those others. */
static void drop(thrum_future_t *f)
{
    if (f->drop != NULL)
        f->drop(f->arg);
    f->drop = NULL;
}

static thi_outcome_t run_future(thrum_future_t *f, thi_strand_t *self)
{
    thi_outcome_t outcome = THI_TAKEN;
    if (THI_LIKELY(thi_future_start(f)))
        outcome = thi_future_run(f, self);
    else if (thrum_future_cancelled(f)) {
        outcome = THI_CANCELLED;
        drop(f);
    }
    thrum_future_release(f);
    return outcome;
}

thi_outcome_t thi_task_run(const thi_task_t *task, thi_strand_t *self)
{
    thrum_group_t *group = thi_task_group(task);
    if (group != NULL)
        return thi_group_run(group, task, self);
    thrum_future_t *f = thi_task_future(task);
    if (f != NULL)
        return run_future(f, self);
    void *unwanted = NULL;
    return task->fn(task->arg, &unwanted) == 0 ? THI_COMPLETED : THI_FAILED;
}

static thi_outcome_t end_future(thrum_future_t *f, int error)
{
    if (error == ECANCELED)
        (void)thrum_future_cancel(f);
    if (error != ECANCELED && thi_future_start(f)) {
        drop(f);
        thi_future_finish(f, error, NULL);
        return THI_FAILED;
    }
    if (!thrum_future_cancelled(f))
        return THI_TAKEN;
    drop(f);
    return THI_CANCELLED;
}

thi_outcome_t thi_task_end(const thi_task_t *task, int error)
{
    thi_outcome_t outcome = error == ECANCELED ? THI_CANCELLED : THI_FAILED;
    thrum_group_t *group = thi_task_group(task);
    if (group != NULL) {
        thi_group_drop(group, error);
        return outcome;
    }
    thrum_future_t *f = thi_task_future(task);
    if (f == NULL)
        return outcome;
    outcome = end_future(f, error);
    thrum_future_release(f);
    return outcome;
}
