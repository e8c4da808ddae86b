/*
 * The process pool as an executor: making it, submitting, statistics, the end.
 *
 * Its memory lives as long as the program's handle, one of its threads, a task, or a future of one. It ends when it
 * is closing and nothing is left: the service thread sees workers and spawner off, and the last thread sets `gone`.
 */
#include <stdio.h>
#include <string.h>

#include "process/pool.h"

#define WORKERS_MAX 1000u
#define INLINE_MAX THI_REQUEST_BYTES

/* ------------------------------------------------------------------------------------------------
 * Submitting
 */

bool thi_ppool_knows(const thi_ppool_t *pool, uintptr_t fn)
{
    size_t low = 0;
    size_t high = pool->code_count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (fn < pool->code[middle].begin)
            high = middle;
        else if (fn >= pool->code[middle].end)
            low = middle + 1;
        else
            return true;
    }
    return false;
}

int thi_ppool_why_not(const thi_ppool_t *pool)
{
    if (thi_ppool_is_forked(pool) || thi_load_acquire(&pool->broken) != 0)
        return EPIPE;
    return thi_load_acquire(&pool->closing) != 0 ? ESHUTDOWN : 0;
}

void thi_ppool_enqueue(thi_ppool_t *pool, thi_job_t *job, thi_batch_t *batch)
{
    thi_queue_put_last(pool, job);
    if (thi_load_relaxed(&pool->closing) != 0)
        batch->kick = true; /* the next part of a map: there may be no worker any more */
    if (thi_load_relaxed(&pool->broken) != 0)
        thi_ppool_clear(pool, batch, EPIPE, false);
    else if (pool->cancels)
        thi_ppool_clear(pool, batch, ECANCELED, false);
    else if (!pool->full)
        thi_ppool_dispatch(pool, batch);
}

static int take_room(thi_ppool_t *pool, thrum_time_t deadline)
{
    if (pool->config.backlog == 0)
        return 0;
    if (deadline != THI_AS_MADE)
        return thrum_sem_acquire_until(&pool->room, deadline);
    if (pool->config.full_fails)
        return thrum_sem_tryacquire(&pool->room);
    return thrum_sem_acquire(&pool->room);
}

static int accept(thi_ppool_t *pool, thi_job_t *job, thrum_future_t *f)
{
    thi_batch_t batch;
    thi_batch_begin(&batch);
    thi_ppool_lock(pool);
    const int err = thi_ppool_why_not(pool);
    if (err == 0) {
        if (f != NULL) {
            job->refs++;
            thi_future_set_remote(f, &job->remote);
        }
        thi_ppool_enqueue(pool, job, &batch);
    }
    const bool starts_timer = err == 0 && pool->idle_timer && pool->config.task_timeout > 0;
    pool->idle_timer = pool->idle_timer && !starts_timer;
    batch.kick = batch.kick || starts_timer;
    thi_ppool_unlock(pool);
    if (err != 0 && job->has_room)
        (void)thrum_sem_release(&pool->room);
    thi_batch_done(pool, &batch);
    return err;
}

/* Has the job freed unless it is accepted. */
static int submit_job(thi_ppool_t *pool, thi_job_t *job, thrum_future_t *f, thrum_time_t deadline)
{
    int err = thi_ppool_why_not(pool);
    if (err == 0)
        err = take_room(pool, deadline);
    if (err == 0) {
        job->has_room = pool->config.backlog != 0;
        err = accept(pool, job, f);
    }
    if (err != 0)
        thi_job_unref(job);
    return err;
}

static int submit(thrum_executor_t *ex, const thi_task_t *task, thrum_time_t deadline)
{
    thi_ppool_t *pool = thi_ppool_of(ex);
    if (!thi_ppool_knows(pool, (uintptr_t)task->fn))
        return EINVAL;
    if (thi_ppool_is_forked(pool))
        return EPIPE;
    thi_job_t *job = thi_job_make(pool, THI_REQUEST_CALL, 0);
    if (job == NULL)
        return ENOMEM;
    job->fn = (void *)(uintptr_t)task->fn;
    job->arg = task->arg;
    job->owner = task->owner;
    return submit_job(pool, job, thi_task_future(task), deadline);
}

static int spawn(thrum_executor_t *ex, const thi_task_t *task)
{
    return submit(ex, task, THI_AS_MADE);
}

