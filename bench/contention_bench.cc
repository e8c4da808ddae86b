/*
 * Several threads that want the same lock, all the time: how much gets done, how evenly the threads
 * get their turns, and how long the longest of the sampled waits was.
 *
 * The threads are plain, unpinned, and free-running: each goes on until the time is up.
 */
#include "locks.h"

using namespace bench;

namespace
{

struct Section {
    const char *name;
    double inside_ns;  /* work on shared data under the lock; 0: nothing at all */
    double outside_ns; /* work on the thread's own data between two turns */
    const char *about;
};

constexpr Section sections[] = {
    {"inside", 21, 0, "21 ns of work under the lock, none outside"},
    {"inside_outside", 21, 104, "21 ns of work under the lock, 104 ns outside"},
    {"empty", 0, 0, "an empty critical section"},
};

constexpr std::uint64_t sampled = 64; /* every so many turns a thread looks at the clock */

/* The lock and what it protects on lines of their own: the sizes of the locks differ, and none
 * shall profit from its data coming with it. */
template <class Lock> struct Court {
    alignas(apart) Lock lock;
    alignas(apart) std::uint64_t data = 1;
    std::uint64_t turns = 0;
};

template <class Lock> void lock_and_time(Lock &lock, Worker &worker)
{
    std::int64_t begin = now_ns();
    lock.lock();
    worker.longest_wait_ns = std::max(worker.longest_wait_ns, now_ns() - begin);
}

template <class Lock> void take_lock(Lock &lock, Worker &worker)
{
    if (worker.ops % sampled == 0)
        lock_and_time(lock, worker);
    else
        lock.lock();
}

void report(benchmark::State &state, const Window &window)
{
    state.SetIterationTime(window.seconds);
    state.counters["mops"] = window.mops();
    state.counters["fairness"] = window.luckiest_by_unluckiest();
    state.counters["longest_wait_us"] = window.longest_wait_us();
}

/* Turns per second of all threads, and the luckiest thread's over the unluckiest's. It lies if the
 * lock lets two in at once (the protected counter is checked), if the work is not what it says
 * (it is calibrated when the program starts), and if other processes use the processors. */
template <class Lock> void contend(benchmark::State &state, int threads, const Section &section)
{
    const int inside = steps_for(section.inside_ns);
    const int outside = steps_for(section.outside_ns);
    for (auto _ : state) {
        Court<Lock> court;
        Window window =
            run_window(threads, options.contended_ms, [&court, inside, outside](Worker &worker) {
                take_lock(court.lock, worker);
                court.data = work(court.data, inside);
                court.turns++;
                court.lock.unlock();
                worker.own = work(worker.own, outside);
            });
        report(state, window);
        if (court.turns != window.ops())
            state.SkipWithError("two threads were under the lock at once");
    }
}

/* The same with nothing under the lock, where all that counts is how the lock changes hands. */
template <class Lock> void contend_for_nothing(benchmark::State &state, int threads)
{
    for (auto _ : state) {
        Court<Lock> court;
        report(state, run_window(threads, options.contended_ms, [&court](Worker &worker) {
                   take_lock(court.lock, worker);
                   court.lock.unlock();
               }));
    }
}

template <class Locks> void add_contention(const std::string &lock, const Section &section)
{
    for (int threads : {2, 8}) {
        const Workload workload = {
            "contention", lock + "_" + std::to_string(threads) + "_" + section.name, threads,
            std::to_string(threads) + " threads, " + section.about + "."};
        for_each(Locks(), [&](auto tag) {
            using Lock = typename decltype(tag)::type;
            add_window(workload, Lock::name, [threads, section](benchmark::State &state) {
                if (section.inside_ns > 0)
                    contend<Lock>(state, threads, section);
                else
                    contend_for_nothing<Lock>(state, threads);
            });
        });
    }
}

} // namespace

int main(int argc, char **argv)
{
    for (const Section &section : sections)
        add_contention<Mutexes>("mutex", section);
    add_contention<Rwlocks>("rwlock_write", sections[0]);
    return run(argc, argv, Process::with_second_thread);
}
