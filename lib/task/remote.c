/*
 * Futures of what runs in another process. The waiting strand takes in itself what comes from there: it looks while it
 * spins, and then sleeps so that the other process can wake it, unless another strand does that already.
 */
#include "task/future.h"

void thi_future_set_remote(thrum_future_t *f, thi_remote_t *remote)
{
    f->remote = remote;
}

static bool spin_remote(const thrum_future_t *f)
{
    thi_spin_t turns = thi_spin_begin();
    bool ended = false;
    do {
        f->remote->kind->look(f->remote);
        ended = thrum_future_done(f);
    } while (!ended && thi_spin_turn(&turns));
    thi_spin_end(&turns, ended);
    return ended;
}

static int park_remote(thrum_future_t *f, thi_strand_t *self, struct thi_remote_bell *bell,
                       thrum_time_t deadline)
{
    thi_park_t park = thi_future_park(f);
    const bool rings = self->bell == NULL && self->kind->hears_bells && thi_far_near() &&
                       f->remote->kind->bell(f->remote, bell);
    if (rings)
        self->bell = &bell->bell;
    else
        f->remote->kind->leave(f->remote, NULL);
    const int err = thi_lot_park(&park, deadline);
    if (rings) {
        self->bell = NULL;
        f->remote->kind->leave(f->remote, bell);
    }
    return err;
}

int thi_remote_wait(thrum_future_t *f, thi_strand_t *self, thrum_time_t deadline)
{
    struct thi_remote_bell bell;
    int err = 0;
    f->remote->kind->attend(f->remote);
    if (spin_remote(f))
        f->remote->kind->leave(f->remote, NULL);
    else
        err = park_remote(f, self, &bell, deadline);
    if (err != 0 && err != EAGAIN)
        return err;
    (void)thrum_future_done(f); /* A1 of future.c */
    return 0;
}

int thrum_future_kill(thrum_future_t *f)
{
    if (f == NULL)
        return EINVAL;
    return f->remote != NULL ? f->remote->kind->kill(f->remote) : ENOTSUP;
}

int thrum_future_cause(thrum_future_t *f, int *signal, int *exit_code)
{
    if (f == NULL)
        return EINVAL;
    if (f->remote == NULL || !thrum_future_done(f))
        return ENOTSUP;
    return f->remote->kind->cause(f->remote, signal, exit_code);
}
