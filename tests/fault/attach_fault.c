/*
 * A thread that the library cannot register: whatever would wait says ENOMEM and has changed nothing;
 * what needs no waiting works; and once there is room again, everything does.
 */
#include <string.h>

#include <criterion/criterion.h>

#include <thrum/thrum.h>

#include "support/expect.h"

TestSuite(attach, .timeout = 30);

/* Runs fn in a thread that has not been registered, and cannot be. The test's own thread is. */
struct stranger {
    pthread_t thread;
    void (*fn)(void *world);
    void *world;
};

static void *stranger_main(void *arg)
{
    struct stranger *s = arg;
    s->fn(s->world);
    return NULL;
}

static void as_stranger(void (*fn)(void *world), void *world)
{
    struct stranger s = {.fn = fn, .world = world};
    cr_assert_not_null(thi_self());
    thi_fault_arm(THI_FAULT_AT_EXIT, THI_FAULT_ALWAYS);
    cr_assert_eq(pthread_create(&s.thread, NULL, stranger_main, &s), 0);
    cr_assert_eq(pthread_join(s.thread, NULL), 0);
    thi_fault_arm(THI_FAULT_AT_EXIT, 0);
}

/* What strangers find goes here: assertions are the test thread's business. */
static struct {
    const char *what[32];
    int got[32];
    int expected[32];
    int errno_after[32];
    size_t count;
} found;

#define FIND(err, call)                                                                            \
    do {                                                                                           \
        errno = ERRNO_MARK;                                                                        \
        found.got[found.count] = (call);                                                           \
        found.errno_after[found.count] = errno;                                                    \
        found.what[found.count] = #call;                                                           \
        found.expected[found.count++] = (err);                                                     \
    } while (0)

static void judge(void)
{
    for (size_t i = 0; i < found.count; i++) {
        cr_expect(found.got[i] == found.expected[i], "%s: %s, expected %s", found.what[i],
                  expect_name(found.got[i]), expect_name(found.expected[i]));
        cr_expect(found.errno_after[i] == ERRNO_MARK, "%s changed errno", found.what[i]);
    }
    found.count = 0;
}

static int never_called(void *arg)
{
    (void)arg;
    return EPROTO;
}

static int never_shielded(void *arg, void **result)
{
    (void)result;
    return never_called(arg);
}

/* --- locks -------------------------------------------------------------------------------------------- */

struct locks {
    thrum_mutex_t m;
    thrum_rlock_t r;
    thrum_rwlock_t written;
    thrum_rwlock_t read;
};

static void find_locks_taken(void *world)
{
    struct locks *l = world;
    FIND(ENOMEM, thrum_mutex_lock(&l->m));
    FIND(ENOMEM, thrum_mutex_lock_until(&l->m, THRUM_FOREVER));
    FIND(ENOMEM, thrum_mutex_lock_until(&l->m, PAST));
    FIND(EBUSY, thrum_mutex_trylock(&l->m));

    FIND(ENOMEM, thrum_rlock_lock(&l->r));
    FIND(ENOMEM, thrum_rlock_lock_until(&l->r, PAST));
    FIND(ENOMEM, thrum_rlock_trylock(&l->r));
    FIND(EPERM, thrum_rlock_unlock(&l->r));
    FIND(false, thrum_rlock_owned(&l->r));
    FIND(0, (int)thrum_rlock_depth(&l->r));

    FIND(ENOMEM, thrum_rwlock_rdlock(&l->written));
    FIND(ENOMEM, thrum_rwlock_rdlock_until(&l->written, PAST));
    FIND(EBUSY, thrum_rwlock_tryrdlock(&l->written));
    FIND(ENOMEM, thrum_rwlock_wrlock(&l->written));
    FIND(ENOMEM, thrum_rwlock_wrlock_until(&l->written, PAST));
    FIND(EBUSY, thrum_rwlock_trywrlock(&l->written));

    FIND(ENOMEM, thrum_rwlock_wrlock(&l->read));
    FIND(ENOMEM, thrum_rwlock_wrlock_until(&l->read, PAST));
    FIND(EBUSY, thrum_rwlock_trywrlock(&l->read));
    FIND(0, thrum_rwlock_rdlock(&l->read));
    FIND(0, thrum_rwlock_rdunlock(&l->read));
}

