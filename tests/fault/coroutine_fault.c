/*
 * No memory, pages, descriptors or threads for coroutines and loops: the calls say so, what was begun goes
 * on to its end, nothing leaks, and it works once there is room again.
 */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "fault/counted.h"

TestSuite(coroutine, .timeout = 60);

/* Whether the fault that was armed has come. */
static bool came(thi_fault_t kind)
{
    enum { MOST = 10000 };
    for (int i = 0; i < MOST; i++) {
        if (thi_fault(kind))
            return false;
    }
    return true;
}

/* The body, on threads of their own, with the first, second, ... call failing, until none is left to fail.
 * How many there were. */
struct attempt {
    int (*body)(void *arg);
    void *arg;
    thi_fault_t kind;
    unsigned nth;
    bool came;
};

static int attempt(void *arg)
{
    struct attempt *a = arg;
    thi_fault_arm(a->kind, a->nth);
    const int line = a->body(a->arg);
    a->came = came(a->kind);
    thi_fault_arm(a->kind, 0);
    return line;
}

static bool leaves_nothing(struct attempt *a)
{
    struct caller c;
    const size_t before = thi_load_relaxed(&bytes_in_use);
    caller_start(&c, attempt, a);
    const int line = caller_join(&c);
    cr_assert_eq(line, 0, "line %d", line);
    const thrum_time_t soon = thrum_after(THRUM_MS(100)); /* threads of ours end a moment later */
    while (thi_load_relaxed(&bytes_in_use) > before && thrum_now() < soon)
        sched_yield();
    return thi_load_relaxed(&bytes_in_use) <= before;
}

/* Slabs and ports are kept for good, and are made in whatever attempt finds none: so it settles, where a leak
 * would not. */
static void attempt_it(struct attempt *a)
{
    enum { MOST = 20 };
    bool settled = false;
    for (int i = 0; i < MOST && !settled; i++)
        settled = leaves_nothing(a);
    cr_assert(settled, "the %u. of kind %d: memory is lost each time", a->nth, (int)a->kind);
}

static unsigned fail_each(int (*body)(void *arg), void *arg, thi_fault_t kind)
{
    struct attempt a = {body, arg, kind, 0, true};
    while (a.came) {
        a.nth++;
        attempt_it(&a);
    }
    return a.nth - 1;
}

/* The same with every call failing. */
static void fail_all(int (*body)(void *arg), void *arg, thi_fault_t kind)
{
    struct attempt a = {body, arg, kind, THI_FAULT_ALWAYS, true};
    attempt_it(&a);
}

static int give_three(void *arg, void **result)
{
    for (int i = 0; i < 3; i++)
        thrum_coro_yield(arg);
    *result = arg;
    return 0;
}

/* --- by hand ------------------------------------------------------------------------------------------ */

static int create_and_run(void *arg)
{
    thrum_coro_t *co = NULL;
    void *value = NULL;
    int yields = 0;
    const int err = thrum_coro_create(&co, give_three, arg, NULL);
    NEED((err == 0) == (co != NULL) && (err == 0 || err == ENOMEM));
    if (co == NULL)
        return 0;
    while (thrum_coro_resume(co, NULL, &value) == 0) {
        NEED(value == arg);
        yields++;
    }
    NEED(yields == 3 && thrum_coro_result(co, &value) == 0 && value == arg);
    thrum_coro_release(co);
    return 0;
}

Test(coroutine, is_made_whole_or_not_at_all, .init = count_memory)
{
    int x = 0;
    cr_expect_gt(fail_each(create_and_run, &x, THI_FAULT_ALLOC), 0u);
    cr_expect_gt(fail_each(create_and_run, &x, THI_FAULT_AT_EXIT), 0u);
    fail_each(create_and_run, &x, THI_FAULT_PAGES);
    fail_all(create_and_run, &x, THI_FAULT_ALLOC);
    fail_all(create_and_run, &x, THI_FAULT_PAGES);
}

/* New stacks, one after the other, so that slabs are mapped, guards made and tables grown. */
enum { STACKS = 1500 };

