/*
 * Processes, when a call of the system fails: the calls say so, nothing has changed, nothing is lost, and
 * it works once there is room again.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include <thrum/thrum.h>

#include "os/os.h"
#include "support/counted.h"
#include "support/expect.h"
#include "support/left_behind.h"

TestSuite(process, .timeout = 40);

#define LONG_NAME "a name that is longer than is kept at hand"

static void count_memory_here(void)
{
    count_memory();
    cr_assert_not_null(thi_self());
}

static bool has_no_child(void)
{
    return waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD;
}

static int seven(void *arg, void **result)
{
    (void)arg;
    (void)result;
    return 7;
}

static int pausing(void *arg, void **result)
{
    (void)arg;
    (void)result;
    alarm(30);
    while (pause() != 0)
        continue;
    return 0;
}

/* Otherwise a program that has not called begin, but where a test does. */
__attribute__((constructor)) static void first_in_main(int argc, char **argv)
{
    if (argc > 1 && strncmp(argv[1], "--thrum-process=", 16) == 0) {
        if (thrum_process_register("seven", seven) != 0)
            abort();
        thrum_process_begin(argc, argv);
    }
}

static thrum_process_config_t config_of(thrum_start_method_t start, bool daemon)
{
    thrum_process_config_t config = THRUM_PROCESS_CONFIG_INIT;
    config.name = LONG_NAME;
    config.bytes = "abc";
    config.size = 3;
    config.start = start;
    config.daemon = daemon;
    return config;
}

static void expect_seven(thrum_process_t *p)
{
    int code = -1;
    EXPECT_CALL(0, thrum_process_start(p));
    EXPECT_CALL(0, thrum_process_join(p, &code));
    cr_expect_eq(code, 7);
}

/* --- making --------------------------------------------------------------------------------------------- */

Test(process, is_not_made_without_memory, .init = count_memory_here)
{
    const thrum_process_config_t config = config_of(THRUM_START_FORK, false);
    const size_t before = thi_load_relaxed(&bytes_in_use);
    thrum_process_t *p = NULL;
    for (unsigned nth = 1; nth <= 3; nth++) {
        thi_fault_arm(THI_FAULT_ALLOC, nth);
        EXPECT_CALL(ENOMEM, thrum_process_create(&p, seven, NULL, &config));
        thi_fault_arm(THI_FAULT_ALLOC, nth);
        EXPECT_CALL(ENOMEM, thrum_process_spawn(&p, seven, NULL, &config));
        cr_expect_null(p);
        cr_expect_eq(thi_load_relaxed(&bytes_in_use), before);
    }
    thi_fault_arm(THI_FAULT_ALLOC, 4);
    EXPECT_CALL(0, thrum_process_create(&p, seven, NULL, &config));
    thi_fault_arm(THI_FAULT_ALLOC, 0);
    thrum_process_release(p);
    cr_expect_eq(thi_load_relaxed(&bytes_in_use), before);
}

Test(process, keeps_its_name_when_there_is_no_memory_for_another)
{
    thrum_process_t *p = NULL;
    const thrum_process_config_t config = config_of(THRUM_START_FORK, false);
    EXPECT_CALL(0, thrum_process_create(&p, seven, NULL, &config));
    thi_fault_arm(THI_FAULT_ALLOC, 1);
    EXPECT_CALL(ENOMEM, thrum_process_set_name(p, LONG_NAME "!"));
    cr_expect_str_eq(thrum_process_name(p), LONG_NAME);
    thrum_process_release(p);
}

Test(process, no_memory_to_register_a_function)
{
    thi_fault_arm(THI_FAULT_ALLOC, 1);
    EXPECT_CALL(ENOMEM, thrum_process_register("pausing", pausing));
    EXPECT_CALL(0, thrum_process_register("pausing", pausing));
}

/* --- starting ------------------------------------------------------------------------------------------- */

static void expect_failed_start(thrum_process_t *p, thi_fault_t fault, unsigned nth, int err)
{
    const int before = count_descriptors();
    thi_fault_arm(fault, nth);
    EXPECT_CALL(err, thrum_process_start(p));
    thi_fault_arm(fault, 0);
    cr_expect_eq(count_descriptors(), before, "fault %d", (int)fault);
    cr_expect(has_no_child(), "fault %d", (int)fault);
    cr_expect_eq(thrum_process_count(), 0u);
    cr_expect_eq(thrum_process_pid(p), 0);
    cr_expect_not(thrum_process_alive(p));
    EXPECT_CALL(EINVAL, thrum_process_join(p, NULL));
    EXPECT_CALL(0, thrum_process_set_daemon(p, thrum_process_daemon(p)));
}

static void fail_at_each_call(thrum_start_method_t start, bool daemon)
{
    static const struct {
        thi_fault_t kind;
        int err;
    } faults[] = {{THI_FAULT_AT_EXIT, ENOMEM}, {THI_FAULT_PIPE, EMFILE}, {THI_FAULT_FORK, EAGAIN},
                  {THI_FAULT_PIDFD, EMFILE},   {THI_FAULT_WAIT, ENOSYS}, {THI_FAULT_PAGES, ENOMEM}};
    const thrum_process_config_t config = config_of(start, daemon);
    thrum_process_t *p = NULL;
    EXPECT_CALL(0, thrum_process_create(&p, seven, NULL, &config));
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        if (faults[i].kind != THI_FAULT_PAGES || start == THRUM_START_FORK)
            expect_failed_start(p, faults[i].kind, 1, faults[i].err);
    }
    if (start == THRUM_START_SPAWN) {
        expect_failed_start(p, THI_FAULT_LETTER, 1, EMFILE);
        expect_failed_start(p, THI_FAULT_ALLOC, 1, ENOMEM);
        expect_failed_start(p, THI_FAULT_ALLOC, 2, ENOMEM);
    }
    expect_seven(p);
    thrum_process_release(p);
    cr_expect(has_no_child());
}

