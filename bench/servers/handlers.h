/* The handlers of thrum_server: what it says on a connection, whatever the model. */
#ifndef THRUM_BENCH_HANDLERS_H
#define THRUM_BENCH_HANDLERS_H

#include <thrum/server.h>

int serve_echo(thrum_conn_t *c, void *ctx);
int serve_http(thrum_conn_t *c, void *ctx);
int serve_resp(thrum_conn_t *c, void *ctx);

#endif /* THRUM_BENCH_HANDLERS_H */
