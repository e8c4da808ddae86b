/*
 * Taking what comes. An acceptor is a strand, of any kind, that waits for room, then for somebody to come, and hands
 * the connection over. It is cancelled, by a scope of its own, when the server is to stop.
 *
 * What fails for want of descriptors or memory is tried again after a pause that doubles, so it never spins; the
 * others wait in the backlog. Out of descriptors for a second: the spare one is given up, connections are taken with
 * it and closed, so that their peers are told, and the spare one is opened again.
 */
#include <netinet/in.h>
#include <string.h>

#include <thrum/cancel.h>
#include <thrum/io.h>

#include "net/server.h"

#include "os/os.h"

#define FIRST_PAUSE THRUM_MS(10)
#define LAST_PAUSE THRUM_S(1)
#define AT_A_TIME 16u /* then other coroutines run */
#define DATAGRAM_MAX ((size_t)65536)

bool thi_acceptor_begin(thrum_server_t *server, thi_acceptor_t *acceptor)
{
    thi_strand_t *self = thi_self();
    *acceptor = (thi_acceptor_t){.strand = self};
    acceptor->scope.thrum_outer = self != NULL ? self->scope : NULL;
    thrum_mutex_lock(&server->lock);
    const bool runs = self != NULL && server->state == THI_SERVER_RUNS;
    if (runs) {
        acceptor->next = server->acceptors;
        server->acceptors = acceptor;
    }
    thrum_mutex_unlock(&server->lock);
    if (runs)
        acceptor->before = thi_scope_enter(self, &acceptor->scope);
    return runs;
}

void thi_acceptor_end(thrum_server_t *server, thi_acceptor_t *acceptor)
{
    thi_scope_enter(acceptor->strand, acceptor->before);
    thrum_mutex_lock(&server->lock);
    thi_acceptor_t **at = &server->acceptors;
    while (*at != acceptor)
        at = &(*at)->next;
    *at = acceptor->next;
    thrum_cond_broadcast(&server->changed);
    thrum_mutex_unlock(&server->lock);
}

/* ------------------------------------------------------------------------------------------------
 * Out of something
 */

typedef struct pause {
    int64_t next;
    bool sheds;
} pause_t;

static bool is_shortage(int err)
{
    return err == EMFILE || err == ENFILE || err == ENOMEM || err == ENOBUFS || err == EAGAIN;
}

/* What an accept may say of a connection that was in the backlog, and no more is; or of an interface. */
static bool is_passing(int err)
{
    return err == ENETDOWN || err == EPROTO || err == ENOPROTOOPT || err == EHOSTDOWN ||
           err == ENONET || err == EHOSTUNREACH || err == EOPNOTSUPP || err == ENETUNREACH ||
           err == EPERM || err == ECONNABORTED || err == ECONNRESET || err == ECONNREFUSED ||
           err == ETIMEDOUT;
}

static void count_shed(thrum_server_t *server)
{
    thi_count(&server->tally->accepted, 1);
    thi_count(&server->tally->shed, 1);
}

static void shed_some(thrum_server_t *server)
{
    thrum_mutex_lock(&server->lock);
    if (server->spare >= 0)
        thi_fd_close(server->spare);
    for (unsigned i = 0; server->listener >= 0 && i < AT_A_TIME; i++) {
        const int fd = thi_fd_accept(server->listener, NULL, NULL);
        if (fd < 0)
            break;
        thi_fd_close(fd);
        count_shed(server);
    }
    if (thi_null_open(&server->spare) != 0)
        server->spare = -1;
    thrum_mutex_unlock(&server->lock);
}

static int wait_for_better(thrum_server_t *server, pause_t *pause, int err)
{
    if (pause->next == 0)
        pause->next = FIRST_PAUSE;
    if (pause->sheds && (err == EMFILE || err == ENFILE))
        shed_some(server);
    const int slept = thrum_sleep(pause->next);
    pause->sheds = pause->next * 2 >= LAST_PAUSE;
    pause->next = pause->next * 2 < LAST_PAUSE ? pause->next * 2 : LAST_PAUSE;
    if (slept != 0)
        thrum_yield(); /* not even for a sleep is there memory */
    return slept == ECANCELED ? ECANCELED : 0;
}

/* ------------------------------------------------------------------------------------------------
 * Connections
 */

static int take_connection(thrum_server_t *server, thrum_conn_t **c)
{
    int fd = -1;
    int err = thrum_io_accept(server->listener, NULL, NULL, &fd, THRUM_FOREVER);
    if (err != 0)
        return err;
    *c = thi_conn_make(server, fd, NULL);
    if (*c == NULL) {
        thi_fd_close(fd);
        count_shed(server);
        return ENOMEM;
    }
    return 0;
}

/* `*into` has room for the largest, and is used again. */
static int take_datagram(thrum_server_t *server, thi_datagram_t **into, thrum_conn_t **c)
{
    if (*into == NULL && (*into = thi_alloc(thi_datagram_size(DATAGRAM_MAX))) == NULL)
        return ENOMEM;
    thrum_socklen_t length = sizeof(*into)->from;
    const int err = thrum_io_recvfrom(server->listener, (*into)->data, DATAGRAM_MAX, 0,
                                      (struct sockaddr *)&(*into)->from, &length, &(*into)->size,
                                      THRUM_FOREVER);
    if (err != 0)
        return err;
    (*into)->from_len = length;
    thi_datagram_t *own = thi_alloc(thi_datagram_size((*into)->size));
    if (own != NULL)
        memcpy(own, *into, thi_datagram_size((*into)->size));
    *c = own != NULL ? thi_conn_make(server, server->listener, own) : NULL;
    if (*c != NULL)
        return 0;
    if (own != NULL)
        thi_free(own, thi_datagram_size(own->size));
    count_shed(server);
    return ENOMEM;
}

static int take_one(thrum_server_t *server, thi_datagram_t **into)
{
    thrum_conn_t *c = NULL;
    if (thrum_cancelled())
        return ECANCELED; /* none of what follows would wait as long as they come */
    int err = thrum_sem_acquire(&server->room);
    if (err != 0)
        return err;
    err = server->config.datagram ? take_datagram(server, into, &c) : take_connection(server, &c);
    if (err != 0) {
        (void)thrum_sem_release(&server->room);
        return err;
    }
    err = server->engine->serve(c);
    if (err != 0)
        thi_conn_shed(c);
    return err;
}

static int accept_on(thrum_server_t *server, thi_datagram_t **into)
{
    pause_t pause = {0, false};
    for (unsigned i = 1;; i++) {
        int err = take_one(server, into);
        if (err == 0)
            pause = (pause_t){0, false};
        else if (is_shortage(err))
            err = wait_for_better(server, &pause, err);
        if (err != 0 && !is_passing(err))
            return err;
        if (i % AT_A_TIME == 0 && !server->engine->blocks)
            thrum_yield();
    }
}

void thi_accept_all(thrum_server_t *server)
{
    thi_datagram_t *into = NULL;
    const int err = accept_on(server, &into);
    thi_free(into, thi_datagram_size(DATAGRAM_MAX));
    if (err != ECANCELED)
        thi_server_begin_stop(server, thi_server_drain_deadline(server), err);
    else if (thi_load_acquire(server->stopping) == 0) /* not by a stop: the caller itself was */
        thi_server_begin_stop(server, 0, ECANCELED);
}
