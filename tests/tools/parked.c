/*
 * Coroutines in every state, and a thread that waits, for debuggers to look at: then the main coroutine says "parked" and calls
 * everybody_is_parked, or, with an argument, abort.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <thrum/thrum.h>

#define KEEP __attribute__((noinline, noclone))

static thrum_mutex_t jobs_lock = THRUM_MUTEX_INIT;
static thrum_event_t never = THRUM_EVENT_INIT;
static thrum_sem_t no_permits = THRUM_SEM_INIT(0);
static volatile int depth;

/* Nothing here ends in a tail call: the frames are looked for. */
#ifdef __clang__
#undef KEEP
#define KEEP __attribute__((noinline))
#endif

KEEP static int waits_for_event(int marker)
{
    const int err = thrum_event_wait(&never);
    depth += marker;
    return err;
}

KEEP static int calls_the_waiter(int marker)
{
    const int err = waits_for_event(marker + 1);
    depth++;
    return err;
}

static int event_coroutine(void *arg, void **result)
{
    (void)result;
    const int err = calls_the_waiter(*(int *)arg);
    depth++;
    return err;
}

static int lock_coroutine(void *arg, void **result)
{
    (void)arg, (void)result;
    thrum_mutex_lock(&jobs_lock);
    depth++;
    return thrum_mutex_unlock(&jobs_lock);
}

static int sleeping_coroutine(void *arg, void **result)
{
    (void)arg, (void)result;
    const int err = thrum_sleep(THRUM_S(3600));
    depth++;
    return err;
}

KEEP static void yields_a_value(void)
{
    thrum_coro_yield(NULL);
    depth++;
}

static int generator(void *arg, void **result)
{
    (void)arg, (void)result;
    yields_a_value();
    depth++;
    return 0;
}

KEEP void everybody_is_parked(void);
KEEP void everybody_is_parked(void)
{
    depth++;
}

static bool crash;

KEEP static int stands_here(void)
{
    puts("parked");
    fflush(stdout);
    if (crash)
        abort();
    everybody_is_parked();
    depth++;
    return 0;
}

/* Resumed by hand, in a coroutine of the loop. */
static int inner_coroutine(void *arg, void **result)
{
    (void)arg, (void)result;
    const int err = stands_here();
    depth++;
    return err;
}

static void spawn(thrum_fn fn, void *arg, const char *name)
{
    thrum_coro_config_t config = THRUM_CORO_CONFIG_INIT;
    config.name = name;
    config.daemon = true;
    if (thrum_go_with(NULL, fn, arg, &config) != 0)
        abort();
}

static int threads_body(void *arg, void **result)
{
    (void)arg, (void)result;
    return thrum_sem_acquire(&no_permits);
}

static thrum_coro_t *make(thrum_fn fn, const char *name)
{
    thrum_coro_config_t config = THRUM_CORO_CONFIG_INIT;
    thrum_coro_t *co = NULL;
    config.name = name;
    if (thrum_coro_create(&co, fn, NULL, &config) != 0)
        abort();
    return co;
}

static int main_coroutine(void *arg, void **result)
{
    static int marker = 40;
    (void)arg, (void)result;
    thrum_mutex_lock(&jobs_lock);
    spawn(event_coroutine, &marker, "waiter");
    spawn(lock_coroutine, NULL, "locker");
    spawn(sleeping_coroutine, NULL, "sleeper");
    thrum_yield();
    thrum_coro_t *suspended = make(generator, "generator");
    thrum_coro_t *fresh = make(generator, "fresh");
    thrum_coro_t *inner = make(inner_coroutine, "inner");
    if (thrum_coro_resume(suspended, NULL, NULL) != 0 ||
        thrum_coro_resume(inner, NULL, NULL) != ENODATA)
        abort();
    thrum_coro_release(inner);
    thrum_coro_release(fresh);
    thrum_coro_release(suspended);
    return thrum_mutex_unlock(&jobs_lock);
}

static bool somebody_waits(void)
{
    char text[1000] = "";
    FILE *out = fmemopen(text, sizeof text, "w");
    if (out == NULL)
        abort();
    thrum_dump_waiters(out);
    fclose(out);
    return strstr(text, "semaphore") != NULL;
}

int main(int argc, char **argv)
{
    thrum_thread_t *thread = NULL;
    (void)argv;
    crash = argc > 1;
    if (thrum_thread_spawn(&thread, threads_body, NULL, NULL) != 0)
        return 1;
    while (!somebody_waits())
        thrum_yield();
    const int err = thrum_run(main_coroutine, NULL, NULL);
    if (thrum_sem_release(&no_permits) != 0 || thrum_thread_join(thread, NULL) != 0)
        return 1;
    thrum_thread_release(thread);
    return err;
}
