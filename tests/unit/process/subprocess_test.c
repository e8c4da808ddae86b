#include <sys/resource.h>

#include "process/programs.h"

TestSuite(subprocess, .timeout = 60);

static const char *const true_argv[] = {"true", NULL};

/* --- how one ends ------------------------------------------------------------------------------------- */

static void end_in_every_way(void)
{
    static const struct {
        const char *command;
        int code;
    } ways[] = {{"exit 0", 0},
                {"exit 3", 3},
                {"exit 255", 255},
                {"kill -9 $$", -SIGKILL},
                {"kill -15 $$", -SIGTERM},
                {"kill -6 $$", -SIGABRT}};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        int code = -1000;
        thrum_subprocess_t *p = shell(ways[i].command, NULL);
        EXPECT_CALL(0, thrum_subprocess_wait(p, &code));
        cr_expect_eq(code, ways[i].code, "%s: %d", ways[i].command, code);
        EXPECT_CALL(0, thrum_subprocess_wait(p, NULL)); /* as often as one likes */
        EXPECT_CALL(0, thrum_subprocess_poll(p, &code));
        EXPECT_CALL(0, thrum_subprocess_wait_until(p, &code, PAST));
        cr_expect_eq(code, ways[i].code);
        thrum_subprocess_release(p);
    }
    cr_expect(!has_children());
}

Test(subprocess, has_the_code_that_its_program_ended_with)
{
    in_every_strand(end_in_every_way);
}

static void wait_in_three_forms(void)
{
    int code = 77;
    thrum_subprocess_config_t config = piped();
    thrum_subprocess_t *p = shell("read x; exit 5", &config);
    EXPECT_CALL(EAGAIN, thrum_subprocess_poll(p, &code));
    EXPECT_CALL(ETIMEDOUT, thrum_subprocess_wait_until(p, &code, PAST));
    EXPECT_CALL(ETIMEDOUT, thrum_subprocess_wait_until(p, &code, SOON));
    cr_expect_eq(code, 77, "left alone");
    EXPECT_CALL(0, thrum_io_write_full(thrum_subprocess_in(p), "x\n", 2, NULL, PATIENCE));
    EXPECT_CALL(0, thrum_subprocess_wait_until(p, &code, PATIENCE));
    cr_expect_eq(code, 5);
    thrum_subprocess_release(p);
}

Test(subprocess, is_waited_for_in_three_forms)
{
    in_every_strand(wait_in_three_forms);
}

static int wait_call_of(void *arg)
{
    int code = 0;
    const int err = thrum_subprocess_wait(arg, &code);
    return err != 0 ? err : code;
}

Test(subprocess, is_waited_for_by_many)
{
    enum { WAITERS = 4 };
    struct caller c[WAITERS];
    thrum_subprocess_config_t config = piped();
    thrum_subprocess_t *p = shell("read x; exit 9", &config);
    for (int i = 0; i < WAITERS; i++)
        caller_start(&c[i], wait_call_of, p);
    while (waiting_on(thrum_subprocess_fd(p)) < WAITERS)
        sched_yield();
    EXPECT_CALL(0, thrum_subprocess_close(p, thrum_subprocess_in(p)));
    for (int i = 0; i < WAITERS; i++)
        cr_expect_eq(caller_join(&c[i]), 9);
    thrum_subprocess_release(p);
}

static int wait_to_be_cancelled(void *arg, void **result)
{
    (void)result;
    return thrum_subprocess_wait(arg, NULL);
}

static int cancel_waiter(void *arg, void **result)
{
    thrum_subprocess_config_t config = piped();
    thrum_subprocess_t *p = shell("read x", &config);
    thrum_coro_t *co = spawned(wait_to_be_cancelled, p);
    (void)arg, (void)result;
    thrum_yield();
    EXPECT_CALL(0, thrum_coro_cancel(co));
    EXPECT_CALL(ECANCELED, thrum_coro_join(co, NULL));
    thrum_coro_release(co);
    EXPECT_CALL(0, thrum_subprocess_kill(p));
    EXPECT_CALL(0, thrum_subprocess_wait(p, NULL));
    thrum_subprocess_release(p);
    return 0;
}

Test(subprocess, a_wait_for_it_is_cancelled)
{
    cr_expect_eq(in_loop(cancel_waiter, NULL), 0);
}

