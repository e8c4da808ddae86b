#include <poll.h>

#include "queue/shapes.h"
#include "support/child.h"

/* Forks with items inside, with strands that wait, and in the middle of everything. */
TestSuite(queue_fork, .timeout = 60);

/* --- a queue that nobody was using -------------------------------------------------------------------- */

static int use_copy(void *arg)
{
    thrum_queue_t *q = arg;
    uint32_t item = UNTOUCHED;
    if (thrum_queue_size(q) != 1 || thrum_queue_unfinished(q) != 1)
        return 1;
    if (thrum_queue_tryget(q, &item) != 0 || item != 7)
        return 2;
    if (thrum_queue_tryget(q, &item) != EAGAIN ||
        thrum_queue_get_until(q, &item, SOON) != ETIMEDOUT)
        return 3;
    for (uint32_t i = 0; i < 1000; i++) {
        if (thrum_queue_put(q, &i) != 0 || thrum_queue_get(q, &item) != 0 || item != i)
            return 4;
        if (thrum_queue_task_done(q) != 0)
            return 5;
    }
    if (thrum_queue_tryjoin(q) != EAGAIN || thrum_queue_task_done(q) != 0 ||
        thrum_queue_join(q) != 0)
        return 6;
    if (thrum_queue_close(q) != 0 || thrum_queue_put(q, &item) != ESHUTDOWN)
        return 7;
    thrum_queue_destroy(q);
    return 0;
}

Test(queue_fork, a_child_has_a_copy)
{
    for (EACH_SHAPE(shape)) {
        uint32_t item = 0;
        thrum_queue_t *q = queue_of_numbers(shape->order, shape->capacity);
        fill(q, 7, 1);
        cr_expect_eq(child_run(use_copy, q), 0, "%s", shape->name);
        EXPECT_CALL(0, thrum_queue_tryget(q, &item));
        cr_expect_eq(item, 7u);
        EXPECT_CALL(0, thrum_queue_put(q, &item));
        thrum_queue_destroy(q);
    }
}

static bool readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

static int use_copy_without_looking(void *arg)
{
    uint32_t item = 0;
    return thrum_queue_get(arg, &item);
}

/* Its parent's copy of the queue is empty, whatever it does. */
static int use_descriptor(void *arg)
{
    thrum_queue_t *q = arg;
    uint32_t item = 0;
    int fd = -1;
    if (thrum_queue_put(q, &item) != 0)
        return 1;
    if (thrum_queue_fd(q, &fd) != 0 || !readable(fd))
        return 2;
    if (thrum_queue_get(q, &item) != 0 || readable(fd))
        return 3;
    return thrum_queue_put(q, &item) == 0 && readable(fd) ? 0 : 4;
}

Test(queue_fork, a_childs_descriptor_is_its_own)
{
    for (EACH_SHAPE(shape)) {
        int fd = -1;
        uint32_t item = 0;
        thrum_queue_t *q = queue_of_numbers(shape->order, shape->capacity);
        EXPECT_CALL(0, thrum_queue_fd(q, &fd));
        cr_expect_eq(child_run(use_descriptor, q), 0, "%s", shape->name);
        cr_expect_not(readable(fd), "the child's item");
        fill(q, 1, 1);
        cr_expect_eq(child_run(use_copy_without_looking, q), 0, "%s", shape->name);
        cr_expect(readable(fd), "the child has got its own copy");
        EXPECT_CALL(0, thrum_queue_get(q, &item));
        cr_expect_not(readable(fd));
        thrum_queue_destroy(q);
    }
}

/* --- a queue that strands of the parent wait for ------------------------------------------------------- */

static int use_awaited(void *arg)
{
    thrum_queue_t *q = arg;
    uint32_t item = 0;
    struct call c;
    for (uint32_t i = 1; i < 100; i++) {
        if (thrum_queue_put(q, &i) != 0 || thrum_queue_size(q) != 1)
            return 1; /* nobody is there to take it */
        if (thrum_queue_get(q, &item) != 0 || item != i)
            return 2;
    }
    if (!CHILD_MAY_START_THREADS)
        return 0;
    for (int i = 0; i < 20; i++) {
        call_begin(&c, q);
        call_asleep(&c, call_get);
        if (thrum_queue_put(q, &item) != 0 || call_join_thread(&c) != 0)
            return 3;
    }
    return 0;
}

