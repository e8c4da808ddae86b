/*
 * A spare worker that cannot be started is tried again by who submits: nobody else is awake to do it.
 */
#include <criterion/criterion.h>

#include "fault/counted.h"

TestSuite(standin, .timeout = 60);

struct scene {
    thrum_executor_t *pool;
    thrum_event_t event;
    thi_strand_t *strand;
    uint32_t ran;
};

static int wait_for_it(void *arg, void **result)
{
    struct scene *s = arg;
    *result = NULL;
    thi_store_release(&s->strand, thi_self());
    return thrum_event_wait(&s->event);
}

static int set_it(void *arg, void **result)
{
    struct scene *s = arg;
    *result = NULL;
    thi_fetch_add_acq_rel(&s->ran, 1u);
    thrum_event_set(&s->event);
    return 0;
}

/* The only worker sleeps in a task, and nobody could be called to stand in. */
static int begin(struct scene *s, thi_fault_t kind, unsigned which, size_t backlog)
{
    thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
    config.workers = 1;
    config.backlog = backlog;
    *s = (struct scene){.event = THRUM_EVENT_INIT};
    NEED(thrum_thread_pool_create(&s->pool, &config) == 0);
    thi_fault_arm(kind, which);
    NEED(thrum_executor_submit(s->pool, wait_for_it, s, NULL) == 0);
    const thi_strand_t *strand = NULL;
    while ((strand = thi_load_acquire(&s->strand)) == NULL ||
           thi_load_relaxed(&strand->permit) != THI_PARKED)
        sched_yield();
    return 0;
}

static int fail_once(void *arg)
{
    struct scene s;
    thrum_future_t *f = NULL;
    const int line = begin(&s, *(thi_fault_t *)arg, 1, 0);
    NEED(line == 0);
    thi_fault_arm(*(thi_fault_t *)arg, 0);
    NEED(thrum_executor_submit(s.pool, set_it, &s, &f) == 0);
    NEED(thrum_future_result(f, NULL) == 0 && s.ran == 1);
    thrum_future_release(f);
    thrum_executor_destroy(s.pool);
    return 0;
}

static int fail_for_a_while(void *arg)
{
    struct scene s;
    const int line = begin(&s, *(thi_fault_t *)arg, THI_FAULT_ALWAYS, 0);
    NEED(line == 0);
    for (int i = 0; i < 5;
         i++) /* where a task itself needs no memory, but at first for the queue */
        (void)thrum_executor_submit(s.pool, set_it, &s, NULL);
    NEED(s.ran == 0);
    thi_fault_arm(*(thi_fault_t *)arg, 0);
    NEED(thrum_executor_submit(s.pool, set_it, &s, NULL) == 0);
    NEED(thrum_event_wait(&s.event) == 0);
    thrum_executor_destroy(s.pool);
    return 0;
}

/* Room, too, is made by nobody but who stands in. */
static int fail_with_a_full_backlog(void *arg)
{
    struct scene s;
    const int line = begin(&s, *(thi_fault_t *)arg, THI_FAULT_ALWAYS, 1);
    NEED(line == 0);
    NEED(thrum_executor_submit(s.pool, set_it, &s, NULL) == 0);
    thi_fault_arm(*(thi_fault_t *)arg, 0);
    NEED(thrum_executor_submit(s.pool, set_it, &s, NULL) == 0);
    thrum_executor_destroy(s.pool);
    NEED(s.ran == 2);
    return 0;
}

Test(standin, a_failure_is_made_good_by_the_next_submit, .init = count_memory)
{
    run_alone(fail_once, &(thi_fault_t){THI_FAULT_THREAD});
    run_alone(fail_once, &(thi_fault_t){THI_FAULT_ALLOC});
}

Test(standin, many_failures_are, .init = count_memory)
{
    run_alone(fail_for_a_while, &(thi_fault_t){THI_FAULT_THREAD});
    run_alone(fail_for_a_while, &(thi_fault_t){THI_FAULT_ALLOC});
}

Test(standin, a_full_backlog_is_emptied, .init = count_memory)
{
    run_alone(fail_with_a_full_backlog, &(thi_fault_t){THI_FAULT_THREAD});
}
