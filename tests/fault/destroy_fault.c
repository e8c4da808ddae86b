/*
 * A pool is destroyed by a thread that cannot be registered, and so cannot sleep: it waits all the same.
 */
#include <criterion/criterion.h>

#include "fault/counted.h"

TestSuite(destroy, .timeout = 60);

struct scene {
    thrum_executor_t *pool;
    uint32_t inside;
    uint32_t open;
    uint32_t ended;
    uint32_t destroyed;
};

static int hold(void *arg, void **result)
{
    struct scene *s = arg;
    *result = NULL;
    thi_store_release(&s->inside, 1u);
    await_word(&s->open, 1);
    thi_store_release(&s->ended, 1u);
    return 0;
}

static void *destroy_it(void *arg)
{
    struct scene *s = arg;
    thrum_executor_destroy(s->pool);
    void *had_ended = thi_load_acquire(&s->ended) != 0 ? s : NULL;
    thi_store_release(&s->destroyed, 1u);
    return had_ended;
}

static int destroy_unregistered(void *arg)
{
    struct scene s = {0};
    pthread_t destroyer;
    void *had_ended = NULL;
    thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
    (void)arg;
    config.workers = 2;
    NEED(thrum_thread_pool_create(&s.pool, &config) == 0);
    NEED(thrum_executor_submit(s.pool, hold, &s, NULL) == 0);
    await_word(&s.inside, 1);
    thi_fault_arm(THI_FAULT_AT_EXIT, THI_FAULT_ALWAYS);
    NEED(pthread_create(&destroyer, NULL, destroy_it, &s) == 0);
    for (int i = 0; i < 1000 && thi_load_acquire(&s.destroyed) == 0; i++)
        sched_yield();
    thi_store_release(&s.open, 1u);
    NEED(pthread_join(destroyer, &had_ended) == 0);
    thi_fault_arm(THI_FAULT_AT_EXIT, 0);
    NEED(had_ended == &s);
    return 0;
}

Test(destroy, a_thread_without_a_record_waits_too, .init = count_memory)
{
    run_alone(destroy_unregistered, NULL);
}
