/*
 * Timers: a heap of those that are scheduled, and one thread, the service, that runs what is due.
 *
 *   place    0: not scheduled; else 1 + its index in the heap
 *   running  its function runs, as far as those who wait for it are concerned
 *   busy     the service uses the timer, also for a moment after `running`
 *   repeats  running, and to be scheduled again when the function has returned
 *   handle   it has not been released
 *
 * All under the lock of the layer. A timer is freed by who makes it unused: no handle, not scheduled,
 * not busy.
 *
 * Invariants
 *   I1  The heap has room for every timer there is, so scheduling needs no memory.
 *   I2  The service sleeps on `poke` until the first one is due. It clears `poke` before it looks at the
 *       heap, and who puts a timer first sets it afterwards: whichever comes second sees the other.
 *   I3  `idle` is clear while `running`. The service sets it while it is still `busy`, so it is not
 *       freed under the set, although one that looks at `running` may go before.
 */
#include <string.h>

#include <thrum/cancel.h>

#include "thread/thread.h"

#define ARITY 4u
#define FIRST_CAPACITY 16u

struct thrum_timer {
    thrum_timer_fn fn;
    void *arg;
    thrum_time_t when;   /* of the run to come, or, while running, of this one */
    thrum_time_t period; /* 0: a single run */
    uint64_t turn;       /* of two that are due at the same time the one scheduled first is */
    uint64_t runs;
    uint64_t skipped;
    size_t place;
    bool running;
    bool busy;
    bool repeats;
    bool handle;
    thrum_event_t idle;
    struct thrum_timer *next; /* orphans */
};

static struct thrum_timer **heap;
static size_t scheduled; /* in the heap */
static size_t capacity;  /* of the heap */
static size_t timers;    /* that there are */
static uint64_t turns;
static struct thrum_timer *orphans; /* lost by a fork, and nobody has a handle: not to be leaked */

static thrum_event_t poke = THRUM_EVENT_INIT;
static thrum_mutex_t starting = THRUM_MUTEX_INIT;
static uint32_t serving;          /* the service was started */
static thi_strand_t *service;     /* its strand */
static struct thrum_timer *at_it; /* what it is busy with */

/* ------------------------------------------------------------------------------------------------
 * The heap; all under the lock
 */

static bool before(const struct thrum_timer *a, const struct thrum_timer *b)
{
    return a->when != b->when ? a->when < b->when : a->turn < b->turn;
}

static void put_at(struct thrum_timer *t, size_t i)
{
    heap[i] = t;
    t->place = i + 1;
}

static void sift_up(struct thrum_timer *t, size_t i)
{
    while (i != 0 && before(t, heap[(i - 1) / ARITY])) {
        put_at(heap[(i - 1) / ARITY], i);
        i = (i - 1) / ARITY;
    }
    put_at(t, i);
}

static size_t first_child(size_t i)
{
    size_t best = i * ARITY + 1;
    for (size_t j = best + 1; j < scheduled && j <= i * ARITY + ARITY; j++) {
        if (before(heap[j], heap[best]))
            best = j;
    }
    return best;
}

static void sift_down(struct thrum_timer *t, size_t i)
{
    while (i * ARITY + 1 < scheduled) {
        const size_t child = first_child(i);
        if (!before(heap[child], t))
            break;
        put_at(heap[child], i);
        i = child;
    }
    put_at(t, i);
}

/* Returns whether the service has to be told. */
static bool schedule(struct thrum_timer *t, thrum_time_t when)
{
    t->when = when;
    t->turn = turns++;
    sift_up(t, scheduled++);
    return t->place == 1;
}

static void unschedule(struct thrum_timer *t)
{
    const size_t i = t->place - 1;
    struct thrum_timer *last = heap[--scheduled];
    t->place = 0;
    if (last == t)
        return;
    if (i != 0 && before(last, heap[(i - 1) / ARITY]))
        sift_up(last, i);
    else
        sift_down(last, i);
}

/* Calls the runs to come off. Returns whether there was one. */
static bool call_off(struct thrum_timer *t)
{
    const bool any = t->place != 0 || t->repeats;
    if (t->place != 0)
        unschedule(t);
    t->repeats = false;
    return any;
}

/* ------------------------------------------------------------------------------------------------
 * Making and freeing
 */

/* Under the lock: whether the caller has to free it, after that. */
static bool unused(struct thrum_timer *t)
{
    if (t->handle || t->place != 0 || t->busy)
        return false;
    timers--;
    return true;
}

