/*
 * Threads that wait must cost nothing: the processor time that a process with eight parked threads
 * uses in a second.
 */
#include "waits.h"

using namespace bench;

namespace
{

template <class Mutex_, class Sem_, class Event_, class Cond_> struct Family {
    using Mutex = Mutex_;
    using Sem = Sem_;
    using Event = Event_;
    using Cond = Cond_;
};

using Thrum = Family<ThrumMutex, ThrumSem, ThrumEvent, ThrumCond>;
using Pthreads = Family<PthreadMutex, PthreadSem, CondEvent<PthreadCond>, PthreadCond>;

template <class F> struct Parking {
    typename F::Mutex taken;
    typename F::Sem none;
    typename F::Event unset;
    typename F::Mutex mutex;
    typename F::Cond cond;
    bool over = false;

    void park(int place)
    {
        switch (place % 4) {
        case 0:
            taken.lock();
            taken.unlock();
            break;
        case 1:
            none.acquire();
            none.release();
            break;
        case 2:
            unset.wait();
            break;
        default:
            mutex.lock();
            while (!over)
                cond.wait(mutex);
            mutex.unlock();
        }
    }
    void release_all()
    {
        taken.unlock();
        none.release();
        unset.set();
        mutex.lock();
        over = true;
        mutex.unlock();
        cond.broadcast();
    }
};

/* Microseconds of processor time per second while two threads each wait for a mutex, a semaphore, an
 * event and a condition. It lies if the threads have not settled yet (they are given 20 ms), or if
 * this thread does anything but sleep meanwhile. */
template <class F> void idle(benchmark::State &state)
{
    for (auto _ : state) {
        Parking<F> parking;
        std::vector<std::thread> pool;
        parking.taken.lock();
        for (int i = 0; i < 8; i++)
            pool.emplace_back([&parking, i] { parking.park(i); });
        sleep_ms(20);
        double seconds = options.idle_ms * 1e-3;
        double before = processor_us();
        sleep_ms(options.idle_ms);
        double used = processor_us() - before;
        parking.release_all();
        for (std::thread &thread : pool)
            thread.join();
        state.SetIterationTime(seconds);
        state.counters["processor_us"] = used / seconds;
    }
}

} // namespace

int main(int argc, char **argv)
{
    const Workload parked = {"idle", "parked_8", 8,
                             "Processor time per second of a process whose eight threads wait for "
                             "mutexes, semaphores, events and conditions."};
    add_window(parked, "thrum", idle<Thrum>);
    add_window(parked, "pthreads", idle<Pthreads>);
    return run(argc, argv, Process::with_second_thread);
}
