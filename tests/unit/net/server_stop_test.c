/* How servers stop, in every model. */
#include <sys/wait.h>

#include "net/servers.h"
#include "process/process.h"
#include "support/counted.h"

TestSuite(server_stop, .timeout = 60);

/* A call in a thread of its own, that the test looks at. */
struct call {
    thrum_server_t *server;
    thrum_time_t deadline;
    struct caller caller;
};

static int call_stop(void *arg)
{
    const struct call *call = arg;
    return thrum_server_stop(call->server, call->deadline);
}

static int call_run(void *arg)
{
    return thrum_server_run(((const struct call *)arg)->server);
}

static void begin_call(struct call *call, thrum_server_t *server, int (*fn)(void *),
                       thrum_time_t deadline)
{
    *call = (struct call){.server = server, .deadline = deadline};
    caller_start(&call->caller, fn, call);
}

/* ------------------------------------------------------------------------------------------------
 * Graceful
 */

static void idle(const struct model *m)
{
    const thrum_server_config_t config = server_config(m, serve_echo, NULL);
    thrum_server_t *server = server_started(&config);
    const int n = is_serial(m) ? 1 : 2;
    int fds[2];
    for (int i = 0; i < n; i++) {
        fds[i] = connected(server);
        if (i == 0)
            expect_echo(fds[i], "hello");
    }
    AWAIT(stats_of(server).idle == (unsigned)n);
    EXPECT_CALL(0, thrum_server_stop(server, thrum_after(LONG)));
    for (int i = 0; i < n; i++) {
        expect_end(fds[i]);
        hang_up(fds[i]);
    }
    expect_balance(server);
    cr_expect_eq(stats_of(server).completed, (unsigned)n);
    cr_expect_lt(try_connect(thrum_server_port(server)), 0);
    thrum_server_destroy(server);
}

Test(server_stop, who_waits_for_a_request_sees_the_end)
{
    for_each_model(idle);
}

/* The second half of a request comes when the server stops already. */
static void halves(const struct model *m)
{
    const thrum_server_config_t config = server_config(m, serve_lines, NULL);
    thrum_server_t *server = server_started(&config);
    struct call stop;
    const int fd = connected(server);
    say(fd, "one ", 4);
    AWAIT(stats_of(server).requests == 1);
    begin_call(&stop, server, call_stop, thrum_after(LONG));
    int late = 0;
    while ((late = try_connect(thrum_server_port(server))) >= 0)
        hang_up(late); /* it does not listen any more, while it drains */
    cr_expect(caller_stays(&stop.caller));
    say(fd, "half\n", 5);
    expect_heard(fd, "one half\n");
    expect_end(fd);
    hang_up(fd);
    cr_expect_eq(caller_join(&stop.caller), 0);
    expect_balance(server);
    cr_expect_eq(stats_of(server).completed, stats_of(server).accepted - stats_of(server).shed);
    thrum_server_destroy(server);
}

Test(server_stop, a_request_that_has_begun_may_end)
{
    for_each_model(halves);
}

/* ------------------------------------------------------------------------------------------------
 * Not so
 */

static int waits_for_ever(thrum_conn_t *c, void *ctx)
{
    struct note *note = ctx;
    char data = 0;
    size_t n = 0;
    thrum_conn_read_full(c, &data, 1, NULL);
    note_count(&note->began);
    note->err = data == 's' ? thrum_sleep(LONG) : thrum_conn_read(c, &data, 1, &n);
    note->errors[0] = thrum_conn_read(c, &data, 1, &n);
    note_count(&note->ended);
    return note->err;
}

static void cancels(const struct model *m)
{
    for (int i = 0; i < 4; i++) {
        struct note *note = note_new();
        thrum_server_config_t config = server_config(m, waits_for_ever, note);
        config.read_timeout = config.idle_timeout = THRUM_NO_LIMIT;
        thrum_server_t *server = server_started(&config);
        struct call first;
        const int fd = connected(server);
        say(fd, i % 2 == 0 ? "s" : "r", 1);
        AWAIT(note_get(&note->began) == 1);
        if (i < 2) { /* a later call with an earlier deadline */
            begin_call(&first, server, call_stop, THRUM_FOREVER);
            cr_expect(caller_stays(&first.caller));
        }
        EXPECT_CALL(ETIMEDOUT, thrum_server_stop(server, i % 2 == 0 ? PAST : SOON));
        if (i < 2)
            cr_expect_eq(caller_join(&first.caller), ETIMEDOUT);
        EXPECT_CALL(ETIMEDOUT, thrum_server_join(server, PAST));
        expect_end(fd);
        hang_up(fd);
        expect_balance(server);
        cr_expect_eq(stats_of(server).cancelled, 1u);
        if (m->model != THRUM_SERVE_PROCESSES) { /* they are killed */
            cr_expect_eq(note->err, ECANCELED, "%s: %d", m->name, note->err);
            cr_expect_eq(note->errors[0], ECANCELED, "%s: %d", m->name, note->errors[0]);
            cr_expect_eq(note->ended, 1u, "%s", m->name);
        }
        thrum_server_destroy(server);
        note_free(note);
    }
}

