/*
 * No memory, pages, descriptors, or no child: a subprocess is started whole or not at all, what it says is lost
 * only with an error, and nothing of it stays.
 */
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "fault/counted.h"
#include "support/left_behind.h"

TestSuite(subprocess, .timeout = 60);

static bool is_shortage(int err)
{
    return err == ENOMEM || err == EMFILE || err == EAGAIN || err == ENOSYS;
}

static bool came(thi_fault_t kind)
{
    for (int i = 0; i < 1000; i++) {
        if (thi_fault(kind))
            return false;
    }
    return true;
}

/* One that has pipes, /dev/null and an environment of its own, and says more than it is first given room for. */
static int run_program(void *arg)
{
    static const char *const argv[] = {"sh", "-c", "cat; echo $A", NULL};
    static const char *const changes[] = {"A=B", NULL};
    static char input[20000];
    thrum_subprocess_config_t config = THRUM_SUBPROCESS_CONFIG_INIT;
    thrum_output_t output = {0};
    (void)arg;
    config.in.kind = THRUM_STREAM_PIPE;
    config.out.kind = THRUM_STREAM_PIPE;
    config.err.kind = THRUM_STREAM_NULL;
    config.env_changes = changes;
    memset(input, 'x', sizeof input);
    const int err = thrum_subprocess_run(argv, &config, input, sizeof input, SIZE_MAX,
                                         thrum_after(THRUM_S(20)), &output);
    if (err == 0)
        NEED(output.code == 0 && output.out_size == sizeof input + 2 &&
             memcmp(output.out, input, sizeof input) == 0);
    else
        NEED(is_shortage(err));
    thrum_output_free(&output);
    return 0;
}

static int run_in_coroutine(void *arg, void **result)
{
    (void)result;
    return run_program(arg);
}

static int run_in_loop(void *arg)
{
    const int err = thrum_run(run_in_coroutine, arg, NULL);
    return is_shortage(err) ? 0 : err;
}

/* A program that could not be waited for in such need is taken away by the next one. */
static void sweep(void)
{
    static const char *const argv[] = {"true", NULL};
    while (has_children()) {
        thrum_output_t output;
        if (thrum_subprocess_run(argv, NULL, NULL, 0, 0, THRUM_FOREVER, &output) != 0)
            abort();
        thrum_output_free(&output);
    }
}

/* What is not as it should be is written, and counted. */
static int wrong(thi_fault_t kind, unsigned nth, const char *what, int line)
{
    fprintf(stderr, "kind %d, the %u.: %s %d\n", (int)kind, nth, what, line);
    return 1;
}

static int fail(int (*body)(void *arg), thi_fault_t kind, unsigned nth, bool *failed)
{
    const int saved = errno;
    const int before = count_descriptors();
    thi_fault_arm(kind, nth);
    const int line = body(NULL);
    *failed = came(kind);
    thi_fault_arm(kind, 0);
    sweep();
    errno = saved;
    if (line != 0)
        return wrong(kind, nth, "line", line);
    return count_descriptors() > before
               ? wrong(kind, nth, "descriptors left", count_descriptors() - before)
               : 0;
}

/* The first, second, ... call fails, until none is left to fail: at least `least` times. */
static int fail_each(int (*body)(void *arg), thi_fault_t kind, unsigned least)
{
    unsigned nth = 0;
    bool failed = true;
    int bad = 0;
    while (failed && nth < 200)
        bad += fail(body, kind, ++nth, &failed);
    return bad + (nth > least ? 0 : wrong(kind, nth, "so few", (int)least));
}

static int fail_all(int (*body)(void *arg))
{
    int bad = 0;
    bool failed = false;
    for (int kind = 0; kind < THI_FAULT_KINDS; kind++) {
        if (kind != THI_FAULT_EXIT_INFO && kind != THI_FAULT_INTERRUPT) /* a wait without end */
            bad += fail(body, (thi_fault_t)kind, THI_FAULT_ALWAYS, &failed);
    }
    return bad;
}

