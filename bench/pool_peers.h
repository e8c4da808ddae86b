/*
 * Adapters: the pools of other libraries, two workers each. Those that are not installed are Absent.
 */
#ifndef THRUM_BENCH_POOL_PEERS_H
#define THRUM_BENCH_POOL_PEERS_H

#include "pools.h"
#if BENCH_HAVE_TBB
#include <tbb/global_control.h>
#include <tbb/task_arena.h>
#include <tbb/task_group.h>
#endif
#if BENCH_HAVE_UV
#include <uv.h>
#endif
#if BENCH_HAVE_GLIB
#include <glib.h>
#endif
#if BENCH_HAVE_ASIO
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#endif
#if BENCH_HAVE_OPENMP
#include <omp.h>
#endif

namespace bench
{

/* ---- TBB ---- */

#if BENCH_HAVE_TBB
/* How many threads TBB may have working, the submitter counted. */
class TbbThreads
{
  public:
    explicit TbbThreads(std::size_t n)
        : limit(oneapi::tbb::global_control::max_allowed_parallelism, n)
    {
    }

  private:
    oneapi::tbb::global_control limit;
};

template <class Work> class TbbPool
{
  public:
    static constexpr const char *name = "tbb";
    static constexpr unsigned marks = waiter_works;

    void submit(void *argument)
    {
        group.run([this, argument] { Work::run(*this, argument); });
    }
    void finish() { group.wait(); }

  private:
    TbbThreads threads{pool_workers};
    oneapi::tbb::task_group group;
};

/* Workers of its own, none of which is the submitter. */
template <class Work> class TbbArena
{
  public:
    static constexpr const char *name = "tbb_enqueue";

    void submit(void *argument)
    {
        arena.enqueue(group.defer([this, argument] { Work::run(*this, argument); }));
    }
    void finish() { group.wait(); }

  private:
    TbbThreads threads{pool_workers + 1};
    oneapi::tbb::task_arena arena{pool_workers, 0};
    oneapi::tbb::task_group group;
};
#else
template <class Work> using TbbPool = Absent;
template <class Work> using TbbArena = Absent;
#endif

/* ---- libuv: one loop's thread submits, and is told of each end ---- */

#if BENCH_HAVE_UV
template <class Work> class UvPool
{
  public:
    static constexpr const char *name = "uv";

    UvPool()
    {
        setenv("UV_THREADPOOL_SIZE", std::to_string(pool_workers).c_str(),
               1); /* read at first use */
        must(uv_loop_init(&loop) == 0);
        loop.data = this;
    }
    ~UvPool() { must(uv_loop_close(&loop) == 0); }
    UvPool(const UvPool &) = delete;
    UvPool &operator=(const UvPool &) = delete;
    void submit(void *argument)
    {
        uv_work_t *request = static_cast<uv_work_t *>(std::malloc(sizeof *request));
        must(request != nullptr);
        request->data = argument;
        must(uv_queue_work(&loop, request, work, after) == 0);
    }
    void finish() { must(uv_run(&loop, UV_RUN_DEFAULT) == 0); }

  private:
    static void work(uv_work_t *request)
    {
        Work::run(*static_cast<UvPool *>(request->loop->data), request->data);
    }
    static void after(uv_work_t *request, int) { std::free(request); }

    uv_loop_t loop;
};
#else
template <class Work> using UvPool = Absent;
#endif

/* ---- GLib ---- */

#if BENCH_HAVE_GLIB
template <class Work> class GlibPool
{
  public:
    static constexpr const char *name = "glib";

    GlibPool() { must(pool != nullptr); }
    ~GlibPool() { finish(); }
    GlibPool(const GlibPool &) = delete;
    GlibPool &operator=(const GlibPool &) = delete;
    void submit(void *argument) { must(g_thread_pool_push(pool, argument, nullptr) != FALSE); }
    void finish()
    {
        if (pool != nullptr)
            g_thread_pool_free(pool, FALSE, TRUE);
        pool = nullptr;
    }

  private:
    static void work(gpointer argument, gpointer self)
    {
        Work::run(*static_cast<GlibPool *>(self), argument);
    }

    GThreadPool *pool = g_thread_pool_new(work, this, pool_workers, TRUE, nullptr);
};
#else
template <class Work> using GlibPool = Absent;
#endif

/* ---- Boost.Asio ---- */

#if BENCH_HAVE_ASIO
template <class Work> class AsioPool
{
  public:
    static constexpr const char *name = "asio";

    void submit(void *argument)
    {
        boost::asio::post(pool, [this, argument] { Work::run(*this, argument); });
    }
    void finish() { pool.join(); }

  private:
    boost::asio::thread_pool pool{pool_workers};
};
#else
template <class Work> using AsioPool = Absent;
#endif

/* ---- OpenMP: tasks live inside a parallel region ---- */

#if BENCH_HAVE_OPENMP
/* Its threads spin for a while after a region; the next adapter shall not suffer for it. */
struct OpenmpThreads {
    OpenmpThreads() = default;
    OpenmpThreads(const OpenmpThreads &) = delete;
    OpenmpThreads &operator=(const OpenmpThreads &) = delete;
    ~OpenmpThreads() { omp_pause_resource_all(omp_pause_hard); }
};

template <class Work> class OpenmpPool
{
  public:
    static constexpr const char *name = "openmp";
    static constexpr unsigned marks = waiter_works | runs_inline;

    void submit(void *argument)
    {
#pragma omp task firstprivate(argument)
        Work::run(*this, argument);
    }

  private:
    OpenmpThreads threads;
};

template <class Work, class SubmitAll>
void submit_and_finish(OpenmpPool<Work> &, SubmitAll submit_all)
{
#pragma omp parallel num_threads(pool_workers)
#pragma omp single
    submit_all();
}
#else
template <class Work> using OpenmpPool = Absent;
#endif

} // namespace bench

#endif /* THRUM_BENCH_POOL_PEERS_H */
