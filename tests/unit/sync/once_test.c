#include <thrum/cancel.h>
#include <thrum/event.h>
#include <thrum/once.h>

#include "support/child.h"
#include "support/expect.h"

TestSuite(once, .timeout = 30);

struct attempt {
    thrum_once_t once;
    thrum_event_t go;
    int error;      /* what init returns */
    uint32_t began; /* how often it was run */
    uint32_t inside;
    uint64_t made; /* plain: the once orders it */
};

static int make_at_once(void *arg)
{
    struct attempt *a = arg;
    a->began++;
    a->made = 42;
    return a->error;
}

static int make_when_told(void *arg)
{
    struct attempt *a = arg;
    if (thi_fetch_add_relaxed(&a->inside, 1u) != 0)
        return EPROTO; /* two at a time */
    thi_fetch_add_relaxed(&a->began, 1u);
    thrum_event_wait(&a->go);
    a->made = 42;
    thi_fetch_sub_relaxed(&a->inside, 1u);
    return a->error;
}

static int ask(void *arg)
{
    struct attempt *a = arg;
    const int err = thrum_once(&a->once, make_when_told, a);
    return err == 0 && a->made != 42 ? EPROTO : err;
}

Test(once, null_is_refused)
{
    struct attempt a = {.error = 0};
    EXPECT_CALL(EINVAL, thrum_once(NULL, make_at_once, &a));
    EXPECT_CALL(EINVAL, thrum_once(&a.once, NULL, &a));
    cr_expect_eq(a.began, 0u);
    cr_expect_not(thrum_once_done(NULL));
    cr_expect_not(thrum_once_done(&a.once));
}

Test(once, succeeds_once)
{
    struct attempt a = {.once = THRUM_ONCE_INIT};
    EXPECT_CALL(0, thrum_once(&a.once, make_at_once, &a));
    cr_expect(thrum_once_done(&a.once));
    EXPECT_CALL(0, thrum_once(&a.once, make_at_once, &a));
    cr_expect_eq(a.began, 1u);
}

Test(once, fails_until_it_succeeds)
{
    struct attempt a = {.once = THRUM_ONCE_INIT, .error = ENOSPC};
    EXPECT_CALL(ENOSPC, thrum_once(&a.once, make_at_once, &a));
    cr_expect_not(thrum_once_done(&a.once));
    a.error = -7; /* whatever it is */
    EXPECT_CALL(-7, thrum_once(&a.once, make_at_once, &a));
    a.error = 0;
    EXPECT_CALL(0, thrum_once(&a.once, make_at_once, &a));
    cr_expect_eq(a.began, 3u);
    a.error = ENOSPC;
    EXPECT_CALL(0, thrum_once(&a.once, make_at_once, &a));
    cr_expect_eq(a.began, 3u);
}

Test(once, everybody_waits_for_the_one_that_tries)
{
    enum { CALLERS = 6 };
    struct attempt a = {.once = THRUM_ONCE_INIT};
    struct caller c[CALLERS];
    for (int i = 0; i < CALLERS; i++)
        caller_start(&c[i], ask, &a);
    await_parked(&a.once, CALLERS - 1);
    cr_expect_not(thrum_once_done(&a.once));
    thrum_event_set(&a.go);
    for (int i = 0; i < CALLERS; i++)
        cr_expect_eq(caller_join(&c[i]), 0);
    cr_expect_eq(a.began, 1u);
    cr_expect(thrum_once_done(&a.once));
}

Test(once, after_a_failure_one_of_those_who_waited_tries_next)
{
    enum { CALLERS = 5 };
    struct attempt a = {.once = THRUM_ONCE_INIT, .error = EIO};
    struct caller c[CALLERS];
    for (int i = 0; i < CALLERS; i++)
        caller_start(&c[i], ask, &a);
    await_parked(&a.once, CALLERS - 1);
    thrum_event_set(&a.go);
    for (int i = 0; i < CALLERS; i++)
        cr_expect_eq(caller_join(&c[i]), EIO, "each has run it, and has its own error");
    cr_expect_eq(a.began, (uint32_t)CALLERS);
    a.error = 0;
    cr_expect_eq(ask(&a), 0);
}

static int ask_from_inside(void *arg)
{
    struct attempt *a = arg;
    a->error = thrum_once(&a->once, make_at_once, a);
    return 0;
}

Test(once, recursion_is_refused)
{
    struct attempt a = {.once = THRUM_ONCE_INIT};
    EXPECT_CALL(0, thrum_once(&a.once, ask_from_inside, &a));
    cr_expect_eq(a.error, EDEADLK);
    cr_expect_eq(a.began, 0u);
    cr_expect(thrum_once_done(&a.once));
}

