/*
 * A store of keys and values that speaks the protocol of Redis (RESP2). All connections are coroutines of one loop, and
 * no command waits within itself: so the table needs no lock, and each command is one step for everybody. What one
 * read brings is parsed where it lies, and answered with one write.
 *
 *     resp_server 6379     serves, until ctrl-C or SIGTERM:   redis-cli; redis-benchmark -t ping,set,get,incr -P 16
 *     resp_server          tests itself
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thrum/thrum.h>

#include "resp_store.h"

#define ARGS_MOST 1024u
#define BULK_MOST ((size_t)512 << 10) /* of a key or a value */
#define IN_MIN ((size_t)16 << 10)
#define IN_MOST ((size_t)1 << 20) /* of a command */
#define OUT_MIN ((size_t)16 << 10)
#define OUT_FLUSH ((size_t)64 << 10)

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

/* ------------------------------------------------------------------------------------------------
 * Answers
 */

struct client {
    struct store *store;
    char *in;
    size_t from, until, in_room; /* what has been read, and not parsed */
    size_t needed;               /* as much has to be there before it is looked at again */
    char *out;
    size_t out_size, out_room;
    bool closes;
    int err;
    size_t argc;
    struct text argv[ARGS_MOST];
};

static bool out_has_room(struct client *c, size_t size)
{
    size_t room = c->out_room;
    while (room - c->out_size < size)
        room *= 2;
    char *out = room != c->out_room ? realloc(c->out, room) : c->out;
    if (out == NULL) {
        c->err = ENOMEM;
        return false;
    }
    c->out = out;
    c->out_room = room;
    return true;
}

static void put(struct client *c, const char *text, size_t size)
{
    if (c->err == 0 && out_has_room(c, size)) {
        memcpy(c->out + c->out_size, text, size);
        c->out_size += size;
    }
}

#define PUT(c, text) put(c, text, sizeof(text) - 1)

static void put_number(struct client *c, char kind, int64_t n)
{
    char text[24];
    size_t at = sizeof text;
    uint64_t left = n < 0 ? UINT64_C(0) - (uint64_t)n : (uint64_t)n;
    text[--at] = '\n';
    text[--at] = '\r';
    do
        text[--at] = (char)('0' + left % 10);
    while ((left /= 10) != 0);
    if (n < 0)
        text[--at] = '-';
    text[--at] = kind;
    put(c, text + at, sizeof text - at);
}

static void put_bulk(struct client *c, struct text value)
{
    put_number(c, '$', (int64_t)value.size);
    put(c, value.at, value.size);
    PUT(c, "\r\n");
}

/* ------------------------------------------------------------------------------------------------
 * Commands
 */

static bool is(struct text text, const char *word)
{
    return text.size == strlen(word) && strncasecmp(text.at, word, text.size) == 0;
}

static void do_ping(struct client *c)
{
    if (c->argc > 1)
        put_bulk(c, c->argv[1]);
    else
        PUT(c, "+PONG\r\n");
}

static void do_echo(struct client *c)
{
    put_bulk(c, c->argv[1]);
}

static void do_get(struct client *c)
{
    const struct entry *e = *find(c->store, c->argv[1], hash_of(c->store, c->argv[1]));
    if (e != NULL)
        put_bulk(c, value_of(e));
    else
        PUT(c, "$-1\r\n");
}

static void put_stored(struct client *c, bool stored)
{
    if (stored)
        PUT(c, "+OK\r\n");
    else
        PUT(c, "-OOM command not allowed: the store is full\r\n");
}

/* SET key value [NX | XX] */
static void do_set(struct client *c)
{
    const bool if_none = c->argc == 4 && is(c->argv[3], "NX");
    const bool if_some = c->argc == 4 && is(c->argv[3], "XX");
    if (c->argc > 3 && !if_none && !if_some) {
        PUT(c, "-ERR syntax error\r\n");
        return;
    }
    if (if_none || if_some) {
        const bool there = *find(c->store, c->argv[1], hash_of(c->store, c->argv[1])) != NULL;
        if (there != if_some) {
            PUT(c, "$-1\r\n");
            return;
        }
    }
    put_stored(c, set(c->store, c->argv[1], c->argv[2]));
}

