#ifndef THI_PATCH_H
#define THI_PATCH_H

/*
 * What the files of lib/patch share.
 *
 *   real.c         the functions behind those of the same names here
 *   wait.c         waiting in place of a call that would block the thread; calls on a helper thread
 *   file.c         read, write, readv, writev, close
 *   socket.c       recv, send and their kin
 *   connection.c   accept, connect
 *   ready.c        poll, select and their kin
 *   sleep.c        sleep and its kin
 *   name.c         getaddrinfo
 *   lock.c         pthread_mutex_lock, pthread_cond_wait and its kin
 *
 * Each patched function begins with the question whether its caller is a coroutine of a loop and the call
 * may wait; if not, it is the real one, unchanged.
 */
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <thrum/io.h>
#include <thrum/loop.h>

#include "base/base.h"

/* Result, name, parameters. */
#define THI_PATCHED(X)                                                                             \
    X(ssize_t, read, (int fd, void *buf, size_t size))                                             \
    X(ssize_t, readv, (int fd, const struct iovec *iov, int count))                                \
    X(ssize_t, write, (int fd, const void *buf, size_t size))                                      \
    X(ssize_t, writev, (int fd, const struct iovec *iov, int count))                               \
    X(int, close, (int fd))                                                                        \
    X(ssize_t, recv, (int fd, void *buf, size_t size, int flags))                                  \
    X(ssize_t, recvfrom,                                                                           \
      (int fd, void *restrict buf, size_t size, int flags, struct sockaddr *restrict addr,         \
       socklen_t *restrict addr_len))                                                              \
    X(ssize_t, recvmsg, (int fd, struct msghdr *message, int flags))                               \
    X(ssize_t, send, (int fd, const void *buf, size_t size, int flags))                            \
    X(ssize_t, sendto,                                                                             \
      (int fd, const void *buf, size_t size, int flags, const struct sockaddr *addr,               \
       socklen_t addr_len))                                                                        \
    X(ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags))                         \
    X(int, accept, (int fd, struct sockaddr *restrict addr, socklen_t *restrict addr_len))         \
    X(int, accept4,                                                                                \
      (int fd, struct sockaddr *restrict addr, socklen_t *restrict addr_len, int flags))           \
    X(int, connect, (int fd, const struct sockaddr *addr, socklen_t addr_len))                     \
    X(int, poll, (struct pollfd * fds, nfds_t n, int timeout))                                     \
    X(int, ppoll,                                                                                  \
      (struct pollfd * fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask))       \
    X(int, select,                                                                                 \
      (int n, fd_set *restrict reads, fd_set *restrict writes, fd_set *restrict excepts,           \
       struct timeval *restrict timeout))                                                          \
    X(int, pselect,                                                                                \
      (int n, fd_set *restrict reads, fd_set *restrict writes, fd_set *restrict excepts,           \
       const struct timespec *restrict timeout, const sigset_t *restrict mask))                    \
    X(unsigned, sleep, (unsigned seconds))                                                         \
    X(int, usleep, (useconds_t microseconds))                                                      \
    X(int, nanosleep, (const struct timespec *duration, struct timespec *left))                    \
    X(int, clock_nanosleep,                                                                        \
      (clockid_t clock, int flags, const struct timespec *time, struct timespec *left))            \
    X(int, getaddrinfo,                                                                            \
      (const char *restrict node, const char *restrict service,                                    \
       const struct addrinfo *restrict hints, struct addrinfo **restrict found))                   \
    X(int, pthread_mutex_lock, (pthread_mutex_t * mutex))                                          \
    X(int, pthread_cond_wait, (pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex))    \
    X(int, pthread_cond_timedwait,                                                                 \
      (pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,                             \
       const struct timespec *restrict deadline))                                                  \
    X(int, pthread_cond_clockwait,                                                                 \
      (pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex, clockid_t clock,            \
       const struct timespec *restrict deadline))                                                  \
    /* what callers with _FORTIFY_SOURCE call */                                                   \
    X(ssize_t, __read_chk, (int fd, void *buf, size_t size, size_t room))                          \
    X(ssize_t, __recv_chk, (int fd, void *buf, size_t size, size_t room, int flags))               \
    X(ssize_t, __recvfrom_chk,                                                                     \
      (int fd, void *restrict buf, size_t size, size_t room, int flags,                            \
       struct sockaddr *restrict addr, socklen_t *restrict addr_len))                              \
    X(int, __poll_chk, (struct pollfd * fds, nfds_t n, int timeout, size_t room))                  \
    X(int, __ppoll_chk,                                                                            \
      (struct pollfd * fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask,        \
       size_t room))

