/*
 * Spare workers. When every worker sleeps in a task (it waits for a future, a queue, a lock, ...), nobody
 * would be left to run what they wait for; so one more is called. It goes when somebody else is awake
 * again and its task has ended.
 *
 *   crew: workers + called - blocked   are awake, or idle and can be woken. It is to be at least 1, and a
 *                                      spare one goes when it is so without it.
 *
 * A spare worker's thread is started when it is first needed, and then waits for its next call. All
 * numbers are under crew_lock.
 *
 * When it cannot be started (no memory, no more threads) there is nobody awake to try again. So `short_handed` is
 * set, and whoever submits next tries before. For a task that came during the failed attempt there is a second
 * one.
 */
#include "thread/pool.h"

static const thi_site_t site = {"thread pool", NULL};

static size_t awake(const thi_pool_t *pool)
{
    return pool->workers + pool->called - pool->blocked;
}

/* Under the lock: one that is not called; NULL: all are. Those whose threads run come first. */
static thi_worker_t *spare_worker(thi_pool_t *pool)
{
    for (size_t i = pool->workers; i < pool->slots; i++)
        if (thi_load_relaxed(&pool->crew[i].called) == 0)
            return &pool->crew[i];
    return NULL;
}

/* Others that are awake do not count: they may be the next to sleep. */
bool thi_standin_is_left(thi_pool_t *pool)
{
    thi_lock(&pool->crew_lock, THI_RANK_CREW);
    const bool left = spare_worker(pool) != NULL;
    thi_unlock(&pool->crew_lock, THI_RANK_CREW);
    return left;
}

/* Under the lock: has a spare worker stand in. Returns it if its thread has to be started. */
static thi_worker_t *call_one(thi_pool_t *pool)
{
    thi_worker_t *spare = spare_worker(pool);
    if (spare == NULL)
        return NULL;
    pool->called++;
    thi_store_release(&spare->called, 1u); /* R1: release; pairs with A1 */
    if (spare->started)
        return NULL;
    spare->started = true;
    pool->alive++;
    if (pool->made <= spare->index)
        thi_store_release(&pool->made, (size_t)spare->index + 1);
    return spare;
}

static int start(thi_worker_t *spare)
{
    int err = 0;
    if (spare->deque.array == NULL)
        err = thi_deque_begin(&spare->deque);
    return err == 0 ? thi_worker_start(spare) : err;
}

/* Who submits, or sleeps next, will try again. True: the last thread has ended meanwhile, and was not told that it was
 * the last one. */
static bool start_failed(thi_pool_t *pool, thi_worker_t *spare)
{
    thi_lock(&pool->crew_lock, THI_RANK_CREW);
    spare->started = false;
    thi_store_relaxed(&spare->called, 0u);
    pool->called--;
    thi_store_relaxed(&pool->short_handed, 1u);
    const bool last = --pool->alive == 0;
    thi_unlock(&pool->crew_lock, THI_RANK_CREW);
    return last;
}

static void wake_called(thi_pool_t *pool)
{
    thi_lot_unpark(&(thi_unpark_t){.key = pool, .site = &site, .n = THI_ALL});
}

/* False: its thread could not be started. */
static bool call_spare(thi_pool_t *pool, bool *last)
{
    thi_lock(&pool->crew_lock, THI_RANK_CREW);
    const bool nobody = awake(pool) == 0 && pool->alive != 0;
    thi_worker_t *fresh = nobody ? call_one(pool) : NULL;
    thi_store_relaxed(&pool->short_handed, 0u);
    thi_unlock(&pool->crew_lock, THI_RANK_CREW);
    if (fresh == NULL) {
        if (nobody)
            wake_called(pool);
        return true;
    }
    if (start(fresh) == 0)
        return true;
    *last = start_failed(pool, fresh);
    return false;
}

/* Nobody was awake a moment ago. Where no more can be submitted, a spare worker is called for what is
 * there only: it goes as soon as it finds nothing. True: no thread is left. */
static bool stand_in(thi_pool_t *pool)
{
    bool last = false;
    if (thi_pool_is_over(pool) || call_spare(pool, &last))
        return false;
    /* A submit during the attempt did not see that it would fail. */
    if (!last && thi_pool_has_work(pool))
        (void)call_spare(pool, &last);
    return last;
}

void thi_standin_retry(thi_pool_t *pool)
{
    if (stand_in(pool))
        thi_pool_end(&pool->crew[0]);
}

void thi_worker_sleeps(thi_strand_t *self, bool sleeps)
{
    thi_worker_t *worker = self->post;
    thi_pool_t *pool = worker->pool;
    if (!worker->in_task || pool->fork_mark != thi_fork_mark)
        return;
    if (sleeps ? worker->sleeps++ != 0 : --worker->sleeps != 0)
        return; /* in the midst of this: the program's allocator waits, say */
    thi_lock(&pool->crew_lock, THI_RANK_CREW);
    pool->blocked = sleeps ? pool->blocked + 1 : pool->blocked - 1;
    const bool nobody = sleeps && awake(pool) == 0 && !THI_PLANT("pool-no-standin");
    thi_unlock(&pool->crew_lock, THI_RANK_CREW);
    if (nobody)
        (void)stand_in(pool); /* this one is left */
}

bool thi_crew_leave(thi_worker_t *worker)
{
    thi_pool_t *pool = worker->pool;
    thi_lock(&pool->crew_lock, THI_RANK_CREW);
    if (!worker->spare) {
        pool->blocked++; /* not there to be woken: if the others sleep, a spare one is called */
    } else {
        worker->started = false;
        pool->called -= thi_load_relaxed(&worker->called);
        thi_store_relaxed(&worker->called, 0u);
    }
    const bool last = --pool->alive == 0;
    const bool nobody = !last && awake(pool) == 0 && !THI_PLANT("pool-leaves-alone");
    thi_unlock(&pool->crew_lock, THI_RANK_CREW);
    /* Who sleeps in a task may have left something after the worker had looked. */
    return last || (nobody && stand_in(pool));
}

/* Under the bucket's lock. */
static bool must_wait(void *arg)
{
    const thi_worker_t *worker = arg;
    return thi_load_acquire(&worker->called) == 0 && /* A1: acquire; pairs with R1 */
           thi_load_acquire(&worker->pool->closing) == 0;
}

bool thi_standin_wait(thi_worker_t *worker)
{
    thi_park_t park = {.site = &site, .key = worker->pool, .arg = worker, .validate = must_wait};
    while (must_wait(worker))
        (void)thi_lot_park(&park, THRUM_FOREVER);
    return thi_load_acquire(&worker->called) != 0;
}

bool thi_standin_goes_on(thi_worker_t *worker)
{
    thi_pool_t *pool = worker->pool;
    thi_lock(&pool->crew_lock, THI_RANK_CREW);
    const bool needed = awake(pool) <= 1;
    if (!needed) {
        pool->called--;
        thi_store_relaxed(&worker->called, 0u);
    }
    thi_unlock(&pool->crew_lock, THI_RANK_CREW);
    return needed;
}

void thi_standins_dismiss(thi_pool_t *pool)
{
    wake_called(pool);
}
