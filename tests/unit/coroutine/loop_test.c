#include "coroutine/loops.h"

TestSuite(loop, .timeout = 30);

static struct trace trace;

/* --- run --------------------------------------------------------------------------------------------- */

static int give_result(void *arg, void **result)
{
    *result = arg;
    return EDOM;
}

Test(loop, a_run_returns_what_the_first_coroutine_does)
{
    int value = 0;
    void *result = NULL;
    EXPECT_CALL(EDOM, thrum_run(give_result, &value, &result));
    cr_expect_eq(result, &value);
    EXPECT_CALL(EDOM, thrum_run(give_result, &value, NULL));
    EXPECT_CALL(EINVAL, thrum_run(NULL, NULL, NULL));
    cr_expect_null(thrum_loop_current());
}

static int run_in_a_run(void *arg, void **result)
{
    thrum_loop_t *loop = NULL;
    (void)arg, (void)result;
    EXPECT_CALL(EBUSY, thrum_run(do_nothing, NULL, NULL));
    EXPECT_CALL(0, thrum_loop_create(&loop, NULL));
    EXPECT_CALL(EBUSY, thrum_loop_run(loop));
    EXPECT_CALL(EBUSY, thrum_loop_turn(loop));
    thrum_loop_destroy(loop);
    cr_expect_not_null(thrum_loop_current());
    return 0;
}

Test(loop, a_thread_runs_one_at_a_time)
{
    cr_expect_eq(in_loop(run_in_a_run, NULL), 0);
}

Test(loop, misuse_is_refused)
{
    thrum_loop_config_t config = THRUM_LOOP_CONFIG_INIT;
    thrum_loop_t *loop = NULL;
    EXPECT_CALL(EINVAL, thrum_loop_create(NULL, NULL));
    config.boost = -1;
    EXPECT_CALL(EINVAL, thrum_loop_create(&loop, &config));
    config = (thrum_loop_config_t)THRUM_LOOP_CONFIG_INIT;
    config.watchdog = -1;
    EXPECT_CALL(EINVAL, thrum_loop_create(&loop, &config));
    config = (thrum_loop_config_t)THRUM_LOOP_CONFIG_INIT;
    config.policy = (thrum_loop_policy_t)7;
    EXPECT_CALL(EINVAL, thrum_loop_create(&loop, &config));
    config = (thrum_loop_config_t)THRUM_LOOP_CONFIG_INIT;
    config.config_size = 1;
    EXPECT_CALL(EINVAL, thrum_loop_create(&loop, &config));
    EXPECT_CALL(EINVAL, thrum_loop_run(NULL));
    EXPECT_CALL(EINVAL, thrum_loop_turn(NULL));
    EXPECT_CALL(EINVAL, thrum_loop_fd(NULL, NULL));
    EXPECT_CALL(EINVAL, thrum_loop_go(NULL, NULL, do_nothing, NULL, NULL));
    EXPECT_CALL(EINVAL, thrum_go(NULL, do_nothing, NULL));
    cr_expect_null(thrum_loop_executor(NULL));
    thrum_loop_stop(NULL);
    thrum_loop_destroy(NULL);
    EXPECT_CALL(0, thrum_loop_create(&loop, NULL));
    EXPECT_CALL(EINVAL, thrum_loop_go(loop, NULL, NULL, NULL, NULL));
    EXPECT_CALL(0, thrum_loop_run(loop));
    thrum_loop_destroy(loop);
}

/* --- order ------------------------------------------------------------------------------------------- */

static int say_thrice(void *arg, void **result)
{
    (void)result;
    for (int i = 0; i < 3; i++) {
        note(&trace, *(char *)arg);
        thrum_yield();
    }
    return 0;
}

static int spawn_three(void *arg, void **result)
{
    static char names[] = "abc";
    (void)arg, (void)result;
    for (int i = 0; i < 3; i++)
        cr_expect_eq(thrum_go(NULL, say_thrice, &names[i]), 0);
    note(&trace, '-');
    return 0;
}

Test(loop, those_who_yield_take_turns)
{
    cr_expect_eq(in_loop(spawn_three, NULL), 0);
    cr_expect_str_eq(trace.text, "-abcabcabc");
}

