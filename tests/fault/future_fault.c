/*
 * No memory for futures and what hangs on them: the calls say so, have changed nothing and lost nothing.
 */
#include <criterion/criterion.h>

#include "fault/counted.h"

TestSuite(future, .timeout = 60);

static void count_call(thrum_future_t *f, void *arg)
{
    (void)f;
    thi_fetch_add_acq_rel((uint32_t *)arg, 1u);
}

static int count_step(thrum_future_t *f, void *arg, void **result)
{
    *result = NULL;
    count_call(f, arg);
    return 0;
}

/* Calls it with the n-th allocation failing, from a cache without blocks. */
static int call_nth(int which, unsigned nth, thrum_future_t **f, uint32_t *calls, void **made)
{
    thrum_future_t *taken[80]; /* more than a cache holds */
    unsigned n = 0;
    int err = 0;
    thi_fault_arm(THI_FAULT_ALLOC, THI_FAULT_ALWAYS);
    while (n < 80 && thrum_future_create(&taken[n]) == 0)
        n++;
    thi_fault_arm(THI_FAULT_ALLOC, nth);
    if (which == 0)
        err = thrum_future_create((thrum_future_t **)made);
    else if (which == 1)
        err = thrum_future_add_done_callback(f[0], count_call, calls);
    else if (which == 2)
        err = thrum_future_then(f[0], NULL, count_step, calls, (thrum_future_t **)made);
    else if (which == 3)
        err = thrum_as_completed_create((thrum_as_completed_t **)made, f, 10);
    else
        err = thrum_wait(f, 10, THRUM_FIRST_COMPLETED, PAST, NULL);
    thi_fault_arm(THI_FAULT_ALLOC, 0);
    while (n != 0)
        thrum_future_release(taken[--n]);
    return err;
}

static int try_each(int which)
{
    thrum_future_t *f[10];
    void *made = NULL;
    uint32_t calls = 0;
    int err = ENOMEM;
    for (int i = 0; i < 10; i++)
        NEED(thrum_future_create(&f[i]) == 0);
    for (unsigned nth = 1; err == ENOMEM; nth++) {
        NEED(nth < 40 && made == NULL);
        err = call_nth(which, nth, f, &calls, &made);
        NEED(err != 0 || nth > 1);
    }
    NEED(err == (which == 4 ? ETIMEDOUT : 0));
    NEED((made != NULL) == (which == 0 || which == 2 || which == 3));
    for (int i = 0; i < 10; i++) {
        NEED(thrum_future_complete(f[i], NULL) == 0);
        thrum_future_release(f[i]);
    }
    NEED(calls == (which == 1 || which == 2));
    if (which == 3)
        thrum_as_completed_destroy(made);
    else
        thrum_future_release(made);
    return 0;
}

static int try_futures(void *arg)
{
    return try_each(*(int *)arg);
}

Test(future, whatever_needs_memory_says_so, .init = count_memory)
{
    for (int which = 0; which < 5; which++)
        run_alone(try_futures, &which);
}

/* Promises that are never kept, and who looked at them: nothing is left of either. */
static int drop_all(void *arg)
{
    thrum_future_t *f[10];
    thrum_as_completed_t *it = NULL;
    uint32_t calls = 0;
    for (int i = 0; i < 10; i++)
        NEED(thrum_future_create(&f[i]) == 0);
    NEED(thrum_as_completed_create(&it, f, 10) == 0);
    NEED(thrum_future_add_done_callback(f[1], count_call, &calls) == 0);
    NEED(thrum_future_then(f[2], NULL, count_step, &calls, NULL) == 0);
    NEED(*(bool *)arg || thrum_future_complete(f[3], NULL) == 0);
    thrum_as_completed_destroy(it);
    for (int i = 0; i < 10; i++)
        thrum_future_release(f[i]);
    NEED(calls == 0);
    return 0;
}

Test(future, promises_that_are_dropped_leave_nothing, .init = count_memory)
{
    run_alone(drop_all, &(bool){false});
    run_alone(drop_all, &(bool){true});
}
