#include "coroutine/sockets.h"

TestSuite(io_close, .timeout = 30);

static const struct {
    const char *name;
    int (*call)(void *arg);
} calls[] = {{"read", read_call}, {"write", write_call}, {"poll", poll_call}, {"wait", wait_call}};

#define CALLS (sizeof calls / sizeof *calls)

/* --- whoever waits is told ---------------------------------------------------------------------------- */

static int close_in_the_same_loop(void *arg, void **result)
{
    (void)arg, (void)result;
    for (size_t i = 0; i < CALLS; i++) {
        struct ends e = stream_pair();
        struct io_call args = {.fd = e.fd[0], .deadline = THRUM_FOREVER};
        struct io_coro c = {calls[i].call, &args};
        thrum_coro_t *co = spawned(io_coro_main, &c);
        while (waiting_on(e.fd[0]) == 0)
            thrum_yield();
        EXPECT_CALL(0, thrum_io_close(e.fd[0]));
        const int err = thrum_coro_join(co, NULL);
        cr_expect_eq(err, ECANCELED, "%s: %s", calls[i].name, expect_name(err));
        thrum_coro_release(co);
        close(e.fd[1]);
    }
    return 0;
}

Test(io_close, wakes_who_waits_in_the_same_loop)
{
    cr_expect_eq(in_loop(close_in_the_same_loop, NULL), 0);
}

static int close_call(void *arg)
{
    const struct io_call *c = arg;
    while (waiting_on(c->fd) == 0)
        sched_yield();
    return thrum_io_close(c->fd);
}

Test(io_close, wakes_who_waits_in_another_threads_loop)
{
    for (size_t i = 0; i < CALLS; i++) {
        struct ends e = stream_pair();
        struct io_call args = {.fd = e.fd[0], .deadline = THRUM_FOREVER};
        struct io_coro coro = {calls[i].call, &args};
        struct caller c;
        caller_start(&c, close_call, &args);
        const int err = in_loop(io_coro_main, &coro);
        cr_expect_eq(err, ECANCELED, "%s: %s", calls[i].name, expect_name(err));
        cr_expect_eq(caller_join(&c), 0);
        close(e.fd[1]);
    }
}

Test(io_close, wakes_threads_that_wait)
{
    for (size_t i = 0; i < CALLS; i++) {
        struct ends e = stream_pair();
        struct io_call args = {.fd = e.fd[0], .deadline = THRUM_FOREVER};
        struct caller c[2];
        for (int k = 0; k < 2; k++)
            caller_start(&c[k], calls[i].call, &args);
        while (waiting_on(e.fd[0]) < 2)
            sched_yield();
        EXPECT_CALL(0, thrum_io_close(e.fd[0]));
        for (int k = 0; k < 2; k++) {
            const int err = caller_join(&c[k]);
            cr_expect_eq(err, ECANCELED, "%s: %s", calls[i].name, expect_name(err));
        }
        close(e.fd[1]);
    }
}

struct hurried {
    struct io_call args;
    int (*call)(void *arg);
    uint32_t ready;
};

/* Opens what the library needs to wait, lest it gets the number that is about to be free. */
static int call_hurriedly(void *arg)
{
    struct hurried *h = arg;
    if (thrum_io_wait(h->args.other, THRUM_IO_IN, thrum_after(THRUM_US(10))) != ETIMEDOUT)
        return EPROTO;
    thi_store_release(&h->ready, 1u);
    return h->call(&h->args);
}

static int hurry(void *arg, void **result)
{
    (void)result;
    return call_hurriedly(arg);
}

/* Just as it begins to wait: it is told, or finds the descriptor closed. */
Test(io_close, is_not_missed_by_one_that_is_about_to_wait)
{
    struct ends quiet = stream_pair();
    for (int round = 0; round < 500; round++) {
        struct ends e = stream_pair();
        struct hurried h[2];
        struct caller c;
        thrum_loop_t *loop = NULL;
        thrum_coro_t *co = NULL;
        for (int i = 0; i < 2; i++)
            h[i] =
                (struct hurried){{.fd = e.fd[0], .other = quiet.fd[0], .deadline = THRUM_FOREVER},
                                 calls[(round + i) % 4].call,
                                 0};
        caller_start(&c, call_hurriedly, &h[0]);
        EXPECT_CALL(0, thrum_loop_create(&loop, NULL));
        EXPECT_CALL(0, thrum_loop_go(loop, &co, hurry, &h[1], NULL));
        while (h[1].ready == 0)
            EXPECT_CALL(EAGAIN, thrum_loop_turn(loop));
        await_word(&h[0].ready, 1);
        for (int pause = 0; pause < round; pause++)
            thi_cpu_pause();
        EXPECT_CALL(0, thrum_io_close(e.fd[0]));
        const int err = caller_join(&c);
        cr_expect(err == ECANCELED || err == EBADF || (err == 0 && h[0].call == poll_call), "%s",
                  expect_name(err));
        EXPECT_CALL(0, thrum_loop_run(loop));
        EXPECT_CALL(ECANCELED, thrum_coro_result(co, NULL));
        thrum_coro_release(co);
        thrum_loop_destroy(loop);
        close(e.fd[1]);
    }
    close_ends(quiet);
}

