#include "coroutine/streams.h"

TestSuite(stream_end, .timeout = 30);

/* --- deadlines ----------------------------------------------------------------------------------------- */

static uint32_t deadlines(void)
{
    return thrum_loop_current()->deadlines.count;
}

static void pass_deadlines(struct link *l)
{
    l->deadline = SOON;
    EXPECT_CALL(ETIMEDOUT, read_link(l, NULL));
    cr_expect_geq(thrum_now(), l->deadline);
    peer_sends(l, "x");
    l->deadline = THRUM_FOREVER;
    EXPECT_CALL(0, read_link(l, NULL));
    peer_sends(l, "y");
    thrum_sleep(THRUM_US(100));
    l->deadline = PAST;
    EXPECT_CALL(0, read_link(l, NULL));
    cr_expect_eq(l->byte, 'y', "what is there is taken at any time");
    l->deadline = SOON;
    l->n = 0;
    EXPECT_CALL(ETIMEDOUT, fill_link(l, NULL));
}

Test(stream_end, a_deadline_ends_a_wait_and_nothing_else)
{
    with_links(pass_deadlines);
}

static void renew(struct link *l)
{
    for (int i = 0; i < 100; i++) {
        l->deadline = thrum_after(THRUM_S(60) + i);
        thrum_coro_t *co = waiting_reader(l);
        cr_expect_eq(deadlines(), 1u);
        peer_sends(l, "x");
        expect_joined(co, 0);
        cr_expect_eq(deadlines(), 0u, "who has ended has left none");
    }
}

Test(stream_end, a_coroutine_has_one_deadline_while_it_lives)
{
    with_links(renew);
}

/* A wait with an early deadline that it did not need, and then one with a later one, or none. */
static int renewed(void *arg, void **result)
{
    struct link *l = arg;
    (void)result;
    l->deadline = SOON;
    EXPECT_CALL(0, read_link(l, NULL));
    cr_expect_eq(deadlines(), 2u, "this one's is left, and there is the other's");
    l->deadline = l->n == 1 && l->byte == 'f' ? THRUM_FOREVER : thrum_after(THRUM_S(60));
    EXPECT_CALL(0, read_link(l, NULL));
    l->deadline = SOON; /* earlier than what was left */
    EXPECT_CALL(ETIMEDOUT, read_link(l, NULL));
    l->deadline = thrum_after(THRUM_S(60));
    EXPECT_CALL(0, read_link(l, NULL));
    EXPECT_CALL(0, thrum_sleep(THRUM_US(10))); /* other waits keep to theirs */
    thrum_sem_t never = THRUM_SEM_INIT(0);
    EXPECT_CALL(ETIMEDOUT, thrum_sem_acquire_until(&never, SOON));
    return 0;
}

static void renew_later(struct link *l)
{
    const char *firsts[] = {"f", "l"};
    for (int i = 0; i < 2; i++) {
        thrum_coro_t *co = spawned(renewed, l);
        await_waiter(l, THI_POLL_IN);
        const thrum_time_t deadline = l->deadline;
        peer_sends(l, firsts[i]);
        while (thrum_now() <
               deadline + THRUM_MS(1)) /* it is looked at, and is not the wait's any more */
            thrum_sleep(THRUM_MS(1));
        peer_sends(l, "x");
        while (l->err != ETIMEDOUT)
            thrum_sleep(THRUM_MS(1));
        peer_sends(l, "x");
        expect_joined(co, 0);
        cr_expect_eq(deadlines(), 0u);
    }
}

Test(stream_end, an_earlier_deadline_that_was_left_ends_no_later_wait)
{
    with_links(renew_later);
}

/* Nobody has to be left among the deadlines of a loop when it is gone. */
static void by_hand(struct link *l)
{
    l->deadline = thrum_after(THRUM_S(60));
    peer_sends(l, "x");
    thrum_coro_t *co = made(read_link, l);
    EXPECT_CALL(ENODATA, thrum_coro_resume(co, NULL, NULL));
    cr_expect_eq(l->byte, 'x');
    cr_expect_eq(deadlines(), 0u);
    thrum_coro_release(co);
}

