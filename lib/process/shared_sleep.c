/*
 * How strands wait in shared memory.
 *
 * A thread sleeps on the word itself, and, so that it can be cancelled, on its permit. For a coroutine a helper
 * thread does, and tells it when there is something to look at: the coroutine looks, and takes, by itself, so
 * that the holder of a lock is its thread. A helper that waits for a guard takes it and lets it go at once; so it
 * is one more process that may be killed at any time, and no wake-up is lost with it.
 *
 *   helper    IDLE        in the list, or about to be
 *             ASKED       written by who asks; the helper sleeps on what it was asked
 *             ANSWERED    written by the helper; whoever asked makes it IDLE
 *             CALLED_OFF  written by who asked, and goes; the helper makes itself IDLE, also when it finds that
 *                         before it has seen that it was ASKED
 *
 * Helpers are never freed: whoever asked one parks on its address. There are as many as coroutines have slept at
 * the same time. They are none of the threads that the library counts.
 */
#include <unistd.h>

#include "process/process.h"

#define IDLE 0u
#define ASKED 1u
#define ANSWERED 2u
#define CALLED_OFF 3u

typedef struct helper {
    struct helper *next; /* in the list of idle ones */
    uint32_t state;
    uint32_t expected;
    uint32_t *word; /* NULL: the guard */
    thi_guard_t *guard;
    thrum_time_t deadline;
    int result;
    const thi_site_t *site;
    thi_start_t start;
} helper_t;

static thi_lock_t idle_lock;
static helper_t *idle;
static size_t made; /* relaxed: for tests, after they have seen to it that none is being made */

/* Threads of the parent. Their records are lost, which are no more than it had. */
static void after_fork_in_child(void)
{
    idle_lock = (thi_lock_t){0}; /* nobody else is there to unlock it */
    idle = NULL;
    made = 0;
}

/* When the library is loaded: see thread_strand.c. */
__attribute__((constructor)) static void at_load(void)
{
    thi_strand_at_load();
    thi_at_fork(NULL, NULL, after_fork_in_child);
}

static void put_helper(helper_t *helper)
{
    thi_lock(&idle_lock, THI_RANK_HELPERS);
    helper->next = idle;
    idle = helper;
    thi_unlock(&idle_lock, THI_RANK_HELPERS);
}

static int wait_for_guard(helper_t *helper)
{
    const int err = thi_guard_lock(helper->guard, helper->deadline);
    if (err == 0 || err == EOWNERDEAD)
        thi_guard_unlock(helper->guard);
    return err == ETIMEDOUT ? ETIMEDOUT : 0;
}

static int wait_for_word(helper_t *helper)
{
    return thi_far_wait(helper->word, helper->expected, helper->deadline,
                        thi_far_near() ? &helper->state : NULL, ASKED);
}

/* CALLED_OFF: nobody else changes it. */
static void become_idle(helper_t *helper)
{
    thi_store_relaxed(&helper->state, IDLE);
    put_helper(helper);
    if (!thi_far_near())
        thi_futex_wake(&helper->state, UINT_MAX); /* who waits in rouse */
}

static void serve(helper_t *helper)
{
    uint32_t asked = ASKED;
    const thi_site_t *site = helper->site;
    helper->result = helper->word != NULL ? wait_for_word(helper) : wait_for_guard(helper);
    /* R1: release; pairs with A1. */
    if (thi_cas_release(&helper->state, &asked, ANSWERED))
        thi_lot_unpark(&(thi_unpark_t){.key = helper, .site = site, .n = THI_ALL});
    else
        become_idle(helper);
}

/* A2: acquire; pairs with R2. */
static void helper_main(void *arg)
{
    helper_t *helper = arg;
    for (;;) {
        uint32_t state = thi_load_acquire(&helper->state);
        if (state == ASKED)
            serve(helper);
        else if (state == CALLED_OFF)
            become_idle(helper);
        else
            thi_futex_wait(&helper->state, state, THRUM_FOREVER);
    }
}

