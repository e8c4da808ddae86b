#include <string.h>

#include <thrum/event.h>
#include <thrum/mutex.h>
#include <thrum/semaphore.h>

#include "support/child.h"
#include "support/expect.h"

TestSuite(registry, .timeout = 60);

/* How long a test goes on with its rounds: on a busy machine one can take as long as a hundred. */
#define ENOUGH THRUM_S(8)

static int tell_id(void *arg)
{
    uint32_t *id = arg;
    *id = thi_self_id();
    return thi_self() != NULL && thi_self()->id == *id ? 0 : EPROTO;
}

Test(registry, ids_are_not_null_and_tell_lives_apart)
{
    const uint32_t mine = thi_self_id();
    uint32_t before = 0;
    cr_expect_neq(mine, 0u);
    cr_expect_eq(thi_self_id(), mine);
    for (int i = 0; i < 600; i++) { /* generations go around */
        uint32_t id = 0;
        struct caller c;
        caller_start(&c, tell_id, &id);
        cr_assert_eq(caller_join(&c), 0);
        cr_assert_neq(id, 0u);
        cr_assert_neq(id, mine);
        cr_assert_neq(id, before, "the record is the same, the life is not");
        cr_assert_lt(THI_SLOT(id), thi_strand_slots());
        before = id;
    }
}

struct census {
    unsigned alive;
    bool me;
};

static void count(thi_strand_t *strand, void *arg)
{
    struct census *census = arg;
    census->alive++;
    census->me |= strand == thi_self();
}

static unsigned alive(void)
{
    struct census census = {0, false};
    thi_strand_each(count, &census);
    cr_expect(census.me);
    return census.alive;
}

struct meeting {
    thrum_event_t go;
    uint32_t there;
};

static int attend(void *arg)
{
    struct meeting *m = arg;
    thi_fetch_add_relaxed(&m->there, 1u);
    return thrum_event_wait(&m->go);
}

Test(registry, those_alive_are_listed)
{
    enum { THREADS = 10 };
    struct meeting m = {.there = 0};
    struct caller c[THREADS];
    cr_assert_not_null(thi_self());
    const unsigned before = alive();
    for (int i = 0; i < THREADS; i++)
        caller_start(&c[i], attend, &m);
    await_word(&m.there, THREADS);
    cr_expect_eq(alive(), before + THREADS);
    thrum_event_set(&m.go);
    for (int i = 0; i < THREADS; i++)
        cr_expect_eq(caller_join(&c[i]), 0);
    cr_expect_eq(alive(), before);
}

Test(registry, a_strand_is_described_while_it_lives)
{
    struct meeting m = {.there = 0};
    struct caller c;
    char name[64];
    caller_start(&c, attend, &m);
    await_word(&m.there, 1);
    const uint32_t id = caller_strand(&c)->id;
    errno = ERRNO_MARK;
    thi_strand_describe(id, name, sizeof name);
    cr_expect_eq(errno, ERRNO_MARK);
    cr_expect_eq(strncmp(name, "thread ", 7), 0, "%s", name);
    thi_strand_describe(0, name, sizeof name);
    cr_expect_str_eq(name, "a strand that has ended");
    thi_strand_describe(THI_SLOT(~0u), name, sizeof name);
    cr_expect_str_eq(name, "a strand that has ended");
    thrum_event_set(&m.go);
    cr_expect_eq(caller_join(&c), 0);
}

/* --- threads that come and go -------------------------------------------------------------------- */

struct traffic {
    thrum_mutex_t m;
    thrum_sem_t s;
    uint64_t counter;
};

static int pass_through(void *arg)
{
    struct traffic *t = arg;
    if (thrum_mutex_lock(&t->m) != 0)
        return EPROTO;
    t->counter++;
    sched_yield();
    if (thrum_mutex_unlock(&t->m) != 0 || thrum_sem_release(&t->s) != 0)
        return EPROTO;
    return thrum_sem_acquire(&t->s);
}

Test(registry, records_are_used_again)
{
    enum { AT_A_TIME = 8, ROUNDS = 500 };
    const thrum_time_t end = thrum_after(ENOUGH);
    uint64_t rounds = 0;
    struct traffic t = {.m = THRUM_MUTEX_INIT, .s = THRUM_SEM_INIT(0)};
    for (; rounds < ROUNDS && thrum_now() < end; rounds++) {
        struct caller c[AT_A_TIME];
        for (int i = 0; i < AT_A_TIME; i++)
            caller_start(&c[i], pass_through, &t);
        for (int i = 0; i < AT_A_TIME; i++)
            cr_assert_eq(caller_join(&c[i]), 0);
    }
    cr_expect_eq(t.counter, AT_A_TIME * rounds);
    cr_expect_leq(thi_strand_slots(), AT_A_TIME + 2u);
}

/* Destructors of the system's thread-specific data that wait, as long as the system calls them. */
static pthread_key_t keys[2]; /* made before and after the library's own */
static uint32_t calls;
static uint32_t wrong;