static int walk(void *arg)
{
    int (*const bodies[])(void *) = {run_program, run_in_loop};
    int bad = 0;
    int never[2];
    (void)arg;
    NEED(pipe(never) == 0); /* a wait, for what a thread opens for good */
    NEED(thrum_io_wait(never[0], THRUM_IO_IN, SOON) == ETIMEDOUT);
    for (int i = 0; i < 2; i++) {
        bodies[i](NULL);
        bad += fail_each(bodies[i], THI_FAULT_ALLOC, 4);
        bad += fail_each(bodies[i], THI_FAULT_PIPE, 2);
        bad += fail_each(bodies[i], THI_FAULT_OPEN, 1);
        bad += fail_each(bodies[i], THI_FAULT_FORK, 1);
        bad += fail_each(bodies[i], THI_FAULT_PIDFD, 1);
        bad += fail_each(bodies[i], THI_FAULT_WAIT, 1);
        bad += fail_each(bodies[i], THI_FAULT_INTERRUPT, 0);
        bad += fail_each(bodies[i], THI_FAULT_PAGES, 1);
        bad += fail_each(bodies[i], THI_FAULT_CLOSE_RANGE, 1);
        bad += fail_each(bodies[i], THI_FAULT_SIGNAL, 0);
        bad += fail_all(bodies[i]);
    }
    thi_fd_close(never[0]);
    thi_fd_close(never[1]);
    return bad;
}

Test(subprocess, is_started_whole_or_not_at_all, .init = count_memory)
{
    run_alone(walk, NULL);
}

/* --- pipes of messages ----------------------------------------------------------------------------------- */

enum { LARGE = 200000 };

static int send_and_receive(void *arg)
{
    static char text[LARGE];
    static char back[LARGE];
    thrum_pipe_t *a = NULL;
    thrum_pipe_t *b = NULL;
    int err = thrum_pipe_create(&a, &b);
    size_t size = 0;
    int fd = -1;
    size_t n = 1;
    (void)arg;
    NEED((err == 0) == (a != NULL) && (err == 0) == (b != NULL));
    if (err != 0)
        return is_shortage(err) ? 0 : __LINE__;
    memset(text, 'm', sizeof text);
    text[0]++;
    err = thrum_pipe_send_fds(a, text, sizeof text, (int[]){2}, 1, THRUM_FOREVER);
    if (err != 0) { /* nothing was sent */
        NEED(is_shortage(err) && thrum_pipe_tryrecv(b, back, sizeof back, &size) == EAGAIN);
    } else {
        err = thrum_pipe_recv_fds(b, back, sizeof back, &size, &fd, &n, THRUM_FOREVER);
        NEED(err == 0 || err == EMFILE);
        if (err != 0) { /* it is still there */
            thi_fault_arm(THI_FAULT_RECEIVE, 0);
            NEED(n == 1 && thrum_pipe_recv_fds(b, back, sizeof back, &size, &fd, &n, 1) == 0);
        }
        NEED(n == 1 && size == sizeof text && memcmp(text, back, size) == 0);
        thi_fd_close(fd);
    }
    thrum_pipe_destroy(a);
    thrum_pipe_destroy(b);
    return 0;
}

static int walk_pipes(void *arg)
{
    (void)arg;
    int bad = fail_each(send_and_receive, THI_FAULT_SOCKETPAIR, 1);
    bad += fail_each(send_and_receive, THI_FAULT_ALLOC, 2);
    bad += fail_each(send_and_receive, THI_FAULT_MEMFD, 1);
    thi_fault_arm(THI_FAULT_RECEIVE, 1);
    bad += send_and_receive(NULL);
    return bad + fail_all(send_and_receive);
}

Test(subprocess, a_message_is_sent_whole_or_not_at_all, .init = count_memory)
{
    run_alone(walk_pipes, NULL);
}

/* No number is left for what comes: the message waits until there is one. */
Test(subprocess, a_message_waits_for_room_for_its_descriptors)
{
    thrum_pipe_t *a = NULL;
    thrum_pipe_t *b = NULL;
    char text[8];
    size_t size = 0;
    int fds[3];
    size_t n = 3;
    int taken[256];
    int count = 0;
    const struct rlimit few = {256, 256};
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    cr_assert_eq(thrum_pipe_create(&a, &b), 0);
    cr_assert_eq(thrum_pipe_send_fds(a, "three", 5, (int[]){0, 1, 2}, 3, THRUM_FOREVER), 0);
    while (count < 256 && (taken[count] = dup(2)) >= 0)
        count++;
    close(taken[--count]);
    close(taken[--count]); /* two are not enough */
    cr_expect_eq(thrum_pipe_recv_fds(b, text, sizeof text, &size, fds, &n, THRUM_FOREVER), EMFILE);
    cr_expect_eq(n, 3u);
    close(taken[--count]);
    cr_expect_eq(thrum_pipe_recv_fds(b, text, sizeof text, &size, fds, &n, THRUM_FOREVER), 0);
    cr_expect(n == 3 && size == 5);
    for (size_t i = 0; i < 3; i++)
        close(fds[i]);
    while (count > 0)
        close(taken[--count]);
    thrum_pipe_destroy(a);
    thrum_pipe_destroy(b);
}
