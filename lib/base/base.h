#ifndef THI_BASE_H
#define THI_BASE_H

/*
 * The door of lib/base: what every other layer stands on and what needs no operating system.
 */

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomics.h"

#define THI_LIKELY(x) __builtin_expect(!!(x), 1)
#define THI_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define THI_COLD __attribute__((cold, noinline))

/* Kept out of a fast path, so that that needs no stack frame: every store before a locked instruction
 * has to drain first. */
#define THI_NOINLINE __attribute__((noinline))

/* For a fast path that is made once for each size of something: without, the compiler might share one. */
#define THI_INLINE static inline __attribute__((always_inline))
#define THI_CACHE_LINE 64

#define THI_CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Whether a program's config is of a version that is known: 0 says the first, and there is one. */
#define THI_IS_CONFIG(config)                                                                      \
    ((config)->config_size == 0 || (config)->config_size == sizeof *(config))

/* Writes "thrum: <message>" to standard error and aborts. For what the library cannot go on after:
 * a broken invariant of its own, or, in checked builds, misuse that is undefined otherwise. */
THI_COLD _Noreturn void thi_panic(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A fault that the simulation can plant, to show that its tests would find it: constant false in every
 * other build. */
#ifdef THRUM_SIM
bool thi_sim_planted(const char *fault);
uint64_t thi_sim_draw(void); /* a number by the schedule, where others would throw dice */
#define THI_PLANT(fault) thi_sim_planted(fault)
#else
#define THI_PLANT(fault) false
#endif

#endif /* THI_BASE_H */
