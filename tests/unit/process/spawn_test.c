#include "family.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "os/os.h"
#include "support/child.h"

/* The start method spawn. A fresh execution of this program calls begin before the framework's main does. */
TestSuite(process_spawn, .timeout = 60);

#define NOT_FOR_IT 90 /* begin has returned, although there are its arguments */

struct order {
    int told; /* a descriptor */
    int what;
    char text[100];
};

static int carry_out(void *arg, void **result)
{
    const struct order *order = arg;
    (void)result;
    alarm(CHILD_SECONDS);
    const thrum_process_t *me = thrum_process_current();
    const thrum_process_t *parent = thrum_process_parent();
    if (thrum_process_size(me) != sizeof *order || strcmp(order->text, "text") != 0 ||
        (uintptr_t)arg % _Alignof(max_align_t) != 0)
        return 101;
    if (thrum_process_pid(me) != getpid() || thrum_process_pid(parent) != getppid())
        return 102;
    if (strcmp(thrum_process_name(me), "the name of a process") != 0 ||
        strcmp(thrum_process_name(parent), "main") != 0)
        return 103;
    return order->what;
}

static int memory = 1; /* the same in each execution */

static int tell_memory(void *arg, void **result)
{
    (void)arg;
    (void)result;
    return arg == NULL && thrum_process_size(thrum_process_current()) == 0 ? memory : 100;
}

static int crash(void *arg, void **result)
{
    (void)arg;
    (void)result;
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
    return 0;
}

static int tell_and_stay(void *arg, void **result)
{
    const int *told = arg;
    (void)result;
    alarm(CHILD_SECONDS);
    const pid_t self = getpid();
    if (write(*told, &self, sizeof self) != sizeof self)
        return 1;
    while (pause() != 0)
        continue;
    return 0;
}

static int start_a_daemon(void *arg, void **result)
{
    (void)result;
    alarm(CHILD_SECONDS);
    thrum_process_config_t config = THRUM_PROCESS_CONFIG_INIT;
    config.start = THRUM_START_SPAWN;
    config.daemon = true;
    config.bytes = arg;
    config.size = sizeof(int);
    if (thrum_process_spawn(NULL, tell_and_stay, NULL, &config) != 0)
        return 1;
    return tell_and_stay(arg, result);
}

static int tell_descriptors(void *arg, void **result)
{
    (void)arg;
    (void)result;
    return count_descriptors();
}

static int only_here(void *arg, void **result)
{
    return family_return(arg, result);
}

static int never_registered(void *arg, void **result)
{
    return family_return(arg, result);
}

__attribute__((constructor)) static void first_in_main(int argc, char **argv)
{
    if (thrum_process_register("carry_out", carry_out) != 0 ||
        thrum_process_register("tell_memory", tell_memory) != 0 ||
        thrum_process_register("crash", crash) != 0 ||
        thrum_process_register("tell_and_stay", tell_and_stay) != 0 ||
        thrum_process_register("start_a_daemon", start_a_daemon) != 0 ||
        thrum_process_register("tell_descriptors", tell_descriptors) != 0)
        abort();
    thrum_process_begin(argc, argv);
    if (argc > 1 && strncmp(argv[1], "--thrum-process=", 16) == 0)
        _exit(NOT_FOR_IT);
}

static thrum_process_config_t spawn_config(const void *bytes, size_t size)
{
    thrum_process_config_t config = THRUM_PROCESS_CONFIG_INIT;
    config.start = THRUM_START_SPAWN;
    config.bytes = bytes;
    config.size = size;
    return config;
}

static int run(thrum_fn fn, const thrum_process_config_t *config)
{
    thrum_process_t *p = NULL;
    int code = -1000;
    EXPECT_CALL(0, thrum_process_spawn(&p, fn, NULL, config));
    cr_expect_gt(thrum_process_pid(p), 0);
    EXPECT_CALL(0, thrum_process_join(p, &code));
    thrum_process_release(p);
    return code;
}

