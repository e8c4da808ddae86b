/*
 * Read-write lock, phase-fair. One word:
 *
 *      63     52 51    48 47     44 43       22 21        0
 *     +---------+--------+---------+-----------+-----------+
 *     |  phase  |  mark  |  flags  |  waiting  |  inside   |
 *     +---------+--------+---------+-----------+-----------+
 *
 *   inside    readers inside; and, for a moment, readers that have just found a writer and are about
 *             to count themselves as waiting instead
 *   waiting   readers that wait for the writer to leave; all of them are let in when it does
 *   WRITER    a writer is inside, or has closed the door and waits for the readers inside to leave
 *   mark      with WRITER: the process of the writer (see thi_fork_mark, and I4)
 *   DRAINING  that writer may sleep: whoever is the last inside to leave wakes it. May be set with
 *             nobody asleep, never the other way round
 *   NEXT      the first of the waiting writers may sleep until WRITER is clear
 *   RESERVED  ... and has been passed by other writers for long enough: none may take it now
 *   phase     rises each time that WRITER is cleared; a reader waits for it to differ
 *
 * and a mutex, in which writers that have to wait queue for being NEXT.
 *
 * Phase-fair after B. Brandenburg and J. Anderson, "Spin-based reader-writer synchronization for
 * multiprocessor real-time systems" (2010): reader and writer phases alternate while both wait.
 *
 * Invariants
 *   I1  A reader that finds WRITER clear as it counts itself inside is inside. One that finds it set
 *       waits for the phase in which it came to end, no matter how many follow: it is counted in
 *       waiting, and the change that ends the phase counts it as inside.
 *   I2  WRITER is set by a strand that found it clear, in one step. It then waits for `inside` to be
 *       zero: no reader that came later stays in that count.
 *   I3  After the change that ends its hold, an unlock uses the address of the lock only.
 *   I4  With the mark of another process, owner and closer are as they were before the fork: who ends such a
 *       phase gives it the mark of this process before he takes the signatures away.
 */
#include <thrum/rwlock.h>

#include "sync/sync.h"

#define INSIDE UINT64_C(1)
#define WAITING (UINT64_C(1) << 22)
#define WRITER (UINT64_C(1) << 44)
#define DRAINING (UINT64_C(1) << 45)
#define NEXT (UINT64_C(1) << 46)
#define RESERVED (UINT64_C(1) << 47)
#define MARK_SHIFT 48
#define MARK (UINT64_C(15) << MARK_SHIFT)
#define PHASE (UINT64_C(1) << 52)
#define COUNT_MASK (WAITING - 1)
#define STRANGER UINT32_MAX /* no strand's id */

static uint64_t inside(uint64_t word)
{
    return word & COUNT_MASK;
}

static uint64_t waiting(uint64_t word)
{
    return word / WAITING & COUNT_MASK;
}

static uint64_t phase(uint64_t word)
{
    return word / PHASE;
}

/* The counts have room for twice as many, so that those who are about to be turned away, or to be let
 * in at once, cannot make them run over. */
static bool too_many(uint64_t word)
{
    return inside(word) >= THRUM_RWLOCK_READERS_MAX || waiting(word) >= THRUM_RWLOCK_READERS_MAX;
}

static uint32_t owner_of(const void *object)
{
    const thrum_rwlock_t *l = object;
    const uint32_t owner = thi_load_relaxed(&l->thrum_owner);
    return owner != 0 ? owner : thi_load_relaxed(&l->thrum_closer);
}

static uint64_t marked_writer(void)
{
    return WRITER | (uint64_t)thi_fork_mark << MARK_SHIFT;
}

/* The writer inside, or the one that has closed the door, did not survive a fork. */
static bool writer_is_lost(const thrum_rwlock_t *l)
{
    /* A5: acquire; pairs with R4: who finds a signature gone finds the new mark (I4). */
    const uint32_t owner = thi_load_acquire(&l->thrum_owner);
    const uint32_t closer = thi_load_acquire(&l->thrum_closer);
    const uint64_t word = thi_load_relaxed(&l->thrum_word);
    const uint32_t mark = (uint32_t)((word & MARK) >> MARK_SHIFT);
    return (word & WRITER) != 0 && thi_holder_is_lost(mark, owner) &&
           thi_holder_is_lost(mark, closer);
}