static int take_new_stacks(void *arg)
{
    const thi_fault_t kind = *(thi_fault_t *)arg;
    thrum_coro_config_t config = THRUM_CORO_CONFIG_INIT;
    thrum_coro_t **cos = calloc(STACKS, sizeof *cos);
    unsigned failed = 0;
    int line = 0;
    config.stack_size = THRUM_CORO_STACK_MIN;
    NEED(cos != NULL);
    for (int i = 0; i < STACKS && line == 0; i++) {
        int err = ENOMEM;
        for (unsigned nth = 1; err == ENOMEM && line == 0; nth++) {
            thi_fault_arm(kind, nth);
            err = thrum_coro_create(&cos[i], give_three, arg, &config);
            thi_fault_arm(kind, 0);
            failed += err != 0;
            if ((err == 0) != (cos[i] != NULL) || nth == 100)
                line = __LINE__;
        }
        if (err != 0)
            line = __LINE__;
    }
    for (int i = 0; i < STACKS && line == 0; i++) {
        void *value = NULL;
        if (thrum_coro_resume(cos[i], NULL, &value) != 0 || value != arg)
            line = __LINE__;
    }
    for (int i = 0; i < STACKS; i++)
        thrum_coro_release(cos[i]);
    free(cos);
    NEED(line != 0 || failed > 0);
    return line;
}

/* In one process each: what was mapped stays. */
static void take_new_stacks_without(thi_fault_t kind)
{
    struct caller c;
    caller_start(&c, take_new_stacks, &kind);
    const int line = caller_join(&c);
    cr_assert_eq(line, 0, "line %d", line);
}

Test(coroutine, stacks_that_could_not_be_guarded_are_used_later)
{
    take_new_stacks_without(THI_FAULT_PAGES);
}

Test(coroutine, stacks_need_memory_for_their_slabs)
{
    take_new_stacks_without(THI_FAULT_ALLOC);
}

static int cleaned;

static void clean(void *arg)
{
    cleaned += *(int *)arg;
}

static int defer_many(void *arg, void **result)
{
    static int one = 1;
    int *accepted = arg;
    (void)result;
    for (int i = 0; i < 40; i++) {
        const int err = thrum_defer(clean, &one);
        NEED(err == 0 || err == ENOMEM);
        *accepted += err == 0;
    }
    return 0;
}

static int defer_in_need(void *arg)
{
    thrum_coro_t *co = NULL;
    int accepted = 0;
    (void)arg;
    cleaned = 0;
    if (thrum_coro_create(&co, defer_many, &accepted, NULL) != 0)
        return 0;
    NEED(thrum_coro_resume(co, NULL, NULL) == ENODATA);
    NEED(thrum_coro_result(co, NULL) == 0);
    NEED(cleaned == accepted && accepted > 0);
    thrum_coro_release(co);
    return 0;
}

Test(coroutine, what_was_deferred_is_called, .init = count_memory)
{
    cr_expect_gt(fail_each(defer_in_need, NULL, THI_FAULT_ALLOC), 2u);
}

/* --- loops --------------------------------------------------------------------------------------------- */

static int make_loop(void *arg)
{
    thrum_loop_t *loop = NULL;
    thrum_loop_config_t config = THRUM_LOOP_CONFIG_INIT;
    int fd = -1;
    config.watchdog = arg != NULL ? THRUM_S(10) : 0;
    int err = thrum_loop_create(&loop, &config);
    NEED((err == 0) == (loop != NULL) && (err == 0 || err == ENOMEM));
    if (loop == NULL)
        return 0;
    err = thrum_loop_fd(loop, &fd);
    NEED(err == 0 || err == EMFILE || err == ENOMEM);
    NEED((err == 0) == (fd >= 0));
    if (err != 0) { /* it can be asked again */
        for (int kind = 0; kind < THI_FAULT_KINDS; kind++)
            thi_fault_arm((thi_fault_t)kind, 0);
        NEED(thrum_loop_fd(loop, &fd) == 0 && fd >= 0);
    }
    err = thrum_loop_turn(loop);
    NEED(err == 0 || err == ENOMEM);
    thrum_loop_destroy(loop);
    return 0;
}

