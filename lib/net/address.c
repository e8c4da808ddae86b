/*
 * Addresses of servers and peers, as text; sockets that listen there. No names are looked up.
 */
#include <arpa/inet.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <netinet/in.h>
#include <netinet/tcp.h>

#include "net/server.h"

#include "os/os.h"

#define UNIX "unix:"
#define HOST_MAX 64

/* ------------------------------------------------------------------------------------------------
 * From text
 */

static int parse_unix(const char *path, thi_address_t *address)
{
    struct sockaddr_un *name = (struct sockaddr_un *)&address->name;
    const size_t length = strlen(path);
    if (length == 0)
        return EINVAL;
    if (length >= sizeof name->sun_path)
        return ENAMETOOLONG;
    name->sun_family = AF_UNIX;
    memcpy(name->sun_path, path, length);
    address->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
    if (path[0] == '@') { /* abstract: a zero, and no zero behind */
        name->sun_path[0] = '\0';
        address->length--;
    }
    return 0;
}

static int parse_port(const char *text, in_port_t *port)
{
    char *end = NULL;
    if (*text < '0' || *text > '9')
        return EINVAL;
    const unsigned long number = strtoul(text, &end, 10);
    if (*end != '\0' || number > UINT16_MAX)
        return EINVAL;
    *port = htons((uint16_t)number);
    return 0;
}

static int parse_inet(const char *host, in_port_t port, thi_address_t *address)
{
    struct sockaddr_in *four = (struct sockaddr_in *)&address->name;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&address->name;
    if (strcmp(host, "*") == 0) {
        address->both = true;
        host = "[::]";
    } else if (strcmp(host, "localhost") == 0) {
        host = "127.0.0.1";
    }
    const size_t length = strlen(host);
    if (host[0] == '[' && host[length - 1] == ']') {
        char bare[HOST_MAX] = "";
        memcpy(bare, host + 1, length - 2);
        six->sin6_family = AF_INET6;
        six->sin6_port = port;
        address->length = sizeof *six;
        return inet_pton(AF_INET6, bare, &six->sin6_addr) == 1 ? 0 : EINVAL;
    }
    four->sin_family = AF_INET;
    four->sin_port = port;
    address->length = sizeof *four;
    return inet_pton(AF_INET, host, &four->sin_addr) == 1 ? 0 : EINVAL;
}

int thi_address_parse(const char *text, thi_address_t *address)
{
    char host[HOST_MAX] = "";
    in_port_t port = 0;
    memset(address, 0, sizeof *address);
    if (strncmp(text, UNIX, strlen(UNIX)) == 0)
        return parse_unix(text + strlen(UNIX), address);
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon == text || (size_t)(colon - text) >= sizeof host ||
        parse_port(colon + 1, &port) != 0)
        return EINVAL;
    memcpy(host, text, (size_t)(colon - text));
    return parse_inet(host, port, address);
}

/* ------------------------------------------------------------------------------------------------
 * To text
 */

static size_t unix_text(const thi_address_t *address, char *text, size_t size)
{
    const struct sockaddr_un *name = (const struct sockaddr_un *)&address->name;
    const size_t before = offsetof(struct sockaddr_un, sun_path);
    const size_t length = address->length > before ? address->length - before : 0;
    if (length == 0)
        return (size_t)snprintf(text, size, UNIX);
    if (name->sun_path[0] == '\0')
        return (size_t)snprintf(text, size, UNIX "@%.*s", (int)length - 1, name->sun_path + 1);
    return (size_t)snprintf(text, size, UNIX "%.*s", (int)length, name->sun_path);
}

size_t thi_address_text(const thi_address_t *address, char *text, size_t size)
{
    const struct sockaddr_in *four = (const struct sockaddr_in *)&address->name;
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)&address->name;
    char host[HOST_MAX] = "";
    switch (address->name.ss_family) {
    case AF_INET:
        (void)inet_ntop(AF_INET, &four->sin_addr, host, sizeof host);
        return (size_t)snprintf(text, size, "%s:%u", host, ntohs(four->sin_port));
    case AF_INET6:
        (void)inet_ntop(AF_INET6, &six->sin6_addr, host, sizeof host);
        return (size_t)snprintf(text, size, "[%s]:%u", host, ntohs(six->sin6_port));
    case AF_UNIX:
        return unix_text(address, text, size);
    default:
        return (size_t)snprintf(text, size, "?");
    }
}

/* ------------------------------------------------------------------------------------------------
 * Sockets
 */

static void set(int fd, int level, int option, int value)
{
    (void)setsockopt(fd, level, option, &value, sizeof value);
}

/* A socket in a file system that nobody listens on any more: what a process left that was killed. */
static bool is_left_over(const thi_address_t *address, int type)
{
    const struct sockaddr_un *name = (const struct sockaddr_un *)&address->name;
    struct stat info;
    if (name->sun_family != AF_UNIX || name->sun_path[0] == '\0' ||
        lstat(name->sun_path, &info) != 0 || !S_ISSOCK(info.st_mode))
        return false;
    const int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const bool refused = fd >= 0 &&
                         connect(fd, (const struct sockaddr *)name, address->length) != 0 &&
                         errno == ECONNREFUSED;
    if (fd >= 0)
        thi_fd_close(fd);
    return refused;
}

static int bind_to(int fd, const thi_address_t *address, int type)
{
    const struct sockaddr *name = (const struct sockaddr *)&address->name;
    if (bind(fd, name, address->length) == 0)
        return 0;
    if (errno != EADDRINUSE || !is_left_over(address, type))
        return errno;
    (void)unlink(((const struct sockaddr_un *)&address->name)->sun_path);
    return bind(fd, name, address->length) == 0 ? 0 : errno;
}

static int prepare(int fd, const thi_address_t *address, const thrum_server_config_t *config,
                   int type)
{
    if (address->name.ss_family == AF_INET6)
        set(fd, IPPROTO_IPV6, IPV6_V6ONLY, !address->both);
    if (!config->datagram)
        set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (config->reuse_port)
        thi_fd_share_address(fd);
    if (address->name.ss_family != AF_UNIX && !config->datagram && !config->nagle)
        set(fd, IPPROTO_TCP, TCP_NODELAY, 1); /* connections inherit it */
    const int err = bind_to(fd, address, type);
    if (err != 0 || config->datagram)
        return err;
    return listen(fd, config->backlog) == 0 ? 0 : errno;
}

static int listen_there(const thi_address_t *address, const thrum_server_config_t *config, int *fd)
{
    const int type = config->datagram ? SOCK_DGRAM : SOCK_STREAM;
    const int flags = SOCK_CLOEXEC | SOCK_NONBLOCK;
    *fd = socket(address->name.ss_family, type | flags, 0);
    if (*fd < 0)
        return errno;
    const int err = prepare(*fd, address, config, type);
    if (err != 0)
        thi_fd_close(*fd);
    return err;
}

int thi_address_listen(const thi_address_t *address, const thrum_server_config_t *config, int *fd)
{
    const int saved = errno;
    int err = listen_there(address, config, fd);
    if ((err == EAFNOSUPPORT || err == EADDRNOTAVAIL) &&
        address->both) { /* a system without IPv6 */
        thi_address_t four = {.length = sizeof(struct sockaddr_in)};
        struct sockaddr_in *name = (struct sockaddr_in *)&four.name;
        name->sin_family = AF_INET;
        name->sin_port = ((const struct sockaddr_in6 *)&address->name)->sin6_port;
        err = listen_there(&four, config, fd);
    }
    errno = saved;
    return err;
}
