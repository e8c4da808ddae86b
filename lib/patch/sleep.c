/*
 * sleep and its kin. Nothing but their time and cancellation ends them: signals belong to the thread.
 */

#include "patch/patch.h"

static bool is_duration(const struct timespec *time)
{
    return time != NULL && time->tv_sec >= 0 && time->tv_nsec >= 0 && time->tv_nsec < THRUM_S(1);
}

/* 0, or an error. Who sleeps for no time lets others run. */
static int sleep_until(thrum_time_t deadline)
{
    if (deadline > thrum_now())
        return thrum_sleep_until(deadline);
    thrum_yield();
    return 0;
}

static int sleep_for(const struct timespec *duration, struct timespec *left)
{
    const thrum_time_t deadline = thi_patch_after(duration);
    const int err = sleep_until(deadline);
    if (err != 0 && left != NULL) {
        const thrum_time_t now = thrum_now();
        const thrum_time_t rest = deadline > now ? deadline - now : 0;
        *left = (struct timespec){(time_t)(rest / THRUM_S(1)), (long)(rest % THRUM_S(1))};
    }
    return err;
}

unsigned sleep(unsigned seconds)
{
    if (!thrum_loop_inside())
        return thi_real()->sleep(seconds);
    struct timespec left = {0, 0};
    const int err = sleep_for(&(struct timespec){.tv_sec = (time_t)seconds}, &left);
    if (err != 0)
        errno = err;
    return (unsigned)left.tv_sec + (left.tv_nsec != 0);
}

int usleep(useconds_t microseconds)
{
    if (!thrum_loop_inside())
        return thi_real()->usleep(microseconds);
    const struct timespec duration = {(time_t)(microseconds / 1000000),
                                      (long)(microseconds % 1000000) * 1000};
    const int err = sleep_for(&duration, NULL);
    if (err != 0)
        errno = err;
    return err != 0 ? -1 : 0;
}

int nanosleep(const struct timespec *duration, struct timespec *left)
{
    if (!is_duration(duration) || !thrum_loop_inside())
        return thi_real()->nanosleep(duration, left);
    const int err = sleep_for(duration, left);
    if (err != 0)
        errno = err;
    return err != 0 ? -1 : 0;
}

struct sleeping {
    clockid_t clock;
    int flags;
    const struct timespec *time;
    int err;
};

static ssize_t block_in_sleep(void *arg)
{
    struct sleeping *s = arg;
    s->err = thi_real()->clock_nanosleep(s->clock, s->flags, s->time, NULL);
    return 0;
}

/* An instant of a clock that somebody may set is the system's affair. */
int clock_nanosleep(clockid_t clock, int flags, const struct timespec *time, struct timespec *left)
{
    const bool instant = (flags & TIMER_ABSTIME) != 0;
    if ((clock != CLOCK_MONOTONIC && clock != CLOCK_REALTIME) || !is_duration(time) ||
        !thrum_loop_inside())
        return thi_real()->clock_nanosleep(clock, flags, time, left);
    if (!instant)
        return sleep_for(time, left);
    if (clock == CLOCK_MONOTONIC)
        return sleep_until(time->tv_sec >= THRUM_FOREVER / THRUM_S(1)
                               ? THRUM_FOREVER
                               : THRUM_S(time->tv_sec) + time->tv_nsec);
    const int saved = errno;
    struct sleeping sleeping = {clock, flags, time, 0};
    const int err = thi_patch_elsewhere(block_in_sleep, &sleeping) != 0 ? errno : sleeping.err;
    errno = saved;
    return err;
}
