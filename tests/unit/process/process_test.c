#include "family.h"

#include <stdio.h>

/* One process and its handle. */
TestSuite(process, .timeout = 40);

/* --- the end ------------------------------------------------------------------------------------------ */

Test(process, joins_with_what_its_function_returned)
{
    static int codes[] = {0, 7, 255, EINVAL};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        thrum_process_t *p = NULL;
        int code = -1000;
        EXPECT_CALL(0, thrum_process_spawn(&p, family_return, &codes[i], NULL));
        EXPECT_CALL(0, thrum_process_join(p, &code));
        cr_expect_eq(code, codes[i]);
        EXPECT_CALL(0, thrum_process_join(p, NULL)); /* as often as one likes */
        EXPECT_CALL(0, thrum_process_exit_code(p, &code));
        cr_expect_eq(code, codes[i]);
        cr_expect_not(thrum_process_alive(p));
        thrum_process_release(p);
    }
    cr_expect(has_no_child());
}

Test(process, a_status_that_no_exit_code_can_say_is_255)
{
    static int statuses[] = {-1, 256, 1 << 20};
    for (size_t i = 0; i < 3; i++) {
        thrum_process_t *p = NULL;
        int code = 0;
        EXPECT_CALL(0, thrum_process_spawn(&p, family_return, &statuses[i], NULL));
        EXPECT_CALL(0, thrum_process_join(p, &code));
        cr_expect_eq(code, 255);
        thrum_process_release(p);
    }
}

static int die_by(void *arg, void **result)
{
    (void)result;
    signal(*(int *)arg, SIG_DFL); /* sanitizers have handlers */
    raise(*(int *)arg);
    return 1;
}

Test(process, a_crash_is_a_negative_exit_code)
{
    static int signals[] = {SIGSEGV, SIGABRT, SIGKILL, SIGUSR1};
    for (size_t i = 0; i < 4; i++) {
        thrum_process_t *p = NULL;
        int code = 0;
        EXPECT_CALL(0, thrum_process_spawn(&p, die_by, &signals[i], NULL));
        EXPECT_CALL(0, thrum_process_join(p, &code));
        cr_expect_eq(code, -signals[i]);
        thrum_process_release(p);
    }
}

static int call_exit(void *arg, void **result)
{
    (void)arg;
    (void)result;
    _exit(9);
}

Test(process, may_leave_by_exit)
{
    thrum_process_t *p = NULL;
    int code = 0;
    EXPECT_CALL(0, thrum_process_spawn(&p, call_exit, NULL, NULL));
    EXPECT_CALL(0, thrum_process_join(p, &code));
    cr_expect_eq(code, 9);
    thrum_process_release(p);
}

static int execute(void *arg, void **result)
{
    (void)arg;
    (void)result;
    execl("/bin/sh", "sh", "-c", "exit 11", (char *)NULL);
    return 1;
}

Test(process, may_execute_another_program)
{
    thrum_process_t *p = NULL;
    int code = 0;
    EXPECT_CALL(0, thrum_process_spawn(&p, execute, NULL, NULL));
    EXPECT_CALL(0, thrum_process_join(p, &code));
    cr_expect_eq(code, 11);
    thrum_process_release(p);
}

/* --- while it runs ------------------------------------------------------------------------------------ */

