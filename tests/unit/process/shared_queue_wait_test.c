#include <thrum/loop.h>

#include "shared_queues.h"

/* Who waits in another process is woken, whoever else is killed, stopped or late. */
TestSuite(shared_queue_wait, .timeout = 60);

static thrum_shared_t *arena;
static thrum_shared_queue_t *q;

static void set_up(void)
{
    arena = an_arena();
    q = a_queue(arena, THRUM_FIFO, 2);
}

static void tear_down(void)
{
    thrum_shared_queue_destroy(q);
    thrum_shared_destroy(arena);
}

#define WAIT_TEST(name) Test(shared_queue_wait, name, .init = set_up, .fini = tear_down)
#define ERROR 100 /* and more: how a process ends that got an error */

static int got(void *arg)
{
    uint32_t number = 0;
    (void)arg;
    const int err = get_number(q, &number, THRUM_FOREVER);
    return err != 0 ? ERROR + (err == ESHUTDOWN ? 1 : 2) : (int)number;
}

static int put_three(void *arg)
{
    (void)arg;
    const int err = put_number(q, 3, 8, THRUM_FOREVER);
    return err != 0 ? ERROR + (err == ESHUTDOWN ? 1 : 2) : 0;
}

static int joined(void *arg)
{
    (void)arg;
    return thrum_shared_queue_join(q) == 0 ? 0 : ERROR;
}

static pid_t asleep(int (*fn)(void *), const uint64_t *word)
{
    const pid_t pid = victim_start(fn, NULL);
    await_sleepers(word);
    return pid;
}

/* A child that has got so far that it sleeps, by the system's word. */
static void await_state(pid_t pid, char state)
{
    char path[40], line[200] = "", *at = NULL;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    do {
        sched_yield();
        FILE *f = fopen(path, "r");
        if (f != NULL) {
            if (fgets(line, sizeof line, f) == NULL)
                line[0] = 0;
            fclose(f);
        }
        at = strrchr(line, ')');
    } while (at == NULL || at[2] != state);
}

static void fill_up(void)
{
    EXPECT_CALL(0, put_number(q, 1, 8, PAST));
    EXPECT_CALL(0, put_number(q, 2, LARGE_SIZE, PAST));
}

WAIT_TEST(a_getter_that_is_killed_asleep_takes_nobody_s_wake_up_with_it)
{
    pid_t getters[3];
    for (int i = 0; i < 3; i++) {
        getters[i] = asleep(got, &q->memory->tail);
        await_state(getters[i], 'S');
    }
    victim_kill(getters[0]);
    EXPECT_CALL(0, put_number(q, 1, 8, PAST));
    EXPECT_CALL(0, put_number(q, 2, 8, PAST));
    cr_expect_eq(victim_end(getters[1]) + victim_end(getters[2]), 3);
}

WAIT_TEST(a_getter_that_is_stopped_asleep_keeps_nothing_from_the_others)
{
    pid_t stopped = asleep(got, &q->memory->tail);
    await_state(stopped, 'S');
    const pid_t getter = victim_start(got, NULL);
    await_state(getter, 'S');
    kill(stopped, SIGSTOP);
    victim_await_stop(stopped);
    EXPECT_CALL(0, put_number(q, 1, 8, PAST));
    cr_expect_eq(victim_end(getter), 1, "it is there for who runs");
    EXPECT_CALL(0, put_number(q, 2, 8, PAST));
    kill(stopped, SIGCONT);
    cr_expect_eq(victim_end(stopped), 2);
}

WAIT_TEST(a_putter_that_is_stopped_asleep_keeps_no_room_from_the_others)
{
    fill_up();
    pid_t stopped = asleep(put_three, &q->memory->head);
    await_state(stopped, 'S');
    kill(stopped, SIGSTOP);
    victim_await_stop(stopped);
    const pid_t putter = victim_start(put_three, NULL);
    uint32_t number = 0;
    EXPECT_CALL(0, get_number(q, &number, THRUM_FOREVER));
    cr_expect_eq(victim_end(putter), 0);
    victim_kill(stopped);
    EXPECT_CALL(0, get_number(q, &number, THRUM_FOREVER));
    EXPECT_CALL(0, get_number(q, &number, THRUM_FOREVER));
    cr_expect_eq(number, 3);
}

