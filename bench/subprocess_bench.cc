/*
 * Another program, run by a process that has much memory: what does that cost, from the call until its end is known?
 */
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include <thrum/thrum.h>

#include "harness.h"

using namespace bench;

namespace
{

constexpr std::size_t memory = std::size_t{1} << 30;
constexpr const char *program = "/bin/true";
constexpr const char *python = "/usr/bin/python3";

/* Touched, page by page, so that a copy of the process has all of its page tables to copy. In small pages, whatever
 * the system's habit. */
void fill_memory()
{
    static char *held = nullptr;
    if (held != nullptr)
        return;
    void *pages = mmap(nullptr, memory, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    must(pages != MAP_FAILED);
    madvise(pages, memory, MADV_NOHUGEPAGE);
    held = static_cast<char *>(pages);
    for (std::size_t i = 0; i < memory; i += 4096)
        held[i] = 1;
}

void await(pid_t pid)
{
    int status = -1;
    must(waitpid(pid, &status, 0) == pid && status == 0);
}

struct Thrum {
    static constexpr const char *name = "thrum";
    static void run()
    {
        const char *argv[] = {program, nullptr};
        thrum_subprocess_t *p = nullptr;
        int code = -1;
        must(thrum_subprocess_spawn(&p, argv, nullptr) == 0);
        must(thrum_subprocess_wait(p, &code) == 0 && code == 0);
        thrum_subprocess_release(p);
    }
};

struct PosixSpawn {
    static constexpr const char *name = "posix_spawn";
    static void run()
    {
        char *argv[] = {const_cast<char *>(program), nullptr};
        pid_t pid = -1;
        must(posix_spawn(&pid, program, nullptr, nullptr, argv, environ) == 0);
        await(pid);
    }
};

struct ForkExec {
    static constexpr const char *name = "fork_exec";
    static void run()
    {
        pid_t pid = fork();
        must(pid >= 0);
        if (pid == 0) {
            execl(program, program, static_cast<char *>(nullptr));
            _exit(127);
        }
        await(pid);
    }
};

/* The median time from the start of `true` until its end is known. It lies if the memory is not there page by page,
 * or if an adapter does not wait: each looks at the status. */
template <class Adapter> void run_true(benchmark::State &state)
{
    fill_memory();
    for (auto _ : state) {
        const int rounds = std::max(3, std::is_same_v<Adapter, ForkExec> ? options.wake_rounds / 10
                                                                         : options.wake_rounds);
        std::vector<double> us;
        for (int i = 0; i < rounds; i++) {
            std::int64_t begin = now_ns();
            Adapter::run();
            us.push_back(static_cast<double>(now_ns() - begin) * 1e-3);
        }
        state.SetIterationTime(median(us) * 1e-6);
        state.counters["us"] = median(us);
    }
}

/* The same in Python, in a process of its own with as much memory. */
constexpr const char *script = R"(
import mmap, statistics, subprocess, sys, time
pages = mmap.mmap(-1, 1 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
if hasattr(mmap, 'MADV_NOHUGEPAGE'):
    pages.madvise(mmap.MADV_NOHUGEPAGE)
for i in range(0, len(pages), 4096):
    pages[i] = 1
def once():
    begin = time.perf_counter_ns()
    assert subprocess.Popen(['/bin/true']).wait() == 0
    return time.perf_counter_ns() - begin
print(statistics.median(once() for _ in range(int(sys.argv[1]))) / 1e3)
)";

void run_in_python(benchmark::State &state)
{
    for (auto _ : state) {
        std::string rounds = std::to_string(std::max(3, options.wake_rounds / 3));
        const char *argv[] = {python, "-c", script, rounds.c_str(), nullptr};
        thrum_output_t output = {};
        must(thrum_subprocess_run(argv, nullptr, nullptr, 0, 1 << 16, thrum_after(THRUM_S(120)),
                                  &output) == 0);
        must(output.code == 0);
        double us = std::atof(output.out);
        thrum_output_free(&output);
        state.SetIterationTime(us * 1e-6);
        state.counters["us"] = us;
    }
}

} // namespace

int main(int argc, char **argv)
{
    const Workload workload = {
        "subprocess", "subprocess_true", 1,
        "/bin/true run by a process of 1 GiB, from the call until its end is known."};
    for_each(Types<Thrum, PosixSpawn, ForkExec>(), [&](auto tag) {
        using Adapter = typename decltype(tag)::type;
        add_window(workload, Adapter::name, run_true<Adapter>);
    });
    if (access(python, X_OK) == 0)
        add_window(workload, "python_subprocess", run_in_python);
    return run(argc, argv, Process::with_second_thread);
}
