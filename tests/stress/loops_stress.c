/*
 * Loops that come, go, and are left alone, with coroutines that wait for one another across them: ports and
 * records are used again while wakers are late, and nobody is forgotten.
 */
#include "stress/stress.h"

#define TINY_NS 50000u

static void count(uint64_t *counter, uint64_t n)
{
    __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

static bool is_fine(int err)
{
    return err == 0 || err == ETIMEDOUT || err == ECANCELED || err == EAGAIN;
}

/* ------------------------------------------------------------------------------------------------
 * Loops that come and go.
 */

struct relay {
    thrum_sem_t sems[2];
    uint64_t passed;
};

static int pass_on(void *arg, void **result)
{
    struct relay *r = arg;
    struct chance chance = chance_begin();
    (void)result;
    for (unsigned n = 0; n < 8; n++) {
        const unsigned from = chance_below(&chance, 2);
        const int err = thrum_sem_acquire_until(&r->sems[from],
                                                thrum_after(chance_below(&chance, TINY_NS / 2)));
        CHECK(is_fine(err));
        if (err == 0) {
            count(&r->passed, 1);
            CHECK(thrum_sem_release(&r->sems[1 - from]) == 0);
        }
        watchdog_progress();
    }
    return 0;
}

static int pass_by_hand(void *arg, void **result)
{
    thrum_coro_t *co = NULL;
    if (thrum_coro_create(&co, pass_on, arg, NULL) != 0)
        return ENOMEM;
    CHECK(thrum_coro_resume(co, NULL, NULL) == ENODATA);
    thrum_coro_release(co);
    return pass_on(arg, result);
}

static int stop_here(void *arg, void **result)
{
    (void)arg, (void)result;
    thrum_loop_stop(thrum_loop_current());
    return 0;
}

static void short_loop(struct relay *r, struct chance *chance)
{
    thrum_loop_t *loop = NULL;
    thrum_coro_t *co = NULL;
    CHECK(thrum_loop_create(&loop, NULL) == 0);
    for (unsigned i = 0; i < 3; i++)
        CHECK(thrum_loop_go(loop, i == 0 ? &co : NULL, i == 1 ? pass_by_hand : pass_on, r, NULL) ==
              0);
    if (chance_one_in(chance, 2)) {
        CHECK(thrum_loop_go(loop, NULL, stop_here, NULL, NULL) == 0);
        CHECK(thrum_loop_run(loop) == ECANCELED);
    } else {
        CHECK(thrum_loop_run(loop) == 0);
    }
    thrum_loop_destroy(loop);
    CHECK(thrum_coro_done(co));
    thrum_coro_release(co);
}

static void come_and_go(struct member *self)
{
    struct relay *r = self->shared;
    while (member_goes_on(self)) {
        if (chance_one_in(&self->chance, 4))
            CHECK(pass_by_hand(r, NULL) == 0); /* without a loop */
        else
            short_loop(r, &self->chance);
    }
}

static void loops_that_come_and_go(thrum_time_t until)
{
    struct relay r = {.sems = {THRUM_SEM_INIT(2), THRUM_SEM_INIT(2)}};
    team_run(4, come_and_go, &r, until);
    CHECK(thrum_sem_value(&r.sems[0]) + thrum_sem_value(&r.sems[1]) == 4);
}

/* ------------------------------------------------------------------------------------------------
 * Loops that end, and are destroyed, while who has spawned their last coroutine may not have returned yet.
 */

struct pair {
    struct relay *relay;
    thrum_loop_t *loop; /* NULL: there will be none any more */
    thrum_sem_t ask;
    thrum_sem_t answer;
};

static int come_last(void *arg, void **result)
{
    struct pair *p = arg;
    const int err = pass_on(p->relay, result);
    CHECK(thrum_sem_release(&p->answer) == 0);
    return err;
}

static int await_last(void *arg, void **result)
{
    struct pair *p = arg;
    const int err = pass_on(p->relay, result);
    CHECK(thrum_sem_acquire(&p->answer) == 0);
    return err;
}

static void spawn_last(struct member *self)
{
    struct pair *p = self->shared;
    CHECK(thrum_sem_acquire(&p->ask) == 0);
    while (p->loop != NULL) {
        CHECK(thrum_loop_go(p->loop, NULL, come_last, p, NULL) == 0);
        CHECK(thrum_sem_acquire(&p->ask) == 0);
    }
}

static void end_with_last(struct member *self)
{
    struct pair p = {self->shared, NULL, THRUM_SEM_INIT(0), THRUM_SEM_INIT(0)};
    struct member spawner;
    member_start(&spawner, spawn_last, &p, 0, 0);
    while (member_goes_on(self)) {
        CHECK(thrum_loop_create(&p.loop, NULL) == 0);
        CHECK(thrum_loop_go(p.loop, NULL, await_last, &p, NULL) == 0);
        CHECK(thrum_sem_release(&p.ask) == 0);
        CHECK(thrum_loop_run(p.loop) == 0);
        thrum_loop_destroy(p.loop);
    }
    p.loop = NULL;
    CHECK(thrum_sem_release(&p.ask) == 0);
    member_join(&spawner);
}

static void loops_that_end_with_the_last(thrum_time_t until)
{
    struct relay r = {.sems = {THRUM_SEM_INIT(2), THRUM_SEM_INIT(2)}};
    team_run(3, end_with_last, &r, until);
}

/* ------------------------------------------------------------------------------------------------
 * A loop that its thread leaves alone while it runs another: what comes late to the first, for records that are
 * in use in the second by then, keeps nobody in the second from being woken.
 */

static int ask(void *arg, void **result)
{
    struct pair *p = arg;
    (void)result;
    for (unsigned n = 0; n < 4; n++) {
        CHECK(thrum_sem_release(&p->ask) == 0);
        CHECK(thrum_sem_acquire(&p->answer) == 0);
    }
    return 0;
}

static void answer(struct member *self)
{
    struct pair *p = self->shared;
    CHECK(thrum_sem_acquire(&p->ask) == 0);
    while (thi_load_acquire(&p->loop) != NULL) {
        CHECK(thrum_sem_release(&p->answer) == 0);
        CHECK(thrum_sem_acquire(&p->ask) == 0);
    }
}

static void leave_alone(struct member *self)
{
    struct pair p = {self->shared, NULL, THRUM_SEM_INIT(0), THRUM_SEM_INIT(0)};
    struct member answers;
    thrum_loop_t *second = NULL;
    CHECK(thrum_loop_create(&p.loop, NULL) == 0);
    CHECK(thrum_loop_create(&second, NULL) == 0);
    member_start(&answers, answer, &p, 0, 0);
    while (member_goes_on(self)) {
        for (unsigned i = 0; i < 3; i++)
            CHECK(thrum_loop_go(p.loop, NULL, i == 0 ? pass_by_hand : pass_on, p.relay, NULL) == 0);
        CHECK(thrum_loop_run(p.loop) == 0);
        for (unsigned i = 0; i < 3; i++)
            CHECK(thrum_loop_go(second, NULL, ask, &p, NULL) == 0);
        CHECK(thrum_loop_run(second) == 0);
    }
    thrum_loop_destroy(second);
    thrum_loop_destroy(p.loop);
    thi_store_release(&p.loop, NULL);
    CHECK(thrum_sem_release(&p.ask) == 0);
    member_join(&answers);
}

static void a_loop_that_is_left_alone(thrum_time_t until)
{
    struct relay r = {.sems = {THRUM_SEM_INIT(2), THRUM_SEM_INIT(2)}};
    team_run(3, leave_alone, &r, until);
}

static const struct stress_case cases[] = {
    {"loops that come and go", loops_that_come_and_go},
    {"loops that end with the last", loops_that_end_with_the_last},
    {"a loop that is left alone", a_loop_that_is_left_alone},
};

STRESS_MAIN(cases)
