/*
 * One connection after the other, in the strand that accepts.
 */
#include "net/server.h"

static int serve(thrum_conn_t *c)
{
    thi_strand_t *self = thi_self(); /* it accepts, so it is known */
    const thi_scope_t *accepting = thi_scope_enter(self, self->scope->thrum_outer);
    thi_conn_serve(c);
    thi_scope_enter(self, accepting);
    return 0;
}

const thi_engine_t thi_engine_serial = {.serve = serve, .accepts = false, .blocks = false};
