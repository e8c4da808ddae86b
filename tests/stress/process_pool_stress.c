/*
 * A process pool whose processes are shot at: every task ends exactly once, right or with ECHILD, and none runs
 * twice. Several threads submit, wait, cancel and kill; one kills workers, and now and then the spawner.
 *
 * What the workers do is not under the sanitizer's eye: they are processes. The parent's side is.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <thrum/thrum.h>

#include "stress/stress.h"

enum { SUBMITTERS = 3, WORKERS = 3, BATCH = 40, PLACES = SUBMITTERS * BATCH };

struct shared {
    uint32_t ran[PLACES];
    int32_t workers[64];
    int32_t spawner;
};

static struct shared *shared;
static thrum_executor_t *pool;
static uint32_t stop;
static uint64_t ended;
static uint64_t lost;

static int begin(void *ctx)
{
    (void)ctx;
    __atomic_store_n(&shared->workers[thrum_process_pool_worker() % 64], (int32_t)getpid(),
                     __ATOMIC_RELEASE);
    __atomic_store_n(&shared->spawner, (int32_t)getppid(), __ATOMIC_RELEASE);
    return 0;
}

static int count(void *arg, void **result)
{
    const uint32_t before = __atomic_fetch_add((uint32_t *)arg, 1u, __ATOMIC_ACQ_REL);
    *result = arg;
    return before == 0 ? 0 : EEXIST; /* a second time */
}

static int large(const void *in, size_t size, thrum_reply_t *reply)
{
    uint32_t *ran = *(uint32_t *const *)in;
    void *unused = NULL;
    const int err = count(ran, &unused);
    return err != 0 ? err : thrum_reply(reply, in, size);
}

static void called(thrum_future_t *f, void *arg)
{
    CHECK(thrum_future_done(f));
    __atomic_fetch_add((uint32_t *)arg, 1u, __ATOMIC_ACQ_REL);
}

static void end_one(thrum_future_t *f, uint32_t *ran, bool bytes, size_t size)
{
    const void *data = NULL;
    void *value = NULL;
    size_t got = 0;
    const int status = bytes ? thrum_future_bytes(f, &data, &got) : thrum_future_result(f, &value);
    const uint32_t n = __atomic_load_n(ran, __ATOMIC_ACQUIRE);
    CHECK(status == 0 || status == ECHILD || status == ECANCELED);
    CHECK(status == 0 ? n == 1 : n <= 1);
    CHECK(status != ECANCELED || n == 0);
    CHECK(status != 0 || (bytes ? got == size : value == ran));
    __atomic_fetch_add(&ended, 1u, __ATOMIC_RELAXED);
    __atomic_fetch_add(&lost, status == ECHILD, __ATOMIC_RELAXED);
    thrum_future_release(f);
}

static void round_of(uint32_t *ran, unsigned *seed)
{
    static _Thread_local unsigned char in[50000];
    thrum_future_t *f[BATCH];
    size_t sizes[BATCH];
    uint32_t callbacks = 0;
    for (int i = 0; i < BATCH; i++) {
        uint32_t *mine = &ran[i];
        __atomic_store_n(mine, 0u, __ATOMIC_RELEASE);
        sizes[i] = i % 3 == 0 ? 8 : i % 3 == 1 ? 0 : (size_t)rand_r(seed) % 40000 + 8;
        memcpy(in, &mine, sizeof mine);
        const int err = sizes[i] != 0
                            ? thrum_executor_submit_bytes(pool, large, in, sizes[i], &f[i])
                            : thrum_executor_submit(pool, count, mine, &f[i]);
        CHECK(err == 0);
        CHECK(thrum_future_add_done_callback(f[i], called, &callbacks) == 0);
    }
    (void)thrum_future_cancel(f[rand_r(seed) % BATCH]);
    (void)thrum_future_kill(f[rand_r(seed) % BATCH]);
    for (int i = 0; i < BATCH; i++)
        end_one(f[i], &ran[i], sizes[i] != 0, sizes[i]);
    while (__atomic_load_n(&callbacks, __ATOMIC_ACQUIRE) != BATCH)
        sched_yield();
    watchdog_progress();
}

static void *submitter(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg + 1;
    while (__atomic_load_n(&stop, __ATOMIC_RELAXED) == 0)
        round_of(&shared->ran[(uintptr_t)arg * BATCH], &seed);
    return NULL;
}

/* They are this pool's own: the number of one that has ended is not another's so soon. */
static void *killer(void *arg)
{
    unsigned seed = 77;
    (void)arg;
    for (unsigned n = 0; __atomic_load_n(&stop, __ATOMIC_RELAXED) == 0; n++) {
        const struct timespec nap = {0, 5000000};
        nanosleep(&nap, NULL);
        int32_t *victim =
            n % 50 == 49 ? &shared->spawner : &shared->workers[rand_r(&seed) % WORKERS];
        const int32_t pid = __atomic_exchange_n(victim, 0, __ATOMIC_ACQ_REL);
        if (pid > 1)
            kill(pid, SIGKILL);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    const unsigned seconds = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 2;
    pthread_t threads[SUBMITTERS + 1];
    watchdog_start();
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    thrum_process_pool_config_t config = THRUM_PROCESS_POOL_CONFIG_INIT;
    config.workers = WORKERS;
    config.init = begin;
    config.max_tasks_per_worker = 5000;
    CHECK(thrum_process_pool_create(&pool, &config) == 0);
    for (uintptr_t i = 0; i < SUBMITTERS; i++)
        CHECK(pthread_create(&threads[i], NULL, submitter, (void *)i) == 0);
    CHECK(pthread_create(&threads[SUBMITTERS], NULL, killer, NULL) == 0);
    sleep(seconds);
    __atomic_store_n(&stop, 1u, __ATOMIC_RELAXED);
    for (int i = 0; i <= SUBMITTERS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    thrum_executor_destroy(pool);
    printf("%llu tasks, %llu lost with their workers\n", (unsigned long long)ended,
           (unsigned long long)lost);
    return stress_failures != 0;
}
