#include "process/programs.h"

TestSuite(communicate, .timeout = 60);

enum { MUCH = 10 << 20 };

static const char *const cat_argv[] = {"cat", NULL};

/* --- both ways ------------------------------------------------------------------------------------------- */

static void cat_much(void)
{
    char *data = noise(MUCH);
    thrum_output_t output;
    EXPECT_CALL(0, thrum_subprocess_run(cat_argv, NULL, data, MUCH, SIZE_MAX, PATIENCE, &output));
    cr_expect(output.ended && output.code == 0);
    cr_expect_eq(output.written, (size_t)MUCH);
    cr_expect_eq(output.out_size, (size_t)MUCH);
    cr_expect(memcmp(output.out, data, MUCH) == 0 && output.out[MUCH] == '\0');
    cr_expect_str_eq(output.err, "");
    thrum_output_free(&output);
    cr_expect(output.out == NULL && output.out_size == 0);
    thrum_output_free(&output); /* is empty now */
    free(data);
}

Test(communicate, ten_mebibytes_go_through_cat)
{
    in_every_strand(cat_much);
}

static void hear_both(void)
{
    thrum_subprocess_config_t config = piped();
    thrum_output_t output;
    thrum_subprocess_t *p =
        shell("cat >/dev/null & head -c 3000000 /dev/zero >&2; wait; printf end; exit 3", &config);
    EXPECT_CALL(0, thrum_subprocess_communicate(p, NULL, 0, SIZE_MAX, PATIENCE, &output));
    cr_expect_eq(output.err_size, 3000000u);
    cr_expect_str_eq(output.out, "end");
    cr_expect_eq(output.code, 3);
    thrum_output_free(&output);
    thrum_subprocess_release(p);
}

Test(communicate, error_output_fills_no_pipe)
{
    in_every_strand(hear_both);
}

static void speak_to_the_deaf(void)
{
    char *data = noise(MUCH);
    const char *const argv[] = {"true", NULL};
    thrum_output_t output;
    EXPECT_CALL(0, thrum_subprocess_run(argv, NULL, data, MUCH, SIZE_MAX, PATIENCE, &output));
    cr_expect_eq(output.code, 0);
    cr_expect_lt(output.written, (size_t)MUCH);
    cr_expect_eq(output.out_size, 0u);
    thrum_output_free(&output);
    /* Closes it, and goes on writing. */
    const char *const shell_argv[] = {"sh", "-c", "head -c 5; exec 0<&-; head -c 200000 /dev/zero",
                                      NULL};
    EXPECT_CALL(0, thrum_subprocess_run(shell_argv, NULL, data, MUCH, SIZE_MAX, PATIENCE, &output));
    cr_expect_eq(output.out_size, 200005u);
    cr_expect_lt(output.written, (size_t)MUCH);
    thrum_output_free(&output);
    free(data);
}

Test(communicate, one_that_does_not_listen_is_no_error_and_no_sigpipe)
{
    signal(SIGPIPE, SIG_DFL);
    in_every_strand(speak_to_the_deaf);
    thi_fault_arm(THI_FAULT_QUIETLY, THI_FAULT_ALWAYS);
    speak_to_the_deaf();
    thi_fault_arm(THI_FAULT_QUIETLY, 0);
}

