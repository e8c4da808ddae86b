#include <string.h>

#include <thrum/event.h>
#include <thrum/local.h>
#include <thrum/mutex.h>
#include <thrum/semaphore.h>

#include "support/child.h"
#include "support/expect.h"

TestSuite(local, .timeout = 30);

static thrum_local_t plain = THRUM_LOCAL_INIT(NULL);

Test(local, null_is_refused)
{
    EXPECT_CALL(EINVAL, thrum_local_init(NULL, NULL));
    EXPECT_CALL(EINVAL, thrum_local_set(NULL, &plain));
    cr_expect_null(thrum_local_get(NULL));
    thrum_local_destroy(NULL);
}

Test(local, is_null_until_it_is_set)
{
    int x = 0;
    int y = 0;
    errno = ERRNO_MARK;
    cr_expect_null(thrum_local_get(&plain));
    cr_expect_eq(errno, ERRNO_MARK);
    EXPECT_CALL(0, thrum_local_set(&plain, &x));
    cr_expect_eq(thrum_local_get(&plain), &x);
    EXPECT_CALL(0, thrum_local_set(&plain, &y));
    cr_expect_eq(thrum_local_get(&plain), &y);
    EXPECT_CALL(0, thrum_local_set(&plain, NULL));
    cr_expect_null(thrum_local_get(&plain));
}

static int see_own(void *arg)
{
    thrum_local_t *l = arg;
    int mine = 0;
    if (thrum_local_get(l) != NULL || thrum_local_set(l, &mine) != 0)
        return EPROTO;
    for (int i = 0; i < 1000; i++) {
        if (thrum_local_get(l) != &mine)
            return EPROTO;
        if (i % 20 == 0)
            sched_yield();
    }
    return 0;
}

Test(local, every_strand_has_its_own)
{
    int mine = 0;
    struct caller c[4];
    EXPECT_CALL(0, thrum_local_set(&plain, &mine));
    for (int i = 0; i < 4; i++)
        caller_start(&c[i], see_own, &plain);
    for (int i = 0; i < 4; i++)
        cr_expect_eq(caller_join(&c[i]), 0);
    cr_expect_eq(thrum_local_get(&plain), &mine);
}

Test(local, there_may_be_many)
{
    enum { MANY = 1000 };
    static thrum_local_t locals[MANY];
    static int values[MANY];
    for (int i = 0; i < MANY; i++) {
        EXPECT_CALL(0, thrum_local_init(&locals[i], NULL));
        EXPECT_CALL(0, thrum_local_set(&locals[i], &values[i]));
    }
    for (int i = 0; i < MANY; i++)
        cr_expect_eq(thrum_local_get(&locals[i]), &values[i]);
    for (int i = 0; i < MANY; i += 2)
        thrum_local_destroy(&locals[i]);
    for (int i = 0; i < MANY; i++)
        cr_expect_eq(thrum_local_get(&locals[i]), i % 2 == 0 ? NULL : &values[i]);
}

/* More come and go than there can be at a time: an index that is used again brings no old value. */
Test(local, they_can_be_given_up_and_made_again)
{
    int x = 0;
    for (int i = 0; i < 10000; i++) {
        thrum_local_t l;
        cr_assert_eq(thrum_local_init(&l, NULL), 0);
        cr_assert_null(thrum_local_get(&l));
        cr_assert_eq(thrum_local_set(&l, &x), 0);
        cr_assert_eq(thrum_local_get(&l), &x);
        thrum_local_destroy(&l);
        cr_assert_null(thrum_local_get(&l));
    }
}

Test(local, too_many_are_refused_and_nothing_changes)
{
    enum { MORE = 6000 };
    static thrum_local_t locals[MORE];
    int x = 0;
    int made = 0;
    while (made < MORE && thrum_local_set(&locals[made], &x) == 0)
        made++;
    cr_assert_lt(made, (int)MORE);
    EXPECT_CALL(ENOMEM, thrum_local_set(&locals[made], &x));
    cr_expect_null(thrum_local_get(&locals[made]));
    cr_expect_eq(thrum_local_get(&locals[made - 1]), &x);
    thrum_local_destroy(&locals[0]);
    EXPECT_CALL(0, thrum_local_set(&locals[made], &x));
    cr_expect_null(thrum_local_get(&locals[0]));
}

/* --- destructors ---------------------------------------------------------------------------------- */

static uint32_t destroyed;

static void count_destroyed(void *value)
{
    thi_fetch_add_relaxed(&destroyed, (uint32_t)(uintptr_t)value);
}

static thrum_local_t counted = THRUM_LOCAL_INIT(count_destroyed);

static int set_value(void *arg)
{
    const int err = thrum_local_set(&counted, (void *)(uintptr_t)100);
    return err != 0 ? err : thrum_local_set(&counted, arg); /* the one before is not destroyed */
}

Test(local, the_destructor_gets_the_last_value_when_the_strand_ends)
{
    struct caller c;
    caller_start(&c, set_value, (void *)(uintptr_t)3);
    cr_expect_eq(caller_join(&c), 0);
    cr_expect_eq(destroyed, 3u);
    caller_start(&c, set_value, NULL);
    cr_expect_eq(caller_join(&c), 0);
    cr_expect_eq(destroyed, 3u, "none for NULL");
}

