/*
 * Map: calls over an array, in chunks. A lane is a job that carries one chunk after the other to whichever worker is
 * free; its block holds the arguments, and, as the calls end, their results. A few lanes for each worker, so what is
 * on its way is bounded whatever n is.
 *
 * Invariants
 *   I1  `next` is only raised, by adding; who raised it past a chunk has that chunk. What is above when the mapping
 *       is stopped nobody has.
 *   I2  `left` counts the calls that have neither ended nor been given up. Whoever makes it 0 ends the future, which
 *       the caller waits for; the arrays are the caller's.
 *   I3  From the moment that it is let in until its lanes are open the mapping is `ending` by itself: the pool does not
 *       end meanwhile.
 */
#include <string.h>

#include "process/pool.h"

#define LANES_PER_WORKER 8u
#define LANES_MAX 256u
#define CHUNKS_PER_WORKER 16u
#define CHUNK_MAX 16384u

typedef struct mapping mapping_t;

typedef struct lane {
    mapping_t *mapping;
    thi_chunk_t *chunk;
    size_t begin;
    uint32_t n;
} lane_t;

struct mapping {
    thi_ppool_t *pool;
    thi_map_t map;
    size_t chunk;
    size_t next;
    size_t left;
    uint32_t refs; /* the caller's, and each lane's */
    uint32_t stopped;
    thrum_future_t *ended;
    thi_lock_t lock; /* of the two below, and of the lanes' chunks */
    size_t first_failed;
    int error;
    size_t room; /* for lanes */
    size_t lane_count;
    lane_t lanes[];
};

static size_t size_for(size_t lanes)
{
    return sizeof(mapping_t) + lanes * sizeof(lane_t);
}

static void unref(mapping_t *m)
{
    if (thi_fetch_sub_acq_rel(&m->refs, 1u) == 1)
        thi_free(m, size_for(m->room));
}

static void note_failure(mapping_t *m, size_t i, int err)
{
    thi_lock(&m->lock, THI_RANK_BLOCKS);
    if (i < m->first_failed) {
        m->first_failed = i;
        m->error = err;
    }
    thi_unlock(&m->lock, THI_RANK_BLOCKS);
}

static void count_down(mapping_t *m, size_t n)
{
    thrum_future_t *ended = m->ended;
    if (n != 0 && thi_fetch_sub_acq_rel(&m->left, n) == n) {
        struct thi_callback *none = thi_future_finish_apart(ended, 0, NULL);
        (void)none;
        thrum_future_release(ended);
    }
}

/* --- chunks --------------------------------------------------------------------------------------- */

static bool take_next(lane_t *lane)
{
    mapping_t *m = lane->mapping;
    if (thi_load_acquire(&m->stopped) != 0)
        return false;
    const size_t begin = thi_fetch_add_relaxed(&m->next, m->chunk);
    if (begin >= m->map.n)
        return false;
    thi_chunk_t *chunk = lane->chunk;
    lane->begin = begin;
    lane->n = (uint32_t)(m->map.n - begin < m->chunk ? m->map.n - begin : m->chunk);
    chunk->n = lane->n;
    chunk->from = 0;
    chunk->begun = 0;
    chunk->ended = 0;
    for (uint32_t i = 0; i < lane->n; i++)
        chunk->args_and_results[i] =
            m->map.args != NULL ? (uint64_t)(uintptr_t)m->map.args[begin + i] : 0;
    return true;
}

static void deliver(lane_t *lane)
{
    mapping_t *m = lane->mapping;
    const uint64_t *results = lane->chunk->args_and_results;
    const int32_t *statuses = thi_chunk_statuses(lane->chunk, lane->n);
    uint64_t failed = 0;
    uint64_t cancelled = 0;
    for (uint32_t i = 0; i < lane->n; i++) {
        const int status = statuses[i];
        if (m->map.results != NULL)
            m->map.results[lane->begin + i] = (void *)(uintptr_t)results[i];
        if (m->map.status != NULL)
            m->map.status[lane->begin + i] = status;
        if (status != 0)
            note_failure(m, lane->begin + i, status);
        cancelled += status == ECANCELED;
        failed += status != 0 && status != ECANCELED;
    }
    thi_ppool_lock(m->pool);
    m->pool->completed += lane->n - failed - cancelled;
    m->pool->failed += failed;
    m->pool->cancelled += cancelled;
    thi_ppool_unlock(m->pool);
}

static void fail_from(lane_t *lane, uint32_t from, uint32_t to, int status)
{
    int32_t *statuses = thi_chunk_statuses(lane->chunk, lane->n);
    for (uint32_t i = from; i < to; i++) {
        statuses[i] = status;
        lane->chunk->args_and_results[i] = 0;
    }
}

