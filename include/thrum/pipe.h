#ifndef THRUM_PIPE_H
#define THRUM_PIPE_H

#include <thrum/base.h>
#include <thrum/time.h>

THRUM_BEGIN_DECLS

/**
 * @file
 * Pipes: messages both ways between two processes (or within one), whole or not at all, with descriptors.
 *
 *     thrum_pipe_t *here = NULL;
 *     thrum_pipe_t *there = NULL;
 *     int err = thrum_pipe_create(&here, &there);
 *     ...                                             // fork, or hand thrum_pipe_fd(there) to a program
 *     thrum_pipe_destroy(there);                      // it is the other process's now
 *     err = thrum_pipe_send_until(here, request, size, thrum_after(THRUM_S(1)));
 *     if (err == 0)
 *         err = thrum_pipe_recv_until(here, reply, sizeof reply, &size, thrum_after(THRUM_S(5)));
 *
 * Messages  Of any size from 0 bytes on: up to what memory there is. They arrive in the order in which they were sent,
 *           each of them once. A message is handed to the system in one step and taken from it in one step; what
 *           is too large for its buffers (beyond some 64 KiB) travels as a file in memory. So whatever happens in
 *           the middle (a deadline, cancellation, the death of either process at any instruction), the message has
 *           been sent or has not, and the peer has all of it or none; and the pipe goes on with the next one.
 * Peer      When the last copy of the peer's end is closed, or its process has ended, a send is EPIPE at once, also
 *           one that waits; and a receive, once what was sent before has been received, is ESHUTDOWN. A process that
 *           was forked has copies of all ends, and each has to destroy those that it does not use, before it
 *           forks the next; the ends are close-on-exec. thrum_pipe_close does not ask for copies.
 * Room      An end takes some messages ahead, about 200 KiB; then a send waits.
 * Sharing   Both ends may be used by any number of strands at once, and an end may be sent to from several processes.
 *           Only one process at a time may receive from an end (another's messages could be thrown away: EBADMSG).
 * Errors    A peer that does not speak this language is EBADMSG, for each packet that is none; they are thrown
 *           away. Nothing that it sends can make a receive wait or take more memory than was offered.
 * Ordering  A send is a release, and the receive of that message an acquire.
 * Context   Any strand. A coroutine that waits is parked; waits are ended by cancellation. What is large is copied
 *           once by each side, without giving way.
 * Lifetime  Destroying an end that a strand is in is a bug; close it, and it comes back.
 * Fork      Both ends work in the child.
 * System    Linux; elsewhere ENOSYS.
 */

/** One end of a pipe; made by thrum_pipe_create. */
typedef struct thrum_pipe thrum_pipe_t;

/** Most descriptors of one message. */
#define THRUM_PIPE_FDS_MAX 252

/** Makes the two ends of a pipe. @return 0, EINVAL (NULL), ENOMEM, EMFILE, ENFILE, or ENOSYS. */
THRUM_API int thrum_pipe_create(thrum_pipe_t **a, thrum_pipe_t **b);

/** Makes an end of a descriptor that another process was handed, or has received, from thrum_pipe_fd. It takes the
 *  descriptor over, and makes it close-on-exec. @return 0; and otherwise the descriptor is the caller's still:
 *  EBADF, EINVAL (NULL, or it is no such end), or ENOMEM. */
THRUM_API int thrum_pipe_open(thrum_pipe_t **p, int fd);

/** Its descriptor, to be handed to programs, and for thrum_select and event loops: it is readable while there is a
 *  message, and when there will be none any more. Borrowed. */
THRUM_API int thrum_pipe_fd(const thrum_pipe_t *p);

/** Sends a message; waits while there is no room for it.
 *  @return 0; and otherwise nothing was sent: EPIPE (the peer is gone), ESHUTDOWN (thrum_pipe_close was called
 *  on this end), ECANCELED, ENOMEM, for what is large also EMFILE, ENFILE and ETOOMANYREFS (the system
 *  allows no more descriptors that are under way), or EINVAL (NULL). */
THRUM_API int thrum_pipe_send(thrum_pipe_t *p, const void *data, size_t size);

/** The same, or EAGAIN: there is no room now. Never waits. */
THRUM_API THRUM_NODISCARD int thrum_pipe_trysend(thrum_pipe_t *p, const void *data, size_t size);

/** The same, or ETIMEDOUT. */
THRUM_API THRUM_NODISCARD int thrum_pipe_send_until(thrum_pipe_t *p, const void *data, size_t size,
                                                    thrum_time_t deadline);

/** Receives the next message; waits until there is one. `*size` gets its length. Descriptors that come with it are
 *  closed.
 *  @return 0, EMSGSIZE (it has more than `capacity` bytes: `*size` says how many, and it stays the next one; with a
 *  capacity of 0 this is how to ask), ESHUTDOWN (the peer is gone, or thrum_pipe_close was called on either end), EBADMSG
 *  (what came was none, and is gone), ECANCELED, EMFILE and ENFILE (what is large needs a descriptor; it stays the next
 *  one), ENOMEM, or EINVAL (NULL). */
THRUM_API int thrum_pipe_recv(thrum_pipe_t *p, void *buf, size_t capacity, size_t *size);

/** The same, or EAGAIN: there is none now. Never waits. */
THRUM_API THRUM_NODISCARD int thrum_pipe_tryrecv(thrum_pipe_t *p, void *buf, size_t capacity,
                                                 size_t *size);

/** The same, or ETIMEDOUT. */
THRUM_API THRUM_NODISCARD int thrum_pipe_recv_until(thrum_pipe_t *p, void *buf, size_t capacity,
                                                    size_t *size, thrum_time_t deadline);

/** Sends a message with `n` descriptors, at most THRUM_PIPE_FDS_MAX. The receiver has copies of them from then on, also
 *  when the sender closes its own. @return as thrum_pipe_send_until; EBADF (one is none), or EINVAL (too many). */
THRUM_API THRUM_NODISCARD int thrum_pipe_send_fds(thrum_pipe_t *p, const void *data, size_t size,
                                                  const int *fds, size_t n, thrum_time_t deadline);

/** Receives a message with its descriptors. `*n` says how many `fds` has room for, and gets how many have come; they are
 *  the caller's, close-on-exec. @return as thrum_pipe_recv_until; EMSGSIZE also when there is too little room for
 *  them, and EMFILE when this process may not have so many more: `*size` and `*n` say what it is, and it stays the next
 *  one. */
THRUM_API THRUM_NODISCARD int thrum_pipe_recv_fds(thrum_pipe_t *p, void *buf, size_t capacity,
                                                  size_t *size, int *fds, size_t *n,
                                                  thrum_time_t deadline);

/** Ends the talk, whoever has copies of either end: what was sent before can be received; then all is ESHUTDOWN here, and
 *  at the peer's receives are ESHUTDOWN and sends EPIPE. Strands that wait come back at once. NULL: nothing. */
THRUM_API void thrum_pipe_close(thrum_pipe_t *p);

/** Gives this process's end up. NULL: nothing. */
THRUM_API void thrum_pipe_destroy(thrum_pipe_t *p);

THRUM_END_DECLS
#endif /* THRUM_PIPE_H */
