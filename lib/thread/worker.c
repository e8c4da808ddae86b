/*
 * A worker's life.
 *
 *   its own tasks, newest first      a task's children are done while they are in the cache
 *   -> the queue                     what came from outside; a few at a time
 *   -> other workers' oldest tasks   the largest pieces of a divided work
 *   -> look for a while, one worker at a time
 *   -> sleep
 *
 * Idle workers sleep as getters of the queue, with one more condition: that no deque has a task. So a
 * submit from outside wakes one by the same mark as any put (lib/queue). A push to a deque wakes one if any
 * sleeps and nobody searches. Of the push and the look at `sleepers` against the counting in `sleepers`
 * and the look at the deques one sees the other, by a pair of fences of which the sleeper's is the heavy
 * one.
 *
 * Invariants
 *   I1  Who has the token (`searching`) is awake, or has been woken with it, and looks everywhere before it
 *       sleeps. So a push that finds the token taken need not wake anybody.
 *   I2  Who finds a task with the token gives it back first, and if there are more tasks hands it on.
 */
#include <stdio.h>

#include "thread/pool.h"

#ifdef THRUM_SIM
#define BATCH 2u
#define SEARCH_TURNS 1u
#define SEARCH_GAP 1u
#else
#define BATCH 8u
#define SEARCH_TURNS 96u /* looks before sleeping; about 30 microseconds */
#define SEARCH_GAP 32u   /* pauses between two looks */
#endif

/* ------------------------------------------------------------------------------------------------
 * Running
 */

static void add(uint64_t *counter, uint64_t n)
{
    thi_store_relaxed(counter, *counter + n); /* its own: read by others only */
}

void thi_worker_count(thi_worker_t *worker, thi_outcome_t outcome)
{
    if (THI_LIKELY(outcome == THI_COMPLETED))
        add(&worker->completed, 1);
    else if (outcome == THI_FAILED)
        add(&worker->failed, 1);
    else if (outcome == THI_CANCELLED)
        add(&worker->cancelled, 1);
}

void thi_worker_run(thi_worker_t *worker, const thi_task_t *task)
{
    const bool before = worker->in_task;
    worker->in_task = true;
    thi_store_relaxed(&worker->depth, worker->depth + 1);
    thi_worker_count(worker, thi_task_run(task, worker->strand));
    thi_store_relaxed(&worker->depth, worker->depth - 1);
    worker->in_task = before;
}

/* ------------------------------------------------------------------------------------------------
 * Finding
 */

static uint32_t draw(thi_worker_t *worker)
{
    uint32_t x = worker->draw;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    worker->draw = x;
    return x;
}

static bool steal(thi_worker_t *worker, thi_task_t *task)
{
    thi_pool_t *pool = worker->pool;
    const size_t made = thi_load_acquire(&pool->made);
    const size_t from = draw(worker) % made;
    for (size_t i = 0; i < made; i++) {
        thi_worker_t *victim = &pool->crew[(from + i) % made];
        while (victim != worker && !thi_deque_is_empty(&victim->deque))
            if (thi_deque_steal(&victim->deque, task))
                return true;
    }
    return false;
}

static void found(thi_worker_t *worker);

/* The first comes back; the others go to the deque, so that others can have them. */
static bool take_some(thi_worker_t *worker, thi_task_t *task)
{
    thi_task_t tasks[BATCH];
    thi_pool_t *pool = worker->pool;
    size_t wanted = thrum_queue_size(pool->queue) / pool->workers / 2;
    wanted = wanted < 1 || pool->config.backlog != 0 ? 1 : wanted < BATCH ? wanted : BATCH;
    const uint32_t drains = thi_pool_moves(pool);
    /* No wait, not even a short one: it could be taken for the sleep of sleep_until_work, and given the
     * token. */
    size_t count = thi_queue_get_now(pool->queue, tasks, wanted);
    if (count == 0)
        return false;
    *task = tasks[0];
    if (count == 1)
        return true;
    while (--count != 0)
        if (!thi_deque_push(&worker->deque, &tasks[count])) {
            found(worker);                         /* I2 */
            thi_worker_run(worker, &tasks[count]); /* no memory: now, and out of order */
        }
    if (!THI_PLANT("pool-takes-along"))
        thi_pool_moved(pool,
                       drains); /* who looked while we had them in our hands found them nowhere */
    return true;
}

static bool take_queued(thi_worker_t *worker, thi_task_t *task)
{
    thi_pool_t *pool = worker->pool;
    if (pool->config.policy != THRUM_POLICY_STEALING)
        return thrum_queue_tryget(pool->queue, task) == 0;
    return !thrum_queue_empty(pool->queue) && take_some(worker, task);
}

static bool find(thi_worker_t *worker, thi_task_t *task)
{
    return thi_deque_pop(&worker->deque, task) || take_queued(worker, task) || steal(worker, task);
}

bool thi_pool_has_work(const thi_pool_t *pool)
{
    const size_t made = thi_load_acquire(&pool->made);
    for (size_t i = 0; i < made; i++)
        if (!thi_deque_is_empty(&pool->crew[i].deque))
            return true;
    return !thrum_queue_empty(pool->queue);
}

