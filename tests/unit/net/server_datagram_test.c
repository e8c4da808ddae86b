/* Datagrams: each has a handler, in every model that allows them. */
#include "net/servers.h"

TestSuite(server_datagram, .timeout = 60);

static void for_each_datagram_model(void (*fn)(const struct model *m))
{
    for (size_t i = 0; i < MODELS; i++)
        if (!models[i].preforks && !is_left_out(&models[i]))
            fn(&models[i]);
}

/* A client, which has a name of its own. */
static int client_of(const thrum_server_t *server, bool named)
{
    char address[128];
    struct sockaddr_storage name = {0};
    socklen_t length = 0;
    thrum_server_address(server, address, sizeof address);
    if (strncmp(address, "unix:", 5) == 0) {
        struct sockaddr_un *path = (struct sockaddr_un *)&name;
        path->sun_family = AF_UNIX;
        strcpy(path->sun_path, address + 5);
        length = sizeof *path;
    } else {
        struct sockaddr_in *four = (struct sockaddr_in *)&name;
        four->sin_family = AF_INET;
        four->sin_port = htons((uint16_t)thrum_server_port(server));
        four->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        length = sizeof *four;
    }
    const int fd = client_socket(name.ss_family, SOCK_DGRAM);
    const struct sockaddr_un any = {.sun_family = AF_UNIX};
    bounded(fd);
    if (named && name.ss_family == AF_UNIX)
        cr_assert_eq(bind(fd, (const struct sockaddr *)&any, sizeof any.sun_family), 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&name, length), 0);
    return fd;
}

static size_t receive_one(int fd, void *data, size_t size)
{
    ssize_t n = 0;
    do
        n = recv(fd, data, size, 0);
    while (n < 0 && errno == EINTR);
    cr_assert_geq(n, 0, "%s", strerror(errno));
    return (size_t)n;
}

/* The first line as it is, then the rest, then how much there was. */
static int answers(thrum_conn_t *c, void *ctx)
{
    struct note *note = ctx;
    char data[4096];
    char peer[128];
    char number[32];
    size_t n = 0;
    size_t all = 0;
    note->errors[0] = thrum_conn_read_line(c, data, 64, &n);
    all += n;
    note->errors[1] = thrum_conn_write(c, data, n);
    note->errors[2] = thrum_conn_read(c, data, sizeof data, &n);
    all += n;
    const struct iovec pieces[] = {{data, n / 2}, {data + n / 2, n - n / 2}};
    note->errors[3] = thrum_conn_writev(c, pieces, 2);
    note->errors[4] = thrum_conn_read(c, data, sizeof data, &n) == 0 && n == 0 ? 0 : EPROTO;
    note->errors[5] = thrum_conn_peer(c, peer, sizeof peer) > 0 ? 0 : EPROTO;
    const int length = snprintf(number, sizeof number, "%zu", all);
    note->errors[6] = thrum_conn_write(c, number, (size_t)length);
    note->errors[7] = thrum_conn_sendfile(c, 0, 0, 1);
    note_count(&note->ended);
    return note->errors[6];
}

static void expect_answers(const struct model *m, const char *address)
{
    char data[256];
    struct note *note = note_new();
    thrum_server_config_t config = server_config(m, answers, note);
    config.datagram = true;
    config.address = address;
    thrum_server_t *server = server_started(&config);
    const int fd = client_of(server, true);
    for (int i = 0; i < 3; i++) {
        say(fd, "line\nand more", 13);
        cr_expect_eq(receive_one(fd, data, sizeof data), 5u);
        cr_expect_eq(receive_one(fd, data, sizeof data), 8u);
        cr_expect_eq(memcmp(data, "and more", 8), 0);
        cr_expect_eq(receive_one(fd, data, sizeof data), 2u);
        cr_expect_eq(memcmp(data, "13", 2), 0);
    }
    hang_up(fd);
    EXPECT_CALL(0, thrum_server_stop(server, thrum_after(LONG)));
    expect_balance(server);
    for (int i = 0; i < 8; i++)
        cr_expect_eq(note->errors[i], i == 7 ? ENOTSUP : 0, "%s %d: %d", m->name, i,
                     note->errors[i]);
    const thrum_server_stats_t stats = stats_of(server);
    cr_expect_eq(stats.completed, 3u);
    cr_expect_eq(stats.received, 39u);
    cr_expect_eq(stats.sent, 45u);
    thrum_server_destroy(server);
    note_free(note);
}

