/*
 * The thread pool as an executor: making it, submitting, statistics, the end.
 *
 * A pool lives as long as it has a holder or one of its threads. It ends when it is closing and its last thread
 * has found nothing more to do; that one ends whatever may be left (nothing, unless an init has failed) and
 * sets `gone`. Holders have a count of their own, since after a fork the child's copies of the threads'
 * references are nobody's.
 */
#include <stdio.h>

#include "thread/pool.h"

#define WORKERS_MAX 65536u
#define SPARE_DEFAULT 64u

static thi_pool_t *pool_of(thrum_executor_t *ex)
{
    return (thi_pool_t *)(void *)ex;
}

static bool is_forked(const thi_pool_t *pool)
{
    return pool->fork_mark != thi_fork_mark;
}

/* ------------------------------------------------------------------------------------------------
 * Submitting
 */

static void run_outside(thi_pool_t *pool, const thi_task_t *task, thi_strand_t *self)
{
    const thi_outcome_t outcome = thi_task_run(task, self);
    uint64_t *counter = outcome == THI_COMPLETED ? &pool->completed : &pool->failed;
    if (outcome == THI_CANCELLED) /* its group was */
        counter = &pool->cancelled;
    thi_fetch_add_relaxed(counter, 1u);
}

static void run_here(thi_pool_t *pool, const thi_task_t *task)
{
    thi_worker_t *worker = thi_worker_of(pool);
    thi_strand_t *self = thi_self();
    if (self == NULL) {
        (void)thi_task_end(task, ENOMEM);
        return;
    }
    const thi_midst_t midst = thi_midst_leave(self);
    if (worker != NULL)
        thi_worker_run(worker, task);
    else
        run_outside(pool, task, self);
    thi_midst_return(self, midst);
}

/* The backlog is full. */
static int submit_when_full(thi_pool_t *pool, const thi_task_t *task, thrum_time_t deadline)
{
    if (deadline != THI_AS_MADE)
        return thrum_queue_put_until(pool->queue, task, deadline);
    if (pool->config.full == THRUM_FULL_FAIL)
        return EAGAIN;
    if (pool->config.full == THRUM_FULL_WAIT && thi_worker_of(pool) == NULL)
        return thrum_queue_put(pool->queue, task);
    run_here(pool, task);
    return 0;
}

static int push(thi_worker_t *worker, const thi_task_t *task)
{
    if (THI_UNLIKELY(!thi_deque_push(&worker->deque, task)))
        return ENOMEM;
    thi_pool_pushed(worker->pool);
    return 0;
}

static int submit(thrum_executor_t *ex, const thi_task_t *task, thrum_time_t deadline)
{
    thi_pool_t *pool = pool_of(ex);
    if (THI_UNLIKELY(thi_load_acquire(&pool->closing) != 0 || is_forked(pool)))
        return thi_load_acquire(&pool->broken) != 0 || is_forked(pool) ? EPIPE : ESHUTDOWN;
    if (pool->config.policy == THRUM_POLICY_STEALING && pool->config.backlog == 0) {
        thi_worker_t *worker = thi_worker_of(pool);
        if (worker != NULL)
            return push(worker, task);
    }
    /* Before the task is there, which may be to destroy the pool. */
    if (THI_UNLIKELY(thi_load_relaxed(&pool->short_handed) != 0))
        thi_standin_retry(pool);
    int err = thrum_queue_tryput(pool->queue, task);
    if (THI_UNLIKELY(err == EAGAIN))
        err = submit_when_full(pool, task, deadline);
    if (THI_UNLIKELY(err == ESHUTDOWN && thi_load_acquire(&pool->broken) != 0))
        return EPIPE;
    return err == EOWNERDEAD ? EPIPE : err;
}