struct sleeper {
    thrum_time_t deadline;
    char name;
    bool early;
};

static int sleep_and_say(void *arg, void **result)
{
    struct sleeper *s = arg;
    (void)result;
    const int err = thrum_sleep_until(s->deadline);
    s->early = thrum_now() < s->deadline;
    note(&trace, s->name);
    return err;
}

struct sleepers {
    struct sleeper sleeper[26];
    thrum_time_t first;
    bool asleep; /* all of them, before the first deadline */
};

/* Spawned after them. */
static int look_at_sleepers(void *arg, void **result)
{
    struct sleepers *s = arg;
    (void)result;
    s->asleep = thrum_now() < s->first;
    return 0;
}

static int sleep_in_some_order(void *arg, void **result)
{
    struct sleepers *s = arg;
    (void)result;
    for (int i = 0; i < 26; i++) {
        const int place = i * 7 % 26;
        s->sleeper[i] =
            (struct sleeper){s->first + THRUM_US(200 * place), (char)('a' + place), false};
        cr_expect_eq(thrum_go(NULL, sleep_and_say, &s->sleeper[i]), 0);
    }
    return thrum_go(NULL, look_at_sleepers, s);
}

Test(loop, sleepers_wake_in_order_of_their_deadlines)
{
    struct sleepers s = {.asleep = false};
    for (int64_t delay = THRUM_MS(5); !s.asleep; delay *= 2) { /* the machine may be busy */
        trace = (struct trace){{0}, 0};
        s.first = thrum_after(delay);
        cr_expect_eq(in_loop(sleep_in_some_order, &s), 0);
    }
    cr_expect_str_eq(trace.text, "abcdefghijklmnopqrstuvwxyz");
    for (int i = 0; i < 26; i++)
        cr_expect_not(s.sleeper[i].early);
}

static int spin_until(void *arg, void **result)
{
    (void)result;
    while (*(volatile uint32_t *)arg == 0)
        thrum_yield();
    return 0;
}

static int sleep_and_set(void *arg, void **result)
{
    uint32_t *word = arg;
    (void)result;
    const int err = thrum_sleep(THRUM_MS(2));
    *word = 1;
    return err;
}

static int spin_and_sleep(void *arg, void **result)
{
    (void)result;
    for (int i = 0; i < 3; i++)
        cr_expect_eq(thrum_go(NULL, spin_until, arg), 0);
    return thrum_go(NULL, sleep_and_set, arg);
}

Test(loop, those_who_yield_for_ever_do_not_keep_sleepers_from_waking)
{
    uint32_t word = 0;
    cr_expect_eq(in_loop(spin_and_sleep, &word), 0);
    word = 0;
    thrum_loop_config_t config = THRUM_LOOP_CONFIG_INIT;
    thrum_loop_t *loop = NULL;
    config.policy = THRUM_FEEDBACK;
    EXPECT_CALL(0, thrum_loop_create(&loop, &config));
    EXPECT_CALL(0, thrum_loop_go(loop, NULL, spin_and_sleep, &word, NULL));
    EXPECT_CALL(0, thrum_loop_run(loop));
    thrum_loop_destroy(loop);
}

static int wait_for_thread(void *arg, void **result)
{
    (void)result;
    yield_until(arg, 1);
    return 0;
}

static int set_word(void *arg)
{
    thi_store_release((uint32_t *)arg, 1u);
    return 0;
}

Test(loop, a_thread_is_heard_by_one_that_yields)
{
    uint32_t word = 0;
    struct caller c;
    caller_start(&c, set_word, &word);
    cr_expect_eq(in_loop(wait_for_thread, &word), 0);
    cr_expect_eq(caller_join(&c), 0);
}

/* --- feedback ---------------------------------------------------------------------------------------- */

static uint32_t brief_turns;
static uint32_t busy_turns;
static uint32_t done;

static void burn(int64_t nanoseconds)
{
    const thrum_time_t until = thrum_after(nanoseconds);
    while (thrum_now() < until)
        thi_cpu_pause();
}

static int work_long(void *arg, void **result)
{
    (void)arg, (void)result;
    while (done == 0) {
        burn(THRUM_MS(1));
        busy_turns++;
        thrum_yield();
    }
    return 0;
}

