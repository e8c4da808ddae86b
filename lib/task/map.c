/*
 * Map: calls over an array, a window of them at a time.
 *
 * A lane is a task that takes the next chunk, works on it, and submits itself again, so that other tasks
 * get their turn between two chunks. There are as many lanes as the executor can run; so what map has
 * submitted at a time is bounded by that, whatever n is. The job lives as long as the call or a lane that
 * has still to be seen off.
 *
 * Invariants
 *   I1  `next` is only raised, by adding; who raised it past a chunk has to work on that chunk.
 *   I2  `left` counts the calls that have neither ended nor been given up. The arrays are the caller's, who
 *       stays until it is 0.
 *   I3  The last lane to end gives up what nobody has taken: nobody would.
 */
#include <thrum/event.h>

#include "task/future.h"

#define LANES_MAX 64u
#define CHUNKS_PER_LANE 8u /* so that one slow chunk does not keep everybody waiting */

struct job {
    uint32_t refs;
    thrum_executor_t *ex;
    thrum_fn fn;
    void **args;
    void **results;
    int *status;
    size_t n;
    size_t chunk;
    size_t next;
    size_t left;
    uint32_t stopped; /* no further call begins */
    uint32_t lanes;
    thrum_event_t ended;
    thi_lock_t lock; /* of the two below */
    size_t first_failed;
    int error;
};

static void unref(struct job *job)
{
    if (thi_fetch_sub_acq_rel(&job->refs, 1u) == 1)
        thi_free(job, sizeof *job);
}

static void note_failure(struct job *job, size_t i, int err)
{
    thi_lock(&job->lock, THI_RANK_BLOCKS);
    if (i < job->first_failed) {
        job->first_failed = i;
        job->error = err;
    }
    thi_unlock(&job->lock, THI_RANK_BLOCKS);
}

static void count_down(struct job *job, size_t n)
{
    if (n != 0 && thi_fetch_sub_acq_rel(&job->left, n) == n)
        thrum_event_set(&job->ended);
}

static void call_one(struct job *job, size_t i)
{
    void *unwanted = NULL;
    int err = ECANCELED;
    if (thi_load_relaxed(&job->stopped) == 0)
        err = job->fn(job->args != NULL ? job->args[i] : NULL,
                      job->results != NULL ? &job->results[i] : &unwanted);
    if (job->status != NULL)
        job->status[i] = err;
    if (err != 0)
        note_failure(job, i, err);
}

/* Works on the next chunk; false: there is none. */
static bool work(struct job *job)
{
    const size_t begin = thi_fetch_add_relaxed(&job->next, job->chunk);
    if (begin >= job->n)
        return false;
    const size_t end = job->n - begin < job->chunk ? job->n : begin + job->chunk;
    for (size_t i = begin; i < end; i++)
        call_one(job, i);
    count_down(job, end - begin);
    return true;
}

/* What nobody has taken will not be called. */
static void give_up(struct job *job)
{
    thi_store_relaxed(&job->stopped, 1u);
    const size_t begin = thi_fetch_add_relaxed(&job->next, job->n);
    if (begin >= job->n)
        return;
    for (size_t i = begin; job->status != NULL && i < job->n; i++)
        job->status[i] = ECANCELED;
    note_failure(job, begin, ECANCELED);
    count_down(job, job->n - begin);
}

/* ------------------------------------------------------------------------------------------------
 * Lanes
 */

static void end_lane(struct job *job)
{
    if (thi_fetch_sub_acq_rel(&job->lanes, 1u) == 1)
        give_up(job); /* I3 */
    unref(job);
}

static int submit_lane(struct job *job, thrum_time_t deadline);

static int lane(void *arg, void **result)
{
    struct job *job = arg;
    (void)result;
    while (work(job)) {
        /* A full backlog: the lane goes on where it is. */
        if (thi_load_relaxed(&job->next) < job->n && submit_lane(job, 0) == 0)
            return 0;
    }
    end_lane(job);
    return 0;
}

/* A lane that will never run: its executor was shut down. */
static void dropped(void *arg)
{
    end_lane(arg);
}

static int submit_lane(struct job *job, thrum_time_t deadline)
{
    thrum_future_t *f = thi_future_of_task(NULL, lane, job);
    if (f == NULL)
        return ENOMEM;
    f->drop = dropped;
    const thi_task_t task = {lane, job, (uintptr_t)f, 0};
    const int err = job->ex->kind->submit(job->ex, &task, deadline);
    if (err != 0) {
        f->drop = NULL;
        thrum_future_release(f);
    }
    thrum_future_release(f);
    return err;
}

