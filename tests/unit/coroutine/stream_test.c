#include "coroutine/streams.h"

#include <sys/uio.h>

#include "os/fault.h"

TestSuite(stream, .timeout = 30);

/* --- reading ------------------------------------------------------------------------------------------ */

static void read_in_pieces(struct link *l)
{
    char buf[8] = "";
    size_t n = 0;
    peer_sends(l, "hello");
    EXPECT_CALL(0, thi_stream_recv(&l->stream, buf, 3, &n, THRUM_FOREVER));
    cr_expect(n == 3 && memcmp(buf, "hel", 3) == 0);
    EXPECT_CALL(0, thi_stream_recv(&l->stream, buf, sizeof buf, &n, THRUM_FOREVER));
    cr_expect(n == 2 && memcmp(buf, "lo", 2) == 0);
    EXPECT_CALL(ETIMEDOUT, thi_stream_recv(&l->stream, buf, sizeof buf, &n, PAST));
    peer_sends(l, "again");
    EXPECT_CALL(0, thi_stream_recv(&l->stream, buf, sizeof buf, &n, THRUM_FOREVER));
    cr_expect(n == 5 && memcmp(buf, "again", 5) == 0);
}

Test(stream, gives_what_is_there)
{
    with_links(read_in_pieces);
}

static void read_later(struct link *l)
{
    thrum_coro_t *co = waiting_reader(l);
    cr_expect_eq(l->stream.ready & THI_POLL_IN, 0, "nothing to be asked for");
    peer_sends(l, "x");
    expect_joined(co, 0);
    cr_expect_eq(l->byte, 'x');
}

Test(stream, wakes_who_waits_for_bytes)
{
    with_links(read_later);
}

static void pass_bytes(struct link *l)
{
    for (int i = 0; i < 1000; i++) {
        thrum_coro_t *co = spawned(read_link, l);
        if (i % 2 == 0)
            await_waiter(l, THI_POLL_IN);
        peer_sends(l, "x");
        expect_joined(co, 0);
        cr_expect_eq(l->n, 1u);
    }
}

Test(stream, misses_nothing_that_comes_before_or_after_a_wait)
{
    with_links(pass_bytes);
}

/* --- how it ends -------------------------------------------------------------------------------------- */

static void end_with_bytes(struct link *l)
{
    char buf[8] = "";
    size_t n = 0;
    peer_sends(l, "bye");
    close(l->peer);
    l->peer = -1;
    thrum_sleep(THRUM_US(100)); /* both are told in one report */
    EXPECT_CALL(0, thi_stream_recv(&l->stream, buf, sizeof buf, &n, THRUM_FOREVER));
    cr_expect_eq(n, 3u);
    for (int i = 0; i < 2; i++) {
        EXPECT_CALL(0, thi_stream_recv(&l->stream, buf, sizeof buf, &n, THRUM_FOREVER));
        cr_expect_eq(n, 0u);
    }
}

Test(stream, an_end_right_behind_the_last_bytes_is_seen)
{
    with_links(end_with_bytes);
}

static void end_later(struct link *l)
{
    peer_sends(l, "x");
    expect_text(l, "x");
    thrum_coro_t *co = waiting_reader(l);
    close(l->peer);
    l->peer = -1;
    expect_joined(co, 0);
    cr_expect_eq(l->n, 0u);
}

Test(stream, an_end_wakes_who_reads)
{
    with_links(end_later);
}

static void half_close(struct link *l)
{
    char c = 0;
    size_t n = 0;
    shutdown(l->peer, SHUT_WR);
    EXPECT_CALL(0, read_link(l, NULL));
    cr_expect_eq(l->n, 0u);
    EXPECT_CALL(0, thi_stream_send(&l->stream, "y", 1, &n, THRUM_FOREVER));
    cr_expect_eq(n, 1u);
    cr_expect_eq(recv(l->peer, &c, 1, 0), 1);
    cr_expect_eq(c, 'y');
}

