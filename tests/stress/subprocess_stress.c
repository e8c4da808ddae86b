/*
 * Subprocesses and pipes of messages, by many threads and coroutines at once: waited for, killed, talked to, closed
 * and released in every order.
 */
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "stress/stress.h"

#define TEAM 4u

static char noise[300000];

/* ------------------------------------------------------------------------------------------------
 * Conversations
 */

static void converse(struct chance *chance)
{
    static const char *const argv[] = {"cat", NULL};
    const size_t size = chance_below(chance, sizeof noise);
    const bool patient = !chance_one_in(chance, 4);
    const size_t limit = chance_one_in(chance, 4) ? size / 2 : SIZE_MAX;
    thrum_output_t output;
    const int err =
        thrum_subprocess_run(argv, NULL, noise, size, limit,
                             patient ? THRUM_FOREVER : chance_deadline(chance, 3000000), &output);
    if (err == 0)
        CHECK(output.code == 0 && output.out_size == size && output.written == size);
    else
        CHECK((err == ETIMEDOUT && !patient) || (err == EMSGSIZE && output.out_size == limit));
    CHECK(output.out_size <= size && memcmp(output.out, noise, output.out_size) == 0);
    thrum_output_free(&output);
}

static void converse_all(struct member *m)
{
    while (member_goes_on(m))
        converse(&m->chance);
}

static void conversations(thrum_time_t until)
{
    team_run(TEAM, converse_all, NULL, until);
}

enum { COROUTINES = 12 };

static int coroutine(void *arg, void **result)
{
    const struct member *m = arg;
    struct chance chance = chance_begin();
    (void)result;
    while (thrum_now() < m->until) {
        converse(&chance);
        watchdog_progress();
    }
    return 0;
}

static int spawn_coroutines(void *arg, void **result)
{
    (void)result;
    for (int i = 0; i < COROUTINES; i++)
        CHECK(thrum_go(NULL, coroutine, arg) == 0);
    return 0;
}

static void run_loop(struct member *m)
{
    CHECK(thrum_run(spawn_coroutines, m, NULL) == 0);
}

static void conversations_of_coroutines(thrum_time_t until)
{
    team_run(2, run_loop, NULL, until);
}

/* ------------------------------------------------------------------------------------------------
 * One for all
 */

struct shared {
    thrum_mutex_t mutex;
    thrum_subprocess_t *p; /* with a reference of its own until the last has taken it */
    unsigned taken;
};

static thrum_subprocess_t *start(void)
{
    thrum_subprocess_config_t config = THRUM_SUBPROCESS_CONFIG_INIT;
    thrum_subprocess_t *p = NULL;
    config.in.kind = THRUM_STREAM_PIPE;
    config.out.kind = THRUM_STREAM_PIPE;
    CHECK(thrum_subprocess_shell(&p, "read x; exit 7", &config) == 0);
    return p;
}

/* Each program is taken by all of the team, who then do to it what they like. */
static thrum_subprocess_t *take(struct shared *s)
{
    CHECK(thrum_mutex_lock(&s->mutex) == 0);
    if (s->taken == 0)
        s->p = start();
    thrum_subprocess_t *p = s->p;
    s->taken = (s->taken + 1) % TEAM;
    if (s->taken != 0)
        thrum_subprocess_retain(p);
    CHECK(thrum_mutex_unlock(&s->mutex) == 0);
    return p;
}

static void check_code(int err, int code)
{
    CHECK(err == EAGAIN || err == ETIMEDOUT ||
          (err == 0 && (code == 7 || code == 1 || code == -SIGKILL || code == -SIGTERM)));
}

static void do_to(thrum_subprocess_t *p, struct chance *chance)
{
    int code = 0;
    int err = 0;
    switch (chance_below(chance, 7)) {
    case 0:
        err = thrum_subprocess_poll(p, &code);
        check_code(err, code);
        break;
    case 1:
        err = thrum_subprocess_wait_until(p, &code, chance_deadline(chance, 2000000));
        check_code(err, code);
        break;
    case 2:
        err = thrum_subprocess_kill(p);
        CHECK(err == 0 || err == ESRCH);
        break;
    case 3:
        err = thrum_subprocess_terminate(p);
        CHECK(err == 0 || err == ESRCH);
        break;
    case 4:
        err = thrum_subprocess_close(p, thrum_subprocess_in(p));
        CHECK(err == 0 || err == EBADF);
        break;
    case 5:
        err = thrum_subprocess_communicate(p, "x\n", 2, 10, chance_deadline(chance, 2000000), NULL);
        CHECK(err == 0 || err == EBUSY || err == ETIMEDOUT);
        break;
    default:
        chance_dawdle(chance);
        break;
    }
}

static void share(struct member *m)
{
    do {
        thrum_subprocess_t *p = take(m->shared);
        if (p == NULL)
            return;
        for (unsigned i = chance_below(&m->chance, 6); i != 0; i--)
            do_to(p, &m->chance);
        if (chance_one_in(&m->chance, 2)) { /* some run on without anybody */
            const int err = thrum_subprocess_kill(p);
            CHECK(err == 0 || err == ESRCH);
        }
        thrum_subprocess_release(p);
    } while (member_goes_on(m));
}

