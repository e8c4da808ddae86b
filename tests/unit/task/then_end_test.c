#include "task/work.h"

/* Steps for an executor that is shut down, or gone, when their turn comes. */
TestSuite(then_end, .timeout = 60);

/* What is given back is never used again, and cannot be mistaken for what it was. */
static void *graves; /* linked by their first word, so that they are not lost */

static void *allocate(size_t size, size_t alignment, void *ctx)
{
    (void)alignment, (void)ctx;
    return malloc(size < sizeof(void *) ? sizeof(void *) : size);
}

static uint32_t released;

static void spoil(void *memory, size_t size, size_t alignment, void *ctx)
{
    (void)alignment, (void)ctx;
    memset(memory, 0xA5, size);
    void *last = thi_load_relaxed(&graves);
    do
        *(void **)memory = last;
    while (!thi_cas_acq_rel(&graves, &last, memory));
    if (size > sizeof(thrum_thread_pool_config_t) * 4)
        thi_fetch_add_acq_rel(&released, 1u);
}

static void use_own_heap(void)
{
    thrum_allocator_t heap = THRUM_ALLOCATOR_INIT;
    heap.allocate = allocate;
    heap.release = spoil;
    cr_assert_eq(thrum_set_allocator(&heap), 0);
}

static int step(thrum_future_t *done, void *arg, void **result)
{
    (void)done, (void)result;
    thi_fetch_add_acq_rel((uint32_t *)arg, 1u);
    return 0;
}

static thrum_future_t *then(thrum_future_t *f, thrum_executor_t *pool, uint32_t *ran)
{
    thrum_future_t *next = NULL;
    EXPECT_CALL(0, thrum_future_then(f, pool, step, ran, &next));
    return next;
}

Test(then_end, a_step_fails_when_its_executor_was_destroyed, .init = use_own_heap)
{
    uint32_t ran = 0;
    thrum_executor_t *pool = pool_of(2, THRUM_POLICY_STEALING);
    thrum_future_t *f = promised();
    thrum_future_t *next = then(f, pool, &ran);
    thrum_future_t *after = then(next, pool, &ran);
    thrum_executor_destroy(pool);
    EXPECT_CALL(0, thrum_future_complete(f, NULL));
    expect_result(next, ESHUTDOWN);
    expect_result(after, ESHUTDOWN);
    thrum_future_release(f);
    cr_expect_eq(ran, 0u);
}

Test(then_end, and_when_it_was_shut_down)
{
    uint32_t ran = 0;
    thrum_executor_t *pool = pool_of(1, THRUM_POLICY_FIFO);
    thrum_future_t *f = promised();
    thrum_future_t *next = then(f, pool, &ran);
    EXPECT_CALL(0, thrum_executor_shutdown(pool, THRUM_WAIT));
    EXPECT_CALL(0, thrum_future_complete(f, NULL));
    thrum_executor_destroy(pool);
    expect_result(next, ESHUTDOWN);
    thrum_future_release(f);
    cr_expect_eq(ran, 0u);
}

/* The promise that it was to follow goes, or the step itself: the executor is not kept for it. */
Test(then_end, what_was_destroyed_is_kept_for_no_step_that_never_comes, .init = use_own_heap)
{
    uint32_t ran = 0;
    thrum_executor_t *pool = pool_of(1, THRUM_POLICY_STEALING);
    thrum_future_t *f = promised();
    thrum_future_t *next = then(f, pool, &ran);
    thrum_executor_destroy(pool);
    const uint32_t before = thi_load_acquire(&released);
    thrum_future_release(f);
    await_reaches(&released, before + 1); /* its threads may end a moment after `destroy` */
    expect_result(next, ECANCELED);
    cr_expect_eq(ran, 0u);
}

/* --- a cancel ends the future under the pool, which is destroyed before the step is submitted -------- */

struct scene {
    thrum_event_t called;
    thrum_event_t destroyed;
};

static void hold_up(thrum_future_t *f, void *arg)
{
    struct scene *s = arg;
    (void)f;
    thrum_event_set(&s->called);
    thrum_event_wait(&s->destroyed);
}

static int cancel_it(void *f)
{
    return thrum_future_cancel(f) ? 0 : EPROTO;
}

Test(then_end, the_executor_of_what_is_cancelled_may_be_destroyed, .init = use_own_heap)
{
    uint32_t ran = 0;
    struct gate gate = GATE_INIT;
    struct scene s = {THRUM_EVENT_INIT, THRUM_EVENT_INIT};
    struct caller canceller;
    thrum_executor_t *pool = pool_of(1, THRUM_POLICY_STEALING);
    keep_busy(pool, &gate);
    thrum_future_t *f = submitted(pool, add_one, &ran);
    EXPECT_CALL(0, thrum_future_add_done_callback(f, hold_up, &s));
    thrum_future_t *next = then(f, pool, &ran);
    caller_start(&canceller, cancel_it, f);
    thrum_event_wait(&s.called);
    open_and_destroy(pool, &gate);
    thrum_event_set(&s.destroyed);
    cr_expect_eq(caller_join(&canceller), 0);
    expect_result(next, ESHUTDOWN);
    expect_result(f, ECANCELED);
    cr_expect_eq(ran, 0u);
}
