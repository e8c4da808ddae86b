/*
 * Memory that has been freed, as far as the test is concerned. The library's atomics are caught in
 * the act; plain writes are found by the pattern they destroy, plain accesses of any kind by
 * AddressSanitizer where that is there.
 */
#include <string.h>

#include "sim_core.h"

#ifdef SIM_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(memory, size) ((void)(memory), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(memory, size) ((void)(memory), (void)(size))
#endif

#define PATTERN 0xA5
#define RANGES_MAX 16

static struct range {
    char *memory;
    size_t size;
} ranges[RANGES_MAX];

void sim_poison(void *memory, size_t size)
{
    if (sim.poisoned == RANGES_MAX)
        sim_fail("more than %d poisoned objects", RANGES_MAX);
    ranges[sim.poisoned++] = (struct range){memory, size};
    memset(memory, PATTERN, size);
    ASAN_POISON_MEMORY_REGION(memory, size);
}

void sim_poison_check(const volatile void *word)
{
    const uintptr_t at = (uintptr_t)word;
    for (unsigned i = 0; i < sim.poisoned; i++) {
        const uintptr_t start = (uintptr_t)ranges[i].memory;
        if (at >= start && at - start < ranges[i].size)
            sim_fail("use after free: byte %zu of an object of %zu", (size_t)(at - start),
                     ranges[i].size);
    }
}

static void lift(unsigned i)
{
    const struct range range = ranges[i];
    ranges[i] = ranges[--sim.poisoned];
    ASAN_UNPOISON_MEMORY_REGION(range.memory, range.size);
    for (size_t at = 0; at < range.size; at++) {
        if ((unsigned char)range.memory[at] != PATTERN)
            sim_fail("written after free: byte %zu of an object of %zu", at, range.size);
    }
}

void sim_unpoison(void *memory)
{
    for (unsigned i = sim.poisoned; i-- > 0;) {
        if (ranges[i].memory == memory)
            lift(i);
    }
}

void sim_poison_lift(void)
{
    while (sim.poisoned > 0)
        lift(sim.poisoned - 1);
}