Test(stream, whoever_sends_no_more_may_still_be_answered)
{
    with_links(half_close);
}

static int reset(void *arg, void **result)
{
    const struct linger now = {.l_onoff = 1, .l_linger = 0};
    struct link l;
    size_t n = 0;
    (void)arg, (void)result;
    link_open(&l, tcp_pair());
    thrum_coro_t *co = waiting_reader(&l);
    setsockopt(l.peer, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(l.peer);
    l.peer = -1;
    expect_joined(co, ECONNRESET);
    EXPECT_CALL(EPIPE, thi_stream_send(&l.stream, "x", 1, &n, THRUM_FOREVER));
    link_close(&l);
    return 0;
}

Test(stream, a_reset_is_an_error_and_no_signal)
{
    cr_expect_eq(in_loop(reset, NULL), 0);
}

static int urgent(void *arg, void **result)
{
    struct link l;
    (void)arg, (void)result;
    for (int waits = 0; waits < 2; waits++) {
        link_open(&l, tcp_pair());
        thrum_coro_t *co = waits != 0 ? waiting_reader(&l) : NULL;
        peer_sends(&l, "a");
        cr_expect_eq(send(l.peer, "bU", 2, MSG_OOB), 2);
        peer_sends(&l, "cd");
        if (co != NULL)
            expect_joined(co, 0);
        expect_text(&l, co != NULL ? "bcd" : "abcd");
        link_close(&l);
    }
    return 0;
}

Test(stream, urgent_bytes_hide_nothing)
{
    cr_expect_eq(in_loop(urgent, NULL), 0);
}

static void send_with_descriptor(int fd, char byte)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = {&byte, 1};
    struct msghdr message = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    memset(&control, 0, sizeof control);
    control.head = (struct cmsghdr){
        .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.head), &fd, sizeof fd);
    cr_expect_eq(sendmsg(fd, &message, MSG_NOSIGNAL), 1);
}

/* A read ends behind each message that has one. */
static int descriptors(void *arg, void **result)
{
    struct link l;
    char buf[8];
    size_t all = 0;
    size_t n = 1;
    (void)arg, (void)result;
    link_open(&l, stream_pair());
    for (char c = 'a'; c < 'd'; c++)
        send_with_descriptor(l.peer, c);
    for (int i = 0; i < 3 && all < 3; i++) {
        EXPECT_CALL(0, thi_stream_recv(&l.stream, buf, sizeof buf, &n, THRUM_FOREVER));
        all += n;
    }
    cr_expect_eq(all, 3u);
    link_close(&l);
    return 0;
}

Test(stream, reads_that_descriptors_cut_short_are_gone_on_with)
{
    cr_expect_eq(in_loop(descriptors, NULL), 0);
}

/* --- writing ------------------------------------------------------------------------------------------ */

static size_t drain(int fd)
{
    static char buf[65536];
    size_t all = 0;
    ssize_t n = 0;
    while ((n = recv(fd, buf, sizeof buf, MSG_DONTWAIT)) > 0)
        all += (size_t)n;
    return all;
}

static void fill_and_drain(struct link *l)
{
    size_t all = 0;
    thrum_coro_t *co = waiting_writer(l);
    const size_t before = l->n;
    cr_expect_gt(before, 0u);
    while (l->n <= before) { /* it goes on */
        all += drain(l->peer);
        thrum_yield();
    }
    EXPECT_CALL(0, thrum_coro_cancel(co));
    expect_joined(co, ECANCELED); /* when it is full again */
    while (all < l->n) {
        thrum_yield();
        all += drain(l->peer);
    }
    cr_expect_eq(all, l->n);
}

Test(stream, a_writer_goes_on_when_there_is_room)
{
    with_links(fill_and_drain);
}

