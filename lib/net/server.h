#ifndef THI_SERVER_H
#define THI_SERVER_H

/*
 * What the files of the server share.
 *
 *   server.c       made, run, destroyed
 *   stop.c         stopped, waited for
 *   stats.c        asked
 *   settings.c     a configuration, checked and complete
 *   address.c      addresses as text, and sockets for them
 *   accept.c       taking connections and datagrams, and what is done when there is no room for them
 *   serve.c        a connection's record, from its arrival to its end
 *   conn.c         what handlers do with connections; conn_io.c what that comes to, limits included; wire.c the
 *                  system's calls
 *   engine_*.c     what runs handlers: one for each model (the pre-forked ones are one)
 *
 * Whoever takes a connection makes its record, with a slot, and hands it to the engine, which has thi_conn_serve
 * called in the strand that is to serve it.
 */
#include <sys/socket.h>

#include <thrum/cond.h>
#include <thrum/executor.h>
#include <thrum/loop.h>
#include <thrum/mutex.h>
#include <thrum/process.h>
#include <thrum/semaphore.h>
#include <thrum/server.h>
#include <thrum/thread.h>
#include <thrum/waitgroup.h>

#include "coroutine/coroutine.h"
#include "strand/strand.h"

/* --- what all processes of a server see ------------------------------------------------------------------ */

/* Of a slot. A connection is IDLE while it waits for a request's first byte. */
#define THI_SLOT_FREE 0u
#define THI_SLOT_BUSY 1u
#define THI_SLOT_IDLE 2u
#define THI_SLOT_DONE 3u

typedef struct thi_slot {
    THRUM_ALIGNED(64)
    uint32_t state; /* written by who serves; FREE by who has taken it, when it is over */
    int32_t status; /* of its handler, when DONE */
    uint64_t requests, received, sent; /* of the connection that has it; by who serves */
} thi_slot_t;

typedef struct thi_tally {
    uint64_t accepted, completed, failed, timed_out, cancelled, crashed, shed;
    uint64_t requests, received, sent; /* of connections that have ended */
    uint64_t restarts;
    uint32_t active, peak, processes;
    uint32_t stopping; /* see `stopping` of a server */
    uint32_t told;     /* how often `deadline` has been written, for processes of the server */
    thrum_time_t deadline;
    uint64_t asked; /* not 0: a process has asked for a stop, with that deadline, and 1 */
    uint32_t asks;  /* how often one has */
    thi_slot_t slots[];
} thi_tally_t;

typedef struct thi_address {
    struct sockaddr_storage name;
    socklen_t length;
    bool both; /* IPv6, and IPv4 through it */
} thi_address_t;

/* --- a server -------------------------------------------------------------------------------------------- */

typedef enum {
    THI_SERVER_NEW,
    THI_SERVER_RUNS,
    THI_SERVER_STOPS,
    THI_SERVER_ENDED
} thi_server_state_t;

/* What runs handlers. All are called by who runs the server, but for `serve`. */
typedef struct thi_engine {
    int (*begin)(thrum_server_t *server); /* 0; an error: `end` comes all the same. May be NULL */

    /* An error: it was not taken. Called by an acceptor. NULL: only processes of the server have connections. */
    int (*serve)(thrum_conn_t *c);
    void (*end)(thrum_server_t *server); /* every handler has ended. May be NULL */

    /* Under the lock; may be NULL. Tells processes the deadline (any strand); ends those that did not heed it. */
    void (*stop)(thrum_server_t *server);
    void (*kill)(thrum_server_t *server);

    bool accepts; /* by itself; else who runs the server does */
    bool blocks;  /* a read may hold up its thread */
} thi_engine_t;

extern const thi_engine_t thi_engine_serial, thi_engine_threads, thi_engine_pool, thi_engine_loops,
    thi_engine_processes, thi_engine_prefork;

/* Who accepts, as long as it does. */
typedef struct thi_acceptor {
    thi_scope_t scope;
    thi_strand_t *strand;
    const thi_scope_t *before;
    struct thi_acceptor *next;
} thi_acceptor_t;

struct thrum_server {
    thrum_server_config_t config; /* complete */
    const thi_engine_t *engine;
    int listener;       /* -1: closed */
    int spare;          /* a descriptor that can be done without */
    thi_address_t name; /* that it listens on */
    char *path; /* of a Unix socket in a file system, to be removed; NULL: none, or no more */

    /* Written before connections are looked at (serve.c): for all processes where each has one connection, which the
     * parent looks at; else for this process alone. */
    uint32_t *stopping;
    uint32_t own_stopping;

