#include "queue/select_cases.h"

/* Select that waits: for whatever comes first, beside others who want the same. */
TestSuite(select_wait, .timeout = 60);

static void waits_for_each(struct world *w)
{
    for (size_t which = 0; which < CASES * 10; which++) {
        struct selector s;
        selector_asleep(&s, w->cases, CASES);
        world_make_ready(w, which % CASES);
        cr_expect_eq(selector_join(&s), 0);
        cr_expect_eq(s.chosen, which % CASES);
        world_expect_done(w, which % CASES);
    }
}

Test(select_wait, it_does_the_first_that_comes)
{
    for_each_order(waits_for_each);
}

static void stray_wakes(struct world *w)
{
    struct selector s;
    selector_asleep(&s, w->cases, CASES);
    for (int i = 0; i < 20; i++) {
        thi_strand_unpark(caller_strand(&s.caller));
        await_asleep(&s.caller);
    }
    cr_expect(caller_stays(&s.caller));
    world_make_ready(w, CASE_SEM);
    cr_expect_eq(selector_join(&s), 0);
    world_expect_done(w, CASE_SEM);
}

Test(select_wait, a_stray_wake_does_not_end_it)
{
    for_each_order(stray_wakes);
}

static void is_cancelled(struct world *w)
{
    for (int i = 0; i < 10; i++) {
        struct selector s;
        selector_asleep(&s, w->cases, CASES);
        caller_cancel(&s.caller);
        cr_expect_eq(selector_join(&s), ECANCELED);
        cr_expect_eq(s.chosen, NOTHING_CHOSEN);
        world_expect_done(w, CASES);
    }
}

Test(select_wait, cancelling_ends_it)
{
    for_each_order(is_cancelled);
}

static int select_when_cancelled(void *arg)
{
    struct world *w = arg;
    size_t chosen = NOTHING_CHOSEN;
    thi_strand_cancel(thi_self());
    if (thrum_select(w->cases, CASES, THRUM_FOREVER, &chosen) != ECANCELED)
        return EPROTO;
    if (thrum_sem_release(&w->sem) != 0)
        return EPROTO;
    const int err = thrum_select(w->cases, CASES, THRUM_FOREVER, &chosen);
    return err == 0 && chosen != CASE_SEM ? EPROTO : err;
}

static void cancelled_does(struct world *w)
{
    struct caller c;
    caller_start(&c, select_when_cancelled, w);
    cr_expect_eq(caller_join(&c), 0);
    world_expect_done(w, CASE_SEM);
}

Test(select_wait, a_cancelled_strand_does_what_is_ready)
{
    for_each_order(cancelled_does);
}

/* --- queues that close ---------------------------------------------------------------------------------- */

static void close_under(struct world *w, size_t which, int (*end)(thrum_queue_t *))
{
    struct selector s;
    selector_asleep(&s, w->cases, CASES);
    EXPECT_CALL(0, end(which == CASE_GET ? w->source : w->sink));
    cr_expect_eq(selector_join(&s), ESHUTDOWN);
    cr_expect_eq(s.chosen, which);
    cr_expect_eq(w->got, UNTOUCHED);
}

Test(select_wait, a_queue_that_closes_is_chosen)
{
    for (int i = 0; i < 12; i++) {
        struct world w;
        world_begin(&w, (thrum_order_t)(i % 3));
        close_under(&w, i % 2 == 0 ? CASE_GET : CASE_PUT,
                    i < 6 ? thrum_queue_close : thrum_queue_abort);
        thrum_queue_destroy(w.source);
        thrum_queue_destroy(w.sink);
    }
}

/* --- beside others ---------------------------------------------------------------------------------------- */

