#include "process/pools.h"

/* The library installs no handlers of signals, but one of SIGSEGV from the first coroutine on, and blocks none in the
 * program's threads. */
TestSuite(handlers, .timeout = 60);

enum { SIGNALS = 65 };

struct signals {
    void (*handlers[SIGNALS])(int);
    sigset_t blocked;
};

static void look_at(struct signals *s)
{
    for (int i = 1; i < SIGNALS; i++) {
        struct sigaction action = {.sa_handler = SIG_ERR};
        (void)sigaction(i, NULL, &action);
        s->handlers[i] = action.sa_handler;
    }
    cr_assert_eq(pthread_sigmask(SIG_BLOCK, NULL, &s->blocked), 0);
}

static void expect_unchanged(const struct signals *before, int but_for)
{
    struct signals now;
    look_at(&now);
    for (int i = 1; i < SIGNALS; i++) {
        cr_expect(i == but_for || now.handlers[i] == before->handlers[i], "signal %d", i);
        cr_expect_eq(sigismember(&now.blocked, i), sigismember(&before->blocked, i), "signal %d",
                     i);
    }
}

static int do_nothing(void *arg, void **result)
{
    (void)arg, (void)result;
    return 0;
}

static void note_run(thrum_timer_t *t, void *ran)
{
    (void)t;
    thrum_event_set(ran);
}

static void use_threads(void)
{
    thrum_event_t ran = THRUM_EVENT_INIT;
    thrum_thread_t *thread = NULL;
    thrum_timer_t *timer = NULL;
    thrum_executor_t *pool = NULL;
    cr_assert_eq(thrum_thread_spawn(&thread, do_nothing, NULL, NULL), 0);
    cr_expect_eq(thrum_thread_join(thread, NULL), 0);
    thrum_thread_release(thread);
    cr_assert_eq(thrum_timer_create(&timer, note_run, &ran), 0);
    cr_expect_eq(thrum_timer_start(timer, 0), 0);
    cr_expect_eq(thrum_event_wait(&ran), 0);
    thrum_timer_release(timer);
    cr_assert_eq(thrum_thread_pool_create(&pool, NULL), 0);
    cr_expect_eq(thrum_executor_map(pool, do_nothing, NULL, NULL, NULL, 10, 1, THRUM_FOREVER), 0);
    thrum_executor_destroy(pool);
}

static void use_processes(void)
{
    thrum_process_t *process = NULL;
    thrum_executor_t *pool = NULL;
    thrum_process_pool_config_t config = THRUM_PROCESS_POOL_CONFIG_INIT;
    const char *argv[] = {"true", NULL};
    config.workers = 1;
    cr_assert_eq(thrum_process_spawn(&process, do_nothing, NULL, NULL), 0);
    cr_expect_eq(thrum_process_join(process, NULL), 0);
    thrum_process_release(process);
    cr_expect_eq(thrum_subprocess_run(argv, NULL, NULL, 0, 0, THRUM_FOREVER, NULL), 0);
    cr_assert_eq(thrum_process_pool_create(&pool, &config), 0);
    cr_expect_eq(thrum_executor_map(pool, do_nothing, NULL, NULL, NULL, 10, 1, THRUM_FOREVER), 0);
    thrum_executor_destroy(pool);
}

Test(handlers, are_the_programs_own)
{
    struct signals before;
    look_at(&before);
    use_threads();
    use_processes();
    expect_unchanged(&before, 0);
    cr_expect_eq(thrum_run(do_nothing, NULL, NULL), 0);
    expect_unchanged(&before, SIGSEGV);
}
