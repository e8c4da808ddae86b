/*
 * Processes under load: strands of all kinds start, join, look at, end and give up processes, at once. Children
 * do next to nothing and leave: what is under test is the parent's side.
 */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stress/stress.h"

#include "process/object.h"

#define TEAM 4u
#define NAP_NS 3000000u
#define CHILD_SECONDS 120

static int leave_with(void *arg, void **result)
{
    (void)result;
    return (int)(uintptr_t)arg;
}

static int stay(void *arg, void **result)
{
    (void)arg;
    (void)result;
    alarm(CHILD_SECONDS);
    while (pause() != 0)
        continue;
    return 0;
}

static thrum_process_t *started(thrum_fn fn, uintptr_t arg, bool daemon)
{
    thrum_process_config_t config = THRUM_PROCESS_CONFIG_INIT;
    thrum_process_t *p = NULL;
    config.daemon = daemon;
    const int err = thrum_process_spawn(&p, fn, (void *)arg, &config); // NOLINT: a number
    CHECK(err == 0);
    return p;
}

/* --- each its own, while others walk the list ----------------------------------------------------------- */

static void own_child(struct member *self)
{
    const unsigned code = chance_below(&self->chance, 200);
    thrum_process_t *p = started(leave_with, code, chance_one_in(&self->chance, 2));
    int got = -1;
    int err = ETIMEDOUT;
    if (p == NULL)
        return;
    while (err == ETIMEDOUT)
        err = thrum_process_join_until(p, &got, chance_deadline(&self->chance, NAP_NS));
    CHECK(err == 0 && got == (int)code);
    CHECK(!thrum_process_alive(p) && thrum_process_kill(p) == 0);
    thrum_process_release(p);
}

static void killed_child(struct member *self)
{
    thrum_process_t *p = started(stay, 0, chance_one_in(&self->chance, 2));
    int got = 0;
    if (p == NULL)
        return;
    chance_dawdle(&self->chance);
    const int signal = chance_one_in(&self->chance, 2) ? SIGKILL : SIGTERM;
    CHECK(thrum_process_signal(p, signal) == 0);
    CHECK(thrum_process_join(p, &got) == 0 && got == -signal);
    thrum_process_release(p);
}

static void list_children(struct member *self)
{
    thrum_process_t *found[8];
    const size_t n = thrum_process_children(found, 8);
    for (size_t i = 0; i < n; i++) {
        int code = 0;
        CHECK(thrum_process_pid(found[i]) > 0);
        const int err =
            thrum_process_join_until(found[i], &code, chance_deadline(&self->chance, NAP_NS));
        CHECK(err == 0 || err == ETIMEDOUT);
        thrum_process_release(found[i]);
    }
}

static void do_anything(struct member *self)
{
    while (member_goes_on(self)) {
        switch (chance_below(&self->chance, 4)) {
        case 0:
            own_child(self);
            break;
        case 1:
            killed_child(self);
            break;
        case 2:
            list_children(self);
            break;
        default:
            thrum_process_release(started(leave_with, 0, false));
            break;
        }
    }
}

static void reap_all(void)
{
    while (thrum_process_count() != 0)
        thi_thread_yield();
    CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
}

static void run_anything(thrum_time_t until)
{
    team_run(TEAM, do_anything, NULL, until);
    reap_all();
}

/* --- all join the same ones ------------------------------------------------------------------------------ */

struct shared {
    thrum_barrier_t barrier;
    thrum_process_t *p;
    bool over;
};

