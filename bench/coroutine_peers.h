/*
 * Adapters: the coroutines of Boost, as in coroutines.h. Those that are not installed are Absent.
 *
 *   boost_fcontext     jumps between stacks, nothing else
 *   boost_context      the same with an object that owns the stack
 *   boost_coroutine2   generators made of those
 *   boost_fiber        a scheduler, with channels
 */
#ifndef THRUM_BENCH_COROUTINE_PEERS_H
#define THRUM_BENCH_COROUTINE_PEERS_H

#include "coroutines.h"
#if BENCH_HAVE_BOOST_CONTEXT
#include <boost/context/detail/fcontext.hpp>
#include <boost/context/fiber.hpp>
#include <boost/context/pooled_fixedsize_stack.hpp>
#include <boost/coroutine2/coroutine.hpp>
#endif
#if BENCH_HAVE_BOOST_FIBER
#include <boost/fiber/all.hpp>
#endif

namespace bench
{

#if BENCH_HAVE_BOOST_CONTEXT
class FcontextPair
{
  public:
    static constexpr const char *name = "boost_fcontext";

    void there_and_back()
    {
        partner = boost::context::detail::jump_fcontext(partner, nullptr).fctx;
    }

  private:
    static void come_back(boost::context::detail::transfer_t caller)
    {
        for (;;)
            caller = boost::context::detail::jump_fcontext(caller.fctx, nullptr);
    }

    std::unique_ptr<char[]> stack = std::make_unique<char[]>(coroutine_stack);
    boost::context::detail::fcontext_t partner = boost::context::detail::make_fcontext(
        stack.get() + coroutine_stack, coroutine_stack, come_back);
};

class ContextPair
{
  public:
    static constexpr const char *name = "boost_context";

    void there_and_back() { partner = std::move(partner).resume(); }

  private:
    boost::context::fiber partner{[](boost::context::fiber &&caller) {
        for (;;)
            caller = std::move(caller).resume();
        return std::move(caller);
    }};
};

class Coroutine2Generator
{
  public:
    static constexpr const char *name = "boost_coroutine2";

    std::uint64_t next()
    {
        source();
        return source.get();
    }

  private:
    using Coroutine = boost::coroutines2::coroutine<std::uint64_t>;
    Coroutine::pull_type source{[](Coroutine::push_type &sink) {
        for (std::uint64_t i = 0;; i++)
            sink(i);
    }};
};

class ContextLife
{
  public:
    static constexpr const char *name = "boost_context";

    void live()
    {
        boost::context::fiber one{std::allocator_arg, pool,
                                  [](boost::context::fiber &&caller) { return std::move(caller); }};
        one = std::move(one).resume();
    }

  private:
    boost::context::pooled_fixedsize_stack pool{coroutine_stack};
};
#else
using FcontextPair = Absent;
using ContextPair = Absent;
using Coroutine2Generator = Absent;
using ContextLife = Absent;
#endif

} // namespace bench

#endif /* THRUM_BENCH_COROUTINE_PEERS_H */
