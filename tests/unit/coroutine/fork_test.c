#include "coroutine/sockets.h"

TestSuite(coro_fork, .timeout = 60);

struct forked {
    thrum_coro_t *other;
    struct ends ends;
    int (*first)(struct forked *f); /* what the child does before anything else */
};

static int first_sleep(struct forked *f)
{
    (void)f;
    const thrum_time_t deadline = thrum_after(THRUM_MS(1));
    const int err = thrum_sleep_until(deadline);
    return err != 0 ? err : thrum_now() < deadline ? EPROTO : 0;
}

static int first_yield(struct forked *f)
{
    (void)f;
    thrum_yield();
    thrum_yield();
    return 0;
}

static int first_spawn(struct forked *f)
{
    thrum_coro_t *co = NULL;
    (void)f;
    int err = thrum_go(&co, do_nothing, NULL);
    if (err == 0)
        err = thrum_coro_join(co, NULL);
    thrum_coro_release(co);
    return err;
}

static int first_join(struct forked *f)
{
    return thrum_coro_join(f->other, NULL) == EOWNERDEAD ? 0 : EPROTO;
}

static int write_byte(void *arg, void **result)
{
    const struct forked *f = arg;
    (void)result;
    return write(f->ends.fd[1], "x", 1) == 1 ? 0 : EIO;
}

static int first_read(struct forked *f)
{
    char c = 0;
    size_t n = 0;
    int err = thrum_io_read(f->ends.fd[0], &c, 1, &n, thrum_after(THRUM_MS(1)));
    if (err != ETIMEDOUT)
        return EPROTO;
    err = thrum_go(NULL, write_byte, f);
    return err != 0 ? err : thrum_io_read(f->ends.fd[0], &c, 1, &n, THRUM_FOREVER);
}

static int first_end(struct forked *f)
{
    (void)f;
    return 0;
}

static int fork_here(void *arg)
{
    struct forked *f = arg;
    const size_t noted = cleanups.length;
    thrum_coro_t *co = NULL;
    int err = f->first(f);
    if (err == 0)
        err = first_sleep(f);
    if (err == 0 && thrum_coro_join(f->other, NULL) != EOWNERDEAD)
        err = ECHILD;
    if (err == 0)
        err = first_spawn(f);
    if (err == 0)
        err = thrum_go(&co, wait_for_ever, NULL);
    if (err == 0) {
        thrum_yield();
        thrum_coro_cancel(co);
        err = thrum_coro_join(co, NULL) == ECANCELED ? 0 : EDOM;
    }
    thrum_coro_release(co);
    thrum_coro_release(f->other);
    for (int i = 0; i < 3 && err == 0; i++) /* on the stack of the one that is gone */
        err = first_spawn(f);
    return err != 0 ? err : cleanups.length != noted ? ERANGE : 0;
}

static int fork_in_coroutine(void *arg, void **result)
{
    struct forked *f = arg;
    (void)result;
    f->other = spawned(wait_with_cleanup, "o");
    thrum_coro_t *sleeper = spawned(wait_with_cleanup, "s");
    cr_expect_eq(thrum_sleep(THRUM_US(10)), 0);
    const int status = child_run(fork_here, f);
    cr_expect_eq(status, 0, "the child: %d", status);
    cr_expect_not(thrum_coro_done(f->other), "here it is as it was");
    EXPECT_CALL(0, thrum_coro_cancel(f->other));
    EXPECT_CALL(0, thrum_coro_cancel(sleeper));
    EXPECT_CALL(ECANCELED, thrum_coro_join(f->other, NULL));
    EXPECT_CALL(ECANCELED, thrum_coro_join(sleeper, NULL));
    thrum_coro_release(f->other);
    thrum_coro_release(sleeper);
    return thrum_sleep(THRUM_US(10));
}

Test(coro_fork, the_child_goes_on_with_the_coroutine_that_forked)
{
    int (*firsts[])(struct forked * f) = {first_sleep, first_yield, first_spawn,
                                          first_join,  first_read,  first_end};
    for (size_t i = 0; i < sizeof firsts / sizeof *firsts; i++) {
        struct forked f = {NULL, stream_pair(), firsts[i]};
        cleanups = (struct trace){{0}, 0};
        cr_expect_eq(in_loop(fork_in_coroutine, &f), 0, "%zu", i);
        cr_expect_eq(cleanups.length, 2u);
        close_ends(f.ends);
    }
}

/* --- the whole loop in the child --------------------------------------------------------------------- */

static int fork_and_return(void *arg, void **result)
{
    pid_t *pid = arg;
    (void)result;
    cr_expect_eq(thrum_go(NULL, do_nothing, NULL), 0);
    *pid = fork();
    if (*pid == 0)
        alarm(CHILD_SECONDS);
    return thrum_sleep(THRUM_MS(1));
}

