/*
 * Adapters: coroutines of one thread, by thrum, by ucontext, and threads in their place. What they have in
 * common is what the benchmarks call:
 *
 *   Pair        two that switch to each other: the caller, and one that comes back at once
 *   Generator   one that counts, a number for each step
 *   Life        one that begins, does nothing, and ends
 */
#ifndef THRUM_BENCH_COROUTINES_H
#define THRUM_BENCH_COROUTINES_H

#include <ucontext.h>
#include <thrum/coroutine.h>
#include <thrum/loop.h>

#include <memory>

#include "harness.h"

namespace bench
{

constexpr std::size_t coroutine_stack = 64 * 1024;

/* ---- thrum ---- */

class ThrumPair
{
  public:
    static constexpr const char *name = "thrum";

    ThrumPair()
    {
        must(thrum_coro_create(&partner, come_back, thrum_coro_current(), nullptr) == 0);
    }
    ~ThrumPair() { thrum_coro_release(partner); }
    ThrumPair(const ThrumPair &) = delete;
    ThrumPair &operator=(const ThrumPair &) = delete;
    void there_and_back() { thrum_coro_switch(partner, nullptr, nullptr); }

  private:
    static int come_back(void *caller, void **)
    {
        while (thrum_coro_switch(static_cast<thrum_coro_t *>(caller), nullptr, nullptr) == 0) {
        }
        return 0;
    }

    thrum_coro_t *partner = nullptr;
};

class ThrumGenerator
{
  public:
    static constexpr const char *name = "thrum";

    ThrumGenerator() { must(thrum_coro_create(&counter, count, nullptr, nullptr) == 0); }
    ~ThrumGenerator() { thrum_coro_release(counter); }
    ThrumGenerator(const ThrumGenerator &) = delete;
    ThrumGenerator &operator=(const ThrumGenerator &) = delete;
    std::uint64_t next()
    {
        void *value = nullptr;
        thrum_coro_resume(counter, nullptr, &value);
        return reinterpret_cast<std::uintptr_t>(value);
    }

  private:
    static int count(void *, void **)
    {
        for (std::uintptr_t i = 0;; i++)
            thrum_coro_yield(reinterpret_cast<void *>(i));
        return 0;
    }

    thrum_coro_t *counter = nullptr;
};

struct ThrumLife {
    static constexpr const char *name = "thrum";

    void live()
    {
        thrum_coro_t *co = nullptr;
        thrum_coro_create(&co, nothing, nullptr, nullptr);
        thrum_coro_resume(co, nullptr, nullptr);
        thrum_coro_release(co);
    }

  private:
    static int nothing(void *, void **) { return 0; }
};

/* Calls f() as the first coroutine of a loop. */
template <class F> void in_loop(F f)
{
    auto call = [](void *arg, void **) {
        (*static_cast<F *>(arg))();
        return 0;
    };
    must(thrum_run(call, &f, nullptr) == 0);
}

/* ---- ucontext ---- */

class Ucontext
{
  public:
    static constexpr const char *name = "ucontext";

    void prepare(void (*entry)())
    {
        must(getcontext(&other) == 0);
        other.uc_stack.ss_sp = stack.get();
        other.uc_stack.ss_size = coroutine_stack;
        other.uc_link = &here;
        makecontext(&other, entry, 0);
    }
    void there() { swapcontext(&here, &other); }
    void back() { swapcontext(&other, &here); }

    static inline Ucontext *current = nullptr; /* makecontext passes ints only */

  private:
    ucontext_t here{};
    ucontext_t other{};
    std::unique_ptr<char[]> stack = std::make_unique<char[]>(coroutine_stack);
};

class UcontextPair : private Ucontext
{
  public:
    using Ucontext::name;

    UcontextPair()
    {
        current = this;
        prepare([] {
            for (;;)
                current->back();
        });
    }
    void there_and_back() { there(); }
};

class UcontextGenerator : private Ucontext
{
  public:
    using Ucontext::name;

    UcontextGenerator()
    {
        current = this;
        prepare([] {
            auto *self = static_cast<UcontextGenerator *>(current);
            for (;; self->value++)
                self->back();
        });
    }
    std::uint64_t next()
    {
        there();
        return value;
    }

  private:
    std::uint64_t value = 0;
};

/* On the same stack again and again. */
class UcontextLife : private Ucontext
{
  public:
    using Ucontext::name;

    void live()
    {
        prepare([] {});
        there();
    }
};

/* ---- a thread in the place of a coroutine ---- */

struct PthreadLife {
    static constexpr const char *name = "pthreads";

    void live()
    {
        pthread_t thread;
        must(pthread_create(&thread, nullptr, nothing, nullptr) == 0);
        pthread_join(thread, nullptr);
    }

    static void *nothing(void *) { return nullptr; }
};

} // namespace bench

#endif /* THRUM_BENCH_COROUTINES_H */
