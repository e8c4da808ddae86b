#ifndef THI_THREAD_OBJECT_H
#define THI_THREAD_OBJECT_H

/*
 * The thread object, for thread.c (one thread's life) and known.c (all of them).
 *
 *   state    NEW ------> STARTING ------> STARTED ------> ENDED
 *             ^              |               |  \
 *             +-- it failed -+               |   +--> LEAVING   it has called exit, and never ends
 *                                            +------> LOST      in the child of a fork
 *
 * NEW to STARTING is the starter's, by compare-and-swap. STARTING to STARTED is made by whoever comes
 * first, the starter or the thread. What comes after is written under the layer's lock. A thread that
 * thrum did not start is STARTED when it is first seen.
 *
 * References: one for each handle, and one that the thread has of itself from STARTING to ENDED. In LOST
 * that one is given back in its stead.
 */

#include "thread/thread.h"

#define THI_THREAD_NEW 0u
#define THI_THREAD_STARTING 1u
#define THI_THREAD_STARTED 2u
#define THI_THREAD_LEAVING 3u
#define THI_THREAD_ENDED 4u
#define THI_THREAD_LOST 5u

/* Who joins or detaches the system's thread. */
#define THI_NATIVE_NOBODY 0u /* it is detached, or not ours */
#define THI_NATIVE_OURS 1u   /* nobody yet: whoever makes it TAKEN does */
#define THI_NATIVE_TAKEN 2u  /* `gone` will be set */

struct thrum_thread {
    uint32_t refs;
    uint32_t state;
    bool foreign; /* thrum did not start it */

    /* Set before the start. */
    thrum_fn fn;
    void *arg;
    uint32_t daemon;
    unsigned *cpus;
    thi_start_t start;

    /* Set by the start. */
    uint64_t ident;
    uint32_t forks; /* thi_fork_depth of the process that it lives in, or lived in */
    bool awaited;   /* the process waits for it; under the lock */

    /* Set by the thread. */
    uint32_t native_id; /* 0: not known yet; AWAITED: nor that, and somebody sleeps on it */
    uint32_t native;    /* NOBODY, OURS, TAKEN */
    uintptr_t handle;
    uint32_t rounds; /* of destructors, that it has seen */
    int status;      /* these two before ENDED */
    void *result;

    /* Under the lock. */
    thi_strand_t *strand; /* NULL unless it may be cancelled */
    bool cancelled;
    bool named_here; /* `handle` may be used to name it */
    struct thrum_thread *next;
    struct thrum_thread *prev;
    char *name;
    size_t name_size;
    char short_name[16]; /* `name`, when it fits */

    thrum_event_t ended; /* ENDED or LEAVING */
    thrum_event_t gone;  /* joined */
};

extern struct thrum_thread thi_main_thread;

/* The calling thread's object; NULL: it has none yet, or it has ended (thi_thread_over). */
extern _Thread_local struct thrum_thread *thi_thread_mine THI_TLS_MODEL;
extern struct thrum_thread thi_thread_over;

static inline struct thrum_thread *thi_thread_self(void)
{
    return thi_thread_mine != &thi_thread_over ? thi_thread_mine : NULL;
}

/* --- thread.c ----------------------------------------------------------------------------------- */

/* The calling thread becomes `t`: it can be cancelled and named, and is told when it ends. Returns 0 or
 * ENOMEM: it will not be told. */
int thi_thread_begin(struct thrum_thread *t);

/* --- known.c ------------------------------------------------------------------------------------ */

/* A thread that is about to be started becomes known, and awaited, or not. 0, ENOMEM, ESHUTDOWN. */
int thi_known_add(struct thrum_thread *t);

/* It has ended, or could not be started: `state` is what it is in from now on. */
void thi_known_remove(struct thrum_thread *t, uint32_t state);

/* Whether exit waits for the calling thread. */
bool thi_known_awaited(void);

#endif /* THI_THREAD_OBJECT_H */
