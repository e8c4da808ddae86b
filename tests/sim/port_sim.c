/*
 * Ports, and the coroutines that wakers leave in them: nobody who was posted is lost, no loop sleeps over a
 * post, and a waker that is late by a sleep, or by a loop, does no harm.
 *
 * The loop is the test's own: one coroutine that is the task itself, which sleeps by the real
 * thi_strand_park, and a loop that does nothing while it sleeps but look at its port.
 */
#include <errno.h>
#include <string.h>

#include "coroutine/core.h"

#include "sim.h"

/* --- what the library's loop would be ------------------------------------------------------------------ */

_Thread_local thi_stage_t *thi_stage THI_TLS_MODEL;

__attribute__((constructor)) static void keep_stage(void)
{
    sim_keep(&thi_stage);
}

void thi_loop_ready(thrum_loop_t *loop, thrum_coro_t *co)
{
    (void)loop;
    if (co->state == THI_CORO_BLOCKED)
        co->state = THI_CORO_READY;
}

void thi_loop_admit(thrum_loop_t *loop, thrum_coro_t *co)
{
    thi_store_relaxed(&co->stage, loop->stage);
    co->state = THI_CORO_READY;
    loop->alive++;
}

/* As admits and take_post of turn.c. */
static bool port_admits(thrum_loop_t *loop, thrum_coro_t *co)
{
    if (thi_load_acquire(&co->fresh) == 0 || thi_load_acquire(&co->port) != loop->port ||
        thi_swap_acq_rel(&co->fresh, 0u) == 0)
        return false;
    thi_loop_admit(loop, co);
    return true;
}

static void port_take_post(thrum_loop_t *loop)
{
    thrum_coro_t *co = thi_port_take(loop->port);
    for (thrum_coro_t *next = NULL; co != NULL; co = next) {
        next = co->next_post;
        thi_swap_acq_rel(&co->posted, NULL);
        if (port_admits(loop, co))
            continue;
        if (thi_load_relaxed(&co->port) != loop->port)
            thi_coro_wake(&co->strand);
        else if (thi_load_relaxed(&co->stage) == loop->stage)
            thi_loop_ready(loop, co);
    }
}

/* On the word, or until the signal is given. */
static void port_sleep(thi_port_t *port)
{
    const bool polls = port->signal >= 0;
    if (!thi_port_fall_asleep(port, polls))
        return;
    if (!polls)
        thi_port_sleep(port, THRUM_FOREVER);
    while (polls && !sim_signal(port->signal))
        sim_yield();
    if (polls)
        thi_signal_set(port->signal, false);
    thi_port_wake_up(port);
}

int thi_loop_block(thi_stage_t *stage, thrum_coro_t *co, thrum_time_t deadline)
{
    (void)deadline;
    co->state = THI_CORO_BLOCKED;
    for (;;) {
        port_take_post(stage->loop);
        if (co->state == THI_CORO_READY)
            break;
        port_sleep(stage->loop->port);
    }
    co->state = THI_CORO_RUNNING;
    return 0;
}

int thi_loop_block_lazily(thi_stage_t *stage, thrum_coro_t *co, thrum_time_t deadline)
{
    return thi_loop_block(stage, co, deadline);
}

/* --- a port ------------------------------------------------------------------------------------------- */

static thi_port_t *port_made(bool polls)
{
    thi_port_t *port = thi_port_make();
    sim_check(port != NULL);
    thi_port_wake_up(port);
    sim_name(port, sizeof *port, "port");
    sim_signals_repeat(polls); /* a loop that woke by itself may be told all the same */
    if (polls)
        sim_check(thi_signal_open(&port->signal) == 0);
    return port;
}

struct poster {
    thi_port_t *port;
    thrum_coro_t cos[2];
    bool posted[2];
};

static void *port_posts(void *arg)
{
    struct poster *p = arg;
    for (int i = 0; i < 2; i++)
        p->posted[i] = thi_port_post(p->port, &p->cos[i]);
    return NULL;
}

