#include <sys/mman.h>
#include <sys/resource.h>

#include "process/programs.h"

TestSuite(pipe, .timeout = 60);

struct couple {
    thrum_pipe_t *a;
    thrum_pipe_t *b;
};

static struct couple couple(void)
{
    struct couple c = {NULL, NULL};
    EXPECT_CALL(0, thrum_pipe_create(&c.a, &c.b));
    cr_assert(c.a != NULL && c.b != NULL);
    return c;
}

static void part(struct couple c)
{
    thrum_pipe_destroy(c.a);
    thrum_pipe_destroy(c.b);
}

static void fill(thrum_pipe_t *p)
{
    int err = 0;
    while (err == 0)
        err = thrum_pipe_trysend(p, "fill", 4);
    cr_expect_eq(err, EAGAIN);
}

#define EXPECT_RECEIVED(p, text)                                                                   \
    do {                                                                                           \
        char received_text[64] = "";                                                               \
        size_t received_size = 0;                                                                  \
        EXPECT_CALL(0, thrum_pipe_recv_until(p, received_text, sizeof received_text - 1,           \
                                             &received_size, PATIENCE));                           \
        cr_expect_str_eq(received_text, text);                                                     \
        cr_expect_eq(received_size, strlen(text));                                                 \
    } while (0)

/* --- messages ---------------------------------------------------------------------------------------------- */

static void talk_both_ways(void)
{
    struct couple c = couple();
    EXPECT_CALL(0, thrum_pipe_send(c.a, "one", 3));
    EXPECT_CALL(0, thrum_pipe_trysend(c.a, "", 0));
    EXPECT_CALL(0, thrum_pipe_send_until(c.a, "three", 5, PAST));
    EXPECT_CALL(0, thrum_pipe_send(c.b, "back", 4));
    EXPECT_RECEIVED(c.b, "one");
    EXPECT_RECEIVED(c.b, "");
    EXPECT_RECEIVED(c.b, "three");
    EXPECT_RECEIVED(c.a, "back");
    part(c);
}

Test(pipe, carries_messages_both_ways)
{
    in_every_strand(talk_both_ways);
}

static void wait_in_three_forms(void)
{
    struct couple c = couple();
    char text[8];
    size_t size = 99;
    EXPECT_CALL(EAGAIN, thrum_pipe_tryrecv(c.a, text, sizeof text, &size));
    EXPECT_CALL(ETIMEDOUT, thrum_pipe_recv_until(c.a, text, sizeof text, &size, PAST));
    EXPECT_CALL(ETIMEDOUT, thrum_pipe_recv_until(c.a, text, sizeof text, &size, SOON));
    cr_expect_eq(size, 99u, "left alone");
    fill(c.a);
    EXPECT_CALL(EAGAIN, thrum_pipe_trysend(c.a, "more", 4));
    EXPECT_CALL(ETIMEDOUT, thrum_pipe_send_until(c.a, "more", 4, PAST));
    EXPECT_CALL(ETIMEDOUT, thrum_pipe_send_until(c.a, "more", 4, SOON));
    unsigned n = 0;
    while (thrum_pipe_tryrecv(c.b, text, sizeof text, &size) == 0) {
        cr_expect(size == 4 && memcmp(text, "fill", 4) == 0, "nothing of what was not sent");
        n++;
    }
    cr_expect_gt(n, 50u);
    EXPECT_CALL(0, thrum_pipe_send(c.a, "again", 5));
    EXPECT_RECEIVED(c.b, "again");
    part(c);
}

Test(pipe, waits_in_three_forms)
{
    in_every_strand(wait_in_three_forms);
}

