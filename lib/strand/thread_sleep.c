/*
 * How a thread sleeps: on its permit, by a futex; on a word shared with other processes besides; or, when it waits
 * for descriptors, in a poll that a descriptor of its own can end.
 *
 * Invariants
 *   I1  `poll_signal` is written before the sleep, and the permit looked at again after it; a waker changes
 *       the permit first and then reads `poll_signal`, with a full fence between in each. So a waker that
 *       has read the old one has left a permit that is seen.
 *   I2  The descriptor stays open with the record: a waker that is late writes to what still is a signal of
 *       the record's, and ends a poll for no reason.
 */
#include "strand/strand.h"

static int poll_until(thi_strand_t *self, thrum_time_t deadline)
{
    thi_poll_set_t *set = self->polls;
    thi_fence_full(); /* I1 */
    if (thi_load_relaxed(&self->permit) != THI_PARKED)
        return 0;
    set->polled[set->n].fd = self->poll_kept - 1;
    set->polled[set->n].events = THI_POLL_IN;
    const int err = thi_poll(set->polled, set->n + 1, deadline);
    if (err != 0)
        return err;
    if (set->polled[set->n].ready != 0)
        thi_signal_set(self->poll_kept - 1, false);
    set->ready(set);
    return 0;
}

int thi_thread_block(thi_strand_t *self, thrum_time_t deadline)
{
    if (THI_UNLIKELY(self->far_word != NULL))
        return thi_far_wait(self->far_word, self->far_expected, deadline, &self->permit,
                            THI_PARKED);
    return self->polls != NULL ? poll_until(self, deadline)
                               : thi_futex_wait(&self->permit, THI_PARKED, deadline);
}

void thi_thread_rouse(thi_strand_t *strand)
{
    thi_fence_full(); /* I1 */
    const int signal = thi_load_relaxed(&strand->poll_signal);
    if (THI_LIKELY(signal == 0))
        thi_futex_wake(&strand->permit, 1);
    else
        thi_signal_set(signal - 1, true);
}

int thi_thread_may_poll(thi_strand_t *self)
{
    if (self->poll_kept != 0 && self->poll_mark == thi_fork_mark) /* not one shared with a parent */
        return 0;
    int fd = -1;
    const int err = thi_signal_open(&fd);
    if (err != 0)
        return err;
    self->poll_kept = fd + 1;
    self->poll_mark = thi_fork_mark;
    return 0;
}

/* The set's array has room for one more. */
int thi_thread_polls(thi_strand_t *self, thi_poll_set_t *set)
{
    const int err = thi_thread_may_poll(self);
    if (err != 0)
        return err;
    self->polls = set;
    thi_store_relaxed(&self->poll_signal, self->poll_kept); /* I1 */
    return 0;
}

void thi_thread_polled(thi_strand_t *self)
{
    self->polls = NULL;
    thi_store_relaxed(&self->poll_signal, 0);
}
