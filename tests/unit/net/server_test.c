/* One body for every model: what a server does when all goes well, and when handlers and peers fail. */
#include "net/servers.h"

TestSuite(server, .timeout = 60);

/* ------------------------------------------------------------------------------------------------
 * Talking
 */

static void echoes(const struct model *m)
{
    const thrum_server_config_t config = server_config(m, serve_echo, NULL);
    thrum_server_t *server = server_started(&config);
    cr_expect_neq(thrum_server_port(server), 0u);
    for (int i = 0; i < 3; i++) {
        const int fd = connected(server);
        expect_echo(fd, "hello");
        expect_echo(fd, "world");
        hang_up(fd);
    }
    EXPECT_CALL(0, thrum_server_stop(server, thrum_after(LONG)));
    expect_balance(server);
    const thrum_server_stats_t stats = stats_of(server);
    cr_expect_eq(stats.accepted, 3u);
    cr_expect_eq(stats.completed, 3u, "%s: %llu", m->name, (unsigned long long)stats.completed);
    cr_expect_eq(stats.requests, 6u);
    cr_expect_eq(stats.received, 30u);
    cr_expect_eq(stats.sent, 30u);
    cr_expect(stats.peak >= 1 && stats.peak <= 3);
    EXPECT_CALL(0, thrum_server_join(server, PAST));
    EXPECT_CALL(0, thrum_server_stop(server, PAST));
    EXPECT_CALL(EBUSY, thrum_server_run(server));
    EXPECT_CALL(EBUSY, thrum_server_start(server));
    thrum_server_destroy(server);
}

Test(server, echoes)
{
    for_each_model(echoes);
}

/* A peer that sends no more still gets its answer; one that sends byte by byte is heard. */
static void patient(const struct model *m)
{
    static const char text[] = "one\ntwo\nthree";
    const thrum_server_config_t config = server_config(m, serve_lines, NULL);
    thrum_server_t *server = server_started(&config);
    const int fd = connected(server);
    for (size_t i = 0; i < sizeof text - 1; i++)
        say(fd, &text[i], 1);
    expect_heard(fd, "one\ntwo\n");
    shutdown(fd, SHUT_WR);
    expect_heard(fd, "three");
    expect_end(fd);
    hang_up(fd);
    stop_and_destroy(server);
}

Test(server, half_open_and_slow_peers)
{
    for_each_model(patient);
}

/* Peers that go away in the middle, politely and not. */
static void resets(const struct model *m)
{
    const thrum_server_config_t config = server_config(m, serve_lines, NULL);
    thrum_server_t *server = server_started(&config);
    for (int i = 0; i < 8; i++) {
        const int fd = connected(server);
        say(fd, "half a li", 9);
        if (i % 2 == 0)
            hang_up(fd);
        else
            hang_up_with_reset(fd);
    }
    const int fd = connected(server);
    expect_echo(fd, "still there\n");
    hang_up(fd);
    stop_and_destroy(server);
}

Test(server, resets)
{
    for_each_model(resets);
}

/* ------------------------------------------------------------------------------------------------
 * Setup, finish, data, failure
 */

static int set_up(thrum_conn_t *c, void *ctx)
{
    struct note *note = ctx;
    cr_expect_null(thrum_conn_data(c));
    thrum_conn_set_data(c, note);
    note_count(&note->setups);
    return note->err;
}

static int fails_as_told(thrum_conn_t *c, void *ctx)
{
    struct note *note = thrum_conn_data(c);
    int err = 0;
    size_t n = 0;
    if (note != ctx)
        return EPROTO;
    note_count(&note->began);
    thrum_conn_read_full(c, &err, sizeof err, &n);
    errno = ENOTTY; /* a handler may */
    return err;
}

static void finish(thrum_conn_t *c, void *ctx, int status)
{
    struct note *note = ctx;
    note->status = status;
    if (thrum_conn_data(c) == note)
        note_count(&note->finishes);
}