/* The worker died in the midst of it. True: what had not begun is to be called yet. */
static bool survive(lane_t *lane, thi_job_t *job, int status)
{
    const thrum_process_pool_config_t *config = &job->pool->config;
    thi_chunk_t *chunk = lane->chunk;
    const uint32_t ended = thi_load_acquire(&chunk->ended);
    if (ended < chunk->from || ended > lane->n || chunk->n != lane->n) {
        fail_from(lane, 0, lane->n, status); /* it has written where it must not */
        chunk->n = lane->n;
        return false;
    }
    uint32_t from = ended;
    if (chunk->begun > ended && from < lane->n) {
        const bool again = job->doom == THI_DOOM_NONE && config->on_crash == THRUM_CRASH_RETRY &&
                           job->tries < config->retries;
        if (!again)
            fail_from(lane, from, from + 1, status);
        from += !again;
        job->tries = again ? (uint16_t)(job->tries + 1) : 0;
    }
    chunk->from = from;
    chunk->begun = from;
    job->doom = THI_DOOM_NONE;
    return from < lane->n;
}

/* --- lanes ---------------------------------------------------------------------------------------- */

static void enqueue(thi_ppool_t *pool, thi_job_t *job, bool was_taken)
{
    thi_batch_t batch;
    thi_batch_begin(&batch);
    thi_ppool_lock(pool);
    pool->ending -= was_taken;
    thi_ppool_enqueue(pool, job, &batch);
    thi_ppool_unlock(pool);
    thi_batch_done(pool, &batch);
}

static void leave(thi_ppool_t *pool, thi_job_t *job, bool was_taken)
{
    lane_t *lane = job->arg;
    mapping_t *m = lane->mapping;
    thi_lock(&m->lock, THI_RANK_BLOCKS);
    lane->chunk = NULL; /* it will be somebody else's block */
    thi_unlock(&m->lock, THI_RANK_BLOCKS);
    if (was_taken)
        thi_ppool_end_some(pool, 1);
    thi_job_unref(job);
    unref(m);
}

/* What nobody has taken will not be called. */
static void give_up(mapping_t *m)
{
    thi_store_release(&m->stopped, 1u);
    thi_lock(&m->lock, THI_RANK_BLOCKS);
    for (size_t i = 0; i < m->lane_count; i++)
        if (m->lanes[i].chunk != NULL)
            thi_store_relaxed(&m->lanes[i].chunk->stop, 1u);
    thi_unlock(&m->lock, THI_RANK_BLOCKS);
    const size_t begin = thi_fetch_add_relaxed(&m->next, m->map.n);
    if (begin >= m->map.n)
        return;
    for (size_t i = begin; m->map.status != NULL && i < m->map.n; i++)
        m->map.status[i] = ECANCELED;
    note_failure(m, begin, ECANCELED);
    count_down(m, m->map.n - begin);
}

void thi_lane_end(thi_end_t *end)
{
    thi_job_t *job = end->job;
    thi_ppool_t *pool = job->pool;
    lane_t *lane = job->arg;
    mapping_t *m = lane->mapping;
    if (end->is_cancelled || (end->status != 0 && !job->died)) {
        fail_from(lane, lane->chunk->from, lane->n, end->is_cancelled ? ECANCELED : end->status);
        give_up(m); /* its executor was shut down, or is broken */
    } else if (job->died) {
        job->died = false;
        if (survive(lane, job, end->status)) {
            enqueue(pool, job, true);
            return;
        }
    }
    job->tries = 0;
    deliver(lane);
    const size_t n = lane->n;
    const bool more = take_next(lane);
    if (more)
        enqueue(pool, job, true);
    count_down(m, n);
    if (!more)
        leave(pool, job, true);
}

/* ------------------------------------------------------------------------------------------------
 * The call
 */

static bool open_lane(mapping_t *m, lane_t *lane)
{
    thi_job_t *job = thi_job_make(m->pool, THI_REQUEST_CHUNK, 0);
    const size_t size = sizeof(thi_chunk_t) + m->chunk * (sizeof(uint64_t) + sizeof(int32_t));
    if (job != NULL)
        job->bulk = thi_blocks_take(&m->pool->blocks, size);
    if (job == NULL || job->bulk == NULL) {
        if (job != NULL)
            thi_job_unref(job);
        return false;
    }
    *lane = (lane_t){.mapping = m, .chunk = (thi_chunk_t *)(void *)job->bulk->at};
    lane->chunk->stop = 0;
    job->fn = (void *)(uintptr_t)m->map.fn;
    job->arg = lane;
    lane->begin = (size_t)(uintptr_t)job; /* until it has a chunk */
    return true;
}

