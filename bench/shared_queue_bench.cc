/*
 * Items of 64 bytes from one process to another: the queue in shared memory, beside a robust mutex with
 * conditions, a pipe, and rings that neither lock nor survive anything.
 */
#include <sys/mman.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include <thrum/shared.h>
#include <thrum/shared_queue.h>

#include "harness.h"

using namespace bench;

namespace
{

constexpr std::size_t bound = 1024;

struct Message {
    std::uint64_t number;
    unsigned char rest[56];
};
static_assert(sizeof(Message) == 64);

class ThrumShared
{
  public:
    static constexpr const char *name = "thrum";

    ThrumShared()
    {
        thrum_shared_queue_config_t config = THRUM_SHARED_QUEUE_CONFIG_INIT;
        config.item_size = sizeof(Message);
        config.capacity = bound;
        must(thrum_shared_create(&arena, nullptr) == 0);
        must(thrum_shared_queue_create(&queue, arena, &config) == 0);
    }
    ~ThrumShared()
    {
        thrum_shared_queue_destroy(queue);
        thrum_shared_destroy(arena);
    }
    ThrumShared(const ThrumShared &) = delete;
    ThrumShared &operator=(const ThrumShared &) = delete;
    void put(const Message &m) { must(thrum_shared_queue_put(queue, &m, sizeof m) == 0); }
    void get(Message *m)
    {
        std::size_t size = 0;
        must(thrum_shared_queue_get(queue, m, sizeof *m, &size) == 0 && size == sizeof *m);
    }

  private:
    thrum_shared_t *arena = nullptr;
    thrum_shared_queue_t *queue = nullptr;
};

/* Memory that the child of a fork shares. */
template <class T> class Mapped
{
  public:
    Mapped()
        : memory(
              mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))
    {
        must(memory != MAP_FAILED);
        new (memory) T();
    }
    ~Mapped() { munmap(memory, sizeof(T)); }
    Mapped(const Mapped &) = delete;
    Mapped &operator=(const Mapped &) = delete;
    T *operator->() { return static_cast<T *>(memory); }

  private:
    void *memory;
};

/* A ring under a robust mutex with two conditions, all shared by processes. */
class PthreadShared
{
  public:
    static constexpr const char *name = "pthreads";

    PthreadShared()
    {
        pthread_mutexattr_t mutex;
        pthread_condattr_t cond;
        must(pthread_mutexattr_init(&mutex) == 0 && pthread_condattr_init(&cond) == 0);
        must(pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED) == 0);
        must(pthread_mutexattr_setrobust(&mutex, PTHREAD_MUTEX_ROBUST) == 0);
        must(pthread_condattr_setpshared(&cond, PTHREAD_PROCESS_SHARED) == 0);
        must(pthread_mutex_init(&ring->mutex, &mutex) == 0);
        must(pthread_cond_init(&ring->items, &cond) == 0 &&
             pthread_cond_init(&ring->room, &cond) == 0);
    }
    void put(const Message &m)
    {
        must(pthread_mutex_lock(&ring->mutex) == 0);
        while (ring->tail - ring->head == bound)
            must(pthread_cond_wait(&ring->room, &ring->mutex) == 0);
        ring->slots[ring->tail++ % bound] = m;
        pthread_mutex_unlock(&ring->mutex);
        pthread_cond_signal(&ring->items);
    }
    void get(Message *m)
    {
        must(pthread_mutex_lock(&ring->mutex) == 0);
        while (ring->tail == ring->head)
            must(pthread_cond_wait(&ring->items, &ring->mutex) == 0);
        *m = ring->slots[ring->head++ % bound];
        pthread_mutex_unlock(&ring->mutex);
        pthread_cond_signal(&ring->room);
    }

  private:
    struct Ring {
        pthread_mutex_t mutex;
        pthread_cond_t items;
        pthread_cond_t room;
        std::size_t head = 0;
        std::size_t tail = 0;
        Message slots[bound];
    };
    Mapped<Ring> ring;
};

class Pipe
{
  public:
    static constexpr const char *name = "floor_pipe";

    Pipe() { must(pipe(ends) == 0); }
    ~Pipe()
    {
        close(ends[0]);
        close(ends[1]);
    }
    Pipe(const Pipe &) = delete;
    Pipe &operator=(const Pipe &) = delete;
    void put(const Message &m) { must(write(ends[1], &m, sizeof m) == sizeof m); }
    void get(Message *m)
    {
        for (std::size_t have = 0; have < sizeof *m;) {
            const ssize_t n = read(ends[0], reinterpret_cast<char *>(m) + have, sizeof *m - have);
            must(n > 0);
            have += static_cast<std::size_t>(n);
        }
    }

  private:
    int ends[2];
};

/* Publishes each item by a store; polls, and cannot be closed. */
class SpscShared
{
  public:
    static constexpr const char *name = "floor_spsc_ring";
    static constexpr unsigned marks = polls | no_close | one_each;