Test(server_stop, at_the_deadline_handlers_are_cancelled)
{
    for_each_model(cancels);
}

static int never_waits(thrum_conn_t *c, void *ctx)
{
    struct note *note = ctx;
    (void)c;
    note_count(&note->began);
    while (note_get(&note->may_end) == 0)
        if (thrum_cancelled())
            note_count(&note->number);
    note_count(&note->ended);
    return 0;
}

/* Threads are waited for; processes are killed. */
static void stubborn(const struct model *m)
{
    struct note *note = note_new();
    const thrum_server_config_t config = server_config(m, never_waits, note);
    thrum_server_t *server = server_started(&config);
    struct call stop;
    const int fd = connected(server);
    AWAIT(note_get(&note->began) == 1);
    begin_call(&stop, server, call_stop, PAST);
    if (!m->processes) {
        AWAIT(note_get(&note->number) != 0);
        cr_expect(caller_stays(&stop.caller));
        note_count(&note->may_end);
    }
    cr_expect_eq(caller_join(&stop.caller), ETIMEDOUT, "%s", m->name);
    cr_expect_eq(note->ended, m->processes ? 0u : 1u);
    hang_up(fd);
    expect_balance(server);
    thrum_server_destroy(server);
    note_free(note);
}

Test(server_stop, handlers_that_never_wait)
{
    for_each_model(stubborn);
}

/* ------------------------------------------------------------------------------------------------
 * From inside
 */

static int stops(thrum_conn_t *c, void *ctx)
{
    struct note *note = ctx;
    char data = 0;
    thrum_conn_read_full(c, &data, 1, NULL);
    note->err = thrum_server_stop(thrum_conn_server(c), thrum_after(LONG));
    while (!thrum_conn_stopping(c))
        thrum_sleep(THRUM_MS(1));
    /* The parent knows, before this one ends. */
    while (note_get(&note->may_end) == 0)
        thrum_sleep(THRUM_MS(1));
    return thrum_conn_write(c, "bye", 3);
}

static void inside(const struct model *m)
{
    struct note *note = note_new();
    const thrum_server_config_t config = server_config(m, stops, note);
    thrum_server_t *server = server_started(&config);
    const int fd = connected(server);
    say(fd, "x", 1);
    int late = 0;
    while ((late = try_connect(thrum_server_port(server))) >= 0)
        hang_up(late);
    note_count(&note->may_end);
    expect_heard(fd, "bye");
    expect_end(fd);
    hang_up(fd);
    EXPECT_CALL(0, thrum_server_join(server, thrum_after(LONG)));
    cr_expect_eq(note->err, 0);
    expect_balance(server);
    thrum_server_destroy(server);
    note_free(note);
}

Test(server_stop, by_a_handler)
{
    for_each_model(inside);
}

/* ------------------------------------------------------------------------------------------------
 * Who runs it
 */

static void runs(const struct model *m)
{
    for (int cancelled = 0; cancelled < 2; cancelled++) {
        const thrum_server_config_t config = server_config(m, serve_echo, NULL);
        thrum_server_t *server = NULL;
        struct call run;
        cr_assert_eq(thrum_server_create(&server, &config), 0);
        begin_call(&run, server, call_run, 0);
        const int fd = connected(server);
        expect_echo(fd, "hello");
        EXPECT_CALL(EBUSY, thrum_server_start(server));
        EXPECT_CALL(ETIMEDOUT, thrum_server_join(server, PAST));
        say(fd, "half", 4);
        expect_heard(fd, "half");
        if (cancelled != 0)
            caller_cancel(&run.caller);
        else
            EXPECT_CALL(0, thrum_server_stop(server, thrum_after(LONG)));
        cr_expect_eq(caller_join(&run.caller), cancelled != 0 ? ECANCELED : 0, "%s", m->name);
        EXPECT_CALL(cancelled != 0 ? ECANCELED : 0, thrum_server_join(server, PAST));
        expect_end(fd);
        hang_up(fd);
        expect_balance(server);
        thrum_server_destroy(server);
    }
}

Test(server_stop, who_runs_it_is_cancelled)
{
    for_each_model(runs);
}

/* Peers that never let an acceptor wait do not keep it from hearing of a stop. */
struct crowd {
    unsigned port;
    uint32_t over;
    pthread_t threads[3];
};

