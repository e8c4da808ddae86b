/*
 * No memory, or no threads, for pools and what they run: the calls say so, nothing that was accepted is
 * lost, nothing leaks, and it works once there is room again.
 */
#include <criterion/criterion.h>

#include "fault/counted.h"

TestSuite(pool, .timeout = 60);

static void no_memory(bool none)
{
    thi_fault_arm(THI_FAULT_ALLOC, none ? THI_FAULT_ALWAYS : 0);
    thi_fault_arm(THI_FAULT_PAGES, none ? THI_FAULT_ALWAYS : 0);
}

static int add_one(void *arg, void **result)
{
    *result = arg;
    thi_fetch_add_acq_rel((uint32_t *)arg, 1u);
    return 0;
}

static thrum_executor_t *pool_of(size_t workers)
{
    thrum_executor_t *pool = NULL;
    thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
    config.workers = workers;
    if (thrum_thread_pool_create(&pool, &config) != 0)
        abort();
    return pool;
}

/* Keeps the only worker. */
struct gate {
    uint32_t inside;
    uint32_t open;
};

static int hold_at(void *arg, void **result)
{
    struct gate *g = arg;
    *result = NULL;
    thi_store_release(&g->inside, 1u);
    await_word(&g->open, 1);
    return 0;
}

static thrum_executor_t *busy_pool(struct gate *g)
{
    thrum_executor_t *pool = pool_of(1);
    if (thrum_executor_submit(pool, hold_at, g, NULL) != 0)
        abort();
    await_word(&g->inside, 1);
    return pool;
}

/* --- create ---------------------------------------------------------------------------------------------- */

static int create_with(thi_fault_t kind, unsigned nth, int expected, thrum_policy_t policy)
{
    thrum_executor_t *pool = NULL;
    thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
    config.workers = 3;
    config.policy = policy;
    thi_fault_arm(kind, nth);
    const int err = thrum_thread_pool_create(&pool, &config);
    thi_fault_arm(kind, 0);
    NEED((err == 0) == (pool != NULL));
    NEED(err == 0 || err == expected);
    if (pool == NULL)
        return -1;
    thrum_executor_destroy(pool);
    return 0;
}

static int create_somehow(void *arg)
{
    const thrum_policy_t policy = *(thrum_policy_t *)arg;
    int line = -1;
    unsigned nth = 0;
    for (nth = 1; line < 0; nth++)
        line = create_with(THI_FAULT_ALLOC, nth, ENOMEM, policy);
    NEED(line == 0 && nth > 5);
    for (nth = 1; (line = create_with(THI_FAULT_THREAD, nth, EAGAIN, policy)) < 0; nth++) {
    }
    NEED(line == 0 && nth == 4);
    return 0;
}

Test(pool, is_made_whole_or_not_at_all, .init = count_memory)
{
    for (int policy = 0; policy < 4; policy++)
        run_alone(create_somehow, &(thrum_policy_t){(thrum_policy_t)policy});
}

/* Its workers cannot be registered: as if their init had failed. */
static int break_all(void *arg)
{
    uint32_t ran = 0;
    thrum_future_t *f = NULL;
    (void)arg;
    thi_fault_arm(THI_FAULT_AT_EXIT, THI_FAULT_ALWAYS);
    thrum_executor_t *pool = pool_of(2);
    int err = 0;
    while ((err = thrum_executor_submit(pool, add_one, &ran, &f)) == 0) {
        NEED(thrum_future_result(f, NULL) == EPIPE);
        thrum_future_release(f);
    }
    thi_fault_arm(THI_FAULT_AT_EXIT, 0);
    NEED(err == EPIPE && ran == 0);
    thrum_executor_destroy(pool);
    return 0;
}

Test(pool, is_broken_when_workers_cannot_be_registered, .init = count_memory)
{
    run_alone(break_all, NULL);
}

/* --- submit ------------------------------------------------------------------------------------------------ */

enum { MANY = 5000 };

struct load {
    thrum_executor_t *pool;
    uint32_t ran;
    uint32_t accepted;
    bool futures;
    thrum_future_t *f[MANY];
};

/* Until there is no memory for one more. */
static int submit_all(struct load *l)
{
    int err = 0;
    no_memory(true);
    while (err == 0 && l->accepted < MANY) {
        thrum_future_t **f = l->futures ? &l->f[l->accepted] : NULL;
        err = thrum_executor_submit(l->pool, add_one, &l->ran, f);
        l->accepted += err == 0;
    }
    no_memory(false);
    NEED(err == ENOMEM);
    NEED(!l->futures || l->f[l->accepted] == NULL);
    return 0;
}

static int submit_from_outside(void *arg)
{
    static struct load l;
    struct gate gate = {0, 0};
    l = (struct load){.pool = busy_pool(&gate), .futures = *(bool *)arg};
    const int line = submit_all(&l);
    NEED(line == 0);
    NEED(thrum_executor_submit(l.pool, add_one, &l.ran, NULL) == 0);
    thi_store_release(&gate.open, 1u);
    thrum_executor_destroy(l.pool);
    NEED(l.ran == l.accepted + 1);
    for (uint32_t i = 0; i < l.accepted && l.futures; i++) {
        NEED(thrum_future_result(l.f[i], NULL) == 0);
        thrum_future_release(l.f[i]);
    }
    return 0;
}

Test(pool, submits_need_memory, .init = count_memory)
{
    run_alone(submit_from_outside, &(bool){false});
    run_alone(submit_from_outside, &(bool){true});
}

