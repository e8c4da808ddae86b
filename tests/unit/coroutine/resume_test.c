#include "coroutine/loops.h"

TestSuite(coro_resume, .timeout = 30);

static int count(void *arg, void **result)
{
    int limit = *(int *)arg;
    for (int i = 0; i < limit; i++)
        thrum_coro_yield(&i);
    *result = arg;
    return 7;
}

Test(coro_resume, a_generator_yields_and_ends)
{
    int limit = 5;
    void *value = NULL;
    void *result = NULL;
    thrum_coro_t *co = made(count, &limit);
    cr_expect_not(thrum_coro_done(co));
    EXPECT_CALL(EBUSY, thrum_coro_result(co, &result));
    for (int i = 0; i < limit; i++) {
        EXPECT_CALL(0, thrum_coro_resume(co, NULL, &value));
        cr_expect_eq(*(int *)value, i);
    }
    cr_expect_not(thrum_coro_done(co));
    value = NULL;
    EXPECT_CALL(ENODATA, thrum_coro_resume(co, NULL, &value));
    cr_expect_null(value, "an end yields nothing");
    cr_expect(thrum_coro_done(co));
    EXPECT_CALL(7, thrum_coro_result(co, &result));
    cr_expect_eq(result, &limit);
    EXPECT_CALL(7, thrum_coro_result(co, NULL));
    EXPECT_CALL(7, thrum_coro_join(co, NULL));
    for (int i = 0; i < 3; i++)
        EXPECT_CALL(ENODATA, thrum_coro_resume(co, NULL, NULL));
    thrum_coro_release(co);
}

static int echo(void *arg, void **result)
{
    char *said = arg;
    while (said != NULL)
        said = thrum_coro_yield(said);
    *result = arg;
    return 0;
}

Test(coro_resume, values_go_both_ways)
{
    char words[100];
    void *value = NULL;
    thrum_coro_t *co = made(echo, words);
    EXPECT_CALL(0, thrum_coro_resume(co, &words[99], &value));
    cr_expect_eq(value, words, "nobody gets what is sent first");
    for (int i = 1; i < 100; i++) {
        EXPECT_CALL(0, thrum_coro_resume(co, &words[i], &value));
        cr_expect_eq(value, &words[i]);
    }
    EXPECT_CALL(0, thrum_coro_resume(co, words, NULL));
    EXPECT_CALL(ENODATA, thrum_coro_resume(co, NULL, &value));
    thrum_coro_release(co);
}

/* --- one in another ---------------------------------------------------------------------------------- */

struct node {
    int value;
    struct node *left, *right;
};

static int walk(void *arg, void **result)
{
    struct node *node = arg;
    struct node *sides[2] = {node->left, node->right};
    (void)result;
    for (int side = 0; side < 2; side++) {
        thrum_coro_t *co = NULL;
        void *value = NULL;
        if (side == 1)
            thrum_coro_yield(&node->value);
        if (sides[side] == NULL || thrum_coro_create(&co, walk, sides[side], NULL) != 0)
            continue;
        while (thrum_coro_resume(co, NULL, &value) == 0)
            thrum_coro_yield(value);
        thrum_coro_release(co);
    }
    return 0;
}

Test(coro_resume, generators_of_generators)
{
    enum { NODES = 127 };
    static struct node nodes[NODES];
    /* A tree in an array: in order, its places are counted up. */
    int next = 0;
    for (int i = 0; i < NODES; i++) {
        nodes[i].left = 2 * i + 1 < NODES ? &nodes[2 * i + 1] : NULL;
        nodes[i].right = 2 * i + 2 < NODES ? &nodes[2 * i + 2] : NULL;
    }
    for (int round = 0; round < 3; round++) {
        thrum_coro_t *co = made(walk, &nodes[0]);
        void *value = NULL;
        next = 0;
        while (thrum_coro_resume(co, NULL, &value) == 0)
            *(int *)value = next++;
        cr_expect_eq(next, NODES);
        thrum_coro_release(co);
    }
    cr_expect_eq(nodes[0].value, NODES / 2);
    cr_expect_eq(nodes[63].value, 0);
    cr_expect_eq(nodes[126].value, NODES - 1);
}

/* --- misuse ------------------------------------------------------------------------------------------ */

