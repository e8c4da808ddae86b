/*
 * How a server stops, and who waits for that; I1 to I3 are those of server.c.
 */
#include <unistd.h>

#include <thrum/cancel.h>
#include <thrum/io.h>

#include "net/server.h"

#include "os/os.h"
#include "process/process.h"

#define GRACE THRUM_S(1) /* for processes, beyond the deadline; then they are killed */

static const thi_site_t asked = {"a process of the server", NULL};

/* ------------------------------------------------------------------------------------------------
 * Asking for it
 */

/* The name goes first: once the socket is closed, the name may be another server's. */
void thi_server_close_listener(thrum_server_t *server)
{
    if (server->path != NULL && server->fork_mark == thi_fork_mark && !server->inner) {
        const int saved = errno;
        (void)unlink(server->path);
        errno = saved;
        thi_server_free_text(server->path);
        server->path = NULL;
    }
    if (server->listener >= 0)
        (void)thrum_io_close(server->listener);
    server->listener = -1;
}

/* Under the lock. I2. Datagrams are answered by the socket that they came by, so it stays until the end. */
static void close_early(thrum_server_t *server)
{
    const bool serial = server->engine == &thi_engine_serial && server->active != 0;
    if (!server->config.datagram && (server->acceptors == NULL || serial))
        thi_server_close_listener(server);
}

/* Under the lock. */
static void wake_all(thrum_server_t *server)
{
    for (thi_acceptor_t *a = server->acceptors; a != NULL; a = a->next) {
        thi_scope_cancel(&a->scope);
        thi_strand_unpark(a->strand);
    }
    thi_conns_wake_idle(server);
    if (server->engine->stop != NULL)
        server->engine->stop(server);
    close_early(server);
    thrum_cond_broadcast(&server->changed);
}

/* Under the lock. */
static void ask(thrum_server_t *server, thrum_time_t deadline, int error)
{
    if (server->state == THI_SERVER_NEW) {
        server->state = THI_SERVER_ENDED;
        thi_server_close_listener(server);
        thrum_cond_broadcast(&server->changed);
        return;
    }
    if (server->state == THI_SERVER_ENDED ||
        (server->state == THI_SERVER_STOPS && deadline >= server->deadline))
        return;
    if (server->state == THI_SERVER_RUNS)
        server->error = error;
    server->state = THI_SERVER_STOPS;
    server->deadline = deadline;
    thi_store_release(server->stopping, 1u);
    wake_all(server);
}

void thi_server_begin_stop(thrum_server_t *server, thrum_time_t deadline, int error)
{
    thrum_mutex_lock(&server->lock);
    ask(server, deadline, error);
    thrum_mutex_unlock(&server->lock);
}

thrum_time_t thi_server_drain_deadline(const thrum_server_t *server)
{
    const int64_t limit = server->config.drain_timeout;
    return limit < 0 ? THRUM_FOREVER : thrum_after(limit);
}

/* ------------------------------------------------------------------------------------------------
 * From a process of the server
 */

static void ask_parent(thrum_server_t *server, thrum_time_t deadline)
{
    const uint64_t wanted = (uint64_t)deadline + 1;
    uint64_t before = thi_load_relaxed(&server->tally->asked);
    while ((before == 0 || wanted < before) &&
           !thi_cas_relaxed(&server->tally->asked, &before, wanted)) {
    }
    thi_fetch_add_acq_rel(&server->tally->asks, 1u); /* R1: release; pairs with A1 */
    thi_far_wake(&server->tally->asks);
}

void thi_server_heed(thrum_server_t *server)
{
    const uint64_t wanted = thi_load_relaxed(&server->tally->asked);
    if (wanted != 0)
        thi_server_begin_stop(server, (thrum_time_t)(wanted - 1), 0);
}

static int heed_all(void *arg, void **result)
{
    thrum_server_t *server = arg;
    uint32_t *asks = &server->tally->asks;
    uint32_t seen = 0;
    (void)result;
    do {
        seen = thi_load_acquire(asks); /* A1: acquire; pairs with R1 */
        thi_server_heed(server);
    } while (thi_shared_sleep(asks, seen, THRUM_FOREVER, true, &asked) == 0);
    return 0;
}

int thi_server_begin_heeding(thrum_server_t *server)
{
    const thrum_thread_config_t config = {.name = server->config.name, .daemon = true};
    return thrum_thread_spawn(&server->heeder, heed_all, server, &config);
}

void thi_server_end_heeding(thrum_server_t *server)
{
    if (server->heeder == NULL)
        return;
    (void)thrum_thread_cancel(server->heeder);
    (void)thrum_thread_join(server->heeder, NULL);
    thrum_thread_release(server->heeder);
    server->heeder = NULL;
}

/* ------------------------------------------------------------------------------------------------
 * Waiting for it
 */

