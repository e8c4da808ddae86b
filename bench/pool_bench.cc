/*
 * Thread pools of two workers: what a task costs that does nothing, from one submitter and from
 * sixteen, with a future and without; and how long one takes there and back.
 */
#include "carry.h"
#include "pool_futures.h"

using namespace bench;

namespace
{

constexpr const char *topic = "pool";

/* What tasks without a use for it are given. */
void *const something = as_item(1);

/* Says so when tasks got lost or doubled. */
void check_count(benchmark::State &state, std::uint64_t before, std::uint64_t submitted)
{
    if (Tally::total() - before != submitted)
        state.SkipWithError("not every task has run once");
}

void report_tasks(benchmark::State &state, std::int64_t ns, std::uint64_t tasks)
{
    state.SetIterationTime(static_cast<double>(ns) * 1e-9);
    state.counters["ns_per_task"] = static_cast<double>(ns) / static_cast<double>(tasks);
}

template <class Pool> std::uint64_t tasks_for()
{
    return std::max<std::uint64_t>(static_cast<std::uint64_t>(options.tasks / fewer_for<Pool>), 16);
}

/* ---- one submitter ---- */

template <class Pool> std::int64_t submit_and_time(std::uint64_t tasks)
{
    Pool pool;
    sleep_ms(settle_ms);
    const std::int64_t begin = now_ns();
    submit_and_finish(pool, [&] {
        for (std::uint64_t i = 0; i < tasks; i++)
            pool.submit(something);
    });
    return now_ns() - begin;
}

/* Nanoseconds from the first submit until all have ended, for each task. It lies if tasks get lost
 * (they count themselves, which costs every library the same nanosecond or two), if the pool is not up
 * yet, or if memory is new (a tenth of the tasks goes through a pool before). */
template <class Pool> void from_one(benchmark::State &state)
{
    for (auto _ : state) {
        const std::uint64_t tasks = tasks_for<Pool>();
        submit_and_time<Pool>(tasks / 10);
        const std::uint64_t before = Tally::total();
        report_tasks(state, submit_and_time<Pool>(tasks), tasks);
        check_count(state, before, tasks);
    }
    mark<Pool>(state);
}

void add_from_one()
{
    const Workload w = {
        topic, "pool_submit_1m", pool_workers,
        "A million empty tasks (with --quick a hundred thousand) from one submitter "
        "until all have ended, for each; no futures. A thread for each, one at a "
        "time: fewer."};
    for_each(Types<ThrumPool<Empty>, Baseline<PthreadPool<Empty, Signals::after>>,
                   PthreadPool<Empty, Signals::inside>, CreateJoin<Empty>, TbbPool<Empty>,
                   TbbArena<Empty>, UvPool<Empty>, GlibPool<Empty>, AsioPool<Empty>,
                   OpenmpPool<Empty>>(),
             [&](auto tag) {
                 using Pool = typename decltype(tag)::type;
                 add_window(w, Pool::name, from_one<Pool>);
             });
}

void add_group()
{
    const Workload w = {topic, "pool_group_1m", pool_workers,
                        "The same, the tasks belonging to a group that is waited for."};
    for_each(
        Types<ThrumGroup<Empty>, Baseline<PthreadPool<Empty, Signals::after>>, TbbPool<Empty>>(),
        [&](auto tag) {
            using Pool = typename decltype(tag)::type;
            add_window(w, Pool::name, from_one<Pool>);
        });
}

/* ---- with futures ---- */

template <class Pool> std::int64_t ask_and_time(std::uint64_t tasks, bool *right)
{
    Pool pool;
    std::vector<typename Pool::Future> futures;
    std::uint64_t sum = 0;
    futures.reserve(tasks);
    sleep_ms(settle_ms);
    const std::int64_t begin = now_ns();
    for (std::uint64_t i = 1; i <= tasks; i++)
        futures.push_back(pool.submit(as_item(i)));
    for (auto &future : futures)
        sum += as_number(pool.result(future));
    const std::int64_t ns = now_ns() - begin;
    *right = sum == tasks * (tasks + 1) / 2;
    return ns;
}

/* Nanoseconds until the last of the results has been read, for each task: first all are submitted, then
 * all futures are read and freed in order. It lies as above; the results are summed. */
template <class Pool> void with_futures(benchmark::State &state)
{
    for (auto _ : state) {
        const std::uint64_t tasks = tasks_for<Pool>();
        bool right = false;
        ask_and_time<Pool>(tasks / 10, &right);
        const std::uint64_t before = Tally::total();
        report_tasks(state, ask_and_time<Pool>(tasks, &right), tasks);
        check_count(state, before, tasks);
        if (!right)
            state.SkipWithError("a result is wrong");
    }
}

/* A thread for each task cannot be among them: all threads would be alive at once. */
void add_with_futures()
{
    const Workload w = {
        topic, "pool_submit_future_1m", pool_workers,
        "A million tasks (with --quick a hundred thousand), a future each; then the "
        "results are read. pthreads: a mutex and a condition in each future; asio: "
        "std::packaged_task and std::future."};
    for_each(Types<ThrumFutures, Baseline<PthreadFutures<Signals::after>>,
                   PthreadFutures<Signals::inside>, AsioFutures>(),
             [&](auto tag) {
                 using Pool = typename decltype(tag)::type;
                 add_window(w, Pool::name, with_futures<Pool>);
             });
}

/* ---- sixteen submitters ---- */

constexpr int submitters = 16;

template <class Pool> std::int64_t submit_from_many(std::uint64_t each)
{
    Pool pool;
    sleep_ms(settle_ms);
    const std::vector<Carrier> carriers = carry(submitters, [&](int, Carrier &) {
        for (std::uint64_t i = 0; i < each; i++)
            pool.submit(something);
    });
    pool.finish();
    const std::int64_t end = now_ns();
    std::int64_t begin = INT64_MAX;
    for (const Carrier &one : carriers)
        begin = std::min(begin, one.begin);
    return end - begin;
}

/* Nanoseconds from the first submit of the first submitter until all have ended, for each task. It lies
 * as with one submitter. */
template <class Pool> void from_many(benchmark::State &state)
{
    for (auto _ : state) {
        const std::uint64_t each = tasks_for<Pool>() / submitters;
        submit_from_many<Pool>(each / 10);
        const std::uint64_t before = Tally::total();
        report_tasks(state, submit_from_many<Pool>(each), each * submitters);
        check_count(state, before, each * submitters);
    }
}

void add_from_many()
{
    const Workload w = {topic, "pool_submit_16", submitters,
                        "A million empty tasks (with --quick a hundred thousand) from sixteen "
                        "submitters, until all have ended, for each."};
    for_each(Types<ThrumPool<Empty>, Baseline<PthreadPool<Empty, Signals::after>>,
                   PthreadPool<Empty, Signals::inside>, TbbArena<Empty>, GlibPool<Empty>,
                   AsioPool<Empty>>(),
             [&](auto tag) {
                 using Pool = typename decltype(tag)::type;
                 add_window(w, Pool::name, from_many<Pool>);
             });
}

/* ---- there and back ---- */

/* Microseconds from the submit of a task until its submitter has the result; the pool has nothing else
 * to do, and the next task follows at once. It lies if the waiter runs the task itself (TBB's task_group
 * would), or before those that adapt have done so (some time is spent first). */
template <class Pool> double us_per_round(Pool &pool, int ms)
{
    constexpr int between_looks = 16; /* rounds from one look at the clock to the next */
    const std::int64_t begin = now_ns();
    const std::int64_t end = begin + std::int64_t{ms} * 1000000;
    std::uint64_t rounds = 0;
    std::int64_t now = begin;
    do {
        for (int i = 0; i < between_looks; i++) {
            auto future = pool.submit(as_item(++rounds));
            must(as_number(pool.result(future)) == rounds);
        }
        now = now_ns();
    } while (now < end);
    return static_cast<double>(now - begin) * 1e-3 / static_cast<double>(rounds);
}

template <class Pool> void round_trip(benchmark::State &state)
{
    constexpr int warm_up_ms = 10;
    for (auto _ : state) {
        Pool pool;
        sleep_ms(settle_ms);
        us_per_round(pool, std::min(warm_up_ms, options.window_ms));
        const double us = us_per_round(pool, options.window_ms);
        state.SetIterationTime(us * 1e-6);
        state.counters["roundtrip_us"] = us;
    }
}

void add_round_trip()
{
    const Workload w = {
        topic, "pool_roundtrip", pool_workers,
        "One task to an idle pool until its submitter has the result, over and over. "
        "pthreads: a mutex and a condition in the future; tbb_enqueue and glib: a "
        "POSIX semaphore."};
    for_each(Types<ThrumFutures, Baseline<PthreadFutures<Signals::after>>,
                   PthreadFutures<Signals::inside>, CreateJoinFutures, StdAsync, TbbSemaphore,
                   GlibSemaphore, UvAnswer, AsioFutures>(),
             [&](auto tag) {
                 using Pool = typename decltype(tag)::type;
                 add_window(w, Pool::name, round_trip<Pool>);
             });
}

} // namespace

int main(int argc, char **argv)
{
    add_from_one();
    add_group();
    add_with_futures();
    add_from_many();
    add_round_trip();
    return run(argc, argv, Process::with_second_thread);
}