static void join_together(struct member *self)
{
    struct shared *shared = self->shared;
    for (;;) {
        if (self->index == 0) {
            shared->over = !member_goes_on(self);
            shared->p = shared->over
                            ? NULL
                            : started(chance_one_in(&self->chance, 2) ? stay : leave_with, 9, true);
        }
        CHECK(thrum_barrier_wait(&shared->barrier, NULL) == 0);
        if (shared->over || shared->p == NULL)
            return;
        thrum_process_t *p = thrum_process_retain(shared->p);
        int code = 1;
        int err = ETIMEDOUT;
        if (self->index == 1)
            CHECK(thrum_process_kill(p) == 0);
        while (err == ETIMEDOUT) {
            err = chance_one_in(&self->chance, 3)
                      ? thrum_process_join(p, &code)
                      : thrum_process_join_until(p, &code, chance_deadline(&self->chance, NAP_NS));
        }
        CHECK(err == 0 && (code == 9 || code == -SIGKILL));
        thrum_process_release(p);
        CHECK(thrum_barrier_wait(&shared->barrier, NULL) == 0);
        if (self->index == 0)
            thrum_process_release(shared->p);
    }
}

static void run_together(thrum_time_t until)
{
    struct shared shared = {.p = NULL};
    CHECK(thrum_barrier_init(&shared.barrier, TEAM, NULL, NULL) == 0);
    team_run(TEAM, join_together, &shared, until);
    reap_all();
}

/* --- coroutines ------------------------------------------------------------------------------------------ */

static int join_in_coroutine(void *arg, void **result)
{
    struct member *self = arg;
    (void)result;
    while (member_goes_on(self)) {
        if (chance_one_in(&self->chance, 2))
            own_child(self);
        else
            killed_child(self);
    }
    return 0;
}

static int spawn_coroutines(void *arg, void **result)
{
    (void)result;
    for (int i = 0; i < 5; i++)
        CHECK(thrum_go(NULL, join_in_coroutine, arg) == 0);
    return 0;
}

static void run_loop(struct member *self)
{
    CHECK(thrum_run(spawn_coroutines, self, NULL) == 0);
}

static void run_coroutines(thrum_time_t until)
{
    team_run(2, run_loop, NULL, until);
    reap_all();
}

/* --- among strangers ------------------------------------------------------------------------------------- */

static void wait_for_any(struct member *self)
{
    if (self->index == 0) {
        while (member_goes_on(self))
            (void)waitpid(-1, NULL, WNOHANG);
    } else {
        while (member_goes_on(self)) {
            own_child(self);
            killed_child(self);
        }
    }
}

static void run_strangers(thrum_time_t until)
{
    team_run(TEAM, wait_for_any, NULL, until);
    reap_all();
}

/* --- parents that are killed at any moment --------------------------------------------------------------- */

static int keep_starting(void *arg, void **result)
{
    (void)arg;
    (void)result;
    alarm(CHILD_SECONDS);
    for (;;) {
        thrum_process_t *p[3];
        for (int i = 0; i < 3; i++)
            p[i] = started(stay, 0, true);
        for (int i = 0; i < 3; i++) {
            (void)thrum_process_kill(p[i]);
            (void)thrum_process_join(p[i], NULL);
            thrum_process_release(p[i]);
        }
    }
    return 0;
}

/* All that it has started have the writing end of a pipe: it is closed when they are gone. */
static void run_killed_parents(thrum_time_t until)
{
    struct chance chance = chance_begin();
    while (thrum_now() < until) {
        int ends[2];
        char byte = 0;
        CHECK(pipe(ends) == 0);
        thrum_process_t *p = started(keep_starting, 0, false);
        CHECK(thrum_sleep(chance_below(&chance, NAP_NS)) == 0);
        CHECK(thrum_process_kill(p) == 0);
        CHECK(thrum_process_join(p, NULL) == 0);
        thrum_process_release(p);
        close(ends[1]);
        CHECK(read(ends[0], &byte, 1) == 0);
        close(ends[0]);
        watchdog_progress();
    }
    reap_all();
}

static const struct stress_case cases[] = {
    {"everybody does anything", run_anything},
    {"everybody joins one", run_together},
    {"coroutines join", run_coroutines},
    {"somebody waits for any child", run_strangers},
    {"parents are killed at any moment", run_killed_parents},
};

STRESS_MAIN(cases)
