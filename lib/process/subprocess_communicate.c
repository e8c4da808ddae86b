/*
 * Talking to a subprocess: whatever of its streams is ready is served, until it has ended and has been heard out.
 *
 *   until its end          the input is written, output is read, its descriptor watched
 *   from then on (linger)  others may have its streams; they are served as before
 *   when that is over      what is in the pipes at this moment is read: all that the program itself wrote is.
 *                          Not more, for others may go on for ever
 *
 * Invariants
 *   I1  Each look at the streams is followed by one at the deadline and at cancellation, so somebody who writes
 *       without end cannot keep the call from ending; and other coroutines have their turn.
 *   I2  What was read is in a sink, and is handed out whatever ends the call.
 */
#include <poll.h>
#include <string.h>
#include <sys/uio.h>

#include <thrum/cancel.h>
#include <thrum/io.h>
#include <thrum/loop.h>

#include "process/subprocess.h"

#define FIRST_CAPACITY ((size_t)4096)
#define PIECE ((size_t)65536)

/* Where output goes. `data` has room for one more than `size` may become, for the end of the text. */
typedef struct sink {
    int stream; /* 1, 2 */
    char *data;
    size_t size;
    size_t capacity;
} sink_t;

typedef struct talk {
    thrum_subprocess_t *p;
    const char *input;
    size_t left;
    size_t limit;
    thrum_time_t deadline;
    bool keeps; /* else what comes is thrown away */
    sink_t sinks[2];
    size_t written;
    bool ended;
    thrum_time_t linger_until;
} talk_t;

/* ------------------------------------------------------------------------------------------------
 * Streams. Under the lock, for another strand may close one: then its number is another descriptor's. How many
 * bytes, or an error, negative; -EAGAIN also when it is closed.
 */

static ssize_t outcome(ssize_t n)
{
    if (n >= 0)
        return n;
    return errno == EINTR ? -EAGAIN : -(ssize_t)errno;
}

static ssize_t read_stream(thrum_subprocess_t *p, int stream, void *buf, size_t size)
{
    thi_subprocess_enter(p);
    const int fd = thi_stdio_fd(p, stream);
    const ssize_t n = fd >= 0 ? outcome(thi_fd_read(fd, buf, size)) : -EAGAIN;
    thi_subprocess_leave(p);
    return n;
}

static ssize_t write_in(thrum_subprocess_t *p, const void *data, size_t size)
{
    const struct iovec piece = {(void *)(uintptr_t)data, size};
    thi_subprocess_enter(p);
    const int fd = thi_stdio_fd(p, 0);
    const ssize_t n = fd >= 0 ? outcome(thi_fd_write_quietly(fd, &piece, 1)) : -EAGAIN;
    thi_subprocess_leave(p);
    return n;
}

static size_t waiting_in(thrum_subprocess_t *p, int stream)
{
    thi_subprocess_enter(p);
    const int fd = thi_stdio_fd(p, stream);
    const size_t n = fd >= 0 ? thi_pipe_waiting(fd) : 0;
    thi_subprocess_leave(p);
    return n;
}

/* ------------------------------------------------------------------------------------------------
 * Sinks
 */

static bool grow(sink_t *sink, size_t capacity)
{
    char *data = thi_alloc(capacity);
    if (data == NULL)
        return false;
    if (sink->size != 0)
        memcpy(data, sink->data, sink->size);
    thi_free(sink->data, sink->capacity);
    sink->data = data;
    sink->capacity = capacity;
    return true;
}

/* How much more may be kept. */
static size_t room(const talk_t *t)
{
    return t->keeps ? t->limit - t->sinks[0].size - t->sinks[1].size : PIECE;
}

/* Makes room for some bytes, at least 1 and at most `wanted`; 0: no memory. */
static size_t reserve(sink_t *sink, size_t wanted)
{
    size_t free = sink->capacity - sink->size - 1;
    if (free == 0) {
        if (sink->capacity > SIZE_MAX / 2 || !grow(sink, sink->capacity * 2))
            return 0;
        free = sink->capacity - sink->size - 1;
    }
    return free < wanted ? free : wanted;
}

