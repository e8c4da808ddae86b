/*
 * Mutex: one strand at a time, seen by plain variables that only its holder touches.
 */
#include "stress/stress.h"

#define TINY_NS 60000u

struct account {
    thrum_mutex_t mutex;
    unsigned inside; /* all plain: the mutex is what keeps them whole */
    uint64_t debit;
    uint64_t credit;
    uint64_t got; /* by relaxed additions: how often any thread had the mutex */
};

static void use(struct account *a, struct chance *chance)
{
    CHECK(a->inside++ == 0);
    CHECK(a->debit == a->credit);
    CHECK(thrum_mutex_locked(&a->mutex));
    a->debit++;
    chance_dawdle(chance);
    a->credit++;
    a->inside--;
    __atomic_fetch_add(&a->got, 1u, __ATOMIC_RELAXED);
    CHECK(thrum_mutex_unlock(&a->mutex) == 0);
}

static int lock_somehow(thrum_mutex_t *mutex, struct chance *chance)
{
    switch (chance_below(chance, 4)) {
    case 0:
        return thrum_mutex_trylock(mutex);
    case 1:
        return thrum_mutex_lock_until(mutex, chance_deadline(chance, TINY_NS));
    default:
        return thrum_mutex_lock(mutex);
    }
}

static void mixer(struct member *self)
{
    struct account *a = self->shared;
    while (member_goes_on(self)) {
        const int err = lock_somehow(&a->mutex, &self->chance);
        CHECK(err == 0 || err == EBUSY || err == ETIMEDOUT);
        if (err == 0)
            use(a, &self->chance);
    }
}

/* Holds it for about as long as others are ready to wait: unlocks and deadlines meet. */
static void racer(struct member *self)
{
    struct account *a = self->shared;
    while (member_goes_on(self)) {
        const int err = thrum_mutex_lock_until(&a->mutex, chance_deadline(&self->chance, TINY_NS));
        CHECK(err == 0 || err == ETIMEDOUT);
        if (err != 0)
            continue;
        const thrum_time_t end = thrum_after(chance_below(&self->chance, TINY_NS));
        while (thrum_now() < end)
            thi_cpu_pause();
        use(a, &self->chance);
    }
}

/* Those with time to wait, among racers: a deadline that passes must not take their wake-up along. */
static void patient_or_racer(struct member *self)
{
    struct account *a = self->shared;
    if (self->index % 2 != 0) {
        racer(self);
        return;
    }
    while (member_goes_on(self)) {
        CHECK(thrum_mutex_lock(&a->mutex) == 0);
        use(a, &self->chance);
    }
}

static void run_account(unsigned n, void (*fn)(struct member *), thrum_time_t until)
{
    struct account a = {.mutex = THRUM_MUTEX_INIT};
    team_run(n, fn, &a, until);
    CHECK(a.debit == a.got && a.credit == a.got);
    CHECK(!thrum_mutex_locked(&a.mutex));
    CHECK(thrum_mutex_trylock(&a.mutex) == 0);
    CHECK(thrum_mutex_unlock(&a.mutex) == 0);
    CHECK(thrum_mutex_unlock(&a.mutex) == EPERM);
    thrum_mutex_destroy(&a.mutex);
}

#define ACCOUNT_CASE(fn, n)                                                                        \
    static void fn##_##n(thrum_time_t until)                                                       \
    {                                                                                              \
        run_account(n, fn, until);                                                                 \
    }

ACCOUNT_CASE(mixer, 2)
ACCOUNT_CASE(mixer, 4)
ACCOUNT_CASE(mixer, 16)
ACCOUNT_CASE(racer, 2)
ACCOUNT_CASE(racer, 4)
ACCOUNT_CASE(racer, 16)
ACCOUNT_CASE(patient_or_racer, 4)
ACCOUNT_CASE(patient_or_racer, 16)

/* ------------------------------------------------------------------------------------------------
 * Any strand may unlock: a token goes round, from gate to gate. Nobody else wants them, and no wait
 * has a deadline: each unlock counts.
 */

#define GATES 4u

struct ring {
    thrum_mutex_t gates[GATES]; /* locked, but for the one that the token is at */
    uint64_t rounds;            /* plain: of who has the token */
    bool over;
};

static void gatekeeper(struct member *self)
{
    struct ring *ring = self->shared;
    thrum_mutex_t *mine = &ring->gates[self->index];
    thrum_mutex_t *next = &ring->gates[(self->index + 1) % GATES];
    bool over = false;
    uint64_t turns = 0;
    while (!over) {
        CHECK(thrum_mutex_lock(mine) == 0);
        CHECK(ring->rounds % GATES == self->index || ring->over);
        ring->over = ring->over || !member_goes_on(self);
        over = ring->over;
        ring->rounds++;
        turns++;
        CHECK(thrum_mutex_unlock(next) == 0);
    }
    CHECK(turns != 0);
}

static void token(thrum_time_t until)
{
    struct ring ring = {.rounds = 0};
    for (unsigned i = 1; i < GATES; i++)
        CHECK(thrum_mutex_lock(&ring.gates[i]) == 0);
    team_run(GATES, gatekeeper, &ring, until);
}

static const struct stress_case cases[] = {
    {"2 threads, all ways to lock", mixer_2},
    {"4 threads, all ways to lock", mixer_4},
    {"16 threads, all ways to lock", mixer_16},
    {"2 threads, deadlines against unlocks", racer_2},
    {"4 threads, deadlines against unlocks", racer_4},
    {"16 threads, deadlines against unlocks", racer_16},
    {"4 threads, half of them patient", patient_or_racer_4},
    {"16 threads, half of them patient", patient_or_racer_16},
    {"unlocked by another", token},
};

STRESS_MAIN(cases)
