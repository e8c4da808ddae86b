#include "task/work.h"

/* Map and byte tasks: what is the same for all executors. */
TestSuite(executor, .timeout = 60);

#define N 2000u

struct calls {
    thrum_executor_t *pool;
    void *args[N];
    void *results[N];
    int status[N];
    uint32_t counts[N];
    struct gate gate;
};

static struct calls calls;

static thrum_executor_t *calls_begin(size_t workers, thrum_policy_t policy)
{
    memset(&calls, 0, sizeof calls);
    for (size_t i = 0; i < N; i++) {
        calls.args[i] = &calls.counts[i];
        calls.status[i] = -1;
    }
    return calls.pool = pool_of(workers, policy);
}

static int count_call(void *arg, void **result)
{
    *result = arg;
    return add_one(arg, &(void *){NULL});
}

/* --- map ---------------------------------------------------------------------------------------------- */

Test(executor, map_calls_each_once_and_keeps_their_order)
{
    static const size_t chunks[] = {0, 1, 3, 1000, N, (size_t)1 << 61, N + 1};
    for (EACH_POLICY(policy)) {
        for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
            thrum_executor_t *pool = calls_begin(i % 2 == 0 ? 2 : 12, policy);
            EXPECT_CALL(0, thrum_executor_map(pool, count_call, calls.args, calls.results,
                                              calls.status, N, chunks[i], THRUM_FOREVER));
            thrum_executor_destroy(pool);
            for (size_t n = 0; n < N; n++) {
                cr_assert_eq(calls.counts[n], 1u);
                cr_assert_eq(calls.results[n], calls.args[n]);
                cr_assert_eq(calls.status[n], 0);
            }
        }
    }
}

static uint32_t nulls;

static int count_null(void *arg, void **result)
{
    if (arg == NULL && result != NULL && *result == NULL)
        thi_fetch_add_relaxed(&nulls, 1u);
    *result = &nulls;
    return 0;
}

Test(executor, map_needs_no_arrays)
{
    thrum_executor_t *pool = pool_of(2, THRUM_POLICY_STEALING);
    EXPECT_CALL(0, thrum_executor_map(pool, count_null, NULL, NULL, NULL, 100, 0, THRUM_FOREVER));
    cr_expect_eq(nulls, 100u);
    EXPECT_CALL(0, thrum_executor_map(pool, count_null, NULL, NULL, NULL, 0, 0, PAST));
    EXPECT_CALL(EINVAL, thrum_executor_map(NULL, count_null, NULL, NULL, NULL, 1, 0, PAST));
    EXPECT_CALL(EINVAL, thrum_executor_map(pool, NULL, NULL, NULL, NULL, 1, 0, PAST));
    cr_expect_eq(nulls, 100u);
    thrum_executor_destroy(pool);
}

static int fail_some(void *arg, void **result)
{
    const size_t i = (size_t)((uint32_t *)arg - calls.counts);
    (void)count_call(arg, result);
    return i == 1500 ? EIO : i == 700 ? EPROTO : i == 701 ? EPERM : 0;
}

Test(executor, map_tells_the_first_error_in_order)
{
    for (size_t chunk = 0; chunk < 5; chunk++) {
        thrum_executor_t *pool = calls_begin(2, THRUM_POLICY_STEALING);
        EXPECT_CALL(EPROTO, thrum_executor_map(pool, fail_some, calls.args, NULL, calls.status, N,
                                               chunk, THRUM_FOREVER));
        for (size_t i = 0; i < N; i++) {
            cr_assert_eq(calls.counts[i], 1u, "errors stop nothing");
            cr_assert_eq(calls.status[i], i == 1500  ? EIO
                                          : i == 700 ? EPROTO
                                          : i == 701 ? EPERM
                                                     : 0);
        }
        thrum_executor_destroy(pool);
    }
}

/* What did not run says so, and what says so did not run. */
static uint32_t expect_partial(void)
{
    uint32_t ran = 0;
    for (size_t i = 0; i < N; i++) {
        cr_assert_eq(calls.status[i], calls.counts[i] == 0 ? ECANCELED : 0);
        cr_assert_leq(calls.counts[i], 1u);
        ran += calls.counts[i];
    }
    return ran;
}

Test(executor, map_begins_nothing_after_its_deadline)
{
    for (int i = 0; i < 100; i++) {
        thrum_executor_t *pool = calls_begin(2, THRUM_POLICY_STEALING);
        EXPECT_CALL(ETIMEDOUT, thrum_executor_map(pool, count_call, calls.args, NULL, calls.status,
                                                  N, (size_t)i % 3, PAST));
        cr_expect_eq(expect_partial(), 0u);
        thrum_executor_destroy(pool);
    }
}

