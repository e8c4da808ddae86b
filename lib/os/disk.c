/*
 * Files that are sent, and files that are received: those have another name until they are whole, and whoever receives
 * one has it locked. The lock goes with the descriptor, however the process ends.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/fault.h"
#include "os/os.h"

typedef struct quiet {
    int error;
    int cancel;
} quiet_t;

static quiet_t begin(void)
{
    const quiet_t before = {errno, thi_cancel_off()};
    return before;
}

/* @return `err`, or what the system said if that is negative. */
static int end(quiet_t before, int err)
{
    const int said = err < 0 ? errno : err;
    thi_cancel_restore(before.cancel);
    errno = before.error;
    return said;
}

static int fails(void)
{
    errno = EIO;
    return thi_fault(THI_FAULT_DISK) ? -1 : 0;
}

static int open_quietly(int folder, const char *path, int flags, unsigned mode)
{
    if (thi_fault(THI_FAULT_OPEN)) {
        errno = EMFILE;
        return -1;
    }
    int fd = -1;
    do
        fd = openat(folder, path, flags | O_CLOEXEC, (mode_t)mode);
    while (fd < 0 && errno == EINTR);
    return fd;
}

int thi_folder_open(const char *path, int *fd)
{
    const quiet_t before = begin();
    *fd = open_quietly(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
    return end(before, *fd < 0 ? -1 : 0);
}

int thi_file_open(const char *path, int *fd, int64_t *size)
{
    const quiet_t before = begin();
    struct stat about = {.st_size = 0};
    *fd = open_quietly(AT_FDCWD, path, O_RDONLY | O_NONBLOCK, 0);
    int err = *fd < 0 || fstat(*fd, &about) != 0 ? -1 : 0;
    if (err == 0 && !S_ISREG(about.st_mode))
        err = EISDIR;
    *size = about.st_size;
    err = end(before, err);
    if (err != 0 && *fd >= 0) {
        thi_fd_close(*fd);
        *fd = -1;
    }
    return err;
}

bool thi_file_exists(int folder, const char *name)
{
    struct stat about;
    const quiet_t before = begin();
    return end(before, fstatat(folder, name, &about, AT_SYMLINK_NOFOLLOW)) == 0;
}

ssize_t thi_file_read(int fd, void *buf, size_t size, int64_t offset)
{
    const quiet_t before = begin();
    ssize_t n = fails();
    while (n == 0 && (n = pread(fd, buf, size, (off_t)offset)) < 0 && errno == EINTR)
        n = 0;
    const int err = end(before, n < 0 ? -1 : 0);
    return err != 0 ? -(ssize_t)err : n;
}

int thi_file_write(int fd, const void *data, size_t size, int64_t offset)
{
    const quiet_t before = begin();
    int err = fails();
    for (size_t at = 0; err == 0 && at < size;) {
        const ssize_t n = pwrite(fd, (const char *)data + at, size - at, (off_t)offset + (off_t)at);
        if (n >= 0)
            at += (size_t)n;
        else if (errno != EINTR)
            err = -1;
    }
    return end(before, err);
}

int thi_file_cut(int fd, int64_t size)
{
    const quiet_t before = begin();
    return end(before, fails() != 0 ? -1 : ftruncate(fd, (off_t)size));
}

/* ------------------------------------------------------------------------------------------------
 * Parts
 */

/* Whoever had it locked may have given it its name, or dropped it, since it was opened. */
static bool is_still(int folder, const char *name, const struct stat *about)
{
    struct stat now;
    return fstatat(folder, name, &now, AT_SYMLINK_NOFOLLOW) == 0 && now.st_ino == about->st_ino &&
           now.st_dev == about->st_dev;
}

/* 0; EAGAIN: it is not what has that name; an error, or -1. */
static int take_part(int folder, const char *name, int fd, int64_t *size)
{
    struct stat about;
    if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        return errno == EWOULDBLOCK ? EBUSY : -1;
    if (fstat(fd, &about) != 0)
        return -1;
    if (!S_ISREG(about.st_mode))
        return EINVAL;
    if (!is_still(folder, name, &about))
        return EAGAIN;
    if (about.st_nlink >
        1) /* it is also a file of another name: of whoever died in give_name, say */
        return unlinkat(folder, name, 0) == 0 ? EAGAIN : -1;
    *size = about.st_size;
    return 0;
}

int thi_part_open(int folder, const char *name, unsigned mode, int *fd, int64_t *size)
{
    const quiet_t before = begin();
    int err = EAGAIN;
    while (err == EAGAIN) {
        *fd = open_quietly(folder, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, mode);
        if (*fd < 0)
            return end(before, -1);
        err = take_part(folder, name, *fd, size);
        if (err < 0)
            err = errno;
        if (err != 0) {
            thi_fd_close(*fd);
            *fd = -1;
        }
    }
    return end(before, err);
}

static int give_name(int folder, const char *part, const char *name, bool replace)
{
    if (replace)
        return renameat(folder, part, folder, name);
    if (linkat(folder, part, folder, name, 0) == 0)
        return unlinkat(folder, part, 0);
    if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS)
        return -1;
    /* No links here: who makes a file of that name in between loses it. */
    errno = EEXIST;
    return faccessat(folder, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0
               ? -1
               : renameat(folder, part, folder, name);
}

int thi_part_keep(int folder, int fd, const char *part, const char *name, bool replace)
{
    const quiet_t before = begin();
    int err = fails() != 0 ? -1 : fsync(fd);
    if (err == 0)
        err = give_name(folder, part, name, replace);
    if (err == 0 && fsync(folder) != 0 && errno != EINVAL) /* not everywhere can folders be */
        err = -1;
    return end(before, err);
}

void thi_part_drop(int folder, const char *name)
{
    const quiet_t before = begin();
    (void)end(before, unlinkat(folder, name, 0));
}
