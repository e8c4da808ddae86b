/*
 * Words that several processes sleep on, by the Linux system call; whatever the sleeps within the process are
 * made of.
 */
#include <time.h>
#include <unistd.h>

#include "os/os.h"

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449 /* Linux 5.16 */
#endif

/* As the kernel's, which not all headers have. */
struct waited {
    uint64_t value;
    uint64_t address;
    uint32_t flags;
    uint32_t reserved;
};
#define WAITED_32_BITS 2u
#define WAITED_PRIVATE 128u

#ifdef THI_FUTEX_WORDS
bool thi_far_near(void)
{
    static uint32_t known; /* 0: not yet; 1: it can; 2: it cannot */
    uint32_t can = thi_load_relaxed(&known);
    if (THI_UNLIKELY(can == 0)) {
        const int saved = errno;
        can = syscall(SYS_futex_waitv, NULL, 0, 0, NULL, 0) < 0 && errno == ENOSYS ? 2 : 1;
        thi_store_relaxed(&known, can); /* relaxed: everybody finds the same */
        errno = saved;
    }
    return can == 1;
}
#else
bool thi_far_near(void)
{
    return false;
}
#endif

int thi_far_wait(uint32_t *word, uint32_t expected, thrum_time_t deadline, uint32_t *near,
                 uint32_t near_expected)
{
    struct timespec until;
    struct timespec *timeout = NULL;
    long rc = 0;
    if (deadline != THRUM_FOREVER) {
        const thrum_time_t instant = deadline < 0 ? 0 : deadline;
        until.tv_sec = (time_t)(instant / THRUM_S(1));
        until.tv_nsec = (long)(instant % THRUM_S(1));
        timeout = &until;
    }
    const int saved = errno;
    if (near != NULL) {
        struct waited both[2] = {
            {expected, (uint64_t)(uintptr_t)word, WAITED_32_BITS, 0},
            {near_expected, (uint64_t)(uintptr_t)near, WAITED_32_BITS | WAITED_PRIVATE, 0},
        };
        rc = syscall(SYS_futex_waitv, both, 2, 0, timeout, CLOCK_MONOTONIC);
    } else {
        rc = syscall(SYS_futex, word, FUTEX_WAIT_BITSET, expected, timeout, NULL,
                     FUTEX_BITSET_MATCH_ANY);
    }
    const int err = rc < 0 && errno == ETIMEDOUT ? ETIMEDOUT : 0;
    errno = saved;
    return err;
}

void thi_far_wake(uint32_t *word)
{
    const int saved = errno;
    syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX);
    errno = saved;
}

typedef enum change { ADD = FUTEX_OP_ADD, OR = FUTEX_OP_OR, CLEAR = FUTEX_OP_ANDN } change_t;

#if defined(__SANITIZE_THREAD__) || defined(THI_CLANG_TSAN)
/* ThreadSanitizer has to see the change. */
static bool change_and_wake(uint32_t *word, change_t change, bool is_bit, uint32_t operand)
{
    const uint32_t value = is_bit ? UINT32_C(1) << operand : operand;
    if (change == ADD)
        thi_fetch_add_acq_rel(word, value);
    else if (change == OR)
        thi_fetch_or_acq_rel(word, value);
    else
        thi_fetch_and_acq_rel(word, ~value);
    const int saved = errno;
    const long woken = syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX);
    errno = saved;
    return woken > 0;
}
#else
/* The comparison, which would wake more, is one that cannot hold; the word is the same in both places. */
static bool change_and_wake(uint32_t *word, change_t change, bool is_bit, uint32_t operand)
{
    const unsigned op = (unsigned)change | (is_bit ? FUTEX_OP_OPARG_SHIFT : 0u);
    const int saved = errno;
    thi_fence_full();
    const long woken = syscall(SYS_futex, word, FUTEX_WAKE_OP, INT_MAX, 0, word,
                               FUTEX_OP(op, operand, FUTEX_OP_CMP_LT, 0) & UINT32_MAX);
    errno = saved;
    return woken > 0;
}
#endif

/* An operand has 11 bits, or is one bit anywhere. */
#define OPERAND_BITS 11u
bool thi_far_add(uint32_t *word, uint32_t n)
{
    const uint32_t low = n & ((1u << OPERAND_BITS) - 1u);
    bool woken = low != 0 && change_and_wake(word, ADD, false, low);
    for (uint32_t bit = OPERAND_BITS; bit < 32 && n >> bit != 0; bit++) {
        thi_death_point("far: between two steps of an addition");
        if ((n >> bit & 1u) != 0)
            woken |= change_and_wake(word, ADD, true, bit);
    }
    return woken;
}

bool thi_far_or(uint32_t *word, uint32_t bit)
{
    return change_and_wake(word, OR, true, (uint32_t)__builtin_ctz(bit));
}

bool thi_far_clear(uint32_t *word, uint32_t bit)
{
    return change_and_wake(word, CLEAR, true, (uint32_t)__builtin_ctz(bit));
}
#else
/* Nobody gets here: without segments there is nothing to sleep on. */
bool thi_far_near(void)
{
    return false;
}

int thi_far_wait(uint32_t *word, uint32_t expected, thrum_time_t deadline, uint32_t *near,
                 uint32_t near_expected)
{
    (void)near, (void)near_expected;
    return thi_futex_wait(word, expected, deadline);
}

void thi_far_wake(uint32_t *word)
{
    thi_futex_wake(word, UINT_MAX);
}

bool thi_far_add(uint32_t *word, uint32_t n)
{
    thi_fetch_add_acq_rel(word, n);
    thi_futex_wake(word, UINT_MAX);
    return true;
}

bool thi_far_or(uint32_t *word, uint32_t bit)
{
    thi_fetch_or_acq_rel(word, bit);
    thi_futex_wake(word, UINT_MAX);
    return true;
}

bool thi_far_clear(uint32_t *word, uint32_t bit)
{
    thi_fetch_and_acq_rel(word, ~bit);
    thi_futex_wake(word, UINT_MAX);
    return true;
}
#endif
