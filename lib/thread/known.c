/*
 * All threads that are known: who they are, who the calling one is, the process's end, and fork.
 *
 * The list holds no references: a thread leaves it before it gives its own back.
 *
 * Invariants
 *   I1  `others` counts the known threads that exit waits for: those with `awaited` set.
 *   I2  Once `closing`, only they may add to it, each before it is done itself. So when it has come to
 *       zero it stays there.
 *   I3  The main thread is known from the start, although it has said nothing yet.
 */
#include <thrum/cancel.h>
#include <thrum/waitgroup.h>

#include "thread/object.h"

thi_lock_t thi_threads_lock;

/* Its `state` is STARTED before anybody looks; what begin does comes when it first asks who it is. */
struct thrum_thread thi_main_thread = {
    .refs = 1,
    .state = THI_THREAD_STARTED,
    .foreign = true,
    .ident = 1,
    .name = thi_main_thread.short_name,
    .short_name = "main",
};

static struct thrum_thread *first = &thi_main_thread;
static struct thrum_thread *last = &thi_main_thread;
static struct thrum_thread *orphans; /* lost, and nobody has a handle: not to be leaked */
static size_t known = 1;
static uint64_t idents = 1;
static thrum_waitgroup_t others = THRUM_WAITGROUP_INIT;
static bool closing;
static void (*after_threads)(void); /* the same for ever, once it is there */

/* ------------------------------------------------------------------------------------------------
 * The list; all under the lock
 */

static void append(struct thrum_thread *t)
{
    t->prev = last;
    t->next = NULL;
    if (last != NULL)
        last->next = t;
    else
        first = t;
    last = t;
    known++;
}

static void take_out(struct thrum_thread *t)
{
    if (t->prev != NULL)
        t->prev->next = t->next;
    else
        first = t->next;
    if (t->next != NULL)
        t->next->prev = t->prev;
    else
        last = t->prev;
    known--;
}

/* The caller owes `others` a done. */
static bool forgo(struct thrum_thread *t)
{
    const bool owed = t->awaited;
    t->awaited = false;
    return owed;
}

bool thi_known_awaited(void)
{
    const struct thrum_thread *self = thi_thread_self();
    return self != NULL && self->awaited; /* nobody else changes it while the thread runs */
}