static helper_t *make_helper(void)
{
    helper_t *helper = thi_alloc(sizeof *helper);
    if (helper == NULL)
        return NULL;
    helper->start = (thi_start_t){.fn = helper_main, .arg = helper, .detached = true};
    if (thi_thread_start(&helper->start) == 0) {
        thi_fetch_add_relaxed(&made, (size_t)1);
        return helper;
    }
    thi_free(helper, sizeof *helper);
    return NULL;
}

static helper_t *get_helper(void)
{
    thi_lock(&idle_lock, THI_RANK_HELPERS);
    helper_t *helper = idle;
    if (helper != NULL)
        idle = helper->next;
    thi_unlock(&idle_lock, THI_RANK_HELPERS);
    return helper != NULL ? helper : make_helper();
}

size_t thi_shared_helpers(size_t *all)
{
    size_t n = 0;
    thi_lock(&idle_lock, THI_RANK_HELPERS);
    for (const helper_t *helper = idle; helper != NULL; helper = helper->next)
        n++;
    thi_unlock(&idle_lock, THI_RANK_HELPERS);
    *all = thi_load_relaxed(&made);
    return n;
}

static bool still_asked(void *arg)
{
    const helper_t *helper = arg;
    return thi_load_relaxed(&helper->state) == ASKED;
}

/* A helper that was called off, and sleeps on the word alone. It may be about to, where a wake does not reach it:
 * it is woken until it has heard. That is while it gets a processor; the caller's thread waits for it. */
THI_COLD static void rouse(helper_t *helper, uint32_t *word)
{
    while (thi_load_relaxed(&helper->state) == CALLED_OFF) {
        thi_far_wake(word); /* all of them, who look again */
        thi_futex_wait(&helper->state, CALLED_OFF, thrum_after(THRUM_MS(1)));
    }
}

/* What the helper says, or ECANCELED. */
static int ask(helper_t *helper, bool cancellable, const thi_site_t *site)
{
    thi_park_t park = {.site = site,
                       .key = helper,
                       .arg = helper,
                       .validate = still_asked,
                       .cancellable = cancellable};
    uint32_t asked = ASKED;
    uint32_t *word = helper->word; /* it may be asked by another as soon as it is called off */
    helper->site = site;
    thi_store_release(&helper->state, ASKED); /* R2: release; pairs with A2 */
    thi_futex_wake(&helper->state, UINT_MAX); /* somebody else may still be in rouse */
    int err = 0;
    while (thi_load_acquire(&helper->state) == ASKED && err == 0) { /* A1 */
        err = thi_lot_park(&park, THRUM_FOREVER);
        if (err == EAGAIN)
            err = 0;
    }
    /* G1: relaxed; what it was asked is not looked at any more. */
    if (err != 0 && thi_cas_relaxed(&helper->state, &asked, CALLED_OFF)) {
        thi_futex_wake(&helper->state, UINT_MAX);
        if (word != NULL && !thi_far_near())
            rouse(helper, word);
        return err;
    }
    err = thi_load_acquire(&helper->state) == ANSWERED ? helper->result : 0; /* A1 */
    thi_store_relaxed(&helper->state, IDLE);
    put_helper(helper);
    return err;
}

/* ------------------------------------------------------------------------------------------------ */

static bool is_thread(const thi_strand_t *self)
{
    return self->kind->block == thi_thread_block;
}

static thrum_time_t begin_sleep(thi_strand_t *self, const thi_site_t *site, const void *object)
{
    if (THI_UNLIKELY(self->on_sleep != NULL))
        self->on_sleep(self, true);
    return thi_strand_waits(self, site, object);
}

static void end_sleep(thi_strand_t *self, thrum_time_t start)
{
    thi_spin_slept(self, thi_strand_waits(self, NULL, NULL) - start);
    if (THI_UNLIKELY(self->on_sleep != NULL))
        self->on_sleep(self, false);
}

static bool has_passed(thrum_time_t deadline)
{
    return deadline != THRUM_FOREVER && deadline <= thi_clock();
}

