/*
 * Adapters: pools that give a future for each task. submit(argument) has a worker hand the argument
 * back; result(future) waits for that. Where a library has no future, the one who asked waits for a
 * semaphore (POSIX's) that the task posts: good for one question at a time.
 */
#ifndef THRUM_BENCH_POOL_FUTURES_H
#define THRUM_BENCH_POOL_FUTURES_H

#include <semaphore.h>

#include <future>

#include "pool_peers.h"

namespace bench
{

class ThrumFutures
{
  public:
    static constexpr const char *name = "thrum";
    using Future = thrum_future_t *;

    ThrumFutures() = default;
    ~ThrumFutures() { thrum_executor_destroy(pool); }
    ThrumFutures(const ThrumFutures &) = delete;
    ThrumFutures &operator=(const ThrumFutures &) = delete;
    Future submit(void *argument)
    {
        Future future = nullptr;
        must(thrum_executor_submit(pool, task, argument, &future) == 0);
        return future;
    }
    void *result(Future &future)
    {
        void *value = nullptr;
        must(thrum_future_result(future, &value) == 0);
        thrum_future_release(future);
        return value;
    }

  private:
    static int task(void *argument, void **result)
    {
        own_tally.add();
        *result = argument;
        return 0;
    }

    thrum_executor_t *pool = make_thrum_pool();
};

/* ---- raw pthreads ---- */

/* A result, a mutex and a condition, made for each task. */
class PthreadFuture
{
  public:
    explicit PthreadFuture(void *argument_) : argument(argument_) {}
    ~PthreadFuture()
    {
        pthread_cond_destroy(&ended);
        pthread_mutex_destroy(&mutex);
    }
    PthreadFuture(const PthreadFuture &) = delete;
    PthreadFuture &operator=(const PthreadFuture &) = delete;
    void end()
    {
        pthread_mutex_lock(&mutex);
        value = argument;
        done = true;
        pthread_cond_signal(&ended); /* inside: the waiter frees it */
        pthread_mutex_unlock(&mutex);
    }
    void *wait()
    {
        pthread_mutex_lock(&mutex);
        while (!done)
            pthread_cond_wait(&ended, &mutex);
        pthread_mutex_unlock(&mutex);
        return value;
    }

  private:
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t ended = PTHREAD_COND_INITIALIZER;
    void *argument;
    void *value = nullptr;
    bool done = false;
};

template <Signals signals> class PthreadFutures
{
    struct Work {
        template <class Pool> static void run(Pool &, void *future)
        {
            own_tally.add();
            static_cast<PthreadFuture *>(future)->end();
        }
    };

  public:
    static constexpr const char *name = PthreadPool<Work, signals>::name;
    using Future = PthreadFuture *;

    Future submit(void *argument)
    {
        Future future = new PthreadFuture(argument);
        pool.submit(future);
        return future;
    }
    void *result(Future &future)
    {
        void *value = future->wait();
        delete future;
        return value;
    }

  private:
    PthreadPool<Work, signals> pool;
};

/* A thread for each task. */
struct CreateJoinFutures {
    static constexpr const char *name = "pthreads_create_join";
    using Future = pthread_t;

    static void *task(void *argument)
    {
        own_tally.add();
        return argument;
    }
    Future submit(void *argument)
    {
        Future thread;
        must(pthread_create(&thread, nullptr, task, argument) == 0);
        return thread;
    }
    void *result(Future &thread)
    {
        void *value = nullptr;
        must(pthread_join(thread, &value) == 0);
        return value;
    }
};

/* ---- C++: a thread for each task here too ---- */

struct StdAsync {
    static constexpr const char *name = "std_async";
    using Future = std::future<void *>;

    Future submit(void *argument)
    {
        return std::async(std::launch::async, [argument] {
            own_tally.add();
            return argument;
        });
    }
    void *result(Future &future) { return future.get(); }
};

/* ---- Boost.Asio, with the C++ library's futures ---- */

#if BENCH_HAVE_ASIO
class AsioFutures
{
  public:
    static constexpr const char *name = "asio";
    using Future = std::future<void *>;

    ~AsioFutures() { pool.join(); }
    Future submit(void *argument)
    {
        std::packaged_task<void *()> task([argument] {
            own_tally.add();
            return argument;
        });
        Future future = task.get_future();
        boost::asio::post(pool, std::move(task));
        return future;
    }
    void *result(Future &future) { return future.get(); }

  private:
    boost::asio::thread_pool pool{pool_workers};
};
#else
using AsioFutures = Absent;
#endif

/* ---- those without futures ---- */

template <template <class> class Pool> class WithSemaphore
{
    struct Work {
        template <class Some> static void run(Some &, void *self)
        {
            WithSemaphore &asked = *static_cast<WithSemaphore *>(self);
            own_tally.add();
            asked.value = asked.argument;
            sem_post(&asked.ended);
        }
    };

  public:
    static constexpr const char *name = Pool<Work>::name;
    using Future = int;

    WithSemaphore() { must(sem_init(&ended, 0, 0) == 0); }
    ~WithSemaphore()
    {
        pool.finish();
        sem_destroy(&ended);
    }
    WithSemaphore(const WithSemaphore &) = delete;
    WithSemaphore &operator=(const WithSemaphore &) = delete;
    Future submit(void *argument_)
    {
        argument = argument_;
        pool.submit(this);
        return 0;
    }
    void *result(Future &)
    {
        while (sem_wait(&ended) != 0) {
        }
        return value;
    }

  private:
    sem_t ended;
    void *argument = nullptr;
    void *value = nullptr;
    Pool<Work> pool;
};

#if BENCH_HAVE_TBB
using TbbSemaphore = WithSemaphore<TbbArena>;
#else
using TbbSemaphore = Absent;
#endif
#if BENCH_HAVE_GLIB
using GlibSemaphore = WithSemaphore<GlibPool>;
#else
using GlibSemaphore = Absent;
#endif

/* The loop runs until it has been told of the task's end. */
#if BENCH_HAVE_UV
class UvAnswer
{
    struct Work {
        template <class Pool> static void run(Pool &, void *self)
        {
            UvAnswer &asked = *static_cast<UvAnswer *>(self);
            own_tally.add();
            asked.value = asked.argument;
        }
    };

  public:
    static constexpr const char *name = UvPool<Work>::name;
    using Future = int;

    Future submit(void *argument_)
    {
        argument = argument_;
        pool.submit(this);
        return 0;
    }
    void *result(Future &)
    {
        pool.finish();
        return value;
    }

  private:
    void *argument = nullptr;
    void *value = nullptr;
    UvPool<Work> pool;
};
#else
using UvAnswer = Absent;
#endif

} // namespace bench

#endif /* THRUM_BENCH_POOL_FUTURES_H */
