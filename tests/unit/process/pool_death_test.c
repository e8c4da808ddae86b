#include "process/pools.h"

/* A process pool whose workers die. */
TestSuite(process_pool_death, .timeout = 120);

static void expect_cause(thrum_future_t *f, int signal, int exit_code)
{
    int s = -1;
    int e = -1;
    EXPECT_CALL(ECHILD, thrum_future_result(f, NULL));
    EXPECT_CALL(0, thrum_future_cause(f, &s, &e));
    cr_expect(s == signal && e == exit_code, "signal %d, exit code %d", s, e);
    thrum_future_release(f);
}

static void expect_works(thrum_executor_t *pool)
{
    for (uintptr_t i = 0; i < 20; i++) {
        void *value = NULL;
        EXPECT_CALL(0, status_of(submitted(pool, twice, (void *)i), &value));
        cr_expect_eq(value, (void *)(2 * i));
    }
}

Test(process_pool_death, a_task_that_crashes_fails_alone_and_says_why)
{
    thrum_executor_t *pool = pool_of(2);
    expect_cause(submitted(pool, crashes, (void *)SIGKILL), SIGKILL, 0);
    expect_cause(submitted(pool, crashes, (void *)SIGTERM), SIGTERM, 0);
    expect_cause(submitted(pool, leaves, (void *)7), 0, 7);
    expect_cause(submitted(pool, leaves, (void *)0), 0, 0);
    expect_works(pool);
    cr_expect_geq(stats_of(pool).restarted, 3u);
    thrum_executor_destroy(pool);
}

static void is_gone(thrum_future_t *f, void *arg)
{
    (void)f;
    const int32_t pid = thi_load_acquire((int32_t *)arg);
    if (!is_there(pid))
        thi_store_release((int32_t *)arg, -1);
}

Test(process_pool_death, callbacks_come_when_the_worker_is_gone)
{
    struct gate *gate = victim_memory(sizeof *gate);
    thrum_executor_t *pool = pool_of(1);
    thrum_future_t *f = submitted(pool, hold_at, gate);
    EXPECT_CALL(0, thrum_future_add_done_callback(f, is_gone, &gate->pid));
    await(&gate->inside, 1);
    kill(gate->pid, SIGKILL);
    expect_cause(f, SIGKILL, 0);
    thrum_executor_destroy(pool);
    cr_expect_eq(gate->pid, -1);
}

Test(process_pool_death, a_task_that_always_crashes_takes_no_good_one_with_it)
{
    enum { N = 300 };
    static thrum_future_t *f[N];
    uint32_t *count = victim_memory(sizeof *count);
    thrum_executor_t *pool = pool_of(2);
    for (int i = 0; i < N; i++)
        f[i] = i % 10 == 0 ? submitted(pool, crashes, (void *)SIGKILL)
                           : submitted(pool, count_in, count);
    for (int i = 0; i < N; i++)
        EXPECT_CALL(i % 10 == 0 ? ECHILD : 0, status_of(f[i], NULL));
    cr_expect_eq(*count, (uint32_t)(N - N / 10), "each good one once");
    thrum_executor_destroy(pool);
}

Test(process_pool_death, what_a_dead_worker_had_not_begun_another_one_runs)
{
    enum { N = 100 };
    struct gate *gate = victim_memory(sizeof *gate);
    uint32_t *count = victim_memory(sizeof *count);
    thrum_future_t *f[N];
    thrum_executor_t *pool = pool_of(1);
    for (int i = 0; i < 2000; i++)
        EXPECT_CALL(0, thrum_executor_submit(pool, twice, NULL, NULL));
    thrum_future_t *held = submitted(pool, hold_at, gate);
    for (int i = 0; i < N; i++)
        f[i] = submitted(pool, count_in, count);
    await(&gate->inside, 1);
    kill(gate->pid, SIGKILL);
    expect_cause(held, SIGKILL, 0);
    for (int i = 0; i < N; i++)
        EXPECT_CALL(0, status_of(f[i], NULL));
    cr_expect_eq(*count, (uint32_t)N);
    thrum_executor_destroy(pool);
}

Test(process_pool_death, all_workers_killed_at_once)
{
    enum { N = 4 };
    struct gate *gates = victim_memory(N * sizeof *gates);
    thrum_future_t *f[N];
    thrum_executor_t *pool = pool_of(N);
    for (int round = 0; round < 3; round++) {
        memset(gates, 0, N * sizeof *gates);
        for (int i = 0; i < N; i++)
            f[i] = submitted(pool, hold_at, &gates[i]);
        for (int i = 0; i < N; i++)
            await(&gates[i].inside, 1);
        for (int i = 0; i < N; i++)
            kill(gates[i].pid, SIGKILL);
        for (int i = 0; i < N; i++)
            expect_cause(f[i], SIGKILL, 0);
        expect_works(pool);
    }
    thrum_executor_destroy(pool);
}

