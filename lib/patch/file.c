/*
 * read, write, readv, writev, close. What becomes of them depends on what the descriptor is:
 *
 *   regular file, folder, disk   the real call: they do not wait in this sense
 *   socket                       recv and send
 *   pipe                         waits until it is ready, then the real call; writes in pieces that then fit
 *   whatever else                waits until it is ready, then the real call
 */
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "patch/patch.h"

#define VECTOR_AT_MOST 1024

typedef enum { FILE_NEVER_WAITS, FILE_SOCKET, FILE_PIPE, FILE_OTHER } file_t;

static file_t kind_of(int fd)
{
    struct stat status;
    if (!thi_patch_waits(fd) || fstat(fd, &status) != 0)
        return FILE_NEVER_WAITS;
    if (S_ISSOCK(status.st_mode))
        return FILE_SOCKET;
    if (S_ISFIFO(status.st_mode))
        return FILE_PIPE;
    const bool stored =
        S_ISREG(status.st_mode) || S_ISDIR(status.st_mode) || S_ISBLK(status.st_mode);
    return stored ? FILE_NEVER_WAITS : FILE_OTHER;
}

/* ------------------------------------------------------------------------------------------------
 * Reading
 */

ssize_t read(int fd, void *buf, size_t size)
{
    const file_t kind = size != 0 ? kind_of(fd) : FILE_NEVER_WAITS;
    if (kind == FILE_SOCKET)
        return thi_patch_recv(fd, buf, size, 0, NULL, NULL);
    if (kind != FILE_NEVER_WAITS && thi_patch_wait(fd, THRUM_IO_IN, THRUM_FOREVER) != 0)
        return -1;
    return thi_real()->read(fd, buf, size);
}

ssize_t __read_chk(int fd, void *buf, size_t size, size_t room)
{
    return size > room ? thi_real()->__read_chk(fd, buf, size, room) : read(fd, buf, size);
}

static bool is_vector(int count)
{
    return count > 0 && count <= VECTOR_AT_MOST;
}

ssize_t readv(int fd, const struct iovec *iov, int count)
{
    const file_t kind = is_vector(count) ? kind_of(fd) : FILE_NEVER_WAITS;
    if (kind == FILE_SOCKET) {
        struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)iov,
                                 .msg_iovlen = (size_t)count};
        return thi_patch_recvmsg(fd, &message, 0);
    }
    if (kind != FILE_NEVER_WAITS && thi_patch_wait(fd, THRUM_IO_IN, THRUM_FOREVER) != 0)
        return -1;
    return thi_real()->readv(fd, iov, count);
}

/* ------------------------------------------------------------------------------------------------
 * Writing
 */

/* All of it, unless there is an error, or it is cancelled: then what has been written, if anything has. */
static ssize_t write_pipe(int fd, const char *data, size_t size)
{
    size_t done = 0;
    do {
        const size_t piece = size - done < PIPE_BUF ? size - done : PIPE_BUF;
        ssize_t n = thi_patch_wait(fd, THRUM_IO_OUT, THRUM_FOREVER);
        if (n == 0)
            n = thi_real()->write(fd, data + done, piece);
        if (n < 0)
            return done != 0 ? (ssize_t)done : -1;
        done += (size_t)n;
    } while (done < size);
    return (ssize_t)done;
}

ssize_t write(int fd, const void *buf, size_t size)
{
    const file_t kind = kind_of(fd);
    if (kind == FILE_SOCKET)
        return thi_patch_send(fd, buf, size, 0, NULL, 0);
    if (kind == FILE_PIPE && size != 0)
        return write_pipe(fd, buf, size);
    if (kind == FILE_OTHER && thi_patch_wait(fd, THRUM_IO_OUT, THRUM_FOREVER) != 0)
        return -1;
    return thi_real()->write(fd, buf, size);
}

static size_t length_of(const struct iovec *iov, int count)
{
    size_t length = 0;
    for (int i = 0; i < count && length <= PIPE_BUF; i++)
        length = iov[i].iov_len > PIPE_BUF ? SIZE_MAX : length + iov[i].iov_len;
    return length;
}

static ssize_t writev_pipe(int fd, const struct iovec *iov, int count)
{
    ssize_t done = 0;
    if (length_of(iov, count) <= PIPE_BUF) { /* goes in one piece, or not at all */
        const int waited = thi_patch_wait(fd, THRUM_IO_OUT, THRUM_FOREVER);
        return waited != 0 ? waited : thi_real()->writev(fd, iov, count);
    }
    for (int i = 0; i < count; i++) {
        const ssize_t n = iov[i].iov_len != 0 ? write_pipe(fd, iov[i].iov_base, iov[i].iov_len) : 0;
        if (n < 0)
            return done != 0 ? done : -1;
        done += n;
        if ((size_t)n < iov[i].iov_len)
            break;
    }
    return done;
}

ssize_t writev(int fd, const struct iovec *iov, int count)
{
    const file_t kind = is_vector(count) ? kind_of(fd) : FILE_NEVER_WAITS;
    if (kind == FILE_SOCKET) {
        const struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)iov,
                                       .msg_iovlen = (size_t)count};
        return thi_patch_sendmsg(fd, &message, 0);
    }
    if (kind == FILE_PIPE)
        return writev_pipe(fd, iov, count);
    if (kind == FILE_OTHER && thi_patch_wait(fd, THRUM_IO_OUT, THRUM_FOREVER) != 0)
        return -1;
    return thi_real()->writev(fd, iov, count);
}

/* ------------------------------------------------------------------------------------------------
 * Closing
 */

/* Whoever waits on it in a coroutine is told. */
int close(int fd)
{
    if (!thrum_loop_inside())
        return thi_real()->close(fd);
    const int err = thrum_io_close(fd);
    if (err != 0)
        errno = err;
    return err != 0 ? -1 : 0;
}
