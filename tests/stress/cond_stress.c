/*
 * Condition: no signal is lost, swallowed or made up, wherever it is made and whoever gives up.
 */
#include "stress/stress.h"

#define TINY_NS 60000u

/* ------------------------------------------------------------------------------------------------
 * A bounded buffer. One signal for each item and for each gap; nobody broadcasts but to end it.
 */

#define SLOTS 3u
#define PRODUCERS 3u
#define CONSUMERS 4u

struct buffer {
    thrum_mutex_t mutex;
    thrum_cond_t not_empty;
    thrum_cond_t not_full;
    uint64_t slots[SLOTS];
    unsigned head;
    unsigned used;
    unsigned producers;
    uint64_t put; /* sums of items */
    uint64_t got;
    bool timed; /* some waits have deadlines */
};

static void signal_somehow(struct buffer *b, thrum_cond_t *c, struct chance *chance)
{
    if (chance_one_in(chance, 2)) {
        thrum_cond_signal(c);
        CHECK(thrum_mutex_unlock(&b->mutex) == 0);
    } else {
        CHECK(thrum_mutex_unlock(&b->mutex) == 0);
        thrum_cond_signal(c);
    }
}

/* False: gave up, without another look: no signal can have been meant for it. */
static bool wait_somehow(struct buffer *b, thrum_cond_t *c, struct chance *chance)
{
    int err = 0;
    if (b->timed && chance_one_in(chance, 2))
        err = thrum_cond_wait_until(c, &b->mutex, chance_deadline(chance, TINY_NS));
    else
        err = thrum_cond_wait(c, &b->mutex);
    CHECK(err == 0 || err == ETIMEDOUT);
    CHECK(thrum_mutex_locked(&b->mutex));
    return err == 0;
}

static void put(struct buffer *b, uint64_t item, struct chance *chance)
{
    CHECK(thrum_mutex_lock(&b->mutex) == 0);
    while (b->used == SLOTS) {
        if (!wait_somehow(b, &b->not_full, chance)) {
            CHECK(thrum_mutex_unlock(&b->mutex) == 0);
            return;
        }
    }
    b->slots[(b->head + b->used++) % SLOTS] = item;
    b->put += item;
    signal_somehow(b, &b->not_empty, chance);
}

/* False: there will be no more. */
static bool get(struct buffer *b, struct chance *chance)
{
    CHECK(thrum_mutex_lock(&b->mutex) == 0);
    while (b->used == 0) {
        const bool over = b->producers == 0;
        if (over || !wait_somehow(b, &b->not_empty, chance)) {
            CHECK(thrum_mutex_unlock(&b->mutex) == 0);
            return !over;
        }
    }
    b->got += b->slots[b->head];
    b->head = (b->head + 1) % SLOTS;
    b->used--;
    signal_somehow(b, &b->not_full, chance);
    return true;
}

static void produce(struct member *self)
{
    struct buffer *b = self->shared;
    while (member_goes_on(self))
        put(b, chance_below(&self->chance, 1000) + 1, &self->chance);
    CHECK(thrum_mutex_lock(&b->mutex) == 0);
    if (--b->producers == 0)
        thrum_cond_broadcast(&b->not_empty);
    CHECK(thrum_mutex_unlock(&b->mutex) == 0);
}

static void producer_or_consumer(struct member *self)
{
    struct buffer *b = self->shared;
    if (self->index < PRODUCERS)
        produce(self);
    else
        while (get(b, &self->chance))
            watchdog_progress();
}

static void run_buffer(bool timed, thrum_time_t until)
{
    struct buffer b = {.producers = PRODUCERS, .timed = timed};
    team_run(PRODUCERS + CONSUMERS, producer_or_consumer, &b, until);
    CHECK(b.used == 0 && b.put == b.got);
}

static void buffer(thrum_time_t until)
{
    run_buffer(false, until);
}

static void buffer_timed(thrum_time_t until)
{
    run_buffer(true, until);
}