WAIT_TEST(putters_that_are_killed_take_nobody_s_wake_up_with_them)
{
    fill_up();
    pid_t putters[3];
    for (int i = 0; i < 3; i++)
        putters[i] = asleep(put_three, &q->memory->head);
    for (int i = 0; i < 3; i++)
        await_state(putters[i], 'S');
    victim_kill(putters[0]);
    victim_kill(putters[1]);
    uint32_t number = 0;
    EXPECT_CALL(0, get_number(q, &number, PAST));
    cr_expect_eq(victim_end(putters[2]), 0);
}

WAIT_TEST(a_killed_joiner_takes_nobody_s_wake_up_with_it)
{
    EXPECT_CALL(0, put_number(q, 1, 8, PAST));
    pid_t joiners[2] = {asleep(joined, &q->memory->done), asleep(joined, &q->memory->done)};
    await_state(joiners[0], 'S');
    await_state(joiners[1], 'S');
    victim_kill(joiners[0]);
    EXPECT_CALL(0, thrum_shared_queue_task_done(q));
    cr_expect_eq(victim_end(joiners[1]), 0);
}

WAIT_TEST(a_join_sees_a_moment_that_has_passed)
{
    EXPECT_CALL(0, put_number(q, 1, 8, PAST));
    const pid_t joiner = asleep(joined, &q->memory->done);
    await_state(joiner, 'S');
    kill(joiner, SIGSTOP);
    victim_await_stop(joiner);
    EXPECT_CALL(0, thrum_shared_queue_task_done(q)); /* the moment */
    EXPECT_CALL(0, put_number(q, 2, 8, PAST));
    kill(joiner, SIGCONT);
    cr_expect_eq(victim_end(joiner), 0);
}

WAIT_TEST(a_task_done_that_is_not_the_last_lets_nobody_go)
{
    EXPECT_CALL(0, put_number(q, 1, 8, PAST));
    EXPECT_CALL(0, put_number(q, 2, 8, PAST));
    const pid_t joiner = asleep(joined, &q->memory->done);
    await_state(joiner, 'S');
    EXPECT_CALL(0, thrum_shared_queue_task_done(q));
    await_state(joiner, 'S');
    cr_expect_eq(waitpid(joiner, NULL, WNOHANG), 0);
    EXPECT_CALL(0, thrum_shared_queue_task_done(q));
    cr_expect_eq(victim_end(joiner), 0);
}

static void end_wakes(int (*end)(thrum_shared_queue_t *))
{
    pid_t getters[2], putters[2];
    getters[0] = asleep(got, &q->memory->tail);
    getters[1] = victim_start(got, NULL);
    await_state(getters[1], 'S');
    EXPECT_CALL(0, end(q));
    cr_expect_eq(victim_end(getters[0]), ERROR + 1);
    cr_expect_eq(victim_end(getters[1]), ERROR + 1);
    thrum_shared_queue_destroy(q);
    q = a_queue(arena, THRUM_FIFO, 2);
    fill_up();
    putters[0] = asleep(put_three, &q->memory->head);
    putters[1] = victim_start(put_three, NULL);
    await_state(putters[1], 'S');
    EXPECT_CALL(0, end(q));
    cr_expect_eq(victim_end(putters[0]), ERROR + 1);
    cr_expect_eq(victim_end(putters[1]), ERROR + 1);
}

WAIT_TEST(close_wakes_putters_and_getters)
{
    end_wakes(thrum_shared_queue_close);
}

WAIT_TEST(abort_wakes_putters_and_getters)
{
    end_wakes(thrum_shared_queue_abort);
}

WAIT_TEST(abort_wakes_joiners)
{
    fill_up();
    const pid_t joiner = asleep(joined, &q->memory->done);
    EXPECT_CALL(0, thrum_shared_queue_abort(q));
    cr_expect_eq(victim_end(joiner), 0);
}

WAIT_TEST(close_lets_a_joiner_wait_for_what_is_left)
{
    uint32_t number = 0;
    EXPECT_CALL(0, put_number(q, 1, 8, PAST));
    const pid_t joiner = asleep(joined, &q->memory->done);
    EXPECT_CALL(0, thrum_shared_queue_close(q));
    EXPECT_CALL(0, get_number(q, &number, PAST));
    EXPECT_CALL(0, thrum_shared_queue_task_done(q));
    cr_expect_eq(victim_end(joiner), 0);
}

