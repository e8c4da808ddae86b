#include <thrum/rwlock.h>

#include "support/puppet.h"
#include "sync/lock_conformance.h"

TestSuite(rwlock_write, .timeout = 30);
TestSuite(rwlock_read, .timeout = 30);
TestSuite(rwlock, .timeout = 30);

static int init(void *l)
{
    return thrum_rwlock_init(l);
}

static void destroy(void *l)
{
    thrum_rwlock_destroy(l);
}

static int rdlock(void *l)
{
    return thrum_rwlock_rdlock(l);
}

static int tryrdlock(void *l)
{
    return thrum_rwlock_tryrdlock(l);
}

static int rdlock_until(void *l, thrum_time_t deadline)
{
    return thrum_rwlock_rdlock_until(l, deadline);
}

static int rdunlock(void *l)
{
    return thrum_rwlock_rdunlock(l);
}

static int wrlock(void *l)
{
    return thrum_rwlock_wrlock(l);
}

static int trywrlock(void *l)
{
    return thrum_rwlock_trywrlock(l);
}

static int wrlock_until(void *l, thrum_time_t deadline)
{
    return thrum_rwlock_wrlock_until(l, deadline);
}

static int wrunlock(void *l)
{
    return thrum_rwlock_wrunlock(l);
}

/* The next writer and the readers wait on the lock, further writers on the mutex in it. */
static unsigned parked(const void *lock)
{
    const thrum_rwlock_t *l = lock;
    return thi_park_count(l) + thi_park_count(&l->thrum_writers);
}

static const struct lock_kind write_kind = {
    .size = sizeof(thrum_rwlock_t),
    .init = init,
    .destroy = destroy,
    .lock = wrlock,
    .trylock = trywrlock,
    .lock_until = wrlock_until,
    .unlock = wrunlock,
    .parked = parked,
    .exclude = wrlock,
    .include = wrunlock,
};

static const struct lock_kind read_kind = {
    .size = sizeof(thrum_rwlock_t),
    .init = init,
    .destroy = destroy,
    .lock = rdlock,
    .trylock = tryrdlock,
    .lock_until = rdlock_until,
    .unlock = rdunlock,
    .parked = parked,
    .exclude = wrlock,
    .include = wrunlock,
};

LOCK_CONFORMANCE(rwlock_write, &write_kind)
LOCK_CONFORMANCE(rwlock_read, &read_kind)

Test(rwlock, many_read_or_one_writes)
{
    thrum_rwlock_t l = THRUM_RWLOCK_INIT;
    EXPECT_CALL(0, thrum_rwlock_rdlock(&l));
    cr_expect_eq(elsewhere(rdlock, &l), 0);
    cr_expect_eq(elsewhere(tryrdlock, &l), 0);
    EXPECT_CALL(EBUSY, thrum_rwlock_trywrlock(&l));
    EXPECT_CALL(ETIMEDOUT, thrum_rwlock_wrlock_until(&l, PAST));
    EXPECT_CALL(ETIMEDOUT, thrum_rwlock_wrlock_until(&l, SOON));
    EXPECT_CALL(EPERM, thrum_rwlock_wrunlock(&l));
    EXPECT_CALL(EPERM, thrum_rwlock_downgrade(&l));
    EXPECT_CALL(0, thrum_rwlock_tryrdlock(&l)); /* the writer that gave up has left the door open */
    for (int i = 0; i < 4; i++)
        EXPECT_CALL(0, thrum_rwlock_rdunlock(&l)); /* any strand may */
    EXPECT_CALL(EPERM, thrum_rwlock_rdunlock(&l));

    EXPECT_CALL(0, thrum_rwlock_trywrlock(&l));
    EXPECT_CALL(EPERM, thrum_rwlock_rdunlock(&l));
    EXPECT_CALL(EBUSY, thrum_rwlock_tryrdlock(&l));
    EXPECT_CALL(EBUSY, thrum_rwlock_trywrlock(&l));
    EXPECT_CALL(ETIMEDOUT, thrum_rwlock_rdlock_until(&l, PAST));
    EXPECT_CALL(ETIMEDOUT, thrum_rwlock_rdlock_until(&l, SOON));
    EXPECT_CALL(ETIMEDOUT, thrum_rwlock_wrlock_until(&l, SOON));
    cr_expect_eq(elsewhere(wrunlock, &l), 0, "any strand may unlock");
    EXPECT_CALL(0, thrum_rwlock_trywrlock(&l));
    EXPECT_CALL(0, thrum_rwlock_wrunlock(&l));
}

