/* Values by name, for any number of threads. Short ones. */
#ifndef THRUM_BENCH_STORE_H
#define THRUM_BENCH_STORE_H

#include <stdbool.h>
#include <stddef.h>

#define STORE_KEY 64
#define STORE_VALUE 512

/* false: too large, or no memory */
bool store_set(const char *key, size_t key_size, const char *value, size_t size);

/* false: there is none; `value` has room for STORE_VALUE bytes */
bool store_get(const char *key, size_t key_size, char *value, size_t *size);

#endif /* THRUM_BENCH_STORE_H */
