#ifndef THRUM_SERVER_H
#define THRUM_SERVER_H

#include <thrum/base.h>
#include <thrum/frame.h>
#include <thrum/time.h>

struct iovec;

THRUM_BEGIN_DECLS

/**
 * @file
 * Servers: one handler, and a choice of what runs it for each connection.
 *
 *     static int echo(thrum_conn_t *c, void *ctx)
 *     {
 *         char data[4096];
 *         size_t n = 0;
 *         int err = 0;
 *         while ((err = thrum_conn_read(c, data, sizeof data, &n)) == 0 && n != 0)
 *             if ((err = thrum_conn_write(c, data, n)) != 0)
 *                 break;
 *         return err;                                  // the connection is closed
 *     }
 *
 *     thrum_server_config_t config = THRUM_SERVER_CONFIG_INIT;
 *     config.address = "127.0.0.1:7007";
 *     config.handler = echo;
 *     config.model = THRUM_SERVE_COROUTINES;
 *     thrum_server_t *server = NULL;
 *     int err = thrum_server_create(&server, &config); // it listens
 *     err = thrum_server_run(server);                  // until somebody calls thrum_server_stop
 *     thrum_server_destroy(server);
 *
 * Models   The handler runs unchanged in each. It waits as if it were alone: in coroutines only itself is held up.
 *
 *          THRUM_SERVE_COROUTINES          a coroutine each, on `workers` loops, a thread each; the default
 *          THRUM_SERVE_SERIAL              one after the other
 *          THRUM_SERVE_THREADS             a thread each
 *          THRUM_SERVE_POOL                `workers` threads, each with one connection at a time
 *          THRUM_SERVE_PROCESSES           a process each, forked; a crash ends its connection only
 *          THRUM_SERVE_PREFORK_POOL        `processes` processes, in each a pool; one that dies is replaced
 *          THRUM_SERVE_PREFORK_COROUTINES  `processes` processes, in each loops; one that dies is replaced
 *
 * Requests A request is what is read between two writes; it begins with its first byte. Limits on requests go by that.
 *          A handler that reads more than one request, or one that never ends, without writing says where the
 *          next one begins: thrum_conn_next.
 * Limits   On by default, each for itself to be changed: see the configuration. A limit of time that passes is
 *          ETIMEDOUT in the call, a request that is too long EMSGSIZE. There the handler may still write an answer,
 *          and should return. A write that need not wait is done whatever the time is.
 * Load     At the limit of connections the server does not accept; others wait in the backlog. So it does when
 *          descriptors or memory run out: it tries again after 10 ms, then more and more rarely, at least each
 *          second. When descriptors have been out for about a second it takes connections off the backlog and
 *          closes them, so that peers are told; it keeps a spare descriptor for that.
 * Stop     thrum_server_stop closes the listening socket (that of datagrams when the last handler has ended).
 *          Connections between two requests see the end, as if the peer had closed (thrum_conn_stopping tells);
 *          handlers within a request may finish. At the deadline their waits are ECANCELED, soon also reads and
 *          writes that need not wait, and processes with one connection each are killed; others a second later, if
 *          handlers there do not heed that. Threads that do neither are waited for. The address is free again at
 *          once.
 * Failure  What a handler returns, but 0, is counted as a failure and ends its connection, nothing else. One that
 *          crashes takes its process with it: with PROCESSES that is its connection.
 * Context  Servers: any strand. A connection is used by its handler, and by what the handler starts and waits for;
 *          one may read while another writes.
 * Ordering What happened before thrum_server_run or start is seen by setup, handler and finish; what they did is seen by who
 *          comes back from stop, join or run.
 * Cancel   Handlers are cancelled by the deadline of a stop, with SERIAL also by thrum_thread_cancel of who runs
 *          the server. With THREADS and POOL a read between two requests waits in the system, and hears the server
 *          only.
 * Signals  None is used, but as `stop_on_sigterm` says. Writes to a closed peer are EPIPE; there is no SIGPIPE.
 * Fork     In a child that the program forks, the server is a copy that serves nobody: run, start, stop and join say
 *          EOWNERDEAD, a destroy closes its descriptors. Until then, or its end, the child keeps connections open
 *          that the parent closes.
 */

/** A server; made by thrum_server_create. */
typedef struct thrum_server thrum_server_t;

/** A connection, or a datagram and its sender; valid in setup, handler and finish. */
typedef struct thrum_conn thrum_conn_t;

