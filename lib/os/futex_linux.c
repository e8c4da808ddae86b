/*
 * Sleeping on a word, by the Linux system call. FUTEX_WAIT_BITSET takes an absolute deadline of
 * CLOCK_MONOTONIC, FUTEX_WAIT only a relative one.
 */
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "os/os.h"

int thi_futex_wait(uint32_t *word, uint32_t expected, thrum_time_t deadline)
{
    struct timespec until;
    struct timespec *timeout = NULL;
    if (deadline != THRUM_FOREVER) {
        const thrum_time_t instant = deadline < 0 ? 0 : deadline;
        until.tv_sec = (time_t)(instant / THRUM_S(1));
        until.tv_nsec = (long)(instant % THRUM_S(1));
        timeout = &until;
    }
    const int saved = errno;
    const long rc = syscall(SYS_futex, word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, expected,
                            timeout, NULL, FUTEX_BITSET_MATCH_ANY);
    const int err = rc < 0 && errno == ETIMEDOUT ? ETIMEDOUT : 0;
    errno = saved;
    return err;
}

void thi_futex_wake(uint32_t *word, unsigned n)
{
    const int saved = errno;
    syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, n > INT_MAX ? INT_MAX : (int)n);
    errno = saved;
}

void thi_futex_after_fork(void)
{
}