Test(process_spawn, runs_a_function_with_bytes)
{
    const struct order order = {.what = 33, .text = "text"};
    thrum_process_config_t config = spawn_config(&order, sizeof order);
    config.name = "the name of a process";
    const int before = count_descriptors();
    cr_expect_eq(run(carry_out, &config), 33);
    config.daemon = true;
    cr_expect_eq(run(carry_out, &config), 33);
    cr_expect_leq(count_descriptors(), before + 1); /* a thread that waited keeps one */
    cr_expect(has_no_child());
}

Test(process_spawn, has_nothing_of_the_parents_memory)
{
    const thrum_process_config_t config = spawn_config(NULL, 0);
    memory = 2;
    cr_expect_eq(run(tell_memory, &config), 1);
}

Test(process_spawn, tells_of_a_crash)
{
    const thrum_process_config_t config = spawn_config(NULL, 0);
    cr_expect_eq(run(crash, &config), -SIGSEGV);
}

Test(process_spawn, takes_much)
{
    enum { MUCH = 8 << 20 };
    char *much = calloc(1, MUCH);
    thrum_process_config_t config = spawn_config(much, MUCH);
    cr_expect_eq(run(tell_memory, &config), 100);
    free(much);
}

Test(process_spawn, has_no_descriptor_but_those_that_the_program_leaves_open)
{
    const thrum_process_config_t config = spawn_config(NULL, 0);
    const int few = run(tell_descriptors, &config);
    const int open = dup(0);
    cr_expect_eq(run(tell_descriptors, &config), few + 1);
    close(open);
}

static bool spawns_with_its_parent(thrum_fn fn)
{
    int ends[2];
    int pid = 0;
    cr_assert_eq(pipe(ends), 0);
    thrum_process_t *p = NULL;
    const thrum_process_config_t config = spawn_config(&ends[1], sizeof ends[1]);
    EXPECT_CALL(0, thrum_process_spawn(&p, fn, NULL, &config));
    close(ends[1]);
    for (int i = 0; i < 2; i++)
        cr_expect_eq(read(ends[0], &pid, sizeof pid), sizeof pid);
    EXPECT_CALL(0, thrum_process_kill(p));
    EXPECT_CALL(0, thrum_process_join(p, NULL));
    thrum_process_release(p);
    return read(ends[0], &pid, sizeof pid) == 0; /* nobody has the writing end */
}

Test(process_spawn, daemons_die_with_a_parent_that_is_killed)
{
    cr_expect(spawns_with_its_parent(start_a_daemon));
}

static int end_in_thread(void *arg, void **result)
{
    (void)result;
    int ends[2];
    int pid = 0;
    int *code = arg;
    if (pipe(ends) != 0)
        return 1;
    const thrum_process_config_t config = spawn_config(&ends[1], sizeof ends[1]);
    thrum_process_t *p = NULL;
    int err = thrum_process_spawn(&p, tell_and_stay, NULL, &config);
    if (err == 0 && read(ends[0], &pid, sizeof pid) != sizeof pid)
        err = EIO;
    if (err == 0)
        err = thrum_process_terminate(p);
    if (err == 0)
        err = thrum_process_join(p, code);
    thrum_process_release(p);
    close(ends[0]);
    close(ends[1]);
    return err;
}

Test(process_spawn, one_that_a_thread_starts_hears_signals)
{
    thrum_thread_t *t = NULL;
    int code = 0;
    EXPECT_CALL(0, thrum_thread_spawn(&t, end_in_thread, &code, NULL));
    EXPECT_CALL(0, thrum_thread_join(t, NULL));
    cr_expect_eq(code, -SIGTERM, "although the thread blocks them");
    thrum_thread_release(t);
}

/* --- what is refused ------------------------------------------------------------------------------------ */

