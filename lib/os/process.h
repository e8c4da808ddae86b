#ifndef THI_OS_PROCESS_H
#define THI_OS_PROCESS_H

/*
 * What process.c, process_spawn.c and subprocess.c share: descriptors of processes, and the gate at which a child waits.
 */

#include <signal.h>

#include "os/os.h"

#if defined(__linux__)
#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#define THI_ANY_PIDFD ((idtype_t)3) /* P_PIDFD, which not every C library has */
#endif

/* Whether the system waits for processes by their descriptors (Linux 5.4). errno is the caller's to keep. */
bool thi_pidfd_can_wait(void);

/* Whether there is such a signal, or 0. A process that has ended would not say. */
static inline bool thi_is_signal(int signal)
{
    return signal >= 0 && signal < NSIG;
}

/* The lock of all children's descriptors, held across fork (THI_RANK_CHILDREN). */
void thi_children_enter(void);
void thi_children_leave(void);

/* Under the lock. */
static inline void thi_child_close_fd(int *fd)
{
    if (*fd >= 0)
        thi_fd_close(*fd);
    *fd = -1;
}

/* Before the child is there: its pipe; the child becomes known. 0 or an error of the system. */
int thi_gate_open(thi_child_t *child);

/* The child is there, and `pid` set. An error: it is gone again. */
int thi_gate_admit(thi_child_t *child, bool dies_with_parent);

/* In the child. Does not return when the parent is gone. */
void thi_gate_pass(int gate, bool dies_with_parent);

/* The gate that ties this process to its parent, not to be inherited by its children; -1: none. */
int thi_gate_own(void);

#endif /* THI_OS_PROCESS_H */