Test(process, lives_from_its_start_to_its_end)
{
    struct family family;
    thrum_process_t *p = NULL;
    int code = 5;
    family_open(&family);
    EXPECT_CALL(0, thrum_process_create(&p, family_child, &family, NULL));
    cr_expect_not(thrum_process_alive(p));
    cr_expect_eq(thrum_process_pid(p), 0);
    EXPECT_CALL(EINVAL, thrum_process_join(p, &code));
    EXPECT_CALL(EINVAL, thrum_process_tryjoin(p, &code));
    EXPECT_CALL(EINVAL, thrum_process_join_until(p, &code, 0));
    EXPECT_CALL(EINVAL, thrum_process_exit_code(p, &code));
    EXPECT_CALL(EINVAL, thrum_process_signal(p, SIGTERM));
    EXPECT_CALL(EINVAL, thrum_process_terminate(p));
    EXPECT_CALL(EINVAL, thrum_process_kill(p));

    EXPECT_CALL(0, thrum_process_start(p));
    EXPECT_CALL(EINVAL, thrum_process_start(p)); /* twice */
    cr_expect(thrum_process_alive(p));
    EXPECT_CALL(EBUSY, thrum_process_exit_code(p, &code));
    EXPECT_CALL(EAGAIN, thrum_process_tryjoin(p, &code));
    EXPECT_CALL(ETIMEDOUT, thrum_process_join_until(p, &code, 0));
    EXPECT_CALL(ETIMEDOUT, thrum_process_join_until(p, &code, thrum_after(THRUM_MS(2))));
    cr_expect_eq(code, 5);
    cr_expect_eq(family_hear(&family), (int)thrum_process_pid(p));

    family_let_go(&family);
    EXPECT_CALL(0, thrum_process_join_until(p, &code, thrum_after(THRUM_S(30))));
    cr_expect_eq(code, 0);
    EXPECT_CALL(0, thrum_process_tryjoin(p, NULL));
    EXPECT_CALL(0, thrum_process_join_until(p, NULL, 0)); /* it has ended */
    EXPECT_CALL(EINVAL, thrum_process_start(p));          /* once is all */
    cr_expect_not(thrum_process_alive(p));
    cr_expect_neq(thrum_process_pid(p), 0);
    EXPECT_CALL(0, thrum_process_kill(p)); /* too late, which is no error */
    thrum_process_release(p);
    family_close(&family);
}

Test(process, is_ended_by_signals)
{
    int (*end[])(thrum_process_t *) = {thrum_process_terminate, thrum_process_kill};
    const int signals[] = {SIGTERM, SIGKILL};
    for (size_t i = 0; i < 2; i++) {
        struct family family;
        thrum_process_t *p = NULL;
        int code = 0;
        family_open(&family);
        EXPECT_CALL(0, thrum_process_spawn(&p, family_child, &family, NULL));
        EXPECT_CALL(EINVAL, thrum_process_signal(p, 12345));
        EXPECT_CALL(EINVAL, thrum_process_signal(p, -1));
        EXPECT_CALL(0, thrum_process_signal(p, 0));
        EXPECT_CALL(0, end[i](p));
        EXPECT_CALL(0, end[i](p)); /* also a zombie */
        EXPECT_CALL(0, thrum_process_join(p, &code));
        cr_expect_eq(code, -signals[i]);
        thrum_process_release(p);
        family_close(&family);
    }
}

static int say_who(void *arg, void **result)
{
    const struct family *family = arg;
    (void)result;
    alarm(CHILD_SECONDS);
    thrum_process_t *me = thrum_process_current();
    thrum_process_t *parent = thrum_process_parent();
    family_tell(family, (int)thrum_process_pid(me));
    family_tell(family, strcmp(thrum_process_name(me), "a name that is longer than 15 bytes"));
    family_tell(family, thrum_process_daemon(me));
    family_tell(family, thrum_process_alive(me));
    family_tell(family, thrum_process_join(me, NULL));
    family_tell(family, thrum_process_exit_code(me, NULL));
    family_tell(family, thrum_process_signal(me, SIGTERM));
    family_tell(family, (int)thrum_process_count());
    family_tell(family, (int)thrum_process_pid(parent));
    family_tell(family, strcmp(thrum_process_name(parent), "main"));
    family_tell(family, thrum_process_alive(parent));
    family_tell(family, thrum_process_tryjoin(parent, NULL));
    family_tell(family, thrum_process_join_until(parent, NULL, thrum_after(THRUM_MS(1))));
    family_tell(family, thrum_process_exit_code(parent, NULL));
    family_tell(family, thrum_process_kill(parent));
    family_tell(family, thrum_process_start(parent));
    return 0;
}