Test(subprocess, is_a_case_of_select)
{
    int code = -1;
    size_t chosen = 9;
    thrum_subprocess_t *p = shell("exit 4", NULL);
    thrum_case_t cases[] = {THRUM_CASE_READ(thrum_subprocess_fd(p))};
    EXPECT_CALL(0, thrum_select(cases, 1, PATIENCE, &chosen));
    EXPECT_CALL(0, thrum_subprocess_poll(p, &code));
    cr_expect(chosen == 0 && code == 4);
    thrum_subprocess_release(p);
}

Test(subprocess, a_line_of_the_shell_may_begin_like_an_option)
{
    int code = 0;
    thrum_subprocess_config_t config = piped();
    thrum_subprocess_t *p = shell("-x 2>/dev/null; exit 7", &config);
    EXPECT_CALL(0, thrum_subprocess_wait(p, &code));
    cr_expect_eq(code, 7);
    thrum_subprocess_release(p);
}

/* --- a program that does as it likes with its children ----------------------------------------------- */

Test(subprocess, does_not_care_that_sigchld_is_ignored)
{
    signal(SIGCHLD, SIG_IGN);
    end_in_every_way();
    const char *const missing[] = {"/no/such/program", NULL};
    EXPECT_CALL(ENOENT, thrum_subprocess_spawn(NULL, missing, NULL));
}

/* Where the system cannot tell, nobody knows: as if it had been killed. */
Test(subprocess, has_a_code_also_when_nobody_knows_it)
{
    int code = 0;
    signal(SIGCHLD, SIG_IGN);
    thi_fault_arm(THI_FAULT_EXIT_INFO, THI_FAULT_ALWAYS);
    thrum_subprocess_t *p = shell("exit 6", NULL);
    EXPECT_CALL(0, thrum_subprocess_wait(p, &code));
    cr_expect_eq(code, -SIGKILL);
    thrum_subprocess_release(p);
    thi_fault_arm(THI_FAULT_EXIT_INFO, 0);
}

static uint32_t taking_over;

static void *take_any_child(void *arg)
{
    (void)arg;
    while (thi_load_relaxed(&taking_over) == 0) {
        if (waitpid(-1, NULL, WNOHANG) <= 0)
            sched_yield();
    }
    return NULL;
}

Test(subprocess, does_not_care_that_somebody_waits_for_any_child)
{
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, take_any_child, NULL), 0);
    for (int i = 0; i < 50; i++) {
        int code = -1;
        thrum_subprocess_t *p = shell("exit 6", NULL);
        EXPECT_CALL(0, thrum_subprocess_wait(p, &code));
        cr_expect_eq(code, 6);
        thrum_subprocess_release(p);
        const char *const missing[] = {"/no/such/program", NULL};
        EXPECT_CALL(ENOENT, thrum_subprocess_spawn(NULL, missing, NULL));
    }
    thi_store_relaxed(&taking_over, 1u);
    pthread_join(thread, NULL);
}

Test(subprocess, takes_no_child_of_others)
{
    const pid_t pid = fork();
    if (pid == 0)
        _exit(11);
    int code = 0;
    thrum_subprocess_t *p = shell("exit 0", NULL);
    EXPECT_CALL(0, thrum_subprocess_wait(p, NULL));
    thrum_subprocess_release(p);
    cr_expect_eq(waitpid(pid, &code, 0), pid);
    cr_expect_eq(WEXITSTATUS(code), 11);
}

/* --- what keeps one from beginning -------------------------------------------------------------------- */

static void fail_to_spawn(int expected, const char *program,
                          const thrum_subprocess_config_t *config)
{
    const char *const argv[] = {program, NULL};
    thrum_subprocess_t *p = NULL;
    const int before = count_descriptors();
    EXPECT_CALL(expected, thrum_subprocess_spawn(&p, argv, config));
    cr_expect_null(p);
    cr_expect_eq(count_descriptors(), before, "%s: descriptors are left open", program);
    cr_expect(!has_children(), "%s: a process is left", program);
}