static int work_briefly(void *arg, void **result)
{
    (void)arg, (void)result;
    while (brief_turns < 1000) {
        brief_turns++;
        thrum_yield();
    }
    done = 1;
    return 0;
}

Test(loop, with_feedback_who_uses_little_goes_first_and_nobody_is_forgotten)
{
    thrum_loop_config_t config = THRUM_LOOP_CONFIG_INIT;
    thrum_loop_t *loop = NULL;
    config.policy = THRUM_FEEDBACK;
    config.boost = THRUM_S(1000);
    EXPECT_CALL(0, thrum_loop_create(&loop, &config));
    EXPECT_CALL(0, thrum_loop_go(loop, NULL, work_long, NULL, NULL));
    EXPECT_CALL(0, thrum_loop_go(loop, NULL, work_briefly, NULL, NULL));
    EXPECT_CALL(0, thrum_loop_run(loop));
    thrum_loop_destroy(loop);
    cr_expect_lt(busy_turns, 500u, "in turns it would have been a thousand");
}

static int never_let_go(void *arg, void **result)
{
    (void)arg, (void)result;
    while (done == 0)
        thrum_yield();
    return 0;
}

static int use_up_and_finish(void *arg, void **result)
{
    (void)arg, (void)result;
    burn(THRUM_MS(50)); /* down to the bottom */
    thrum_yield();
    burn(THRUM_MS(50));
    thrum_yield();
    burn(THRUM_MS(50));
    thrum_yield();
    done = 1;
    return 0;
}

Test(loop, with_feedback_a_boost_comes_to_those_at_the_bottom)
{
    thrum_loop_config_t config = THRUM_LOOP_CONFIG_INIT;
    thrum_loop_t *loop = NULL;
    config.policy = THRUM_FEEDBACK;
    config.boost = THRUM_MS(5);
    EXPECT_CALL(0, thrum_loop_create(&loop, &config));
    EXPECT_CALL(0, thrum_loop_go(loop, NULL, use_up_and_finish, NULL, NULL));
    EXPECT_CALL(0, thrum_loop_go(loop, NULL, never_let_go, NULL, NULL));
    EXPECT_CALL(0, thrum_loop_run(loop));
    thrum_loop_destroy(loop);
}

/* --- daemons ----------------------------------------------------------------------------------------- */

static int daemon_main(void *arg, void **result)
{
    const int err = wait_for_ever(NULL, result);
    note(&trace, *(char *)arg);
    return err;
}

static int go_daemon(thrum_coro_t **co, thrum_fn fn, void *arg)
{
    thrum_coro_config_t config = THRUM_CORO_CONFIG_INIT;
    config.daemon = true;
    return thrum_go_with(co, fn, arg, &config);
}

static int spawn_daemons(void *arg, void **result)
{
    thrum_coro_t **co = arg;
    (void)result;
    cr_expect_eq(go_daemon(NULL, daemon_main, "d"), 0);
    cr_expect_eq(go_daemon(co, daemon_main, "e"), 0);
    const int err = thrum_sleep(THRUM_MS(1));
    note(&trace, '-');
    return err;
}

Test(loop, daemons_are_cancelled_and_waited_for)
{
    thrum_coro_t *co = NULL;
    cr_expect_eq(in_loop(spawn_daemons, &co), 0);
    cr_expect_eq(trace.length, 3u);
    cr_expect_eq(trace.text[0], '-');
    EXPECT_CALL(ECANCELED, thrum_coro_join(co, NULL));
    thrum_coro_release(co);
}

static int daemon_with_heirs(void *arg, void **result)
{
    const int err = wait_for_ever(NULL, result);
    cr_expect_eq(go_daemon(NULL, daemon_main, arg), 0);
    cr_expect_eq(thrum_go(NULL, say_thrice, "n"), 0);
    return err;
}

static int spawn_daemon_with_heirs(void *arg, void **result)
{
    (void)arg, (void)result;
    return go_daemon(NULL, daemon_with_heirs, "d");
}