/* ------------------------------------------------------------------------------------------------
 * A ledger: whoever signals notes under the lock how many waits that will end. Each of those ends, and
 * no other does.
 */

#define SLEEPERS 8u

struct ledger {
    thrum_mutex_t mutex;
    thrum_rlock_t rlock;
    thrum_cond_t cond;
    unsigned waiting;  /* and not promised a signal */
    unsigned promised; /* a signal, and have not returned yet */
    bool outside;      /* some signals are made outside the lock */
    bool over;
};

static void note_return(struct ledger *l, int err)
{
    CHECK(err == 0);
    CHECK(l->promised-- != 0);
}

static void ledger_sleeper(struct member *self)
{
    struct ledger *l = self->shared;
    CHECK(thrum_mutex_lock(&l->mutex) == 0);
    while (!l->over) {
        l->waiting++;
        note_return(l, thrum_cond_wait(&l->cond, &l->mutex));
        watchdog_progress();
        if (chance_one_in(&self->chance, 4)) {
            CHECK(thrum_mutex_unlock(&l->mutex) == 0);
            chance_dawdle(&self->chance);
            CHECK(thrum_mutex_lock(&l->mutex) == 0);
        }
    }
    CHECK(thrum_mutex_unlock(&l->mutex) == 0);
}

static void ledger_sleeper_rlock(struct member *self)
{
    struct ledger *l = self->shared;
    while (!__atomic_load_n(&l->over, __ATOMIC_RELAXED)) {
        const unsigned depth = chance_below(&self->chance, 3) + 1;
        for (unsigned i = 0; i < depth; i++)
            CHECK(thrum_rlock_lock(&l->rlock) == 0);
        if (!l->over) {
            l->waiting++;
            note_return(l, thrum_cond_wait_rlock(&l->cond, &l->rlock));
        }
        CHECK(thrum_rlock_depth(&l->rlock) == depth);
        for (unsigned i = 0; i < depth; i++)
            CHECK(thrum_rlock_unlock(&l->rlock) == 0);
        watchdog_progress();
    }
}

/* Under the lock: promises a signal to up to n. Returns to how many. */
static unsigned promise(struct ledger *l, unsigned n)
{
    const unsigned found = n < l->waiting ? n : l->waiting;
    l->waiting -= found;
    l->promised += found;
    return found;
}

static void send(struct ledger *l, unsigned n)
{
    if (n == 1)
        thrum_cond_signal(&l->cond);
    else
        thrum_cond_signal_n(&l->cond, n);
}

/* A signal that is made outside the lock finds at least as many waiters as were promised one, but
 * others may have joined them: where there are such signals, each is for those promised and no more. */
static void ledger_signaller(struct member *self)
{
    struct ledger *l = self->shared;
    while (member_goes_on(self)) {
        const unsigned n = chance_below(&self->chance, 3) + 1;
        const bool outside = l->outside && chance_one_in(&self->chance, 2);
        CHECK(thrum_mutex_lock(&l->mutex) == 0);
        const unsigned found = promise(l, n);
        if (!outside)
            send(l, l->outside ? found : n);
        chance_dawdle(&self->chance);
        CHECK(thrum_mutex_unlock(&l->mutex) == 0);
        if (outside)
            send(l, found);
    }
}

static void ledger_signaller_rlock(struct member *self)
{
    struct ledger *l = self->shared;
    while (member_goes_on(self)) {
        CHECK(thrum_rlock_lock(&l->rlock) == 0);
        (void)promise(l, 1);
        send(l, 1);
        CHECK(thrum_rlock_unlock(&l->rlock) == 0);
        chance_dawdle(&self->chance);
    }
}

static void broadcast_end(struct ledger *l, bool rlock)
{
    CHECK((rlock ? thrum_rlock_lock(&l->rlock) : thrum_mutex_lock(&l->mutex)) == 0);
    __atomic_store_n(&l->over, true, __ATOMIC_RELAXED);
    (void)promise(l, l->waiting);
    thrum_cond_broadcast(&l->cond);
    CHECK((rlock ? thrum_rlock_unlock(&l->rlock) : thrum_mutex_unlock(&l->mutex)) == 0);
}