Test(rwlock, null_is_refused_by_downgrade)
{
    EXPECT_CALL(EINVAL, thrum_rwlock_downgrade(NULL));
}

/* --- limits: put into the word by hand ----------------------------------------------------------- */

#define WAITING_ONE (UINT64_C(1) << 22)

Test(rwlock, more_readers_than_it_can_count_are_refused)
{
    thrum_rwlock_t l = THRUM_RWLOCK_INIT;
    l.thrum_word = THRUM_RWLOCK_READERS_MAX - 1;
    EXPECT_CALL(0, thrum_rwlock_rdlock(&l));
    EXPECT_CALL(EOVERFLOW, thrum_rwlock_rdlock(&l));
    EXPECT_CALL(EOVERFLOW, thrum_rwlock_tryrdlock(&l));
    EXPECT_CALL(EOVERFLOW, thrum_rwlock_rdlock_until(&l, PAST));
    EXPECT_CALL(EOVERFLOW, thrum_rwlock_rdlock_until(&l, THRUM_FOREVER));
    cr_expect_eq(l.thrum_word, (uint64_t)THRUM_RWLOCK_READERS_MAX, "nothing changed");
    EXPECT_CALL(EBUSY, thrum_rwlock_trywrlock(&l));
    EXPECT_CALL(0, thrum_rwlock_rdunlock(&l));
    EXPECT_CALL(0, thrum_rwlock_tryrdlock(&l));
}

Test(rwlock, more_waiting_readers_than_it_can_count_are_refused)
{
    thrum_rwlock_t l = THRUM_RWLOCK_INIT;
    EXPECT_CALL(0, thrum_rwlock_wrlock(&l));
    const uint64_t full = l.thrum_word + THRUM_RWLOCK_READERS_MAX * WAITING_ONE;
    l.thrum_word = full;
    EXPECT_CALL(EOVERFLOW, thrum_rwlock_rdlock(&l));
    EXPECT_CALL(EOVERFLOW, thrum_rwlock_rdlock_until(&l, PAST));
    EXPECT_CALL(EBUSY, thrum_rwlock_tryrdlock(&l));
    cr_expect_eq(l.thrum_word, full, "nothing changed");
    l.thrum_word -= WAITING_ONE;
    EXPECT_CALL(ETIMEDOUT, thrum_rwlock_rdlock_until(&l, PAST));
    cr_expect_eq(l.thrum_word, full - WAITING_ONE);
}

/* --- fairness, by states ------------------------------------------------------------------------- */

struct side {
    thrum_rwlock_t *l;
    uint32_t *clock; /* counts who got in */
    uint32_t turn;   /* this one's place among them */
    uint32_t inside;
    uint32_t leave;
};

static int read_until_told(void *arg)
{
    struct side *s = arg;
    const int err = thrum_rwlock_rdlock(s->l);
    s->turn = thi_fetch_add_relaxed(s->clock, 1u);
    thi_store_release(&s->inside, 1u);
    await_word(&s->leave, 1);
    return err != 0 ? err : thrum_rwlock_rdunlock(s->l);
}

static int write_until_told(void *arg)
{
    struct side *s = arg;
    const int err = thrum_rwlock_wrlock(s->l);
    s->turn = thi_fetch_add_relaxed(s->clock, 1u);
    thi_store_release(&s->inside, 1u);
    await_word(&s->leave, 1);
    return err != 0 ? err : thrum_rwlock_wrunlock(s->l);
}

static void start_side(struct caller *c, int (*fn)(void *), struct side *s, thrum_rwlock_t *l,
                       uint32_t *clock)
{
    *s = (struct side){.l = l, .clock = clock};
    caller_start(c, fn, s);
}

static bool is_inside(const struct side *s)
{
    return thi_load_acquire(&s->inside) != 0;
}

static void tell_to_leave(struct side *s)
{
    thi_store_release(&s->leave, 1u);
}

