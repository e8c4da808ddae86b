/*
 * The floor: one thread, a loop of epoll written by hand, level-triggered. `--protocol http` answers whatever comes with
 * the hello page, without looking at it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"

static void take_connection(int poller, int listener)
{
    const int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (fd < 0)
        return;
    send_at_once(fd);
    must(epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
}

/* What is sent fits into the socket's buffer: the other side waits for it. */
static void answer(int fd, bool http)
{
    char data[1024];
    const ssize_t n = recv(fd, data, sizeof data, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0) {
        const size_t size = http ? sizeof HELLO - 1 : (size_t)n;
        if (send(fd, http ? HELLO : data, size, MSG_NOSIGNAL) == (ssize_t)size)
            return;
    }
    close(fd);
}

int main(int argc, char **argv)
{
    const bool http = strcmp(argument(argc, argv, "--protocol", "echo"), "http") == 0;
    struct epoll_event events[256];
    raise_descriptor_limit();
    end_with_input();
    const int listener = listen_on_loopback();
    const int poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    must(poller >= 0 && epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event) == 0, "epoll");
    announce(listener);
    for (;;) {
        const int n = epoll_wait(poller, events, 256, -1);
        for (int i = 0; i < n; i++)
            if (events[i].data.fd == listener)
                take_connection(poller, listener);
            else
                answer(events[i].data.fd, http);
    }
}
