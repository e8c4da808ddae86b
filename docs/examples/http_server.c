/*
 * An HTTP/1.1 server of files: keep-alive, pipelining, HEAD, and limits on all that comes from outside. What one read
 * brings is parsed where it lies and answered with one write; a file is sent without copying it.
 *
 *     http_server 8080 /srv/www      serves that folder, until ctrl-C or SIGTERM:   curl http://127.0.0.1:8080/
 *     http_server 8080               says hello
 *     http_server                    tests itself
 *
 * It listens on the loopback interface only. The parser is Debian's libhttp-parser-dev.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <http_parser.h>
#include <thrum/thrum.h>

#define URL_MOST 2048u
#define HEADERS_MOST 16384u
#define BODY_MOST 1048576u
#define IN_SIZE 16384u
#define OUT_SIZE 16384u
#define HELLO "Hello, World!"

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

/* What a connection needs, however many requests come over it. */
struct client {
    thrum_conn_t *conn;
    int root; /* the folder; -1: none */
    http_parser parser;
    int status;  /* of a request that cannot be served; 0 */
    bool closes; /* after this answer */
    int err;     /* of a write */
    size_t url_size, body_size, out_size;
    char url[URL_MOST + 1];
    char in[IN_SIZE];
    char out[OUT_SIZE];
};

/* ------------------------------------------------------------------------------------------------
 * Answers: collected until all that has been read is answered, or there is no more room
 */

static void flush(struct client *c)
{
    if (c->err == 0 && c->out_size != 0)
        c->err = thrum_conn_write(c->conn, c->out, c->out_size);
    c->out_size = 0;
}

static void put(struct client *c, const char *text, size_t size)
{
    if (OUT_SIZE - c->out_size < size)
        flush(c);
    memcpy(c->out + c->out_size, text, size);
    c->out_size += size;
}

#define PUT(c, text) put(c, text, sizeof(text) - 1)

static void put_number(struct client *c, uint64_t n)
{
    char digits[20];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + n % 10);
    while ((n /= 10) != 0);
    put(c, digits + at, sizeof digits - at);
}

/* Made once a second, in each thread; nothing waits between here and its use. */
static void put_date(struct client *c)
{
    static _Thread_local time_t made = -1;
    static _Thread_local char line[64];
    static _Thread_local size_t size;
    const time_t now = time(NULL);
    struct tm utc;
    if (now != made) {
        made = now;
        size = strftime(line, sizeof line, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n",
                        gmtime_r(&now, &utc));
    }
    put(c, line, size);
}

static const char *reason_of(int status)
{
    switch (status) {
    case 200:
        return "200 OK";
    case 400:
        return "400 Bad Request";
    case 404:
        return "404 Not Found";
    case 405:
        return "405 Method Not Allowed";
    case 408:
        return "408 Request Timeout";
    case 413:
        return "413 Content Too Large";
    case 414:
        return "414 URI Too Long";
    case 431:
        return "431 Request Header Fields Too Large";
    default:
        return "500 Internal Server Error";
    }
}

static void put_head(struct client *c, int status, const char *type, uint64_t length)
{
    const char *reason = reason_of(status);
    PUT(c, "HTTP/1.1 ");
    put(c, reason, strlen(reason));
    PUT(c, "\r\n");
    put_date(c);
    if (status == 405)
        PUT(c, "Allow: GET, HEAD\r\n");
    if (c->closes)
        PUT(c, "Connection: close\r\n");
    else if (c->parser.http_minor == 0)
        PUT(c, "Connection: keep-alive\r\n");
    PUT(c, "Content-Type: ");
    put(c, type, strlen(type));
    PUT(c, "\r\nContent-Length: ");
    put_number(c, length);
    PUT(c, "\r\n\r\n");
}

static void answer(struct client *c, int status, const char *text)
{
    put_head(c, status, "text/plain", strlen(text));
    if (c->parser.method != HTTP_HEAD)
        put(c, text, strlen(text));
}

static void answer_error(struct client *c, int status)
{
    answer(c, status, reason_of(status) + 4);
}

/* ------------------------------------------------------------------------------------------------
 * Files
 */

