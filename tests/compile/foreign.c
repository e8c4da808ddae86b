/*
 * What depends on the processor, the C library and the way in which stacks are switched: that a switch
 * keeps what a call has to keep, on every side of it. For compilers whose programs the unit tests cannot be
 * linked to (foreign.sh).
 */
#include <errno.h>
#include <fenv.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <thrum/thrum.h>

#define ROUNDS 1000

static void check(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "FAILED: %s\n", what);
        exit(1);
    }
}

/* ---- what is in registers ---- */

/* More values than there are registers that a call keeps, of both kinds, alive across every yield. */
static int mix(void *arg, void **result)
{
    const uint64_t seed = (uintptr_t)arg;
    uint64_t a = seed, b = seed + 1, c = seed + 2, d = seed + 3, e = seed + 4, f = seed + 5;
    uint64_t g = seed + 6, h = seed + 7, i = seed + 8, j = seed + 9, k = seed + 10, l = seed + 11;
    double p = 1, q = 2, r = 3, s = 4, t = 5, u = 6, v = 7, w = 8, x = (double)seed, y = 10;
    for (int round = 0; round < ROUNDS; round++) {
        thrum_coro_yield(NULL);
        a += b, b += c, c += d, d += e, e += f, f += g;
        g += h, h += i, i += j, j += k, k += l, l += 1;
        p += q, q += r, r += s, s += t, t += u, u += v, v += w, w += x, x += y, y += 1;
    }
    uint64_t *sums = *result = malloc(2 * sizeof *sums);
    check(sums != NULL, "memory");
    sums[0] = a ^ b ^ c ^ d ^ e ^ f ^ g ^ h ^ i ^ j ^ k ^ l;
    sums[1] = (uint64_t)((p + q + r + s + t) / 1e15) + (uint64_t)(u + v + w + x + y);
    return 0;
}

/* In plain code a yield returns at once: nothing is switched. */
static uint64_t *mixed_in_plain_code(uintptr_t seed)
{
    void *sums = NULL;
    check(mix((void *)seed, &sums) == 0, "mix");
    return sums;
}

static void registers_are_kept(void)
{
    thrum_coro_t *one = NULL, *two = NULL;
    check(thrum_coro_create(&one, mix, (void *)(uintptr_t)100, NULL) == 0, "create");
    check(thrum_coro_create(&two, mix, (void *)(uintptr_t)77, NULL) == 0, "create");
    for (int round = 0; round < ROUNDS; round++)
        check(thrum_coro_resume(one, NULL, NULL) == 0 && thrum_coro_resume(two, NULL, NULL) == 0,
              "resume");
    check(thrum_coro_resume(one, NULL, NULL) == ENODATA, "the end of one");
    check(thrum_coro_resume(two, NULL, NULL) == ENODATA, "the end of the other");
    thrum_coro_t *const cos[] = {one, two};
    const uintptr_t seeds[] = {100, 77};
    for (int n = 0; n < 2; n++) {
        void *sums = NULL;
        uint64_t *expected = mixed_in_plain_code(seeds[n]);
        check(thrum_coro_result(cos[n], &sums) == 0, "result");
        check(((uint64_t *)sums)[0] == expected[0], "integers in registers");
        check(((uint64_t *)sums)[1] == expected[1], "floating-point numbers in registers");
        free(expected);
        free(sums);
        thrum_coro_release(cos[n]);
    }
}

/* ---- the control words of floating point ---- */

/* With them, not only in them. */
static bool rounds(int mode)
{
    volatile double one = 1, three = 3;
    const double third = one / three; /* the nearest lies below */
    const double minus = -one / three;
    const bool up = third != -minus && minus == -0x1.5555555555555p-2;
    return fegetround() == mode && up == (mode == FE_UPWARD);
}

static int round_up(void *arg, void **result)
{
    (void)arg;
    (void)result;
    check(rounds(FE_TONEAREST), "a coroutine begins with the rounding of its creator");
    check(fesetround(FE_UPWARD) == 0, "fesetround");
    for (int i = 0; i < 10; i++) {
        thrum_coro_yield(NULL);
        check(rounds(FE_UPWARD), "the rounding of a coroutine is kept");
    }
    return 0;
}

