/*
 * The functions behind: what the dynamic linker finds next under each name. Bound when the library is loaded,
 * so that signal handlers find them bound; who calls even earlier, from another library's initialisation,
 * binds them, too, and finds the same.
 */
#include <dlfcn.h>
#include <link.h>

#include "patch/patch.h"

thi_real_t thi_real_functions;
uint32_t thi_real_bound;

static uintptr_t allocator_begin;
static uintptr_t allocator_end;

/* Of the object that `arg` points into: where its segments begin and end. */
static int find_object(struct dl_phdr_info *info, size_t size, void *arg)
{
    const uintptr_t wanted = (uintptr_t)arg;
    uintptr_t begin = UINTPTR_MAX;
    uintptr_t end = 0;
    (void)size;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        const uintptr_t from = (uintptr_t)(info->dlpi_addr + header->p_vaddr);
        if (header->p_type != PT_LOAD)
            continue;
        begin = from < begin ? from : begin;
        end = from + header->p_memsz > end ? from + header->p_memsz : end;
    }
    if (wanted < begin || wanted >= end)
        return 0;
    thi_store_relaxed(&allocator_begin, begin);
    thi_store_relaxed(&allocator_end, end);
    return 1;
}

bool thi_real_in_allocator(const void *address)
{
    const uintptr_t where = (uintptr_t)address;
    return where >= thi_load_relaxed(&allocator_begin) && where < thi_load_relaxed(&allocator_end);
}

#define BIND(type, name, parameters)                                                               \
    __atomic_store_n((void **)(void *)&thi_real_functions.name, dlsym(RTLD_NEXT, #name),           \
                     __ATOMIC_RELAXED);

void thi_real_bind(void)
{
    THI_PATCHED(BIND)
    thi_store_release(&thi_real_bound, 1u); /* R1: release; pairs with A1 of thi_real */
}

/* Not at the first call: a thread that holds the linker's lock may be waiting for the allocator. */
__attribute__((constructor)) static void bind_early(void)
{
    thi_real_bind();
    void *const allocate = dlsym(RTLD_DEFAULT, "malloc");
    if (allocate != NULL)
        (void)dl_iterate_phdr(find_object, allocate);
}
