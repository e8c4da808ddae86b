/*
 * A loop as an executor: each task is a coroutine.
 */
#include "coroutine/core.h"

struct thi_loop_tasks {
    thrum_executor_t head;
    thrum_loop_t *loop;
    uint32_t closed;
    uint64_t queued; /* atomic, like all of them */
    uint64_t running;
    uint64_t completed;
    uint64_t failed;
    uint64_t cancelled;
};

/* A task on its way to its coroutine. */
struct job {
    struct thi_loop_tasks *tasks;
    thi_task_t task;
};

_Static_assert(sizeof(struct job) <= THI_BLOCK, "a block is too small");

static struct thi_loop_tasks *tasks_of(const thrum_executor_t *ex)
{
    return (struct thi_loop_tasks *)(uintptr_t)ex;
}

static void count(thrum_executor_t *ex, thi_outcome_t outcome)
{
    struct thi_loop_tasks *tasks = tasks_of(ex);
    switch (outcome) {
    case THI_COMPLETED:
        thi_fetch_add_relaxed(&tasks->completed, 1u);
        break;
    case THI_FAILED:
        thi_fetch_add_relaxed(&tasks->failed, 1u);
        break;
    case THI_CANCELLED:
        thi_fetch_add_relaxed(&tasks->cancelled, 1u);
        break;
    case THI_TAKEN:
        break;
    }
}

static int run_job(void *arg, void **result)
{
    const struct job job = *(struct job *)arg;
    thi_strand_t *self = thi_current.strand;
    (void)result;
    thi_block_give(arg);
    thi_fetch_sub_relaxed(&job.tasks->queued, 1u);
    thi_fetch_add_relaxed(&job.tasks->running, 1u);
    const bool drop = (thi_load_relaxed(&job.tasks->closed) & THRUM_CANCEL_PENDING) != 0 ||
                      thi_load_acquire(&self->cancelled) != 0;
    count(&job.tasks->head,
          drop ? thi_task_end(&job.task, ECANCELED) : thi_task_run(&job.task, self));
    thi_fetch_sub_relaxed(&job.tasks->running, 1u);
    return 0;
}

#define CLOSED 4u /* beside the flags of the shutdown */

static int spawn(thrum_executor_t *ex, const thi_task_t *task)
{
    struct thi_loop_tasks *tasks = tasks_of(ex);
    struct job *job = thi_block_take();
    if (job == NULL)
        return ENOMEM;
    *job = (struct job){tasks, *task};
    thi_fetch_add_relaxed(&tasks->queued, 1u);
    const int err = thi_loop_spawn(tasks->loop, thi_stage, NULL, run_job, job, NULL);
    if (err != 0) {
        thi_fetch_sub_relaxed(&tasks->queued, 1u);
        thi_block_give(job);
    }
    return err;
}

static int submit(thrum_executor_t *ex, const thi_task_t *task, thrum_time_t deadline)
{
    (void)deadline; /* it is never full */
    return thi_load_acquire(&tasks_of(ex)->closed) != 0 ? ESHUTDOWN : spawn(ex, task);
}

static bool help(thrum_executor_t *ex, const thrum_group_t *group)
{
    (void)ex, (void)group; /* a coroutine that waits lets the loop run the others */
    return false;
}

static void rouse_each(thi_strand_t *strand, void *arg)
{
    (void)arg;
    if (strand->kind == &thi_coro_kind && thi_load_relaxed(&strand->scope) != NULL)
        thi_strand_unpark(strand);
}

static void rouse(thrum_executor_t *ex)
{
    (void)ex;
    thi_strand_each(rouse_each, NULL);
}

static size_t width(const thrum_executor_t *ex)
{
    (void)ex;
    return 1;
}

static size_t unfinished(const struct thi_loop_tasks *tasks)
{
    return (size_t)(thi_load_relaxed(&tasks->queued) + thi_load_relaxed(&tasks->running));
}

/* The loop is not the executor's to end: only its tasks are waited for, from elsewhere or in turns. */
static int await_tasks(const struct thi_loop_tasks *tasks, thrum_time_t deadline)
{
    const thi_stage_t *stage = thi_stage;
    if (stage != NULL && stage->loop == tasks->loop && stage->current == &stage->self)
        return EDEADLK;
    while (unfinished(tasks) != 0) {
        if (thi_clock() >= deadline)
            return ETIMEDOUT;
        const int err = thrum_sleep(THRUM_MS(1));
        if (err != 0)
            return err;
    }
    return 0;
}

static int shut_down(thrum_executor_t *ex, unsigned flags, thrum_time_t deadline)
{
    struct thi_loop_tasks *tasks = tasks_of(ex);
    thi_fetch_or_acq_rel(&tasks->closed, flags | CLOSED);
    return (flags & THRUM_WAIT) != 0 ? await_tasks(tasks, deadline) : 0;
}

static void destroy(thrum_executor_t *ex)
{
    (void)shut_down(ex, 0, THRUM_FOREVER); /* it is freed with its loop */
}

static void stats(thrum_executor_t *ex, thrum_executor_stats_t *out)
{
    const struct thi_loop_tasks *tasks = tasks_of(ex);
    out->workers = 1;
    out->queued = (size_t)thi_load_relaxed(&tasks->queued);
    out->running = (size_t)thi_load_relaxed(&tasks->running);
    out->idle = out->running == 0;
    out->completed = thi_load_relaxed(&tasks->completed);
    out->failed = thi_load_relaxed(&tasks->failed);
    out->cancelled = thi_load_relaxed(&tasks->cancelled);
}

static const thi_executor_kind_t kind = {
    .submit = submit,
    .spawn = spawn,
    .help = help,
    .count = count,
    .rouse = rouse,
    .width = width,
    .shutdown = shut_down,
    .destroy = destroy,
    .stats = stats,
};

thrum_executor_t *thrum_loop_executor(thrum_loop_t *loop)
{
    if (loop == NULL)
        return NULL;
    struct thi_loop_tasks *known = thi_load_acquire(&loop->tasks); /* A1: acquire; pairs with R1 */
    if (known != NULL)
        return &known->head;
    struct thi_loop_tasks *made = thi_alloc(sizeof *made);
    if (made == NULL)
        return NULL;
    made->head.kind = &kind;
    made->loop = loop;
    /* R1: release; pairs with A1. */
    if (thi_cas_acq_rel(&loop->tasks, &known, made))
        return &made->head;
    thi_free(made, sizeof *made);
    return &thi_load_acquire(&loop->tasks)->head;
}

void thi_tasks_end(thrum_loop_t *loop)
{
    thi_free(loop->tasks, sizeof *loop->tasks);
}
