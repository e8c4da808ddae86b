#ifndef TESTS_SERVERS_H
#define TESTS_SERVERS_H

/*
 * Servers of every model, handlers that tell in memory of all processes what they do, and clients that wait for
 * a bounded time.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <thrum/thrum.h>

#include "support/child.h"
#include "support/expect.h"

#define LONG_SECONDS 25 /* what a client waits for at most: longer than anything takes */
#define LONG THRUM_S(LONG_SECONDS)

/* ------------------------------------------------------------------------------------------------
 * Models
 */

struct model {
    thrum_server_model_t model;
    const char *name;
    bool processes; /* handlers run in others */
    bool preforks;
};

static const struct model models[] = {
    {THRUM_SERVE_COROUTINES, "coroutines", false, false},
    {THRUM_SERVE_SERIAL, "serial", false, false},
    {THRUM_SERVE_THREADS, "threads", false, false},
    {THRUM_SERVE_POOL, "pool", false, false},
    {THRUM_SERVE_PROCESSES, "processes", true, false},
    {THRUM_SERVE_PREFORK_POOL, "prefork_pool", true, true},
    {THRUM_SERVE_PREFORK_COROUTINES, "prefork_coroutines", true, true},
};
#define MODELS (sizeof models / sizeof *models)

/* AddressSanitizer's allocator is not kept across a fork beside threads that are in it. */
static inline bool is_left_out(const struct model *m)
{
    return m->processes && !CHILD_MAY_START_THREADS;
}

static inline void for_each_model(void (*fn)(const struct model *m))
{
    for (size_t i = 0; i < MODELS; i++) {
        const char *only = getenv("TESTS_MODEL"); /* for who looks for something */
        if (!is_left_out(&models[i]) && (only == NULL || strcmp(only, models[i].name) == 0))
            fn(&models[i]);
    }
}

static inline bool is_serial(const struct model *m)
{
    return m->model == THRUM_SERVE_SERIAL;
}

/* What a test waits for; it is ended by its time limit. */
#define AWAIT(what)                                                                                \
    do {                                                                                           \
        while (!(what))                                                                            \
            usleep(300);                                                                           \
    } while (0)

/* ------------------------------------------------------------------------------------------------
 * What handlers tell
 */

struct note {
    uint32_t began, ended; /* handlers */
    uint32_t may_end;
    uint32_t setups, finishes;
    int32_t status; /* of the last finish */
    int32_t err;    /* of a call */
    uint32_t crash; /* the next handler does */
    uint64_t size;
    uint32_t number;
    int32_t errors[8];
};

static inline struct note *note_new(void)
{
    void *page =
        mmap(NULL, sizeof(struct note), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        abort();
    return page;
}

static inline void note_free(struct note *note)
{
    munmap(note, sizeof *note);
}

static inline void note_count(uint32_t *counter)
{
    __atomic_fetch_add(counter, 1u, __ATOMIC_SEQ_CST);
}

static inline uint32_t note_get(const uint32_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_SEQ_CST);
}

/* ------------------------------------------------------------------------------------------------
 * Servers
 */

static inline thrum_server_config_t server_config(const struct model *m, thrum_handler_fn handler,
                                                  void *ctx)
{
    thrum_server_config_t config = THRUM_SERVER_CONFIG_INIT;
    config.address = "127.0.0.1:0";
    config.model = m->model;
    config.handler = handler;
    config.ctx = ctx;
    config.workers = 2;
    config.processes = 2;
    config.max_connections = 16;
    config.idle_timeout = config.read_timeout = config.write_timeout = LONG;
    return config;
}

static inline thrum_server_t *server_started(const thrum_server_config_t *config)
{
    thrum_server_t *server = NULL;
    cr_assert_eq(thrum_server_create(&server, config), 0);
    EXPECT_CALL(0, thrum_server_start(server));
    return server;
}

static inline thrum_server_stats_t stats_of(const thrum_server_t *server)
{
    thrum_server_stats_t stats;
    thrum_server_stats(server, &stats);
    return stats;
}

/* Nothing is left, and every connection has come to one end. */
static inline void expect_balance(const thrum_server_t *server)
{
    const thrum_server_stats_t s = stats_of(server);
    cr_expect_eq(s.active, 0u);
    cr_expect_eq(s.idle, 0u);
    cr_expect_eq(s.processes, 0u);
    cr_expect_eq(s.accepted,
                 s.completed + s.failed + s.timed_out + s.cancelled + s.crashed + s.shed,
                 "%llu accepted", (unsigned long long)s.accepted);
}

static inline void stop_and_destroy(thrum_server_t *server)
{
    EXPECT_CALL(0, thrum_server_stop(server, thrum_after(LONG)));
    expect_balance(server);
    thrum_server_destroy(server);
}

/* ------------------------------------------------------------------------------------------------
 * Handlers
 */

static inline int serve_echo(thrum_conn_t *c, void *ctx)
{
    char data[4096];
    size_t n = 0;
    int err = 0;
    (void)ctx;
    while ((err = thrum_conn_read(c, data, sizeof data, &n)) == 0 && n != 0)
        if ((err = thrum_conn_write(c, data, n)) != 0)
            break;
    return err;
}

