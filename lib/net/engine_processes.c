/*
 * A process for each connection. The parent keeps its copy of the descriptor as long as the process runs: so it can
 * shut down an idle one, and ends what a crash leaves open. A loop waits for the ends of processes, in a coroutine
 * each.
 */
#include <thrum/cancel.h>
#include <thrum/event.h>
#include <thrum/io.h>

#include "net/server.h"

#include "os/os.h"

struct nursery {
    thrum_loop_t *loop;
    thrum_thread_t *thread;
    thrum_event_t closes;
};

/* ------------------------------------------------------------------------------------------------
 * In the child
 */

/* What the parent had open for others. */
static void close_others(thrum_server_t *server, const thrum_conn_t *own)
{
    for (uint32_t i = 0; i < server->limit; i++) {
        const thrum_conn_t *c = server->conns[i];
        if (c != NULL && c != own && c->datagram == NULL)
            thi_fd_close(c->fd);
    }
    if (own->datagram == NULL) {
        thi_fd_close(server->listener);
        server->listener = -1;
    }
}

static int serve_in_process(void *arg, void **result)
{
    thrum_conn_t *c = arg;
    thrum_server_t *server = c->server;
    (void)result;
    close_others(server, c);
    thi_scope_enter(thi_self(), NULL); /* the acceptor's */
    const int err = thi_server_inherit(server, 0, 0);
    if (err == 0)
        thi_conn_serve_alone(c);
    return err;
}

/* ------------------------------------------------------------------------------------------------
 * In the parent
 */

static int await_process(void *arg, void **result)
{
    thrum_conn_t *c = arg;
    thrum_server_t *server = c->server;
    (void)result;
    while (thrum_process_join(c->process, NULL) != 0)
        if (thrum_sleep(THRUM_MS(10)) != 0) /* no memory, or descriptor, to wait with */
            thrum_yield();
    thi_fetch_sub_relaxed(&server->tally->processes, 1u);
    thrum_mutex_lock(&server->lock); /* who cancels looks at it */
    thrum_process_release(c->process);
    c->process = NULL;
    thrum_mutex_unlock(&server->lock);
    thi_server_heed(server);
    return 0;
}

static int await_end(void *arg, void **result)
{
    (void)await_process(arg, result);
    thi_conn_process_ended(arg);
    return 0;
}

/* Nobody can wait for its end meanwhile. */
static int take_back(thrum_conn_t *c)
{
    (void)thrum_process_kill(c->process);
    (void)thrum_shield(await_process, c, NULL);
    if (thi_load_acquire(&c->slot->state) != THI_SLOT_DONE)
        return ENOMEM;
    thi_conn_process_ended(c);
    return 0;
}

static int serve(thrum_conn_t *c)
{
    thrum_server_t *server = c->server;
    struct nursery *nursery = server->own;
    const thrum_process_config_t config = {.name = server->config.name, .daemon = true};
    /* Under the lock: the child finds the table whole. */
    thrum_mutex_lock(&server->lock);
    const int err = thrum_process_spawn(&c->process, serve_in_process, c, &config);
    if (err == 0 && server->hurries)
        (void)thrum_process_kill(c->process);
    thrum_mutex_unlock(&server->lock);
    if (err != 0)
        return err;
    thi_fetch_add_relaxed(&server->tally->processes, 1u);
    return thrum_loop_go(nursery->loop, NULL, await_end, c, NULL) == 0 ? 0 : take_back(c);
}

static int keep_open(void *arg, void **result)
{
    struct nursery *nursery = arg;
    (void)result;
    while (thrum_event_wait(&nursery->closes) != 0 && !thrum_cancelled())
        thrum_yield(); /* no memory to wait with */
    return 0;
}

static int run_loop(void *arg, void **result)
{
    thrum_loop_t *loop = ((struct nursery *)arg)->loop;
    (void)result;
    while (thrum_loop_run(loop) != 0)
        (void)thrum_sleep(THRUM_MS(10)); /* no memory, yet */
    thrum_loop_destroy(loop);            /* its thread's */
    return 0;
}

static void end(thrum_server_t *server)
{
    struct nursery *nursery = server->own;
    if (nursery == NULL)
        return;
    thi_server_end_heeding(server);
    thrum_event_set(&nursery->closes);
    if (nursery->thread != NULL) {
        (void)thrum_thread_join(nursery->thread, NULL);
        thrum_thread_release(nursery->thread);
    } else {
        thrum_loop_destroy(nursery->loop); /* it never ran */
    }
    thi_free(nursery, sizeof *nursery);
    server->own = NULL;
}

static int begin(thrum_server_t *server)
{
    const thrum_thread_config_t config = {.name = server->config.name, .daemon = true};
    struct nursery *nursery = thi_alloc(sizeof *nursery);
    if (nursery == NULL)
        return ENOMEM;
    server->own = nursery;
    int err = thrum_loop_create(&nursery->loop, NULL);
    if (err == 0)
        err = thrum_loop_go(nursery->loop, NULL, keep_open, nursery, NULL);
    if (err == 0)
        err = thrum_thread_spawn(&nursery->thread, run_loop, nursery, &config);
    return err == 0 ? thi_server_begin_heeding(server) : err;
}

const thi_engine_t thi_engine_processes = {
    .begin = begin, .serve = serve, .end = end, .blocks = true};
