#include "family.h"

#include <pthread.h>
#include <sched.h>

#include "process/object.h"

/* Many who join, threads and coroutines, with deadlines and cancellation. */
TestSuite(process_join, .timeout = 40);

enum { JOINERS = 8 };

struct joiner {
    thrum_process_t *p;
    thrum_time_t deadline;
    int err;
    int code;
};

static int join(void *arg, void **result)
{
    struct joiner *joiner = arg;
    (void)result;
    joiner->err = thrum_process_join_until(joiner->p, &joiner->code, joiner->deadline);
    return 0;
}

static void *join_as_thread(void *arg)
{
    join(arg, NULL);
    return NULL;
}

static unsigned waiters(const thrum_process_t *p)
{
    thi_processes_enter();
    const unsigned n = p->waiters;
    thi_processes_leave();
    return n;
}

static void expect_code(const struct joiner *joiner, int code)
{
    cr_expect_eq(joiner->err, 0);
    cr_expect_eq(joiner->code, code);
}

Test(process_join, many_threads_join_one)
{
    struct family family;
    struct joiner joiners[JOINERS];
    pthread_t threads[JOINERS];
    thrum_process_t *p = NULL;
    const int before = count_descriptors();
    family_open(&family);
    EXPECT_CALL(0, thrum_process_spawn(&p, family_child, &family, NULL));
    for (int i = 0; i < JOINERS; i++) {
        joiners[i] = (struct joiner){p, THRUM_FOREVER, -1, -1};
        cr_assert_eq(pthread_create(&threads[i], NULL, join_as_thread, &joiners[i]), 0);
    }
    while (waiters(p) != JOINERS)
        sched_yield();
    EXPECT_CALL(0, thrum_process_kill(p));
    for (int i = 0; i < JOINERS; i++) {
        cr_assert_eq(pthread_join(threads[i], NULL), 0);
        expect_code(&joiners[i], -SIGKILL);
    }
    cr_expect_eq(p->child.pidfd, -1, "the last to wait closes it");
    thrum_process_release(p);
    family_close(&family);
    cr_expect_leq(count_descriptors(), before + JOINERS,
                  "those of threads that waited stay for the next");
    cr_expect(has_no_child());
}

static int join_many_in_loop(void *arg, void **result)
{
    struct family *family = arg;
    struct joiner joiners[JOINERS];
    thrum_process_t *p = NULL;
    (void)result;
    EXPECT_CALL(0, thrum_process_spawn(&p, family_child, family, NULL));
    for (int i = 0; i < JOINERS; i++) {
        /* Every other one gives up before. */
        const thrum_time_t deadline = i % 2 == 0 ? THRUM_FOREVER : thrum_after(THRUM_MS(1));
        joiners[i] = (struct joiner){p, deadline, -1, -1};
        EXPECT_CALL(0, thrum_go(NULL, join, &joiners[i]));
    }
    for (int i = 1; i < JOINERS; i += 2) {
        while (joiners[i].err == -1)
            thrum_yield();
        cr_expect_eq(joiners[i].err, ETIMEDOUT);
        cr_expect_eq(joiners[i].code, -1);
    }
    cr_expect_eq(waiters(p), JOINERS / 2);
    family_let_go(family);
    struct joiner last = {p, THRUM_FOREVER, -1, -1};
    join(&last, NULL);
    expect_code(&last, 0);
    for (int i = 0; i < JOINERS; i += 2) {
        while (joiners[i].err == -1)
            thrum_yield();
        expect_code(&joiners[i], 0);
    }
    thrum_process_release(p);
    return 0;
}

Test(process_join, coroutines_join_with_deadlines)
{
    struct family family;
    family_open(&family);
    cr_expect_eq(thrum_run(join_many_in_loop, &family, NULL), 0);
    family_close(&family);
    cr_expect(has_no_child());
}

static int join_different_in_loop(void *arg, void **result)
{
    struct family *families = arg;
    struct joiner joiners[JOINERS];
    (void)result;
    for (int i = 0; i < JOINERS; i++) {
        joiners[i] = (struct joiner){NULL, THRUM_FOREVER, -1, -1};
        EXPECT_CALL(0, thrum_process_spawn(&joiners[i].p, family_child, &families[i], NULL));
        EXPECT_CALL(0, thrum_go(NULL, join, &joiners[i]));
    }
    for (int i = JOINERS - 1; i >= 0; i--) { /* a coroutine that waits lets the others run */
        while (waiters(joiners[i].p) == 0)
            thrum_yield();
        EXPECT_CALL(0, thrum_process_terminate(joiners[i].p));
        while (joiners[i].err == -1)
            thrum_yield();
        expect_code(&joiners[i], -SIGTERM);
        thrum_process_release(joiners[i].p);
    }
    return 0;
}

Test(process_join, coroutines_join_one_each)
{
    struct family families[JOINERS];
    for (int i = 0; i < JOINERS; i++)
        family_open(&families[i]);
    cr_expect_eq(thrum_run(join_different_in_loop, families, NULL), 0);
    for (int i = 0; i < JOINERS; i++)
        family_close(&families[i]);
    cr_expect(has_no_child());
}

static int join_as_thrum_thread(void *arg, void **result)
{
    return join(arg, result);
}

