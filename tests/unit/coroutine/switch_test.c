#include "coroutine/loops.h"

TestSuite(coro_switch, .timeout = 30);

static thrum_coro_t *coros[8];
static struct trace trace;

/* --- ping-pong ---------------------------------------------------------------------------------------- */

static int ping(void *arg, void **result)
{
    void *got = NULL;
    (void)arg;
    for (int i = 0; i < 3; i++) {
        note(&trace, 'i');
        cr_expect_eq(thrum_coro_switch(coros[1], &coros[i], &got), 0);
    }
    *result = got;
    return 1;
}

static int pong(void *arg, void **result)
{
    void *got = NULL;
    int err = 0;
    (void)arg, (void)result;
    for (int i = 0; err == 0; i++) {
        note(&trace, 'o');
        err = thrum_coro_switch(coros[0], &coros[i + 4], &got);
        cr_expect(thrum_cancelled() || got == &coros[i + 1]);
    }
    return err;
}

Test(coro_switch, two_play_ping_pong)
{
    void *got = NULL;
    coros[0] = made(ping, NULL);
    coros[1] = made(pong, NULL);
    EXPECT_CALL(0, thrum_coro_switch(coros[0], NULL, &got));
    cr_expect_eq(got, &coros[6], "its end gives its result to who started it");
    cr_expect_str_eq(trace.text, "ioioio");
    EXPECT_CALL(1, thrum_coro_result(coros[0], NULL));
    cr_expect_not(thrum_coro_done(coros[1]));
    EXPECT_CALL(ENODATA, thrum_coro_switch(coros[0], NULL, NULL));
    thrum_coro_release(coros[0]);
    thrum_coro_release(coros[1]);
}

/* --- the thread itself -------------------------------------------------------------------------------- */

static int back_and_forth(void *arg, void **result)
{
    thrum_coro_t *thread = arg;
    char *got = NULL;
    for (int i = 0; i < 100; i++) {
        const int err = thrum_coro_switch(thread, &trace.text[i], (void **)&got);
        if (err != 0 || got != &trace.text[i + 1])
            return EPROTO;
    }
    *result = got;
    return 0;
}

Test(coro_switch, a_thread_is_switched_to_like_its_coroutines)
{
    thrum_coro_t *thread = thrum_coro_current();
    cr_assert_not_null(thread);
    cr_expect_eq(thrum_coro_current(), thread);
    thrum_coro_t *co = made(back_and_forth, thread);
    void *got = NULL;
    EXPECT_CALL(0, thrum_coro_switch(co, NULL, &got));
    for (int i = 0; i < 100; i++) {
        cr_expect_eq(got, &trace.text[i]);
        cr_expect_eq(thrum_coro_current(), thread);
        EXPECT_CALL(0, thrum_coro_switch(co, &trace.text[i + 1], &got));
    }
    cr_expect_eq(got, &trace.text[100]);
    EXPECT_CALL(0, thrum_coro_result(co, NULL));
    EXPECT_CALL(ENODATA, thrum_coro_switch(co, NULL, NULL));
    thrum_coro_release(co);
}

Test(coro_switch, a_switch_to_oneself_returns_what_it_sends)
{
    void *got = NULL;
    EXPECT_CALL(0, thrum_coro_switch(thrum_coro_current(), &got, &got));
    cr_expect_eq(got, &got);
    EXPECT_CALL(0, thrum_coro_switch(thrum_coro_current(), &got, NULL));
}

/* --- ends --------------------------------------------------------------------------------------------- */

static int start_the_next(void *arg, void **result)
{
    const size_t i = (size_t)((char *)arg - trace.text);
    void *got = NULL;
    int err = 0;
    if (coros[i + 1] != NULL)
        err = thrum_coro_switch(coros[i + 1], NULL, &got);
    cr_expect_eq(got, coros[i + 1] != NULL ? coros[i + 1] : NULL);
    *result = coros[i];
    return err;
}