/* The first call waits until the caller cannot but have seen the deadline, or its cancellation. */
static int stop_first(void *arg, void **result)
{
    if (arg == &calls.counts[0])
        (void)hold_at(&calls.gate, result);
    return count_call(arg, result);
}

struct map {
    size_t chunk;
    thrum_time_t deadline;
};

static int map_with_stop(void *arg)
{
    const struct map *m = arg;
    return thrum_executor_map(calls.pool, stop_first, calls.args, NULL, calls.status, N, m->chunk,
                              m->deadline);
}

/* False: the deadline had passed before it began. */
static bool begins(const struct caller *c)
{
    while (thi_load_acquire(&calls.gate.inside) == 0 && !caller_done(c))
        sched_yield();
    return thi_load_acquire(&calls.gate.inside) != 0;
}

static void end_it(struct caller *c, const struct map *m, bool cancel)
{
    if (cancel)
        caller_cancel(c);
    while (!cancel && thrum_now() < m->deadline)
        sched_yield();
    while (thi_load_acquire(&calls.status[N - 1]) == -1)
        sched_yield(); /* until the rest has been given up */
    cr_expect_not(caller_done(c), "one is under way");
    thrum_event_set(&calls.gate.opened);
}

static bool end_in_the_middle(struct map *m, bool cancel)
{
    struct caller c;
    thrum_executor_t *pool = calls_begin(1, THRUM_POLICY_STEALING);
    m->deadline = cancel ? THRUM_FOREVER : thrum_after(THRUM_MS(20));
    caller_start(&c, map_with_stop, m);
    const bool begun = begins(&c);
    if (begun)
        end_it(&c, m, cancel);
    cr_expect_eq(caller_join(&c), cancel ? ECANCELED : ETIMEDOUT);
    cr_expect_eq(expect_partial(), begun ? 1u : 0u, "not even the rest of the chunk");
    thrum_executor_destroy(pool);
    return begun;
}

Test(executor, map_is_ended_by_a_deadline_or_a_cancellation)
{
    static struct map maps[] = {{0, 0}, {1, 0}, {100, 0}};
    for (int i = 0; i < 3; i++) {
        cr_expect(end_in_the_middle(&maps[i], true));
        while (!end_in_the_middle(&maps[i], false)) {
        }
    }
}

static int map_inside(void *arg, void **result)
{
    uint32_t count = 0;
    void *args[50];
    *result = arg;
    for (int i = 0; i < 50; i++)
        args[i] = &count;
    const int err = thrum_executor_map(calls.pool, add_one, args, NULL, NULL, 50, 0, THRUM_FOREVER);
    return err == 0 && count == 50 ? 0 : EPROTO;
}

Test(executor, maps_nest_with_one_worker)
{
    for (EACH_POLICY(policy)) {
        thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
        config.workers = 1;
        config.policy = policy;
        config.spare_workers = SIZE_MAX;
        memset(&calls, 0, sizeof calls);
        calls.pool = pool_as(&config);
        EXPECT_CALL(0, thrum_executor_map(calls.pool, map_inside, NULL, NULL, calls.status, 50, 1,
                                          THRUM_FOREVER));
        expect_result(submitted(calls.pool, map_inside, NULL), 0);
        thrum_executor_destroy(calls.pool);
    }
}

/* Where there is no room, map waits for some; a task does the work itself. */
Test(executor, map_goes_through_a_full_pool)
{
    for (int full = THRUM_FULL_WAIT; full <= THRUM_FULL_RUN; full++) {
        struct gate gate = GATE_INIT;
        struct caller c;
        struct map m = {1, THRUM_FOREVER};
        thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
        config.workers = 1;
        config.backlog = 1;
        config.full = (thrum_full_t)full;
        thrum_executor_destroy(calls_begin(1, THRUM_POLICY_STEALING));
        calls.pool = pool_as(&config);
        thrum_event_set(&calls.gate.opened);
        keep_busy(calls.pool, &gate);
        thrum_future_t *inside = submitted(calls.pool, map_inside, NULL);
        EXPECT_CALL(ETIMEDOUT,
                    thrum_executor_map(calls.pool, add_one, NULL, NULL, NULL, 1, 0, SOON));
        caller_start(&c, map_with_stop, &m);
        await_asleep(&c);
        thrum_event_set(&gate.opened);
        cr_expect_eq(caller_join(&c), 0);
        cr_expect_eq(expect_partial(), N);
        expect_result(inside, 0);
        thrum_executor_destroy(calls.pool);
    }
}

