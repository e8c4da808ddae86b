/*
 * Adapters: every queue with put() and get() that wait (or poll), and with put_many() and get_many()
 * where it has batches. As in locks.h they add nothing but the spelling. put and get say false only
 * when a polled queue was given up.
 */
#ifndef THRUM_BENCH_QUEUES_H
#define THRUM_BENCH_QUEUES_H

#include <thrum/queue.h>

#include "polled_queues.h"
#if BENCH_HAVE_GLIB
#include <glib.h>
#endif
#if BENCH_HAVE_TBB
#include <tbb/concurrent_queue.h>
#endif
#if BENCH_HAVE_MOODYCAMEL
#include <blockingconcurrentqueue.h>
#include <concurrentqueue.h>
#endif
#if BENCH_HAVE_BOOST
#include <boost/lockfree/queue.hpp>
#include <boost/lockfree/spsc_queue.hpp>
#endif
#if BENCH_HAVE_CK
#define false 0 /* its header is C: it returns false for a null pointer */
#include <ck_ring.h>
#undef false
#endif

namespace bench
{

constexpr std::size_t bound = 1024;
constexpr std::size_t no_limit = 0;

/* What a thread that puts, and one that gets, does it through: the queue itself, unless the queue
 * gives each thread something of its own. */
template <class Queue> struct Putter {
    Queue &queue;
    bool put(Item item) { return queue.put(item); }
    std::size_t put_many(Item *items, std::size_t n) { return queue.put_many(items, n); }
};

template <class Queue> struct Getter {
    Queue &queue;
    bool get(Item *item) { return queue.get(item); }
    std::size_t get_many(Item *items, std::size_t n) { return queue.get_many(items, n); }
};

/* ---- thrum ---- */

THRUM_QUEUE_DEFINE(thrum_items, Item)

inline int compare_items(const void *a, const void *b, void *)
{
    std::uint64_t x = as_number(*static_cast<const Item *>(a));
    std::uint64_t y = as_number(*static_cast<const Item *>(b));
    return (x > y) - (x < y);
}

template <thrum_order_t order> class ThrumQueue
{
  public:
    static constexpr const char *name = "thrum";

    explicit ThrumQueue(std::size_t capacity = bound)
    {
        must(thrum_items_create_with(&q, order, capacity,
                                     order == THRUM_PRIORITY ? compare_items : nullptr,
                                     nullptr) == 0);
    }
    ~ThrumQueue() { thrum_queue_destroy(q); }
    ThrumQueue(const ThrumQueue &) = delete;
    ThrumQueue &operator=(const ThrumQueue &) = delete;

    bool put(Item item) { return thrum_items_put(q, item) == 0; }
    bool get(Item *item) { return thrum_items_get(q, item) == 0; }
    std::size_t put_many(Item *items, std::size_t n)
    {
        std::size_t done = 0;
        thrum_items_put_many(q, items, n, &done, THRUM_FOREVER);
        return done;
    }
    std::size_t get_many(Item *items, std::size_t n)
    {
        std::size_t done = 0;
        return thrum_items_get_many(q, items, n, &done, THRUM_FOREVER) == 0 ? done : 0;
    }
    void task_done() { thrum_queue_task_done(q); }
    void join() { thrum_queue_join(q); }

  private:
    thrum_queue_t *q = nullptr;
};

using ThrumFifo = ThrumQueue<THRUM_FIFO>;
using ThrumPriority = ThrumQueue<THRUM_PRIORITY>;

/* Every item that was got is marked done at once. */
template <class Queue> struct WithTaskDone : Queue {
    using Queue::Queue;
    bool get(Item *item)
    {
        bool some = Queue::get(item);
        if (some)
            Queue::task_done();
        return some;
    }
};

/* ---- GLib ---- */

#if BENCH_HAVE_GLIB
class GlibQueue
{
  public:
    static constexpr const char *name = "glib";
    static constexpr unsigned marks = no_close | no_bound;

    explicit GlibQueue(std::size_t = bound) : q(g_async_queue_new()) {}
    ~GlibQueue() { g_async_queue_unref(q); }
    GlibQueue(const GlibQueue &) = delete;
    GlibQueue &operator=(const GlibQueue &) = delete;
    bool put(Item item)
    {
        g_async_queue_push(q, item);
        return true;
    }
    bool get(Item *item)
    {
        *item = g_async_queue_pop(q);
        return true;
    }

  private:
    GAsyncQueue *q;
};
#else
using GlibQueue = Absent;
#endif

/* ---- TBB ---- */

#if BENCH_HAVE_TBB
/* Its abort() lets waiting calls throw, but later ones wait again: that is not closing. */
class TbbQueue
{
  public:
    static constexpr const char *name = "tbb";
    static constexpr unsigned marks = no_close;

    explicit TbbQueue(std::size_t capacity = bound)
    {
        q.set_capacity(static_cast<std::ptrdiff_t>(capacity));
    }
    bool put(Item item)
    {
        q.push(item);
        return true;
    }
    bool get(Item *item)
    {
        q.pop(*item);
        return true;
    }

