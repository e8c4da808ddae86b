/*
 * Workers as the parent sees them. Only the service thread calls what is in here.
 */
#include <signal.h>

#include "process/pool.h"

#define WINDOW_FIRST 4u
#define FALLS_FREE 3u /* so many deaths in a row cost no time */
#define FALL_NS THRUM_MS(1)
#define FALL_TASK_NS THRUM_MS(8) /* the longest delay after tasks that were fatal */
#define FALL_MOST_NS THRUM_S(1)  /* and after other deaths, and failures to fork */
#define LASTED_NS THRUM_MS(200)  /* it has not died at once */
#define INIT_DEATHS 8u
#define ASKED_MAX 64u        /* so many births on their way: their messages fit into the channel */
#define RETRY_NS THRUM_MS(1) /* until it is tried again to say what could not be said */

static thrum_time_t back_off(uint32_t falls, int64_t most)
{
    if (falls <= FALLS_FREE)
        return 0;
    const uint32_t doublings = falls - FALLS_FREE - 1 < 20 ? falls - FALLS_FREE - 1 : 20;
    const int64_t delay = FALL_NS << doublings;
    return thi_clock() + (delay < most ? delay : most);
}

void thi_hand_quit(thi_ppool_t *pool, thi_hand_t *hand)
{
    (void)pool;
    if (hand->quits)
        return;
    hand->quits = true;
    thi_store_release(&hand->desk->quit, 1u);
    if (thi_desk_must_wake(hand->desk))
        thi_desk_wake(hand->desk);
}

/* ------------------------------------------------------------------------------------------------
 * Deaths
 */

static void end_crashed(thi_ppool_t *pool, thi_job_t *job, thi_batch_t *batch)
{
    const bool by_itself = job->doom == THI_DOOM_NONE;
    const thrum_crash_t policy = by_itself ? pool->config.on_crash : THRUM_CRASH_FAIL;
    if (policy == THRUM_CRASH_RETRY && job->tries < pool->config.retries && !pool->cancels &&
        job->kind != THI_REQUEST_CHUNK) {
        job->tries++;
        thi_queue_put_first(pool, job);
        return;
    }
    if (policy == THRUM_CRASH_BREAK) {
        thi_store_release(&pool->broken, 1u);
        thi_store_release(&pool->closing, 1u);
    }
    job->died = true;
    (void)thi_batch_add(batch, job, job->doom == THI_DOOM_LATE ? ETIMEDOUT : ECHILD);
}

/* What it had not begun goes back to the head of the queue, in order; what it had begun is lost. */
static bool give_back(thi_ppool_t *pool, thi_hand_t *hand, int32_t signal, int32_t exit_code,
                      thi_batch_t *batch)
{
    bool any_lost = false;
    for (uint32_t seq = hand->tail; seq != hand->oldest;) {
        thi_job_t *job = hand->jobs[--seq % THI_DESK_SLOTS];
        if (job == NULL)
            continue;
        const uint32_t claim = thi_load_acquire(&hand->desk->requests[seq % THI_DESK_SLOTS].claim);
        const bool lost = (claim & THI_CLAIM_STATE) != THI_CLAIM_READY;
        if (lost && thi_batch_full(batch)) {
            batch->more = true;
            return any_lost;
        }
        thi_hand_retire(pool, hand, seq);
        any_lost = any_lost || lost;
        if (!lost) {
            thi_queue_put_first(pool, job);
            continue;
        }
        job->signal = (uint8_t)signal;
        job->exit_code = (int16_t)exit_code;
        end_crashed(pool, job, batch);
    }
    return any_lost;
}

static void reset_desk(thi_desk_t *desk)
{
    thi_store_relaxed(&desk->posted, 0u);
    thi_store_relaxed(&desk->quit, 0u);
    thi_store_relaxed(&desk->responses, 0u);
    thi_store_relaxed(&desk->grant, (uint64_t)0);
    thi_store_relaxed(&desk->news, (uint64_t)0);
    thi_store_relaxed(&desk->asleep, 0u);
    thi_store_relaxed(&desk->phase, THI_PHASE_NEW);
    thi_store_relaxed(&desk->taken, 0u);
    thi_store_relaxed(&desk->wanted, (uint64_t)0);
    thi_store_relaxed(&desk->begun_at, (thrum_time_t)0);
}

/* Under the lock. */
static void change_state(thi_ppool_t *pool, thi_hand_t *hand, uint32_t state)
{
    pool->asked += (state == THI_HAND_ASKED);
    pool->asked -= (hand->state == THI_HAND_ASKED);
    hand->state = state;
}

