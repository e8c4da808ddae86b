/*
 * Something of all that coroutines do, in a second: what has to work however the library was compiled, and
 * what tools that watch memory have to find nothing in.
 */
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

/* --- resume, yield, switch ----------------------------------------------------------------------------- */

/* More in its hands than there are registers, across each yield. */
static int accumulate(void *arg, void **result)
{
    long a = 1, b = 2, c = 3, d = 4, e = 5, f = 6, g = 7, h = 8;
    double x = 0.5, y = 0.25, z = 0.125;
    for (int i = 0; i < *(int *)arg; i++) {
        const long *got = thrum_coro_yield(&a);
        CHECK(got != NULL);
        a += *got, b += a, c ^= b, d += c, e ^= d, f += e, g ^= f, h += g;
        x += 0.5, y += x, z += y;
    }
    static long sum;
    sum = a + b + c + d + e + f + g + h + (long)(x + y + z);
    *result = &sum;
    return 7;
}

static long accumulated(int n)
{
    long a = 1, b = 2, c = 3, d = 4, e = 5, f = 6, g = 7, h = 8;
    double x = 0.5, y = 0.25, z = 0.125;
    for (int i = 0; i < n; i++) {
        a += i, b += a, c ^= b, d += c, e ^= d, f += e, g ^= f, h += g;
        x += 0.5, y += x, z += y;
    }
    return a + b + c + d + e + f + g + h + (long)(x + y + z);
}

static void registers_are_kept(void)
{
    int n = 20;
    void *value = NULL;
    thrum_coro_t *co = NULL;
    CHECK(thrum_coro_create(&co, accumulate, &n, NULL) == 0);
    CHECK(thrum_coro_resume(co, NULL, &value) == 0);
    int err = 0;
    for (long i = 0; err == 0; i++) {
        errno = 1234;
        err = thrum_coro_resume(co, &i, &value);
        CHECK(errno == 1234);
    }
    CHECK(err == ENODATA && thrum_coro_done(co));
    CHECK(thrum_coro_result(co, &value) == 7 && *(long *)value == accumulated(n));
    thrum_coro_release(co);
}

static int deep(int levels)
{
    volatile char room[200];
    memset((char *)(uintptr_t)room, levels & 0x7f, sizeof room);
    if (levels % 10 == 0)
        thrum_coro_yield(NULL);
    const int below = levels > 0 ? deep(levels - 1) : 0;
    CHECK(room[0] == (levels & 0x7f) && room[199] == room[0]);
    return below + 1;
}

static int go_deep(void *arg, void **result)
{
    (void)arg, (void)result;
    return deep(100);
}

static void stacks_are_kept(void)
{
    thrum_coro_t *cos[8];
    int left = 8;
    for (int i = 0; i < 8; i++) {
        thrum_coro_config_t config = THRUM_CORO_CONFIG_INIT;
        config.stack_size = (size_t)(i % 3) * 100000;
        CHECK(thrum_coro_create(&cos[i], go_deep, NULL, &config) == 0);
    }
    while (left != 0) {
        left = 0;
        for (int i = 0; i < 8; i++)
            left += thrum_coro_resume(cos[i], NULL, NULL) == 0;
    }
    for (int i = 0; i < 8; i++) {
        CHECK(thrum_coro_result(cos[i], NULL) == 101);
        CHECK(thrum_coro_stack_used(cos[i]) > 0);
        thrum_coro_release(cos[i]);
    }
}

static thrum_coro_t *ping, *pong, *home;

static int play(void *arg, void **result)
{
    thrum_coro_t **other = arg;
    void *ball = NULL;
    int hits = 0;
    while (hits < 100 && !thrum_cancelled()) {
        hits++;
        CHECK(thrum_coro_switch(*other, &hits, &ball) == 0);
    }
    if (thrum_cancelled()) {
        thrum_coro_switch(home, NULL, NULL);
        check_failed("it has ended", __FILE__, __LINE__);
    }
    *result = ball;
    return hits;
}

static void switches(void)
{
    void *ball = NULL;
    home = thrum_coro_current();
    CHECK(home != NULL);
    CHECK(thrum_coro_create(&ping, play, &pong, NULL) == 0);
    CHECK(thrum_coro_create(&pong, play, &ping, NULL) == 0);
    CHECK(thrum_coro_switch(ping, NULL, &ball) == 0);
    CHECK(thrum_coro_result(ping, NULL) == 100 && *(int *)ball == 100);
    thrum_coro_release(pong); /* in a switch: it is unwound */
    thrum_coro_release(ping);
}

static int deferred;

static void count_one(void *arg)
{
    deferred += *(int *)arg;
}

