/*
 * Counting semaphore. One 64-bit word, and the maximum, which never changes:
 *
 *      63           34 33             0
 *     +---------------+----------------+
 *     |    waiters    |    permits     |
 *     +---------------+----------------+
 *
 * waiters counts callers that are parked or on their way to park. It may be too high for a moment (a
 * woken waiter has not run yet); it is never too low. Too high costs a release a useless unpark, too
 * low would lose a wake-up.
 *
 * Invariants
 *   I1  Every write to the word is a read-modify-write, so there is one total order of changes and a
 *       release is never cut off from a later acquire by an unrelated change (release sequences).
 *   I2  A caller is counted in waiters before it checks for permits for the last time. A release
 *       that the check missed therefore sees the caller counted.
 *   I3  After its change to the word, a release uses the address of the semaphore and never its
 *       contents: a waiter may already have freed it.
 */
#include <thrum/semaphore.h>

#include "sync/sync.h"

#define WAITERS_SHIFT 34
#define ONE_WAITER (INT64_C(1) << WAITERS_SHIFT)
#define PERMITS (ONE_WAITER - 1)

static const thi_site_t site = {"semaphore", NULL};

static int64_t permits(int64_t word)
{
    return word & PERMITS;
}

/* Takes a permit, and `waiter` from the count of waiters, in one step. */
static bool take(thrum_sem_t *s, int64_t waiter)
{
    int64_t word = thi_load_relaxed(&s->thrum_word);
    while (permits(word) != 0) {
        /* A1: acquire; pairs with R1 of every release before it (I1). */
        if (thi_cas_acquire(&s->thrum_word, &word, word - 1 - waiter))
            return true;
    }
    return false;
}

/* Runs under the bucket's lock, so no release can unpark between this check and our being queued.
 * Relaxed: whoever released and found the bucket empty gave up that lock before we took it, and that
 * is what makes its R1 visible here. */
static bool still_empty(void *arg)
{
    const thrum_sem_t *s = arg;
    return permits(thi_load_relaxed(&s->thrum_word)) == 0 || THI_PLANT("sem-no-recheck");
}

/* Only while nobody else is counted: others would have come before. Who releases sees the caller counted. */
static bool may_be_near(void *arg)
{
    const thrum_sem_t *s = arg;
    return thi_load_relaxed(&s->thrum_word) == ONE_WAITER;
}

/* Takes the count back, or a permit that came late. */
static int give_up(thrum_sem_t *s, int err)
{
    int64_t word = thi_load_relaxed(&s->thrum_word);
    for (;;) {
        if (permits(word) != 0)
            return take(s, ONE_WAITER) ? 0 : give_up(s, err);
        /* G1: relaxed; giving up publishes nothing. It succeeds only on a word without permits, so a
         * late release is taken above, not lost. */
        if (thi_cas_relaxed(&s->thrum_word, &word, word - ONE_WAITER))
            return err;
    }
}

static int wait_in_lot(thrum_sem_t *s, thrum_time_t deadline)
{
    thi_park_t park = {.site = &site,
                       .key = s,
                       .arg = s,
                       .validate = still_empty,
                       .near = may_be_near,
                       .cancellable = true};
    /* W1: relaxed; only its place in the word's order matters (I2). */
    thi_fetch_add_relaxed(&s->thrum_word, ONE_WAITER);
    for (;;) {
        if (take(s, ONE_WAITER))
            return 0;
        const int err = thi_lot_park(&park, deadline);
        if (err != 0 && err != EAGAIN)
            return give_up(s, err);
        /* Woken once and passed: back to the head, however often it is passed from now on. */
        park.first |= err == 0;
    }
}

bool thi_sem_enter(thrum_sem_t *s, thi_wait_t *wait, thi_waiter_t *waiter, uint32_t index)
{
    const thi_park_t park = {.site = &site, .key = s, .arg = s, .validate = still_empty};
    thi_fetch_add_relaxed(&s->thrum_word, ONE_WAITER); /* W1 */
    if (thi_lot_enter(wait, waiter, index, &park))
        return true;
    thi_fetch_sub_relaxed(&s->thrum_word, ONE_WAITER); /* G1: what is there can still be taken */
    return false;
}

