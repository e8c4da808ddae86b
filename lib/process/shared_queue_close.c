/*
 * Close and abort, task_done and join.
 *
 *   done    63         10 9      3     2        1        0
 *          +-------------+--------+---------+--------+----------+
 *          | marked done | moments| ABORTED |   -    | SLEEPERS |
 *          +-------------+--------+---------+--------+----------+
 *
 * What was put needs no counter of its own: tail is one. Of an aborted queue it is what had been got by then
 * (`aborted`), so that an abort counts what it drops as done in the step that sets the mark.
 *
 * Invariants
 *   I1  A task_done that sees no SLEEPERS is a compare-and-swap. While there are SLEEPERS, `done` changes under
 *       done_guard only, so that who marks the last item can say what to add before the system adds it.
 *   I2  Whoever marks the last item counts a moment in the same step. A joiner that sees another number of
 *       moments than before knows that there was one.
 *   I3  `done` is looked at before what was put, and with an acquire: who sees an item marked sees it put.
 */
#include "process/shared_queue.h"

#define ONE_DONE UINT64_C(1024)
#define ONE_MOMENT UINT64_C(8)
#define MOMENTS (ONE_DONE - ONE_MOMENT)

static const thi_site_t join_site = {"shared queue join", NULL};

/* ------------------------------------------------------------------------------------------------
 * Close and abort
 */

static void mark(uint64_t *word, uint64_t marks)
{
    const uint64_t missing = marks & ~thi_load_relaxed(word);
    if (missing != 0)
        thi_word_add(word, (uint32_t)missing);
}

/* The items go; nobody gets them any more, whether they have gone or not. */
static void drop(thrum_shared_queue_t *q)
{
    thi_queue_memory_t *m = q->memory;
    const uint64_t tail = thi_word_count(thi_load_acquire(&m->tail));
    for (;;) {
        const uint64_t head = thi_word_count(thi_load_relaxed(&m->head));
        if (head == tail)
            break;
        thi_queue_advance(q, thi_order_slot_to_get(q, head, tail), head, tail);
    }
}

/* A holder changes one word, or none. */
static void lock_done(thi_queue_memory_t *m)
{
    int err = thi_shared_lock(&m->done_guard, THRUM_FOREVER, &join_site);
    if (THI_UNLIKELY(err == ENOMEM)) /* a thread that is not known sleeps as it is */
        err = thi_guard_lock(&m->done_guard, THRUM_FOREVER);
    if (THI_UNLIKELY(err == EOWNERDEAD))
        thi_guard_mend(&m->done_guard);
}

void thi_queue_finish_closing(thrum_shared_queue_t *q)
{
    thi_queue_memory_t *m = q->memory;
    const uint32_t closing = thi_load_relaxed(&m->closing);
    const bool abort = (closing & THI_ABORTING) != 0;
    thi_death_point("shared queue: finish closing 1");
    mark(&m->head, THI_CLOSED);
    thi_death_point("shared queue: finish closing 2");
    if (abort) {
        lock_done(m);
        mark(&m->done, THI_ABORTED);
        thi_death_point("shared queue: finish closing 3");
        (void)thi_guard_unlock(&m->done_guard);
    }
    mark(&m->tail, abort ? THI_CLOSED | THI_ABORTED : THI_CLOSED);
    thi_death_point("shared queue: finish closing 4");
    if (abort)
        drop(q);
    thi_store_release(&m->closing, closing | THI_CLOSING_DONE);
}

static int end(thrum_shared_queue_t *q, uint32_t how)
{
    if (q == NULL)
        return EINVAL;
    thi_queue_memory_t *m = q->memory;
    const int err = thi_queue_enter_both(q, THRUM_FOREVER);
    if (err != 0)
        return err;
    thi_death_point("shared queue: end 1");
    const uint32_t closing = thi_load_relaxed(&m->closing);
    if (closing == 0 || (how == THI_ABORTING && (closing & THI_ABORTING) == 0)) {
        if (how == THI_ABORTING)
            thi_store_release(&m->aborted, thi_word_count(thi_load_relaxed(&m->head)));
        thi_death_point("shared queue: end 2");
        thi_store_release(&m->closing, how);
        thi_queue_finish_closing(q);
    }
    thi_death_point("shared queue: end 3");
    thi_queue_leave_both(q);
    return 0;
}

int thrum_shared_queue_close(thrum_shared_queue_t *q)
{
    return end(q, THI_CLOSING);
}

int thrum_shared_queue_abort(thrum_shared_queue_t *q)
{
    return end(q, THI_ABORTING);
}

/* ------------------------------------------------------------------------------------------------
 * Counting
 */

static uint64_t done_of(uint64_t word)
{
    return word / ONE_DONE;
}

/* How many items there were to be done, of which `word` counts those that are. */
static uint64_t to_be_done(const thi_queue_memory_t *m, uint64_t word)
{
    if ((word & THI_ABORTED) != 0)
        return m->aborted; /* stored before the mark, and not again */
    return thi_word_count(thi_load_acquire(&m->tail));
}

