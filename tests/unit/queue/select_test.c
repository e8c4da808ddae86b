#include "queue/select_cases.h"

/* Select of what is ready, or not: nobody waits here but for a deadline. */
TestSuite(select, .timeout = 60);

static void does_what_is_ready(struct world *w)
{
    for (size_t which = 0; which < CASES * 3; which++) {
        size_t chosen = NOTHING_CHOSEN;
        world_make_ready(w, which % CASES);
        switch (which / CASES) {
        case 0:
            EXPECT_CALL(0, thrum_select(w->cases, CASES, THRUM_FOREVER, &chosen));
            break;
        case 1:
            EXPECT_CALL(0, thrum_select(w->cases, CASES, PAST, &chosen));
            break;
        default:
            EXPECT_CALL(0, thrum_tryselect(w->cases, CASES, &chosen));
        }
        cr_expect_eq(chosen, which % CASES);
        world_expect_done(w, which % CASES);
    }
}

Test(select, it_does_the_one_that_is_ready)
{
    for_each_order(does_what_is_ready);
}

static void finds_nothing(struct world *w)
{
    size_t chosen = NOTHING_CHOSEN;
    EXPECT_CALL(EAGAIN, thrum_tryselect(w->cases, CASES, &chosen));
    EXPECT_CALL(ETIMEDOUT, thrum_select(w->cases, CASES, PAST, &chosen));
    EXPECT_CALL(ETIMEDOUT, thrum_select(w->cases, CASES, INT64_MIN, &chosen));
    for (int i = 0; i < 3; i++) {
        const thrum_time_t deadline = SOON;
        EXPECT_CALL(ETIMEDOUT, thrum_select(w->cases, CASES, deadline, &chosen));
        cr_expect_geq(thrum_now(), deadline, "not before its time");
    }
    cr_expect_eq(chosen, NOTHING_CHOSEN, "left alone");
    world_expect_done(w, CASES);
}

Test(select, a_deadline_ends_it)
{
    for_each_order(finds_nothing);
}

/* Of all that are ready it does one. */
static void does_one_of_all(struct world *w)
{
    for (size_t which = 0; which < CASES; which++)
        world_make_ready(w, which);
    unsigned times[CASES] = {0};
    for (int round = 0; round < 4000; round++) {
        size_t chosen = NOTHING_CHOSEN;
        cr_assert_eq(thrum_select(w->cases, CASES, THRUM_FOREVER, &chosen), 0);
        cr_assert_lt(chosen, (size_t)CASES);
        times[chosen]++;
        if (chosen != CASE_EVENT) /* that stays set */
            world_make_ready(w, chosen);
        cr_assert_eq(thrum_queue_size(w->source), 1u);
        cr_assert_eq(thrum_queue_size(w->sink), BOUND - 1u);
        cr_assert_eq(thrum_sem_value(&w->sem), 1u);
    }
    for (size_t which = 0; which < CASES; which++)
        cr_expect(times[which] > 500 && times[which] < 1800, "case %zu: %u of 4000", which,
                  times[which]);
    for (size_t which = 0; which < CASES; which++) { /* and now, that there is nothing to win */
        size_t chosen = NOTHING_CHOSEN;
        EXPECT_CALL(0, thrum_tryselect(w->cases, CASES, &chosen));
        if (chosen == CASE_EVENT)
            thrum_event_clear(&w->event);
    }
    w->got = UNTOUCHED;
    world_expect_done(w, CASES);
}

Test(select, each_that_is_ready_is_as_likely)
{
    for_each_order(does_one_of_all);
}

