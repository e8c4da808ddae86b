/*
 * Streams of two loops, whose coroutines echo what threads send: nothing is lost, and nobody waits for ever, whoever
 * is woken for no reason, cancelled, has its socket shut down by another thread, or gets a number that was another's.
 */
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "coroutine/core.h"
#include "coroutine/stream.h"
#include "stress/stress.h"

#define LOOPS 2u
#define SLOTS 4u /* of each loop, with a thread for each */
#define MESSAGE_MAX 3000u
#define SOON_NS 100000u

/* A place for one connection after the other. */
struct slot {
    thrum_queue_t *arrivals; /* descriptors; -1: no more will come */
    thrum_mutex_t lock;      /* of what follows */
    thrum_coro_t *co;        /* NULL: nobody serves */
    int fd;
    uint32_t disturbed; /* atomic: by a cancellation, or a shutdown */
};

struct world {
    struct slot slots[LOOPS * SLOTS];
    uint32_t over;
};

/* ------------------------------------------------------------------------------------------------
 * In the loop
 */

static thrum_time_t deadline_of(struct chance *chance)
{
    return chance_one_in(chance, 4) ? chance_deadline(chance, SOON_NS) : thrum_after(THRUM_S(60));
}

static int echo_back(thi_stream_t *stream, struct chance *chance, const char *data, size_t size)
{
    for (size_t all = 0; all < size;) {
        size_t n = 0;
        const int err = thi_stream_send(stream, data + all, size - all, &n, deadline_of(chance));
        if (err != 0 && err != ETIMEDOUT)
            return err;
        all += err == 0 ? n : 0;
    }
    return 0;
}

static int echo(void *arg, void **result)
{
    struct slot *slot = arg;
    struct chance chance = chance_begin();
    thi_stream_t stream;
    char data[512];
    size_t n = 1;
    int err = thi_stream_open(&stream, thrum_loop_current(), slot->fd);
    (void)result;
    while ((err == 0 || err == ETIMEDOUT) && n != 0) {
        n = 1;
        err = thi_stream_recv(&stream, data, 1 + chance_below(&chance, sizeof data), &n,
                              deadline_of(&chance));
        if (err == 0)
            err = echo_back(&stream, &chance, data, n);
        watchdog_progress();
    }
    CHECK(thrum_mutex_lock(&slot->lock) == 0);
    slot->fd = -1;
    CHECK(thrum_mutex_unlock(&slot->lock) == 0);
    thi_stream_close(&stream);
    return err;
}

static int host(void *arg, void **result)
{
    struct slot *slot = arg;
    int fd = -1;
    (void)result;
    while (thrum_queue_get(slot->arrivals, &fd) == 0 && fd >= 0) {
        CHECK(thrum_mutex_lock(&slot->lock) == 0);
        slot->fd = fd;
        thrum_coro_t *co = NULL;
        CHECK(thrum_go(&co, echo, slot) == 0);
        thi_store_release(&slot->co, co);
        CHECK(thrum_mutex_unlock(&slot->lock) == 0);
        (void)thrum_coro_join(co, NULL);
        CHECK(thrum_mutex_lock(&slot->lock) == 0);
        thi_store_release(&slot->co, NULL);
        CHECK(thrum_mutex_unlock(&slot->lock) == 0);
        thrum_coro_release(co);
    }
    return 0;
}

static void run_loop(struct member *self)
{
    struct world *w = self->shared;
    thrum_loop_t *loop = NULL;
    CHECK(thrum_loop_create(&loop, NULL) == 0);
    for (unsigned i = 0; i < SLOTS; i++)
        CHECK(thrum_loop_go(loop, NULL, host, &w->slots[self->index * SLOTS + i], NULL) == 0);
    CHECK(thrum_loop_run(loop) == 0);
    thrum_loop_destroy(loop);
}

/* ------------------------------------------------------------------------------------------------
 * Elsewhere
 */

static void tcp_pair(int fd[2])
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof addr;
    const int at = socket(AF_INET, SOCK_STREAM, 0);
    fd[1] = socket(AF_INET, SOCK_STREAM, 0);
    if (at < 0 || fd[1] < 0 || bind(at, (struct sockaddr *)&addr, sizeof addr) != 0 ||
        listen(at, 1) != 0 || getsockname(at, (struct sockaddr *)&addr, &size) != 0 ||
        connect(fd[1], (struct sockaddr *)&addr, sizeof addr) != 0)
        abort();
    fd[0] = accept(at, NULL, NULL);
    close(at);
}

