/*
 * Pipes of messages. A message is one packet of the system:
 *
 *     +----------------+--------------------------+      descriptors: [the rest,] the program's
 *     | magic fds size | the message's beginning  |
 *     +----------------+--------------------------+
 *
 * What does not fit is in a file in memory that cannot change any more, whose descriptor comes first. The part that
 * is in the packet is as large as may be nevertheless, for the system counts only that against the room there is:
 * so even of large messages only a few are under way.
 *
 * A receiver looks at the next packet before it takes it: to know whether it fits, and to have its descriptors, of
 * which the system would throw away those that there is no number for.
 *
 * Invariants
 *   I1  Looking at a packet and taking it are one step for this process's other receivers: `busy`.
 *   I2  Nothing that is in a packet is believed before it is seen to be so. Of the peer's file no more is read than
 *       the caller has room for, and it is a file that can be read without waiting.
 *   I3  Nobody waits, and nothing is copied that is not in the packet, while `busy` is taken.
 */
#include <string.h>
#include <sys/uio.h>

#include <thrum/io.h>
#include <thrum/pipe.h>

#include "strand/strand.h"

#define MAGIC 0x316d7274u /* "trm1" */
#define INLINE_MOST ((size_t)65536)

typedef struct head {
    uint32_t magic;
    uint32_t fds; /* the program's */
    uint64_t size;
} head_t;

/*
 *   busy     a receiver looks: the mark of its process, and 1. In a forked child the parent's receivers are
 *            nobody, and so is what they left there
 */
struct thrum_pipe {
    int fd;
    uint32_t closed; /* on this end, in this process */
    uint64_t busy;
    size_t most; /* bytes of a message in a packet */
};

/* What a receive is to fill. */
typedef struct wanted {
    void *buf;
    size_t capacity;
    size_t size;
    int *fds; /* NULL: they are closed */
    size_t fd_room;
    size_t fd_count;
} wanted_t;

/* ------------------------------------------------------------------------------------------------
 * One receiver at a time
 */

static void enter(thrum_pipe_t *p)
{
    const uint64_t mine = (uint64_t)thi_fork_mark << 1 | 1u;
    uint64_t seen = thi_load_relaxed(&p->busy);
    /* A1: acquire; pairs with R1. */
    for (unsigned turns = 0; seen == mine || !thi_cas_acquire(&p->busy, &seen, mine); turns++) {
        thi_cpu_yield(turns);
        seen = thi_load_relaxed(&p->busy);
    }
}

static void leave(thrum_pipe_t *p)
{
    thi_store_release(&p->busy, (uint64_t)0); /* R1: release; pairs with A1 */
}

/* ------------------------------------------------------------------------------------------------
 * Receiving
 */

static void close_all(const int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        thi_fd_close(fds[i]);
}

static bool is_message(const head_t *head, size_t length)
{
    return length >= sizeof *head && head->magic == MAGIC && head->fds <= THRUM_PIPE_FDS_MAX &&
           head->size <= SIZE_MAX && length - sizeof *head <= head->size;
}

/* Throws the next packet away. */
static int refuse(thrum_pipe_t *p)
{
    head_t head;
    size_t length = 0;
    const struct iovec iov = {&head, sizeof head};
    (void)thi_packet_take(p->fd, &iov, 1, &length);
    return EBADMSG;
}

static bool fits(wanted_t *w, const head_t *head)
{
    w->size = (size_t)head->size;
    w->fd_count = head->fds;
    return w->size <= w->capacity && (w->fds == NULL || w->fd_count <= w->fd_room);
}

/* Whether the rest of one that does not fit is there: else a number that a peer has made up would stay the next
 * message for ever. Without a descriptor for it nobody can say, and it is believed for now. */
static bool has_rest(const thrum_pipe_t *p, uint64_t rest)
{
    int fd = -1;
    size_t got = 0;
    if (rest == 0)
        return true;
    if (thi_packet_fds(p->fd, &fd, 1, &got) != 0)
        return true;
    const bool has = got == 1 && thi_bytes_are(fd, rest);
    close_all(&fd, got);
    return has;
}

/* It may have become another meanwhile, if another process receives here. */
static int take(thrum_pipe_t *p, const wanted_t *w, const head_t *seen, size_t length)
{
    head_t head = {0};
    size_t taken = 0;
    const struct iovec iov[] = {{&head, sizeof head}, {w->buf, length - sizeof head}};
    const int err = thi_packet_take(p->fd, iov, length > sizeof head ? 2 : 1, &taken);
    if (err != 0)
        return err;
    return taken == length && memcmp(&head, seen, sizeof head) == 0 ? 0 : EBADMSG;
}

