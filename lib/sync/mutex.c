/*
 * Mutex. A state word, and the id of the strand that holds it (for diagnosis, recursive locks and
 * fork; nobody waits by it).
 *
 *   state   LOCKED    somebody holds it; with it goes HOLDER, the mark of the holder's process
 *           PARKED    somebody may be queued in the parking lot. It may be set with nobody there (an
 *                     unlock then looks in vain); it is never clear while somebody sleeps there.
 *           WATCHED   not 0: one waiter, the watcher, is awake and will try again before it sleeps,
 *                     so an unlock need not wake anybody. Set by the watcher itself, or by the
 *                     unlock that wakes it; cleared by the watcher, in the step in which it takes the
 *                     mutex or marks itself PARKED. Tells the process of the watcher (see live()).
 *           HANDOFF   the mutex goes to the watcher or, when there is none, to the first in the
 *                     queue, and to nobody else: barging has gone on for long enough.
 *   owner   id of the holder; 0 when free or not known. Written by the holder only, so a strand
 *           that reads its own id does hold it. For the child of a fork see I5.
 *
 * How it is fast under contention. Taking a mutex that was last held on another processor costs a
 * cache miss for the word and more for the data; one that its last holder takes again costs nothing.
 * So contended, the best is to let one strand go on for a while and then change: one waiter stays
 * awake and looks rarely (its looking costs the holder a miss), and after a slice asks for HANDOFF.
 * Nobody else is awake, and in between no system call is made. A newcomer that finds nobody queued
 * "loiters" like that without a mark on the word; it makes itself the watcher to ask. The idea that one woken waiter is enough is nsync's
 * (Burrows), the bound on barging is WebKit's and Go's.
 *
 * Invariants
 *   I1  A strand sleeps in the queue only after it set PARKED, under the bucket's lock, on a word
 *       that was LOCKED or promised to a watcher. So the unlock that frees the mutex sees PARKED or
 *       WATCHED, and wakes one, or a watcher will look.
 *   I2  At most one watcher: WATCHED is set by a compare-and-swap on a word without it.
 *   I3  An unlock's last touch of the mutex is the change that clears LOCKED: in the slow path it is
 *       made under the bucket's lock, by the settle callback; what follows uses the address only.
 *   I4  A newcomer does not become the watcher while somebody is PARKED: the queue goes first.
 *   I5  A LOCKED word with the mark of another process has not changed since the fork, and neither has the
 *       owner: whoever unlocks it gives it the mark of this process before he takes the signature away.
 */
#include "sync/sync.h"

#define LOCKED THI_MUTEX_LOCKED
#define PARKED 2u
#define HANDOFF 4u
#define WATCHED 0xff00u /* a mask */
#define WATCHED_SHIFT 8
#define HOLDER (0xffu << THI_MUTEX_HOLDER_SHIFT) /* a mask, part of LOCKED */

#ifdef THRUM_SIM
#define GLANCE_NS 2u
#define SLICE_NS 3u
#define PATIENCE_NS 2u
#define LOOK_MAX_NS 1u
#define AGAIN_NS 10
#define AGAIN_MAX 1u
#else
#define GLANCE_NS 600u     /* how long a newcomer looks before it queues */
#define SLICE_NS 50000u    /* how long a watcher lets others barge: half of the public bound */
#define PATIENCE_NS 10000u /* how long after that it waits for the hand-over before it sleeps */
#define LOOK_MAX_NS 2500u  /* the longest pause between two looks */
#define AGAIN_NS 50000     /* who waits again after less than that waits again and again */
#define AGAIN_MAX 7u       /* 128 turns: a microsecond and a half */
#endif
#define WATCH_SKIP_MAX 63u

static uint32_t owner_of(const void *object)
{
    const thrum_mutex_t *m = object;
    return (thi_load_relaxed(&m->thrum_state) & LOCKED) != 0 ? thi_load_relaxed(&m->thrum_owner)
                                                             : 0;
}

const thi_site_t thi_mutex_site = {"mutex", owner_of};

