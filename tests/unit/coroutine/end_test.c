#include "coroutine/loops.h"

TestSuite(coro_end, .timeout = 30);

static struct trace trace;

static void note_it(void *arg)
{
    note(&trace, *(char *)arg);
}

static char letters[] = "abcdefghijklmnopqrstuvwxyz";

static int defer_letters(int n)
{
    int err = 0;
    for (int i = 0; i < n && err == 0; i++)
        err = thrum_defer(note_it, &letters[i]);
    return err;
}

/* --- defer ------------------------------------------------------------------------------------------- */

static int defer_and_return(void *arg, void **result)
{
    (void)result;
    const int err = defer_letters(*(int *)arg);
    note(&trace, '-');
    return err;
}

Test(coro_end, what_was_deferred_runs_the_last_first)
{
    int n = 26;
    thrum_coro_t *co = made(defer_and_return, &n);
    EXPECT_CALL(ENODATA, thrum_coro_resume(co, NULL, NULL));
    EXPECT_CALL(0, thrum_coro_result(co, NULL));
    cr_expect_str_eq(trace.text, "-zyxwvutsrqponmlkjihgfedcba");
    thrum_coro_release(co);
}

Test(coro_end, a_loops_coroutine_runs_what_it_deferred)
{
    int n = 4;
    cr_expect_eq(in_loop(defer_and_return, &n), 0);
    cr_expect_str_eq(trace.text, "-dcba");
}

static void defer_more(void *arg)
{
    note(&trace, '(');
    if (thrum_defer(note_it, arg) != 0 || thrum_defer(note_it, arg) != 0)
        note(&trace, '!');
    note(&trace, ')');
}

static int defer_in_cleanups(void *arg, void **result)
{
    (void)arg, (void)result;
    int err = defer_letters(8);
    if (err == 0)
        err = thrum_defer(defer_more, &letters[25]);
    return err;
}

Test(coro_end, a_cleanup_may_defer_others)
{
    cr_expect_eq(in_loop(defer_in_cleanups, NULL), 0);
    cr_expect_str_eq(trace.text, "()zzhgfedcba");
}

static thrum_local_t local;

static void defer_in_destructor(void *value)
{
    note(&trace, 'D');
    if (thrum_defer(note_it, value) != 0)
        note(&trace, '!');
}

static int end_with_a_local(void *arg, void **result)
{
    (void)arg, (void)result;
    return thrum_local_set(&local, &letters[0]);
}

Test(coro_end, a_destructor_of_a_local_may_defer)
{
    EXPECT_CALL(0, thrum_local_init(&local, defer_in_destructor));
    for (int i = 0; i < 2; i++) {
        thrum_coro_t *co = made(i == 0 ? end_with_a_local : do_nothing, NULL);
        EXPECT_CALL(ENODATA, thrum_coro_resume(co, NULL, NULL));
        cr_expect_str_eq(trace.text, "Da", "nothing is left for the next one");
        thrum_coro_release(co);
    }
}

static void wait_in_cleanup(void *arg)
{
    int *errors = arg;
    errors[0] = thrum_sleep(THRUM_MS(1));
    errors[1] = thrum_cancelled();
    thrum_yield();
}

static int be_cancelled_and_clean_up(void *arg, void **result)
{
    int err = thrum_defer(wait_in_cleanup, arg);
    if (err == 0)
        err = thrum_defer(note_it, &letters[0]);
    return err != 0 ? err : wait_for_ever(NULL, result);
}

static int cancel_one(void *arg, void **result)
{
    void *left = &trace;
    (void)result;
    thrum_coro_t *co = spawned(be_cancelled_and_clean_up, arg);
    thrum_yield();
    cr_expect_eq(thrum_coro_cancel(co), 0);
    cr_expect_eq(thrum_coro_join(co, &left), ECANCELED);
    cr_expect_null(left);
    cr_expect_eq(thrum_coro_cancel(co), 0, "cancelling what has ended does nothing");
    thrum_coro_release(co);
    return 0;
}

Test(coro_end, cleanups_run_with_cancellation_held_back)
{
    int errors[2] = {-1, -1};
    cr_expect_eq(in_loop(cancel_one, errors), 0);
    cr_expect_eq(errors[0], 0);
    cr_expect_eq(errors[1], 0);
    cr_expect_str_eq(trace.text, "a");
}

Test(coro_end, defer_is_for_coroutines)
{
    EXPECT_CALL(EINVAL, thrum_defer(note_it, NULL));
    cr_expect_not_null(thrum_coro_current());
    EXPECT_CALL(EINVAL, thrum_defer(note_it, NULL));
}

/* --- cancel ------------------------------------------------------------------------------------------ */

static int yields_when_cancelled(void *arg, void **result)
{
    (void)arg, (void)result;
    while (!thrum_cancelled())
        thrum_coro_yield(&trace);
    return thrum_sleep(THRUM_S(1000));
}

