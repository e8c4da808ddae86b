/*
 * Which code is loaded.
 */
#include <link.h>
#include <stdlib.h>

#include "os/os.h"

struct search {
    thi_code_t *ranges;
    size_t n;
    size_t found;
};

static int note(struct dl_phdr_info *object, size_t size, void *arg)
{
    struct search *s = arg;
    (void)size;
    for (unsigned i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        if (segment->p_type != PT_LOAD || (segment->p_flags & PF_X) == 0)
            continue;
        const uintptr_t begin = object->dlpi_addr + segment->p_vaddr;
        if (s->found < s->n)
            s->ranges[s->found] = (thi_code_t){begin, begin + segment->p_memsz};
        s->found++;
    }
    return 0;
}

static int by_address(const void *a, const void *b)
{
    const thi_code_t *x = a;
    const thi_code_t *y = b;
    return (x->begin > y->begin) - (x->begin < y->begin);
}

size_t thi_code_loaded(thi_code_t *ranges, size_t n)
{
    struct search s = {ranges, n, 0};
    dl_iterate_phdr(note, &s);
    if (s.found <= n && n != 0)
        qsort(ranges, s.found, sizeof *ranges, by_address);
    return s.found;
}
