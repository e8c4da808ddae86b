/*
 * A coroutine for each connection, on loops that have a thread each. Every loop accepts for itself, from the same
 * socket.
 */
#include "net/server.h"

#include "os/os.h"

struct loops {
    thrum_server_t *server;
    size_t count;
    thrum_thread_t *threads[];
};

static int serve_in_coroutine(void *arg, void **result)
{
    (void)result;
    thi_conn_serve(arg);
    return 0;
}

static int serve(thrum_conn_t *c)
{
    const thrum_coro_config_t config = {.stack_size = c->server->config.stack_size};
    return thrum_go_with(NULL, serve_in_coroutine, c, &config);
}

static int accept_in_coroutine(void *arg, void **result)
{
    thrum_server_t *server = arg;
    thi_acceptor_t acceptor;
    (void)result;
    if (thi_acceptor_begin(server, &acceptor)) {
        thi_accept_all(server);
        thi_acceptor_end(server, &acceptor);
    }
    return 0;
}

/* Ends when no coroutine is left. */
static int run_loop(void *arg, void **result)
{
    thrum_server_t *server = arg;
    (void)result;
    const int err = thrum_run(accept_in_coroutine, server, NULL);
    if (err != 0)
        thi_server_begin_stop(server, 0, err);
    return 0;
}

static void end(thrum_server_t *server)
{
    struct loops *loops = server->own;
    if (loops == NULL)
        return;
    for (size_t i = 0; i < loops->count; i++) {
        (void)thrum_thread_join(loops->threads[i], NULL);
        thrum_thread_release(loops->threads[i]);
    }
    thi_free(loops, sizeof *loops + server->config.workers * sizeof *loops->threads);
    server->own = NULL;
}

static int begin(thrum_server_t *server)
{
    const size_t n = server->config.workers;
    const thrum_thread_config_t thread = {.name = server->config.name, .daemon = true};
    struct loops *loops = thi_alloc(sizeof *loops + n * sizeof *loops->threads);
    if (loops == NULL)
        return ENOMEM;
    server->own = loops;
    for (; loops->count < n; loops->count++) {
        const int err =
            thrum_thread_spawn(&loops->threads[loops->count], run_loop, server, &thread);
        if (err != 0)
            return err;
    }
    return 0;
}

const thi_engine_t thi_engine_loops = {
    .begin = begin, .serve = serve, .end = end, .accepts = true, .blocks = false};