static void do_mset(struct client *c)
{
    bool stored = true;
    if (c->argc % 2 == 0) {
        PUT(c, "-ERR wrong number of arguments for 'mset' command\r\n");
        return;
    }
    for (size_t i = 1; stored && i < c->argc; i += 2)
        stored = set(c->store, c->argv[i], c->argv[i + 1]);
    put_stored(c, stored);
}

static void do_exists(struct client *c)
{
    int64_t n = 0;
    for (size_t i = 1; i < c->argc; i++)
        n += *find(c->store, c->argv[i], hash_of(c->store, c->argv[i])) != NULL;
    put_number(c, ':', n);
}

static void do_del(struct client *c)
{
    int64_t n = 0;
    for (size_t i = 1; i < c->argc; i++) {
        struct entry **at = find(c->store, c->argv[i], hash_of(c->store, c->argv[i]));
        if (*at != NULL) {
            delete_at(c->store, at);
            n++;
        }
    }
    put_number(c, ':', n);
}

static bool to_number(struct text text, int64_t *n)
{
    char digits[24];
    char *end = NULL;
    if (text.size == 0 || text.size >= sizeof digits || isspace((unsigned char)text.at[0]))
        return false;
    memcpy(digits, text.at, text.size);
    digits[text.size] = '\0';
    errno = 0;
    const long long value = strtoll(digits, &end, 10);
    *n = value;
    return errno == 0 && *end == '\0';
}

static void add(struct client *c, int64_t by)
{
    const struct entry *e = *find(c->store, c->argv[1], hash_of(c->store, c->argv[1]));
    int64_t n = 0;
    char digits[24];
    if (e != NULL && !to_number(value_of(e), &n)) {
        PUT(c, "-ERR value is not an integer or out of range\r\n");
        return;
    }
    if ((by > 0 && n > INT64_MAX - by) || (by < 0 && n < INT64_MIN - by)) {
        PUT(c, "-ERR increment or decrement would overflow\r\n");
        return;
    }
    n += by;
    const int size = snprintf(digits, sizeof digits, "%lld", (long long)n);
    if (set(c->store, c->argv[1], (struct text){digits, (size_t)size}))
        put_number(c, ':', n);
    else
        put_stored(c, false);
}

static void do_incr(struct client *c)
{
    add(c, 1);
}

static void do_decr(struct client *c)
{
    add(c, -1);
}

static void do_dbsize(struct client *c)
{
    put_number(c, ':', (int64_t)c->store->count);
}

static void do_flushall(struct client *c)
{
    clear(c->store);
    PUT(c, "+OK\r\n");
}

static void do_quit(struct client *c)
{
    c->closes = true;
    PUT(c, "+OK\r\n");
}

/* What clients ask before they begin. */
static void do_command(struct client *c)
{
    PUT(c, "*0\r\n");
}

static void do_config(struct client *c)
{
    if (c->argc == 3 && is(c->argv[1], "GET") &&
        (is(c->argv[2], "save") || is(c->argv[2], "appendonly"))) {
        PUT(c, "*2\r\n");
        put_bulk(c, c->argv[2]);
        put_bulk(c, is(c->argv[2], "save") ? (struct text){"", 0} : (struct text){"no", 2});
    } else if (is(c->argv[1], "GET")) {
        PUT(c, "*0\r\n");
    } else {
        PUT(c, "-ERR there is nothing to be configured\r\n");
    }
}

static void do_select(struct client *c)
{
    if (is(c->argv[1], "0"))
        PUT(c, "+OK\r\n");
    else
        PUT(c, "-ERR DB index is out of range\r\n");
}

static void do_client(struct client *c)
{
    PUT(c, "+OK\r\n");
}