Test(process_join, is_cancelled)
{
    struct family family;
    thrum_thread_t *t = NULL;
    struct joiner joiner = {NULL, THRUM_FOREVER, -1, -1};
    family_open(&family);
    EXPECT_CALL(0, thrum_process_spawn(&joiner.p, family_child, &family, NULL));
    EXPECT_CALL(0, thrum_thread_spawn(&t, join_as_thrum_thread, &joiner, NULL));
    while (waiters(joiner.p) == 0)
        sched_yield();
    EXPECT_CALL(0, thrum_thread_cancel(t));
    EXPECT_CALL(0, thrum_thread_join(t, NULL));
    thrum_thread_release(t);
    cr_expect_eq(joiner.err, ECANCELED);
    cr_expect_eq(waiters(joiner.p), 0u);
    cr_expect(thrum_process_alive(joiner.p));
    family_let_go(&family);
    EXPECT_CALL(0, thrum_process_join(joiner.p, NULL));
    thrum_process_release(joiner.p);
    family_close(&family);
}

/* Somebody who looks takes the status while others wait. */
Test(process_join, others_look_meanwhile)
{
    struct family family;
    pthread_t thread;
    struct joiner joiner = {NULL, THRUM_FOREVER, -1, -1};
    family_open(&family);
    EXPECT_CALL(0, thrum_process_spawn(&joiner.p, family_child, &family, NULL));
    cr_assert_eq(pthread_create(&thread, NULL, join_as_thread, &joiner), 0);
    while (waiters(joiner.p) == 0)
        sched_yield();
    EXPECT_CALL(0, thrum_process_kill(joiner.p));
    while (thrum_process_alive(joiner.p) || thrum_process_count() != 0)
        sched_yield();
    cr_assert_eq(pthread_join(thread, NULL), 0);
    expect_code(&joiner, -SIGKILL);
    cr_expect_eq(joiner.p->child.pidfd, -1);
    thrum_process_release(joiner.p);
    family_close(&family);
}

/* --- strands that start ------------------------------------------------------------------------------- */

static int start_in_loop(void *arg, void **result)
{
    (void)arg;
    (void)result;
    thrum_process_t *p = NULL;
    int seven = 7;
    int code = -1;
    EXPECT_CALL(0, thrum_process_spawn(&p, family_return, &seven, NULL));
    EXPECT_CALL(0, thrum_process_join(p, &code));
    cr_expect_eq(code, 7);
    thrum_process_release(p);
    return 0;
}

Test(process_join, is_started_by_a_coroutine)
{
    cr_expect_eq(thrum_run(start_in_loop, NULL, NULL), 0);
}

/* The child goes on in the coroutine that started it, on a loop of its own. */
static int use_loop(void *arg, void **result)
{
    (void)arg;
    (void)result;
    alarm(CHILD_SECONDS);
    if (thrum_sleep(THRUM_MS(1)) != 0)
        return 1;
    thrum_coro_t *co = NULL;
    static int four = 4;
    if (thrum_go(&co, family_return, &four) != 0)
        return 2;
    const int got = thrum_coro_join(co, NULL);
    return got == 4 ? 33 : 3;
}

static int start_user_of_loop(void *arg, void **result)
{
    (void)arg;
    (void)result;
    thrum_process_t *p = NULL;
    int code = -1;
    EXPECT_CALL(0, thrum_process_spawn(&p, use_loop, NULL, NULL));
    EXPECT_CALL(0, thrum_process_join(p, &code));
    cr_expect_eq(code, 33);
    thrum_process_release(p);
    return 0;
}

Test(process_join, a_child_of_a_coroutine_uses_the_loop)
{
    cr_expect_eq(thrum_run(start_user_of_loop, NULL, NULL), 0);
}

static int fifty(void *arg, void **result)
{
    (void)arg;
    (void)result;
    return 50;
}

static int raise_term(void *arg, void **result)
{
    (void)arg;
    (void)result;
    raise(SIGTERM);
    return 1;
}

static int start_in_thread(void *arg, void **result)
{
    (void)result;
    int *codes = arg;
    thrum_fn fns[] = {raise_term, fifty};
    int err = 0;
    for (int i = 0; err == 0 && i < 2; i++) {
        thrum_process_t *p = NULL;
        err = thrum_process_spawn(&p, fns[i], NULL, NULL);
        if (err == 0)
            err = thrum_process_join(p, &codes[i]);
        thrum_process_release(p);
    }
    return err;
}

Test(process_join, a_child_of_a_thread_hears_signals)
{
    int codes[2] = {0};
    thrum_thread_t *t = NULL;
    EXPECT_CALL(0, thrum_thread_spawn(&t, start_in_thread, codes, NULL));
    EXPECT_CALL(0, thrum_thread_join(t, NULL));
    cr_expect_eq(codes[0], -SIGTERM, "although the thread blocks them");
    cr_expect_eq(codes[1], 50);
    thrum_thread_release(t);
}

static int start_in_pool(void *arg, void **result)
{
    return start_in_thread(arg, result);
}

Test(process_join, is_started_by_a_task)
{
    int codes[4][2] = {{0}};
    thrum_executor_t *pool = NULL;
    thrum_future_t *futures[4];
    thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
    config.workers = 2;
    EXPECT_CALL(0, thrum_thread_pool_create(&pool, &config));
    for (int i = 0; i < 4; i++)
        EXPECT_CALL(0, thrum_executor_submit(pool, start_in_pool, codes[i], &futures[i]));
    for (int i = 0; i < 4; i++) {
        EXPECT_CALL(0, thrum_future_result(futures[i], NULL));
        cr_expect_eq(codes[i][0], -SIGTERM);
        cr_expect_eq(codes[i][1], 50);
        thrum_future_release(futures[i]);
    }
    thrum_executor_destroy(pool);
}
