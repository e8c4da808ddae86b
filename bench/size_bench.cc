/*
 * How big the objects are. Nothing is timed.
 */
#include <thrum/barrier.h>
#include <thrum/once.h>
#include <thrum/waitgroup.h>

#include "waits.h"

using namespace bench;

namespace
{

void add_size(const std::string &what, const char *adapter, std::size_t bytes)
{
    const Workload workload = {"size", what, 1, "Size of the object."};
    add_window(workload, adapter, [bytes](benchmark::State &state) {
        for (auto _ : state)
            state.SetIterationTime(1e-9);
        state.counters["bytes"] = static_cast<double>(bytes);
    });
}

template <class List> void add_sizes(const std::string &what)
{
    for_each(List(), [&](auto tag) {
        using T = typename decltype(tag)::type;
        add_size(what, T::name, sizeof(T));
    });
}

} // namespace

int main(int argc, char **argv)
{
    add_sizes<Mutexes>("mutex_bytes");
    add_sizes<Rlocks>("rlock_bytes");
    add_sizes<Rwlocks>("rwlock_bytes");
    add_sizes<Conds>("cond_bytes");
    add_sizes<Sems>("sem_bytes");
    add_sizes<Types<ThrumEvent, CondEvent<PthreadCond>, CondEvent<StdCond>, EventOf<GlibCond>,
                    EventOf<NsyncCond>, AbslNotification>>("event_bytes");
    add_size("barrier_bytes", "thrum", sizeof(thrum_barrier_t));
    add_size("barrier_bytes", "pthreads", sizeof(pthread_barrier_t));
    add_size("once_bytes", "thrum", sizeof(thrum_once_t));
    add_size("once_bytes", "pthreads", sizeof(pthread_once_t));
    add_size("once_bytes", "std", sizeof(std::once_flag));
    return run(argc, argv, Process::with_second_thread);
}
