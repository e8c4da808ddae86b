/*
 * Coroutines that are asked to stop: each hears of it from the wait that it is in, and what it has deferred
 * is called, the last first, whether it returns or is ended. Deferred functions may wait.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <thrum/thrum.h>

static thrum_event_t never = THRUM_EVENT_INIT;
static thrum_mutex_t lock = THRUM_MUTEX_INIT;

static void must(int err)
{
    if (err != 0) {
        fprintf(stderr, "%s\n", thrum_strerror(err));
        exit(EXIT_FAILURE);
    }
}

static void say(void *arg)
{
    printf("  %s\n", (const char *)arg);
}

static void say_slowly(void *arg)
{
    must(thrum_sleep(THRUM_MS(1))); /* cancellation is held back meanwhile */
    say(arg);
}

static void unlock(void *arg)
{
    must(thrum_mutex_unlock(arg));
    say("unlocked");
}

/* Ends well, in whatever line that is. */
static int hold(void *arg, void **result)
{
    (void)arg, (void)result;
    must(thrum_defer(say_slowly, "good-bye"));
    must(thrum_mutex_lock(&lock));
    must(thrum_defer(unlock, &lock));
    return thrum_event_wait(&never);
}

static int write_down(void *arg, void **result)
{
    (void)arg, (void)result;
    return thrum_sleep(THRUM_MS(1));
}

/* Looks between its waits, and finishes what must be finished. */
static int beat(void *arg, void **result)
{
    (void)arg, (void)result;
    while (!thrum_cancelled()) {
        if (thrum_sleep(THRUM_S(60)) == ECANCELED)
            say("woken from its sleep");
    }
    printf("  shielded: %s\n", thrum_strerror(thrum_shield(write_down, NULL, NULL)));
    return 0; /* what it returns is up to it */
}

static void stop(const char *what, thrum_coro_t *co)
{
    thrum_yield(); /* so that it has begun to wait */
    printf("%s:\n", what);
    must(thrum_coro_cancel(co));
    printf("  it returned: %s\n", thrum_strerror(thrum_coro_join(co, NULL)));
    thrum_coro_release(co);
}

static int run(void *arg, void **result)
{
    thrum_coro_t *co = NULL;
    thrum_coro_config_t config = THRUM_CORO_CONFIG_INIT;
    (void)arg, (void)result;
    must(thrum_go(&co, hold, NULL));
    stop("one that waits for an event", co);
    printf("the lock is %s\n", thrum_mutex_locked(&lock) ? "held" : "free");
    must(thrum_go(&co, beat, NULL));
    stop("one that sleeps", co);
    config.daemon = true;
    must(thrum_go_with(NULL, hold, NULL, &config)); /* cancelled when nobody else is left */
    thrum_yield();
    printf("a daemon, at the end of the loop:\n");
    return 0;
}

int main(void)
{
    must(thrum_run(run, NULL, NULL));
    return 0;
}
