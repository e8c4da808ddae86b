/*
 * A helper that runs commands for others: who is connected to it sends a line, and gets back how the command ended and
 * all that it wrote, however large. Only what is on the list is run, with the arguments that stand there: no line
 * from outside ever becomes one of the shell. Each connection is a coroutine, and so all of their commands run at
 * once, on one thread; and a command that takes too long, or says too much, is ended with all that it has started.
 *
 * The connections are pipes of messages here, whose other ends are coroutines of the same process.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <thrum/thrum.h>

#define SECONDS_MOST 10
#define OUTPUT_MOST ((size_t)64 << 20)

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

/* ------------------------------------------------------------------------------------------------
 * The helper
 */

static const struct {
    const char *line;
    const char *argv[6];
    int64_t time;
} commands[] = {
    {"hello", {"echo", "hello, world", NULL}, THRUM_S(SECONDS_MOST)},
    {"much", {"head", "-c", "20000000", "/dev/zero", NULL}, THRUM_S(SECONDS_MOST)},
    {"where", {"pwd", NULL}, THRUM_S(SECONDS_MOST)},
    {"fail", {"sh", "-c", "echo it is broken >&2; exit 3", NULL}, THRUM_S(SECONDS_MOST)},
    {"hang", {"sh", "-c", "echo so far; sleep 1000 & sleep 1000", NULL}, THRUM_MS(300)},
    {"missing", {"/no/such/program", NULL}, THRUM_S(SECONDS_MOST)},
};

/* What goes back: this, and then out and err, a message each. */
struct answer {
    int err; /* of the helper; 0: the command ended with this code: */
    int code;
};

static int run_command(const char *line, thrum_output_t *output)
{
    thrum_subprocess_config_t config = THRUM_SUBPROCESS_CONFIG_INIT;
    static const char *const env[] = {"PATH=/usr/bin:/bin", "LANG=C", NULL};
    config.env = env;
    config.dir = "/";
    config.in.kind = THRUM_STREAM_NULL;
    config.out.kind = THRUM_STREAM_PIPE;
    config.err.kind = THRUM_STREAM_PIPE;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(commands[i].line, line) == 0)
            return thrum_subprocess_run(commands[i].argv, &config, NULL, 0, OUTPUT_MOST,
                                        thrum_after(commands[i].time), output);
    }
    return EPERM;
}

static int serve(void *arg, void **result)
{
    thrum_pipe_t *connection = arg;
    char line[64];
    size_t size = 0;
    int err = 0;
    (void)result;
    while ((err = thrum_pipe_recv(connection, line, sizeof line - 1, &size)) == 0) {
        thrum_output_t output = {0};
        line[size] = '\0';
        const struct answer answer = {run_command(line, &output), output.code};
        must(thrum_pipe_send(connection, &answer, sizeof answer));
        must(thrum_pipe_send(connection, output.out,
                             output.out_size)); /* what came, also when it was ended */
        must(thrum_pipe_send(connection, output.err, output.err_size));
        thrum_output_free(&output);
    }
    thrum_pipe_destroy(connection);
    return err == ESHUTDOWN ? 0 : err; /* it has hung up */
}

/* ------------------------------------------------------------------------------------------------
 * Those who ask
 */

struct client {
    const char *line;
    thrum_pipe_t *connection;
    char says[160];
};

/* Whatever its size: asks for that first. */
static char *receive(thrum_pipe_t *connection, size_t *size)
{
    int err = thrum_pipe_recv(connection, NULL, 0, size);
    char *text = calloc(1, *size + 1);
    must(text != NULL ? 0 : ENOMEM);
    if (err == EMSGSIZE)
        err = thrum_pipe_recv(connection, text, *size, size);
    must(err);
    return text;
}

static int ask(void *arg, void **result)
{
    struct client *client = arg;
    struct answer answer;
    size_t out_size = 0;
    size_t err_size = 0;
    size_t size = 0;
    (void)result;
    must(thrum_pipe_send(client->connection, client->line, strlen(client->line)));
    must(thrum_pipe_recv(client->connection, &answer, sizeof answer, &size));
    char *out = receive(client->connection, &out_size);
    char *err = receive(client->connection, &err_size);
    int n = snprintf(client->says, sizeof client->says, "%-7s ", client->line);
    if (answer.err != 0)
        n += snprintf(client->says + n, sizeof client->says - (size_t)n, "not run to its end (%s)",
                      answer.err == ETIMEDOUT ? "too long"
                      : answer.err == EPERM   ? "not on the list"
                      : answer.err == ENOENT  ? "no such program"
                                              : thrum_strerror(answer.err));
    else
        n += snprintf(client->says + n, sizeof client->says - (size_t)n, "code %d", answer.code);
    if (out_size > 40)
        snprintf(client->says + n, sizeof client->says - (size_t)n, ", %zu bytes\n", out_size);
    else
        snprintf(client->says + n, sizeof client->says - (size_t)n, "%s%s%s",
                 out_size + err_size != 0 ? ": " : "\n", out, err);
    free(out);
    free(err);
    thrum_pipe_destroy(client->connection);
    return 0;
}

#define CLIENTS 7

static int run(void *arg, void **result)
{
    static struct client clients[CLIENTS] = {
        {.line = "hello"}, {.line = "much"},    {.line = "where"},   {.line = "fail"},
        {.line = "hang"},  {.line = "missing"}, {.line = "rm -rf /"}};
    thrum_coro_t *asking[CLIENTS];
    (void)arg, (void)result;
    for (int i = 0; i < CLIENTS; i++) {
        thrum_pipe_t *end = NULL;
        must(thrum_pipe_create(&clients[i].connection, &end));
        must(thrum_go(NULL, serve, end));
        must(thrum_go(&asking[i], ask, &clients[i]));
    }
    for (int i = 0; i < CLIENTS; i++) {
        must(thrum_coro_join(asking[i], NULL));
        thrum_coro_release(asking[i]);
        fputs(clients[i].says, stdout);
    }
    return 0;
}

int main(void)
{
    must(thrum_run(run, NULL, NULL));
    return 0;
}
