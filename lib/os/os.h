#ifndef THI_OS_H
#define THI_OS_H

/*
 * The door of lib/os: the only code that knows the operating system. The simulated build replaces
 * every function declared here (tests/sim/sim_os.c); the layers above cannot tell.
 */

#include <sys/types.h>

#include <thrum/time.h>

#include "base/base.h"

/* --- futex: sleeping on a word ------------------------------------------------------------------
 * Sleeps while *word == expected, until a wake on the word or the deadline (absolute, monotonic).
 * Returns 0 (woken, the word differed, or for no reason at all) or ETIMEDOUT. Checking the word and
 * going to sleep are one step with respect to thi_futex_wake. */
int thi_futex_wait(uint32_t *word, uint32_t expected, thrum_time_t deadline);

/* Wakes up to n sleepers of the word. Uses the address as a key only: the memory may be gone. */
void thi_futex_wake(uint32_t *word, unsigned n);

/* In the child of fork: forget sleepers of the parent. */
void thi_futex_after_fork(void);

/* --- lock: short internal critical sections -----------------------------------------------------
 * All-zero is a free lock. Spins a little, then sleeps on its own word. Ranks are verified in
 * checked builds: a thread takes internal locks in rising rank only. */
typedef enum thi_rank {
    THI_RANK_THREADS = 0,  /* thread objects and timers */
    THI_RANK_POOL = 1,     /* thread records */
    THI_RANK_GROWTH = 2,   /* the parking lot's table is being replaced */
    THI_RANK_LOT = 3,      /* a bucket of the parking lot; several at once only in address order */
    THI_RANK_REGISTRY = 4, /* strand records */
    THI_RANK_LOCALS = 5,   /* keys of strand locals */
    THI_RANK_CHECK = 6,    /* bookkeeping of the checked build */
    THI_RANK_PROGRAMS = 7, /* subprocesses */
    THI_RANK_OFFICE = 7,   /* a process pool; never together with that */
    THI_RANK_BLOCKS = 8,   /* the depot of blocks; a map's outcome */
    THI_RANK_CREW = 9,     /* a pool's workers */
    THI_RANK_QUEUES = 10,  /* the list of FIFO queues */
    THI_RANK_STACKS = 11,  /* stacks of coroutines; ports of loops */
    THI_RANK_PROCESSES = 12, /* process objects; these three are held across fork */
    THI_RANK_PIPES = 13,     /* pipes of children; as the two beside it */
    THI_RANK_CHILDREN = 14,  /* descriptors of children */
    THI_RANK_HELPERS = 15,   /* threads that sleep for coroutines */
} thi_rank_t;

typedef struct thi_lock {
    uint32_t state;
} thi_lock_t;

void thi_lock(thi_lock_t *lock, thi_rank_t rank);
void thi_unlock(thi_lock_t *lock, thi_rank_t rank);

/* --- fences of unequal weight --------------------------------------------------------------------
 * Of "store a; light; load b" in one thread and "store b; heavy; load a" in another at least one load
 * sees the other's store, as if both were full fences. The light one costs nothing where the system can
 * interrupt other processors for the heavy one, which then takes microseconds; elsewhere both are full. */
extern uint32_t thi_fence_symmetric; /* not 0: the light one has to do its share */
void thi_fence_full(void);
void thi_fence_heavy(void);
static inline void thi_fence_light(void)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (THI_UNLIKELY(thi_load_relaxed(&thi_fence_symmetric) != 0))
        thi_fence_full();
}

/* --- clock, processors -------------------------------------------------------------------------- */
thrum_time_t thi_clock(void);

/* The same clock to within a few milliseconds, never ahead of it, at a quarter of the price. */
thrum_time_t thi_clock_coarse(void);

/* Processors that the calling thread, and threads that it starts, may use: affinity and container
 * quota counted; at least 1. Asks the system anew each time. */
unsigned thi_processors(void);

/* Whether the machine has more than one, so that somebody may be running while the caller spins.
 * (Not thi_processors: where the caller is pinned says nothing of others.) */
bool thi_multiprocessor(void);

/* The processor that the caller runs on, at this moment. */
unsigned thi_cpu_current(void);

void thi_cpu_pause(void);

