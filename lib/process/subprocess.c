/*
 * Subprocesses: how they are started and given up. Their end is in subprocess_end.c, talking to them in
 * subprocess_communicate.c, what they are made of in subprocess_plan.c.
 */
#include <string.h>

#include "coroutine/coroutine.h"
#include "process/subprocess.h"

#define PASS_AT_MOST 1024u

/* ------------------------------------------------------------------------------------------------
 * Those that nobody has a reference to: they are looked after whenever another comes or goes
 */

static thrum_subprocess_t *abandoned;
static thi_lock_t abandoned_lock;

static void destroy(thrum_subprocess_t *p)
{
    thi_process_close(&p->child);
    thi_free(p, sizeof *p);
}

/* Takes those that have ended out of the list. */
static thrum_subprocess_t *take_ended(void)
{
    thrum_subprocess_t *ended = NULL;
    thrum_subprocess_t **link = &abandoned;
    while (*link != NULL) {
        thrum_subprocess_t *p = *link;
        int code = 0;
        if (thi_process_poll(&p->child, &code) == EAGAIN) {
            link = &p->next;
        } else {
            thi_store_relaxed(link, p->next);
            p->next = ended;
            ended = p;
        }
    }
    return ended;
}

static void sweep(void)
{
    /* Relaxed: who has just been left there may wait for the next one. */
    if (thi_load_relaxed(&abandoned) == NULL)
        return;
    thi_lock(&abandoned_lock, THI_RANK_PROGRAMS);
    thrum_subprocess_t *ended = take_ended();
    thi_unlock(&abandoned_lock, THI_RANK_PROGRAMS);
    while (ended != NULL) {
        thrum_subprocess_t *next = ended->next;
        destroy(ended);
        ended = next;
    }
}

static void abandon(thrum_subprocess_t *p)
{
    thi_lock(&abandoned_lock, THI_RANK_PROGRAMS);
    p->next = abandoned;
    thi_store_relaxed(&abandoned, p);
    thi_unlock(&abandoned_lock, THI_RANK_PROGRAMS);
}

/* They are the parent's. */
static void after_fork_in_child(void)
{
    abandoned_lock = (thi_lock_t){0};
    abandoned = NULL;
}

__attribute__((constructor)) static void at_load(void)
{
    thi_strand_at_load();
    thi_at_fork(NULL, NULL, after_fork_in_child);
}

/* ------------------------------------------------------------------------------------------------
 * Streams
 */

bool thi_stdio_close(thrum_subprocess_t *p, int stream)
{
    const int fd = thi_stdio_fd(p, stream);
    uint32_t open = 0;
    if (fd < 0 || !thi_cas_relaxed(&p->closing[stream], &open, 1u))
        return false;
    thi_waitfd_closed(fd);
    thi_subprocess_enter(p);
    thi_pipe_close_end(&p->pipes[stream], thi_stdio_ours(stream));
    thi_subprocess_leave(p);
    thi_waitfd_look_again(fd);
    return true;
}

static void close_streams(thrum_subprocess_t *p)
{
    for (int i = 0; i < THI_STREAMS; i++) {
        thi_stdio_close(p, i);
        thi_pipe_close(&p->pipes[i]);
    }
}

static const thrum_stream_t *stream_of(const thrum_subprocess_config_t *config, int stream)
{
    return stream == 0 ? &config->in : stream == 1 ? &config->out : &config->err;
}

/* `*from` gets what is to be the program's stream; its own number: it stays as it is. */
static int open_stream(thrum_subprocess_t *p, const thrum_subprocess_config_t *config, int stream,
                       int *null, int *from)
{
    const thrum_stream_t *s = stream_of(config, stream);
    int err = 0;
    switch (s->kind) {
    case THRUM_STREAM_PIPE:
        p->piped[stream] = true;
        err = thi_pipe_open(&p->pipes[stream], thi_stdio_ours(stream));
        *from = p->pipes[stream].fd[1 - thi_stdio_ours(stream)];
        break;
    case THRUM_STREAM_NULL:
        if (*null < 0)
            err = thi_null_open(null);
        *from = *null;
        break;
    case THRUM_STREAM_DESCRIPTOR:
        *from = s->fd;
        break;
    case THRUM_STREAM_OUT: /* of err: `*from` is that of out */
        break;
    default:
        *from = stream;
        break;
    }
    return err;
}

static int open_streams(thrum_subprocess_t *p, const thrum_subprocess_config_t *config, int *null,
                        thi_exec_t *exec)
{
    int err = 0;
    int from = -1;
    for (int i = 0; err == 0 && i < THI_STREAMS; i++) {
        err = open_stream(p, config, i, null, &from);
        /* One that has that number already is told so, unless it is simply inherited. */
        if (err == 0 && (from != i || stream_of(config, i)->kind != THRUM_STREAM_INHERIT))
            exec->fds[exec->fd_count++] = (thi_exec_fd_t){from, i};
    }
    for (size_t i = 0; i < config->pass_count; i++)
        exec->fds[exec->fd_count++] = (thi_exec_fd_t){config->pass[i].fd, config->pass[i].as};
    return err;
}

