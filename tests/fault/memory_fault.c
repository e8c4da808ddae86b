/*
 * No memory: for records of threads, for the parking lot's table, for locals. And nobody who lets
 * others go ever asks for any.
 */
#include <string.h>

#include <criterion/criterion.h>

#include <thrum/thrum.h>

#include "support/expect.h"

TestSuite(memory, .timeout = 60);

/* --- letting go never allocates ---------------------------------------------------------------------------- */

struct objects {
    thrum_mutex_t m;
    thrum_rlock_t r;
    thrum_rwlock_t l;
    thrum_sem_t s;
    thrum_event_t e;
    thrum_waitgroup_t w;
    thrum_barrier_t b;
    thrum_cond_t c;
    thrum_mutex_t cm;
    thrum_once_t once;
    thrum_event_t go;
};

static int use_m(void *arg)
{
    struct objects *o = arg;
    const int err = thrum_mutex_lock(&o->m);
    return err != 0 ? err : thrum_mutex_unlock(&o->m);
}

static int use_r(void *arg)
{
    struct objects *o = arg;
    const int err = thrum_rlock_lock(&o->r);
    return err != 0 ? err : thrum_rlock_unlock(&o->r);
}

static int read_l(void *arg)
{
    struct objects *o = arg;
    const int err = thrum_rwlock_rdlock(&o->l);
    return err != 0 ? err : thrum_rwlock_rdunlock(&o->l);
}

static int write_l(void *arg)
{
    struct objects *o = arg;
    const int err = thrum_rwlock_wrlock(&o->l);
    return err != 0 ? err : thrum_rwlock_wrunlock(&o->l);
}

static int use_s(void *arg)
{
    struct objects *o = arg;
    return thrum_sem_acquire(&o->s);
}

static int use_e(void *arg)
{
    struct objects *o = arg;
    return thrum_event_wait(&o->e);
}

static int use_w(void *arg)
{
    struct objects *o = arg;
    return thrum_waitgroup_wait(&o->w);
}

static int use_b(void *arg)
{
    struct objects *o = arg;
    return thrum_barrier_wait(&o->b, NULL);
}

static int use_c(void *arg)
{
    struct objects *o = arg;
    int err = thrum_mutex_lock(&o->cm);
    if (err == 0)
        err = thrum_cond_wait(&o->c, &o->cm);
    return err != 0 ? err : thrum_mutex_unlock(&o->cm);
}

static int make_when_told(void *arg)
{
    struct objects *o = arg;
    return thrum_event_wait(&o->go);
}

static int use_once(void *arg)
{
    struct objects *o = arg;
    return thrum_once(&o->once, make_when_told, o);
}

enum { WAITERS = 14 };

static void start_all(struct objects *o, struct caller *c)
{
    static int (*const fns[WAITERS])(void *) = {use_m, use_m, use_r,    read_l,  write_l,
                                                use_s, use_s, use_e,    use_w,   use_b,
                                                use_c, use_c, use_once, use_once};
    for (int i = 0; i < WAITERS; i++)
        caller_start(&c[i], fns[i], o);
    await_parked(&o->m, 2);
    await_parked(&o->r.thrum_mutex, 1);
    await_parked(&o->l, 2);
    await_parked(&o->s, 2);
    await_parked(&o->e, 1);
    await_parked(&o->w, 1);
    await_parked(&o->b, 1);
    await_parked(&o->c, 2);
    await_parked(&o->once, 1);
    await_parked(&o->go, 1);
}

static void hold_all(struct objects *o)
{
    memset(o, 0, sizeof *o);
    EXPECT_CALL(0, thrum_mutex_lock(&o->m));
    EXPECT_CALL(0, thrum_rlock_lock(&o->r));
    EXPECT_CALL(0, thrum_rwlock_wrlock(&o->l));
    EXPECT_CALL(0, thrum_waitgroup_add(&o->w, 1));
    EXPECT_CALL(0, thrum_barrier_init(&o->b, 2, NULL, NULL));
}

