#include "queue/guarded.h"

TestSuite(queue_join, .timeout = 60);

Test(queue_join, a_new_queue_has_nothing_unfinished)
{
    for (EACH_SHAPE(shape)) {
        thrum_queue_t *q = queue_of_numbers(shape->order, shape->capacity);
        cr_expect_eq(thrum_queue_unfinished(q), 0u);
        EXPECT_CALL(EINVAL, thrum_queue_task_done(q));
        EXPECT_CALL(0, thrum_queue_join(q));
        EXPECT_CALL(0, thrum_queue_tryjoin(q));
        EXPECT_CALL(0, thrum_queue_join_until(q, PAST));
        thrum_queue_destroy(q);
    }
}

Test(queue_join, done_more_often_than_put_is_refused_and_changes_nothing)
{
    for (EACH_SHAPE(shape)) {
        uint32_t item = 0;
        thrum_queue_t *q = queue_of_numbers(shape->order, shape->capacity);
        for (int round = 0; round < 3; round++) {
            fill(q, 0, 2);
            EXPECT_CALL(0, thrum_queue_get(q, &item));
            EXPECT_CALL(0, thrum_queue_task_done(q));
            cr_expect_eq(thrum_queue_unfinished(q), 1u);
            EXPECT_CALL(EAGAIN, thrum_queue_tryjoin(q));
            EXPECT_CALL(0, thrum_queue_get(q, &item));
            EXPECT_CALL(0, thrum_queue_task_done(q));
            for (int i = 0; i < 3; i++)
                EXPECT_CALL(EINVAL, thrum_queue_task_done(q));
            cr_expect_eq(thrum_queue_unfinished(q), 0u);
            EXPECT_CALL(0, thrum_queue_tryjoin(q));
        }
        thrum_queue_destroy(q);
    }
}

Test(queue_join, what_is_still_in_the_queue_is_unfinished)
{
    for (EACH_SHAPE(shape)) {
        thrum_queue_t *q = queue_of_numbers(shape->order, shape->capacity);
        fill(q, 0, 1);
        EXPECT_CALL(EAGAIN, thrum_queue_tryjoin(q));
        EXPECT_CALL(ETIMEDOUT, thrum_queue_join_until(q, PAST));
        const thrum_time_t deadline = SOON;
        EXPECT_CALL(ETIMEDOUT, thrum_queue_join_until(q, deadline));
        cr_expect_geq(thrum_now(), deadline, "not before its time");
        cr_expect_eq(thrum_queue_unfinished(q), 1u);
        thrum_queue_destroy(q);
    }
}

/* Puts that fail leave nothing to be done. */
Test(queue_join, what_was_not_put_is_not_unfinished)
{
    for (EACH_BOUNDED_SHAPE(shape)) {
        uint32_t item = 0;
        thrum_queue_t *q = queue_of_numbers(shape->order, shape->capacity);
        fill(q, 0, BOUND);
        for (int i = 0; i < 10; i++) {
            EXPECT_CALL(EAGAIN, thrum_queue_tryput(q, &item));
            EXPECT_CALL(ETIMEDOUT, thrum_queue_put_until(q, &item, PAST));
        }
        EXPECT_CALL(0, thrum_queue_close(q));
        EXPECT_CALL(ESHUTDOWN, thrum_queue_put(q, &item));
        cr_expect_eq(thrum_queue_unfinished(q), (size_t)BOUND);
        for (unsigned i = 0; i < BOUND; i++)
            EXPECT_CALL(0, thrum_queue_task_done(q));
        EXPECT_CALL(0, thrum_queue_join(q));
        thrum_queue_destroy(q);
    }
}

Test(queue_join, the_last_done_lets_every_joiner_go)
{
    for (EACH_SHAPE(shape)) {
        enum { JOINERS = 5 };
        struct call joiners[JOINERS];
        thrum_queue_t *q = queue_of_numbers(shape->order, shape->capacity);
        fill(q, 0, 2);
        for (unsigned i = 0; i < JOINERS; i++) {
            call_begin(&joiners[i], q);
            call_asleep(&joiners[i], i % 2 == 0 ? call_join : call_join_until);
        }
        EXPECT_CALL(0, thrum_queue_task_done(q));
        for (unsigned i = 0; i < JOINERS; i++)
            cr_expect(caller_stays(&joiners[i].caller));
        EXPECT_CALL(0, thrum_queue_task_done(q));
        for (unsigned i = 0; i < JOINERS; i++)
            cr_expect_eq(call_join_thread(&joiners[i]), 0);
        thrum_queue_destroy(q);
    }
}

/* It waits for a moment at which nothing is unfinished; what comes after that is not its business. */
Test(queue_join, one_moment_is_enough)
{
    for (int round = 0; round < 300; round++) {
        struct call joiner;
        thrum_queue_t *q = queue_of_numbers(THRUM_FIFO, 8);
        fill(q, 0, 1);
        call_begin(&joiner, q);
        call_asleep(&joiner, call_join);
        EXPECT_CALL(0, thrum_queue_task_done(q));
        fill(q, 1, 1);
        cr_expect_eq(call_join_thread(&joiner), 0);
        cr_expect_eq(thrum_queue_unfinished(q), 1u);
        thrum_queue_destroy(q);
    }
}

