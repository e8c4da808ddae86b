/*
 * Sleeping and waking between the parent and its workers.
 *
 *   worker asleep   it stores `asleep`, fence, looks at `posted`; the parent stores `posted`, fence, looks at
 *                   `asleep`: one of the two sees the other.
 *   answers         it stores `news`, fence, looks at `listening`; who is about to sleep in the parent changes
 *                   `listening`, fence, looks at `news`.
 */
#include "process/pool_desk.h"

void thi_hall_ring(thi_hall_t *hall)
{
    (void)thi_far_add(&hall->bell, 1u);
}

void thi_hall_tell(thi_hall_t *hall, int signal)
{
    thi_fence_full();
    uint64_t now = thi_load_relaxed(&hall->listening);
    for (;;) {
        if ((now & THI_LEADER) != 0) {
            if (!thi_cas_acq_rel(&hall->listening, &now, now & ~THI_LEADER))
                continue;
            thi_death_point("pool: about to ring");
            thi_store_relaxed(&hall->ringer_cpu, thi_cpu_current() + 1);
            thi_hall_ring(hall);
            return;
        }
        if (now != THI_ARMED)
            return; /* somebody looks, or the service thread is awake */
        if (thi_cas_acq_rel(&hall->listening, &now, (uint64_t)0)) {
            thi_death_point("pool: about to signal");
            thi_signal_set(signal, true);
            return;
        }
    }
}

bool thi_desk_must_wake(thi_desk_t *desk)
{
    thi_fence_full();
    return thi_load_relaxed(&desk->asleep) != 0;
}

void thi_desk_wake(thi_desk_t *desk)
{
    thi_store_relaxed(&desk->waker_cpu, thi_cpu_current() + 1); /* a hint for its spinning */
    thi_store_release(&desk->asleep, 0u);
    thi_far_wake(&desk->asleep);
}

void thi_desk_sleep(thi_desk_t *desk, uint32_t taken)
{
    thi_store_relaxed(&desk->asleep, 1u);
    thi_fence_full();
    if (thi_load_acquire(&desk->posted) == taken && thi_load_acquire(&desk->quit) == 0)
        (void)thi_far_wait(&desk->asleep, 1u, THRUM_FOREVER, NULL, 0);
    thi_store_relaxed(&desk->asleep, 0u);
}
