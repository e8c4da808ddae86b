/*
 * poll, select and their kin: asked without waiting, and again when the loop has found something. So what they
 * return and store is always the system's own.
 */
#include <stdlib.h>
#include <string.h>

#include "patch/patch.h"

#define POLL_AT_MOST 1024u /* of thrum_io_poll */
#define FEW 16u

/* ------------------------------------------------------------------------------------------------
 * poll
 */

struct polling {
    struct pollfd *fds;
    nfds_t n;
    int timeout;
};

static ssize_t block_in_poll(void *arg)
{
    const struct polling *p = arg;
    return thi_real()->poll(p->fds, p->n, p->timeout);
}

/* Who asks for no event is told of errors, which the loop does not look for. */
static bool asks_for_errors_only(const struct pollfd *fds, nfds_t n)
{
    for (nfds_t i = 0; i < n; i++) {
        if (fds[i].fd >= 0 && fds[i].events == 0)
            return true;
    }
    return false;
}

static int milliseconds_until(thrum_time_t deadline)
{
    if (deadline == THRUM_FOREVER)
        return -1;
    const thrum_time_t left = deadline - thrum_now();
    const thrum_time_t ms = left > 0 ? (left + THRUM_MS(1) - 1) / THRUM_MS(1) : 0;
    return ms < INT_MAX ? (int)ms : INT_MAX;
}

static int poll_until(struct pollfd *fds, nfds_t n, thrum_time_t deadline)
{
    int found = thi_real()->poll(fds, n, 0);
    if (found != 0)
        return found;
    if (n > POLL_AT_MOST || asks_for_errors_only(fds, n)) {
        struct polling polling = {fds, n, milliseconds_until(deadline)};
        return (int)thi_patch_elsewhere(block_in_poll, &polling);
    }
    size_t ready = 0;
    const int err = thrum_io_poll(fds, (size_t)n, &ready, deadline);
    if (err == 0)
        return (int)ready;
    if (err == ETIMEDOUT)
        return 0;
    found = thi_real()->poll(fds, n, 0); /* one that was closed meanwhile is told of there */
    if (found == 0)
        errno = err;
    return found != 0 ? found : -1;
}

int poll(struct pollfd *fds, nfds_t n, int timeout)
{
    if (timeout == 0 || !thrum_loop_inside())
        return thi_real()->poll(fds, n, timeout);
    return poll_until(fds, n, timeout < 0 ? THRUM_FOREVER : thrum_after(THRUM_MS(timeout)));
}

int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t room)
{
    return room / sizeof *fds < n ? thi_real()->__poll_chk(fds, n, timeout, room)
                                  : poll(fds, n, timeout);
}

/* A time, and not none at all. */
static bool is_time(const struct timespec *time)
{
    return time == NULL || (time->tv_sec >= 0 && time->tv_nsec >= 0 && time->tv_nsec < THRUM_S(1) &&
                            (time->tv_sec != 0 || time->tv_nsec != 0));
}

/* A signal mask is the thread's, and so is the wait with it. */
int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
    if (mask != NULL || !is_time(timeout) || !thrum_loop_inside())
        return thi_real()->ppoll(fds, n, timeout, mask);
    return poll_until(fds, n, thi_patch_after(timeout));
}

int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask,
                size_t room)
{
    return room / sizeof *fds < n ? thi_real()->__ppoll_chk(fds, n, timeout, mask, room)
                                  : ppoll(fds, n, timeout, mask);
}

/* ------------------------------------------------------------------------------------------------
 * select
 */

struct selection {
    int n;
    fd_set *sets[3]; /* to read, to write, exceptions; each may be NULL */
    struct pollfd *fds;
    struct pollfd few[FEW];
    size_t count;
};

static const short events_of[3] = {POLLIN, POLLOUT, POLLPRI};

/* The bytes of a set that count: a program may have no more than these. */
static size_t bytes_of(int n)
{
    const size_t word = 8 * sizeof(long);
    return ((size_t)n + word - 1) / word * sizeof(long);
}

