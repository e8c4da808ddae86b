#ifndef THI_SYNC_H
#define THI_SYNC_H

/*
 * The door of lib/sync: the locks and signals of the contract, and what they share.
 */

#include <thrum/event.h>
#include <thrum/mutex.h>
#include <thrum/semaphore.h>

#include "strand/strand.h"

/* --- mutex, as the condition and the recursive lock use it: no argument checks, no bookkeeping --- */
extern const thi_site_t thi_mutex_site;

int thi_mutex_acquire(thrum_mutex_t *m,
                      thrum_time_t deadline); /* 0, ETIMEDOUT, ENOMEM, EOWNERDEAD */
int thi_mutex_release(thrum_mutex_t *m);      /* 0, EPERM */
bool thi_mutex_try(thrum_mutex_t *m);

/* Whether a strand of this process has it, or is awake and about to. */
bool thi_mutex_is_wanted(const thrum_mutex_t *m);

/* The two changes of a mutex that nobody else wants, small enough to be inlined; everything else
 * about its state word is mutex.c's. */
#define THI_MUTEX_LOCKED 1u
#define THI_MUTEX_HOLDER_SHIFT THI_PROCESS_MARK_SHIFT

/* The word of a mutex that is held by this process and wanted by nobody. */
static inline uint32_t thi_mutex_held(uint32_t process)
{
    return (process & THI_PROCESS_MARK) | THI_MUTEX_LOCKED;
}

/* Taking a mutex by guessing what its word is saves a load before the locked instruction, which would have to
 * wait for the one before. The guess is what the thread found last: 0, or that others wait and one of them
 * watches (never that the mutex is held, or promised). */

/* A free mutex becomes the caller's, who has still to sign it. False: the guess was wrong. */
static inline bool thi_mutex_take_free(thrum_mutex_t *m)
{
    const uint32_t process = thi_load_relaxed(&thi_process);
    if (thi_alone(process)) { /* plain accesses: nobody is there to see them */
        if (THI_UNLIKELY(m->thrum_state != 0))
            return false;
        m->thrum_state = thi_mutex_held(process);
        return true;
    }
    uint32_t state = thi_current.guess;
    /* A1: acquire; pairs with R1 and R2 of mutex.c. */
    return thi_cas_acquire(&m->thrum_state, &state, state | thi_mutex_held(process));
}

/* A mutex that was locked before a fork keeps its signature until it bears the mark of this process: without,
 * others would take its holder for lost. */
static inline bool thi_mutex_is_inherited(const thrum_mutex_t *m, uint32_t process)
{
    return (process & THI_PROCESS_CHILD) != 0 &&
           ((thi_load_relaxed(&m->thrum_state) ^ process) & THI_PROCESS_MARK) != 0;
}

/* A locked mutex becomes free, where nobody has to be woken. (One that was locked before a fork: false.) */
static inline bool thi_mutex_give_free(thrum_mutex_t *m)
{
    const uint32_t process = thi_load_relaxed(&thi_process);
    const uint32_t guess = thi_current.guess;
    uint32_t state = guess | thi_mutex_held(process);
    if (thi_alone(process)) {
        if (THI_UNLIKELY(m->thrum_state != state))
            return false;
        m->thrum_owner = 0;
        m->thrum_state = 0;
        return true;
    }
    if (THI_UNLIKELY(thi_mutex_is_inherited(m, process)))
        return false;
    /* Relaxed: the signature is gone before the mutex can be another's (R1). */
    thi_store_relaxed(&m->thrum_owner, 0u);
    /* R1: release; pairs with A1. */
    return thi_cas_release(&m->thrum_state, &state, guess);
}

extern const thi_site_t thi_rlock_site;

/* What an unlock hands to the strand that it wakes from the mutex's queue. */
#define THI_GIVEN_NOTHING 0u /* it was not woken from there */
#define THI_GIVEN_WATCH 1u   /* it is the watcher */
#define THI_GIVEN_MUTEX 2u   /* it has the mutex */

/* Takes the mutex after a wait on a condition, however long that takes. Cannot fail. */
void thi_mutex_reacquire(thrum_mutex_t *m, uint32_t given);

/* Under the bucket of the mutex: true when the mutex is held; it is then marked as having waiters,
 * so that one can be queued. */
bool thi_mutex_hold_waiter(thrum_mutex_t *m);

/* --- semaphore and event, for waits on several things (strand.h, thi_lot_enter) -------------------
 * enter queues a waiter, or returns false: look at the object again. leave ends what enter began,
 * whether the waiter won or not. A semaphore's winner has to try to acquire; an event's is let go. Who waits for
 * an event waits since a generation, and is let go when it is set, or has been set since: also while it was
 * awake. */
bool thi_sem_enter(thrum_sem_t *s, thi_wait_t *wait, thi_waiter_t *waiter, uint32_t index);
void thi_sem_leave(thrum_sem_t *s, thi_waiter_t *waiter);
uint32_t thi_event_generation(const thrum_event_t *e);
bool thi_event_let_go(const thrum_event_t *e, uint32_t since);
bool thi_event_enter(thrum_event_t *e, uint32_t since, thi_wait_t *wait, thi_waiter_t *waiter,
                     uint32_t index);
void thi_event_leave(thrum_event_t *e, thi_waiter_t *waiter);

#endif /* THI_SYNC_H */