    void put(const Message &m)
    {
        const std::size_t tail = ring->tail.load(std::memory_order_relaxed);
        wait_until([&] { return tail - ring->head.load(std::memory_order_acquire) < bound; });
        ring->slots[tail % bound] = m;
        ring->tail.store(tail + 1, std::memory_order_release);
    }
    void get(Message *m)
    {
        const std::size_t head = ring->head.load(std::memory_order_relaxed);
        wait_until([&] { return ring->tail.load(std::memory_order_acquire) != head; });
        *m = ring->slots[head % bound];
        ring->head.store(head + 1, std::memory_order_release);
    }

  private:
    template <class Ready> static void wait_until(Ready ready)
    {
        for (unsigned vain = 1; !ready(); vain++)
            vain % 256 == 0 ? static_cast<void>(sched_yield()) : cpu_relax();
    }
    struct Ring {
        alignas(apart) std::atomic<std::size_t> tail{0};
        alignas(apart) std::atomic<std::size_t> head{0};
        alignas(apart) Message slots[bound];
    };
    Mapped<Ring> ring;
};

/* Python's, if there is one: with small integers, since it is slow enough. Numbers in millions. */
double python_rate(std::uint64_t items)
{
    char command[700];
    double seconds = 0;
    std::snprintf(command, sizeof command,
                  "python3 -c 'import multiprocessing as m, time\n"
                  "c = m.get_context(\"fork\")\n"
                  "q = c.Queue(%zu)\n"
                  "def get(): [q.get() for _ in range(%llu)]\n"
                  "p = c.Process(target=get)\n"
                  "p.start()\n"
                  "t = time.monotonic()\n"
                  "for i in range(%llu): q.put(i)\n"
                  "p.join()\n"
                  "print(time.monotonic() - t)' 2>/dev/null",
                  bound, static_cast<unsigned long long>(items),
                  static_cast<unsigned long long>(items));
    std::FILE *python = popen(command, "r");
    if (python == nullptr)
        return 0;
    if (std::fscanf(python, "%lf", &seconds) != 1)
        seconds = 0;
    pclose(python);
    return seconds > 0 ? static_cast<double>(items) / seconds * 1e-6 : 0;
}

/* What the consumer says. */
struct Outcome {
    std::atomic<bool> ready{false};
    std::uint64_t sum = 0;
    std::int64_t end = 0;
};

template <class Queue> void consume(Queue &queue, std::uint64_t items, Outcome *outcome)
{
    Message m = {};
    outcome->ready.store(true);
    for (std::uint64_t i = 0; i < items; i++) {
        queue.get(&m);
        outcome->sum += m.number;
    }
    outcome->end = now_ns();
}

template <class Queue> void produce(Queue &queue, std::uint64_t items)
{
    Message m = {};
    for (std::uint64_t i = 1; i <= items; i++) {
        m.number = i;
        queue.put(m);
    }
}

/* Items per second from a process to its child, on two processors, from the first put to the last get. It lies
 * if items get lost or doubled (their numbers are summed), or if other processes use the processors. */
template <class Queue> void one_to_one(benchmark::State &state)
{
    const auto items = static_cast<std::uint64_t>(options.items);
    const std::vector<int> cpus = processors();
    const bool pin = cpus.size() >= 2;
    for (auto _ : state) {
        Queue queue;
        Mapped<Outcome> outcome;
        const pid_t child = fork();
        must(child >= 0);
        if (child == 0) {
            Pinned pinned(pin ? cpus[1] : -1);
            consume(queue, items, outcome.operator->());
            _exit(0);
        }
        Pinned pinned(pin ? cpus[0] : -1);
        while (!outcome->ready.load())
            sched_yield();
        const std::int64_t begin = now_ns();
        produce(queue, items);
        int status = -1;
        must(waitpid(child, &status, 0) == child && status == 0);
        const double seconds = static_cast<double>(outcome->end - begin) * 1e-9;
        state.SetIterationTime(seconds);
        state.counters["mitems"] = static_cast<double>(items) / seconds * 1e-6;
        mark<Queue>(state);
        if (outcome->sum != items * (items + 1) / 2)
            state.SkipWithError("what came out is not what was put in");
    }
}

} // namespace

int main(int argc, char **argv)
{
    const Workload w = {
        "shared_queue", "shared_queue_1p1c", 2,
        "64 bytes from one process to another, a queue of 1024, on two processors."};
    for_each(Types<ThrumShared, PthreadShared, Pipe, SpscShared>(), [&](auto tag) {
        using Queue = typename decltype(tag)::type;
        add_window(w, Queue::name, one_to_one<Queue>);
    });
    add_window(w, "multiprocessing", [](benchmark::State &state) {
        for (auto _ : state) {
            const double rate = python_rate(static_cast<std::uint64_t>(options.items) / 40 + 1);
            state.SetIterationTime(1);
            state.counters["mitems"] = rate;
            if (rate == 0)
                state.SkipWithError("no python3");
        }
    });
    return run(argc, argv, Process::with_second_thread);
}