Test(once, waiting_is_cancelled_and_trying_is_not)
{
    struct attempt a = {.once = THRUM_ONCE_INIT};
    struct caller runner, waiter;
    caller_start(&runner, ask, &a);
    await_word(&a.began, 1);
    caller_start(&waiter, ask, &a);
    await_parked(&a.once, 1);
    caller_cancel(&waiter);
    cr_expect_eq(caller_join(&waiter), ECANCELED);
    thrum_event_set(&a.go);
    cr_expect_eq(caller_join(&runner), 0);
    cr_expect_eq(a.began, 1u);
}

static int ask_when_cancelled(void *arg)
{
    struct attempt *a = arg;
    thi_strand_cancel(thi_self());
    a->error = EIO;
    if (thrum_once(&a->once, make_at_once, a) != EIO)
        return EPROTO;
    a->error = 0;
    if (thrum_once(&a->once, make_at_once, a) != 0)
        return EPROTO;
    return thrum_once(&a->once, make_at_once, a);
}

Test(once, a_cancelled_strand_still_initialises_and_finds_what_is_there)
{
    struct attempt a = {.once = THRUM_ONCE_INIT};
    struct caller c;
    caller_start(&c, ask_when_cancelled, &a);
    cr_expect_eq(caller_join(&c), 0);
    cr_expect_eq(a.began, 2u);
}

struct cancel_victim {
    struct attempt *a;
    int result;
    int cancelled;
};

static void *cancel_victim_main(void *arg)
{
    struct cancel_victim *v = arg;
    pthread_cancel(pthread_self());
    v->result = ask(v->a);
    v->cancelled = 1;
    pthread_testcancel();
    v->cancelled = 2;
    return NULL;
}

Test(once, waiting_is_no_pthread_cancellation_point)
{
    struct attempt a = {.once = THRUM_ONCE_INIT};
    struct caller runner;
    struct cancel_victim v = {&a, -1, 0};
    pthread_t thread;
    caller_start(&runner, ask, &a);
    await_word(&a.began, 1);
    cr_assert_eq(pthread_create(&thread, NULL, cancel_victim_main, &v), 0);
    await_parked(&a.once, 1);
    thrum_event_set(&a.go);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_expect_eq(caller_join(&runner), 0);
    cr_expect_eq(v.result, 0);
    cr_expect_eq(v.cancelled, 1);
}

/* --- fork ----------------------------------------------------------------------------------------- */

static int find_lost_runner(void *arg)
{
    struct attempt *a = arg;
    if (thrum_once(&a->once, make_at_once, a) != EOWNERDEAD)
        return 1;
    if (thrum_once_done(&a->once))
        return 2;
    a->once = (thrum_once_t)THRUM_ONCE_INIT;
    return thrum_once(&a->once, make_at_once, a);
}

Test(once, a_child_hears_that_the_one_that_tried_is_lost)
{
    struct attempt a = {.once = THRUM_ONCE_INIT};
    struct caller runner, waiter;
    caller_start(&runner, ask, &a);
    await_word(&a.began, 1);
    cr_expect_eq(child_run(find_lost_runner, &a), 0);
    caller_start(&waiter, ask, &a);
    await_parked(&a.once, 1);
    cr_expect_eq(child_run(find_lost_runner, &a), 0);
    thrum_event_set(&a.go);
    cr_expect_eq(caller_join(&runner), 0);
    cr_expect_eq(caller_join(&waiter), 0);
}

static int find_done(void *arg)
{
    struct attempt *a = arg;
    const uint32_t began = a->began;
    return thrum_once_done(&a->once) && thrum_once(&a->once, make_at_once, a) == 0 &&
                   a->began == began
               ? 0
               : 1;
}

Test(once, what_is_done_is_done_in_a_child)
{
    struct attempt a = {.once = THRUM_ONCE_INIT};
    EXPECT_CALL(0, thrum_once(&a.once, make_at_once, &a));
    cr_expect_eq(child_run(find_done, &a), 0);
}

static int fork_inside(void *arg)
{
    struct attempt *a = arg;
    a->began++;
    a->error = fork() == 0 ? 1 : 0; /* 1: this is the child */
    return 0;
}

Test(once, a_fork_inside_it_goes_on_in_both)
{
    struct attempt a = {.once = THRUM_ONCE_INIT};
    const int err = thrum_once(&a.once, fork_inside, &a);
    if (a.error == 1)
        _exit(err == 0 && thrum_once_done(&a.once) ? 0 : 1);
    int status = 0;
    cr_assert_gt(wait(&status), 0);
    cr_expect_eq(WEXITSTATUS(status), 0);
    cr_expect_eq(err, 0);
    cr_expect(thrum_once_done(&a.once));
}
