/*
 * Memory that children share, and sleeping on words of it. No name, no descriptor: it is gone with the last
 * process that has it.
 */
#include <sys/mman.h>

#include "os/os.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

void *thi_shared_map(size_t size)
{
    if (thi_fault(THI_FAULT_SHARED))
        return NULL;
    const int saved = errno;
    void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    errno = saved;
    return pages == MAP_FAILED ? NULL : pages;
}

void thi_shared_unmap(void *pages, size_t size)
{
    const int saved = errno;
    munmap(pages, size);
    errno = saved;
}

/* Where the kernel does not know the advice, memory comes with the first touch. */
bool thi_shared_claim(void *pages, size_t size)
{
    if (thi_fault(THI_FAULT_SHARED))
        return false;
    const int saved = errno;
    const bool there = madvise(pages, size, MADV_POPULATE_WRITE) == 0 || errno == EINVAL;
    errno = saved;
    return there;
}

void thi_shared_forget(void *pages, size_t size)
{
    const int saved = errno;
#ifdef MADV_REMOVE
    madvise(pages, size, MADV_REMOVE);
#endif
    errno = saved;
}

/* ------------------------------------------------------------------------------------------------
 * Sleeping. Not the futex of futex_linux.c, which is the process's own, nor the stand-in for it, which could not
 * be told of by another process.
 */
#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

/* As struct futex_waitv of <linux/futex.h>, which old headers lack. */
struct two_words {
    uint64_t value;
    uint64_t address;
    uint32_t flags;
    uint32_t reserved;
};
#define WORD_32 2u
#define WORD_PRIVATE 128u

static struct timespec *until_of(thrum_time_t deadline, struct timespec *until)
{
    if (deadline == THRUM_FOREVER)
        return NULL;
    const thrum_time_t instant = deadline < 0 ? 0 : deadline;
    until->tv_sec = (time_t)(instant / THRUM_S(1));
    until->tv_nsec = (long)(instant % THRUM_S(1));
    return until;
}

int thi_shared_wait(uint32_t *word, uint32_t expected, thrum_time_t deadline)
{
    struct timespec until;
    const int saved = errno;
    const long rc = syscall(SYS_futex, word, FUTEX_WAIT_BITSET, expected,
                            until_of(deadline, &until), NULL, FUTEX_BITSET_MATCH_ANY);
    const int err = rc < 0 && errno == ETIMEDOUT ? ETIMEDOUT : 0;
    errno = saved;
    return err;
}

void thi_shared_wake(uint32_t *word, unsigned n)
{
    const int saved = errno;
    syscall(SYS_futex, word, FUTEX_WAKE, n > INT_MAX ? INT_MAX : (int)n);
    errno = saved;
}

static long wait_two(uint32_t *own, uint32_t own_expected, uint32_t *shared,
                     uint32_t shared_expected, const struct timespec *until)
{
    struct two_words words[2] = {
        {.value = own_expected, .address = (uintptr_t)own, .flags = WORD_32 | WORD_PRIVATE},
        {.value = shared_expected, .address = (uintptr_t)shared, .flags = WORD_32}};
    return syscall(SYS_futex_waitv, words, 2, 0, until, CLOCK_MONOTONIC);
}

int thi_wait_two(uint32_t *own, uint32_t own_expected, uint32_t *shared, uint32_t shared_expected,
                 thrum_time_t deadline)
{
    struct timespec until;
    const int saved = errno;
    const long rc =
        wait_two(own, own_expected, shared, shared_expected, until_of(deadline, &until));
    const int err = rc < 0 && errno == ETIMEDOUT ? ETIMEDOUT : 0;
    errno = saved;
    return err;
}
#else
#include <time.h>

/* Looks again and again. */
int thi_shared_wait(uint32_t *word, uint32_t expected, thrum_time_t deadline)
{
    while (thi_load_acquire(word) == expected) {
        if (thi_clock() >= deadline)
            return ETIMEDOUT;
        thi_nap(200);
    }
    return 0;
}

void thi_shared_wake(uint32_t *word, unsigned n)
{
    (void)word, (void)n;
}
#endif

#if defined(__linux__) && defined(THI_FUTEX_WORDS)
static thi_once_t once;
static uint32_t works;

static void try_two(void)
{
    uint32_t words[2] = {0, 0};
    const int saved = errno;
    /* The first is not what is expected: EAGAIN, where the call is known. */
    const long rc = wait_two(&words[0], 1, &words[1], 0, NULL);
    thi_store_relaxed(&works, rc < 0 && errno == EAGAIN ? 1u : 0u);
    errno = saved;
}

bool thi_wait_two_works(void)
{
    thi_once(&once, try_two);
    return thi_load_relaxed(&works) != 0;
}
#else
bool thi_wait_two_works(void)
{
    return false;
}
#endif
