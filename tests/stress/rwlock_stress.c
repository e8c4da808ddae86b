/*
 * Read-write lock: two plain variables that are equal whenever nobody writes.
 */
#include "stress/stress.h"

#define TINY_NS 60000u

struct table {
    thrum_rwlock_t lock;
    uint64_t left; /* plain, as right and writing */
    uint64_t right;
    unsigned writing;
    uint32_t reading; /* relaxed */
    uint64_t writes;
};

static void read_table(struct table *t, struct chance *chance)
{
    __atomic_fetch_add(&t->reading, 1u, __ATOMIC_RELAXED);
    const uint64_t left = t->left;
    chance_dawdle(chance);
    CHECK(left == t->left && left == t->right);
    CHECK(t->writing == 0);
    __atomic_fetch_sub(&t->reading, 1u, __ATOMIC_RELAXED);
}

static void write_table(struct table *t, struct chance *chance)
{
    CHECK(t->writing++ == 0);
    CHECK(__atomic_load_n(&t->reading, __ATOMIC_RELAXED) == 0);
    t->left++;
    chance_dawdle(chance);
    t->right++;
    t->writing--;
    __atomic_fetch_add(&t->writes, 1u, __ATOMIC_RELAXED);
}

/* From a write lock to a read lock: nobody wrote in between. */
static void downgrade(struct table *t, struct chance *chance)
{
    const uint64_t written = t->left;
    CHECK(thrum_rwlock_downgrade(&t->lock) == 0);
    CHECK(t->left == written && t->right == written);
    read_table(t, chance);
    CHECK(t->left == written);
    CHECK(thrum_rwlock_rdunlock(&t->lock) == 0);
}

static void use_to_write(struct table *t, struct chance *chance)
{
    write_table(t, chance);
    if (chance_one_in(chance, 3))
        downgrade(t, chance);
    else
        CHECK(thrum_rwlock_wrunlock(&t->lock) == 0);
}

static int rdlock_somehow(thrum_rwlock_t *lock, struct chance *chance)
{
    switch (chance_below(chance, 4)) {
    case 0:
        return thrum_rwlock_tryrdlock(lock);
    case 1:
        return thrum_rwlock_rdlock_until(lock, chance_deadline(chance, TINY_NS));
    default:
        return thrum_rwlock_rdlock(lock);
    }
}

static int wrlock_somehow(thrum_rwlock_t *lock, struct chance *chance)
{
    switch (chance_below(chance, 4)) {
    case 0:
        return thrum_rwlock_trywrlock(lock);
    case 1:
        return thrum_rwlock_wrlock_until(lock, chance_deadline(chance, TINY_NS));
    default:
        return thrum_rwlock_wrlock(lock);
    }
}

static bool can_go_wrong_as(int err)
{
    return err == EBUSY || err == ETIMEDOUT;
}

static void mixer(struct member *self)
{
    struct table *t = self->shared;
    while (member_goes_on(self)) {
        const bool reads = !chance_one_in(&self->chance, 4);
        const int err = reads ? rdlock_somehow(&t->lock, &self->chance)
                              : wrlock_somehow(&t->lock, &self->chance);
        if (err != 0) {
            CHECK(can_go_wrong_as(err));
        } else if (reads) {
            read_table(t, &self->chance);
            CHECK(thrum_rwlock_rdunlock(&t->lock) == 0);
        } else {
            use_to_write(t, &self->chance);
        }
    }
}

static void check_free(struct table *t)
{
    CHECK(t->left == t->writes && t->right == t->writes);
    CHECK(thrum_rwlock_wrunlock(&t->lock) == EPERM && thrum_rwlock_rdunlock(&t->lock) == EPERM);
    CHECK(thrum_rwlock_trywrlock(&t->lock) == 0);
    CHECK(thrum_rwlock_tryrdlock(&t->lock) == EBUSY);
    CHECK(thrum_rwlock_wrunlock(&t->lock) == 0);
    CHECK(thrum_rwlock_tryrdlock(&t->lock) == 0 && thrum_rwlock_tryrdlock(&t->lock) == 0);
    CHECK(thrum_rwlock_rdunlock(&t->lock) == 0 && thrum_rwlock_rdunlock(&t->lock) == 0);
    thrum_rwlock_destroy(&t->lock);
}

static void run_table(unsigned n, void (*fn)(struct member *), thrum_time_t until)
{
    struct table t = {.lock = THRUM_RWLOCK_INIT};
    team_run(n, fn, &t, until);
    check_free(&t);
}

static void mix_2(thrum_time_t until)
{
    run_table(2, mixer, until);
}

