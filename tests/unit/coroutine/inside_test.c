#include "coroutine/loops.h"

TestSuite(inside, .timeout = 30);

static int is_inside(void *arg, void **result)
{
    (void)result;
    *(int *)arg = thrum_loop_inside();
    return 0;
}

static int resume_one(void *arg, void **result)
{
    thrum_coro_t *co = NULL;
    (void)result;
    cr_expect_eq(thrum_coro_create(&co, is_inside, arg, NULL), 0);
    cr_expect_eq(thrum_coro_resume(co, NULL, NULL), ENODATA);
    thrum_coro_release(co);
    return 0;
}

Test(inside, a_wait_parks_only_what_a_loop_runs)
{
    int inside = -1;
    cr_expect_not(thrum_loop_inside());
    cr_expect_eq(resume_one(&inside, NULL), 0);
    cr_expect_eq(inside, 0, "nobody runs a loop");
    cr_expect_eq(thrum_run(is_inside, &inside, NULL), 0);
    cr_expect_eq(inside, 1);
    inside = -1;
    cr_expect_eq(thrum_run(resume_one, &inside, NULL), 0);
    cr_expect_eq(inside, 1, "resumed by hand, but in a loop");
    cr_expect_not(thrum_loop_inside());
}

static int ask_helper(void *arg, void **result)
{
    return thrum_blocking(is_inside, arg, result);
}

Test(inside, a_helper_thread_is_a_thread)
{
    int inside = -1;
    cr_expect_eq(thrum_run(ask_helper, &inside, NULL), 0);
    cr_expect_eq(inside, 0);
}
