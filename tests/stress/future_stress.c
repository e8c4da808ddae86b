/*
 * Futures: whoever ends one, cancels it, waits for it and adds callbacks to it at the same time, it ends
 * once, everybody sees the same end, and each callback is called once.
 */
#include "stress/stress.h"

#define ACTORS 6u

static void count(uint32_t *counter)
{
    __atomic_fetch_add(counter, 1u, __ATOMIC_RELAXED);
}

static uint32_t counted(const uint32_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/* ------------------------------------------------------------------------------------------------
 * One promise a round, and all of them at it
 */

struct arena {
    thrum_future_t *f;
    thrum_barrier_t begin;
    thrum_barrier_t end;
    thrum_time_t until;
    bool over;
    uint32_t ends; /* calls that said they ended it */
    uint32_t cancels;
    uint32_t added;
    uint32_t called;
    uint32_t steps;
    uint32_t stepped;
};

static void end_called(thrum_future_t *f, void *arg)
{
    struct arena *a = arg;
    CHECK(thrum_future_done(f));
    count(&a->called);
}

static int end_stepped(thrum_future_t *f, void *arg, void **result)
{
    struct arena *a = arg;
    *result = NULL;
    CHECK(thrum_future_done(f));
    count(&a->stepped);
    return 0;
}

static void try_to_end(struct arena *a, struct chance *chance)
{
    int err = 0;
    switch (chance_below(chance, 4)) {
    case 0:
        err = thrum_future_complete(a->f, a);
        break;
    case 1:
        err = thrum_future_fail(a->f, EIO);
        break;
    case 2:
        err = thrum_future_start(a->f);
        CHECK(err == 0 || err == EINVAL || err == ECANCELED);
        return;
    default:
        if (thrum_future_cancel(a->f)) {
            CHECK(thrum_future_cancelled(a->f));
            count(&a->cancels);
        }
        return;
    }
    CHECK(err == 0 || err == EINVAL);
    if (err == 0)
        count(&a->ends);
}

static void look_at_it(struct arena *a, struct chance *chance)
{
    void *value = NULL;
    const int err = thrum_future_result_until(a->f, &value, chance_deadline(chance, 50000));
    CHECK(err == 0 || err == EIO || err == ECANCELED || err == ETIMEDOUT);
    CHECK(err == ETIMEDOUT || thrum_future_done(a->f));
    CHECK((err == 0) == (value == a));
    CHECK((err == ECANCELED) == thrum_future_cancelled(a->f) || err == ETIMEDOUT);
}

static void react_to_it(struct arena *a, struct chance *chance)
{
    if (chance_one_in(chance, 2)) {
        count(&a->added);
        CHECK(thrum_future_add_done_callback(a->f, end_called, a) == 0);
    } else {
        count(&a->steps);
        CHECK(thrum_future_then(a->f, NULL, end_stepped, a, NULL) == 0);
    }
}

static void select_it(struct arena *a, struct chance *chance)
{
    thrum_future_t *twice[] = {a->f, a->f};
    thrum_case_t c = THRUM_CASE_FUTURE(a->f);
    size_t n = 0;
    const thrum_time_t deadline = chance_deadline(chance, 50000);
    int err = 0;
    if (chance_one_in(chance, 2))
        err = thrum_select(&c, 1, deadline, &n);
    else
        err = thrum_wait(twice, 2, (thrum_wait_mode_t)chance_below(chance, 3), deadline, &n);
    CHECK(err == ETIMEDOUT || (err == 0 && thrum_future_done(a->f)));
}

static void act(struct arena *a, struct chance *chance)
{
    for (unsigned i = 0; i < 4; i++) {
        chance_dawdle(chance);
        switch (chance_below(chance, 4)) {
        case 0:
            try_to_end(a, chance);
            break;
        case 1:
            look_at_it(a, chance);
            break;
        case 2:
            react_to_it(a, chance);
            break;
        default:
            select_it(a, chance);
        }
    }
}

/* By one of them, while the others wait. */
static void judge(struct arena *a)
{
    if (thrum_future_complete(a->f, a) == 0)
        count(&a->ends);
    CHECK(counted(&a->ends) + (counted(&a->cancels) != 0) == 1);
    CHECK(counted(&a->called) == counted(&a->added));
    CHECK(counted(&a->stepped) == counted(&a->steps));
    thrum_future_release(a->f);
    a->ends = a->cancels = a->added = a->called = a->steps = a->stepped = 0;
    CHECK(thrum_future_create(&a->f) == 0);
    a->over = thrum_now() >= a->until;
}

static void actor(struct member *self)
{
    struct arena *a = self->shared;
    while (!a->over) {
        CHECK(thrum_barrier_wait(&a->begin, NULL) == 0);
        act(a, &self->chance);
        CHECK(thrum_barrier_wait(&a->end, NULL) == 0);
        if (self->index == 0)
            judge(a);
        CHECK(thrum_barrier_wait(&a->begin, NULL) == 0);
        watchdog_progress();
    }
}

static void run_arena(thrum_time_t until)
{
    struct arena a = {.until = until};
    CHECK(thrum_future_create(&a.f) == 0);
    CHECK(thrum_barrier_init(&a.begin, ACTORS, NULL, NULL) == 0);
    CHECK(thrum_barrier_init(&a.end, ACTORS, NULL, NULL) == 0);
    team_run(ACTORS, actor, &a, until);
    thrum_future_release(a.f);
}

/* ------------------------------------------------------------------------------------------------
 * A stream of promises: made by some, ended by others, waited for and dropped by yet others. References
 * go as early as they may; memory comes back at once.
 */

struct stream {
    thrum_queue_t *to_end;
    thrum_queue_t *to_wait;
};

static void maker(struct member *self)
{
    struct stream *s = self->shared;
    while (member_goes_on(self)) {
        thrum_future_t *f = NULL;
        CHECK(thrum_future_create(&f) == 0);
        thrum_future_retain(f);
        CHECK(thrum_queue_put(s->to_wait, &f) == 0);
        CHECK(thrum_queue_put(s->to_end, &f) == 0);
    }
}

static void ender(struct member *self)
{
    struct stream *s = self->shared;
    thrum_future_t *f = NULL;
    while (thrum_queue_get(s->to_end, &f) == 0) {
        chance_dawdle(&self->chance);
        if (chance_one_in(&self->chance, 3))
            CHECK(thrum_future_cancel(f));
        else
            CHECK(thrum_future_complete(f, f) == 0);
        thrum_future_release(f);
        watchdog_progress();
    }
}

static void waiter(struct member *self)
{
    struct stream *s = self->shared;
    thrum_future_t *f = NULL;
    while (thrum_queue_get(s->to_wait, &f) == 0) {
        void *value = NULL;
        const int err = thrum_future_result(f, &value);
        CHECK(err == 0 ? value == f : err == ECANCELED && value == NULL);
        thrum_future_release(f);
        watchdog_progress();
    }
}

static void run_stream(thrum_time_t until)
{
    const thrum_queue_config_t config = {THRUM_FIFO, sizeof(void *), 8, NULL, NULL, 0};
    struct stream s = {NULL, NULL};
    struct member makers[2], enders[2], waiters[2];
    CHECK(thrum_queue_create(&s.to_end, &config) == 0);
    CHECK(thrum_queue_create(&s.to_wait, &config) == 0);
    team_start(enders, 2, ender, &s, until);
    team_start(waiters, 2, waiter, &s, until);
    team_start(makers, 2, maker, &s, until);
    team_join(makers, 2);
    CHECK(thrum_queue_close(s.to_end) == 0 && thrum_queue_close(s.to_wait) == 0);
    team_join(enders, 2);
    team_join(waiters, 2);
    thrum_queue_destroy(s.to_end);
    thrum_queue_destroy(s.to_wait);
}

/* ------------------------------------------------------------------------------------------------
 * Iterators that are given up while futures end
 */

#define FLOCK 16u

struct flock {
    thrum_future_t *f[FLOCK];
};

static void end_flock(struct member *self)
{
    struct flock *k = self->shared;
    for (unsigned i = 0; i < FLOCK; i++) {
        chance_dawdle(&self->chance);
        if (chance_one_in(&self->chance, 3))
            (void)thrum_future_cancel(k->f[i]);
        else
            (void)thrum_future_complete(k->f[i], NULL);
    }
}

static void take_flock(struct flock *k, struct chance *chance)
{
    thrum_as_completed_t *it = NULL;
    thrum_future_t *f = NULL;
    CHECK(thrum_as_completed_create(&it, k->f, FLOCK) == 0);
    const unsigned wanted = chance_below(chance, FLOCK + 1);
    for (unsigned i = 0; i < wanted; i++) {
        CHECK(thrum_as_completed_next(it, &f, THRUM_FOREVER) == 0);
        CHECK(thrum_future_done(f));
        thrum_future_release(f);
    }
    if (wanted == FLOCK)
        CHECK(thrum_as_completed_next(it, &f, THRUM_FOREVER) == ENODATA);
    thrum_as_completed_destroy(it);
}

static void run_flock(thrum_time_t until)
{
    struct chance chance = chance_begin();
    while (thrum_now() < until) {
        struct flock k;
        struct member enders[2];
        for (unsigned i = 0; i < FLOCK; i++)
            CHECK(thrum_future_create(&k.f[i]) == 0);
        team_start(enders, 2, end_flock, &k, until);
        take_flock(&k, &chance);
        take_flock(&k, &chance);
        team_join(enders, 2);
        for (unsigned i = 0; i < FLOCK; i++)
            thrum_future_release(k.f[i]);
        watchdog_progress();
    }
}

static const struct stress_case cases[] = {
    {"all at one promise", run_arena},
    {"a stream of promises", run_stream},
    {"iterators", run_flock},
};

STRESS_MAIN(cases)
