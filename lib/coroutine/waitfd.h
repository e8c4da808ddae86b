#ifndef THI_WAITFD_H
#define THI_WAITFD_H

/*
 * Waiting for descriptors.
 */
#include "coroutine/core.h"
#include "coroutine/coroutine.h"

/* One descriptor that is waited for. */
typedef struct thi_fdwait {
    int fd;
    unsigned events; /* THI_POLL_IN, THI_POLL_OUT */
} thi_fdwait_t;

/* Waits until one of them may be ready: whoever waits looks again. 0; ETIMEDOUT; ECANCELED (also: it was
 * closed by thrum_io_close); EBADF and other errors of the system; ENOMEM. */
int thi_waitfd(const thi_fdwait_t *waits, size_t n, thrum_time_t deadline);

/* The same in steps, for select: how a strand is queued for a descriptor and one direction; and who is to tell
 * it, in a loop, or of those that its thread polls while it sleeps. */
thi_park_t thi_waitfd_park(int fd, unsigned direction);
int thi_waitfd_arm(thrum_loop_t *loop, int fd, unsigned events);
void thi_waitfd_polled(thi_poll_set_t *set);
bool thi_waitfd_is_number(int fd);

/* What the diagnosis is told of who waits. */
const thi_site_t *thi_waitfd_site(unsigned direction);
const void *thi_waitfd_object(int fd);

/* Those who wait for it are to look again. */
void thi_waitfd_unpark(int fd, unsigned directions);

/* How many wait for it; tests wait for a state with it. */
unsigned thi_waitfd_count(int fd);

#endif /* THI_WAITFD_H */