/* Also while the pool is closing: the task that spawns was accepted. */
static int spawn(thrum_executor_t *ex, const thi_task_t *task)
{
    thi_worker_t *worker = thi_worker_of(pool_of(ex));
    return THI_LIKELY(worker != NULL) ? push(worker, task) : submit(ex, task, THI_AS_MADE);
}

/* What lies on top of the group's tasks may be anything: tasks without a group, futures that were cancelled, tasks
 * of other groups. With nobody left to stand in, nobody would take it away. */
THI_COLD static bool take_from_under(thi_worker_t *worker, uintptr_t owner, thi_task_t *task)
{
    if (thi_deque_is_empty(&worker->deque))
        return false;
    const uint32_t drains = thi_pool_moves(worker->pool);
    const bool had = thi_deque_pop_under(&worker->deque, owner, task);
    thi_pool_moved(worker->pool, drains);
    return had;
}

static bool help(thrum_executor_t *ex, const thrum_group_t *group)
{
    thi_task_t task;
    thi_worker_t *worker = thi_worker_of(pool_of(ex));
    const uintptr_t owner = (uintptr_t)group | THI_OWNER_GROUP;
    if (worker == NULL ||
        (!thi_deque_pop_of(&worker->deque, owner, &task) && !take_from_under(worker, owner, &task)))
        return false;
    thi_worker_run(worker, &task);
    return true;
}

static bool covered(thrum_executor_t *ex)
{
    return thi_standin_is_left(pool_of(ex));
}

static void count(thrum_executor_t *ex, thi_outcome_t outcome)
{
    thi_worker_count(thi_worker_of(pool_of(ex)), outcome);
}

/* A stray permit does a strand no harm. */
static void rouse(thrum_executor_t *ex)
{
    const thi_pool_t *pool = pool_of(ex);
    const size_t made = thi_load_acquire(&pool->made);
    for (size_t i = 0; i < made; i++) {
        thi_strand_t *strand = thi_load_acquire(&pool->crew[i].strand); /* A1 */
        if (strand != NULL)
            thi_strand_unpark(strand);
    }
}

static size_t width(const thrum_executor_t *ex)
{
    return ((const thi_pool_t *)(const void *)ex)->workers;
}

/* ------------------------------------------------------------------------------------------------
 * Statistics
 */

static void stats(thrum_executor_t *ex, thrum_executor_stats_t *s)
{
    thi_pool_t *pool = pool_of(ex);
    const bool forked = is_forked(pool); /* then nobody may be left to unlock */
    if (!forked)
        thi_lock(&pool->crew_lock, THI_RANK_CREW);
    const size_t alive = forked ? 0 : pool->alive;
    const size_t made = pool->made;
    size_t waiting_spares = 0; /* one that could not be started is none */
    for (size_t i = pool->workers; i < pool->made; i++)
        waiting_spares += pool->crew[i].started && thi_load_relaxed(&pool->crew[i].called) == 0;
    if (!forked)
        thi_unlock(&pool->crew_lock, THI_RANK_CREW);
    size_t busy = 0;
    s->completed = thi_load_relaxed(&pool->completed);
    s->failed = thi_load_relaxed(&pool->failed);
    s->cancelled = thi_load_relaxed(&pool->cancelled);
    s->queued = thrum_queue_size(pool->queue);
    for (size_t i = 0; i < made; i++) {
        const thi_worker_t *worker = &pool->crew[i];
        const uint32_t depth = thi_load_relaxed(&worker->depth);
        busy += depth != 0;
        s->running += depth;
        s->queued += thi_deque_size(&worker->deque);
        s->completed += thi_load_relaxed(&worker->completed);
        s->failed += thi_load_relaxed(&worker->failed);
        s->cancelled += thi_load_relaxed(&worker->cancelled);
    }
    s->workers = alive > waiting_spares ? alive - waiting_spares : 0;
    s->idle = s->workers > busy ? s->workers - busy : 0;
}

/* ------------------------------------------------------------------------------------------------
 * The end
 */