/* Lets other threads of the caller's priority run that wait for its processor. */
void thi_thread_yield(void);

/* Lets somebody else run who was interrupted and cannot say when he is through: first other threads
 * of the caller's priority, and, from `turns` 64 on, everybody, for a moment. */
void thi_cpu_yield(unsigned turns);

/* The thread sleeps, for less than a second. */
void thi_nap(unsigned microseconds);

/* Nanoseconds that one thi_cpu_pause takes here, measured once; at least 1. */
unsigned thi_cpu_pause_ns(void);

/* --- threads ------------------------------------------------------------------------------------ */

/* No function of the library is a pthread cancellation point: around those of the system that are.
 * Returns what restore puts back. */
int thi_cancel_off(void);
void thi_cancel_restore(int state);

int64_t thi_thread_native_id(void);

/* Copies the name of the thread of this process with that native id; "" when there is none. */
void thi_thread_name(int64_t native_id, char *name, size_t size);

/* Arranges for exit_fn(arg) when the calling thread ends; replaces an earlier arrangement of this
 * thread. exit_fn is the same for all threads. Called from inside exit_fn it asks for another round,
 * which the system grants a limited number of times: thi_thread_exit_rounds in all. Returns 0 or
 * ENOMEM. */
int thi_thread_at_exit(void (*exit_fn)(void *), void *arg);
unsigned thi_thread_exit_rounds(void);

/* The same for a function of the layer above: end_fn(arg), beside exit_fn and in no order with it. */
int thi_thread_at_end(void (*end_fn)(void *), void *arg);

/* The same for others who keep something for each thread: fn(arg), once for each call; `ending` is static
 * and zero at first, and fn the same in every call. */
typedef struct thi_ending {
    uint32_t key;
} thi_ending_t;
int thi_thread_on_end(thi_ending_t *ending, void (*fn)(void *), void *arg);

/* A thread to be started. Its memory stays where it is until the thread has called fn. */
typedef struct thi_start {
    void (*fn)(void *arg);
    int (*prepare)(void *arg); /* in the new thread, first; an error calls it off. May be NULL */
    void *arg;
    size_t stack_size;    /* at least; 0: the system's default */
    const unsigned *cpus; /* below THI_CPUS_MAX each */
    size_t cpu_count;     /* 0: wherever its starter may run */
    bool detached;        /* nobody joins it */
    uint32_t outcome;     /* these are thread_start.c's */
    uint64_t blocked;
} thi_start_t;
#define THI_CPUS_MAX 8192u

/* Starts a thread with every asynchronous signal blocked. Returns 0, ENOMEM (also: the system's limit
 * of threads), EINVAL (none of the processors may be used), or what prepare returned. */
int thi_thread_start(thi_start_t *start);

/* Lets through what thi_thread_start has blocked in the calling thread, or in the one that started it. */
void thi_thread_let_signals(void);
void thi_thread_let_through(void *mask); /* what its mask, a sigset_t, would be then */

/* The calling thread's handle for these: valid until it is joined, or has ended detached. Join does not
 * look at the deadline or the cancellation of a strand: for threads that are about to end. */
uintptr_t thi_thread_handle(void);
void thi_thread_join(uintptr_t handle);
void thi_thread_detach(uintptr_t handle);
void thi_thread_set_name(uintptr_t handle, const char *name); /* what does not fit is cut off */

/* Keeps the calling thread on one of the processors that it may use, the nth, counted around. */
void thi_thread_pin(unsigned nth);

/* The native id of the process's main thread. */
int64_t thi_thread_main_id(void);

/* Arranges for a call by exit() or the return from main. Returns 0 or ENOMEM. */
int thi_process_at_exit(void (*exit_fn)(void));

/* Registers functions to be called around fork, once per process. */
void thi_at_fork(void (*prepare)(void), void (*parent)(void), void (*child)(void));

/* Runs init once per process, under no lock that could be held across a fork. */
typedef struct thi_once {
    uint32_t state;
} thi_once_t;
void thi_once(thi_once_t *once, void (*init)(void));

/* --- child processes -------------------------------------------------------------------------------
 * A child; its memory is private and stays where it is from the fork until close. In processes that are
 * forked later what they have of it is closed: poll says ECHILD. */
