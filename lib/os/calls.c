/*
 * Reading, writing and closing, past whatever stands in front of the C library's functions: those of lib/patch
 * would call the library again. ThreadSanitizer's are called, for it has to see them.
 */
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
