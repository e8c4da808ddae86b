/*
 * What every benchmark program stands on: lists of adapters, names that the report understands, a
 * calibrated piece of work, pinning, and a window of free-running threads.
 *
 * A benchmark is registered once per adapter as topic/workload/threads/adapter. bench/drive.py runs
 * the programs and reads the names apart again; what it takes as the result is a counter that
 * METRICS in bench/results.py knows, or else the time of one iteration.
 */
#ifndef THRUM_BENCH_HARNESS_H
#define THRUM_BENCH_HARNESS_H

#include <benchmark/benchmark.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace bench
{

/* Two cache lines: neighbouring lines are fetched in pairs. */
constexpr std::size_t apart = 128;

/* How long the workloads with a window of their own last; command line flags of the same names. */
struct Options {
    int contended_ms = 400; /* --contended_ms: one window of threads that want the same lock */
    int window_ms = 200;    /* --window_ms: any other window */
    int idle_ms = 1000;     /* --idle_ms: how long the parked threads are watched */
    int wake_rounds = 300;  /* --wake_rounds: rounds of which the median is taken */
    int items = 4000000;    /* --items: how many go through a queue */
    int unbounded_items = 10000000; /* --unbounded_items: how many one has to hold */
    int tasks = 1000000;            /* --tasks: how many go to a pool */
    int fib = 27;                   /* --fib: which Fibonacci number is forked and joined */
    int tree = 20;                  /* --tree: how deep a tree of tasks is */
    int elements = 10000000;        /* --elements: how many a loop and a map have */
    int parked = 100000;            /* --parked: how many coroutines wait */
    int sleepers = 1000000;         /* --sleepers: how many sleep */
    int server_ms = 2000;           /* --server_ms: how long a server is asked */
    int idle_connections = 10000;   /* --idle_connections: how many it has that say nothing */
};
extern Options options;

/* Programs differ in this: glibc leaves out atomic operations while a process has one thread. */
enum class Process { with_second_thread, single_threaded };

/* The rest of main() once the benchmarks are registered. */
int run(int argc, char **argv, Process process);

/* Starts a thread that sleeps until the process ends. */
void keep_second_thread();

/* Stands in a list for an adapter whose library was not found at configure time. */
struct Absent {};

template <class... Adapter> struct Types {
};

template <class T> struct Tag {
    using type = T;
};

/* Calls f(Tag<T>()) for every T of the list that is there. */
template <class... T, class F> void for_each(Types<T...>, F f)
{
    auto one = [&](auto tag) {
        if constexpr (!std::is_same_v<typename decltype(tag)::type, Absent>)
            f(tag);
    };
    (one(Tag<T>{}), ...);
}

/* What a workload is called, and for the report: what it measures, and what would make it lie. */
struct Workload {
    std::string topic;
    std::string name;
    int threads;
    std::string about;
};

template <class Body>
benchmark::internal::Benchmark *add(const Workload &w, const char *adapter, Body body)
{
    std::string name = w.topic + "/" + w.name + "/" + std::to_string(w.threads) + "/" + adapter;
    return benchmark::RegisterBenchmark(name.c_str(),
                                        [about = w.about, body](benchmark::State &state) {
                                            body(state);
                                            state.SetLabel(about);
                                        });
}

/* For bodies that measure a window of their own and report counters. */
template <class Body> void add_window(const Workload &w, const char *adapter, Body body)
{
    add(w, adapter, body)->Iterations(1)->UseManualTime();
}

/* What an adapter cannot do, or does differently: `static constexpr unsigned marks` in it. The report
 * says so beside its figures; MARKS in bench/results.py knows the counters. */
enum Mark : unsigned {
    polls = 1,         /* cannot sleep: who has to wait keeps a processor busy */
    no_close = 2,      /* cannot be closed */
    no_bound = 4,      /* puts never wait, however full it is */
    per_producer = 8,  /* the order of different producers' items may change */
    one_each = 16,     /* one producer and one consumer only */
    waiter_works = 32, /* the thread that waits is one of the two that work */
    runs_inline = 64,  /* a task runs at once in its submitter when many are queued */
};

template <class Adapter, class = void> constexpr unsigned marks_of = 0;
template <class Adapter>
constexpr unsigned marks_of<Adapter, std::void_t<decltype(Adapter::marks)>> = Adapter::marks;

template <class Adapter> void mark(benchmark::State &state)
{
    constexpr std::pair<unsigned, const char *> counters[] = {{polls, "polls"},
                                                              {no_close, "no_close"},
                                                              {no_bound, "no_bound"},
                                                              {per_producer, "per_producer"},
                                                              {one_each, "one_each"},
                                                              {waiter_works, "waiter_works"},
                                                              {runs_inline, "runs_inline"}};
    for (const auto &[bit, name] : counters)
        if ((marks_of<Adapter> & bit) != 0)
            state.counters[name] = 1;
}

inline std::int64_t now_ns()
{
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return std::int64_t{t.tv_sec} * 1000000000 + t.tv_nsec;
}

void sleep_ms(int ms);

/* Processor time that the process has used, in microseconds. */
double processor_us();

double median(std::vector<double> &values);

inline void cpu_relax()
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* The machinery may not fail quietly: a benchmark whose threads did not start measures nothing. */
inline void must(bool ok)
{
    if (!ok)
        std::abort();
}

/* Work that neither the compiler nor the processor can shorten: each step needs the one before. */
inline std::uint64_t work(std::uint64_t x, int steps)
{
    for (int i = 0; i < steps; i++)
        x = x * 6364136223846793005u + 1442695040888963407u;
    return x;
}

/* How many steps of work() take about `ns` nanoseconds on this machine, undisturbed. */
int steps_for(double ns);

/* The processors that this process may use. */
std::vector<int> processors();

/* Keeps the calling thread on one processor while it lives; -1 leaves it free. */
class Pinned
{
  public:
    explicit Pinned(int cpu);
    ~Pinned();
    Pinned(const Pinned &) = delete;
    Pinned &operator=(const Pinned &) = delete;

  private:
    bool pinned;
    cpu_set_t before;
};

/* One thread of a window. Padded, so that counting disturbs nobody. */
struct alignas(apart) Worker {
    std::uint64_t ops = 0;
    std::uint64_t own = 1; /* what work() outside the lock works on */
    std::int64_t longest_wait_ns = 0;
    int index = 0;
};

struct Window {
    double seconds = 0;
    std::vector<Worker> workers;

    std::uint64_t ops() const;
    double mops() const;
    double luckiest_by_unluckiest() const;
    double longest_wait_us() const;
};

/* Lets unpinned threads call turn(worker) over and over for so long. Every thread runs free until
 * the end: a fixed number of turns for each would hide who gets how many. */
template <class Turn> Window run_window(int threads, int ms, Turn turn)
{
    struct {
        alignas(apart) std::atomic<bool> over{false};
        alignas(apart) pthread_barrier_t start;
    } shared;
    Window window;
    std::vector<std::thread> pool;

    window.workers.resize(static_cast<std::size_t>(threads));
    must(pthread_barrier_init(&shared.start, nullptr, static_cast<unsigned>(threads) + 1) == 0);
    for (int i = 0; i < threads; i++) {
        Worker &worker = window.workers[static_cast<std::size_t>(i)];
        worker.index = i;
        pool.emplace_back([&shared, &worker, turn] {
            pthread_barrier_wait(&shared.start);
            while (!shared.over.load(std::memory_order_relaxed)) {
                turn(worker);
                worker.ops++;
            }
        });
    }
    pthread_barrier_wait(&shared.start);
    std::int64_t begin = now_ns();
    sleep_ms(ms);
    shared.over.store(true, std::memory_order_relaxed);
    window.seconds = static_cast<double>(now_ns() - begin) * 1e-9;
    for (std::thread &thread : pool)
        thread.join();
    pthread_barrier_destroy(&shared.start);
    return window;
}

} // namespace bench

#endif /* THRUM_BENCH_HARNESS_H */
