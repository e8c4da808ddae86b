/*
 * What a server's configuration comes to: checked, and every number that was left open chosen.
 */
#include "net/server.h"

#include "os/os.h"

#define BACKLOG 1024
#define COROUTINES 16384u
#define THREADS 1024u
#define PROCESSES 256u
#define CONNECTIONS_MAX ((size_t)1 << 20)
#define REQUEST ((size_t)16 << 20)
#define THREADS_FOR_EACH 8u /* of a pool, for each processor: handlers wait most of the time */

bool thi_server_preforks(thrum_server_model_t model)
{
    return model == THRUM_SERVE_PREFORK_POOL || model == THRUM_SERVE_PREFORK_COROUTINES;
}

const thi_engine_t *thi_server_engine(thrum_server_model_t model)
{
    switch (model) {
    case THRUM_SERVE_COROUTINES:
        return &thi_engine_loops;
    case THRUM_SERVE_SERIAL:
        return &thi_engine_serial;
    case THRUM_SERVE_THREADS:
        return &thi_engine_threads;
    case THRUM_SERVE_POOL:
        return &thi_engine_pool;
    case THRUM_SERVE_PROCESSES:
        return &thi_engine_processes;
    case THRUM_SERVE_PREFORK_POOL:
    case THRUM_SERVE_PREFORK_COROUTINES:
        return &thi_engine_prefork;
    }
    return NULL;
}

static bool is_pool(thrum_server_model_t model)
{
    return model == THRUM_SERVE_POOL || model == THRUM_SERVE_PREFORK_POOL;
}

static size_t most_connections(const thrum_server_config_t *full)
{
    switch (full->model) {
    case THRUM_SERVE_SERIAL:
        return 1;
    case THRUM_SERVE_THREADS:
        return THREADS;
    case THRUM_SERVE_PROCESSES:
        return PROCESSES;
    case THRUM_SERVE_POOL:
    case THRUM_SERVE_PREFORK_POOL:
        return full->workers * full->processes;
    default:
        return COROUTINES;
    }
}

static void choose_numbers(thrum_server_config_t *full)
{
    const size_t processors = thi_processors();
    const bool preforks = thi_server_preforks(full->model);
    if (!preforks)
        full->processes = 1;
    else if (full->processes == 0)
        full->processes = processors;
    if (full->workers == 0) {
        const size_t share = processors / full->processes;
        full->workers = (share != 0 ? share : 1) * (is_pool(full->model) ? THREADS_FOR_EACH : 1);
    }
    if (full->max_connections == 0)
        full->max_connections = most_connections(full);
    if (full->max_connections < full->processes)
        full->max_connections = full->processes;
    if (full->model == THRUM_SERVE_SERIAL)
        full->max_connections = 1;
}

static void choose_limits(thrum_server_config_t *full)
{
    if (full->backlog == 0)
        full->backlog = BACKLOG;
    if (full->max_request == 0)
        full->max_request = REQUEST;
    if (full->frames.max_size == 0 && full->max_request < REQUEST)
        full->frames.max_size = full->max_request;
    if (full->idle_timeout == 0)
        full->idle_timeout = THRUM_S(60);
    if (full->read_timeout == 0)
        full->read_timeout = THRUM_S(30);
    if (full->write_timeout == 0)
        full->write_timeout = THRUM_S(30);
    if (full->total_timeout == 0)
        full->total_timeout = THRUM_S(24 * 3600);
    if (full->drain_timeout == 0)
        full->drain_timeout = THRUM_S(10);
    if (full->name == NULL)
        full->name = "thrum-server";
}

static bool is_duration(int64_t limit)
{
    return limit >= THRUM_NO_LIMIT;
}

int thi_server_settings(thrum_server_config_t *full, const thrum_server_config_t *config)
{
    if (config == NULL || config->config_size != sizeof *config || config->handler == NULL ||
        (config->address == NULL) == (config->listener < 0) ||
        thi_server_engine(config->model) == NULL || config->backlog < 0 ||
        (config->datagram && thi_server_preforks(config->model)))
        return EINVAL;
    if (!is_duration(config->idle_timeout) || !is_duration(config->read_timeout) ||
        !is_duration(config->write_timeout) || !is_duration(config->total_timeout) ||
        !is_duration(config->drain_timeout))
        return EINVAL;
    *full = *config;
    choose_numbers(full);
    choose_limits(full);
    return full->max_connections <= CONNECTIONS_MAX && full->workers <= CONNECTIONS_MAX &&
                   full->processes <= PROCESSES
               ? 0
               : EINVAL;
}
