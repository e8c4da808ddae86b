#include "process/pools.h"
#include "support/child.h"

/* The end of a process pool: shutdown, destroy, fork, the death of the parent. */
TestSuite(process_pool_end, .timeout = 120);

enum { QUEUED = 300 };

struct busy {
    thrum_executor_t *pool;
    struct gate *gate;
    thrum_future_t *held;
    thrum_future_t *f[QUEUED];
    uint32_t called;
};

static void call_count(thrum_future_t *f, void *arg)
{
    if (!thrum_future_done(f))
        abort();
    thi_fetch_add_acq_rel((uint32_t *)arg, 1u);
}

/* A worker that is held, and tasks behind it. */
static void busy_begin(struct busy *b)
{
    *b = (struct busy){.gate = victim_memory(sizeof *b->gate)};
    b->pool = pool_of(1); /* its workers see what was there before */
    b->held = submitted(b->pool, hold_at, b->gate);
    await(&b->gate->inside, 1);
    for (int i = 0; i < QUEUED; i++) {
        b->f[i] = submitted(b->pool, twice, NULL);
        EXPECT_CALL(0, thrum_future_add_done_callback(b->f[i], call_count, &b->called));
    }
}

static void busy_end(struct busy *b, int held, int status)
{
    thrum_executor_destroy(b->pool);
    EXPECT_CALL(held, status_of(b->held, NULL));
    for (int i = 0; i < QUEUED; i++)
        cr_expect_eq(status_of(b->f[i], NULL), status);
    cr_expect_eq(b->called, (uint32_t)QUEUED);
}

static void shut_down_with(unsigned flags)
{
    struct busy b;
    thrum_future_t *f = NULL;
    const bool cancels = (flags & THRUM_CANCEL_PENDING) != 0;
    const bool kills = (flags & THRUM_KILL_RUNNING) != 0;
    const bool waits = (flags & THRUM_WAIT) != 0;
    busy_begin(&b);
    const int expected = waits && !kills ? ETIMEDOUT : 0;
    const thrum_time_t soon = kills ? THRUM_FOREVER : thrum_after(THRUM_MS(5));
    for (int i = 0; i < 2; i++)
        EXPECT_CALL(expected, thrum_executor_shutdown_until(b.pool, flags, soon));
    EXPECT_CALL(ESHUTDOWN, thrum_executor_submit(b.pool, twice, NULL, &f));
    EXPECT_CALL(ESHUTDOWN,
                thrum_executor_map(b.pool, twice, NULL, NULL, NULL, 5, 1, THRUM_FOREVER));
    cr_expect_null(f);
    if (!kills)
        thi_store_release(&b.gate->open, 1u);
    EXPECT_CALL(0, thrum_executor_shutdown(b.pool, THRUM_WAIT));
    cr_expect_eq(stats_of(b.pool).workers, 0u);
    busy_end(&b, kills ? ECHILD : 0, cancels ? ECANCELED : 0);
}

Test(process_pool_end, a_shutdown_does_what_its_flags_say)
{
    for (unsigned flags = 0; flags < 8; flags++)
        shut_down_with(flags);
}

Test(process_pool_end, an_unknown_flag_is_refused)
{
    thrum_executor_t *pool = pool_of(1);
    EXPECT_CALL(EINVAL, thrum_executor_shutdown(pool, 8));
    thrum_executor_destroy(pool);
    EXPECT_CALL(0, thrum_thread_pool_create(&pool, NULL));
    EXPECT_CALL(ENOTSUP, thrum_executor_shutdown(pool, THRUM_KILL_RUNNING));
    thrum_executor_destroy(pool);
}

