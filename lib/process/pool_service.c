/*
 * The parent's two threads. The service thread never calls the program: it hears of deaths, keeps time limits, and
 * takes in answers when nobody else looks. The calling thread calls callbacks, however long they take.
 */
#include <stdio.h>

#include "process/pool.h"

#define HEAVY 16u /* answers at a look: more are to come, and nobody need be woken for each */
#define NAP_US 50u

/* ------------------------------------------------------------------------------------------------
 * Service
 */

void thi_ppool_kick(thi_ppool_t *pool)
{
    thi_signal_set(pool->signal, true);
}

/* False: there is something to look at. */
static bool arm(thi_ppool_t *pool)
{
    thi_fetch_or_acq_rel(&pool->hall->listening, THI_ARMED);
    thi_fence_full(); /* I1 of pool_collect.c */
    if (thi_load_relaxed(&pool->hall->listening) >= THI_LOOKER)
        return true; /* whoever looks does so once more when he leaves */
    return !thi_ppool_has_news(pool);
}

static void sleep_until(thi_ppool_t *pool, thrum_time_t deadline)
{
    thi_polled_t polled[3] = {{pool->signal, THI_POLL_IN, 0}};
    size_t n = 1;
    if (pool->has_family) {
        polled[n++] = (thi_polled_t){pool->family.channel, THI_POLL_IN, 0};
        polled[n++] = (thi_polled_t){pool->family.pidfd, THI_POLL_IN, 0};
    }
    (void)thi_poll(polled, n, deadline);
    if (polled[0].ready != 0)
        thi_signal_set(pool->signal, false);
}

static thrum_time_t earlier(thrum_time_t a, thrum_time_t b)
{
    return a < b ? a : b;
}

static void serve(thi_ppool_t *pool)
{
    for (;;) {
        (void)thi_fetch_and_acq_rel(&pool->hall->listening, ~THI_ARMED);
        const size_t answers = thi_ppool_drain(pool);
        thi_hands_hear(pool);
        const thrum_time_t late = thi_hands_check_time(pool);
        const thrum_time_t deadline = earlier(thi_hands_tend(pool), late);
        if (thi_ppool_is_over(pool))
            return;
        if (answers >= HEAVY)
            thi_nap(NAP_US);
        else if (arm(pool))
            sleep_until(pool, deadline);
    }
}

static void thread_ends(thi_ppool_t *pool)
{
    if (thi_fetch_sub_acq_rel(&pool->threads, 1u) == 1)
        thrum_event_set(&pool->gone);
    thi_ppool_unref(pool);
}

static void name_thread(const thi_ppool_t *pool, const char *what)
{
    char name[32];
    snprintf(name, sizeof name, "%s-%s", pool->name, what);
    thi_thread_set_name(thi_thread_handle(), name);
}

static void service_main(void *arg)
{
    thi_ppool_t *pool = arg;
    name_thread(pool, "svc");
    serve(pool);
    thi_caller_stop(pool);
    thread_ends(pool);
}

static int start(thi_ppool_t *pool, thi_start_t *how, void (*fn)(void *))
{
    *how = (thi_start_t){.fn = fn, .arg = pool, .detached = true};
    thi_fetch_add_relaxed(&pool->refs, 1u);
    thi_fetch_add_relaxed(&pool->threads, 1u);
    const int err = thi_thread_start(how);
    if (err == 0)
        return 0;
    thi_fetch_sub_relaxed(&pool->threads, 1u);
    thi_fetch_sub_relaxed(&pool->refs, 1u);
    return EAGAIN;
}

int thi_service_start(thi_ppool_t *pool)
{
    return start(pool, &pool->service, service_main);
}

/* ------------------------------------------------------------------------------------------------
 * Callbacks
 */

void thi_ppool_later(thi_ppool_t *pool, struct thi_callback *list)
{
    thi_lock(&pool->later_lock, THI_RANK_OFFICE);
    thi_callbacks_append(&pool->later, &pool->later_last, list);
    thi_unlock(&pool->later_lock, THI_RANK_OFFICE);
    thi_fetch_add_acq_rel(&pool->later_word, 1u);
    thi_futex_wake(&pool->later_word, 1);
}

static struct thi_callback *take_later(thi_ppool_t *pool)
{
    thi_lock(&pool->later_lock, THI_RANK_OFFICE);
    struct thi_callback *list = pool->later;
    pool->later = NULL;
    thi_unlock(&pool->later_lock, THI_RANK_OFFICE);
    return list;
}

static void call_until_end(thi_ppool_t *pool)
{
    for (;;) {
        const uint32_t word = thi_load_acquire(&pool->later_word);
        const bool ends = thi_load_acquire(&pool->later_end) != 0;
        struct thi_callback *list = take_later(pool);
        if (list != NULL)
            thi_callbacks_call(list);
        else if (ends)
            return;
        else
            (void)thi_futex_wait(&pool->later_word, word, THRUM_FOREVER);
    }
}

static void caller_main(void *arg)
{
    thi_ppool_t *pool = arg;
    thi_strand_t *self = thi_self();
    name_thread(pool, "call");
    if (self != NULL)
        self->home = pool;
    call_until_end(pool);
    if (self != NULL)
        self->home = NULL;
    thread_ends(pool);
}

int thi_caller_start(thi_ppool_t *pool)
{
    return start(pool, &pool->caller, caller_main);
}

void thi_caller_stop(thi_ppool_t *pool)
{
    thi_store_release(&pool->later_end, 1u);
    thi_fetch_add_acq_rel(&pool->later_word, 1u);
    thi_futex_wake(&pool->later_word, 1);
}
