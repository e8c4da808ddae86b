/*
 * Futures. One word holds the state, whether somebody sleeps, and the callbacks:
 *
 *      63                          4  3          2         1 0
 *     +-----------------------------+----------+----------+-------+
 *     | newest callback, or nothing | SETTLING | SLEEPERS | state |
 *     +-----------------------------+----------+----------+-------+
 *
 *   state     PENDING -> RUNNING -> DONE        the task's way, or a promise's
 *             PENDING -> DONE                   a promise that was never started
 *             PENDING -> CANCELLED
 *   SETTLING  somebody has won the right to end it, and is writing the result. Only with PENDING or RUNNING
 *             of a promise; the runner of a task has that right by RUNNING.
 *   SLEEPERS  somebody may be queued in the parking lot. Never clear while somebody sleeps.
 *
 * Invariants
 *   I1  Leaving PENDING, and SETTLING, are won by a compare-and-swap; so a task runs or is cancelled, and
 *       a result is set, once.
 *   I2  The end is one swap. It takes all callbacks that were added before, and no callback can be added
 *       after: who finds the word ended calls its own at once.
 *   I3  Who ends a future has a reference. So its sleepers may drop theirs as soon as they see the end.
 *   I4  error, value and reply are written before the end (R1) and read after it (A1); never changed.
 */
#include <string.h>

#include "queue/queue.h"
#include "task/future.h"

#define SLEEPERS 4u
#define SETTLING 8u
#define FLAGS 15u

static const thi_site_t site = {"future", NULL};

static unsigned state_of(uint64_t word)
{
    return (unsigned)(word & THI_FUTURE_STATE);
}

static bool has_ended(uint64_t word)
{
    return state_of(word) >= THI_FUTURE_DONE;
}

static struct thi_callback *callbacks_of(uint64_t word)
{
    return (struct thi_callback *)(uintptr_t)(word & ~(uint64_t)FLAGS);
}

static uint64_t load(const thrum_future_t *f)
{
    return thi_load_acquire(&f->word); /* A1: acquire; pairs with R1 */
}

/* ------------------------------------------------------------------------------------------------
 * Life
 */

_Static_assert(sizeof(thrum_future_t) <= THI_BLOCK, "a future is a block");

thrum_future_t *thi_future_of_task(thrum_executor_t *ex, thrum_fn fn, void *arg)
{
    thrum_future_t *f = thi_block_take();
    if (f != NULL)
        *f = (thrum_future_t){.refs = 2, .fn = fn, .arg = arg, .executor = ex};
    return f;
}

void thi_future_discard(thrum_future_t *f)
{
    thi_block_give(f);
}

static void free_callbacks(struct thi_callback *list)
{
    for (struct thi_callback *next = NULL; list != NULL; list = next) {
        next = list->next;
        if (list->drop != NULL)
            list->drop(list->arg);
        thi_block_give(list);
    }
}

THI_NOINLINE static void free_future(thrum_future_t *f)
{
    const uint64_t word = thi_load_relaxed(&f->word);
    if (f->drop != NULL && state_of(word) != THI_FUTURE_DONE)
        f->drop(f->arg);
    if (!has_ended(word)) /* a promise that was never kept */
        free_callbacks(callbacks_of(word));
    if (f->bytes != NULL)
        thi_bytes_free(f->bytes);
    if (f->remote != NULL)
        f->remote->kind->release(f->remote);
    thi_block_give(f);
}

int thrum_future_create(thrum_future_t **f)
{
    if (f == NULL)
        return EINVAL;
    thrum_future_t *made = thi_future_of_task(NULL, NULL, NULL);
    if (made == NULL)
        return ENOMEM;
    made->refs = 1;
    *f = made;
    return 0;
}

thrum_future_t *thrum_future_retain(thrum_future_t *f)
{
    if (f != NULL)
        thi_fetch_add_relaxed(&f->refs, 1u); /* relaxed: the caller has one */
    return f;
}

void thrum_future_release(thrum_future_t *f)
{
    /* Release and acquire: what the others did with it comes before it is freed. */
    if (f != NULL && thi_fetch_sub_acq_rel(&f->refs, 1u) == 1)
        free_future(f);
}

/* ------------------------------------------------------------------------------------------------
 * The end
 */

/* In the order added. */
static struct thi_callback *in_order(struct thi_callback *list, thrum_future_t *f)
{
    struct thi_callback *first = NULL;
    while (list != NULL) {
        struct thi_callback *next = list->next;
        list->f = f;
        list->next = first;
        first = list;
        list = next;
    }
    return first;
}

/* Under no lock. A callback of the library's own (a step) leaves the callbacks of what it ends here, in front:
 * they are called right after it. So of a chain of steps each is called in this loop and not inside the one
 * before, however long the chain is. */