static void carry_all_sizes(void)
{
    static const size_t sizes[] = {0,     1,     4095,   4096,   65519,   65520,   65521,
                                   65536, 65537, 131072, 300000, 1 << 20, 10 << 20};
    char *data = noise(10 << 20);
    char *buf = malloc(10 << 20);
    struct couple c = couple();
    const int before = count_descriptors();
    cr_assert_not_null(buf);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t size = 0;
        EXPECT_CALL(0, thrum_pipe_send(c.a, data, sizes[i]));
        if (sizes[i] != 0) {
            EXPECT_CALL(EMSGSIZE, thrum_pipe_recv(c.b, NULL, 0, &size)); /* asks */
            EXPECT_CALL(EMSGSIZE, thrum_pipe_tryrecv(c.b, buf, sizes[i] - 1, &size));
            cr_expect_eq(size, sizes[i]);
        }
        EXPECT_CALL(0, thrum_pipe_recv(c.b, buf, sizes[i], &size));
        cr_expect(size == sizes[i] && memcmp(buf, data, size) == 0, "%zu", sizes[i]);
    }
    cr_expect_eq(count_descriptors(), before);
    part(c);
    free(buf);
    free(data);
}

Test(pipe, carries_messages_of_any_size)
{
    in_every_strand(carry_all_sizes);
}

/* Only few of them are under way, however large they are. */
Test(pipe, does_not_take_large_ones_without_end)
{
    const size_t size = 4 << 20;
    char *data = noise(size);
    struct couple c = couple();
    unsigned n = 0;
    while (n < 100 && thrum_pipe_trysend(c.a, data, size) == 0)
        n++;
    cr_expect(n >= 1 && n <= 16, "%u", n);
    EXPECT_CALL(ETIMEDOUT, thrum_pipe_send_until(c.a, data, size, SOON));
    for (unsigned i = 0; i < n; i++) {
        size_t got = 0;
        memset(data, 0, size);
        EXPECT_CALL(0, thrum_pipe_recv(c.b, data, size, &got));
        cr_expect_eq(got, size);
    }
    EXPECT_CALL(EAGAIN, thrum_pipe_tryrecv(c.b, data, size, NULL));
    part(c);
    free(data);
}

/* --- descriptors --------------------------------------------------------------------------------------------- */

static void pass_descriptors(void)
{
    struct couple c = couple();
    char text[16];
    size_t size = 0;
    int got[4] = {-1, -1, -1, -1};
    size_t n = 4;
    settle();
    const int before = count_descriptors();
    struct ends e = pipe_pair();
    EXPECT_CALL(0, thrum_pipe_send_fds(c.a, "two", 3, e.fd, 2, PATIENCE));
    close_ends(e);
    n = 1;
    EXPECT_CALL(EMSGSIZE, thrum_pipe_recv_fds(c.b, text, sizeof text, &size, got, &n, PATIENCE));
    cr_expect(n == 2 && size == 3, "what it needs");
    n = 4;
    EXPECT_CALL(0, thrum_pipe_recv_fds(c.b, text, sizeof text, &size, got, &n, PATIENCE));
    cr_expect(n == 2 && size == 3 && got[2] == -1);
    cr_expect(fcntl(got[0], F_GETFD) == FD_CLOEXEC && fcntl(got[1], F_GETFD) == FD_CLOEXEC);
    cr_expect(write(got[1], "x", 1) == 1 && read(got[0], text, 1) == 1 && text[0] == 'x');
    close(got[0]);
    close(got[1]);
    cr_expect_eq(count_descriptors(), before);
    part(c);
}

Test(pipe, carries_descriptors)
{
    in_every_strand(pass_descriptors);
}

