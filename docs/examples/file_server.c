/*
 * Files up and down, with a progress bar: what breaks off is taken up again by the same command; a file is there whole,
 * or not at all.
 *
 *     file_server 7007 /srv/files              serves that folder on the loopback interface
 *     file_server 7007 put big.iso             sends a file to it
 *     file_server 7007 get big.iso             brings it into the current folder
 *     file_server                              tests itself
 *
 * A request is a line, "put" or "get name"; a transfer (transfer.h) follows.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thrum/thrum.h>

#define SIZE_MOST (UINT64_C(64) << 30)

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

static int send_named(thrum_conn_t *c, const char *folder, const char *name)
{
    char path[4096];
    if (name[0] == '.' || name[0] == '\0' || strchr(name, '/') != NULL)
        return thrum_conn_refuse_file(c, EACCES); /* it stays in the folder */
    const int n = snprintf(path, sizeof path, "%s/%s", folder, name);
    if (n < 0 || (size_t)n >= sizeof path)
        return thrum_conn_refuse_file(c, EINVAL);
    return thrum_conn_send_file(c, path, NULL, NULL);
}

static int serve_request(thrum_conn_t *c, const char *folder, char *line)
{
    thrum_transfer_config_t config = THRUM_TRANSFER_CONFIG_INIT;
    thrum_transfer_info_t info;
    config.max_size = SIZE_MOST;
    config.mode = 0644;
    line[strcspn(line, "\n")] = '\0';
    if (strncmp(line, "get ", 4) == 0)
        return send_named(c, folder, line + 4);
    if (strcmp(line, "put") == 0) {
        const int err = thrum_conn_receive_file(c, folder, &config, &info);
        return err == EEXIST || err == EBUSY || err == EMSGSIZE ? 0 : err; /* it has been told */
    }
    return EBADMSG;
}

static int serve(thrum_conn_t *c, void *ctx)
{
    char line[512];
    size_t n = 0;
    int err = 0;
    while ((err = thrum_conn_read_line(c, line, sizeof line, &n)) == 0 && n != 0) {
        if ((err = serve_request(c, ctx, line)) != 0)
            break;
    }
    return err;
}

static void create(thrum_server_t **server, const char *port, const char *folder, bool until_signal)
{
    thrum_server_config_t config = THRUM_SERVER_CONFIG_INIT;
    char address[64];
    snprintf(address, sizeof address, "127.0.0.1:%s", port);
    config.address = address;
    config.model = THRUM_SERVE_POOL; /* disks hold up who reads them */
    config.handler = serve;
    config.ctx = (void *)(uintptr_t)folder;
    config.stop_on_sigterm = until_signal;
    must(thrum_server_create(server, &config));
}

static int run(const char *port, const char *folder)
{
    thrum_server_t *server = NULL;
    char address[64];
    create(&server, port, folder, true);
    thrum_server_address(server, address, sizeof address);
    printf("listening on %s\n", address);
    fflush(stdout);
    const int err = thrum_server_run(server);
    thrum_server_destroy(server);
    return err;
}

/* ------------------------------------------------------------------------------------------------
 * The client
 */

/* On a terminal, when a percent more has gone. */
static int show_bar(void *ctx, const thrum_transfer_info_t *info)
{
    int *shown = ctx;
    const int percent =
        info->size != 0 ? (int)((double)info->done * 100 / (double)info->size) : 100;
    if (!isatty(STDERR_FILENO) || percent == *shown)
        return 0;
    *shown = percent;
    fprintf(stderr, "\r%-20.20s [%-50.*s] %3d %%%s", info->name, percent / 2,
            "##################################################", percent,
            info->done == info->size ? "\n" : "");
    return 0;
}

static int call(unsigned port)
{
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    must(thrum_io_connect(fd, (const struct sockaddr *)&to, sizeof to, thrum_after(THRUM_S(10))));
    return fd;
}

static void report(const char *what, int err, const thrum_transfer_info_t *info)
{
    if (err == 0)
        printf("%s %s: %llu bytes, of which %llu were there\n", what, info->name,
               (unsigned long long)info->size, (unsigned long long)info->from);
    else
        printf("%s: %s%s\n", what, info->refused ? "refused: " : "", thrum_strerror(err));
}

static int put(unsigned port, const char *path, thrum_transfer_config_t *config)
{
    thrum_transfer_info_t info = {.size = 0};
    const int fd = call(port);
    must(thrum_io_write_full(fd, "put\n", 4, NULL, thrum_after(THRUM_S(10))));
    const int err = thrum_transfer_send(fd, path, config, &info);
    report("put", err, &info);
    must(thrum_io_close(fd));
    return err;
}

