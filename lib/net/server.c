/*
 * Servers: made, run, stopped, waited for.
 *
 *   NEW --run--> RUNS --stop, an error, SIGTERM--> STOPS --every handler has ended--> ENDED
 *    `------------------------------stop------------------------------------------------^
 *
 * Invariants
 *   I1  One strand runs the server: it takes it from RUNS to ENDED. Others only ask (thi_server_begin_stop).
 *   I2  From STOPS on nobody begins to accept; the listening socket is closed when no acceptor is left.
 *   I3  `deadline` only becomes earlier. Who runs the server looks at it again when it has changed.
 */
#include <string.h>
#include <unistd.h>

#include <thrum/cancel.h>
#include <thrum/event.h>
#include <thrum/io.h>

#include "net/server.h"

#include "os/os.h"

#define GRACE THRUM_S(1) /* for processes, beyond the deadline; then they are killed */

/* ------------------------------------------------------------------------------------------------
 * Making
 */

static char *copy_text(const char *text)
{
    const size_t size = strlen(text) + 1;
    char *copy = thi_alloc(size);
    if (copy != NULL)
        memcpy(copy, text, size);
    return copy;
}

static void free_text(char *text)
{
    if (text != NULL)
        thi_free(text, strlen(text) + 1);
}

static int make_tables(thrum_server_t *server)
{
    const size_t n = server->config.max_connections;
    server->tally_size = sizeof(thi_tally_t) + n * sizeof(thi_slot_t);
    server->tally = thi_shared_map(server->tally_size);
    server->conns = thi_alloc(n * sizeof *server->conns);
    server->free_slots = thi_alloc(n * sizeof *server->free_slots);
    if (server->tally == NULL || server->conns == NULL || server->free_slots == NULL)
        return ENOMEM;
    for (uint32_t i = 0; i < n; i++)
        server->free_slots[i] = (uint32_t)n - 1 - i;
    server->limit = server->n_free = (uint32_t)n;
    return thrum_sem_init(&server->room, (unsigned)n);
}

static int listen_at(thrum_server_t *server, const char *text)
{
    thi_address_t address;
    int err = thi_address_parse(text, &address);
    if (err == 0)
        err = thi_address_listen(&address, &server->config, &server->listener);
    if (err == 0 && strncmp(text, "unix:", 5) == 0 && text[5] != '@' &&
        (server->path = copy_text(text + 5)) == NULL)
        err = ENOMEM;
    return err;
}

static int learn_family(thrum_server_t *server)
{
    struct sockaddr_storage name;
    socklen_t length = sizeof name;
    if (getsockname(server->listener, (struct sockaddr *)&name, &length) != 0)
        return errno;
    server->family = name.ss_family;
    return 0;
}

static int open_sockets(thrum_server_t *server, const thrum_server_config_t *config)
{
    const int saved = errno;
    int err = 0;
    if (config->listener >= 0)
        err = thi_fd_duplicate(config->listener, &server->listener);
    else
        err = listen_at(server, config->address);
    if (err == 0)
        err = learn_family(server);
    if (err == 0)
        err = thi_null_open(&server->spare);
    errno = saved;
    return err;
}

static void close_listener(thrum_server_t *server)
{
    if (server->listener >= 0)
        (void)thrum_io_close(server->listener);
    server->listener = -1;
    if (server->path != NULL && server->fork_mark == thi_fork_mark && !server->inner) {
        const int saved = errno;
        (void)unlink(server->path);
        errno = saved;
    }
}

static void free_server(thrum_server_t *server)
{
    close_listener(server);
    if (server->spare >= 0)
        thi_fd_close(server->spare);
    if (server->tally != NULL)
        thi_shared_unmap(server->tally, server->tally_size);
    thi_free(server->conns, server->config.max_connections * sizeof *server->conns);
    thi_free(server->free_slots, server->config.max_connections * sizeof *server->free_slots);
    free_text(server->path);
    free_text((char *)(uintptr_t)server->config.name);
    thi_free(server, sizeof *server);
}

static int build(thrum_server_t *server, const thrum_server_config_t *config)
{
    server->engine = thi_server_engine(server->config.model);
    server->fork_mark = thi_fork_mark;
    server->deadline = THRUM_FOREVER;
    server->config.name = copy_text(server->config.name);
    if (server->config.name == NULL)
        return ENOMEM;
    const int err = make_tables(server);
    return err != 0 ? err : open_sockets(server, config);
}

