#ifndef THI_TRANSMIT_H
#define THI_TRANSMIT_H

/*
 * Part of os.h: how calls on descriptors end, and what streams need of the system (lib/coroutine/stream.h).
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/base.h"

struct iovec;

/* What a call of the system that returns a number of bytes has come to: that, or its error, negative, EAGAIN for both
 * names that the system has for "not now". Puts errno back. */
static inline ssize_t thi_outcome(ssize_t n, int saved_errno)
{
    if (THI_UNLIKELY(n < 0))
        n = -(ssize_t)(errno == EWOULDBLOCK ? EAGAIN : errno);
    errno = saved_errno;
    return n;
}

/* Of sockets, whatever their mode: they do not wait, and raise no SIGPIPE. How many bytes, or an error, negative;
 * EAGAIN: not now. */
ssize_t thi_socket_recv(int fd, void *buf, size_t size);
ssize_t thi_socket_send(int fd, const void *data, size_t size);
ssize_t thi_socket_sendv(int fd, const struct iovec *iov, int count);

/* Whether a read that came back short means, for that socket, that there was no more, but for THI_POLL_ODD. */
bool thi_socket_measures(int fd);

/* The poller tells, with the tag (not 0), of what is ready now and of whatever becomes ready, until it is forgotten,
 * or closed by all that have it: forked children, too. Called again it tells anew, also of other directions. */
int thi_poller_watch(int poller, int fd, unsigned events, uint32_t tag);
void thi_poller_forget(int poller, int fd);

#endif /* THI_TRANSMIT_H */