/* --- a process that is stopped inside ------------------------------------------------------------- */

static int stop_inside(void *arg)
{
    thi_guard_t *guard = arg;
    if (thi_guard_trylock(guard) != 0)
        return ERROR;
    kill(getpid(), SIGSTOP);
    return thi_guard_unlock(guard);
}

WAIT_TEST(who_is_stopped_inside_is_waited_for_until_the_deadline)
{
    uint32_t number = 0;
    EXPECT_CALL(0, put_number(q, 1, 8, PAST));
    const pid_t pid = victim_start(stop_inside, q->put_guard);
    victim_await_stop(pid);
    EXPECT_CALL(ETIMEDOUT, put_number(q, 2, 8, SOON));
    EXPECT_CALL(ETIMEDOUT, put_number(q, 2, 8, PAST));
    EXPECT_CALL(EAGAIN, thrum_shared_queue_tryput(q, "x", 1));
    EXPECT_CALL(0, get_number(q, &number, PAST)); /* the other end is not concerned */
    EXPECT_CALL(0, thrum_shared_queue_task_done(q));
    EXPECT_CALL(0, thrum_shared_queue_join(q));
    kill(pid, SIGCONT);
    cr_expect_eq(victim_end(pid), 0, "it was not robbed");
    EXPECT_CALL(0, put_number(q, 2, 8, PAST));
    cr_expect_eq(thrum_shared_queue_size(q), 1);
}

WAIT_TEST(who_is_stopped_inside_a_get_does_not_keep_putters_out)
{
    const pid_t pid = victim_start(stop_inside, q->get_guard);
    uint32_t number = 0;
    victim_await_stop(pid);
    fill_up();
    EXPECT_CALL(ETIMEDOUT, get_number(q, &number, SOON));
    EXPECT_CALL(EAGAIN, thrum_shared_queue_tryget(q, NULL, 0, NULL));
    EXPECT_CALL(ETIMEDOUT, put_number(q, 3, 8, SOON)); /* it is full */
    victim_kill(pid);
    EXPECT_CALL(0, get_number(q, &number, PAST));
    cr_expect_eq(number, 1);
}

WAIT_TEST(who_waits_for_one_that_is_stopped_is_let_in_when_that_one_is_killed)
{
    const pid_t stopped = victim_start(stop_inside, q->put_guard);
    victim_await_stop(stopped);
    const pid_t putter = victim_start(put_three, NULL);
    await_state(putter, 'S');
    victim_kill(stopped);
    cr_expect_eq(victim_end(putter), 0);
}

/* --- strands of one process ----------------------------------------------------------------------- */

static int get_forever(void *arg)
{
    (void)arg;
    return thrum_shared_queue_get(q, NULL, 0, NULL);
}

static int put_forever(void *arg)
{
    (void)arg;
    return thrum_shared_queue_put(q, "x", 1);
}

static int join_forever(void *arg)
{
    (void)arg;
    return thrum_shared_queue_join(q);
}

WAIT_TEST(waits_are_cancelled)
{
    static int (*const waits[])(void *) = {get_forever, put_forever, join_forever};
    const uint64_t *const words[] = {&q->memory->tail, &q->memory->head, &q->memory->done};
    for (int i = 0; i < 3; i++) {
        struct caller c;
        if (i == 1)
            fill_up();
        caller_start(&c, waits[i], NULL);
        await_sleepers(words[i]);
        caller_cancel(&c);
        cr_expect_eq(caller_join(&c), ECANCELED);
    }
    cr_expect_eq(thrum_shared_queue_size(q), 2);
}

/* What is there is taken even so. */
static int cancelled_take(void *arg)
{
    uint32_t number = 0;
    (void)arg;
    thi_strand_cancel(thi_self());
    int err = get_number(q, &number, THRUM_FOREVER);
    err = err != 0 ? err : put_number(q, 9, 8, THRUM_FOREVER);
    return err != 0 || number != 1 ? ERROR : thrum_shared_queue_join(q);
}

