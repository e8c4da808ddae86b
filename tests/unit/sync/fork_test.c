#include <string.h>

#include <thrum/thrum.h>

#include "support/child.h"
#include "support/expect.h"

/* Forks at any moment: the threads of the parent are in the middle of everything. */
TestSuite(fork, .timeout = 60);

enum { THREADS = 3, FORKS = 80 };
#define ENOUGH THRUM_S(10) /* for them: a busy machine does not get through */

struct world {
    thrum_mutex_t m;
    thrum_rlock_t r;
    thrum_rwlock_t l;
    thrum_sem_t s;
    thrum_event_t e;
    thrum_waitgroup_t w;
    thrum_once_t once;
    thrum_mutex_t cm;
    thrum_cond_t c;
    thrum_barrier_t b;
    uint32_t stop;
};

static int succeed(void *arg)
{
    (void)arg;
    return 0;
}

static bool goes_on(const struct world *w)
{
    return thi_load_relaxed(&w->stop) == 0;
}

static int hammer_locks(void *arg)
{
    struct world *w = arg;
    int err = 0;
    while (goes_on(w) && err == 0) {
        err |= thrum_mutex_lock(&w->m) | thrum_mutex_unlock(&w->m);
        err |= thrum_rlock_lock(&w->r) | thrum_rlock_lock(&w->r);
        err |= thrum_rlock_unlock(&w->r) | thrum_rlock_unlock(&w->r);
        err |= thrum_rwlock_wrlock(&w->l) | thrum_rwlock_wrunlock(&w->l);
    }
    return err;
}

/* One a time: writers of the parent are told from one another, its readers are not. */
static int hammer_once(void *arg)
{
    struct world *w = arg;
    int err = 0;
    while (goes_on(w) && err == 0) {
        err = thrum_once(&w->once, succeed, NULL);
        thi_store_release(&w->once.thrum_state, 0u); /* as it was before */
    }
    return err;
}

static int hammer_signals(void *arg)
{
    struct world *w = arg;
    int err = 0;
    while (goes_on(w) && err == 0) {
        err |= thrum_sem_release(&w->s) | thrum_sem_acquire(&w->s);
        thrum_event_set(&w->e);
        thrum_event_clear(&w->e);
        err |= thrum_waitgroup_add(&w->w, 1) | thrum_waitgroup_done(&w->w);
        err |= thrum_mutex_lock(&w->cm);
        const int timed = thrum_cond_wait_until(&w->c, &w->cm, thrum_after(THRUM_US(20)));
        err |= timed == ETIMEDOUT ? 0 : timed;
        thrum_cond_broadcast(&w->c);
        err |= thrum_mutex_unlock(&w->cm);
    }
    return err;
}

#define A_LONG_TIME thrum_after(THRUM_S(4))

/* Taken, or lost: never a hang. */
static bool settled(int err)
{
    return err == 0 || err == EOWNERDEAD;
}

static int try_locks_in_child(void *arg)
{
    struct world *w = arg;
    int err = thrum_mutex_lock_until(&w->m, A_LONG_TIME);
    if (!settled(err) || (err == 0 && thrum_mutex_unlock(&w->m) != 0))
        return 1;
    err = thrum_rlock_lock_until(&w->r, A_LONG_TIME);
    if (!settled(err) || (err == 0 && thrum_rlock_unlock(&w->r) != 0))
        return 2;
    err = thrum_rwlock_wrlock_until(&w->l, A_LONG_TIME);
    if (!settled(err) || (err == 0 && thrum_rwlock_wrunlock(&w->l) != 0))
        return 3;
    err = thrum_rwlock_rdlock_until(&w->l, A_LONG_TIME);
    if (!settled(err) || (err == 0 && thrum_rwlock_rdunlock(&w->l) != 0))
        return 4;
    return 0;
}

static int try_once_in_child(void *arg)
{
    struct world *w = arg;
    return settled(thrum_once(&w->once, succeed, NULL)) ? 0 : 5;
}

static int wait_for_event(void *arg)
{
    struct world *w = arg;
    return thrum_event_wait(&w->e);
}

static int try_signals_in_child(void *arg)
{
    struct world *w = arg;
    struct caller c;
    int err = 0;
    if (thrum_sem_release(&w->s) != 0 || thrum_sem_acquire_until(&w->s, A_LONG_TIME) != 0)
        return 6;
    thrum_event_clear(&w->e);
    caller_start(&c, wait_for_event, w);
    await_parked(&w->e, 1);
    thrum_event_set(&w->e);
    if (caller_join(&c) != 0)
        return 7;
    while (err == 0)
        err = thrum_waitgroup_done(&w->w); /* what the parent had under way is the child's to end */
    if (err != EINVAL || thrum_waitgroup_wait_until(&w->w, A_LONG_TIME) != 0)
        return 8;
    if (thrum_mutex_init(&w->cm) != 0 || thrum_mutex_lock(&w->cm) != 0)
        return 9;
    if (thrum_cond_wait_until(&w->c, &w->cm, SOON) != ETIMEDOUT)
        return 10;
    thrum_cond_broadcast(&w->c);
    return thrum_mutex_unlock(&w->cm) == 0 ? 0 : 11;
}

