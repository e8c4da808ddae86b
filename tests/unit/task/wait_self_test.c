#include "task/work.h"

/* thrum_wait for a task's own future, among others: it never ends, but another may be enough. */
TestSuite(wait_self, .timeout = 60);

struct scene {
    thrum_future_t *fs[3]; /* its own, and promises */
    size_t n;
    thrum_wait_mode_t mode;
    thrum_time_t deadline;
    thrum_event_t ready;
    uint32_t waits;
    size_t done;
};

static int wait_among_others(void *arg, void **result)
{
    struct scene *s = arg;
    (void)result;
    thrum_event_wait(&s->ready);
    thi_store_release(&s->waits, 1u);
    return thrum_wait(s->fs, s->n, s->mode, s->deadline, &s->done);
}

static thrum_executor_t *begin(struct scene *s)
{
    thrum_executor_t *pool = pool_of(1, THRUM_POLICY_STEALING);
    s->fs[0] = submitted(pool, wait_among_others, s);
    for (size_t i = 1; i < s->n; i++)
        s->fs[i] = promised();
    thrum_event_set(&s->ready);
    return pool;
}

static void end(thrum_executor_t *pool, struct scene *s, int status)
{
    EXPECT_CALL(status, thrum_future_result(s->fs[0], NULL));
    for (size_t i = 0; i < s->n; i++)
        thrum_future_release(s->fs[i]);
    thrum_executor_destroy(pool);
}

static const thrum_wait_mode_t first[] = {THRUM_FIRST_COMPLETED, THRUM_FIRST_ERROR};

Test(wait_self, alone_it_never_ends)
{
    for (int i = 0; i < 2; i++) {
        struct scene s = {.n = 1, .mode = first[i], .deadline = THRUM_FOREVER};
        end(begin(&s), &s, EDEADLK);
    }
}

Test(wait_self, a_deadline_ends_it)
{
    for (int i = 0; i < 2; i++) {
        struct scene s = {.n = 3, .mode = first[i], .deadline = SOON};
        end(begin(&s), &s, ETIMEDOUT);
    }
}

Test(wait_self, another_is_enough)
{
    for (int i = 0; i < 2; i++) {
        struct scene s = {.n = 3, .mode = first[i], .deadline = THRUM_FOREVER};
        thrum_executor_t *pool = begin(&s);
        await_word(&s.waits, 1);
        EXPECT_CALL(0, thrum_future_fail(s.fs[2], EIO));
        end(pool, &s, 0);
        cr_expect_eq(s.done, 1u);
    }
}

/* None of the others has failed: only its own end is left. */
Test(wait_self, with_the_last_of_the_others_it_never_ends)
{
    struct scene s = {.n = 3, .mode = THRUM_FIRST_ERROR, .deadline = THRUM_FOREVER};
    thrum_executor_t *pool = begin(&s);
    await_word(&s.waits, 1);
    EXPECT_CALL(0, thrum_future_complete(s.fs[1], NULL));
    EXPECT_CALL(0, thrum_future_complete(s.fs[2], NULL));
    end(pool, &s, EDEADLK);
    cr_expect_eq(s.done, 2u);
}
