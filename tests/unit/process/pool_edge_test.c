#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "process/pool.h"
#include "process/pools.h"

/* A process pool at its limits: rings that are full, replies that grow, answers that are false, ends that meet. */
TestSuite(process_pool_edge, .timeout = 60);

static thrum_executor_t *
sleepy_pool(void) /* one worker, which sleeps as soon as it has nothing to do */
{
    thrum_process_pool_config_t config = config_of(1);
    config.spin = -1;
    return pool_with(&config);
}

static void await_idle(thrum_executor_t *pool)
{
    await(&thi_ppool_of(pool)->hands[0].desk->asleep, 1);
}

/* --- rings -------------------------------------------------------------------------------------------- */

Test(process_pool_edge, tasks_of_a_cancelled_group_are_dropped_by_the_cancel_of_another)
{
    enum { N = 300 };
    struct gate *gate = victim_memory(sizeof *gate);
    thrum_group_t group;
    thrum_executor_t *pool = sleepy_pool();
    thrum_future_t *held = submitted(pool, hold_at, gate);
    await(&gate->inside, 1);
    thrum_future_t *f = submitted(pool, twice, NULL);
    EXPECT_CALL(0, thrum_group_init(&group, pool));
    for (int i = 0; i < N; i++)
        EXPECT_CALL(0, thrum_group_spawn(&group, twice, NULL));
    thrum_group_cancel(&group);
    cr_expect(thrum_future_cancel(f));
    thrum_future_release(f);
    while (stats_of(pool).queued >
           3) /* with the worker held: all but what it has been given is dropped */
        usleep(200);
    thi_store_release(&gate->open, 1u);
    EXPECT_CALL(ECANCELED, thrum_group_wait(&group));
    EXPECT_CALL(0, status_of(held, NULL));
    thrum_executor_destroy(pool);
}

/* The worker is stopped, so it passes none of them meanwhile. */
Test(process_pool_edge, requests_that_were_taken_back_leave_room_for_others)
{
    enum { N = 3 * THI_DESK_SLOTS };
    void *pid = NULL;
    thrum_executor_t *pool = sleepy_pool();
    for (int round = 0; round < 2; round++) {
        EXPECT_CALL(0, status_of(submitted(pool, my_pid, NULL), &pid));
        await_idle(pool);
        kill((pid_t)(intptr_t)pid, SIGSTOP);
        for (int i = 0; i < N; i++) {
            thrum_future_t *f = submitted(pool, twice, NULL);
            cr_assert(thrum_future_cancel(f));
            thrum_future_release(f);
        }
        thrum_future_t *f = submitted(pool, twice, (void *)4);
        kill((pid_t)(intptr_t)pid, SIGCONT);
        EXPECT_CALL(0, thrum_future_wait_until(f, thrum_after(THRUM_S(20))));
        thrum_future_release(f);
    }
    thrum_executor_destroy(pool);
}

/* --- replies ------------------------------------------------------------------------------------------ */

enum { LARGE = 65 << 20 }; /* more than is kept of what nobody uses */

static int large_reply(const void *in, size_t size, thrum_reply_t *reply)
{
    (void)in, (void)size;
    unsigned char *bytes = malloc(LARGE);
    if (bytes == NULL)
        return ENOMEM;
    memset(bytes, 7, LARGE);
    const int err = thrum_reply(reply, bytes, LARGE);
    free(bytes);
    return err;
}

static int releases(void *f)
{
    thrum_future_release(f);
    return 0;
}

Test(process_pool_edge, a_child_of_a_fork_that_releases_a_reply_leaves_the_parents_alone)
{
    const unsigned char *data = NULL;
    size_t size = 0;
    thrum_future_t *f = NULL;
    thrum_executor_t *pool = pool_of(1);
    EXPECT_CALL(0, thrum_executor_submit_bytes(pool, large_reply, NULL, 0, &f));
    EXPECT_CALL(0, thrum_future_bytes(f, (const void **)&data, &size));
    cr_expect_eq(victim_end(victim_start(releases, f)), 0);
    cr_assert_eq(size, (size_t)LARGE);
    cr_expect(data[0] == 7 && data[LARGE / 2] == 7 && data[LARGE - 1] == 7);
    thrum_future_release(f);
    thrum_executor_destroy(pool);
}

