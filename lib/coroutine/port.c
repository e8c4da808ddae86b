/*
 * What other threads tell a loop: that one of its coroutines was woken or spawned, and that it is to stop.
 *
 *   sleeps   AWAKE     the loop will look at the inbox before it sleeps
 *            ON_WORD   it sleeps, or is about to, on this word
 *            IN_POLL   it sleeps, or is about to, in a poll that the signal's descriptor is part of
 *
 * Invariants
 *   I1  Who posts writes the inbox and reads `sleeps`; who falls asleep writes `sleeps` and reads the inbox,
 *       each with a full fence between. So one of them sees the other.
 *   I2  A port is never freed, only used again; its descriptor is closed when it is shut and nobody visits.
 *       A waker that is late by a loop's life leaves a coroutine of another loop in an inbox, where it is seen
 *       not to wait.
 *   I3  What a late waker leaves where nobody looks for long could lie there while its coroutine sleeps elsewhere and
 *       others rely on it (coro_strand.c). So who leaves something there looks whether it belongs there, and
 *       who finds that somebody has one in hand for another port than its own looks into that one's inbox,
 *       each with a full fence between. So one of them takes it out again.
 *   I4  Who spawns counts that (`coming`) and reads `shut`; who destroys the loop writes `shut` and reads the
 *       count, each with a full fence between. So it is waited for, or it is refused.
 */
#include "coroutine/core.h"

#define AWAKE 0u
#define ON_WORD 1u
#define IN_POLL 2u

static thi_lock_t lock;
static thi_port_t *free_ports;

thi_port_t *thi_port_make(void)
{
    thi_lock(&lock, THI_RANK_STACKS);
    thi_port_t *port = free_ports;
    if (port != NULL)
        free_ports = port->next_free;
    thi_unlock(&lock, THI_RANK_STACKS);
    if (port == NULL)
        port = thi_pages_map(sizeof *port);
    if (port == NULL)
        return NULL;
    thi_store_relaxed(&port->sleeps, AWAKE);
    thi_store_relaxed(&port->stop, 0u);
    thi_store_relaxed(&port->shut, 0u);
    port->signal = -1;
    thi_store_seq_cst(&port->open, 1u);
    return port;
}

void thi_port_forward(thi_port_t *port)
{
    thi_fence_full(); /* I3 */
    thrum_coro_t *co = thi_port_take(port);
    for (thrum_coro_t *next = NULL; co != NULL; co = next) {
        next = co->next_post;
        thi_swap_acq_rel(&co->posted, NULL);
        thi_coro_wake(&co->strand);
    }
}

void thi_port_close(thi_port_t *port)
{
    unsigned turns = 0;
    thi_store_seq_cst(&port->open, 0u);
    thi_fence_full(); /* against the one in visit: a visitor is seen here, or sees the port shut */
    while (thi_load_acquire(&port->visitors) != 0 && /* A2: acquire; pairs with R2 */
           !THI_PLANT("port-leaves-visitors"))
        thi_cpu_yield(turns++);
    if (port->signal >= 0)
        thi_signal_close(port->signal);
    port->signal = -1;
    if (!THI_PLANT("port-drops-post"))
        thi_port_forward(port); /* late wakers may have kept others from leaving them elsewhere */
    thi_lock(&lock, THI_RANK_STACKS);
    port->next_free = free_ports;
    free_ports = port;
    thi_unlock(&lock, THI_RANK_STACKS);
}

void thi_port_shut(thi_port_t *port)
{
    thi_store_seq_cst(&port->shut, 1u);
    thi_fence_full(); /* I4 */
}

bool thi_port_is_open(const thi_port_t *port)
{
    return thi_load_seq_cst(&port->open) != 0;
}

bool thi_port_visit(thi_port_t *port)
{
    thi_fetch_add_acq_rel(&port->visitors, 1u);
    thi_fence_full();
    return thi_port_is_open(port);
}

void thi_port_visited(thi_port_t *port)
{
    thi_fetch_sub_acq_rel(&port->visitors, 1u); /* R2: release; pairs with A2 */
}

