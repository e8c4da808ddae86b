#include <unistd.h>

#include "coroutine/sockets.h"

/* Descriptors among the cases of a select, in a plain thread and in a coroutine. */
TestSuite(select_fd, .timeout = 60);

static void what_is_ready_is_chosen(void)
{
    struct ends e = stream_pair();
    thrum_event_t event = THRUM_EVENT_INIT;
    size_t chosen = 7;
    char byte = 0;
    thrum_case_t cases[] = {THRUM_CASE_EVENT(&event), THRUM_CASE_READ(e.fd[0])};
    EXPECT_CALL(EAGAIN, thrum_tryselect(cases, 2, &chosen));
    cr_expect_eq(write(e.fd[1], "x", 1), 1);
    EXPECT_CALL(0, thrum_select(cases, 2, THRUM_FOREVER, &chosen));
    cr_expect_eq(chosen, 1u);
    cr_expect_eq(read(e.fd[0], &byte, 1), 1);
    EXPECT_CALL(ETIMEDOUT, thrum_select(cases, 2, thrum_after(THRUM_MS(2)), &chosen));
    thrum_event_set(&event);
    EXPECT_CALL(0, thrum_select(cases, 2, THRUM_FOREVER, &chosen));
    cr_expect_eq(chosen, 0u);
    thrum_case_t writing[] = {THRUM_CASE_WRITE(e.fd[0])};
    EXPECT_CALL(0, thrum_select(writing, 1, THRUM_FOREVER, &chosen));
    close(e.fd[1]);
    EXPECT_CALL(0, thrum_select(&cases[1], 1, THRUM_FOREVER, &chosen)); /* the end can be read */
    close(e.fd[0]);
    EXPECT_CALL(EBADF, thrum_select(&cases[1], 1, THRUM_FOREVER, &chosen));
}

Test(select_fd, what_is_ready_is_chosen)
{
    in_every_strand(what_is_ready_is_chosen);
}

Test(select_fd, what_is_no_descriptor_is_refused)
{
    thrum_case_t none[] = {THRUM_CASE_READ(-1)};
    EXPECT_CALL(EINVAL, thrum_select(none, 1, THRUM_FOREVER, NULL));
}

/* --- asleep ------------------------------------------------------------------------------------------- */

struct choice {
    struct ends e;
    thrum_queue_t *q;
    size_t chosen;
};

static int choose(void *arg)
{
    struct choice *c = arg;
    uint32_t item = 0;
    thrum_case_t cases[] = {THRUM_CASE_GET(c->q, &item), THRUM_CASE_READ(c->e.fd[0]),
                            THRUM_CASE_READ(c->e.fd[1])};
    return thrum_select(cases, 3, THRUM_FOREVER, &c->chosen);
}

static int choose_as_coroutine(void *arg, void **result)
{
    (void)result;
    return choose(arg);
}

static int choose_in_loop(void *arg)
{
    return in_loop(choose_as_coroutine, arg);
}

static void begin_choice(struct choice *c)
{
    thrum_queue_config_t config = THRUM_QUEUE_CONFIG_INIT;
    config.item_size = sizeof(uint32_t);
    *c = (struct choice){.e = stream_pair(), .chosen = 7};
    EXPECT_CALL(0, thrum_queue_create(&c->q, &config));
}

static void end_choice(struct choice *c)
{
    close_ends(c->e);
    thrum_queue_destroy(c->q);
}

/* Whoever sleeps in a select stands in the queues of all its cases. */
static void await_choosing(const struct choice *c)
{
    await_parked(c->q, 1);
    while (waiting_on(c->e.fd[0]) == 0 || waiting_on(c->e.fd[1]) == 0)
        sched_yield();
}

static void each_case_wakes(int (*chooser)(void *arg))
{
    for (unsigned which = 0; which < 3; which++) {
        struct choice c;
        struct caller caller;
        const uint32_t item = 1;
        begin_choice(&c);
        caller_start(&caller, chooser, &c);
        await_choosing(&c);
        if (which == 0)
            EXPECT_CALL(0, thrum_queue_put(c.q, &item));
        else
            cr_expect_eq(write(which == 1 ? c.e.fd[1] : c.e.fd[0], "x", 1), 1);
        cr_expect_eq(caller_join(&caller), 0);
        cr_expect_eq(c.chosen, which);
        cr_expect_eq(waiting_on(c.e.fd[0]), 0u, "a case that was not chosen leaves no trace");
        end_choice(&c);
    }
}

Test(select_fd, a_thread_that_sleeps_is_woken_by_each_of_its_cases)
{
    each_case_wakes(choose);
}

Test(select_fd, a_coroutine_that_sleeps_is_woken_by_each_of_its_cases)
{
    each_case_wakes(choose_in_loop);
}

Test(select_fd, a_thread_that_sleeps_can_be_cancelled)
{
    struct choice c;
    struct caller caller;
    begin_choice(&c);
    caller_start(&caller, choose, &c);
    await_choosing(&c);
    caller_cancel(&caller);
    cr_expect_eq(caller_join(&caller), ECANCELED);
    end_choice(&c);
}
