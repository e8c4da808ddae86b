/*
 * Two people who talk: each end has a coroutine that reads what is typed and sends it, and one that shows what
 * comes. Neither waits for the other: that is why there are two. When one has no more to say (the end of the input) the
 * other is told by a half-closed socket; when both have, the chat is over.
 *
 *     chat listen 7007             waits for the other
 *     chat 127.0.0.1 7007          calls
 *     chat                         tests itself, with two ends in one process
 */
#include <arpa/inet.h>
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
 * One end
 */

struct end {
    int peer, typed, shown;
    const char *mark; /* in front of what comes */
};

static int speak(void *arg, void **result)
{
    const struct end *end = arg;
    char text[1024];
    size_t n = 0;
    int err = 0;
    (void)result;
    while ((err = thrum_io_read(end->typed, text, sizeof text, &n, THRUM_FOREVER)) == 0 && n != 0) {
        if ((err = thrum_io_write_full(end->peer, text, n, NULL, thrum_after(THRUM_S(30)))) != 0)
            break;
    }
    shutdown(end->peer, SHUT_WR);
    return err;
}

static int listen_to(void *arg, void **result)
{
    const struct end *end = arg;
    char text[1024];
    bool begins = true; /* a line does */
    size_t n = 0;
    int err = 0;
    (void)result;
    while ((err = thrum_io_read(end->peer, text, sizeof text, &n, THRUM_FOREVER)) == 0 && n != 0) {
        for (size_t i = 0; i < n; i++) {
            if (begins)
                must(thrum_io_write_full(end->shown, end->mark, strlen(end->mark), NULL,
                                         THRUM_FOREVER));
            must(thrum_io_write_full(end->shown, &text[i], 1, NULL, THRUM_FOREVER));
            begins = text[i] == '\n';
        }
    }
    return err;
}

static int talk(void *arg, void **result)
{
    thrum_coro_t *speaker = NULL;
    (void)result;
    must(thrum_go(&speaker, speak, arg));
    const int err = listen_to(arg, NULL);
    const int spoken = thrum_coro_join(speaker, NULL);
    thrum_coro_release(speaker);
    return err != 0 ? err : spoken;
}

/* ------------------------------------------------------------------------------------------------
 * Over TCP
 */

struct call {
    bool listens;
    struct sockaddr_in at;
};

static int call_or_wait(const struct call *call)
{
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;
    struct sockaddr_in at;
    socklen_t size = sizeof at;
    int peer = fd;
    if (call->listens) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        must(bind(fd, (const struct sockaddr *)&call->at, sizeof call->at) == 0 ? 0 : errno);
        must(listen(fd, 1) == 0 ? 0 : errno);
        must(getsockname(fd, (struct sockaddr *)&at, &size) == 0 ? 0 : errno);
        fprintf(stderr, "listening on 127.0.0.1:%u\n", ntohs(at.sin_port));
        must(thrum_io_accept(fd, NULL, NULL, &peer, THRUM_FOREVER));
        must(thrum_io_close(fd));
    } else {
        must(thrum_io_connect(fd, (const struct sockaddr *)&call->at, sizeof call->at,
                              thrum_after(THRUM_S(10))));
    }
    return peer;
}

static int meet(void *arg, void **result)
{
    struct end end = {call_or_wait(arg), STDIN_FILENO, STDOUT_FILENO, "> "};
    const int err = talk(&end, result);
    must(thrum_io_close(end.peer));
    return err;
}

/* ------------------------------------------------------------------------------------------------
 * The test of itself: what is typed comes from pipes
 */

static int type_later(void *arg, void **result)
{
    const int *typed = arg;
    (void)result;
    must(thrum_io_write_full(typed[0], "hello\n", 6, NULL, THRUM_FOREVER));
    must(thrum_io_write_full(typed[1], "who is there?\n", 14, NULL, THRUM_FOREVER));
    must(thrum_io_write_full(typed[0], "somebody who has said it all\n", 29, NULL, THRUM_FOREVER));
    must(thrum_io_close(typed[0]));
    must(thrum_io_write_full(typed[1], "goodbye\n", 8, NULL, THRUM_FOREVER));
    must(thrum_io_close(typed[1]));
    return 0;
}

static void show(const char *who, int fd)
{
    char text[512];
    const ssize_t n = read(fd, text, sizeof text);
    printf("%s sees\n%.*s", who, n > 0 ? (int)n : 0, text);
}

static int test_itself(void *arg, void **result)
{
    int line[2], a_types[2], b_types[2], a_sees[2], b_sees[2];
    thrum_coro_t *others[2];
    (void)arg, (void)result;
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, line) == 0 ? 0 : errno);
    must(pipe(a_types) == 0 && pipe(b_types) == 0 ? 0 : errno);
    must(pipe(a_sees) == 0 && pipe(b_sees) == 0 ? 0 : errno);
    struct end a = {line[0], a_types[0], a_sees[1], "  > "};
    struct end b = {line[1], b_types[0], b_sees[1], "  > "};
    int typed[] = {a_types[1], b_types[1]};
    must(thrum_go(&others[0], talk, &b));
    must(thrum_go(&others[1], type_later, typed));
    must(talk(&a, NULL));
    for (int i = 0; i < 2; i++) {
        must(thrum_coro_join(others[i], NULL));
        thrum_coro_release(others[i]);
    }
    show("a", a_sees[0]);
    show("b", b_sees[0]);
    return 0;
}

int main(int argc, char **argv)
{
    struct call call = {.at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};
    if (argc != 3) {
        must(thrum_run(test_itself, NULL, NULL));
        return 0;
    }
    call.listens = strcmp(argv[1], "listen") == 0;
    call.at.sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10));
    must(call.listens || inet_pton(AF_INET, argv[1], &call.at.sin_addr) == 1 ? 0 : EINVAL);
    must(thrum_run(meet, &call, NULL));
    return 0;
}
