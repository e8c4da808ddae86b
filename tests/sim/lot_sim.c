/*
 * Waits and the parking lot, with the smallest objects that show what they promise.
 */
#include "sim.h"

static const thi_site_t lot_site = {"test", NULL};
static const thi_site_t lot_other_site = {"another test", NULL};

/* ------------------------------------------------------------------------------------------------
 * One wait on two queues: exactly one waker wins it
 */

struct lot_queue {
    thi_lock_t lock;
    thi_waiter_t *waiter; /* NULL: empty */
    unsigned wins;
};

struct lot_select {
    struct lot_queue queues[2];
    thrum_time_t deadline;
    int err;
    int retries;
};

static void *lot_waker(void *arg)
{
    struct lot_queue *queue = arg;
    thi_lock(&queue->lock, THI_RANK_LOT);
    thi_waiter_t *waiter = queue->waiter;
    const bool won = waiter != NULL && thi_wait_claim(waiter);
    if (won)
        queue->waiter = NULL;
    thi_unlock(&queue->lock, THI_RANK_LOT);
    if (won) {
        queue->wins++;
        thi_wait_finish(waiter);
    }
    return NULL;
}

static void *lot_selects(void *arg)
{
    struct lot_select *s = arg;
    thi_wait_t wait;
    thi_wait_init(&wait, thi_self());
    thi_waiter_t waiters[2] = {{.wait = &wait, .index = 0}, {.wait = &wait, .index = 1}};
    sim_name(&wait, sizeof wait, "wait");
    for (int i = 0; i < 2; i++) {
        thi_lock(&s->queues[i].lock, THI_RANK_LOT);
        s->queues[i].waiter = &waiters[i];
        thi_unlock(&s->queues[i].lock, THI_RANK_LOT);
    }
    s->err = thi_wait_sleep(&wait, s->deadline, true, &lot_site, s);
    for (int i = 0; i < 2; i++) {
        thi_lock(&s->queues[i].lock, THI_RANK_LOT);
        s->queues[i].waiter = NULL;
        thi_unlock(&s->queues[i].lock, THI_RANK_LOT);
    }
    const uint32_t claim = wait.claim;
    sim_poison(&wait, sizeof wait); /* no waker may come after DONE */
    sim_poison(waiters, sizeof waiters);
    const unsigned wins = s->queues[0].wins + s->queues[1].wins;
    sim_check(wins == (s->err == 0 ? 1 : 0));
    if (s->err == 0)
        sim_check(claim == ((s->queues[1].wins + 1) | THI_WAIT_DONE));
    for (int i = 0; i < 8; i++)
        sim_point();
    sim_unpoison(waiters);
    sim_unpoison(&wait);
    return NULL;
}

SIM_TEST(lot, one_wait_two_wakers_one_winner, .tasks = 4, .dfs_bound = 2)
{
    struct lot_select s = {.deadline = THRUM_FOREVER, .err = -1};
    sim_task *task = sim_spawn(lot_selects, &s);
    sim_spawn(lot_waker, &s.queues[0]);
    sim_spawn(lot_waker, &s.queues[1]);
    while (!s.queues[0].wins && !s.queues[1].wins) { /* both may have come too early */
        lot_waker(&s.queues[1]);
        sim_yield();
    }
    sim_join(task);
    sim_join_all();
    sim_check(s.err == 0);
}

SIM_TEST(lot, wakers_against_timeout_against_cancel, .tasks = 5, .schedules = 100000)
{
    struct lot_select s = {.deadline = sim_soon(), .err = -1};
    sim_task *task = sim_spawn(lot_selects, &s);
    sim_spawn(lot_waker, &s.queues[0]);
    sim_spawn(lot_waker, &s.queues[1]);
    sim_spawn(sim_canceller, task);
    sim_join_all();
    sim_check(s.err == 0 || s.err == ETIMEDOUT || s.err == ECANCELED);
}

/* ------------------------------------------------------------------------------------------------
 * Tokens, kept under the bucket's lock: each that is put goes to exactly one who takes
 */

struct lot_tokens {
    unsigned tokens;
    unsigned taken;
    unsigned gave_up;
    bool timed;
    struct lot_tokens *other;
};