static uint32_t held(void)
{
    return thi_mutex_held(thi_load_relaxed(&thi_process));
}

static uint32_t watched(void)
{
    return thi_fork_mark << WATCHED_SHIFT;
}

/* A watcher of the parent process does not exist in a forked child; neither does what it asked for.
 * The state without them: what every decision is made on. */
static uint32_t live(uint32_t state)
{
    const uint32_t mark = state & WATCHED;
    return mark == 0 || mark == watched() ? state : state & ~(WATCHED | HANDOFF);
}

/* Relaxed: read by others for diagnosis only, and by the writer itself. */
static inline void sign(thrum_mutex_t *m)
{
    thi_store_relaxed(&m->thrum_owner, thi_self_id());
}

/* ------------------------------------------------------------------------------------------------
 * Locking
 */

/* One attempt on a word that the caller has seen. `drop`: the bits that go away with the success.
 * A word that is promised may be taken only by the watcher it is promised to. */
static bool take(thrum_mutex_t *m, uint32_t *state, uint32_t drop)
{
    const uint32_t closed = drop == 0 ? LOCKED | HANDOFF : LOCKED;
    while ((live(*state) & closed) == 0) {
        /* A1: acquire; pairs with R1 and R2. */
        if (thi_cas_acquire(&m->thrum_state, state, (live(*state) & ~(drop | HOLDER)) | held()))
            return true;
    }
    return false;
}

/* How long a newcomer lets pass before its first look. Where a strand comes to wait again and again it takes
 * its time: each look costs the holder more than the critical section, and who takes a mutex at every chance
 * soon has to wait for it again. */
static unsigned first_pauses(thi_strand_t *self)
{
    const thrum_time_t now = thi_clock();
    if (now - self->wanted_at >= AGAIN_NS)
        self->wanted_again = 0;
    else if (self->wanted_again < AGAIN_MAX)
        self->wanted_again++;
    self->wanted_at = now;
    return 1u << self->wanted_again;
}

/* A newcomer's short look, for critical sections that are over in no time. */
static bool glance(thrum_mutex_t *m, thi_strand_t *self, unsigned pauses)
{
    const unsigned pause_ns = thi_cpu_pause_ns();
    for (unsigned spent = 0; spent < GLANCE_NS; spent += pauses * pause_ns, pauses *= 2) {
        for (unsigned i = 0; i < pauses; i++)
            self->kind->relax(self);
        uint32_t state = thi_load_relaxed(&m->thrum_state);
        if (take(m, &state, 0))
            return true;
    }
    return false;
}

/* Looking rarely: the pause between two looks doubles up to a limit. */
struct looking {
    thi_strand_t *self;
    unsigned pauses;
};

static void pause_between_looks(struct looking *look)
{
    for (unsigned i = 0; i < look->pauses; i++)
        look->self->kind->relax(look->self);
    if (look->pauses * thi_cpu_pause_ns() < LOOK_MAX_NS)
        look->pauses *= 2;
}

/* One strand at a time may loiter at a mutex, or there would be little left of the rarity. That is
 * kept beside the mutex, by its address, so that its word stays as fast as if nobody waited. A mutex
 * that shares a place with another has its waiters sleep a little sooner. */
static uint8_t loiterers[256];

static uint8_t *place_of(const thrum_mutex_t *m)
{
    return &loiterers[(uintptr_t)m * UINT64_C(0x9E3779B97F4A7C15) >> 56];
}

enum loitered { GOT_IT, SLICE_IS_OVER, QUEUE_GOES_FIRST };

/* A newcomer's long look, as long as nobody else waits (I4). */
static enum loitered look_for_a_slice(thrum_mutex_t *m, thi_strand_t *self, unsigned pauses,
                                      thrum_time_t deadline)
{
    const thrum_time_t slice_end = thi_clock() + SLICE_NS;
    const thrum_time_t end = slice_end < deadline ? slice_end : deadline;
    struct looking look = {self, pauses};
    for (;;) {
        uint32_t state = thi_load_relaxed(&m->thrum_state);
        if (take(m, &state, 0))
            return GOT_IT;
        if ((live(state) & (PARKED | WATCHED | HANDOFF)) != 0)
            return QUEUE_GOES_FIRST;
        if (thi_clock() >= end)
            return SLICE_IS_OVER;
        pause_between_looks(&look);
    }
}

