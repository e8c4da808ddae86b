/*
 * A loop's life: what its thread does between coroutines, and its beginning and end.
 *
 *   look around   take the port's inbox; wake whose deadline has passed; ask the poller
 *   run           the line, until it is empty or the turns are used up
 *   sleep         when there is nothing to run: on the port's word, or, with descriptors to wait for, in
 *                 the poller, for as long as the first deadline allows
 */
#include "coroutine/stack.h"

#define TURNS_MIN 64u
#define EVENTS 128u
#define HELPERS_MAX 64u
#define BOOST_DEFAULT THRUM_MS(100)

/* ------------------------------------------------------------------------------------------------
 * Looking around
 */

/* It may have ended, and be in another life by now, on another thread. */
static bool waits_here(const thrum_loop_t *loop, const thrum_coro_t *co)
{
    /* A2: acquire; pairs with R2 of core.h: one that is seen to wait is seen where it does. */
    return thi_load_acquire(&co->state) == THI_CORO_BLOCKED &&
           thi_load_relaxed(&co->stage) == loop->stage;
}

/* Takes it in if it is new here. It may be in another life by now, and new in another loop: `fresh` is that
 * of the life whose port was read, or of a later one, for it is read again, and by one only. */
static bool admits(thrum_loop_t *loop, thrum_coro_t *co)
{
    /* A1: acquire; pairs with R1 of loop.c. */
    if (thi_load_acquire(&co->fresh) == 0 ||
        thi_load_acquire(&co->port) != loop->port || /* A3: acquire; pairs with R2 of loop.c */
        thi_swap_acq_rel(&co->fresh, 0u) == 0)
        return false;
    thi_fetch_sub_acq_rel(&loop->coming, 1u);
    thi_loop_admit(loop, co);
    return true;
}

static void take_post(thrum_loop_t *loop)
{
    thrum_coro_t *co = thi_port_take(loop->port);
    for (thrum_coro_t *next = NULL; co != NULL; co = next) {
        next = co->next_post;
        thi_swap_acq_rel(&co->posted, NULL); /* whoever comes from now on leaves it anew */
        if (admits(loop, co))
            continue;
        if (thi_load_relaxed(&co->port) != loop->port)
            thi_coro_wake(&co->strand); /* it was left by somebody who was late */
        else if (waits_here(loop, co))
            thi_loop_ready(loop, co);
    }
}

static void wake_overdue(thrum_loop_t *loop)
{
    thi_deadlines_t *heap = &loop->deadlines;
    if (heap->count == 0)
        return;
    const thrum_time_t now = thi_clock();
    while (thi_deadlines_soonest(heap) <= now) {
        thrum_coro_t *co = thi_deadlines_first(heap);
        thi_deadlines_remove(heap, co);
        if (co->state != THI_CORO_BLOCKED)
            continue;
        if (co->deadline > now) { /* a lazy wait has moved it on */
            if (co->deadline != THRUM_FOREVER)
                thi_deadlines_add(heap, co);
            continue;
        }
        co->timed_out = true;
        thi_loop_ready(loop, co);
    }
}

/* How many descriptors are ready. */
static size_t ask_poller(thrum_loop_t *loop, thrum_time_t deadline)
{
    thi_polled_t polled[EVENTS];
    const size_t n = thi_poller_wait(loop->poller, polled, EVENTS, deadline);
    thi_waitfd_ready(loop, polled, n);
    return n;
}

/* THRUM_FEEDBACK: nobody is left at the bottom for ever. */
static void boost(thrum_loop_t *loop)
{
    const thrum_time_t now = thi_clock();
    loop->since = now;
    if (now - loop->boosted < loop->config.boost)
        return;
    loop->boosted = now;
    for (unsigned level = 1; level < THI_LEVELS; level++) {
        thrum_coro_t *co = NULL;
        while ((co = loop->lines[level].first) != NULL) {
            loop->lines[level].first = co->next;
            loop->waiting--;
            co->level = 0;
            co->used = 0;
            thi_coro_set_state(co, THI_CORO_BLOCKED);
            thi_loop_ready(loop, co);
        }
    }
}