Test(communicate, no_write_to_a_pipe_brings_sigpipe)
{
    thrum_subprocess_config_t config = piped();
    signal(SIGPIPE, SIG_DFL);
    for (int i = 0; i < 2; i++) {
        const struct iovec iov[2] = {{(char[]){'x'}, 1}, {(char[]){'y'}, 1}};
        thrum_subprocess_t *p = shell("exit 0", &config);
        thi_fault_arm(THI_FAULT_QUIETLY, i == 0 ? 0 : THI_FAULT_ALWAYS);
        EXPECT_CALL(0, thrum_subprocess_wait(p, NULL));
        EXPECT_CALL(EPIPE, thrum_io_write(thrum_subprocess_in(p), "x", 1, NULL, PATIENCE));
        EXPECT_CALL(EPIPE, thrum_io_writev(thrum_subprocess_in(p), iov, 2, NULL, PATIENCE));
        thrum_subprocess_release(p);
        struct ends e = pipe_pair(); /* one that blocks, too */
        close(e.fd[0]);
        EXPECT_CALL(EPIPE, thrum_io_write(e.fd[1], "x", 1, NULL, PATIENCE));
        close(e.fd[1]);
    }
    thi_fault_arm(THI_FAULT_QUIETLY, 0);
    sigset_t pending;
    sigpending(&pending);
    cr_expect(!sigismember(&pending, SIGPIPE), "none is left");
    /* But one that was there before is. */
    sigset_t sigpipe;
    sigemptyset(&sigpipe);
    sigaddset(&sigpipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &sigpipe, NULL);
    raise(SIGPIPE);
    struct ends e = pipe_pair();
    close(e.fd[0]);
    thi_fault_arm(THI_FAULT_QUIETLY, 1);
    EXPECT_CALL(EPIPE, thrum_io_write(e.fd[1], "x", 1, NULL, PATIENCE));
    sigpending(&pending);
    cr_expect(sigismember(&pending, SIGPIPE));
    close(e.fd[1]);
}

Test(communicate, without_input_the_program_hears_the_end)
{
    thrum_subprocess_config_t config = piped();
    thrum_output_t output = heard("cat; echo done", &config);
    cr_expect_str_eq(output.out, "done\n");
    cr_expect_eq(output.written, 0u);
    thrum_output_free(&output);
}

Test(communicate, what_nobody_wants_is_thrown_away)
{
    thrum_subprocess_config_t config = piped();
    int code = 0;
    thrum_subprocess_t *p = shell("head -c 3000000 /dev/zero; exit 4", &config);
    EXPECT_CALL(0, thrum_subprocess_communicate(p, NULL, 0, 10, PATIENCE, NULL));
    EXPECT_CALL(0, thrum_subprocess_poll(p, &code));
    cr_expect_eq(code, 4);
    thrum_subprocess_release(p);
}

Test(communicate, with_a_program_that_ended_long_ago)
{
    thrum_subprocess_config_t config = piped();
    thrum_output_t output;
    thrum_subprocess_t *p = shell("echo early; echo bird >&2", &config);
    EXPECT_CALL(0, thrum_subprocess_wait(p, NULL));
    EXPECT_CALL(0, thrum_subprocess_communicate(p, "x", 1, 100, PAST, &output));
    cr_expect_str_eq(output.out, "early\n");
    cr_expect_str_eq(output.err, "bird\n");
    thrum_output_free(&output);
    EXPECT_CALL(0, thrum_subprocess_communicate(p, "x", 1, 100, PAST, &output)); /* and again */
    cr_expect(output.ended && output.out_size == 0);
    thrum_output_free(&output);
    thrum_subprocess_release(p);
}

/* --- limits --------------------------------------------------------------------------------------------------- */

static void reach_the_limit(void)
{
    static const char input[] = "ab\n";
    thrum_subprocess_config_t config = piped();
    thrum_output_t output;
    thrum_subprocess_t *p = shell("printf 12345; printf 678 >&2", &config);
    EXPECT_CALL(0,
                thrum_subprocess_communicate(p, NULL, 0, 8, PATIENCE, &output)); /* just so many */
    cr_expect(strcmp(output.out, "12345") == 0 && strcmp(output.err, "678") == 0);
    thrum_output_free(&output);
    thrum_subprocess_release(p);
    p = shell("printf 1234567890; read x; echo $x; exit 2", &config);
    EXPECT_CALL(EMSGSIZE, thrum_subprocess_communicate(p, "ab\n", 3, 4, PATIENCE, &output));
    cr_expect_str_eq(output.out, "1234");
    cr_expect_leq(output.written, 3u);
    const size_t written = output.written;
    thrum_output_free(&output);
    EXPECT_CALL(EMSGSIZE, thrum_subprocess_communicate(p, &input[written], 3 - written, 0, PATIENCE,
                                                       &output));
    cr_expect_str_eq(output.out, "");
    const size_t more = written + output.written;
    thrum_output_free(&output);
    EXPECT_CALL(0, thrum_subprocess_communicate(p, &input[more], 3 - more, 100, PATIENCE, &output));
    cr_expect_str_eq(output.out, "567890ab\n");
    cr_expect_eq(output.code, 2);
    thrum_output_free(&output);
    thrum_subprocess_release(p);
    p = shell("exit 0", &config);
    EXPECT_CALL(0, thrum_subprocess_communicate(p, NULL, 0, 0, PATIENCE, &output));
    thrum_output_free(&output);
    thrum_subprocess_release(p);
}

