/*
 * Commands that are run for others, over frames: a request is a frame with the name of a command as body; the answer is
 * one with all that the command wrote, however large, and pairs that say how it ended. Only what is on the list is run,
 * with the arguments that stand there: no line from outside ever becomes one of the shell. Anything else is answered
 * by a frame with an error. It listens on the loopback interface only.
 *
 *     command_server 7007             serves, until ctrl-C or SIGTERM
 *     command_server 7007 uptime      asks it, and prints what comes
 *     command_server                  tests itself
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <thrum/thrum.h>

#define OUTPUT_MOST ((size_t)64 << 20)
#define REQUEST_MOST 4096
#define PATIENCE THRUM_S(60)

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

/* ------------------------------------------------------------------------------------------------
 * The server
 */

static const struct {
    const char *name;
    const char *argv[5];
    int64_t time;
} commands[] = {
    {"hello", {"echo", "hello, world", NULL}, THRUM_S(10)},
    {"uptime", {"uptime", NULL}, THRUM_S(10)},
    {"disk", {"df", "-h", NULL}, THRUM_S(30)},
    {"much", {"head", "-c", "20000000", "/dev/zero", NULL}, THRUM_S(30)},
    {"fail", {"sh", "-c", "echo it is broken >&2; exit 3", NULL}, THRUM_S(10)},
    {"hang", {"sh", "-c", "echo so far; sleep 1000 & sleep 1000", NULL}, THRUM_MS(300)},
};

static int run_command(const thrum_frame_t *request, thrum_output_t *output)
{
    static const char *const env[] = {"PATH=/usr/bin:/bin", "LANG=C", NULL};
    thrum_subprocess_config_t config = THRUM_SUBPROCESS_CONFIG_INIT;
    config.env = env;
    config.dir = "/";
    config.in.kind = THRUM_STREAM_NULL;
    config.out.kind = THRUM_STREAM_PIPE;
    config.err.kind = THRUM_STREAM_OUT; /* in order, as one would see it */
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (request->size == strlen(commands[i].name) &&
            memcmp(request->body, commands[i].name, request->size) == 0)
            return thrum_subprocess_run(commands[i].argv, &config, NULL, 0, OUTPUT_MOST,
                                        thrum_after(commands[i].time), output);
    }
    return EPERM;
}

static const char *words_for(int err)
{
    switch (err) {
    case EPERM:
        return "there is no such command";
    case ETIMEDOUT:
        return "it took too long";
    case EMSGSIZE:
        return "it said too much";
    default:
        return thrum_strerror(err);
    }
}

static int answer(thrum_conn_t *c, const thrum_frame_t *request)
{
    thrum_output_t output = {0};
    char code[16];
    const int failed = run_command(request, &output);
    const char *error = words_for(failed);
    const struct iovec body = {output.out, output.out_size}; /* what came, also if it was ended */
    snprintf(code, sizeof code, "%d", output.code);
    const thrum_pair_t pair = failed != 0 ? (thrum_pair_t){"error", error, strlen(error)}
                                          : (thrum_pair_t){"code", code, strlen(code)};
    const int err = thrum_conn_sendv(c, &pair, 1, &body, 1);
    thrum_output_free(&output);
    return err;
}

static int serve(thrum_conn_t *c, void *ctx)
{
    thrum_frame_t request;
    int err = 0;
    (void)ctx;
    while ((err = thrum_conn_receive(c, &request)) == 0) {
        if ((err = answer(c, &request)) != 0)
            break;
    }
    return err == ENODATA ? 0 : err; /* it has hung up */
}

static void create(thrum_server_t **server, const char *port, bool stop_on_sigterm)
{
    thrum_server_config_t config = THRUM_SERVER_CONFIG_INIT;
    char address[64];
    snprintf(address, sizeof address, "127.0.0.1:%s", port);
    config.address = address;
    config.handler = serve;
    config.max_connections = 64; /* and so many commands at once */
    config.frames.pairs = true;
    config.frames.length_size = 8;
    config.frames.max_size = OUTPUT_MOST;
    config.max_request = REQUEST_MOST; /* a request is small, whatever the answer is */
    config.stop_on_sigterm = stop_on_sigterm;
    must(thrum_server_create(server, &config));
}

static int run(const char *port)
{
    thrum_server_t *server = NULL;
    char address[64];
    create(&server, port, true);
    thrum_server_address(server, address, sizeof address);
    printf("listening on %s\n", address);
    fflush(stdout);
    const int err = thrum_server_run(server);
    thrum_server_destroy(server);
    return err;
}

/* ------------------------------------------------------------------------------------------------
 * A client
 */

static int call(unsigned port)
{
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(thrum_io_connect(fd, (const struct sockaddr *)&to, sizeof to, thrum_after(THRUM_S(10))));
    return fd;
}

static void show(const thrum_frame_t *reply, const char *name)
{
    thrum_pair_t pair;
    const size_t shown = reply->size < 60 ? reply->size : 0;
    printf("%s: ", name);
    if (thrum_frame_find(reply, "error", &pair) == 0)
        printf("not run to its end (%.*s)", (int)pair.size, (const char *)pair.value);
    else if (thrum_frame_find(reply, "code", &pair) == 0)
        printf("code %.*s", (int)pair.size, (const char *)pair.value);
    printf(", %zu bytes%s\n%.*s", reply->size, shown != 0 ? ":" : "", (int)shown,
           (const char *)reply->body);
}

static void ask(int fd, thrum_frames_t *frames, const thrum_frame_config_t *config,
                const char *name, bool all)
{
    thrum_frame_t reply;
    must(thrum_frame_send(fd, config, name, strlen(name), thrum_after(PATIENCE)));
    must(thrum_frames_receive(frames, fd, &reply, thrum_after(PATIENCE)));
    if (all)
        fwrite(reply.body, 1, reply.size, stdout);
    else
        show(&reply, name);
}

static void ask_each(unsigned port, const char *const *names, size_t n, bool all)
{
    thrum_frame_config_t config = THRUM_FRAME_CONFIG_INIT;
    thrum_frames_t *frames = NULL;
    const int fd = call(port);
    config.pairs = true;
    config.length_size = 8;
    config.max_size = OUTPUT_MOST;
    must(thrum_frames_create(&frames, &config));
    for (size_t i = 0; i < n; i++)
        ask(fd, frames, &config, names[i], all);
    thrum_frames_destroy(frames);
    must(thrum_io_close(fd));
}

static void test_itself(void)
{
    static const char *const names[] = {"hello", "much", "fail", "hang", "rm -rf /", "hello; id"};
    thrum_server_t *server = NULL;
    create(&server, "0", false);
    must(thrum_server_start(server));
    ask_each(thrum_server_port(server), names, sizeof names / sizeof *names, false);
    must(thrum_server_stop(server, thrum_after(THRUM_S(10))));
    thrum_server_destroy(server);
}

int main(int argc, char **argv)
{
    if (argc == 2)
        return run(argv[1]);
    if (argc == 3) {
        const char *const name = argv[2];
        ask_each((unsigned)strtoul(argv[1], NULL, 10), &name, 1, true);
        return 0;
    }
    test_itself();
    return 0;
}