    thi_tally_t *tally;
    size_t tally_size;
    uint32_t first; /* of this process's slots */
    uint32_t limit; /* how many */

    thrum_mutex_t lock; /* of what follows */
    thrum_cond_t changed;
    thi_server_state_t state;
    bool hurries; /* the deadline has passed */
    thrum_time_t hurried;
    thrum_time_t deadline;
    thi_acceptor_t *acceptors;
    size_t active;
    thrum_conn_t **conns; /* by slot, from `first` on */
    uint32_t *free_slots;
    uint32_t n_free;
    int error; /* what ended the service */

    thrum_sem_t room;          /* for connections */
    thrum_waitgroup_t strands; /* that may still touch the server */
    thrum_thread_t *runner;    /* of thrum_server_start */
    thrum_thread_t *watcher;   /* of SIGTERM, which comes by `terminate` */
    thrum_thread_t *heeder;    /* of processes that ask for a stop */
    int terminate;
    uint32_t fork_mark;
    bool begun; /* the engine has */
    bool inner; /* in a process of a server: its parent tells it to stop */
    void *own;  /* the engine's */
};

/* --- settings.c, address.c -------------------------------------------------------------------------------- */

/* 0, EINVAL. Numbers are complete then; texts are the caller's still. */
int thi_server_settings(thrum_server_config_t *full, const thrum_server_config_t *config);
const thi_engine_t *thi_server_engine(thrum_server_model_t model);
bool thi_server_preforks(thrum_server_model_t model);

int thi_address_parse(const char *text, thi_address_t *address); /* 0, EINVAL, ENAMETOOLONG */
size_t thi_address_text(const thi_address_t *address, char *text, size_t size);
int thi_address_listen(const thi_address_t *address, const thrum_server_config_t *config, int *fd);

/* --- accept.c ---------------------------------------------------------------------------------------------- */

/* Accepts until the server is stopped, or cannot go on (then it is stopped). On the calling strand, which has been
 * made known. */
void thi_accept_all(thrum_server_t *server);

/* False: the server is being stopped. */
bool thi_acceptor_begin(thrum_server_t *server, thi_acceptor_t *acceptor);
void thi_acceptor_end(thrum_server_t *server, thi_acceptor_t *acceptor);

/* --- connections: serve.c ------------------------------------------------------------------------------------ */

typedef struct thi_datagram {
    struct sockaddr_storage from;
    socklen_t from_len;
    size_t size;
    size_t read; /* of it */
    unsigned char data[];
} thi_datagram_t;

static inline size_t thi_datagram_size(size_t size) /* of the record */
{
    return sizeof(thi_datagram_t) + size;
}

struct thrum_conn {
    thrum_server_t *server;
    thi_slot_t *slot;
    int fd;
    bool ended;          /* the peer has */
    uint32_t in_request; /* its first byte has come; who writes ends it while another may read */
    uint32_t own_limit;  /* the socket's own limit is not to be relied upon */
    thi_scope_t scope;
    thi_strand_t *strand;     /* NULL: none serves it yet */
    thrum_process_t *process; /* that serves it; in the parent */

    thrum_time_t total;   /* deadline of all */
    thrum_time_t request; /* deadline of the request */
    size_t request_size;
    size_t max_request;
    int64_t idle_timeout, read_timeout, write_timeout;
    thrum_time_t began;

    unsigned char *ahead; /* read, but not asked for yet: from `from` to `until` */
    size_t from, until;
    thrum_frames_t *frames;
    thi_datagram_t *datagram; /* instead of a stream */
    void *data;
    thi_stream_t stream; /* zeros: it is none */
};

/* Takes `fd` (or, of a datagram, borrows it). There is room (`room`). NULL: no memory; then both are still the
 * caller's. */
thrum_conn_t *thi_conn_make(thrum_server_t *server, int fd, thi_datagram_t *datagram);

/* Runs the handler on the calling strand, and ends the connection. The server may be gone afterwards. */
void thi_conn_serve(thrum_conn_t *c);

/* It could not be served. */
void thi_conn_shed(thrum_conn_t *c);

/* What it came to, and the end of the record, whose process (not this one) has ended. */
void thi_conn_process_ended(thrum_conn_t *c);

/* The same in a process of its own: no table, nobody else. */
void thi_conn_serve_alone(thrum_conn_t *c);