Test(attach, locks_that_are_held)
{
    struct locks l;
    struct locks before;
    memset(&l, 0, sizeof l);
    EXPECT_CALL(0, thrum_mutex_lock(&l.m));
    EXPECT_CALL(0, thrum_rlock_lock(&l.r));
    EXPECT_CALL(0, thrum_rwlock_wrlock(&l.written));
    EXPECT_CALL(0, thrum_rwlock_rdlock(&l.read));
    before = l;
    as_stranger(find_locks_taken, &l);
    judge();
    cr_expect_eq(memcmp(&l, &before, sizeof l), 0, "nothing changed");
    EXPECT_CALL(0, thrum_mutex_unlock(&l.m));
    EXPECT_CALL(0, thrum_rlock_unlock(&l.r));
    EXPECT_CALL(0, thrum_rwlock_wrunlock(&l.written));
    EXPECT_CALL(0, thrum_rwlock_rdunlock(&l.read));
}

static void take_free_locks(void *world)
{
    struct locks *l = world;
    FIND(0, thrum_mutex_lock(&l->m));
    FIND(EBUSY, thrum_mutex_trylock(&l->m));
    FIND(0, thrum_mutex_unlock(&l->m));
    FIND(0, thrum_mutex_trylock(&l->m));
    FIND(0, thrum_mutex_unlock(&l->m));
    FIND(EPERM, thrum_mutex_unlock(&l->m));
    FIND(0, thrum_rwlock_rdlock(&l->read));
    FIND(0, thrum_rwlock_rdunlock(&l->read));
    FIND(0, thrum_rwlock_wrlock(&l->read));
    FIND(EBUSY, thrum_rwlock_tryrdlock(&l->read));
    FIND(0, thrum_rwlock_wrunlock(&l->read));
    FIND(0, thrum_rwlock_trywrlock(&l->read));
    FIND(0, thrum_rwlock_downgrade(&l->read));
    FIND(0, thrum_rwlock_tryrdlock(&l->read));
    FIND(0, thrum_rwlock_rdunlock(&l->read));
    FIND(0, thrum_rwlock_rdunlock(&l->read));
    FIND(EPERM, thrum_rwlock_wrunlock(&l->read));
}

Test(attach, locks_that_are_free)
{
    struct locks l;
    memset(&l, 0, sizeof l);
    as_stranger(take_free_locks, &l);
    judge();
    EXPECT_CALL(0, thrum_mutex_trylock(&l.m));
    EXPECT_CALL(0, thrum_rlock_trylock(&l.r));
    EXPECT_CALL(0, thrum_rwlock_trywrlock(&l.read));
}

/* What a stranger holds keeps others out, and its unlock lets them in. */
struct lobby {
    struct locks l;
    uint32_t holds;
    uint32_t let_go;
};

static void hold_all(void *world)
{
    struct lobby *lobby = world;
    FIND(0, thrum_mutex_lock(&lobby->l.m));
    FIND(0, thrum_rwlock_wrlock(&lobby->l.written));
    FIND(0, thrum_rwlock_rdlock(&lobby->l.read));
    thi_store_release(&lobby->holds, 1u);
    await_word(&lobby->let_go, 1);
    FIND(0, thrum_mutex_unlock(&lobby->l.m));
    FIND(0, thrum_rwlock_wrunlock(&lobby->l.written));
    FIND(0, thrum_rwlock_rdunlock(&lobby->l.read));
}

static int lock_m(void *arg)
{
    const int err = thrum_mutex_lock(arg);
    return err != 0 ? err : thrum_mutex_unlock(arg);
}

static int lock_written(void *arg)
{
    const int err = thrum_rwlock_rdlock(arg);
    return err != 0 ? err : thrum_rwlock_rdunlock(arg);
}

static int lock_read(void *arg)
{
    const int err = thrum_rwlock_wrlock(arg);
    return err != 0 ? err : thrum_rwlock_wrunlock(arg);
}

