#include "task/work.h"

/* Groups: nothing outlives them, the first error cancels the rest. */
TestSuite(group, .timeout = 60);

/* --- the same body in a plain thread and in tasks, with every policy and with 1 and 2 workers ------ */

struct setting {
    thrum_executor_t *pool;
    size_t workers;
    void (*body)(struct setting *s);
};

static int body_task(void *arg, void **result)
{
    struct setting *s = arg;
    (void)result;
    s->body(s);
    return 0;
}

/* Bodies run in tasks too, where an assertion cannot leave: they use this one. */
static uint32_t failures;

#define MUST(what)                                                                                 \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #what);                   \
            thi_fetch_add_relaxed(&failures, 1u);                                                  \
        }                                                                                          \
    } while (0)

static void everywhere(void (*body)(struct setting *s))
{
    for (size_t workers = 1; workers <= 2; workers++) {
        for (EACH_POLICY(policy)) {
            struct setting s = {pool_of(workers, policy), workers, body};
            for (int i = 0; i < 5; i++)
                body(&s);
            for (int i = 0; i < 5; i++)
                expect_result(submitted(s.pool, body_task, &s), 0);
            thrum_executor_destroy(s.pool);
            cr_expect_eq(failures, 0u, "policy %d, %zu workers", (int)policy, workers);
        }
    }
}

/* --- the plain way ---------------------------------------------------------------------------------- */

static void all_run(struct setting *s)
{
    uint32_t count = 0;
    thrum_group_t g = THRUM_GROUP_INIT(s->pool);
    MUST(thrum_group_wait(&g) == 0);
    for (uint32_t round = 1; round < 4; round++) { /* it can be used again */
        for (int i = 0; i < 100; i++)
            MUST(thrum_group_spawn(&g, add_one, &count) == 0);
        MUST(thrum_group_wait(&g) == 0);
        MUST(thi_load_acquire(&count) == round * 100);
        MUST(!thrum_group_cancelled(&g));
    }
}

Test(group, a_wait_returns_when_all_have_ended)
{
    everywhere(all_run);
}

static int not_mine(void *g)
{
    return thrum_group_wait(g);
}

Test(group, invalid_uses_are_refused)
{
    struct caller c;
    thrum_executor_t *pool = pool_of(1, THRUM_POLICY_STEALING);
    thrum_group_t g, none = THRUM_GROUP_INIT(NULL);
    EXPECT_CALL(EINVAL, thrum_group_init(NULL, pool));
    EXPECT_CALL(EINVAL, thrum_group_init(&g, NULL));
    EXPECT_CALL(0, thrum_group_init(&g, pool));
    EXPECT_CALL(EINVAL, thrum_group_spawn(NULL, hand_back, NULL));
    EXPECT_CALL(EINVAL, thrum_group_spawn(&g, NULL, NULL));
    EXPECT_CALL(EINVAL, thrum_group_spawn(&none, hand_back, NULL));
    EXPECT_CALL(EINVAL, thrum_group_wait(NULL));
    EXPECT_CALL(EINVAL, thrum_group_wait(&none));
    cr_expect_not(thrum_group_cancelled(NULL));
    thrum_group_cancel(NULL);
    EXPECT_CALL(0, thrum_group_spawn(&g, hand_back, NULL));
    caller_start(&c, not_mine, &g);
    cr_expect_eq(caller_join(&c), EINVAL, "it is not the maker");
    EXPECT_CALL(0, thrum_group_wait(&g));
    EXPECT_CALL(0, thrum_executor_shutdown(pool, THRUM_WAIT));
    EXPECT_CALL(ESHUTDOWN, thrum_group_spawn(&g, hand_back, NULL));
    EXPECT_CALL(0, thrum_group_wait(&g));
    thrum_executor_destroy(pool);
}

/* Tasks spawn tasks, and those too: 2^DEPTH leaves. */
#define DEPTH 9u

struct tree {
    thrum_group_t *group;
    uint32_t depth;
    uint32_t *leaves;
    struct tree *halves; /* a place for two */
};