Test(loop, a_daemon_may_spawn_others_when_it_is_cancelled)
{
    cr_expect_eq(in_loop(spawn_daemon_with_heirs, NULL), 0);
    cr_expect_str_eq(trace.text, "nnnd");
}

/* --- stop -------------------------------------------------------------------------------------------- */

static int stop_and_go_on(void *arg, void **result)
{
    (void)arg, (void)result;
    note(&trace, '1');
    thrum_loop_stop(thrum_loop_current());
    const int err = thrum_sleep(THRUM_MS(1));
    note(&trace, '2');
    return err;
}

Test(loop, one_that_was_stopped_is_run_again)
{
    thrum_loop_t *loop = NULL;
    thrum_coro_t *co = NULL;
    EXPECT_CALL(0, thrum_loop_create(&loop, NULL));
    EXPECT_CALL(0, thrum_loop_go(loop, &co, stop_and_go_on, NULL, NULL));
    EXPECT_CALL(ECANCELED, thrum_loop_run(loop));
    cr_expect_str_eq(trace.text, "1");
    EXPECT_CALL(EAGAIN, thrum_coro_tryjoin(co, NULL));
    EXPECT_CALL(0, thrum_loop_run(loop));
    cr_expect_str_eq(trace.text, "12");
    EXPECT_CALL(0, thrum_coro_join(co, NULL));
    EXPECT_CALL(0, thrum_loop_run(loop));
    thrum_loop_stop(loop); /* before the run that it is for */
    EXPECT_CALL(0, thrum_loop_go(loop, NULL, wait_for_ever, NULL, NULL));
    EXPECT_CALL(ECANCELED, thrum_loop_run(loop));
    thrum_coro_release(co);
    thrum_loop_destroy(loop);
}

static int stop_it(void *arg)
{
    thrum_loop_stop(arg);
    return 0;
}

Test(loop, another_thread_may_stop_it)
{
    for (int i = 0; i < 100; i++) {
        struct caller c;
        thrum_loop_t *loop = NULL;
        EXPECT_CALL(0, thrum_loop_create(&loop, NULL));
        EXPECT_CALL(0, thrum_loop_go(loop, NULL, wait_for_ever, NULL, NULL));
        caller_start(&c, stop_it, loop);
        EXPECT_CALL(ECANCELED, thrum_loop_run(loop));
        cr_expect_eq(caller_join(&c), 0);
        thrum_loop_destroy(loop);
    }
}

static int run_it(void *arg)
{
    return thrum_loop_run(arg);
}

Test(loop, it_belongs_to_the_thread_of_its_first_run)
{
    struct caller c;
    thrum_loop_t *loop = NULL;
    EXPECT_CALL(0, thrum_loop_create(&loop, NULL));
    EXPECT_CALL(0, thrum_loop_run(loop));
    caller_start(&c, run_it, loop);
    cr_expect_eq(caller_join(&c), EINVAL);
    thrum_loop_destroy(loop);
}

/* --- from other threads ------------------------------------------------------------------------------ */

enum { SPAWNERS = 4, SPAWNS = 2000 };

struct host {
    thrum_loop_t *loop;
    uint32_t ran;
    thrum_waitgroup_t spawned;
};

static int count_run(void *arg, void **result)
{
    struct host *h = arg;
    (void)result;
    if (++h->ran % 3 == 0)
        thrum_yield();
    return 0;
}

static int spawn_from_thread(void *arg)
{
    struct host *h = arg;
    int err = 0;
    for (int i = 0; i < SPAWNS && err == 0; i++) {
        thrum_coro_t *co = NULL;
        err = thrum_loop_go(h->loop, i % 4 == 0 ? &co : NULL, count_run, h, NULL);
        if (co != NULL && err == 0) {
            err = thrum_coro_join(co, NULL);
            thrum_coro_release(co);
        }
    }
    return err != 0 ? err : thrum_waitgroup_done(&h->spawned);
}

static int wait_for_spawners(void *arg, void **result)
{
    struct host *h = arg;
    (void)result;
    return thrum_waitgroup_wait(&h->spawned);
}

