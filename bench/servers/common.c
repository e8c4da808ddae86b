#include "common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

void fail(const char *what, int err)
{
    fprintf(stderr, "%s%s%s\n", what, err != 0 ? ": " : "", err != 0 ? strerror(err) : "");
    exit(EXIT_FAILURE);
}

void must(bool ok, const char *what)
{
    if (!ok)
        fail(what, errno);
}

int listen_on_loopback(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0, "socket");
    must(bind(fd, (struct sockaddr *)&addr, sizeof addr) == 0, "bind");
    must(listen(fd, BACKLOG) == 0, "listen");
    return fd;
}

void announce_port(unsigned port)
{
    printf("%u\n", port);
    fflush(stdout);
}

void announce(int listener)
{
    struct sockaddr_in addr;
    socklen_t size = sizeof addr;
    must(getsockname(listener, (struct sockaddr *)&addr, &size) == 0, "getsockname");
    announce_port(ntohs(addr.sin_port));
}

void raise_descriptor_limit(void)
{
    struct rlimit limit;
    must(getrlimit(RLIMIT_NOFILE, &limit) == 0, "getrlimit");
    limit.rlim_cur = limit.rlim_max;
    must(setrlimit(RLIMIT_NOFILE, &limit) == 0, "setrlimit");
}

static void *watch_input(void *arg)
{
    char byte;
    (void)arg;
    while (read(STDIN_FILENO, &byte, 1) > 0) {
    }
    _exit(0);
}

void end_with_input(void)
{
    pthread_t watcher;
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int err = pthread_create(&watcher, NULL, watch_input, NULL);
    if (err != 0)
        fail("pthread_create", err);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    signal(SIGPIPE, SIG_IGN);
}

void send_at_once(int fd)
{
    const int on = 1;
    must(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0, "TCP_NODELAY");
}

const char *argument(int argc, char **argv, const char *name, const char *otherwise)
{
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return argv[i + 1];
    return otherwise;
}