Test(stream_end, coroutines_that_are_resumed_by_hand_may_wait)
{
    with_links(by_hand);
}

/* --- cancellation, and being woken --------------------------------------------------------------------- */

static void cancel(struct link *l)
{
    thrum_coro_t *co = waiting_reader(l);
    EXPECT_CALL(0, thrum_coro_cancel(co));
    expect_joined(co, ECANCELED);
    co = spawned(read_link, l);
    EXPECT_CALL(0, thrum_coro_cancel(co));
    expect_joined(co, ECANCELED);
    peer_sends(l, "x");
    thrum_sleep(THRUM_US(100));
    co = spawned(read_link, l);
    EXPECT_CALL(0, thrum_coro_cancel(co));
    expect_joined(co, 0);
    cr_expect_eq(l->byte, 'x', "what is there is taken by who is cancelled, too");
}

Test(stream_end, whoever_is_cancelled_does_not_wait)
{
    with_links(cancel);
}

static int cancel_other(void *arg)
{
    return thrum_coro_cancel(arg);
}

static void cancel_elsewhere(struct link *l)
{
    for (int i = 0; i < 50; i++) {
        struct caller c;
        thrum_coro_t *co = waiting_reader(l);
        caller_start(&c, cancel_other, co);
        expect_joined(co, ECANCELED);
        cr_expect_eq(caller_join(&c), 0);
    }
}

Test(stream_end, other_threads_may_cancel)
{
    with_links(cancel_elsewhere);
}

static void wake(struct link *l)
{
    cr_expect_not(thi_stream_wake(&l->stream), "nobody waits");
    thrum_coro_t *co = waiting_reader(l);
    cr_expect(thi_stream_wake(&l->stream));
    cr_expect_not(thi_stream_wake(&l->stream), "it has been told");
    expect_joined(co, ECANCELED);
    peer_sends(l, "x");
    expect_text(l, "x");
}

Test(stream_end, a_reader_is_woken_and_may_go_on)
{
    with_links(wake);
}

/* --- closing ------------------------------------------------------------------------------------------- */

/* The stream is gone when they run. */
static void close_under(struct link *l)
{
    struct link *other = malloc(sizeof *other);
    link_open(other, stream_pair());
    const int peer = other->peer;
    thrum_coro_t *writer = waiting_writer(other);
    thrum_coro_t *reader = waiting_reader(other);
    link_close(other);
    cr_expect_eq(send(peer, "x", 1, MSG_NOSIGNAL), -1, "it is closed");
    thrum_yield();
    expect_joined(reader, ECANCELED);
    expect_joined(writer, ECANCELED);
    free(other);
    peer_sends(l, "x");
    expect_text(l, "x");
}

Test(stream_end, closing_tells_who_waits)
{
    with_links(close_under);
}

struct neighbours {
    struct link link[2];
    thrum_coro_t *co[2];
    struct link again;
    int first; /* who ran first */
};

static struct neighbours *neighbours;

/* Whoever comes first closes the other's, and opens another that gets its number. */
static int close_the_other(void *arg, void **result)
{
    struct link *l = arg;
    const int me = l == &neighbours->link[1];
    const int err = read_link(l, result);
    if (neighbours->first >= 0)
        return err;
    neighbours->first = me;
    struct link *other = &neighbours->link[!me];
    const int number = other->stream.fd;
    thi_stream_close(&other->stream);
    memset(&other->stream, 0x55, sizeof other->stream);
    struct ends e = stream_pair();
    cr_expect_eq(e.fd[0], number);
    link_open(&neighbours->again, e);
    return err;
}