static int grow(void *arg, void **result)
{
    struct tree *t = arg;
    (void)result;
    if (t->depth == 0) {
        thi_fetch_add_relaxed(t->leaves, 1u);
        return 0;
    }
    t->halves = calloc(2, sizeof *t->halves);
    for (int i = 0; i < 2; i++) {
        t->halves[i] = (struct tree){t->group, t->depth - 1, t->leaves, NULL};
        MUST(thrum_group_spawn(t->group, grow, &t->halves[i]) == 0);
    }
    return 0;
}

static void fell(struct tree *t)
{
    if (t->halves == NULL)
        return;
    fell(&t->halves[0]);
    fell(&t->halves[1]);
    free(t->halves);
}

static void tasks_spawn(struct setting *s)
{
    uint32_t leaves = 0;
    thrum_group_t g = THRUM_GROUP_INIT(s->pool);
    struct tree root = {&g, DEPTH, &leaves, NULL};
    MUST(thrum_group_spawn(&g, grow, &root) == 0);
    MUST(thrum_group_wait(&g) == 0);
    MUST(leaves == 1u << DEPTH);
    fell(&root);
}

Test(group, its_tasks_may_spawn_more)
{
    everywhere(tasks_spawn);
}

/* The same, but every node has a group of its own. */
static int grow_nested(void *arg, void **result)
{
    struct tree *t = arg;
    (void)result;
    if (t->depth == 0) {
        thi_fetch_add_relaxed(t->leaves, 1u);
        return 0;
    }
    thrum_group_t g = THRUM_GROUP_INIT(t->group->thrum_executor);
    struct tree half = {&g, t->depth - 1, t->leaves, NULL};
    MUST(thrum_group_spawn(&g, grow_nested, &half) == 0);
    MUST(thrum_group_spawn(&g, grow_nested, &half) == 0);
    return thrum_group_wait(&g);
}

static void groups_nest(struct setting *s)
{
    uint32_t leaves = 0;
    thrum_group_t g = THRUM_GROUP_INIT(s->pool);
    struct tree root = {&g, DEPTH, &leaves, NULL};
    MUST(thrum_group_spawn(&g, grow_nested, &root) == 0);
    MUST(thrum_group_wait(&g) == 0);
    MUST(leaves == 1u << DEPTH);
}

Test(group, groups_nest)
{
    everywhere(groups_nest);
}

/* --- errors ------------------------------------------------------------------------------------------ */

/* What a task saw that was to be cancelled. */
struct witness {
    uint32_t inside;
    thrum_event_t go; /* of the one that fails */
    uint32_t asked;   /* saw that it was to stop, and had ECANCELED */
    uint32_t ran;     /* ran though it should not have */
};

static int be_stopped(void *arg, void **result)
{
    struct witness *w = arg;
    thrum_sem_t none = THRUM_SEM_INIT(0);
    const int err = stop_for_ever(&w->inside, result);
    if (err == ECANCELED && thrum_cancelled() && thrum_sem_acquire(&none) == ECANCELED)
        thi_fetch_add_relaxed(&w->asked, 1u);
    return EPROTO; /* too late to matter */
}

static int fail_on_go(void *arg, void **result)
{
    struct witness *w = arg;
    (void)result;
    (void)thrum_event_wait(&w->go);
    return EIO;
}

static int count_ran(void *arg, void **result)
{
    return add_one(&((struct witness *)arg)->ran, result);
}

static int fail_now(void *arg, void **result)
{
    (void)arg, (void)result;
    return EIO;
}

static void first_error_wins(struct setting *s)
{
    struct witness w = {.go = THRUM_EVENT_INIT};
    thrum_group_t g = THRUM_GROUP_INIT(s->pool);
    MUST(thrum_group_spawn(&g, be_stopped, &w) == 0);
    MUST(thrum_group_spawn(&g, fail_on_go, &w) == 0);
    thrum_event_set(&w.go);
    MUST(thrum_group_wait(&g) == EIO);
    MUST(thrum_group_cancelled(&g));
    MUST(w.inside == w.asked); /* whichever came first */
    MUST(thrum_group_spawn(&g, count_ran, &w) == ECANCELED);
    MUST(thrum_group_wait(&g) == EIO);
    MUST(w.ran == 0);
}