static int shuts_down_copy(void *arg)
{
    return thrum_executor_shutdown(arg, THRUM_CANCEL_PENDING);
}

static int sum_of(const void *in, size_t size, thrum_reply_t *reply)
{
    const unsigned char *bytes = in;
    uint64_t sum = 0;
    for (size_t i = 0; i < size; i += 4096)
        sum += bytes[i];
    return thrum_reply(reply, &sum, sizeof sum);
}

Test(process_pool_edge, a_child_of_a_fork_that_shuts_down_leaves_the_parents_inputs_alone)
{
    struct gate *gate = victim_memory(sizeof *gate);
    const uint64_t *sum = NULL;
    size_t size = 0;
    thrum_future_t *f = NULL;
    unsigned char *in = victim_memory(LARGE);
    memset(in, 1, LARGE);
    thrum_executor_t *pool = pool_of(1);
    thrum_future_t *held = submitted(pool, hold_at, gate);
    await(&gate->inside, 1);
    for (unsigned i = 0; i < thi_ppool_of(pool)->hands[0].window; i++) /* the next one is queued */
        EXPECT_CALL(0, thrum_executor_submit(pool, twice, NULL, NULL));
    EXPECT_CALL(0, thrum_executor_submit_bytes(pool, sum_of, in, LARGE, &f));
    cr_expect_eq(victim_end(victim_start(shuts_down_copy, pool)), 0);
    thi_store_release(&gate->open, 1u);
    EXPECT_CALL(0, thrum_future_bytes(f, (const void **)&sum, &size));
    cr_expect_eq(*sum, (uint64_t)LARGE / 4096);
    thrum_future_release(f);
    EXPECT_CALL(0, status_of(held, NULL));
    thrum_executor_destroy(pool);
}

struct locker {
    thrum_executor_t *pool;
    thrum_future_t *last;
    thi_lock_t *lock;
    uint32_t locked;
    uint32_t done;
};

static void *locks(void *arg)
{
    struct locker *l = arg;
    thi_lock(l->lock, THI_RANK_OFFICE);
    thi_store_release(&l->locked, 1u);
    await(&l->done, 1);
    thi_unlock(l->lock, THI_RANK_OFFICE);
    return NULL;
}

static int shuts_down_and_finds_it_cancelled(void *arg)
{
    struct locker *l = arg;
    if (thrum_executor_shutdown(l->pool, THRUM_CANCEL_PENDING) != 0)
        return 1;
    return thrum_future_cancelled(l->last) ? 0 : 2;
}

Test(process_pool_edge, a_child_of_a_fork_cancels_what_is_queued_whoever_had_the_lock)
{
    enum { N = 50 };
    pthread_t thread;
    struct gate *gate = victim_memory(sizeof *gate);
    struct locker l = {.pool = pool_of(1)};
    thrum_future_t *held = submitted(l.pool, hold_at, gate);
    await(&gate->inside, 1);
    for (int i = 0; i < N; i++)
        EXPECT_CALL(0, thrum_executor_submit(l.pool, twice, NULL, NULL));
    l.last = submitted(l.pool, twice, NULL);
    l.lock = &thi_ppool_of(l.pool)->lock;
    cr_assert_eq(pthread_create(&thread, NULL, locks, &l), 0);
    await(&l.locked, 1);
    EXPECT_CALL(0, victim_end(victim_start(shuts_down_and_finds_it_cancelled, &l)));
    thi_store_release(&l.done, 1u);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    thi_store_release(&gate->open, 1u);
    EXPECT_CALL(0, status_of(held, NULL));
    EXPECT_CALL(0, status_of(l.last, NULL));
    thrum_executor_destroy(l.pool);
}