static void call_all(struct thi_callback *list)
{
    while (list != NULL) {
        struct thi_callback *callback = list;
        thi_strand_t *self = thi_current.strand;
        list = callback->next;
        if (self != NULL && callback->drop != NULL)
            self->later = &list;
        callback->cb(callback->f, callback->arg);
        if (self != NULL)
            self->later = NULL;
        if (callback->keeps)
            thrum_future_release(callback->f);
        thi_block_give(callback);
    }
}

static struct thi_callback *last_of(struct thi_callback *list)
{
    while (list->next != NULL)
        list = list->next;
    return list;
}

static void leave_for_later(struct thi_callback **later, struct thi_callback *list)
{
    struct thi_callback *last = last_of(list);
    thrum_future_retain(last->f);
    last->keeps = true;
    last->next = *later;
    *later = list;
}

THI_NOINLINE static void call_back(thrum_future_t *f, struct thi_callback *list)
{
    const thi_strand_t *self = thi_current.strand;
    list = in_order(list, f);
    if (self != NULL && self->later != NULL)
        leave_for_later(self->later, list);
    else
        call_all(list);
}

/* After the swap that ended it; `word` is what it was. */
static void tell(thrum_future_t *f, uint64_t word)
{
    if (THI_UNLIKELY((word & SLEEPERS) != 0))
        thi_lot_unpark(&(thi_unpark_t){.key = f, .site = &site, .n = THI_ALL});
    if (THI_UNLIKELY(callbacks_of(word) != NULL))
        call_back(f, callbacks_of(word));
}

static void end(thrum_future_t *f, unsigned state)
{
    /* R1: release; pairs with A1. Acquire: the callbacks that were added. */
    tell(f, thi_swap_acq_rel(&f->word, (uint64_t)state));
}

bool thi_future_start(thrum_future_t *f)
{
    uint64_t word = thi_load_relaxed(&f->word);
    do {
        if (state_of(word) != THI_FUTURE_PENDING || (word & SETTLING) != 0)
            return false;
        /* Acquire: what the submitter wrote, for a waiter that runs the task itself. */
    } while (!thi_cas_acquire(&f->word, &word, word | THI_FUTURE_RUNNING));
    return true;
}

void thi_future_finish(thrum_future_t *f, int error, void *value)
{
    f->error = error;
    f->value = error == 0 ? value : NULL;
    end(f, THI_FUTURE_DONE);
}

/* Leaves the callbacks to whoever ended it. */
static struct thi_callback *tell_apart(thrum_future_t *f, uint64_t word)
{
    struct thi_callback *list = callbacks_of(word);
    tell(f, word & FLAGS);
    if (THI_LIKELY(list == NULL))
        return NULL;
    list = in_order(list, f);
    thrum_future_retain(f);
    last_of(list)->keeps = true;
    return list;
}

struct thi_callback *thi_future_finish_apart(thrum_future_t *f, int error, void *value)
{
    f->error = error;
    f->value = error == 0 ? value : NULL;
    return tell_apart(f, thi_swap_acq_rel(&f->word, (uint64_t)THI_FUTURE_DONE)); /* R1, as in end */
}

void thi_callbacks_append(struct thi_callback **first, struct thi_callback **last,
                          struct thi_callback *more)
{
    if (*first == NULL)
        *first = more;
    else
        (*last)->next = more;
    *last = last_of(more);
}

void thi_callbacks_call(struct thi_callback *list)
{
    const thi_strand_t *self = thi_current.strand;
    if (self == NULL || self->later == NULL) {
        call_all(list);
        return;
    }
    struct thi_callback **later = self->later;
    last_of(list)->next = *later; /* each has a reference to its future */
    *later = list;
}

/* A promise: wins the right to end it. */
static bool settle(thrum_future_t *f)
{
    uint64_t word = thi_load_relaxed(&f->word);
    do {
        if (has_ended(word) || (word & SETTLING) != 0 || f->fn != NULL)
            return false;
    } while (!thi_cas_acquire(&f->word, &word, word | SETTLING));
    return true;
}

int thrum_future_start(thrum_future_t *f)
{
    if (f == NULL || f->fn != NULL)
        return EINVAL;
    if (thi_future_start(f))
        return 0;
    return thrum_future_cancelled(f) ? ECANCELED : EINVAL;
}

int thrum_future_complete(thrum_future_t *f, void *value)
{
    if (f == NULL || !settle(f))
        return EINVAL;
    if (!THI_PLANT("future-not-kept"))
        thrum_future_retain(f); /* I3: a sleeper may drop the caller's reference */
    thi_future_finish(f, 0, value);
    if (!THI_PLANT("future-not-kept"))
        thrum_future_release(f);
    return 0;
}