static void one_for_all(thrum_time_t until)
{
    struct shared s = {.mutex = THRUM_MUTEX_INIT};
    struct member team[TEAM];
    team_start(team, TEAM, share, &s, until);
    team_join(team, TEAM);
    if (s.taken != 0) /* the last one, not by all */
        thrum_subprocess_release(s.p);
}

/* ------------------------------------------------------------------------------------------------
 * Messages
 */

struct post {
    thrum_pipe_t *a;
    thrum_pipe_t *b;
    uint32_t sent;
    uint32_t received;
    uint32_t sum_sent;
    uint32_t sum_received;
    uint32_t senders;
};

static size_t length_for(uint32_t number)
{
    return number % 64 == 0 ? 70000 + number % 100000 : 4 + number % 3000;
}

static void send_all(struct member *m)
{
    struct post *post = m->shared;
    char *text = malloc(sizeof noise);
    if (text == NULL)
        abort();
    while (member_goes_on(m)) {
        const uint32_t number = (uint32_t)chance_next(&m->chance);
        const int with = 2;
        const bool fds = chance_one_in(&m->chance, 8);
        memset(text, (int)(number & 0xff), length_for(number));
        memcpy(text, &number, sizeof number);
        const int err = thrum_pipe_send_fds(
            post->a, text, length_for(number), &with, fds,
            chance_one_in(&m->chance, 4) ? chance_deadline(&m->chance, 100000) : THRUM_FOREVER);
        CHECK(err == 0 || err == ETIMEDOUT);
        if (err == 0) {
            thi_fetch_add_relaxed(&post->sent, 1u);
            thi_fetch_add_relaxed(&post->sum_sent, number);
        }
    }
    free(text);
    if (thi_fetch_sub_acq_rel(&post->senders, 1u) == 1)
        thrum_pipe_close(post->a);
}

static bool is_whole(const char *text, size_t size, uint32_t *number)
{
    memcpy(number, text, sizeof *number);
    bool whole = size == length_for(*number);
    for (size_t i = sizeof *number; whole && i < size; i++)
        whole = (unsigned char)text[i] == (*number & 0xff);
    return whole;
}

static int receive_some(struct post *post, struct chance *chance, char *text)
{
    size_t size = 0;
    int fds[2];
    size_t n = 2;
    uint32_t number = 0;
    const thrum_time_t deadline =
        chance_one_in(chance, 4) ? chance_deadline(chance, 100000) : THRUM_FOREVER;
    const int err = thrum_pipe_recv_fds(post->b, text, sizeof noise, &size, fds, &n, deadline);
    if (err != 0)
        return err;
    CHECK(is_whole(text, size, &number) && n <= 1);
    for (size_t i = 0; i < n; i++)
        close(fds[i]);
    thi_fetch_add_relaxed(&post->received, 1u);
    thi_fetch_add_relaxed(&post->sum_received, number);
    watchdog_progress();
    return 0;
}

static int receive_all(struct post *post)
{
    struct chance chance = chance_begin();
    char *text = malloc(sizeof noise);
    int err = 0;
    while (err == 0 || err == ETIMEDOUT)
        err = receive_some(post, &chance, text);
    CHECK(err == ESHUTDOWN);
    free(text);
    return 0;
}

static int receive_in_coroutine(void *arg, void **result)
{
    (void)result;
    return receive_all(arg);
}

static int receive_in_loop(void *arg, void **result)
{
    (void)result;
    for (int i = 0; i < 3; i++)
        CHECK(thrum_go(NULL, receive_in_coroutine, arg) == 0);
    return 0;
}

static void receive(struct member *m)
{
    if (m->index == 0)
        CHECK(thrum_run(receive_in_loop, m->shared, NULL) == 0);
    else
        receive_all(m->shared);
}

static void messages(thrum_time_t until)
{
    struct post post = {.senders = 2};
    struct member senders[2];
    struct member receivers[2];
    CHECK(thrum_pipe_create(&post.a, &post.b) == 0);
    team_start(receivers, 2, receive, &post, until);
    team_start(senders, 2, send_all, &post, until);
    team_join(senders, 2);
    team_join(receivers, 2);
    CHECK(post.sent == post.received && post.sum_sent == post.sum_received);
    thrum_pipe_destroy(post.a);
    thrum_pipe_destroy(post.b);
}

int main(int argc, char **argv)
{
    static const struct stress_case cases[] = {
        {"conversations", conversations},
        {"conversations of coroutines", conversations_of_coroutines},
        {"one for all", one_for_all},
        {"messages", messages},
    };
    struct chance chance = chance_begin();
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (char)chance_next(&chance);
    return stress_main(argc, argv, cases, (unsigned)(sizeof cases / sizeof *cases));
}
