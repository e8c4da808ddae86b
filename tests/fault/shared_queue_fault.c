/*
 * No memory for queues, maps and lists of several processes: each call that allocates says ENOMEM wherever that
 * fails, and has changed nothing.
 */
#include <string.h>

#include <criterion/criterion.h>
#include <thrum/manager.h>
#include <thrum/shared_queue.h>

#include "process/process.h"
#include "support/expect.h"

TestSuite(shared_queue_fault, .timeout = 60);

static thrum_shared_t *arena;
static size_t used;

static void set_up(void)
{
    cr_assert_eq(thrum_shared_create(&arena, NULL), 0);
    used = thrum_shared_used(arena);
}

/* Nothing is left in the arena. */
static void tear_down(void)
{
    cr_expect_eq(thrum_shared_used(arena), used);
    cr_expect(thi_shared_sound(arena));
    thrum_shared_destroy(arena);
}

#define FAULT_TEST(name) Test(shared_queue_fault, name, .init = set_up, .fini = tear_down)

FAULT_TEST(a_handle_for_which_there_is_no_memory_is_not_made)
{
    thrum_shared_queue_t *q = NULL, *second = NULL;
    thrum_shared_map_t *map = NULL;
    thrum_shared_list_t *list = NULL;
    cr_assert_eq(thrum_shared_queue_create(&q, arena, NULL), 0);
    thi_fault_arm(THI_FAULT_ALLOC, THI_FAULT_ALWAYS);
    const size_t before = thrum_shared_used(arena);
    const int create = thrum_shared_queue_create(&second, arena, NULL);
    const int open = thrum_shared_queue_open(&second, arena, thrum_shared_queue_offset(q));
    const int create_map = thrum_shared_map_create(&map, arena);
    const int create_list = thrum_shared_list_create(&list, arena);
    thi_fault_arm(THI_FAULT_ALLOC, 0);
    cr_expect_eq(create, ENOMEM);
    cr_expect_eq(open, ENOMEM);
    cr_expect_eq(create_map, ENOMEM);
    cr_expect_eq(create_list, ENOMEM);
    cr_expect_null(second);
    cr_expect_eq(thrum_shared_used(arena), before);
    thrum_shared_queue_destroy(q);
}

/* The system has no more pages for the arena. */
FAULT_TEST(what_the_system_has_no_memory_for_is_not_put)
{
    static char large[(size_t)4 << 20];
    thrum_shared_queue_t *q = NULL;
    thrum_shared_map_t *map = NULL;
    thrum_shared_list_t *list = NULL;
    cr_assert_eq(thrum_shared_queue_create(&q, arena, NULL), 0);
    cr_assert_eq(thrum_shared_map_create(&map, arena), 0);
    cr_assert_eq(thrum_shared_list_create(&list, arena), 0);
    const size_t before = thrum_shared_used(arena);
    thi_fault_arm(THI_FAULT_SEGMENT, THI_FAULT_ALWAYS);
    EXPECT_CALL(ENOMEM, thrum_shared_queue_put(q, large, sizeof large));
    EXPECT_CALL(ENOMEM, thrum_shared_map_set(map, "k", 1, large, sizeof large));
    EXPECT_CALL(ENOMEM, thrum_shared_list_append(list, large, sizeof large));
    thi_fault_arm(THI_FAULT_SEGMENT, 0);
    cr_expect_eq(thrum_shared_queue_size(q), 0);
    cr_expect_eq(thrum_shared_map_size(map), 0);
    cr_expect_eq(thrum_shared_list_size(list), 0);
    EXPECT_CALL(0, thrum_shared_map_clear(map)); /* they may have grown a table for it */
    EXPECT_CALL(0, thrum_shared_list_clear(list));
    cr_expect_eq(thrum_shared_used(arena), before);
    EXPECT_CALL(0, thrum_shared_queue_put(q, large, sizeof large));
    thrum_shared_queue_destroy(q);
    thrum_shared_map_destroy(map);
    thrum_shared_list_destroy(list);
}