/* What comes goes to one of them; every one is served in the end, in whatever way he waits. */
Test(select_wait, who_selects_and_who_gets_are_served_alike)
{
    for (EACH_SHAPE(shape)) {
        enum { EACH = 3 };
        thrum_queue_t *q = queue_of_numbers(shape->order, shape->capacity);
        struct selector selectors[EACH];
        struct call getters[EACH];
        thrum_case_t cases[EACH][1];
        uint32_t got[EACH];
        for (unsigned i = 0; i < EACH; i++) {
            cases[i][0] = (thrum_case_t)THRUM_CASE_GET(q, &got[i]);
            got[i] = UNTOUCHED;
            selector_asleep(&selectors[i], cases[i], 1);
            call_begin(&getters[i], q);
            call_asleep(&getters[i], call_get);
        }
        for (uint32_t i = 0; i < 2 * EACH; i++)
            EXPECT_CALL(0, thrum_queue_put(q, &i));
        for (unsigned i = 0; i < EACH; i++) {
            cr_expect_eq(selector_join(&selectors[i]), 0);
            cr_expect_eq(call_join_thread(&getters[i]), 0);
            cr_expect_neq(got[i], UNTOUCHED);
        }
        cr_expect(thrum_queue_empty(q));
        thrum_queue_destroy(q);
    }
}

/* One selects of two semaphores, another waits for the second. What wakes the first one up it takes, even
 * if by then the other semaphore has a permit, too: or the second one's would wake nobody. */
Test(select_wait, a_permit_that_a_selector_does_not_need_is_anothers)
{
    for (int round = 0; round < 300; round++) {
        thrum_sem_t a = THRUM_SEM_INIT(0), b = THRUM_SEM_INIT(0);
        thrum_case_t cases[] = {THRUM_CASE_SEM(&a), THRUM_CASE_SEM(&b)};
        thrum_case_t only_b[] = {THRUM_CASE_SEM(&b)};
        struct selector both, patient;
        selector_asleep(&both, cases, 2);
        selector_asleep(&patient, only_b, 1);
        EXPECT_CALL(0, thrum_sem_release(round % 2 == 0 ? &a : &b));
        EXPECT_CALL(0, thrum_sem_release(round % 2 == 0 ? &b : &a));
        cr_expect_eq(selector_join(&both), 0);
        if (both.chosen == 1) /* its own, and the patient one still waits */
            EXPECT_CALL(0, thrum_sem_release(&b));
        cr_expect_eq(selector_join(&patient), 0);
        cr_expect_eq(thrum_sem_value(&a) + thrum_sem_value(&b), both.chosen == 1 ? 1u : 0u);
        cr_expect_eq(thi_park_count(&a) + thi_park_count(&b), 0u);
    }
}

/* The same of queues, on either side. */
static void take_what_wakes(struct world *w, size_t which)
{
    struct selector s;
    struct call patient;
    thrum_queue_t *q = which == CASE_GET ? w->source : w->sink;
    call_begin(&patient, q);
    selector_asleep(&s, w->cases, CASES);
    call_asleep(&patient, which == CASE_GET ? call_get : call_put);
    world_make_ready(w, which);
    world_make_ready(w, CASE_SEM);
    cr_expect_eq(selector_join(&s), 0);
    if (s.chosen == which)
        world_make_ready(w, which);
    cr_expect_eq(call_join_thread(&patient), 0);
    if (s.chosen == which)
        EXPECT_CALL(0, thrum_sem_tryacquire(&w->sem));
    world_expect_done(w, s.chosen);
}

static void takes_what_wakes(struct world *w)
{
    for (int round = 0; round < 100; round++)
        take_what_wakes(w, round % 2 == 0 ? CASE_GET : CASE_PUT);
}

Test(select_wait, an_item_or_a_place_that_a_selector_does_not_need_is_anothers)
{
    for_each_order(takes_what_wakes);
}

