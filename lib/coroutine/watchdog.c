/*
 * A timer that looks whether the loop's coroutine is still the one that it was at the last look, and says
 * so, once for each.
 */
#include <stdio.h>

#include <thrum/timer.h>

#include "coroutine/core.h"

struct thi_watchdog {
    thrum_timer_t *timer;
    uint64_t seen;     /* loop->switches at the last look */
    uint64_t reported; /* and when somebody was named */
};

static void look(thrum_timer_t *timer, void *arg)
{
    const thrum_loop_t *loop = arg;
    struct thi_watchdog *dog = loop->watchdog;
    char name[64];
    (void)timer;
    const uint64_t now = thi_load_relaxed(&loop->switches);
    const uint32_t running = thi_load_relaxed(&loop->running); /* 0: the loop itself */
    if (now == dog->seen && now != dog->reported && running != 0) {
        dog->reported = now;
        thi_strand_describe(running, name, sizeof name);
        fprintf(stderr, "thrum: %s has not let go for %lld ms or more\n", name,
                (long long)(loop->config.watchdog / THRUM_MS(1)));
    }
    dog->seen = now;
}

int thi_watchdog_begin(thrum_loop_t *loop)
{
    if (loop->config.watchdog == 0)
        return 0;
    struct thi_watchdog *dog = loop->watchdog = thi_alloc(sizeof *dog);
    if (dog == NULL)
        return ENOMEM;
    int err = thrum_timer_create(&dog->timer, look, loop);
    if (err == 0)
        err = thrum_timer_start_periodic(dog->timer, loop->config.watchdog, loop->config.watchdog);
    return err;
}

void thi_watchdog_end(thrum_loop_t *loop)
{
    struct thi_watchdog *dog = loop->watchdog;
    if (dog == NULL)
        return;
    /* What it looks at goes away: until it does not look any more, also for who is cancelled. */
    while (dog->timer != NULL && thrum_timer_cancel_wait(dog->timer, NULL) != 0)
        thi_thread_yield();
    thrum_timer_release(dog->timer);
    loop->watchdog = NULL;
    thi_free(dog, sizeof *dog);
}
