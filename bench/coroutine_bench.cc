/*
 * Coroutines: what it costs to go from one to another, by hand, through a loop, through queues and between
 * threads; and what it costs to make one.
 */
#include <thrum/queue.h>

#include "coroutine_peers.h"
#include "mutex_queues.h"
#include "pingpong.h"
#include "waits.h"

using namespace bench;

namespace
{

constexpr const char *topic = "coroutine";

/* Between two looks of the benchmark's machinery. */
constexpr int batch = 64;

template <class List, class Body> void add_all(const Workload &w, List list, Body body)
{
    for_each(list, [&](auto tag) {
        using Adapter = typename decltype(tag)::type;
        add(w, Adapter::name, [body](benchmark::State &state) {
            Adapter adapter;
            body(adapter, state);
        });
    });
}

/* ---- by hand ---- */

/* Nanoseconds of processor time for one switch, two of which are there and back. It lies if the compiler
 * sees through the partner (it cannot: they meet through a pointer to a stack), or if the partner does
 * more than come back. */
void add_switch()
{
    const Workload w = {topic, "coro_switch", 1,
                        "One switch, from one coroutine to another that switches back at once; the "
                        "time of one way."};
    add_all(w, Types<ThrumPair, UcontextPair, FcontextPair, ContextPair>(),
            [](auto &pair, benchmark::State &state) {
                while (state.KeepRunningBatch(2 * batch))
                    for (int i = 0; i < batch; i++)
                        pair.there_and_back();
            });
}

/* Nanoseconds of processor time for one number of a generator: a resume and a yield. It lies if steps are
 * left out: the numbers are summed, and looked at. */
void add_step()
{
    const Workload w = {topic, "coro_step", 1,
                        "One step of a generator that counts: a resume and a yield."};
    add_all(w, Types<ThrumGenerator, UcontextGenerator, Coroutine2Generator>(),
            [](auto &generator, benchmark::State &state) {
                const std::uint64_t first = generator.next();
                std::uint64_t last = first;
                std::uint64_t steps = 0;
                while (state.KeepRunningBatch(batch)) {
                    for (int i = 0; i < batch; i++)
                        last = generator.next();
                    steps += batch;
                }
                if (last - first != steps)
                    state.SkipWithError("steps were left out");
            });
}

/* Nanoseconds of processor time for a coroutine that is made, runs an empty function, and is given back. It
 * lies if only the making is counted, or if its stack is new each time where others have theirs from a
 * pool; a thread's time is that of both threads. */
void add_create()
{
    const Workload w = {topic, "coro_create", 1,
                        "A coroutine that is made, runs an empty function and is given back, on a "
                        "stack that was used before. pthreads: create and join."};
    auto body = [](auto &life, benchmark::State &state) {
        for (auto _ : state)
            life.live();
    };
    add_all(w, Types<ThrumLife, UcontextLife, ContextLife>(), body);
    add(w, PthreadLife::name, [body](benchmark::State &state) {
        PthreadLife life;
        body(life, state);
    })->MeasureProcessCPUTime();
}

/* ---- through a loop ---- */

int count_one(void *counter, void **)
{
    ++*static_cast<std::uint64_t *>(counter);
    return 0;
}

void check_count(benchmark::State &state, std::uint64_t counted)
{
    if (counted != static_cast<std::uint64_t>(state.iterations()))
        state.SkipWithError("not every one has run once");
}

/* Nanoseconds of processor time for a coroutine that is spawned on a loop, waits for its turn, counts
 * itself, and is gone; 64 are in the line at a time. It lies if they run inside the spawn (thrum's do not),
 * or not at all: they are counted. */
void thrum_go_and_run(benchmark::State &state)
{
    std::uint64_t counted = 0;
    in_loop([&] {
        while (state.KeepRunningBatch(batch)) {
            for (int i = 0; i < batch; i++)
                must(thrum_go(nullptr, count_one, &counted) == 0);
            thrum_yield();
        }
    });
    check_count(state, counted);
}

void pthread_create_and_join(benchmark::State &state)
{
    pthread_t threads[batch];
    while (state.KeepRunningBatch(batch)) {
        for (pthread_t &thread : threads)
            must(pthread_create(&thread, nullptr, PthreadLife::nothing, nullptr) == 0);
        for (pthread_t thread : threads)
            pthread_join(thread, nullptr);
    }
}

/* Nanoseconds of processor time from a yield of one to the next of the other. It lies if there is nobody to
 * yield to: both count, and their counts are compared. */
void thrum_yields(benchmark::State &state)
{
    std::uint64_t here = 0;
    struct {
        std::uint64_t yields = 0;
        bool over = false;
    } there;
    auto other = [](void *arg, void **) {
        auto *mine = static_cast<decltype(there) *>(arg);
        for (; !mine->over; mine->yields++)
            thrum_yield();
        return 0;
    };
    in_loop([&] {
        must(thrum_go(nullptr, other, &there) == 0);
        while (state.KeepRunningBatch(2 * batch))
            for (int i = 0; i < batch; i++, here++)
                thrum_yield();
        there.over = true;
    });
    if (here > there.yields + 1 || there.yields > here + 1)
        state.SkipWithError("they have not taken turns");
}

/* Two threads on one processor; that they take turns is up to the kernel. */
void pthread_yields(benchmark::State &state)
{
    const int cpu = processors()[0];
    std::atomic<bool> over{false};
    Pinned pinned(cpu);
    std::thread other([&] {
        Pinned other_pinned(cpu);
        while (!over.load(std::memory_order_relaxed))
            sched_yield();
    });
    while (state.KeepRunningBatch(2 * batch))
        for (int i = 0; i < batch; i++)
            sched_yield();
    over = true;
    other.join();
}

/* Nanoseconds of processor time for an item there and one back, through two queues that hold one. It lies if
 * the echo runs ahead: with an item in each queue nobody would have to wait. */
class ThrumCourt
{
  public:
    ThrumCourt() : there(make()), back(make()) {}
    ~ThrumCourt()
    {
        thrum_queue_destroy(there);
        thrum_queue_destroy(back);
    }
    ThrumCourt(const ThrumCourt &) = delete;
    ThrumCourt &operator=(const ThrumCourt &) = delete;
    void play(benchmark::State &state)
    {
        void *item = this;
        must(thrum_go(nullptr, echo, this) == 0);
        while (state.KeepRunningBatch(batch)) {
            for (int i = 0; i < batch; i++) {
                thrum_queue_put(there, &item);
                must(thrum_queue_get(back, &item) == 0);
            }
        }
        thrum_queue_close(there);
    }

