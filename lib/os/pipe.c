/*
 * Pipes whose ends are this process's alone. A copy of an end in another process would keep whoever reads
 * from hearing of the end, and whoever writes from hearing that nobody reads; and a process that is forked,
 * at whatever moment by whatever thread, has a copy of everything.
 *
 * Invariants
 *   I1  An end is opened, and closed, and noted in the list, under the list's lock, which is held across fork.
 *       So the child knows all of them, and closes them.
 *   I2  They are close-on-exec: what is executed without a fork of the C library's has none of them either.
 */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "os/os.h"

static thi_pipe_t *pipes;
static thi_lock_t pipes_lock;

static void enter(void)
{
    thi_lock(&pipes_lock, THI_RANK_PIPES);
}

static void leave(void)
{
    thi_unlock(&pipes_lock, THI_RANK_PIPES);
}

/* Relaxed, here and wherever it is asked: only so that whoever asks meanwhile has the one or the other. */
static void close_end(thi_pipe_t *pipe, int end)
{
    const int fd = pipe->fd[end];
    thi_store_relaxed(&pipe->fd[end], -1);
    if (fd >= 0)
        thi_fd_close(fd);
}

static void close_ends(thi_pipe_t *pipe)
{
    for (int i = 0; i < 2; i++)
        close_end(pipe, i);
}

static void after_fork_in_child(void)
{
    for (thi_pipe_t *pipe = pipes, *next = NULL; pipe != NULL; pipe = next) {
        next = pipe->next;
        close_ends(pipe);
        pipe->next = NULL;
        pipe->link = NULL;
    }
    pipes = NULL;
    leave();
}

/* After those of process.c, whose lock is of the next rank; before those of lib/process/known.c, whose is of the
 * one before, and of all others. */
__attribute__((constructor(102))) static void at_load(void)
{
    thi_at_fork(enter, leave, after_fork_in_child);
}

static int open_ends(int fd[2])
{
    if (thi_fault(THI_FAULT_PIPE))
        return EMFILE;
#if defined(__linux__)
    return pipe2(fd, O_CLOEXEC) != 0 ? errno : 0;
#else
    if (pipe(fd) != 0)
        return errno;
    fcntl(fd[0], F_SETFD, FD_CLOEXEC);
    fcntl(fd[1], F_SETFD, FD_CLOEXEC);
    return 0;
#endif
}

int thi_pipe_open(thi_pipe_t *pipe, int nonblocking_end)
{
    const int saved = errno;
    *pipe = THI_PIPE_NONE;
    enter();
    const int err = open_ends(pipe->fd);
    if (err == 0) {
        pipe->next = pipes;
        pipe->link = &pipes;
        if (pipes != NULL)
            pipes->link = &pipe->next;
        pipes = pipe;
    } else {
        *pipe = THI_PIPE_NONE;
    }
    leave();
    if (err == 0)
        thi_fd_set_nonblocking(pipe->fd[nonblocking_end], true);
    errno = saved;
    return err;
}

void thi_pipe_close_end(thi_pipe_t *pipe, int end)
{
    const int saved = errno;
    const int cancel = thi_cancel_off();
    enter();
    close_end(pipe, end);
    leave();
    thi_cancel_restore(cancel);
    errno = saved;
}

void thi_pipe_close(thi_pipe_t *pipe)
{
    const int saved = errno;
    const int cancel = thi_cancel_off();
    enter();
    close_ends(pipe);
    if (pipe->link != NULL) {
        *pipe->link = pipe->next;
        if (pipe->next != NULL)
            pipe->next->link = pipe->link;
    }
    pipe->next = NULL;
    pipe->link = NULL;
    leave();
    thi_cancel_restore(cancel);
    errno = saved;
}

size_t thi_pipe_waiting(int fd)
{
    const int saved = errno;
    int n = 0;
    const bool known = ioctl(fd, FIONREAD, &n) == 0 && n > 0;
    errno = saved;
    return known ? (size_t)n : 0;
}