Test(process_pool_end, nothing_is_left)
{
    void *pid = NULL;
    void *spawner = NULL;
    thrum_executor_t *pool = pool_of(2);
    EXPECT_CALL(0, status_of(submitted(pool, my_pid, NULL), &pid));
    EXPECT_CALL(0, status_of(submitted(pool, my_parent, NULL), &spawner));
    thrum_executor_destroy(pool);
    cr_expect(!is_there((int32_t)(intptr_t)pid));
    cr_expect(!is_there((int32_t)(intptr_t)spawner));
    cr_expect_eq(waitpid(-1, NULL, WNOHANG), -1, "no child, be it dead");
}

Test(process_pool_end, a_pool_may_be_destroyed_before_its_workers_are_up)
{
    for (int i = 0; i < 50; i++) {
        thrum_executor_t *pool = pool_of(1 + (size_t)i % 3);
        thrum_future_t *f = i % 2 != 0 ? submitted(pool, twice, (void *)1) : NULL;
        thrum_executor_destroy(pool);
        if (f != NULL)
            EXPECT_CALL(0, status_of(f, NULL));
    }
}

static void shuts_down(thrum_future_t *f, void *arg)
{
    (void)f;
    if (thrum_executor_shutdown(arg, THRUM_WAIT) != EDEADLK)
        abort();
}

Test(process_pool_end, a_callback_cannot_wait_for_the_end)
{
    thrum_executor_t *pool = pool_of(1);
    thrum_future_t *f = submitted(pool, twice, NULL);
    EXPECT_CALL(0, thrum_future_add_done_callback(f, shuts_down, pool));
    EXPECT_CALL(0, status_of(f, NULL));
    thrum_executor_destroy(pool);
}

static void destroys(thrum_future_t *f, void *arg)
{
    (void)f;
    thrum_executor_destroy(((void **)arg)[0]);
    thrum_event_set(((void **)arg)[1]);
}

Test(process_pool_end, a_callback_may_destroy_its_pool)
{
    thrum_event_t destroyed = THRUM_EVENT_INIT;
    void *both[2] = {pool_of(1), &destroyed};
    thrum_future_t *f = submitted(both[0], twice, NULL);
    EXPECT_CALL(0, thrum_future_add_done_callback(f, destroys, both));
    EXPECT_CALL(0, status_of(f, NULL));
    EXPECT_CALL(0, thrum_event_wait(&destroyed));
}

/* --- fork --------------------------------------------------------------------------------------------- */

static int uses_a_copy(void *arg)
{
    struct busy *b = arg;
    thrum_future_t *f = NULL;
    if (thrum_executor_submit(b->pool, twice, NULL, &f) != EPIPE)
        return 1;
    if (thrum_executor_submit_bytes(b->pool, echo, "x", 1, &f) != EPIPE)
        return 2;
    if (thrum_executor_map(b->pool, twice, NULL, NULL, NULL, 5, 1, THRUM_FOREVER) != EPIPE)
        return 3;
    if (!thrum_future_cancel(b->f[QUEUED - 1]) || thrum_future_kill(b->held) != ENOTSUP)
        return 4;
    if (thrum_future_trywait(b->held) != EAGAIN ||
        thrum_future_wait_until(b->held, thrum_after(1000)) != ETIMEDOUT)
        return 5;
    if (thrum_executor_shutdown(b->pool, THRUM_WAIT) != 0)
        return 6;
    if (!thrum_future_cancelled(b->f[QUEUED - 2]))
        return 7;
    thrum_executor_stats_t stats;
    thrum_executor_stats(b->pool, &stats);
    thrum_executor_destroy(b->pool);
    return 0;
}

Test(process_pool_end, the_child_of_a_fork_has_a_copy_without_workers)
{
    struct busy b;
    busy_begin(&b);
    const int end = victim_end(victim_start(uses_a_copy, &b));
    cr_expect_eq(end, 0, "%d", end);
    thi_store_release(&b.gate->open, 1u);
    busy_end(&b, 0, 0);
}

static int makes_its_own(void *arg)
{
    void *value = NULL;
    (void)arg;
    thrum_executor_t *pool = pool_of(1);
    if (status_of(submitted(pool, twice, (void *)2), &value) != 0 || value != (void *)4)
        return 1;
    thrum_executor_destroy(pool);
    return 0;
}