Test(loop, other_threads_spawn_on_it)
{
    struct host h = {NULL, 0, THRUM_WAITGROUP_INIT};
    struct caller c[SPAWNERS];
    EXPECT_CALL(0, thrum_loop_create(&h.loop, NULL));
    EXPECT_CALL(0, thrum_waitgroup_add(&h.spawned, SPAWNERS));
    EXPECT_CALL(0, thrum_loop_go(h.loop, NULL, wait_for_spawners, &h, NULL));
    for (int i = 0; i < SPAWNERS; i++)
        caller_start(&c[i], spawn_from_thread, &h);
    EXPECT_CALL(0, thrum_loop_run(h.loop));
    for (int i = 0; i < SPAWNERS; i++)
        cr_expect_eq(caller_join(&c[i]), 0);
    cr_expect_eq(h.ran, (uint32_t)(SPAWNERS * SPAWNS));
    thrum_loop_destroy(h.loop);
}

/* --- in a pool's worker ------------------------------------------------------------------------------ */

static int wait_for_a_task(void *arg, void **result)
{
    thrum_future_t *f = NULL;
    (void)result;
    int err = thrum_executor_submit(arg, do_nothing, NULL, &f);
    if (err == 0)
        err = thrum_future_result(f, NULL);
    thrum_future_release(f);
    return err;
}

static int run_a_loop(void *arg, void **result)
{
    return thrum_run(wait_for_a_task, arg, result);
}

Test(loop, one_that_a_pools_only_worker_runs_may_wait_for_tasks_of_the_pool)
{
    thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
    thrum_executor_t *pool = NULL;
    thrum_future_t *f = NULL;
    config.workers = 1;
    EXPECT_CALL(0, thrum_thread_pool_create(&pool, &config));
    EXPECT_CALL(0, thrum_executor_submit(pool, run_a_loop, pool, &f));
    EXPECT_CALL(0, thrum_future_result(f, NULL));
    thrum_future_release(f);
    thrum_executor_destroy(pool);
}

/* --- watchdog ---------------------------------------------------------------------------------------- */

static int hold_on(void *arg, void **result)
{
    const int fd = *(int *)arg;
    char c = 0;
    (void)result;
    while (read(fd, &c, 1) != 1) { /* what the watchdog says ends it */
    }
    return 0;
}

static int watchdog_in_child(void *arg)
{
    thrum_loop_config_t config = THRUM_LOOP_CONFIG_INIT;
    thrum_coro_config_t coro = THRUM_CORO_CONFIG_INIT;
    thrum_loop_t *loop = NULL;
    int ends[2];
    (void)arg;
    if (pipe(ends) != 0 || dup2(ends[1], STDERR_FILENO) < 0)
        return 1;
    config.watchdog = THRUM_MS(1);
    coro.name = "hog";
    if (thrum_loop_create(&loop, &config) != 0 ||
        thrum_loop_go(loop, NULL, hold_on, &ends[0], &coro) != 0 || thrum_loop_run(loop) != 0)
        return 2;
    thrum_loop_destroy(loop);
    close(ends[1]);
    close(STDERR_FILENO);
    char text[256] = {0};
    if (read(ends[0], text, sizeof text - 1) <= 0)
        return 3;
    return strstr(text, "hog") != NULL && strstr(text, "has not let go") != NULL ? 0 : 4;
}

Test(loop, a_watchdog_names_who_does_not_let_go)
{
    if (!CHILD_MAY_START_THREADS)
        cr_skip("no threads in a child");
    cr_expect_eq(child_run(watchdog_in_child, NULL), 0);
}

static int never_mind(void *arg, void **result)
{
    (void)arg, (void)result;
    return thrum_sleep(THRUM_MS(10));
}

Test(loop, a_watchdog_goes_with_its_loop)
{
    thrum_loop_config_t config = THRUM_LOOP_CONFIG_INIT;
    config.watchdog = THRUM_MS(1);
    for (int i = 0; i < 5; i++) {
        thrum_loop_t *loop = NULL;
        EXPECT_CALL(0, thrum_loop_create(&loop, &config));
        EXPECT_CALL(0, thrum_loop_go(loop, NULL, never_mind, NULL, NULL));
        EXPECT_CALL(0, thrum_loop_run(loop));
        thrum_loop_destroy(loop);
    }
}
