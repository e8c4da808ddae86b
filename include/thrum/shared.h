#ifndef THRUM_SHARED_H
#define THRUM_SHARED_H

#include <thrum/base.h>
#include <thrum/time.h>

THRUM_BEGIN_DECLS

/**
 * @file
 * Memory that several processes share: an arena that they allocate from, with names for what they have to find.
 *
 *     thrum_shared_t *arena = NULL;
 *     struct totals *totals = NULL;
 *     int err = thrum_shared_create(&arena, NULL);
 *     if (err == 0)
 *         err = thrum_shared_alloc(arena, sizeof *totals, (void **)&totals);
 *     if (err == 0 && fork() == 0) {
 *         atomic_fetch_add(&totals->done, 1);     // the parent sees it
 *         _exit(0);
 *     }
 *
 * Sharing    A child of fork has the arena at the same place. Other programs open it by a descriptor that
 *            was passed to them, or by its name; they have it at another address, so what is stored in it are
 *            offsets, no pointers.
 * Growth     Address space for `max_size` is reserved at once, in each process, and memory is added as it is
 *            needed: nothing moves, and all see it. It is taken from the system before it is handed out. Where
 *            that fails, ENOMEM; nobody is ever killed at the touch of memory that was allocated.
 * Deaths     A process may be killed at any instruction: the arena stays whole, and what it was just allocating
 *            or giving back is free again. What it had allocated stays, until somebody frees it.
 * Removal    The memory is gone when nobody has it open or mapped any more, however those ended. There is
 *            nothing to unlink, and nothing in any file system.
 * Ordering   None: use the locks of thrum/shared_lock.h, or atomics, as between threads.
 * Context    Any strand of any of the processes. Allocating may wait for another process that is doing just
 *            that; while that one is stopped, it waits.
 * Lifetime   A handle is of its process. It has to outlive every use of its memory in that process.
 * Fork       The child's copy of a handle works, and is the child's to destroy.
 * Trust      Whoever has the arena open may write all of it, the bookkeeping included: share it with programs
 *            of the same user that mean well. They must see each other in one process-id namespace.
 */

/** An arena, as one process has it open. */
typedef struct thrum_shared thrum_shared_t;

/** How an arena is to be. Start from THRUM_SHARED_CONFIG_INIT. */
typedef struct thrum_shared_config {
    size_t config_size; /**< set by THRUM_SHARED_CONFIG_INIT; 0: this first version */

    /** By which programs of the same user may open it, 1 to THRUM_SHARED_NAME_MAX bytes, no '/'. NULL: none. */
    const char *name;

    size_t size; /**< bytes to have ready from the beginning; more comes with use. 0: a few pages */
    size_t
        max_size; /**< most that it can ever have, bookkeeping included; 0: THRUM_SHARED_MAX_SIZE */
} thrum_shared_config_t;

/** The defaults. */
#define THRUM_SHARED_CONFIG_INIT                                                                   \
    {                                                                                              \
        sizeof(thrum_shared_config_t), NULL, 0, 0                                                  \
    }

/** The limit of an arena for which none was given: 1 GiB, of address space. */
#define THRUM_SHARED_MAX_SIZE ((size_t)1 << 30)

/** The longest name, of an arena or of something in it, in bytes. */
#define THRUM_SHARED_NAME_MAX 63

/** What allocated memory is aligned to: no two blocks have a cache line in common. */
#define THRUM_SHARED_ALIGNMENT 64

/** Makes an arena; NULL for the defaults. With a name it may wait for another process that is just making one of that
 *  name; while that one is stopped, it waits.
 *  @return 0, EINVAL (NULL, a config_size that is not known, a name that is none, size above max_size or that too
 *          small), EEXIST (some process has one of that name open), ENOMEM, EMFILE, ENFILE, or ENOSYS (not on this
 *          system). */
THRUM_API int thrum_shared_create(thrum_shared_t **arena, const thrum_shared_config_t *config);

/** Opens the arena of that name, of some process of the same user.
 *  @return 0, ENOENT (there is none), or as thrum_shared_create. */
THRUM_API int thrum_shared_open(thrum_shared_t **arena, const char *name);

/** Opens the arena that `fd` is a descriptor of: one that was inherited, or came through a socket. `fd` stays
 *  the caller's. @return 0, EINVAL (NULL; no arena), ENOMEM, EMFILE, or ENFILE. */
THRUM_API int thrum_shared_open_fd(thrum_shared_t **arena, int fd);

/** Gives up a handle: the memory is no longer there in this process. Others keep it. NULL does nothing. */
THRUM_API void thrum_shared_destroy(thrum_shared_t *arena);

/** Allocates `size` bytes, zeroed. @return 0, EINVAL (NULL, size 0), or ENOMEM (the arena's limit, or the
 *  system's; nothing changed). */
THRUM_API int thrum_shared_alloc(thrum_shared_t *arena, size_t size, void **memory);

/** Gives memory back, from any process. NULL does nothing.
 *  @return 0, or EINVAL (`memory` is not what an alloc of this arena gave, or was given back already; only
 *          some of these mistakes can be seen). */
THRUM_API int thrum_shared_free(thrum_shared_t *arena, void *memory);

/** Where `memory`, anywhere in the arena, is in all processes; 0 for NULL and for what is not in the arena. */
THRUM_API uint64_t thrum_shared_offset(const thrum_shared_t *arena, const void *memory);

/** What is at that offset, in this process; NULL for 0 and for what is beyond the arena's limit. */
THRUM_API void *thrum_shared_pointer(const thrum_shared_t *arena, uint64_t offset);

/** A descriptor to be passed to other programs. It is the handle's: not to be closed. It closes on exec; let it
 *  be inherited by dup2, or by clearing that flag in the child. */
THRUM_API int thrum_shared_fd(const thrum_shared_t *arena);

/** Bytes taken from the system so far, with all bookkeeping. */
THRUM_API size_t thrum_shared_size(const thrum_shared_t *arena);
/** Bytes of those that are allocated, with all bookkeeping. */
THRUM_API size_t thrum_shared_used(const thrum_shared_t *arena);

/** The most bytes that it can ever have. */
THRUM_API size_t thrum_shared_max_size(const thrum_shared_t *arena);

/** Gives `memory`, anywhere in the arena, a name by which thrum_shared_find finds it, in place of whatever had
 *  that name; NULL takes the name away. @return 0, EINVAL (NULL, a name that is none, memory that is not the
 *  arena's), ENOENT (a name to be taken away that nothing has), or ENOMEM. */
THRUM_API int thrum_shared_set_name(thrum_shared_t *arena, const char *name, void *memory);

/** What has that name, as an address of this process. @return 0, ENOENT, or EINVAL (NULL). */
THRUM_API int thrum_shared_find(thrum_shared_t *arena, const char *name, void **memory);

THRUM_END_DECLS
#endif /* THRUM_SHARED_H */
