/*
 * A worker's life. It has what the parent had when the spawner was forked, its desk, and nobody to be told but
 * through that.
 */
#include <stdio.h>
#include <string.h>

#include "process/pool.h"

#define LOOKS 2000u /* for a grant, before sleeping */

static struct {
    thi_ppool_t *pool;
    thi_desk_t *desk;
    uint32_t fork_mark;
    uint32_t index;
    uint32_t answered;
    uint32_t taken;
    bool passed; /* what was taken back, since the last answer: the parent may wait for its place */
    bool timed;
    struct thrum_reply_place place;
    uint64_t grant; /* that the reply goes into */
    uint64_t spent; /* that one has gone into */
    unsigned char small[THI_ANSWER_BYTES];
} me;

static void publish(uint64_t step)
{
    thi_desk_t *desk = me.desk;
    thi_store_release(&desk->news, desk->news + step);
    thi_hall_tell(me.pool->hall, me.pool->signal);
}

/* The worker's counts wrap in their halves: the lower one must not carry over. */
static void publish_answer(void)
{
    me.answered++;
    me.passed = false;
    thi_desk_t *desk = me.desk;
    thi_death_point("pool: answer written");
    thi_store_release(&desk->news, (desk->news & ~(uint64_t)UINT32_MAX) | me.answered);
    thi_hall_tell(me.pool->hall, me.pool->signal);
}

static void enter(uint32_t phase)
{
    thi_store_relaxed(&me.desk->phase, phase);
    publish(THI_NEWS_NOTE);
}

/* ------------------------------------------------------------------------------------------------
 * Replies
 */

static void wait_for_response(uint32_t before)
{
    for (unsigned looks = 0; looks < LOOKS; looks++) {
        if (thi_load_acquire(&me.desk->responses) != before)
            return;
        thi_cpu_pause();
    }
    while (thi_load_acquire(&me.desk->responses) == before)
        (void)thi_far_wait(&me.desk->responses, before, THRUM_FOREVER, NULL, 0);
}

/* The grant that is on the desk, unless a reply has gone into it, or it is too small: then another one. */
static unsigned char *grow(struct thrum_reply_place *place, size_t size, size_t *room)
{
    thi_desk_t *desk = me.desk;
    uint64_t grant = thi_load_acquire(&desk->grant);
    if (grant == 0 || grant == me.spent || thi_block_size(grant) < size ||
        thi_block_at(grant) == place->reply) {
        const uint32_t before = thi_load_relaxed(&desk->responses);
        thi_store_relaxed(&desk->wanted, (uint64_t)size);
        publish(THI_NEWS_NOTE);
        thi_death_point("pool: wants a block");
        wait_for_response(before);
        thi_death_point("pool: has a block");
        thi_store_relaxed(&desk->wanted, (uint64_t)0); /* the next note is about something else */
        grant = thi_load_acquire(&desk->grant);
        if (grant == 0 || thi_block_size(grant) < size)
            return NULL;
    }
    me.grant = grant;
    *room = thi_block_size(grant);
    return thi_block_at(grant);
}

static void drop(struct thrum_reply_place *place)
{
    (void)place; /* the parent knows of it */
}

/* ------------------------------------------------------------------------------------------------
 * Requests
 */

static thi_answer_t *next_answer(uint32_t seq, int status)
{
    thi_answer_t *answer = &me.desk->answers[me.answered % THI_DESK_SLOTS];
    answer->seq = seq;
    answer->status = status;
    answer->value = 0;
    answer->size = 0;
    return answer;
}

/* The parent may have condemned it: then it is about to be killed, and stays as it is. */
static void end_claim(thi_request_t *request, uint32_t from)
{
    thi_death_point("pool: has run");
    if (!thi_claim(&request->claim, from, THI_CLAIM_ENDED))
        for (;;)
            thi_nap(900000);
    thi_death_point("pool: ended");
}

static void run_call(thi_request_t *request, uint32_t seq)
{
    void *value = NULL;
    const thrum_fn fn = (thrum_fn)(uintptr_t)request->fn;
    const int status = fn((void *)(uintptr_t)request->arg, &value);
    end_claim(request, THI_CLAIM_BEGUN);
    next_answer(seq, status)->value = (uint64_t)(uintptr_t)value;
}

static void run_bytes(thi_request_t *request, uint32_t seq)
{
    const thrum_bytes_fn fn = (thrum_bytes_fn)(uintptr_t)request->fn;
    const void *in = request->arg != 0 ? (const void *)(uintptr_t)request->arg : request->bytes;
    me.place = (struct thrum_reply_place){me.small, 0, sizeof me.small, grow, drop};
    const int status = fn(in, (size_t)request->size, &me.place);
    end_claim(request, THI_CLAIM_BEGUN);
    thi_answer_t *answer = next_answer(seq, status);
    answer->size = me.place.size;
    if (me.place.size == 0)
        return;
    if (me.place.reply != me.small) {
        answer->value = (uint64_t)(uintptr_t)me.place.reply;
        me.spent = me.grant;
    } else {
        memcpy(answer->bytes, me.small, me.place.size);
    }
}

static void call_one(thi_chunk_t *chunk, thrum_fn fn, uint32_t i)
{
    void *value = NULL;
    int status = ECANCELED;
    if (thi_load_relaxed(&chunk->stop) == 0)
        status = fn((void *)(uintptr_t)chunk->args_and_results[i], &value);
    chunk->args_and_results[i] = (uint64_t)(uintptr_t)value;
    thi_chunk_statuses(chunk, chunk->n)[i] = status;
}

