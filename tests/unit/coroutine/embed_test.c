#include <poll.h>
#include <sys/socket.h>

#include "coroutine/loops.h"

TestSuite(loop_embedded, .timeout = 30);

/* A foreign event loop: until no coroutine is left. How often it came round. */
static unsigned turn_by_poll(thrum_loop_t *loop)
{
    unsigned rounds = 0;
    int fd = -1;
    EXPECT_CALL(0, thrum_loop_fd(loop, &fd));
    int err = EAGAIN;
    while (err == EAGAIN) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, -1) == 1)
            err = thrum_loop_turn(loop);
        rounds++;
    }
    cr_expect_eq(err, 0);
    return rounds;
}

static thrum_loop_t *made_loop(void)
{
    thrum_loop_t *loop = NULL;
    EXPECT_CALL(0, thrum_loop_create(&loop, NULL));
    cr_assert_not_null(loop);
    return loop;
}

static int sleep_thrice(void *arg, void **result)
{
    uint32_t *n = arg;
    int err = 0;
    (void)result;
    for (int i = 0; i < 3 && err == 0; i++, ++*n)
        err = thrum_sleep(THRUM_MS(3));
    return err;
}

Test(loop_embedded, its_sleepers_are_told_of)
{
    uint32_t n = 0;
    thrum_loop_t *loop = made_loop();
    for (int i = 0; i < 4; i++)
        EXPECT_CALL(0, thrum_loop_go(loop, NULL, sleep_thrice, &n, NULL));
    const unsigned rounds = turn_by_poll(loop);
    cr_expect_eq(n, 12u);
    cr_expect_lt(rounds, 200u, "it is asleep in between");
    thrum_loop_destroy(loop);
}

static int yield_often(void *arg, void **result)
{
    (void)result;
    for (int i = 0; i < 1000; i++)
        thrum_yield();
    ++*(uint32_t *)arg;
    return 0;
}

Test(loop_embedded, those_who_yield_get_their_turns)
{
    uint32_t n = 0;
    thrum_loop_t *loop = made_loop();
    for (int i = 0; i < 3; i++)
        EXPECT_CALL(0, thrum_loop_go(loop, NULL, yield_often, &n, NULL));
    turn_by_poll(loop);
    cr_expect_eq(n, 3u);
    thrum_loop_destroy(loop);
}

static int echo_once(void *arg, void **result)
{
    const int fd = *(int *)arg;
    char c = 0;
    size_t n = 0;
    (void)result;
    int err = thrum_io_read(fd, &c, 1, &n, THRUM_FOREVER);
    if (err == 0)
        err = thrum_io_write(fd, &c, 1, &n, THRUM_FOREVER);
    return err;
}

static int talk(void *arg)
{
    const int fd = *(int *)arg;
    char c = 'x';
    thrum_sleep(THRUM_MS(2));
    if (write(fd, &c, 1) != 1 || read(fd, &c, 1) != 1)
        return EIO;
    return c == 'x' ? 0 : EPROTO;
}

Test(loop_embedded, its_descriptors_are_told_of)
{
    int ends[2];
    struct caller c;
    thrum_loop_t *loop = made_loop();
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    EXPECT_CALL(0, thrum_loop_go(loop, NULL, echo_once, &ends[0], NULL));
    caller_start(&c, talk, &ends[1]);
    turn_by_poll(loop);
    cr_expect_eq(caller_join(&c), 0);
    thrum_loop_destroy(loop);
    close(ends[0]);
    close(ends[1]);
}

struct fed {
    thrum_loop_t *loop;
    thrum_event_t gate;
    uint32_t ran;
};

static int wait_at_gate(void *arg, void **result)
{
    struct fed *f = arg;
    (void)result;
    return thrum_event_wait(&f->gate);
}

static int count_one(void *arg, void **result)
{
    struct fed *f = arg;
    (void)result;
    f->ran++;
    return 0;
}

static int feed(void *arg)
{
    struct fed *f = arg;
    int err = 0;
    for (int i = 0; i < 500 && err == 0; i++) {
        err = thrum_loop_go(f->loop, NULL, count_one, f, NULL);
        if (i % 100 == 0)
            thrum_sleep(THRUM_MS(1));
    }
    thrum_event_set(&f->gate);
    return err;
}