static void *connect_on_and_on(void *arg)
{
    struct crowd *crowd = arg;
    while (note_get(&crowd->over) == 0) {
        const int fd = try_connect(crowd->port);
        if (fd >= 0)
            hang_up_with_reset(fd);
    }
    return NULL;
}

static void crowded(const struct model *m)
{
    const thrum_server_config_t config = server_config(m, serve_echo, NULL);
    thrum_server_t *server = server_started(&config);
    struct crowd crowd = {.port = thrum_server_port(server)};
    for (int i = 0; i < 3; i++)
        cr_assert_eq(pthread_create(&crowd.threads[i], NULL, connect_on_and_on, &crowd), 0);
    AWAIT(stats_of(server).accepted >= 20);
    EXPECT_CALL(0, thrum_server_stop(server, thrum_after(LONG)));
    expect_balance(server);
    note_count(&crowd.over);
    for (int i = 0; i < 3; i++)
        pthread_join(crowd.threads[i], NULL);
    thrum_server_destroy(server);
}

Test(server_stop, under_a_crowd)
{
    for_each_model(crowded);
}

/* ------------------------------------------------------------------------------------------------
 * Before and after
 */

static void unstarted(const struct model *m)
{
    const thrum_server_config_t config = server_config(m, serve_echo, NULL);
    thrum_server_t *server = NULL;
    cr_assert_eq(thrum_server_create(&server, &config), 0);
    const unsigned port = thrum_server_port(server);
    EXPECT_CALL(EINVAL, thrum_server_join(server, PAST));
    EXPECT_CALL(0, thrum_server_stop(server, PAST));
    EXPECT_CALL(0, thrum_server_join(server, PAST));
    EXPECT_CALL(EBUSY, thrum_server_start(server));
    EXPECT_CALL(EBUSY, thrum_server_run(server));
    cr_expect_lt(try_connect(port), 0);
    cr_expect_eq(thrum_server_port(server), port, "it is remembered");
    thrum_server_destroy(server);
    cr_assert_eq(thrum_server_create(&server, &config), 0);
    thrum_server_destroy(server);
}

Test(server_stop, one_that_was_never_started)
{
    for_each_model(unstarted);
}

/* A destroy is a stop; the address is free at once, although peers are still there. */
static void again(const struct model *m)
{
    char address[64];
    int fds[4];
    struct note *note = note_new();
    thrum_server_config_t config = server_config(m, waits_for_ever, note);
    for (int i = 0; i < 4; i++) {
        thrum_server_t *server = server_started(&config);
        fds[i] = connected(server);
        say(fds[i], "s", 1);
        AWAIT(note_get(&note->began) == (uint32_t)i + 1);
        thrum_server_address(server, address, sizeof address);
        config.address = address;
        thrum_server_destroy(server);
    }
    for (int i = 0; i < 4; i++) {
        expect_end(fds[i]);
        hang_up(fds[i]);
    }
    note_free(note);
}

Test(server_stop, and_starts_again_at_the_same_address)
{
    for_each_model(again);
}

/* ------------------------------------------------------------------------------------------------
 * A thousand
 */

static int threads_at_first;

/* Those that sleep in shared memory for others stay, for the next time. */
static int threads_of_servers(void)
{
    size_t helpers = 0;
    (void)thi_shared_helpers(&helpers);
    return running_threads() - threads_at_first - (int)helpers;
}

static void one_life(const struct model *m)
{
    const thrum_server_config_t config = server_config(m, serve_echo, NULL);
    thrum_server_t *server = server_started(&config);
    const int fd = connected(server);
    expect_echo(fd, "hello");
    EXPECT_CALL(0, thrum_server_stop(server, thrum_after(LONG)));
    hang_up(fd);
    thrum_server_destroy(server);
}

static void nothing_stays(const struct model *m)
{
    const int rounds = m->processes ? 40 : 240;
    const int few = 12; /* what records of threads keep, for the next one */
    one_life(m);
    one_life(m);
    const int descriptors = open_descriptors();
    const size_t before = thi_load_relaxed(&bytes_in_use);
    for (int i = 0; i < rounds; i++)
        one_life(m);
    AWAIT(threads_of_servers() <= 0); /* threads end a moment after they have said so */
    AWAIT(open_descriptors() <= descriptors + few);
    AWAIT(thi_load_relaxed(&bytes_in_use) <= before + 1024); /* less than a byte for each */
    cr_expect_eq(waitpid(-1, NULL, WNOHANG), -1);
    cr_expect_eq(errno, ECHILD);
}

Test(server_stop, a_thousand_leave_nothing)
{
    count_memory();
    threads_at_first = running_threads();
    for_each_model(nothing_stays);
}
