/*
 * Fences of unequal weight: membarrier(2), where the kernel has it.
 */
#include <sys/syscall.h>
#include <unistd.h>

#include "os/os.h"

uint32_t thi_fence_symmetric = 1; /* until the system has agreed */

void thi_fence_full(void)
{
#if defined(__SANITIZE_THREAD__) || defined(THI_CLANG_TSAN)
    static uint32_t word; /* ThreadSanitizer does not know fences */
    __atomic_fetch_add(&word, 1u, __ATOMIC_SEQ_CST);
#else
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

#if defined(SYS_membarrier) && !defined(__SANITIZE_THREAD__) && !defined(THI_CLANG_TSAN)
#define PRIVATE_EXPEDITED (1 << 3)
#define REGISTER_PRIVATE_EXPEDITED (1 << 4)

static thi_once_t once;

static void agree(void)
{
    const int saved = errno;
    if (syscall(SYS_membarrier, REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0)
        thi_store_relaxed(&thi_fence_symmetric, 0u);
    errno = saved;
}

/* The first heavy fence makes the light ones light. Who passed one before that had a full one, and the
 * registration is itself a barrier for everybody. */
void thi_fence_heavy(void)
{
    thi_once(&once, agree);
    thi_fence_full();
    if (thi_load_relaxed(&thi_fence_symmetric) == 0) {
        const int saved = errno;
        syscall(SYS_membarrier, PRIVATE_EXPEDITED, 0, 0);
        errno = saved;
    }
}
#else
void thi_fence_heavy(void)
{
    thi_fence_full();
}
#endif
