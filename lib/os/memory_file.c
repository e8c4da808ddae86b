/*
 * Files in memory: made, filled once and sealed, so that whoever is handed one can trust it to stay as it is.
 */
#include "os/memory_file.h"

#if defined(__linux__)
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u /* Linux 6.3; it may insist */
#endif

#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

int thi_memory_file(const char *name, int *fd)
{
    int made = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (made < 0 && errno == EINVAL)
        made = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (made < 0)
        return errno;
    *fd = made;
    return 0;
}

bool thi_memory_may_have(size_t size)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ||
           size <= limit.rlim_cur;
}

static int write_all(int fd, const char *data, size_t size)
{
    while (size != 0) {
        const ssize_t n = thi_fd_write(fd, data, size);
        if (n < 0 && errno != EINTR)
            return errno == ENOSPC || errno == EFBIG ? ENOMEM : errno;
        if (n > 0) {
            data += n;
            size -= (size_t)n;
        }
    }
    return 0;
}

int thi_memory_fill(int fd, const struct iovec *parts, int count)
{
    size_t size = 0;
    int err = 0;
    for (int i = 0; i < count; i++)
        size += parts[i].iov_len;
    if (!thi_memory_may_have(size))
        return ENOMEM;
    for (int i = 0; err == 0 && i < count; i++)
        err = write_all(fd, parts[i].iov_base, parts[i].iov_len);
    if (err == 0 && fcntl(fd, F_ADD_SEALS, SEALS) != 0)
        err = errno;
    return err;
}

bool thi_memory_is_filled(int fd, uint64_t *size)
{
    struct stat status;
    const int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & SEALS) != SEALS || fstat(fd, &status) != 0 ||
        !S_ISREG(status.st_mode))
        return false;
    *size = (uint64_t)status.st_size;
    return true;
}

int thi_memory_read(int fd, void *data, size_t size, size_t at)
{
    for (size_t done = 0; done < size;) {
        const ssize_t n = pread(fd, (char *)data + done, size - done, (off_t)(at + done));
        if (n < 0 && errno != EINTR)
            return errno;
        if (n == 0)
            return EBADMSG;
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}
#else
int thi_memory_file(const char *name, int *fd)
{
    (void)name, (void)fd;
    return ENOSYS;
}

bool thi_memory_may_have(size_t size)
{
    (void)size;
    return false;
}

int thi_memory_fill(int fd, const struct iovec *parts, int count)
{
    (void)fd, (void)parts, (void)count;
    return ENOSYS;
}

bool thi_memory_is_filled(int fd, uint64_t *size)
{
    (void)fd, (void)size;
    return false;
}

int thi_memory_read(int fd, void *data, size_t size, size_t at)
{
    (void)fd, (void)data, (void)size, (void)at;
    return ENOSYS;
}
#endif
