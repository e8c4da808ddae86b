#ifndef THI_THREAD_H
#define THI_THREAD_H

/*
 * The door of lib/thread: thread objects and timers. Other layers use them as programs do, by
 * thrum/thread.h and thrum/timer.h; what is here is shared within the layer.
 */

#include <thrum/event.h>
#include <thrum/thread.h>
#include <thrum/timer.h>

#include "sync/sync.h"

/* The lock of the layer (THI_RANK_THREADS): who is known, what may change while a thread runs, and the
 * timers. Held across fork. */
extern thi_lock_t thi_threads_lock;

static inline void thi_threads_enter(void)
{
    thi_lock(&thi_threads_lock, THI_RANK_THREADS);
}

static inline void thi_threads_leave(void)
{
    thi_unlock(&thi_threads_lock, THI_RANK_THREADS);
}

/* In the child of a fork, with the lock held: no timer is scheduled, none runs but the forker's. */
void thi_timers_after_fork(void);

/* The end of the process, for a layer above: fn is called by exit once the threads are through. Any number of
 * times, always the same. 0 or ENOMEM. */
int thi_exit_after_threads(void (*fn)(void));

/* What exit would wait for, in a process that ends otherwise. */
void thi_exit_wait(void);

#endif /* THI_THREAD_H */