static int see_nothing(void *arg)
{
    (void)arg;
    return thrum_local_get(&counted) == NULL ? 0 : EPROTO;
}

Test(local, a_record_that_is_used_again_brings_no_values)
{
    for (int i = 0; i < 20; i++) {
        struct caller c;
        caller_start(&c, set_value, (void *)(uintptr_t)1);
        cr_expect_eq(caller_join(&c), 0);
        caller_start(&c, see_nothing, NULL);
        cr_expect_eq(caller_join(&c), 0);
    }
    cr_expect_eq(destroyed, 20u);
}

struct holder {
    thrum_local_t *l;
    thrum_event_t go;
    uint32_t set;
};

static int hold_value(void *arg)
{
    struct holder *h = arg;
    const int err = thrum_local_set(h->l, (void *)(uintptr_t)1);
    thi_store_release(&h->set, 1u);
    thrum_event_wait(&h->go);
    return err;
}

Test(local, giving_it_up_forgets_values_without_destroying_them)
{
    thrum_local_t l = THRUM_LOCAL_INIT(count_destroyed);
    struct holder h = {.l = &l};
    struct caller c;
    caller_start(&c, hold_value, &h);
    await_word(&h.set, 1);
    thrum_local_destroy(&l);
    thrum_event_set(&h.go);
    cr_expect_eq(caller_join(&c), 0);
    cr_expect_eq(destroyed, 0u);
}

/* --- what destructors may do ---------------------------------------------------------------------- */

static thrum_mutex_t lock = THRUM_MUTEX_INIT;
static thrum_sem_t permits = THRUM_SEM_INIT(1);
static uint32_t rounds;
static uint32_t wrong;
static void again(void *value);
static thrum_local_t recurring = THRUM_LOCAL_INIT(again);
static thrum_local_t other = THRUM_LOCAL_INIT(again);

/* Uses locks and locals, and sets a value for a further round while there are any asked for. */
static void again(void *value)
{
    const uintptr_t left = (uintptr_t)value;
    if (thrum_local_get(&recurring) != NULL && thrum_local_get(&other) != NULL)
        thi_fetch_add_relaxed(&wrong, 1u); /* one of them is being destroyed: it is NULL */
    if (thrum_mutex_lock(&lock) != 0)
        thi_fetch_add_relaxed(&wrong, 1u);
    sched_yield();
    if (thrum_mutex_unlock(&lock) != 0 || thrum_sem_acquire(&permits) != 0)
        thi_fetch_add_relaxed(&wrong, 1u);
    sched_yield();
    if (thrum_sem_release(&permits) != 0)
        thi_fetch_add_relaxed(&wrong, 1u);
    thi_fetch_add_relaxed(&rounds, 1u);
    if (left > 1 && thrum_local_set(&recurring, (void *)(left - 1)) != 0)
        thi_fetch_add_relaxed(&wrong, 1u);
}

static int set_recurring(void *arg)
{
    return thrum_local_set(&recurring, arg);
}

static void expect_rounds(uintptr_t asked, uint32_t expected)
{
    enum { THREADS = 6 };
    struct caller c[THREADS];
    rounds = 0;
    for (int i = 0; i < THREADS; i++)
        caller_start(&c[i], set_recurring, (void *)asked);
    for (int i = 0; i < THREADS; i++)
        cr_expect_eq(caller_join(&c[i]), 0);
    cr_expect_eq(rounds, THREADS * expected, "%u rounds", rounds);
    cr_expect_eq(wrong, 0u);
}

Test(local, destructors_may_lock_wait_and_set_values_for_four_rounds)
{
    expect_rounds(1, 1);
    expect_rounds(4, 4);
    expect_rounds(1000, 4);
}

/* Values are destroyed while destructors of the system's thread-specific data still run. */
static pthread_key_t key;

static void set_late(void *value)
{
    (void)value;
    thi_fetch_add_relaxed(&rounds, 1u);
    if (thrum_local_get(&counted) != NULL || thrum_local_set(&counted, (void *)(uintptr_t)1) != 0)
        thi_fetch_add_relaxed(&wrong, 1u);
}

static int end_with_key(void *arg)
{
    return pthread_setspecific(key, arg) != 0 ? ENOMEM : thrum_local_set(&plain, arg);
}

Test(local, values_set_by_the_systems_destructors_are_destroyed_too)
{
    cr_assert_eq(pthread_key_create(&key, set_late), 0);
    for (int i = 0; i < 20; i++) {
        struct caller c;
        caller_start(&c, end_with_key, &c);
        cr_expect_eq(caller_join(&c), 0);
    }
    cr_expect_eq(rounds, 20u);
    cr_expect_eq(wrong, 0u);
    cr_expect_eq(destroyed, 20u);
}

/* --- fork ----------------------------------------------------------------------------------------- */

static int find_value(void *arg)
{
    if (thrum_local_get(&plain) != arg)
        return 1;
    struct caller c;
    caller_start(&c, see_own, &plain);
    if (caller_join(&c) != 0)
        return 2;
    return thrum_local_set(&plain, NULL);
}

Test(local, a_child_keeps_the_values_of_its_forker)
{
    int x = 0;
    EXPECT_CALL(0, thrum_local_set(&plain, &x));
    cr_expect_eq(child_run(find_value, &x), 0);
    cr_expect_eq(thrum_local_get(&plain), &x);
}
