/* What becomes of those that are left when a loop ends. */
#include "coroutine/loops.h"

TestSuite(loop_destroy, .timeout = 30);

static int wait_in_a_shield(void *arg, void **result)
{
    (void)arg, (void)result;
    return thrum_sleep(THRUM_MS(3));
}

static int shield_and_wait(void *arg, void **result)
{
    const int err = thrum_shield(wait_in_a_shield, NULL, NULL);
    note(&cleanups, *(char *)arg);
    return err != 0 ? err : wait_for_ever(NULL, result);
}

static int stop_the_loop(void *arg, void **result)
{
    (void)arg, (void)result;
    thrum_yield();
    thrum_loop_stop(thrum_loop_current());
    return 0;
}

Test(loop_destroy, destroying_it_cancels_and_unwinds_those_who_wait)
{
    thrum_loop_t *loop = NULL;
    thrum_coro_t *cos[3];
    EXPECT_CALL(0, thrum_loop_create(&loop, NULL));
    EXPECT_CALL(0, thrum_loop_go(loop, &cos[0], wait_with_cleanup, "a", NULL));
    EXPECT_CALL(0, thrum_loop_go(loop, &cos[1], shield_and_wait, "b", NULL));
    EXPECT_CALL(0, thrum_loop_go(loop, NULL, stop_the_loop, NULL, NULL));
    EXPECT_CALL(ECANCELED, thrum_loop_run(loop));
    EXPECT_CALL(0, thrum_loop_go(loop, &cos[2], wait_with_cleanup, "c", NULL));
    thrum_loop_destroy(loop);
    cr_expect_eq(cleanups.length, 3u, "%s", cleanups.text);
    for (int i = 0; i < 3; i++) {
        EXPECT_CALL(ECANCELED, thrum_coro_join(cos[i], NULL));
        thrum_coro_release(cos[i]);
    }
}

Test(loop_destroy, one_that_never_ran_is_destroyed_with_what_was_spawned)
{
    thrum_loop_t *loop = NULL;
    thrum_coro_t *co = NULL;
    EXPECT_CALL(0, thrum_loop_create(&loop, NULL));
    EXPECT_CALL(0, thrum_loop_go(loop, &co, wait_with_cleanup, "a", NULL));
    thrum_loop_destroy(loop);
    EXPECT_CALL(ECANCELED, thrum_coro_join(co, NULL));
    cr_expect_str_eq(cleanups.text, "a");
    thrum_coro_release(co);
}

/* Resumes one by hand, which has yet to end. */
static int resume_and_return(thrum_fn fn, void *arg, void **result)
{
    thrum_coro_t *co = made(fn, arg);
    EXPECT_CALL(ENODATA, thrum_coro_resume(co, NULL, NULL));
    const int err = thrum_coro_result(co, result);
    thrum_coro_release(co);
    return err;
}

static int resume_who_waits(void *arg, void **result)
{
    return resume_and_return(wait_with_cleanup, arg, result);
}

static int resume_who_resumes(void *arg, void **result)
{
    return resume_and_return(resume_who_waits, arg, result);
}

static int resume_who_sleeps(void *arg, void **result)
{
    return resume_and_return(wait_in_a_shield, arg, result);
}

static int shield_and_resume(void *arg, void **result)
{
    const int err = thrum_shield(resume_who_sleeps, arg, result);
    note(&cleanups, *(char *)arg);
    return err;
}

Test(loop_destroy, destroying_it_cancels_whom_its_coroutines_have_resumed)
{
    const thrum_fn fns[] = {resume_who_waits, resume_who_resumes, shield_and_resume};
    thrum_loop_t *loop = NULL;
    thrum_coro_t *cos[3];
    EXPECT_CALL(0, thrum_loop_create(&loop, NULL));
    for (int i = 0; i < 3; i++)
        EXPECT_CALL(0, thrum_loop_go(loop, &cos[i], fns[i], &"abc"[i], NULL));
    EXPECT_CALL(0, thrum_loop_go(loop, NULL, stop_the_loop, NULL, NULL));
    EXPECT_CALL(ECANCELED, thrum_loop_run(loop));
    thrum_loop_destroy(loop);
    cr_expect_eq(cleanups.length, 3u, "%s", cleanups.text);
    for (int i = 0; i < 3; i++) {
        EXPECT_CALL(i == 2 ? 0 : ECANCELED, thrum_coro_join(cos[i], NULL));
        thrum_coro_release(cos[i]);
    }
}

static int spawn_daemon_that_resumes(void *arg, void **result)
{
    (void)result;
    thrum_coro_config_t config = THRUM_CORO_CONFIG_INIT;
    config.daemon = true;
    cr_expect_eq(thrum_go_with(NULL, resume_who_waits, arg, &config), 0);
    thrum_yield();
    return 0;
}

Test(loop_destroy, daemons_end_whom_they_have_resumed)
{
    cr_expect_eq(in_loop(spawn_daemon_that_resumes, "d"), 0);
    cr_expect_str_eq(cleanups.text, "d");
}