Test(rwlock, a_waiting_writer_goes_before_readers_that_come_later)
{
    thrum_rwlock_t l = THRUM_RWLOCK_INIT;
    uint32_t clock = 0;
    struct side early, writer, late[3];
    struct caller c[5];
    start_side(&c[0], read_until_told, &early, &l, &clock);
    await_word(&early.inside, 1);
    start_side(&c[1], write_until_told, &writer, &l, &clock);
    await_parked(&l, 1);
    EXPECT_CALL(EBUSY, thrum_rwlock_tryrdlock(&l));
    for (int i = 0; i < 3; i++)
        start_side(&c[2 + i], read_until_told, &late[i], &l, &clock);
    await_parked(&l, 4);
    cr_expect_not(is_inside(&writer));
    tell_to_leave(&early);
    await_word(&writer.inside, 1);
    for (int i = 0; i < 3; i++)
        cr_expect_not(is_inside(&late[i]));
    tell_to_leave(&writer);
    for (int i = 0; i < 3; i++)
        await_word(&late[i].inside, 1); /* all at once, without anybody leaving */
    for (int i = 0; i < 3; i++)
        tell_to_leave(&late[i]);
    for (int i = 0; i < 5; i++)
        cr_expect_eq(caller_join(&c[i]), 0);
    EXPECT_CALL(0, thrum_rwlock_trywrlock(&l));
}

Test(rwlock, readers_that_wait_for_a_writer_go_before_the_next_writer)
{
    thrum_rwlock_t l = THRUM_RWLOCK_INIT;
    uint32_t clock = 0;
    struct side first, second, third, reader[3];
    struct caller c[6];
    start_side(&c[0], write_until_told, &first, &l, &clock);
    await_word(&first.inside, 1);
    start_side(&c[1], write_until_told, &second, &l, &clock);
    await_parked(&l, 1);
    start_side(&c[2], write_until_told, &third, &l, &clock);
    await_parked(&l.thrum_writers, 1);
    for (int i = 0; i < 3; i++)
        start_side(&c[3 + i], read_until_told, &reader[i], &l, &clock);
    await_parked(&l, 4);

    tell_to_leave(&first);
    for (int i = 0; i < 3; i++)
        await_word(&reader[i].inside, 1);
    cr_expect_not(is_inside(&second));
    cr_expect_not(is_inside(&third));
    await_parked(&l, 2); /* the second writer waits for the readers, the third for the second */
    tell_to_leave(&reader[0]);
    tell_to_leave(&reader[1]);
    cr_expect(caller_stays(&c[1]));
    cr_expect_not(is_inside(&second));
    tell_to_leave(&reader[2]);
    await_word(&second.inside, 1);
    cr_expect_not(is_inside(&third));
    tell_to_leave(&second);
    await_word(&third.inside, 1);
    tell_to_leave(&third);
    for (int i = 0; i < 6; i++)
        cr_expect_eq(caller_join(&c[i]), 0);
    EXPECT_CALL(0, thrum_rwlock_trywrlock(&l));
}

/* Readers that overlap, so that there is always one inside. */
struct crowd {
    thrum_rwlock_t l;
    uint64_t entered;
    uint32_t inside;
    uint32_t stop;
};

static int read_on_and_on(void *arg)
{
    struct crowd *crowd = arg;
    while (thi_load_relaxed(&crowd->stop) == 0) {
        if (thrum_rwlock_rdlock(&crowd->l) != 0)
            return EINVAL;
        thi_fetch_add_relaxed(&crowd->inside, 1u);
        thi_fetch_add_relaxed(&crowd->entered, UINT64_C(1));
        for (int i = 0; i < 3 && thi_load_relaxed(&crowd->inside) < 2; i++)
            sched_yield(); /* for another to come before this one goes */
        thi_fetch_sub_relaxed(&crowd->inside, 1u);
        if (thrum_rwlock_rdunlock(&crowd->l) != 0)
            return EPERM;
    }
    return 0;
}

static int write_on_and_on(void *arg)
{
    struct crowd *crowd = arg;
    while (thi_load_relaxed(&crowd->stop) == 0) {
        if (thrum_rwlock_wrlock(&crowd->l) != 0)
            return EINVAL;
        thi_fetch_add_relaxed(&crowd->entered, UINT64_C(1));
        if (thrum_rwlock_wrunlock(&crowd->l) != 0)
            return EPERM;
    }
    return 0;
}

static void do_not_starve(int (*crowd_fn)(void *), int (*lock_fn)(void *), int (*unlock_fn)(void *))
{
    struct crowd crowd = {.l = THRUM_RWLOCK_INIT};
    struct caller c[4];
    for (int i = 0; i < 4; i++)
        caller_start(&c[i], crowd_fn, &crowd);
    unsigned hogged = 0;
    for (int i = 0; i < HOG_TRIES && hogged <= HOGGED_MAX; i++) {
        const uint64_t before = thi_load_relaxed(&crowd.entered);
        cr_expect_eq(lock_fn(&crowd.l), 0);
        const uint64_t passed = thi_load_relaxed(&crowd.entered) - before;
        cr_expect_eq(unlock_fn(&crowd.l), 0);
        hogged += passed >= HOG_ROUNDS_MAX;
    }
    cr_expect_leq(hogged, HOGGED_MAX);
    thi_store_relaxed(&crowd.stop, 1u);
    for (int i = 0; i < 4; i++)
        cr_expect_eq(caller_join(&c[i]), 0);
}

