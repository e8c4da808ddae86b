/*
 * The library's allocator: memory at fixed addresses, so that a seed finds its objects in the same
 * buckets of the parking lot in every process; and freed memory is poisoned until the schedule ends.
 * What is not freed by then has leaked.
 *
 * In some schedules memory is used again at once, as allocators like to do: then whoever comes late for
 * an object finds another in its place.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "sim_core.h"

#ifdef SIM_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(memory, size) ((void)(memory), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(memory, size) ((void)(memory), (void)(size))
#endif

#define HEAP_SIZE ((size_t)1024 * 1024)
#define OBJECTS_MAX 1024u
#define UNIT ((size_t)16)
#define PATTERN 0xA5

static struct object {
    char *memory;
    size_t size;
    bool freed;
} objects[OBJECTS_MAX];

static unsigned count; /* objects[] of this schedule */
static char *heap;
static size_t used;
static size_t begun;                     /* where the first object lies */
static uint16_t owner[HEAP_SIZE / UNIT]; /* the object that a unit belongs to, + 1 */

void sim_heap_init(void)
{
    /* Beyond the stacks. */
    static const uintptr_t wanted[] = {0x210000000000, 0x2100000000};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        char *got = mmap((void *)wanted[i], HEAP_SIZE, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (got == (char *)wanted[i]) {
            heap = got;
            return;
        }
        if (got != MAP_FAILED)
            munmap(got, HEAP_SIZE);
    }
    fputs("sim: no place for the heap at a fixed address\n", stderr);
    exit(2);
}

void sim_heap_begin(void)
{
    begun = sim.world.stack_offset / UNIT * UNIT;
    used = begun;
    count = 0;
}

static size_t rounded(size_t size)
{
    return (size + UNIT - 1) / UNIT * UNIT;
}

/* --- freed memory ----------------------------------------------------------------------------- */

static void poison(const struct object *object)
{
    memset(object->memory, PATTERN, object->size);
    ASAN_POISON_MEMORY_REGION(object->memory, object->size);
}

static void lift(const struct object *object)
{
    ASAN_UNPOISON_MEMORY_REGION(object->memory, object->size);
    for (size_t at = 0; at < object->size; at++)
        if ((unsigned char)object->memory[at] != PATTERN)
            sim_fail("written after free: byte %zu of an allocation of %zu", at, object->size);
}

bool sim_heap_has(const volatile void *word)
{
    return (uintptr_t)word - (uintptr_t)heap < used;
}

void sim_heap_check(const volatile void *word)
{
    const uintptr_t at = (uintptr_t)word - (uintptr_t)heap;
    const unsigned number = owner[at / UNIT];
    const struct object *object = number != 0 ? &objects[number - 1] : NULL;
    if (object != NULL && object->freed)
        sim_fail("use after free: byte %zu of an allocation of %zu",
                 (size_t)((uintptr_t)word - (uintptr_t)object->memory), object->size);
}

/* --- allocating ------------------------------------------------------------------------------- */

/* What was freed last, if it has the size. */
static struct object *use_again(size_t size)
{
    for (unsigned i = count; sim.world.reuse && i-- > 0;) {
        if (objects[i].freed && objects[i].size == size) {
            lift(&objects[i]);
            return &objects[i];
        }
    }
    return NULL;
}

static struct object *use_fresh(size_t size)
{
    if (count == OBJECTS_MAX || HEAP_SIZE - used < rounded(size))
        sim_fail("a schedule that allocates more than %u objects or %zu bytes", OBJECTS_MAX,
                 HEAP_SIZE);
    struct object *object = &objects[count++];
    object->memory = heap + used;
    object->size = size;
    for (size_t i = 0; i < rounded(size) / UNIT; i++)
        owner[used / UNIT + i] = (uint16_t)count;
    used += rounded(size);
    return object;
}

void *thi_alloc(size_t size)
{
    if (thi_fault(THI_FAULT_ALLOC))
        return NULL;
    struct object *object = use_again(size);
    if (object == NULL)
        object = use_fresh(size);
    object->freed = false;
    memset(object->memory, 0, size);
    return object->memory;
}

void thi_free(void *memory, size_t size)
{
    if (memory == NULL)
        return;
    const unsigned number =
        sim_heap_has(memory) ? owner[((char *)memory - heap) / (ptrdiff_t)UNIT] : 0;
    struct object *object = number != 0 ? &objects[number - 1] : NULL;
    if (object == NULL || object->memory != memory)
        sim_fail("freed, but never allocated: %p", memory);
    if (object->freed)
        sim_fail("freed twice: an allocation of %zu", object->size);
    if (object->size != size)
        sim_fail("freed as %zu bytes: an allocation of %zu", size, object->size);
    object->freed = true;
    poison(object);
}

/* All tasks have ended. */
void sim_heap_end(void)
{
    for (unsigned i = 0; i < count; i++) {
        if (!objects[i].freed)
            sim_fail("leaked: allocation %u of the schedule, %zu bytes", i, objects[i].size);
        lift(&objects[i]);
    }
    memset(&owner[begun / UNIT], 0, (used - begun) / UNIT * sizeof *owner);
    used = 0;
    count = 0;
}