static const char *type_of(const char *path)
{
    static const char *const types[][2] = {
        {".html", "text/html; charset=utf-8"}, {".css", "text/css"},     {".js", "text/javascript"},
        {".txt", "text/plain; charset=utf-8"}, {".png", "image/png"},    {".jpg", "image/jpeg"},
        {".json", "application/json"},         {".svg", "image/svg+xml"}};
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot != NULL && i < sizeof types / sizeof *types; i++) {
        if (strcasecmp(dot, types[i][0]) == 0)
            return types[i][1];
    }
    return "application/octet-stream";
}

/* In place; false: a zero, or no hexadecimal digits. */
static bool decode(char *path)
{
    char *to = path;
    for (const char *from = path; *from != '\0'; from++) {
        char c = *from;
        if (c == '%') {
            const char hex[3] = {from[1], from[1] != '\0' ? from[2] : '\0', '\0'};
            if (!isxdigit((unsigned char)hex[0]) || !isxdigit((unsigned char)hex[1]))
                return false;
            c = (char)strtol(hex, NULL, 16);
            from += 2;
        }
        if (c == '\0')
            return false;
        *to++ = c;
    }
    *to = '\0';
    return true;
}

static int open_in(int folder, const char *name)
{
    return openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
}

/* One name after the other, each in the folder before: no "..", nothing hidden, no symbolic link leads out. `path` is
 * taken to pieces, so that it ends as the file's own name. */
