/*
 * A loop as an executor: each task is a coroutine.
 *
 * Its record outlives the loop as long as somebody holds it (a step that is to be submitted later). Who
 * submits is a visitor meanwhile: the loop closes the executor and waits for the visitors before it cancels
 * what is left.
 */
#include <thrum/waitgroup.h>

#include "coroutine/core.h"

#define CLOSED 4u /* the program has shut it down */
#define GONE 8u   /* the loop ends */

struct thi_loop_tasks {
    thrum_executor_t head;
    thrum_loop_t *loop; /* valid to visitors that found it open, and to its coroutines */
    uint32_t refs;
    uint32_t visitors;
    uint32_t closed; /* CLOSED, and the flags of the shutdown */
    thrum_waitgroup_t unfinished;
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
    thi_coro_of(self)->task_of = job.tasks;
    thi_fetch_sub_relaxed(&job.tasks->queued, 1u);
    thi_fetch_add_relaxed(&job.tasks->running, 1u);
    const bool drop = (thi_load_relaxed(&job.tasks->closed) & (THRUM_CANCEL_PENDING | GONE)) != 0 ||
                      thi_load_acquire(&self->cancelled) != 0;
    count(&job.tasks->head,
          drop ? thi_task_end(&job.task, ECANCELED) : thi_task_run(&job.task, self));
    thi_fetch_sub_relaxed(&job.tasks->running, 1u);
    (void)thrum_waitgroup_done(&job.tasks->unfinished);
    return 0;
}

static int spawn_in_loop(struct thi_loop_tasks *tasks, const thi_task_t *task)
{
    struct job *job = thi_block_take();
    if (job == NULL)
        return ENOMEM;
    if (thrum_waitgroup_add(&tasks->unfinished, 1) != 0) {
        thi_block_give(job);
        return ENOMEM;
    }
    *job = (struct job){tasks, *task};
    thi_fetch_add_relaxed(&tasks->queued, 1u);
    const int err = thi_loop_spawn(tasks->loop, thi_stage, NULL, run_job, job, NULL);
    if (err != 0) {
        thi_fetch_sub_relaxed(&tasks->queued, 1u);
        (void)thrum_waitgroup_done(&tasks->unfinished);
        thi_block_give(job);
    }
    return err;
}

/* Unless one of the marks says that it is closed. */
static int visit(struct thi_loop_tasks *tasks, const thi_task_t *task, uint32_t marks)
{
    thi_fetch_add_acq_rel(&tasks->visitors, 1u);
    thi_fence_full(); /* against the one in thi_tasks_close: it sees the visitor, or this the mark */
    const bool closed = (thi_load_acquire(&tasks->closed) & marks) != 0;
    const int err = closed ? ESHUTDOWN : spawn_in_loop(tasks, task);
    thi_fetch_sub_acq_rel(&tasks->visitors, 1u); /* R2: release; pairs with A2 */
    return err;
}

static int spawn(thrum_executor_t *ex, const thi_task_t *task)
{
    return visit(tasks_of(ex), task, GONE);
}

static int submit(thrum_executor_t *ex, const thi_task_t *task, thrum_time_t deadline)
{
    (void)deadline; /* it is never full */
    return visit(tasks_of(ex), task, CLOSED | GONE);
}

static void retain(thrum_executor_t *ex)
{
    thi_fetch_add_relaxed(&tasks_of(ex)->refs, 1u); /* relaxed: the caller has one */
}

static void release(thrum_executor_t *ex)
{
    struct thi_loop_tasks *tasks = tasks_of(ex);
    if (thi_fetch_sub_acq_rel(&tasks->refs, 1u) == 1)
        thi_free(tasks, sizeof *tasks);
}

static bool help(thrum_executor_t *ex, const thrum_group_t *group)
{
    (void)ex, (void)group; /* a coroutine that waits lets the loop run the others */
    return false;
}

static bool covered(thrum_executor_t *ex)
{
    (void)ex;
    return true; /* likewise */
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

/* A task would wait for itself; and the loop's thread, outside of coroutines, for what only it can run. */
static bool could_never_end(const struct thi_loop_tasks *tasks)
{
    const thi_stage_t *stage = thi_stage;
    if (stage == NULL)
        return false;
    if (stage->current != &stage->self)
        return stage->current->task_of == tasks;
    return stage == thi_load_relaxed(&tasks->loop->stage);
}

static int await_tasks(struct thi_loop_tasks *tasks, thrum_time_t deadline)
{
    const int err = thrum_waitgroup_trywait(&tasks->unfinished);
    if (err != EAGAIN)
        return err;
    return could_never_end(tasks) ? EDEADLK
                                  : thrum_waitgroup_wait_until(&tasks->unfinished, deadline);
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
    .retain = retain,
    .release = release,
    .help = help,
    .covered = covered,
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
    made->refs = 1;
    /* R1: release; pairs with A1. */
    if (thi_cas_acq_rel(&loop->tasks, &known, made))
        return &made->head;
    thi_free(made, sizeof *made);
    return &thi_load_acquire(&loop->tasks)->head;
}

void thi_tasks_close(thrum_loop_t *loop)
{
    struct thi_loop_tasks *tasks = loop->tasks;
    unsigned turns = 0;
    if (tasks == NULL)
        return;
    thi_fetch_or_acq_rel(&tasks->closed, GONE);
    thi_fence_full();
    while (thi_load_acquire(&tasks->visitors) != 0) /* A2: acquire; pairs with R2 */
        thi_cpu_yield(turns++);
}

void thi_tasks_forked(thrum_loop_t *loop)
{
    if (loop->tasks != NULL)
        loop->tasks->visitors = 0;
}

void thi_tasks_end(thrum_loop_t *loop)
{
    if (loop->tasks != NULL)
        release(&loop->tasks->head);
}
