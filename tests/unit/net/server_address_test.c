/* Where servers listen. */
#include <sys/stat.h>

#include "net/servers.h"

TestSuite(server_address, .timeout = 60);

static thrum_server_t *made_at(const char *address)
{
    thrum_server_t *server = NULL;
    thrum_server_config_t config = server_config(&models[0], serve_echo, NULL);
    config.address = address;
    const int err = thrum_server_create(&server, &config);
    cr_assert_eq(err, 0, "%s: %s", address, strerror(err));
    return server;
}

static void expect_error(int expected, const char *address)
{
    thrum_server_t *server = NULL;
    thrum_server_config_t config = server_config(&models[0], serve_echo, NULL);
    config.address = address;
    errno = ERRNO_MARK;
    const int err = thrum_server_create(&server, &config);
    cr_expect_eq(err, expected, "%s: %s", address, strerror(err));
    cr_expect_eq(errno, ERRNO_MARK);
    thrum_server_destroy(server);
}

Test(server_address, that_are_none)
{
    static const char *const none[] = {"",
                                       "127.0.0.1",
                                       ":80",
                                       "127.0.0.1:",
                                       "127.0.0.1:65536",
                                       "1.2.3:80",
                                       "[::1:80",
                                       "::1:80",
                                       "127.0.0.1:80 ",
                                       "127.0.0.1:-1",
                                       "[]:80",
                                       "[:80",
                                       "]:80",
                                       "example.org:80",
                                       "127.0.0.1:99999999999999999999",
                                       "unix:",
                                       "localhost",
                                       "*",
                                       "[127.0.0.1]:80",
                                       "127.0.0.1:0x50",
                                       "127.0.0.1: 80"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        expect_error(EINVAL, none[i]);
    char path[256] = "unix:/";
    memset(path + 6, 'x', 200);
    expect_error(ENAMETOOLONG, path);
    expect_error(ENOENT, "unix:/no/such/place");
    expect_error(EADDRNOTAVAIL, "203.0.113.1:0");
    char host[256] = "";
    memset(host, '1', 200);
    memcpy(host + 200, ":80", 4);
    expect_error(EINVAL, host);
}

static int connected_to(const struct sockaddr *name, socklen_t length, int type)
{
    const int fd = client_socket(name->sa_family, type);
    if (fd < 0)
        return -1;
    bounded(fd);
    if (connect(fd, name, length) == 0)
        return fd;
    const int err = errno;
    hang_up(fd);
    errno = err;
    return -1;
}

static int connected_by_6(unsigned port)
{
    struct sockaddr_in6 name = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    name.sin6_addr = in6addr_loopback;
    return connected_to((struct sockaddr *)&name, sizeof name, SOCK_STREAM);
}

static int connected_by_path(const char *path)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    const size_t length = strlen(path);
    memcpy(name.sun_path, path, length);
    if (path[0] == '@')
        name.sun_path[0] = '\0';
    return connected_to((struct sockaddr *)&name,
                        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length), SOCK_STREAM);
}

static void expect_address(const thrum_server_t *server, const char *expected)
{
    char text[128];
    char few[8];
    const size_t length = thrum_server_address(server, text, sizeof text);
    cr_expect_eq(length, strlen(text));
    cr_expect_str_eq(text, expected);
    cr_expect_eq(thrum_server_address(server, few, sizeof few), length);
    cr_expect_eq(strncmp(few, text, sizeof few - 1), 0);
    cr_expect_eq(strlen(few), length < 7 ? length : 7u);
    cr_expect_eq(thrum_server_address(server, NULL, 0), length);
}

static bool has_ipv6(void)
{
    struct sockaddr_in6 name = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    const int fd = socket(AF_INET6, SOCK_STREAM, 0);
    const bool has = fd >= 0 && bind(fd, (struct sockaddr *)&name, sizeof name) == 0;
    if (fd >= 0)
        close(fd);
    return has;
}

Test(server_address, of_the_internet)
{
    static const struct {
        const char *address, *expected;
        bool four, six;
    } cases[] = {
        {"127.0.0.1:0", "127.0.0.1:%u", true, false}, {"localhost:0", "127.0.0.1:%u", true, false},
        {"0.0.0.0:0", "0.0.0.0:%u", true, false},     {"[::1]:0", "[::1]:%u", false, true},
        {"[::]:0", "[::]:%u", false, true},           {"*:0", "*:%u", true, true}};
    const bool six = has_ipv6();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (!six && cases[i].six)
            continue;
        char expected[128];
        thrum_server_t *server = made_at(cases[i].address);
        const unsigned port = thrum_server_port(server);
        snprintf(expected, sizeof expected, cases[i].expected, port);
        expect_address(server, expected);
        expect_error(EADDRINUSE, expected);
        EXPECT_CALL(0, thrum_server_start(server));
        int fd = try_connect(port);
        cr_expect_eq(fd >= 0, cases[i].four, "%s", cases[i].address);
        if (fd >= 0) {
            expect_echo(fd, "four");
            hang_up(fd);
        }
        fd = connected_by_6(port);
        cr_expect_eq(fd >= 0, cases[i].six, "%s", cases[i].address);
        if (fd >= 0) {
            expect_echo(fd, "six");
            hang_up(fd);
        }
        stop_and_destroy(server);
        thrum_server_destroy(made_at(expected)); /* what it says can be asked for */
    }
}