/* As a visitor. */
static void wake(thi_port_t *port)
{
    thi_fence_full(); /* I1, I3 */
    if (thi_load_seq_cst(&port->sleeps) == AWAKE)
        return;
    switch (thi_swap_acq_rel(&port->sleeps, AWAKE)) {
    case ON_WORD:
        thi_futex_wake(&port->sleeps, 1);
        break;
    case IN_POLL:
        thi_signal_set(port->signal, true);
        break;
    default: /* somebody was faster */
        break;
    }
}

static void push(thi_port_t *port, thrum_coro_t *co)
{
    thrum_coro_t *first = thi_load_relaxed(&port->inbox);
    do
        co->next_post = first;
    /* R1: release; pairs with A1. */
    while (!thi_cas_release(&port->inbox, &first, co));
}

bool thi_port_post(thi_port_t *port, thrum_coro_t *co)
{
    const bool open = thi_port_visit(port);
    if (open) {
        push(port, co);
        wake(port);
        /* It may be in another life, which its own waker sees to (I3). */
        if (THI_UNLIKELY(thi_load_relaxed(&co->port) != port) && !THI_PLANT("port-left-away"))
            thi_port_forward(port);
    }
    thi_port_visited(port);
    return open;
}

void thi_port_stop(thi_port_t *port)
{
    if (thi_port_visit(port)) {
        thi_store_seq_cst(&port->stop, 1u);
        wake(port);
    }
    thi_port_visited(port);
}

static bool is_shut(const thi_port_t *port)
{
    thi_fence_full(); /* I4 */
    return thi_load_seq_cst(&port->shut) != 0;
}

bool thi_port_announce(thi_port_t *port, uint32_t *coming)
{
    const bool early = THI_PLANT("port-looks-early") && is_shut(port);
    thi_fetch_add_acq_rel(coming, 1u);
    if (THI_LIKELY(THI_PLANT("port-looks-early") ? !early : !is_shut(port)))
        return true;
    thi_fetch_sub_acq_rel(coming, 1u);
    thi_port_stop(port); /* whoever waits may have seen it counted, and sleep */
    return false;
}

/* ------------------------------------------------------------------------------------------------
 * The loop's side
 */

bool thi_port_has_post(const thi_port_t *port)
{
    return thi_load_relaxed(&port->inbox) != NULL || thi_load_relaxed(&port->stop) != 0;
}

thrum_coro_t *thi_port_take(thi_port_t *port)
{
    if (thi_load_relaxed(&port->inbox) == NULL)
        return NULL;
    thrum_coro_t *list = thi_swap_acquire(&port->inbox, NULL); /* A1: acquire; pairs with R1 */
    thrum_coro_t *turned = NULL;
    for (thrum_coro_t *next = NULL; list != NULL; list = next) {
        next = list->next_post;
        list->next_post = turned;
        turned = list;
    }
    return turned;
}

bool thi_port_fall_asleep(thi_port_t *port, bool polls)
{
    thi_store_seq_cst(&port->sleeps, polls ? IN_POLL : ON_WORD);
    thi_fence_full(); /* I1 */
    if (THI_PLANT("port-no-recheck") ||
        (thi_load_seq_cst(&port->inbox) == NULL && thi_load_seq_cst(&port->stop) == 0))
        return true;
    thi_port_wake_up(port);
    return false;
}

void thi_port_sleep(thi_port_t *port, thrum_time_t deadline)
{
    thi_futex_wait(&port->sleeps, ON_WORD, deadline);
}

/* A signal that was given meanwhile stays: the next poll finds it, and takes it away. */
void thi_port_wake_up(thi_port_t *port)
{
    thi_store_relaxed(&port->sleeps, AWAKE);
}

bool thi_port_leave(thi_port_t *port, bool polls)
{
    thi_store_seq_cst(&port->sleeps, polls ? IN_POLL : AWAKE);
    thi_fence_full(); /* I1 */
    return thi_load_seq_cst(&port->inbox) == NULL && thi_load_seq_cst(&port->stop) == 0;
}

void thi_ports_after_fork(void)
{
    lock = (thi_lock_t){0};
    for (thi_port_t *port = free_ports; port != NULL; port = port->next_free)
        port->visitors = 0;
}
