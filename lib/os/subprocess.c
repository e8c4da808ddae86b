/*
 * Executing another program, at a price that does not depend on how much memory this process has: the child
 * borrows it until the program begins (CLONE_VM), while the thread that made the child stands still
 * (CLONE_VFORK). So what the child does before may touch nothing that others could be using, which is why
 * everything it needs is made before, and why it makes bare system calls: functions of the C library may have
 * something else in front of them, and sanitizers would note what the child does as done by the parent.
 *
 * The child's way
 *
 *   signals      all are blocked when it begins, so that no handler of the program runs in it; what is
 *                not the default becomes so; then they are let through
 *   group, directory
 *   descriptors  1  those that stand where another is to go are lifted to where none is to go
 *                2  from 3 on all are marked to be closed by the execution
 *                3  each goes to its place, which takes the mark away
 *   execution    of the first of the paths that there is. An error of any step is left in the parent's memory
 *
 * Invariants
 *   I1  The descriptor of the child is there from its first moment (CLONE_PIDFD), written to its record, which is
 *       in the list of process.c, before it is opened. So nobody's wait, and no fork, comes between.
 *   I2  The parent comes back when the program has begun or the child has ended, so the stack and what is
 *       described are free again.
 *
 * Tools that make a fork of this (Valgrind, qemu) cannot show the child's error to the parent: there a program
 * that cannot be executed ends with the status 127.
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "os/process.h"

#if defined(__linux__)
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x1000
#endif
#define RANGE_CLOEXEC 4u
#define SIGNALS 64
#define STACK_SIZE ((size_t)64 * 1024)
#define EXIT_UNBEGUN 127

/* Not to be watched by sanitizers: the child is on a stack of its own, which it never leaves. */
#if defined(__clang__)
#define BARE __attribute__((no_sanitize("address", "thread", "undefined")))
#else
#define BARE __attribute__((no_sanitize_address, no_sanitize_thread, no_sanitize_undefined))
#endif

/* ThreadSanitizer's takes it for a fork, and would have the parent start no threads any more. */
#if defined(__SANITIZE_THREAD__) || defined(THI_CLANG_TSAN)
extern int __clone(int (*fn)(void *), void *stack, int flags, void *arg, ...); /* NOLINT: glibc's */
#define CLONE __clone
#else
#define CLONE clone
#endif

/* The system's signal set, and its default action, whatever the processor. */
static const uint64_t no_signals[2] = {0, 0};
static const uint64_t default_action[8] = {0};
#define SET_SIZE ((size_t)SIGNALS / 8)

typedef struct birth {
    const thi_exec_t *exec;
    bool no_close_range; /* for the tests: the system lacks it */
    int err;
} birth_t;

/* ------------------------------------------------------------------------------------------------
 * In the child
 */

BARE static bool is_ignored(int signal)
{
    uintptr_t action[8] = {0}; /* begins with the handler, whatever the processor */
    return syscall(SYS_rt_sigaction, signal, NULL, action, SET_SIZE) == 0 &&
           action[0] == (uintptr_t)SIG_IGN;
}

BARE static void reset_signals(bool keep_ignored)
{
    for (int signal = 1; signal <= SIGNALS; signal++) {
        if (!keep_ignored || !is_ignored(signal))
            syscall(SYS_rt_sigaction, signal, default_action, NULL, SET_SIZE);
    }
}

BARE static int join_group(thi_exec_group_t group)
{
    long rc = 0;
    if (group == THI_EXEC_GROUP)
        rc = syscall(SYS_setpgid, 0, 0);
    else if (group == THI_EXEC_SESSION)
        rc = syscall(SYS_setsid);
    return rc < 0 ? errno : 0;
}

BARE static bool is_place(const thi_exec_t *exec, int fd)
{
    for (size_t i = 0; i < exec->fd_count; i++) {
        if (exec->fds[i].to == fd)
            return true;
    }
    return false;
}

/* Not above all places: there need not be any numbers. A copy that comes to lie in a place is replaced there later,
 * and keeps the next one from it. */
BARE static long copy_beside(const thi_exec_t *exec, int fd)
{
    long copy = 2;
    do
        copy = syscall(SYS_fcntl, (long)fd, F_DUPFD_CLOEXEC, copy + 1);
    while (copy >= 0 && is_place(exec, (int)copy));
    return copy;
}

