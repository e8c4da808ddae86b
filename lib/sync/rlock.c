/*
 * Recursive lock: a mutex, whose owner word says whose it is, and a depth that belongs to the owner.
 *
 * Invariants
 *   I1  The owner word holds a strand's id only between that strand's lock and its unlock. It is
 *       written by the strand itself, or by the unlock that hands it the mutex in its sleep. So "is it mine" needs no more than a relaxed load: it can be
 *       true only if this strand wrote it.
 *   I2  depth is read and written by the owner alone; the mutex orders one owner after another.
 */
#include <thrum/rlock.h>

#include "sync/sync.h"

static uint32_t owner_of(const void *object)
{
    return thi_mutex_site.owner(object); /* the mutex is the first member */
}

const thi_site_t thi_rlock_site = {"rlock", owner_of};

static bool mine(const thrum_rlock_t *r, uint32_t self)
{
    return self != 0 && thi_load_relaxed(&r->thrum_mutex.thrum_owner) == self;
}

static int deepen(thrum_rlock_t *r)
{
    if (r->thrum_depth == UINT_MAX)
        return EOVERFLOW;
    r->thrum_depth++;
    return 0;
}

static inline int own(thrum_rlock_t *r, const void *caller)
{
    r->thrum_depth = 1;
    thi_check_holds(r, &thi_rlock_site, caller, false);
    return 0;
}

/* Another strand owns it, or waits for it. */
THI_NOINLINE static int lock_wanted(thrum_rlock_t *r, thrum_time_t deadline, const void *caller)
{
    thi_check_wants_until(r, &thi_rlock_site, caller, deadline);
    const int err =
        thi_check_closes_circle(r) ? EDEADLK : thi_mutex_acquire(&r->thrum_mutex, deadline);
    if (err == 0)
        return own(r, caller);
    thi_check_forgoes();
    return err;
}

/* The calling thread could not be owner of anything before. */
THI_COLD static int lock_first_time(thrum_rlock_t *r, thrum_time_t deadline, const void *caller)
{
    return thi_self() != NULL ? lock_wanted(r, deadline, caller) : ENOMEM;
}

static inline int lock_until(thrum_rlock_t *r, thrum_time_t deadline, const void *caller)
{
    const uint32_t self = thi_current.id;
    if (THI_UNLIKELY(self == 0))
        return lock_first_time(r, deadline, caller);
    if (mine(r, self))
        return deepen(r);
    if (thi_checked() || THI_UNLIKELY(!thi_mutex_take_free(&r->thrum_mutex)))
        return lock_wanted(r, deadline, caller);
    thi_store_relaxed(&r->thrum_mutex.thrum_owner, self);
    return own(r, caller);
}

int thrum_rlock_init(thrum_rlock_t *r)
{
    if (r == NULL)
        return EINVAL;
    *r = (thrum_rlock_t)THRUM_RLOCK_INIT;
    thi_check_inits(r);
    return 0;
}

void thrum_rlock_destroy(thrum_rlock_t *r)
{
    if (r != NULL)
        thi_check_destroys(r, &thi_rlock_site, thi_mutex_is_wanted(&r->thrum_mutex));
}

int thrum_rlock_lock(thrum_rlock_t *r)
{
    if (THI_UNLIKELY(r == NULL))
        return EINVAL;
    return lock_until(r, THRUM_FOREVER, THI_CALLER);
}

int thrum_rlock_lock_until(thrum_rlock_t *r, thrum_time_t deadline)
{
    if (THI_UNLIKELY(r == NULL))
        return EINVAL;
    return lock_until(r, deadline, THI_CALLER);
}

int thrum_rlock_trylock(thrum_rlock_t *r)
{
    if (THI_UNLIKELY(r == NULL))
        return EINVAL;
    const uint32_t self = thi_self_id();
    if (THI_UNLIKELY(self == 0))
        return ENOMEM;
    if (mine(r, self))
        return deepen(r);
    if (!thi_mutex_try(&r->thrum_mutex))
        return EBUSY;
    r->thrum_depth = 1;
    thi_check_holds(r, &thi_rlock_site, THI_CALLER, false);
    return 0;
}

int thrum_rlock_unlock(thrum_rlock_t *r)
{
    if (THI_UNLIKELY(r == NULL))
        return EINVAL;
    if (THI_UNLIKELY(!mine(r, thi_current.id)))
        return EPERM;
    if (--r->thrum_depth != 0)
        return 0;
    thi_check_gives(r);
    const bool given = thi_mutex_give_free(&r->thrum_mutex);
    const int err = THI_LIKELY(given) ? 0 : thi_mutex_release(&r->thrum_mutex);
    if (THI_PLANT("rlock-late-depth"))
        thi_store_relaxed(&r->thrum_depth, 0u);
    return err;
}

bool thrum_rlock_locked(const thrum_rlock_t *r)
{
    return r != NULL && thrum_mutex_locked(&r->thrum_mutex);
}

bool thrum_rlock_owned(const thrum_rlock_t *r)
{
    return r != NULL && mine(r, thi_current.id);
}

unsigned thrum_rlock_depth(const thrum_rlock_t *r)
{
    return thrum_rlock_owned(r) ? r->thrum_depth : 0;
}
