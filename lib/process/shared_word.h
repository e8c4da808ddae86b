#ifndef THI_SHARED_WORD_H
#define THI_SHARED_WORD_H

/*
 * Words in shared memory that count, and that strands of any process sleep on until they change.
 *
 *      63                    3       2        1         0
 *     +-----------------------+---------+--------+----------+
 *     |         count         | ABORTED | CLOSED | SLEEPERS |
 *     +-----------------------+---------+--------+----------+
 *
 *   SLEEPERS  set by who is about to sleep, in the step in which he looks last; cleared by who changes the
 *             word, in the step that changes it, and then everybody is woken. So it may be set for nobody
 *             (who slept was killed, or gave up); it is never clear while somebody sleeps.
 *
 * Invariants
 *   I1  A change and the wake-up of everybody who sleeps for it are one step: one compare-and-swap of a word
 *       without SLEEPERS, or one call of the system that adds to the word and wakes (FUTEX_WAKE_OP), in which
 *       no signal comes. Who is killed has done both or neither.
 *   I2  All are woken, not one: the one could be dead or stopped, and its wake-up lost to the others.
 *   I3  What is added has no more than 11 bits, which is what the system's call can add.
 */
#include "os/os.h"
#include "strand/strand.h"

#define THI_SLEEPERS 1u
#define THI_CLOSED 2u
#define THI_ABORTED 4u
#define THI_COUNT 8u

static inline uint64_t thi_word_count(uint64_t word)
{
    return word / THI_COUNT;
}

/* Adds to the word, a release; wakes everybody. Nobody else may add to it meanwhile. */
void thi_word_add(uint64_t *word, uint32_t add);

/* What thi_word_add does when the word bears SLEEPERS: false when it does not, or when the system cannot add that
 * much in one step; then who slept was woken without a change, and SLEEPERS cleared. */
bool thi_word_add_and_wake(uint64_t *word, uint32_t add);

/* Sleeps until the word is no longer what it was `seen` as (SLEEPERS apart), or for no reason: 0; or ETIMEDOUT,
 * ECANCELED, ENOMEM. Spins first. */
int thi_word_sleep(uint64_t *word, uint64_t seen, const thi_site_t *site, thrum_time_t deadline);

#endif /* THI_SHARED_WORD_H */
