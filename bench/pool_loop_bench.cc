/*
 * Loops in parallel, ten million calls through a map, and a pool that has nothing to do.
 */
#include <cstdio>
#include <memory>

#include "pool_peers.h"
#if BENCH_HAVE_TBB
#include <tbb/parallel_for.h>
#endif

using namespace bench;

namespace
{

/* ---- raw pthreads: two threads that were started before, half of the range each ---- */

class TwoHalves
{
  public:
    TwoHalves()
    {
        must(pthread_barrier_init(&begin, nullptr, pool_workers + 1) == 0);
        must(pthread_barrier_init(&end, nullptr, pool_workers + 1) == 0);
        for (int i = 0; i < pool_workers; i++)
            threads.emplace_back([this, i] { work(static_cast<std::size_t>(i)); });
    }
    ~TwoHalves()
    {
        over = true;
        pthread_barrier_wait(&begin);
        for (std::thread &thread : threads)
            thread.join();
        pthread_barrier_destroy(&begin);
        pthread_barrier_destroy(&end);
    }
    TwoHalves(const TwoHalves &) = delete;
    TwoHalves &operator=(const TwoHalves &) = delete;
    void run(std::size_t n_, void (*fn_)(std::size_t, std::size_t, void *), void *argument_)
    {
        n = n_;
        fn = fn_;
        argument = argument_;
        pthread_barrier_wait(&begin);
        pthread_barrier_wait(&end);
    }

  private:
    void work(std::size_t i)
    {
        for (;;) {
            pthread_barrier_wait(&begin);
            if (over)
                return;
            fn(n * i / pool_workers, n * (i + 1) / pool_workers, argument);
            pthread_barrier_wait(&end);
        }
    }

    pthread_barrier_t begin;
    pthread_barrier_t end;
    std::vector<std::thread> threads;
    bool over = false;
    std::size_t n = 0;
    void (*fn)(std::size_t, std::size_t, void *) = nullptr;
    void *argument = nullptr;
};

/* ---- saxpy ---- */

struct Vectors {
    float a;
    std::vector<float> x;
    std::vector<float> y;
};

/* One for all: no library's loop shall be compiled better than another's. */
__attribute__((noinline)) void saxpy(std::size_t begin, std::size_t end, Vectors &v)
{
    const float a = v.a;
    const float *__restrict x = v.x.data();
    float *__restrict y = v.y.data();
    for (std::size_t i = begin; i < end; i++)
        y[i] += a * x[i];
}

struct ThrumLoop {
    static constexpr const char *name = "thrum";

    ThrumLoop() = default;
    ~ThrumLoop() { thrum_executor_destroy(pool); }
    ThrumLoop(const ThrumLoop &) = delete;
    ThrumLoop &operator=(const ThrumLoop &) = delete;
    void run(Vectors &v)
    {
        auto piece = [](std::size_t begin, std::size_t end, void *argument) {
            saxpy(begin, end, *static_cast<Vectors *>(argument));
            return 0;
        };
        must(thrum_parallel_for(pool, 0, v.y.size(), 0, piece, &v) == 0);
    }

    thrum_executor_t *pool = make_thrum_pool();
};

struct PthreadLoop {
    static constexpr const char *name = "pthreads";

    void run(Vectors &v)
    {
        auto half = [](std::size_t begin, std::size_t end, void *argument) {
            saxpy(begin, end, *static_cast<Vectors *>(argument));
        };
        halves.run(v.y.size(), half, &v);
    }

    TwoHalves halves;
};

#if BENCH_HAVE_TBB
struct TbbLoop {
    static constexpr const char *name = "tbb";
    static constexpr unsigned marks = waiter_works;

    void run(Vectors &v)
    {
        using Range = oneapi::tbb::blocked_range<std::size_t>;
        oneapi::tbb::parallel_for(Range(0, v.y.size()),
                                  [&](const Range &r) { saxpy(r.begin(), r.end(), v); });
    }

