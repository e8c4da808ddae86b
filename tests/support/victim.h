#ifndef TESTS_VICTIM_H
#define TESTS_VICTIM_H

/*
 * Processes that are killed, or stopped, at a chosen point, and memory that outlives them. Plain forks: every
 * process that is ended here was started here.
 */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/os.h"

#if defined(__SANITIZE_ADDRESS__)
#define IS_INSTRUMENTED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define IS_INSTRUMENTED 1
#endif
#endif
#ifndef IS_INSTRUMENTED
#define IS_INSTRUMENTED 0
#endif

#define VICTIM_SECONDS 60 /* much longer than it may take on a busy machine */

/* Zeroed memory that children share. */
static inline void *victim_memory(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        abort();
    return memory;
}

/* Forks; the child runs fn and ends with what it returned. It is gone with who started it. */
static inline pid_t victim_start(int (*fn)(void *arg), void *arg)
{
    const pid_t parent = getpid();
    fflush(NULL);
    const pid_t pid = fork();
    if (pid < 0)
        abort();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(127);
        alarm(VICTIM_SECONDS);
        _exit(fn(arg));
    }
    return pid;
}

/* What fn returned (0 to 127), or 128 + the signal that ended it. */
static inline int victim_end(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) != pid) {
    }
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static inline void victim_kill(pid_t pid)
{
    kill(pid, SIGKILL);
    victim_end(pid);
}

/* Until it is stopped. */
static inline void victim_await_stop(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status)) {
    }
}

/* A walk through the points where a process could die in fn: for each a child that is killed there. After each
 * death survives(arg) says whether all is well. Returns how many there were, or -1, having said what was wrong.
 * Ends with the first child that lives. */
struct walk {
    int (*begin)(void *arg); /* in the parent, before each. May be NULL */
    int (*fn)(void *arg);
    int (*survives)(void *arg);
    void *arg;
};

struct walk_step {
    const struct walk *walk;
    unsigned n;
    char *note;
};

static inline int walk_step(void *arg)
{
    const struct walk_step *step = arg;
    thi_death_arm(step->n, step->note);
    const int err = step->walk->fn(step->walk->arg);
    thi_death_arm(0, NULL);
    return err;
}

static inline int walk(const struct walk *w)
{
    char *note = victim_memory(THI_DEATH_NOTE);
    int end = 128 + SIGKILL;
    unsigned n = 0;
    while (end == 128 + SIGKILL) {
        memset(note, 0, THI_DEATH_NOTE);
        if (w->begin != NULL && w->begin(w->arg) != 0) {
            fprintf(stderr, "walk: begin, before point %u\n", n + 1);
            return -1;
        }
        struct walk_step step = {w, ++n, note};
        end = victim_end(victim_start(walk_step, &step));
        const int err = w->survives(w->arg);
        if (err != 0 || (end != 0 && end != 128 + SIGKILL)) {
            fprintf(stderr, "walk: point %u (%s): ended with %d, survivor says %d\n", n, note, end,
                    err);
            return -1;
        }
    }
    munmap(note, THI_DEATH_NOTE);
    return (int)n - 1;
}

/* The same at instructions instead of points, every `stride`th from somewhere on: fn is run step by step. -2: the
 * system does not let a process be traced. */
static inline int walk_traced(void *arg)
{
    const struct walk *w = arg;
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
        return 77;
    raise(SIGSTOP);
    const int err = w->fn(w->arg);
    raise(SIGSTOP);
    return err;
}

/* True: it is where it should be killed. False: it has come to the end, or is gone. */
static inline bool walk_steps(pid_t pid, unsigned steps, int *status)
{
    for (unsigned i = 0; i < steps; i++) {
        if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) != 0 || waitpid(pid, status, 0) != pid ||
            !WIFSTOPPED(*status) || WSTOPSIG(*status) != SIGTRAP)
            return false;
    }
    return true;
}

/* Of how many instructions one is taken: each run takes others; THRUM_WALK_STRIDE=1 takes all, and minutes.
 * Programs that are instrumented have far more of them. */
static inline unsigned walk_stride(unsigned usual, unsigned instrumented)
{
    const char *wanted = getenv("THRUM_WALK_STRIDE");
    if (wanted != NULL && atoi(wanted) > 0)
        return (unsigned)atoi(wanted);
    return IS_INSTRUMENTED ? instrumented : usual;
}

static inline int walk_instructions(const struct walk *w, unsigned stride)
{
    bool more = true;
    unsigned n = (unsigned)getpid() % stride;
    for (; more; n += stride) {
        int status = 0;
        if (w->begin != NULL && w->begin(w->arg) != 0)
            return -1;
        const pid_t pid = victim_start(walk_traced, (void *)(uintptr_t)w);
        if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
            return -2;
        more = walk_steps(pid, n, &status);
        if (!more && (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGSTOP)) {
            fprintf(stderr, "walk: instruction %u: status %#x\n", n, (unsigned)status);
            return -1;
        }
        victim_kill(pid);
        const int err = w->survives(w->arg);
        if (err != 0) {
            fprintf(stderr, "walk: instruction %u: survivor says %d\n", n, err);
            return -1;
        }
    }
    return (int)n;
}

#endif /* TESTS_VICTIM_H */
