#include "queue/guarded.h"

/* Waiting for an item, for room, and for what is unfinished: one body for the three. */
TestSuite(queue_wait, .timeout = 60);

struct side {
    const char *name;
    bool bounded_only;
    uint32_t items; /* in the queue when one has to wait */
    int (*wait)(void *call);
    int (*wait_until)(void *call);
    int (*let_go)(thrum_queue_t *q); /* one waiter; of joiners, all */
};

static int let_getter_go(thrum_queue_t *q)
{
    const uint32_t item = 7;
    return thrum_queue_tryput(q, &item);
}

static int let_putter_go(thrum_queue_t *q)
{
    uint32_t item = 0;
    return thrum_queue_tryget(q, &item);
}

static const struct side sides[] = {
    {"get", false, 0, call_get, call_get_until, let_getter_go},
    {"put", true, BOUND, call_put, call_put_until, let_putter_go},
    {"join", false, 1, call_join, call_join_until, thrum_queue_task_done},
};

struct place {
    const struct side *side;
    const struct shape *shape;
    thrum_queue_t *q;
};

static void for_each_place(void (*fn)(const struct place *))
{
    for (const struct side *side = sides; side != sides + 3; side++) {
        for (EACH_SHAPE(shape)) {
            if (side->bounded_only && shape->capacity == 0)
                continue;
            struct place p = {side, shape, queue_of_numbers(shape->order, shape->capacity)};
            fill(p.q, 0, side->items);
            fn(&p);
            thrum_queue_destroy(p.q);
        }
    }
}

static void expect_result(const struct place *p, int got, int err)
{
    cr_expect_eq(got, err, "%s of a %s: %d, expected %d", p->side->name, p->shape->name, got, err);
}

static bool is_join(const struct place *p)
{
    return p->side->wait == call_join;
}

static void times_out(const struct place *p)
{
    for (int i = 0; i < 3; i++) {
        struct call c;
        call_begin(&c, p->q);
        c.deadline = SOON;
        expect_result(p, p->side->wait_until(&c), ETIMEDOUT);
        cr_expect_geq(thrum_now(), c.deadline, "not before its time");
        c.deadline = INT64_MIN;
        expect_result(p, p->side->wait_until(&c), ETIMEDOUT);
        cr_expect_eq(thrum_queue_size(p->q), p->side->items);
    }
}

Test(queue_wait, a_deadline_ends_it)
{
    for_each_place(times_out);
}

static void is_cancelled(const struct place *p)
{
    for (int i = 0; i < 10; i++) {
        struct call c;
        call_begin(&c, p->q);
        call_asleep(&c, i % 2 == 0 ? p->side->wait : p->side->wait_until);
        caller_cancel(&c.caller);
        expect_result(p, call_join_thread(&c), ECANCELED);
        cr_expect_eq(c.items[0], UNTOUCHED);
        cr_expect_eq(thrum_queue_size(p->q), p->side->items);
    }
}

Test(queue_wait, cancelling_ends_it)
{
    for_each_place(is_cancelled);
}

/* A wake-up out of nowhere lets nobody go. */
static void goes_on(const struct place *p)
{
    struct call c;
    call_begin(&c, p->q);
    call_asleep(&c, p->side->wait);
    for (int i = 0; i < 20; i++) {
        thi_strand_unpark(caller_strand(&c.caller));
        await_asleep(&c.caller);
    }
    cr_expect(caller_stays(&c.caller));
    EXPECT_CALL(0, p->side->let_go(p->q));
    expect_result(p, call_join_thread(&c), 0);
}

Test(queue_wait, a_stray_wake_does_not_end_it)
{
    for_each_place(goes_on);
}

/* --- a cancelled strand ------------------------------------------------------------------------------ */

static int take_when_cancelled(void *arg)
{
    const struct place *p = arg;
    struct call c;
    call_begin(&c, p->q);
    thi_strand_cancel(thi_self());
    if (p->side->wait(&c) != ECANCELED || p->side->wait_until(&c) != ECANCELED)
        return EPROTO;
    if (p->side->let_go(p->q) != 0 || p->side->wait(&c) != 0)
        return EPROTO;
    if (is_join(p))
        return 0;
    return p->side->wait(&c) == ECANCELED ? 0 : EPROTO;
}

static void cancelled_takes(const struct place *p)
{
    struct place copy = *p;
    struct caller c;
    caller_start(&c, take_when_cancelled, &copy);
    expect_result(p, caller_join(&c), 0);
}

Test(queue_wait, a_cancelled_strand_has_what_needs_no_waiting)
{
    for_each_place(cancelled_takes);
}

static int wait_shielded(void *arg, void **result)
{
    struct call *c = arg;
    (void)result;
    return thrum_queue_get(c->q, c->items);
}

static int call_shielded(void *arg)
{
    struct call *c = arg;
    const int err = thrum_shield(wait_shielded, c, NULL);
    if (err != 0)
        return err;
    return thrum_queue_get(c->q, c->items) == ECANCELED ? 0 : EPROTO;
}

Test(queue_wait, a_shield_holds_cancellation_back)
{
    struct call c;
    thrum_queue_t *q = queue_of_numbers(THRUM_FIFO, 0);
    call_begin(&c, q);
    call_asleep(&c, call_shielded);
    caller_cancel(&c.caller);
    cr_expect(caller_stays(&c.caller));
    fill(q, 1, 1);
    cr_expect_eq(call_join_thread(&c), 0);
    thrum_queue_destroy(q);
}