static const struct command {
    const char *name;
    size_t least, most; /* words, its own among them */
    void (*run)(struct client *c);
} commands[] = {
    {"GET", 2, 2, do_get},
    {"SET", 3, ARGS_MOST, do_set},
    {"INCR", 2, 2, do_incr},
    {"PING", 1, 2, do_ping},
    {"DEL", 2, ARGS_MOST, do_del},
    {"EXISTS", 2, ARGS_MOST, do_exists},
    {"ECHO", 2, 2, do_echo},
    {"DECR", 2, 2, do_decr},
    {"MSET", 3, ARGS_MOST, do_mset},
    {"DBSIZE", 1, 1, do_dbsize},
    {"FLUSHALL", 1, 2, do_flushall},
    {"FLUSHDB", 1, 2, do_flushall},
    {"SELECT", 2, 2, do_select},
    {"COMMAND", 1, ARGS_MOST, do_command},
    {"CONFIG", 2, ARGS_MOST, do_config},
    {"CLIENT", 2, ARGS_MOST, do_client},
    {"QUIT", 1, 1, do_quit},
};

/* In an error: what came, but only what may stand in a line. */
static void put_named_error(struct client *c, const char *before, struct text name,
                            const char *after)
{
    char line[160];
    char shown[64];
    const size_t size = name.size < sizeof shown - 1 ? name.size : sizeof shown - 1;
    for (size_t i = 0; i < size; i++)
        shown[i] = isprint((unsigned char)name.at[i]) ? name.at[i] : '?';
    shown[size] = '\0';
    const int n = snprintf(line, sizeof line, "-ERR %s '%s'%s\r\n", before, shown, after);
    put(c, line, (size_t)n);
}

static void run_command(struct client *c)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (!is(c->argv[0], commands[i].name))
            continue;
        if (c->argc >= commands[i].least && c->argc <= commands[i].most)
            commands[i].run(c);
        else
            put_named_error(c, "wrong number of arguments for", c->argv[0], " command");
        return;
    }
    put_named_error(c, "unknown command", c->argv[0], "");
}

/* ------------------------------------------------------------------------------------------------
 * The protocol: *2\r\n$3\r\nGET\r\n$1\r\na\r\n, or GET a\r\n
 */

enum parsed { WHOLE, MORE, WRONG };

/* A line of digits behind `*at`, which is moved behind it. */
static enum parsed take_number(const struct client *c, size_t *at, size_t most, size_t *n)
{
    size_t i = *at;
    size_t value = 0;
    for (; i < c->until && isdigit((unsigned char)c->in[i]); i++) {
        value = value * 10 + (size_t)(c->in[i] - '0');
        if (value > most)
            return WRONG;
    }
    if (i < c->until && (c->in[i] != '\r' || i == *at))
        return WRONG;
    if (c->until - i < 2)
        return MORE;
    if (c->in[i + 1] != '\n')
        return WRONG;
    *at = i + 2;
    *n = value;
    return WHOLE;
}

static enum parsed take_bulk(struct client *c, size_t *at, struct text *bulk)
{
    if (*at == c->until)
        return MORE;
    if (c->in[(*at)++] != '$')
        return WRONG;
    const enum parsed parsed = take_number(c, at, BULK_MOST, &bulk->size);
    if (parsed != WHOLE)
        return parsed;
    if (c->until - *at < bulk->size + 2) {
        c->needed = *at - c->from + bulk->size + 2;
        return c->needed > IN_MOST ? WRONG : MORE;
    }
    bulk->at = c->in + *at;
    *at += bulk->size + 2;
    return c->in[*at - 2] == '\r' && c->in[*at - 1] == '\n' ? WHOLE : WRONG;
}

static enum parsed take_words(struct client *c)
{
    const char *line = c->in + c->from;
    const char *end = memchr(line, '\n', c->until - c->from);
    if (end == NULL)
        return c->until - c->from < IN_MIN ? MORE : WRONG;
    c->from = (size_t)(end - c->in) + 1;
    while (c->argc < ARGS_MOST) {
        while (line < end && isspace((unsigned char)*line))
            line++;
        const char *word = line;
        while (line < end && !isspace((unsigned char)*line))
            line++;
        if (word == line)
            return WHOLE;
        c->argv[c->argc++] = (struct text){word, (size_t)(line - word)};
    }
    return WRONG;
}