static int grows(const void *in, size_t size, thrum_reply_t *reply)
{
    int err = 0;
    (void)in, (void)size;
    unsigned char *bytes = calloc(1, LARGE);
    for (size_t n = 256; err == 0 && bytes != NULL && n <= LARGE; n *= 2)
        err = thrum_reply(reply, bytes, n);
    free(bytes);
    return err;
}

Test(process_pool_edge, a_reply_can_grow_by_doubling)
{
    const void *data = NULL;
    size_t size = 0;
    thrum_future_t *f = NULL;
    thrum_executor_t *pool = pool_of(1);
    EXPECT_CALL(0, thrum_executor_submit_bytes(pool, grows, NULL, 0, &f));
    EXPECT_CALL(0, thrum_future_bytes(f, &data, &size));
    cr_expect_eq(size, (size_t)64 << 20);
    thrum_future_release(f);
    thrum_executor_destroy(pool);
}

/* --- answers ------------------------------------------------------------------------------------------ */

struct liar {
    struct gate gate;
    thi_ppool_t *pool;
};

/* Says that the task behind it has ended. */
static int lies(void *arg, void **result)
{
    struct liar *liar = arg;
    (void)hold_at(&liar->gate, result);
    thi_desk_t *desk = liar->pool->hands[0].desk;
    desk->answers[0] = (thi_answer_t){.seq = 1, .value = 77};
    thi_store_release(&desk->news, desk->news + 1);
    thi_hall_tell(liar->pool->hall, liar->pool->signal);
    for (;;)
        pause();
    return 0;
}

Test(process_pool_edge, an_answer_to_what_has_not_ended_is_not_believed)
{
    void *value = NULL;
    struct liar *liar = victim_memory(sizeof *liar);
    thrum_executor_t *pool = sleepy_pool();
    liar->pool = thi_ppool_of(pool);
    thrum_future_t *held = submitted(pool, lies, liar);
    await(&liar->gate.inside, 1);
    thrum_future_t *f = submitted(pool, twice, (void *)4);
    thi_store_release(&liar->gate.open, 1u);
    EXPECT_CALL(ECHILD, status_of(held, NULL));
    EXPECT_CALL(0, status_of(f, &value));
    cr_expect_eq(value, (void *)8);
    thrum_executor_destroy(pool);
}

/* --- ends that meet ----------------------------------------------------------------------------------- */

static void count_call(thrum_future_t *f, void *arg)
{
    (void)f;
    thi_fetch_add_acq_rel((uint32_t *)arg, 1u);
}

Test(process_pool_edge, a_pool_has_not_ended_before_callbacks_are_with_the_thread_that_calls_them)
{
    uint32_t called = 0;
    struct gate *gate = victim_memory(sizeof *gate);
    thrum_executor_t *ex = pool_of(1);
    thi_ppool_t *pool = thi_ppool_of(ex);
    thrum_future_t *f = submitted(ex, hold_at, gate);
    EXPECT_CALL(0, thrum_future_add_done_callback(f, count_call, &called));
    thi_lock(&pool->later_lock,
             THI_RANK_OFFICE); /* whoever ends it comes no further than to the callbacks */
    thi_store_release(&gate->open, 1u);
    while (!thrum_future_done(f))
        usleep(200);
    cr_expect_eq(thi_load_acquire(&pool->ending), 1u);
    thi_unlock(&pool->later_lock, THI_RANK_OFFICE);
    thrum_executor_destroy(ex);
    while (thi_load_acquire(&called) == 0)
        usleep(200);
    thrum_future_release(f);
}

static void shuts_down(thrum_future_t *f, void *arg)
{
    (void)f;
    if (thrum_executor_shutdown(arg, THRUM_WAIT) != 0)
        abort();
}