Test(attach, others_wait_for_locks_of_a_stranger)
{
    struct lobby lobby;
    struct stranger s = {.fn = hold_all, .world = &lobby};
    struct caller c[3];
    memset(&lobby, 0, sizeof lobby);
    cr_assert_not_null(thi_self());
    thi_fault_arm(THI_FAULT_AT_EXIT, THI_FAULT_ALWAYS);
    cr_assert_eq(pthread_create(&s.thread, NULL, stranger_main, &s), 0);
    await_word(&lobby.holds, 1);
    thi_fault_arm(THI_FAULT_AT_EXIT, 0);
    caller_start(&c[0], lock_m, &lobby.l.m);
    caller_start(&c[1], lock_written, &lobby.l.written);
    caller_start(&c[2], lock_read, &lobby.l.read);
    await_parked(&lobby.l.m, 1);
    await_parked(&lobby.l.written, 1);
    await_parked(&lobby.l.read, 1);
    thi_fault_arm(THI_FAULT_AT_EXIT, THI_FAULT_ALWAYS);
    thi_store_release(&lobby.let_go, 1u);
    cr_assert_eq(pthread_join(s.thread, NULL), 0);
    for (int i = 0; i < 3; i++)
        cr_expect_eq(caller_join(&c[i]), 0);
    judge();
}

/* --- signals ------------------------------------------------------------------------------------------ */

struct signals {
    thrum_sem_t s;
    thrum_sem_t bounded;
    thrum_event_t e;
    thrum_waitgroup_t w;
    thrum_barrier_t b;
    thrum_mutex_t m;
    thrum_rlock_t r;
    thrum_cond_t c;
    thrum_once_t once;
};

static void begin_signals(struct signals *s)
{
    memset(s, 0, sizeof *s);
    thrum_sem_init_bounded(&s->bounded, 0, 2);
    thrum_waitgroup_add(&s->w, 1);
    thrum_barrier_init(&s->b, 2, never_called, NULL);
}

static bool no(void *arg)
{
    (void)arg;
    return false;
}

static void find_nothing_ready(void *world)
{
    struct signals *s = world;
    FIND(ENOMEM, thrum_sem_acquire(&s->s));
    FIND(ENOMEM, thrum_sem_acquire_until(&s->s, PAST));
    FIND(ENOMEM, thrum_sem_acquire(&s->bounded));
    FIND(EAGAIN, thrum_sem_tryacquire(&s->s));
    FIND(ENOMEM, thrum_event_wait(&s->e));
    FIND(ENOMEM, thrum_event_wait_until(&s->e, PAST));
    FIND(EAGAIN, thrum_event_trywait(&s->e));
    FIND(ENOMEM, thrum_waitgroup_wait(&s->w));
    FIND(ENOMEM, thrum_waitgroup_wait_until(&s->w, PAST));
    FIND(EAGAIN, thrum_waitgroup_trywait(&s->w));
    FIND(ENOMEM, thrum_barrier_wait(&s->b, NULL));
    FIND(ENOMEM, thrum_barrier_wait_until(&s->b, NULL, PAST));
    FIND(ENOMEM, thrum_cond_wait(&s->c, &s->m));
    FIND(ENOMEM, thrum_cond_wait_until(&s->c, &s->m, PAST));
    FIND(ENOMEM, thrum_cond_wait_for(&s->c, &s->m, no, NULL, PAST));
    FIND(EPERM, thrum_cond_wait_rlock(&s->c, &s->r));
    FIND(ENOMEM, thrum_once(&s->once, never_called, NULL));
    FIND(ENOMEM, thrum_sleep(THRUM_S(1000)));
    FIND(ENOMEM, thrum_sleep_until(THRUM_FOREVER));
    FIND(0, thrum_sleep(0));
    FIND(0, thrum_sleep_until(PAST));
    FIND(ENOMEM, thrum_shield(never_shielded, NULL, NULL));
    FIND(false, thrum_cancelled());
}

struct slow_once {
    uint32_t *began;
    uint32_t *let_go;
};

static int make_slowly(void *arg)
{
    const struct slow_once *slow = arg;
    thi_store_release(slow->began, 1u);
    await_word(slow->let_go, 1);
    return 0;
}

struct once_runner {
    thrum_once_t *once;
    struct slow_once slow;
};

static int run_once(void *arg)
{
    struct once_runner *r = arg;
    return thrum_once(r->once, make_slowly, &r->slow);
}

Test(attach, signals_that_are_not_ready)
{
    struct signals s;
    struct caller runner;
    uint32_t began = 0;
    uint32_t let_go = 0;
    struct once_runner r = {&s.once, {&began, &let_go}};
    begin_signals(&s);
    EXPECT_CALL(0, thrum_mutex_lock(&s.m));
    caller_start(&runner, run_once, &r);
    await_word(&began, 1);
    const struct signals before = s;
    as_stranger(find_nothing_ready, &s);
    judge();
    cr_expect_eq(memcmp(&s, &before, sizeof s), 0, "nothing changed");
    thi_store_release(&let_go, 1u);
    cr_expect_eq(caller_join(&runner), 0);
}