Test(rwlock, readers_do_not_starve_a_writer)
{
    do_not_starve(read_on_and_on, wrlock, wrunlock);
}

Test(rwlock, writers_do_not_starve_a_reader)
{
    do_not_starve(write_on_and_on, rdlock, rdunlock);
}

/* --- giving up ------------------------------------------------------------------------------------ */

struct timed {
    thrum_rwlock_t *l;
    thrum_time_t deadline;
};

static int write_in_time(void *arg)
{
    struct timed *t = arg;
    return thrum_rwlock_wrlock_until(t->l, t->deadline);
}

static int read_in_time(void *arg)
{
    struct timed *t = arg;
    return thrum_rwlock_rdlock_until(t->l, t->deadline);
}

Test(rwlock, a_writer_that_gives_up_lets_in_the_readers_behind_it)
{
    thrum_rwlock_t l = THRUM_RWLOCK_INIT;
    uint32_t clock = 0;
    struct side reader[2];
    struct caller c[2];
    EXPECT_CALL(0, thrum_rwlock_rdlock(&l));
    struct timed t = {&l, thrum_after(THRUM_S(1000))};
    struct puppet *writer = puppet_start(write_in_time, &t);
    puppet_await_asleep(writer);
    for (int i = 0; i < 2; i++)
        start_side(&c[i], read_until_told, &reader[i], &l, &clock);
    await_parked(&l, 3);
    puppet_expire(writer);
    for (int i = 0; i < 2; i++) {
        await_word(&reader[i].inside, 1); /* while this strand still reads */
        tell_to_leave(&reader[i]);
    }
    cr_expect_eq(puppet_join(writer), ETIMEDOUT);
    for (int i = 0; i < 2; i++)
        cr_expect_eq(caller_join(&c[i]), 0);
    EXPECT_CALL(0, thrum_rwlock_rdunlock(&l));
    EXPECT_CALL(EPERM, thrum_rwlock_rdunlock(&l));
    EXPECT_CALL(0, thrum_rwlock_trywrlock(&l));
}

Test(rwlock, a_reader_that_gives_up_is_not_counted)
{
    thrum_rwlock_t l = THRUM_RWLOCK_INIT;
    EXPECT_CALL(0, thrum_rwlock_wrlock(&l));
    for (int i = 0; i < 10; i++) {
        struct timed t = {&l, SOON};
        cr_expect_eq(elsewhere(read_in_time, &t), ETIMEDOUT);
    }
    EXPECT_CALL(0, thrum_rwlock_wrunlock(&l));
    EXPECT_CALL(EPERM, thrum_rwlock_rdunlock(&l));
    EXPECT_CALL(0, thrum_rwlock_trywrlock(&l));
}

Test(rwlock, the_next_writer_that_gives_up_leaves_its_place)
{
    thrum_rwlock_t l = THRUM_RWLOCK_INIT;
    uint32_t clock = 0;
    struct side last;
    struct caller c;
    EXPECT_CALL(0, thrum_rwlock_wrlock(&l));
    struct timed t = {&l, thrum_after(THRUM_S(1000))};
    struct puppet *next = puppet_start(write_in_time, &t);
    puppet_await_asleep(next);
    start_side(&c, write_until_told, &last, &l, &clock);
    await_parked(&l.thrum_writers, 1);
    puppet_expire(next);
    cr_expect_eq(puppet_join(next), ETIMEDOUT);
    await_parked(&l.thrum_writers, 0);
    await_parked(&l, 1);
    EXPECT_CALL(0, thrum_rwlock_wrunlock(&l));
    await_word(&last.inside, 1);
    tell_to_leave(&last);
    cr_expect_eq(caller_join(&c), 0);
    EXPECT_CALL(0, thrum_rwlock_trywrlock(&l));
}

/* --- downgrade ------------------------------------------------------------------------------------ */