static void control_words_are_kept(void)
{
    thrum_coro_t *co = NULL;
    check(thrum_coro_create(&co, round_up, NULL, NULL) == 0, "create");
    while (thrum_coro_resume(co, NULL, NULL) == 0)
        check(rounds(FE_TONEAREST), "the rounding of the thread is kept");
    check(rounds(FE_TONEAREST), "the rounding of the thread is kept over an end");
    thrum_coro_release(co);
}

/* ---- switches ---- */

struct player {
    thrum_coro_t *self;
    thrum_coro_t *other;
};

static int play(void *arg, void **result)
{
    const struct player *me = arg;
    static intptr_t hits;
    void *ball = NULL;
    while (++hits < ROUNDS) {
        check(thrum_coro_switch(me->other, (void *)hits, &ball) == 0, "switch");
        check((intptr_t)ball == hits, "what a switch sends is received");
    }
    *result = (void *)hits;
    return 0;
}

static void switches(void)
{
    struct player ping = {NULL, NULL};
    struct player pong = {NULL, NULL};
    void *hits = NULL;
    check(thrum_coro_create(&ping.self, play, &ping, NULL) == 0, "create");
    check(thrum_coro_create(&pong.self, play, &pong, NULL) == 0, "create");
    ping.other = pong.self;
    pong.other = ping.self;
    check(thrum_coro_switch(ping.self, NULL, &hits) == 0, "switch");
    check((intptr_t)hits >= ROUNDS, "an end gives its result to whoever had started the game");
    thrum_coro_release(pong.self);
    thrum_coro_release(ping.self);
}

static int never_ends(void *arg, void **result)
{
    (void)result;
    while (!thrum_cancelled())
        thrum_coro_yield(NULL);
    *(bool *)arg = true;
    return 0;
}

static void unwinds(void)
{
    bool unwound = false;
    thrum_coro_t *co = NULL;
    check(thrum_coro_create(&co, never_ends, &unwound, NULL) == 0, "create");
    check(thrum_coro_resume(co, NULL, NULL) == 0, "resume");
    thrum_coro_release(co);
    check(unwound, "a release unwinds");
}

/* ---- a loop, its queues, other threads, descriptors ---- */

struct lines {
    thrum_queue_t *there;
    thrum_queue_t *back;
};

static int echo(void *arg, void **result)
{
    const struct lines *lines = arg;
    int item = 0;
    (void)result;
    while (thrum_queue_get(lines->there, &item) == 0)
        check(thrum_queue_put(lines->back, &item) == 0, "put");
    return 0;
}

static int sleep_a_little(void *arg, void **result)
{
    (void)arg;
    (void)result;
    return thrum_sleep(THRUM_MS(2));
}

static int call_after_a_while(void *arg, void **result)
{
    (void)result;
    check(thrum_sleep(THRUM_MS(2)) == 0, "sleep");
    thrum_event_set(arg);
    return 0;
}

static thrum_queue_t *make_queue(void)
{
    thrum_queue_config_t config = THRUM_QUEUE_CONFIG_INIT;
    thrum_queue_t *queue = NULL;
    config.item_size = sizeof(int);
    config.capacity = 1;
    check(thrum_queue_create(&queue, &config) == 0, "queue");
    return queue;
}

static void echoes(struct lines *lines)
{
    for (int i = 0; i < ROUNDS; i++) {
        int item = -1;
        check(thrum_queue_put(lines->there, &i) == 0, "put");
        check(thrum_queue_get(lines->back, &item) == 0 && item == i, "get");
    }
}

static void threads(struct lines *lines)
{
    thrum_thread_t *thread = NULL;
    thrum_event_t called = THRUM_EVENT_INIT;
    check(thrum_thread_spawn(&thread, echo, lines, NULL) == 0, "thread");
    echoes(lines);
    thrum_queue_close(lines->there);
    check(thrum_thread_join(thread, NULL) == 0, "a coroutine joins a thread");
    thrum_thread_release(thread);

    check(thrum_blocking(call_after_a_while, &called, NULL) == 0, "blocking call");
    check(thrum_event_wait(&called) == 0, "event");
}

