/*
 * Descriptors as cases of select (queue/queue.h).
 *
 * A thread without a loop polls while it sleeps: the descriptors of all its cases are gathered on its stage,
 * from the first enter to the last leave; in between it does nothing but sleep.
 *
 *   since   0, or why the case cannot be waited for: an error of the system, found out before anything is
 *           entered, since an enter that fails is tried again and again
 */
#include <thrum/io.h>

#include "coroutine/waitfd.h"
#include "queue/queue.h"

struct thi_select_polls {
    thi_poll_set_t set;
    thi_polled_t polled[THRUM_SELECT_MAX + 1];
};

static int fd_of(const thrum_case_t *c)
{
    return (int)(intptr_t)c->object;
}

static unsigned direction_of(const thrum_case_t *c)
{
    return c->kind == THRUM_CASE_KIND_READ ? THI_POLL_IN : THI_POLL_OUT;
}

static bool valid(const thrum_case_t *c)
{
    return thi_waitfd_is_number(fd_of(c));
}

/* The loop that the calling coroutine runs on; NULL: its thread is to sleep. */
static thrum_loop_t *loop_here(void)
{
    const thi_stage_t *stage = thi_stage;
    return stage != NULL && stage->current != &stage->self ? stage->loop : NULL;
}

static uint32_t begin(const thrum_case_t *c)
{
    (void)c;
    thrum_loop_t *loop = loop_here();
    if (loop != NULL)
        return (uint32_t)thi_loop_need_poller(loop);
    thi_stage_t *stage = thi_stage_here();
    if (stage != NULL && stage->select_polls == NULL)
        stage->select_polls = thi_alloc(sizeof *stage->select_polls);
    if (stage == NULL || stage->select_polls == NULL)
        return ENOMEM;
    return (uint32_t)thi_thread_may_poll(thi_current.strand);
}

static int attempt(const thrum_case_t *c, uint32_t since)
{
    thi_polled_t polled = {fd_of(c), direction_of(c), 0};
    if (thi_poll(&polled, 1, 0) == 0 && polled.ready != 0)
        return (polled.ready & THI_POLL_BAD) != 0 ? EBADF : 0;
    return since != 0 ? (int)since : EAGAIN;
}

static bool poll_in_sleep(const thrum_case_t *c)
{
    struct thi_select_polls *polls = thi_stage->select_polls;
    if (polls->set.n == 0) {
        polls->set.polled = polls->polled;
        polls->set.ready = thi_waitfd_polled;
        if (thi_thread_polls(thi_current.strand, &polls->set) != 0)
            return false;
    }
    polls->polled[polls->set.n++] = (thi_polled_t){fd_of(c), direction_of(c), 0};
    return true;
}

static bool enter(const thrum_case_t *c, uint32_t since, thi_wait_t *wait, thi_waiter_t *waiter,
                  uint32_t index)
{
    const thi_park_t park = thi_waitfd_park(fd_of(c), direction_of(c));
    thrum_loop_t *loop = loop_here();
    (void)since;
    thi_lot_enter(wait, waiter, index, &park);
    const bool armed =
        loop != NULL ? thi_waitfd_arm(loop, fd_of(c), direction_of(c)) == 0 : poll_in_sleep(c);
    if (!armed)
        thi_lot_leave(waiter, &park);
    return armed;
}

static void leave(const thrum_case_t *c, thi_waiter_t *waiter)
{
    const thi_park_t park = thi_waitfd_park(fd_of(c), direction_of(c));
    thi_lot_leave(waiter, &park);
    if (loop_here() == NULL && --thi_stage->select_polls->set.n == 0)
        thi_thread_polled(thi_current.strand);
}

static const thi_case_kind_t kind = {.valid = valid,
                                     .begin = begin,
                                     .attempt = attempt,
                                     .enter = enter,
                                     .leave = leave,
                                     .won = attempt};

__attribute__((constructor)) static void at_load(void)
{
    thi_case_register(THRUM_CASE_KIND_READ, &kind);
    thi_case_register(THRUM_CASE_KIND_WRITE, &kind);
}

void thi_select_polls_end(thi_stage_t *stage)
{
    thi_free(stage->select_polls, sizeof *stage->select_polls);
}
