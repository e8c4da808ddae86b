/*
 * Semaphore: permits are conserved, whoever times out, is cancelled, or finds no room.
 */
#include "stress/stress.h"

#define TINY_NS 60000u

struct pool {
    thrum_sem_t sem;
    unsigned permits;
    uint32_t inside;   /* relaxed, as all that follow but `plain` */
    uint64_t released; /* permits */
    uint64_t taken;
    uint64_t plain; /* of who has the only permit, where there is one */
};

static void count(uint64_t *counter, uint64_t n)
{
    __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

static int acquire_somehow(thrum_sem_t *sem, struct chance *chance)
{
    switch (chance_below(chance, 4)) {
    case 0:
        return thrum_sem_tryacquire(sem);
    case 1:
        return thrum_sem_acquire_until(sem, chance_deadline(chance, TINY_NS));
    default:
        return thrum_sem_acquire(sem);
    }
}

/* ------------------------------------------------------------------------------------------------
 * So many inside, and no more
 */

static void guest(struct member *self)
{
    struct pool *p = self->shared;
    while (member_goes_on(self)) {
        const int err = acquire_somehow(&p->sem, &self->chance);
        CHECK(err == 0 || err == EAGAIN || err == ETIMEDOUT);
        if (err != 0)
            continue;
        CHECK(__atomic_add_fetch(&p->inside, 1u, __ATOMIC_RELAXED) <= p->permits);
        if (p->permits == 1)
            p->plain++;
        count(&p->taken, 1);
        chance_dawdle(&self->chance);
        __atomic_fetch_sub(&p->inside, 1u, __ATOMIC_RELAXED);
        CHECK(thrum_sem_release(&p->sem) == 0);
    }
}

static void run_guests(unsigned n, unsigned permits, thrum_time_t until)
{
    struct pool p = {.sem = THRUM_SEM_INIT(permits), .permits = permits};
    team_run(n, guest, &p, until);
    CHECK(thrum_sem_value(&p.sem) == permits);
    CHECK(permits != 1 || p.plain == p.taken);
}

static void guests_2_of_1(thrum_time_t until)
{
    run_guests(2, 1, until);
}

static void guests_16_of_1(thrum_time_t until)
{
    run_guests(16, 1, until);
}

static void guests_16_of_3(thrum_time_t until)
{
    run_guests(16, 3, until);
}

/* ------------------------------------------------------------------------------------------------
 * Released in ones and in many; taken by some who are cancelled. What was released and not taken is
 * still there.
 */

#define PATIENT 2u
#define DOOMED 4u
#define RELEASERS 2u
#define RELEASES 40u

/* Until it is cancelled. A permit that is there is taken even then. */
static void doomed(struct member *self)
{
    struct pool *p = self->shared;
    int err = 0;
    while (err != ECANCELED) {
        err = chance_one_in(&self->chance, 2)
                  ? thrum_sem_acquire(&p->sem)
                  : thrum_sem_acquire_until(&p->sem, chance_deadline(&self->chance, TINY_NS));
        CHECK(err == 0 || err == ETIMEDOUT || err == ECANCELED);
        CHECK(err != ECANCELED || thrum_cancelled());
        if (err == 0)
            count(&p->taken, 1);
        watchdog_progress();
    }
}

static void releaser(struct member *self)
{
    struct pool *p = self->shared;
    for (unsigned i = 0; i < RELEASES; i++) {
        const unsigned n = chance_below(&self->chance, 4) + 1;
        count(&p->released, n);
        CHECK((n == 1 ? thrum_sem_release(&p->sem) : thrum_sem_release_n(&p->sem, n)) == 0);
        chance_dawdle(&self->chance);
    }
}

static void cancelled_round(struct chance *chance)
{
    struct pool p = {.sem = THRUM_SEM_INIT(0)};
    struct member takers[DOOMED];
    struct member releasers[RELEASERS];
    team_start(takers, DOOMED, doomed, &p, THRUM_FOREVER);
    team_start(releasers, RELEASERS, releaser, &p, THRUM_FOREVER);
    for (unsigned i = 0; i < DOOMED; i++) {
        chance_dawdle(chance);
        member_cancel(&takers[i]);
    }
    team_join(takers, DOOMED);
    team_join(releasers, RELEASERS);
    CHECK(p.taken + thrum_sem_value(&p.sem) == p.released);
    while (thrum_sem_tryacquire(&p.sem) == 0)
        p.taken++;
    CHECK(p.taken == p.released);
}

static void cancelled(thrum_time_t until)
{
    struct chance chance = chance_begin();
    do
        cancelled_round(&chance);
    while (thrum_now() < until);
}

/* ------------------------------------------------------------------------------------------------
 * Patient takers beside impatient and doomed ones, and just enough permits: a wake-up that went away
 * with one who gave up would leave a patient one waiting for ever.
 */

#define SHARE 60u

static void patient(struct member *self)
{
    struct pool *p = self->shared;
    for (unsigned i = 0; i < SHARE; i++) {
        CHECK(thrum_sem_acquire(&p->sem) == 0);
        count(&p->taken, 1);
        watchdog_progress();
    }
}

/* Gives back what it gets; until it is cancelled. */
static void nuisance(struct member *self)
{
    struct pool *p = self->shared;
    int err = 0;
    while (err != ECANCELED) {
        err = chance_one_in(&self->chance, 4)
                  ? thrum_sem_acquire(&p->sem)
                  : thrum_sem_acquire_until(&p->sem, chance_deadline(&self->chance, TINY_NS));
        CHECK(err == 0 || err == ETIMEDOUT || err == ECANCELED);
        if (err == 0)
            CHECK(thrum_sem_release(&p->sem) == 0);
    }
}

static void enough_round(struct chance *chance)
{
    struct pool p = {.sem = THRUM_SEM_INIT(0)};
    struct member takers[PATIENT];
    struct member nuisances[DOOMED];
    team_start(takers, PATIENT, patient, &p, THRUM_FOREVER);
    team_start(nuisances, DOOMED, nuisance, &p, THRUM_FOREVER);
    unsigned left = PATIENT * SHARE;
    unsigned cancelled = 0;
    for (unsigned i = 0; left != 0; i++) {
        const unsigned n = chance_below(chance, left < 3 ? left : 3) + 1;
        CHECK(thrum_sem_release_n(&p.sem, n) == 0);
        left -= n;
        chance_dawdle(chance);
        if (i % 16 == 15 && cancelled < DOOMED - 1)
            member_cancel(&nuisances[cancelled++]);
    }
    team_join(takers, PATIENT);
    while (cancelled < DOOMED)
        member_cancel(&nuisances[cancelled++]);
    team_join(nuisances, DOOMED);
    CHECK(p.taken == PATIENT * SHARE && thrum_sem_value(&p.sem) == 0);
}

static void enough(thrum_time_t until)
{
    struct chance chance = chance_begin();
    do
        enough_round(&chance);
    while (thrum_now() < until);
}

/* ------------------------------------------------------------------------------------------------
 * Bounded
 */

#define BOUND 3u

static void bounded_member(struct member *self)
{
    struct pool *p = self->shared;
    while (member_goes_on(self)) {
        const unsigned n = chance_below(&self->chance, BOUND + 2) + 1;
        int err = 0;
        switch (chance_below(&self->chance, 3)) {
        case 0:
            err = n == 1 ? thrum_sem_release(&p->sem) : thrum_sem_release_n(&p->sem, n);
            CHECK(err == 0 || err == EOVERFLOW);
            CHECK(n <= BOUND || err == EOVERFLOW);
            if (err == 0)
                count(&p->released, n);
            break;
        case 1:
            err = thrum_sem_acquire_until(&p->sem, chance_deadline(&self->chance, TINY_NS));
            CHECK(err == 0 || err == ETIMEDOUT);
            if (err == 0)
                count(&p->taken, 1);
            break;
        default:
            if (thrum_sem_tryacquire(&p->sem) == 0)
                count(&p->taken, 1);
        }
        CHECK(thrum_sem_value(&p->sem) <= BOUND);
    }
}

static void bounded(thrum_time_t until)
{
    struct pool p = {.released = 0};
    CHECK(thrum_sem_init_bounded(&p.sem, 0, BOUND) == 0);
    team_run(6, bounded_member, &p, until);
    CHECK(p.taken + thrum_sem_value(&p.sem) == p.released);
}

/* ------------------------------------------------------------------------------------------------
 * To and fro: no deadline, and one permit under way
 */

struct table {
    thrum_sem_t sides[2];
    uint64_t hits; /* plain: of whose turn it is */
    bool over;
};

static void player(struct member *self)
{
    struct table *t = self->shared;
    bool over = false;
    while (!over) {
        CHECK(thrum_sem_acquire(&t->sides[self->index]) == 0);
        CHECK(t->hits % 2 == self->index || t->over);
        t->over = t->over || !member_goes_on(self);
        over = t->over;
        t->hits++;
        CHECK(thrum_sem_release(&t->sides[1 - self->index]) == 0);
    }
}

static void to_and_fro(thrum_time_t until)
{
    struct table t = {.sides = {THRUM_SEM_INIT(1), THRUM_SEM_INIT(0)}};
    team_run(2, player, &t, until);
}

static const struct stress_case cases[] = {
    {"2 threads, 1 permit", guests_2_of_1},
    {"16 threads, 1 permit", guests_16_of_1},
    {"16 threads, 3 permits", guests_16_of_3},
    {"takers are cancelled", cancelled},
    {"just enough for the patient", enough},
    {"bounded", bounded},
    {"to and fro", to_and_fro},
};

STRESS_MAIN(cases)