/* What a task_done adds: 0: there is nothing to be marked. */
static uint64_t one_more(const thi_queue_memory_t *m, uint64_t word)
{
    const uint64_t left = to_be_done(m, word) - done_of(word);
    if ((int64_t)left <= 0)
        return 0;
    if (left > 1)
        return ONE_DONE;
    return (word & MOMENTS) == MOMENTS ? ONE_DONE - MOMENTS : ONE_DONE + ONE_MOMENT;
}

/* There are SLEEPERS: 0, EINVAL, or EAGAIN: there are none any more. */
THI_COLD static int mark_for_sleepers(thi_queue_memory_t *m)
{
    bool marked = false;
    lock_done(m);
    uint64_t word = thi_load_acquire(&m->done);
    const uint64_t add = one_more(m, word);
    thi_death_point("shared queue: mark for sleepers 1");
    if (add != 0 && (word & THI_SLEEPERS) != 0)
        marked = add == ONE_DONE ? thi_cas_acq_rel(&m->done, &word, word + add)
                                 : thi_word_add_and_wake(&m->done, (uint32_t)add); /* the last */
    thi_death_point("shared queue: mark for sleepers 2");
    (void)thi_guard_unlock(&m->done_guard);
    return marked ? 0 : add == 0 ? EINVAL : EAGAIN;
}

int thrum_shared_queue_task_done(thrum_shared_queue_t *q)
{
    if (THI_UNLIKELY(q == NULL))
        return EINVAL;
    thi_queue_memory_t *m = q->memory;
    for (;;) {
        uint64_t word = thi_load_acquire(&m->done); /* A1: acquire; pairs with R1 (I3) */
        if (THI_UNLIKELY((word & THI_SLEEPERS) != 0)) {
            const int err = mark_for_sleepers(m);
            if (err != EAGAIN)
                return err;
            continue;
        }
        const uint64_t add = one_more(m, word);
        if (THI_UNLIKELY(add == 0))
            return EINVAL;
        /* R1: release; pairs with A1, and A2 of a join. */
        if (THI_LIKELY(thi_cas_acq_rel(&m->done, &word, word + add)))
            return 0;
    }
}

static bool all_done(const thi_queue_memory_t *m, uint64_t word)
{
    return (int64_t)(to_be_done(m, word) - done_of(word)) <= 0;
}

int thrum_shared_queue_tryjoin(thrum_shared_queue_t *q)
{
    if (q == NULL)
        return EINVAL;
    return all_done(q->memory, thi_load_acquire(&q->memory->done)) ? 0 : EAGAIN;
}

int thrum_shared_queue_join_until(thrum_shared_queue_t *q, thrum_time_t deadline)
{
    if (q == NULL)
        return EINVAL;
    thi_queue_memory_t *m = q->memory;
    uint64_t word =
        thi_load_acquire(&m->done); /* A2: acquire; pairs with R1 of all that it counts */
    const uint64_t moments = word & MOMENTS;
    int err = 0;
    while ((word & MOMENTS) == moments && !all_done(m, word)) {
        if (err != 0)
            return err;
        err = thi_word_sleep(&m->done, word, &join_site, deadline);
        word = thi_load_acquire(&m->done); /* A2 */
    }
    return 0;
}

int thrum_shared_queue_join(thrum_shared_queue_t *q)
{
    return thrum_shared_queue_join_until(q, THRUM_FOREVER);
}

size_t thrum_shared_queue_unfinished(const thrum_shared_queue_t *q)
{
    if (q == NULL)
        return 0;
    const uint64_t word = thi_load_acquire(&q->memory->done);
    const uint64_t left = to_be_done(q->memory, word) - done_of(word);
    return (int64_t)left > 0 ? (size_t)left : 0;
}

/* Head first: a get that comes between makes it more than it was, never less than nothing. */
size_t thrum_shared_queue_size(const thrum_shared_queue_t *q)
{
    if (q == NULL)
        return 0;
    const uint64_t head = thi_word_count(thi_load_acquire(&q->memory->head));
    const uint64_t tail = thi_load_acquire(&q->memory->tail);
    const uint64_t size = thi_word_count(tail) - head;
    if ((tail & THI_ABORTED) != 0)
        return 0;
    return (size_t)(size < q->capacity ? size : q->capacity);
}

size_t thrum_shared_queue_capacity(const thrum_shared_queue_t *q)
{
    return q != NULL ? (size_t)q->capacity : 0;
}

bool thrum_shared_queue_empty(const thrum_shared_queue_t *q)
{
    return thrum_shared_queue_size(q) == 0;
}

bool thrum_shared_queue_full(const thrum_shared_queue_t *q)
{
    return q != NULL && thrum_shared_queue_size(q) == q->capacity;
}
