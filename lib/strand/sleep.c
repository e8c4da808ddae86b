/*
 * The clock as people see it, and sleeping: a wait on nothing but a deadline.
 */
#include <thrum/time.h>

#include "strand/strand.h"

thrum_time_t thrum_now(void)
{
    return thi_clock();
}

thrum_time_t thrum_after(int64_t nanoseconds)
{
    const thrum_time_t now = thi_clock();
    if (nanoseconds > 0 && now > THRUM_FOREVER - nanoseconds)
        return THRUM_FOREVER;
    if (nanoseconds < 0 && nanoseconds < -now) /* before the clock began */
        return 0;
    return now + nanoseconds;
}

static const thi_site_t sleep_site = {"sleep", NULL};

int thrum_sleep_until(thrum_time_t deadline)
{
    if (deadline <= thi_clock())
        return 0;
    thi_strand_t *self = thi_self();
    if (self == NULL)
        return ENOMEM;
    int err = 0;
    thi_strand_waits(self, &sleep_site, NULL);
    while (err == 0 && !thi_strand_cancelled(self))
        err = thi_strand_park(self, deadline); /* 0: a stray permit, or cancelled */
    thi_strand_waited(self);
    return err == ETIMEDOUT ? 0 : ECANCELED;
}

int thrum_sleep(int64_t nanoseconds)
{
    if (nanoseconds < 0)
        return EINVAL;
    return nanoseconds == 0 ? 0 : thrum_sleep_until(thrum_after(nanoseconds));
}