static int suspend_for_ever(void *arg, void **result)
{
    (void)result;
    CHECK(thrum_defer(count_one, arg) == 0);
    CHECK(thrum_coro_yield(NULL) == NULL);
    CHECK(thrum_cancelled());
    thrum_coro_yield(NULL);
    check_failed("it has ended", __FILE__, __LINE__);
    return 0;
}

static void unwinding(void)
{
    int one = 1;
    for (int i = 0; i < 10; i++) {
        thrum_coro_t *co = NULL;
        CHECK(thrum_coro_create(&co, suspend_for_ever, &one, NULL) == 0);
        CHECK(thrum_coro_resume(co, NULL, NULL) == 0);
        thrum_coro_release(co);
    }
    CHECK(deferred == 10);
}

/* --- loops --------------------------------------------------------------------------------------------- */

static int produce(void *arg, void **result)
{
    (void)result;
    for (int i = 1; i <= 50; i++) {
        CHECK(thrum_queue_put(arg, &i) == 0);
        if (i % 10 == 0)
            thrum_yield();
    }
    return 0;
}

static int consume(void *arg, void **result)
{
    int item = 0;
    int sum = 0;
    (void)result;
    while (thrum_queue_get(arg, &item) == 0)
        sum += item;
    return sum;
}

static void queues(void)
{
    thrum_queue_t *q = NULL;
    thrum_queue_config_t config = THRUM_QUEUE_CONFIG_INIT;
    config.capacity = 4;
    config.item_size = sizeof(int);
    CHECK(thrum_queue_create(&q, &config) == 0);
    thrum_coro_t *from[2], *to[2];
    for (int i = 0; i < 2; i++) {
        CHECK(thrum_go(&from[i], produce, q) == 0);
        CHECK(thrum_go(&to[i], consume, q) == 0);
    }
    CHECK(thrum_coro_join_all(from, 2, THRUM_FOREVER) == 0);
    CHECK(thrum_queue_close(q) == 0);
    CHECK(thrum_coro_join(to[0], NULL) + thrum_coro_join(to[1], NULL) == 2 * 50 * 51 / 2);
    for (int i = 0; i < 2; i++) {
        thrum_coro_release(from[i]);
        thrum_coro_release(to[i]);
    }
    thrum_queue_destroy(q);
}

static int echo(void *arg, void **result)
{
    const int fd = *(int *)arg;
    char buf[16];
    size_t n = 0;
    (void)result;
    int err = 0;
    while ((err = thrum_io_read(fd, buf, sizeof buf, &n, THRUM_FOREVER)) == 0 && n != 0)
        CHECK(thrum_io_write_full(fd, buf, n, NULL, THRUM_FOREVER) == 0);
    return err;
}

static void sockets(void)
{
    int fds[2];
    char got[64] = "";
    size_t n = 0;
    thrum_coro_t *server = NULL;
    const char said[] = "what is said comes back in pieces";
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    CHECK(thrum_go(&server, echo, &fds[1]) == 0);
    for (int i = 0; i < 5; i++) {
        CHECK(thrum_io_write_full(fds[0], said, sizeof said, NULL, THRUM_FOREVER) == 0);
        CHECK(thrum_io_read_full(fds[0], got, sizeof said, &n, THRUM_FOREVER) == 0);
        CHECK(n == sizeof said && memcmp(got, said, n) == 0);
    }
    CHECK(thrum_io_read(fds[0], got, 1, &n, thrum_after(THRUM_MS(1))) == ETIMEDOUT);
    CHECK(thrum_io_close(fds[0]) == 0);
    CHECK(thrum_coro_join(server, NULL) == 0);
    CHECK(thrum_io_close(fds[1]) == 0);
    thrum_coro_release(server);
}

static thrum_mutex_t lock = THRUM_MUTEX_INIT;
static thrum_cond_t changed = THRUM_COND_INIT;
static int turns;

static int take_turns(void *arg, void **result)
{
    const int mine = *(int *)arg;
    (void)result;
    for (int i = 0; i < 10; i++) {
        thrum_mutex_lock(&lock);
        while (turns % 3 != mine)
            CHECK(thrum_cond_wait(&changed, &lock) == 0);
        turns++;
        thrum_cond_broadcast(&changed);
        CHECK(thrum_mutex_unlock(&lock) == 0);
    }
    return 0;
}

static void locks(void)
{
    static int numbers[3] = {0, 1, 2};
    thrum_coro_t *cos[3];
    for (int i = 0; i < 3; i++)
        CHECK(thrum_go(&cos[i], take_turns, &numbers[i]) == 0);
    CHECK(thrum_coro_join_all(cos, 3, THRUM_FOREVER) == 0 && turns == 30);
    for (int i = 0; i < 3; i++)
        thrum_coro_release(cos[i]);
}