static void leave_and_free(struct thrum_timer *t)
{
    const bool unwanted = unused(t);
    thi_threads_leave();
    if (unwanted)
        thi_free(t, sizeof *t);
}

/* Under the lock, which it gives up to allocate: room for one more timer. */
static bool reserve(void)
{
    while (timers == capacity) {
        const size_t wanted = capacity != 0 ? 2 * capacity : FIRST_CAPACITY;
        thi_threads_leave();
        struct thrum_timer **larger = thi_alloc(wanted * sizeof(struct thrum_timer *));
        thi_threads_enter();
        if (larger == NULL)
            return false;
        struct thrum_timer **spare = larger;
        size_t spare_capacity = wanted;
        if (wanted > capacity) { /* nobody else has done it meanwhile */
            if (scheduled != 0)
                memcpy(larger, heap, scheduled * sizeof(struct thrum_timer *));
            spare = heap;
            spare_capacity = capacity;
            heap = larger;
            capacity = wanted;
        }
        thi_threads_leave();
        thi_free(spare, spare_capacity * sizeof(struct thrum_timer *));
        thi_threads_enter();
    }
    timers++;
    return true;
}

int thrum_timer_create(thrum_timer_t **t, thrum_timer_fn fn, void *arg)
{
    if (t == NULL || fn == NULL)
        return EINVAL;
    struct thrum_timer *made = thi_alloc(sizeof *made);
    if (made == NULL)
        return ENOMEM;
    made->fn = fn;
    made->arg = arg;
    made->handle = true;
    thi_threads_enter();
    const bool room = reserve();
    thi_threads_leave();
    if (!room) {
        thi_free(made, sizeof *made);
        return ENOMEM;
    }
    *t = made;
    return 0;
}

void thrum_timer_release(thrum_timer_t *t)
{
    if (t == NULL)
        return;
    thi_threads_enter();
    t->handle = false;
    leave_and_free(t);
}

/* ------------------------------------------------------------------------------------------------
 * The service
 */

/* Under the lock: what is due, or NULL and when something will be. */
static struct thrum_timer *take_due(thrum_time_t *next)
{
    struct thrum_timer *t = scheduled != 0 ? heap[0] : NULL;
    *next = t != NULL ? t->when : THRUM_FOREVER;
    if (t == NULL || t->when > thi_clock())
        return NULL;
    unschedule(t);
    t->running = true;
    t->busy = true;
    t->repeats = t->period != 0;
    t->runs++;
    thrum_event_clear(&t->idle); /* I3 */
    at_it = t;
    return t;
}

/* The first time of its period that is not past. */
static thrum_time_t next_time(struct thrum_timer *t)
{
    const thrum_time_t now = thi_clock();
    const int64_t passed = now > t->when ? (now - t->when) / t->period : 0;
    t->skipped += (uint64_t)passed;
    const thrum_time_t latest = t->when + passed * t->period;
    return latest > THRUM_FOREVER - t->period ? THRUM_FOREVER : latest + t->period;
}

static void finish(struct thrum_timer *t)
{
    thi_threads_enter();
    t->running = false;
    if (t->repeats)
        schedule(t, next_time(t));
    t->repeats = false;
    thi_threads_leave();
    thrum_event_set(&t->idle); /* I3 */
    thi_threads_enter();
    t->busy = false;
    at_it = NULL;
    leave_and_free(t);
}

static int serve(void *arg, void **result)
{
    (void)arg;
    (void)result;
    int err = 0;
    while (err == 0 || err == ETIMEDOUT) { /* no other: it is registered, and shielded */
        thrum_time_t next = THRUM_FOREVER;
        thrum_event_clear(&poke); /* I2 */
        thi_threads_enter();
        struct thrum_timer *t = take_due(&next);
        thi_threads_leave();
        if (t == NULL) {
            err = thrum_event_wait_until(&poke, next);
            continue;
        }
        t->fn(t, t->arg);
        finish(t);
    }
    return err;
}

static int prepare_service(void *arg)
{
    (void)arg;
    service = thi_self();
    return service != NULL ? 0 : ENOMEM;
}

static void run_service(void *arg)
{
    (void)arg;
    thi_thread_set_name(thi_thread_handle(), "thrum-timers");
    (void)thrum_shield(serve, NULL, NULL);
}

static int start_service(void)
{
    static thi_start_t start;
    start = (thi_start_t){.fn = run_service, .prepare = prepare_service, .detached = true};
    return thi_thread_start(&start);
}