void thi_pool_drain(thi_pool_t *pool)
{
    thi_task_t task;
    thi_fetch_add_relaxed(&pool->drains_begun, 1u);
    thi_fence_heavy(); /* with the light one of thi_pool_moved: it sees that we have begun, or we its tasks */
    const int error = thi_load_acquire(&pool->broken) != 0 ? EPIPE : ECANCELED;
    while (thi_pool_take_any(pool, &task)) {
        const thi_outcome_t outcome = thi_task_end(&task, error);
        if (outcome != THI_TAKEN)
            thi_fetch_add_relaxed(outcome == THI_FAILED ? &pool->failed : &pool->cancelled, 1u);
    }
    thi_fetch_add_acq_rel(&pool->drains_ended, 1u); /* R1: release; pairs with A1 */
}

void thi_pool_moved(thi_pool_t *pool, uint32_t drains)
{
    thi_pool_pushed(
        pool); /* who looked for work meanwhile may have seen nothing; has the light fence */
    if (THI_UNLIKELY(thi_load_relaxed(&pool->drains_begun) != drains) &&
        !THI_PLANT("pool-drain-misses"))
        thi_pool_drain(pool);
}

static void free_pool(thi_pool_t *pool)
{
    for (size_t i = 0; i < pool->slots; i++)
        thi_deque_end(&pool->crew[i].deque);
    thrum_queue_destroy(pool->queue);
    thi_free(pool->memory, pool->memory_size);
}

void thi_pool_unref(thi_pool_t *pool)
{
    if (thi_fetch_sub_acq_rel(&pool->refs, 1u) == 1)
        free_pool(pool);
}

static void retain(thrum_executor_t *ex)
{
    thi_fetch_add_relaxed(&pool_of(ex)->holders, 1u); /* relaxed: the caller has one */
}

static void release(thrum_executor_t *ex)
{
    thi_pool_t *pool = pool_of(ex);
    if (thi_fetch_sub_acq_rel(&pool->holders, 1u) != 1)
        return;
    if (is_forked(pool)) /* its threads, and their references, are the parent's */
        free_pool(pool);
    else
        thi_pool_unref(pool);
}

void thi_pool_close(thi_pool_t *pool)
{
    thi_store_release(&pool->closing, 1u);
    (void)thrum_queue_close(pool->queue); /* fails only where a fork has left nobody to tell */
    thi_standins_dismiss(pool);
}

static int shutdown(thrum_executor_t *ex, unsigned flags, thrum_time_t deadline)
{
    thi_pool_t *pool = pool_of(ex);
    thi_pool_close(pool);
    if ((flags & THRUM_CANCEL_PENDING) != 0 || is_forked(pool))
        thi_pool_drain(pool);
    if ((flags & THRUM_WAIT) == 0 || is_forked(pool))
        return 0;
    if (thi_worker_of(pool) != NULL)
        return EDEADLK;
    return thrum_event_wait_until(&pool->gone, deadline);
}

static void destroy(thrum_executor_t *ex)
{
    thi_executor_finish(ex, &pool_of(ex)->gone);
    release(ex);
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
    .width = width,
    .shutdown = shutdown,
    .destroy = destroy,
    .stats = stats,
};

/* ------------------------------------------------------------------------------------------------
 * Making
 */

static bool is_valid(const thrum_thread_pool_config_t *config)
{
    return THI_IS_CONFIG(config) && config->workers <= WORKERS_MAX &&
           (unsigned)config->policy <= THRUM_POLICY_PRIORITY &&
           (unsigned)config->full <= THRUM_FULL_RUN;
}

static size_t spares_of(const thrum_thread_pool_config_t *config)
{
    if (config->spare_workers == SIZE_MAX)
        return 0;
    if (config->spare_workers == 0)
        return SPARE_DEFAULT;
    return config->spare_workers < WORKERS_MAX ? config->spare_workers : WORKERS_MAX;
}

