/*
 * The load: one thread, many connections in a closed loop - each sends a request, waits for all of the reply, looks
 * whether it is the right one, and sends the next.
 *
 *     server_load --port N [--protocol echo|http|resp] [--connections N] [--ms N] [--warmup-ms N] [--cpu N]
 *                 [--idle N] [--pid N]
 *
 * It prints lines of a name and a figure. Idle connections have had one reply each, before the busy ones are opened; what
 * they cost is by how much the resident memory (and the page tables) of the server, the process `pid`, has grown meanwhile.
 * An error is a reply that is wrong, a connection that broke, or one that waits for longer than a second.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common.h"
#include "histogram.h"
#include "protocol.h"

#define MS INT64_C(1000000)
#define PATIENCE_S 20
#define STALLED (1000 * MS)

struct connection {
    struct exchange exchange;
    int64_t asked; /* when */
    int fd;        /* -1: broken */
};

struct load {
    const struct protocol *protocol;
    size_t opened;
    long pid; /* the server's; 0: unknown */
    unsigned port;
    int poller;
    size_t alive;
    uint64_t errors;
    int64_t begin; /* of what counts */
    uint64_t requests;
    struct histogram times;
};

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 * MS + t.tv_nsec;
}

static void stay_on(int cpu)
{
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET((size_t)cpu, &one);
    must(sched_setaffinity(0, sizeof one, &one) == 0, "sched_setaffinity");
}

/* ---- what the kernel tells of a process ---- */

/* false, and no text: it is not there (any more) */
static bool read_file(const char *path, char *text, size_t size)
{
    FILE *file = fopen(path, "r");
    text[file != NULL ? fread(text, 1, size - 1, file) : 0] = '\0';
    if (file != NULL)
        fclose(file);
    return file != NULL;
}

static long kib_of(const char *status, const char *field)
{
    const char *at = strstr(status, field);
    return at == NULL ? 0 : strtol(at + strlen(field), NULL, 10);
}

/* Resident, page tables included, in KiB. */
static long memory_of(long pid)
{
    char path[64];
    char status[8192];
    snprintf(path, sizeof path, "/proc/%ld/status", pid);
    must(read_file(path, status, sizeof status), path);
    return kib_of(status, "\nVmRSS:") + kib_of(status, "\nVmPTE:");
}

/* Processor time of a process, its threads and those that it forked, in ns; 0: the kernel does not count it. */
static uint64_t time_of(long pid)
{
    char path[300];
    uint64_t ns = 0;
    snprintf(path, sizeof path, "/proc/%ld/task", pid);
    DIR *threads = opendir(path);
    for (const struct dirent *thread; threads != NULL && (thread = readdir(threads)) != NULL;) {
        char text[16384];
        char *end = text;
        snprintf(path, sizeof path, "/proc/%ld/task/%s/schedstat", pid, thread->d_name);
        if (thread->d_name[0] == '.' || !read_file(path, text, sizeof text))
            continue;
        ns += strtoull(text, NULL, 10);
        snprintf(path, sizeof path, "/proc/%ld/task/%s/children", pid, thread->d_name);
        read_file(path, text, sizeof text);
        for (long child; (child = strtol(end, &end, 10)) != 0;)
            ns += time_of(child);
    }
    if (threads != NULL)
        closedir(threads);
    return ns;
}

/* That of this process, exactly. */
static int64_t own_time(void)
{
    struct rusage used;
    must(getrusage(RUSAGE_SELF, &used) == 0, "getrusage");
    return (int64_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000 * MS +
           (int64_t)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1000;
}

/* ---- one connection ---- */

static int open_connection(unsigned port)
{
    const struct timeval patience = {.tv_sec = PATIENCE_S};
    const struct linger none = {.l_onoff = 1}; /* thousands that linger would use the ports up */
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                               .sin_port = htons((uint16_t)port)};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0, "socket");
    must(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0, "SO_RCVTIMEO");
    must(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) == 0, "SO_SNDTIMEO");
    must(setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none) == 0, "SO_LINGER");
    send_at_once(fd);
    must(connect(fd, (struct sockaddr *)&addr, sizeof addr) == 0, "connect");
    return fd;
}

static void give_up(struct load *l, struct connection *c)
{
    close(c->fd);
    c->fd = -1;
    l->alive--;
    l->errors++;
}

static void ask(struct load *l, struct connection *c, int64_t now)
{
    l->protocol->ask(&c->exchange);
    c->asked = now;
    if (send(c->fd, c->exchange.request, c->exchange.request_size, MSG_NOSIGNAL) !=
        (ssize_t)c->exchange.request_size)
        give_up(l, c);
}

/* Takes what has come; false: that was not all of it. */
static bool hear(struct load *l, struct connection *c, int flags)
{
    struct exchange *x = &c->exchange;
    const ssize_t n = recv(c->fd, x->got + x->got_size, sizeof x->got - x->got_size, flags);
    if (n < 0 && (errno == EAGAIN || errno == EINTR) && (flags & MSG_DONTWAIT) != 0)
        return false;
    if (n > 0) {
        x->got_size += (uint32_t)n;
        const enum verdict verdict = l->protocol->judge(x);
        if (verdict != REPLY_WRONG)
            return verdict == REPLY_RIGHT;
    }
    give_up(l, c);
    return false;
}