Test(pipe, carries_many_descriptors_and_large_messages_at_once)
{
    const size_t size = 1 << 20;
    char *data = noise(size);
    char *buf = malloc(size);
    int sent[THRUM_PIPE_FDS_MAX];
    int got[THRUM_PIPE_FDS_MAX];
    size_t n = THRUM_PIPE_FDS_MAX;
    size_t received = 0;
    struct couple c = couple();
    cr_assert_not_null(buf);
    for (int i = 0; i < THRUM_PIPE_FDS_MAX; i++)
        sent[i] = 1;
    const int before = count_descriptors();
    EXPECT_CALL(0, thrum_pipe_send_fds(c.a, data, size, sent, n, PATIENCE));
    EXPECT_CALL(0, thrum_pipe_recv_fds(c.b, buf, size, &received, got, &n, PATIENCE));
    cr_expect(n == THRUM_PIPE_FDS_MAX && received == size && memcmp(buf, data, size) == 0);
    for (size_t i = 0; i < n; i++)
        close(got[i]);
    /* Who does not want them does not get them. */
    EXPECT_CALL(0, thrum_pipe_send_fds(c.a, "plain", 5, sent, n, PATIENCE));
    EXPECT_CALL(0, thrum_pipe_send_fds(c.a, data, size, sent, n, PATIENCE));
    EXPECT_RECEIVED(c.b, "plain");
    EXPECT_CALL(0, thrum_pipe_recv(c.b, buf, size, &received));
    cr_expect(received == size && memcmp(buf, data, size) == 0);
    n = 0;
    EXPECT_CALL(0, thrum_pipe_send_fds(c.a, "none", 4, NULL, 0, PATIENCE));
    EXPECT_CALL(0, thrum_pipe_recv_fds(c.b, buf, size, &received, NULL, &n, PATIENCE));
    cr_expect_eq(received, 4u);
    cr_expect_eq(count_descriptors(), before);
    part(c);
    free(buf);
    free(data);
}

/* --- the peer's end ------------------------------------------------------------------------------------------- */

static void lose_the_peer(void)
{
    struct couple c = couple();
    char text[16];
    size_t size = 0;
    EXPECT_CALL(0, thrum_pipe_send(c.a, "last", 4));
    EXPECT_CALL(0, thrum_pipe_send(c.b, "never read", 10));
    thrum_pipe_destroy(c.a);
    EXPECT_CALL(EPIPE, thrum_pipe_send(c.b, "x", 1));
    EXPECT_CALL(EPIPE, thrum_pipe_trysend(c.b, "x", 1));
    EXPECT_RECEIVED(c.b, "last");
    EXPECT_CALL(ESHUTDOWN, thrum_pipe_recv(c.b, text, sizeof text, &size));
    EXPECT_CALL(ESHUTDOWN, thrum_pipe_tryrecv(c.b, text, sizeof text, &size));
    EXPECT_CALL(ESHUTDOWN, thrum_pipe_recv_until(c.b, text, sizeof text, &size, PAST));
    EXPECT_CALL(EPIPE, thrum_pipe_send_until(c.b, "x", 1, PAST));
    thrum_pipe_destroy(c.b);
    /* The other way round: the receiver hears first of what it has not read. */
    c = couple();
    EXPECT_CALL(0, thrum_pipe_send(c.b, "never read", 10));
    EXPECT_CALL(0, thrum_pipe_send(c.a, "last", 4));
    thrum_pipe_destroy(c.a);
    EXPECT_RECEIVED(c.b, "last");
    EXPECT_CALL(ESHUTDOWN, thrum_pipe_recv(c.b, text, sizeof text, &size));
    thrum_pipe_destroy(c.b);
}

Test(pipe, a_peer_that_is_gone_is_an_error_at_once)
{
    in_every_strand(lose_the_peer);
}

static int receive_call(void *arg)
{
    char text[16];
    return thrum_pipe_recv(arg, text, sizeof text, NULL);
}

static int send_call(void *arg)
{
    return thrum_pipe_send(arg, "more", 4);
}

static void await_waiter(const thrum_pipe_t *p)
{
    while (waiting_on(thrum_pipe_fd(p)) == 0)
        sched_yield();
}

Test(pipe, those_that_wait_are_told_that_the_peer_is_gone)
{
    struct couple c = couple();
    struct caller sender;
    struct caller receiver;
    fill(c.b);
    caller_start(&sender, send_call, c.b);
    await_waiter(c.b);
    caller_start(&receiver, receive_call, c.b);
    while (waiting_on(thrum_pipe_fd(c.b)) < 2)
        sched_yield();
    thrum_pipe_destroy(c.a);
    cr_expect_eq(caller_join(&sender), EPIPE);
    cr_expect_eq(caller_join(&receiver), ESHUTDOWN);
    thrum_pipe_destroy(c.b);
}

