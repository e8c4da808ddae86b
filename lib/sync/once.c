/*
 * Once. A state word, and the id of the strand that runs the initialisation.
 *
 *   state   NEW      nobody has succeeded, nobody is trying
 *           RUNNING  a strand runs init; with it goes the mark of the strand's process
 *           DONE     init has succeeded; never changes again
 *           PARKED   (with RUNNING) somebody may be queued in the parking lot; never clear while
 *                    somebody sleeps there
 *
 * Invariants
 *   I1  NEW to RUNNING is one compare-and-swap: one strand runs init at a time.
 *   I2  The runner's last touch of the state is the change that leaves RUNNING; with PARKED, that is
 *       made under the bucket's lock.
 *   I3  RUNNING with the mark of another process, the owner is as it was before the fork: a runner that forked
 *       gives the word the mark of its new process before it takes its signature away.
 */
#include <thrum/once.h>

#include "sync/sync.h"

#define NEW 0u
#define RUNNING 1u
#define DONE 2u
#define PARKED 4u
#define MARK_SHIFT 8

static uint32_t owner_of(const void *object)
{
    const thrum_once_t *o = object;
    return thi_load_relaxed(&o->thrum_owner);
}

static uint32_t running(void)
{
    return RUNNING | thi_fork_mark << MARK_SHIFT;
}

static const thi_site_t site = {"once", owner_of};

/* Under the bucket's lock. */
static bool still_running(void *arg)
{
    thrum_once_t *o = arg;
    uint32_t state = thi_load_relaxed(&o->thrum_state);
    while ((state & RUNNING) != 0) {
        if (THI_PLANT("once-no-mark"))
            return true;
        /* W1: relaxed; the bucket's lock orders it before the unpark that looks for it. */
        if (thi_cas_relaxed(&o->thrum_state, &state, state | PARKED))
            return true;
    }
    return false;
}

struct outcome {
    thrum_once_t *o;
    uint32_t state;
};

/* Under the bucket's lock. */
static bool publish_parked(void *arg)
{
    const struct outcome *outcome = arg;
    thi_store_release(&outcome->o->thrum_state, outcome->state); /* R2: release; pairs with A1 */
    return true;
}

/* What init began in the parent ends in this process, if init has forked (I3). Relaxed: what it publishes, R3
 * does. */
static void adopt(thrum_once_t *o)
{
    uint32_t state = thi_load_relaxed(&o->thrum_state);
    while (state >> MARK_SHIFT != thi_fork_mark &&
           !thi_cas_relaxed(&o->thrum_state, &state, (state & PARKED) | running())) {
    }
}

static void publish(thrum_once_t *o, uint32_t state)
{
    struct outcome outcome = {o, state};
    uint32_t expected = running();
    adopt(o);
    thi_store_release(&o->thrum_owner, 0u); /* R3: release; pairs with A3 */
    /* R1: release; pairs with A1, A2. */
    if (!thi_cas_release(&o->thrum_state, &expected, state))
        thi_lot_unpark(&(thi_unpark_t){
            .key = o, .site = &site, .n = THI_ALL, .before = publish_parked, .arg = &outcome});
}

static int run(thrum_once_t *o, int (*init)(void *), void *arg)
{
    thi_store_relaxed(&o->thrum_owner, thi_self_id());
    const int err = init(arg);
    publish(o, err == 0 ? DONE : NEW);
    return err;
}

static int wait_for_runner(thrum_once_t *o)
{
    /* A3: acquire; pairs with R3: who finds the signature gone finds the new mark (I3). */
    const uint32_t owner = thi_load_acquire(&o->thrum_owner);
    const uint32_t state = thi_load_relaxed(&o->thrum_state);
    if (owner != 0 && owner == thi_self_id())
        return EDEADLK;
    if ((state & RUNNING) != 0 && thi_holder_is_lost(state >> MARK_SHIFT, owner))
        return EOWNERDEAD;
    thi_park_t park = {.site = &site,
                       .key = o,
                       .arg = o,
                       .validate = still_running,
                       .cancellable = true,
                       .spin = true};
    const int err = thi_lot_park(&park, THRUM_FOREVER);
    return err == EAGAIN ? 0 : err;
}

THI_COLD static int once_slow(thrum_once_t *o, int (*init)(void *), void *arg)
{
    for (;;) {
        uint32_t state = thi_load_acquire(&o->thrum_state); /* A1: acquire; pairs with R1, R2 */
        if (state == DONE)
            return 0;
        /* A2: acquire; pairs with R1, R2: a failed attempt comes before the next one. */
        if (state == NEW && thi_cas_acquire(&o->thrum_state, &state, running()))
            return run(o, init, arg);
        const int err = state == NEW ? 0 : wait_for_runner(o);
        if (err != 0)
            return err;
    }
}

int thrum_once(thrum_once_t *o, int (*init)(void *), void *arg)
{
    if (THI_UNLIKELY(o == NULL || init == NULL))
        return EINVAL;
    /* A1: acquire; pairs with R1, R2. */
    if (THI_LIKELY(thi_load_acquire(&o->thrum_state) == DONE))
        return 0;
    return once_slow(o, init, arg);
}

bool thrum_once_done(const thrum_once_t *o)
{
    return o != NULL && thi_load_acquire(&o->thrum_state) == DONE; /* A1 */
}
