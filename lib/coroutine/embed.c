/*
 * A loop in a foreign event loop: one descriptor that says when it is worth a turn. It is the loop's poller,
 * which also watches a signal (the port's) and an alarm (for the first deadline).
 */
#include "coroutine/core.h"

int thi_loop_need_poller(thrum_loop_t *loop)
{
    int signal = -1;
    int poller = -1;
    if (THI_LIKELY(loop->poller >= 0))
        return 0;
    int err = thi_poller_open(&poller);
    if (err == 0)
        err = thi_signal_open(&signal);
    if (err == 0)
        err = thi_poller_arm(poller, signal, THI_POLL_IN, true);
    if (err == 0) {
        loop->port->signal = signal;
        loop->poller = poller;
        return 0;
    }
    if (signal >= 0)
        thi_signal_close(signal);
    if (poller >= 0)
        thi_poller_close(poller);
    return err;
}

int thrum_loop_fd(thrum_loop_t *loop, int *fd)
{
    if (loop == NULL || fd == NULL)
        return EINVAL;
    int err = thi_loop_need_poller(loop);
    if (err == 0 && loop->alarm < 0) {
        int alarm = -1;
        err = thi_alarm_open(&alarm);
        if (err == 0)
            err = thi_poller_arm(loop->poller, alarm, THI_POLL_IN, true);
        if (err == 0)
            loop->alarm = alarm;
        else if (alarm >= 0)
            thi_signal_close(alarm);
    }
    if (err != 0)
        return err;
    *fd = loop->poller;
    thi_loop_set_alarm(loop);
    return 0;
}

void thi_loop_set_alarm(thrum_loop_t *loop)
{
    if (loop->alarm < 0)
        return;
    thi_alarm_set(loop->alarm, thi_deadlines_soonest(&loop->deadlines));
    if (loop->waiting != 0 || !thi_port_leave(loop->port, true))
        thi_signal_set(loop->port->signal, true);
}
