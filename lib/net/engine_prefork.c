/*
 * Processes that are forked before anybody connects, each with a pool or with loops, which all accept from the same
 * socket. The parent serves nobody. A thread of it for each process waits for its end, and starts another. A stop is
 * told in the memory that all share, where a thread of each process sleeps.
 *
 * Invariants
 *   I1  A process has slots of its own, so what it had open when it died is known.
 *   I2  Processes are started under the lock, and only while the server runs: who stops it tells all there are.
 *   I3  Each thread counts as active until it has seen the end of its last process.
 */
#include <thrum/cancel.h>

#include "net/server.h"

#include "os/os.h"
#include "process/process.h"

#define SOON THRUM_S(1) /* a life that is too short: the next one waits */
#define FIRST_PAUSE THRUM_MS(50)
#define LAST_PAUSE THRUM_S(5)

struct member {
    thrum_server_t *server;
    thrum_thread_t *thread;
    thrum_process_t *process; /* NULL: none */
    uint32_t first;           /* slot */
    uint32_t limit;
};

struct family {
    size_t count;
    struct member members[];
};

static const thi_site_t told = {"the server's parent", NULL};

/* ------------------------------------------------------------------------------------------------
 * In a process
 */

/* Its parent's death it need not see: it dies with it. */
static int heed_parent(void *arg, void **result)
{
    thrum_server_t *server = arg;
    thi_tally_t *tally = server->tally;
    (void)result;
    for (uint32_t seen = 0;;
         (void)thi_shared_sleep(&tally->told, seen, THRUM_FOREVER, false, &told)) {
        const uint32_t now = thi_load_acquire(&tally->told); /* A1: acquire; pairs with R1 */
        if (now != seen)
            thi_server_begin_stop(server, thi_load_relaxed(&tally->deadline), 0);
        seen = now;
    }
    return 0;
}

static int serve_in_process(void *arg, void **result)
{
    const struct member *self = arg;
    thrum_server_t *server = self->server;
    const thrum_thread_config_t config = {.name = server->config.name, .daemon = true};
    (void)result;
    server->own = NULL; /* and with it the parent's family */
    server->engine =
        server->config.model == THRUM_SERVE_PREFORK_POOL ? &thi_engine_pool : &thi_engine_loops;
    int err = thi_server_inherit(server, self->first, self->limit);
    if (err == 0)
        err = thrum_thread_spawn(NULL, heed_parent, server, &config);
    return err != 0 ? err : thi_server_serve(server);
}

/* ------------------------------------------------------------------------------------------------
 * In the parent
 */

/* I2: under the lock. */
static int start_process(struct member *m)
{
    const thrum_process_config_t config = {.name = m->server->config.name, .daemon = true};
    const int err = thrum_process_spawn(&m->process, serve_in_process, m, &config);
    if (err == 0)
        thi_fetch_add_relaxed(&m->server->tally->processes, 1u);
    return err;
}

static void await_end(struct member *m)
{
    thrum_server_t *server = m->server;
    while (thrum_process_join(m->process, NULL) != 0)
        (void)thrum_sleep(THRUM_MS(10)); /* no memory, or descriptor, to wait with */
    thi_fetch_sub_relaxed(&server->tally->processes, 1u);
    thrum_mutex_lock(&server->lock);
    thrum_process_release(m->process);
    m->process = NULL;
    thi_slots_of_the_dead(server->tally, m->first, m->limit, server->hurries);
    thrum_mutex_unlock(&server->lock);
    thi_server_heed(server);
}

/* Until another process may be started: false, there is to be none. */
static bool pause_for(thrum_server_t *server, int64_t pause)
{
    const thrum_time_t until = thrum_after(pause);
    thrum_mutex_lock(&server->lock);
    for (int err = 0; err == 0 && server->state == THI_SERVER_RUNS;)
        err = thrum_cond_wait_until(&server->changed, &server->lock, until);
    const bool runs = server->state == THI_SERVER_RUNS;
    thrum_mutex_unlock(&server->lock);
    return runs;
}

static void restart(struct member *m)
{
    thrum_server_t *server = m->server;
    thrum_mutex_lock(&server->lock);
    if (server->state == THI_SERVER_RUNS && start_process(m) == 0)
        thi_count(&server->tally->restarts, 1);
    thrum_mutex_unlock(&server->lock);
}

static int look_after(void *arg, void **result)
{
    struct member *m = arg;
    thrum_server_t *server = m->server;
    int64_t pause = 0;
    (void)result;
    do {
        const thrum_time_t born = thrum_now();
        if (m->process != NULL)
            await_end(m);
        if (thrum_now() - born >= SOON)
            pause = 0;
        const bool runs = pause_for(server, pause);
        pause = pause == 0 ? FIRST_PAUSE : (pause * 2 < LAST_PAUSE ? pause * 2 : LAST_PAUSE);
        if (runs)
            restart(m);
        else if (m->process == NULL)
            break;
    } while (true);
    thrum_mutex_lock(&server->lock);
    server->active--; /* I3 */
    thrum_cond_broadcast(&server->changed);
    thrum_mutex_unlock(&server->lock);
    return 0;
}

static int start_member(thrum_server_t *server, struct member *m)
{
    const thrum_thread_config_t config = {.name = server->config.name, .daemon = true};
    thrum_mutex_lock(&server->lock);
    int err = start_process(m);
    if (err == 0)
        server->active++;
    thrum_mutex_unlock(&server->lock);
    if (err != 0)
        return err;
    err = thrum_thread_spawn(&m->thread, look_after, m, &config);
    if (err == 0)
        return 0;
    (void)thrum_process_kill(m->process);
    await_end(m);
    thrum_mutex_lock(&server->lock);
    server->active--;
    thrum_mutex_unlock(&server->lock);
    return err;
}

static int begin(thrum_server_t *server)
{
    const size_t n = server->config.processes;
    struct family *family = thi_alloc(sizeof *family + n * sizeof *family->members);
    if (family == NULL)
        return ENOMEM;
    server->own = family;
    int err = thi_server_begin_heeding(server);
    const uint32_t share = (uint32_t)(server->config.max_connections / n);
    for (; err == 0 && family->count < n; family->count++) {
        struct member *m = &family->members[family->count];
        *m = (struct member){
            .server = server, .first = (uint32_t)family->count * share, .limit = share};
        err = start_member(server, m);
        if (err != 0)
            return err;
    }
    return err;
}

static void end(thrum_server_t *server)
{
    struct family *family = server->own;
    if (family == NULL)
        return;
    thi_server_end_heeding(server);
    for (size_t i = 0; i < family->count; i++) {
        (void)thrum_thread_join(family->members[i].thread, NULL);
        thrum_thread_release(family->members[i].thread);
    }
    thi_free(family, sizeof *family + server->config.processes * sizeof *family->members);
    server->own = NULL;
}

static void stop(thrum_server_t *server)
{
    thi_tally_t *tally = server->tally;
    thi_store_relaxed(&tally->deadline, server->deadline);
    thi_fetch_add_acq_rel(&tally->told, 1u); /* R1: release; pairs with A1 */
    thi_far_wake(&tally->told);
}

static void kill_all(thrum_server_t *server)
{
    struct family *family = server->own;
    for (size_t i = 0; family != NULL && i < family->count; i++) {
        if (family->members[i].process != NULL) {
            (void)thrum_process_kill(family->members[i].process);
        }
    }
}

const thi_engine_t thi_engine_prefork = {
    .begin = begin, .end = end, .stop = stop, .kill = kill_all, .accepts = true, .blocks = false};