static void let_all_go(struct objects *o)
{
    EXPECT_CALL(0, thrum_mutex_unlock(&o->m));
    EXPECT_CALL(0, thrum_rlock_unlock(&o->r));
    EXPECT_CALL(0, thrum_rwlock_wrunlock(&o->l));
    EXPECT_CALL(0, thrum_sem_release_n(&o->s, 2));
    thrum_event_set(&o->e);
    EXPECT_CALL(0, thrum_waitgroup_done(&o->w));
    EXPECT_CALL(0, thrum_barrier_wait(&o->b, NULL));
    EXPECT_CALL(0, thrum_mutex_lock(&o->cm));
    thrum_cond_signal(&o->c);
    EXPECT_CALL(0, thrum_mutex_unlock(&o->cm));
    thrum_cond_broadcast(&o->c);
    thrum_event_set(&o->go);
}

/* A fault that nobody ran into is still there. */
static bool nobody_asked(void)
{
    const bool pages = thi_fault(THI_FAULT_PAGES);
    const bool memory = thi_fault(THI_FAULT_ALLOC);
    return pages && memory;
}

Test(memory, letting_go_asks_for_none)
{
    struct objects o;
    struct caller c[WAITERS];
    hold_all(&o);
    start_all(&o, c);
    thi_fault_arm(THI_FAULT_PAGES, 1);
    thi_fault_arm(THI_FAULT_ALLOC, 1);
    let_all_go(&o);
    for (int i = 0; i < WAITERS; i++)
        cr_expect_eq(caller_join(&c[i]), 0);
    cr_expect(nobody_asked());
}

Test(memory, waiting_asks_for_none_once_a_thread_is_known)
{
    struct objects o;
    cr_assert_not_null(thi_self());
    hold_all(&o);
    thi_fault_arm(THI_FAULT_PAGES, 1);
    thi_fault_arm(THI_FAULT_ALLOC, 1);
    EXPECT_CALL(ETIMEDOUT, thrum_mutex_lock_until(&o.m, SOON));
    EXPECT_CALL(ETIMEDOUT, thrum_rwlock_rdlock_until(&o.l, SOON));
    EXPECT_CALL(ETIMEDOUT, thrum_rwlock_wrlock_until(&o.l, SOON));
    EXPECT_CALL(ETIMEDOUT, thrum_sem_acquire_until(&o.s, SOON));
    EXPECT_CALL(ETIMEDOUT, thrum_event_wait_until(&o.e, SOON));
    EXPECT_CALL(ETIMEDOUT, thrum_waitgroup_wait_until(&o.w, SOON));
    EXPECT_CALL(0, thrum_mutex_lock(&o.cm));
    EXPECT_CALL(ETIMEDOUT, thrum_cond_wait_until(&o.c, &o.cm, SOON));
    EXPECT_CALL(ETIMEDOUT, thrum_barrier_wait_until(&o.b, NULL, SOON));
    EXPECT_CALL(0, thrum_sleep(THRUM_US(100)));
    cr_expect(nobody_asked());
}

/* --- many threads, and the n-th mapping fails ------------------------------------------------------------- */

enum { MANY = 400 };

struct post {
    thrum_sem_t s;
    struct caller c;
};

/* Retries: only its own registration may fail, and only for now. */
static void *wait_stubbornly(void *arg)
{
    struct post *p = arg;
    int err = ENOMEM;
    uint32_t refused = 0;
    while (err == ENOMEM) {
        err = thrum_sem_acquire(&p->s);
        refused += err == ENOMEM;
        if (p->s.thrum_word >> 34 != 0 && err == ENOMEM)
            err = EPROTO; /* still counted as a waiter */
    }
    thi_store_relaxed(&p->c.done, refused);
    return err == 0 ? arg : NULL;
}

/* Everybody is registered and woken in the end, whichever mapping failed: of records, of the
 * registry, or of the parking lot's table, whose growth is tried again with the next thread. */
static void many_threads(unsigned nth)
{
    static struct post posts[MANY];
    memset(posts, 0, sizeof posts);
    cr_assert_not_null(thi_self());
    thi_fault_arm(THI_FAULT_PAGES, nth);
    for (int i = 0; i < MANY; i++)
        cr_assert_eq(pthread_create(&posts[i].c.thread, NULL, wait_stubbornly, &posts[i]), 0);
    for (int i = 0; i < MANY; i++)
        await_parked(&posts[i].s, 1);
    for (int i = 0; i < MANY; i++)
        cr_expect_eq(thrum_sem_release(&posts[i].s), 0);
    uint32_t refused = 0;
    for (int i = 0; i < MANY; i++) {
        void *result = NULL;
        cr_assert_eq(pthread_join(posts[i].c.thread, &result), 0);
        cr_expect_eq(result, &posts[i]);
        refused += posts[i].c.done;
    }
    cr_expect_leq(refused, 1u);
    cr_expect_geq(thi_strand_slots(), (uint32_t)MANY);
}

