#ifndef TESTS_GRAVEYARD_H
#define TESTS_GRAVEYARD_H

/*
 * Memory that shows a touch after its end: pages that are made inaccessible when they are freed and
 * do not come back before many others were used.
 */

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define GRAVES 64
#define GRAVE_BYTES 4096

struct graveyard {
    char *pages;
    unsigned next;
};

static inline void graveyard_open(struct graveyard *g)
{
    g->pages =
        mmap(NULL, (size_t)GRAVES * GRAVE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    g->next = 0;
    if (g->pages == MAP_FAILED)
        abort();
}

static inline void graveyard_close(struct graveyard *g)
{
    munmap(g->pages, (size_t)GRAVES * GRAVE_BYTES);
}

/* Zeroed memory on a page of its own. One thread only. */
static inline void *graveyard_rise(struct graveyard *g, size_t size)
{
    char *page = g->pages + (size_t)(g->next++ % GRAVES) * GRAVE_BYTES;
    if (size > GRAVE_BYTES || mprotect(page, GRAVE_BYTES, PROT_READ | PROT_WRITE) != 0)
        abort();
    memset(page, 0, size);
    return page;
}

/* From now on touching it is a fault. Any thread. */
static inline void graveyard_bury(void *memory)
{
    if (mprotect(memory, GRAVE_BYTES, PROT_NONE) != 0)
        abort();
}

#endif /* TESTS_GRAVEYARD_H */
