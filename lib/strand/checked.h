#ifndef THI_CHECKED_H
#define THI_CHECKED_H

/*
 * What checked builds are told, a part of strand.h.
 */
#include "strand/strand.h"

/* ================================================================================================
 * Checked builds: what locks a strand holds, and what that proves. Empty otherwise.
 *
 *     thi_check_wants_until(lock, site, caller, deadline);   before it may wait; try-forms do not
 *     err = acquire(lock, deadline);
 *     if (err == 0)
 *         thi_check_holds(lock, site, caller, shared);       try-forms as well
 *     else
 *         thi_check_forgoes();                               every failure after a wants
 *     ...
 *     thi_check_gives(lock);                                 before it is unlocked, by whoever does
 *
 * A recursive lock tells of its outermost lock and unlock only. A condition gives its lock and wants
 * it back before it sleeps, and holds it when it returns. `caller` is THI_CALLER of the public
 * function. Locks of one kind are told from others by the `owner` of their sites.
 */
#ifdef THRUM_CHECKED
void thi_check_wants_until(const void *lock, const thi_site_t *site, const void *caller,
                           thrum_time_t deadline);
void thi_check_forgoes(void);
void thi_check_holds(const void *lock, const thi_site_t *site, const void *caller, bool shared);
void thi_check_gives(const void *lock);

/* The object begins its life: what was known of its address is forgotten. */
void thi_check_inits(const void *object);

/* The object ends its life: panics when it is `busy` or strands wait on its address. */
void thi_check_destroys(const void *object, const thi_site_t *site, bool busy);

/* Whether the calling strand, which wants the lock, would wait for itself: through strands that wait
 * without deadline for locks of the same site, each held by the next. For kinds that nobody but the
 * holder can unlock; asked after every wants and before waiting, it lets no circle of them form. */
bool thi_check_closes_circle(const void *lock);

void thi_check_before_fork(void);
void thi_check_after_fork(bool child);
#define THI_CALLER __builtin_return_address(0)
#else
static inline void thi_check_wants_until(const void *lock, const thi_site_t *site,
                                         const void *caller, thrum_time_t deadline)
{
    (void)lock, (void)site, (void)caller, (void)deadline;
}
static inline void thi_check_forgoes(void)
{
}
static inline void thi_check_inits(const void *object)
{
    (void)object;
}
static inline void thi_check_holds(const void *lock, const thi_site_t *site, const void *caller,
                                   bool shared)
{
    (void)lock, (void)site, (void)caller, (void)shared;
}
static inline void thi_check_gives(const void *lock)
{
    (void)lock;
}
static inline void thi_check_destroys(const void *object, const thi_site_t *site, bool busy)
{
    (void)object, (void)site, (void)busy;
}
static inline bool thi_check_closes_circle(const void *lock)
{
    (void)lock;
    return false;
}
static inline void thi_check_before_fork(void)
{
}
static inline void thi_check_after_fork(bool child)
{
    (void)child;
}
#define THI_CALLER NULL
#endif

static inline void thi_check_wants(const void *lock, const thi_site_t *site, const void *caller)
{
    thi_check_wants_until(lock, site, caller, THRUM_FOREVER);
}

/* Whether this is a checked build. */
static inline bool thi_checked(void)
{
#ifdef THRUM_CHECKED
    return true;
#else
    return false;
#endif
}

#endif /* THI_CHECKED_H */