WAIT_TEST(a_cancelled_strand_takes_what_is_there)
{
    struct caller c;
    EXPECT_CALL(0, put_number(q, 1, 8, PAST));
    caller_start(&c, cancelled_take, NULL);
    cr_expect_eq(caller_join(&c), ECANCELED);
    cr_expect_eq(thrum_shared_queue_size(q), 1);
}

struct crowd {
    int waiting;
    int got;
    pid_t feeder;
};

static int get_in_coroutine(void *arg, void **result)
{
    struct crowd *crowd = arg;
    uint32_t number = 0;
    (void)result;
    crowd->waiting++;
    const int err = get_number(q, &number, THRUM_FOREVER);
    crowd->got += err == 0;
    return err;
}

static int feed(void *arg)
{
    (void)arg;
    kill(getpid(), SIGSTOP);
    for (uint32_t i = 0; i < 3; i++) {
        if (put_number(q, i, 8, THRUM_FOREVER) != 0)
            return ERROR;
    }
    return 0;
}

/* Three coroutines wait for items of another process, while a fourth has the thread. */
static int many_wait(void *arg, void **result)
{
    struct crowd *crowd = arg;
    thrum_coro_t *getters[3];
    (void)result;
    for (int i = 0; i < 3; i++) {
        if (thrum_go(&getters[i], get_in_coroutine, crowd) != 0)
            return ERROR;
    }
    while (crowd->waiting != 3 || (thi_load_acquire(&q->memory->tail) & THI_SLEEPERS) == 0)
        thrum_yield();
    kill(crowd->feeder, SIGCONT);
    int err = 0;
    for (int i = 0; i < 3; i++) {
        const int ended = thrum_coro_join(getters[i], NULL);
        err = err != 0 ? err : ended;
        thrum_coro_release(getters[i]);
    }
    return err;
}

WAIT_TEST(coroutines_wait_side_by_side)
{
    struct crowd crowd = {.feeder = victim_start(feed, NULL)};
    victim_await_stop(crowd.feeder);
    EXPECT_CALL(0, thrum_run(many_wait, &crowd, NULL));
    cr_expect_eq(crowd.got, 3);
    cr_expect_eq(victim_end(crowd.feeder), 0);
}

/* The door is shut by who is stopped; the thread goes on. */
static int wait_at_the_door(void *arg, void **result)
{
    struct crowd *crowd = arg;
    (void)result;
    crowd->waiting++;
    return put_number(q, 1, 8, THRUM_FOREVER);
}

static int others_run(void *arg, void **result)
{
    struct crowd *crowd = arg;
    thrum_coro_t *putters[2];
    (void)result;
    for (int i = 0; i < 2; i++) {
        if (thrum_go(&putters[i], wait_at_the_door, crowd) != 0)
            return ERROR;
    }
    while (crowd->waiting != 2)
        thrum_yield();
    for (int i = 0; i < 100; i++)
        thrum_yield();
    kill(crowd->feeder, SIGCONT);
    int err = 0;
    for (int i = 0; i < 2; i++) {
        const int ended = thrum_coro_join(putters[i], NULL);
        err = err != 0 ? err : ended;
        thrum_coro_release(putters[i]);
    }
    return err;
}

WAIT_TEST(a_coroutine_waits_for_a_stopped_process_without_its_thread)
{
    struct crowd crowd = {.feeder = victim_start(stop_inside, q->put_guard)};
    victim_await_stop(crowd.feeder);
    EXPECT_CALL(0, thrum_run(others_run, &crowd, NULL));
    cr_expect_eq(victim_end(crowd.feeder), 0);
    cr_expect_eq(thrum_shared_queue_size(q), 2);
}

static int close_it(void *arg, void **result)
{
    struct crowd *crowd = arg;
    (void)result;
    crowd->waiting++;
    return thrum_shared_queue_close(q);
}

