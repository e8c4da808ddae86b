/*
 * Threads and timers, started, named, cancelled, joined and given up by many at a time.
 */
#include "stress/stress.h"

#define TEAM 4u
#define TINY_NS 60000u

/* ------------------------------------------------------------------------------------------------
 * One thread, many joiners, and whoever is last frees it
 */

struct job {
    thrum_thread_t *thread;
    uint64_t seen; /* written by the thread, read by who joined it */
    thrum_event_t go;
    int expected;
};

static int do_job(void *arg, void **result)
{
    struct job *job = arg;
    const int err = thrum_event_wait(&job->go);
    job->seen++;
    *result = job;
    return err == ECANCELED ? ECANCELED : EPROTO;
}

static thrum_thread_config_t random_config(struct chance *chance)
{
    thrum_thread_config_t config = THRUM_THREAD_CONFIG_INIT;
    config.daemon = chance_one_in(chance, 2);
    config.stack_size = chance_one_in(chance, 2) ? 256u * 1024u : 0;
    config.name = chance_one_in(chance, 2) ? "a name that does not fit anywhere" : NULL;
    return config;
}

static void join_somehow(struct job *job, struct chance *chance)
{
    void *result = NULL;
    int err = EAGAIN;
    while (err == EAGAIN || err == ETIMEDOUT) {
        if (chance_one_in(chance, 4))
            err = thrum_thread_tryjoin(job->thread, &result);
        else if (chance_one_in(chance, 2))
            err = thrum_thread_join_until(job->thread, &result, chance_deadline(chance, TINY_NS));
        else
            err = thrum_thread_join(job->thread, &result);
    }
    CHECK(err == EPROTO || err == ECANCELED);
    CHECK(result == job);
    CHECK(job->seen == 1);
    CHECK(!thrum_thread_alive(job->thread));
}

/* Everybody joins everybody's thread of this round. */
struct round {
    struct job jobs[TEAM];
    thrum_barrier_t made;
    thrum_barrier_t over;
    uint32_t stop;
};

static void meet(thrum_barrier_t *b)
{
    CHECK(thrum_barrier_wait(b, NULL) == 0);
}

static void make_job(struct job *job, struct chance *chance)
{
    const thrum_thread_config_t config = random_config(chance);
    job->seen = 0;
    CHECK(thrum_event_init(&job->go) == 0);
    CHECK(thrum_thread_create(&job->thread, do_job, job, &config) == 0);
    const bool cancelled = chance_one_in(chance, 8);
    if (cancelled)
        CHECK(thrum_thread_cancel(job->thread) == 0);
    CHECK(thrum_thread_start(job->thread) == 0);
    CHECK(cancelled || thrum_thread_alive(job->thread));
    if (chance_one_in(chance, 4))
        CHECK(thrum_thread_native_id(job->thread) > 0);
}

static void join_all(struct member *self)
{
    struct round *r = self->shared;
    while (__atomic_load_n(&r->stop, __ATOMIC_RELAXED) == 0) {
        struct job *mine = &r->jobs[self->index];
        make_job(mine, &self->chance);
        meet(&r->made);
        chance_dawdle(&self->chance);
        if (chance_one_in(&self->chance, 4))
            CHECK(thrum_thread_set_name(mine->thread, "renamed") == 0);
        if (chance_one_in(&self->chance, 4))
            CHECK(thrum_thread_cancel(r->jobs[chance_below(&self->chance, TEAM)].thread) == 0);
        thrum_event_set(&mine->go);
        for (unsigned i = 0; i < TEAM; i++)
            join_somehow(&r->jobs[(self->index + i) % TEAM], &self->chance);
        if (self->index == 0 && !member_goes_on(self))
            __atomic_store_n(&r->stop, 1u, __ATOMIC_RELAXED);
        meet(&r->over);
        thrum_thread_release(mine->thread);
    }
}

static void run_joins(thrum_time_t until)
{
    struct round r = {.stop = 0};
    CHECK(thrum_barrier_init(&r.made, TEAM, NULL, NULL) == 0);
    CHECK(thrum_barrier_init(&r.over, TEAM, NULL, NULL) == 0);
    team_run(TEAM, join_all, &r, until);
}