/* --- giving up while being let go -------------------------------------------------------------------- */

/* Either may be; but what one who gave up did not take is the other's. */
static void give_up(const struct place *p, bool by_cancel, int round)
{
    struct call hasty, patient;
    call_begin(&hasty, p->q);
    call_begin(&patient, p->q);
    hasty.deadline = by_cancel ? FAR_AWAY : thrum_after(THRUM_US(100 + round * 2));
    caller_start(&hasty.caller, p->side->wait_until, &hasty);
    if (by_cancel)
        await_asleep(&hasty.caller);
    call_asleep(&patient, p->side->wait);
    if (by_cancel)
        caller_cancel(&hasty.caller);
    while (!by_cancel && thrum_now() < hasty.deadline)
        thi_cpu_pause();
    EXPECT_CALL(0, p->side->let_go(p->q));
    const int err = call_join_thread(&hasty);
    if (err == 0)
        EXPECT_CALL(0, p->side->let_go(p->q));
    else
        expect_result(p, err, by_cancel ? ECANCELED : ETIMEDOUT);
    expect_result(p, call_join_thread(&patient), 0);
}

static void nothing_is_swallowed(const struct place *p)
{
    for (int round = 0; !is_join(p) && round < 120; round++) {
        give_up(p, round % 2 == 0, round);
        cr_assert_eq(thrum_queue_size(p->q), p->side->items);
    }
}

Test(queue_wait, who_gives_up_swallows_nothing)
{
    for_each_place(nothing_is_swallowed);
}

/* --- in order of arrival ------------------------------------------------------------------------------ */

static void in_order(const struct place *p)
{
    enum { WAITERS = 5 };
    struct call c[WAITERS];
    uint32_t next = 0;
    if (is_join(p))
        return;
    for (unsigned i = 0; i < WAITERS; i++) {
        call_begin(&c[i], p->q);
        c[i].next = &next;
        call_asleep(&c[i], i % 2 == 0 ? p->side->wait : p->side->wait_until);
        await_parked(p->q, i + 1); /* asleep there, and not on the way */
    }
    for (unsigned i = 0; i < WAITERS; i++) {
        EXPECT_CALL(0, p->side->let_go(p->q));
        await_word(&next, i + 1);
        cr_expect_eq(c[i].place, i, "%s of a %s", p->side->name, p->shape->name);
        expect_result(p, call_join_thread(&c[i]), 0);
    }
}

Test(queue_wait, waiters_are_let_go_in_order_of_arrival)
{
    for_each_place(in_order);
}

/* --- sizes at one moment ------------------------------------------------------------------------------ */

struct looker {
    thrum_queue_t *q;
    uint32_t stop;
};

static int look_on_and_on(void *arg)
{
    struct looker *l = arg;
    while (thi_load_relaxed(&l->stop) == 0) {
        if (thrum_queue_size(l->q) > BOUND || thrum_queue_unfinished(l->q) > 1u << 20)
            return EPROTO;
    }
    return 0;
}

Test(queue_wait, a_size_is_never_more_than_the_capacity)
{
    for (EACH_BOUNDED_SHAPE(shape)) {
        struct looker l = {queue_of_numbers(shape->order, shape->capacity), 0};
        struct caller c;
        uint32_t item = 0;
        caller_start(&c, look_on_and_on, &l);
        for (uint32_t i = 0; i < 50000; i++) {
            cr_assert_eq(thrum_queue_tryput(l.q, &i), 0);
            cr_assert_eq(thrum_queue_tryput(l.q, &i), 0);
            cr_assert_eq(thrum_queue_tryget(l.q, &item), 0);
            cr_assert_eq(thrum_queue_tryget(l.q, &item), 0);
            cr_assert_eq(thrum_queue_task_done(l.q), 0);
            cr_assert_eq(thrum_queue_task_done(l.q), 0);
        }
        thi_store_relaxed(&l.stop, 1u);
        cr_expect_eq(caller_join(&c), 0);
        thrum_queue_destroy(l.q);
    }
}

/* --- the getter gives the queue up ------------------------------------------------------------------- */

static int get_somehow(thrum_queue_t *q, uint32_t *item, uint32_t round)
{
    size_t done = 0;
    int err = EAGAIN;
    switch (round % 4) {
    case 0:
        while ((err = thrum_queue_tryget(q, item)) == EAGAIN)
            thi_cpu_pause();
        return err;
    case 1:
        return thrum_queue_get_until(q, item, FAR_AWAY);
    case 2:
        return thrum_queue_get_many(q, item, 1, &done, THRUM_FOREVER);
    default:
        return thrum_queue_get(q, item);
    }
}

static int get_last(thrum_queue_t *q, uint32_t round)
{
    uint32_t item = UNTOUCHED;
    const int err = get_somehow(q, &item, round);
    return err == 0 && item != round ? EPROTO : err;
}

static int put_last(thrum_queue_t *q, uint32_t round)
{
    return round % 3 == 0 ? thrum_queue_tryput(q, &round) : thrum_queue_put(q, &round);
}

Test(queue_wait, who_got_an_item_may_destroy_the_queue_at_once)
{
    guarded_begin();
    for (EACH_SHAPE(shape)) {
        struct farewell f = {shape, get_last, put_last, 400, 32, NULL, 0, 0};
        farewell_run(&f);
    }
}
