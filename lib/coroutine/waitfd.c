/*
 * Waiting for descriptors. Whoever waits is queued in the parking lot like everybody else, under a key that
 * stands for the descriptor, at one of two sites: for reading or for writing. Who finds a descriptor ready
 * unparks its key.
 *
 *   in a loop       the loop's poller is armed for the descriptor, once for each wait
 *   without a loop  the thread polls instead of sleeping (strand.h, thi_thread_polls)
 *
 * Invariants
 *   I1  A waiter is queued before the poller is armed, and the poller tells of what is ready at that
 *       moment. So nothing that comes is missed.
 *   I2  `armed` says for which directions the loop has armed the poller. It may say too much (somebody gave
 *       up), which costs a look. Arming anew finds out whether the number is still that descriptor.
 */
#include <string.h>

#include "coroutine/stream.h"
#include "coroutine/waitfd.h"

#define FD_MAX (1 << 21)
#define CLOSED 1u /* handed to a waiter */
#define FEW 2u

static const thi_site_t reading = {"descriptor to read from", NULL};
static const thi_site_t writing = {"descriptor to write to", NULL};

/* Never touched: only their addresses are used. */
static char keys[FD_MAX];

static const void *key_of(int fd)
{
    return &keys[fd];
}

static void unpark(int fd, const thi_site_t *at, thi_settle_fn settle)
{
    thi_lot_unpark(&(thi_unpark_t){.key = key_of(fd), .site = at, .n = THI_ALL, .settle = settle});
}

static void ready(int fd, unsigned events)
{
    if ((events & (THI_POLL_IN | THI_POLL_BAD)) != 0)
        unpark(fd, &reading, NULL);
    if ((events & (THI_POLL_OUT | THI_POLL_BAD)) != 0)
        unpark(fd, &writing, NULL);
}

void thi_waitfd_unpark(int fd, unsigned directions)
{
    ready(fd, directions);
}

const thi_site_t *thi_waitfd_site(unsigned direction)
{
    return direction == THI_POLL_IN ? &reading : &writing;
}

const void *thi_waitfd_object(int fd)
{
    return key_of(fd);
}

static void tell_closed(const thi_unparked_t *found, void *arg)
{
    (void)arg;
    for (thi_waiter_t *waiter = found->first; waiter != NULL; waiter = waiter->next)
        waiter->given = CLOSED;
}

void thi_waitfd_closed(int fd)
{
    if (fd < 0 || fd >= FD_MAX)
        return;
    unpark(fd, &reading, tell_closed);
    unpark(fd, &writing, tell_closed);
}

unsigned thi_waitfd_count(int fd)
{
    return thi_park_count(key_of(fd));
}

void thi_waitfd_look_again(int fd)
{
    if (fd >= 0 && fd < FD_MAX)
        ready(fd, THI_POLL_IN | THI_POLL_OUT);
}

/* ------------------------------------------------------------------------------------------------
 * In a loop
 */

/* True: there is a place for the descriptor. */
static bool reserve(thrum_loop_t *loop, int fd)
{
    const size_t needed = (size_t)fd + 1;
    if (THI_LIKELY(needed <= loop->armed_size))
        return true;
    size_t size = loop->armed_size != 0 ? loop->armed_size : 64;
    while (size < needed)
        size *= 2;
    uint8_t *armed = thi_alloc(size);
    if (armed == NULL)
        return false;
    if (loop->armed_size != 0)
        memcpy(armed, loop->armed, loop->armed_size);
    thi_free(loop->armed, loop->armed_size);
    loop->armed = armed;
    loop->armed_size = size;
    return true;
}

int thi_waitfd_arm(thrum_loop_t *loop, int fd, unsigned events)
{
    int err = thi_loop_need_poller(loop);
    if (err == 0 && !reserve(loop, fd))
        err = ENOMEM;
    if (err != 0)
        return err;
    if (THI_UNLIKELY((size_t)fd < loop->streams_size && loop->streams[fd] != NULL))
        return thi_stream_share(loop->streams[fd], events);
    loop->armed[fd] |= (uint8_t)events;
    err = thi_poller_arm(loop->poller, fd, loop->armed[fd], false);
    if (err != 0)
        loop->armed[fd] = 0;
    if (err == EPERM) { /* always ready */
        ready(fd, events);
        err = 0;
    }
    return err;
}

void thi_waitfd_ready(thrum_loop_t *loop, const thi_polled_t *polled, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const int fd = polled[i].fd;
        if (polled[i].events != 0) {
            thi_stream_ready(loop, &polled[i]);
        } else if (fd == loop->port->signal) {
            thi_signal_set(fd, false);
        } else if (fd != loop->alarm && (size_t)fd < loop->armed_size) {
            const unsigned left = loop->armed[fd] & ~polled[i].ready;
            loop->armed[fd] = 0;
            ready(fd, polled[i].ready);
            if (left != 0 && thi_waitfd_arm(loop, fd, left) != 0)
                ready(fd, left); /* nobody else would tell them why */
        }
    }
}

/* ------------------------------------------------------------------------------------------------
 * Without a loop
 */

void thi_waitfd_polled(thi_poll_set_t *set)
{
    for (size_t i = 0; i < set->n; i++) {
        if (set->polled[i].ready != 0)
            ready(set->polled[i].fd, set->polled[i].ready);
    }
}