Test(queue_join, a_joiner_can_be_cancelled)
{
    for (EACH_SHAPE(shape)) {
        struct call joiner;
        thrum_queue_t *q = queue_of_numbers(shape->order, shape->capacity);
        fill(q, 0, 1);
        call_begin(&joiner, q);
        call_asleep(&joiner, call_join);
        caller_cancel(&joiner.caller);
        cr_expect_eq(call_join_thread(&joiner), ECANCELED);
        EXPECT_CALL(0, thrum_queue_task_done(q));
        EXPECT_CALL(0, thrum_queue_join(q));
        thrum_queue_destroy(q);
    }
}

/* --- exactness, among many ------------------------------------------------------------------------- */

enum { WORKERS = 3, ROUNDS = 400, JOBS = 50 };

struct office {
    thrum_queue_t *q;
    uint32_t refused;
    uint32_t sum; /* of all jobs; each is counted before it is said to be done */
};

static int work(void *arg)
{
    struct office *o = arg;
    uint32_t job = 0;
    while (thrum_queue_get(o->q, &job) == 0) {
        thi_fetch_add_relaxed(&o->sum, job);
        if (thrum_queue_task_done(o->q) != 0)
            thi_fetch_add_relaxed(&o->refused, 1u);
    }
    return 0;
}

static void give_work(struct office *o, int round)
{
    uint32_t jobs[JOBS];
    for (uint32_t i = 0; i < JOBS; i++)
        jobs[i] = i + 1;
    if (round % 2 == 0)
        EXPECT_CALL(0, thrum_queue_put_many(o->q, jobs, JOBS, NULL, THRUM_FOREVER));
    for (uint32_t i = 0; round % 2 != 0 && i < JOBS; i++)
        EXPECT_CALL(0, thrum_queue_put(o->q, &jobs[i]));
}

Test(queue_join, a_join_sees_all_that_was_done)
{
    for (EACH_SHAPE(shape)) {
        struct office o = {queue_of_numbers(shape->order, shape->capacity), 0, 0};
        struct caller workers[WORKERS];
        for (int i = 0; i < WORKERS; i++)
            caller_start(&workers[i], work, &o);
        for (int round = 0; round < ROUNDS; round++) {
            give_work(&o, round);
            EXPECT_CALL(0, thrum_queue_join(o.q));
            cr_assert_eq(thi_load_relaxed(&o.sum), JOBS * (JOBS + 1) / 2u, "%s", shape->name);
            cr_assert_eq(thrum_queue_unfinished(o.q), 0u);
            thi_store_relaxed(&o.sum, 0u);
        }
        EXPECT_CALL(0, thrum_queue_close(o.q));
        for (int i = 0; i < WORKERS; i++)
            cr_expect_eq(caller_join(&workers[i]), 0);
        cr_expect_eq(o.refused, 0u);
        thrum_queue_destroy(o.q);
    }
}

/* Of many that say done at once, as many are believed as items were put. */
struct liars {
    thrum_queue_t *q;
    uint32_t believed;
    uint32_t go;
};

static int lie(void *arg)
{
    struct liars *l = arg;
    await_word(&l->go, 1);
    for (int i = 0; i < 1000; i++) {
        const int err = thrum_queue_task_done(l->q);
        if (err != 0 && err != EINVAL)
            return err;
        if (err == 0)
            thi_fetch_add_relaxed(&l->believed, 1u);
    }
    return 0;
}

Test(queue_join, exactly_as_many_are_believed_as_were_put)
{
    for (EACH_SHAPE(shape)) {
        struct liars l = {queue_of_numbers(shape->order, 0), 0, 0};
        struct caller c[WORKERS];
        fill(l.q, 0, 1500);
        for (int i = 0; i < WORKERS; i++)
            caller_start(&c[i], lie, &l);
        thi_store_release(&l.go, 1u);
        for (int i = 0; i < WORKERS; i++)
            cr_expect_eq(caller_join(&c[i]), 0);
        cr_expect_eq(l.believed, 1500u);
        cr_expect_eq(thrum_queue_unfinished(l.q), 0u);
        thrum_queue_destroy(l.q);
    }
}

/* --- the joiner gives the queue up ------------------------------------------------------------------- */

/* A getter works on the item that the joiner has put, or drops it; the joiner looks, or sleeps. */
static int put_and_join(thrum_queue_t *q, uint32_t round)
{
    int err = thrum_queue_put(q, &round);
    if (err != 0 || round % 2 != 0)
        return err != 0 ? err : thrum_queue_join_until(q, FAR_AWAY);
    while ((err = thrum_queue_tryjoin(q)) == EAGAIN)
        thi_cpu_pause();
    return err;
}

static void await_put(thrum_queue_t *q)
{
    while (thrum_queue_unfinished(q) == 0)
        sched_yield();
}

static int get_and_finish(thrum_queue_t *q, uint32_t round)
{
    uint32_t item = UNTOUCHED;
    if (round % 8 >= 6) {
        await_put(q); /* an abort that comes first would refuse the item */
        return thrum_queue_abort(q);
    }
    const int err = thrum_queue_get(q, &item);
    if (err != 0 || item != round)
        return err != 0 ? err : EPROTO;
    return thrum_queue_task_done(q);
}

Test(queue_join, who_joined_may_destroy_the_queue_at_once)
{
    guarded_begin();
    for (EACH_SHAPE(shape)) {
        struct farewell f = {shape, put_and_join, get_and_finish, 300, 32, NULL, 0, 0};
        farewell_run(&f);
    }
}
