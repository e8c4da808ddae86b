#ifndef THI_FUTURE_H
#define THI_FUTURE_H

/*
 * What the files of lib/task know of a future. The states are in future.c.
 */
#include "task/task.h"

#define THI_FUTURE_PENDING 0u
#define THI_FUTURE_RUNNING 1u
#define THI_FUTURE_DONE 2u
#define THI_FUTURE_CANCELLED 3u
#define THI_FUTURE_STATE 3u /* mask */

struct thi_callback {
    struct thi_callback *next;
    void (*cb)(thrum_future_t *f, void *arg);
    void (*drop)(void *arg); /* when it will never be called; NULL: the program's, nothing to do */
    void *arg;
    thrum_future_t *f; /* when it is to be called */
    bool keeps;        /* with a reference to f, for those before it, too */
};

struct thrum_future {
    uint64_t word; /* future.c */
    uint32_t refs;
    int error;
    void *value;

    /* Of a task. */
    thrum_executor_t *executor; /* NULL: a promise */
    thrum_fn fn;                /* NULL: a promise */
    void *arg;
    void (*drop)(
        void *arg); /* instead of fn, when it is freed without having been started. May be NULL */
    thi_strand_t *runner;
    thi_scope_t scope;

    struct thi_bytes *bytes; /* of a byte task; NULL: it is none */
    thi_remote_t *remote;    /* of a task that runs in another process; NULL: it does not */
};

/* A byte task: what goes in stands behind it; and the reply. */
struct thi_bytes {
    thrum_bytes_fn fn;
    size_t size;
    struct thrum_reply_place place;
    unsigned char in[];
};

void thi_bytes_free(struct thi_bytes *bytes);

/* Pending to running: the caller has to run it, and end it. */
bool thi_future_start(thrum_future_t *f);

/* Runs a task that was started, and ends it. THI_COMPLETED or THI_FAILED. */
thi_outcome_t thi_future_run(thrum_future_t *f, thi_strand_t *self);

/* Ends what was started. The caller has a reference. */
void thi_future_finish(thrum_future_t *f, int error, void *value);

/* Runs it on the calling strand if it waits in the executor that the strand is a worker of; with a deadline, only
 * where nobody else can (thi_help_in_time). */
bool thi_future_help(thrum_future_t *f, thi_strand_t *self, thrum_time_t deadline);

/* Whether it runs on the calling strand, which could wait for it for ever. */
bool thi_future_runs_on(const thrum_future_t *f, const thi_strand_t *self);

/* How one sleeps on it. */
thi_park_t thi_future_park(thrum_future_t *f);

/* A wait for a task that runs in another process (remote.c). */
int thi_remote_wait(thrum_future_t *f, thi_strand_t *self, thrum_time_t deadline);

/* Of one that has ended. */
int thi_future_status(const thrum_future_t *f);

/* add_done_callback, with what to do should the future be freed without having ended. */
int thi_future_add(thrum_future_t *f, void (*cb)(thrum_future_t *f, void *arg),
                   void (*drop)(void *arg), void *arg);

/* A waiter in its queue (strand.h, thi_lot_enter). */
bool thi_future_enter(thrum_future_t *f, thi_wait_t *wait, thi_waiter_t *waiter, uint32_t index);
void thi_future_leave(thrum_future_t *f, thi_waiter_t *waiter);

#endif /* THI_FUTURE_H */
