#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

/*
 * What fuzz programs share. A program turns bytes into calls and says FUZZ_CHECK of what must be true;
 * where the bytes come from is libFuzzer's business, or fuzz_driver.c's.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Bytes to be used up; after the last there are zeros. */
struct bytes {
    const uint8_t *next;
    size_t left;
};

static inline uint8_t bytes_take(struct bytes *b)
{
    if (b->left == 0)
        return 0;
    b->left--;
    return *b->next++;
}

static inline uint32_t bytes_below(struct bytes *b, uint32_t n)
{
    return bytes_take(b) % n;
}

#define FUZZ_CHECK(what) ((what) ? (void)0 : fuzz_fail(__FILE__, __LINE__, #what))

static inline void fuzz_fail(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: not true: %s\n", file, line, what);
    abort();
}

#endif /* TESTS_FUZZ_H */
