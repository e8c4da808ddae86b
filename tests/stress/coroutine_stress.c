/*
 * Coroutines of several loops on several threads, and threads, that share what there is to wait on: nothing
 * is lost, nobody is forgotten, whoever is cancelled, joined from elsewhere, or released meanwhile.
 */
#include <sys/socket.h>
#include <unistd.h>

#include "stress/stress.h"

#define LOOPS 3u
#define TINY_NS 50000u

static void count(uint64_t *counter, uint64_t n)
{
    __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

static uint64_t counted(const uint64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/* ------------------------------------------------------------------------------------------------
 * Everything at once: workers lock, pass items, take permits and wait for events, as coroutines of loops
 * and as threads; and are cancelled at any moment.
 */

#define WORKERS 6u
#define THREADS 2u

struct world {
    thrum_mutex_t mutex;
    thrum_sem_t sem;
    thrum_event_t event;
    thrum_cond_t cond;
    thrum_queue_t *queue;
    thrum_time_t until;
    uint64_t plain; /* under the mutex */
    uint64_t locked;
    uint64_t put; /* relaxed, as all that follow */
    uint64_t got;
    uint64_t released;
    uint64_t taken;
    uint64_t cleaned;
    uint64_t deferred;
};

static bool is_fine(int err)
{
    return err == 0 || err == ETIMEDOUT || err == ECANCELED || err == EAGAIN;
}

static void do_lock(struct world *w, struct chance *chance)
{
    const int err = chance_one_in(chance, 2)
                        ? thrum_mutex_lock(&w->mutex)
                        : thrum_mutex_lock_until(&w->mutex, chance_deadline(chance, TINY_NS));
    CHECK(err == 0 || err == ETIMEDOUT);
    if (err != 0)
        return;
    w->plain++;
    if (chance_one_in(chance, 4))
        thrum_yield();
    if (chance_one_in(chance, 8))
        CHECK(
            is_fine(thrum_cond_wait_until(&w->cond, &w->mutex, chance_deadline(chance, TINY_NS))));
    else
        thrum_cond_signal(&w->cond);
    count(&w->locked, 1);
    CHECK(thrum_mutex_unlock(&w->mutex) == 0);
}

static void do_queue(struct world *w, struct chance *chance)
{
    uint64_t item = chance_next(chance);
    const thrum_time_t deadline = chance_deadline(chance, TINY_NS);
    int err = 0;
    if (chance_one_in(chance, 2)) {
        err = thrum_queue_put_until(w->queue, &item, deadline);
        count(&w->put, err == 0);
    } else {
        err = thrum_queue_get_until(w->queue, &item, deadline);
        count(&w->got, err == 0);
    }
    CHECK(is_fine(err));
}

static void do_select(struct world *w, struct chance *chance)
{
    uint64_t in = 1, out = 0;
    thrum_case_t cases[] = {THRUM_CASE_PUT(w->queue, &in), THRUM_CASE_GET(w->queue, &out),
                            THRUM_CASE_SEM(&w->sem), THRUM_CASE_EVENT(&w->event)};
    size_t chosen = 99;
    const int err = thrum_select(cases, 4, chance_deadline(chance, TINY_NS), &chosen);
    CHECK(is_fine(err));
    if (err != 0)
        return;
    count(&w->put, chosen == 0);
    count(&w->got, chosen == 1);
    count(&w->taken, chosen == 2);
}

static void do_sem(struct world *w, struct chance *chance)
{
    if (chance_one_in(chance, 2)) {
        CHECK(thrum_sem_release(&w->sem) == 0);
        count(&w->released, 1);
        return;
    }
    const int err = thrum_sem_acquire_until(&w->sem, chance_deadline(chance, TINY_NS));
    CHECK(is_fine(err));
    count(&w->taken, err == 0);
}

static void do_event(struct world *w, struct chance *chance)
{
    if (chance_one_in(chance, 3))
        thrum_event_set(&w->event);
    else if (chance_one_in(chance, 2))
        thrum_event_clear(&w->event);
    else
        CHECK(is_fine(thrum_event_wait_until(&w->event, chance_deadline(chance, TINY_NS))));
}

static void do_something(struct world *w, struct chance *chance)
{
    void (*const deeds[])(struct world *, struct chance *) = {do_lock, do_queue, do_select, do_sem,
                                                              do_event};
    deeds[chance_below(chance, 5)](w, chance);
    if (chance_one_in(chance, 4))
        thrum_yield();
    if (chance_one_in(chance, 16))
        CHECK(is_fine(thrum_sleep(chance_below(chance, TINY_NS))));
    watchdog_progress();
}

static void clean(void *arg)
{
    struct world *w = arg;
    count(&w->cleaned, 1);
}

/* Until it is cancelled or has done enough. */
static int worker(void *arg, void **result)
{
    struct world *w = arg;
    struct chance chance = chance_begin();
    (void)result;
    if (thrum_defer(clean, w) == 0)
        count(&w->deferred, 1);
    for (unsigned n = 10 + chance_below(&chance, 100); n != 0 && !thrum_cancelled(); n--)
        do_something(w, &chance);
    return thrum_cancelled() ? ECANCELED : 0;
}

static int generate(void *arg, void **result)
{
    struct world *w = arg;
    struct chance chance = chance_begin();
    (void)result;
    if (thrum_defer(clean, w) == 0)
        count(&w->deferred, 1);
    for (unsigned n = 1000; n != 0; n--) { /* it does not get as far */
        do_something(w, &chance);
        thrum_coro_yield(w);
    }
    return 0;
}

/* A generator that is resumed by hand, and unwound. */
static int use_generator(void *arg, void **result)
{
    struct chance chance = chance_begin();
    thrum_coro_t *co = NULL;
    void *got = NULL;
    (void)result;
    if (thrum_coro_create(&co, generate, arg, NULL) != 0)
        return ENOMEM;
    for (unsigned n = chance_below(&chance, 20); n != 0; n--)
        CHECK(thrum_coro_resume(co, NULL, &got) == 0 && got == arg);
    thrum_coro_release(co);
    return 0;
}

/* Spawns workers, cancels some, joins all of them, again and again. */
static int keeper(void *arg, void **result)
{
    struct world *w = arg;
    struct chance chance = chance_begin();
    (void)result;
    while (thrum_now() < w->until) {
        thrum_coro_t *cos[WORKERS];
        for (unsigned i = 0; i < WORKERS; i++)
            CHECK(thrum_go(&cos[i], i == 0 ? use_generator : worker, w) == 0);
        CHECK(is_fine(thrum_sleep(chance_below(&chance, 4 * TINY_NS))));
        for (unsigned i = 0; i < WORKERS; i++) {
            if (chance_one_in(&chance, 3))
                CHECK(thrum_coro_cancel(cos[i]) == 0);
            if (chance_one_in(&chance, 8)) { /* never asked for */
                thrum_coro_release(cos[i]);
                cos[i] = NULL;
            }
        }
        for (unsigned i = 0; i < WORKERS; i++) {
            if (cos[i] != NULL)
                CHECK(is_fine(thrum_coro_join(cos[i], NULL)));
            thrum_coro_release(cos[i]);
        }
        watchdog_progress();
    }
    return 0;
}

static void loop_thread(struct member *self)
{
    CHECK(thrum_run(keeper, self->shared, NULL) == 0);
}

static void plain_thread(struct member *self)
{
    struct world *w = self->shared;
    while (member_goes_on(self))
        do_something(w, &self->chance);
}

static void everything(thrum_time_t until)
{
    struct world w = {.mutex = THRUM_MUTEX_INIT,
                      .sem = THRUM_SEM_INIT(0),
                      .event = THRUM_EVENT_INIT,
                      .cond = THRUM_COND_INIT,
                      .until = until};
    struct member loops[LOOPS];
    struct member threads[THREADS];
    thrum_queue_config_t config = THRUM_QUEUE_CONFIG_INIT;
    uint64_t item = 0;
    config.item_size = sizeof item;
    config.capacity = 4;
    CHECK(thrum_queue_create(&w.queue, &config) == 0);
    team_start(loops, LOOPS, loop_thread, &w, until);
    team_start(threads, THREADS, plain_thread, &w, until);
    team_join(loops, LOOPS);
    team_join(threads, THREADS);
    while (thrum_queue_tryget(w.queue, &item) == 0)
        w.got++;
    while (thrum_sem_tryacquire(&w.sem) == 0)
        w.taken++;
    CHECK(w.put == w.got);
    CHECK(w.released == w.taken);
    CHECK(w.plain == w.locked);
    CHECK(w.cleaned == w.deferred);
    CHECK(!thrum_mutex_locked(&w.mutex));
    thrum_queue_destroy(w.queue);
}

/* ------------------------------------------------------------------------------------------------
 * Threads spawn on others' loops, and cancel, join and release what they have spawned; so records go from
 * thread to thread all the time.
 */

struct hosts {
    thrum_loop_t *loops[LOOPS];
    thrum_sem_t sem;
    uint32_t left;    /* guests that have not left */
    uint32_t hosting; /* hosts that may spawn on the others' loops */
    uint64_t spawned;
    uint64_t ended;
};

static int visitor(void *arg, void **result)
{
    struct hosts *h = arg;
    struct chance chance = chance_begin();
    int err = 0;
    (void)result;
    for (unsigned n = chance_below(&chance, 4); n != 0 && is_fine(err); n--) {
        if (chance_one_in(&chance, 2))
            err = thrum_sem_acquire_until(&h->sem, chance_deadline(&chance, TINY_NS / 10));
        else if (chance_one_in(&chance, 2))
            err = thrum_sem_release(&h->sem);
        else
            thrum_yield();
        CHECK(is_fine(err));
    }
    count(&h->ended, 1);
    watchdog_progress();
    return err;
}

static void spawn_one(struct hosts *h, struct chance *chance)
{
    thrum_coro_t *co = NULL;
    const bool keep = !chance_one_in(chance, 4);
    const int err =
        thrum_loop_go(h->loops[chance_below(chance, LOOPS)], keep ? &co : NULL, visitor, h, NULL);
    CHECK(err == 0);
    count(&h->spawned, err == 0);
    if (co == NULL)
        return;
    if (chance_one_in(chance, 4))
        CHECK(thrum_coro_cancel(co) == 0);
    if (chance_one_in(chance, 4))
        CHECK(is_fine(thrum_coro_join_until(co, NULL, chance_deadline(chance, TINY_NS))));
    else if (chance_one_in(chance, 2))
        CHECK(is_fine(thrum_coro_join(co, NULL)));
    thrum_coro_release(co);
}

static void guest(struct member *self)
{
    struct hosts *h = self->shared;
    while (member_goes_on(self)) {
        spawn_one(h, &self->chance);
        if (chance_one_in(&self->chance, 8))
            CHECK(thrum_sem_release(&h->sem) == 0);
    }
    __atomic_fetch_sub(&h->left, 1u, __ATOMIC_RELEASE);
}

static int await_guests(void *arg, void **result)
{
    struct hosts *h = arg;
    struct chance chance = chance_begin();
    (void)result;
    while (__atomic_load_n(&h->left, __ATOMIC_ACQUIRE) != 0 ||
           counted(&h->ended) != counted(&h->spawned)) {
        if (chance_one_in(&chance, 2))
            spawn_one(h, &chance);
        CHECK(is_fine(thrum_sleep(chance_below(&chance, TINY_NS))));
    }
    return 0;
}

static void host(struct member *self)
{
    struct hosts *h = self->shared;
    thrum_loop_t *loop = h->loops[self->index];
    thrum_coro_t *co = NULL;
    CHECK(thrum_loop_go(loop, &co, await_guests, h, NULL) == 0);
    while (!thrum_coro_done(co)) /* the others stop it now and then */
        CHECK(is_fine(thrum_loop_run(loop)));
    thrum_coro_release(co);
    __atomic_fetch_sub(&h->hosting, 1u, __ATOMIC_RELEASE);
    while (__atomic_load_n(&h->hosting, __ATOMIC_ACQUIRE) != 0 ||
           counted(&h->ended) != counted(&h->spawned)) {
        CHECK(is_fine(thrum_loop_turn(loop)));
        sched_yield();
    }
}

static void stopper(struct member *self)
{
    struct hosts *h = self->shared;
    while (member_goes_on(self)) {
        thrum_loop_stop(h->loops[chance_below(&self->chance, LOOPS)]);
        usleep(chance_below(&self->chance, 300));
    }
}

static void hosts_and_guests(thrum_time_t until)
{
    enum { GUESTS = 3 };
    struct hosts h = {.sem = THRUM_SEM_INIT(0), .left = GUESTS, .hosting = LOOPS};
    struct member hosting[LOOPS];
    struct member guests[GUESTS];
    struct member stops;
    for (unsigned i = 0; i < LOOPS; i++)
        CHECK(thrum_loop_create(&h.loops[i], NULL) == 0);
    team_start(hosting, LOOPS, host, &h, until);
    team_start(guests, GUESTS, guest, &h, until);
    member_start(&stops, stopper, &h, 0, until);
    team_join(guests, GUESTS);
    member_join(&stops);
    team_join(hosting, LOOPS);
    CHECK(h.spawned == h.ended);
    for (unsigned i = 0; i < LOOPS; i++)
        thrum_loop_destroy(h.loops[i]);
}

/* ------------------------------------------------------------------------------------------------
 * Pairs of sockets between loops, and to threads: bytes arrive in order, until one end is closed, from
 * wherever.
 */

#define PAIRS 4u

struct line {
    int fd[2];
    uint64_t sent;
    uint64_t received;
};

struct lines {
    struct line line[PAIRS];
};

static int send_on(void *arg, void **result)
{
    struct line *l = arg;
    struct chance chance = chance_begin();
    unsigned char bytes[300];
    int err = 0;
    (void)result;
    for (unsigned rounds = 200; rounds != 0 && err == 0; rounds--) {
        size_t n = 0;
        const size_t size = 1 + chance_below(&chance, sizeof bytes);
        for (size_t i = 0; i < size; i++)
            bytes[i] = (unsigned char)(l->sent + i);
        err = thrum_io_write_full(l->fd[0], bytes, size, &n, thrum_after(THRUM_MS(1)));
        l->sent += n;
        if (err == ETIMEDOUT)
            err = 0;
        if (chance_one_in(&chance, 8))
            thrum_yield();
        watchdog_progress();
    }
    CHECK(err == 0 || err == ECANCELED || err == EPIPE || err == ECONNRESET);
    return thrum_io_close(l->fd[0]);
}

static int receive_on(void *arg, void **result)
{
    struct line *l = arg;
    struct chance chance = chance_begin();
    unsigned char bytes[200];
    int err = 0;
    size_t n = 1;
    (void)result;
    while ((err == 0 && n != 0) || err == ETIMEDOUT) {
        n = 1;
        err =
            chance_one_in(&chance, 4)
                ? thrum_io_wait(l->fd[1], THRUM_IO_IN, thrum_after(chance_below(&chance, TINY_NS)))
                : thrum_io_read(l->fd[1], bytes, sizeof bytes, &n,
                                thrum_after(chance_below(&chance, 4 * TINY_NS)));
        watchdog_progress();
    }
    CHECK(err == 0 || err == ECANCELED || err == ECONNRESET);
    return thrum_io_close(l->fd[1]);
}

static int check_on(void *arg, void **result)
{
    struct line *l = arg;
    unsigned char bytes[200];
    int err = 0;
    size_t n = 1;
    (void)result;
    while (err == 0 && n != 0) {
        err = thrum_io_read(l->fd[1], bytes, sizeof bytes, &n, THRUM_FOREVER);
        for (size_t i = 0; err == 0 && i < n; i++)
            CHECK(bytes[i] == (unsigned char)(l->received + i));
        l->received += err == 0 ? n : 0;
        watchdog_progress();
    }
    CHECK(err == 0);
    return thrum_io_close(l->fd[1]);
}

static void checker_thread(struct member *self)
{
    CHECK(check_on(self->shared, NULL) == 0);
}

static void checker_loop(struct member *self)
{
    CHECK(thrum_run(check_on, self->shared, NULL) == 0);
}

static int send_on_all(void *arg, void **result)
{
    struct lines *all = arg;
    (void)result;
    for (unsigned i = 0; i < PAIRS; i++)
        CHECK(thrum_go(NULL, send_on, &all->line[i]) == 0);
    /* And one of its own, which is cancelled on both sides. */
    struct line own = {{-1, -1}, 0, 0};
    thrum_coro_t *cos[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, own.fd) == 0);
    CHECK(thrum_go(&cos[0], send_on, &own) == 0);
    CHECK(thrum_go(&cos[1], receive_on, &own) == 0);
    CHECK(is_fine(thrum_sleep(THRUM_US(200))));
    CHECK(thrum_coro_cancel(cos[own.sent % 2]) == 0);
    for (int i = 0; i < 2; i++) {
        CHECK(thrum_coro_join(cos[i], NULL) == 0);
        thrum_coro_release(cos[i]);
    }
    return 0;
}

static void lines_round(void)
{
    struct lines all = {0};
    struct member readers[PAIRS];
    for (unsigned i = 0; i < PAIRS; i++) {
        CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, all.line[i].fd) == 0);
        member_start(&readers[i], i % 2 == 0 ? checker_thread : checker_loop, &all.line[i], i, 0);
    }
    CHECK(thrum_run(send_on_all, &all, NULL) == 0);
    team_join(readers, PAIRS);
    for (unsigned i = 0; i < PAIRS; i++)
        CHECK(all.line[i].sent == all.line[i].received);
}

static void lines_between(thrum_time_t until)
{
    do
        lines_round();
    while (thrum_now() < until);
}

static const struct stress_case cases[] = {
    {"everything", everything},
    {"hosts and guests", hosts_and_guests},
    {"lines between", lines_between},
};

STRESS_MAIN(cases)