static int get(unsigned port, const char *name, const char *folder, thrum_transfer_config_t *config)
{
    thrum_transfer_info_t info = {.size = 0};
    char line[512];
    const int fd = call(port);
    const int n = snprintf(line, sizeof line, "get %s\n", name);
    must(n > 0 && (size_t)n < sizeof line && strchr(name, '\n') == NULL ? 0 : EINVAL);
    must(thrum_io_write_full(fd, line, (size_t)n, NULL, thrum_after(THRUM_S(10))));
    const int err = thrum_transfer_receive(fd, folder, config, &info);
    report("get", err, &info);
    must(thrum_io_close(fd));
    return err;
}

/* ------------------------------------------------------------------------------------------------
 * The test of itself
 */

#define SIZE 2500000

static void make_file(const char *path)
{
    FILE *f = fopen(path, "w");
    must(f != NULL ? 0 : errno);
    for (int i = 0; i < SIZE; i++)
        putc(i * 7 + i / 1000, f);
    must(fclose(f) == 0 ? 0 : errno);
}

static bool are_the_same(const char *one, const char *other)
{
    FILE *a = fopen(one, "r");
    FILE *b = fopen(other, "r");
    must(a != NULL && b != NULL ? 0 : errno);
    int x = getc(a);
    int y = getc(b);
    while (x == y && x != EOF) {
        x = getc(a);
        y = getc(b);
    }
    fclose(a);
    fclose(b);
    return x == y;
}

static int stop_midway(void *ctx, const thrum_transfer_info_t *info)
{
    (void)ctx;
    return info->done > SIZE / 2 ? ECANCELED : 0;
}

static void test(unsigned port, const char *one, const char *back, const char *folder)
{
    int shown = -1;
    thrum_transfer_config_t config = THRUM_TRANSFER_CONFIG_INIT;
    config.progress = show_bar;
    config.ctx = &shown;
    (void)put(port, one, &config);
    (void)put(port, one, &config); /* it is there */
    (void)get(port, "none", folder, &config);
    (void)get(port, "../one", folder, &config);
    config.progress = stop_midway;
    (void)get(port, "one", folder, &config);
    config.progress = NULL;
    thrum_transfer_info_t info;
    const int fd = call(port);
    must(thrum_io_write_full(fd, "get one\n", 8, NULL, thrum_after(THRUM_S(10))));
    must(thrum_transfer_receive(fd, folder, &config, &info));
    must(thrum_io_close(fd));
    printf("taken up again %s the middle: %s\n", info.from > SIZE / 2 ? "behind" : "before",
           are_the_same(one, back) ? "it is the same" : "it is another");
}

static void test_itself(void)
{
    char root[] = "/tmp/file_server_XXXXXX";
    char one[64], served[64], stored[64], got[64], back[64];
    thrum_server_t *server = NULL;
    must(mkdtemp(root) != NULL ? 0 : errno);
    snprintf(one, sizeof one, "%s/one", root);
    snprintf(served, sizeof served, "%s/served", root);
    snprintf(stored, sizeof stored, "%s/served/one", root);
    snprintf(got, sizeof got, "%s/got", root);
    snprintf(back, sizeof back, "%s/got/one", root);
    must(mkdir(served, 0700) == 0 && mkdir(got, 0700) == 0 ? 0 : errno);
    make_file(one);
    create(&server, "0", served, false);
    must(thrum_server_start(server));
    test(thrum_server_port(server), one, back, got);
    must(thrum_server_stop(server, thrum_after(THRUM_S(10))));
    thrum_server_destroy(server);
    must(unlink(one) == 0 && unlink(stored) == 0 && unlink(back) == 0 ? 0 : errno);
    must(rmdir(served) == 0 && rmdir(got) == 0 && rmdir(root) == 0 ? 0 : errno);
}

int main(int argc, char **argv)
{
    int shown = -1;
    thrum_transfer_config_t config = THRUM_TRANSFER_CONFIG_INIT;
    config.max_size = SIZE_MOST;
    config.progress = show_bar;
    config.ctx = &shown;
    if (argc == 3)
        return run(argv[1], argv[2]);
    if (argc != 4) {
        test_itself();
        return 0;
    }
    const unsigned port = (unsigned)strtoul(argv[1], NULL, 10);
    return strcmp(argv[2], "put") == 0 ? put(port, argv[3], &config)
                                       : get(port, argv[3], ".", &config);
}
