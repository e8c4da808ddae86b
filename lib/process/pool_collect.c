/*
 * Taking in answers.
 *
 * Whoever waits for a task of the pool does it, from the first look to the end of the wait (a looker); if nobody does,
 * the service thread, which workers wake (pool_desk.h). Of those that want to sleep one may be woken by workers directly
 * (the leader); the others sleep as on any future, and whoever takes in their answers wakes them.
 *
 * Invariants
 *   I1  An answer is seen by somebody: its worker publishes it and then looks at `listening`; who is no longer a
 *       looker changes that first and then looks at the desks.
 *   I2  Whoever has taken a job off (TAKEN) ends it; nobody else does.
 *   I3  A job is `ending` until its future or group has ended, and its callbacks are with the thread that calls them:
 *       so a pool that is over has nothing left to end. Callbacks of what the program cancels are called by its thread,
 *       when no job of the batch is `ending` any more: they may wait for the pool's end.
 */
#include <string.h>

#include "process/pool.h"

#define WINDOW_NS 200000
#define WINDOW_MIN 2u
#define ROUNDS 16u

bool thi_ppool_has_news(const thi_ppool_t *pool)
{
    for (size_t i = 0; i < pool->workers; i++) {
        const thi_hand_t *hand = &pool->hands[i];
        /* A1: acquire; pairs with the worker's release. A stale `answers` or `notes` only has us look. */
        const uint64_t news = thi_load_acquire(&hand->desk->news);
        if ((uint32_t)news != thi_load_relaxed(&hand->answers) ||
            (uint32_t)(news >> 32) != thi_load_relaxed(&hand->notes))
            return true;
    }
    return false;
}

/* ------------------------------------------------------------------------------------------------
 * One desk, under the lock
 */

/* A task has written where it must not: nothing of this worker can be believed. */
static void rot(thi_hand_t *hand, thi_batch_t *batch)
{
    hand->rotten = true;
    hand->kills = true;
    batch->kick = true;
}

/* The block that a reply says it lies in, which is no longer the worker's then. */
static thi_bulk_t *take_grant(thi_hand_t *hand, uint64_t at, uint64_t size)
{
    thi_bulk_t *found = NULL;
    if (hand->grant != NULL && (uint64_t)(uintptr_t)hand->grant->at == at) {
        found = hand->grant;
        hand->grant = NULL;
    }
    for (uint32_t i = 0; found == NULL && i < hand->old_count; i++)
        if ((uint64_t)(uintptr_t)hand->old_grants[i]->at == at) {
            found = hand->old_grants[i];
            hand->old_grants[i] = hand->old_grants[--hand->old_count];
        }
    return found != NULL && size <= found->size ? found : NULL;
}

/* To a request that has run, and is the first of those that are open: the others come after it. */
static bool is_plausible(const thi_hand_t *hand, uint32_t seq)
{
    if (seq - hand->oldest >= hand->tail - hand->oldest)
        return false;
    for (uint32_t before = hand->oldest; before != seq; before++)
        if (hand->jobs[before % THI_DESK_SLOTS] != NULL)
            return false;
    const uint32_t claim = thi_load_acquire(&hand->desk->requests[seq % THI_DESK_SLOTS].claim);
    return hand->jobs[seq % THI_DESK_SLOTS] != NULL && claim == THI_CLAIM_ENDED;
}

static bool take_answer(thi_ppool_t *pool, thi_hand_t *hand, thi_batch_t *batch)
{
    const thi_answer_t *answer = &hand->desk->answers[hand->answers % THI_DESK_SLOTS];
    const uint32_t seq = thi_load_relaxed(&answer->seq); /* once: it may change */
    if (!is_plausible(hand, seq))
        return false;
    thi_job_t *job = hand->jobs[seq % THI_DESK_SLOTS];
    const uint64_t size = job->kind == THI_REQUEST_BYTES_IN ? thi_load_relaxed(&answer->size) : 0;
    const uint64_t value = thi_load_relaxed(&answer->value);
    thi_bulk_t *bulk = NULL;
    if (size != 0 && value != 0) {
        bulk = take_grant(hand, value, size);
        if (bulk == NULL)
            return false;
        hand->usual = (size_t)size;
    } else if (size > sizeof answer->bytes) {
        return false;
    }
    hand->oldest = seq + 1;
    thi_store_relaxed(&hand->answers, hand->answers + 1);
    hand->done++;
    hand->falls = 0;
    thi_hand_retire(pool, hand, seq);
    thi_end_t *end = thi_batch_add(batch, job, answer->status);
    end->value = job->kind == THI_REQUEST_CALL ? value : 0;
    end->size = size;
    end->bulk = bulk;
    if (bulk == NULL)
        memcpy(end->bytes, answer->bytes, (size_t)size);
    /* Its other blocks were too small for it, and the next task has none yet but `grant`. */
    while (hand->old_count != 0)
        thi_batch_drop(batch, hand->old_grants[--hand->old_count]);
    return true;
}

