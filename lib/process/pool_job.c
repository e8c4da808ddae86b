/*
 * One task: from submit to its end, and what its future asks meanwhile.
 */
#include <string.h>

#include "process/pool.h"

#define CONDEMN_TRIES 10000u /* each fails because a call of a map has ended and the next begun */

static thi_job_t *job_of(thi_remote_t *remote)
{
    return (thi_job_t *)(void *)remote;
}

/* ------------------------------------------------------------------------------------------------
 * Life
 */

thi_job_t *thi_job_make(thi_ppool_t *pool, uint32_t kind, size_t tail)
{
    _Static_assert(sizeof(thi_job_t) <= THI_BLOCK, "a job is a block");
    thi_job_t *job = tail == 0 ? thi_block_take() : thi_alloc(sizeof *job + tail);
    if (job == NULL)
        return NULL;
    memset(job, 0, sizeof *job);
    job->remote.kind = &thi_job_remote;
    job->pool = pool;
    job->refs = 1;
    job->kind = (uint8_t)kind;
    job->has_tail = tail != 0;
    job->size = tail;
    thi_fetch_add_relaxed(&pool->refs, 1u);
    return job;
}

/* In the child of a fork the block itself is the parent's. */
static void give_block(thi_ppool_t *pool, thi_bulk_t *bulk)
{
    if (!thi_ppool_is_forked(pool))
        thi_blocks_give(&pool->blocks, bulk);
    else if (bulk != NULL)
        thi_free(bulk, sizeof *bulk);
}

static void free_job(thi_job_t *job)
{
    thi_ppool_t *pool = job->pool;
    give_block(pool, job->bulk);
    if (job->reply != NULL)
        thi_free(job->reply, job->reply_size);
    if (job->has_tail)
        thi_free(job, sizeof *job + job->size);
    else
        thi_block_give(job);
    thi_ppool_unref(pool);
}

void thi_job_unref(thi_job_t *job)
{
    if (thi_fetch_sub_acq_rel(&job->refs, 1u) == 1)
        free_job(job);
}

/* ------------------------------------------------------------------------------------------------
 * The end
 */

/* The input has done its work. */
static int keep_reply(thi_end_t *end)
{
    thi_job_t *job = end->job;
    if (job->kind != THI_REQUEST_BYTES_IN)
        return end->status;
    thi_blocks_give(&job->pool->blocks, job->bulk);
    job->bulk = end->bulk;
    job->replied = true;
    job->reply_size = (size_t)end->size;
    if (end->size == 0 || end->bulk != NULL)
        return end->status;
    job->reply = thi_alloc((size_t)end->size);
    if (job->reply == NULL) {
        job->reply_size = 0;
        return end->status != 0 ? end->status : ENOMEM;
    }
    memcpy(job->reply, end->bytes, (size_t)end->size);
    return end->status;
}

void thi_ppool_end_some(thi_ppool_t *pool, size_t n)
{
    thi_ppool_lock(pool);
    pool->ending -= n;
    const bool last = pool->ending == 0 && pool->posted == 0 && pool->queued == 0;
    thi_ppool_unlock(pool);
    if (last && thi_load_acquire(&pool->closing) != 0)
        thi_ppool_kick(pool);
}

/* Lanes count their calls themselves. How many jobs there are but those. */
static size_t count(thi_ppool_t *pool, thi_end_t *ends, size_t n)
{
    size_t completed = 0;
    size_t failed = 0;
    size_t cancelled = 0;
    for (size_t i = 0; i < n; i++) {
        thi_end_t *end = &ends[i];
        if (end->job->kind == THI_REQUEST_CHUNK)
            continue;
        end->status = end->is_cancelled ? ECANCELED : keep_reply(end);
        completed += !end->is_cancelled && end->status == 0;
        failed += !end->is_cancelled && end->status != 0;
        cancelled += end->is_cancelled;
    }
    if (completed + failed + cancelled == 0)
        return 0;
    thi_ppool_lock(pool);
    pool->completed += completed;
    pool->failed += failed;
    pool->cancelled += cancelled;
    thi_ppool_unlock(pool);
    return completed + failed + cancelled;
}