Test(communicate, keeps_no_more_than_the_limit)
{
    in_every_strand(reach_the_limit);
}

static void hear_no_end(void)
{
    const char *const argv[] = {"yes", NULL};
    thrum_output_t output;
    EXPECT_CALL(EMSGSIZE, thrum_subprocess_run(argv, NULL, NULL, 0, 100000, PATIENCE, &output));
    cr_expect_eq(output.out_size, 100000u);
    cr_expect(memcmp(output.out, "y\ny\n", 4) == 0);
    thrum_output_free(&output);
    cr_expect(!has_children());
    /* One that is heard, and thrown away, for as long as there is time. */
    EXPECT_CALL(ETIMEDOUT, thrum_subprocess_run(argv, NULL, NULL, 0, 0, SOON, NULL));
    EXPECT_CALL(ETIMEDOUT, thrum_subprocess_run(argv, NULL, NULL, 0, 0, PAST, NULL));
    cr_expect(!has_children());
}

Test(communicate, one_that_writes_for_ever_is_stopped)
{
    in_every_strand(hear_no_end);
}

/* --- deadlines ------------------------------------------------------------------------------------------------- */

Test(communicate, gives_what_came_until_the_deadline)
{
    thrum_subprocess_config_t config = piped();
    thrum_output_t output;
    thrum_subprocess_t *p = shell("echo one; exec sleep 1000", &config);
    EXPECT_CALL(0, thrum_io_wait(thrum_subprocess_out(p), THRUM_IO_IN, PATIENCE));
    EXPECT_CALL(ETIMEDOUT, thrum_subprocess_communicate(p, NULL, 0, 100, SOON, &output));
    cr_expect_str_eq(output.out, "one\n");
    cr_expect(!output.ended);
    thrum_output_free(&output);
    EXPECT_CALL(ETIMEDOUT, thrum_subprocess_communicate(p, NULL, 0, 100, PAST, &output));
    cr_expect_str_eq(output.out, "");
    thrum_output_free(&output);
    EXPECT_CALL(0, thrum_subprocess_kill(p));
    EXPECT_CALL(0, thrum_subprocess_communicate(p, NULL, 0, 100, PATIENCE, &output));
    cr_expect(output.ended && output.code == -SIGKILL);
    thrum_output_free(&output);
    thrum_subprocess_release(p);
}

/* The input of the call that was too short goes on in the next one. */
static void speak_in_parts(void)
{
    char *data = noise(MUCH);
    thrum_subprocess_config_t config = piped();
    thrum_subprocess_t *p = shell("cat", &config);
    size_t written = 0;
    size_t heard_size = 0;
    int err = ETIMEDOUT;
    while (err == ETIMEDOUT) {
        thrum_output_t output;
        err = thrum_subprocess_communicate(p, data + written, MUCH - written, SIZE_MAX,
                                           thrum_after(THRUM_US(300)), &output);
        cr_assert_leq(heard_size + output.out_size, (size_t)MUCH);
        cr_expect_eq(memcmp(data + heard_size, output.out, output.out_size), 0);
        heard_size += output.out_size;
        written += output.written;
        thrum_output_free(&output);
    }
    cr_expect_eq(err, 0);
    cr_expect(written == MUCH && heard_size == MUCH);
    thrum_subprocess_release(p);
    free(data);
}

Test(communicate, goes_on_after_a_deadline)
{
    in_every_strand(speak_in_parts);
}

