/*
 * A server when a call of the system fails, whichever: no crash, nothing leaks, a clear error; and where it can go
 * on, it does.
 */
#include <sys/wait.h>

#include <criterion/criterion.h>

#include "fault/counted.h"
#include "unit/net/servers.h"

TestSuite(server_fault, .timeout = 60);

enum { MOST = 16, FEW = 12 };

static bool is_known(int err)
{
    return err == ENOMEM || err == EAGAIN || err == EMFILE || err == ENFILE;
}

static void disarm(void)
{
    for (int kind = 0; kind < THI_FAULT_KINDS; kind++)
        thi_fault_arm((thi_fault_t)kind, 0);
}

/* Whether somebody was served. */
static bool asks(unsigned port)
{
    char data[5] = "";
    const int fd = try_connect(port);
    if (fd < 0)
        return false;
    bool served = send(fd, "ping\n", 5, MSG_NOSIGNAL) == 5;
    ssize_t n = 0;
    do
        n = recv(fd, data, 5, MSG_WAITALL);
    while (n < 0 && errno == EINTR);
    served &= n == 5 && memcmp(data, "ping\n", 5) == 0;
    hang_up(fd);
    return served;
}

/* Sooner or later somebody is served, or there is nobody any more to serve. */
static bool serves_or_has_ended(thrum_server_t *server)
{
    while (!asks(thrum_server_port(server)))
        if (thrum_server_join(server, PAST) != ETIMEDOUT)
            return false;
    return true;
}

struct scene {
    const struct model *model;
    thi_fault_t kind;
    unsigned failures;
};

static thrum_server_config_t config_of(const struct scene *scene)
{
    thrum_server_config_t config = server_config(scene->model, serve_lines, NULL);
    config.workers = 1;
    config.processes = 1;
    config.stop_on_sigterm = true;
    return config;
}

/* ------------------------------------------------------------------------------------------------
 * Making and starting
 */

static int start_once(struct scene *scene, unsigned nth)
{
    thrum_server_t *server = NULL;
    const thrum_server_config_t config = config_of(scene);
    thi_fault_arm(scene->kind, nth);
    int err = thrum_server_create(&server, &config);
    const bool made = err == 0;
    NEED(made == (server != NULL));
    if (made)
        err = thrum_server_start(server);
    disarm();
    scene->failures += err != 0;
    NEED(err == 0 || is_known(err));
    if (!made)
        return 0;
    if (err ==
        0) { /* a loop that could not begin ends the service all the same; a process is replaced */
        const bool served = serves_or_has_ended(server);
        const int stopped = thrum_server_stop(server, thrum_after(LONG));
        NEED(stopped == 0 || (!served && is_known(stopped)));
    } else {
        NEED(thrum_server_join(server, PAST) == err);
        NEED(thrum_server_start(server) == EBUSY);
    }
    const thrum_server_stats_t stats = stats_of(server);
    NEED(stats.active == 0 && stats.processes == 0);
    thrum_server_destroy(server);
    return 0;
}

static int start_without(void *arg)
{
    const int saved = errno;
    struct scene *scene = arg;
    int line = 0;
    for (unsigned nth = 1; line == 0 && nth < (scene->model->preforks ? FEW : MOST); nth++)
        line = start_once(scene, nth);
    errno = saved;
    return line;
}

static void starts(const struct model *m, thi_fault_t kind, unsigned at_least)
{
    struct scene scene = {m, kind, 0};
    const int before = open_descriptors();
    run_alone(start_without, &scene);
    cr_expect_geq(scene.failures, 3 * at_least, "%s, %d: %u", m->name, (int)kind, scene.failures);
    AWAIT(open_descriptors() <= before + FEW); /* what records of threads keep */
    cr_expect_eq(waitpid(-1, NULL, WNOHANG), -1, "no child is left");
}

static void starts_whole(const struct model *m)
{
    if (is_left_out(m))
        return;
    starts(m, THI_FAULT_ALLOC, 4);
    starts(m, THI_FAULT_SHARED, 1);
    starts(m, THI_FAULT_SIGNAL, 1);
    starts(m, THI_FAULT_THREAD, 2);
}

static void starts_processes(const struct model *m)
{
    static const thi_fault_t kinds[] = {THI_FAULT_FORK, THI_FAULT_PIPE, THI_FAULT_PIDFD};
    for (size_t i = 0; m->preforks && !is_left_out(m) && i < sizeof kinds / sizeof *kinds; i++)
        starts(m, kinds[i], 1);
}

#define STARTS(number, name)                                                                       \
    Test(server_fault, making_one_fails_whole_##name)                                              \
    {                                                                                              \
        count_memory();                                                                            \
        starts_whole(&models[number]);                                                             \
        starts_processes(&models[number]);                                                         \
    }

STARTS(0, coroutines)
STARTS(1, serial)
STARTS(2, threads)
STARTS(3, pool)
STARTS(4, processes)
STARTS(5, prefork_pool)
STARTS(6, prefork_coroutines)

/* ------------------------------------------------------------------------------------------------
 * Serving
 */

static int serve_all(const struct scene *scene)
{
    thrum_server_t *server = NULL;
    const thrum_server_config_t config = config_of(scene);
    NEED(thrum_server_create(&server, &config) == 0);
    NEED(thrum_server_start(server) == 0);
    NEED(asks(thrum_server_port(server))); /* its loops have begun */
    for (unsigned nth = 1; nth < FEW; nth++) {
        thi_fault_arm(scene->kind, nth);
        for (unsigned i = 0; i < 3; i++)
            (void)asks(thrum_server_port(server));
        disarm();
        NEED(serves_or_has_ended(server) && thrum_server_join(server, PAST) == ETIMEDOUT);
    }
    NEED(thrum_server_stop(server, thrum_after(LONG)) == 0);
    const thrum_server_stats_t s = stats_of(server);
    NEED(s.active == 0 && s.processes == 0);
    NEED(s.accepted == s.completed + s.failed + s.timed_out + s.cancelled + s.crashed + s.shed);
    NEED(s.timed_out == 0 && s.cancelled == 0);
    thrum_server_destroy(server);
    return 0;
}

static int serve_without(void *arg)
{
    const int saved = errno;
    const int line = serve_all(arg);
    errno = saved;
    return line;
}

static void goes_on(const struct model *m)
{
    static const thi_fault_t kinds[] = {THI_FAULT_ALLOC,  THI_FAULT_PAGES,  THI_FAULT_SIGNAL,
                                        THI_FAULT_THREAD, THI_FAULT_FORK,   THI_FAULT_PIPE,
                                        THI_FAULT_PIDFD,  THI_FAULT_ACCEPT, THI_FAULT_INTERRUPT};
    for (size_t i = 0; !is_left_out(m) && i < sizeof kinds / sizeof *kinds; i++) {
        struct scene scene = {m, kinds[i], 0};
        const int before = open_descriptors();
        run_alone(serve_without, &scene);
        AWAIT(open_descriptors() <= before + FEW);
    }
}

#define GOES_ON(number, name)                                                                      \
    Test(server_fault, it_goes_on_##name)                                                          \
    {                                                                                              \
        count_memory();                                                                            \
        goes_on(&models[number]);                                                                  \
    }

GOES_ON(0, coroutines)
GOES_ON(1, serial)
GOES_ON(2, threads)
GOES_ON(3, pool)
GOES_ON(4, processes)
GOES_ON(5, prefork_pool)
GOES_ON(6, prefork_coroutines)