/* The close has the one end of the queue, and waits for the other; both are coroutines of one thread. */
static int get_beside_a_close(void *arg, void **result)
{
    struct crowd *crowd = arg;
    thrum_coro_t *closer = NULL;
    uint32_t number = 0;
    (void)result;
    if (thrum_go(&closer, close_it, crowd) != 0)
        return ERROR;
    while (crowd->waiting != 1)
        thrum_yield();
    EXPECT_CALL(ETIMEDOUT, get_number(q, &number, SOON));
    EXPECT_CALL(EAGAIN, thrum_shared_queue_tryget(q, NULL, 0, NULL));
    kill(crowd->feeder, SIGCONT);
    EXPECT_CALL(ESHUTDOWN, get_number(q, &number, THRUM_FOREVER));
    const int err = thrum_coro_join(closer, NULL);
    thrum_coro_release(closer);
    return err;
}

WAIT_TEST(a_coroutine_waits_for_another_of_its_thread_that_is_at_the_door)
{
    struct crowd crowd = {.feeder = victim_start(stop_inside, q->put_guard)};
    victim_await_stop(crowd.feeder);
    EXPECT_CALL(0, thrum_run(get_beside_a_close, &crowd, NULL));
    cr_expect_eq(victim_end(crowd.feeder), 0);
}

/* --- stopped at a point in the middle ------------------------------------------------------------- */

static int put_stopped(void *arg)
{
    thi_stop_arm(arg);
    return put_number(q, 7, LARGE_SIZE, THRUM_FOREVER);
}

static int get_stopped(void *arg)
{
    uint32_t number = 0;
    thi_stop_arm(arg);
    return get_number(q, &number, THRUM_FOREVER) == 0 ? (int)number : ERROR;
}

static int close_stopped(void *arg)
{
    thi_stop_arm(arg);
    return thrum_shared_queue_close(q);
}

WAIT_TEST(a_put_that_is_stopped_in_the_middle_goes_on_where_it_was)
{
    static char *const points[] = {"shared queue: try put 1", "shared queue: fill block 1",
                                   "shared queue: put inside 2", "shared queue: put inside 3"};
    for (size_t i = 0; i < 4; i++) {
        uint32_t number = 0;
        EXPECT_CALL(0, put_number(q, 1, 8, PAST));
        const pid_t pid = victim_start(put_stopped, points[i]);
        victim_await_stop(pid);
        EXPECT_CALL(ETIMEDOUT, put_number(q, 2, 8, SOON));
        EXPECT_CALL(0, get_number(q, &number, PAST));
        cr_expect_eq(number, 1);
        kill(pid, SIGCONT);
        cr_expect_eq(victim_end(pid), 0);
        EXPECT_CALL(0, get_number(q, &number, PAST));
        cr_expect_eq(number, 7, "%s", points[i]);
        EXPECT_CALL(EAGAIN, thrum_shared_queue_tryget(q, NULL, 0, NULL));
    }
}

WAIT_TEST(a_get_that_is_stopped_in_the_middle_goes_on_where_it_was)
{
    static char *const points[] = {"shared queue: try get 1", "shared queue: get inside 1",
                                   "shared queue: advance 2", "shared queue: advance 3"};
    for (size_t i = 0; i < 4; i++) {
        uint32_t number = 0;
        EXPECT_CALL(0, put_number(q, 1, LARGE_SIZE, PAST));
        const pid_t pid = victim_start(get_stopped, points[i]);
        victim_await_stop(pid);
        EXPECT_CALL(0, put_number(q, 2, 8, PAST));
        EXPECT_CALL(ETIMEDOUT, get_number(q, &number, SOON));
        kill(pid, SIGCONT);
        cr_expect_eq(victim_end(pid), 1, "%s", points[i]);
        EXPECT_CALL(0, get_number(q, &number, PAST));
        cr_expect_eq(number, 2);
    }
}

WAIT_TEST(a_close_that_is_stopped_in_the_middle_is_waited_for)
{
    uint32_t number = 0;
    const pid_t getter = asleep(got, &q->memory->tail);
    const pid_t pid = victim_start(close_stopped, "shared queue: finish closing 2");
    victim_await_stop(pid);
    EXPECT_CALL(ETIMEDOUT, put_number(q, 1, 8, SOON));
    EXPECT_CALL(ETIMEDOUT, get_number(q, &number, SOON));
    cr_expect_eq(waitpid(getter, NULL, WNOHANG), 0);
    kill(pid, SIGCONT);
    cr_expect_eq(victim_end(pid), 0);
    cr_expect_eq(victim_end(getter), ERROR + 1);
}
