#ifndef THRUM_IO_H
#define THRUM_IO_H

#include <thrum/base.h>
#include <thrum/select.h>
#include <thrum/time.h>

THRUM_BEGIN_DECLS

/* What the system's headers define. They are not included: they would bring names like send and accept into
 * every program that includes thrum.h. */
struct pollfd;
struct iovec;
struct sockaddr;

/** The same as socklen_t. */
typedef uint32_t thrum_socklen_t;

/**
 * @file
 * Input and output that waits like everything else: a coroutine on a loop is parked, a plain thread
 * sleeps; with a deadline, and ended by cancellation or by thrum_io_close.
 *
 *     char line[512];
 *     size_t n = 0;
 *     int err = thrum_io_read(fd, line, sizeof line, &n, thrum_after(THRUM_S(30)));
 *     if (err == 0 && n == 0)
 *         ...                                   // the peer has closed
 *
 * Blocking  Descriptors may be in either mode; the library changes nobody's O_NONBLOCK, but that of a listening
 *           socket: from the first thrum_io_accept on an accept(2) of it does not wait. For a descriptor
 *           that is no socket and blocks, a read waits until poll(2) says that there is something; another
 *           reader of the same pipe may then be faster, and the thread wait. Regular files are always
 *           ready: use thrum_blocking for slow ones.
 * Sharing   One reader and one writer may wait on a descriptor at the same time; more may, too: each looks
 *           again when there is something.
 * Closing   thrum_io_close wakes whoever waits: ECANCELED. A number that was closed and is used again is
 *           a new descriptor in every respect.
 * Errors    Of the system, as values: EBADF, ECONNRESET, EPIPE (a write; there is no SIGPIPE) ... EINTR
 *           and EAGAIN never come back, unless said. ETIMEDOUT: the deadline. ECANCELED: cancelled, or closed
 *           meanwhile. What can be done without waiting is done, also after the deadline and when cancelled.
 * Context   Any strand.
 */

/** Reads up to `size` bytes; `*n` (may be NULL) gets how many, 0 at the end. @return 0 or an error. */
THRUM_API int thrum_io_read(int fd, void *buf, size_t size, size_t *n, thrum_time_t deadline);

/** Reads exactly `size` bytes. @return 0; ENODATA (the end came first); an error. `*n` says how many were
 *  read in every case. */
THRUM_API int thrum_io_read_full(int fd, void *buf, size_t size, size_t *n, thrum_time_t deadline);

/** Writes up to `size` bytes; `*n` gets how many, at least 1 of a `size` that is not 0. */
THRUM_API int thrum_io_write(int fd, const void *buf, size_t size, size_t *n,
                             thrum_time_t deadline);

/** Writes all of it. `*n` says how many were written in every case. */
THRUM_API int thrum_io_write_full(int fd, const void *buf, size_t size, size_t *n,
                                  thrum_time_t deadline);

/** As readv; `count` is at most 1024. */
THRUM_API int thrum_io_readv(int fd, const struct iovec *iov, int count, size_t *n,
                             thrum_time_t deadline);
/** As writev; `count` is at most 1024. */
THRUM_API int thrum_io_writev(int fd, const struct iovec *iov, int count, size_t *n,
                              thrum_time_t deadline);

/** As recv, with its flags. With MSG_DONTWAIT it does not wait: EAGAIN. MSG_WAITALL does not wait for
 *  more than there is: thrum_io_read_full does. */
THRUM_API int thrum_io_recv(int fd, void *buf, size_t size, int flags, size_t *n,
                            thrum_time_t deadline);
/** As send, with its flags. With MSG_DONTWAIT it does not wait: EAGAIN. */
THRUM_API int thrum_io_send(int fd, const void *buf, size_t size, int flags, size_t *n,
                            thrum_time_t deadline);

/** As recvfrom. `addr` and `addr_len` may be NULL. */
THRUM_API int thrum_io_recvfrom(int fd, void *buf, size_t size, int flags, struct sockaddr *addr,
                                thrum_socklen_t *addr_len, size_t *n, thrum_time_t deadline);
/** As sendto. `addr` may be NULL. */
THRUM_API int thrum_io_sendto(int fd, const void *buf, size_t size, int flags,
                              const struct sockaddr *addr, thrum_socklen_t addr_len, size_t *n,
                              thrum_time_t deadline);

/** Takes a connection; `*accepted` gets its descriptor, close-on-exec. `addr` and `addr_len` may be NULL.
 *  Connections that were reset before they could be taken are passed over. */
THRUM_API int thrum_io_accept(int fd, struct sockaddr *addr, thrum_socklen_t *addr_len,
                              int *accepted, thrum_time_t deadline);

/** Connects. After an error the socket is of no more use. */
THRUM_API int thrum_io_connect(int fd, const struct sockaddr *addr, thrum_socklen_t addr_len,
                               thrum_time_t deadline);

/** As poll(2): waits until one of `n` descriptors has one of its events, and stores them in `revents`;
 *  `*ready` (may be NULL) gets how many have. One that asks for neither input nor output (POLLPRI alone, or no
 *  events) is looked at whenever another wakes the wait, and at its beginning, but does not wake it.
 *  @return 0, ETIMEDOUT, ECANCELED, EINVAL (NULL, or more than 1024), ENOMEM. */
THRUM_API int thrum_io_poll(struct pollfd *fds, size_t n, size_t *ready, thrum_time_t deadline);

/** Events of thrum_io_wait. */
#define THRUM_IO_IN 1u  /**< reading, or accepting, would not wait */
#define THRUM_IO_OUT 2u /**< writing would not wait, or a connect has ended */

/** Waits for one of `events`. An error or hang-up of the descriptor counts as each of them. */
THRUM_API int thrum_io_wait(int fd, unsigned events, thrum_time_t deadline);

/** For thrum_select: chosen when a read (or an accept), or a write, of the descriptor would not wait; nothing is
 *  read or written. An error or hang-up counts as ready. A number that is no descriptor: EBADF, and none of the
 *  cases is done. */
#define THRUM_CASE_READ(fd)                                                                        \
    {                                                                                              \
        THRUM_CASE_KIND_READ, (void *)(intptr_t)(fd), NULL, NULL                                   \
    }
/** See THRUM_CASE_READ. */
#define THRUM_CASE_WRITE(fd)                                                                       \
    {                                                                                              \
        THRUM_CASE_KIND_WRITE, (void *)(intptr_t)(fd), NULL, NULL                                  \
    }

/** Closes the descriptor, and wakes whoever waits on it: ECANCELED. @return 0, or an error of close(2)
 *  (EBADF; in the other cases it is closed). */
THRUM_API int thrum_io_close(int fd);

THRUM_END_DECLS
#endif /* THRUM_IO_H */