    TbbThreads threads{pool_workers};
};
#else
using TbbLoop = Absent;
#endif

#if BENCH_HAVE_OPENMP
struct OpenmpLoop {
    static constexpr const char *name = "openmp";
    static constexpr unsigned marks = waiter_works;

    /* As `parallel for` shares a range out; the loop itself is the others'. */
    void run(Vectors &v)
    {
        const std::size_t n = v.y.size();
#pragma omp parallel for num_threads(pool_workers) schedule(static)
        for (std::size_t i = 0; i < static_cast<std::size_t>(pool_workers); i++)
            saxpy(n * i / pool_workers, n * (i + 1) / pool_workers, v);
    }

    OpenmpThreads threads;
};
#else
using OpenmpLoop = Absent;
#endif

/* Milliseconds for y += a * x; the median of what fits into the window. It lies if the vectors are in a
 * cache (they are 80 MB), or if pages are touched for the first time; each element is checked. */
template <class Loop> void add_vectors(benchmark::State &state)
{
    for (auto _ : state) {
        const auto n = static_cast<std::size_t>(options.elements);
        Vectors v = {1, std::vector<float>(n, 1), std::vector<float>(n, 0)};
        float runs = 0;
        Loop loop;
        auto once = [&] {
            loop.run(v);
            runs++;
        };
        sleep_ms(settle_ms);
        once();
        const double ms = median_ms(options.window_ms, once);
        state.SetIterationTime(ms * 1e-3);
        state.counters["ms"] = ms;
        if (std::count(v.y.begin(), v.y.end(), runs) != static_cast<std::ptrdiff_t>(n))
            state.SkipWithError("an element was left out, or taken twice");
    }
    mark<Loop>(state);
}

void add_saxpy()
{
    const Workload w = {"pool_loop", "pool_saxpy", pool_workers,
                        "y += a * x for ten million floats, the grain chosen by the library. "
                        "pthreads: two threads that were started before, half of it each."};
    for_each(Types<ThrumLoop, PthreadLoop, TbbLoop, OpenmpLoop>(), [&](auto tag) {
        using Loop = typename decltype(tag)::type;
        add_window(w, Loop::name, add_vectors<Loop>);
    });
}

/* ---- map ---- */

struct Calls {
    std::vector<void *> arguments;
    std::vector<void *> results;
    std::vector<int> status;
};

__attribute__((noinline)) int call(void *argument, void **result)
{
    *result = argument;
    return 0;
}

struct ThrumMap {
    static constexpr const char *name = "thrum";

    ThrumMap() = default;
    ~ThrumMap() { thrum_executor_destroy(pool); }
    ThrumMap(const ThrumMap &) = delete;
    ThrumMap &operator=(const ThrumMap &) = delete;
    void run(Calls &calls, std::size_t n)
    {
        must(thrum_executor_map(pool, call, calls.arguments.data(), calls.results.data(),
                                calls.status.data(), n, 0, THRUM_FOREVER) == 0);
    }

    thrum_executor_t *pool = make_thrum_pool();
};

struct FloorMap {
    static constexpr const char *name = "floor_static_split";

    void run(Calls &calls, std::size_t n)
    {
        auto half = [](std::size_t begin, std::size_t end, void *argument) {
            Calls &c = *static_cast<Calls *>(argument);
            int (*volatile not_known)(void *, void **) = call;
            auto fn = not_known;
            for (std::size_t i = begin; i < end; i++)
                c.status[i] = fn(c.arguments[i], &c.results[i]);
        };
        halves.run(n, half, &calls);
    }

