/*
 * The checked build's bookkeeping: which strand holds which locks, and which it wants.
 *
 *   thi_held    of a strand: its holds and its want. Made when it first uses a lock, kept with the
 *               strand's record; a later life of the record is told by its id and begins anew.
 *   thi_known   of a lock, found by address: its holds, and its place in the order of locks. Exists
 *               as long as it says something.
 *   thi_hold    links the two.
 *
 * In which direction it may be wrong
 *   holds   told after a lock was taken and before it is given up: a strand may hold a lock that is
 *           not in its list. A lock in the list is held, with two exceptions: memory that was freed
 *           while locked (until the next lock at that address is taken, initialised or destroyed),
 *           and a mutex that another strand unlocked before the taker had said that it has it.
 *   wants   told before a strand waits and after it has the lock or forgoes it: a strand may be said
 *           to want what it has just got, and then nobody else is said to hold it.
 *   order   remembered by address. Locks that are destroyed, initialised, or of another kind than the
 *           one before at their address are forgotten; a lock in memory that was freed and set up
 *           anew by a static initialiser inherits the order of the lock that was there.
 *
 * So a circle through wants and holds, seen in one moment under the check lock, is a real one, and
 * the strand whose want comes last sees it.
 *
 * The memory comes from the system's pages and is used again but never given back. When there is
 * none, the bookkeeping stops for good, says so once, and locks go on working.
 */
#include "strand/check.h"

#ifdef THRUM_CHECKED

static thi_lock_t check_lock;
static uint32_t forking; /* the strand that holds the check lock across its fork; 0: none */
static bool told;

static void enter(void)
{
    /* A program's own fork handlers may run between ours, and use locks. Relaxed: only the strand
     * itself finds its id there. */
    if (thi_current.id == 0 || thi_load_relaxed(&forking) != thi_current.id)
        thi_lock(&check_lock, THI_RANK_CHECK);
}

/* No call of the library is a cancellation point of pthreads, as writing is. */
static void tell_end(void)
{
    const int cancel = thi_cancel_off();
    fputs("thrum: no memory to keep track of locks; checks of locks end here\n", stderr);
    thi_cancel_restore(cancel);
}

static void leave(void)
{
    if (thi_current.id != 0 && thi_load_relaxed(&forking) == thi_current.id)
        return;
    const bool tell = thi_known_stopped() && !told;
    told |= tell;
    thi_unlock(&check_lock, THI_RANK_CHECK);
    if (tell)
        tell_end();
}

bool thi_check_stopped(void)
{
    enter();
    const bool stopped = thi_known_stopped();
    leave();
    return stopped;
}

/* ------------------------------------------------------------------------------------------------
 * Strands
 */

/* Locks that an earlier life of the record left locked are its locks no more. */
static void begin_life(thi_held_t *held, uint32_t id)
{
    while (held->holds != NULL) {
        thi_hold_t *hold = thi_hold_of_strand(held->holds);
        thi_link_out(&hold->of_strand);
        hold->held = NULL;
    }
    held->want = (thi_want_t){0};
    held->id = id;
}

/* The strand's bookkeeping; NULL when it is not kept. */
static thi_held_t *held_by(thi_strand_t *strand)
{
    if (strand->held == NULL)
        strand->held = thi_known_alloc();
    if (strand->held != NULL && strand->held->id != strand->id)
        begin_life(strand->held, strand->id);
    return strand->held;
}

static bool holds(const thi_held_t *held, const void *lock)
{
    for (thi_link_t *link = held->holds; link != NULL; link = link->next) {
        if (thi_hold_of_strand(link)->known->lock == lock)
            return true;
    }
    return false;
}

/* What is wanted comes after all that is held. */
static void remember_order(const thi_held_t *held)
{
    const thi_want_t *want = &held->want;
    if (held->holds == NULL || holds(held, want->lock))
        return;
    thi_known_t *second = thi_known_make(want->lock, want->site);
    for (thi_link_t *link = held->holds; link != NULL && second != NULL; link = link->next) {
        const thi_hold_t *hold = thi_hold_of_strand(link);
        thi_order_add(hold->known, second,
                      &(thi_order_t){.first = hold->known->lock,
                                     .first_site = hold->site,
                                     .taken = hold->caller,
                                     .second = want->lock,
                                     .second_site = want->site,
                                     .wanted = want->caller});
    }
}