/* Gives up while its item comes: it goes to who waits behind. */
static void give_up(thrum_queue_t *q, bool by_cancel, int round)
{
    uint32_t hasty_got = UNTOUCHED;
    thrum_sem_t never = THRUM_SEM_INIT(0);
    thrum_case_t cases[] = {THRUM_CASE_SEM(&never), THRUM_CASE_GET(q, &hasty_got)};
    struct selector hasty = {cases, 2, THRUM_FOREVER, NOTHING_CHOSEN, {.result = -1}};
    struct call patient;
    if (!by_cancel)
        hasty.deadline = thrum_after(THRUM_US(100 + round * 2));
    caller_start(&hasty.caller, select_main, &hasty);
    if (by_cancel)
        await_asleep(&hasty.caller);
    call_begin(&patient, q);
    call_asleep(&patient, call_get);
    if (by_cancel)
        caller_cancel(&hasty.caller);
    while (!by_cancel && thrum_now() < hasty.deadline)
        thi_cpu_pause();
    fill(q, 1, 1);
    const int err = selector_join(&hasty);
    cr_expect(err == 0 || err == (by_cancel ? ECANCELED : ETIMEDOUT), "%d", err);
    cr_expect_eq(hasty_got, err == 0 ? 1 : UNTOUCHED);
    if (err == 0)
        fill(q, 1, 1);
    cr_expect_eq(call_join_thread(&patient), 0);
    cr_expect_eq(thi_park_count(&never), 0u);
}

Test(select_wait, who_gives_up_swallows_nothing)
{
    for (EACH_SHAPE(shape)) {
        thrum_queue_t *q = queue_of_numbers(shape->order, shape->capacity);
        for (int round = 0; round < 100; round++) {
            give_up(q, round % 2 == 0, round);
            cr_assert(thrum_queue_empty(q));
        }
        thrum_queue_destroy(q);
    }
}

/* --- both sides --------------------------------------------------------------------------------------------- */

enum { PAIRS = 2, ROUNDS = 10000 };

/* Some put into either of two queues, the others get from either. */
struct market {
    thrum_queue_t *q[2];
    uint64_t put;
    uint64_t got;
};

static int sell(void *arg)
{
    struct market *m = arg;
    for (uint32_t i = 1; i <= ROUNDS; i++) {
        size_t chosen = NOTHING_CHOSEN;
        const uint32_t other = i + ROUNDS;
        thrum_case_t cases[] = {THRUM_CASE_PUT(m->q[0], &i), THRUM_CASE_PUT(m->q[1], &other)};
        const int err = thrum_select(cases, 2, THRUM_FOREVER, &chosen);
        if (err != 0 || chosen > 1)
            return err != 0 ? err : EPROTO;
        thi_fetch_add_relaxed(&m->put, (uint64_t)(chosen == 0 ? i : other));
    }
    return 0;
}

static int buy(void *arg)
{
    struct market *m = arg;
    for (uint32_t i = 0; i < ROUNDS; i++) {
        size_t chosen = NOTHING_CHOSEN;
        uint32_t got[2] = {0, 0};
        thrum_case_t cases[] = {THRUM_CASE_GET(m->q[0], &got[0]), THRUM_CASE_GET(m->q[1], &got[1])};
        const int err = thrum_select(cases, 2, THRUM_FOREVER, &chosen);
        if (err != 0 || chosen > 1 || got[chosen] == 0 || got[1 - chosen] != 0)
            return err != 0 ? err : EPROTO;
        thi_fetch_add_relaxed(&m->got, (uint64_t)got[chosen]);
    }
    return 0;
}

Test(select_wait, many_select_against_one_another)
{
    for (EACH_SHAPE(shape)) {
        struct market m = {
            {queue_of_numbers(shape->order, 1), queue_of_numbers(shape->order, 2)}, 0, 0};
        struct caller sellers[PAIRS];
        struct caller buyers[PAIRS];
        for (int i = 0; i < PAIRS; i++) {
            caller_start(&sellers[i], sell, &m);
            caller_start(&buyers[i], buy, &m);
        }
        for (int i = 0; i < PAIRS; i++) {
            cr_expect_eq(caller_join(&sellers[i]), 0);
            cr_expect_eq(caller_join(&buyers[i]), 0);
        }
        cr_expect_eq(m.put, m.got);
        cr_expect(thrum_queue_empty(m.q[0]));
        cr_expect(thrum_queue_empty(m.q[1]));
        thrum_queue_destroy(m.q[0]);
        thrum_queue_destroy(m.q[1]);
    }
}