/* ------------------------------------------------------------------------------------------------
 * The wait
 */

struct place {
    thi_waiter_t waiter[2]; /* to read, to write */
};

struct waiting {
    const thi_fdwait_t *waits;
    size_t n;
    struct place *places;
    thi_polled_t *polled; /* one more than there are waits */
};

static bool always(void *arg)
{
    (void)arg;
    return true;
}

thi_park_t thi_waitfd_park(int fd, unsigned direction)
{
    return (thi_park_t){.site = direction == THI_POLL_IN ? &reading : &writing,
                        .key = key_of(fd),
                        .validate = always,
                        .cancellable = true};
}

static void enter(const struct waiting *w, thi_wait_t *wait)
{
    for (size_t i = 0; i < w->n; i++) {
        const thi_park_t in = thi_waitfd_park(w->waits[i].fd, THI_POLL_IN);
        const thi_park_t out = thi_waitfd_park(w->waits[i].fd, THI_POLL_OUT);
        if ((w->waits[i].events & THI_POLL_IN) != 0)
            thi_lot_enter(wait, &w->places[i].waiter[0], (uint32_t)i, &in);
        if ((w->waits[i].events & THI_POLL_OUT) != 0)
            thi_lot_enter(wait, &w->places[i].waiter[1], (uint32_t)i, &out);
    }
}

/* Returns whether one of them was closed. */
static bool leave(const struct waiting *w)
{
    bool closed = false;
    for (size_t i = 0; i < w->n; i++) {
        const thi_park_t in = thi_waitfd_park(w->waits[i].fd, THI_POLL_IN);
        const thi_park_t out = thi_waitfd_park(w->waits[i].fd, THI_POLL_OUT);
        thi_waiter_t *waiter = w->places[i].waiter;
        if ((w->waits[i].events & THI_POLL_IN) != 0) {
            thi_lot_leave(&waiter[0], &in);
            closed |= waiter[0].given == CLOSED;
        }
        if ((w->waits[i].events & THI_POLL_OUT) != 0) {
            thi_lot_leave(&waiter[1], &out);
            closed |= waiter[1].given == CLOSED;
        }
    }
    return closed;
}

static int arm_all(const struct waiting *w, thrum_loop_t *loop)
{
    int err = 0;
    for (size_t i = 0; err == 0 && i < w->n; i++)
        err = thi_waitfd_arm(loop, w->waits[i].fd, w->waits[i].events);
    return err;
}

static int sleep_in_loop(const struct waiting *w, thrum_loop_t *loop, thi_wait_t *wait,
                         const thi_site_t *at, thrum_time_t deadline)
{
    const int err = arm_all(w, loop);
    if (err != 0 && thi_wait_give_up(wait))
        return err;
    const int slept = thi_wait_sleep(wait, deadline, true, at, key_of(w->waits[0].fd));
    return err != 0 ? err : slept;
}

static int sleep_in_poll(const struct waiting *w, thi_strand_t *self, thi_wait_t *wait,
                         const thi_site_t *at, thrum_time_t deadline)
{
    thi_poll_set_t set = {w->polled, w->n, thi_waitfd_polled};
    for (size_t i = 0; i < w->n; i++)
        w->polled[i] = (thi_polled_t){w->waits[i].fd, w->waits[i].events, 0};
    int err = thi_thread_polls(self, &set);
    if (err != 0 && thi_wait_give_up(wait))
        return err;
    const int slept = thi_wait_sleep(wait, deadline, true, at, key_of(w->waits[0].fd));
    thi_thread_polled(self);
    return err != 0 ? err : slept;
}

static int wait_on(const struct waiting *w, thrum_time_t deadline)
{
    thi_strand_t *self = thi_self();
    if (self == NULL)
        return ENOMEM;
    thi_wait_t wait;
    thi_wait_init(&wait, self);
    enter(w, &wait);
    const thi_site_t *at = (w->waits[0].events & THI_POLL_IN) != 0 ? &reading : &writing;
    const thi_stage_t *stage = thi_stage;
    const int err = stage != NULL && stage->loop != NULL && stage->current != &stage->self
                        ? sleep_in_loop(w, stage->loop, &wait, at, deadline)
                        : sleep_in_poll(w, self, &wait, at, deadline);
    return leave(w) ? ECANCELED : err;
}

bool thi_waitfd_is_number(int fd)
{
    return fd >= 0 && fd < FD_MAX;
}

static bool are_numbers(const thi_fdwait_t *waits, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!thi_waitfd_is_number(waits[i].fd))
            return false;
    }
    return true;
}

int thi_waitfd(const thi_fdwait_t *waits, size_t n, thrum_time_t deadline)
{
    struct place few[FEW];
    thi_polled_t few_polled[FEW + 1];
    struct waiting w = {waits, n, few, few_polled};
    if (!are_numbers(waits, n))
        return EBADF;
    memset(few, 0, sizeof few);
    if (n > FEW) {
        w.places = thi_alloc(n * sizeof *w.places);
        w.polled = thi_alloc((n + 1) * sizeof *w.polled);
    }
    const int err = w.places != NULL && w.polled != NULL ? wait_on(&w, deadline) : ENOMEM;
    if (n > FEW) {
        thi_free(w.places, n * sizeof *w.places);
        thi_free(w.polled, (n + 1) * sizeof *w.polled);
    }
    return err;
}
