/*
 * An upper-casing echo of datagrams: the handler is called for each, reads it, and what it writes goes back to its
 * sender. The one of a stream is server.c.
 *
 *     udp_echo 7007     serves, until ctrl-C or SIGTERM:   nc -u 127.0.0.1 7007
 *     udp_echo          tests itself
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thrum/thrum.h>

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

static int shout(thrum_conn_t *c, void *ctx)
{
    char data[2048];
    size_t n = 0;
    (void)ctx;
    const int err = thrum_conn_read(c, data, sizeof data, &n);
    if (err != 0)
        return err;
    for (size_t i = 0; i < n; i++)
        data[i] = (char)toupper((unsigned char)data[i]);
    return thrum_conn_write(c, data, n);
}

static void start(thrum_server_t **server, const char *port, bool stop_on_sigterm)
{
    thrum_server_config_t config = THRUM_SERVER_CONFIG_INIT;
    char address[64];
    snprintf(address, sizeof address, "127.0.0.1:%s", port);
    config.address = address;
    config.datagram = true;
    config.handler = shout;
    config.stop_on_sigterm = stop_on_sigterm;
    must(thrum_server_create(server, &config));
    thrum_server_address(*server, address, sizeof address);
    if (stop_on_sigterm)
        printf("listening on %s\n", address);
    fflush(stdout);
}

/* Datagrams may get lost, also on the way to this machine's other end: whoever asks asks again. */
static void ask(int fd, const char *what)
{
    char answer[128];
    size_t n = 0;
    int err = ETIMEDOUT;
    for (int i = 0; err == ETIMEDOUT && i < 20; i++) {
        must(thrum_io_write_full(fd, what, strlen(what), NULL, thrum_after(THRUM_S(1))));
        err = thrum_io_read(fd, answer, sizeof answer, &n, thrum_after(THRUM_S(1)));
    }
    must(err);
    printf("%.*s\n", (int)n, answer);
}

static void test_itself(void)
{
    thrum_server_t *server = NULL;
    start(&server, "0", false);
    must(thrum_server_start(server));
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)thrum_server_port(server)),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_DGRAM, 0);
    must(connect(fd, (const struct sockaddr *)&to, sizeof to) == 0 ? 0 : errno);
    ask(fd, "hello");
    ask(fd, "datagrams have no connection,");
    ask(fd, "but limits, statistics and a stop");
    must(thrum_io_close(fd));
    must(thrum_server_stop(server, thrum_after(THRUM_S(10))));
    thrum_server_destroy(server);
}

int main(int argc, char **argv)
{
    thrum_server_t *server = NULL;
    if (argc < 2) {
        test_itself();
        return 0;
    }
    start(&server, argv[1], true);
    const int err = thrum_server_run(server);
    thrum_server_destroy(server);
    return err;
}