/* How many have come, each once and in its poster's order. */
static unsigned port_count(thi_port_t *port, struct poster *posters, unsigned n)
{
    unsigned count = 0;
    thrum_coro_t *co = thi_port_take(port);
    for (; co != NULL; co = co->next_post) {
        count++;
        for (unsigned i = 0; i < n; i++) {
            if (co == &posters[i].cos[1])
                sim_check(posters[i].cos[0].state == THI_CORO_DONE);
        }
        sim_check(co->state == THI_CORO_NEW);
        co->state = THI_CORO_DONE;
    }
    return count;
}

static void port_everything_comes(bool polls)
{
    struct poster posters[2];
    thi_port_t *port = port_made(polls);
    memset(posters, 0, sizeof posters);
    for (int i = 0; i < 2; i++) {
        posters[i].port = posters[i].cos[0].port = posters[i].cos[1].port = port;
        sim_spawn(port_posts, &posters[i]);
    }
    for (unsigned come = 0; come < 4;) {
        const unsigned n = port_count(port, posters, 2);
        come += n;
        if (n == 0)
            port_sleep(port);
    }
    sim_join_all();
    sim_check(!thi_port_has_post(port));
    thi_port_close(port);
}

SIM_TEST(port, a_post_wakes_who_sleeps_on_the_word, .tasks = 3, .schedules = 20000)
{
    port_everything_comes(false);
}

SIM_TEST(port, a_post_wakes_who_polls, .tasks = 3, .schedules = 20000)
{
    port_everything_comes(true);
}

static void *port_stops(void *arg)
{
    thi_port_stop(arg);
    return NULL;
}

SIM_TEST(port, a_stop_wakes_who_sleeps, .tasks = 2, .schedules = 5000, .dfs_bound = 5)
{
    thi_port_t *port = port_made(false);
    sim_spawn(port_stops, port);
    while (thi_load_relaxed(&port->stop) == 0)
        port_sleep(port);
    sim_join_all();
    thi_port_close(port);
}

/* Who is refused was not left there; and nobody touches what was closed. */
static void port_closed_against_posts(bool polls)
{
    struct poster p;
    thi_port_t *port = port_made(polls);
    memset(&p, 0, sizeof p);
    p.port = port;
    for (int i = 0; i < 2; i++)
        p.cos[i].port = port;
    sim_task *poster = sim_spawn(port_posts, &p);
    (void)port_count(port, &p, 1);
    if (polls) {
        (void)thi_port_fall_asleep(port, true); /* the signal will be given, or has been */
        thi_port_wake_up(port);
        (void)thi_port_fall_asleep(port, true);
    }
    thi_port_close(port);
    sim_join(poster);
    sim_check(port->inbox == NULL && port->visitors == 0);
    sim_check(p.posted[0] || !p.posted[1]); /* once shut, it stays so */
    sim_join_all();
}

SIM_TEST(port, closing_against_posts, .tasks = 2, .schedules = 20000, .dfs_bound = 3)
{
    port_closed_against_posts(false);
}

SIM_TEST(port, closing_against_posts_to_who_polls, .tasks = 2, .schedules = 20000, .dfs_bound = 3)
{
    port_closed_against_posts(true);
}

/* --- a coroutine that sleeps in several places ---------------------------------------------------------- */

enum { PORT_SLEEPS = 3 };

struct port_sleeper {
    thi_stage_t stage;
    thrum_loop_t loop;
    thrum_coro_t co;
    uint32_t told[PORT_SLEEPS];
};

struct port_waker {
    struct port_sleeper *sleeper;
    int which;
};

static void *port_wakes(void *arg)
{
    const struct port_waker *w = arg;
    thi_store_release(&w->sleeper->told[w->which], 1u);
    thi_strand_unpark(&w->sleeper->co.strand);
    return NULL;
}

/* Sleeps in the loop (or, without one, with the thread) until it is told. */
static void port_sleep_in(struct port_sleeper *s, thi_port_t *port, int which)
{
    s->loop.port = port;
    s->stage.loop = port != NULL ? &s->loop : NULL;
    while (thi_load_acquire(&s->told[which]) == 0)
        (void)thi_strand_park(&s->co.strand, THRUM_FOREVER);
}

static void port_sleeper_begin(struct port_sleeper *s)
{
    memset(s, 0, sizeof *s);
    s->loop.stage = &s->stage;
    s->co.stage = &s->stage;
    s->co.strand.kind = &thi_coro_kind;
    s->co.state = THI_CORO_RUNNING;
    sim_name(s, sizeof *s, "sleeper");
    thi_stage = &s->stage;
}

