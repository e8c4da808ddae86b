/*
 * Freed: an object is gone as soon as the call of whoever may free it has returned, while the call
 * that let it go may be still on its way out. Every object is on a page that cannot be touched
 * afterwards, or on the heap, for the sanitizers.
 */
#include "stress/stress.h"
#include "support/graveyard.h"

#define TINY_NS 60000u
#define ENDERS_MAX 3u
#define TICKETS 1024u

struct object {
    bool heap;
    unsigned users; /* under the lock, or before it is handed over */
    bool ready;
    thrum_cond_t cond;
    union {
        thrum_sem_t sem;
        thrum_event_t event;
        thrum_waitgroup_t group;
        thrum_barrier_t barrier;
        thrum_mutex_t mutex;
        thrum_rlock_t rlock;
        thrum_rwlock_t rwlock;
    };
};

/* What the owner of an object does with it, and what the others do. Whoever returns true frees it. */
struct trade {
    unsigned others;
    void (*make)(struct object *o, unsigned others);
    bool (*own)(struct object *o, unsigned others, uint64_t ticket, struct chance *chance);
    bool (*end)(struct object *o, uint64_t ticket, struct chance *chance);
};

/* ------------------------------------------------------------------------------------------------
 * Freed by who waited
 */

static void make_sem(struct object *o, unsigned others)
{
    CHECK(others % 2 == 0 || thrum_sem_init_bounded(&o->sem, 0, others) == 0);
}

static bool own_sem(struct object *o, unsigned others, uint64_t ticket, struct chance *chance)
{
    (void)ticket;
    for (unsigned taken = 0; taken < others;) {
        const thrum_time_t deadline =
            chance_one_in(chance, 2) ? chance_deadline(chance, TINY_NS) : THRUM_FOREVER;
        const int err = thrum_sem_acquire_until(&o->sem, deadline);
        CHECK(err == 0 || err == ETIMEDOUT);
        taken += err == 0;
    }
    return true;
}

static bool end_sem(struct object *o, uint64_t ticket, struct chance *chance)
{
    (void)ticket, (void)chance;
    CHECK(thrum_sem_release(&o->sem) == 0);
    return false;
}

static void make_event(struct object *o, unsigned others)
{
    (void)others;
    CHECK(thrum_event_init(&o->event) == 0);
}

static bool own_event(struct object *o, unsigned others, uint64_t ticket, struct chance *chance)
{
    (void)others, (void)ticket;
    int err = ETIMEDOUT;
    while (err == ETIMEDOUT && chance_one_in(chance, 2))
        err = thrum_event_wait_until(&o->event, chance_deadline(chance, TINY_NS));
    CHECK(err == 0 || thrum_event_wait(&o->event) == 0);
    return true;
}

static bool end_event(struct object *o, uint64_t ticket, struct chance *chance)
{
    (void)ticket, (void)chance;
    thrum_event_set(&o->event);
    return false;
}

static void make_group(struct object *o, unsigned others)
{
    CHECK(thrum_waitgroup_add(&o->group, (int)others) == 0);
}

static bool own_group(struct object *o, unsigned others, uint64_t ticket, struct chance *chance)
{
    (void)others, (void)ticket;
    int err = ETIMEDOUT;
    while (err == ETIMEDOUT && chance_one_in(chance, 2))
        err = thrum_waitgroup_wait_until(&o->group, chance_deadline(chance, TINY_NS));
    CHECK(err == 0 || thrum_waitgroup_wait(&o->group) == 0);
    return true;
}

static bool end_group(struct object *o, uint64_t ticket, struct chance *chance)
{
    (void)ticket, (void)chance;
    CHECK(thrum_waitgroup_done(&o->group) == 0);
    return false;
}

/* Locked by its owner, who waits for another's unlock. */
static void make_mutex(struct object *o, unsigned others)
{
    (void)others;
    CHECK(thrum_mutex_lock(&o->mutex) == 0);
}

static bool own_mutex(struct object *o, unsigned others, uint64_t ticket, struct chance *chance)
{
    (void)others, (void)ticket;
    int err = ETIMEDOUT;
    while (err == ETIMEDOUT && chance_one_in(chance, 2))
        err = thrum_mutex_lock_until(&o->mutex, chance_deadline(chance, TINY_NS));
    CHECK(err == 0 || thrum_mutex_lock(&o->mutex) == 0);
    CHECK(thrum_mutex_unlock(&o->mutex) == 0);
    return true;
}

static bool end_mutex(struct object *o, uint64_t ticket, struct chance *chance)
{
    (void)ticket, (void)chance;
    CHECK(thrum_mutex_unlock(&o->mutex) == 0);
    return false;
}