/* Whether the caller is a handler of the server. Under the lock. */
static bool serves(const thrum_server_t *server)
{
    const thi_strand_t *self = thi_self();
    for (uint32_t i = 0; self != NULL && i < server->limit; i++) {
        if (server->conns[i] != NULL && thi_load_relaxed(&server->conns[i]->strand) == self)
            return true;
    }
    return false;
}

/* Whoever was cancelled is counted, in whichever process that was. */
int thi_server_result(const thrum_server_t *server)
{
    if (server->error != 0)
        return server->error;
    return thi_load_relaxed(&server->tally->cancelled) != 0 ? ETIMEDOUT : 0;
}

static int wait_for_end(thrum_server_t *server, thrum_time_t deadline)
{
    int err = 0;
    while (err == 0 && server->state != THI_SERVER_ENDED)
        err = thrum_cond_wait_until(&server->changed, &server->lock, deadline);
    return err != 0 ? err : thi_server_result(server);
}

int thrum_server_stop(thrum_server_t *server, thrum_time_t deadline)
{
    if (server == NULL)
        return EINVAL;
    if (server->fork_mark != thi_fork_mark)
        return EOWNERDEAD;
    if (server->inner)
        ask_parent(server, deadline < 0 ? 0 : deadline);
    if (server->inner && server->limit == 0)
        return 0; /* a process for one connection */
    thrum_mutex_lock(&server->lock);
    const bool inside = serves(server);
    ask(server, deadline, 0);
    const int err = inside ? 0 : wait_for_end(server, THRUM_FOREVER);
    thrum_mutex_unlock(&server->lock);
    return err;
}

int thrum_server_join(thrum_server_t *server, thrum_time_t deadline)
{
    if (server == NULL)
        return EINVAL;
    if (server->fork_mark != thi_fork_mark)
        return EOWNERDEAD;
    thrum_mutex_lock(&server->lock);
    const int err = server->state == THI_SERVER_NEW ? EINVAL : wait_for_end(server, deadline);
    thrum_mutex_unlock(&server->lock);
    return err;
}

/* A thread that cannot be registered cannot sleep; it waits all the same. */
void thi_server_stop_for_good(thrum_server_t *server)
{
    thrum_mutex_lock(&server->lock);
    ask(server, 0, 0);
    for (unsigned turns = 0; server->state != THI_SERVER_ENDED; turns++) {
        if (thrum_cond_wait(&server->changed, &server->lock) != ENOMEM)
            continue;
        thrum_mutex_unlock(&server->lock);
        thi_cpu_yield(turns);
        thrum_mutex_lock(&server->lock);
    }
    thrum_mutex_unlock(&server->lock);
}

/* ------------------------------------------------------------------------------------------------
 * By who runs it
 */

/* Until it is stopped, by whoever; the caller's cancellation stops it, too. */
void thi_server_await_stop(thrum_server_t *server)
{
    thrum_mutex_lock(&server->lock);
    while (server->state == THI_SERVER_RUNS)
        if (thrum_cond_wait(&server->changed, &server->lock) == ECANCELED)
            ask(server, 0, ECANCELED);
    thrum_mutex_unlock(&server->lock);
}

static thrum_time_t at(const thrum_server_t *server)
{
    return server->deadline;
}

static thrum_time_t never(const thrum_server_t *server)
{
    (void)server;
    return THRUM_FOREVER;
}

static thrum_time_t with_grace(const thrum_server_t *server)
{
    return server->hurried + GRACE;
}

/* Under the lock. Until it is empty, or it is time for more; I3. */
static void wait_for_handlers(thrum_server_t *server, thrum_time_t (*until)(const thrum_server_t *))
{
    for (;;) {
        close_early(server);
        if (server->acceptors == NULL && server->active == 0)
            return;
        const thrum_time_t end = until(server);
        if (thrum_cond_wait_until(&server->changed, &server->lock, end) == ETIMEDOUT &&
            end == until(server))
            return;
    }
}

/* Under the lock. */
static void hurry(thrum_server_t *server)
{
    if (server->hurries)
        return;
    server->hurries = true;
    server->hurried = thrum_now();
    thi_conns_cancel(server);
}

void thi_server_hurry_in_time(thrum_server_t *server)
{
    thrum_mutex_lock(&server->lock);
    while (server->state == THI_SERVER_RUNS)
        (void)thrum_cond_wait(&server->changed, &server->lock);
    wait_for_handlers(server, at);
    hurry(server);
    thrum_mutex_unlock(&server->lock);
}

int thi_server_drain(void *arg, void **result)
{
    thrum_server_t *server = arg;
    (void)result;
    thrum_mutex_lock(&server->lock);
    wait_for_handlers(server, at);
    hurry(server);
    if (server->engine->kill != NULL) {
        wait_for_handlers(server, with_grace);
        server->engine->kill(server);
    }
    wait_for_handlers(server, never);
    thi_server_close_listener(server);
    thrum_mutex_unlock(&server->lock);
    (void)thrum_waitgroup_wait(&server->strands);
    if (server->engine->end != NULL)
        server->engine->end(server);
    return 0;
}