Test(process, knows_itself_and_its_parent)
{
    struct family family;
    thrum_process_t *p = NULL;
    thrum_process_config_t config = THRUM_PROCESS_CONFIG_INIT;
    config.name = "a name that is longer than 15 bytes";
    config.daemon = true;
    family_open(&family);
    EXPECT_CALL(0, thrum_process_spawn(&p, say_who, &family, &config));
    cr_expect_eq(family_hear(&family), (int)thrum_process_pid(p));
    cr_expect_eq(family_hear(&family), 0, "its name");
    cr_expect_eq(family_hear(&family), 1, "a daemon");
    cr_expect_eq(family_hear(&family), 1, "alive");
    cr_expect_eq(family_hear(&family), EDEADLK);
    cr_expect_eq(family_hear(&family), EBUSY);
    cr_expect_eq(family_hear(&family), ENOTSUP);
    cr_expect_eq(family_hear(&family), 0, "no children");
    cr_expect_eq(family_hear(&family), (int)getpid());
    cr_expect_eq(family_hear(&family), 0, "its parent's name");
    cr_expect_eq(family_hear(&family), 1, "its parent lives");
    cr_expect_eq(family_hear(&family), EAGAIN);
    cr_expect_eq(family_hear(&family), ETIMEDOUT);
    cr_expect_eq(family_hear(&family), ENOTSUP);
    cr_expect_eq(family_hear(&family), ENOTSUP);
    cr_expect_eq(family_hear(&family), EINVAL);
    EXPECT_CALL(0, thrum_process_join(p, NULL));
    thrum_process_release(p);
    family_close(&family);
}

static int join_parent(void *arg, void **result)
{
    struct family *families = arg;
    (void)result;
    alarm(CHILD_SECONDS);
    family_tell(&families[1], 1);
    family_tell(&families[0], 100 + thrum_process_join(thrum_process_parent(), NULL));
    family_tell(&families[0], 100 + (thrum_process_alive(thrum_process_parent()) ? 1 : 0));
    return 0;
}

static int leave_a_child(void *arg, void **result)
{
    struct family *families = arg;
    (void)result;
    alarm(CHILD_SECONDS);
    if (thrum_process_spawn(NULL, join_parent, arg, NULL) != 0 || family_hear(&families[1]) != 1)
        return 1;
    _exit(0);
}

Test(process, may_wait_for_its_parent)
{
    struct family families[2];
    thrum_process_t *p = NULL;
    family_open(&families[0]);
    family_open(&families[1]);
    EXPECT_CALL(0, thrum_process_spawn(&p, leave_a_child, families, NULL));
    cr_expect_eq(family_hear(&families[0]), 100);
    cr_expect_eq(family_hear(&families[0]), 100);
    EXPECT_CALL(0, thrum_process_join(p, NULL));
    thrum_process_release(p);
    family_close(&families[0]);
    family_close(&families[1]);
}

Test(process, one_that_thrum_did_not_start_has_an_object_too)
{
    thrum_process_t *me = thrum_process_current();
    cr_assert_not_null(me);
    cr_expect_null(thrum_process_parent());
    cr_expect_eq(thrum_process_pid(me), getpid());
    cr_expect_str_eq(thrum_process_name(me), "main");
    cr_expect_not(thrum_process_daemon(me));
    cr_expect(thrum_process_alive(me));
    EXPECT_CALL(EDEADLK, thrum_process_join(me, NULL));
    EXPECT_CALL(EDEADLK, thrum_process_tryjoin(me, NULL));
    EXPECT_CALL(EBUSY, thrum_process_exit_code(me, NULL));
    EXPECT_CALL(ENOTSUP, thrum_process_kill(me));
    EXPECT_CALL(EINVAL, thrum_process_start(me));
    EXPECT_CALL(EBUSY, thrum_process_set_daemon(me, true));
    EXPECT_CALL(0, thrum_process_set_name(me, "another name, and a long one"));
    cr_expect_str_eq(thrum_process_name(me), "another name, and a long one");
    EXPECT_CALL(0, thrum_process_set_name(me, "main"));
}

/* --- memory ------------------------------------------------------------------------------------------- */

static int count_up(void *arg, void **result)
{
    int *number = arg;
    (void)result;
    ++*number;
    return *number;
}

