#include "shared_queue_scene.h"

/* Every operation is killed at every point where that could matter, beside others that sleep: afterwards it has
 * been done, or has not; everything works; nothing is lost, and who was to be woken is awake. */
TestSuite(shared_queue_death, .timeout = 300);

static int walk_scene(struct scene *s)
{
    const struct walk w = {begin, operate, survives, s};
    return walk(&w);
}

static void walk_orders(struct scene scene)
{
    scene.arena = an_arena();
    for (size_t o = 0; o < ORDERS; o++) {
        struct scene s = scene;
        s.order = every_order[o];
        const int points = walk_scene(&s);
        cr_expect_geq(points, s.op == TASK_DONE || s.op == JOIN ? 0 : 5, "order %d", (int)s.order);
    }
    thrum_shared_destroy(scene.arena);
}

#define WALK(name, ...)                                                                            \
    Test(shared_queue_death, name)                                                                 \
    {                                                                                              \
        walk_orders((struct scene){__VA_ARGS__});                                                  \
    }

WALK(put, .op = PUT_SMALL, .items = 2)
WALK(put_large, .op = PUT_LARGE, .items = 2)
WALK(get, .op = GET, .items = 3)
WALK(get_large, .op = GET, .items = 3, .large = true)
WALK(task_done, .op = TASK_DONE, .items = 2)
WALK(join, .op = JOIN, .items = 1)
WALK(close, .op = CLOSE, .items = 3)
WALK(abort, .op = ABORT, .items = 3)
WALK(put_beside_a_getter, .op = PUT_SMALL, .peer = GETTER)
WALK(put_large_beside_a_getter, .op = PUT_LARGE, .peer = GETTER)
WALK(get_beside_a_putter, .op = GET, .peer = PUTTER, .items = 3)
WALK(get_large_beside_a_putter, .op = GET, .peer = PUTTER, .items = 3, .large = true)
WALK(task_done_beside_a_joiner, .op = TASK_DONE, .peer = JOINER, .items = 1)
WALK(close_beside_a_getter, .op = CLOSE, .peer = GETTER)
WALK(close_beside_a_putter, .op = CLOSE, .peer = PUTTER, .items = 3)
WALK(abort_beside_a_getter, .op = ABORT, .peer = GETTER)
WALK(abort_beside_a_putter, .op = ABORT, .peer = PUTTER, .items = 3)
WALK(abort_beside_a_joiner, .op = ABORT, .peer = JOINER, .items = 3)

/* --- who mends it is killed as well --------------------------------------------------------------- */

struct again {
    struct scene scene;
    unsigned first; /* where the first dies */
    bool lived;
};

static int die_first(void *arg)
{
    struct again *a = arg;
    thi_death_arm(a->first, NULL);
    const int err = operate(&a->scene);
    thi_death_arm(0, NULL);
    return err;
}

static int begin_with_a_death(void *arg)
{
    struct again *a = arg;
    if (begin(&a->scene) != 0)
        return 1;
    a->lived = victim_end(victim_start(die_first, a)) == 0;
    return 0;
}

/* Whatever state the first has left, this goes through its repair. */
static int mend(void *arg)
{
    struct again *a = arg;
    uint32_t number = 0;
    int err = get_number(a->scene.q, &number, PAST);
    if (err == 0 || err == ETIMEDOUT)
        err = put_number(a->scene.q, 4, 8, PAST);
    return err == 0 || err == ETIMEDOUT || err == ESHUTDOWN ? 0 : 1;
}

static int survives_both(void *arg)
{
    struct again *a = arg;
    struct scene *s = &a->scene;
    uint32_t number = 0;
    int err = 0;
    const size_t size = thrum_shared_queue_size(s->q);
    size_t n = 0;
    while ((err = get_number(s->q, &number, PAST)) == 0) {
        if (number == 0 || number > NEW)
            return 60;
        n++;
    }
    const bool dropped = s->op == ABORT && err == ESHUTDOWN && n == 0;
    if ((err != ETIMEDOUT && err != ESHUTDOWN) || (n != size && !dropped))
        return 61;
    err = usable(s);
    thrum_shared_queue_destroy(s->q);
    if (err == 0 && thrum_shared_used(s->arena) != s->used)
        err = 62;
    return err == 0 && !thi_shared_sound(s->arena) ? 63 : err;
}

static void walk_twice(struct scene scene)
{
    scene.arena = an_arena();
    for (size_t o = 0; o < ORDERS; o++) {
        struct again a = {.scene = scene};
        a.scene.order = every_order[o];
        for (a.first = 1; !a.lived; a.first += 3) {
            const struct walk w = {begin_with_a_death, mend, survives_both, &a};
            if (walk(&w) < 0) {
                cr_expect_fail("order %d, first death at %u", (int)a.scene.order, a.first);
                break;
            }
        }
    }
    thrum_shared_destroy(scene.arena);
}

Test(shared_queue_death, who_mends_a_put_is_killed)
{
    walk_twice((struct scene){.op = PUT_LARGE, .items = 2});
}

Test(shared_queue_death, who_mends_a_get_is_killed)
{
    walk_twice((struct scene){.op = GET, .items = 3, .large = true});
}

Test(shared_queue_death, who_mends_an_abort_is_killed)
{
    walk_twice((struct scene){.op = ABORT, .items = 2});
}