/* The input: in the request, or in a block. */
static thi_job_t *job_of_bytes(thi_ppool_t *pool, const void *in, size_t size)
{
    thi_job_t *job = thi_job_make(pool, THI_REQUEST_BYTES_IN, size <= INLINE_MAX ? size : 0);
    if (job == NULL || size == 0)
        return job;
    job->size = size;
    if (size <= INLINE_MAX) {
        memcpy(job + 1, in, size);
        return job;
    }
    job->bulk = thi_blocks_take(&pool->blocks, size);
    if (job->bulk != NULL) {
        memcpy(job->bulk->at, in, size);
        return job;
    }
    thi_job_unref(job);
    return NULL;
}

/* Says that the future is a task's; never called. */
static int is_bytes(void *arg, void **result)
{
    (void)arg, (void)result;
    return ENOTSUP;
}

static int submit_bytes(thrum_executor_t *ex, thrum_bytes_fn fn, const void *in, size_t size,
                        thrum_future_t **f)
{
    thi_ppool_t *pool = thi_ppool_of(ex);
    if (!thi_ppool_knows(pool, (uintptr_t)fn))
        return EINVAL;
    if (thi_ppool_is_forked(pool))
        return EPIPE;
    thrum_future_t *future = f != NULL ? thi_future_of_task(ex, is_bytes, NULL) : NULL;
    if (f != NULL && future == NULL)
        return ENOMEM;
    thi_job_t *job = job_of_bytes(pool, in, size);
    int err = ENOMEM;
    if (job != NULL) {
        job->fn = (void *)(uintptr_t)fn;
        job->owner = (uintptr_t)future;
        err = submit_job(pool, job, future, THI_AS_MADE);
    }
    if (err == 0 && f != NULL)
        *f = future;
    else if (err != 0 && future != NULL)
        thi_future_discard(future);
    return err;
}

/* No strand of this process is a worker. */
static bool help(thrum_executor_t *ex, const thrum_group_t *group)
{
    (void)ex, (void)group;
    return false;
}

static bool covered(thrum_executor_t *ex)
{
    (void)ex;
    return true;
}

static void count(thrum_executor_t *ex, thi_outcome_t outcome)
{
    (void)ex, (void)outcome;
}

static void rouse(thrum_executor_t *ex)
{
    thi_ppool_t *pool = thi_ppool_of(ex);
    if (!thi_ppool_is_forked(pool))
        thi_ppool_kick(pool);
}

static size_t width(const thrum_executor_t *ex)
{
    return ((const thi_ppool_t *)(const void *)ex)->workers;
}

static void stats(thrum_executor_t *ex, thrum_executor_stats_t *s)
{
    thi_ppool_t *pool = thi_ppool_of(ex);
    if (thi_ppool_is_forked(pool))
        return;
    thi_ppool_lock(pool);
    for (size_t i = 0; i < pool->workers; i++) {
        const thi_hand_t *hand = &pool->hands[i];
        s->workers += hand->state == THI_HAND_READY || hand->state == THI_HAND_BORN;
        s->running += hand->active != 0;
    }
    s->idle = s->workers > s->running ? s->workers - s->running : 0;
    s->queued = pool->queued + pool->posted - s->running;
    s->completed = pool->completed;
    s->failed = pool->failed;
    s->cancelled = pool->cancelled;
    s->restarted = pool->restarted;
    thi_ppool_unlock(pool);
}

/* ------------------------------------------------------------------------------------------------
 * The end
 */

static void free_pool(thi_ppool_t *pool)
{
    if (pool->signal >= 0)
        thi_signal_close(pool->signal);
    thi_blocks_end(&pool->blocks);
    if (pool->hall != NULL)
        thi_shared_unmap(pool->hall, pool->hall_size);
    if (pool->hands != NULL)
        thi_free(pool->hands, pool->workers * sizeof *pool->hands);
    if (pool->code != NULL)
        thi_free(pool->code, pool->code_count * sizeof *pool->code);
    thi_free(pool, sizeof *pool);
}

void thi_ppool_unref(thi_ppool_t *pool)
{
    if (thi_fetch_sub_acq_rel(&pool->refs, 1u) == 1)
        free_pool(pool);
}

static void retain(thrum_executor_t *ex)
{
    thi_fetch_add_relaxed(&thi_ppool_of(ex)->refs, 1u);
}

static void release(thrum_executor_t *ex)
{
    thi_ppool_unref(thi_ppool_of(ex));
}

/* Ends what has not begun: also of a map whose next chunk comes later. */
static void clear(thi_ppool_t *pool)
{
    thi_ppool_lock(pool);
    pool->cancels = true;
    thi_ppool_stop_chunks(pool);
    thi_ppool_unlock(pool);
    bool more = true;
    while (more) {
        thi_batch_t batch;
        thi_batch_begin(&batch);
        batch.calls = true;
        thi_ppool_lock(pool);
        thi_ppool_clear(pool, &batch, ECANCELED, true);
        more = batch.more;
        thi_ppool_unlock(pool);
        thi_batch_done(pool, &batch);
    }
}