int thrum_future_fail(thrum_future_t *f, int error)
{
    if (f == NULL || error <= 0 || !settle(f))
        return EINVAL;
    thrum_future_retain(f);
    thi_future_finish(f, error, NULL);
    thrum_future_release(f);
    return 0;
}

static bool withdraw(thrum_future_t *f, uint64_t *before)
{
    uint64_t word = thi_load_relaxed(&f->word);
    do {
        if (state_of(word) != THI_FUTURE_PENDING || (word & SETTLING) != 0)
            return false;
        /* R2: release; pairs with A1. */
    } while (!thi_cas_acq_rel(&f->word, &word, (uint64_t)THI_FUTURE_CANCELLED));
    *before = word;
    return true;
}

bool thi_future_cancel(thrum_future_t *f)
{
    uint64_t word = 0;
    if (!withdraw(f, &word))
        return false;
    tell(f, word);
    return true;
}

struct thi_callback *thi_future_cancel_apart(thrum_future_t *f)
{
    uint64_t word = 0;
    return withdraw(f, &word) ? tell_apart(f, word) : NULL;
}

bool thrum_future_cancel(thrum_future_t *f)
{
    if (f == NULL)
        return false;
    bool cancelled = false;
    thrum_future_retain(f);
    /* The executor may be gone once it is cancelled; it finds that out, and counts it, by itself. */
    if (f->remote != NULL)
        cancelled = f->remote->kind->cancel(f->remote) || thrum_future_cancelled(f);
    else
        cancelled = thi_future_cancel(f) || thrum_future_cancelled(f);
    thrum_future_release(f);
    return cancelled;
}