Test(coro_fork, the_loop_ends_in_the_child_as_well)
{
    pid_t pid = -1;
    int status = 0;
    const int err = thrum_run(fork_and_return, &pid, NULL);
    if (pid == 0)
        _exit(err == 0 && thrum_run(do_nothing, NULL, NULL) == 0 ? 0 : 1);
    cr_expect_eq(err, 0);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%#x", (unsigned)status);
}

static int fork_in_generator(void *arg, void **result)
{
    pid_t *pid = arg;
    (void)result;
    thrum_coro_yield(arg);
    *pid = fork();
    thrum_coro_yield(arg);
    return 0;
}

static int drive_generator(void *arg, void **result)
{
    thrum_coro_t *co = made(fork_in_generator, arg);
    (void)result;
    int err = thrum_coro_resume(co, NULL, NULL);
    if (err == 0)
        err = thrum_coro_resume(co, NULL, NULL);
    if (err == 0)
        err = thrum_sleep(THRUM_MS(1));
    if (err == 0)
        err = thrum_coro_resume(co, NULL, NULL) == ENODATA ? 0 : EPROTO;
    thrum_coro_release(co);
    return err;
}

Test(coro_fork, a_generator_may_fork)
{
    for (int loops = 0; loops < 2; loops++) {
        pid_t pid = -1;
        int status = 0;
        const int err = loops != 0 ? in_loop(drive_generator, &pid) : drive_generator(&pid, NULL);
        if (pid == 0)
            _exit(err == 0 ? 0 : 1);
        cr_expect_eq(err, 0);
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%#x", (unsigned)status);
    }
}

/* --- loops that are not running ---------------------------------------------------------------------- */

static int use_stopped_loop(void *arg)
{
    thrum_loop_t *loop = arg;
    thrum_coro_t *co = NULL;
    if (thrum_loop_run(loop) != 0)
        return 1;
    if (thrum_loop_go(loop, &co, do_nothing, NULL, NULL) != 0 || thrum_loop_run(loop) != 0)
        return 2;
    if (thrum_coro_join(co, NULL) != 0)
        return 3;
    thrum_coro_release(co);
    thrum_loop_destroy(loop);
    return 0;
}

static int stop_here(void *arg, void **result)
{
    (void)arg, (void)result;
    thrum_yield();
    thrum_loop_stop(thrum_loop_current());
    return 0;
}

Test(coro_fork, a_loop_that_was_not_running_is_empty_in_the_child)
{
    thrum_loop_t *loop = NULL;
    thrum_coro_t *co = NULL;
    EXPECT_CALL(0, thrum_loop_create(&loop, NULL));
    EXPECT_CALL(0, thrum_loop_go(loop, &co, wait_with_cleanup, "w", NULL));
    EXPECT_CALL(0, thrum_loop_go(loop, NULL, stop_here, NULL, NULL));
    EXPECT_CALL(ECANCELED, thrum_loop_run(loop));
    cr_expect_eq(child_run(use_stopped_loop, loop), 0);
    EXPECT_CALL(0, thrum_coro_cancel(co));
    EXPECT_CALL(0, thrum_loop_run(loop));
    EXPECT_CALL(ECANCELED, thrum_coro_join(co, NULL));
    thrum_coro_release(co);
    thrum_loop_destroy(loop);
}

/* As a thread of the parent would be that was about to leave something there. */
static int destroy_visited_loop(void *arg)
{
    thrum_loop_destroy(arg);
    return 0;
}

static int run_once(void *arg)
{
    return thrum_loop_run(arg);
}

Test(coro_fork, a_loop_that_somebody_visited_can_be_destroyed_in_the_child)
{
    for (int others = 0; others < 2; others++) { /* another thread's */
        thrum_loop_t *loop = NULL;
        struct caller c;
        EXPECT_CALL(0, thrum_loop_create(&loop, NULL));
        if (others != 0)
            caller_start(&c, run_once, loop);
        if (others != 0)
            cr_expect_eq(caller_join(&c), 0);
        cr_expect(thi_port_visit(loop->port));
        cr_expect_eq(child_run(destroy_visited_loop, loop), 0, "%d", others);
        thi_port_visited(loop->port);
        thrum_loop_destroy(loop);
    }
}

/* --- while other threads are at it ------------------------------------------------------------------- */

struct busy {
    thrum_loop_t *loop;
    uint32_t stop;
};

static int spawn_on_and_on(void *arg)
{
    struct busy *b = arg;
    int err = 0;
    while (err == 0 && thi_load_relaxed(&b->stop) == 0) {
        thrum_coro_t *co = NULL;
        err = thrum_loop_go(b->loop, &co, do_nothing, NULL, NULL);
        if (err == 0)
            err = thrum_coro_join(co, NULL);
        thrum_coro_release(co);
        if (err == 0)
            err = thrum_run(do_nothing, NULL, NULL);
    }
    return err;
}