static bool lot_none_left(void *arg)
{
    struct lot_tokens *t = arg;
    if (t->tokens == 0)
        return true;
    t->tokens--;
    return false;
}

static void *lot_taker(void *arg)
{
    struct lot_tokens *t = arg;
    thi_park_t park = {.site = &lot_site,
                       .key = t,
                       .arg = t,
                       .validate = lot_none_left,
                       .cancellable = true,
                       .spin = sim_random(2) != 0,
                       .first = sim_random(2) != 0};
    const int err = thi_lot_park(&park, t->timed ? sim_soon() : THRUM_FOREVER);
    if (err == 0 || err == EAGAIN)
        t->taken++;
    else
        t->gave_up++;
    return NULL;
}

static void lot_keep_the_rest(const thi_unparked_t *found, void *arg)
{
    struct lot_tokens *t = arg;
    if (found->count == 0)
        t->tokens++;
}

static void *lot_putter(void *arg)
{
    struct lot_tokens *t = arg;
    thi_lot_unpark(&(thi_unpark_t){
        .key = t, .site = &lot_site, .n = 1, .settle = lot_keep_the_rest, .arg = t});
    return NULL;
}

SIM_TEST(lot, put_against_take, .tasks = 2, .dfs_bound = 5)
{
    struct lot_tokens t = {0};
    sim_spawn(lot_taker, &t);
    lot_putter(&t);
    sim_join_all();
    sim_check(t.taken == 1 && t.tokens == 0);
}

SIM_TEST(lot, two_keys_perhaps_in_one_bucket, .tasks = 6)
{
    struct lot_tokens t[2] = {{0}, {0}};
    sim_name(t, sizeof t, "tokens");
    for (int i = 0; i < 2; i++) {
        sim_spawn(lot_taker, &t[i]);
        sim_spawn(lot_taker, &t[1 - i]);
    }
    sim_spawn(lot_putter, &t[0]);
    lot_putter(&t[1]);
    lot_putter(&t[0]);
    lot_putter(&t[1]);
    sim_join_all();
    sim_check(t[0].taken == 2 && t[1].taken == 2 && t[0].tokens + t[1].tokens == 0);
}

SIM_TEST(lot, who_gives_up_takes_nothing, .tasks = 6, .schedules = 100000)
{
    struct lot_tokens t = {.timed = true};
    sim_task *victim = sim_spawn(lot_taker, &t);
    sim_spawn(lot_taker, &t);
    sim_spawn(sim_canceller, victim);
    sim_spawn(lot_putter, &t);
    sim_spawn(lot_taker, &t);
    lot_putter(&t);
    sim_join_all();
    sim_check(t.taken + t.gave_up == 3 && t.taken + t.tokens == 2);
    sim_check(thi_park_count(&t) == 0);
}

static void lot_count_woken(const thi_unparked_t *found, void *arg)
{
    unsigned linked = 0;
    for (const thi_waiter_t *waiter = found->first; waiter != NULL; waiter = waiter->next)
        linked++;
    sim_check(linked == found->count);
    ((struct lot_tokens *)arg)->tokens = found->count;
}

SIM_TEST(lot, an_unpark_of_two_wakes_two, .tasks = 4)
{
    struct lot_tokens t = {0};
    for (int i = 0; i < 3; i++)
        sim_spawn(lot_taker, &t);
    sim_await_parked(&t, 3);
    thi_unpark_t order = {
        .key = &t, .site = &lot_site, .n = 2, .settle = lot_count_woken, .arg = &t};
    sim_check(thi_lot_unpark(&order) == 2 && t.tokens == 2);
    t.tokens = 0;
    sim_await_parked(&t, 1);
    order.n = THI_ALL;
    sim_check(thi_lot_unpark(&order) == 1);
    sim_join_all();
    sim_check(t.taken == 3);
}

/* --- the table grows under them --------------------------------------------------------------- */

static void *lot_grower(void *arg)
{
    (void)arg;
    for (size_t strands = 3; strands <= 33; strands += 30) {
        thi_lot_reserve(strands);
        sim_point();
    }
    return NULL;
}