static enum parsed take_command(struct client *c)
{
    size_t at = c->from;
    size_t words = 0;
    c->argc = 0;
    c->needed = 0;
    if (c->from == c->until)
        return MORE;
    if (c->in[at++] != '*')
        return take_words(c);
    enum parsed parsed = take_number(c, &at, ARGS_MOST, &words);
    while (parsed == WHOLE && c->argc < words) {
        parsed = take_bulk(c, &at, &c->argv[c->argc]);
        c->argc++;
    }
    if (parsed == WHOLE)
        c->from = at;
    return parsed;
}

/* ------------------------------------------------------------------------------------------------
 * A connection
 */

static void flush(struct client *c, thrum_conn_t *conn)
{
    if (c->err == 0 && c->out_size != 0)
        c->err = thrum_conn_write(conn, c->out, c->out_size);
    c->out_size = 0;
    if (c->out_room > 2 * OUT_FLUSH) { /* for one large value */
        free(c->out);
        c->out = malloc(OUT_MIN);
        c->out_room = OUT_MIN;
        if (c->out == NULL)
            c->err = ENOMEM;
    }
}

/* All that is whole. Nothing of the table is held where it waits, in flush. */
static void answer_all(struct client *c, thrum_conn_t *conn)
{
    enum parsed parsed = WHOLE;
    while (c->err == 0 && !c->closes && c->until - c->from >= c->needed &&
           (parsed = take_command(c)) == WHOLE) {
        if (c->argc != 0)
            run_command(c);
        if (c->out_size > OUT_FLUSH)
            flush(c, conn);
    }
    if (parsed == WRONG) {
        PUT(c, "-ERR Protocol error\r\n");
        c->closes = true;
    }
    flush(c, conn);
}

/* Room to read into, behind what has not been parsed. */
static int make_room(struct client *c)
{
    if (c->from != 0) {
        memmove(c->in, c->in + c->from, c->until - c->from);
        c->until -= c->from;
        c->from = 0;
    }
    size_t room = c->in_room;
    while (room < IN_MOST && (room < c->needed || room == c->until))
        room *= 2;
    if (room == c->until)
        return EMSGSIZE;
    if (room != c->in_room) {
        char *in = realloc(c->in, room);
        if (in == NULL)
            return ENOMEM;
        c->in = in;
        c->in_room = room;
    }
    return 0;
}

static int setup(thrum_conn_t *conn, void *ctx)
{
    struct client *c = calloc(1, sizeof *c);
    if (c == NULL)
        return ENOMEM;
    thrum_conn_set_data(conn, c);
    c->store = ctx;
    c->in = malloc(IN_MIN);
    c->out = malloc(OUT_MIN);
    c->in_room = IN_MIN;
    c->out_room = OUT_MIN;
    return c->in != NULL && c->out != NULL ? 0 : ENOMEM;
}

static void finish(thrum_conn_t *conn, void *ctx, int status)
{
    struct client *c = thrum_conn_data(conn);
    (void)ctx, (void)status;
    if (c != NULL) {
        free(c->in);
        free(c->out);
        free(c);
    }
}

static int serve(thrum_conn_t *conn, void *ctx)
{
    struct client *c = thrum_conn_data(conn);
    size_t n = 0;
    int err = 0;
    (void)ctx;
    while ((err = make_room(c)) == 0 &&
           (err = thrum_conn_read(conn, c->in + c->until, c->in_room - c->until, &n)) == 0 &&
           n != 0) {
        c->until += n;
        answer_all(c, conn);
        if (c->closes || c->err != 0)
            return c->err;
    }
    return err;
}

static void configure(thrum_server_config_t *config, struct store *store, const char *address)
{
    must(getrandom(&store->seed, sizeof store->seed, 0) > 0 && grow(store) ? 0 : ENOMEM);
    config->address = address;
    config->model = THRUM_SERVE_COROUTINES;
    config->workers = 1; /* one loop: no locks */
    config->handler = serve;
    config->setup = setup;
    config->finish = finish;
    config->ctx = store;
    config->idle_timeout = THRUM_S(600);
}