static void run_chunk(thi_request_t *request, uint32_t seq)
{
    thi_chunk_t *chunk = (thi_chunk_t *)(uintptr_t)request->arg;
    const thrum_fn fn = (thrum_fn)(uintptr_t)request->fn;
    const uint32_t n = chunk->n;
    uint32_t claim = THI_CLAIM_BEGUN;
    for (uint32_t i = chunk->from; i < n; i++) {
        thi_store_relaxed(&chunk->begun, i + 1);
        thi_death_point("pool: call begun");
        call_one(chunk, fn, i);
        thi_death_point("pool: call ended");
        thi_store_release(&chunk->ended, i + 1);
        if (me.timed && i + 1 < n) {
            thi_store_relaxed(&me.desk->begun_at, thi_clock());
            if (!thi_claim(&request->claim, claim, claim + THI_CLAIM_CALL))
                end_claim(request, THI_CLAIM_ENDED); /* never returns */
            claim += THI_CLAIM_CALL;
        }
    }
    end_claim(request, claim);
    (void)next_answer(seq, 0);
}

static void run(thi_request_t *request, uint32_t seq)
{
    if (me.timed)
        thi_store_relaxed(&me.desk->begun_at, thi_clock());
    if (request->kind == THI_REQUEST_CALL)
        run_call(request, seq);
    else if (request->kind == THI_REQUEST_BYTES_IN)
        run_bytes(request, seq);
    else
        run_chunk(request, seq);
    if (me.timed)
        thi_store_relaxed(&me.desk->begun_at, (thrum_time_t)0);
    publish_answer();
}

/* ------------------------------------------------------------------------------------------------
 * Idle
 */

static bool has_work(void)
{
    return thi_load_acquire(&me.desk->posted) != me.taken || thi_load_acquire(&me.desk->quit) != 0;
}

static bool look_for(int64_t nanoseconds)
{
    const thrum_time_t until = thi_time_plus(thi_clock(), nanoseconds);
    do {
        for (unsigned i = 0; i < 16; i++) {
            if (has_work())
                return true;
            thi_cpu_pause();
        }
    } while (thi_clock() < until);
    return false;
}

static bool look_adaptively(void)
{
    thi_spin_t turns = thi_spin_begin();
    bool found = false;
    do
        found = has_work();
    while (!found && thi_spin_turn(&turns));
    thi_spin_end(&turns, found);
    return found;
}

static void idle(void)
{
    if (me.passed) {
        me.passed = false;
        publish(THI_NEWS_NOTE);
        return;
    }
    const int64_t spin = me.pool->config.spin;
    if (spin > 0 && thi_multiprocessor() && look_for(spin))
        return;
    if (spin == 0 && look_adaptively())
        return;
    thi_strand_t *self = thi_self();
    const thrum_time_t begin = thi_clock_coarse();
    thi_desk_sleep(me.desk, me.taken);
    if (self != NULL) {
        thi_store_relaxed(&self->waker_cpu, thi_load_relaxed(&me.desk->waker_cpu));
        thi_spin_slept(self, thi_clock_coarse() - begin);
    }
}

/* ------------------------------------------------------------------------------------------------
 * Life
 */

static void begin(thi_ppool_t *pool, uint32_t index)
{
    char name[32];
    me.pool = pool;
    me.index = index;
    me.desk = pool->hands[index].desk;
    me.fork_mark = thi_fork_mark;
    me.timed = pool->config.task_timeout > 0;
    snprintf(name, sizeof name, "%s-%u", pool->name, (unsigned)index);
    thi_family_name(name);
    if (pool->config.memory_limit != 0)
        (void)thi_family_limit(pool->config.memory_limit);
}

static void work(void)
{
    for (;;) {
        if (thi_load_acquire(&me.desk->posted) == me.taken) {
            if (thi_load_acquire(&me.desk->quit) != 0)
                return;
            idle();
            continue;
        }
        thi_request_t *request = &me.desk->requests[me.taken % THI_DESK_SLOTS];
        thi_death_point("pool: about to begin");
        if (thi_claim(&request->claim, THI_CLAIM_READY, THI_CLAIM_BEGUN)) {
            thi_death_point("pool: begun");
            run(request, me.taken);
            thi_death_point("pool: answered");
        } else {
            me.passed = true;
        }
        me.taken++;
        thi_store_release(&me.desk->taken, me.taken);
    }
}

void thi_ppool_work(thi_ppool_t *pool, uint32_t index)
{
    begin(pool, index);
    thi_store_relaxed(&me.desk->phase, THI_PHASE_INIT);
    if (pool->config.init != NULL && pool->config.init(pool->config.ctx) != 0) {
        enter(THI_PHASE_FAILED);
        thi_family_flush();
        thi_family_leave(1);
    }
    thi_death_point("pool: initialised");
    enter(THI_PHASE_READY);
    thi_death_point("pool: ready");
    work();
    thi_death_point("pool: about to leave");
    thi_store_relaxed(&me.desk->phase, THI_PHASE_FINI);
    if (pool->config.fini != NULL)
        pool->config.fini(pool->config.ctx);
    thi_family_flush();
    thi_family_leave(0);
}

size_t thrum_process_pool_worker(void)
{
    return me.pool != NULL && me.fork_mark == thi_fork_mark ? me.index : SIZE_MAX;
}