static struct thi_callback *end_future(thrum_future_t *f, const thi_end_t *end)
{
    struct thi_callback *list =
        end->is_cancelled ? thi_future_cancel_apart(f)
                          : thi_future_finish_apart(f, end->status, (void *)(uintptr_t)end->value);
    thrum_future_release(f);
    return list;
}

/* What is left to be called. */
static struct thi_callback *end_one(const thi_end_t *end)
{
    const thi_task_t task = {NULL, NULL, end->job->owner, 0};
    if (thi_task_group(&task) != NULL)
        thi_group_end(thi_task_group(&task), end->status);
    else if (thi_task_future(&task) != NULL)
        return end_future(thi_task_future(&task), end);
    return NULL;
}

/* I3 of pool_collect.c. */
void thi_jobs_end(thi_ppool_t *pool, thi_end_t *ends, size_t n, bool calls)
{
    struct thi_callback *first = NULL;
    struct thi_callback *last = NULL;
    const size_t counted = count(pool, ends, n);
    for (size_t i = 0; i < n; i++) {
        if (ends[i].job->kind == THI_REQUEST_CHUNK) {
            thi_lane_end(&ends[i]);
            ends[i].job = NULL; /* it may be gone, or on its way again */
            continue;
        }
        struct thi_callback *list = end_one(&ends[i]);
        if (list != NULL && calls && ends[i].is_cancelled)
            thi_callbacks_append(&first, &last, list);
        else if (list != NULL)
            thi_ppool_later(pool, list);
    }
    if (counted != 0)
        thi_ppool_end_some(pool, counted);
    for (size_t i = 0; i < n; i++)
        if (ends[i].job != NULL)
            thi_job_unref(ends[i].job);
    if (first != NULL)
        thi_callbacks_call(first);
}

/* ------------------------------------------------------------------------------------------------
 * What the future asks
 */

static uint32_t claim_of(const thi_job_t *job)
{
    const thi_hand_t *hand = &job->pool->hands[job->hand];
    return thi_load_acquire(&hand->desk->requests[job->seq % THI_DESK_SLOTS].claim);
}

/* In the child of a fork nobody else is there, and the lock may be somebody's. */
static bool cancel_in_child(thi_job_t *job)
{
    const thi_task_t task = {NULL, NULL, job->owner, 0};
    thrum_future_t *f = thi_task_future(&task);
    if (job->state == THI_JOB_TAKEN ||
        (job->state == THI_JOB_POSTED && (claim_of(job) & THI_CLAIM_STATE) != THI_CLAIM_READY))
        return false;
    return thi_future_cancel(f);
}

static bool cancel(thi_remote_t *remote)
{
    thi_job_t *job = job_of(remote);
    thi_ppool_t *pool = job->pool;
    thi_batch_t batch;
    bool taken = false;
    bool dispatches = false;
    if (thi_ppool_is_forked(pool))
        return cancel_in_child(job);
    thi_batch_begin(&batch);
    batch.calls = true;
    thi_ppool_lock(pool);
    if (job->state == THI_JOB_QUEUED) {
        thi_queue_take_out(pool, job);
        batch.rooms = job->has_room;
        taken = true;
    } else if (job->state == THI_JOB_POSTED) {
        taken = thi_hand_revoke(pool, job);
        dispatches = taken;
    }
    if (taken) /* first: what is dropped then may fill the batch */
        thi_batch_add(&batch, job, ECANCELED)->is_cancelled = true;
    if (dispatches)
        thi_ppool_dispatch(pool, &batch);
    thi_ppool_unlock(pool);
    thi_batch_done(pool, &batch);
    return taken;
}

static bool running(thi_remote_t *remote)
{
    const thi_job_t *job = job_of(remote);
    thi_ppool_t *pool = job->pool;
    if (thi_ppool_is_forked(pool))
        return false;
    thi_ppool_lock(pool);
    const bool runs =
        job->state == THI_JOB_TAKEN ||
        (job->state == THI_JOB_POSTED && (claim_of(job) & THI_CLAIM_STATE) != THI_CLAIM_READY);
    thi_ppool_unlock(pool);
    return runs;
}

