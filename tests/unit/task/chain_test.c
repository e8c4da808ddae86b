#include "task/work.h"

/* Chains of steps: of any length, on any stack. */
TestSuite(chain, .timeout = 60);

#define LONG 300000u

static int step(thrum_future_t *done, void *arg, void **result)
{
    (void)done, (void)result;
    (*(uint32_t *)arg)++;
    return 0;
}

/* The last of `n` steps. */
static thrum_future_t *chain_from(thrum_future_t *f, thrum_executor_t *ex, uint32_t *ran,
                                  uint32_t n)
{
    thrum_future_t *last = thrum_future_retain(f), *next = NULL;
    for (uint32_t i = 0; i < n; i++) {
        cr_assert_eq(thrum_future_then(last, ex, step, ran, &next), 0);
        thrum_future_release(last);
        last = next;
    }
    return last;
}

Test(chain, in_the_strand_that_ends_the_first)
{
    uint32_t ran = 0;
    thrum_future_t *f = promised();
    thrum_future_t *last = chain_from(f, NULL, &ran, LONG);
    EXPECT_CALL(0, thrum_future_complete(f, NULL));
    cr_expect(thrum_future_done(last));
    cr_expect_eq(ran, LONG);
    expect_result(last, 0);
    thrum_future_release(f);
}

Test(chain, after_a_cancel_and_after_a_promise_not_kept)
{
    for (int kept = 0; kept < 2; kept++) {
        uint32_t ran = 0;
        thrum_future_t *f = promised();
        thrum_future_t *last = chain_from(f, NULL, &ran, LONG);
        if (kept != 0)
            cr_expect(thrum_future_cancel(f));
        thrum_future_release(f);
        cr_expect_eq(ran, LONG - (kept == 0));
        expect_result(last, 0);
    }
}

Test(chain, refused_by_an_executor)
{
    uint32_t ran = 0;
    thrum_executor_t *pool = pool_of(1, THRUM_POLICY_STEALING);
    thrum_future_t *f = promised();
    thrum_future_t *last = chain_from(f, pool, &ran, LONG);
    EXPECT_CALL(0, thrum_executor_shutdown(pool, THRUM_WAIT));
    EXPECT_CALL(0, thrum_future_complete(f, NULL));
    expect_result(last, ESHUTDOWN);
    thrum_future_release(f);
    thrum_executor_destroy(pool);
    cr_expect_eq(ran, 0u);
}

/* The backlog is full: each runs in who ends the one before. */
Test(chain, run_by_who_submits)
{
    uint32_t ran = 0, once = 0;
    struct gate gate = GATE_INIT;
    thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
    config.workers = 1;
    config.backlog = 1;
    config.full = THRUM_FULL_RUN;
    thrum_executor_t *pool = pool_as(&config);
    keep_busy(pool, &gate);
    EXPECT_CALL(0, thrum_executor_submit(pool, add_one, &once, NULL));
    thrum_future_t *f = promised();
    thrum_future_t *last = chain_from(f, pool, &ran, LONG);
    EXPECT_CALL(0, thrum_future_complete(f, NULL));
    cr_expect_eq(ran, LONG);
    expect_result(last, 0);
    thrum_future_release(f);
    open_and_destroy(pool, &gate);
    cr_expect_eq(once, 1u);
}

/* Each is cancelled while it is queued, which queues the next. */
Test(chain, cancelled_one_after_the_other)
{
    static thrum_future_t *fs[LONG + 1];
    uint32_t ran = 0;
    struct gate gate = GATE_INIT;
    thrum_executor_t *pool = pool_of(1, THRUM_POLICY_STEALING);
    keep_busy(pool, &gate);
    fs[0] = promised();
    for (uint32_t i = 0; i < LONG; i++)
        cr_assert_eq(thrum_future_then(fs[i], pool, step, &ran, &fs[i + 1]), 0);
    EXPECT_CALL(0, thrum_future_complete(fs[0], NULL));
    for (uint32_t i = 1; i <= LONG; i++)
        cr_assert(thrum_future_cancel(fs[i]));
    for (uint32_t i = 0; i <= LONG; i++)
        thrum_future_release(fs[i]);
    open_and_destroy(pool, &gate);
    cr_expect_eq(ran, 0u);
}

/* --- the order ------------------------------------------------------------------------------------------ */

struct log {
    char text[32];
    thrum_future_t *other;
};

static void note(struct log *l, const char *what)
{
    strcat(l->text, what);
}

static void says_b(thrum_future_t *f, void *arg)
{
    (void)f;
    note(arg, "b");
}

static void says_d(thrum_future_t *f, void *arg)
{
    (void)f;
    note(arg, "d");
}

/* What a callback itself ends has called back when that call returns. */
static void ends_another(thrum_future_t *f, void *arg)
{
    struct log *l = arg;
    (void)f;
    note(l, "c");
    EXPECT_CALL(0, thrum_future_complete(l->other, NULL));
    note(l, "e");
}

static int says_a(thrum_future_t *done, void *arg, void **result)
{
    (void)done, (void)result;
    note(arg, "a");
    return 0;
}

static int step_ends_another(thrum_future_t *done, void *arg, void **result)
{
    (void)result;
    ends_another(done, arg);
    return 0;
}

Test(chain, a_step_s_callbacks_come_before_the_next_callback)
{
    struct log l = {"", promised()};
    thrum_future_t *f = promised(), *next = NULL, *after = NULL;
    EXPECT_CALL(0, thrum_future_then(f, NULL, says_a, &l, &next));
    EXPECT_CALL(0, thrum_future_add_done_callback(f, ends_another, &l));
    EXPECT_CALL(0, thrum_future_add_done_callback(next, says_b, &l));
    EXPECT_CALL(0, thrum_future_then(next, NULL, says_a, &l, &after));
    EXPECT_CALL(0, thrum_future_add_done_callback(after, says_b, &l));
    EXPECT_CALL(0, thrum_future_add_done_callback(l.other, says_d, &l));
    EXPECT_CALL(0, thrum_future_complete(f, NULL));
    cr_expect_str_eq(l.text, "ababcde");
    thrum_future_release(after);
    thrum_future_release(next);
    thrum_future_release(f);
    thrum_future_release(l.other);
}

Test(chain, what_a_step_itself_ends_has_called_back_when_that_returns)
{
    struct log l = {"", promised()};
    thrum_future_t *f = promised(), *next = NULL;
    EXPECT_CALL(0, thrum_future_then(f, NULL, step_ends_another, &l, &next));
    EXPECT_CALL(0, thrum_future_add_done_callback(l.other, says_d, &l));
    EXPECT_CALL(0, thrum_future_add_done_callback(next, says_b, &l));
    EXPECT_CALL(0, thrum_future_complete(f, NULL));
    cr_expect_str_eq(l.text, "cdeb");
    thrum_future_release(next);
    thrum_future_release(f);
    thrum_future_release(l.other);
}
