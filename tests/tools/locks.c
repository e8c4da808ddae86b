/*
 * Something of the locks, queues, pools, groups, timers and locals, by threads, in a second.
 */
#include "check.h"

#define THREADS 3
#define ROUNDS 100

static thrum_mutex_t mutex = THRUM_MUTEX_INIT;
static thrum_rwlock_t rwlock = THRUM_RWLOCK_INIT;
static thrum_rlock_t rlock = THRUM_RLOCK_INIT;
static thrum_sem_t sem = THRUM_SEM_INIT(2);
static thrum_cond_t cond = THRUM_COND_INIT;
static thrum_local_t local;
static long counted, guarded, nested, ready;

static void drop(void *value)
{
    free(value);
}

static int lock_all(void *arg, void **result)
{
    (void)arg, (void)result;
    char *mine = malloc(16);
    CHECK(mine != NULL && thrum_local_set(&local, mine) == 0);
    for (int i = 0; i < ROUNDS; i++) {
        thrum_mutex_lock(&mutex);
        counted++;
        CHECK(thrum_mutex_unlock(&mutex) == 0);
        CHECK(thrum_rwlock_wrlock(&rwlock) == 0);
        guarded++;
        CHECK(thrum_rwlock_wrunlock(&rwlock) == 0);
        CHECK(thrum_rwlock_rdlock(&rwlock) == 0);
        CHECK(guarded > 0);
        CHECK(thrum_rwlock_rdunlock(&rwlock) == 0);
        CHECK(thrum_rlock_lock(&rlock) == 0 && thrum_rlock_lock(&rlock) == 0);
        nested++;
        CHECK(thrum_rlock_unlock(&rlock) == 0 && thrum_rlock_unlock(&rlock) == 0);
        CHECK(thrum_sem_acquire(&sem) == 0 && thrum_sem_release(&sem) == 0);
        CHECK(thrum_local_get(&local) == mine);
    }
    thrum_mutex_lock(&mutex);
    ready++;
    thrum_cond_broadcast(&cond);
    while (ready < THREADS)
        CHECK(thrum_cond_wait(&cond, &mutex) == 0);
    return thrum_mutex_unlock(&mutex);
}

static int put_some(void *arg, void **result)
{
    (void)result;
    for (int i = 1; i <= ROUNDS; i++)
        CHECK(thrum_queue_put(arg, &i) == 0);
    return 0;
}

static int get_all(void *arg, void **result)
{
    int item = 0, sum = 0;
    (void)result;
    while (thrum_queue_get(arg, &item) == 0)
        sum += item;
    return sum;
}

static void spawn(thrum_thread_t **threads, int n, thrum_fn fn, void *arg)
{
    for (int i = 0; i < n; i++)
        CHECK(thrum_thread_spawn(&threads[i], fn, arg, NULL) == 0);
}

static int join(thrum_thread_t **threads, int n)
{
    int sum = 0;
    for (int i = 0; i < n; i++) {
        sum += thrum_thread_join(threads[i], NULL);
        thrum_thread_release(threads[i]);
    }
    return sum;
}

static void through_a_queue(size_t capacity)
{
    thrum_thread_t *from[2], *to[2];
    thrum_queue_t *q = NULL;
    thrum_queue_config_t config = THRUM_QUEUE_CONFIG_INIT;
    config.capacity = capacity;
    config.item_size = sizeof(int);
    CHECK(thrum_queue_create(&q, &config) == 0);
    spawn(to, 2, get_all, q);
    spawn(from, 2, put_some, q);
    CHECK(join(from, 2) == 0 && thrum_queue_close(q) == 0);
    CHECK(join(to, 2) == ROUNDS * (ROUNDS + 1));
    thrum_queue_destroy(q);
}

static int add_one(void *arg, void **result)
{
    *result = arg;
    thrum_mutex_lock(&mutex);
    ++*(int *)arg;
    return thrum_mutex_unlock(&mutex);
}

static void tick(thrum_timer_t *t, void *arg)
{
    (void)t;
    CHECK(thrum_sem_release(arg) == 0);
}

static void in_a_pool(void)
{
    thrum_executor_t *pool = NULL;
    thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
    thrum_future_t *fs[ROUNDS];
    int ran = 0;
    config.workers = 2;
    CHECK(thrum_thread_pool_create(&pool, &config) == 0);
    for (int i = 0; i < ROUNDS; i++)
        CHECK(thrum_executor_submit(pool, add_one, &ran, &fs[i]) == 0);
    for (int i = 0; i < ROUNDS; i++) {
        CHECK(thrum_future_result(fs[i], NULL) == 0);
        thrum_future_release(fs[i]);
    }
    thrum_group_t group = THRUM_GROUP_INIT(pool);
    for (int i = 0; i < ROUNDS; i++)
        CHECK(thrum_group_spawn(&group, add_one, &ran) == 0);
    CHECK(thrum_group_wait(&group) == 0 && ran == 2 * ROUNDS);
    thrum_executor_destroy(pool);
}

static void by_timer(void)
{
    thrum_timer_t *timer = NULL;
    thrum_sem_t ticks = THRUM_SEM_INIT(0);
    CHECK(thrum_timer_create(&timer, tick, &ticks) == 0);
    CHECK(thrum_timer_start_periodic(timer, THRUM_MS(1), THRUM_MS(1)) == 0);
    CHECK(thrum_sem_acquire(&ticks) == 0 && thrum_sem_acquire(&ticks) == 0);
    CHECK(thrum_timer_cancel_wait(timer, NULL) == 0);
    thrum_timer_release(timer);
}

int main(void)
{
    thrum_thread_t *threads[THREADS];
    CHECK(thrum_local_init(&local, drop) == 0);
    spawn(threads, THREADS, lock_all, NULL);
    CHECK(join(threads, THREADS) == 0);
    CHECK(counted == THREADS * ROUNDS && guarded == counted && nested == counted);
    thrum_local_destroy(&local);
    through_a_queue(4);
    through_a_queue(0);
    in_a_pool();
    by_timer();
    puts("locks: ok");
    return 0;
}
