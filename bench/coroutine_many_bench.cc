/*
 * Very many coroutines: the memory that those take which wait, and a life of each with a sleep in it.
 */
#include <sys/wait.h>
#include <thrum/event.h>

#include <cstdio>
#include <cstring>
#include <string>

#include "coroutine_peers.h"

using namespace bench;

namespace
{

/* What measure() returns, by a process of its own: memory that another has used before would be there
 * already. Negative: it failed. */
template <class Measure> double apart_from_others(Measure measure)
{
    int ends[2];
    int status = 0;
    double told = -1;
    must(pipe(ends) == 0);
    const pid_t child = fork();
    must(child >= 0);
    if (child == 0) {
        keep_second_thread(); /* the parent's is not in this process */
        const double mine = measure();
        _exit(write(ends[1], &mine, sizeof mine) == sizeof mine ? 0 : 1);
    }
    close(ends[1]);
    const bool whole = read(ends[0], &told, sizeof told) == sizeof told;
    close(ends[0]);
    must(waitpid(child, &status, 0) == child);
    return whole && status == 0 ? told : -1;
}

template <class Measure>
void add_apart(const Workload &w, const char *adapter, const char *counter, Measure measure)
{
    add_window(w, adapter, [=](benchmark::State &state) {
        for (auto _ : state) {
            const double figure = apart_from_others(measure);
            if (figure < 0) {
                state.SkipWithError("the process that measured has failed");
                break;
            }
            state.SetIterationTime(1e-9);
            state.counters[counter] = figure;
        }
    });
}

/* ---- memory ---- */

/* Of this process: what is resident, and the tables that the kernel needs to find it. */
double memory_bytes()
{
    char line[128];
    unsigned long long kib = 0;
    unsigned long long sum = 0;
    FILE *file = std::fopen("/proc/self/status", "re");
    must(file != nullptr);
    while (std::fgets(line, sizeof line, file) != nullptr)
        if (std::sscanf(line, "VmRSS: %llu", &kib) == 1 ||
            std::sscanf(line, "VmPTE: %llu", &kib) == 1)
            sum += kib;
    std::fclose(file);
    return static_cast<double>(sum) * 1024;
}

/* Bytes by which the process has grown for each of those that wait for one event. It lies if some have not
 * begun (they count themselves; the first look comes when all have), or if there was memory from before (the
 * process is new). */
double thrum_parked()
{
    struct {
        thrum_event_t event = THRUM_EVENT_INIT;
        int waiting = 0;
    } all;
    auto wait = [](void *arg, void **) {
        auto *mine = static_cast<decltype(all) *>(arg);
        mine->waiting++;
        return thrum_event_wait(&mine->event);
    };
    double bytes = 0;
    in_loop([&] {
        const double before = memory_bytes();
        for (int i = 0; i < options.parked; i++)
            must(thrum_go(nullptr, wait, &all) == 0);
        while (all.waiting != options.parked)
            thrum_yield();
        bytes = memory_bytes() - before;
        thrum_event_set(&all.event);
    });
    return bytes / options.parked;
}

/* A hundredth of them: the kernel would not have so many. Its own stack for each, of 16 KiB, is in neither
 * count. */
double pthreads_parked()
{
    const int n = std::max(options.parked / 100, 1);
    struct {
        pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
        pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
        std::atomic<int> waiting{0};
    } all;
    auto wait = [](void *arg) -> void * {
        auto *mine = static_cast<decltype(all) *>(arg);
        pthread_mutex_lock(&mine->mutex);
        mine->waiting++;
        for (;;)
            pthread_cond_wait(&mine->cond, &mine->mutex);
        return nullptr;
    };
    pthread_attr_t attributes;
    pthread_t thread;
    must(pthread_attr_init(&attributes) == 0);
    must(pthread_attr_setstacksize(&attributes, coroutine_stack) == 0);
    const double before = memory_bytes();
    for (int i = 0; i < n; i++)
        must(pthread_create(&thread, &attributes, wait, &all) == 0);
    while (all.waiting != n)
        sched_yield();
    return (memory_bytes() - before) / n; /* the process ends, and they with it */
}

#if BENCH_HAVE_BOOST_FIBER
double fibers_parked()
{
    boost::fibers::mutex mutex;
    boost::fibers::condition_variable cond;
    bool set = false;
    int waiting = 0;
    std::vector<boost::fibers::fiber> fibers;
    fibers.reserve(static_cast<std::size_t>(options.parked));
    const double before = memory_bytes();
    for (int i = 0; i < options.parked; i++)
        fibers.emplace_back([&] {
            std::unique_lock<boost::fibers::mutex> held(mutex);
            waiting++;
            cond.wait(held, [&] { return set; });
        });
    while (waiting != options.parked)
        boost::this_fiber::yield();
    const double bytes = memory_bytes() - before;
    {
        std::unique_lock<boost::fibers::mutex> held(mutex);
        set = true;
    }
    cond.notify_all();
    for (boost::fibers::fiber &fiber : fibers)
        fiber.join();
    return bytes / options.parked;
}
#endif

void add_memory()
{
    const Workload w = {
        "coroutine_memory", "coro_memory_100k", 1,
        "What the process grows by, page tables included, for each of 100,000 "
        "coroutines that wait for an event. pthreads: a thousand threads with stacks "
        "of 64 KiB; what the kernel has for a thread is not counted."};
    add_apart(w, "thrum", "bytes", thrum_parked);
    add_apart(w, "pthreads", "bytes", pthreads_parked);
#if BENCH_HAVE_BOOST_FIBER
    add_apart(w, "boost_fiber", "bytes", fibers_parked);
#endif
}

/* ---- sleeps ---- */

constexpr int sleep_us = 1000;

template <class F> double seconds_of(F f)
{
    const std::int64_t begin = now_ns();
    f();
    return static_cast<double>(now_ns() - begin) * 1e-9;
}

/* Seconds from the first spawn until all have slept and ended. All are alive before the first begins. It
 * lies if a sleep does not sleep: each checks that its time has passed. */
int sleep_once(void *slept, void **)
{
    const std::int64_t until = now_ns() + std::int64_t{sleep_us} * 1000;
    must(thrum_sleep(THRUM_US(sleep_us)) == 0);
    *static_cast<int *>(slept) += now_ns() >= until;
    return 0;
}

double thrum_sleeps()
{
    int slept = 0;
    const double seconds = seconds_of([&] {
        in_loop([&] {
            for (int i = 0; i < options.sleepers; i++)
                must(thrum_go(nullptr, sleep_once, &slept) == 0);
        });
    });
    return slept == options.sleepers ? seconds : -1;
}

/* A hundredth of them, at most a thousand at a time; times a hundred. */
double pthread_sleeps()
{
    constexpr int at_a_time = 1000;
    constexpr int fewer = 100;
    auto sleep = [](void *) -> void * {
        usleep(sleep_us);
        return nullptr;
    };
    int left = std::max(options.sleepers / fewer, 1);
    const double seconds = seconds_of([&] {
        std::vector<pthread_t> threads;
        for (; left > 0; left -= at_a_time) {
            threads.resize(static_cast<std::size_t>(std::min(left, at_a_time)));
            for (pthread_t &thread : threads)
                must(pthread_create(&thread, nullptr, sleep, nullptr) == 0);
            for (pthread_t thread : threads)
                pthread_join(thread, nullptr);
        }
    });
    return seconds * fewer;
}

#ifdef BENCH_GO_SLEEPS
/* A program of its own, which measures itself: on all processors, as Go does. */
double go_sleeps()
{
    const std::string command = BENCH_GO_SLEEPS " " + std::to_string(options.sleepers);
    double seconds = -1;
    FILE *told = popen(command.c_str(), "r");
    must(told != nullptr);
    const bool whole = std::fscanf(told, "%lf", &seconds) == 1;
    return pclose(told) == 0 && whole ? seconds : -1;
}
#endif

void add_sleeps()
{
    const Workload w = {
        "coroutine_many", "coro_million_sleeps", 1,
        "A million coroutines (with --quick a hundred thousand), all alive at the "
        "same time, that sleep for a millisecond each; from the first spawn until all "
        "have ended. pthreads: a hundredth as many threads, a thousand at a time, "
        "times a hundred."};
    add_apart(w, "thrum", "seconds", thrum_sleeps);
    add_apart(w, "pthreads", "seconds", pthread_sleeps);
#ifdef BENCH_GO_SLEEPS
    add_apart(w, "go", "seconds", go_sleeps);
#endif
}

} // namespace

int main(int argc, char **argv)
{
    add_memory();
    add_sleeps();
    return run(argc, argv, Process::with_second_thread);
}
