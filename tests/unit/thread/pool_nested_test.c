#include "task/work.h"

/* What a pool does for a worker that is about to sleep may itself wait: the program's allocator does. */
TestSuite(pool_nested, .timeout = 60);

static thrum_mutex_t heap_mutex = THRUM_MUTEX_INIT;
static uint32_t heap_waits; /* the next allocation of a worker waits for the mutex */
static uint32_t heap_entered;

static void *allocate(size_t size, size_t alignment, void *ctx)
{
    uint32_t armed = 1;
    (void)alignment, (void)ctx;
    if (thrum_thread_pool_worker() != SIZE_MAX && thi_cas_acq_rel(&heap_waits, &armed, 0u)) {
        thi_store_release(&heap_entered, 1u);
        thrum_mutex_lock(&heap_mutex);
        thrum_mutex_unlock(&heap_mutex);
    }
    return malloc(size);
}

static void release(void *memory, size_t size, size_t alignment, void *ctx)
{
    (void)size, (void)alignment, (void)ctx;
    free(memory);
}

static void use_own_heap(void)
{
    thrum_allocator_t heap = THRUM_ALLOCATOR_INIT;
    heap.allocate = allocate;
    heap.release = release;
    cr_assert_eq(thrum_set_allocator(&heap), 0);
}

static int stop_with_heap_armed(void *arg, void **result)
{
    thi_store_release(&heap_waits, 1u); /* the stand-in's deque is allocated before the sleep */
    return stop_at(arg, result);
}

Test(pool_nested, a_wake_up_during_the_call_of_a_stand_in_is_not_lost, .init = use_own_heap)
{
    struct gate gate = GATE_INIT;
    thrum_executor_stats_t s;
    thrum_executor_t *pool = pool_of(1, THRUM_POLICY_STEALING);
    cr_assert_eq(thrum_mutex_lock(&heap_mutex), 0);
    thrum_future_t *f = submitted(pool, stop_with_heap_armed, &gate);
    await_word(&heap_entered, 1);
    await_parked(&heap_mutex, 1); /* inside the other wait, which has queued already */
    thrum_event_set(&gate.opened);
    thrum_executor_stats(pool, &s);
    cr_expect_leq(s.workers, 2u, "it sleeps once, however often it says so");
    cr_assert_eq(thrum_mutex_unlock(&heap_mutex), 0);
    expect_result(f, 0);
    for (int i = 0; i < 100; i++) /* nothing is left counted as asleep */
        expect_result(submitted(pool, hand_back, NULL), 0);
    thrum_executor_destroy(pool);
}