static int succeed(void *arg)
{
    *(bool *)arg = true;
    return 0;
}

static void have_what_is_ready(void *world)
{
    struct signals *s = world;
    bool made = false;
    FIND(0, thrum_sem_release(&s->s));
    FIND(0, thrum_sem_acquire(&s->s));
    FIND(0, thrum_sem_release_n(&s->bounded, 2));
    FIND(0, thrum_sem_acquire_until(&s->bounded, PAST));
    thrum_event_set(&s->e);
    FIND(0, thrum_event_wait(&s->e));
    thrum_event_clear(&s->e);
    FIND(0, thrum_waitgroup_done(&s->w));
    FIND(0, thrum_waitgroup_wait(&s->w));
    FIND(0, thrum_once(&s->once, succeed, &made));
    FIND(true, made);
    FIND(0, thrum_once(&s->once, never_called, NULL));
    thrum_cond_signal(&s->c);
    thrum_cond_broadcast(&s->c);
    FIND(0, thrum_barrier_abort(&s->b));
    FIND(0, thrum_barrier_reset(&s->b));
}

Test(attach, signals_that_are_ready)
{
    struct signals s;
    begin_signals(&s);
    as_stranger(have_what_is_ready, &s);
    judge();
}

/* --- once there is room again ---------------------------------------------------------------------------- */

static void wait_in_the_end(void *world)
{
    struct signals *s = world;
    for (unsigned nth = 1; nth <= 3; nth++) {
        thi_fault_arm(THI_FAULT_AT_EXIT, 1);
        FIND(ENOMEM, thrum_sem_acquire_until(&s->s, SOON));
    }
    thi_fault_arm(THI_FAULT_AT_EXIT, 0);
    FIND(ETIMEDOUT, thrum_sem_acquire_until(&s->s, SOON));
    FIND(0, thrum_rlock_lock(&s->r));
    FIND(ETIMEDOUT, thrum_cond_wait_rlock_until(&s->c, &s->r, SOON));
    FIND(0, thrum_rlock_unlock(&s->r));
}

Test(attach, a_thread_that_could_not_be_registered_may_be_later)
{
    struct signals s;
    begin_signals(&s);
    as_stranger(wait_in_the_end, &s);
    judge();
}

/* The records that failed threads were to have are not lost. */
static int give_up_being_known(void *arg)
{
    thrum_sem_t *s = arg;
    return thrum_sem_acquire(s) == ENOMEM ? 0 : EPROTO;
}

static void *fail_to_wait(void *arg)
{
    return give_up_being_known(arg) == 0 ? arg : NULL;
}

Test(attach, failing_to_register_uses_nothing_up)
{
    thrum_sem_t s = THRUM_SEM_INIT(0);
    cr_assert_not_null(thi_self());
    thi_fault_arm(THI_FAULT_AT_EXIT, THI_FAULT_ALWAYS);
    for (int i = 0; i < 200; i++) {
        pthread_t thread;
        void *result = NULL;
        cr_assert_eq(pthread_create(&thread, NULL, fail_to_wait, &s), 0);
        cr_assert_eq(pthread_join(thread, &result), 0);
        cr_expect_eq(result, &s);
    }
    cr_expect_leq(thi_strand_slots(), 4u);
}

/* The system itself has no key left for the library. */
static void *wait_without_key(void *arg)
{
    struct signals *s = arg;
    FIND(0, thrum_mutex_trylock(&s->r.thrum_mutex));
    FIND(0, thrum_mutex_unlock(&s->r.thrum_mutex));
    FIND(ENOMEM, thrum_sem_acquire(&s->s));
    FIND(ENOMEM, thrum_mutex_lock(&s->m));
    FIND(EBUSY, thrum_mutex_trylock(&s->m));
    FIND(ENOMEM, thrum_rlock_lock(&s->r));
    return NULL;
}

Test(attach, there_is_no_key_left)
{
    struct signals s;
    pthread_key_t key;
    pthread_t thread;
    begin_signals(&s);
    while (pthread_key_create(&key, NULL) == 0) {
    }
    EXPECT_CALL(0, thrum_mutex_lock(&s.m));
    cr_assert_eq(pthread_create(&thread, NULL, wait_without_key, &s), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    judge();
    EXPECT_CALL(0, thrum_mutex_unlock(&s.m));
}