    TwoHalves halves;
};

/* The resident memory's highest mark since forget_peak(); where that cannot be forgotten, since the
 * process began, which is no less. */
void forget_peak()
{
    FILE *file = std::fopen("/proc/self/clear_refs", "we");
    if (file == nullptr)
        return;
    std::fputs("5", file);
    std::fclose(file);
}

double status_kib(const char *format)
{
    char line[256];
    unsigned long long kib = 0;
    FILE *file = std::fopen("/proc/self/status", "re");
    bool found = false;
    must(file != nullptr);
    while (!found && std::fgets(line, sizeof line, file) != nullptr)
        found = std::sscanf(line, format, &kib) == 1;
    std::fclose(file);
    must(found);
    return static_cast<double>(kib);
}

/* Nanoseconds a call, and by how much the process was larger meanwhile than before, at most. It lies if
 * the arrays' pages are counted (they have been written to before), or if the pool's first tasks are (it
 * has mapped a hundredth of the calls). */
template <class Map> void map_calls(benchmark::State &state)
{
    for (auto _ : state) {
        const auto n = static_cast<std::size_t>(options.elements);
        Calls calls = {std::vector<void *>(n), std::vector<void *>(n, &calls),
                       std::vector<int>(n, -1)};
        for (std::size_t i = 0; i < n; i++)
            calls.arguments[i] = as_item(i + 1);
        Map map;
        sleep_ms(settle_ms);
        map.run(calls, n / 100);
        forget_peak();
        const double before = status_kib("VmRSS: %llu kB");
        const std::int64_t begin = now_ns();
        map.run(calls, n);
        const std::int64_t ns = now_ns() - begin;
        const double growth = status_kib("VmHWM: %llu kB") - before;
        state.SetIterationTime(static_cast<double>(ns) * 1e-9);
        state.counters["ns_per_task"] = static_cast<double>(ns) / static_cast<double>(n);
        state.counters["growth_kib"] = std::max(growth, 0.0);
        if (calls.results != calls.arguments || std::count(calls.status.begin(), calls.status.end(),
                                                           0) != static_cast<std::ptrdiff_t>(n))
            state.SkipWithError("a call was left out");
    }
}

void add_map()
{
    const Workload w = {
        "pool_map", "pool_map_10m", pool_workers,
        "Ten million calls of a function that returns its argument, through one map, "
        "chunks chosen by the library; and by how much resident memory grew. The "
        "floor: two threads, half of the calls each."};
    for_each(Types<ThrumMap, FloorMap>(), [&](auto tag) {
        using Map = typename decltype(tag)::type;
        add_window(w, Map::name, map_calls<Map>);
    });
}

/* ---- nothing ---- */

/* Microseconds of processor time per second while a pool has nothing to do. It lies if its threads have
 * never had a task (they have had some), if they have not settled yet (they are given 50 ms), or if this
 * thread does anything but sleep meanwhile. */
template <class Pool> void do_nothing(benchmark::State &state)
{
    for (auto _ : state) {
        Pool pool;
        const std::uint64_t before_tasks = Tally::total();
        for (int i = 0; i < 1000; i++)
            pool.submit(as_item(1));
        sleep_ms(50);
        const double seconds = options.idle_ms * 1e-3;
        const double before = processor_us();
        sleep_ms(options.idle_ms);
        const double used = processor_us() - before;
        state.SetIterationTime(seconds);
        state.counters["processor_us"] = used / seconds;
        pool.finish();
        if (Tally::total() - before_tasks != 1000)
            state.SkipWithError("not every task has run once");
    }
}

void add_idle()
{
    const Workload w = {
        "idle", "pool_idle", pool_workers,
        "Processor time per second of a process with a pool that has nothing to do."};
    for_each(
        Types<ThrumPool<Empty>, Baseline<PthreadPool<Empty, Signals::after>>, TbbArena<Empty>>(),
        [&](auto tag) {
            using Pool = typename decltype(tag)::type;
            add_window(w, Pool::name, do_nothing<Pool>);
        });
}

} // namespace

int main(int argc, char **argv)
{
    add_saxpy();
    add_map();
    add_idle();
    return run(argc, argv, Process::with_second_thread);
}
