#ifndef TESTS_COUNTED_H
#define TESTS_COUNTED_H

/*
 * An allocator that counts what the library has taken and not given back.
 */

#include <stdlib.h>
#include <criterion/criterion.h>

#include <thrum/diagnosis.h>

#include "base/base.h"

static size_t bytes_in_use;

static void *count_allocation(size_t size, size_t alignment, void *ctx)
{
    (void)alignment, (void)ctx;
    thi_fetch_add_relaxed(&bytes_in_use, size);
    return malloc(size);
}

static void count_release(void *old, size_t size, size_t alignment, void *ctx)
{
    (void)alignment, (void)ctx;
    thi_fetch_sub_relaxed(&bytes_in_use, size);
    free(old);
}

/* Before anything else of the library is called. */
static inline void count_memory(void)
{
    const thrum_allocator_t counting = {
        .size = sizeof counting, .allocate = count_allocation, .release = count_release};
    cr_assert_eq(thrum_set_allocator(&counting), 0);
}

#endif /* TESTS_COUNTED_H */
