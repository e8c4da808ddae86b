#include "shared_queue_scene.h"

/* As the death walk, but killed at any single instruction, of the C library as well. */
TestSuite(shared_queue_instruction, .timeout = 240);

static void walk_orders(struct scene scene)
{
    const unsigned stride = walk_stride(397, 4999);
    (void)thi_self(); /* children have a record, and need not make one step by step */
    scene.arena = an_arena();
    for (size_t o = 0; o < ORDERS; o++) {
        struct scene s = scene;
        s.order = every_order[o];
        const struct walk w = {begin, operate, survives, &s};
        const int n = walk_instructions(&w, stride);
        if (n == -2)
            cr_skip_test("nobody may be traced here");
        cr_expect_gt(n, 1, "order %d", (int)s.order);
    }
    thrum_shared_destroy(scene.arena);
}

#define WALK(name, ...)                                                                            \
    Test(shared_queue_instruction, name)                                                           \
    {                                                                                              \
        walk_orders((struct scene){__VA_ARGS__});                                                  \
    }

WALK(put, .op = PUT_SMALL, .items = 2)
WALK(put_beside_a_getter, .op = PUT_SMALL, .peer = GETTER)
WALK(put_large_beside_a_getter, .op = PUT_LARGE, .peer = GETTER)
WALK(get_large_beside_a_putter, .op = GET, .peer = PUTTER, .items = 3, .large = true)
WALK(task_done_beside_a_joiner, .op = TASK_DONE, .peer = JOINER, .items = 1)
WALK(close_beside_a_getter, .op = CLOSE, .peer = GETTER)
WALK(abort_beside_a_putter, .op = ABORT, .peer = PUTTER, .items = 3)
WALK(abort_beside_a_joiner, .op = ABORT, .peer = JOINER, .items = 3)
