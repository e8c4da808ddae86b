#include <time.h>

#include "os/os.h"

#ifndef CLOCK_MONOTONIC_COARSE
#define CLOCK_MONOTONIC_COARSE CLOCK_MONOTONIC
#endif

static thrum_time_t read_clock(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (thrum_time_t)now.tv_sec * THRUM_S(1) + now.tv_nsec;
}

thrum_time_t thi_clock(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

thrum_time_t thi_clock_coarse(void)
{
    return read_clock(CLOCK_MONOTONIC_COARSE);
}
