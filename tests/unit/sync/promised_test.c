#include <thrum/mutex.h>
#include <thrum/rlock.h>

#include "support/child.h"
#include "support/expect.h"

/* A mutex that is free, and promised to a waiter who has not taken it yet: a moment, made to last here. */
TestSuite(promised, .timeout = 30);

enum { HANDOFF = 4, WATCHED_SHIFT = 8 };

static void promise(thrum_mutex_t *m)
{
    m->thrum_state = thi_fork_mark << WATCHED_SHIFT | HANDOFF;
}

Test(promised, what_nobody_else_may_take_is_locked)
{
    thrum_mutex_t m = THRUM_MUTEX_INIT;
    promise(&m);
    EXPECT_CALL(EBUSY, thrum_mutex_trylock(&m));
    cr_expect(thrum_mutex_locked(&m));
    EXPECT_CALL(ETIMEDOUT, thrum_mutex_lock_until(&m, PAST));
    cr_expect(thrum_mutex_locked(&m));
    EXPECT_CALL(EPERM, thrum_mutex_unlock(&m));
}

Test(promised, a_recursive_lock_likewise)
{
    thrum_rlock_t r = THRUM_RLOCK_INIT;
    promise(&r.thrum_mutex);
    EXPECT_CALL(EBUSY, thrum_rlock_trylock(&r));
    cr_expect(thrum_rlock_locked(&r));
    cr_expect_not(thrum_rlock_owned(&r));
}

/* Who is awake and watches lets others pass, until he insists. */
Test(promised, a_watcher_alone_does_not_lock_it)
{
    thrum_mutex_t m = THRUM_MUTEX_INIT;
    m.thrum_state = thi_fork_mark << WATCHED_SHIFT;
    cr_expect_not(thrum_mutex_locked(&m));
    EXPECT_CALL(0, thrum_mutex_trylock(&m));
    cr_expect(thrum_mutex_locked(&m));
    EXPECT_CALL(0, thrum_mutex_unlock(&m));
}

static int take_over(void *arg)
{
    thrum_mutex_t *m = arg;
    if (thrum_mutex_locked(m) || thrum_mutex_trylock(m) != 0)
        return 1;
    return thrum_mutex_unlock(m) == 0 ? 0 : 2;
}

Test(promised, what_the_parent_promised_binds_no_child)
{
    thrum_mutex_t m = THRUM_MUTEX_INIT;
    (void)thi_self();
    promise(&m);
    cr_expect_eq(child_run(take_over, &m), 0);
    cr_expect(thrum_mutex_locked(&m));
}