  private:
    tbb::concurrent_bounded_queue<Item> q;
};
#else
using TbbQueue = Absent;
#endif

/* ---- moodycamel ---- */

#if BENCH_HAVE_MOODYCAMEL
struct MoodycamelTries {
    static constexpr const char *name = "moodycamel";
    static constexpr unsigned marks = polls | no_close | no_bound | per_producer;
    moodycamel::ConcurrentQueue<Item> q;

    explicit MoodycamelTries(std::size_t capacity = bound) : q(capacity) {}
    bool tryput(Item item) { return q.enqueue(item); }
    bool tryget(Item *item) { return q.try_dequeue(*item); }
    std::size_t tryput_many(Item *items, std::size_t n) { return q.enqueue_bulk(items, n) ? n : 0; }
    std::size_t tryget_many(Item *items, std::size_t n) { return q.try_dequeue_bulk(items, n); }
};

using Moodycamel = Polled<MoodycamelTries>;

/* The same queue when every thread has a token. */
struct MoodycamelTokens : Moodycamel {
    static constexpr const char *name = "moodycamel_tokens";
    using Moodycamel::Moodycamel;
};

template <> struct Putter<MoodycamelTokens> {
    MoodycamelTokens &queue;
    moodycamel::ProducerToken token;

    explicit Putter(MoodycamelTokens &q) : queue(q), token(q.q) {}
    bool put(Item item) { return queue.q.enqueue(token, item); }
    std::size_t put_many(Item *items, std::size_t n)
    {
        return queue.q.enqueue_bulk(token, items, n) ? n : 0;
    }
};

template <> struct Getter<MoodycamelTokens> {
    MoodycamelTokens &queue;
    moodycamel::ConsumerToken token;

    explicit Getter(MoodycamelTokens &q) : queue(q), token(q.q) {}
    bool get(Item *item)
    {
        return queue.poll([&] { return queue.q.try_dequeue(token, *item); });
    }
    std::size_t get_many(Item *items, std::size_t n)
    {
        std::size_t done = 0;
        queue.poll([&] { return (done = queue.q.try_dequeue_bulk(token, items, n)) > 0; });
        return done;
    }
};

struct MoodycamelBlocking {
    static constexpr const char *name = "moodycamel_blocking";
    static constexpr unsigned marks = no_close | no_bound | per_producer;
    moodycamel::BlockingConcurrentQueue<Item> q;

    explicit MoodycamelBlocking(std::size_t capacity = bound) : q(capacity) {}
    bool put(Item item) { return q.enqueue(item); }
    bool get(Item *item)
    {
        q.wait_dequeue(*item);
        return true;
    }
    std::size_t put_many(Item *items, std::size_t n) { return q.enqueue_bulk(items, n) ? n : 0; }
    std::size_t get_many(Item *items, std::size_t n) { return q.wait_dequeue_bulk(items, n); }
};
#else
using Moodycamel = Absent;
using MoodycamelTokens = Absent;
using MoodycamelBlocking = Absent;
#endif

/* ---- Boost ---- */

#if BENCH_HAVE_BOOST
struct BoostTries {
    static constexpr const char *name = "boost";
    static constexpr unsigned marks = polls | no_close;
    boost::lockfree::queue<Item, boost::lockfree::fixed_sized<true>> q;

    explicit BoostTries(std::size_t capacity = bound) : q(capacity) {}
    bool tryput(Item item) { return q.push(item); }
    bool tryget(Item *item) { return q.pop(*item); }
};

struct BoostSpscTries {
    static constexpr const char *name = "boost_spsc";
    static constexpr unsigned marks = polls | no_close | one_each;
    boost::lockfree::spsc_queue<Item> q;

    explicit BoostSpscTries(std::size_t capacity = bound) : q(capacity) {}
    bool tryput(Item item) { return q.push(item); }
    bool tryget(Item *item) { return q.pop(*item); }
    std::size_t tryput_many(Item *items, std::size_t n) { return q.push(items, n); }
    std::size_t tryget_many(Item *items, std::size_t n) { return q.pop(items, n); }
};

using Boost = Polled<BoostTries>;
using BoostSpsc = Polled<BoostSpscTries>;
#else
using Boost = Absent;
using BoostSpsc = Absent;
#endif

/* ---- Concurrency Kit ---- */

#if BENCH_HAVE_CK
/* Holds one item less than it has places. */
class CkTries
{
  public:
    static constexpr const char *name = "ck_ring";
    static constexpr unsigned marks = polls | no_close;

    explicit CkTries(std::size_t capacity = bound) : places(capacity)
    {
        ck_ring_init(&ring, static_cast<unsigned>(capacity));
    }
    bool tryput(Item item) { return ck_ring_enqueue_mpmc(&ring, places.data(), item); }
    bool tryget(Item *item) { return ck_ring_dequeue_mpmc(&ring, places.data(), item); }

  private:
    alignas(apart) ck_ring_t ring;
    std::vector<ck_ring_buffer_t> places;
};

using CkRing = Polled<CkTries>;
#else
using CkRing = Absent;
#endif

} // namespace bench

#endif /* THRUM_BENCH_QUEUES_H */
