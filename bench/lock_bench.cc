/*
 * What each object costs when nobody else wants it. A second thread sleeps in this process all the
 * time, because glibc leaves out its atomic operations in a process that has one thread only.
 */
#include <thrum/once.h>

#include "locks.h"
#include "waits.h"

using namespace bench;

namespace
{

/* One lock and one unlock of a free lock. It lies if the lock shares its cache line with data
 * that something else writes. */
template <class Lock> void lock_pair(benchmark::State &state)
{
    alignas(apart) Lock lock;
    for (auto _ : state) {
        lock.lock();
        lock.unlock();
    }
}

/* One permit given and taken by the same thread. It lies if the permit has to be waited for. */
template <class Sem> void sem_pair(benchmark::State &state)
{
    alignas(apart) Sem sem;
    for (auto _ : state) {
        sem.release();
        sem.acquire();
    }
}

/* Looking at an event that is set. It lies if the compiler takes the look out of the loop. */
template <class Event> void event_is_set(benchmark::State &state)
{
    alignas(apart) Event event;
    event.set();
    for (auto _ : state)
        benchmark::DoNotOptimize(event.is_set());
}

/* Setting and clearing an event that nobody waits for. It lies if somebody does. */
template <class Event> void event_set_clear(benchmark::State &state)
{
    alignas(apart) Event event;
    for (auto _ : state) {
        event.set();
        event.clear();
    }
}

/* Signalling a condition that nobody waits on. It lies if somebody does. */
template <class Cond> void signal_nobody(benchmark::State &state)
{
    alignas(apart) Cond cond;
    for (auto _ : state)
        cond.signal();
}

struct ThrumOnce {
    static constexpr const char *name = "thrum";
    thrum_once_t once = THRUM_ONCE_INIT;
    static int init(void *) { return 0; }
    void pass() { thrum_once(&once, init, nullptr); }
};

struct PthreadOnce {
    static constexpr const char *name = "pthreads";
    pthread_once_t once = PTHREAD_ONCE_INIT;
    static void init() {}
    void pass() { pthread_once(&once, init); }
};

struct StdOnce {
    static constexpr const char *name = "std";
    std::once_flag once;
    static void init() {}
    void pass() { std::call_once(once, init); }
};

#if BENCH_HAVE_NSYNC
struct NsyncOnce {
    static constexpr const char *name = "nsync";
    nsync::nsync_once once = NSYNC_ONCE_INIT;
    static void init() {}
    void pass() { nsync::nsync_run_once(&once, init); }
};
#else
using NsyncOnce = Absent;
#endif

#if BENCH_HAVE_GLIB
struct GlibOnce {
    static constexpr const char *name = "glib";
    GOnce once = G_ONCE_INIT;
    static gpointer init(gpointer) { return nullptr; }
    void pass() { g_once(&once, init, nullptr); }
};
#else
using GlibOnce = Absent;
#endif

/* Asking for an initialisation that has been done. It lies if the compiler can see that it has. */
template <class Once> void once_done(benchmark::State &state)
{
    alignas(apart) Once once;
    once.pass();
    for (auto _ : state) {
        once.pass();
        benchmark::ClobberMemory();
    }
}

void add_locks()
{
    const Workload mutex = {"lock", "mutex_uncontended", 1,
                            "Lock and unlock of a free mutex, in a process with threads."};
    for_each(Mutexes(), [&](auto tag) {
        using Lock = typename decltype(tag)::type;
        add(mutex, Lock::name, lock_pair<Lock>);
    });
    const Workload rlock = {"lock", "rlock_uncontended", 1,
                            "Lock and unlock of a free recursive lock."};
    for_each(Rlocks(), [&](auto tag) {
        using Lock = typename decltype(tag)::type;
        add(rlock, Lock::name, lock_pair<Lock>);
    });
    const Workload read = {"lock", "rwlock_read_uncontended", 1,
                           "Read lock and unlock of a free read-write lock."};
    const Workload write = {"lock", "rwlock_write_uncontended", 1,
                            "Write lock and unlock of a free read-write lock."};
    for_each(Rwlocks(), [&](auto tag) {
        using Lock = typename decltype(tag)::type;
        add(read, Lock::name, lock_pair<ReadSide<Lock>>);
        add(write, Lock::name, lock_pair<Lock>);
    });
}

void add_semaphores()
{
    const Workload sem = {"lock", "sem_uncontended", 1,
                          "Release and acquire of a semaphore that nobody waits for."};
    for_each(Types<ThrumSem, PthreadSem, FloorSem>(), [&](auto tag) {
        using Sem = typename decltype(tag)::type;
        add(sem, Sem::name, sem_pair<Sem>);
    });
}

void add_events()
{
    const Workload is_set = {
        "lock", "event_is_set", 1,
        "Looking at an event that is set (pthreads: at a flag under a mutex)."};
    const Workload set_clear = {"lock", "event_set_clear", 1,
                                "Setting and clearing an event that nobody waits for."};
    using Events = Types<ThrumEvent, CondEvent<PthreadCond>, CondEvent<StdCond>, EventOf<GlibCond>,
                         EventOf<NsyncCond>>;
    auto add_is_set = [&](auto tag) {
        using Event = typename decltype(tag)::type;
        add(is_set, Event::name, event_is_set<Event>);
    };
    auto add_set_clear = [&](auto tag) {
        using Event = typename decltype(tag)::type;
        add(set_clear, Event::name, event_set_clear<Event>);
    };
    for_each(Events(), add_is_set);
    for_each(Types<AbslNotification>(), add_is_set);
    for_each(Events(), add_set_clear);
    for_each(Types<EventOf<AbslCond>>(), add_set_clear);
}

void add_once_and_signal()
{
    const Workload once = {"lock", "once_done", 1,
                           "Asking for an initialisation that has been done already."};
    for_each(Types<ThrumOnce, PthreadOnce, StdOnce, GlibOnce, NsyncOnce>(), [&](auto tag) {
        using Once = typename decltype(tag)::type;
        add(once, Once::name, once_done<Once>);
    });
    const Workload signal = {"lock", "cond_signal_nobody", 1,
                             "Signalling a condition that nobody waits on."};
    for_each(Conds(), [&](auto tag) {
        using Cond = typename decltype(tag)::type;
        add(signal, Cond::name, signal_nobody<Cond>);
    });
}

} // namespace

int main(int argc, char **argv)
{
    add_locks();
    add_semaphores();
    add_events();
    add_once_and_signal();
    return run(argc, argv, Process::with_second_thread);
}