void thi_check_wants_until(const void *lock, const thi_site_t *site, const void *caller,
                           thrum_time_t deadline)
{
    thi_strand_t *self = thi_self();
    if (self == NULL)
        return;
    enter();
    thi_held_t *held = held_by(self);
    if (held != NULL) {
        held->want = (thi_want_t){lock, site, caller, deadline};
        remember_order(held);
    }
    leave();
}

void thi_check_forgoes(void)
{
    thi_strand_t *self = thi_current.strand;
    if (self == NULL)
        return;
    enter();
    thi_held_t *held = held_by(self);
    if (held != NULL)
        held->want = (thi_want_t){0};
    leave();
}

static void add_hold(thi_held_t *held, thi_known_t *known, const thi_hold_t *like)
{
    thi_known_drop_stale(known, like->shared);
    thi_hold_t *hold = thi_known_alloc();
    if (hold == NULL)
        return;
    *hold = *like;
    hold->known = known;
    hold->held = held;
    hold->id = held->id;
    thi_link_in(&held->holds, &hold->of_strand);
    thi_link_in(&known->holds, &hold->of_lock);
}

void thi_check_holds(const void *lock, const thi_site_t *site, const void *caller, bool shared)
{
    thi_strand_t *self = thi_self();
    if (self == NULL)
        return;
    enter();
    thi_held_t *held = held_by(self);
    thi_known_t *known = held != NULL ? thi_known_make(lock, site) : NULL;
    if (known != NULL) {
        held->want = (thi_want_t){0};
        add_hold(held, known, &(thi_hold_t){.site = site, .caller = caller, .shared = shared});
    }
    leave();
}

/* Any strand may unlock a mutex, and readers cannot be told apart: the caller's own hold if there is
 * one, else the newest. */
static thi_hold_t *hold_to_give(const thi_known_t *known)
{
    for (thi_link_t *link = known->holds; link != NULL; link = link->next) {
        if (thi_hold_of_lock(link)->id == thi_current.id)
            return thi_hold_of_lock(link);
    }
    return known->holds != NULL ? thi_hold_of_lock(known->holds) : NULL;
}

void thi_check_gives(const void *lock)
{
    enter();
    thi_known_t *known = thi_known_find(lock);
    thi_hold_t *hold = known != NULL ? hold_to_give(known) : NULL;
    if (hold != NULL) {
        thi_known_drop_hold(hold);
        thi_known_tidy(known);
    }
    leave();
}

/* ------------------------------------------------------------------------------------------------
 * The life of an object
 */

void thi_check_inits(const void *object)
{
    enter();
    thi_known_t *known = thi_known_find(object);
    if (known != NULL)
        thi_known_forget(known);
    leave();
}

THI_COLD static _Noreturn void panic_in_use(const void *object, const thi_site_t *site,
                                            unsigned waiting)
{
    char what[2 * THI_NAME_SIZE];
    char self[THI_NAME_SIZE];
    char owner[THI_NAME_SIZE] = "nobody known";
    const uint32_t owner_id = site->owner != NULL ? site->owner(object) : 0;
    thi_describe_object(site, object, what, sizeof what);
    thi_strand_describe(thi_self_id(), self, sizeof self);
    if (owner_id != 0)
        thi_strand_describe(owner_id, owner, sizeof owner);
    thi_panic("%s is destroyed while it is in use, by %s (held by %s, waiting strands: %u); "
              "what is destroyed must be free, and nobody may wait for it",
              what, self, owner, waiting);
}

void thi_check_destroys(const void *object, const thi_site_t *site, bool busy)
{
    const unsigned waiting = thi_park_count(object);
    if (busy || waiting != 0)
        panic_in_use(object, site, waiting);
    thi_check_inits(object);
}

/* ------------------------------------------------------------------------------------------------
 * Circles
 */