static int makes_its_own_task(void *arg, void **result)
{
    (void)result;
    return makes_its_own(arg);
}

Test(process_pool_end, the_child_of_a_fork_and_a_worker_may_make_pools_of_their_own)
{
    thrum_executor_t *pool = pool_of(1);
    if (CHILD_MAY_START_THREADS)
        cr_expect_eq(victim_end(victim_start(makes_its_own, NULL)), 0);
    EXPECT_CALL(0, status_of(submitted(pool, makes_its_own_task, NULL), NULL));
    thrum_executor_destroy(pool);
}

/* --- the parent's death ------------------------------------------------------------------------------- */

struct family {
    struct gate gates[3];
    int32_t spawner;
    int32_t grandchild;
    uint32_t work;
};

static int computes(void *arg, void **result)
{
    struct family *family = arg;
    (void)result;
    family->gates[0].pid = (int32_t)getpid();
    thi_store_release(&family->spawner, (int32_t)getppid());
    thi_fetch_add_acq_rel(&family->gates[0].inside, 1u);
    for (;;)
        thi_fetch_add_relaxed(&family->work, 1u);
    return 0;
}

static int writes(void *arg, void **result)
{
    struct family *family = arg;
    (void)result;
    const pid_t pid = fork();
    if (pid == 0) {
        signal(SIGTERM, SIG_IGN);
        setsid();
        for (;;)
            pause();
    }
    family->grandchild = (int32_t)pid;
    family->gates[1].pid = (int32_t)getpid();
    FILE *null = fopen("/dev/null", "w");
    thi_fetch_add_acq_rel(&family->gates[1].inside, 1u);
    for (;;)
        fputc('x', null);
    return 0;
}

static int has_a_family(void *arg)
{
    struct family *family = arg;
    thrum_executor_t *pool = pool_of(3);
    (void)submitted(pool, computes, family);
    (void)submitted(pool, writes, family);
    (void)submitted(pool, hold_at, &family->gates[2]);
    for (;;)
        pause();
    return 0;
}

Test(process_pool_end, a_killed_parent_leaves_nobody)
{
    struct family *family = victim_memory(sizeof *family);
    const pid_t parent = victim_start(has_a_family, family);
    for (int i = 0; i < 3; i++)
        await(&family->gates[i].inside, 1);
    victim_kill(parent);
    for (int i = 0; i < 3; i++)
        await_gone(family->gates[i].pid);
    await_gone(family->grandchild);
    await_gone(family->spawner);
}

static int just_returns(void *arg)
{
    struct family *family = arg;
    thrum_executor_t *pool = pool_of(1);
    (void)submitted(pool, hold_at, &family->gates[0]);
    await(&family->gates[0].inside, 1);
    exit(0);
}

Test(process_pool_end, an_exit_does_not_wait_and_leaves_nobody)
{
    struct family *family = victim_memory(sizeof *family);
    cr_expect_eq(victim_end(victim_start(just_returns, family)), 0);
    await_gone(family->gates[0].pid);
}

/* --- hosts -------------------------------------------------------------------------------------------- */

static int ignores_children(void *arg)
{
    int32_t *pid = arg;
    signal(SIGCHLD, SIG_IGN);
    thrum_executor_t *pool = pool_of(2);
    int code = 0;
    thrum_future_t *f = submitted(pool, leaves, (void *)9);
    if (thrum_future_result(f, NULL) != ECHILD || thrum_future_cause(f, NULL, &code) != 0 ||
        code != 9)
        return 1;
    thrum_future_release(f);
    thrum_executor_destroy(pool);
    (void)pid;
    return 0;
}

Test(process_pool_end, a_host_that_ignores_SIGCHLD_breaks_nothing)
{
    cr_expect_eq(victim_end(victim_start(ignores_children, NULL)), 0);
}
