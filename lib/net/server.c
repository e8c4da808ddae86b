/*
 * Servers: made, run, stopped, waited for.
 *
 *   NEW --run--> RUNS --stop, an error, SIGTERM--> STOPS --every handler has ended--> ENDED
 *    `------------------------------stop------------------------------------------------^
 *
 * Invariants
 *   I1  One strand runs the server: it takes it from RUNS to ENDED. Others only ask (thi_server_begin_stop).
 *   I2  From STOPS on nobody begins to accept; the listening socket is closed when no acceptor is left, of datagrams
 *       when no handler is.
 *   I3  `deadline` only becomes earlier. Who runs the server looks at it again when it has changed.
 */
#include <string.h>
#include <unistd.h>

#include <thrum/cancel.h>
#include <thrum/event.h>
#include <thrum/io.h>

#include "net/server.h"

#include "os/os.h"

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

void thi_server_free_text(char *text)
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
    char *path = NULL;
    int err = thi_address_parse(text, &address);
    if (err == 0 && strncmp(text, "unix:", 5) == 0 && text[5] != '@' &&
        (path = copy_text(text + 5)) == NULL)
        err = ENOMEM;
    if (err == 0)
        err = thi_address_listen(&address, &server->config, &server->listener);
    if (err == 0) {
        server->path = path; /* what is there now is the server's */
        server->name.both = address.both;
    } else {
        thi_server_free_text(path);
    }
    return err;
}

/* A socket that was given may be anything. */
static int learn_name(thrum_server_t *server)
{
    int type = 0;
    int listens = 0;
    socklen_t size = sizeof type;
    server->name.length = sizeof server->name.name;
    if (getsockname(server->listener, (struct sockaddr *)&server->name.name,
                    &server->name.length) != 0 ||
        getsockopt(server->listener, SOL_SOCKET, SO_TYPE, &type, &size) != 0)
        return errno;
    server->name.both = server->name.both && server->name.name.ss_family == AF_INET6;
    if (type != (server->config.datagram ? SOCK_DGRAM : SOCK_STREAM))
        return EINVAL;
    size = sizeof listens;
    return server->config.datagram ||
                   (getsockopt(server->listener, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 &&
                    listens != 0)
               ? 0
               : EINVAL;
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
        err = learn_name(server);
    if (err == 0)
        err = thi_null_open(&server->spare);
    errno = saved;
    return err;
}

/* In a forked child: what the parent had open. The table is as it was at some moment. */
static void close_connections(thrum_server_t *server)
{
    for (uint32_t i = 0; server->conns != NULL && i < server->limit; i++) {
        const thrum_conn_t *c = server->conns[i];
        if (c != NULL && c->datagram == NULL)
            thi_fd_close(c->fd);
    }
}

static void free_server(thrum_server_t *server)
{
    thi_server_close_listener(server);
    close_connections(server);
    if (server->spare >= 0)
        thi_fd_close(server->spare);
    if (server->terminate >= 0)
        thi_fd_close(server->terminate);
    if (server->tally != NULL)
        thi_shared_unmap(server->tally, server->tally_size);
    thi_free(server->conns, server->config.max_connections * sizeof *server->conns);
    thi_free(server->free_slots, server->config.max_connections * sizeof *server->free_slots);
    thi_server_free_text(server->path);
    thi_server_free_text((char *)(uintptr_t)server->config.name);
    thi_free(server, sizeof *server);
}

static int build(thrum_server_t *server, const thrum_server_config_t *config)
{
    server->engine = thi_server_engine(server->config.model);
    server->fork_mark = thi_fork_mark;
    server->stopping = &server->own_stopping;
    server->deadline = THRUM_FOREVER;
    server->config.name = copy_text(server->config.name);
    if (server->config.name == NULL)
        return ENOMEM;
    const int err = make_tables(server);
    if (err == 0)
        server->stopping = &server->tally->stopping;
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
 * Running
 */

static void serve(thrum_server_t *server)
{
    thi_acceptor_t acceptor;
    if (server->engine->accepts) {
        thi_server_await_stop(server);
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
    (void)thrum_shield(thi_server_drain, server, NULL);
    thrum_mutex_lock(&server->lock);
    const int err = thi_server_result(server);
    thrum_mutex_unlock(&server->lock);
    return err;
}

static int watch_signal(void *arg, void **result)
{
    thrum_server_t *server = arg;
    (void)result;
    while (thrum_io_wait(server->terminate, THRUM_IO_IN, THRUM_FOREVER) == 0) {
        if (thi_terminate_taken(server->terminate))
            thi_server_begin_stop(server, thi_server_drain_deadline(server), 0);
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
    if (server->fork_mark != thi_fork_mark)
        return EOWNERDEAD;
    if (thi_self() == NULL)
        return ENOMEM; /* it could not wait for the end */
    thrum_mutex_lock(&server->lock);
    int err = server->state == THI_SERVER_NEW ? 0 : EBUSY;
    if (err == 0)
        server->state = THI_SERVER_RUNS;
    thrum_mutex_unlock(&server->lock);
    return err;
}

static int watch(thrum_server_t *server)
{
    if (!server->config.stop_on_sigterm)
        return 0;
    thi_terminate_block();
    return begin_watching(server);
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
    return err != 0 ? err : run(server, watch(server));
}

static int run_in_background(void *arg, void **result)
{
    (void)result;
    (void)run(arg, 0); /* who joins the server is told */
    return 0;
}

int thrum_server_start(thrum_server_t *server)
{
    if (server == NULL)
        return EINVAL;
    int err = begin(server);
    if (err != 0)
        return err;
    const bool serial = server->config.model == THRUM_SERVE_SERIAL;
    const thrum_thread_config_t config = {.name = server->config.name,
                                          .daemon = true,
                                          .stack_size = serial ? server->config.stack_size : 0};
    err = watch(server);
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
    server->runner = server->watcher = server->heeder = NULL;
    server->begun = server->hurries = false;
    if (limit != 0)
        server->stopping = &server->own_stopping; /* others may go on when this one cannot */
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
        thi_server_stop_for_good(server);
        for (unsigned turns = 0;
             server->runner != NULL && thrum_thread_join(server->runner, NULL) == ENOMEM; turns++)
            thi_cpu_yield(turns);
    }
    thrum_thread_release(server->runner);
    thrum_thread_release(server->watcher); /* in a forked child there is one */
    free_server(server);
    return 0;
}

void thrum_server_destroy(thrum_server_t *server)
{
    if (server != NULL && thrum_shield(destroy, server, NULL) == ENOMEM)
        (void)destroy(server, NULL); /* who is not known cannot have been cancelled */
}