/* New threads use new objects: the library's own locks are in order. */
static int use_afresh(void *arg)
{
    thrum_sem_t *s = arg;
    const int err = thrum_sem_acquire(s);
    return err != 0 ? err : thrum_sem_release(s);
}

static int start_anew_in_child(void *arg)
{
    thrum_sem_t s = THRUM_SEM_INIT(0);
    struct caller c[4];
    (void)arg;
    for (int i = 0; i < 4; i++)
        caller_start(&c[i], use_afresh, &s);
    if (thrum_sem_release(&s) != 0)
        return 12;
    for (int i = 0; i < 4; i++) {
        if (caller_join(&c[i]) != 0)
            return 13;
    }
    return 0;
}

static int try_all_in_child(void *arg)
{
    int err = try_locks_in_child(arg);
    if (err == 0)
        err = try_once_in_child(arg);
    if (err == 0)
        err = try_signals_in_child(arg);
    return err != 0 ? err : start_anew_in_child(arg);
}

static void fork_amid(int (*hammer)(void *), unsigned threads)
{
    static struct world w;
    struct caller c[THREADS];
    if (!CHILD_MAY_START_THREADS)
        cr_skip_test("the sanitizer cannot do that");
    memset(&w, 0, sizeof w);
    cr_assert_eq(thrum_barrier_init(&w.b, 2, NULL, NULL), 0);
    for (unsigned i = 0; i < threads; i++)
        caller_start(&c[i], hammer, &w);
    const thrum_time_t end = thrum_after(ENOUGH);
    for (int i = 0; i < FORKS && thrum_now() < end; i++) {
        const int result = child_run(try_all_in_child, &w);
        cr_assert_eq(result, 0, "child %d: %d", i, result);
    }
    thi_store_relaxed(&w.stop, 1u);
    for (unsigned i = 0; i < threads; i++)
        cr_expect_eq(caller_join(&c[i]), 0);
}

Test(fork, amid_locks)
{
    fork_amid(hammer_locks, THREADS);
}

Test(fork, amid_an_initialisation)
{
    fork_amid(hammer_once, 1);
}

Test(fork, amid_signals)
{
    fork_amid(hammer_signals, THREADS);
}

/* Threads that come and go, and the records of which are given and taken at the moment of the fork. */
static int use_once(void *arg)
{
    struct world *w = arg;
    const int err = thrum_mutex_lock(&w->m);
    return err != 0 ? err : thrum_mutex_unlock(&w->m);
}

static int hammer_threads(void *arg)
{
    struct world *w = arg;
    int err = 0;
    while (goes_on(w) && err == 0) {
        struct caller c[2];
        for (int i = 0; i < 2; i++)
            caller_start(&c[i], use_once, w);
        for (int i = 0; i < 2; i++)
            err |= caller_join(&c[i]);
    }
    return err;
}

Test(fork, amid_threads_that_come_and_go)
{
    fork_amid(hammer_threads, 2);
}

/* Generations of children, each forked amid threads of its parent, which end then. */
enum { GENERATIONS = 20 };

static int go_on_in_child(struct world *w)
{
    struct caller c[2];
    const int err = try_all_in_child(w);
    if (err != 0 || thi_fork_depth() == GENERATIONS)
        return err;
    memset(w, 0, sizeof *w);
    for (int i = 0; i < 2; i++)
        caller_start(&c[i], hammer_locks, w);
    const pid_t pid = fork();
    if (pid == 0) {
        alarm(CHILD_SECONDS);
        _exit(go_on_in_child(w));
    }
    thi_store_relaxed(&w->stop, 1u);
    for (int i = 0; i < 2; i++) {
        if (caller_join(&c[i]) != 0)
            return 14;
    }
    alarm(0); /* those that come after end by their own */
    int status = 0;
    return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : 15;
}

static int begin_generations(void *arg)
{
    return go_on_in_child(arg);
}

Test(fork, through_generations)
{
    static struct world w;
    if (!CHILD_MAY_START_THREADS)
        cr_skip_test("the sanitizer cannot do that");
    cr_assert_not_null(thi_self());
    const thrum_time_t end = thrum_after(ENOUGH);
    for (int i = 0; i < 10 && thrum_now() < end; i++) {
        memset(&w, 0, sizeof w);
        const int result = child_run(begin_generations, &w);
        cr_expect_eq(result, 0, "%d", result);
    }
}