Test(pipe, closing_tells_all)
{
    struct couple c = couple();
    struct caller here;
    struct caller there;
    char text[16];
    EXPECT_CALL(0, thrum_pipe_send(c.b, "before", 6));
    const int copy = dup(thrum_pipe_fd(c.a)); /* which does not keep it open */
    caller_start(&there, receive_call, c.b);
    await_waiter(c.b);
    thrum_pipe_close(c.a);
    cr_expect_eq(caller_join(&there), ESHUTDOWN);
    EXPECT_CALL(EPIPE, thrum_pipe_send(c.b, "x", 1));
    EXPECT_CALL(ESHUTDOWN, thrum_pipe_send(c.a, "x", 1));
    EXPECT_RECEIVED(c.a, "before");
    EXPECT_CALL(ESHUTDOWN, thrum_pipe_recv(c.a, text, sizeof text, NULL));
    part(c);
    close(copy);
    c = couple();
    caller_start(&here, receive_call, c.a);
    await_waiter(c.a);
    thrum_pipe_close(c.a);
    cr_expect_eq(caller_join(&here), ESHUTDOWN);
    part(c);
}

/* --- strands --------------------------------------------------------------------------------------------------- */

static int receive_in_coroutine(void *arg, void **result)
{
    (void)result;
    return receive_call(arg);
}

static int cancel_receiver(void *arg, void **result)
{
    struct couple c = couple();
    thrum_coro_t *co = spawned(receive_in_coroutine, c.a);
    (void)arg, (void)result;
    thrum_yield();
    EXPECT_CALL(0, thrum_coro_cancel(co));
    EXPECT_CALL(ECANCELED, thrum_coro_join(co, NULL));
    thrum_coro_release(co);
    EXPECT_CALL(0, thrum_pipe_send(c.b, "later", 5)); /* has taken nothing */
    EXPECT_RECEIVED(c.a, "later");
    part(c);
    return 0;
}

Test(pipe, a_cancelled_receive_takes_nothing)
{
    cr_expect_eq(in_loop(cancel_receiver, NULL), 0);
}

enum { SENDERS = 3, RECEIVERS = 3, MESSAGES = 400 };

struct crowd {
    struct couple c;
    uint32_t next;
    uint32_t sum;
    uint32_t received;
};

static size_t length_for(uint32_t number)
{
    return number % 50 == 0 ? 100000 + number : 4 + number % 5000;
}

static int send_some(void *arg)
{
    struct crowd *crowd = arg;
    static const char zeros[200000];
    char *text = malloc(sizeof zeros);
    int err = text != NULL ? 0 : ENOMEM;
    for (int i = 0; err == 0 && i < MESSAGES; i++) {
        const uint32_t number = thi_fetch_add_relaxed(&crowd->next, 1u);
        memset(text, (int)(number & 0xff), length_for(number));
        memcpy(text, &number, sizeof number);
        err = thrum_pipe_send(crowd->c.a, text, length_for(number));
    }
    free(text);
    return err;
}

static bool is_whole(const char *text, size_t size, uint32_t *number)
{
    memcpy(number, text, sizeof *number);
    bool whole = size == length_for(*number);
    for (size_t i = sizeof *number; whole && i < size; i++)
        whole = (unsigned char)text[i] == (*number & 0xff);
    return whole;
}

static int receive_some(void *arg)
{
    struct crowd *crowd = arg;
    char *text = malloc(200000);
    int err = text != NULL ? 0 : ENOMEM;
    while (err == 0) {
        size_t size = 0;
        uint32_t number = 0;
        err = thrum_pipe_recv(crowd->c.b, text, 200000, &size);
        if (err == 0 && !is_whole(text, size, &number))
            err = EPROTO;
        if (err == 0) {
            thi_fetch_add_relaxed(&crowd->sum, number);
            thi_fetch_add_relaxed(&crowd->received, 1u);
        }
    }
    free(text);
    return err;
}

static int as_coroutine(void *arg, void **result)
{
    (void)result;
    return receive_some(arg);
}

static int receive_in_loop(void *arg)
{
    return thrum_run(as_coroutine, arg, NULL);
}

