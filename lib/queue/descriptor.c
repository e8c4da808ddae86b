/*
 * The descriptor: readable while the queue has items or is closed.
 *
 * It is a getter that never sleeps: while the queue is empty it keeps the mark WANTED set, so the put
 * that ends the emptiness comes here; and while it is watched, every get comes here, to see whether it
 * was the last. Under fd_mutex one look and one change of the descriptor are one step, and every change
 * between empty and not empty is followed by a look of whoever made it.
 */
#include "queue/core.h"

/* The queue looked empty, so its next put has to tell; unless it no longer is. */
static bool is_ready(thrum_queue_t *q)
{
    do {
        if (q->order->size(q) != 0 || q->order->closed(q))
            return true;
    } while (!q->order->must_wait_to_get(q));
    return false;
}

void thi_queue_tell(thrum_queue_t *q)
{
    if (THI_LIKELY(thi_load_acquire(&q->fd) < 0) || q->fd_mark != thi_fork_mark)
        return;
    if (thi_mutex_acquire(&q->fd_mutex, THRUM_FOREVER) != 0)
        return; /* lost in a fork, in the middle of this */
    const bool ready = is_ready(q);
    if (ready != q->readable)
        thi_signal_set(q->fd, ready);
    q->readable = ready;
    thi_mutex_release(&q->fd_mutex);
}

/* Under fd_mutex. */
static int open_fd(thrum_queue_t *q)
{
    int fd = -1;
    int err = thi_signal_open(&fd);
    if (err != 0)
        return err;
    err = q->order->watch(q);
    if (err != 0) {
        thi_signal_close(fd);
        return err;
    }
    if (q->fd >= 0)
        thi_signal_close(q->fd); /* the parent's: both would look at one counter */
    q->readable = false;
    q->fd_mark = thi_fork_mark;
    thi_store_release(&q->fd, fd);
    return 0;
}

int thrum_queue_fd(thrum_queue_t *q, int *fd)
{
    if (q == NULL || fd == NULL)
        return EINVAL;
    int err = thi_mutex_acquire(&q->fd_mutex, THRUM_FOREVER);
    if (err != 0)
        return err;
    if (q->fd < 0 || q->fd_mark != thi_fork_mark)
        err = open_fd(q);
    thi_mutex_release(&q->fd_mutex);
    if (err != 0)
        return err;
    thi_queue_tell(q); /* what was put before, and before its put could tell */
    *fd = q->fd;
    return 0;
}

void thi_queue_close_fd(thrum_queue_t *q)
{
    if (q->fd >= 0)
        thi_signal_close(q->fd);
}
