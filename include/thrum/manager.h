#ifndef THRUM_MANAGER_H
#define THRUM_MANAGER_H

#include <thrum/base.h>
#include <thrum/shared.h>
#include <thrum/time.h>

THRUM_BEGIN_DECLS

/**
 * @file
 * What a manager's dict and list are: a map and a list in an arena, used by several processes as if they were
 * their own, with nobody in between.
 *
 *     err = thrum_shared_map_create(&counts, arena);
 *     ...                                                       // fork
 *     err = thrum_shared_map_add(counts, word, strlen(word), 1, NULL);   // atomic, as every call is
 *
 *     err = thrum_shared_map_lock(accounts);                    // several steps that nobody sees half of
 *     if (err == 0) {
 *         err = move_money(accounts, from, to);                 // ordinary calls
 *         thrum_shared_map_unlock(accounts);
 *     }
 *
 * Keys and values are byte strings, copied in and out; a value takes a block of the arena. What a call copies out
 * goes to `buf`, which has room for `capacity` bytes, and its size to `*size` (may be NULL). When it is larger
 * the call says EMSGSIZE and how large it is in `*size`, and has changed nothing.
 *
 * Values and arrays that need no more than a processor's atomics, or a thrum_shared_mutex_t beside them, lie in
 * the arena as they are: take them from thrum_shared_alloc.
 *
 * Deaths   A process may be killed at any instruction of any call: the map or list is as if the call had been
 *          made, or had not, and nobody is ever told. If it is killed between lock and unlock, the calls that it
 *          made stand, and those that it did not come to do not: the lock goes to the next. Who is only stopped
 *          is waited for.
 * Atomic   Each call is one step for all others. Several become one step between lock and unlock.
 * Ordering A change is a release, and a call that sees it an acquire.
 * Errors   Of every call: EINVAL (NULL, or no bytes where there are to be some), ENOMEM (the arena is full; or the
 *          caller cannot wait: a thread that could not be registered, a coroutine for which no thread could be
 *          started to sleep), EDEADLK (a coroutine of the calling thread has locked it, which cannot go on while
 *          that waits). Nothing was changed then.
 * Cost     A lock and its unlock, and a copy. Map: a hash table, at most three quarters full. List: an array of
 *          offsets; the end is reached at once, in the middle the offsets are copied.
 * Context  Any strand of any process that has the arena. The lock belongs to the strand and is recursive. Calls wait
 *          for the lock, but for trylock; none is a cancellation point. Not for signal handlers.
 * Lifetime The handle belongs to a process and is copied by fork; what it stands for belongs to the arena. Other
 *          processes open a handle by the offset. destroy needs that no other call is under way, in any process.
 * Fork     Parent and child share it. A lock that the parent holds is not the child's.
 */

/* --- map ------------------------------------------------------------------------------------------ */

/** A process's handle of a map. */
typedef struct thrum_shared_map thrum_shared_map_t;

/** Makes an empty map in the arena, and a handle of it. @return 0, EINVAL, ENOMEM. */
THRUM_API int thrum_shared_map_create(thrum_shared_map_t **map, thrum_shared_t *arena);

/** Makes a handle of the map that lies at `offset`. @return 0, EINVAL (also: no map lies there), ENOMEM. */
THRUM_API int thrum_shared_map_open(thrum_shared_map_t **map, thrum_shared_t *arena,
                                    uint64_t offset);

/** Where in its arena the map lies. */
THRUM_API uint64_t thrum_shared_map_offset(const thrum_shared_map_t *map);

/** Gives the handle up; the map stays. NULL: nothing. */
THRUM_API void thrum_shared_map_release(thrum_shared_map_t *map);

/** Gives the map up, with what is in it, and the handle. NULL: nothing. */
THRUM_API void thrum_shared_map_destroy(thrum_shared_map_t *map);

/** Stores a value under a key, in place of one that may be there. @return 0, EINVAL, ENOMEM. */
THRUM_API int thrum_shared_map_set(thrum_shared_map_t *map, const void *key, size_t key_size,
                                   const void *value, size_t value_size);