/* A condition with its mutex: the signal is made under the lock, the unlock is the last of it. */
static void make_monitor(struct object *o, unsigned others)
{
    (void)others;
    CHECK(thrum_mutex_init(&o->mutex) == 0 && thrum_cond_init(&o->cond) == 0);
}

static bool own_monitor(struct object *o, unsigned others, uint64_t ticket, struct chance *chance)
{
    (void)others, (void)ticket;
    CHECK(thrum_mutex_lock(&o->mutex) == 0);
    while (!o->ready) {
        const thrum_time_t deadline =
            chance_one_in(chance, 2) ? chance_deadline(chance, TINY_NS) : THRUM_FOREVER;
        const int err = thrum_cond_wait_until(&o->cond, &o->mutex, deadline);
        CHECK(err == 0 || err == ETIMEDOUT);
    }
    CHECK(thrum_mutex_unlock(&o->mutex) == 0);
    return true;
}

static bool end_monitor(struct object *o, uint64_t ticket, struct chance *chance)
{
    (void)ticket;
    CHECK(thrum_mutex_lock(&o->mutex) == 0);
    o->ready = true;
    if (chance_one_in(chance, 2))
        thrum_cond_signal(&o->cond);
    else
        thrum_cond_broadcast(&o->cond);
    CHECK(thrum_mutex_unlock(&o->mutex) == 0);
    return false;
}

/* ------------------------------------------------------------------------------------------------
 * Freed by the first to come out
 */

static uint32_t somebody_out[TICKETS]; /* by ticket: it cannot be kept in what is freed */

static bool meet(struct object *o, uint64_t ticket)
{
    CHECK(thrum_barrier_wait(&o->barrier, NULL) == 0);
    return __atomic_exchange_n(&somebody_out[ticket % TICKETS], 1u, __ATOMIC_RELAXED) == 0;
}

static void make_barrier(struct object *o, unsigned others)
{
    CHECK(thrum_barrier_init(&o->barrier, others + 1, NULL, NULL) == 0);
}

static bool own_barrier(struct object *o, unsigned others, uint64_t ticket, struct chance *chance)
{
    (void)others, (void)chance;
    __atomic_store_n(&somebody_out[(ticket + TICKETS / 2) % TICKETS], 0u, __ATOMIC_RELAXED);
    return meet(o, ticket);
}

static bool end_barrier(struct object *o, uint64_t ticket, struct chance *chance)
{
    (void)chance;
    return meet(o, ticket);
}

/* ------------------------------------------------------------------------------------------------
 * Freed by the last to use it
 */

static void make_counted(struct object *o, unsigned others)
{
    o->users = others + 1;
}

static bool use_mutex(struct object *o, uint64_t ticket, struct chance *chance)
{
    (void)ticket;
    CHECK(thrum_mutex_lock(&o->mutex) == 0);
    const bool last = --o->users == 0;
    chance_dawdle(chance);
    CHECK(thrum_mutex_unlock(&o->mutex) == 0);
    return last;
}

static bool use_rlock(struct object *o, uint64_t ticket, struct chance *chance)
{
    (void)ticket;
    CHECK(thrum_rlock_lock(&o->rlock) == 0);
    CHECK(thrum_rlock_lock(&o->rlock) == 0);
    const bool last = --o->users == 0;
    chance_dawdle(chance);
    CHECK(thrum_rlock_unlock(&o->rlock) == 0);
    CHECK(thrum_rlock_unlock(&o->rlock) == 0);
    return last;
}

static bool use_rwlock(struct object *o, uint64_t ticket, struct chance *chance)
{
    (void)ticket;
    CHECK(thrum_rwlock_wrlock(&o->rwlock) == 0);
    const bool last = --o->users == 0;
    chance_dawdle(chance);
    if (chance_one_in(chance, 2)) {
        CHECK(thrum_rwlock_downgrade(&o->rwlock) == 0);
        CHECK(thrum_rwlock_rdunlock(&o->rwlock) == 0);
    } else {
        CHECK(thrum_rwlock_wrunlock(&o->rwlock) == 0);
    }
    return last;
}

#define OWNER_TOO(use)                                                                             \
    static bool own_##use(struct object *o, unsigned others, uint64_t ticket,                      \
                          struct chance *chance)                                                   \
    {                                                                                              \
        (void)others;                                                                              \
        return use(o, ticket, chance);                                                             \
    }
OWNER_TOO(use_mutex)
OWNER_TOO(use_rlock)
OWNER_TOO(use_rwlock)