/* --- numbers that are used again ---------------------------------------------------------------------- */

static int use_again(void *arg, void **result)
{
    struct ends (*pair)(void) = *(struct ends(**)(void))arg;
    (void)result;
    for (int i = 0; i < 1000; i++) {
        struct ends e = pair();
        struct io_call args = {.fd = e.fd[0], .deadline = THRUM_FOREVER};
        struct io_coro c = {read_call, &args};
        thrum_coro_t *co = spawned(io_coro_main, &c);
        thrum_yield();
        cr_expect_eq(waiting_on(e.fd[0]), 1u);
        if (i % 3 != 0) {
            cr_assert_eq(write(e.fd[1], "x", 1), 1);
            EXPECT_CALL(0, thrum_coro_join(co, NULL));
            cr_expect_eq(args.n, 1u);
        } else {
            EXPECT_CALL(0, thrum_coro_cancel(co));
            EXPECT_CALL(ECANCELED, thrum_coro_join(co, NULL));
        }
        thrum_coro_release(co);
        if (i % 2 == 0)
            close_ends(e);
        else
            cr_expect(thrum_io_close(e.fd[0]) == 0 && thrum_io_close(e.fd[1]) == 0);
    }
    return 0;
}

Test(io_close, a_number_that_was_closed_is_a_new_descriptor)
{
    struct ends (*pairs[])(void) = {stream_pair, pipe_pair};
    for (int i = 0; i < 2; i++)
        cr_expect_eq(in_loop(use_again, &pairs[i]), 0);
}

/* Closed, but the system still knows it by another number. */
static int use_a_copy(void *arg, void **result)
{
    (void)arg, (void)result;
    for (int i = 0; i < 100; i++) {
        struct ends e = stream_pair();
        struct io_call args = {.fd = e.fd[0], .deadline = THRUM_FOREVER};
        struct io_coro c = {read_call, &args};
        const int copy = dup(e.fd[0]);
        thrum_coro_t *co = spawned(io_coro_main, &c);
        thrum_yield();
        EXPECT_CALL(0, thrum_coro_cancel(co));
        EXPECT_CALL(ECANCELED, thrum_coro_join(co, NULL));
        thrum_coro_release(co);
        close(e.fd[0]);
        struct ends again = stream_pair();
        cr_expect_eq(again.fd[0], args.fd);
        cr_assert_eq(write(e.fd[1], "x", 1), 1); /* for the copy */
        EXPECT_CALL(ETIMEDOUT, thrum_io_read(again.fd[0], &args.n, 1, NULL, SOON));
        close_ends(again);
        close(copy);
        close(e.fd[1]);
    }
    return 0;
}

Test(io_close, what_a_copy_is_told_is_not_for_the_new_one)
{
    cr_expect_eq(in_loop(use_a_copy, NULL), 0);
}

/* By close(2), which tells nobody: who waits for the one direction learns of it with who is told of the other. */
static int wait_both_ways(void *arg, void **result)
{
    struct ends e = stream_pair();
    struct io_call args[2] = {{.fd = e.fd[0], .deadline = THRUM_FOREVER},
                              {.fd = e.fd[0], .deadline = THRUM_FOREVER}};
    struct io_coro c[2] = {{read_call, &args[0]}, {write_call, &args[1]}};
    thrum_coro_t *cos[2];
    (void)arg, (void)result;
    for (int i = 0; i < 2; i++)
        cos[i] = spawned(io_coro_main, &c[i]);
    while (waiting_on(e.fd[0]) < 2)
        thrum_yield();
    const int copy = dup(e.fd[0]);
    close(e.fd[0]);
    cr_assert_eq(write(e.fd[1], "x", 1), 1);
    for (int i = 0; i < 2; i++) {
        EXPECT_CALL(EBADF, thrum_coro_join(cos[i], NULL));
        thrum_coro_release(cos[i]);
    }
    close(copy);
    close(e.fd[1]);
    return 0;
}