Test(coro_switch, ends_go_back_along_the_starts)
{
    void *got = NULL;
    for (size_t i = 0; i < 7; i++)
        coros[i] = made(start_the_next, &trace.text[i]);
    EXPECT_CALL(0, thrum_coro_switch(coros[0], NULL, &got));
    cr_expect_eq(got, coros[0]);
    for (size_t i = 0; i < 7; i++) {
        cr_expect(thrum_coro_done(coros[i]));
        EXPECT_CALL(0, thrum_coro_result(coros[i], NULL));
        thrum_coro_release(coros[i]);
    }
}

static int end_after_a_switch(void *arg, void **result)
{
    *result = arg;
    return thrum_coro_switch(coros[0], NULL, NULL);
}

static int start_and_end(void *arg, void **result)
{
    *result = arg;
    return thrum_coro_switch(coros[1], NULL, NULL);
}

/* The one that started it has ended: then it is that one's starter. */
Test(coro_switch, an_end_goes_past_those_who_have_ended)
{
    int values[2];
    void *got = NULL;
    coros[0] = made(start_and_end, &values[0]);
    coros[1] = made(end_after_a_switch, &values[1]);
    EXPECT_CALL(0, thrum_coro_switch(coros[0], NULL, &got));
    cr_expect_eq(got, &values[0]);
    thrum_coro_release(coros[0]); /* still known to the other */
    EXPECT_CALL(0, thrum_coro_switch(coros[1], NULL, &got));
    cr_expect_eq(got, &values[1]);
    EXPECT_CALL(0, thrum_coro_result(coros[1], NULL));
    thrum_coro_release(coros[1]);
}

/* --- switch, resume and yield together ----------------------------------------------------------------- */

static int yield_once(void *arg, void **result)
{
    (void)result;
    return thrum_coro_yield(arg) == arg ? 0 : EPROTO;
}

Test(coro_switch, a_yield_goes_to_who_switched)
{
    int value = 0;
    void *got = NULL;
    thrum_coro_t *co = made(yield_once, &value);
    EXPECT_CALL(0, thrum_coro_switch(co, NULL, &got));
    cr_expect_eq(got, &value);
    got = NULL;
    EXPECT_CALL(ENODATA, thrum_coro_resume(co, &value, &got));
    EXPECT_CALL(0, thrum_coro_result(co, NULL));
    thrum_coro_release(co);
}

static int meddle(void *arg, void **result)
{
    int *errors = arg;
    (void)result;
    errors[0] = thrum_coro_resume(coros[0], NULL, NULL); /* the thread waits for its yield */
    errors[1] = thrum_coro_switch(thrum_coro_current(), NULL, NULL);
    errors[2] = thrum_coro_switch(coros[2], NULL, NULL); /* the thread, which has resumed */
    return 0;
}

static int be_resumed_and_switch_away(void *arg, void **result)
{
    (void)arg, (void)result;
    return thrum_coro_switch(coros[1], NULL, NULL);
}

Test(coro_switch, who_is_waited_for_in_a_resume_is_not_resumed_again)
{
    int errors[3] = {-1, -1, -1};
    coros[0] = made(be_resumed_and_switch_away, NULL);
    coros[1] = made(meddle, errors);
    coros[2] = thrum_coro_current();
    EXPECT_CALL(ENODATA, thrum_coro_resume(coros[0], NULL, NULL));
    EXPECT_CALL(0, thrum_coro_result(coros[0], NULL));
    cr_expect_eq(errors[0], EINVAL);
    cr_expect_eq(errors[1], 0);
    cr_expect_eq(errors[2], EINVAL);
    thrum_coro_release(coros[0]);
    thrum_coro_release(coros[1]);
}

/* A starts X and is switched back to; A resumes Z, which switches to X; X's yield is not Z's. */
static int x_main(void *arg, void **result)
{
    (void)result;
    if (thrum_coro_switch(coros[0], NULL, NULL) != 0)
        return EPROTO;
    thrum_coro_yield(arg); /* nobody is there to get it */
    note(&trace, 'x');
    return thrum_coro_switch(coros[2], arg, NULL);
}