/* Who holds the lock for itself alone, as a lock of that site; NULL: nobody that is known. */
static const thi_held_t *only_holder(const void *lock, const thi_site_t *site)
{
    const thi_known_t *known = thi_known_find(lock);
    if (known == NULL || known->holds == NULL)
        return NULL;
    const thi_hold_t *hold = thi_hold_of_lock(known->holds);
    return hold->site == site && !hold->shared ? hold->held : NULL;
}

/* Each such lock has one holder, and each strand one want, so there is one way to follow. It may lead
 * into a circle that the caller is not part of, hence the bound. */
static bool leads_to(const thi_held_t *self, const void *lock)
{
    const thi_site_t *site = self->want.site;
    for (uint32_t strands = thi_strand_slots(); strands != 0; strands--) {
        const thi_held_t *holder = only_holder(lock, site);
        if (holder == self)
            return true;
        if (holder == NULL || holder->want.lock == NULL || holder->want.deadline != THRUM_FOREVER)
            return false;
        lock = holder->want.lock;
    }
    return false;
}

bool thi_check_closes_circle(const void *lock)
{
    const thi_strand_t *self = thi_current.strand;
    if (self == NULL)
        return false;
    enter();
    thi_held_t *held = self->held;
    const bool closes = held != NULL && held->want.lock == lock && leads_to(held, lock);
    if (closes) /* in the same step: one refusal is enough for a circle */
        held->want = (thi_want_t){0};
    leave();
    return closes;
}

/* ------------------------------------------------------------------------------------------------
 * For the reports
 */

struct claims {
    thi_claim_t *out;
    size_t max;
    size_t count;
};

static void claim(struct claims *claims, const thi_held_t *waiter, const thi_hold_t *hold)
{
    if (claims->count < claims->max)
        claims->out[claims->count] = (thi_claim_t){.waiter = waiter->id,
                                                   .holder = hold->id,
                                                   .lock = waiter->want.lock,
                                                   .site = waiter->want.site,
                                                   .taken = hold->caller,
                                                   .wanted = waiter->want.caller,
                                                   .shared = hold->shared};
    claims->count++;
}

static void collect_claims(thi_strand_t *strand, void *arg)
{
    const thi_held_t *held = strand->held;
    if (held == NULL || held->want.lock == NULL || held->id != thi_load_relaxed(&strand->id))
        return;
    const thi_known_t *known = thi_known_find(held->want.lock);
    for (thi_link_t *link = known != NULL ? known->holds : NULL; link != NULL; link = link->next) {
        const thi_hold_t *hold = thi_hold_of_lock(link);
        /* Those that share it do not wait for one another. */
        if (!hold->shared || hold->site != held->want.site)
            claim(arg, held, hold);
    }
}

size_t thi_check_claims(thi_claim_t *out, size_t max)
{
    struct claims claims = {out, max, 0};
    enter();
    thi_strand_each(collect_claims, &claims);
    leave();
    return claims.count;
}

size_t thi_check_inversions(thi_order_t *out, size_t max)
{
    enter();
    const size_t count = thi_order_inversions(out, max);
    leave();
    return count;
}

/* ------------------------------------------------------------------------------------------------
 * Fork
 */

void thi_check_before_fork(void)
{
    thi_lock(&check_lock, THI_RANK_CHECK);
    thi_store_relaxed(&forking, thi_current.id);
}

static void drop_lost(thi_known_t *known, void *arg)
{
    (void)arg;
    thi_link_t *next = NULL;
    for (thi_link_t *link = known->holds; link != NULL; link = next) {
        next = link->next;
        if (thi_hold_of_lock(link)->id != thi_current.id)
            thi_known_drop_hold(thi_hold_of_lock(link));
    }
    thi_known_tidy(known);
}

void thi_check_after_fork(bool child)
{
    if (child)
        thi_known_each(drop_lost, NULL);
    thi_store_relaxed(&forking, 0u);
    thi_unlock(&check_lock, THI_RANK_CHECK);
}

#else
typedef int thi_no_checks; /* a translation unit may not be empty */
#endif
