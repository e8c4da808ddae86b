/*
 * One connection after the other, in the strand that accepts. That one is busy when handlers are to be cancelled: a
 * thread looks at the deadline of a stop.
 */
#include "net/server.h"

static int hurry_in_time(void *arg, void **result)
{
    (void)result;
    thi_server_hurry_in_time(arg);
    return 0;
}

static int begin(thrum_server_t *server)
{
    const thrum_thread_config_t config = {.name = server->config.name, .daemon = true};
    thrum_thread_t *thread = NULL;
    const int err = thrum_thread_spawn(&thread, hurry_in_time, server, &config);
    server->own = thread;
    return err;
}

static void end(thrum_server_t *server)
{
    (void)thrum_thread_join(server->own, NULL);
    thrum_thread_release(server->own);
    server->own = NULL;
}

static int serve(thrum_conn_t *c)
{
    thi_strand_t *self = thi_self(); /* it accepts, so it is known */
    const thi_scope_t *accepting = thi_scope_enter(self, self->scope->thrum_outer);
    thi_conn_serve(c);
    thi_scope_enter(self, accepting);
    return 0;
}

const thi_engine_t thi_engine_serial = {
    .begin = begin, .serve = serve, .end = end, .accepts = false, .blocks = false};
