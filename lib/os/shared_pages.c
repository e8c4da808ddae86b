/*
 * Memory that children share. No name, no descriptor: it is gone with the last process that has it.
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
    void *pages =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
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
