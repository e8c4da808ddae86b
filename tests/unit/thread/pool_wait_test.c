#include "task/work.h"

/* Tasks that wait in their own pool: for tasks, and for what other tasks have to do first. */
TestSuite(pool_wait, .timeout = 60);

static thrum_executor_t *with_spares(size_t workers, thrum_policy_t policy, size_t spares)
{
    thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
    config.workers = workers;
    config.policy = policy;
    config.spare_workers = spares;
    return pool_as(&config);
}

/* --- submit and wait, again and again ------------------------------------------------------------------ */

#define DEPTH 2000u

struct step {
    thrum_executor_t *pool;
    uint32_t depth;
};

/* One down at a time; its value is how deep it got. */
static int descend(void *arg, void **result)
{
    const struct step *s = arg;
    struct step below = {s->pool, s->depth - 1};
    thrum_future_t *f = NULL;
    *result = NULL;
    if (s->depth == 0)
        return 0;
    int err = thrum_executor_submit(s->pool, descend, &below, &f);
    if (err == 0)
        err = thrum_future_result(f, result);
    thrum_future_release(f);
    *result = (char *)*result + 1;
    return err;
}

Test(pool_wait, a_task_runs_what_it_waits_for_at_any_depth)
{
    for (EACH_POLICY(policy)) {
        for (size_t workers = 1; workers <= 2; workers++) {
            struct step top = {with_spares(workers, policy, SIZE_MAX), DEPTH};
            void *depth = NULL;
            thrum_future_t *f = submitted(top.pool, descend, &top);
            EXPECT_CALL(0, thrum_future_result(f, &depth));
            cr_expect_eq((uintptr_t)depth, DEPTH);
            thrum_future_release(f);
            thrum_executor_destroy(top.pool);
        }
    }
}

static int fib(void *arg, void **result)
{
    const struct step *s = arg;
    struct step less[2] = {{s->pool, s->depth - 1}, {s->pool, s->depth - 2}};
    thrum_future_t *f[2];
    void *values[2] = {NULL, NULL};
    int err = 0;
    *result = (void *)(uintptr_t)s->depth;
    if (s->depth < 2)
        return 0;
    for (int i = 0; i < 2; i++)
        err |= thrum_executor_submit(s->pool, fib, &less[i], &f[i]);
    for (int i = 0; i < 2; i++) { /* the older one first: not on top of the deque */
        err |= thrum_future_result(f[i], &values[i]);
        thrum_future_release(f[i]);
    }
    *result = (char *)values[0] + (uintptr_t)values[1];
    return err;
}

Test(pool_wait, a_tree_of_waiting_tasks)
{
    for (EACH_POLICY(policy)) {
        for (size_t workers = 1; workers <= 3; workers++) {
            struct step top = {with_spares(workers, policy, 0), 16};
            void *value = NULL;
            thrum_future_t *f = submitted(top.pool, fib, &top);
            EXPECT_CALL(0, thrum_future_result(f, &value));
            cr_expect_eq((uintptr_t)value, 987u);
            thrum_future_release(f);
            thrum_executor_destroy(top.pool);
        }
    }
}

/* It runs that very task and no other: who waits may hold a lock. */
struct locked {
    thrum_executor_t *pool;
    thrum_mutex_t mutex;
    uint32_t ran;
    struct gate gate;
};

static int lock_too(void *arg, void **result)
{
    struct locked *l = arg;
    (void)result;
    int err = thrum_mutex_lock(&l->mutex);
    if (err == 0)
        err = thrum_mutex_unlock(&l->mutex);
    return err;
}

static int wait_with_lock(void *arg, void **result)
{
    struct locked *l = arg;
    thrum_future_t *f = NULL, *others[10];
    int err = thrum_mutex_lock(&l->mutex);
    err |= thrum_executor_submit(l->pool, hand_back, NULL, &f);
    for (int i = 0; i < 10; i++) /* on its own thread each of them would find the mutex its own */
        err |= thrum_executor_submit(l->pool, lock_too, l, &others[i]);
    err |= thrum_future_result(f, result);
    thrum_future_release(f);
    err |= thrum_event_wait_until(&l->gate.opened, SOON) == ETIMEDOUT ? 0 : EPROTO;
    err |= thrum_mutex_unlock(&l->mutex);
    for (int i = 0; i < 10; i++) {
        err |= thrum_future_result(others[i], result);
        thrum_future_release(others[i]);
    }
    return err;
}