/* `fds` gets the descriptors that are wanted, that of the rest first; `*inside` how much of the message was in the
 * packet. */
static int receive(thrum_pipe_t *p, wanted_t *w, int *fds, size_t *inside)
{
    head_t head = {0};
    size_t length = 0;
    size_t got = 0;
    int err = thi_packet_look(p->fd, &head, sizeof head, &length);
    if (err != 0)
        return err == ENOTCONN ? ESHUTDOWN : err;
    if (length == 0 && thi_packet_over(p->fd))
        return ESHUTDOWN;
    if (!is_message(&head, length))
        return refuse(p);
    if (!fits(w, &head))
        return has_rest(p, head.size - (length - sizeof head)) ? EMSGSIZE : refuse(p);
    *inside = length - sizeof head;
    const size_t due = (*inside < w->size) + (w->fds != NULL ? w->fd_count : 0);
    if (due != 0)
        err = thi_packet_fds(p->fd, fds, due, &got);
    if (err != 0)
        return err;
    err = got == due ? take(p, w, &head, length) : refuse(p);
    if (err != 0)
        close_all(fds, got);
    return err;
}

static int tryrecv(thrum_pipe_t *p, wanted_t *w)
{
    int fds[1 + THRUM_PIPE_FDS_MAX];
    size_t inside = 0;
    enter(p);
    int err = receive(p, w, fds, &inside);
    leave(p);
    if (err != 0)
        return err;
    const bool has_rest = inside < w->size;
    const size_t count = w->fds != NULL ? w->fd_count : 0;
    if (has_rest) {
        err = thi_bytes_read(fds[0], (char *)w->buf + inside, w->size - inside);
        thi_fd_close(fds[0]);
    }
    if (err != 0)
        close_all(fds + 1, count);
    else if (count != 0)
        memcpy(w->fds, fds + has_rest, count * sizeof *fds);
    return err;
}

static int recv_until(thrum_pipe_t *p, wanted_t *w, thrum_time_t deadline)
{
    if (p == NULL || (w->buf == NULL && w->capacity != 0))
        return EINVAL;
    int err = tryrecv(p, w);
    while (err == EAGAIN) {
        err = thrum_io_wait(p->fd, THRUM_IO_IN, deadline);
        if (err == 0)
            err = tryrecv(p, w);
    }
    return err;
}

static int tell(int err, const wanted_t *w, size_t *size)
{
    if ((err == 0 || err == EMSGSIZE) && size != NULL)
        *size = w->size;
    return err;
}

int thrum_pipe_recv_until(thrum_pipe_t *p, void *buf, size_t capacity, size_t *size,
                          thrum_time_t deadline)
{
    wanted_t w = {.buf = buf, .capacity = capacity};
    return tell(recv_until(p, &w, deadline), &w, size);
}

int thrum_pipe_recv(thrum_pipe_t *p, void *buf, size_t capacity, size_t *size)
{
    return thrum_pipe_recv_until(p, buf, capacity, size, THRUM_FOREVER);
}

int thrum_pipe_tryrecv(thrum_pipe_t *p, void *buf, size_t capacity, size_t *size)
{
    wanted_t w = {.buf = buf, .capacity = capacity};
    if (p == NULL || (buf == NULL && capacity != 0))
        return EINVAL;
    return tell(tryrecv(p, &w), &w, size);
}

int thrum_pipe_recv_fds(thrum_pipe_t *p, void *buf, size_t capacity, size_t *size, int *fds,
                        size_t *n, thrum_time_t deadline)
{
    if (n == NULL || (fds == NULL && *n != 0))
        return EINVAL;
    int none = 0;
    wanted_t w = {
        .buf = buf, .capacity = capacity, .fds = fds != NULL ? fds : &none, .fd_room = *n};
    const int err = recv_until(p, &w, deadline);
    if (err == 0 || err == EMSGSIZE || err == EMFILE)
        *n = w.fd_count;
    return tell(err, &w, size);
}

/* ------------------------------------------------------------------------------------------------
 * Sending
 */

/* A packet and what belongs to it; `fds` has one place more. */
typedef struct parcel {
    head_t head;
    struct iovec iov[2];
    int *fds;
    size_t fd_count;
    int rest; /* -1: there is none */
} parcel_t;

