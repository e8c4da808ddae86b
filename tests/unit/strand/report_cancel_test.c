#include <stdio.h>

#include <thrum/diagnosis.h>
#include <thrum/mutex.h>

#include "support/expect.h"

/* Reports write to a stream, which is a cancellation point of pthreads; the calls are none. */
TestSuite(report_cancel, .timeout = 30);

struct report {
    void (*make)(FILE *out);
    FILE *out; /* unbuffered: each piece is written by a system call */
    uint32_t made;
};

static void dump(FILE *out)
{
    thrum_dump_waiters(out);
}

static void look_for_circles(FILE *out)
{
    (void)thrum_deadlock_report(out);
}

/* The cancellation is pending before the call. */
static void *report_cancelled(void *arg)
{
    struct report *r = arg;
    int before = 0;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    pthread_cancel(pthread_self());
    pthread_setcancelstate(before, &before);
    r->make(r->out);
    r->made = 1;
    pthread_testcancel();
    return NULL;
}

static void expect_made(void (*make)(FILE *out))
{
    struct report r = {make, fopen("/dev/null", "w"), 0};
    pthread_t thread;
    void *result = NULL;
    cr_assert_not_null(r.out);
    cr_assert_eq(setvbuf(r.out, NULL, _IONBF, 0), 0);
    cr_assert_eq(pthread_create(&thread, NULL, report_cancelled, &r), 0);
    cr_assert_eq(pthread_join(thread, &result), 0);
    cr_expect_eq(r.made, 1u, "the call was left in its middle");
    cr_expect_eq(result, PTHREAD_CANCELED, "the cancellation stays pending");
    fclose(r.out);
}

Test(report_cancel, who_waits)
{
    expect_made(dump);
}

Test(report_cancel, circles)
{
    expect_made(look_for_circles);
}

/* What a checked build says of itself when it has no memory. */
static void *lock_cancelled(void *arg)
{
    thrum_mutex_t m = THRUM_MUTEX_INIT;
    uint32_t *locked = arg;
    int before = 0;
    (void)thi_self();
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    pthread_cancel(pthread_self());
    pthread_setcancelstate(before, &before);
    thi_fault_arm(THI_FAULT_PAGES, THI_FAULT_ALWAYS);
    *locked = thrum_mutex_lock(&m) == 0;
    thi_fault_arm(THI_FAULT_PAGES, 0);
    *locked += thrum_mutex_unlock(&m) == 0;
    return NULL;
}

Test(report_cancel, the_end_of_checks)
{
    uint32_t locked = 0;
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, lock_cancelled, &locked), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_expect_eq(locked, 2u);
}
