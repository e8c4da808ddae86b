/*
 * Groups. How many tasks are open (spawned and not ended) is counted in two parts: what the strand that made
 * the group spawns and ends in a plain word (in a pool it spawns most of them and, waiting, runs most), what
 * others do in a shared one. Each part may be negative: a task is spawned here and ends there.
 *
 *   open_elsewhere    63              1    0
 *                    +----------------+---------+
 *                    |     count      | SLEEPER |     SLEEPER: the maker sleeps, and the count is of all
 *                    +----------------+---------+     tasks; who makes it 0 wakes it
 *
 * Invariants
 *   I1  A task is counted as spawned before it can end, and only the maker and the group's own tasks spawn.
 *       So when the parts, the shared one read in one piece, add up to 0, all have ended and none can come.
 *   I2  Counting its end is a task's last touch of the group; what follows uses the address only.
 *   I3  maker and thrum_outer, the scope that the maker works in, are set from the first use to the end of the
 *       wait. Only the maker and the group's tasks look at the latter: it ends with the maker's task.
 */
#include "task/group.h"

#define SLEEPER INT64_C(1)
#define ONE INT64_C(2)

static const thi_site_t site = {"group", NULL};

static bool is_cancelled(const thrum_group_t *g)
{
    return thi_scope_cancelled(&g->thrum_scope);
}

/* ------------------------------------------------------------------------------------------------
 * Ends and errors
 */

void thrum_group_cancel(thrum_group_t *g)
{
    if (g == NULL || thi_load_relaxed(&g->thrum_scope.thrum_cancelled) != 0)
        return;
    thrum_executor_t *ex = g->thrum_executor;
    thi_strand_t *maker = thi_load_acquire(&g->thrum_maker); /* A2 */
    uint32_t none = 0;
    /* Unless a task has failed before. */
    (void)thi_cas_relaxed(&g->thrum_error, &none, (uint32_t)ECANCELED);
    thi_scope_cancel(&g->thrum_scope);
    ex->kind->rouse(ex);
    if (maker != NULL)
        thi_strand_unpark(maker);
}

static void fail(thrum_group_t *g, int err)
{
    uint32_t none = 0;
    /* Relaxed: the maker reads it after the ends (R1). */
    if (thi_cas_relaxed(&g->thrum_error, &none, (uint32_t)err))
        thrum_group_cancel(g);
}

static void count_end(thrum_group_t *g, const thi_strand_t *self)
{
    if (thi_load_relaxed(&g->thrum_maker) == self) {
        g->thrum_open--;
        return;
    }
    /* R1: release; pairs with A1. The last touch (I2). */
    if (thi_fetch_sub_acq_rel(&g->thrum_open_elsewhere, ONE) == (ONE | SLEEPER))
        thi_lot_unpark(&(thi_unpark_t){.key = g, .site = &site, .n = 1});
    if (THI_PLANT("group-late-look") && thi_load_relaxed(&g->thrum_open_elsewhere) == 0)
        thi_lot_unpark(&(thi_unpark_t){.key = g, .site = &site, .n = 1});
}

thi_outcome_t thi_group_run(thrum_group_t *g, const thi_task_t *task, thi_strand_t *self)
{
    thi_outcome_t outcome = THI_CANCELLED;
    if (THI_LIKELY(!is_cancelled(g))) {
        void *unwanted = NULL;
        const thi_scope_t *before = self->scope;
        if (before != &g->thrum_scope)
            thi_scope_enter(self, &g->thrum_scope);
        const int err = task->fn(task->arg, &unwanted);
        if (before != &g->thrum_scope)
            thi_scope_enter(self, before);
        if (THI_UNLIKELY(err != 0))
            fail(g, err);
        outcome = err == 0 ? THI_COMPLETED : THI_FAILED;
    }
    count_end(g, self);
    return outcome;
}

void thi_group_end(thrum_group_t *g, int error)
{
    if (error != 0)
        fail(g, error);
    count_end(g, NULL);
}

void thi_group_drop(thrum_group_t *g, int error)
{
    fail(g, error);
    count_end(g, NULL);
}

/* ------------------------------------------------------------------------------------------------
 * Spawning
 */

int thrum_group_init(thrum_group_t *g, thrum_executor_t *executor)
{
    if (g == NULL || executor == NULL)
        return EINVAL;
    *g = (thrum_group_t)THRUM_GROUP_INIT(executor);
    return 0;
}

/* The first call to use the group, or to use it again, is its maker's. */
static thi_strand_t *make(thrum_group_t *g)
{
    thi_strand_t *self = thi_self();
    if (THI_UNLIKELY(g->thrum_maker == NULL)) {
        /* Shielded, a strand is not cancelled, and neither are those who clean up with it. */
        g->thrum_scope.thrum_outer = self != NULL && self->shields == 0 ? self->scope : NULL;
        thi_store_release(&g->thrum_maker, (void *)self); /* R2: release; pairs with A2 */
    }
    return self;
}