BARE static int lift(const thi_exec_t *exec)
{
    for (size_t i = 0; i < exec->fd_count; i++) {
        thi_exec_fd_t *fd = &exec->fds[i];
        if (fd->from == fd->to || !is_place(exec, fd->from))
            continue;
        const long lifted = copy_beside(exec, fd->from);
        if (lifted < 0)
            return errno == EINVAL ? EMFILE : errno; /* the last number was a place */
        fd->from = (int)lifted;
    }
    return 0;
}

struct entry { /* of getdents64 */
    uint64_t inode;
    int64_t offset;
    unsigned short length;
    unsigned char type;
    char name[];
};

BARE static int number_of(const char *name)
{
    int number = 0;
    for (; *name >= '0' && *name <= '9'; name++)
        number = number * 10 + (*name - '0');
    return *name == '\0' ? number : 0; /* "." and ".." */
}

/* Where the system cannot mark a range. */
BARE static int mark_each(void)
{
    uint64_t buffer[256];
    const long folder =
        syscall(SYS_openat, (long)AT_FDCWD, "/proc/self/fd", (long)(O_RDONLY | O_CLOEXEC));
    if (folder < 0)
        return errno;
    long n = 0;
    while ((n = syscall(SYS_getdents64, folder, buffer, sizeof buffer)) > 0) {
        const struct entry *entry = NULL;
        for (long at = 0; at < n; at += entry->length) {
            entry = (const struct entry *)(const void *)((const char *)buffer + at);
            const int fd = number_of(entry->name);
            if (fd > 2)
                syscall(SYS_fcntl, (long)fd, F_SETFD, (long)FD_CLOEXEC);
        }
    }
    return n < 0 ? errno : 0;
}

BARE static int mark_others(const birth_t *birth)
{
    if (!birth->no_close_range && syscall(SYS_close_range, 3L, ~0U, (long)RANGE_CLOEXEC) == 0)
        return 0;
    return mark_each();
}

BARE static int place(const thi_exec_t *exec)
{
    for (size_t i = 0; i < exec->fd_count; i++) {
        const thi_exec_fd_t *fd = &exec->fds[i];
        const long rc = fd->from == fd->to ? syscall(SYS_fcntl, (long)fd->to, F_SETFD, 0L)
                                           : syscall(SYS_dup3, (long)fd->from, (long)fd->to, 0L);
        if (rc < 0)
            return errno;
    }
    return 0;
}

/* As execvp looks: one that may not be executed is told of if there is no other. */
BARE static int execute(const thi_exec_t *exec)
{
    int err = ENOENT;
    for (const char *const *path = exec->paths; *path != NULL; path++) {
        syscall(SYS_execve, *path, exec->argv, exec->env);
        if (exec->paths[1] == NULL)
            return errno;
        if (errno == EACCES)
            err = EACCES;
        else if (errno != ENOENT && errno != ENOTDIR && errno != ENAMETOOLONG && errno != ELOOP)
            return errno;
    }
    return err;
}

BARE static int prepare(const birth_t *birth)
{
    const thi_exec_t *exec = birth->exec;
    reset_signals(exec->keep_ignored);
    int err = join_group(exec->group);
    if (err == 0 && exec->dir != NULL && syscall(SYS_chdir, exec->dir) != 0)
        err = errno;
    if (err == 0)
        err = lift(exec);
    if (err == 0)
        err = mark_others(birth);
    return err != 0 ? err : place(exec);
}

BARE static int be_born(void *arg)
{
    birth_t *birth = arg;
    int err = prepare(birth);
    if (err == 0) {
        syscall(SYS_rt_sigprocmask, (long)SIG_SETMASK, no_signals, NULL, SET_SIZE);
        err = execute(birth->exec);
    }
    birth->err = err;
    return EXIT_UNBEGUN; /* and clone(3) has it exit */
}

/* ------------------------------------------------------------------------------------------------
 * In the parent
 */

static int error_of_clone(int err)
{
    return err == EAGAIN || err == ENOMEM || err == EMFILE || err == ENFILE ? err : ENOSYS;
}

