#include <thrum/mutex.h>
#include <thrum/rlock.h>

#include "support/child.h"
#include "support/expect.h"

/* Locks that are free, and of which the word still tells of strands of the parent that waited: in the child they
 * are nobody's. (What is not free ends the checked build.) */
TestSuite(fork_destroy, .timeout = 60);

struct locks {
    thrum_mutex_t m;
    thrum_rlock_t r;
};

static int lock_m(void *arg)
{
    struct locks *l = arg;
    return thrum_mutex_lock(&l->m) | thrum_mutex_unlock(&l->m);
}

static int lock_r(void *arg)
{
    struct locks *l = arg;
    return thrum_rlock_lock(&l->r) | thrum_rlock_unlock(&l->r);
}

/* A child of a thread that has them locked, while others sleep, or watch. */
static int unlock_and_destroy(void *arg)
{
    struct locks *l = arg;
    if (thrum_mutex_unlock(&l->m) != 0 || thrum_rlock_unlock(&l->r) != 0)
        return 1;
    thrum_mutex_destroy(&l->m);
    thrum_rlock_destroy(&l->r);
    return 0;
}

/* The words as the unlock leaves them that has just woken a watcher; the fork comes before he has looked. */
static int destroy(void *arg)
{
    struct locks *l = arg;
    thrum_mutex_destroy(&l->m);
    thrum_rlock_destroy(&l->r);
    return 0;
}

Test(fork_destroy, a_lock_that_strands_of_the_parent_wait_for)
{
    enum { EACH = 2 };
    struct locks l = {THRUM_MUTEX_INIT, THRUM_RLOCK_INIT};
    struct caller c[2 * EACH];
    EXPECT_CALL(0, thrum_mutex_lock(&l.m));
    EXPECT_CALL(0, thrum_rlock_lock(&l.r));
    for (int i = 0; i < 2 * EACH; i++)
        caller_start(&c[i], i < EACH ? lock_m : lock_r, &l);
    await_parked(&l.m, EACH);
    await_parked(&l.r, EACH);
    cr_expect_eq(child_run(unlock_and_destroy, &l), 0);
    EXPECT_CALL(0, thrum_mutex_unlock(&l.m));
    EXPECT_CALL(0, thrum_rlock_unlock(&l.r));
    for (int i = 0; i < 2 * EACH; i++)
        cr_expect_eq(caller_join(&c[i]), 0);
    destroy(&l);
}

Test(fork_destroy, a_lock_whose_watcher_is_the_parent_s)
{
    enum { PARKED = 2, HANDOFF = 4, WATCHED_SHIFT = 8 };
    (void)thi_self();
    struct locks l = {THRUM_MUTEX_INIT, THRUM_RLOCK_INIT};
    l.m.thrum_state = thi_fork_mark << WATCHED_SHIFT | PARKED;
    l.r.thrum_mutex.thrum_state = thi_fork_mark << WATCHED_SHIFT | HANDOFF;
    cr_expect_eq(child_run(destroy, &l), 0);
}
