#include "family.h"

#include <fcntl.h>
#include <stdio.h>

#include "os/os.h"

/* The start method spawn. A fresh execution of this program calls begin before the framework's main does. */
TestSuite(process_spawn, .timeout = 60);

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

static int count_descriptors(void *arg, void **result)
{
    (void)arg;
    (void)result;
    return (int)descriptors();
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
        thrum_process_register("count_descriptors", count_descriptors) != 0)
        abort();
    thrum_process_begin(argc, argv);
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
    const unsigned before = descriptors();
    cr_expect_eq(run(carry_out, &config), 33);
    config.daemon = true;
    cr_expect_eq(run(carry_out, &config), 33);
    cr_expect_leq(descriptors(), before + 1); /* a thread that waited keeps one */
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
    const int few = run(count_descriptors, &config);
    const int open = dup(0);
    cr_expect_eq(run(count_descriptors, &config), few + 1);
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

Test(process_spawn, other_arguments_are_the_programs)
{
    char name[] = "program";
    char other[] = "--thrum";
    char *argv[] = {name, other, NULL};
    thrum_process_begin(2, argv);
    thrum_process_begin(1, argv);
    thrum_process_begin(0, argv + 2);
}
