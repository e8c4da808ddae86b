/*
 * Condition variable. The number of waiters in the parking lot, and the mutex that they gave up.
 *
 *   waiters   exact: it changes under the bucket's lock, with the queue. Outside the lock a signal
 *             may read a zero that is about to change; then the wait had not begun.
 *   mutex     the mutex of the last to wait; a waiter with another one is woken, never moved.
 *
 * Invariants
 *   I1  A waiter is queued before it unlocks the mutex. So a signal that comes after the unlock finds
 *       it: no wake-up is lost.
 *   I2  A wait returns 0 only when a signal claimed it; a wait that gave up consumed none (wait.c).
 *   I3  A signal's last touch of the condition is under the bucket's lock, before the waiter goes.
 *
 * A signalled sleeper whose mutex is held is moved to the mutex's queue ("wait morphing"): woken, it
 * would only go to sleep again. The unlock wakes it like any other waiter of the mutex.
 */
#include <thrum/cond.h>

#include "sync/sync.h"

static const thi_site_t site = {"cond", NULL};

struct waiting {
    thrum_cond_t *c;
    thrum_mutex_t *m;
};

/* Under the bucket's lock. */
static bool enter(void *arg)
{
    const struct waiting *w = arg;
    thi_store_relaxed(&w->c->thrum_waiters, w->c->thrum_waiters + 1);
    thi_store_relaxed(&w->c->thrum_mutex, w->m);
    return true;
}

/* Under the bucket's lock; wakes nobody. */
static bool leave(void *arg)
{
    const struct waiting *w = arg;
    thi_store_relaxed(&w->c->thrum_waiters, w->c->thrum_waiters - 1);
    return false;
}

static void unlock_mutex(void *arg)
{
    const struct waiting *w = arg;
    thi_mutex_release(w->m);
}

/* With the mutex held; returns with the mutex held, or ENOMEM before anything was done. */
static int wait_until(thrum_cond_t *c, thrum_mutex_t *m, thrum_time_t deadline)
{
    const thi_strand_t *self = thi_self();
    if (self == NULL)
        return ENOMEM;
    if (thi_strand_cancelled(self))
        return ECANCELED;
    struct waiting w = {c, m};
    const thi_unpark_t give_up = {.key = c, .site = &site, .before = leave, .arg = &w};
    thi_park_t park = {.site = &site,
                       .key = c,
                       .data = m,
                       .arg = &w,
                       .validate = enter,
                       .queued = unlock_mutex,
                       .give_up = &give_up,
                       .cancellable = true,
                       .spin = true};
    if (THI_PLANT("cond-unlock-then-queue") && thi_mutex_release(m) == 0)
        park.queued = NULL;
    const int err = thi_lot_park(&park, deadline);
    thi_mutex_reacquire(m, park.given);
    return err;
}

int thrum_cond_init(thrum_cond_t *c)
{
    if (c == NULL)
        return EINVAL;
    *c = (thrum_cond_t)THRUM_COND_INIT;
    return 0;
}

static int wait_mutex(thrum_cond_t *c, thrum_mutex_t *m, thrum_time_t deadline, const void *caller)
{
    if (c == NULL || m == NULL)
        return EINVAL;
    if (!thrum_mutex_locked(m))
        return EPERM;
    thi_check_gives(m);
    thi_check_wants(m, &thi_mutex_site, caller); /* already: it cannot return without it */
    const int err = wait_until(c, m, deadline);
    thi_check_holds(m, &thi_mutex_site, caller, false);
    return err;
}

int thrum_cond_wait(thrum_cond_t *c, thrum_mutex_t *m)
{
    return wait_mutex(c, m, THRUM_FOREVER, THI_CALLER);
}

int thrum_cond_wait_until(thrum_cond_t *c, thrum_mutex_t *m, thrum_time_t deadline)
{
    return wait_mutex(c, m, deadline, THI_CALLER);
}

static int wait_rlock(thrum_cond_t *c, thrum_rlock_t *r, thrum_time_t deadline, const void *caller)
{
    if (c == NULL || r == NULL)
        return EINVAL;
    if (!thrum_rlock_owned(r))
        return EPERM;
    const unsigned depth = r->thrum_depth;
    thi_check_gives(r);
    thi_check_wants(r, &thi_rlock_site, caller);
    const int err = wait_until(c, &r->thrum_mutex, deadline);
    r->thrum_depth = depth;
    thi_check_holds(r, &thi_rlock_site, caller, false);
    return err;
}

int thrum_cond_wait_rlock(thrum_cond_t *c, thrum_rlock_t *r)
{
    return wait_rlock(c, r, THRUM_FOREVER, THI_CALLER);
}

int thrum_cond_wait_rlock_until(thrum_cond_t *c, thrum_rlock_t *r, thrum_time_t deadline)
{
    return wait_rlock(c, r, deadline, THI_CALLER);
}

int thrum_cond_wait_for(thrum_cond_t *c, thrum_mutex_t *m, bool (*ready)(void *), void *arg,
                        thrum_time_t deadline)
{
    if (c == NULL || m == NULL || ready == NULL)
        return EINVAL;
    if (!thrum_mutex_locked(m))
        return EPERM;
    int err = 0;
    while (!ready(arg)) {
        if (err != 0)
            return err;
        err = wait_mutex(c, m, deadline, THI_CALLER);
    }
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * Signalling
 */

/* Under the buckets' locks. */
static bool mutex_is_held(void *arg)
{
    const struct waiting *w = arg;
    return thi_mutex_hold_waiter(w->m);
}

/* Under the buckets' locks: the last touch of the condition (I3). */
static void settle(const thi_unparked_t *found, void *arg)
{
    const struct waiting *w = arg;
    const uint32_t left = w->c->thrum_waiters - found->count - found->gone;
    /* Nobody found: those counted were strands that a fork left behind. */
    thi_store_relaxed(&w->c->thrum_waiters, found->count == 0 ? 0 : left);
}

void thrum_cond_signal(thrum_cond_t *c)
{
    thrum_cond_signal_n(c, 1);
}

/* One step for all: a strand that is woken and waits again is not found by the same signal. */
void thrum_cond_signal_n(thrum_cond_t *c, unsigned n)
{
    /* Relaxed: a waiter that the signaller can know of queued before it gave the mutex up. */
    if (c == NULL || n == 0 || thi_load_relaxed(&c->thrum_waiters) == 0)
        return;
    struct waiting w = {c, thi_load_relaxed(&c->thrum_mutex)};
    thi_lot_move(&(thi_move_t){.from = c,
                               .from_site = &site,
                               .n = n,
                               .to = w.m,
                               .to_site = &thi_mutex_site,
                               .hold = mutex_is_held,
                               .settle = settle,
                               .arg = &w});
    if (THI_PLANT("cond-late-look") && thi_load_relaxed(&c->thrum_waiters) != 0)
        thrum_cond_signal_n(c, n);
}

void thrum_cond_broadcast(thrum_cond_t *c)
{
    thrum_cond_signal_n(c, THI_ALL);
}