Test(process, has_memory_of_its_own)
{
    int number = 41;
    int code = 0;
    thrum_process_t *p = NULL;
    EXPECT_CALL(0, thrum_process_create(&p, count_up, &number, NULL));
    number++;
    EXPECT_CALL(0, thrum_process_start(p));
    EXPECT_CALL(0, thrum_process_join(p, &code));
    cr_expect_eq(code, 43, "as it was at the start");
    cr_expect_eq(number, 42, "and nothing comes back");
    thrum_process_release(p);
}

static int sum(void *arg, void **result)
{
    const unsigned char *bytes = arg;
    (void)result;
    int all = 0;
    for (size_t i = 0; i < thrum_process_size(thrum_process_current()); i++)
        all += bytes[i];
    return all;
}

Test(process, is_given_a_copy_of_bytes)
{
    unsigned char bytes[] = {1, 2, 3};
    int code = 0;
    thrum_process_t *p = NULL;
    thrum_process_config_t config = THRUM_PROCESS_CONFIG_INIT;
    config.bytes = bytes;
    config.size = sizeof bytes;
    EXPECT_CALL(0, thrum_process_create(&p, sum, NULL, &config));
    memset(bytes, 9, sizeof bytes);
    cr_expect_eq(thrum_process_size(p), sizeof bytes);
    EXPECT_CALL(0, thrum_process_start(p));
    EXPECT_CALL(0, thrum_process_join(p, &code));
    cr_expect_eq(code, 6);
    thrum_process_release(p);

    config.size = 0; /* none is fine */
    EXPECT_CALL(0, thrum_process_spawn(&p, sum, NULL, &config));
    EXPECT_CALL(0, thrum_process_join(p, &code));
    cr_expect_eq(code, 0);
    thrum_process_release(p);
}

static int print(void *arg, void **result)
{
    (void)arg;
    (void)result;
    printf("child");
    return 0;
}

Test(process, writes_what_was_printed_once)
{
    int ends[2];
    char text[64] = "";
    thrum_process_t *p = NULL;
    fflush(stdout);
    cr_assert_eq(pipe(ends), 0);
    const int before = dup(STDOUT_FILENO);
    cr_assert_eq(dup2(ends[1], STDOUT_FILENO), STDOUT_FILENO);
    setvbuf(stdout, NULL, _IOFBF, 1024);
    printf("parent ");
    const int err = thrum_process_spawn(&p, print, NULL, NULL);
    const int joined = thrum_process_join(p, NULL);
    printf(" parent");
    fflush(stdout);
    dup2(before, STDOUT_FILENO);
    close(before);
    close(ends[1]);
    size_t size = 0;
    for (ssize_t n = 1; n > 0; size += (size_t)n)
        n = read(ends[0], text + size, sizeof text - 1 - size);
    close(ends[0]);
    cr_expect_eq(err, 0);
    cr_expect_eq(joined, 0);
    cr_expect_str_eq(text, "parent child parent");
    thrum_process_release(p);
}

/* --- names and settings ------------------------------------------------------------------------------- */

Test(process, is_named_and_made_a_daemon)
{
    thrum_process_t *p = NULL;
    EXPECT_CALL(0, thrum_process_create(&p, family_return, NULL, NULL));
    cr_expect_str_eq(thrum_process_name(p), "");
    cr_expect_not(thrum_process_daemon(p));
    EXPECT_CALL(0, thrum_process_set_name(p, "worker"));
    cr_expect_str_eq(thrum_process_name(p), "worker");
    EXPECT_CALL(0, thrum_process_set_name(p, "a worker whose name is long"));
    EXPECT_CALL(0, thrum_process_set_name(p, thrum_process_name(p) + 2));
    cr_expect_str_eq(thrum_process_name(p), "worker whose name is long");
    EXPECT_CALL(0, thrum_process_set_daemon(p, true));
    cr_expect(thrum_process_daemon(p));
    EXPECT_CALL(0, thrum_process_start(p));
    EXPECT_CALL(EBUSY, thrum_process_set_daemon(p, false));
    EXPECT_CALL(0, thrum_process_set_name(p, "other"));
    EXPECT_CALL(0, thrum_process_join(p, NULL));
    EXPECT_CALL(EBUSY, thrum_process_set_daemon(p, false));
    cr_expect(thrum_process_daemon(p));
    cr_expect_str_eq(thrum_process_name(p), "other");
    thrum_process_release(p);
}

