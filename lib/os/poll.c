/*
 * Waiting for descriptors: of a few, poll(2); of many, epoll.
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "os/os.h"

/* Where there is no such wait for nanoseconds: rounded up, never early. */
static int milliseconds(thrum_time_t left)
{
    const thrum_time_t ms = (left + THRUM_MS(1) - 1) / THRUM_MS(1);
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

static thrum_time_t left_until(thrum_time_t deadline)
{
    const thrum_time_t left = deadline <= 0 ? 0 : deadline - thi_clock();
    return left > 0 ? left : 0;
}

static short to_system(unsigned events)
{
    return (short)(((events & THI_POLL_IN) != 0 ? POLLIN : 0) |
                   ((events & THI_POLL_OUT) != 0 ? POLLOUT : 0));
}

static unsigned from_system(const struct pollfd *fd, unsigned wanted)
{
    if ((fd->revents & POLLNVAL) != 0)
        return THI_POLL_BAD;
    if ((fd->revents & (POLLERR | POLLHUP)) != 0)
        return wanted;
    return ((fd->revents & POLLIN) != 0 ? THI_POLL_IN : 0) |
           ((fd->revents & POLLOUT) != 0 ? THI_POLL_OUT : 0);
}

static int poll_until(struct pollfd *fds, size_t n, thrum_time_t deadline)
{
    if (deadline == THRUM_FOREVER)
        return poll(fds, (nfds_t)n, -1);
    const thrum_time_t left = left_until(deadline);
#if defined(__linux__)
    const struct timespec timeout = {(time_t)(left / THRUM_S(1)), (long)(left % THRUM_S(1))};
    return ppoll(fds, (nfds_t)n, &timeout, NULL);
#else
    return poll(fds, (nfds_t)n, milliseconds(left));
#endif
}

static int poll_some(struct pollfd *fds, thi_polled_t *polled, size_t n, thrum_time_t deadline)
{
    for (size_t i = 0; i < n; i++)
        fds[i] = (struct pollfd){.fd = polled[i].fd, .events = to_system(polled[i].events)};
    const int rc = thi_fault(THI_FAULT_INTERRUPT) ? -1 : poll_until(fds, n, deadline);
    for (size_t i = 0; i < n; i++)
        polled[i].ready = rc > 0 ? from_system(&fds[i], polled[i].events) : 0;
    return rc == 0 ? ETIMEDOUT : 0; /* interrupted: for no reason */
}

#define FEW 4u

int thi_poll(thi_polled_t *polled, size_t n, thrum_time_t deadline)
{
    const int saved = errno;
    const int cancel = thi_cancel_off();
    int err = 0;
    if (n <= FEW) {
        struct pollfd fds[FEW];
        err = poll_some(fds, polled, n, deadline);
    } else {
        struct pollfd fds[THI_POLL_MAX];
        err = poll_some(fds, polled, n, deadline);
    }
    thi_cancel_restore(cancel);
    errno = saved;
    return err;
}

/* ------------------------------------------------------------------------------------------------
 * One descriptor
 */

bool thi_fd_nonblocking(int fd)
{
    const int saved = errno;
    const int flags = fcntl(fd, F_GETFL);
    errno = saved;
    return flags >= 0 && (flags & O_NONBLOCK) != 0;
}

void thi_fd_set_nonblocking(int fd, bool nonblocking)
{
    const int saved = errno;
    const int flags = fcntl(fd, F_GETFL);
    if (flags >= 0)
        fcntl(fd, F_SETFL, nonblocking ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
    errno = saved;
}

void thi_fd_set_cloexec(int fd)
{
    const int saved = errno;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    errno = saved;
}

int thi_fd_accept(int fd, struct sockaddr *addr, unsigned *addr_len)
{
    if (thi_fault(THI_FAULT_ACCEPT))
        return -EMFILE;
    const int saved = errno;
    socklen_t length = addr_len != NULL ? (socklen_t)*addr_len : 0;
#if defined(__linux__)
    int accepted = accept4(fd, addr, addr != NULL ? &length : NULL, SOCK_CLOEXEC);
#else
    int accepted = accept(fd, addr, addr != NULL ? &length : NULL);
    if (accepted >= 0)
        fcntl(accepted, F_SETFD, FD_CLOEXEC);
#endif
    if (accepted < 0)
        accepted = -errno;
    else if (addr != NULL && addr_len != NULL)
        *addr_len = (unsigned)length;
    errno = saved;
    return accepted;
}

/* ------------------------------------------------------------------------------------------------
 * Many
 */

#if defined(__linux__)
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

int thi_poller_open(int *poller)
{
    if (thi_fault(THI_FAULT_SIGNAL))
        return EMFILE;
    const int saved = errno;
    *poller = epoll_create1(EPOLL_CLOEXEC);
    const int err = *poller < 0 ? errno : 0;
    errno = saved;
    return err;
}

void thi_poller_close(int poller)
{
    thi_signal_close(poller);
}

/* Armed anew each time, which also tells whether the number is still the descriptor that it was: the
 * system forgets one that is closed. */
int thi_poller_arm(int poller, int fd, unsigned events, bool keep)
{
    struct epoll_event event = {.data.u64 = (uint64_t)(unsigned)fd};
    event.events = ((events & THI_POLL_IN) != 0 ? (uint32_t)EPOLLIN | EPOLLRDHUP : 0) |
                   ((events & THI_POLL_OUT) != 0 ? (uint32_t)EPOLLOUT : 0) |
                   (keep ? 0 : (uint32_t)EPOLLONESHOT);
    const int saved = errno;
    int rc = epoll_ctl(poller, EPOLL_CTL_MOD, fd, &event);
    if (rc != 0 && errno == ENOENT)
        rc = epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    const int err = rc != 0 ? errno : 0;
    errno = saved;
    return err;
}

int thi_poller_watch(int poller, int fd, unsigned events, uint32_t tag)
{
    struct epoll_event event = {.data.u64 = (uint64_t)tag << 32 | (unsigned)fd};
    event.events = (uint32_t)EPOLLET | (uint32_t)EPOLLRDHUP | (uint32_t)EPOLLPRI |
                   ((events & THI_POLL_IN) != 0 ? (uint32_t)EPOLLIN : 0) |
                   ((events & THI_POLL_OUT) != 0 ? (uint32_t)EPOLLOUT : 0);
    const int saved = errno;
    int rc = epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    if (rc != 0 && errno == EEXIST)
        rc = epoll_ctl(poller, EPOLL_CTL_MOD, fd, &event);
    const int err = rc != 0 ? errno : 0;
    errno = saved;
    return err;
}

void thi_poller_forget(int poller, int fd)
{
    struct epoll_event unused = {0};
    const int saved = errno;
    epoll_ctl(poller, EPOLL_CTL_DEL, fd, &unused);
    errno = saved;
}

#define EVENTS 256

static void translate(thi_polled_t *polled, const struct epoll_event *event)
{
    const uint32_t found = event->events;
    const bool broken = (found & (uint32_t)(EPOLLERR | EPOLLHUP)) != 0;
    const bool odd = (found & (uint32_t)(EPOLLRDHUP | EPOLLPRI)) != 0;
    polled->fd = (int)(uint32_t)event->data.u64;
    polled->events = (uint32_t)(event->data.u64 >> 32);
    polled->ready = (broken || (found & (uint32_t)(EPOLLIN | EPOLLRDHUP)) != 0 ? THI_POLL_IN : 0) |
                    (broken || (found & (uint32_t)EPOLLOUT) != 0 ? THI_POLL_OUT : 0) |
                    (broken || odd ? THI_POLL_ODD : 0);
}

#if defined(SYS_epoll_pwait) && !defined(__SANITIZE_THREAD__) && !defined(THI_CLANG_TSAN)
/* Of the system, and so no cancellation point. */
static int wait_for(int poller, struct epoll_event *events, int n, int timeout)
{
    return (int)syscall(SYS_epoll_pwait, (long)poller, events, (long)n, (long)timeout, NULL, 0L);
}
#else
static int wait_for(int poller, struct epoll_event *events, int n, int timeout)
{
    const int cancel = thi_cancel_off();
    const int rc = epoll_wait(poller, events, n, timeout);
    thi_cancel_restore(cancel);
    return rc;
}
#endif

static int wait_until(int poller, struct epoll_event *events, int n, thrum_time_t deadline)
{
    const thrum_time_t left = deadline == THRUM_FOREVER ? -1 : left_until(deadline);
#if defined(SYS_epoll_pwait2)
    static uint32_t missing; /* Linux 5.11 */
    if (left > 0 && thi_load_relaxed(&missing) == 0) {
        const struct timespec timeout = {(time_t)(left / THRUM_S(1)), (long)(left % THRUM_S(1))};
        const int rc = (int)syscall(SYS_epoll_pwait2, poller, events, n, &timeout, NULL, 0);
        if (rc >= 0 || errno != ENOSYS)
            return rc;
        thi_store_relaxed(&missing, 1u);
    }
#endif
    return wait_for(poller, events, n, left < 0 ? -1 : milliseconds(left));
}

size_t thi_poller_wait(int poller, thi_polled_t *polled, size_t n, thrum_time_t deadline)
{
    struct epoll_event events[EVENTS];
    const int saved = errno;
    const int rc = wait_until(poller, events, n < EVENTS ? (int)n : EVENTS, deadline);
    for (int i = 0; i < rc; i++)
        translate(&polled[i], &events[i]);
    errno = saved;
    return rc > 0 ? (size_t)rc : 0;
}

int thi_alarm_open(int *fd)
{
    if (thi_fault(THI_FAULT_SIGNAL))
        return EMFILE;
    const int saved = errno;
    *fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    const int err = *fd < 0 ? errno : 0;
    errno = saved;
    return err;
}

/* Setting it also takes away what it has told. */
void thi_alarm_set(int fd, thrum_time_t deadline)
{
    struct itimerspec when = {{0, 0}, {0, 0}};
    if (deadline != THRUM_FOREVER) {
        const thrum_time_t instant = deadline > 1 ? deadline : 1; /* 0 would mean never */
        when.it_value.tv_sec = (time_t)(instant / THRUM_S(1));
        when.it_value.tv_nsec = (long)(instant % THRUM_S(1));
    }
    const int saved = errno;
    timerfd_settime(fd, TFD_TIMER_ABSTIME, &when, NULL);
    errno = saved;
}
#else
int thi_poller_open(int *poller)
{
    (void)poller;
    return ENOSYS;
}

void thi_poller_close(int poller)
{
    (void)poller;
}

int thi_poller_arm(int poller, int fd, unsigned events, bool keep)
{
    (void)poller, (void)fd, (void)events, (void)keep;
    return ENOSYS;
}

int thi_poller_watch(int poller, int fd, unsigned events, uint32_t tag)
{
    (void)poller, (void)fd, (void)events, (void)tag;
    return ENOSYS;
}

void thi_poller_forget(int poller, int fd)
{
    (void)poller, (void)fd;
}

size_t thi_poller_wait(int poller, thi_polled_t *polled, size_t n, thrum_time_t deadline)
{
    (void)poller, (void)polled, (void)n, (void)deadline;
    return 0;
}

int thi_alarm_open(int *fd)
{
    (void)fd;
    return ENOSYS;
}

void thi_alarm_set(int fd, thrum_time_t deadline)
{
    (void)fd, (void)deadline;
}
#endif