static int close_in_a_batch(void *arg, void **result)
{
    struct neighbours n = {.first = -1};
    (void)arg, (void)result;
    neighbours = &n;
    for (int i = 0; i < 2; i++) {
        link_open(&n.link[i], stream_pair());
        n.co[i] = spawned(close_the_other, &n.link[i]);
        await_waiter(&n.link[i], THI_POLL_IN);
    }
    for (int i = 0; i < 2; i++)
        peer_sends(&n.link[i], "x");
    thrum_sleep(THRUM_US(100));
    expect_joined(n.co[n.first], 0);
    expect_joined(n.co[!n.first], ECANCELED);
    n.again.deadline = SOON;
    EXPECT_CALL(ETIMEDOUT, read_link(&n.again, NULL));
    n.again.deadline = THRUM_FOREVER;
    peer_sends(&n.again, "y");
    expect_text(&n.again, "y");
    link_close(&n.again);
    link_close(&n.link[n.first]);
    close(n.link[!n.first].peer);
    return 0;
}

Test(stream_end, what_was_told_of_one_that_is_closed_meanwhile_is_forgotten)
{
    cr_expect_eq(in_loop(close_in_a_batch, NULL), 0);
}

static int use_numbers_again(void *arg, void **result)
{
    int number = -1;
    (void)arg, (void)result;
    for (int i = 0; i < 200; i++) {
        struct link l;
        link_open(&l, stream_pair());
        cr_expect(number < 0 || l.stream.fd == number);
        number = l.stream.fd;
        thrum_coro_t *co = waiting_reader(&l);
        peer_sends(&l, "xy"); /* one byte is left */
        expect_joined(co, 0);
        link_close(&l);
    }
    return 0;
}

Test(stream_end, a_number_that_is_used_again_is_a_new_stream)
{
    cr_expect_eq(in_loop(use_numbers_again, NULL), 0);
}

/* Somebody else, as a forked child, has the old descriptor still: the poller goes on telling of it. */
static int somebody_has_it(void *arg, void **result)
{
    struct link old;
    struct link l;
    (void)arg, (void)result;
    link_open(&old, stream_pair());
    const int kept = dup(old.stream.fd);
    const int number = old.stream.fd;
    thi_stream_close(&old.stream);
    link_open(&l, stream_pair());
    cr_expect_eq(l.stream.fd, number);
    peer_sends(&old, "old");
    thrum_sleep(THRUM_US(100));
    cr_expect_eq(l.stream.ready & THI_POLL_IN, 0);
    l.deadline = SOON;
    EXPECT_CALL(ETIMEDOUT, read_link(&l, NULL));
    l.deadline = THRUM_FOREVER;
    peer_sends(&l, "n");
    expect_text(&l, "n");
    link_close(&l);
    close(old.peer);
    close(kept);
    return 0;
}

Test(stream_end, what_is_told_of_a_descriptor_that_had_the_number_is_not_taken_for_its_own)
{
    cr_expect_eq(in_loop(somebody_has_it, NULL), 0);
}

static void release(struct link *l)
{
    char c = 0;
    size_t n = 0;
    thrum_coro_t *co = waiting_reader(l);
    const int fd = thi_stream_release(&l->stream);
    expect_joined(co, ECANCELED);
    EXPECT_CALL(EBADF, read_link(l, NULL));
    EXPECT_CALL(ETIMEDOUT, thrum_io_read(fd, &c, 1, &n, SOON));
    peer_sends(l, "x");
    EXPECT_CALL(0, thrum_io_read(fd, &c, 1, &n, THRUM_FOREVER));
    EXPECT_CALL(ETIMEDOUT, thrum_io_read(fd, &c, 1, &n, SOON));
    EXPECT_CALL(0, thi_stream_open(&l->stream, thrum_loop_current(), fd));
    peer_sends(l, "y");
    expect_text(l, "y");
}

Test(stream_end, a_descriptor_that_is_released_is_as_any_other)
{
    with_links(release);
}

static int close_beside(void *arg, void **result)
{
    struct link l;
    (void)arg, (void)result;
    link_open(&l, stream_pair());
    struct io_call args = {.fd = l.stream.fd, .deadline = THRUM_FOREVER};
    struct io_coro c = {read_call, &args};
    thrum_coro_t *co = spawned(io_coro_main, &c);
    while (waiting_on(args.fd) == 0)
        thrum_yield();
    link_close(&l);
    expect_joined(co, ECANCELED);
    return 0;
}