#define THI_PATCH_DECLARE(type, name, parameters) type name parameters;
#define THI_PATCH_MEMBER(type, name, parameters) type(*name) parameters;

/* Some are not declared without extensions; with them, others take unions in place of pointers. */
#if !defined(_GNU_SOURCE)
THI_PATCHED(THI_PATCH_DECLARE)
#endif

/* The functions behind. Written once, when the library is loaded or at the first call, whichever is first. */
typedef struct thi_real {
    THI_PATCHED(THI_PATCH_MEMBER)
} thi_real_t;

extern thi_real_t thi_real_functions;
extern uint32_t thi_real_bound;
void thi_real_bind(void);

static inline const thi_real_t *thi_real(void)
{
    /* A1: acquire; pairs with R1 of real.c: whoever sees it sees the functions. */
    if (THI_UNLIKELY(thi_load_acquire(&thi_real_bound) == 0))
        thi_real_bind();
    return &thi_real_functions;
}

/* Whether an address lies in the library that the process's malloc is in. */
bool thi_real_in_allocator(const void *address);

/* --- waiting ----------------------------------------------------------------------------------------- */

/* Whether a call on the descriptor may be made to wait: the caller is a coroutine of a loop, and the program has
 * not made the descriptor non-blocking. */
bool thi_patch_waits(int fd);

/* One call, without waiting: as the system's functions, EAGAIN when it would wait. */
typedef ssize_t (*thi_attempt_fn)(void *arg);

typedef struct thi_call {
    thi_attempt_fn attempt;
    void *arg;
    int fd;
    unsigned events; /* of thrum_io_wait */
    thrum_time_t
        deadline; /* THI_DEADLINE_OPTION: the socket's option, which is asked for when needed */
} thi_call_t;
#define THI_DEADLINE_OPTION ((thrum_time_t)0)

/* Makes the call until it need not wait any more. Errors in errno; EAGAIN: the deadline. */
ssize_t thi_patch_perform(thi_call_t *call);

/* Waits for the descriptor: 0, or -1 with errno as thi_patch_perform. */
int thi_patch_wait(int fd, unsigned events, thrum_time_t deadline);

/* SO_RCVTIMEO (THRUM_IO_IN) or SO_SNDTIMEO (THRUM_IO_OUT) from now. */
thrum_time_t thi_patch_socket_deadline(int fd, unsigned events);

/* What errno is to be for a status of the library in a wait for a descriptor. */
int thi_patch_errno(int err);

/* `timeout` from now; NULL: for ever. */
thrum_time_t thi_patch_after(const struct timespec *timeout);

/* Calls on a helper thread and waits; for what cannot be done otherwise. */
ssize_t thi_patch_elsewhere(thi_attempt_fn call, void *arg);

/* For what is ready and is not: sleeps for a moment. 0, ETIMEDOUT (of the deadline), or another status. */
int thi_patch_pause(thrum_time_t deadline);

/* --- what read and write of sockets are --------------------------------------------------------------- */
ssize_t thi_patch_recv(int fd, void *buf, size_t size, int flags, struct sockaddr *addr,
                       socklen_t *addr_len);
ssize_t thi_patch_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t thi_patch_send(int fd, const void *buf, size_t size, int flags, const struct sockaddr *addr,
                       socklen_t addr_len);
ssize_t thi_patch_sendmsg(int fd, const struct msghdr *message, int flags);

#endif /* THI_PATCH_H */