/* --- others that have its streams --------------------------------------------------------------------------------- */

static void leave_others(void)
{
    thrum_subprocess_config_t config = piped();
    thrum_output_t output;
    thrum_subprocess_t *p = shell("sleep 1000 & echo mine", &config);
    EXPECT_CALL(0, thrum_subprocess_communicate(p, NULL, 0, 100, PATIENCE, &output));
    cr_expect_str_eq(output.out, "mine\n");
    thrum_output_free(&output);
    EXPECT_CALL(0, thrum_subprocess_kill(p));
    thrum_subprocess_release(p);
    p = shell("yes & echo mine", &config); /* who writes for ever */
    EXPECT_CALL(0, thrum_subprocess_communicate(p, NULL, 0, SIZE_MAX, PATIENCE, &output));
    cr_expect_not_null(strstr(output.out, "mine\n"));
    thrum_output_free(&output);
    EXPECT_CALL(0, thrum_subprocess_kill(p));
    thrum_subprocess_release(p);
}

Test(communicate, waits_for_nobody_but_the_program)
{
    in_every_strand(leave_others);
}

static void wait_for_others(void)
{
    thrum_subprocess_config_t config = piped();
    thrum_output_t output;
    config.linger = THRUM_FOREVER;
    thrum_subprocess_t *p = shell("echo mine; (sleep 0.1; echo theirs) & exit 3", &config);
    EXPECT_CALL(0, thrum_subprocess_communicate(p, NULL, 0, 100, PATIENCE, &output));
    cr_expect_str_eq(output.out, "mine\ntheirs\n");
    cr_expect_eq(output.code, 3);
    thrum_output_free(&output);
    thrum_subprocess_release(p);
    config.linger = THRUM_MS(1);
    p = shell("sleep 1000 & echo mine", &config);
    EXPECT_CALL(0, thrum_subprocess_communicate(p, NULL, 0, 100, PATIENCE, &output));
    cr_expect_str_eq(output.out, "mine\n");
    thrum_output_free(&output);
    EXPECT_CALL(0, thrum_subprocess_kill(p));
    thrum_subprocess_release(p);
    config.linger = THRUM_FOREVER;
    p = shell("sleep 1000 & exit 3", &config);
    EXPECT_CALL(0, thrum_subprocess_wait(p, NULL));
    EXPECT_CALL(ETIMEDOUT, thrum_subprocess_communicate(p, NULL, 0, 100, SOON, &output));
    cr_expect(output.ended && output.code == 3);
    thrum_output_free(&output);
    EXPECT_CALL(0, thrum_subprocess_kill(p));
    thrum_subprocess_release(p);
}

Test(communicate, waits_for_others_when_told_to)
{
    in_every_strand(wait_for_others);
}

/* --- in the midst of it ------------------------------------------------------------------------------------------- */

struct partner {
    thrum_subprocess_t *p;
    thrum_output_t output;
};

static int communicate_call(void *arg)
{
    struct partner *partner = arg;
    return thrum_subprocess_communicate(partner->p, NULL, 0, 100, THRUM_FOREVER, &partner->output);
}

static int communicate_in_coroutine(void *arg, void **result)
{
    (void)result;
    return communicate_call(arg);
}

Test(communicate, one_strand_at_a_time)
{
    thrum_subprocess_config_t config = piped();
    thrum_output_t output;
    struct caller c;
    struct partner partner = {.p = shell("exec sleep 1000", &config)};
    caller_start(&c, communicate_call, &partner);
    while (waiting_on(thrum_subprocess_fd(partner.p)) == 0)
        sched_yield();
    EXPECT_CALL(EBUSY, thrum_subprocess_communicate(partner.p, NULL, 0, 100, PAST, &output));
    cr_expect_null(output.out);
    /* Streams that are closed by others are no longer heard. */
    EXPECT_CALL(0, thrum_subprocess_close(partner.p, thrum_subprocess_out(partner.p)));
    cr_expect(caller_stays(&c));
    EXPECT_CALL(0, thrum_subprocess_kill(partner.p));
    cr_expect_eq(caller_join(&c), 0);
    cr_expect_eq(partner.output.code, -SIGKILL);
    thrum_output_free(&partner.output);
    thrum_subprocess_release(partner.p);
}

