/*
 * Futures: ended once, by one of those who try; every callback called once, in the order added; whoever
 * waits is let go; and nobody touches what the last reference has freed.
 */
#include <thrum/future.h>

#include "task/future.h"

#include "sim.h"

struct ft {
    thrum_future_t *f;
    unsigned ends;    /* who ended it, or cancelled it, says so */
    unsigned added;   /* callbacks */
    unsigned called;  /* callbacks */
    unsigned last[4]; /* by who added it: the number of the callback called last */
    int error;        /* what it ended with; ECANCELED: cancelled */
    void *value;
    bool over; /* `error` and `value` are known */
};

static void ft_begin(struct ft *t)
{
    *t = (struct ft){0};
    sim_check(thrum_future_create(&t->f) == 0);
    sim_name(t->f, sizeof *t->f, "future");
}

/* The program's reference, given to another task. */
static thrum_future_t *ft_share(struct ft *t)
{
    return thrum_future_retain(t->f);
}

static void ft_over(struct ft *t, int error, void *value)
{
    sim_check(!t->over || (t->error == error && t->value == value));
    t->over = true;
    t->error = error;
    t->value = value;
}

static void ft_look(struct ft *t, thrum_future_t *f)
{
    void *value = NULL;
    sim_check(thrum_future_done(f) && thrum_future_trywait(f) == 0);
    const int err = thrum_future_result(f, &value);
    ft_over(t, err, value);
    sim_check(thrum_future_cancelled(f) == (err == ECANCELED));
    sim_check(err == 0 || value == NULL);
}

/* --- tasks: each has a reference of its own, and drops it ---------------------------------------- */

static void *ft_completes(void *arg)
{
    struct ft *t = arg;
    thrum_future_t *f = t->f;
    const int err = thrum_future_complete(f, t);
    sim_check(err == 0 || err == EINVAL);
    t->ends += err == 0;
    thrum_future_release(f);
    return NULL;
}

static void *ft_fails(void *arg)
{
    struct ft *t = arg;
    thrum_future_t *f = t->f;
    const int err = thrum_future_fail(f, EIO);
    sim_check(err == 0 || err == EINVAL);
    t->ends += err == 0;
    thrum_future_release(f);
    return NULL;
}

static void *ft_cancels(void *arg)
{
    struct ft *t = arg;
    thrum_future_t *f = t->f;
    if (thrum_future_cancel(f)) {
        t->ends++;
        ft_over(t, ECANCELED, NULL);
    }
    thrum_future_release(f);
    return NULL;
}

static void *ft_waits(void *arg)
{
    struct ft *t = arg;
    thrum_future_t *f = t->f;
    sim_check(thrum_future_wait(f) == 0);
    ft_look(t, f);
    thrum_future_release(f);
    return NULL;
}

static void *ft_waits_a_while(void *arg)
{
    struct ft *t = arg;
    thrum_future_t *f = t->f;
    const thrum_time_t deadline = sim_soon();
    const int err = thrum_future_wait_until(f, deadline);
    if (!sim_gave_up(err, deadline))
        ft_look(t, f);
    thrum_future_release(f);
    return NULL;
}

struct ft_callback {
    struct ft *t;
    const sim_task *adder;
    unsigned by;
    unsigned number;
    bool called;
};

static void ft_call(thrum_future_t *f, void *arg)
{
    struct ft_callback *c = arg;
    ft_look(c->t, f);
    sim_check(!c->called);
    c->called = true;
    c->t->called++;
    if (sim_self() == c->adder)
        return;                                    /* at once: it had ended */
    sim_check(c->t->last[c->by] == c->number - 1); /* in order */
    c->t->last[c->by] = c->number;
}

static void ft_add(struct ft *t, thrum_future_t *f, struct ft_callback *c, unsigned by,
                   unsigned number)
{
    *c = (struct ft_callback){t, sim_self(), by, number, false};
    t->added++;
    sim_check(thrum_future_add_done_callback(f, ft_call, c) == 0);
}

struct ft_adder {
    struct ft *t;
    unsigned by;
    struct ft_callback c[2];
};

static void *ft_adds(void *arg)
{
    struct ft_adder *a = arg;
    thrum_future_t *f = a->t->f;
    ft_add(a->t, f, &a->c[0], a->by, 1);
    ft_add(a->t, f, &a->c[1], a->by, 2);
    thrum_future_release(f);
    return NULL;
}

static void ft_end(struct ft *t)
{
    thrum_future_t *f = t->f;
    (void)ft_share(t);
    thrum_future_release(f);
    sim_join_all();
    ft_look(t, f);
    sim_check(t->ends == 1 && t->called == t->added);
    thrum_future_release(f);
}

