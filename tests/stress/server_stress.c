/*
 * Servers under many clients that come and go as they like, and that stop at any moment. Models of threads; those of
 * processes apart, where no sanitizer minds.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "people.h"

enum { CLIENTS = 6 };

struct hall {
    thrum_server_t *server;
    unsigned port;
    uint32_t closed;
    uint64_t answers;
};

static int echo(thrum_conn_t *c, void *ctx)
{
    char line[64];
    size_t n = 0;
    int err = 0;
    (void)ctx;
    while ((err = thrum_conn_read_line(c, line, sizeof line, &n)) == 0 && n != 0)
        if (line[0] == 'f' || (err = thrum_conn_write(c, line, n)) != 0)
            break;
    return err;
}

static int connect_to(unsigned port)
{
    const struct sockaddr_in name = {.sin_family = AF_INET,
                                     .sin_port = htons((uint16_t)port),
                                     .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct timeval limit = {.tv_sec = 10};
    const struct linger now = {1, 0}; /* so no address stays in use */
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    if (connect(fd, (const struct sockaddr *)&name, sizeof name) == 0)
        return fd;
    close(fd);
    return -1;
}

/* Whole lines come back as they are, in order, up to where the server ends it. */
static void talk(struct hall *hall, struct chance *chance, int fd)
{
    for (unsigned i = chance_below(chance, 6); i != 0; i--) {
        char answer[7];
        const bool half = chance_one_in(chance, 8);
        if (chance_one_in(chance, 4) && send(fd, "li", 2, MSG_NOSIGNAL) == 2) {
            chance_dawdle(chance);
            if (half || send(fd, "nes.\n", 5, MSG_NOSIGNAL) != 5)
                return;
        } else if (send(fd, chance_one_in(chance, 16) ? "fails.\n" : "lines.\n", 7, MSG_NOSIGNAL) !=
                   7) {
            return;
        }
        const ssize_t n = recv(fd, answer, sizeof answer, MSG_WAITALL);
        CHECK(n >= 0 || errno != EAGAIN); /* nobody is forgotten */
        if (n != (ssize_t)sizeof answer)
            return;
        CHECK(memcmp(answer, "lines.\n", 7) == 0);
        __atomic_fetch_add(&hall->answers, 1u, __ATOMIC_RELAXED);
        watchdog_progress();
    }
}

static void come_and_go(struct member *self)
{
    struct hall *hall = self->shared;
    while (__atomic_load_n(&hall->closed, __ATOMIC_ACQUIRE) == 0) {
        const int fd = connect_to(hall->port);
        if (fd < 0) {
            sched_yield();
            continue;
        }
        if (!chance_one_in(&self->chance, 8))
            talk(hall, &self->chance, fd);
        close(fd);
        watchdog_progress();
    }
}

/* Several may stop it, with any deadline; it is as if one had. */
static void stop_it(struct member *self)
{
    struct hall *hall = self->shared;
    const int err = thrum_server_stop(hall->server, chance_deadline(&self->chance, 2000000));
    CHECK(err == 0 || err == ETIMEDOUT);
}

static void one_life(thrum_server_model_t model, struct chance *chance)
{
    struct member clients[CLIENTS];
    struct member stoppers[2];
    thrum_server_stats_t s;
    struct hall hall = {NULL, 0, 0, 0};
    thrum_server_config_t config = THRUM_SERVER_CONFIG_INIT;
    config.address = "127.0.0.1:0";
    config.model = model;
    config.handler = echo;
    config.workers = 2;
    config.processes = 2;
    config.max_connections = 1 + chance_below(chance, 8);
    config.idle_timeout = chance_one_in(chance, 4) ? THRUM_MS(1) : THRUM_S(60);
    CHECK(thrum_server_create(&hall.server, &config) == 0);
    CHECK(thrum_server_start(hall.server) == 0);
    hall.port = thrum_server_port(hall.server);
    team_start(clients, CLIENTS, come_and_go, &hall, 0);
    if (!chance_one_in(chance, 4))
        thrum_sleep(chance_below(chance, 20000000));
    thrum_server_stats(hall.server, &s);
    team_start(stoppers, 2, stop_it, &hall, 0);
    team_join(stoppers, 2);
    thrum_server_stats(hall.server, &s);
    CHECK(s.active == 0 && s.idle == 0 && s.processes == 0 && s.crashed == 0);
    CHECK(s.accepted == s.completed + s.failed + s.timed_out + s.cancelled + s.shed);
    CHECK(s.peak <= config.max_connections + config.processes);
    CHECK(__atomic_load_n(&hall.answers, __ATOMIC_RELAXED) <= s.requests);
    thrum_server_destroy(hall.server);
    __atomic_store_n(&hall.closed, 1u, __ATOMIC_RELEASE);
    team_join(clients, CLIENTS);
}

static void live(thrum_server_model_t model, thrum_time_t until)
{
    struct chance chance = chance_begin();
    do
        one_life(model, &chance);
    while (thrum_now() < until);
}

static void coroutines(thrum_time_t until)
{
    live(THRUM_SERVE_COROUTINES, until);
}

static void serial(thrum_time_t until)
{
    live(THRUM_SERVE_SERIAL, until);
}

static void threads(thrum_time_t until)
{
    live(THRUM_SERVE_THREADS, until);
}

static void pool(thrum_time_t until)
{
    live(THRUM_SERVE_POOL, until);
}

/* ThreadSanitizer sees one process only, and AddressSanitizer's allocator is not kept across forks beside threads. */
#if defined(__SANITIZE_ADDRESS__)
#define PROCESSES_TOO 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PROCESSES_TOO 0
#endif
#endif
#ifndef PROCESSES_TOO
#define PROCESSES_TOO !THREADS_ONLY
#endif

static void processes(thrum_time_t until)
{
    if (PROCESSES_TOO)
        live(THRUM_SERVE_PROCESSES, until);
}

static void prefork_pool(thrum_time_t until)
{
    if (PROCESSES_TOO)
        live(THRUM_SERVE_PREFORK_POOL, until);
}

static void prefork_coroutines(thrum_time_t until)
{
    if (PROCESSES_TOO)
        live(THRUM_SERVE_PREFORK_COROUTINES, until);
}

static const struct stress_case cases[] = {
    {"coroutines", coroutines},
    {"serial", serial},
    {"threads", threads},
    {"pool", pool},
    {"processes", processes},
    {"pools in processes", prefork_pool},
    {"coroutines in processes", prefork_coroutines},
};

STRESS_MAIN(cases)