/* ------------------------------------------------------------------------------------------------
 * Handles that are given up while the thread runs
 */

struct swarm {
    uint32_t ran;
};

static int count_me(void *arg, void **result)
{
    struct swarm *s = arg;
    (void)result;
    CHECK(thrum_thread_alive(thrum_thread_current()));
    __atomic_fetch_add(&s->ran, 1u, __ATOMIC_RELAXED);
    return 0;
}

static void look_at_all(struct chance *chance)
{
    thrum_thread_t *list[16];
    const size_t n = thrum_thread_list(list, 1 + chance_below(chance, 16));
    CHECK(n >= 1);
    for (size_t i = 0; i < n; i++) {
        CHECK(thrum_thread_ident(list[i]) != 0);
        if (chance_one_in(chance, 8) && !thrum_thread_daemon(list[i])) {
            const int err =
                thrum_thread_join_until(list[i], NULL, chance_deadline(chance, TINY_NS));
            CHECK(err == 0 || err == ETIMEDOUT || err == ENOTSUP || err == EINVAL);
        }
        thrum_thread_release(list[i]);
    }
}

static void spawn_and_forget(struct member *self)
{
    struct swarm *s = self->shared;
    uint32_t mine = 0;
    thrum_thread_t *me = thrum_thread_current();
    CHECK(me != NULL && me == thrum_thread_current());
    while (member_goes_on(self)) {
        thrum_thread_t *t = NULL;
        CHECK(thrum_thread_spawn(&t, count_me, s, NULL) == 0);
        if (chance_one_in(&self->chance, 2))
            look_at_all(&self->chance);
        if (chance_one_in(&self->chance, 2))
            CHECK(thrum_thread_join(t, NULL) == 0);
        thrum_thread_release(t);
        if (++mine % 16 == 0) { /* let them end */
            while (thrum_thread_count() > 64)
                sched_yield();
        }
    }
}

static void run_swarm(thrum_time_t until)
{
    struct swarm s = {0};
    team_run(TEAM, spawn_and_forget, &s, until);
    while (thrum_thread_count() > 1) /* the main thread's own */
        sched_yield();
    CHECK(__atomic_load_n(&s.ran, __ATOMIC_RELAXED) > 0);
}

/* ------------------------------------------------------------------------------------------------
 * Cancels that come at any moment of a life, and of the next one
 */

struct pair {
    thrum_thread_t *doomed;
    thrum_thread_t *other;
    thrum_event_t never;
    thrum_sem_t turns;
};

static int wait_for_doom(void *arg, void **result)
{
    struct pair *p = arg;
    (void)result;
    return thrum_event_wait(&p->never);
}

/* Lives often and shortly, in records that the doomed had before: it is never asked to stop. */
static int live_shortly(void *arg, void **result)
{
    struct pair *p = arg;
    (void)result;
    CHECK(!thrum_cancelled());
    return thrum_sem_acquire(&p->turns);
}

static int cancel_often(void *arg, void **result)
{
    struct pair *p = arg;
    (void)result;
    for (int i = 0; i < 20; i++)
        CHECK(thrum_thread_cancel(p->doomed) == 0);
    return 0;
}

static void cancel_lives(struct member *self)
{
    while (member_goes_on(self)) {
        struct pair p = {NULL, NULL, THRUM_EVENT_INIT, THRUM_SEM_INIT(0)};
        thrum_thread_t *canceller = NULL;
        CHECK(thrum_thread_spawn(&p.doomed, wait_for_doom, &p, NULL) == 0);
        CHECK(thrum_thread_spawn(&canceller, cancel_often, &p, NULL) == 0);
        CHECK(thrum_thread_join(p.doomed, NULL) == ECANCELED);
        CHECK(thrum_thread_spawn(&p.other, live_shortly, &p, NULL) == 0);
        chance_dawdle(&self->chance);
        CHECK(thrum_sem_release(&p.turns) == 0);
        CHECK(thrum_thread_join(p.other, NULL) == 0);
        CHECK(thrum_thread_join(canceller, NULL) == 0);
        thrum_thread_release(canceller);
        thrum_thread_release(p.doomed);
        thrum_thread_release(p.other);
    }
}