static int need_service(void)
{
    /* A1: acquire; pairs with R1. */
    if (THI_LIKELY(thi_load_acquire(&serving) != 0))
        return 0;
    int err = thrum_mutex_lock(&starting);
    if (err != 0)
        return err;
    if (thi_load_relaxed(&serving) == 0) { /* relaxed: the mutex orders it */
        err = start_service();
        if (err == 0)
            thi_store_release(&serving, 1u); /* R1: release; pairs with A1 */
    }
    thrum_mutex_unlock(&starting);
    return err;
}

/* ------------------------------------------------------------------------------------------------
 * Starting and calling off
 */

static int start_timer(thrum_timer_t *t, int64_t delay, int64_t period)
{
    int err = need_service();
    if (err != 0)
        return err;
    const thrum_time_t when = thrum_after(delay);
    bool tell = false;
    thi_threads_enter();
    if (t->place != 0 || t->repeats) {
        err = EBUSY;
    } else {
        t->period = period;
        tell = schedule(t, when);
    }
    thi_threads_leave();
    if (tell)
        thrum_event_set(&poke); /* I2 */
    return err;
}

int thrum_timer_start(thrum_timer_t *t, int64_t delay)
{
    return t == NULL || delay < 0 ? EINVAL : start_timer(t, delay, 0);
}

int thrum_timer_start_periodic(thrum_timer_t *t, int64_t delay, int64_t period)
{
    return t == NULL || delay < 0 || period <= 0 ? EINVAL : start_timer(t, delay, period);
}

int thrum_timer_reschedule(thrum_timer_t *t, int64_t delay)
{
    if (t == NULL || delay < 0)
        return EINVAL;
    const int err = need_service();
    if (err != 0)
        return err;
    const thrum_time_t when = thrum_after(delay);
    thi_threads_enter();
    call_off(t);
    const bool tell = schedule(t, when);
    thi_threads_leave();
    if (tell)
        thrum_event_set(&poke); /* I2 */
    return 0;
}

bool thrum_timer_cancel(thrum_timer_t *t)
{
    if (t == NULL)
        return false;
    thi_threads_enter();
    const bool any = call_off(t);
    thi_threads_leave();
    return any;
}

int thrum_timer_cancel_wait(thrum_timer_t *t, bool *prevented)
{
    return thrum_timer_cancel_wait_until(t, prevented, THRUM_FOREVER);
}

int thrum_timer_cancel_wait_until(thrum_timer_t *t, bool *prevented, thrum_time_t deadline)
{
    if (t == NULL)
        return EINVAL;
    bool any = false;
    int err = 0;
    while (err == 0) {
        thi_threads_enter();
        any |= call_off(t);
        const bool running = t->running;
        const bool own = running && thi_current.strand == service;
        thi_threads_leave();
        if (!running)
            break;
        err = own ? EDEADLK : thrum_event_wait_until(&t->idle, deadline);
    }
    if (prevented != NULL)
        *prevented = any;
    return err;
}

/* ------------------------------------------------------------------------------------------------
 * Asking
 */

bool thrum_timer_scheduled(const thrum_timer_t *t)
{
    if (t == NULL)
        return false;
    thi_threads_enter();
    const bool any = t->place != 0 || t->repeats;
    thi_threads_leave();
    return any;
}

uint64_t thrum_timer_runs(const thrum_timer_t *t)
{
    if (t == NULL)
        return 0;
    thi_threads_enter();
    const uint64_t runs = t->runs;
    thi_threads_leave();
    return runs;
}

uint64_t thrum_timer_skipped(const thrum_timer_t *t)
{
    if (t == NULL)
        return 0;
    thi_threads_enter();
    const uint64_t skipped = t->skipped;
    thi_threads_leave();
    return skipped;
}

/* ------------------------------------------------------------------------------------------------
 * Fork
 */

static void lose(struct thrum_timer *t)
{
    t->place = 0;
    t->repeats = false;
    if (t->handle || t->busy)
        return;
    t->next = orphans;
    orphans = t;
}

void thi_timers_after_fork(void)
{
    for (size_t i = 0; i < scheduled; i++)
        lose(heap[i]);
    scheduled = 0;
    (void)thrum_mutex_init(&starting);
    (void)thrum_event_init(&poke);
    struct thrum_timer *t = at_it;
    if (t != NULL)
        t->repeats = false;
    if (thi_load_relaxed(&serving) != 0 && thi_current.strand == service)
        return; /* it forked in a function, and goes on */
    thi_store_relaxed(&serving, 0u);
    at_it = NULL;
    if (t == NULL)
        return;
    t->busy = false;
    t->running = false;
    (void)thrum_event_init(&t->idle);
    lose(t);
}
