/*
 * Process pools of two workers: a task there and back, many tasks, large arguments, deaths. Beside it what two plain
 * processes do with a futex or pipes, and Python's executors where there is a python3.
 */
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>

#include <thrum/process_pool.h>

#include "harness.h"

using namespace bench;

namespace
{

constexpr const char *topic = "process";
constexpr std::size_t mebibyte = std::size_t{1} << 20;

int twice(void *argument, void **result)
{
    *result = reinterpret_cast<void *>(reinterpret_cast<std::uintptr_t>(argument) * 2);
    return 0;
}

int echo(const void *in, std::size_t size, thrum_reply_t *reply)
{
    return thrum_reply(reply, in, size);
}

void *shared_memory(std::size_t size)
{
    void *memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(memory != MAP_FAILED);
    return memory;
}

/* ---- pairs of processes: call() is there and back ---- */

/* A child that runs fn for ever, and is killed in the end. */
template <class F> pid_t start_child(F fn)
{
    const pid_t pid = fork();
    must(pid >= 0);
    if (pid == 0) {
        fn();
        _exit(0);
    }
    return pid;
}

void end_child(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
}

class Thrum
{
  public:
    static constexpr const char *name = "thrum";

    explicit Thrum(int (*init)(void *) = nullptr, std::size_t workers = 2)
    {
        thrum_process_pool_config_t config = THRUM_PROCESS_POOL_CONFIG_INIT;
        config.workers = workers;
        config.init = init;
        must(thrum_process_pool_create(&pool, &config) == 0);
    }
    ~Thrum() { thrum_executor_destroy(pool); }
    Thrum(const Thrum &) = delete;
    Thrum &operator=(const Thrum &) = delete;
    void call()
    {
        thrum_future_t *f = nullptr;
        void *value = nullptr;
        must(thrum_executor_submit(pool, twice, reinterpret_cast<void *>(4), &f) == 0);
        must(thrum_future_result(f, &value) == 0 && value == reinterpret_cast<void *>(8));
        thrum_future_release(f);
    }
    void exchange(const std::vector<char> &bytes)
    {
        thrum_future_t *f = nullptr;
        const void *data = nullptr;
        std::size_t size = 0;
        must(thrum_executor_submit_bytes(pool, echo, bytes.data(), bytes.size(), &f) == 0);
        must(thrum_future_bytes(f, &data, &size) == 0 && size == bytes.size());
        must(static_cast<const char *>(data)[size - 1] == bytes.back());
        thrum_future_release(f);
    }

    thrum_executor_t *pool = nullptr;
};

/* Two words, and futexes; with or without looking first. It polls for a while only. */
template <int spins> class Futex
{
  public:
    static constexpr const char *name = spins == 0 ? "floor_futex" : "floor_futex_spins";

    Futex()
        : words(static_cast<std::uint32_t *>(shared_memory(4096))), child(start_child([this] {
              for (std::uint32_t n = 1;; n++) {
                  await(words, n);
                  tell(words + 64, n);
              }
          }))
    {
    }
    ~Futex()
    {
        end_child(child);
        munmap(words, 4096);
    }
    Futex(const Futex &) = delete;
    Futex &operator=(const Futex &) = delete;
    void call()
    {
        rounds++;
        tell(words, rounds);
        await(words + 64, rounds);
    }

  private:
    /* The second word says that somebody sleeps. */
    static void await(std::uint32_t *word, std::uint32_t n)
    {
        for (int i = 0; i < spins; i++) {
            if (__atomic_load_n(word, __ATOMIC_ACQUIRE) == n)
                return;
            cpu_relax();
        }
        __atomic_store_n(word + 1, 1u, __ATOMIC_SEQ_CST);
        for (std::uint32_t now = 0; (now = __atomic_load_n(word, __ATOMIC_SEQ_CST)) != n;)
            syscall(SYS_futex, word, FUTEX_WAIT, now, nullptr, nullptr, 0);
        __atomic_store_n(word + 1, 0u, __ATOMIC_RELAXED);
    }
    static void tell(std::uint32_t *word, std::uint32_t n)
    {
        __atomic_store_n(word, n, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(word + 1, __ATOMIC_SEQ_CST) != 0)
            syscall(SYS_futex, word, FUTEX_WAKE, 1, nullptr, nullptr, 0);
    }

    std::uint32_t *words;
    pid_t child;
    std::uint32_t rounds = 0;
};

class Pipes
{
  public:
    static constexpr const char *name = "pipe";

