#include "coroutine/core.h"
#include "coroutine/loops.h"

TestSuite(coro_join, .timeout = 30);

static int value;

static int sleep_and_give(void *arg, void **result)
{
    (void)arg;
    const int err = thrum_sleep(THRUM_MS(1));
    *result = &value;
    return err != 0 ? err : EDOM;
}

static int join_several_times(void *arg, void **result)
{
    thrum_coro_t *co = spawned(sleep_and_give, NULL);
    void *got = NULL;
    (void)arg, (void)result;
    EXPECT_CALL(EAGAIN, thrum_coro_tryjoin(co, &got));
    EXPECT_CALL(ETIMEDOUT, thrum_coro_join_until(co, &got, PAST));
    cr_expect_null(got, "nothing was given");
    EXPECT_CALL(EDOM, thrum_coro_join(co, &got));
    cr_expect_eq(got, &value);
    got = NULL;
    EXPECT_CALL(EDOM, thrum_coro_tryjoin(co, &got));
    cr_expect_eq(got, &value);
    EXPECT_CALL(EDOM, thrum_coro_join_until(co, NULL, PAST));
    EXPECT_CALL(EDOM, thrum_coro_result(co, NULL));
    thrum_coro_release(co);
    return 0;
}

Test(coro_join, any_number_of_times)
{
    cr_expect_eq(in_loop(join_several_times, NULL), 0);
}

static int join_myself(void *arg, void **result)
{
    thrum_coro_t *self = thrum_coro_current();
    (void)arg, (void)result;
    EXPECT_CALL(EDEADLK, thrum_coro_join(self, NULL));
    EXPECT_CALL(EDEADLK, thrum_coro_tryjoin(self, NULL));
    EXPECT_CALL(EDEADLK, thrum_coro_join_until(self, NULL, PAST));
    EXPECT_CALL(EDEADLK, thrum_coro_join_all(&self, 1, PAST));
    return 0;
}

Test(coro_join, oneself_never_ends)
{
    cr_expect_eq(in_loop(join_myself, NULL), 0);
}

/* --- deadlines and cancellation ---------------------------------------------------------------------- */

static int join_it(void *arg, void **result)
{
    return thrum_coro_join(arg, result);
}

static int join_in_vain(void *arg, void **result)
{
    thrum_coro_t *sleeper = spawned(wait_for_ever, NULL);
    thrum_coro_t *joiner = spawned(join_it, sleeper);
    const thrum_time_t deadline = SOON;
    (void)arg, (void)result;
    EXPECT_CALL(ETIMEDOUT, thrum_coro_join_until(sleeper, NULL, deadline));
    cr_expect_geq(thrum_now(), deadline);
    EXPECT_CALL(ETIMEDOUT, thrum_coro_join_all(&sleeper, 1, SOON));
    EXPECT_CALL(0, thrum_coro_cancel(joiner));
    EXPECT_CALL(ECANCELED, thrum_coro_join(joiner, NULL));
    cr_expect_not(thrum_coro_done(sleeper));
    EXPECT_CALL(0, thrum_coro_cancel(sleeper));
    EXPECT_CALL(ECANCELED, thrum_coro_join(sleeper, NULL));
    thrum_coro_release(joiner);
    thrum_coro_release(sleeper);
    return 0;
}

Test(coro_join, it_ends_with_a_deadline_or_cancellation)
{
    cr_expect_eq(in_loop(join_in_vain, NULL), 0);
}

/* --- several ----------------------------------------------------------------------------------------- */

struct part {
    int64_t sleep;
    int status;
};

static int do_part(void *arg, void **result)
{
    const struct part *p = arg;
    (void)result;
    const int err = p->sleep < 0 ? wait_for_ever(NULL, NULL) : thrum_sleep(p->sleep);
    return err != 0 ? err : p->status;
}

static int join_all(void *arg, void **result)
{
    static struct part parts[] = {{300000, 0}, {100000, EDOM}, {0, ERANGE}, {200000, 0}};
    static struct part never = {-1, 0};
    thrum_coro_t *cos[5] = {NULL};
    (void)arg, (void)result;
    for (int i = 0; i < 4; i++)
        cos[i] = spawned(do_part, &parts[i]);
    EXPECT_CALL(EDOM, thrum_coro_join_all(cos, 4, THRUM_FOREVER));
    EXPECT_CALL(EDOM, thrum_coro_join_all(cos, 4, PAST));
    EXPECT_CALL(0, thrum_coro_join_all(cos, 1, PAST));
    EXPECT_CALL(EINVAL, thrum_coro_join_all(cos, 5, PAST));
    cos[4] = spawned(do_part, &never);
    EXPECT_CALL(ETIMEDOUT, thrum_coro_join_all(cos, 5, SOON));
    EXPECT_CALL(0, thrum_coro_cancel(cos[4]));
    for (int i = 0; i < 5; i++)
        thrum_coro_release(cos[i]);
    return 0;
}