static enum loitered loiter(thrum_mutex_t *m, thi_strand_t *self, unsigned pauses,
                            thrum_time_t deadline)
{
    const uint8_t mark = (uint8_t)(watched() >> WATCHED_SHIFT); /* of this process */
    uint8_t *place = place_of(m);
    if (thi_swap_acquire(place, mark) == mark)
        return QUEUE_GOES_FIRST;
    const enum loitered outcome = look_for_a_slice(m, self, pauses, deadline);
    thi_store_release(place, (uint8_t)0);
    return outcome;
}

/* Makes the caller the watcher, if there is none and nobody sleeps (I4). */
static bool begin_watch(thrum_mutex_t *m)
{
    uint32_t state = thi_load_relaxed(&m->thrum_state);
    while ((live(state) & (WATCHED | PARKED | HANDOFF)) == 0) {
        /* Relaxed: the mark publishes nothing. */
        if (thi_cas_relaxed(&m->thrum_state, &state, live(state) | watched()))
            return true;
    }
    return false;
}

/* Watching a mutex that is held for long is waste. A strand whose watches fail lets the next few
 * chances to watch go by, twice as many each time. */
static bool watching_pays(thi_strand_t *self)
{
    if (self->watch_skip == 0)
        return true;
    self->watch_skip--;
    return false;
}

static void learn_from_watch(thi_strand_t *self, bool success)
{
    if (success)
        self->watch_interval = 0;
    else if (self->watch_interval < WATCH_SKIP_MAX)
        self->watch_interval = self->watch_interval * 2 + 1;
    self->watch_skip = self->watch_interval;
}

/* The watcher asks for the mutex. */
static void ask_for_handoff(thrum_mutex_t *m)
{
    if (!THI_PLANT("mutex-no-handoff"))
        thi_fetch_or_relaxed(&m->thrum_state, HANDOFF); /* relaxed: as begin_watch */
}

/* The watcher looks for the mutex, rarely, for a slice at the most; then it asks for it and waits a
 * little longer. Returns true with the mutex; false: still the watcher, the mutex is held for long.*/
static bool watch(thrum_mutex_t *m, thi_strand_t *self, thrum_time_t slice, thrum_time_t deadline)
{
    const thrum_time_t slice_end = thi_clock() + slice;
    const thrum_time_t patience = slice_end + PATIENCE_NS;
    const thrum_time_t end = patience < deadline ? patience : deadline;
    struct looking look = {self, 1u << self->wanted_again};
    bool asked = false;
    for (;;) {
        uint32_t state = thi_load_relaxed(&m->thrum_state);
        if (take(m, &state, WATCHED | HANDOFF))
            return true;
        const thrum_time_t now = thi_clock();
        if (now >= end)
            return false;
        if (now >= slice_end) {
            if (!asked)
                ask_for_handoff(m);
            asked = true;
            look.pauses = 1; /* it is about to come */
        }
        pause_between_looks(&look);
    }
}

/* What a waiter knows about itself. */
struct waiting {
    thrum_mutex_t *m;
    bool watcher;        /* it is the watcher */
    bool woken;          /* it has slept, and been woken, at least once */
    bool must;           /* it may not fail: it re-takes the mutex after a condition */
    thrum_time_t passed; /* since when it has been passed by others after it was woken */
};

/* Under the bucket's lock: may the caller sleep? Gives up the watch in the same step. A strand that
 * has been passed for too long leaves HANDOFF standing for itself; it goes to the head. */
