/*
 * Threads that start together, do their share, and end.
 */
#ifndef THRUM_BENCH_CARRY_H
#define THRUM_BENCH_CARRY_H

#include "harness.h"

namespace bench
{

/* One of the threads. Padded, so that counting disturbs nobody. */
struct alignas(apart) Carrier {
    std::uint64_t items = 0;
    std::uint64_t sum = 0; /* of their numbers */
    std::int64_t begin = 0;
    std::int64_t end = 0;
};

/* Starts the threads together and lets each call body(index, carrier) once. Two threads are pinned to
 * two processors; more run where they like. The clock is read by the threads themselves: who starts
 * them may find no processor to read it on. */
template <class Body> std::vector<Carrier> carry(int threads, Body body)
{
    const std::vector<int> cpus = processors();
    const bool pin = threads == 2 && cpus.size() >= 2;
    std::vector<Carrier> carriers(static_cast<std::size_t>(threads));
    std::vector<std::thread> pool;
    pthread_barrier_t start;

    must(pthread_barrier_init(&start, nullptr, static_cast<unsigned>(threads)) == 0);
    for (int i = 0; i < threads; i++) {
        const auto index = static_cast<std::size_t>(i);
        pool.emplace_back([&, i, cpu = pin ? cpus[index] : -1, me = &carriers[index]] {
            Pinned pinned(cpu);
            pthread_barrier_wait(&start);
            me->begin = now_ns();
            body(i, *me);
            me->end = now_ns();
        });
    }
    for (std::thread &thread : pool)
        thread.join();
    pthread_barrier_destroy(&start);
    return carriers;
}

} // namespace bench

#endif /* THRUM_BENCH_CARRY_H */
