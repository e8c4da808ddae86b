#ifndef TESTS_COROUTINE_STREAMS_H
#define TESTS_COROUTINE_STREAMS_H

/*
 * Streams with a peer, and coroutines that use them.
 */

#include <sys/socket.h>

#include "coroutine/sockets.h"
#include "coroutine/stream.h"

/* A stream of the current loop, and the descriptor of its peer. */
struct link {
    thi_stream_t stream;
    int peer;
    /* what a coroutine has seen last */
    int err;
    size_t n;
    char byte;
    thrum_time_t deadline;
};

static inline struct ends tcp_pair(void)
{
    struct sockaddr_in addr;
    struct ends e;
    const int fd = listener(&addr);
    e.fd[1] = socket(AF_INET, SOCK_STREAM, 0);
    if (e.fd[1] < 0 || connect(e.fd[1], (struct sockaddr *)&addr, sizeof addr) != 0)
        abort();
    e.fd[0] = accept(fd, NULL, NULL);
    if (e.fd[0] < 0)
        abort();
    close(fd);
    return e;
}

static inline void link_open(struct link *l, struct ends e)
{
    *l = (struct link){.peer = e.fd[1], .deadline = THRUM_FOREVER};
    EXPECT_CALL(0, thi_stream_open(&l->stream, thrum_loop_current(), e.fd[0]));
}

static inline void link_close(struct link *l)
{
    thi_stream_close(&l->stream);
    if (l->peer >= 0)
        close(l->peer);
}

/* Runs fn as a coroutine with a stream of TCP, and with one that is a Unix socket. */
static inline int with_links_main(void *arg, void **result)
{
    void (*fn)(struct link * l) = *(void (**)(struct link *))arg;
    struct link l;
    (void)result;
    link_open(&l, tcp_pair());
    fn(&l);
    link_close(&l);
    link_open(&l, stream_pair());
    fn(&l);
    link_close(&l);
    return 0;
}

static inline void with_links(void (*fn)(struct link *l))
{
    cr_expect_eq(in_loop(with_links_main, &fn), 0);
}

static inline void peer_sends(const struct link *l, const char *text)
{
    cr_expect_eq(send(l->peer, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* The next byte, into the link. */
static inline int read_link(void *arg, void **result)
{
    struct link *l = arg;
    (void)result;
    l->n = 0;
    l->err = thi_stream_recv(&l->stream, &l->byte, 1, &l->n, l->deadline);
    return l->err;
}

static inline int fill_link(void *arg, void **result) /* until it may not */
{
    static const char much[65536];
    struct link *l = arg;
    size_t sent = 0;
    int err = 0;
    (void)result;
    while (err == 0) {
        err = thi_stream_send(&l->stream, much, sizeof much, &sent, l->deadline);
        l->n += err == 0 ? sent : 0;
    }
    return err;
}

/* Lets others run until a coroutine waits for that direction. */
static inline void await_waiter(const struct link *l, int direction)
{
    while (l->stream.waits[direction == THI_POLL_OUT] == NULL)
        thrum_yield();
}

static inline thrum_coro_t *waiting_reader(struct link *l)
{
    thrum_coro_t *co = spawned(read_link, l);
    await_waiter(l, THI_POLL_IN);
    return co;
}

static inline thrum_coro_t *waiting_writer(struct link *l)
{
    l->n = 0;
    thrum_coro_t *co = spawned(fill_link, l);
    await_waiter(l, THI_POLL_OUT);
    return co;
}

static inline void expect_joined(thrum_coro_t *co, int expected)
{
    EXPECT_CALL(expected, thrum_coro_join(co, NULL));
    thrum_coro_release(co);
}

/* Expects the text to come, however it is cut. */
static inline void expect_text(struct link *l, const char *text)
{
    for (size_t i = 0; text[i] != '\0'; i++) {
        EXPECT_CALL(0, read_link(l, NULL));
        cr_expect(l->n == 1 && l->byte == text[i], "%c for %c", l->byte, text[i]);
    }
}

#endif /* TESTS_COROUTINE_STREAMS_H */