struct thi_parting;
typedef struct thi_child {
    pid_t pid; /* 0: this process is the child */
    int pidfd; /* readable once it has ended. -1: it had ended, and somebody had waited for it, at once */
    int life; /* of one that dies with its parent: it dies when this is closed */
    int gate; /* these are process.c's */
    int letter;
    struct thi_parting *parting;
    struct thi_child *next;
    struct thi_child *prev;
} thi_child_t;

/* Forks. The child goes on when the parent has its descriptor, with the signals let through that
 * thi_thread_start has blocked; with `dies_with_parent` it is killed when the parent is gone, however,
 * also if it has executed another program by then. Both return 0; in the child `pid` is 0, and there is nothing
 * to be closed. Or, and then there is no child: EAGAIN, ENOMEM, EMFILE, ENFILE; ENOSYS: the system lacks
 * what it takes. */
int thi_process_fork(thi_child_t *child, bool dies_with_parent);

/* None: what an object has that was not forked yet. */
void thi_process_none(thi_child_t *child);

/* The same by executing the program anew, which has nothing of this one's memory but `text`. In it, letter says
 * that it is such an execution (else -1), and arrive does what fork would have done and returns the text, of
 * thi_alloc's, or does not return. Also ENOTSUP: it has privileges that its user has not. */
struct iovec;
int thi_process_execute(thi_child_t *child, bool dies_with_parent, const struct iovec *text,
                        int count);
int thi_process_letter(int argc, char **argv);
void *thi_process_arrive(int letter, size_t *size);

/* The process that forked or executed this one, while it lives; then another's number. */
pid_t thi_process_parent_id(void);

/* Gives `*parent` a descriptor of the process `pid`: EAGAIN, it lives. 0: it does not, or is not this one's
 * parent. Or EMFILE, ENFILE, ENOMEM, ENOSYS. */
int thi_process_watch_parent(thi_child_t *parent, pid_t pid);

/* Whether the child has ended. 0: it has, and is waited for, and `*status` is its exit code, or the signal
 * that ended it, negative (-SIGKILL also: nobody can tell); again and again. EAGAIN: not yet. ECHILD: it is
 * not this process's. Not by two threads at once. */
int thi_process_poll(thi_child_t *child, int *status);

/* ESRCH: it has been waited for. EINVAL: no such signal. EPERM: it is somebody else's by now. */
int thi_process_signal(const thi_child_t *child, int signal);

/* Forgets it; one that dies with its parent is killed. */
void thi_process_close(thi_child_t *child);

/* A record that is to be a child's, of whoever makes it: to be closed, as above. */
void thi_process_adopt(thi_child_t *child);

/* A place for one of this process's descriptors in another program. `from` is changed. */
typedef struct thi_exec_fd {
    int from;
    int to;
} thi_exec_fd_t;

typedef enum thi_exec_group {
    THI_EXEC_SAME,    /* the parent's */
    THI_EXEC_GROUP,   /* one of its own */
    THI_EXEC_SESSION, /* and a session */
} thi_exec_group_t;

typedef struct thi_exec {
    const char *const *paths; /* the first that can be executed is; NULL ends each of these three */
    const char *const *argv;
    const char *const *env;
    const char *dir;    /* NULL: the parent's */
    thi_exec_fd_t *fds; /* places that differ; from 3 on it has no other descriptors */
    size_t fd_count;
    thi_exec_group_t group;
    bool keep_ignored; /* signals that this process ignores; all others have their default */
} thi_exec_t;

/* Executes another program; no signal is blocked in it. Returns 0; or an error of any of its steps (of
 * execve, chdir, dup ...), and then there is no child; EAGAIN, ENOMEM, EMFILE, ENFILE; ENOSYS: the system
 * lacks what it takes. */
int thi_process_spawn(thi_child_t *child, const thi_exec_t *exec);

/* The signal to all of the group that the child was given, also when the child itself is gone, and to the child. ESRCH: there
 * is nobody in it (also: `waited_for`, and the system is older than Linux 6.9). */
int thi_process_signal_group(const thi_child_t *child, int signal, bool waited_for);

/* Ends the calling process, as _exit; the parent learns the status whoever waits for it. */
_Noreturn void thi_process_leave(int status);

