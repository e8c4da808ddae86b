/*
 * From the queue to the desks, and back.
 *
 * A worker is given a few requests ahead, so that it need not wait for the next: as many as it does in WINDOW_NS, by
 * the time that the last ones took. Whatever lies there unbegun can be taken back, and is as soon as another worker
 * has nothing to do: so no task waits behind a long one while there is somebody to run it.
 */
#include <string.h>

#include "process/pool.h"

#define WINDOW_NS 200000

/* ------------------------------------------------------------------------------------------------
 * The queue
 */

void thi_queue_put_last(thi_ppool_t *pool, thi_job_t *job)
{
    job->state = THI_JOB_QUEUED;
    job->next = NULL;
    job->prev = pool->last;
    if (pool->last != NULL)
        pool->last->next = job;
    else
        pool->first = job;
    pool->last = job;
    pool->queued++;
}

void thi_queue_put_first(thi_ppool_t *pool, thi_job_t *job)
{
    job->state = THI_JOB_QUEUED;
    job->prev = NULL;
    job->next = pool->first;
    if (pool->first != NULL)
        pool->first->prev = job;
    else
        pool->last = job;
    pool->first = job;
    pool->queued++;
}

void thi_queue_take_out(thi_ppool_t *pool, thi_job_t *job)
{
    if (job->prev != NULL)
        job->prev->next = job->next;
    else
        pool->first = job->next;
    if (job->next != NULL)
        job->next->prev = job->prev;
    else
        pool->last = job->prev;
    job->state = THI_JOB_NEW;
    pool->queued--;
}

/* ------------------------------------------------------------------------------------------------
 * Desks
 */

static void change_active(thi_ppool_t *pool, thi_hand_t *hand, bool more)
{
    if (hand->state == THI_HAND_READY && hand->active == (more ? 0u : 1u))
        pool->spare += more ? (size_t)-1 : 1u;
    hand->active += more ? 1u : (uint32_t)-1;
    pool->posted += more ? 1u : (size_t)-1;
    pool->full = pool->full && more;
}

/* The request is done with, whatever became of it. */
void thi_hand_retire(thi_ppool_t *pool, thi_hand_t *hand, uint32_t seq)
{
    hand->jobs[seq % THI_DESK_SLOTS] = NULL;
    change_active(pool, hand, false);
}

/* What was taken back at the front is done with once the worker has passed it. */
static bool has_slot(thi_hand_t *hand)
{
    if (hand->tail - hand->oldest < THI_DESK_SLOTS)
        return true;
    const uint32_t taken = thi_load_acquire(&hand->desk->taken);
    while (hand->oldest != hand->tail && (int32_t)(taken - hand->oldest) > 0 &&
           hand->jobs[hand->oldest % THI_DESK_SLOTS] == NULL)
        hand->oldest++;
    return hand->tail - hand->oldest < THI_DESK_SLOTS;
}

static bool can_take(const thi_ppool_t *pool, thi_hand_t *hand)
{
    const size_t most = pool->config.max_tasks_per_worker;
    return hand->state == THI_HAND_READY && !hand->quits && !hand->kills && !hand->rotten &&
           hand->active < hand->window && (most == 0 || hand->life < most) && has_slot(hand);
}

static thi_hand_t *pick(thi_ppool_t *pool)
{
    for (size_t i = 0; pool->spare != 0 && i < pool->workers; i++) {
        thi_hand_t *hand = &pool->hands[(pool->cursor + i) % pool->workers];
        if (hand->active == 0 && can_take(pool, hand))
            return hand;
    }
    for (size_t i = 0; i < pool->workers; i++) {
        const size_t at = (pool->cursor + i) % pool->workers;
        if (can_take(pool, &pool->hands[at])) {
            pool->cursor = at;
            return &pool->hands[at];
        }
    }
    pool->full = true;
    return NULL;
}

static void fill(thi_request_t *request, const thi_job_t *job)
{
    request->kind = job->kind;
    request->fn = (uint64_t)(uintptr_t)job->fn;
    request->arg = (uint64_t)(uintptr_t)job->arg;
    request->size = job->size;
    if (job->kind == THI_REQUEST_CHUNK || (job->kind == THI_REQUEST_BYTES_IN && !job->has_tail))
        request->arg = job->bulk != NULL ? (uint64_t)(uintptr_t)job->bulk->at : 0;
    else if (job->kind == THI_REQUEST_BYTES_IN)
        request->arg = 0;
    if (job->has_tail)
        memcpy(request->bytes, job + 1, job->size);
    thi_store_relaxed(&request->claim, THI_CLAIM_READY);
}

static void post(thi_ppool_t *pool, thi_hand_t *hand, thi_job_t *job)
{
    const uint32_t slot = hand->tail % THI_DESK_SLOTS;
    fill(&hand->desk->requests[slot], job);
    job->state = THI_JOB_POSTED;
    job->hand = (uint16_t)hand->index;
    job->seq = hand->tail;
    hand->jobs[slot] = job;
    hand->tail++;
    hand->life++;
    if (hand->active == 0)
        hand->mark = thi_clock();
    change_active(pool, hand, true);
}

/* R1: release; pairs with the worker's look at `posted`. */
static bool show(thi_hand_t *hand)
{
    if (hand->shown == hand->tail)
        return false;
    hand->shown = hand->tail;
    thi_store_release(&hand->desk->posted, hand->tail);
    return thi_desk_must_wake(hand->desk);
}