/* ------------------------------------------------------------------------------------------------
 * The end
 */

SIM_TEST(future, complete_against_wait, .tasks = 2, .schedules = 20000, .dfs_bound = 4)
{
    struct ft t;
    ft_begin(&t);
    (void)ft_share(&t);
    sim_spawn(ft_waits, &t);
    sim_check(thrum_future_complete(t.f, &t) == 0);
    t.ends++;
    ft_end(&t);
}

/* Who waits has the only other reference, and drops it while the one that completed still returns. */
SIM_TEST(future, whom_it_lets_go_may_free_it, .tasks = 2, .schedules = 20000, .dfs_bound = 4)
{
    struct ft t;
    ft_begin(&t);
    (void)ft_share(&t);
    sim_spawn(ft_waits, &t);
    (void)ft_completes(&t);
    sim_join_all();
    sim_check(t.over && t.error == 0 && t.ends == 1);
}

SIM_TEST(future, who_completes_need_not_keep_it, .tasks = 2, .schedules = 20000, .dfs_bound = 4)
{
    struct ft t;
    struct ft_callback c;
    ft_begin(&t);
    ft_add(&t, t.f, &c, 0, 1);
    sim_spawn(ft_waits, &t); /* drops the only reference */
    sim_check(thrum_future_complete(t.f, &t) == 0);
    sim_join_all();
    sim_check(t.over && t.error == 0);
}

SIM_TEST(future, one_of_three_ends_it, .tasks = 5, .schedules = 20000, .dfs_bound = 2,
         .dfs_schedules = 6000)
{
    struct ft t;
    ft_begin(&t);
    for (int i = 0; i < 4; i++)
        (void)ft_share(&t);
    sim_spawn(ft_completes, &t);
    sim_spawn(ft_fails, &t);
    sim_spawn(ft_cancels, &t);
    sim_spawn(ft_waits, &t);
    ft_end(&t);
}

static void *ft_starts_and_completes(void *arg)
{
    struct ft *t = arg;
    thrum_future_t *f = t->f;
    const int err = thrum_future_start(f);
    sim_check(err == 0 || err == ECANCELED);
    if (err == 0) {
        sim_check(!thrum_future_cancel(f));
        sim_check(thrum_future_complete(f, t) == 0);
        t->ends++;
    }
    thrum_future_release(f);
    return NULL;
}

SIM_TEST(future, start_against_cancel, .tasks = 4, .schedules = 20000, .dfs_bound = 2,
         .dfs_schedules = 6000)
{
    struct ft t;
    ft_begin(&t);
    for (int i = 0; i < 3; i++)
        (void)ft_share(&t);
    sim_spawn(ft_starts_and_completes, &t);
    sim_spawn(ft_cancels, &t);
    sim_spawn(ft_waits, &t);
    ft_end(&t);
}

SIM_TEST(future, timeout_against_complete_against_cancel, .tasks = 5, .schedules = 30000)
{
    struct ft t;
    ft_begin(&t);
    for (int i = 0; i < 3; i++)
        (void)ft_share(&t);
    sim_task *timed = sim_spawn(ft_waits_a_while, &t);
    sim_spawn(ft_waits, &t);
    sim_spawn(sim_canceller, timed);
    sim_spawn(ft_completes, &t);
    ft_end(&t);
}

/* ------------------------------------------------------------------------------------------------
 * Callbacks
 */

SIM_TEST(future, callbacks_once_and_in_order, .tasks = 4, .schedules = 30000, .dfs_bound = 2,
         .dfs_schedules = 6000)
{
    struct ft t;
    ft_begin(&t);
    for (int i = 0; i < 3; i++)
        (void)ft_share(&t);
    struct ft_adder a[2] = {{.t = &t, .by = 0}, {.t = &t, .by = 1}};
    sim_spawn(ft_adds, &a[0]);
    sim_spawn(ft_adds, &a[1]);
    sim_spawn(ft_completes, &t);
    ft_end(&t);
}

SIM_TEST(future, callbacks_of_a_cancelled_one, .tasks = 5, .schedules = 30000)
{
    struct ft t;
    ft_begin(&t);
    for (int i = 0; i < 4; i++)
        (void)ft_share(&t);
    struct ft_adder a = {.t = &t, .by = 0};
    sim_spawn(ft_adds, &a);
    sim_spawn(ft_cancels, &t);
    sim_spawn(ft_completes, &t);
    sim_spawn(ft_waits, &t);
    ft_end(&t);
}

/* A callback drops the last reference but the one of who completes. */
static void ft_drops(thrum_future_t *f, void *arg)
{
    struct ft *t = arg;
    ft_look(t, f);
    t->called++;
    thrum_future_release(f);
}