static void reset(thi_ppool_t *pool, thi_hand_t *hand, thi_batch_t *batch)
{
    if (hand->state == THI_HAND_READY) {
        pool->ready--;
        pool->spare--;
    }
    change_state(pool, hand, THI_HAND_NONE);
    if (hand->pidfd >= 0)
        (void)thi_fd_close(hand->pidfd);
    hand->pidfd = -1;
    hand->pid = 0;
    hand->quits = hand->kills = hand->rotten = false;
    hand->tail = hand->shown = hand->oldest = hand->life = 0;
    thi_store_relaxed(&hand->answers, 0u);
    thi_store_relaxed(&hand->notes, 0u);
    hand->done = 0;
    hand->window = WINDOW_FIRST;
    if (hand->grant != NULL)
        thi_batch_drop(batch, hand->grant);
    hand->grant = NULL;
    while (hand->old_count != 0)
        thi_batch_drop(batch, hand->old_grants[--hand->old_count]);
    hand->usual = 0;
    reset_desk(hand->desk);
}

/* When it may come again. */
static void judge(thi_ppool_t *pool, thi_hand_t *hand, bool lost_task)
{
    const uint32_t phase = thi_load_relaxed(&hand->desk->phase);
    const bool lasted = hand->state == THI_HAND_READY && thi_clock() - hand->ready_at > LASTED_NS;
    const bool blameless = hand->quits || hand->kills || hand->done != 0 || lasted;
    hand->falls = blameless ? 0 : hand->falls + 1;
    hand->spawn_at = back_off(hand->falls, lost_task ? FALL_TASK_NS : FALL_MOST_NS);
    if (phase == THI_PHASE_INIT && !hand->kills && ++pool->init_deaths >= INIT_DEATHS) {
        thi_store_release(&pool->broken, 1u);
        thi_store_release(&pool->closing, 1u);
    }
}

/* All that it has said first. */
static void collect_all(thi_ppool_t *pool, thi_hand_t *hand)
{
    bool more = true;
    while (more) {
        thi_batch_t batch;
        thi_batch_begin(&batch);
        thi_ppool_lock(pool);
        thi_hand_collect(pool, hand, &batch);
        more = thi_batch_full(&batch) && !hand->rotten;
        thi_ppool_unlock(pool);
        batch.wants = NULL;
        thi_batch_done(pool, &batch);
    }
}

static void bury(thi_ppool_t *pool, thi_hand_t *hand, int32_t signal, int32_t exit_code)
{
    bool more = true;
    bool lost_task = false;
    collect_all(pool, hand);
    while (more) {
        thi_batch_t batch;
        thi_batch_begin(&batch);
        thi_ppool_lock(pool);
        lost_task = give_back(pool, hand, signal, exit_code, &batch) || lost_task;
        more = batch.more;
        if (!more) {
            judge(pool, hand, lost_task);
            reset(pool, hand, &batch);
        }
        thi_ppool_unlock(pool);
        thi_batch_done(pool, &batch);
    }
    (void)thi_ppool_drain(pool); /* what it had not begun goes on, or, of a broken pool, fails */
    thi_hall_ring(pool->hall);   /* it may have died when it was about to */
}

/* ------------------------------------------------------------------------------------------------
 * The spawner
 */

/* What the spawner needs is allocated before the fork: after it the allocator may be another thread's. */
int thi_ppool_found(thi_ppool_t *pool)
{
    const size_t size = thi_ppool_spawner_size(pool);
    void *memory = thi_alloc(size);
    if (memory == NULL)
        return ENOMEM;
    thi_family_flush();
    const int err = thi_family_found(&pool->family);
    if (err == 0 && pool->family.pid == 0)
        thi_ppool_spawn(pool, &pool->family, memory);
    thi_free(memory, size);
    pool->has_family = err == 0;
    return err;
}

static void let_go(thi_ppool_t *pool)
{
    thi_family_forget(pool->family.pidfd);
    (void)thi_fd_close(pool->family.channel);
    (void)thi_fd_close(pool->family.pidfd);
    pool->has_family = false;
}

void thi_hands_dismiss(thi_ppool_t *pool)
{
    const thi_message_t order = {.what = THI_SAY_QUIT};
    while (!thi_family_ended(pool->family.pidfd)) {
        (void)thi_family_tell(pool->family.channel, &order, -1);
        thi_nap(200);
    }
    let_go(pool);
}

/* The system kills them with their parent. They are ours then, if we are the one that gathers orphans. */
static void await_end(const thi_hand_t *hand)
{
    if (hand->pidfd < 0)
        return;
    while (!thi_family_ended(hand->pidfd)) {
        thi_family_kill(hand->pidfd);
        thi_nap(200);
    }
    thi_family_forget(hand->pidfd);
}

