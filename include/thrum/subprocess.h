#ifndef THRUM_SUBPROCESS_H
#define THRUM_SUBPROCESS_H

#include <sys/types.h>

#include <thrum/base.h>
#include <thrum/time.h>

THRUM_BEGIN_DECLS

/**
 * @file
 * Other programs: run with pipes to them, talked to without deadlock and within limits, waited for and ended
 * with all that they have started.
 *
 *     const char *argv[] = {"sort", "-u", NULL};
 *     thrum_output_t output;
 *     int err = thrum_subprocess_run(argv, NULL, text, strlen(text), 1 << 20, thrum_after(THRUM_S(10)), &output);
 *     if (err == 0 && output.code == 0)
 *         fwrite(output.out, 1, output.out_size, stdout);
 *     thrum_output_free(&output);
 *
 * Program  argv[0], looked up in PATH (that of the program's own environment) unless there is a slash in it; a
 *          relative path counts from the directory that the program is to have. There is no shell unless
 *          thrum_subprocess_shell is called. What keeps the program from beginning is the error of the
 *          spawn: ENOENT, EACCES, ENOEXEC, E2BIG ... of the program or of the directory.
 * Inherits The three streams as the config says, what it passes, and no other descriptor of this process, be it
 *          close-on-exec or not. No signal is blocked and none ignored (see keep_ignored). Umask, limits,
 *          user and the rest are this process's.
 * Pipes    This process's ends are closed in whatever it forks, whoever does so, and are close-on-exec: nobody
 *          else keeps a program from hearing of the end of its input. Use thrum_io_read, thrum_io_write and
 *          the like on them; a write that nobody will read is EPIPE. No SIGPIPE comes to this process.
 * Group    A program has a process group of its own unless the config says otherwise, and terminate, kill and
 *          signal go to all of it, also when the program itself has ended and others of its group have
 *          not. (Before Linux 6.9: until a wait has seen its end.) A group of its own is not in the
 *          foreground of a terminal: who reads from one wants THRUM_SUBPROCESS_SAME_GROUP.
 * End      Seen by a descriptor of the process. SIGCHLD is not used (it comes as for any child, also for a program that
 *          could not begin, whose spawn has failed), nobody else's child is waited for, and it
 *          does not matter whether this process ignores SIGCHLD or waits for any child. (Before Linux 6.15
 *          the exit code is then -SIGKILL, as nobody knows it.)
 * Handles  A thrum_subprocess_t is counted. With the last reference go this process's ends of the pipes; a program
 *          that is still running runs on, and is taken off the system's list of processes by a spawn or a
 *          release that comes after its end; until then it takes a descriptor. The process's own end does not
 *          wait for programs and ends none.
 * Ordering What this process wrote to files and shared memory before a spawn is there for the program; what the
 *          program wrote is there for whoever has seen its end.
 * Context  Any strand. A spawn keeps its thread until the program has begun (some tenths of a millisecond,
 *          however large this process is; longer where the file is far away). Waits park a coroutine only, and
 *          are ended by cancellation.
 * Fork     A forked child has no programs: what it inherited says EOWNERDEAD, and the pipes are closed in it.
 */

/** A program that was started; made by thrum_subprocess_spawn. */
typedef struct thrum_subprocess thrum_subprocess_t;

/** What a stream is to be. */
typedef enum thrum_stream_kind {
    THRUM_STREAM_INHERIT,    /**< this process's own */
    THRUM_STREAM_NULL,       /**< /dev/null */
    THRUM_STREAM_PIPE,       /**< a pipe to this process */
    THRUM_STREAM_DESCRIPTOR, /**< a descriptor of this process, which keeps it */
    THRUM_STREAM_OUT,        /**< of err: wherever out goes */
} thrum_stream_kind_t;

/** What one of the three streams is to be; a descriptor only where the kind asks for one. */
typedef struct thrum_stream {
    thrum_stream_kind_t kind; /**< by all zero: inherited */
    int fd;                   /**< of THRUM_STREAM_DESCRIPTOR */
} thrum_stream_t;

/** A descriptor that the program is to have besides its streams. */
typedef struct thrum_descriptor {
    int fd; /**< this process's, which keeps it */
    int as; /**< its number there: at least 3, no two the same */
} thrum_descriptor_t;