static void run_cancels(thrum_time_t until)
{
    team_run(TEAM, cancel_lives, NULL, until);
}

/* ------------------------------------------------------------------------------------------------
 * Timers
 */

struct ticking {
    thrum_timer_t *timer;
    uint64_t runs;  /* by the function, read after a cancel_wait */
    uint32_t alive; /* clear when the function may not run */
};

static void tick(thrum_timer_t *t, void *arg)
{
    struct ticking *ticking = arg;
    CHECK(t == ticking->timer);
    CHECK(__atomic_load_n(&ticking->alive, __ATOMIC_RELAXED) != 0);
    ticking->runs++;
    if (ticking->runs % 4 == 1)
        CHECK(thrum_timer_reschedule(t, (int64_t)(ticking->runs % 1000)) == 0);
}

static void start_somehow(struct ticking *ticking, struct chance *chance)
{
    const int64_t delay = chance_below(chance, TINY_NS);
    int err = 0;
    if (chance_one_in(chance, 3))
        err = thrum_timer_start(ticking->timer, delay);
    else if (chance_one_in(chance, 2))
        err = thrum_timer_start_periodic(ticking->timer, delay, 1 + chance_below(chance, TINY_NS));
    else
        err = thrum_timer_reschedule(ticking->timer, delay);
    CHECK(err == 0 || err == EBUSY);
}

static void stop_for_good(struct ticking *ticking, struct chance *chance)
{
    int err = ETIMEDOUT;
    while (err == ETIMEDOUT && chance_one_in(chance, 2))
        err = thrum_timer_cancel_wait_until(ticking->timer, NULL, chance_deadline(chance, TINY_NS));
    CHECK(err == 0 || thrum_timer_cancel_wait(ticking->timer, NULL) == 0);
    __atomic_store_n(&ticking->alive, 0u, __ATOMIC_RELAXED);
    ticking->runs++; /* it is ours alone */
}

static void use_timer(struct member *self)
{
    while (member_goes_on(self)) {
        struct ticking ticking = {NULL, 0, 1};
        CHECK(thrum_timer_create(&ticking.timer, tick, &ticking) == 0);
        for (unsigned i = chance_below(&self->chance, 16); i != 0; i--) {
            start_somehow(&ticking, &self->chance);
            chance_dawdle(&self->chance);
            if (chance_one_in(&self->chance, 4))
                thrum_timer_cancel(ticking.timer);
        }
        stop_for_good(&ticking, &self->chance);
        thrum_timer_release(ticking.timer);
    }
}

static void run_timers(thrum_time_t until)
{
    team_run(TEAM, use_timer, NULL, until);
}

/* Released while they are scheduled or running. */
struct lone {
    uint32_t left;
};

static void tick_alone(thrum_timer_t *t, void *arg)
{
    struct lone *lone = arg;
    if (thrum_timer_runs(t) == 3)
        CHECK(thrum_timer_cancel(t));
    __atomic_fetch_sub(&lone->left, 1u, __ATOMIC_RELEASE);
}

static void leave_timers(struct member *self)
{
    while (member_goes_on(self)) {
        struct lone lone = {6};
        for (int i = 0; i < 2; i++) {
            thrum_timer_t *t = NULL;
            CHECK(thrum_timer_create(&t, tick_alone, &lone) == 0);
            CHECK(thrum_timer_start_periodic(t, chance_below(&self->chance, 20000), 100) == 0);
            chance_dawdle(&self->chance);
            thrum_timer_release(t);
        }
        while (__atomic_load_n(&lone.left, __ATOMIC_ACQUIRE) != 0)
            sched_yield();
    }
}

static void run_lone_timers(thrum_time_t until)
{
    team_run(TEAM, leave_timers, NULL, until);
}

static const struct stress_case cases[] = {
    {"everybody joins everybody", run_joins},      {"handles are given up", run_swarm},
    {"cancels hit whom they mean", run_cancels},   {"timers started and called off", run_timers},
    {"timers that nobody holds", run_lone_timers},
};

STRESS_MAIN(cases)
