/*
 * A pool's family: the spawner, which the program forks, and workers, which the spawner forks.
 *
 * Who is gone is known from pidfds: no SIGCHLD, and in the program no wait for any child. Workers have
 * PR_SET_PDEATHSIG, which is theirs as soon as the spawner has died, however; it has one thread, so it cannot
 * fire for the end of another. The spawner watches the program by a pidfd and not by the end of a pipe: other
 * children of the program may have inherited that.
 */
#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/os.h"

#if defined(__linux__)
#include <sys/prctl.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#define SYS_pidfd_send_signal 424
#endif
#define P_PIDFD_NUMBER 3 /* P_PIDFD, which older headers do not have */

static sigset_t founder_mask; /* of the thread that forked the spawner; the spawner's own copy */
static int32_t spawner;

static int open_pidfd(int32_t pid)
{
    if (thi_fault(THI_FAULT_CHANNEL)) {
        errno = EMFILE;
        return -1;
    }
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

static int open_channel(int ends[2])
{
    if (thi_fault(THI_FAULT_CHANNEL))
        return EMFILE;
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0 ? 0 : errno;
}

static int32_t fork_once(void)
{
    if (thi_fault(THI_FAULT_FORK)) {
        errno = EAGAIN;
        return -1;
    }
    return (int32_t)fork();
}

/* ------------------------------------------------------------------------------------------------
 * The spawner
 */

static int greet(thi_found_t *found)
{
    const thi_message_t hello = {0};
    found->pidfd = open_pidfd(found->pid);
    const int err = found->pidfd < 0 ? errno : 0;
    if (err == 0)
        return thi_family_tell(found->channel, &hello, -1);
    return err;
}

/* It does nothing before the parent has a descriptor for it: a host that reaps strangers cannot make its number
 * somebody else's meanwhile. */
static void await_greeting(thi_found_t *found, int32_t parent)
{
    thi_message_t hello;
    struct pollfd one = {.fd = found->channel, .events = POLLIN};
    found->pidfd = (int)syscall(SYS_pidfd_open, parent, 0);
    if (found->pidfd < 0 || getppid() != parent)
        _exit(1);
    int err = EAGAIN;
    while ((err = thi_family_hear(found->channel, &hello, NULL)) == EAGAIN) {
        struct pollfd both[2] = {one, {.fd = found->pidfd, .events = POLLIN}};
        (void)poll(both, 2, -1);
        if (both[1].revents != 0)
            _exit(1);
    }
    if (err != 0)
        _exit(1);
}

/* In the parent, should its second half fail. */
static int call_off(thi_found_t *found, int err)
{
    int status = 0;
    /* First: while the channel is open it waits for us. It is a child of ours, so it is nobody else. */
    kill(found->pid, SIGKILL);
    close(found->channel);
    if (found->pidfd >= 0)
        close(found->pidfd);
    while (waitpid(found->pid, &status, 0) < 0 && errno == EINTR) {
    }
    return err;
}

static int found_with(thi_found_t *found, const int ends[2])
{
    const int32_t parent = (int32_t)getpid();
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    found->pid = fork_once();
    const int err = found->pid < 0 ? errno : 0;
    if (found->pid == 0) {
        founder_mask = before;
        close(ends[0]);
        found->channel = ends[1];
        await_greeting(found, parent);
        return 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close(ends[1]);
    found->channel = ends[0];
    found->pidfd = -1;
    if (err != 0) {
        close(ends[0]);
        return err;
    }
    const int failed = greet(found);
    return failed == 0 ? 0 : call_off(found, failed);
}

int thi_family_found(thi_found_t *found)
{
    int ends[2];
    const int saved = errno;
    const int cancel = thi_cancel_off();
    int err = open_channel(ends);
    if (err == 0)
        err = found_with(found, ends);
    thi_cancel_restore(cancel);
    errno = saved;
    return err;
}

void thi_family_settle(void)
{
    struct sigaction usual = {.sa_handler = SIG_DFL};
    setsid();
    sigaction(SIGCHLD, &usual, NULL); /* a host that ignores it would lose how a worker ended */
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    spawner = (int32_t)getpid();
}

/* ------------------------------------------------------------------------------------------------
 * Workers
 */

static void begin_worker(const thi_found_t *found)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != spawner) /* it died before that */
        _exit(1);
    setsid();
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    close(found->channel);
    close(found->pidfd);
    pthread_sigmask(SIG_SETMASK, &founder_mask, NULL);
}