/* Others make it ready meanwhile. Only the service thread makes it nobody, or somebody else. */
static bool is_somebody(thi_ppool_t *pool, const thi_hand_t *hand)
{
    thi_ppool_lock(pool);
    const bool is = hand->state != THI_HAND_NONE;
    thi_ppool_unlock(pool);
    return is;
}

static void lose_spawner(thi_ppool_t *pool)
{
    while (!thi_family_ended(pool->family.pidfd))
        thi_nap(200); /* it has closed the channel on its way out */
    let_go(pool);
    if (pool->told_to_quit)
        return;
    thi_nap(2000); /* for a worker that we have not heard of */
    for (size_t i = 0; i < pool->workers; i++) {
        thi_hand_t *hand = &pool->hands[i];
        if (!is_somebody(pool, hand))
            continue;
        thi_ppool_lock(pool);
        hand->kills = true; /* it is given nothing, and its end is not its own doing */
        thi_ppool_unlock(pool);
        await_end(hand);
        if (hand->pid != 0)
            thi_family_kill_session(hand->pid);
        bury(pool, hand, SIGKILL, 0);
        hand->spawn_at = 0;
    }
    pool->found_at = back_off(++pool->spawner_deaths, FALL_MOST_NS);
}

/* It could not be forked, or it was, and killed for want of a descriptor: then its desk may have been written to. */
static void hear_failure(thi_ppool_t *pool, thi_hand_t *hand)
{
    thi_batch_t batch;
    thi_batch_begin(&batch);
    thi_ppool_lock(pool);
    reset(pool, hand, &batch);
    hand->falls++;
    hand->spawn_at = back_off(hand->falls + FALLS_FREE, FALL_MOST_NS);
    thi_ppool_unlock(pool);
    thi_batch_done(pool, &batch);
    thi_hall_ring(pool->hall); /* as when one has died */
}

static void hear(thi_ppool_t *pool, const thi_message_t *message, int fd)
{
    thi_hand_t *hand = message->slot < pool->workers ? &pool->hands[message->slot] : NULL;
    const bool current =
        hand != NULL && hand->generation == message->generation && is_somebody(pool, hand);
    if (current && message->what == THI_SAY_BORN) {
        thi_batch_t batch;
        thi_batch_begin(&batch);
        thi_ppool_lock(pool);
        change_state(pool, hand, THI_HAND_BORN);
        hand->pid = message->value;
        hand->pidfd = fd;
        thi_hand_look_at_phase(pool, hand, &batch);
        thi_ppool_dispatch(pool, &batch);
        thi_ppool_unlock(pool);
        thi_batch_done(pool, &batch);
        return;
    }
    if (fd >= 0)
        (void)thi_fd_close(fd);
    if (current && message->what == THI_SAY_DIED) {
        pool->spawner_deaths = 0;
        bury(pool, hand, message->signal, message->value);
    } else if (current && message->what == THI_SAY_FAILED) {
        hear_failure(pool, hand);
    }
}

void thi_hands_hear(thi_ppool_t *pool)
{
    thi_message_t message;
    int fd = -1;
    int err = 0;
    if (!pool->has_family)
        return;
    /* First: then all that it has said is there. Others may hold its end of the channel: that need not close. */
    const bool ended = thi_family_ended(pool->family.pidfd);
    while ((err = thi_family_hear(pool->family.channel, &message, &fd)) == 0)
        hear(pool, &message, fd);
    if (ended || err != EAGAIN)
        lose_spawner(pool);
}

/* ------------------------------------------------------------------------------------------------
 * Looking after them
 */

/* Under the lock. */
static bool is_needed(const thi_ppool_t *pool)
{
    if (thi_load_relaxed(&pool->broken) != 0)
        return false;
    return thi_load_relaxed(&pool->closing) == 0 || pool->queued != 0;
}

/* Under the lock: what this one is to be told. */
static bool order_for(thi_ppool_t *pool, thi_hand_t *hand, thi_message_t *order,
                      thrum_time_t *deadline)
{
    const bool needed = is_needed(pool);
    const bool known = hand->state == THI_HAND_BORN || hand->state == THI_HAND_READY;
    if (pool->kills && !needed && hand->state == THI_HAND_BORN)
        hand->kills = true;
    if (known && hand->kills && !hand->killed) {
        hand->killed = true;
        *order = (thi_message_t){THI_SAY_KILL, hand->index, hand->generation, 0, 0};
        return true;
    }
    if (known && !needed && hand->active == 0)
        thi_hand_quit(pool, hand);
    if (hand->state != THI_HAND_NONE || !needed || pool->asked >= ASKED_MAX)
        return false;
    if (hand->spawn_at > thi_clock()) {
        *deadline = hand->spawn_at < *deadline ? hand->spawn_at : *deadline;
        return false;
    }
    change_state(pool, hand, THI_HAND_ASKED);
    hand->killed = false;
    pool->restarted += hand->generation != 0;
    hand->generation++;
    *order = (thi_message_t){THI_SAY_SPAWN, hand->index, hand->generation, 0, 0};
    return true;
}