static void mix_4(thrum_time_t until)
{
    run_table(4, mixer, until);
}

static void mix_16(thrum_time_t until)
{
    run_table(16, mixer, until);
}

/* ------------------------------------------------------------------------------------------------
 * Writers that close the door and give up before the readers inside have left
 */

/* Stays inside for about as long as the writers are ready to wait. */
static void lingering_reader(struct member *self)
{
    struct table *t = self->shared;
    while (member_goes_on(self)) {
        CHECK(thrum_rwlock_rdlock(&t->lock) == 0);
        const thrum_time_t end = thrum_after(chance_below(&self->chance, TINY_NS));
        while (thrum_now() < end)
            chance_dawdle(&self->chance);
        read_table(t, &self->chance);
        CHECK(thrum_rwlock_rdunlock(&t->lock) == 0);
    }
}

static void impatient_reader(struct member *self)
{
    struct table *t = self->shared;
    while (member_goes_on(self)) {
        const thrum_time_t deadline = chance_deadline(&self->chance, TINY_NS);
        const int err = thrum_rwlock_rdlock_until(&t->lock, deadline);
        CHECK(err == 0 || err == ETIMEDOUT);
        if (err != 0)
            continue;
        read_table(t, &self->chance);
        CHECK(thrum_rwlock_rdunlock(&t->lock) == 0);
    }
}

static void impatient_writer(struct member *self)
{
    struct table *t = self->shared;
    while (member_goes_on(self)) {
        const thrum_time_t deadline = chance_deadline(&self->chance, TINY_NS);
        const int err = thrum_rwlock_wrlock_until(&t->lock, deadline);
        CHECK(err == 0 || err == ETIMEDOUT);
        if (err == 0)
            use_to_write(t, &self->chance);
    }
}

static void patient_writer(struct member *self)
{
    struct table *t = self->shared;
    while (member_goes_on(self)) {
        CHECK(thrum_rwlock_wrlock(&t->lock) == 0);
        use_to_write(t, &self->chance);
    }
}

static void crowd(struct member *self)
{
    static void (*const roles[])(struct member *) = {lingering_reader, impatient_writer,
                                                     impatient_reader, lingering_reader,
                                                     impatient_writer, patient_writer};
    roles[self->index % (sizeof roles / sizeof *roles)](self);
}

static void give_up_2(thrum_time_t until)
{
    run_table(2, crowd, until);
}

static void give_up_5(thrum_time_t until)
{
    run_table(5, crowd, until);
}

static void give_up_12(thrum_time_t until)
{
    run_table(12, crowd, until);
}

/* ------------------------------------------------------------------------------------------------
 * Any strand may unlock: one takes the lock, another ends it
 */

struct relay {
    struct table table;
    thrum_sem_t written;
    thrum_sem_t read;
    bool over; /* under the lock */
};

static void taker(struct member *self)
{
    struct relay *r = self->shared;
    bool over = false;
    while (!over) {
        over = !member_goes_on(self);
        CHECK(thrum_rwlock_wrlock(&r->table.lock) == 0);
        write_table(&r->table, &self->chance);
        r->over = over;
        CHECK(thrum_sem_release(&r->written) == 0);
        CHECK(thrum_rwlock_rdlock(&r->table.lock) == 0);
        read_table(&r->table, &self->chance);
        CHECK(thrum_sem_release(&r->read) == 0);
    }
}

static void ender(struct member *self)
{
    struct relay *r = self->shared;
    bool over = false;
    while (!over) {
        CHECK(thrum_sem_acquire(&r->written) == 0);
        over = r->over;
        CHECK(thrum_rwlock_wrunlock(&r->table.lock) == 0);
        CHECK(thrum_sem_acquire(&r->read) == 0);
        CHECK(thrum_rwlock_rdunlock(&r->table.lock) == 0);
    }
}

static void taker_or_ender(struct member *self)
{
    if (self->index == 0)
        taker(self);
    else
        ender(self);
}

static void relay(thrum_time_t until)
{
    struct relay r = {.over = false};
    team_run(2, taker_or_ender, &r, until);
    check_free(&r.table);
}

static const struct stress_case cases[] = {
    {"2 threads, all ways to lock", mix_2},
    {"4 threads, all ways to lock", mix_4},
    {"16 threads, all ways to lock", mix_16},
    {"a reader and a writer that gives up", give_up_2},
    {"5 threads, some of which give up", give_up_5},
    {"12 threads, some of which give up", give_up_12},
    {"unlocked by another", relay},
};

STRESS_MAIN(cases)