int thrum_server_create(thrum_server_t **server, const thrum_server_config_t *config)
{
    thrum_server_config_t full;
    if (server == NULL || thi_server_settings(&full, config) != 0)
        return EINVAL;
    thrum_frames_t *frames = NULL; /* whether there can be such frames */
    int err = thrum_frames_create(&frames, &full.frames);
    thrum_frames_destroy(frames);
    thrum_server_t *s = err == 0 ? thi_alloc(sizeof *s) : NULL;
    if (s == NULL)
        return err != 0 ? err : ENOMEM;
    s->config = full;
    s->listener = s->spare = s->terminate = -1;
    err = build(s, config);
    if (err != 0)
        free_server(s);
    else
        *server = s;
    return err;
}

/* ------------------------------------------------------------------------------------------------
 * Stopping
 */

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
    thrum_cond_broadcast(&server->changed);
}

/* Under the lock. */
static void ask(thrum_server_t *server, thrum_time_t deadline, int error)
{
    if (server->state == THI_SERVER_NEW) {
        server->state = THI_SERVER_ENDED;
        close_listener(server);
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
    thi_store_release(&server->tally->stopping, 1u);
    wake_all(server);
}

void thi_server_begin_stop(thrum_server_t *server, thrum_time_t deadline, int error)
{
    thrum_mutex_lock(&server->lock);
    ask(server, deadline, error);
    thrum_mutex_unlock(&server->lock);
}

/* Whether the caller is a handler of the server. Under the lock. */
static bool serves(const thrum_server_t *server)
{
    const thi_strand_t *self = thi_self();
    for (uint32_t i = 0; self != NULL && i < server->limit; i++) {
        if (server->conns[i] != NULL && server->conns[i]->strand == self)
            return true;
    }
    return false;
}

/* Under the lock. */
static int result_of(const thrum_server_t *server)
{
    if (server->error != 0)
        return server->error;
    return server->cut ? ETIMEDOUT : 0;
}

static int wait_for_end(thrum_server_t *server, thrum_time_t deadline)
{
    int err = 0;
    while (err == 0 && server->state != THI_SERVER_ENDED)
        err = thrum_cond_wait_until(&server->changed, &server->lock, deadline);
    return err != 0 ? err : result_of(server);
}

/* By a handler in a process of the server: for the parent to see when that ends. */
static void ask_parent(thrum_server_t *server, thrum_time_t deadline)
{
    const uint64_t wanted = (uint64_t)deadline + 1;
    uint64_t asked = thi_load_relaxed(&server->tally->asked);
    while ((asked == 0 || wanted < asked) &&
           !thi_cas_relaxed(&server->tally->asked, &asked, wanted)) {
    }
}

void thi_server_heed(thrum_server_t *server)
{
    const uint64_t asked = thi_load_relaxed(&server->tally->asked);
    if (asked != 0)
        thi_server_begin_stop(server, (thrum_time_t)(asked - 1), 0);
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

/* ------------------------------------------------------------------------------------------------
 * Running
 */

/* Until it is stopped, by whoever; the caller's cancellation stops it, too. */
static void wait_for_stop(thrum_server_t *server)
{
    thrum_mutex_lock(&server->lock);
    while (server->state == THI_SERVER_RUNS)
        if (thrum_cond_wait(&server->changed, &server->lock) == ECANCELED)
            ask(server, 0, ECANCELED);
    thrum_mutex_unlock(&server->lock);
}

/* Under the lock. */
static void hurry(thrum_server_t *server)
{
    server->hurries = true;
    thi_conns_cancel(server);
}

static thrum_time_t at(thrum_time_t deadline)
{
    return deadline;
}

static thrum_time_t never(thrum_time_t deadline)
{
    (void)deadline;
    return THRUM_FOREVER;
}

static thrum_time_t with_grace(thrum_time_t deadline)
{
    return deadline > THRUM_FOREVER - GRACE ? THRUM_FOREVER : deadline + GRACE;
}

/* Under the lock. Until it is empty, or it is time for more; I3. */
static void wait_for_handlers(thrum_server_t *server, thrum_time_t (*until)(thrum_time_t))
{
    while (server->acceptors != NULL || server->active != 0) {
        const thrum_time_t end = until(server->deadline);
        if (thrum_cond_wait_until(&server->changed, &server->lock, end) == ETIMEDOUT &&
            end == until(server->deadline))
            return;
    }
}

static int drain(void *arg, void **result)
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
    close_listener(server); /* I2 */
    thrum_mutex_unlock(&server->lock);
    (void)thrum_waitgroup_wait(&server->strands);
    if (server->engine->end != NULL)
        server->engine->end(server);
    return 0;
}

static void serve(thrum_server_t *server)
{
    thi_acceptor_t acceptor;
    if (server->engine->accepts) {
        wait_for_stop(server);
    } else if (thi_acceptor_begin(server, &acceptor)) {
        thi_accept_all(server);
        thi_acceptor_end(server, &acceptor);
    } else {
        thi_server_begin_stop(server, 0, ENOMEM);
    }
}

int thi_server_begin(thrum_server_t *server)
{
    server->begun = true;
    return server->engine->begin != NULL ? server->engine->begin(server) : 0;
}

int thi_server_serve(thrum_server_t *server)
{
    if (!server->begun) {
        const int err = thi_server_begin(server);
        if (err != 0)
            thi_server_begin_stop(server, 0, err);
    }
    serve(server);
    (void)thrum_shield(drain, server, NULL);
    thrum_mutex_lock(&server->lock);
    const int err = result_of(server);
    thrum_mutex_unlock(&server->lock);
    return err;
}

static int watch_signal(void *arg, void **result)
{
    thrum_server_t *server = arg;
    (void)result;
    while (thrum_io_wait(server->terminate, THRUM_IO_IN, THRUM_FOREVER) == 0) {
        if (thi_terminate_taken(server->terminate))
            thi_server_begin_stop(server, thrum_after(server->config.drain_timeout), 0);
    }
    return 0;
}

static int begin_watching(thrum_server_t *server)
{
    const thrum_thread_config_t config = {.name = "thrum-sigterm", .daemon = true};
    const int err = thi_terminate_open(&server->terminate);
    return err != 0 ? err : thrum_thread_spawn(&server->watcher, watch_signal, server, &config);
}

static void end_watcher(thrum_server_t *server)
{
    if (server->watcher != NULL) {
        (void)thrum_thread_cancel(server->watcher);
        (void)thrum_thread_join(server->watcher, NULL);
        thrum_thread_release(server->watcher);
    }
    server->watcher = NULL;
    if (server->terminate >= 0)
        thi_fd_close(server->terminate);
    server->terminate = -1;
}

static int end_watching(void *arg, void **result)
{
    (void)result;
    end_watcher(arg);
    return 0;
}

static int begin(thrum_server_t *server)
{
    thrum_mutex_lock(&server->lock);
    int err = server->state == THI_SERVER_NEW ? 0 : EBUSY;
    if (err == 0)
        server->state = THI_SERVER_RUNS;
    thrum_mutex_unlock(&server->lock);
    if (err == 0 && server->config.stop_on_sigterm) {
        thi_terminate_block();
        err = begin_watching(server);
    }
    return err;
}

/* From RUNS on; `err`: what went wrong before. */
static int run(thrum_server_t *server, int err)
{
    if (err != 0)
        thi_server_begin_stop(server, 0, err);
    err = thi_server_serve(server);
    (void)thrum_shield(end_watching, server, NULL);
    thrum_mutex_lock(&server->lock);
    server->state = THI_SERVER_ENDED;
    thrum_cond_broadcast(&server->changed);
    thrum_mutex_unlock(&server->lock);
    return err;
}

int thrum_server_run(thrum_server_t *server)
{
    if (server == NULL)
        return EINVAL;
    const int err = begin(server);
    return err == EBUSY ? err : run(server, err);
}

static int run_in_background(void *arg, void **result)
{
    (void)result;
    return run(arg, 0);
}

int thrum_server_start(thrum_server_t *server)
{
    if (server == NULL)
        return EINVAL;
    int err = begin(server);
    if (err == EBUSY)
        return err;
    const bool serial = server->config.model == THRUM_SERVE_SERIAL;
    const thrum_thread_config_t config = {.name = server->config.name,
                                          .daemon = true,
                                          .stack_size = serial ? server->config.stack_size : 0};
    if (err == 0)
        err = thi_server_begin(server);
    if (err == 0)
        err = thrum_thread_spawn(&server->runner, run_in_background, server, &config);
    return err == 0 ? 0 : run(server, err);
}

/* ------------------------------------------------------------------------------------------------
 * In another process
 */

int thi_server_inherit(thrum_server_t *server, uint32_t first, uint32_t limit)
{
    server->fork_mark = thi_fork_mark;
    server->inner = true;
    server->first = first;
    server->limit = server->n_free = limit;
    for (uint32_t i = 0; i < limit; i++)
        server->free_slots[i] = limit - 1 - i;
    memset(server->conns, 0, limit * sizeof *server->conns);
    (void)thrum_mutex_init(&server->lock);
    server->changed = (thrum_cond_t)THRUM_COND_INIT;
    server->strands = (thrum_waitgroup_t)THRUM_WAITGROUP_INIT;
    server->acceptors = NULL;
    server->active = 0;
    server->runner = server->watcher = NULL;
    server->begun = server->hurries = server->cut = false;
    server->deadline = THRUM_FOREVER;
    server->state = THI_SERVER_RUNS;
    server->error = 0;
    return thrum_sem_init(&server->room, limit);
}

/* ------------------------------------------------------------------------------------------------
 * The end
 */

static int destroy(void *arg, void **result)
{
    thrum_server_t *server = arg;
    (void)result;
    if (server->fork_mark == thi_fork_mark) {
        (void)thrum_server_stop(server, 0);
        if (server->runner != NULL)
            (void)thrum_thread_join(server->runner, NULL);
    }
    thrum_thread_release(server->runner);
    free_server(server);
    return 0;
}

void thrum_server_destroy(thrum_server_t *server)
{
    if (server != NULL)
        (void)thrum_shield(destroy, server, NULL);
}

/* ------------------------------------------------------------------------------------------------
 * Asking
 */

static bool name_of(const thrum_server_t *server, thi_address_t *address)
{
    const int saved = errno;
    memset(address, 0, sizeof *address);
    address->length = sizeof address->name;
    thrum_server_t *s = (thrum_server_t *)(uintptr_t)server;
    thrum_mutex_lock(&s->lock);
    const bool known =
        getsockname(s->listener, (struct sockaddr *)&address->name, &address->length) == 0;
    thrum_mutex_unlock(&s->lock);
    errno = saved;
    return known;
}

size_t thrum_server_address(const thrum_server_t *server, char *text, size_t size)
{
    thi_address_t address;
    if (server != NULL && name_of(server, &address))
        return thi_address_text(&address, text, size);
    if (size != 0)
        text[0] = '\0';
    return 0;
}

unsigned thrum_server_port(const thrum_server_t *server)
{
    char text[128] = "";
    const char *colon = NULL;
    unsigned port = 0;
    if (thrum_server_address(server, text, sizeof text) < sizeof text && server->family != AF_UNIX)
        colon = strrchr(text, ':');
    for (; colon != NULL && colon[1] != '\0'; colon++)
        port = port * 10 + (unsigned)(colon[1] - '0');
    return port;
}

static void add_slot(thrum_server_stats_t *stats, const thi_slot_t *slot)
{
    const uint32_t state = thi_load_relaxed(&slot->state);
    if (state == THI_SLOT_FREE)
        return;
    stats->idle += state == THI_SLOT_IDLE;
    stats->requests += thi_load_relaxed(&slot->requests);
    stats->received += thi_load_relaxed(&slot->received);
    stats->sent += thi_load_relaxed(&slot->sent);
}

void thrum_server_stats(const thrum_server_t *server, thrum_server_stats_t *stats)
{
    if (server == NULL || stats == NULL)
        return;
    const thi_tally_t *tally = server->tally;
    *stats = (thrum_server_stats_t){
        .accepted = thi_load_relaxed(&tally->accepted),
        .completed = thi_load_relaxed(&tally->completed),
        .failed = thi_load_relaxed(&tally->failed),
        .timed_out = thi_load_relaxed(&tally->timed_out),
        .cancelled = thi_load_relaxed(&tally->cancelled),
        .crashed = thi_load_relaxed(&tally->crashed),
        .shed = thi_load_relaxed(&tally->shed),
        .requests = thi_load_relaxed(&tally->requests),
        .received = thi_load_relaxed(&tally->received),
        .sent = thi_load_relaxed(&tally->sent),
        .restarts = thi_load_relaxed(&tally->restarts),
        .active = thi_load_relaxed(&tally->active),
        .peak = thi_load_relaxed(&tally->peak),
        .processes = thi_load_relaxed(&tally->processes),
    };
    if (stats->active != 0)
        for (size_t i = 0; i < server->config.max_connections; i++)
            add_slot(stats, &tally->slots[i]);
}