static int add_locked(struct thrum_thread *t)
{
    const bool daemon = thi_load_relaxed(&t->daemon) != 0;
    if (!daemon && !t->foreign) {
        if (closing && !thi_known_awaited()) /* I2 */
            return ESHUTDOWN;
        if (thrum_waitgroup_add(&others, 1) != 0)
            return ENOMEM;
        t->awaited = true;
    }
    if (t->ident == 0)
        thi_store_relaxed(&t->ident, ++idents);
    append(t);
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * The end of the process
 */

static int await_others(void *arg, void **result)
{
    (void)arg;
    (void)result;
    return thrum_waitgroup_wait(&others);
}

/* The calling thread does not wait for itself, and who joins it is told, if exit waits for him. */
static void leave(struct thrum_thread *self)
{
    thi_threads_enter();
    const bool owed = forgo(self);
    thi_store_release(&self->state, THI_THREAD_LEAVING);
    thi_threads_leave();
    thrum_event_set(&self->ended);
    if (owed)
        thrum_waitgroup_done(&others);
}

void thi_exit_wait(void)
{
    struct thrum_thread *self = thi_thread_self();
    thi_threads_enter();
    closing = true;
    thi_threads_leave();
    if (self != NULL && !self->foreign)
        leave(self);
    /* Held back: a thread that was asked to stop waits for the others as well. */
    (void)thrum_shield(await_others, NULL, NULL);
    void (*after)(void) = thi_load_relaxed(&after_threads);
    if (after != NULL)
        after();
}

/* ------------------------------------------------------------------------------------------------
 * Fork
 */

static void before_fork(void)
{
    thi_threads_enter();
}

static void after_fork_in_parent(void)
{
    thi_threads_leave();
}

/* Returns whether it is an orphan. */
static bool lose(struct thrum_thread *t)
{
    t->strand = NULL;
    t->named_here = false;
    t->awaited = false;
    thi_store_release(&t->state, THI_THREAD_LOST);
    return thi_fetch_sub_acq_rel(&t->refs, 1u) == 1 && t != &thi_main_thread;
}

/* The thread that forked is the main thread now, and lives on as what it was. */
static void stay(struct thrum_thread *me)
{
    append(me);
    if (thi_thread_mine == NULL) { /* the main thread was another, and may have said who it is */
        me->strand = NULL;
        me->named_here = false;
        me->cancelled = false;
        if (thi_load_relaxed(&me->state) != THI_THREAD_STARTED)
            thi_fetch_add_relaxed(&me->refs, 1u); /* or had ended */
        thi_store_relaxed(&me->state, THI_THREAD_STARTED);
    }
    me->forks = thi_fork_depth();
    thi_store_relaxed(&me->native_id, (uint32_t)thi_thread_native_id());
    if (me->awaited)
        (void)thrum_waitgroup_add(&others, 1);
}

static void after_fork_in_child(void)
{
    struct thrum_thread *me = thi_thread_mine != NULL ? thi_thread_self() : &thi_main_thread;
    struct thrum_thread *t = first;
    first = NULL;
    last = NULL;
    known = 0;
    closing = false;
    (void)thrum_waitgroup_init(&others);
    while (t != NULL) {
        struct thrum_thread *next = t->next;
        if (t != me && lose(t)) {
            t->next = orphans;
            orphans = t;
        }
        t = next;
    }
    if (me != NULL)
        stay(me);
    thi_timers_after_fork();
    thi_threads_leave();
}

__attribute__((constructor)) static void at_load(void)
{
    thi_strand_at_load();
    thi_at_fork(before_fork, after_fork_in_parent, after_fork_in_child);
}

/* Not with the rest, since it may fail, and be tried again. Registered twice it does no harm. */
static int prepare_exit(void)
{
    static uint32_t prepared;
    if (thi_load_relaxed(&prepared) != 0)
        return 0;
    const int err = thi_process_at_exit(thi_exit_wait);
    if (err == 0)
        thi_store_relaxed(&prepared, 1u);
    return err;
}

int thi_exit_after_threads(void (*fn)(void))
{
    thi_store_relaxed(&after_threads, fn);
    return prepare_exit();
}

/* ------------------------------------------------------------------------------------------------
 * Coming and going
 */

int thi_known_add(struct thrum_thread *t)
{
    int err = prepare_exit();
    if (err != 0)
        return err;
    thi_threads_enter();
    err = add_locked(t);
    thi_threads_leave();
    return err;
}

void thi_known_remove(struct thrum_thread *t, uint32_t state)
{
    thi_threads_enter();
    take_out(t);
    const bool owed = forgo(t);
    t->named_here = false;
    if (state == THI_THREAD_STARTING)
        thi_store_relaxed(&t->ident, UINT64_C(0));
    /* R1: release; pairs with A1 of thread.c: what the thread did, its status and result. */
    thi_store_release(&t->state, state);
    thi_threads_leave();
    if (state == THI_THREAD_ENDED)
        thrum_event_set(&t->ended);
    if (owed)
        thrum_waitgroup_done(&others);
}

/* The main thread tells its name to nobody; what is missing is what only it can say. */
static void adopt_main(void)
{
    if (thi_thread_begin(&thi_main_thread) == 0)
        return;
    thi_threads_enter();
    thi_main_thread.strand = NULL; /* it would not be told when that ends */
    thi_threads_leave();
}

static struct thrum_thread *adopt_stranger(void)
{
    struct thrum_thread *t = thi_self() != NULL ? thi_alloc(sizeof *t) : NULL;
    if (t == NULL)
        return NULL;
    t->refs = 1;
    t->state = THI_THREAD_STARTED;
    t->foreign = true;
    t->daemon = true;
    t->name = t->short_name;
    thi_thread_name(thi_thread_native_id(), t->short_name, sizeof t->short_name);
    if (thi_thread_begin(t) != 0) {
        thi_thread_mine = NULL;
        thi_free(t, sizeof *t);
        return NULL;
    }
    thi_threads_enter();
    (void)add_locked(t); /* cannot fail */
    thi_threads_leave();
    return t;
}

thrum_thread_t *thrum_thread_current(void)
{
    if (THI_LIKELY(thi_thread_mine != NULL))
        return thi_thread_self();
    if (thi_thread_native_id() != thi_thread_main_id())
        return adopt_stranger();
    if (thi_self() != NULL) /* else it may ask again */
        adopt_main();
    return &thi_main_thread;
}

size_t thrum_thread_count(void)
{
    thi_threads_enter();
    const size_t count = known;
    thi_threads_leave();
    return count;
}

size_t thrum_thread_list(thrum_thread_t **out, size_t n)
{
    size_t count = 0;
    thi_threads_enter();
    for (struct thrum_thread *t = first; t != NULL && out != NULL && count < n; t = t->next)
        out[count++] = thrum_thread_retain(t);
    thi_threads_leave();
    return count;
}