static void shut_down_in_the_middle(unsigned flags)
{
    struct caller c;
    struct map m = {1, THRUM_FOREVER};
    thrum_executor_t *pool = calls_begin(2, THRUM_POLICY_STEALING);
    caller_start(&c, map_with_stop, &m);
    await_word(&calls.gate.inside, 1);
    EXPECT_CALL(0, thrum_executor_shutdown(pool, flags));
    EXPECT_CALL(ESHUTDOWN,
                thrum_executor_map(pool, add_one, calls.args, NULL, NULL, 3, 0, THRUM_FOREVER));
    thrum_event_set(&calls.gate.opened);
    const int err = caller_join(&c);
    cr_expect_eq(err, expect_partial() == N ? 0 : ECANCELED);
    cr_expect(flags != 0 || err == 0, "what was accepted still runs");
    thrum_executor_destroy(pool);
}

Test(executor, map_survives_a_shutdown)
{
    for (int i = 0; i < 20; i++) {
        shut_down_in_the_middle(0);
        shut_down_in_the_middle(THRUM_CANCEL_PENDING);
    }
}

/* --- bytes --------------------------------------------------------------------------------------------- */

static int turn_round(const void *in, size_t size, thrum_reply_t *reply)
{
    const unsigned char *bytes = in;
    unsigned char out[256];
    for (size_t i = 0; i < size; i++)
        out[i] = bytes[size - 1 - i];
    if (thrum_reply(reply, out, size) != 0 || thrum_reply(NULL, out, 1) != EINVAL ||
        thrum_reply(reply, NULL, 1) != EINVAL)
        return EPROTO;
    return size == 5 ? EIO : 0;
}

static int reply_often(const void *in, size_t size, thrum_reply_t *reply)
{
    static const char text[] = "the last one counts";
    static char large[100000];
    (void)in, (void)size;
    return thrum_reply(reply, large, sizeof large) | thrum_reply(reply, NULL, 0) |
           thrum_reply(reply, "abc", 3) | thrum_reply(reply, text, sizeof text);
}

static thrum_future_t *bytes_submitted(thrum_bytes_fn fn, const void *in, size_t size)
{
    thrum_future_t *f = NULL;
    EXPECT_CALL(0, thrum_executor_submit_bytes(calls.pool, fn, in, size, &f));
    return f;
}

static void expect_bytes(thrum_future_t *f, int status, const void *bytes, size_t n)
{
    const void *data = &calls;
    size_t size = 99;
    EXPECT_CALL(status, thrum_future_bytes(f, &data, &size));
    cr_expect_eq(size, n);
    cr_expect((n == 0) == (data == NULL));
    cr_expect(n == 0 || memcmp(data, bytes, n) == 0);
    EXPECT_CALL(status, thrum_future_bytes(f, NULL, NULL));
    thrum_future_release(f);
}

Test(executor, bytes_go_in_and_come_out)
{
    char in[] = "abcd";
    thrum_executor_t *pool = calls.pool = pool_of(1, THRUM_POLICY_STEALING);
    thrum_future_t *f = bytes_submitted(turn_round, in, 4);
    in[0] = 'x'; /* it was copied */
    thrum_future_t *failed = bytes_submitted(turn_round, "12345", 5);
    thrum_future_t *empty = bytes_submitted(turn_round, NULL, 0);
    thrum_future_t *often = bytes_submitted(reply_often, NULL, 0);
    EXPECT_CALL(0, thrum_executor_submit_bytes(pool, turn_round, "abc", 3, NULL));
    EXPECT_CALL(EINVAL, thrum_executor_submit_bytes(NULL, turn_round, in, 4, NULL));
    EXPECT_CALL(EINVAL, thrum_executor_submit_bytes(pool, NULL, in, 4, NULL));
    EXPECT_CALL(EINVAL, thrum_executor_submit_bytes(pool, turn_round, NULL, 4, NULL));
    EXPECT_CALL(0, thrum_executor_shutdown(pool, THRUM_WAIT));
    EXPECT_CALL(ESHUTDOWN, thrum_executor_submit_bytes(pool, turn_round, in, 4, NULL));
    thrum_executor_destroy(pool); /* replies live as long as their futures */
    expect_bytes(f, 0, "dcba", 4);
    expect_bytes(failed, EIO, "54321", 5);
    expect_bytes(empty, 0, NULL, 0);
    expect_bytes(often, 0, "the last one counts", 20);
}

Test(executor, bytes_of_a_cancelled_task_are_none)
{
    struct gate gate = GATE_INIT;
    thrum_executor_t *pool = calls.pool = pool_of(1, THRUM_POLICY_STEALING);
    keep_busy(pool, &gate);
    thrum_future_t *f = bytes_submitted(turn_round, "abc", 3);
    cr_expect(thrum_future_cancel(f));
    expect_bytes(f, ECANCELED, NULL, 0);
    open_and_destroy(pool, &gate);
}