Test(memory, the_first_mapping_fails)
{
    many_threads(1);
}

Test(memory, the_second_mapping_fails)
{
    many_threads(2);
}

Test(memory, the_third_mapping_fails)
{
    many_threads(3);
}

Test(memory, the_fourth_mapping_fails)
{
    many_threads(4);
}

/* The table never grows: queues are longer, nothing else. */
static int acquire(void *arg)
{
    return thrum_sem_acquire(arg);
}

static int know_me(void *arg)
{
    await_word(arg, 1);
    return 0;
}

Test(memory, a_table_that_can_not_grow_does_no_harm)
{
    static struct post posts[MANY];
    static struct caller known[110];
    uint32_t over = 0;
    /* Close to the limit of the first table, with the records of all that are to come. */
    for (int i = 0; i < 110; i++)
        caller_start(&known[i], know_me, &over);
    for (int i = 0; i < 110; i++)
        caller_strand(&known[i]);
    thi_fault_arm(THI_FAULT_PAGES, THI_FAULT_ALWAYS);
    for (int i = 0; i < 30; i++) {
        caller_start(&posts[i].c, acquire, &posts[i].s);
        await_parked(&posts[i].s, 1);
    }
    cr_expect_geq(thi_strand_slots(), 140u);
    for (int i = 0; i < 30; i++)
        cr_expect_eq(thrum_sem_release(&posts[i].s), 0);
    for (int i = 0; i < 30; i++)
        cr_expect_eq(caller_join(&posts[i].c), 0);
    thi_fault_arm(THI_FAULT_PAGES, 0);
    thi_store_release(&over, 1u);
    for (int i = 0; i < 110; i++)
        cr_expect_eq(caller_join(&known[i]), 0);
}

/* --- locals -------------------------------------------------------------------------------------------------- */

Test(memory, a_local_that_can_not_be_set_keeps_its_value)
{
    enum { LOCALS = 100 };
    static thrum_local_t locals[LOCALS];
    int old = 0;
    int new = 0;
    unsigned refused = 0;
    for (int i = 0; i < LOCALS; i++) {
        thi_fault_arm(THI_FAULT_ALLOC, THI_FAULT_ALWAYS);
        errno = ERRNO_MARK;
        const int err = thrum_local_set(&locals[i], &old);
        cr_expect_eq(errno, ERRNO_MARK);
        cr_expect(err == 0 || err == ENOMEM);
        cr_expect_eq(thrum_local_get(&locals[i]), err == 0 ? &old : NULL);
        for (int j = 0; j < i; j++)
            cr_assert_eq(thrum_local_get(&locals[j]), &old, "nothing changed");
        refused += err != 0;
        thi_fault_arm(THI_FAULT_ALLOC, 0);
        EXPECT_CALL(0, thrum_local_set(&locals[i], &old));
    }
    cr_expect_gt(refused, 0u);
    thi_fault_arm(THI_FAULT_ALLOC, THI_FAULT_ALWAYS);
    for (int i = 0; i < LOCALS; i++)
        EXPECT_CALL(0,
                    thrum_local_set(&locals[i], &new)); /* there is room for what was set before */
}

static void destroy_with_fault(void *value)
{
    uint32_t *destroyed = value;
    ++*destroyed;
}

static thrum_local_t ending = THRUM_LOCAL_INIT(destroy_with_fault);

static int set_and_end(void *arg)
{
    const int err = thrum_local_set(&ending, arg);
    thi_fault_arm(THI_FAULT_ALLOC, THI_FAULT_ALWAYS);
    thi_fault_arm(THI_FAULT_AT_EXIT, THI_FAULT_ALWAYS); /* no further round of destructors either */
    return err;
}

Test(memory, values_are_destroyed_without_memory)
{
    uint32_t destroyed = 0;
    struct caller c;
    cr_assert_not_null(thi_self());
    caller_start(&c, set_and_end, &destroyed);
    cr_expect_eq(caller_join(&c), 0);
    cr_expect_eq(destroyed, 1u);
}
