/*
 * The mutex and the recursive lock of several processes: a guard, and who holds it.
 *
 *   owner   written by the holder: its own, once it has locked it, and 0 before it unlocks. So while a strand holds
 *           it, it is that strand's. A dead one leaves its own there until the next holder signs; should that
 *           look like a living strand's, the guard knows better.
 *   depth   the holder's; the recursive lock's only
 */
#include <thrum/shared_lock.h>

#include "process/process.h"

typedef struct owned {
    thi_guard_t guard;
    uint32_t depth;
    uint64_t owner THRUM_ALIGNED(8);
} owned_t;

_Static_assert(sizeof(owned_t) <= sizeof(thrum_shared_mutex_t), "it fits");
_Static_assert(sizeof(owned_t) <= sizeof(thrum_shared_rlock_t), "it fits");

static const thi_site_t mutex_site = {"shared mutex", NULL};
static const thi_site_t rlock_site = {"shared rlock", NULL};

static owned_t *owned_of(const void *lock)
{
    return (owned_t *)(uintptr_t)lock;
}

static bool is_made(const void *lock)
{
    return THI_LIKELY(lock != NULL && owned_of(lock)->guard.made == THI_GUARD_MADE);
}

/* Relaxed: another's changes meanwhile, but never to or from the caller's. */
static bool is_owned(const void *lock, uint64_t self)
{
    return self != 0 && thi_load_relaxed(&owned_of(lock)->owner) == self;
}

static int sign(owned_t *lock, int err, uint64_t self)
{
    if (err != 0 && err != EOWNERDEAD)
        return err;
    thi_death_point("lock: taken, not signed");
    thi_store_relaxed(&lock->owner, self);
    lock->depth = 1;
    thi_death_point("lock: signed");
    if (THI_UNLIKELY(err != 0)) /* whoever is told may die, which is told to the next then */
        thi_guard_mend(&lock->guard);
    return err;
}

static int init(void *memory)
{
    if (memory == NULL)
        return EINVAL;
    owned_t *lock = memory;
    *lock = (owned_t){.owner = 0};
    return thi_guard_init(&lock->guard);
}

static int take(owned_t *lock, thrum_time_t deadline, const thi_site_t *site)
{
    const uint64_t self = thi_shared_self();
    if (THI_UNLIKELY(self == 0))
        return ENOMEM;
    if (THI_UNLIKELY(is_owned(lock, self) && thi_guard_mine(&lock->guard)))
        return EDEADLK;
    return sign(lock, thi_shared_lock(&lock->guard, deadline, site), self);
}

static int try_take(owned_t *lock)
{
    const uint64_t self = thi_shared_self();
    if (THI_UNLIKELY(self == 0))
        return ENOMEM;
    const int err = thi_guard_trylock(&lock->guard);
    return err == EDEADLK ? EBUSY : sign(lock, err, self);
}

static int give(owned_t *lock)
{
    thi_store_relaxed(&lock->owner, UINT64_C(0));
    thi_death_point("lock: not signed any more");
    return thi_guard_unlock(&lock->guard);
}

/* ------------------------------------------------------------------------------------------------ */

int thrum_shared_mutex_init(thrum_shared_mutex_t *m)
{
    return init(m);
}

int thrum_shared_mutex_lock(thrum_shared_mutex_t *m)
{
    return thrum_shared_mutex_lock_until(m, THRUM_FOREVER);
}

int thrum_shared_mutex_trylock(thrum_shared_mutex_t *m)
{
    return is_made(m) ? try_take(owned_of(m)) : EINVAL;
}

int thrum_shared_mutex_lock_until(thrum_shared_mutex_t *m, thrum_time_t deadline)
{
    return is_made(m) ? take(owned_of(m), deadline, &mutex_site) : EINVAL;
}

int thrum_shared_mutex_unlock(thrum_shared_mutex_t *m)
{
    if (!is_made(m))
        return EINVAL;
    return THI_LIKELY(is_owned(m, thi_shared_self())) ? give(owned_of(m)) : EPERM;
}

bool thrum_shared_mutex_owned(const thrum_shared_mutex_t *m)
{
    return is_made(m) && is_owned(m, thi_shared_self());
}

/* ------------------------------------------------------------------------------------------------ */

int thrum_shared_rlock_init(thrum_shared_rlock_t *r)
{
    return init(r);
}

/* Whether the caller has it, for one that is about to rely on that. */
static bool has_it(owned_t *lock)
{
    return is_owned(lock, thi_shared_self()) && thi_guard_mine(&lock->guard);
}

static int again(owned_t *lock)
{
    if (lock->depth == UINT_MAX)
        return EOVERFLOW;
    lock->depth++;
    return 0;
}

int thrum_shared_rlock_lock(thrum_shared_rlock_t *r)
{
    return thrum_shared_rlock_lock_until(r, THRUM_FOREVER);
}

int thrum_shared_rlock_trylock(thrum_shared_rlock_t *r)
{
    if (!is_made(r))
        return EINVAL;
    return has_it(owned_of(r)) ? again(owned_of(r)) : try_take(owned_of(r));
}

int thrum_shared_rlock_lock_until(thrum_shared_rlock_t *r, thrum_time_t deadline)
{
    if (!is_made(r))
        return EINVAL;
    return has_it(owned_of(r)) ? again(owned_of(r)) : take(owned_of(r), deadline, &rlock_site);
}

int thrum_shared_rlock_unlock(thrum_shared_rlock_t *r)
{
    if (!is_made(r))
        return EINVAL;
    owned_t *lock = owned_of(r);
    if (!has_it(lock))
        return EPERM;
    return --lock->depth == 0 ? give(lock) : 0;
}

bool thrum_shared_rlock_owned(const thrum_shared_rlock_t *r)
{
    return is_made(r) && is_owned(r, thi_shared_self());
}

unsigned thrum_shared_rlock_depth(const thrum_shared_rlock_t *r)
{
    return thrum_shared_rlock_owned(r) ? owned_of(r)->depth : 0;
}
