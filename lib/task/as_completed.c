/*
 * As completed: each future puts itself, with the reference that the iterator had, into a queue that has
 * room for all of them. When the iterator is given up early the queue is closed; a future that ends after
 * that finds so, and drops the reference. The queue goes with the last callback.
 */
#include <thrum/queue.h>

#include "task/future.h"

struct thrum_as_completed {
    thrum_queue_t *ended;
    uint32_t refs; /* the program's, and one for each callback that has not run */
    size_t left;   /* not handed out */
};

static void unref(thrum_as_completed_t *it)
{
    if (thi_fetch_sub_acq_rel(&it->refs, 1u) != 1)
        return;
    thrum_queue_destroy(it->ended);
    thi_free(it, sizeof *it);
}

static void has_ended(thrum_future_t *f, void *arg)
{
    thrum_as_completed_t *it = arg;
    if (thrum_queue_tryput(it->ended, &f) != 0)
        thrum_future_release(f);
    unref(it);
}

/* The future was freed; so its reference was not the iterator's any more. */
static void never_ends(void *arg)
{
    unref(arg);
}

static int watch_all(thrum_as_completed_t *it, thrum_future_t **fs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        thi_fetch_add_relaxed(&it->refs, 1u);
        thrum_future_retain(fs[i]);
        const int err = thi_future_add(fs[i], has_ended, never_ends, it);
        if (err != 0) {
            thrum_future_release(fs[i]);
            thi_fetch_sub_relaxed(&it->refs, 1u);
            return err;
        }
        it->left++;
    }
    return 0;
}

static thrum_as_completed_t *make(size_t n, int *err)
{
    thrum_as_completed_t *made = thi_alloc(sizeof *made);
    *err = ENOMEM;
    if (made == NULL)
        return NULL;
    made->refs = 1;
    const thrum_queue_config_t config = {
        THRUM_FIFO, sizeof(thrum_future_t *), n + (n == 0), NULL, NULL, 0};
    *err = thrum_queue_create(&made->ended, &config);
    if (*err == 0)
        return made;
    thi_free(made, sizeof *made);
    return NULL;
}

int thrum_as_completed_create(thrum_as_completed_t **it, thrum_future_t **fs, size_t n)
{
    if (it == NULL || (fs == NULL && n != 0))
        return EINVAL;
    for (size_t i = 0; i < n; i++)
        if (fs[i] == NULL)
            return EINVAL;
    int err = 0;
    thrum_as_completed_t *made = make(n, &err);
    if (made == NULL)
        return err;
    err = watch_all(made, fs, n);
    if (err != 0)
        thrum_as_completed_destroy(made);
    else
        *it = made;
    return err;
}

int thrum_as_completed_next(thrum_as_completed_t *it, thrum_future_t **f, thrum_time_t deadline)
{
    if (it == NULL || f == NULL)
        return EINVAL;
    if (it->left == 0)
        return ENODATA;
    const int err = thrum_queue_get_until(it->ended, f, deadline);
    if (err == 0)
        it->left--;
    return err;
}

void thrum_as_completed_destroy(thrum_as_completed_t *it)
{
    if (it == NULL)
        return;
    thrum_future_t *f = NULL;
    (void)thrum_queue_close(it->ended);
    while (thrum_queue_tryget(it->ended, &f) == 0)
        thrum_future_release(f);
    unref(it);
}
