/*
 * An echo server: a coroutine accepts, one more for each connection reads and writes. So do its clients, on
 * the same thread. Every wait has a deadline, as for whatever comes from outside. When the clients are
 * through the listening socket is closed, which wakes whoever accepts on it: ECANCELED, the end.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <thrum/thrum.h>

#define CLIENTS 20
#define ROUNDS 10
#define PATIENCE THRUM_S(20)

static int served;

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

static void close_socket(void *fd)
{
    must(thrum_io_close((int)(intptr_t)fd));
}

/* ------------------------------------------------------------------------------------------------
 * The server
 */

static int serve(void *arg, void **result)
{
    const int fd = (int)(intptr_t)arg;
    char data[256];
    size_t n = 0;
    int err = 0;
    (void)result;
    must(thrum_defer(close_socket, arg)); /* however it ends */
    while ((err = thrum_io_read(fd, data, sizeof data, &n, thrum_after(PATIENCE))) == 0 && n != 0)
        must(thrum_io_write_full(fd, data, n, NULL, thrum_after(PATIENCE)));
    served++;
    return err;
}

static int accept_all(void *arg, void **result)
{
    const int listener = *(int *)arg;
    int fd = -1;
    int err = 0;
    (void)result;
    while ((err = thrum_io_accept(listener, NULL, NULL, &fd, THRUM_FOREVER)) == 0)
        must(thrum_go(NULL, serve, (void *)(intptr_t)fd));
    return err;
}

/* On a port that the system chooses: `addr` gets it. */
static int listen_on_loopback(struct sockaddr_in *addr)
{
    socklen_t size = sizeof *addr;
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    *addr = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    must(fd >= 0 && bind(fd, (struct sockaddr *)addr, sizeof *addr) == 0 ? 0 : errno);
    must(listen(fd, CLIENTS) == 0 ? 0 : errno);
    must(getsockname(fd, (struct sockaddr *)addr, &size) == 0 ? 0 : errno);
    return fd;
}

/* ------------------------------------------------------------------------------------------------
 * The clients
 */

static int ask(void *arg, void **result)
{
    const struct sockaddr_in *addr = arg;
    char sent[32];
    char back[32];
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    (void)result;
    must(fd >= 0 ? 0 : errno);
    must(thrum_defer(close_socket, (void *)(intptr_t)fd));
    must(thrum_io_connect(fd, (const struct sockaddr *)addr, sizeof *addr, thrum_after(PATIENCE)));
    for (int round = 0; round < ROUNDS; round++) {
        snprintf(sent, sizeof sent, "round %d by descriptor %d", round, fd);
        const size_t size = strlen(sent) + 1;
        must(thrum_io_write_full(fd, sent, size, NULL, thrum_after(PATIENCE)));
        must(thrum_io_read_full(fd, back, size, NULL, thrum_after(PATIENCE)));
        must(strcmp(sent, back) == 0 ? 0 : EINVAL);
    }
    return 0;
}

static int run(void *arg, void **result)
{
    struct sockaddr_in addr;
    thrum_coro_t *clients[CLIENTS];
    thrum_coro_t *server = NULL;
    int listener = listen_on_loopback(&addr);
    (void)arg, (void)result;
    must(thrum_go(&server, accept_all, &listener));
    for (int i = 0; i < CLIENTS; i++)
        must(thrum_go(&clients[i], ask, &addr));
    must(thrum_coro_join_all(clients, CLIENTS, THRUM_FOREVER));
    for (int i = 0; i < CLIENTS; i++)
        thrum_coro_release(clients[i]);
    must(thrum_io_close(listener));
    printf("the server ends: %s\n", thrum_strerror(thrum_coro_join(server, NULL)));
    thrum_coro_release(server);
    return 0;
}

int main(void)
{
    must(thrum_run(run, NULL, NULL)); /* until the last connection has been served */
    printf("served %d connections, %d rounds each\n", served, ROUNDS);
    return served == CLIENTS ? 0 : EXIT_FAILURE;
}