bool thi_hand_condemn(thi_hand_t *hand, uint32_t seq, uint8_t doom)
{
    thi_job_t *job = hand->jobs[seq % THI_DESK_SLOTS];
    uint32_t *claim = &hand->desk->requests[seq % THI_DESK_SLOTS].claim;
    for (unsigned i = 0; job != NULL && i < CONDEMN_TRIES; i++) {
        const uint32_t now = thi_load_acquire(claim);
        if ((now & THI_CLAIM_STATE) != THI_CLAIM_BEGUN)
            return false;
        /* Of the very call whose claim that is: the worker stores the time first. */
        const thrum_time_t begun = thi_load_acquire(&hand->desk->begun_at);
        if (doom == THI_DOOM_LATE &&
            (begun <= 0 || thi_clock() - begun < job->pool->config.task_timeout))
            return false;
        if (thi_claim(claim, now, THI_CLAIM_CONDEMNED)) {
            job->doom = doom;
            hand->kills = true;
            return true;
        }
    }
    return false;
}

/* Of one that is under way. A worker that is between two tasks for this instant will have ended it. */
static int kill_job(thi_remote_t *remote)
{
    thi_job_t *job = job_of(remote);
    thi_ppool_t *pool = job->pool;
    if (thi_ppool_is_forked(pool))
        return ENOTSUP;
    if (cancel(remote))
        return 0;
    thi_ppool_lock(pool);
    const bool dying = job->state == THI_JOB_POSTED &&
                       (job->doom != THI_DOOM_NONE ||
                        thi_hand_condemn(&pool->hands[job->hand], job->seq, THI_DOOM_KILLED));
    thi_ppool_unlock(pool);
    if (dying)
        thi_ppool_kick(pool);
    return dying ? 0 : EINVAL;
}

static int cause(thi_remote_t *remote, int *signal, int *exit_code)
{
    const thi_job_t *job = job_of(remote);
    if (!job->died)
        return ENOTSUP;
    if (signal != NULL)
        *signal = job->signal;
    if (exit_code != NULL)
        *exit_code = job->exit_code;
    return 0;
}

static int bytes(thi_remote_t *remote, const void **data, size_t *size)
{
    const thi_job_t *job = job_of(remote);
    if (job->kind != THI_REQUEST_BYTES_IN)
        return ENOTSUP;
    *size = job->reply_size;
    *data = job->replied && job->bulk != NULL ? job->bulk->at : job->reply;
    return 0;
}

static void attend(thi_remote_t *remote)
{
    thi_ppool_attend(job_of(remote)->pool);
}

static void look(thi_remote_t *remote)
{
    thi_ppool_look(job_of(remote)->pool);
}

static bool listen(thi_bell_t *bell)
{
    struct thi_remote_bell *of = THI_CONTAINER_OF(bell, struct thi_remote_bell, bell);
    return thi_ppool_listen(job_of(of->remote)->pool, bell);
}

static void hang_up(thi_bell_t *bell)
{
    struct thi_remote_bell *of = THI_CONTAINER_OF(bell, struct thi_remote_bell, bell);
    thi_ppool_hang_up(job_of(of->remote)->pool);
}

static bool lead(thi_remote_t *remote, struct thi_remote_bell *bell)
{
    bell->remote = remote;
    bell->bell = (thi_bell_t){.listen = listen, .hang_up = hang_up};
    return thi_ppool_lead(job_of(remote)->pool, &bell->bell);
}

static void leave(thi_remote_t *remote, struct thi_remote_bell *bell)
{
    thi_ppool_leave(job_of(remote)->pool, bell != NULL);
}

static void release(thi_remote_t *remote)
{
    thi_job_unref(job_of(remote));
}

const thi_remote_kind_t thi_job_remote = {
    .cancel = cancel,
    .running = running,
    .kill = kill_job,
    .cause = cause,
    .bytes = bytes,
    .attend = attend,
    .look = look,
    .bell = lead,
    .leave = leave,
    .release = release,
};
