#ifndef THI_WAITFD_H
#define THI_WAITFD_H

/*
 * Waiting for descriptors.
 */
#include "coroutine/core.h"

/* One descriptor that is waited for. */
typedef struct thi_fdwait {
    int fd;
    unsigned events; /* THI_POLL_IN, THI_POLL_OUT */
} thi_fdwait_t;

/* Waits until one of them may be ready: whoever waits looks again. 0; ETIMEDOUT; ECANCELED (also: it was
 * closed by thrum_io_close); EBADF and other errors of the system; ENOMEM. */
int thi_waitfd(const thi_fdwait_t *waits, size_t n, thrum_time_t deadline);

/* Wakes whoever waits for it, for good. */
void thi_waitfd_closed(int fd);

/* How many wait for it; tests wait for a state with it. */
unsigned thi_waitfd_count(int fd);

/* Wakes whoever waits for it: they try again. */
void thi_waitfd_look_again(int fd);

#endif /* THI_WAITFD_H */