/** Serves one connection. @return 0, or an error: it has failed. The connection is closed then. */
typedef int (*thrum_handler_fn)(thrum_conn_t *c, void *ctx);

/** What runs the handler; see Models. */
typedef enum {
    THRUM_SERVE_COROUTINES,         /**< a coroutine for each connection */
    THRUM_SERVE_SERIAL,             /**< one connection after the other */
    THRUM_SERVE_THREADS,            /**< a thread for each connection */
    THRUM_SERVE_POOL,               /**< a pool of threads */
    THRUM_SERVE_PROCESSES,          /**< a process for each connection */
    THRUM_SERVE_PREFORK_POOL,       /**< processes, each with a pool of threads */
    THRUM_SERVE_PREFORK_COROUTINES, /**< processes, each with loops */
} thrum_server_model_t;

/** As a duration: no limit. */
#define THRUM_NO_LIMIT (-1)

/** How a server is to be. Start from THRUM_SERVER_CONFIG_INIT. What it points to is copied, but for `ctx`. */
typedef struct thrum_server_config {
    size_t config_size; /**< set by THRUM_SERVER_CONFIG_INIT */

    /** Where it listens: "127.0.0.1:80", "[::1]:80", "localhost:80", "*:80" (every interface, IPv6 and IPv4),
     *  "unix:/run/x.sock" (a socket that is there and that nobody listens on is replaced; removed with the server),
     *  "unix:@name" (abstract). Port 0: one that is free, see thrum_server_address. */
    const char *address;
    int listener; /**< a socket that listens already (or is bound, for datagrams), instead of `address`: it is
                        duplicated. -1: none */
    bool
        datagram; /**< UDP, or datagrams of a Unix socket: the handler is called for each. It reads that one (64 KiB
                        of it), and what it writes goes to the sender, a datagram each write */

    thrum_server_model_t model; /**< what runs the handler; 0: a coroutine for each */
    thrum_handler_fn handler;   /**< serves each connection */
    int (*setup)(thrum_conn_t *c,
                 void *ctx); /**< before the handler; not 0: it is not called. May be NULL */
    void (*finish)(thrum_conn_t *c, void *ctx,
                   int status); /**< after the handler, or a setup that failed. May be NULL */
    void *ctx; /**< for the three; with processes each has a copy of what it points to */

    size_t workers;   /**< loops, or threads of a pool, of each process; 0: the processors that this
                            process may use (a pool: eight times as many), with processes a share of these */
    size_t processes; /**< PREFORK: how many; 0: the processors that this process may use */
    size_t stack_size; /**< of each thread or coroutine, in bytes; 0: as usual */
    const char *name;  /**< of its threads and processes; NULL: "thrum-server" */

    size_t
        max_connections; /**< open at a time; 0: 16384 with coroutines, 1024 threads, 256 processes,
                                 as many as workers with a pool */
    int backlog; /**< connections that wait to be accepted; 0: 1024 (or the system's limit) */
    size_t max_request;    /**< bytes of a request; 0: 16 MiB; SIZE_MAX: no limit */
    int64_t idle_timeout;  /**< ns without a request; 0: 60 s */
    int64_t read_timeout;  /**< ns from a request's first byte to its last read; 0: 30 s */
    int64_t write_timeout; /**< ns for one write, however large; 0: 30 s */
    int64_t total_timeout; /**< ns of a connection; 0: 24 hours */

    thrum_frame_config_t
        frames; /**< for thrum_conn_receive and send; 0: its defaults, but for max_size, which is
                                      max_request where that is less */

    bool
        stop_on_sigterm; /**< SIGTERM is blocked in the thread that calls run or start (so do it before others
                                are made), and stops the server with `drain_timeout`; its processes leave
                                it to this one, so all of a group may be sent it */
    int64_t drain_timeout; /**< ns; 0: 10 s */
    bool nagle;      /**< TCP: small writes are held back until earlier ones are acknowledged */
    bool reuse_port; /**< SO_REUSEPORT: several servers may listen on the address */
} thrum_server_config_t;

/** The defaults: coroutines; a handler and an address are needed. */
#define THRUM_SERVER_CONFIG_INIT                                                                   \
    {                                                                                              \
        sizeof(thrum_server_config_t), NULL, -1, false, THRUM_SERVE_COROUTINES, NULL, NULL, NULL,  \
            NULL, 0, 0, 0, NULL, 0, 0, 0, 0, 0, 0, 0, THRUM_FRAME_CONFIG_INIT, false, 0, false,    \
            false                                                                                  \
    }