static int tell_comm(void *arg, void **result)
{
    (void)result;
    char comm[32] = "";
    FILE *file = fopen("/proc/self/comm", "r");
    if (file == NULL || fgets(comm, sizeof comm, file) == NULL)
        return 1;
    fclose(file);
    return strcmp(comm, arg) == 0 ? 0 : 2;
}

Test(process, shows_its_name_to_the_system)
{
    static char shown[] = "a name of more \n";
    thrum_process_t *p = NULL;
    thrum_process_config_t config = THRUM_PROCESS_CONFIG_INIT;
    config.name = "a name of more than 15 bytes";
    int code = -1;
    EXPECT_CALL(0, thrum_process_spawn(&p, tell_comm, shown, &config));
    EXPECT_CALL(0, thrum_process_join(p, &code));
    cr_expect_eq(code, 0);
    thrum_process_release(p);
}

Test(process, bad_arguments_are_refused)
{
    thrum_process_t *p = NULL;
    int number = 0;
    thrum_process_config_t config = THRUM_PROCESS_CONFIG_INIT;
    EXPECT_CALL(EINVAL, thrum_process_create(NULL, family_return, NULL, NULL));
    EXPECT_CALL(EINVAL, thrum_process_create(&p, NULL, NULL, NULL));
    config.config_size = 1;
    EXPECT_CALL(EINVAL, thrum_process_create(&p, family_return, NULL, &config));
    config.config_size = 0;
    config.start = (thrum_start_method_t)7;
    EXPECT_CALL(EINVAL, thrum_process_create(&p, family_return, NULL, &config));
    config.start = THRUM_START_FORK;
    config.bytes = "abc";
    config.size = 3;
    EXPECT_CALL(EINVAL, thrum_process_create(&p, family_return, &number, &config));
    config.bytes = NULL;
    EXPECT_CALL(EINVAL, thrum_process_create(&p, family_return, NULL, &config));
    config.size = 0;
    config.start = THRUM_START_SPAWN;
    EXPECT_CALL(EINVAL, thrum_process_create(&p, family_return, NULL, &config));
    EXPECT_CALL(EINVAL, thrum_process_spawn(NULL, NULL, NULL, NULL));
    cr_expect_null(p);

    EXPECT_CALL(EINVAL, thrum_process_start(NULL));
    EXPECT_CALL(EINVAL, thrum_process_join(NULL, NULL));
    EXPECT_CALL(EINVAL, thrum_process_tryjoin(NULL, NULL));
    EXPECT_CALL(EINVAL, thrum_process_join_until(NULL, NULL, 0));
    EXPECT_CALL(EINVAL, thrum_process_exit_code(NULL, NULL));
    EXPECT_CALL(EINVAL, thrum_process_signal(NULL, SIGTERM));
    EXPECT_CALL(EINVAL, thrum_process_terminate(NULL));
    EXPECT_CALL(EINVAL, thrum_process_kill(NULL));
    EXPECT_CALL(EINVAL, thrum_process_set_name(NULL, "x"));
    EXPECT_CALL(EINVAL, thrum_process_set_name(thrum_process_current(), NULL));
    EXPECT_CALL(EINVAL, thrum_process_set_daemon(NULL, true));
    cr_expect_not(thrum_process_alive(NULL));
    cr_expect_not(thrum_process_daemon(NULL));
    cr_expect_eq(thrum_process_pid(NULL), 0);
    cr_expect_eq(thrum_process_size(NULL), 0u);
    cr_expect_str_eq(thrum_process_name(NULL), "");
    cr_expect_null(thrum_process_retain(NULL));
    thrum_process_release(NULL);
}

/* --- all of them -------------------------------------------------------------------------------------- */

