#ifndef THI_PROCESS_OBJECT_H
#define THI_PROCESS_OBJECT_H

/*
 * The process object, for process.c (one process's life), known.c (all of them) and process_spawn.c.
 *
 *   state    NEW ------> STARTING ------> STARTED ------> ENDED
 *             ^              |               |
 *             +-- it failed -+---------------+--> LOST    another process's: of a forked child's siblings
 *            SELF                                         this process
 *            PARENT                                       the one that started it
 *
 * NEW to STARTING is the starter's, by compare-and-swap. All other changes are made under the layer's lock, which
 * is held across fork.
 *
 * References: one for each handle, and one of the list of children, from STARTING until the end has been seen.
 */

#include <thrum/event.h>

#include "os/os.h"
#include "process/process.h"

#define THI_PROCESS_NEW 0u
#define THI_PROCESS_STARTING 1u
#define THI_PROCESS_STARTED 2u
#define THI_PROCESS_ENDED 3u
#define THI_PROCESS_LOST 4u
#define THI_PROCESS_SELF 5u
#define THI_PROCESS_PARENT 6u

struct thrum_process {
    uint32_t refs;
    uint32_t state;

    /* Set before the start. */
    thrum_fn fn;
    void *arg;
    const char *registered; /* the function's name; NULL: by fork */
    void *bytes;
    size_t size;
    uint32_t daemon;

    thi_child_t child; /* from STARTED to the end, and until nobody waits; under the lock */
    uint32_t pid;
    int exit_code; /* before ENDED */

    /* Under the lock. */
    unsigned waiters; /* who may use the child's descriptor */
    struct thrum_process *next;
    struct thrum_process *prev;
    char *name;
    size_t name_size;
    char short_name[16]; /* `name`, when it fits */

    thrum_event_t begun; /* no longer STARTING */
};

/* --- the lock of the layer (THI_RANK_PROCESSES): the list, states, names. Held across fork ----------- */
void thi_processes_enter(void);
void thi_processes_leave(void);

/* --- process.c ---------------------------------------------------------------------------------- */
void thi_process_drop(struct thrum_process *p);

/* Under the lock. Has it ended? 0; EAGAIN; or what join says of such an object. An end that is news: `*ended`
 * is to be dropped, without the lock. */
int thi_process_look(struct thrum_process *p, struct thrum_process **ended);

/* Waits for its end. 0, ETIMEDOUT, and join's errors. */
int thi_process_await(struct thrum_process *p, thrum_time_t deadline);

/* The same with the whole thread, which needs nothing for it. */
int thi_process_await_hard(struct thrum_process *p, thrum_time_t deadline);

/* In a new process: runs its function and leaves. */
_Noreturn void thi_process_run(struct thrum_process *self);

/* --- known.c ------------------------------------------------------------------------------------ */

/* One that is about to be started becomes a child, STARTING. 0, ENOMEM, ESHUTDOWN. */
int thi_family_add(struct thrum_process *p);

/* Under the lock: it is none any more; the caller owes a drop. */
void thi_family_remove(struct thrum_process *p);

/* Under the lock: of a parent. */
bool thi_family_parent_alive(const struct thrum_process *p);

/* In the new process: who it is, and who has started it. */
void thi_family_begin(struct thrum_process *me, struct thrum_process *starter, pid_t starter_pid);

/* --- process_spawn.c ---------------------------------------------------------------------------- */

/* The name under which a function is registered, or NULL. */
const char *thi_spawn_name(thrum_fn fn);

/* As thi_process_fork, of one that has a registered function. Also EINVAL: nobody has called begin. */
int thi_spawn(struct thrum_process *p);

#endif /* THI_PROCESS_OBJECT_H */
