#include <limits.h>

#include <criterion/criterion.h>

#include <thrum/thrum.h>

#include "support/child.h"
#include "support/expect.h"
#include "thread/object.h"

/* What happens to threads when the process ends, and when it forks. Each child of a test ends by exit;
 * an exit handler older than the library's ends it for good, without the test framework's. */
TestSuite(exit, .timeout = 30);

enum { FINE = 7, BAD = 99 };

static bool is_child;
static int (*last_look)(void);

static void end_here(void)
{
    if (is_child)
        _exit(last_look != NULL ? last_look() : FINE);
}

static void before_anything(void)
{
    cr_assert_eq(atexit(end_here), 0);
}

static int enter_child(void *arg)
{
    void (*fn)(void) = *(void (**)(void))arg;
    is_child = true;
    fn();
    exit(FINE);
}

static int in_child(void (*fn)(void))
{
    return child_run(enter_child, &fn);
}

static thrum_event_t never = THRUM_EVENT_INIT;

static int never_ends(void *arg, void **result)
{
    (void)arg;
    (void)result;
    return thrum_event_wait(&never);
}

static void must(int err)
{
    if (err != 0)
        _exit(BAD);
}

static const thrum_thread_config_t daemon_config = {NULL, true, 0,
                                                    NULL, 0,    sizeof(thrum_thread_config_t)};

/* --- who is waited for ------------------------------------------------------------------------------ */

static thrum_event_t exit_began = THRUM_EVENT_INIT;
static uint32_t finished;

static void let_them_finish(void)
{
    thrum_event_set(&exit_began);
}

static int finish_in_exit(void *arg, void **result)
{
    (void)arg;
    (void)result;
    must(thrum_event_wait(&exit_began));
    const thrum_time_t enough = thrum_after(THRUM_MS(20)); /* on a busy processor a yield is long */
    for (int i = 0; i < 1000 && thrum_now() < enough; i++)
        sched_yield();
    thi_fetch_add_relaxed(&finished, 1u);
    return 0;
}

static int all_three_finished(void)
{
    return thi_load_relaxed(&finished) == 3 ? FINE : BAD;
}

static void start_three(void)
{
    thrum_thread_t *t = NULL;
    last_look = all_three_finished;
    must(thrum_thread_spawn(NULL, finish_in_exit, NULL, NULL));
    must(thrum_thread_spawn(&t, finish_in_exit, NULL, NULL));
    must(thrum_thread_spawn(NULL, finish_in_exit, NULL, NULL));
    must(atexit(let_them_finish));
    thrum_thread_release(t);
}

Test(exit, waits_for_threads_that_are_no_daemons, .init = before_anything)
{
    cr_expect_eq(in_child(start_three), FINE);
}

static void start_daemon(void)
{
    must(thrum_thread_spawn(NULL, never_ends, NULL, &daemon_config));
}

Test(exit, does_not_wait_for_daemons, .init = before_anything)
{
    cr_expect_eq(in_child(start_daemon), FINE);
}

static void *strangers_thread(void *arg)
{
    thrum_thread_current();
    thi_store_release((uint32_t *)arg, 1u);
    never_ends(NULL, NULL);
    return NULL;
}

static void start_stranger(void)
{
    static uint32_t known;
    pthread_t thread;
    must(pthread_create(&thread, NULL, strangers_thread, &known));
    await_word(&known, 1);
    must(thrum_thread_spawn(NULL, finish_in_exit, NULL, NULL)); /* so that there is a handler */
    thrum_event_set(&exit_began);
}

Test(exit, does_not_wait_for_strangers, .init = before_anything)
{
    cr_expect_eq(in_child(start_stranger), FINE);
}

static int start_two_more(void *arg, void **result)
{
    finish_in_exit(arg, result);
    must(thrum_thread_spawn(NULL, finish_in_exit, NULL, NULL));
    must(thrum_thread_spawn(NULL, finish_in_exit, NULL, NULL));
    return 0;
}

static void start_one_that_starts_two(void)
{
    last_look = all_three_finished;
    must(thrum_thread_spawn(NULL, start_two_more, NULL, NULL));
    must(atexit(let_them_finish));
}

Test(exit, waits_for_threads_that_are_started_while_it_waits, .init = before_anything)
{
    cr_expect_eq(in_child(start_one_that_starts_two), FINE);
}

static void start_three_cancelled(void)
{
    start_three();
    must(thrum_thread_cancel(thrum_thread_current()));
}