static void finishes(const struct model *m)
{
    struct note *note = note_new();
    thrum_server_config_t config = server_config(m, fails_as_told, note);
    static const int statuses[] = {0, EPROTO, ETIMEDOUT, ECANCELED};
    config.setup = set_up;
    config.finish = finish;
    thrum_server_t *server = server_started(&config);
    for (size_t i = 0; i < 4; i++) {
        const int fd = connected(server);
        say(fd, &statuses[i], sizeof statuses[i]);
        expect_end(fd);
        cr_expect_eq(note->status, statuses[i]);
        hang_up(fd);
    }
    note->err = EACCES; /* of setup */
    const int fd = connected(server);
    expect_end(fd);
    hang_up(fd);
    cr_expect_eq(note->status, EACCES);
    EXPECT_CALL(0, thrum_server_stop(server, thrum_after(LONG)));
    expect_balance(server);
    cr_expect_eq(note->began, 4u);
    cr_expect_eq(note->setups, 5u);
    cr_expect_eq(note->finishes, 5u);
    const thrum_server_stats_t stats = stats_of(server);
    cr_expect_eq(stats.completed, 1u);
    cr_expect_eq(stats.failed, 3u);
    cr_expect_eq(stats.timed_out, 1u);
    thrum_server_destroy(server);
    note_free(note);
}

Test(server, setup_and_finish)
{
    for_each_model(finishes);
}

/* Something is left unread: the answer arrives nevertheless. */
static int answers_early(thrum_conn_t *c, void *ctx)
{
    char first = 0;
    size_t n = 0;
    (void)ctx;
    int err = thrum_conn_read_full(c, &first, 1, &n);
    return err != 0 ? err : thrum_conn_write(c, "no", 2);
}

static void lingers(const struct model *m)
{
    static char much[60000];
    const thrum_server_config_t config = server_config(m, answers_early, NULL);
    thrum_server_t *server = server_started(&config);
    const int fd = connected(server);
    say(fd, much, sizeof much);
    expect_heard(fd, "no");
    expect_end(fd);
    hang_up(fd);
    stop_and_destroy(server);
}

Test(server, answers_are_not_lost_by_the_close)
{
    for_each_model(lingers);
}

/* ------------------------------------------------------------------------------------------------
 * Files, and who is there
 */

struct file {
    int fd;
    struct note *note;
};

static int sends_file(thrum_conn_t *c, void *ctx)
{
    struct file *file = ctx;
    struct note *note = file->note;
    char peer[128] = "";
    char byte = 0;
    size_t n = 0;
    if (thrum_conn_fd(c) < 0 || thrum_conn_server(c) == NULL ||
        thrum_conn_peer(c, peer, sizeof peer) != strlen(peer) ||
        strncmp(peer, "127.0.0.1:", 10) != 0)
        return EPROTO;
    note->errors[0] = thrum_conn_read_full(c, &byte, 1, &n);
    note->errors[1] = thrum_conn_sendfile(c, file->fd, 100, 2500000);
    note->errors[2] = thrum_conn_sendfile(c, file->fd, 2999000, 5000);
    note->errors[3] = thrum_conn_sendfile(c, -1, 0, 10);
    note->errors[4] = thrum_conn_sendfile(c, file->fd, -1, 10);
    note->errors[5] = thrum_conn_read_full(c, &byte, 1, &n); /* by other means in some models */
    while (note->errors[5] == 0 && (note->err = thrum_conn_sendfile(c, file->fd, 0, 1000)) == 0)
        continue; /* its peer is gone, which it learns sooner or later */
    return 0;
}

static void files(const struct model *m)
{
    static unsigned char data[3000000], got[2501000];
    struct note *note = note_new();
    struct file file = {.note = note};
    FILE *temporary = tmpfile();
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(i * 7 >> 3);
    cr_assert_eq(fwrite(data, 1, sizeof data, temporary), sizeof data);
    fflush(temporary);
    file.fd = fileno(temporary);
    const thrum_server_config_t config = server_config(m, sends_file, &file);
    thrum_server_t *server = server_started(&config);
    const int fd = connected(server);
    say(fd, "x", 1);
    cr_expect_eq(hear(fd, got, sizeof got), sizeof got);
    cr_expect_eq(memcmp(got, data + 100, 2500000), 0);
    cr_expect_eq(memcmp(got + 2500000, data + 2999000, 1000), 0);
    say(fd, "y", 1);
    hang_up_with_reset(fd);
    EXPECT_CALL(0, thrum_server_stop(server, thrum_after(LONG)));
    cr_expect_eq(note->errors[0], 0);
    cr_expect_eq(note->errors[1], 0);
    cr_expect_eq(note->errors[2], ENODATA);
    cr_expect_eq(note->errors[3], EBADF);
    cr_expect_eq(note->errors[4], EINVAL);
    cr_expect(note->errors[5] != 0 || note->err == EPIPE || note->err == ECONNRESET, "%s: %d",
              m->name, note->err);
    const thrum_server_stats_t stats = stats_of(server);
    cr_expect_eq(stats.completed, 1u, "no signal has ended it");
    cr_expect_geq(stats.sent, 2501000u);
    thrum_server_destroy(server);
    fclose(temporary);
    note_free(note);
}

