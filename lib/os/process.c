/*
 * Child processes: by fork, so that everybody's handlers run, and known by a descriptor from then on, so that no
 * number of a process is ever mistaken for another's.
 *
 * The child waits at a gate, the reading end of a pipe of its own, until the parent has the descriptor and lets
 * it in by one byte. The writing end is `life`: nobody but the parent has it. A child that dies with its parent
 * keeps the gate, and has the system kill it when the last writing end is closed, which is when the parent
 * is gone, however. Not PR_SET_PDEATHSIG: that goes by the thread that forked.
 *
 * How a child ended is known to the parent alone, and that once. If the program has the system throw it away
 * (SIGCHLD ignored), or takes it itself (wait for any child), the descriptor still tells, from Linux 6.15 on.
 * For older ones a child that leaves by itself says it in a page that both share.
 *
 * Invariants
 *   I1  Every descriptor here is in a child of the list, or is opened and closed under its lock, which is held
 *       across fork. So no process that is forked meanwhile keeps any of them: the child closes what the list has.
 *   I2  Somebody else may wait for the child, and its number may become another's, until the descriptor is
 *       there. The system is then asked whether that is a child of ours that nobody has waited for. So a
 *       descriptor that is kept is the child's.
 */
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "os/process.h"

static thi_child_t *children;
static thi_lock_t children_lock;

void thi_children_enter(void)
{
    thi_lock(&children_lock, THI_RANK_CHILDREN);
}

void thi_children_leave(void)
{
    thi_unlock(&children_lock, THI_RANK_CHILDREN);
}

static void link_child(thi_child_t *child)
{
    child->prev = NULL;
    child->next = children;
    if (children != NULL)
        children->prev = child;
    children = child;
}

static void unlink_child(thi_child_t *child)
{
    if (child->prev != NULL)
        child->prev->next = child->next;
    else
        children = child->next;
    if (child->next != NULL)
        child->next->prev = child->prev;
}

/* ------------------------------------------------------------------------------------------------
 * The page
 */

struct thi_parting {
    uint32_t left; /* it has left by thi_process_leave */
    int status;
};
#define PAGE sizeof(struct thi_parting)

/* Whether the system tells how a process ended that somebody else waited for. */
#define TELLS_MAYBE 0u
#define TELLS 1u
#define TELLS_NOT 2u
static uint32_t system_tells;

static struct thi_parting *own_parting; /* in a child: where it says how it leaves */

static bool open_parting(thi_child_t *child)
{
    if (thi_load_relaxed(&system_tells) == TELLS)
        return true;
    void *page = thi_fault(THI_FAULT_PAGES)
                     ? MAP_FAILED
                     : mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    child->parting = page != MAP_FAILED ? page : NULL;
    return child->parting != NULL;
}

static void close_parting(thi_child_t *child)
{
    if (child->parting != NULL)
        thi_pages_unmap(child->parting, PAGE);
    child->parting = NULL;
}

_Noreturn void thi_process_leave(int status)
{
    struct thi_parting *parting = own_parting;
    if (parting != NULL) {
        parting->status = status;
        /* R1: release; pairs with A1. */
        thi_store_release(&parting->left, 1u);
    }
    _exit(status);
}

#if defined(__linux__)
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define COME_IN 1
#define GO_AWAY 0
#define EXIT_UNBEGUN 255 /* nobody asks */

/* ------------------------------------------------------------------------------------------------
 * Fork
 */

/* The child that this thread is forking: in the new process, itself. */
static _Thread_local thi_child_t *forking THI_TLS_MODEL;

/* Of a daemon: what ties it to its parent. */
static struct own_gate {
    int fd;
    ino_t inode;
} own_gate = {-1, 0};
#define NO_GATE ((struct own_gate){-1, 0})

/* The descriptors are the parent's, and so are its children; what is left says so. */
static void disown(thi_child_t *child)
{
    child->next = NULL;
    child->prev = NULL;
    thi_child_close_fd(&child->life);
    thi_child_close_fd(&child->pidfd);
    if (child == forking)
        return;
    thi_child_close_fd(&child->gate);
    thi_child_close_fd(&child->letter);
    close_parting(child);
    child->pid = -1;
}