  private:
    static int echo(void *arg, void **)
    {
        auto *court = static_cast<ThrumCourt *>(arg);
        void *item = nullptr;
        while (thrum_queue_get(court->there, &item) == 0)
            thrum_queue_put(court->back, &item);
        return 0;
    }
    static thrum_queue_t *make()
    {
        thrum_queue_config_t config = THRUM_QUEUE_CONFIG_INIT;
        thrum_queue_t *queue = nullptr;
        config.item_size = sizeof(void *);
        config.capacity = 1;
        must(thrum_queue_create(&queue, &config) == 0);
        return queue;
    }

    thrum_queue_t *there;
    thrum_queue_t *back;
};

/* Between two threads on one processor. */
struct PthreadBall : PthreadQueue<RingStore, Signals::after> {
    PthreadBall() : PthreadQueue(1) {}
    void post() { must(put(as_item(1))); }
    void take()
    {
        Item item;
        must(get(&item));
    }
};

/* ---- Boost's scheduler, measured alike ---- */

#if BENCH_HAVE_BOOST_FIBER
constexpr const char *boost_fiber = "boost_fiber";

void fiber_go_and_run(benchmark::State &state)
{
    boost::fibers::pooled_fixedsize_stack pool(coroutine_stack);
    std::uint64_t counted = 0;
    std::vector<boost::fibers::fiber> fibers(batch);
    while (state.KeepRunningBatch(batch)) {
        for (boost::fibers::fiber &fiber : fibers)
            fiber = boost::fibers::fiber(std::allocator_arg, pool, [&counted] { counted++; });
        for (boost::fibers::fiber &fiber : fibers)
            fiber.join();
    }
    check_count(state, counted);
}

void fiber_yields(benchmark::State &state)
{
    bool over = false;
    boost::fibers::fiber other([&] {
        while (!over)
            boost::this_fiber::yield();
    });
    while (state.KeepRunningBatch(2 * batch))
        for (int i = 0; i < batch; i++)
            boost::this_fiber::yield();
    over = true;
    other.join();
}

template <class Channel> void fiber_echo(benchmark::State &state, Channel &there, Channel &back)
{
    void *item = &state;
    boost::fibers::fiber echo([&] {
        void *mine = nullptr;
        while (there.pop(mine) == boost::fibers::channel_op_status::success)
            back.push(mine);
    });
    while (state.KeepRunningBatch(batch)) {
        for (int i = 0; i < batch; i++) {
            there.push(item);
            back.pop(item);
        }
    }
    there.close();
    echo.join();
}

/* Two is the smallest there is. */
void fiber_buffered(benchmark::State &state)
{
    boost::fibers::buffered_channel<void *> there(2);
    boost::fibers::buffered_channel<void *> back(2);
    fiber_echo(state, there, back);
}

void fiber_unbuffered(benchmark::State &state)
{
    boost::fibers::unbuffered_channel<void *> there;
    boost::fibers::unbuffered_channel<void *> back;
    fiber_echo(state, there, back);
}
#endif

void add_loop()
{
    const Workload go = {topic, "coro_go", 1,
                         "A coroutine that is spawned on a loop, runs when it is its turn, and is "
                         "gone; 64 at a time. pthreads: create and join, 64 at a time."};
    const Workload yield = {topic, "coro_yield", 1,
                            "A yield through the loop to the other one of two coroutines. "
                            "pthreads: sched_yield of two threads on one processor."};
    const Workload play = {topic, "coro_pingpong", 1,
                           "Round trip of an item through two queues of one item between two "
                           "coroutines of a thread. pthreads: two threads on one processor."};
    add(go, "thrum", thrum_go_and_run);
    add(go, "pthreads", pthread_create_and_join)->MeasureProcessCPUTime();
    add(yield, "thrum", thrum_yields);
    add(yield, "pthreads", pthread_yields)->MeasureProcessCPUTime();
    add(play, "thrum", [](benchmark::State &state) {
        ThrumCourt court;
        in_loop([&] { court.play(state); });
    });
    add_window(play, "pthreads", [](benchmark::State &state) {
        ping_pong<PthreadBall>(state, processors()[0], processors()[0]);
    });
#if BENCH_HAVE_BOOST_FIBER
    add(go, boost_fiber, fiber_go_and_run);
    add(yield, boost_fiber, fiber_yields);
    add(play, "boost_fiber_buffered", fiber_buffered);
    add(play, "boost_fiber_unbuffered", fiber_unbuffered);
#endif
}

/* ---- between threads ---- */

/* What the partner of ping_pong() does, as a coroutine of its thread. */
struct ThrumLoopBall : EventBall<ThrumEvent> {
    template <class F> static void as_partner(F f) { in_loop(f); }
};

/* The round trip between a thread and a coroutine of another thread's loop, on two processors. It lies as
 * any ping-pong (pingpong.h), or if the partner is not in the loop when it waits. */
void add_handoff()
{
    const Workload w = {topic, "coro_thread_handoff", 2,
                        "Round trip of events between a thread and a coroutine in another thread's "
                        "loop, on two processors. pthreads: two threads; a mutex and a condition "
                        "for each event."};
    const std::vector<int> cpus = processors();
    if (cpus.size() < 2)
        return;
    add_window(w, "thrum",
               [=](benchmark::State &state) { ping_pong<ThrumLoopBall>(state, cpus[0], cpus[1]); });
    add_window(w, "pthreads", [=](benchmark::State &state) {
        ping_pong<EventBall<CondEvent<PthreadCond>>>(state, cpus[0], cpus[1]);
    });
}

} // namespace

int main(int argc, char **argv)
{
    add_switch();
    add_step();
    add_create();
    add_loop();
    add_handoff();
    return run(argc, argv, Process::with_second_thread);
}
