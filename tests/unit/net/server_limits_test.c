/* Limits of time and size, in every model. No test says how long anything takes. */
#include "net/servers.h"

TestSuite(server_limits, .timeout = 60);

#define SHORT THRUM_MS(30)

/* ------------------------------------------------------------------------------------------------
 * Size
 */

/* Tells what the reads came to, and answers all the same. */
static int reads_twice(thrum_conn_t *c, void *ctx)
{
    struct note *note = ctx;
    char data[64];
    size_t n = 0;
    size_t more = 0;
    note->errors[0] = thrum_conn_read_full(c, data, 20, &n);
    note->size = n;
    note->errors[1] = thrum_conn_read(c, data, sizeof data, &more);
    note->errors[2] = thrum_conn_write(c, "answer", 6);
    return note->errors[0];
}

static void expect_reads(thrum_server_t *server, struct note *note, const char *text, int first)
{
    const int fd = connected(server);
    say(fd, text, strlen(text));
    shutdown(fd, SHUT_WR);
    expect_heard(fd, "answer");
    expect_end(fd);
    hang_up(fd);
    cr_expect_eq(note->errors[0], first, "%d", note->errors[0]);
    cr_expect_eq(note->size, strlen(text) < 10 ? strlen(text) : 10u);
    cr_expect_eq(note->errors[2], 0);
}

static void sizes(const struct model *m)
{
    struct note *note = note_new();
    thrum_server_config_t config = server_config(m, reads_twice, note);
    config.max_request = 10;
    thrum_server_t *server = server_started(&config);
    expect_reads(server, note, "123456789", ENODATA);
    cr_expect_eq(note->errors[1], 0);
    expect_reads(server, note, "1234567890", ENODATA);
    cr_expect_eq(note->errors[1], 0);
    expect_reads(server, note, "1234567890!", EMSGSIZE);
    expect_reads(server, note, "1234567890 and more", EMSGSIZE);
    stop_and_destroy(server);
    note_free(note);
}

Test(server_limits, of_size_exact_and_over)
{
    for_each_model(sizes);
}

/* Each write, and each thrum_conn_next, begins another request. */
static int reads_many(thrum_conn_t *c, void *ctx)
{
    struct note *note = ctx;
    char data[10];
    size_t n = 0;
    int err = 0;
    for (int i = 0; err == 0 && i < 6; i++) {
        err = thrum_conn_read_full(c, data, sizeof data, &n);
        if (err == 0 && i % 2 == 0)
            thrum_conn_next(c);
        else if (err == 0)
            err = thrum_conn_write(c, data, sizeof data);
    }
    if (err == 0)
        err = thrum_conn_set_limit(c, THRUM_LIMIT_REQUEST, 4);
    if (err == 0)
        err = thrum_conn_read_full(c, data, 5, &n) == EMSGSIZE && n == 4 ? 0 : EPROTO;
    note->err = err;
    return err;
}

static void many(const struct model *m)
{
    struct note *note = note_new();
    thrum_server_config_t config = server_config(m, reads_many, note);
    config.max_request = 10;
    thrum_server_t *server = server_started(&config);
    const int fd = connected(server);
    for (int i = 0; i < 6; i++)
        say(fd, "0123456789", 10);
    say(fd, "abcde", 5);
    for (int i = 0; i < 3; i++)
        expect_heard(fd, "0123456789");
    expect_end(fd);
    hang_up(fd);
    EXPECT_CALL(0, thrum_server_stop(server, thrum_after(LONG)));
    cr_expect_eq(note->err, 0);
    cr_expect_eq(stats_of(server).requests, 7u);
    thrum_server_destroy(server);
    note_free(note);
}

Test(server_limits, of_size_go_by_requests)
{
    for_each_model(many);
}

static int reads_line(thrum_conn_t *c, void *ctx)
{
    struct note *note = ctx;
    char line[16];
    size_t n = 0;
    note->errors[1] = thrum_conn_read_line(c, line, 1, &n);
    note->errors[0] = thrum_conn_read_line(c, line, sizeof line, &n);
    note->size = n;
    note->errors[2] = thrum_conn_write(c, "answer", 6);
    return 0;
}