/** What a server has done and does, of all its processes. */
typedef struct thrum_server_statistics {
    uint64_t accepted; /**< connections (or datagrams) taken: active, or one of the following six */
    uint64_t completed; /**< of these: ended, with 0 */
    uint64_t failed; /**< ended with an error, of setup or handler, that is none of the following */
    uint64_t timed_out; /**< ended with ETIMEDOUT */
    uint64_t cancelled; /**< ended by the deadline of a stop */
    uint64_t crashed;   /**< ended with their process */
    uint64_t
        shed; /**< closed unserved, since descriptors, memory, threads or processes had run out */
    uint64_t requests; /**< begun */
    uint64_t received; /**< bytes */
    uint64_t sent;     /**< bytes */
    uint64_t restarts; /**< PREFORK: processes that were replaced */
    size_t active;     /**< connections that are open now */
    size_t idle;       /**< of these: between two requests */
    size_t peak;       /**< most that were open at a time */
    size_t processes;  /**< that run now, this one not counted */
} thrum_server_stats_t;

/** Makes a server, which listens from now on, and serves from run or start on.
 *  @return 0; EINVAL (NULL, no handler, no address or none that can be understood, a model that does not exist, no
 *  config_size; datagrams with PREFORK models; a `listener` that does not listen); EBADF, ENOTSOCK; EADDRINUSE, EADDRNOTAVAIL, EACCES, EAFNOSUPPORT, EMFILE, ENFILE;
 *  ENAMETOOLONG (of a Unix socket); ENOMEM. */
THRUM_API int thrum_server_create(thrum_server_t **server, const thrum_server_config_t *config);

/** Serves until it is stopped. SERIAL: on the calling strand; else the caller waits for those that serve.
 *  @return 0 (stopped, all handlers have ended); ETIMEDOUT (some were cancelled); ECANCELED (the caller was: it has
 *  been stopped, with a deadline in the past); EINVAL (NULL); EBUSY (it has been started, or stopped, already);
 *  EOWNERDEAD; ENOMEM, EAGAIN, EMFILE (threads or processes could not be made); an error of the system that ended the
 *  service. */
THRUM_API int thrum_server_run(thrum_server_t *server);

/** Serves in the background. @return 0; EINVAL, EBUSY, EOWNERDEAD, ENOMEM, EAGAIN, EMFILE as thrum_server_run: it has
 *  been stopped then. */
THRUM_API int thrum_server_start(thrum_server_t *server);

/** Stops it, for good: nothing is accepted any more; waits until every handler has ended; those that have not at
 *  the deadline are cancelled, and waited for. The first of several deadlines counts, unless a later call has an
 *  earlier one. Called by a handler of the server it does not wait. One that was never started is closed.
 *  @return 0; ETIMEDOUT (some were cancelled); what had ended the service before; ECANCELED (the caller was: the stop
 *  goes on); EINVAL (NULL); EOWNERDEAD (a copy in a forked child). */
THRUM_API int thrum_server_stop(thrum_server_t *server, thrum_time_t deadline);

/** Waits until it has been stopped and every handler has ended. @return as thrum_server_run, or ETIMEDOUT also:
 *  the deadline has passed; EINVAL (NULL, never started); EOWNERDEAD. */
THRUM_API int thrum_server_join(thrum_server_t *server, thrum_time_t deadline);

/** Stops it at once (a deadline in the past) if nobody did, waits, and frees it. Not in a handler of its own.
 *  NULL: nothing. */
THRUM_API void thrum_server_destroy(thrum_server_t *server);

/** Where it listens, as a configuration has it, with the port it got; also when it does no more. As much as fits, with
 *  a zero at the end.
 *  @return its length without that, whatever `size` is. */
THRUM_API size_t thrum_server_address(const thrum_server_t *server, char *text, size_t size);

/** The port it listens on; 0: it has none. */
THRUM_API unsigned thrum_server_port(const thrum_server_t *server);

/** What it has done so far. Never waits. NULL: nothing. */
THRUM_API void thrum_server_stats(const thrum_server_t *server, thrum_server_stats_t *stats);

/* --- connections --------------------------------------------------------------------------------------- */