Test(stream_end, closing_tells_who_waits_by_calls_for_any_descriptor)
{
    cr_expect_eq(in_loop(close_beside, NULL), 0);
}

static int wait_on_number(void *arg)
{
    return thrum_io_wait(*(int *)arg, THRUM_IO_IN, THRUM_FOREVER);
}

static void close_beside_a_thread(struct link *l)
{
    struct link other;
    struct caller c;
    link_open(&other, stream_pair());
    int number = other.stream.fd;
    caller_start(&c, wait_on_number, &number);
    while (waiting_on(number) == 0)
        thrum_yield();
    link_close(&other);
    cr_expect_eq(caller_join(&c), ECANCELED);
    peer_sends(l, "x");
    expect_text(l, "x");
}

Test(stream_end, closing_tells_other_threads_that_wait_for_the_number)
{
    with_links(close_beside_a_thread);
}

/* --- many at a time ------------------------------------------------------------------------------------- */

#define MANY 200 /* more than the loop is told at a time */

/* All bytes come before the deadline, and the loop looks for the first time when it has passed. */
static int late_look(void *arg, void **result)
{
    static struct link links[MANY];
    thrum_coro_t *co[MANY];
    int missed = 0;
    (void)arg, (void)result;
    for (int i = 0; i < MANY; i++)
        link_open(&links[i], stream_pair());
    const thrum_time_t deadline = thrum_after(THRUM_MS(50));
    for (int i = 0; i < MANY; i++) {
        links[i].deadline = deadline;
        co[i] = waiting_reader(&links[i]);
    }
    for (int i = 0; i < MANY; i++)
        peer_sends(&links[i], "x");
    while (thrum_now() <= deadline)
        usleep(1000);
    for (int i = 0; i < MANY; i++) {
        missed += thrum_coro_join(co[i], NULL) != 0;
        thrum_coro_release(co[i]);
        link_close(&links[i]);
    }
    cr_expect_eq(missed, 0, "%d", missed);
    return 0;
}

Test(stream_end, what_is_there_is_taken_also_when_the_loop_was_not_told_of_it)
{
    cr_expect_eq(in_loop(late_look, NULL), 0);
}

/* --- who never waits ------------------------------------------------------------------------------------ */

static int read_on(void *arg, void **result)
{
    struct link *l = arg;
    int err = 0;
    (void)result;
    while ((err = thi_stream_recv(&l->stream, &l->byte, 1, &l->n, THRUM_FOREVER)) == 0)
        peer_sends(l, "x");
    return err;
}

static void cancel_busy(struct link *l)
{
    peer_sends(l, "xxx"); /* and there will always be one */
    thrum_coro_t *co = spawned(read_on, l);
    thrum_sleep(THRUM_US(100)); /* which ends although somebody is busy */
    thrum_yield();
    EXPECT_CALL(0, thrum_coro_cancel(co));
    expect_joined(co, ECANCELED);
}

Test(stream_end, whoever_never_waits_hears_of_its_cancellation)
{
    with_links(cancel_busy);
}

struct busy {
    struct link *l;
    unsigned reads;
    bool over;
};

static int read_much(void *arg, void **result)
{
    struct busy *b = arg;
    size_t n = 0;
    (void)result;
    for (; !b->over && b->reads < 3000; b->reads++) {
        peer_sends(b->l, "x");
        EXPECT_CALL(0, thi_stream_recv(&b->l->stream, &b->l->byte, 1, &n, THRUM_FOREVER));
    }
    return 0;
}

static void look_beside(struct link *l)
{
    struct link other;
    struct busy b = {l, 0, false};
    link_open(&other, stream_pair());
    thrum_coro_t *reader = waiting_reader(&other);
    peer_sends(l, "xx");
    EXPECT_CALL(0, read_link(l, NULL)); /* so the next one need not wait */
    peer_sends(&other, "y");
    thrum_coro_t *co = spawned(read_much, &b);
    expect_joined(reader, 0);
    b.over = true;
    expect_joined(co, 0);
    cr_expect_lt(b.reads, 1000u);
    expect_text(l, "x");
    link_close(&other);
}

