/*
 * The event of several processes. One word:
 *
 *      31           2   1   0
 *     +--------------+-----+-----+
 *     |  how often   |  S  | set |
 *     |   cleared    |     |     |
 *     +--------------+-----+-----+
 *
 *   S   somebody may sleep. It may stand when nobody does, also while it is set; it is never missing while
 *       somebody does. It goes when the event is cleared.
 *
 * Invariants
 *   I1  Every write to the word is a read-modify-write.
 *   I2  Who waits goes on when it is set, or was cleared since the wait began: then it was set in between.
 *   I3  While S stands, setting and waking are one step: who sets it cannot be killed between the two.
 */
#include <thrum/shared_lock.h>

#include "process/process.h"

#define SET 1u
#define SLEEPERS 2u
#define CLEARED 4u

static const thi_site_t site = {"shared event", NULL};

static uint32_t *word_of(const thrum_shared_event_t *e)
{
    return (uint32_t *)(uintptr_t)e;
}

int thrum_shared_event_init(thrum_shared_event_t *e)
{
    if (e == NULL)
        return EINVAL;
    *e = (thrum_shared_event_t){{0}};
    return 0;
}

void thrum_shared_event_set(thrum_shared_event_t *e)
{
    if (e == NULL)
        return;
    uint32_t *word = word_of(e), now = thi_load_relaxed(word);
    for (;;) {
        if ((now & (SET | SLEEPERS)) == SLEEPERS) {
            thi_death_point("event: about to set and wake");
            thi_far_or(word, SET); /* I3; should it be set meanwhile, nothing changes */
            thi_death_point("event: set");
            return;
        }
        /* R1: release; pairs with A1. Also of one that is set: what was written before is to be seen. */
        if (thi_cas_release(word, &now, now | SET))
            return;
    }
}

void thrum_shared_event_clear(thrum_shared_event_t *e)
{
    if (e == NULL)
        return;
    uint32_t now = thi_load_relaxed(word_of(e));
    while ((now & SET) != 0)
        /* Relaxed: a part of the release sequence of who set it (I1). */
        if (thi_cas_relaxed(word_of(e), &now, (now & ~(SET | SLEEPERS)) + CLEARED))
            return;
}

bool thrum_shared_event_is_set(const thrum_shared_event_t *e)
{
    return e != NULL && (thi_load_acquire(word_of(e)) & SET) != 0; /* A1 */
}

/* I2. */
static bool may_go(uint32_t word, uint32_t begun)
{
    return (word & SET) != 0 || word / CLEARED != begun / CLEARED;
}

static int wait_until(uint32_t *word, thrum_time_t deadline)
{
    const uint32_t begun = thi_load_acquire(word); /* A1: acquire; pairs with R1 and thi_far_or */
    uint32_t now = begun;
    int err = 0;
    while (!may_go(now, begun) && err == 0) {
        /* W1: relaxed; the sleep looks at the word again. */
        if ((now & SLEEPERS) == 0 && !thi_cas_relaxed(word, &now, now | SLEEPERS)) {
            now = thi_load_acquire(word); /* A1 */
            continue;
        }
        thi_death_point("event: about to sleep");
        err = thi_shared_sleep(word, now | SLEEPERS, deadline, true, &site);
        thi_death_point("event: woken");
        now = thi_load_acquire(word); /* A1 */
    }
    return may_go(now, begun) ? 0 : err;
}

int thrum_shared_event_wait(thrum_shared_event_t *e)
{
    return e != NULL ? wait_until(word_of(e), THRUM_FOREVER) : EINVAL;
}

int thrum_shared_event_trywait(thrum_shared_event_t *e)
{
    if (e == NULL)
        return EINVAL;
    return thrum_shared_event_is_set(e) ? 0 : EAGAIN;
}

int thrum_shared_event_wait_until(thrum_shared_event_t *e, thrum_time_t deadline)
{
    return e != NULL ? wait_until(word_of(e), deadline) : EINVAL;
}
