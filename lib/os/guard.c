/*
 * Guards: the system's robust mutexes, two of them.
 *
 * One robust mutex alone can lose a wake-up: it is unlocked, which forgets that others sleep on it, and wakes
 * one of them; somebody passes and takes it; and the one that was woken is killed before it could leave word
 * of the others. So only one thread at a time sleeps on `lock`: the holder of `line`, whose mutex is of the
 * kind that the kernel hands from one to the next (priority inheritance), where there is nobody who was woken
 * and has yet to take it.
 *
 * Invariants
 *   I1  Who waits for `lock` holds `line`. Who holds `line` waits for nothing but `lock`.
 *   I2  `orphaned` is set before the mutex is made consistent, so a death is never forgotten: either the
 *       kernel's mark stands, or ours.
 *   I3  Who holds the guard does not stand in line: it is told that it would wait for itself before that.
 */
#include <pthread.h>
#include <time.h>

#include "os/os.h"

/* ThreadSanitizer does not know of locks that are taken by pthread_mutex_clocklock. */
#if defined(__GLIBC__) && !defined(__SANITIZE_THREAD__) && !defined(THI_CLANG_TSAN)
#if __GLIBC_PREREQ(2, 34)
#define THI_MONOTONIC_MUTEX 1
#endif
#endif

_Static_assert(sizeof(pthread_mutex_t) <= sizeof(((thi_guard_t *)0)->lock), "it fits");
_Static_assert(sizeof(thi_guard_t) == 104, "its size is part of the layout of shared memory");

static pthread_mutex_t *lock_of(thi_guard_t *guard)
{
    return (pthread_mutex_t *)(void *)guard->lock;
}

static pthread_mutex_t *line_of(thi_guard_t *guard)
{
    return (pthread_mutex_t *)(void *)guard->line;
}

static int init_mutex(pthread_mutex_t *mutex, int protocol)
{
    pthread_mutexattr_t attributes;
    int err = pthread_mutexattr_init(&attributes);
    if (err != 0)
        return err;
    err = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    if (err == 0)
        err = pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    if (err == 0)
        err = pthread_mutexattr_setprotocol(&attributes, protocol);
    if (err == 0) /* the owner is asked for: see thi_guard_mine */
        err = pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
    if (err == 0)
        err = pthread_mutex_init(mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
    return err;
}

int thi_guard_init(thi_guard_t *guard)
{
    *guard = (thi_guard_t){.made = 0};
    int err = init_mutex(lock_of(guard), PTHREAD_PRIO_NONE);
    if (err == 0 && init_mutex(line_of(guard), PTHREAD_PRIO_INHERIT) != 0)
        err = init_mutex(line_of(guard), PTHREAD_PRIO_NONE); /* a kernel without: nearly as good */
    if (err == 0)
        guard->made = THI_GUARD_MADE;
    return err == 0 || err == ENOMEM ? err : ENOSYS;
}

static struct timespec timespec_of(thrum_time_t instant)
{
    const thrum_time_t t = instant < 0 ? 0 : instant;
    return (struct timespec){(time_t)(t / THRUM_S(1)), (long)(t % THRUM_S(1))};
}

/* For C libraries and kernels whose mutexes know the wall clock only. That may be set back: nobody sleeps
 * longer than a second without looking at the other. */
static int lock_by_wall_clock(pthread_mutex_t *mutex, thrum_time_t deadline)
{
    int err = ETIMEDOUT;
    for (thrum_time_t left = deadline - thi_clock(); err == ETIMEDOUT;) {
        struct timespec wall;
        clock_gettime(CLOCK_REALTIME, &wall);
        const thrum_time_t slice = left < 0 ? 0 : left > THRUM_S(1) ? THRUM_S(1) : left;
        wall = timespec_of((thrum_time_t)wall.tv_sec * THRUM_S(1) + wall.tv_nsec + slice);
        err = pthread_mutex_timedlock(mutex, &wall);
        left = deadline - thi_clock();
        if (left <= 0)
            break;
    }
    return err;
}

static int lock_until(pthread_mutex_t *mutex, thrum_time_t deadline)
{
    if (deadline == THRUM_FOREVER)
        return pthread_mutex_lock(mutex);
#ifdef THI_MONOTONIC_MUTEX
    const struct timespec until = timespec_of(deadline);
    const int err = pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, &until);
    if (err != EINVAL) /* which is what an old kernel says */
        return err;
#endif
    return lock_by_wall_clock(mutex, deadline);
}

/* I2. What the mutex says, as ours. */
static int taken(thi_guard_t *guard, int err)
{
    if (err == EOWNERDEAD) {
        thi_death_point("guard: the holder was seen to be dead");
        thi_store_relaxed(&guard->orphaned, 1u);
        thi_death_point("guard: orphaned");
        pthread_mutex_consistent(lock_of(guard));
        thi_death_point("guard: consistent");
    }
    if (err != 0 && err != EOWNERDEAD)
        return err;
    return THI_UNLIKELY(thi_load_relaxed(&guard->orphaned) != 0) ? EOWNERDEAD : 0;
}

/* I1. */
THI_COLD static int wait_in_line(thi_guard_t *guard, thrum_time_t deadline)
{
    thi_death_point("guard: before the line");
    int err = lock_until(line_of(guard), deadline);
    if (err == EOWNERDEAD) {
        pthread_mutex_consistent(line_of(guard)); /* he was waiting: nothing to mend */
        err = 0;
    }
    if (err == ETIMEDOUT) { /* whoever is in front may be stopped, and the lock free */
        err = thi_guard_trylock(guard);
        return err == EBUSY ? ETIMEDOUT : err;
    }
    if (err != 0)
        return err;
    thi_death_point("guard: in line");
    err = taken(guard, lock_until(lock_of(guard), deadline));
    thi_death_point("guard: taken, in line");
    pthread_mutex_unlock(line_of(guard));
    thi_death_point("guard: out of line");
    return err;
}

int thi_guard_trylock(thi_guard_t *guard)
{
    return taken(guard, pthread_mutex_trylock(lock_of(guard)));
}

#ifdef __GLIBC__
#define OWNER_IS_TOLD true
#else
#define OWNER_IS_TOLD false
#endif

/* I3. As trylock, and EDEADLK to the owner. Some C libraries say that only to one who would wait: in line it would be
 * too late, behind somebody who waits for the owner. The deadline is one for which nobody sleeps. */
static int try_or_own(thi_guard_t *guard)
{
    const struct timespec past = {0, 0};
    int err = thi_guard_trylock(guard);
    if (!OWNER_IS_TOLD && err == EBUSY)
        err = taken(guard, pthread_mutex_timedlock(lock_of(guard), &past));
    return err == ETIMEDOUT ? EBUSY : err;
}

int thi_guard_lock(thi_guard_t *guard, thrum_time_t deadline)
{
    const int err = try_or_own(guard);
    return THI_LIKELY(err != EBUSY) ? err : wait_in_line(guard, deadline);
}

void thi_guard_mend(thi_guard_t *guard)
{
    thi_store_relaxed(&guard->orphaned, 0u);
}

int thi_guard_unlock(thi_guard_t *guard)
{
    thi_death_point("guard: before the unlock");
    const int err = pthread_mutex_unlock(lock_of(guard));
    thi_death_point("guard: unlocked");
    return err;
}

bool thi_guard_mine(thi_guard_t *guard)
{
    const int err = try_or_own(guard);
    if (err == 0 || err == EOWNERDEAD)
        pthread_mutex_unlock(lock_of(guard));
    return err == EDEADLK;
}