static void after_fork_in_child(void)
{
    thi_futex_after_fork(); /* first of all: somebody may have slept on a lock that is given back here */
    for (thi_child_t *child = children, *next = NULL; child != NULL; child = next) {
        next = child->next;
        disown(child);
    }
    children = NULL;
    own_parting = NULL;
    int gate = thi_gate_own();
    thi_child_close_fd(&gate);
    own_gate = NO_GATE;
    thi_children_leave();
}

/* Before those of all others: so the lock is the last to be taken before a fork, when handlers of the program
 * may still wait for one who wants it. */
__attribute__((constructor(101))) static void at_load(void)
{
    thi_at_fork(thi_children_enter, thi_children_leave, after_fork_in_child);
}

int thi_gate_open(thi_child_t *child)
{
    int ends[2] = {-1, -1};
    thi_children_enter();
    const int rc = thi_fault(THI_FAULT_PIPE) ? (errno = EMFILE, -1) : pipe2(ends, O_CLOEXEC);
    const int err = rc != 0 ? errno : 0;
    child->gate = ends[0];
    child->life = ends[1];
    if (err == 0)
        link_child(child);
    thi_children_leave();
    return err;
}

/* The pipe has another writing end than the child's own copy, which is closed by now. */
static bool let_in(int gate)
{
    char byte = 0;
    ssize_t n = 0;
    do
        n = thi_fd_read(gate, &byte, 1);
    while (n < 0 && errno == EINTR);
    return n == 1 && byte == COME_IN;
}

/* The byte has been read: another would kill as well. Who executes another program is to die too, so the
 * gate stays open for that. */
static bool tie(int gate)
{
    thi_polled_t end = {gate, THI_POLL_IN, 0};
    struct stat about;
    if (fcntl(gate, F_SETOWN, getpid()) != 0 || fcntl(gate, F_SETSIG, SIGKILL) != 0 ||
        fcntl(gate, F_SETFL, O_ASYNC) != 0 || fcntl(gate, F_SETFD, 0) != 0)
        return false;
    own_gate = fstat(gate, &about) == 0 ? (struct own_gate){gate, about.st_ino} : NO_GATE;
    while (thi_poll(&end, 1, 0) == 0 && end.ready == 0)
        continue;          /* a signal interrupted it */
    return end.ready == 0; /* else the parent was gone before */
}

/* The program may have closed it, and the number be another's. */
int thi_gate_own(void)
{
    struct stat about;
    if (own_gate.fd < 0 || fstat(own_gate.fd, &about) != 0 || !S_ISFIFO(about.st_mode) ||
        about.st_ino != own_gate.inode)
        return -1;
    return own_gate.fd;
}

/* As the system would have done it. */
static void die_with_parent(void)
{
    kill(getpid(), SIGKILL);
    _exit(EXIT_UNBEGUN);
}

void thi_gate_pass(int gate, bool dies_with_parent)
{
    if (gate < 0 || !let_in(gate))
        _exit(EXIT_UNBEGUN);
    if (!dies_with_parent)
        thi_fd_close(gate);
    else if (!tie(gate))
        die_with_parent();
}

static void begin(thi_child_t *child, bool dies_with_parent)
{
    forking = NULL;
    own_parting = child->parting;
    child->parting = NULL; /* stays mapped until the end */
    thi_gate_pass(child->gate, dies_with_parent);
    child->gate = -1;
    thi_thread_let_signals();
}

/* None of that number, or only a thread: the child is gone, and the descriptor stays -1. */
static bool means_gone(int err)
{
    return err == ESRCH || err == ENOENT || err == EINVAL;
}

