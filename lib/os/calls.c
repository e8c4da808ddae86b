/*
 * Reading, writing and closing, past whatever stands in front of the C library's functions: those of lib/patch
 * would call the library again. ThreadSanitizer's are called, for it has to see them.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "os/os.h"

#if defined(__linux__)
#include <sys/sendfile.h>
#endif

#if defined(__linux__) && !defined(__SANITIZE_THREAD__) && !defined(THI_CLANG_TSAN)
#include <sys/syscall.h>

ssize_t thi_fd_read(int fd, void *buf, size_t size)
{
    return syscall(SYS_read, fd, buf, size);
}

ssize_t thi_fd_readv(int fd, const struct iovec *iov, int count)
{
    return syscall(SYS_readv, fd, iov, count);
}

ssize_t thi_fd_write(int fd, const void *buf, size_t size)
{
    return syscall(SYS_write, fd, buf, size);
}

ssize_t thi_fd_writev(int fd, const struct iovec *iov, int count)
{
    return syscall(SYS_writev, fd, iov, count);
}

int thi_fd_close(int fd)
{
    return (int)syscall(SYS_close, fd);
}
#else
ssize_t thi_fd_read(int fd, void *buf, size_t size)
{
    return read(fd, buf, size);
}

ssize_t thi_fd_readv(int fd, const struct iovec *iov, int count)
{
    return readv(fd, iov, count);
}

ssize_t thi_fd_write(int fd, const void *buf, size_t size)
{
    return write(fd, buf, size);
}

ssize_t thi_fd_writev(int fd, const struct iovec *iov, int count)
{
    return writev(fd, iov, count);
}

int thi_fd_close(int fd)
{
    return close(fd);
}
#endif

/* ------------------------------------------------------------------------------------------------
 * Without SIGPIPE: by the system where it can (Linux 6.18). Otherwise the signal, which is the calling thread's
 * own, is blocked and taken back, unless there was one already.
 */

static bool is_pending(void)
{
    sigset_t pending;
    return sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1;
}

struct hush {
    sigset_t before;
    bool pending;
};

static sigset_t only_sigpipe(void)
{
    sigset_t sigpipe;
    sigemptyset(&sigpipe);
    sigaddset(&sigpipe, SIGPIPE);
    return sigpipe;
}

static void begin_hush(struct hush *hush)
{
    const sigset_t sigpipe = only_sigpipe();
    pthread_sigmask(SIG_BLOCK, &sigpipe, &hush->before);
    hush->pending = is_pending();
}

/* `broken`: the signal may have come. errno is what the call left. */
static void end_hush(const struct hush *hush, bool broken)
{
    const struct timespec no_time = {0, 0};
    const sigset_t sigpipe = only_sigpipe();
    const int err = errno;
    if (broken && !hush->pending) {
        while (sigtimedwait(&sigpipe, NULL, &no_time) < 0 && errno == EINTR)
            continue;
    }
    pthread_sigmask(SIG_SETMASK, &hush->before, NULL);
    errno = err;
}

static ssize_t write_blocked(int fd, const struct iovec *iov, int count)
{
    struct hush hush;
    begin_hush(&hush);
    const ssize_t n = thi_fd_writev(fd, iov, count);
    end_hush(&hush, n < 0 && errno == EPIPE);
    return n;
}

#if defined(__linux__) && defined(SYS_pwritev2) && defined(__LP64__) &&                            \
    !defined(__SANITIZE_THREAD__) && !defined(THI_CLANG_TSAN)
#define NO_SIGNAL 0x100L /* RWF_NOSIGNAL */

static ssize_t write_unsignalled(int fd, const struct iovec *iov, int count)
{
    return syscall(SYS_pwritev2, (long)fd, iov, (long)count, -1L, -1L, NO_SIGNAL);
}
#else
static ssize_t write_unsignalled(int fd, const struct iovec *iov, int count)
{
    (void)fd, (void)iov, (void)count;
    errno = EOPNOTSUPP;
    return -1;
}
#endif

ssize_t thi_fd_write_quietly(int fd, const struct iovec *iov, int count)
{
    if (!thi_fault(THI_FAULT_QUIETLY)) {
        const ssize_t n = write_unsignalled(fd, iov, count);
        if (n >= 0 ||
            (errno != EOPNOTSUPP && errno != ENOSYS)) /* which is also of some descriptors */
            return n;
    }
    return write_blocked(fd, iov, count);
}

#if defined(__linux__)
static ssize_t send_some(int socket, int file, int64_t *offset, size_t size)
{
    struct hush hush; /* there is no sendfile without */
    off_t from = (off_t)*offset;
    ssize_t n = 0;
    begin_hush(&hush);
    do
        n = sendfile(socket, file, &from, size);
    while (n < 0 && errno == EINTR);
    end_hush(&hush, n < 0 ? errno == EPIPE : (size_t)n < size); /* it may also come after a part */
    *offset = from;
    return n;
}
#else
static ssize_t send_some(int socket, int file, int64_t *offset, size_t size)
{
    char data[16384];
    ssize_t n = pread(file, data, size < sizeof data ? size : sizeof data, (off_t)*offset);
    if (n > 0)
        n = send(socket, data, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0)
        *offset += n;
    return n;
}
#endif

ssize_t thi_fd_sendfile(int socket, int file, int64_t *offset, size_t size)
{
    const int saved = errno;
    const int cancel = thi_cancel_off();
    ssize_t n = send_some(socket, file, offset, size);
    thi_cancel_restore(cancel);
    return thi_outcome(n, saved);
}

/* With 32-bit time the system call of that name takes another struct. */
void thi_nap(unsigned microseconds)
{
    const struct timespec duration = {.tv_nsec = (long)microseconds * 1000};
#if defined(__linux__) && defined(__LP64__) && !defined(__SANITIZE_THREAD__) &&                    \
    !defined(THI_CLANG_TSAN)
    syscall(SYS_nanosleep, &duration, NULL);
#else
    nanosleep(&duration, NULL);
#endif
}