static void look_around(thrum_loop_t *loop)
{
    take_post(loop);
    wake_overdue(loop);
    if (!loop->asked)
        loop->looked = thi_clock_coarse();
    /* It has been asked while the loop slept, or will be. */
    if (loop->poller >= 0 && loop->waiting != 0 && !loop->asked)
        (void)ask_poller(loop, 0);
    loop->asked = false;
    if (loop->config.policy == THRUM_FEEDBACK)
        boost(loop);
}

/* ------------------------------------------------------------------------------------------------
 * Sleeping
 */

static bool found_something(const thrum_loop_t *loop)
{
    return loop->waiting != 0 || thi_port_has_post(loop->port);
}

/* Somebody on another processor may be about to answer. */
static bool spin(thrum_loop_t *loop)
{
    thi_spin_t spin = thi_spin_begin();
    bool found = false;
    do
        found = found_something(loop);
    while (!found && thi_spin_turn(&spin));
    thi_spin_end(&spin, found);
    return found;
}

static void sleep_until(thrum_loop_t *loop, thrum_time_t deadline)
{
    loop->asked = loop->poller >= 0;
    if (loop->asked)
        loop->polled = ask_poller(loop, deadline) != 0 && !thi_port_has_post(loop->port);
    else
        thi_port_sleep(loop->port, deadline);
}

static void sleep_in_loop(thrum_loop_t *loop, thrum_time_t until)
{
    const thrum_time_t soonest = thi_deadlines_soonest(&loop->deadlines);
    const thrum_time_t deadline = soonest < until ? soonest : until;
    if (until != 0 && !loop->polled && spin(loop))
        return;
    thi_strand_t *self = thi_current.strand;
    const thrum_time_t start = thi_clock_coarse();
    if (!thi_port_fall_asleep(loop->port, loop->poller >= 0))
        return;
    /* A worker of a pool: the others' tasks are not to wait for it. */
    if (THI_UNLIKELY(self->on_sleep != NULL) && until != 0)
        self->on_sleep(self, true);
    sleep_until(loop, deadline);
    thi_port_wake_up(loop->port);
    if (THI_UNLIKELY(self->on_sleep != NULL) && until != 0)
        self->on_sleep(self, false);
    loop->looked = thi_clock_coarse();
    thi_spin_slept(self, loop->looked - start);
}

/* ------------------------------------------------------------------------------------------------
 * Running
 */

static bool stopped(const thrum_loop_t *loop)
{
    return thi_load_relaxed(&loop->port->stop) != 0;
}

static void run_line(thrum_loop_t *loop)
{
    thi_stage_t *stage = loop->stage;
    loop->turns = loop->waiting > TURNS_MIN ? loop->waiting : TURNS_MIN;
    thrum_coro_t *co = NULL;
    const int saved = *stage->error;
    while (loop->turns != 0 && (co = thi_loop_next(loop)) != NULL) {
        loop->turns--;
        if (THI_UNLIKELY(loop->accounts))
            thi_loop_gives(loop, co);
        *stage->error = co->error;
        thi_coro_pass(stage, co);
        *stage->error = saved;
        thi_coro_settle(stage);
        if (THI_UNLIKELY(loop->accounts)) {
            thi_store_relaxed(&loop->running, 0u);
            if (loop->config.policy == THRUM_FEEDBACK)
                loop->since = thi_clock();
        }
    }
    thi_near_end(&loop->near);
}

/* And whom it has resumed: it cannot end before that one yields or ends, which may wait for ever. */
static void cancel_coroutine(thrum_coro_t *co)
{
    for (bool inner = true; inner; co = co->resumed) {
        if (thi_load_relaxed(&co->strand.cancelled) == 0)
            thi_strand_cancel(&co->strand);
        inner = co->state == THI_CORO_RESUMING && co->strand.shields == 0;
    }
}

