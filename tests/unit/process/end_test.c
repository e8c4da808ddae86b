#include "family.h"

#include <stdio.h>

/* The end of a process that has children: of its own accord, or killed. */
TestSuite(process_end, .timeout = 40);

/* Runs fn in a process that has the pipes, and ends as fn says. What ended it; after that nobody has the pipes. */
static int run_parent(thrum_fn fn, struct family *family)
{
    thrum_process_t *p = NULL;
    int code = -1000;
    EXPECT_CALL(0, thrum_process_spawn(&p, fn, family, NULL));
    EXPECT_CALL(0, thrum_process_join(p, &code));
    thrum_process_release(p);
    return code;
}

static int spawn(thrum_fn fn, void *arg, bool daemon)
{
    thrum_process_config_t config = THRUM_PROCESS_CONFIG_INIT;
    config.daemon = daemon;
    return thrum_process_spawn(NULL, fn, arg, &config);
}

/* Ends by itself, when its parent is at its end for sure. */
static int tell_late(void *arg, void **result)
{
    (void)result;
    alarm(CHILD_SECONDS);
    if (thrum_process_join_until(thrum_process_parent(), NULL, thrum_after(THRUM_MS(30))) == 0)
        return 1; /* it has not waited */
    family_tell(arg, 77);
    return 0;
}

static int return_at_once(void *arg, void **result)
{
    (void)result;
    alarm(CHILD_SECONDS);
    return spawn(tell_late, arg, false) != 0 || spawn(family_child, arg, true) != 0;
}

static int exit_at_once(void *arg, void **result)
{
    if (return_at_once(arg, result) != 0)
        _exit(1);
    exit(21);
}

/* The framework's exit functions are not for children: this one is newer than those, and older than the
 * library's, so it comes in between. */
static bool is_child;

static void leave_without_the_framework(void)
{
    if (is_child)
        _exit(21);
}

static void before_anything(void)
{
    cr_assert_eq(atexit(leave_without_the_framework), 0);
}

/* In both the child writes as much as it pleases before its parent is gone, and the daemon does not stay. */
static void expect_a_good_end(thrum_fn fn, int code)
{
    struct family family;
    family_open(&family);
    cr_expect_eq(run_parent(fn, &family), code);
    int heard = 0;
    unsigned late = 0;
    unsigned others = 0;
    close(family.told[1]);
    while ((heard = family_hear(&family)) != -1) { /* until nobody is there */
        late += heard == 77;
        others += heard != 77;
    }
    cr_expect_eq(late, 1u, "it was waited for");
    cr_expect_leq(others, 1u);
}

Test(process_end, a_function_that_returns_waits_for_its_children)
{
    expect_a_good_end(return_at_once, 0);
}

static int exit_in_a_process(void *arg, void **result)
{
    is_child = true;
    return exit_at_once(arg, result);
}

Test(process_end, exit_waits_for_children, .init = before_anything)
{
    expect_a_good_end(exit_in_a_process, 21);
}

static int start_late(void *arg, void **result)
{
    (void)result;
    return thrum_sleep(THRUM_MS(5)) != 0 || spawn(tell_late, arg, false) != 0;
}

static int leave_to_a_thread(void *arg, void **result)
{
    (void)result;
    alarm(CHILD_SECONDS);
    return thrum_thread_spawn(NULL, start_late, arg, NULL) != 0 ||
           spawn(family_child, arg, true) != 0;
}

Test(process_end, waits_for_what_its_threads_start_to_the_last)
{
    expect_a_good_end(leave_to_a_thread, 0);
}

/* --- killed --------------------------------------------------------------------------------------------- */

static int keep_daemons(void *arg, void **result)
{
    (void)result;
    alarm(CHILD_SECONDS);
    if (spawn(family_child, arg, true) != 0 || spawn(family_child, arg, true) != 0)
        return 1;
    family_await(arg);
    return 0;
}

static void kill_parent(thrum_fn fn, unsigned children)
{
    struct family family;
    thrum_process_t *p = NULL;
    family_open(&family);
    EXPECT_CALL(0, thrum_process_spawn(&p, fn, &family, NULL));
    for (unsigned i = 0; i < children; i++)
        cr_expect_gt(family_hear(&family), 0);
    EXPECT_CALL(0, thrum_process_kill(p));
    EXPECT_CALL(0, thrum_process_join(p, NULL));
    cr_expect(family_is_gone(&family));
    thrum_process_release(p);
}

Test(process_end, daemons_die_with_a_parent_that_is_killed)
{
    kill_parent(keep_daemons, 2);
}

static int keep_generations(void *arg, void **result)
{
    (void)result;
    alarm(CHILD_SECONDS);
    if (spawn(keep_daemons, arg, true) != 0)
        return 1;
    family_await(arg);
    return 0;
}

Test(process_end, and_so_do_theirs)
{
    kill_parent(keep_generations, 2);
}