static void run_ledger(bool rlock, bool outside, thrum_time_t until)
{
    struct ledger l = {.outside = outside};
    struct member sleepers[SLEEPERS];
    team_start(sleepers, SLEEPERS, rlock ? ledger_sleeper_rlock : ledger_sleeper, &l, until);
    team_run(2, rlock ? ledger_signaller_rlock : ledger_signaller, &l, until);
    broadcast_end(&l, rlock);
    team_join(sleepers, SLEEPERS);
    CHECK(l.waiting == 0 && l.promised == 0);
}

static void ledger(thrum_time_t until)
{
    run_ledger(false, false, until);
}

static void ledger_outside(thrum_time_t until)
{
    run_ledger(false, true, until);
}

static void ledger_rlock(thrum_time_t until)
{
    run_ledger(true, false, until);
}

/* ------------------------------------------------------------------------------------------------
 * Deadlines and signals at the same time: never more waits end with 0 than signals were made
 */

struct tally {
    thrum_mutex_t mutex;
    thrum_cond_t cond;
    uint64_t sent;
    uint64_t woken;
};

static void tally_member(struct member *self)
{
    struct tally *t = self->shared;
    while (member_goes_on(self)) {
        CHECK(thrum_mutex_lock(&t->mutex) == 0);
        if (self->index % 4 == 0) {
            t->sent++;
            thrum_cond_signal(&t->cond);
        } else {
            const thrum_time_t deadline = chance_deadline(&self->chance, TINY_NS);
            const int err = thrum_cond_wait_until(&t->cond, &t->mutex, deadline);
            CHECK(err == 0 || err == ETIMEDOUT);
            t->woken += err == 0;
            CHECK(t->woken <= t->sent);
        }
        CHECK(thrum_mutex_unlock(&t->mutex) == 0);
    }
}

static void tally(thrum_time_t until)
{
    struct tally t = {.sent = 0};
    team_run(8, tally_member, &t, until);
}

/* ------------------------------------------------------------------------------------------------
 * Broadcast: all meet, again and again
 */

#define MEETERS 6u

struct meeting {
    thrum_mutex_t mutex;
    thrum_cond_t cond;
    unsigned arrived;
    uint64_t generation;
    bool over;
};

static bool has_changed(void *arg)
{
    const uint64_t *const *generations = arg;
    return *generations[0] != *generations[1];
}

/* Under the lock. */
static void await_generation(struct meeting *m, uint64_t mine, struct chance *chance)
{
    const uint64_t *generations[] = {&m->generation, &mine};
    if (chance_one_in(chance, 3)) {
        CHECK(thrum_cond_wait_for(&m->cond, &m->mutex, has_changed, generations, THRUM_FOREVER) ==
              0);
        return;
    }
    while (m->generation == mine)
        CHECK(thrum_cond_wait(&m->cond, &m->mutex) == 0);
}

static void meeter(struct member *self)
{
    struct meeting *m = self->shared;
    bool over = false;
    while (!over) {
        chance_dawdle(&self->chance);
        CHECK(thrum_mutex_lock(&m->mutex) == 0);
        const uint64_t mine = m->generation;
        if (++m->arrived == MEETERS) {
            m->over = !member_goes_on(self);
            m->arrived = 0;
            m->generation++;
            thrum_cond_broadcast(&m->cond);
        } else {
            await_generation(m, mine, &self->chance);
        }
        CHECK(m->generation == mine + 1);
        over = m->over;
        CHECK(thrum_mutex_unlock(&m->mutex) == 0);
    }
}

static void broadcast(thrum_time_t until)
{
    struct meeting m = {.over = false};
    team_run(MEETERS, meeter, &m, until);
}