static void name_path(char *text, size_t size)
{
    static unsigned n;
    snprintf(text, size, "unix:/tmp/thrum-server-test-%ld-%u", (long)getpid(), n++);
}

static int tells_peer(thrum_conn_t *c, void *ctx)
{
    char text[128];
    (void)ctx;
    const size_t n = thrum_conn_peer(c, text, sizeof text);
    return thrum_conn_write(c, text, n);
}

static void by_path(const struct model *m)
{
    char address[100];
    thrum_server_config_t config = server_config(m, tells_peer, NULL);
    thrum_server_t *server = NULL;
    name_path(address, sizeof address);
    config.address = address;
    server = server_started(&config);
    expect_address(server, address);
    cr_expect_eq(thrum_server_port(server), 0u);
    const int fd = connected_by_path(address + 5);
    expect_heard(fd, "unix:");
    expect_end(fd);
    hang_up(fd);
    expect_error(EADDRINUSE, address);
    cr_expect_eq(access(address + 5, F_OK), 0, "who is refused takes nothing away");
    stop_and_destroy(server);
    cr_expect_neq(access(address + 5, F_OK), 0);
}

Test(server_address, of_a_file_system)
{
    for_each_model(by_path);
}

/* A name that a stopped server had may be another's by the time that it is destroyed. */
Test(server_address, that_another_has_now)
{
    char address[100];
    name_path(address, sizeof address);
    thrum_server_t *first = made_at(address);
    EXPECT_CALL(0, thrum_server_start(first));
    EXPECT_CALL(0, thrum_server_stop(first, PAST));
    thrum_server_t *second = made_at(address);
    EXPECT_CALL(0, thrum_server_start(second));
    thrum_server_destroy(first);
    const int fd = connected_by_path(address + 5);
    cr_assert_geq(fd, 0);
    expect_echo(fd, "second");
    hang_up(fd);
    stop_and_destroy(second);
}

/* What a killed process leaves is replaced; what is no socket, or is listened on, is not. */
Test(server_address, that_was_left_behind)
{
    char address[100];
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    name_path(address, sizeof address);
    strcpy(name.sun_path, address + 5);
    const int left = socket(AF_UNIX, SOCK_STREAM, 0);
    cr_assert_eq(bind(left, (struct sockaddr *)&name, sizeof name), 0);
    close(left);
    thrum_server_t *server = made_at(address);
    EXPECT_CALL(0, thrum_server_start(server));
    const int fd = connected_by_path(address + 5);
    expect_echo(fd, "here");
    hang_up(fd);
    stop_and_destroy(server);
    const int file = open(address + 5, O_CREAT | O_WRONLY, 0600);
    close(file);
    expect_error(EADDRINUSE, address);
    cr_expect_eq(access(address + 5, F_OK), 0);
    unlink(address + 5);
}

Test(server_address, of_no_file_system)
{
    char address[100];
    snprintf(address, sizeof address, "unix:@thrum-server-test-%ld", (long)getpid());
    thrum_server_t *server = made_at(address);
    expect_address(server, address);
    expect_error(EADDRINUSE, address);
    EXPECT_CALL(0, thrum_server_start(server));
    const int fd = connected_by_path(address + 5);
    cr_assert_geq(fd, 0);
    expect_echo(fd, "abstract");
    hang_up(fd);
    stop_and_destroy(server);
    thrum_server_destroy(made_at(address));
}

Test(server_address, shared_by_two)
{
    char address[100];
    thrum_server_config_t config = server_config(&models[0], serve_echo, NULL);
    config.reuse_port = true;
    thrum_server_t *first = server_started(&config);
    thrum_server_address(first, address, sizeof address);
    config.address = address;
    thrum_server_t *second = server_started(&config);
    for (int i = 0; i < 20; i++) {
        const int fd = connected(first);
        expect_echo(fd, "either");
        hang_up(fd);
    }
    EXPECT_CALL(0, thrum_server_stop(first, thrum_after(LONG)));
    EXPECT_CALL(0, thrum_server_stop(second, thrum_after(LONG)));
    cr_expect_eq(stats_of(first).completed + stats_of(second).completed, 20u);
    thrum_server_destroy(first);
    thrum_server_destroy(second);
}

/* A socket that is there already: it is duplicated, and has to listen. */
static void given(const struct model *m)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    thrum_server_config_t config = server_config(m, serve_echo, NULL);
    thrum_server_t *server = NULL;
    config.address = NULL;
    config.listener = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(bind(config.listener, (struct sockaddr *)&name, sizeof name), 0);
    EXPECT_CALL(EINVAL, thrum_server_create(&server, &config));
    cr_assert_eq(listen(config.listener, 10), 0);
    server = server_started(&config);
    const int fd = connected(server);
    expect_echo(fd, "given");
    hang_up(fd);
    stop_and_destroy(server);
    cr_expect_eq(close(config.listener), 0, "it is still the caller's");
}

Test(server_address, of_a_socket_that_is_there)
{
    int ends[2];
    thrum_server_t *server = NULL;
    thrum_server_config_t config = server_config(&models[0], serve_echo, NULL);
    for_each_model(given);
    cr_assert_eq(pipe(ends), 0);
    config.address = NULL;
    config.listener = ends[0];
    EXPECT_CALL(ENOTSOCK, thrum_server_create(&server, &config));
    config.listener = socket(AF_INET, SOCK_DGRAM, 0);
    EXPECT_CALL(EINVAL, thrum_server_create(&server, &config));
}