Test(process_spawn, takes_registered_functions_only)
{
    thrum_process_t *p = NULL;
    int number = 0;
    const thrum_process_config_t config = spawn_config(NULL, 0);
    EXPECT_CALL(EINVAL, thrum_process_create(&p, never_registered, NULL, &config));
    EXPECT_CALL(EINVAL, thrum_process_create(&p, carry_out, &number, &config));
    EXPECT_CALL(EINVAL, thrum_process_register(NULL, carry_out));
    EXPECT_CALL(EINVAL, thrum_process_register("", carry_out));
    EXPECT_CALL(EINVAL, thrum_process_register("x", NULL));
    EXPECT_CALL(EINVAL, thrum_process_register("carry_out", never_registered));
    EXPECT_CALL(EINVAL, thrum_process_register("another", carry_out));
    EXPECT_CALL(0, thrum_process_register("carry_out", carry_out)); /* again */
    cr_expect_null(p);
}

Test(process_spawn, a_function_that_is_registered_here_only_is_not_found)
{
    const thrum_process_config_t config = spawn_config(NULL, 0);
    const int before = dup(STDERR_FILENO);
    const int null = open("/dev/null", O_WRONLY);
    EXPECT_CALL(0, thrum_process_register("only_here", only_here));
    dup2(null, STDERR_FILENO);
    const int code = run(only_here, &config);
    dup2(before, STDERR_FILENO);
    close(before);
    close(null);
    cr_expect_eq(code, 127);
}

/* --- letters that nobody of the library has written ----------------------------------------------------- */