static int z_main(void *arg, void **result)
{
    void *got = NULL;
    (void)result;
    if (thrum_coro_switch(coros[1], NULL, &got) != 0 || got != arg)
        return EPROTO;
    note(&trace, 'z');
    thrum_coro_yield(&coros[2]);
    return 0;
}

static int a_main(void *arg, void **result)
{
    void *got = NULL;
    (void)arg, (void)result;
    if (thrum_coro_switch(coros[1], NULL, NULL) != 0 ||
        thrum_coro_resume(coros[2], NULL, &got) != 0 || got != &coros[2])
        return EPROTO;
    note(&trace, 'a');
    return thrum_coro_resume(coros[2], NULL, NULL) == ENODATA ? 0 : EPROTO;
}

Test(coro_switch, a_resume_ends_with_the_yield_of_whom_it_resumed)
{
    int value = 0;
    coros[0] = made(a_main, NULL);
    coros[1] = made(x_main, &value);
    coros[2] = made(z_main, &value);
    EXPECT_CALL(ENODATA, thrum_coro_resume(coros[0], NULL, NULL));
    EXPECT_CALL(0, thrum_coro_result(coros[0], NULL));
    EXPECT_CALL(0, thrum_coro_result(coros[2], NULL));
    cr_expect_str_eq(trace.text, "xza");
    for (int i = 0; i < 3; i++)
        thrum_coro_release(coros[i]);
}

/* --- in a loop ---------------------------------------------------------------------------------------- */

static int switched_in_loop(void *arg, void **result)
{
    (void)result;
    note(&trace, '1');
    int err = thrum_sleep(THRUM_MS(1));
    note(&trace, '3');
    if (err == 0)
        err = thrum_coro_switch(arg, NULL, NULL);
    note(&trace, '5');
    return err;
}

static int other_in_loop(void *arg, void **result)
{
    (void)arg, (void)result;
    note(&trace, '2');
    return 0;
}

static int loops_own(void *arg, void **result)
{
    thrum_coro_t *co = made(switched_in_loop, thrum_coro_current());
    thrum_coro_t *other = spawned(other_in_loop, NULL);
    (void)arg, (void)result;
    cr_expect_eq(thrum_coro_switch(other, NULL, NULL), EINVAL, "it is the loop's");
    cr_expect_eq(thrum_coro_resume(other, NULL, NULL), EINVAL);
    cr_expect_eq(thrum_coro_switch(co, NULL, NULL), 0);
    note(&trace, '4');
    cr_expect_eq(thrum_coro_switch(co, NULL, NULL), 0);
    note(&trace, '6');
    cr_expect(thrum_coro_done(co));
    thrum_coro_release(co);
    thrum_coro_release(other);
    return 0;
}

Test(coro_switch, coroutines_of_a_loop_switch_to_others_by_hand)
{
    cr_expect_eq(in_loop(loops_own, NULL), 0);
    cr_expect_str_eq(trace.text, "123456");
}

struct elsewhere {
    thrum_coro_t *co;
    thrum_coro_t *thread;
};

static int switch_to_a_threads(void *arg)
{
    const struct elsewhere *e = arg;
    int err = thrum_coro_switch(e->thread, NULL, NULL);
    if (err == EINVAL)
        err = thrum_coro_switch(e->co, NULL, NULL);
    return err;
}

Test(coro_switch, another_threads_is_refused)
{
    struct caller c;
    struct elsewhere e = {made(do_nothing, NULL), thrum_coro_current()};
    caller_start(&c, switch_to_a_threads, &e);
    cr_expect_eq(caller_join(&c), EINVAL);
    EXPECT_CALL(0, thrum_coro_switch(e.co, NULL, NULL));
    thrum_coro_release(e.co);
}