static int submit_inside(void *arg, void **result)
{
    struct load *l = arg;
    int line = submit_all(l);
    *result = NULL;
    if (line == 0) { /* as many in a group: the deque is full */
        thrum_group_t g = THRUM_GROUP_INIT(l->pool);
        no_memory(true);
        line = thrum_group_spawn(&g, add_one, &l->ran) == ENOMEM ? 0 : __LINE__;
        no_memory(false);
        if (line == 0 && (thrum_group_spawn(&g, add_one, &l->ran) != 0 || thrum_group_wait(&g)))
            line = __LINE__;
        l->accepted++;
    }
    return line;
}

static int submit_from_task(void *arg)
{
    static struct load l;
    thrum_future_t *f = NULL;
    (void)arg;
    l = (struct load){.pool = pool_of(1)};
    NEED(thrum_executor_submit(l.pool, submit_inside, &l, &f) == 0);
    const int line = thrum_future_result(f, NULL);
    thrum_future_release(f);
    thrum_executor_destroy(l.pool);
    NEED(l.ran == l.accepted);
    return line;
}

Test(pool, tasks_need_memory_for_tasks, .init = count_memory)
{
    run_alone(submit_from_task, NULL);
}

static int reply_in_need(const void *in, size_t size, thrum_reply_t *reply)
{
    (void)size;
    thi_fault_arm(THI_FAULT_ALLOC, THI_FAULT_ALWAYS);
    const int err = thrum_reply(reply, in, 3);
    thi_fault_arm(THI_FAULT_ALLOC, 0);
    return err == ENOMEM ? thrum_reply(reply, in, 3) : EPROTO;
}

static int submit_bytes(void *arg)
{
    thrum_future_t *f = NULL;
    size_t size = 0;
    int err = ENOMEM;
    (void)arg;
    thrum_executor_t *pool = pool_of(1);
    for (unsigned nth = 1; err == ENOMEM; nth++) {
        NEED(nth < 10 && f == NULL);
        thi_fault_arm(THI_FAULT_ALLOC, nth);
        err = thrum_executor_submit_bytes(pool, reply_in_need, "abc", 3, &f);
        if (err != 0)
            thi_fault_arm(THI_FAULT_ALLOC, 0);
    }
    NEED(err == 0 && thrum_future_bytes(f, NULL, &size) == 0 && size == 3);
    thrum_future_release(f);
    thrum_executor_destroy(pool);
    return 0;
}

Test(pool, byte_tasks_need_memory, .init = count_memory)
{
    run_alone(submit_bytes, NULL);
}

/* --- map --------------------------------------------------------------------------------------------------- */

static int map_all(void *arg)
{
    int err = ENOMEM;
    (void)arg;
    thrum_executor_t *pool = pool_of(2);
    for (unsigned nth = 1; err == ENOMEM; nth++) {
        uint32_t counts[50] = {0}, ran = 0;
        void *args[50];
        for (int i = 0; i < 50; i++)
            args[i] = &counts[i];
        NEED(nth < 10);
        thi_fault_arm(THI_FAULT_ALLOC, nth);
        err = thrum_executor_map(pool, add_one, args, NULL, NULL, 50, 1, THRUM_FOREVER);
        thi_fault_arm(THI_FAULT_ALLOC, 0);
        for (int i = 0; i < 50; i++)
            ran += counts[i];
        NEED(err == 0 ? ran == 50 : ran == 0);
    }
    thrum_executor_destroy(pool);
    return err;
}

Test(pool, map_needs_memory, .init = count_memory)
{
    run_alone(map_all, NULL);
}

/* --- spare workers ----------------------------------------------------------------------------------------- */

struct pair {
    thrum_event_t event;
    uint32_t inside;
    thi_strand_t *strand;
};

static int wait_for_it(void *arg, void **result)
{
    struct pair *p = arg;
    *result = NULL;
    p->strand = thi_self();
    thi_fetch_add_acq_rel(&p->inside, 1u);
    return thrum_event_wait(&p->event);
}

static int set_it(void *arg, void **result)
{
    *result = NULL;
    thrum_event_set(&((struct pair *)arg)->event);
    return 0;
}

static int stand_in(void *arg)
{
    const thi_fault_t kind = *(thi_fault_t *)arg;
    struct pair first = {THRUM_EVENT_INIT, 0, NULL}, second = {THRUM_EVENT_INIT, 0, NULL};
    thrum_executor_stats_t s;
    thrum_executor_t *pool = pool_of(1);
    thi_fault_arm(kind, THI_FAULT_ALWAYS);
    NEED(thrum_executor_submit(pool, wait_for_it, &first, NULL) == 0);
    await_word(&first.inside, 1);
    while (thi_load_relaxed(&first.strand->permit) != THI_PARKED)
        sched_yield(); /* it has looked for somebody to stand in */
    NEED(thrum_executor_submit(pool, wait_for_it, &second, NULL) == 0);
    NEED(thrum_executor_submit(pool, set_it, &second, NULL) == 0);
    thrum_executor_stats(pool, &s);
    NEED(s.workers == 1 && s.queued == 2 && s.running == 1 && second.inside == 0);
    thi_fault_arm(kind, 0);
    thrum_event_set(&first.event); /* the next that waits tries again */
    thrum_executor_destroy(pool);
    NEED(second.inside == 1);
    return 0;
}

Test(pool, spare_workers_come_when_they_can, .init = count_memory)
{
    run_alone(stand_in, &(thi_fault_t){THI_FAULT_THREAD});
    run_alone(stand_in, &(thi_fault_t){THI_FAULT_ALLOC});
}