Test(server, files)
{
    for_each_model(files);
}

/* ------------------------------------------------------------------------------------------------
 * Many
 */

#if CHILD_MAY_START_THREADS
#define BURST 1000
#else
#define BURST 200
#endif

static void burst(const struct model *m)
{
    static int fds[BURST];
    const int n = m->model == THRUM_SERVE_PROCESSES ? 60 : is_serial(m) ? 200 : BURST;
    thrum_server_config_t config = server_config(m, serve_echo, NULL);
    struct rlimit limit;
    config.max_connections = 2 * BURST;
    config.stack_size = 65536 * 2;
    thrum_server_t *server = server_started(&config);
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    cr_assert_geq(limit.rlim_cur, (rlim_t)(2 * n + 100));
    for (int i = 0; i < n; i++)
        fds[i] = connected(server);
    for (int i = 0; i < n; i++)
        say(fds[i], "ping", 4);
    for (int i = 0; i < n; i++) { /* who is served one after the other is served in order */
        expect_heard(fds[i], "ping");
        hang_up(fds[i]);
    }
    stop_and_destroy(server);
}

Test(server, a_burst)
{
    allow_descriptors(4096);
    for_each_model(burst);
}

/* No more than it may; the others wait, and are served. */
static void full(const struct model *m)
{
    enum { N = 6 };
    int fds[N];
    thrum_server_config_t config = server_config(m, serve_echo, NULL);
    config.max_connections = 2;
    thrum_server_t *server = server_started(&config);
    for (int i = 0; i < N; i++) {
        fds[i] = connected(server);
        say(fds[i], "ping", 4);
    }
    /* With several processes it is not said which connections go on first. */
    for (int served = 0; served < N;) {
        for (int i = 0; i < N; i++) {
            char data[4];
            if (fds[i] < 0 || recv(fds[i], data, 4, MSG_DONTWAIT) != 4)
                continue;
            hang_up(fds[i]);
            fds[i] = -1;
            served++;
        }
        usleep(300);
    }
    EXPECT_CALL(0, thrum_server_stop(server, thrum_after(LONG)));
    expect_balance(server);
    cr_expect_eq(stats_of(server).completed, (unsigned)N);
    cr_expect_leq(stats_of(server).peak, 2u);
    thrum_server_destroy(server);
}

Test(server, at_its_limit_others_wait)
{
    for_each_model(full);
}

/* ------------------------------------------------------------------------------------------------
 * Configurations
 */

#define EXPECT_CREATE(expected, change)                                                            \
    do {                                                                                           \
        thrum_server_t *made = NULL;                                                               \
        thrum_server_config_t config = server_config(&models[0], serve_echo, NULL);                \
        change;                                                                                    \
        EXPECT_CALL(expected, thrum_server_create(&made, &config));                                \
        cr_expect_eq(made != NULL, (expected) == 0);                                               \
        thrum_server_destroy(made);                                                                \
    } while (0)

Test(server, configurations)
{
    const int before = open_descriptors();
    EXPECT_CREATE(0, (void)0);
    EXPECT_CREATE(EINVAL, config.handler = NULL);
    EXPECT_CREATE(EINVAL, config.address = NULL);
    EXPECT_CREATE(EINVAL, config.listener = 0);
    EXPECT_CREATE(EINVAL, config.model = (thrum_server_model_t)99);
    EXPECT_CREATE(EINVAL, config.config_size = 0);
    EXPECT_CREATE(EINVAL, config.backlog = -1);
    EXPECT_CREATE(EINVAL, config.idle_timeout = -2);
    EXPECT_CREATE(EINVAL, config.drain_timeout = -2);
    EXPECT_CREATE(EINVAL, config.workers = SIZE_MAX);
    EXPECT_CREATE(EINVAL, config.max_connections = SIZE_MAX);
    EXPECT_CREATE(EINVAL, config.frames.length_size = 3);
    EXPECT_CREATE(EINVAL, config.model = THRUM_SERVE_PREFORK_POOL; config.workers = SIZE_MAX / 2);
    EXPECT_CREATE(EINVAL, config.model = THRUM_SERVE_PREFORK_POOL; config.datagram = true);
    EXPECT_CREATE(EINVAL, config.model = THRUM_SERVE_PREFORK_POOL; config.processes = 100000);
    EXPECT_CREATE(0, config.idle_timeout = config.read_timeout = config.write_timeout =
                         config.total_timeout = config.drain_timeout = INT64_MAX);
    EXPECT_CREATE(EBADF, config.address = NULL; config.listener = 1000);
    EXPECT_CALL(EINVAL, thrum_server_create(NULL, NULL));
    EXPECT_CALL(EINVAL, thrum_server_run(NULL));
    EXPECT_CALL(EINVAL, thrum_server_start(NULL));
    EXPECT_CALL(EINVAL, thrum_server_stop(NULL, PAST));
    EXPECT_CALL(EINVAL, thrum_server_join(NULL, PAST));
    thrum_server_destroy(NULL);
    thrum_server_stats(NULL, NULL);
    cr_expect_eq(thrum_server_address(NULL, NULL, 0), 0u);
    cr_expect_eq(thrum_server_port(NULL), 0u);
    cr_expect_eq(open_descriptors(), before);
}