static void expect_line(thrum_server_t *server, struct note *note, const char *text, int err,
                        size_t size)
{
    const int fd = connected(server);
    say(fd, text, strlen(text)); /* and no end: it must not be waited for */
    if (err == 0 && strchr(text, '\n') == NULL)
        shutdown(fd, SHUT_WR);
    expect_heard(fd, "answer");
    expect_end(fd);
    hang_up(fd);
    cr_expect_eq(note->errors[0], err, "%s: %d", text, note->errors[0]);
    cr_expect_eq(note->errors[1], EINVAL);
    cr_expect_eq(note->size, size, "%s: %zu", text, (size_t)note->size);
}

static void lines(const struct model *m)
{
    struct note *note = note_new();
    thrum_server_config_t config = server_config(m, reads_line, note);
    thrum_server_t *server = server_started(&config);
    expect_line(server, note, "\n", 0, 1);
    expect_line(server, note, "one\ntwo\n", 0, 4);
    expect_line(server, note, "fourteen......\n", 0, 15);
    expect_line(server, note, "fifteen........\n", EMSGSIZE, 0);
    expect_line(server, note, "sixteen and no end", EMSGSIZE, 0);
    expect_line(server, note, "last", 0, 4);
    stop_and_destroy(server);
    config.max_request = 10;
    server = server_started(&config);
    expect_line(server, note, "123456789\n", 0, 10);
    expect_line(server, note, "1234567890\n", EMSGSIZE, 0);
    expect_line(server, note, "1234567890", 0, 10);
    expect_line(server, note, "1234567890!", EMSGSIZE, 0);
    stop_and_destroy(server);
    note_free(note);
}

Test(server_limits, of_lines)
{
    for_each_model(lines);
}

/* What a line has read ahead is what other reads get. */
static int mixes(thrum_conn_t *c, void *ctx)
{
    struct note *note = ctx;
    char data[32] = "";
    size_t n = 0;
    thrum_frame_t frame;
    int err = thrum_conn_read_line(c, data, sizeof data, &n);
    if (err == 0 && (n != 5 || strcmp(data, "line\n") != 0))
        err = EPROTO;
    if (err == 0)
        err = thrum_conn_read_full(c, data, 3, NULL);
    if (err == 0 && memcmp(data, "raw", 3) != 0)
        err = EPROTO;
    if (err == 0)
        err = thrum_conn_receive(c, &frame);
    if (err == 0 && (frame.size != 5 || memcmp(frame.body, "frame", 5) != 0))
        err = EPROTO;
    if (err == 0)
        err = thrum_conn_read(c, data, sizeof data, &n);
    if (err == 0 && (n == 0 || data[0] != 'x'))
        err = EPROTO;
    note->err = err;
    return err != 0 ? err : thrum_conn_write(c, "ok", 2);
}

static void mixed(const struct model *m)
{
    static const char text[] = "line\nraw\0\0\0\5framex";
    struct note *note = note_new();
    const thrum_server_config_t config = server_config(m, mixes, note);
    thrum_server_t *server = server_started(&config);
    for (int slow = 0; slow < 2; slow++) {
        const int fd = connected(server);
        for (size_t i = 0; i < sizeof text - 1; i += slow != 0 ? 1 : sizeof text - 1)
            say(fd, text + i, slow != 0 ? 1 : sizeof text - 1);
        expect_heard(fd, "ok");
        cr_expect_eq(note->err, 0, "%d", note->err);
        hang_up(fd);
    }
    stop_and_destroy(server);
    note_free(note);
}

Test(server_limits, lines_and_frames_and_bytes_mixed)
{
    for_each_model(mixed);
}

/* ------------------------------------------------------------------------------------------------
 * Time
 */

static int tells_timeout(thrum_conn_t *c, void *ctx)
{
    struct note *note = ctx;
    char data[4096];
    size_t n = 0;
    int err = 0;
    if (note->size != 0) {
        err = thrum_conn_set_limit(c, (thrum_conn_limit_t)note->number, (int64_t)note->size);
        if (err != 0)
            return err;
    }
    while ((err = thrum_conn_read(c, data, sizeof data, &n)) == 0 && n != 0)
        continue;
    note->err = err;
    (void)thrum_conn_write(c, "late", 4);
    return err;
}

