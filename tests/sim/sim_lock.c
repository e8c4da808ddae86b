/*
 * The library's own internal lock, on the simulated futex: the locks of the parking lot's buckets
 * are points of the schedule like everything else.
 *
 * Except the lock of the checked build's bookkeeping. What that does under it depends on what it
 * has seen in earlier schedules, and no schedule may; so it is one step, whatever it does.
 */
#include "sim_core.h"

#define thi_lock sim_real_lock
#define thi_unlock sim_real_unlock
static void thi_lock(thi_lock_t *lock, thi_rank_t rank);
static void thi_unlock(thi_lock_t *lock, thi_rank_t rank);
#include "../../lib/os/lock.c" /* NOLINT(bugprone-suspicious-include) */
#undef thi_lock
#undef thi_unlock

void thi_lock(thi_lock_t *lock, thi_rank_t rank)
{
    if (rank == THI_RANK_CHECK) {
        thi_sim_point(lock);
        sim.quiet++;
        return;
    }
    if (sim.current != NULL)
        sim.current->in_lock++;
    sim_real_lock(lock, rank);
    if (sim.current != NULL)
        sim.current->in_lock--;
}

void thi_unlock(thi_lock_t *lock, thi_rank_t rank)
{
    if (rank == THI_RANK_CHECK)
        sim.quiet--;
    else
        sim_real_unlock(lock, rank);
}
