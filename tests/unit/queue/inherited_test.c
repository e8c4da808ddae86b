#include <sched.h>
#include <signal.h>
#include <sys/mman.h>

#include "queue/shapes.h"
#include "support/child.h"

/* In the child of a fork: who was in the middle of a put or a get is not there, and who is merely slow is. A copy
 * is interrupted in its middle by memory that may not be touched yet. */
TestSuite(queue_inherited, .timeout = 60);

enum { HALF = 65536, ITEM = 2 * HALF };

static unsigned char *slow; /* an item; its second half may not be touched until `go` */
static uint32_t stuck;
static uint32_t go;

static void on_touch(int sig)
{
    (void)sig;
    thi_store_release(&stuck, 1u);
    while (thi_load_acquire(&go) == 0)
        sched_yield();
    mprotect(slow, ITEM, PROT_READ | PROT_WRITE);
}

static void make_slow_item(void)
{
    struct sigaction touch = {.sa_handler = on_touch};
    slow = mmap(NULL, ITEM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(slow, MAP_FAILED);
    memset(slow, 's', ITEM);
    cr_assert_eq(mprotect(slow + HALF, HALF, PROT_NONE), 0);
    sigemptyset(&touch.sa_mask);
    cr_assert_eq(sigaction(SIGSEGV, &touch, NULL), 0);
    cr_assert_eq(sigaction(SIGBUS, &touch, NULL), 0);
}

static unsigned char *plain_item(unsigned char fill)
{
    static unsigned char item[ITEM];
    memset(item, fill, ITEM);
    return item;
}

static int put_slowly(void *arg)
{
    return thrum_queue_tryput(arg, slow);
}

static int get_slowly(void *arg)
{
    return thrum_queue_tryget(arg, slow);
}

/* --- who is slow -------------------------------------------------------------------------------------- */

static int let_go_later(void *arg)
{
    (void)arg;
    (void)thrum_sleep(THRUM_MS(600)); /* longer than anybody could be expected to take */
    thi_store_release(&go, 1u);
    return 0;
}

static int wait_for_slow_put(void *arg)
{
    thrum_queue_t *q = arg;
    struct caller putter, later;
    caller_start(&putter, put_slowly, q);
    await_word(&stuck, 1);
    caller_start(&later, let_go_later, NULL);
    unsigned char *item = plain_item('x');
    const int err = thrum_queue_tryget(q, item);
    if (caller_join(&putter) != 0 || caller_join(&later) != 0)
        return 1;
    return err != 0 ? err : item[ITEM - 1] == 's' ? 0 : 2;
}

static int wait_for_slow_get(void *arg)
{
    thrum_queue_t *q = arg;
    struct caller getter, later;
    caller_start(&getter, get_slowly, q);
    await_word(&stuck, 1);
    caller_start(&later, let_go_later, NULL);
    const int err = thrum_queue_tryput(q, plain_item('x'));
    if (caller_join(&getter) != 0 || caller_join(&later) != 0)
        return 1;
    return err;
}

Test(queue_inherited, a_strand_of_the_child_that_is_slow_is_waited_for)
{
    if (!CHILD_MAY_START_THREADS)
        cr_skip_test("no threads in a child");
    make_slow_item();
    for (size_t capacity = 0; capacity <= 1; capacity++) {
        thrum_queue_t *q = queue_of(THRUM_FIFO, capacity, ITEM);
        cr_expect_eq(child_run(wait_for_slow_put, q), 0);
        thrum_queue_destroy(q);
    }
    thrum_queue_t *q = queue_of(THRUM_FIFO, 1, ITEM);
    EXPECT_CALL(0, thrum_queue_put(q, plain_item('1')));
    cr_expect_eq(child_run(wait_for_slow_get, q), 0);
    thrum_queue_destroy(q);
}

/* --- who is lost --------------------------------------------------------------------------------------- */

/* One item, then the place of the one who is lost. */
static int meet_lost_put(void *arg)
{
    thrum_queue_t *q = arg;
    unsigned char *item = plain_item('x');
    if (thrum_queue_tryget(q, item) != 0 || item[ITEM - 1] != '1')
        return 1;
    if (thrum_queue_tryget(q, item) != EOWNERDEAD || thrum_queue_get(q, item) != EOWNERDEAD)
        return 2;
    return thrum_queue_tryput(q, plain_item('2')) == 0 ? 0 : 3;
}

Test(queue_inherited, the_place_of_a_put_that_is_lost_says_so)
{
    make_slow_item();
    for (size_t capacity = 0; capacity <= 3; capacity += 3) {
        struct caller putter;
        thrum_queue_t *q = queue_of(THRUM_FIFO, capacity, ITEM);
        EXPECT_CALL(0, thrum_queue_put(q, plain_item('1')));
        thi_store_relaxed(&go, 0u);
        thi_store_relaxed(&stuck, 0u);
        cr_assert_eq(mprotect(slow + HALF, HALF, PROT_NONE), 0);
        caller_start(&putter, put_slowly, q);
        await_word(&stuck, 1);
        cr_expect_eq(child_run(meet_lost_put, q), 0);
        thi_store_release(&go, 1u);
        cr_expect_eq(caller_join(&putter), 0);
        EXPECT_CALL(0, thrum_queue_tryget(q, plain_item('x')));
        EXPECT_CALL(0, thrum_queue_tryget(q, plain_item('x')));
        thrum_queue_destroy(q);
    }
}

static int meet_lost_get(void *arg)
{
    thrum_queue_t *q = arg;
    if (thrum_queue_tryput(q, plain_item('2')) != 0)
        return 1;
    if (thrum_queue_tryput(q, plain_item('3')) != EOWNERDEAD)
        return 2;
    unsigned char *item = plain_item('x');
    return thrum_queue_tryget(q, item) == 0 && item[0] == '2' ? 0 : 3;
}

Test(queue_inherited, the_place_of_a_get_that_is_lost_says_so)
{
    struct caller getter;
    thrum_queue_t *q = queue_of(THRUM_FIFO, 2, ITEM);
    make_slow_item();
    EXPECT_CALL(0, thrum_queue_put(q, plain_item('1')));
    caller_start(&getter, get_slowly, q);
    await_word(&stuck, 1);
    cr_expect_eq(child_run(meet_lost_get, q), 0);
    thi_store_release(&go, 1u);
    cr_expect_eq(caller_join(&getter), 0);
    cr_expect_eq(slow[ITEM - 1], '1');
    thrum_queue_destroy(q);
}

/* --- which queues are known ------------------------------------------------------------------------------- */

static int end_all(void *arg)
{
    thrum_queue_t **queues = arg;
    for (int i = 0; i < 4; i++)
        thrum_queue_destroy(queues[i]);
    return 0;
}

Test(queue_inherited, queues_end_in_any_order_on_both_sides)
{
    static const int orders[][4] = {{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 3, 0, 2}};
    for (int i = 0; i < 3; i++) {
        thrum_queue_t *made[4];
        thrum_queue_t *queues[4];
        for (int j = 0; j < 4; j++)
            made[j] = queue_of(THRUM_FIFO, 0, 4);
        for (int j = 0; j < 4; j++)
            queues[j] = made[orders[i][j]];
        cr_expect_eq(child_run(end_all, queues), 0);
        end_all(queues);
        cr_expect_eq(child_run(end_all, (thrum_queue_t *[4]){NULL}), 0);
    }
}