    explicit Pipes(std::size_t bytes = 1)
    {
        must(pipe(there) == 0 && pipe(back) == 0);
        child = start_child([this, bytes] {
            std::vector<char> buffer(bytes);
            for (;;) {
                take(there[0], buffer.data(), bytes);
                give(back[1], buffer.data(), bytes);
            }
        });
        reply.resize(bytes);
    }
    ~Pipes()
    {
        end_child(child);
        for (int fd : {there[0], there[1], back[0], back[1]})
            close(fd);
    }
    Pipes(const Pipes &) = delete;
    Pipes &operator=(const Pipes &) = delete;
    void call()
    {
        char byte = 1;
        give(there[1], &byte, 1);
        take(back[0], &byte, 1);
    }
    void exchange(const std::vector<char> &bytes)
    {
        give(there[1], bytes.data(), bytes.size());
        take(back[0], reply.data(), bytes.size());
        must(reply.back() == bytes.back());
    }

  private:
    static void take(int fd, char *to, std::size_t size)
    {
        while (size != 0) {
            const ssize_t n = read(fd, to, size);
            if (n <= 0)
                _exit(0);
            to += n;
            size -= static_cast<std::size_t>(n);
        }
    }
    static void give(int fd, const char *from, std::size_t size)
    {
        while (size != 0) {
            const ssize_t n = write(fd, from, size);
            must(n > 0);
            from += n;
            size -= static_cast<std::size_t>(n);
        }
    }

