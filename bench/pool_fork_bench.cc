/*
 * Tasks that submit tasks: fork and join, and a tree that nobody waits for but at its end.
 */
#include "pool_peers.h"

using namespace bench;

namespace
{

constexpr const char *topic = "pool_fork";

/* ---- fork and join: one of the two halves is a task, the other a call ---- */

std::uint64_t fibonacci(int n)
{
    std::uint64_t a = 0;
    for (std::uint64_t b = 1; n > 0; n--)
        a = std::exchange(b, a + b);
    return a;
}

class ThrumFib
{
  public:
    static constexpr const char *name = "thrum";

    ThrumFib() = default;
    ~ThrumFib() { thrum_executor_destroy(pool); }
    ThrumFib(const ThrumFib &) = delete;
    ThrumFib &operator=(const ThrumFib &) = delete;
    std::uint64_t operator()(int n)
    {
        Call call = {pool, n, 0};
        thrum_group_t group = THRUM_GROUP_INIT(pool);
        must(thrum_group_spawn(&group, fib, &call) == 0);
        must(thrum_group_wait(&group) == 0);
        return call.result;
    }

  private:
    struct Call {
        thrum_executor_t *pool;
        int n;
        std::uint64_t result;
    };

    static int fib(void *argument, void **)
    {
        Call &me = *static_cast<Call *>(argument);
        if (me.n < 2) {
            me.result = static_cast<std::uint64_t>(me.n);
            return 0;
        }
        Call left = {me.pool, me.n - 1, 0};
        Call right = {me.pool, me.n - 2, 0};
        thrum_group_t group = THRUM_GROUP_INIT(me.pool);
        must(thrum_group_spawn(&group, fib, &left) == 0);
        fib(&right, nullptr);
        must(thrum_group_wait(&group) == 0);
        me.result = left.result + right.result;
        return 0;
    }

    thrum_executor_t *pool = make_thrum_pool();
};

#if BENCH_HAVE_TBB
class TbbFib
{
  public:
    static constexpr const char *name = "tbb";
    static constexpr unsigned marks = waiter_works;

    std::uint64_t operator()(int n) { return fib(n); }

  private:
    static std::uint64_t fib(int n)
    {
        if (n < 2)
            return static_cast<std::uint64_t>(n);
        std::uint64_t left = 0;
        oneapi::tbb::task_group group;
        group.run([&left, n] { left = fib(n - 1); });
        const std::uint64_t right = fib(n - 2);
        group.wait();
        return left + right;
    }

    TbbThreads threads{pool_workers};
};
#else
using TbbFib = Absent;
#endif

#if BENCH_HAVE_OPENMP
class OpenmpFib
{
  public:
    static constexpr const char *name = "openmp";
    static constexpr unsigned marks = waiter_works | runs_inline;

    std::uint64_t operator()(int n)
    {
        std::uint64_t result = 0;
#pragma omp parallel num_threads(pool_workers)
#pragma omp single
        result = fib(n);
        return result;
    }

  private:
    static std::uint64_t fib(int n)
    {
        if (n < 2)
            return static_cast<std::uint64_t>(n);
        std::uint64_t left = 0;
#pragma omp task shared(left) firstprivate(n)
        left = fib(n - 1);
        const std::uint64_t right = fib(n - 2);
#pragma omp taskwait
        return left + right;
    }

    OpenmpThreads threads;
};
#else
using OpenmpFib = Absent;
#endif

/* The recursion itself, by one thread. */
class FloorFib
{
  public:
    static constexpr const char *name = "floor_recursion";

    std::uint64_t operator()(int n) { return fib(n); }

  private:
    __attribute__((noinline)) static std::uint64_t fib(int n)
    {
        return n < 2 ? static_cast<std::uint64_t>(n) : fib(n - 1) + fib(n - 2);
    }
};

/* Milliseconds; the median of what fits into the window. It lies if the pool is not up yet (it is given
 * time, and one run that does not count); the result is checked. */
template <class Fib> void fork_and_join(benchmark::State &state)
{
    for (auto _ : state) {
        Fib fib;
        bool right = true;
        auto once = [&] {
            int n = options.fib;
            benchmark::DoNotOptimize(n); /* not known beforehand */
            right = fib(n) == fibonacci(n) && right;
        };
        sleep_ms(settle_ms);
        once();
        const double ms = median_ms(options.window_ms, once);
        state.SetIterationTime(ms * 1e-3);
        state.counters["ms"] = ms;
        if (!right)
            state.SkipWithError("the result is wrong");
    }
    mark<Fib>(state);
}

/* No raw pthreads among them: a task that waits for a task keeps its worker, and a thread for each call
 * takes four seconds. */
void add_fib()
{
    const Workload w = {topic, "pool_fib_27", pool_workers,
                        "Fork and join: fib(27), a task for one half of each call, 317810 in all."};
    for_each(Types<ThrumFib, TbbFib, OpenmpFib, FloorFib>(), [&](auto tag) {
        using Fib = typename decltype(tag)::type;
        add_window(w, Fib::name, fork_and_join<Fib>);
    });
}

/* ---- a tree ---- */

/* For pools whose own way of waiting does not wait for what tasks submit: the last leaf says so. */
class LastLeaf
{
  public:
    explicit LastLeaf(std::uint64_t leaves) : left(leaves) {}
    void count()
    {
        if (left.fetch_sub(1) == 1) {
            std::lock_guard<std::mutex> held(mutex);
            reached = true;
            cond.notify_one();
        }
    }
    void wait()
    {
        std::unique_lock<std::mutex> held(mutex);
        cond.wait(held, [this] { return reached; });
    }