/** Whose process group a program is in. */
typedef enum thrum_subprocess_group {
    THRUM_SUBPROCESS_OWN_GROUP,   /**< one of its own, in this process's session */
    THRUM_SUBPROCESS_OWN_SESSION, /**< a group in a session of its own, without a terminal */
    THRUM_SUBPROCESS_SAME_GROUP,  /**< this process's: signals go to the program alone */
} thrum_subprocess_group_t;

/** How a program is to be run. Start from THRUM_SUBPROCESS_CONFIG_INIT. It is read by the spawn, and not after. */
typedef struct thrum_subprocess_config {
    /** What to execute; NULL: what argv[0] says. */
    const char *program;
    /** Where it begins; NULL: where this process is. */
    const char *dir;
    /** All of its environment: "NAME=value", NULL at the end. NULL: this process's, which nobody may change
     *  meanwhile. */
    const char *const *env;
    /** Changes to that, in order: "NAME=value" sets, "NAME" takes away. NULL: none. */
    const char *const *env_changes;
    thrum_stream_t in;  /**< its standard input */
    thrum_stream_t out; /**< its standard output */
    thrum_stream_t err; /**< its standard error */
    /** Further descriptors, and how many: at most 1024. */
    const thrum_descriptor_t *pass;
    size_t pass_count;              /**< how many of them */
    thrum_subprocess_group_t group; /**< one of its own unless told otherwise */
    /** What this process ignores (SIGHUP under nohup) is ignored there, too. */
    bool keep_ignored;
    /** Nanoseconds: how long thrum_subprocess_communicate, once the program has ended, goes on for others that have
     *  its streams. THRUM_FOREVER: until they have closed them. */
    int64_t linger;
    /** Set by THRUM_SUBPROCESS_CONFIG_INIT; 0: this first version. */
    size_t config_size;
} thrum_subprocess_config_t;

/** The defaults: streams inherited, this process's environment and directory, a group of its own. */
#define THRUM_SUBPROCESS_CONFIG_INIT                                                               \
    {                                                                                              \
        NULL, NULL, NULL, NULL, {THRUM_STREAM_INHERIT, -1}, {THRUM_STREAM_INHERIT, -1},            \
            {THRUM_STREAM_INHERIT, -1}, NULL, 0, THRUM_SUBPROCESS_OWN_GROUP, false, 0,             \
            sizeof(thrum_subprocess_config_t)                                                      \
    }

/** Runs a program; argv ends with NULL. A NULL config: the defaults. `p` may be NULL when nobody will ask.
 *  @return 0; and otherwise nothing runs and nothing is left open: EINVAL (NULL, an argv without anything, a
 *  config that makes no sense), EBADF (a descriptor that is none, or cannot be), EMFILE, ENFILE, ENOMEM, EAGAIN (the
 *  system's limit of processes), ENOSYS (the system has no descriptors of processes: before Linux 5.4), or an
 *  error of execve(2), chdir(2) or open(2). */
THRUM_API int thrum_subprocess_spawn(thrum_subprocess_t **p, const char *const *argv,
                                     const thrum_subprocess_config_t *config);

/** The same for a line of the shell: /bin/sh -c -- command. Never make one of what comes from outside. */
THRUM_API int thrum_subprocess_shell(thrum_subprocess_t **p, const char *command,
                                     const thrum_subprocess_config_t *config);

/* ------------------------------------------------------------------------------------------------
 * Streams
 */

/** This process's end of a stream that is a pipe: in is written to, out and err are read from; they do not block.
 *  Borrowed: closed by release, or by thrum_subprocess_close. @return -1: it is none, or closed. */
THRUM_API int thrum_subprocess_in(thrum_subprocess_t *p);
/** The same of out. */
THRUM_API int thrum_subprocess_out(thrum_subprocess_t *p);
/** The same of err. */
THRUM_API int thrum_subprocess_err(thrum_subprocess_t *p);

/** Closes this process's end of that number; whoever waits on it has ECANCELED. That of in tells the program the
 *  end of its input. @return 0, or EBADF (it is none of the three). */
THRUM_API int thrum_subprocess_close(thrum_subprocess_t *p, int fd);

/** What a program wrote, and what became of it. */
typedef struct thrum_output {
    char *out; /**< what came from out, with a '\0' behind it that is not counted; NULL: no pipe */
    size_t out_size; /**< how many bytes */
    char *err;       /**< the same from err */
    size_t err_size; /**< how many bytes */
    size_t written;  /**< how much of the input went into the pipe */
    bool ended;      /**< it has ended, and this is how: */
    int code;        /**< its exit code, or the signal that ended it, negative */
    size_t thrum_private[2];
} thrum_output_t;