Test(subprocess, that_cannot_begin_is_an_error_of_the_spawn)
{
    char folder[] = "/tmp/thrum-subprocess-XXXXXX";
    char text[64];
    cr_assert_not_null(mkdtemp(folder));
    snprintf(text, sizeof text, "%s/text", folder);
    const int fd = open(text, O_WRONLY | O_CREAT, 0644);
    cr_assert(fd >= 0 && write(fd, "no program\n", 11) == 11);
    thrum_subprocess_config_t config = piped();
    config.err.kind = THRUM_STREAM_NULL;
    fail_to_spawn(ENOENT, "/no/such/program", &config);
    fail_to_spawn(ENOENT, "no-such-program-anywhere", &config);
    fail_to_spawn(ENOENT, "", &config);
    fail_to_spawn(EACCES, text, &config);
    fail_to_spawn(EACCES, folder, &config);
    cr_assert_eq(fchmod(fd, 0755), 0);
    close(fd);
    fail_to_spawn(ENOEXEC, text, &config); /* no shell takes it */
    config.dir = "/no/such/folder";
    fail_to_spawn(ENOENT, "true", &config);
    config.dir = text;
    fail_to_spawn(ENOTDIR, "true", &config);
    config.dir = NULL;
    const thrum_descriptor_t none = {987, 5};
    config.pass = &none;
    config.pass_count = 1;
    fail_to_spawn(EBADF, "true", &config);
    config.pass_count = 0;
    config.out = (thrum_stream_t){THRUM_STREAM_DESCRIPTOR, 987};
    fail_to_spawn(EBADF, "true", &config);
    unlink(text);
    rmdir(folder);
}

Test(subprocess, too_much_to_say_is_an_error_of_the_spawn)
{
    const size_t size = (size_t)64 << 20;
    char *much = malloc(size);
    cr_assert_not_null(much);
    memset(much, 'x', size);
    much[size - 1] = '\0';
    const char *const argv[] = {"true", much, NULL};
    EXPECT_CALL(E2BIG, thrum_subprocess_spawn(NULL, argv, NULL));
    free(much);
}

Test(subprocess, bad_arguments_are_refused)
{
    const char *const nothing[] = {NULL};
    const char *const nameless[] = {"=x", NULL};
    const thrum_descriptor_t twice[] = {{0, 5}, {1, 5}};
    const thrum_descriptor_t stream[] = {{0, 2}};
    thrum_subprocess_t *p = NULL;
    thrum_output_t output;
    int code = 0;
    EXPECT_CALL(EINVAL, thrum_subprocess_spawn(&p, NULL, NULL));
    EXPECT_CALL(EINVAL, thrum_subprocess_spawn(&p, nothing, NULL));
    EXPECT_CALL(EINVAL, thrum_subprocess_shell(&p, NULL, NULL));
    for (int i = 0; i < 9; i++) {
        thrum_subprocess_config_t config = THRUM_SUBPROCESS_CONFIG_INIT;
        if (i == 0)
            config.config_size = 3;
        else if (i == 1)
            config.in.kind = THRUM_STREAM_OUT;
        else if (i == 2)
            config.out = (thrum_stream_t){THRUM_STREAM_DESCRIPTOR, -1};
        else if (i == 3)
            config.pass_count = 1;
        else if (i == 4)
            config.env_changes = nameless;
        else if (i == 5)
            config.linger = -1;
        else if (i == 6)
            config.group = (thrum_subprocess_group_t)7;
        else if (i == 7)
            config.pass = twice, config.pass_count = 2;
        else
            config.pass = stream, config.pass_count = 1;
        EXPECT_CALL(EINVAL, thrum_subprocess_spawn(&p, true_argv, &config));
    }
    EXPECT_CALL(EINVAL, thrum_subprocess_wait(NULL, &code));
    EXPECT_CALL(EINVAL, thrum_subprocess_poll(NULL, &code));
    EXPECT_CALL(EINVAL, thrum_subprocess_kill(NULL));
    EXPECT_CALL(EINVAL, thrum_subprocess_communicate(NULL, NULL, 0, 0, PAST, &output));
    EXPECT_CALL(EINVAL, thrum_subprocess_run(true_argv, NULL, NULL, 1, 0, PAST, &output));
    EXPECT_CALL(EINVAL, thrum_subprocess_close(NULL, 3));
    cr_expect(thrum_subprocess_in(NULL) == -1 && thrum_subprocess_out(NULL) == -1 &&
              thrum_subprocess_err(NULL) == -1 && thrum_subprocess_fd(NULL) == -1 &&
              thrum_subprocess_pid(NULL) == 0);
    thrum_subprocess_release(NULL);
    thrum_output_free(NULL);
    cr_expect_null(p);
}

/* --- what it is given ------------------------------------------------------------------------------------ */

Test(subprocess, begins_where_it_is_told_to)
{
    thrum_subprocess_config_t config = piped();
    config.dir = "/usr";
    EXPECT_HEARD("/usr\n", "pwd", &config);
    /* A relative path counts from there. */
    const char *const argv[] = {"bin/env", "pwd", NULL};
    thrum_output_t output;
    EXPECT_CALL(0, thrum_subprocess_run(argv, &config, NULL, 0, 100, PATIENCE, &output));
    cr_expect_str_eq(output.out, "/usr\n");
    thrum_output_free(&output);
}

