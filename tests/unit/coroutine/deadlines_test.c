#include <stdlib.h>

#include <criterion/criterion.h>

#include "coroutine/core.h"

TestSuite(deadlines, .timeout = 30);

#define MANY 10000u

struct crowd {
    thrum_coro_t *co;
    thi_deadlines_t heap;
    uint32_t in;
};

static void crowd_make(struct crowd *c)
{
    *c = (struct crowd){.co = aligned_alloc(64, MANY * sizeof(thrum_coro_t))};
    cr_assert_not_null(c->co);
    for (uint32_t i = 0; i < MANY; i++)
        c->co[i].timer = 0;
}

static void crowd_add(struct crowd *c, uint32_t i, thrum_time_t deadline)
{
    cr_assert(thi_deadlines_reserve(&c->heap, c->heap.count + 1));
    c->co[i].deadline = deadline;
    thi_deadlines_add(&c->heap, &c->co[i]);
    c->in++;
}

static void crowd_remove(struct crowd *c, uint32_t i)
{
    thi_deadlines_remove(&c->heap, &c->co[i]);
    c->in--;
}

static void crowd_end(struct crowd *c)
{
    thi_deadlines_end(&c->heap);
    free(c->co);
}

/* As lazy waits have it: renewed at random, some taken out, many alike. */
Test(deadlines, of_many_are_told_in_their_order)
{
    struct crowd c;
    crowd_make(&c);
    srand(1);
    for (unsigned n = 0; n < 20 * MANY; n++) {
        const uint32_t i = (uint32_t)rand() % MANY;
        if (c.co[i].timer != 0) {
            cr_assert_eq(thi_deadlines_time(&c.heap, &c.co[i]), c.co[i].deadline);
            crowd_remove(&c, i);
        }
        if (rand() % 4 != 0)
            crowd_add(&c, i, rand() % 1000);
        cr_assert_eq(c.heap.count, c.in);
    }
    thrum_time_t last = 0;
    while (c.in != 0) {
        thrum_coro_t *first = thi_deadlines_first(&c.heap);
        cr_assert_eq(first->deadline, thi_deadlines_soonest(&c.heap));
        cr_assert_geq(first->deadline, last);
        last = first->deadline;
        crowd_remove(&c, (uint32_t)(first - c.co));
    }
    cr_expect_null(thi_deadlines_first(&c.heap));
    cr_expect_eq(thi_deadlines_soonest(&c.heap), THRUM_FOREVER);
    crowd_end(&c);
}

Test(deadlines, that_are_cleared_are_nobodys)
{
    struct crowd c;
    crowd_make(&c);
    for (uint32_t i = 0; i < 100; i++)
        crowd_add(&c, i, i);
    thi_deadlines_clear(&c.heap);
    cr_expect_eq(c.heap.count, 0u);
    for (uint32_t i = 0; i < 100; i++)
        cr_expect_eq(c.co[i].timer, 0u);
    crowd_end(&c);
}
