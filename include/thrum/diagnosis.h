#ifndef THRUM_DIAGNOSIS_H
#define THRUM_DIAGNOSIS_H

#include <stdio.h>

#include <thrum/base.h>

THRUM_BEGIN_DECLS

/**
 * @file
 * What is going on: who waits on what, who waits for whom in a circle, which version this is, and
 * where memory comes from.
 *
 *     kill -USR1 ... -> a thread of the program calls thrum_dump_waiters(stderr);
 *
 * Context    Any strand, not from signal handlers. The reports take a moment's picture: a strand
 *            that goes to sleep or wakes while the picture is taken may be in it or not. They write to
 *            the stream under none of the library's locks.
 */

/** Writes one line for every strand that waits: its name, on what, since when, and, for locks, who
 *  holds it. In every build. NULL does nothing. */
THRUM_API void thrum_dump_waiters(FILE *out);

/** Finds circles of strands that wait for locks the next one holds, and writes each with the names
 *  of the strands and the locks. A library built with THRUM_CHECKED adds where each lock was taken,
 *  sees the readers of read-write locks too, and reports locks that were ever taken in opposite
 *  orders even when that did not deadlock. (It knows locks by their addresses: destroy or init one
 *  before its memory becomes another, or that one is taken for it.) `out` may be NULL.
 *  @return how many circles there are at this moment (inversions are not counted). */
THRUM_API size_t thrum_deadlock_report(FILE *out);

/** The meaning of an error code in thrum, in a few words; never NULL, never to be freed. */
THRUM_API const char *thrum_strerror(int err);

/** The version of the library in use, "major.minor.patch". */
THRUM_API const char *thrum_version(void);

/** The version of the headers; that of the library is what thrum_version returns. */
#define THRUM_VERSION_MAJOR 0
/** See THRUM_VERSION_MAJOR. */
#define THRUM_VERSION_MINOR 1
/** See THRUM_VERSION_MAJOR. */
#define THRUM_VERSION_PATCH 0

/** Where the library's memory comes from. Both functions may be called from any thread, and must
 *  not call the library. */
typedef struct thrum_allocator {
    size_t size; /**< sizeof(thrum_allocator_t) */
    /** Memory of that size and alignment; NULL: there is none. */
    void *(*allocate)(size_t size, size_t alignment, void *ctx);
    /** Takes it back, with the size and the alignment that it was asked for with. */
    void (*release)(void *memory, size_t size, size_t alignment, void *ctx);
    void *ctx; /**< handed to both */
} thrum_allocator_t;

/** Starts an allocator that carries its own size. */
#define THRUM_ALLOCATOR_INIT                                                                       \
    {                                                                                              \
        sizeof(thrum_allocator_t), NULL, NULL, NULL                                                \
    }

/** Makes the library take its memory from `allocator`, which is copied. Without it: jemalloc where
 *  the process has it, else the C library.
 *  @return 0, EBUSY (the library has allocated already, or it was set before), or EINVAL (NULL, a
 *          NULL function, a size it does not know). */
THRUM_API int thrum_set_allocator(const thrum_allocator_t *allocator);

THRUM_END_DECLS
#endif /* THRUM_DIAGNOSIS_H */