/* Three queues, told apart by their site. */
static const thi_site_t reader_site = {"rwlock to read", owner_of};
static const thi_site_t writer_site = {"rwlock to write", owner_of};
static const thi_site_t drain_site = {"rwlock's readers to leave", NULL};

THI_NOINLINE static void wake(const thrum_rwlock_t *l, const thi_site_t *site)
{
    thi_lot_unpark(&(thi_unpark_t){.key = l, .site = site, .n = THI_ALL});
}

/* ------------------------------------------------------------------------------------------------
 * Ending a writer's phase
 */

/* The word after the phase: those who waited are inside, and `more` readers. */
static inline uint64_t after_phase(uint64_t word, uint64_t more)
{
    const uint64_t readers = inside(word) + waiting(word) + more;
    return (phase(word) + 1) * PHASE | (word & (NEXT | RESERVED)) | readers;
}

/* The word after a writer that closed the door has given up. Where nobody waits for the phase to
 * change it stays, so that writers that come and go cannot use the phases up. */
static inline uint64_t reopened(uint64_t word, uint64_t more)
{
    return waiting(word) != 0 ? after_phase(word, more) : word & ~(WRITER | MARK | DRAINING);
}

static bool is_inherited(uint64_t word)
{
    return (word & MARK) >> MARK_SHIFT != thi_fork_mark;
}

/* A phase that began before the fork becomes one of this process (I4). Relaxed: what it publishes, R4 does. */
THI_COLD static void adopt(thrum_rwlock_t *l)
{
    uint64_t word = thi_load_relaxed(&l->thrum_word);
    while (!thi_cas_relaxed(&l->thrum_word, &word, (word & ~MARK) | marked_writer())) {
    }
}

static inline void end_phase(thrum_rwlock_t *l, uint64_t (*after)(uint64_t, uint64_t),
                             uint64_t more)
{
    uint64_t word = thi_load_relaxed(&l->thrum_word);
    if (THI_UNLIKELY(is_inherited(word)))
        adopt(l);
    /* R4: release; pairs with A5. */
    thi_store_release(&l->thrum_owner, 0u);
    thi_store_release(&l->thrum_closer, 0u);
    /* R1: release; pairs with A1 to A4. */
    while (!thi_cas_release(&l->thrum_word, &word, after(word, more))) {
    }
    if (waiting(word) != 0)
        wake(l, &reader_site);
    if ((word & NEXT) != 0)
        wake(l, &writer_site);
}

/* ------------------------------------------------------------------------------------------------
 * Reading
 */

struct reading {
    thrum_rwlock_t *l;
    uint64_t phase;
};

static bool phase_lasts(void *arg)
{
    const struct reading *r = arg;
    return phase(thi_load_relaxed(&r->l->thrum_word)) == r->phase;
}

static void leave_inside(thrum_rwlock_t *l)
{
    /* R2: release; pairs with A3, A4: a writer comes after the readers that it waited for. */
    const uint64_t word = thi_fetch_sub_release(&l->thrum_word, INSIDE);
    if (THI_UNLIKELY((word & DRAINING) != 0) && inside(word) == 1)
        wake(l, &drain_site); /* I3 */
}

/* From inside to waiting, while the phase lasts. False: it ended, the caller is inside. */
static bool step_aside(struct reading *r)
{
    uint64_t word = thi_load_relaxed(&r->l->thrum_word);
    do {
        if (phase(word) != r->phase || (word & WRITER) == 0)
            return false;
        /* R3: release; pairs with A3: nothing was read, but the count must reach the writer. */
    } while (!thi_cas_release(&r->l->thrum_word, &word, word - INSIDE + WAITING));
    if ((word & DRAINING) != 0 && inside(word) == 1)
        wake(r->l, &drain_site);
    return true;
}