/* With one exchange, so that it has been accepted: no backlog runs over. */
static void open_all(struct load *l, struct connection *connections, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct connection *c = &connections[i];
        c->exchange.id = (uint32_t)(l->opened++);
        c->fd = open_connection(l->port);
        l->alive++;
        ask(l, c, now_ns());
        while (c->fd >= 0 && !hear(l, c, 0)) {
        }
        if (c->fd < 0)
            fail("no reply, or a wrong one, at the beginning", 0);
    }
}

/* ---- the closed loop ---- */

static void watch(struct load *l, struct connection *connections, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &connections[i]};
        must(epoll_ctl(l->poller, EPOLL_CTL_ADD, connections[i].fd, &event) == 0, "epoll_ctl");
    }
}

static void run_until(struct load *l, int64_t end)
{
    struct epoll_event events[256];
    while (l->alive != 0 && now_ns() < end) {
        const int n = epoll_wait(l->poller, events, 256, 10);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (!hear(l, c, MSG_DONTWAIT))
                continue;
            const int64_t now = now_ns();
            l->requests++;
            if (c->asked >= l->begin) /* what was asked before waited for who measures, too */
                histogram_add(&l->times, now - c->asked);
            ask(l, c, now);
        }
    }
}

static void count_stalled(struct load *l, const struct connection *connections, size_t n)
{
    const int64_t now = now_ns();
    for (size_t i = 0; i < n; i++)
        l->errors += connections[i].fd >= 0 && now - connections[i].asked > STALLED;
}

static void measure(struct load *l, struct connection *busy, size_t n, int64_t warm_up, int64_t ns)
{
    const int64_t start = now_ns();
    l->poller = epoll_create1(EPOLL_CLOEXEC);
    must(l->poller >= 0, "epoll_create1");
    watch(l, busy, n);
    for (size_t i = 0; i < n; i++)
        ask(l, &busy[i], now_ns());
    run_until(l, start + warm_up);
    memset(&l->times, 0, sizeof l->times);

    const uint64_t server_used = time_of(l->pid);
    const int64_t used = own_time();
    l->requests = 0;
    l->begin = now_ns();
    run_until(l, l->begin + ns);
    const double seconds = (double)(now_ns() - l->begin) * 1e-9;
    count_stalled(l, busy, n);
    printf("requests_per_s %.0f\n", (double)l->requests / seconds);
    if (l->times.total != 0) {
        printf("p50_us %.1f\n", histogram_quantile_us(&l->times, 0.50));
        printf("p99_us %.1f\n", histogram_quantile_us(&l->times, 0.99));
    }
    if (server_used != 0)
        printf("server_us_per_request %.2f\n",
               (double)(time_of(l->pid) - server_used) * 1e-3 / (double)l->requests);
    printf("load_busy %.2f\n", (double)(own_time() - used) * 1e-9 / seconds);
}

/* One connection first: what the server does once is no connection's. */
static void open_idle(struct load *l, struct connection *idle, size_t n)
{
    struct connection *first = calloc(1, sizeof *first);
    must(first != NULL, "calloc");
    open_all(l, first, 1);
    const long before = l->pid != 0 ? memory_of(l->pid) : 0;
    open_all(l, idle, n);
    if (l->pid != 0)
        printf("bytes_per_idle %.0f\n", (double)(memory_of(l->pid) - before) * 1024 / (double)n);
    close(first->fd);
    l->alive--;
    free(first);
}

int main(int argc, char **argv)
{
    const char *cpu = argument(argc, argv, "--cpu", NULL);
    const char *port = argument(argc, argv, "--port", "0");
    const size_t n = strtoul(argument(argc, argv, "--connections", "50"), NULL, 10);
    const size_t idle = strtoul(argument(argc, argv, "--idle", "0"), NULL, 10);
    const int64_t warm_up = atoi(argument(argc, argv, "--warmup-ms", "300")) * MS;
    const int64_t ns = atoi(argument(argc, argv, "--ms", "2000")) * MS;
    static struct load l;
    l.protocol = find_protocol(argument(argc, argv, "--protocol", "echo"));
    l.port = (unsigned)atoi(port);
    l.pid = strtol(argument(argc, argv, "--pid", "0"), NULL, 10);
    if (l.protocol == NULL || l.port == 0 || n == 0 || ns <= 0) {
        fprintf(stderr,
                "usage: %s --port N [--protocol echo|http|resp] [--connections N] [--ms N]\n"
                "       [--warmup-ms N] [--cpu N] [--idle N] [--pid N]\n",
                argv[0]);
        return 2;
    }
    dup2(STDOUT_FILENO, STDERR_FILENO); /* what goes wrong belongs to what it says */
    if (cpu != NULL)
        stay_on(atoi(cpu));
    raise_descriptor_limit();
    struct connection *connections = calloc(idle + n, sizeof *connections);
    must(connections != NULL, "calloc");
    if (idle != 0)
        open_idle(&l, connections, idle);
    open_all(&l, connections + idle, n);
    l.alive = n;
    measure(&l, connections + idle, n, warm_up, ns);
    printf("errors %llu\n", (unsigned long long)l.errors);
    free(connections);
    return l.errors == 0 ? 0 : EXIT_FAILURE;
}