static void close_theirs(thrum_subprocess_t *p)
{
    for (int i = 0; i < THI_STREAMS; i++)
        thi_pipe_close_end(&p->pipes[i], 1 - thi_stdio_ours(i));
}

static int start(thrum_subprocess_t *p, const char *const *argv,
                 const thrum_subprocess_config_t *config)
{
    thi_plan_t plan = {0};
    int null = -1;
    int err = thi_plan_make(&plan, argv, config);
    if (err != 0)
        return err;
    err = open_streams(p, config, &null, &plan.exec);
    if (err == 0)
        err = thi_process_spawn(&p->child, &plan.exec);
    if (null >= 0)
        thi_fd_close(null);
    thi_plan_end(&plan);
    if (err != 0) {
        close_streams(p);
        return err;
    }
    close_theirs(p);
    p->pid = p->child.pid;
    p->has_group = config->group != THRUM_SUBPROCESS_SAME_GROUP;
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * What is asked for
 */

static bool is_stream(const thrum_stream_t *s, bool may_be_out)
{
    switch (s->kind) {
    case THRUM_STREAM_INHERIT:
    case THRUM_STREAM_NULL:
    case THRUM_STREAM_PIPE:
        return true;
    case THRUM_STREAM_DESCRIPTOR:
        return s->fd >= 0;
    default:
        return s->kind == THRUM_STREAM_OUT && may_be_out;
    }
}

static bool are_descriptors(const thrum_descriptor_t *pass, size_t n)
{
    if ((pass == NULL && n != 0) || n > PASS_AT_MOST)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (pass[i].fd < 0 || pass[i].as < THI_STREAMS)
            return false;
        for (size_t k = 0; k < i; k++) {
            if (pass[k].as == pass[i].as)
                return false;
        }
    }
    return true;
}

static bool is_config(const thrum_subprocess_config_t *config)
{
    if (!THI_IS_CONFIG(config))
        return false;
    return is_stream(&config->in, false) && is_stream(&config->out, false) &&
           is_stream(&config->err, true) && are_descriptors(config->pass, config->pass_count) &&
           (unsigned)config->group <= THRUM_SUBPROCESS_SAME_GROUP && config->linger >= 0;
}

int thrum_subprocess_spawn(thrum_subprocess_t **p, const char *const *argv,
                           const thrum_subprocess_config_t *config)
{
    static const thrum_subprocess_config_t defaults = THRUM_SUBPROCESS_CONFIG_INIT;
    if (config == NULL)
        config = &defaults;
    if (argv == NULL || argv[0] == NULL || !is_config(config))
        return EINVAL;
    sweep();
    thrum_subprocess_t *made = thi_alloc(sizeof *made);
    if (made == NULL)
        return ENOMEM;
    made->refs = 1;
    made->fork_mark = thi_fork_mark;
    made->linger = config->linger;
    for (int i = 0; i < THI_STREAMS; i++)
        made->pipes[i] = THI_PIPE_NONE;
    const int err = start(made, argv, config);
    if (err != 0)
        thi_free(made, sizeof *made);
    else if (p != NULL)
        *p = made;
    else
        thrum_subprocess_release(made);
    return err;
}

int thrum_subprocess_shell(thrum_subprocess_t **p, const char *command,
                           const thrum_subprocess_config_t *config)
{
    const char *const argv[] = {"/bin/sh", "-c", "--", command, NULL};
    return command != NULL ? thrum_subprocess_spawn(p, argv, config) : EINVAL;
}

int thrum_subprocess_in(thrum_subprocess_t *p)
{
    return p != NULL ? thi_stdio_fd(p, 0) : -1;
}

int thrum_subprocess_out(thrum_subprocess_t *p)
{
    return p != NULL ? thi_stdio_fd(p, 1) : -1;
}

int thrum_subprocess_err(thrum_subprocess_t *p)
{
    return p != NULL ? thi_stdio_fd(p, 2) : -1;
}

int thrum_subprocess_close(thrum_subprocess_t *p, int fd)
{
    if (p == NULL)
        return EINVAL;
    for (int i = 0; fd >= 0 && i < THI_STREAMS; i++) {
        if (thi_stdio_fd(p, i) == fd && thi_stdio_close(p, i))
            return 0;
    }
    return EBADF;
}

thrum_subprocess_t *thrum_subprocess_retain(thrum_subprocess_t *p)
{
    /* Relaxed: whoever has a reference gives another. */
    thi_fetch_add_relaxed(&p->refs, 1u);
    return p;
}

void thrum_subprocess_release(thrum_subprocess_t *p)
{
    /* R1: each release before the last one, which is an acquire of all of them. */
    if (p == NULL || thi_fetch_sub_acq_rel(&p->refs, 1u) != 1)
        return;
    close_streams(p);
    sweep();
    if (thi_subprocess_inherited(p) || thi_subprocess_ask(p) == 0)
        destroy(p);
    else
        abandon(p);
}