Test(coro_resume, null_is_refused)
{
    thrum_coro_t *co = NULL;
    thrum_coro_config_t config = THRUM_CORO_CONFIG_INIT;
    EXPECT_CALL(EINVAL, thrum_coro_create(NULL, do_nothing, NULL, NULL));
    EXPECT_CALL(EINVAL, thrum_coro_create(&co, NULL, NULL, NULL));
    config.config_size = 3;
    EXPECT_CALL(EINVAL, thrum_coro_create(&co, do_nothing, NULL, &config));
    config = (thrum_coro_config_t)THRUM_CORO_CONFIG_INIT;
    config.stack_size = THRUM_CORO_STACK_MAX + 1;
    EXPECT_CALL(EINVAL, thrum_coro_create(&co, do_nothing, NULL, &config));
    cr_expect_null(co);
    EXPECT_CALL(EINVAL, thrum_coro_resume(NULL, NULL, NULL));
    EXPECT_CALL(EINVAL, thrum_coro_switch(NULL, NULL, NULL));
    EXPECT_CALL(EINVAL, thrum_coro_cancel(NULL));
    EXPECT_CALL(EINVAL, thrum_coro_result(NULL, NULL));
    EXPECT_CALL(EINVAL, thrum_coro_join(NULL, NULL));
    EXPECT_CALL(EINVAL, thrum_coro_tryjoin(NULL, NULL));
    EXPECT_CALL(EINVAL, thrum_coro_join_until(NULL, NULL, THRUM_FOREVER));
    EXPECT_CALL(EINVAL, thrum_coro_join_all(NULL, 1, THRUM_FOREVER));
    EXPECT_CALL(0, thrum_coro_join_all(NULL, 0, THRUM_FOREVER));
    EXPECT_CALL(EINVAL, thrum_defer(NULL, NULL));
    cr_expect_not(thrum_coro_done(NULL));
    cr_expect_str_eq(thrum_coro_name(NULL), "");
    cr_expect_eq(thrum_coro_stack_used(NULL), 0u);
    thrum_coro_release(NULL);
}

Test(coro_resume, yield_outside_of_coroutines_returns_at_once)
{
    int value = 0;
    cr_expect_null(thrum_coro_yield(&value));
    cr_expect_not_null(thrum_coro_current());
    cr_expect_null(thrum_coro_yield(&value));
}

struct pair {
    thrum_coro_t *outer, *inner;
    int errors[4];
};

static int resume_those_who_run(void *arg, void **result)
{
    struct pair *p = arg;
    (void)result;
    p->errors[0] = thrum_coro_resume(p->inner, NULL, NULL);
    p->errors[1] = thrum_coro_resume(p->outer, NULL, NULL);
    p->errors[2] = thrum_coro_resume(thrum_coro_current(), NULL, NULL);
    return 0;
}

static int resume_inner(void *arg, void **result)
{
    struct pair *p = arg;
    (void)result;
    return thrum_coro_resume(p->inner, NULL, NULL);
}

Test(coro_resume, who_runs_or_has_resumed_another_is_refused)
{
    struct pair p = {NULL, NULL, {0}};
    p.outer = made(resume_inner, &p);
    p.inner = made(resume_those_who_run, &p);
    EXPECT_CALL(ENODATA, thrum_coro_resume(p.outer, NULL, NULL));
    EXPECT_CALL(ENODATA, thrum_coro_result(p.outer, NULL));
    for (int i = 0; i < 3; i++)
        cr_expect_eq(p.errors[i], EINVAL, "%d", i);
    EXPECT_CALL(EINVAL, thrum_coro_resume(thrum_coro_current(), NULL, NULL));
    thrum_coro_release(p.inner);
    thrum_coro_release(p.outer);
}

static int resume_it(void *arg)
{
    return thrum_coro_resume(arg, NULL, NULL);
}

static int switch_to_it(void *arg)
{
    return thrum_coro_switch(arg, NULL, NULL);
}

static int call_elsewhere(int (*fn)(void *arg), void *arg)
{
    struct caller c;
    caller_start(&c, fn, arg);
    return caller_join(&c);
}

static int resume_it_in_a_coroutine(void *arg)
{
    const int err = thrum_coro_current() != NULL ? thrum_coro_resume(arg, NULL, NULL) : ENOMEM;
    return err;
}