Test(subprocess, has_the_environment_that_it_is_given)
{
    thrum_subprocess_config_t config = piped();
    setenv("THRUM_A", "mine", 1);
    EXPECT_HEARD("mine\n", "echo $THRUM_A", &config);
    const char *const changes[] = {"THRUM_A", "THRUM_B=1", "THRUM_B=2=3", "THRUM_C=", NULL};
    config.env_changes = changes;
    EXPECT_HEARD("-2=3-set\n", "echo $THRUM_A-$THRUM_B-${THRUM_C+set}", &config);
    const char *const env[] = {"THRUM_A=whole", "THRUM_AB=x", NULL};
    config.env = env;
    config.env_changes = NULL;
    EXPECT_HEARD("THRUM_A=whole\nTHRUM_AB=x\n", "exec env | grep THRUM | sort", &config);
    config.env_changes = changes;
    EXPECT_HEARD("THRUM_AB=x\nTHRUM_B=2=3\nTHRUM_C=\n", "exec env | grep THRUM | sort", &config);
}

Test(subprocess, is_looked_up_in_its_own_path)
{
    char folder[] = "/tmp/thrum-subprocess-XXXXXX";
    char script[64];
    char path[160];
    cr_assert_not_null(mkdtemp(folder));
    snprintf(script, sizeof script, "%s/thrum-hello", folder);
    FILE *file = fopen(script, "w");
    cr_assert_not_null(file);
    fputs("#!/bin/sh\necho hello from \"$0\"\n", file);
    fclose(file);
    chmod(script, 0755);
    snprintf(path, sizeof path, "PATH=/no/such:%s:/bin", folder);
    const char *const changes[] = {path, NULL};
    const char *const argv[] = {"thrum-hello", NULL};
    thrum_subprocess_config_t config = piped();
    thrum_output_t output;
    EXPECT_CALL(ENOENT, thrum_subprocess_spawn(NULL, argv, &config));
    config.env_changes = changes;
    EXPECT_CALL(0, thrum_subprocess_run(argv, &config, NULL, 0, 200, PATIENCE, &output));
    snprintf(path, sizeof path, "hello from %s\n", script);
    cr_expect_str_eq(output.out, path);
    thrum_output_free(&output);
    /* An empty one is where it begins; without any there is the system's. */
    const char *const empty[] = {"PATH=", NULL};
    config.env_changes = empty;
    config.dir = folder;
    EXPECT_CALL(0, thrum_subprocess_spawn(NULL, argv, &config));
    const char *const none[] = {"PATH", NULL};
    config.env_changes = none;
    EXPECT_CALL(0, thrum_subprocess_spawn(NULL, true_argv, &config));
    config.env_changes = NULL;
    config.program = "./thrum-hello"; /* whatever it is to think it is called */
    EXPECT_CALL(0, thrum_subprocess_run(true_argv, &config, NULL, 0, 200, PATIENCE, &output));
    cr_expect_str_eq(output.out, "hello from ./thrum-hello\n");
    thrum_output_free(&output);
    unlink(script);
    rmdir(folder);
}

/* --- descriptors ------------------------------------------------------------------------------------------ */

static int file_with(const char *text)
{
    char name[] = "/tmp/thrum-subprocess-XXXXXX";
    const int fd = mkstemp(name);
    unlink(name);
    if (fd < 0 || write(fd, text, strlen(text)) < 0 || lseek(fd, 0, SEEK_SET) != 0)
        abort();
    return fd;
}

Test(subprocess, streams_go_where_they_are_told_to)
{
    const int in = file_with("from a file\n");
    struct ends e = pipe_pair();
    thrum_subprocess_config_t config = piped();
    config.in = (thrum_stream_t){THRUM_STREAM_DESCRIPTOR, in};
    config.err = (thrum_stream_t){THRUM_STREAM_OUT, -1};
    EXPECT_HEARD("from a file\nerror\n", "cat; echo error >&2", &config);
    config.in.kind = THRUM_STREAM_NULL;
    config.err = (thrum_stream_t){THRUM_STREAM_DESCRIPTOR, e.fd[1]};
    thrum_output_t output = heard("cat; echo error >&2", &config);
    char text[16] = "";
    cr_expect_str_eq(output.out, "");
    cr_expect_null(output.err, "no pipe");
    cr_expect_eq(read(e.fd[0], text, sizeof text), 6);
    cr_expect_str_eq(text, "error\n");
    thrum_output_free(&output);
    config.out.kind = THRUM_STREAM_NULL;
    config.err.kind = THRUM_STREAM_OUT;
    output = heard("echo lost; echo lost >&2", &config);
    cr_expect(output.out == NULL && output.err == NULL);
    close_ends(e);
    close(in);
}