static void by_udp(const struct model *m)
{
    expect_answers(m, "127.0.0.1:0");
}

Test(server_datagram, by_udp)
{
    for_each_datagram_model(by_udp);
}

static void by_path(const struct model *m)
{
    char address[100];
    snprintf(address, sizeof address, "unix:/tmp/thrum-datagram-test-%ld", (long)getpid());
    expect_answers(m, address);
    cr_expect_neq(access(address + 5, F_OK), 0);
}

Test(server_datagram, by_path)
{
    for_each_datagram_model(by_path);
}

/* Nobody to answer to; nothing in it; more than it may have. */
static int tells(thrum_conn_t *c, void *ctx)
{
    struct note *note = ctx;
    char data[64];
    size_t n = 0;
    note->errors[0] = thrum_conn_read(c, data, sizeof data, &n);
    note->size = n;
    note->errors[1] = thrum_conn_read(c, data, sizeof data, &n);
    note->errors[2] = thrum_conn_write(c, "x", 1);
    note_count(&note->ended);
    return 0;
}

static void odd(const struct model *m)
{
    char address[100];
    struct note *note = note_new();
    thrum_server_config_t config = server_config(m, tells, note);
    snprintf(address, sizeof address, "unix:/tmp/thrum-datagram-test-%ld", (long)getpid());
    config.datagram = true;
    config.address = address;
    config.max_request = 10;
    thrum_server_t *server = server_started(&config);
    const int fd = client_of(server, false);
    say(fd, "0123456789", 10);
    AWAIT(note_get(&note->ended) == 1);
    cr_expect(note->errors[0] == 0 && note->size == 10 && note->errors[1] == 0);
    cr_expect_neq(note->errors[2], 0, "nobody can be told");
    say(fd, "0123456789!", 11);
    AWAIT(note_get(&note->ended) == 2);
    cr_expect(note->errors[0] == 0 && note->size == 10 && note->errors[1] == EMSGSIZE);
    cr_assert_eq(send(fd, "", 0, 0), 0);
    AWAIT(note_get(&note->ended) == 3);
    cr_expect(note->errors[0] == 0 && note->size == 0 && note->errors[1] == 0);
    hang_up(fd);
    stop_and_destroy(server);
    note_free(note);
}

Test(server_datagram, odd_ones)
{
    for_each_datagram_model(odd);
}

/* One that is being answered may be, while the server stops. */
static int takes_its_time(thrum_conn_t *c, void *ctx)
{
    struct note *note = ctx;
    note_count(&note->began);
    int err = 0;
    while (err == 0 && note_get(&note->may_end) == 0)
        err = thrum_sleep(THRUM_MS(1));
    return err != 0 ? err : thrum_conn_write(c, "done", 4);
}

static int stop_it(void *arg)
{
    return thrum_server_stop(arg, thrum_after(LONG));
}

static void stops(const struct model *m)
{
    for (int graceful = 0; graceful < 2; graceful++) {
        char data[16];
        struct note *note = note_new();
        thrum_server_config_t config = server_config(m, takes_its_time, note);
        config.datagram = true;
        thrum_server_t *server = server_started(&config);
        struct caller stop;
        const int fd = client_of(server, true);
        say(fd, "x", 1);
        AWAIT(note_get(&note->began) == 1);
        if (graceful != 0) {
            caller_start(&stop, stop_it, server);
            cr_expect(caller_stays(&stop));
            note_count(&note->may_end);
            cr_expect_eq(receive_one(fd, data, sizeof data), 4u);
            cr_expect_eq(caller_join(&stop), 0);
        } else {
            EXPECT_CALL(ETIMEDOUT, thrum_server_stop(server, SOON));
            cr_expect_eq(stats_of(server).cancelled, 1u);
        }
        hang_up(fd);
        expect_balance(server);
        thrum_server_destroy(server);
        note_free(note);
    }
}

Test(server_datagram, stops)
{
    for_each_datagram_model(stops);
}