static bool is_worker_of(const thrum_executor_t *ex)
{
    const thi_strand_t *self = thi_self();
    return self != NULL && self->home == ex;
}

/* Returns why there is no lane at all. The first waits for room, unless the caller can do its work. */
static int submit_lanes(struct job *job, size_t count, thrum_time_t deadline)
{
    int err = 0;
    size_t submitted = 0;
    const bool alone_too = is_worker_of(job->ex);
    for (; submitted < count; submitted++) {
        thi_fetch_add_relaxed(&job->refs, 1u);
        thi_fetch_add_relaxed(&job->lanes, 1u);
        err = submit_lane(job, submitted != 0 || alone_too ? 0 : deadline);
        if (err != 0) {
            thi_fetch_sub_relaxed(&job->lanes, 1u);
            thi_fetch_sub_relaxed(&job->refs, 1u);
            break;
        }
    }
    return submitted != 0 || (alone_too && err == ETIMEDOUT) ? 0 : err;
}

/* ------------------------------------------------------------------------------------------------
 * The call
 */

static int wait_for(struct job *job, thrum_time_t deadline)
{
    const int err = thrum_event_wait_until(&job->ended, deadline);
    if (err == 0)
        return 0;
    give_up(job);
    while (thi_load_acquire(&job->left) != 0) {
        thi_strand_t *self = thi_self();
        if (self != NULL)
            self->shields++;
        (void)thrum_event_wait(&job->ended);
        if (self != NULL)
            self->shields--;
    }
    return err;
}

/* A worker of the executor does its share; the others' may be waiting behind it. */
static void work_along(struct job *job, thrum_time_t deadline)
{
    if (!is_worker_of(job->ex))
        return;
    while (thi_clock() < deadline && !thrum_cancelled() && work(job)) {
    }
}

/* What keeps the call from beginning. */
static int why_not(thrum_time_t deadline)
{
    if (thrum_cancelled())
        return ECANCELED;
    return deadline > thi_clock() ? 0 : ETIMEDOUT;
}

static int run_job(struct job *job, size_t lanes, thrum_time_t deadline)
{
    thi_fetch_add_relaxed(&job->lanes, 1u); /* the caller's: nothing is given up while it works */
    int err = why_not(deadline);
    if (err == 0)
        err = submit_lanes(job, lanes, deadline);
    if (err == 0)
        work_along(job, deadline);
    else
        give_up(job);
    if (thi_fetch_sub_acq_rel(&job->lanes, 1u) == 1)
        give_up(job);
    const int waited = wait_for(job, deadline);
    err = err != 0 ? err : waited;
    return err != 0 ? err : job->error;
}

static size_t lanes_for(const thrum_executor_t *ex, size_t n)
{
    size_t lanes = ex->kind->width(ex);
    if (lanes > LANES_MAX)
        lanes = LANES_MAX;
    return lanes < n ? lanes : n;
}

static size_t chunk_for(size_t n, size_t lanes, size_t wanted)
{
    if (wanted != 0)
        return wanted < n ? wanted : n;
    return (n + lanes * CHUNKS_PER_LANE - 1) / (lanes * CHUNKS_PER_LANE);
}

int thrum_executor_map(thrum_executor_t *ex, thrum_fn fn, void **args, void **results, int *status,
                       size_t n, size_t chunk, thrum_time_t deadline)
{
    if (ex == NULL || fn == NULL || n > SIZE_MAX / 4 || chunk > SIZE_MAX / 4)
        return EINVAL;
    if (n == 0)
        return 0;
    const thi_map_t map = {fn, args, results, status, n, chunk < n ? chunk : n};
    if (ex->kind->map != NULL)
        return ex->kind->map(ex, &map, deadline);
    struct job *job = thi_alloc(sizeof *job);
    if (job == NULL)
        return ENOMEM;
    const size_t lanes = lanes_for(ex, n);
    *job = (struct job){.refs = 1,
                        .ex = ex,
                        .fn = fn,
                        .args = args,
                        .results = results,
                        .status = status,
                        .n = n,
                        .chunk = chunk_for(n, lanes, chunk),
                        .left = n,
                        .first_failed = SIZE_MAX};
    const int err = run_job(job, lanes, deadline);
    unref(job);
    return err;
}
