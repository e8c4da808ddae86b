/*
 * Where memory comes from: a program's allocator if it set one, jemalloc's own interface if the
 * process has jemalloc, the C library otherwise. Bound at the first allocation.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <thrum/diagnosis.h>

#include "os/os.h"

#define ALIGNMENT _Alignof(max_align_t)

/* Weak: found when the program (or what it preloads) brings jemalloc, NULL otherwise. The library
 * itself must not need it: jemalloc cannot be loaded late. */
extern void *mallocx(size_t size, int flags) __attribute__((weak));
extern void sdallocx(void *memory, size_t size, int flags) __attribute__((weak));

void *thi_pages_map(size_t size)
{
    if (thi_fault(THI_FAULT_PAGES))
        return NULL;
    const int saved = errno;
    void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    errno = saved;
    return pages == MAP_FAILED ? NULL : pages;
}

void thi_pages_unmap(void *pages, size_t size)
{
    const int saved = errno;
    munmap(pages, size);
    errno = saved;
}

bool thi_pages_forget(void *pages, size_t size)
{
    if (thi_fault(THI_FAULT_FORGET))
        return false;
    const int saved = errno;
    const bool forgotten = madvise(pages, size, MADV_DONTNEED) == 0; /* not of locked memory */
    errno = saved;
    return forgotten;
}

static void *libc_allocate(size_t size, size_t alignment, void *ctx)
{
    (void)alignment; /* malloc's is enough for ALIGNMENT */
    (void)ctx;
    return malloc(size);
}

static void libc_release(void *memory, size_t size, size_t alignment, void *ctx)
{
    (void)size;
    (void)alignment;
    (void)ctx;
    free(memory);
}

static void *jemalloc_allocate(size_t size, size_t alignment, void *ctx)
{
    (void)alignment;
    (void)ctx;
    return mallocx(size, 0);
}

static void jemalloc_release(void *memory, size_t size, size_t alignment, void *ctx)
{
    (void)alignment;
    (void)ctx;
    sdallocx(memory, size, 0);
}

/*
 *   binding   UNBOUND
 *             BINDING  with the process's id: somebody writes `chosen`. Of another process it is nobody: he
 *                      was lost in a fork, and the next one begins anew
 *             BOUND    never changes again
 */
#define UNBOUND 0u
#define BOUND 1u
#define BINDING 2u
#define PROCESS_SHIFT 2 /* ids have 22 bits at the most */

static thrum_allocator_t chosen;
static uint32_t binding;

static void choose_default(void)
{
    const bool jemalloc = mallocx != NULL && sdallocx != NULL;
    chosen.size = sizeof chosen;
    chosen.allocate = jemalloc ? jemalloc_allocate : libc_allocate;
    chosen.release = jemalloc ? jemalloc_release : libc_release;
}

/* True: the caller binds. False: it is bound. */
static bool begin_binding(void)
{
    const uint32_t mine = BINDING | (uint32_t)getpid() << PROCESS_SHIFT;
    uint32_t state = thi_load_acquire(&binding); /* A1 */
    while (state != BOUND) {
        /* Relaxed: what somebody lost has written is written anew. */
        if (state != mine && thi_cas_relaxed(&binding, &state, mine))
            return true;
        thi_cpu_pause();                    /* a handful of stores away */
        state = thi_load_acquire(&binding); /* A1 */
    }
    return false;
}

/* Binds to `wanted`, or to the default when NULL. False when it was bound already. */
static bool bind_allocator(const thrum_allocator_t *wanted)
{
    if (!begin_binding())
        return false;
    if (wanted != NULL)
        chosen = *wanted;
    else
        choose_default();
    thi_store_release(&binding, BOUND); /* R1: release; pairs with A1 */
    return true;
}

static const thrum_allocator_t *allocator(void)
{
    /* A1: acquire; pairs with R1. */
    if (THI_UNLIKELY(thi_load_acquire(&binding) != BOUND))
        bind_allocator(NULL);
    return &chosen;
}

int thrum_set_allocator(const thrum_allocator_t *wanted)
{
    if (wanted == NULL || wanted->size != sizeof *wanted || wanted->allocate == NULL ||
        wanted->release == NULL)
        return EINVAL;
    return bind_allocator(wanted) ? 0 : EBUSY;
}

void *thi_alloc(size_t size)
{
    if (thi_fault(THI_FAULT_ALLOC))
        return NULL;
    const thrum_allocator_t *from = allocator();
    const int saved = errno;
    void *memory = from->allocate(size, ALIGNMENT, from->ctx);
    if (memory != NULL)
        memset(memory, 0, size);
    errno = saved;
    return memory;
}

void thi_free(void *memory, size_t size)
{
    if (memory == NULL)
        return;
    const int saved = errno;
    allocator()->release(memory, size, ALIGNMENT, chosen.ctx);
    errno = saved;
}