Test(pool_wait, a_waiting_task_runs_no_other)
{
    for (EACH_POLICY(policy)) {
        struct locked l = {with_spares(1, policy, 0), THRUM_MUTEX_INIT, 0, GATE_INIT};
        for (int i = 0; i < 20; i++)
            expect_result(submitted(l.pool, wait_with_lock, &l), 0);
        thrum_executor_destroy(l.pool);
    }
}

/* --- what only other tasks of the same one-worker pool can serve ------------------------------------- */

enum { ITEMS = 100 };

static int put_all(void *q, void **result)
{
    int err = 0;
    (void)result;
    for (int i = 0; err == 0 && i < ITEMS; i++)
        err = thrum_queue_put(q, &i);
    return err;
}

static int get_all(void *q, void **result)
{
    int err = 0, item = 0;
    (void)result;
    for (int i = 0; err == 0 && i < ITEMS; i++)
        err = thrum_queue_get(q, &item);
    return err;
}

Test(pool_wait, full_and_empty_queues_are_served)
{
    for (int i = 0; i < 8; i++) {
        thrum_executor_t *pool = with_spares(1, (thrum_policy_t)(i % 4), 0);
        const thrum_queue_config_t config = {THRUM_FIFO, sizeof(int), 3, NULL, NULL, 0};
        thrum_queue_t *q = NULL;
        EXPECT_CALL(0, thrum_queue_create(&q, &config));
        thrum_future_t *first = submitted(pool, i < 4 ? put_all : get_all, q);
        thrum_future_t *second = submitted(pool, i < 4 ? get_all : put_all, q);
        expect_result(first, 0);
        expect_result(second, 0);
        thrum_executor_destroy(pool);
        thrum_queue_destroy(q);
    }
}

struct things {
    thrum_event_t event;
    thrum_sem_t sem;
    thrum_waitgroup_t waitgroup;
};

static int wait_for_things(void *arg, void **result)
{
    struct things *t = arg;
    (void)result;
    int err = thrum_event_wait(&t->event);
    err |= thrum_sem_acquire(&t->sem);
    err |= thrum_waitgroup_wait(&t->waitgroup);
    err |= thrum_sleep(THRUM_US(10));
    return err;
}

static int do_things(void *arg, void **result)
{
    struct things *t = arg;
    (void)result;
    thrum_event_set(&t->event);
    int err = thrum_sem_release(&t->sem);
    err |= thrum_waitgroup_done(&t->waitgroup);
    return err;
}

Test(pool_wait, events_semaphores_and_groups_are_served)
{
    enum { WAITERS = 10 };
    for (EACH_POLICY(policy)) {
        struct things t = {
            .event = THRUM_EVENT_INIT, .sem = THRUM_SEM_INIT(0), .waitgroup = THRUM_WAITGROUP_INIT};
        thrum_future_t *f[2 * WAITERS];
        thrum_executor_t *pool = with_spares(1, policy, 0);
        EXPECT_CALL(0, thrum_waitgroup_add(&t.waitgroup, WAITERS));
        for (int i = 0; i < 2 * WAITERS; i++)
            f[i] = submitted(pool, i < WAITERS ? wait_for_things : do_things, &t);
        for (int i = 0; i < 2 * WAITERS; i++)
            expect_result(f[i], 0);
        thrum_executor_destroy(pool);
    }
}

static int wait_for_promise(void *f, void **result)
{
    return thrum_future_result(f, result);
}

static int keep_promise(void *f, void **result)
{
    (void)result;
    return thrum_future_complete(f, NULL);
}

Test(pool_wait, promises_are_kept)
{
    thrum_executor_t *pool = with_spares(1, THRUM_POLICY_STEALING, 0);
    for (int i = 0; i < 200; i++) {
        thrum_future_t *promise = promised();
        thrum_future_t *waiter = submitted(pool, wait_for_promise, promise);
        expect_result(submitted(pool, keep_promise, promise), 0);
        expect_result(waiter, 0);
        thrum_future_release(promise);
    }
    thrum_executor_destroy(pool);
}