/** Writes `size` bytes of input and closes in, reads out and err to their ends, and waits for the program's end: all
 *  at once, so that neither waits for the other. What is no pipe is left alone; a program that does not read its
 *  input to the end is no error (see `written`). Once the program itself has ended, what it wrote is read, and
 *  whoever else has its streams is not waited for (see linger).
 *
 *  At most `limit` bytes of output are kept, of both together. When that, the deadline, or anything else ends the
 *  call early, `*output` has what came so far, `limit` bytes at most, and the program runs on: kill it, or call
 *  again with the rest of the input, for what comes from then on. (Without any input then, in is closed.)
 *
 *  `*output` is set in every case but EINVAL; give it back by thrum_output_free. NULL: what comes is thrown away.
 *  @return 0 (it has ended, however), EMSGSIZE (more than `limit`), ETIMEDOUT, ECANCELED, ENOMEM, EBUSY (another
 *  strand is in this call for the same program), EMFILE or ENFILE (no descriptor to wait with), EOWNERDEAD, EINVAL
 *  (NULL), or an error of read(2). */
THRUM_API int thrum_subprocess_communicate(thrum_subprocess_t *p, const void *input, size_t size,
                                           size_t limit, thrum_time_t deadline,
                                           thrum_output_t *output);

/** Frees what is in it, and leaves it empty. NULL, and one that is all zero: nothing. */
THRUM_API void thrum_output_free(thrum_output_t *output);

/** Spawn, communicate and release in one. A NULL config: out and err are pipes, and in is one if there is input, or
 *  else null. If communicate returns an error, the program's group is killed. @return as those. `*output` is set in
 *  every case but EINVAL. */
THRUM_API int thrum_subprocess_run(const char *const *argv, const thrum_subprocess_config_t *config,
                                   const void *input, size_t size, size_t limit,
                                   thrum_time_t deadline, thrum_output_t *output);

/* ------------------------------------------------------------------------------------------------
 * The end
 */

/** Waits until the program has ended; `*code` (may be NULL) gets its exit code, or the signal that ended it,
 *  negative. Any number of strands may, any number of times. One that waits to be read waits for ever: see
 *  communicate. @return 0, ECANCELED, EMFILE or ENFILE (no descriptor to wait with), EOWNERDEAD, ENOMEM, or EINVAL
 *  (NULL). */
THRUM_API int thrum_subprocess_wait(thrum_subprocess_t *p, int *code);

/** The same, or EAGAIN: it has not ended. Never waits. */
THRUM_API THRUM_NODISCARD int thrum_subprocess_poll(thrum_subprocess_t *p, int *code);

/** The same, or ETIMEDOUT. */
THRUM_API THRUM_NODISCARD int thrum_subprocess_wait_until(thrum_subprocess_t *p, int *code,
                                                          thrum_time_t deadline);

/** Sends SIGTERM to the program's group (to the program alone if it has none of its own).
 *  @return 0, ESRCH (nobody is left), EPERM (all of them are somebody else's by now), EOWNERDEAD, or EINVAL. */
THRUM_API int thrum_subprocess_terminate(thrum_subprocess_t *p);

/** The same with SIGKILL. */
THRUM_API int thrum_subprocess_kill(thrum_subprocess_t *p);

/** The same with any signal; 0: only asks whether there is somebody. EINVAL also: no such signal. */
THRUM_API int thrum_subprocess_signal(thrum_subprocess_t *p, int signal);

/** Its number. Once its end has been seen it may be another's. */
THRUM_API pid_t thrum_subprocess_pid(const thrum_subprocess_t *p);

/** A descriptor that is readable once it has ended, for thrum_select and event loops; borrowed. -1: in a forked
 *  child. */
THRUM_API int thrum_subprocess_fd(const thrum_subprocess_t *p);

/** Another reference. @return `p` */
THRUM_API thrum_subprocess_t *thrum_subprocess_retain(thrum_subprocess_t *p);

/** Gives a reference back. NULL: nothing. */
THRUM_API void thrum_subprocess_release(thrum_subprocess_t *p);

THRUM_END_DECLS
#endif /* THRUM_SUBPROCESS_H */
