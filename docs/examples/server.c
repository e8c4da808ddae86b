/*
 * One handler, and every way to serve it: an upper-casing echo by line, with limits, asked by a client for each model.
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

/* ------------------------------------------------------------------------------------------------
 * The handler: written as if it were alone
 */

static int shout(thrum_conn_t *c, void *ctx)
{
    char line[256];
    size_t n = 0;
    int err = 0;
    (void)ctx;
    while ((err = thrum_conn_read_line(c, line, sizeof line, &n)) == 0 && n != 0) {
        for (size_t i = 0; i < n; i++)
            line[i] = (char)toupper((unsigned char)line[i]);
        if ((err = thrum_conn_write(c, line, n)) != 0)
            break;
    }
    return err;
}

/* ------------------------------------------------------------------------------------------------
 * A client
 */

static void ask(unsigned port, const char *what, char *answer, size_t size)
{
    const struct sockaddr_in name = {.sin_family = AF_INET,
                                     .sin_port = htons((uint16_t)port),
                                     .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const thrum_time_t deadline = thrum_after(THRUM_S(20));
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    size_t n = 0;
    must(thrum_io_connect(fd, (const struct sockaddr *)&name, sizeof name, deadline));
    must(thrum_io_write_full(fd, what, strlen(what), NULL, deadline));
    shutdown(fd, SHUT_WR); /* so the handler sees the end, and closes */
    const int err = thrum_io_read_full(fd, answer, size - 1, &n, deadline);
    must(err == ENODATA ? 0 : err);
    answer[n] = '\0';
    must(thrum_io_close(fd));
}

static void serve_and_ask(thrum_server_model_t model, const char *name)
{
    char answer[64];
    thrum_server_stats_t stats;
    thrum_server_t *server = NULL;
    thrum_server_config_t config = THRUM_SERVER_CONFIG_INIT;
    config.address = "127.0.0.1:0"; /* a port that is free */
    config.model = model;
    config.handler = shout;
    config.max_connections = 64;
    config.idle_timeout = THRUM_S(20);
    must(thrum_server_create(&server, &config));
    must(thrum_server_start(server));
    ask(thrum_server_port(server), "hello\n", answer, sizeof answer);
    must(thrum_server_stop(server, thrum_after(THRUM_S(10)))); /* what runs may finish */
    thrum_server_stats(server, &stats);
    printf("%-22s %llu served: %s", name, (unsigned long long)stats.completed, answer);
    thrum_server_destroy(server);
}

int main(void)
{
    serve_and_ask(THRUM_SERVE_SERIAL, "one after the other");
    serve_and_ask(THRUM_SERVE_THREADS, "threads");
    serve_and_ask(THRUM_SERVE_POOL, "thread pool");
    serve_and_ask(THRUM_SERVE_PROCESSES, "processes");
    serve_and_ask(THRUM_SERVE_PREFORK_POOL, "processes with pools");
    serve_and_ask(THRUM_SERVE_COROUTINES, "coroutines");
    serve_and_ask(THRUM_SERVE_PREFORK_COROUTINES, "processes with loops");
    return 0;
}