static int cancel_it(void *arg, void **result)
{
    thrum_subprocess_config_t config = piped();
    struct partner partner = {.p = shell("echo x; exec sleep 1000", &config)};
    (void)arg, (void)result;
    EXPECT_CALL(0, thrum_io_wait(thrum_subprocess_out(partner.p), THRUM_IO_IN, PATIENCE));
    thrum_coro_t *co = spawned(communicate_in_coroutine, &partner);
    while (waiting_on(thrum_subprocess_fd(partner.p)) == 0)
        thrum_yield();
    EXPECT_CALL(0, thrum_coro_cancel(co));
    EXPECT_CALL(ECANCELED, thrum_coro_join(co, NULL));
    cr_expect_str_eq(partner.output.out, "x\n");
    thrum_output_free(&partner.output);
    thrum_coro_release(co);
    EXPECT_CALL(0, thrum_subprocess_kill(partner.p));
    thrum_subprocess_release(partner.p);
    return 0;
}

Test(communicate, cancelled_it_gives_what_came)
{
    cr_expect_eq(in_loop(cancel_it, NULL), 0);
}

Test(communicate, streams_are_closed_once)
{
    thrum_subprocess_config_t config = piped();
    thrum_subprocess_t *p = shell("cat", &config);
    const int in = thrum_subprocess_in(p);
    char byte = 0;
    size_t n = 9;
    cr_expect(is_nonblocking(in) && is_nonblocking(thrum_subprocess_out(p)));
    cr_expect_eq(fcntl(in, F_GETFD), FD_CLOEXEC);
    EXPECT_CALL(0, thrum_io_write_full(in, "q", 1, NULL, PATIENCE));
    EXPECT_CALL(0, thrum_io_read(thrum_subprocess_out(p), &byte, 1, NULL, PATIENCE));
    cr_expect_eq(byte, 'q');
    EXPECT_CALL(0, thrum_subprocess_close(p, in));
    EXPECT_CALL(EBADF, thrum_subprocess_close(p, in));
    EXPECT_CALL(EBADF, thrum_subprocess_close(p, -1));
    cr_expect_eq(thrum_subprocess_in(p), -1);
    EXPECT_CALL(0, thrum_io_read(thrum_subprocess_out(p), &byte, 1, &n, PATIENCE));
    cr_expect_eq(n, 0u);
    EXPECT_CALL(0, thrum_subprocess_wait(p, NULL));
    thrum_subprocess_release(p);
}

/* --- many ------------------------------------------------------------------------------------------------------------ */

enum { MANY = 100 };

static int say_it_back(void *arg, void **result)
{
    char *data = arg;
    thrum_output_t output;
    const size_t size = 200000;
    (void)result;
    const int err = thrum_subprocess_run(cat_argv, NULL, data, size, size, PATIENCE, &output);
    const bool same = err == 0 && output.code == 0 && output.out_size == size &&
                      memcmp(output.out, data, size) == 0;
    thrum_output_free(&output);
    return same ? 0 : err != 0 ? err : EPROTO;
}

static int many_at_once(void *arg, void **result)
{
    thrum_coro_t *cos[MANY];
    (void)result;
    for (int i = 0; i < MANY; i++)
        cos[i] = spawned(say_it_back, (char *)arg + i);
    for (int i = 0; i < MANY; i++) {
        EXPECT_CALL(0, thrum_coro_join(cos[i], NULL));
        thrum_coro_release(cos[i]);
    }
    return 0;
}

Test(communicate, a_hundred_coroutines_run_a_program_each)
{
    char *data = noise(200000 + MANY);
    const int before = count_descriptors();
    cr_expect_eq(in_loop(many_at_once, data), 0);
    cr_expect_eq(count_descriptors(), before);
    cr_expect(!has_children());
    free(data);
}