/* Two that stand in each other's place, three that go round, and one that is there already. */
Test(subprocess, descriptors_are_passed_to_any_number)
{
    enum { N = 6 };
    static const int places[N][2] = {{50, 51}, {51, 50}, {52, 53}, {53, 54}, {54, 52}, {55, 55}};
    thrum_descriptor_t pass[N];
    for (int i = 0; i < N; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d\n", places[i][0]);
        const int fd = file_with(text);
        cr_assert_eq(dup3(fd, places[i][0], i % 2 == 0 ? O_CLOEXEC : 0), places[i][0]);
        close(fd);
        pass[i] = (thrum_descriptor_t){places[i][0], places[i][1]};
    }
    thrum_subprocess_config_t config = piped();
    config.pass = pass;
    config.pass_count = N;
    const char *const argv[] = {"cat",
                                "/proc/self/fd/50",
                                "/proc/self/fd/51",
                                "/proc/self/fd/52",
                                "/proc/self/fd/53",
                                "/proc/self/fd/54",
                                "/proc/self/fd/55",
                                NULL};
    thrum_output_t output;
    EXPECT_CALL(0, thrum_subprocess_run(argv, &config, NULL, 0, 100, PATIENCE, &output));
    cr_expect_str_eq(output.out, "51\n50\n54\n52\n53\n55\n");
    thrum_output_free(&output);
    for (int i = 0; i < N; i++)
        close(places[i][0]);
}

/* With so many places there is no number above all of them, and some of those below are places, too. */
Test(subprocess, descriptors_are_passed_to_the_last_number_there_is)
{
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = 256;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    const int fd = file_with("text\n");
    cr_assert(dup2(fd, 255) == 255 && dup2(fd, 200) == 200);
    thrum_descriptor_t pass[] = {{255, 200}, {200, 255}, {fd, 3}, {fd, 4}, {fd, 5}};
    thrum_subprocess_config_t config = piped();
    config.pass = pass;
    config.pass_count = sizeof pass / sizeof *pass;
    EXPECT_HEARD("text\n",
                 "cat /proc/self/fd/200 && test -e /proc/$$/fd/255 && test -e /proc/$$/fd/5",
                 &config);
    pass[4].as = 256; /* there is no such number */
    fail_to_spawn(EBADF, "true", &config);
    pass[4].as = INT_MAX;
    fail_to_spawn(EBADF, "true", &config);
    /* Each of the two is lifted out of the other's way, which takes two free numbers. */
    int taken[256];
    int count = 0;
    config = (thrum_subprocess_config_t)THRUM_SUBPROCESS_CONFIG_INIT;
    config.pass = pass;
    config.pass_count = 2;
    while (count < 256 && (taken[count] = dup(fd)) >= 0)
        count++;
    close(taken[--count]);
    EXPECT_CALL(EMFILE, thrum_subprocess_spawn(NULL, true_argv, &config));
    close(taken[--count]);
    EXPECT_CALL(0, thrum_subprocess_spawn(NULL, true_argv, &config));
    while (count > 0)
        close(taken[--count]);
    close(200);
    close(255);
    close(fd);
}

static void inherit_none(void)
{
    static const int numbers[] = {3, 9, 64, 333};
    for (int i = 0; i < 4; i++) {
        if (fcntl(numbers[i], F_GETFD) < 0)
            cr_assert_eq(dup2(2, numbers[i]), numbers[i]); /* not close-on-exec */
    }
    thrum_subprocess_config_t config = piped();
    const thrum_descriptor_t pass = {9, 65};
    config.pass = &pass;
    config.pass_count = 1;
    EXPECT_HEARD("65\n",
                 "for n in 3 9 64 65 66 333; do test -e /proc/$$/fd/$n && echo $n; done; true",
                 &config);
}

Test(subprocess, no_other_descriptor_is_inherited)
{
    inherit_none();
}

Test(subprocess, no_other_descriptor_is_inherited_where_ranges_cannot_be_marked)
{
    thi_fault_arm(THI_FAULT_CLOSE_RANGE, THI_FAULT_ALWAYS);
    inherit_none();
    for (int fd = 300; fd < 900; fd++) /* more than are listed at once */
        dup2(2, fd);
    thrum_subprocess_config_t config = piped();
    EXPECT_HEARD("", "for n in 300 555 777 899; do test -e /proc/$$/fd/$n && echo $n; done; true",
                 &config);
    thi_fault_arm(THI_FAULT_CLOSE_RANGE, 0);
}

