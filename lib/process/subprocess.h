#ifndef THI_SUBPROCESS_H
#define THI_SUBPROCESS_H

/*
 * What the files of subprocesses share.
 */
#include <thrum/subprocess.h>

#include "strand/strand.h"

#define THI_STREAMS 3 /* in, out, err: their numbers in the program */

/*
 *   child       pid and descriptor of the process. What changes it is under `lock`: waiting for it by its number,
 *               and signals, so that neither goes to another that has got the number; the same holds for the
 *               descriptors of the streams, which communicate reads, and anybody closes
 *   ended       1: `code` is how it ended, for good
 *   piped       which of the streams are pipes
 *   pipes       theirs; in a forked child they are closed
 *   closing     1: somebody has closed this process's end, or is about to
 */
struct thrum_subprocess {
    uint32_t refs;
    uint32_t fork_mark; /* of the process that started it */
    uint32_t talking;   /* 1: a strand is in communicate */
    uint32_t ended;
    int code;
    bool has_group;
    pid_t pid;
    int64_t linger;
    thi_lock_t lock;
    thi_child_t child;
    bool piped[THI_STREAMS];
    uint32_t closing[THI_STREAMS];
    thi_pipe_t pipes[THI_STREAMS];
    struct thrum_subprocess *next; /* of those that nobody has a reference to */
};

/* It is the parent's: this process was forked later. */
static inline bool thi_subprocess_inherited(const thrum_subprocess_t *p)
{
    return p->fork_mark != thi_fork_mark;
}

/* The lock is held for a few system calls that do not wait. */
static inline void thi_subprocess_enter(thrum_subprocess_t *p)
{
    thi_lock(&p->lock, THI_RANK_PROGRAMS);
}

static inline void thi_subprocess_leave(thrum_subprocess_t *p)
{
    thi_unlock(&p->lock, THI_RANK_PROGRAMS);
}

/* Which end of a stream's pipe this process has; the other is the program's. */
static inline int thi_stdio_ours(int stream)
{
    return stream == 0 ? 1 : 0;
}

static inline int thi_stdio_fd(thrum_subprocess_t *p, int stream)
{
    return thi_load_relaxed(&p->pipes[stream].fd[thi_stdio_ours(stream)]);
}

/* Wakes whoever waits on it. False: it is closed already, or was none. */
bool thi_stdio_close(thrum_subprocess_t *p, int stream);

/* Whether it has ended: 0, or EAGAIN. Takes it off the system's list of processes if so. */
int thi_subprocess_ask(thrum_subprocess_t *p);

/* What is to be executed, made of what the program asks for. The memory is one block. */
typedef struct thi_plan {
    thi_exec_t exec;
    void *memory;
    size_t size;
} thi_plan_t;

/* 0, ENOMEM, ENOENT (no name), EINVAL (a change to the environment without a name). */
int thi_plan_make(thi_plan_t *plan, const char *const *argv,
                  const thrum_subprocess_config_t *config);
void thi_plan_end(thi_plan_t *plan);

#endif /* THI_SUBPROCESS_H */