  private:
    alignas(apart) std::atomic<std::uint64_t> left;
    std::mutex mutex;
    std::condition_variable cond;
    bool reached = false;
};

LastLeaf *last_leaf;

/* The argument is the height above the leaves, and one more since it may not be null. */
template <bool leaves_count> struct Node {
    template <class Pool> static void run(Pool &pool, void *argument)
    {
        const std::uint64_t height = as_number(argument) - 1;
        own_tally.add();
        if (height > 0) {
            pool.submit(as_item(height));
            pool.submit(as_item(height));
        } else if (leaves_count) {
            last_leaf->count();
        }
    }
};

struct ThrumLeaves : ThrumPool<Node<true>> {
    static constexpr bool leaves_count = true;
};

#if BENCH_HAVE_GLIB
struct GlibLeaves : GlibPool<Node<true>> {
    static constexpr bool leaves_count = true;
};
#else
using GlibLeaves = Absent;
#endif

template <class Pool, class = void> constexpr bool leaves_count = false;
template <class Pool>
constexpr bool leaves_count<Pool, std::void_t<decltype(Pool::leaves_count)>> = Pool::leaves_count;

template <class Pool> double ms_for_tree(int height)
{
    Pool pool;
    LastLeaf last(std::uint64_t{1} << height);
    last_leaf = &last;
    sleep_ms(settle_ms);
    const std::int64_t begin = now_ns();
    submit_and_finish(pool, [&] {
        pool.submit(as_item(static_cast<std::uint64_t>(height) + 1));
        if constexpr (leaves_count<Pool>)
            last.wait();
    });
    return static_cast<double>(now_ns() - begin) * 1e-6;
}

/* Milliseconds from the submit of the root until all tasks have ended; once in each round. It lies if
 * tasks get lost (they count themselves), or if the pool is not up yet (it is given time, and a smaller
 * tree goes before). */
template <class Pool> void grow_tree(benchmark::State &state)
{
    for (auto _ : state) {
        const int height = options.tree;
        ms_for_tree<Pool>(std::max(height - 4, 1));
        const std::uint64_t before = Tally::total();
        const double ms = ms_for_tree<Pool>(height);
        state.SetIterationTime(ms * 1e-3);
        state.counters["ms"] = ms;
        if (Tally::total() - before != (std::uint64_t{2} << height) - 1)
            state.SkipWithError("not every task has run once");
    }
    mark<Pool>(state);
}

void add_tree()
{
    const Workload w = {topic, "pool_tree_20", pool_workers,
                        "A binary tree with 2^20 leaves, a task for each node that submits its "
                        "children's, until all have ended. thrum and glib: the last leaf says so."};
    for_each(Types<ThrumLeaves, Baseline<PthreadPool<Node<false>, Signals::after>>,
                   PthreadPool<Node<false>, Signals::inside>, TbbPool<Node<false>>, GlibLeaves,
                   AsioPool<Node<false>>, OpenmpPool<Node<false>>>(),
             [&](auto tag) {
                 using Pool = typename decltype(tag)::type;
                 add_window(w, Pool::name, grow_tree<Pool>);
             });
    const Workload grouped = {topic, "pool_tree_20_group", pool_workers,
                              "The same, all tasks in one group that is waited for."};
    for_each(Types<ThrumGroup<Node<false>>, Baseline<PthreadPool<Node<false>, Signals::after>>,
                   TbbPool<Node<false>>>(),
             [&](auto tag) {
                 using Pool = typename decltype(tag)::type;
                 add_window(grouped, Pool::name, grow_tree<Pool>);
             });
}

} // namespace

int main(int argc, char **argv)
{
    add_fib();
    add_tree();
    return run(argc, argv, Process::with_second_thread);
}