Test(exit, of_a_cancelled_thread_waits_as_well, .init = before_anything)
{
    cr_expect_eq(in_child(start_three_cancelled), FINE);
}

static int too_late_to_start(void)
{
    thrum_thread_t *t = NULL;
    if (thrum_thread_create(&t, never_ends, NULL, NULL) != 0)
        return BAD;
    if (thrum_thread_start(t) != ESHUTDOWN || thrum_thread_alive(t))
        return BAD;
    if (thrum_thread_set_daemon(t, true) != 0 || thrum_thread_start(t) != 0)
        return BAD;
    return FINE;
}

static void start_nothing_in_time(void)
{
    start_daemon();
    last_look = too_late_to_start;
}

Test(exit, lets_only_daemons_start_after_the_wait, .init = before_anything)
{
    cr_expect_eq(in_child(start_nothing_in_time), FINE);
}

/* --- exit from a thread ----------------------------------------------------------------------------- */

static int call_exit(void *arg, void **result)
{
    (void)arg;
    (void)result;
    exit(FINE);
}

static void exit_from_thread(void)
{
    thrum_thread_t *t = NULL;
    last_look = all_three_finished;
    start_three();
    must(thrum_thread_spawn(&t, call_exit, NULL, NULL));
    (void)thrum_thread_join(t, NULL); /* from main: the process ends meanwhile */
    _exit(BAD);
}

Test(exit, from_a_thread_does_not_wait_for_itself, .init = before_anything)
{
    cr_expect_eq(in_child(exit_from_thread), FINE);
}

static void exit_from_daemon(void)
{
    thrum_thread_t *t = NULL;
    start_three();
    must(thrum_thread_spawn(&t, call_exit, NULL, &daemon_config));
    (void)thrum_thread_join(t, NULL);
    _exit(BAD);
}

Test(exit, from_a_daemon_waits_for_the_others, .init = before_anything)
{
    cr_expect_eq(in_child(exit_from_daemon), FINE);
}

static uint32_t told;

static int told_three(void)
{
    return thi_load_relaxed(&told) == 3 ? FINE : BAD;
}

static int join_who_exits(void *arg, void **result)
{
    if (thrum_thread_join(arg, result) == EDEADLK && thrum_thread_alive(arg))
        thi_fetch_add_relaxed(&told, 1u);
    return 0;
}

static int exit_when_waited_for(void *arg, void **result)
{
    (void)result;
    await_word(arg, 1);
    exit(FINE);
}

/* Somebody for whom exit waits, and who waits for whoever called it. */
static void exit_from_joined(thrum_thread_config_t config)
{
    static uint32_t go;
    thrum_thread_t *t = NULL;
    last_look = told_three;
    must(thrum_thread_spawn(&t, exit_when_waited_for, &go, &config));
    for (int i = 0; i < 3; i++)
        must(thrum_thread_spawn(NULL, join_who_exits, t, NULL));
    thi_store_release(&go, 1u);
    (void)thrum_thread_join(t, NULL);
    _exit(BAD);
}

static void exit_from_joined_thread(void)
{
    exit_from_joined((thrum_thread_config_t)THRUM_THREAD_CONFIG_INIT);
}

static void exit_from_joined_daemon(void)
{
    exit_from_joined(daemon_config);
}

Test(exit, from_a_thread_tells_those_that_it_would_have_to_wait_for, .init = before_anything)
{
    for (int i = 0; i < 20; i++) {
        cr_expect_eq(in_child(exit_from_joined_thread), FINE);
        cr_expect_eq(in_child(exit_from_joined_daemon), FINE);
    }
}

/* Others are starting threads all the while, and one of them may come too late. */
static int finish_at_once(void *arg, void **result)
{
    (void)arg;
    (void)result;
    thi_fetch_add_relaxed(&finished, 1u);
    return 0;
}

static int start_others(void *arg, void **result)
{
    (void)arg;
    (void)result;
    int err = 0;
    while (err == 0)
        err = thrum_thread_spawn(NULL, finish_at_once, NULL, NULL);
    return err;
}

static void exit_among_starts(void)
{
    must(thrum_thread_spawn(NULL, start_others, NULL, &daemon_config));
    must(thrum_thread_spawn(NULL, start_others, NULL, &daemon_config));
    while (thi_load_relaxed(&finished) < 5)
        sched_yield();
}

Test(exit, comes_to_an_end_while_threads_are_being_started, .init = before_anything)
{
    for (int i = 0; i < 20; i++)
        cr_expect_eq(in_child(exit_among_starts), FINE);
}