/** Copies the value of a key. @return 0, ENOENT (no such key), EMSGSIZE, EINVAL. */
THRUM_API THRUM_NODISCARD int thrum_shared_map_get(thrum_shared_map_t *map, const void *key,
                                                   size_t key_size, void *buf, size_t capacity,
                                                   size_t *size);

/** Copies the value of a key, which is `value` from now on if there was none.
 *  @return 0, EMSGSIZE, EINVAL, ENOMEM. */
THRUM_API THRUM_NODISCARD int thrum_shared_map_set_default(thrum_shared_map_t *map, const void *key,
                                                           size_t key_size, const void *value,
                                                           size_t value_size, void *buf,
                                                           size_t capacity, size_t *size);

/** Removes a key. @return 0, ENOENT, EINVAL. */
THRUM_API int thrum_shared_map_remove(thrum_shared_map_t *map, const void *key, size_t key_size);

/** Copies the value of a key, and removes it. @return 0, ENOENT, EMSGSIZE, EINVAL. */
THRUM_API THRUM_NODISCARD int thrum_shared_map_pop(thrum_shared_map_t *map, const void *key,
                                                   size_t key_size, void *buf, size_t capacity,
                                                   size_t *size);

/** Stores a value under a key whose value is `expected`; NULL: that is not there.
 *  @return 0, EAGAIN (it has another value, or none, or one), EINVAL, ENOMEM. */
THRUM_API int thrum_shared_map_compare_and_set(thrum_shared_map_t *map, const void *key,
                                               size_t key_size, const void *expected,
                                               size_t expected_size, const void *value,
                                               size_t value_size);

/** Adds to a value that is an int64_t (0 where there is none), and stores the sum in `*sum` (may be NULL).
 *  @return 0, EINVAL (also: the value has another size), EOVERFLOW (nothing was changed), ENOMEM. */
THRUM_API int thrum_shared_map_add(thrum_shared_map_t *map, const void *key, size_t key_size,
                                   int64_t delta, int64_t *sum);

/** One after the other: `*cursor` is 0 at first, and means nothing else to the caller. Keys that are added or
 *  removed meanwhile may or may not come; when the map grows meanwhile, keys may come twice or not at all. Whoever
 *  wants to see it at one moment holds the lock. `key_size` and `size` may be NULL.
 *  @return 0, ENODATA (there are no more), EMSGSIZE (key or value; the cursor stays), EINVAL. */
THRUM_API THRUM_NODISCARD int thrum_shared_map_next(thrum_shared_map_t *map, uint64_t *cursor,
                                                    void *key, size_t key_capacity,
                                                    size_t *key_size, void *buf, size_t capacity,
                                                    size_t *size);

/** How many keys there are; 0 also when the lock could not be taken (Errors). */
THRUM_API size_t thrum_shared_map_size(thrum_shared_map_t *map);

/** Removes all keys, in one step. @return 0, EINVAL, ENOMEM. */
THRUM_API int thrum_shared_map_clear(thrum_shared_map_t *map);

/** Locks the map for all other strands, of every process, until it is unlocked as often.
 *  @return 0, EINVAL, EDEADLK, EOVERFLOW (of the depth), ENOMEM. */
THRUM_API THRUM_NODISCARD int thrum_shared_map_lock(thrum_shared_map_t *map);

/** @return 0, EBUSY, or as lock. */
THRUM_API THRUM_NODISCARD int thrum_shared_map_trylock(thrum_shared_map_t *map);

/** @return 0, ETIMEDOUT, or as lock. */
THRUM_API THRUM_NODISCARD int thrum_shared_map_lock_until(thrum_shared_map_t *map,
                                                          thrum_time_t deadline);

/** @return 0, EPERM (the caller has not locked it), EINVAL. */
THRUM_API int thrum_shared_map_unlock(thrum_shared_map_t *map);

/* --- list ----------------------------------------------------------------------------------------- */