static bool may_sleep(void *arg)
{
    struct waiting *w = arg;
    const bool insist = w->woken && thi_clock() - w->passed >= SLICE_NS;
    uint32_t state = thi_load_relaxed(&w->m->thrum_state);
    for (;;) {
        if ((state & LOCKED) == 0 && (w->watcher || (live(state) & HANDOFF) == 0))
            return false; /* it can be had */
        uint32_t next = live(state) | (THI_PLANT("mutex-no-mark") ? 0 : PARKED);
        if (w->watcher && !THI_PLANT("mutex-watcher-sleeps"))
            next &= ~(WATCHED | HANDOFF);
        if (insist && !THI_PLANT("mutex-no-handoff"))
            next |= HANDOFF;
        /* W1: relaxed; the bucket's lock orders it before the unpark that looks for it (I1). */
        if (thi_cas_relaxed(&w->m->thrum_state, &state, next))
            return true;
    }
}

/* The watcher goes away without the mutex. False: the mutex was free, and the caller has it now. */
static bool end_watch(thrum_mutex_t *m)
{
    uint32_t state = thi_load_relaxed(&m->thrum_state);
    for (;;) {
        if (take(m, &state, WATCHED | HANDOFF))
            return false;
        /* Relaxed. It succeeds only on a LOCKED word, so an unlock is still to come and sees that
         * nobody watches any more. */
        if (thi_cas_relaxed(&m->thrum_state, &state, state & ~(WATCHED | HANDOFF)))
            return true;
    }
}

static bool holder_is_lost(const struct waiting *w)
{
    /* A3: acquire; pairs with R3: who finds the signature gone finds the new mark (I5). */
    const uint32_t owner = thi_load_acquire(&w->m->thrum_owner);
    const uint32_t state = thi_load_relaxed(&w->m->thrum_state);
    const uint32_t mark = (state & HOLDER) >> THI_MUTEX_HOLDER_SHIFT;
    return !w->must && (state & LOCKED) != 0 && thi_holder_is_lost(mark, owner);
}

/* Sleeps in the queue. Returns 0 with the mutex, EAGAIN to try again, or an error. */
static int sleep_in_queue(struct waiting *w, thrum_time_t deadline)
{
    thi_park_t park = {
        .site = &thi_mutex_site, .key = w->m, .arg = w, .validate = may_sleep, .first = w->woken};
    const int err = thi_lot_park(&park, deadline);
    if (err == EAGAIN)
        return EAGAIN;
    w->watcher = false;
    if (err != 0)
        return err;
    if (park.given == THI_GIVEN_MUTEX)
        return 0;
    if (!w->woken)
        w->passed = thi_clock();
    w->woken = true;
    w->watcher = true;
    return EAGAIN;
}

/* A newcomer that may spin: looks, loiters, and asks. True with the mutex. It may come out as the
 * watcher. */
static bool spin_for_it(struct waiting *w, thi_strand_t *self, thrum_time_t deadline)
{
    const unsigned pauses = first_pauses(self);
    if (glance(w->m, self, pauses))
        return true;
    if (!watching_pays(self))
        return false;
    const enum loitered outcome = loiter(w->m, self, pauses, deadline);
    if (outcome == QUEUE_GOES_FIRST)
        return false;
    w->watcher = outcome == SLICE_IS_OVER && begin_watch(w->m);
    const bool got = outcome == GOT_IT || (w->watcher && watch(w->m, self, 0, deadline));
    learn_from_watch(self, got);
    return got;
}

static int wait_for_mutex(struct waiting *w, thrum_time_t deadline)
{
    thi_strand_t *self = thi_current.strand;
    const bool spins = self->kind->relax != NULL && thi_multiprocessor();
    if (spins && !w->watcher && spin_for_it(w, self, deadline))
        return 0;
    for (;;) {
        if (holder_is_lost(w))
            return EOWNERDEAD;
        if (w->watcher && w->woken && spins && watch(w->m, self, SLICE_NS, deadline))
            return 0;
        uint32_t state = thi_load_relaxed(&w->m->thrum_state);
        if (take(w->m, &state, w->watcher ? WATCHED | HANDOFF : 0))
            return 0;
        const int err = sleep_in_queue(w, deadline);
        if (err != EAGAIN)
            return err;
    }
}

