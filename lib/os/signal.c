/*
 * A descriptor that says yes or no to whoever polls it: an eventfd.
 */
#include <unistd.h>

#include "os/os.h"

#if defined(__linux__)
#include <sys/eventfd.h>

int thi_signal_open(int *fd)
{
    if (thi_fault(THI_FAULT_SIGNAL))
        return EMFILE;
    const int saved = errno;
    *fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    const int err = *fd < 0 ? errno : 0;
    errno = saved;
    return err;
}

void thi_signal_set(int fd, bool readable)
{
    const int saved = errno;
    const int cancel = thi_cancel_off();
    uint64_t count = 1;
    /* Neither can fail: the counter is 0 or 1 and the caller knows which. */
    const ssize_t n =
        readable ? thi_fd_write(fd, &count, sizeof count) : thi_fd_read(fd, &count, sizeof count);
    (void)n;
    thi_cancel_restore(cancel);
    errno = saved;
}
#else
int thi_signal_open(int *fd)
{
    (void)fd;
    return ENOSYS;
}

void thi_signal_set(int fd, bool readable)
{
    (void)fd, (void)readable;
}
#endif

void thi_signal_close(int fd)
{
    const int saved = errno;
    const int cancel = thi_cancel_off();
    thi_fd_close(fd);
    thi_cancel_restore(cancel);
    errno = saved;
}