static int next_fd(void)
{
    const int fd = dup(0);
    close(fd);
    return fd;
}

Test(coroutine, loops_are_made_whole_or_not_at_all, .init = count_memory)
{
    int watched = 0;
    fail_all(make_loop, NULL, THI_FAULT_SIGNAL); /* the first may open what stays */
    const int before = next_fd();
    for (int i = 0; i < 2; i++) {
        void *arg = i == 0 ? NULL : &watched;
        cr_expect_gt(fail_each(make_loop, arg, THI_FAULT_ALLOC), 1u);
        cr_expect_geq(fail_each(make_loop, arg, THI_FAULT_SIGNAL), 3u);
        fail_each(make_loop, arg, THI_FAULT_PAGES);
        fail_each(make_loop, arg, THI_FAULT_THREAD);
        fail_each(make_loop, arg, THI_FAULT_AT_EXIT);
        fail_all(make_loop, arg, THI_FAULT_ALLOC);
        fail_all(make_loop, arg, THI_FAULT_PAGES);
    }
    cr_expect_eq(next_fd(), before, "descriptors are left open");
}

/* What coroutines do, each step of which may fail. */
struct world {
    uint32_t spawned;
    uint32_t ran;
    uint32_t failed; /* lines of what was not as it should be */
    int fds[2];
};

#define WANT(w, what) ((what) ? (void)0 : (void)((w)->failed = __LINE__))

static bool is_shortage(int err)
{
    return err == ENOMEM || err == EMFILE;
}

static int child(void *arg, void **result)
{
    struct world *w = arg;
    *result = w;
    w->ran++;
    const int err = thrum_sleep(THRUM_US(10));
    WANT(w, err == 0); /* needs nothing that could be refused */
    thrum_yield();
    return 0;
}

static int echo_once(void *arg, void **result)
{
    struct world *w = arg;
    char c = 0;
    size_t n = 0;
    (void)result;
    w->ran++;
    const int err = thrum_io_read(w->fds[1], &c, 1, &n, THRUM_FOREVER);
    WANT(w, (err == 0 && n == 1 && c == 'x') || is_shortage(err));
    return 0;
}

static int run_elsewhere(void *arg, void **result)
{
    thi_fetch_add_relaxed(&((struct world *)arg)->ran, 1u);
    *result = arg;
    return 0;
}

static void talk(struct world *w)
{
    thrum_coro_t *reader = NULL;
    int err = thrum_go(&reader, echo_once, w);
    WANT(w, (err == 0) == (reader != NULL) && (err == 0 || err == ENOMEM));
    w->spawned += err == 0;
    thrum_yield(); /* so that it waits */
    size_t n = 0;
    WANT(w, thrum_io_write(w->fds[0], "x", 1, &n, THRUM_FOREVER) == 0 && n == 1);
    if (reader != NULL)
        WANT(w, thrum_coro_join(reader, NULL) == 0);
    thrum_coro_release(reader);
}

static void ask_others(struct world *w)
{
    void *value = NULL;
    thrum_future_t *f = NULL;
    int err = thrum_blocking(run_elsewhere, w, &value);
    WANT(w, err == 0 ? value == w : err == ENOMEM);
    w->spawned += err == 0;
    thrum_executor_t *ex = thrum_loop_executor(thrum_loop_current());
    if (ex == NULL)
        return;
    err = thrum_executor_submit(ex, run_elsewhere, w, &f);
    WANT(w, (err == 0) == (f != NULL) && (err == 0 || err == ENOMEM));
    w->spawned += err == 0;
    if (f == NULL)
        return;
    WANT(w, thrum_future_result(f, &value) == 0 && value == w);
    thrum_future_release(f);
}

enum { CHILDREN = 5 };

static int parent(void *arg, void **result)
{
    struct world *w = arg;
    thrum_coro_t *cos[CHILDREN] = {NULL};
    (void)result;
    w->ran++;
    for (int i = 0; i < CHILDREN; i++) {
        const int err = thrum_go(&cos[i], child, w);
        WANT(w, (err == 0) == (cos[i] != NULL) && (err == 0 || err == ENOMEM));
        w->spawned += err == 0;
    }
    talk(w);
    ask_others(w);
    for (int i = 0; i < CHILDREN; i++) {
        void *value = NULL;
        if (cos[i] == NULL)
            continue;
        WANT(w, thrum_coro_join(cos[i], &value) == 0 && value == w);
        thrum_coro_release(cos[i]);
    }
    return 11;
}

