/*
 * What one item costs: put and got by the same thread, or handed to a thread that waits for it.
 */
#include "pingpong.h"
#include "queues.h"

using namespace bench;

namespace
{

using PthreadRing = Baseline<PthreadQueue<RingStore, Signals::after>>;
using PthreadRingSignalInside = PthreadQueue<RingStore, Signals::inside>;
using StdRing = StdQueue<StdDequeStore, Signals::after>;

/* ---- nobody else uses the queue ---- */

/* One put and one get. It lies if the process has one thread only (the harness keeps a second). */
template <class Queue> void put_and_get(benchmark::State &state)
{
    alignas(apart) Queue queue(bound);
    Putter<Queue> putter{queue};
    Getter<Queue> getter{queue};
    Item item = as_item(1);
    for (auto _ : state) {
        putter.put(item);
        getter.get(&item);
        benchmark::DoNotOptimize(item);
    }
    mark<Queue>(state);
}

void add_uncontended()
{
    const Workload w = {"queue_time", "queue_uncontended", 1,
                        "One put and one get of a pointer by one thread, in a process with a "
                        "second one that sleeps."};
    for_each(
        Types<ThrumFifo, PthreadRing, StdRing, GlibQueue, TbbQueue, Moodycamel, MoodycamelTokens,
              MoodycamelBlocking, Boost, CkRing, SequenceRing, BoostSpsc, SpscRing>(),
        [&](auto tag) {
            using Queue = typename decltype(tag)::type;
            add(w, Queue::name, put_and_get<Queue>);
        });
}

/* ---- round trips ---- */

template <class Queue> struct QueueBall : Queue {
    void post() { Queue::put(as_item(1)); }
    void take()
    {
        Item item;
        must(Queue::get(&item));
    }
};

/* Those that can sleep; a floor that cannot. */
void add_round_trips()
{
    const char *about = "Round trip through two queues, the consumer of each waiting for its item";
    for_each(Types<ThrumFifo, PthreadRing, PthreadRingSignalInside, StdRing, GlibQueue, TbbQueue,
                   MoodycamelBlocking>(),
             [&](auto tag) {
                 using Queue = typename decltype(tag)::type;
                 add_ball<QueueBall<Queue>>("queue_time", "queue_roundtrip", about);
             });
    add_ball<QueueBall<Polled<SequenceTries, 1>>>("queue_time", "queue_roundtrip", about,
                                                  Cores::two_only);
}

} // namespace

int main(int argc, char **argv)
{
    add_uncontended();
    add_round_trips();
    return run(argc, argv, Process::with_second_thread);
}