static int use_coroutines(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20; i++) {
        thrum_coro_config_t config = THRUM_CORO_CONFIG_INIT;
        thrum_coro_t *co = NULL;
        config.stack_size = THRUM_CORO_STACK_MIN << (i % 4);
        if (thrum_coro_create(&co, do_nothing, NULL, &config) != 0 ||
            thrum_coro_resume(co, NULL, NULL) != ENODATA)
            return 1;
        thrum_coro_release(co);
        if (thrum_sleep(THRUM_US(10)) != 0)
            return 2;
        if (thrum_go(NULL, do_nothing, NULL) != 0)
            return 3;
        thrum_yield();
    }
    return 0;
}

static int fork_often(void *arg, void **result)
{
    struct busy *b = arg;
    (void)result;
    for (int i = 0; i < 50; i++) {
        const int status = child_run(use_coroutines, NULL);
        cr_expect_eq(status, 0, "%d", status);
        thrum_yield();
    }
    thi_store_relaxed(&b->stop, 1u);
    return 0;
}

Test(coro_fork, other_threads_may_spawn_meanwhile)
{
    struct busy b = {NULL, 0};
    struct caller c[2];
    if (!CHILD_MAY_START_THREADS)
        cr_skip("its allocator's locks are not kept across a fork");
    EXPECT_CALL(0, thrum_loop_create(&b.loop, NULL));
    EXPECT_CALL(0, thrum_loop_go(b.loop, NULL, fork_often, &b, NULL));
    for (int i = 0; i < 2; i++)
        caller_start(&c[i], spawn_on_and_on, &b);
    EXPECT_CALL(0, thrum_loop_run(b.loop));
    thrum_coro_t *keep = NULL;
    EXPECT_CALL(0, thrum_loop_go(b.loop, &keep, do_nothing, NULL, NULL));
    while (!caller_done(&c[0]) || !caller_done(&c[1]))
        (void)thrum_loop_turn(b.loop);
    for (int i = 0; i < 2; i++)
        cr_expect_eq(caller_join(&c[i]), 0);
    EXPECT_CALL(0, thrum_loop_run(b.loop));
    thrum_coro_release(keep);
    thrum_loop_destroy(b.loop);
}

/* --- who is waited for by nobody any more ------------------------------------------------------------- */

/* `starter` has started `started` by a switch, was switched back to, and waits; then `started` forks. */
struct waiting_starter {
    thrum_coro_t *starter;
    thrum_coro_t *started;
    thrum_coro_t *other;
    thrum_event_t event;
    pid_t child;
};

static int fork_when_switched_to(void *arg, void **result)
{
    struct waiting_starter *w = arg;
    (void)result;
    EXPECT_CALL(0, thrum_coro_switch(w->starter, NULL, NULL));
    w->child = fork();
    if (w->child == 0) {
        alarm(CHILD_SECONDS);
        return 0; /* nobody is left to give control to but the loop */
    }
    EXPECT_CALL(0, thrum_coro_switch(w->other, NULL, NULL));
    return 0;
}

static int start_and_wait(void *arg, void **result)
{
    struct waiting_starter *w = arg;
    (void)result;
    w->starter = thrum_coro_current();
    EXPECT_CALL(0, thrum_coro_create(&w->started, fork_when_switched_to, w, NULL));
    EXPECT_CALL(0, thrum_coro_switch(w->started, NULL, NULL));
    return thrum_event_wait(&w->event);
}

static int switch_and_set(void *arg, void **result)
{
    struct waiting_starter *w = arg;
    (void)result;
    w->other = thrum_coro_current();
    EXPECT_CALL(0, thrum_coro_switch(w->started, NULL, NULL));
    thrum_event_set(&w->event);
    return 0;
}

Test(coro_fork, whose_wait_did_not_come_along_is_not_waited_for)
{
    struct waiting_starter w = {.event = THRUM_EVENT_INIT};
    thrum_loop_t *loop = NULL;
    int status = 0;
    EXPECT_CALL(0, thrum_loop_create(&loop, NULL));
    EXPECT_CALL(0, thrum_loop_go(loop, NULL, start_and_wait, &w, NULL));
    EXPECT_CALL(0, thrum_loop_go(loop, NULL, switch_and_set, &w, NULL));
    const int err = thrum_loop_run(loop);
    thrum_loop_destroy(loop);
    if (w.child == 0)
        _exit(err);
    cr_expect_eq(err, 0);
    cr_assert_eq(waitpid(w.child, &status, 0), w.child);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%d", status);
    thrum_coro_release(w.started);
}
