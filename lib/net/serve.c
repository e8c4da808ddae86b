/*
 * A connection's record, from its arrival to its end.
 *
 *   slot   FREE     nobody has it
 *          BUSY     a handler runs, or will
 *          IDLE     its read waits for a request's first byte
 *          DONE     its process has counted its end, and only has to end itself
 *
 * Invariants
 *   I1  A record is in the table, with its slot, as long as its descriptor is open here. The table changes under the
 *       lock, so whoever has the lock may shut down what is in it.
 *   I2  Who waits for a request writes IDLE and reads `stopping`; who stops writes `stopping` and reads the state, each
 *       with a full fence between. So either the reader sees the end, or its socket is shut down for reading.
 *   I3  A scope is cancelled before `strand` is read; who serves writes `strand`, enters the scope, and looks at it
 *       before it sleeps. So a cancellation that finds nobody to wake is seen.
 *   I4  The last that is touched of the server is `strands`: who waits for it may free the server.
 */
#include <string.h>

#include <thrum/cancel.h>
#include <thrum/io.h>

#include "net/server.h"

#include "os/os.h"

#define LINGER THRUM_S(2)
#define LINGER_MAX ((size_t)1 << 20)

/* ------------------------------------------------------------------------------------------------
 * Records
 */

static thrum_conn_t *make_record(thrum_server_t *server, int fd, thi_datagram_t *datagram)
{
    const thrum_server_config_t *config = &server->config;
    thrum_conn_t *c = thi_alloc(sizeof *c);
    if (c == NULL)
        return NULL;
    c->server = server;
    c->fd = fd;
    c->datagram = datagram;
    c->max_request = config->max_request;
    c->idle_timeout = config->idle_timeout;
    c->read_timeout = config->read_timeout;
    c->write_timeout = config->write_timeout;
    c->began = thi_clock_coarse();
    c->total = thi_limit_after(c->began, config->total_timeout);
    return c;
}

static void note_peak(thi_tally_t *tally)
{
    const uint32_t active = thi_fetch_add_relaxed(&tally->active, 1u) + 1;
    uint32_t peak = thi_load_relaxed(&tally->peak);
    while (active > peak && !thi_cas_relaxed(&tally->peak, &peak, active)) {
    }
}

static void begin_slot(thi_slot_t *slot)
{
    thi_store_relaxed(&slot->requests, 0);
    thi_store_relaxed(&slot->received, 0);
    thi_store_relaxed(&slot->sent, 0);
    thi_store_relaxed(&slot->state, THI_SLOT_BUSY);
}

thrum_conn_t *thi_conn_make(thrum_server_t *server, int fd, thi_datagram_t *datagram)
{
    thrum_conn_t *c = make_record(server, fd, datagram);
    if (c == NULL)
        return NULL;
    (void)thrum_waitgroup_add(&server->strands, 1);
    thrum_mutex_lock(&server->lock);
    const uint32_t slot = server->free_slots[--server->n_free];
    c->slot = &server->tally->slots[server->first + slot];
    note_peak(server->tally);
    begin_slot(c->slot);
    server->conns[slot] = c;
    server->active++;
    if (server->hurries)
        thi_scope_cancel(&c->scope);
    thrum_mutex_unlock(&server->lock);
    thi_count(&server->tally->accepted, 1);
    return c;
}

static void add_up(thi_tally_t *tally, const thi_slot_t *slot)
{
    thi_count(&tally->requests, thi_load_relaxed(&slot->requests));
    thi_count(&tally->received, thi_load_relaxed(&slot->received));
    thi_count(&tally->sent, thi_load_relaxed(&slot->sent));
}

static void free_memory(thrum_conn_t *c)
{
    if (c->datagram != NULL)
        thi_free(c->datagram, thi_datagram_size(c->datagram->size));
    if (c->ahead != NULL)
        thi_free(c->ahead, THI_AHEAD);
    thrum_frames_destroy(c->frames);
    thi_free(c, sizeof *c);
}

/* I1, I4 */
static void end_record(thrum_conn_t *c)
{
    thrum_server_t *server = c->server;
    thi_tally_t *tally = server->tally;
    const uint32_t slot = (uint32_t)(c->slot - tally->slots) - server->first;
    thrum_mutex_lock(&server->lock);
    server->conns[slot] = NULL;
    add_up(tally, c->slot);
    thi_store_relaxed(&c->slot->state, THI_SLOT_FREE);
    thi_fetch_sub_relaxed(&tally->active, 1u);
    server->free_slots[server->n_free++] = slot;
    if (c->datagram == NULL)
        thi_wire_close(
            c); /* here: a child that is forked under the lock finds what the table says */
    thrum_mutex_unlock(&server->lock);
    free_memory(c);
    (void)thrum_sem_release(&server->room);
    thrum_mutex_lock(&server->lock);
    server->active--;
    if (server->state == THI_SERVER_STOPS)
        thrum_cond_broadcast(&server->changed);
    thrum_mutex_unlock(&server->lock);
    (void)thrum_waitgroup_done(&server->strands);
}

void thi_conn_shed(thrum_conn_t *c)
{
    thi_count(&c->server->tally->shed, 1);
    end_record(c);
}

/* ------------------------------------------------------------------------------------------------
 * Serving
 */

