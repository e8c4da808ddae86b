/*
 * One event, eight threads asleep on it: how long until the last of them runs again, and how long
 * the one that sets the event is kept busy.
 */
#include <fcntl.h>

#include <cstdio>
#include <cstring>

#include "waits.h"

using namespace bench;

namespace
{

constexpr int sleepers = 8;

/* Sleeps on something of its own between the rounds, the same for every adapter. */
class Gate
{
  public:
    std::uint32_t look() const { return word.load(std::memory_order_acquire); }
    void pass(std::uint32_t seen)
    {
        while (word.load(std::memory_order_acquire) == seen)
            futex_wait(&word, seen);
    }
    void open()
    {
        word.fetch_add(1, std::memory_order_release);
        futex_wake(&word, INT_MAX);
    }

  private:
    alignas(apart) std::atomic<std::uint32_t> word{0};
};

/* The state of a thread as the kernel sees it, 'S' when it sleeps. */
class ThreadState
{
  public:
    ThreadState() = default;
    ThreadState(const ThreadState &) = delete;
    ThreadState &operator=(const ThreadState &) = delete;
    ~ThreadState()
    {
        if (fd >= 0)
            close(fd);
    }
    void open_own()
    {
        std::string path = "/proc/self/task/" + std::to_string(syscall(SYS_gettid)) + "/stat";
        fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
        must(fd >= 0);
    }
    bool asleep() const
    {
        char text[128] = "";
        ssize_t n = pread(fd, text, sizeof text - 1, 0);
        const char *end = n > 0 ? static_cast<const char *>(memrchr(text, ')', sizeof text)) : text;
        return end != nullptr && end[0] == ')' && end[2] == 'S';
    }

  private:
    int fd = -1;
};

template <class Event> struct Dormitory {
    struct alignas(apart) Bed {
        std::atomic<bool> lying{false}; /* its thread is in wait(), or just about to be */
        std::int64_t awake_at = 0;
        ThreadState state;
    };

    alignas(apart) Event event;
    Gate morning; /* opened when all are to lie down again */
    Gate counted; /* opened by the last to wake */
    alignas(apart) std::atomic<int> awake{0};
    std::atomic<bool> over{false};
    Bed beds[sleepers];

    void sleep_and_wake(Bed &bed)
    {
        bed.state.open_own();
        for (;;) {
            std::uint32_t today = morning.look();
            bed.lying.store(true, std::memory_order_release);
            event.wait();
            bed.awake_at = now_ns();
            bed.lying.store(false, std::memory_order_relaxed);
            if (awake.fetch_add(1) == sleepers - 1)
                counted.open();
            morning.pass(today);
            if (over)
                return;
        }
    }

    void wait_until_all_sleep()
    {
        for (Bed &bed : beds)
            while (!bed.lying.load(std::memory_order_acquire) || !bed.state.asleep())
                usleep(50);
        usleep(300); /* and long enough for the processors to settle */
    }

    std::int64_t last_awake_at() const
    {
        std::int64_t last = 0;
        for (const Bed &bed : beds)
            last = std::max(last, bed.awake_at);
        return last;
    }
};

/* Time from just before the set until the last of eight unpinned sleepers has read the clock, and the
 * length of the set call; medians of the rounds. It lies if a thread was not asleep yet (its state is
 * read from /proc) or if the setter hinders the woken (it goes to sleep as soon as it has set). */
template <class Event> void wake_all(benchmark::State &state)
{
    for (auto _ : state) {
        auto room = std::make_unique<Dormitory<Event>>();
        std::vector<std::thread> pool;
        std::vector<double> until_last, set_call;

        for (auto &bed : room->beds)
            pool.emplace_back([&room, &bed] { room->sleep_and_wake(bed); });
        for (int round = 0; round < options.wake_rounds; round++) {
            room->wait_until_all_sleep();
            std::uint32_t today = room->counted.look();
            std::int64_t begin = now_ns();
            room->event.set();
            std::int64_t end = now_ns();
            room->counted.pass(today);
            until_last.push_back(static_cast<double>(room->last_awake_at() - begin) * 1e-3);
            set_call.push_back(static_cast<double>(end - begin) * 1e-3);
            room->event.clear();
            room->awake = 0;
            room->over = round == options.wake_rounds - 1;
            room->morning.open();
        }
        for (std::thread &thread : pool)
            thread.join();
        state.SetIterationTime(median(until_last) * 1e-6);
        state.counters["last_awake_us"] = median(until_last);
        state.counters["set_call_us"] = median(set_call);
    }
}

} // namespace

int main(int argc, char **argv)
{
    const Workload wake = {"wake", "event_wakes_8", sleepers,
                           "One event set, eight threads asleep on it, until the last is awake."};
    for_each(Types<ThrumEvent, CondEvent<PthreadCond>, CondEvent<StdCond>, EventOf<GlibCond>,
                   EventOf<NsyncCond>, AbslNotification, FloorFutexEvent>(),
             [&](auto tag) {
                 using Event = typename decltype(tag)::type;
                 add_window(wake, Event::name, wake_all<Event>);
             });
    return run(argc, argv, Process::with_second_thread);
}
