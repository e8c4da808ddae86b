/*
 * thrum's server:
 *
 *     thrum_server [--model M] [--protocol echo|http|resp] [--workers N] [--processes N]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <thrum/server.h>

#include "common.h"
#include "handlers.h"

/* The place of `name` in a list that NULL ends; -1: it is not there. */
static int place_of(const char *name, const char *const *names)
{
    for (int i = 0; names[i] != NULL; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}

/* In the order of thrum_server_model_t. */
static const char *const models[] = {
    "coroutines",         "serial", "threads", "pool", "processes", "prefork_pool",
    "prefork_coroutines", NULL};
static const char *const protocols[] = {"echo", "http", "resp", NULL};
static const thrum_handler_fn handlers[] = {serve_echo, serve_http, serve_resp};

static size_t number(int argc, char **argv, const char *name)
{
    return strtoul(argument(argc, argv, name, "0"), NULL, 10);
}

static void succeed(int err, const char *what)
{
    if (err != 0)
        fail(what, err);
}

int main(int argc, char **argv)
{
    const int model = place_of(argument(argc, argv, "--model", "coroutines"), models);
    const int protocol = place_of(argument(argc, argv, "--protocol", "echo"), protocols);
    thrum_server_config_t config = THRUM_SERVER_CONFIG_INIT;
    thrum_server_t *server = NULL;
    if (model < 0 || protocol < 0) {
        fprintf(stderr, "%s: no such model or protocol\n", argv[0]);
        return 2;
    }
    config.address = "127.0.0.1:0";
    config.model = (thrum_server_model_t)model;
    config.handler = handlers[protocol];
    config.workers = number(argc, argv, "--workers");
    config.processes = number(argc, argv, "--processes");
    config.backlog = BACKLOG;
    raise_descriptor_limit();
    end_with_input();
    succeed(thrum_server_create(&server, &config), "thrum_server_create");
    announce_port(thrum_server_port(server));
    succeed(thrum_server_run(server), "thrum_server_run");
    thrum_server_destroy(server);
    return 0;
}