/* What select(2) says of the sets now, in them; 0: they are as they were. */
static int look(const struct selection *s)
{
    fd_set copies[3];
    const size_t size = bytes_of(s->n);
    struct timeval none = {0, 0};
    for (unsigned i = 0; i < 3; i++) {
        if (s->sets[i] != NULL)
            memcpy(&copies[i], s->sets[i], size);
    }
    const int found = thi_real()->select(s->n, s->sets[0] != NULL ? &copies[0] : NULL,
                                         s->sets[1] != NULL ? &copies[1] : NULL,
                                         s->sets[2] != NULL ? &copies[2] : NULL, &none);
    for (unsigned i = 0; i < 3 && found > 0; i++) {
        if (s->sets[i] != NULL)
            memcpy(s->sets[i], &copies[i], size);
    }
    return found;
}

static short wanted(const struct selection *s, int fd)
{
    short events = 0;
    for (unsigned i = 0; i < 3; i++) {
        if (s->sets[i] != NULL && FD_ISSET(fd, s->sets[i]))
            events = (short)(events | events_of[i]);
    }
    return events;
}

/* The same as an array for poll. False: no memory. */
static bool list(struct selection *s)
{
    size_t count = 0;
    for (int fd = 0; fd < s->n; fd++)
        count += wanted(s, fd) != 0;
    s->fds = count <= FEW ? s->few : malloc(count * sizeof *s->fds);
    for (int fd = 0; fd < s->n && s->fds != NULL; fd++) {
        const short events = wanted(s, fd);
        if (events != 0)
            s->fds[s->count++] = (struct pollfd){.fd = fd, .events = events};
    }
    return s->fds != NULL;
}

/* poll may tell of what select does not count: then a moment passes between looks. */
static int select_until(const struct selection *s, thrum_time_t deadline)
{
    for (;;) {
        int err = thrum_io_poll(s->fds, s->count, NULL, deadline);
        const int found = err == ETIMEDOUT || err == ECANCELED ? 0 : look(s);
        if (found != 0)
            return found;
        if (err == 0)
            err = thi_patch_pause(deadline);
        if (err != 0)
            errno = err == ECANCELED ? thi_patch_errno(err) : err;
        if (err != 0)
            return err == ETIMEDOUT ? 0 : -1;
    }
}

static int select_inside(struct selection *s, thrum_time_t deadline)
{
    int found = look(s);
    if (found != 0)
        return found;
    if (!list(s)) {
        errno = ENOMEM;
        return -1;
    }
    found = select_until(s, deadline);
    if (s->fds != s->few)
        free(s->fds);
    for (unsigned i = 0; i < 3 && found == 0; i++) {
        if (s->sets[i] != NULL)
            memset(s->sets[i], 0, bytes_of(s->n));
    }
    return found;
}

static bool select_waits(int n, const struct timespec *timeout)
{
    return n >= 0 && n <= FD_SETSIZE && is_time(timeout) && thrum_loop_inside();
}

/* What is left of the time, as Linux does. */
static void store_left(struct timeval *timeout, thrum_time_t deadline)
{
    const thrum_time_t now = thrum_now();
    const thrum_time_t left = deadline > now ? deadline - now : 0;
    if (deadline != THRUM_FOREVER) {
        timeout->tv_sec = (time_t)(left / THRUM_S(1));
        timeout->tv_usec = (suseconds_t)(left % THRUM_S(1) / 1000);
    }
}

int select(int n, fd_set *restrict reads, fd_set *restrict writes, fd_set *restrict excepts,
           struct timeval *restrict timeout)
{
    struct timespec exact = {0, 0};
    if (timeout != NULL) {
        exact.tv_sec = timeout->tv_sec + timeout->tv_usec / 1000000;
        exact.tv_nsec = timeout->tv_usec % 1000000 * 1000;
    }
    if (!select_waits(n, timeout != NULL ? &exact : NULL))
        return thi_real()->select(n, reads, writes, excepts, timeout);
    struct selection selection = {.n = n, .sets = {reads, writes, excepts}};
    const thrum_time_t deadline = thi_patch_after(timeout != NULL ? &exact : NULL);
    const int found = select_inside(&selection, deadline);
    if (timeout != NULL)
        store_left(timeout, deadline);
    return found;
}

int pselect(int n, fd_set *restrict reads, fd_set *restrict writes, fd_set *restrict excepts,
            const struct timespec *restrict timeout, const sigset_t *restrict mask)
{
    if (mask != NULL || !select_waits(n, timeout))
        return thi_real()->pselect(n, reads, writes, excepts, timeout, mask);
    struct selection selection = {.n = n, .sets = {reads, writes, excepts}};
    return select_inside(&selection, thi_patch_after(timeout));
}