static void expect_timeout(const struct model *m, const thrum_server_config_t *config,
                           void (*client)(int fd))
{
    struct note *note = config->ctx;
    thrum_server_t *server = server_started(config);
    const int fd = connected(server);
    if (client != NULL)
        client(fd);
    else
        expect_heard(fd, "late");
    hang_up(fd);
    AWAIT(stats_of(server).active == 0);
    cr_expect_eq(stats_of(server).timed_out, 1u, "%s", m->name);
    cr_expect_eq(note->err, ETIMEDOUT, "%s: %d", m->name, note->err);
    stop_and_destroy(server);
}

static void idle(const struct model *m)
{
    struct note *note = note_new();
    thrum_server_config_t config = server_config(m, tells_timeout, note);
    config.idle_timeout = SHORT;
    expect_timeout(m, &config, NULL);
    config.idle_timeout = LONG;
    note->number = THRUM_LIMIT_IDLE;
    note->size = (uint64_t)SHORT;
    expect_timeout(m, &config, NULL);
    config.idle_timeout = THRUM_NO_LIMIT;
    config.total_timeout = INT64_MAX;
    config.read_timeout = INT64_MAX;
    expect_timeout(m, &config, NULL);
    note_free(note);
}

Test(server_limits, of_idle_time)
{
    for_each_model(idle);
}

/* Until it is told that this is too slow. */
static void sends_byte_by_byte(int fd)
{
    char answer[5] = "";
    while (recv(fd, answer, 4, MSG_DONTWAIT) <= 0) {
        if (send(fd, "x", 1, MSG_NOSIGNAL) < 0 && errno != EINTR)
            return;
        usleep(1000);
    }
}

/* Until nobody hears it. */
static void sends_all_the_time(int fd)
{
    static char much[65536];
    while (send(fd, much, sizeof much, MSG_NOSIGNAL) > 0 || errno == EINTR)
        continue;
}

static void slow(const struct model *m)
{
    struct note *note = note_new();
    thrum_server_config_t config = server_config(m, tells_timeout, note);
    config.read_timeout = SHORT;
    config.max_request = SIZE_MAX;
    expect_timeout(m, &config, sends_byte_by_byte);
    expect_timeout(m, &config, sends_all_the_time);
    config.read_timeout = LONG;
    config.total_timeout = SHORT;
    expect_timeout(m, &config, sends_byte_by_byte);
    expect_timeout(m, &config, sends_all_the_time);
    config.total_timeout = 0;
    note->number = THRUM_LIMIT_TOTAL;
    note->size = (uint64_t)SHORT;
    expect_timeout(m, &config, sends_all_the_time);
    note_free(note);
}

Test(server_limits, of_a_request)
{
    for_each_model(slow);
}

/* Half a line that came with the one before is a request that has begun: it is not idle. */
static int tells_lines(thrum_conn_t *c, void *ctx)
{
    struct note *note = ctx;
    note->err = serve_lines(c, NULL);
    return note->err;
}

static void half_a_line(int fd)
{
    say(fd, "one\ntw", 6);
    expect_heard(fd, "one\n");
    expect_end(fd);
}

static void halves(const struct model *m)
{
    struct note *note = note_new();
    thrum_server_config_t config = server_config(m, tells_lines, note);
    config.read_timeout = SHORT;
    expect_timeout(m, &config, half_a_line);
    note_free(note);
}

Test(server_limits, half_a_line_is_not_idle)
{
    for_each_model(halves);
}

/* What a handler did before it asked for something is none of its peer's time. */
static int computes_long(thrum_conn_t *c, void *ctx)
{
    struct note *note = ctx;
    char data[16];
    size_t n = 0;
    const thrum_time_t computed = thrum_after(3 * SHORT);
    while (thrum_now() < computed)
        continue;
    const thrum_time_t begins = thrum_now();
    note->err = thrum_conn_read(c, data, sizeof data, &n);
    note->size = (uint64_t)(thrum_now() - begins);
    (void)thrum_conn_write(c, "late", 4);
    return note->err;
}

