#ifndef THI_FAULT_H
#define THI_FAULT_H

/*
 * Faults that tests ask for, a part of os.h.
 */
#include "os/os.h"

#ifdef THRUM_TEST
/* Fault tests: the n-th call from now of a function that may fail does fail (0: none does). */
#define THI_FAULT_ALWAYS UINT32_MAX /* every call does, until it is armed anew */
typedef enum thi_fault {
    THI_FAULT_ALLOC,
    THI_FAULT_PAGES,
    THI_FAULT_FORGET,
    THI_FAULT_AT_EXIT,
    THI_FAULT_SIGNAL,
    THI_FAULT_THREAD,
    THI_FAULT_SHARED,  /* shared memory */
    THI_FAULT_CHANNEL, /* a channel between processes */
    THI_FAULT_PIPE,
    THI_FAULT_FORK,
    THI_FAULT_PIDFD,
    THI_FAULT_LETTER,
    THI_FAULT_EXIT_INFO, /* the system does not tell how a process ended that somebody else waited for */
    THI_FAULT_GROUP,       /* the system does not signal groups by descriptors */
    THI_FAULT_CLOSE_RANGE, /* the system does not mark ranges of descriptors */
    THI_FAULT_OPEN,
    THI_FAULT_SOCKETPAIR,
    THI_FAULT_RECEIVE, /* no room for descriptors that come */
    THI_FAULT_MEMFD,
    THI_FAULT_QUIETLY,   /* the system has no writes without SIGPIPE */
    THI_FAULT_SEGMENT,   /* making, mapping, growing memory of several processes */
    THI_FAULT_INTERRUPT, /* a signal ends a poll */
    THI_FAULT_DISK,      /* reading, writing, cutting, syncing and naming files */
    THI_FAULT_WAIT,      /* the system does not wait for processes by descriptors */
    THI_FAULT_ACCEPT,    /* no descriptor for who connects */
    THI_FAULT_KINDS,
} thi_fault_t;
void thi_fault_arm(thi_fault_t kind, unsigned nth);
bool thi_fault(thi_fault_t kind);

/* Death walks: the n-th point from now that the process passes kills it, by SIGKILL (0: none does). In
 * `note`, unless NULL, in memory of several processes, stands where. */
#define THI_DEATH_NOTE 64u
void thi_death_arm(unsigned nth, char *note);
void thi_stop_arm(const char *name); /* the next of that name stops it, by SIGSTOP */
void thi_death_point(const char *name);
#else
#define thi_fault(kind) false
#define thi_death_point(name) ((void)0)
#endif

#endif /* THI_FAULT_H */