/* Takes a waiting reader out of the count. False: the phase ended, it is inside. */
static bool give_up_reading(const struct reading *r)
{
    uint64_t word = thi_load_relaxed(&r->l->thrum_word);
    do {
        if (phase(word) != r->phase && !THI_PLANT("rwlock-late-give-up"))
            return false;
    } while (
        !thi_cas_relaxed(&r->l->thrum_word, &word, word - WAITING)); /* G1: publishes nothing */
    return true;
}

static bool spin_out_phase(struct reading *r)
{
    thi_spin_t spin = thi_spin_begin();
    bool ended = false;
    do
        ended = !phase_lasts(r);
    while (!ended && thi_spin_turn(&spin));
    thi_spin_end(&spin, ended);
    return ended;
}

static int sleep_out_phase(struct reading *r, thrum_time_t deadline)
{
    thi_park_t park = {.site = &reader_site, .key = r->l, .arg = r, .validate = phase_lasts};
    while (phase_lasts(r)) {
        int err = writer_is_lost(r->l) ? EOWNERDEAD : 0;
        if (err == 0)
            err = thi_lot_park(&park, deadline);
        if (err != 0 && err != EAGAIN)
            return give_up_reading(r) ? err : 0;
    }
    return 0;
}

/* After the caller counted itself inside and found `word`. */
THI_COLD static int rdlock_slow(thrum_rwlock_t *l, uint64_t word, thrum_time_t deadline)
{
    if (too_many(word) || thi_self() == NULL) {
        leave_inside(l);
        return too_many(word) ? EOVERFLOW : ENOMEM;
    }
    struct reading r = {l, phase(word)};
    if (!step_aside(&r) || spin_out_phase(&r)) {
        (void)thi_load_acquire(&l->thrum_word); /* A2: acquire; pairs with R1 */
        return 0;
    }
    const int err = sleep_out_phase(&r, deadline);
    (void)thi_load_acquire(&l->thrum_word); /* A2 */
    return err;
}

static int tryrdlock(thrum_rwlock_t *l)
{
    uint64_t word = thi_load_relaxed(&l->thrum_word);
    while ((word & WRITER) == 0) {
        if (too_many(word))
            return EOVERFLOW;
        if (thi_cas_acquire(&l->thrum_word, &word, word + INSIDE)) /* A1 */
            return 0;
    }
    return EBUSY;
}

static int rdlock_until(thrum_rwlock_t *l, thrum_time_t deadline)
{
    /* A1: acquire; pairs with R1. One instruction, no guess, no retry (I1). */
    const uint64_t word = thi_fetch_add_acquire(&l->thrum_word, INSIDE);
    if (THI_LIKELY((word & WRITER) == 0 && inside(word) < THRUM_RWLOCK_READERS_MAX))
        return 0;
    return rdlock_slow(l, word, deadline);
}

/* ------------------------------------------------------------------------------------------------
 * Writing
 */

/* A writer that could not be registered signs as a stranger: the signature tells that it is inside. */
static void sign(thrum_rwlock_t *l)
{
    const uint32_t self = thi_self_id();
    thi_store_relaxed(&l->thrum_owner, self != 0 ? self : STRANGER);
}

static bool trywrlock(thrum_rwlock_t *l)
{
    uint64_t word = thi_load_relaxed(&l->thrum_word);
    while ((word & (WRITER | RESERVED)) == 0 && inside(word) == 0) {
        /* A4: acquire; pairs with R1, R2. */
        if (thi_cas_acquire(&l->thrum_word, &word, word | marked_writer())) {
            sign(l);
            return true;
        }
    }
    return false;
}

struct writing {
    thrum_rwlock_t *l;
    thrum_time_t since; /* when it became the next */
};

/* Under the bucket's lock. */
static bool writer_inside(void *arg)
{
    const struct writing *w = arg;
    const bool insist = thi_clock() - w->since >= THRUM_MUTEX_BARGE_NS;
    const uint64_t marks = insist && !THI_PLANT("rwlock-no-turn") ? NEXT | RESERVED : NEXT;
    uint64_t word = thi_load_relaxed(&w->l->thrum_word);
    while ((word & WRITER) != 0) {
        /* W1: relaxed; the bucket's lock orders it before the unpark that looks for it. */
        if (thi_cas_relaxed(&w->l->thrum_word, &word, word | marks))
            return true;
    }
    return false;
}