Test(pipe, many_strands_use_both_ends)
{
    struct crowd crowd = {.c = couple()};
    struct caller senders[SENDERS];
    struct caller receivers[RECEIVERS];
    for (int i = 0; i < RECEIVERS; i++)
        caller_start(&receivers[i], i == 0 ? receive_in_loop : receive_some, &crowd);
    for (int i = 0; i < SENDERS; i++)
        caller_start(&senders[i], send_some, &crowd);
    for (int i = 0; i < SENDERS; i++)
        cr_expect_eq(caller_join(&senders[i]), 0);
    thrum_pipe_close(crowd.c.a); /* what was sent is received */
    for (int i = 0; i < RECEIVERS; i++)
        cr_expect_eq(caller_join(&receivers[i]), ESHUTDOWN);
    const uint32_t n = SENDERS * MESSAGES;
    cr_expect_eq(crowd.received, n);
    cr_expect_eq(crowd.sum, n * (n - 1) / 2);
    part(crowd.c);
}

/* --- processes -------------------------------------------------------------------------------------------------- */

static void echo_in_child(struct couple c)
{
    static char text[1 << 20];
    size_t size = 0;
    thrum_pipe_destroy(c.a);
    int err = 0;
    while (err == 0) {
        err = thrum_pipe_recv(c.b, text, sizeof text, &size);
        if (err == 0)
            err = thrum_pipe_send(c.b, text, size);
    }
    _exit(err == ESHUTDOWN ? 0 : 1);
}

Test(pipe, works_between_processes)
{
    struct couple c = couple();
    const size_t size = 1 << 20;
    char *data = noise(size);
    int status = 0;
    const pid_t pid = fork();
    if (pid == 0)
        echo_in_child(c);
    thrum_pipe_destroy(c.b);
    for (size_t part_size = 1; part_size <= size; part_size *= 4) {
        size_t got = 0;
        char *buf = malloc(part_size);
        EXPECT_CALL(0, thrum_pipe_send_until(c.a, data, part_size, PATIENCE));
        EXPECT_CALL(0, thrum_pipe_recv_until(c.a, buf, part_size, &got, PATIENCE));
        cr_expect(got == part_size && memcmp(buf, data, got) == 0);
        free(buf);
    }
    thrum_pipe_destroy(c.a);
    cr_expect(waitpid(pid, &status, 0) == pid && status == 0);
    free(data);
}

/* A program that knows the library gets an end by its number; here it is this process's own copy of it. */
Test(pipe, is_opened_from_a_descriptor)
{
    struct couple c = couple();
    thrum_pipe_t *p = NULL;
    EXPECT_CALL(0, thrum_pipe_open(&p, dup(thrum_pipe_fd(c.b))));
    cr_expect_eq(fcntl(thrum_pipe_fd(p), F_GETFD), FD_CLOEXEC);
    thrum_pipe_destroy(c.b);
    EXPECT_CALL(0, thrum_pipe_send(c.a, "to the copy", 11));
    EXPECT_RECEIVED(p, "to the copy");
    c.b = p;
    part(c);
}

/* Killed while it sends large messages: those that came are whole, and then it is over. */
static void be_killed(int round)
{
    struct couple c = couple();
    const size_t size = 300000;
    char *buf = malloc(size);
    const pid_t pid = fork();
    cr_assert_not_null(buf);
    if (pid == 0) {
        thrum_pipe_destroy(c.a);
        for (unsigned i = 0;; i++) {
            memset(buf, (int)(i & 0xff), size);
            if (thrum_pipe_send(c.b, buf, i % 2 == 0 ? size : 60000) != 0)
                _exit(1);
        }
    }
    thrum_pipe_destroy(c.b);
    int err = 0;
    for (unsigned i = 0; err == 0; i++) {
        size_t got = 0;
        err = thrum_pipe_recv_until(c.a, buf, size, &got, PATIENCE);
        if (err == 0) {
            bool whole = got == (i % 2 == 0 ? size : 60000);
            for (size_t k = 0; whole && k < got; k++)
                whole = (unsigned char)buf[k] == (i & 0xff);
            cr_assert(whole, "a part, or out of order: %u", i);
        }
        if (i == (unsigned)round % 7) {
            for (int pause = 0; pause < round * 500; pause++)
                thi_cpu_pause();
            kill(pid, SIGKILL);
        }
    }
    cr_expect_eq(err, ESHUTDOWN);
    EXPECT_CALL(EPIPE, thrum_pipe_send(c.a, "x", 1));
    cr_expect_eq(waitpid(pid, NULL, 0), pid);
    thrum_pipe_destroy(c.a);
    free(buf);
}