bool thi_pool_is_over(const thi_pool_t *pool)
{
    return thi_queue_is_closed(pool->queue) && !thi_pool_has_work(pool);
}

bool thi_pool_take_any(thi_pool_t *pool, thi_task_t *task)
{
    if (thrum_queue_tryget(pool->queue, task) == 0)
        return true;
    const size_t made = thi_load_acquire(&pool->made);
    for (size_t i = 0; i < made; i++)
        while (!thi_deque_is_empty(&pool->crew[i].deque))
            if (thi_deque_steal(&pool->crew[i].deque, task))
                return true;
    return false;
}

/* ------------------------------------------------------------------------------------------------
 * Searching and sleeping
 */

/* Pushes may have relied on the token until now: whoever looks for tasks next finds theirs. */
static void give_up_token(thi_pool_t *pool)
{
    thi_store_release(&pool->searching, 0u);
    thi_fence_full(); /* F2: with F1. The push sees the token given up, or who looks sees the task */
}

/* Under the bucket's lock, as must_sleep: if nobody is asleep, whoever will be looks after this. */
static void settle_token(const thi_unparked_t *found, void *arg)
{
    if (found->count != 0)
        found->first->given = THI_GIVEN_SEARCH;
    else
        give_up_token(arg);
}

void thi_pool_wake_one(thi_pool_t *pool)
{
    uint32_t nobody = 0;
    const thi_park_t park = thi_queue_park_get(pool->queue);
    thi_fence_full(); /* F1 */
    if (thi_load_relaxed(&pool->searching) != 0 || !thi_cas_acq_rel(&pool->searching, &nobody, 1u))
        return;
    (void)thi_lot_unpark(&(thi_unpark_t){
        .key = park.key, .site = park.site, .n = 1, .settle = settle_token, .arg = pool});
}

static bool take_token(thi_worker_t *worker)
{
    uint32_t nobody = 0;
    if (!worker->searches && thi_load_relaxed(&worker->pool->searching) == 0)
        worker->searches = thi_cas_acq_rel(&worker->pool->searching, &nobody, 1u);
    return worker->searches;
}

static void drop_token(thi_worker_t *worker)
{
    if (!worker->searches)
        return;
    worker->searches = false;
    give_up_token(worker->pool);
}

/* I2 */
static void found(thi_worker_t *worker)
{
    if (!worker->searches)
        return;
    drop_token(worker);
    if (thi_load_relaxed(&worker->pool->sleepers) != 0 && thi_pool_has_work(worker->pool) &&
        !THI_PLANT("pool-found-alone"))
        thi_pool_wake_one(worker->pool);
}

/* A spare one goes. The token, if it has one, and the work that it may have been woken for are others'. */
static void hand_on(thi_worker_t *worker)
{
    drop_token(worker);
    if (thi_load_relaxed(&worker->pool->sleepers) != 0 && thi_pool_has_work(worker->pool) &&
        !THI_PLANT("pool-spare-keeps-it"))
        thi_pool_wake_one(worker->pool);
}

static bool search(thi_worker_t *worker, thi_task_t *task)
{
    if (!thi_multiprocessor() || !take_token(worker))
        return false;
    for (unsigned turn = 0; turn < SEARCH_TURNS; turn++) {
        /* Often at first: what answers a result comes soon. */
        for (unsigned i = turn < SEARCH_GAP ? 4 : SEARCH_GAP; i != 0; i--)
            thi_cpu_pause();
        if (thi_pool_has_work(worker->pool) && find(worker, task))
            return true;
        if (thi_load_relaxed(&worker->pool->closing) != 0)
            return false;
    }
    return false;
}

struct sleep {
    thi_worker_t *worker;
    bool (*nothing_queued)(void *queue);
    void *queue;
};

/* Under the bucket's lock: the deques first, since the last question sets the mark. */
static bool must_sleep(void *arg)
{
    const struct sleep *s = arg;
    const thi_pool_t *pool = s->worker->pool;
    const size_t made = thi_load_acquire(&pool->made);
    for (size_t i = 0; i < made; i++)
        if (!thi_deque_is_empty(&pool->crew[i].deque) && !THI_PLANT("pool-no-look"))
            return false;
    return s->nothing_queued(s->queue);
}

/* False: something kept it awake. */
static bool sleep_until_work(thi_worker_t *worker)
{
    thi_pool_t *pool = worker->pool;
    thi_park_t park = thi_queue_park_get(pool->queue);
    struct sleep s = {worker, park.validate, park.arg};
    park.validate = must_sleep;
    park.arg = &s;
    park.cancellable = false;
    drop_token(worker);
    thi_fetch_add_relaxed(&pool->sleepers, 1u);
    thi_fence_heavy(); /* with the light one of thi_pool_pushed */
    const bool slept = thi_lot_park(&park, THRUM_FOREVER) == 0;
    if (slept)
        worker->searches = park.given == THI_GIVEN_SEARCH;
    thi_fetch_sub_relaxed(&pool->sleepers, 1u);
    return slept;
}

