#ifndef THRUM_LOCAL_H
#define THRUM_LOCAL_H

#include <thrum/base.h>

THRUM_BEGIN_DECLS

/**
 * @file
 * Strand locals: a variable with a value of its own in every strand, thread or coroutine.
 *
 *     static thrum_local_t request = THRUM_LOCAL_INIT(free);
 *
 *     thrum_local_set(&request, strdup("GET /"));
 *     printf("%s\n", (char *)thrum_local_get(&request));
 *
 * Lifetime   The destructor is called with each value that is not NULL when its strand ends, in the
 *            strand itself; it may use locals and locks. Values set by destructors are destroyed in
 *            further rounds, four in all. thrum_local_destroy forgets the values that strands still
 *            hold without calling the destructor, as pthread_key_delete does.
 * Context    Any strand. Get is a few loads; set allocates when a strand's values need more room.
 *            At most 4096 variables that have been set somewhere, and not destroyed, can exist.
 * Fork       The child keeps the values of the strand that forked.
 */

/** A strand-local variable. The size is ABI, the meaning of the members is not. */
typedef struct thrum_local {
    THRUM_ALIGNED(8) uint64_t thrum_key;
    void (*thrum_destructor)(void *);
} thrum_local_t;

/** Static initialiser; `destructor` may be NULL. */
#define THRUM_LOCAL_INIT(destructor)                                                               \
    {                                                                                              \
        0, (destructor)                                                                            \
    }

/** Makes `l` a variable that is NULL in every strand. @return 0, or EINVAL (NULL). */
THRUM_API int thrum_local_init(thrum_local_t *l, void (*destructor)(void *));

/** Gives the variable up; see Lifetime. NULL does nothing. */
THRUM_API void thrum_local_destroy(thrum_local_t *l);

/** This strand's value; NULL when it has set none. */
THRUM_API void *thrum_local_get(const thrum_local_t *l);

/** Sets this strand's value; the one before is not destroyed.
 *  @return 0, EINVAL (NULL `l`), or ENOMEM (also: too many variables; nothing changed). */
THRUM_API int thrum_local_set(thrum_local_t *l, void *value);

THRUM_END_DECLS
#endif /* THRUM_LOCAL_H */