static int run(const char *port)
{
    static struct store store;
    thrum_server_t *server = NULL;
    thrum_server_config_t config = THRUM_SERVER_CONFIG_INIT;
    char address[64];
    snprintf(address, sizeof address, "127.0.0.1:%s", port);
    configure(&config, &store, address);
    config.stop_on_sigterm = true;
    must(thrum_server_create(&server, &config));
    thrum_server_address(server, address, sizeof address);
    printf("listening on %s\n", address);
    fflush(stdout);
    const int err = thrum_server_run(server);
    thrum_server_destroy(server);
    clear(&store);
    free(store.chains);
    return err;
}

/* ------------------------------------------------------------------------------------------------
 * The test of itself
 */

static int connect_to(const thrum_server_t *server)
{
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)thrum_server_port(server)),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    must(thrum_io_connect(fd, (const struct sockaddr *)&to, sizeof to, thrum_after(THRUM_S(20))));
    return fd;
}

/* Sends it, half-closes, and prints all that comes back. */
static void ask(const thrum_server_t *server, const char *request)
{
    const thrum_time_t deadline = thrum_after(THRUM_S(20));
    const int fd = connect_to(server);
    char text[512];
    size_t n = 0;
    must(thrum_io_write_full(fd, request, strlen(request), NULL, deadline));
    shutdown(fd, SHUT_WR);
    const int err = thrum_io_read_full(fd, text, sizeof text, &n, deadline);
    must(err == ENODATA ? 0 : err);
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\r')
            putchar(' ');
        else if (text[i] != '\n')
            putchar(text[i]);
    }
    putchar('\n');
    must(thrum_io_close(fd));
}

/* A value larger than what is read at a time, there and back. */
static void ask_much(const thrum_server_t *server)
{
    enum { SIZE = 300000 };
    static char request[SIZE + 100];
    static char reply[SIZE + 100];
    const thrum_time_t deadline = thrum_after(THRUM_S(20));
    const int fd = connect_to(server);
    size_t n = 0;
    const int head = snprintf(request, 100, "*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$%d\r\n", SIZE);
    memset(request + head, 'v', SIZE);
    const size_t size = (size_t)head + SIZE;
    memcpy(request + size, "\r\nGET big\r\nQUIT\r\n", 17);
    must(thrum_io_write_full(fd, request, size + 17, NULL, deadline));
    const int err = thrum_io_read_full(fd, reply, sizeof reply, &n, deadline);
    must(err == ENODATA ? 0 : err);
    must(n > SIZE && memcmp(reply + 14, request + head, SIZE) == 0 ? 0 : EBADMSG);
    printf("%.2s, and %d bytes\n", reply + 1, SIZE);
    must(thrum_io_close(fd));
}

static void test_itself(void)
{
    static struct store store;
    thrum_server_t *server = NULL;
    thrum_server_config_t config = THRUM_SERVER_CONFIG_INIT;
    configure(&config, &store, "127.0.0.1:0");
    must(thrum_server_create(&server, &config));
    must(thrum_server_start(server));
    ask(server, "PING\r\n*2\r\n$4\r\nECHO\r\n$5\r\nhello\r\n");
    ask(server, "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\nget b\r\n");
    ask(server, "INCR a\r\nINCR a\r\nDECR n\r\nSET a x NX\r\nSET a x XX\r\nINCR a\r\n");
    ask(server, "EXISTS a n none\r\nDEL a none\r\nDBSIZE\r\nFLUSHALL\r\nDBSIZE\r\n");
    ask(server, "CONFIG GET save\r\nCOMMAND DOCS\r\nGET\r\nNOSUCH it\r\nQUIT\r\nPING\r\n");
    ask(server,
        "SET n 9223372036854775807\r\nINCR n\r\nSET n 1 2\r\n\r\nMSET x 1 y 2\r\nEXISTS x y\r\n");
    ask(server, "*2\r\n$3\r\nGET\r\n$999999999\r\n");
    ask_much(server);
    must(thrum_server_stop(server, thrum_after(THRUM_S(10))));
    thrum_server_destroy(server);
    clear(&store);
    free(store.chains);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return run(argv[1]);
    test_itself();
    return 0;
}
