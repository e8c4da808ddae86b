/*
 * As completed: each future puts itself, with the reference that the iterator had, into a queue that has
 * room for all of them. When the iterator is given up early the queue is closed and the references to those
 * that have not ended are dropped. The queue goes with the last callback.
 *
 *   held   the reference is the iterator's; whoever sets it to NULL has it from then on
 */
#include <thrum/queue.h>

#include "task/future.h"

struct watch {
    struct thrum_as_completed *it;
    thrum_future_t *held;
};

struct thrum_as_completed {
    thrum_queue_t *ended;
    uint32_t refs; /* the program's, and one for each callback that has not run */
    size_t left;   /* not handed out */
    size_t n;
    struct watch watches[];
};

static size_t size_for(size_t n)
{
    return sizeof(thrum_as_completed_t) + n * sizeof(struct watch);
}

static void unref(thrum_as_completed_t *it)
{
    if (thi_fetch_sub_acq_rel(&it->refs, 1u) != 1)
        return;
    thrum_queue_destroy(it->ended);
    thi_free(it, size_for(it->n));
}

static bool take(struct watch *w)
{
    thrum_future_t *f = thi_load_relaxed(&w->held);
    return f != NULL && thi_cas_relaxed(&w->held, &f, NULL);
}

static void has_ended(thrum_future_t *f, void *arg)
{
    struct watch *w = arg;
    if (take(w) && thrum_queue_tryput(w->it->ended, &f) != 0)
        thrum_future_release(f);
    unref(w->it);
}

/* The future was freed; so its reference was not the iterator's any more. */
static void never_ends(void *arg)
{
    unref(((struct watch *)arg)->it);
}

static int watch_all(thrum_as_completed_t *it, thrum_future_t **fs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct watch *w = &it->watches[i];
        *w = (struct watch){it, thrum_future_retain(fs[i])};
        thi_fetch_add_relaxed(&it->refs, 1u);
        const int err = thi_future_add(fs[i], has_ended, never_ends, w);
        if (err != 0) {
            w->held = NULL;
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
    *err = ENOMEM;
    if (n > PTRDIFF_MAX / sizeof(struct watch) / 2)
        return NULL;
    thrum_as_completed_t *made = thi_alloc(size_for(n));
    if (made == NULL)
        return NULL;
    made->refs = 1;
    made->n = n;
    const thrum_queue_config_t config = {
        THRUM_FIFO, sizeof(thrum_future_t *), n + (n == 0), NULL, NULL, 0};
    *err = thrum_queue_create(&made->ended, &config);
    if (*err == 0)
        return made;
    thi_free(made, size_for(n));
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
    for (size_t i = 0; i < it->n; i++) {
        f = thi_load_relaxed(&it->watches[i].held);
        if (take(&it->watches[i]))
            thrum_future_release(f);
    }
    while (thrum_queue_tryget(it->ended, &f) == 0)
        thrum_future_release(f);
    unref(it);
}