static void cancel_coroutines(const thrum_loop_t *loop, bool all)
{
    for (thrum_coro_t *co = loop->youngest; co != NULL; co = co->older) {
        if (all || co->daemon)
            cancel_coroutine(co);
    }
}

static bool is_empty(const thrum_loop_t *loop)
{
    return loop->alive == 0 && thi_load_acquire(&loop->coming) == 0;
}

static bool is_over(thrum_loop_t *loop)
{
    if (loop->alive > loop->daemons)
        return false;
    cancel_coroutines(loop, false);
    return is_empty(loop);
}

/* One look and one line, and a sleep until the deadline if there is nothing to do: false when it is over. */
static bool turn(thrum_loop_t *loop, thrum_time_t deadline)
{
    look_around(loop);
    if (loop->waiting == 0 && is_over(loop))
        return false;
    if (loop->waiting == 0)
        sleep_in_loop(loop, deadline);
    else
        run_line(loop);
    return true;
}

static int enter(thrum_loop_t *loop, thi_stage_t **stage)
{
    if (loop == NULL)
        return EINVAL;
    *stage = thi_stage_here();
    if (*stage == NULL)
        return ENOMEM;
    if (loop->stage != NULL && loop->stage != *stage)
        return EINVAL;
    if ((*stage)->loop != NULL || (*stage)->current != &(*stage)->self)
        return EBUSY;
    thi_store_relaxed(&loop->stage, *stage);
    thi_port_wake_up(loop->port);
    (*stage)->loop = loop;
    thi_current.near = &loop->near;
    thi_coro_set_state(&(*stage)->self, THI_CORO_RESUMING);
    (*stage)->self.resumed = NULL;
    (*stage)->self.out = NULL;
    loop->asked = false;
    if (loop->fork_mark != thi_fork_mark)
        thi_loop_forked(loop);
    return 0;
}

/* What lies in the inbox is looked at: one of those may sleep in another loop before this one runs again. */
static void leave(thi_stage_t *stage)
{
    (void)thi_port_leave(stage->loop->port, false);
    take_post(stage->loop);
    stage->loop = NULL;
    thi_current.near = NULL;
    thi_coro_set_state(&stage->self, THI_CORO_RUNNING);
}

static int run(thrum_loop_t *loop)
{
    while (turn(loop, THRUM_FOREVER)) {
        if (THI_UNLIKELY(stopped(loop))) {
            thi_store_relaxed(&loop->port->stop, 0u);
            return ECANCELED;
        }
    }
    return 0;
}

int thrum_loop_run(thrum_loop_t *loop)
{
    thi_stage_t *stage = NULL;
    int err = enter(loop, &stage);
    if (err != 0)
        return err;
    if (loop->alarm >= 0) /* it would tell again and again of a deadline that is looked at anyway */
        thi_alarm_set(loop->alarm, THRUM_FOREVER);
    err = run(loop);
    leave(stage);
    thi_loop_set_alarm(loop);
    return err;
}

int thrum_loop_turn(thrum_loop_t *loop)
{
    thi_stage_t *stage = NULL;
    const int err = enter(loop, &stage);
    if (err != 0)
        return err;
    thi_store_relaxed(&loop->port->stop, 0u);
    bool more = turn(loop, 0);
    if (more && loop->waiting != 0) /* what the poller has brought */
        more = turn(loop, 0);
    if (more && loop->waiting == 0 && !thi_port_has_post(loop->port))
        more = !is_over(loop);
    leave(stage);
    thi_loop_set_alarm(loop);
    return more ? EAGAIN : 0;
}

void thrum_loop_stop(thrum_loop_t *loop)
{
    if (loop != NULL)
        thi_port_stop(loop->port);
}

