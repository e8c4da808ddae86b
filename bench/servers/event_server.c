/* libevent: events for reading, with recv and send by hand; with `--buffers yes` its bufferevents. */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"

static struct event_base *base;

/* ---- plain events ---- */

static void readable(evutil_socket_t fd, short what, void *arg)
{
    struct event **event = arg;
    char data[1024];
    const ssize_t n = recv(fd, data, sizeof data, 0);
    (void)what;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0 && send(fd, data, (size_t)n, MSG_NOSIGNAL) == n)
        return;
    event_free(*event);
    free(event);
    close(fd);
}

static void serve_events(int fd)
{
    struct event **event = malloc(sizeof *event);
    must(event != NULL, "malloc");
    *event = event_new(base, fd, EV_READ | EV_PERSIST, readable, event);
    must(*event != NULL && event_add(*event, NULL) == 0, "event_add");
}

/* ---- bufferevents ---- */

static void buffered(struct bufferevent *stream, void *arg)
{
    (void)arg;
    bufferevent_write_buffer(stream, bufferevent_get_input(stream));
}

static void ended(struct bufferevent *stream, short what, void *arg)
{
    (void)what, (void)arg;
    bufferevent_free(stream);
}

static void serve_buffers(int fd)
{
    struct bufferevent *stream = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
    must(stream != NULL, "bufferevent_socket_new");
    bufferevent_setcb(stream, buffered, NULL, ended, NULL);
    must(bufferevent_enable(stream, EV_READ | EV_WRITE) == 0, "bufferevent_enable");
}

static void connected(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *addr,
                      int size, void *serve)
{
    void (*const *start)(int fd) = serve;
    (void)listener, (void)addr, (void)size;
    send_at_once(fd);
    (*start)(fd);
}

int main(int argc, char **argv)
{
    const bool buffers = strcmp(argument(argc, argv, "--buffers", "no"), "yes") == 0;
    void (*start)(int fd) = buffers ? serve_buffers : serve_events;
    raise_descriptor_limit();
    end_with_input();
    base = event_base_new();
    must(base != NULL, "event_base_new");
    const int fd = listen_on_loopback();
    must(evutil_make_socket_nonblocking(fd) == 0, "nonblocking");
    must(evconnlistener_new(base, connected, &start, LEV_OPT_CLOSE_ON_EXEC, 0, fd) != NULL,
         "evconnlistener_new");
    announce(fd);
    return event_base_dispatch(base);
}