Test(process_pool_edge, a_callback_of_cancelled_tasks_may_wait_for_the_end)
{
    enum { N = 100 };
    thrum_future_t *f[N];
    struct gate *gate = victim_memory(sizeof *gate);
    thrum_executor_t *pool = pool_of(1);
    thrum_future_t *held = submitted(pool, hold_at, gate);
    await(&gate->inside, 1);
    for (int i = 0; i < N; i++)
        f[i] = submitted(pool, twice, NULL);
    thi_store_release(&gate->open, 1u);
    EXPECT_CALL(0, thrum_future_add_done_callback(f[N - 1], shuts_down, pool));
    (void)thrum_future_cancel(f[N - 1]);
    thrum_executor_destroy(pool);
    for (int i = 0; i < N; i++)
        (void)status_of(f[i], NULL);
    EXPECT_CALL(0, status_of(held, NULL));
}

struct closer {
    thrum_executor_t *pool;
    struct gate *gate;
};

static void opens_and_shuts_down(thrum_future_t *f, void *arg)
{
    struct closer *closer = arg;
    thi_store_release(&closer->gate->open, 1u);
    shuts_down(f, closer->pool);
}

/* More than fit into a batch: the first ones' callbacks wait while others are yet to be cancelled. */
Test(process_pool_edge, a_shutdown_that_cancels_ends_though_a_callback_waits_for_the_end)
{
    enum { N = 200 };
    thrum_future_t *f[N];
    uint32_t called = 0;
    struct gate *gate = victim_memory(sizeof *gate);
    struct closer closer = {.pool = pool_of(1), .gate = gate};
    thrum_future_t *held = submitted(closer.pool, hold_at, gate);
    await(&gate->inside, 1);
    for (int i = 0; i < N; i++) {
        f[i] = submitted(closer.pool, twice, NULL);
        EXPECT_CALL(0, thrum_future_add_done_callback(f[i], count_call, &called));
    }
    EXPECT_CALL(0, thrum_future_add_done_callback(f[0], opens_and_shuts_down, &closer));
    EXPECT_CALL(0, thrum_executor_shutdown(closer.pool, THRUM_CANCEL_PENDING));
    EXPECT_CALL(0, status_of(held, NULL));
    thrum_executor_destroy(closer.pool);
    cr_expect_eq(called, (uint32_t)N);
    for (int i = 0; i < N; i++)
        EXPECT_CALL(ECANCELED, status_of(f[i], NULL));
}

struct mapper {
    thrum_executor_t *pool;
    thrum_fn fn;
    void *args[10];
    int status[10];
    size_t chunk;
    int result;
};

static void *maps(void *arg)
{
    struct mapper *m = arg;
    m->result =
        thrum_executor_map(m->pool, m->fn, m->args, NULL, m->status, 10, m->chunk, THRUM_FOREVER);
    return NULL;
}

