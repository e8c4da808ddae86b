/*
 * Then: a function of a future that has ended, with a future of its own.
 *
 * A step holds a reference to what it waits for and one to `next`, which is the future of a task like any
 * other, only that it is submitted when the first one ends. Until the step has run, or never will, it also keeps
 * the executor, which may be destroyed before the first one ends, or while somebody ends it.
 */
#include "task/future.h"

struct step {
    thrum_future_t *done;
    thrum_future_t *next;
    thrum_executor_t *executor;
    int (*fn)(thrum_future_t *done, void *arg, void **result);
    void *arg;
};

_Static_assert(sizeof(struct step) <= THI_BLOCK, "a step is a block");

static struct step *make_step(thrum_executor_t *executor,
                              int (*fn)(thrum_future_t *done, void *arg, void **result), void *arg)
{
    struct step *step = thi_block_take();
    if (step == NULL)
        return NULL;
    *step = (struct step){.executor = executor, .fn = fn, .arg = arg};
    if (executor != NULL)
        executor->kind->retain(executor);
    return step;
}

static void free_step(struct step *step)
{
    if (step->executor != NULL)
        step->executor->kind->release(step->executor);
    thrum_future_release(step->done);
    thi_block_give(step);
}

static int run_step(void *arg, void **result)
{
    struct step *step = arg;
    thi_strand_t *self = thi_current.strand;
    void *later = self->later;
    self->later = NULL; /* what the program ends has its callbacks called at once */
    const int err = step->fn(step->done, step->arg, result);
    self->later = later;
    free_step(step);
    return err;
}

/* `next` was cancelled. */
static void drop_step(void *arg)
{
    free_step(arg);
}

/* The executor has refused it. */
static void end_step(thrum_future_t *next, struct step *step, int err)
{
    if (thi_future_start(next)) {
        free_step(step);
        thi_future_finish(next, err, NULL);
    }
    thrum_future_release(next);
}

static void submit_step(thrum_future_t *next, struct step *step, thrum_executor_t *executor)
{
    const thi_task_t task = {run_step, step, (uintptr_t)next, 0};
    thrum_future_retain(next);
    const int err = executor->kind->submit(executor, &task, THI_AS_MADE);
    if (err != 0)
        end_step(next, step, err);
    else
        /* Who waits in a task of it may run it from now on, without having taken it from the executor.
         * R1: release; pairs with A3 of future.c: the step is whole. */
        thi_store_release(&next->executor, executor);
    thrum_future_release(next);
}

static void first_ended(thrum_future_t *f, void *arg)
{
    struct step *step = arg;
    thi_strand_t *self = thi_self();
    step->done = thrum_future_retain(f);
    if (step->executor != NULL)
        submit_step(step->next, step, step->executor);
    else if (self == NULL)
        end_step(step->next, step, ENOMEM);
    else
        (void)thi_task_run(&(thi_task_t){run_step, step, (uintptr_t)step->next, 0}, self);
}

/* What it was to follow was dropped without having ended. */
static void first_dropped(void *arg)
{
    struct step *step = arg;
    thrum_future_t *next = step->next;
    (void)thrum_future_cancel(next);
    next->drop = NULL; /* whoever still has it need not keep the executor */
    free_step(step);
    thrum_future_release(next);
}

int thrum_future_then(thrum_future_t *f, thrum_executor_t *executor,
                      int (*fn)(thrum_future_t *done, void *arg, void **result), void *arg,
                      thrum_future_t **next)
{
    if (f == NULL || fn == NULL)
        return EINVAL;
    if (executor != NULL && executor->kind->foreign)
        return ENOTSUP;
    struct step *step = make_step(executor, fn, arg);
    thrum_future_t *made = step != NULL ? thi_future_of_task(NULL, run_step, step) : NULL;
    if (made == NULL) {
        if (step != NULL)
            free_step(step);
        return ENOMEM;
    }
    step->next = made;
    made->drop = drop_step;
    thrum_future_retain(made); /* the step may end at once */
    const int err = thi_future_add(f, first_ended, first_dropped, step);
    if (err == 0 && next != NULL)
        *next = thrum_future_retain(made);
    if (err != 0)
        thrum_future_release(made); /* drops the step with it */
    thrum_future_release(made);
    thrum_future_release(made);
    return err;
}