Test(coro_join, all_gives_the_first_error_in_order)
{
    cr_expect_eq(in_loop(join_all, NULL), 0);
}

/* --- other threads ----------------------------------------------------------------------------------- */

struct joined {
    thrum_coro_t *co;
    thrum_event_t gate;
};

static int join_from_thread(void *arg)
{
    struct joined *j = arg;
    void *got = NULL;
    const int err = thrum_coro_join(j->co, &got);
    return err == EDOM && got == &value ? 0 : EPROTO;
}

static int pass_gate(void *arg, void **result)
{
    struct joined *j = arg;
    *result = &value;
    const int err = thrum_event_wait(&j->gate);
    return err != 0 ? err : EDOM;
}

static int joined_from_threads(void *arg, void **result)
{
    enum { JOINERS = 3 };
    struct joined j = {spawned(pass_gate, &j), THRUM_EVENT_INIT};
    struct caller c[JOINERS];
    thrum_coro_t *joiners[JOINERS];
    (void)arg, (void)result;
    for (int i = 0; i < JOINERS; i++) {
        caller_start(&c[i], join_from_thread, &j);
        joiners[i] = spawned(join_it, j.co);
    }
    while (thi_park_count(&j.co->ended) != 2 * JOINERS)
        thrum_yield();
    thrum_event_set(&j.gate);
    for (int i = 0; i < JOINERS; i++) {
        cr_expect_eq(thrum_coro_join(joiners[i], NULL), EDOM);
        thrum_coro_release(joiners[i]);
    }
    for (int i = 0; i < JOINERS; i++)
        cr_expect_eq(caller_join(&c[i]), 0);
    thrum_coro_release(j.co);
    return 0;
}

Test(coro_join, other_threads_and_coroutines_at_once)
{
    for (int i = 0; i < 20; i++)
        cr_expect_eq(in_loop(joined_from_threads, NULL), 0);
}

/* The last handle is given back by a thread, just as it ends. */
static int join_and_release(void *arg)
{
    const int err = thrum_coro_join(arg, NULL);
    thrum_coro_release(arg);
    return err;
}

static int end_soon(void *arg, void **result)
{
    (void)arg, (void)result;
    thrum_yield();
    return 0;
}

static int yield_for_a_while(void *arg, void **result)
{
    (void)arg, (void)result;
    return thrum_sleep(THRUM_MS(1));
}

static int join_and_release_many(void *arg)
{
    thrum_loop_t *loop = arg;
    int err = 0;
    for (int i = 0; i < 500 && err == 0; i++) {
        thrum_coro_t *co = NULL;
        err = thrum_loop_go(loop, &co, i % 50 == 0 ? yield_for_a_while : end_soon, NULL, NULL);
        if (err == 0)
            err = thrum_coro_join(co, NULL);
        thrum_coro_release(co);
    }
    thrum_loop_stop(loop);
    return err;
}

Test(coro_join, a_thread_may_spawn_join_and_release_again_and_again)
{
    struct caller c;
    thrum_loop_t *loop = NULL;
    EXPECT_CALL(0, thrum_loop_create(&loop, NULL));
    EXPECT_CALL(0, thrum_loop_go(loop, NULL, wait_for_ever, NULL, NULL));
    caller_start(&c, join_and_release_many, loop);
    EXPECT_CALL(ECANCELED, thrum_loop_run(loop));
    cr_expect_eq(caller_join(&c), 0);
    thrum_loop_destroy(loop);
}

static int join_blocking(void *arg, void **result)
{
    (void)result;
    return join_and_release(arg);
}

static int released_by_helpers(void *arg, void **result)
{
    (void)arg, (void)result;
    for (int i = 0; i < 50; i++)
        cr_expect_eq(thrum_blocking(join_blocking, spawned(end_soon, NULL), NULL), 0);
    return 0;
}

Test(coro_join, the_last_handle_may_be_another_threads)
{
    cr_expect_eq(in_loop(released_by_helpers, NULL), 0);
}