/* Who could not sleep has dropped its token, but pushes before that have relied on it (I1): there may be
 * more than it finds now. And a queue that has a new ring and nothing in it is moved on by a get only. */
static bool look_again(thi_worker_t *worker, thi_task_t *task)
{
    if (!THI_PLANT("pool-token-dropped"))
        (void)take_token(worker);
    return thrum_queue_tryget(worker->pool->queue, task) == 0;
}

/* ------------------------------------------------------------------------------------------------
 * Life
 */

/* False: the pool is closed and nothing is left, or a spare worker is not needed any more. */
static bool next(thi_worker_t *worker, thi_task_t *task)
{
    thi_pool_t *pool = worker->pool;
    for (;;) {
        if (find(worker, task) || search(worker, task)) {
            found(worker);
            return true;
        }
        if (thi_pool_is_over(pool)) {
            drop_token(worker);
            return false;
        }
        if (!sleep_until_work(worker) && look_again(worker, task)) {
            found(worker);
            return true;
        }
        if (worker->spare && !thi_standin_goes_on(worker))
            return false;
    }
}

static void work(thi_worker_t *worker)
{
    thi_task_t task;
    while (next(worker, &task)) {
        thi_worker_run(worker, &task);
        if (worker->spare && !thi_standin_goes_on(worker))
            break;
    }
    hand_on(worker);
}

/* A broken pool has no workers; what they leave undone is ended by the last. */
static bool begin(thi_worker_t *worker)
{
    const thrum_thread_pool_config_t *config = &worker->pool->config;
    thi_store_release(&worker->strand, thi_self()); /* R1: release; pairs with A1 of pool.c */
    if (worker->strand == NULL)
        return false;
    worker->strand->home = worker->pool;
    worker->strand->post = worker;
    worker->strand->on_sleep = thi_worker_sleeps;
    return config->init == NULL || config->init(config->ctx) == 0;
}

static void finish(thi_worker_t *worker)
{
    if (worker->strand != NULL) {
        worker->strand->home = NULL;
        worker->strand->post = NULL;
        worker->strand->on_sleep = NULL;
        thi_store_relaxed(&worker->strand, NULL);
    }
}

static void name_and_pin(const thi_worker_t *worker)
{
    char name[32];
    snprintf(name, sizeof name, "%s-%u", worker->pool->name, (unsigned)worker->index);
    thi_thread_set_name(thi_thread_handle(), name);
    if (worker->pool->config.pin)
        thi_thread_pin(worker->index);
}

static void break_pool(thi_pool_t *pool)
{
    thi_store_release(&pool->broken, 1u);
    thi_pool_close(pool);
}

/* Callbacks that it calls are called in a worker of the pool, which the caller is for that time: they may not
 * wait for its end. */
static void end_leftovers(thi_worker_t *worker, thi_strand_t *self)
{
    const void *home = self->home;
    void *post = self->post;
    self->home = worker->pool;
    self->post = worker;
    thi_store_release(&worker->strand, self); /* R1 */
    thi_pool_drain(worker->pool);
    thi_store_relaxed(&worker->strand, NULL);
    self->home = home;
    self->post = post;
}

void thi_pool_end(thi_worker_t *worker)
{
    thi_pool_t *pool = worker->pool;
    thi_strand_t *self = thi_current.strand;
    if (self != NULL)
        end_leftovers(worker, self);
    else
        thi_pool_drain(pool);
    thrum_event_set(&pool->gone);
}

static void worker_main(void *arg)
{
    thi_worker_t *worker = arg;
    thi_pool_t *pool = worker->pool;
    name_and_pin(worker);
    if (begin(worker)) {
        while (!worker->spare || thi_standin_wait(worker)) {
            work(worker);
            if (!worker->spare || thi_pool_is_over(pool)) /* should more come: thi_crew_leave */
                break;
        }
        if (pool->config.fini != NULL)
            pool->config.fini(pool->config.ctx);
    } else {
        break_pool(pool);
        thi_pool_drain(pool); /* a spare one was called for it: nobody else would come */
    }
    finish(worker);
    if (thi_crew_leave(worker))
        thi_pool_end(worker);
    thi_pool_unref(pool);
}

int thi_worker_start(thi_worker_t *worker)
{
    thi_pool_t *pool = worker->pool;
    worker->draw = worker->index * 2654435761u + 1;
    worker->start = (thi_start_t){
        .fn = worker_main, .arg = worker, .stack_size = pool->config.stack_size, .detached = true};
    thi_fetch_add_relaxed(&pool->refs, 1u);
    const int err = thi_thread_start(&worker->start);
    if (err != 0)
        thi_fetch_sub_relaxed(&pool->refs, 1u);
    return err;
}

size_t thrum_thread_pool_worker(void)
{
    const thi_strand_t *self = thi_current.strand;
    const thi_worker_t *worker = self != NULL ? self->post : NULL;
    return worker != NULL ? worker->index : SIZE_MAX;
}
