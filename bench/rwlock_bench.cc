/*
 * Readers side by side: how read-locking scales with threads, and what a few writers cost. Free
 * running threads, as in contention_bench.cc.
 */
#include "locks.h"

using namespace bench;

namespace
{

template <class Rwlock> struct Court {
    alignas(apart) Rwlock lock;
    alignas(apart) std::uint64_t first = 0;
    std::uint64_t second = 0; /* always equal to first, outside of a writer */
};

/* Turns per second of all threads, every `writes`-th turn of each a write (0: none). It lies if a
 * reader can get in beside a writer (the two halves of the data are compared), if the readers skip
 * the lock's cache line, and if other processes use the processors. */
template <class Rwlock> void share(benchmark::State &state, int threads, unsigned writes)
{
    for (auto _ : state) {
        Court<Rwlock> court;
        std::atomic<bool> torn{false};
        Window window =
            run_window(threads, options.window_ms, [&court, &torn, writes](Worker &worker) {
                if (writes != 0 && worker.ops % writes == 0) {
                    court.lock.lock();
                    court.first++;
                    court.second++;
                    court.lock.unlock();
                    return;
                }
                court.lock.lock_shared();
                if (court.first != court.second)
                    torn = true;
                court.lock.unlock_shared();
            });
        state.SetIterationTime(window.seconds);
        state.counters["mops"] = window.mops();
        if (torn)
            state.SkipWithError("a reader was inside beside a writer");
    }
}

void add_sharing(const std::string &name, int threads, unsigned writes, const std::string &about)
{
    const Workload workload = {"rwlock", name + "_" + std::to_string(threads), threads,
                               std::to_string(threads) + (threads == 1 ? " thread" : " threads") +
                                   about};
    for_each(Rwlocks(), [&](auto tag) {
        using Rwlock = typename decltype(tag)::type;
        add_window(workload, Rwlock::name, [threads, writes](benchmark::State &state) {
            share<Rwlock>(state, threads, writes);
        });
    });
}

} // namespace

int main(int argc, char **argv)
{
    for (int threads : {1, 2, 8})
        add_sharing("readers", threads, 0, ", read locks only, next to nothing inside.");
    for (int threads : {2, 8})
        add_sharing("mixed_95_5", threads, 20, ", 95 % read locks and 5 % write locks.");
    return run(argc, argv, Process::with_second_thread);
}