/* The pipes then have the numbers of streams. */
static int run_without_streams(void *arg)
{
    thrum_subprocess_config_t config = piped();
    thrum_output_t output;
    const char *const argv[] = {"cat", NULL};
    (void)arg;
    for (int i = 0; i < 3; i++)
        close(i);
    if (thrum_subprocess_run(argv, &config, "some text", 9, 100, PATIENCE, &output) != 0)
        return 1;
    if (output.code != 0 || strcmp(output.out, "some text") != 0 || output.err_size != 0)
        return 2;
    thrum_output_free(&output);
    config.in.kind = THRUM_STREAM_INHERIT; /* none */
    if (thrum_subprocess_shell(NULL, "test ! -e /proc/$$/fd/0", &config) != 0)
        return 3;
    return 0;
}

Test(subprocess, runs_from_a_process_without_streams)
{
    cr_expect_eq(child_run(run_without_streams, NULL), 0);
}

/* --- signals ------------------------------------------------------------------------------------------------ */

static int caught;

static void take_note(int signal)
{
    caught = signal;
}

static void expect_signals(const thrum_subprocess_config_t *config, const char *ignored)
{
    const char *const argv[] = {"cat", "/proc/self/status", NULL};
    thrum_output_t output;
    char line[64];
    EXPECT_CALL(0, thrum_subprocess_run(argv, config, NULL, 0, 1 << 16, PATIENCE, &output));
    cr_expect_not_null(strstr(output.out, "SigBlk:\t0000000000000000\n"));
    snprintf(line, sizeof line, "SigIgn:\t%s\n", ignored);
    cr_expect_not_null(strstr(output.out, line), "%s", strstr(output.out, "SigBlk"));
    thrum_output_free(&output);
}

Test(subprocess, begins_with_fresh_signals)
{
    sigset_t some;
    sigset_t after;
    thrum_subprocess_config_t config = piped();
    sigfillset(&some);
    sigdelset(&some, SIGUSR1);
    signal(SIGUSR1, take_note);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGRTMAX, SIG_IGN);
    pthread_sigmask(SIG_SETMASK, &some, NULL);
    expect_signals(&config, "0000000000000000");
    config.keep_ignored = true;
    expect_signals(&config, "8000000000001003");
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    cr_expect(!sigismember(&after, SIGUSR1) && sigismember(&after, SIGTERM));
    raise(SIGUSR1); /* is caught still */
    cr_expect_eq(caught, SIGUSR1);
    struct sigaction action;
    sigaction(SIGHUP, NULL, &action);
    cr_expect(action.sa_handler == SIG_IGN);
}

Test(subprocess, a_thread_of_the_librarys_blocks_nothing_in_it)
{
    thrum_subprocess_config_t config = piped();
    const char *const argv[] = {"grep", "SigBlk", "/proc/self/status", NULL};
    (void)config;
    thrum_output_t output;
    EXPECT_CALL(0, thrum_subprocess_run(argv, NULL, NULL, 0, 100, PATIENCE, &output));
    cr_expect_str_eq(output.out, "SigBlk:\t0000000000000000\n");
    thrum_output_free(&output);
}

/* --- groups --------------------------------------------------------------------------------------------------- */

Test(subprocess, has_the_group_that_it_is_given)
{
    static const thrum_subprocess_group_t groups[] = {
        THRUM_SUBPROCESS_OWN_GROUP, THRUM_SUBPROCESS_OWN_SESSION, THRUM_SUBPROCESS_SAME_GROUP};
    for (int i = 0; i < 3; i++) {
        thrum_subprocess_config_t config = piped();
        config.group = groups[i];
        thrum_subprocess_t *p = shell("read x", &config);
        const pid_t pid = thrum_subprocess_pid(p);
        cr_expect_eq(getpgid(pid), i == 2 ? getpgrp() : pid);
        cr_expect_eq(getsid(pid), i == 1 ? pid : getsid(0));
        EXPECT_CALL(0, thrum_subprocess_kill(p));
        int code = 0;
        EXPECT_CALL(0, thrum_subprocess_wait(p, &code));
        cr_expect_eq(code, -SIGKILL);
        thrum_subprocess_release(p);
    }
}

/* Out has its end when nobody has it any more. */
static void await_end_of_out(thrum_subprocess_t *p)
{
    char byte = 0;
    size_t n = 1;
    int err = 0;
    while (err == 0 && n != 0)
        err = thrum_io_read(thrum_subprocess_out(p), &byte, 1, &n, PATIENCE);
    cr_expect(err == 0 && n == 0, "somebody of the group lives: %s", expect_name(err));
}