/* The map is kept from its first block; what it needs after that comes when the pool is closing. */
Test(process_pool_edge, a_map_that_was_let_in_is_done_whatever_shuts_down)
{
    pthread_t holder;
    pthread_t thread;
    struct mapper m = {.pool = pool_of(2), .fn = twice, .chunk = 1};
    thi_ppool_t *pool = thi_ppool_of(m.pool);
    EXPECT_CALL(0, status_of(submitted(m.pool, twice, NULL), NULL));
    struct locker l = {.pool = m.pool, .lock = &pool->blocks.lock};
    cr_assert_eq(pthread_create(&holder, NULL, locks, &l), 0);
    await(&l.locked, 1);
    cr_assert_eq(pthread_create(&thread, NULL, maps, &m), 0);
    while (thi_load_acquire(&pool->ending) == 0)
        usleep(200);
    EXPECT_CALL(0, thrum_executor_shutdown(m.pool, 0));
    EXPECT_CALL(ETIMEDOUT,
                thrum_executor_shutdown_until(m.pool, THRUM_WAIT, thrum_after(THRUM_MS(20))));
    thi_store_release(&l.done, 1u);
    cr_assert_eq(pthread_join(holder, NULL), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    EXPECT_CALL(0, m.result);
    thrum_executor_destroy(m.pool);
}

static int first_holds(void *arg, void **result)
{
    struct gate *gate = arg;
    if (gate->pid == 0)
        return hold_at(gate, result);
    thi_fetch_add_acq_rel(&gate->open, 1u); /* one more that ran */
    return 0;
}

Test(process_pool_edge, a_shutdown_that_cancels_and_kills_ends_a_map)
{
    pthread_t thread;
    struct gate *gate = victim_memory(sizeof *gate);
    struct mapper m = {.pool = pool_of(1), .fn = first_holds, .chunk = 10};
    for (int i = 0; i < 10; i++)
        m.args[i] = gate;
    cr_assert_eq(pthread_create(&thread, NULL, maps, &m), 0);
    await(&gate->inside, 1);
    EXPECT_CALL(
        0, thrum_executor_shutdown(m.pool, THRUM_WAIT | THRUM_CANCEL_PENDING | THRUM_KILL_RUNNING));
    cr_assert_eq(pthread_join(thread, NULL), 0);
    for (int i = 0; i < 10; i++)
        EXPECT_CALL(i == 0 ? ECHILD : ECANCELED, m.status[i]);
    cr_expect_eq(gate->open, 0u);
    thrum_executor_destroy(m.pool);
}

static int hangs_in_init(void *ctx)
{
    (void)hold_at(ctx, NULL);
    return 0;
}

static void hangs_in_fini(void *ctx)
{
    (void)hold_at(ctx, NULL);
}

Test(process_pool_edge, a_shutdown_that_kills_reaches_workers_that_hang_without_a_task)
{
    for (int i = 0; i < 2; i++) {
        struct gate *gate = victim_memory(sizeof *gate);
        thrum_process_pool_config_t config = config_of(i == 0 ? 2 : 1);
        config.ctx = gate;
        if (i == 0)
            config.init = hangs_in_init;
        else
            config.fini = hangs_in_fini;
        thrum_executor_t *pool = pool_with(&config);
        if (i == 1) {
            EXPECT_CALL(0, status_of(submitted(pool, twice, NULL), NULL));
            EXPECT_CALL(0, thrum_executor_shutdown(pool, 0));
        }
        await(&gate->inside, 1);
        EXPECT_CALL(0, thrum_executor_shutdown(pool, THRUM_WAIT | THRUM_KILL_RUNNING));
        thrum_executor_destroy(pool);
    }
}

Test(process_pool_edge, the_longest_times_are_no_short_ones)
{
    struct gate *gate = victim_memory(sizeof *gate);
    thrum_process_pool_config_t config = config_of(1);
    config.task_timeout = INT64_MAX;
    config.spin = INT64_MAX;
    thrum_executor_t *pool = pool_with(&config);
    thrum_future_t *f = submitted(pool, hold_at, gate);
    await(&gate->inside, 1);
    cr_expect_gt(thi_hands_check_time(thi_ppool_of(pool)), thi_clock());
    thi_store_release(&gate->open, 1u);
    EXPECT_CALL(0, status_of(f, NULL));
    thrum_executor_destroy(pool);
}

/* --- the spawner -------------------------------------------------------------------------------------- */

static bool is_open_here(const char *what)
{
    for (int fd = 0; fd < 200; fd++) {
        char path[64];
        char to[64] = "";
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        if (readlink(path, to, sizeof to - 1) > 0 && strcmp(to, what) == 0)
            return true;
    }
    return false;
}

/* Its end of the channel, held here as by a process that was forked at the wrong moment. -1: not allowed. */
static int copy_of_channel(const thi_ppool_t *pool)
{
    const int pidfd = pool->family.pidfd;
    for (int fd = 0; fd < 200; fd++) {
        char path[64];
        char to[64] = "";
        snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)pool->family.pid, fd);
        if (readlink(path, to, sizeof to - 1) > 0 && strncmp(to, "socket:", 7) == 0 &&
            !is_open_here(to))
            return (int)syscall(438 /* pidfd_getfd */, pidfd, fd, 0);
    }
    return -1;
}