/* --- memory ------------------------------------------------------------------------------------- */

/* Zeroed pages straight from the system, for what must not depend on an allocator that may itself
 * use thrum. NULL: no memory. */
void *thi_pages_map(size_t size);
void thi_pages_unmap(void *pages, size_t size);

/* Gives the contents back: the pages stay mapped and are zero again when next used. False: the system
 * keeps them (a process may lock its memory), and they say what they said. */
bool thi_pages_forget(void *pages, size_t size);

/* The library's allocator, bound at first use; see thrum_set_allocator. thi_alloc gives zeroed
 * memory or NULL. */
void *thi_alloc(size_t size);
void thi_free(void *memory, size_t size);

/* --- memory of several processes -------------------------------------------------------------------
 * A segment is a file in memory that has no name in any file system, and never shrinks. All of `max` is
 * mapped at once; what lies beyond its size may not be touched. grow: what lies below `size` is memory that
 * is there, for everybody, from then on. */
int thi_segment_create(const char *name, int *fd);      /* 0, ENOMEM, EMFILE, ENFILE, ENOSYS */
int thi_segment_map(int fd, size_t max, void **base);   /* 0, ENOMEM, EINVAL (not to be mapped) */
int thi_segment_grow(int fd, size_t from, size_t size); /* 0, ENOMEM */
int thi_segment_size(int fd, size_t *size);             /* 0, EINVAL (it is none) */
int thi_segment_duplicate(int fd, int *duplicate);      /* 0, EMFILE, EINVAL */

/* The segment of that name that some process of this user has open, for which fits(fd, arg) says yes.
 * 0; ENOENT: there is none; ENOMEM, EMFILE, ENFILE, ENOSYS: who knows. */
int thi_segment_find(const char *name, bool (*fits)(int fd, void *arg), void *arg, int *fd);

/* --- guards: locks of several processes ------------------------------------------------------------
 * A lock in shared memory that outlives whoever holds it, waits for it, or has been woken for it: the
 * system's proof of a death, and nothing else, passes it on. The holder is a thread. It sleeps as a
 * thread; layers above know how coroutines wait. */
typedef struct thi_guard {
    THRUM_ALIGNED(8) unsigned char lock[48]; /* a robust mutex of the system's */
    unsigned char line[48];                  /* another: held by the one who sleeps on the first */
    uint32_t orphaned;                       /* a holder has died, and nobody has mended it since */
    uint32_t made;                           /* THI_GUARD_MADE: it is one */
} thi_guard_t;
#define THI_GUARD_MADE UINT32_C(0x67756172)

int thi_guard_init(thi_guard_t *guard); /* 0, ENOMEM, ENOSYS */

/* 0 or EOWNERDEAD: the caller holds it; the latter until somebody has mended what it guards and said so.
 * EBUSY, ETIMEDOUT: it does not. EDEADLK: the calling thread holds it already (trylock may say EBUSY then).
 * A guard that is free is taken whatever the deadline. */
int thi_guard_trylock(thi_guard_t *guard);
int thi_guard_lock(thi_guard_t *guard, thrum_time_t deadline);
void thi_guard_mend(thi_guard_t *guard);
int thi_guard_unlock(thi_guard_t *guard); /* 0, EPERM: the calling thread does not hold it */

/* Whether the calling thread holds it. It may cost as much as waiting. */
bool thi_guard_mine(thi_guard_t *guard);

/* --- far words: futexes of several processes --------------------------------------------------------
 * Sleeps while *word == expected, until a wake of the word or the deadline; or, where thi_far_near() says
 * so, until *near != near_expected and a thi_futex_wake of it. Returns 0 or ETIMEDOUT. `near` may be NULL. */
int thi_far_wait(uint32_t *word, uint32_t expected, thrum_time_t deadline, uint32_t *near,
                 uint32_t near_expected);
bool thi_far_near(void);

/* Changes the word and wakes all who sleep on it in one step: there is no instruction between the two at
 * which the caller could be killed. A full fence. add: any n, of which bits from 11 on are added one by one;
 * or, clear: one bit. Returns whether anybody slept. */