/* One loop after the other, each closed before the next sleep. Wakers of earlier sleeps, which it did not
 * need, come when they come. */
static void port_moves(const int *places, int sleeps)
{
    struct port_sleeper s;
    struct port_waker wakers[PORT_SLEEPS];
    port_sleeper_begin(&s);
    for (int i = 0; i < sleeps; i++) {
        wakers[i] = (struct port_waker){&s, i};
        sim_spawn(port_wakes, &wakers[i]);
    }
    for (int i = 0; i < sleeps; i++) {
        thi_port_t *port = places[i] != 0 ? port_made(places[i] == 2) : NULL;
        port_sleep_in(&s, port, i);
        s.stage.loop = NULL;
        if (port != NULL)
            thi_port_close(port);
    }
    sim_join_all();
    sim_signals_repeat(false);
}

/* 0: the thread, 1: a loop that sleeps on its word, 2: one that polls. */
SIM_TEST(port, wakers_find_who_moves_between_loops, .tasks = 4, .schedules = 100000)
{
    port_moves((const int[]){1, 1, 1}, 2 + (int)sim_random(2));
}

SIM_TEST(port, wakers_find_who_moves_between_loops_and_threads, .tasks = 4, .schedules = 100000)
{
    const int orders[][PORT_SLEEPS] = {{1, 0, 1}, {0, 1, 0}, {2, 0, 1}, {2, 1, 0}};
    port_moves(orders[sim_random(4)], 2 + (int)sim_random(2));
}

/* As few as it takes for one to be late by a loop while the other relies on it: a rare schedule. */
SIM_TEST(port, who_is_late_by_a_loop_goes_on_for_the_other, .tasks = 3, .schedules = 400000)
{
    port_moves((const int[]){1, 1}, 2);
}

/* Two loops at a time: the one that it has left is closed only in the end, and looks at its port then. */
SIM_TEST(port, what_is_left_in_an_old_port_is_passed_on, .tasks = 4, .schedules = 100000)
{
    struct port_sleeper s;
    struct port_waker wakers[PORT_SLEEPS];
    port_sleeper_begin(&s);
    thi_port_t *first = port_made(false);
    thi_port_t *second = port_made(false);
    for (int i = 0; i < PORT_SLEEPS; i++) {
        wakers[i] = (struct port_waker){&s, i};
        sim_spawn(port_wakes, &wakers[i]);
    }
    port_sleep_in(&s, first, 0);
    /* What came late to the first must not keep others from being left in the second: closing it sees to
     * that, or whoever left it. */
    s.stage.loop = NULL;
    thi_port_close(first);
    port_sleep_in(&s, second, 1);
    port_sleep_in(&s, NULL, 2);
    s.stage.loop = NULL;
    sim_join_all();
    thi_port_close(second);
}

/* As leave of turn.c: the loop stays as it is. */
static void port_goes_away(struct port_sleeper *s, bool polls)
{
    (void)thi_port_leave(s->loop.port, false);
    port_take_post(&s->loop);
    if (polls)
        (void)thi_port_leave(s->loop.port, true);
    s->stage.loop = NULL;
}

/* Whose loop does not look at its port any more: what comes late to it goes on all the same. */
SIM_TEST(port, what_is_left_with_who_is_away_is_passed_on, .tasks = 4, .schedules = 100000)
{
    struct port_sleeper s;
    struct port_waker wakers[PORT_SLEEPS];
    port_sleeper_begin(&s);
    const bool polls = sim_random(2) == 0;
    thi_port_t *first = port_made(polls);
    thi_port_t *second = port_made(false);
    sim_signals_repeat(polls);
    for (int i = 0; i < PORT_SLEEPS; i++) {
        wakers[i] = (struct port_waker){&s, i};
        sim_spawn(port_wakes, &wakers[i]);
    }
    port_sleep_in(&s, first, 0);
    port_goes_away(&s, polls);
    port_sleep_in(&s, second, 1);
    port_goes_away(&s, false);
    port_sleep_in(&s, NULL, 2);
    sim_join_all();
    thi_port_close(second);
    thi_port_close(first);
    sim_signals_repeat(false);
}

