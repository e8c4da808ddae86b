/*
 * Memory for stacks: guarded, and seen from outside.
 */
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "os/os.h"

#if defined(__linux__) && !defined(MADV_GUARD_INSTALL)
#define MADV_GUARD_INSTALL 102 /* Linux 6.13 */
#endif
#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif
#ifndef PIDFD_SELF_THREAD
#define PIDFD_SELF_THREAD (-10000) /* Linux 6.14 */
#endif
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
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

#if defined(SYS_process_madvise) && defined(MADV_GUARD_INSTALL)
/* Not known to older kernels, nor to Valgrind. */
static bool advise_all(const thi_range_t *ranges, size_t n, int advice)
{
    static uint32_t unknown;
    struct iovec vector[THI_RANGES_MAX];
    size_t sum = 0;
#ifdef RUNNING_ON_VALGRIND
    if (RUNNING_ON_VALGRIND != 0)
        return false;
#endif
    if (thi_load_relaxed(&unknown) != 0)
        return false;
    for (size_t i = 0; i < n; i++) {
        vector[i] = (struct iovec){ranges[i].pages, ranges[i].size};
        sum += ranges[i].size;
    }
    const int saved = errno;
    const long done = syscall(SYS_process_madvise, PIDFD_SELF_THREAD, vector, n, advice, 0u);
    if (done < 0 && errno != ENOMEM && errno != EAGAIN && errno != EINTR)
        thi_store_relaxed(&unknown, 1u);
    errno = saved;
    return done >= 0 && (size_t)done == sum;
}
#else
#define MADV_GUARD_INSTALL 0
static bool advise_all(const thi_range_t *ranges, size_t n, int advice)
{
    (void)ranges, (void)n, (void)advice;
    return false;
}
#endif

bool thi_pages_guard_all(const thi_range_t *ranges, size_t n)
{
    bool guarded = true;
    if (thi_fault(THI_FAULT_PAGES))
        return false;
    if (n > 1 && advise_all(ranges, n, MADV_GUARD_INSTALL))
        return true;
    for (size_t i = 0; i < n && guarded; i++)
        guarded = thi_pages_guard(ranges[i].pages, ranges[i].size);
    return guarded;
}

void thi_pages_forget_all(const thi_range_t *ranges, size_t n)
{
    if (n > 1 && advise_all(ranges, n, MADV_DONTNEED))
        return;
    for (size_t i = 0; i < n; i++)
        thi_pages_forget(ranges[i].pages, ranges[i].size);
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