Test(pipe, a_peer_killed_in_the_middle_of_a_message_shows_no_part_of_it)
{
    for (int round = 0; round < 60; round++)
        be_killed(round);
}

/* A fork while another thread receives. */
static uint32_t forking_over;

static void *receive_all_the_time(void *arg)
{
    char text[16];
    while (thi_load_relaxed(&forking_over) == 0) {
        if (thrum_pipe_tryrecv(arg, text, sizeof text, NULL) != EAGAIN)
            abort();
    }
    return NULL;
}

static int receive_in_child(void *arg)
{
    char text[16];
    return thrum_pipe_tryrecv(arg, text, sizeof text, NULL) == EAGAIN ? 0 : 1;
}

Test(pipe, can_be_received_from_after_a_fork_in_the_midst_of_a_receive)
{
    struct couple c = couple();
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, receive_all_the_time, c.a), 0);
    for (int i = 0; i < 300; i++)
        cr_expect_eq(child_run(receive_in_child, c.a), 0);
    thi_store_relaxed(&forking_over, 1u);
    pthread_join(thread, NULL);
    part(c);
}

/* --- errors ------------------------------------------------------------------------------------------------------- */

Test(pipe, bad_arguments_are_refused)
{
    struct couple c = couple();
    struct couple other = {NULL, NULL};
    struct ends e = stream_pair();
    char text[4];
    int fds[1] = {987};
    size_t n = 1;
    EXPECT_CALL(EINVAL, thrum_pipe_create(NULL, &other.b));
    EXPECT_CALL(EINVAL, thrum_pipe_create(&other.a, NULL));
    EXPECT_CALL(EINVAL, thrum_pipe_open(NULL, e.fd[0]));
    EXPECT_CALL(EINVAL, thrum_pipe_open(&other.a, e.fd[0]));
    EXPECT_CALL(EINVAL, thrum_pipe_open(&other.a, 0));
    EXPECT_CALL(EBADF, thrum_pipe_open(&other.a, 987));
    EXPECT_CALL(EBADF, thrum_pipe_open(&other.a, -1));
    EXPECT_CALL(EINVAL, thrum_pipe_send(NULL, "x", 1));
    EXPECT_CALL(EINVAL, thrum_pipe_send(c.a, NULL, 1));
    EXPECT_CALL(EINVAL, thrum_pipe_trysend(c.a, NULL, 1));
    EXPECT_CALL(EINVAL, thrum_pipe_recv(NULL, text, 1, NULL));
    EXPECT_CALL(EINVAL, thrum_pipe_recv(c.a, NULL, 1, NULL));
    EXPECT_CALL(EINVAL, thrum_pipe_tryrecv(NULL, text, 1, NULL));
    EXPECT_CALL(EINVAL, thrum_pipe_tryrecv(c.a, NULL, 1, NULL));
    EXPECT_CALL(EINVAL, thrum_pipe_send_fds(c.a, "x", 1, NULL, 1, PAST));
    EXPECT_CALL(EINVAL, thrum_pipe_send_fds(c.a, "x", 1, fds, THRUM_PIPE_FDS_MAX + 1, PAST));
    EXPECT_CALL(EINVAL, thrum_pipe_recv_fds(c.a, text, 1, NULL, fds, NULL, PAST));
    EXPECT_CALL(EINVAL, thrum_pipe_recv_fds(c.a, text, 1, NULL, NULL, &n, PAST));
    EXPECT_CALL(EBADF, thrum_pipe_send_fds(c.a, "x", 1, fds, 1, PATIENCE));
    EXPECT_CALL(EAGAIN, thrum_pipe_tryrecv(c.b, text, 4, NULL));
    cr_expect_eq(thrum_pipe_fd(NULL), -1);
    thrum_pipe_destroy(NULL);
    close_ends(e);
    part(c);
}