Test(loop_embedded, threads_that_spawn_and_wake_are_heard)
{
    struct fed f = {made_loop(), THRUM_EVENT_INIT, 0};
    struct caller c;
    EXPECT_CALL(0, thrum_loop_go(f.loop, NULL, wait_at_gate, &f, NULL));
    caller_start(&c, feed, &f);
    turn_by_poll(f.loop);
    cr_expect_eq(caller_join(&c), 0);
    cr_expect_eq(f.ran, 500u);
    thrum_loop_destroy(f.loop);
}

Test(loop_embedded, a_turn_waits_for_nothing)
{
    thrum_event_t never = THRUM_EVENT_INIT;
    struct fed f = {made_loop(), never, 0};
    EXPECT_CALL(0, thrum_loop_turn(f.loop));
    EXPECT_CALL(0, thrum_loop_go(f.loop, NULL, count_one, &f, NULL));
    EXPECT_CALL(0, thrum_loop_turn(f.loop));
    cr_expect_eq(f.ran, 1u);
    EXPECT_CALL(0, thrum_loop_go(f.loop, NULL, wait_at_gate, &f, NULL));
    EXPECT_CALL(EAGAIN, thrum_loop_turn(f.loop));
    EXPECT_CALL(EAGAIN, thrum_loop_turn(f.loop));
    thrum_event_set(&f.gate); /* from outside of it, on its own thread */
    EXPECT_CALL(0, thrum_loop_turn(f.loop));
    thrum_loop_destroy(f.loop);
}

static int wait_as_daemon(void *arg, void **result)
{
    struct fed *f = arg;
    const int err = wait_for_ever(NULL, result);
    f->ran++;
    return err;
}

Test(loop_embedded, daemons_end_with_the_others)
{
    struct fed f = {made_loop(), THRUM_EVENT_INIT, 0};
    thrum_coro_config_t config = THRUM_CORO_CONFIG_INIT;
    uint32_t n = 0;
    config.daemon = true;
    EXPECT_CALL(0, thrum_loop_go(f.loop, NULL, wait_as_daemon, &f, &config));
    EXPECT_CALL(0, thrum_loop_go(f.loop, NULL, sleep_thrice, &n, NULL));
    turn_by_poll(f.loop);
    cr_expect_eq(f.ran, 1u);
    thrum_loop_destroy(f.loop);
}

/* Run and turned by turns. */
static int stop_now(void *arg, void **result)
{
    (void)result;
    thrum_loop_stop(thrum_loop_current());
    return sleep_thrice(arg, result);
}

static uint64_t processor_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int sleep_a_while(void *arg, void **result)
{
    (void)arg, (void)result;
    int err = thrum_sleep(THRUM_MS(10));
    return err != 0 ? err : thrum_sleep(THRUM_MS(100));
}

Test(loop_embedded, it_may_be_run_as_well)
{
    uint32_t n = 0;
    int fd = -1;
    thrum_loop_t *loop = made_loop();
    EXPECT_CALL(0, thrum_loop_go(loop, NULL, stop_now, &n, NULL));
    EXPECT_CALL(0, thrum_loop_fd(loop, &fd));
    EXPECT_CALL(ECANCELED, thrum_loop_run(loop));
    turn_by_poll(loop);
    cr_expect_eq(n, 3u);

    /* An alarm that was set before is no reason to stay awake. */
    EXPECT_CALL(0, thrum_loop_go(loop, NULL, sleep_a_while, NULL, NULL));
    EXPECT_CALL(EAGAIN, thrum_loop_turn(loop));
    const uint64_t before = processor_time();
    EXPECT_CALL(0, thrum_loop_run(loop));
    cr_expect_lt(processor_time() - before, (uint64_t)THRUM_MS(60));
    thrum_loop_destroy(loop);
}

Test(loop_embedded, without_descriptors_there_is_none)
{
    for (unsigned nth = 1; nth <= 3; nth++) {
        uint32_t n = 0;
        int fd = -1;
        thrum_loop_t *loop = made_loop();
        thi_fault_arm(THI_FAULT_SIGNAL, nth);
        EXPECT_CALL(EMFILE, thrum_loop_fd(loop, &fd));
        cr_expect_eq(fd, -1);
        thi_fault_arm(THI_FAULT_SIGNAL, 0);
        EXPECT_CALL(0, thrum_loop_go(loop, NULL, sleep_thrice, &n, NULL));
        turn_by_poll(loop);
        thrum_loop_destroy(loop);
    }
}