/** Reads up to `size` bytes, waiting for the first; `*n` gets how many, 0 at the end: the peer will send no more, or the
 *  server stops and this would have been a new request. Of a datagram: what is left of it.
 *  @return 0; ETIMEDOUT (a limit); EMSGSIZE (the request is over its limit); ECANCELED (a stop's deadline);
 *  EINVAL; an error of the system: ECONNRESET ... */
THRUM_API int thrum_conn_read(thrum_conn_t *c, void *buf, size_t size, size_t *n);

/** Reads exactly `size` bytes; `*n` (may be NULL) gets how many were read in every case.
 *  @return as thrum_conn_read; ENODATA (the end came first). */
THRUM_API int thrum_conn_read_full(thrum_conn_t *c, void *buf, size_t size, size_t *n);

/** Reads up to and with the next newline, and stores it with a zero behind; `*n` gets its length without the zero,
 *  0 at the end. A last line may lack the newline. It reads ahead; other reads of the connection know.
 *  @return as thrum_conn_read; EMSGSIZE also: no newline within size - 1 bytes; ENOMEM. */
THRUM_API int thrum_conn_read_line(thrum_conn_t *c, char *line, size_t size, size_t *n);

/** Writes all of it. @return 0; ETIMEDOUT, ECANCELED, EINVAL; EPIPE, ECONNRESET ...: the peer is gone. */
THRUM_API int thrum_conn_write(thrum_conn_t *c, const void *data, size_t size);

/** The same of up to 1024 pieces, with one call of the system for 64 of them, if the peer takes them. */
THRUM_API int thrum_conn_writev(thrum_conn_t *c, const struct iovec *pieces, int count);

/** Writes `size` bytes of a file from `offset` on, without copying where the system can. The time limit is that of
 *  a write for each megabyte. @return as thrum_conn_write; ENODATA (the file is shorter); an error of reading. */
THRUM_API int thrum_conn_sendfile(thrum_conn_t *c, int file, int64_t offset, size_t size);

/** Receives a frame (frame.h), as the configuration's `frames` has it; each is a request. What it stores in `*frame`
 *  is valid until the next call. @return as thrum_frames_receive, and as thrum_conn_read. */
THRUM_API int thrum_conn_receive(thrum_conn_t *c, thrum_frame_t *frame);

/** Sends a frame. @return as thrum_frame_send. */
THRUM_API int thrum_conn_send(thrum_conn_t *c, const void *body, size_t size);

/** The same with pairs, and of a body in pieces. @return as thrum_frame_sendv. */
THRUM_API int thrum_conn_sendv(thrum_conn_t *c, const thrum_pair_t *pairs, size_t n_pairs,
                               const struct iovec *pieces, size_t n_pieces);

/** What is read from now on is another request, though nothing was written. */
THRUM_API void thrum_conn_next(thrum_conn_t *c);

/** A limit that a connection may have of its own. */
typedef enum {
    THRUM_LIMIT_REQUEST, /**< max_request; frames keep the configuration's */
    THRUM_LIMIT_IDLE,    /**< idle_timeout */
    THRUM_LIMIT_READ,    /**< read_timeout */
    THRUM_LIMIT_WRITE,   /**< write_timeout */
    THRUM_LIMIT_TOTAL,   /**< total_timeout, from the connection's beginning */
} thrum_conn_limit_t;

/** Changes a limit of this connection: ns or bytes, as in the configuration. @return 0, EINVAL. */
THRUM_API int thrum_conn_set_limit(thrum_conn_t *c, thrum_conn_limit_t what, int64_t limit);

/** Whether the server is being stopped: a good moment to end after this request. */
THRUM_API bool thrum_conn_stopping(const thrum_conn_t *c);

/** Its descriptor: not to be closed, nor read past what a call has buffered. */
THRUM_API int thrum_conn_fd(const thrum_conn_t *c);

/** Who the peer is, as addresses are written in a configuration ("unix:" if it has none), as much as fits, with a
 *  zero. @return its length without that. */
THRUM_API size_t thrum_conn_peer(const thrum_conn_t *c, char *text, size_t size);

/** The server. In a process of its own: that process's copy, of which only stop and stats are of use. */
THRUM_API thrum_server_t *thrum_conn_server(const thrum_conn_t *c);

/** A value of the handler's own, NULL at first; setup, handler and finish share it. */
THRUM_API void thrum_conn_set_data(thrum_conn_t *c, void *data);
/** That value. */
THRUM_API void *thrum_conn_data(const thrum_conn_t *c);

THRUM_END_DECLS
#endif /* THRUM_SERVER_H */