/* As a packet of the library looks, to be spoilt. */
struct packet {
    uint32_t magic;
    uint32_t fds;
    uint64_t size;
    char data[64];
};

static void send_packet(int fd, const struct packet *packet, size_t size, const int *fds, size_t n)
{
    struct iovec iov = {(void *)(uintptr_t)packet, size};
    cr_expect_eq(thi_packet_send(fd, &iov, 1, fds, n), 0);
}

static int memory_file(size_t size, int seals)
{
    const int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, (off_t)size) != 0 || fcntl(fd, F_ADD_SEALS, seals) != 0)
        abort();
    return fd;
}

Test(pipe, what_is_no_message_is_refused_and_the_next_one_comes)
{
    enum { ALL_SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };
    struct couple c = couple();
    struct ends e = pipe_pair();
    struct packet good = {0};
    char text[200];
    const int fd = thrum_pipe_fd(c.a);
    EXPECT_CALL(0, thrum_pipe_send(c.a, "12345678", 8));
    size_t length = 0;
    const struct iovec iov = {&good, sizeof good};
    cr_assert(thi_packet_take(thrum_pipe_fd(c.b), &iov, 1, &length) == 0 && length == 24);
    const int files[] = {e.fd[0], memory_file(100, F_SEAL_SEAL), memory_file(99, ALL_SEALS),
                         memory_file(101, ALL_SEALS),
                         memory_file(100, F_SEAL_SEAL | F_SEAL_SHRINK)};
    const int before = count_descriptors();
    for (int i = 0; i < 16; i++) {
        struct packet bad = good;
        size_t size = 24;
        const int *fds = NULL;
        size_t n = 0;
        if (i < 3)
            size = (size_t)i * 7; /* 0, 7, 14: no head */
        else if (i == 3)
            bad.magic ^= 0x100;
        else if (i == 4)
            size = 25; /* more than it says */
        else if (i == 5)
            bad.size = 9; /* less, and no file with the rest */
        else if (i == 6)
            bad.fds = THRUM_PIPE_FDS_MAX + 1;
        else if (i == 7)
            bad.size = 7;
        else if (i < 13)
            bad.size = 108, fds = &files[i - 8],
            n = 1; /* no file, or not for good, or another size */
        else
            fds = files, n = 5, bad.size = 7 - (uint64_t)(i - 13);
        send_packet(fd, &bad, size, fds, n);
        EXPECT_CALL(0, thrum_pipe_send(c.a, "good", 4));
        EXPECT_CALL(EBADMSG, thrum_pipe_recv_until(c.b, text, sizeof text, &length, PATIENCE));
        EXPECT_RECEIVED(c.b, "good");
        cr_expect_eq(count_descriptors(), before, "%d", i);
    }
    /* Descriptors that were announced and are not there; and those that were not announced. */
    struct packet odd = good;
    int got[5];
    size_t n = 5;
    odd.fds = 2;
    send_packet(fd, &odd, 24, files, 1);
    EXPECT_CALL(EBADMSG, thrum_pipe_recv_fds(c.b, text, sizeof text, &length, got, &n, PATIENCE));
    send_packet(fd, &good, 24, files, 5);
    n = 5;
    EXPECT_CALL(0, thrum_pipe_recv_fds(c.b, text, sizeof text, &length, got, &n, PATIENCE));
    cr_expect(n == 0 && length == 8);
    cr_expect_eq(count_descriptors(), before);
    for (int i = 1; i < 5; i++)
        close(files[i]);
    close_ends(e);
    part(c);
}