Test(process, children_are_counted_and_listed)
{
    struct family family;
    thrum_process_t *p[3];
    thrum_process_t *found[4] = {NULL};
    family_open(&family);
    cr_expect_eq(thrum_process_count(), 0u);
    for (int i = 0; i < 3; i++)
        EXPECT_CALL(0, thrum_process_spawn(&p[i], family_child, &family, NULL));
    cr_expect_eq(thrum_process_count(), 3u);
    cr_expect_eq(thrum_process_children(NULL, 4), 0u);
    cr_expect_eq(thrum_process_children(found, 2), 2u);
    for (int i = 0; i < 2; i++) {
        cr_expect_eq(found[i], p[i]);
        thrum_process_release(found[i]);
    }
    EXPECT_CALL(0, thrum_process_kill(p[1]));
    while (thrum_process_count() != 2)
        sched_yield();
    cr_expect_eq(thrum_process_children(found, 4), 2u);
    cr_expect_eq(found[0], p[0]);
    cr_expect_eq(found[1], p[2]);
    thrum_process_release(found[0]);
    thrum_process_release(found[1]);
    int code = 0;
    EXPECT_CALL(0, thrum_process_exit_code(p[1], &code));
    cr_expect_eq(code, -SIGKILL);
    family_let_go(&family);
    for (int i = 0; i < 3; i++) {
        EXPECT_CALL(0, thrum_process_join(p[i], NULL));
        thrum_process_release(p[i]);
    }
    cr_expect_eq(thrum_process_children(found, 4), 0u);
    cr_expect(has_no_child());
    family_close(&family);
}

Test(process, a_released_one_runs_on)
{
    struct family family;
    thrum_process_t *p = NULL;
    family_open(&family);
    EXPECT_CALL(0, thrum_process_spawn(NULL, family_child, &family, NULL));
    const int pid = family_hear(&family);
    cr_assert_eq(thrum_process_children(&p, 1), 1u);
    cr_expect_eq((int)thrum_process_pid(p), pid);
    cr_expect_eq(thrum_process_retain(p), p);
    thrum_process_release(p);
    family_let_go(&family);
    EXPECT_CALL(0, thrum_process_join(p, NULL));
    thrum_process_release(p);
    family_close(&family);
}

Test(process, those_that_nobody_asks_for_do_not_add_up)
{
    const int before = count_descriptors();
    for (int i = 0; i < 200; i++) {
        EXPECT_CALL(0, thrum_process_spawn(NULL, family_return, NULL, NULL));
        siginfo_t info;
        /* So that it is a zombie for sure when the next is started. */
        cr_assert_eq(waitid(P_ALL, 0, &info, WEXITED | WNOWAIT), 0);
    }
    cr_expect_leq(count_descriptors(), before + 4);
    cr_expect_eq(thrum_process_count(), 0u);
    cr_expect(has_no_child());
    cr_expect_eq(count_descriptors(), before);
}

/* A thread that has once waited for a descriptor keeps one for the next time. */
static void keep_what_a_wait_keeps(void)
{
    struct family family;
    family_open(&family);
    EXPECT_CALL(ETIMEDOUT, thrum_io_wait(family.go[0], THRUM_IO_IN, thrum_after(THRUM_MS(1))));
    family_close(&family);
}

Test(process, a_thousand_leave_nothing, .timeout = 120)
{
    enum { AT_ONCE = 20 };
    thrum_process_t *p[AT_ONCE];
    keep_what_a_wait_keeps();
    const int before = count_descriptors();
    for (int i = 0; i < 1000 / AT_ONCE; i++) {
        for (int k = 0; k < AT_ONCE; k++) {
            thrum_process_config_t config = THRUM_PROCESS_CONFIG_INIT;
            config.daemon = k % 2 == 0;
            EXPECT_CALL(0, thrum_process_spawn(&p[k], family_return, &k, &config));
        }
        for (int k = 0; k < AT_ONCE; k++) {
            int code = -1;
            EXPECT_CALL(0, thrum_process_join(p[k], &code));
            cr_expect_eq(code, k);
            thrum_process_release(p[k]);
        }
        cr_assert_eq(count_descriptors(), before);
    }
    cr_expect(has_no_child());
}