int thrum_future_interrupt(thrum_future_t *f)
{
    if (f == NULL)
        return EINVAL;
    if (thrum_future_cancel(f))
        return 0;
    if (has_ended(load(f)))
        return EINVAL;
    if (f->fn == NULL || f->remote != NULL)
        return ENOTSUP;
    thi_scope_cancel(&f->scope);
    /* Records of strands stay valid, and an unpark that comes too late does no harm. Whoever is not the
     * runner yet will look after the scope was cancelled. */
    thi_strand_t *runner = thi_load_acquire(&f->runner); /* A1 */
    if (runner != NULL)
        thi_strand_unpark(runner);
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * Looking
 */

bool thrum_future_cancelled(const thrum_future_t *f)
{
    return f != NULL && state_of(load(f)) == THI_FUTURE_CANCELLED;
}

bool thrum_future_running(const thrum_future_t *f)
{
    if (f == NULL || has_ended(load(f)))
        return false;
    if (f->remote != NULL)
        return f->remote->kind->running(f->remote);
    return state_of(load(f)) == THI_FUTURE_RUNNING;
}

bool thrum_future_done(const thrum_future_t *f)
{
    return f != NULL && has_ended(load(f));
}

/* ------------------------------------------------------------------------------------------------
 * Waiting
 */

/* Under the bucket's lock. */
static bool must_wait(void *arg)
{
    thrum_future_t *f = arg;
    uint64_t word = thi_load_relaxed(&f->word);
    do {
        if (has_ended(word))
            return false;
        /* W1: relaxed; the end swaps the word, so it sees this or comes before it. */
    } while (!THI_PLANT("future-no-mark") && !thi_cas_relaxed(&f->word, &word, word | SLEEPERS));
    return true;
}

thi_park_t thi_future_park(thrum_future_t *f)
{
    return (thi_park_t){
        .site = &site, .key = f, .arg = f, .validate = must_wait, .cancellable = true};
}

static bool may_help(const thi_strand_t *self, thrum_time_t deadline)
{
    return !thi_strand_cancelled(self) &&
           (deadline == THRUM_FOREVER || thi_help_in_time(self, deadline));
}

bool thi_future_help(thrum_future_t *f, thi_strand_t *self, thrum_time_t deadline)
{
    /* May be gone, unless it is our own. A3: acquire; pairs with R1 of then.c. */
    thrum_executor_t *ex = thi_load_acquire(&f->executor);
    if (ex == NULL || self->home != ex || !may_help(self, deadline) || !thi_future_start(f))
        return false;
    const thi_midst_t midst = thi_midst_leave(self);
    ex->kind->count(ex, thi_future_run(f, self));
    thi_midst_return(self, midst);
    return true;
}

bool thi_future_runs_on(const thrum_future_t *f, const thi_strand_t *self)
{
    return state_of(load(f)) == THI_FUTURE_RUNNING && thi_load_relaxed(&f->runner) == self;
}

static bool spin(const thrum_future_t *f)
{
    thi_spin_t turns = thi_spin_begin();
    bool ended = false;
    do
        ended = has_ended(load(f));
    while (!ended && thi_spin_turn(&turns));
    thi_spin_end(&turns, ended);
    return ended;
}

THI_NOINLINE static int wait_slow(thrum_future_t *f, thrum_time_t deadline)
{
    thi_strand_t *self = thi_self();
    if (self == NULL)
        return ENOMEM;
    if (f->remote != NULL)
        return thi_remote_wait(f, self, deadline);
    if (thi_future_runs_on(f, self))
        return EDEADLK;
    if (thi_future_help(f, self, deadline) || spin(f))
        return 0;
    thi_park_t park = thi_future_park(f);
    const int err = thi_lot_park(&park, deadline);
    if (err != 0 && err != EAGAIN)
        return err;
    (void)load(f); /* A1 */
    return 0;
}

int thrum_future_wait_until(thrum_future_t *f, thrum_time_t deadline)
{
    if (f == NULL)
        return EINVAL;
    return THI_LIKELY(has_ended(load(f))) ? 0 : wait_slow(f, deadline);
}

int thrum_future_wait(thrum_future_t *f)
{
    return thrum_future_wait_until(f, THRUM_FOREVER);
}

int thrum_future_trywait(thrum_future_t *f)
{
    if (f == NULL)
        return EINVAL;
    return has_ended(load(f)) ? 0 : EAGAIN;
}

int thi_future_status(const thrum_future_t *f)
{
    return state_of(load(f)) == THI_FUTURE_CANCELLED ? ECANCELED : f->error;
}

int thrum_future_result_until(thrum_future_t *f, void **value, thrum_time_t deadline)
{
    const int err = thrum_future_wait_until(f, deadline);
    if (err != 0)
        return err;
    if (value != NULL)
        *value = f->value;
    return thi_future_status(f);
}

int thrum_future_result(thrum_future_t *f, void **value)
{
    return thrum_future_result_until(f, value, THRUM_FOREVER);
}

/* ------------------------------------------------------------------------------------------------
 * Callbacks
 */

int thi_future_add(thrum_future_t *f, void (*cb)(thrum_future_t *f, void *arg),
                   void (*drop)(void *arg), void *arg)
{
    struct thi_callback *callback = thi_block_take();
    if (callback == NULL)
        return ENOMEM;
    *callback = (struct thi_callback){.cb = cb, .drop = drop, .arg = arg};
    uint64_t word = load(f);
    do {
        if (has_ended(word)) {
            (void)load(f); /* A1: a failed swap has acquired nothing */
            thi_block_give(callback);
            cb(f, arg);
            return 0;
        }
        callback->next = callbacks_of(word);
        if (THI_PLANT("future-late-callback"))
            word = load(f);
        /* R3: release; pairs with the swap that ends it. */
    } while (!thi_cas_release(&f->word, &word, (uint64_t)(uintptr_t)callback | (word & FLAGS)));
    return 0;
}

int thrum_future_add_done_callback(thrum_future_t *f, void (*cb)(thrum_future_t *f, void *arg),
                                   void *arg)
{
    if (f == NULL || cb == NULL)
        return EINVAL;
    thrum_future_retain(f); /* the callback may drop the caller's */
    const int err = thi_future_add(f, cb, NULL, arg);
    thrum_future_release(f);
    return err;
}

/* ------------------------------------------------------------------------------------------------
 * Select
 */

static bool case_valid(const thrum_case_t *c)
{
    return c->object != NULL;
}

static int case_attempt(const thrum_case_t *c, uint32_t since)
{
    (void)since; /* what is done stays so */
    return thrum_future_trywait(c->object);
}

bool thi_future_enter(thrum_future_t *f, thi_wait_t *wait, thi_waiter_t *waiter, uint32_t index)
{
    const thi_park_t park = thi_future_park(f);
    return thi_lot_enter(wait, waiter, index, &park);
}

void thi_future_leave(thrum_future_t *f, thi_waiter_t *waiter)
{
    const thi_park_t park = thi_future_park(f);
    thi_lot_leave(waiter, &park);
}

static bool case_enter(const thrum_case_t *c, uint32_t since, thi_wait_t *wait,
                       thi_waiter_t *waiter, uint32_t index)
{
    (void)since;
    return thi_future_enter(c->object, wait, waiter, index);
}

static void case_leave(const thrum_case_t *c, thi_waiter_t *waiter)
{
    thi_future_leave(c->object, waiter);
}

/* Before the first future can exist. */
__attribute__((constructor)) static void register_case(void)
{
    static const thi_case_kind_t kind = {.valid = case_valid,
                                         .attempt = case_attempt,
                                         .enter = case_enter,
                                         .leave = case_leave,
                                         .won = case_attempt};
    thi_case_register(THRUM_CASE_KIND_FUTURE, &kind);
}