static void kill_a_family(void)
{
    thrum_subprocess_config_t config = piped();
    thrum_subprocess_t *p = shell("(trap '' TERM; sleep 1000 & sleep 1000) & sleep 1000", &config);
    EXPECT_CALL(0, thrum_subprocess_signal(p, 0));
    EXPECT_CALL(EINVAL, thrum_subprocess_signal(p, 1000));
    EXPECT_CALL(0, thrum_subprocess_kill(p));
    await_end_of_out(p);
    int code = 0;
    EXPECT_CALL(0, thrum_subprocess_wait(p, &code));
    cr_expect_eq(code, -SIGKILL);
    EXPECT_CALL(EINVAL, thrum_subprocess_signal(p, 1000)); /* no signal as before */
    EXPECT_CALL(EINVAL, thrum_subprocess_signal(p, -1));
    thrum_subprocess_release(p);
}

Test(subprocess, is_killed_with_all_its_group)
{
    in_every_strand(kill_a_family);
    thi_fault_arm(THI_FAULT_GROUP, THI_FAULT_ALWAYS); /* by its number */
    kill_a_family();
    thi_fault_arm(THI_FAULT_GROUP, 0);
}

/* A program may leave its group: here for that of its parent. */
Test(subprocess, is_killed_also_when_it_has_left_its_group)
{
    thrum_subprocess_config_t config = piped();
    int code = 0;
    const char *const argv[] = {"python3", "-c",
                                "import os, sys; os.setpgid(0, os.getpgid(os.getppid()));"
                                "print(flush=True); sys.stdin.read()",
                                NULL};
    thrum_subprocess_t *p = NULL;
    char byte = 0;
    if (thrum_subprocess_spawn(&p, argv, &config) == ENOENT)
        cr_skip_test("no python3");
    EXPECT_CALL(0, thrum_io_read_full(thrum_subprocess_out(p), &byte, 1, NULL, PATIENCE));
    cr_expect_eq(getpgid(thrum_subprocess_pid(p)), getpgrp());
    EXPECT_CALL(0, thrum_subprocess_kill(p));
    EXPECT_CALL(0, thrum_subprocess_wait(p, &code));
    cr_expect_eq(code, -SIGKILL);
    thrum_subprocess_release(p);
}

Test(subprocess, terminate_asks)
{
    thrum_subprocess_config_t config = piped();
    int code = 0;
    char byte = 0;
    thrum_subprocess_t *p =
        shell("trap 'exit 12' TERM; echo; while :; do sleep 0.05; done", &config);
    EXPECT_CALL(0, thrum_io_read_full(thrum_subprocess_out(p), &byte, 1, NULL, PATIENCE));
    EXPECT_CALL(0, thrum_subprocess_terminate(p));
    EXPECT_CALL(0, thrum_subprocess_wait(p, &code));
    cr_expect_eq(code, 12);
    thrum_subprocess_release(p);
}

Test(subprocess, what_it_left_behind_is_killed_after_its_end)
{
    thrum_subprocess_config_t config = piped();
    int code = -1;
    thrum_subprocess_t *p = shell("sleep 1000 & exit 2", &config);
    EXPECT_CALL(0, thrum_subprocess_wait(p, &code));
    cr_expect_eq(code, 2);
    thi_fault_arm(THI_FAULT_GROUP, 1); /* an older system cannot say whose number it is */
    EXPECT_CALL(ESRCH, thrum_subprocess_kill(p));
    EXPECT_CALL(0, thrum_subprocess_kill(p));
    await_end_of_out(p);
    while (thrum_subprocess_signal(p, 0) == 0) /* until its parent has seen it, too */
        sched_yield();
    EXPECT_CALL(ESRCH, thrum_subprocess_kill(p));
    thrum_subprocess_release(p);
    config.group = THRUM_SUBPROCESS_SAME_GROUP;
    p = shell("exit 2", &config);
    EXPECT_CALL(0, thrum_subprocess_wait(p, &code));
    EXPECT_CALL(ESRCH, thrum_subprocess_kill(p));
    thrum_subprocess_release(p);
}

/* --- giving it up ---------------------------------------------------------------------------------------------- */

