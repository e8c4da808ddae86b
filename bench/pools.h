/*
 * Adapters: pools of two workers. A pool runs one kind of work: Work::run(pool, argument) for every
 * submit(argument), which is never null. finish() returns when all that was submitted has ended, by the
 * library's own way of waiting; nothing is submitted after it.
 */
#ifndef THRUM_BENCH_POOLS_H
#define THRUM_BENCH_POOLS_H

#include <thrum/thread_pool.h>

#include <mutex>

#include "mutex_queues.h"

namespace bench
{

constexpr int pool_workers = 2;

/* ---- tasks are counted ---- */

/* How many tasks each thread has run; what threads leave behind when they end. Costs a nanosecond or
 * two a task, and disturbs no other thread. */
class Tally
{
  public:
    Tally();
    ~Tally();
    Tally(const Tally &) = delete;
    Tally &operator=(const Tally &) = delete;
    void add() { mine.store(mine.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed); }

    /* Of all threads; exact once the tasks are known to have ended. */
    static std::uint64_t total()
    {
        std::lock_guard<std::mutex> held(mutex);
        std::uint64_t sum = left_behind;
        for (const Tally *tally = first; tally != nullptr; tally = tally->next)
            sum += tally->mine.load(std::memory_order_relaxed);
        return sum;
    }

  private:
    static inline std::mutex mutex;
    static inline Tally *first = nullptr;
    static inline std::uint64_t left_behind = 0;