bool thi_far_add(uint32_t *word, uint32_t n);
bool thi_far_or(uint32_t *word, uint32_t bit);
bool thi_far_clear(uint32_t *word, uint32_t bit);
void thi_far_wake(uint32_t *word);

/* --- memory for stacks ----------------------------------------------------------------------------- */
size_t thi_page_size(void);

/* Address space for stacks, zeroed; memory comes with the first touch, a small page at a time. NULL: none. */
void *thi_stacks_map(size_t size);

/* Makes pages of it inaccessible for good, at the price of no further mapping where the system can do that.
 * False: no memory. */
bool thi_pages_guard(void *pages, size_t size);

/* The same, and thi_pages_forget, of several ranges of pages: with one call where the system has one for that.
 * THI_RANGES_MAX at most. */
#define THI_RANGES_MAX 32u
typedef struct thi_range {
    void *pages;
    size_t size;
} thi_range_t;
bool thi_pages_guard_all(const thi_range_t *ranges, size_t n); /* false: of some, it may be */
void thi_pages_forget_all(const thi_range_t *ranges, size_t n);

/* How many bytes from `low` on have never been touched, or were forgotten since; in pages. */
size_t thi_pages_untouched(void *low, size_t size);

/* Has accesses to memory that cannot be accessed explained on standard error before the process dies of
 * them: explain writes what there is to say of the address, in a signal handler; false: nothing, and
 * whatever was arranged before applies. Per thread, since its stack may be what has run out. Returns what
 * unwatch takes (NULL is fine). */
void *thi_crash_watch(bool (*explain)(const void *address, char *text, size_t size));
void thi_crash_unwatch(void *watch);

/* --- descriptors ------------------------------------------------------------------------------------ */
#define THI_POLL_IN 1u
#define THI_POLL_OUT 2u
#define THI_POLL_BAD 4u /* it is none */
#define THI_POLL_ODD 8u /* what is watched: over, broken, or with urgent bytes */

typedef struct thi_polled {
    int fd;
    unsigned events; /* in; of a poller, out: the tag of what is watched, 0 for what was armed */
    unsigned ready;  /* events, and BAD */
} thi_polled_t;

/* Waits until one of them is ready (an error or hang-up counts as all of its events), or the deadline, or
 * for no reason: 0, with `ready` set in all; ETIMEDOUT. THI_POLL_MAX at most. */
#define THI_POLL_MAX 1025u
int thi_poll(thi_polled_t *polled, size_t n, thrum_time_t deadline);

/* Whether reads and writes of a descriptor fail rather than wait; makes it so, or not. */
bool thi_fd_nonblocking(int fd);
void thi_fd_set_nonblocking(int fd, bool nonblocking);
void thi_fd_set_cloexec(int fd);

/* As accept, close-on-exec: the descriptor, or an error of the system, negative. */
struct sockaddr;
int thi_fd_accept(int fd, struct sockaddr *addr, unsigned *addr_len);

/* As the system's functions of those names, and nobody else's; see calls.c. */
struct iovec;
ssize_t thi_fd_read(int fd, void *buf, size_t size);
ssize_t thi_fd_readv(int fd, const struct iovec *iov, int count);
ssize_t thi_fd_write(int fd, const void *buf, size_t size);
ssize_t thi_fd_writev(int fd, const struct iovec *iov, int count);
int thi_fd_close(int fd);

/* As write and writev, without SIGPIPE. */
ssize_t thi_fd_write_quietly(int fd, const struct iovec *iov, int count);

/* For reading nothing and writing nowhere; close-on-exec. */
int thi_null_open(int *fd);

/* A pipe; its record stays where it is. The process that has it is the only one that keeps its ends, but for
 * those that are handed to a program: forked children do not. Returns 0 or an error of the system, and then
 * there is nothing to be closed. */
typedef struct thi_pipe {
    int fd[2]; /* to read from, to write to; -1: closed, or in a forked child */
    struct thi_pipe *next;
    struct thi_pipe **link;
} thi_pipe_t;
#define THI_PIPE_NONE ((thi_pipe_t){{-1, -1}, NULL, NULL})
int thi_pipe_open(thi_pipe_t *pipe, int nonblocking_end);
void thi_pipe_close_end(thi_pipe_t *pipe, int end);
void thi_pipe_close(thi_pipe_t *pipe);
size_t thi_pipe_waiting(int fd); /* bytes that can be read */