/* The next writer closes the door: sets WRITER on a word without. */
static bool close_door(thrum_rwlock_t *l)
{
    if ((thi_load_relaxed(&l->thrum_word) & WRITER) != 0)
        return false;
    /* A3: acquire; pairs with R1. Wait-free: readers that come and go cannot make it fail. */
    if ((thi_fetch_or_acquire(&l->thrum_word, marked_writer()) & WRITER) != 0)
        return false;
    thi_store_relaxed(&l->thrum_closer, thi_self_id());
    thi_fetch_and_relaxed(&l->thrum_word, ~(NEXT | RESERVED)); /* it is no longer the next */
    return true;
}

static bool spin_to_close_door(thrum_rwlock_t *l)
{
    thi_spin_t spin = thi_spin_begin();
    bool closed = false;
    do
        closed = close_door(l);
    while (!closed && thi_spin_turn(&spin));
    thi_spin_end(&spin, closed);
    return closed;
}

/* As the next writer: waits for the one inside to leave. */
static int wait_for_writer(thrum_rwlock_t *l, thrum_time_t deadline)
{
    struct writing w = {l, thi_clock()};
    thi_park_t park = {.site = &writer_site, .key = l, .arg = &w, .validate = writer_inside};
    while (!spin_to_close_door(l)) {
        int err = writer_is_lost(l) ? EOWNERDEAD : 0;
        if (err == 0)
            err = thi_lot_park(&park, deadline);
        if (err != 0 && err != EAGAIN) {
            thi_fetch_and_relaxed(&l->thrum_word, ~(NEXT | RESERVED)); /* G2: publishes nothing */
            return err;
        }
    }
    return 0;
}

/* Under the bucket's lock. */
static bool readers_inside(void *arg)
{
    thrum_rwlock_t *l = arg;
    uint64_t word = thi_load_relaxed(&l->thrum_word);
    while (inside(word) != 0) {
        if (THI_PLANT("rwlock-no-mark"))
            return true;
        if (thi_cas_relaxed(&l->thrum_word, &word, word | DRAINING)) /* W1 */
            return true;
    }
    return false;
}

static bool spin_out_readers(thrum_rwlock_t *l)
{
    thi_spin_t spin = thi_spin_begin();
    bool empty = false;
    do
        empty = inside(thi_load_relaxed(&l->thrum_word)) == 0;
    while (!empty && thi_spin_turn(&spin));
    thi_spin_end(&spin, empty);
    return empty;
}

/* With the door closed: waits for the readers inside to leave. */
static int drain(thrum_rwlock_t *l, thrum_time_t deadline)
{
    thi_park_t park = {.site = &drain_site, .key = l, .arg = l, .validate = readers_inside};
    bool empty = spin_out_readers(l);
    while (!empty) {
        const int err = thi_lot_park(&park, deadline);
        if (err != 0 && err != EAGAIN)
            return err;
        empty = inside(thi_load_relaxed(&l->thrum_word)) == 0;
    }
    (void)thi_load_acquire(&l->thrum_word); /* A3: acquire; pairs with R2, R3 */
    return 0;
}

THI_COLD static int wrlock_slow(thrum_rwlock_t *l, thrum_time_t deadline)
{
    int err = thi_mutex_acquire(&l->thrum_writers, deadline);
    if (err != 0)
        return err;
    if (thi_self() == NULL)
        err = ENOMEM;
    if (err == 0)
        err = wait_for_writer(l, deadline);
    thi_mutex_release(&l->thrum_writers);
    if (err != 0)
        return err;
    err = drain(l, deadline);
    if (err == 0)
        sign(l);
    else
        end_phase(l, reopened, 0);
    return err;
}

static int wrlock_until(thrum_rwlock_t *l, thrum_time_t deadline)
{
    return THI_LIKELY(trywrlock(l)) ? 0 : wrlock_slow(l, deadline);
}

/* ------------------------------------------------------------------------------------------------
 * The public face
 */