static int execute_as_daemon(void *arg, void **result)
{
    (void)result;
    const struct family *family = arg;
    family_tell(family, 1);
    execl("/bin/sleep", "sleep", "30", (char *)NULL);
    return 1;
}

static int keep_an_executed_one(void *arg, void **result)
{
    (void)result;
    alarm(CHILD_SECONDS);
    if (spawn(execute_as_daemon, arg, true) != 0)
        return 1;
    family_await(arg);
    return 0;
}

Test(process_end, also_one_that_executes_another_program)
{
    kill_parent(keep_an_executed_one, 1);
}

static int abort_with_daemons(void *arg, void **result)
{
    (void)result;
    alarm(CHILD_SECONDS);
    if (spawn(family_child, arg, true) != 0)
        return 1;
    signal(SIGABRT, SIG_DFL);
    abort();
}

Test(process_end, daemons_die_with_a_parent_that_aborts)
{
    struct family family;
    family_open(&family);
    cr_expect_eq(run_parent(abort_with_daemons, &family), -SIGABRT);
    cr_expect(family_is_gone(&family));
}

static int execute_with_daemons(void *arg, void **result)
{
    (void)result;
    alarm(CHILD_SECONDS);
    if (spawn(family_child, arg, true) != 0)
        return 1;
    execl("/bin/sh", "sh", "-c", "exit 3", (char *)NULL);
    return 1;
}

Test(process_end, daemons_die_with_a_parent_that_executes_another_program)
{
    struct family family;
    family_open(&family);
    cr_expect_eq(run_parent(execute_with_daemons, &family), 3);
    cr_expect(family_is_gone(&family));
}

static int outlive(void *arg, void **result)
{
    (void)result;
    alarm(CHILD_SECONDS);
    family_tell(arg, 87);
    if (thrum_process_join(thrum_process_parent(), NULL) != 0)
        return 1;
    family_tell(arg, 88);
    return 0;
}

static int leave_at_once(void *arg, void **result)
{
    (void)result;
    alarm(CHILD_SECONDS);
    if (spawn(family_child, arg, true) != 0 || spawn(outlive, arg, false) != 0)
        _exit(1);
    while (family_hear(arg) != 87)
        continue;
    raise(SIGKILL);
    return 0;
}

Test(process_end, others_live_on_after_a_parent_that_is_killed)
{
    struct family family;
    family_open(&family);
    cr_expect_eq(run_parent(leave_at_once, &family), -SIGKILL);
    int heard = 0;
    while (heard != 88 && heard != -1)
        heard = family_hear(&family);
    cr_expect_eq(heard, 88);
    cr_expect(family_is_gone(&family));
}

/* A daemon has a descriptor that ties it to its parent, which its own children have not. */
static int count_as_grandchild(void *arg, void **result)
{
    (void)result;
    family_tell(arg, count_descriptors());
    return 0;
}

static int count_as_daemon(void *arg, void **result)
{
    (void)result;
    alarm(CHILD_SECONDS);
    family_tell(arg, count_descriptors());
    thrum_process_t *p = NULL;
    int err = thrum_process_spawn(&p, count_as_grandchild, arg, NULL);
    if (err == 0)
        err = thrum_process_join(p, NULL);
    thrum_process_release(p);
    return err;
}

Test(process_end, what_ties_a_daemon_is_not_inherited)
{
    struct family family;
    thrum_process_t *p = NULL;
    thrum_process_config_t config = THRUM_PROCESS_CONFIG_INIT;
    config.daemon = true;
    family_open(&family);
    const int before = count_descriptors();
    EXPECT_CALL(0, thrum_process_spawn(&p, count_as_daemon, &family, &config));
    cr_expect_eq(family_hear(&family), before + 1);
    cr_expect_eq(family_hear(&family), before);
    EXPECT_CALL(0, thrum_process_join(p, NULL));
    thrum_process_release(p);
    family_close(&family);
}

/* --- too late ------------------------------------------------------------------------------------------- */

static struct family *shared_family;

static void start_in_exit(void)
{
    const int err = spawn(family_return, NULL, false);
    const int daemon = spawn(family_return, NULL, true);
    family_tell(shared_family, err);
    family_tell(shared_family, daemon);
    _exit(0);
}

static int exit_then_start(void *arg, void **result)
{
    (void)result;
    alarm(CHILD_SECONDS);
    shared_family = arg;
    exit(0);
}

Test(process_end, only_daemons_are_started_once_exit_has_waited)
{
    struct family family;
    family_open(&family);
    cr_assert_eq(atexit(start_in_exit), 0); /* older than the library's: after its wait */
    cr_expect_eq(run_parent(exit_then_start, &family), 0);
    cr_expect_eq(family_hear(&family), ESHUTDOWN);
    cr_expect_eq(family_hear(&family), 0);
    cr_expect_eq(waitpid(-1, NULL, WNOHANG), -1);
    _exit(0); /* not by start_in_exit */
}