/* The same object in several cases, and in both directions. */
Test(select, an_object_may_stand_in_several_cases)
{
    uint32_t a = UNTOUCHED, b = UNTOUCHED;
    const uint32_t item = 9;
    unsigned times[3] = {0};
    thrum_queue_t *q = queue_of_numbers(THRUM_FIFO, 1);
    thrum_case_t cases[] = {THRUM_CASE_GET(q, &a), THRUM_CASE_PUT(q, &item), THRUM_CASE_GET(q, &b)};
    for (int round = 0; round < 2000; round++) {
        size_t chosen = NOTHING_CHOSEN;
        cr_assert_eq(thrum_select(cases, 3, THRUM_FOREVER, &chosen), 0);
        cr_assert_lt(chosen, (size_t)3);
        cr_assert_eq(chosen == 1, round % 2 == 0, "a put, then a get, and so on");
        times[chosen]++;
        cr_assert_eq(a, chosen == 0 ? 9 : UNTOUCHED);
        cr_assert_eq(b, chosen == 2 ? 9 : UNTOUCHED);
        a = b = UNTOUCHED;
    }
    cr_expect_gt(times[0], 100u);
    cr_expect_gt(times[2], 100u);
    thrum_queue_destroy(q);
}

/* --- closed queues ---------------------------------------------------------------------------------- */

Test(select, a_closed_queue_is_ready)
{
    for (EACH_SHAPE(shape)) {
        uint32_t item = UNTOUCHED;
        size_t chosen = NOTHING_CHOSEN;
        thrum_sem_t sem = THRUM_SEM_INIT(0);
        thrum_queue_t *q = queue_of_numbers(shape->order, shape->capacity);
        thrum_case_t get[] = {THRUM_CASE_SEM(&sem), THRUM_CASE_GET(q, &item)};
        thrum_case_t put[] = {THRUM_CASE_SEM(&sem), THRUM_CASE_PUT(q, &item)};
        fill(q, 5, 1);
        EXPECT_CALL(0, thrum_queue_close(q));
        EXPECT_CALL(ESHUTDOWN, thrum_select(put, 2, THRUM_FOREVER, &chosen));
        cr_expect_eq(chosen, 1u);
        chosen = NOTHING_CHOSEN;
        EXPECT_CALL(0, thrum_select(get, 2, THRUM_FOREVER, &chosen));
        cr_expect_eq(chosen, 1u);
        cr_expect_eq(item, 5u, "it drains");
        chosen = NOTHING_CHOSEN;
        EXPECT_CALL(ESHUTDOWN, thrum_select(get, 2, THRUM_FOREVER, &chosen));
        cr_expect_eq(chosen, 1u);
        EXPECT_CALL(ESHUTDOWN, thrum_tryselect(get, 2, &chosen));
        EXPECT_CALL(0, thrum_queue_abort(q));
        EXPECT_CALL(ESHUTDOWN, thrum_tryselect(get, 2, &chosen));
        EXPECT_CALL(ESHUTDOWN, thrum_tryselect(put, 2, &chosen));
        thrum_queue_destroy(q);
    }
}

/* What selecting puts and gets counts like any put and get. */
Test(select, what_it_puts_has_to_be_finished)
{
    for (EACH_SHAPE(shape)) {
        uint32_t item = 3;
        size_t chosen = NOTHING_CHOSEN;
        thrum_queue_t *q = queue_of_numbers(shape->order, shape->capacity);
        thrum_case_t put[] = {THRUM_CASE_PUT(q, &item)};
        thrum_case_t get[] = {THRUM_CASE_GET(q, &item)};
        EXPECT_CALL(0, thrum_tryselect(put, 1, &chosen));
        cr_expect_eq(chosen, 0u);
        cr_expect_eq(thrum_queue_unfinished(q), 1u);
        EXPECT_CALL(0, thrum_tryselect(get, 1, &chosen));
        EXPECT_CALL(EAGAIN, thrum_queue_tryjoin(q));
        EXPECT_CALL(0, thrum_queue_task_done(q));
        EXPECT_CALL(0, thrum_queue_tryjoin(q));
        thrum_queue_destroy(q);
    }
}

/* --- what is refused --------------------------------------------------------------------------------- */

static void expect_refused(struct world *w, thrum_case_t *cases, size_t n)
{
    size_t chosen = NOTHING_CHOSEN;
    EXPECT_CALL(EINVAL, thrum_select(cases, n, THRUM_FOREVER, &chosen));
    EXPECT_CALL(EINVAL, thrum_tryselect(cases, n, &chosen));
    cr_expect_eq(chosen, NOTHING_CHOSEN);
    cr_expect_eq(thrum_sem_value(&w->sem), 1u, "nothing was done");
}

