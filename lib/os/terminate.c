/*
 * SIGTERM without a handler: blocked, and read from a descriptor.
 */
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "os/os.h"

void thi_terminate_block(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
}

#if defined(__linux__)
#include <sys/signalfd.h>

int thi_terminate_open(int *fd)
{
    if (thi_fault(THI_FAULT_SIGNAL))
        return EMFILE;
    const int saved = errno;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    *fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    const int err = *fd < 0 ? errno : 0;
    errno = saved;
    return err;
}

bool thi_terminate_taken(int fd)
{
    struct signalfd_siginfo info;
    const int saved = errno;
    const bool taken = thi_fd_read(fd, &info, sizeof info) == (ssize_t)sizeof info;
    errno = saved;
    return taken;
}
#else
int thi_terminate_open(int *fd)
{
    (void)fd;
    return ENOSYS;
}

bool thi_terminate_taken(int fd)
{
    (void)fd;
    return false;
}
#endif