/* How far ahead it is given requests. */
static void learn(thi_hand_t *hand, uint32_t answers)
{
    const thrum_time_t now = thi_clock();
    const int64_t each = (now - hand->mark) / answers;
    int64_t window = each > 0 ? WINDOW_NS / each : (int64_t)THI_DESK_SLOTS;
    if (window > (int64_t)hand->window * 2)
        window = (int64_t)hand->window * 2;
    if (window > (int64_t)THI_DESK_SLOTS)
        window = (int64_t)THI_DESK_SLOTS;
    hand->window = window > (int64_t)WINDOW_MIN ? (uint32_t)window : WINDOW_MIN;
    hand->mark = now;
}

/* A block that a reply will be written into. One at a time; others' turn comes with the next batch. */
static bool want(thi_hand_t *hand, thi_batch_t *batch, uint64_t size, bool response)
{
    if (batch->wants != NULL)
        return false;
    batch->wants = hand;
    batch->wants_generation = hand->generation;
    batch->wants_size = size;
    batch->wants_response = response;
    return true;
}

void thi_hand_look_at_phase(thi_ppool_t *pool, thi_hand_t *hand, thi_batch_t *batch)
{
    const uint32_t phase = thi_load_acquire(&hand->desk->phase);
    if (hand->state == THI_HAND_BORN && phase == THI_PHASE_READY) {
        hand->state = THI_HAND_READY;
        hand->ready_at = thi_clock();
        pool->ready++;
        pool->spare++;
        pool->full = false;
        pool->init_deaths = 0;
    }
    if (phase == THI_PHASE_FAILED) {
        thi_store_release(&pool->broken, 1u);
        thi_store_release(&pool->closing, 1u);
        batch->kick = true;
    }
}

static void hear_note(thi_ppool_t *pool, thi_hand_t *hand, uint32_t notes, thi_batch_t *batch)
{
    const uint64_t wanted = thi_load_relaxed(&hand->desk->wanted);
    if (hand->state == THI_HAND_READY && wanted != 0 && !want(hand, batch, wanted, true)) {
        batch->more = true; /* its note stays unread */
        return;
    }
    thi_store_relaxed(&hand->notes, notes);
    pool->full = false; /* it may have passed what was taken back: there is room again */
    thi_hand_look_at_phase(pool, hand, batch);
}

void thi_hand_collect(thi_ppool_t *pool, thi_hand_t *hand, thi_batch_t *batch)
{
    const uint64_t news = thi_load_acquire(&hand->desk->news); /* A1 */
    const uint32_t answers = (uint32_t)news;
    const uint32_t notes = (uint32_t)(news >> 32);
    const uint32_t before = hand->answers;
    if (hand->rotten)
        return;
    while (hand->answers != answers && !thi_batch_full(batch))
        if (!take_answer(pool, hand, batch)) {
            rot(hand, batch);
            return;
        }
    if (hand->answers != before)
        learn(hand, hand->answers - before);
    if (hand->answers != answers) {
        batch->more = true;
        return;
    }
    /* What was granted before, and is not in an answer, nobody uses any more. The worker asks for another one only
     * after the answer, which is seen first. */
    if (hand->answers != before && hand->grant == NULL && hand->usual != 0)
        (void)want(hand, batch, hand->usual, false);
    if (hand->notes != notes)
        hear_note(pool, hand, notes, batch);
    const size_t most = pool->config.max_tasks_per_worker;
    if (most != 0 && hand->life >= most && hand->active == 0)
        thi_hand_quit(pool, hand);
}

/* ------------------------------------------------------------------------------------------------
 * What a batch leaves to be done, under no lock
 */

/* Takes the block, or leaves it. */
static void install(thi_hand_t *hand, thi_bulk_t **bulk, bool response)
{
    const bool has_place =
        hand->grant == NULL || (response && *bulk != NULL && hand->old_count < THI_OLD_GRANTS);
    if (*bulk == NULL) {
        thi_store_release(&hand->desk->grant, (uint64_t)0);
    } else if (has_place) {
        if (hand->grant != NULL)
            hand->old_grants[hand->old_count++] = hand->grant;
        hand->grant = *bulk;
        thi_store_release(&hand->desk->grant, thi_block_pack((*bulk)->at, (*bulk)->size));
        *bulk = NULL;
    }
    if (response) {
        (void)thi_far_add(&hand->desk->responses, 1u);
    }
}