/* Under the lock: it was not told. */
static void take_order_back(thi_ppool_t *pool, thi_hand_t *hand, const thi_message_t *order)
{
    if (order->what == THI_SAY_KILL) {
        hand->killed = false;
        return;
    }
    hand->generation--;
    pool->restarted -= hand->generation != 0;
    change_state(pool, hand, THI_HAND_NONE);
}

/* False: not now. */
static bool give_order(thi_ppool_t *pool, thi_hand_t *hand, thrum_time_t *deadline)
{
    thi_message_t order;
    thi_ppool_lock(pool);
    const bool has_order = order_for(pool, hand, &order, deadline);
    thi_ppool_unlock(pool);
    if (!has_order || thi_family_tell(pool->family.channel, &order, -1) == 0)
        return true;
    thi_ppool_lock(pool);
    take_order_back(pool, hand, &order);
    thi_ppool_unlock(pool);
    return false;
}

static thrum_time_t tend_family(thi_ppool_t *pool)
{
    if (pool->found_at > thi_clock())
        return pool->found_at;
    const int err = thi_ppool_found(pool);
    if (err == 0)
        return 0;
    pool->found_at = back_off(++pool->spawner_deaths + FALLS_FREE, FALL_MOST_NS);
    return pool->found_at;
}

thrum_time_t thi_hands_tend(thi_ppool_t *pool)
{
    thrum_time_t deadline = THRUM_FOREVER;
    if (!pool->has_family) {
        thi_ppool_lock(pool);
        const bool needed = is_needed(pool);
        thi_ppool_unlock(pool);
        if (needed)
            deadline = tend_family(pool);
    }
    for (size_t i = 0; pool->has_family && i < pool->workers; i++)
        if (!give_order(pool, &pool->hands[i], &deadline))
            return thi_clock() + RETRY_NS;
    return deadline;
}

/* When a time limit has to be looked at next. */
thrum_time_t thi_hands_check_time(thi_ppool_t *pool)
{
    thrum_time_t deadline = THRUM_FOREVER;
    const int64_t limit = pool->config.task_timeout;
    if (limit <= 0)
        return THRUM_FOREVER;
    const thrum_time_t now = thi_clock();
    thi_ppool_lock(pool);
    for (size_t i = 0; i < pool->workers; i++) {
        thi_hand_t *hand = &pool->hands[i];
        if (hand->state != THI_HAND_READY || hand->active == 0 || hand->kills)
            continue;
        const thrum_time_t begun = thi_load_acquire(&hand->desk->begun_at);
        const thrum_time_t until = thi_time_plus(begun > 0 && begun < now ? begun : now, limit);
        bool late = false;
        for (uint32_t seq = hand->oldest; until <= now && !late && seq != hand->tail; seq++)
            late = thi_hand_condemn(hand, seq, THI_DOOM_LATE);
        if (!late)
            deadline = until < deadline ? until : deadline;
    }
    if (deadline == THRUM_FOREVER && pool->queued + pool->posted != 0)
        deadline = thi_time_plus(now, limit); /* it will begin */
    pool->idle_timer = deadline == THRUM_FOREVER;
    thi_ppool_unlock(pool);
    return deadline;
}

bool thi_ppool_is_over(thi_ppool_t *pool)
{
    if (thi_load_acquire(&pool->closing) == 0)
        return false;
    thi_ppool_lock(pool);
    bool over = pool->queued == 0 && pool->posted == 0 && pool->ending == 0;
    for (size_t i = 0; over && i < pool->workers; i++)
        over = pool->hands[i].state == THI_HAND_NONE;
    thi_ppool_unlock(pool);
    if (!over || !pool->has_family)
        return over;
    if (!pool->told_to_quit) {
        const thi_message_t order = {.what = THI_SAY_QUIT};
        pool->told_to_quit = thi_family_tell(pool->family.channel, &order, -1) == 0;
        if (!pool->told_to_quit) {
            thi_nap(RETRY_NS / 1000);
            thi_ppool_kick(pool);
        }
    }
    return false;
}