/** A process's handle of a list. Places are counted from 0; -1 is the last, -2 the one before it, and so on. */
typedef struct thrum_shared_list thrum_shared_list_t;

/** See thrum_shared_map_create. */
THRUM_API int thrum_shared_list_create(thrum_shared_list_t **list, thrum_shared_t *arena);
/** See thrum_shared_map_open. */
THRUM_API int thrum_shared_list_open(thrum_shared_list_t **list, thrum_shared_t *arena,
                                     uint64_t offset);
/** See thrum_shared_map_offset. */
THRUM_API uint64_t thrum_shared_list_offset(const thrum_shared_list_t *list);
/** See thrum_shared_map_release. */
THRUM_API void thrum_shared_list_release(thrum_shared_list_t *list);
/** See thrum_shared_map_destroy. */
THRUM_API void thrum_shared_list_destroy(thrum_shared_list_t *list);

/** Adds a value at the end. @return 0, EINVAL, ENOMEM. */
THRUM_API int thrum_shared_list_append(thrum_shared_list_t *list, const void *value, size_t size);

/** Puts a value in front of that of a place; the place after the last is one, too.
 *  @return 0, ENOENT (no such place), EINVAL, ENOMEM. */
THRUM_API int thrum_shared_list_insert(thrum_shared_list_t *list, int64_t index, const void *value,
                                       size_t size);

/** Stores a value in place of another. @return 0, ENOENT, EINVAL, ENOMEM. */
THRUM_API int thrum_shared_list_set(thrum_shared_list_t *list, int64_t index, const void *value,
                                    size_t size);

/** Copies a value. @return 0, ENOENT, EMSGSIZE, EINVAL. */
THRUM_API THRUM_NODISCARD int thrum_shared_list_get(thrum_shared_list_t *list, int64_t index,
                                                    void *buf, size_t capacity, size_t *size);

/** Copies a value, and takes it out. @return 0, ENOENT, EMSGSIZE, EINVAL. */
THRUM_API THRUM_NODISCARD int thrum_shared_list_pop(thrum_shared_list_t *list, int64_t index,
                                                    void *buf, size_t capacity, size_t *size);

/** Takes a value out. @return 0, ENOENT, EINVAL. */
THRUM_API int thrum_shared_list_remove(thrum_shared_list_t *list, int64_t index);

/** Stores a value in a place whose value is `expected`. @return 0, EAGAIN, ENOENT, EINVAL, ENOMEM. */
THRUM_API int thrum_shared_list_compare_and_set(thrum_shared_list_t *list, int64_t index,
                                                const void *expected, size_t expected_size,
                                                const void *value, size_t size);

/** Adds to a value that is an int64_t, and stores the sum in `*sum` (may be NULL).
 *  @return 0, ENOENT, EINVAL (also: the value has another size), EOVERFLOW. */
THRUM_API int thrum_shared_list_add(thrum_shared_list_t *list, int64_t index, int64_t delta,
                                    int64_t *sum);

/** How many values there are; 0 also when the lock could not be taken. */
THRUM_API size_t thrum_shared_list_size(thrum_shared_list_t *list);

/** Takes all values out, in one step. @return 0, EINVAL, ENOMEM. */
THRUM_API int thrum_shared_list_clear(thrum_shared_list_t *list);

/** See thrum_shared_map_lock. */
THRUM_API THRUM_NODISCARD int thrum_shared_list_lock(thrum_shared_list_t *list);
/** See thrum_shared_map_trylock. */
THRUM_API THRUM_NODISCARD int thrum_shared_list_trylock(thrum_shared_list_t *list);
/** See thrum_shared_map_lock_until. */
THRUM_API THRUM_NODISCARD int thrum_shared_list_lock_until(thrum_shared_list_t *list,
                                                           thrum_time_t deadline);
/** See thrum_shared_map_unlock. */
THRUM_API int thrum_shared_list_unlock(thrum_shared_list_t *list);

THRUM_END_DECLS
#endif /* THRUM_MANAGER_H */