static int say(void *arg, void **result)
{
    size_t n = 0;
    (void)result;
    return thrum_io_write(*(const int *)arg, "word", 4, &n, THRUM_FOREVER);
}

static void descriptors(void)
{
    int ends[2] = {-1, -1};
    char word[8];
    size_t n = 0;
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
    check(thrum_io_read(ends[0], word, sizeof word, &n, thrum_after(THRUM_MS(2))) == ETIMEDOUT,
          "a read that gives up");
    check(thrum_go(NULL, say, &ends[1]) == 0, "go");
    check(thrum_io_read(ends[0], word, sizeof word, &n, THRUM_FOREVER) == 0 && n == 4, "read");
    check(thrum_io_close(ends[0]) == 0 && thrum_io_close(ends[1]) == 0, "close");
}

static int in_loop(void *arg, void **result)
{
    struct lines lines = {make_queue(), make_queue()};
    thrum_coro_t *co[10];
    (void)arg;
    check(thrum_go(&co[0], echo, &lines) == 0, "go");
    for (int i = 1; i < 10; i++)
        check(thrum_go(&co[i], sleep_a_little, NULL) == 0, "go");
    echoes(&lines);
    thrum_queue_close(lines.there);
    check(thrum_coro_join_all(co, 10, THRUM_FOREVER) == 0, "join");
    for (int i = 0; i < 10; i++)
        thrum_coro_release(co[i]);
    thrum_queue_destroy(lines.there);
    lines.there = make_queue();
    threads(&lines);
    descriptors();
    thrum_queue_destroy(lines.there);
    thrum_queue_destroy(lines.back);
    *result = "done";
    return 42;
}

/* ---- locks of several processes: the C library's ---- */

static int lock_and_yield(void *arg, void **result)
{
    (void)result;
    check(thrum_shared_mutex_lock(arg) == 0, "a lock in a coroutine");
    thrum_coro_yield(NULL);
    return thrum_shared_mutex_unlock(arg);
}

static int lock_once(void *arg, void **result)
{
    (void)result;
    check(thrum_shared_mutex_lock(arg) == 0, "a lock that waits");
    return thrum_shared_mutex_unlock(arg);
}

/* Whoever would wait for its own coroutine is told so, also when somebody else waits for that already. */
static void deadlocks(void)
{
    static thrum_shared_mutex_t mutex;
    thrum_thread_t *thread = NULL;
    thrum_coro_t *co = NULL;
    const int err = thrum_shared_mutex_init(&mutex);
    if (err == ENOSYS)
        return;
    check(err == 0, "a mutex");
    check(thrum_coro_create(&co, lock_and_yield, &mutex, NULL) == 0, "create");
    check(thrum_coro_resume(co, NULL, NULL) == 0, "resume");
    check(thrum_shared_mutex_lock(&mutex) == EDEADLK, "a deadlock");
    check(thrum_thread_spawn(&thread, lock_once, &mutex, NULL) == 0, "thread");
    check(thrum_sleep(THRUM_MS(20)) == 0, "sleep"); /* mostly it waits by then */
    check(thrum_shared_mutex_lock(&mutex) == EDEADLK, "a deadlock in line");
    check(thrum_shared_mutex_lock_until(&mutex, 1) == EDEADLK, "a deadlock, or a deadline");
    check(thrum_coro_resume(co, NULL, NULL) == ENODATA, "the end of who had it");
    check(thrum_thread_join(thread, NULL) == 0, "join");
    thrum_thread_release(thread);
    thrum_coro_release(co);
}

int main(void)
{
    deadlocks();
    registers_are_kept();
    control_words_are_kept();
    switches();
    unwinds();
    void *result = NULL;
    check(thrum_run(in_loop, NULL, &result) == 42 && result != NULL, "run");
    return 0;
}