static inline int serve_lines(thrum_conn_t *c, void *ctx)
{
    char line[256];
    size_t n = 0;
    int err = 0;
    (void)ctx;
    while ((err = thrum_conn_read_line(c, line, sizeof line, &n)) == 0 && n != 0)
        if ((err = thrum_conn_write(c, line, n)) != 0)
            break;
    return err;
}

/* ------------------------------------------------------------------------------------------------
 * Clients
 */

/* A process that a server forks has no business with clients of the same program: it closes what they have. */
#define CLIENTS_MAX 4096
static int client_fds[CLIENTS_MAX];
static size_t client_count;
static pthread_mutex_t clients_lock = PTHREAD_MUTEX_INITIALIZER;

static void clients_before_fork(void)
{
    pthread_mutex_lock(&clients_lock);
}

static void clients_in_parent(void)
{
    pthread_mutex_unlock(&clients_lock);
}

static void clients_in_child(void)
{
    for (size_t i = 0; i < client_count; i++)
        close(client_fds[i]);
    client_count = 0;
    pthread_mutex_unlock(&clients_lock);
}

__attribute__((constructor)) static void clients_at_load(void)
{
    pthread_atfork(clients_before_fork, clients_in_parent, clients_in_child);
}

static inline int client_socket(int family, int type)
{
    pthread_mutex_lock(&clients_lock);
    const int fd = socket(family, type | SOCK_CLOEXEC, 0);
    if (fd >= 0 && client_count == CLIENTS_MAX)
        abort();
    if (fd >= 0)
        client_fds[client_count++] = fd;
    pthread_mutex_unlock(&clients_lock);
    return fd;
}

static inline void hang_up(int fd)
{
    pthread_mutex_lock(&clients_lock);
    for (size_t i = 0; i < client_count; i++)
        if (client_fds[i] == fd) {
            client_fds[i] = client_fds[--client_count];
            break;
        }
    close(fd);
    pthread_mutex_unlock(&clients_lock);
}

static inline void bounded(int fd)
{
    const struct timeval limit = {.tv_sec = LONG_SECONDS};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

/* -1: it cannot; errno says why. */
static inline int try_connect(unsigned port)
{
    const struct sockaddr_in name = {.sin_family = AF_INET,
                                     .sin_port = htons((uint16_t)port),
                                     .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = client_socket(AF_INET, SOCK_STREAM);
    if (fd < 0)
        return -1;
    bounded(fd);
    if (connect(fd, (const struct sockaddr *)&name, sizeof name) == 0)
        return fd;
    const int err = errno;
    hang_up(fd);
    errno = err;
    return -1;
}

static inline int connected(const thrum_server_t *server)
{
    const int fd = try_connect(thrum_server_port(server));
    cr_assert_geq(fd, 0, "%s", strerror(errno));
    return fd;
}

static inline void say(int fd, const void *data, size_t size)
{
    ssize_t n = 0;
    for (size_t all = 0; all < size; all += (size_t)n) {
        do
            n = send(fd, (const char *)data + all, size - all, MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        cr_assert_gt(n, 0, "%s", strerror(errno));
    }
}

/* How many of `size` bytes came before the end, or an error. */
static inline size_t hear(int fd, void *data, size_t size)
{
    size_t all = 0;
    ssize_t n = 1;
    while (all < size && n > 0) {
        do
            n = recv(fd, (char *)data + all, size - all, 0);
        while (n < 0 && errno == EINTR); /* the framework hears of children, too */
        all += n > 0 ? (size_t)n : 0;
    }
    cr_assert(n >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK), "nothing came");
    return all;
}

static inline void expect_heard(int fd, const char *text)
{
    char data[256] = "";
    const size_t size = strlen(text);
    cr_assert_leq(size, sizeof data);
    cr_expect_eq(hear(fd, data, size), size);
    cr_expect_eq(memcmp(data, text, size), 0, "%.*s, expected %s", (int)size, data, text);
}

static inline void expect_echo(int fd, const char *text)
{
    say(fd, text, strlen(text));
    expect_heard(fd, text);
}

/* The server has closed it, gently or not. */
static inline void expect_end(int fd)
{
    char data = 0;
    cr_expect_eq(hear(fd, &data, 1), 0u);
}

static inline void hang_up_with_reset(int fd)
{
    const struct linger now = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    hang_up(fd);
}

/* ------------------------------------------------------------------------------------------------
 * What may not be left behind
 */

static inline int open_descriptors(void)
{
    int n = 0;
    for (int fd = 0; fd < 300; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static inline int running_threads(void)
{
    char line[128];
    int n = -1;
    FILE *status = fopen("/proc/self/status", "r");
    while (status != NULL && fgets(line, sizeof line, status) != NULL)
        (void)sscanf(line, "Threads: %d", &n);
    if (status != NULL)
        fclose(status);
    return n;
}

static inline void allow_descriptors(rlim_t wanted)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < wanted) {
        limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

#endif /* TESTS_SERVERS_H */