static void arm_timer(void)
{
    thrum_timer_t *t = NULL;
    must(thrum_timer_create(&t, (thrum_timer_fn)(void (*)(void))abort, NULL));
    must(thrum_timer_start(t, THRUM_S(1000)));
}

Test(exit, does_not_wait_for_timers, .init = before_anything)
{
    cr_expect_eq(in_child(arm_timer), FINE);
}

/* --- fork ------------------------------------------------------------------------------------------- */

static thrum_thread_t *running;
static thrum_thread_t *ended;
static thrum_thread_t *unstarted;

static int succeed(void *arg, void **result)
{
    *result = arg;
    return 0;
}

static bool looks_lost(thrum_thread_t *t)
{
    void *result = &is_child;
    return !thrum_thread_alive(t) && thrum_thread_join(t, &result) == EOWNERDEAD &&
           thrum_thread_tryjoin(t, &result) == EOWNERDEAD &&
           thrum_thread_join_until(t, &result, PAST) == EOWNERDEAD && result == &is_child &&
           thrum_thread_cancel(t) == 0 && thrum_thread_start(t) == EINVAL &&
           thrum_thread_set_daemon(t, true) == EBUSY && thrum_thread_set_name(t, "lost") == 0 &&
           thrum_thread_native_id(t) != getpid();
}

static void look_around_in_child(void)
{
    thrum_thread_t *list[4];
    void *result = NULL;
    if (!looks_lost(running))
        _exit(10);
    if (thrum_thread_join(ended, &result) != EPROTO)
        _exit(11);
    if (thrum_thread_count() != 1 || thrum_thread_list(list, 4) != 1)
        _exit(12);
    thrum_thread_t *self = thrum_thread_current();
    if (list[0] != self || thrum_thread_native_id(self) != getpid() || !thrum_thread_alive(self))
        _exit(13);
    thrum_thread_release(list[0]);
    thrum_thread_release(running);
    thrum_thread_release(ended);
    if (!CHILD_MAY_START_THREADS)
        return;
    if (thrum_thread_start(unstarted) != 0 || thrum_thread_join(unstarted, &result) != 0)
        _exit(14);
    if (thrum_thread_count() != 1)
        _exit(15);
    thrum_thread_release(unstarted);
}

static int fail(void *arg, void **result)
{
    (void)arg;
    (void)result;
    return EPROTO;
}

/* Nobody is on his way in or out of the system: the child may allocate (see child.h). */
static void prepare_threads(void)
{
    char task[64];
    cr_assert_eq(thrum_thread_create(&unstarted, succeed, NULL, NULL), 0);
    cr_assert_eq(thrum_thread_spawn(&running, never_ends, NULL, NULL), 0);
    cr_assert_eq(thrum_thread_spawn(&ended, fail, NULL, NULL), 0);
    cr_assert_eq(thrum_thread_spawn(NULL, never_ends, NULL, &daemon_config), 0);
    await_parked(&never, 2);
    snprintf(task, sizeof task, "/proc/self/task/%d", (int)thrum_thread_native_id(ended));
    while (access(task, F_OK) == 0)
        sched_yield();
}

static void release_threads(void)
{
    EXPECT_CALL(0, thrum_thread_cancel(running));
    EXPECT_CALL(ECANCELED, thrum_thread_join(running, NULL));
    EXPECT_CALL(EPROTO, thrum_thread_join(ended, NULL));
    thrum_thread_release(running);
    thrum_thread_release(ended);
    thrum_thread_release(unstarted);
}

Test(exit, of_a_forked_child_waits_for_nobody, .init = before_anything)
{
    prepare_threads();
    cr_expect_eq(in_child(look_around_in_child), FINE);
    release_threads();
}

static int fork_from_thread(void *arg, void **result)
{
    *(int *)arg = in_child(look_around_in_child);
    *result = NULL;
    return 0;
}

Test(exit, of_a_child_that_a_thread_has_forked, .init = before_anything)
{
    int status = 0;
    thrum_thread_t *t = NULL;
    thrum_thread_current();
    prepare_threads();
    EXPECT_CALL(0, thrum_thread_spawn(&t, fork_from_thread, &status, NULL));
    EXPECT_CALL(0, thrum_thread_join(t, NULL));
    cr_expect_eq(status, FINE);
    thrum_thread_release(t);
    release_threads();
}

/* The forker is a thread like any other in the child: exit waits for it when another calls that. */
static int one_finished(void)
{
    return thi_load_relaxed(&finished) == 1 ? FINE : BAD;
}

