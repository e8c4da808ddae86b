#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "queue/shapes.h"
#include "support/child.h"

TestSuite(queue_descriptor, .timeout = 60);

static bool readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1 && (p.revents & POLLIN) != 0;
}

static int fd_of(thrum_queue_t *q)
{
    int fd = -1;
    EXPECT_CALL(0, thrum_queue_fd(q, &fd));
    cr_assert_geq(fd, 0);
    return fd;
}

Test(queue_descriptor, there_is_one_and_it_stays_the_same)
{
    for (EACH_SHAPE(shape)) {
        thrum_queue_t *q = queue_of_numbers(shape->order, shape->capacity);
        const int fd = fd_of(q);
        cr_expect_eq(fd_of(q), fd);
        cr_expect_eq(fd_of(q), fd);
        thrum_queue_destroy(q);
        cr_expect_lt(dup(fd), 0, "it ends with the queue");
    }
}

Test(queue_descriptor, it_is_readable_while_there_are_items)
{
    for (EACH_SHAPE(shape)) {
        uint32_t item = 0;
        thrum_queue_t *q = queue_of_numbers(shape->order, shape->capacity);
        const int fd = fd_of(q);
        for (int round = 0; round < 100; round++) {
            cr_assert_not(readable(fd), "empty");
            fill(q, 0, 1);
            cr_assert(readable(fd), "one");
            cr_assert(readable(fd), "it stays");
            fill(q, 0, 1);
            cr_assert(readable(fd), "two");
            EXPECT_CALL(0, thrum_queue_get(q, &item));
            cr_assert(readable(fd), "one left");
            EXPECT_CALL(0, thrum_queue_get(q, &item));
            EXPECT_CALL(EAGAIN, thrum_queue_tryget(q, &item));
        }
        cr_expect_not(readable(fd));
        thrum_queue_destroy(q);
    }
}

Test(queue_descriptor, batches_count_as_well)
{
    for (EACH_SHAPE(shape)) {
        uint32_t items[BOUND] = {0};
        size_t done = 0;
        thrum_queue_t *q = queue_of_numbers(shape->order, shape->capacity);
        const int fd = fd_of(q);
        for (int round = 0; round < 10; round++) {
            EXPECT_CALL(0, thrum_queue_put_many(q, items, BOUND, &done, PAST));
            cr_expect(readable(fd));
            EXPECT_CALL(0, thrum_queue_get_many(q, items, BOUND, &done, PAST));
            cr_expect_not(readable(fd));
        }
        thrum_queue_destroy(q);
    }
}

Test(queue_descriptor, what_was_there_before_it_counts)
{
    for (EACH_SHAPE(shape)) {
        uint32_t item = 0;
        thrum_queue_t *q = queue_of_numbers(shape->order, shape->capacity);
        fill(q, 0, 1);
        const int fd = fd_of(q);
        cr_expect(readable(fd));
        EXPECT_CALL(0, thrum_queue_tryget(q, &item));
        cr_expect_not(readable(fd));
        thrum_queue_destroy(q);
    }
}

Test(queue_descriptor, it_is_readable_once_the_queue_is_closed)
{
    for (EACH_SHAPE(shape)) {
        for (int how = 0; how < 4; how++) {
            uint32_t item = 0;
            int fd = -1;
            thrum_queue_t *q = queue_of_numbers(shape->order, shape->capacity);
            fill(q, 0, 1);
            if (how % 2 == 0)
                fd = fd_of(q);
            EXPECT_CALL(0, how < 2 ? thrum_queue_close(q) : thrum_queue_abort(q));
            fd = fd_of(q);
            cr_expect(readable(fd));
            EXPECT_CALL(how < 2 ? 0 : ESHUTDOWN, thrum_queue_tryget(q, &item));
            cr_expect(readable(fd), "drained, but closed");
            EXPECT_CALL(ESHUTDOWN, thrum_queue_tryget(q, &item));
            cr_expect(readable(fd));
            thrum_queue_destroy(q);
        }
    }
}