Test(io_close, nobody_waits_for_a_number_that_was_closed_when_another_is_told)
{
    cr_expect_eq(in_loop(wait_both_ways, NULL), 0);
}

/* --- cancellation ------------------------------------------------------------------------------------- */

static int cancel_in_the_loop(void *arg, void **result)
{
    (void)arg, (void)result;
    for (size_t i = 0; i < CALLS; i++) {
        struct ends e = stream_pair();
        struct io_call args = {.fd = e.fd[0], .deadline = THRUM_FOREVER};
        struct io_coro c = {calls[i].call, &args};
        thrum_coro_t *co = spawned(io_coro_main, &c);
        while (waiting_on(e.fd[0]) == 0)
            thrum_yield();
        EXPECT_CALL(0, thrum_coro_cancel(co));
        EXPECT_CALL(ECANCELED, thrum_coro_join(co, NULL));
        cr_expect_eq(waiting_on(e.fd[0]), 0u);
        thrum_coro_release(co);
        close_ends(e);
    }
    return 0;
}

Test(io_close, a_cancelled_coroutine_does_not_wait_any_more)
{
    cr_expect_eq(in_loop(cancel_in_the_loop, NULL), 0);
}

struct thread_call {
    int (*call)(void *arg);
    struct io_call args;
};

static int thread_main(void *arg, void **result)
{
    struct thread_call *t = arg;
    (void)result;
    int err = t->call(&t->args);
    if (err == ECANCELED && t->call != write_call) /* what needs no waiting is done */
        err = write(t->args.other, "x", 1) == 1 && t->call(&t->args) == 0 ? ECANCELED : EPROTO;
    return err;
}

Test(io_close, a_cancelled_thread_does_not_wait_any_more)
{
    for (size_t i = 0; i < CALLS; i++) {
        struct ends e = stream_pair();
        struct thread_call t = {calls[i].call,
                                {.fd = e.fd[0], .other = e.fd[1], .deadline = THRUM_FOREVER}};
        thrum_thread_t *thread = NULL;
        EXPECT_CALL(0, thrum_thread_spawn(&thread, thread_main, &t, NULL));
        while (waiting_on(e.fd[0]) == 0)
            sched_yield();
        thrum_thread_cancel(thread);
        const int err = thrum_thread_join(thread, NULL);
        cr_expect_eq(err, ECANCELED, "%s: %s", calls[i].name, expect_name(err));
        thrum_thread_release(thread);
        close_ends(e);
    }
}

/* --- several of them ---------------------------------------------------------------------------------- */

static int tell_one(void *arg, void **result)
{
    enum { READERS = 5 };
    struct ends e = stream_pair();
    struct io_call args[READERS];
    struct io_coro c[READERS];
    thrum_coro_t *cos[READERS];
    (void)arg, (void)result;
    for (int i = 0; i < READERS; i++) {
        args[i] = (struct io_call){.fd = e.fd[0], .deadline = THRUM_FOREVER};
        c[i] = (struct io_coro){read_call, &args[i]};
        cos[i] = spawned(io_coro_main, &c[i]);
    }
    for (int i = 0; i < READERS; i++) {
        while (waiting_on(e.fd[0]) != (unsigned)(READERS - i))
            thrum_yield();
        cr_assert_eq(write(e.fd[1], "x", 1), 1);
    }
    EXPECT_CALL(0, thrum_coro_join_all(cos, READERS, THRUM_FOREVER));
    for (int i = 0; i < READERS; i++)
        thrum_coro_release(cos[i]);
    close_ends(e);
    return 0;
}

Test(io_close, several_readers_get_a_byte_each)
{
    cr_expect_eq(in_loop(tell_one, NULL), 0);
}

/* A reader in a loop, one in another, and a thread. */
Test(io_close, readers_of_several_threads_get_a_byte_each)
{
    struct ends e = stream_pair();
    struct io_call args[4];
    struct io_coro coro = {read_call, &args[0]};
    struct caller c[3];
    for (int i = 0; i < 4; i++)
        args[i] = (struct io_call){.fd = e.fd[0], .deadline = THRUM_FOREVER};
    for (int i = 0; i < 3; i++)
        caller_start(&c[i], read_call, &args[i + 1]);
    while (waiting_on(e.fd[0]) != 3)
        sched_yield();
    cr_assert_eq(write(e.fd[1], "xxxx", 4), 4);
    cr_expect_eq(in_loop(io_coro_main, &coro), 0);
    for (int i = 0; i < 3; i++)
        cr_expect_eq(caller_join(&c[i]), 0);
    for (int i = 0; i < 4; i++)
        cr_expect_eq(args[i].n, 1u);
    close_ends(e);
}
