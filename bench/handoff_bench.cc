/*
 * Two threads that wait for each other by turns, a small buffer between producers and consumers, and
 * a barrier: what it costs to hand something to a thread that waits for it.
 */
#include <thrum/barrier.h>

#include "pingpong.h"
#include "waits.h"

using namespace bench;

namespace
{

/* ---- what is played with ---- */

/* The condition hand-off of the textbooks; `inside`: signal before the unlock or after it. */
template <class Cond, bool inside> struct CondBall {
    static constexpr const char *name = Cond::name;
    typename Cond::Mutex mutex;
    Cond cond;
    bool here = false;
    void post()
    {
        mutex.lock();
        here = true;
        if constexpr (inside)
            cond.signal();
        mutex.unlock();
        if constexpr (!inside)
            cond.signal();
    }
    void take()
    {
        mutex.lock();
        while (!here)
            cond.wait(mutex);
        here = false;
        mutex.unlock();
    }
};

template <class Sem> struct SemBall : Sem {
    void post() { Sem::release(); }
    void take() { Sem::acquire(); }
};

constexpr const char *topic = "pingpong";

void add_ping_pong()
{
    for_each(Conds(), [](auto tag) {
        using Cond = typename decltype(tag)::type;
        add_ball<CondBall<Cond, true>>(topic, "cond_signal_inside",
                                       "Round trip by two conditions, signalled under the mutex");
        add_ball<CondBall<Cond, false>>(topic, "cond_signal_after",
                                        "Round trip by two conditions, signalled after the unlock");
    });
    const std::string sem = "Round trip by two semaphores";
    for_each(Types<ThrumSem, PthreadSem>(), [&](auto tag) {
        using Sem = typename decltype(tag)::type;
        add_ball<SemBall<Sem>>(topic, "sem", sem);
    });
    const std::string event = "Round trip by two events, each cleared by its waiter";
    for_each(Types<ThrumEvent, CondEvent<PthreadCond>, CondEvent<StdCond>, EventOf<GlibCond>,
                   EventOf<NsyncCond>, EventOf<AbslCond>>(),
             [&](auto tag) {
                 using Event = typename decltype(tag)::type;
                 add_ball<EventBall<Event>>(topic, "event", event);
             });
    for (const auto &[name, about] : {std::pair("sem", sem), std::pair("event", event)}) {
        add_ball<EventBall<FloorFutexEvent>>(topic, name, about);
        add_ball<EventBall<FloorSpinEvent>>(topic, name, about, Cores::two_only);
    }
}

/* ---- a buffer between producers and consumers ---- */

template <class Cond> struct Buffer {
    static constexpr int capacity = 64;
    alignas(apart) typename Cond::Mutex mutex;
    Cond not_full, not_empty;
    int count = 0;
    std::uint64_t taken = 0;
    bool over = false;

    /* Once it is over nobody waits any more. */
    bool put()
    {
        mutex.lock();
        while (count == capacity && !over)
            not_full.wait(mutex);
        bool open = !over;
        count++;
        mutex.unlock();
        not_empty.signal();
        return open;
    }
    bool get()
    {
        mutex.lock();
        while (count == 0 && !over)
            not_empty.wait(mutex);
        bool open = !over;
        count--;
        taken++;
        mutex.unlock();
        not_full.signal();
        return open;
    }
    void end()
    {
        mutex.lock();
        over = true;
        mutex.unlock();
        not_full.broadcast();
        not_empty.broadcast();
    }
};

/* Items per second through a mutex, two conditions and a counter of 64 places, two producers and two
 * consumers, unpinned. It lies if other processes use the processors. */
template <class Cond> void buffer_2p2c(benchmark::State &state)
{
    for (auto _ : state) {
        Buffer<Cond> buffer;
        std::vector<std::thread> pool;
        std::int64_t begin = now_ns();
        for (int i = 0; i < 2; i++) {
            pool.emplace_back([&buffer] {
                while (buffer.put()) {
                }
            });
            pool.emplace_back([&buffer] {
                while (buffer.get()) {
                }
            });
        }
        sleep_ms(options.window_ms);
        buffer.end();
        double seconds = static_cast<double>(now_ns() - begin) * 1e-9;
        for (std::thread &thread : pool)
            thread.join();
        state.SetIterationTime(seconds);
        state.counters["mops"] = static_cast<double>(buffer.taken) / seconds * 1e-6;
    }
}

void add_buffer()
{
    const Workload buffer = {"handoff", "cond_buffer_2p2c", 4,
                             "Items through a buffer of 64 places made of a mutex and two "
                             "conditions, two producers and two consumers."};
    for_each(Conds(), [&](auto tag) {
        using Cond = typename decltype(tag)::type;
        add_window(buffer, Cond::name, buffer_2p2c<Cond>);
    });
}

/* ---- a barrier that threads pass again and again ---- */

struct ThrumBarrier {
    static constexpr const char *name = "thrum";
    thrum_barrier_t b;
    explicit ThrumBarrier(unsigned parties)
    {
        must(thrum_barrier_init(&b, parties, nullptr, nullptr) == 0);
    }
    void wait() { thrum_barrier_wait(&b, nullptr); }
};

struct PthreadBarrier {
    static constexpr const char *name = "pthreads";
    pthread_barrier_t b;
    explicit PthreadBarrier(unsigned parties)
    {
        must(pthread_barrier_init(&b, nullptr, parties) == 0);
    }
    ~PthreadBarrier() { pthread_barrier_destroy(&b); }
    void wait() { pthread_barrier_wait(&b); }
};

/* The time between two passages of unpinned threads that do nothing else. It lies if a thread leaves
 * early: all go on until the round that the first thread has named. */
template <class Barrier> void pass_barrier(benchmark::State &state, unsigned threads)
{
    for (auto _ : state) {
        Barrier barrier(threads);
        std::atomic<std::uint64_t> last{UINT64_MAX};
        std::vector<std::thread> pool;
        std::uint64_t passed = 0;

        for (unsigned i = 1; i < threads; i++)
            pool.emplace_back([&barrier, &last] {
                for (std::uint64_t mine = 0; mine != last.load(std::memory_order_relaxed); mine++)
                    barrier.wait();
            });
        barrier.wait();
        std::int64_t begin = now_ns();
        std::int64_t end = begin + std::int64_t{options.window_ms} * 1000000;
        do {
            barrier.wait();
            passed++;
        } while (now_ns() < end);
        state.SetIterationTime(static_cast<double>(now_ns() - begin) * 1e-9 /
                               static_cast<double>(passed));
        last.store(passed + 2, std::memory_order_relaxed); /* the first, these, and the next */
        barrier.wait();
        for (std::thread &thread : pool)
            thread.join();
    }
}

void add_barriers()
{
    for (unsigned threads : {2u, 8u}) {
        const Workload barrier = {
            "handoff", "barrier_" + std::to_string(threads), static_cast<int>(threads),
            "One passage of a barrier by " + std::to_string(threads) + " threads."};
        for_each(Types<ThrumBarrier, PthreadBarrier>(), [&](auto tag) {
            using Barrier = typename decltype(tag)::type;
            add_window(barrier, Barrier::name, [threads](benchmark::State &state) {
                pass_barrier<Barrier>(state, threads);
            });
        });
    }
}

} // namespace

int main(int argc, char **argv)
{
    add_ping_pong();
    add_buffer();
    add_barriers();
    return run(argc, argv, Process::with_second_thread);
}