static bool is_in_init_or_fini(const thi_hand_t *hand)
{
    const uint32_t phase = thi_load_acquire(&hand->desk->phase);
    return (hand->state == THI_HAND_BORN || hand->state == THI_HAND_READY) &&
           (phase == THI_PHASE_INIT || phase == THI_PHASE_FINI);
}

static void kill_running(thi_ppool_t *pool)
{
    thi_ppool_lock(pool);
    pool->kills = true;
    for (size_t i = 0; i < pool->workers; i++) {
        thi_hand_t *hand = &pool->hands[i];
        hand->kills = hand->kills || is_in_init_or_fini(hand);
        bool condemned = hand->kills;
        for (uint32_t seq = hand->oldest; !condemned && seq != hand->tail; seq++)
            condemned = thi_hand_condemn(hand, seq, THI_DOOM_KILLED);
    }
    thi_ppool_unlock(pool);
}

/* The child's copy: its threads and workers are the parent's. If one of them was changing the queue in the fork, links
 * back may be wrong, and the count; those onward lead from job to job. */
static void shut_down_copy(thi_ppool_t *pool)
{
    thi_job_t *next = pool->first;
    pool->closing = 1;
    pool->first = pool->last = NULL;
    pool->queued = 0;
    while (next != NULL) {
        thi_job_t *job = next;
        const thi_task_t task = {NULL, NULL, job->owner, 0};
        next = job->next;
        if (job->kind == THI_REQUEST_CHUNK || job->state != THI_JOB_QUEUED)
            continue; /* of a map whose caller is not here; or somebody's who was just taking it */
        job->state = THI_JOB_NEW;
        (void)thi_task_end(&task, ECANCELED);
        thi_job_unref(job);
    }
}

static bool is_own_thread(const thi_ppool_t *pool)
{
    const thi_strand_t *self = thi_current.strand;
    return self != NULL && self->home == pool;
}

static int shutdown(thrum_executor_t *ex, unsigned flags, thrum_time_t deadline)
{
    thi_ppool_t *pool = thi_ppool_of(ex);
    if (thi_ppool_is_forked(pool)) {
        shut_down_copy(pool);
        return 0;
    }
    thi_ppool_lock(pool);
    const bool first = pool->closing == 0;
    thi_store_release(&pool->closing, 1u);
    thi_ppool_unlock(pool);
    if (first && pool->config.backlog != 0) /* whoever waits for room hears of it */
        (void)thrum_sem_release_n(&pool->room, (unsigned)(THRUM_SEM_MAX / 2));
    if ((flags & THRUM_CANCEL_PENDING) != 0)
        clear(pool);
    if ((flags & THRUM_KILL_RUNNING) != 0)
        kill_running(pool);
    thi_ppool_kick(pool);
    if ((flags & THRUM_WAIT) == 0)
        return 0;
    if (is_own_thread(pool))
        return EDEADLK;
    return thrum_event_wait_until(&pool->gone, deadline);
}

/* Its threads' references are the parent's; the descriptors are copies. */
static void let_go_of_copy(thi_ppool_t *pool)
{
    thi_fetch_sub_relaxed(&pool->refs, pool->threads);
    for (size_t i = 0; i < pool->workers; i++)
        if (pool->hands[i].pidfd >= 0)
            (void)thi_fd_close(pool->hands[i].pidfd);
    if (!pool->has_family)
        return;
    (void)thi_fd_close(pool->family.channel);
    (void)thi_fd_close(pool->family.pidfd);
}

static void destroy(thrum_executor_t *ex)
{
    thi_ppool_t *pool = thi_ppool_of(ex);
    thi_executor_finish(ex, &pool->gone);
    if (thi_ppool_is_forked(pool))
        let_go_of_copy(pool);
    thi_ppool_unref(pool);
}

static const thi_executor_kind_t kind = {
    .submit = submit,
    .spawn = spawn,
    .help = help,
    .covered = covered,
    .count = count,
    .rouse = rouse,
    .retain = retain,
    .release = release,
    .foreign = true,
    .flags = THRUM_KILL_RUNNING,
    .map = thi_ppool_map,
    .width = width,
    .shutdown = shutdown,
    .destroy = destroy,
    .stats = stats,
    .submit_bytes = submit_bytes,
};