/* --- a walk through the points at which a worker can die ---------------------------------------------- */

enum { WALK_TASKS = 12, WALK_CALLS = 30, WALK_MOST = 400 };

struct walked {
    uint32_t armed;
    unsigned n;
    uint32_t ran[WALK_TASKS + WALK_CALLS];
    char note[THI_DEATH_NOTE];
};

/* The first worker only. */
static int arm(void *ctx)
{
    struct walked *w = ctx;
    if (thi_fetch_add_acq_rel(&w->armed, 1u) == 0)
        thi_death_arm(w->n, w->note);
    return 0;
}

static int big_reply(const void *in, size_t size, thrum_reply_t *reply)
{
    static unsigned char bytes[300000];
    (void)size;
    uint32_t *ran = NULL;
    memcpy(&ran, in, sizeof ran);
    thi_fetch_add_acq_rel(ran, 1u);
    memset(bytes, 9, sizeof bytes);
    return thrum_reply(reply, bytes, sizeof bytes);
}

static unsigned expect_right(struct walked *w, int i, int status)
{
    cr_expect(status == 0 || status == ECHILD, "task %d: %s", i, expect_name(status));
    cr_expect(status == 0 ? w->ran[i] == 1 : w->ran[i] <= 1, "task %d, %d, ran %u times (%s)", i,
              status, w->ran[i], w->note);
    return status == ECHILD;
}

static unsigned walk_tasks(thrum_executor_t *pool, struct walked *w)
{
    thrum_future_t *f[WALK_TASKS];
    unsigned lost = 0;
    for (int i = 0; i < WALK_TASKS; i++) {
        uint32_t *ran = &w->ran[i];
        if (i % 2 == 0)
            f[i] = submitted(pool, count_in, ran);
        else
            cr_assert_eq(thrum_executor_submit_bytes(pool, big_reply, &ran, sizeof ran, &f[i]), 0);
    }
    for (int i = 0; i < WALK_TASKS; i++) {
        const unsigned char *data = NULL;
        size_t size = 0;
        const int status = i % 2 == 0 ? thrum_future_result(f[i], NULL)
                                      : thrum_future_bytes(f[i], (const void **)&data, &size);
        if (i % 2 != 0 && status == 0)
            cr_expect(size == 300000 && data[0] == 9 && data[size - 1] == 9, "a reply is whole");
        lost += expect_right(w, i, status);
        thrum_future_release(f[i]);
    }
    return lost;
}

static unsigned walk_map(thrum_executor_t *pool, struct walked *w)
{
    void *args[WALK_CALLS];
    int status[WALK_CALLS];
    unsigned lost = 0;
    for (int i = 0; i < WALK_CALLS; i++)
        args[i] = &w->ran[WALK_TASKS + i];
    const int err =
        thrum_executor_map(pool, count_in, args, NULL, status, WALK_CALLS, 10, THRUM_FOREVER);
    for (int i = 0; i < WALK_CALLS; i++)
        lost += expect_right(w, WALK_TASKS + i, status[i]);
    cr_expect_eq(err, lost != 0 ? ECHILD : 0);
    return lost;
}

/* False: nothing died. */
static bool die_at(struct walked *w, unsigned n)
{
    memset(w, 0, sizeof *w);
    w->n = n;
    thrum_process_pool_config_t config = config_of(n % 2 + 1);
    config.init = arm;
    config.ctx = w;
    thrum_executor_t *pool = pool_with(&config);
    const unsigned lost = walk_tasks(pool, w) + walk_map(pool, w);
    cr_expect_leq(lost, 1u, "one death (%s), %u lost", w->note, lost);
    thrum_executor_destroy(pool);
    return w->note[0] != '\0';
}

Test(process_pool_death, at_each_point_nothing_is_lost_but_what_had_begun)
{
    struct walked *w = victim_memory(sizeof *w);
    unsigned alive = 0;
    unsigned points = 0;
    for (unsigned n = 1; n < WALK_MOST && alive < 4; n++) {
        const bool died = die_at(w, n);
        alive = died ? 0 : alive + 1; /* with two workers the first may have little to do */
        points += died;
    }
    cr_expect_gt(points, 30u, "%u points", points);
}

