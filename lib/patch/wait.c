/*
 * Waiting in place of the thread.
 */
#include <fcntl.h>
#include <sys/time.h>

#include <thrum/cancel.h>

#include "patch/patch.h"

#define MOMENT THRUM_MS(1)
#define TRUSTED 2u /* so often in a row may a descriptor be called ready and not be */

bool thi_patch_waits(int fd)
{
    if (!thrum_loop_inside())
        return false;
    const int saved = errno;
    const int flags = fcntl(fd, F_GETFL);
    errno = saved;
    return flags >= 0 && (flags & O_NONBLOCK) == 0;
}

/* ECANCELED also says that somebody has closed it. */
int thi_patch_errno(int err)
{
    if (err == ETIMEDOUT)
        return EAGAIN;
    return err == ECANCELED && !thrum_cancelled() ? EBADF : err;
}

thrum_time_t thi_patch_socket_deadline(int fd, unsigned events)
{
    struct timeval timeout = {0, 0};
    socklen_t size = sizeof timeout;
    const int option = (events & THRUM_IO_IN) != 0 ? SO_RCVTIMEO : SO_SNDTIMEO;
    const int saved = errno;
    const int rc = getsockopt(fd, SOL_SOCKET, option, &timeout, &size);
    errno = saved;
    if (rc != 0 || (timeout.tv_sec == 0 && timeout.tv_usec == 0))
        return THRUM_FOREVER;
    const struct timespec exact = {timeout.tv_sec, timeout.tv_usec * 1000};
    return thi_patch_after(&exact);
}

thrum_time_t thi_patch_after(const struct timespec *timeout)
{
    if (timeout == NULL || timeout->tv_sec >= THRUM_FOREVER / THRUM_S(1))
        return THRUM_FOREVER;
    return thrum_after(THRUM_S(timeout->tv_sec) + timeout->tv_nsec);
}

int thi_patch_wait(int fd, unsigned events, thrum_time_t deadline)
{
    const int err = thrum_io_wait(fd, events, deadline);
    if (err == 0)
        return 0;
    errno = thi_patch_errno(err);
    return -1;
}

int thi_patch_pause(thrum_time_t deadline)
{
    const thrum_time_t moment = thrum_after(MOMENT);
    if (deadline > moment)
        return thrum_sleep_until(moment);
    const int err = thrum_sleep_until(deadline);
    return err != 0 ? err : ETIMEDOUT;
}

static int wait_again(const thi_call_t *call, unsigned times)
{
    if (thi_patch_wait(call->fd, call->events, call->deadline) != 0)
        return -1;
    if (times < TRUSTED)
        return 0;
    const int err = thi_patch_pause(call->deadline);
    if (err != 0)
        errno = thi_patch_errno(err);
    return err != 0 ? -1 : 0;
}

ssize_t thi_patch_perform(thi_call_t *call)
{
    ssize_t n = call->attempt(call->arg);
    for (unsigned times = 0; n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK); times++) {
        if (call->deadline == THI_DEADLINE_OPTION)
            call->deadline = thi_patch_socket_deadline(call->fd, call->events);
        if (wait_again(call, times) != 0)
            return -1;
        n = call->attempt(call->arg);
    }
    return n;
}

/* ------------------------------------------------------------------------------------------------
 * On a helper thread
 */

struct elsewhere {
    thi_attempt_fn call;
    void *arg;
    ssize_t n;
    int error;
};

static int run(void *arg, void **result)
{
    struct elsewhere *e = arg;
    (void)result;
    e->n = e->call(e->arg);
    e->error = errno;
    return 0;
}

ssize_t thi_patch_elsewhere(thi_attempt_fn call, void *arg)
{
    struct elsewhere e = {call, arg, -1, 0};
    const int err = thrum_blocking(run, &e, NULL);
    if (err != 0 || e.n < 0)
        errno = err != 0 ? err : e.error;
    return err != 0 ? -1 : e.n;
}