/* Reads at most `most`. `*n` is 0 when there is nothing (more, now). An end closes the stream. */
static int read_into(talk_t *t, sink_t *sink, size_t most, size_t *n)
{
    *n = 0;
    if (!t->keeps)
        sink->size = 0;
    const size_t size = reserve(sink, most);
    if (size == 0)
        return ENOMEM;
    const ssize_t got = read_stream(t->p, sink->stream, sink->data + sink->size, size);
    if (got < 0)
        return got == -EAGAIN ? 0 : (int)-got;
    if (got == 0)
        thi_stdio_close(t->p, sink->stream);
    sink->size += (size_t)got;
    *n = (size_t)got;
    return 0;
}

/* Something can be read, or the end has come. */
static int hear(talk_t *t, sink_t *sink, short events)
{
    size_t n = 0;
    if (room(t) != 0)
        return read_into(t, sink, room(t) < PIECE ? room(t) : PIECE, &n);
    if ((events & POLLIN) != 0)
        return EMSGSIZE;
    thi_stdio_close(t->p, sink->stream);
    return 0;
}

/* What is there now. */
static int hear_out(talk_t *t, sink_t *sink)
{
    size_t left = waiting_in(t->p, sink->stream);
    size_t n = 1;
    int err = 0;
    while (err == 0 && left != 0 && n != 0) {
        const size_t most = room(t) < left ? room(t) : left;
        err = most != 0 ? read_into(t, sink, most, &n) : EMSGSIZE;
        left -= n < left ? n : left;
    }
    return err;
}

/* ------------------------------------------------------------------------------------------------
 * Input
 */

static void stop_speaking(talk_t *t)
{
    thi_stdio_close(t->p, 0);
}

/* A program that does not want to hear it all is no error. */
static void speak(talk_t *t)
{
    const ssize_t n =
        t->left != 0 ? write_in(t->p, t->input, t->left < PIECE ? t->left : PIECE) : 0;
    if (n > 0) {
        t->input += n;
        t->left -= (size_t)n;
        t->written += (size_t)n;
    }
    if (t->left == 0 || (n < 0 && n != -EAGAIN))
        stop_speaking(t);
}

/* ------------------------------------------------------------------------------------------------
 * The conversation
 */

static void look_for_end(talk_t *t)
{
    if (t->ended || thi_subprocess_ask(t->p) != 0)
        return;
    t->ended = true;
    t->linger_until = t->p->linger != 0 ? thrum_after(t->p->linger) : 0;
}

static bool hears_none(const talk_t *t)
{
    return thi_stdio_fd(t->p, 1) < 0 && thi_stdio_fd(t->p, 2) < 0;
}

static bool is_over(const talk_t *t)
{
    return t->ended && (hears_none(t) || t->linger_until == 0 || thrum_now() >= t->linger_until);
}

static int serve(talk_t *t, const struct pollfd *fds)
{
    int err = 0;
    if (fds[0].revents != 0)
        speak(t);
    for (int i = 0; err == 0 && i < 2; i++) {
        if (fds[1 + i].revents != 0)
            err = hear(t, &t->sinks[i], fds[1 + i].revents);
    }
    if (err == 0 && fds[3].revents != 0)
        look_for_end(t);
    return err;
}

/* I1 */
static int may_go_on(const talk_t *t)
{
    if (thrum_cancelled())
        return ECANCELED;
    if (t->deadline != THRUM_FOREVER && thrum_now() >= t->deadline)
        return ETIMEDOUT;
    thrum_yield();
    return 0;
}

static int turn(talk_t *t)
{
    struct pollfd fds[4] = {
        {.fd = thi_stdio_fd(t->p, 0), .events = POLLOUT},
        {.fd = thi_stdio_fd(t->p, 1), .events = POLLIN},
        {.fd = thi_stdio_fd(t->p, 2), .events = POLLIN},
        {.fd = t->ended ? -1 : t->p->child.pidfd, .events = POLLIN},
    };
    const bool lingers = t->ended && t->linger_until < t->deadline;
    int err = thrum_io_poll(fds, 4, NULL, lingers ? t->linger_until : t->deadline);
    if (err == ETIMEDOUT && lingers)
        return 0;
    if (err == ECANCELED &&
        !thrum_cancelled()) /* one of them was closed by somebody: the others are left */
        return 0;
    if (err == 0)
        err = serve(t, fds);
    if (err == 0)
        err = may_go_on(t);
    return err;
}

