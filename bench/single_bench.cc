/*
 * A free mutex in a process that never made a thread. glibc then skips its atomic operations; this
 * program says so, and refuses to measure, should something have made a thread after all.
 */
#include <sys/single_threaded.h>

#include "locks.h"

using namespace bench;

namespace
{

/* One lock and one unlock of a free lock. It lies if the process has, or has had, a second thread:
 * checked before and after. */
template <class Lock> void lock_pair(benchmark::State &state)
{
    alignas(apart) Lock lock;
    bool single = __libc_single_threaded;
    for (auto _ : state) {
        lock.lock();
        lock.unlock();
    }
    if (!single || !__libc_single_threaded)
        state.SkipWithError("this process has had a second thread");
}

} // namespace

int main(int argc, char **argv)
{
    const Workload mutex = {"lock", "mutex_single_threaded", 1,
                            "Lock and unlock of a free mutex, in a process that never made a "
                            "thread."};
    for_each(Mutexes(), [&](auto tag) {
        using Lock = typename decltype(tag)::type;
        add(mutex, Lock::name, lock_pair<Lock>);
    });
    const Workload rlock = {"lock", "rlock_single_threaded", 1,
                            "Lock and unlock of a free recursive lock, in such a process."};
    for_each(Rlocks(), [&](auto tag) {
        using Lock = typename decltype(tag)::type;
        add(rlock, Lock::name, lock_pair<Lock>);
    });
    return run(argc, argv, Process::single_threaded);
}