/* A peer makes up a size that nobody has room for: it does not stay the next message for ever. */
Test(pipe, a_size_without_so_many_bytes_is_refused)
{
    enum { ALL_SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };
    static const uint64_t sizes[] = {UINT64_MAX, UINT64_C(1) << 62, 1000};
    struct couple c = couple();
    struct packet packet = {.magic = 0x316d7274u};
    char text[200];
    size_t length = 0;
    const int fd = thrum_pipe_fd(c.a);
    const int files[] = {memory_file(99, ALL_SEALS), memory_file(992, F_SEAL_SEAL),
                         memory_file(992, ALL_SEALS)};
    const int before = count_descriptors();
    for (int i = 0; i < 9; i++) { /* without a file, with a short one, with one that may change */
        packet.size = sizes[i % 3];
        send_packet(fd, &packet, 24, &files[i / 6], i >= 3);
        EXPECT_CALL(0, thrum_pipe_send(c.a, "good", 4));
        EXPECT_CALL(EBADMSG, thrum_pipe_recv_until(c.b, text, sizeof text, &length, PATIENCE));
        EXPECT_RECEIVED(c.b, "good");
        cr_expect_eq(count_descriptors(), before, "%d", i);
    }
    send_packet(fd, &packet, 24, &files[2], 1); /* one that has them */
    for (int i = 0; i < 2; i++)
        EXPECT_CALL(EMSGSIZE, thrum_pipe_recv_until(c.b, text, sizeof text, &length, PATIENCE));
    cr_expect_eq(length, 1000u);
    cr_expect_eq(count_descriptors(), before);
    for (int i = 0; i < 3; i++)
        close(files[i]);
    part(c);
}

static int send_beyond_the_limit(void *arg)
{
    const struct rlimit little = {4096, 4096};
    const struct couple *c = arg;
    static char much[200000];
    signal(SIGXFSZ, SIG_DFL);
    if (setrlimit(RLIMIT_FSIZE, &little) != 0)
        return 1;
    return thrum_pipe_send(c->a, much, sizeof much) == ENOMEM &&
                   thrum_pipe_send(c->a, much, 1000) == 0
               ? 0
               : 2;
}

/* What does not fit into a packet is in a file, which may be too large for the process. */
Test(pipe, a_limit_of_files_is_an_error)
{
    struct couple c = couple();
    char text[1000];
    size_t size = 0;
    cr_expect_eq(child_run(send_beyond_the_limit, &c), 0);
    EXPECT_CALL(0, thrum_pipe_tryrecv(c.b, text, sizeof text, &size));
    cr_expect_eq(size, 1000u);
    part(c);
}

/* Whatever bytes a peer sends: an error, a wait or a message, and nothing stays open. */
Test(pipe, survives_noise)
{
    struct couple c = couple();
    const int fd = thrum_pipe_fd(c.a);
    struct packet packet;
    char text[128];
    uint32_t state = 7;
    const int before = count_descriptors();
    for (int i = 0; i < 20000; i++) {
        const int error = 2;
        size_t length = 0;
        memset(&packet, 0, sizeof packet);
        for (size_t k = 0; k < sizeof packet; k++) {
            state = state * 1664525u + 1013904223u;
            ((char *)&packet)[k] = (char)(state >> 24);
        }
        if (state % 8 != 0)
            packet.magic = 0x316d7274u;
        if (state % 4 != 0)
            packet.fds = (state >> 8) % 3;
        if (state % 16 != 0)
            packet.size = (state >> 12) % 100;
        send_packet(fd, &packet, (state >> 4) % (sizeof packet + 1), &error, (state >> 20) % 2);
        int got[4];
        size_t n = 4;
        const int err = state % 3 == 0
                            ? thrum_pipe_tryrecv(c.b, text, sizeof text, &length)
                            : thrum_pipe_recv_fds(c.b, text, sizeof text, &length, got, &n, PAST);
        if (state % 3 != 0 && err == 0) {
            for (size_t k = 0; k < n; k++)
                close(got[k]);
        }
        cr_assert(err == 0 || err == EBADMSG || err == EMSGSIZE, "%s", expect_name(err));
        if (err == EMSGSIZE) { /* take it away */
            const struct iovec iov = {text, sizeof text};
            cr_assert_eq(thi_packet_take(thrum_pipe_fd(c.b), &iov, 1, &length), 0);
        }
        EXPECT_CALL(EAGAIN, thrum_pipe_tryrecv(c.b, text, sizeof text, &length));
    }
    cr_expect_eq(count_descriptors(), before);
    part(c);
}