Test(rwlock, downgrade_lets_readers_in_and_no_writer)
{
    thrum_rwlock_t l = THRUM_RWLOCK_INIT;
    uint32_t clock = 0;
    struct side writer, reader[2];
    struct caller c[3];
    EXPECT_CALL(EPERM, thrum_rwlock_downgrade(&l));
    EXPECT_CALL(0, thrum_rwlock_wrlock(&l));
    start_side(&c[0], write_until_told, &writer, &l, &clock);
    await_parked(&l, 1);
    for (int i = 0; i < 2; i++)
        start_side(&c[1 + i], read_until_told, &reader[i], &l, &clock);
    await_parked(&l, 3);

    EXPECT_CALL(0, thrum_rwlock_downgrade(&l));
    EXPECT_CALL(EPERM, thrum_rwlock_downgrade(&l));
    EXPECT_CALL(EPERM, thrum_rwlock_wrunlock(&l));
    for (int i = 0; i < 2; i++) {
        await_word(&reader[i].inside, 1);
        tell_to_leave(&reader[i]);
        cr_expect_eq(caller_join(&c[1 + i]), 0);
    }
    cr_expect(caller_stays(&c[0]));
    cr_expect_not(is_inside(&writer), "this strand reads");
    EXPECT_CALL(0, thrum_rwlock_rdunlock(&l));
    await_word(&writer.inside, 1);
    tell_to_leave(&writer);
    cr_expect_eq(caller_join(&c[0]), 0);
    EXPECT_CALL(EPERM, thrum_rwlock_rdunlock(&l));
    EXPECT_CALL(0, thrum_rwlock_trywrlock(&l));
}

struct versions {
    thrum_rwlock_t l;
    uint64_t a, b;
    int rounds;
};

static int write_and_downgrade(void *arg)
{
    struct versions *v = arg;
    for (int i = 0; i < v->rounds; i++) {
        if (thrum_rwlock_wrlock(&v->l) != 0)
            return EINVAL;
        const uint64_t mine = ++v->a;
        v->b = mine;
        if (thrum_rwlock_downgrade(&v->l) != 0)
            return EPERM;
        if (v->a != mine || v->b != mine)
            return EPROTO; /* a writer came in between */
        if (thrum_rwlock_rdunlock(&v->l) != 0)
            return EPERM;
    }
    return 0;
}

Test(rwlock, no_writer_comes_between_a_write_and_its_downgraded_read)
{
    struct versions v = {.l = THRUM_RWLOCK_INIT, .rounds = 10000};
    struct caller c[4];
    for (int i = 0; i < 4; i++)
        caller_start(&c[i], write_and_downgrade, &v);
    for (int i = 0; i < 4; i++)
        cr_expect_eq(caller_join(&c[i]), 0);
    cr_expect_eq(v.a, (uint64_t)(4 * v.rounds));
}

/* --- fork ----------------------------------------------------------------------------------------- */

static int read_in_child(void *arg)
{
    thrum_rwlock_t *l = arg;
    if (thrum_rwlock_rdlock(l) != 0 || thrum_rwlock_rdunlock(l) != 0)
        return 1;
    if (thrum_rwlock_rdunlock(l) != 0) /* the forker's own */
        return 2;
    if (thrum_rwlock_wrlock(l) != 0 || thrum_rwlock_wrunlock(l) != 0)
        return 3;
    return 0;
}

Test(rwlock, the_forker_goes_on_reading_in_the_child)
{
    thrum_rwlock_t l = THRUM_RWLOCK_INIT;
    EXPECT_CALL(0, thrum_rwlock_rdlock(&l));
    cr_expect_eq(child_run(read_in_child, &l), 0);
    EXPECT_CALL(0, thrum_rwlock_rdunlock(&l));
}

static int find_closer_lost(void *arg)
{
    thrum_rwlock_t *l = arg;
    if (thrum_rwlock_rdlock(l) != EOWNERDEAD)
        return 1;
    return thrum_rwlock_wrlock(l) == EOWNERDEAD ? 0 : 2;
}

Test(rwlock, a_child_hears_that_a_writer_about_to_enter_is_lost)
{
    thrum_rwlock_t l = THRUM_RWLOCK_INIT;
    uint32_t clock = 0;
    struct side writer;
    struct caller c;
    EXPECT_CALL(0, thrum_rwlock_rdlock(&l));
    start_side(&c, write_until_told, &writer, &l, &clock);
    await_parked(&l, 1); /* it has closed the door, and waits for this strand to leave */
    cr_expect_eq(child_run(find_closer_lost, &l), 0);
    EXPECT_CALL(0, thrum_rwlock_rdunlock(&l));
    await_word(&writer.inside, 1);
    tell_to_leave(&writer);
    cr_expect_eq(caller_join(&c), 0);
}