static void grant(thi_ppool_t *pool, const thi_batch_t *batch)
{
    thi_hand_t *hand = batch->wants;
    thi_bulk_t *bulk = NULL;
    if (batch->wants_size <= pool->blocks.size)
        bulk = thi_blocks_take(&pool->blocks, (size_t)batch->wants_size);
    if (bulk == NULL && !batch->wants_response)
        return;
    thi_ppool_lock(pool);
    if (hand->generation == batch->wants_generation && hand->state == THI_HAND_READY)
        install(hand, &bulk, batch->wants_response);
    thi_ppool_unlock(pool);
    thi_blocks_give(&pool->blocks, bulk);
}

void thi_batch_done(thi_ppool_t *pool, thi_batch_t *batch)
{
    for (size_t i = 0; i < batch->wakes; i++)
        thi_desk_wake(batch->wake[i]->desk);
    if (batch->rooms != 0)
        (void)thrum_sem_release_n(&pool->room, (unsigned)batch->rooms);
    if (batch->wants != NULL)
        grant(pool, batch);
    for (thi_bulk_t *next = NULL, *bulk = batch->unused; bulk != NULL; bulk = next) {
        next = bulk->next;
        thi_blocks_give(&pool->blocks, bulk);
    }
    if (batch->kick)
        thi_ppool_kick(pool);
    if (batch->n != 0)
        thi_jobs_end(pool, batch->ends, batch->n, batch->calls);
}

/* True: there may be more. */
static bool drain_some(thi_ppool_t *pool, size_t *total)
{
    thi_batch_t batch;
    thi_batch_begin(&batch);
    thi_ppool_lock(pool);
    for (size_t i = 0; i < pool->workers && !thi_batch_full(&batch); i++) {
        thi_hand_t *hand = &pool->hands[i];
        if (hand->state != THI_HAND_NONE)
            thi_hand_collect(pool, hand, &batch);
    }
    if (thi_load_relaxed(&pool->broken) != 0)
        thi_ppool_clear(pool, &batch, EPIPE, true);
    else if (pool->cancels)
        thi_ppool_clear(pool, &batch, ECANCELED, false);
    else
        thi_ppool_dispatch(pool, &batch);
    const bool more = batch.more || thi_batch_full(&batch);
    thi_ppool_unlock(pool);
    *total += batch.n;
    thi_batch_done(pool, &batch);
    return more;
}

size_t thi_ppool_drain(thi_ppool_t *pool)
{
    size_t total = 0;
    unsigned rounds = 1;
    while (drain_some(pool, &total) && rounds < ROUNDS)
        rounds++;
    if (rounds == ROUNDS) /* whoever waits has something else to do, too */
        thi_ppool_kick(pool);
    return total;
}

/* ------------------------------------------------------------------------------------------------
 * Lookers
 */

void thi_ppool_attend(thi_ppool_t *pool)
{
    if (!thi_ppool_is_forked(pool))
        thi_fetch_add_acq_rel(&pool->hall->listening, THI_LOOKER);
}

void thi_ppool_look(thi_ppool_t *pool)
{
    if (!thi_ppool_is_forked(pool) && thi_ppool_has_news(pool))
        (void)thi_ppool_drain(pool);
}

bool thi_ppool_lead(thi_ppool_t *pool, thi_bell_t *bell)
{
    uint32_t nobody = 0;
    if (thi_ppool_is_forked(pool) || thi_load_relaxed(&pool->leads) != 0 ||
        !thi_cas_acq_rel(&pool->leads, &nobody, 1u))
        return false;
    bell->word = &pool->hall->bell;
    return true;
}

bool thi_ppool_listen(thi_ppool_t *pool, thi_bell_t *bell)
{
    bell->expected = thi_load_acquire(&pool->hall->bell);
    thi_fetch_or_acq_rel(&pool->hall->listening, THI_LEADER);
    thi_fence_full(); /* I1 */
    if (!thi_ppool_has_news(pool))
        return true;
    thi_ppool_hang_up(pool);
    return false;
}

void thi_ppool_hang_up(thi_ppool_t *pool)
{
    thi_strand_t *self = thi_current.strand;
    (void)thi_fetch_and_acq_rel(&pool->hall->listening, ~THI_LEADER);
    if (self != NULL) /* whether it pays to spin: spin.c */
        thi_store_relaxed(&self->waker_cpu, thi_load_relaxed(&pool->hall->ringer_cpu));
    (void)thi_ppool_drain(pool);
}

void thi_ppool_leave(thi_ppool_t *pool, bool leads)
{
    if (thi_ppool_is_forked(pool))
        return;
    if (leads)
        thi_store_release(&pool->leads, 0u);
    const uint64_t before = thi_fetch_sub_acq_rel(&pool->hall->listening, THI_LOOKER);
    thi_fence_full(); /* I1 */
    if (before / THI_LOOKER == 1 && thi_ppool_has_news(pool))
        (void)thi_ppool_drain(pool);
}