/* As send of loop.c: another life of the record, spawned from elsewhere. */
static void *port_spawns(void *arg)
{
    struct port_sleeper *s = arg;
    thi_port_t *port = s->loop.port;
    thi_store_release(&s->co.port, port);
    sim_check(thi_port_visit(port));
    thi_store_relaxed(&s->co.stage, NULL);
    thi_store_release(&s->co.fresh, 1u);
    thi_coro_post(&s->co, port);
    thi_port_visited(port);
    return NULL;
}

SIM_TEST(port, who_is_spawned_comes_whoever_is_late, .tasks = 3, .schedules = 100000)
{
    struct port_sleeper s;
    port_sleeper_begin(&s);
    struct port_waker waker = {&s, 0};
    sim_spawn(port_wakes, &waker);
    thi_port_t *first = port_made(false);
    port_sleep_in(&s, first, 0);
    const unsigned end = sim_random(3);
    thi_port_t *second = NULL;
    if (end == 0) {
        thi_port_close(first);
        second = port_made(false);
    } else {
        second = port_made(false);
        if (end == 1)
            thi_port_close(first);
        else
            port_goes_away(&s, false);
    }
    s.loop.port = second;
    s.stage.loop = &s.loop;
    sim_spawn(port_spawns, &s);
    while (s.loop.alive == 0) {
        port_take_post(&s.loop);
        if (s.loop.alive == 0)
            port_sleep(second);
    }
    sim_join_all();
    sim_check(s.loop.alive == 1);
    s.stage.loop = NULL;
    thi_port_close(second);
    if (end == 2)
        thi_port_close(first);
}

/* As send of loop.c against thrum_loop_destroy: who is let in is waited for. */
struct port_last {
    thrum_loop_t loop;
    thrum_coro_t co;
    bool let_in;
};

static void *port_is_announced(void *arg)
{
    struct port_last *l = arg;
    thi_port_t *port = l->loop.port;
    l->let_in = thi_port_visit(port) && thi_port_announce(port, &l->loop.coming);
    if (l->let_in)
        (void)thi_port_post(port, &l->co);
    thi_port_visited(port);
    return NULL;
}

SIM_TEST(port, who_is_let_in_is_waited_for, .tasks = 2, .schedules = 20000)
{
    struct port_last l;
    memset(&l, 0, sizeof l);
    l.loop.port = l.co.port = port_made(sim_random(2) == 0);
    sim_task *spawner = sim_spawn(port_is_announced, &l);
    bool come = false;
    thi_port_shut(l.loop.port);
    while (!come && (thi_port_has_post(l.loop.port) || thi_load_acquire(&l.loop.coming) != 0)) {
        come = thi_port_take(l.loop.port) != NULL;
        if (!come && thi_load_acquire(&l.loop.coming) != 0)
            port_sleep(l.loop.port);
        thi_store_relaxed(&l.loop.port->stop, 0u);
    }
    sim_join(spawner);
    sim_check(come == l.let_in);
    thi_port_close(l.loop.port);
    sim_signals_repeat(false);
    sim_join_all();
}

/* --- deadlines ----------------------------------------------------------------------------------------- */

SIM_TEST(port, the_soonest_deadline_is_first, .tasks = 1, .schedules = 5000)
{
    enum { MANY = 12 };
    thrum_coro_t cos[MANY];
    thi_deadlines_t heap = {NULL, 0, 0};
    memset(cos, 0, sizeof cos);
    sim_check(thi_deadlines_reserve(&heap, MANY));
    for (int turn = 0; turn < 60; turn++) {
        thrum_coro_t *co = &cos[sim_random(MANY)];
        if (co->timer != 0) {
            thi_deadlines_remove(&heap, co);
        } else {
            co->deadline = 1 + sim_random(20);
            thi_deadlines_add(&heap, co);
        }
        const thrum_coro_t *first = thi_deadlines_first(&heap);
        for (int i = 0; i < MANY; i++)
            sim_check(cos[i].timer == 0 || (first != NULL && first->deadline <= cos[i].deadline));
    }
    thi_deadlines_end(&heap);
}
