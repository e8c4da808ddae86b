/*
 * task_done and join.
 *
 *   done    63                1    0
 *          +------------------+---------+
 *          | items marked done| JOINERS |
 *          +------------------+---------+
 *
 * What was put needs no counter: the order knows it (a ring's tail counts its puts). So a put does
 * nothing for join, and a task_done changes one word that no put or get touches. JOINERS may be set
 * for nobody; it is never clear while somebody sleeps in a join.
 *
 * Invariants
 *   I1  done <= puts, always. Both only rise, so where they are seen equal, `done` before `puts`, they
 *       were equal at the second look. Hence every load of `done` is an acquire: who sees an item marked
 *       sees its put counted, or he would take an item that is there for one that never was.
 *   I2  puts_seen <= puts. Only a task_done that comes close to it has to ask for the number of puts,
 *       which stands on a line that putters write.
 *   I3  The change that makes done equal to puts is a task_done's last touch of the queue: a join may
 *       return, and the queue be destroyed. With JOINERS that change is made under the bucket's lock.
 */
#include "queue/core.h"

#define JOINERS 1u
#define ONE_DONE 2u
#define ALL_DONE 1u /* handed to a joiner: there was a moment at which nothing was unfinished */

static const thi_site_t site = {"queue join", NULL};

static uint64_t count(uint64_t word)
{
    return word / ONE_DONE;
}

/* Whether an item is left that can be marked done. */
static bool some_left(thrum_queue_t *q, uint64_t word)
{
    /* A3: acquire; pairs with R4: who marks an item on this ground has its put counted before (I1). */
    if (THI_LIKELY(count(word) < thi_load_acquire(&q->puts_seen)))
        return true;
    const uint64_t puts = q->order->puts(q);
    /* R4: release; pairs with A3. It may go back: any number ever true is a lower bound (I2). */
    thi_store_release(&q->puts_seen, puts);
    return count(word) < puts;
}

struct marking {
    thrum_queue_t *q;
    int err;
};

/* Under the bucket's lock: marks an item; true when it was the last, and the joiners are to go. */
static bool mark_last(void *arg)
{
    struct marking *m = arg;
    thrum_queue_t *q = m->q;
    for (;;) {
        uint64_t word = thi_load_acquire(&q->done); /* A2: acquire; pairs with R1 to R3 (I1) */
        const uint64_t puts = q->order->puts(q);
        if (count(word) >= puts) {
            m->err = EINVAL;
            return false;
        }
        /* A put that comes between this look and the swap runs beside this call, and counts as later. */
        const bool last = count(word) + 1 == puts;
        const uint64_t marked = last ? (word + ONE_DONE) & ~(uint64_t)JOINERS : word + ONE_DONE;
        /* R2: release; pairs with A1, A2. */
        if (thi_cas_acq_rel(&q->done, &word, marked))
            return last;
    }
}

/* Under the bucket's lock, after the last was marked: the joiners need not look again. */
static void tell_joiners(const thi_unparked_t *found, void *arg)
{
    (void)arg;
    for (thi_waiter_t *waiter = found->first; waiter != NULL; waiter = waiter->next)
        waiter->given = ALL_DONE;
}

THI_NOINLINE static int mark_with_joiners(thrum_queue_t *q)
{
    struct marking m = {q, 0};
    thi_lot_unpark(&(thi_unpark_t){.key = q,
                                   .site = &site,
                                   .n = THI_ALL,
                                   .before = mark_last,
                                   .settle = tell_joiners,
                                   .arg = &m});
    return m.err;
}

int thrum_queue_task_done(thrum_queue_t *q)
{
    if (THI_UNLIKELY(q == NULL))
        return EINVAL;
    uint64_t word = 0;
    do {
        word = thi_load_acquire(&q->done); /* A2, after a swap that failed as well */
        if (THI_UNLIKELY((word & JOINERS) != 0))
            return mark_with_joiners(q);
        if (THI_UNLIKELY(!some_left(q, word)))
            return EINVAL;
        /* R1: release; pairs with A1, A2. The last touch (I3). */
    } while (!thi_cas_acq_rel(&q->done, &word, word + ONE_DONE));
    if (THI_PLANT("queue-done-then-look") && (thi_load_relaxed(&q->done) & JOINERS) != 0)
        return mark_with_joiners(q);
    return 0;
}

struct dropping {
    thrum_queue_t *q;
    uint64_t n;
};

/* Under the bucket's lock. What was marked done before it was got is not marked twice (I1). */
static bool mark_dropped(void *arg)
{
    const struct dropping *d = arg;
    uint64_t word = 0;
    uint64_t marked = 0;
    do {
        word = thi_load_acquire(&d->q->done); /* A2 */
        const uint64_t left = d->q->order->puts(d->q) - count(word);
        const uint64_t n = d->n < left ? d->n : left;
        marked = (word + n * ONE_DONE) & ~(uint64_t)JOINERS;
        /* R3: release; pairs with A1, A2. */
    } while (!thi_cas_acq_rel(&d->q->done, &word, marked));
    return true;
}

void thi_queue_drop(thrum_queue_t *q, uint64_t n)
{
    struct dropping d = {q, n};
    thi_lot_unpark(
        &(thi_unpark_t){.key = q, .site = &site, .n = THI_ALL, .before = mark_dropped, .arg = &d});
}

/* ------------------------------------------------------------------------------------------------
 * Join
 */

static bool all_done(const thrum_queue_t *q)
{
    /* A1: acquire; pairs with R1 to R3 of all that it counts. */
    const uint64_t done = count(thi_load_acquire(&q->done));
    return done == q->order->puts(q);
}

/* Under the bucket's lock. */
static bool must_wait(void *arg)
{
    thrum_queue_t *q = arg;
    uint64_t word = 0;
    do {
        word = thi_load_acquire(&q->done); /* A2 */
        if (count(word) == q->order->puts(q) && !THI_PLANT("queue-join-no-recheck"))
            return false;
        /* W1: relaxed; on the word that was seen, so a task_done that the look missed makes it fail. */
    } while (!thi_cas_relaxed(&q->done, &word, word | JOINERS));
    return true;
}

int thrum_queue_tryjoin(thrum_queue_t *q)
{
    if (q == NULL)
        return EINVAL;
    return all_done(q) ? 0 : EAGAIN;
}

int thrum_queue_join_until(thrum_queue_t *q, thrum_time_t deadline)
{
    if (q == NULL)
        return EINVAL;
    thi_park_t park = {
        .site = &site, .key = q, .arg = q, .validate = must_wait, .cancellable = true};
    while (!all_done(q)) {
        const int err = thi_lot_park(&park, deadline);
        if (err == EAGAIN) {
            /* A1. The look in must_wait was the moment. */
            (void)thi_load_acquire(&q->done);
            break;
        }
        if (err != 0)
            return err;
        if (park.given == ALL_DONE)
            break;
        park.first = true;
    }
    return 0;
}

int thrum_queue_join(thrum_queue_t *q)
{
    return thrum_queue_join_until(q, THRUM_FOREVER);
}

/* What is done is counted first: it cannot be more than what was put later. */
size_t thrum_queue_unfinished(const thrum_queue_t *q)
{
    if (q == NULL)
        return 0;
    const uint64_t done = count(thi_load_acquire(&q->done)); /* A2 */
    return (size_t)(q->order->puts(q) - done);
}