/* A spare worker that is idle when it is no longer needed must not keep what it is woken for. */
Test(pool_wait, a_spare_worker_goes_and_leaves_nothing_undone)
{
    for (EACH_POLICY(policy)) {
        thrum_executor_t *pool = with_spares(1, policy, 0);
        for (int i = 0; i < 100; i++) {
            struct gate gate = GATE_INIT;
            thrum_executor_stats_t stats;
            thrum_future_t *f = submitted(pool, stop_at, &gate);
            do {
                thrum_executor_stats(pool, &stats);
                sched_yield();
            } while (stats.workers != 2);
            for (int n = 0; n < i % 3; n++)
                expect_result(submitted(pool, hand_back, NULL), 0);
            thrum_event_set(&gate.opened);
            expect_result(f, 0);
            for (int n = 0; n < 5; n++)
                expect_result(submitted(pool, hand_back, NULL), 0);
        }
        thrum_executor_destroy(pool);
    }
}

Test(pool_wait, there_are_as_many_spare_workers_as_allowed)
{
    for (uint32_t spares = 1; spares <= 3; spares++) {
        struct gate gate = GATE_INIT;
        uint32_t ran = 0;
        thrum_executor_stats_t stats;
        thrum_executor_t *pool = with_spares(1, THRUM_POLICY_STEALING, spares);
        for (uint32_t i = 0; i < spares + 1; i++)
            EXPECT_CALL(0, thrum_executor_submit(pool, stop_at, &gate, NULL));
        await_word(&gate.inside, spares + 1);
        EXPECT_CALL(0, thrum_executor_submit(pool, add_one, &ran, NULL));
        for (int i = 0; i < 200; i++)
            sched_yield();
        thrum_executor_stats(pool, &stats);
        cr_expect_eq(stats.workers, spares + 1);
        cr_expect_eq(stats.running, spares + 1);
        cr_expect_eq(ran, 0u);
        open_and_destroy(pool, &gate);
        cr_expect_eq(ran, 1u);
    }
}

/* --- memory that is used again at once ---------------------------------------------------------------- */

struct round {
    unsigned char in;
    unsigned char out;
};

static int copy(void *arg, void **result)
{
    struct round *r = arg;
    r->out = r->in;
    *result = r;
    return 0;
}

Test(pool_wait, what_a_task_used_is_the_waiter_s_when_the_wait_returns)
{
    thrum_executor_t *pool = with_spares(1, THRUM_POLICY_STEALING, 0);
    for (unsigned i = 0; i < 100000; i++) {
        struct round *r = malloc(sizeof *r);
        *r = (struct round){(unsigned char)i, 0};
        thrum_future_t *f = NULL;
        cr_assert_eq(thrum_executor_submit(pool, copy, r, &f), 0);
        cr_assert_eq(thrum_future_wait(f), 0);
        cr_assert_eq(r->out, (unsigned char)i);
        thrum_future_release(f);
        free(r);
    }
    thrum_executor_destroy(pool);
}

struct grouped {
    thrum_group_t g;
    struct round rounds[4];
};

static int grouped_rounds(void *arg, void **result)
{
    (void)result;
    for (unsigned i = 0; i < 10000; i++) {
        struct grouped *m = malloc(sizeof *m);
        if (m == NULL || thrum_group_init(&m->g, arg) != 0)
            return ENOMEM;
        for (unsigned n = 0; n < 4; n++) {
            m->rounds[n] = (struct round){(unsigned char)(i + n), 0};
            if (thrum_group_spawn(&m->g, copy, &m->rounds[n]) != 0)
                return EPROTO;
        }
        const int err = thrum_group_wait(&m->g);
        for (unsigned n = 0; n < 4; n++)
            if (m->rounds[n].out != (unsigned char)(i + n))
                return EPROTO;
        free(m);
        if (err != 0)
            return err;
    }
    return 0;
}

Test(pool_wait, a_group_is_the_maker_s_when_the_wait_returns)
{
    for (size_t workers = 1; workers <= 2; workers++) {
        thrum_executor_t *pool = with_spares(workers, THRUM_POLICY_STEALING, 0);
        void *unwanted = NULL;
        cr_expect_eq(grouped_rounds(pool, &unwanted), 0);
        expect_result(submitted(pool, grouped_rounds, pool), 0);
        thrum_executor_destroy(pool);
    }
}