static void end_while_another_exits(void)
{
    if (!CHILD_MAY_START_THREADS)
        return;
    last_look = one_finished;
    must(atexit(let_them_finish));
    must(thrum_thread_spawn(NULL, call_exit, NULL, &daemon_config));
    finish_in_exit(NULL, NULL);
    pthread_exit(NULL);
}

static int fork_and_end(void *arg, void **result)
{
    *(int *)arg = in_child(end_while_another_exits);
    *result = NULL;
    return 0;
}

Test(exit, of_a_forked_child_waits_for_the_thread_that_forked, .init = before_anything)
{
    int status = 0;
    thrum_thread_t *t = NULL;
    EXPECT_CALL(0, thrum_thread_spawn(&t, fork_and_end, &status, NULL));
    EXPECT_CALL(0, thrum_thread_join(t, NULL));
    cr_expect_eq(status, FINE);
    thrum_thread_release(t);
}

static void *fork_from_stranger(void *arg)
{
    *(int *)arg = in_child(look_around_in_child);
    return NULL;
}

Test(exit, of_a_child_that_a_stranger_has_forked, .init = before_anything)
{
    int status = 0;
    pthread_t thread;
    thrum_thread_current();
    prepare_threads();
    cr_assert_eq(pthread_create(&thread, NULL, fork_from_stranger, &status), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_expect_eq(status, FINE);
    release_threads();
}

/* A thread that has ended, but is held up on its way out of the system. */
static pthread_key_t late;
static uint32_t rounds;
static int hold_up[2];

static void end_late(void *value)
{
    char byte = 0;
    if (++rounds < PTHREAD_DESTRUCTOR_ITERATIONS)
        pthread_setspecific(late, value);
    else if (read(hold_up[0], &byte, 1) != 1)
        abort();
}

static int end_later(void *arg, void **result)
{
    *result = arg;
    return pthread_setspecific(late, &late);
}

static void join_late(void)
{
    void *result = NULL;
    if (thrum_thread_join(ended, &result) != 0 || result != &late)
        _exit(10);
    thrum_thread_release(ended);
}

static int join_ended(void *arg)
{
    (void)arg;
    return thrum_thread_join(ended, NULL);
}

Test(exit, of_a_child_knows_what_had_ended_in_the_parent, .init = before_anything)
{
    struct caller joiner; /* does not exist in the child either */
    cr_assert_eq(pipe(hold_up), 0);
    cr_assert_eq(pthread_key_create(&late, end_late), 0);
    cr_assert_eq(thrum_thread_spawn(&ended, end_later, &late, NULL), 0);
    while (thrum_thread_alive(ended))
        sched_yield();
    cr_expect_eq(in_child(join_late), FINE);
    caller_start(&joiner, join_ended, NULL);
    await_word(&ended->native, THI_NATIVE_TAKEN);
    cr_expect_eq(in_child(join_late), FINE);
    cr_expect_eq(write(hold_up[1], "", 1), 1);
    cr_expect_eq(caller_join(&joiner), 0);
    thrum_thread_release(ended);
}

static int keep_starting(void *arg)
{
    const uint32_t *stop = arg;
    int err = 0;
    while (err == 0 && thi_load_relaxed(stop) == 0) {
        thrum_thread_t *t = NULL;
        err = thrum_thread_spawn(&t, succeed, NULL, NULL);
        if (err == 0) {
            err = thrum_thread_set_name(t, "one of many threads");
            err |= thrum_thread_cancel(t);
            err |= thrum_thread_join(t, NULL);
            thrum_thread_release(t);
        }
    }
    return err;
}

static void start_and_join(void)
{
    thrum_thread_t *t = NULL;
    if (!CHILD_MAY_START_THREADS)
        return;
    must(thrum_thread_spawn(&t, succeed, NULL, NULL));
    must(thrum_thread_join(t, NULL));
    thrum_thread_release(t);
    must(thrum_thread_spawn(NULL, succeed, NULL, NULL));
}

Test(exit, of_a_child_forked_while_threads_come_and_go, .init = before_anything)
{
    uint32_t stop = 0;
    struct caller c[2];
    caller_start(&c[0], keep_starting, &stop);
    caller_start(&c[1], keep_starting, &stop);
    for (int i = 0; i < 50; i++)
        cr_expect_eq(in_child(start_and_join), FINE);
    thi_store_relaxed(&stop, 1u);
    cr_expect_eq(caller_join(&c[0]), 0);
    cr_expect_eq(caller_join(&c[1]), 0);
}