Test(queue_fork, a_child_can_use_it_though_strands_of_the_parent_wait)
{
    for (EACH_SHAPE(shape)) {
        enum { GETTERS = 3 };
        struct call c[GETTERS];
        thrum_queue_t *q = queue_of_numbers(shape->order, shape->capacity);
        for (unsigned i = 0; i < GETTERS; i++) {
            call_begin(&c[i], q);
            call_asleep(&c[i], call_get);
        }
        cr_expect_eq(child_run(use_awaited, q), 0, "%s", shape->name);
        for (uint32_t i = 0; i < GETTERS; i++)
            EXPECT_CALL(0, thrum_queue_put(q, &i));
        for (unsigned i = 0; i < GETTERS; i++)
            cr_expect_eq(call_join_thread(&c[i]), 0);
        thrum_queue_destroy(q);
    }
}

/* --- in the middle ----------------------------------------------------------------------------------------- */

enum { HAMMERS = 3, FORKS = 15, CALLS = 2 };

struct anvil {
    thrum_queue_t *q;
    uint32_t warm; /* hammers that have gone through once: nothing is allocated any more */
    uint32_t stop;
};

static int hammer(void *arg)
{
    struct anvil *a = arg;
    uint32_t items[3] = {1, 2, 3};
    size_t done = 0;
    for (int round = 0; thi_load_relaxed(&a->stop) == 0; round++) {
        int err = thrum_queue_tryput(a->q, &items[0]);
        if (err == 0 || err == EAGAIN)
            err = thrum_queue_put_many(a->q, items, 3, &done, PAST);
        if (err == 0 || err == ETIMEDOUT)
            err = thrum_queue_get_many(a->q, items, 3, &done, PAST);
        while (err == 0 || err == ETIMEDOUT)
            err = thrum_queue_tryget(a->q, &items[0]);
        if (err != EAGAIN)
            return err;
        thrum_queue_task_done(a->q);
        if (round == 0)
            thi_fetch_add_acq_rel(&a->warm, 1u);
    }
    return 0;
}

/* Whatever it meets: it is told, and goes on. */
static bool is_told(int err)
{
    return err == 0 || err == EAGAIN || err == ETIMEDOUT || err == EOWNERDEAD;
}

static int use_in_the_middle(void *arg)
{
    struct anvil *a = arg;
    uint32_t item = 5;
    for (int i = 0; i < CALLS; i++) { /* one that meets a lost place takes a moment to be sure */
        if (!is_told(thrum_queue_tryput(a->q, &item)) || !is_told(thrum_queue_tryget(a->q, &item)))
            return 1;
        if (!is_told(thrum_queue_put_until(a->q, &item, PAST)))
            return 2;
        if (!is_told(thrum_queue_get_until(a->q, &item, i == 0 ? SOON : PAST)))
            return 3;
        const int err = thrum_queue_task_done(a->q);
        if (err != EINVAL && !is_told(err))
            return 4;
    }
    if (!is_told(thrum_queue_close(a->q)) || !is_told(thrum_queue_abort(a->q)))
        return 5;
    return 0;
}

Test(queue_fork, a_child_never_hangs_on_what_the_parent_was_doing)
{
    for (EACH_SHAPE(shape)) {
        struct anvil a = {queue_of_numbers(shape->order, shape->capacity), 0, 0};
        struct caller c[HAMMERS];
        for (int i = 0; i < HAMMERS; i++)
            caller_start(&c[i], hammer, &a);
        await_word(&a.warm, HAMMERS);
        for (int i = 0; i < FORKS; i++) {
            const int status = child_run(use_in_the_middle, &a);
            cr_expect_eq(status, 0, "%s: %d", shape->name, status);
        }
        thi_store_relaxed(&a.stop, 1u);
        for (int i = 0; i < HAMMERS; i++)
            cr_expect_eq(caller_join(&c[i]), 0);
        thrum_queue_destroy(a.q);
    }
}