Test(subprocess, released_it_runs_on_and_is_no_zombie_for_long)
{
    struct ends e = pipe_pair();
    thrum_subprocess_config_t config = THRUM_SUBPROCESS_CONFIG_INIT;
    config.in = (thrum_stream_t){THRUM_STREAM_DESCRIPTOR, e.fd[0]};
    config.out.kind = THRUM_STREAM_NULL;
    settle();
    const int before = count_descriptors();
    thrum_subprocess_t *p = shell("read x", &config);
    const pid_t pid = thrum_subprocess_pid(p);
    cr_expect_eq(thrum_subprocess_retain(p), p);
    thrum_subprocess_release(p);
    EXPECT_CALL(EAGAIN, thrum_subprocess_poll(p, NULL));
    thrum_subprocess_release(p);
    cr_expect_eq(kill(pid, 0), 0, "it runs");
    cr_assert_eq(write(e.fd[1], "x\n", 2), 2);
    siginfo_t info;
    cr_expect_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    EXPECT_CALL(0, thrum_subprocess_spawn(&p, true_argv, NULL));
    EXPECT_CALL(0, thrum_subprocess_wait(p, NULL));
    thrum_subprocess_release(p);
    cr_expect(!has_children());
    cr_expect_eq(count_descriptors(), before);
    close_ends(e);
}

Test(subprocess, nobody_needs_to_have_it)
{
    const int before = count_descriptors();
    for (int i = 0; i < 20; i++)
        EXPECT_CALL(0, thrum_subprocess_spawn(NULL, true_argv, NULL));
    while (has_children())
        EXPECT_CALL(ENOENT, thrum_subprocess_spawn(NULL, (const char *const[]){"/no", NULL}, NULL));
    cr_expect_eq(count_descriptors(), before);
}

Test(subprocess, two_thousand_of_them_leave_no_descriptor)
{
    thrum_subprocess_config_t config = piped();
    settle();
    const int before = count_descriptors();
    for (int i = 0; i < 2000; i++) {
        thrum_output_t output;
        EXPECT_CALL(0, thrum_subprocess_run(true_argv, &config, "x", 1, 10, PATIENCE, &output));
        cr_expect_eq(output.code, 0);
        thrum_output_free(&output);
    }
    cr_expect_eq(count_descriptors(), before);
    cr_expect(!has_children());
}

/* --- fork ---------------------------------------------------------------------------------------------------------- */

static int use_inherited(void *arg)
{
    thrum_subprocess_t *p = arg;
    thrum_output_t output;
    const bool told = thrum_subprocess_wait(p, NULL) == EOWNERDEAD &&
                      thrum_subprocess_poll(p, NULL) == EOWNERDEAD &&
                      thrum_subprocess_kill(p) == EOWNERDEAD &&
                      thrum_subprocess_communicate(p, NULL, 0, 1, PAST, &output) == EOWNERDEAD &&
                      output.out == NULL;
    if (!told || thrum_subprocess_in(p) != -1 || thrum_subprocess_out(p) != -1 ||
        thrum_subprocess_fd(p) != -1)
        return 1;
    thrum_subprocess_release(p);
    /* It may have its own. */
    thrum_output_t own;
    if (thrum_subprocess_run(true_argv, NULL, NULL, 0, 1, PATIENCE, &own) != 0 || own.code != 0)
        return 2;
    thrum_output_free(&own);
    return 0;
}

Test(subprocess, is_not_a_forked_childs)
{
    thrum_subprocess_config_t config = piped();
    thrum_subprocess_t *p = shell("read x; exit 8", &config);
    int code = 0;
    cr_expect_eq(child_run(use_inherited, p), 0);
    EXPECT_CALL(EAGAIN, thrum_subprocess_poll(p, NULL));
    EXPECT_CALL(0, thrum_io_write_full(thrum_subprocess_in(p), "x\n", 2, NULL, PATIENCE));
    EXPECT_CALL(0, thrum_subprocess_wait(p, &code));
    cr_expect_eq(code, 8);
    thrum_subprocess_release(p);
}

/* A forked child that lives on does not keep cat from hearing of the end of its input. */
Test(subprocess, hears_the_end_of_its_input_whoever_was_forked)
{
    struct ends e = pipe_pair();
    thrum_subprocess_config_t config = piped();
    thrum_subprocess_t *p = shell("cat", &config);
    const pid_t pid = fork();
    if (pid == 0) {
        char byte = 0;
        close(e.fd[1]);
        _exit((int)read(e.fd[0], &byte, 1));
    }
    thrum_output_t output;
    EXPECT_CALL(0, thrum_subprocess_communicate(p, "abc", 3, 100, PATIENCE, &output));
    cr_expect_str_eq(output.out, "abc");
    thrum_output_free(&output);
    thrum_subprocess_release(p);
    close_ends(e);
    cr_expect_eq(waitpid(pid, NULL, 0), pid);
}