/* Packets between the two ends of a pair: whole or not at all. Nothing waits: EAGAIN. A peer that is gone:
 * EPIPE for who sends; for who receives a length of 0, and then it is over. */
#define THI_PACKET_FDS ((size_t)253)
int thi_packet_pair(int fd[2]);
int thi_packet_room(int fd, size_t *room); /* the most bytes of one. EINVAL: it is no such end */
int thi_packet_send(int fd, const struct iovec *iov, int count, const int *fds, size_t n);
int thi_packet_look(int fd, void *head, size_t size,
                    size_t *length); /* the next one's head and whole length */
bool thi_packet_over(int fd);
int thi_packet_fds(int fd, int *fds, size_t n,
                   size_t *got); /* its first descriptors; EMFILE, and then none */
int thi_packet_take(int fd, const struct iovec *iov, int count, size_t *length);
void thi_packet_shut(int fd); /* for whoever has a copy of the end, and for the peer */

/* A file in memory that nobody can change any more; whether it is one and has so many bytes, which nobody waits
 * for; those bytes (EBADMSG: it is none). */
int thi_bytes_file(const void *data, size_t size, int *fd);
bool thi_bytes_are(int fd, uint64_t size);
int thi_bytes_read(int fd, void *data, size_t size);

/* Pollers: of many descriptors, whichever become ready. open and arm return an error of the system.
 * A poller tells once of a descriptor that was armed; with `keep` again and again while it is ready. EPERM:
 * it is always ready. One that is closed is forgotten. */
int thi_poller_open(int *poller);
void thi_poller_close(int poller);
int thi_poller_arm(int poller, int fd, unsigned events, bool keep);

/* Waits until something is ready, or the deadline: how many were stored. */
size_t thi_poller_wait(int poller, thi_polled_t *polled, size_t n, thrum_time_t deadline);

/* An alarm: a descriptor that is readable from the deadline on (THRUM_FOREVER: never). */
int thi_alarm_open(int *fd);
void thi_alarm_set(int fd, thrum_time_t deadline);

/* --- signals: a descriptor that is readable or not --------------------------------------------------
 * open returns 0, or ENFILE, EMFILE, ENOMEM, ENOSYS. */
int thi_signal_open(int *fd);
void thi_signal_set(int fd, bool readable); /* changes what it was: never twice the same */
void thi_signal_close(int fd);

/* --- SIGTERM, for the calling thread; the descriptor is readable when one has come: taken takes it. open returns 0,
 * EMFILE, ENFILE, ENOMEM, ENOSYS. */
void thi_terminate_block(void);
int thi_terminate_open(int *fd);
bool thi_terminate_taken(int fd);

/* --- sockets ----------------------------------------------------------------------------------------
 * How long a call may wait that waits in the system (ns; 0: for ever). */
void thi_fd_set_limits(int fd, int64_t receive, int64_t send);

/* Waits for the first byte: how many; or an error, negative, -EAGAIN: the limit has passed. */
ssize_t thi_fd_receive(int fd, void *buf, size_t size);

/* Of a file: how many bytes, which `*offset` is moved by, 0 at its end; or an error, negative. */
ssize_t thi_fd_sendfile(int socket, int file, int64_t *offset, size_t size);

int thi_fd_duplicate(int fd, int *copy); /* close-on-exec */
void thi_fd_share_address(int fd);       /* with other sockets that say so */

/* --- memory shared with children -------------------------------------------------------------------
 * Zeroed pages, as the child sees them after a fork. Only `size` bytes of address space: memory comes with the
 * first touch, or with claim, which fails (false) where there is none. forget gives contents back. */
void *thi_shared_map(size_t size);
void thi_shared_unmap(void *pages, size_t size);
bool thi_shared_claim(void *pages, size_t size);
void thi_shared_forget(void *pages, size_t size);

/* --- families of processes: a process pool's ---------------------------------------------------------
 *
 *     parent --found--> spawner --bear--> worker, worker, ...
 *
 * The channel: messages of one size, in order, each whole or not at all, and a descriptor with it. */