SIM_TEST(future, a_callback_drops_it, .tasks = 3, .schedules = 20000, .dfs_bound = 3,
         .dfs_schedules = 9000)
{
    struct ft t;
    ft_begin(&t);
    (void)ft_share(&t);
    (void)ft_share(&t);
    sim_check(thrum_future_add_done_callback(t.f, ft_drops, &t) == 0);
    sim_spawn(ft_waits, &t);
    sim_spawn(ft_completes, &t);
    sim_join_all();
    sim_check(t.called == 1 && t.ends == 1);
}

/* A promise that nobody keeps is freed, and its callbacks with it. */
SIM_TEST(future, a_promise_not_kept, .tasks = 2, .schedules = 5000, .dfs_bound = 2)
{
    struct ft t;
    ft_begin(&t);
    (void)ft_share(&t);
    struct ft_adder a = {.t = &t, .by = 0};
    sim_spawn(ft_adds, &a);
    thrum_future_release(t.f);
    sim_join_all();
    sim_check(t.called == 0);
}

/* --- then --------------------------------------------------------------------------------------- */

static int ft_follows(thrum_future_t *done, void *arg, void **result)
{
    struct ft *t = arg;
    ft_look(t, done);
    t->called++;
    *result = arg;
    return 0;
}

struct ft_next {
    thrum_future_t *next;
    bool cancelled;
};

static void *ft_cancels_next(void *arg)
{
    struct ft_next *n = arg;
    n->cancelled = thrum_future_cancel(n->next);
    thrum_future_release(n->next);
    return NULL;
}

SIM_TEST(future, then_against_cancel, .tasks = 3, .schedules = 30000, .dfs_bound = 3,
         .dfs_schedules = 9000)
{
    struct ft t;
    struct ft_next n = {NULL, false};
    void *value = NULL;
    ft_begin(&t);
    (void)ft_share(&t);
    sim_check(thrum_future_then(t.f, NULL, ft_follows, &t, &n.next) == 0);
    thrum_future_t *next = thrum_future_retain(n.next);
    sim_spawn(ft_cancels_next, &n);
    sim_spawn(ft_completes, &t);
    const int err = thrum_future_result(next, &value);
    thrum_future_release(next);
    ft_end(&(struct ft){.f = t.f, .ends = 1, .added = t.called, .called = t.called});
    sim_check(n.cancelled == (err == ECANCELED));
    sim_check(t.called == (err == 0) && value == (err == 0 ? &t : NULL));
}

/* What it was to follow is dropped. */
SIM_TEST(future, then_of_a_promise_not_kept, .tasks = 3, .schedules = 10000, .dfs_bound = 3)
{
    struct ft t;
    struct ft_next n = {NULL, false};
    ft_begin(&t);
    sim_check(thrum_future_then(t.f, NULL, ft_follows, &t, &n.next) == 0);
    thrum_future_t *next = thrum_future_retain(n.next);
    sim_spawn(ft_cancels_next, &n);
    thrum_future_release(t.f);
    sim_check(thrum_future_result(next, NULL) == ECANCELED);
    thrum_future_release(next);
    sim_join_all();
    sim_check(t.called == 0 && n.cancelled);
}

/* ------------------------------------------------------------------------------------------------
 * Several at once
 */

static void *ft_wait_for_two(struct ft *t, thrum_wait_mode_t mode, thrum_time_t deadline)
{
    thrum_future_t *fs[3] = {t[0].f, t[1].f, t[0].f}; /* one stands there twice */
    size_t done = 0;
    const int err = thrum_wait(fs, 3, mode, deadline, &done);
    sim_gave_up(err, deadline);
    const bool ended[2] = {thrum_future_done(t[0].f), thrum_future_done(t[1].f)};
    sim_check(done <= 2u * ended[0] + ended[1]);
    if (err == 0)
        sim_check(mode == THRUM_ALL_COMPLETED ? done == 3 : done != 0);
    if (err == 0 && mode == THRUM_FIRST_ERROR && done != 3)
        sim_check((ended[0] && thrum_future_result(t[0].f, NULL) != 0) ||
                  (ended[1] && thrum_future_result(t[1].f, NULL) != 0));
    thrum_future_release(t[0].f);
    thrum_future_release(t[1].f);
    return NULL;
}

static void *ft_waits_for_first(void *arg)
{
    return ft_wait_for_two(arg, THRUM_FIRST_COMPLETED, THRUM_FOREVER);
}

static void *ft_waits_for_error(void *arg)
{
    return ft_wait_for_two(arg, THRUM_FIRST_ERROR, THRUM_FOREVER);
}