static void write_vector(struct link *l)
{
    struct iovec iov[] = {{(void *)(uintptr_t) "ab", 2}, {(void *)(uintptr_t) "cde", 3}};
    char buf[8] = "";
    size_t n = 0;
    EXPECT_CALL(0, thi_stream_sendv(&l->stream, iov, 2, &n, THRUM_FOREVER));
    cr_expect_eq(n, 5u);
    cr_expect_eq(recv(l->peer, buf, sizeof buf, 0), 5);
    cr_expect_eq(memcmp(buf, "abcde", 5), 0);
    thrum_coro_t *co = waiting_writer(l);
    EXPECT_CALL(0, thrum_coro_cancel(co));
    expect_joined(co, ECANCELED);
    EXPECT_CALL(ETIMEDOUT, thi_stream_sendv(&l->stream, iov, 2, &n, PAST));
}

Test(stream, vectors_are_written)
{
    with_links(write_vector);
}

/* What the peer sends comes in while what it does not take keeps another coroutine. */
static void both_ways(struct link *l)
{
    thrum_coro_t *writer = waiting_writer(l);
    const size_t written = l->n;
    for (int i = 0; i < 100; i++) {
        thrum_coro_t *reader = waiting_reader(l);
        peer_sends(l, "x");
        expect_joined(reader, 0);
        cr_expect_eq(l->n, 1u);
    }
    cr_expect_not(thrum_coro_done(writer));
    l->n = 0;
    while (l->n == 0) {
        cr_expect_leq(drain(l->peer), written);
        thrum_yield();
    }
    EXPECT_CALL(0, thrum_coro_cancel(writer));
    expect_joined(writer, ECANCELED);
}

Test(stream, one_reads_while_another_writes)
{
    with_links(both_ways);
}

static void wait_then_look(struct link *l)
{
    char c = 0;
    cr_expect_eq(recv(l->stream.fd, &c, 1, MSG_DONTWAIT), -1);
    EXPECT_CALL(ETIMEDOUT, thi_stream_wait(&l->stream, THI_POLL_IN, PAST));
    peer_sends(l, "z");
    EXPECT_CALL(0, thi_stream_wait(&l->stream, THI_POLL_IN, THRUM_FOREVER));
    cr_expect_eq(recv(l->stream.fd, &c, 1, MSG_DONTWAIT), 1);
    cr_expect_eq(c, 'z');
    thrum_coro_t *co = waiting_writer(l);
    EXPECT_CALL(0, thrum_coro_cancel(co));
    expect_joined(co, ECANCELED);
    drain(l->peer);
    EXPECT_CALL(0, thi_stream_wait(&l->stream, THI_POLL_OUT, THRUM_FOREVER));
}

Test(stream, whoever_calls_the_system_may_wait)
{
    with_links(wait_then_look);
}

/* --- others ------------------------------------------------------------------------------------------- */

static int count_turns(void *arg, void **result)
{
    unsigned *turns = arg;
    (void)result;
    for (;; ++*turns) {
        thrum_yield();
        if (thrum_cancelled())
            return ECANCELED;
    }
}

static void never_wait(struct link *l)
{
    static char much[1000];
    unsigned turns = 0;
    cr_expect_eq(send(l->peer, much, sizeof much, 0), (ssize_t)sizeof much);
    EXPECT_CALL(0, read_link(l, NULL));
    thrum_coro_t *co = spawned(count_turns, &turns);
    for (size_t i = 1; i < sizeof much; i++)
        EXPECT_CALL(0, read_link(l, NULL));
    cr_expect_gt(turns, 5u);
    EXPECT_CALL(0, thrum_coro_cancel(co));
    expect_joined(co, ECANCELED);
}

Test(stream, whoever_never_waits_lets_others_run)
{
    with_links(never_wait);
}

static void dump(struct link *l)
{
    char *text = NULL;
    size_t size = 0;
    thrum_coro_t *co = waiting_reader(l);
    FILE *out = open_memstream(&text, &size);
    thrum_dump_waiters(out);
    fclose(out);
    cr_expect_not_null(strstr(text, "descriptor to read from"), "%s", text);
    free(text);
    peer_sends(l, "x");
    expect_joined(co, 0);
}

