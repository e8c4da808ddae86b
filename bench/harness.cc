#include "harness.h"

#include <sys/resource.h>

#include <cmath>
#include <cstdio>
#include <cstring>

#if BENCH_HAVE_ABSL
#include <absl/synchronization/mutex.h>
#endif

/* jemalloc's own, when the program was linked with it. */
extern "C" void *mallocx(std::size_t size, int flags) __attribute__((weak));

namespace bench
{

Options options;

namespace
{

/* `--name=value` into `value`. */
bool take_flag(const char *argument, const char *name, int *value)
{
    std::size_t length = std::strlen(name);
    if (std::strncmp(argument, name, length) != 0 || argument[length] != '=')
        return false;
    *value = std::atoi(argument + length + 1);
    return *value > 0;
}

void take_options(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (!take_flag(argv[i], "--contended_ms", &options.contended_ms) &&
            !take_flag(argv[i], "--window_ms", &options.window_ms) &&
            !take_flag(argv[i], "--idle_ms", &options.idle_ms) &&
            !take_flag(argv[i], "--wake_rounds", &options.wake_rounds) &&
            !take_flag(argv[i], "--items", &options.items) &&
            !take_flag(argv[i], "--unbounded_items", &options.unbounded_items) &&
            !take_flag(argv[i], "--tasks", &options.tasks) &&
            !take_flag(argv[i], "--fib", &options.fib) &&
            !take_flag(argv[i], "--tree", &options.tree) &&
            !take_flag(argv[i], "--elements", &options.elements) &&
            !take_flag(argv[i], "--parked", &options.parked) &&
            !take_flag(argv[i], "--sleepers", &options.sleepers) &&
            !take_flag(argv[i], "--server_ms", &options.server_ms) &&
            !take_flag(argv[i], "--idle_connections", &options.idle_connections)) {
            std::fprintf(stderr, "%s: unknown argument %s\n", argv[0], argv[i]);
            std::exit(2);
        }
    }
}

/* Debian's abseil tracks lock orders unless told not to, which would make it look three times as
 * slow as its users can have it. */
void settle_peers()
{
#if BENCH_HAVE_ABSL
    absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
#endif
}

void *sleep_forever(void *)
{
    for (;;)
        pause();
    return nullptr;
}

} // namespace

int run(int argc, char **argv, Process process)
{
    benchmark::Initialize(&argc, argv);
    take_options(argc, argv);
    settle_peers();
    if (process == Process::with_second_thread)
        keep_second_thread();
    benchmark::AddCustomContext("compiler", BENCH_COMPILER);
    benchmark::AddCustomContext("allocator", mallocx != nullptr ? "jemalloc" : "C library");
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}

void keep_second_thread()
{
    pthread_t sleeper;
    must(pthread_create(&sleeper, nullptr, sleep_forever, nullptr) == 0);
}

void sleep_ms(int ms)
{
    timespec t = {ms / 1000, ms % 1000 * 1000000L};
    while (nanosleep(&t, &t) != 0) {
    }
}

double processor_us()
{
    rusage usage;
    must(getrusage(RUSAGE_SELF, &usage) == 0);
    auto us = [](const timeval &t) {
        return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_usec);
    };
    return us(usage.ru_utime) + us(usage.ru_stime);
}

double median(std::vector<double> &values)
{
    auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
}

/* The fastest of many short runs: an interruption can only make a run longer. */
int steps_for(double ns)
{
    constexpr int chunk = 16;
    constexpr int chunks = 500;
    static const double ns_per_step = [] {
        std::uint64_t x = 1;
        std::int64_t best = INT64_MAX;
        for (int run = 0; run < 200; run++) {
            int steps = chunk;
            benchmark::DoNotOptimize(steps); /* as in a benchmark: not known beforehand */
            std::int64_t begin = now_ns();
            for (int i = 0; i < chunks; i++)
                x = work(x, steps);
            benchmark::DoNotOptimize(x);
            best = std::min(best, now_ns() - begin);
        }
        return static_cast<double>(best) / (chunk * chunks);
    }();
    return static_cast<int>(std::lround(ns / ns_per_step));
}

std::vector<int> processors()
{
    cpu_set_t set;
    std::vector<int> list;

    must(sched_getaffinity(0, sizeof set, &set) == 0);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &set))
            list.push_back(cpu);
    return list;
}

Pinned::Pinned(int cpu) : pinned(cpu >= 0), before()
{
    if (!pinned)
        return;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    must(sched_getaffinity(0, sizeof before, &before) == 0);
    must(sched_setaffinity(0, sizeof one, &one) == 0);
}

Pinned::~Pinned()
{
    if (pinned)
        sched_setaffinity(0, sizeof before, &before);
}

std::uint64_t Window::ops() const
{
    std::uint64_t sum = 0;
    for (const Worker &worker : workers)
        sum += worker.ops;
    return sum;
}

double Window::mops() const
{
    return static_cast<double>(ops()) / seconds * 1e-6;
}

/* A thread that never had its turn counts as one that had it once: the result stays a number. */
double Window::luckiest_by_unluckiest() const
{
    std::uint64_t most = 1;
    std::uint64_t least = UINT64_MAX;
    for (const Worker &worker : workers) {
        most = std::max(most, worker.ops);
        least = std::min(least, worker.ops);
    }
    return static_cast<double>(most) / static_cast<double>(std::max<std::uint64_t>(least, 1));
}

double Window::longest_wait_us() const
{
    std::int64_t longest = 0;
    for (const Worker &worker : workers)
        longest = std::max(longest, worker.longest_wait_ns);
    return static_cast<double>(longest) * 1e-3;
}

} // namespace bench