static void refuses(struct world *w)
{
    const thrum_case_t ready = THRUM_CASE_SEM(&w->sem);
    const thrum_case_t bad[] = {
        THRUM_CASE_GET(NULL, &w->got),
        THRUM_CASE_GET(w->source, NULL),
        THRUM_CASE_PUT(NULL, &w->given),
        THRUM_CASE_PUT(w->source, NULL),
        THRUM_CASE_EVENT(NULL),
        THRUM_CASE_SEM(NULL),
        {(thrum_case_kind_t)99, w->source, &w->got, &w->given},
    };
    EXPECT_CALL(0, thrum_sem_release(&w->sem));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        thrum_case_t first[] = {bad[i], ready};
        thrum_case_t last[] = {ready, bad[i]};
        expect_refused(w, first, 2);
        expect_refused(w, last, 2);
    }
    expect_refused(w, w->cases, 0);
    expect_refused(w, NULL, 1);
    expect_refused(w, NULL, 0);
    EXPECT_CALL(0, thrum_sem_tryacquire(&w->sem));
}

Test(select, what_is_no_case_is_refused_and_nothing_is_done)
{
    for_each_order(refuses);
}

Test(select, as_many_as_there_may_be)
{
    static thrum_case_t cases[THRUM_SELECT_MAX + 1];
    static thrum_sem_t sems[THRUM_SELECT_MAX + 1];
    size_t chosen = NOTHING_CHOSEN;
    for (size_t i = 0; i <= THRUM_SELECT_MAX; i++)
        cases[i] = (thrum_case_t)THRUM_CASE_SEM(&sems[i]);
    for (size_t i = 0; i < THRUM_SELECT_MAX; i += 5) {
        EXPECT_CALL(0, thrum_sem_release(&sems[i]));
        EXPECT_CALL(0, thrum_select(cases, THRUM_SELECT_MAX, THRUM_FOREVER, &chosen));
        cr_expect_eq(chosen, i);
    }
    EXPECT_CALL(ETIMEDOUT, thrum_select(cases, THRUM_SELECT_MAX, SOON, &chosen));
    EXPECT_CALL(0, thrum_sem_release(&sems[3]));
    EXPECT_CALL(EINVAL, thrum_select(cases, THRUM_SELECT_MAX + 1, THRUM_FOREVER, &chosen));
    EXPECT_CALL(EINVAL, thrum_select(cases, SIZE_MAX, THRUM_FOREVER, &chosen));
    cr_expect_eq(thrum_sem_value(&sems[3]), 1u);
    for (size_t i = 0; i <= THRUM_SELECT_MAX; i++)
        cr_expect_eq(thi_park_count(&sems[i]), 0u);
}

Test(select, places_left_empty_are_never_chosen)
{
    thrum_sem_t sem = THRUM_SEM_INIT(100);
    thrum_case_t cases[] = {THRUM_CASE_NONE, THRUM_CASE_SEM(&sem), THRUM_CASE_NONE};
    size_t chosen = NOTHING_CHOSEN;
    for (int i = 0; i < 100; i++) {
        EXPECT_CALL(0, thrum_select(cases, 3, THRUM_FOREVER, &chosen));
        cr_expect_eq(chosen, 1u);
    }
    EXPECT_CALL(EAGAIN, thrum_tryselect(cases, 3, &chosen));
    EXPECT_CALL(ETIMEDOUT, thrum_select(cases, 3, SOON, &chosen));
    cases[1] = cases[0]; /* and if there is no other: no cases */
    EXPECT_CALL(EINVAL, thrum_tryselect(cases, 3, &chosen));
    EXPECT_CALL(EINVAL, thrum_select(cases, 3, THRUM_FOREVER, &chosen));
}

Test(select, nobody_needs_to_ask_which)
{
    thrum_sem_t sem = THRUM_SEM_INIT(2);
    thrum_case_t cases[] = {THRUM_CASE_SEM(&sem)};
    EXPECT_CALL(0, thrum_select(cases, 1, THRUM_FOREVER, NULL));
    EXPECT_CALL(0, thrum_tryselect(cases, 1, NULL));
    EXPECT_CALL(EAGAIN, thrum_tryselect(cases, 1, NULL));
}
