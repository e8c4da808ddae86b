/*
 * The condition of several processes. One word:
 *
 *      31              1   0
 *     +-----------------+-----+
 *     |  how often it   |  S  |
 *     |  was signalled  |     |
 *     +-----------------+-----+
 *
 *   S   somebody may sleep: set under the mutex, before that is unlocked. It may stand when nobody does.
 *
 * A signal adds 1 to the whole, in one step with the wake: S goes, and carries into the count. Where two come
 * at once, the second leaves S behind, and the next one finds nobody. Whatever a signal does, the word is another
 * then, and whoever is only about to sleep does not.
 */
#include <thrum/shared_lock.h>

#include "process/process.h"

#define SLEEPERS 1u

static const thi_site_t site = {"shared condition", NULL};

static uint32_t *word_of(const thrum_shared_cond_t *c)
{
    return (uint32_t *)(uintptr_t)c;
}

int thrum_shared_cond_init(thrum_shared_cond_t *c)
{
    if (c == NULL)
        return EINVAL;
    *c = (thrum_shared_cond_t){{0}};
    return 0;
}

static int sleep_on(uint32_t *word, uint32_t before, thrum_time_t deadline)
{
    int err = 0;
    while (err == 0 && thi_load_relaxed(word) == before)
        err = thi_shared_sleep(word, before, deadline, true, &site);
    return thi_load_relaxed(word) == before ? err : 0; /* relaxed: the mutex orders */
}

int thrum_shared_cond_wait_until(thrum_shared_cond_t *c, thrum_shared_mutex_t *m,
                                 thrum_time_t deadline)
{
    if (c == NULL || m == NULL)
        return EINVAL;
    if (!thrum_shared_mutex_owned(m))
        return EPERM;
    /* W1: relaxed; the mutex, which is held, orders it before whatever is signalled. */
    const uint32_t before = thi_fetch_or_relaxed(word_of(c), SLEEPERS) | SLEEPERS;
    int err = thrum_shared_mutex_unlock(m);
    if (err != 0)
        return err;
    thi_death_point("cond: unlocked");
    err = sleep_on(word_of(c), before, deadline);
    thi_death_point("cond: woken");
    const int locked = thrum_shared_mutex_lock(m);
    return locked != 0 ? locked : err;
}

int thrum_shared_cond_wait(thrum_shared_cond_t *c, thrum_shared_mutex_t *m)
{
    return thrum_shared_cond_wait_until(c, m, THRUM_FOREVER);
}

int thrum_shared_cond_wait_for(thrum_shared_cond_t *c, thrum_shared_mutex_t *m,
                               bool (*ready)(void *), void *arg, thrum_time_t deadline)
{
    if (c == NULL || m == NULL || ready == NULL)
        return EINVAL;
    if (!thrum_shared_mutex_owned(m))
        return EPERM;
    int err = 0;
    bool is_ready = ready(arg);
    while (!is_ready && err == 0) {
        err = thrum_shared_cond_wait_until(c, m, deadline);
        is_ready = (err == 0 || err == ETIMEDOUT || err == ECANCELED) && ready(arg);
    }
    return is_ready ? 0 : err;
}

void thrum_shared_cond_signal(thrum_shared_cond_t *c)
{
    thrum_shared_cond_broadcast(c);
}

void thrum_shared_cond_broadcast(thrum_shared_cond_t *c)
{
    if (c == NULL)
        return;
    thi_fence_full(); /* whoever changed something without the mutex has done so */
    if ((thi_load_relaxed(word_of(c)) & SLEEPERS) == 0)
        return;
    thi_death_point("cond: about to signal");
    thi_far_add(word_of(c), 1);
    thi_death_point("cond: signalled");
}
