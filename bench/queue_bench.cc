/*
 * Queues between producers and consumers: items one by one, with task_done, in batches, and by
 * priority.
 */
#include "transfer.h"

using namespace bench;

namespace
{

/* Those that several producers and consumers may share. ck_ring is not among them: when threads
 * outnumber processors it moves some hundred items a second. */
template <Signals signals>
using Shared =
    Types<ThrumFifo, Baseline<PthreadQueue<RingStore, signals>>,
          PthreadQueue<RingStore, other(signals)>, StdQueue<StdDequeStore, signals>, GlibQueue,
          TbbQueue, Moodycamel, MoodycamelTokens, MoodycamelBlocking, Boost, SequenceRing>;

template <Signals signals>
using Counting =
    Types<WithTaskDone<ThrumFifo>, WithTaskDone<Baseline<PthreadQueue<RingStore, signals, true>>>>;

std::string shape_name(Shape shape)
{
    return std::to_string(shape.producers) + "p" + std::to_string(shape.consumers) + "c";
}

std::string shape_text(Shape shape)
{
    const std::string text = std::to_string(shape.producers) + " producers, " +
                             std::to_string(shape.consumers) + " consumers, unpinned";
    return shape.producers == 1 ? "One producer, one consumer, on two processors" : text;
}

/* ---- one by one ---- */

/* Items per second through a queue of 1024, until the last consumer has its share. It lies if items
 * get lost or doubled (their numbers are summed), if threads start late (they start together, and read
 * the clock themselves), or if other processes use the processors. A queue that is polled uses both
 * processors also while it does nothing. */
template <class Queue> void one_by_one(benchmark::State &state, Shape shape)
{
    for (auto _ : state) {
        Queue queue(bound);
        auto items = static_cast<std::uint64_t>(options.items);
        report_transfer(state, queue, transfer<OneByOne>(queue, shape, items));
    }
}

/* The same with every item marked done at once. At the end nothing may be unfinished: join returns. */
template <class Queue> void one_by_one_with_task_done(benchmark::State &state, Shape shape)
{
    for (auto _ : state) {
        Queue queue(bound);
        auto items = static_cast<std::uint64_t>(options.items);
        report_transfer(state, queue, transfer<OneByOne>(queue, shape, items));
        queue.join();
    }
}

template <class Queues> void add_one_by_one(Shape shape)
{
    const Workload w = {"queue", "queue_" + shape_name(shape), shape.threads(),
                        shape_text(shape) + ", a queue of 1024 pointers."};
    for_each(Queues(), [&](auto tag) {
        using Queue = typename decltype(tag)::type;
        add_window(w, Queue::name,
                   [shape](benchmark::State &state) { one_by_one<Queue>(state, shape); });
    });
}

template <class Queues> void add_with_task_done(Shape shape)
{
    const Workload w = {"queue", "queue_" + shape_name(shape) + "_task_done", shape.threads(),
                        shape_text(shape) + ", a queue of 1024 pointers, each marked done."};
    for_each(Queues(), [&](auto tag) {
        using Queue = typename decltype(tag)::type;
        add_window(w, Queue::name, [shape](benchmark::State &state) {
            one_by_one_with_task_done<Queue>(state, shape);
        });
    });
}

/* ---- in batches ---- */

constexpr std::size_t batch = 32;

/* Items per second when they are put, and got, 32 at a time. It lies as above. */
template <class Queue> void in_batches(benchmark::State &state)
{
    for (auto _ : state) {
        Queue queue(bound);
        auto items = static_cast<std::uint64_t>(options.items);
        report_transfer(state, queue, transfer<Batches<batch>>(queue, {1, 1}, items));
    }
}

/* The floor that the target was taken from: the ring that knows no batches. */
struct SpscRingOneByOne : SpscRing {
    static constexpr const char *name = "floor_spsc_one_by_one";
    using SpscRing::SpscRing;
    std::size_t put_many(Item *items, std::size_t n)
    {
        std::size_t done = 0;
        while (done < n && SpscRing::put(items[done]))
            done++;
        return done;
    }
    std::size_t get_many(Item *items, std::size_t n)
    {
        std::size_t done = 0;
        if (SpscRing::get(&items[0]))
            done++;
        while (done > 0 && done < n && tryget(&items[done]))
            done++;
        return done;
    }
};

void add_batches()
{
    const Workload w = {
        "queue", "queue_batch_32_1p1c", 2,
        "One producer, one consumer, on two processors, a queue of 1024 pointers, 32 "
        "to a call."};
    for_each(Types<ThrumFifo, Baseline<PthreadQueue<RingStore, Signals::after>>, Moodycamel,
                   MoodycamelTokens, MoodycamelBlocking, BoostSpsc, SpscRing, SpscRingOneByOne>(),
             [&](auto tag) {
                 using Queue = typename decltype(tag)::type;
                 add_window(w, Queue::name, in_batches<Queue>);
             });
}

/* ---- by priority ---- */

/* Items per second through a heap of 1024 places that is full at the start and at the end. It lies if
 * the heap runs empty meanwhile, which makes it cheap: a get costs more than a put, so it does not. The
 * priorities are in no order and all different. */
template <class Queue> void by_priority(benchmark::State &state)
{
    for (auto _ : state) {
        Queue queue(bound);
        Carrier before;
        auto items = static_cast<std::uint64_t>(options.items) / 4;
        Scrambled::produce(queue, {items + 1, bound}, before);
        Transfer t = transfer<Scrambled>(queue, {1, 1}, items);
        t.put += before.items;
        t.difference += before.sum;
        report_transfer(state, queue, t);
    }
}

void add_priority()
{
    const Workload w = {"queue", "queue_priority_1p1c", 2,
                        "One producer, one consumer, on two processors, a priority queue with 1024 "
                        "items in it. pthreads: a binary heap under a mutex; std: "
                        "std::priority_queue under one."};
    for_each(
        Types<ThrumPriority, Baseline<PthreadQueue<HeapStore, Signals::inside>>,
              PthreadQueue<HeapStore, Signals::after>, StdQueue<StdHeapStore, Signals::inside>>(),
        [&](auto tag) {
            using Queue = typename decltype(tag)::type;
            add_window(w, Queue::name, by_priority<Queue>);
        });
}

} // namespace

int main(int argc, char **argv)
{
    add_one_by_one<Shared<Signals::after>>({1, 1});
    add_one_by_one<Types<CkRing, BoostSpsc, SpscRing>>({1, 1});
    add_one_by_one<Shared<Signals::inside>>({2, 2});
    add_one_by_one<Types<CkRing>>({2, 2});
    add_one_by_one<Shared<Signals::inside>>({4, 4});
    add_with_task_done<Counting<Signals::after>>({1, 1});
    add_with_task_done<Counting<Signals::inside>>({2, 2});
    add_with_task_done<Counting<Signals::inside>>({4, 4});
    add_batches();
    add_priority();
    return run(argc, argv, Process::with_second_thread);
}