Test(process, is_started_again_when_that_failed)
{
    fail_at_each_call(THRUM_START_FORK, false);
}

Test(process, a_daemon_is_started_again_when_that_failed)
{
    fail_at_each_call(THRUM_START_FORK, true);
}

static void begin(void)
{
    char name[] = "program";
    char *argv[] = {name, NULL};
    EXPECT_CALL(0, thrum_process_register("seven", seven));
    thrum_process_begin(1, argv);
}

Test(process, is_executed_again_when_that_failed, .init = begin)
{
    fail_at_each_call(THRUM_START_SPAWN, false);
}

Test(process, is_not_executed_by_a_program_that_has_not_called_begin)
{
    const thrum_process_config_t config = config_of(THRUM_START_SPAWN, false);
    thrum_process_t *p = NULL;
    EXPECT_CALL(0, thrum_process_register("seven", seven));
    EXPECT_CALL(EINVAL, thrum_process_spawn(&p, seven, NULL, &config));
    EXPECT_CALL(0, thrum_process_create(&p, seven, NULL, &config));
    EXPECT_CALL(EINVAL, thrum_process_start(p));
    begin();
    expect_seven(p);
    thrum_process_release(p);
}

/* --- waiting -------------------------------------------------------------------------------------------- */

static int join_without_descriptors(void *arg, void **result)
{
    (void)result;
    thrum_process_t *p = arg;
    int code = 0;
    thi_fault_arm(THI_FAULT_SIGNAL, THI_FAULT_ALWAYS);
    EXPECT_CALL(EMFILE, thrum_process_join(p, &code));
    EXPECT_CALL(EAGAIN, thrum_process_tryjoin(p, &code));
    EXPECT_CALL(0, thrum_process_kill(p));
    while (thrum_process_alive(p))
        continue;
    EXPECT_CALL(0, thrum_process_join(p, &code));
    cr_expect_eq(code, -SIGKILL);
    thi_fault_arm(THI_FAULT_SIGNAL, 0);
    return 0;
}

Test(process, a_coroutine_has_no_descriptor_to_wait_with)
{
    thrum_process_t *p = NULL;
    EXPECT_CALL(0, thrum_process_spawn(&p, pausing, NULL, NULL));
    cr_expect_eq(thrum_run(join_without_descriptors, p, NULL), 0);
    thrum_process_release(p);
    cr_expect(has_no_child());
}

static int end_without_descriptors(void *arg, void **result)
{
    (void)arg;
    (void)result;
    thrum_process_config_t config = THRUM_PROCESS_CONFIG_INIT;
    config.daemon = true;
    if (thrum_process_spawn(NULL, seven, NULL, NULL) != 0 ||
        thrum_process_spawn(NULL, pausing, NULL, &config) != 0)
        return 1;
    thi_fault_arm(THI_FAULT_SIGNAL, THI_FAULT_ALWAYS);
    return 0; /* and waits */
}

Test(process, the_end_waits_without_a_descriptor)
{
    thrum_process_t *p = NULL;
    int code = -1;
    EXPECT_CALL(0, thrum_process_spawn(&p, end_without_descriptors, NULL, NULL));
    EXPECT_CALL(0, thrum_process_join(p, &code));
    cr_expect_eq(code, 0);
    thrum_process_release(p);
}

static int watch_without_descriptors(void *arg, void **result)
{
    (void)arg;
    (void)result;
    thrum_process_t *parent = thrum_process_parent();
    thi_fault_arm(THI_FAULT_PIDFD, 1);
    if (thrum_process_join_until(parent, NULL, 1) != EMFILE || !thrum_process_alive(parent))
        return 1;
    return thrum_process_join_until(parent, NULL, 1) == ETIMEDOUT && thrum_process_alive(parent)
               ? 0
               : 2;
}

static int ask_for_the_parent(void *arg, void **result)
{
    (void)arg;
    (void)result;
    thrum_process_t *parent = thrum_process_parent();
    if (thrum_process_join_until(parent, NULL, 1) != ETIMEDOUT)
        return 1;
    thi_fault_arm(THI_FAULT_INTERRUPT, 1);
    if (!thrum_process_alive(parent))
        return 2;
    thi_fault_arm(THI_FAULT_INTERRUPT, 1);
    return thrum_process_tryjoin(parent, NULL) == EAGAIN ? 0 : 3;
}

Test(process, a_signal_is_no_news_of_the_parent)
{
    thrum_process_t *p = NULL;
    int code = -1;
    EXPECT_CALL(0, thrum_process_spawn(&p, ask_for_the_parent, NULL, NULL));
    EXPECT_CALL(0, thrum_process_join(p, &code));
    cr_expect_eq(code, 0);
    thrum_process_release(p);
}

Test(process, no_descriptor_for_the_parent)
{
    thrum_process_t *p = NULL;
    int code = -1;
    EXPECT_CALL(0, thrum_process_spawn(&p, watch_without_descriptors, NULL, NULL));
    EXPECT_CALL(0, thrum_process_join(p, &code));
    cr_expect_eq(code, 0);
    thrum_process_release(p);
}