THI_COLD static int lock_slow(thrum_mutex_t *m, thrum_time_t deadline)
{
    if (thi_self() == NULL)
        return ENOMEM;
    struct waiting w = {.m = m};
    int err = wait_for_mutex(&w, deadline);
    if (err != 0 && w.watcher && !end_watch(m))
        err = 0;
    if (err == 0)
        sign(m);
    return err;
}

/* ------------------------------------------------------------------------------------------------
 * Unlocking
 */

/* What the word of a mutex that was seen in that state will be when it is free. With sleepers and no watcher an
 * unlock has somebody to wake: that is not for the fast path. */
static void learn(uint32_t state)
{
    const uint32_t marks = live(state) & (PARKED | WATCHED);
    thi_current.guess = marks == PARKED ? 0 : marks;
}

static void settle_unlock(const thi_unparked_t *found, void *arg)
{
    thrum_mutex_t *m = arg;
    uint32_t state = thi_load_relaxed(&m->thrum_state);
    uint32_t next = 0;
    do {
        next = found->more && !THI_PLANT("mutex-forgets-the-rest") ? state & PARKED : 0;
        if (found->first != NULL && (live(state) & HANDOFF) != 0) {
            found->first->given = THI_GIVEN_MUTEX;
            thi_store_relaxed(&m->thrum_owner, found->first->wait->strand->id); /* signed for it */
            next |= held();
        } else if (found->first != NULL) {
            found->first->given = THI_GIVEN_WATCH;
            next |= watched();
        }
        /* R2: release; pairs with A1. A strand that is given the mutex acquires the claim of its
         * wait. The last touch of the mutex (I3). */
    } while (!thi_cas_release(&m->thrum_state, &state, next));
}

/* A mutex that was locked before the fork becomes one of this process (I5). Relaxed: R3 publishes it. */
THI_COLD static void adopt(thrum_mutex_t *m)
{
    uint32_t state = thi_load_relaxed(&m->thrum_state);
    while ((state & LOCKED) != 0 && (state & HOLDER) != (held() & HOLDER)) {
        if (thi_cas_relaxed(&m->thrum_state, &state, (state & ~HOLDER) | held())) {
            thi_store_release(&m->thrum_owner, 0u); /* R3: release; pairs with A3 */
            return;
        }
    }
}

THI_COLD static int unlock_slow(thrum_mutex_t *m)
{
    adopt(m);
    uint32_t state = thi_load_relaxed(&m->thrum_state);
    for (;;) {
        if ((state & LOCKED) == 0)
            return EPERM;
        if ((live(state) & (PARKED | WATCHED)) == PARKED) {
            thi_lot_unpark(&(thi_unpark_t){
                .key = m, .site = &thi_mutex_site, .n = 1, .settle = settle_unlock, .arg = m});
            return 0;
        }
        learn(state);
        /* R1: release; pairs with A1. Nobody sleeps, or the watcher will look. */
        if (thi_cas_release(&m->thrum_state, &state, live(state) & ~(LOCKED | HOLDER)))
            return 0;
    }
}

/* ------------------------------------------------------------------------------------------------
 * For the rest of lib/sync
 */

/* Signs the mutex that the caller has just taken. */
THI_COLD static int sign_first_time(thrum_mutex_t *m)
{
    sign(m);
    return 0;
}

static inline int signed_now(thrum_mutex_t *m)
{
    const uint32_t self = thi_current.id;
    if (THI_UNLIKELY(self == 0))
        return sign_first_time(m);
    thi_store_relaxed(&m->thrum_owner, self);
    return 0;
}

/* The guess was wrong, or somebody holds it. */
THI_NOINLINE static int acquire_wanted(thrum_mutex_t *m, thrum_time_t deadline)
{
    uint32_t state = thi_load_relaxed(&m->thrum_state);
    learn(state);
    return take(m, &state, 0) ? signed_now(m) : lock_slow(m, deadline);
}

static inline int acquire(thrum_mutex_t *m, thrum_time_t deadline)
{
    return THI_LIKELY(thi_mutex_take_free(m)) ? signed_now(m) : acquire_wanted(m, deadline);
}