Test(stream, the_dump_tells_who_waits_for_one)
{
    with_links(dump);
}

static void io_beside(struct link *l)
{
    struct io_call args = {.fd = l->stream.fd, .deadline = THRUM_FOREVER};
    struct io_coro c = {wait_call, &args};
    for (int i = 0; i < 3; i++) {
        thrum_coro_t *other = spawned(io_coro_main, &c);
        thrum_coro_t *co = waiting_reader(l);
        while (waiting_on(l->stream.fd) == 0)
            thrum_yield();
        peer_sends(l, "x");
        expect_joined(co, 0);
        peer_sends(l, "x"); /* the reader may have been faster */
        expect_joined(other, 0);
        expect_text(l, "x");
    }
    peer_sends(l, "y");
    EXPECT_CALL(0, thrum_io_wait(l->stream.fd, THRUM_IO_IN, THRUM_FOREVER));
    c.call = read_call;
    expect_joined(spawned(io_coro_main, &c), 0);
    thrum_coro_t *other = spawned(io_coro_main, &c);
    while (waiting_on(l->stream.fd) == 0)
        thrum_yield();
    peer_sends(l, "z");
    expect_joined(other, 0);
    peer_sends(l, "s");
    expect_text(l, "s");
}

Test(stream, calls_for_any_descriptor_may_wait_for_it)
{
    with_links(io_beside);
}

/* --- what cannot be a stream --------------------------------------------------------------------------- */

static int refused(void *arg, void **result)
{
    struct ends e = stream_pair();
    thi_stream_t s = {0};
    size_t n = 0;
    (void)arg, (void)result;
    thi_stream_close(&s);
    cr_expect_eq(thi_stream_release(&s), -1);
    cr_expect_not(thi_stream_wake(&s));
    EXPECT_CALL(EBADF, thi_stream_open(&s, thrum_loop_current(), -1));
    EXPECT_CALL(EBADF, thi_stream_open(&s, thrum_loop_current(), 12345));
    EXPECT_CALL(EBADF, thi_stream_send(&s, "x", 1, &n, THRUM_FOREVER));
    EXPECT_CALL(EBADF, thi_stream_recv(&s, &(char){0}, 1, &n, THRUM_FOREVER));
    const int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    EXPECT_CALL(EPERM, thi_stream_open(&s, thrum_loop_current(), file));
    close(file);
    thi_fault_arm(THI_FAULT_ALLOC, 1);
    EXPECT_CALL(ENOMEM, thi_stream_open(&s, thrum_loop_current(), 1 << 20));
    thi_fault_arm(THI_FAULT_ALLOC, 0);
    EXPECT_CALL(0, thi_stream_open(&s, thrum_loop_current(), e.fd[0]));
    thi_stream_close(&s);
    thi_stream_close(&s);
    close(e.fd[1]);
    return 0;
}

Test(stream, what_cannot_be_one_is_refused)
{
    cr_expect_eq(in_loop(refused, NULL), 0);
}

static int open_only(void *arg, void **result)
{
    (void)result;
    link_open(arg, stream_pair());
    return 0;
}

/* Its owner ought to have closed it. */
Test(stream, without_its_loop_it_is_of_no_use)
{
    struct link l;
    thrum_loop_t *loop = NULL;
    size_t n = 0;
    EXPECT_CALL(0, thrum_loop_create(&loop, NULL));
    EXPECT_CALL(0, thrum_loop_go(loop, NULL, open_only, &l, NULL));
    EXPECT_CALL(0, thrum_loop_run(loop));
    EXPECT_CALL(EINVAL, thi_stream_recv(&l.stream, &l.byte, 1, &n, THRUM_FOREVER));
    thrum_loop_destroy(loop);
    EXPECT_CALL(EOWNERDEAD, thi_stream_recv(&l.stream, &l.byte, 1, &n, THRUM_FOREVER));
    link_close(&l);
}