static int run_world(void *arg)
{
    struct world w = {0};
    (void)arg;
    NEED(socketpair(AF_UNIX, SOCK_STREAM, 0, w.fds) == 0);
    const int err = thrum_run(parent, &w, NULL);
    w.spawned += err == 11;
    NEED(err == 11 || err == ENOMEM);
    NEED(w.ran == w.spawned);
    close(w.fds[0]);
    close(w.fds[1]);
    return (int)w.failed;
}

static void in_a_world_without(thi_fault_t kind, unsigned least)
{
    fail_all(run_world, NULL, kind);
    const int before = next_fd();
    const unsigned n = fail_each(run_world, NULL, kind);
    cr_expect_geq(n, least, "%u", n);
    cr_expect_eq(next_fd(), before, "descriptors are left open");
}

Test(coroutine, loops_go_on_without_memory, .init = count_memory)
{
    in_a_world_without(THI_FAULT_ALLOC, 8);
}

Test(coroutine, loops_go_on_without_pages, .init = count_memory)
{
    in_a_world_without(THI_FAULT_PAGES, 0);
}

Test(coroutine, loops_go_on_without_descriptors, .init = count_memory)
{
    in_a_world_without(THI_FAULT_SIGNAL, 2);
}

Test(coroutine, loops_go_on_without_threads, .init = count_memory)
{
    in_a_world_without(THI_FAULT_THREAD, 1);
}

Test(coroutine, loops_go_on_where_nothing_can_be_registered, .init = count_memory)
{
    in_a_world_without(THI_FAULT_AT_EXIT, 1);
}

/* --- from other threads -------------------------------------------------------------------------------- */

struct feeder {
    thrum_loop_t *loop;
    struct world *world;
    uint32_t runs;
};

static int feed(void *arg)
{
    struct feeder *f = arg;
    struct world *w = f->world;
    await_word(&f->runs, 1);
    thi_fault_arm(THI_FAULT_ALLOC, 1);
    thi_fault_arm(THI_FAULT_PAGES, 1);
    for (int i = 0; i < 20; i++) {
        thrum_coro_t *co = NULL;
        const int err = thrum_loop_go(f->loop, &co, child, w, NULL);
        thi_fault_arm(THI_FAULT_PAGES, (unsigned)(i % 3));
        NEED((err == 0) == (co != NULL) && (err == 0 || err == ENOMEM));
        if (err != 0)
            continue;
        w->spawned++;
        const int joined = thrum_coro_join(co, NULL);
        NEED(joined == 0 || joined == ENOMEM);
        thrum_coro_release(co);
    }
    thrum_loop_stop(f->loop);
    return 0;
}

static int keep_alive(void *arg, void **result)
{
    (void)result;
    thi_store_release((uint32_t *)arg, 1u);
    return thrum_sleep(THRUM_S(3600));
}

static int be_fed(void *arg)
{
    struct world w = {0};
    struct feeder f = {NULL, &w, 0};
    struct caller c;
    (void)arg;
    NEED(thrum_loop_create(&f.loop, NULL) == 0);
    NEED(thrum_loop_go(f.loop, NULL, keep_alive, &f.runs, NULL) == 0);
    caller_start(&c, feed, &f);
    NEED(thrum_loop_run(f.loop) == ECANCELED);
    const int line = caller_join(&c);
    thi_fault_arm(THI_FAULT_ALLOC, 0);
    thi_fault_arm(THI_FAULT_PAGES, 0);
    thrum_loop_destroy(f.loop);
    NEED(w.ran == w.spawned && w.spawned > 0);
    return line != 0 ? line : (int)w.failed;
}

Test(coroutine, who_feeds_a_loop_in_need_is_told, .init = count_memory)
{
    run_alone(be_fed, NULL);
}