/* EBUSY: again. Without a helper the thread waits, unless it is itself that it would wait for. */
static int lock_by_helper(thi_guard_t *guard, thrum_time_t deadline, const thi_site_t *site)
{
    if (has_passed(deadline))
        return ETIMEDOUT;
    helper_t *helper = get_helper();
    if (helper == NULL) {
        const int err = thi_guard_lock(guard, deadline);
        return err == EDEADLK ? ENOMEM : err;
    }
    helper->word = NULL;
    helper->guard = guard;
    helper->deadline = deadline;
    const int told = ask(helper, false, site);
    const int err = thi_guard_trylock(guard);
    if (err != EBUSY && err != EDEADLK)
        return err;
    return told == 0 ? EBUSY : told;
}

static int lock_slow(thi_guard_t *guard, thrum_time_t deadline, const thi_site_t *site)
{
    int err = EBUSY;
    thi_strand_t *self = thi_self();
    if (self == NULL)
        return ENOMEM;
    thi_spin_t spin = thi_spin_begin();
    while (err == EBUSY && thi_spin_turn(&spin))
        err = thi_guard_trylock(guard);
    thi_spin_end(&spin, err != EBUSY);
    if (err == EBUSY && is_thread(self)) {
        const thrum_time_t start = begin_sleep(self, site, guard);
        err = thi_guard_lock(guard, deadline);
        end_sleep(self, start);
    }
    while (!is_thread(self) && (err == EBUSY || err == EDEADLK))
        err = lock_by_helper(guard, deadline, site);
    return err;
}

int thi_shared_lock(thi_guard_t *guard, thrum_time_t deadline, const thi_site_t *site)
{
    const int err = thi_guard_trylock(guard);
    return THI_LIKELY(err == 0 || err == EOWNERDEAD) ? err : lock_slow(guard, deadline, site);
}

int thi_shared_lock_plain(thi_guard_t *guard, thrum_time_t deadline, const thi_site_t *site)
{
    const int err = thi_shared_lock(guard, deadline, site);
    if (THI_LIKELY(err != EOWNERDEAD))
        return err;
    thi_guard_mend(guard);
    return 0;
}

static int sleep_by_helper(uint32_t *word, uint32_t expected, thrum_time_t deadline,
                           bool cancellable, const thi_site_t *site)
{
    if (cancellable && thi_strand_cancelled(thi_self()))
        return ECANCELED;
    if (has_passed(deadline))
        return ETIMEDOUT;
    helper_t *helper = get_helper();
    if (helper == NULL)
        return ENOMEM;
    helper->word = word;
    helper->expected = expected;
    helper->deadline = deadline;
    return ask(helper, cancellable, site);
}

int thi_shared_sleep(uint32_t *word, uint32_t expected, thrum_time_t deadline, bool cancellable,
                     const thi_site_t *site)
{
    thi_strand_t *self = thi_self();
    if (self == NULL)
        return ENOMEM;
    if (!is_thread(self) || !thi_far_near())
        return sleep_by_helper(word, expected, deadline, cancellable, site);
    const thrum_time_t start = begin_sleep(self, site, word);
    int err =
        ECANCELED; /* asked for after on_sleep, which may have waited, and taken the permit of that */
    if (!cancellable || !thi_strand_cancelled(self)) {
        self->far_word = word;
        self->far_expected = expected;
        err = thi_strand_park(self, deadline);
        self->far_word = NULL;
    }
    end_sleep(self, start);
    return err;
}

uint64_t thi_shared_process;

/* Process ids are used again, and what a dead one has signed with stays: hence not those alone. */
uint64_t thi_shared_process_begins(void)
{
    uint64_t known = thi_load_relaxed(&thi_shared_process);
    const uint64_t mixed =
        ((uint64_t)thi_clock() ^ (uint64_t)getpid() << 40) * UINT64_C(0x9E3779B97F4A7C15);
    const uint64_t number = (uint64_t)thi_fork_mark << 32 | mixed >> 32 | 1u;
    while (known >> 32 != thi_fork_mark)
        /* Relaxed: the first that comes says what it is. */
        if (thi_cas_relaxed(&thi_shared_process, &known, number))
            return number;
    return known;
}
