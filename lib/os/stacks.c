/*
 * Memory for stacks: guarded, and seen from outside.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "os/os.h"

#if defined(__linux__) && !defined(MADV_GUARD_INSTALL)
#define MADV_GUARD_INSTALL 102 /* Linux 6.13 */
#endif
#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif

size_t thi_page_size(void)
{
    static size_t size;
    size_t known = thi_load_relaxed(&size);
    if (THI_UNLIKELY(known == 0)) {
        known = (size_t)sysconf(_SC_PAGESIZE);
        thi_store_relaxed(&size, known);
    }
    return known;
}

void *thi_stacks_map(size_t size)
{
    if (thi_fault(THI_FAULT_PAGES))
        return NULL;
    const int saved = errno;
    void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
#ifdef MADV_NOHUGEPAGE
    if (pages != MAP_FAILED) /* a huge page would make one touched page of a stack 2 MiB */
        madvise(pages, size, MADV_NOHUGEPAGE);
#endif
    errno = saved;
    return pages == MAP_FAILED ? NULL : pages;
}

bool thi_pages_guard(void *pages, size_t size)
{
    if (thi_fault(THI_FAULT_PAGES))
        return false;
    const int saved = errno;
    int rc = -1;
#ifdef MADV_GUARD_INSTALL
    rc = madvise(pages, size, MADV_GUARD_INSTALL);
#endif
    if (rc != 0)
        rc = mprotect(pages, size, PROT_NONE);
    errno = saved;
    return rc == 0;
}

size_t thi_pages_untouched(void *low, size_t size)
{
    const size_t page = thi_page_size();
    const int saved = errno;
    size_t untouched = 0;
    unsigned char touched = 0;
    while (untouched + page <= size &&
           mincore((char *)low + untouched, page, (void *)&touched) == 0 && (touched & 1u) == 0)
        untouched += page;
    errno = saved;
    return untouched;
}
