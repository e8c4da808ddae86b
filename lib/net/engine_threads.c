/*
 * A thread for each connection.
 */
#include "net/server.h"

static int serve_in_thread(void *arg, void **result)
{
    (void)result;
    thi_conn_serve(arg);
    return 0;
}

static int serve(thrum_conn_t *c)
{
    const thrum_server_config_t *config = &c->server->config;
    const thrum_thread_config_t thread = {
        .name = config->name, .daemon = true, .stack_size = config->stack_size};
    return thrum_thread_spawn(NULL, serve_in_thread, c, &thread);
}

const thi_engine_t thi_engine_threads = {.serve = serve, .blocks = true};