Test(group, the_first_error_stops_those_that_run)
{
    everywhere(first_error_wins);
}

Test(group, the_first_error_keeps_the_rest_from_running)
{
    struct gate gate = GATE_INIT;
    struct witness w = {.go = THRUM_EVENT_INIT};
    thrum_executor_t *pool = pool_of(1, THRUM_POLICY_FIFO);
    thrum_group_t g = THRUM_GROUP_INIT(pool);
    keep_busy(pool, &gate);
    EXPECT_CALL(0, thrum_group_spawn(&g, fail_now, NULL));
    for (int i = 0; i < 50; i++)
        EXPECT_CALL(0, thrum_group_spawn(&g, count_ran, &w));
    thrum_event_set(&gate.opened);
    EXPECT_CALL(EIO, thrum_group_wait(&g));
    cr_expect_eq(w.ran, 0u);
    thrum_executor_stats_t stats;
    EXPECT_CALL(0, thrum_executor_shutdown(pool, THRUM_WAIT));
    thrum_executor_stats(pool, &stats);
    cr_expect_eq(stats.cancelled, 50u);
    cr_expect_eq(stats.failed, 1u);
    thrum_executor_destroy(pool);
}

static int wait_for_group(void *arg)
{
    return thrum_group_wait(arg);
}

struct spawned {
    thrum_group_t g;
    thrum_executor_t *pool;
    struct witness w;
    thrum_time_t deadline;
    uint32_t all; /* have been spawned: a group that is cancelled before refuses the rest */
};

static int spawn_and_wait(void *arg)
{
    struct spawned *s = arg;
    s->g = (thrum_group_t)THRUM_GROUP_INIT(s->pool);
    for (int i = 0; i < 3; i++)
        if (thrum_group_spawn(&s->g, be_stopped, &s->w) != 0)
            return EPROTO;
    thi_store_release(&s->all, 1u);
    return thrum_group_wait_until(&s->g, s->deadline);
}

Test(group, it_is_cancelled_from_outside)
{
    for (int i = 0; i < 50; i++) {
        struct caller c;
        struct spawned s = {.pool = pool_of(1, THRUM_POLICY_STEALING), .deadline = THRUM_FOREVER};
        caller_start(&c, spawn_and_wait, &s);
        await_word(&s.all, 1);
        await_reaches(&s.w.inside, 1 + (uint32_t)i % 3); /* spare workers stand in */
        thrum_group_cancel(&s.g);
        thrum_group_cancel(&s.g);
        cr_expect_eq(caller_join(&c), ECANCELED);
        cr_expect_eq(s.w.asked, s.w.inside);
        thrum_executor_destroy(s.pool);
    }
}

Test(group, it_is_cancelled_with_who_waits_for_it)
{
    for (int i = 0; i < 50; i++) {
        struct caller c;
        struct spawned s = {.pool = pool_of(1, THRUM_POLICY_STEALING), .deadline = THRUM_FOREVER};
        caller_start(&c, spawn_and_wait, &s);
        await_reaches(&s.w.inside, 1 + (uint32_t)i % 3);
        caller_cancel(&c);
        cr_expect_eq(caller_join(&c), ECANCELED);
        cr_expect_eq(s.w.asked, s.w.inside);
        thrum_executor_destroy(s.pool);
    }
}

Test(group, a_deadline_cancels_it_and_waits_for_the_end)
{
    for (int i = 0; i < 50; i++) {
        struct spawned s = {.pool = pool_of(1, THRUM_POLICY_STEALING)};
        s.deadline = i % 2 == 0 ? PAST : SOON;
        cr_expect_eq(spawn_and_wait(&s), ETIMEDOUT);
        cr_expect_eq(s.w.asked, s.w.inside);
        cr_expect(thrum_group_cancelled(&s.g));
        EXPECT_CALL(ECANCELED, wait_for_group(&s.g)); /* no task had failed before */
        thrum_executor_destroy(s.pool);
    }
}
