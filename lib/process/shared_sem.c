/*
 * The semaphore of several processes. One word, and a guard for those that are bounded, and for great numbers:
 *
 *      31          1   0
 *     +-------------+-----+
 *     |   permits   |  S  |
 *     +-------------+-----+
 *
 *   S   somebody may sleep. It may stand when nobody does; it is never missing while somebody does.
 *
 * Invariants
 *   I1  Every write to the word is a read-modify-write.
 *   I2  A sleeper has seen, or made, the word to be S alone, no permits, and sleeps only while it is.
 *   I3  While S stands, permits are added and sleepers woken in one step (thi_far_add): whoever adds cannot be
 *       killed in between, and a word with permits has nobody asleep on it. All are woken, and look again: one
 *       that is killed first takes no permit with it.
 *   I4  S goes in one step with a wake, too.
 *   I5  Of a bounded one permits are added by the holder of the guard while S stands, and by anybody in a swap
 *       while it does not; so nobody adds between a look at the room and the addition.
 *   I6  More than AT_ONCE permits may take several steps. They are added by the holder of the guard, so that what
 *       is yet to come is seen by the next. All others together, which look at the room and then add, are too few
 *       for the word not to hold them.
 */
#include <thrum/shared_lock.h>

#include "process/process.h"

typedef struct sem {
    uint32_t word;
    uint32_t max; /* 0: not bounded */
    thi_guard_t guard;
} sem_t;

_Static_assert(sizeof(sem_t) <= sizeof(thrum_shared_sem_t), "it fits");

#define SLEEPERS 1u
#define PERMIT 2u
#define AT_ONCE 1023u /* what thi_far_add does in one step */

static const thi_site_t site = {"shared semaphore", NULL};

static sem_t *sem_of(const thrum_shared_sem_t *s)
{
    return (sem_t *)(uintptr_t)s;
}

static bool is_made(const thrum_shared_sem_t *s)
{
    return THI_LIKELY(s != NULL && sem_of(s)->guard.made == THI_GUARD_MADE);
}

static bool take(sem_t *s)
{
    uint32_t word = thi_load_relaxed(&s->word);
    while (word >= PERMIT)
        /* A1: acquire; pairs with R1 and with thi_far_add (I1: through any changes between). */
        if (thi_cas_acquire(&s->word, &word, word - PERMIT))
            return true;
    return false;
}

/* I2. True: the caller may sleep. */
static bool announce(sem_t *s)
{
    uint32_t word = 0;
    /* Relaxed: it publishes nothing but itself. */
    return thi_cas_relaxed(&s->word, &word, SLEEPERS) || word == SLEEPERS;
}

static int acquire_slow(sem_t *s, thrum_time_t deadline)
{
    int err = 0;
    if (thi_self() == NULL)
        return ENOMEM;
    thi_spin_t spin = thi_spin_begin();
    bool taken = false;
    while (!(taken = take(s)) && thi_spin_turn(&spin)) {
    }
    thi_spin_end(&spin, taken);
    while (!taken && err == 0) {
        if (announce(s)) {
            thi_death_point("sem: about to sleep");
            err = thi_shared_sleep(&s->word, SLEEPERS, deadline, true, &site);
            thi_death_point("sem: woken");
        }
        taken = take(s);
    }
    return taken ? 0 : err;
}

/* I3, I4. */
static void add_and_wake(sem_t *s, unsigned n)
{
    thi_death_point("sem: about to add and wake");
    const bool woken = thi_far_add(&s->word, n * PERMIT);
    thi_death_point("sem: added");
    if (!woken)
        thi_far_clear(&s->word, SLEEPERS);
    thi_death_point("sem: cleared");
}

/* EAGAIN: somebody may sleep. */
static int add(sem_t *s, unsigned n)
{
    const unsigned max = s->max != 0 ? s->max : THRUM_SHARED_SEM_MAX;
    uint32_t word = thi_load_relaxed(&s->word);
    do {
        if (n > max || word / PERMIT > max - n)
            return EOVERFLOW;
        if ((word & SLEEPERS) != 0)
            return EAGAIN;
        /* R1: release; pairs with A1. */
    } while (!thi_cas_release(&s->word, &word, word + n * PERMIT));
    thi_death_point("sem: released");
    return 0;
}

/* I5, I6. */
static int add_with_guard(sem_t *s, unsigned n)
{
    int err = thi_shared_lock_plain(&s->guard, THRUM_FOREVER, &site);
    if (err != 0)
        return err;
    err = add(s, n);
    if (err == EAGAIN) {
        add_and_wake(s, n);
        err = 0;
    }
    thi_guard_unlock(&s->guard);
    return err;
}

int thrum_shared_sem_init(thrum_shared_sem_t *s, unsigned value, unsigned max)
{
    if (s == NULL || max > THRUM_SHARED_SEM_MAX || value > THRUM_SHARED_SEM_MAX ||
        (max != 0 && value > max))
        return EINVAL;
    *sem_of(s) = (sem_t){.word = value * PERMIT, .max = max};
    return thi_guard_init(&sem_of(s)->guard);
}

int thrum_shared_sem_tryacquire(thrum_shared_sem_t *s)
{
    if (!is_made(s))
        return EINVAL;
    return take(sem_of(s)) ? 0 : EAGAIN;
}

int thrum_shared_sem_acquire(thrum_shared_sem_t *s)
{
    return thrum_shared_sem_acquire_until(s, THRUM_FOREVER);
}

int thrum_shared_sem_acquire_until(thrum_shared_sem_t *s, thrum_time_t deadline)
{
    if (!is_made(s))
        return EINVAL;
    return THI_LIKELY(take(sem_of(s))) ? 0 : acquire_slow(sem_of(s), deadline);
}

int thrum_shared_sem_release(thrum_shared_sem_t *s)
{
    return thrum_shared_sem_release_n(s, 1);
}

int thrum_shared_sem_release_n(thrum_shared_sem_t *s, unsigned n)
{
    if (!is_made(s) || n == 0)
        return EINVAL;
    if (THI_UNLIKELY(n > AT_ONCE))
        return add_with_guard(sem_of(s), n);
    const int err = add(sem_of(s), n);
    if (THI_LIKELY(err != EAGAIN))
        return err;
    if (sem_of(s)->max != 0)
        return add_with_guard(sem_of(s), n);
    add_and_wake(sem_of(s), n);
    return 0;
}

unsigned thrum_shared_sem_value(const thrum_shared_sem_t *s)
{
    return s != NULL ? thi_load_relaxed(&sem_of(s)->word) / PERMIT : 0;
}