static void count_status(thi_tally_t *tally, int status)
{
    if (status == ETIMEDOUT)
        thi_count(&tally->timed_out, 1);
    else
        thi_count(status == 0 ? &tally->completed : &tally->failed, 1);
}

static void count_end(const thrum_conn_t *c, int status)
{
    thi_tally_t *tally = c->server->tally;
    const bool cancelled = thi_load_acquire(&c->scope.thrum_cancelled) != 0 ||
                           (status == ECANCELED && thrum_cancelled()); /* who runs the server was */
    if (cancelled)
        thi_count(&tally->cancelled, 1);
    else
        count_status(tally, status);
}

/* What a peer has sent and nobody has read would make the close a reset, which may overtake the answer. */
static void linger(thrum_conn_t *c)
{
    char waste[4096];
    size_t n = 0;
    size_t all = 0;
    if (c->ended || c->datagram != NULL || thi_load_relaxed(&c->scope.thrum_cancelled) != 0 ||
        thrum_io_recv(c->fd, waste, sizeof waste, MSG_DONTWAIT, &n, 0) != 0 || n == 0)
        return;
    const thrum_time_t until = thrum_after(LINGER);
    (void)shutdown(c->fd, SHUT_WR);
    do
        all += n;
    while (all < LINGER_MAX && thi_wire_read(c, waste, sizeof waste, &n, until) == 0 && n != 0);
}

static int handle(thrum_conn_t *c)
{
    const thrum_server_config_t *config = &c->server->config;
    const int saved = errno;
    thi_conn_io_begin(c);
    int status = config->setup != NULL ? config->setup(c, config->ctx) : 0;
    if (status == 0)
        status = config->handler(c, config->ctx);
    if (config->finish != NULL)
        config->finish(c, config->ctx, status);
    linger(c);
    errno = saved;
    return status;
}

void thi_conn_serve(thrum_conn_t *c)
{
    thi_strand_t *self = thi_self();
    if (self == NULL) {
        thi_conn_shed(c);
        return;
    }
    c->scope.thrum_outer = self->scope;
    thi_store_release(&c->strand, self);
    const thi_scope_t *before = thi_scope_enter(self, &c->scope); /* I3 */
    count_end(c, handle(c));
    thrum_mutex_lock(&c->server->lock);
    thi_store_relaxed(&c->strand, NULL);
    thrum_mutex_unlock(&c->server->lock);
    thi_scope_enter(self, before);
    end_record(c);
}

void thi_conn_serve_alone(thrum_conn_t *c)
{
    c->slot->status = handle(c);
    if (c->datagram == NULL)
        (void)shutdown(c->fd, SHUT_RDWR);              /* the parent has it open as well */
    thi_store_release(&c->slot->state, THI_SLOT_DONE); /* R1: release; pairs with A1 */
}

void thi_conn_process_ended(thrum_conn_t *c)
{
    thi_tally_t *tally = c->server->tally;
    const bool cancelled = thi_load_acquire(&c->scope.thrum_cancelled) != 0;
    if (thi_load_acquire(&c->slot->state) == THI_SLOT_DONE) /* A1: acquire; pairs with R1 */
        count_status(tally, c->slot->status);
    else
        thi_count(cancelled ? &tally->cancelled : &tally->crashed, 1);
    end_record(c);
}

void thi_slots_of_the_dead(thi_tally_t *tally, uint32_t first, uint32_t limit, bool cancelled)
{
    for (uint32_t i = first; i < first + limit; i++) {
        thi_slot_t *slot = &tally->slots[i];
        if (thi_load_acquire(&slot->state) == THI_SLOT_FREE)
            continue;
        add_up(tally, slot);
        thi_count(cancelled ? &tally->cancelled : &tally->crashed, 1);
        thi_store_relaxed(&slot->state, THI_SLOT_FREE);
        thi_fetch_sub_relaxed(&tally->active, 1u);
    }
}

/* ------------------------------------------------------------------------------------------------
 * Stopping
 */

void thi_conns_wake_idle(thrum_server_t *server)
{
    const int saved = errno;
    thi_fence_full(); /* I2 */
    for (uint32_t i = 0; i < server->limit; i++) {
        const thrum_conn_t *c = server->conns[i];
        if (c != NULL && c->datagram == NULL && thi_load_relaxed(&c->slot->state) == THI_SLOT_IDLE)
            (void)shutdown(c->fd, SHUT_RD);
    }
    errno = saved;
}

static void cancel(thrum_conn_t *c, bool blocks)
{
    thi_scope_cancel(&c->scope); /* I3 */
    if (c->process != NULL) {
        (void)thrum_process_kill(c->process);
        return;
    }
    thi_strand_t *strand = thi_load_acquire(&c->strand);
    if (strand != NULL)
        thi_strand_unpark(strand);
    if (blocks && c->datagram == NULL)
        (void)shutdown(c->fd, SHUT_RDWR);
}

void thi_conns_cancel(thrum_server_t *server)
{
    const int saved = errno;
    for (uint32_t i = 0; i < server->limit; i++) {
        thrum_conn_t *c = server->conns[i];
        if (c != NULL)
            cancel(c, server->engine->blocks);
    }
    errno = saved;
}
