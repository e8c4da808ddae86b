/* Servers and processes: crashes, forks, SIGTERM, descriptors that run out. */
#include <sys/wait.h>

#include "net/servers.h"

TestSuite(server_process, .timeout = 60);

static void for_each_process_model(void (*fn)(const struct model *m))
{
    for (size_t i = 0; i < MODELS; i++)
        if (models[i].processes && !is_left_out(&models[i]))
            fn(&models[i]);
}

/* ------------------------------------------------------------------------------------------------
 * Crashes
 */

static int dies_when_told(thrum_conn_t *c, void *ctx)
{
    char data = 0;
    size_t n = 0;
    int err = 0;
    (void)ctx;
    while ((err = thrum_conn_read(c, &data, 1, &n)) == 0 && n != 0) {
        if (data == 'k')
            kill(getpid(), SIGKILL);
        if (data == 'e')
            _exit(3);
        if ((err = thrum_conn_write(c, &data, 1)) != 0)
            break;
    }
    return err;
}

static void crashes(const struct model *m)
{
    const thrum_server_config_t config = server_config(m, dies_when_told, NULL);
    thrum_server_t *server = server_started(&config);
    for (uint64_t i = 0; i < 4; i++) {
        int fd = connected(server);
        expect_echo(fd, "a");
        say(fd, i % 2 == 0 ? "k" : "e", 1);
        expect_end(fd);
        hang_up(fd);
        AWAIT(stats_of(server).crashed == i + 1);
        AWAIT(stats_of(server).active == 0);
        fd = connected(server); /* somebody else is there for it */
        expect_echo(fd, "b");
        hang_up(fd);
        AWAIT(stats_of(server).active == 0);
    }
    EXPECT_CALL(0, thrum_server_stop(server, thrum_after(LONG)));
    expect_balance(server);
    const thrum_server_stats_t stats = stats_of(server);
    cr_expect_eq(stats.crashed, 4u);
    cr_expect_eq(stats.completed, 4u, "%s: %llu", m->name, (unsigned long long)stats.completed);
    cr_expect_leq(stats.restarts, m->preforks ? 4u : 0u);
    thrum_server_destroy(server);
    cr_expect_eq(waitpid(-1, NULL, WNOHANG), -1);
}

Test(server_process, a_crash_ends_its_process_only)
{
    for_each_process_model(crashes);
}

/* All of them, and again: they are replaced. */
static void replaced(const struct model *m)
{
    thrum_server_config_t config = server_config(m, dies_when_told, NULL);
    config.processes = 1;
    thrum_server_t *server = server_started(&config);
    for (uint64_t i = 0; i < 4; i++) {
        const int fd = connected(server); /* which waits until there is somebody */
        expect_echo(fd, "a");
        say(fd, "k", 1);
        expect_end(fd);
        hang_up(fd);
    }
    AWAIT(stats_of(server).restarts == 4);
    AWAIT(stats_of(server).processes == 1);
    stop_and_destroy(server);
}

Test(server_process, those_that_died_are_replaced)
{
    for (size_t i = 0; i < MODELS; i++)
        if (models[i].preforks && !is_left_out(&models[i]))
            replaced(&models[i]);
}

/* ------------------------------------------------------------------------------------------------
 * Forks of the program's own
 */

static int is_a_copy(void *arg)
{
    thrum_server_t *server = arg;
    const thrum_time_t soon = thrum_after(LONG);
    if (thrum_server_stop(server, soon) != EOWNERDEAD ||
        thrum_server_join(server, soon) != EOWNERDEAD || thrum_server_start(server) != EOWNERDEAD ||
        thrum_server_run(server) != EOWNERDEAD)
        return 1;
    if (thrum_server_port(server) == 0)
        return 2;
    thrum_server_stats_t stats;
    thrum_server_stats(server, &stats);
    const int before = open_descriptors();
    thrum_server_destroy(server);
    return open_descriptors() < before ? 0 : 3;
}

static void forked(const struct model *m)
{
    char address[100];
    thrum_server_config_t config = server_config(m, serve_echo, NULL);
    thrum_server_t *server = NULL;
    snprintf(address, sizeof address, "unix:/tmp/thrum-fork-test-%ld", (long)getpid());
    cr_assert_eq(thrum_server_create(&server, &config), 0);
    cr_expect_eq(child_run(is_a_copy, server), 0);
    thrum_server_destroy(server);
    server = server_started(&config);
    const int fd = connected(server);
    expect_echo(fd, "hello");
    cr_expect_eq(child_run(is_a_copy, server), 0, "%s", m->name);
    expect_echo(fd, "still");
    hang_up(fd);
    stop_and_destroy(server);
    config.address = address;
    cr_assert_eq(thrum_server_create(&server, &config), 0);
    cr_expect_eq(access(address + 5, F_OK), 0);
    cr_expect_neq(child_run(is_a_copy, server), 3, "a copy leaves the name alone");
    cr_expect_eq(access(address + 5, F_OK), 0);
    thrum_server_destroy(server);
}

Test(server_process, a_forked_child_has_a_copy)
{
    for_each_model(forked);
}

/* ------------------------------------------------------------------------------------------------
 * SIGTERM, in a process of its own
 */

struct term {
    const struct model *model;
    struct note *note;
    bool graceful;
};

