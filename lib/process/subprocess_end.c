/*
 * The end of a subprocess: seen by its descriptor, however this process treats its children. Whoever finds it
 * readable waits for the process, once, under the lock; the others are told by `ended`.
 *
 * Invariants
 *   I1  As long as `ended` is 0 under the lock, the process's number is its own, unless this program waits for any
 *       child. So a signal by number, where the system has no better, is sent under the lock.
 */
#include <signal.h>

#include <thrum/io.h>

#include "process/subprocess.h"

static bool has_ended(thrum_subprocess_t *p)
{
    return thi_load_acquire(&p->ended) != 0; /* A1: acquire; pairs with R1 */
}

int thi_subprocess_ask(thrum_subprocess_t *p)
{
    int code = 0;
    if (has_ended(p))
        return 0;
    thi_subprocess_enter(p);
    if (p->ended == 0 && thi_process_poll(&p->child, &code) != EAGAIN) {
        p->code = code;
        thi_store_release(&p->ended, 1u); /* R1: release; pairs with A1 */
    }
    thi_subprocess_leave(p);
    return has_ended(p) ? 0 : EAGAIN;
}

int thrum_subprocess_poll(thrum_subprocess_t *p, int *code)
{
    if (p == NULL)
        return EINVAL;
    if (thi_subprocess_inherited(p))
        return EOWNERDEAD;
    const int err = thi_subprocess_ask(p);
    if (err == 0 && code != NULL)
        *code = p->code;
    return err;
}

int thrum_subprocess_wait_until(thrum_subprocess_t *p, int *code, thrum_time_t deadline)
{
    int err = thrum_subprocess_poll(p, code);
    while (err == EAGAIN) {
        err = thrum_io_wait(p->child.pidfd, THRUM_IO_IN, deadline);
        if (err == 0)
            err = thrum_subprocess_poll(p, code);
    }
    return err;
}

int thrum_subprocess_wait(thrum_subprocess_t *p, int *code)
{
    return thrum_subprocess_wait_until(p, code, THRUM_FOREVER);
}

int thrum_subprocess_signal(thrum_subprocess_t *p, int signal)
{
    if (p == NULL)
        return EINVAL;
    if (thi_subprocess_inherited(p))
        return EOWNERDEAD;
    thi_subprocess_enter(p);
    const int err = p->has_group ? thi_process_signal_group(&p->child, signal, p->ended != 0)
                                 : thi_process_signal(&p->child, signal);
    thi_subprocess_leave(p);
    return err;
}

int thrum_subprocess_terminate(thrum_subprocess_t *p)
{
    return thrum_subprocess_signal(p, SIGTERM);
}

int thrum_subprocess_kill(thrum_subprocess_t *p)
{
    return thrum_subprocess_signal(p, SIGKILL);
}

pid_t thrum_subprocess_pid(const thrum_subprocess_t *p)
{
    return p != NULL ? p->pid : 0;
}

int thrum_subprocess_fd(const thrum_subprocess_t *p)
{
    return p != NULL ? p->child.pidfd : -1;
}