static int by_cost(const void *a, const void *b, void *ctx)
{
    const thi_task_t *x = a;
    const thi_task_t *y = b;
    (void)ctx;
    return (x->cost > y->cost) - (x->cost < y->cost);
}

static int make_queue(thi_pool_t *pool)
{
    static const thrum_order_t orders[] = {THRUM_FIFO, THRUM_FIFO, THRUM_LIFO, THRUM_PRIORITY};
    const thrum_queue_config_t config = {.order = orders[pool->config.policy],
                                         .item_size = sizeof(thi_task_t),
                                         .capacity = pool->config.backlog,
                                         .compare = by_cost};
    return thrum_queue_create(&pool->queue, &config);
}

/* The pool and its crew, each on lines of its own. */
static thi_pool_t *allocate(size_t slots)
{
    const size_t align = _Alignof(thi_pool_t);
    const size_t size = sizeof(thi_pool_t) + slots * sizeof(thi_worker_t) + align;
    unsigned char *memory = thi_alloc(size);
    if (memory == NULL)
        return NULL;
    const size_t past = (uintptr_t)memory % align;
    thi_pool_t *pool = (thi_pool_t *)(void *)(memory + (past == 0 ? 0 : align - past));
    pool->memory = memory;
    pool->memory_size = size;
    pool->crew = (thi_worker_t *)(void *)(pool + 1);
    return pool;
}

static thi_pool_t *build(const thrum_thread_pool_config_t *config)
{
    const size_t workers = config->workers != 0 ? config->workers : thi_processors();
    const size_t slots = workers + spares_of(config);
    thi_pool_t *pool = allocate(slots);
    if (pool == NULL)
        return NULL;
    pool->base.kind = &kind;
    pool->config = *config;
    pool->workers = workers;
    pool->made = workers;
    pool->slots = slots;
    pool->refs = 1;
    pool->holders = 1;
    pool->fork_mark = thi_fork_mark;
    snprintf(pool->name, sizeof pool->name, "%s", config->name != NULL ? config->name : "thrum");
    int err = make_queue(pool);
    for (size_t i = 0; i < slots; i++) {
        pool->crew[i].pool = pool;
        pool->crew[i].index = (uint32_t)i;
        pool->crew[i].spare = i >= workers;
        if (err == 0 && i < workers)
            err = thi_deque_begin(&pool->crew[i].deque);
    }
    if (err == 0)
        return pool;
    free_pool(pool);
    return NULL;
}

/* Those that run when one cannot be started end again before this returns. */
static int start_workers(thi_pool_t *pool)
{
    int err = 0;
    thi_lock(&pool->crew_lock, THI_RANK_CREW);
    pool->alive = pool->workers;
    thi_unlock(&pool->crew_lock, THI_RANK_CREW);
    for (size_t i = 0; err == 0 && i < pool->workers; i++) {
        err = thi_worker_start(&pool->crew[i]);
        pool->crew[i].started = err == 0;
    }
    if (err == 0)
        return 0;
    thi_pool_close(pool);
    for (size_t i = 0; i < pool->workers; i++)
        if (!pool->crew[i].started && thi_crew_leave(&pool->crew[i]))
            thrum_event_set(&pool->gone);
    return err;
}

int thrum_thread_pool_create(thrum_executor_t **pool, const thrum_thread_pool_config_t *config)
{
    static const thrum_thread_pool_config_t defaults = THRUM_THREAD_POOL_CONFIG_INIT;
    if (config == NULL)
        config = &defaults;
    if (pool == NULL || !is_valid(config))
        return EINVAL;
    if (thi_self() == NULL) /* now the library hears of forks, which is_forked needs */
        return ENOMEM;
    thi_pool_t *built = build(config);
    if (built == NULL)
        return ENOMEM;
    if (start_workers(built) != 0) {
        destroy(&built->base);
        return EAGAIN;
    }
    *pool = &built->base;
    return 0;
}