Test(coro_end, a_cancelled_one_is_resumed_as_usual_and_does_not_wait)
{
    void *got = NULL;
    thrum_coro_t *co = made(yields_when_cancelled, NULL);
    EXPECT_CALL(0, thrum_coro_resume(co, NULL, &got));
    EXPECT_CALL(0, thrum_coro_resume(co, NULL, &got));
    EXPECT_CALL(0, thrum_coro_cancel(co));
    cr_expect_not(thrum_cancelled());
    EXPECT_CALL(ENODATA, thrum_coro_resume(co, NULL, &got));
    EXPECT_CALL(ECANCELED, thrum_coro_result(co, NULL));
    thrum_coro_release(co);
}

static int say_whether_cancelled(void *arg, void **result)
{
    (void)arg, (void)result;
    return thrum_cancelled() && thrum_sleep(THRUM_S(1000)) == ECANCELED ? 0 : EPROTO;
}

Test(coro_end, one_that_is_cancelled_before_it_begins_begins)
{
    thrum_coro_t *co = made(say_whether_cancelled, NULL);
    EXPECT_CALL(0, thrum_coro_cancel(co));
    EXPECT_CALL(ENODATA, thrum_coro_resume(co, NULL, NULL));
    EXPECT_CALL(0, thrum_coro_result(co, NULL));
    thrum_coro_release(co);
}

static int sleep_long(void *arg, void **result)
{
    (void)arg, (void)result;
    return thrum_sleep(THRUM_S(1000));
}

static int cancel_it(void *arg)
{
    return thrum_coro_cancel(arg);
}

static int cancelled_from_elsewhere(void *arg, void **result)
{
    struct caller c;
    thrum_coro_t *co = spawned(sleep_long, NULL);
    (void)arg, (void)result;
    thrum_yield();
    caller_start(&c, cancel_it, co);
    cr_expect_eq(thrum_coro_join(co, NULL), ECANCELED);
    cr_expect_eq(caller_join(&c), 0);
    thrum_coro_release(co);
    return 0;
}

Test(coro_end, another_thread_may_cancel)
{
    for (int i = 0; i < 50; i++)
        cr_expect_eq(in_loop(cancelled_from_elsewhere, NULL), 0);
}

Test(coro_end, a_threads_own_handle_cancels_the_thread)
{
    thrum_coro_t *thread = thrum_coro_current();
    EXPECT_CALL(EINVAL, thrum_coro_join(thread, NULL));
    EXPECT_CALL(EBUSY, thrum_coro_result(thread, NULL));
    cr_expect_str_eq(thrum_coro_name(thread), "");
    cr_expect_eq(thrum_coro_stack_used(thread), 0u);
    EXPECT_CALL(0, thrum_coro_cancel(thread));
    cr_expect(thrum_cancelled());
    EXPECT_CALL(ECANCELED, thrum_sleep(THRUM_S(1000)));
}

/* --- release: unwinding ------------------------------------------------------------------------------ */

static int unwound_politely(void *arg, void **result)
{
    int err = defer_letters(2);
    (void)result;
    if (err != 0 || thrum_coro_yield(arg) != NULL || !thrum_cancelled())
        return EPROTO;
    note(&trace, 'u');
    note(&trace, thrum_sleep(THRUM_S(1000)) == ECANCELED ? 'c' : '!');
    return 0;
}

Test(coro_end, a_suspended_one_that_is_released_is_unwound)
{
    thrum_coro_t *co = made(unwound_politely, &trace);
    EXPECT_CALL(0, thrum_coro_resume(co, NULL, NULL));
    thrum_coro_release(co);
    cr_expect_str_eq(trace.text, "ucba");
}

static int yield_for_ever(void *arg, void **result)
{
    (void)result;
    if (defer_letters(3) != 0)
        return EPROTO;
    for (;;)
        thrum_coro_yield(arg);
}

Test(coro_end, an_infinite_generator_ends_at_its_next_yield)
{
    for (int i = 1; i <= 3; i++) {
        thrum_coro_t *co = made(yield_for_ever, NULL);
        trace = (struct trace){{0}, 0};
        for (int n = 0; n < i; n++)
            EXPECT_CALL(0, thrum_coro_resume(co, NULL, NULL));
        thrum_coro_release(co);
        cr_expect_str_eq(trace.text, "cba");
    }
}

static int switch_for_ever(void *arg, void **result)
{
    (void)result;
    if (defer_letters(3) != 0)
        return EPROTO;
    while (thrum_coro_switch(arg, NULL, NULL) == 0)
        note(&trace, 's');
    return 0;
}

Test(coro_end, one_that_switches_for_ever_ends_at_its_next_switch)
{
    thrum_coro_t *co = made(switch_for_ever, thrum_coro_current());
    EXPECT_CALL(0, thrum_coro_switch(co, NULL, NULL));
    EXPECT_CALL(0, thrum_coro_switch(co, NULL, NULL));
    thrum_coro_release(co);
    cr_expect_str_eq(trace.text, "sscba");
}