Test(stream_end, whoever_never_waits_has_the_loop_look_for_others)
{
    with_links(look_beside);
}

/* --- others for the same number ------------------------------------------------------------------------- */

static void two_readers(struct link *l)
{
    thrum_coro_t *co = waiting_reader(l);
    struct link second = *l;
    size_t n = 0;
    EXPECT_CALL(EBUSY, thi_stream_recv(&l->stream, &second.byte, 1, &n, THRUM_FOREVER));
    peer_sends(l, "x");
    expect_joined(co, 0);
    cr_expect_eq(l->byte, 'x');
}

Test(stream_end, a_second_reader_does_not_displace_the_first)
{
    with_links(two_readers);
}

static int open_late(void *arg, void **result)
{
    struct link l;
    struct ends e = stream_pair();
    struct io_call args = {.fd = e.fd[0], .deadline = THRUM_FOREVER};
    struct io_coro c = {wait_call, &args};
    (void)arg, (void)result;
    thrum_coro_t *co = spawned(io_coro_main, &c);
    while (waiting_on(args.fd) == 0)
        thrum_yield();
    link_open(&l, e);
    peer_sends(&l, "x");
    expect_joined(co, 0);
    expect_text(&l, "x");
    link_close(&l);
    return 0;
}

Test(stream_end, whoever_waited_for_the_number_before_is_told)
{
    cr_expect_eq(in_loop(open_late, NULL), 0);
}

/* --- fork ----------------------------------------------------------------------------------------------- */

static int in_child(void *arg)
{
    struct link *l = arg;
    size_t n = 0;
    if (read_link(l, NULL) != EOWNERDEAD ||
        thi_stream_send(&l->stream, "x", 1, &n, THRUM_FOREVER) != EOWNERDEAD)
        return 1;
    if (thi_stream_wake(&l->stream))
        return 2;
    thi_stream_close(&l->stream);
    struct link own;
    *l = (struct link){.peer = -1};
    struct ends e = stream_pair();
    own = (struct link){.peer = e.fd[1], .deadline = THRUM_FOREVER};
    if (thi_stream_open(&own.stream, thrum_loop_current(), e.fd[0]) != 0 ||
        send(own.peer, "c", 1, 0) != 1 || read_link(&own, NULL) != 0 || own.byte != 'c')
        return 3;
    return 0;
}

static void fork_here(struct link *l)
{
    thrum_coro_t *co = waiting_reader(l);
    cr_expect_eq(child_run(in_child, l), 0);
    peer_sends(l, "p");
    expect_joined(co, 0);
    cr_expect_eq(l->byte, 'p');
}

Test(stream_end, a_forked_child_has_no_use_of_it_and_does_no_harm)
{
    with_links(fork_here);
}

/* A wait that was over in time has left its deadline. */
static int in_child_with_deadline(void *arg)
{
    thrum_sem_t never = THRUM_SEM_INIT(0);
    (void)arg;
    if (deadlines() != 0 || thrum_sem_acquire_until(&never, SOON) != ETIMEDOUT)
        return 1;
    return thrum_sleep(THRUM_US(10)) != 0 || deadlines() != 0;
}

static int fork_with_deadline(void *arg, void **result)
{
    struct link *l = arg;
    (void)result;
    l->deadline = thrum_after(THRUM_S(60));
    EXPECT_CALL(0, read_link(l, NULL));
    cr_expect_eq(deadlines(), 1u);
    cr_expect_eq(child_run(in_child_with_deadline, NULL), 0);
    return 0;
}

static void fork_later(struct link *l)
{
    thrum_coro_t *co = spawned(fork_with_deadline, l);
    await_waiter(l, THI_POLL_IN);
    peer_sends(l, "x");
    expect_joined(co, 0);
}

Test(stream_end, a_forked_child_has_no_deadlines_of_waits_that_are_over)
{
    with_links(fork_later);
}
