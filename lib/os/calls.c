/*
 * Reading, writing and closing, past whatever stands in front of the C library's functions: those of lib/patch
 * would call the library again. ThreadSanitizer's are called, for it has to see them.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "os/os.h"

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

ssize_t thi_quietly(ssize_t (*call)(void *arg), void *arg)
{
    const struct timespec no_time = {0, 0};
    sigset_t sigpipe;
    sigset_t before;
    sigemptyset(&sigpipe);
    sigaddset(&sigpipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &sigpipe, &before);
    const bool pending = is_pending();
    const ssize_t n = call(arg);
    const int err = errno;
    if (n < 0 && err == EPIPE && !pending) {
        while (sigtimedwait(&sigpipe, NULL, &no_time) < 0 && errno == EINTR)
            continue;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = err;
    return n;
}

struct vector {
    int fd;
    const struct iovec *iov;
    int count;
};

static ssize_t write_vector(void *arg)
{
    const struct vector *v = arg;
    return thi_fd_writev(v->fd, v->iov, v->count);
}

static ssize_t write_blocked(int fd, const struct iovec *iov, int count)
{
    struct vector v = {fd, iov, count};
    return thi_quietly(write_vector, &v);
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