/* ------------------------------------------------------------------------------------------------
 * Cancellation: a signal for each item; the doomed leave as soon as a wait says so. What they left
 * behind, and no more, is there for the patient, who have no other way to hear of it.
 */

#define ITEMS 60u
#define DOOMED 4u
#define PATIENT 2u

struct round {
    thrum_mutex_t mutex;
    thrum_cond_t cond;
    unsigned items;
    unsigned taken;
};

/* Under the lock. */
static void take_all(struct round *r, struct chance *chance)
{
    while (r->items != 0) {
        r->items--;
        if (++r->taken == ITEMS)
            thrum_cond_broadcast(&r->cond);
        CHECK(thrum_mutex_unlock(&r->mutex) == 0);
        watchdog_progress();
        chance_dawdle(chance);
        CHECK(thrum_mutex_lock(&r->mutex) == 0);
    }
}

static void doomed(struct member *self)
{
    struct round *r = self->shared;
    CHECK(thrum_mutex_lock(&r->mutex) == 0);
    for (int err = 0; err != ECANCELED;) {
        take_all(r, &self->chance);
        err = chance_one_in(&self->chance, 2)
                  ? thrum_cond_wait(&r->cond, &r->mutex)
                  : thrum_cond_wait_until(&r->cond, &r->mutex, thrum_after(THRUM_MS(1)));
        CHECK(err == 0 || err == ETIMEDOUT || err == ECANCELED);
        CHECK(err != ECANCELED || thrum_cancelled());
        CHECK(thrum_mutex_locked(&r->mutex));
    }
    CHECK(thrum_mutex_unlock(&r->mutex) == 0);
}

static void patient(struct member *self)
{
    struct round *r = self->shared;
    CHECK(thrum_mutex_lock(&r->mutex) == 0);
    for (;;) {
        take_all(r, &self->chance);
        if (r->taken == ITEMS)
            break;
        CHECK(thrum_cond_wait(&r->cond, &r->mutex) == 0);
    }
    CHECK(thrum_mutex_unlock(&r->mutex) == 0);
}

static void deliver(struct round *r, struct chance *chance)
{
    const bool inside = chance_one_in(chance, 2);
    CHECK(thrum_mutex_lock(&r->mutex) == 0);
    r->items++;
    if (inside)
        thrum_cond_signal(&r->cond);
    CHECK(thrum_mutex_unlock(&r->mutex) == 0);
    if (!inside)
        thrum_cond_signal(&r->cond);
}

static void cancelled_round(struct chance *chance)
{
    struct round r = {.items = 0};
    struct member doomeds[DOOMED];
    struct member patients[PATIENT];
    team_start(doomeds, DOOMED, doomed, &r, THRUM_FOREVER);
    team_start(patients, PATIENT, patient, &r, THRUM_FOREVER);
    unsigned cancelled = 0;
    for (unsigned i = 0; i < ITEMS; i++) {
        deliver(&r, chance);
        if (chance_one_in(chance, ITEMS / DOOMED) && cancelled < DOOMED)
            member_cancel(&doomeds[cancelled++]);
        chance_dawdle(chance);
    }
    team_join(patients, PATIENT);
    while (cancelled < DOOMED)
        member_cancel(&doomeds[cancelled++]);
    team_join(doomeds, DOOMED);
    CHECK(r.items == 0 && r.taken == ITEMS);
}

static void cancelled(thrum_time_t until)
{
    struct chance chance = chance_begin();
    do
        cancelled_round(&chance);
    while (thrum_now() < until);
}

static const struct stress_case cases[] = {
    {"a bounded buffer", buffer},
    {"a bounded buffer, with deadlines", buffer_timed},
    {"as many as were signalled", ledger},
    {"as many as were signalled, outside the lock too", ledger_outside},
    {"as many as were signalled, with a recursive lock", ledger_rlock},
    {"no more than were signalled", tally},
    {"broadcasts", broadcast},
    {"cancelled", cancelled},
};

STRESS_MAIN(cases)