int thrum_group_spawn(thrum_group_t *g, thrum_fn fn, void *arg)
{
    if (THI_UNLIKELY(g == NULL || fn == NULL || g->thrum_executor == NULL))
        return EINVAL;
    const thi_strand_t *self = make(g);
    if (THI_UNLIKELY(self == NULL))
        return ENOMEM;
    if (THI_UNLIKELY(is_cancelled(g)))
        return ECANCELED;
    const bool maker = thi_load_relaxed(&g->thrum_maker) == self;
    if (maker)
        g->thrum_open++;
    else
        thi_fetch_add_relaxed(&g->thrum_open_elsewhere, ONE); /* I1: its own end comes later */
    const thi_task_t task = {fn, arg, (uintptr_t)g | THI_OWNER_GROUP, 0};
    const int err = g->thrum_executor->kind->spawn(g->thrum_executor, &task);
    if (THI_UNLIKELY(err != 0)) {
        if (maker)
            g->thrum_open--;
        else
            thi_fetch_sub_relaxed(&g->thrum_open_elsewhere, ONE);
    }
    return err;
}

/* ------------------------------------------------------------------------------------------------
 * Waiting
 */

/* How many are open, given the word of the others. */
static int64_t open_tasks(const thrum_group_t *g, int64_t elsewhere)
{
    return g->thrum_open + (elsewhere & ~SLEEPER) / ONE;
}

static bool has_ended(const thrum_group_t *g)
{
    return open_tasks(g, thi_load_acquire(&g->thrum_open_elsewhere)) == 0; /* A1: pairs with R1 */
}

/* Under the bucket's lock. The others' word is to count all tasks while the maker sleeps. */
static bool must_wait(void *arg)
{
    thrum_group_t *g = arg;
    int64_t word = thi_load_acquire(&g->thrum_open_elsewhere); /* A1 */
    do {
        if (open_tasks(g, word) == 0)
            return false;
        if (THI_PLANT("group-no-mark"))
            return true;
        /* W1: an end that the look missed makes it fail; a later one sees the mark. */
    } while (
        !thi_cas_acquire(&g->thrum_open_elsewhere, &word, open_tasks(g, word) * ONE | SLEEPER));
    g->thrum_open = 0;
    return true;
}

static bool may_help(const thrum_group_t *g, thrum_time_t deadline)
{
    return deadline == THRUM_FOREVER || thi_help_in_time(g->thrum_maker, deadline);
}

/* Runs what the executor has for it. When it has nothing more, only others can make more, who have it. */
static bool help(thrum_group_t *g, thrum_time_t deadline)
{
    thrum_executor_t *ex = g->thrum_executor;
    thi_strand_t *self = g->thrum_maker;
    bool ended = false;
    const thi_midst_t midst = thi_midst_leave(self);
    while (!(ended = has_ended(g)) && may_help(g, deadline) && ex->kind->help(ex, g)) {
    }
    thi_midst_return(self, midst);
    return ended;
}

static bool look(thrum_group_t *g)
{
    thi_spin_t spin = thi_spin_begin();
    bool ended = false;
    while (!(ended = has_ended(g)) && thi_spin_turn(&spin)) {
    }
    thi_spin_end(&spin, ended);
    return ended;
}

/* Returns why the group had to be cancelled: 0, ETIMEDOUT or ECANCELED. */
static int wait_for_all(thrum_group_t *g, thrum_time_t deadline)
{
    int why = 0;
    thi_park_t park = {.site = &site, .key = g, .arg = g, .validate = must_wait};
    while (!help(g, deadline) && !look(g)) {
        park.cancellable = why == 0;
        const int err = thi_lot_park(&park, deadline);
        if (err == ETIMEDOUT || err == ECANCELED) {
            why = err;
            thrum_group_cancel(g);
            deadline =
                THRUM_FOREVER; /* what has not started will not run; the rest was asked to stop */
        }
        thi_fetch_and_relaxed(&g->thrum_open_elsewhere, ~SLEEPER);
    }
    return why;
}

static int outcome_of(const thrum_group_t *g, int why)
{
    const uint32_t error = thi_load_relaxed(&g->thrum_error);
    if (why == ETIMEDOUT)
        return why;
    if (error != 0)
        return (int)error;
    return is_cancelled(g) ? ECANCELED : 0;
}

/* I3. Whoever uses it next makes it anew, in another task perhaps. */
static void unmake(thrum_group_t *g)
{
    g->thrum_scope.thrum_outer = NULL;
    thi_store_release(&g->thrum_maker, NULL); /* R2 */
}

int thrum_group_wait_until(thrum_group_t *g, thrum_time_t deadline)
{
    if (g == NULL || g->thrum_executor == NULL)
        return EINVAL;
    const thi_strand_t *self = make(g);
    if (self == NULL)
        return ENOMEM;
    if (g->thrum_maker != self)
        return EINVAL;
    const int why = has_ended(g) ? 0 : wait_for_all(g, deadline);
    const int err = outcome_of(g, why);
    unmake(g);
    return err;
}

int thrum_group_wait(thrum_group_t *g)
{
    return thrum_group_wait_until(g, THRUM_FOREVER);
}

bool thrum_group_cancelled(const thrum_group_t *g)
{
    return g != NULL && is_cancelled(g);
}