static void late(const struct model *m)
{
    struct note *note = note_new();
    thrum_server_config_t config = server_config(m, computes_long, note);
    config.idle_timeout = SHORT;
    expect_timeout(m, &config, NULL);
    cr_expect_gt(note->size, (uint64_t)SHORT / 2, "%s", m->name);
    note_free(note);
}

Test(server_limits, begin_when_the_handler_asks)
{
    for_each_model(late);
}

enum { MUCH = 32 << 20 };

static int writes_much(thrum_conn_t *c, void *ctx)
{
    struct note *note = ctx;
    char *much = calloc(1, MUCH);
    if (note->size != 0)
        (void)thrum_conn_set_limit(c, THRUM_LIMIT_WRITE, (int64_t)note->size);
    note->err = much != NULL ? thrum_conn_write(c, much, MUCH) : ENOMEM;
    free(much);
    return note->err;
}

static void reads_nothing(int fd)
{
    while (recv(fd, &(char){0}, 1, MSG_PEEK) < 0 && errno == EINTR)
        continue;
    usleep(50000); /* it may have ended by now, or it will without us */
}

static void reads_slowly(int fd)
{
    static char data[65536];
    size_t all = 0;
    for (ssize_t n = 0; all<MUCH; all += n> 0 ? (size_t)n : 0)
        if ((n = recv(fd, data, sizeof data, 0)) == 0 || (n < 0 && errno != EINTR))
            break;
    cr_expect_eq(all, (size_t)MUCH);
}

static void writes(const struct model *m)
{
    struct note *note = note_new();
    thrum_server_config_t config = server_config(m, writes_much, note);
    thrum_server_t *server = server_started(&config);
    int fd = connected(server);
    reads_slowly(fd);
    expect_end(fd);
    hang_up(fd);
    stop_and_destroy(server);
    cr_expect_eq(note->err, 0);
    note->size = (uint64_t)SHORT;
    server = server_started(&config);
    fd = connected(server);
    reads_nothing(fd);
    AWAIT(stats_of(server).active == 0);
    cr_expect_eq(note->err, ETIMEDOUT, "%s: %d", m->name, note->err);
    hang_up(fd);
    stop_and_destroy(server);
    note_free(note);
}

Test(server_limits, of_writes)
{
    for_each_model(writes);
}

/* ------------------------------------------------------------------------------------------------
 * Asking for them
 */

static int sets_limits(thrum_conn_t *c, void *ctx)
{
    struct note *note = ctx;
    note->errors[0] = thrum_conn_set_limit(c, THRUM_LIMIT_IDLE, 0);
    note->errors[1] = thrum_conn_set_limit(c, THRUM_LIMIT_IDLE, -2);
    note->errors[2] = thrum_conn_set_limit(c, (thrum_conn_limit_t)99, 1);
    note->errors[3] = thrum_conn_set_limit(c, THRUM_LIMIT_TOTAL, INT64_MAX);
    note->errors[4] = thrum_conn_set_limit(c, THRUM_LIMIT_IDLE, INT64_MAX);
    note->errors[5] = thrum_conn_set_limit(c, THRUM_LIMIT_READ, THRUM_NO_LIMIT);
    note->errors[6] = thrum_conn_set_limit(c, THRUM_LIMIT_WRITE, INT64_MAX);
    note->errors[7] = thrum_conn_set_limit(c, THRUM_LIMIT_REQUEST, THRUM_NO_LIMIT);
    return serve_echo(c, NULL);
}

static void settable(const struct model *m)
{
    struct note *note = note_new();
    const thrum_server_config_t config = server_config(m, sets_limits, note);
    thrum_server_t *server = server_started(&config);
    const int fd = connected(server);
    expect_echo(fd, "unlimited");
    hang_up(fd);
    stop_and_destroy(server);
    for (int i = 0; i < 8; i++)
        cr_expect_eq(note->errors[i], i < 3 ? EINVAL : 0);
    note_free(note);
}

Test(server_limits, can_be_set)
{
    for_each_model(settable);
}