    int there[2];
    int back[2];
    pid_t child = 0;
    std::vector<char> reply;
};

/* ---- Python ---- */

/* The figure that a script prints; below 0: there is no python3. */
double ask_python(const std::string &script)
{
    const std::string command =
        "python3 -c '\nimport time, sys\nfrom concurrent.futures import ProcessPoolExecutor\n"
        "import multiprocessing as mp, operator\n" +
        script + "' 2>/dev/null";
    FILE *out = popen(command.c_str(), "r");
    double figure = -1;
    if (out != nullptr && std::fscanf(out, "%lf", &figure) != 1)
        figure = -1;
    if (out != nullptr)
        pclose(out);
    return figure;
}

bool has_python()
{
    static const bool there = ask_python("print(1)") == 1;
    return there;
}

void add_python(const Workload &w, const char *adapter, const char *counter,
                const std::string &script, double factor)
{
    if (!has_python())
        return;
    add_window(w, adapter, [=](benchmark::State &state) {
        for (auto _ : state) {
            const double figure = ask_python(script);
            if (figure < 0)
                state.SkipWithError("python3 did not answer");
            state.SetIterationTime(std::max(figure, 1e-9));
            state.counters[counter] = figure * factor;
        }
    });
}

/* ---- there and back ---- */

template <class Pair> void round_trip(benchmark::State &state)
{
    for (auto _ : state) {
        Pair pair;
        sleep_ms(20);
        for (int i = 0; i < 2000; i++)
            pair.call();
        std::int64_t rounds = 0;
        const std::int64_t begin = now_ns();
        std::int64_t now = begin;
        for (; now - begin < std::int64_t{options.window_ms} * 1000000; now = now_ns())
            for (int i = 0; i < 16; i++, rounds++)
                pair.call();
        const double us = static_cast<double>(now - begin) * 1e-3 / static_cast<double>(rounds);
        state.SetIterationTime(us * 1e-6);
        state.counters["roundtrip_us"] = us;
    }
}

/* Median of calls with pauses, so that everybody sleeps before each. */
template <class Pair> void round_trip_asleep(benchmark::State &state)
{
    for (auto _ : state) {
        Pair pair;
        std::vector<double> us;
        for (int i = 0; i < options.wake_rounds + 20; i++) {
            sleep_ms(1);
            const std::int64_t begin = now_ns();
            pair.call();
            us.push_back(static_cast<double>(now_ns() - begin) * 1e-3);
        }
        const double middle = median(us);
        state.SetIterationTime(middle * 1e-6);
        state.counters["roundtrip_us"] = middle;
    }
}

void add_round_trips()
{
    const Workload spinning = {topic, "process_roundtrip", 2,
                               "One tiny task and its result, over and over: both sides look for a "
                               "while before they sleep. The floors are two plain processes."};
    for_each(Types<Thrum, Futex<5000>, Futex<0>, Pipes>(), [&](auto tag) {
        using Pair = typename decltype(tag)::type;
        add_window(spinning, Pair::name, round_trip<Pair>);
    });
    add_python(spinning, "python_executor", "roundtrip_us",
               "ex = ProcessPoolExecutor(2, mp.get_context(\"fork\"))\n"
               "ex.submit(abs, 1).result()\nt = time.perf_counter()\n"
               "for i in range(1000): ex.submit(abs, i).result()\n"
               "print((time.perf_counter() - t) / 1000)",
               1e6);
    const Workload asleep = {topic, "process_roundtrip_asleep", 2,
                             "The same with a pause of a millisecond before each; the median."};
    for_each(Types<Thrum, Futex<0>, Pipes>(), [&](auto tag) {
        using Pair = typename decltype(tag)::type;
        add_window(asleep, Pair::name, round_trip_asleep<Pair>);
    });
}

/* ---- many ---- */

void report(benchmark::State &state, std::int64_t ns, std::size_t tasks)
{
    state.SetIterationTime(static_cast<double>(ns) * 1e-9);
    state.counters["ns_per_task"] = static_cast<double>(ns) / static_cast<double>(tasks);
}

/* How many of `tasks` ended with another status than 0 is `lost`. It lies if results are not looked at. */
std::int64_t ask_and_time(thrum_executor_t *pool, std::size_t tasks, std::size_t *lost)
{
    std::vector<thrum_future_t *> futures(tasks);
    const std::int64_t begin = now_ns();
    for (std::size_t i = 0; i < tasks; i++)
        must(thrum_executor_submit(pool, twice, reinterpret_cast<void *>(i), &futures[i]) == 0);
    for (std::size_t i = 0; i < tasks; i++) {
        void *value = nullptr;
        const int err = thrum_future_result(futures[i], &value);
        must(err == ECHILD || (err == 0 && value == reinterpret_cast<void *>(2 * i)));
        *lost += err != 0;
        thrum_future_release(futures[i]);
    }
    return now_ns() - begin;
}

void with_futures(benchmark::State &state)
{
    for (auto _ : state) {
        const auto tasks = static_cast<std::size_t>(options.tasks);
        std::size_t lost = 0;
        Thrum thrum;
        ask_and_time(thrum.pool, tasks / 10, &lost);
        report(state, ask_and_time(thrum.pool, tasks, &lost), tasks);
        must(lost == 0);
    }
}

void with_map(benchmark::State &state)
{
    for (auto _ : state) {
        const auto tasks = static_cast<std::size_t>(options.tasks);
        std::vector<void *> args(tasks);
        std::vector<void *> results(tasks);
        for (std::size_t i = 0; i < tasks; i++)
            args[i] = reinterpret_cast<void *>(i);
        Thrum thrum;
        std::int64_t ns = 0;
        for (std::size_t n : {tasks / 10, tasks}) {
            const std::int64_t begin = now_ns();
            must(thrum_executor_map(thrum.pool, twice, args.data(), results.data(), nullptr, n, 100,
                                    THRUM_FOREVER) == 0);
            ns = now_ns() - begin;
        }
        for (std::size_t i = 0; i < tasks; i++)
            must(results[i] == reinterpret_cast<void *>(2 * i));
        report(state, ns, tasks);
    }
}

void add_many()
{
    const Workload futures = {
        topic, "process_future_1m", 2,
        "A million tiny tasks (with --quick a hundred thousand), a future each, "
        "from the first submit to the last result, for each. Python: 20,000."};
    add_window(futures, Thrum::name, with_futures);
    add_python(futures, "python_executor", "ns_per_task",
               "ex = ProcessPoolExecutor(2, mp.get_context(\"fork\"))\n"
               "ex.submit(abs, 1).result()\nt = time.perf_counter()\n"
               "fs = [ex.submit(abs, i) for i in range(20000)]\n"
               "for f in fs: f.result()\nprint((time.perf_counter() - t) / 20000)",
               1e9);
    const Workload map = {topic, "process_map_1m", 2,
                          "The same calls by a map with chunks of 100. Python: 200,000."};
    add_window(map, Thrum::name, with_map);
    add_python(map, "python_executor", "ns_per_task",
               "ex = ProcessPoolExecutor(2, mp.get_context(\"fork\"))\n"
               "ex.submit(abs, 1).result()\nt = time.perf_counter()\n"
               "list(ex.map(abs, range(200000), chunksize=100))\n"
               "print((time.perf_counter() - t) / 200000)",
               1e9);
    add_python(map, "python_pool", "ns_per_task",
               "p = mp.get_context(\"fork\").Pool(2)\np.map(abs, range(10))\n"
               "t = time.perf_counter()\np.map(abs, range(200000), 100)\n"
               "print((time.perf_counter() - t) / 200000)",
               1e9);
}

/* ---- large ---- */

template <class Pair> void exchange(benchmark::State &state)
{
    for (auto _ : state) {
        std::unique_ptr<Pair> pair;
        if constexpr (std::is_same_v<Pair, Pipes>)
            pair = std::make_unique<Pair>(mebibyte);
        else
            pair = std::make_unique<Pair>();
        const std::vector<char> bytes(mebibyte, 'x');
        std::vector<double> us;
        for (int i = 0; i < 220; i++) {
            const std::int64_t begin = now_ns();
            pair->exchange(bytes);
            if (i >= 20)
                us.push_back(static_cast<double>(now_ns() - begin) * 1e-3);
        }
        const double middle = median(us);
        state.SetIterationTime(middle * 1e-6);
        state.counters["roundtrip_us"] = middle;
    }
}

void add_large()
{
    const Workload w = {topic, "process_echo_1m", 2,
                        "A mebibyte there, and a mebibyte back; the median."};
    for_each(Types<Thrum, Pipes>(), [&](auto tag) {
        using Pair = typename decltype(tag)::type;
        add_window(w, Pair::name, exchange<Pair>);
    });
    add_python(w, "python_executor", "roundtrip_us",
               "ex = ProcessPoolExecutor(2, mp.get_context(\"fork\"))\nb = bytes(1 << 20)\n"
               "ex.submit(bytes, b).result()\nt = time.perf_counter()\n"
               "for i in range(100): ex.submit(bytes, b).result()\n"
               "print((time.perf_counter() - t) / 100)",
               1e6);
}

/* ---- deaths ---- */

struct Workers {
    std::int32_t pid[2];
};
Workers *workers;

int sign_in(void *)
{
    __atomic_store_n(&workers->pid[thrum_process_pool_worker() % 2], getpid(), __ATOMIC_RELEASE);
    return 0;
}

/* Every task ends once, right or with ECHILD: `must` in ask_and_time. */
template <bool shots> void under_fire(benchmark::State &state)
{
    for (auto _ : state) {
        const std::size_t tasks = 100000;
        const std::size_t times = 10;
        std::size_t lost = 0;
        if (workers == nullptr)
            workers = static_cast<Workers *>(shared_memory(sizeof *workers));
        Thrum thrum(sign_in);
        ask_and_time(thrum.pool, tasks / 10, &lost);
        std::atomic<bool> stop{!shots};
        std::thread killer([&] {
            for (int i = 0; !stop; i++) {
                sleep_ms(5);
                const std::int32_t pid =
                    __atomic_exchange_n(&workers->pid[i % 2], 0, __ATOMIC_ACQ_REL);
                if (pid != 0)
                    kill(pid, SIGKILL);
            }
        });
        std::int64_t ns = 0;
        for (std::size_t i = 0; i < times; i++)
            ns += ask_and_time(thrum.pool, tasks, &lost);
        stop = true;
        killer.join();
        report(state, ns, tasks * times);
        state.counters["lost"] = static_cast<double>(lost);
    }
}

void add_deaths()
{
    const Workload calm = {topic, "process_calm", 2,
                           "Ten times 100,000 tasks with a future each, for each."};
    add_window(calm, Thrum::name, under_fire<false>);
    const Workload fire = {topic, "process_under_fire", 2,
                           "The same while a worker is killed every five milliseconds."};
    add_window(fire, Thrum::name, under_fire<true>);
}

/* ---- starting ---- */

std::vector<char> &large_memory()
{
    static std::vector<char> memory(std::size_t{1} << 30, 'x');
    return memory;
}

void start_pool(benchmark::State &state)
{
    must(large_memory().size() != 0);
    for (auto _ : state) {
        const std::int64_t begin = now_ns();
        auto thrum = std::make_unique<Thrum>();
        const double ms = static_cast<double>(now_ns() - begin) * 1e-6;
        thrum->call();
        state.SetIterationTime(ms * 1e-3);
        state.counters["roundtrip_us"] = ms * 1e3;
    }
}

void start_fork(benchmark::State &state)
{
    must(large_memory().size() != 0);
    for (auto _ : state) {
        const std::int64_t begin = now_ns();
        const pid_t pid = start_child([] {});
        const double ms = static_cast<double>(now_ns() - begin) * 1e-6;
        waitpid(pid, nullptr, 0);
        state.SetIterationTime(ms * 1e-3);
        state.counters["roundtrip_us"] = ms * 1e3;
    }
}

void add_starting()
{
    const Workload w = {
        topic, "process_pool_start", 2,
        "Making a pool of two in a process of a gibibyte: one fork of it. The floor is "
        "that fork."};
    add_window(w, Thrum::name, start_pool);
    add_window(w, "floor_fork", start_fork);
}

} // namespace

int main(int argc, char **argv)
{
    add_round_trips();
    add_many();
    add_large();
    add_deaths();
    add_starting();
    return run(argc, argv, Process::with_second_thread);
}
