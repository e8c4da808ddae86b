/*
 * Memory of several processes: files in memory (memfd), sealed so that nobody can make them shorter under
 * those who have them mapped.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/memory_file.h"

int thi_segment_duplicate(int fd, int *duplicate)
{
    if (thi_fault(THI_FAULT_SEGMENT))
        return EMFILE;
    const int saved = errno;
    *duplicate = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    const int err = *duplicate >= 0 ? 0 : errno == EMFILE ? EMFILE : EINVAL;
    errno = saved;
    return err;
}

#if defined(__linux__) && defined(MFD_ALLOW_SEALING)

int thi_segment_create(const char *name, int *fd)
{
    if (thi_fault(THI_FAULT_SEGMENT))
        return ENOMEM;
    const int saved = errno;
    int err = thi_memory_file(name, fd);
    if (err == 0 && fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL) != 0) {
        err = ENOSYS;
        thi_fd_close(*fd);
    }
    errno = saved;
    return err == EFAULT ? EINVAL : err;
}

int thi_segment_map(int fd, size_t max, void **base)
{
    if (thi_fault(THI_FAULT_SEGMENT))
        return ENOMEM;
    const int saved = errno;
    *base = mmap(NULL, max, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    const int err = *base != MAP_FAILED ? 0 : errno == ENOMEM ? ENOMEM : EINVAL;
    errno = saved;
    return err;
}

/* The pages are there when fallocate has returned 0: nobody finds out at the first touch that the system has
 * none left. On an error there may be some of them, beyond the size that anybody uses. */
int thi_segment_grow(int fd, size_t from, size_t size)
{
    if (thi_fault(THI_FAULT_SEGMENT) || !thi_memory_may_have(size))
        return ENOMEM;
    const int saved = errno;
    int rc = 0;
    do {
        rc = fallocate(fd, 0, (off_t)from, (off_t)(size - from));
    } while (rc != 0 && errno == EINTR);
    errno = saved;
    return rc == 0 ? 0 : ENOMEM;
}

int thi_segment_size(int fd, size_t *size)
{
    struct stat status;
    const int saved = errno;
    const int seals = fcntl(fd, F_GET_SEALS);
    const bool is_one = seals >= 0 && (seals & F_SEAL_SHRINK) != 0 && fstat(fd, &status) == 0;
    errno = saved;
    if (!is_one)
        return EINVAL;
    *size = (size_t)status.st_size;
    return 0;
}

static bool is_own(int fd)
{
    struct stat status;
    return fstat(fd, &status) == 0 && status.st_uid == geteuid();
}

/* What keeps the caller from looking, rather than what it looks at from being seen. */
static bool is_own_limit(int err)
{
    return err == EMFILE || err == ENFILE || err == ENOMEM;
}

/* The descriptors of one process. Those of other users cannot be listed, but by some. */
static int find_in(const char *pid, const char *link, bool (*fits)(int fd, void *arg), void *arg,
                   int *fd)
{
    char path[300], target[300];
    int err = ENOENT;
    snprintf(path, sizeof path, "/proc/%.20s/fd", pid);
    DIR *dir = opendir(path);
    if (dir == NULL)
        return is_own_limit(errno) ? errno : ENOENT;
    for (const struct dirent *e = readdir(dir); e != NULL && err == ENOENT; e = readdir(dir)) {
        snprintf(path, sizeof path, "/proc/%.20s/fd/%.20s", pid, e->d_name);
        const ssize_t n = readlink(path, target, sizeof target - 1);
        if (n < 0 || (size_t)n != strlen(link) || memcmp(target, link, (size_t)n) != 0)
            continue;
        *fd = open(path, O_RDWR | O_CLOEXEC);
        if (*fd < 0)
            err = is_own_limit(errno) ? errno : ENOENT;
        else if (is_own(*fd) && fits(*fd, arg))
            err = 0;
        else
            thi_fd_close(*fd);
    }
    closedir(dir);
    return err;
}

int thi_segment_find(const char *name, bool (*fits)(int fd, void *arg), void *arg, int *fd)
{
    char link[300];
    int err = ENOENT;
    if (thi_fault(THI_FAULT_SEGMENT))
        return EMFILE;
    const int saved = errno;
    const int cancel = thi_cancel_off();
    snprintf(link, sizeof link, "/memfd:%s (deleted)", name);
    DIR *dir = opendir("/proc");
    if (dir != NULL) {
        for (const struct dirent *e = readdir(dir); e != NULL && err == ENOENT; e = readdir(dir))
            if (e->d_name[0] >= '1' && e->d_name[0] <= '9')
                err = find_in(e->d_name, link, fits, arg, fd);
        closedir(dir);
    } else {
        err = is_own_limit(errno) ? errno : ENOSYS;
    }
    thi_cancel_restore(cancel);
    errno = saved;
    return err;
}
#else
int thi_segment_create(const char *name, int *fd)
{
    (void)name, (void)fd;
    return ENOSYS;
}

int thi_segment_map(int fd, size_t max, void **base)
{
    (void)fd, (void)max, (void)base;
    return EINVAL;
}

int thi_segment_grow(int fd, size_t from, size_t size)
{
    (void)fd, (void)from, (void)size;
    return ENOMEM;
}

int thi_segment_size(int fd, size_t *size)
{
    (void)fd, (void)size;
    return EINVAL;
}

int thi_segment_find(const char *name, bool (*fits)(int fd, void *arg), void *arg, int *fd)
{
    (void)name, (void)fits, (void)arg, (void)fd;
    return ENOSYS;
}
#endif