/* ------------------------------------------------------------------------------------------------
 * The beginning and the end
 */

static int check_config(const thrum_loop_config_t *config)
{
    if (config == NULL)
        return 0;
    if (config->config_size != 0 && config->config_size != sizeof *config)
        return EINVAL;
    const bool valid = (config->policy == THRUM_ROUND_ROBIN || config->policy == THRUM_FEEDBACK) &&
                       config->boost >= 0 && config->watchdog >= 0;
    return valid ? 0 : EINVAL;
}

int thrum_loop_create(thrum_loop_t **loop, const thrum_loop_config_t *config)
{
    if (loop == NULL || check_config(config) != 0)
        return EINVAL;
    thrum_loop_t *made = thi_alloc(sizeof *made);
    thi_port_t *port = made != NULL ? thi_port_make() : NULL;
    if (port == NULL) {
        thi_free(made, sizeof *made);
        return ENOMEM;
    }
    made->port = port;
    made->poller = -1;
    made->alarm = -1;
    made->fork_mark = thi_fork_mark;
    if (config != NULL)
        made->config = *config;
    if (made->config.boost == 0)
        made->config.boost = BOOST_DEFAULT;
    made->accounts = made->config.policy == THRUM_FEEDBACK || made->config.watchdog != 0;
    made->helpers = (thrum_sem_t)THRUM_SEM_INIT(HELPERS_MAX);
    const int err = thi_watchdog_begin(made);
    if (err != 0)
        thrum_loop_destroy(made);
    else
        *loop = made;
    return err;
}

/* What is left is cancelled, and what its coroutines spawn while it ends. */
static void run_out(thrum_loop_t *loop)
{
    do {
        take_post(loop);
        cancel_coroutines(loop, true);
        thi_store_relaxed(&loop->port->stop, 0u);
    } while (!is_empty(loop) && turn(loop, THRUM_FOREVER) && !is_empty(loop));
}

void thrum_loop_destroy(thrum_loop_t *loop)
{
    thi_stage_t *stage = NULL;
    if (loop == NULL)
        return;
    if (loop->fork_mark != thi_fork_mark)
        thi_loop_forget_visitors(loop);
    thi_watchdog_end(loop);
    thi_tasks_close(loop);
    thi_port_shut(loop->port);
    const bool used = loop->stage != NULL || loop->fork_mark != thi_fork_mark;
    const bool spawned = thi_port_has_post(loop->port) || thi_load_acquire(&loop->coming) != 0;
    if ((used || spawned) && enter(loop, &stage) == 0) {
        run_out(loop);
        leave(stage);
    }
    thi_tasks_end(loop);
    if (loop->alarm >= 0)
        thi_signal_close(loop->alarm);
    if (loop->poller >= 0)
        thi_poller_close(loop->poller);
    thi_port_close(loop->port);
    thi_deadlines_end(&loop->deadlines);
    thi_streams_lose(loop);
    thi_free(loop->streams, loop->streams_size * sizeof *loop->streams);
    thi_free(loop->armed, loop->armed_size);
    thi_free(loop, sizeof *loop);
}

int thrum_run(thrum_fn fn, void *arg, void **result)
{
    thrum_loop_t *loop = NULL;
    thrum_coro_t *co = NULL;
    thi_stage_t *stage = thi_stage_here();
    if (fn == NULL)
        return EINVAL;
    if (stage == NULL)
        return ENOMEM;
    if (stage->loop != NULL || stage->current != &stage->self)
        return EBUSY;
    int err = thrum_loop_create(&loop, NULL);
    if (err == 0)
        err = thi_loop_spawn(loop, stage, &co, fn, arg, NULL);
    if (err == 0)
        err = thrum_loop_run(loop);
    if (err == 0)
        err = thrum_coro_result(co, result);
    thrum_coro_release(co);
    thrum_loop_destroy(loop);
    return err;
}