int thi_mutex_acquire(thrum_mutex_t *m, thrum_time_t deadline)
{
    return acquire(m, deadline);
}

bool thi_mutex_try(thrum_mutex_t *m)
{
    if (THI_UNLIKELY(!thi_mutex_take_free(m))) {
        uint32_t state = thi_load_relaxed(&m->thrum_state);
        if (!take(m, &state, 0))
            return false;
    }
    return signed_now(m) == 0;
}

void thi_mutex_reacquire(thrum_mutex_t *m, uint32_t given)
{
    struct waiting w = {.m = m, .must = true};
    if (given == THI_GIVEN_WATCH) {
        w.watcher = true;
        w.woken = true;
        w.passed = thi_clock();
    }
    if (given == THI_GIVEN_NOTHING && thi_mutex_try(m))
        return;
    while (given != THI_GIVEN_MUTEX && wait_for_mutex(&w, THRUM_FOREVER) != 0) {
        /* not reached: it can fail only by a deadline or a lost holder */
    }
    sign(m);
}

bool thi_mutex_hold_waiter(thrum_mutex_t *m)
{
    uint32_t state = thi_load_relaxed(&m->thrum_state);
    while ((state & LOCKED) != 0) {
        if (thi_cas_relaxed(&m->thrum_state, &state, state | PARKED)) /* W1 */
            return true;
    }
    return false;
}

/* Without PARKED: who sleeps is found in the queue, and in the child of a fork nobody may be there. */
bool thi_mutex_is_wanted(const thrum_mutex_t *m)
{
    return (live(thi_load_relaxed(&m->thrum_state)) & (LOCKED | WATCHED | HANDOFF)) != 0;
}

int thi_mutex_release(thrum_mutex_t *m)
{
    if (THI_UNLIKELY(!thi_mutex_give_free(m)))
        return unlock_slow(m);
    if (THI_PLANT("mutex-late-signature"))
        thi_store_relaxed(&m->thrum_owner, 0u);
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * The public face
 */

int thrum_mutex_init(thrum_mutex_t *m)
{
    if (m == NULL)
        return EINVAL;
    *m = (thrum_mutex_t)THRUM_MUTEX_INIT;
    thi_check_inits(m);
    return 0;
}

void thrum_mutex_destroy(thrum_mutex_t *m)
{
    if (m != NULL)
        thi_check_destroys(m, &thi_mutex_site, thi_mutex_is_wanted(m));
}

static inline int lock_checked(thrum_mutex_t *m, thrum_time_t deadline, const void *caller)
{
    if (THI_UNLIKELY(m == NULL))
        return EINVAL;
    thi_check_wants_until(m, &thi_mutex_site, caller, deadline);
    const int err = acquire(m, deadline);
    if (THI_LIKELY(err == 0))
        thi_check_holds(m, &thi_mutex_site, caller, false);
    else
        thi_check_forgoes();
    return err;
}

int thrum_mutex_lock(thrum_mutex_t *m)
{
    return lock_checked(m, THRUM_FOREVER, THI_CALLER);
}

int thrum_mutex_trylock(thrum_mutex_t *m)
{
    if (THI_UNLIKELY(m == NULL))
        return EINVAL;
    if (!thi_mutex_try(m))
        return EBUSY;
    thi_check_holds(m, &thi_mutex_site, THI_CALLER, false);
    return 0;
}

int thrum_mutex_lock_until(thrum_mutex_t *m, thrum_time_t deadline)
{
    return lock_checked(m, deadline, THI_CALLER);
}

int thrum_mutex_unlock(thrum_mutex_t *m)
{
    if (THI_UNLIKELY(m == NULL))
        return EINVAL;
    thi_check_gives(m);
    return thi_mutex_release(m);
}

bool thrum_mutex_locked(const thrum_mutex_t *m)
{
    return m != NULL && (live(thi_load_relaxed(&m->thrum_state)) & (LOCKED | HANDOFF)) != 0;
}