static int sleep_long(void *arg, void **result)
{
    (void)arg, (void)result;
    return thrum_sleep(THRUM_S(3600));
}

static void cancellation(void)
{
    thrum_coro_t *co = NULL;
    CHECK(thrum_go(&co, sleep_long, NULL) == 0);
    CHECK(thrum_coro_join_until(co, NULL, thrum_after(THRUM_MS(1))) == ETIMEDOUT);
    CHECK(thrum_coro_cancel(co) == 0 && thrum_coro_join(co, NULL) == ECANCELED);
    thrum_coro_release(co);
}

static int on_thread(void *arg, void **result)
{
    const struct timespec some = {0, 1000000};
    *result = arg;
    return nanosleep(&some, NULL);
}

static int double_it(void *arg, void **result)
{
    int *n = arg;
    *n *= 2;
    *result = n;
    return thrum_sleep(THRUM_US(10));
}

static void elsewhere(thrum_executor_t *pool)
{
    thrum_executor_t *own = thrum_loop_executor(thrum_loop_current());
    thrum_future_t *fs[20];
    int n[20];
    void *value = NULL;
    CHECK(thrum_blocking(on_thread, &value, &value) == 0 && value == &value);
    for (int i = 0; i < 20; i++) {
        n[i] = i;
        CHECK(thrum_executor_submit(i % 2 == 0 ? own : pool, double_it, &n[i], &fs[i]) == 0);
    }
    for (int i = 0; i < 20; i++) {
        CHECK(thrum_future_result(fs[i], &value) == 0 && *(int *)value == 2 * i);
        thrum_future_release(fs[i]);
    }
}

static int number(void *arg, void **result)
{
    (void)result;
    thrum_coro_yield(arg);
    return 0;
}

/* Coroutines that come and go, for stacks that are used again. */
static void many(void)
{
    for (int round = 0; round < 20; round++) {
        thrum_coro_t *cos[50];
        for (int i = 0; i < 50; i++)
            CHECK(thrum_go(&cos[i], number, NULL) == 0);
        CHECK(thrum_coro_join_all(cos, 50, THRUM_FOREVER) == 0);
        for (int i = 0; i < 50; i++)
            thrum_coro_release(cos[i]);
    }
}

static int all_of_it(void *arg, void **result)
{
    registers_are_kept(); /* by hand, in a coroutine of a loop */
    stacks_are_kept();
    queues();
    sockets();
    locks();
    cancellation();
    elsewhere(arg);
    many();
    *result = &lock;
    return 5;
}

static int run_a_loop(void *arg, void **result)
{
    (void)result;
    void *value = NULL;
    turns = 0;
    CHECK(thrum_run(all_of_it, arg, &value) == 5 && value == &lock);
    return 0;
}

/* A loop that another thread gives coroutines, and stops. */
static int feed(void *arg, void **result)
{
    (void)result;
    for (int i = 0; i < 20; i++)
        CHECK(thrum_loop_go(arg, NULL, number, NULL, NULL) == 0);
    thrum_loop_stop(arg);
    return 0;
}

static void fed_from_outside(void)
{
    thrum_loop_t *loop = NULL;
    thrum_loop_config_t config = THRUM_LOOP_CONFIG_INIT;
    thrum_thread_t *thread = NULL;
    config.policy = THRUM_FEEDBACK;
    CHECK(thrum_loop_create(&loop, &config) == 0);
    CHECK(thrum_loop_go(loop, NULL, sleep_long, NULL, NULL) == 0);
    CHECK(thrum_thread_spawn(&thread, feed, loop, NULL) == 0);
    CHECK(thrum_loop_run(loop) == ECANCELED);
    CHECK(thrum_thread_join(thread, NULL) == 0);
    thrum_thread_release(thread);
    thrum_loop_destroy(loop); /* with one that sleeps */
}

int main(void)
{
    thrum_executor_t *pool = NULL;
    thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
    thrum_thread_t *thread = NULL;
    registers_are_kept();
    stacks_are_kept();
    switches();
    unwinding();
    config.workers = 2;
    CHECK(thrum_thread_pool_create(&pool, &config) == 0);
    CHECK(run_a_loop(pool, NULL) == 0);
    CHECK(thrum_thread_spawn(&thread, run_a_loop, pool, NULL) == 0);
    CHECK(thrum_thread_join(thread, NULL) == 0);
    thrum_thread_release(thread);
    thrum_executor_destroy(pool);
    fed_from_outside();
    puts("coroutines: ok");
    return 0;
}