typedef struct thi_message {
    uint32_t what;
    uint32_t slot;
    uint32_t generation;
    int32_t value;  /* a process id, an exit code, an error */
    int32_t signal; /* what ended it; 0: none */
} thi_message_t;

typedef struct thi_found {
    int32_t pid; /* 0: this is the child */
    int pidfd; /* the parent's: readable when the spawner has ended. The child's: the parent has */
    int channel; /* this side's end */
} thi_found_t;

/* Forks. Both return. 0, or EAGAIN, ENOMEM, EMFILE, ENFILE, ENOSYS: there is no child. */
int thi_family_found(thi_found_t *found);

/* In the spawner, first: its own session, deaf to signals, where all orphans of the family come to. */
void thi_family_settle(void);

/* In the spawner, which has one thread: a worker. In it (pid 0) the channel and `parent` are closed, it has its own
 * session, gathers orphans itself, hears signals as the founder did, and dies with the spawner. 0, or an error. */
int thi_family_bear(const thi_found_t *found, int32_t *pid, int *pidfd);

/* Sends, without waiting; `fd` goes along unless it is below 0. 0; EAGAIN: it cannot be sent yet; another error:
 * the other side is gone. */
int thi_family_tell(int channel, const thi_message_t *message, int fd);

/* Takes the next message, without waiting: 0, EAGAIN, or ESHUTDOWN: the other side is gone. */
int thi_family_hear(int channel, thi_message_t *message, int *fd);

/* SIGKILL. Through the descriptor, so that it reaches nobody else. */
void thi_family_kill(int pidfd);

/* Whether the process of a descriptor has ended; of one's own child, reaps it and tells how: an exit code, and a
 * signal or 0. */
bool thi_family_ended(int pidfd);
bool thi_family_reap(int32_t pid, int32_t *exit_code, int32_t *signal);

/* Takes the end of a process that has ended from the system, if it is a child: by the descriptor, since its number may
 * be another's if somebody else has waited for it. */
void thi_family_forget(int pidfd);

/* In the spawner: kills children that are not among the `n` processes, and what comes after them, until there is
 * none, or for some time. */
void thi_family_sweep(const int32_t *keep, size_t n);

/* Kills what is left of the session of a process that has ended. */
void thi_family_kill_session(int32_t session);

/* In a worker: at most so many bytes of data more than it has now. False: the system refuses. */
bool thi_family_limit(size_t bytes);
void thi_family_name(const char *name);
_Noreturn void thi_family_leave(int status); /* without the program's exit handlers */
void thi_family_flush(void);                 /* standard output and error */

/* Ranges of addresses of code that is loaded now, in rising order: how many were stored, at most n. */
typedef struct thi_code {
    uintptr_t begin;
    uintptr_t end;
} thi_code_t;
size_t thi_code_loaded(thi_code_t *ranges, size_t n);

/* --- names for people ---------------------------------------------------------------------------- */

/* Writes what stands at an address of the program or of a library: "symbol", "symbol+0x1f", or
 * "file+0x4010" where the symbols are not exported; "" for stacks, the heap and the like. */
void thi_symbol_name(const void *address, char *buf, size_t size);

/* The system's words for an error code; NULL when it has none. Any thread; never freed. */
const char *thi_error_text(int err);

/* --- single-threaded processes ------------------------------------------------------------------
 * True only while no other thread can exist, so that locked instructions may be left out. */
#if defined(__GLIBC__) && !defined(THRUM_SIM) && !defined(__SANITIZE_THREAD__) &&                  \
    !defined(THI_CLANG_TSAN)
#include <sys/single_threaded.h>
static inline bool thi_single_threaded(void)
{
    return __libc_single_threaded != 0;
}
#else
static inline bool thi_single_threaded(void)
{
    return false;
}
#endif

/* Thread-local storage of the library is a few words, so that it may live in the static block also
 * when the library is loaded late. Other C libraries cannot do that. */
#if defined(__GLIBC__)
#define THI_TLS_MODEL __attribute__((tls_model("initial-exec")))
#else
#define THI_TLS_MODEL
#endif

#include "os/disk.h"
#include "os/fault.h"
#include "os/transmit.h"

#endif /* THI_OS_H */