static int open_page(int root, char **path, struct stat *about)
{
    char *rest = NULL;
    static char index[] = "index.html";
    int fd = dup(root);
    for (char *name = strtok_r(*path, "/", &rest); name != NULL && fd >= 0;
         name = strtok_r(NULL, "/", &rest)) {
        const int next = name[0] != '.' ? open_in(fd, name) : -1;
        close(fd);
        fd = next;
        *path = name;
    }
    if (fd >= 0 && fstat(fd, about) == 0 && S_ISDIR(about->st_mode)) {
        const int next = open_in(fd, index);
        close(fd);
        fd = next;
        *path = index;
    }
    if (fd >= 0 && (fstat(fd, about) != 0 || !S_ISREG(about->st_mode))) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static void send_page(struct client *c, char *path)
{
    struct stat about;
    const int fd = decode(path) ? open_page(c->root, &path, &about) : -1;
    if (fd < 0) {
        answer_error(c, 404);
        return;
    }
    const size_t size = (size_t)about.st_size;
    put_head(c, 200, type_of(path), size);
    if (c->parser.method == HTTP_HEAD) {
        /* that was all */
    } else if (size <= OUT_SIZE - c->out_size) {
        const ssize_t n = pread(fd, c->out + c->out_size, size, 0);
        c->out_size += n > 0 ? (size_t)n : 0;
        if (n != (ssize_t)size)
            c->err = EIO; /* what was announced cannot be sent */
    } else {
        flush(c);
        if (c->err == 0)
            c->err = thrum_conn_sendfile(c->conn, fd, 0, size);
    }
    close(fd);
}

/* ------------------------------------------------------------------------------------------------
 * Requests: what the parser calls
 */

static int give_up(struct client *c, int status)
{
    c->status = status;
    return 1; /* the parser stops */
}

static int on_begin(http_parser *parser)
{
    struct client *c = parser->data;
    c->url_size = 0;
    c->body_size = 0;
    return 0;
}

static int on_url(http_parser *parser, const char *at, size_t size)
{
    struct client *c = parser->data;
    if (size > URL_MOST - c->url_size)
        return give_up(c, 414);
    memcpy(c->url + c->url_size, at, size);
    c->url_size += size;
    return 0;
}

static int on_body(http_parser *parser, const char *at, size_t size)
{
    struct client *c = parser->data;
    (void)at; /* of no interest */
    c->body_size += size;
    return c->body_size > BODY_MOST ? give_up(c, 413) : 0;
}

static int on_complete(http_parser *parser)
{
    struct client *c = parser->data;
    struct http_parser_url url = {0};
    c->closes = http_should_keep_alive(parser) == 0 || thrum_conn_stopping(c->conn);
    c->url[c->url_size] = '\0';
    if (parser->method != HTTP_GET && parser->method != HTTP_HEAD) {
        answer_error(c, 405);
    } else if (c->root < 0) {
        answer(c, 200, HELLO);
    } else if (http_parser_parse_url(c->url, c->url_size, 0, &url) != 0 ||
               (url.field_set & 1 << UF_PATH) == 0) {
        answer_error(c, 404);
    } else {
        char *path = c->url + url.field_data[UF_PATH].off;
        path[url.field_data[UF_PATH].len] = '\0';
        send_page(c, path);
    }
    c->url_size = 0;
    if (c->closes || c->err != 0)
        http_parser_pause(parser, 1);
    return 0;
}

static const http_parser_settings callbacks = {.on_message_begin = on_begin,
                                               .on_url = on_url,
                                               .on_body = on_body,
                                               .on_message_complete = on_complete};

/* The status that what is wrong with a request deserves; 0: nothing is. */
static int status_of(const struct client *c)
{
    const enum http_errno err = HTTP_PARSER_ERRNO(&c->parser);
    if (err == HPE_OK || err == HPE_PAUSED)
        return 0;
    return c->status != 0 ? c->status : err == HPE_HEADER_OVERFLOW ? 431 : 400;
}

/* ------------------------------------------------------------------------------------------------
 * A connection
 */

static int setup(thrum_conn_t *conn, void *ctx)
{
    struct client *c = malloc(sizeof *c);
    if (c == NULL)
        return ENOMEM;
    c->conn = conn;
    c->root = *(const int *)ctx;
    c->status = 0;
    c->closes = false;
    c->err = 0;
    c->out_size = 0;
    http_parser_init(&c->parser, HTTP_REQUEST);
    c->parser.data = c;
    thrum_conn_set_data(conn, c);
    return 0;
}

static void finish(thrum_conn_t *conn, void *ctx, int status)
{
    (void)ctx, (void)status;
    free(thrum_conn_data(conn));
}

static void refuse(struct client *c, int status)
{
    c->closes = true;
    answer_error(c, status);
    flush(c);
}

static int serve(thrum_conn_t *conn, void *ctx)
{
    struct client *c = thrum_conn_data(conn);
    size_t n = 0;
    int err = 0;
    (void)ctx;
    while ((err = thrum_conn_read(conn, c->in, IN_SIZE, &n)) == 0 && n != 0) {
        (void)http_parser_execute(&c->parser, &callbacks, c->in, n);
        const int status = status_of(c);
        if (status != 0 || c->parser.upgrade) {
            refuse(c, status != 0 ? status : 400);
            return c->err;
        }
        flush(c);
        if (c->closes || c->err != 0)
            return c->err;
    }
    if (err == EMSGSIZE)
        refuse(c, 413);
    else if (err == ETIMEDOUT && c->url_size != 0)
        refuse(c, 408);
    return err;
}

static void configure(thrum_server_config_t *config, const char *address, int *root)
{
    http_parser_set_max_header_size(HEADERS_MOST);
    config->address = address;
    config->handler = serve;
    config->setup = setup;
    config->finish = finish;
    config->ctx = root;
    config->max_request = 2 * BODY_MOST; /* read without an answer */
}

static int run(const char *port, const char *folder)
{
    thrum_server_t *server = NULL;
    thrum_server_config_t config = THRUM_SERVER_CONFIG_INIT;
    char address[64];
    int root = folder != NULL ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    must(folder == NULL || root >= 0 ? 0 : errno);
    snprintf(address, sizeof address, "127.0.0.1:%s", port);
    configure(&config, address, &root);
    config.stop_on_sigterm = true;
    must(thrum_server_create(&server, &config));
    thrum_server_address(server, address, sizeof address);
    printf("listening on %s\n", address);
    fflush(stdout);
    const int err = thrum_server_run(server);
    thrum_server_destroy(server);
    return err;
}

/* ------------------------------------------------------------------------------------------------
 * A client, for the test of itself
 */

struct reply {
    bool head; /* is what was asked for: no body comes */
    size_t size;
};

static int on_reply_headers(http_parser *parser)
{
    struct reply *r = parser->data;
    r->size = 0;
    printf("  %u, %lld bytes%s\n", parser->status_code, (long long)parser->content_length,
           http_should_keep_alive(parser) != 0 ? "" : ", closes");
    return r->head;
}

static int on_reply_body(http_parser *parser, const char *at, size_t size)
{
    struct reply *r = parser->data;
    (void)at;
    r->size += size;
    return 0;
}

static int on_reply_complete(http_parser *parser)
{
    const struct reply *r = parser->data;
    if (!r->head && parser->status_code == 200)
        printf("    and %zu came\n", r->size);
    return 0;
}

static void ask(const thrum_server_t *server, const char *name, const char *request)
{
    static const http_parser_settings reading = {.on_headers_complete = on_reply_headers,
                                                 .on_body = on_reply_body,
                                                 .on_message_complete = on_reply_complete};
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)thrum_server_port(server)),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const thrum_time_t deadline = thrum_after(THRUM_S(20));
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct reply reply = {.head = strncmp(request, "HEAD", 4) == 0};
    http_parser parser;
    char data[4096];
    size_t n = 0;
    printf("%s\n", name);
    must(thrum_io_connect(fd, (const struct sockaddr *)&to, sizeof to, deadline));
    must(thrum_io_write_full(fd, request, strlen(request), NULL, deadline));
    shutdown(fd, SHUT_WR);
    http_parser_init(&parser, HTTP_RESPONSE);
    parser.data = &reply;
    while (thrum_io_read(fd, data, sizeof data, &n, deadline) == 0 && n != 0)
        must(http_parser_execute(&parser, &reading, data, n) == n ? 0 : EBADMSG);
    must(thrum_io_close(fd));
}