/* ------------------------------------------------------------------------------------------------
 * The owner makes one object after the other, and puts it on the shelf of each of the others
 */

struct shelf {
    struct object *object THRUM_ALIGNED(64);
    uint64_t ticket;
};

struct market {
    const struct trade *trade;
    struct graveyard graves;
    struct shelf shelves[ENDERS_MAX];
    uint32_t over;
};

static void bury(struct object *o)
{
    if (o->heap)
        free(o);
    else
        graveyard_bury(o);
}

static struct object *rise(struct market *m, struct chance *chance)
{
    if (!chance_one_in(chance, 2))
        return graveyard_rise(&m->graves, sizeof(struct object));
    struct object *o = calloc(1, sizeof *o);
    if (o == NULL)
        abort();
    o->heap = true;
    return o;
}

static void owner(struct market *m, struct member *self)
{
    const struct trade *trade = m->trade;
    for (uint64_t ticket = 0; member_goes_on(self); ticket++) {
        struct object *o = rise(m, &self->chance);
        trade->make(o, trade->others);
        for (unsigned i = 0; i < trade->others; i++) {
            /* Taken from there: but whoever took it may be anywhere in the call that ends its use. */
            while (thi_load_acquire(&m->shelves[i].object) != NULL)
                sched_yield();
            m->shelves[i].ticket = ticket;
            thi_store_release(&m->shelves[i].object, o);
        }
        if (trade->own(o, trade->others, ticket, &self->chance))
            bury(o);
    }
    thi_store_release(&m->over, 1u);
}

static void ender(struct market *m, struct shelf *shelf, struct chance *chance)
{
    for (;;) {
        const bool over = thi_load_acquire(&m->over) != 0; /* before the last look at the shelf */
        struct object *o = thi_load_acquire(&shelf->object);
        if (o != NULL) {
            const uint64_t ticket = shelf->ticket;
            thi_store_release(&shelf->object, NULL);
            chance_dawdle(chance);
            if (m->trade->end(o, ticket, chance))
                bury(o);
        } else if (over) {
            break;
        } else {
            sched_yield();
        }
    }
}

static void owner_or_ender(struct member *self)
{
    struct market *m = self->shared;
    if (self->index == 0)
        owner(m, self);
    else
        ender(m, &m->shelves[self->index - 1], &self->chance);
}

static void run_trade(const struct trade *trade, thrum_time_t until)
{
    struct market m = {.trade = trade};
    memset(somebody_out, 0, sizeof somebody_out);
    graveyard_open(&m.graves);
    team_run(trade->others + 1, owner_or_ender, &m, until);
    graveyard_close(&m.graves);
}

#define TRADE_CASE(name, n, make, own, end)                                                        \
    static void name(thrum_time_t until)                                                           \
    {                                                                                              \
        static const struct trade trade = {n, make, own, end};                                     \
        run_trade(&trade, until);                                                                  \
    }

TRADE_CASE(sem, 1, make_sem, own_sem, end_sem)
TRADE_CASE(sem_by_two, 2, make_sem, own_sem, end_sem)
TRADE_CASE(event, 1, make_event, own_event, end_event)
TRADE_CASE(group, 1, make_group, own_group, end_group)
TRADE_CASE(group_of_three, 3, make_group, own_group, end_group)
TRADE_CASE(mutex, 1, make_mutex, own_mutex, end_mutex)
TRADE_CASE(monitor, 1, make_monitor, own_monitor, end_monitor)
TRADE_CASE(barrier_of_two, 1, make_barrier, own_barrier, end_barrier)
TRADE_CASE(barrier_of_four, 3, make_barrier, own_barrier, end_barrier)
TRADE_CASE(counted_mutex, 3, make_counted, own_use_mutex, use_mutex)
TRADE_CASE(counted_rlock, 3, make_counted, own_use_rlock, use_rlock)
TRADE_CASE(counted_rwlock, 3, make_counted, own_use_rwlock, use_rwlock)

static const struct stress_case cases[] = {
    {"a semaphore, after a release", sem},
    {"a semaphore, after two releases", sem_by_two},
    {"an event, after a set", event},
    {"a wait group, after a done", group},
    {"a wait group, after the last done", group_of_three},
    {"a mutex, after another's unlock", mutex},
    {"a condition and its mutex, after a signal", monitor},
    {"a barrier, by the first of two", barrier_of_two},
    {"a barrier, by the first of four", barrier_of_four},
    {"a mutex, by its last user", counted_mutex},
    {"a recursive lock, by its last user", counted_rlock},
    {"a read-write lock, by its last user", counted_rwlock},
};

STRESS_MAIN(cases)