int thrum_rwlock_init(thrum_rwlock_t *l)
{
    if (l == NULL)
        return EINVAL;
    *l = (thrum_rwlock_t)THRUM_RWLOCK_INIT;
    thi_check_inits(l);
    return 0;
}

void thrum_rwlock_destroy(thrum_rwlock_t *l)
{
    if (l != NULL)
        thi_check_destroys(l, &writer_site, l->thrum_word % PHASE != 0);
}

static int rdlock_checked(thrum_rwlock_t *l, thrum_time_t deadline, const void *caller)
{
    if (THI_UNLIKELY(l == NULL))
        return EINVAL;
    thi_check_wants_until(l, &reader_site, caller, deadline);
    const int err = rdlock_until(l, deadline);
    if (THI_LIKELY(err == 0))
        thi_check_holds(l, &reader_site, caller, true);
    else
        thi_check_forgoes();
    return err;
}

int thrum_rwlock_rdlock(thrum_rwlock_t *l)
{
    return rdlock_checked(l, THRUM_FOREVER, THI_CALLER);
}

int thrum_rwlock_tryrdlock(thrum_rwlock_t *l)
{
    if (THI_UNLIKELY(l == NULL))
        return EINVAL;
    const int err = tryrdlock(l);
    if (err == 0)
        thi_check_holds(l, &reader_site, THI_CALLER, true);
    return err;
}

int thrum_rwlock_rdlock_until(thrum_rwlock_t *l, thrum_time_t deadline)
{
    return rdlock_checked(l, deadline, THI_CALLER);
}

/* A writer is inside, and no reader: a closed door with readers still inside is nobody's to open. */
static bool is_written(const thrum_rwlock_t *l)
{
    const uint64_t word = thi_load_relaxed(&l->thrum_word);
    return (word & WRITER) != 0 && thi_load_relaxed(&l->thrum_owner) != 0;
}

int thrum_rwlock_rdunlock(thrum_rwlock_t *l)
{
    if (THI_UNLIKELY(l == NULL))
        return EINVAL;
    if (THI_UNLIKELY(inside(thi_load_relaxed(&l->thrum_word)) == 0 || is_written(l)))
        return EPERM;
    thi_check_gives(l);
    leave_inside(l);
    return 0;
}

static int wrlock_checked(thrum_rwlock_t *l, thrum_time_t deadline, const void *caller)
{
    if (THI_UNLIKELY(l == NULL))
        return EINVAL;
    thi_check_wants_until(l, &writer_site, caller, deadline);
    const int err = wrlock_until(l, deadline);
    if (THI_LIKELY(err == 0))
        thi_check_holds(l, &writer_site, caller, false);
    else
        thi_check_forgoes();
    return err;
}

int thrum_rwlock_wrlock(thrum_rwlock_t *l)
{
    return wrlock_checked(l, THRUM_FOREVER, THI_CALLER);
}

int thrum_rwlock_trywrlock(thrum_rwlock_t *l)
{
    if (THI_UNLIKELY(l == NULL))
        return EINVAL;
    if (!trywrlock(l))
        return EBUSY;
    thi_check_holds(l, &writer_site, THI_CALLER, false);
    return 0;
}

int thrum_rwlock_wrlock_until(thrum_rwlock_t *l, thrum_time_t deadline)
{
    return wrlock_checked(l, deadline, THI_CALLER);
}

int thrum_rwlock_wrunlock(thrum_rwlock_t *l)
{
    if (THI_UNLIKELY(l == NULL))
        return EINVAL;
    if (THI_UNLIKELY(!is_written(l)))
        return EPERM;
    thi_check_gives(l);
    end_phase(l, after_phase, 0);
    return 0;
}

int thrum_rwlock_downgrade(thrum_rwlock_t *l)
{
    if (THI_UNLIKELY(l == NULL))
        return EINVAL;
    if (THI_UNLIKELY(!is_written(l)))
        return EPERM;
    thi_check_gives(l);
    end_phase(l, after_phase, 1);
    thi_check_holds(l, &reader_site, THI_CALLER, true);
    return 0;
}