static int holds(thrum_conn_t *c, void *ctx)
{
    struct note *note = ctx;
    char data = 0;
    thrum_conn_read_full(c, &data, 1, NULL);
    note_count(&note->began);
    int err = 0;
    while (err == 0 && note_get(&note->may_end) == 0)
        err = thrum_sleep(THRUM_MS(1));
    return err != 0 ? err : thrum_conn_write(c, "bye", 3);
}

/* Runs until it is told to end; what it returns tells how. */
static int is_terminated(void *arg)
{
    const struct term *term = arg;
    thrum_server_t *server = NULL;
    thrum_server_config_t config = server_config(term->model, holds, term->note);
    config.stop_on_sigterm = true;
    config.drain_timeout = term->graceful ? THRUM_NO_LIMIT : THRUM_MS(20);
    if (thrum_server_create(&server, &config) != 0)
        return 100;
    __atomic_store_n(&term->note->size, thrum_server_port(server), __ATOMIC_SEQ_CST);
    const int err = thrum_server_run(server);
    const thrum_server_stats_t stats = stats_of(server);
    thrum_server_destroy(server);
    if (err == 0)
        return stats.completed != 0 && stats.cancelled == 0 ? 0 : 101;
    return err == ETIMEDOUT && stats.cancelled != 0 ? 1 : 102;
}

static int end_of(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) != pid)
        continue;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static pid_t begin_child(int (*fn)(void *arg), void *arg)
{
    const pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        alarm(CHILD_SECONDS);
        _exit(fn(arg));
    }
    return pid;
}

static void terminated(const struct model *m)
{
    for (int graceful = 0; graceful < 2; graceful++) {
        struct note *note = note_new();
        struct term term = {m, note, graceful != 0};
        const pid_t pid = begin_child(is_terminated, &term);
        AWAIT(__atomic_load_n(&note->size, __ATOMIC_SEQ_CST) != 0);
        const int fd = try_connect((unsigned)note->size);
        cr_assert_geq(fd, 0);
        say(fd, "x", 1);
        AWAIT(note_get(&note->began) == 1);
        cr_assert_eq(kill(pid, SIGTERM), 0);
        if (graceful != 0) {
            int late = 0;
            while ((late = try_connect((unsigned)note->size)) >= 0)
                hang_up(late);
            note_count(&note->may_end);
            expect_heard(fd, "bye");
        }
        expect_end(fd);
        const int end = end_of(pid);
        cr_expect_eq(end, graceful != 0 ? 0 : 1, "%s: %d", m->name, end);
        hang_up(fd);
        note_free(note);
    }
}

Test(server_process, sigterm_stops_it)
{
    for_each_model(terminated);
}

/* ------------------------------------------------------------------------------------------------
 * No descriptors left, in a process of its own
 */

struct shortage {
    const struct model *model;
    struct note *note;
};

static int is_short(void *arg)
{
    const struct shortage *s = arg;
    thrum_server_t *server = NULL;
    thrum_server_config_t config = server_config(s->model, serve_echo, NULL);
    config.max_connections = 100;
    if (thrum_server_create(&server, &config) != 0 || thrum_server_start(server) != 0)
        return 1;
    const struct rlimit limit = {(rlim_t)open_descriptors() + 12, 4096};
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 2;
    __atomic_store_n(&s->note->size, thrum_server_port(server), __ATOMIC_SEQ_CST);
    AWAIT(stats_of(server).shed != 0);
    note_count(&s->note->began);
    AWAIT(note_get(&s->note->may_end) != 0);
    const int err = thrum_server_stop(server, thrum_after(LONG));
    const thrum_server_stats_t stats = stats_of(server);
    thrum_server_destroy(server);
    if (err != 0)
        return 3;
    if (stats.accepted != stats.completed + stats.failed + stats.shed)
        return 4;
    return stats.completed != 0 ? 0 : 5;
}

static void short_of_descriptors(const struct model *m)
{
    enum { N = 40 };
    int fds[N];
    struct note *note = note_new();
    struct shortage s = {m, note};
    const pid_t pid = begin_child(is_short, &s);
    AWAIT(__atomic_load_n(&note->size, __ATOMIC_SEQ_CST) != 0);
    for (int i = 0; i < N; i++)
        fds[i] = try_connect((unsigned)note->size);
    AWAIT(note_get(&note->began) != 0); /* somebody has been told */
    for (int i = 0; i < N; i++)
        hang_up(fds[i]);
    int served = 0;
    while (!served) { /* it may not have noticed yet */
        char data[4] = "";
        const int fd = try_connect((unsigned)note->size);
        cr_assert_geq(fd, 0);
        say(fd, "ping", 4);
        served = hear(fd, data, 4) == 4;
        hang_up(fd);
    }
    note_count(&note->may_end);
    const int end = end_of(pid);
    cr_expect_eq(end, 0, "%s: %d", m->name, end);
    note_free(note);
}

Test(server_process, descriptors_run_out_and_come_back)
{
    short_of_descriptors(&models[0]);
}

Test(server_process, descriptors_of_threads_run_out_and_come_back)
{
    short_of_descriptors(&models[2]);
}

Test(server_process, descriptors_of_processes_run_out_and_come_back)
{
    if (!is_left_out(&models[4]))
        short_of_descriptors(&models[4]);
}