/* What a process with these slots had open when it died: crashed, or cancelled. */
void thi_slots_of_the_dead(thi_tally_t *tally, uint32_t first, uint32_t limit, bool cancelled);

/* Under the lock: connections that are between requests see the end; all are cancelled. */
void thi_conns_wake_idle(thrum_server_t *server);
void thi_conns_cancel(thrum_server_t *server);

#define THI_AHEAD ((size_t)16 << 10)

/* --- wire.c --------------------------------------------------------------------------------------------------
 * As thrum_io_ calls, from here on without waiting in the system. Open comes first, by who serves. The clock is for
 * deadlines that need not be exact. */
void thi_wire_open(thrum_conn_t *c);
void thi_wire_close(thrum_conn_t *c);
thrum_time_t thi_wire_clock(const thrum_conn_t *c);
int thi_wire_read(thrum_conn_t *c, void *buf, size_t size, size_t *n, thrum_time_t deadline);
int thi_wire_write(thrum_conn_t *c, const struct iovec *pieces, int count, size_t *n,
                   thrum_time_t deadline);
int thi_wire_await_room(thrum_conn_t *c, thrum_time_t deadline);

/* --- conn_io.c ------------------------------------------------------------------------------------------------ */

/* For the first read of a strand that serves it. */
void thi_conn_io_begin(thrum_conn_t *c);

/* Up to `size` bytes of the stream, or of what was read ahead. As thrum_conn_read, with the request's limit of size
 * or without. */
int thi_conn_take(thrum_conn_t *c, void *buf, size_t size, size_t *n, bool limited);

/* What is read from now on belongs to a request that has begun; its time to be read begins anew, and
 * is so much longer. */
void thi_conn_hold(thrum_conn_t *c, int64_t more);

/* Has at least one byte more read ahead than there was; 0 with nothing more: the end. */
int thi_conn_fill(thrum_conn_t *c);
void thi_conn_took(thrum_conn_t *c, size_t n); /* n bytes of what was read ahead */
size_t thi_conn_used(const thrum_conn_t *c);   /* bytes of the present request so far */

int thi_conn_put(thrum_conn_t *c, const struct iovec *pieces, int count);
int thi_conn_cut(
    const thrum_conn_t *c); /* ECANCELED: its socket is shut down, by the server; or 0 */
int thi_conn_write_error(const thrum_conn_t *c, int err);
void thi_conn_wait_outside(thrum_conn_t *c); /* from now on no call waits in the system */
thrum_time_t thi_conn_write_deadline(const thrum_conn_t *c);
void thi_conn_wrote(thrum_conn_t *c, size_t size);

/* --- server.c --------------------------------------------------------------------------------------------------- */

/* What thrum_server_run does once it is known to run; also in processes of the server. Begins the engine, if that has
 * not been done. */
int thi_server_begin(thrum_server_t *server);
int thi_server_serve(thrum_server_t *server);

/* In a process of the server: what the parent's strands had is given up; these slots are this one's. */
int thi_server_inherit(thrum_server_t *server, uint32_t first, uint32_t limit);

void thi_server_free_text(char *text);

/* --- stop.c ----------------------------------------------------------------------------------------------------- */

/* Has it stop, with that deadline, and does not wait. */
void thi_server_begin_stop(thrum_server_t *server, thrum_time_t deadline, int error);
thrum_time_t thi_server_drain_deadline(const thrum_server_t *server);

/* Stops it at once, and waits whatever happens. */
void thi_server_stop_for_good(thrum_server_t *server);

/* Stops it, if a process of its own has asked for that; a thread that does so when one asks. */
void thi_server_heed(thrum_server_t *server);
int thi_server_begin_heeding(thrum_server_t *server);
void thi_server_end_heeding(thrum_server_t *server);

/* By who runs it: until it stops; from then until every handler has ended, with a shield. */
void thi_server_await_stop(thrum_server_t *server);
int thi_server_drain(void *arg, void **result);

/* By another, if who runs it serves: cancels handlers at the deadline. */
void thi_server_hurry_in_time(thrum_server_t *server);

/* Under the lock. */
int thi_server_result(const thrum_server_t *server);
void thi_server_close_listener(thrum_server_t *server);

static inline thrum_time_t thi_limit_after(thrum_time_t now, int64_t limit)
{
    return limit < 0 || limit > THRUM_FOREVER - now ? THRUM_FOREVER : now + limit;
}

static inline void thi_count(uint64_t *counter, uint64_t n)
{
    thi_fetch_add_relaxed(counter, n);
}

#endif /* THI_SERVER_H */