/* Whether all of it came back. What did is right. */
static bool exchange(struct member *self, int fd, size_t size)
{
    char sent[MESSAGE_MAX];
    char back[MESSAGE_MAX];
    size_t all = 0;
    ssize_t n = 1;
    for (size_t i = 0; i < size; i++)
        sent[i] = (char)chance_below(&self->chance, 256);
    while (all < size && n > 0) {
        const size_t piece = 1 + chance_below(&self->chance, (unsigned)(size - all));
        n = send(fd, sent + all, piece, MSG_NOSIGNAL);
        all += n > 0 ? (size_t)n : 0;
        chance_dawdle(&self->chance);
    }
    for (all = 0; all < size && n > 0; all += n > 0 ? (size_t)n : 0)
        n = recv(fd, back + all, size - all, 0);
    CHECK(memcmp(sent, back, all) == 0);
    return all == size;
}

static void call(struct member *self)
{
    struct slot *slot = &((struct world *)self->shared)->slots[self->index];
    int fd[2];
    while (member_goes_on(self)) {
        bool whole = true;
        if (chance_one_in(&self->chance, 2))
            tcp_pair(fd);
        else if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) != 0)
            abort();
        __atomic_store_n(&slot->disturbed, 0u, __ATOMIC_SEQ_CST);
        CHECK(thrum_queue_put(slot->arrivals, &fd[0]) == 0);
        for (unsigned i = chance_below(&self->chance, 16); i != 0 && whole; i--)
            whole = exchange(self, fd[1], 1 + chance_below(&self->chance, MESSAGE_MAX - 1));
        CHECK(whole || __atomic_load_n(&slot->disturbed, __ATOMIC_SEQ_CST) != 0);
        close(fd[1]);
        while (!thrum_queue_empty(slot->arrivals) || thi_load_acquire(&slot->co) != NULL)
            sched_yield(); /* nothing is disturbed but what is known to be */
    }
    fd[0] = -1;
    CHECK(thrum_queue_put(slot->arrivals, &fd[0]) == 0);
}

static void disturb(struct slot *slot, unsigned how)
{
    if (how < 2)
        __atomic_store_n(&slot->disturbed, 1u, __ATOMIC_SEQ_CST);
    if (how == 0)
        CHECK(thrum_coro_cancel(slot->co) == 0);
    else if (how == 1 && slot->fd >= 0)
        (void)shutdown(slot->fd, SHUT_RD);
    else
        thi_strand_unpark(&slot->co->strand);
}

static void disturb_all(struct member *self)
{
    struct world *w = self->shared;
    while (thi_load_acquire(&w->over) == 0) {
        struct slot *slot = &w->slots[chance_below(&self->chance, LOOPS * SLOTS)];
        CHECK(thrum_mutex_lock(&slot->lock) == 0);
        if (slot->co != NULL)
            disturb(slot, chance_below(&self->chance, 64));
        CHECK(thrum_mutex_unlock(&slot->lock) == 0);
        chance_dawdle(&self->chance);
    }
}

static void streams_that_are_disturbed(thrum_time_t until)
{
    static struct world w;
    struct member loops[LOOPS];
    struct member calls[LOOPS * SLOTS];
    struct member disturbs;
    w = (struct world){.over = 0};
    for (unsigned i = 0; i < LOOPS * SLOTS; i++)
        CHECK(thrum_queue_create(
                  &w.slots[i].arrivals,
                  &(thrum_queue_config_t){.item_size = sizeof(int), .capacity = 2}) == 0);
    team_start(loops, LOOPS, run_loop, &w, until);
    team_start(calls, LOOPS * SLOTS, call, &w, until);
    team_start(&disturbs, 1, disturb_all, &w, until);
    team_join(calls, LOOPS * SLOTS);
    team_join(loops, LOOPS);
    thi_store_release(&w.over, 1u);
    team_join(&disturbs, 1);
    for (unsigned i = 0; i < LOOPS * SLOTS; i++)
        thrum_queue_destroy(w.slots[i].arrivals);
}

static const struct stress_case cases[] = {
    {"streams that are disturbed", streams_that_are_disturbed},
};

STRESS_MAIN(cases)
