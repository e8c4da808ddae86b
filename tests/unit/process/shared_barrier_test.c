/* The barrier of several processes: parties that give up, while others are stopped or killed in the middle. */
#include <thrum/shared_lock.h>

#include "process/process.h"
#include "support/expect.h"
#include "support/victim.h"

TestSuite(shared_barrier, .timeout = 60);

struct scene {
    thrum_shared_barrier_t barrier;
    const char *stop;
};

static struct scene *make(unsigned parties)
{
    struct scene *s = victim_memory(sizeof *s);
    cr_assert_eq(thrum_shared_barrier_init(&s->barrier, parties), 0);
    return s;
}

static int meet(void *arg)
{
    struct scene *s = arg;
    return thrum_shared_barrier_wait(&s->barrier, NULL);
}

static int meet_and_stop(void *arg)
{
    struct scene *s = arg;
    thi_stop_arm(s->stop);
    return thrum_shared_barrier_wait(&s->barrier, NULL);
}

/* Arrives, stops, and gives up. */
static int give_up(void *arg)
{
    struct scene *s = arg;
    thi_stop_arm("barrier: about to sleep");
    return thrum_shared_barrier_wait_until(&s->barrier, NULL, PAST);
}

static void await_inside(struct scene *s, unsigned n)
{
    while (thrum_shared_barrier_waiting(&s->barrier) != n)
        sched_yield();
}

static int hold_the_guard(void *arg)
{
    struct scene *s = arg;
    thi_guard_t *guard = (void *)&s->barrier;
    if (thi_guard_lock(guard, THRUM_FOREVER) != 0)
        return 1;
    raise(SIGSTOP);
    return thi_guard_unlock(guard);
}

Test(shared_barrier, who_gives_up_while_the_last_one_arrives_breaks_it_for_both)
{
    struct scene *s = make(2);
    s->stop = "barrier: history written";
    const pid_t a = victim_start(give_up, s);
    victim_await_stop(a);
    const pid_t last = victim_start(meet_and_stop, s);
    victim_await_stop(last);
    kill(a, SIGCONT);
    cr_expect_eq(victim_end(a), ETIMEDOUT);
    cr_expect(thrum_shared_barrier_broken(&s->barrier));
    kill(last, SIGCONT);
    cr_expect_eq(victim_end(last), EPIPE);
    cr_expect(thrum_shared_barrier_broken(&s->barrier));
    EXPECT_CALL(0, thrum_shared_barrier_reset(&s->barrier));
    const pid_t b = victim_start(meet, s);
    EXPECT_CALL(0, thrum_shared_barrier_wait(&s->barrier, NULL));
    cr_expect_eq(victim_end(b), 0);
}

Test(shared_barrier, who_has_met_the_last_one_has_though_that_is_stopped)
{
    struct scene *s = make(2);
    s->stop = "barrier: passed";
    const pid_t a = victim_start(meet, s);
    await_inside(s, 1);
    const pid_t last = victim_start(meet_and_stop, s);
    victim_await_stop(last);
    cr_expect_eq(victim_end(a), 0);
    cr_expect_eq(thrum_shared_barrier_waiting(&s->barrier), 0);
    EXPECT_CALL(ETIMEDOUT, thrum_shared_barrier_wait_until(&s->barrier, NULL, SOON));
    cr_expect(thrum_shared_barrier_broken(&s->barrier)); /* the next round */
    EXPECT_CALL(EPIPE, thrum_shared_barrier_wait_until(&s->barrier, NULL, SOON));
    kill(last, SIGCONT);
    cr_expect_eq(victim_end(last), 0);
    EXPECT_CALL(EPIPE, thrum_shared_barrier_wait(&s->barrier, NULL));
    EXPECT_CALL(0, thrum_shared_barrier_reset(&s->barrier));
    const pid_t b = victim_start(meet, s);
    EXPECT_CALL(0, thrum_shared_barrier_wait(&s->barrier, NULL));
    cr_expect_eq(victim_end(b), 0);
}

Test(shared_barrier, who_has_met_one_that_was_killed_then_has_met_it)
{
    struct scene *s = make(2);
    s->stop = "barrier: passed";
    const pid_t a = victim_start(meet, s);
    await_inside(s, 1);
    const pid_t last = victim_start(meet_and_stop, s);
    victim_await_stop(last);
    victim_kill(last);
    cr_expect_eq(victim_end(a), 0);
    const pid_t b = victim_start(meet, s);
    EXPECT_CALL(0, thrum_shared_barrier_wait(&s->barrier, NULL));
    cr_expect_eq(victim_end(b), 0);
}

Test(shared_barrier, it_stays_broken_though_whoever_was_in_the_way_is_killed)
{
    struct scene *s = make(3);
    const pid_t patient = victim_start(meet, s);
    await_inside(s, 1);
    const pid_t other = victim_start(give_up, s);
    victim_await_stop(other);
    const pid_t holder = victim_start(hold_the_guard, s);
    victim_await_stop(holder);
    kill(other, SIGCONT);
    cr_expect_eq(victim_end(other), ETIMEDOUT);
    victim_kill(holder);
    cr_expect_eq(victim_end(patient), EPIPE);
    cr_expect(thrum_shared_barrier_broken(&s->barrier));
}

Test(shared_barrier, who_is_stopped_in_it_keeps_nobody_from_breaking_it)
{
    struct scene *s = make(3);
    const pid_t inside = victim_start(meet, s);
    await_inside(s, 1);
    const pid_t holder = victim_start(hold_the_guard, s);
    victim_await_stop(holder);
    EXPECT_CALL(ETIMEDOUT, thrum_shared_barrier_wait_until(&s->barrier, NULL, SOON));
    cr_expect(thrum_shared_barrier_broken(&s->barrier));
    cr_expect_eq(victim_end(inside), EPIPE);
    EXPECT_CALL(EPIPE, thrum_shared_barrier_wait_until(&s->barrier, NULL, PAST));
    kill(holder, SIGCONT);
    cr_expect_eq(victim_end(holder), 0);
    EXPECT_CALL(EPIPE, thrum_shared_barrier_wait(&s->barrier, NULL));
}

static int break_and_stop(void *arg)
{
    struct scene *s = arg;
    thi_stop_arm(s->stop);
    return thrum_shared_barrier_wait_until(&s->barrier, NULL, PAST);
}

/* Who comes next tells it. */
Test(shared_barrier, who_breaks_it_and_is_killed_before_it_has_told_anybody_has_broken_it)
{
    struct scene *s = make(3);
    s->stop = "barrier: broken, and nobody told";
    const pid_t inside = victim_start(meet, s);
    await_inside(s, 1);
    const pid_t breaker = victim_start(break_and_stop, s);
    victim_await_stop(breaker);
    victim_kill(breaker);
    EXPECT_CALL(EPIPE, thrum_shared_barrier_wait(&s->barrier, NULL));
    cr_expect_eq(victim_end(inside), EPIPE);
    EXPECT_CALL(0, thrum_shared_barrier_reset(&s->barrier));
    cr_expect(!thrum_shared_barrier_broken(&s->barrier));
}