/* All before the first begins, so that `lane_count` is constant then. */
static void open_lanes(mapping_t *m, size_t wanted)
{
    while (m->lane_count < wanted && open_lane(m, &m->lanes[m->lane_count]))
        m->lane_count++;
    thi_fetch_add_relaxed(&m->refs, (uint32_t)m->lane_count);
    for (size_t i = 0; i < m->lane_count; i++) {
        lane_t *lane = &m->lanes[i];
        thi_job_t *job = (thi_job_t *)(uintptr_t)lane->begin;
        if (take_next(lane))
            enqueue(m->pool, job, false);
        else
            leave(m->pool, job, false);
    }
}

static int wait_for(mapping_t *m, thrum_future_t *ended, thrum_time_t deadline)
{
    const int err = thrum_future_wait_until(ended, deadline);
    if (err == 0)
        return 0;
    give_up(m);
    while (!thrum_future_done(ended)) {
        thi_strand_t *self = thi_self();
        if (self != NULL)
            self->shields++;
        (void)thrum_future_wait(ended);
        if (self != NULL)
            self->shields--;
    }
    return err;
}

/* The future has a job of its own, which is never queued: so that its waiter looks at the pool's desks. */
static thrum_future_t *make_end(thi_ppool_t *pool, thrum_fn fn)
{
    thi_job_t *job = thi_job_make(pool, THI_REQUEST_CALL, 0);
    thrum_future_t *f = job != NULL ? thi_future_of_task(&pool->base, fn, NULL) : NULL;
    if (f == NULL) {
        if (job != NULL)
            thi_job_unref(job);
        return NULL;
    }
    job->state = THI_JOB_TAKEN;
    thi_future_set_remote(f, &job->remote);
    return f;
}

static mapping_t *make(thi_ppool_t *pool, const thi_map_t *map, size_t lanes)
{
    mapping_t *m = thi_alloc(size_for(lanes));
    if (m == NULL)
        return NULL;
    m->room = lanes;
    m->pool = pool;
    m->map = *map;
    m->left = map->n;
    m->refs = 1;
    m->first_failed = SIZE_MAX;
    m->ended = make_end(pool, map->fn);
    if (m->ended != NULL)
        return m;
    unref(m);
    return NULL;
}

static size_t chunk_for(const thi_ppool_t *pool, const thi_map_t *map)
{
    const size_t pieces = pool->workers * CHUNKS_PER_WORKER;
    const size_t chunk = map->chunk != 0 ? map->chunk : (map->n + pieces - 1) / pieces;
    return chunk < CHUNK_MAX ? chunk : CHUNK_MAX;
}

static int run(mapping_t *m, size_t lanes, thrum_time_t deadline)
{
    thrum_future_t *ended = m->ended;
    thi_fetch_add_relaxed(&m->left, (size_t)1); /* the caller's: nothing ends before all is begun */
    open_lanes(m, lanes);
    thi_ppool_end_some(m->pool, 1);
    if (m->lane_count == 0) {
        thrum_future_release(ended);
        thrum_future_release(ended);
        return ENOMEM;
    }
    count_down(m, 1);
    const int err = wait_for(m, ended, deadline);
    thrum_future_release(ended);
    return err != 0 ? err : m->error;
}

static int let_in(thi_ppool_t *pool)
{
    if (thi_ppool_is_forked(pool))
        return EPIPE;
    thi_ppool_lock(pool);
    const int why_not = thi_ppool_why_not(pool);
    pool->ending += why_not == 0;
    thi_ppool_unlock(pool);
    return why_not;
}

static int why_not(const thi_ppool_t *pool, const thi_map_t *map, thrum_time_t deadline)
{
    if (!thi_ppool_knows(pool, (uintptr_t)map->fn))
        return EINVAL;
    const int err = thi_ppool_why_not(pool);
    if (err != 0)
        return err;
    if (thrum_cancelled())
        return ECANCELED;
    return deadline <= thi_clock() ? ETIMEDOUT : 0;
}

int thi_ppool_map(thrum_executor_t *ex, const thi_map_t *map, thrum_time_t deadline)
{
    thi_ppool_t *pool = thi_ppool_of(ex);
    int err = why_not(pool, map, deadline);
    if (err == 0)
        err = let_in(pool);
    if (err != 0)
        return err;
    const size_t chunk = chunk_for(pool, map);
    const size_t chunks = (map->n + chunk - 1) / chunk;
    size_t lanes = pool->workers * LANES_PER_WORKER;
    lanes = lanes < LANES_MAX ? lanes : LANES_MAX;
    lanes = lanes < chunks ? lanes : chunks;
    mapping_t *m = make(pool, map, lanes);
    if (m == NULL) {
        thi_ppool_end_some(pool, 1);
        return ENOMEM;
    }
    m->chunk = chunk;
    err = run(m, lanes, deadline);
    unref(m);
    return err;
}