Test(coro_resume, another_threads_is_refused)
{
    int limit = 2;
    thrum_coro_t *co = made(count, &limit);
    for (int i = 0; i < 2; i++) {
        cr_expect_eq(call_elsewhere(resume_it, co), EINVAL);
        cr_expect_eq(call_elsewhere(resume_it_in_a_coroutine, co), EINVAL);
        cr_expect_eq(call_elsewhere(switch_to_it, co), EINVAL);
        EXPECT_CALL(0, thrum_coro_resume(co, NULL, NULL));
    }
    EXPECT_CALL(ENODATA, thrum_coro_resume(co, NULL, NULL));
    cr_expect_eq(call_elsewhere(resume_it, co), ENODATA);
    cr_expect_eq(call_elsewhere(switch_to_it, co), ENODATA);
    thrum_coro_release(co);
}

static int join_it(void *arg)
{
    return thrum_coro_join(arg, NULL);
}

Test(coro_resume, who_is_resumed_by_hand_is_joined_once_it_is_done)
{
    thrum_coro_t *co = made(do_nothing, NULL);
    EXPECT_CALL(EINVAL, thrum_coro_join(co, NULL));
    EXPECT_CALL(EINVAL, thrum_coro_tryjoin(co, NULL));
    cr_expect_eq(call_elsewhere(join_it, co), EINVAL);
    EXPECT_CALL(ENODATA, thrum_coro_resume(co, NULL, NULL));
    EXPECT_CALL(0, thrum_coro_join(co, NULL));
    EXPECT_CALL(0, thrum_coro_tryjoin(co, NULL));
    cr_expect_eq(call_elsewhere(join_it, co), 0);
    thrum_coro_release(co);
}

/* --- in a loop ---------------------------------------------------------------------------------------- */

static int sleep_and_yield(void *arg, void **result)
{
    int *value = arg;
    (void)result;
    for (; *value < 3; ++*value) {
        if (thrum_sleep(THRUM_MS(1)) != 0)
            return ECANCELED;
        thrum_coro_yield(value);
    }
    return 0;
}

struct shared_generator {
    thrum_coro_t *co;
    int refused;
    int values;
    uint32_t stop;
};

static int meddle(void *arg, void **result)
{
    struct shared_generator *s = arg;
    (void)result;
    while (s->stop == 0) {
        s->refused += thrum_coro_resume(s->co, NULL, NULL) == EINVAL;
        s->refused += thrum_coro_switch(s->co, NULL, NULL) == EINVAL;
        thrum_yield();
    }
    return 0;
}

static int use_generator(void *arg, void **result)
{
    struct shared_generator *s = arg;
    void *value = NULL;
    (void)result;
    cr_expect_eq(thrum_go(NULL, meddle, s), 0);
    while (thrum_coro_resume(s->co, NULL, &value) == 0)
        s->values += *(int *)value == s->values;
    s->stop = 1;
    return 0;
}

Test(coro_resume, a_generator_that_sleeps_lets_the_loop_run)
{
    int value = 0;
    struct shared_generator s = {made(sleep_and_yield, &value), 0, 0, 0};
    cr_expect_eq(in_loop(use_generator, &s), 0);
    cr_expect_eq(s.values, 3);
    cr_expect_gt(s.refused, 0, "who waits is not to be resumed");
    thrum_coro_release(s.co);
}

Test(coro_resume, a_generator_that_sleeps_without_a_loop_sleeps_with_its_thread)
{
    int value = 0;
    void *yielded = NULL;
    thrum_coro_t *co = made(sleep_and_yield, &value);
    for (int i = 0; i < 3; i++) {
        const thrum_time_t before = thrum_now();
        EXPECT_CALL(0, thrum_coro_resume(co, NULL, &yielded));
        cr_expect_geq(thrum_now() - before, THRUM_MS(1));
        cr_expect_eq(*(int *)yielded, i);
    }
    EXPECT_CALL(ENODATA, thrum_coro_resume(co, NULL, NULL));
    thrum_coro_release(co);
}

static int yield_in_loop(void *arg, void **result)
{
    struct trace *t = arg;
    (void)result;
    for (int i = 0; i < 3; i++) {
        note(t, 'b');
        cr_expect_null(thrum_coro_yield(t));
    }
    return 0;
}

static int yield_with_it(void *arg, void **result)
{
    struct trace *t = arg;
    (void)result;
    cr_expect_eq(thrum_go(NULL, yield_in_loop, t), 0);
    for (int i = 0; i < 3; i++) {
        note(t, 'a');
        cr_expect_null(thrum_coro_yield(t));
    }
    return 0;
}

Test(coro_resume, a_yield_of_a_loops_coroutine_lets_others_run)
{
    struct trace t = {{0}, 0};
    cr_expect_eq(in_loop(yield_with_it, &t), 0);
    cr_expect_str_eq(t.text, "ababab");
}