/* ------------------------------------------------------------------------------------------------
 * Making
 */

static bool is_valid(const thrum_process_pool_config_t *config)
{
    return THI_IS_CONFIG(config) && config->workers <= WORKERS_MAX && config->task_timeout >= 0 &&
           (unsigned)config->on_crash <= THRUM_CRASH_BREAK && config->retries <= UINT16_MAX &&
           config->backlog <= THRUM_SEM_MAX / 2;
}

/* More may be loaded between the count and the look: then it is counted anew. */
static int look_at_code(thi_ppool_t *pool)
{
    for (;;) {
        const size_t room = thi_code_loaded(NULL, 0) + 4;
        pool->code = thi_alloc(room * sizeof *pool->code);
        if (pool->code == NULL)
            return ENOMEM;
        pool->code_count = room;
        const size_t found = thi_code_loaded(pool->code, room);
        if (found <= room) {
            for (size_t i = found; i < room; i++) /* nowhere, at the end */
                pool->code[i] = (thi_code_t){UINTPTR_MAX, UINTPTR_MAX};
            return 0;
        }
        thi_free(pool->code, room * sizeof *pool->code);
        pool->code = NULL;
    }
}

static int make_hands(thi_ppool_t *pool)
{
    pool->hall_size = sizeof(thi_hall_t) + pool->workers * sizeof(thi_desk_t);
    pool->hall = thi_shared_map(pool->hall_size);
    pool->hands = thi_alloc(pool->workers * sizeof *pool->hands);
    if (pool->hall == NULL || pool->hands == NULL)
        return ENOMEM;
    if (!thi_shared_claim(pool->hall, pool->hall_size))
        return ENOMEM;
    thi_desk_t *desks = (thi_desk_t *)(void *)(pool->hall + 1);
    for (size_t i = 0; i < pool->workers; i++) {
        pool->hands[i].desk = &desks[i];
        pool->hands[i].index = (uint32_t)i;
        pool->hands[i].pidfd = -1;
        pool->hands[i].window = 4;
    }
    return 0;
}

static int build(thi_ppool_t *pool)
{
    int err = look_at_code(pool);
    if (err == 0)
        err = make_hands(pool);
    if (err == 0)
        err = thi_blocks_begin(&pool->blocks);
    if (err == 0)
        err = thi_signal_open(&pool->signal);
    if (err == 0 && pool->config.backlog != 0)
        err = thrum_sem_init(&pool->room, (unsigned)pool->config.backlog);
    return err;
}

static thi_ppool_t *make(const thrum_process_pool_config_t *config, int *err)
{
    thi_ppool_t *pool = thi_alloc(sizeof *pool);
    *err = ENOMEM;
    if (pool == NULL)
        return NULL;
    pool->base.kind = &kind;
    pool->config = *config;
    pool->workers = config->workers != 0 ? config->workers : thi_processors();
    pool->workers = pool->workers < WORKERS_MAX ? pool->workers : WORKERS_MAX;
    pool->fork_mark = thi_fork_mark;
    pool->refs = 1;
    pool->signal = -1;
    pool->idle_timer = true;
    snprintf(pool->name, sizeof pool->name, "%s", config->name != NULL ? config->name : "thrum");
    *err = build(pool);
    if (*err == 0)
        return pool;
    free_pool(pool);
    return NULL;
}

/* The threads come after the fork, which is that of a process as it was. */
static int start(thi_ppool_t *pool)
{
    int err = thi_ppool_found(pool);
    if (err != 0) {
        thi_ppool_unref(pool);
        return err;
    }
    err = thi_caller_start(pool);
    if (err != 0) {
        thi_hands_dismiss(pool);
        thi_ppool_unref(pool);
        return err;
    }
    err = thi_service_start(pool);
    if (err != 0) {
        thi_hands_dismiss(pool);
        thi_caller_stop(pool);
        (void)thrum_event_wait(&pool->gone);
        thi_ppool_unref(pool);
    }
    return err;
}

int thrum_process_pool_create(thrum_executor_t **pool, const thrum_process_pool_config_t *config)
{
    static const thrum_process_pool_config_t defaults = THRUM_PROCESS_POOL_CONFIG_INIT;
    if (config == NULL)
        config = &defaults;
    if (pool == NULL || !is_valid(config))
        return EINVAL;
    if (thi_self() == NULL) /* now the library hears of forks */
        return ENOMEM;
    int err = 0;
    thi_ppool_t *made = make(config, &err);
    if (made == NULL)
        return err;
    err = start(made);
    if (err == 0)
        *pool = &made->base;
    return err;
}
