#ifndef FAULT_COUNTED_H
#define FAULT_COUNTED_H

/*
 * Bodies of tests that have to give back all the memory they took.
 */

#include <thrum/thrum.h>

#include "support/counted.h"
#include "support/expect.h"

/* A body runs in a thread of its own, whose caches go with it. It returns 0, or the line of what was not
 * as it should be. */
#define NEED(what)                                                                                 \
    do {                                                                                           \
        if (!(what))                                                                               \
            return __LINE__;                                                                       \
    } while (0)

/* Workers end a moment after their pool; the first time something may stay. That it never comes back to what it was is a hang here. */
static inline void run_alone(int (*body)(void *arg), void *arg)
{
    for (int i = 0; i < 3; i++) {
        struct caller c;
        const size_t before = thi_load_relaxed(&bytes_in_use);
        caller_start(&c, body, arg);
        const int line = caller_join(&c);
        for (int kind = 0; kind < THI_FAULT_KINDS; kind++)
            thi_fault_arm((thi_fault_t)kind, 0);
        cr_assert_eq(line, 0, "line %d", line);
        while (i != 0 && thi_load_relaxed(&bytes_in_use) > before)
            sched_yield();
    }
}

#endif /* FAULT_COUNTED_H */