SIM_TEST(lot, growing_loses_nobody, .tasks = 6, .schedules = 2000, .fresh = true)
{
    struct lot_tokens t[2] = {{0}, {.timed = true}};
    sim_spawn(lot_taker, &t[0]);
    sim_spawn(lot_taker, &t[1]);
    sim_spawn(lot_grower, NULL);
    sim_spawn(lot_taker, &t[0]);
    sim_spawn(lot_grower, NULL);
    lot_putter(&t[0]);
    lot_putter(&t[1]);
    lot_putter(&t[0]);
    sim_join_all();
    sim_check(t[0].taken == 2 && t[0].tokens == 0 && t[1].taken + t[1].tokens == 1);
}

/* ------------------------------------------------------------------------------------------------
 * Moving
 */

struct lot_move {
    struct lot_tokens from;
    struct lot_tokens to;
    bool held;
    unsigned found;
};

static bool lot_is_held(void *arg)
{
    return ((struct lot_move *)arg)->held;
}

static void lot_settle_move(const thi_unparked_t *found, void *arg)
{
    ((struct lot_move *)arg)->found = found->count;
}

static void *lot_movable(void *arg)
{
    struct lot_move *m = arg;
    thi_park_t park = {.site = &lot_site,
                       .key = &m->from,
                       .data = &m->to,
                       .arg = &m->from,
                       .validate = lot_none_left,
                       .cancellable = true};
    const int err = thi_lot_park(&park, m->from.timed ? sim_soon() : THRUM_FOREVER);
    sim_check(err != EAGAIN);
    if (err == 0)
        m->from.taken++;
    else
        m->from.gave_up++;
    return NULL;
}

static unsigned lot_move(struct lot_move *m, unsigned n)
{
    const thi_move_t order = {.from = &m->from,
                              .from_site = &lot_site,
                              .n = n,
                              .to = &m->to,
                              .to_site = &lot_other_site,
                              .hold = lot_is_held,
                              .settle = lot_settle_move,
                              .arg = m};
    return thi_lot_move(&order);
}

/* Whoever was found must be woken or stand in the other queue, and can no longer give up. */
SIM_TEST(lot, a_moved_waiter_is_won, .tasks = 4, .schedules = 100000)
{
    struct lot_move m = {.held = true, .from = {.timed = true}};
    sim_task *victim = sim_spawn(lot_movable, &m);
    sim_spawn(lot_movable, &m);
    sim_spawn(sim_canceller, victim);
    unsigned won = lot_move(&m, sim_random(2) == 0 ? 1 : THI_ALL);
    sim_check(won == m.found);
    won += lot_move(&m, 1);
    sim_yield();
    const thi_unpark_t order = {.key = &m.to, .site = &lot_other_site, .n = THI_ALL};
    sim_check(thi_lot_unpark(&order) <= won);
    sim_join_all();
    sim_check(m.from.taken == won);
    sim_check(m.from.taken + m.from.gave_up == 2);
}

SIM_TEST(lot, growing_while_waiters_move, .tasks = 5, .schedules = 2000, .fresh = true)
{
    struct lot_move m = {.held = true};
    sim_spawn(lot_movable, &m);
    sim_spawn(lot_movable, &m);
    sim_await_parked(&m.from, 2);
    sim_spawn(lot_grower, NULL);
    sim_spawn(lot_grower, NULL);
    sim_check(lot_move(&m, 1) == 1);
    sim_check(lot_move(&m, THI_ALL) == 1);
    const thi_unpark_t order = {.key = &m.to, .site = &lot_other_site, .n = THI_ALL};
    thi_lot_unpark(&order);
    sim_join_all();
    sim_check(m.from.taken == 2);
}

SIM_TEST(lot, what_need_not_wait_is_woken_instead, .tasks = 2, .dfs_bound = 3)
{
    struct lot_move m = {0};
    sim_spawn(lot_movable, &m);
    sim_await_parked(&m.from, 1);
    sim_check(lot_move(&m, THI_ALL) == 1);
    sim_join_all();
    sim_check(m.from.taken == 1);
}