Test(server, calls_without_a_connection)
{
    char data[4] = "";
    size_t n = 0;
    const struct iovec *none = NULL;
    EXPECT_CALL(EINVAL, thrum_conn_read(NULL, data, 1, &n));
    EXPECT_CALL(EINVAL, thrum_conn_read_full(NULL, data, 1, &n));
    EXPECT_CALL(EINVAL, thrum_conn_read_line(NULL, data, 2, &n));
    EXPECT_CALL(EINVAL, thrum_conn_write(NULL, data, 1));
    EXPECT_CALL(EINVAL, thrum_conn_writev(NULL, none, 1));
    EXPECT_CALL(EINVAL, thrum_conn_sendfile(NULL, 0, 0, 1));
    EXPECT_CALL(EINVAL, thrum_conn_receive(NULL, NULL));
    EXPECT_CALL(EINVAL, thrum_conn_send(NULL, data, 1));
    EXPECT_CALL(EINVAL, thrum_conn_sendv(NULL, NULL, 0, NULL, 0));
    EXPECT_CALL(EINVAL, thrum_conn_set_limit(NULL, THRUM_LIMIT_IDLE, 1));
    thrum_conn_next(NULL);
    thrum_conn_set_data(NULL, data);
    cr_expect_null(thrum_conn_data(NULL));
    cr_expect_null(thrum_conn_server(NULL));
    cr_expect_not(thrum_conn_stopping(NULL));
    cr_expect_eq(thrum_conn_fd(NULL), -1);
    cr_expect_eq(thrum_conn_peer(NULL, data, sizeof data), 0u);
}

/* ------------------------------------------------------------------------------------------------
 * Peers that never let anybody wait
 */

static int reads_on(thrum_conn_t *c, void *ctx)
{
    struct note *note = ctx;
    char data[16];
    size_t n = 0;
    int err = 0;
    note_count(&note->began);
    while ((err = thrum_conn_read(c, data, sizeof data, &n)) == 0 && n != 0)
        note_count(&note->number);
    return err;
}

static int writes_on(thrum_conn_t *c, void *ctx)
{
    struct note *note = ctx;
    int err = 0;
    note_count(&note->began);
    while ((err = thrum_conn_write(c, "0123456789abcdef", 16)) == 0)
        note_count(&note->number);
    return err;
}

/* Sends all the time and takes what comes, until nobody is there. */
static void *keeps_busy(void *arg)
{
    static char much[65536];
    static char waste[65536];
    const int fd = *(int *)arg;
    for (;;) {
        const ssize_t sent = send(fd, much, sizeof much, MSG_NOSIGNAL | MSG_DONTWAIT);
        const ssize_t got = recv(fd, waste, sizeof waste, MSG_DONTWAIT);
        if (got == 0 || (sent < 0 && errno != EAGAIN && errno != EINTR))
            return NULL;
    }
}

static void stop_busy(const struct model *m, thrum_handler_fn handler)
{
    struct note *note = note_new();
    thrum_server_config_t config = server_config(m, handler, note);
    pthread_t thread;
    config.max_request = SIZE_MAX;
    thrum_server_t *server = server_started(&config);
    int fd = connected(server);
    cr_assert_eq(pthread_create(&thread, NULL, keeps_busy, &fd), 0);
    AWAIT(note_get(&note->number) > 1000);
    EXPECT_CALL(ETIMEDOUT, thrum_server_stop(server, PAST));
    cr_expect_eq(stats_of(server).cancelled, 1u, "%s", m->name);
    thrum_server_destroy(server);
    pthread_join(thread, NULL);
    hang_up(fd);
    note_free(note);
}

static void stop_all_busy(const struct model *m)
{
    stop_busy(m, reads_on);
    stop_busy(m, writes_on);
}

Test(server, a_stop_ends_handlers_whose_peers_never_let_them_wait)
{
    for_each_model(stop_all_busy);
}
