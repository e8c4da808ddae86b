/*
 * pthread_mutex_lock, and pthread_cond_wait and its kin. What cannot be had at once is waited for by a thread
 * that does the real call in place of the coroutine. A mutex of the normal kind does not care which thread
 * locks and unlocks it; others do, and are left to the real call. A thread for each wait, and no limit: the
 * waits are for one another.
 *
 *   I1  Locking is not cancelled, for nobody would see it. A wait for a condition is, and has the mutex then.
 *   I2  A wait may return without cause, as POSIX has it. This is how one is cancelled: its condition is
 *       broadcast.
 *   I3  The allocator's own mutexes are left alone: another coroutine of the thread would find what the
 *       thread has in the allocator half changed.
 */
#include <thrum/cancel.h>
#include <thrum/thread.h>

#include "patch/patch.h"

#define YIELDS 4
#define STACK_SIZE ((size_t)64 * 1024)

#define KIND_MASK 127 /* without those bits of glibc that say how, not what */
#define KIND_ADAPTIVE 3

static bool anybody_unlocks(const pthread_mutex_t *mutex)
{
    const int kind = mutex->__data.__kind & KIND_MASK;
    return kind == PTHREAD_MUTEX_NORMAL || kind == KIND_ADAPTIVE;
}

/* The process does not wait for it. */
static int begin_helper(thrum_thread_t **helper, thrum_fn fn, void *arg)
{
    thrum_thread_config_t config = THRUM_THREAD_CONFIG_INIT;
    config.name = "thrum-patch";
    config.daemon = true;
    config.stack_size = STACK_SIZE;
    return thrum_thread_spawn(helper, fn, arg, &config);
}

static int nap(void *arg, void **result)
{
    (void)arg, (void)result;
    return thi_patch_pause(THRUM_FOREVER);
}

/* Only for want of memory does a join not wait. */
static int join(void *helper, void **result)
{
    while (thrum_thread_join(helper, NULL) != 0)
        (void)nap(NULL, result);
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * Mutexes
 */

struct locking {
    pthread_mutex_t *mutex;
    int err;
};

static int lock_for_other(void *arg, void **result)
{
    struct locking *l = arg;
    (void)result;
    l->err = thi_real()->pthread_mutex_lock(l->mutex);
    return 0;
}

static int lock_by_trying(pthread_mutex_t *mutex)
{
    int err = 0;
    while ((err = pthread_mutex_trylock(mutex)) == EBUSY)
        (void)thrum_shield(nap, NULL, NULL);
    return err;
}

static int lock_inside(pthread_mutex_t *mutex)
{
    int err = pthread_mutex_trylock(mutex);
    for (int i = 0; i < YIELDS && err == EBUSY; i++) {
        thrum_yield();
        err = pthread_mutex_trylock(mutex);
    }
    struct locking locking = {mutex, 0};
    thrum_thread_t *helper = NULL;
    if (err != EBUSY)
        return err;
    if (begin_helper(&helper, lock_for_other, &locking) != 0)
        return lock_by_trying(mutex);
    (void)thrum_shield(join, helper, NULL);
    thrum_thread_release(helper);
    return locking.err;
}

int pthread_mutex_lock(pthread_mutex_t *mutex)
{
    if (!thrum_loop_inside() || !anybody_unlocks(mutex) ||
        thi_real_in_allocator(__builtin_return_address(0)))
        return thi_real()->pthread_mutex_lock(mutex);
    return lock_inside(mutex);
}

/* ------------------------------------------------------------------------------------------------
 * Conditions
 */

struct waiting {
    pthread_cond_t *cond;
    pthread_mutex_t *mutex;
    const struct timespec *deadline; /* NULL: none */
    clockid_t clock;
    bool has_clock;
    thrum_thread_t *helper;
    int err;
};

static int wait_really(const struct waiting *w)
{
    if (w->deadline == NULL)
        return thi_real()->pthread_cond_wait(w->cond, w->mutex);
    if (w->has_clock)
        return thi_real()->pthread_cond_clockwait(w->cond, w->mutex, w->clock, w->deadline);
    return thi_real()->pthread_cond_timedwait(w->cond, w->mutex, w->deadline);
}

static int wait_for_other(void *arg, void **result)
{
    struct waiting *w = arg;
    (void)result;
    w->err = wait_really(w);
    return 0;
}

/* Without cause, but not without giving others a chance. */
static int let_go_for_a_moment(pthread_mutex_t *mutex, int err)
{
    (void)pthread_mutex_unlock(mutex);
    (void)thrum_shield(nap, NULL, NULL);
    const int locked = lock_inside(mutex);
    return locked != 0 ? locked : err;
}

/* Its helper may not have begun to wait, so once is not enough. */
static int drive_out(void *arg, void **result)
{
    const struct waiting *w = arg;
    (void)result;
    do
        (void)pthread_cond_broadcast(w->cond);
    while (thrum_thread_join_until(w->helper, NULL, thrum_after(THRUM_MS(1))) != 0);
    return 0;
}

static int wait_inside(struct waiting *w)
{
    if (thrum_cancelled())
        return let_go_for_a_moment(w->mutex, ECANCELED);
    if (begin_helper(&w->helper, wait_for_other, w) != 0)
        return w->deadline != NULL ? wait_really(w) : let_go_for_a_moment(w->mutex, 0);
    const int joined = thrum_thread_join(w->helper, NULL);
    if (joined != 0)
        (void)thrum_shield(drive_out, w, NULL);
    thrum_thread_release(w->helper);
    return joined != 0 && w->err == 0 ? joined : w->err;
}

static bool cond_waits(const pthread_mutex_t *mutex)
{
    return thrum_loop_inside() && anybody_unlocks(mutex);
}

int pthread_cond_wait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex)
{
    if (!cond_waits(mutex))
        return thi_real()->pthread_cond_wait(cond, mutex);
    struct waiting w = {.cond = cond, .mutex = mutex};
    return wait_inside(&w);
}

int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict deadline)
{
    if (!cond_waits(mutex))
        return thi_real()->pthread_cond_timedwait(cond, mutex, deadline);
    struct waiting w = {.cond = cond, .mutex = mutex, .deadline = deadline};
    return wait_inside(&w);
}

int pthread_cond_clockwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
                           clockid_t clock, const struct timespec *restrict deadline)
{
    if (!cond_waits(mutex))
        return thi_real()->pthread_cond_clockwait(cond, mutex, clock, deadline);
    struct waiting w = {
        .cond = cond, .mutex = mutex, .deadline = deadline, .clock = clock, .has_clock = true};
    return wait_inside(&w);
}
