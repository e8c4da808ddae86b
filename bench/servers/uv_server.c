/* libuv's streams, as its own examples use them: a buffer from malloc for each read, given back after the write. */
#include <stdlib.h>
#include <uv.h>

#include "common.h"

struct reply {
    uv_write_t write;
    char *data;
};

static void allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)handle;
    *buf = uv_buf_init(malloc(suggested), (unsigned)suggested);
}

static void closed(uv_handle_t *handle)
{
    free(handle);
}

static void written(uv_write_t *write, int status)
{
    struct reply *reply = (struct reply *)write;
    (void)status;
    free(reply->data);
    free(reply);
}

static void heard(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    if (n > 0) {
        struct reply *reply = malloc(sizeof *reply);
        uv_buf_t data = uv_buf_init(buf->base, (unsigned)n);
        must(reply != NULL, "malloc");
        reply->data = buf->base;
        must(uv_write(&reply->write, stream, &data, 1, written) == 0, "uv_write");
        return;
    }
    free(buf->base);
    if (n < 0)
        uv_close((uv_handle_t *)stream, closed);
}

static void connected(uv_stream_t *listener, int status)
{
    uv_tcp_t *tcp = malloc(sizeof *tcp);
    must(status == 0 && tcp != NULL, "connection");
    uv_tcp_init(listener->loop, tcp);
    must(uv_accept(listener, (uv_stream_t *)tcp) == 0, "uv_accept");
    uv_tcp_nodelay(tcp, 1);
    must(uv_read_start((uv_stream_t *)tcp, allocate, heard) == 0, "uv_read_start");
}

int main(void)
{
    static uv_tcp_t listener;
    raise_descriptor_limit();
    end_with_input();
    const int fd = listen_on_loopback();
    uv_tcp_init(uv_default_loop(), &listener);
    must(uv_tcp_open(&listener, fd) == 0, "uv_tcp_open");
    must(uv_listen((uv_stream_t *)&listener, BACKLOG, connected) == 0, "uv_listen");
    announce(fd);
    return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