int thi_family_bear(const thi_found_t *found, int32_t *pid, int *pidfd)
{
    *pid = fork_once();
    if (*pid < 0)
        return errno;
    if (*pid == 0) {
        begin_worker(found);
        return 0;
    }
    *pidfd = open_pidfd(*pid); /* nobody but this thread reaps it */
    if (*pidfd >= 0)
        return 0;
    const int err = errno;
    kill(*pid, SIGKILL);
    while (waitpid(*pid, NULL, 0) < 0 && errno == EINTR) {
    }
    return err;
}

void thi_family_kill(int pidfd)
{
    const int saved = errno;
    syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
    errno = saved;
}

bool thi_family_ended(int pidfd)
{
    struct pollfd one = {.fd = pidfd, .events = POLLIN};
    const int saved = errno;
    const bool ended = poll(&one, 1, 0) > 0;
    errno = saved;
    return ended;
}

bool thi_family_reap(int32_t pid, int32_t *exit_code, int32_t *signal)
{
    int status = 0;
    const int saved = errno;
    const bool reaped = waitpid(pid, &status, WNOHANG) == pid;
    errno = saved;
    *signal = reaped && WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    *exit_code = reaped && WIFEXITED(status) ? WEXITSTATUS(status) : 0;
    return reaped;
}

void thi_family_forget(int pidfd)
{
    siginfo_t info;
    const int saved = errno;
    while (waitid((idtype_t)P_PIDFD_NUMBER, (id_t)pidfd, &info, WEXITED | WNOHANG) < 0 &&
           errno == EINTR) {
    }
    errno = saved;
}

/* ------------------------------------------------------------------------------------------------
 * What workers leave behind
 */

#define ROUNDS_MAX 1000 /* of a millisecond's nap, from the third on */

static bool is_kept(const int32_t *keep, size_t n, int32_t pid)
{
    for (size_t i = 0; i < n; i++)
        if (keep[i] == pid)
            return true;
    return false;
}

/* Kills what is a child and not kept; 0: there was none. */
static unsigned kill_children(const int32_t *keep, size_t n)
{
    char path[64];
    unsigned found = 0;
    int pid = 0;
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *children = fopen(path, "re");
    if (children == NULL)
        return 0;
    while (fscanf(children, "%d", &pid) == 1) {
        if (is_kept(keep, n, (int32_t)pid))
            continue;
        found++;
        kill(pid, SIGKILL); /* ours: its number is its own until we have reaped it */
        waitpid(pid, NULL, WNOHANG);
    }
    fclose(children);
    return found;
}

void thi_family_sweep(const int32_t *keep, size_t n)
{
    for (int round = 0; round < ROUNDS_MAX && kill_children(keep, n) != 0; round++)
        if (round > 1)
            thi_nap(1000);
}

/* The session of a process, from the sixth field of its stat; 0: it is gone. */
static int session_of(const char *pid)
{
    char path[300];
    char line[512];
    int session = 0;
    snprintf(path, sizeof path, "/proc/%s/stat", pid);
    FILE *stat = fopen(path, "re");
    if (stat == NULL)
        return 0;
    const char *rest = fgets(line, sizeof line, stat) != NULL ? strrchr(line, ')') : NULL;
    if (rest == NULL || sscanf(rest + 1, " %*c %*d %*d %d", &session) != 1)
        session = 0;
    fclose(stat);
    return session;
}

void thi_family_kill_session(int32_t session)
{
    const int saved = errno;
    DIR *all = opendir("/proc");
    const struct dirent *entry = NULL;
    while (all != NULL && (entry = readdir(all)) != NULL)
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' &&
            session_of(entry->d_name) == session)
            kill((pid_t)strtol(entry->d_name, NULL, 10), SIGKILL);
    if (all != NULL)
        closedir(all);
    errno = saved;
}

void thi_family_name(const char *name)
{
    /* Not by prctl: a sanitizer's own takes a lock for that, which another thread may have held in the fork. */
    syscall(SYS_prctl, PR_SET_NAME, name, 0, 0, 0);
}