static void write_page(const char *folder, const char *name, size_t size)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    const int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    must(fd >= 0 && ftruncate(fd, (off_t)size) == 0 ? 0 : errno);
    close(fd);
}

static void test(int root)
{
    static char long_url[URL_MOST + 100];
    thrum_server_t *server = NULL;
    thrum_server_config_t config = THRUM_SERVER_CONFIG_INIT;
    configure(&config, "127.0.0.1:0", &root);
    must(thrum_server_create(&server, &config));
    must(thrum_server_start(server));
    ask(server, "the index", "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    ask(server, "its head", "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
    ask(server, "three at once",
        "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /big.bin?a=b HTTP/1.1\r\nHost: x\r\n\r\n"
        "GET /none HTTP/1.1\r\nHost: x\r\n\r\n");
    ask(server, "an old one", "GET / HTTP/1.0\r\n\r\n");
    ask(server, "out of the folder",
        "GET /../secret HTTP/1.1\r\nHost: x\r\n\r\n"
        "GET /%2e%2e/secret HTTP/1.1\r\nHost: x\r\n\r\n"
        "GET /link HTTP/1.1\r\nHost: x\r\n\r\n");
    ask(server, "a form", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na=b");
    ask(server, "no request", "hello\r\n\r\n");
    memset(long_url, 'x', sizeof long_url - 1);
    memcpy(long_url, "GET /", 5);
    ask(server, "a long one", long_url);
    must(thrum_server_stop(server, thrum_after(THRUM_S(10))));
    thrum_server_destroy(server);
}

static int test_itself(void)
{
    char folder[] = "/tmp/http_server_XXXXXX";
    char link[64];
    must(mkdtemp(folder) != NULL ? 0 : errno);
    write_page(folder, "index.html", 100);
    write_page(folder, "big.bin", 1000000);
    snprintf(link, sizeof link, "%s/link", folder);
    must(symlink("/etc/passwd", link) == 0 ? 0 : errno);
    const int root = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    test(root);
    unlinkat(root, "index.html", 0);
    unlinkat(root, "big.bin", 0);
    unlinkat(root, "link", 0);
    close(root);
    rmdir(folder);
    return 0;
}

int main(int argc, char **argv)
{
    return argc > 1 ? run(argv[1], argc > 2 ? argv[2] : NULL) : test_itself();
}