/* Who waits in the queue and who polls are told alike. */
Test(queue_descriptor, a_getter_that_waits_leaves_it_as_it_finds_it)
{
    for (EACH_SHAPE(shape)) {
        struct call c;
        thrum_queue_t *q = queue_of_numbers(shape->order, shape->capacity);
        const int fd = fd_of(q);
        for (int round = 0; round < 50; round++) {
            call_begin(&c, q);
            call_asleep(&c, call_get);
            cr_expect_not(readable(fd));
            fill(q, 1, 1);
            cr_expect_eq(call_join_thread(&c), 0);
            cr_expect_not(readable(fd));
        }
        thrum_queue_destroy(q);
    }
}

Test(queue_descriptor, a_program_that_is_executed_does_not_inherit_it)
{
    thrum_queue_t *q = queue_of_numbers(THRUM_FIFO, 0);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd_of(q));
    cr_expect_eq(access(path, F_OK), 0);
    char *const argv[] = {"test", "-e", path, NULL};
    const pid_t pid = fork();
    if (pid == 0) {
        execv("/usr/bin/test", argv);
        _exit(77);
    }
    int status = 0;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) != 0);
    thrum_queue_destroy(q);
}

/* --- no edge is lost --------------------------------------------------------------------------------- */

enum { PRODUCERS = 3, ITEMS_EACH = 15000 };

struct stream {
    thrum_queue_t *q;
    bool batches;
};

static int produce(void *arg)
{
    const struct stream *s = arg;
    uint32_t items[4] = {0, 1, 2, 3};
    int err = 0;
    for (uint32_t i = 0; i < ITEMS_EACH && err == 0; i += 4) {
        if (s->batches)
            err = thrum_queue_put_many(s->q, items, 4, NULL, THRUM_FOREVER);
        for (uint32_t j = 0; !s->batches && j < 4 && err == 0; j++)
            err = thrum_queue_put(s->q, &items[j]);
        if (i % 64 == 0)
            sched_yield();
    }
    return err;
}

/* Sleeps in the system until the descriptor says so, each time the queue was found empty. */
static uint32_t consume(thrum_queue_t *q, int events)
{
    uint32_t got = 0;
    uint32_t item = 0;
    int err = 0;
    const int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = (uint32_t)events};
    cr_assert_eq(epoll_ctl(epoll, EPOLL_CTL_ADD, fd_of(q), &event), 0);
    while (err != ESHUTDOWN) {
        if (epoll_wait(epoll, &event, 1, -1) != 1)
            continue;
        while ((err = thrum_queue_tryget(q, &item)) == 0)
            got++;
        cr_assert(err == EAGAIN || err == ESHUTDOWN, "%d", err);
    }
    close(epoll);
    return got;
}

struct closer {
    struct caller producers[PRODUCERS];
    thrum_queue_t *q;
    int failed;
};

static int close_behind(void *arg)
{
    struct closer *c = arg;
    for (int i = 0; i < PRODUCERS; i++)
        c->failed |= caller_join(&c->producers[i]);
    return thrum_queue_close(c->q);
}

static void stream_run(const struct shape *shape, size_t capacity, bool batches, int events)
{
    struct stream s = {queue_of_numbers(shape->order, capacity), batches};
    struct closer c = {.q = s.q};
    struct caller closer;
    for (int i = 0; i < PRODUCERS; i++)
        caller_start(&c.producers[i], produce, &s);
    caller_start(&closer, close_behind, &c);
    cr_expect_eq(consume(s.q, events), (uint32_t)PRODUCERS * ITEMS_EACH);
    cr_expect_eq(caller_join(&closer), 0);
    cr_expect_eq(c.failed, 0);
    cr_expect_eq(thrum_queue_size(s.q), 0u);
    thrum_queue_destroy(s.q);
}

Test(queue_descriptor, a_poller_gets_everything)
{
    for (EACH_SHAPE(shape))
        stream_run(shape, shape->capacity, false, EPOLLIN);
}

Test(queue_descriptor, a_poller_gets_every_batch)
{
    for (EACH_SHAPE(shape))
        stream_run(shape, shape->capacity == 0 ? 0 : 64, true, EPOLLIN);
}
