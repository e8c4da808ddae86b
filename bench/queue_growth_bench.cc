/*
 * Queues without a bound: many items in, then out again, and the memory they take meanwhile.
 */
#include <sys/wait.h>

#include <cstdio>

#include "transfer.h"

using namespace bench;

namespace
{

using PthreadList = Baseline<PthreadQueue<ListStore, Signals::after>>;
using StdDeque = StdQueue<StdDequeStore, Signals::after>;

struct Growth {
    double seconds;
    double bytes; /* of resident memory */
    bool balanced;
};

double resident_bytes()
{
    unsigned long long total = 0;
    unsigned long long resident = 0;
    FILE *file = std::fopen("/proc/self/statm", "re");
    must(file != nullptr);
    must(std::fscanf(file, "%llu %llu", &total, &resident) == 2);
    std::fclose(file);
    return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE));
}

template <class Queue> Growth grow(std::uint64_t items)
{
    Carrier in;
    Carrier out;
    keep_second_thread(); /* the parent's is not in this process */
    double before = resident_bytes();
    Queue queue(no_limit);
    in.begin = now_ns();
    OneByOne::produce(queue, {1, items}, in);
    in.end = now_ns();
    double peak = resident_bytes();
    out.begin = now_ns();
    OneByOne::consume(queue, items, out);
    out.end = now_ns();
    return {static_cast<double>(in.end - in.begin + out.end - out.begin) * 1e-9, peak - before,
            in.items == out.items && in.sum == out.sum};
}

/* In a process of its own: what another queue gave back to the allocator would make this one look
 * small, and spare it the page faults. */
template <class Queue> bool grow_apart(std::uint64_t items, Growth *growth)
{
    int ends[2];
    int status = 0;
    must(pipe(ends) == 0);
    pid_t child = fork();
    must(child >= 0);
    if (child == 0) {
        Growth mine = grow<Queue>(items);
        _exit(write(ends[1], &mine, sizeof mine) == sizeof mine ? 0 : 1);
    }
    close(ends[1]);
    bool told = read(ends[0], growth, sizeof *growth) == sizeof *growth;
    close(ends[0]);
    must(waitpid(child, &status, 0) == child);
    return told && status == 0;
}

/* Items per second, each put and got, by one thread; resident memory for each at the peak. It lies if
 * the process kept memory from before (it is a new one), or if memory is short and pages are taken
 * away. */
template <class Queue> void in_then_out(benchmark::State &state)
{
    auto items = static_cast<std::uint64_t>(options.unbounded_items);
    for (auto _ : state) {
        Growth growth = {};
        if (!grow_apart<Queue>(items, &growth) || !growth.balanced) {
            state.SkipWithError("items were lost, or the process that moved them");
            break;
        }
        state.SetIterationTime(growth.seconds);
        state.counters["mitems"] = static_cast<double>(items) / growth.seconds * 1e-6;
        state.counters["bytes_per_item"] = growth.bytes / static_cast<double>(items);
    }
    mark<Queue>(state);
}

} // namespace

int main(int argc, char **argv)
{
    const Workload w = {"queue_growth", "queue_unbounded_10m", 1,
                        "10 million pointers (with --quick one million) in, then out, by one "
                        "thread. pthreads: a linked list under a mutex; std: a std::deque under "
                        "one. Memory: what the process grew by until all were in, for each."};
    for_each(Types<ThrumFifo, PthreadList, StdDeque, GlibQueue, Moodycamel, MoodycamelTokens>(),
             [&](auto tag) {
                 using Queue = typename decltype(tag)::type;
                 add_window(w, Queue::name, in_then_out<Queue>);
             });
    return run(argc, argv, Process::with_second_thread);
}