/* With every signal blocked, also those of the C library: their handlers would run in the child. */
static int give_birth(thi_child_t *child, birth_t *birth, char *stack)
{
    uint64_t mask[2] = {0};
    static const uint64_t all[2] = {~UINT64_C(0), ~UINT64_C(0)};
    syscall(SYS_rt_sigprocmask, (long)SIG_SETMASK, all, mask, SET_SIZE);
    const int flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD;
    int pid = -1;
    if (thi_fault(THI_FAULT_FORK))
        errno = EAGAIN;
    else if (thi_fault(THI_FAULT_PIDFD))
        errno = EMFILE;
    else if (!thi_pidfd_can_wait())
        errno = ENOSYS;
    else
        pid = CLONE(be_born, stack + STACK_SIZE, flags, birth, &child->pidfd);
    int err = pid < 0 ? error_of_clone(errno) : 0;
    syscall(SYS_rt_sigprocmask, (long)SIG_SETMASK, mask, NULL, SET_SIZE);
    if (err == 0 && child->pidfd < 0) { /* Linux before 5.2 does not know of that flag */
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        err = ENOSYS;
    }
    if (err == 0)
        child->pid = pid;
    return err;
}

/* It has ended, or is just about to. */
static void bury(const thi_child_t *child)
{
    siginfo_t info;
    while (waitid(THI_ANY_PIDFD, (id_t)child->pidfd, &info, WEXITED) != 0 && errno == EINTR)
        continue;
}

int thi_process_spawn(thi_child_t *child, const thi_exec_t *exec)
{
    const int saved = errno;
    birth_t birth = {.exec = exec, .no_close_range = thi_fault(THI_FAULT_CLOSE_RANGE)};
    thi_process_adopt(child);
    char *stack = thi_pages_map(STACK_SIZE);
    int err = ENOMEM;
    if (stack != NULL) {
        const int cancel = thi_cancel_off();
        err = give_birth(child, &birth, stack);
        if (err == 0 && birth.err != 0) {
            err = birth.err;
            bury(child);
        }
        thi_cancel_restore(cancel);
        thi_pages_unmap(stack, STACK_SIZE);
    }
    if (err != 0)
        thi_process_close(child);
    errno = saved;
    return err;
}

#define SIGNAL_GROUP 4u /* PIDFD_SIGNAL_PROCESS_GROUP, Linux 6.9 */

static int signal_members(const thi_child_t *child, int signal, bool waited_for)
{
    long rc = -1;
    errno = EINVAL;
    if (!thi_fault(THI_FAULT_GROUP))
        rc = syscall(SYS_pidfd_send_signal, (long)child->pidfd, (long)signal, NULL,
                     (long)SIGNAL_GROUP);
    if (rc == 0 || errno != EINVAL)
        return rc == 0 ? 0 : errno;
    if (waited_for) /* the number may be another's */
        return ESRCH;
    return kill(-child->pid, signal) == 0 ? 0 : errno;
}

int thi_process_signal_group(const thi_child_t *child, int signal, bool waited_for)
{
    if (!thi_is_signal(signal))
        return EINVAL;
    if (child->pid <= 0)
        return ESRCH;
    const int saved = errno;
    int err = signal_members(child, signal, waited_for);
    if (!waited_for && getpgid(child->pid) != child->pid) { /* it has gone to another group */
        const int own = thi_process_signal(child, signal);
        err = own == 0 ? 0 : err;
    }
    errno = saved;
    return err;
}

int thi_null_open(int *fd)
{
    if (thi_fault(THI_FAULT_OPEN))
        return EMFILE;
    const int saved = errno;
    *fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    const int err = *fd < 0 ? errno : 0;
    errno = saved;
    return err;
}
#else
int thi_process_spawn(thi_child_t *child, const thi_exec_t *exec)
{
    (void)exec;
    thi_process_adopt(child);
    thi_process_close(child);
    return ENOSYS;
}

int thi_process_signal_group(const thi_child_t *child, int signal, bool waited_for)
{
    (void)child, (void)signal, (void)waited_for;
    return ESRCH;
}

int thi_null_open(int *fd)
{
    (void)fd;
    return ENOSYS;
}
#endif