static int pack(const thrum_pipe_t *p, parcel_t *parcel, const void *data, size_t size,
                const int *fds, size_t n)
{
    const size_t inside = size < p->most ? size : p->most;
    parcel->head = (head_t){MAGIC, (uint32_t)n, size};
    parcel->iov[0] = (struct iovec){&parcel->head, sizeof parcel->head};
    parcel->iov[1] = (struct iovec){(void *)(uintptr_t)data, inside};
    parcel->rest = -1;
    parcel->fd_count = 0;
    if (inside < size) {
        const int err = thi_bytes_file((const char *)data + inside, size - inside, &parcel->rest);
        if (err != 0)
            return err;
        parcel->fds[parcel->fd_count++] = parcel->rest;
    }
    if (n != 0)
        memcpy(parcel->fds + parcel->fd_count, fds, n * sizeof *fds);
    parcel->fd_count += n;
    return 0;
}

static int trysend(thrum_pipe_t *p, const parcel_t *parcel)
{
    const int err = thi_packet_send(p->fd, parcel->iov, parcel->iov[1].iov_len != 0 ? 2 : 1,
                                    parcel->fds, parcel->fd_count);
    if (err == EPIPE && thi_load_relaxed(&p->closed) != 0)
        return ESHUTDOWN;
    return err == ENOBUFS ? ENOMEM : err;
}

static int post(thrum_pipe_t *p, const parcel_t *parcel, bool waits, thrum_time_t deadline)
{
    int err = trysend(p, parcel);
    while (err == EAGAIN && waits) {
        err = thrum_io_wait(p->fd, THRUM_IO_OUT, deadline);
        if (err == 0)
            err = trysend(p, parcel);
    }
    return err;
}

static int send_it(thrum_pipe_t *p, const void *data, size_t size, const int *given, size_t n,
                   bool waits, thrum_time_t deadline)
{
    int fds[1 + THRUM_PIPE_FDS_MAX];
    parcel_t parcel = {.fds = fds};
    if (p == NULL || (data == NULL && size != 0) || (given == NULL && n != 0) ||
        n > THRUM_PIPE_FDS_MAX)
        return EINVAL;
    int err = pack(p, &parcel, data, size, given, n);
    if (err == 0)
        err = post(p, &parcel, waits, deadline);
    if (parcel.rest >= 0)
        thi_fd_close(parcel.rest);
    return err;
}

int thrum_pipe_send(thrum_pipe_t *p, const void *data, size_t size)
{
    return send_it(p, data, size, NULL, 0, true, THRUM_FOREVER);
}

int thrum_pipe_trysend(thrum_pipe_t *p, const void *data, size_t size)
{
    return send_it(p, data, size, NULL, 0, false, 0);
}

int thrum_pipe_send_until(thrum_pipe_t *p, const void *data, size_t size, thrum_time_t deadline)
{
    return send_it(p, data, size, NULL, 0, true, deadline);
}

int thrum_pipe_send_fds(thrum_pipe_t *p, const void *data, size_t size, const int *fds, size_t n,
                        thrum_time_t deadline)
{
    return send_it(p, data, size, fds, n, true, deadline);
}

/* ------------------------------------------------------------------------------------------------
 * Coming and going
 */

int thrum_pipe_open(thrum_pipe_t **p, int fd)
{
    size_t room = 0;
    if (p == NULL)
        return EINVAL;
    const int err = thi_packet_room(fd, &room);
    if (err != 0)
        return err;
    thrum_pipe_t *made = thi_alloc(sizeof *made);
    if (made == NULL)
        return ENOMEM;
    thi_fd_set_cloexec(fd);
    made->fd = fd;
    made->most = (room < INLINE_MOST ? room : INLINE_MOST) - sizeof(head_t);
    *p = made;
    return 0;
}

int thrum_pipe_create(thrum_pipe_t **a, thrum_pipe_t **b)
{
    int fd[2] = {-1, -1};
    thrum_pipe_t *made[2] = {NULL, NULL};
    if (a == NULL || b == NULL)
        return EINVAL;
    int err = thi_packet_pair(fd);
    if (err != 0)
        return err;
    for (int i = 0; err == 0 && i < 2; i++)
        err = thrum_pipe_open(&made[i], fd[i]);
    if (err == 0) {
        *a = made[0];
        *b = made[1];
        return 0;
    }
    close_all(fd, 2);
    for (int i = 0; i < 2; i++)
        thi_free(made[i], sizeof *made[i]);
    return err;
}

int thrum_pipe_fd(const thrum_pipe_t *p)
{
    return p != NULL ? p->fd : -1;
}

void thrum_pipe_close(thrum_pipe_t *p)
{
    if (p == NULL)
        return;
    thi_store_relaxed(&p->closed, 1u);
    thi_packet_shut(p->fd);
}

void thrum_pipe_destroy(thrum_pipe_t *p)
{
    if (p == NULL)
        return;
    (void)thrum_io_close(p->fd);
    thi_free(p, sizeof *p);
}
