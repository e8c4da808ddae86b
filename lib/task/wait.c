/*
 * Waiting for several futures at once.
 */
#include "task/future.h"

#define ON_STACK 8u

static const thi_site_t site = {"futures", NULL};

struct many {
    thrum_future_t **fs;
    size_t n;
    thrum_wait_mode_t mode;
    thi_waiter_t *waiters;
    unsigned char *entered; /* one for each future */
    size_t seen;            /* how many had ended at the last look, and were not enough */
};

static size_t count_ended(const struct many *m)
{
    size_t ended = 0;
    for (size_t i = 0; i < m->n; i++)
        ended += thrum_future_done(m->fs[i]);
    return ended;
}

static bool any_failed(const struct many *m)
{
    for (size_t i = 0; i < m->n; i++)
        if (thrum_future_done(m->fs[i]) && thi_future_status(m->fs[i]) != 0)
            return true;
    return false;
}

static bool is_satisfied(struct many *m)
{
    const size_t ended = count_ended(m);
    m->seen = ended;
    if (ended == m->n || (ended != 0 && m->mode == THRUM_FIRST_COMPLETED))
        return true;
    return m->mode == THRUM_FIRST_ERROR && any_failed(m);
}

/* What has not ended runs on this very strand, all of it. One that does not may end, or fail, and be enough. */
static bool is_stuck(const struct many *m, const thi_strand_t *self)
{
    for (size_t i = 0; i < m->n; i++)
        if (!thrum_future_done(m->fs[i]) && !thi_future_runs_on(m->fs[i], self))
            return false;
    return true;
}

/* Runs tasks that nobody has started, until it is satisfied; if nobody else can. Else it would miss that another one
 * has ended, and wait for one that may need the rest of this very task. */
static bool help(struct many *m, thi_strand_t *self, thrum_time_t deadline)
{
    if (!thi_help_in_time(self, deadline))
        return false;
    for (size_t i = 0; i < m->n; i++)
        if (thi_future_help(m->fs[i], self, deadline) && is_satisfied(m))
            return true;
    return false;
}

/* ------------------------------------------------------------------------------------------------
 * Sleeping on all that have not ended. Whoever ends one of them wakes us.
 */

static bool enter_all(const struct many *m, thi_wait_t *wait)
{
    size_t ended = 0;
    for (size_t i = 0; i < m->n; i++) {
        if (thrum_future_done(m->fs[i])) {
            if (++ended > m->seen && !THI_PLANT("future-wait-skips"))
                return false;
            continue;
        }
        m->entered[i] = thi_future_enter(m->fs[i], wait, &m->waiters[i], (uint32_t)i);
        if (m->entered[i] == 0)
            return false; /* ended meanwhile: look again */
    }
    return true;
}

static void leave_all(const struct many *m)
{
    for (size_t i = 0; i < m->n; i++) {
        if (m->entered[i] != 0)
            thi_future_leave(m->fs[i], &m->waiters[i]);
        m->entered[i] = 0;
    }
}

static int sleep_once(const struct many *m, thi_strand_t *self, thrum_time_t deadline)
{
    thi_wait_t wait;
    thi_wait_init(&wait, self);
    int err = 0;
    if (enter_all(m, &wait))
        err = thi_wait_sleep(&wait, deadline, true, &site, m->fs);
    else if (!thi_wait_give_up(&wait))
        err = thi_wait_sleep(&wait, THRUM_FOREVER, false, &site, m->fs);
    leave_all(m);
    return err;
}

static int wait_for(struct many *m, thrum_time_t deadline)
{
    thi_strand_t *self = thi_self();
    if (self == NULL)
        return ENOMEM;
    int err = 0;
    while (err == 0 && !is_satisfied(m) && !help(m, self, deadline))
        err = is_stuck(m, self) ? EDEADLK : sleep_once(m, self, deadline);
    return err != 0 && is_satisfied(m) ? 0 : err;
}

/* --- waiting for all: one after the other, since each has to end anyway ------------------------- */

static int wait_for_each(const struct many *m, thrum_time_t deadline)
{
    int err = 0;
    for (size_t i = 0; err == 0 && i < m->n; i++)
        err = thrum_future_wait_until(m->fs[i], deadline);
    return err;
}

static int wait_for_some(struct many m, thrum_time_t deadline)
{
    thi_waiter_t few[ON_STACK];
    unsigned char few_entered[ON_STACK] = {0};
    const size_t size = m.n * (sizeof *m.waiters + 1);
    m.waiters = m.n <= ON_STACK ? few : thi_alloc(size);
    if (m.waiters == NULL)
        return ENOMEM;
    m.entered = m.n <= ON_STACK ? few_entered : (unsigned char *)(m.waiters + m.n);
    const int err = wait_for(&m, deadline);
    if (m.waiters != few)
        thi_free(m.waiters, size);
    return err;
}

static bool is_valid(thrum_future_t **fs, size_t n, thrum_wait_mode_t mode)
{
    if ((fs == NULL && n != 0) || (unsigned)mode > THRUM_ALL_COMPLETED)
        return false;
    for (size_t i = 0; i < n; i++)
        if (fs[i] == NULL)
            return false;
    return n < THI_WAIT_GAVE_UP;
}

int thrum_wait(thrum_future_t **fs, size_t n, thrum_wait_mode_t mode, thrum_time_t deadline,
               size_t *n_done)
{
    if (!is_valid(fs, n, mode))
        return EINVAL;
    struct many m = {.fs = fs, .n = n, .mode = mode};
    int err = 0;
    if (!is_satisfied(&m))
        err =
            mode == THRUM_ALL_COMPLETED ? wait_for_each(&m, deadline) : wait_for_some(m, deadline);
    if (n_done != NULL)
        *n_done = count_ended(&m);
    return err;
}
