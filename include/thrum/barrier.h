#ifndef THRUM_BARRIER_H
#define THRUM_BARRIER_H

#include <limits.h>

#include <thrum/base.h>
#include <thrum/time.h>

THRUM_BEGIN_DECLS

/**
 * @file
 * Barrier: a fixed number of strands wait for each other, again and again.
 *
 *     thrum_barrier_t step;
 *     thrum_barrier_init(&step, workers, NULL, NULL);
 *
 *     for (int i = 0; i < steps; i++) {       // in every worker
 *         compute(i);
 *         thrum_barrier_wait(&step, NULL);
 *     }
 *
 * Breaking   A wait that times out or is cancelled, an abort, and an action that fails break the
 *            barrier: every strand inside and every later wait gets EPIPE, until it is reset. The
 *            wait whose own deadline passed says ETIMEDOUT, the one that was cancelled ECANCELED.
 *            (One that comes while the action of the round before is still running has not arrived
 *            yet; giving up then breaks nothing.)
 * Ordering   What a strand wrote before it waited is visible to the action, and what the action
 *            wrote, to every strand after its wait returned 0.
 * Context    Any strand. The waits are cancellation points. The action runs in the strand that
 *            arrived last, under no lock; it must not use the barrier.
 * Lifetime   Holds no resources. It can be used again at once, back to back. The first strand that
 *            comes out of it with 0 may free it, if no other round has begun.
 * Fork       A round that strands of the parent had begun cannot end in the child: EPIPE.
 */

/** A barrier. The size is ABI, the meaning of the members is not. */
typedef struct thrum_barrier {
    THRUM_ALIGNED(8) uint64_t thrum_word;
    uint32_t thrum_parties;
    uint32_t thrum_fork;
    int (*thrum_action)(void *);
    void *thrum_arg;
} thrum_barrier_t;

/** Most parties that a barrier can have. */
#define THRUM_BARRIER_MAX ((unsigned)INT_MAX)

/** Makes `b` a barrier for `parties` strands. `action`, unless NULL, is called with `arg` by the
 *  last to arrive, before anyone is let go; it returns 0, or anything else to break the barrier.
 *  @return 0, or EINVAL (NULL, no parties or more than THRUM_BARRIER_MAX). */
THRUM_API int thrum_barrier_init(thrum_barrier_t *b, unsigned parties, int (*action)(void *),
                                 void *arg);

/** Waits until all parties have arrived. `*index`, unless NULL, gets this strand's place, 0 for the
 *  first to arrive.
 *  @return 0, EPIPE (broken, or reset meanwhile), ECANCELED, EINVAL (NULL), or ENOMEM. */
THRUM_API int thrum_barrier_wait(thrum_barrier_t *b, unsigned *index);

/** As thrum_barrier_wait; a deadline that passes breaks the barrier.
 *  @return as thrum_barrier_wait, or ETIMEDOUT. */
THRUM_API THRUM_NODISCARD int thrum_barrier_wait_until(thrum_barrier_t *b, unsigned *index,
                                                       thrum_time_t deadline);

/** Empties the barrier and mends it. Strands inside get EPIPE. @return 0, or EINVAL (NULL). */
THRUM_API int thrum_barrier_reset(thrum_barrier_t *b);

/** Breaks the barrier. @return 0, or EINVAL (NULL). */
THRUM_API int thrum_barrier_abort(thrum_barrier_t *b);

/** How many strands pass it together. */
THRUM_API unsigned thrum_barrier_parties(const thrum_barrier_t *b);

/** How many strands are inside at this moment. */
THRUM_API unsigned thrum_barrier_waiting(const thrum_barrier_t *b);

/** Whether it is broken. */
THRUM_API bool thrum_barrier_broken(const thrum_barrier_t *b);

THRUM_END_DECLS
#endif /* THRUM_BARRIER_H */