/* Bytes of private memory that may be written: what RLIMIT_DATA counts. */
static size_t data_now(void)
{
    unsigned long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "re");
    if (statm == NULL)
        return 0;
    if (fscanf(statm, "%*u %*u %*u %*u %*u %lu", &pages) != 1)
        pages = 0;
    fclose(statm);
    return pages * thi_page_size();
}
#else
/* No pidfds: no process pools. */
int thi_family_found(thi_found_t *found)
{
    (void)found;
    return ENOSYS;
}

void thi_family_settle(void)
{
}

int thi_family_bear(const thi_found_t *found, int32_t *pid, int *pidfd)
{
    (void)found, (void)pid, (void)pidfd;
    return ENOSYS;
}

void thi_family_kill(int pidfd)
{
    (void)pidfd;
}

bool thi_family_ended(int pidfd)
{
    (void)pidfd;
    return true;
}

bool thi_family_reap(int32_t pid, int32_t *exit_code, int32_t *signal)
{
    (void)pid, (void)exit_code, (void)signal;
    return false;
}

void thi_family_forget(int pidfd)
{
    (void)pidfd;
}

void thi_family_sweep(const int32_t *keep, size_t n)
{
    (void)keep, (void)n;
}

void thi_family_kill_session(int32_t session)
{
    (void)session;
}

void thi_family_name(const char *name)
{
    (void)name;
}

static size_t data_now(void)
{
    return 0;
}
#endif

bool thi_family_limit(size_t bytes)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_DATA, &limit) != 0)
        return false;
    const rlim_t wanted = (rlim_t)data_now() + bytes;
    if (limit.rlim_max != RLIM_INFINITY && limit.rlim_max < wanted)
        return true; /* less is granted already */
    limit.rlim_cur = wanted;
    limit.rlim_max = wanted;
    return setrlimit(RLIMIT_DATA, &limit) == 0;
}

void thi_family_leave(int status)
{
    _exit(status);
}

void thi_family_flush(void)
{
    const int saved = errno;
    fflush(stdout);
    fflush(stderr);
    errno = saved;
}

/* ------------------------------------------------------------------------------------------------
 * The channel
 */

int thi_family_tell(int channel, const thi_message_t *message, int fd)
{
    union {
        struct cmsghdr head;
        unsigned char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {(void *)(uintptr_t)message, sizeof *message};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    memset(&control, 0, sizeof control);
    if (fd >= 0) {
        header.msg_control = &control;
        header.msg_controllen = sizeof control.room;
        struct cmsghdr *with = CMSG_FIRSTHDR(&header);
        with->cmsg_level = SOL_SOCKET;
        with->cmsg_type = SCM_RIGHTS;
        with->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(with), &fd, sizeof fd);
    }
    const int saved = errno;
    const int cancel = thi_cancel_off();
    ssize_t sent = -1;
    do
        sent = sendmsg(channel, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    int err = sent < 0 ? errno : 0;
    if (err != EPIPE && err != ECONNRESET && err != 0)
        err = EAGAIN; /* the channel is full, or too many descriptors are on their way */
    thi_cancel_restore(cancel);
    errno = saved;
    return err;
}

static int descriptor_of(struct msghdr *header)
{
    int fd = -1;
    const struct cmsghdr *with = CMSG_FIRSTHDR(header);
    if (with != NULL && with->cmsg_level == SOL_SOCKET && with->cmsg_type == SCM_RIGHTS)
        memcpy(&fd, CMSG_DATA(with), sizeof fd);
    return fd;
}

int thi_family_hear(int channel, thi_message_t *message, int *fd)
{
    union {
        struct cmsghdr head;
        unsigned char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {message, sizeof *message};
    struct msghdr header = {.msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = &control,
                            .msg_controllen = sizeof control.room};
    const int saved = errno;
    ssize_t n = -1;
    do
        n = recvmsg(channel, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    int err = n == (ssize_t)sizeof *message ? 0 : ESHUTDOWN;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        err = EAGAIN;
    errno = saved;
    const int with = n > 0 ? descriptor_of(&header) : -1;
    if (fd != NULL)
        *fd = with;
    else if (with >= 0)
        close(with);
    return err;
}
