/*
 * A pool of threads; each has one connection at a time. There is room for no more connections than workers, unless
 * the configuration says so: then they wait in the pool.
 */
#include <thrum/thread_pool.h>

#include "net/server.h"

static int begin(thrum_server_t *server)
{
    thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
    thrum_executor_t *pool = NULL;
    config.workers = server->config.workers;
    config.policy = THRUM_POLICY_FIFO;
    config.name = server->config.name;
    config.stack_size = server->config.stack_size;
    config.spare_workers = SIZE_MAX;
    const int err = thrum_thread_pool_create(&pool, &config);
    server->own = pool;
    return err;
}

static int serve_in_worker(void *arg, void **result)
{
    (void)result;
    thi_conn_serve(arg);
    return 0;
}

static int serve(thrum_conn_t *c)
{
    return thrum_executor_submit(c->server->own, serve_in_worker, c, NULL);
}

static void end(thrum_server_t *server)
{
    if (server->own != NULL)
        thrum_executor_destroy(server->own);
    server->own = NULL;
}

const thi_engine_t thi_engine_pool = {.begin = begin, .serve = serve, .end = end, .blocks = true};