static void touch(thi_batch_t *batch, thi_hand_t *hand)
{
    for (size_t i = batch->wakes; i-- != 0;)
        if (batch->wake[i] == hand)
            return;
    if (batch->wakes < THI_WAKES)
        batch->wake[batch->wakes++] = hand;
    else if (show(hand))
        thi_desk_wake(hand->desk);
}

/* Those that sleep stay in the batch, to be woken when the lock is given back. */
static void show_all(thi_batch_t *batch)
{
    size_t asleep = 0;
    for (size_t i = 0; i < batch->wakes; i++)
        if (show(batch->wake[i]))
            batch->wake[asleep++] = batch->wake[i];
    batch->wakes = asleep;
}

static bool is_dropped(const thi_job_t *job)
{
    const thi_task_t task = {NULL, NULL, job->owner, 0};
    const thrum_group_t *group = thi_task_group(&task);
    return group != NULL && thi_scope_cancelled(&group->thrum_scope);
}

/* ------------------------------------------------------------------------------------------------
 * Taking back
 */

bool thi_hand_revoke(thi_ppool_t *pool, thi_job_t *job)
{
    thi_hand_t *hand = &pool->hands[job->hand];
    uint32_t *claim = &hand->desk->requests[job->seq % THI_DESK_SLOTS].claim;
    if (!thi_claim(claim, THI_CLAIM_READY, THI_CLAIM_REVOKED))
        return false;
    hand->life--;
    thi_hand_retire(pool, hand, job->seq);
    job->state = THI_JOB_NEW;
    return true;
}

/* The worker with the most that has not begun. */
static thi_hand_t *fullest(thi_ppool_t *pool)
{
    thi_hand_t *found = NULL;
    for (size_t i = 0; i < pool->workers; i++) {
        thi_hand_t *hand = &pool->hands[i];
        if (hand->active > 1 && (found == NULL || hand->active > found->active))
            found = hand;
    }
    return found;
}

/* Half of what lies there, from the end. */
static bool take_back(thi_ppool_t *pool)
{
    thi_hand_t *hand = fullest(pool);
    if (hand == NULL)
        return false;
    uint32_t wanted = hand->active / 2;
    bool any = false;
    for (uint32_t seq = hand->tail; wanted != 0 && seq != hand->oldest;) {
        thi_job_t *job = hand->jobs[--seq % THI_DESK_SLOTS];
        if (job == NULL)
            continue;
        if (!thi_hand_revoke(pool, job))
            break;
        thi_queue_put_first(pool, job);
        wanted--;
        any = true;
    }
    return any;
}

/* --- dispatch ------------------------------------------------------------------------------------- */

static bool has_free_hand(thi_ppool_t *pool)
{
    for (size_t i = 0; pool->spare != 0 && i < pool->workers; i++)
        if (pool->hands[i].active == 0 && can_take(pool, &pool->hands[i]))
            return true;
    return false;
}

static void give_room(thi_job_t *job, thi_batch_t *batch)
{
    batch->rooms += job->has_room;
    job->has_room = false;
}

static void hand_out(thi_ppool_t *pool, thi_batch_t *batch)
{
    thi_hand_t *hand = NULL;
    while (pool->first != NULL && !pool->full) {
        thi_job_t *job = pool->first;
        const bool dropped = is_dropped(job);
        if (dropped && thi_batch_full(batch)) {
            batch->more = batch->kick = true;
            return;
        }
        if (!dropped && (hand = pick(pool)) == NULL)
            return;
        thi_queue_take_out(pool, job);
        give_room(job, batch);
        if (dropped) {
            thi_batch_add(batch, job, ECANCELED)->is_cancelled = true;
            continue;
        }
        post(pool, hand, job);
        touch(batch, hand);
    }
}

void thi_ppool_dispatch(thi_ppool_t *pool, thi_batch_t *batch)
{
    hand_out(pool, batch);
    while (pool->first == NULL && pool->spare != 0 && pool->posted > pool->ready - pool->spare &&
           has_free_hand(pool) && take_back(pool))
        hand_out(pool, batch);
    show_all(batch);
}

void thi_ppool_stop_chunks(thi_ppool_t *pool)
{
    for (size_t i = 0; i < pool->workers; i++) {
        const thi_hand_t *hand = &pool->hands[i];
        for (uint32_t seq = hand->oldest; seq != hand->tail; seq++) {
            const thi_job_t *job = hand->jobs[seq % THI_DESK_SLOTS];
            if (job != NULL && job->kind == THI_REQUEST_CHUNK)
                thi_store_relaxed(&((thi_chunk_t *)(void *)job->bulk->at)->stop, 1u);
        }
    }
}

void thi_ppool_clear(thi_ppool_t *pool, thi_batch_t *batch, int error, bool posted_too)
{
    for (size_t i = 0; posted_too && i < pool->workers; i++) {
        thi_hand_t *hand = &pool->hands[i];
        for (uint32_t seq = hand->tail; seq != hand->oldest;) {
            thi_job_t *job = hand->jobs[--seq % THI_DESK_SLOTS];
            if (job != NULL && thi_hand_revoke(pool, job))
                thi_queue_put_first(pool, job);
        }
    }
    while (pool->first != NULL && !thi_batch_full(batch)) {
        thi_job_t *job = pool->first;
        thi_queue_take_out(pool, job);
        give_room(job, batch);
        thi_batch_add(batch, job, error)->is_cancelled = error == ECANCELED;
    }
    if (pool->first != NULL)
        batch->more = batch->kick = true;
}