static void yield_in_cleanup(void *arg)
{
    note(&trace, 'Y');
    thrum_coro_yield(arg);
    note(&trace, '!');
}

static int defer_a_yield(void *arg, void **result)
{
    (void)result;
    int err = defer_letters(2);
    if (err == 0)
        err = thrum_defer(yield_in_cleanup, arg);
    if (err != 0)
        return err;
    for (;;)
        thrum_coro_yield(arg);
}

Test(coro_end, a_cleanup_that_yields_while_it_is_unwound_ends_there)
{
    thrum_coro_t *co = made(defer_a_yield, NULL);
    EXPECT_CALL(0, thrum_coro_resume(co, NULL, NULL));
    thrum_coro_release(co);
    cr_expect_str_eq(trace.text, "Yba");
}

static int return_with_a_yield_left(void *arg, void **result)
{
    (void)result;
    int err = defer_letters(2);
    return err != 0 ? err : thrum_defer(yield_in_cleanup, arg);
}

Test(coro_end, a_cleanup_may_yield)
{
    void *got = NULL;
    thrum_coro_t *co = made(return_with_a_yield_left, &trace);
    EXPECT_CALL(0, thrum_coro_resume(co, NULL, &got));
    cr_expect_eq(got, &trace);
    cr_expect_not(thrum_coro_done(co));
    EXPECT_CALL(ENODATA, thrum_coro_resume(co, NULL, NULL));
    cr_expect_str_eq(trace.text, "Y!ba");
    thrum_coro_release(co);
}

/* Its cleanup releases another one that is suspended. */
static void release_it(void *arg)
{
    thrum_coro_release(arg);
}

static int own_a_generator(void *arg, void **result)
{
    thrum_coro_t *co = NULL;
    (void)result;
    int err = thrum_coro_create(&co, yield_for_ever, NULL, NULL);
    if (err == 0)
        err = thrum_coro_resume(co, NULL, NULL);
    if (err == 0)
        err = thrum_defer(release_it, co);
    thrum_coro_yield(arg);
    return err;
}

Test(coro_end, unwinding_one_may_unwind_others)
{
    thrum_coro_t *co = made(own_a_generator, NULL);
    EXPECT_CALL(0, thrum_coro_resume(co, NULL, NULL));
    thrum_coro_release(co);
    cr_expect_str_eq(trace.text, "cba");
}

static int release_myself(void *arg, void **result)
{
    (void)result;
    thrum_coro_release(*(thrum_coro_t **)arg);
    note(&trace, 'r');
    return defer_letters(1);
}

Test(coro_end, one_that_runs_goes_on_when_it_is_released)
{
    thrum_coro_t *co = NULL;
    EXPECT_CALL(0, thrum_coro_create(&co, release_myself, &co, NULL));
    EXPECT_CALL(ENODATA, thrum_coro_resume(co, NULL, NULL));
    cr_expect_str_eq(trace.text, "ra");
}

Test(coro_end, one_that_never_began_is_released_without_running)
{
    thrum_coro_release(made(release_myself, NULL));
    cr_expect_eq(trace.length, 0u);
}

static int shield_yield(void *arg, void **result)
{
    (void)result;
    if (thrum_coro_yield(arg) != NULL)
        return EPROTO;
    note(&trace, thrum_cancelled() ? '!' : 's');
    note(&trace, thrum_sleep(THRUM_MS(1)) == 0 ? 's' : '!');
    return 0;
}

static int yield_in_a_shield(void *arg, void **result)
{
    int err = defer_letters(1);
    if (err == 0)
        err = thrum_shield(shield_yield, arg, result);
    note(&trace, thrum_cancelled() ? 'c' : '!');
    return err;
}

static int unwind_in_loop(void *arg, void **result)
{
    thrum_coro_t *co = made(yield_in_a_shield, arg);
    (void)result;
    EXPECT_CALL(0, thrum_coro_resume(co, NULL, NULL));
    thrum_coro_release(co); /* it sleeps meanwhile */
    note(&trace, '.');
    return 0;
}

Test(coro_end, one_that_is_shielded_is_unwound_without_haste)
{
    thrum_coro_t *co = made(yield_in_a_shield, NULL);
    EXPECT_CALL(0, thrum_coro_resume(co, NULL, NULL));
    thrum_coro_release(co);
    cr_expect_str_eq(trace.text, "ssca");
    trace = (struct trace){{0}, 0};
    cr_expect_eq(in_loop(unwind_in_loop, NULL), 0);
    cr_expect_str_eq(trace.text, "ssca.");
}

static int release_it_elsewhere(void *arg)
{
    thrum_coro_release(arg);
    return 0;
}

Test(coro_end, another_thread_may_release_what_is_done)
{
    for (int i = 0; i < 50; i++) {
        struct caller c;
        thrum_coro_t *co = made(do_nothing, NULL);
        EXPECT_CALL(ENODATA, thrum_coro_resume(co, NULL, NULL));
        caller_start(&c, release_it_elsewhere, co);
        cr_expect_eq(caller_join(&c), 0);
    }
}