static void *ft_waits_for_all(void *arg)
{
    return ft_wait_for_two(arg, THRUM_ALL_COMPLETED, THRUM_FOREVER);
}

static void *ft_waits_for_some_time(void *arg)
{
    return ft_wait_for_two(arg, (thrum_wait_mode_t)sim_random(3), sim_soon());
}

static void ft_two_begin(struct ft *t, unsigned shares)
{
    ft_begin(&t[0]);
    ft_begin(&t[1]);
    for (unsigned i = 0; i < shares; i++) {
        (void)ft_share(&t[0]);
        (void)ft_share(&t[1]);
    }
}

static void ft_two_end(struct ft *t)
{
    sim_join_all();
    ft_end(&t[0]);
    ft_end(&t[1]);
}

SIM_TEST(future, wait_for_the_first, .tasks = 4, .schedules = 30000, .dfs_bound = 2,
         .dfs_schedules = 6000)
{
    struct ft t[2];
    ft_two_begin(t, 2);
    sim_task *waiter = sim_spawn(ft_waits_for_first, t);
    sim_spawn(sim_random(2) == 0 ? ft_completes : ft_fails, &t[1]);
    sim_join(waiter);
    ft_completes(&t[0]);
    ft_two_end(t);
}

SIM_TEST(future, wait_for_an_error, .tasks = 4, .schedules = 30000)
{
    struct ft t[2];
    ft_two_begin(t, 2);
    sim_spawn(ft_waits_for_error, t);
    sim_spawn(ft_completes, &t[0]);
    sim_spawn(sim_random(2) == 0 ? ft_completes : ft_cancels, &t[1]);
    ft_two_end(t);
}

SIM_TEST(future, wait_for_all, .tasks = 5, .schedules = 30000)
{
    struct ft t[2];
    ft_two_begin(t, 3);
    sim_spawn(ft_waits_for_all, t);
    sim_spawn(ft_completes, &t[1]);
    sim_task *timed = sim_spawn(ft_waits_for_some_time, t);
    sim_spawn(sim_canceller, timed);
    ft_completes(&t[0]);
    ft_two_end(t);
}

/* --- as completed ------------------------------------------------------------------------------- */

static void ft_next_of(thrum_as_completed_t *it, struct ft *t)
{
    thrum_future_t *f = NULL;
    sim_check(thrum_as_completed_next(it, &f, THRUM_FOREVER) == 0);
    sim_check(f == t[0].f || f == t[1].f);
    ft_look(f == t[0].f ? &t[0] : &t[1], f);
    thrum_future_release(f);
}

SIM_TEST(future, as_they_complete, .tasks = 3, .schedules = 20000, .dfs_bound = 2,
         .dfs_schedules = 6000)
{
    struct ft t[2];
    thrum_future_t *f = NULL;
    thrum_as_completed_t *it = NULL;
    ft_two_begin(t, 1);
    sim_spawn(ft_completes, &t[0]);
    sim_check(thrum_as_completed_create(&it, (thrum_future_t *[]){t[0].f, t[1].f}, 2) == 0);
    sim_spawn(ft_cancels, &t[1]);
    ft_next_of(it, t);
    ft_next_of(it, t);
    sim_check(t[0].over && t[1].over);
    sim_check(thrum_as_completed_next(it, &f, THRUM_FOREVER) == ENODATA);
    thrum_as_completed_destroy(it);
    ft_two_end(t);
}

SIM_TEST(future, given_up_while_they_complete, .tasks = 3, .schedules = 30000, .dfs_bound = 2,
         .dfs_schedules = 6000)
{
    struct ft t[2];
    thrum_as_completed_t *it = NULL;
    ft_two_begin(t, 1);
    sim_check(thrum_as_completed_create(&it, (thrum_future_t *[]){t[0].f, t[1].f}, 2) == 0);
    sim_spawn(ft_completes, &t[0]);
    sim_spawn(sim_random(2) == 0 ? ft_completes : ft_cancels, &t[1]);
    if (sim_random(2) == 0)
        ft_next_of(it, t);
    thrum_as_completed_destroy(it);
    ft_two_end(t);
}

/* One of them never ends, and goes with its last reference. */
SIM_TEST(future, given_up_with_a_promise_not_kept, .tasks = 2, .schedules = 20000, .dfs_bound = 2)
{
    struct ft t[2];
    thrum_as_completed_t *it = NULL;
    ft_two_begin(t, 0);
    (void)ft_share(&t[0]);
    sim_check(thrum_as_completed_create(&it, (thrum_future_t *[]){t[0].f, t[1].f}, 2) == 0);
    sim_spawn(ft_completes, &t[0]);
    thrum_future_release(t[1].f);
    thrum_as_completed_destroy(it);
    ft_end(&t[0]);
}