    alignas(apart) std::atomic<std::uint64_t> mine{0};
    Tally *next = nullptr;
    Tally *previous = nullptr;
};

inline Tally::Tally()
{
    std::lock_guard<std::mutex> held(mutex);
    next = first;
    if (first != nullptr)
        first->previous = this;
    first = this;
}

inline Tally::~Tally()
{
    std::lock_guard<std::mutex> held(mutex);
    left_behind += mine.load(std::memory_order_relaxed);
    (previous != nullptr ? previous->next : first) = next;
    if (next != nullptr)
        next->previous = previous;
}

inline thread_local Tally own_tally;

/* A task that does nothing but count itself. */
struct Empty {
    template <class Pool> static void run(Pool &, void *) { own_tally.add(); }
};

/* ---- thrum ---- */

inline thrum_executor_t *make_thrum_pool()
{
    thrum_thread_pool_config_t config = THRUM_THREAD_POOL_CONFIG_INIT;
    thrum_executor_t *pool = nullptr;
    config.workers = pool_workers;
    must(thrum_thread_pool_create(&pool, &config) == 0);
    return pool;
}

template <class Work> class ThrumPool
{
  public:
    static constexpr const char *name = "thrum";

    ThrumPool() { here = this; }
    ~ThrumPool() { thrum_executor_destroy(pool); }
    ThrumPool(const ThrumPool &) = delete;
    ThrumPool &operator=(const ThrumPool &) = delete;
    void submit(void *argument) { must(thrum_executor_submit(pool, task, argument, nullptr) == 0); }
    void finish() { must(thrum_executor_shutdown(pool, THRUM_WAIT) == 0); }

  private:
    static int task(void *argument, void **)
    {
        Work::run(*here, argument);
        return 0;
    }

    static inline ThrumPool *here = nullptr;
    thrum_executor_t *pool = make_thrum_pool();
};

/* What is submitted belongs to a group, and its tasks may submit too. */
template <class Work> class ThrumGroup
{
  public:
    static constexpr const char *name = "thrum";

    ThrumGroup() { here = this; }
    ~ThrumGroup() { thrum_executor_destroy(pool); }
    ThrumGroup(const ThrumGroup &) = delete;
    ThrumGroup &operator=(const ThrumGroup &) = delete;
    void submit(void *argument) { must(thrum_group_spawn(&group, task, argument) == 0); }
    void finish() { must(thrum_group_wait(&group) == 0); }

  private:
    static int task(void *argument, void **)
    {
        Work::run(*here, argument);
        return 0;
    }

    static inline ThrumGroup *here = nullptr;
    thrum_executor_t *pool = make_thrum_pool();
    thrum_group_t group = THRUM_GROUP_INIT(pool);
};

/* ---- raw pthreads ---- */

/* What everybody writes first: a list of tasks from malloc under a mutex, and a condition. */
template <class Work, Signals signals> class PthreadPool
{
  public:
    static constexpr const char *name =
        signals == Signals::inside ? "pthreads_signal_inside" : "pthreads_signal_after";

    PthreadPool()
    {
        for (pthread_t &thread : threads)
            must(pthread_create(&thread, nullptr, work, this) == 0);
    }
    ~PthreadPool()
    {
        pthread_mutex_lock(&mutex);
        closed = true;
        pthread_mutex_unlock(&mutex);
        pthread_cond_broadcast(&some);
        for (pthread_t thread : threads)
            pthread_join(thread, nullptr);
        pthread_cond_destroy(&some);
        pthread_cond_destroy(&none);
        pthread_mutex_destroy(&mutex);
    }
    PthreadPool(const PthreadPool &) = delete;
    PthreadPool &operator=(const PthreadPool &) = delete;

    void submit(void *argument)
    {
        Task *task = static_cast<Task *>(std::malloc(sizeof *task));
        must(task != nullptr);
        *task = {nullptr, argument};
        pthread_mutex_lock(&mutex);
        *last = task;
        last = &task->next;
        unfinished++;
        if constexpr (signals == Signals::inside)
            pthread_cond_signal(&some);
        pthread_mutex_unlock(&mutex);
        if constexpr (signals == Signals::after)
            pthread_cond_signal(&some);
    }
    void finish()
    {
        pthread_mutex_lock(&mutex);
        while (unfinished != 0)
            pthread_cond_wait(&none, &mutex);
        pthread_mutex_unlock(&mutex);
    }

  private:
    struct Task {
        Task *next;
        void *argument;
    };

    Task *take()
    {
        while (first == nullptr && !closed)
            pthread_cond_wait(&some, &mutex);
        Task *task = first;
        if (task != nullptr)
            first = task->next;
        if (first == nullptr)
            last = &first;
        return task;
    }
    static void *work(void *argument)
    {
        PthreadPool &pool = *static_cast<PthreadPool *>(argument);
        pthread_mutex_lock(&pool.mutex);
        while (Task *task = pool.take()) {
            pthread_mutex_unlock(&pool.mutex);
            Work::run(pool, task->argument);
            std::free(task);
            pthread_mutex_lock(&pool.mutex);
            if (--pool.unfinished == 0)
                pthread_cond_broadcast(&pool.none);
        }
        pthread_mutex_unlock(&pool.mutex);
        return nullptr;
    }

    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t some = PTHREAD_COND_INITIALIZER;
    pthread_cond_t none = PTHREAD_COND_INITIALIZER;
    Task *first = nullptr;
    Task **last = &first;
    std::uint64_t unfinished = 0;
    bool closed = false;
    pthread_t threads[pool_workers];
};

/* A thread for each task, one at a time. */
template <class Work> class CreateJoin
{
  public:
    static constexpr const char *name = "pthreads_create_join";
    static constexpr int fewer = 50; /* it is given so many times fewer tasks */

    void submit(void *argument)
    {
        pthread_t thread;
        must(pthread_create(&thread, nullptr, work, argument) == 0);
        must(pthread_join(thread, nullptr) == 0);
    }
    void finish() {}

  private:
    static void *work(void *argument)
    {
        CreateJoin pool;
        Work::run(pool, argument);
        return nullptr;
    }
};

/* ---- what pools are measured with ---- */

/* Submits with `submit_all`, and returns when all has ended. */
template <class Pool, class SubmitAll> void submit_and_finish(Pool &pool, SubmitAll submit_all)
{
    submit_all();
    pool.finish();
}

template <class Pool, class = void> constexpr int fewer_for = 1;
template <class Pool>
constexpr int fewer_for<Pool, std::void_t<decltype(Pool::fewer)>> = Pool::fewer;

/* New threads have come to rest after this, and what another pool left behind. */
constexpr int settle_ms = 5;

/* Milliseconds of once(), which is called until the time is over; median. */
template <class Once> double median_ms(int ms, Once once)
{
    std::vector<double> times;
    const std::int64_t end = now_ns() + std::int64_t{ms} * 1000000;
    do {
        const std::int64_t begin = now_ns();
        once();
        times.push_back(static_cast<double>(now_ns() - begin) * 1e-6);
    } while (now_ns() < end);
    return median(times);
}

} // namespace bench

#endif /* THRUM_BENCH_POOLS_H */