/* --- policies ----------------------------------------------------------------------------------------- */

static int crashes_at_first(void *arg, void **result)
{
    (void)result;
    if (thi_fetch_add_acq_rel((uint32_t *)arg, 1u) < 2)
        raise(SIGKILL);
    return 0;
}

Test(process_pool_death, a_crash_can_be_tried_again)
{
    uint32_t *count = victim_memory(2 * sizeof *count);
    thrum_process_pool_config_t config = config_of(2);
    config.on_crash = THRUM_CRASH_RETRY;
    config.retries = 2;
    thrum_executor_t *pool = pool_with(&config);
    EXPECT_CALL(0, status_of(submitted(pool, crashes_at_first, count), NULL));
    cr_expect_eq(*count, 3u);
    expect_cause(submitted(pool, crashes, (void *)SIGKILL), SIGKILL, 0);
    void *args[3] = {&count[1], &count[1], &count[1]};
    EXPECT_CALL(0,
                thrum_executor_map(pool, crashes_at_first, args, NULL, NULL, 3, 3, THRUM_FOREVER));
    cr_expect_eq(count[1], 5u);
    thrum_executor_destroy(pool);
}

Test(process_pool_death, a_crash_can_break_the_pool)
{
    enum { N = 20 };
    struct gate *gate = victim_memory(sizeof *gate);
    thrum_future_t *f[N];
    thrum_process_pool_config_t config = config_of(1);
    config.on_crash = THRUM_CRASH_BREAK;
    thrum_executor_t *pool = pool_with(&config);
    thrum_future_t *held = submitted(pool, hold_at, gate);
    for (int i = 0; i < N; i++)
        f[i] = submitted(pool, twice, NULL);
    await(&gate->inside, 1);
    kill(gate->pid, SIGKILL);
    expect_cause(held, SIGKILL, 0);
    for (int i = 0; i < N; i++)
        EXPECT_CALL(EPIPE, status_of(f[i], NULL));
    EXPECT_CALL(EPIPE, thrum_executor_submit(pool, twice, NULL, NULL));
    EXPECT_CALL(EPIPE, thrum_executor_map(pool, twice, NULL, NULL, NULL, 5, 1, THRUM_FOREVER));
    EXPECT_CALL(0, thrum_executor_shutdown(pool, THRUM_WAIT));
    thrum_executor_destroy(pool);
}

static int refuses(void *ctx)
{
    (void)ctx;
    return ENOMEM;
}

static int dies(void *ctx)
{
    (void)ctx;
    raise(SIGKILL);
    return 0;
}

static void expect_broken_by(int (*init)(void *))
{
    thrum_future_t *f = NULL;
    thrum_process_pool_config_t config = config_of(2);
    config.init = init;
    thrum_executor_t *pool = pool_with(&config);
    const int err = thrum_executor_submit(pool, twice, NULL, &f);
    cr_expect(err == 0 || err == EPIPE);
    if (err == 0)
        EXPECT_CALL(EPIPE, status_of(f, NULL));
    EXPECT_CALL(EPIPE, thrum_executor_submit(pool, twice, NULL, &f));
    thrum_executor_destroy(pool);
}

Test(process_pool_death, an_init_that_fails_or_kills_breaks_the_pool)
{
    expect_broken_by(refuses);
    expect_broken_by(dies);
}

/* --- the spawner -------------------------------------------------------------------------------------- */

Test(process_pool_death, a_spawner_that_is_killed_is_replaced)
{
    enum { N = 50 };
    struct gate *gate = victim_memory(sizeof *gate);
    void *spawner = NULL;
    thrum_executor_t *pool = pool_of(2);
    for (int round = 0; round < 4; round++) {
        thrum_future_t *f[N];
        memset(gate, 0, sizeof *gate);
        EXPECT_CALL(0, status_of(submitted(pool, my_parent, NULL), &spawner));
        thrum_future_t *held = submitted(pool, hold_at, gate);
        await(&gate->inside, 1);
        for (int i = 0; i < N; i++)
            f[i] = submitted(pool, twice, (void *)(uintptr_t)i);
        kill((pid_t)(intptr_t)spawner, SIGKILL);
        expect_cause(held, SIGKILL, 0);
        for (int i = 0; i < N; i++) {
            const int status = status_of(f[i], NULL);
            cr_expect(status == 0 || status == ECHILD);
        }
        await_gone(gate->pid);
        expect_works(pool);
    }
    thrum_executor_destroy(pool);
}