static int converse(talk_t *t)
{
    int err = 0;
    if (t->left == 0)
        stop_speaking(t);
    while (err == 0 && !is_over(t))
        err = turn(t);
    if (err == ETIMEDOUT) /* was it perhaps through? */
        look_for_end(t);
    if (err == ETIMEDOUT && is_over(t))
        err = 0;
    for (int i = 0; err == 0 && i < 2; i++)
        err = hear_out(t, &t->sinks[i]);
    if (err == 0)
        stop_speaking(t);
    return err;
}

/* ------------------------------------------------------------------------------------------------
 * The call
 */

static bool open_sinks(talk_t *t)
{
    bool opened = true;
    for (int i = 0; i < 2; i++) {
        t->sinks[i] = (sink_t){.stream = 1 + i};
        if (t->p->piped[1 + i])
            opened &= grow(&t->sinks[i], FIRST_CAPACITY);
    }
    return opened;
}

static void hand_out(talk_t *t, thrum_output_t *output)
{
    for (int i = 0; i < 2; i++) {
        if (t->sinks[i].data != NULL)
            t->sinks[i].data[t->sinks[i].size] = '\0';
    }
    *output = (thrum_output_t){.out = t->sinks[0].data,
                               .out_size = t->sinks[0].size,
                               .err = t->sinks[1].data,
                               .err_size = t->sinks[1].size,
                               .written = t->written,
                               .ended = t->ended,
                               .code = t->ended ? t->p->code : 0,
                               .thrum_private = {t->sinks[0].capacity, t->sinks[1].capacity}};
}

static void throw_away(talk_t *t)
{
    for (int i = 0; i < 2; i++)
        thi_free(t->sinks[i].data, t->sinks[i].capacity);
}

static int talk_to(talk_t *t, thrum_output_t *output)
{
    const int saved = errno;
    const int err = open_sinks(t) ? converse(t) : ENOMEM;
    if (output != NULL)
        hand_out(t, output);
    else
        throw_away(t);
    errno = saved;
    return err;
}

int thrum_subprocess_communicate(thrum_subprocess_t *p, const void *input, size_t size,
                                 size_t limit, thrum_time_t deadline, thrum_output_t *output)
{
    if (p == NULL || (input == NULL && size != 0))
        return EINVAL;
    if (output != NULL)
        *output = (thrum_output_t){0};
    if (thi_subprocess_inherited(p))
        return EOWNERDEAD;
    uint32_t talking = 0;
    if (!thi_cas_acquire(&p->talking, &talking, 1u)) /* A2: acquire; pairs with R2 */
        return EBUSY;
    talk_t talk = {.p = p,
                   .input = input,
                   .left = size,
                   .limit = limit,
                   .deadline = deadline,
                   .keeps = output != NULL};
    const int err = talk_to(&talk, output);
    thi_store_release(&p->talking, 0u); /* R2: release; pairs with A2 */
    return err;
}

void thrum_output_free(thrum_output_t *output)
{
    if (output == NULL)
        return;
    thi_free(output->out, output->thrum_private[0]);
    thi_free(output->err, output->thrum_private[1]);
    *output = (thrum_output_t){0};
}

/* Its end comes in moments: that is waited for also by those who are cancelled. Should it not come, the program is
 * taken off the system's list later. */
static int see_killed(void *p, void **result)
{
    (void)result;
    return thrum_subprocess_wait_until(p, NULL, thrum_after(THRUM_S(1)));
}

int thrum_subprocess_run(const char *const *argv, const thrum_subprocess_config_t *config,
                         const void *input, size_t size, size_t limit, thrum_time_t deadline,
                         thrum_output_t *output)
{
    thrum_subprocess_config_t piped = THRUM_SUBPROCESS_CONFIG_INIT;
    thrum_subprocess_t *p = NULL;
    if (input == NULL && size != 0)
        return EINVAL;
    piped.in.kind = size != 0 ? THRUM_STREAM_PIPE : THRUM_STREAM_NULL;
    piped.out.kind = THRUM_STREAM_PIPE;
    piped.err.kind = THRUM_STREAM_PIPE;
    int err = thrum_subprocess_spawn(&p, argv, config != NULL ? config : &piped);
    if (err != 0) {
        if (output != NULL && err != EINVAL)
            *output = (thrum_output_t){0};
        return err;
    }
    err = thrum_subprocess_communicate(p, input, size, limit, deadline, output);
    if (err != 0) {
        (void)thrum_subprocess_kill(p);
        (void)thrum_shield(see_killed, p, NULL);
    }
    thrum_subprocess_release(p);
    return err;
}