void thi_sem_leave(thrum_sem_t *s, thi_waiter_t *waiter)
{
    const thi_park_t park = {.site = &site, .key = s};
    thi_lot_leave(waiter, &park);
    thi_fetch_sub_relaxed(&s->thrum_word, ONE_WAITER); /* G1 */
}

THI_COLD static int acquire_slow(thrum_sem_t *s, thrum_time_t deadline)
{
    if (thi_self() == NULL)
        return ENOMEM;
    thi_spin_t spin = thi_spin_begin();
    bool taken = false;
    do
        taken = take(s, 0);
    while (!taken && thi_spin_turn(&spin));
    thi_spin_end(&spin, taken);
    return taken ? 0 : wait_in_lot(s, deadline);
}

/* Returns the word before, or -1 when there is no room. The counter has room far beyond the limit, so
 * one permit can be added first and looked at then. */
static inline int64_t add_one(thrum_sem_t *s)
{
    /* R1: release; pairs with A1. */
    const int64_t word = thi_fetch_add_release(&s->thrum_word, 1);
    if (THI_LIKELY(permits(word) < (int64_t)THRUM_SEM_MAX))
        return word;
    thi_fetch_sub_relaxed(&s->thrum_word, 1); /* four thousand million others are there to take */
    return -1;
}

static int64_t add(thrum_sem_t *s, int64_t n, int64_t max)
{
    int64_t word = thi_load_relaxed(&s->thrum_word);
    do {
        if (permits(word) + n > max)
            return -1;
        /* R1: release; pairs with A1. */
    } while (!thi_cas_release(&s->thrum_word, &word, word + n));
    return word;
}

int thrum_sem_init(thrum_sem_t *s, unsigned value)
{
    if (s == NULL)
        return EINVAL;
    *s = (thrum_sem_t)THRUM_SEM_INIT(value);
    return 0;
}

int thrum_sem_init_bounded(thrum_sem_t *s, unsigned value, unsigned max)
{
    if (s == NULL || max == 0 || value > max)
        return EINVAL;
    *s = (thrum_sem_t)THRUM_SEM_INIT(value);
    s->thrum_max = max;
    return 0;
}

int thrum_sem_tryacquire(thrum_sem_t *s)
{
    if (THI_UNLIKELY(s == NULL))
        return EINVAL;
    return take(s, 0) ? 0 : EAGAIN;
}

int thrum_sem_acquire(thrum_sem_t *s)
{
    return thrum_sem_acquire_until(s, THRUM_FOREVER);
}

int thrum_sem_acquire_until(thrum_sem_t *s, thrum_time_t deadline)
{
    if (THI_UNLIKELY(s == NULL))
        return EINVAL;
    return THI_LIKELY(take(s, 0)) ? 0 : acquire_slow(s, deadline);
}

THI_NOINLINE static void wake(const thrum_sem_t *s, unsigned n)
{
    unsigned count = 0;
    thi_wait_finish_chain(thi_near_take(s, &site, n, &count));
    if (count < n)
        thi_lot_unpark(&(thi_unpark_t){.key = s, .site = &site, .n = n - count});
}

static inline int release(thrum_sem_t *s, unsigned n)
{
    const uint32_t max = s->thrum_max;
    const int64_t word =
        THI_LIKELY(max == 0 && n == 1) ? add_one(s) : add(s, n, max != 0 ? max : THRUM_SEM_MAX);
    if (THI_UNLIKELY(word < 0))
        return EOVERFLOW;
    if (THI_PLANT("sem-late-look") && thi_load_relaxed(&s->thrum_word) < ONE_WAITER)
        return 0;
    if (THI_UNLIKELY(word >= ONE_WAITER))
        wake(s, n); /* I3 */
    return 0;
}

int thrum_sem_release(thrum_sem_t *s)
{
    return THI_LIKELY(s != NULL) ? release(s, 1) : EINVAL;
}

int thrum_sem_release_n(thrum_sem_t *s, unsigned n)
{
    return s != NULL && n != 0 ? release(s, n) : EINVAL;
}

unsigned thrum_sem_value(const thrum_sem_t *s)
{
    if (s == NULL)
        return 0;
    const int64_t now = permits(thi_load_relaxed(&s->thrum_word));
    return now > (int64_t)THRUM_SEM_MAX ? THRUM_SEM_MAX : (unsigned)now;
}