static bool is_ours(const thi_child_t *child)
{
    siginfo_t info;
    return waitid(THI_ANY_PIDFD, (id_t)child->pidfd, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

/* Of no process: an older system does not even get as far as finding that there is none. */
bool thi_pidfd_can_wait(void)
{
    siginfo_t info;
    return !thi_fault(THI_FAULT_WAIT) &&
           (waitid(THI_ANY_PIDFD, INT_MAX, &info, WEXITED | WNOHANG) != 0 && errno == EBADF);
}

/* Under the lock. */
static int open_pidfd(thi_child_t *child, pid_t pid)
{
    const long fd =
        thi_fault(THI_FAULT_PIDFD) ? (errno = EMFILE, -1L) : syscall(SYS_pidfd_open, pid, 0);
    const int err = fd < 0 ? errno : 0;
    child->pidfd = (int)fd;
    if (err == 0 || means_gone(err))
        return 0;
    return err == EMFILE || err == ENFILE || err == ENOMEM ? err : ENOSYS;
}

static int know(thi_child_t *child)
{
    if (!thi_pidfd_can_wait())
        return ENOSYS;
    thi_children_enter();
    const int err = open_pidfd(child, child->pid);
    if (err == 0 && child->pidfd >= 0 && !is_ours(child)) /* I2 */
        thi_child_close_fd(&child->pidfd);
    thi_children_leave();
    return err;
}

pid_t thi_process_parent_id(void)
{
    return getppid();
}

/* Who is the parent after that was it before: the number was not another's. */
int thi_process_watch_parent(thi_child_t *parent, pid_t pid)
{
    const int saved = errno;
    thi_children_enter();
    int err = open_pidfd(parent, pid);
    if (err == 0 && parent->pidfd >= 0 && getppid() == pid) {
        link_child(parent);
        err = EAGAIN;
    } else {
        thi_child_close_fd(&parent->pidfd);
    }
    thi_children_leave();
    errno = saved;
    return err;
}

/* The pipe is empty, and its reading end open here as well: so this does not wait and does not fail. */
static void answer(const thi_child_t *child, char byte)
{
    while (thi_fd_write(child->life, &byte, 1) < 0 && errno == EINTR)
        continue;
}

/* It has not begun, and ends at once. It is told so: who is forked just now may have the pipe, too. */
static void call_off(thi_child_t *child)
{
    answer(child, GO_AWAY);
    thi_children_enter();
    thi_child_close_fd(&child->life);
    thi_child_close_fd(&child->gate);
    thi_children_leave();
    while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
}

int thi_gate_admit(thi_child_t *child, bool dies_with_parent)
{
    const int err = know(child);
    if (err != 0) {
        call_off(child);
        return err;
    }
    answer(child, COME_IN);
    thi_children_enter();
    thi_child_close_fd(&child->gate);
    if (!dies_with_parent)
        thi_child_close_fd(&child->life);
    thi_children_leave();
    return 0;
}

static int do_fork(thi_child_t *child, bool dies_with_parent)
{
    if (!open_parting(child))
        return ENOMEM;
    int err = thi_gate_open(child);
    if (err != 0)
        return err;
    forking = child;
    child->pid = thi_fault(THI_FAULT_FORK) ? (errno = EAGAIN, -1) : fork();
    if (child->pid == 0) {
        begin(child, dies_with_parent);
        return 0;
    }
    err = errno;
    forking = NULL;
    return child->pid < 0 ? err : thi_gate_admit(child, dies_with_parent);
}

int thi_process_fork(thi_child_t *child, bool dies_with_parent)
{
    const int saved = errno;
    const int cancel = thi_cancel_off();
    thi_children_enter(); /* nobody forks while it is half written */
    thi_process_none(child);
    thi_children_leave();
    const int err = do_fork(child, dies_with_parent);
    if (err != 0)
        thi_process_close(child);
    thi_cancel_restore(cancel);
    errno = saved;
    return err;
}

/* ------------------------------------------------------------------------------------------------
 * The end of a child
 */

/* As in linux/pidfd.h from 6.15 on. */
struct process_info {
    uint64_t mask;
    uint64_t cgroup;
    uint32_t ids[11];
    int32_t exit_code;
};
_Static_assert(sizeof(struct process_info) == 64, "the first version of pidfd_info");
#define INFO_EXIT UINT64_C(8)
#define GET_INFO _IOWR(0xFF, 11, struct process_info)

static int from_wait_status(int status)
{
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

/* Whether the system knows how a process that has been waited for ended. */
static bool ask_system(const thi_child_t *child, int *status)
{
    struct process_info info = {.mask = INFO_EXIT};
    const bool told = !thi_fault(THI_FAULT_EXIT_INFO) &&
                      syscall(SYS_ioctl, child->pidfd, GET_INFO, &info) == 0 &&
                      (info.mask & INFO_EXIT) != 0;
    thi_store_relaxed(&system_tells, told ? TELLS : TELLS_NOT);
    if (told)
        *status = from_wait_status((int)info.exit_code);
    return told;
}

/* Somebody else has taken the status, or the system has thrown it away; or the program has closed the descriptor, and
 * nobody will ever learn more. */
static void find_status(const thi_child_t *child, int *status)
{
    *status = -SIGKILL;
    if (child->pidfd >= 0 && ask_system(child, status))
        return;
    /* A1: acquire; pairs with R1. */
    if (child->parting != NULL && thi_load_acquire(&child->parting->left) != 0)
        *status = child->parting->status;
}

static int take_status(thi_child_t *child, int *status)
{
    siginfo_t info;
    memset(&info, 0, sizeof info);
    int rc = -1;
    if (child->pidfd >= 0) {
        do
            rc = waitid(THI_ANY_PIDFD, (id_t)child->pidfd, &info, WEXITED | WNOHANG);
        while (rc != 0 && errno == EINTR);
    }
    if (rc == 0 && info.si_pid == 0)
        return EAGAIN;
    int told = 0;
    if (rc != 0)
        find_status(child, &told);
    else
        told = info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
    if (rc == 0 && thi_load_relaxed(&system_tells) == TELLS_MAYBE) {
        int same = 0;
        (void)ask_system(child, &same); /* so that the next child needs no page */
    }
    *status = told;
    return 0;
}

int thi_process_poll(thi_child_t *child, int *status)
{
    if (child->pid <= 0)
        return ECHILD;
    const int saved = errno;
    const int cancel = thi_cancel_off();
    const int err = take_status(child, status);
    thi_cancel_restore(cancel);
    errno = saved;
    return err;
}

int thi_process_signal(const thi_child_t *child, int signal)
{
    if (!thi_is_signal(signal))
        return EINVAL;
    if (child->pid <= 0 || child->pidfd < 0)
        return ESRCH;
    const int saved = errno;
    const int err = syscall(SYS_pidfd_send_signal, child->pidfd, signal, NULL, 0) != 0 ? errno : 0;
    errno = saved;
    return err;
}
#else
pid_t thi_process_parent_id(void)
{
    return -1;
}

int thi_process_watch_parent(thi_child_t *parent, pid_t pid)
{
    (void)parent, (void)pid;
    return ENOSYS;
}

int thi_process_fork(thi_child_t *child, bool dies_with_parent)
{
    (void)dies_with_parent;
    thi_process_none(child);
    return ENOSYS;
}

int thi_process_poll(thi_child_t *child, int *status)
{
    (void)child, (void)status;
    return ECHILD;
}

int thi_process_signal(const thi_child_t *child, int signal)
{
    (void)child, (void)signal;
    return ESRCH;
}
#endif

void thi_process_none(thi_child_t *child)
{
    *child = (thi_child_t){.pid = -1, .pidfd = -1, .life = -1, .gate = -1, .letter = -1};
}

void thi_process_adopt(thi_child_t *child)
{
    thi_process_none(child);
    thi_children_enter();
    link_child(child);
    thi_children_leave();
}

void thi_process_close(thi_child_t *child)
{
    const int saved = errno;
    const int cancel = thi_cancel_off();
    thi_children_enter();
    if (child->next != NULL || child->prev != NULL || children == child)
        unlink_child(child);
    child->next = NULL;
    child->prev = NULL;
    thi_child_close_fd(&child->life);
    thi_child_close_fd(&child->gate);
    thi_child_close_fd(&child->letter);
    thi_child_close_fd(&child->pidfd);
    thi_children_leave();
    close_parting(child);
    child->pid = -1;
    thi_cancel_restore(cancel);
    errno = saved;
}