Test(process_pool_edge, the_end_of_a_spawner_is_seen_whoever_holds_its_channel)
{
    struct gate *gate = victim_memory(sizeof *gate);
    thrum_executor_t *pool = pool_of(1);
    thrum_future_t *f = submitted(pool, hold_at, gate);
    await(&gate->inside, 1);
    const int copy = copy_of_channel(thi_ppool_of(pool));
    if (copy >= 0) {
        kill(thi_ppool_of(pool)->family.pid, SIGKILL);
        EXPECT_CALL(ECHILD, status_of(f, NULL));
        EXPECT_CALL(0, status_of(submitted(pool, twice, NULL), NULL));
        close(copy);
    } else {
        thi_store_release(&gate->open, 1u);
        EXPECT_CALL(0, status_of(f, NULL));
    }
    thrum_executor_destroy(pool);
}

/* The service thread has looked at its signal: nothing holds it up. */
static void await_service(thi_ppool_t *pool)
{
    struct pollfd one = {.fd = pool->signal, .events = POLLIN};
    thi_ppool_kick(pool);
    while (poll(&one, 1, 0) > 0)
        usleep(200);
}

Test(process_pool_edge, a_spawner_that_does_not_listen_holds_nobody_up)
{
    thrum_executor_t *pool = pool_of(400); /* more messages than a channel takes */
    kill(thi_ppool_of(pool)->family.pid, SIGSTOP);
    for (int i = 0; i < 3; i++)
        await_service(thi_ppool_of(pool));
    EXPECT_CALL(0, thrum_executor_shutdown(pool, 0)); /* so that few of them come at all */
    await_service(thi_ppool_of(pool));
    kill(thi_ppool_of(pool)->family.pid, SIGCONT);
    thrum_executor_destroy(pool);
}

enum { FIRST_LOT = 8 };

static int first_lot_hangs(void *ctx)
{
    struct gate *gate = ctx;
    if (thi_fetch_add_acq_rel(&gate->inside, 1u) < FIRST_LOT)
        for (;;)
            pause();
    return 0;
}

Test(process_pool_edge, workers_that_go_with_the_spawner_did_not_die_of_their_init)
{
    struct gate *gate = victim_memory(sizeof *gate);
    thrum_process_pool_config_t config = config_of(FIRST_LOT);
    config.init = first_lot_hangs;
    config.ctx = gate;
    thrum_executor_t *pool = pool_with(&config);
    await(&gate->inside, FIRST_LOT);
    kill(thi_ppool_of(pool)->family.pid, SIGKILL);
    EXPECT_CALL(0, status_of(submitted(pool, twice, NULL), NULL));
    thrum_executor_destroy(pool);
}

static int gathers_orphans(void *arg)
{
    struct gate *gate = arg;
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    thrum_executor_t *pool = pool_of(2);
    thrum_future_t *f[2] = {submitted(pool, hold_at, gate), submitted(pool, hold_at, gate)};
    await(&gate->inside, 2);
    kill(thi_ppool_of(pool)->family.pid, SIGKILL);
    if (status_of(f[0], NULL) != ECHILD || status_of(f[1], NULL) != ECHILD)
        return 4;
    if (status_of(submitted(pool, twice, NULL), NULL) != 0)
        return 1;
    if (waitpid(-1, NULL, WNOHANG) != 0) /* the new spawner, which lives */
        return 2;
    thrum_executor_destroy(pool);
    return waitpid(-1, NULL, WNOHANG) == -1 ? 0 : 3;
}

Test(process_pool_edge, a_host_that_gathers_orphans_is_left_no_dead_workers)
{
    struct gate *gate = victim_memory(sizeof *gate);
    cr_expect_eq(victim_end(victim_start(gathers_orphans, gate)), 0);
}