enum { ALL_SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

/* As the library writes one, to be spoilt: it would run tell_memory, which returns 1. */
struct forged {
    int32_t gate;
    int32_t dies_with_parent;
    uint64_t bytes;
    uint64_t function;
    uint64_t name;
    uint64_t parent_name;
    int64_t parent_pid;
    uint32_t has_bytes;
    uint32_t daemon;
    char text[32];
};

static struct forged forged(int gate)
{
    return (struct forged){.gate = gate,
                           .function = 12,
                           .name = 3,
                           .parent_name = 4,
                           .parent_pid = getpid(),
                           .text = "tell_memory\0me\0you"};
}
#define FORGED_SIZE (offsetof(struct forged, text) + 12 + 3 + 4)

static int letter_of(const struct forged *forged, size_t size, int seals)
{
    const int fd = memfd_create("test", MFD_ALLOW_SEALING);
    if (fd < 0 || write(fd, forged, size) != (ssize_t)size || lseek(fd, 0, SEEK_SET) != 0 ||
        fcntl(fd, F_ADD_SEALS, seals) != 0)
        abort();
    return fd;
}

/* A gate that is open already. */
static int open_gate(void)
{
    int ends[2];
    if (pipe(ends) != 0 || write(ends[1], "\1", 1) != 1)
        abort();
    close(ends[1]);
    return ends[0];
}

/* What an execution of `program` says that is handed that letter; gives it back. */
static int deliver(const char *program, uid_t user, int letter)
{
    char argument[32];
    char *argv[] = {argument, argument, NULL};
    int status = 0;
    snprintf(argument, sizeof argument, "--thrum-process=%d", letter);
    const pid_t pid = fork();
    if (pid == 0) {
        alarm(CHILD_SECONDS);
        if (setuid(user) == 0)
            execv(program, argv);
        _exit(91);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    close(letter);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static int deliver_here(int letter)
{
    return deliver("/proc/self/exe", getuid(), letter);
}

static bool is_refused(int code)
{
    return code == 255 || code == 127;
}

Test(process_spawn, a_letter_is_a_file_that_cannot_change_and_a_gate_a_pipe)
{
    int gate = open_gate();
    struct forged letter = forged(gate);
    cr_expect_eq(deliver_here(letter_of(&letter, FORGED_SIZE, ALL_SEALS)), 1, "as it should be");
    close(gate);
    for (int seal = F_SEAL_SHRINK; seal <= F_SEAL_WRITE; seal <<= 1) {
        gate = open_gate();
        letter = forged(gate);
        cr_expect(is_refused(deliver_here(letter_of(&letter, FORGED_SIZE, ALL_SEALS & ~seal))));
        close(gate);
    }
    FILE *file = tmpfile();
    cr_assert_not_null(file);
    const int fd = dup(fileno(file));
    gate = open_gate();
    letter = forged(gate);
    cr_expect_eq(write(fd, &letter, FORGED_SIZE), (ssize_t)FORGED_SIZE);
    cr_expect_eq(lseek(fd, 0, SEEK_SET), 0);
    cr_expect(is_refused(deliver_here(fd)), "another file");
    close(gate);
    gate = fileno(file); /* whose first byte would let it in */
    cr_expect(pwrite(gate, "\1", 1, 0) == 1 && lseek(gate, 0, SEEK_SET) == 0);
    letter = forged(gate);
    cr_expect(is_refused(deliver_here(letter_of(&letter, FORGED_SIZE, ALL_SEALS))));
    letter = forged(-1);
    cr_expect(is_refused(deliver_here(letter_of(&letter, FORGED_SIZE, ALL_SEALS))));
    fclose(file);
}

Test(process_spawn, a_letter_has_the_lengths_that_it_says)
{
    for (int i = 0; i < 10; i++) {
        const int gate = open_gate();
        struct forged letter = forged(gate);
        size_t size = FORGED_SIZE;
        if (i == 0)
            letter.bytes = UINT64_C(1) << 40;
        else if (i == 1)
            letter.bytes = UINT64_MAX - 3; /* comes out right, modulo 2^64 */
        else if (i == 2)
            letter.function = UINT64_MAX - 6;
        else if (i == 3)
            letter.function--; /* no zero at its end */
        else if (i == 4)
            letter.parent_name--; /* something behind it */
        else if (i == 5)
            size--;
        else if (i == 6)
            letter.name = 0, letter.parent_name = 7;
        else if (i == 7)
            letter.parent_name = 0, letter.name = 7;
        else if (i == 8)
            size = offsetof(struct forged, text);
        else
            size = 12;
        if (i == 1)
            letter.name += 4;
        cr_expect(is_refused(deliver_here(letter_of(&letter, size, ALL_SEALS))), "%d", i);
        close(gate);
    }
}

/* Of a program with privileges the user writes the arguments, and everything else. */
Test(process_spawn, a_program_with_privileges_reads_no_letter)
{
    char copy[] = "/tmp/thrum-spawn-XXXXXX";
    char buffer[65536];
    struct statvfs about;
    ssize_t n = 0;
    if (geteuid() != 0 || statvfs("/tmp", &about) != 0 ||
        (about.f_flag & (ST_NOSUID | ST_NOEXEC)) != 0)
        cr_skip_test("there can be no such program");
    const int to = mkstemp(copy);
    const int from = open("/proc/self/exe", O_RDONLY);
    cr_assert(to >= 0 && from >= 0);
    while ((n = read(from, buffer, sizeof buffer)) > 0)
        cr_assert_eq(write(to, buffer, (size_t)n), n);
    cr_assert_eq(fchmod(to, 04755), 0);
    close(to);
    close(from);
    const int gate = open_gate();
    const struct forged letter = forged(gate);
    const int code = deliver(copy, 65534, letter_of(&letter, FORGED_SIZE, ALL_SEALS));
    unlink(copy);
    close(gate);
    cr_expect_eq(code, NOT_FOR_IT, "%d", code);
}

static int spawn_beyond_the_limit(void *arg)
{
    const struct rlimit little = {4096, 4096};
    static char much[8192];
    const thrum_process_config_t config = spawn_config(much, sizeof much);
    signal(SIGXFSZ, SIG_DFL);
    (void)arg;
    if (setrlimit(RLIMIT_FSIZE, &little) != 0)
        return 1;
    return thrum_process_spawn(NULL, tell_memory, NULL, &config) == ENOMEM ? 0 : 2;
}

Test(process_spawn, a_limit_of_files_is_an_error)
{
    cr_expect_eq(child_run(spawn_beyond_the_limit, NULL), 0);
}

Test(process_spawn, other_arguments_are_the_programs)
{
    char name[] = "program";
    char other[] = "--thrum";
    char *argv[] = {name, other, NULL};
    thrum_process_begin(2, argv);
    thrum_process_begin(1, argv);
    thrum_process_begin(0, argv + 2);
}