static void wait_in_destructor(void *value)
{
    struct traffic *t = value;
    if (thrum_mutex_lock(&t->m) != 0)
        thi_fetch_add_relaxed(&wrong, 1u);
    sched_yield();
    if (thrum_mutex_unlock(&t->m) != 0)
        thi_fetch_add_relaxed(&wrong, 1u);
    thi_fetch_add_relaxed(&calls, 1u);
}

static uint32_t rounds_asked;

static void wait_again_and_again(void *value)
{
    static _Thread_local uint32_t round;
    wait_in_destructor(value);
    if (++round < rounds_asked) {
        for (size_t i = 0; i < 2; i++)
            pthread_setspecific(keys[i], value);
    }
}

static int end_with_values(void *arg)
{
    for (size_t i = 0; i < 2; i++)
        pthread_setspecific(keys[i], arg);
    return pass_through(arg);
}

static void end_threads_that_wait_late(uint32_t asked)
{
    enum { AT_A_TIME = 4, ROUNDS = 100 };
    const thrum_time_t end = thrum_after(ENOUGH);
    uint32_t rounds = 0;
    struct traffic t = {.m = THRUM_MUTEX_INIT, .s = THRUM_SEM_INIT(0)};
    cr_assert_eq(pthread_key_create(&keys[0], wait_again_and_again), 0);
    cr_assert_not_null(thi_self());
    cr_assert_eq(pthread_key_create(&keys[1], wait_again_and_again), 0);
    rounds_asked = asked;
    for (; rounds < ROUNDS && thrum_now() < end; rounds++) {
        struct caller c[AT_A_TIME];
        for (int i = 0; i < AT_A_TIME; i++)
            caller_start(&c[i], end_with_values, &t);
        for (int i = 0; i < AT_A_TIME; i++)
            cr_assert_eq(caller_join(&c[i]), 0);
    }
    cr_expect_eq(wrong, 0u);
    cr_expect_geq(calls, AT_A_TIME * rounds * 2u);
    EXPECT_CALL(EPERM, thrum_mutex_unlock(&t.m));
}

Test(registry, threads_that_wait_while_they_end_do_not_use_records_up)
{
    end_threads_that_wait_late(2);
    cr_expect_leq(thi_strand_slots(), 16u, "%u", (unsigned)thi_strand_slots());
}

/* Destructors that ask for more rounds than the system grants. What they wait with is lost with the
 * thread; the locks are in order all the same. */
Test(registry, threads_that_wait_to_the_very_last_are_served)
{
    end_threads_that_wait_late(100);
}

/* --- fork ----------------------------------------------------------------------------------------- */

static int look_around(void *arg)
{
    const uint32_t *ids = arg;
    if (thi_self_id() != ids[0] || thi_fork_depth() != 1)
        return 1;
    if (thi_holder_is_lost(1, ids[0]) || !thi_holder_is_lost(1, ids[1]) ||
        !thi_holder_is_lost(1, 0))
        return 2;
    struct census census = {0, false};
    thi_strand_each(count, &census);
    if (census.alive != 1 || !census.me)
        return 3;
    for (int i = 0; i < 50; i++) { /* new strands are not taken for lost ones */
        uint32_t id = 0;
        struct caller c;
        caller_start(&c, tell_id, &id);
        if (caller_join(&c) != 0 || thi_holder_is_lost(thi_fork_mark, id) || id == ids[1])
            return 4;
    }
    return 0;
}

Test(registry, a_child_has_one_strand_and_knows_who_is_lost)
{
    struct meeting m = {.there = 0};
    struct caller c;
    caller_start(&c, attend, &m);
    await_word(&m.there, 1);
    uint32_t ids[2] = {thi_self_id(), caller_strand(&c)->id};
    cr_expect_eq(child_run(look_around, ids), 0);
    cr_expect_eq(thi_fork_depth(), 0u);
    cr_expect_not(thi_holder_is_lost(thi_fork_mark, ids[1]));
    thrum_event_set(&m.go);
    cr_expect_eq(caller_join(&c), 0);
}

/* The one that forks need not be known to the library. */
static int fork_unknown(void *arg)
{
    const uint32_t *id = arg;
    return thi_holder_is_lost(1, *id) && thi_self() != NULL &&
                   !thi_holder_is_lost(thi_fork_mark, thi_self_id())
               ? 0
               : 1;
}

static void *fork_from_a_stranger(void *arg)
{
    static int result;
    result = child_run(fork_unknown, arg);
    return &result;
}

Test(registry, a_thread_that_never_used_the_library_may_fork)
{
    uint32_t id = thi_self_id();
    pthread_t thread;
    void *result = NULL;
    cr_assert_eq(pthread_create(&thread, NULL, fork_from_a_stranger, &id), 0);
    cr_assert_eq(pthread_join(thread, &result), 0);
    cr_expect_eq(*(int *)result, 0);
}
