#include "task/work.h"

/* A task that runs in whoever submits it is a task like others: that the caller is cancelled, or shielded from
 * that, is not its business. */
TestSuite(pool_midst, .timeout = 60);

static thrum_executor_t *small(thrum_full_t full)
{
    thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
    config.workers = 1;
    config.backlog = 1;
    config.full = full;
    return pool_as(&config);
}

struct scene {
    thrum_executor_t *pool;
    uint32_t inside;
    uint32_t ran;
    uint32_t cancelled;
    bool shielded;
    struct gate gate;
};

static int look(void *arg, void **result)
{
    struct scene *s = arg;
    (void)result;
    thi_fetch_add_acq_rel(&s->cancelled, thrum_cancelled());
    thi_fetch_add_acq_rel(&s->ran, 1u);
    return 0;
}

static int submit_more(void *arg, void **result)
{
    struct scene *s = arg;
    (void)result;
    int err = 0;
    for (int i = 0; err == 0 && i < 4; i++) /* the first one is queued */
        err = thrum_executor_submit(s->pool, look, s, NULL);
    return err;
}

static int submit_when_cancelled(void *arg, void **result)
{
    struct scene *s = arg;
    if (stop_for_ever(&s->inside, result) != ECANCELED || !thrum_cancelled())
        return EPROTO;
    return s->shielded ? thrum_shield(submit_more, s, NULL) : submit_more(s, result);
}

Test(pool_midst, a_cancelled_task_s_submits_are_not_cancelled)
{
    for (int shielded = 0; shielded < 2; shielded++) {
        struct scene s = {.pool = small(THRUM_FULL_WAIT), .shielded = shielded != 0};
        thrum_future_t *f = submitted(s.pool, submit_when_cancelled, &s);
        await_word(&s.inside, 1);
        EXPECT_CALL(0, thrum_future_interrupt(f));
        expect_result(f, 0);
        thrum_executor_destroy(s.pool);
        cr_expect_eq(s.ran, 4u);
        cr_expect_eq(s.cancelled, 0u);
    }
}

/* --- the shields of who submits ------------------------------------------------------------------- */

struct self_cancelling {
    thrum_group_t g;
    uint32_t saw_it;
};

static int stop_itself(void *arg, void **result)
{
    struct self_cancelling *c = arg;
    (void)result;
    thrum_group_cancel(&c->g);
    c->saw_it = thrum_cancelled();
    return 0;
}

static int spawn_shielded(void *arg, void **result)
{
    struct scene *s = arg;
    struct self_cancelling c = {THRUM_GROUP_INIT(s->pool), 0};
    (void)result;
    keep_busy(s->pool, &s->gate);
    if (thrum_executor_submit(s->pool, look, s, NULL) != 0) /* fills the backlog */
        return EPROTO;
    const int err = thrum_group_spawn(&c.g, stop_itself, &c); /* here and now */
    thrum_event_set(&s->gate.opened);
    const int waited = thrum_group_wait(&c.g);
    return err == 0 && c.saw_it != 0 ? waited : EPROTO;
}

Test(pool_midst, the_shields_of_who_submits_do_not_cover_it)
{
    struct scene s = {.pool = small(THRUM_FULL_RUN)};
    EXPECT_CALL(ECANCELED, thrum_shield(spawn_shielded, &s, NULL));
    thrum_executor_destroy(s.pool);
    cr_expect_eq(s.ran, 1u);
}
